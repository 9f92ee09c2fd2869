//! The `hayase` program: the one in `HAYASE_BIN`, or one built once from this workspace with the profile of
//! the tests.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A command that runs `hayase`.
///
/// # Panics
/// If it has to be built and cannot be.
pub fn hayase() -> Command {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    Command::new(PROGRAM.get_or_init(locate))
}

/// The root of the workspace.
///
/// # Panics
/// If this crate is not a folder of it.
pub fn workspace_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a member of a workspace")
}

/// A `cargo` command, the one that runs the tests, in the root of the workspace.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace_root());
    command
}

/// Where cargo puts the build of the tests: `<target>/<profile>`.
///
/// # Panics
/// If the test does not run from where cargo has put it.
pub fn profile_directory() -> PathBuf {
    let executable = env::current_exe().expect("a running program has a path");
    let directory = executable.ancestors().find(|path| path.ends_with("deps")).and_then(Path::parent);
    directory.expect("cargo puts test programs into <target>/<profile>/deps").to_owned()
}

fn locate() -> PathBuf {
    env::var_os("HAYASE_BIN").map_or_else(build, PathBuf::from)
}

/// Cargo rebuilds nothing that is fresh, and its own lock keeps processes from building at the same time.
fn build() -> PathBuf {
    let directory = profile_directory();
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(name) => name,
        None => panic!("{} has no name", directory.display()),
    };
    let target = directory.parent().expect("a profile's directory is in the target directory");
    let output = cargo()
        .args(["build", "--quiet", "--package", "hayase-tool", "--bin", "hayase", "--profile", profile])
        .arg("--target-dir")
        .arg(target)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "building hayase:\n{}", String::from_utf8_lossy(&output.stderr));
    directory.join("hayase")
}

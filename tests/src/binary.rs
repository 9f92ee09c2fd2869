//! The `hayase` program: the one in `HAYASE_BIN`, or one built once from this workspace with the profile of the tests. The one
//! with every feature, DPDK above all, is in `HAYASE_DPDK_BIN`, or built apart from the other.

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

/// A command that runs `hayase` with every feature: DPDK, netmap, and the peers that it is compared with.
///
/// # Panics
/// If it has to be built and cannot be.
pub fn hayase_with_dpdk() -> Command {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let build = || build(&target_directory().join("dpdk"), &TOOL, &["--all-features"]).join("hayase");
    Command::new(PROGRAM.get_or_init(|| env::var_os("HAYASE_DPDK_BIN").map_or_else(build, PathBuf::from)))
}

/// The program of an example of the facade.
///
/// # Panics
/// If it has to be built and cannot be.
pub fn example(name: &str) -> PathBuf {
    build(&target_directory(), &["--package", "hayase", "--example", name], &[]).join("examples").join(name)
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
    let build = || build(&target_directory(), &TOOL, &[]).join("hayase");
    env::var_os("HAYASE_BIN").map_or_else(build, PathBuf::from)
}

fn target_directory() -> PathBuf {
    let directory = profile_directory();
    directory.parent().expect("a profile's directory is in the target directory").to_owned()
}

/// What cargo calls the command.
const TOOL: [&str; 4] = ["--package", "hayase-tool", "--bin", "hayase"];

/// Builds a program, and returns the folder that it is in. Cargo rebuilds nothing that is fresh, and its own lock keeps
/// processes from building at the same time.
fn build(target: &Path, program: &[&str], features: &[&str]) -> PathBuf {
    let directory = profile_directory();
    let name = directory.file_name().and_then(|name| name.to_str());
    let name = name.unwrap_or_else(|| panic!("{} has no name", directory.display()));
    let profile = if name == "debug" { "dev" } else { name };
    let output = cargo()
        .args(["build", "--quiet", "--profile", profile])
        .args(program)
        .args(features)
        .arg("--target-dir")
        .arg(target)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "building {program:?}:\n{}", String::from_utf8_lossy(&output.stderr));
    target.join(name)
}

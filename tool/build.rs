//! What the program remembers of its build, for the reports of `hayase bench`.
#![forbid(unsafe_code)]

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    set("HAYASE_RUSTC", output(&env::var("RUSTC").expect("cargo names the compiler"), &["--version"]));
    set("HAYASE_PROFILE", profile());
    if let Some(head) =
        output("git", &["rev-parse", "--git-path", "HEAD"]).filter(|path| Path::new(path).exists())
    {
        println!("cargo::rerun-if-changed={head}");
        // What a branch means changes without HEAD; the log of HEAD hears of it.
        let log = output("git", &["rev-parse", "--git-path", "logs/HEAD"]);
        log.filter(|path| Path::new(path).exists())
            .into_iter()
            .for_each(|path| println!("cargo::rerun-if-changed={path}"));
        set("HAYASE_COMMIT", output("git", &["rev-parse", "--short=12", "HEAD"]));
    }
}

fn set(name: &str, value: Option<String>) {
    if let Some(value) = value {
        println!("cargo::rustc-env={name}={value}");
    }
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The name of the profile, which is that of the folder that everything is built into.
fn profile() -> Option<String> {
    let out = env::var("OUT_DIR").ok()?;
    let folder = Path::new(&out).ancestors().nth(3)?.file_name()?;
    Some(folder.to_string_lossy().into_owned())
}

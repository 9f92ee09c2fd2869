//! What the program remembers of its build, for the reports of `hayase bench`.
#![forbid(unsafe_code)]

use std::env;
use std::path::Path;
use std::process::Command;

/// The folders of the repository whose code is in the program, and what chooses the code of others.
const PARTS: [&str; 14] = [
    "../src",
    "../stack",
    "../device",
    "../time",
    "../executor",
    "../macros",
    "../backend",
    "../compat",
    "../sim",
    "../benches/peers",
    "../Cargo.toml",
    "../Cargo.lock",
    "src",
    "Cargo.toml",
];

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
        // What the program is made of: where that changes, it is built again in any case.
        for part in PARTS {
            println!("cargo::rerun-if-changed={part}");
        }
        let commit = output("git", &["rev-parse", "--short=12", "HEAD"]);
        set("HAYASE_COMMIT", commit.map(|commit| commit + if is_changed() { "-dirty" } else { "" }));
    }
}

/// Whether a figure would be of other code than that of the commit.
fn is_changed() -> bool {
    let status = ["status", "--porcelain", "--untracked-files=no", "--"];
    output("git", &[&status[..], &PARTS].concat()).is_some_and(|files| !files.is_empty())
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

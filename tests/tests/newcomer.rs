//! README's first command, which runs the example `http`: with the right to open a TAP interface, and without.

use std::env;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::time::Duration;

use hayase_tests::kernel::PATIENCE;
use hayase_tests::rights::{can_use_tap, has_program};
use hayase_tests::{Device, Family, Namespace, Offloads, Process, Site, binary};

/// How long it may take to say what to try: IPv6 addresses are asked for first.
const START_MAX: Duration = Duration::from_secs(20);

/// Somebody without any right.
const NOBODY: u32 = 65_534;

/// A copy of a program that anybody may run, wherever the original lies; gone when it is dropped.
struct Copy(PathBuf);

impl Copy {
    fn of(program: &Path) -> Copy {
        let copy = env::temp_dir().join(format!("hayase-newcomer-{}", process::id()));
        fs::copy(program, &copy).expect("there is room for a copy");
        chown(&copy, Some(NOBODY), Some(NOBODY)).expect("root may give files away");
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o500)).expect("the copy is ours");
        Copy(copy)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // Fails only if somebody else has removed it.
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn with_the_right_it_serves_and_says_what_to_try() {
    if !has_program("curl") || !has_program("wrk") {
        return;
    }
    Site::run(Device::Tap, Family::V4, Offloads::All, |site| {
        let server = Process::spawn_in(&site.namespace, &mut Command::new(binary::example("http")));
        let urls = ["10.7.0.2", "[fd00:7::2]"].map(|host| format!("http://{host}:8080/"));
        for url in &urls {
            let line = server.line(START_MAX, |line| line.trim() == format!("curl {url}"));
            let command: Vec<_> = line.split_whitespace().collect();
            let options = ["--silent", "--show-error", "--noproxy", "*", "--globoff"];
            let page = site.system(command[0], &[&options, &command[1..]].concat());
            assert!(page.starts_with("Hello, ") && page.contains("over Hayase's TCP"), "{page}");
        }
        let report = site.system("wrk", &["-t1", "-c16", "-d1s", &urls[0]]);
        assert!(report.contains("Requests/sec") && !report.contains("Socket errors"), "{report}");
        assert!(!report.contains("Non-2xx"), "{report}");
    });
}

#[test]
fn without_it_says_so_and_fetches_from_itself() {
    if !can_use_tap() {
        return;
    }
    let program = Copy::of(&binary::example("http"));
    let namespace = Namespace::new().expect("root makes namespaces");
    let mut command = Command::new(&program.0);
    let exit = Process::spawn_in(&namespace, command.uid(NOBODY).gid(NOBODY)).wait(PATIENCE).success();
    assert!(exit.stderr.contains("CAP_NET_ADMIN"), "{}", exit.stderr);
    assert!(exit.stderr.contains("using the in-memory wire instead"), "{}", exit.stderr);
    let text = exit.text();
    assert!(text.contains("the peer on the wire fetches http://10.7.0.2:8080/"), "{text}");
    assert!(text.contains("HTTP/1.1 200 OK") && text.contains("over Hayase's TCP"), "{text}");
}

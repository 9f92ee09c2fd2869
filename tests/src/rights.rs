//! What a machine must allow before a test can run, and how a test says that it did not.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::thread;

use rustix::net::{AddressFamily, SocketType};

use crate::Namespace;

/// The family of AF_XDP sockets.
const AF_XDP: u16 = 44;

/// Set by CI: a test that would be skipped fails instead.
const NO_SKIP: &str = "HAYASE_NO_SKIP";

/// The door to TUN and TAP devices.
const TUN: &str = "/dev/net/tun";

/// The door to netmap.
const NETMAP: &str = "/dev/netmap";

/// Says on the terminal, whatever the test harness captures, why the current test does nothing.
///
/// # Panics
/// If `HAYASE_NO_SKIP` is set.
pub fn skip(reason: &str) {
    assert!(env::var_os(NO_SKIP).is_none(), "{NO_SKIP} is set, and this test cannot run: {reason}");
    say_skipped(reason);
}

/// Says the same of a test that has nothing to do here, which is no failure anywhere.
pub fn say_skipped(reason: &str) {
    let current = thread::current();
    let name = current.name().unwrap_or("a test");
    // A closed standard error is no reason to fail.
    let _ = writeln!(io::stderr(), "skipped: {name}: {reason}");
}

/// Whether namespaces and TAP devices can be made here; says why not if they cannot.
///
/// # Panics
/// If they cannot and `HAYASE_NO_SKIP` is set.
pub fn can_use_tap() -> bool {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    let missing = MISSING.get_or_init(|| probe().err());
    missing.iter().for_each(|reason| skip(reason));
    missing.is_none()
}

/// Whether AF_XDP can be used here; says why not if it cannot.
///
/// # Panics
/// If it cannot and `HAYASE_NO_SKIP` is set.
pub fn can_use_xdp() -> bool {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    let missing = MISSING.get_or_init(|| probe_xdp().err());
    missing.iter().for_each(|reason| skip(reason));
    missing.is_none()
}

/// Whether the tool can be had with DPDK; says why not if it cannot.
///
/// # Panics
/// If it cannot and `HAYASE_NO_SKIP` is set.
pub fn can_use_dpdk() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    let asks =
        || Command::new("pkg-config").args(["--exists", "libdpdk"]).status().is_ok_and(|it| it.success());
    let found = *FOUND.get_or_init(|| env::var_os("HAYASE_DPDK_BIN").is_some() || asks());
    if !found {
        skip("needs DPDK (apt-get install libdpdk-dev pkg-config)");
    }
    found
}

/// Whether netmap's module is loaded; says so if it is not. No package has it, which is why a machine that skips nothing else
/// may skip what needs it.
pub fn can_use_netmap() -> bool {
    let is_loaded = Path::new(NETMAP).exists();
    if !is_loaded {
        say_skipped(&format!("there is no {NETMAP}: it needs netmap's kernel module"));
    }
    is_loaded
}

/// Whether the program called `name` is installed; says so if it is not.
///
/// # Panics
/// If it is not and `HAYASE_NO_SKIP` is set.
pub fn has_program(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).any(|directory| directory.join(name).is_file());
    if !found {
        skip(&format!("needs the program {name}"));
    }
    found
}

fn probe_xdp() -> Result<(), String> {
    let family = AddressFamily::from_raw(AF_XDP);
    rustix::net::socket(family, SocketType::RAW, None)
        .map_err(|error| format!("needs a kernel with CONFIG_XDP_SOCKETS and CAP_NET_RAW: {error}"))?;
    // Loading a program takes the rights of the machine, not those of a user namespace.
    let map = fs::read_to_string("/proc/self/uid_map").map_err(|error| error.to_string())?;
    let is_machine = map.split_whitespace().eq(["0", "0", "4294967295"]);
    if is_machine { Ok(()) } else { Err("needs CAP_BPF outside of user namespaces".into()) }
}

fn probe() -> Result<(), String> {
    let needs = |what: &str, error| format!("needs root (CAP_NET_ADMIN, CAP_SYS_ADMIN) and {what}: {error}");
    OpenOptions::new().read(true).write(true).open(TUN).map_err(|error| needs(TUN, error))?;
    Namespace::new().map(drop).map_err(|error| needs("iproute2", error))
}

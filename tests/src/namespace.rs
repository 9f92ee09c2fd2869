//! A network namespace that lives as long as a test.
//!
//! Threads enter it with `setns`. Sockets and child processes made there stay there, so everything else
//! (reads, writes, waiting) may happen on any thread.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::panic::resume_unwind;
use std::path::Path;
use std::process::{self, Command};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const DIRECTORY: &str = "/run/netns";
const PREFIX: &str = "hayase-test";

static NEXT: AtomicU32 = AtomicU32::new(0);
static SWEEP: Once = Once::new();

/// A network namespace, removed on drop.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    handle: File,
}

impl Namespace {
    /// Makes a namespace with its loopback up.
    ///
    /// IPv6 addresses are usable at once (no duplicate address detection) and survive a link that goes
    /// down, as IPv4 addresses do.
    ///
    /// # Errors
    /// What the `ip` command said, most often a missing right.
    pub fn new() -> io::Result<Namespace> {
        SWEEP.call_once(remove_stale);
        let name = format!("{PREFIX}-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        run(Command::new("ip").args(["netns", "add", &name]))?;
        let handle = File::open(Path::new(DIRECTORY).join(&name))?;
        let namespace = Namespace { name, handle };
        namespace.configure()?;
        Ok(namespace)
    }

    fn configure(&self) -> io::Result<()> {
        self.enter(|| {
            run(Command::new("ip").args(["link", "set", "lo", "up"]))?;
            for scope in ["all", "default"] {
                sysctl(&format!("ipv6/conf/{scope}/accept_dad"), "0")?;
                sysctl(&format!("ipv6/conf/{scope}/keep_addr_on_down"), "1")?;
            }
            Ok(())
        })
    }

    /// Does `work` on a thread inside the namespace and returns what it returned.
    ///
    /// # Panics
    /// If `work` panics, or the namespace cannot be entered.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(self.handle.as_fd(), Some(LinkNameSpaceType::Network))
                    .unwrap_or_else(|error| panic!("entering namespace {}: {error}", self.name));
                work()
            });
            inside.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Runs `ip ARGUMENTS` inside.
    ///
    /// # Panics
    /// If the command fails, with what it said.
    pub fn ip(&self, arguments: &[&str]) {
        self.run("ip", arguments);
    }

    /// Runs `PROGRAM ARGUMENTS` inside.
    ///
    /// # Panics
    /// If the command fails, with what it said.
    pub fn run(&self, program: &str, arguments: &[&str]) {
        self.enter(|| run(Command::new(program).args(arguments))).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Sets a value of `/proc/sys/net` inside, by its path there.
    ///
    /// # Panics
    /// If there is none of that name, or it does not take the value.
    pub fn sysctl(&self, name: &str, value: &str) {
        self.enter(|| sysctl(name, value)).unwrap_or_else(|error| panic!("{error}"));
    }

    /// What the kernel knows of links, addresses, neighbours and TCP in here, for a failure message.
    pub fn report(&self) -> String {
        let looks = [["ip", "-s", "address"], ["ip", "neighbour", "show"], ["ss", "-tani", "--no-header"]];
        let look = |words: &[&str; 3]| match Command::new(words[0]).args(&words[1..]).output() {
            Ok(output) => format!("--- {}\n{}", words.join(" "), String::from_utf8_lossy(&output.stdout)),
            Err(error) => format!("--- {}: {error}\n", words.join(" ")),
        };
        self.enter(|| looks.iter().map(look).collect())
    }

    /// The name under which `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Removes what processes that were killed before they could clean up have left behind. Before our first, what has our process
/// id is theirs as well: in a container that was started again, they come again.
fn remove_stale() {
    let Ok(entries) = fs::read_dir(DIRECTORY) else { return };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        if owner(&name).is_some_and(is_stale) {
            remove(&name);
        }
    }
}

fn is_stale(pid: &str) -> bool {
    pid == process::id().to_string() || !Path::new("/proc").join(pid).exists()
}

/// The process id within a name that [`Namespace::new`] gave.
fn owner(name: &str) -> Option<&str> {
    let (pid, _) = name.strip_prefix(PREFIX)?.strip_prefix('-')?.split_once('-')?;
    Some(pid)
}

fn remove(name: &str) {
    if let Err(error) = run(Command::new("ip").args(["netns", "del", name])) {
        eprintln!("namespace {name} stays behind: {error}");
    }
}

fn sysctl(name: &str, value: &str) -> io::Result<()> {
    fs::write(Path::new("/proc/sys/net").join(name), value)
        .map_err(|error| io::Error::new(error.kind(), format!("net/{name}: {error}")))
}

/// Runs a command to its end; its standard error becomes the error.
fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output().map_err(|error| {
        io::Error::new(error.kind(), format!("{}: {error}", command.get_program().display()))
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{command:?}: {}", said.trim())))
}

#[cfg(test)]
mod tests {
    use super::owner;

    #[test]
    fn only_our_own_names_have_an_owner() {
        assert_eq!(owner("hayase-test-4711-0"), Some("4711"));
        assert_eq!(owner("hayase-testing"), None);
        assert_eq!(owner("somebody-else-1"), None);
    }
}

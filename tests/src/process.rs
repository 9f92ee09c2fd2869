//! A program that runs inside a namespace and is gone when its guard is dropped.

use std::fmt;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Namespace;

/// How often an ending process is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A running program: killed by its process id on drop, and if that happens because a test failed, what it
/// printed is shown.
pub struct Process {
    child: Child,
    title: String,
    stdout: Collector,
    stderr: Collector,
}

/// How a program ended, and all that it printed.
#[derive(Debug)]
pub struct Exit {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: String,
}

impl Exit {
    /// Its standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Itself, if the program succeeded.
    ///
    /// # Panics
    /// If it did not, with what it printed.
    pub fn success(self) -> Exit {
        assert!(self.status.success(), "{}\n{}\n{}", self.status, self.text(), self.stderr);
        self
    }
}

impl Process {
    /// Starts a program inside a namespace, with pipes at its three standard streams.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn spawn_in(namespace: &Namespace, command: &mut Command) -> Process {
        namespace.enter(|| Process::spawn(command))
    }

    /// Starts a program here, with pipes at its three standard streams.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn spawn(command: &mut Command) -> Process {
        let title = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{title}: {error}"));
        let stdout = Collector::start(child.stdout.take().expect("stdout is a pipe"));
        let stderr = Collector::start(child.stderr.take().expect("stderr is a pipe"));
        Process { child, title, stdout, stderr }
    }

    /// Its standard input; dropping it is the end of the input.
    ///
    /// # Panics
    /// If it was taken before.
    pub fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("stdin was not taken before")
    }

    /// Waits until it has printed a whole line that `accepts` likes; returns the line.
    ///
    /// # Panics
    /// If its output ends, or `limit` passes, before that.
    pub fn line(&self, limit: Duration, accepts: impl Fn(&str) -> bool) -> String {
        let find = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            let whole = &text[..text.rfind('\n')?];
            whole.lines().find(|line| accepts(line)).map(str::to_owned)
        };
        self.stdout
            .wait(limit, find)
            .unwrap_or_else(|| panic!("{} the awaited line: {self:?}", self.lacks(limit)))
    }

    /// Waits until it has printed `len` bytes in all; returns everything that it has printed.
    ///
    /// # Panics
    /// If its output ends, or `limit` passes, before that.
    pub fn printed(&self, limit: Duration, len: usize) -> Vec<u8> {
        let find = |bytes: &[u8]| (bytes.len() >= len).then(|| bytes.to_vec());
        self.stdout.wait(limit, find).unwrap_or_else(|| panic!("{} {len} bytes: {self:?}", self.lacks(limit)))
    }

    /// Why there is not what was waited for.
    fn lacks(&self, limit: Duration) -> String {
        match lock(&self.stdout.0.0).ended {
            true => "its output ended before".to_owned(),
            false => format!("{limit:?} passed without"),
        }
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// If it has not within `limit`.
    pub fn wait(mut self, limit: Duration) -> Exit {
        let end_at = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                let stdout = self.stdout.to_end(limit);
                let stderr = String::from_utf8_lossy(&self.stderr.to_end(limit)).into_owned();
                return Exit { status, stdout, stderr };
            }
            assert!(Instant::now() < end_at, "still running after {limit:?}: {self:?}");
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Asks it to end, as Ctrl-C does.
    ///
    /// # Panics
    /// If it has ended.
    pub fn interrupt(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::INT).expect("a child that was not waited for takes signals");
    }

    /// Whether it is running.
    ///
    /// # Panics
    /// If the system does not say.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }

    /// Whether it has an io_uring open.
    ///
    /// # Panics
    /// If it has ended.
    pub fn has_io_uring(&self) -> bool {
        let path = format!("/proc/{}/fd", self.child.id());
        let descriptors = fs::read_dir(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut files = descriptors.flatten().filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
        files.any(|file| file.to_string_lossy().contains("[io_uring]"))
    }

    /// Bytes of memory that it has.
    ///
    /// # Panics
    /// If it has ended.
    pub fn resident_len(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let value = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = value.and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or_else(|| panic!("{path}: {text}")) * 1024
    }

    /// The processor time that its threads have used so far, to the nanosecond.
    ///
    /// # Panics
    /// If it has ended, or the kernel does not keep count (`CONFIG_SCHED_INFO`).
    pub fn cpu_time(&self) -> Duration {
        Duration::from_nanos(self.scheduled(0))
    }

    /// How often its threads were put on a processor so far.
    ///
    /// # Panics
    /// As [`cpu_time`](Self::cpu_time).
    pub fn run_count(&self) -> u64 {
        self.scheduled(2)
    }

    /// A field of what the kernel's scheduler counts: nanoseconds on a processor, nanoseconds of waiting for one, and how often
    /// it got one; of all threads.
    fn scheduled(&self, field: usize) -> u64 {
        let path = format!("/proc/{}/task", self.child.id());
        let threads = fs::read_dir(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        threads.flatten().map(|thread| thread_field(&thread.path().join("schedstat"), field)).sum()
    }
}

fn thread_field(path: &Path, field: usize) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let value = text.split_whitespace().nth(field).and_then(|value| value.parse().ok());
    value.unwrap_or_else(|| panic!("{}: {text:?}", path.display()))
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} (pid {})", self.title, self.child.id())?;
        writeln!(f, "--- its stdout, the end of it\n{}", self.stdout.tail())?;
        write!(f, "--- its stderr, the end of it\n{}", self.stderr.tail())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{self:?}");
        }
        // Both fail only if it has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes to a program's standard input and ends it.
///
/// # Panics
/// If the program does not take it.
pub fn feed(mut stdin: ChildStdin, bytes: &[u8]) {
    stdin.write_all(bytes).expect("the program reads its input");
}

/// What a program has printed on one stream so far, gathered by a thread.
struct Collector(Arc<(Mutex<Printed>, Condvar)>);

#[derive(Default)]
struct Printed {
    bytes: Vec<u8>,
    ended: bool,
}

impl Collector {
    fn start(mut pipe: impl Read + Send + 'static) -> Collector {
        let shared = Arc::new((Mutex::new(Printed::default()), Condvar::new()));
        let collector = Collector(Arc::clone(&shared));
        thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let count = pipe.read(&mut buffer).unwrap_or(0);
                let mut printed = lock(&shared.0);
                printed.bytes.extend_from_slice(&buffer[..count]);
                printed.ended = count == 0;
                shared.1.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        collector
    }

    /// Waits until `find` finds something in the output; `None` if that ends, or `limit` passes, before.
    fn wait<T>(&self, limit: Duration, find: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
        let end_at = Instant::now() + limit;
        let mut printed = lock(&self.0.0);
        loop {
            let found = find(&printed.bytes);
            let left = end_at.saturating_duration_since(Instant::now());
            if found.is_some() || printed.ended || left.is_zero() {
                return found;
            }
            printed = self.0.1.wait_timeout(printed, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Everything, once the stream has ended, or what there is after `limit`.
    fn to_end(&self, limit: Duration) -> Vec<u8> {
        self.wait(limit, |_| None::<()>);
        lock(&self.0.0).bytes.clone()
    }

    /// The last lines, for a failure message.
    fn tail(&self) -> String {
        const TAIL_LEN: usize = 4096;
        let printed = lock(&self.0.0);
        let start = printed.bytes.len().saturating_sub(TAIL_LEN);
        String::from_utf8_lossy(&printed.bytes[start..]).into_owned()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! EAL, DPDK's environment: it is started once a process, with the first device.

use std::ffi::CString;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{fs, thread};

use crate::config::SMALL_LEN;
use crate::sys::eal as sys;
use crate::{DpdkConfig, DpdkError, PoolConfig};

/// What EAL's own structures take beside the pools, in bytes.
const OWN_LEN: usize = 64 << 20;

/// What EAL takes for a device of one queue with the default pools, in bytes. Where huge pages have less, it takes ordinary
/// memory.
pub const MEMORY_LEN: usize = PoolConfig::DEFAULT.memory_len(SMALL_LEN) + OWN_LEN;

/// The least that is asked for without huge pages, in bytes: room for a few more devices. It is taken only when it is
/// touched.
const ORDINARY_LEN_MIN: usize = 1 << 30;

/// Options by which the user decides about memory.
const MEMORY_OPTIONS: [&str; 8] = [
    "--no-huge",
    "--in-memory",
    "--huge-dir",
    "--socket-mem",
    "--legacy-mem",
    "--file-prefix",
    "--proc-type",
    "-m",
];

/// Options by which the user decides where EAL's threads run. EAL refuses a second one.
const CORE_OPTIONS: [&str; 3] = ["--lcores", "-l", "-c"];

static EAL: Mutex<Eal> = Mutex::new(Eal { state: State::Stopped, note: None, open: Vec::new() });

/// The process's EAL. Who has its lock may call what is not for two threads at a time.
#[derive(Debug)]
pub(crate) struct Eal {
    state: State,
    note: Option<String>,
    /// The names of the devices that are open.
    open: Vec<String>,
}

#[derive(Debug)]
enum State {
    Stopped,
    /// With these arguments of the user's, and devices on the PCI bus only if the first one was.
    Running {
        eal: Vec<String>,
        has_pci: bool,
    },
    Failed {
        arguments: String,
        log: String,
    },
}

impl Eal {
    /// EAL, whether it runs or not.
    pub(crate) fn lock() -> MutexGuard<'static, Eal> {
        EAL.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts EAL for this device, unless it runs.
    pub(crate) fn start(&mut self, config: &DpdkConfig) -> Result<(), DpdkError> {
        match &self.state {
            State::Stopped => self.start_first(config),
            State::Failed { arguments, log } => {
                Err(DpdkError::Eal { arguments: arguments.clone(), log: log.clone() })
            }
            State::Running { eal, .. } if !config.eal.is_empty() && *eal != config.eal => {
                Err(DpdkError::EalDiffers { running: eal.join(" "), wanted: config.eal.join(" ") })
            }
            State::Running { has_pci: false, .. } if config.is_pci() => {
                Err(DpdkError::NoPci(config.device.clone()))
            }
            State::Running { .. } => Ok(()),
        }
    }

    fn start_first(&mut self, config: &DpdkConfig) -> Result<(), DpdkError> {
        check(&config.eal)?;
        let cpus = sys::allowed_cpus()
            .map_err(|source| DpdkError::Io { what: "ask for the CPUs of this thread", source })?;
        let machine = Machine { cpus, huge_len: huge_len() };
        let arguments = machine.arguments(config);
        self.note = machine.note(config);
        let raw = arguments.iter().map(|text| CString::new(text.as_str()));
        let raw: Vec<CString> =
            raw.collect::<Result<_, _>>().map_err(|_| DpdkError::Argument(arguments.join(" ")))?;
        let (outcome, log) = sys::logged(|| init_on_a_thread(raw));
        if outcome? {
            self.state = State::Running { eal: config.eal.clone(), has_pci: config.is_pci() };
            return Ok(());
        }
        let arguments = arguments[1..].join(" ");
        let error = DpdkError::Eal { arguments: arguments.clone(), log: String::new() }.with_log(&log);
        if let DpdkError::Eal { log, .. } = &error {
            self.state = State::Failed { arguments, log: log.clone() };
        }
        Err(error)
    }

    /// Notes that a device is open.
    pub(crate) fn claim(&mut self, name: &str) -> Result<(), DpdkError> {
        if self.open.iter().any(|open| open == name) {
            return Err(DpdkError::Busy(name.into()));
        }
        self.open.push(name.into());
        Ok(())
    }

    /// Notes that it is closed.
    pub(crate) fn release(&mut self, name: &str) {
        self.open.retain(|open| open != name);
    }
}

/// On what memory EAL runs, if that is not what it runs best on, and what to do about it. `None` before the first device
/// was opened.
pub fn memory_note() -> Option<String> {
    Eal::lock().note.clone()
}

/// Whether EAL runs.
pub(crate) fn is_running() -> Result<(), DpdkError> {
    if matches!(Eal::lock().state, State::Running { .. }) { Ok(()) } else { Err(DpdkError::NotStarted) }
}

/// EAL binds the thread that starts it to its CPUs for good, so that is one that ends. Whether it started.
fn init_on_a_thread(arguments: Vec<CString>) -> Result<bool, DpdkError> {
    on_a_plain_thread("hayase-eal", || sys::init(&arguments).is_ok())
}

/// Runs `work` on a thread of its own under the ordinary scheduling policy.
///
/// DPDK's threads inherit the policy of whoever starts them, and 22.11 waits for each to come up by sleeping for a
/// microsecond at a time. A real-time thread (`chrt -f`) never lets go of its CPU that way, and the new thread of the same
/// priority behind it never runs. They only do what is rare, so they need no such priority either.
pub(crate) fn on_a_plain_thread<T: Send>(
    name: &str,
    work: impl FnOnce() -> T + Send,
) -> Result<T, DpdkError> {
    let plain = || {
        sys::leave_real_time();
        work()
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().name(name.into()).spawn_scoped(scope, plain);
        let thread = thread.map_err(|source| DpdkError::Io { what: "start a thread for EAL", source })?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Refuses the arguments at which EAL prints something and ends the program.
fn check(arguments: &[String]) -> Result<(), DpdkError> {
    let ends = |text: &&String| matches!(text.as_str(), "-h" | "--help" | "help") || text.ends_with("=help");
    match arguments.iter().find(ends) {
        Some(argument) => Err(DpdkError::Argument(argument.clone())),
        None => Ok(()),
    }
}

/// Whether one of these options is among the arguments, in any of the ways to write it: `-m 64`, `-m64`, `--lcores=1`.
fn sets(arguments: &[String], options: &[&str]) -> bool {
    let is = |argument: &str, option: &str| match option.starts_with("--") {
        true => argument.split('=').next() == Some(option),
        false => argument.starts_with(option),
    };
    arguments.iter().any(|argument| options.iter().any(|option| is(argument, option)))
}

/// What of the machine decides about EAL's arguments.
#[derive(Debug)]
struct Machine {
    /// CPUs that we may run on.
    cpus: Vec<usize>,
    /// Memory in huge pages that nobody uses, in bytes.
    huge_len: usize,
}

/// Where EAL gets its memory.
#[derive(Debug, PartialEq, Eq)]
enum MemoryKind {
    /// As the user says.
    Chosen,
    /// Huge pages, without files.
    Huge,
    /// Ordinary memory, so many bytes.
    Ordinary(usize),
}

impl Machine {
    fn memory(&self, config: &DpdkConfig) -> MemoryKind {
        if sets(&config.eal, &MEMORY_OPTIONS) {
            return MemoryKind::Chosen;
        }
        let needed = config.memory_len() + OWN_LEN;
        if self.huge_len >= needed {
            MemoryKind::Huge
        } else {
            MemoryKind::Ordinary(needed.max(ORDINARY_LEN_MIN))
        }
    }

    /// EAL's arguments, the program's name first. The user's come last, and so win, but for those that may not be there
    /// twice: of these ours are left out.
    fn arguments(&self, config: &DpdkConfig) -> Vec<String> {
        let mut arguments = vec!["hayase".to_owned()];
        if !sets(&config.eal, &CORE_OPTIONS) {
            let cpus: Vec<_> = self.cpus.iter().map(usize::to_string).collect();
            arguments.push(format!("--lcores=0@({})", cpus.join(",")));
        }
        let mut add = |words: &[&str]| arguments.extend(words.iter().map(|word| (*word).to_owned()));
        add(&["--no-telemetry", "--log-level=warning"]);
        match config.is_pci() {
            true => add(&["-a", config.device.as_str()]),
            false => add(&["--no-pci"]),
        }
        let memory = self.memory(config);
        // Virtual devices are software of this process. Left to itself, EAL takes physical addresses as soon as it can see
        // them, which is as root with huge pages, and then no other memory can be sent from.
        if !config.is_pci() || matches!(memory, MemoryKind::Ordinary(_)) {
            add(&["--iova-mode=va"]);
        }
        match memory {
            MemoryKind::Chosen => {}
            // vhost can be told of eight files, not of every page.
            MemoryKind::Huge => add(&["--in-memory", "--single-file-segments"]),
            MemoryKind::Ordinary(len) => {
                add(&["--no-huge", "--no-shconf", "-m", &(len >> 20).to_string()]);
            }
        }
        arguments.extend(config.eal.iter().cloned());
        arguments
    }

    fn note(&self, config: &DpdkConfig) -> Option<String> {
        let MemoryKind::Ordinary(len) = self.memory(config) else { return None };
        let (free, wanted) = (self.huge_len >> 20, len >> 20);
        Some(format!(
            "{free} MiB of huge pages are free, so DPDK takes up to {wanted} MiB of ordinary memory (--no-huge); hardware \
             wants huge pages: sysctl vm.nr_hugepages={}",
            (config.memory_len() + OWN_LEN).div_ceil(2 << 20)
        ))
    }
}

/// Memory in huge pages of any size that nobody uses, in bytes.
fn huge_len() -> usize {
    let sizes = fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    let len_of = |size: fs::DirEntry| {
        let name = size.file_name().into_string().ok()?;
        let page_kib: usize = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let free: usize = fs::read_to_string(size.path().join("free_hugepages")).ok()?.trim().parse().ok()?;
        Some(free * page_kib * 1024)
    };
    sizes.filter_map(len_of).sum()
}

#[cfg(test)]
mod unit {
    use super::*;

    fn arguments(device: &str, eal: &[&str], huge_len: usize) -> String {
        let eal = eal.iter().map(|text| (*text).to_owned()).collect();
        let config = DpdkConfig { device: device.into(), eal, ..DpdkConfig::default() };
        Machine { cpus: vec![0, 3], huge_len }.arguments(&config).join(" ")
    }

    #[test]
    fn memory_is_what_the_machine_has_and_the_user_wants() {
        let always = "hayase --lcores=0@(0,3) --no-telemetry --log-level=warning";
        let (huge, pci) = (1 << 30, "0000:01:00.0");
        for (device, eal, huge_len, rest) in [
            ("net_null0", &[][..], 0, "--no-pci --iova-mode=va --no-huge --no-shconf -m 1024"),
            (pci, &[], 0, "-a 0000:01:00.0 --iova-mode=va --no-huge --no-shconf -m 1024"),
            ("net_null0", &[], huge, "--no-pci --iova-mode=va --in-memory --single-file-segments"),
            (pci, &[], huge, "-a 0000:01:00.0 --in-memory --single-file-segments"),
            ("net_null0", &["--huge-dir=/mnt"], 0, "--no-pci --iova-mode=va --huge-dir=/mnt"),
            ("net_null0", &["-m", "64"], huge, "--no-pci --iova-mode=va -m 64"),
            ("net_null0", &["-m64"], huge, "--no-pci --iova-mode=va -m64"),
            ("net_null0", &["-v"], huge, "--no-pci --iova-mode=va --in-memory --single-file-segments -v"),
        ] {
            assert_eq!(arguments(device, eal, huge_len), format!("{always} {rest}"));
        }
    }

    #[test]
    fn the_users_cores_take_the_place_of_ours() {
        for eal in [&["-l", "1"][..], &["-l1"], &["-c", "0x2"], &["--lcores=1"], &["--lcores", "1"]] {
            let arguments = arguments("net_null0", eal, 1 << 30);
            assert!(!arguments.contains("0@(0,3)") && arguments.ends_with(&eal.join(" ")), "{arguments}");
        }
        // What merely begins alike.
        assert!(arguments("net_null0", &["--log-level=debug"], 0).contains("--lcores=0@(0,3)"));
    }

    #[test]
    fn a_lack_of_huge_pages_is_told_with_the_remedy() {
        let config = DpdkConfig::default();
        let machine = |huge_len| Machine { cpus: vec![0], huge_len };
        let note = machine(2 << 20).note(&config).unwrap();
        assert!(
            note.starts_with("2 MiB of huge pages are free") && note.contains("vm.nr_hugepages="),
            "{note}"
        );
        assert_eq!(machine(MEMORY_LEN).note(&config), None);
        assert!(machine(MEMORY_LEN - 1).note(&config).is_some());
    }

    #[test]
    fn arguments_that_would_end_the_program_are_refused() {
        for argument in ["-h", "--help", "--log-level=help"] {
            assert!(
                matches!(check(&["-v".into(), argument.into()]), Err(DpdkError::Argument(_))),
                "{argument}"
            );
        }
        check(&["--log-level=lib.eal:debug".into()]).unwrap();
    }
}

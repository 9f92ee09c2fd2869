//! Errors that say what to do.

use std::error::Error;
use std::{fmt, io};

/// Why a port could not be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum DpdkError {
    /// An argument for EAL that would end the program, or that cannot be handed over.
    Argument(String),
    /// EAL did not start, now or before: it has one chance in a process.
    Eal {
        /// The arguments that it was given.
        arguments: String,
        /// The end of its log.
        log: String,
    },
    /// EAL runs already, with other arguments than are wanted now.
    EalDiffers {
        /// With which it runs.
        running: String,
        /// Which are wanted.
        wanted: String,
    },
    /// EAL was not started yet.
    NotStarted,
    /// EAL runs, and has not looked at the PCI bus, on which this device is.
    NoPci(String),
    /// No driver took the device.
    Probe {
        /// The device, with its arguments.
        device: String,
        /// What DPDK's error number means.
        reason: String,
        /// The end of its log.
        log: String,
    },
    /// The device is open in this process.
    Busy(String),
    /// The device did not start.
    Start {
        /// The device, with its arguments.
        device: String,
        /// What was attempted.
        what: &'static str,
        /// What DPDK's error number means.
        reason: String,
        /// The end of its log.
        log: String,
    },
    /// EAL has not enough memory left.
    NoMemory {
        /// What it is for.
        what: &'static str,
        /// How much, in bytes.
        len: usize,
    },
    /// The operating system refuses something.
    Io {
        /// What was attempted.
        what: &'static str,
        /// What it said.
        source: io::Error,
    },
}

impl DpdkError {
    /// Puts the log of DPDK beside what it is about.
    pub(crate) fn with_log(mut self, text: &str) -> DpdkError {
        match &mut self {
            DpdkError::Eal { log, .. } | DpdkError::Probe { log, .. } | DpdkError::Start { log, .. }
                if log.is_empty() =>
            {
                *log = tail(text);
            }
            _ => {}
        }
        self
    }
}

/// The last lines of a log, in one.
fn tail(log: &str) -> String {
    const LINES_MAX: usize = 4;
    let lines: Vec<_> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LINES_MAX)..].join("; ")
}

/// What DPDK logged, if it did.
struct Said<'a>(&'a str);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "; DPDK says: {}", self.0) }
    }
}

impl fmt::Display for DpdkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DpdkError::Argument(argument) => {
                write!(
                    f,
                    "`{argument}` is no argument for EAL here: it would end the program, or has a zero byte"
                )
            }
            DpdkError::Eal { arguments, log } => write!(
                f,
                "DPDK's EAL did not start with `{arguments}`, and starts once in a process: mend the arguments (eal=) \
                 or the memory (sysctl vm.nr_hugepages, or eal=--no-huge) and run the program again{}",
                Said(log)
            ),
            DpdkError::EalDiffers { running, wanted } => write!(
                f,
                "DPDK's EAL runs with `{running}` and starts once in a process: it cannot have `{wanted}` as well; give \
                 all devices of a process the same eal="
            ),
            DpdkError::NotStarted => f.write_str("DPDK's EAL was not started yet: open a device first"),
            DpdkError::NoPci(device) => write!(
                f,
                "DPDK's EAL runs without the PCI bus, since the first device of this process was a virtual one: open \
                 {device} before those"
            ),
            DpdkError::Probe { device, reason, log } => write!(
                f,
                "no DPDK driver takes `{device}` ({reason}): for vdev=, look at the driver's name and arguments, and that \
                 the other end is there (a vhost socket, a memif server); for pci=, bind the device to vfio-pci with \
                 dpdk-devbind.py{}",
                Said(log)
            ),
            DpdkError::Busy(device) => {
                write!(f, "DPDK device {device} is open in this process already: close it, or take another")
            }
            DpdkError::Start { device, what, reason, log } => {
                write!(f, "DPDK device `{device}` refuses to {what} ({reason}){}", Said(log))
            }
            DpdkError::NoMemory { what, len } => write!(
                f,
                "DPDK has no {len} bytes of memory left for {what}: give it more (eal=-m MEGABYTES, or more huge pages by \
                 sysctl vm.nr_hugepages)"
            ),
            DpdkError::Io { what, source } => write!(f, "cannot {what}: {source}"),
        }
    }
}

impl Error for DpdkError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            DpdkError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn an_error_shows_the_end_of_the_log() {
        let (device, reason, log) = ("net_x".into(), "why".into(), String::new());
        let error = DpdkError::Probe { device, reason, log }.with_log("a\nb\n\n c\nd\ne\n");
        let words = error.to_string();
        assert!(words.ends_with("DPDK says: b; c; d; e"), "{words}");
        assert!(!DpdkError::Busy("x".into()).with_log("noise").to_string().contains("noise"));
    }
}

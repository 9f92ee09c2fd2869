//! Where figures come from: a figure without its machine and its build is none.

use std::env;
use std::fmt;
use std::fs;
use std::thread;

use serde::Serialize;

/// The machine, the build and the command, as they stand beside every result.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Machine {
    pub(super) cpu: String,
    pub(super) cores: usize,
    pub(super) memory_bytes: u64,
    pub(super) kernel: String,
    pub(super) rustc: &'static str,
    pub(super) profile: &'static str,
    /// Null where the program was not built in a repository.
    pub(super) commit: Option<&'static str>,
    pub(super) arguments: Vec<String>,
}

impl Machine {
    /// This one.
    pub(super) fn here() -> Machine {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Machine {
            cpu: cpu(&read("/proc/cpuinfo")).unwrap_or(env::consts::ARCH).to_owned(),
            cores: thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: 1024 * kibibytes(&read("/proc/meminfo"), "MemTotal:").unwrap_or_default(),
            kernel: kernel(&read("/proc/sys/kernel/ostype"), &read("/proc/sys/kernel/osrelease")),
            rustc: option_env!("HAYASE_RUSTC").unwrap_or("unknown"),
            profile: option_env!("HAYASE_PROFILE").unwrap_or("unknown"),
            commit: option_env!("HAYASE_COMMIT"),
            // Names of files need not be text.
            arguments: env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect(),
        }
    }

    /// Whether figures of this build mean anything.
    pub(super) fn is_optimised(&self) -> bool {
        !cfg!(debug_assertions)
    }
}

fn cpu(info: &str) -> Option<&str> {
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

fn kernel(name: &str, release: &str) -> String {
    format!("{} {}", name.trim(), release.trim()).trim().to_owned()
}

/// The number on a line of `/proc/meminfo` or `/proc/self/status`.
pub(super) fn kibibytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gibibytes = self.memory_bytes >> 30;
        write!(f, "{}, {} cores, {gibibytes} GiB, {}; ", self.cpu, self.cores, self.kernel)?;
        write!(f, "{}, profile {}, commit {}", self.rustc, self.profile, self.commit.unwrap_or("unknown"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel_are_understood() {
        assert_eq!(cpu("processor\t: 0\nmodel name\t: AMD EPYC: Zen\n"), Some("AMD EPYC: Zen"));
        assert_eq!(cpu("processor : 0\n"), None);
        assert_eq!(kibibytes("Name: x\nVmRSS:\t  2048 kB\n", "VmRSS:"), Some(2048));
        assert_eq!(kernel("Linux\n", "6.18.1\n"), "Linux 6.18.1");
    }

    #[test]
    fn this_machine_and_this_build_are_known() {
        let machine = Machine::here();
        assert!(machine.cores > 0 && machine.memory_bytes > 0, "{machine:?}");
        assert!(machine.rustc.starts_with("rustc ") && machine.profile != "unknown", "{machine:?}");
    }
}

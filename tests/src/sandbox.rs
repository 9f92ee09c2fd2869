//! A place where io_uring is forbidden, as in many containers.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::thread;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// `io_uring_setup`, `io_uring_enter` and `io_uring_register`, on every architecture.
const IO_URING: [i64; 3] = [425, 426, 427];

/// What such a call returns where a container forbids it.
const EPERM: u32 = 1;

/// Does `work` on a thread to which io_uring is forbidden, as it is to all that starts there.
///
/// # Panics
/// If the kernel has no system call filters, or `work` panics.
pub fn without_io_uring<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let sandboxed = || {
        seccompiler::apply_filter(&filter()).expect("a thread may forbid itself something");
        work()
    };
    thread::scope(|scope| scope.spawn(sandboxed).join().expect("the work does not panic"))
}

fn filter() -> BpfProgram {
    let rules: BTreeMap<_, _> = IO_URING.into_iter().map(|call| (call, Vec::new())).collect();
    let arch = ARCH.try_into().expect("an architecture with filters");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(EPERM), arch);
    filter.and_then(TryInto::try_into).expect("a filter of three rules")
}

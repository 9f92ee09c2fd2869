//! Calls of code that is compiled for more than the target's base instructions, after the processor was asked for them;
//! and the one system call of the conformance suite.
//!
//! Programs are built for the oldest processor of their target, whose vectors have 16 bytes; nearly every x86-64 server has
//! those of 32. On other targets, and on bare metal, there is what the compiler was told.

use crate::checksum;

/// [`checksum::sum_words`] by the widest vectors of this processor. A call, so that callers with few bytes stay lean.
#[inline(never)]
pub(crate) fn sum_words(bytes: &[u8]) -> u16 {
    #[cfg(all(target_arch = "x86_64", not(target_os = "none")))]
    if std::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function is compiled for.
        return unsafe { avx2::sum_words(bytes) };
    }
    checksum::sum_words(bytes)
}

#[cfg(all(target_arch = "x86_64", not(target_os = "none")))]
mod avx2 {
    use super::checksum;

    #[target_feature(enable = "avx2")]
    pub(super) fn sum_words(bytes: &[u8]) -> u16 {
        checksum::sum_words(bytes)
    }
}

/// Whether one of these descriptors is ready now, as `poll` has it.
#[cfg(all(any(test, feature = "conformance"), target_os = "linux"))]
pub(crate) fn is_ready(interests: &[crate::Interest]) -> bool {
    use core::ffi::{c_int, c_short, c_ulong};

    /// `struct pollfd`.
    #[repr(C)]
    struct PollFd {
        fd: c_int,
        events: c_short,
        revents: c_short,
    }

    unsafe extern "C" {
        fn poll(fds: *mut PollFd, count: c_ulong, timeout: c_int) -> c_int;
    }

    const POLLIN: c_short = 1;
    const POLLOUT: c_short = 4;
    let entry = |interest: &crate::Interest| PollFd {
        fd: interest.fd,
        events: if interest.readable { POLLIN } else { 0 } | if interest.writable { POLLOUT } else { 0 },
        revents: 0,
    };
    let mut entries: alloc::vec::Vec<_> = interests.iter().map(entry).collect();
    // SAFETY: the pointer is to as many entries as the count says, laid out as the kernel's and ours alone for the call,
    // which does not wait.
    unsafe { poll(entries.as_mut_ptr(), entries.len() as c_ulong, 0) > 0 }
}

/// Nothing has descriptors elsewhere.
#[cfg(all(any(test, feature = "conformance"), not(target_os = "linux")))]
pub(crate) fn is_ready(_interests: &[crate::Interest]) -> bool {
    false
}

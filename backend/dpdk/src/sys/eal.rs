//! The process's side of DPDK: starting it, its log, its threads.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_int};
use std::marker::PhantomData;
use std::{io, ptr};

use super::ffi;

/// Bytes of log that an error shows the end of.
const LOG_LEN_MAX: usize = 4096;

/// Starts EAL with these arguments, the program's name first. Returns DPDK's error number.
///
/// The thread that calls becomes EAL's main thread, and is bound to the CPUs that the arguments name.
pub(crate) fn init(arguments: &[CString]) -> Result<(), i32> {
    // EAL keeps and permutes the array, and its threads read the strings later: neither is ever given back.
    let argv: &mut [*mut c_char] =
        Vec::leak(arguments.iter().map(|text| text.clone().into_raw()).chain([ptr::null_mut()]).collect());
    let count = (argv.len() - 1) as c_int;
    // SAFETY: `argv` holds `count` strings that end in zero, then a null pointer, writable and alive for good. That no
    // two threads are in here is the caller's lock.
    if unsafe { ffi::rte_eal_init(count, argv.as_mut_ptr()) } < 0 { Err(errno()) } else { Ok(()) }
}

/// DPDK's `errno` of this thread.
pub(super) fn errno() -> i32 {
    // SAFETY: the call reads a variable of the thread.
    unsafe { ffi::hayase_errno() }
}

/// What an error number of DPDK means; negative ones as drivers return them as well.
pub(crate) fn describe(error: i32) -> String {
    // SAFETY: the call returns a string that ends in zero: a constant, or a buffer of the thread that lives until its
    // next call here, before which it is copied.
    let text = unsafe { CStr::from_ptr(ffi::rte_strerror(error.abs())) };
    text.to_string_lossy().into_owned()
}

/// Runs `work` and returns, beside its outcome, the end of what DPDK logged meanwhile. Not for two threads at a time:
/// callers hold the lock of EAL.
pub(crate) fn logged<T>(work: impl FnOnce() -> T) -> (T, String) {
    // SAFETY: the stream is a static of the shim that is never closed, and callers hold EAL's lock.
    unsafe { ffi::hayase_log_begin() };
    let outcome = work();
    let mut text = vec![0; LOG_LEN_MAX];
    // SAFETY: at most that many bytes are written to `text`.
    let len = unsafe { ffi::hayase_log_end(text.as_mut_ptr(), text.len()) };
    text.truncate(len);
    (outcome, String::from_utf8_lossy(&text).into_owned())
}

/// Whether a device sees memory at the addresses that the process does.
pub(super) fn devices_see_virtual_addresses() -> bool {
    const RTE_IOVA_VA: c_int = 2;
    // SAFETY: the call reads EAL's configuration.
    unsafe { ffi::rte_eal_iova_mode() == RTE_IOVA_VA }
}

/// The CPUs that the calling thread may run on.
pub(crate) fn allowed_cpus() -> io::Result<Vec<usize>> {
    // SAFETY: all bytes zero is a valid `cpu_set_t`: the empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a set of that size, valid and exclusive for the call. 0 is the calling thread.
    if unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the set was written by the kernel, and each number is below the bits that it has.
    let is_allowed = |cpu: &usize| unsafe { libc::CPU_ISSET(*cpu, &set) };
    Ok((0..libc::CPU_SETSIZE as usize).filter(is_allowed).collect())
}

/// Gives the calling thread the ordinary scheduling policy, and so the threads that it starts.
pub(crate) fn leave_real_time() {
    let parameter = libc::sched_param { sched_priority: 0 };
    // Where a sandbox forbids it, there is nothing to lose: the policy stays.
    // SAFETY: the pointer is to a parameter, read during the call. 0 is the calling thread.
    let _ = unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const parameter) };
}

thread_local! {
    /// Devices of this thread, and whether it was us who made it known to EAL.
    static USERS: Cell<(usize, bool)> = const { Cell::new((0, false)) };
}

/// Makes the thread known to EAL for as long as it lives: only such threads have free buffers at hand; others go to
/// the ring of the pool for each. Where EAL takes no more threads, the device works all the same.
#[derive(Debug)]
pub(crate) struct Registration(PhantomData<*const ()>);

impl Registration {
    pub(crate) fn new() -> Registration {
        let (count, ours) = USERS.get();
        // SAFETY: EAL runs, since a port is open; both calls are for any thread.
        let registered = ours || unsafe { ffi::hayase_is_lcore() == 0 && ffi::rte_thread_register() == 0 };
        USERS.set((count + 1, registered));
        Registration(PhantomData)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // A thread that is just ending has no more devices to count.
        let _ = USERS.try_with(|users| {
            let (count, ours) = users.get();
            users.set((count - 1, ours && count > 1));
            if ours && count == 1 {
                // SAFETY: this thread was registered by us, and not unregistered since.
                unsafe { ffi::rte_thread_unregister() };
            }
        });
    }
}

//! What only the tests need: a network namespace of their own and a packet socket in it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::check;
use super::net::{bind_packet, socket};

const PACKET_VNET_HDR: libc::c_int = 15;
const CAPABILITY_VERSION: u32 = 0x2008_0522;
const CAP_IPC_LOCK: u32 = 14;

/// Moves the calling thread, and what it opens from now on, to a new, empty network namespace. It ends with the last
/// of them.
pub(crate) fn enter_new_network_namespace() -> io::Result<()> {
    // SAFETY: the call takes no pointer, and changes only the calling thread's namespace.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) })
}

/// A socket that sends and receives whole frames on an interface, each behind a `virtio_net_hdr`.
pub(crate) fn packet_socket(interface_index: u32) -> io::Result<OwnedFd> {
    let fd = socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK, 0)?;
    let on: libc::c_int = 1;
    let len = size_of_val(&on) as libc::socklen_t;
    let value = std::ptr::from_ref(&on).cast();
    // SAFETY: `value` points to an int that lives through the call, and `len` is its size.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_PACKET, PACKET_VNET_HDR, value, len) })?;
    bind_packet(fd.as_fd(), interface_index)?;
    Ok(fd)
}

/// Limits the memory that the calling thread may have locked, in bytes. The limit is the process's; the right not to mind it
/// is given up by this thread only.
pub(crate) fn limit_locked_memory(len: usize) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a `struct rlimit` that is ours alone for the call.
    check(unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) })?;
    limit.rlim_cur = len as libc::rlim_t;
    // SAFETY: the pointer is to a `struct rlimit` that lives through the call.
    check(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) })?;
    // `struct __user_cap_header_struct`, and twice `struct __user_cap_data_struct`: effective, permitted, inheritable.
    let mut header = [CAPABILITY_VERSION, 0];
    let mut sets = [0_u32; 6];
    // SAFETY: of this version, the call reads the two words of the header, which it may correct, and writes the six of the sets; pid 0 is the
    // calling thread.
    let got = unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) };
    check(got as i32)?;
    sets[0] &= !(1 << CAP_IPC_LOCK);
    // SAFETY: of this version, as before, but the six words of the sets are read.
    let set = unsafe { libc::syscall(libc::SYS_capset, header.as_mut_ptr(), sets.as_ptr()) };
    check(set as i32)
}

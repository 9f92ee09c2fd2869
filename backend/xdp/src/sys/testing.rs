//! What only the tests need: a network namespace of their own and a packet socket in it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::check;
use super::net::{bind_packet, socket};

const PACKET_VNET_HDR: libc::c_int = 15;

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

//! Every system call that rustix does not wrap. The only unsafe code of this crate.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The number of the state that a TCP socket is in (`include/net/tcp_states.h`).
pub(crate) fn tcp_state(fd: BorrowedFd<'_>) -> io::Result<u8> {
    // The kernel fills in as much of its `struct tcp_info` as there is room for; the state is its first byte.
    let mut info = [0_u8; 4];
    let mut len = size_of_val(&info) as libc::socklen_t;
    let value = info.as_mut_ptr().cast();
    // SAFETY: `value` points to `len` bytes that are ours for the call, and the kernel writes no more than that.
    check(unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, value, &raw mut len)
    })?;
    Ok(info[0])
}

/// Bytes that were written and that the peer has not acknowledged.
pub(crate) fn unacknowledged(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut len: libc::c_int = 0;
    // SAFETY: the request writes one int through the pointer, which is valid and exclusive for the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ as _, &raw mut len) })?;
    Ok(usize::try_from(len).unwrap_or(0))
}

/// An option that rustix does not know.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Flag {
    /// Received packets tell their TTL.
    ReceiveTtl,
    /// Received packets tell their hop limit.
    ReceiveHopLimit,
}

/// Switches an option on.
pub(crate) fn enable(fd: BorrowedFd<'_>, flag: Flag) -> io::Result<()> {
    let (level, name) = match flag {
        Flag::ReceiveTtl => (libc::IPPROTO_IP, libc::IP_RECVTTL),
        Flag::ReceiveHopLimit => (libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT),
    };
    let on: libc::c_int = 1;
    let len = size_of_val(&on) as libc::socklen_t;
    let value = std::ptr::from_ref(&on).cast();
    // SAFETY: `value` points to an int that lives through the call, and `len` is its size.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value, len) })
}

/// Receives a datagram and what the kernel says about it (`struct cmsghdr` after `struct cmsghdr`); returns the length
/// of each.
pub(crate) fn receive(
    fd: BorrowedFd<'_>,
    bytes: &mut [u8],
    control: &mut [u64],
) -> rustix::io::Result<(usize, usize)> {
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: all bytes zero is a valid `msghdr`: no address, no parts, no control data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(control) as _;
    // SAFETY: the message names one part and one control buffer, each a slice that is ours for the call with its length,
    // and the latter aligned as a `cmsghdr` wants it.
    let len = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, 0) };
    match usize::try_from(len) {
        Ok(len) => Ok((len, message.msg_controllen as usize)),
        Err(_) => {
            let error = io::Error::last_os_error();
            Err(rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO))
        }
    }
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

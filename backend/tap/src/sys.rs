//! Every system call that the standard library does not wrap. The only unsafe code of this crate.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Longest interface name, without the terminating zero.
pub(crate) const NAME_LEN_MAX: usize = libc::IFNAMSIZ - 1;

/// The kernel's `struct ifreq`: a name, and a union of at most 24 bytes on every architecture.
#[repr(C, align(8))]
pub(crate) struct Ifreq {
    pub(crate) name: [u8; libc::IFNAMSIZ],
    pub(crate) data: [u8; 24],
}

const _: () = assert!(size_of::<Ifreq>() >= size_of::<libc::ifreq>());

impl Ifreq {
    /// A request about the interface of that name, of which the first 15 bytes are taken.
    pub(crate) fn new(name: &str) -> Ifreq {
        let mut request = Ifreq { name: [0; libc::IFNAMSIZ], data: [0; 24] };
        let len = name.len().min(NAME_LEN_MAX);
        request.name[..len].copy_from_slice(&name.as_bytes()[..len]);
        request
    }

    pub(crate) fn with_i32(mut self, value: i32) -> Ifreq {
        self.data[..4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    pub(crate) fn with_i16(mut self, value: i16) -> Ifreq {
        self.data[..2].copy_from_slice(&value.to_ne_bytes());
        self
    }

    pub(crate) fn as_i32(&self) -> i32 {
        i32::from_ne_bytes([self.data[0], self.data[1], self.data[2], self.data[3]])
    }

    pub(crate) fn as_i16(&self) -> i16 {
        i16::from_ne_bytes([self.data[0], self.data[1]])
    }
}

/// The requests about an interface that this crate makes; each takes a `struct ifreq`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum IfRequest {
    Attach,
    GetIndex,
    GetFlags,
    SetFlags,
    GetMtu,
    SetMtu,
    GetMac,
}

/// Makes a request about an interface.
pub(crate) fn interface(fd: BorrowedFd<'_>, request: IfRequest, ifreq: &mut Ifreq) -> io::Result<()> {
    let request = match request {
        IfRequest::Attach => libc::TUNSETIFF as libc::c_ulong,
        IfRequest::GetIndex => libc::SIOCGIFINDEX as libc::c_ulong,
        IfRequest::GetFlags => libc::SIOCGIFFLAGS as libc::c_ulong,
        IfRequest::SetFlags => libc::SIOCSIFFLAGS as libc::c_ulong,
        IfRequest::GetMtu => libc::SIOCGIFMTU as libc::c_ulong,
        IfRequest::SetMtu => libc::SIOCSIFMTU as libc::c_ulong,
        IfRequest::GetMac => libc::SIOCGIFHWADDR as libc::c_ulong,
    };
    // SAFETY: each of these requests reads and writes one `struct ifreq`, which `Ifreq` is at least as large as
    // and laid out like; the reference is valid and exclusive for the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request as _, std::ptr::from_mut(ifreq)) })
}

/// Sets the length of the `virtio_net_hdr` in front of each frame.
pub(crate) fn set_vnet_header_len(tun: BorrowedFd<'_>, len: usize) -> io::Result<()> {
    let len = len as libc::c_int;
    // SAFETY: the request reads one int through the pointer, which is valid for the call.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETVNETHDRSZ as _, std::ptr::from_ref(&len)) })
}

/// Tells the kernel what it may leave to us (`TUN_F_*`).
pub(crate) fn set_tun_offload(tun: BorrowedFd<'_>, flags: u32) -> io::Result<()> {
    // SAFETY: the request takes its argument by value and touches no memory of ours.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETOFFLOAD as _, libc::c_ulong::from(flags)) })
}

/// Whether any of `events` (`POLLIN`, `POLLOUT`) holds now.
pub(crate) fn is_ready(fd: BorrowedFd<'_>, events: i16) -> bool {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    // SAFETY: the pointer is to one valid `pollfd`, as the count says, and exclusive for the call.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
    ready > 0 && poll.revents & events != 0
}

/// A new socket, closed on exec.
pub(crate) fn socket(domain: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointer.
    let fd = unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC, protocol) };
    check(fd)?;
    // SAFETY: the descriptor was opened just now and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// What only the tests need: a network namespace of their own and a packet socket in it.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    const PACKET_VNET_HDR: libc::c_int = 15;

    /// Moves the calling thread, and what it opens from now on, to a new, empty network namespace. It ends with
    /// the last of them.
    pub(crate) fn enter_new_network_namespace() -> io::Result<()> {
        // SAFETY: the call takes no pointer, and changes only the calling thread's namespace.
        check(unsafe { libc::unshare(libc::CLONE_NEWNET) })
    }

    /// A socket that sends and receives whole frames on an interface, each behind a `virtio_net_hdr`.
    pub(crate) fn packet_socket(interface_index: i32) -> io::Result<OwnedFd> {
        let protocol = (libc::ETH_P_ALL as u16).to_be();
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK;
        let fd = socket(libc::AF_PACKET, kind, i32::from(protocol))?;
        let on: libc::c_int = 1;
        let len = size_of_val(&on) as libc::socklen_t;
        let value = std::ptr::from_ref(&on).cast();
        // SAFETY: `value` points to an int that lives through the call, and `len` is its size.
        check(unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_PACKET, PACKET_VNET_HDR, value, len) })?;
        // SAFETY: all bytes zero is a valid `sockaddr_ll`.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol;
        address.sll_ifindex = interface_index;
        let len = size_of_val(&address) as libc::socklen_t;
        // SAFETY: the pointer is to a valid `sockaddr_ll` that lives through the call, and `len` is its size.
        check(unsafe { libc::bind(fd.as_raw_fd(), std::ptr::from_ref(&address).cast(), len) })?;
        Ok(fd)
    }
}

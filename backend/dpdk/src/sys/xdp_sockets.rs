//! The sockets of net_af_xdp: the driver keeps them to itself and has no interrupts, though a socket can be waited for.

use std::collections::HashSet;
use std::fs;
use std::mem;
use std::os::fd::RawFd;
use std::path::PathBuf;

/// The AF_XDP sockets that a process has open.
pub(crate) struct XdpSockets(HashSet<(RawFd, PathBuf)>);

impl XdpSockets {
    /// Those of now; none where `/proc` is not mounted.
    pub(crate) fn open_now() -> XdpSockets {
        let entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
        let sockets = entries.filter_map(|entry| {
            let fd = entry.file_name().to_str()?.parse().ok()?;
            // "socket:[inode]". Of a descriptor that was closed and is another's now, the inode differs.
            let name = fs::read_link(entry.path()).ok()?;
            is_xdp_socket(fd).then_some((fd, name))
        });
        XdpSockets(sockets.collect())
    }

    /// The one that was opened since. `None` if it was none, or several: then nothing tells which is whose.
    pub(crate) fn added_since(&self, before: &XdpSockets) -> Option<RawFd> {
        let mut added = self.0.difference(&before.0);
        let (fd, _) = added.next()?;
        added.next().is_none().then_some(*fd)
    }
}

fn is_xdp_socket(fd: RawFd) -> bool {
    let (mut domain, mut len) = (0i32, mem::size_of::<i32>() as libc::socklen_t);
    let value = (&raw mut domain).cast();
    // SAFETY: both pointers are to locals, valid and exclusive for the call, and the length is that of the value. What is no
    // socket is refused.
    let got = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_DOMAIN, value, &raw mut len) };
    got == 0 && domain == libc::AF_XDP
}

#[cfg(test)]
mod unit {
    use super::*;
    use std::os::fd::{FromRawFd, OwnedFd};

    fn xdp_socket() -> Option<OwnedFd> {
        // SAFETY: the call takes no pointer.
        let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        // SAFETY: the descriptor was opened just now, and nobody else knows it.
        (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
    }

    #[test]
    fn a_socket_is_found_among_other_descriptors() {
        use std::os::fd::AsRawFd;

        let before = XdpSockets::open_now();
        let _other = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(XdpSockets::open_now().added_since(&before), None);
        let Some(first) = xdp_socket() else {
            let reason = format!("no AF_XDP sockets here: {}", std::io::Error::last_os_error());
            return hayase_device::conformance::skip(&reason);
        };
        assert_eq!(XdpSockets::open_now().added_since(&before), Some(first.as_raw_fd()));
        let Some(_second) = xdp_socket() else { panic!("a second socket was refused") };
        assert_eq!(XdpSockets::open_now().added_since(&before), None, "two may be either's");
    }
}

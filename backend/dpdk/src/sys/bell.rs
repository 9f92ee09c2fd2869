//! The interrupt of a receive queue, as a descriptor that is ready once for each ring.
//!
//! Drivers hand out an eventfd that nobody reads, or an epoll over one: left to themselves they stay ready for good.
//! An epoll of our own, edge-triggered, is ready again only when they ring again.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// The bell of one queue.
#[derive(Debug)]
pub(crate) struct Bell(OwnedFd);

impl Bell {
    /// Listens to the descriptor of a driver.
    pub(crate) fn new(driver: RawFd) -> io::Result<Bell> {
        // SAFETY: the call takes no pointer.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was opened just now, and nobody else knows it.
        let bell = Bell(unsafe { OwnedFd::from_raw_fd(fd) });
        let mut event = libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLET) as u32, u64: 0 };
        // SAFETY: the pointer is to one event, valid for the call.
        let added = unsafe { libc::epoll_ctl(fd, libc::EPOLL_CTL_ADD, driver, &raw mut event) };
        if added < 0 { Err(io::Error::last_os_error()) } else { Ok(bell) }
    }

    /// What to poll for reading.
    pub(crate) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Makes the descriptor silent until the next ring.
    pub(crate) fn silence(&self) {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // An error leaves it as it was, which costs one look at the queue too many.
        // SAFETY: there is room for one event, as the count says, valid and exclusive for the call; it does not wait.
        unsafe { libc::epoll_wait(self.fd(), &raw mut event, 1, 0) };
    }
}

/// Whether a descriptor can be read now.
#[cfg(test)]
pub(crate) fn is_readable(fd: RawFd) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: the pointer is to one valid `pollfd`, as the count says, and exclusive for the call; it does not wait.
    unsafe { libc::poll(&raw mut poll, 1, 0) == 1 }
}

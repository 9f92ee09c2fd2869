//! Every system call that rustix does not wrap. The only unsafe code of this crate.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use io_uring::opcode::{AsyncCancel, PollAdd};
use io_uring::squeue::Entry;
use io_uring::types::Fd;
use io_uring::{IoUring, cqueue};
use rustix::io::Errno;

/// Fills in as much of `struct tcp_info` as there is room for, and as the kernel has: how much that is.
pub(crate) fn tcp_info(fd: BorrowedFd<'_>, info: &mut [u8]) -> io::Result<usize> {
    let mut len = size_of_val(info) as libc::socklen_t;
    let value = info.as_mut_ptr().cast();
    // SAFETY: `value` points to `len` bytes that are ours for the call, and the kernel writes no more than that.
    check(unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, value, &raw mut len)
    })?;
    Ok(len as usize)
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

/// Requests that fit in before they are handed over.
const REQUESTS: u32 = 256;

/// Answers that fit in before the kernel keeps them for later, which costs it memory.
const ANSWERS: u32 = 4096;

/// Names the answers that nobody waits for.
const NOBODY: u64 = u64::MAX;

/// io_uring as a set of descriptors that tells when one of them changes: a poll on each, which goes on.
pub(crate) struct Ring(IoUring);

/// What a poll has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) name: u64,
    /// Bits of poll(2).
    pub(crate) events: u32,
    /// Whether the poll is over.
    pub(crate) is_last: bool,
}

impl Ring {
    /// A ring of this thread, if the kernel has what is needed and lets us have it.
    pub(crate) fn new() -> io::Result<Ring> {
        let mut builder = IoUring::builder();
        // Answers are written when this thread is in the kernel anyway, and a flag says if some are due (Linux 6.0).
        builder.setup_single_issuer().setup_coop_taskrun().setup_taskrun_flag().setup_cqsize(ANSWERS);
        builder.build(REQUESTS).map(Ring)
    }

    /// Tells of each of `events` (bits of poll(2)) once when it comes, from the next time that answers are taken on.
    pub(crate) fn watch(&mut self, fd: BorrowedFd<'_>, name: u64, events: u32) -> io::Result<()> {
        self.push(&PollAdd::new(Fd(fd.as_raw_fd()), events).multi(true).build().user_data(name))
    }

    /// Ends a poll, at once: it would keep its file open. A cancellation also ends one that is just about to speak, which
    /// the removal of a poll does not.
    pub(crate) fn forget(&mut self, name: u64) -> io::Result<()> {
        self.push(&AsyncCancel::new(name).build().user_data(NOBODY))?;
        self.submit()
    }

    /// Whether there are answers, or requests that the kernel does not know yet.
    pub(crate) fn is_pending(&mut self) -> bool {
        self.is_due() || !self.0.completion().is_empty()
    }

    /// Whether the kernel has to be called: for requests, or for answers that it has not written yet.
    fn is_due(&mut self) -> bool {
        let requests = self.0.submission();
        !requests.is_empty() || requests.taskrun() || requests.cq_overflow()
    }

    /// Hands the requests over, and hands out the answers, at most so many.
    pub(crate) fn take(&mut self, count_max: usize, mut each: impl FnMut(Answer)) -> io::Result<()> {
        if self.is_due() {
            self.submit()?;
        }
        for entry in self.0.completion().take(count_max) {
            let answer = Answer {
                name: entry.user_data(),
                events: u32::try_from(entry.result()).unwrap_or(0),
                is_last: !cqueue::more(entry.flags()),
            };
            // A poll that we ended has nothing to say.
            if answer.name != NOBODY && entry.result() != -libc::ECANCELED {
                each(answer);
            }
        }
        Ok(())
    }

    fn submit(&self) -> io::Result<()> {
        match self.0.submit() {
            Ok(_) => Ok(()),
            // The requests stay in the ring, to be handed over with the next.
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::INTR | Errno::BUSY | Errno::AGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    fn push(&mut self, entry: &Entry) -> io::Result<()> {
        if self.0.submission().is_full() {
            self.submit()?;
        }
        // SAFETY: polls and their ends carry no pointer, so nothing has to outlive the call.
        let pushed = unsafe { self.0.submission().push(entry) };
        pushed.map_err(io::Error::other)
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is the ring's, which lives as long as the borrow.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ring").field(&self.0.as_raw_fd()).finish()
    }
}

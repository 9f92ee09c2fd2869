//! Sleeping in `ppoll`.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::reactor::Interest;

/// Sleeps until the bell, a descriptor or the timeout.
pub(crate) fn park<'a>(
    bell: BorrowedFd<'a>,
    interests: &'a [Interest],
    timeout: Option<Duration>,
) -> io::Result<()> {
    let mut fds = Vec::with_capacity(1 + interests.len());
    fds.push(PollFd::from_borrowed_fd(bell, PollFlags::IN));
    fds.extend(interests.iter().filter(|interest| interest.fd >= 0).map(poll_fd));
    let timeout = timeout.map(|timeout| Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn poll_fd(interest: &Interest) -> PollFd<'_> {
    // SAFETY: the number is not -1. The borrow lasts for one call of `ppoll`, which neither reads, writes nor closes
    // what it names, and reports a number that names nothing as POLLNVAL.
    let fd = unsafe { BorrowedFd::borrow_raw(interest.fd) };
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::IN, interest.readable);
    flags.set(PollFlags::OUT, interest.writable);
    PollFd::from_borrowed_fd(fd, flags)
}

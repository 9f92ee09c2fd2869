//! Sleeping in io_uring.
//!
//! One system call arms a poll for each descriptor and sleeps with a timeout. A poll fires once. The polls that did not
//! fire are cancelled before the thread goes on: an armed poll keeps its file open after the owner closed it, which
//! for a TAP device means that it cannot be opened again. Only the bell, which lives as long as the ring, stays armed,
//! so a wake-up by the only device, the common case, costs no further call.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;
use std::{fmt, iter};

use io_uring::opcode::{AsyncCancel, PollAdd};
use io_uring::squeue::Entry;
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue};
use rustix::event::PollFlags;
use rustix::io::Errno;

use crate::reactor::Interest;

/// More descriptors than this take more than one call.
const ENTRIES: u32 = 16;
/// Names the poll of the bell; those of the descriptors have their place in the list.
const BELL: u64 = u64::MAX;
/// Names all cancellations.
const CANCEL: u64 = u64::MAX - 1;

pub(crate) struct Ring {
    ring: IoUring,
    bell_armed: bool,
    /// For each descriptor of the present sleep, whether its poll has completed.
    completed: Vec<bool>,
    /// Cancellations under way.
    cancels: usize,
}

impl Ring {
    /// A ring, if the kernel has what is needed and lets us have it.
    pub(crate) fn new() -> io::Result<Ring> {
        let ring = IoUring::new(ENTRIES)?;
        if !ring.params().is_feature_ext_arg() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "io_uring needs Linux 5.11"));
        }
        Ok(Ring { ring, bell_armed: false, completed: Vec::new(), cancels: 0 })
    }

    /// Sleeps until the bell, a descriptor or the timeout. After an error the ring is of no more use.
    pub(crate) fn park(
        &mut self,
        bell: BorrowedFd<'_>,
        interests: &[Interest],
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        self.arm(bell, interests)?;
        self.enter(timeout)?;
        self.reap();
        self.disarm()
    }

    fn arm(&mut self, bell: BorrowedFd<'_>, interests: &[Interest]) -> io::Result<()> {
        if !self.bell_armed {
            self.push(&poll(bell.as_raw_fd(), PollFlags::IN, BELL))?;
            self.bell_armed = true;
        }
        self.completed.clear();
        // A negative number is no descriptor, as in `poll`. A poll of it would fail at once, and keep the thread awake.
        self.completed.extend(interests.iter().map(|interest| interest.fd < 0));
        for (index, interest) in interests.iter().enumerate().filter(|(_, interest)| interest.fd >= 0) {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, interest.readable);
            flags.set(PollFlags::OUT, interest.writable);
            self.push(&poll(interest.fd, flags, index as u64))?;
        }
        Ok(())
    }

    /// Cancels the polls that have not completed and waits until all have.
    fn disarm(&mut self) -> io::Result<()> {
        for index in 0..self.completed.len() {
            if !self.completed[index] {
                self.push(&AsyncCancel::new(index as u64).build().user_data(CANCEL))?;
                self.cancels += 1;
            }
        }
        while self.cancels > 0 || self.completed.contains(&false) {
            self.enter(None)?;
            self.reap();
        }
        Ok(())
    }

    /// Submits what was pushed and waits for a completion.
    fn enter(&self, timeout: Option<Duration>) -> io::Result<()> {
        let timespec = timeout.map(Timespec::from);
        let args = timespec.iter().fold(SubmitArgs::new(), |args, timespec| args.timespec(timespec));
        match self.ring.submitter().submit_with_args(1, &args) {
            Ok(_) => Ok(()),
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::TIME | Errno::INTR) => Ok(()),
                _ => Err(error),
            },
        }
    }

    fn reap(&mut self) {
        let Ring { ring, bell_armed, completed, cancels } = self;
        for name in ring.completion().map(|entry: cqueue::Entry| entry.user_data()) {
            match name {
                BELL => *bell_armed = false,
                CANCEL => *cancels -= 1,
                index => completed[index as usize] = true,
            }
        }
    }

    fn push(&mut self, entry: &Entry) -> io::Result<()> {
        if self.ring.submission().is_full() {
            self.ring.submit()?;
        }
        // SAFETY: polls and cancellations carry no pointer, so nothing has to outlive the call.
        let pushed = unsafe { self.ring.submission().push(entry) };
        pushed.map_err(io::Error::other)
    }
}

fn poll(fd: i32, flags: PollFlags, name: u64) -> Entry {
    PollAdd::new(Fd(fd), flags.bits().into()).build().user_data(name)
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fd = iter::once(self.ring.as_raw_fd());
        f.debug_set().entries(fd).finish()
    }
}

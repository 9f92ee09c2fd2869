//! A descriptor, and what it was ready for when it was last heard of.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::Poll;

use rustix::event::epoll::EventFlags;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};

/// A direction of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Read,
    Write,
}

impl Side {
    /// The events after which this side has something to do. Urgent data is among them because a read stops in
    /// front of it, short of what is there.
    fn events(self) -> EventFlags {
        let failure = EventFlags::HUP | EventFlags::ERR;
        match self {
            Side::Read => EventFlags::IN | EventFlags::RDHUP | EventFlags::PRI | failure,
            Side::Write => EventFlags::OUT | failure,
        }
    }

    /// The event that goes when the queue has been drained, or filled.
    fn level(self) -> EventFlags {
        match self {
            Side::Read => EventFlags::IN,
            Side::Write => EventFlags::OUT,
        }
    }
}

/// What a socket is ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Readiness {
    /// A read, receive or accept would bring something.
    pub readable: bool,
    /// A write would take something, or the handshake is over.
    pub writable: bool,
    /// The peer will send no more.
    pub read_closed: bool,
    /// Nothing can be written any more.
    pub write_closed: bool,
    /// The socket failed; the next call tells why.
    pub error: bool,
}

impl Readiness {
    pub(crate) fn new(events: EventFlags) -> Readiness {
        Readiness {
            readable: events.contains(EventFlags::IN),
            writable: events.contains(EventFlags::OUT),
            read_closed: events.intersects(EventFlags::RDHUP | EventFlags::HUP),
            write_closed: events.contains(EventFlags::HUP),
            error: events.contains(EventFlags::ERR),
        }
    }
}

/// A descriptor in the readiness set.
///
/// The set tells of a change once. So it is remembered here until a call finds the queue empty (or full), and a call
/// that is known to find it so is not made.
#[derive(Debug)]
pub(crate) struct Source {
    fd: OwnedFd,
    events: EventFlags,
}

impl Source {
    /// A descriptor with which everything is tried before it is waited for.
    pub(crate) fn eager(fd: OwnedFd) -> Source {
        Source { fd, events: EventFlags::IN | EventFlags::OUT }
    }

    /// A descriptor with which nothing is tried before the set has spoken: a handshake is under way.
    pub(crate) fn patient(fd: OwnedFd) -> Source {
        Source { fd, events: EventFlags::empty() }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// The set has spoken.
    pub(crate) fn hear(&mut self, events: EventFlags) {
        self.events |= events;
    }

    pub(crate) fn is_ready(&self, side: Side) -> bool {
        self.events.intersects(side.events())
    }

    /// Nothing is left to do on this side until the set speaks again.
    pub(crate) fn exhaust(&mut self, side: Side) {
        self.events.remove(side.events());
    }

    /// A stream gave less than was asked for, or took less than was offered: the queue is empty, or full. What was
    /// heard of an end or a failure still stands.
    pub(crate) fn fell_short(&mut self, side: Side) {
        self.events.remove(side.level());
    }

    /// Makes a call, unless it is known to lead to nothing.
    pub(crate) fn attempt<T>(
        &mut self,
        side: Side,
        mut call: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<T>,
    ) -> Poll<io::Result<T>> {
        if !self.is_ready(side) {
            return Poll::Pending;
        }
        match retry_on_intr(|| call(self.fd.as_fd())) {
            Ok(value) => Poll::Ready(Ok(value)),
            Err(Errno::AGAIN) => {
                self.exhaust(side);
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }

    /// What it is ready for at this moment. Costs a system call where there is a reason to ask.
    ///
    /// # Errors
    /// If the kernel has no memory for the question.
    pub(crate) fn readiness(&mut self) -> io::Result<Readiness> {
        if !self.events.is_empty() {
            let asked = PollFlags::IN | PollFlags::OUT | PollFlags::RDHUP | PollFlags::PRI;
            let mut fds = [PollFd::from_borrowed_fd(self.fd.as_fd(), asked)];
            retry_on_intr(|| poll(&mut fds, Some(&Timespec::default())))?;
            // poll(2) and epoll have the same numbers for the same events.
            self.events = EventFlags::from_bits_truncate(fds[0].revents().bits().into());
        }
        Ok(Readiness::new(self.events))
    }
}

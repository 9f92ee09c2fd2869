//! The set of all descriptors of a thread, which tells what changed: io_uring, or epoll where that is not to be had.
//!
//! What holds a port is epoll's everywhere. A poll of io_uring keeps its file open until the kernel has cleaned up after a
//! process that was killed, which is somewhat after the process is gone: its successor would find the port taken. The ring
//! has a poll on the epoll set instead, which holds none of its files.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::sys::{Answer, Ring};

/// Changes that one look at the set brings at most, so that tasks get their share; the others stay in the set.
const CHANGES_MAX: usize = 256;

/// What every descriptor is watched for: each event once, when it comes. io_uring does so by itself.
const WATCHED: EventFlags =
    EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::PRI);

/// The name of the epoll set in the ring.
const SET: u64 = u64::MAX - 1;

/// Descriptors under the names that they were given.
#[derive(Debug)]
pub(crate) struct Watch {
    /// What tells of the rest, and of `set`.
    ring: Option<Box<Ring>>,
    /// Those that hold a port; without a ring, all.
    set: Set,
    /// Whether the set may have something to tell.
    is_due: bool,
    changes: Vec<Change>,
}

/// An epoll set.
struct Set {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Set {
    fn new() -> io::Result<Set> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Set { epoll, events: Vec::with_capacity(CHANGES_MAX) })
    }

    fn add(&self, fd: BorrowedFd<'_>, name: u64) -> io::Result<()> {
        match epoll::add(&self.epoll, fd, EventData::new_u64(name), WATCHED | EventFlags::ET) {
            // It was watched with all others when this set took the ring's place, and is to be watched again as one of those
            // whose watch had ended just before.
            Err(Errno::EXIST) => Ok(()),
            result => Ok(result?),
        }
    }

    /// Adds what there is to tell to `changes`. Returns whether there may be more.
    fn tell(&mut self, changes: &mut Vec<Change>) -> io::Result<bool> {
        self.events.clear();
        let now = Timespec::default();
        retry_on_intr(|| epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&now)))?;
        let change = |event: &Event| Change { name: event.data.u64(), events: event.flags, is_last: false };
        changes.extend(self.events.iter().map(change));
        Ok(self.events.len() == self.events.capacity())
    }
}

impl fmt::Debug for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Set").field(&self.epoll).finish()
    }
}

/// What there is to say of a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) name: u64,
    pub(crate) events: EventFlags,
    /// Whether it is watched no longer, and must be added again.
    pub(crate) is_last: bool,
}

impl Watch {
    /// The best way that there is here.
    pub(crate) fn new() -> io::Result<Watch> {
        let mut watch = Watch::epoll()?;
        if let Ok(mut ring) = Ring::new()
            && ring.watch(watch.set.epoll.as_fd(), SET, EventFlags::IN.bits()).is_ok()
        {
            watch.ring = Some(Box::new(ring));
        }
        Ok(watch)
    }

    pub(crate) fn epoll() -> io::Result<Watch> {
        Ok(Watch { ring: None, set: Set::new()?, is_due: false, changes: Vec::new() })
    }

    /// What to call it in a report.
    pub(crate) fn name(&self) -> &'static str {
        if self.ring.is_some() { "io_uring" } else { "epoll" }
    }

    /// Whether another way is left if this one fails: a policy may come into force after the start.
    pub(crate) fn is_replaceable(&self) -> bool {
        self.ring.is_some()
    }

    /// Can be read when there are changes.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.ring.as_ref().map_or(self.set.epoll.as_fd(), |ring| ring.as_fd())
    }

    /// Whether there are changes that the descriptor need not tell of.
    pub(crate) fn is_pending(&mut self) -> bool {
        let is_due = self.is_due || !self.changes.is_empty();
        self.ring.as_mut().is_some_and(|ring| is_due || ring.is_pending())
    }

    pub(crate) fn add(&mut self, fd: BorrowedFd<'_>, name: u64, holds_port: bool) -> io::Result<()> {
        match &mut self.ring {
            Some(ring) if !holds_port => ring.watch(fd, name, WATCHED.bits()),
            _ => self.set.add(fd, name),
        }
    }

    /// Watches no longer; what is heard of the name from now on is old.
    pub(crate) fn remove(&mut self, fd: BorrowedFd<'_>, name: u64, holds_port: bool) -> io::Result<()> {
        match &mut self.ring {
            Some(ring) if !holds_port => {
                ring.forget(name)?;
                // The last word of the poll is not to wake anybody.
                self.hear()
            }
            _ => Ok(epoll::delete(&self.set.epoll, fd)?),
        }
    }

    /// Takes what the ring has to tell.
    fn hear(&mut self) -> io::Result<()> {
        let Watch { ring, set, is_due, changes } = self;
        let Some(ring) = ring else { return Ok(()) };
        let mut is_over = false;
        ring.take(CHANGES_MAX, |answer| {
            if answer.name == SET {
                (*is_due, is_over) = (true, is_over || answer.is_last);
            } else {
                changes.push(Change::of(answer));
            }
        })?;
        if is_over { ring.watch(set.epoll.as_fd(), SET, EventFlags::IN.bits()) } else { Ok(()) }
    }

    /// The changes since the last look.
    pub(crate) fn changes(&mut self, is_empty: bool) -> io::Result<Vec<Change>> {
        self.hear()?;
        let has_ring = self.ring.is_some();
        if self.is_due || (!has_ring && !is_empty) {
            self.is_due = self.set.tell(&mut self.changes)? && has_ring;
        }
        Ok(std::mem::take(&mut self.changes))
    }

    /// Takes the list of [`changes`](Watch::changes) back, to be filled again.
    pub(crate) fn recycle(&mut self, mut changes: Vec<Change>) {
        changes.clear();
        if self.changes.is_empty() {
            self.changes = changes;
        }
    }
}

impl Change {
    fn of(Answer { name, events, is_last }: Answer) -> Change {
        // poll(2) and epoll have the same numbers for the same events.
        Change { name, events: EventFlags::from_bits_truncate(events), is_last }
    }
}

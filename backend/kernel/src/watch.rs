//! The set of all descriptors of a thread, which tells what changed: io_uring, or epoll where that is not to be had.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::retry_on_intr;

use crate::sys::{Answer, Ring};

/// Changes that one look at the set brings at most, so that tasks get their share; the others stay in the set.
const CHANGES_MAX: usize = 256;

/// What every descriptor is watched for: each event once, when it comes. io_uring does so by itself.
const WATCHED: EventFlags =
    EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::PRI);

/// Descriptors under the names that they were given.
#[derive(Debug)]
pub(crate) struct Watch {
    way: Way,
    changes: Vec<Change>,
}

enum Way {
    Ring(Box<Ring>),
    Epoll { set: OwnedFd, events: Vec<Event> },
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::Ring(ring) => ring.fmt(f),
            Way::Epoll { set, .. } => f.debug_tuple("Epoll").field(set).finish(),
        }
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
        Ring::new().map_or_else(|_| Watch::epoll(), |ring| Ok(Watch::of(Way::Ring(Box::new(ring)))))
    }

    pub(crate) fn epoll() -> io::Result<Watch> {
        let set = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Watch::of(Way::Epoll { set, events: Vec::with_capacity(CHANGES_MAX) }))
    }

    fn of(way: Way) -> Watch {
        Watch { way, changes: Vec::new() }
    }

    /// What to call it in a report.
    pub(crate) fn name(&self) -> &'static str {
        match self.way {
            Way::Ring(_) => "io_uring",
            Way::Epoll { .. } => "epoll",
        }
    }

    /// Whether another way is left if this one fails: a policy may come into force after the start.
    pub(crate) fn is_replaceable(&self) -> bool {
        matches!(self.way, Way::Ring(_))
    }

    /// Can be read when there are changes.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        match &self.way {
            Way::Ring(ring) => ring.as_fd(),
            Way::Epoll { set, .. } => set.as_fd(),
        }
    }

    /// Whether there are changes that the descriptor need not tell of.
    pub(crate) fn is_pending(&mut self) -> bool {
        match &mut self.way {
            Way::Ring(ring) => !self.changes.is_empty() || ring.is_pending(),
            Way::Epoll { .. } => false,
        }
    }

    pub(crate) fn add(&mut self, fd: BorrowedFd<'_>, name: u64) -> io::Result<()> {
        match &mut self.way {
            Way::Ring(ring) => ring.watch(fd, name, WATCHED.bits()),
            Way::Epoll { set, .. } => {
                Ok(epoll::add(set, fd, EventData::new_u64(name), WATCHED | EventFlags::ET)?)
            }
        }
    }

    /// Watches no longer; what is heard of the name from now on is old.
    pub(crate) fn remove(&mut self, fd: BorrowedFd<'_>, name: u64) -> io::Result<()> {
        match &mut self.way {
            Way::Ring(ring) => {
                ring.forget(name)?;
                // The last word of the poll is not to wake anybody.
                let changes = &mut self.changes;
                ring.take(CHANGES_MAX, |answer| changes.push(Change::of(answer)))
            }
            Way::Epoll { set, .. } => Ok(epoll::delete(set, fd)?),
        }
    }

    /// The changes since the last look.
    pub(crate) fn changes(&mut self, is_empty: bool) -> io::Result<Vec<Change>> {
        let mut changes = std::mem::take(&mut self.changes);
        match &mut self.way {
            Way::Ring(ring) => ring.take(CHANGES_MAX, |answer| changes.push(Change::of(answer)))?,
            Way::Epoll { .. } if is_empty => {}
            Way::Epoll { set, events } => {
                events.clear();
                let now = Timespec::default();
                retry_on_intr(|| epoll::wait(&*set, spare_capacity(events), Some(&now)))?;
                changes.extend(events.iter().map(|event| Change {
                    name: event.data.u64(),
                    events: event.flags,
                    is_last: false,
                }));
            }
        }
        Ok(changes)
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

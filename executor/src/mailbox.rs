//! The door of a core that other threads use.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use crossbeam_queue::SegQueue;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io;

use crate::core::Core;
use crate::doorbell::Doorbell;
use crate::flags::Flags;
use crate::task::{TaskId, contain};

/// Makes a task on the core that it is handed.
pub(crate) type MakeTask = Box<dyn FnOnce(&Rc<Core>) + Send>;

/// What another thread asks of a core.
pub(crate) enum Message {
    /// Run the task that you have at this place: it was woken.
    Wake(u32),
    /// Make a task of your own.
    Spawn(MakeTask),
    /// Cancel a task of yours.
    Abort(TaskId),
}

/// The part of a core that other threads see.
///
/// The queue is unbounded, and needs no bound for wakes: a task is in it at most once.
pub(crate) struct Mailbox {
    /// Names the core for as long as the process lives; never reused.
    pub(crate) id: u64,
    /// The place in the group of cores.
    pub(crate) index: usize,
    queue: SegQueue<Message>,
    /// Which tasks are named in the queue.
    pub(crate) flags: Flags,
    doorbell: Doorbell,
    claimed: AtomicBool,
    closed: AtomicBool,
    bell: OwnedFd,
}

impl Mailbox {
    pub(crate) fn new(index: usize) -> io::Result<Mailbox> {
        static IDS: AtomicU64 = AtomicU64::new(0);
        Ok(Mailbox {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            index,
            queue: SegQueue::new(),
            flags: Flags::new(),
            doorbell: Doorbell::new(),
            claimed: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Makes the caller the core of this mailbox. `false` if it has one already.
    pub(crate) fn claim(&self) -> bool {
        !self.claimed.swap(true, Ordering::Relaxed)
    }

    /// Wakes the task at a place of the core, from another thread.
    pub(crate) fn wake(&self, index: u32) {
        if self.flags.raise(index) {
            // Nothing is dropped if the mailbox is closed: so no code of users runs here.
            self.queue.push(Message::Wake(index));
            self.notify();
        }
    }

    /// Leaves a message and wakes the core if it sleeps. On a closed mailbox the message is dropped.
    #[inline(never)]
    pub(crate) fn send(&self, message: Message) {
        self.queue.push(message);
        fence(Ordering::SeqCst);
        if self.closed.load(Ordering::Relaxed) {
            self.discard();
        } else {
            self.notify();
        }
    }

    /// Wakes the core if it sleeps, after something was written that it looks at before it sleeps.
    #[inline]
    pub(crate) fn notify(&self) {
        if self.doorbell.must_ring() {
            self.ring();
        }
    }

    /// The same for a write of the core's own thread, which needs no fence to see itself.
    #[inline]
    pub(crate) fn ring_if_parked(&self) {
        if self.doorbell.must_ring_own() {
            self.ring();
        }
    }

    #[cold]
    fn ring(&self) {
        // It can only fail when 2^64 - 2 rings are unanswered, and then the core wakes up as well.
        let _ = io::write(&self.bell, &1u64.to_ne_bytes());
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    #[inline]
    pub(crate) fn pop(&self) -> Option<Message> {
        self.queue.pop()
    }

    /// Refuses messages from now on. No task of the core may be alive any more: what is in the queue then are
    /// requests, which may be dropped on any thread.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.discard();
    }

    fn discard(&self) {
        while let Some(message) = self.pop() {
            // What was to be spawned is dropped with all that it holds. If that panics, who waits for the others is told all the
            // same; the panic hook has told of it.
            let _ = contain(|| drop(message));
        }
    }

    /// Announces that the core is about to sleep. `None` if there are messages.
    pub(crate) fn park(&self) -> Option<Parked<'_>> {
        self.doorbell.lie_down();
        let parked = Parked { mailbox: self };
        self.is_empty().then_some(parked)
    }

    /// Stops the bell.
    pub(crate) fn silence(&self) {
        let mut count = [0; 8];
        // An error is the bell that did not ring.
        let _ = io::read(&self.bell, &mut count);
    }
}

impl AsFd for Mailbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox")
            .field("id", &self.id)
            .field("index", &self.index)
            .field("len", &self.queue.len())
            .field("doorbell", &self.doorbell)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

/// The promise of other threads to ring the bell of a core, while this value lives.
///
/// It is what a foreign loop holds while it sleeps: see [`Executor::prepare_park`](crate::Executor::prepare_park).
/// Its descriptor becomes readable when the executor wants a turn.
#[derive(Debug)]
#[must_use = "other threads ring the bell only while this value lives"]
pub struct Parked<'a> {
    mailbox: &'a Mailbox,
}

impl AsFd for Parked<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.mailbox.as_fd()
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.mailbox.doorbell.get_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags;
    use std::collections::BTreeSet;

    fn rings(mailbox: &Mailbox) -> bool {
        io::read(mailbox, &mut [0; 8]).is_ok()
    }

    #[test]
    fn the_bell_rings_once_and_only_for_a_sleeper() {
        let mailbox = Mailbox::new(0).unwrap();
        mailbox.notify();
        assert!(!rings(&mailbox), "nobody sleeps");
        let parked = mailbox.park().unwrap();
        mailbox.notify();
        assert!(rings(&mailbox));
        mailbox.notify();
        assert!(!rings(&mailbox), "the sleeper was told already");
        drop(parked);
        mailbox.notify();
        assert!(!rings(&mailbox), "nobody sleeps any more");
    }

    #[test]
    fn a_message_forbids_sleep_and_a_closed_mailbox_drops_it() {
        let mailbox = Mailbox::new(0).unwrap();
        let witness = std::sync::Arc::new(());
        let spawn = || {
            let witness = witness.clone();
            Message::Spawn(Box::new(move |_| drop(witness)))
        };
        mailbox.send(spawn());
        assert!(mailbox.park().is_none());
        assert_eq!(std::sync::Arc::strong_count(&witness), 2);
        mailbox.close();
        mailbox.send(spawn());
        assert_eq!(std::sync::Arc::strong_count(&witness), 1);
        assert!(mailbox.is_empty());
    }

    #[test]
    fn every_flag_has_a_place_of_its_own() {
        let places: BTreeSet<_> = (0..10_000).map(flags::place).collect();
        assert_eq!(places.len(), 10_000);
        assert_eq!((flags::place(0), flags::place(64)), ((0, 0, 1), (1, 0, 1)));
        let (block, word, mask) = flags::place(u32::MAX);
        assert!(block < flags::BLOCKS && word < 1 << block && mask == 1 << 63);
    }

    #[test]
    fn a_task_is_in_the_mailbox_once_until_the_core_has_seen_it() {
        let mailbox = Mailbox::new(0).unwrap();
        mailbox.flags.lower(1_000);
        let len = || std::iter::from_fn(|| mailbox.pop()).count();
        for index in [0, 63, 64, 1_000] {
            (0..3).for_each(|_| mailbox.wake(index));
            assert_eq!(len(), 1);
            mailbox.wake(index);
            assert_eq!(len(), 0, "its flag is up");
            mailbox.flags.lower(index);
            mailbox.wake(index);
            assert_eq!(len(), 1);
        }
    }

    #[test]
    fn a_core_has_one_owner() {
        let mailbox = Mailbox::new(3).unwrap();
        assert!(mailbox.claim());
        assert!(!mailbox.claim());
    }
}

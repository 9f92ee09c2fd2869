//! Every order in which a core can lie down while others have something for it, and in which they wake its tasks, tried by
//! loom.
//!
//! What is tried is the source of the executor itself, with loom's atomics below it. The mailbox's queue is the weakest
//! thing that could be one, relaxed flags where only the sleep matters; the eventfd is a flag under a lock and loom's primitive for waiting. A thread that sleeps for
//! ever is a deadlock, which loom reports.

#[path = "../src/doorbell.rs"]
mod doorbell;
#[path = "../src/flags.rs"]
mod flags;

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
}

use doorbell::Doorbell;
use flags::Flags;
use loom::model::Builder;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex, Notify};
use loom::thread;

/// A core's mailbox, with a place for a message of each sender.
struct Mailbox {
    messages: Vec<AtomicBool>,
    doorbell: Doorbell,
    rung: Mutex<bool>,
    rings: Notify,
}

impl Mailbox {
    fn new(senders: usize) -> Arc<Mailbox> {
        let messages = (0..senders).map(|_| AtomicBool::new(false)).collect();
        Arc::new(Mailbox {
            messages,
            doorbell: Doorbell::new(),
            rung: Mutex::new(false),
            rings: Notify::new(),
        })
    }

    fn send(&self, sender: usize) {
        self.messages[sender].store(true, Ordering::Relaxed);
        if self.doorbell.must_ring() {
            self.ring();
        }
    }

    fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.rings.notify();
    }

    /// How many messages have come so far.
    fn received(&self) -> usize {
        self.messages.iter().filter(|message| message.load(Ordering::Relaxed)).count()
    }

    /// Sleeps unless there is another message, as the executor does.
    fn sleep(&self, received: usize) {
        self.doorbell.lie_down();
        if self.received() == received {
            while !*self.rung.lock().unwrap() {
                self.rings.wait();
            }
        }
        self.doorbell.get_up();
        // The bell is stopped after the core got up: what it rang for is found in the next turn.
        *self.rung.lock().unwrap() = false;
    }
}

/// All that can happen with at most this many involuntary switches between threads.
fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

#[test]
fn no_message_waits_for_a_core_that_sleeps() {
    check(3, || {
        let mailbox = Mailbox::new(2);
        let senders: Vec<_> = (0..2)
            .map(|sender| {
                let mailbox = mailbox.clone();
                thread::spawn(move || mailbox.send(sender))
            })
            .collect();
        let mut received = mailbox.received();
        while received < 2 {
            mailbox.sleep(received);
            received = mailbox.received();
        }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    });
}

/// A core that announced its sleep and runs code before it really sleeps, as a foreign loop may, wakes itself.
#[test]
fn a_core_that_lies_down_hears_itself() {
    check(3, || {
        let mailbox = Mailbox::new(1);
        let sender = {
            let mailbox = mailbox.clone();
            thread::spawn(move || mailbox.send(0))
        };
        mailbox.doorbell.lie_down();
        // Either this call is the first to ring, or the sender was.
        if mailbox.doorbell.must_ring_own() {
            mailbox.ring();
        }
        sender.join().unwrap();
        assert!(*mailbox.rung.lock().unwrap());
    });
}

/// A task that other threads wake, and the queue that it is put into.
struct Woken {
    flags: Flags,
    /// How often it is in the queue.
    queue: AtomicUsize,
    /// What the wakers have for it.
    gifts: [AtomicBool; 2],
}

impl Woken {
    fn wake(&self, giver: usize) {
        self.gifts[giver].store(true, Ordering::Relaxed);
        if self.flags.raise(0) {
            self.queue.fetch_add(1, Ordering::Release);
        }
    }

    /// The core's look into the queue. Returns what the task then sees.
    fn look(&self) -> Option<[bool; 2]> {
        let queued = self.queue.load(Ordering::Acquire);
        assert!(queued <= 1, "a task is in the queue once at most");
        if queued == 0 {
            return None;
        }
        self.queue.fetch_sub(1, Ordering::Acquire);
        self.flags.lower(0);
        Some(self.gifts.each_ref().map(|gift| gift.load(Ordering::Relaxed)))
    }
}

#[test]
fn a_task_sees_what_every_one_of_its_wakers_wrote() {
    check(3, || {
        let woken = Arc::new(Woken {
            flags: Flags::new(),
            queue: AtomicUsize::new(0),
            gifts: [AtomicBool::new(false), AtomicBool::new(false)],
        });
        // The block of the flag is made here: loom knows nothing of the lock inside.
        assert!(woken.flags.raise(0));
        woken.flags.lower(0);
        let wakers: Vec<_> = (0..2)
            .map(|giver| {
                let woken = woken.clone();
                thread::spawn(move || woken.wake(giver))
            })
            .collect();
        let mut seen = woken.look();
        wakers.into_iter().for_each(|waker| waker.join().unwrap());
        // Whoever was last either put the task into the queue, or found it there before the core looked.
        if let Some(last) = woken.look() {
            seen = Some(last);
        }
        assert_eq!(seen, Some([true, true]));
    });
}

//! The state of a core: its tasks, its timers and its time. Only its own thread sees it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::{fmt, mem, thread};

use hayase_time::{Instant, Wheel};

use crate::clock::Clock;
use crate::config::Config;
use crate::cores::{Cores, Handle};
use crate::mailbox::{Mailbox, Message};
use crate::metrics::Counters;
use crate::park::Park;
use crate::reactor::Interest;
use crate::spin::Spin;
use crate::task::{Runnable, TaskId, Tasks};

pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) cores: Cores,
    pub(crate) queue: RefCell<VecDeque<Runnable>>,
    pub(crate) tasks: RefCell<Tasks>,
    pub(crate) timers: RefCell<Wheel<Waker>>,
    pub(crate) clock: Clock,
    /// The time of the turn.
    now: Cell<Instant>,
    pub(crate) park: RefCell<Box<dyn Park>>,
    pub(crate) interests: RefCell<Vec<Interest>>,
    pub(crate) spin: Spin,
    /// Whether a turn is under way further down the stack.
    pub(crate) running: Cell<bool>,
    /// Whether the executor is being dropped: nothing is spawned any more.
    pub(crate) closing: Cell<bool>,
    pub(crate) counters: Counters,
}

impl Core {
    pub(crate) fn new(config: Config, cores: Cores, index: usize, clock: Clock, park: Box<dyn Park>) -> Core {
        let now = clock.now();
        Core {
            spin: Spin::new(clock.patience(config.spin)),
            config,
            mailbox: cores.mailbox(index).clone(),
            cores,
            queue: RefCell::new(VecDeque::new()),
            tasks: RefCell::default(),
            timers: RefCell::new(Wheel::new(now)),
            clock,
            now: Cell::new(now),
            park: RefCell::new(park),
            interests: RefCell::default(),
            running: Cell::new(false),
            closing: Cell::new(false),
            counters: Counters::default(),
        }
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle::new(self.mailbox.clone(), self.cores.clone())
    }

    /// The time of the turn, without a look at the clock.
    #[inline]
    pub(crate) fn now(&self) -> Instant {
        self.now.get()
    }

    /// Looks at the clock.
    #[inline]
    pub(crate) fn read_clock(&self) -> Instant {
        let now = self.clock.now();
        self.now.set(now);
        now
    }

    /// Queues a woken task of this core. Only on its own thread.
    #[inline(always)]
    pub(crate) fn push(&self, runnable: Runnable) {
        self.queue.borrow_mut().push_back(runnable);
        // A foreign loop that announced its sleep may still run code that wakes tasks.
        self.mailbox.ring_if_parked();
    }

    #[inline]
    pub(crate) fn pop(&self) -> Option<Runnable> {
        self.queue.borrow_mut().pop_front()
    }

    /// Takes an expired timer out. The waker is the caller's, so that it is called outside of the borrow.
    #[inline]
    pub(crate) fn pop_timer(&self, now: Instant) -> Option<Waker> {
        self.timers.borrow_mut().expire(now)
    }

    /// Marks a task as aborted and wakes it, so that it notices.
    pub(crate) fn abort(&self, id: TaskId) {
        let waker = self.tasks.borrow_mut().abort(id);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether tasks or messages wait to be run.
    #[inline]
    pub(crate) fn has_work(&self) -> bool {
        !self.queue.borrow().is_empty() || !self.mailbox.is_empty()
    }

    /// Drops all tasks, on this thread, which must have entered the core.
    ///
    /// Waking a task makes its runnable appear, and dropping the runnable drops the future. A task that another
    /// thread is just waking has its runnable on the way to the mailbox: there is nothing to do but to wait for it.
    pub(crate) fn close(&self) {
        self.closing.set(true);
        loop {
            let wakers = self.tasks.borrow().wakers();
            wakers.into_iter().for_each(Waker::wake);
            while let Some(runnable) = self.pop() {
                drop(runnable);
            }
            while let Some(message) = self.mailbox.pop() {
                drop(message);
            }
            if self.tasks.borrow().len() == 0 {
                break;
            }
            thread::yield_now();
        }
        self.mailbox.close();
        let timers = mem::replace(&mut *self.timers.borrow_mut(), Wheel::new(self.now()));
        drop(timers);
    }

    /// Does what other threads asked for. At most as much as a turn may run, or a flood of messages would keep the
    /// core from its NIC queue.
    #[inline]
    pub(crate) fn read_mail(self: &Rc<Self>) {
        if !self.mailbox.is_empty() {
            self.read_mail_now();
        }
    }

    fn read_mail_now(self: &Rc<Self>) {
        for _ in 0..self.config.polls_max {
            let Some(message) = self.mailbox.pop() else { return };
            self.counters.remote_wakes.add(1);
            match message {
                Message::Run(runnable) => self.push(runnable),
                Message::Spawn(spawn) => spawn(self),
                Message::Abort(id) => self.abort(id),
            }
        }
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("mailbox", &self.mailbox)
            .field("now", &self.now.get())
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

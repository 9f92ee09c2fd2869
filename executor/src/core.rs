//! The state of a core: its tasks, its timers and its time. Only its own thread sees it.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::{fmt, mem};

use hayase_time::{Instant, Wheel};

use crate::clock::Clock;
use crate::config::Config;
use crate::cores::{Cores, Handle};
use crate::mailbox::{Mailbox, Message};
use crate::metrics::Counters;
use crate::numbers;
use crate::park::Park;
use crate::reactor::Interest;
use crate::spin::Spin;
use crate::task::{CoreNumber, Tasks};
use crate::ticker::Ticker;

pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) mailbox: Arc<Mailbox>,
    /// What this core's wakers name it by.
    pub(crate) number: CoreNumber,
    pub(crate) cores: Cores,
    pub(crate) tasks: RefCell<Tasks>,
    pub(crate) timers: RefCell<Wheel<Waker>>,
    clock: Clock,
    ticker: Ticker,
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
    pub(crate) fn new(
        config: Config,
        cores: Cores,
        index: usize,
        clock: Clock,
        park: Box<dyn Park>,
    ) -> io::Result<Core> {
        let now = clock.now();
        let mailbox = cores.mailbox(index).clone();
        let number = numbers::claim(&mailbox)?;
        Ok(Core {
            spin: Spin::new(clock.patience(config.spin)),
            config,
            number,
            mailbox,
            cores,
            tasks: RefCell::new(Tasks::new(number)),
            timers: RefCell::new(Wheel::new(now)),
            clock,
            ticker: Ticker::default(),
            now: Cell::new(now),
            park: RefCell::new(park),
            interests: RefCell::default(),
            running: Cell::new(false),
            closing: Cell::new(false),
            counters: Counters::default(),
        })
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
        let now = self.clock_now();
        self.now.set(now);
        now
    }

    /// The time of the clock, which is not that of the turn from now on.
    #[inline]
    pub(crate) fn clock_now(&self) -> Instant {
        self.clock.now_by(&self.ticker)
    }

    /// Takes an expired timer out. The waker is the caller's, so that it is called outside of the borrow.
    #[inline]
    pub(crate) fn pop_timer(&self, now: Instant) -> Option<Waker> {
        self.timers.borrow_mut().expire(now)
    }

    /// Whether tasks or messages wait to be run.
    #[inline]
    pub(crate) fn has_work(&self) -> bool {
        !self.tasks.borrow().is_asleep() || !self.mailbox.is_empty()
    }

    /// Drops all tasks, on this thread, which must have entered the core. Their wakers are numbers, and mean nothing after
    /// that: not before, when destructors may wake tasks of another core that has got the same number.
    pub(crate) fn close(&self) {
        self.closing.set(true);
        self.cancel_all();
        self.mailbox.close();
        numbers::release(self.number);
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
                Message::Wake(index) => self.wake_from_afar(index),
                Message::Spawn(spawn) => spawn(self),
                Message::Abort(id) => self.abort(id),
            }
        }
    }
}

impl Core {
    /// Another thread has woken a task.
    fn wake_from_afar(&self, index: u32) {
        // First, so that a wake from now on is a message of its own.
        self.mailbox.flags.lower(index);
        self.tasks.borrow_mut().wake_any(index);
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

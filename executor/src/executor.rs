//! The executor as its owner sees it.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::pin;
use std::rc::Rc;

use hayase_time::Instant;

use crate::clock::Clock;
use crate::config::Config;
use crate::core::Core;
use crate::cores::{Cores, Handle};
use crate::current::{self, Entered};
use crate::mailbox::Parked;
use crate::metrics::Metrics;
use crate::park::{self, Park};
use crate::reactor::Reactor;
use crate::root::{NoRoot, RootFuture};
use crate::task::JoinHandle;

/// Runs the tasks of one thread.
///
/// # Dropping
/// Dropping the executor cancels all its tasks: their futures are dropped before the drop returns, on this thread, also
/// those whose wakers live on elsewhere, and within the executor, so their destructors can use timers. Handles of such
/// tasks resolve to an error that [is cancelled](crate::JoinError::is_cancelled). What a destructor spawns is cancelled
/// at once. The end of `block_on` cancels nothing: tasks go on with the next `block_on` or `turn`.
pub struct Executor {
    core: Rc<Core>,
}

impl Executor {
    /// An executor with the default configuration, in a group of its own.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn new() -> io::Result<Executor> {
        Executor::builder().build()
    }

    /// Where everything about an executor can be chosen.
    #[must_use]
    pub fn builder() -> Builder {
        Builder { config: Config::default(), clock: Clock::default(), park: None, place: None }
    }

    /// Runs `future`, the tasks and the reactor until `future` has ended, and sleeps when there is nothing to do.
    ///
    /// # Panics
    /// If it is called from within an executor: await the future instead. If the future panics.
    #[track_caller]
    pub fn block_on<R: Reactor + ?Sized, F: Future>(&self, reactor: &R, future: F) -> F::Output {
        let busy = current::try_with(|core| core.running.get()).unwrap_or(false);
        assert!(!busy, "block_on was called from within an executor: await the future instead");
        let _running = self.start();
        let _entered = self.enter();
        let future = pin!(future);
        let mut root = RootFuture::new(future, self.core.mailbox.clone());
        loop {
            let worked = self.core.turn(reactor, &mut root);
            if let Some(output) = root.output.take() {
                return output;
            }
            if worked {
                self.core.spin.worked();
            } else {
                self.core.rest(reactor, &root);
            }
        }
    }

    /// One turn: receive, timers, tasks, transmit. For loops of others; it never sleeps.
    ///
    /// # Panics
    /// If it is called from one of the executor's own tasks.
    #[track_caller]
    pub fn turn<R: Reactor + ?Sized>(&self, reactor: &R) -> Turn {
        let _running = self.start();
        let _entered = self.enter();
        Turn { worked: self.core.turn(reactor, &mut NoRoot) }
    }

    /// Sleeps until there is reason for a turn; returns at once if there is one already.
    ///
    /// # Panics
    /// If the kernel refuses to let the thread sleep.
    pub fn park<R: Reactor + ?Sized>(&self, reactor: &R) {
        self.core.sleep(reactor, &NoRoot);
    }

    /// When the executor itself wants the next turn: at once if a task is awake, else when the next timer expires. The
    /// reactor's deadline is not included.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        if self.core.has_work() { Some(self.core.now()) } else { self.core.timers.borrow().next_deadline() }
    }

    /// Announces that a foreign loop is about to sleep. `None` if it should turn instead.
    ///
    /// While the returned value lives, a wake makes its descriptor readable. The loop calls the reactor's
    /// [`arm`](Reactor::arm), and does not sleep if it is [`pending`](Reactor::pending) then. It sleeps on the value's
    /// descriptor, on those of the reactor, and no longer than [`deadline`](Self::deadline), the reactor's, and what `arm` has
    /// returned; then it calls the reactor's [`disarm`](Reactor::disarm), whether it slept or not, and
    /// [`unpark`](Self::unpark).
    pub fn prepare_park(&self) -> Option<Parked<'_>> {
        let parked = self.core.mailbox.park()?;
        if self.core.has_work() { None } else { Some(parked) }
    }

    /// Ends the sleep of a foreign loop and resets the descriptor that woke it.
    pub fn unpark(&self, parked: Parked<'_>) {
        drop(parked);
        self.core.mailbox.silence();
    }

    /// Makes this executor the current one of the thread, so that `spawn`, `sleep` and the like work, until the
    /// returned value is dropped. Of several such values, drop the last first.
    #[must_use = "the executor is current only as long as this value lives"]
    pub fn enter(&self) -> Enter<'_> {
        Enter { _entered: current::enter(self.core.clone()), executor: PhantomData }
    }

    /// Runs `future` as a task. As [`spawn`](crate::spawn), but needs no current executor.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.core.spawn(future)
    }

    /// This core for other threads.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.core.handle()
    }

    /// The time, read from the executor's clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.core.read_clock()
    }

    /// What was counted so far.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.core.counters.snapshot(self.core.tasks.borrow().len())
    }

    /// How this executor sleeps: `io_uring`, `ppoll`, or the name of the [`Park`] it was built with.
    #[must_use]
    pub fn parking(&self) -> &'static str {
        self.core.park.borrow().name()
    }

    /// Notes that a turn is under way.
    #[track_caller]
    fn start(&self) -> Running<'_> {
        let running = &self.core.running;
        assert!(!running.replace(true), "an executor was driven from one of its own tasks");
        Running(running)
    }
}

impl AsFd for Executor {
    /// The descriptor that becomes readable when another thread wakes the parked executor.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.core.mailbox.as_fd()
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        let _entered = current::enter(self.core.clone());
        self.core.close();
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor")
            .field("core", &self.core.mailbox.index)
            .field("parking", &self.parking())
            .field("metrics", &self.metrics())
            .finish_non_exhaustive()
    }
}

/// What a turn did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Turn {
    /// Whether there was anything to do. If not, it is time to sleep.
    pub worked: bool,
}

/// Keeps an executor current: see [`Executor::enter`].
#[derive(Debug)]
pub struct Enter<'a> {
    _entered: Entered,
    executor: PhantomData<&'a Executor>,
}

struct Running<'a>(&'a Cell<bool>);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// Chooses everything about an executor: see [`Executor::builder`].
#[derive(Debug)]
pub struct Builder {
    config: Config,
    clock: Clock,
    park: Option<Box<dyn Park>>,
    place: Option<(Cores, usize)>,
}

impl Builder {
    /// The limits of a turn and the manner of sleeping.
    #[must_use]
    pub fn config(mut self, config: Config) -> Builder {
        self.config = config;
        self
    }

    /// Makes it the executor of core `index` of a group. Otherwise it is core 0 of a group of its own.
    #[must_use]
    pub fn core(mut self, cores: &Cores, index: usize) -> Builder {
        self.place = Some((cores.clone(), index));
        self
    }

    /// Where the time comes from. Otherwise from `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Builder {
        self.clock = clock;
        self
    }

    /// Sleeps in this way instead of the configuration's.
    #[must_use]
    pub fn park(mut self, park: impl Park + 'static) -> Builder {
        self.park = Some(Box::new(park));
        self
    }

    /// Builds the executor, for this thread.
    ///
    /// # Errors
    /// If the process may open no more descriptors, if io_uring is demanded and forbidden, if the group has no core
    /// of that index or the core has an executor already, or if the turn is to run no task.
    pub fn build(self) -> io::Result<Executor> {
        if self.config.polls_max == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "polls_max must be at least 1"));
        }
        let park = match self.park {
            Some(park) => park,
            None => park::system(self.config.parking)?,
        };
        let (cores, index) = match self.place {
            Some(place) => place,
            None => (Cores::new(1)?, 0),
        };
        cores.claim(index)?;
        Ok(Executor { core: Rc::new(Core::new(self.config, cores, index, self.clock, park)?) })
    }
}

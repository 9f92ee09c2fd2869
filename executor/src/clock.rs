//! Where the executor's time comes from.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use hayase_time::Instant;
use rustix::time::{ClockId, clock_gettime};

use crate::sys::ticks::ticks;
use crate::ticker::{Look, Ticker};

/// The clock of an executor. It is read at the beginning of a turn, after its tasks, and before a sleep.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// `CLOCK_MONOTONIC`: nanoseconds since the machine started, so instants of different cores compare.
    #[default]
    Monotonic,
    /// Time that only moves when somebody moves it.
    Virtual(VirtualClock),
}

impl Clock {
    /// How much of `spin` makes sense: virtual time stands still while somebody waits for it.
    pub(crate) fn patience(&self, spin: Duration) -> Duration {
        match self {
            Clock::Monotonic => spin,
            Clock::Virtual(_) => Duration::ZERO,
        }
    }

    /// Reads the clock.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Instant {
        match self {
            Clock::Monotonic => Instant::from_nanos(monotonic()),
            Clock::Virtual(clock) => clock.now(),
        }
    }

    /// The same for who looks often, within a microsecond.
    #[inline]
    pub(crate) fn now_by(&self, ticker: &Ticker) -> Instant {
        match self {
            Clock::Monotonic => monotonic_by(ticker),
            Clock::Virtual(clock) => clock.now(),
        }
    }
}

#[inline(never)]
fn monotonic_by(ticker: &Ticker) -> Instant {
    Instant::from_nanos(match ticks() {
        Some(before) => ticker.now(before, look),
        None => monotonic(),
    })
}

/// The time since the machine started, in nanoseconds.
#[inline]
fn monotonic() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cold]
fn look() -> Look {
    Look { nanos: monotonic(), ticks: ticks().unwrap_or_default() }
}

/// A clock for simulations. Clones show and move the same time.
#[derive(Clone, Debug, Default)]
pub struct VirtualClock(Rc<Cell<Instant>>);

impl VirtualClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn new(now: Instant) -> VirtualClock {
        VirtualClock(Rc::new(Cell::new(now)))
    }

    /// The time that it shows.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Instant {
        self.0.get()
    }

    /// Moves the time on.
    #[inline]
    pub fn advance(&self, by: Duration) {
        self.0.set(self.0.get() + by);
    }

    /// Moves the time on to `to`; an instant in the past changes nothing.
    #[inline]
    pub fn advance_to(&self, to: Instant) {
        self.0.set(self.0.get().max(to));
    }
}

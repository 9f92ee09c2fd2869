//! Timers.
//!
//! A timer never fires before its instant, and at most 65.5 us after it plus what the turn that is under way takes.

mod interval;
mod sleep;
mod timeout;

use hayase_time::Instant;

pub use self::interval::{Interval, MissedTickBehavior, interval, interval_at};
pub use self::sleep::{Sleep, sleep, sleep_until};
pub use self::timeout::{Elapsed, Timeout, timeout, timeout_at};

use crate::clock::Clock;
use crate::current;

/// The time of the present turn: the same for everything that happens in the turn, and as cheap as a variable.
///
/// On a thread without an executor the clock is read.
#[inline]
#[must_use]
pub fn now() -> Instant {
    current::try_with(|core| core.now()).unwrap_or_else(|| Clock::Monotonic.now())
}

/// The time of the clock, from which durations count: a sleep that is begun late in a long turn is not shorter.
#[inline]
fn clock_now() -> Instant {
    current::try_with(|core| core.clock.now()).unwrap_or_else(|| Clock::Monotonic.now())
}

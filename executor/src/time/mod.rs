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
/// So it does not tell how long something has taken that did not wait: [`clock_now`] does. On a thread without an executor the
/// clock is read.
#[inline]
#[must_use]
pub fn now() -> Instant {
    current::try_with(|core| core.now()).unwrap_or_else(|| Clock::Monotonic.now())
}

/// The time of the clock, read now: in a long turn it is later than [`now`]. Durations count from it: a sleep that is begun late
/// in a turn is not shorter.
///
/// It is what to measure with, as [`std::time::Instant`] is, but in a simulation it is virtual time, which passes only while
/// everybody waits.
///
/// ```
/// use std::time::Duration;
/// use hayase_executor::time::{clock_now, now};
///
/// hayase_executor::Executor::new()?.block_on(&(), async {
///     let (turn, start) = (now(), clock_now());
///     std::thread::sleep(Duration::from_millis(1));
///     assert!(clock_now() - start >= Duration::from_millis(1));
///     assert_eq!(now(), turn);
/// });
/// # Ok::<(), std::io::Error>(())
/// ```
#[inline]
#[must_use]
pub fn clock_now() -> Instant {
    current::try_with(|core| core.clock_now()).unwrap_or_else(|| Clock::Monotonic.now())
}

//! Something every so often.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hayase_time::Instant;

use super::{Sleep, clock_now, now, sleep_until};

/// A tick is missed when it is later than this, or than a period: a loaded machine is a little late with everything.
const LATE: Duration = Duration::from_millis(5);

/// Ticks every `period`, for the first time at once.
///
/// # Panics
/// If `period` is zero.
#[track_caller]
pub fn interval(period: Duration) -> Interval {
    interval_at(clock_now(), period)
}

/// Ticks every `period`, for the first time at `start`.
///
/// # Panics
/// If `period` is zero.
#[track_caller]
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    assert!(!period.is_zero(), "the period of an interval must not be zero");
    Interval { sleep: sleep_until(start), period, missed: MissedTickBehavior::default() }
}

/// When an [`Interval`] ticks after ticks were missed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MissedTickBehavior {
    /// At once, until the missed ticks are made up for.
    #[default]
    Burst,
    /// A period after the late tick, and so on from there.
    Delay,
    /// At the next multiple of the period from the start; the missed ticks are left out.
    Skip,
}

impl MissedTickBehavior {
    /// The tick after the one of `due`, which came at `now` and too late.
    fn next(self, due: Instant, now: Instant, period: Duration) -> Instant {
        match self {
            MissedTickBehavior::Burst => due + period,
            MissedTickBehavior::Delay => now + period,
            MissedTickBehavior::Skip => {
                let period = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
                let into = (now - due).as_nanos() as u64 % period;
                now + Duration::from_nanos(period - into)
            }
        }
    }
}

/// Ticks at regular times: see [`interval`].
#[derive(Debug)]
pub struct Interval {
    sleep: Sleep,
    period: Duration,
    missed: MissedTickBehavior,
}

impl Interval {
    /// Waits for the next tick, and returns the instant it was due at. Cancel safe: no tick is lost.
    ///
    /// # Panics
    /// On a thread without an executor.
    pub async fn tick(&mut self) -> Instant {
        poll_fn(|cx| self.poll_tick(cx)).await
    }

    /// As [`tick`](Self::tick).
    ///
    /// # Panics
    /// On a thread without an executor.
    #[track_caller]
    pub fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<Instant> {
        ready!(Pin::new(&mut self.sleep).poll(cx));
        let (due, now) = (self.sleep.deadline(), now());
        let late = now - due > LATE.min(self.period);
        let next = if late { self.missed.next(due, now, self.period) } else { due + self.period };
        self.sleep.reset(next);
        Poll::Ready(due)
    }

    /// Ticks next a period from now.
    pub fn reset(&mut self) {
        self.reset_after(self.period);
    }

    /// Ticks next at once.
    pub fn reset_immediately(&mut self) {
        self.reset_after(Duration::ZERO);
    }

    /// Ticks next after `duration`.
    pub fn reset_after(&mut self, duration: Duration) {
        self.sleep.reset(clock_now() + duration);
    }

    /// Ticks next at `deadline`.
    pub fn reset_at(&mut self, deadline: Instant) {
        self.sleep.reset(deadline);
    }

    /// The time between two ticks.
    #[must_use]
    pub fn period(&self) -> Duration {
        self.period
    }

    /// What happens after missed ticks.
    #[must_use]
    pub fn missed_tick_behavior(&self) -> MissedTickBehavior {
        self.missed
    }

    /// Chooses what happens after missed ticks.
    pub fn set_missed_tick_behavior(&mut self, behavior: MissedTickBehavior) {
        self.missed = behavior;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missed_ticks() {
        let at = Instant::from_millis;
        let period = Duration::from_millis(10);
        let next = |behavior: MissedTickBehavior| behavior.next(at(20), at(47), period);
        assert_eq!(next(MissedTickBehavior::Burst), at(30));
        assert_eq!(next(MissedTickBehavior::Delay), at(57));
        assert_eq!(next(MissedTickBehavior::Skip), at(50));
        assert_eq!(
            MissedTickBehavior::Skip.next(at(20), at(40), period),
            at(50),
            "not the tick of now again"
        );
    }
}

//! How long to look for work before going to sleep.
//!
//! Looking costs a core, waking up costs the next request some microseconds. A sleep that ends sooner than the longest
//! spin would have been better spun through, so the next ones are; each that lasts longer halves the spin, and soon there
//! is none. So a busy core does not sleep, and an idle one does not spin.
//!
//! Two cores that talk to each other can hold each other in that state: when both sleep, each sleeps for as long as the
//! other takes to wake up, which is longer than a spin, though both would be quicker if neither slept. So after sleeps
//! that are not much longer than a spin, one is tried now and then: if it pays, the other end's sleeps become short.

use std::cell::Cell;
use std::time::Duration;

use hayase_time::Instant;

/// The spin gives up halving below this share of its longest: it would end before anything could come.
const SHARE_MIN: u32 = 16;

/// A sleep of fewer longest spins may be no more than the other end's way out of its sleep.
const LOCK_STEP: u32 = 8;

/// The most sleeps from one try to the next: of the time that passes in them, a try takes less than a twentieth.
const SLEEPS_PER_TRY_MAX: u32 = 64;

/// The patience of a core.
#[derive(Debug)]
pub(crate) struct Spin {
    longest: Duration,
    /// How long to spin now.
    patience: Cell<Duration>,
    /// Since when there has been nothing to do.
    since: Cell<Option<Instant>>,
    /// How many sleeps there are between two tries, and before the next.
    sleeps_per_try: Cell<u32>,
    sleeps_left: Cell<u32>,
}

impl Spin {
    pub(crate) fn new(longest: Duration) -> Spin {
        Spin {
            longest,
            patience: Cell::new(longest),
            since: Cell::new(None),
            sleeps_per_try: Cell::new(1),
            sleeps_left: Cell::new(1),
        }
    }

    /// There was work.
    #[inline]
    pub(crate) fn worked(&self) {
        self.since.set(None);
    }

    /// Whether to look again at `now`, after another turn without work.
    pub(crate) fn goes_on(&self, now: Instant) -> bool {
        let since = self.since.get().unwrap_or(now);
        self.since.set(Some(since));
        now - since < self.patience.get()
    }

    /// The core slept for so long.
    pub(crate) fn slept(&self, time: Duration) {
        self.since.set(None);
        if time < self.longest {
            self.patience.set(self.longest);
            return self.try_after(1);
        }
        let patience = self.patience.get() / 2;
        self.patience.set(if patience < self.longest / SHARE_MIN { Duration::ZERO } else { patience });
        if self.patience.get().is_zero() && time < self.longest * LOCK_STEP {
            self.count_down();
        }
    }

    /// One sleep fewer until the next try. Each that does not pay makes the next wait twice as long.
    fn count_down(&self) {
        self.sleeps_left.set(self.sleeps_left.get() - 1);
        if self.sleeps_left.get() == 0 {
            self.patience.set(self.longest);
            self.try_after((self.sleeps_per_try.get() * 2).min(SLEEPS_PER_TRY_MAX));
        }
    }

    fn try_after(&self, sleeps: u32) {
        self.sleeps_per_try.set(sleeps);
        self.sleeps_left.set(sleeps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_micros(20);

    fn at(micros: u64) -> Instant {
        Instant::from_micros(micros)
    }

    #[test]
    fn the_spin_starts_with_the_first_turn_without_work() {
        let spin = Spin::new(LONGEST);
        assert!(spin.goes_on(at(100)) && spin.goes_on(at(119)) && !spin.goes_on(at(120)));
        spin.worked();
        assert!(spin.goes_on(at(121)) && spin.goes_on(at(140)) && !spin.goes_on(at(141)));
        assert!(!Spin::new(Duration::ZERO).goes_on(at(0)));
    }

    #[test]
    fn long_sleeps_end_the_spinning_and_a_short_one_brings_it_back() {
        let spin = Spin::new(LONGEST);
        for _ in 0..5 {
            spin.slept(Duration::from_millis(1));
        }
        assert!(!spin.goes_on(at(0)), "an idle core does not spin");
        spin.slept(Duration::from_micros(5));
        assert!(spin.goes_on(at(0)) && spin.goes_on(at(19)), "a sleep so short is spun through");
    }

    /// What a core that sleeps through `times` of `time` each spends on spins meanwhile.
    fn spun(spin: &Spin, time: Duration, times: u32) -> Duration {
        let sleep = |_| {
            let spent = spin.patience.get();
            spin.slept(time);
            spent
        };
        (0..times).map(sleep).sum()
    }

    #[test]
    fn of_two_that_wait_for_each_others_wake_up_one_tries_to_stay_awake() {
        let spin = Spin::new(LONGEST);
        spun(&spin, LONGEST * 2, 4);
        let is_tried = (0..3).any(|_| {
            spin.slept(LONGEST * 2);
            spin.patience.get() == LONGEST
        });
        assert!(is_tried, "the other end is given a chance to sleep for less");
    }

    #[test]
    fn tries_that_do_not_pay_cost_little_and_an_idle_core_makes_none() {
        let spin = Spin::new(LONGEST);
        spun(&spin, LONGEST * 2, 1000);
        assert!(spun(&spin, LONGEST * 2, 1000) < LONGEST * 2 * 1000 / 20);
        spun(&spin, LONGEST * LOCK_STEP, 10);
        assert_eq!(spun(&spin, LONGEST * LOCK_STEP, 1000), Duration::ZERO);
        let never = Spin::new(Duration::ZERO);
        assert_eq!(spun(&never, Duration::from_micros(1), 1000), Duration::ZERO);
    }
}

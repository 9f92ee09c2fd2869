//! The monotonic clock, by way of the processor's own counter.
//!
//! A turn looks at the clock twice. Reading it takes some 30 ns, most of which is a barrier that has the processor finish what it
//! is at; the counter behind it takes a third of that, and waits for nothing. So the clock is read once a millisecond, and in
//! between the time is what the counter says, at the rate that it had so far.

use std::cell::Cell;
use std::ops::RangeInclusive;

/// How long the counter is believed without a look at the clock.
const TRUST_NS: u64 = 1_000_000;

/// How long it is watched before it is believed at all.
const WATCH_NS: u64 = TRUST_NS / 2;

/// The fraction by which the counter's rate may seem to change from one look to the next: 1 in 1024. Beyond that it was set, or
/// the machine stood still meanwhile.
const CHANGE_SHIFT: u32 = 10;

/// Nanoseconds that a tick may take: counters have from 100 MHz to 10 GHz.
const TICK_NS: RangeInclusive<f64> = 0.1..=10.0;

/// The most ticks that a look at the clock may take, some tens of microseconds: during a longer one, the thread did not run.
const LOOK_TICKS_MAX: u64 = 100_000;

/// What clock and counter showed at about the same time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Look {
    pub(crate) nanos: u64,
    /// After the clock was read.
    pub(crate) ticks: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Ticker {
    last: Cell<Look>,
    /// Whether there was a look from which the counter has gone evenly.
    is_watched: Cell<bool>,
    /// Nanoseconds of a tick, times 2^32; 0 while that is not known.
    rate: Cell<u64>,
    /// Ticks after the last look for which the counter is believed.
    trust: Cell<u64>,
    /// The latest time that was told: it never goes back.
    told: Cell<u64>,
}

impl Ticker {
    /// The time in nanoseconds, when the counter shows `ticks`. `look` is asked now and then.
    #[inline]
    pub(crate) fn now(&self, ticks: u64, look: impl FnOnce() -> Look) -> u64 {
        let last = self.last.get();
        let passed = ticks.wrapping_sub(last.ticks);
        let nanos = if passed < self.trust.get() {
            last.nanos + ((passed * self.rate.get()) >> 32)
        } else {
            self.by_clock(ticks, look())
        };
        let nanos = nanos.max(self.told.get());
        self.told.set(nanos);
        nanos
    }

    #[cold]
    fn by_clock(&self, ticks: u64, now: Look) -> u64 {
        if now.ticks.wrapping_sub(ticks) <= LOOK_TICKS_MAX {
            self.learn(now);
        }
        now.nanos
    }

    fn learn(&self, now: Look) {
        let before = if self.is_watched.replace(true) { self.last.get() } else { now };
        let known = self.rate.get();
        match rate(before, now) {
            Some(rate) if known == 0 || is_near(rate, known) => {
                self.rate.set(rate);
                self.trust.set((TRUST_NS << 32) / rate);
                self.last.set(now);
            }
            None if known == 0 && now.nanos.saturating_sub(before.nanos) < TRUST_NS => {
                self.last.set(before);
            }
            // It was set, or makes no sense: it is watched from here on.
            _ => {
                self.rate.set(0);
                self.trust.set(0);
                self.last.set(now);
            }
        }
    }
}

/// Nanoseconds of a tick, times 2^32, if enough time has passed to tell.
fn rate(before: Look, now: Look) -> Option<u64> {
    let (nanos, ticks) = (now.nanos.checked_sub(before.nanos)?, now.ticks.checked_sub(before.ticks)?);
    let is_told = nanos >= WATCH_NS && TICK_NS.contains(&(nanos as f64 / ticks as f64));
    is_told.then(|| ((u128::from(nanos) << 32) / u128::from(ticks)) as u64)
}

fn is_near(rate: u64, other: u64) -> bool {
    rate.abs_diff(other) <= other >> CHANGE_SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine whose counter makes so many ticks a microsecond.
    struct Machine {
        ticker: Ticker,
        nanos: u64,
        ticks: u64,
        ticks_per_us: u64,
        looks: u32,
    }

    impl Machine {
        fn new(ticks_per_us: u64) -> Machine {
            Machine {
                ticker: Ticker::default(),
                nanos: 5_000_000_000,
                ticks: 1 << 40,
                ticks_per_us,
                looks: 0,
            }
        }

        fn pass_us(&mut self, us: u64) {
            self.nanos += us * 1000;
            self.ticks = self.ticks.wrapping_add(us * self.ticks_per_us);
        }

        /// How far what is told is from the time, in nanoseconds.
        fn error(&mut self) -> u64 {
            let (now, looks) = (Look { nanos: self.nanos, ticks: self.ticks }, &mut self.looks);
            let told = self.ticker.now(self.ticks, || {
                *looks += 1;
                now
            });
            told.abs_diff(now.nanos)
        }
    }

    #[test]
    fn the_clock_is_read_once_a_millisecond_and_the_time_is_right_in_between() {
        for ticks_per_us in [150, 1000, 2445, 9000] {
            let mut machine = Machine::new(ticks_per_us);
            for _ in 0..100_000 {
                machine.pass_us(3);
                assert!(machine.error() <= 1, "{ticks_per_us} ticks a microsecond");
            }
            // Each of the first half of a millisecond's looks, and of the 299 other milliseconds one.
            assert!((300..=500).contains(&machine.looks), "{} looks", machine.looks);
        }
    }

    #[test]
    fn time_that_passes_in_sleep_is_seen() {
        let mut machine = Machine::new(2000);
        for us in [1, 2000, 1, 3_600_000_000, 1, 5] {
            machine.pass_us(us);
            assert!(machine.error() <= 1, "after {us} us");
        }
    }

    #[test]
    fn a_counter_that_was_set_is_not_believed_for_a_while() {
        for jump in [1_u64 << 30, 1 << 60, (1_u64 << 30).wrapping_neg()] {
            let mut machine = Machine::new(2000);
            for _ in 0..2000 {
                machine.pass_us(2);
                assert_eq!(machine.error(), 0);
            }
            machine.ticks = machine.ticks.wrapping_add(jump);
            for _ in 0..2000 {
                machine.pass_us(2);
                assert_eq!(machine.error(), 0, "after a jump of {jump}");
            }
        }
    }

    /// The clock is steered to go right by up to 1 in 2000, and what is told follows.
    #[test]
    fn a_steered_clock_is_followed() {
        let mut machine = Machine::new(2000);
        for _ in 0..3000 {
            machine.pass_us(2);
            assert_eq!(machine.error(), 0);
        }
        for round in 0..300_000 {
            machine.pass_us(2);
            machine.nanos += 1;
            // Not before a look has told, of a millisecond that was all like that.
            assert!(machine.error() <= if round < 1500 { 500 } else { 1 });
        }
    }

    #[test]
    fn the_time_never_goes_back() {
        let mut machine = Machine::new(2000);
        let mut told = 0;
        for round in 0..10_000 {
            machine.pass_us(2);
            machine.nanos -= u64::from(round % 2000 == 0) * 900;
            let look = Look { nanos: machine.nanos, ticks: machine.ticks };
            let now = machine.ticker.now(machine.ticks, || look);
            assert!(now >= told);
            told = now;
        }
    }

    /// The thread did not run for a while between its looks at the counter and at the clock.
    #[test]
    fn a_look_that_took_long_teaches_nothing() {
        let mut machine = Machine::new(2000);
        for round in 0..3000 {
            machine.pass_us(2);
            let began_at = machine.ticks;
            if round % 700 == 0 {
                machine.pass_us(4000);
            }
            let look = Look { nanos: machine.nanos, ticks: machine.ticks };
            let told = machine.ticker.now(began_at, || look);
            assert!(told <= look.nanos && look.nanos - told <= 4_000_000);
            machine.pass_us(2);
            assert!(machine.error() <= 1);
        }
    }

    #[test]
    fn a_counter_that_makes_no_sense_is_never_believed() {
        for ticks_per_us in [0, 1, 50, 20_000] {
            let mut machine = Machine::new(ticks_per_us);
            for looks in 1..5000 {
                machine.pass_us(2);
                assert_eq!((machine.error(), machine.looks), (0, looks));
            }
        }
    }
}

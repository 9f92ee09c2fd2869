//! How long to look for work before going to sleep.
//!
//! Looking costs a core, waking up costs the next request some microseconds. A sleep that ends sooner than the longest
//! spin would have been better spun through, so the next ones are; each that lasts longer halves the spin, and soon there
//! is none. So a busy core does not sleep, and an idle one does not spin.

use std::cell::Cell;
use std::time::Duration;

use hayase_time::Instant;

/// The spin gives up halving below this share of its longest: it would end before anything could come.
const SHARE_MIN: u32 = 16;

/// The patience of a core.
#[derive(Debug)]
pub(crate) struct Spin {
    longest: Duration,
    /// How long to spin now.
    patience: Cell<Duration>,
    /// Since when there has been nothing to do.
    since: Cell<Option<Instant>>,
}

impl Spin {
    pub(crate) fn new(longest: Duration) -> Spin {
        Spin { longest, patience: Cell::new(longest), since: Cell::new(None) }
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
        let patience = if time < self.longest { self.longest } else { self.patience.get() / 2 };
        self.patience.set(if patience < self.longest / SHARE_MIN { Duration::ZERO } else { patience });
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
}

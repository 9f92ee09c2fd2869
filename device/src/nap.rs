//! Sleep that nothing but the clock ends.

/// The naps of a thread whose device tells nobody that something has come, or that there is room again. Each is twice as
/// long as the one before.
#[derive(Debug, Clone)]
pub struct Nap {
    /// The next one, in nanoseconds.
    next: u64,
}

impl Nap {
    /// The first nap, in nanoseconds: what a wake-up costs in any case.
    pub const MIN: u64 = 20_000;

    /// The longest nap while there is something to wait for, in nanoseconds: a thousand looks a second cost some per cent
    /// of a processor.
    pub const MAX: u64 = 1_000_000;

    /// Nothing was waited for yet.
    pub const fn new() -> Nap {
        Nap { next: Nap::MIN }
    }

    /// How long to nap now, in nanoseconds.
    pub fn take(&mut self) -> u64 {
        let nap = self.next;
        self.next = (2 * nap).min(Nap::MAX);
        nap
    }

    /// What was waited for has come: the next nap is short.
    #[inline]
    pub fn reset(&mut self) {
        self.next = Nap::MIN;
    }
}

impl Default for Nap {
    fn default() -> Nap {
        Nap::new()
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn naps_are_longer_and_longer_up_to_a_limit() {
        let mut nap = Nap::new();
        let naps: [u64; 8] = core::array::from_fn(|_| nap.take());
        assert_eq!(
            (naps[0], naps[1], naps[5], naps[6], naps[7]),
            (20_000, 40_000, 640_000, 1_000_000, 1_000_000)
        );
        nap.reset();
        assert_eq!((nap.take(), nap.take()), (20_000, 40_000));
    }
}

//! All that happened, in one number: two runs with equal traces were the same run.

use hayase::time::Instant;

use crate::random::mix;

/// A running hash of every event in the network: when, where, what, and each byte of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trace {
    hash: u64,
    events: u64,
}

impl Trace {
    pub(crate) fn note(&mut self, now: Instant, place: u64, what: u64, bytes: &[u8]) {
        self.events += 1;
        self.add(now.as_nanos());
        self.add(place << 32 | what << 24 | bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.add(u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.add(u64::from_le_bytes(last));
    }

    fn add(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    /// The hash.
    #[must_use]
    pub fn hash(&self) -> u64 {
        mix(self.hash)
    }

    /// How many events there were.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_counts() {
        let trace = |nanos, place, what, bytes: &[u8]| {
            let mut trace = Trace::default();
            trace.note(Instant::from_nanos(nanos), place, what, bytes);
            trace.hash()
        };
        let base = trace(1, 2, 3, &[4; 11]);
        assert_eq!(base, trace(1, 2, 3, &[4; 11]));
        let mut changed = [4; 11];
        changed[10] ^= 1;
        for other in [
            trace(2, 2, 3, &[4; 11]),
            trace(1, 3, 3, &[4; 11]),
            trace(1, 2, 4, &[4; 11]),
            trace(1, 2, 3, &[4; 10]),
            trace(1, 2, 3, &changed),
        ] {
            assert_ne!(base, other);
        }
    }
}

//! Chance that comes from a seed, and is the same on every machine and in every version.
//!
//! A seed in an old report must still replay the failure, so the generator is written out here: xoshiro256++ by
//! Blackman and Vigna, seeded by SplitMix64 as they advise.

use std::ops::RangeInclusive;
use std::time::Duration;

/// A stream of random numbers.
///
/// ```
/// let mut random = hayase_sim::Random::new(7);
/// assert_eq!(random.next_u64(), hayase_sim::Random::new(7).next_u64());
/// assert!(random.below(10) < 10);
/// ```
#[derive(Debug, Clone)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// The stream of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        let mut at = seed;
        Random { state: std::array::from_fn(|_| split_mix(&mut at)) }
    }

    /// A stream of its own for somebody else: how much that one draws changes nothing here.
    #[must_use]
    pub fn fork(&mut self) -> Random {
        Random::new(self.next_u64())
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// A number below `end`; 0 if that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        // The upper half of the product: a bias of at most end / 2^64.
        ((u128::from(self.next_u64()) * u128::from(end)) >> 64) as u64
    }

    /// A number of a range.
    pub fn between(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.below((range.end() - range.start()).saturating_add(1))
    }

    /// A number from 0 to below 1.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True so often: 0 is never, 1 is always. Nothing is drawn for never.
    pub fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.unit() < probability
    }

    /// A time from zero to below `end`.
    pub fn time(&mut self, end: Duration) -> Duration {
        Duration::from_nanos(self.below(end.as_nanos() as u64))
    }

    /// One of several.
    ///
    /// # Panics
    /// If there is none.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }

    /// 32 random bytes.
    pub(crate) fn bytes(&mut self) -> [u8; 32] {
        let words = [(); 4].map(|()| self.next_u64().to_le_bytes());
        std::array::from_fn(|at| words[at / 8][at % 8])
    }
}

/// One step of SplitMix64.
pub(crate) fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mix(*state)
}

/// A number that looks like no other one's.
pub(crate) fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs of the authors' C programs: SplitMix64 from 1234567, xoshiro256++ from 1, 2, 3, 4.
    #[test]
    fn the_generators_are_the_published_ones() {
        let mut state = 1_234_567;
        let first = [(); 3].map(|()| split_mix(&mut state));
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
        let mut random = Random { state: [1, 2, 3, 4] };
        assert_eq!([(); 3].map(|()| random.next_u64()), [41_943_041, 58_720_359, 3_588_806_011_781_223]);
    }

    #[test]
    fn numbers_keep_to_their_ranges_and_reach_their_ends() {
        let mut random = Random::new(1);
        let drawn: Vec<_> = (0..1000).map(|_| random.between(3..=5)).collect();
        assert!([3, 4, 5].iter().all(|number| drawn.contains(number)));
        assert!(drawn.iter().all(|number| (3..=5).contains(number)));
        let hits = (0..100_000).filter(|_| random.chance(0.01)).count();
        assert!((800..1200).contains(&hits), "{hits}");
        assert!(!random.chance(0.0) && random.chance(1.0) && random.below(0) == 0);
    }

    #[test]
    fn forks_are_streams_of_their_own() {
        let (mut a, mut b) = (Random::new(5), Random::new(5));
        let mut fork = a.fork();
        b.fork().next_u64();
        fork.bytes();
        assert_eq!(a.next_u64(), b.next_u64());
        assert_ne!(fork.next_u64(), a.next_u64());
    }
}

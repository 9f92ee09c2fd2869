//! How many challenge ACKs go out (RFC 5961 §7).
//!
//! One budget for all connections is a side channel if it is known: somebody who spends it on a connection of his own sees by
//! what is left of it whether a guess at another connection drew an ACK (CVE-2016-5696). So nobody knows how many there are
//! in a second: from half of the limit to all of it.

use hayase_time::Instant;

use crate::config::Config;
use crate::random::Random;

const DOMAIN: u64 = 0xac_5961;

#[derive(Debug)]
pub(super) struct Challenges {
    /// The limit.
    per_second: u32,
    random: Random,
    /// The second that `left` is of.
    second: Option<u64>,
    left: u32,
}

impl Challenges {
    pub(super) fn new(config: &Config, random: &Random) -> Challenges {
        let per_second = config.challenge_acks_per_second;
        Challenges { per_second, random: random.clone(), second: None, left: 0 }
    }

    /// Whether one more may go, which it then does.
    pub(super) fn allow(&mut self, now: Instant) -> bool {
        let second = now.as_millis() / 1000;
        if self.second != Some(second) {
            (self.second, self.left) = (Some(second), self.budget(second));
        }
        let is_allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_allowed
    }

    fn budget(&self, second: u64) -> u32 {
        let least = self.per_second.div_ceil(2);
        let more = u64::from(self.per_second - least) + 1;
        least + (self.random.keyed(DOMAIN, &[second]) % more) as u32
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn challenges(seed: u8, per_second: u32) -> Challenges {
        let config = Config { challenge_acks_per_second: per_second, ..Config::default() };
        Challenges::new(&config, &Random::new([seed; 32]))
    }

    fn allowed(challenges: &mut Challenges, second: u64) -> usize {
        (0..3000).filter(|n| challenges.allow(Instant::from_millis(second * 1000 + n / 3))).count()
    }

    #[test]
    fn f4_nobody_knows_how_many_there_are_in_a_second() {
        let of = |seed| -> Vec<usize> {
            let mut challenges = challenges(seed, 1000);
            (5..15).map(|second| allowed(&mut challenges, second)).collect()
        };
        let (a, b) = (of(1), of(2));
        assert!(a.iter().chain(&b).all(|count| (500..=1000).contains(count)), "{a:?} {b:?}");
        assert!(a != b && a.iter().any(|count| *count != a[0]), "{a:?} {b:?}");
    }

    #[test]
    fn the_smallest_limits_are_kept() {
        assert_eq!([0, 1].map(|limit| allowed(&mut challenges(3, limit), 9)), [0, 1]);
    }
}

//! Rate limits for what strangers can make us send: ICMP errors.

use alloc::boxed::Box;
use core::net::IpAddr;
use core::time::Duration;

use hayase_time::Instant;

use crate::random::Random;

/// A token bucket, kept as the one instant at which it will be full again (GCRA, ITU-T I.371).
///
/// ```
/// use core::time::Duration;
/// use hayase_stack::ip::Limiter;
/// use hayase_time::Instant;
/// let now = Instant::from_nanos(0);
/// let mut limiter = Limiter::new(10, 2);
/// assert!(limiter.allow(now) && limiter.allow(now) && !limiter.allow(now));
/// assert!(limiter.allow(now + Duration::from_millis(100)));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Limiter {
    /// The time in which one token grows.
    interval: Duration,
    /// How far ahead `full_at` may be for one more token to be there.
    tolerance: Duration,
    full_at: Instant,
}

impl Limiter {
    /// A bucket that starts with `burst` tokens and gains `per_second` of them a second. With a zero it allows
    /// nothing, ever.
    pub fn new(per_second: u32, burst: u32) -> Limiter {
        let interval = Duration::from_secs(1).checked_div(per_second);
        let (Some(interval), Some(ahead)) = (interval, burst.checked_sub(1)) else {
            return Limiter { interval: Duration::ZERO, tolerance: Duration::ZERO, full_at: Instant::MAX };
        };
        let tolerance = interval.saturating_mul(ahead);
        Limiter { interval, tolerance, full_at: Instant::ZERO }
    }

    /// Whether one more may go, which takes a token.
    #[inline]
    pub fn allow(&mut self, now: Instant) -> bool {
        let allowed = self.has_token(now);
        if allowed {
            self.take(1, now);
        }
        allowed
    }

    #[inline]
    fn has_token(&self, now: Instant) -> bool {
        self.full_at <= now.saturating_add(self.tolerance)
    }

    /// Takes tokens, also such as are still to grow.
    #[inline]
    fn take(&mut self, tokens: u32, now: Instant) {
        self.full_at = self.full_at.max(now).saturating_add(self.interval.saturating_mul(tokens));
    }
}

const DOMAIN: u64 = 0x1c_4443;

/// How many buckets hosts share. Two hosts in one bucket only share its rate, so few suffice.
const BUCKET_COUNT: usize = 256;

/// What an error takes from its buckets: one token or more, up to this many.
const TOKENS_MAX: u64 = 3;

/// A [`Limiter`] for all hosts together and one for each, so that a single host cannot use up what others are
/// due (RFC 4443 §2.4(f)).
///
/// Hosts are hashed into a fixed number of buckets: memory does not grow with them. The hash is secret, so that nobody can
/// choose addresses that share somebody's bucket.
///
/// A limit that is known exactly is a side channel: somebody who sends in another's name sees by what is left for himself
/// whether an error went to the other, and so which ports are open to him (CVE-2020-25705). So nobody knows how many errors
/// there are: each takes one to three tokens, at random.
#[derive(Debug)]
pub(crate) struct HostLimiter {
    all: Limiter,
    hosts: Box<[Limiter; BUCKET_COUNT]>,
    random: Random,
}

impl HostLimiter {
    /// Limits for all hosts together, and for each.
    pub(crate) fn new(all: Limiter, each: Limiter, random: &Random) -> HostLimiter {
        HostLimiter { all, hosts: Box::new([each; BUCKET_COUNT]), random: random.for_use(DOMAIN) }
    }

    /// Whether one more may go to `host`.
    pub(crate) fn allow(&mut self, host: IpAddr, now: Instant) -> bool {
        let host = &mut self.hosts[self.random.keyed_by_address(DOMAIN, host) as usize % BUCKET_COUNT];
        let is_allowed = self.all.has_token(now) && host.has_token(now);
        if is_allowed {
            let tokens = 1 + (self.random.next() % TOKENS_MAX) as u32;
            self.all.take(tokens, now);
            host.take(tokens, now);
        }
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zero_allows_nothing() {
        for (per_second, burst) in [(0, 5), (5, 0), (0, 0)] {
            let mut limiter = Limiter::new(per_second, burst);
            assert!(!limiter.allow(Instant::from_nanos(0)));
            assert!(!limiter.allow(Instant::from_nanos(1 << 60)));
        }
    }

    fn limiter(seed: u8) -> HostLimiter {
        HostLimiter::new(Limiter::new(1000, 60), Limiter::new(10, 6), &Random::new([seed; 32]))
    }

    fn host(i: u32) -> IpAddr {
        IpAddr::V4((0x0a00_0000 | i).into())
    }

    /// How many of 500 go to one host at once.
    fn to_one(limiter: &mut HostLimiter, now: Instant) -> usize {
        (0..500).filter(|_| limiter.allow(host(1), now)).count()
    }

    #[test]
    fn i10_one_host_does_not_starve_another() {
        let now = Instant::from_millis(5);
        let mut limiter = limiter(7);
        let first = to_one(&mut limiter, now);
        assert!((2..=6).contains(&first), "{first}");
        assert!(limiter.allow(host(2), now));
        let others = (3..5000).filter(|i| limiter.allow(host(*i), now)).count();
        assert!((20..=60).contains(&(first + 1 + others)), "all together: {others}");
    }

    #[test]
    fn f9_nobody_knows_how_many_errors_there_are() {
        let counts = |seed| -> Vec<usize> {
            let mut limiter = limiter(seed);
            (1..20).map(|second| to_one(&mut limiter, Instant::from_millis(1000 * second))).collect()
        };
        let (a, b) = (counts(1), counts(2));
        assert!(a.iter().chain(&b).all(|count| (2..=6).contains(count)), "{a:?} {b:?}");
        assert!(a != b && a.iter().any(|count| *count != a[0]), "{a:?} {b:?}");
    }

    proptest! {
        #[test]
        fn never_above_burst_and_rate(
            per_second in 1u32..10_000, burst in 1u32..100, gaps in prop::collection::vec(0u64..50_000_000, 1..300),
        ) {
            let mut limiter = Limiter::new(per_second, burst);
            let (mut now, mut allowed) = (Instant::ZERO, 0u64);
            for gap in gaps {
                now += Duration::from_nanos(gap);
                allowed += u64::from(limiter.allow(now));
                let grown = now.as_nanos() as u128 * u128::from(per_second) / 1_000_000_000;
                // The interval is cut to whole nanoseconds: one part in 100,000 at these rates.
                prop_assert!(u128::from(allowed) <= u128::from(burst) + grown + grown / 100_000 + 1);
            }
            prop_assert!(limiter.allow(now + Duration::from_secs(1)), "tokens grow back");
        }
    }
}

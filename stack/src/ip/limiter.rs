//! Rate limits for what strangers can make us send: ICMP errors.

use alloc::boxed::Box;
use core::hash::BuildHasher;
use core::net::IpAddr;
use core::time::Duration;

use foldhash::fast::FixedState;
use hayase_time::Instant;

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
            self.full_at = self.full_at.max(now).saturating_add(self.interval);
        }
        allowed
    }

    #[inline]
    fn has_token(&self, now: Instant) -> bool {
        self.full_at <= now.saturating_add(self.tolerance)
    }
}

/// How many buckets hosts share. Two hosts in one bucket only share its rate, so few suffice.
const BUCKET_COUNT: usize = 256;

/// A [`Limiter`] for all hosts together and one for each, so that a single host cannot use up what others are
/// due (RFC 4443 §2.4(f)).
///
/// Hosts are hashed with a secret seed into a fixed number of buckets: memory does not grow with them.
#[derive(Debug)]
pub struct HostLimiter {
    all: Limiter,
    hosts: Box<[Limiter; BUCKET_COUNT]>,
    hasher: FixedState,
}

impl HostLimiter {
    /// Limits for all hosts together, and for each. `seed` is secret, so that nobody can choose addresses that
    /// share somebody's bucket.
    pub fn new(all: Limiter, each: Limiter, seed: u64) -> HostLimiter {
        HostLimiter { all, hosts: Box::new([each; BUCKET_COUNT]), hasher: FixedState::with_seed(seed) }
    }

    /// Whether one more may go to `host`.
    pub fn allow(&mut self, host: IpAddr, now: Instant) -> bool {
        let bucket = self.hasher.hash_one(host) as usize % BUCKET_COUNT;
        // Looked at first, so that a refusal by one limit takes no token of the other.
        self.all.has_token(now) && self.hosts[bucket].allow(now) && self.all.allow(now)
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn i10_one_host_does_not_starve_another() {
        let now = Instant::from_millis(5);
        let mut limiter = HostLimiter::new(Limiter::new(1000, 50), Limiter::new(10, 5), 7);
        let host = |i: u8| IpAddr::from([10, 0, 0, i]);
        assert_eq!((0..500).filter(|_| limiter.allow(host(1), now)).count(), 5);
        assert!(limiter.allow(host(2), now));
        let others = (0..5000u32).filter(|i| limiter.allow(IpAddr::V4((*i).into()), now)).count();
        assert_eq!(others, 50 - 6, "all together");
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

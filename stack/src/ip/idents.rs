//! Identifications of packets that may be cut on the way (RFC 7739).
//!
//! One counter for all packets tells everybody who gets one how much this host sends to others, and what number comes next:
//! enough to slip a fragment into somebody's datagram. So each pair of addresses has a place of its own to count from, which
//! is a secret function of them, and there are many counters (§5.3, double hash). Which pairs share one is secret, too, and
//! a counter that has rested jumps, so that whoever finds one that he shares learns little from it.

use alloc::boxed::Box;
use core::net::IpAddr;

use hayase_time::Instant;

use crate::random::Random;

const DOMAIN: u64 = 0x1d_7739;

const COUNTER_COUNT: usize = 1024;

/// A counter jumps by as much as the milliseconds that it rested, and no further than this: numbers of IPv4 have 16 bits, and
/// none may come again while a fragment with it is under way (RFC 6864 §4.3).
const JUMP_MAX: u32 = 1024;

#[derive(Debug, Clone, Copy, Default)]
struct Counter {
    next: u32,
    /// Milliseconds, from any beginning.
    used_at: u32,
}

#[derive(Debug)]
pub(crate) struct Idents {
    counters: Box<[Counter; COUNTER_COUNT]>,
    random: Random,
}

impl Idents {
    pub(crate) fn new(random: &Random) -> Idents {
        let mut random = random.for_use(DOMAIN);
        let mut counters = Box::new([Counter::default(); COUNTER_COUNT]);
        for counter in counters.iter_mut() {
            counter.next = random.next() as u32;
        }
        Idents { counters, random }
    }

    /// The identification of the next packet between these addresses. IPv4 has room for the lower half.
    pub(crate) fn take(&mut self, src: IpAddr, dst: IpAddr, now: Instant) -> u32 {
        let hash = self.random.keyed_by_addresses(DOMAIN, src, dst);
        let counter = &mut self.counters[(hash >> 32) as usize % COUNTER_COUNT];
        let rested = (now.as_millis() as u32).wrapping_sub(counter.used_at).min(JUMP_MAX);
        if rested > 0 {
            counter.used_at = now.as_millis() as u32;
            counter.next = counter.next.wrapping_add((self.random.next() % u64::from(rested)) as u32);
        }
        let ident = counter.next.wrapping_add(hash as u32);
        counter.next = counter.next.wrapping_add(1);
        ident
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;

    const SRC: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(10, 0, 0, 1));

    fn dst(i: u32) -> IpAddr {
        IpAddr::V4((0x0a01_0000 + i).into())
    }

    #[test]
    fn i13_a_pair_counts_on_and_meets_no_number_twice() {
        for dst in [dst(1), IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 2])] {
            let mut idents = Idents::new(&Random::new([1; 32]));
            let now = Instant::from_millis(77);
            let taken: BTreeSet<u16> = (0..1 << 16).map(|_| idents.take(SRC, dst, now) as u16).collect();
            assert_eq!(taken.len(), 1 << 16, "{dst}");
        }
    }

    /// Where a pair counts says nothing of where another does, and of what that has sent.
    #[test]
    fn pairs_do_not_see_each_other_count() {
        let now = Instant::from_millis(77);
        let firsts = |seed| {
            let mut idents = Idents::new(&Random::new([seed; 32]));
            (0..200).map(|i| idents.take(SRC, dst(i), now)).collect::<BTreeSet<u32>>()
        };
        let (a, b) = (firsts(1), firsts(2));
        assert_eq!((a.len(), a.intersection(&b).count()), (200, 0));
        let is_near = |(a, b): (&u32, &u32)| b.wrapping_sub(*a) < 1000;
        assert!(a.iter().zip(a.iter().skip(1)).filter(|pair| is_near(*pair)).count() < 3);

        let mut idents = Idents::new(&Random::new([1; 32]));
        let before = idents.take(SRC, dst(1), now);
        let taken = (2..52).filter(|i| (0..9).all(|_| idents.take(SRC, dst(*i), now) > 0)).count();
        let after = idents.take(SRC, dst(1), now);
        assert!(taken > 0 && after.wrapping_sub(before) < 50, "450 packets to others");
    }

    #[test]
    fn a_counter_that_rested_jumps() {
        let mut idents = Idents::new(&Random::new([1; 32]));
        let mut now = Instant::from_millis(77);
        let mut last = idents.take(SRC, dst(1), now);
        let steps: BTreeSet<u32> = (0..50)
            .map(|_| {
                now += core::time::Duration::from_secs(10);
                let ident = idents.take(SRC, dst(1), now);
                ident.wrapping_sub(core::mem::replace(&mut last, ident))
            })
            .collect();
        assert!(steps.len() > 30 && steps.iter().all(|step| (1..=JUMP_MAX).contains(step)), "{steps:?}");
    }
}

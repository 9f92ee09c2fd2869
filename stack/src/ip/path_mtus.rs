//! How long packets to a destination may be where the path is narrower than our link (RFC 8201): for datagrams of IPv6,
//! which no router cuts. Connections keep that for themselves, and IPv4's datagrams may be cut on the way.

use alloc::boxed::Box;
use core::hash::BuildHasher;
use core::net::Ipv6Addr;
use core::time::Duration;

use foldhash::fast::FixedState;
use hayase_time::Instant;

use crate::random::Random;

/// No link has a smaller MTU (RFC 8200 §5): whoever reports one is not believed (RFC 8201 §4), and packets so short are
/// never too long.
pub(crate) const MTU_MIN: usize = 1280;

/// Destinations remembered, in sets of four. Where all four are taken, which one makes room is left to chance: whoever knows
/// what is in the table, and sees something missing, does not know by what.
const SET_COUNT: usize = 64;
const WAY_COUNT: usize = 4;

/// After so long, longer packets are tried again: paths change (RFC 8201 §5.3 recommends ten minutes).
const LIFETIME: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, Copy)]
struct PathMtu {
    destination: Ipv6Addr,
    mtu: u16,
    until: Instant,
}

type Set = [Option<PathMtu>; WAY_COUNT];

/// What routers said of paths. Nothing until the first one speaks.
#[derive(Debug)]
pub(crate) struct PathMtus {
    sets: Option<Box<[Set; SET_COUNT]>>,
    hasher: FixedState,
    random: Random,
}

impl PathMtus {
    /// `random` is secret, so that nobody can choose addresses that take somebody's place.
    pub(crate) fn new(mut random: Random) -> PathMtus {
        PathMtus { sets: None, hasher: FixedState::with_seed(random.next()), random }
    }

    /// What stands for a destination, and nobody else can compute.
    pub(crate) fn hash(&self, destination: Ipv6Addr) -> u64 {
        self.hasher.hash_one(destination)
    }

    fn set_of(&self, destination: Ipv6Addr) -> usize {
        self.hash(destination) as usize % SET_COUNT
    }

    /// The longest packet that passes, if that is known to be less than the link's.
    pub(crate) fn get(&self, destination: Ipv6Addr, now: Instant) -> Option<usize> {
        let mut set = self.sets.as_ref()?[self.set_of(destination)].iter().flatten();
        let known = set.find(|known| known.destination == destination)?;
        (now < known.until).then_some(known.mtu.into())
    }

    /// A router says what passes. What is more than was known before, or less than can be, is not believed (RFC 8201 §4).
    /// Returns whether it is news.
    pub(crate) fn lower(&mut self, destination: Ipv6Addr, mtu: usize, now: Instant) -> bool {
        let known = self.get(destination, now).unwrap_or(u16::MAX.into());
        if !(MTU_MIN..known).contains(&mtu) {
            return false;
        }
        let (at, chance) = (self.set_of(destination), self.random.next() as usize % WAY_COUNT);
        let set = &mut self.sets.get_or_insert_with(|| Box::new([[None; WAY_COUNT]; SET_COUNT]))[at];
        let own = set.iter().position(|place| place.is_some_and(|known| known.destination == destination));
        let is_free = |place: &Option<PathMtu>| place.is_none_or(|known| known.until <= now);
        let way = own.or_else(|| set.iter().position(is_free)).unwrap_or(chance);
        set[way] = Some(PathMtu { destination, mtu: mtu as u16, until: now + LIFETIME });
        true
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const NOW: Instant = Instant::from_millis(1000);

    fn paths(seed: u8) -> PathMtus {
        PathMtus::new(Random::new([seed; 32]))
    }

    fn host(n: u128) -> Ipv6Addr {
        (0xfd00 << 112 | n).into()
    }

    #[test]
    fn l6_a_path_only_gets_narrower_and_not_for_ever() {
        let mut paths = paths(7);
        for (mtu, known) in [(1279, None), (1400, Some(1400)), (1450, Some(1400)), (1280, Some(1280))] {
            assert_eq!(paths.lower(host(1), mtu, NOW), [1400, 1280].contains(&mtu), "{mtu}");
            assert_eq!((paths.get(host(1), NOW), paths.get(host(2), NOW)), (known, None), "{mtu}");
        }
        assert_eq!(paths.get(host(1), NOW + LIFETIME), None);
        assert!(paths.lower(host(1), 1450, NOW + LIFETIME));
        assert_eq!(paths.get(host(1), NOW + LIFETIME), Some(1450));
    }

    /// The first five of one set: which of them is missing when the fifth has come, of many tables.
    #[test]
    fn l6_which_path_is_forgotten_is_left_to_chance() {
        let missing = |seed| {
            let mut paths = paths(seed);
            let mates: Vec<_> = (1..10_000).filter(|n| paths.set_of(host(*n)) == 0).take(5).collect();
            mates.iter().for_each(|n| assert!(paths.lower(host(*n), 1300, NOW)));
            let is_missing = |n: &u128| paths.get(host(*n), NOW).is_none();
            let missing: Vec<_> = mates.iter().enumerate().filter(|(_, n)| is_missing(n)).collect();
            assert!(missing.len() == 1 && missing[0].0 < 4, "{missing:?}");
            missing[0].0
        };
        let counts = (0..100).map(missing).fold([0; 4], |mut counts, at| {
            counts[at] += 1;
            counts
        });
        assert!(counts.iter().all(|count| *count > 10), "{counts:?}");
    }

    #[test]
    fn what_is_over_makes_room_before_anything_else() {
        let mut paths = paths(7);
        let mates: Vec<_> = (1..10_000).filter(|n| paths.set_of(host(*n)) == 0).take(8).collect();
        mates[..4].iter().for_each(|n| assert!(paths.lower(host(*n), 1300, NOW)));
        let later = NOW + LIFETIME;
        mates[4..].iter().for_each(|n| assert!(paths.lower(host(*n), 1300, later)));
        assert!(mates[4..].iter().all(|n| paths.get(host(*n), later).is_some()));
    }

    #[test]
    fn many_destinations_share_the_places_and_none_is_taken_for_another() {
        let mut paths = paths(7);
        (0..10_000).for_each(|n| assert!(paths.lower(host(n), 1300 + n as usize % 100, NOW)));
        let known: Vec<_> = (0..10_000).filter_map(|n| Some((n, paths.get(host(n), NOW)?))).collect();
        assert_eq!(known.len(), SET_COUNT * WAY_COUNT);
        assert!(known.iter().all(|(n, mtu)| *mtu == 1300 + *n as usize % 100));
    }
}

//! How long packets to a destination may be where the path is narrower than our link (RFC 8201): for datagrams of IPv6,
//! which no router cuts. Connections keep that for themselves, and IPv4's datagrams may be cut on the way.

use alloc::boxed::Box;
use core::hash::BuildHasher;
use core::net::Ipv6Addr;
use core::time::Duration;

use foldhash::fast::FixedState;
use hayase_time::Instant;

/// No link has a smaller MTU (RFC 8200 §5): whoever reports one is not believed (RFC 8201 §4), and packets so short are
/// never too long.
pub(crate) const MTU_MIN: usize = 1280;

/// Destinations remembered. Of two that want the same place the later one has it.
const PLACE_COUNT: usize = 256;

/// After so long, longer packets are tried again: paths change (RFC 8201 §5.3 recommends ten minutes).
const LIFETIME: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, Copy)]
struct PathMtu {
    destination: Ipv6Addr,
    mtu: u16,
    until: Instant,
}

/// What routers said of paths. Nothing until the first one speaks.
#[derive(Debug)]
pub(crate) struct PathMtus {
    places: Option<Box<[Option<PathMtu>; PLACE_COUNT]>>,
    hasher: FixedState,
}

impl PathMtus {
    /// `seed` is secret, so that nobody can choose addresses that take somebody's place.
    pub(crate) fn new(seed: u64) -> PathMtus {
        PathMtus { places: None, hasher: FixedState::with_seed(seed) }
    }

    fn place(&self, destination: Ipv6Addr) -> usize {
        self.hasher.hash_one(destination) as usize % PLACE_COUNT
    }

    /// The longest packet that passes, if that is known to be less than the link's.
    pub(crate) fn get(&self, destination: Ipv6Addr, now: Instant) -> Option<usize> {
        let known = self.places.as_ref()?[self.place(destination)].as_ref()?;
        (known.destination == destination && now < known.until).then_some(known.mtu.into())
    }

    /// A router says what passes. What is more than was known before, or less than can be, is not believed (RFC 8201 §4).
    /// Returns whether it is news.
    pub(crate) fn lower(&mut self, destination: Ipv6Addr, mtu: usize, now: Instant) -> bool {
        let known = self.get(destination, now).unwrap_or(u16::MAX.into());
        if !(MTU_MIN..known).contains(&mtu) {
            return false;
        }
        let place = self.place(destination);
        let places = self.places.get_or_insert_with(|| Box::new([None; PLACE_COUNT]));
        places[place] = Some(PathMtu { destination, mtu: mtu as u16, until: now + LIFETIME });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_millis(1000);

    fn host(n: u128) -> Ipv6Addr {
        (0xfd00 << 112 | n).into()
    }

    #[test]
    fn l6_a_path_only_gets_narrower_and_not_for_ever() {
        let mut paths = PathMtus::new(7);
        for (mtu, known) in [(1279, None), (1400, Some(1400)), (1450, Some(1400)), (1280, Some(1280))] {
            assert_eq!(paths.lower(host(1), mtu, NOW), [1400, 1280].contains(&mtu), "{mtu}");
            assert_eq!((paths.get(host(1), NOW), paths.get(host(2), NOW)), (known, None), "{mtu}");
        }
        assert_eq!(paths.get(host(1), NOW + LIFETIME), None);
        assert!(paths.lower(host(1), 1450, NOW + LIFETIME));
        assert_eq!(paths.get(host(1), NOW + LIFETIME), Some(1450));
    }

    #[test]
    fn many_destinations_share_the_places_and_none_is_taken_for_another() {
        let mut paths = PathMtus::new(7);
        (0..10_000).for_each(|n| assert!(paths.lower(host(n), 1300 + n as usize % 100, NOW)));
        let known: alloc::vec::Vec<_> =
            (0..10_000).filter_map(|n| Some((n, paths.get(host(n), NOW)?))).collect();
        assert!((PLACE_COUNT / 2..=PLACE_COUNT).contains(&known.len()), "{}", known.len());
        assert!(known.iter().all(|(n, mtu)| *mtu == 1300 + *n as usize % 100));
    }
}

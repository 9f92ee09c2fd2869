//! What routers have said about the link: who is a default router, and what is on the link (RFC 4861 §6.3).

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};

use hayase_time::Instant;

use super::Cidr;
use crate::wire::ndp::Preference;

/// Default routers kept. RFC 4861 §6.3.4 wants at least two; more than this many a link has not.
const ROUTER_COUNT_MAX: usize = 8;

/// Prefixes kept that are on the link.
const PREFIX_COUNT_MAX: usize = 16;

/// There is no room for one more. What is known stays: a flood of claims puts nothing out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// A default router.
#[derive(Debug)]
struct Router {
    addr: Ipv6Addr,
    preference: Preference,
    until: Instant,
}

/// Default routers and prefixes, each until its lifetime is over.
#[derive(Debug, Default)]
pub(crate) struct Discovered {
    /// The first is the one in use: those that answer come before those that do not, and among the former the preferred ones
    /// (RFC 4191 §3.2).
    routers: Vec<Router>,
    prefixes: Vec<(Cidr, Instant)>,
}

impl Discovered {
    /// A router is one for packets to anywhere until then; if that is now, it is none.
    pub(crate) fn note_router(
        &mut self,
        addr: Ipv6Addr,
        preference: Preference,
        until: Instant,
        now: Instant,
    ) -> Result<(), Full> {
        let known = self.routers.iter().position(|router| router.addr == addr);
        match known {
            // It keeps its place, which it may have lost by silence.
            Some(at) if until > now && self.routers[at].preference == preference => {
                self.routers[at].until = until;
                return Ok(());
            }
            Some(at) => drop(self.routers.remove(at)),
            None => {}
        }
        if until <= now {
            return Ok(());
        }
        if self.routers.len() >= ROUTER_COUNT_MAX {
            return Err(Full);
        }
        let behind = self.routers.iter().position(|router| router.preference < preference);
        self.routers.insert(behind.unwrap_or(self.routers.len()), Router { addr, preference, until });
        Ok(())
    }

    /// A network is on the link until then; if that is now, nothing is known of it.
    pub(crate) fn note_prefix(&mut self, network: Cidr, until: Instant, now: Instant) -> Result<(), Full> {
        note(&mut self.prefixes, network, until, now)
    }

    /// A neighbour does not answer. If it is a router, the others come first from now on (§6.3.6).
    pub(crate) fn demote(&mut self, addr: IpAddr) {
        if let Some(at) = self.routers.iter().position(|router| IpAddr::V6(router.addr) == addr) {
            self.routers[at..].rotate_left(1);
        }
    }

    /// Whether an address is a neighbour's.
    pub(crate) fn is_on_link(&self, dst: IpAddr) -> bool {
        self.prefixes.iter().any(|(network, _)| network.contains(dst))
    }

    /// The networks that are on the link.
    pub(crate) fn networks(&self) -> impl Iterator<Item = Cidr> + '_ {
        self.prefixes.iter().map(|(network, _)| *network)
    }

    /// Whether an address is that of a default router.
    pub(crate) fn is_router(&self, addr: Ipv6Addr) -> bool {
        self.routers.iter().any(|router| router.addr == addr)
    }

    /// All default routers.
    pub(crate) fn routers(&self) -> impl Iterator<Item = Ipv6Addr> + '_ {
        self.routers.iter().map(|known| known.addr)
    }

    /// The router for what is not on the link.
    pub(crate) fn router(&self) -> Option<Ipv6Addr> {
        self.routers.first().map(|router| router.addr)
    }

    /// Forgets what is over.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.routers.retain(|router| router.until > now);
        self.prefixes.retain(|(_, until)| *until > now);
    }

    /// When something will be over.
    pub(crate) fn deadline(&self) -> Instant {
        let routers = self.routers.iter().map(|router| router.until);
        routers.chain(self.prefixes.iter().map(|(_, until)| *until)).min().unwrap_or(Instant::MAX)
    }
}

fn note(list: &mut Vec<(Cidr, Instant)>, network: Cidr, until: Instant, now: Instant) -> Result<(), Full> {
    let known = list.iter().position(|(other, _)| *other == network);
    match known {
        Some(at) if until <= now => {
            list.remove(at);
        }
        Some(at) => list[at].1 = until,
        None if until <= now => {}
        None if list.len() >= PREFIX_COUNT_MAX => return Err(Full),
        None => list.push((network, until)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    fn router(i: u16) -> Ipv6Addr {
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, i)
    }

    #[test]
    fn a_router_that_is_silent_makes_way_for_the_next() {
        let (now, later) = (Instant::from_millis(1), Instant::from_millis(9));
        let mut discovered = Discovered::default();
        for i in 1..=3 {
            discovered.note_router(router(i), Preference::Medium, later, now).unwrap();
        }
        discovered.demote(IpAddr::V6(router(1)));
        assert_eq!(discovered.router(), Some(router(2)));
        discovered.demote(IpAddr::V6(router(9)));
        discovered.demote(IpAddr::V6(router(2)));
        discovered.note_router(router(3), Preference::Medium, now, now).unwrap();
        assert_eq!(discovered.router(), Some(router(1)));
    }

    #[test]
    fn a_preferred_router_is_used_before_others_while_it_answers() {
        use Preference::{High, Low, Medium};

        let (mut discovered, now) = (Discovered::default(), Instant::ZERO);
        let later = now + Duration::from_secs(9);
        let order = |discovered: &Discovered| discovered.routers().collect::<Vec<_>>();
        for (i, preference) in [(1, Low), (2, Medium), (3, High), (4, Medium)] {
            discovered.note_router(router(i), preference, later, now).unwrap();
        }
        assert_eq!(order(&discovered), [3, 2, 4, 1].map(router));
        discovered.demote(IpAddr::V6(router(3)));
        discovered.note_router(router(3), High, later, now).unwrap();
        assert_eq!(order(&discovered), [2, 4, 1, 3].map(router), "it is silent, whatever it says of itself");
        discovered.note_router(router(1), High, later, now).unwrap();
        assert_eq!(order(&discovered), [1, 2, 4, 3].map(router));
        discovered.note_router(router(1), Low, later, now).unwrap();
        assert_eq!(order(&discovered), [2, 4, 3, 1].map(router));
    }

    #[test]
    fn a_flood_of_routers_and_prefixes_puts_nothing_out() {
        let (now, later) = (Instant::from_millis(1), Instant::from_millis(9));
        let mut discovered = Discovered::default();
        for i in 0..1000 {
            let refused = discovered.note_router(router(i), Preference::Medium, later, now).is_err();
            assert_eq!(refused, usize::from(i) >= ROUTER_COUNT_MAX);
            let network = Cidr::new(IpAddr::V6(Ipv6Addr::new(0xfd00, i, 0, 0, 0, 0, 0, 0)), 64).unwrap();
            let refused = discovered.note_prefix(network, later, now).is_err();
            assert_eq!(refused, usize::from(i) >= PREFIX_COUNT_MAX);
        }
        assert_eq!((discovered.router(), discovered.deadline()), (Some(router(0)), later));
        assert!(discovered.is_on_link("fd00:1::5".parse().unwrap()));
        discovered.expire(later);
        assert_eq!((discovered.router(), discovered.deadline()), (None, Instant::MAX));
        assert!(!discovered.is_on_link("fd00:1::5".parse().unwrap()));
    }
}

//! A host that learns its routers, networks and addresses from the link: router discovery (RFC 4861 §6.3) and stateless
//! address autoconfiguration (RFC 4862 §5.5), with addresses that stay the same in a network and tell nothing in another
//! (RFC 7217).

use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;

use hayase_device::{Device, Frame};
use hayase_time::Instant;

use crate::counters::Drop;
use crate::duties::Duty;
use crate::hearsay::{Hearsay, Rumour};
use crate::ip::Cidr;
use crate::ip::address::{ALL_ROUTERS, link_local};
use crate::ip::addresses::{Address, AddressState, Origin};
use crate::ip::neighbor::Evidence;
use crate::link::Link;
use crate::random;
use crate::stack::Stack;
use crate::wire::ndp::{self, Prefix, RouterAdvert};
use crate::wire::{Mac, ipv6};

/// How long the first questions for routers are apart (`RTR_SOLICITATION_INTERVAL`, RFC 4861 §10).
const SOLICIT_INTERVAL: Duration = Duration::from_secs(4);

/// The longest pause between them: they double, and never end while there is no router (RFC 7559 §2).
const SOLICIT_INTERVAL_MAX: Duration = Duration::from_secs(3600);

/// Longest wait before the first words on a link, so that hosts which start together do not all speak at once
/// (`MAX_RTR_SOLICITATION_DELAY`, RFC 4861 §10).
pub(crate) const START_DELAY_MS: u64 = 1000;

/// No router may shorten the life of an address to less, since anybody can forge one (RFC 4862 §5.5.3 (e)).
const TWO_HOURS: Duration = Duration::from_secs(7200);

/// Length of a prefix of which addresses are made: the identifier has the other half (RFC 4291 §2.5.1).
const PREFIX_LEN: u8 = 64;

/// Addresses made by ourselves, at once.
const MADE_COUNT_MAX: usize = 8;

/// How often another address is made of a prefix when one turns out to be taken (`IDGEN_RETRIES`, RFC 7217 §7).
const ATTEMPTS_MAX: u8 = 3;

/// Values that a router may set: a neighbour is asked no more often than ARP allows (RFC 1122 §2.3.2.1), and believed no
/// longer than a router may say (RFC 4861 §6.2.1).
const RETRANSMIT_MS: core::ops::RangeInclusive<u32> = 1000..=10_000;
const REACHABLE_MS_MAX: u32 = 3_600_000;

impl<F: Frame> Stack<F> {
    /// RFC 4861 §6.3.7
    pub(crate) fn solicit_routers<D: Device<Frame = F>>(&mut self, now: Instant, count: u8, device: &mut D) {
        let own = link_local(self.link.mac);
        // Before it has an address, a host may ask as nobody.
        let source = if self.link.is_ours(IpAddr::V6(own)) { own } else { Ipv6Addr::UNSPECIFIED };
        let source_mac = Some(self.link.mac).filter(|_| !source.is_unspecified());
        let question = ndp::Message::RouterSolicit { source_mac };
        let mac = Mac::for_ipv6_multicast(ALL_ROUTERS);
        if !self.send_ndp(source, ALL_ROUTERS, mac, question, device) {
            return self.put_off(now, Duty::SolicitRouters(count));
        }
        let doubled = SOLICIT_INTERVAL.saturating_mul(1 << count.min(10)).min(SOLICIT_INTERVAL_MAX);
        let jitter = doubled / 100 * (self.random.next() % 10) as u32;
        self.link.duties.push(now + doubled + jitter, Duty::SolicitRouters(count.saturating_add(1)));
    }

    /// A router speaks to the link, in a message that passed all checks.
    pub(crate) fn receive_router<D: Device<Frame = F>>(
        &mut self,
        now: Instant,
        src: Ipv6Addr,
        advert: &RouterAdvert,
        device: &mut D,
    ) -> Result<(), Drop> {
        if !self.config.autoconf {
            return Err(Drop::IcmpUnhandled);
        }
        self.heard.note(Hearsay(Rumour::Router { src, advert: *advert }));
        self.obey_router(now, src, advert, device)
    }

    /// RFC 4861 §6.3.4. What there is no room for is left out, and the rest of the message holds.
    pub(crate) fn obey_router<D: Device<Frame = F>>(
        &mut self,
        now: Instant,
        src: Ipv6Addr,
        advert: &RouterAdvert,
        device: &mut D,
    ) -> Result<(), Drop> {
        if advert.source_mac.is_some() {
            self.learn(now, IpAddr::V6(src), advert.source_mac, Evidence::Request, device);
        }
        let until = now + Duration::from_secs(advert.lifetime_s.into());
        let router = self.link.discovered.router();
        let mut fits = self.link.discovered.note_router(src, advert.preference, until, now).is_ok();
        self.link.note_router_change(router, now);
        if advert.lifetime_s > 0 {
            self.link.duties.retain(|duty| !matches!(duty, Duty::SolicitRouters(_)));
        }
        self.take_times(advert);
        if let Some(mtu) = advert.mtu {
            self.take_mtu(mtu as usize);
        }
        for prefix in advert.prefixes() {
            fits &= self.take_prefix(now, prefix);
        }
        fits &= !advert.left_out;
        self.link.schedule_expiry();
        if fits { Ok(()) } else { Err(Drop::RouterBudget) }
    }

    fn take_times(&mut self, advert: &RouterAdvert) {
        if (1..=REACHABLE_MS_MAX).contains(&advert.reachable_ms) {
            // From half to one and a half of it, so that neighbours are not all asked for at once (RFC 4861 §6.3.2).
            let base = u64::from(advert.reachable_ms);
            let millis = base / 2 + self.random.next() % base;
            self.link.neighbors.set_reachable_time(Duration::from_millis(millis.max(1)));
        }
        if advert.retransmit_ms > 0 {
            let millis = advert.retransmit_ms.clamp(*RETRANSMIT_MS.start(), *RETRANSMIT_MS.end());
            self.link.neighbors.set_retransmit_time(Duration::from_millis(millis.into()));
        }
    }

    /// The link has a smaller MTU than the device (§6.3.4); that holds for all that is sent from now on.
    fn take_mtu(&mut self, mtu: usize) {
        if (ipv6::MTU_MIN..=self.link.mtu_max).contains(&mtu) {
            self.link.set_mtu(mtu);
            self.tcp.set_caps(&self.link.caps);
        }
    }

    /// RFC 4861 §6.3.4, RFC 4862 §5.5.3. Returns whether there was room for it.
    fn take_prefix(&mut self, now: Instant, prefix: &Prefix) -> bool {
        let network = Cidr::new(IpAddr::V6(prefix.addr), prefix.len).map(|cidr| cidr.network());
        let Some(network) = network else { return true };
        if prefix.addr.is_unicast_link_local() || prefix.addr.is_multicast() {
            return true;
        }
        let valid_until = until(now, prefix.valid_s);
        let mut fits = true;
        if prefix.on_link {
            fits = self.link.discovered.note_prefix(network, valid_until, now).is_ok();
        }
        if prefix.autonomous && prefix.len == PREFIX_LEN && prefix.preferred_s <= prefix.valid_s {
            let preferred_until = until(now, prefix.preferred_s);
            fits &= self.make_address(now, network, preferred_until, valid_until);
        }
        fits
    }

    /// RFC 4862 §5.5.3 (d) and (e)
    fn make_address(
        &mut self,
        now: Instant,
        network: Cidr,
        preferred_until: Instant,
        valid_until: Instant,
    ) -> bool {
        if let Some(made) = self.link.addresses.made_of(network) {
            let least = made.valid_until.min(now + TWO_HOURS);
            made.valid_until = valid_until.max(least);
            made.prefer_until(preferred_until, now);
            return true;
        }
        if valid_until <= now {
            return true;
        }
        if self.link.addresses.is_full() || self.link.addresses.made_count() >= MADE_COUNT_MAX {
            return false;
        }
        let at = now + Duration::from_millis(self.random.next() % START_DELAY_MS);
        self.link.add_made(network, Origin::Made { attempt: 0 }, (preferred_until, valid_until), at);
        if let Some(made) = self.link.addresses.made_of(network) {
            made.prefer_until(preferred_until, now);
        }
        true
    }

    /// What is over: routers, prefixes, addresses.
    pub(crate) fn expire_lifetimes(&mut self, now: Instant) {
        let router = self.link.discovered.router();
        self.link.discovered.expire(now);
        self.link.note_router_change(router, now);
        while let Some(addr) = self.link.addresses.take_expired(now) {
            self.link.forget(addr);
        }
        self.link.addresses.deprecate(now);
        self.link.schedule_expiry();
    }
}

impl<F: Frame> Link<F> {
    /// Makes an address of a prefix and tries it from then on.
    fn add_made(&mut self, network: Cidr, origin: Origin, lifetimes: (Instant, Instant), at: Instant) {
        let Origin::Made { attempt } = origin else { return };
        let IpAddr::V6(prefix) = network.addr() else { return };
        let identifier = stable_identifier(self.secret, prefix, self.mac, attempt);
        let addr = Ipv6Addr::from_bits(prefix.to_bits() | u128::from(identifier));
        let Some(cidr) = Cidr::new(IpAddr::V6(addr), PREFIX_LEN) else { return };
        if self.addresses.get(IpAddr::V6(addr)).is_some() {
            return;
        }
        let (preferred_until, valid_until) = lifetimes;
        let mut address = Address { origin, preferred_until, valid_until, ..Address::new(cidr) };
        self.take_up(&mut address, at);
        self.addresses.push(address);
    }

    /// If the router that was in use is so no more, connections look for another, and with none left, so does the host.
    fn note_router_change(&mut self, was: Option<Ipv6Addr>, now: Instant) {
        self.keep_routers();
        let router = self.discovered.router();
        if was.is_some() && router != was {
            self.neighbors.void_ids();
        }
        // What several queues of a NIC would ask, the first one asks for all.
        if was.is_some() && router.is_none() && self.caps.queue == 0 {
            self.duties.push(now + SOLICIT_INTERVAL, Duty::SolicitRouters(0));
        }
    }

    /// An address that we made belongs to another host: the next try is another one (RFC 7217 §6).
    pub(crate) fn make_another(&mut self, taken: &Address, now: Instant) {
        let Origin::Made { attempt } = taken.origin else { return };
        if attempt < ATTEMPTS_MAX {
            // `IDGEN_DELAY`
            let at = now + Duration::from_secs(1);
            self.addresses.remove(taken.cidr.addr());
            let lifetimes = (taken.preferred_until, taken.valid_until);
            self.add_made(taken.cidr.network(), Origin::Made { attempt: attempt + 1 }, lifetimes, at);
        }
    }

    /// Sees to it that what has a lifetime is looked at when that ends.
    pub(crate) fn schedule_expiry(&mut self) {
        self.duties.retain(|duty| *duty != Duty::Expire);
        let at = self.discovered.deadline().min(self.addresses.deadline());
        if at != Instant::MAX {
            self.duties.push(at, Duty::Expire);
        }
    }
}

/// The end of a lifetime in seconds, of which all ones are for ever.
fn until(now: Instant, seconds: u32) -> Instant {
    if seconds == u32::MAX { Instant::MAX } else { now + Duration::from_secs(seconds.into()) }
}

/// RFC 7217 §5: the interface identifier that this host has in a network. Who does not know the secret cannot tell that
/// two of them are one host's.
fn stable_identifier(secret: [u8; 16], prefix: Ipv6Addr, mac: Mac, attempt: u8) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    let interface = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
    let network = (prefix.to_bits() >> 64) as u64;
    let identifiers =
        (u64::from(attempt)..).map(|counter| random::keyed(secret, &[network, interface, counter]));
    { identifiers }.find(|identifier| !is_reserved(*identifier)).unwrap_or_default()
}

/// Identifiers that are nobody's (RFC 5453): that of all routers of a subnet, those made of IANA's Ethernet addresses, and
/// the anycast ones.
fn is_reserved(identifier: u64) -> bool {
    identifier == 0
        || identifier >> 24 == 0x02_005e_fffe
        || (0xfdff_ffff_ffff_ff80..=0xfdff_ffff_ffff_ffff).contains(&identifier)
}

impl Address {
    /// Whether new connections should come from here, by what a router said of it.
    fn prefer_until(&mut self, until: Instant, now: Instant) {
        self.preferred_until = until;
        match self.state {
            AddressState::Preferred | AddressState::Deprecated if until > now => {
                self.state = AddressState::Preferred;
            }
            AddressState::Preferred => self.state = AddressState::Deprecated,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_the_same_in_its_network_and_tells_nothing_in_another() {
        let (a, b): (Ipv6Addr, Ipv6Addr) = ("fd00::".parse().unwrap(), "fd00:0:0:1::".parse().unwrap());
        let (secret, mac) = ([7; 16], Mac([2, 0, 0, 0, 0, 1]));
        let own = stable_identifier(secret, a, mac, 0);
        assert_eq!(own, stable_identifier(secret, a, mac, 0));
        assert_ne!(own, stable_identifier(secret, b, mac, 0));
        assert_ne!(own, stable_identifier([8; 16], a, mac, 0));
        assert_ne!(own, stable_identifier(secret, a, Mac([2, 0, 0, 0, 0, 2]), 0));
        assert_ne!(own, stable_identifier(secret, a, mac, 1));
    }

    #[test]
    fn reserved_identifiers_are_left_alone() {
        for identifier in [0, 0x0200_5eff_fe00_5213, 0xfdff_ffff_ffff_ffff, 0xfdff_ffff_ffff_ff80] {
            assert!(is_reserved(identifier), "{identifier:x}");
        }
        assert!(
            !is_reserved(1) && !is_reserved(0xfdff_ffff_ffff_ff7f) && !is_reserved(0x0200_5fff_fe00_0000)
        );
    }
}

//! What a host does on its link by itself: asking whether its addresses are free (RFC 4862 §5.4), telling that they are
//! taken (RFC 5227); and the times of [`autoconf`](crate::autoconf) and [`membership`](crate::membership).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use hayase_device::{Device, Frame};
use hayase_time::Instant;

use crate::counters::Drop;
use crate::hearsay::{Hearsay, Rumour};
use crate::ip::address::solicited_node;
use crate::ip::addresses::{Address, AddressState};
use crate::link::Link;
use crate::random;
use crate::stack::{RETRY_US, Stack};
use crate::wire::{Mac, arp, ndp};

/// Keeps what marks our questions apart from the other uses of a host's secret.
pub(crate) const DOMAIN: u64 = 0xda_d0;

/// How often an IPv4 address is announced, and how far apart (`ANNOUNCE_NUM` and `ANNOUNCE_INTERVAL`, RFC 5227 §1.1).
pub(crate) const ANNOUNCE_COUNT: u8 = 2;
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);

/// How seldom an address is defended, at the most (`DEFEND_INTERVAL`, RFC 5227 §1.1): two hosts that both defend theirs
/// must not flood the link.
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

/// Something to be done at a certain time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duty {
    /// The next step of duplicate address detection.
    Probe(Ipv6Addr),
    /// Ask for routers; so many times that was done already.
    SolicitRouters(u8),
    /// The lifetime of something that a router said ends.
    Expire,
    /// Answer routers that ask for multicast groups.
    Report,
    /// Tell routers and switches that we are in a group, or are no more, so many times yet.
    ReportChange { group: Ipv6Addr, has_joined: bool, count: u8 },
    /// Tell everybody about an IPv4 address, so many times yet.
    Announce(Ipv4Addr, u8),
}

impl<F: Frame> Stack<F> {
    /// Does what is due.
    pub(crate) fn run_duties<D: Device<Frame = F>>(&mut self, now: Instant, device: &mut D) {
        while let Some(duty) = self.link.duties.pop(now) {
            match duty {
                Duty::Probe(addr) => self.probe(now, addr, device),
                Duty::SolicitRouters(count) => self.solicit_routers(now, count, device),
                Duty::Expire => self.expire_lifetimes(now),
                Duty::Report => self.report_all(now, device),
                Duty::ReportChange { group, has_joined, count } => {
                    self.report_change(now, group, has_joined, count, device);
                }
                Duty::Announce(addr, count) => self.announce(now, addr, count, device),
            }
        }
    }

    /// RFC 4862 §5.4.2: asks for an address that is to become ours; once nobody has answered, it is.
    fn probe<D: Device<Frame = F>>(&mut self, now: Instant, target: Ipv6Addr, device: &mut D) {
        let nonce = self.link.nonce(target);
        let Some(address) = self.link.addresses.get_mut(IpAddr::V6(target)) else { return };
        if address.probes_left == 0 {
            let is_preferred = address.preferred_until > now;
            address.state = if is_preferred { AddressState::Preferred } else { AddressState::Deprecated };
            // The end of being preferred was none before.
            self.link.schedule_expiry();
            return;
        }
        let group = solicited_node(target);
        let question = ndp::Message::NeighborSolicit { target, source_mac: None, nonce: Some(nonce) };
        let mac = Mac::for_ipv6_multicast(group);
        if !self.send_ndp(Ipv6Addr::UNSPECIFIED, group, mac, question, device) {
            // Nobody can answer what was not asked.
            return self.put_off(now, Duty::Probe(target));
        }
        if let Some(address) = self.link.addresses.get_mut(IpAddr::V6(target)) {
            address.probes_left -= 1;
        }
        let at = now + self.link.neighbors.retransmit_time();
        self.link.duties.push(at, Duty::Probe(target));
    }

    /// Does it in a moment: the device is full, or has no buffer.
    pub(crate) fn put_off(&mut self, now: Instant, duty: Duty) {
        self.link.duties.push(now.after_micros(RETRY_US), duty);
    }

    /// Somebody on the link has an address that we wanted, or wants it as well: neither gets it (RFC 4862 §5.4.5).
    pub(crate) fn meet_duplicate(&mut self, now: Instant, addr: Ipv6Addr) -> Drop {
        self.heard.note(Hearsay(Rumour::Duplicate(addr)));
        self.link.give_up(addr, now);
        Drop::AddrConflict
    }

    /// RFC 5227 §2.3
    fn announce<D: Device<Frame = F>>(&mut self, now: Instant, addr: Ipv4Addr, count: u8, device: &mut D) {
        if !self.link.is_ours(IpAddr::V4(addr)) {
            return;
        }
        let announcement = arp::Packet::request(self.link.mac, addr, addr);
        if !self.send_arp(Mac::BROADCAST, &announcement, device) {
            self.put_off(now, Duty::Announce(addr, count));
        } else if count > 1 {
            self.link.duties.push(now + ANNOUNCE_INTERVAL, Duty::Announce(addr, count - 1));
        }
    }

    /// Somebody claims an IPv4 address of ours. A server does not give its address up: it says so, now and then
    /// (RFC 5227 §2.4 (c)).
    pub(crate) fn defend<D: Device<Frame = F>>(&mut self, now: Instant, addr: Ipv4Addr, device: &mut D) {
        let Some(address) = self.link.addresses.get_mut(IpAddr::V4(addr)) else { return };
        let is_recent = address.defended_at.is_some_and(|at| now < at + DEFEND_INTERVAL);
        if !is_recent {
            address.defended_at = Some(now);
            self.announce(now, addr, 1, device);
        }
    }
}

impl<F: Frame> Link<F> {
    /// What is to be done about a new address before, and when, it is used; not earlier than `at`.
    pub(crate) fn take_up(&mut self, address: &mut Address, at: Instant) {
        // Whoever has the address already answers in its group (RFC 4862 §5.4.2).
        self.note_change(address.cidr.addr(), true, at);
        match address.cidr.addr() {
            IpAddr::V6(addr) if self.dad_transmits > 0 => {
                address.state = AddressState::Tentative;
                address.probes_left = self.dad_transmits;
                self.duties.push(at, Duty::Probe(addr));
            }
            IpAddr::V4(addr) if self.announces => {
                self.duties.push(at, Duty::Announce(addr, ANNOUNCE_COUNT));
            }
            _ => {}
        }
    }

    /// What marks our questions whether somebody has an address, so that one which comes back is known for ours (RFC 7527
    /// §4.2): each stack of a host asks, and some links send what one says to another's queue. They share the secret.
    pub(crate) fn nonce(&self, addr: Ipv6Addr) -> ndp::Nonce {
        let [a, b, c, d, e, f] = self.mac.0;
        let mac = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        let [high, low] = random::words(addr);
        let [_, _, nonce @ ..] = random::keyed(self.shared_secret, &[DOMAIN, high, low, mac]).to_be_bytes();
        nonce
    }

    /// An address that is being tried belongs to another host.
    pub(crate) fn give_up(&mut self, addr: Ipv6Addr, now: Instant) {
        if let Some(address) = self.addresses.get_mut(IpAddr::V6(addr))
            && address.state == AddressState::Tentative
        {
            address.state = AddressState::Duplicate;
            let taken = *address;
            self.duties.retain(|duty| *duty != Duty::Probe(addr));
            self.note_change(IpAddr::V6(addr), false, now);
            self.make_another(&taken, now);
        }
    }
}

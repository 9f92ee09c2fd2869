//! Who has this address? ARP (RFC 826) and neighbour discovery (RFC 4861) as seen by the stack.

use core::net::{IpAddr, Ipv6Addr};

use hayase_device::{Device, Frame, TxMeta};
use hayase_time::Instant;

use crate::counters::{Count, Drop};
use crate::hearsay::{Hearsay, Rumour};
use crate::ip::address::{ALL_NODES, is_host_source, solicited_node};
use crate::ip::addresses::AddressState;
use crate::ip::neighbor::{Evidence, Output};
use crate::link::Waiting;
use crate::stack::{RETRY_US, Stack};
use crate::wire::arp::{self, Operation};
use crate::wire::ndp::{self, NeighborAdvert, RouterAdvert};
use crate::wire::{EtherType, Mac, Protocol, ethernet, icmpv6, ipv6};

/// Headers in front of a message of neighbour discovery, and the longest of ours with them.
const NDP_FRONT_LEN: usize = ethernet::LEN + ipv6::LEN;
const NDP_LEN_MAX: usize = NDP_FRONT_LEN + 64;

impl<F: Frame> Stack<F> {
    pub(crate) fn receive_arp<D: Device<Frame = F>>(
        &mut self,
        now: Instant,
        frame: &F,
        device: &mut D,
    ) -> Result<(), Drop> {
        let packet = arp::parse(frame.bytes()).map_err(|_| Drop::ArpInvalid)?;
        let (sender, target) = (IpAddr::V4(packet.sender_ip), IpAddr::V4(packet.target_ip));
        let is_for_us = self.link.is_ours(target);
        // Somebody claims our address: we keep it, and believe nothing else of that packet. Our own come back on some
        // links, and claim nothing.
        if self.link.is_ours(sender) {
            if packet.sender_mac != self.link.mac {
                self.defend(now, packet.sender_ip, device);
            }
            return Err(Drop::AddrConflict);
        }
        let evidence = match packet.operation {
            Operation::Request if is_for_us => Evidence::Request,
            Operation::Reply if is_for_us => Evidence::Reply,
            _ => Evidence::Announcement,
        };
        if is_host_source(sender) {
            self.learn_first(now, sender, Some(packet.sender_mac), evidence, device);
        }
        if evidence == Evidence::Request {
            let reply = packet.reply(self.link.mac);
            self.send_arp(reply.target_mac, &reply, device);
        }
        Ok(())
    }

    /// Whether it was sent.
    pub(crate) fn send_arp<D: Device<Frame = F>>(
        &mut self,
        dst: Mac,
        packet: &arp::Packet,
        device: &mut D,
    ) -> bool {
        let header = ethernet::Header { dst, src: self.link.mac, ethertype: EtherType::ARP };
        let mut bytes = [0; ethernet::LEN + arp::LEN];
        header.emit(&mut bytes[..ethernet::LEN]);
        packet.emit(&mut bytes[ethernet::LEN..]);
        self.send_raw(&bytes, device)
    }

    pub(crate) fn receive_ndp<D: Device<Frame = F>>(
        &mut self,
        now: Instant,
        header: &ipv6::Header,
        message: &ndp::Message,
        device: &mut D,
    ) -> Result<(), Drop> {
        match *message {
            ndp::Message::NeighborSolicit { target, nonce: Some(nonce), .. }
                if header.src.is_unspecified() && nonce == self.link.nonce(target) =>
            {
                // A question of ours that came back, whichever of the host's stacks has asked (RFC 7527 §4.2).
                Err(Drop::IpInAddr)
            }
            ndp::Message::NeighborSolicit { target, .. }
                if self.link.address_state(IpAddr::V6(target)) == Some(AddressState::Tentative) =>
            {
                // From the unspecified address it comes from somebody who is trying it as well (RFC 4862 §5.4.3).
                Err(if header.src.is_unspecified() {
                    self.meet_duplicate(now, target)
                } else {
                    Drop::IpInAddr
                })
            }
            ndp::Message::NeighborSolicit { target, source_mac, .. } => {
                self.receive_solicit(now, header, target, source_mac, device)
            }
            ndp::Message::NeighborAdvert(advert) => {
                let NeighborAdvert { target, target_mac, solicited, override_known, router } = advert;
                match self.link.address_state(IpAddr::V6(target)) {
                    None | Some(AddressState::Duplicate) => {}
                    Some(AddressState::Tentative) => return Err(self.meet_duplicate(now, target)),
                    Some(_) => return Err(Drop::AddrConflict),
                }
                let evidence = Evidence::Advert { solicited, override_known };
                self.learn_first(now, IpAddr::V6(target), target_mac, evidence, device);
                let was_router = self.link.discovered.is_router(target);
                if was_router && !router && self.link.neighbors.agrees(IpAddr::V6(target), target_mac) {
                    // RFC 4861 §7.2.5: who says that it is no router, is none, as if its lifetime were over.
                    return self.receive_router(now, target, &RouterAdvert::default(), device);
                }
                Ok(())
            }
            ndp::Message::RouterAdvert(ref advert) => self.receive_router(now, header.src, advert, device),
            // We are no router, and nobody tells us where to send: a redirect is easily forged, and a router forwards
            // without it as well.
            ndp::Message::RouterSolicit { .. } | ndp::Message::Redirect { .. } => Err(Drop::IcmpUnhandled),
        }
    }

    /// RFC 4861 §7.2.3 and §7.2.4; from the unspecified address it is duplicate address detection
    /// (RFC 4862 §5.4), answered to all nodes.
    fn receive_solicit<D: Device<Frame = F>>(
        &mut self,
        now: Instant,
        header: &ipv6::Header,
        target: Ipv6Addr,
        source_mac: Option<Mac>,
        device: &mut D,
    ) -> Result<(), Drop> {
        let src = header.src;
        if !self.link.is_ours(IpAddr::V6(target)) {
            return Err(Drop::IpInAddr);
        }
        let is_detection = src.is_unspecified();
        if self.link.is_martian(IpAddr::V6(src)) {
            return Err(Drop::AddrConflict);
        }
        if let Some(mac) = source_mac.filter(|_| !is_detection) {
            self.learn_first(now, IpAddr::V6(src), Some(mac), Evidence::Request, device);
        }
        let advert = ndp::Message::NeighborAdvert(NeighborAdvert {
            target,
            router: false,
            solicited: !is_detection,
            override_known: true,
            target_mac: Some(self.link.mac),
        });
        if is_detection {
            self.send_ndp(target, ALL_NODES, Mac::for_ipv6_multicast(ALL_NODES), advert, device);
            return Ok(());
        }
        let known = self.link.neighbors.find(IpAddr::V6(src));
        match known.and_then(|id| self.link.neighbors.mac(id, now)).or(source_mac) {
            Some(mac) => {
                self.send_ndp(target, src, mac, advert, device);
                Ok(())
            }
            // Whoever asks a group says where it is (§4.3).
            None if header.dst.is_multicast() => Err(Drop::NeighUnresolved),
            None => self.answer_later(now, target, src, advert, device),
        }
    }

    /// RFC 4861 §7.2.4: who asks us alone need not say its link-layer address. It is asked for that, and the answer waits
    /// with the neighbour, as all does that is sent to one.
    fn answer_later<D: Device<Frame = F>>(
        &mut self,
        now: Instant,
        src: Ipv6Addr,
        dst: Ipv6Addr,
        advert: ndp::Message,
        device: &mut D,
    ) -> Result<(), Drop> {
        // A question that cannot be asked is not worth an entry.
        self.link.source_for(IpAddr::V6(dst)).map_err(|_| Drop::NeighUnresolved)?;
        let id = self.link.neighbors.entry_to_answer(IpAddr::V6(dst), now).ok_or(Drop::NeighUnresolved)?;
        let mut bytes = [0; NDP_LEN_MAX];
        let len = self.write_ndp(src, dst, Mac::UNSPECIFIED, advert, &mut bytes).ok_or(Drop::NoMem)?;
        let frame = self.new_frame(&bytes[..len], device).ok_or(Drop::NoMem)?;
        if self.link.neighbors.enqueue(id, Waiting { frame, meta: TxMeta::default() }).is_some() {
            return Err(Drop::NeighUnresolved);
        }
        self.counters.count(Count::IcmpOut);
        Ok(())
    }

    /// Whether it was sent.
    pub(crate) fn send_ndp<D: Device<Frame = F>>(
        &mut self,
        src: Ipv6Addr,
        dst: Ipv6Addr,
        mac: Mac,
        message: ndp::Message,
        device: &mut D,
    ) -> bool {
        let mut bytes = [0; NDP_LEN_MAX];
        let Some(len) = self.write_ndp(src, dst, mac, message, &mut bytes) else { return false };
        let is_sent = self.send_raw(&bytes[..len], device);
        if is_sent {
            self.counters.count(Count::IcmpOut);
        }
        is_sent
    }

    /// Writes a message with its headers to the beginning of `out`. Returns how long it is, if there is room for it.
    fn write_ndp(
        &self,
        src: Ipv6Addr,
        dst: Ipv6Addr,
        mac: Mac,
        message: ndp::Message,
        out: &mut [u8],
    ) -> Option<usize> {
        let len = message.len();
        let frame = out.get_mut(..NDP_FRONT_LEN + len)?;
        let (ether, packet) = frame.split_at_mut(ethernet::LEN);
        let (network, body) = packet.split_at_mut(ipv6::LEN);
        ethernet::Header { dst: mac, src: self.link.mac, ethertype: EtherType::IPV6 }.emit(ether);
        let header = ipv6::Header {
            src,
            dst,
            next_header: Protocol::ICMPV6,
            hop_limit: ndp::HOP_LIMIT,
            traffic_class: 0,
            flow_label: 0,
            payload_len: len as u16,
        };
        header.emit(network);
        icmpv6::Message::Ndp(message).emit(src, dst, body);
        Some(NDP_FRONT_LEN + len)
    }

    /// Sends a frame that was written as if there were no VLANs. Whether there was room and a buffer for it: else it is counted.
    pub(crate) fn send_raw<D: Device<Frame = F>>(&mut self, bytes: &[u8], device: &mut D) -> bool {
        if device.room() == 0 {
            self.counters.drop(Drop::FullRing);
            return false;
        }
        let Some(frame) = self.new_frame(bytes, device) else {
            self.counters.drop(Drop::NoMem);
            return false;
        };
        device.transmit(frame, TxMeta::default());
        true
    }

    /// A frame as the link wants it, of one that was written as if there were no VLANs.
    fn new_frame<D: Device<Frame = F>>(&self, bytes: &[u8], device: &mut D) -> Option<F> {
        let (ether, packet) = bytes.split_at_checked(ethernet::LEN)?;
        let header = ethernet::parse(ether).ok()?;
        let ether_len = self.link.ether_len();
        let len = ether_len + packet.len();
        let mut frame = device.alloc(len)?;
        let out = frame.extend(len)?;
        header.emit_tagged(self.link.vlan, &mut out[..ether_len]);
        out[ether_len..].copy_from_slice(packet);
        Some(frame)
    }

    /// A neighbour's link-layer address came in, from the link.
    fn learn_first<D: Device<Frame = F>>(
        &mut self,
        now: Instant,
        addr: IpAddr,
        mac: Option<Mac>,
        evidence: Evidence,
        device: &mut D,
    ) {
        self.heard.note(Hearsay(Rumour::Neighbor { addr, mac, evidence }));
        self.learn(now, addr, mac, evidence, device);
    }

    /// A neighbour's link-layer address came in; what waited for it goes out.
    pub(crate) fn learn<D: Device<Frame = F>>(
        &mut self,
        now: Instant,
        addr: IpAddr,
        mac: Option<Mac>,
        evidence: Evidence,
        device: &mut D,
    ) {
        let waiting = self.link.neighbors.learn(addr, mac, evidence, now);
        if waiting.is_empty() {
            return;
        }
        let known = self.link.neighbors.find(addr).and_then(|id| self.link.neighbors.mac(id, now));
        if let Some(mac) = known {
            self.egress(now, device).release(waiting, mac);
        }
    }

    /// Asks what is to be asked, and gives up on who does not answer.
    pub(crate) fn expire_neighbors<D: Device<Frame = F>>(&mut self, now: Instant, device: &mut D) {
        while let Some(output) = self.link.neighbors.poll(now) {
            match output {
                Output::Solicit { target, unicast } => {
                    // Nothing is written, nor counted as lost, that a full device would not take.
                    if device.room() == 0 || !self.solicit(target, unicast, device) {
                        self.link.neighbors.unasked(target, now.after_micros(RETRY_US));
                    }
                }
                Output::Unreachable { addr, packets } => {
                    self.link.discovered.demote(addr);
                    for packet in packets {
                        self.counters.drop(Drop::NeighUnresolved);
                        let bytes = packet.frame.bytes();
                        self.unreachable(now, bytes.get(self.link.ether_len()..).unwrap_or(&[]));
                    }
                }
            }
        }
    }

    /// Whether it was asked, or cannot be.
    fn solicit<D: Device<Frame = F>>(
        &mut self,
        target: IpAddr,
        unicast: Option<Mac>,
        device: &mut D,
    ) -> bool {
        // An address that was taken away since has nobody to ask from.
        let Ok(source) = self.link.source_for(target) else { return true };
        match (source, target) {
            (IpAddr::V4(source), IpAddr::V4(target)) => {
                let request = arp::Packet::request(self.link.mac, source, target);
                self.send_arp(unicast.unwrap_or(Mac::BROADCAST), &request, device)
            }
            (IpAddr::V6(source), IpAddr::V6(target)) => {
                let message =
                    ndp::Message::NeighborSolicit { target, source_mac: Some(self.link.mac), nonce: None };
                let group = solicited_node(target);
                let (dst, mac) = match unicast {
                    Some(mac) => (target, mac),
                    None => (group, Mac::for_ipv6_multicast(group)),
                };
                self.send_ndp(source, dst, mac, message, device)
            }
            _ => true,
        }
    }
}

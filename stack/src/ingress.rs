//! The way in below the transport: Ethernet, IPv4, IPv6, and which protocol gets the packet.

use core::net::IpAddr;

use hayase_device::hint::{likely, rarely, unlikely, usually};
use hayase_device::{Burst, Device, Frame, RxChecksum, RxMeta};
use hayase_time::Instant;

use crate::chain;
use crate::counters::{Count, Drop};
use crate::egress::Egress;
use crate::icmp::Complaint;
use crate::ip::reassembly::{Fragment, Refused};
use crate::stack::Stack;
use crate::tcp::flow::Tuple;
use crate::tcp::{Tcp, Turn};
use crate::usual::{TCP_V4, TCP_V6, tcp_at, tcp_in};
use crate::wire::tcp::{Flags, TcpHeader};
use crate::wire::{EtherType, Protocol, WireError, ethernet, icmpv6, ipv4, ipv6, pseudo_header, udp};

/// The lower two bits of the type of service; both set: congestion was met (CE, RFC 3168 §5).
const ECN: u8 = 0b11;

/// An IP packet whose header was read; the frame starts with that header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) protocol: Protocol,
    /// Where the transport header starts.
    pub(crate) offset: usize,
    pub(crate) ttl: u8,
    /// Type of service, or traffic class.
    pub(crate) tos: u8,
    /// Sent to a group or to everybody, on any layer: no TCP (MUST-57), and no ICMP errors about it.
    pub(crate) is_group: bool,
    /// IPv6: where the field is that names the protocol.
    pub(crate) next_header_at: usize,
    /// IPv6: it came with a fragment header, be it as its own only fragment.
    pub(crate) was_fragment: bool,
}

impl<F: Frame> Stack<F> {
    /// One frame, and those behind it in the burst that continue it. What becomes of it is counted here, and nowhere
    /// else. The loop over the burst has it in it.
    #[inline(always)]
    pub(crate) fn receive_frame<D: Device<Frame = F>>(
        &mut self,
        now: Instant,
        frame: F,
        meta: RxMeta,
        burst: &mut Burst<F>,
        device: &mut D,
    ) {
        self.counters.count(Count::InReceives);
        if let Some(frame) = rarely(self.receive_usual(now, frame, meta, burst))
            && let Err(reason) = self.receive_ethernet(now, frame, meta, device)
        {
            self.counters.drop(reason);
        }
    }

    /// The way of nearly every frame of an established connection: read in one go, and taken if it is what the
    /// connection expects next. Any other is given back, and goes the way through the layers.
    #[inline(always)]
    fn receive_usual(&mut self, now: Instant, frame: F, meta: RxMeta, burst: &mut Burst<F>) -> Option<F> {
        if unlikely(frame.next().is_some()) {
            return self.receive_chained(now, frame, meta);
        }
        let bytes = frame.bytes();
        let version = tcp_at(bytes, self.link.own);
        if likely(version == Some(TCP_V4)) {
            let Some(predicted) = usually(self.tcp.predict::<TCP_V4>(bytes, meta, now, &self.config)) else {
                return Some(frame);
            };
            self.counters.count(Count::InSegs);
            if unlikely(predicted.may_be_run()) && !burst.is_empty() {
                let count = predicted.receive_run::<TCP_V4>(frame, burst, now, &self.config);
                self.count_run(count);
            } else {
                predicted.receive(frame, now, &self.config);
            }
            return None;
        }
        if version == Some(TCP_V6) { self.receive_usual_v6(now, frame, meta, burst) } else { Some(frame) }
    }

    /// By itself, so that neither way needs registers for the other.
    #[inline(never)]
    fn receive_usual_v6(&mut self, now: Instant, frame: F, meta: RxMeta, burst: &mut Burst<F>) -> Option<F> {
        let Some(predicted) = self.tcp.predict::<TCP_V6>(frame.bytes(), meta, now, &self.config) else {
            return Some(frame);
        };
        self.counters.count(Count::InSegs);
        if predicted.may_be_run() && !burst.is_empty() {
            let count = predicted.receive_run::<TCP_V6>(frame, burst, now, &self.config);
            self.count_run(count);
        } else {
            predicted.receive(frame, now, &self.config);
        }
        None
    }

    /// The same for what the device chained, as long as the headers are in the first fragment.
    #[inline(never)]
    fn receive_chained(&mut self, now: Instant, frame: F, meta: RxMeta) -> Option<F> {
        let (bytes, len) = (frame.bytes(), frame.total_len());
        if meta.checksum != RxChecksum::Verified {
            return Some(frame);
        }
        let (behind_len, config) = (len - bytes.len(), &self.config);
        let predicted = match tcp_in(bytes, len, self.link.own) {
            Some(TCP_V4) => self.tcp.predict_chained::<TCP_V4>(bytes, behind_len, now, config),
            Some(TCP_V6) => self.tcp.predict_chained::<TCP_V6>(bytes, behind_len, now, config),
            _ => None,
        };
        let Some(predicted) = predicted else { return Some(frame) };
        self.counters.count(Count::InSegs);
        predicted.receive_chain(frame, now, config);
        None
    }

    /// `count` frames were taken along.
    fn count_run(&mut self, count: u64) {
        self.counters.add(Count::InReceives, count);
        self.counters.add(Count::InSegs, count);
    }

    /// Kept out of the way of the usual frame, which shares no register with it.
    #[inline(never)]
    fn receive_ethernet<D: Device<Frame = F>>(
        &mut self,
        now: Instant,
        mut frame: F,
        meta: RxMeta,
        device: &mut D,
    ) -> Result<(), Drop> {
        let header = ethernet::parse(frame.bytes()).map_err(|_| Drop::PktTooSmall)?;
        let is_group = header.dst.is_multicast();
        if header.dst != self.link.mac && !is_group {
            return Err(Drop::OtherHost);
        }
        let (ethertype, ether_len) = self.check_vlan(&header, frame.bytes())?;
        frame.trim_front(ether_len);
        match ethertype {
            EtherType::IPV4 => self.receive_ipv4(now, frame, meta, is_group, device),
            EtherType::IPV6 => self.receive_ipv6(now, frame, meta, (is_group, false), device),
            EtherType::ARP => self.receive_arp(now, &frame, device),
            _ => Err(Drop::UnhandledProto),
        }
    }

    /// Whether a frame is of our VLAN; what it carries, and where. What has a tag for its priority alone is everybody's.
    #[inline]
    fn check_vlan(&self, header: &ethernet::Header, frame: &[u8]) -> Result<(EtherType, usize), Drop> {
        if header.ethertype != EtherType::VLAN {
            let is_ours = self.link.vlan.is_none();
            return if is_ours { Ok((header.ethertype, ethernet::LEN)) } else { Err(Drop::OtherVlan) };
        }
        let (vlan, ethertype) = ethernet::parse_tag(frame).map_err(|_| Drop::PktTooSmall)?;
        match vlan {
            Some(_) if vlan != self.link.vlan => Err(Drop::OtherVlan),
            _ => Ok((ethertype, ethernet::LEN + ethernet::TAG_LEN)),
        }
    }

    #[inline]
    fn receive_ipv4<D: Device<Frame = F>>(
        &mut self,
        now: Instant,
        mut frame: F,
        meta: RxMeta,
        is_group: bool,
        device: &mut D,
    ) -> Result<(), Drop> {
        let (header, header_len) = ipv4::parse(frame.bytes(), frame.total_len()).map_err(ip_error)?;
        let (src, dst) = (IpAddr::V4(header.src), IpAddr::V4(header.dst));
        // Connections over loopback are as easy to guess as others, and the link has no part in them.
        if !self.link.is_looping && (header.src.is_loopback() || header.dst.is_loopback()) {
            return Err(Drop::IpInvalidSource);
        }
        let packet_len = header_len + usize::from(header.payload_len);
        if frame.total_len() > packet_len {
            chain::truncate(&mut frame, packet_len);
        }
        if let Some(fragment) = Fragment::ipv4(&header, header_len) {
            // Fragments of somebody else's packets take no memory.
            if !self.link.is_for_us(dst) && !self.link.is_broadcast(header.dst) {
                return Err(Drop::IpInAddr);
            }
            let fragment = fragment.in_group(is_group);
            let Some(whole) = self.reassemble(now, fragment, frame, device)? else { return Ok(()) };
            return self.receive_ipv4(now, whole, RxMeta::default(), is_group, device);
        }
        let packet = Packet {
            src,
            dst,
            protocol: header.protocol,
            offset: header_len,
            ttl: header.ttl,
            tos: header.tos,
            is_group,
            next_header_at: 0,
            was_fragment: false,
        };
        if packet.protocol == Protocol::TCP {
            return self.receive_tcp(now, packet, frame, meta);
        }
        let packet = self.check_ends(packet)?;
        self.receive_packet(now, packet, frame, meta, device)
    }

    /// Whether a packet is for this host, and from one (RFC 1122 §3.2.1.3). Segments of a connection need no such
    /// look: its addresses passed when it was opened.
    fn check_ends(&self, mut packet: Packet) -> Result<Packet, Drop> {
        if self.link.is_martian(packet.src) {
            return Err(Drop::IpInvalidSource);
        }
        let (IpAddr::V4(src), IpAddr::V4(dst)) = (packet.src, packet.dst) else {
            let is_ours = packet.is_group || self.link.is_for_us(packet.dst);
            return if is_ours { Ok(packet) } else { Err(Drop::IpInAddr) };
        };
        if !self.link.is_for_us(packet.dst) {
            if !self.link.is_broadcast(dst) {
                return Err(Drop::IpInAddr);
            }
            packet.is_group = true;
        }
        if !self.link.is_host_source(packet.src) || self.link.is_broadcast(src) {
            return Err(Drop::IpInvalidSource);
        }
        Ok(packet)
    }

    /// `was_fragment`: it was put together from fragments just now.
    #[inline(never)]
    fn receive_ipv6<D: Device<Frame = F>>(
        &mut self,
        now: Instant,
        mut frame: F,
        meta: RxMeta,
        (is_group, was_fragment): (bool, bool),
        device: &mut D,
    ) -> Result<(), Drop> {
        let header = ipv6::parse(frame.bytes(), frame.total_len()).map_err(ip_error)?;
        let dst = IpAddr::V6(header.dst);
        let is_ours = self.link.is_for_us(dst) || self.link.is_our_group(header.dst);
        // A connection goes on where its address has gone. Of other segments `check_ends` asks later.
        if !is_ours && (header.next_header != Protocol::TCP || dst.is_loopback()) {
            return Err(Drop::IpInAddr);
        }
        // The unspecified address is the source of one thing: duplicate address detection.
        if !self.link.is_host_source(IpAddr::V6(header.src)) && !header.src.is_unspecified() {
            return Err(Drop::IpInvalidSource);
        }
        let packet_len = ipv6::LEN + usize::from(header.payload_len);
        if frame.total_len() > packet_len {
            chain::truncate(&mut frame, packet_len);
        }
        let is_group = is_group || header.dst.is_multicast();
        let extensions = match ipv6::walk_extensions(frame.bytes(), &header) {
            Ok(extensions) => extensions,
            Err(refusal) => {
                if let Some(report) = refusal.report.filter(|report| report.to_multicast || !is_group) {
                    self.complain(now, Complaint::Parameter(report.code, report.pointer), &frame, device);
                }
                return Err(Drop::Ipv6BadExthdr);
            }
        };
        if let Some(fragment) = Fragment::ipv6(&header, &extensions) {
            let fragment = fragment.in_group(is_group);
            let Some(whole) = self.reassemble(now, fragment, frame, device)? else { return Ok(()) };
            return self.receive_ipv6(now, whole, RxMeta::default(), (is_group, true), device);
        }
        let packet = Packet {
            src: IpAddr::V6(header.src),
            dst,
            protocol: extensions.protocol,
            offset: extensions.offset,
            ttl: header.hop_limit,
            tos: header.traffic_class,
            is_group,
            next_header_at: extensions.next_header_at,
            was_fragment: was_fragment || extensions.is_atomic,
        };
        if packet.protocol == Protocol::ICMPV6 {
            return self.receive_icmpv6(now, packet, &header, frame, device);
        }
        if packet.protocol != Protocol::TCP && self.link.is_martian(packet.src) {
            return Err(Drop::IpInvalidSource);
        }
        if header.src.is_unspecified() {
            return Err(Drop::IpInvalidSource);
        }
        self.receive_packet(now, packet, frame, meta, device)
    }

    fn reassemble<D: Device<Frame = F>>(
        &mut self,
        now: Instant,
        fragment: Fragment,
        frame: F,
        device: &mut D,
    ) -> Result<Option<F>, Drop> {
        let result = self.reassembly.receive(fragment, frame, now, |len| device.alloc(len));
        for _ in 0..self.reassembly.take_evicted() {
            self.counters.drop(Drop::FragBudget);
        }
        let reason = match result {
            Ok(whole) => {
                if whole.is_some() {
                    self.counters.count(Count::ReasmOks);
                }
                return Ok(whole);
            }
            Err(Refused::Budget | Refused::Count) => Drop::FragBudget,
            Err(Refused::NoFrames) => Drop::NoMem,
            Err(_) => Drop::FragInvalid,
        };
        // With this one go the others of its packet.
        self.counters.add_drops(reason, self.reassembly.take_given_up());
        Err(reason)
    }

    /// Packets whose fragments did not come in time: the sender is told, if the first one is here.
    pub(crate) fn expire_reassembly<D: Device<Frame = F>>(&mut self, now: Instant, device: &mut D) {
        while let Some(expired) = self.reassembly.expire(now) {
            for _ in 0..expired.fragment_count {
                self.counters.drop(Drop::FragTimeout);
            }
            if let Some(first) = expired.first {
                self.complain(now, Complaint::ReassemblyTimeout, &first, device);
            }
        }
    }

    #[inline]
    fn receive_packet<D: Device<Frame = F>>(
        &mut self,
        now: Instant,
        packet: Packet,
        frame: F,
        meta: RxMeta,
        device: &mut D,
    ) -> Result<(), Drop> {
        match packet.protocol {
            Protocol::TCP => self.receive_tcp(now, packet, frame, meta),
            Protocol::UDP => self.receive_udp(now, packet, frame, meta, device),
            Protocol::ICMPV4 if packet.src.is_ipv4() => self.receive_icmpv4(now, packet, frame, device),
            Protocol::NO_NEXT_HEADER if packet.src.is_ipv6() => Err(Drop::IpNoProto),
            _ => {
                if !packet.is_group {
                    let complaint = match packet.src {
                        IpAddr::V4(_) => Complaint::Protocol,
                        IpAddr::V6(_) => Complaint::Parameter(
                            icmpv6::ParameterProblem::UnrecognizedNextHeader,
                            packet.next_header_at as u32,
                        ),
                    };
                    self.complain(now, complaint, &frame, device);
                }
                Err(Drop::IpNoProto)
            }
        }
    }

    #[inline]
    fn receive_tcp(&mut self, now: Instant, packet: Packet, mut frame: F, meta: RxMeta) -> Result<(), Drop> {
        if packet.is_group {
            return Err(Drop::IpInAddr);
        }
        let bytes = frame.bytes().get(packet.offset..).ok_or(Drop::TcpInvalid)?;
        let (header, header_len) = TcpHeader::parse(bytes).map_err(|_| Drop::TcpInvalid)?;
        if meta.checksum != RxChecksum::Verified && !is_intact(&packet, &frame) {
            return Err(Drop::TcpCsum);
        }
        // What opens a connection, also in the place of one that is over, is not for an address that has gone.
        let is_opening = header.flags.contains(Flags::SYN) && !header.flags.contains(Flags::ACK);
        if is_opening && !self.link.is_for_us(packet.dst) {
            return Err(Drop::IpInAddr);
        }
        frame.trim_front(packet.offset + header_len);
        let local = (packet.dst, header.dst_port).into();
        let tuple = Tuple::new(local, (packet.src, header.src_port).into());
        let is_marked = packet.tos & ECN == ECN;
        let (tcp, turn) = self.tcp_turn(now);
        let mut turn = Turn { is_marked, ..turn };
        if is_marked {
            turn.counters.count(Count::InCePkts);
        }
        match tcp.receive(&tuple, &header, frame, &mut turn) {
            Ok(result) => result,
            Err(frame) => self.receive_stranger(now, packet, &tuple, &header, frame),
        }
    }

    #[inline]
    fn tcp_turn(&mut self, now: Instant) -> (&mut Tcp<F>, Turn<'_>) {
        let turn = Turn {
            now,
            config: &self.config,
            counters: &mut self.counters,
            random: &self.random,
            mtu: self.link.caps.mtu,
            is_marked: false,
        };
        (&mut self.tcp, turn)
    }

    /// A segment of no connection: it may open one, if its addresses are good for that.
    fn receive_stranger(
        &mut self,
        now: Instant,
        packet: Packet,
        tuple: &Tuple,
        header: &TcpHeader,
        frame: F,
    ) -> Result<(), Drop> {
        if self.check_ends(packet)?.is_group {
            return Err(Drop::IpInAddr);
        }
        let (tcp, mut turn) = self.tcp_turn(now);
        tcp.receive_stranger(tuple, header, frame, &mut turn)
    }

    fn receive_udp<D: Device<Frame = F>>(
        &mut self,
        now: Instant,
        packet: Packet,
        mut frame: F,
        meta: RxMeta,
        device: &mut D,
    ) -> Result<(), Drop> {
        let available = frame.total_len() - packet.offset.min(frame.total_len());
        let bytes = frame.bytes().get(packet.offset..).ok_or(Drop::UdpInvalid)?;
        let header = udp::parse(bytes, available).map_err(|_| Drop::UdpInvalid)?;
        let is_summed = meta.checksum == RxChecksum::Verified;
        if !is_summed && !header.is_intact(packet.src, packet.dst, from(&frame, packet.offset)) {
            return Err(Drop::UdpCsum);
        }
        let local = (packet.dst, header.dst_port).into();
        let remote = (packet.src, header.src_port).into();
        let whole = frame.share();
        chain::truncate(&mut frame, packet.offset + usize::from(header.len));
        frame.trim_front(packet.offset + udp::LEN);
        let pressure = self.tcp.pressure(&self.config);
        match self.udp.receive((local, remote), frame, pressure, &self.config) {
            Ok(()) => {
                self.counters.count(Count::UdpIn);
                self.settle_datagrams(now);
                Ok(())
            }
            Err(reason) => {
                if reason == Drop::NoSocket && !packet.is_group {
                    self.complain(now, Complaint::Port, &whole, device);
                }
                Err(reason)
            }
        }
    }

    /// Datagrams came or went: what they take is in one account with what connections hold.
    pub(crate) fn settle_datagrams(&mut self, now: Instant) {
        self.tcp.charge_datagrams(self.udp.memory_len());
        self.tcp.relieve_if_needed(now, &self.config, &mut self.counters);
    }

    /// What the complaints and answers of the other files leave through.
    pub(crate) fn egress<'a, D: Device<Frame = F>>(
        &'a mut self,
        now: Instant,
        device: &'a mut D,
    ) -> Egress<'a, F, D> {
        Egress::new(now, device, &mut self.link, &mut self.counters)
    }
}

/// The fragments of a frame from `offset` on.
pub(crate) fn from<F: Frame>(frame: &F, offset: usize) -> impl Iterator<Item = &[u8]> {
    let mut skip = offset;
    frame.fragments().map(move |bytes| {
        let skipped = skip.min(bytes.len());
        skip -= skipped;
        &bytes[skipped..]
    })
}

/// Whether the transport checksum of a packet that ends with its frame is right.
fn is_intact<F: Frame>(packet: &Packet, frame: &F) -> bool {
    let len = frame.total_len() - packet.offset;
    let mut sum = pseudo_header(packet.src, packet.dst, packet.protocol, len);
    for bytes in from(frame, packet.offset) {
        sum.add(bytes);
    }
    sum.is_valid()
}

fn ip_error(error: WireError) -> Drop {
    match error {
        WireError::Checksum => Drop::IpCsum,
        WireError::Truncated => Drop::PktTooSmall,
        WireError::Address => Drop::IpInvalidSource,
        WireError::FragmentLength | WireError::FragmentHeaders => Drop::FragInvalid,
        _ => Drop::IpInHdr,
    }
}

//! The way out below the transport: IP header, next hop, Ethernet header, device.

use alloc::vec::Vec;
use core::net::IpAddr;

use hayase_device::{Device, Frame, Offloads, RxChecksum, RxMeta, TxMeta};
use hayase_time::Instant;

use crate::chain;
use crate::counters::{Count, Counters, Drop};
use crate::ip::fragment;
use crate::ip::neighbor::NeighborId;
use crate::link::{Link, Waiting};
use crate::usual::Front;
use crate::wire::{EtherType, Mac, Protocol, VlanId, ethernet, ipv4, ipv6};

/// What a segment needs on its way out.
pub(crate) struct Egress<'a, F, D> {
    pub(crate) now: Instant,
    /// The same as timestamps have it: milliseconds, which come round.
    pub(crate) millis: u32,
    pub(crate) device: &'a mut D,
    pub(crate) link: &'a mut Link<F>,
    pub(crate) counters: &'a mut Counters,
}

/// Where a packet goes next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hop {
    /// The link-layer address; empty while it is not known.
    pub(crate) mac: Mac,
    /// The neighbour was not heard of for a while: whoever knows better may [`confirm`](Egress::confirm) it.
    pub(crate) in_doubt: bool,
    way: Way,
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Direct,
    /// Waits until the neighbour answers.
    Unresolved(NeighborId),
    Loopback,
    Nowhere,
}

/// An IP header that is about to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum NetworkHeader {
    V4(ipv4::Header),
    V6(ipv6::Header),
}

impl NetworkHeader {
    /// The header of a packet that carries `payload_len` bytes.
    pub(crate) fn new(envelope: &Envelope, payload_len: usize, ident: u16) -> NetworkHeader {
        let Envelope { src, dst, protocol, ttl, tos } = *envelope;
        let payload_len = payload_len as u16;
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => NetworkHeader::V4(ipv4::Header {
                src,
                dst,
                protocol,
                ttl,
                tos,
                ident,
                // Path-MTU discovery (RFC 1191) is TCP's; everything else may be cut on the way.
                dont_fragment: protocol == Protocol::TCP,
                more_fragments: false,
                fragment_offset: 0,
                payload_len,
            }),
            (src, dst) => NetworkHeader::V6(ipv6::Header {
                src: to_v6(src),
                dst: to_v6(dst),
                next_header: protocol,
                hop_limit: ttl,
                traffic_class: tos,
                flow_label: 0,
                payload_len,
            }),
        }
    }

    #[inline]
    fn len(&self) -> usize {
        match self {
            NetworkHeader::V4(_) => ipv4::LEN,
            NetworkHeader::V6(_) => ipv6::LEN,
        }
    }

    /// Writes Ethernet and IP header into `front`, which has just their length.
    #[inline]
    pub(crate) fn emit(&self, front: &mut [u8], dst: Mac, src: Station) {
        let (ether, network) = front.split_at_mut(front.len() - self.len());
        let ethertype = match self {
            NetworkHeader::V4(header) => {
                header.emit(network);
                EtherType::IPV4
            }
            NetworkHeader::V6(header) => {
                header.emit(network);
                EtherType::IPV6
            }
        };
        ethernet::Header { dst, src: src.mac, ethertype }.emit_tagged(src.vlan, ether);
    }
}

/// Who sends on the link.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Station {
    pub(crate) mac: Mac,
    pub(crate) vlan: Option<VlanId>,
}

/// The hop limit of what goes to a group, unless somebody chose another: it stays on the link (RFC 1112 §6.1, RFC 3493 §5.2).
pub(crate) const GROUP_TTL: u8 = 1;

/// Addresses and kind of a packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Envelope {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) protocol: Protocol,
    pub(crate) ttl: u8,
    /// DSCP and ECN; the traffic class of IPv6.
    pub(crate) tos: u8,
}

/// Why a datagram did not leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unsent {
    /// The device does not take it now. It would if it took so many frames.
    Full(usize),
    /// The device has no buffers for it now.
    NoBuffers,
    /// Longer than an IP packet can be.
    TooLong,
}

/// How much room a datagram in fragments needs: of a part of it nobody has anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// For all of it: the sender can wait.
    All,
    /// For all of it, or for as much as there ever was: the device may have no room for it when it is idle.
    AsEver,
}

impl<'a, F: Frame, D: Device<Frame = F>> Egress<'a, F, D> {
    #[inline(always)]
    pub(crate) fn new(
        now: Instant,
        device: &'a mut D,
        link: &'a mut Link<F>,
        counters: &'a mut Counters,
    ) -> Egress<'a, F, D> {
        Egress { now, millis: now.as_millis() as u32, device, link, counters }
    }

    #[inline]
    pub(crate) fn station(&self) -> Station {
        Station { mac: self.link.mac, vlan: self.link.vlan }
    }

    #[inline]
    pub(crate) fn offloads(&self) -> Offloads {
        self.link.caps.offloads
    }

    /// Bytes of Ethernet and IP header in front of a transport header.
    #[inline]
    pub(crate) fn headers_len(&self, local: IpAddr) -> usize {
        self.link.ether_len() + network_len(local)
    }

    /// The MSS that we advertise: what fits our MTU, without options (RFC 6691).
    #[inline]
    pub(crate) fn mss(&self, local: IpAddr) -> u16 {
        mss(self.link.caps.mtu, local) as u16
    }

    /// The largest payload that the device cuts into segments, behind a TCP header of this length.
    #[inline]
    pub(crate) fn tso_payload_max(&self, is_v4: bool, tcp_header_len: u32) -> Option<u32> {
        let offload = if is_v4 { Offloads::TSO4 } else { Offloads::TSO6 };
        let wanted = offload | Offloads::TX_CHECKSUM_TCP;
        if !self.link.caps.offloads.contains(wanted) {
            return None;
        }
        let network_len = if is_v4 { ipv4::LEN } else { ipv6::LEN };
        Some((self.link.caps.tso_len_max - network_len) as u32 - tcp_header_len)
    }

    /// A number for a packet that may be cut.
    fn take_ident(&mut self, envelope: &Envelope) -> u32 {
        self.link.idents.take(envelope.src, envelope.dst, self.now)
    }

    /// The next hop to `dst`; `cached` remembers the neighbour, and while it is good `dst` is not even asked for.
    #[inline]
    pub(crate) fn next_hop(&mut self, dst: impl FnOnce() -> IpAddr, cached: &mut Option<NeighborId>) -> Hop {
        if let Some(id) = *cached
            && let Some(mac) = self.link.neighbors.fresh_mac(id, self.now)
        {
            return Hop { mac: *mac, in_doubt: false, way: Way::Direct };
        }
        self.resolve(dst(), cached)
    }

    /// What frames to a neighbour begin with that was heard of lately.
    #[inline]
    pub(crate) fn known_front(&self, cached: Option<NeighborId>) -> Option<&Front> {
        self.link.neighbors.fresh_front(cached?, self.now)
    }

    /// Progress above IP shows that a neighbour forwards (RFC 4861 §7.3.1): it need not be asked.
    pub(crate) fn confirm(&mut self, neighbor: Option<NeighborId>) {
        if let Some(id) = neighbor {
            self.link.neighbors.confirm(id, self.now);
        }
    }

    #[cold]
    fn resolve(&mut self, dst: IpAddr, cached: &mut Option<NeighborId>) -> Hop {
        *cached = None;
        if self.link.is_here(dst) {
            return Hop { mac: self.link.mac, in_doubt: false, way: Way::Loopback };
        }
        if let Some(mac) = self.group_mac(dst) {
            return Hop { mac, in_doubt: false, way: Way::Direct };
        }
        let nowhere = Hop { mac: Mac::UNSPECIFIED, in_doubt: false, way: Way::Nowhere };
        let Some(next) = self.link.route(dst) else { return nowhere };
        let Some(id) = self.link.neighbors.entry(next, self.now) else { return nowhere };
        // Who remembers the neighbour may take the short way, which knows of no tags.
        *cached = Some(id).filter(|_| self.link.vlan.is_none());
        match self.link.neighbors.mac(id, self.now) {
            Some(mac) => Hop { mac, in_doubt: true, way: Way::Direct },
            None => Hop { mac: Mac::UNSPECIFIED, in_doubt: false, way: Way::Unresolved(id) },
        }
    }

    fn group_mac(&self, dst: IpAddr) -> Option<Mac> {
        match dst {
            IpAddr::V4(v4) if self.link.is_broadcast(v4) => Some(Mac::BROADCAST),
            IpAddr::V4(v4) if v4.is_multicast() => Some(Mac::for_ipv4_multicast(v4)),
            IpAddr::V6(v6) if v6.is_multicast() => Some(Mac::for_ipv6_multicast(v6)),
            _ => None,
        }
    }

    /// Sends a frame that has all its headers.
    #[inline]
    pub(crate) fn transmit(&mut self, hop: Hop, frame: F, meta: TxMeta) {
        if let Way::Direct = hop.way {
            if self.device.room() == 0 {
                return self.counters.drop(Drop::FullRing);
            }
            return self.device.transmit(frame, meta);
        }
        self.transmit_indirect(hop.way, frame, meta);
    }

    #[cold]
    fn transmit_indirect(&mut self, way: Way, frame: F, meta: TxMeta) {
        match way {
            Way::Unresolved(id) => {
                // The destination is written when it is known, which needs a frame of our own.
                let Some(frame) = self.own(frame) else { return self.counters.drop(Drop::NoMem) };
                if self.link.neighbors.enqueue(id, Waiting { frame, meta }).is_some() {
                    self.counters.drop(Drop::NeighUnresolved);
                }
            }
            Way::Loopback => {
                let segment_len = meta.segmentation.map_or(0, |tso| tso.segment_len);
                let meta = RxMeta { checksum: RxChecksum::Verified, segment_len, flow_hash: None };
                if !self.link.loop_back(frame, meta) {
                    self.counters.drop(Drop::FullRing);
                }
            }
            Way::Nowhere | Way::Direct => self.counters.drop(Drop::NoRoute),
        }
    }

    /// The same frame, with nobody else looking.
    fn own(&mut self, frame: F) -> Option<F> {
        if frame.is_unique() {
            return Some(frame);
        }
        let mut offset = 0;
        self.build(frame.total_len(), |out| {
            let copied = chain::copy(&frame, offset, out);
            debug_assert_eq!(copied, out.len());
            offset += copied;
        })
    }

    /// Sends packets that waited for a neighbour's address.
    pub(crate) fn release(&mut self, waiting: impl IntoIterator<Item = Waiting<F>>, mac: Mac) {
        for Waiting { mut frame, meta } in waiting {
            if let Some(dst) = frame.bytes_mut().and_then(|bytes| bytes.first_chunk_mut()) {
                *dst = mac.0;
            }
            self.transmit(Hop { mac, in_doubt: false, way: Way::Direct }, frame, meta);
        }
    }

    /// Sends a packet of any protocol but TCP: `head`, then `body`, in fragments if they do not fit the MTU.
    pub(crate) fn datagram<'b>(
        &mut self,
        envelope: Envelope,
        head: &'b [u8],
        body: impl Iterator<Item = &'b [u8]>,
        body_len: usize,
        (meta, fit): (TxMeta, Fit),
    ) -> Result<(), Unsent> {
        let room = self.device.room();
        if room == 0 {
            return Err(Unsent::Full(1));
        }
        self.link.room_max = self.link.room_max.max(room);
        let hop = self.next_hop(|| envelope.dst, &mut None);
        let mut source = Gather::new(head, body);
        let len = head.len() + body_len;
        let packet_len = network_len(envelope.src) + len;
        let mtu = self.link.datagram_mtu(envelope.protocol, envelope.dst, packet_len, self.now);
        if packet_len <= mtu {
            // IPv6 numbers nothing but fragments.
            let ident = if envelope.src.is_ipv4() { self.take_ident(&envelope) } else { 0 };
            let network = NetworkHeader::new(&envelope, len, ident as u16);
            let mut frame = self.build(len, |out| source.read(out)).ok_or(Unsent::NoBuffers)?;
            let headers_len = self.headers_len(envelope.src);
            let headers = frame.prepend(headers_len).ok_or(Unsent::NoBuffers)?;
            network.emit(&mut headers[..headers_len], hop.mac, self.station());
            self.transmit(hop, frame, meta);
            return Ok(());
        }
        self.fragments(envelope, &mut source, (len, mtu), (hop, fit))
    }

    /// Sends the `len` bytes of `source` in packets of at most `mtu`.
    fn fragments<'b>(
        &mut self,
        envelope: Envelope,
        source: &mut Gather<'b, impl Iterator<Item = &'b [u8]>>,
        (len, mtu): (usize, usize),
        (hop, fit): (Hop, Fit),
    ) -> Result<(), Unsent> {
        let Envelope { src, protocol, .. } = envelope;
        let is_v4 = src.is_ipv4();
        let extra = if is_v4 { 0 } else { ipv6::FRAGMENT_LEN };
        let pieces = fragment::pieces(len, network_len(src) + extra, mtu).ok_or(Unsent::TooLong)?;
        if let Way::Direct = hop.way {
            self.make_sure_of_room(pieces.len(), fit)?;
        }
        let ident = self.take_ident(&envelope);
        let outer = if is_v4 { protocol } else { Protocol::FRAGMENT };
        let mut frames = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let envelope = Envelope { protocol: outer, ..envelope };
            let mut network = NetworkHeader::new(&envelope, piece.len + extra, ident as u16);
            if let NetworkHeader::V4(header) = &mut network {
                header.fragment_offset = piece.offset;
                header.more_fragments = piece.more;
            }
            let mut frame = self.build(piece.len, |out| source.read(out)).ok_or(Unsent::NoBuffers)?;
            if extra > 0 {
                let header = ipv6::FragmentHeader {
                    next_header: protocol,
                    offset: piece.offset,
                    more: piece.more,
                    ident,
                };
                let bytes = frame.prepend(extra).ok_or(Unsent::NoBuffers)?;
                header.emit(&mut bytes[..extra]);
            }
            let headers_len = self.headers_len(src);
            let headers = frame.prepend(headers_len).ok_or(Unsent::NoBuffers)?;
            network.emit(&mut headers[..headers_len], hop.mac, self.station());
            frames.push(frame);
        }
        for frame in frames {
            self.transmit(hop, frame, TxMeta::default());
        }
        self.counters.count(Count::FragOks);
        Ok(())
    }

    /// That the device takes so many frames now.
    fn make_sure_of_room(&self, count: usize, fit: Fit) -> Result<(), Unsent> {
        let wanted = match fit {
            Fit::All => count,
            Fit::AsEver => count.min(self.link.room_max),
        };
        if self.device.room() >= wanted { Ok(()) } else { Err(Unsent::Full(count)) }
    }

    /// A frame of `len` bytes that `write` writes in turn, in several fragments where buffers are smaller. `None` if none
    /// is left, or only such small ones that more would be needed than a frame may have.
    #[inline]
    fn build(&mut self, len: usize, mut write: impl FnMut(&mut [u8])) -> Option<F> {
        let mut frame = self.device.alloc(len)?;
        if let Some(out) = frame.extend(len) {
            write(out);
            return Some(frame);
        }
        self.build_chain(frame, len, write)
    }

    /// As `build`, from a first fragment on that is too small.
    #[cold]
    fn build_chain(&mut self, first: F, len: usize, mut write: impl FnMut(&mut [u8])) -> Option<F> {
        let (mut chain, mut left): (Option<F>, _) = (None, len);
        let mut next = Some(first);
        for _ in 0..self.link.caps.fragments_max {
            let mut frame = next.take().or_else(|| self.device.alloc(left))?;
            let held = left.min(frame.tailroom());
            write(frame.extend(held)?);
            left -= held;
            match &mut chain {
                Some(chain) => chain.chain(frame),
                None => chain = Some(frame),
            }
            if left == 0 {
                return chain;
            }
        }
        None
    }
}

/// Bytes of an IP header without options or extensions.
#[inline]
pub(crate) fn network_len(local: IpAddr) -> usize {
    if local.is_ipv4() { ipv4::LEN } else { ipv6::LEN }
}

/// Payload of a TCP segment without options on a link with this MTU.
#[inline]
pub(crate) fn mss(mtu: usize, local: IpAddr) -> usize {
    mtu.saturating_sub(network_len(local) + crate::wire::tcp::TcpHeader::LEN)
}

/// The address as IPv6 headers have it. Both ends of a packet are of one family, so nothing is ever mapped here.
pub(crate) fn to_v6(ip: IpAddr) -> core::net::Ipv6Addr {
    match ip {
        IpAddr::V6(v6) => v6,
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
    }
}

/// Reads one stretch of bytes out of many pieces.
struct Gather<'b, I> {
    current: &'b [u8],
    rest: I,
}

impl<'b, I: Iterator<Item = &'b [u8]>> Gather<'b, core::iter::Chain<core::iter::Once<&'b [u8]>, I>> {
    fn new(head: &'b [u8], body: I) -> Self {
        Gather { current: &[], rest: core::iter::once(head).chain(body) }
    }
}

impl<'b, I: Iterator<Item = &'b [u8]>> Gather<'b, I> {
    fn read(&mut self, mut out: &mut [u8]) {
        while !out.is_empty() {
            if self.current.is_empty() {
                match self.rest.next() {
                    Some(next) => self.current = next,
                    None => return,
                }
                continue;
            }
            let len = self.current.len().min(out.len());
            let (head, tail) = core::mem::take(&mut out).split_at_mut(len);
            head.copy_from_slice(&self.current[..len]);
            self.current = &self.current[len..];
            out = tail;
        }
    }
}

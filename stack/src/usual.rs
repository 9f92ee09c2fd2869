//! The usual frame, read and written in one go: Ethernet, an IP header without options, fragments or extensions,
//! TCP with the timestamps option or none, flags ACK or ACK and PSH, no mark of congestion, and nothing behind the
//! packet.
//!
//! Nearly all frames of established connections are like this, and their fields stand at fixed places. What is
//! said here is what layer after layer would say of the same frame; of any other frame nothing is said, and the
//! layers read it.

use hayase_device::Prefix;
use hayase_device::checksum::{fold, plus, sum};
use hayase_device::hint::{likely, unlikely, usually};

use crate::seq::Seq;
use crate::tcp::flow::Tuple;
use crate::wire::tcp::{Flags, TcpHeader, Timestamps};
use crate::wire::{EtherType, Mac, Protocol, ethernet, ipv4, ipv6};

/// Where the TCP header starts.
pub(crate) const TCP_V4: usize = ethernet::LEN + ipv4::LEN;
pub(crate) const TCP_V6: usize = ethernet::LEN + ipv6::LEN;

/// NOP, NOP, kind 8, length 10 (RFC 7323 appendix A).
const TIMESTAMPS_WORD: u32 = 0x0101_080a;
const TIMESTAMPS_LEN: usize = 12;

/// A station's address as the first word of its frames has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Own(u64);

impl Own {
    pub(crate) fn new(mac: Mac) -> Own {
        let [a, b, c, d, e, f] = mac.0;
        Own(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]) << 16)
    }

    /// Whether a frame is for this station.
    #[inline(always)]
    fn has(self, head: &[u8; TCP_V4 + TcpHeader::LEN]) -> bool {
        long(head, 0) << 16 == self.0
    }
}

/// Which usual header of the network layer a linear frame for us has: [`TCP_V4`] or [`TCP_V6`] tells, as where it
/// ends. Of IPv4 all of it is checked, its checksum included.
#[inline(always)]
pub(crate) fn tcp_at(bytes: &[u8], own: Own) -> Option<usize> {
    tcp_in(bytes, bytes.len(), own)
}

/// The same of a frame of `frame_len` bytes in all, of which these are the first.
#[inline(always)]
pub(crate) fn tcp_in(bytes: &[u8], frame_len: usize, own: Own) -> Option<usize> {
    // 14 + 20 + 20: one bounds check for all that stands at the same place in both versions.
    let head = usually(bytes.first_chunk::<{ TCP_V4 + TcpHeader::LEN }>())?;
    if unlikely(!own.has(head)) {
        return None;
    }
    let ethertype = [head[12], head[13]];
    if ethertype == EtherType::IPV4.0.to_be_bytes() {
        return if is_usual_v4(head, frame_len) { Some(TCP_V4) } else { None };
    }
    if ethertype == EtherType::IPV6.0.to_be_bytes() {
        return is_usual_v6(bytes, frame_len).then_some(TCP_V6);
    }
    None
}

/// Four bytes as they stand there: where they are only compared or summed, nobody needs to turn them round.
#[inline(always)]
fn raw<const LEN: usize>(bytes: &[u8; LEN], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_ne_bytes(word)
}

/// Eight bytes, the first of them the lowest: where several fields are compared or summed at once.
#[inline(always)]
fn long<const LEN: usize>(bytes: &[u8; LEN], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

/// Whether a sum that is not plainly zero is so in one's complement of 16 bits: a multiple of 0xffff. Those, and no other
/// numbers, become at most as many as there are of them when they are multiplied by its inverse.
#[inline(always)]
fn is_zero(sum: u64) -> bool {
    const INVERSE: u64 = 0xfffe_fffe_fffe_ffff;
    const { assert!(INVERSE.wrapping_mul(0xffff) == 1) };
    sum.wrapping_mul(INVERSE) <= u64::MAX / 0xffff
}

/// Whether the bits of a raw word that `mask` has are `bits`.
#[inline(always)]
fn is(raw: u32, mask: u32, bits: u32) -> bool {
    raw & mask.to_be() == bits.to_be()
}

/// Without options, whole, intact, not marked (RFC 3168 §5), of TCP, and all of the frame.
#[inline(always)]
fn is_usual_v4(head: &[u8; TCP_V4 + TcpHeader::LEN], frame_len: usize) -> bool {
    // Version to fragment offset, TTL to source, destination.
    let (a, b, c) = (long(head, 14), long(head, 22), u64::from(raw(head, 30).to_le()));
    let is_intact = is_zero(plus(plus(a, b), c));
    let is_plain = a & (0xff3f << 48 | 0xff) == 0x45 && !a & 0x300 != 0;
    let is_tcp = (b >> 8) as u8 == Protocol::TCP.0;
    let total_len = usize::from(((a >> 16) as u16).swap_bytes());
    likely(is_plain) && likely(is_tcp) && likely(is_intact) && likely(ethernet::LEN + total_len == frame_len)
}

/// Not marked, of TCP, all of the frame, and between addresses that are not IPv4's: mapped ones begin with zeros, and on a link
/// only a forger uses them.
#[inline(always)]
fn is_usual_v6(bytes: &[u8], frame_len: usize) -> bool {
    let Some(head) = bytes.first_chunk::<{ TCP_V6 + TcpHeader::LEN }>() else { return false };
    // Version to hop limit.
    let a = long(head, 14);
    let is_plain = a as u8 >> 4 == 6 && !a & 0x3000 != 0;
    let is_tcp = (a >> 48) as u8 == Protocol::TCP.0;
    let is_mapped = long(head, 22) == 0 || long(head, 38) == 0;
    let payload_len = usize::from(((a >> 32) as u16).swap_bytes());
    is_plain && is_tcp && !is_mapped && TCP_V6 + payload_len == frame_len
}

#[inline(always)]
fn word<const LEN: usize>(bytes: &[u8; LEN], at: usize) -> u32 {
    u32::from_be(raw(bytes, at))
}

/// A received segment behind usual headers, where it lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived<'a> {
    pub(crate) tuple: Tuple,
    header: &'a [u8; TcpHeader::LEN],
    /// Options and payload, or the beginning of it.
    rest: &'a [u8],
    /// Bytes of payload in further fragments of the frame.
    behind_len: usize,
}

impl<'a> Arrived<'a> {
    /// The segment of a frame whose TCP header starts `AT`, as [`tcp_at`] found.
    #[inline(always)]
    pub(crate) fn new<const AT: usize>(bytes: &'a [u8]) -> Option<Arrived<'a>> {
        let (below, segment) = bytes.split_first_chunk::<AT>()?;
        let (header, rest) = segment.split_first_chunk::<{ TcpHeader::LEN }>()?;
        let ports = *header.first_chunk()?;
        let tuple = if AT == TCP_V4 {
            Tuple::received_v4(*below.last_chunk()?, ports)
        } else {
            Tuple::received_v6(*below.last_chunk()?, ports)
        };
        Some(Arrived { tuple, header, rest, behind_len: 0 })
    }

    /// The same with more of the payload in further fragments.
    #[inline(always)]
    pub(crate) fn with_behind(self, behind_len: usize) -> Arrived<'a> {
        Arrived { behind_len, ..self }
    }

    /// The options, if the flags are ACK, with or without PSH, and the options just the timestamps, in the form that
    /// everybody sends, or none. Nothing of the reserved bits either.
    #[inline(always)]
    pub(crate) fn plain(&self, has_timestamps: bool) -> Option<Option<Timestamps>> {
        let plain = if has_timestamps { 0x8010_0000 } else { 0x5010_0000 };
        if unlikely(!is(raw(self.header, 12), 0xfff7_0000, plain)) {
            return None;
        }
        if !has_timestamps {
            return Some(None);
        }
        let option = usually(self.rest.first_chunk::<TIMESTAMPS_LEN>())?;
        let timestamps = Timestamps { val: word(option, 4), ecr: word(option, 8) };
        if likely(is(raw(option, 0), !0, TIMESTAMPS_WORD)) { Some(Some(timestamps)) } else { None }
    }

    /// SEG.SEQ
    #[inline(always)]
    pub(crate) fn seq(&self) -> Seq {
        Seq(word(self.header, 4))
    }

    /// SEG.ACK
    #[inline(always)]
    pub(crate) fn ack(&self) -> Seq {
        Seq(word(self.header, 8))
    }

    /// SEG.WND, unscaled.
    #[inline(always)]
    pub(crate) fn window(&self) -> u16 {
        u16::from_be_bytes([self.header[14], self.header[15]])
    }

    /// Bytes of payload of a plain segment.
    #[inline(always)]
    pub(crate) fn payload_len(&self, has_timestamps: bool) -> u32 {
        (self.rest.len() + self.behind_len - if has_timestamps { TIMESTAMPS_LEN } else { 0 }) as u32
    }

    /// Whether the TCP checksum of a frame whose TCP header starts `AT` is right.
    #[inline(never)]
    pub(crate) fn is_intact<const AT: usize>(bytes: &[u8]) -> bool {
        let addresses_at = if AT == TCP_V4 { AT - 8 } else { AT - 32 };
        let Some(summed) = bytes.get(addresses_at..) else { return false };
        is_zero(plus(sum(summed), protocol_and_len((bytes.len() - AT) as u32)))
    }
}

/// What the pseudo-header has besides the addresses, for [`plus`] (RFC 9293 §3.1).
#[inline(always)]
fn protocol_and_len(segment_len: u32) -> u64 {
    (u32::from(Protocol::TCP.0) + segment_len).to_be().into()
}

/// The Ethernet header of what goes to a neighbour, and as many bytes more as make it one move: the network layer's header
/// is written over them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Front([u8; 16]);

impl Front {
    /// Of nobody.
    pub(crate) const EMPTY: Front = Front([0; 16]);

    pub(crate) fn new(dst: Mac, src: Mac, is_v4: bool) -> Front {
        let ethertype = if is_v4 { EtherType::IPV4 } else { EtherType::IPV6 };
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&dst.0);
        bytes[6..12].copy_from_slice(&src.0);
        bytes[12..14].copy_from_slice(&ethertype.0.to_be_bytes());
        Front(bytes)
    }
}

/// What usual headers, whose TCP part starts `AT`, are to say. By reference: what is read only when it is written waits in no register.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Headers<'a, const AT: usize> {
    pub(crate) front: &'a Front,
    /// Hop limit.
    pub(crate) ttl: &'a u8,
    /// DSCP and ECN; the traffic class of IPv6.
    pub(crate) tos: &'a u8,
    pub(crate) tuple: &'a Tuple,
    /// [`Tuple::address_sum`].
    pub(crate) address_sum: &'a u16,
    pub(crate) flags: Flags,
    /// SEG.SEQ
    pub(crate) seq: &'a Seq,
    /// SEG.ACK
    pub(crate) ack: &'a Seq,
    /// The right edge of the window, not left of `ack`, and how far its length is scaled down.
    pub(crate) edge: (&'a Seq, &'a u8),
    /// The clock, what is added to it for TSval, and TSecr, for segments that have them.
    pub(crate) timestamps: (u32, &'a u32, &'a u32),
    /// Bytes of payload.
    pub(crate) payload_len: u32,
    /// The sum of the payload, where the checksum is to be complete; else it is that of the pseudo-header, for the
    /// device to go on from.
    pub(crate) payload_sum: Option<u64>,
}

impl<const AT: usize, const LEN: usize> Prefix<LEN> for Headers<'_, AT> {
    /// They end with timestamps if there is room for them.
    #[inline(always)]
    fn write(&self, out: &mut [u8; LEN]) {
        let segment_len = (LEN - AT) as u32 + self.payload_len;
        out[..16].copy_from_slice(&self.front.0);
        if AT == TCP_V4 {
            self.write_v4(out, segment_len);
        } else {
            self.write_v6(out, segment_len);
        }
        let sum = self.write_tcp(out);
        let addresses = u32::from(*self.address_sum);
        let checksum = match self.payload_sum {
            None => fold_short(addresses + u32::from(Protocol::TCP.0) + segment_len),
            Some(payload) => {
                let sum = sum + u64::from(self.address_sum.to_be()) + protocol_and_len(segment_len);
                u16::from_be(!fold(plus(sum, payload)))
            }
        };
        out[AT + 16..AT + 18].copy_from_slice(&checksum.to_be_bytes());
    }
}

impl<const AT: usize> Headers<'_, AT> {
    /// SEG.WND, scaled down.
    #[inline(always)]
    fn window(&self) -> u32 {
        let (edge, shift) = self.edge;
        ((*edge - *self.ack) >> shift).min(u16::MAX.into())
    }

    /// All but the checksum. Returns the sum of what it wrote.
    #[inline(always)]
    fn write_tcp<const LEN: usize>(&self, out: &mut [u8; LEN]) -> u64 {
        let flags = u32::from(((LEN - AT) << 2) as u8) << 24 | u32::from(self.flags.0) << 16;
        let (seq, ack) = (self.seq.0.to_be(), self.ack.0.to_be());
        let words = [self.tuple.sent_ports(), seq, ack, (flags | self.window()).to_be()];
        let mut sum = 0;
        for (field, word) in out[AT..AT + 16].as_chunks_mut().0.iter_mut().zip(words) {
            *field = word.to_ne_bytes();
            sum += u64::from(word);
        }
        out[AT + 18..AT + 20].copy_from_slice(&[0, 0]);
        if LEN - AT == TcpHeader::LEN + TIMESTAMPS_LEN {
            let (clock, offset, ecr) = self.timestamps;
            let words = [TIMESTAMPS_WORD.to_be(), clock.wrapping_add(*offset).to_be(), ecr.to_be()];
            for (field, word) in out[AT + 20..AT + 32].as_chunks_mut().0.iter_mut().zip(words) {
                *field = word.to_ne_bytes();
                sum += u64::from(word);
            }
        }
        sum
    }

    #[inline(always)]
    fn write_v4<const LEN: usize>(&self, out: &mut [u8; LEN], segment_len: u32) {
        // Don't fragment, for path-MTU discovery (RFC 1191 §3). What is not cut needs no number (RFC 6864 §4.1).
        const VERSION: u32 = 0x4500;
        const FRAGMENT: u32 = 0x4000;
        let version = VERSION | u32::from(*self.tos);
        let total_len = ipv4::LEN as u32 + segment_len;
        let ttl = u32::from(*self.ttl) << 8 | u32::from(Protocol::TCP.0);
        let sum = u32::from(*self.address_sum) + version + total_len + FRAGMENT + ttl;
        let first = version << 16 | total_len;
        out[14..18].copy_from_slice(&first.to_be_bytes());
        out[18..22].copy_from_slice(&FRAGMENT.to_be_bytes());
        let second = ttl << 16 | u32::from(!fold_short(sum));
        out[22..26].copy_from_slice(&second.to_be_bytes());
        out[26..34].copy_from_slice(&self.tuple.sent_v4().to_ne_bytes());
    }

    #[inline(always)]
    fn write_v6<const LEN: usize>(&self, out: &mut [u8; LEN], segment_len: u32) {
        let first = 6 << 28 | u32::from(*self.tos) << 20;
        let second = segment_len << 16 | u32::from(Protocol::TCP.0) << 8 | u32::from(*self.ttl);
        out[14..18].copy_from_slice(&first.to_be_bytes());
        out[18..22].copy_from_slice(&second.to_be_bytes());
        for (field, word) in out[22..TCP_V6].as_chunks_mut::<8>().0.iter_mut().zip(self.tuple.sent_v6()) {
            *field = word.to_ne_bytes();
        }
    }
}

/// Folds a sum of a few 16-bit numbers, of which at least one is not 0.
#[inline(always)]
fn fold_short(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    (sum + (sum >> 16)) as u16
}

/// The sum of a payload, for [`Headers`].
#[inline(never)]
pub(crate) fn payload_sum(bytes: &[u8]) -> u64 {
    sum(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use hayase_device::checksum::Sum;

    const OURS: Mac = Mac([2, 0, 0, 0, 0, 1]);

    /// What a segment says, with five bytes of payload.
    struct Said {
        tuple: Tuple,
        timestamps: Option<Timestamps>,
        front: Front,
        tos: u8,
    }

    const FLAGS: Flags = Flags(Flags::ACK.0 | Flags::PSH.0);
    const SEQ: Seq = Seq(0xdead_beef);
    const ACK: Seq = Seq(0x0102_0304);
    const WINDOW: u16 = 0xabcd;
    const TTL: u8 = 64;

    impl Said {
        fn new(local: &str, remote: &str, timestamps: Option<Timestamps>) -> Said {
            let tuple = Tuple::new(local.parse().unwrap(), remote.parse().unwrap());
            let front = Front::new(OURS, Mac([2, 0, 0, 0, 0, 2]), tuple.is_v4());
            Said { tuple, timestamps, front, tos: 0xb8 }
        }

        fn transport_at(&self) -> usize {
            if self.tuple.is_v4() { TCP_V4 } else { TCP_V6 }
        }

        /// The frame as it leaves a device that completes no checksums, or as it is handed to one that does.
        fn write(&self, is_offloaded: bool) -> vec::Vec<u8> {
            let at = self.transport_at();
            let options_len = if self.timestamps.is_some() { TIMESTAMPS_LEN } else { 0 };
            let mut bytes = vec![0xee; at + TcpHeader::LEN + options_len + 5];
            let payload_sum = (!is_offloaded).then(|| payload_sum(&[0xee; 5]));
            match bytes.len() - 5 {
                54 => self.write_headers::<TCP_V4, 54>(&mut bytes, payload_sum),
                66 => self.write_headers::<TCP_V4, 66>(&mut bytes, payload_sum),
                74 => self.write_headers::<TCP_V6, 74>(&mut bytes, payload_sum),
                _ => self.write_headers::<TCP_V6, 86>(&mut bytes, payload_sum),
            }
            bytes
        }

        fn write_headers<const AT: usize, const LEN: usize>(
            &self,
            bytes: &mut [u8],
            payload_sum: Option<u64>,
        ) {
            let Timestamps { val, ecr } = self.timestamps.unwrap_or(Timestamps { val: 0, ecr: 0 });
            let headers: Headers<'_, AT> = Headers {
                front: &self.front,
                ttl: &TTL,
                tos: &self.tos,
                tuple: &self.tuple,
                address_sum: &self.tuple.address_sum(),
                flags: FLAGS,
                seq: &SEQ,
                ack: &ACK,
                edge: (&(ACK + u32::from(WINDOW)), &0),
                timestamps: (val.wrapping_sub(1), &1, &ecr),
                payload_len: 5,
                payload_sum,
            };
            Prefix::<LEN>::write(&headers, bytes.first_chunk_mut().unwrap());
        }
    }

    fn is_intact(bytes: &[u8]) -> bool {
        match tcp_at(bytes, Own::new(OURS)) {
            Some(TCP_V4) => Arrived::is_intact::<TCP_V4>(bytes),
            at => at == Some(TCP_V6) && Arrived::is_intact::<TCP_V6>(bytes),
        }
    }

    fn read(bytes: &[u8]) -> Option<Arrived<'_>> {
        match tcp_at(bytes, Own::new(OURS))? {
            TCP_V4 => Arrived::new::<TCP_V4>(bytes),
            _ => Arrived::new::<TCP_V6>(bytes),
        }
    }

    fn is_read(bytes: &[u8]) -> bool {
        read(bytes).is_some_and(|arrived| arrived.plain(true).is_some())
    }

    /// What one end writes, the other reads; and the layers read the same.
    #[test]
    fn what_is_written_is_read() {
        for (local, remote) in [("10.0.0.1:80", "10.200.30.4:65535"), ("[fd00::1]:80", "[fe80::2]:4000")] {
            for timestamps in [None, Some(Timestamps { val: 7, ecr: u32::MAX })] {
                let sent = Said::new(local, remote, timestamps);
                let bytes = sent.write(false);
                let received = read(&bytes).expect("it is usual");
                let has_timestamps = timestamps.is_some();
                assert_eq!(received.plain(has_timestamps), Some(timestamps));
                assert_eq!(received.plain(!has_timestamps), None);
                assert_eq!((received.seq(), received.ack()), (SEQ, ACK));
                assert_eq!((received.window(), received.payload_len(has_timestamps)), (WINDOW, 5));
                assert_eq!(received.tuple.local(), sent.tuple.remote());
                assert_eq!(received.tuple.remote(), sent.tuple.local());
                let is_v4 = sent.tuple.is_v4();
                let is_intact =
                    if is_v4 { Arrived::is_intact::<TCP_V4> } else { Arrived::is_intact::<TCP_V6> };
                assert!(is_intact(&bytes), "{local}");
                the_layers_read_the_same(&sent, &bytes);
            }
        }
    }

    fn the_layers_read_the_same(sent: &Said, bytes: &[u8]) {
        let network = &bytes[ethernet::LEN..];
        if sent.tuple.is_v4() {
            let (header, _) = ipv4::parse(network, network.len()).expect("a good IPv4 header");
            assert_eq!((header.ttl, header.tos, header.ident), (TTL, sent.tos, 0));
            assert!(header.dont_fragment && !header.more_fragments);
        } else {
            let header = ipv6::parse(network, network.len()).expect("a good IPv6 header");
            assert_eq!((header.hop_limit, header.traffic_class, header.flow_label), (TTL, sent.tos, 0));
        }
        let at = sent.transport_at();
        let (tcp, len) = TcpHeader::parse(&bytes[at..]).expect("a TCP header");
        assert_eq!((tcp.seq, tcp.ack, tcp.window, tcp.flags), (SEQ, ACK, WINDOW, FLAGS));
        assert_eq!((tcp.options.timestamps, len + at), (sent.timestamps, bytes.len() - 5));
    }

    /// A device completes what it is handed to what software writes.
    #[test]
    fn a_device_goes_on_from_the_sum_of_the_pseudo_header() {
        for (local, remote) in [("10.0.0.1:80", "10.0.0.2:81"), ("[fd00::1]:80", "[fd00::2]:81")] {
            let sent = Said::new(local, remote, None);
            let mut bytes = sent.write(true);
            let transport = &mut bytes[sent.transport_at()..];
            let mut sum = Sum::default();
            sum.add(transport);
            transport[16..18].copy_from_slice(&sum.checksum().to_be_bytes());
            assert!(is_intact(&bytes));
            assert_eq!(bytes, sent.write(false));
        }
    }

    #[test]
    fn a_sum_is_zero_as_it_is_when_it_is_folded() {
        let mut random = crate::random::Random::new([5; 32]);
        for _ in 0..100_000 {
            let sum = random.next() | 1 << 40;
            let multiple = sum - sum % 0xffff;
            assert_eq!((is_zero(sum), is_zero(multiple)), (fold(sum) == 0xffff, true));
            assert_eq!(fold(plus(sum, multiple)), fold(u64::from(fold(sum)) + u64::from(fold(multiple))));
        }
    }

    #[test]
    fn whatever_is_unusual_is_not_read() {
        for (local, remote) in [("10.0.0.1:80", "10.0.0.2:81"), ("[fd00::1]:80", "[fd00::2]:81")] {
            let sent = Said { tos: 0, ..Said::new(local, remote, Some(Timestamps { val: 1, ecr: 2 })) };
            let mut good = sent.write(false);
            let at = sent.transport_at();
            // Each of these bytes decides about the layout, or is covered by the IPv4 header's checksum.
            let mut places: vec::Vec<usize> = vec![0, 5, 12, 13, 14, at + 12, at + 13, at + 20, at + 23];
            places.extend(if sent.tuple.is_v4() { 15..34 } else { 18..21 });
            for place in places {
                let mut bytes = good.clone();
                bytes[place] ^= 0x42;
                assert!(!is_read(&bytes), "{local}: byte {place}");
            }
            for len in 0..good.len() {
                assert!(!is_read(&good[..len]));
            }
            good.push(0);
            assert!(!is_read(&good), "padding");
        }
    }

    #[test]
    fn an_ipv6_packet_never_passes_for_ipv4() {
        let bytes =
            Said::new("[fd00::1]:80", "[fd00::2]:81", Some(Timestamps { val: 1, ecr: 2 })).write(false);
        assert!(is_read(&bytes));
        for at in [22, 38] {
            let mut mapped = bytes.clone();
            mapped[at..at + 12].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
            assert!(!is_read(&mapped));
        }
    }
}

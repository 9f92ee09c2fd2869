//! The usual frame, read and written in one go: Ethernet, an IP header without options, fragments or extensions,
//! TCP with the timestamps option or none, flags ACK or ACK and PSH, and nothing behind the packet.
//!
//! Nearly all frames of established connections are like this, and their fields stand at fixed places. What is
//! said here is what layer after layer would say of the same frame; of any other frame nothing is said, and the
//! layers read it.

use hayase_device::checksum::Sum;

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

/// Which usual header of the network layer a linear frame for `mac` has: [`TCP_V4`] or [`TCP_V6`] tells, as where it
/// ends. Of IPv4 all of it is checked, its checksum included.
#[inline(always)]
pub(crate) fn tcp_at(bytes: &[u8], mac: Mac) -> Option<usize> {
    // 14 + 20 + 20: one bounds check for all that stands at the same place in both versions.
    let head = bytes.first_chunk::<{ TCP_V4 + TcpHeader::LEN }>()?;
    if head[..6] != mac.0 {
        return None;
    }
    // EtherType, version and header length in one word.
    let word = word(head, ethernet::LEN - 2);
    if word & 0xffff_ff00 == 0x0800_4500 {
        return is_usual_v4(head, bytes.len()).then_some(TCP_V4);
    }
    if word & 0xffff_f000 == 0x86dd_6000 {
        return is_usual_v6(bytes).then_some(TCP_V6);
    }
    None
}

/// Whole, intact, of TCP, and all of the frame.
#[inline(always)]
fn is_usual_v4(head: &[u8; TCP_V4 + TcpHeader::LEN], frame_len: usize) -> bool {
    let total_len = usize::from(u16::from_be_bytes([head[16], head[17]]));
    // More fragments, their offset, and the protocol; between them is the TTL.
    let is_whole_tcp = word(head, 20) & 0x3fff_00ff == u32::from(Protocol::TCP.0);
    let [a, b, c, d, e] = [14, 18, 22, 26, 30].map(|at| u64::from(word(head, at)));
    let sum = a + b + c + d + e;
    // One's complement addition does not mind how wide its words are, nor in which order they come (RFC 1071).
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let is_intact = sum == 0xffff || sum == 0x1_fffe;
    is_whole_tcp & is_intact & (ethernet::LEN + total_len == frame_len)
}

/// Of TCP, all of the frame, and between addresses that are not IPv4's: mapped ones begin with zeros, and on a link
/// only a forger uses them.
#[inline(always)]
fn is_usual_v6(bytes: &[u8]) -> bool {
    let Some(head) = bytes.first_chunk::<{ TCP_V6 + TcpHeader::LEN }>() else { return false };
    let payload_len = usize::from(u16::from_be_bytes([head[18], head[19]]));
    let is_mapped = |at: usize| head[at..at + 8] == [0; 8];
    head[20] == Protocol::TCP.0 && TCP_V6 + payload_len == bytes.len() && !is_mapped(22) && !is_mapped(38)
}

#[inline(always)]
fn word<const LEN: usize>(bytes: &[u8; LEN], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// A received segment behind usual headers, where it lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived<'a> {
    pub(crate) tuple: Tuple,
    header: &'a [u8; TcpHeader::LEN],
    /// Options and payload.
    rest: &'a [u8],
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
        Some(Arrived { tuple, header, rest })
    }

    /// Whether its flags are ACK, with or without PSH, and its options just the timestamps, in the form that everybody
    /// sends, or none. Nothing of the reserved bits either.
    #[inline(always)]
    pub(crate) fn is_plain(&self, has_timestamps: bool) -> bool {
        let plain = if has_timestamps { 0x8010 } else { 0x5010 };
        let is_plain = u16::from_be_bytes([self.header[12], self.header[13]]) & !u16::from(Flags::PSH.0) == plain;
        is_plain && (!has_timestamps || self.option().is_some_and(|option| word(option, 0) == TIMESTAMPS_WORD))
    }

    #[inline(always)]
    fn option(&self) -> Option<&'a [u8; TIMESTAMPS_LEN]> {
        self.rest.first_chunk()
    }

    /// The timestamps of a plain segment that has them.
    #[inline(always)]
    pub(crate) fn timestamps(&self) -> Option<Timestamps> {
        self.option().map(|option| Timestamps { val: word(option, 4), ecr: word(option, 8) })
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
        (self.rest.len() - if has_timestamps { TIMESTAMPS_LEN } else { 0 }) as u32
    }

    /// Whether the TCP checksum is right.
    #[inline(never)]
    pub(crate) fn is_intact(&self) -> bool {
        let mut sum = self.tuple.pseudo_header((self.header.len() + self.rest.len()) as u32);
        sum.add(self.header);
        sum.add(self.rest);
        sum.is_valid()
    }
}

/// What a usual frame is to say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usual {
    pub(crate) tuple: Tuple,
    pub(crate) flags: Flags,
    /// SEG.SEQ
    pub(crate) seq: Seq,
    /// SEG.ACK
    pub(crate) ack: Seq,
    /// SEG.WND, unscaled.
    pub(crate) window: u16,
    pub(crate) timestamps: Option<Timestamps>,
    /// Bytes of payload.
    pub(crate) payload_len: u32,
}

impl Usual {
    /// Where the TCP header starts.
    #[inline(always)]
    pub(crate) fn transport_at(&self) -> usize {
        if self.tuple.is_v4() { TCP_V4 } else { TCP_V6 }
    }

    /// Bytes of the TCP header.
    #[inline(always)]
    pub(crate) fn tcp_len(&self) -> usize {
        TcpHeader::LEN + if self.timestamps.is_some() { TIMESTAMPS_LEN } else { 0 }
    }

    /// Bytes of all headers, where TCP's starts `AT`.
    #[inline(always)]
    pub(crate) fn headers_len<const AT: usize>(&self) -> usize {
        AT + self.tcp_len()
    }

    /// Writes the headers, of which TCP's starts `AT`, at the front of `bytes`, which are the headers and the
    /// payload; with the checksum over all of it, or over the pseudo-header if the device is to do the rest.
    /// Without effect if `bytes` are shorter than the headers.
    #[inline(always)]
    pub(crate) fn write<const AT: usize>(&self, bytes: &mut [u8], lower: &Lower, is_offloaded: bool) {
        let segment_len = self.payload_len + self.tcp_len() as u32;
        let Some((head, transport)) = bytes.split_first_chunk_mut::<AT>() else { return };
        let sum = if AT == TCP_V4 {
            lower.write_v4(head, &self.tuple, segment_len);
            self.tuple.pseudo_header_v4(segment_len)
        } else {
            lower.write_v6(head, &self.tuple, segment_len);
            self.tuple.pseudo_header(segment_len)
        };
        self.write_tcp(transport, if is_offloaded { sum.value() } else { 0 });
        if !is_offloaded {
            fill_checksum(transport, sum);
        }
    }

    #[inline(always)]
    fn write_tcp(&self, out: &mut [u8], checksum: u16) {
        let Some((fixed, options)) = out.split_first_chunk_mut::<{ TcpHeader::LEN }>() else { return };
        let header_len = if self.timestamps.is_some() { 0x80 } else { 0x50 };
        fixed[0..4].copy_from_slice(&self.tuple.ports().to_be_bytes());
        fixed[4..8].copy_from_slice(&self.seq.0.to_be_bytes());
        fixed[8..12].copy_from_slice(&self.ack.0.to_be_bytes());
        fixed[12..14].copy_from_slice(&[header_len, self.flags.0]);
        fixed[14..16].copy_from_slice(&self.window.to_be_bytes());
        fixed[16..18].copy_from_slice(&checksum.to_be_bytes());
        fixed[18..20].copy_from_slice(&[0, 0]);
        if let Some(Timestamps { val, ecr }) = self.timestamps
            && let Some(option) = options.first_chunk_mut::<TIMESTAMPS_LEN>()
        {
            option[0..4].copy_from_slice(&TIMESTAMPS_WORD.to_be_bytes());
            option[4..8].copy_from_slice(&val.to_be_bytes());
            option[8..12].copy_from_slice(&ecr.to_be_bytes());
        }
    }
}

/// What stands below TCP besides the addresses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lower {
    pub(crate) dst: Mac,
    pub(crate) src: Mac,
    /// Hop limit.
    pub(crate) ttl: u8,
    /// DSCP and ECN; the traffic class of IPv6.
    pub(crate) tos: u8,
    /// IPv4 only.
    pub(crate) ident: u16,
}

impl Lower {
    #[inline(always)]
    fn write_v4(&self, out: &mut [u8], tuple: &Tuple, segment_len: u32) {
        let (src, dst) = tuple.low_words();
        let Some(out) = out.first_chunk_mut::<TCP_V4>() else { return };
        let words = [
            0x4500_0000 | u32::from(self.tos) << 16 | (ipv4::LEN as u32 + segment_len),
            // Don't fragment, for path-MTU discovery (RFC 1191 §3).
            u32::from(self.ident) << 16 | 0x4000,
            u32::from(self.ttl) << 24 | u32::from(Protocol::TCP.0) << 16,
            src,
            dst,
        ];
        let mut sum = Sum::default();
        words.iter().for_each(|word| sum.add_u32(*word));
        self.write_ethernet(out, EtherType::IPV4);
        for (field, word) in out[ethernet::LEN..].as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *field = word.to_be_bytes();
        }
        out[24..26].copy_from_slice(&sum.checksum().to_be_bytes());
    }

    #[inline(always)]
    fn write_v6(&self, out: &mut [u8], tuple: &Tuple, segment_len: u32) {
        let Some(out) = out.first_chunk_mut::<TCP_V6>() else { return };
        let first = 6 << 28 | u32::from(self.tos) << 20;
        let second = segment_len << 16 | u32::from(Protocol::TCP.0) << 8 | u32::from(self.ttl);
        self.write_ethernet(out, EtherType::IPV6);
        out[14..18].copy_from_slice(&first.to_be_bytes());
        out[18..22].copy_from_slice(&second.to_be_bytes());
        let [a, b, c, d, _] = tuple.as_words();
        for (field, word) in out[22..].as_chunks_mut::<8>().0.iter_mut().zip([a, b, c, d]) {
            *field = word.to_be_bytes();
        }
    }

    #[inline(always)]
    fn write_ethernet(&self, out: &mut [u8], ethertype: EtherType) {
        out[0..6].copy_from_slice(&self.dst.0);
        out[6..12].copy_from_slice(&self.src.0);
        out[12..14].copy_from_slice(&ethertype.0.to_be_bytes());
    }
}

/// Completes a checksum field that holds zero.
fn fill_checksum(segment: &mut [u8], mut sum: Sum) {
    sum.add(segment);
    if let Some(field) = segment.get_mut(TcpHeader::CHECKSUM..TcpHeader::CHECKSUM + 2) {
        field.copy_from_slice(&sum.checksum().to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const OURS: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn usual(local: &str, remote: &str, timestamps: Option<Timestamps>) -> Usual {
        Usual {
            tuple: Tuple::new(local.parse().unwrap(), remote.parse().unwrap()),
            flags: Flags::ACK | Flags::PSH,
            seq: Seq(0xdead_beef),
            ack: Seq(0x0102_0304),
            window: 0xabcd,
            timestamps,
            payload_len: 5,
        }
    }

    fn write(usual: &Usual, bytes: &mut [u8], lower: &Lower, is_offloaded: bool) {
        match usual.transport_at() {
            TCP_V4 => usual.write::<TCP_V4>(bytes, lower, is_offloaded),
            _ => usual.write::<TCP_V6>(bytes, lower, is_offloaded),
        }
    }

    fn read(bytes: &[u8]) -> Option<Arrived<'_>> {
        match tcp_at(bytes, OURS)? {
            TCP_V4 => Arrived::new::<TCP_V4>(bytes),
            _ => Arrived::new::<TCP_V6>(bytes),
        }
    }

    fn is_read(bytes: &[u8]) -> bool {
        read(bytes).is_some_and(|arrived| arrived.is_plain(true))
    }

    /// What one end writes, the other reads; and the layers read the same.
    #[test]
    fn what_is_written_is_read() {
        let lower = Lower { dst: OURS, src: Mac([2, 0, 0, 0, 0, 2]), ttl: 64, tos: 0xb8, ident: 0x1234 };
        for (local, remote) in [("10.0.0.1:80", "10.200.30.4:65535"), ("[fd00::1]:80", "[fe80::2]:4000")] {
            for timestamps in [None, Some(Timestamps { val: 7, ecr: u32::MAX })] {
                let sent = usual(local, remote, timestamps);
                let mut bytes = vec![0xee; sent.transport_at() + sent.tcp_len() + 5];
                write(&sent, &mut bytes, &lower, false);
                let received = read(&bytes).expect("it is usual");
                let has_timestamps = timestamps.is_some();
                assert!(received.is_plain(has_timestamps) && !received.is_plain(!has_timestamps));
                assert_eq!((received.seq(), received.ack()), (sent.seq, sent.ack));
                assert_eq!((received.window(), received.payload_len(has_timestamps)), (sent.window, 5));
                assert_eq!(received.timestamps().filter(|_| has_timestamps), timestamps);
                assert_eq!(received.tuple.local(), sent.tuple.remote());
                assert_eq!(received.tuple.remote(), sent.tuple.local());
                assert!(received.is_intact(), "{local}");

                let network = &bytes[ethernet::LEN..];
                if sent.tuple.is_v4() {
                    let (header, _) = ipv4::parse(network, network.len()).expect("a good IPv4 header");
                    assert_eq!((header.ttl, header.tos, header.ident), (64, 0xb8, 0x1234));
                    assert!(header.dont_fragment && !header.more_fragments);
                } else {
                    let header = ipv6::parse(network, network.len()).expect("a good IPv6 header");
                    assert_eq!((header.hop_limit, header.traffic_class, header.flow_label), (64, 0xb8, 0));
                }
                let (tcp, len) = TcpHeader::parse(&bytes[sent.transport_at()..]).expect("a TCP header");
                assert_eq!((tcp.seq, tcp.ack, tcp.window), (sent.seq, sent.ack, sent.window));
                assert_eq!(
                    (tcp.options.timestamps, len + sent.transport_at()),
                    (timestamps, bytes.len() - 5)
                );

                // The device would complete the same checksum from the pseudo-header's sum.
                let mut partial = bytes.clone();
                write(&sent, &mut partial, &lower, true);
                let transport = &mut partial[sent.transport_at()..];
                fill_checksum_as_device(transport);
                assert_eq!(partial, bytes);
            }
        }
    }

    fn fill_checksum_as_device(transport: &mut [u8]) {
        let mut sum = Sum::default();
        sum.add(transport);
        transport[16..18].copy_from_slice(&sum.checksum().to_be_bytes());
    }

    #[test]
    fn whatever_is_unusual_is_not_read() {
        let lower = Lower { dst: OURS, src: OURS, ttl: 64, tos: 0, ident: 0 };
        for (local, remote) in [("10.0.0.1:80", "10.0.0.2:81"), ("[fd00::1]:80", "[fd00::2]:81")] {
            let sent = usual(local, remote, Some(Timestamps { val: 1, ecr: 2 }));
            let mut good = vec![0; sent.transport_at() + sent.tcp_len() + 5];
            write(&sent, &mut good, &lower, false);
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
        let sent = usual("[fd00::1]:80", "[fd00::2]:81", None);
        let mut bytes = vec![0; sent.transport_at() + sent.tcp_len() + 5];
        write(&sent, &mut bytes, &Lower { dst: OURS, src: OURS, ttl: 1, tos: 0, ident: 0 }, true);
        for at in [22, 38] {
            let mut mapped = bytes.clone();
            mapped[at..at + 12].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
            assert!(!is_read(&mapped));
        }
    }
}

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

/// What a usual frame says.
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
    /// Reads a linear frame. `None` if anything about it is unusual, or wrong.
    #[inline(always)]
    pub(crate) fn read(bytes: &[u8], mac: Mac) -> Option<Usual> {
        // 14 + 20 + 20: one bounds check for all that stands at the same place in both versions.
        let head = bytes.first_chunk::<{ TCP_V4 + TcpHeader::LEN }>()?;
        if head[..6] != mac.0 {
            return None;
        }
        // EtherType, version and header length in one word.
        match [head[12], head[13], head[14]] {
            [0x08, 0x00, 0x45] => Self::read_v4(bytes, head),
            [0x86, 0xdd, version] if version >> 4 == 6 => Self::read_v6(bytes),
            _ => None,
        }
    }

    #[inline(always)]
    fn read_v4(bytes: &[u8], head: &[u8; TCP_V4 + TcpHeader::LEN]) -> Option<Usual> {
        let header = head[ethernet::LEN..TCP_V4].as_chunks::<4>().0;
        let sum: u64 = header.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
        let total_len = usize::from(u16::from_be_bytes([head[16], head[17]]));
        // 2^16 is 1 modulo 0xffff: one's complement addition is this remainder (RFC 1071).
        let is_intact = sum.is_multiple_of(0xffff);
        let is_whole = (head[20] & 0x3f) | head[21] == 0;
        if !is_intact || !is_whole || head[23] != Protocol::TCP.0 || ethernet::LEN + total_len != bytes.len()
        {
            return None;
        }
        let tcp = head.last_chunk::<{ TcpHeader::LEN }>()?;
        let tuple = Tuple::received_v4(*bytes[26..].first_chunk::<8>()?, *tcp.first_chunk::<4>()?);
        Self::read_tcp(bytes, TCP_V4, tcp, tuple)
    }

    #[inline(always)]
    fn read_v6(bytes: &[u8]) -> Option<Usual> {
        let head = bytes.first_chunk::<{ TCP_V6 + TcpHeader::LEN }>()?;
        let payload_len = usize::from(u16::from_be_bytes([head[18], head[19]]));
        if head[20] != Protocol::TCP.0 || TCP_V6 + payload_len != bytes.len() {
            return None;
        }
        // Among those that begin with zeros are the mapped ones, which on a link only a forger uses.
        let is_mapped = |at: usize| head[at..at + 8] == [0; 8];
        if is_mapped(22) || is_mapped(38) {
            return None;
        }
        let tcp = head.last_chunk::<{ TcpHeader::LEN }>()?;
        let tuple = Tuple::received_v6(*head[22..].first_chunk::<32>()?, *tcp.first_chunk::<4>()?);
        Self::read_tcp(bytes, TCP_V6, tcp, tuple)
    }

    #[inline(always)]
    fn read_tcp(bytes: &[u8], at: usize, tcp: &[u8; TcpHeader::LEN], tuple: Tuple) -> Option<Usual> {
        let word = |at: usize| u32::from_be_bytes([tcp[at], tcp[at + 1], tcp[at + 2], tcp[at + 3]]);
        if tcp[13] & !Flags::PSH.0 != Flags::ACK.0 {
            return None;
        }
        let fixed_len = at + TcpHeader::LEN;
        // The upper half is the header's length in words, the lower half is reserved.
        let (timestamps, headers_len) = match tcp[12] >> 4 {
            8 => (Some(timestamps(bytes.get(fixed_len..)?)?), fixed_len + TIMESTAMPS_LEN),
            5 => (None, fixed_len),
            _ => return None,
        };
        Some(Usual {
            tuple,
            flags: Flags(tcp[13]),
            seq: Seq(word(4)),
            ack: Seq(word(8)),
            window: u16::from_be_bytes([tcp[14], tcp[15]]),
            timestamps,
            payload_len: (bytes.len() - headers_len) as u32,
        })
    }

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

    /// Whether the TCP checksum of the frame that was read is right.
    pub(crate) fn is_intact(&self, bytes: &[u8]) -> bool {
        let segment = &bytes[self.transport_at()..];
        let mut sum = self.tuple.pseudo_header(segment.len() as u32);
        sum.add(segment);
        sum.is_valid()
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

/// The timestamps option in the form that everybody sends, right behind the fixed header.
#[inline(always)]
fn timestamps(options: &[u8]) -> Option<Timestamps> {
    let option = options.first_chunk::<TIMESTAMPS_LEN>()?;
    let word = |at: usize| u32::from_be_bytes([option[at], option[at + 1], option[at + 2], option[at + 3]]);
    (word(0) == TIMESTAMPS_WORD).then(|| Timestamps { val: word(4), ecr: word(8) })
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

    /// What one end writes, the other reads; and the layers read the same.
    #[test]
    fn what_is_written_is_read() {
        let lower = Lower { dst: OURS, src: Mac([2, 0, 0, 0, 0, 2]), ttl: 64, tos: 0xb8, ident: 0x1234 };
        for (local, remote) in [("10.0.0.1:80", "10.200.30.4:65535"), ("[fd00::1]:80", "[fe80::2]:4000")] {
            for timestamps in [None, Some(Timestamps { val: 7, ecr: u32::MAX })] {
                let sent = usual(local, remote, timestamps);
                let mut bytes = vec![0xee; sent.transport_at() + sent.tcp_len() + 5];
                write(&sent, &mut bytes, &lower, false);
                let received = Usual::read(&bytes, OURS).expect("it is usual");
                assert_eq!((received.seq, received.ack), (sent.seq, sent.ack));
                assert_eq!((received.window, received.timestamps), (sent.window, timestamps));
                assert_eq!((received.flags, received.payload_len), (sent.flags, 5));
                assert_eq!(received.tuple.local(), sent.tuple.remote());
                assert_eq!(received.tuple.remote(), sent.tuple.local());
                assert!(received.is_intact(&bytes), "{local}");

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
                assert!(Usual::read(&bytes, OURS).is_none(), "{local}: byte {place}");
            }
            for len in 0..good.len() {
                assert!(Usual::read(&good[..len], OURS).is_none());
            }
            good.push(0);
            assert!(Usual::read(&good, OURS).is_none(), "padding");
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
            assert!(Usual::read(&mapped, OURS).is_none());
        }
    }
}

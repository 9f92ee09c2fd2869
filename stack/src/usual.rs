//! The usual frame, read in one go: Ethernet, an IP header without options, fragments or extensions, TCP with the
//! timestamps option or none, flags ACK or ACK and PSH, and nothing behind the packet.
//!
//! Nearly all frames of established connections are like this, and their fields stand at fixed places. What is
//! said here is what layer after layer would say of the same frame; of any other frame nothing is said, and the
//! layers read it.

use hayase_device::checksum::pseudo_header;

use crate::seq::Seq;
use crate::tcp::flow::Tuple;
use crate::wire::tcp::{Flags, TcpHeader, Timestamps};
use crate::wire::{Mac, Protocol, ethernet, ipv4, ipv6};

/// Where the TCP header starts.
const TCP_V4: usize = ethernet::LEN + ipv4::LEN;
const TCP_V6: usize = ethernet::LEN + ipv6::LEN;

/// NOP, NOP, kind 8, length 10 (RFC 7323 appendix A).
const TIMESTAMPS_WORD: u32 = 0x0101_080a;
const TIMESTAMPS_LEN: usize = 12;

/// The most of a usual frame's bytes that are no payload.
const HEADERS_LEN_MAX: usize = TCP_V6 + TcpHeader::LEN + TIMESTAMPS_LEN;

/// What a usual frame says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usual {
    pub(crate) tuple: Tuple,
    /// SEG.SEQ
    pub(crate) seq: Seq,
    /// SEG.ACK
    pub(crate) ack: Seq,
    /// SEG.WND, unscaled.
    pub(crate) window: u16,
    pub(crate) timestamps: Option<Timestamps>,
    /// Where the TCP header starts.
    transport_at: u8,
    /// Bytes of all headers.
    pub(crate) headers_len: u8,
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
            seq: Seq(word(4)),
            ack: Seq(word(8)),
            window: u16::from_be_bytes([tcp[14], tcp[15]]),
            timestamps,
            transport_at: at as u8,
            headers_len: headers_len as u8,
            payload_len: (bytes.len() - headers_len) as u32,
        })
    }

    /// Whether the TCP checksum of the frame that was read is right.
    pub(crate) fn is_intact(&self, bytes: &[u8]) -> bool {
        let (network, segment) = bytes.split_at(usize::from(self.transport_at));
        // Source and destination end the IP header of either version.
        let addresses_len = if network.len() == TCP_V4 { 8 } else { 32 };
        let (src, dst) = network[network.len() - addresses_len..].split_at(addresses_len / 2);
        let mut sum = pseudo_header(src, dst, Protocol::TCP.0, segment.len() as u32);
        sum.add(segment);
        sum.is_valid()
    }
}

/// The timestamps option in the form that everybody sends, right behind the fixed header.
#[inline(always)]
fn timestamps(options: &[u8]) -> Option<Timestamps> {
    let option = options.first_chunk::<TIMESTAMPS_LEN>()?;
    let word = |at: usize| u32::from_be_bytes([option[at], option[at + 1], option[at + 2], option[at + 3]]);
    (word(0) == TIMESTAMPS_WORD).then(|| Timestamps { val: word(4), ecr: word(8) })
}

const _: () = assert!(HEADERS_LEN_MAX <= u8::MAX as usize);

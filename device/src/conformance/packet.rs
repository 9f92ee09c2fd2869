//! Packets to test with, built and judged without the code under test: checksums are computed here as
//! RFC 1071 §4.1 spells it.

use std::vec::Vec;

use crate::{TxChecksum, TxMeta, TxSegmentation};

/// An IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ip {
    /// IPv4, between addresses of 192.0.2.0/24.
    V4,
    /// IPv6, between addresses of 2001:db8::/32.
    V6,
}

impl Ip {
    fn header_len(self) -> usize {
        match self {
            Ip::V4 => 20,
            Ip::V6 => 40,
        }
    }
}

/// A TCP segment or UDP datagram in an Ethernet frame.
#[derive(Debug, Clone)]
pub struct Packet {
    /// Link-layer source.
    pub src_mac: [u8; 6],
    /// Link-layer destination.
    pub dst_mac: [u8; 6],
    /// IP version.
    pub ip: Ip,
    /// Whether it is TCP; else it is UDP.
    pub tcp: bool,
    /// Sequence number, of TCP.
    pub seq: u32,
    /// Flags, of TCP.
    pub flags: u8,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Packet {
    /// A TCP segment of `payload_len` bytes.
    pub fn tcp(ip: Ip, payload_len: usize) -> Packet {
        Packet {
            src_mac: [2, 0, 0, 0, 0, 1],
            dst_mac: [2, 0, 0, 0, 0, 2],
            ip,
            tcp: true,
            seq: 0x0102_0304,
            flags: 0x18,
            payload: pattern(payload_len),
        }
    }

    /// A UDP datagram of `payload_len` bytes.
    pub fn udp(ip: Ip, payload_len: usize) -> Packet {
        Packet { tcp: false, ..Packet::tcp(ip, payload_len) }
    }

    /// The same packet from one station to another.
    #[must_use]
    pub fn between(mut self, src_mac: [u8; 6], dst_mac: [u8; 6]) -> Packet {
        (self.src_mac, self.dst_mac) = (src_mac, dst_mac);
        self
    }

    /// Length of its Ethernet, IP and transport headers, in bytes.
    pub fn header_len(&self) -> usize {
        14 + self.ip.header_len() + if self.tcp { 20 } else { 8 }
    }

    /// The request to fill in its checksum.
    pub fn tx_checksum(&self) -> TxChecksum {
        let start = 14 + self.ip.header_len() as u16;
        TxChecksum { start, offset: if self.tcp { 16 } else { 6 } }
    }

    /// The request to cut it.
    pub fn segmentation(&self, segment_len: u16) -> TxSegmentation {
        TxSegmentation { segment_len, header_len: self.header_len() as u16, ipv6: self.ip == Ip::V6 }
    }

    /// The request for its checksum, as transmit metadata.
    pub fn checksum_meta(&self) -> TxMeta {
        TxMeta { checksum: Some(self.tx_checksum()), segmentation: None }
    }

    /// The request for its checksum and to cut it.
    pub fn segmentation_meta(&self, segment_len: u16) -> TxMeta {
        TxMeta { segmentation: Some(self.segmentation(segment_len)), ..self.checksum_meta() }
    }

    /// The frame, complete.
    pub fn build(&self) -> Vec<u8> {
        let mut frame = self.build_partial();
        let field = usize::from(self.tx_checksum().start + self.tx_checksum().offset);
        let sum = !ones_complement_sum(&[&frame[usize::from(self.tx_checksum().start)..]]);
        let sum = if sum == 0 && !self.tcp { 0xffff } else { sum };
        frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        frame
    }

    /// The frame with the sum of the pseudo-header in place of the transport checksum.
    pub fn build_partial(&self) -> Vec<u8> {
        let mut frame = Vec::new();
        frame.extend(self.dst_mac);
        frame.extend(self.src_mac);
        let transport_len = self.header_len() - 14 - self.ip.header_len() + self.payload.len();
        let protocol = if self.tcp { 6 } else { 17 };
        match self.ip {
            Ip::V4 => push_ipv4(&mut frame, protocol, transport_len),
            Ip::V6 => push_ipv6(&mut frame, protocol, transport_len),
        }
        let transport = frame.len();
        if self.tcp {
            self.push_tcp(&mut frame);
        } else {
            push_udp(&mut frame, transport_len);
        }
        frame.extend(&self.payload);
        let field = transport + usize::from(self.tx_checksum().offset);
        let sum = pseudo_header_sum(&frame, transport_len);
        frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        frame
    }

    fn push_tcp(&self, frame: &mut Vec<u8>) {
        frame.extend(9000u16.to_be_bytes());
        frame.extend(80u16.to_be_bytes());
        frame.extend(self.seq.to_be_bytes());
        frame.extend(0x0a0b_0c0du32.to_be_bytes());
        frame.extend([0x50, self.flags, 0x20, 0x00, 0, 0, 0, 0]);
    }
}

fn push_ipv4(frame: &mut Vec<u8>, protocol: u8, transport_len: usize) {
    frame.extend([0x08, 0x00]);
    let start = frame.len();
    frame.extend([0x45, 0]);
    frame.extend((20 + transport_len as u16).to_be_bytes());
    frame.extend([0xff, 0xfe, 0x40, 0, 64, protocol, 0, 0]);
    frame.extend([192, 0, 2, 1, 192, 0, 2, 2]);
    let sum = !ones_complement_sum(&[&frame[start..]]);
    frame[start + 10..start + 12].copy_from_slice(&sum.to_be_bytes());
}

fn push_ipv6(frame: &mut Vec<u8>, protocol: u8, transport_len: usize) {
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend((transport_len as u16).to_be_bytes());
    frame.extend([protocol, 64]);
    for host in [1u8, 2] {
        frame.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
    }
}

fn push_udp(frame: &mut Vec<u8>, transport_len: usize) {
    frame.extend(9000u16.to_be_bytes());
    frame.extend(53u16.to_be_bytes());
    frame.extend((transport_len as u16).to_be_bytes());
    frame.extend([0, 0]);
}

/// A frame of `len` bytes of an EtherType for experiments (IEEE 802, 0x88b5), which nobody answers.
///
/// # Panics
/// If `len` is less than an Ethernet header.
pub fn raw(src_mac: [u8; 6], dst_mac: [u8; 6], len: usize) -> Vec<u8> {
    let mut frame = [&dst_mac[..], &src_mac[..], &[0x88, 0xb5]].concat();
    frame.extend(pattern(len.checked_sub(14).expect("an Ethernet header fits")));
    frame
}

/// Bytes in which a lost, doubled or moved piece shows.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

/// The sum of RFC 1071, not complemented, over pieces that all but the last have even lengths.
fn ones_complement_sum(pieces: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for piece in pieces {
        for pair in piece.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        }
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn is_ipv6(frame: &[u8]) -> bool {
    frame[12..14] == [0x86, 0xdd]
}

fn transport_of(frame: &[u8]) -> usize {
    if is_ipv6(frame) { 54 } else { 34 }
}

fn protocol_of(frame: &[u8]) -> u8 {
    frame[if is_ipv6(frame) { 20 } else { 23 }]
}

/// The sum of the pseudo-header of a frame of this module (RFC 9293 §3.1, RFC 8200 §8.1).
pub fn pseudo_header_sum(frame: &[u8], transport_len: usize) -> u16 {
    let addresses = if is_ipv6(frame) { &frame[22..54] } else { &frame[26..34] };
    let len = (transport_len as u32).to_be_bytes();
    ones_complement_sum(&[addresses, &len, &[0, protocol_of(frame)]])
}

/// What the checksum field of a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumState {
    /// The right checksum.
    Complete,
    /// The sum of the pseudo-header: the receiver need not care, and whoever forwards it completes it.
    Partial,
    /// Neither.
    Wrong,
}

/// Looks at the transport checksum of a frame of this module.
pub fn checksum_state(frame: &[u8]) -> ChecksumState {
    let transport = transport_of(frame);
    let pseudo = pseudo_header_sum(frame, frame.len() - transport);
    let field = transport + if protocol_of(frame) == 6 { 16 } else { 6 };
    if ones_complement_sum(&[&pseudo.to_be_bytes(), &frame[transport..]]) == 0xffff {
        ChecksumState::Complete
    } else if frame[field..field + 2] == pseudo.to_be_bytes() {
        ChecksumState::Partial
    } else {
        ChecksumState::Wrong
    }
}

/// Completes the partial TCP checksum of a frame of this module.
pub fn complete_tcp(frame: &mut [u8]) {
    let transport = transport_of(frame);
    let sum = !ones_complement_sum(&[&frame[transport..]]);
    frame[transport + 16..transport + 18].copy_from_slice(&sum.to_be_bytes());
}

/// Checks the transport checksum, and the IPv4 header's, of a frame of this module.
///
/// # Panics
/// If one is not right.
pub fn assert_checksums(frame: &[u8]) {
    assert_eq!(checksum_state(frame), ChecksumState::Complete, "{} bytes: {frame:02x?}", frame.len());
    assert_ip_header(frame);
}

/// Checks the lengths and, of IPv4, the checksum of the IP header.
///
/// # Panics
/// If they do not fit the frame.
pub fn assert_ip_header(frame: &[u8]) {
    if is_ipv6(frame) {
        assert_eq!(usize::from(u16::from_be_bytes([frame[18], frame[19]])), frame.len() - 54);
    } else {
        assert_eq!(usize::from(u16::from_be_bytes([frame[16], frame[17]])), frame.len() - 14);
        assert_eq!(ones_complement_sum(&[&frame[14..34]]), 0xffff, "IPv4 header checksum");
    }
}

/// Checks that `pieces` are what a NIC makes of the super-segment `whole`.
///
/// # Panics
/// If they are not.
pub fn assert_pieces(whole: &Packet, segment_len: usize, pieces: &[Vec<u8>]) {
    let header_len = whole.header_len();
    let mut payload: Vec<u8> = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        let last = index + 1 == pieces.len();
        assert_checksums(piece);
        assert_eq!(piece[..12], whole.build()[..12], "link-layer addresses");
        let tcp = transport_of(piece);
        let seq = u32::from_be_bytes(piece[tcp + 4..tcp + 8].try_into().expect("four bytes"));
        assert_eq!(seq, whole.seq.wrapping_add(payload.len() as u32), "sequence number of piece {index}");
        assert_eq!(piece[tcp + 13], expected_flags(whole.flags, index == 0, last), "flags of piece {index}");
        if whole.ip == Ip::V4 {
            let id = u16::from_be_bytes([piece[18], piece[19]]);
            assert_eq!(id, 0xfffe_u16.wrapping_add(index as u16), "identification of piece {index}");
        }
        payload.extend(&piece[header_len..]);
        assert!(last || piece.len() == header_len + segment_len, "length of piece {index}");
        assert!(piece.len() <= header_len + segment_len, "length of the last piece");
    }
    assert_eq!(payload, whole.payload);
}

/// FIN and PSH only on the last, CWR only on the first (RFC 3168 §6.1.2).
fn expected_flags(flags: u8, first: bool, last: bool) -> u8 {
    let mut expected = flags;
    if !first {
        expected &= !0x80;
    }
    if !last {
        expected &= !0x09;
    }
    expected
}

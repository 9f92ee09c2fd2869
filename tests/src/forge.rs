//! Frames as an attacker builds them, byte by byte: any field may lie.

use std::net::IpAddr;

/// Protocol numbers of IP.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// The fragment header of IPv6.
    pub const FRAGMENT: u8 = 44;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
}

/// Control bits of TCP.
pub mod flags {
    /// The sender has said all.
    pub const FIN: u8 = 1;
    /// The beginning of a connection.
    pub const SYN: u8 = 2;
    /// The end of a connection.
    pub const RST: u8 = 4;
    /// There is an acknowledgement.
    pub const ACK: u8 = 16;
}

/// Length of an Ethernet header.
pub const ETHERNET_LEN: usize = 14;

/// Random numbers that are the same each time: a xorshift.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The row of numbers that belongs to a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// The upper half of the next number.
    pub fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    /// True so often of 10,000 times.
    pub fn chance(&mut self, per_myriad: u64) -> bool {
        self.next_u64() >> 32 < per_myriad * (1 << 32) / 10_000
    }
}

/// The bytes of an address.
pub fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The sum of RFC 1071 over some pieces, each but the last of even length; what is to be stored.
pub fn checksum(pieces: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for piece in pieces {
        for pair in piece.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// An Ethernet frame.
pub fn ethernet(dst: [u8; 6], src: [u8; 6], ethertype: u16, body: &[u8]) -> Vec<u8> {
    [&dst[..], &src, &ethertype.to_be_bytes(), body].concat()
}

/// An IP packet. Its hop limit is 255: neighbour discovery needs that, and nobody else minds.
pub fn ip(src: IpAddr, dst: IpAddr, protocol: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = if src.is_ipv4() {
        let mut header = vec![0x45, 0];
        header.extend((20 + body.len() as u16).to_be_bytes());
        header.extend([0, 0, 0, 0, 255, protocol, 0, 0]);
        header
    } else {
        let mut header = vec![0x60, 0, 0, 0];
        header.extend((body.len() as u16).to_be_bytes());
        header.extend([protocol, 255]);
        header
    };
    packet.extend(octets(src));
    packet.extend(octets(dst));
    if src.is_ipv4() {
        fill_header_checksum(&mut packet);
    }
    packet.extend(body);
    packet
}

/// Makes the checksum of an IPv4 header without options right.
pub fn fill_header_checksum(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let sum = checksum(&[&packet[..20]]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// Makes the checksum at `at` of a transport header right.
pub fn fill_checksum(src: IpAddr, dst: IpAddr, protocol: u8, body: &mut [u8], at: usize) {
    body[at..at + 2].fill(0);
    let pseudo = [octets(src), octets(dst), vec![0, 0], (body.len() as u16).to_be_bytes().to_vec()].concat();
    let pseudo = [&pseudo[..], &[0, protocol]].concat();
    let sum = if protocol == protocol::ICMP { checksum(&[body]) } else { checksum(&[&pseudo, body]) };
    body[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// A TCP segment.
#[derive(Clone, Debug)]
pub struct Segment<'a> {
    /// The sender's port.
    pub src_port: u16,
    /// The receiver's port.
    pub dst_port: u16,
    /// SEG.SEQ
    pub seq: u32,
    /// SEG.ACK
    pub ack: u32,
    /// Control bits.
    pub flags: u8,
    /// Its data.
    pub payload: &'a [u8],
}

impl Segment<'_> {
    /// Its bytes, with the right checksum.
    pub fn bytes(&self, src: IpAddr, dst: IpAddr) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.src_port.to_be_bytes());
        bytes.extend(self.dst_port.to_be_bytes());
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.ack.to_be_bytes());
        bytes.extend([5 << 4, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        bytes.extend(self.payload);
        fill_checksum(src, dst, protocol::TCP, &mut bytes, 16);
        bytes
    }

    /// It in a packet.
    pub fn packet(&self, src: IpAddr, dst: IpAddr) -> Vec<u8> {
        ip(src, dst, protocol::TCP, &self.bytes(src, dst))
    }
}

/// A UDP datagram, with the right checksum.
pub fn udp(src: IpAddr, dst: IpAddr, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(ports.0.to_be_bytes());
    bytes.extend(ports.1.to_be_bytes());
    bytes.extend((8 + payload.len() as u16).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    fill_checksum(src, dst, protocol::UDP, &mut bytes, 6);
    bytes
}

/// An ICMP or ICMPv6 message, with the right checksum.
pub fn icmp(src: IpAddr, dst: IpAddr, kind: u8, code: u8, body: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, code, 0, 0], body].concat();
    let protocol = if src.is_ipv4() { protocol::ICMP } else { protocol::ICMPV6 };
    fill_checksum(src, dst, protocol, &mut message, 2);
    ip(src, dst, protocol, &message)
}

/// A piece of the payload of a packet, in a packet of its own.
pub fn fragment(src: IpAddr, dst: IpAddr, ident: u32, start: usize, more: bool, bytes: &[u8]) -> Vec<u8> {
    let place = (start as u16) & !7;
    if src.is_ipv4() {
        let mut packet = ip(src, dst, protocol::UDP, bytes);
        packet[4..6].copy_from_slice(&(ident as u16).to_be_bytes());
        packet[6..8].copy_from_slice(&(place >> 3 | u16::from(more) << 13).to_be_bytes());
        fill_header_checksum(&mut packet);
        return packet;
    }
    let mut body = vec![protocol::UDP, 0];
    body.extend((place | u16::from(more)).to_be_bytes());
    body.extend(ident.to_be_bytes());
    body.extend(bytes);
    ip(src, dst, protocol::FRAGMENT, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_over_itself_is_zero() {
        let (src, dst) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let packet = ip(src, dst, protocol::UDP, &udp(src, dst, (1, 2), b"odd"));
        assert_eq!(checksum(&[&packet[..20]]), 0);
        let pseudo = [&packet[12..20], &[0, 17, 0, 11]].concat();
        assert_eq!(checksum(&[&pseudo, &packet[20..]]), 0);
    }

    #[test]
    fn chances_are_what_they_say() {
        let mut random = Random::new(1);
        let count = (0..100_000).filter(|_| random.chance(100)).count();
        assert!((900..1100).contains(&count), "{count}");
    }
}

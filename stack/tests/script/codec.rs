//! Encoder and parser of frames, sharing no code with the stack: two that agree by accident are rarer than one
//! that agrees with itself.
//!
//! The encoder writes whatever it is told, nonsense included. The parser reads only what is well formed and
//! panics at anything else: every frame that the stack sends passes it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(crate) type Mac = [u8; 6];

pub(crate) const BROADCAST: Mac = [0xff; 6];

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const URG: u8 = 0x20;
pub(crate) const ECE: u8 = 0x40;
pub(crate) const CWR: u8 = 0x80;

/// The ECN field of an IP header (RFC 3168 §5).
pub(crate) const ECT_0: u8 = 0b10;
pub(crate) const CE: u8 = 0b11;

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const FRAGMENT: u8 = 44;
pub(crate) const ICMPV6: u8 = 58;

/// A hop-by-hop header in front of ICMPv6: router alert, and two bytes of padding.
pub(crate) const ROUTER_ALERT: [u8; 8] = [ICMPV6, 0, 5, 2, 0, 0, 1, 0];

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// The Internet checksum (RFC 1071) of some pieces, each of which starts at an even place.
pub(crate) fn checksum(pieces: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for piece in pieces {
        for pair in piece.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !sum as u16
}

/// The pseudo-header that TCP, UDP and ICMPv6 sum as well.
fn pseudo_header(src: IpAddr, dst: IpAddr, protocol: u8, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            bytes.extend(src.octets());
            bytes.extend(dst.octets());
            bytes.extend([0, protocol]);
            bytes.extend((len as u16).to_be_bytes());
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            bytes.extend(src.octets());
            bytes.extend(dst.octets());
            bytes.extend((len as u32).to_be_bytes());
            bytes.extend([0, 0, 0, protocol]);
        }
        _ => panic!("{src} to {dst}: two IP versions"),
    }
    bytes
}

/// The transport checksum; 0 over a message whose own checksum is right.
pub(crate) fn transport_checksum(src: IpAddr, dst: IpAddr, protocol: u8, message: &[u8]) -> u16 {
    checksum(&[&pseudo_header(src, dst, protocol, message.len()), message])
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn mac(bytes: &[u8]) -> Mac {
    bytes[..6].try_into().unwrap()
}

/// An Ethernet frame around an IP packet or anything else.
pub(crate) fn ethernet(dst: Mac, src: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&dst[..], &src, &ethertype.to_be_bytes(), payload].concat()
}

/// An Ethernet frame around an IP packet of either version.
pub(crate) fn frame(dst: Mac, src: Mac, packet: &[u8]) -> Vec<u8> {
    let ethertype = if packet[0] >> 4 == 4 { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 };
    ethernet(dst, src, ethertype, packet)
}

/// The same frame with a tag of 802.1Q.
pub(crate) fn tagged(frame: &[u8], tag: u16) -> Vec<u8> {
    [&frame[..12], &[0x81, 0x00], &tag.to_be_bytes(), &frame[12..]].concat()
}

/// A frame without its tag, which must be just this.
pub(crate) fn untagged(frame: &[u8], tag: u16) -> Vec<u8> {
    assert_eq!((be16(frame, 12), be16(frame, 14)), (0x8100, tag), "N8: the tag of the VLAN");
    [&frame[..12], &frame[16..]].concat()
}

/// An IP header that is about to be written. The fields below `tos` are IPv4's.
#[derive(Debug, Clone)]
pub(crate) struct IpOut {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) ttl: u8,
    /// Type of service, or traffic class.
    pub(crate) tos: u8,
    pub(crate) ident: u16,
    /// Offset in bytes, and whether more fragments follow.
    pub(crate) fragment: (u16, bool),
    pub(crate) options: Vec<u8>,
}

impl IpOut {
    pub(crate) fn new(src: IpAddr, dst: IpAddr, protocol: u8) -> IpOut {
        IpOut { src, dst, protocol, ttl: 64, tos: 0, ident: 0, fragment: (0, false), options: Vec::new() }
    }

    /// The packet: header and payload.
    pub(crate) fn packet(&self, payload: &[u8]) -> Vec<u8> {
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => self.packet_v4(src, dst, payload),
            (IpAddr::V6(src), IpAddr::V6(dst)) => self.packet_v6(src, dst, payload),
            _ => panic!("two IP versions"),
        }
    }

    fn packet_v4(&self, src: Ipv4Addr, dst: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
        let header_len = 20 + self.options.len();
        let mut packet = vec![0; 20];
        packet[0] = 0x40 | (header_len / 4) as u8;
        packet[1] = self.tos;
        put(&mut packet, 2, (header_len + payload.len()) as u16);
        put(&mut packet, 4, self.ident);
        put(&mut packet, 6, (self.fragment.0 / 8) | (u16::from(self.fragment.1) << 13));
        packet[8] = self.ttl;
        packet[9] = self.protocol;
        packet[12..16].copy_from_slice(&src.octets());
        packet[16..20].copy_from_slice(&dst.octets());
        packet.extend(&self.options);
        let sum = checksum(&[&packet]);
        put(&mut packet, 10, sum);
        packet.extend(payload);
        packet
    }

    fn packet_v6(&self, src: Ipv6Addr, dst: Ipv6Addr, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60 | self.tos >> 4, self.tos << 4, 0, 0, 0, 0, self.protocol, self.ttl];
        put(&mut packet, 4, payload.len() as u16);
        packet.extend(src.octets());
        packet.extend(dst.octets());
        packet.extend(payload);
        packet
    }
}

/// A TCP segment, sequence numbers as on the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tcp {
    pub(crate) src_port: u16,
    pub(crate) dst_port: u16,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    /// As they stand in the header, padded.
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Tcp {
    pub(crate) fn encode(&self, src: IpAddr, dst: IpAddr) -> Vec<u8> {
        let mut bytes = vec![0; 20];
        put(&mut bytes, 0, self.src_port);
        put(&mut bytes, 2, self.dst_port);
        bytes[4..8].copy_from_slice(&self.seq.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.ack.to_be_bytes());
        bytes[12] = (((20 + self.options.len()) / 4) << 4) as u8;
        bytes[13] = self.flags;
        put(&mut bytes, 14, self.window);
        put(&mut bytes, 18, self.urgent);
        bytes.extend(&self.options);
        bytes.extend(&self.payload);
        let sum = transport_checksum(src, dst, TCP, &bytes);
        put(&mut bytes, 16, sum);
        bytes
    }

    fn parse(src: IpAddr, dst: IpAddr, bytes: &[u8]) -> Tcp {
        assert!(bytes.len() >= 20, "TCP header cut off");
        assert_eq!(transport_checksum(src, dst, TCP, bytes), 0, "MUST-2: TCP checksum");
        let header_len = usize::from(bytes[12] >> 4) * 4;
        assert!(header_len >= 20 && header_len <= bytes.len(), "MUST-69: data offset {header_len}");
        assert_eq!(bytes[12] & 0x0f, 0, "reserved bits");
        assert!(bytes[13] & URG == 0 && be16(bytes, 18) == 0, "we send no urgent data");
        Tcp {
            src_port: be16(bytes, 0),
            dst_port: be16(bytes, 2),
            seq: be32(bytes, 4),
            ack: be32(bytes, 8),
            flags: bytes[13],
            window: be16(bytes, 14),
            urgent: 0,
            options: bytes[20..header_len].to_vec(),
            payload: bytes[header_len..].to_vec(),
        }
    }
}

/// TCP options, as sent by anybody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) mss: Option<u16>,
    pub(crate) window_scale: Option<u8>,
    pub(crate) sack_permitted: bool,
    pub(crate) timestamps: Option<(u32, u32)>,
    pub(crate) sack: Vec<(u32, u32)>,
    pub(crate) fast_open: Option<Vec<u8>>,
}

impl Options {
    /// The options, padded by NOPs.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(mss) = self.mss {
            bytes.extend([2, 4]);
            bytes.extend(mss.to_be_bytes());
        }
        if let Some(shift) = self.window_scale {
            bytes.extend([3, 3, shift]);
        }
        if self.sack_permitted {
            bytes.extend([4, 2]);
        }
        if let Some((val, ecr)) = self.timestamps {
            bytes.extend([8, 10]);
            bytes.extend(val.to_be_bytes());
            bytes.extend(ecr.to_be_bytes());
        }
        if let Some(cookie) = &self.fast_open {
            bytes.extend([34, 2 + cookie.len() as u8]);
            bytes.extend(cookie);
        }
        if !self.sack.is_empty() {
            bytes.extend([5, 2 + 8 * self.sack.len() as u8]);
            for (left, right) in &self.sack {
                bytes.extend(left.to_be_bytes());
                bytes.extend(right.to_be_bytes());
            }
        }
        bytes.resize(bytes.len().next_multiple_of(4), 1);
        bytes
    }

    /// Reads options of the stack: whole, known, none twice, padded by NOP or zero (MUST-68, MUST-69).
    pub(crate) fn parse(mut bytes: &[u8]) -> Options {
        let mut options = Options::default();
        let mut seen = [false; 256];
        while let [kind, rest @ ..] = bytes {
            if *kind == 0 {
                assert!(rest.iter().all(|byte| *byte == 0), "MUST-69: padding");
                break;
            }
            if *kind == 1 {
                bytes = rest;
                continue;
            }
            assert!(!std::mem::replace(&mut seen[usize::from(*kind)], true), "option {kind} twice");
            let len = usize::from(rest[0]);
            assert!(len >= 2 && len <= bytes.len(), "option {kind} of length {len}");
            options.take(*kind, &bytes[2..len]);
            bytes = &bytes[len..];
        }
        options
    }

    fn take(&mut self, kind: u8, body: &[u8]) {
        match (kind, body.len()) {
            (2, 2) => self.mss = Some(be16(body, 0)),
            (3, 1) => self.window_scale = Some(body[0]),
            (4, 0) => self.sack_permitted = true,
            (5, 8 | 16 | 24 | 32) => {
                self.sack = body.chunks(8).map(|block| (be32(block, 0), be32(block, 4))).collect();
            }
            (34, 0 | 4 | 6 | 8 | 10 | 12 | 14 | 16) => self.fast_open = Some(body.to_vec()),
            (8, 8) => self.timestamps = Some((be32(body, 0), be32(body, 4))),
            (kind, len) => panic!("option {kind} with {len} bytes"),
        }
    }
}

/// A UDP datagram with a right checksum.
pub(crate) fn udp(src: (IpAddr, u16), dst: (IpAddr, u16), payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 8];
    put(&mut bytes, 0, src.1);
    put(&mut bytes, 2, dst.1);
    put(&mut bytes, 4, 8 + payload.len() as u16);
    bytes.extend(payload);
    let sum = transport_checksum(src.0, dst.0, UDP, &bytes);
    put(&mut bytes, 6, if sum == 0 { 0xffff } else { sum });
    bytes
}

/// An ICMP or ICMPv6 message: type, code, the four bytes behind the checksum, and the rest.
pub(crate) fn icmp(src: IpAddr, dst: IpAddr, kind: u8, code: u8, word: u32, rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, code, 0, 0];
    bytes.extend(word.to_be_bytes());
    bytes.extend(rest);
    let sum = match src {
        IpAddr::V4(_) => checksum(&[&bytes]),
        IpAddr::V6(_) => transport_checksum(src, dst, ICMPV6, &bytes),
    };
    put(&mut bytes, 2, sum);
    bytes
}

/// An ARP packet for IPv4 on Ethernet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arp {
    /// 1 asks, 2 answers.
    pub(crate) operation: u16,
    pub(crate) sender: (Mac, Ipv4Addr),
    pub(crate) target: (Mac, Ipv4Addr),
}

impl Arp {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0, 1, 8, 0, 6, 4];
        bytes.extend(self.operation.to_be_bytes());
        for (mac, ip) in [self.sender, self.target] {
            bytes.extend(mac);
            bytes.extend(ip.octets());
        }
        bytes
    }

    pub(crate) fn frame(&self, dst: Mac) -> Vec<u8> {
        ethernet(dst, self.sender.0, ETHERTYPE_ARP, &self.encode())
    }

    fn parse(bytes: &[u8]) -> Arp {
        assert!(bytes.len() == 28 && bytes[..6] == [0, 1, 8, 0, 6, 4], "not ARP for IPv4 on Ethernet");
        let station = |at: usize| {
            let ip: [u8; 4] = bytes[at + 6..at + 10].try_into().unwrap();
            (mac(&bytes[at..]), Ipv4Addr::from(ip))
        };
        Arp { operation: be16(bytes, 6), sender: station(8), target: station(18) }
    }
}

/// A frame of the stack.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) dst_mac: Mac,
    pub(crate) src_mac: Mac,
    pub(crate) body: Body,
}

#[derive(Debug, Clone)]
pub(crate) enum Body {
    Arp(Arp),
    Ip(Ip),
}

/// An IP packet of the stack.
#[derive(Debug, Clone)]
pub(crate) struct Ip {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) ttl: u8,
    pub(crate) ident: u32,
    pub(crate) dont_fragment: bool,
    /// Type of service, or traffic class.
    pub(crate) tos: u8,
    pub(crate) payload: Payload,
}

#[derive(Debug, Clone)]
pub(crate) enum Payload {
    Tcp(Tcp),
    Udp { src_port: u16, dst_port: u16, payload: Vec<u8> },
    Icmp { kind: u8, code: u8, word: u32, rest: Vec<u8> },
    Fragment { protocol: u8, offset: u16, more: bool, bytes: Vec<u8> },
}

impl Heard {
    pub(crate) fn parse(frame: &[u8]) -> Heard {
        assert!(frame.len() >= 14, "no Ethernet header");
        let payload = &frame[14..];
        let body = match be16(frame, 12) {
            ETHERTYPE_ARP => Body::Arp(Arp::parse(payload)),
            ETHERTYPE_IPV4 => Body::Ip(Ip::parse_v4(payload)),
            ETHERTYPE_IPV6 => Body::Ip(Ip::parse_v6(payload)),
            other => panic!("EtherType {other:#06x}"),
        };
        Heard { dst_mac: mac(frame), src_mac: mac(&frame[6..]), body }
    }
}

impl Ip {
    fn parse_v4(packet: &[u8]) -> Ip {
        assert_eq!(packet[0], 0x45, "IPv4 without options");
        assert_eq!(usize::from(be16(packet, 2)), packet.len(), "IPv4 total length");
        assert_eq!(checksum(&[&packet[..20]]), 0, "IPv4 header checksum");
        assert_eq!(packet[6] & 0x80, 0, "IPv4 reserved flag");
        let address = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).unwrap());
        let (src, dst, protocol) = (address(12), address(16), packet[9]);
        let (offset, more) = (be16(packet, 6) << 3, packet[6] & 0x20 != 0);
        let bytes = &packet[20..];
        let payload = if more || offset > 0 {
            Payload::Fragment { protocol, offset, more, bytes: bytes.to_vec() }
        } else {
            Payload::parse(src, dst, protocol, bytes)
        };
        let (ident, dont_fragment) = (u32::from(be16(packet, 4)), packet[6] & 0x40 != 0);
        Ip { src, dst, ttl: packet[8], ident, dont_fragment, tos: packet[1], payload }
    }

    fn parse_v6(packet: &[u8]) -> Ip {
        assert_eq!(packet[0] >> 4, 6, "IPv6 version");
        assert_eq!(usize::from(be16(packet, 4)) + 40, packet.len(), "IPv6 payload length");
        let address = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).unwrap());
        let (src, dst, bytes) = (address(8), address(24), &packet[40..]);
        let (ident, payload) = if packet[6] == FRAGMENT {
            let (offset, more) = (be16(bytes, 2) & !7, bytes[3] & 1 != 0);
            assert_eq!(bytes[3] & 6, 0, "reserved bits of the fragment header");
            (
                be32(bytes, 4),
                Payload::Fragment { protocol: bytes[0], offset, more, bytes: bytes[8..].to_vec() },
            )
        } else if packet[6] == 0 {
            assert_eq!(bytes[..8], ROUTER_ALERT, "the only hop-by-hop options of a host");
            assert!(matches!(bytes[8], 131 | 132 | 143), "RFC 2711: on multicast listener discovery");
            (0, Payload::parse(src, dst, ICMPV6, &bytes[8..]))
        } else {
            (0, Payload::parse(src, dst, packet[6], bytes))
        };
        let tos = (be16(packet, 0) >> 4) as u8;
        Ip { src, dst, ttl: packet[7], ident, dont_fragment: true, tos, payload }
    }
}

impl Payload {
    pub(crate) fn parse(src: IpAddr, dst: IpAddr, protocol: u8, bytes: &[u8]) -> Payload {
        match (protocol, src.is_ipv4()) {
            (TCP, _) => Payload::Tcp(Tcp::parse(src, dst, bytes)),
            (UDP, _) => {
                assert_eq!(usize::from(be16(bytes, 4)), bytes.len(), "UDP length");
                assert_ne!(be16(bytes, 6), 0, "K1: a computed checksum is never sent as zero");
                assert_eq!(transport_checksum(src, dst, UDP, bytes), 0, "UDP checksum");
                let (src_port, dst_port) = (be16(bytes, 0), be16(bytes, 2));
                Payload::Udp { src_port, dst_port, payload: bytes[8..].to_vec() }
            }
            (ICMP, true) => {
                assert_eq!(checksum(&[bytes]), 0, "ICMP checksum");
                Payload::icmp(bytes)
            }
            (ICMPV6, false) => {
                assert_eq!(transport_checksum(src, dst, ICMPV6, bytes), 0, "ICMPv6 checksum");
                Payload::icmp(bytes)
            }
            _ => panic!("protocol {protocol} from {src}"),
        }
    }

    fn icmp(bytes: &[u8]) -> Payload {
        Payload::Icmp { kind: bytes[0], code: bytes[1], word: be32(bytes, 4), rest: bytes[8..].to_vec() }
    }
}

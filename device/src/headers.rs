//! Where the headers of a frame are: as much of a parser as an offload engine has in hardware.
//!
//! A stack parses packets properly; this is for backends, which must find the transport header of a frame to
//! verify, fill in or cut, and must cope with anything.

use crate::checksum::{Sum, pseudo_header};

/// Length of an Ethernet header without a VLAN tag, in bytes.
pub const ETHERNET_LEN: usize = 14;
/// IP protocol number of TCP.
pub const TCP: u8 = 6;
/// IP protocol number of UDP.
pub const UDP: u8 = 17;
/// IP protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;
/// Offset of the checksum in a TCP header.
pub const TCP_CHECKSUM_OFFSET: u16 = 16;
/// Offset of the checksum in a UDP header.
pub const UDP_CHECKSUM_OFFSET: u16 = 6;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPES_VLAN: [u16; 2] = [0x8100, 0x88a8];
const VLAN_TAGS_MAX: usize = 2;
const IPV6_LEN: usize = 40;
const HOP_BY_HOP: u8 = 0;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;
/// A packet with more extension headers than this is left to software.
const EXTENSIONS_MAX: usize = 8;

/// Offsets of an IP packet's headers in its frame, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers {
    /// Offset of the IP header.
    pub network: usize,
    /// Offset of what follows the IP header and its skippable extensions.
    pub transport: usize,
    /// Whether IP is version 6.
    pub ipv6: bool,
    /// The protocol at `transport`.
    pub protocol: u8,
    /// Length of the transport header and its payload, as the IP header tells it.
    pub transport_len: usize,
    /// Whether the packet is a fragment: its checksum covers more than is here.
    pub fragment: bool,
}

impl Headers {
    /// Finds the headers in the linear part of a frame. `None` if it is no IP packet, or its IP header is
    /// ill-formed or not all there.
    pub fn parse(linear: &[u8]) -> Option<Headers> {
        let mut network = ETHERNET_LEN;
        while ETHERTYPES_VLAN.contains(&u16_at(linear, network - 2)?) {
            network += 4;
            if network > ETHERNET_LEN + 4 * VLAN_TAGS_MAX {
                return None;
            }
        }
        match u16_at(linear, network - 2)? {
            ETHERTYPE_IPV4 => Self::parse_ipv4(linear, network),
            ETHERTYPE_IPV6 => Self::parse_ipv6(linear, network),
            _ => None,
        }
    }

    /// Finds the headers of an IP packet that starts at `network`, as one that an ICMP error quotes does.
    pub fn parse_packet(linear: &[u8], network: usize) -> Option<Headers> {
        match linear.get(network)? >> 4 {
            4 => Self::parse_ipv4(linear, network),
            _ => Self::parse_ipv6(linear, network),
        }
    }

    fn parse_ipv4(linear: &[u8], network: usize) -> Option<Headers> {
        let header = linear.get(network..network + 20)?;
        let header_len = usize::from(header[0] & 0xf) * 4;
        if header[0] >> 4 != 4 || header_len < 20 || linear.len() < network + header_len {
            return None;
        }
        // More fragments, or an offset (RFC 791 §3.1).
        let fragment = u16_at(header, 6)? & 0x3fff != 0;
        Some(Headers {
            network,
            transport: network + header_len,
            ipv6: false,
            protocol: header[9],
            transport_len: usize::from(u16_at(header, 2)?).saturating_sub(header_len),
            fragment,
        })
    }

    fn parse_ipv6(linear: &[u8], network: usize) -> Option<Headers> {
        let header = linear.get(network..network + IPV6_LEN)?;
        if header[0] >> 4 != 6 {
            return None;
        }
        let end = network + IPV6_LEN + usize::from(u16_at(header, 4)?);
        let (mut protocol, mut transport) = (header[6], network + IPV6_LEN);
        for _ in 0..EXTENSIONS_MAX {
            // A routing header changes the pseudo-header's destination (RFC 8200 §8.1): left to software,
            // like everything else that is not stepped over here.
            if !matches!(protocol, HOP_BY_HOP | DESTINATION_OPTIONS) {
                break;
            }
            protocol = *linear.get(transport)?;
            transport += (usize::from(*linear.get(transport + 1)?) + 1) * 8;
        }
        Some(Headers {
            network,
            transport,
            ipv6: true,
            protocol,
            transport_len: end.saturating_sub(transport),
            fragment: protocol == FRAGMENT,
        })
    }

    /// Where all headers end, the transport's included. `None` if that is beyond the linear part.
    pub fn end(&self, linear: &[u8]) -> Option<usize> {
        let len = match self.protocol {
            _ if self.fragment => 8,
            TCP => usize::from(*linear.get(self.transport + 12)? >> 4) * 4,
            UDP | ICMPV6 => 8,
            _ => 0,
        };
        let end = self.transport + len;
        (end <= linear.len()).then_some(end)
    }

    /// The sum of the pseudo-header for `transport_len` bytes of transport header and payload.
    pub fn pseudo_header(&self, linear: &[u8], transport_len: usize) -> Sum {
        let (at, len) = if self.ipv6 { (self.network + 8, 16) } else { (self.network + 12, 4) };
        let (src, dst) = (&linear[at..at + len], &linear[at + len..at + 2 * len]);
        pseudo_header(src, dst, self.protocol, transport_len as u32)
    }
}

/// Whether the first fragment of a frame holds its Ethernet, IP and transport headers, as
/// [`Device::receive`](crate::Device::receive) promises.
pub fn is_linear_enough(linear: &[u8]) -> bool {
    Headers::parse(linear).is_some_and(|headers| headers.end(linear).is_some())
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::packet::{Ip, Packet};

    #[test]
    fn finds_tcp_and_udp_behind_both_versions() {
        for (ip, transport) in [(Ip::V4, 34), (Ip::V6, 54)] {
            let tcp = Packet::tcp(ip, 10).build();
            let headers = Headers::parse(&tcp).unwrap();
            assert_eq!((headers.network, headers.transport, headers.protocol), (14, transport, TCP));
            assert_eq!((headers.transport_len, headers.fragment), (30, false));
            assert_eq!(headers.end(&tcp), Some(transport + 20));
            assert!(is_linear_enough(&tcp[..transport + 20]) && !is_linear_enough(&tcp[..transport + 19]));
            let udp = Packet::udp(ip, 10).build();
            assert_eq!(Headers::parse(&udp).unwrap().end(&udp), Some(transport + 8));
        }
    }

    #[test]
    fn steps_over_vlan_tags_and_extension_headers() {
        let mut frame = Packet::udp(Ip::V6, 10).build();
        let next = core::mem::replace(&mut frame[20], DESTINATION_OPTIONS);
        frame.splice(54..54, [next, 0, 1, 4, 0, 0, 0, 0]);
        frame[19] += 8;
        frame.splice(12..12, [0x81, 0x00, 0x00, 0x07]);
        let headers = Headers::parse(&frame).unwrap();
        assert_eq!((headers.network, headers.transport, headers.protocol), (18, 66, UDP));
        assert_eq!(headers.transport_len, 18);
    }

    #[test]
    fn tells_fragments() {
        let mut frame = Packet::udp(Ip::V4, 10).build();
        for (bits, fragment) in [(0x4000u16, false), (0x2000, true), (0x0001, true)] {
            frame[20..22].copy_from_slice(&bits.to_be_bytes());
            assert_eq!(Headers::parse(&frame).unwrap().fragment, fragment, "{bits:#x}");
        }
        let mut frame = Packet::udp(Ip::V6, 10).build();
        frame[20] = FRAGMENT;
        assert!(Headers::parse(&frame).unwrap().fragment);
    }

    #[test]
    fn whatever_is_cut_off_or_flipped_is_survived() {
        for ip in [Ip::V4, Ip::V6] {
            let frame = Packet::tcp(ip, 3).build();
            for len in 0..frame.len() {
                is_linear_enough(&frame[..len]);
            }
            for at in 0..frame.len() {
                for value in [0, 1, 0x3c, 0x2c, 0x7f, 0x80, 0xff] {
                    let mut frame = frame.clone();
                    frame[at] = value;
                    is_linear_enough(&frame);
                }
            }
        }
    }
}

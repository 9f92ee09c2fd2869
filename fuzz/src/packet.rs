//! Frames as an attacker builds them: any field may be wrong, checksums are right.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hayase_device::checksum::{self, Sum};

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMPV6: u8 = 58;

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

pub(crate) const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0a];
pub(crate) const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0b];

pub(crate) const ETHERNET_LEN: usize = 14;
/// What fits a frame on the wire.
pub(crate) const FRAME_LEN_MAX: usize = ETHERNET_LEN + 1500;

/// Host `number` of the link, in one family or the other.
pub(crate) fn address(v6: bool, number: u8) -> IpAddr {
    if v6 {
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()).into()
    } else {
        Ipv4Addr::new(10, 0, 0, number).into()
    }
}

/// The stack under test.
pub(crate) fn ours(v6: bool) -> IpAddr {
    address(v6, 1)
}

/// Its peer.
pub(crate) fn peer(v6: bool) -> IpAddr {
    address(v6, 2)
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// From the peer to the stack.
pub(crate) fn ethernet(ethertype: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = [OUR_MAC, PEER_MAC].concat();
    frame.extend(ethertype.to_be_bytes());
    frame.extend(body);
    frame.truncate(FRAME_LEN_MAX);
    frame
}

/// A frame with an IP packet, complete with the IPv4 header's checksum.
pub(crate) fn ip(src: IpAddr, dst: IpAddr, protocol: u8, hop_limit: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = match src {
        IpAddr::V4(_) => {
            let mut header = vec![0x45, 0];
            header.extend((20 + body.len() as u16).to_be_bytes());
            header.extend([0, 0, 0, 0, hop_limit, protocol, 0, 0]);
            header
        }
        IpAddr::V6(_) => {
            let mut header = vec![0x60, 0, 0, 0];
            header.extend((body.len() as u16).to_be_bytes());
            header.extend([protocol, hop_limit]);
            header
        }
    };
    packet.extend(octets(src));
    packet.extend(octets(dst));
    packet.extend(body);
    let mut frame = ethernet(if src.is_ipv4() { 0x0800 } else { 0x86dd }, &packet);
    repair(&mut frame);
    frame
}

/// A TCP segment, as it is sent or heard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) src_port: u16,
    pub(crate) dst_port: u16,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Segment {
    /// A frame from the peer to the stack.
    pub(crate) fn frame(&self, v6: bool) -> Vec<u8> {
        let mut tcp = Vec::new();
        tcp.extend(self.src_port.to_be_bytes());
        tcp.extend(self.dst_port.to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        let options_len = self.options.len().min(40).next_multiple_of(4);
        // The data offset counts words, in the upper half of its byte.
        tcp.extend([(20 + options_len) as u8 * 4, self.flags]);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0, 0]);
        tcp.extend(self.urgent.to_be_bytes());
        tcp.extend(self.options.iter().take(40));
        tcp.resize(20 + options_len, 0);
        tcp.extend(&self.payload);
        ip(peer(v6), ours(v6), TCP, 64, &tcp)
    }

    /// What is in a frame from the stack, if that is TCP.
    pub(crate) fn parse(frame: &[u8]) -> Option<Segment> {
        let (_, transport, protocol) = parts(frame)?;
        let tcp = frame.get(transport..).filter(|tcp| protocol == TCP && tcp.len() >= 20)?;
        let be16 = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        let be32 = |at: usize| u32::from(be16(at)) << 16 | u32::from(be16(at + 2));
        let header_len = usize::from(tcp[12] >> 4) * 4;
        Some(Segment {
            src_port: be16(0),
            dst_port: be16(2),
            seq: be32(4),
            ack: be32(8),
            flags: tcp[13],
            window: be16(14),
            urgent: be16(18),
            options: tcp.get(20..header_len)?.to_vec(),
            payload: tcp[header_len..].to_vec(),
        })
    }

    /// How much of the sequence it takes.
    pub(crate) fn len(&self) -> u32 {
        let controls = u32::from(self.flags & SYN != 0) + u32::from(self.flags & FIN != 0);
        self.payload.len() as u32 + controls
    }
}

/// Where the addresses and the transport header of an unfragmented packet stand, and its protocol.
fn parts(frame: &[u8]) -> Option<(std::ops::Range<usize>, usize, u8)> {
    let packet = frame.get(ETHERNET_LEN..)?;
    match packet.first()? >> 4 {
        4 if packet.len() >= 20 => {
            let header_len = usize::from(packet[0] & 15) * 4;
            let is_fragment = u16::from_be_bytes([packet[6], packet[7]]) & 0x3fff != 0;
            let fits = header_len >= 20 && header_len <= packet.len() && !is_fragment;
            fits.then(|| (ETHERNET_LEN + 12..ETHERNET_LEN + 20, ETHERNET_LEN + header_len, packet[9]))
        }
        6 if packet.len() >= 40 => Some((ETHERNET_LEN + 8..ETHERNET_LEN + 40, ETHERNET_LEN + 40, packet[6])),
        _ => None,
    }
}

/// Makes the checksums of a packet right, as far as it can be told where they are.
pub(crate) fn repair(frame: &mut [u8]) {
    let Some((addresses, transport, protocol)) = parts(frame) else { return };
    if frame[ETHERNET_LEN] >> 4 == 4 {
        store(&mut frame[ETHERNET_LEN..transport], 10, Sum::default());
    }
    let pseudo = {
        let (src, dst) = frame[addresses.clone()].split_at(addresses.len() / 2);
        checksum::pseudo_header(src, dst, protocol, (frame.len() - transport) as u32)
    };
    let bytes = &mut frame[transport..];
    match protocol {
        TCP => store(bytes, 16, pseudo),
        UDP => store(bytes, 6, pseudo),
        ICMP => store(bytes, 2, Sum::default()),
        ICMPV6 => store(bytes, 2, pseudo),
        _ => {}
    }
}

fn store(bytes: &mut [u8], at: usize, mut sum: Sum) {
    let Some(field) = bytes.get_mut(at..at + 2) else { return };
    field.fill(0);
    sum.add(bytes);
    bytes[at..at + 2].copy_from_slice(&sum.checksum().to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_what_was_built() {
        for v6 in [false, true] {
            let segment = Segment {
                src_port: 1,
                dst_port: 2,
                seq: 3,
                ack: 4,
                flags: SYN,
                window: 5,
                urgent: 6,
                options: vec![1; 8],
                payload: vec![9; 11],
            };
            let frame = segment.frame(v6);
            assert_eq!(Segment::parse(&frame).unwrap(), segment);
            let mut repaired = frame.clone();
            repair(&mut repaired);
            assert_eq!(repaired, frame);
        }
    }
}

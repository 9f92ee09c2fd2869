//! Packets that nobody sent: what attackers and routers put on a cable.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hayase::device::checksum::{checksum, pseudo_header};
use hayase::device::headers::{ICMPV6, TCP};

const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];

/// Congestion experienced.
const CE: u16 = 0b11;

const ICMP: u8 = 1;
const TTL: u8 = 64;

/// Bytes of the packet that an ICMP error quotes.
const QUOTE_MAX: usize = 548;

/// Less than this no error quotes: the headers.
const QUOTE_MIN: usize = 28;

/// A TCP segment to be forged, for [`Sim::inject`](crate::Sim::inject).
///
/// ```
/// use hayase_sim::TcpForge;
///
/// let (from, to) = ("10.7.0.9:1000".parse().unwrap(), "10.7.0.2:80".parse().unwrap());
/// let syn = TcpForge { flags: TcpForge::SYN, ..TcpForge::new(from, to) };
/// assert_eq!(syn.frame([2, 0, 0, 0, 0, 9], [2, 0, 0, 0, 0, 2], &[]).len(), 14 + 20 + 20);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpForge {
    /// Where it says it is from.
    pub src: SocketAddr,
    /// Where it goes. Of the same family as `src`.
    pub dst: SocketAddr,
    /// SEG.SEQ
    pub seq: u32,
    /// SEG.ACK
    pub ack: u32,
    /// The control bits.
    pub flags: u8,
    /// SEG.WND as it stands in the header.
    pub window: u16,
}

impl TcpForge {
    /// The control bit of that name.
    pub const FIN: u8 = 0x01;
    /// The control bit of that name.
    pub const SYN: u8 = 0x02;
    /// The control bit of that name.
    pub const RST: u8 = 0x04;
    /// The control bit of that name.
    pub const ACK: u8 = 0x10;

    /// A segment without flags: sequence numbers 0, the whole window.
    #[must_use]
    pub fn new(src: SocketAddr, dst: SocketAddr) -> TcpForge {
        TcpForge { src, dst, seq: 0, ack: 0, flags: 0, window: u16::MAX }
    }

    /// The frame, its checksums right.
    ///
    /// # Panics
    /// If source and destination are of different families.
    #[must_use]
    pub fn frame(&self, src_mac: [u8; 6], dst_mac: [u8; 6], payload: &[u8]) -> Vec<u8> {
        let mut tcp = Vec::with_capacity(20 + payload.len());
        tcp.extend(self.src.port().to_be_bytes());
        tcp.extend(self.dst.port().to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        tcp.extend([5 << 4, self.flags]);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0; 4]);
        tcp.extend_from_slice(payload);
        fill_checksum(&mut tcp, 16, self.src.ip(), self.dst.ip(), TCP);
        ethernet(src_mac, dst_mac, &ip(self.src.ip(), self.dst.ip(), TCP, &tcp))
    }
}

/// What a router says to the sender of `frame`, which is longer than the next link's `mtu` (RFC 1191, RFC 8201). `None`
/// if it is no IP packet, or an ICMP error: of errors there are none (RFC 1122 §3.2.2). The way back may be as narrow, so
/// the answer is no longer than that as far as it can be.
pub(crate) fn too_big(frame: &[u8], mtu: usize, router_mac: [u8; 6]) -> Option<Vec<u8>> {
    let packet = frame.get(14..)?;
    if is_icmp_error(packet) {
        return None;
    }
    // Behind the longer of the two IP headers, and that of ICMP.
    let quote_len = mtu.saturating_sub(48).clamp(QUOTE_MIN, QUOTE_MAX);
    let quote = &packet[..packet.len().min(quote_len)];
    let sender_mac = *frame.get(6..)?.first_chunk::<6>()?;
    let mtu = (mtu as u32).to_be_bytes();
    let answer = match packet.first()? >> 4 {
        4 => {
            let src = IpAddr::from(*packet.get(12..)?.first_chunk::<4>()?);
            // Destination unreachable, fragmentation needed; the MTU is in the lower half of the word.
            let mut icmp = vec![3, 4, 0, 0, 0, 0, mtu[2], mtu[3]];
            icmp.extend_from_slice(quote);
            let sum = checksum(&icmp).to_be_bytes();
            icmp[2..4].copy_from_slice(&sum);
            ip(Ipv4Addr::new(10, 7, 255, 254).into(), src, ICMP, &icmp)
        }
        6 => {
            let src = IpAddr::from(*packet.get(8..)?.first_chunk::<16>()?);
            let router = Ipv6Addr::new(0xfd00, 7, 0, 0, 0, 0, 0, 0xffff).into();
            let mut icmp = vec![2, 0, 0, 0];
            icmp.extend(mtu);
            icmp.extend_from_slice(quote);
            fill_checksum(&mut icmp, 2, router, src, ICMPV6);
            ip(router, src, ICMPV6, &icmp)
        }
        _ => return None,
    };
    Some(ethernet(router_mac, sender_mac, &answer))
}

/// `frame` as a router sends it on whose queue is long, if its sender understands what that says (RFC 3168 §5) and no
/// other router has said it.
pub(crate) fn marked(frame: &[u8]) -> Option<Vec<u8>> {
    let mut marked = frame.to_vec();
    let packet = marked.get_mut(14..)?;
    match packet.first()? >> 4 {
        4 if frame[12..14] == IPV4 => {
            let [tos, sum] = [0, 10].map(|at| at..at + 2);
            let before = u16::from_be_bytes(packet.get(tos.clone())?.try_into().ok()?);
            let old = u16::from_be_bytes(packet.get(sum.clone())?.try_into().ok()?);
            let after = mark(before, 0)?;
            // RFC 1624: a sum that was wrong is still.
            let added = u32::from(!old) + u32::from(!before) + u32::from(after);
            let folded = (added & 0xffff) + (added >> 16);
            let new = !((folded & 0xffff) + (folded >> 16)) as u16;
            packet[tos].copy_from_slice(&after.to_be_bytes());
            packet[sum].copy_from_slice(&new.to_be_bytes());
        }
        6 if frame[12..14] == IPV6 => {
            let before = u16::from_be_bytes(packet.get(..2)?.try_into().ok()?);
            packet[..2].copy_from_slice(&mark(before, 4)?.to_be_bytes());
        }
        _ => return None,
    }
    Some(marked)
}

/// The first word of a packet with its ECN field, which begins at the bit `at`, full, if there is one bit of it.
fn mark(word: u16, at: u32) -> Option<u16> {
    matches!(word >> at & CE, 1 | 2).then_some(word | CE << at)
}

/// Whether an IP packet tells of an error by ICMP.
fn is_icmp_error(packet: &[u8]) -> bool {
    let Some(first) = packet.first() else { return false };
    let byte = |at: usize| packet.get(at).copied();
    match first >> 4 {
        // Unreachable, source quench, redirect, time exceeded, parameter problem.
        4 if byte(9) == Some(ICMP) => {
            matches!(byte(usize::from(first & 0xf) * 4), Some(3 | 4 | 5 | 11 | 12))
        }
        6 if byte(6) == Some(ICMPV6) => byte(40).is_some_and(|kind| kind < 128),
        _ => false,
    }
}

/// Puts the checksum at `at`, which holds zeros so far.
fn fill_checksum(transport: &mut [u8], at: usize, src: IpAddr, dst: IpAddr, protocol: u8) {
    let len = transport.len() as u32;
    let mut sum = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => pseudo_header(&src.octets(), &dst.octets(), protocol, len),
        (IpAddr::V6(src), IpAddr::V6(dst)) => pseudo_header(&src.octets(), &dst.octets(), protocol, len),
        _ => panic!("a packet has two addresses of one family, not {src} and {dst}"),
    };
    sum.add(transport);
    transport[at..at + 2].copy_from_slice(&sum.checksum().to_be_bytes());
}

fn ip(src: IpAddr, dst: IpAddr, protocol: u8, transport: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(40 + transport.len());
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            packet.extend([0x45, 0]);
            packet.extend((20 + transport.len() as u16).to_be_bytes());
            packet.extend([0, 0, 0x40, 0, TTL, protocol, 0, 0]);
            packet.extend(src.octets());
            packet.extend(dst.octets());
            let sum = checksum(&packet).to_be_bytes();
            packet[10..12].copy_from_slice(&sum);
        }
        (src, dst) => {
            packet.extend([0x60, 0, 0, 0]);
            packet.extend((transport.len() as u16).to_be_bytes());
            packet.extend([protocol, TTL]);
            for addr in [src, dst] {
                let IpAddr::V6(addr) = addr else { panic!("a packet has two addresses of one family") };
                packet.extend(addr.octets());
            }
        }
    }
    packet.extend_from_slice(transport);
    packet
}

fn ethernet(src: [u8; 6], dst: [u8; 6], packet: &[u8]) -> Vec<u8> {
    let ethertype = if packet[0] >> 4 == 4 { IPV4 } else { IPV6 };
    [&dst[..], &src, &ethertype, packet].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hayase::device::headers::Headers;

    #[test]
    fn a_router_quotes_what_was_too_long() {
        for (src, dst) in [("10.7.0.1:5", "10.7.0.2:80"), ("[fd00:7::1]:5", "[fd00:7::2]:80")] {
            let forge = TcpForge::new(src.parse().unwrap(), dst.parse().unwrap());
            let frame = forge.frame([2; 6], [4; 6], &[1; 1400]);
            let answer = too_big(&frame, 1300, [6; 6]).unwrap();
            let headers = Headers::parse(&answer).unwrap();
            let icmp = &answer[headers.transport..];
            assert_eq!((&answer[..6], icmp.len()), (&[2; 6][..], 8 + QUOTE_MAX));
            assert_eq!(icmp[6..8], 1300_u16.to_be_bytes());
            assert_eq!(icmp[8..], frame[14..14 + QUOTE_MAX]);
            if headers.ipv6 {
                let mut sum = headers.pseudo_header(&answer, icmp.len());
                sum.add(icmp);
                assert!(sum.is_valid());
            } else {
                assert_eq!((checksum(icmp), checksum(&answer[14..34])), (0, 0));
            }
        }
        assert_eq!(too_big(&[0; 60], 1300, [6; 6]), None);
    }

    #[test]
    fn a_router_marks_who_understands_it() {
        for (src, dst) in [("10.7.0.1:5", "10.7.0.2:80"), ("[fd00:7::1]:5", "[fd00:7::2]:80")] {
            let plain =
                TcpForge::new(src.parse().unwrap(), dst.parse().unwrap()).frame([2; 6], [4; 6], &[1; 99]);
            let with_ecn = |ecn: u8| {
                let mut frame = plain.clone();
                if frame[14] >> 4 == 6 {
                    frame[15] |= ecn << 4;
                    return frame;
                }
                frame[15] |= 0xb8 | ecn;
                frame[24..26].fill(0);
                let sum = checksum(&frame[14..34]).to_be_bytes();
                frame[24..26].copy_from_slice(&sum);
                frame
            };
            for ecn in [1, 2] {
                assert!(marked(&with_ecn(ecn)).unwrap() == with_ecn(3), "{ecn} from {src}");
            }
            for ecn in [0, 3] {
                assert_eq!(marked(&with_ecn(ecn)), None, "{ecn} from {src}");
            }
            // What was damaged before is seen to be.
            let mut damaged = with_ecn(2);
            damaged[22] ^= 1;
            let damaged = marked(&damaged).unwrap();
            assert!(damaged[14] >> 4 == 6 || checksum(&damaged[14..34]) != 0);
            for len in 0..16 {
                assert_eq!(marked(&with_ecn(2)[..len]), None, "{len} bytes");
            }
        }
        assert_eq!(marked(&[0x45; 60]), None, "no IP packet");
    }

    #[test]
    fn of_an_error_a_router_says_nothing() {
        for (src, dst) in [("10.7.0.1:5", "10.7.0.2:80"), ("[fd00:7::1]:5", "[fd00:7::2]:80")] {
            let forge = TcpForge::new(src.parse().unwrap(), dst.parse().unwrap());
            for mtu in [68, 500, 1300] {
                let answer = too_big(&forge.frame([2; 6], [4; 6], &[1; 1400]), mtu, [6; 6]).unwrap();
                assert!(answer.len() - 14 <= mtu.max(48 + QUOTE_MIN), "{mtu}");
                assert_eq!(too_big(&answer, 20, [6; 6]), None);
            }
        }
    }
}

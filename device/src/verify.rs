//! Verifying received checksums: what a NIC with receive checksum offload does, in software.

use crate::checksum::Sum;
use crate::headers::{Headers, ICMPV6, TCP, UDP};
use crate::{Frame, Offloads, RxChecksum};

/// Looks at the transport checksum of a received frame (maybe a chain), for the protocols whose offload is
/// in force. ICMPv6 goes with both of them.
///
/// [`RxChecksum::Unverified`] leaves the judgement to software: for a sum that is wrong, so that it is
/// counted where all bad packets are; for a fragment, a UDP datagram without a sum, and whatever else
/// hardware would not look at. Headers are looked for in the first fragment only.
pub fn verify<F: Frame>(frame: &F, in_force: Offloads) -> RxChecksum {
    match is_right(frame, in_force) {
        Some(true) => RxChecksum::Verified,
        Some(false) | None => RxChecksum::Unverified,
    }
}

fn is_right<F: Frame>(frame: &F, in_force: Offloads) -> Option<bool> {
    let linear = frame.bytes();
    let headers = Headers::parse(linear)?;
    headers.end(linear)?;
    let needed = match headers.protocol {
        TCP => Offloads::RX_CHECKSUM_TCP,
        UDP => Offloads::RX_CHECKSUM_UDP,
        ICMPV6 if headers.ipv6 => Offloads::RX_CHECKSUM,
        _ => return None,
    };
    if headers.fragment || !in_force.contains(needed) {
        return None;
    }
    let len = covered_len(&headers, linear)?;
    if headers.transport + len > frame.total_len() {
        return None;
    }
    let mut sum = headers.pseudo_header(linear, len);
    add_range(&mut sum, frame, headers.transport, len);
    Some(sum.is_valid())
}

/// The bytes that the checksum covers: UDP has a length of its own, and may do without a sum (RFC 768).
fn covered_len(headers: &Headers, linear: &[u8]) -> Option<usize> {
    let header = &linear[headers.transport..];
    match headers.protocol {
        UDP => {
            let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
            let has_sum = header[6..8] != [0, 0];
            (has_sum && len >= 8 && len <= headers.transport_len).then_some(len)
        }
        _ => Some(headers.transport_len),
    }
}

/// Adds `len` bytes of a chain, from `start` on; fewer if the chain is shorter.
pub(crate) fn add_range<F: Frame>(sum: &mut Sum, frame: &F, mut start: usize, mut len: usize) {
    for bytes in frame.fragments() {
        let from = start.min(bytes.len());
        let to = from + len.min(bytes.len() - from);
        sum.add(&bytes[from..to]);
        start -= from;
        len -= to - from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::packet::{Ip, Packet};
    use crate::heap::{HeapFrame, Pool};

    fn frame(bytes: &[u8]) -> HeapFrame {
        Pool::wrap(bytes.to_vec().into()).unwrap()
    }

    #[test]
    fn right_sums_are_verified_and_wrong_ones_are_not() {
        for packet in [Packet::tcp, Packet::udp] {
            for ip in [Ip::V4, Ip::V6] {
                let mut bytes = packet(ip, 33).build();
                assert_eq!(verify(&frame(&bytes), Offloads::ALL), RxChecksum::Verified);
                assert_eq!(verify(&frame(&bytes), Offloads::NONE), RxChecksum::Unverified);
                *bytes.last_mut().unwrap() ^= 1;
                assert_eq!(verify(&frame(&bytes), Offloads::ALL), RxChecksum::Unverified);
            }
        }
    }

    #[test]
    fn each_protocol_has_its_own_switch() {
        let (tcp, udp) = (Packet::tcp(Ip::V4, 1).build(), Packet::udp(Ip::V6, 1).build());
        assert_eq!(verify(&frame(&tcp), Offloads::RX_CHECKSUM_TCP), RxChecksum::Verified);
        assert_eq!(verify(&frame(&tcp), Offloads::RX_CHECKSUM_UDP), RxChecksum::Unverified);
        assert_eq!(verify(&frame(&udp), Offloads::RX_CHECKSUM_UDP), RxChecksum::Verified);
        assert_eq!(verify(&frame(&udp), Offloads::RX_CHECKSUM_TCP), RxChecksum::Unverified);
    }

    #[test]
    fn padding_is_no_payload_and_chains_are_one_packet() {
        let mut bytes = Packet::tcp(Ip::V4, 1).build();
        bytes.extend([0xaa; 5]);
        assert_eq!(verify(&frame(&bytes), Offloads::ALL), RxChecksum::Verified);
        let bytes = Packet::tcp(Ip::V6, 31).build();
        for cut in 74..bytes.len() {
            let mut chain = frame(&bytes[..cut]);
            chain.chain(frame(&bytes[cut..]));
            assert_eq!(verify(&chain, Offloads::ALL), RxChecksum::Verified, "cut at {cut}");
        }
    }

    #[test]
    fn what_cannot_be_judged_is_left_to_software() {
        let mut no_sum = Packet::udp(Ip::V4, 4).build();
        no_sum[40..42].fill(0);
        let mut fragment = Packet::udp(Ip::V4, 4).build();
        fragment[20] = 0x20;
        let truncated = &Packet::udp(Ip::V4, 4).build()[..44];
        for bytes in [&no_sum[..], &fragment, truncated, b"short", &[]] {
            assert_eq!(verify(&frame(bytes), Offloads::ALL), RxChecksum::Unverified);
        }
    }
}

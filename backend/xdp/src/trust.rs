//! Checksums that a sender on this machine never filled in.
//!
//! Linux leaves the sum of the pseudo-header in the field and a mark beside the packet. The mark does not come with a
//! packet that XDP redirects, so that only the field tells.

use hayase_device::headers::{Headers, TCP, TCP_CHECKSUM_OFFSET, UDP, UDP_CHECKSUM_OFFSET};
use hayase_device::segment::fill_checksum;
use hayase_device::{Frame, Offloads, RxChecksum, TxChecksum};

/// A received frame and what can be said of its transport checksum if its sender is trusted. One that was left out is
/// right if somebody wants to know, and filled in if not.
///
/// A packet whose true checksum equals the pseudo-header's sum is right as well. One that was damaged on a wire equals
/// it by chance once in 65,536 times: hence the need for trust.
#[inline]
pub(crate) fn judge<F: Frame>(
    frame: F,
    in_force: Offloads,
    alloc: impl FnOnce(usize) -> Option<F>,
) -> Option<(F, RxChecksum)> {
    let Some(request) = left_out(frame.bytes()) else { return Some((frame, RxChecksum::Unverified)) };
    let offload = match request.offset {
        UDP_CHECKSUM_OFFSET => Offloads::RX_CHECKSUM_UDP,
        _ => Offloads::RX_CHECKSUM_TCP,
    };
    if in_force.contains(offload) {
        return Some((frame, RxChecksum::Verified));
    }
    fill_checksum(frame, request, alloc).ok().map(|frame| (frame, RxChecksum::Unverified))
}

/// Which checksum is still to be filled in, if one is.
#[inline]
fn left_out(linear: &[u8]) -> Option<TxChecksum> {
    let headers = Headers::parse(linear).filter(|headers| !headers.fragment)?;
    let offset = match headers.protocol {
        TCP => TCP_CHECKSUM_OFFSET,
        UDP => UDP_CHECKSUM_OFFSET,
        _ => return None,
    };
    let field = headers.transport + usize::from(offset);
    let found = u16::from_be_bytes([*linear.get(field)?, *linear.get(field + 1)?]);
    let pseudo_header = headers.pseudo_header(linear, headers.transport_len).value();
    let start = u16::try_from(headers.transport).ok()?;
    (found == pseudo_header).then_some(TxChecksum { start, offset })
}

#[cfg(test)]
mod tests {
    use hayase_device::conformance::packet::{Ip, Packet};
    use hayase_device::heap::{HeapFrame, Pool, PoolConfig};

    use super::*;

    fn judged(bytes: &[u8], in_force: Offloads) -> (Vec<u8>, RxChecksum) {
        let pool = Pool::new(PoolConfig::default());
        let mut frame: HeapFrame = pool.alloc(bytes.len()).unwrap();
        frame.extend(bytes.len()).unwrap().copy_from_slice(bytes);
        let (frame, verdict) = judge(frame, in_force, |len| pool.alloc(len)).unwrap();
        (frame.bytes().to_vec(), verdict)
    }

    #[test]
    fn only_what_was_left_out_is_trusted() {
        for ip in [Ip::V4, Ip::V6] {
            for packet in [Packet::tcp(ip, 300), Packet::udp(ip, 300)] {
                let (mut partial, whole) = (packet.build_partial(), packet.build());
                assert_eq!(judged(&partial, Offloads::RX_CHECKSUM), (partial.clone(), RxChecksum::Verified));
                assert_eq!(judged(&partial, Offloads::NONE), (whole.clone(), RxChecksum::Unverified));
                assert_eq!(judged(&whole, Offloads::ALL), (whole, RxChecksum::Unverified));
                let field = usize::from(packet.tx_checksum().start + packet.tx_checksum().offset);
                partial[field] ^= 1;
                assert_eq!(judged(&partial, Offloads::ALL), (partial.clone(), RxChecksum::Unverified));
                partial[field] ^= 1;
                partial.truncate(field + 1);
                assert_eq!(judged(&partial, Offloads::ALL), (partial, RxChecksum::Unverified), "cut short");
            }
        }
    }

    #[test]
    fn a_protocol_may_be_trusted_alone() {
        let (tcp, udp) = (Packet::tcp(Ip::V4, 1), Packet::udp(Ip::V4, 1));
        let verdict = |packet: &Packet| judged(&packet.build_partial(), Offloads::RX_CHECKSUM_TCP).1;
        assert_eq!((verdict(&tcp), verdict(&udp)), (RxChecksum::Verified, RxChecksum::Unverified));
    }
}

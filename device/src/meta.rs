//! What travels beside a frame: findings on the way in, requests on the way out.

use crate::Offloads;
use crate::headers::{TCP_CHECKSUM_OFFSET, UDP_CHECKSUM_OFFSET};

/// What the device says of a received frame's transport checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RxChecksum {
    /// The device did not look: software must.
    #[default]
    Unverified,
    /// The TCP, UDP or ICMP checksum is right, or the sender is on this machine and never filled it in.
    /// Nobody needs to look again.
    Verified,
}

/// What the device found out about a received frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RxMeta {
    /// The verdict on the transport checksum. The IPv4 header checksum is always software's: it is 20 bytes.
    pub checksum: RxChecksum,
    /// For a super-frame (LRO, GRO, or TSO that never was cut): the payload size of each original segment.
    /// 0 for an ordinary frame.
    pub segment_len: u16,
    /// The flow hash of the NIC (RSS), where it gives one.
    pub flow_hash: Option<u32>,
}

/// A transport checksum that the device is asked to fill in.
///
/// The field at `start + offset` holds the sum of the pseudo-header, not inverted, as Linux and virtio
/// want it; the device adds everything from `start` to the frame's end and stores the complement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxChecksum {
    /// Offset of the transport header in the frame, in bytes.
    pub start: u16,
    /// Offset of the checksum field in the transport header, in bytes (TCP 16, UDP 6).
    pub offset: u16,
}

/// A TCP super-segment that the device is asked to cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxSegmentation {
    /// Payload bytes of each segment but the last.
    pub segment_len: u16,
    /// Bytes of all headers (Ethernet, IP, TCP), repeated in front of each segment.
    pub header_len: u16,
    /// Whether the IP header is version 6.
    pub ipv6: bool,
}

/// What the device is asked to do to a frame before it goes out.
///
/// A stack asks only for what [`Caps::offloads`](crate::Caps::offloads) promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TxMeta {
    /// Fill in the transport checksum (needs [`Offloads::TX_CHECKSUM`](crate::Offloads::TX_CHECKSUM)).
    pub checksum: Option<TxChecksum>,
    /// Cut into segments (needs TSO for the IP version, and `checksum` to be set as well).
    pub segmentation: Option<TxSegmentation>,
}

impl TxMeta {
    /// Whether `in_force` promises everything that this asks for.
    #[inline]
    pub fn is_promised_by(&self, in_force: Offloads) -> bool {
        let checksum = self.checksum.is_none_or(|request| match request.offset {
            TCP_CHECKSUM_OFFSET => in_force.contains(Offloads::TX_CHECKSUM_TCP),
            UDP_CHECKSUM_OFFSET => in_force.contains(Offloads::TX_CHECKSUM_UDP),
            _ => false,
        });
        let segmentation = self.segmentation.is_none_or(|request| {
            let needed = if request.ipv6 { Offloads::TSO6 } else { Offloads::TSO4 };
            self.checksum.is_some() && in_force.contains(needed)
        });
        checksum && segmentation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_asked_for_that_was_not_promised() {
        let tcp = Some(TxChecksum { start: 34, offset: 16 });
        let udp = Some(TxChecksum { start: 34, offset: 6 });
        let cut = Some(TxSegmentation { segment_len: 1000, header_len: 54, ipv6: false });
        let cut6 = cut.map(|cut| TxSegmentation { ipv6: true, ..cut });
        let cases = [
            (None, None, Offloads::NONE),
            (tcp, None, Offloads::TX_CHECKSUM_TCP),
            (udp, None, Offloads::TX_CHECKSUM_UDP),
            (tcp, cut, Offloads::TX_CHECKSUM_TCP | Offloads::TSO4),
            (tcp, cut6, Offloads::TX_CHECKSUM_TCP | Offloads::TSO6),
        ];
        for (checksum, segmentation, least) in cases {
            let meta = TxMeta { checksum, segmentation };
            assert!(meta.is_promised_by(least) && meta.is_promised_by(Offloads::ALL));
            assert!(least.is_empty() || !meta.is_promised_by(!least), "{meta:?}");
        }
        let strange = Some(TxChecksum { start: 34, offset: 2 });
        for (checksum, segmentation) in [(strange, None), (None, cut)] {
            assert!(!TxMeta { checksum, segmentation }.is_promised_by(Offloads::ALL));
        }
    }
}

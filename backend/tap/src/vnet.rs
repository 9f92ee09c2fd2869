//! The `virtio_net_hdr` in front of each frame (virtio 1.2 §5.1.6, in the machine's byte order as TAP has it).

use hayase_device::{RxChecksum, RxMeta, TxMeta};

/// Length of the header, without the `num_buffers` of merged buffers, in bytes.
pub(crate) const VNET_LEN: usize = 10;

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
/// A flag on the type: CWR is set in the first segment.
const GSO_ECN: u8 = 0x80;

/// What the sender's software left to the receiver's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct VnetHeader {
    flags: u8,
    gso_type: u8,
    hdr_len: u16,
    gso_size: u16,
    csum_start: u16,
    csum_offset: u16,
}

impl VnetHeader {
    pub(crate) fn from_bytes(bytes: [u8; VNET_LEN]) -> VnetHeader {
        let [flags, gso_type, a, b, c, d, e, f, g, h] = bytes;
        let u16 = |low, high| u16::from_ne_bytes([low, high]);
        VnetHeader {
            flags,
            gso_type,
            hdr_len: u16(a, b),
            gso_size: u16(c, d),
            csum_start: u16(e, f),
            csum_offset: u16(g, h),
        }
    }

    pub(crate) fn to_bytes(self) -> [u8; VNET_LEN] {
        let mut bytes = [self.flags, self.gso_type, 0, 0, 0, 0, 0, 0, 0, 0];
        let words = [self.hdr_len, self.gso_size, self.csum_start, self.csum_offset];
        for (into, word) in bytes[2..].chunks_exact_mut(2).zip(words) {
            into.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    /// What a stack asks for, in the kernel's words.
    pub(crate) fn from_tx(meta: TxMeta) -> VnetHeader {
        let mut header = VnetHeader::default();
        if let Some(request) = meta.checksum {
            header.flags = NEEDS_CSUM;
            (header.csum_start, header.csum_offset) = (request.start, request.offset);
        }
        if let Some(request) = meta.segmentation {
            header.gso_type = if request.ipv6 { GSO_TCPV6 } else { GSO_TCPV4 };
            (header.gso_size, header.hdr_len) = (request.segment_len, request.header_len);
        }
        header
    }

    /// What the kernel says of a frame, in the stack's words. `None` for a kind that was never asked for.
    ///
    /// A sum that the kernel never filled in counts as verified whatever is in force by now: the frame was
    /// queued when it was. What the kernel verified itself counts only if the stack wants to hear it.
    pub(crate) fn to_rx(self, wants_verdict: bool) -> Option<RxMeta> {
        let verified = self.flags & NEEDS_CSUM != 0 || wants_verdict && self.flags & DATA_VALID != 0;
        let segment_len = match self.gso_type & !GSO_ECN {
            GSO_NONE => 0,
            GSO_TCPV4 | GSO_TCPV6 if self.gso_size > 0 => self.gso_size,
            _ => return None,
        };
        let checksum = if verified { RxChecksum::Verified } else { RxChecksum::Unverified };
        Some(RxMeta { checksum, segment_len, flow_hash: None })
    }
}

#[cfg(test)]
mod unit {
    use hayase_device::{TxChecksum, TxSegmentation};

    use super::*;

    #[test]
    fn requests_survive_the_trip_through_bytes() {
        let checksum = Some(TxChecksum { start: 54, offset: 16 });
        let segmentation = Some(TxSegmentation { segment_len: 1440, header_len: 74, ipv6: true });
        let header = VnetHeader::from_tx(TxMeta { checksum, segmentation });
        let expected = VnetHeader {
            flags: 1,
            gso_type: 4,
            hdr_len: 74,
            gso_size: 1440,
            csum_start: 54,
            csum_offset: 16,
        };
        assert_eq!(header, expected);
        assert_eq!(VnetHeader::from_bytes(header.to_bytes()), expected);
        assert_eq!(VnetHeader::from_tx(TxMeta::default()).to_bytes(), [0; VNET_LEN]);
    }

    #[test]
    fn verdicts_are_what_the_kernel_means() {
        let header =
            |flags, gso_type, gso_size| VnetHeader { flags, gso_type, gso_size, ..VnetHeader::default() };
        let meta = |checksum, segment_len| Some(RxMeta { checksum, segment_len, flow_hash: None });
        let (verified, unverified) = (RxChecksum::Verified, RxChecksum::Unverified);
        for (header, wants, expected) in [
            (header(0, 0, 0), true, meta(unverified, 0)),
            (header(NEEDS_CSUM, 0, 0), true, meta(verified, 0)),
            (header(NEEDS_CSUM, 0, 0), false, meta(verified, 0)),
            (header(DATA_VALID, 0, 0), true, meta(verified, 0)),
            (header(DATA_VALID, 0, 0), false, meta(unverified, 0)),
            (header(NEEDS_CSUM, GSO_TCPV4 | GSO_ECN, 1448), true, meta(verified, 1448)),
            (header(NEEDS_CSUM, GSO_TCPV6, 1428), true, meta(verified, 1428)),
            (header(NEEDS_CSUM, GSO_TCPV4, 0), true, None),
            (header(NEEDS_CSUM, 3, 1000), true, None),
            (header(NEEDS_CSUM, 0x7f, 1000), true, None),
        ] {
            assert_eq!(header.to_rx(wants), expected, "{header:?}");
        }
    }
}

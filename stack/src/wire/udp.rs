//! UDP (RFC 768).

use core::net::IpAddr;

use hayase_device::checksum::Sum;

use super::{Protocol, WireError, array_at, be16, pseudo_header};

/// Length of the header, in bytes.
pub const LEN: usize = 8;

/// Where in the header the checksum is: what a device is told that fills it in.
pub const CHECKSUM_OFFSET: usize = 6;

/// A UDP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Source port; 0 if no answer is wanted.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Length of header and payload, in bytes: at least [`LEN`].
    pub len: u16,
    /// The checksum as it stands in the packet; 0 for none (IPv4 only).
    pub checksum: u16,
}

/// Reads the header of a datagram that an IP packet gives `available` bytes, of which `bytes` are the first.
/// What [`Header::len`] leaves over of them is no part of the datagram.
///
/// # Errors
/// `Truncated`; `TotalLength` if the length is below that of a header or beyond the packet.
#[inline]
pub fn parse(bytes: &[u8], available: usize) -> Result<Header, WireError> {
    let header: &[u8; LEN] = array_at(bytes, 0)?;
    let len = be16(header, 4);
    if usize::from(len) < LEN || usize::from(len) > available {
        return Err(WireError::TotalLength);
    }
    Ok(Header { src_port: be16(header, 0), dst_port: be16(header, 2), len, checksum: be16(header, 6) })
}

impl Header {
    /// Length of the payload, in bytes.
    #[inline]
    pub fn payload_len(&self) -> usize {
        // `parse` saw to the minimum; a header made by hand below it has no payload.
        usize::from(self.len).saturating_sub(LEN)
    }

    /// Writes the header with the checksum as it is here: see [`checksum`] and
    /// [`TxChecksum`](hayase_device::TxChecksum).
    ///
    /// # Panics
    /// If `header` is not [`LEN`] bytes long.
    #[inline]
    pub fn emit(&self, header: &mut [u8]) {
        let ([s0, s1], [d0, d1]) = (self.src_port.to_be_bytes(), self.dst_port.to_be_bytes());
        let ([l0, l1], [c0, c1]) = (self.len.to_be_bytes(), self.checksum.to_be_bytes());
        header.copy_from_slice(&[s0, s1, d0, d1, l0, l1, c0, c1]);
    }

    /// Whether a received datagram is intact. `fragments` is the datagram, header first, in pieces; what they
    /// have beyond its length is left out.
    ///
    /// A checksum of 0 means that the sender made none, which IPv6 does not allow (RFC 8200 §8.1).
    pub fn is_intact<'a>(
        &self,
        src: IpAddr,
        dst: IpAddr,
        fragments: impl IntoIterator<Item = &'a [u8]>,
    ) -> bool {
        if self.checksum == 0 {
            return dst.is_ipv4();
        }
        let mut left = usize::from(self.len);
        let mut sum = pseudo_header(src, dst, Protocol::UDP, left);
        for fragment in fragments {
            let fragment = &fragment[..fragment.len().min(left)];
            left -= fragment.len();
            sum.add(fragment);
        }
        left == 0 && sum.is_valid()
    }
}

/// The checksum to send for the sum of pseudo-header, header and payload: 0 would mean none, and goes as
/// its other representation (RFC 768).
#[inline]
pub fn checksum(sum: Sum) -> u16 {
    match sum.checksum() {
        0 => 0xffff,
        checksum => checksum,
    }
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

    fn datagram(address: IpAddr, payload: &[u8]) -> Vec<u8> {
        let mut header = Header { src_port: 1, dst_port: 2, len: (LEN + payload.len()) as u16, checksum: 0 };
        let mut bytes = [&[0; LEN], payload].concat();
        header.emit(&mut bytes[..LEN]);
        let mut sum = pseudo_header(address, address, Protocol::UDP, bytes.len());
        sum.add(&bytes);
        header.checksum = checksum(sum);
        header.emit(&mut bytes[..LEN]);
        bytes
    }

    #[test]
    fn k2_lengths() {
        let mut bytes = datagram(V4, b"abcd");
        for len in 0..LEN as u8 {
            bytes[5] = len;
            assert_eq!(parse(&bytes, 12), Err(WireError::TotalLength));
        }
        bytes[5] = 13;
        assert_eq!(parse(&bytes, 12), Err(WireError::TotalLength));
        bytes[5] = 10;
        assert_eq!(parse(&bytes, 12).unwrap().payload_len(), 2);
        assert_eq!(parse(&bytes[..7], 12), Err(WireError::Truncated));
    }

    #[test]
    fn k1_no_checksum_is_fine_on_ipv4_only() {
        let header = Header { src_port: 1, dst_port: 2, len: 8, checksum: 0 };
        assert!(header.is_intact(V4, V4, [&[0u8; 8][..]]));
        assert!(!header.is_intact(V6, V6, [&[0u8; 8][..]]));
        // The sum of this datagram is 0xffff, so its computed checksum is 0.
        let bytes =
            (0..=u16::MAX).map(|word| datagram(V4, &word.to_be_bytes())).find(|b| b[6..8] == [0xff, 0xff]);
        let bytes = bytes.expect("one word makes the sum come out even");
        assert!(parse(&bytes, 10).unwrap().is_intact(V4, V4, [&bytes[..]]));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            if let Ok(header) = parse(&bytes, bytes.len()) {
                let _ = header.is_intact(V4, V4, [&bytes[..]]);
            }
        }

        #[test]
        fn damage_is_seen_wherever_the_pieces_are_cut(
            payload: Vec<u8>,
            cut: usize,
            at: usize,
            bit in 0u8..8,
            padding in 0usize..9,
        ) {
            for address in [V4, V6] {
                let mut bytes = datagram(address, &payload);
                let len = bytes.len();
                let header = parse(&bytes, len).unwrap();
                bytes.resize(len + padding, 0xaa);
                let (head, tail) = bytes.split_at(cut % len);
                prop_assert!(header.is_intact(address, address, [head, tail]));
                // Ports and payload: a change of length or checksum belongs to the header's own tests.
                let at = at % (len - 4);
                bytes[if at < 4 { at } else { at + 4 }] ^= 1 << bit;
                prop_assert!(!header.is_intact(address, address, [&bytes[..]]));
            }
        }
    }
}

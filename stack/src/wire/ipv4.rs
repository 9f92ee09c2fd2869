//! IPv4 (RFC 791).

use core::net::Ipv4Addr;

use hayase_device::checksum;

use super::{Protocol, WireError, array_at, be16};

/// Length of a header without options, in bytes. The stack sends no options.
pub const LEN: usize = 20;

/// The largest packet, header included, in bytes.
pub const PACKET_LEN_MAX: usize = u16::MAX as usize;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// An IPv4 header. Options of a received one were looked at and left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// What the packet carries.
    pub protocol: Protocol,
    /// Hops left.
    pub ttl: u8,
    /// The old type of service: DSCP and, in the low two bits, ECN (RFC 3168).
    pub tos: u8,
    /// Identification, which tells the fragments of one datagram from those of another.
    pub ident: u16,
    /// Whether routers must not fragment this packet.
    pub dont_fragment: bool,
    /// Whether fragments of this datagram follow.
    pub more_fragments: bool,
    /// Where in the datagram's payload this fragment starts, in bytes: a multiple of 8.
    pub fragment_offset: u16,
    /// Length of what follows the header, in bytes. What is longer is link padding.
    pub payload_len: u16,
}

/// Reads the header of a packet of `packet_len` bytes in all, of which `bytes` are the first fragment.
/// Returns it with the offset of the payload, which depends on the options.
///
/// # Errors
/// `Truncated`, `Version`, `HeaderLength`, `TotalLength`, `Checksum`; `OptionLength` and `SourceRoute` for
/// options; `FragmentLength` for fragments that no datagram has.
#[inline]
pub fn parse(bytes: &[u8], packet_len: usize) -> Result<(Header, usize), WireError> {
    let fixed: &[u8; LEN] = array_at(bytes, 0)?;
    let header_len = if fixed[0] == 0x45 { LEN } else { header_len_with_options(bytes, fixed[0])? };
    let total_len = usize::from(be16(fixed, 2));
    if total_len < header_len || total_len > packet_len {
        return Err(WireError::TotalLength);
    }
    let sum =
        if header_len == LEN { checksum::checksum(fixed) } else { checksum::checksum(&bytes[..header_len]) };
    if sum != 0 {
        return Err(WireError::Checksum);
    }
    let header = Header { payload_len: (total_len - header_len) as u16, ..parse_fields(fixed) };
    if header.is_fragment() {
        check_fragment(&header)?;
    }
    Ok((header, header_len))
}

/// The fields that stand alone.
#[inline]
fn parse_fields(fixed: &[u8; LEN]) -> Header {
    let flags = be16(fixed, 6);
    let [.., s0, s1, s2, s3, d0, d1, d2, d3] = *fixed;
    Header {
        src: Ipv4Addr::new(s0, s1, s2, s3),
        dst: Ipv4Addr::new(d0, d1, d2, d3),
        protocol: Protocol(fixed[9]),
        ttl: fixed[8],
        tos: fixed[1],
        ident: be16(fixed, 4),
        dont_fragment: flags & DONT_FRAGMENT != 0,
        more_fragments: flags & MORE_FRAGMENTS != 0,
        fragment_offset: (flags & OFFSET_MASK) << 3,
        payload_len: 0,
    }
}

/// The length of a header that is not the usual one, or what is wrong with it.
#[cold]
fn header_len_with_options(bytes: &[u8], version_ihl: u8) -> Result<usize, WireError> {
    if version_ihl >> 4 != 4 {
        return Err(WireError::Version);
    }
    let header_len = usize::from(version_ihl & 0x0f) * 4;
    if header_len < LEN {
        return Err(WireError::HeaderLength);
    }
    check_options(bytes.get(LEN..header_len).ok_or(WireError::HeaderLength)?)?;
    Ok(header_len)
}

/// Walks options that a host need not understand (RFC 1122 §3.2.1.8). Source routes are refused, as RFC 7126
/// advises: they let a stranger choose the path of the answer.
fn check_options(mut options: &[u8]) -> Result<(), WireError> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const LOOSE_SOURCE_ROUTE: u8 = 131;
    const STRICT_SOURCE_ROUTE: u8 = 137;
    while let [kind, rest @ ..] = options {
        options = match *kind {
            END => return Ok(()),
            NO_OPERATION => rest,
            LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE => return Err(WireError::SourceRoute),
            _ => {
                let len = usize::from(*rest.first().ok_or(WireError::OptionLength)?);
                options.get(len..).filter(|_| len >= 2).ok_or(WireError::OptionLength)?
            }
        };
    }
    Ok(())
}

/// A fragment that could be part of a datagram (RFC 791 §3.2): not empty, cut at a multiple of 8 unless it is
/// the last, and within the largest packet.
#[cold]
fn check_fragment(header: &Header) -> Result<(), WireError> {
    let len = usize::from(header.payload_len);
    let unaligned = header.more_fragments && !len.is_multiple_of(8);
    if len == 0 || unaligned || LEN + usize::from(header.fragment_offset) + len > PACKET_LEN_MAX {
        return Err(WireError::FragmentLength);
    }
    Ok(())
}

/// Reads what an ICMP error quotes: a packet that may be cut off anywhere behind its header and whose
/// checksum routers on the way may have left stale. Returns the header with the offset of its payload;
/// [`Header::payload_len`] is what the packet had, not what the quote still has.
///
/// # Errors
/// `Truncated`, `Version`, `HeaderLength`, `TotalLength`.
pub fn parse_quote(quote: &[u8]) -> Result<(Header, usize), WireError> {
    let fixed: &[u8; LEN] = array_at(quote, 0)?;
    if fixed[0] >> 4 != 4 {
        return Err(WireError::Version);
    }
    let header_len = usize::from(fixed[0] & 0x0f) * 4;
    if header_len < LEN || header_len > quote.len() {
        return Err(WireError::HeaderLength);
    }
    let payload_len = usize::from(be16(fixed, 2)).checked_sub(header_len).ok_or(WireError::TotalLength)?;
    Ok((Header { payload_len: payload_len as u16, ..parse_fields(fixed) }, header_len))
}

impl Header {
    /// Whether this is only a part of a datagram.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.more_fragments || self.fragment_offset != 0
    }

    /// Writes the header, checksum included.
    ///
    /// # Panics
    /// If `header` is not [`LEN`] bytes long.
    #[inline]
    pub fn emit(&self, header: &mut [u8]) {
        header.copy_from_slice(&self.to_bytes());
    }

    /// The header as bytes, checksum included.
    #[inline]
    pub fn to_bytes(&self) -> [u8; LEN] {
        debug_assert!(LEN + usize::from(self.payload_len) <= PACKET_LEN_MAX, "a packet too long for IPv4");
        debug_assert!(self.fragment_offset.is_multiple_of(8), "fragments start at multiples of 8");
        let flags = self.fragment_offset >> 3
            | if self.dont_fragment { DONT_FRAGMENT } else { 0 }
            | if self.more_fragments { MORE_FRAGMENTS } else { 0 };
        let [l0, l1] = (LEN as u16).wrapping_add(self.payload_len).to_be_bytes();
        let ([i0, i1], [f0, f1]) = (self.ident.to_be_bytes(), flags.to_be_bytes());
        let ([s0, s1, s2, s3], [d0, d1, d2, d3]) = (self.src.octets(), self.dst.octets());
        let (ttl, protocol) = (self.ttl, self.protocol.0);
        let mut header =
            [0x45, self.tos, l0, l1, i0, i1, f0, f1, ttl, protocol, 0, 0, s0, s1, s2, s3, d0, d1, d2, d3];
        [header[10], header[11]] = checksum::checksum(&header).to_be_bytes();
        header
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// A packet with these options and fields changed by `change` before its checksum is put right.
    fn packet(options: &[u8], payload_len: usize, change: impl Fn(&mut [u8])) -> Vec<u8> {
        let mut bytes = [0x45, 0, 0, 0, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2].to_vec();
        bytes.extend_from_slice(options);
        let header_len = bytes.len();
        bytes[0] = 0x40 | (header_len / 4) as u8;
        bytes.resize(header_len + payload_len, 0);
        let total_len = bytes.len() as u16;
        bytes[2..4].copy_from_slice(&total_len.to_be_bytes());
        change(&mut bytes);
        let sum = checksum::checksum(&bytes[..header_len]);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    fn result(bytes: &[u8]) -> Result<usize, WireError> {
        parse(bytes, bytes.len()).map(|(_, at)| at)
    }

    #[test]
    fn i1_every_header_check_counts() {
        assert_eq!(result(&packet(&[], 8, |_| {})), Ok(20));
        assert_eq!(result(&packet(&[], 8, |b| b[0] = 0x65)), Err(WireError::Version));
        assert_eq!(result(&packet(&[], 8, |b| b[0] = 0x44)), Err(WireError::HeaderLength));
        assert_eq!(result(&packet(&[], 8, |b| b[0] = 0x4f)), Err(WireError::HeaderLength));
        assert_eq!(result(&packet(&[], 8, |b| b[3] = 19)), Err(WireError::TotalLength));
        assert_eq!(result(&packet(&[], 8, |b| b[3] = 29)), Err(WireError::TotalLength));
        let mut bytes = packet(&[], 8, |_| {});
        bytes[8] ^= 1;
        assert_eq!(result(&bytes), Err(WireError::Checksum));
        assert_eq!(result(&bytes[..19]), Err(WireError::Truncated));
    }

    #[test]
    fn i2_link_padding_is_not_payload() {
        let mut bytes = packet(&[], 3, |_| {});
        bytes.resize(46, 0xaa);
        assert_eq!(parse(&bytes, bytes.len()).unwrap().0.payload_len, 3);
    }

    #[test]
    fn options_are_skipped_and_bad_ones_refused() {
        assert_eq!(result(&packet(&[1, 1, 68, 4, 5, 0, 0, 0], 8, |_| {})), Ok(28));
        assert_eq!(result(&packet(&[7, 0, 0, 0], 8, |_| {})), Err(WireError::OptionLength));
        assert_eq!(result(&packet(&[7, 1, 0, 0], 8, |_| {})), Err(WireError::OptionLength));
        assert_eq!(result(&packet(&[7, 5, 0, 0], 8, |_| {})), Err(WireError::OptionLength));
        assert_eq!(result(&packet(&[1, 1, 1, 7], 8, |_| {})), Err(WireError::OptionLength));
        assert_eq!(result(&packet(&[131, 3, 4, 0], 8, |_| {})), Err(WireError::SourceRoute));
        assert_eq!(result(&packet(&[0, 131, 9, 9], 8, |_| {})), Ok(24), "nothing counts behind the end");
    }

    #[test]
    fn i6_impossible_fragments_are_refused() {
        let fragment = |payload_len, flags: u16| {
            result(&packet(&[], payload_len, |b| b[6..8].copy_from_slice(&flags.to_be_bytes())))
        };
        assert_eq!(fragment(8, MORE_FRAGMENTS), Ok(20));
        assert_eq!(fragment(7, 5), Ok(20));
        assert_eq!(fragment(7, MORE_FRAGMENTS), Err(WireError::FragmentLength));
        assert_eq!(fragment(0, MORE_FRAGMENTS | 5), Err(WireError::FragmentLength));
        assert_eq!(fragment(0, 5), Err(WireError::FragmentLength));
        assert_eq!(fragment(16, OFFSET_MASK), Err(WireError::FragmentLength));
    }

    #[test]
    fn a_quote_may_be_cut_and_its_checksum_stale() {
        let mut bytes = packet(&[], 1000, |_| {});
        bytes[8] = 1;
        let (header, at) = parse_quote(&bytes[..28]).unwrap();
        assert_eq!((header.payload_len, at), (1000, 20));
        assert_eq!(parse_quote(&bytes[..19]), Err(WireError::Truncated));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut bytes: Vec<u8>, repair: bool) {
            if repair && bytes.len() >= LEN {
                bytes[0] = 0x40 | bytes[0] & 0x0f;
                let header_len = usize::from(bytes[0] & 0x0f) * 4;
                if header_len >= LEN && header_len <= bytes.len() {
                    bytes[2] = 0;
                    bytes[10..12].fill(0);
                    let sum = checksum::checksum(&bytes[..header_len]);
                    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
                }
            }
            if let Ok((header, at)) = parse(&bytes, bytes.len()) {
                prop_assert!(at + usize::from(header.payload_len) <= bytes.len());
            }
            let _ = parse_quote(&bytes);
        }

        #[test]
        fn round_trips(
            src: u32, dst: u32, protocol: u8, ttl: u8, tos: u8, ident: u16, dont_fragment: bool,
            more_fragments: bool, offset in 0u16..4096, payload_len in 1u16..4096,
        ) {
            let header = Header {
                src: src.into(), dst: dst.into(), protocol: Protocol(protocol), ttl, tos, ident, dont_fragment,
                more_fragments, fragment_offset: offset * 8, payload_len: payload_len * 8,
            };
            let mut bytes = [0; LEN];
            header.emit(&mut bytes);
            let checked = if header.is_fragment() { check_fragment(&header) } else { Ok(()) };
            let parsed = parse(&bytes, LEN + usize::from(header.payload_len));
            prop_assert_eq!(parsed, checked.map(|()| (header, LEN)));
            prop_assert_eq!(parse_quote(&bytes), Ok((header, LEN)));
        }
    }
}

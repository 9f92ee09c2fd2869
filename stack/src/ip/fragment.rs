//! Cutting a payload into fragments (RFC 791 §3.2, RFC 8200 §4.5).

use crate::wire::ipv4;

/// Fragment offsets count in units of so many bytes.
const UNIT: usize = 8;

/// A piece of a payload that goes out as one fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where it starts in the payload, in bytes: a multiple of 8.
    pub offset: u16,
    /// Its length, in bytes: a multiple of 8, unless it is the last.
    pub len: usize,
    /// Whether pieces follow.
    pub more: bool,
}

/// The pieces of a payload, in order. See [`pieces`].
#[derive(Debug, Clone)]
pub struct Pieces {
    offset: usize,
    payload_len: usize,
    piece_len: usize,
}

/// Cuts a payload of `payload_len` bytes so that each piece fits a packet of `mtu` bytes behind `header_len`
/// bytes of headers: 20 for IPv4, 48 for IPv6 with its fragment header. An empty payload is one empty piece.
///
/// `None` if the packet put together again would be too long (65,535 bytes: in IPv4 with its header, in IPv6 without any), or
/// the MTU has no room for eight bytes behind the headers.
pub fn pieces(payload_len: usize, header_len: usize, mtu: usize) -> Option<Pieces> {
    let piece_len = mtu.checked_sub(header_len)? / UNIT * UNIT;
    let counted_len =
        if header_len == ipv4::LEN { payload_len.checked_add(header_len)? } else { payload_len };
    let fits = counted_len <= usize::from(u16::MAX);
    (fits && piece_len > 0).then_some(Pieces { offset: 0, payload_len, piece_len })
}

impl Iterator for Pieces {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let offset = self.offset;
        let left = self.payload_len.checked_sub(offset).filter(|left| *left > 0 || offset == 0)?;
        let len = left.min(self.piece_len);
        // The step also ends an empty payload after its one piece.
        self.offset += self.piece_len;
        Some(Piece { offset: offset as u16, len, more: len < left })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.payload_len.saturating_sub(self.offset).div_ceil(self.piece_len);
        let count = if self.offset == 0 { left.max(1) } else { left };
        (count, Some(count))
    }
}

impl ExactSizeIterator for Pieces {}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn k4_a_datagram_on_ethernet() {
        let cut: Vec<_> = pieces(4008, 20, 1500).unwrap().map(|p| (p.offset, p.len, p.more)).collect();
        assert_eq!(cut, [(0, 1480, true), (1480, 1480, true), (2960, 1048, false)]);
    }

    #[test]
    fn limits() {
        assert!(pieces(65_515, 20, 1500).is_some() && pieces(65_516, 20, 1500).is_none());
        assert!(pieces(65_535, 48, 1500).is_some() && pieces(65_536, 48, 1500).is_none());
        assert!(
            pieces(100, 48, 56).is_some() && pieces(100, 48, 55).is_none() && pieces(100, 48, 40).is_none()
        );
        let empty = Piece { offset: 0, len: 0, more: false };
        assert_eq!(pieces(0, 20, 1500).unwrap().collect::<Vec<_>>(), [empty]);
    }

    proptest! {
        #[test]
        fn pieces_cover_the_payload(
            payload_len in 0usize..65_000,
            header_len in prop::sample::select(alloc::vec![20usize, 48]),
            mtu in 56usize..9000,
        ) {
            let cut = pieces(payload_len, header_len, mtu).unwrap();
            let count = cut.len();
            let cut: Vec<_> = cut.collect();
            prop_assert_eq!(cut.len(), count);
            let mut at = 0;
            for (i, piece) in cut.iter().enumerate() {
                let last = i + 1 == cut.len();
                prop_assert_eq!((usize::from(piece.offset), piece.more), (at, !last));
                prop_assert!(last || piece.len % 8 == 0);
                prop_assert!(piece.len + header_len <= mtu);
                at += piece.len;
            }
            prop_assert_eq!(at, payload_len);
        }
    }
}

//! The TCP header (RFC 9293 §3.1) and its options.

use core::fmt;
use core::ops::BitOr;

use super::WireError;
use crate::seq::Seq;

/// The control bits.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Flags(pub(crate) u8);

impl Flags {
    pub(crate) const FIN: Flags = Flags(0x01);
    pub(crate) const SYN: Flags = Flags(0x02);
    pub(crate) const RST: Flags = Flags(0x04);
    pub(crate) const PSH: Flags = Flags(0x08);
    pub(crate) const ACK: Flags = Flags(0x10);
    pub(crate) const URG: Flags = Flags(0x20);
    pub(crate) const ECE: Flags = Flags(0x40);
    pub(crate) const CWR: Flags = Flags(0x80);

    #[inline]
    pub(crate) fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Flags {
    type Output = Flags;
    #[inline]
    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [b'F', b'S', b'R', b'P', b'A', b'U', b'E', b'C'];
        let set = names.iter().enumerate().filter(|(bit, _)| self.0 & 1 << bit != 0);
        set.map(|(_, name)| *name as char).try_for_each(|name| write!(f, "{name}"))
    }
}

/// A timestamps option (RFC 7323 §3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Timestamps {
    pub(crate) val: u32,
    pub(crate) ecr: u32,
}

/// The most SACK blocks that fit 40 bytes of options (RFC 2018 §3).
pub(crate) const SACK_BLOCKS_MAX: usize = 4;

/// SACK blocks: pairs of left and right edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SackBlocks {
    blocks: [(Seq, Seq); SACK_BLOCKS_MAX],
    len: u8,
}

impl SackBlocks {
    /// Adds a block; without effect if four are there.
    pub(crate) fn push(&mut self, left: Seq, right: Seq) {
        if let Some(block) = self.blocks.get_mut(usize::from(self.len)) {
            *block = (left, right);
            self.len += 1;
        }
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[(Seq, Seq)] {
        &self.blocks[..usize::from(self.len)]
    }

    /// The blocks in the order of their left edges, counted from `start`.
    pub(crate) fn sorted_from(mut self, start: Seq) -> SackBlocks {
        self.blocks[..usize::from(self.len)].sort_unstable_by_key(|(left, _)| *left - start);
        self
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len as u8);
    }
}

/// A cookie of Fast Open (RFC 7413 §4.1.1): 4 to 16 bytes, or none, which is the wish for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cookie {
    len: u8,
    bytes: [u8; 16],
}

impl Cookie {
    /// `None` if no cookie has that length.
    fn parse(body: &[u8]) -> Option<Cookie> {
        let len = body.len();
        if len != 0 && !((4..=16).contains(&len) && len.is_multiple_of(2)) {
            return None;
        }
        let mut bytes = [0; 16];
        bytes[..len].copy_from_slice(body);
        Some(Cookie { len: len as u8, bytes })
    }

    pub(crate) fn is_request(&self) -> bool {
        self.len == 0
    }

    /// Bytes of the option, a multiple of 4 with its padding.
    fn option_len(&self) -> usize {
        (2 + usize::from(self.len)).next_multiple_of(4)
    }

    /// Writes the option, padded by NOPs in front, and moves past it.
    fn emit(&self, out: &mut &mut [u8]) {
        let (option_len, len) = (self.option_len(), usize::from(self.len));
        if let Some((option, rest)) = core::mem::take(out).split_at_mut_checked(option_len) {
            let (pad, body) = option.split_at_mut(option_len - 2 - len);
            pad.fill(kind::NOP);
            body[0] = kind::FAST_OPEN;
            body[1] = 2 + self.len;
            body[2..].copy_from_slice(&self.bytes[..len]);
            *out = rest;
        }
    }
}

impl From<[u8; 8]> for Cookie {
    fn from(cookie: [u8; 8]) -> Cookie {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&cookie);
        Cookie { len: 8, bytes }
    }
}

/// The options that we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Options {
    pub(crate) timestamps: Option<Timestamps>,
    pub(crate) mss: Option<u16>,
    pub(crate) window_scale: Option<u8>,
    pub(crate) sack_permitted: bool,
    pub(crate) fast_open: Option<Cookie>,
    pub(crate) sack: SackBlocks,
}

mod kind {
    pub(super) const EOL: u8 = 0;
    pub(super) const NOP: u8 = 1;
    pub(super) const MSS: u8 = 2;
    pub(super) const WINDOW_SCALE: u8 = 3;
    pub(super) const SACK_PERMITTED: u8 = 4;
    pub(super) const SACK: u8 = 5;
    pub(super) const TIMESTAMPS: u8 = 8;
    pub(super) const FAST_OPEN: u8 = 34;
}

impl Options {
    /// Reads the options of a header. Unknown ones are skipped by their length (MUST-6), an impossible length
    /// ends the reading (MUST-7): what came before it counts.
    #[inline]
    fn parse(bytes: &[u8]) -> Options {
        // NOP, NOP, Timestamps and nothing else: nearly every segment of nearly every connection.
        if let Ok([kind::NOP, kind::NOP, kind::TIMESTAMPS, 10, rest @ ..]) = <&[u8; 12]>::try_from(bytes) {
            return Options { timestamps: Some(timestamps(rest)), ..Options::default() };
        }
        Options::parse_list(bytes)
    }

    fn parse_list(mut bytes: &[u8]) -> Options {
        let mut options = Options::default();
        loop {
            bytes = match bytes {
                [] | [kind::EOL, ..] => return options,
                [kind::NOP, rest @ ..] => rest,
                [kind, len, ..] if usize::from(*len) >= 2 && usize::from(*len) <= bytes.len() => {
                    let (option, rest) = bytes.split_at(usize::from(*len));
                    options.take(*kind, &option[2..]);
                    rest
                }
                _ => return options,
            };
        }
    }

    fn take(&mut self, kind: u8, body: &[u8]) {
        match (kind, body) {
            (kind::MSS, [a, b]) => self.mss = Some(u16::from_be_bytes([*a, *b])),
            (kind::WINDOW_SCALE, [shift]) => self.window_scale = Some(*shift),
            (kind::SACK_PERMITTED, []) => self.sack_permitted = true,
            (kind::TIMESTAMPS, body) => {
                if let Ok(body) = body.try_into() {
                    self.timestamps = Some(timestamps(body));
                }
            }
            (kind::FAST_OPEN, body) => self.fast_open = Cookie::parse(body),
            (kind::SACK, body) if body.len() % 8 == 0 => {
                for block in body.as_chunks::<8>().0 {
                    let Timestamps { val: left, ecr: right } = timestamps(block);
                    self.sack.push(Seq(left), Seq(right));
                }
            }
            _ => {}
        }
    }

    /// Bytes that the options take in a header: a multiple of 4, at most 40.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        let len = if self.timestamps.is_some() { 12 } else { 0 };
        if self.is_rare() { len + self.rare_len() } else { len }
    }

    /// Whether there is anything but timestamps: on a SYN, or while something is missing.
    #[inline]
    fn is_rare(&self) -> bool {
        self.mss.is_some()
            | self.window_scale.is_some()
            | self.sack_permitted
            | (self.sack.len > 0)
            | self.fast_open.is_some()
    }

    /// Bytes of everything but timestamps.
    fn rare_len(&self) -> usize {
        let mut len = 0;
        if self.mss.is_some() {
            len += 4;
        }
        if self.window_scale.is_some() {
            len += 4;
        }
        if self.sack_permitted && !self.is_crowded() {
            len += 4;
        }
        if let Some(cookie) = &self.fast_open {
            len += cookie.option_len();
        }
        match self.sack.len {
            0 => len,
            blocks => len + 4 + 8 * usize::from(blocks),
        }
    }

    /// Whether a SYN has so many options that "SACK permitted" takes the place of the NOPs before the timestamps.
    fn is_crowded(&self) -> bool {
        self.fast_open.is_some() && self.timestamps.is_some() && self.sack_permitted
    }

    /// Writes the options, each padded by NOPs to a multiple of 4 bytes, into exactly [`len`](Self::len) bytes.
    #[inline]
    fn emit(&self, mut out: &mut [u8]) {
        if let Some(Timestamps { val, ecr }) = self.timestamps {
            let [a, b] = if self.is_crowded() { [kind::SACK_PERMITTED, 2] } else { [kind::NOP; 2] };
            put(&mut out, [a, b, kind::TIMESTAMPS, 10]);
            put(&mut out, val.to_be_bytes());
            put(&mut out, ecr.to_be_bytes());
        }
        if out.is_empty() {
            return;
        }
        if let Some(mss) = self.mss {
            let [a, b] = mss.to_be_bytes();
            put(&mut out, [kind::MSS, 4, a, b]);
        }
        if let Some(shift) = self.window_scale {
            put(&mut out, [kind::NOP, kind::WINDOW_SCALE, 3, shift]);
        }
        if let Some(cookie) = &self.fast_open {
            cookie.emit(&mut out);
        }
        if self.sack_permitted && !self.is_crowded() {
            put(&mut out, [kind::NOP, kind::NOP, kind::SACK_PERMITTED, 2]);
        }
        if self.sack.len > 0 {
            put(&mut out, [kind::NOP, kind::NOP, kind::SACK, 2 + 8 * self.sack.len]);
            for (left, right) in self.sack.as_slice() {
                put(&mut out, left.0.to_be_bytes());
                put(&mut out, right.0.to_be_bytes());
            }
        }
    }
}

#[inline]
fn timestamps(bytes: &[u8; 8]) -> Timestamps {
    let [a, b, c, d, e, f, g, h] = *bytes;
    Timestamps { val: u32::from_be_bytes([a, b, c, d]), ecr: u32::from_be_bytes([e, f, g, h]) }
}

/// Writes `bytes` at the front of `out` and moves past them; without effect where there is no room, which the
/// length computed beforehand rules out.
#[inline]
fn put<const N: usize>(out: &mut &mut [u8], bytes: [u8; N]) {
    if let Some((head, rest)) = core::mem::take(out).split_first_chunk_mut::<N>() {
        *head = bytes;
        *out = rest;
    }
}

/// A TCP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TcpHeader {
    pub(crate) src_port: u16,
    pub(crate) dst_port: u16,
    /// SEG.SEQ
    pub(crate) seq: Seq,
    /// SEG.ACK
    pub(crate) ack: Seq,
    pub(crate) flags: Flags,
    /// SEG.WND as it stands in the header, unscaled.
    pub(crate) window: u16,
    /// SEG.UP: where urgent data ends, from `seq`. Without meaning unless [`Flags::URG`] is set. We send none.
    pub(crate) urgent: u16,
    pub(crate) options: Options,
}

impl TcpHeader {
    /// Length without options.
    pub(crate) const LEN: usize = 20;
    /// Where the checksum stands in the header.
    pub(crate) const CHECKSUM: usize = 16;

    /// Reads a header; returns it and its length. The checksum is not looked at.
    #[inline]
    pub(crate) fn parse(bytes: &[u8]) -> Result<(TcpHeader, usize), WireError> {
        let fixed = bytes.first_chunk::<{ Self::LEN }>().ok_or(WireError::Truncated)?;
        let header_len = usize::from(fixed[12] >> 4) * 4;
        let options = bytes.get(Self::LEN..header_len).ok_or(WireError::HeaderLength)?;
        let word = |at: usize| u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        let header = TcpHeader {
            src_port: u16::from_be_bytes([fixed[0], fixed[1]]),
            dst_port: u16::from_be_bytes([fixed[2], fixed[3]]),
            seq: Seq(word(4)),
            ack: Seq(word(8)),
            flags: Flags(fixed[13]),
            window: u16::from_be_bytes([fixed[14], fixed[15]]),
            urgent: u16::from_be_bytes([fixed[18], fixed[19]]),
            options: Options::parse(options),
        };
        Ok((header, header_len))
    }

    /// Length with options.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        Self::LEN + self.options.len()
    }

    /// Writes the header into the first `header_len` bytes of `out`, which are its [`len`](Self::len), with
    /// `checksum` as it is given. Without effect if `out` is shorter.
    #[inline]
    pub(crate) fn emit(&self, out: &mut [u8], header_len: usize, checksum: u16) {
        let Some(out) = out.get_mut(..header_len) else { return };
        let Some((fixed, options)) = out.split_first_chunk_mut::<{ Self::LEN }>() else { return };
        fixed[0..2].copy_from_slice(&self.src_port.to_be_bytes());
        fixed[2..4].copy_from_slice(&self.dst_port.to_be_bytes());
        fixed[4..8].copy_from_slice(&self.seq.0.to_be_bytes());
        fixed[8..12].copy_from_slice(&self.ack.0.to_be_bytes());
        fixed[12] = (header_len as u8 / 4) << 4;
        fixed[13] = self.flags.0;
        fixed[14..16].copy_from_slice(&self.window.to_be_bytes());
        fixed[16..18].copy_from_slice(&checksum.to_be_bytes());
        fixed[18..20].copy_from_slice(&[0, 0]);
        if !options.is_empty() {
            self.options.emit(options);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn header(options: Options) -> TcpHeader {
        TcpHeader {
            src_port: 1,
            dst_port: 65_535,
            seq: Seq(0xdead_beef),
            ack: Seq(7),
            flags: Flags::SYN | Flags::ACK,
            window: 4096,
            urgent: 0,
            options,
        }
    }

    #[test]
    fn every_mixture_of_options_round_trips() {
        for bits in 0..16u8 {
            let mut options = Options::default();
            if bits & 1 != 0 {
                options.timestamps = Some(Timestamps { val: 1, ecr: u32::MAX });
            }
            if bits & 2 != 0 {
                options.mss = Some(1460);
            }
            if bits & 4 != 0 {
                options.window_scale = Some(7);
                options.sack_permitted = true;
            }
            if bits & 8 != 0 {
                options.sack.push(Seq(1), Seq(2));
                if bits & 4 == 0 {
                    options.sack.push(Seq(9), Seq(10));
                }
            }
            assert!(options.len() <= 40);
            let header = header(options);
            let mut bytes = vec![0xee; header.len()];
            header.emit(&mut bytes, header.len(), 0x1234);
            assert_eq!(TcpHeader::parse(&bytes), Ok((header, bytes.len())));
            assert_eq!(bytes[16..18], [0x12, 0x34]);
        }
    }

    #[test]
    fn strange_options_are_skipped_and_impossible_ones_end_the_list() {
        let parse = Options::parse_list;
        assert_eq!(
            parse(&[253, 4, 0, 0, 1, 1, 1, 2, 4, 5, 0xb4]).mss,
            Some(1460),
            "odd offset, unknown kind"
        );
        assert_eq!(parse(&[2, 4, 5, 0xb4, 3, 0, 7, 4, 2]), Options { mss: Some(1460), ..Options::default() });
        assert_eq!(parse(&[30, 1, 2, 4, 5, 0xb4]).mss, None, "length 1");
        assert_eq!(parse(&[2, 40, 5, 0xb4]).mss, None, "past the header");
        assert_eq!(parse(&[2, 3, 5]).mss, None, "wrong for the kind");
        assert_eq!(parse(&[0, 2, 4, 5, 0xb4]).mss, None, "after the end");
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok((header, len)) = TcpHeader::parse(&bytes) {
                prop_assert!(len <= bytes.len() && header.options.sack.as_slice().len() <= SACK_BLOCKS_MAX);
            }
        }
    }
}

//! The Internet checksum (RFC 1071).
//!
//! The sum is kept in the machine's byte order, as RFC 1071 §2(B) allows: only the result is turned round.

use crate::sys;

/// A running one's complement sum.
///
/// ```
/// use hayase_device::checksum::Sum;
/// let mut sum = Sum::default();
/// sum.add(&[0x00, 0x01, 0xf2, 0x03, 0xf4]);
/// sum.add(&[0xf5, 0xf6, 0xf7]); // pieces may have odd lengths
/// assert_eq!(sum.value(), 0xddf2); // RFC 1071 §3
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum {
    acc: u64,
    odd: bool,
}

impl Sum {
    /// Adds bytes that follow those added before.
    #[inline]
    pub fn add(&mut self, bytes: &[u8]) {
        let part = sum_native(bytes);
        // A piece that starts at an odd offset has its bytes in the other lanes (RFC 1071 §2(B)).
        self.acc += u64::from(if self.odd { part.swap_bytes() } else { part });
        self.odd ^= bytes.len() & 1 == 1;
    }

    /// Copies `bytes` to `out`, and adds them on the way.
    ///
    /// # Panics
    /// If the two are not of the same length.
    #[inline]
    pub fn add_copied(&mut self, out: &mut [u8], bytes: &[u8]) {
        assert_eq!(out.len(), bytes.len(), "a copy is as long as what is copied");
        for (out, bytes) in out.chunks_mut(COPY_LEN).zip(bytes.chunks(COPY_LEN)) {
            out.copy_from_slice(bytes);
            self.add(out);
        }
    }

    /// Goes on from the [`value`](Self::value) of the sum over `len` bytes.
    #[inline]
    #[must_use]
    pub fn resume(value: u16, len: usize) -> Sum {
        Sum { acc: u64::from(value.to_be()), odd: len & 1 == 1 }
    }

    /// Adds a 16-bit number, at an even offset.
    #[inline]
    pub fn add_u16(&mut self, value: u16) {
        self.acc += u64::from(value.to_be());
    }

    /// Adds a 32-bit number, at an even offset.
    #[inline]
    pub fn add_u32(&mut self, value: u32) {
        // In one's complement the two halves of a word add up by themselves when the sum is folded.
        self.acc += u64::from(value.to_be());
    }

    /// The sum, folded to 16 bits and not complemented: what a partial checksum holds.
    #[inline]
    pub fn value(self) -> u16 {
        u16::from_be(fold(self.acc))
    }

    /// The checksum: the complement of the sum.
    #[inline]
    pub fn checksum(self) -> u16 {
        !self.value()
    }

    /// Whether data that includes its own checksum is intact.
    #[inline]
    pub fn is_valid(self) -> bool {
        fold(self.acc) == 0xffff
    }
}

/// The sum of the TCP/UDP/ICMPv6 pseudo-header, for IPv4 and IPv6 addresses alike (RFC 9293 §3.1,
/// RFC 8200 §8.1): the length takes two more bytes in IPv6, all zero here, and zero adds nothing.
#[inline]
pub fn pseudo_header(src: &[u8], dst: &[u8], protocol: u8, len: u32) -> Sum {
    let mut sum = Sum::default();
    sum.add(src);
    sum.add(dst);
    sum.add_u16(u16::from(protocol));
    sum.add_u32(len);
    sum
}

/// The checksum of one piece.
#[inline]
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = Sum::default();
    sum.add(bytes);
    sum.checksum()
}

/// Folds a sum of words to 16 bits, which is 0 for no words but zeros only; as in RFC 1071, the order of their bytes
/// does not matter.
#[inline]
#[must_use]
pub fn fold(acc: u64) -> u16 {
    // The carry of the lower half is what comes round the end of the upper.
    let sum = (acc.wrapping_add(acc.rotate_left(32)) >> 32) as u32;
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

/// Bytes that are copied and then summed: the first-level cache still has them. One loop for both is no faster, since each
/// can use wider vectors.
const COPY_LEN: usize = 4096;

/// The most that is summed before it is folded, in bytes: of 16-bit numbers, 65,536 fit 32 bits.
const PIECE_LEN_MAX: usize = 128 * 1024;

/// Adds in one's complement: the carry comes round the end (RFC 1071 §2).
#[inline(always)]
#[must_use]
pub fn plus(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u64::from(carry)
}

/// The sum of bytes in this machine's order, for [`plus`] and [`fold`].
#[inline(always)]
#[must_use]
pub fn sum(bytes: &[u8]) -> u64 {
    // A header: what it takes to start with vectors is more than they save.
    if bytes.len() < 64 { sum_short(bytes) } else { sys::sum_words(bytes).into() }
}

/// One's complement sum of native-endian words.
#[inline]
fn sum_native(bytes: &[u8]) -> u16 {
    fold(sum(bytes))
}

/// Two additions and a shift for each 32-bit word: all of it, and its upper half. The lower half's sum is what the one has
/// and the other has not. Sums of one number each are what every compiler knows to do by whatever vectors the target has,
/// whereas one that is told of lanes may take them apart. [`sys`] compiles it for several targets.
#[inline(always)]
pub(crate) fn sum_words(bytes: &[u8]) -> u16 {
    let mut acc = 0;
    for bytes in bytes.chunks(PIECE_LEN_MAX) {
        let (words, tail) = bytes.as_chunks::<4>();
        let (mut all, mut upper) = (0u32, 0u32);
        for word in words {
            let word = u32::from_ne_bytes(*word);
            all = all.wrapping_add(word);
            upper = upper.wrapping_add(word >> 16);
        }
        acc += unfold(all, upper) + u64::from(fold(sum_short(tail)));
    }
    fold(acc)
}

/// The sum of 16-bit numbers from those of 32-bit words, modulo 2^32, and of their upper halves.
#[inline(always)]
fn unfold(all: u32, upper: u32) -> u64 {
    u64::from(all.wrapping_sub(upper << 16)) + u64::from(upper)
}

/// The sum of a header, or of what vectors leave: the carries of 64-bit words keep compilers from starting with vectors.
#[inline(always)]
fn sum_short(bytes: &[u8]) -> u64 {
    let (longs, tail) = bytes.as_chunks::<8>();
    let acc = longs.iter().fold(0, |acc, long| plus(acc, u64::from_ne_bytes(*long)));
    plus(acc, sum_tail(tail))
}

/// The sum of up to seven bytes.
#[inline(always)]
fn sum_tail(bytes: &[u8]) -> u64 {
    let (words, tail) = bytes.as_chunks::<4>();
    let mut acc = words.first().map_or(0, |word| u32::from_ne_bytes(*word).into());
    let (halves, tail) = tail.as_chunks::<2>();
    if let Some(half) = halves.first() {
        acc += u64::from(u16::from_ne_bytes(*half));
    }
    if let Some(last) = tail.first() {
        acc += u64::from(u16::from_ne_bytes([*last, 0]));
    }
    acc
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1071 §4.1, word for word.
    fn reference(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        }
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn agrees_with_the_reference_at_every_length_and_cut() {
        let bytes: alloc::vec::Vec<u8> = (0..200u32).map(|i| (i * 151 + 7) as u8).collect();
        for len in 0..bytes.len() {
            assert_eq!(checksum(&bytes[..len]), reference(&bytes[..len]), "{len} bytes");
            for cut in [0, 1, len / 2, len] {
                let mut sum = Sum::default();
                sum.add(&bytes[..cut.min(len)]);
                sum.add(&bytes[cut.min(len)..len]);
                assert_eq!(sum.checksum(), reference(&bytes[..len]), "{len} bytes cut at {cut}");
            }
        }
        assert_eq!(checksum(&[0xff; 64]), 0);
    }

    /// What other processors run.
    #[test]
    fn the_base_target_sums_the_same() {
        let bytes: alloc::vec::Vec<u8> = (0..5000u32).map(|i| (i * 151 + 7) as u8).collect();
        for len in (0..300).chain([1448, 1460, 4096, 5000]) {
            assert_eq!(!sum_words(&bytes[..len]).to_be(), reference(&bytes[..len]), "{len} bytes");
            assert_eq!(sum_words(&bytes[..len]), sys::sum_words(&bytes[..len]), "{len} bytes");
        }
    }

    #[test]
    fn copies_and_sums_at_once() {
        let bytes: alloc::vec::Vec<u8> = (0..300u32).map(|i| (i * 151 + 7) as u8).collect();
        for len in 0..bytes.len() {
            let (mut out, cut) = (alloc::vec![0; len], len / 3);
            let mut sum = Sum::default();
            sum.add_copied(&mut out[..cut], &bytes[..cut]);
            let mut sum = Sum::resume(sum.value(), cut);
            sum.add_copied(&mut out[cut..], &bytes[cut..len]);
            assert_eq!((sum.checksum(), &out[..]), (reference(&bytes[..len]), &bytes[..len]));
        }
    }

    /// Larger than what is summed before it is folded, of the largest numbers and of others.
    #[test]
    fn long_pieces_do_not_overflow() {
        for len in [PIECE_LEN_MAX - 1, PIECE_LEN_MAX + 1, 20 * PIECE_LEN_MAX + 39] {
            for bytes in [alloc::vec![0xff; len], (0..len).map(|i| (i * 151 + i / 251) as u8).collect()] {
                let folded = bytes.chunks(1000).fold(Sum::default(), |mut sum, bytes| {
                    sum.add_u16(!reference(bytes));
                    sum
                });
                assert_eq!(checksum(&bytes), folded.checksum(), "{len} bytes");
                let (mut out, mut sum) = (alloc::vec![0; len], Sum::default());
                sum.add_copied(&mut out, &bytes);
                assert!(sum.checksum() == folded.checksum() && out == bytes, "{len} bytes");
            }
        }
    }

    #[test]
    fn finds_its_own_checksum_valid() {
        let mut packet = *b"\x45\x00\x00\x54\x00\x00\x40\x00\x40\x01\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02";
        let checksum = checksum(&packet);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        let mut sum = Sum::default();
        sum.add(&packet);
        assert!(sum.is_valid());
        packet[3] ^= 1;
        let mut sum = Sum::default();
        sum.add(&packet);
        assert!(!sum.is_valid());
    }
}

//! The Internet checksum (RFC 1071).
//!
//! The sum is kept in the machine's byte order, as RFC 1071 §2(B) allows: only the result is turned round.

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

/// One's complement sum of native-endian words. 32-bit words into 64-bit lanes never overflow below 16 GiB,
/// and the shape of the loop lets the compiler use whatever vectors the target has.
#[inline]
fn sum_native(bytes: &[u8]) -> u16 {
    let mut lanes = [0u64; 8];
    let (blocks, tail) = bytes.as_chunks::<32>();
    for block in blocks {
        for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<4>().0) {
            *lane += u64::from(u32::from_ne_bytes(*word));
        }
    }
    let mut acc: u64 = lanes.iter().sum();
    let (words, tail) = tail.as_chunks::<4>();
    for word in words {
        acc += u64::from(u32::from_ne_bytes(*word));
    }
    let (halves, tail) = tail.as_chunks::<2>();
    for half in halves {
        acc += u64::from(u16::from_ne_bytes(*half));
    }
    if let [last] = tail {
        acc += u64::from(u16::from_ne_bytes([*last, 0]));
    }
    fold(acc)
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

//! TCP sequence numbers: arithmetic modulo 2^32 (RFC 9293 §3.4).

use core::fmt;
use core::ops::{Add, AddAssign, Sub};

/// A sequence number.
///
/// Numbers compare within half the space: `a` is before `b` if `b - a`, as a signed number, is positive.
/// That is no total order, so there is no `Ord`; the comparisons have names instead.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Seq(pub u32);

impl Seq {
    /// `self < other`.
    #[inline]
    pub fn before(self, other: Seq) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }

    /// `self <= other`.
    #[inline]
    pub fn at_or_before(self, other: Seq) -> bool {
        (self.0.wrapping_sub(other.0) as i32) <= 0
    }

    /// `self > other`.
    #[inline]
    pub fn after(self, other: Seq) -> bool {
        other.before(self)
    }

    /// `self >= other`.
    #[inline]
    pub fn at_or_after(self, other: Seq) -> bool {
        other.at_or_before(self)
    }

    /// `start <= self < start + len`.
    #[inline]
    pub fn within(self, start: Seq, len: u32) -> bool {
        self.0.wrapping_sub(start.0) < len
    }

    /// The later of two.
    #[inline]
    #[must_use]
    pub fn max(self, other: Seq) -> Seq {
        if self.before(other) { other } else { self }
    }

    /// The earlier of two.
    #[inline]
    #[must_use]
    pub fn min(self, other: Seq) -> Seq {
        if self.before(other) { self } else { other }
    }

    /// Bytes from `earlier` to here; 0 if `earlier` is not earlier.
    #[inline]
    pub fn since(self, earlier: Seq) -> u32 {
        if self.after(earlier) { self - earlier } else { 0 }
    }
}

impl Add<u32> for Seq {
    type Output = Seq;
    #[inline]
    fn add(self, len: u32) -> Seq {
        Seq(self.0.wrapping_add(len))
    }
}

impl AddAssign<u32> for Seq {
    #[inline]
    fn add_assign(&mut self, len: u32) {
        *self = *self + len;
    }
}

impl Sub<u32> for Seq {
    type Output = Seq;
    #[inline]
    fn sub(self, len: u32) -> Seq {
        Seq(self.0.wrapping_sub(len))
    }
}

impl Sub for Seq {
    type Output = u32;
    #[inline]
    fn sub(self, other: Seq) -> u32 {
        self.0.wrapping_sub(other.0)
    }
}

impl fmt::Debug for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_survives_the_wrap() {
        let (a, b) = (Seq(u32::MAX - 1), Seq(3));
        assert!(a.before(b) && b.after(a) && a.at_or_before(a) && !a.before(a));
        assert_eq!((b - a, a + 5, b - 5), (5, b, a));
        assert_eq!((a.max(b), a.min(b)), (b, a));
        assert_eq!((b.since(a), a.since(b)), (5, 0));
        assert!(Seq(1).within(a, 5) && !b.within(a, 5) && !(a - 1).within(a, 5));
    }
}

//! A point in time that costs one register.

use core::fmt;
use core::ops::{Add, AddAssign, Sub, SubAssign};
use core::time::Duration;

/// Nanoseconds since an arbitrary epoch: on a running shard that of its clock, in a simulation zero.
///
/// The range is 584 years. Arithmetic saturates at both ends, because a deadline that lies beyond the end of
/// time is only a deadline that never comes, and no reason to panic.
///
/// ```
/// use core::time::Duration;
/// use hayase_time::Instant;
///
/// let start = Instant::from_micros(5);
/// let later = start + Duration::from_micros(2);
/// assert_eq!(later - start, Duration::from_micros(2));
/// assert_eq!(start - later, Duration::ZERO);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The epoch.
    pub const ZERO: Instant = Instant(0);
    /// The end of time: a deadline that never comes.
    pub const MAX: Instant = Instant(u64::MAX);

    /// The instant `nanos` nanoseconds after the epoch.
    #[inline]
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Instant {
        Instant(nanos)
    }

    /// The instant `micros` microseconds after the epoch, saturating.
    #[inline]
    #[must_use]
    pub const fn from_micros(micros: u64) -> Instant {
        Instant(micros.saturating_mul(1_000))
    }

    /// The instant `millis` milliseconds after the epoch, saturating.
    #[inline]
    #[must_use]
    pub const fn from_millis(millis: u64) -> Instant {
        Instant(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the epoch.
    #[inline]
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole microseconds since the epoch.
    #[inline]
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0 / 1_000
    }

    /// Whole milliseconds since the epoch.
    #[inline]
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// `micros` microseconds later, or [`Instant::MAX`] where that lies beyond it.
    ///
    /// For hot paths: a [`Duration`] is seconds and nanoseconds, and taking it apart costs more than the sum.
    #[inline]
    #[must_use]
    pub const fn after_micros(self, micros: u64) -> Instant {
        Instant(self.0.saturating_add(micros.saturating_mul(1_000)))
    }

    /// `nanos` nanoseconds later, or [`Instant::MAX`] where that lies beyond it.
    #[inline]
    #[must_use]
    pub const fn after_nanos(self, nanos: u64) -> Instant {
        Instant(self.0.saturating_add(nanos))
    }

    /// Nanoseconds from `earlier` to `self`; zero if `earlier` is later.
    #[inline]
    #[must_use]
    pub const fn nanos_since(self, earlier: Instant) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whole microseconds from `earlier` to `self`; zero if `earlier` is later.
    #[inline]
    #[must_use]
    pub const fn micros_since(self, earlier: Instant) -> u64 {
        self.0.saturating_sub(earlier.0) / 1_000
    }

    /// `self + duration`, or [`Instant::MAX`] where that lies beyond it.
    #[inline]
    #[must_use]
    pub const fn saturating_add(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_add(nanos(duration)))
    }

    /// `self - duration`, or [`Instant::ZERO`] where that lies before it.
    #[inline]
    #[must_use]
    pub const fn saturating_sub(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_sub(nanos(duration)))
    }

    /// `self + duration`, or `None` where that lies beyond [`Instant::MAX`].
    #[inline]
    #[must_use]
    pub const fn checked_add(self, duration: Duration) -> Option<Instant> {
        match exact_nanos(duration) {
            Some(nanos) => match self.0.checked_add(nanos) {
                Some(sum) => Some(Instant(sum)),
                None => None,
            },
            None => None,
        }
    }

    /// `self - duration`, or `None` where that lies before the epoch.
    #[inline]
    #[must_use]
    pub const fn checked_sub(self, duration: Duration) -> Option<Instant> {
        match exact_nanos(duration) {
            Some(nanos) => match self.0.checked_sub(nanos) {
                Some(difference) => Some(Instant(difference)),
                None => None,
            },
            None => None,
        }
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    #[inline]
    #[must_use]
    pub const fn duration_since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The time from `earlier` to `self`, or `None` if `earlier` is later.
    #[inline]
    #[must_use]
    pub const fn checked_duration_since(self, earlier: Instant) -> Option<Duration> {
        match self.0.checked_sub(earlier.0) {
            Some(nanos) => Some(Duration::from_nanos(nanos)),
            None => None,
        }
    }
}

/// The length in nanoseconds, if it fits.
#[inline]
const fn exact_nanos(duration: Duration) -> Option<u64> {
    match duration.as_secs().checked_mul(1_000_000_000) {
        Some(nanos) => nanos.checked_add(duration.subsec_nanos() as u64),
        None => None,
    }
}

/// The length in nanoseconds, saturating.
#[inline]
const fn nanos(duration: Duration) -> u64 {
    match exact_nanos(duration) {
        Some(nanos) => nanos,
        None => u64::MAX,
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    #[inline]
    fn add(self, duration: Duration) -> Instant {
        self.saturating_add(duration)
    }
}

impl AddAssign<Duration> for Instant {
    #[inline]
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;
    #[inline]
    fn sub(self, duration: Duration) -> Instant {
        self.saturating_sub(duration)
    }
}

impl SubAssign<Duration> for Instant {
    #[inline]
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;
    #[inline]
    fn sub(self, earlier: Instant) -> Duration {
        self.duration_since(earlier)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Instant({}.{:09}s)", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_and_the_checked_kind_says_so() {
        let second = Duration::from_secs(1);
        assert_eq!(Instant::MAX + second, Instant::MAX);
        assert_eq!(Instant::ZERO - second, Instant::ZERO);
        assert_eq!(Instant::ZERO + Duration::MAX, Instant::MAX);
        assert_eq!(Instant::ZERO.checked_add(Duration::MAX), None);
        assert_eq!(Instant::MAX.checked_add(Duration::from_nanos(1)), None);
        assert_eq!(Instant::ZERO.checked_sub(Duration::from_nanos(1)), None);
        assert_eq!(Instant::from_micros(7).checked_sub(Duration::from_micros(7)), Some(Instant::ZERO));
        assert_eq!(Instant::from_millis(u64::MAX), Instant::MAX);
    }

    #[test]
    fn differences_are_exact_and_never_negative() {
        let (early, late) = (Instant::from_nanos(3), Instant::from_nanos(10));
        assert_eq!(late.duration_since(early), Duration::from_nanos(7));
        assert_eq!(early - late, Duration::ZERO);
        assert_eq!(early.checked_duration_since(late), None);
        assert_eq!(late.checked_duration_since(early), Some(Duration::from_nanos(7)));
    }

    #[test]
    fn units_round_down() {
        let instant = Instant::from_nanos(1_999_999);
        assert_eq!((instant.as_micros(), instant.as_millis()), (1_999, 1));
        assert_eq!(alloc::format!("{:?}", Instant::from_millis(1_500)), "Instant(1.500000000s)");
    }
}

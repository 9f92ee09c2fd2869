//! What compilers are told of the usual frame's way: which branch it takes.
//!
//! That way asks thirty questions, and all but a few frames answer them alike. A compiler that takes every answer for a coin's
//! toss believes that nobody gets to its end: it calls there what it would write out elsewhere, and keeps in memory what
//! belongs in registers.

use core::hint::cold_path;

/// `condition`, which nearly always holds.
#[inline(always)]
#[must_use]
pub fn likely(condition: bool) -> bool {
    if condition {
        true
    } else {
        cold_path();
        false
    }
}

/// `condition`, which hardly ever holds.
#[inline(always)]
#[must_use]
pub fn unlikely(condition: bool) -> bool {
    !likely(!condition)
}

/// `option`, which nearly always is something.
#[inline(always)]
#[must_use]
pub fn usually<T>(option: Option<T>) -> Option<T> {
    if option.is_none() {
        cold_path();
    }
    option
}

/// `option`, which nearly always is nothing.
#[inline(always)]
#[must_use]
pub fn rarely<T>(option: Option<T>) -> Option<T> {
    if option.is_some() {
        cold_path();
    }
    option
}

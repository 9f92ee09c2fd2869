//! Time for Hayase: a monotonic [`Instant`] and an O(1) timer [`Wheel`].
//!
//! Nothing in this crate reads a clock. Time is a value that the owner of a loop reads once and hands down,
//! so that the same code runs on real time, on virtual time and on bare metal.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod instant;
mod wheel;

pub use instant::Instant;
pub use wheel::{TimerKey, Wheel};

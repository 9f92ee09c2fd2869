//! The kernel's doors and the making of wakers, and the only unsafe code of the crate.

pub(crate) mod ppoll;
pub(crate) mod ring;
pub(crate) mod ticks;
pub(crate) mod waker;

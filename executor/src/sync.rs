//! The atomics of the doorbell and the flags. `tests/loom.rs` puts loom's in their place.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

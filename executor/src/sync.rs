//! The atomics of the doorbell. `tests/loom.rs` puts loom's in their place.

pub(crate) use std::sync::atomic::{AtomicBool, Ordering, fence};

//! The agreement between a core that lies down to sleep and the threads that have something for it.
//!
//! Each side writes first and looks second, with a full fence between: the sender writes its message and looks whether
//! the core lies down, the core writes that it lies down and looks for messages. So at least one sees the other's write,
//! and no message waits for a core that sleeps. `tests/loom.rs` tries every order of these steps.

use crate::sync::{AtomicBool, Ordering, fence};

/// Whether a core has announced its sleep.
#[derive(Debug)]
pub(crate) struct Doorbell {
    parked: AtomicBool,
}

impl Doorbell {
    pub(crate) fn new() -> Doorbell {
        Doorbell { parked: AtomicBool::new(false) }
    }

    /// The core is about to sleep. What it looks at after this call, it will be woken for when that changes later.
    pub(crate) fn lie_down(&self) {
        self.parked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The core is up, and wants no ringing.
    pub(crate) fn get_up(&self) {
        self.parked.store(false, Ordering::Relaxed);
    }

    /// Whether the caller, who has written what the core looks at before it sleeps, must ring. Only the first of many is
    /// told to.
    #[inline]
    pub(crate) fn must_ring(&self) -> bool {
        fence(Ordering::SeqCst);
        self.must_ring_own()
    }

    /// The same after a write of the core's own thread, which needs no fence to see itself.
    #[inline]
    pub(crate) fn must_ring_own(&self) -> bool {
        self.parked.load(Ordering::Relaxed) && self.take_turn()
    }

    #[cold]
    fn take_turn(&self) -> bool {
        self.parked.compare_exchange(true, false, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

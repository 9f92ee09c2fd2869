//! What other threads lay down for a core, and a flag that tells a turn, without the lock, that there is nothing.
//!
//! The flag is written under the lock only. So whoever lowers it takes all that was laid down before, and what comes later
//! raises it again. `src/tests/loom.rs` tries every order, with loom's lock and flag in place of these.

use super::sync::{AtomicBool, Mutex, MutexGuard, Ordering, PoisonError};

/// Something that other threads change and a core takes: rarely, while it looks in each turn whether it has to.
///
/// The value is whole whatever happens to a thread that holds the lock: what is done under it must not leave it half changed.
#[derive(Debug, Default)]
pub(crate) struct Tray<T> {
    value: Mutex<T>,
    any: AtomicBool,
}

impl<T> Tray<T> {
    /// Whether nothing was put here since the last [`take`](Self::take). Takes no lock.
    ///
    /// What is put while a core lies down is seen by it or wakes it, if the other thread calls
    /// [`Handle::notify`](hayase_executor::Handle::notify) after it has put.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Relaxed)
    }

    /// Puts something here. Returns what `f` does.
    pub(crate) fn put<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        let mut value = self.lock();
        self.any.store(true, Ordering::Relaxed);
        f(&mut value)
    }

    /// Takes what is here. Returns what `f` does; what that leaves is not announced again.
    pub(crate) fn take<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        let mut value = self.lock();
        self.any.store(false, Ordering::Relaxed);
        f(&mut value)
    }

    /// Looks at the value, or changes it, with nothing to announce and nothing taken.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

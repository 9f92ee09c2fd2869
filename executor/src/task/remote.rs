//! The handle of a task that another core has yet to make.
//!
//! The output goes to a slot as every task's does. What is more is that such a task can be aborted before it is made.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Id;
use super::error::Reason;
use super::join::{AbortHandle, JoinHandle};
use super::slot::Slot;

/// Aborts a task once it has been made.
pub(super) struct Later {
    pub(super) id: Id,
    state: Mutex<State>,
}

struct State {
    is_aborted: bool,
    made: Option<AbortHandle>,
}

impl Later {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn abort(&self) {
        let mut state = self.lock();
        state.is_aborted = true;
        let made = state.made.clone();
        drop(state);
        if let Some(made) = made {
            made.abort();
        }
    }

    fn made(&self, abort: AbortHandle) {
        let mut state = self.lock();
        let is_aborted = state.is_aborted;
        state.made = Some(abort.clone());
        drop(state);
        if is_aborted {
            abort.abort();
        }
    }
}

/// What travels to the core that makes the task.
pub(crate) struct Placement<T> {
    slot: Arc<Slot<T>>,
    later: Arc<Later>,
    is_placed: bool,
}

impl<T: Send + 'static> Placement<T> {
    pub(crate) fn new() -> (Placement<T>, JoinHandle<T>) {
        let slot = Slot::new();
        let state = Mutex::new(State { is_aborted: false, made: None });
        let later = Arc::new(Later { id: Id::elsewhere(), state });
        let handle = JoinHandle::new(slot.clone(), AbortHandle::later(later.clone()));
        (Placement { slot, later, is_placed: false }, handle)
    }
}

impl<T> Placement<T> {
    /// Has `make` make the task, whose output goes to the slot.
    pub(crate) fn place(mut self, make: impl FnOnce(Arc<Slot<T>>) -> AbortHandle) {
        self.is_placed = true;
        self.later.made(make(self.slot.clone()));
    }
}

impl<T> Drop for Placement<T> {
    /// The executor went away with the request.
    fn drop(&mut self) {
        if !self.is_placed {
            self.slot.settle(Err(Reason::Cancelled));
        }
    }
}

//! Where the output of a task waits for whoever joins it, which may be on another thread.
//!
//! A task with a handle has one, and gives it up when the handle is dropped. It is locked when a task ends and when its
//! handle is polled, which is no part of any packet's path.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::JoinError;

pub(crate) struct Slot<T>(Mutex<State<T>>);

struct State<T> {
    /// What the task has ended with, until it is taken.
    outcome: Option<Result<T, JoinError>>,
    has_ended: bool,
    /// Who waits for the end.
    waker: Option<Waker>,
}

impl<T> Slot<T> {
    pub(super) fn new() -> Arc<Slot<T>> {
        Arc::new(Slot(Mutex::new(State { outcome: None, has_ended: false, waker: None })))
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task has ended.
    pub(super) fn settle(&self, outcome: Result<T, JoinError>) {
        let mut state = self.lock();
        state.outcome = Some(outcome);
        state.has_ended = true;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.lock().has_ended
    }

    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        let mut state = self.lock();
        if state.has_ended {
            let outcome = state.outcome.take();
            drop(state);
            return Poll::Ready(outcome.expect("a JoinHandle was polled after it returned the output"));
        }
        if state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        let before = state.waker.replace(cx.waker().clone());
        // Dropping a waker may run code of users.
        drop(state);
        drop(before);
        Poll::Pending
    }
}

//! Where the output of a task waits for whoever joins it, which may be on another thread.
//!
//! A task with a handle has one, and gives it up when the handle is dropped. It is locked when a task ends and when its
//! handle is polled, which is no part of any packet's path.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::error::Reason;

pub(crate) struct Slot<T>(Mutex<State<T>>);

struct State<T> {
    /// What the task has ended with, until it is taken.
    outcome: Option<Result<T, Reason>>,
    has_ended: bool,
    /// Who waits for the end.
    waker: Option<Waker>,
}

impl<T> State<T> {
    /// If the task has ended, what with, unless that was taken before.
    fn end(&mut self) -> Option<Option<Result<T, Reason>>> {
        self.has_ended.then(|| self.outcome.take())
    }
}

/// What a task has ended with, which must not be locked: it may panic.
fn output<T>(ended: Option<Result<T, Reason>>) -> Poll<Result<T, Reason>> {
    Poll::Ready(ended.expect("a JoinHandle was polled after it returned the output"))
}

impl<T> Slot<T> {
    pub(super) fn new() -> Arc<Slot<T>> {
        Arc::new(Slot(Mutex::new(State { outcome: None, has_ended: false, waker: None })))
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task has ended.
    pub(super) fn settle(&self, outcome: Result<T, Reason>) {
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

    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<T, Reason>> {
        if let Some(polled) = self.look(cx.waker()) {
            return polled;
        }
        // To clone and to drop a waker may run code of users, and so happens with nothing locked.
        let waker = cx.waker().clone();
        let mut state = self.lock();
        // The task may have ended before the waker was there.
        let ended = state.end();
        let unneeded = if ended.is_some() { Some(waker) } else { state.waker.replace(waker) };
        drop(state);
        drop(unneeded);
        ended.map_or(Poll::Pending, output)
    }

    /// What is there to be said without another waker: the end, or that this one waits already.
    fn look(&self, waker: &Waker) -> Option<Poll<Result<T, Reason>>> {
        let mut state = self.lock();
        if let Some(ended) = state.end() {
            drop(state);
            return Some(output(ended));
        }
        let is_known = state.waker.as_ref().is_some_and(|known| known.will_wake(waker));
        is_known.then_some(Poll::Pending)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::rc::Rc;

    use super::*;
    use crate::sys::waker::testing::waker_that_calls_when_cloned;
    use crate::{Executor, JoinSet};

    /// An executor, and a waker that turns it while it is cloned.
    fn turned() -> (Rc<Executor>, Waker) {
        let executor = Rc::new(Executor::new().unwrap());
        let turned = Rc::clone(&executor);
        (executor, waker_that_calls_when_cloned(move || _ = turned.turn(&())))
    }

    #[test]
    fn a_task_may_end_while_the_waker_of_its_handle_is_cloned() {
        let (executor, waker) = turned();
        let mut handle = executor.spawn(async { 7 });
        let polled = Pin::new(&mut handle).poll(&mut Context::from_waker(&waker));
        assert!(matches!(polled, Poll::Ready(Ok(7))));
    }

    #[test]
    fn a_task_may_end_while_the_waker_of_its_set_is_cloned() {
        let (executor, waker) = turned();
        let mut set = JoinSet::new();
        set.insert(executor.spawn(async { 7 }));
        let polled = set.poll_join_next(&mut Context::from_waker(&waker));
        assert!(matches!(polled, Poll::Ready(Some(Ok(7)))));
    }
}

//! The handle of a task that another core has yet to make.
//!
//! The spawning core keeps a slot, and sends its other end along with the request. When the task has been made, its
//! real handle is put into the slot. Spawning on another core is rare and costs a system call if that core sleeps, so
//! the slot has a plain lock, which is hardly ever contended.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::JoinError;
use super::join::{AbortHandle, JoinHandle, RemoteAbort, Task, poll_task};

pub(super) struct Slot<T>(Mutex<State<T>>);

struct State<T> {
    stage: Stage<T>,
    /// What the holder of the handle did before the task was made.
    aborted: bool,
    detached: bool,
    /// Who waits for the task to be made.
    waker: Option<Waker>,
}

enum Stage<T> {
    /// The request is on its way.
    Requested,
    /// The task exists. The handle is gone when it was detached.
    Made { task: Option<Task<T>>, abort: AbortHandle },
    /// The executor went away with the request.
    Lost,
}

impl<T> Slot<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        let mut state = self.lock();
        match &mut state.stage {
            Stage::Made { task: Some(task), .. } => poll_task(task, cx),
            Stage::Made { task: None, .. } | Stage::Lost => Poll::Ready(Err(JoinError::cancelled())),
            Stage::Requested => {
                let before = state.waker.replace(cx.waker().clone());
                drop(state);
                drop(before);
                Poll::Pending
            }
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        match &self.lock().stage {
            Stage::Requested => false,
            Stage::Made { task, .. } => task.as_ref().is_none_or(Task::is_finished),
            Stage::Lost => true,
        }
    }

    pub(super) fn detach(&self) {
        let mut state = self.lock();
        state.detached = true;
        let task = match &mut state.stage {
            Stage::Made { task, .. } => task.take(),
            Stage::Requested | Stage::Lost => None,
        };
        drop(state);
        if let Some(task) = task {
            task.detach();
        }
    }

    /// The task exists, or will never.
    fn settle(&self, made: Option<(Task<T>, AbortHandle)>) {
        let mut state = self.lock();
        let (mut detached, mut aborted) = (None, None);
        state.stage = match made {
            None => Stage::Lost,
            Some((task, abort)) => {
                aborted = state.aborted.then(|| abort.clone());
                let kept = if state.detached { detached.replace(task) } else { Some(task) };
                Stage::Made { task: kept, abort }
            }
        };
        let waker = state.waker.take();
        drop(state);
        // Code of users may run in all of these, and so without the lock.
        if let Some(task) = detached {
            task.detach();
        }
        if let Some(abort) = aborted {
            abort.abort();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T: Send> RemoteAbort for Slot<T> {
    fn abort(&self) {
        let mut state = self.lock();
        state.aborted = true;
        let abort = match &state.stage {
            Stage::Made { abort, .. } => Some(abort.clone()),
            Stage::Requested | Stage::Lost => None,
        };
        drop(state);
        if let Some(abort) = abort {
            abort.abort();
        }
    }
}

/// The end of a slot that travels to the core that makes the task.
pub(crate) struct Placement<T> {
    slot: Arc<Slot<T>>,
    placed: bool,
}

impl<T: Send + 'static> Placement<T> {
    pub(crate) fn new() -> (Placement<T>, JoinHandle<T>) {
        let state = State { stage: Stage::Requested, aborted: false, detached: false, waker: None };
        let slot = Arc::new(Slot(Mutex::new(state)));
        let handle = JoinHandle::remote(slot.clone(), AbortHandle::remote(slot.clone()));
        (Placement { slot, placed: false }, handle)
    }
}

impl<T> Placement<T> {
    /// The task has been made.
    pub(crate) fn place(mut self, handle: JoinHandle<T>) {
        self.placed = true;
        self.slot.settle(handle.into_local());
    }
}

impl<T> Drop for Placement<T> {
    fn drop(&mut self) {
        if !self.placed {
            self.slot.settle(None);
        }
    }
}

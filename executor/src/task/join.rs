//! The handle of a task.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::remote::Later;
use super::slot::Slot;
use super::{Id, JoinError, TaskId};
use crate::core::Core;
use crate::current;
use crate::mailbox::{Mailbox, Message};

/// Waits for a task and takes its output.
///
/// Dropping the handle detaches the task, which runs on. The handle is `Send` if the output is, and may be awaited on
/// any thread and in any executor. It is cancel safe: an output that was not taken waits in the handle.
///
/// # Panics
/// If it is polled after it returned the output.
pub struct JoinHandle<T> {
    slot: Arc<Slot<T>>,
    abort: AbortHandle,
}

impl<T> JoinHandle<T> {
    pub(super) fn new(slot: Arc<Slot<T>>, abort: AbortHandle) -> JoinHandle<T> {
        JoinHandle { slot, abort }
    }

    /// Cancels the task: its future is dropped when the task would run next, on its own thread. A task that has
    /// ended, or ends first, is not changed.
    pub fn abort(&self) {
        self.abort.abort();
    }

    /// What can abort the task and nothing else.
    #[must_use]
    pub fn abort_handle(&self) -> AbortHandle {
        self.abort.clone()
    }

    /// What the task is called.
    #[must_use]
    pub fn id(&self) -> Id {
        self.abort.id()
    }

    /// Whether the task has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.slot.is_finished()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.slot.poll(cx).map_err(|reason| JoinError::new(self.id(), reason))
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        // A task of this core need not keep the slot. This handle still does, so no output is dropped here.
        if let AbortKind::Now { mailbox, id } = &self.abort.0 {
            at_home(mailbox, |core| core.detach(*id));
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("is_finished", &self.is_finished()).finish_non_exhaustive()
    }
}

/// Aborts a task, from any thread. It does not keep the task's output or memory.
#[derive(Clone)]
pub struct AbortHandle(AbortKind);

#[derive(Clone)]
enum AbortKind {
    Now {
        mailbox: Arc<Mailbox>,
        id: TaskId,
    },
    /// As soon as it is made, if it is not yet.
    Later(Arc<Later>),
}

impl AbortHandle {
    pub(super) fn now(mailbox: Arc<Mailbox>, id: TaskId) -> AbortHandle {
        AbortHandle(AbortKind::Now { mailbox, id })
    }

    pub(super) fn later(later: Arc<Later>) -> AbortHandle {
        AbortHandle(AbortKind::Later(later))
    }

    /// As [`JoinHandle::id`].
    #[must_use]
    pub fn id(&self) -> Id {
        match &self.0 {
            AbortKind::Now { mailbox, id } => Id::here(mailbox.id, *id),
            AbortKind::Later(later) => later.id,
        }
    }

    /// As [`JoinHandle::abort`].
    pub fn abort(&self) {
        match &self.0 {
            AbortKind::Later(later) => later.abort(),
            AbortKind::Now { mailbox, id } => {
                if !at_home(mailbox, |core| core.abort(*id)) {
                    mailbox.send(Message::Abort(*id));
                }
            }
        }
    }
}

/// Calls `f` with the core of this thread if that is the one of `mailbox`. `f` runs no code of users.
fn at_home(mailbox: &Mailbox, f: impl FnOnce(&Core)) -> bool {
    let visited = current::try_with(|core| (core.mailbox.id == mailbox.id).then(|| f(core)));
    visited.flatten().is_some()
}

impl fmt::Debug for AbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortHandle").finish_non_exhaustive()
    }
}

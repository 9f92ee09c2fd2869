//! The handle of a task.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_task::FallibleTask;

use super::remote::Slot;
use super::{JoinError, TaskId};
use crate::current;
use crate::mailbox::{Mailbox, Message};

/// A task as async-task sees it. `None` comes out if its executor is dropped.
pub(super) type Task<T> = FallibleTask<Result<T, JoinError>, Arc<Mailbox>>;

/// Waits for a task and takes its output.
///
/// Dropping the handle detaches the task, which runs on. The handle is `Send` if the output is, and may be awaited on
/// any thread and in any executor. It is cancel safe: an output that was not taken waits in the handle.
///
/// # Panics
/// If it is polled after it returned the output.
pub struct JoinHandle<T> {
    task: Kind<T>,
    abort: AbortHandle,
}

enum Kind<T> {
    Local(Task<T>),
    Remote(Arc<Slot<T>>),
    Detached,
}

impl<T> JoinHandle<T> {
    pub(super) fn local(task: Task<T>, abort: AbortHandle) -> JoinHandle<T> {
        JoinHandle { task: Kind::Local(task), abort }
    }

    pub(super) fn remote(slot: Arc<Slot<T>>, abort: AbortHandle) -> JoinHandle<T> {
        JoinHandle { task: Kind::Remote(slot), abort }
    }

    /// Takes the handle of a task of this core apart.
    pub(super) fn into_local(mut self) -> Option<(Task<T>, AbortHandle)> {
        match std::mem::replace(&mut self.task, Kind::Detached) {
            Kind::Local(task) => Some((task, self.abort.clone())),
            Kind::Remote(_) | Kind::Detached => None,
        }
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

    /// Whether the task has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        match &self.task {
            Kind::Local(task) => task.is_finished(),
            Kind::Remote(slot) => slot.is_finished(),
            Kind::Detached => true,
        }
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.task {
            Kind::Local(task) => poll_task(task, cx),
            Kind::Remote(slot) => slot.poll(cx),
            Kind::Detached => Poll::Ready(Err(JoinError::cancelled())),
        }
    }
}

/// Polls a task whose executor may be gone.
pub(super) fn poll_task<T>(task: &mut Task<T>, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
    Pin::new(task).poll(cx).map(|output| output.unwrap_or_else(|| Err(JoinError::cancelled())))
}

impl<T> Unpin for JoinHandle<T> {}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.task, Kind::Detached) {
            Kind::Local(task) => task.detach(),
            Kind::Remote(slot) => slot.detach(),
            Kind::Detached => {}
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
    Local { mailbox: Arc<Mailbox>, id: TaskId },
    Remote(Arc<dyn RemoteAbort>),
}

/// What can abort a task that may not have been made yet.
pub(super) trait RemoteAbort: Send + Sync {
    fn abort(&self);
}

impl AbortHandle {
    pub(super) fn local(mailbox: Arc<Mailbox>, id: TaskId) -> AbortHandle {
        AbortHandle(AbortKind::Local { mailbox, id })
    }

    pub(super) fn remote(slot: Arc<dyn RemoteAbort>) -> AbortHandle {
        AbortHandle(AbortKind::Remote(slot))
    }

    /// As [`JoinHandle::abort`].
    pub fn abort(&self) {
        match &self.0 {
            AbortKind::Remote(slot) => slot.abort(),
            AbortKind::Local { mailbox, id } => {
                let core = current::try_with(|core| (core.mailbox.id == mailbox.id).then(|| core.clone()));
                match core.flatten() {
                    Some(core) => core.abort(*id),
                    None => mailbox.send(Message::Abort(*id)),
                }
            }
        }
    }
}

impl fmt::Debug for AbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortHandle").finish_non_exhaustive()
    }
}

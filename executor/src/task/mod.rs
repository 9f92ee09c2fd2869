//! Tasks.

mod error;
mod future;
mod join;
mod registry;
mod remote;
mod set;
mod yield_now;

use std::rc::Rc;
use std::sync::Arc;

use async_task::Runnable;

pub use self::error::JoinError;
pub use self::join::{AbortHandle, JoinHandle};
pub(crate) use self::registry::{TaskId, Tasks};
pub(crate) use self::remote::Placement;
pub use self::set::JoinSet;
pub use self::yield_now::{YieldNow, yield_now};

use self::future::TaskFuture;
use crate::core::Core;
use crate::current;
use crate::mailbox::{Mailbox, Message};

/// Runs `future` as a task of this thread's executor.
///
/// It starts in the present turn if the turn's budget allows, else in the next, and runs whether or not the handle is
/// kept. A panic ends the task only, and is found in its handle.
///
/// # Panics
/// If there is no executor on this thread.
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    current::with(Rc::clone).spawn(future)
}

impl Core {
    pub(crate) fn spawn<F>(self: &Rc<Self>, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let id = self.tasks.borrow_mut().reserve();
        let mailbox = self.mailbox.clone();
        let future = TaskFuture::new(future, id, self.clone());
        let (runnable, task) = async_task::spawn_local(future, move |runnable| schedule(runnable, &mailbox));
        self.tasks.borrow_mut().start(id, runnable.waker());
        self.counters.tasks_spawned.add(1);
        if self.closing.get() {
            drop(runnable);
        } else {
            self.push(runnable);
        }
        JoinHandle::local(task.fallible(), AbortHandle::local(self.mailbox.clone(), id))
    }
}

/// Queues a woken task: directly on its own thread, through the mailbox from any other.
#[inline]
fn schedule(runnable: Runnable, mailbox: &Arc<Mailbox>) {
    let mut runnable = Some(runnable);
    current::try_with(|core| {
        if core.mailbox.id == mailbox.id
            && let Some(runnable) = runnable.take()
        {
            core.push(runnable);
        }
    });
    if let Some(runnable) = runnable {
        mailbox.send(Message::Run(runnable));
    }
}

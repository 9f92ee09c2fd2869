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

/// A task that is awake. What it carries along is the way home: so scheduling needs no closure in the task, and
/// async-task wakes such a task without a second look at its reference count.
pub(crate) type Runnable = async_task::Runnable<Arc<Mailbox>>;

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
        let future = TaskFuture::new(future, id, self.clone());
        let task = async_task::Builder::new().metadata(self.mailbox.clone());
        let (runnable, task) = task.spawn_local(|_| future, schedule);
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
fn schedule(runnable: Runnable) {
    let mut runnable = Some(runnable);
    current::try_with(|core| {
        if let Some(runnable) = runnable.take_if(|runnable| Arc::ptr_eq(runnable.metadata(), &core.mailbox)) {
            core.push(runnable);
        }
    });
    if let Some(runnable) = runnable {
        send_home(runnable);
    }
}

#[cold]
fn send_home(runnable: Runnable) {
    // Once it is sent, the task can end and its memory go at any time.
    let mailbox = runnable.metadata().clone();
    mailbox.send(Message::Run(runnable));
}

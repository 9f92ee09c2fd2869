//! Tasks.

mod error;
mod future;
mod id;
mod join;
mod queue;
mod registry;
mod remote;
mod set;
mod slot;
mod waker;
mod yield_now;

use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;

pub use self::error::JoinError;
pub use self::id::Id;
pub use self::join::{AbortHandle, JoinHandle};
pub(crate) use self::registry::{TaskId, Tasks};
pub(crate) use self::remote::Placement;
pub use self::set::JoinSet;
pub(crate) use self::waker::CoreNumber;
pub use self::waker::{TaskWaker, Waking, waking};
pub use self::yield_now::{YieldNow, yield_now};

use self::future::Progress;
pub(crate) use self::future::contain;
use self::registry::Next;
use self::slot::Slot;
use crate::core::Core;
use crate::{current, sys};

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
    pub(crate) fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let slot = Slot::new();
        let abort = self.spawn_into(slot.clone(), future);
        JoinHandle::new(slot, abort)
    }

    /// Makes a task whose output goes to `slot`.
    pub(crate) fn spawn_into<F>(&self, slot: Arc<Slot<F::Output>>, future: F) -> AbortHandle
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let mut task = future::boxed(future, slot);
        self.counters.tasks_spawned.add(1);
        let is_closing = self.closing.get();
        if is_closing {
            task.as_mut().cancel();
        }
        let id = self.tasks.borrow_mut().insert(task);
        if is_closing {
            self.end(id);
        } else {
            self.mailbox.ring_if_parked();
        }
        AbortHandle::now(self.mailbox.clone(), id)
    }

    /// Marks a task as aborted and wakes it, so that it is cancelled.
    pub(crate) fn abort(&self, id: TaskId) {
        self.tasks.borrow_mut().abort(id);
        self.mailbox.ring_if_parked();
    }

    /// The handle of a task is gone, but not yet the slot.
    pub(crate) fn detach(&self, id: TaskId) {
        if let Some(task) = self.tasks.borrow_mut().get(id) {
            task.as_mut().detach();
        }
    }

    /// Runs tasks that are awake, at most `polls_max` of them. Returns how many.
    #[inline(always)]
    pub(crate) fn run_awake(&self, polls_max: usize) -> usize {
        let mut polls = 0;
        let mut tasks = self.tasks.borrow_mut();
        while polls < polls_max
            && let Some(mut next) = tasks.next()
        {
            drop(tasks);
            polls += 1;
            tasks = match self.poll(&mut next) {
                Progress::Pending => {
                    let mut tasks = self.tasks.borrow_mut();
                    tasks.put_back(next);
                    tasks
                }
                progress => {
                    self.finish(next, progress);
                    self.tasks.borrow_mut()
                }
            };
        }
        polls
    }

    #[inline(always)]
    fn poll(&self, next: &mut Next) -> Progress {
        if next.is_aborted() {
            next.task.as_mut().cancel();
            return Progress::Ended;
        }
        let waker = sys::waker::waker(next.waker);
        next.task.as_mut().poll(&mut Context::from_waker(&waker))
    }

    #[cold]
    fn cancel(&self, mut next: Next) {
        next.task.as_mut().cancel();
        self.end(next.id());
    }

    #[inline(never)]
    fn finish(&self, next: Next, progress: Progress) {
        self.counters.tasks_panicked.add(usize::from(progress == Progress::Panicked));
        self.end(next.id());
    }

    /// A task has ended, and has no future any more.
    fn end(&self, id: TaskId) {
        let task = self.tasks.borrow_mut().remove(id);
        drop(task);
    }

    /// Cancels all tasks. What they spawn meanwhile is cancelled at once.
    pub(crate) fn cancel_all(&self) {
        let mut from = 0;
        loop {
            let next = self.tasks.borrow_mut().take_from(from);
            let Some(next) = next else { break };
            from = next.id().index as usize + 1;
            self.cancel(next);
        }
        self.tasks.borrow_mut().clear_queue();
    }
}

//! What surrounds the future of a task: panics end here, and so does abort.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::{JoinError, TaskId};
use crate::core::Core;

pin_project! {
    pub(super) struct TaskFuture<F> {
        // `None` once it has ended.
        #[pin]
        future: Option<F>,
        id: TaskId,
        core: Rc<Core>,
    }

    impl<F> PinnedDrop for TaskFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            // Nobody is left to tell of a panic; the panic hook has told it.
            let _ = clear(this.future);
            let waker = this.core.tasks.borrow_mut().remove(*this.id);
            drop(waker);
        }
    }
}

impl<F> TaskFuture<F> {
    pub(super) fn new(future: F, id: TaskId, core: Rc<Core>) -> TaskFuture<F> {
        TaskFuture { future: Some(future), id, core }
    }
}

impl<F: Future> Future for TaskFuture<F> {
    type Output = Result<F::Output, JoinError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let aborted = this.core.tasks.borrow().is_aborted(*this.id);
        let Some(future) = this.future.as_mut().as_pin_mut().filter(|_| !aborted) else {
            return Poll::Ready(Err(cancel(this.future)));
        };
        // The future is not looked at again after a panic, except to drop it.
        let output = match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
            Ok(poll) => Ok(ready!(poll)),
            Err(payload) => {
                this.core.counters.tasks_panicked.add(1);
                Err(JoinError::panicked(payload))
            }
        };
        // The future goes before its output is seen, so that whoever joins finds its resources free.
        let cleared = clear(this.future);
        Poll::Ready(output.and_then(|output| cleared.map(|()| output).map_err(JoinError::panicked)))
    }
}

/// Drops the future of an aborted task.
#[cold]
fn cancel<F>(future: Pin<&mut Option<F>>) -> JoinError {
    clear(future).map_or_else(JoinError::panicked, |()| JoinError::cancelled())
}

/// Drops a future, whose destructor may panic.
fn clear<F>(mut future: Pin<&mut Option<F>>) -> Result<(), Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(|| future.set(None)))
}

//! What surrounds the future of a task: panics end here.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::error::Reason;
use super::slot::Slot;

/// A task as the executor sees it.
pub(super) type BoxedTask = Pin<Box<dyn Task>>;

/// A future whose type is forgotten, and where its output goes. None of these panics.
pub(super) trait Task {
    /// Polls the future. Once it has ended, it is dropped and its output is where it belongs.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Progress;

    /// Drops the future and says that it was cancelled.
    fn cancel(self: Pin<&mut Self>);

    /// Nobody wants the output any more.
    fn detach(self: Pin<&mut Self>);
}

/// What a poll has led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    Pending,
    Ended,
    Panicked,
}

pin_project! {
    struct TaskFuture<F: Future> {
        // `None` once it has ended.
        #[pin]
        future: Option<F>,
        // `None` without a handle.
        slot: Option<Arc<Slot<F::Output>>>,
    }
}

/// Makes a task whose output goes to `slot`.
pub(super) fn boxed<F>(future: F, slot: Arc<Slot<F::Output>>) -> BoxedTask
where
    F: Future + 'static,
    F::Output: 'static,
{
    Box::pin(TaskFuture { future: Some(future), slot: Some(slot) })
}

impl<F: Future> Task for TaskFuture<F> {
    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Progress {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else { return Progress::Ended };
        // The future is not looked at again after a panic, except to drop it.
        match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
            Ok(Poll::Pending) => Progress::Pending,
            Ok(Poll::Ready(output)) => {
                end(this.future, this.slot, Ok(output));
                Progress::Ended
            }
            Err(payload) => {
                end(this.future, this.slot, Err(Reason::panicked(payload)));
                Progress::Panicked
            }
        }
    }

    fn cancel(self: Pin<&mut Self>) {
        let this = self.project();
        end(this.future, this.slot, Err(Reason::Cancelled));
    }

    fn detach(self: Pin<&mut Self>) {
        *self.project().slot = None;
    }
}

/// The future goes before its output is seen, so that whoever joins finds its resources free. If its destructor panics,
/// that is the outcome.
#[inline(never)]
fn end<F: Future>(
    mut future: Pin<&mut Option<F>>,
    slot: &mut Option<Arc<Slot<F::Output>>>,
    output: Result<F::Output, Reason>,
) {
    let outcome = match contain(|| future.set(None)) {
        Ok(()) => output,
        Err(payload) => {
            let _ = contain(|| drop(output));
            Err(Reason::panicked(payload))
        }
    };
    let slot = slot.take();
    // Nobody is left to tell of a panic in the destructor of an output that nobody wants, or in a waker; the panic hook has
    // told it.
    let _ = contain(|| match slot {
        Some(slot) => slot.settle(outcome),
        None => drop(outcome),
    });
}

/// Runs code of users that may panic.
pub(crate) fn contain(f: impl FnOnce()) -> Result<(), Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(f))
}

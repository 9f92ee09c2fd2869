//! The answer of a shard that took a connection in.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use hayase_stack::TcpId;

use crate::door::Handle;

/// The connection where it is now. Whoever drops it closes the connection: also an answer that nobody waits for.
pub(crate) type Arrived = io::Result<Handle<TcpId>>;

#[derive(Default)]
struct Slot {
    answer: Option<Arrived>,
    waiter: Option<Waiter>,
    /// Whether there will be no answer any more.
    is_over: bool,
    /// Nobody waits any more.
    is_abandoned: bool,
}

enum Waiter {
    Task(Waker),
    Call(Box<dyn FnOnce(Arrived) + Send>),
}

/// The end that waits.
pub(crate) struct Moved(Arc<Mutex<Slot>>);

/// The end that answers. Dropping it is an answer, too.
pub(crate) struct Reply(Arc<Mutex<Slot>>);

/// Nothing that panics happens under this lock.
fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slot {
    fn take(&mut self) -> Option<Arrived> {
        self.answer.take().or_else(|| self.is_over.then(|| Err(lost())))
    }
}

impl Moved {
    pub(crate) fn channel() -> (Reply, Moved) {
        let slot = Arc::default();
        (Reply(Arc::clone(&slot)), Moved(slot))
    }

    /// Waits until the connection has arrived.
    pub(crate) async fn arrived(self) -> Arrived {
        poll_fn(|cx| {
            if let Some(answer) = lock(&self.0).take() {
                return Poll::Ready(answer);
            }
            // To clone and to drop a waker may run foreign code, and so happens with nothing locked.
            let waiter = Waiter::Task(cx.waker().clone());
            let mut slot = lock(&self.0);
            let before = slot.waiter.replace(waiter);
            let answer = slot.take();
            drop(slot);
            drop(before);
            answer.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Calls `f` when the connection has arrived: on the thread of whoever answers, or at once. It must not use the shard.
    pub(crate) fn then(self, f: impl FnOnce(Arrived) + Send + 'static) {
        let mut slot = lock(&self.0);
        match slot.take() {
            None => slot.waiter = Some(Waiter::Call(Box::new(f))),
            Some(answer) => {
                drop(slot);
                f(answer);
            }
        }
    }
}

fn lost() -> io::Error {
    let text = "the core to which the connection was on its way has ended";
    io::Error::new(io::ErrorKind::ConnectionAborted, text)
}

impl Reply {
    pub(crate) fn send(self, answer: Arrived) {
        drop(self.offer(answer));
    }

    /// The same, but where nobody waits any more, the connection comes back to be closed.
    pub(crate) fn offer(self, answer: Arrived) -> Option<Handle<TcpId>> {
        let mut slot = lock(&self.0);
        if slot.is_abandoned {
            return answer.ok();
        }
        slot.answer = Some(answer);
        None
    }
}

impl Drop for Moved {
    /// Also where somebody is still to be called: that one waits in its place.
    fn drop(&mut self) {
        let mut slot = lock(&self.0);
        if matches!(slot.waiter, Some(Waiter::Call(_))) {
            return;
        }
        slot.is_abandoned = true;
        // An answer that came too late is dropped on this thread, and with nothing locked.
        let unwanted = slot.answer.take();
        drop(slot);
        drop(unwanted);
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let mut slot = lock(&self.0);
        slot.is_over = true;
        match slot.waiter.take() {
            None => {}
            Some(Waiter::Task(waker)) => {
                drop(slot);
                waker.wake();
            }
            Some(Waiter::Call(f)) => {
                let answer = slot.answer.take().unwrap_or_else(|| Err(lost()));
                drop(slot);
                f(answer);
            }
        }
    }
}

impl fmt::Debug for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Moved")
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::door::ShardId;

    const ID: TcpId = TcpId { index: 3, generation: 1 };

    fn handle() -> Handle<TcpId> {
        Handle::new(ShardId::new(0, 1).unwrap(), ID)
    }

    #[test]
    fn what_nobody_waits_for_comes_back() {
        let (reply, moved) = Moved::channel();
        drop(moved);
        assert_eq!(reply.offer(Ok(handle())).map(Handle::into_id), Some(ID));
    }

    #[test]
    fn whoever_is_to_be_called_waits_as_well() {
        let (sender, called) = std::sync::mpsc::channel();
        let (reply, moved) = Moved::channel();
        moved.then(move |arrived| sender.send(arrived.map(Handle::into_id).ok()).unwrap());
        assert!(reply.offer(Ok(handle())).is_none());
        assert_eq!(called.try_recv(), Ok(Some(ID)));
    }
}

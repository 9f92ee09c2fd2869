//! The answer of a shard that took a connection in.

use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use hayase_stack::TcpId;

use crate::door::ShardId;

/// Where a connection is now.
type Place = (ShardId, TcpId);

#[derive(Debug, Default)]
struct Slot {
    answer: Option<io::Result<Place>>,
    waker: Option<Waker>,
    /// Whether there will be no answer any more.
    is_over: bool,
}

/// The end that waits.
#[derive(Debug)]
pub(crate) struct Moved(Arc<Mutex<Slot>>);

/// The end that answers. Dropping it is an answer, too.
#[derive(Debug)]
pub(super) struct Reply(Arc<Mutex<Slot>>);

/// Nothing that panics happens under this lock.
fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Moved {
    pub(super) fn channel() -> (Reply, Moved) {
        let slot = Arc::default();
        (Reply(Arc::clone(&slot)), Moved(slot))
    }

    /// Waits until the connection has arrived.
    pub(crate) async fn arrived(self) -> io::Result<Place> {
        poll_fn(|cx| {
            let mut slot = lock(&self.0);
            match slot.answer.take() {
                Some(answer) => Poll::Ready(answer),
                None if slot.is_over => Poll::Ready(Err(lost())),
                None => {
                    let before = slot.waker.replace(cx.waker().clone());
                    drop(slot);
                    drop(before);
                    Poll::Pending
                }
            }
        })
        .await
    }
}

fn lost() -> io::Error {
    let text = "the core to which the connection was on its way has ended";
    io::Error::new(io::ErrorKind::ConnectionAborted, text)
}

impl Reply {
    pub(super) fn send(self, answer: io::Result<Place>) {
        lock(&self.0).answer = Some(answer);
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let mut slot = lock(&self.0);
        slot.is_over = true;
        let waker = slot.waker.take();
        drop(slot);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

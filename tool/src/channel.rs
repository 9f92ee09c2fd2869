//! A bounded channel between a task and a thread that may block: for standard input and output, which know no
//! readiness.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Chunks that wait: enough to keep both ends busy.
const CHUNKS_MAX: usize = 8;

/// The two ends of a channel. Either may be used by the task or by the thread, through its async or its blocking method.
pub(crate) fn channel() -> (Sender, Receiver) {
    let shared = Arc::<Shared>::default();
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

/// Puts chunks in. Dropping it is the end of the stream.
#[derive(Debug)]
pub(crate) struct Sender(Arc<Shared>);

/// Takes chunks out. Dropping it refuses further ones.
#[derive(Debug)]
pub(crate) struct Receiver(Arc<Shared>);

/// The other end is gone, and wants no more chunks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused;

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Wakes a thread, as the waker in the state wakes a task.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Vec<u8>>,
    /// One of the ends is gone.
    closed: bool,
    waker: Option<Waker>,
}

impl State {
    fn push(&mut self, chunk: &mut Vec<u8>) -> Poll<Result<(), Refused>> {
        if self.closed {
            return Poll::Ready(Err(Refused));
        }
        if self.chunks.len() >= CHUNKS_MAX {
            return Poll::Pending;
        }
        self.chunks.push_back(std::mem::take(chunk));
        Poll::Ready(Ok(()))
    }

    fn pop(&mut self) -> Poll<Option<Vec<u8>>> {
        match self.chunks.pop_front() {
            Some(chunk) => Poll::Ready(Some(chunk)),
            None if self.closed => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the other end that something has changed.
    fn tell(&self, mut state: MutexGuard<'_, State>) {
        let waker = state.waker.take();
        drop(state);
        self.changed.notify_all();
        waker.into_iter().for_each(Waker::wake);
    }

    fn poll<T>(&self, cx: &mut Context<'_>, step: impl FnOnce(&mut State) -> Poll<T>) -> Poll<T> {
        let mut state = self.lock();
        let result = step(&mut state);
        if result.is_ready() {
            self.tell(state);
        } else {
            state.waker = Some(cx.waker().clone());
        }
        result
    }

    fn block<T>(&self, mut step: impl FnMut(&mut State) -> Poll<T>) -> T {
        let mut state = self.lock();
        loop {
            if let Poll::Ready(value) = step(&mut state) {
                self.tell(state);
                return value;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.tell(state);
    }
}

impl Sender {
    /// Waits for room.
    pub(crate) async fn send(&self, mut chunk: Vec<u8>) -> Result<(), Refused> {
        poll_fn(|cx| self.0.poll(cx, |state| state.push(&mut chunk))).await
    }

    /// Blocks until there is room.
    pub(crate) fn send_blocking(&self, mut chunk: Vec<u8>) -> Result<(), Refused> {
        self.0.block(|state| state.push(&mut chunk))
    }
}

impl Receiver {
    /// Waits for a chunk; `None` is the end.
    pub(crate) async fn receive(&self) -> Option<Vec<u8>> {
        poll_fn(|cx| self.0.poll(cx, State::pop)).await
    }

    /// Blocks until there is a chunk; `None` is the end.
    pub(crate) fn receive_blocking(&self) -> Option<Vec<u8>> {
        self.0.block(State::pop)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn block_on<F: Future>(future: F) -> F::Output {
        let wire = "wire".parse().unwrap();
        hayase::Runtime::builder().device(wire).build().unwrap().block_on(future)
    }

    const COUNT: u32 = 10_000;

    #[test]
    fn a_task_receives_what_a_thread_sends() {
        let (sender, receiver) = channel();
        let thread = thread::spawn(move || {
            (0..COUNT).try_for_each(|n| sender.send_blocking(n.to_le_bytes().to_vec()))
        });
        block_on(async {
            for n in 0..COUNT {
                assert_eq!(receiver.receive().await.unwrap(), n.to_le_bytes());
            }
            assert_eq!(receiver.receive().await, None);
        });
        assert_eq!(thread.join().unwrap(), Ok(()));
    }

    #[test]
    fn a_thread_receives_what_a_task_sends() {
        let (sender, receiver) = channel();
        let thread = thread::spawn(move || std::iter::from_fn(|| receiver.receive_blocking()).count());
        block_on(async {
            for n in 0..COUNT {
                sender.send(n.to_le_bytes().to_vec()).await.unwrap();
            }
            drop(sender);
        });
        assert_eq!(thread.join().unwrap(), COUNT as usize);
    }

    #[test]
    fn a_full_channel_is_refused_when_the_receiver_goes() {
        let (sender, receiver) = channel();
        for _ in 0..CHUNKS_MAX {
            sender.send_blocking(vec![1]).unwrap();
        }
        let thread = thread::spawn(move || sender.send_blocking(vec![2]));
        drop(receiver);
        assert_eq!(thread.join().unwrap(), Err(Refused));
    }
}

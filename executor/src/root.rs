//! The future of `block_on`: polled where it lies, without a task around it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use crate::mailbox::Mailbox;

/// What runs beside the tasks.
pub(crate) trait Root {
    /// Whether it wants to be polled.
    fn is_woken(&self) -> bool;

    /// Polls it. Returns whether it has ended.
    fn poll(&mut self) -> bool;
}

/// Tasks only.
pub(crate) struct NoRoot;

impl Root for NoRoot {
    #[inline]
    fn is_woken(&self) -> bool {
        false
    }

    #[inline]
    fn poll(&mut self) -> bool {
        false
    }
}

/// A future that is being blocked on.
pub(crate) struct RootFuture<'a, F: Future> {
    future: Pin<&'a mut F>,
    flag: Arc<Flag>,
    waker: Waker,
    pub(crate) output: Option<F::Output>,
}

impl<'a, F: Future> RootFuture<'a, F> {
    pub(crate) fn new(future: Pin<&'a mut F>, mailbox: Arc<Mailbox>) -> Self {
        let flag = Arc::new(Flag { woken: AtomicBool::new(true), mailbox });
        let waker = Waker::from(flag.clone());
        RootFuture { future, flag, waker, output: None }
    }
}

impl<F: Future> Root for RootFuture<'_, F> {
    #[inline]
    fn is_woken(&self) -> bool {
        self.flag.woken.load(Ordering::Relaxed)
    }

    #[inline]
    fn poll(&mut self) -> bool {
        // Acquires what the waking thread wrote before it woke us.
        self.flag.woken.swap(false, Ordering::Acquire);
        match self.future.as_mut().poll(&mut Context::from_waker(&self.waker)) {
            Poll::Ready(output) => {
                self.output = Some(output);
                true
            }
            Poll::Pending => false,
        }
    }
}

struct Flag {
    woken: AtomicBool,
    mailbox: Arc<Mailbox>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.mailbox.notify();
    }
}

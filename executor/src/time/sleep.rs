//! Waiting for an instant.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hayase_time::{Instant, TimerKey};

use super::{clock_now, now};
use crate::core::Core;
use crate::current;

/// Waits for `duration`.
///
/// The duration counts from the call, not from the first poll.
#[inline]
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(clock_now() + duration)
}

/// Waits for `deadline`.
#[inline]
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { deadline, timer: None }
}

/// The future of [`sleep`] and [`sleep_until`].
///
/// It is a few integers: nothing is allocated for it. Its first poll registers it with the executor of the thread;
/// dropping it on that thread, within the executor, takes it out again. (Dropped elsewhere it stays until its instant, and
/// then wakes a task for nothing.) Cancel safe.
///
/// # Panics
/// If it is polled on a thread without an executor.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep {
    deadline: Instant,
    timer: Option<Timer>,
}

/// An entry in a core's wheel.
#[derive(Debug, Clone, Copy)]
struct Timer {
    core: u64,
    key: TimerKey,
}

impl Sleep {
    /// The instant that is waited for.
    #[inline]
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether the instant has come.
    #[inline]
    #[must_use]
    pub fn is_elapsed(&self) -> bool {
        self.deadline <= now()
    }

    /// Waits for another instant, also after the first has come. The task must poll again to be woken at it.
    pub fn reset(&mut self, deadline: Instant) {
        self.deadline = deadline;
        if let Some(Timer { core, key }) = self.timer {
            // A timer that has fired, or lies on another core, is registered anew by the next poll.
            let moved = current::try_with(|current| {
                current.mailbox.id == core && current.timers.borrow_mut().reset(key, deadline)
            });
            if moved != Some(true) {
                self.cancel();
            }
        }
    }

    /// Takes the timer out of the wheel.
    #[inline]
    fn cancel(&mut self) {
        if let Some(Timer { core, key }) = self.timer.take() {
            let waker = current::try_with(|current| current.remove_timer(core, key)).flatten();
            drop(waker);
        }
    }

    /// Makes the wheel wake the task.
    fn register(&mut self, core: &Rc<Core>, waker: &Waker) -> Option<Waker> {
        let mut timers = core.timers.borrow_mut();
        if let Some(Timer { core: id, key }) = self.timer
            && id == core.mailbox.id
            && let Some(before) = timers.get_mut(key)
        {
            let same = before.will_wake(waker);
            return if same { None } else { Some(std::mem::replace(before, waker.clone())) };
        }
        let key = timers.insert(self.deadline, waker.clone());
        self.timer = Some(Timer { core: core.mailbox.id, key });
        None
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.deadline <= current::with(|core| core.now()) {
            self.cancel();
            return Poll::Ready(());
        }
        // A waker may run code of users when it is dropped, so it leaves the borrows first.
        let replaced = current::with(|core| self.register(core, cx.waker()));
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Sleep {
    #[inline]
    fn drop(&mut self) {
        self.cancel();
    }
}

impl Core {
    /// Removes a timer, if it is one of this core. The waker is the caller's, to be dropped outside of the borrow.
    #[inline]
    fn remove_timer(&self, core: u64, key: TimerKey) -> Option<Waker> {
        if self.mailbox.id == core { self.timers.borrow_mut().remove(key) } else { None }
    }
}

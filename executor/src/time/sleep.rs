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

    /// Whether the wheel wakes the task already.
    fn is_registered(&self, waker: &Waker) -> bool {
        self.timer.is_some_and(|Timer { core: id, key }| {
            current::with(|core| {
                let mut timers = core.timers.borrow_mut();
                id == core.mailbox.id && timers.get_mut(key).is_some_and(|known| known.will_wake(waker))
            })
        })
    }

    /// Makes the wheel wake the task. Returns the waker that is replaced.
    fn register(&mut self, core: &Rc<Core>, waker: Waker) -> Option<Waker> {
        let mut timers = core.timers.borrow_mut();
        if let Some(Timer { core: id, key }) = self.timer
            && id == core.mailbox.id
            && let Some(before) = timers.get_mut(key)
        {
            return Some(std::mem::replace(before, waker));
        }
        let key = timers.insert(self.deadline, waker);
        self.timer = Some(Timer { core: core.mailbox.id, key });
        None
    }
}

impl Future for Sleep {
    type Output = ();

    /// Whoever awaits it on a thread without an executor is told where.
    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.deadline <= current::with(|core| core.now()) {
            self.cancel();
            return Poll::Ready(());
        }
        if !self.is_registered(cx.waker()) {
            // A waker may run code of users when it is cloned or dropped, and so is neither within the borrows.
            let waker = cx.waker().clone();
            let replaced = current::with(|core| self.register(core, waker));
            drop(replaced);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Executor;
    use crate::sys::waker::testing::waker_that_calls_when_cloned;

    #[test]
    fn a_waker_may_sleep_while_it_is_cloned() {
        let executor = Executor::new().unwrap();
        let _entered = executor.enter();
        let poll = |sleep: &mut Sleep, waker: &Waker| Pin::new(sleep).poll(&mut Context::from_waker(waker));
        let mut outer = sleep(Duration::from_secs(60));
        for _ in 0..2 {
            let foreign = waker_that_calls_when_cloned(move || {
                let mut inner = sleep(Duration::from_secs(60));
                assert!(poll(&mut inner, Waker::noop()).is_pending());
            });
            assert!(poll(&mut outer, &foreign).is_pending());
            // The second time, there is one to be replaced.
            assert!(poll(&mut outer, Waker::noop()).is_pending());
        }
    }
}

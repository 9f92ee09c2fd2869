//! Wakers that are numbers.
//!
//! A [`RawWaker`] is a pointer-sized value and four functions. Ours holds the name of a task in that value and points
//! nowhere: so it is copied for nothing, dropping it does nothing, and calling it looks the name up.

use std::mem::ManuallyDrop;
use std::num::NonZeroU64;
use std::ptr;
use std::task::{RawWaker, RawWakerVTable, Waker};

use crate::task::TaskWaker;

const _: () = assert!(size_of::<usize>() == 8, "the name of a task is as large as a pointer of 64 bits");

/// A static, not a constant: its address tells our wakers from all others.
static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake, forget);

/// The waker of a task. There is nothing to drop in it.
#[inline]
pub(crate) fn waker(task: TaskWaker) -> ManuallyDrop<Waker> {
    let data = ptr::without_provenance(task.to_bits().get() as usize);
    // SAFETY: The functions of the table keep the contract of `RawWaker`. They never follow the pointer, which is a number;
    // no resource belongs to a waker, so cloning makes another owner of nothing, and dropping and waking release nothing;
    // and all of them may be called on any thread, for `TaskWaker::wake` may.
    ManuallyDrop::new(unsafe { Waker::new(data, &VTABLE) })
}

/// The task that a waker wakes, if it is a waker of ours.
#[inline]
pub(crate) fn task(waker: &Waker) -> Option<TaskWaker> {
    if !ptr::eq(waker.vtable(), &VTABLE) {
        return None;
    }
    NonZeroU64::new(waker.data().addr() as u64).map(TaskWaker::from_bits)
}

fn clone(data: *const ()) -> RawWaker {
    RawWaker::new(data, &VTABLE)
}

fn wake(data: *const ()) {
    if let Some(bits) = NonZeroU64::new(data.addr() as u64) {
        TaskWaker::from_bits(bits).wake();
    }
}

fn forget(_data: *const ()) {}

#[cfg(test)]
pub(crate) mod testing {
    use std::cell::RefCell;
    use std::ptr;
    use std::task::{RawWaker, RawWakerVTable, Waker};

    type Hook = Box<dyn FnOnce()>;

    thread_local! {
        static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
    }

    static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, forget, forget, forget);

    /// A waker of somebody else, who runs `hook` on this thread when the waker is cloned for the first time.
    pub(crate) fn waker_that_calls_when_cloned(hook: impl FnOnce() + 'static) -> Waker {
        HOOK.set(Some(Box::new(hook)));
        // SAFETY: The functions of the table keep the contract of `RawWaker`: they never follow the pointer, a waker owns
        // nothing, and on a thread that has no hook, cloning calls none.
        unsafe { Waker::new(ptr::null(), &VTABLE) }
    }

    fn clone(data: *const ()) -> RawWaker {
        if let Some(hook) = HOOK.take() {
            hook();
        }
        RawWaker::new(data, &VTABLE)
    }

    fn forget(_data: *const ()) {}
}

//! The names of tasks, and waking by name.

use std::cell::RefMut;
use std::fmt;
use std::num::NonZeroU64;
use std::task::Waker;

use super::{TaskId, Tasks};
use crate::{current, numbers, sys};

/// What a waker of an executor's task holds: the number of the core, the place of the task, and which of the tasks that
/// had this place.
///
/// A waker of this kind is a number and no more: it owns nothing, and waking by it runs no code but the executor's. Who
/// keeps many wakers, as a reactor does, keeps these in their place: they are `Copy`, half as large, and can be waked
/// while anything is borrowed.
///
/// ```
/// use std::future::poll_fn;
/// use std::task::Poll;
/// use hayase_executor::{Executor, TaskWaker, spawn};
///
/// let executor = Executor::new().unwrap();
/// let task = executor.spawn(async {
///     let waker = poll_fn(|cx| Poll::Ready(TaskWaker::of(cx.waker()))).await.unwrap();
///     waker.wake();
/// });
/// executor.block_on(&(), task).unwrap();
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TaskWaker(NonZeroU64);

/// Above the place are 15 bits of the generation, above these 16 of the core's number; the highest bit is 0.
const GENERATION_AT: u32 = 32;
pub(super) const GENERATION_MASK: u32 = 0x7fff;
const CORE_AT: u32 = 47;

impl TaskWaker {
    /// The waker of a task of the core that has this number.
    #[inline]
    pub(crate) fn new(core: CoreNumber, id: TaskId) -> TaskWaker {
        let generation = u64::from(id.generation & GENERATION_MASK) << GENERATION_AT;
        TaskWaker(core.0 | generation | u64::from(id.index))
    }

    /// The same as `waker`, if that is the waker of an executor's task.
    #[inline]
    #[must_use]
    pub fn of(waker: &Waker) -> Option<TaskWaker> {
        sys::waker::task(waker)
    }

    /// Whether it is what `waker` is.
    #[inline(always)]
    #[must_use]
    pub fn wakes_by(self, waker: &Waker) -> bool {
        waker.will_wake(&sys::waker::waker(self))
    }

    /// Wakes the task, from any thread. Without effect if it has ended; if its place and its name, of which there are
    /// 32,768 to a place, are another's by now, that one is polled without a reason, which futures have to stand.
    pub fn wake(self) {
        TaskWaker::wake_all(&[self]);
    }

    /// Wakes several tasks, in this order, for less than one after the other.
    pub fn wake_all(tasks: &[TaskWaker]) {
        waking(|waking| tasks.iter().for_each(|task| waking.wake(*task)));
    }

    #[cold]
    fn wake_elsewhere(self) {
        if let Some(mailbox) = numbers::find(self.core()) {
            mailbox.wake(self.place());
        }
    }

    #[inline(always)]
    pub(super) fn place(self) -> u32 {
        self.0.get() as u32
    }

    #[inline(always)]
    pub(super) fn generation(self) -> u32 {
        (self.0.get() >> GENERATION_AT) as u32 & GENERATION_MASK
    }

    #[inline(always)]
    fn core(self) -> u16 {
        (self.0.get() >> CORE_AT) as u16
    }

    /// The number. Its highest bit is 0.
    #[inline]
    #[must_use]
    pub const fn to_bits(self) -> NonZeroU64 {
        self.0
    }

    /// What [`to_bits`](Self::to_bits) returned.
    #[inline]
    #[must_use]
    pub const fn from_bits(bits: NonZeroU64) -> TaskWaker {
        TaskWaker(bits)
    }
}

/// Calls `f` with what wakes tasks for less than one after the other. Meanwhile nothing else can be done with the executor
/// of this thread: `f` must neither run code of users nor wake, spawn or abort in any other way.
///
/// ```
/// use std::future::poll_fn;
/// use std::task::Poll;
/// use hayase_executor::{Executor, TaskWaker, spawn, waking};
///
/// let executor = Executor::new().unwrap();
/// let task = executor.spawn(async {
///     let waker = poll_fn(|cx| Poll::Ready(TaskWaker::of(cx.waker()))).await.unwrap();
///     waking(|waking| waking.wake(waker));
/// });
/// executor.block_on(&(), task).unwrap();
/// ```
///
/// # Panics
/// If it is called by such an `f`.
#[inline]
pub fn waking<R>(f: impl FnOnce(&mut Waking<'_>) -> R) -> R {
    current::visit(|core| {
        let Some(core) = core else { return f(&mut Waking { here: None }) };
        let result = f(&mut Waking { here: Some((core.number.number(), core.tasks.borrow_mut())) });
        // A foreign loop that announced its sleep may still run code that wakes tasks.
        core.mailbox.ring_if_parked();
        result
    })
}

/// Wakes one task after the other: see [`waking`].
pub struct Waking<'a> {
    /// The number of this thread's core, and its tasks.
    here: Option<(u16, RefMut<'a, Tasks>)>,
}

impl fmt::Debug for Waking<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waking").finish_non_exhaustive()
    }
}

impl Waking<'_> {
    /// Wakes a task, as [`TaskWaker::wake`] does.
    #[inline(always)]
    pub fn wake(&mut self, task: TaskWaker) {
        match &mut self.here {
            Some((number, tasks)) if *number == task.core() => tasks.wake(task),
            _ => task.wake_elsewhere(),
        }
    }
}

/// The number of a core, where a waker has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CoreNumber(NonZeroU64);

impl CoreNumber {
    /// `number` is not 0.
    pub(crate) fn new(number: u16) -> Option<CoreNumber> {
        NonZeroU64::new(u64::from(number) << CORE_AT).map(CoreNumber)
    }

    #[inline(always)]
    pub(crate) fn number(self) -> u16 {
        (self.0.get() >> CORE_AT) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waker_holds_its_parts_and_tells_itself_from_others() {
        let core = CoreNumber::new(u16::MAX).unwrap();
        assert_eq!(core.number(), u16::MAX);
        let id = TaskId { index: u32::MAX - 1, generation: GENERATION_MASK + 3 };
        let task = TaskWaker::new(core, id);
        let bits = task.to_bits().get();
        assert_eq!((bits >> 63, bits >> CORE_AT, bits as u32), (0, 0xffff, id.index));
        assert_eq!((bits >> GENERATION_AT) as u32 & GENERATION_MASK, 2);

        let waker = sys::waker::waker(task);
        assert!(waker.will_wake(&waker.clone()));
        assert_eq!(TaskWaker::of(&Waker::clone(&waker)), Some(task));
        assert!(task.wakes_by(&waker) && !task.wakes_by(Waker::noop()));
        assert_eq!(TaskWaker::of(Waker::noop()), None);
        assert!(CoreNumber::new(0).is_none());
    }
}

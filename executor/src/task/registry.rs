//! The tasks of a core that have not ended, and the queue of those that are awake.
//!
//! A task lives in its place, and a waker is no more than the name of the place: nothing is counted, and nothing of a task
//! is shared with other threads. The name of a task that has ended finds nothing.

use std::mem;

use super::future::BoxedTask;
use super::queue::Queue;
use super::waker::{CoreNumber, GENERATION_MASK, TaskWaker};

/// Names a task of one core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TaskId {
    pub(super) index: u32,
    /// Which of the tasks that had this place, of 29 bits.
    pub(super) generation: u32,
}

/// The end of the list of vacant places.
const NONE: u32 = u32::MAX;

/// Flags in a place's state, below the generation.
const LIVE: u32 = 1;
/// It is in the queue.
const QUEUED: u32 = 2;
/// It is to be cancelled.
const ABORTED: u32 = 4;
const GENERATION_AT: u32 = 3;

struct Place {
    /// `None` also while the task is polled.
    task: Option<BoxedTask>,
    /// The generation and the flags.
    state: u32,
    /// The next vacant place, while this one is vacant.
    next: u32,
}

impl Place {
    #[inline]
    fn is(&self, id: TaskId) -> bool {
        self.state & !(QUEUED | ABORTED) == id.generation << GENERATION_AT | LIVE
    }
}

/// A task that is to be run, taken out of its place.
pub(super) struct Next {
    /// Its name, by which it is woken.
    pub(super) waker: TaskWaker,
    state: u32,
    pub(super) task: BoxedTask,
}

impl Next {
    #[inline]
    pub(super) fn id(&self) -> TaskId {
        TaskId { index: self.waker.place(), generation: self.state >> GENERATION_AT }
    }

    /// Whether it is to be cancelled instead.
    #[inline]
    pub(super) fn is_aborted(&self) -> bool {
        self.state & ABORTED != 0
    }
}

pub(crate) struct Tasks {
    places: Vec<Place>,
    vacant: u32,
    len: usize,
    queue: Queue,
    /// The core's, which is in the names.
    number: CoreNumber,
}

impl Tasks {
    pub(crate) fn new(number: CoreNumber) -> Tasks {
        Tasks { places: Vec::new(), vacant: NONE, len: 0, queue: Queue::default(), number }
    }

    /// Number of tasks.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether no task is awake.
    #[inline]
    pub(crate) fn is_asleep(&self) -> bool {
        self.queue.is_empty()
    }

    /// Gives a task a place, and queues it.
    pub(super) fn insert(&mut self, task: BoxedTask) -> TaskId {
        let index = self.vacant_place();
        let place = &mut self.places[index as usize];
        place.task = Some(task);
        let id = TaskId { index, generation: place.state >> GENERATION_AT };
        place.state |= LIVE | QUEUED;
        self.len += 1;
        self.queue.push(TaskWaker::new(self.number, id));
        id
    }

    fn vacant_place(&mut self) -> u32 {
        if let Some(place) = self.places.get(self.vacant as usize) {
            return mem::replace(&mut self.vacant, place.next);
        }
        let index = u32::try_from(self.places.len()).ok().filter(|index| *index != NONE);
        let index = index.expect("a core runs at most 2^32 - 1 tasks");
        self.places.push(Place { task: None, state: 0, next: NONE });
        index
    }

    /// Queues the task of this name, which is one of this core's.
    #[inline(always)]
    pub(super) fn wake(&mut self, task: TaskWaker) {
        const MASK: u32 = GENERATION_MASK << GENERATION_AT | LIVE;
        if let Some(place) = self.places.get_mut(task.place() as usize)
            && place.state & (MASK | QUEUED) == task.generation() << GENERATION_AT | LIVE
        {
            place.state |= QUEUED;
            self.queue.push(task);
        }
    }

    /// Queues whatever task is at a place.
    pub(crate) fn wake_any(&mut self, index: u32) {
        if let Some(place) = self.places.get(index as usize) {
            self.wake(TaskWaker::new(
                self.number,
                TaskId { index, generation: place.state >> GENERATION_AT },
            ));
        }
    }

    /// Marks the task and queues it, so that it is cancelled.
    pub(crate) fn abort(&mut self, id: TaskId) {
        if let Some(place) = self.place(id) {
            place.state |= ABORTED;
            self.wake_any(id.index);
        }
    }

    /// Takes the next task out of the queue and out of its place.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Option<Next> {
        while let Some(waker) = self.queue.pop() {
            let place = self.places.get_mut(waker.place() as usize)?;
            place.state &= !QUEUED;
            if let Some(task) = place.task.take() {
                return Some(Next { waker, state: place.state, task });
            }
            self.vacate(waker.place());
        }
        None
    }

    /// Puts back what was taken out and has not ended.
    #[inline(always)]
    pub(super) fn put_back(&mut self, next: Next) {
        if let Some(place) = self.places.get_mut(next.waker.place() as usize) {
            // There is nothing to drop where it was taken out.
            mem::forget(place.task.replace(next.task));
        }
    }

    /// The task has ended. What was in its place is for the caller to drop, outside of the borrow. The place is vacant
    /// at once, or when it has left the queue: nothing is in the queue twice.
    pub(super) fn remove(&mut self, id: TaskId) -> Option<BoxedTask> {
        let place = self.place(id)?;
        let is_queued = place.state & QUEUED;
        place.state = id.generation.wrapping_add(1) << GENERATION_AT | is_queued;
        let task = place.task.take();
        self.len -= 1;
        if is_queued == 0 {
            self.vacate(id.index);
        }
        task
    }

    #[cold]
    fn vacate(&mut self, index: u32) {
        if let Some(place) = self.places.get_mut(index as usize) {
            place.next = mem::replace(&mut self.vacant, index);
        }
    }

    /// A task, unless it is being polled.
    pub(super) fn get(&mut self, id: TaskId) -> Option<&mut BoxedTask> {
        self.place(id)?.task.as_mut()
    }

    /// Takes out any task that is not being polled, searching from a place on.
    pub(super) fn take_from(&mut self, index: usize) -> Option<Next> {
        let (offset, place) =
            self.places.iter_mut().skip(index).enumerate().find(|(_, place)| place.task.is_some())?;
        let task = place.task.take()?;
        let id = TaskId { index: (index + offset) as u32, generation: place.state >> GENERATION_AT };
        Some(Next { waker: TaskWaker::new(self.number, id), state: place.state | ABORTED, task })
    }

    /// Forgets who is awake.
    pub(super) fn clear_queue(&mut self) {
        self.queue.clear();
    }

    fn place(&mut self, id: TaskId) -> Option<&mut Place> {
        self.places.get_mut(id.index as usize).filter(|place| place.is(id))
    }
}

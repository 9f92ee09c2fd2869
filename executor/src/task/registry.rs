//! The tasks of a core that have not ended, and the queue of those that are awake.
//!
//! A task lives in its place, and a waker is no more than the name of the place: nothing is counted, and nothing of a task
//! is shared with other threads. The name of a task that has ended finds nothing.

use std::collections::VecDeque;
use std::mem;

use super::future::BoxedTask;
use super::waker::GENERATION_MASK;

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

/// A task that is to be run.
pub(super) struct Next {
    pub(super) id: TaskId,
    pub(super) task: BoxedTask,
    /// It is to be cancelled instead.
    pub(super) is_aborted: bool,
}

pub(crate) struct Tasks {
    places: Vec<Place>,
    vacant: u32,
    len: usize,
    queue: VecDeque<TaskId>,
}

impl Default for Tasks {
    fn default() -> Tasks {
        Tasks { places: Vec::new(), vacant: NONE, len: 0, queue: VecDeque::new() }
    }
}

impl Tasks {
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
        self.queue.push_back(id);
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

    /// Queues the task at a place, if the lower bits of its generation are these.
    #[inline]
    pub(crate) fn wake(&mut self, index: u32, generation: u32) {
        const MASK: u32 = GENERATION_MASK << GENERATION_AT | LIVE;
        if let Some(place) = self.places.get_mut(index as usize)
            && place.state & (MASK | QUEUED) == generation << GENERATION_AT | LIVE
        {
            place.state |= QUEUED;
            self.queue.push_back(TaskId { index, generation: place.state >> GENERATION_AT });
        }
    }

    /// Queues whatever task is at a place.
    pub(crate) fn wake_any(&mut self, index: u32) {
        if let Some(place) = self.places.get(index as usize) {
            self.wake(index, place.state >> GENERATION_AT & GENERATION_MASK);
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
    #[inline]
    pub(super) fn next(&mut self) -> Option<Next> {
        while let Some(id) = self.queue.pop_front() {
            // It may have ended since.
            if let Some(place) = self.places.get_mut(id.index as usize)
                && place.is(id)
                && let Some(task) = place.task.take()
            {
                place.state &= !QUEUED;
                return Some(Next { id, task, is_aborted: place.state & ABORTED != 0 });
            }
        }
        None
    }

    /// Puts back what was taken out and has not ended.
    #[inline]
    pub(super) fn put_back(&mut self, id: TaskId, task: BoxedTask) {
        if let Some(place) = self.places.get_mut(id.index as usize) {
            place.task = Some(task);
        }
    }

    /// The task has ended: its place is vacant. What was in it is for the caller to drop, outside of the borrow.
    pub(super) fn remove(&mut self, id: TaskId) -> Option<BoxedTask> {
        let vacant = self.vacant;
        let place = self.place(id)?;
        place.state = id.generation.wrapping_add(1) << GENERATION_AT;
        place.next = vacant;
        let task = place.task.take();
        self.vacant = id.index;
        self.len -= 1;
        task
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
        Some(Next { id, task, is_aborted: true })
    }

    /// Forgets who is awake.
    pub(super) fn clear_queue(&mut self) {
        self.queue.clear();
    }

    fn place(&mut self, id: TaskId) -> Option<&mut Place> {
        self.places.get_mut(id.index as usize).filter(|place| place.is(id))
    }
}

//! The tasks of a core that have not ended.
//!
//! A task lives wherever its wakers are; the registry keeps one of each, so that the executor can reach every task to
//! abort it, and to drop it when the executor goes.

use std::mem;
use std::task::Waker;

/// Names a task of one core. A stale name finds nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TaskId {
    index: u32,
    generation: u32,
}

/// The end of the list of vacant places.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Place {
    generation: u32,
    aborted: bool,
    /// The next vacant place, while this one is vacant.
    next: u32,
    waker: Option<Waker>,
}

#[derive(Debug)]
pub(crate) struct Tasks {
    places: Vec<Place>,
    vacant: u32,
    len: usize,
    /// Tasks that are to be cancelled: mostly none, and then no task has to look itself up.
    aborted: usize,
}

impl Default for Tasks {
    fn default() -> Tasks {
        Tasks { places: Vec::new(), vacant: NONE, len: 0, aborted: 0 }
    }
}

impl Tasks {
    /// Number of tasks.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// A name for a task that is being made.
    pub(crate) fn reserve(&mut self) -> TaskId {
        self.len += 1;
        if let Some(place) = self.places.get_mut(self.vacant as usize) {
            let index = mem::replace(&mut self.vacant, place.next);
            return TaskId { index, generation: place.generation };
        }
        let index = u32::try_from(self.places.len()).ok().filter(|index| *index != NONE);
        let index = index.expect("a core runs at most 2^32 - 1 tasks");
        self.places.push(Place { generation: 0, aborted: false, next: NONE, waker: None });
        TaskId { index, generation: 0 }
    }

    /// The task has been made.
    pub(crate) fn start(&mut self, id: TaskId, waker: Waker) {
        if let Some(place) = self.place(id) {
            place.waker = Some(waker);
        }
    }

    /// The task has ended. The waker is the caller's to drop, outside of the borrow.
    pub(crate) fn remove(&mut self, id: TaskId) -> Option<Waker> {
        let vacant = self.vacant;
        let place = self.place(id)?;
        place.generation = place.generation.wrapping_add(1);
        place.next = vacant;
        let waker = place.waker.take();
        let aborted = mem::take(&mut place.aborted);
        self.aborted -= usize::from(aborted);
        self.vacant = id.index;
        self.len -= 1;
        waker
    }

    /// Marks the task, and returns the waker that makes it notice.
    pub(crate) fn abort(&mut self, id: TaskId) -> Option<Waker> {
        let place = self.place(id)?;
        let waker = place.waker.clone();
        let before = mem::replace(&mut place.aborted, true);
        self.aborted += usize::from(!before);
        waker
    }

    /// Whether the task is to be cancelled.
    #[inline]
    pub(crate) fn is_aborted(&self, id: TaskId) -> bool {
        self.aborted > 0
            && self
                .places
                .get(id.index as usize)
                .is_some_and(|place| place.aborted && place.generation == id.generation)
    }

    /// A waker of every task.
    pub(crate) fn wakers(&self) -> Vec<Waker> {
        self.places.iter().filter_map(|place| place.waker.clone()).collect()
    }

    fn place(&mut self, id: TaskId) -> Option<&mut Place> {
        self.places.get_mut(id.index as usize).filter(|place| place.generation == id.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_reused_and_old_names_are_stale() {
        let mut tasks = Tasks::default();
        let (a, b) = (tasks.reserve(), tasks.reserve());
        tasks.start(a, Waker::noop().clone());
        tasks.start(b, Waker::noop().clone());
        assert!(tasks.abort(a).is_some());
        assert!(tasks.is_aborted(a) && !tasks.is_aborted(b));
        assert!(tasks.remove(a).is_some());
        assert!(tasks.remove(a).is_none(), "only once");

        let c = tasks.reserve();
        assert_eq!(c.index, a.index);
        assert!(!tasks.is_aborted(c), "an abort does not reach the next task");
        assert!(tasks.abort(a).is_none() && !tasks.is_aborted(c));
        assert_eq!((tasks.len(), tasks.wakers().len()), (2, 1));
    }
}

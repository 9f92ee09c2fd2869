//! A queue whose first element lives inside it.
//!
//! Most sockets hold at most one frame at a time: request and reply fit one segment each. Such a queue never
//! visits the allocator, and an empty one holds no memory at all.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::mem;
use core::ops::Range;

use hayase_device::hint::{likely, unlikely};

/// Elements that there is room for, once there is more than one.
const REST_MIN: usize = 15;

#[derive(Debug)]
pub(crate) struct Fifo<T> {
    front: Option<T>,
    /// What is behind the front, if there is anything.
    rest: Option<Box<Rest<T>>>,
}

#[derive(Debug)]
struct Rest<T> {
    queue: VecDeque<T>,
}

impl<T> Default for Rest<T> {
    /// Who has two has many: growing by and by would move them several times.
    fn default() -> Rest<T> {
        Rest { queue: VecDeque::with_capacity(REST_MIN) }
    }
}

impl<T> Default for Fifo<T> {
    fn default() -> Fifo<T> {
        Fifo { front: None, rest: None }
    }
}

impl<T> Fifo<T> {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        usize::from(self.front.is_some()) + self.rest.as_ref().map_or(0, |rest| rest.queue.len())
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.front.is_none()
    }

    #[inline(always)]
    pub(crate) fn push_back(&mut self, value: T) {
        if self.front.is_none() {
            self.front = Some(value);
        } else {
            self.push_behind(value);
        }
    }

    /// Puts the first element into an empty queue.
    #[inline(always)]
    pub(crate) fn push_front(&mut self, value: T) -> &mut T {
        debug_assert!(self.is_empty());
        // What is not there need not be dropped, nor looked for.
        mem::forget(self.front.replace(value));
        self.front.as_mut().expect("it was put there just now")
    }

    #[inline(never)]
    fn push_behind(&mut self, value: T) {
        self.rest.get_or_insert_default().queue.push_back(value);
    }

    /// The same as [`push_back`](Self::push_back), for those who push many in a row.
    #[inline(always)]
    pub(crate) fn push_another(&mut self, value: T) {
        match &mut self.rest {
            Some(rest) if rest.queue.capacity() > rest.queue.len() => rest.queue.push_back(value),
            _ => self.push_back(value),
        }
    }

    #[inline]
    pub(crate) fn pop_front(&mut self) -> Option<T> {
        let value = self.front.take()?;
        if self.rest.is_some() {
            self.refill();
        }
        Some(value)
    }

    /// Drops the first element where it is.
    #[inline]
    pub(crate) fn drop_front(&mut self) {
        self.front = None;
        if self.rest.is_some() {
            self.refill();
        }
    }

    /// Takes the element out, if it is the only one.
    #[inline(always)]
    pub(crate) fn pop_sole(&mut self) -> Option<T> {
        self.pop_sole_if(|_| true)
    }

    /// The same, if it is as wanted.
    #[inline(always)]
    pub(crate) fn pop_sole_if(&mut self, is_wanted: impl FnOnce(&T) -> bool) -> Option<T> {
        match &self.front {
            Some(front) if likely(self.rest.is_none()) && is_wanted(front) => self.front.take(),
            _ => None,
        }
    }

    /// Shows the elements in turn, and drops each that is used up, until one is not.
    #[inline(always)]
    pub(crate) fn consume(&mut self, mut is_used_up: impl FnMut(&mut T) -> bool) {
        let Some(front) = &mut self.front else { return };
        if !is_used_up(front) {
            return;
        }
        self.front = None;
        if let Some(rest) = &mut self.rest {
            while let Some(next) = rest.queue.front_mut()
                && is_used_up(next)
            {
                rest.queue.pop_front();
            }
            self.refill();
        }
    }

    /// Moves the next element to the front, and gives the memory back behind the last.
    #[inline(never)]
    fn refill(&mut self) {
        self.front = self.rest.as_mut().and_then(|rest| rest.queue.pop_front());
        self.tidy();
    }

    fn tidy(&mut self) {
        if self.rest.as_ref().is_some_and(|rest| rest.queue.is_empty()) {
            self.rest = None;
        }
    }

    /// Whether there is one element.
    #[inline(always)]
    pub(crate) fn has_one(&self) -> bool {
        if unlikely(self.rest.is_some()) {
            return false;
        }
        likely(self.front.is_some())
    }

    #[inline]
    pub(crate) fn front(&self) -> Option<&T> {
        self.front.as_ref()
    }

    #[inline]
    pub(crate) fn front_mut(&mut self) -> Option<&mut T> {
        self.front.as_mut()
    }

    #[inline]
    pub(crate) fn back_mut(&mut self) -> Option<&mut T> {
        match &mut self.rest {
            None => self.front.as_mut(),
            Some(rest) => rest.queue.back_mut(),
        }
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        match index.checked_sub(1) {
            None => self.front.as_ref(),
            Some(behind) => self.rest.as_ref()?.queue.get(behind),
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        match index.checked_sub(1) {
            None => self.front.as_mut(),
            Some(behind) => self.rest.as_mut()?.queue.get_mut(behind),
        }
    }

    /// Puts an element in front of the one at `index`, which is at most the length.
    pub(crate) fn insert(&mut self, index: usize, value: T) {
        match (index, &mut self.front) {
            (0, Some(front)) => {
                let second = core::mem::replace(front, value);
                self.rest.get_or_insert_default().queue.push_front(second);
            }
            (0, none) => *none = Some(value),
            _ => self.rest.get_or_insert_default().queue.insert(index - 1, value),
        }
    }

    /// Drops the elements of `range`, which is not beyond the length and leaves the first one alone.
    pub(crate) fn remove_range(&mut self, range: Range<usize>) {
        if let Some(rest) = self.rest.as_mut().filter(|_| !range.is_empty()) {
            rest.queue.drain(range.start - 1..range.end - 1);
            self.tidy();
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.front.iter().chain(self.rest.iter().flat_map(|rest| rest.queue.iter()))
    }

    /// Number of leading elements for which `before` holds; it must hold for a prefix only.
    pub(crate) fn partition_point(&self, before: impl Fn(&T) -> bool) -> usize {
        match &self.front {
            Some(front) if before(front) => {
                1 + self.rest.as_ref().map_or(0, |rest| rest.queue.partition_point(before))
            }
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_go_in_and_come_out_anywhere() {
        let mut fifo = Fifo::default();
        for (index, value) in [(0, 2), (0, 0), (1, 1), (3, 3)] {
            fifo.insert(index, value);
        }
        assert!(fifo.iter().copied().eq(0..4));
        fifo.remove_range(2..2);
        fifo.remove_range(1..3);
        assert!(fifo.iter().copied().eq([0, 3]));
        fifo.remove_range(1..2);
        assert!(fifo.iter().copied().eq([0]) && fifo.rest.is_none());
    }

    #[test]
    fn is_consumed_up_to_what_is_not_used_up() {
        let mut fifo = Fifo::default();
        fifo.consume(|_: &mut i32| true);
        (0..5).for_each(|i| fifo.push_back(i));
        fifo.consume(|i| *i < 3 && *i != 0);
        assert_eq!(fifo.len(), 5);
        let mut seen = alloc::vec::Vec::new();
        fifo.consume(|i| {
            seen.push(*i);
            *i < 3
        });
        assert!(fifo.iter().copied().eq(3..5) && seen == [0, 1, 2, 3]);
        fifo.consume(|_| true);
        assert!(fifo.is_empty() && fifo.rest.is_none());
    }

    #[test]
    fn is_a_queue_that_ends_up_without_memory() {
        let mut fifo = Fifo::default();
        for i in 0..5 {
            fifo.push_back(i);
        }
        assert_eq!((fifo.len(), fifo.front(), fifo.get(3)), (5, Some(&0), Some(&3)));
        assert_eq!(fifo.partition_point(|i| *i < 3), 3);
        assert!(fifo.iter().copied().eq(0..5));
        for i in 0..5 {
            assert_eq!(fifo.back_mut(), Some(&mut 4));
            assert_eq!(fifo.pop_front(), Some(i));
        }
        assert!(fifo.pop_front().is_none() && fifo.rest.is_none());
        (0..3).for_each(|i| fifo.push_back(i));
        fifo.drop_front();
        assert!(fifo.pop_sole().is_none() && !fifo.has_one());
        assert_eq!((fifo.front(), fifo.len()), (Some(&1), 2));
        fifo.drop_front();
        assert_eq!((fifo.pop_sole_if(|two| *two == 1), fifo.has_one()), (None, true));
        assert_eq!(fifo.pop_sole_if(|two| *two == 2), Some(2));
        fifo.drop_front();
        assert!(fifo.front().is_none() && fifo.rest.is_none());
    }
}

//! Who is awake.

use std::mem;

use super::TaskWaker;

/// Names of tasks, first in, first out: one list is emptied while the other is filled, so both ends are a few instructions.
#[derive(Default)]
pub(super) struct Queue {
    now: Vec<TaskWaker>,
    /// How much of `now` has been taken.
    taken: usize,
    later: Vec<TaskWaker>,
}

impl Queue {
    #[inline(always)]
    pub(super) fn push(&mut self, task: TaskWaker) {
        self.later.push(task);
    }

    #[inline(always)]
    pub(super) fn pop(&mut self) -> Option<TaskWaker> {
        match self.now.get(self.taken) {
            Some(task) => {
                self.taken += 1;
                Some(*task)
            }
            None => self.pop_later(),
        }
    }

    /// Begins with what came while the last list was emptied.
    #[inline(never)]
    fn pop_later(&mut self) -> Option<TaskWaker> {
        self.clear_now();
        mem::swap(&mut self.now, &mut self.later);
        let first = self.now.first().copied();
        self.taken = usize::from(first.is_some());
        first
    }

    fn clear_now(&mut self) {
        self.now.clear();
        self.taken = 0;
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.taken == self.now.len() && self.later.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.clear_now();
        self.later.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(number: u64) -> TaskWaker {
        TaskWaker::from_bits(number.try_into().expect("numbers start at 1"))
    }

    #[test]
    fn what_comes_first_goes_first() {
        let mut queue = Queue::default();
        let mut next = 1;
        for round in 0..50 {
            (0..round % 7).for_each(|place| queue.push(task(1 + round * 100 + place)));
            for _ in 0..round % 5 {
                let Some(place) = queue.pop().map(|task| task.to_bits().get()) else { break };
                assert!(place >= next && place <= (round + 1) * 100, "{place} came after {next}");
                next = place + 1;
            }
        }
        let left = std::iter::from_fn(|| queue.pop()).count();
        assert!(left > 0 && queue.is_empty() && queue.pop().is_none());
        queue.push(task(1));
        assert!(!queue.is_empty());
        queue.clear();
        assert!(queue.is_empty());
    }
}

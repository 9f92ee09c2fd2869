//! Who is awake.

use std::mem;

/// Places of tasks, first in, first out: one list is emptied while the other is filled, so both ends are a few instructions.
#[derive(Default)]
pub(super) struct Queue {
    now: Vec<u32>,
    /// How much of `now` has been taken.
    taken: usize,
    later: Vec<u32>,
}

impl Queue {
    #[inline(always)]
    pub(super) fn push(&mut self, place: u32) {
        self.later.push(place);
    }

    #[inline(always)]
    pub(super) fn pop(&mut self) -> Option<u32> {
        if self.taken == self.now.len() && !self.swap() {
            return None;
        }
        let place = self.now.get(self.taken).copied();
        self.taken += 1;
        place
    }

    /// Begins with what came while the last list was emptied. Returns whether there is anything.
    #[inline(never)]
    fn swap(&mut self) -> bool {
        self.clear_now();
        mem::swap(&mut self.now, &mut self.later);
        !self.now.is_empty()
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

    #[test]
    fn what_comes_first_goes_first() {
        let mut queue = Queue::default();
        let mut next = 0;
        for round in 0..50 {
            (0..round % 7).for_each(|place| queue.push(round * 100 + place));
            for _ in 0..round % 5 {
                let Some(place) = queue.pop() else { break };
                assert!(place >= next && place < (round + 1) * 100, "{place} came after {next}");
                next = place + 1;
            }
        }
        let left = std::iter::from_fn(|| queue.pop()).count();
        assert!(left > 0 && queue.is_empty() && queue.pop().is_none());
        queue.push(1);
        assert!(!queue.is_empty());
        queue.clear();
        assert!(queue.is_empty());
    }
}

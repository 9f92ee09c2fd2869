//! A burst: the frames that one look at the NIC queue brought.

use core::{iter, mem};

use crate::hint::likely;
use crate::{FrameQueue, RxMeta};

/// Received frames, each with what the device knows about it, in order of arrival.
///
/// One burst is reused turn after turn: [`Device::receive`](crate::Device::receive) fills it up to its
/// limit, the stack drains it, and no memory is allocated in between.
#[derive(Debug)]
pub struct Burst<F> {
    frames: FrameQueue<F>,
    limit: usize,
}

impl<F> Burst<F> {
    /// A burst of at most `limit` frames.
    ///
    /// # Panics
    /// If `limit` is 0: such a burst could never receive.
    pub fn new(limit: usize) -> Self {
        assert!(limit > 0, "a burst needs room for at least one frame");
        Burst { frames: FrameQueue::with_capacity(limit), limit }
    }

    /// How many more frames fit.
    #[inline]
    pub fn room(&self) -> usize {
        self.limit - self.frames.len()
    }

    /// Number of frames in the burst.
    #[inline]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether nothing was received.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Adds a frame.
    ///
    /// # Panics
    /// If the burst is full: a device looks at [`room`](Self::room) before it takes a frame from its queue.
    #[inline]
    pub fn push(&mut self, frame: F, meta: RxMeta) {
        assert!(self.frames.len() < self.limit, "pushed into a full burst");
        self.frames.push_back(frame, meta);
    }

    /// Takes as many frames off the front of a queue as fit, and returns how many: all of them at once, by
    /// exchanging queue and burst, where that is possible.
    #[inline(always)]
    pub fn take_from(&mut self, queue: &mut FrameQueue<F>) -> usize {
        if likely(self.frames.is_empty()) && likely(queue.len() <= self.limit) {
            mem::swap(&mut self.frames, queue);
            return self.frames.len();
        }
        self.take_some(queue)
    }

    #[inline(never)]
    fn take_some(&mut self, queue: &mut FrameQueue<F>) -> usize {
        let count = self.room().min(queue.len());
        self.frames
            .extend(iter::from_fn(|| queue.pop_front().map(|(frame, &meta)| (frame, meta))).take(count));
        count
    }

    /// The frame that arrived first.
    #[inline]
    pub fn front(&self) -> Option<(&F, RxMeta)> {
        self.frames.front()
    }

    /// All frames, in order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = (&F, RxMeta)> {
        self.frames.iter()
    }

    /// Takes out the frame that arrived first, and shows what the device knows about it.
    #[inline]
    pub fn pop_front(&mut self) -> Option<(F, &RxMeta)> {
        self.frames.pop_front()
    }

    /// Takes the frames out, in order of arrival. What the iterator is not asked for stays.
    #[inline]
    pub fn drain(&mut self) -> impl Iterator<Item = (F, RxMeta)> + '_ {
        iter::from_fn(|| self.frames.pop_front().map(|(frame, &meta)| (frame, meta)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(numbers: core::ops::Range<u8>) -> FrameQueue<u8> {
        let mut queue = FrameQueue::default();
        queue.extend(numbers.map(|number| (number, RxMeta::default())));
        queue
    }

    #[test]
    fn a_burst_takes_what_fits_in_order() {
        let mut burst = Burst::new(4);
        let mut short = queue(0..3);
        assert_eq!((burst.take_from(&mut short), short.len(), burst.room()), (3, 0, 1));
        let mut long = queue(3..9);
        assert_eq!((burst.take_from(&mut long), long.len(), burst.room()), (1, 5, 0));
        assert_eq!(burst.take_from(&mut long), 0);
        assert!(burst.drain().map(|(number, _)| number).eq(0..4));
        assert_eq!(burst.take_from(&mut long), 4);
        assert_eq!(burst.front().map(|(number, _)| *number), Some(4));
        assert_eq!(burst.pop_front().map(|(number, _)| number), Some(4));
        assert!(burst.drain().map(|(number, _)| number).eq(5..8));
        assert!(burst.front().is_none() && burst.pop_front().is_none());
    }
}

//! Received frames in a row, on their way from a device to the stack.

use alloc::vec::Vec;
use core::mem::forget;

use crate::RxMeta;
use crate::hint::usually;

/// Frames and what is known of each, first in, first out.
///
/// Such a row is filled, then emptied, then filled again, hundreds of thousands of times a second. So it is no ring: it
/// starts over when it is empty, and both ends are a few instructions. One that never is empty moves up now and then.
#[derive(Debug)]
pub struct FrameQueue<F> {
    /// Taken up to `head` and from `tail` on.
    places: Vec<Place<F>>,
    head: usize,
    tail: usize,
}

/// Room for a frame. What is known of it stands beside it, so that neither is put together with the other to be moved.
#[derive(Debug)]
struct Place<F> {
    frame: Option<F>,
    meta: RxMeta,
}

impl<F> FrameQueue<F> {
    /// An empty row with room for `count` frames. It grows where more come.
    pub fn with_capacity(count: usize) -> FrameQueue<F> {
        FrameQueue { places: Vec::with_capacity(count), head: 0, tail: 0 }
    }

    /// Number of frames.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.tail - self.head
    }

    /// Whether there is none.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.tail == self.head
    }

    /// Adds a frame.
    #[inline(always)]
    pub fn push_back(&mut self, frame: F, meta: RxMeta) {
        // A loop and no other call, so that the frame stays where it is until it has a place: in registers.
        loop {
            if let Some(place) = usually(self.places.get_mut(self.tail)) {
                debug_assert!(place.frame.is_none());
                let RxMeta { checksum, segment_len, flow_hash } = meta;
                (place.meta.checksum, place.meta.segment_len, place.meta.flow_hash) =
                    (checksum, segment_len, flow_hash);
                // What is not there need not be dropped, nor looked for.
                forget(place.frame.replace(frame));
                self.tail += 1;
                return;
            }
            self.make_room();
        }
    }

    /// There is a place more at the end.
    #[inline(never)]
    fn make_room(&mut self) {
        // At least half of what is moved is room, so that each frame is moved once.
        if self.head > self.places.len() / 2 {
            self.places.rotate_left(self.head);
            (self.head, self.tail) = (0, self.tail - self.head);
        } else {
            self.places.push(Place { frame: None, meta: RxMeta::default() });
        }
    }

    /// The frame that came first.
    #[inline(always)]
    pub fn front(&self) -> Option<(&F, RxMeta)> {
        let place = if self.is_empty() { None } else { self.places.get(self.head) }?;
        Some((place.frame.as_ref()?, place.meta))
    }

    /// All frames, the one that came first before the others.
    pub fn iter(&self) -> impl Iterator<Item = (&F, RxMeta)> {
        let places = self.places.get(self.head..self.tail).unwrap_or_default();
        places.iter().filter_map(|place| Some((place.frame.as_ref()?, place.meta)))
    }

    /// Takes out the frame that came first, and shows what is known of it.
    #[inline(always)]
    pub fn pop_front(&mut self) -> Option<(F, &RxMeta)> {
        // What was taken out, and what was never filled, is `None`: the end need not be known.
        if let Some(place) = self.places.get_mut(self.head)
            && let Some(frame) = place.frame.take()
        {
            self.head += 1;
            return Some((frame, &place.meta));
        }
        (self.head, self.tail) = (0, 0);
        None
    }
}

impl<F> Default for FrameQueue<F> {
    /// An empty row without memory.
    fn default() -> FrameQueue<F> {
        FrameQueue::with_capacity(0)
    }
}

impl<F> Extend<(F, RxMeta)> for FrameQueue<F> {
    fn extend<I: IntoIterator<Item = (F, RxMeta)>>(&mut self, frames: I) {
        frames.into_iter().for_each(|(frame, meta)| self.push_back(frame, meta));
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::VecDeque;
    use alloc::rc::Rc;

    use super::*;

    #[test]
    fn what_comes_first_goes_first_and_room_is_used_again() {
        let (mut queue, mut model) = (FrameQueue::default(), VecDeque::new());
        let mut next = 0;
        for round in 0..1000 {
            for _ in 0..round % 7 {
                queue.push_back(next, RxMeta::default());
                model.push_back(next);
                next += 1;
            }
            for _ in 0..round % 6 + usize::from(round > 500) {
                assert_eq!(queue.front().map(|(number, _)| *number), model.front().copied());
                assert!(queue.iter().map(|(number, _)| number).eq(&model));
                assert_eq!(queue.pop_front().map(|(number, _)| number), model.pop_front());
            }
            assert_eq!((queue.len(), queue.is_empty()), (model.len(), model.is_empty()));
        }
        assert!(next > 2900 && queue.places.len() < 600, "{}", queue.places.len());
    }

    #[test]
    fn what_is_left_is_dropped_with_the_queue() {
        let frame = Rc::new(());
        let mut queue = FrameQueue::with_capacity(2);
        queue.extend((0..5).map(|_| (frame.clone(), RxMeta::default())));
        drop(queue.pop_front());
        assert_eq!(Rc::strong_count(&frame), 5);
        drop(queue);
        assert_eq!(Rc::strong_count(&frame), 1);
    }
}

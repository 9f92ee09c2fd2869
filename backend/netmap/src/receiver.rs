//! The way in: a received buffer leaves its slot in exchange for a spare one.

use std::rc::Rc;

use hayase_device::headers::is_linear_enough;
use hayase_device::{Burst, Frame, RxMeta};
use netmap_sys::{FRAGMENTS_MAX, NS_MOREFRAG};

use crate::frame::{self, NetmapFrame};
use crate::memory::Memory;
use crate::sys::RingView;

/// A receive ring.
#[derive(Debug)]
pub(crate) struct Receiver {
    ring: RingView,
    /// The kernel refused to synchronise.
    pub(crate) stalled: bool,
    /// Frames that made no sense.
    pub(crate) errors: u64,
    /// Frames that there was no buffer for.
    pub(crate) no_buffer: u64,
}

/// Why a frame is lost.
enum Loss {
    Malformed,
    NoBuffer,
}

impl Receiver {
    pub(crate) fn new(ring: RingView) -> Receiver {
        Receiver { ring, stalled: false, errors: 0, no_buffer: 0 }
    }

    /// How many slots hold something.
    #[inline]
    pub(crate) fn ready(&self) -> u32 {
        distance(self.ring.head(), self.ring.tail(), self.ring.count())
    }

    /// Takes frames until the burst is full or the ring empty. What could not be taken is counted; its slots go
    /// back to the kernel all the same, or they would block the ring.
    pub(crate) fn receive(&mut self, memory: &Rc<Memory>, burst: &mut Burst<NetmapFrame>) {
        let (mut head, mut ready) = (self.ring.head(), self.ready());
        while burst.room() > 0
            && let Some(slots) = self.frame_slots(head, ready)
        {
            match self.take_frame(memory, head, slots) {
                Ok(Some(frame)) => burst.push(frame, RxMeta::default()),
                // A VALE switch leaves slots empty that another sender had reserved.
                Ok(None) => {}
                Err(Loss::Malformed) => self.errors += 1,
                Err(Loss::NoBuffer) => self.no_buffer += 1,
            }
            head = advance(head, slots, self.ring.count());
            ready -= slots;
        }
        self.ring.set_head(head);
    }

    /// How many of the `ready` slots from `head` on are one frame. `None` if its end has not come yet. A chain that
    /// is too long to ever end is one of that length.
    #[inline]
    fn frame_slots(&self, head: u32, ready: u32) -> Option<u32> {
        let slots_max = (self.ring.count() - 1).min(FRAGMENTS_MAX as u32);
        let mut at = head;
        for slots in 1..=ready {
            if self.ring.slot(at).flags & NS_MOREFRAG == 0 || slots == slots_max {
                return Some(slots);
            }
            at = advance(at, 1, self.ring.count());
        }
        None
    }

    #[inline]
    fn take_frame(&self, memory: &Rc<Memory>, head: u32, slots: u32) -> Result<Option<NetmapFrame>, Loss> {
        let first = self.take_slot(memory, head)?;
        if slots == 1 {
            return Ok(first);
        }
        let mut frame = first.ok_or(Loss::Malformed)?;
        for index in 1..slots {
            let fragment = self.take_slot(memory, advance(head, index, self.ring.count()))?;
            fragment.into_iter().for_each(|fragment| frame.chain(fragment));
        }
        // The stack wants all headers in one piece.
        if is_linear_enough(frame.bytes()) || frame::pack(&mut frame, memory) {
            Ok(Some(frame))
        } else {
            Err(Loss::NoBuffer)
        }
    }

    /// What is in a slot. `None` if nothing is.
    #[inline]
    fn take_slot(&self, memory: &Rc<Memory>, at: u32) -> Result<Option<NetmapFrame>, Loss> {
        let slot = self.ring.slot(at);
        if slot.len == 0 {
            return Ok(None);
        }
        let start = usize::try_from(self.ring.offset(&slot)).map_err(|_| Loss::Malformed)?;
        let end = start.checked_add(usize::from(slot.len)).filter(|end| *end <= memory.buffer_len());
        let end = end.ok_or(Loss::Malformed)?;
        let mut buffer = memory.take().ok_or(Loss::NoBuffer)?;
        let id = Rc::get_mut(&mut buffer).and_then(|buffer| buffer.id_mut());
        let exchanged = id.is_some_and(|id| self.ring.exchange(at, id));
        let frame = NetmapFrame::new(buffer, start as u32, end as u32);
        if exchanged { Ok(Some(frame)) } else { Err(Loss::Malformed) }
    }
}

/// From one slot to another, forwards, in a ring of `count`.
#[inline]
pub(crate) fn distance(from: u32, to: u32, count: u32) -> u32 {
    if to >= from { to - from } else { to + count - from }
}

/// The slot that is `by` further, at most a whole turn, in a ring of `count`.
#[inline]
pub(crate) fn advance(at: u32, by: u32, count: u32) -> u32 {
    let next = at + by;
    if next >= count { next - count } else { next }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn distances_and_steps_agree_all_around() {
        for count in [2, 3, 64, 1000] {
            for from in 0..count {
                for by in 0..count {
                    let to = advance(from, by, count);
                    assert!(to < count);
                    assert_eq!(distance(from, to, count), by, "{by} from {from} of {count}");
                }
            }
        }
    }
}

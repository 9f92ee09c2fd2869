//! The way out: a buffer enters a slot in exchange for the one that is there.

use std::rc::Rc;
use std::{io, mem};

use hayase_device::Frame;
use netmap_sys::NS_MOREFRAG;

use crate::frame::{self, NetmapFrame};
use crate::memory::{Buffer, Memory};
use crate::receiver::{advance, distance};
use crate::sys::RingView;

/// What a port's transmit slots can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotRules {
    /// Whether a slot comes back with the buffer that it left with. On a pipe the peer keeps that one, so a buffer
    /// that somebody else still reads cannot go.
    pub(crate) keeps_buffer: bool,
    /// The furthest from its buffer's start that a frame may begin, in bytes.
    pub(crate) offset_max: usize,
    /// The most slots that a frame may need. The ring has room for a frame if it has so many.
    pub(crate) frame_slots_max: u32,
}

/// A transmit ring.
///
/// ```text
///        done ──► head ──► tail ──►        slots of the ring
///   ... free ─┤ sent ├─ free ──┤ ...       sent: with the kernel, or not yet handed to it
/// ```
#[derive(Debug)]
pub(crate) struct Transmitter {
    ring: RingView,
    rules: SlotRules,
    /// The buffer that each slot names, if it is ours.
    lent: Vec<Rc<Buffer>>,
    /// The oldest slot that was sent and has not come back.
    done: u32,
    head: u32,
    /// The kernel's first slot, as of the last look.
    tail: u32,
    /// Whether the kernel has not seen `head` yet.
    waiting: bool,
    /// The kernel refused to synchronise.
    pub(crate) stalled: bool,
    /// Frames given beyond our room, or that no buffer was left for.
    pub(crate) dropped: u64,
    /// Frames that were refused.
    pub(crate) errors: u64,
}

impl Transmitter {
    /// Takes a ring over, with the buffers in it that are not on their way.
    pub(crate) fn new(ring: RingView, rules: SlotRules, memory: &Rc<Memory>) -> io::Result<Transmitter> {
        let (head, tail, count) = (ring.head(), ring.tail(), ring.count());
        // What was sent by who had this end of a pipe before may be out: its buffer is the peer's, and another comes back.
        let done = advance(tail, 1, count);
        let is_out = |slot| distance(done, slot, count) < distance(done, head, count);
        let lent = (0..count).map(|slot| if is_out(slot) { Ok(None) } else { ring.take_id(slot).map(Some) });
        let lent: Vec<_> = lent.map(|id| Ok(memory.adopt(id?))).collect::<io::Result<_>>()?;
        lent.iter().for_each(|buffer| buffer.lend());
        Ok(Transmitter {
            ring,
            rules,
            lent,
            done,
            head,
            tail,
            waiting: false,
            stalled: false,
            dropped: 0,
            errors: 0,
        })
    }

    fn free(&self) -> u32 {
        distance(self.head, self.tail, self.ring.count())
    }

    /// How many frames are sure to be taken.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        (self.free() / self.rules.frame_slots_max) as usize
    }

    /// Whether frames wait for the next synchronisation.
    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// Whether synchronising would do something: frames wait, or are out.
    #[inline]
    pub(crate) fn is_busy(&self) -> bool {
        self.done != self.head
    }

    /// Queues a frame, in as many slots as it needs.
    #[inline]
    pub(crate) fn send(&mut self, mut frame: NetmapFrame, memory: &Rc<Memory>) {
        if self.free() >= self.rules.frame_slots_max && self.make_lendable(&mut frame, memory) {
            self.fill_slots(&frame);
        } else {
            self.dropped += 1;
        }
    }

    /// Puts a frame where slots can name it: it stays where it is, or moves to the start of its own buffer, or to
    /// others. False if the pool is dry.
    #[inline]
    fn make_lendable(&self, frame: &mut NetmapFrame, memory: &Rc<Memory>) -> bool {
        if frame.next().is_some() {
            return self.can_lend_chain(frame, memory) || frame::pack(frame, memory);
        }
        let is_ours = frame.buffer().is_of(memory);
        is_ours && (self.can_lend(frame) || frame::move_to_start(frame)) || frame::pack(frame, memory)
    }

    /// Whether a slot can name a fragment of this memory where it is.
    #[inline]
    fn can_lend(&self, fragment: &NetmapFrame) -> bool {
        let start = fragment.start() as usize;
        start <= self.rules.offset_max
            && start & (self.ring.align() - 1) == 0
            && (self.rules.keeps_buffer || fragment.is_unique())
    }

    fn can_lend_chain(&self, frame: &NetmapFrame, memory: &Rc<Memory>) -> bool {
        let (mut next, mut free) = (Some(frame), self.free());
        while let Some(fragment) = next {
            let fits = free > 0 && !fragment.is_empty() && fragment.buffer().is_of(memory);
            if !fits || !self.can_lend(fragment) {
                return false;
            }
            (next, free) = (fragment.next(), free - 1);
        }
        true
    }

    #[inline]
    fn fill_slots(&mut self, frame: &NetmapFrame) {
        let mut next = Some(frame);
        while let Some(fragment) = next {
            next = fragment.next();
            let flags = if next.is_some() { NS_MOREFRAG } else { 0 };
            let at = (u64::from(fragment.start()), fragment.len() as u16);
            self.lend(self.head, Rc::clone(fragment.buffer()), at, flags);
            self.head = advance(self.head, 1, self.ring.count());
        }
        self.ring.set_head(self.head);
        self.waiting = true;
    }

    /// Has a free slot name this buffer, and takes the one out that it named before.
    #[inline]
    fn lend(&mut self, slot: u32, buffer: Rc<Buffer>, at: (u64, u16), flags: u16) {
        if let Some(id) = buffer.id() {
            self.ring.lend(slot, id, at, flags);
        }
        buffer.lend();
        let old = mem::replace(&mut self.lent[slot as usize], buffer);
        old.take_back();
        Buffer::send_home(&old);
    }

    /// Takes back what the kernel is done with, after a synchronisation or a `poll`.
    #[inline]
    pub(crate) fn reclaim(&mut self, memory: &Rc<Memory>) {
        let count = self.ring.count();
        self.tail = self.ring.tail();
        // The slot at `tail` is back as well: it stays empty to tell a full ring from an empty one.
        let out = count - 1 - self.free();
        while distance(self.done, self.head, count) > out {
            self.take_back(self.done, memory);
            self.done = advance(self.done, 1, count);
        }
        if self.room() == 0 {
            // What is free holds no frame: to be woken for it would be no sleep.
            self.ring.wake_behind(self.tail);
        }
    }

    /// The kernel has seen `head`.
    #[inline]
    pub(crate) fn synchronised(&mut self) {
        self.waiting = false;
    }

    #[inline]
    fn take_back(&mut self, slot: u32, memory: &Rc<Memory>) {
        if let Some(buffer) = Rc::get_mut(&mut self.lent[slot as usize]) {
            buffer.settle(self.ring.returned(slot));
        } else {
            self.replace(slot, memory);
        }
    }

    /// Somebody still reads the buffer of a slot, a retransmission queue mostly, and wants it alone again: the slot
    /// gets another one. If none is spare it keeps this one until it is used again.
    fn replace(&mut self, slot: u32, memory: &Rc<Memory>) {
        if let Some(spare) = memory.take() {
            self.lend(slot, spare, (0, 0), 0);
        }
    }

    /// The port is about to be closed. Its slots keep the buffers that they name, and the kernel frees these; what
    /// somebody still reads must not be among them.
    pub(crate) fn close(&mut self, memory: &Rc<Memory>) {
        for slot in 0..self.ring.count() {
            if Rc::strong_count(&self.lent[slot as usize]) > 1 {
                self.replace(slot, memory);
            }
        }
    }
}

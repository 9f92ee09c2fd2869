//! Frames in netmap's buffers.

use std::rc::Rc;

use hayase_device::{Frame, SharedBytes};

use crate::memory::{Buffer, Memory};

/// A frame in a buffer of netmap's memory.
///
/// A received frame has no headroom: the NIC, the switch or the peer wrote it to the buffer's start.
#[derive(Debug)]
pub struct NetmapFrame {
    buffer: Rc<Buffer>,
    start: u32,
    end: u32,
    next: Option<Box<NetmapFrame>>,
}

impl NetmapFrame {
    /// The bytes `start..end` of a buffer.
    #[inline]
    pub(crate) fn new(buffer: Rc<Buffer>, start: usize, end: usize) -> NetmapFrame {
        NetmapFrame { buffer, start: start as u32, end: end as u32, next: None }
    }

    /// A frame without bytes, with the headroom of a fresh one.
    #[inline]
    pub(crate) fn empty(buffer: Rc<Buffer>) -> NetmapFrame {
        NetmapFrame::new(buffer, NetmapFrame::HEADROOM, NetmapFrame::HEADROOM)
    }

    /// Where in its buffer this fragment starts.
    #[inline]
    pub(crate) fn offset(&self) -> usize {
        self.start as usize
    }

    #[inline]
    pub(crate) fn buffer(&self) -> &Rc<Buffer> {
        &self.buffer
    }

    /// Moves the bytes of this fragment to the start of the buffer. False if another handle sees it.
    pub(crate) fn move_to_start(&mut self) -> bool {
        let (start, end) = (self.start as usize, self.end as usize);
        let Some(buffer) = Rc::get_mut(&mut self.buffer) else { return false };
        buffer.bytes_mut().copy_within(start..end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        true
    }

    /// Copies the whole chain to as few buffers as hold it, to the start of each. False, and nothing happens, if too
    /// few are spare.
    pub(crate) fn pack(&mut self, memory: &Rc<Memory>) -> bool {
        let packed = self.packed(memory);
        packed.map(|packed| *self = packed).is_some()
    }

    fn packed(&self, memory: &Rc<Memory>) -> Option<NetmapFrame> {
        let mut packed = NetmapFrame::new(memory.take()?, 0, 0);
        for mut bytes in self.fragments() {
            while !bytes.is_empty() {
                if packed.last().tailroom() == 0 {
                    packed.chain(NetmapFrame::new(memory.take()?, 0, 0));
                }
                let last = packed.last_mut();
                let (now, later) = bytes.split_at(bytes.len().min(last.tailroom()));
                last.extend(now.len())?.copy_from_slice(now);
                bytes = later;
            }
        }
        Some(packed)
    }

    fn last(&self) -> &NetmapFrame {
        let mut last = self;
        while let Some(next) = &last.next {
            last = next;
        }
        last
    }

    fn last_mut(&mut self) -> &mut NetmapFrame {
        let mut last = self;
        while last.next.is_some() {
            last = last.next.as_mut().expect("looked at just now");
        }
        last
    }
}

impl Drop for NetmapFrame {
    #[inline]
    fn drop(&mut self) {
        Buffer::release(&self.buffer);
    }
}

impl Frame for NetmapFrame {
    #[inline]
    fn bytes(&self) -> &[u8] {
        &self.buffer.bytes()[self.start as usize..self.end as usize]
    }

    #[inline]
    fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        let (start, end) = (self.start as usize, self.end as usize);
        Some(&mut Rc::get_mut(&mut self.buffer)?.bytes_mut()[start..end])
    }

    #[inline]
    fn headroom(&self) -> usize {
        if self.is_unique() { self.start as usize } else { 0 }
    }

    #[inline]
    fn tailroom(&self) -> usize {
        if self.is_unique() { self.capacity() - self.end as usize } else { 0 }
    }

    #[inline]
    fn prepend(&mut self, len: usize) -> Option<&mut [u8]> {
        let (start, end) = ((self.start as usize).checked_sub(len)?, self.end as usize);
        let buffer = Rc::get_mut(&mut self.buffer)?;
        self.start = start as u32;
        Some(&mut buffer.bytes_mut()[start..end])
    }

    #[inline]
    fn extend(&mut self, len: usize) -> Option<&mut [u8]> {
        let (old, new) = (self.end as usize, (self.end as usize).checked_add(len)?);
        let tail = Rc::get_mut(&mut self.buffer)?.bytes_mut().get_mut(old..new)?;
        self.end = new as u32;
        Some(tail)
    }

    #[inline]
    fn trim_front(&mut self, len: usize) {
        self.start += len.min(self.len()) as u32;
    }

    #[inline]
    fn truncate(&mut self, len: usize) {
        self.end = self.start + len.min(self.len()) as u32;
    }

    #[inline]
    fn share(&self) -> NetmapFrame {
        NetmapFrame { buffer: Rc::clone(&self.buffer), start: self.start, end: self.end, next: None }
    }

    #[inline]
    fn is_unique(&self) -> bool {
        Rc::strong_count(&self.buffer) == 1
    }

    #[inline]
    fn capacity(&self) -> usize {
        self.buffer.bytes().len()
    }

    fn chain(&mut self, next: NetmapFrame) {
        self.last_mut().next = Some(Box::new(next));
    }

    #[inline]
    fn next(&self) -> Option<&NetmapFrame> {
        self.next.as_deref()
    }

    #[inline]
    fn unchain(&mut self) -> Option<NetmapFrame> {
        self.next.take().map(|frame| *frame)
    }

    fn into_shared(self) -> SharedBytes {
        SharedBytes::with_range(Rc::clone(&self.buffer) as _, self.start as usize..self.end as usize)
    }

    #[inline]
    fn len(&self) -> usize {
        (self.end - self.start) as usize
    }
}

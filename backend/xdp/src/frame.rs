//! A frame in a chunk of the UMEM.

use std::rc::Rc;

use hayase_device::{Frame, SharedBytes};

use crate::pool::Chunk;
use crate::sys::METADATA_LEN;

/// Where the bytes of a fresh frame start in their chunk: the headroom of every frame, what the kernel reads
/// requests from in front of it, and so much more that payload starts on a cache line.
pub(crate) const FRONT: usize = 192;

const _: () = assert!(FRONT >= XdpFrame::HEADROOM + METADATA_LEN);

/// A [`Frame`] in a chunk of the UMEM. 24 bytes.
#[derive(Debug)]
pub struct XdpFrame {
    chunk: Rc<Chunk>,
    start: u32,
    end: u32,
    next: Option<Box<XdpFrame>>,
}

impl XdpFrame {
    /// An empty frame. `None` if the chunk has another handle.
    #[inline]
    pub(crate) fn empty(chunk: Rc<Chunk>) -> Option<XdpFrame> {
        XdpFrame::received(chunk, FRONT as u32, 0)
    }

    /// A frame of `len` bytes from `start` on. `None` if the chunk has another handle.
    #[inline]
    pub(crate) fn received(mut chunk: Rc<Chunk>, start: u32, len: u32) -> Option<XdpFrame> {
        Rc::get_mut(&mut chunk)?.memory.open_from(start);
        Some(XdpFrame { chunk, start, end: start + len, next: None })
    }

    /// The next fragment that has any bytes.
    #[inline]
    pub(crate) fn next_with_bytes(&self) -> Option<&XdpFrame> {
        let mut next = self.next();
        while let Some(fragment) = next.filter(|fragment| fragment.is_empty()) {
            next = fragment.next();
        }
        next
    }

    #[inline]
    pub(crate) fn chunk(&self) -> &Rc<Chunk> {
        &self.chunk
    }

    /// Offset of the first byte in its chunk.
    #[inline]
    pub(crate) fn start(&self) -> u32 {
        self.start
    }
}

impl Drop for XdpFrame {
    #[inline]
    fn drop(&mut self) {
        Chunk::release_last(&self.chunk);
    }
}

impl AsRef<[u8]> for XdpFrame {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl Frame for XdpFrame {
    #[inline]
    fn bytes(&self) -> &[u8] {
        self.chunk.memory.bytes(self.start, self.end)
    }

    #[inline]
    fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        Some(Rc::get_mut(&mut self.chunk)?.memory.bytes_mut(self.start, self.end))
    }

    #[inline]
    fn headroom(&self) -> usize {
        if self.is_unique() { (self.start as usize).saturating_sub(METADATA_LEN) } else { 0 }
    }

    #[inline]
    fn tailroom(&self) -> usize {
        if self.is_unique() { self.chunk.memory.len() as usize - self.end as usize } else { 0 }
    }

    #[inline]
    fn prepend(&mut self, len: usize) -> Option<&mut [u8]> {
        let start = (self.start as usize).checked_sub(len).filter(|&start| start >= METADATA_LEN)?;
        let memory = &mut Rc::get_mut(&mut self.chunk)?.memory;
        self.start = start as u32;
        memory.open_from(self.start);
        Some(memory.bytes_mut(self.start, self.end))
    }

    #[inline]
    fn extend(&mut self, len: usize) -> Option<&mut [u8]> {
        let (old, new) = (self.end, (self.end as usize).checked_add(len)?);
        let memory = &mut Rc::get_mut(&mut self.chunk)?.memory;
        if new > memory.len() as usize {
            return None;
        }
        self.end = new as u32;
        Some(memory.bytes_mut(old, self.end))
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
    fn share(&self) -> XdpFrame {
        XdpFrame { chunk: Rc::clone(&self.chunk), start: self.start, end: self.end, next: None }
    }

    #[inline]
    fn is_unique(&self) -> bool {
        Rc::strong_count(&self.chunk) == 1
    }

    #[inline]
    fn capacity(&self) -> usize {
        self.chunk.memory.len() as usize
    }

    fn chain(&mut self, next: XdpFrame) {
        let mut end = &mut self.next;
        while let Some(frame) = end {
            end = &mut frame.next;
        }
        *end = Some(Box::new(next));
    }

    #[inline]
    fn next(&self) -> Option<&XdpFrame> {
        self.next.as_deref()
    }

    #[inline]
    fn unchain(&mut self) -> Option<XdpFrame> {
        self.next.take().map(|next| *next)
    }

    fn into_shared(mut self) -> SharedBytes {
        self.next = None;
        SharedBytes::from_owner(self)
    }

    #[inline]
    fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.start == self.end
    }
}

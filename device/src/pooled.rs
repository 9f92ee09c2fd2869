//! What frames in buffers have in common, wherever the buffers are.

use alloc::boxed::Box;
use alloc::rc::Rc;
use core::fmt::Debug;
use core::ops::Range;

use crate::hint::usually;
use crate::{Frame, Prefix, SharedBytes};

/// A buffer of a pool, which a [`PooledFrame`] shares by reference count.
pub trait Buffer: Debug + Sized + 'static {
    /// The least offset at which a frame may start: what is in front of it is the device's.
    const START_MIN: usize = 0;

    /// Its length, in bytes: what [`Frame::capacity`] tells.
    fn capacity(&self) -> usize;

    /// Bytes `range` of it. They lie within the bounds of a frame on it.
    fn bytes(&self, range: Range<usize>) -> &[u8];

    /// Bytes `range` of it, to change: all that the only frame on it will see. `None`, and nothing happens, if nobody may
    /// change them, or if they lie beyond the buffer.
    fn bytes_mut(&mut self, range: Range<usize>) -> Option<&mut [u8]>;

    /// Whether the only frame on it may change bytes, and has room. Foreign memory is only read.
    #[inline]
    fn is_writable(&self) -> bool {
        true
    }

    /// The last handle on it is about to go: if the pool is still there, the buffer goes home.
    fn release(this: &Rc<Self>);

    /// Bytes `range` of it, without a frame.
    fn lease(this: &Rc<Self>, range: Range<usize>) -> SharedBytes;
}

/// A [`Frame`] that is a handle on a [`Buffer`], with bounds of its own. 24 bytes.
#[derive(Debug)]
pub struct PooledFrame<B: Buffer> {
    buffer: Handle<B>,
    start: u32,
    end: u32,
    next: Option<Box<PooledFrame<B>>>,
}

/// A share in a buffer. The last to go sends it home.
#[derive(Debug)]
struct Handle<B: Buffer>(Rc<B>);

impl<B: Buffer> Drop for Handle<B> {
    #[inline(always)]
    fn drop(&mut self) {
        if Rc::strong_count(&self.0) == 1 {
            B::release(&self.0);
        }
    }
}

impl<B: Buffer> PooledFrame<B> {
    /// A frame on the bytes `start..end` of a buffer.
    #[inline]
    pub fn new(buffer: Rc<B>, start: u32, end: u32) -> PooledFrame<B> {
        PooledFrame { buffer: Handle(buffer), start, end, next: None }
    }

    /// The buffer.
    #[inline]
    pub fn buffer(&self) -> &Rc<B> {
        &self.buffer.0
    }

    /// Where in its buffer this fragment starts.
    #[inline]
    pub fn start(&self) -> u32 {
        self.start
    }

    /// The last fragment of the chain.
    pub fn last_mut(&mut self) -> &mut PooledFrame<B> {
        let mut last = self;
        while last.next.is_some() {
            last = last.next.as_mut().expect("looked at just now");
        }
        last
    }

    #[inline]
    fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    #[inline]
    fn has_room(&self) -> bool {
        self.is_unique() && self.buffer.0.is_writable()
    }
}

impl<B: Buffer> Frame for PooledFrame<B> {
    #[inline]
    fn bytes(&self) -> &[u8] {
        self.buffer.0.bytes(self.range())
    }

    #[inline]
    fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        let range = self.range();
        Rc::get_mut(&mut self.buffer.0)?.bytes_mut(range)
    }

    #[inline]
    fn headroom(&self) -> usize {
        if self.has_room() { (self.start as usize).saturating_sub(B::START_MIN) } else { 0 }
    }

    #[inline]
    fn tailroom(&self) -> usize {
        if self.has_room() { self.buffer.0.capacity() - self.end as usize } else { 0 }
    }

    #[inline(always)]
    fn prepend(&mut self, len: usize) -> Option<&mut [u8]> {
        let start = (self.start as usize).checked_sub(len).filter(|&start| start >= B::START_MIN)?;
        let bytes = Rc::get_mut(&mut self.buffer.0)?.bytes_mut(start..self.end as usize)?;
        self.start = start as u32;
        Some(bytes)
    }

    #[inline(always)]
    fn extend(&mut self, len: usize) -> Option<&mut [u8]> {
        let Range { start, end: old } = self.range();
        let new = old.checked_add(len)?;
        let bytes = usually(usually(Rc::get_mut(&mut self.buffer.0))?.bytes_mut(start..new))?;
        self.end = new as u32;
        bytes.get_mut(old - start..)
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
    fn share(&self) -> PooledFrame<B> {
        PooledFrame::new(Rc::clone(&self.buffer.0), self.start, self.end)
    }

    #[inline(always)]
    fn share_behind<const LEN: usize>(&mut self, prefix: &impl Prefix<LEN>) -> Option<PooledFrame<B>> {
        let start = usually((self.start as usize).checked_sub(LEN).filter(|&start| start >= B::START_MIN))?;
        let front = usually(usually(Rc::get_mut(&mut self.buffer.0))?.bytes_mut(start..start + LEN))?;
        prefix.write(front.first_chunk_mut()?);
        Some(PooledFrame::new(Rc::clone(&self.buffer.0), start as u32, self.end))
    }

    #[inline]
    fn is_unique(&self) -> bool {
        Rc::strong_count(&self.buffer.0) == 1
    }

    #[inline]
    fn capacity(&self) -> usize {
        self.buffer.0.capacity()
    }

    fn chain(&mut self, next: PooledFrame<B>) {
        self.last_mut().next = Some(Box::new(next));
    }

    #[inline]
    fn next(&self) -> Option<&PooledFrame<B>> {
        self.next.as_deref()
    }

    #[inline]
    fn unchain(&mut self) -> Option<PooledFrame<B>> {
        self.next.take().map(|next| *next)
    }

    #[inline]
    fn into_shared(self) -> SharedBytes {
        B::lease(&self.buffer.0, self.range())
    }

    /// Other fragments are apart: the glue of a type that holds itself is a function of its own, for every frame.
    #[inline(always)]
    fn release(self) {
        let PooledFrame { buffer, next, .. } = self;
        drop(buffer);
        if let Some(next) = next {
            release_behind(next);
        }
    }

    #[inline]
    fn len(&self) -> usize {
        (self.end - self.start) as usize
    }
}

#[inline(never)]
fn release_behind<B: Buffer>(next: Box<PooledFrame<B>>) {
    drop(next);
}

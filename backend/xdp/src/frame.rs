//! A frame in a chunk of the UMEM.

use std::ops::Range;
use std::rc::Rc;

use hayase_device::pooled::{Buffer, PooledFrame};
use hayase_device::{Frame, SharedBytes};

use crate::pool::Chunk;
use crate::sys::METADATA_LEN;

/// Where the bytes of a fresh frame start in their chunk: the headroom of every frame, what the kernel reads
/// requests from in front of it, and so much more that payload starts on a cache line.
pub(crate) const FRONT: usize = 192;

const _: () = assert!(FRONT >= XdpFrame::HEADROOM + METADATA_LEN);

/// A [`Frame`] in a chunk of the UMEM. 24 bytes.
pub type XdpFrame = PooledFrame<Chunk>;

/// An empty frame. `None` if the chunk has another handle.
#[inline]
pub(crate) fn empty(chunk: Rc<Chunk>) -> Option<XdpFrame> {
    received(chunk, FRONT as u32, 0)
}

/// A frame of `len` bytes from `start` on. `None` if the chunk has another handle.
#[inline]
pub(crate) fn received(mut chunk: Rc<Chunk>, start: u32, len: u32) -> Option<XdpFrame> {
    Rc::get_mut(&mut chunk)?.memory.open_from(start);
    Some(XdpFrame::new(chunk, start, start + len))
}

/// The next fragment that has any bytes.
#[inline]
pub(crate) fn next_with_bytes(frame: &XdpFrame) -> Option<&XdpFrame> {
    let mut next = frame.next();
    while let Some(fragment) = next.filter(|fragment| fragment.is_empty()) {
        next = fragment.next();
    }
    next
}

impl Buffer for Chunk {
    const START_MIN: usize = METADATA_LEN;

    #[inline]
    fn capacity(&self) -> usize {
        self.memory.len() as usize
    }

    #[inline]
    fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.memory.bytes(range.start as u32, range.end as u32)
    }

    /// Nobody sees what is in front of the only frame: requests to the kernel may stand there.
    #[inline]
    fn bytes_mut(&mut self, range: Range<usize>) -> Option<&mut [u8]> {
        if range.end > self.memory.len() as usize {
            return None;
        }
        let (start, end) = (range.start as u32, range.end as u32);
        self.memory.open_from(start);
        Some(self.memory.bytes_mut(start, end))
    }

    #[inline]
    fn release(this: &Rc<Chunk>) {
        Chunk::release_last(this);
    }

    fn lease(this: &Rc<Chunk>, range: Range<usize>) -> SharedBytes {
        let frame = XdpFrame::new(Rc::clone(this), range.start as u32, range.end as u32);
        SharedBytes::from_owner(Lease(frame))
    }
}

/// A received frame as the application's bytes.
#[derive(Debug)]
struct Lease(XdpFrame);

impl AsRef<[u8]> for Lease {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

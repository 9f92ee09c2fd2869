//! Frames in netmap's buffers.

use std::ops::Range;
use std::rc::Rc;

use hayase_device::pooled::{self, PooledFrame};
use hayase_device::{Frame, SharedBytes};

use crate::memory::{Buffer, Memory};

/// A [`Frame`] in a buffer of netmap's memory.
///
/// A received frame has no headroom: the NIC, the switch or the peer wrote it to the buffer's start.
pub type NetmapFrame = PooledFrame<Buffer>;

/// A frame without bytes, with the headroom of a fresh one.
#[inline]
pub(crate) fn empty(buffer: Rc<Buffer>) -> NetmapFrame {
    let start = NetmapFrame::HEADROOM as u32;
    NetmapFrame::new(buffer, start, start)
}

/// Moves the bytes of a fragment to the start of its buffer. False if another handle sees it.
pub(crate) fn move_to_start(frame: &mut NetmapFrame) -> bool {
    let (len, offset) = (frame.len(), frame.start() as usize);
    let Some(bytes) = frame.prepend(offset) else { return false };
    bytes.copy_within(offset.., 0);
    frame.truncate(len);
    true
}

/// Copies the whole chain to as few buffers as hold it, to the start of each. False, and nothing happens, if too few
/// are spare.
pub(crate) fn pack(frame: &mut NetmapFrame, memory: &Rc<Memory>) -> bool {
    packed(frame, memory).map(|packed| *frame = packed).is_some()
}

fn packed(frame: &NetmapFrame, memory: &Rc<Memory>) -> Option<NetmapFrame> {
    let mut packed = NetmapFrame::new(memory.take()?, 0, 0);
    for mut bytes in frame.fragments() {
        while !bytes.is_empty() {
            if packed.last_mut().tailroom() == 0 {
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

impl pooled::Buffer for Buffer {
    #[inline]
    fn capacity(&self) -> usize {
        self.as_ref().len()
    }

    #[inline]
    fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.as_ref()[range]
    }

    #[inline]
    fn bytes_mut(&mut self, range: Range<usize>) -> Option<&mut [u8]> {
        self.as_mut().get_mut(range)
    }

    #[inline]
    fn release(this: &Rc<Buffer>) {
        Buffer::send_home(this);
    }

    fn lease(this: &Rc<Buffer>, range: Range<usize>) -> SharedBytes {
        SharedBytes::with_range(Rc::clone(this) as _, range)
    }
}

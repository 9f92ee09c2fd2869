//! Received data that waits for the application: frames, as they came from the NIC.

use hayase_device::hint::{likely, unlikely};
use hayase_device::{Frame, SharedBytes, copy};

use crate::fifo::Fifo;

/// Payloads up to this length are copied behind their predecessor where that has room: a sender of tiny
/// segments then costs a buffer per some hundred of them and not one each. Copying so little is cheaper than
/// keeping one more frame.
pub(super) const COPY_LEN_MAX: usize = 256;

#[derive(Debug)]
pub(super) struct ReceiveQueue<F> {
    frames: Fifo<F>,
    len: usize,
    /// Bytes of buffers held.
    memory_len: usize,
}

impl<F> Default for ReceiveQueue<F> {
    fn default() -> ReceiveQueue<F> {
        ReceiveQueue { frames: Fifo::default(), len: 0, memory_len: 0 }
    }
}

impl<F: Frame> ReceiveQueue<F> {
    /// Bytes to read.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of buffers held.
    #[inline]
    pub(super) fn memory_len(&self) -> usize {
        self.memory_len
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a frame, fragment by fragment.
    #[inline]
    pub(super) fn push(&mut self, frame: F) {
        if frame.next().is_none() {
            self.push_fragment(frame);
        } else {
            self.push_chain(frame);
        }
    }

    fn push_chain(&mut self, frame: F) {
        let mut next = Some(frame);
        while let Some(mut frame) = next {
            next = frame.unchain();
            if !frame.is_empty() {
                self.push_fragment(frame);
            }
        }
    }

    /// Appends the last `len` bytes of a frame that is no chain. Returns how many bytes of buffers that takes.
    #[inline(always)]
    pub(super) fn push_tail(&mut self, frame: F, len: usize) -> usize {
        if unlikely(!self.frames.is_empty()) {
            return self.push_tail_behind(frame, len);
        }
        let capacity = frame.capacity();
        let frame = self.frames.push_front(frame);
        frame.trim_front(frame.len() - len);
        (self.len, self.memory_len) = (len, capacity);
        capacity
    }

    #[inline(never)]
    fn push_tail_behind(&mut self, mut frame: F, len: usize) -> usize {
        let held = self.memory_len;
        frame.trim_front(frame.len() - len);
        self.push_fragment(frame);
        self.memory_len - held
    }

    /// Appends a frame that is no chain.
    #[inline]
    pub(super) fn push_fragment(&mut self, frame: F) {
        self.len += frame.len();
        if self.frames.is_empty() {
            self.memory_len += frame.capacity();
            self.frames.push_back(frame);
        } else {
            self.push_behind(frame);
        }
    }

    /// Appends a frame that is no chain, and more than a few bytes, behind another.
    #[inline(always)]
    pub(super) fn push_another(&mut self, frame: F) {
        self.len += frame.len();
        self.memory_len += frame.capacity();
        self.frames.push_another(frame);
    }

    #[inline(never)]
    fn push_behind(&mut self, frame: F) {
        if frame.len() <= COPY_LEN_MAX && self.append(&frame) {
            return;
        }
        self.memory_len += frame.capacity();
        self.frames.push_back(frame);
    }

    /// Copies a fragment behind the last one, if there is room.
    fn append(&mut self, frame: &F) -> bool {
        let Some(tail) = self.frames.back_mut().and_then(|last| last.extend(frame.len())) else {
            return false;
        };
        tail.copy_from_slice(frame.bytes());
        true
    }

    /// Copies out what fits and lets it go.
    #[inline(always)]
    pub(super) fn read(&mut self, buf: &mut [u8]) -> usize {
        match self.frames.pop_sole_if(|frame| likely(frame.len() <= buf.len())) {
            Some(frame) => self.read_all(frame, buf),
            None => self.read_some(buf),
        }
    }

    /// All there was, from one frame that fits.
    #[inline(always)]
    fn read_all(&mut self, frame: F, buf: &mut [u8]) -> usize {
        let bytes = frame.bytes();
        let len = bytes.len();
        copy(&mut buf[..len], bytes);
        frame.release();
        (self.len, self.memory_len) = (0, 0);
        len
    }

    #[inline(never)]
    fn read_some(&mut self, buf: &mut [u8]) -> usize {
        let mut copied = 0;
        self.frames.consume(|frame| {
            let rest = &mut buf[copied..];
            let bytes = frame.bytes();
            let len = bytes.len().min(rest.len());
            rest[..len].copy_from_slice(&bytes[..len]);
            copied += len;
            let is_used_up = len == bytes.len();
            if is_used_up {
                self.memory_len -= frame.capacity();
            } else {
                frame.trim_front(len);
            }
            is_used_up
        });
        self.len -= copied;
        copied
    }

    /// Copies out what fits and keeps it.
    pub(super) fn peek(&self, buf: &mut [u8]) -> usize {
        let mut copied = 0;
        for frame in self.frames.iter() {
            let len = frame.len().min(buf.len() - copied);
            buf[copied..copied + len].copy_from_slice(&frame.bytes()[..len]);
            copied += len;
        }
        copied
    }

    /// Hands out the first frame, or at most `len_max` bytes of it, without a copy.
    #[inline(always)]
    pub(super) fn lease(&mut self, len_max: usize) -> Option<SharedBytes> {
        let front = self.frames.front_mut()?;
        let frame = if front.len() <= len_max {
            self.memory_len -= front.capacity();
            self.frames.pop_front()?
        } else {
            let mut share = front.share();
            share.truncate(len_max);
            front.trim_front(len_max);
            share
        };
        self.len -= frame.len();
        Some(frame.into_shared())
    }

    /// Throws everything away.
    pub(super) fn clear(&mut self) {
        *self = ReceiveQueue::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use hayase_device::heap::{HeapFrame, Pool, PoolConfig};

    fn frame(pool: &Pool, bytes: &[u8]) -> HeapFrame {
        let mut frame = pool.alloc(bytes.len()).unwrap();
        frame.extend(bytes.len()).unwrap().copy_from_slice(bytes);
        frame
    }

    #[test]
    fn reads_across_frames_and_sends_them_home() {
        let pool = Pool::new(PoolConfig::default());
        let mut queue = ReceiveQueue::default();
        let big: Vec<u8> = (0..1400u32).map(|i| i as u8).collect();
        let mut chained = frame(&pool, &big);
        chained.chain(frame(&pool, &big));
        queue.push(chained);
        assert_eq!((queue.len(), pool.in_use()), (2800, 2));
        let mut buf = [0; 2000];
        assert_eq!(queue.peek(&mut buf), 2000);
        assert_eq!(queue.read(&mut buf), 2000);
        assert_eq!((&buf[..1400], &buf[1400..]), (&big[..], &big[..600]));
        assert_eq!((queue.len(), pool.in_use()), (800, 1));
        assert_eq!(queue.read(&mut buf), 800);
        assert_eq!(pool.in_use(), 0);
    }

    #[test]
    fn tiny_segments_share_a_buffer() {
        let pool = Pool::new(PoolConfig::default());
        let mut queue = ReceiveQueue::default();
        for i in 0..1000u32 {
            queue.push(frame(&pool, &[i as u8]));
        }
        assert_eq!((queue.len(), pool.in_use()), (1000, 1));
        let mut buf = [0; 1000];
        queue.read(&mut buf);
        assert!(buf.iter().enumerate().all(|(i, byte)| *byte == i as u8));
    }

    #[test]
    fn a_lease_is_the_frame_itself() {
        let pool = Pool::new(PoolConfig::default());
        let mut queue = ReceiveQueue::default();
        let whole = frame(&pool, b"abcdef");
        let address = whole.bytes().as_ptr();
        queue.push(whole);
        let first = queue.lease(2).unwrap();
        assert_eq!((&*first, first.as_ptr()), (&b"ab"[..], address));
        let rest = queue.lease(100).unwrap();
        assert_eq!(&*rest, b"cdef");
        assert!(queue.lease(1).is_none() && queue.is_empty());
        drop((first, rest));
        assert_eq!(pool.in_use(), 0);
    }
}

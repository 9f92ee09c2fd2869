//! A pool of frames in ordinary memory, in safe Rust.
//!
//! For backends whose frames are copied by somebody else anyway (TAP) or need no hardware (the wire). A
//! [`Pool`] has two sizes of buffer: small ones hold a frame of an Ethernet MTU, large ones a TSO or LRO
//! super-frame. Buffers are made as they are needed, up to the limits of [`PoolConfig`], and then go round.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec;
use core::cell::Cell;
use core::fmt;
use core::mem::forget;
use core::ops::Range;

use crate::hint::{likely, usually};
use crate::pooled::{Buffer, PooledFrame};
use crate::{Frame, SharedBytes};

/// Limits of a [`Pool`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolConfig {
    /// Size of a small buffer, headroom included, in bytes. 2 KiB holds an Ethernet frame and two fill a page.
    pub small_len: usize,
    /// The most small buffers at once.
    pub small_count_max: usize,
    /// Size of a large buffer, headroom included, in bytes: the largest IP packet and its surroundings.
    pub large_len: usize,
    /// The most large buffers at once.
    pub large_count_max: usize,
}

impl PoolConfig {
    /// At most 128 MiB of small and 64 MiB of large buffers, taken from the heap only when needed.
    pub const DEFAULT: PoolConfig = PoolConfig {
        small_len: 2048,
        small_count_max: 65_536,
        large_len: <HeapFrame as Frame>::HEADROOM + 65_536 + 64,
        large_count_max: 1024,
    };
}

impl Default for PoolConfig {
    /// [`PoolConfig::DEFAULT`].
    fn default() -> PoolConfig {
        PoolConfig::DEFAULT
    }
}

/// A pool of [`HeapFrame`]s. Clones are handles on the same pool.
#[derive(Debug)]
pub struct Pool {
    small: Rc<Class>,
    large: Rc<Class>,
}

/// Buffers of one size, and the way home for those that are in use.
///
/// Free buffers and their class hold each other: the last handle of the pool breaks the ring when it goes. That spares
/// each frame that is dropped the question whether its pool is still there.
struct Class {
    buffer_len: usize,
    count_max: usize,
    /// Buffers that exist, free or in use.
    count: Cell<usize>,
    free_count: Cell<usize>,
    /// Free buffers, each of which holds the next.
    free: Cell<Option<Rc<Slab>>>,
    /// Handles of the pool.
    handles: Cell<usize>,
}

impl Pool {
    /// An empty pool with these limits.
    ///
    /// # Panics
    /// If a buffer is not larger than the headroom of a frame, or larger than 1 GiB.
    pub fn new(config: PoolConfig) -> Pool {
        for len in [config.small_len, config.large_len] {
            assert!(len > HeapFrame::HEADROOM && len <= 1 << 30, "a buffer of {len} bytes is unusable");
        }
        Pool {
            small: Class::new(config.small_len, config.small_count_max),
            large: Class::new(config.large_len, config.large_count_max),
        }
    }

    /// An empty frame for `len` bytes of payload: a small buffer if that fits or no large one is left.
    /// `None` if the pool is dry.
    #[inline(always)]
    pub fn alloc(&self, len: usize) -> Option<HeapFrame> {
        let is_small = len <= self.small.buffer_len - HeapFrame::HEADROOM;
        let free = if likely(is_small) { usually(self.small.pop()) } else { None };
        Some(empty(free.or_else(|| self.take(is_small))?))
    }

    /// A buffer, if it is not a small one that was in use before.
    #[inline(never)]
    fn take(&self, is_small: bool) -> Option<Rc<Slab>> {
        let large = if is_small { None } else { self.large.take() };
        large.or_else(|| self.small.take())
    }

    /// An empty frame in a large buffer, or `None`.
    #[inline(never)]
    pub fn alloc_large(&self) -> Option<HeapFrame> {
        Some(empty(self.large.take()?))
    }

    /// A frame on somebody else's bytes. It has no room, and can only be read and sent.
    /// `None` if it is 4 GiB or longer.
    pub fn wrap(bytes: SharedBytes) -> Option<HeapFrame> {
        let end = u32::try_from(bytes.len()).ok()?;
        let slab = Slab { bytes: Box::default(), home: Home::Foreign(bytes), next: Cell::new(None) };
        Some(HeapFrame::new(Rc::new(slab), 0, end))
    }

    /// Buffers in use: frames, leases and what is queued anywhere. 0 when all came home.
    pub fn in_use(&self) -> usize {
        self.small.in_use() + self.large.in_use()
    }

    /// Bytes of the buffers in use.
    pub fn in_use_len(&self) -> usize {
        [&self.small, &self.large].iter().map(|class| class.in_use() * class.buffer_len).sum()
    }

    /// The most bytes that a frame of [`alloc`](Pool::alloc) has room for.
    pub fn alloc_len_max(&self) -> usize {
        let largest = self.small.buffer_len.max(self.large.buffer_len);
        largest - HeapFrame::HEADROOM
    }

    /// Bytes of all small buffers that there may be: what every received packet starts in, or can.
    pub fn small_len_max(&self) -> usize {
        self.small.buffer_len.saturating_mul(self.small.count_max)
    }

    /// Bytes of memory that the pool has taken from the heap so far.
    pub fn memory_len(&self) -> usize {
        [&self.small, &self.large].iter().map(|class| class.count.get() * class.buffer_len).sum()
    }
}

/// A frame without bytes, behind its headroom.
#[inline(always)]
fn empty(slab: Rc<Slab>) -> HeapFrame {
    let start = HeapFrame::HEADROOM as u32;
    HeapFrame::new(slab, start, start)
}

impl Clone for Pool {
    fn clone(&self) -> Pool {
        [&self.small, &self.large].iter().for_each(|class| class.handles.update(|count| count + 1));
        Pool { small: Rc::clone(&self.small), large: Rc::clone(&self.large) }
    }
}

impl Drop for Pool {
    /// With the last handle, the free buffers go; those in use go when their frames do.
    fn drop(&mut self) {
        for class in [&self.small, &self.large] {
            class.handles.update(|count| count - 1);
            if class.handles.get() == 0 {
                // One by one: each holds the next, and a long chain is not to be dropped by recursion.
                while class.pop().is_some() {}
            }
        }
    }
}

impl Class {
    fn new(buffer_len: usize, count_max: usize) -> Rc<Class> {
        Rc::new(Class {
            buffer_len,
            count_max,
            count: Cell::new(0),
            free_count: Cell::new(0),
            free: Cell::new(None),
            handles: Cell::new(1),
        })
    }

    /// A buffer that nobody else has.
    #[inline]
    fn take(self: &Rc<Class>) -> Option<Rc<Slab>> {
        self.pop().or_else(|| self.grow())
    }

    /// A free buffer.
    #[inline(always)]
    fn pop(&self) -> Option<Rc<Slab>> {
        let slab = self.free.take()?;
        // What was there is gone: forgetting it spares the look whether it has to be dropped.
        forget(self.free.replace(slab.next.take()));
        self.free_count.set(self.free_count.get() - 1);
        Some(slab)
    }

    /// A buffer becomes free.
    #[inline]
    fn push(&self, slab: Rc<Slab>) {
        let next = self.free.take();
        forget(slab.next.replace(next));
        forget(self.free.replace(Some(slab)));
        self.free_count.set(self.free_count.get() + 1);
    }

    #[cold]
    fn grow(self: &Rc<Class>) -> Option<Rc<Slab>> {
        if self.count.get() >= self.count_max {
            return None;
        }
        self.count.set(self.count.get() + 1);
        let bytes = vec![0; self.buffer_len].into_boxed_slice();
        Some(Rc::new(Slab { bytes, home: Home::Pool(Rc::clone(self)), next: Cell::new(None) }))
    }

    fn in_use(&self) -> usize {
        self.count.get() - self.free_count.get()
    }

    /// Whether somebody can still allocate from it.
    #[inline]
    fn is_open(&self) -> bool {
        self.handles.get() > 0
    }
}

impl fmt::Debug for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Class({} of {} buffers of {} bytes)", self.in_use(), self.count.get(), self.buffer_len)
    }
}

/// A buffer of a [`Pool`], or foreign bytes in the place of one.
pub struct Slab {
    /// A piece of the heap; empty if the bytes are foreign.
    bytes: Box<[u8]>,
    home: Home,
    /// While it is free, the next that is.
    next: Cell<Option<Rc<Slab>>>,
}

#[derive(Debug)]
enum Home {
    Pool(Rc<Class>),
    Foreign(SharedBytes),
}

impl Slab {
    /// Kept out of the many places that look at a frame's bytes: few frames are foreign.
    #[cold]
    #[inline(never)]
    fn foreign(&self, range: Range<usize>) -> &[u8] {
        match &self.home {
            // Its owner may show fewer bytes than when it was wrapped: never a panic, as `SharedBytes` has it.
            Home::Foreign(bytes) => bytes.get(range).unwrap_or(&[]),
            Home::Pool(_) => &self.bytes[range],
        }
    }
}

impl fmt::Debug for Slab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slab({} bytes of {:?})", self.capacity(), self.home)
    }
}

impl AsRef<[u8]> for Slab {
    fn as_ref(&self) -> &[u8] {
        match &self.home {
            Home::Pool(_) => &self.bytes,
            Home::Foreign(bytes) => bytes,
        }
    }
}

impl Drop for Slab {
    /// Frames recycle the whole `Slab` ([`Buffer::release`]); this is the way home for one whose last handle
    /// was a [`SharedBytes`].
    fn drop(&mut self) {
        if let Home::Pool(class) = &self.home
            && class.is_open()
        {
            let bytes = core::mem::take(&mut self.bytes);
            class.push(Rc::new(Slab { bytes, home: Home::Pool(Rc::clone(class)), next: Cell::new(None) }));
        }
    }
}

/// A [`Frame`] in a buffer of a [`Pool`], or on [foreign bytes](Pool::wrap). 24 bytes.
pub type HeapFrame = PooledFrame<Slab>;

impl Buffer for Slab {
    #[inline]
    fn capacity(&self) -> usize {
        match &self.home {
            Home::Pool(_) => self.bytes.len(),
            Home::Foreign(bytes) => bytes.len(),
        }
    }

    #[inline]
    fn bytes(&self, range: Range<usize>) -> &[u8] {
        match self.bytes.get(range.clone()) {
            Some(bytes) => bytes,
            None => self.foreign(range),
        }
    }

    #[inline]
    fn bytes_mut(&mut self, range: Range<usize>) -> Option<&mut [u8]> {
        // Nothing at all of what is empty because it is foreign is no range to change.
        self.bytes.get_mut(range)
    }

    #[inline]
    fn is_writable(&self) -> bool {
        matches!(self.home, Home::Pool(_))
    }

    /// The buffer goes home, reference count and all, without a trip to the allocator.
    #[inline(always)]
    fn release(this: &Rc<Slab>) {
        if let Home::Pool(class) = &this.home
            && likely(class.is_open())
        {
            class.push(Rc::clone(this));
        }
    }

    #[inline]
    fn lease(this: &Rc<Slab>, range: Range<usize>) -> SharedBytes {
        match &this.home {
            Home::Foreign(bytes) => bytes.slice(range),
            Home::Pool(_) => SharedBytes::with_range(Rc::clone(this) as _, range),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(small_count_max: usize) -> Pool {
        Pool::new(PoolConfig { small_count_max, large_count_max: 1, ..PoolConfig::default() })
    }

    #[test]
    fn a_frame_grows_at_both_ends_and_shrinks() {
        let mut frame = pool(1).alloc(100).unwrap();
        frame.extend(5).unwrap().copy_from_slice(b"world");
        frame.prepend(6).unwrap()[..6].copy_from_slice(b"hello ");
        assert_eq!(frame.bytes(), b"hello world");
        frame.trim_front(6);
        frame.truncate(3);
        assert_eq!(frame.bytes(), b"wor");
        assert!(frame.prepend(HeapFrame::HEADROOM + 1).is_none());
        assert!(frame.extend(4096).is_none());
        assert_eq!(frame.bytes(), b"wor");
    }

    #[test]
    fn a_second_handle_forbids_change_until_it_is_dropped() {
        let mut frame = pool(1).alloc(0).unwrap();
        frame.extend(3).unwrap().copy_from_slice(b"abc");
        let mut second = frame.share();
        second.trim_front(1);
        assert!(frame.bytes_mut().is_none() && frame.extend(1).is_none() && frame.prepend(1).is_none());
        assert_eq!((frame.headroom(), frame.tailroom()), (0, 0));
        assert_eq!((frame.bytes(), second.bytes()), (&b"abc"[..], &b"bc"[..]));
        drop(second);
        assert!(frame.is_unique() && frame.bytes_mut().is_some());
    }

    #[test]
    fn buffers_come_home_by_every_way() {
        let pool = pool(2);
        let a = pool.alloc(1).unwrap();
        let mut b = pool.alloc(1).unwrap();
        assert!(pool.alloc(1).is_none(), "the limit holds");
        b.chain(a);
        let shared = b.into_shared();
        assert_eq!(pool.in_use(), 1, "the chained one is home, the shared one is not");
        assert_eq!(pool.in_use_len(), 2048);
        drop(shared);
        assert_eq!(pool.in_use(), 0);
        assert_eq!(pool.memory_len(), 2 * 2048);
        assert!(pool.alloc(1).is_some());
    }

    #[test]
    fn long_frames_get_large_buffers_and_make_do_with_small_ones() {
        let pool = pool(1);
        let large = pool.alloc(30_000).unwrap();
        assert!(large.tailroom() >= 65_536);
        assert_eq!(pool.alloc(30_000).unwrap().tailroom(), 2048 - HeapFrame::HEADROOM);
    }

    #[test]
    fn an_owner_whose_bytes_shrink_reads_as_empty() {
        struct Fickle(Rc<Cell<bool>>);
        impl AsRef<[u8]> for Fickle {
            fn as_ref(&self) -> &[u8] {
                if self.0.get() { b"" } else { b"bytes" }
            }
        }
        let is_gone = Rc::new(Cell::new(false));
        let mut frame = Pool::wrap(SharedBytes::from_owner(Fickle(Rc::clone(&is_gone)))).unwrap();
        frame.trim_front(1);
        assert_eq!(frame.bytes(), b"ytes");
        is_gone.set(true);
        assert_eq!(frame.bytes(), b"");
    }

    #[test]
    fn frames_outlive_their_pool() {
        let pool = pool(1);
        let mut frame = pool.alloc(1).unwrap();
        drop(pool);
        frame.extend(1).unwrap()[0] = 7;
        assert_eq!(&*frame.into_shared(), [7]);
    }

    #[test]
    fn a_pool_lives_as_long_as_its_handles_and_the_frames_that_are_out() {
        let pool = pool(3);
        let class = Rc::downgrade(&pool.small);
        let (home, out, shared) = (pool.alloc(1).unwrap(), pool.alloc(1).unwrap(), pool.alloc(1).unwrap());
        let (second, shared) = (pool.clone(), shared.into_shared());
        drop((pool, home));
        assert_eq!(second.in_use(), 2);
        drop((second, out));
        assert!(class.upgrade().is_some_and(|class| class.free_count.get() == 0));
        drop(shared);
        assert!(class.upgrade().is_none(), "pool and buffers do not keep each other");
    }

    #[test]
    fn a_large_pool_goes_without_a_deep_stack() {
        // Miri is some thousand times slower, and looks for something else.
        let count = if cfg!(miri) { 1000 } else { 200_000 };
        let config = PoolConfig { small_len: 136, small_count_max: count, ..PoolConfig::default() };
        let pool = Pool::new(config);
        let frames: alloc::vec::Vec<_> = (0..count).map(|_| pool.alloc(1).unwrap()).collect();
        drop(frames);
        assert_eq!((pool.in_use(), pool.small.free_count.get()), (0, count));
        drop(pool);
    }

    #[test]
    fn foreign_bytes_are_sent_from_where_they_are() {
        let bytes = SharedBytes::from(alloc::vec![1, 2, 3, 4]);
        let address = bytes.as_ptr();
        let mut frame = Pool::wrap(bytes).unwrap();
        assert!(frame.prepend(1).is_none() && frame.bytes_mut().is_none() && frame.tailroom() == 0);
        frame.trim_front(1);
        assert_eq!((frame.bytes(), frame.capacity()), (&[2, 3, 4][..], 4));
        let shared = frame.into_shared();
        assert_eq!(&*shared, [2, 3, 4]);
        assert_eq!(shared.as_ptr(), address.wrapping_add(1));
    }

    #[test]
    fn chains_keep_their_order() {
        let pool = pool(3);
        let mut frames: alloc::vec::Vec<_> = (0..3u8)
            .map(|i| {
                let mut frame = pool.alloc(1).unwrap();
                frame.extend(1).unwrap()[0] = i;
                frame
            })
            .collect();
        let (c, b) = (frames.pop().unwrap(), frames.pop().unwrap());
        let mut a = frames.pop().unwrap();
        a.chain(b);
        a.chain(c);
        assert_eq!(a.total_len(), 3);
        let all: alloc::vec::Vec<u8> = a.fragments().flatten().copied().collect();
        assert_eq!(all, [0, 1, 2]);
        let rest = a.unchain().unwrap();
        assert_eq!((a.total_len(), rest.total_len()), (1, 2));
    }
}

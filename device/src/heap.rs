//! A pool of frames in ordinary memory, in safe Rust.
//!
//! For backends whose frames are copied by somebody else anyway (TAP) or need no hardware (the wire). A
//! [`Pool`] has two sizes of buffer: small ones hold a frame of an Ethernet MTU, large ones a TSO or LRO
//! super-frame. Buffers are made as they are needed, up to the limits of [`PoolConfig`], and then go round.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::ops::Range;

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
    inner: Rc<Inner>,
}

/// What the handles of a pool share, and every buffer of it.
///
/// Free buffers and the pool hold each other: the last handle breaks the ring when it goes. That spares each
/// frame that is dropped the question whether its pool is still there.
#[derive(Debug)]
struct Inner {
    small: Class,
    large: Class,
    handles: Cell<usize>,
}

/// Buffers of one size.
#[derive(Debug)]
struct Class {
    buffer_len: usize,
    count_max: usize,
    /// Buffers that exist, free or in use.
    count: Cell<usize>,
    free: RefCell<Vec<Rc<Slab>>>,
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
            inner: Rc::new(Inner {
                small: Class::new(config.small_len, config.small_count_max),
                large: Class::new(config.large_len, config.large_count_max),
                handles: Cell::new(1),
            }),
        }
    }

    /// An empty frame for `len` bytes of payload: a small buffer if that fits or no large one is left.
    /// `None` if the pool is dry.
    #[inline]
    pub fn alloc(&self, len: usize) -> Option<HeapFrame> {
        let small_room = self.inner.small.buffer_len - HeapFrame::HEADROOM;
        if len > small_room
            && let Some(frame) = self.alloc_from(|inner| &inner.large)
        {
            return Some(frame);
        }
        self.alloc_from(|inner| &inner.small)
    }

    /// An empty frame in a large buffer, or `None`.
    pub fn alloc_large(&self) -> Option<HeapFrame> {
        self.alloc_from(|inner| &inner.large)
    }

    #[inline]
    fn alloc_from(&self, class: impl Fn(&Inner) -> &Class) -> Option<HeapFrame> {
        let slab = match class(&self.inner).free.borrow_mut().pop() {
            Some(slab) => slab,
            None => class(&self.inner).grow(&self.inner)?,
        };
        let start = HeapFrame::HEADROOM as u32;
        Some(HeapFrame::new(slab, start, start))
    }

    /// A frame on somebody else's bytes. It has no room, and can only be read and sent.
    /// `None` if it is 4 GiB or longer.
    pub fn wrap(bytes: SharedBytes) -> Option<HeapFrame> {
        let end = u32::try_from(bytes.len()).ok()?;
        Some(HeapFrame::new(Rc::new(Slab(Memory::Foreign(bytes))), 0, end))
    }

    /// Buffers in use: frames, leases and what is queued anywhere. 0 when all came home.
    pub fn in_use(&self) -> usize {
        self.inner.small.in_use() + self.inner.large.in_use()
    }

    /// Bytes of memory that the pool has taken from the heap so far.
    pub fn memory_len(&self) -> usize {
        [&self.inner.small, &self.inner.large].iter().map(|class| class.count.get() * class.buffer_len).sum()
    }
}

impl Clone for Pool {
    fn clone(&self) -> Pool {
        self.inner.handles.update(|count| count + 1);
        Pool { inner: Rc::clone(&self.inner) }
    }
}

impl Drop for Pool {
    /// With the last handle, the free buffers go; those in use go when their frames do.
    fn drop(&mut self) {
        self.inner.handles.update(|count| count - 1);
        if self.inner.handles.get() == 0 {
            // Taken out first: a slab that is dropped looks at its pool.
            drop([self.inner.small.free.take(), self.inner.large.free.take()]);
        }
    }
}

impl Class {
    fn new(buffer_len: usize, count_max: usize) -> Class {
        Class { buffer_len, count_max, count: Cell::new(0), free: RefCell::new(Vec::new()) }
    }

    #[cold]
    fn grow(&self, pool: &Rc<Inner>) -> Option<Rc<Slab>> {
        if self.count.get() >= self.count_max {
            return None;
        }
        self.count.set(self.count.get() + 1);
        let bytes = vec![0; self.buffer_len].into_boxed_slice();
        Some(Rc::new(Slab(Memory::Pooled { bytes, pool: Rc::clone(pool) })))
    }

    fn in_use(&self) -> usize {
        self.count.get() - self.free.borrow().len()
    }
}

impl Inner {
    #[inline]
    fn class_of(&self, buffer_len: usize) -> &Class {
        if buffer_len == self.small.buffer_len { &self.small } else { &self.large }
    }

    /// Whether somebody can still allocate from it.
    #[inline]
    fn is_open(&self) -> bool {
        self.handles.get() > 0
    }
}

/// A buffer of a [`Pool`], or foreign bytes in the place of one.
#[derive(Debug)]
pub struct Slab(Memory);

#[derive(Debug)]
enum Memory {
    /// A piece of the heap, and the way home.
    Pooled {
        bytes: Box<[u8]>,
        pool: Rc<Inner>,
    },
    Foreign(SharedBytes),
}

impl AsRef<[u8]> for Slab {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Memory::Pooled { bytes, .. } => bytes,
            Memory::Foreign(bytes) => foreign(bytes),
        }
    }
}

/// Kept out of the many places that look at a frame's bytes: few frames are foreign.
#[inline(never)]
fn foreign(bytes: &SharedBytes) -> &[u8] {
    bytes
}

impl Drop for Slab {
    /// Frames recycle the whole `Slab` ([`Buffer::release`]); this is the way home for one whose last handle
    /// was a [`SharedBytes`].
    fn drop(&mut self) {
        if let Memory::Pooled { bytes, pool } = &mut self.0
            && pool.is_open()
        {
            let free = &pool.class_of(bytes.len()).free;
            let slab = Slab(Memory::Pooled { bytes: core::mem::take(bytes), pool: Rc::clone(pool) });
            free.borrow_mut().push(Rc::new(slab));
        }
    }
}

/// A [`Frame`] in a buffer of a [`Pool`], or on [foreign bytes](Pool::wrap). 24 bytes.
pub type HeapFrame = PooledFrame<Slab>;

impl Buffer for Slab {
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
        match &mut self.0 {
            Memory::Pooled { bytes, .. } => bytes.get_mut(range),
            Memory::Foreign(_) => None,
        }
    }

    #[inline]
    fn is_writable(&self) -> bool {
        matches!(self.0, Memory::Pooled { .. })
    }

    /// The buffer goes home, reference count and all, without a trip to the allocator.
    #[inline(never)]
    fn release(this: &Rc<Slab>) {
        if let Memory::Pooled { bytes, pool } = &this.0
            && pool.is_open()
        {
            pool.class_of(bytes.len()).free.borrow_mut().push(Rc::clone(this));
        }
    }

    #[inline]
    fn lease(this: &Rc<Slab>, range: Range<usize>) -> SharedBytes {
        match &this.0 {
            Memory::Foreign(bytes) => bytes.slice(range),
            Memory::Pooled { .. } => SharedBytes::with_range(Rc::clone(this) as _, range),
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
        let inner = Rc::downgrade(&pool.inner);
        let (home, out, shared) = (pool.alloc(1).unwrap(), pool.alloc(1).unwrap(), pool.alloc(1).unwrap());
        let (second, shared) = (pool.clone(), shared.into_shared());
        drop((pool, home));
        assert_eq!(second.in_use(), 2);
        drop((second, out));
        assert!(inner.upgrade().is_some_and(|inner| inner.small.free.borrow().is_empty()));
        drop(shared);
        assert!(inner.upgrade().is_none(), "pool and buffers do not keep each other");
    }

    #[test]
    fn foreign_bytes_are_sent_from_where_they_are() {
        let bytes = SharedBytes::from(alloc::vec![1, 2, 3, 4]);
        let address = bytes.as_ptr();
        let mut frame = Pool::wrap(bytes).unwrap();
        assert!(frame.prepend(1).is_none() && frame.bytes_mut().is_none() && frame.tailroom() == 0);
        frame.trim_front(1);
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

//! The rings between us and the kernel: one producer, one consumer, indices that run free.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering, fence};

/// What a ring holds: addresses (`u64`) or packets ([`Descriptor`]). Every bit pattern is a value of both.
pub(crate) trait Entry: Copy {}

impl Entry for u64 {}
impl Entry for Descriptor {}

/// The kernel's `struct xdp_desc`: a packet, or a fragment of one.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Descriptor {
    pub(crate) address: u64,
    pub(crate) len: u32,
    pub(crate) options: u32,
}

/// A ring as it is mapped.
#[derive(Debug)]
struct Ring<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    entries: NonNull<T>,
    len: u32,
    mapping: NonNull<libc::c_void>,
    mapping_len: usize,
}

// SAFETY: the pointers lead into a mapping that the ring alone owns, and that is the same in every thread.
unsafe impl<T: Entry> Send for Ring<T> {}

impl<T: Entry> Ring<T> {
    fn map(fd: BorrowedFd<'_>, page: u64, offsets: &libc::xdp_ring_offset, len: u32) -> io::Result<Ring<T>> {
        let mapping_len = offsets.desc as usize + len as usize * size_of::<T>();
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_POPULATE);
        let page = page as libc::off_t;
        // SAFETY: without MAP_FIXED the kernel chooses the place, so no memory in use is touched.
        let base =
            unsafe { libc::mmap(std::ptr::null_mut(), mapping_len, protection, flags, fd.as_raw_fd(), page) };
        let mapping = match NonNull::new(base) {
            Some(base) if base.as_ptr() != libc::MAP_FAILED => base,
            _ => return Err(io::Error::last_os_error()),
        };
        // SAFETY: the kernel says where in the mapping indices, flags and entries are; they are aligned there, and
        // the mapping is as long as the entries need.
        unsafe {
            Ok(Ring {
                producer: mapping.byte_add(offsets.producer as usize).cast(),
                consumer: mapping.byte_add(offsets.consumer as usize).cast(),
                flags: mapping.byte_add(offsets.flags as usize).cast(),
                entries: mapping.byte_add(offsets.desc as usize).cast(),
                len,
                mapping,
                mapping_len,
            })
        }
    }

    #[inline]
    fn producer(&self) -> &AtomicU32 {
        // SAFETY: it points into the mapping, which lives as long as `self`, and all access to it is atomic.
        unsafe { self.producer.as_ref() }
    }

    #[inline]
    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as for the producer.
        unsafe { self.consumer.as_ref() }
    }

    #[inline]
    fn wants_wake(&self) -> bool {
        // SAFETY: as for the producer.
        let flags = unsafe { self.flags.as_ref() };
        flags.load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }

    #[inline]
    fn entry(&self, index: u32) -> *mut T {
        // SAFETY: the length is a power of two, so the masked index is below it.
        unsafe { self.entries.as_ptr().add((index & (self.len - 1)) as usize) }
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this address and length, and all pointers into it go with `self`.
        unsafe { libc::munmap(self.mapping.as_ptr(), self.mapping_len) };
    }
}

/// Our end of a ring that the kernel takes from: fill and transmit.
#[derive(Debug)]
pub(crate) struct Producer<T> {
    ring: Ring<T>,
    /// Where the next entry goes.
    next: u32,
    /// What the kernel has been told.
    published: u32,
}

impl<T: Entry> Producer<T> {
    pub(crate) fn map(
        fd: BorrowedFd<'_>,
        page: u64,
        offsets: &libc::xdp_ring_offset,
        len: u32,
    ) -> io::Result<Self> {
        Ok(Producer { ring: Ring::map(fd, page, offsets, len)?, next: 0, published: 0 })
    }

    /// Entries that the kernel has not taken yet, or not been told of.
    #[inline]
    pub(crate) fn waiting(&self) -> u32 {
        self.next.wrapping_sub(self.ring.consumer().load(Ordering::Acquire)).min(self.ring.len)
    }

    /// How many entries fit.
    #[inline]
    pub(crate) fn room(&self) -> u32 {
        self.ring.len - self.waiting()
    }

    /// Whether some have not been published.
    #[inline]
    pub(crate) fn has_unpublished(&self) -> bool {
        self.next != self.published
    }

    /// Adds an entry. The caller has looked at [`room`](Self::room): one beyond it would replace the oldest.
    #[inline]
    pub(crate) fn push(&mut self, entry: T) {
        // SAFETY: the slot lies within the mapping, and the kernel reads it only once the index is published.
        unsafe { self.ring.entry(self.next).write(entry) };
        self.next = self.next.wrapping_add(1);
    }

    /// Lets the kernel see all entries, and returns whether it wants to be woken for them.
    #[inline]
    pub(crate) fn publish(&mut self) -> bool {
        self.published = self.next;
        self.ring.producer().store(self.next, Ordering::Release);
        // The kernel sets the flag and then looks at the index once more; we do it the other way round. Without
        // this, both could miss what the other has written.
        fence(Ordering::SeqCst);
        self.ring.wants_wake()
    }

    /// Whether the kernel wants to be woken.
    #[inline]
    pub(crate) fn wants_wake(&self) -> bool {
        self.ring.wants_wake()
    }
}

/// Our end of a ring that the kernel fills: receive and completion.
#[derive(Debug)]
pub(crate) struct Consumer<T> {
    ring: Ring<T>,
    next: u32,
    /// How far the kernel was when we last looked.
    produced: u32,
}

impl<T: Entry> Consumer<T> {
    pub(crate) fn map(
        fd: BorrowedFd<'_>,
        page: u64,
        offsets: &libc::xdp_ring_offset,
        len: u32,
    ) -> io::Result<Self> {
        Ok(Consumer { ring: Ring::map(fd, page, offsets, len)?, next: 0, produced: 0 })
    }

    /// Whether there is nothing to take.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.produced == self.next && self.ring.producer().load(Ordering::Acquire) == self.next
    }

    /// Takes the oldest entry.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<T> {
        if self.produced == self.next {
            self.produced = self.ring.producer().load(Ordering::Acquire);
            if self.produced == self.next {
                return None;
            }
        }
        // SAFETY: the slot lies within the mapping; the kernel has written it before it moved its index, and writes
        // it again only when ours has moved on.
        let entry = unsafe { self.ring.entry(self.next).read() };
        self.next = self.next.wrapping_add(1);
        Some(entry)
    }

    /// Gives the slots of what was taken back to the kernel.
    #[inline]
    pub(crate) fn release(&self) {
        self.ring.consumer().store(self.next, Ordering::Release);
    }
}

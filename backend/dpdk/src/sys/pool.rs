//! Pools of mbufs.

use std::ffi::{CString, c_uint};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{eal, ffi, frame};

/// Free buffers that a thread keeps at hand, so that it goes to the shared ring once for many.
const CACHE_COUNT_MAX: usize = 256;

/// Bytes of a buffer, headroom included, which with all that belongs to it is as long as a page: its place in the pool, the
/// mbuf, the private area.
pub(crate) const PAGE_ROOM: u16 = 4096 - 64 - 128 - frame::PRIVATE_LEN;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A pool. Its mbufs have [`frame`]'s private area behind them. Its memory stays taken unless it is
/// [freed](Pool::free).
#[derive(Debug)]
pub(crate) struct Pool(NonNull<ffi::Mempool>);

// SAFETY: DPDK's pools may be used by any number of threads at the same time.
unsafe impl Send for Pool {}

impl Pool {
    /// A pool of `count` buffers with `room` bytes each, headroom included. The error is DPDK's.
    pub(crate) fn new(count: usize, room: u16) -> Result<Pool, i32> {
        Pool::create(count, room, false)
    }

    /// The same, without a gap between buffers. With [`PAGE_ROOM`] each has a page of memory for itself.
    pub(crate) fn dense(count: usize, room: u16) -> Result<Pool, i32> {
        Pool::create(count, room, true)
    }

    fn create(count: usize, room: u16, is_dense: bool) -> Result<Pool, i32> {
        let numbered = CString::new(format!("hayase-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let numbered = numbered.expect("a name without zero bytes");
        // EAL wants a thread's cache to be a part of the pool only.
        let cache = CACHE_COUNT_MAX.min(count / 2);
        const ANY_SOCKET: i32 = -1;
        let (name, count, cache) = (numbered.as_ptr(), count as c_uint, cache as c_uint);
        // SAFETY: the name ends in zero and is copied. EAL runs: callers have started it.
        let pool = unsafe {
            if is_dense {
                ffi::hayase_pool_create_dense(name, count, cache, frame::PRIVATE_LEN, room)
            } else {
                ffi::rte_pktmbuf_pool_create(name, count, cache, frame::PRIVATE_LEN, room, ANY_SOCKET)
            }
        };
        NonNull::new(pool).map(Pool).ok_or_else(eal::errno)
    }

    pub(super) fn raw(&self) -> *mut ffi::Mempool {
        self.0.as_ptr()
    }

    /// Buffers in use, wherever they are.
    pub(crate) fn in_use(&self) -> usize {
        // SAFETY: the pool lives as long as `self`.
        unsafe { ffi::rte_mempool_in_use_count(self.raw()) as usize }
    }

    /// Brings what this thread keeps at hand back to the pool, for the thread that has its place next.
    pub(crate) fn flush(&self) {
        // SAFETY: the pool lives as long as `self`; the cache is the calling thread's own.
        unsafe { ffi::hayase_pool_flush(self.raw()) };
    }

    /// Gives the pool's memory back, if all its buffers have come home. The caller vouches that no thread holds
    /// frames of it, as [`DpdkFrame::live_count`](super::DpdkFrame::live_count) tells.
    pub(crate) fn free(self) {
        if self.in_use() == 0 {
            // SAFETY: no buffer of it is in use, so nothing points into it, and `self` was the one way to more.
            unsafe { ffi::rte_mempool_free(self.raw()) };
        }
    }
}

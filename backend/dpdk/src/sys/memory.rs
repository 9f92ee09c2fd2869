//! Memory of the application that every NIC of the process can send from.

use std::ptr::NonNull;
use std::slice;
use std::sync::{PoisonError, RwLock};

use super::ffi;
use crate::DpdkError;

/// The memory that is there, as ranges of addresses.
static REGIONS: RwLock<Vec<(usize, usize)>> = RwLock::new(Vec::new());

/// Memory out of DPDK's own, which all its devices can reach.
///
/// Bytes in it (put into a `bytes::Bytes` by `from_owner`, say) are sent from where they are, also by hardware and by
/// virtio, which cannot reach the rest of the process's memory: bytes from there are copied into mbufs.
/// A driver that copies anyway (vhost, memif, TAP) sends from anywhere.
#[derive(Debug)]
pub struct Memory {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory is owned, and is changed only through `&mut`.
unsafe impl Send for Memory {}
// SAFETY: the memory is owned, and is changed only through `&mut`.
unsafe impl Sync for Memory {}

impl Memory {
    /// `len` bytes of zero.
    ///
    /// # Errors
    /// If DPDK has not been started (open a device first), or has not that much memory left.
    pub fn new(len: usize) -> Result<Memory, DpdkError> {
        crate::eal::is_running()?;
        const CACHE_LINE: u32 = 64;
        // SAFETY: EAL runs. No name is given.
        let start = unsafe { ffi::rte_malloc(std::ptr::null(), len.max(1), CACHE_LINE) };
        let start = NonNull::new(start.cast::<u8>()).ok_or(DpdkError::NoMemory { what: "sending", len })?;
        // SAFETY: these bytes were allocated just now.
        unsafe { start.write_bytes(0, len) };
        let address = start.as_ptr() as usize;
        REGIONS.write().unwrap_or_else(PoisonError::into_inner).push((address, address + len));
        Ok(Memory { start, len })
    }
}

/// Whether all of these bytes lie in such memory.
pub(super) fn covers(bytes: &[u8]) -> bool {
    let range = bytes.as_ptr_range();
    let (start, end) = (range.start as usize, range.end as usize);
    let regions = REGIONS.read().unwrap_or_else(PoisonError::into_inner);
    regions.iter().any(|region| region.0 <= start && end <= region.1)
}

impl AsRef<[u8]> for Memory {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the bytes were allocated and written in `new`, and are freed in `drop`.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl AsMut<[u8]> for Memory {
    fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and exclusive, as `self` is.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let address = self.start.as_ptr() as usize;
        REGIONS.write().unwrap_or_else(PoisonError::into_inner).retain(|region| region.0 != address);
        // SAFETY: it came from `rte_malloc`, and nobody holds a reference. What was sent from it holds its owner.
        unsafe { ffi::rte_free(self.start.as_ptr().cast()) };
    }
}

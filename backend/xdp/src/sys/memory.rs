//! The UMEM: memory that the kernel receives into and sends from.

use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

/// Bytes in front of a packet in which the kernel looks for requests (`struct xsk_tx_metadata`).
pub(crate) const METADATA_LEN: usize = 24;

/// `XDP_TXMD_FLAGS_CHECKSUM`.
const CHECKSUM: u64 = 2;

/// A piece of anonymous memory of ours.
#[derive(Debug)]
pub(crate) struct Region {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a region by itself is an address and a length; it gives no access to its bytes. Each byte belongs to one
// `Part`, later to one `Memory`, of which none is in two threads.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Takes `len` bytes from the kernel, all zero.
    pub(crate) fn map(len: usize) -> io::Result<Region> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: without MAP_FIXED the kernel chooses the place, so no memory in use is touched.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
        match NonNull::new(base) {
            Some(base) if base.as_ptr() != libc::MAP_FAILED => Ok(Region { base: base.cast(), len }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    pub(crate) fn address(&self) -> u64 {
        self.base.as_ptr() as u64
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Divides the region into parts of `chunk_count` chunks.
    ///
    /// # Panics
    /// If the chunks do not fill it exactly.
    pub(crate) fn divide(self, chunk_len: usize, chunk_count: usize) -> Vec<Part> {
        let part_len = chunk_len * chunk_count;
        assert!(part_len > 0 && self.len.is_multiple_of(part_len), "chunks that do not fill their region");
        let (region, offsets) = (Arc::new(self), (0..).step_by(part_len));
        let count = region.len / part_len;
        let part = |offset| Part { region: Arc::clone(&region), offset, chunk_len, chunk_count };
        offsets.take(count).map(part).collect()
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the memory was mapped with this address and length, and nobody has a pointer into it any more:
        // each `Memory` keeps its region alive. What a socket still uses of it, the kernel holds by itself.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// A part of a region, disjoint from all others.
#[derive(Debug)]
pub(crate) struct Part {
    region: Arc<Region>,
    offset: usize,
    chunk_len: usize,
    chunk_count: usize,
}

impl Part {
    pub(crate) fn chunk_count(&self) -> usize {
        self.chunk_count
    }

    /// The region, for who wants to know when it goes.
    #[cfg(test)]
    pub(crate) fn region(&self) -> std::sync::Weak<Region> {
        Arc::downgrade(&self.region)
    }

    /// Which addresses of the UMEM are in it: the first one, the length of a chunk, the number of chunks.
    pub(crate) fn layout(&self) -> (u64, usize, usize) {
        (self.offset as u64, self.chunk_len, self.chunk_count)
    }

    /// Takes it apart, in order of address.
    pub(crate) fn into_chunks(self) -> impl Iterator<Item = Memory> {
        (0..self.chunk_count).map(move |index| {
            let address = self.offset + index * self.chunk_len;
            // SAFETY: `divide` has checked that all chunks of all parts lie within the region.
            let data = unsafe { self.region.base.add(address) };
            let len = self.chunk_len as u32;
            Memory { data, address: address as u64, len, floor: len, _region: Arc::clone(&self.region) }
        })
    }
}

/// The memory of a chunk. Nobody else of this process has it; what the kernel may do to it, [`Channel`] governs.
///
/// [`Channel`]: super::Channel
#[derive(Debug)]
pub(crate) struct Memory {
    data: NonNull<u8>,
    address: u64,
    len: u32,
    /// Bytes from here on can be seen through references; those in front cannot.
    floor: u32,
    _region: Arc<Region>,
}

impl Memory {
    /// Its length in bytes.
    #[inline]
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// Its address in the UMEM.
    #[inline]
    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    /// Allows to look at bytes from `floor` on, and only those.
    #[inline]
    pub(crate) fn open_from(&mut self, floor: u32) {
        self.floor = floor;
    }

    /// Bytes `start..end`.
    ///
    /// # Panics
    /// If they do not lie between floor and end.
    #[inline]
    pub(crate) fn bytes(&self, start: u32, end: u32) -> &[u8] {
        assert!(self.floor <= start && start <= end && end <= self.len, "bytes beyond the chunk");
        // SAFETY: the bytes lie within the chunk, which is mapped and initialised (the kernel gave it zeroed) as
        // long as the region lives, which `self` sees to. They are changed only through `&mut self`, by
        // `write_request` in front of the floor, and by the kernel while the chunk is lent to receive, when nobody
        // has it: `Channel::lend` takes the only handle.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr().add(start as usize), (end - start) as usize) }
    }

    /// Bytes `start..end`, to change.
    ///
    /// # Panics
    /// As [`bytes`](Self::bytes).
    #[inline]
    pub(crate) fn bytes_mut(&mut self, start: u32, end: u32) -> &mut [u8] {
        assert!(self.floor <= start && start <= end && end <= self.len, "bytes beyond the chunk");
        // SAFETY: as in `bytes`, and `&mut self` is the only way to the memory for as long as the slice lives.
        unsafe {
            std::slice::from_raw_parts_mut(self.data.as_ptr().add(start as usize), (end - start) as usize)
        }
    }

    /// Asks the kernel, in front of the packet that starts at `packet`, to fill in the checksum at `start + offset`
    /// of it. Returns whether there was room where nobody looks.
    #[inline]
    pub(crate) fn request_checksum(&self, packet: u32, start: u16, offset: u16) -> bool {
        if packet > self.floor || (packet as usize) < METADATA_LEN {
            return false;
        }
        let mut metadata = [0; METADATA_LEN];
        metadata[..8].copy_from_slice(&CHECKSUM.to_ne_bytes());
        metadata[8..10].copy_from_slice(&start.to_ne_bytes());
        metadata[10..12].copy_from_slice(&offset.to_ne_bytes());
        // SAFETY: the 24 bytes in front of `packet` lie within the chunk, since `packet` is at most the floor, which
        // is at most its length, and at least 24. No reference can reach them: those begin at the floor.
        unsafe {
            let place = self.data.as_ptr().add(packet as usize - METADATA_LEN);
            place.cast::<[u8; METADATA_LEN]>().write(metadata);
        }
        true
    }
}

//! Bytes with a reference-counted owner.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::{Deref, Range};

/// A range of bytes that somebody else owns, kept alive by reference count.
///
/// It carries zero-copy data across the seam in both directions: application memory that is sent without
/// a copy ([`Device::wrap`](crate::Device::wrap)), and received frames handed to the application
/// ([`Frame::into_shared`](crate::Frame::into_shared)). So what was read from one connection can be sent on
/// another without touching a byte. Per core, without atomics: not `Send`.
#[derive(Clone)]
pub struct SharedBytes {
    owner: Rc<dyn AsRef<[u8]>>,
    start: usize,
    end: usize,
}

impl SharedBytes {
    /// All bytes of `owner`.
    pub fn new(owner: Rc<dyn AsRef<[u8]>>) -> SharedBytes {
        let end = (*owner).as_ref().len();
        SharedBytes { owner, start: 0, end }
    }

    /// Bytes `range` of `owner`.
    ///
    /// # Panics
    /// If the range does not lie within the owner's bytes.
    pub fn with_range(owner: Rc<dyn AsRef<[u8]>>, range: Range<usize>) -> SharedBytes {
        assert!(range.start <= range.end && range.end <= (*owner).as_ref().len(), "range beyond the owner");
        SharedBytes { owner, start: range.start, end: range.end }
    }

    /// Takes over any owner of bytes, `bytes::Bytes` or `Vec<u8>` for example.
    pub fn from_owner(owner: impl AsRef<[u8]> + 'static) -> SharedBytes {
        SharedBytes::new(Rc::new(owner))
    }

    /// A part of these bytes, on the same owner.
    ///
    /// # Panics
    /// If the range does not lie within these bytes.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> SharedBytes {
        assert!(range.start <= range.end && range.end <= self.len(), "range beyond the bytes");
        SharedBytes {
            owner: self.owner.clone(),
            start: self.start + range.start,
            end: self.start + range.end,
        }
    }

    /// Takes `len` bytes off the front (all of them, if there are fewer).
    pub fn advance(&mut self, len: usize) {
        self.start += len.min(self.len());
    }

    /// Number of bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }
}

impl Deref for SharedBytes {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        // An owner whose bytes shrink behind our back reads as empty, never as a panic.
        (*self.owner).as_ref().get(self.start..self.end).unwrap_or(&[])
    }
}

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Vec<u8>> for SharedBytes {
    fn from(bytes: Vec<u8>) -> SharedBytes {
        SharedBytes::from_owner(bytes)
    }
}

impl fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedBytes({} bytes)", self.len())
    }
}

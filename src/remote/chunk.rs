//! Bytes that travel from one thread to the other.

use std::ops::Deref;

use bytes::{Buf, Bytes};

/// What fits into a message: requests and replies of one cache line take no memory of their own.
pub(super) const INLINE_LEN: usize = 53;

/// Some bytes of a stream.
#[derive(Debug)]
pub(super) enum Chunk {
    Inline { start: u8, end: u8, bytes: [u8; INLINE_LEN] },
    Shared(Bytes),
}

impl Chunk {
    /// A copy of `bytes`. `allocate` is asked for memory if they do not fit into a message.
    #[inline]
    pub(super) fn copy(bytes: &[u8], allocate: impl FnOnce(&[u8]) -> Bytes) -> Chunk {
        if bytes.len() > INLINE_LEN {
            return Chunk::Shared(allocate(bytes));
        }
        let mut inline = [0; INLINE_LEN];
        inline[..bytes.len()].copy_from_slice(bytes);
        Chunk::Inline { start: 0, end: bytes.len() as u8, bytes: inline }
    }

    /// Takes bytes off the front.
    pub(super) fn advance(&mut self, len: usize) {
        match self {
            // No longer than `end`, which is a byte.
            Chunk::Inline { start, end, .. } => *start += len.min(usize::from(*end - *start)) as u8,
            Chunk::Shared(bytes) => bytes.advance(len.min(bytes.len())),
        }
    }

    /// Cuts the first bytes off as a chunk of their own.
    pub(super) fn split_to(&mut self, len: usize) -> Chunk {
        let front = match self {
            Chunk::Inline { .. } => Chunk::copy(&self[..len], Bytes::copy_from_slice),
            Chunk::Shared(bytes) => Chunk::Shared(bytes.slice(..len)),
        };
        self.advance(len);
        front
    }

    /// The bytes with an owner.
    pub(super) fn into_bytes(self) -> Bytes {
        match self {
            Chunk::Inline { .. } => Bytes::copy_from_slice(&self),
            Chunk::Shared(bytes) => bytes,
        }
    }
}

impl Deref for Chunk {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Chunk::Inline { start, end, bytes } => &bytes[usize::from(*start)..usize::from(*end)],
            Chunk::Shared(bytes) => bytes,
        }
    }
}

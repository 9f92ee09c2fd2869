//! Bytes that travel from one thread to the other.

use std::ops::Deref;

use bytes::{Buf, Bytes, BytesMut};

use super::LARGE_LEN;

/// What fits into a message: requests and replies of one cache line take no memory of their own.
pub(super) const INLINE_LEN: usize = 53;

/// What small bytes that wait together take at most: more would be copied again and again while it grows.
const KEPT_LEN_MAX: usize = 16 * 1024;

/// Some bytes of a stream.
#[derive(Debug)]
pub(super) enum Chunk {
    Inline {
        start: u8,
        end: u8,
        bytes: [u8; INLINE_LEN],
    },
    /// Where others may lie as well, unless they are at least [`LARGE_LEN`](super::LARGE_LEN).
    Shared(Bytes),
    /// Where nothing else lies, and more can be added.
    Kept(BytesMut),
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

    /// A copy of bytes that wait, and to which more may come.
    pub(super) fn keep(bytes: &[u8]) -> Chunk {
        if bytes.len() > INLINE_LEN {
            Chunk::Kept(bytes.into())
        } else {
            Chunk::copy(bytes, Bytes::copy_from_slice)
        }
    }

    /// Takes bytes off the front.
    pub(super) fn advance(&mut self, len: usize) {
        match self {
            // No longer than `end`, which is a byte.
            Chunk::Inline { start, end, .. } => *start += len.min(usize::from(*end - *start)) as u8,
            Chunk::Shared(bytes) => bytes.advance(len.min(bytes.len())),
            Chunk::Kept(bytes) => bytes.advance(len.min(bytes.len())),
        }
    }

    /// Cuts the first bytes off as a chunk of their own.
    pub(super) fn split_to(&mut self, len: usize) -> Chunk {
        let front = match self {
            Chunk::Inline { .. } => Chunk::copy(&self[..len], Bytes::copy_from_slice),
            Chunk::Shared(bytes) => Chunk::Shared(bytes.slice(..len)),
            Chunk::Kept(bytes) => return Chunk::Shared(bytes.split_to(len).freeze()),
        };
        self.advance(len);
        front
    }

    /// The same bytes where they keep nothing else: for those that have to wait, however few they are.
    pub(super) fn apart(self) -> Chunk {
        match self {
            Chunk::Shared(bytes) if bytes.len() < LARGE_LEN => Chunk::Shared(Bytes::copy_from_slice(&bytes)),
            other => other,
        }
    }

    /// Adds bytes at the end, where there is or can be room for them. Returns whether that is so. All together takes at most
    /// twice as much as there is.
    pub(super) fn append(&mut self, more: &[u8]) -> bool {
        match self {
            Chunk::Inline { end, bytes, .. } if usize::from(*end) + more.len() <= INLINE_LEN => {
                bytes[usize::from(*end)..][..more.len()].copy_from_slice(more);
                *end += more.len() as u8;
            }
            Chunk::Kept(bytes) if bytes.len() + more.len() <= KEPT_LEN_MAX => bytes.extend_from_slice(more),
            Chunk::Inline { .. } => {
                let mut both = BytesMut::with_capacity(self.len() + more.len());
                both.extend_from_slice(self);
                both.extend_from_slice(more);
                *self = Chunk::Kept(both);
            }
            Chunk::Shared(_) | Chunk::Kept(_) => return false,
        }
        true
    }

    /// The bytes with an owner.
    pub(super) fn into_bytes(self) -> Bytes {
        match self {
            Chunk::Inline { .. } => Bytes::copy_from_slice(&self),
            Chunk::Shared(bytes) => bytes,
            Chunk::Kept(bytes) => bytes.freeze(),
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
            Chunk::Kept(bytes) => bytes,
        }
    }
}

//! A frame: an owned piece of device memory with room to grow at both ends.

use core::fmt::Debug;

use crate::SharedBytes;

/// An owned frame, or a fragment of one.
///
/// ```text
///  |<- headroom ->|<---- bytes ---->|<- tailroom ->|      ──► next fragment (scatter-gather)
///                 prepend ◄─┘   └─► extend
/// ```
///
/// A frame is a handle on a buffer. [`share`](Frame::share) makes a second handle with bounds of its own:
/// the retransmission queue keeps one while the NIC sends from the other. Handles never leave their core, so
/// no atomics are involved. Bytes can be changed only while the handle is the only one
/// ([`is_unique`](Frame::is_unique)). Dropping the last handle returns the buffer to its pool.
///
/// Fragments chain: [`chain`](Frame::chain) appends, [`unchain`](Frame::unchain) takes apart.
/// [`bytes`](Frame::bytes) and everything about room speak of the first fragment alone.
pub trait Frame: Debug + Sized {
    /// Bytes of headroom that every fresh frame has: enough for Ethernet with a VLAN tag, IPv6 and TCP with
    /// all its options (18 + 40 + 60), rounded up so that payload starts on a cache line.
    const HEADROOM: usize = 128;

    /// The bytes of this fragment.
    fn bytes(&self) -> &[u8];

    /// The bytes of this fragment, to change. `None` if another handle could see it.
    fn bytes_mut(&mut self) -> Option<&mut [u8]>;

    /// Free bytes in front, of which [`prepend`](Frame::prepend) takes. 0 if shared.
    fn headroom(&self) -> usize;

    /// Free bytes behind, of which [`extend`](Frame::extend) takes. 0 if shared.
    fn tailroom(&self) -> usize;

    /// Grows the front by `len` bytes and returns all bytes from the new front on.
    /// `None`, and nothing changes, if there is not that much [`headroom`](Frame::headroom).
    /// The new bytes hold anything: write them all.
    fn prepend(&mut self, len: usize) -> Option<&mut [u8]>;

    /// Grows the back by `len` bytes and returns just those.
    /// `None`, and nothing changes, if there is not that much [`tailroom`](Frame::tailroom).
    /// The new bytes hold anything: write them all.
    fn extend(&mut self, len: usize) -> Option<&mut [u8]>;

    /// Takes `len` bytes off the front of this fragment (all of them, if it has fewer).
    fn trim_front(&mut self, len: usize);

    /// Keeps the first `len` bytes of this fragment. Without effect if it has fewer.
    fn truncate(&mut self, len: usize);

    /// A second handle on this fragment's buffer (not on what is chained to it), with the same bounds.
    #[must_use]
    fn share(&self) -> Self;

    /// Writes `LEN` bytes in front of this fragment, and returns a second handle that begins with them; this one keeps
    /// its bounds. `None`, and nothing is written, if there is not that much [`headroom`](Frame::headroom).
    #[inline]
    fn share_behind<const LEN: usize>(&mut self, prefix: &impl Prefix<LEN>) -> Option<Self> {
        prefix.write(self.prepend(LEN)?.first_chunk_mut()?);
        let second = self.share();
        self.trim_front(LEN);
        Some(second)
    }

    /// Whether no other handle sees this buffer.
    fn is_unique(&self) -> bool;

    /// Bytes of memory that this fragment keeps from its pool, however few it uses.
    fn capacity(&self) -> usize;

    /// Appends `next` (and what is chained to it) at the end of this chain.
    fn chain(&mut self, next: Self);

    /// The fragment after this one.
    fn next(&self) -> Option<&Self>;

    /// Takes off everything after this fragment.
    fn unchain(&mut self) -> Option<Self>;

    /// This fragment's bytes as a reference-counted value that needs no device: what a read lease is.
    /// What was chained to it is dropped: [`unchain`](Frame::unchain) first.
    fn into_shared(self) -> SharedBytes;

    /// Lets go of the chain, as dropping it does: for less, if it is of one fragment.
    #[inline]
    fn release(self) {
        drop(self);
    }

    /// Length of this fragment.
    #[inline]
    fn len(&self) -> usize {
        self.bytes().len()
    }

    /// Whether this fragment has no bytes.
    #[inline]
    fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    /// Length of the whole chain.
    #[inline]
    fn total_len(&self) -> usize {
        match self.next() {
            None => self.len(),
            Some(_) => core::iter::successors(Some(self), |fragment| fragment.next()).map(Frame::len).sum(),
        }
    }

    /// The bytes of every fragment in order.
    #[inline]
    fn fragments(&self) -> Fragments<'_, Self> {
        Fragments { next: Some(self) }
    }
}

/// What is written in front of a frame: headers.
pub trait Prefix<const LEN: usize> {
    /// Writes it. The bytes hold anything: write them all.
    fn write(&self, out: &mut [u8; LEN]);
}

/// Iterator over the fragments of a chain. See [`Frame::fragments`].
#[derive(Debug)]
pub struct Fragments<'a, F> {
    next: Option<&'a F>,
}

impl<'a, F: Frame> Iterator for Fragments<'a, F> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let frame = self.next?;
        self.next = frame.next();
        Some(frame.bytes())
    }
}

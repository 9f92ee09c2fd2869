//! Bytes without a copy: leases on received frames, payloads that are sent from where they are.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use hayase_device::SharedBytes;

/// Received bytes in the frame that brought them.
///
/// Dereferences to `[u8]`. The frame goes back to its device's pool when the last lease on it is dropped, so
/// keep leases for as long as you look at the bytes and no longer: copy what must stay. An empty lease is the
/// end of the stream.
///
/// A lease belongs to its shard and is not `Send`. It can be sent on as it is, see
/// [`TcpStream::write_owned`](crate::net::TcpStream::write_owned).
#[derive(Clone, Default)]
pub struct Lease(Option<SharedBytes>);

impl Lease {
    pub(crate) fn new(bytes: SharedBytes) -> Lease {
        // An empty lease needs no frame.
        Lease((!bytes.is_empty()).then_some(bytes))
    }

    /// Number of bytes. The slice is not made for it.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, SharedBytes::len)
    }

    /// Whether it is the end of the stream.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes `len` bytes off the front (all of them, if there are fewer). With the last byte goes the frame.
    pub fn advance(&mut self, len: usize) {
        if len >= self.len() {
            self.0 = None;
        } else if let Some(bytes) = &mut self.0 {
            bytes.advance(len);
        }
    }

    /// Cuts the first `len` bytes off as a lease of their own, on the same frame.
    ///
    /// # Panics
    /// If there are fewer.
    #[must_use]
    pub fn split_to(&mut self, len: usize) -> Lease {
        assert!(len <= self.len(), "{len} bytes cut off a lease of {}", self.len());
        let front = Lease::new(self.clone().into_shared().slice(0..len));
        self.advance(len);
        front
    }

    /// The bytes as the device crate's reference-counted type.
    pub fn into_shared(self) -> SharedBytes {
        self.0.unwrap_or_else(|| SharedBytes::from(Vec::new()))
    }
}

impl Deref for Lease {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl AsRef<[u8]> for Lease {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Buf for Lease {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        self
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.len(), "advanced by {count} of {} bytes", self.len());
        Lease::advance(self, count);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({} bytes)", self.len())
    }
}

/// Bytes to be sent from where they are.
///
/// Made from anything that owns bytes: [`Bytes`], a [`Lease`], a `Vec<u8>`, a `String`, a `Box<[u8]>`, or a
/// `&'static` slice. The memory is held until the peer has acknowledged it.
#[derive(Debug, Clone)]
pub struct Payload(pub(crate) SharedBytes);

impl Payload {
    /// Number of bytes that are not queued yet.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether all bytes are queued.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<SharedBytes> for Payload {
    fn from(bytes: SharedBytes) -> Payload {
        Payload(bytes)
    }
}

impl From<Lease> for Payload {
    fn from(lease: Lease) -> Payload {
        Payload(lease.into_shared())
    }
}

macro_rules! payload_from {
    ($($owner:ty),*) => {
        $(impl From<$owner> for Payload {
            fn from(owner: $owner) -> Payload {
                Payload(SharedBytes::from_owner(owner))
            }
        })*
    };
}

payload_from!(Bytes, Vec<u8>, Box<[u8]>, String, &'static [u8], &'static str);

impl<const N: usize> From<&'static [u8; N]> for Payload {
    fn from(bytes: &'static [u8; N]) -> Payload {
        Payload(SharedBytes::from_owner(bytes))
    }
}

/// Reading without an intermediate buffer. What [`BufReader`](super::BufReader) and the adapters of
/// `hayase-compat` read from.
pub trait ReadLease {
    /// Takes received bytes, at most `len_max`, as a [`Lease`]; an empty one is the end of the stream.
    ///
    /// # Errors
    /// As a read of the same stream.
    fn poll_read_lease(self: Pin<&mut Self>, cx: &mut Context<'_>, len_max: usize)
    -> Poll<io::Result<Lease>>;

    /// Shows received bytes, at most `len_max` in all, to `sink` where they lie, in one piece or several, and
    /// takes them off the stream. Returns their number, 0 at the end of the stream.
    ///
    /// Where the stack is on the same thread, it is borrowed while `sink` runs: a socket call from inside it fails.
    ///
    /// # Errors
    /// As a read of the same stream; then `sink` was not called.
    fn poll_read_with(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        len_max: usize,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Poll<io::Result<usize>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_cut_without_a_copy() {
        let mut lease = Lease::new(SharedBytes::from(b"GET / HTTP/1.1".to_vec()));
        let address = lease.as_ptr();
        let method = lease.split_to(3);
        lease.advance(1);
        assert_eq!((&*method, &lease[..1]), (&b"GET"[..], &b"/"[..]));
        assert_eq!((method.as_ptr(), lease.as_ptr()), (address, address.wrapping_add(4)));
        assert_eq!(Buf::remaining(&lease), 10);
    }

    #[test]
    fn payloads_keep_their_owners_memory() {
        let bytes = Bytes::from(vec![7; 100]);
        let address = bytes.as_ptr();
        let payload = Payload::from(bytes);
        assert_eq!((payload.len(), payload.0.as_ptr()), (100, address));
        assert!(Payload::from("").is_empty());
        assert_eq!(Payload::from(b"abc").len(), 3);
    }
}

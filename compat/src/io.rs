//! hyper's I/O traits.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};
use hayase::io::ReadLease;
use hyper::rt::{Read, ReadBufCursor, Write};
use pin_project_lite::pin_project;

pin_project! {
    /// A stream of Hayase's as hyper wants it. Reading copies once, from the received frame to hyper's buffer.
    #[derive(Debug)]
    pub struct HayaseIo<T> {
        #[pin]
        inner: T,
    }
}

pin_project! {
    /// Any stream with the traits of `futures::io`, as hyper wants it.
    #[derive(Debug)]
    pub struct FuturesIo<T> {
        #[pin]
        inner: T,
    }
}

macro_rules! accessors {
    ($wrapper:ident) => {
        impl<T> $wrapper<T> {
            /// Wraps `inner`.
            pub fn new(inner: T) -> $wrapper<T> {
                $wrapper { inner }
            }

            /// What is wrapped.
            pub fn inner(&self) -> &T {
                &self.inner
            }

            /// What is wrapped.
            pub fn inner_mut(&mut self) -> &mut T {
                &mut self.inner
            }

            /// Unwraps it.
            pub fn into_inner(self) -> T {
                self.inner
            }
        }

        impl<T: AsyncWrite> Write for $wrapper<T> {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
                self.project().inner.poll_write(cx, buf)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                self.project().inner.poll_write_vectored(cx, bufs)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.project().inner.poll_flush(cx)
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.project().inner.poll_close(cx)
            }
        }
    };
}

accessors!(HayaseIo);
accessors!(FuturesIo);

impl<T: ReadLease> Read for HayaseIo<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let len_max = buf.remaining();
        let read = self.project().inner.poll_read_with(cx, len_max, &mut |bytes| buf.put_slice(bytes));
        read.map_ok(drop)
    }
}

/// What is read at a time through a buffer that has to be cleared first: large enough for a TLS record.
const CHUNK_LEN: usize = 16 * 1024;

impl<T: AsyncRead> Read for FuturesIo<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut chunk = [0; CHUNK_LEN];
        let chunk = &mut chunk[..buf.remaining().min(CHUNK_LEN)];
        let len = ready!(self.project().inner.poll_read(cx, chunk))?;
        buf.put_slice(&chunk[..len]);
        Poll::Ready(Ok(()))
    }
}

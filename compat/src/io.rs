//! hyper's I/O traits.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

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
    ($wrapper:ident, is_vectored: $is_vectored:literal) => {
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
                $is_vectored
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

accessors!(HayaseIo, is_vectored: true);
// The traits do not tell, and the default is to write the first slice only: a head and a body would be two writes, and two
// records of TLS. So hyper puts them together.
accessors!(FuturesIo, is_vectored: false);

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

/// What is read at a time through a buffer of our own: as large as a TLS record.
const CHUNK_LEN: usize = 16 * 1024;

thread_local! {
    /// `futures::io` reads into bytes that have values, and hyper's have none. These are cleared once, and belong to no
    /// connection: an idle one has no buffer.
    static CHUNK: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl<T: AsyncRead> Read for FuturesIo<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // Taken out, since what is wrapped may read in the same way.
        let mut chunk = CHUNK.take();
        chunk.resize(CHUNK_LEN, 0);
        let wanted = &mut chunk[..buf.remaining().min(CHUNK_LEN)];
        let read = self.project().inner.poll_read(cx, wanted);
        if let Poll::Ready(Ok(len)) = read {
            buf.put_slice(&chunk[..len]);
        }
        CHUNK.set(chunk);
        read.map_ok(drop)
    }
}

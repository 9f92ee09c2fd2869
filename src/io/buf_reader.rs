//! Buffered reading whose buffer is the received frame.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncBufRead, AsyncRead, AsyncWrite};

use super::{Lease, ReadLease};

/// Bytes that one lease may bring: whatever the frame holds.
const LEASE_LEN_MAX: usize = usize::MAX;

/// `AsyncBufRead` without a buffer: [`fill_buf`](BufReader::fill_buf) shows the received frame itself.
///
/// It holds at most one frame, until that is consumed. Made by
/// [`TcpStream::into_buf_read`](crate::net::TcpStream::into_buf_read), or on a half with
/// [`new`](BufReader::new). Writes go straight through.
#[derive(Debug)]
pub struct BufReader<S> {
    stream: S,
    lease: Lease,
}

impl<S> BufReader<S> {
    /// Reads from `stream`.
    pub fn new(stream: S) -> BufReader<S> {
        BufReader { stream, lease: Lease::default() }
    }

    /// The stream. What is buffered is not in it any more.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream. What is buffered is not in it any more.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// What was received and not consumed yet.
    pub fn buffer(&self) -> &[u8] {
        &self.lease
    }

    /// The stream, and what was received and not consumed yet.
    pub fn into_parts(self) -> (S, Lease) {
        (self.stream, self.lease)
    }

    /// Marks the first `len` bytes of the buffer as read.
    pub fn consume(&mut self, len: usize) {
        self.lease.advance(len);
    }
}

impl<S: ReadLease + Unpin> BufReader<S> {
    /// Waits for bytes, unless there are some, and shows them; an empty slice is the end of the stream.
    ///
    /// # Errors
    /// As a read of the stream.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is consumed.
    pub async fn fill_buf(&mut self) -> io::Result<&[u8]> {
        poll_fn(|cx| self.poll_fill(cx)).await?;
        Ok(&self.lease)
    }

    /// Appends bytes to `buf` until `delimiter`, which is included, or the end of the stream. Returns their
    /// number.
    ///
    /// # Errors
    /// As a read of the stream.
    ///
    /// # Cancel safety
    /// Nothing is lost, but what was read so far is in `buf`: keep it and call again.
    pub async fn read_until(&mut self, delimiter: u8, buf: &mut Vec<u8>) -> io::Result<usize> {
        let mut read = 0;
        loop {
            let bytes = self.fill_buf().await?;
            let found = bytes.iter().position(|byte| *byte == delimiter);
            let len = found.map_or(bytes.len(), |position| position + 1);
            buf.extend_from_slice(&bytes[..len]);
            self.consume(len);
            read += len;
            if found.is_some() || len == 0 {
                return Ok(read);
            }
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lease.is_empty() {
            self.lease = ready!(Pin::new(&mut self.stream).poll_read_lease(cx, LEASE_LEN_MAX))?;
        }
        Poll::Ready(Ok(()))
    }
}

/// What is buffered comes first.
impl<S: ReadLease + Unpin> ReadLease for BufReader<S> {
    fn poll_read_lease(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        len_max: usize,
    ) -> Poll<io::Result<Lease>> {
        let this = self.get_mut();
        match this.lease.len().min(len_max) {
            0 => Pin::new(&mut this.stream).poll_read_lease(cx, len_max),
            len => Poll::Ready(Ok(this.lease.split_to(len))),
        }
    }

    fn poll_read_with(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        len_max: usize,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match this.lease.len().min(len_max) {
            0 => Pin::new(&mut this.stream).poll_read_with(cx, len_max, sink),
            len => {
                sink(&this.lease[..len]);
                this.consume(len);
                Poll::Ready(Ok(len))
            }
        }
    }
}

impl<S: ReadLease + Unpin> AsyncRead for BufReader<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // Nothing is wanted, so nothing is waited for.
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(this.poll_fill(cx))?;
        let len = buf.len().min(this.lease.len());
        buf[..len].copy_from_slice(&this.lease[..len]);
        this.consume(len);
        Poll::Ready(Ok(len))
    }
}

impl<S: ReadLease + Unpin> AsyncBufRead for BufReader<S> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        ready!(this.poll_fill(cx))?;
        Poll::Ready(Ok(&this.lease))
    }

    fn consume(self: Pin<&mut Self>, len: usize) {
        self.get_mut().consume(len);
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for BufReader<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

#[cfg(feature = "tokio")]
mod tokio_traits {
    use super::*;
    use tokio::io::ReadBuf;

    impl<S: ReadLease + Unpin> tokio::io::AsyncRead for BufReader<S> {
        fn poll_read(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let this = self.get_mut();
            if buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            ready!(this.poll_fill(cx))?;
            let len = buf.remaining().min(this.lease.len());
            buf.put_slice(&this.lease[..len]);
            this.consume(len);
            Poll::Ready(Ok(()))
        }
    }

    impl<S: ReadLease + Unpin> tokio::io::AsyncBufRead for BufReader<S> {
        fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
            AsyncBufRead::poll_fill_buf(self, cx)
        }

        fn consume(self: Pin<&mut Self>, len: usize) {
            self.get_mut().consume(len);
        }
    }

    impl<S: tokio::io::AsyncWrite + Unpin> tokio::io::AsyncWrite for BufReader<S> {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.stream).poll_write(cx, buf)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_shutdown(cx)
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bufs: &[io::IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
        }

        fn is_write_vectored(&self) -> bool {
            self.stream.is_write_vectored()
        }
    }
}

//! The futures that read or write a whole buffer.
//!
//! They are what every small question and answer waits in, so each is one flat state, without a future inside, and
//! is inlined where it is awaited.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::TcpStream;

/// The future of [`TcpStream::read_exact`].
#[derive(Debug)]
pub(super) struct ReadExact<'s, 'b> {
    stream: &'s TcpStream,
    buf: &'b mut [u8],
    filled: usize,
}

impl<'s, 'b> ReadExact<'s, 'b> {
    #[inline]
    pub(super) fn new(stream: &'s TcpStream, buf: &'b mut [u8]) -> ReadExact<'s, 'b> {
        ReadExact { stream, buf, filled: 0 }
    }
}

impl Future for ReadExact<'_, '_> {
    type Output = io::Result<usize>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        while let Some(rest) = this.buf.get_mut(this.filled..).filter(|rest| !rest.is_empty()) {
            match ready!(this.stream.poll_read(cx, rest))? {
                0 => return Poll::Ready(Err(ended_early())),
                len => this.filled += len,
            }
        }
        Poll::Ready(Ok(this.filled))
    }
}

#[cold]
fn ended_early() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the stream ended early")
}

/// The future of [`TcpStream::write_all`].
#[derive(Debug)]
pub(super) struct WriteAll<'s, 'b> {
    stream: &'s TcpStream,
    rest: &'b [u8],
}

impl<'s, 'b> WriteAll<'s, 'b> {
    #[inline]
    pub(super) fn new(stream: &'s TcpStream, buf: &'b [u8]) -> WriteAll<'s, 'b> {
        WriteAll { stream, rest: buf }
    }
}

impl Future for WriteAll<'_, '_> {
    type Output = io::Result<()>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.rest.is_empty() {
            let len = ready!(self.stream.poll_write(cx, self.rest))?;
            self.rest = &self.rest[len..];
        }
        Poll::Ready(Ok(()))
    }
}

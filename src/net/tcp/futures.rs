//! The futures that small questions and answers are made of.
//!
//! Each is one flat state, without a future inside, and is inlined where it is awaited: for a message of a few bytes
//! the calls and the saved registers in between would be a good part of all that is done.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::TcpStream;
use crate::io::Lease;

/// The future of [`TcpStream::read`].
#[derive(Debug)]
pub(super) struct Read<'s, 'b> {
    stream: &'s TcpStream,
    buf: &'b mut [u8],
}

impl<'s, 'b> Read<'s, 'b> {
    #[inline]
    pub(super) fn new(stream: &'s TcpStream, buf: &'b mut [u8]) -> Read<'s, 'b> {
        Read { stream, buf }
    }
}

impl Future for Read<'_, '_> {
    type Output = io::Result<usize>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.stream.poll_read(cx, this.buf)
    }
}

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
            let wanted = rest.len();
            match ready!(this.stream.poll_read(cx, rest))? {
                0 => return Poll::Ready(Err(ended_early())),
                // All at once, as mostly: the state is not needed any more.
                len if len == wanted => return Poll::Ready(Ok(this.buf.len())),
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

/// The future of [`TcpStream::write`].
#[derive(Debug)]
pub(super) struct Write<'s, 'b> {
    stream: &'s TcpStream,
    buf: &'b [u8],
}

impl<'s, 'b> Write<'s, 'b> {
    #[inline]
    pub(super) fn new(stream: &'s TcpStream, buf: &'b [u8]) -> Write<'s, 'b> {
        Write { stream, buf }
    }
}

impl Future for Write<'_, '_> {
    type Output = io::Result<usize>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.stream.poll_write(cx, self.buf)
    }
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
            if len == self.rest.len() {
                break;
            }
            self.rest = &self.rest[len..];
        }
        Poll::Ready(Ok(()))
    }
}

/// The future of [`TcpStream::read_lease`].
#[derive(Debug)]
pub(super) struct ReadLease<'s> {
    stream: &'s TcpStream,
    len_max: usize,
}

impl<'s> ReadLease<'s> {
    #[inline]
    pub(super) fn new(stream: &'s TcpStream, len_max: usize) -> ReadLease<'s> {
        ReadLease { stream, len_max }
    }
}

impl Future for ReadLease<'_> {
    type Output = io::Result<Lease>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Lease>> {
        self.stream.poll_read_lease(cx, self.len_max)
    }
}

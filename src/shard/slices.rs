//! Reads and writes of several slices, and reads where the bytes lie.

use std::io::{IoSlice, IoSliceMut};
use std::task::Poll;

use hayase_device::Device;
use hayase_stack::{Error, TcpId};
use hayase_time::Instant;

use super::Core;

/// Writes slices one after the other, until one does not go whole.
#[inline]
pub(crate) fn write_each<E>(
    bufs: &[IoSlice<'_>],
    mut write: impl FnMut(&[u8]) -> Poll<Result<usize, E>>,
) -> Poll<Result<usize, E>> {
    let mut written = 0;
    for buf in bufs.iter().filter(|buf| !buf.is_empty()) {
        match write(buf) {
            Poll::Ready(Ok(len)) if len == buf.len() => written += len,
            Poll::Ready(Ok(len)) => return Poll::Ready(Ok(written + len)),
            // What was taken comes first; the next write meets the same obstacle.
            _ if written > 0 => break,
            stopped => return stopped,
        }
    }
    Poll::Ready(Ok(written))
}

impl<D: Device> Core<D> {
    /// Hands slices to the stack.
    pub(super) fn write_vectored(
        &mut self,
        now: Instant,
        id: TcpId,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Error>> {
        write_each(bufs, |buf| self.stack.tcp_write(now, id, buf, &mut self.device))
    }

    /// Fills slices one after the other with what is there.
    pub(super) fn read_vectored(
        &mut self,
        now: Instant,
        id: TcpId,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<Result<usize, Error>> {
        let mut read = 0;
        for buf in bufs.iter_mut().filter(|buf| !buf.is_empty()) {
            // An end or an error is met only by a read that brings nothing else.
            if read > 0 && self.stack.tcp_queued(id) == 0 {
                break;
            }
            match self.stack.tcp_read(now, id, buf) {
                Poll::Ready(Ok(len)) if len == buf.len() => read += len,
                Poll::Ready(Ok(len)) => return Poll::Ready(Ok(read + len)),
                stopped => return stopped,
            }
        }
        Poll::Ready(Ok(read))
    }

    /// Shows what is there, up to `len_max` bytes, to `sink`, where it lies.
    pub(super) fn read_with(
        &mut self,
        now: Instant,
        id: TcpId,
        len_max: usize,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Poll<Result<usize, Error>> {
        let mut read = 0;
        while read == 0 || (read < len_max && self.stack.tcp_queued(id) > 0) {
            match self.stack.tcp_lease(now, id, len_max - read) {
                Poll::Ready(Ok(lease)) if !lease.is_empty() => {
                    sink(&lease);
                    read += lease.len();
                }
                Poll::Ready(Ok(_)) => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(read))
    }
}

//! The I/O traits of the ecosystem on streams and halves.

use std::io::{self, IoSlice, IoSliceMut};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, TcpStream, WriteHalf};
use crate::io::{Lease, ReadLease};

impl TcpStream {
    fn stream(&self) -> &TcpStream {
        self
    }
}

macro_rules! impl_read {
    ($($reader:ty),*) => {
        $(
            impl futures_io::AsyncRead for $reader {
                fn poll_read(
                    self: Pin<&mut Self>,
                    cx: &mut Context<'_>,
                    buf: &mut [u8],
                ) -> Poll<io::Result<usize>> {
                    self.stream().poll_read(cx, buf)
                }

                fn poll_read_vectored(
                    self: Pin<&mut Self>,
                    cx: &mut Context<'_>,
                    bufs: &mut [IoSliceMut<'_>],
                ) -> Poll<io::Result<usize>> {
                    self.stream().poll_read_vectored(cx, bufs)
                }
            }

            impl ReadLease for $reader {
                fn poll_read_lease(
                    self: Pin<&mut Self>,
                    cx: &mut Context<'_>,
                    len_max: usize,
                ) -> Poll<io::Result<Lease>> {
                    self.stream().poll_read_lease(cx, len_max)
                }

                fn poll_read_with(
                    self: Pin<&mut Self>,
                    cx: &mut Context<'_>,
                    len_max: usize,
                    sink: &mut dyn FnMut(&[u8]),
                ) -> Poll<io::Result<usize>> {
                    self.stream().poll_read_with(cx, len_max, sink)
                }
            }

            #[cfg(feature = "tokio")]
            impl tokio::io::AsyncRead for $reader {
                fn poll_read(
                    self: Pin<&mut Self>,
                    cx: &mut Context<'_>,
                    buf: &mut tokio::io::ReadBuf<'_>,
                ) -> Poll<io::Result<()>> {
                    // One copy, from the frame into memory that nobody had to clear before.
                    let len_max = buf.remaining();
                    let poll = self.stream().poll_read_with(cx, len_max, &mut |bytes| buf.put_slice(bytes));
                    poll.map_ok(drop)
                }
            }
        )*
    };
}

macro_rules! impl_write {
    ($($writer:ty),*) => {
        $(
            impl futures_io::AsyncWrite for $writer {
                fn poll_write(
                    self: Pin<&mut Self>,
                    cx: &mut Context<'_>,
                    buf: &[u8],
                ) -> Poll<io::Result<usize>> {
                    self.stream().poll_write(cx, buf)
                }

                fn poll_write_vectored(
                    self: Pin<&mut Self>,
                    cx: &mut Context<'_>,
                    bufs: &[IoSlice<'_>],
                ) -> Poll<io::Result<usize>> {
                    self.stream().poll_write_vectored(cx, bufs)
                }

                fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                    Poll::Ready(Ok(()))
                }

                fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                    Poll::Ready(self.get_mut().shut_down())
                }
            }

            #[cfg(feature = "tokio")]
            impl tokio::io::AsyncWrite for $writer {
                fn poll_write(
                    self: Pin<&mut Self>,
                    cx: &mut Context<'_>,
                    buf: &[u8],
                ) -> Poll<io::Result<usize>> {
                    self.stream().poll_write(cx, buf)
                }

                fn poll_write_vectored(
                    self: Pin<&mut Self>,
                    cx: &mut Context<'_>,
                    bufs: &[IoSlice<'_>],
                ) -> Poll<io::Result<usize>> {
                    self.stream().poll_write_vectored(cx, bufs)
                }

                fn is_write_vectored(&self) -> bool {
                    true
                }

                fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                    Poll::Ready(Ok(()))
                }

                fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                    Poll::Ready(self.get_mut().shut_down())
                }
            }
        )*
    };
}

impl_read!(TcpStream, ReadHalf<'_>, OwnedReadHalf);
impl_write!(TcpStream, WriteHalf<'_>, OwnedWriteHalf);

//! The two directions of a stream, borrowed.

use std::future::poll_fn;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::task::{Context, Poll};

use bytes::BufMut;

use super::TcpStream;
use super::halves::{half_methods, read_half_methods, write_half_methods};
use crate::io::{Interest, Lease, Payload, Ready};

/// The reading direction of a borrowed stream: see [`TcpStream::split`].
#[derive(Debug)]
pub struct ReadHalf<'a>(&'a TcpStream);

/// The writing direction of a borrowed stream: see [`TcpStream::split`].
#[derive(Debug)]
pub struct WriteHalf<'a>(&'a TcpStream);

pub(super) fn split(stream: &mut TcpStream) -> (ReadHalf<'_>, WriteHalf<'_>) {
    let stream = &*stream;
    (ReadHalf(stream), WriteHalf(stream))
}

impl ReadHalf<'_> {
    read_half_methods!();
    half_methods!();

    pub(super) fn stream(&self) -> &TcpStream {
        self.0
    }
}

impl WriteHalf<'_> {
    write_half_methods!();
    half_methods!();

    pub(super) fn stream(&self) -> &TcpStream {
        self.0
    }

    pub(super) fn shut_down(&mut self) -> io::Result<()> {
        self.0.shut_down()
    }
}

impl AsRef<TcpStream> for ReadHalf<'_> {
    fn as_ref(&self) -> &TcpStream {
        self.0
    }
}

impl AsRef<TcpStream> for WriteHalf<'_> {
    fn as_ref(&self) -> &TcpStream {
        self.0
    }
}

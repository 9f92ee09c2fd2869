//! The two directions of a stream, each owned by somebody else.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BufMut;

use super::TcpStream;
use super::halves::{half_methods, read_half_methods, write_half_methods};
use crate::io::{Interest, Lease, Payload, Ready};

/// The reading direction of a stream: see [`TcpStream::into_split`].
#[derive(Debug)]
pub struct OwnedReadHalf {
    stream: Arc<TcpStream>,
}

/// The writing direction of a stream: see [`TcpStream::into_split`]. Dropping it shuts that direction down.
#[derive(Debug)]
pub struct OwnedWriteHalf {
    stream: Arc<TcpStream>,
    shutdown_on_drop: bool,
}

pub(super) fn split(stream: TcpStream) -> (OwnedReadHalf, OwnedWriteHalf) {
    let stream = Arc::new(stream);
    let read = OwnedReadHalf { stream: Arc::clone(&stream) };
    (read, OwnedWriteHalf { stream, shutdown_on_drop: true })
}

fn reunite(read: OwnedReadHalf, write: OwnedWriteHalf) -> Result<TcpStream, ReuniteError> {
    if !Arc::ptr_eq(&read.stream, &write.stream) {
        return Err(ReuniteError(read, write));
    }
    write.forget();
    // The two halves held the only two references, and the other one is gone.
    Ok(Arc::into_inner(read.stream).expect("a stream has two halves"))
}

impl OwnedReadHalf {
    read_half_methods!();
    half_methods!();

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Puts the stream together again.
    ///
    /// # Errors
    /// Returns both halves if they are of different streams.
    pub fn reunite(self, other: OwnedWriteHalf) -> Result<TcpStream, ReuniteError> {
        reunite(self, other)
    }
}

impl OwnedWriteHalf {
    write_half_methods!();
    half_methods!();

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) fn shut_down(&mut self) -> io::Result<()> {
        self.stream.shut_down()?;
        self.shutdown_on_drop = false;
        Ok(())
    }

    /// Puts the stream together again.
    ///
    /// # Errors
    /// Returns both halves if they are of different streams.
    pub fn reunite(self, other: OwnedReadHalf) -> Result<TcpStream, ReuniteError> {
        reunite(other, self)
    }

    /// Drops this half without shutting its direction down.
    pub fn forget(mut self) {
        self.shutdown_on_drop = false;
    }
}

impl Drop for OwnedWriteHalf {
    fn drop(&mut self) {
        if self.shutdown_on_drop {
            self.stream.end_writing();
        }
    }
}

impl AsRef<TcpStream> for OwnedReadHalf {
    fn as_ref(&self) -> &TcpStream {
        &self.stream
    }
}

impl AsRef<TcpStream> for OwnedWriteHalf {
    fn as_ref(&self) -> &TcpStream {
        &self.stream
    }
}

/// Two halves of different streams.
#[derive(Debug)]
pub struct ReuniteError(pub OwnedReadHalf, pub OwnedWriteHalf);

impl fmt::Display for ReuniteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("these halves are of different streams: reunite the two that one into_split returned")
    }
}

impl Error for ReuniteError {}

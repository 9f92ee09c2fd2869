//! What a socket is told before it listens or connects.

use std::io;
use std::time::Duration;

use hayase_stack::{Keepalive, TcpOptions};

/// The part of a type of service that is ECN's (RFC 3168 §5), and nobody's to choose.
const ECN_BITS: u8 = 0b11;

/// Options of the connections that a [`TcpSocket`](super::TcpSocket) makes or accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Options {
    pub(crate) nodelay: bool,
    pub(crate) keepalive: bool,
    pub(crate) linger: Option<Duration>,
    /// Of IPv4 packets, if it was chosen.
    pub(crate) tos: Option<u8>,
    /// Of IPv6 packets.
    pub(crate) tclass: Option<u8>,
}

impl Options {
    /// The same for a stack of ours.
    pub(crate) fn for_stack(&self) -> TcpOptions {
        TcpOptions {
            nodelay: self.nodelay,
            linger: self.linger,
            keepalive: self.keepalive.then(Keepalive::default),
            tos: self.tos.unwrap_or(0),
            tclass: self.tclass.unwrap_or(0),
        }
    }

    /// The same for the operating system's sockets.
    #[cfg(feature = "kernel")]
    pub(crate) fn for_kernel(&self) -> hayase_kernel::TcpOptions {
        hayase_kernel::TcpOptions {
            nodelay: self.nodelay,
            keepalive: self.keepalive,
            linger: self.linger,
            tos: self.tos,
            tclass: self.tclass,
        }
    }
}

/// tokio counts types of service in `u32`, IP in `u8`.
pub(super) fn service(tos: u32) -> io::Result<u8> {
    match u8::try_from(tos) {
        Ok(tos) => Ok(tos & !ECN_BITS),
        Err(_) => {
            let text = format!("a type of service is 0 to 255, and {tos} is not");
            Err(io::Error::new(io::ErrorKind::InvalidInput, text))
        }
    }
}

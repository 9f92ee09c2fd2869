//! What a socket is told before it listens or connects.

use std::io;
use std::time::Duration;

use hayase_stack::{Keepalive, TcpOptions};

/// The part of a type of service that is ECN's (RFC 3168 §5), and nobody's to choose.
const ECN_BITS: u8 = 0b11;

/// Options of the connections that a [`TcpSocket`](super::TcpSocket) makes or accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) reuse_address: bool,
    pub(crate) reuse_port: bool,
    pub(crate) nodelay: bool,
    pub(crate) keepalive: bool,
    pub(crate) linger: Option<Duration>,
    /// Of IPv4 packets, if it was chosen.
    pub(crate) tos: Option<u8>,
    /// Of IPv6 packets.
    pub(crate) tclass: Option<u8>,
    /// In bytes, if it is not to follow the path.
    pub(crate) send_buffer_len: Option<u32>,
    pub(crate) receive_buffer_len: Option<u32>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            reuse_address: true,
            reuse_port: false,
            nodelay: false,
            keepalive: false,
            linger: None,
            tos: None,
            tclass: None,
            send_buffer_len: None,
            receive_buffer_len: None,
        }
    }
}

impl Options {
    /// Whether a stack of ours can do that, for a socket whose address was chosen: what is over holds no port there.
    pub(crate) fn check_reuse(&self) -> io::Result<()> {
        if self.reuse_address {
            return Ok(());
        }
        let text = "on a stack of Hayase no connection that is over keeps a port from a listener: leave set_reuseaddr(true), \
                    which is the default";
        Err(io::Error::new(io::ErrorKind::Unsupported, text))
    }

    /// What is said of a port that is taken, on a stack of ours.
    pub(crate) fn explain(&self, error: io::Error) -> io::Error {
        if !self.reuse_port || error.kind() != io::ErrorKind::AddrInUse {
            return error;
        }
        let text = "the address is in use, and on a stack of Hayase two listeners of one core cannot share it: accept from one \
                    of them in several tasks, or listen on several cores";
        io::Error::new(io::ErrorKind::AddrInUse, text)
    }

    /// The same for a stack of ours. `None`: nothing was chosen.
    pub(crate) fn for_stack(&self) -> Option<TcpOptions> {
        (*self != Options::default()).then(|| TcpOptions {
            nodelay: self.nodelay,
            linger: self.linger,
            keepalive: self.keepalive.then(Keepalive::default),
            tos: self.tos.unwrap_or(0),
            tclass: self.tclass.unwrap_or(0),
            send_buffer_len: self.send_buffer_len.map(|len| len as usize),
            receive_buffer_len: self.receive_buffer_len.map(|len| len as usize),
        })
    }

    /// The same for the operating system's sockets.
    #[cfg(feature = "kernel")]
    pub(crate) fn for_kernel(&self) -> hayase_kernel::TcpOptions {
        hayase_kernel::TcpOptions {
            reuse_address: self.reuse_address,
            reuse_port: self.reuse_port,
            nodelay: self.nodelay,
            keepalive: self.keepalive,
            linger: self.linger,
            tos: self.tos,
            tclass: self.tclass,
            send_buffer_len: self.send_buffer_len.map(|len| len as usize),
            receive_buffer_len: self.receive_buffer_len.map(|len| len as usize),
        }
    }
}

/// A size that was chosen.
pub(super) fn chosen_size(size: Option<u32>) -> io::Result<u32> {
    size.ok_or_else(|| {
        let text = "no buffer size was chosen for this socket: it follows the path then, within hayase::stack::Config or, on the \
                    device `kernel`, the sysctls net.ipv4.tcp_wmem and tcp_rmem";
        io::Error::new(io::ErrorKind::Unsupported, text)
    })
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

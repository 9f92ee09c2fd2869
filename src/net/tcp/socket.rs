//! A socket before it knows whether it listens or connects.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::OnceLock;

use super::{TcpListener, TcpStream};

/// A TCP socket that is neither listening nor connected yet: for a backlog of one's own, and for connections
/// from a chosen address.
///
/// ```no_run
/// # async fn connect() -> std::io::Result<()> {
/// let socket = hayase::net::TcpSocket::new_v4()?;
/// socket.bind("10.7.0.2:5000".parse().unwrap())?;
/// let stream = socket.connect("10.7.0.1:80".parse().unwrap()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TcpSocket {
    unspecified: IpAddr,
    local: OnceLock<SocketAddr>,
}

impl TcpSocket {
    /// A socket for IPv4.
    ///
    /// # Errors
    /// None so far: nothing is reserved before the socket is put to use. The signature is tokio's.
    pub fn new_v4() -> io::Result<TcpSocket> {
        Ok(TcpSocket { unspecified: Ipv4Addr::UNSPECIFIED.into(), local: OnceLock::new() })
    }

    /// A socket for IPv6.
    ///
    /// # Errors
    /// None so far, as [`new_v4`](Self::new_v4).
    pub fn new_v6() -> io::Result<TcpSocket> {
        Ok(TcpSocket { unspecified: Ipv6Addr::UNSPECIFIED.into(), local: OnceLock::new() })
    }

    /// Chooses the local address. Whether it can be had is found out by [`listen`](Self::listen) or
    /// [`connect`](Self::connect).
    ///
    /// # Errors
    /// If the address is of the other IP version, or one was chosen before.
    pub fn bind(&self, addr: SocketAddr) -> io::Result<()> {
        let refused = |text| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        if addr.is_ipv4() != self.unspecified.is_ipv4() {
            return refused("the address is of the other IP version: use new_v4 for IPv4, new_v6 for IPv6");
        }
        self.local.set(addr).or_else(|_| refused("this socket is bound already"))
    }

    /// Listens, with at most `backlog` connections that wait to be accepted.
    ///
    /// # Errors
    /// As [`TcpListener::bind`].
    pub fn listen(self, backlog: u32) -> io::Result<TcpListener> {
        let local = self.local.get().copied().unwrap_or(SocketAddr::new(self.unspecified, 0));
        TcpListener::listen(local, usize::try_from(backlog).unwrap_or(usize::MAX))
    }

    /// Connects to `addr`.
    ///
    /// # Errors
    /// As [`TcpStream::connect`]; also if the local address cannot be had.
    ///
    /// # Cancel safety
    /// As [`TcpStream::connect`].
    pub async fn connect(self, addr: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect_from(addr, self.local.get().copied()).await
    }
}

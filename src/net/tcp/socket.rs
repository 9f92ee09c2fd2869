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
    fastopen: OnceLock<u32>,
}

impl TcpSocket {
    /// A socket for IPv4.
    ///
    /// # Errors
    /// None so far: nothing is reserved before the socket is put to use. The signature is tokio's.
    pub fn new_v4() -> io::Result<TcpSocket> {
        Ok(TcpSocket {
            unspecified: Ipv4Addr::UNSPECIFIED.into(),
            local: OnceLock::new(),
            fastopen: OnceLock::new(),
        })
    }

    /// A socket for IPv6.
    ///
    /// # Errors
    /// None so far, as [`new_v4`](Self::new_v4).
    pub fn new_v6() -> io::Result<TcpSocket> {
        Ok(TcpSocket {
            unspecified: Ipv6Addr::UNSPECIFIED.into(),
            local: OnceLock::new(),
            fastopen: OnceLock::new(),
        })
    }

    /// Chooses the local address. Whether it can be had is found out by [`listen`](Self::listen) or
    /// [`connect`](Self::connect).
    ///
    /// # Errors
    /// If the address is of the other IP version, or one was chosen before.
    pub fn bind(&self, addr: SocketAddr) -> io::Result<()> {
        self.check_version(addr)?;
        let text = "this socket is bound already";
        self.local.set(addr).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, text))
    }

    fn check_version(&self, addr: SocketAddr) -> io::Result<()> {
        if addr.is_ipv4() == self.unspecified.is_ipv4() {
            return Ok(());
        }
        let text = "the address is of the other IP version: use new_v4 for IPv4, new_v6 for IPv6";
        Err(io::Error::new(io::ErrorKind::InvalidInput, text))
    }

    /// The address that was chosen, or the one of no particular address and port 0.
    ///
    /// # Errors
    /// If port 0 was chosen: nothing is reserved yet, and the port is found by [`listen`](Self::listen) or
    /// [`connect`](Self::connect), whose result tells it.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self.local.get() {
            Some(addr) if addr.port() == 0 => {
                let text = "the port of this socket is found when it listens or connects: ask the listener or the stream";
                Err(io::Error::new(io::ErrorKind::AddrNotAvailable, text))
            }
            Some(addr) => Ok(*addr),
            None => Ok(SocketAddr::new(self.unspecified, 0)),
        }
    }

    /// What went wrong meanwhile: nothing, for the socket has done nothing yet. The signature is tokio's.
    ///
    /// # Errors
    /// None so far, as [`new_v4`](Self::new_v4).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(None)
    }

    /// Has a listener made of this socket accept so many connections at a time before their handshake is over, see
    /// [`TcpListener::set_fastopen`].
    ///
    /// # Errors
    /// If it was set before. Whether it can be had is found out by [`listen`](Self::listen).
    pub fn set_fastopen(&self, pending_max: u32) -> io::Result<()> {
        let text = "this socket's Fast Open is set already";
        self.fastopen.set(pending_max).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, text))
    }

    /// Listens, with at most `backlog` connections that wait to be accepted.
    ///
    /// With several cores it does not wait for the others, as [`TcpListener::bind`] does: before they know of the listener, which
    /// they do in their next turn, a connection that comes to one of them may be refused. [`TcpListener::known`] waits for them.
    ///
    /// # Errors
    /// As [`TcpListener::bind`]; as [`TcpListener::set_fastopen`], if that was asked for.
    pub fn listen(self, backlog: u32) -> io::Result<TcpListener> {
        let local = self.local.get().copied().unwrap_or(SocketAddr::new(self.unspecified, 0));
        let listener = TcpListener::listen(local, usize::try_from(backlog).unwrap_or(usize::MAX))?;
        if let Some(pending_max) = self.fastopen.get() {
            listener.set_fastopen(*pending_max)?;
        }
        Ok(listener)
    }

    /// Connects to `addr`.
    ///
    /// # Errors
    /// As [`TcpStream::connect`]; also if the local address cannot be had, or `addr` is of the other IP version.
    ///
    /// # Cancel safety
    /// As [`TcpStream::connect`].
    pub async fn connect(self, addr: SocketAddr) -> io::Result<TcpStream> {
        self.check_version(addr)?;
        TcpStream::connect_from(addr, self.local.get().copied()).await
    }

    /// Connects to `addr`, with data: as [`TcpStream::connect_with`].
    ///
    /// # Errors
    /// As [`TcpStream::connect_with`]; also if the local address cannot be had, or `addr` is of the other IP version.
    ///
    /// # Cancel safety
    /// As [`TcpStream::connect_with`].
    pub async fn connect_with(self, addr: SocketAddr, data: &[u8]) -> io::Result<TcpStream> {
        self.check_version(addr)?;
        TcpStream::connect_from_with(addr, self.local.get().copied(), data).await
    }
}

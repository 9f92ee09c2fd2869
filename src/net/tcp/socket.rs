//! A socket before it knows whether it listens or connects.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::options::{Options, chosen_size, service};
use super::{TcpListener, TcpStream};

/// A TCP socket that is neither listening nor connected yet: for a backlog of one's own, and for connections
/// from a chosen address; for options that connections have from their first segment on.
///
/// ```no_run
/// # async fn connect() -> std::io::Result<()> {
/// let socket = hayase::net::TcpSocket::new_v4()?;
/// socket.bind("10.7.0.2:5000".parse().unwrap())?;
/// let stream = socket.connect("10.7.0.1:80".parse().unwrap()).await?;
/// # Ok(())
/// # }
/// ```
///
/// Nothing is opened before it listens or connects: options are kept until then. As on Linux, connections that a listener accepts
/// have what its socket was told.
#[derive(Debug)]
pub struct TcpSocket {
    unspecified: IpAddr,
    local: OnceLock<SocketAddr>,
    fastopen: OnceLock<u32>,
    options: Mutex<Options>,
}

impl TcpSocket {
    /// A socket for IPv4.
    ///
    /// # Errors
    /// None so far: nothing is reserved before the socket is put to use. The signature is tokio's.
    pub fn new_v4() -> io::Result<TcpSocket> {
        Ok(TcpSocket::new(Ipv4Addr::UNSPECIFIED.into()))
    }

    /// A socket for IPv6.
    ///
    /// # Errors
    /// None so far, as [`new_v4`](Self::new_v4).
    pub fn new_v6() -> io::Result<TcpSocket> {
        Ok(TcpSocket::new(Ipv6Addr::UNSPECIFIED.into()))
    }

    fn new(unspecified: IpAddr) -> TcpSocket {
        let (local, fastopen, options) = Default::default();
        TcpSocket { unspecified, local, fastopen, options }
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
        let listener =
            TcpListener::listen(local, usize::try_from(backlog).unwrap_or(usize::MAX), &self.chosen())?;
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
        let options = self.chosen();
        TcpStream::connect_from(addr, self.local.get().copied(), &options).await
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
        let options = self.chosen();
        TcpStream::connect_from_with(addr, self.local.get().copied(), &options, data).await
    }
}

/// Options. What was said last counts, and is what the getters tell. Whether it can be had is found out by
/// [`listen`](Self::listen) and [`connect`](Self::connect).
impl TcpSocket {
    fn options(&self) -> MutexGuard<'_, Options> {
        // Nothing panics under the lock.
        self.options.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn chosen(&self) -> Options {
        *self.options()
    }

    /// Has connections that are over and in TIME-WAIT (RFC 9293 §3.6.1) be no obstacle to listening at their port, or to
    /// connecting from it (`SO_REUSEADDR`). Unlike with tokio's `TcpSocket`, and as with `TcpListener::bind` of both, that is the
    /// default. Who listens at the port always is an obstacle to listening, and a connection between the same two ends, in
    /// TIME-WAIT or not, to another one.
    ///
    /// On a stack of Hayase it cannot be otherwise: `false` makes [`listen`](Self::listen), and [`connect`](Self::connect) from
    /// a chosen address, fail with [`io::ErrorKind::Unsupported`]. So does `listen` with several cores on the device `kernel`,
    /// which share ports; else it is the option of the system's socket there.
    ///
    /// # Errors
    /// None. The signature is tokio's.
    pub fn set_reuseaddr(&self, reuseaddr: bool) -> io::Result<()> {
        self.options().reuse_address = reuseaddr;
        Ok(())
    }

    /// Whether connections that are over will be no obstacle.
    ///
    /// # Errors
    /// None. The signature is tokio's.
    pub fn reuseaddr(&self) -> io::Result<bool> {
        Ok(self.chosen().reuse_address)
    }

    /// Lets other listeners have the same address, if they say so too; connections are spread over them (`SO_REUSEPORT`).
    ///
    /// On a stack of Hayase listeners of different cores share an address whatever is said, see [`TcpListener::bind`], and two
    /// of one core cannot: the second fails with [`io::ErrorKind::AddrInUse`], and any number of tasks may accept from the first.
    /// On the device `kernel` it is the option of the system's socket, of connections from a chosen address as well, and
    /// listeners of one core can share an address, too.
    ///
    /// # Errors
    /// None. The signature is tokio's.
    pub fn set_reuseport(&self, reuseport: bool) -> io::Result<()> {
        self.options().reuse_port = reuseport;
        Ok(())
    }

    /// Whether other listeners may have the same address.
    ///
    /// # Errors
    /// None. The signature is tokio's.
    pub fn reuseport(&self) -> io::Result<bool> {
        Ok(self.chosen().reuse_port)
    }

    /// Probes a silent peer, or does not, which is the default (`SO_KEEPALIVE`, RFC 9293 §3.8.4): after two hours of silence, then
    /// every 75 seconds, nine times; on the device `kernel` as the sysctls `net.ipv4.tcp_keepalive_*` say. Other times are for
    /// [`TcpStream::set_keepalive`].
    ///
    /// # Errors
    /// None. The signature is tokio's.
    pub fn set_keepalive(&self, keepalive: bool) -> io::Result<()> {
        self.options().keepalive = keepalive;
        Ok(())
    }

    /// Whether a silent peer will be probed.
    ///
    /// # Errors
    /// None. The signature is tokio's.
    pub fn keepalive(&self) -> io::Result<bool> {
        Ok(self.chosen().keepalive)
    }

    /// Sends small segments at once, or lets them wait for company while others are unacknowledged, which is the default
    /// (`TCP_NODELAY`, RFC 9293 §3.7.4). As [`TcpStream::set_nodelay`].
    ///
    /// # Errors
    /// None. The signature is tokio's.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.options().nodelay = nodelay;
        Ok(())
    }

    /// Whether small segments will be sent at once.
    ///
    /// # Errors
    /// None. The signature is tokio's.
    pub fn nodelay(&self) -> io::Result<bool> {
        Ok(self.chosen().nodelay)
    }

    /// Chooses how many bytes are kept that the peer has not acknowledged (`SO_SNDBUF`), where that follows the path otherwise: a
    /// writer waits beyond. It is 4 KiB at least, and [`Config::send_buffer_len_max`](crate::stack::Config::send_buffer_len_max) at
    /// most. With the models split and merge up to 256 KiB more are on their way to the stack's thread. On the device `kernel` it
    /// is the option of the system's socket, which takes twice as much, within `net.core.wmem_max`.
    ///
    /// # Errors
    /// None. The signature is tokio's.
    pub fn set_send_buffer_size(&self, size: u32) -> io::Result<()> {
        self.options().send_buffer_len = Some(size);
        Ok(())
    }

    /// What was chosen, and not what comes of it.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] if nothing was: then there is no one size.
    pub fn send_buffer_size(&self) -> io::Result<u32> {
        chosen_size(self.chosen().send_buffer_len)
    }

    /// Chooses how many bytes are kept that the application has not read, and so the largest window that the peer is offered
    /// (`SO_RCVBUF`), where that follows the path otherwise. It is 4 KiB at least, and
    /// [`Config::receive_buffer_len_max`](crate::stack::Config::receive_buffer_len_max) at most. With the models split and merge
    /// up to 256 KiB more are on their way from the stack's thread. On the device `kernel` it is the option of the system's
    /// socket, which takes twice as much, within `net.core.rmem_max`.
    ///
    /// # Errors
    /// None. The signature is tokio's.
    pub fn set_recv_buffer_size(&self, size: u32) -> io::Result<()> {
        self.options().receive_buffer_len = Some(size);
        Ok(())
    }

    /// What was chosen, and not what comes of it.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] if nothing was: then there is no one size.
    pub fn recv_buffer_size(&self) -> io::Result<u32> {
        chosen_size(self.chosen().receive_buffer_len)
    }

    /// What becomes of undelivered data when a stream is dropped (`SO_LINGER`). As [`TcpStream::set_linger`]: dropping never
    /// blocks.
    ///
    /// # Errors
    /// None. The signature is tokio's.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.options().linger = linger;
        Ok(())
    }

    /// Has dropping a stream reset its connection: as [`set_linger`](Self::set_linger) of zero.
    ///
    /// # Errors
    /// None. The signature is tokio's.
    pub fn set_zero_linger(&self) -> io::Result<()> {
        self.set_linger(Some(Duration::ZERO))
    }

    /// What will become of undelivered data when a stream is dropped.
    ///
    /// # Errors
    /// None. The signature is tokio's.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        Ok(self.chosen().linger)
    }

    /// Sets the type of service of IPv4 packets (`IP_TOS`): DSCP in the upper six of its eight bits (RFC 2474). The lower two are
    /// ECN's, and passed over. It goes with the SYN or its answer already. On a socket of IPv6 it rules the IPv4 connections of a
    /// listener at `[::]`.
    ///
    /// # Errors
    /// If it is above 255.
    pub fn set_tos_v4(&self, tos: u32) -> io::Result<()> {
        self.options().tos = Some(service(tos)?);
        Ok(())
    }

    /// The type of service of IPv4 packets; 0 if none was set.
    ///
    /// # Errors
    /// None. The signature is tokio's.
    pub fn tos_v4(&self) -> io::Result<u32> {
        Ok(self.chosen().tos.unwrap_or(0).into())
    }

    /// Sets the traffic class of IPv6 packets (`IPV6_TCLASS`), as [`set_tos_v4`](Self::set_tos_v4) sets the type of service of
    /// IPv4.
    ///
    /// # Errors
    /// If it is above 255, or this is a socket of IPv4.
    pub fn set_tclass_v6(&self, tclass: u32) -> io::Result<()> {
        self.check_v6()?;
        self.options().tclass = Some(service(tclass)?);
        Ok(())
    }

    /// The traffic class of IPv6 packets; 0 if none was set.
    ///
    /// # Errors
    /// If this is a socket of IPv4.
    pub fn tclass_v6(&self) -> io::Result<u32> {
        self.check_v6()?;
        Ok(self.chosen().tclass.unwrap_or(0).into())
    }

    fn check_v6(&self) -> io::Result<()> {
        if self.unspecified.is_ipv6() {
            return Ok(());
        }
        let text = "a socket of IPv4 has no traffic class: use set_tos_v4 and tos_v4, or make the socket with new_v6";
        Err(io::Error::new(io::ErrorKind::InvalidInput, text))
    }
}

//! UDP sockets.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use hayase_stack::UdpId;

use super::addr::{self, ToSocketAddrs, first_that};
use super::tcp::hop_limit;
use crate::door::{Door, Handle};
use crate::host::Host;
use crate::io::{Interest, Ready};
use crate::wakers::{Notify, Side};
use crate::wide::{Origin, Wide};

/// A UDP socket. Any number of tasks may use it at once, through `&` or an `Arc`.
///
/// As with tokio's, a datagram longer than the buffer loses its end, and the `poll_*` functions wake only the
/// last task that called them.
///
/// ```no_run
/// # async fn echo() -> std::io::Result<()> {
/// let socket = hayase::net::UdpSocket::bind("0.0.0.0:7").await?;
/// let mut buf = [0; 2048];
/// loop {
///     let (len, peer) = socket.recv_from(&mut buf).await?;
///     // A peer that cannot be answered is no reason to stop.
///     let _ = socket.send_to(&buf[..len], peer).await;
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct UdpSocket {
    sockets: Wide<UdpId>,
}

impl UdpSocket {
    /// Opens a socket at `addr` of the current host. Port 0 takes a free one; the address `[::]` takes IPv4
    /// as well. Bound to no address in particular, it is on each of the host's
    /// [interfaces](crate::Host#several-interfaces).
    ///
    /// # Errors
    /// If there is no current host, the address is none of its own, or the port is in use, or may not be used (below 1024, with the
    /// operating system's sockets); and [those of every call](crate::net#errors-of-every-call).
    ///
    /// # Cancel safety
    /// It never waits.
    pub async fn bind(addr: impl ToSocketAddrs) -> io::Result<UdpSocket> {
        let host = Host::current()?;
        let bind = |door: &dyn Door, addr| door.udp_bind(addr);
        let sockets =
            first_that(&addr, |addr| Wide::bind(host, addr, bind, |door, id| door.udp_local_addr(id)))?;
        Ok(UdpSocket { sockets })
    }

    /// Sets the peer that [`send`](Self::send) sends to and the only one that is received from. A socket on several
    /// interfaces is from then on where the peer is, for good. `0.0.0.0` and `[::]` are the host itself, as on Linux.
    ///
    /// # Errors
    /// If there is no route to `addr`; and [those of every call](crate::net#errors-of-every-call).
    ///
    /// # Cancel safety
    /// It never waits.
    pub async fn connect(&self, addr: impl ToSocketAddrs) -> io::Result<()> {
        first_that(&addr, |addr| {
            self.sockets.connect(self.meant(addr), |door, id, addr| door.udp_connect(id, addr))
        })
    }

    /// Whom an address means, seen from where the socket is bound.
    #[inline]
    fn meant(&self, remote: SocketAddr) -> SocketAddr {
        addr::meant(remote, || self.local_addr().ok().map(|local| local.ip()))
    }

    /// Sends a datagram to the connected peer and returns its length.
    ///
    /// # Errors
    /// If the socket is not connected, there is no route, or the datagram is too long. Where the stack has a thread to itself
    /// ([`Model`](crate::Model)), the datagram is handed over, and that there is no route for it is told to the next call.
    ///
    /// # Cancel safety
    /// Cancel safe: the datagram was sent whole or not at all.
    pub async fn send(&self, buf: &[u8]) -> io::Result<usize> {
        let socket = self.sockets.any()?;
        socket.wait(Side::Write, |door, id, notify| door.udp_send(id, notify, buf, None)).await
    }

    /// Sends a datagram to `target` and returns its length. `0.0.0.0` and `[::]` are the host itself, as on Linux.
    ///
    /// # Errors
    /// If there is no route, or the datagram is too long. Where the stack has a thread to itself ([`Model`](crate::Model)), the
    /// datagram is handed over, and that there is no route for it is told to the next call for the same target.
    ///
    /// # Cancel safety
    /// Cancel safe: the datagram was sent whole or not at all.
    pub async fn send_to(&self, buf: &[u8], target: impl ToSocketAddrs) -> io::Result<usize> {
        let to = target.addresses()?.next().ok_or_else(addr::none)?;
        let (socket, to) = self.sockets.towards(self.meant(to))?;
        socket.wait(Side::Write, |door, id, notify| door.udp_send(id, notify, buf, Some(to))).await
    }

    /// Receives a datagram of the connected peer and returns its length.
    ///
    /// # Errors
    /// If an ICMP error came back for what was sent to the connected peer. A socket that is not connected hears of none.
    ///
    /// # Cancel safety
    /// Cancel safe: no datagram is lost.
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.recv_from(buf).await.map(|(len, _)| len)
    }

    /// Receives a datagram and returns its length and its sender.
    ///
    /// # Errors
    /// As [`recv`](Self::recv): nobody to whom a server answers can make this fail.
    ///
    /// # Cancel safety
    /// Cancel safe: no datagram is lost.
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.sockets.wait(Side::Read, |door, id, notify| door.udp_recv(id, notify, buf)).await.map(from)
    }

    /// Looks at the next datagram without taking it.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is taken.
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.peek_from(buf).await.map(|(len, _)| len)
    }

    /// Waits for a datagram, and says who sent it.
    ///
    /// # Errors
    /// As [`recv_from`](Self::recv_from).
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is taken.
    pub async fn peek_sender(&self) -> io::Result<SocketAddr> {
        self.peek_from(&mut []).await.map(|(_, peer)| peer)
    }

    /// Looks at the next datagram and its sender without taking it.
    ///
    /// # Errors
    /// As [`recv_from`](Self::recv_from).
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is taken.
    pub async fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let peek = |door: &dyn Door, id, notify: Notify<'_>| door.udp_peek(id, notify, buf);
        self.sockets.wait(Side::Read, peek).await.map(|shown| self.shown(shown))
    }

    /// Sends to the connected peer if there is room now.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if there is none; else as [`send`](Self::send).
    pub fn try_send(&self, buf: &[u8]) -> io::Result<usize> {
        self.sockets.any()?.attempt(|door, id, notify| door.udp_send(id, notify, buf, None))
    }

    /// Sends to `target` if there is room now.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if there is none; else as [`send_to`](Self::send_to).
    pub fn try_send_to(&self, buf: &[u8], target: SocketAddr) -> io::Result<usize> {
        let (socket, target) = self.sockets.towards(self.meant(target))?;
        socket.attempt(|door, id, notify| door.udp_send(id, notify, buf, Some(target)))
    }

    /// Receives from the connected peer if a datagram is there.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if none is; else as [`recv`](Self::recv).
    pub fn try_recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.try_recv_from(buf).map(|(len, _)| len)
    }

    /// Receives if a datagram is there.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if none is; else as [`recv_from`](Self::recv_from).
    pub fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.sockets.attempt(|door, id, notify| door.udp_recv(id, notify, buf)).map(from)
    }

    /// Looks at the next datagram if there is one.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if there is none; else as [`peek`](Self::peek).
    pub fn try_peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.try_peek_from(buf).map(|(len, _)| len)
    }

    /// Who sent the next datagram, if there is one.
    ///
    /// # Errors
    /// As [`try_peek_from`](Self::try_peek_from).
    pub fn try_peek_sender(&self) -> io::Result<SocketAddr> {
        self.try_peek_from(&mut []).map(|(_, peer)| peer)
    }

    /// What was shown is what is received next.
    fn shown(&self, shown: (Origin, (usize, SocketAddr))) -> (usize, SocketAddr) {
        self.sockets.stay_at(&shown.0);
        from(shown)
    }

    /// Looks at the next datagram if there is one.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if there is none; else as [`peek_from`](Self::peek_from).
    pub fn try_peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.sockets.attempt(|door, id, notify| door.udp_peek(id, notify, buf)).map(|shown| self.shown(shown))
    }

    /// The twin of [`send`](Self::send).
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn poll_send(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        poll_send(self.sockets.any()?, cx, buf, None)
    }

    /// The twin of [`send_to`](Self::send_to).
    ///
    /// # Errors
    /// As [`send_to`](Self::send_to).
    pub fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        buf: &[u8],
        target: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        let (socket, target) = self.sockets.towards(self.meant(target))?;
        poll_send(socket, cx, buf, Some(target))
    }

    /// The twin of [`recv`](Self::recv).
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn poll_recv(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_recv_from(cx, buf).map_ok(|(len, _)| len)
    }

    /// The twin of [`recv_from`](Self::recv_from).
    ///
    /// # Errors
    /// As [`recv_from`](Self::recv_from).
    pub fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let recv = |door: &dyn Door, id, notify: Notify<'_>| door.udp_recv(id, notify, buf);
        self.sockets.poll(Side::Read, cx.waker(), recv).map_ok(from)
    }

    /// The twin of [`peek`](Self::peek).
    ///
    /// # Errors
    /// As [`peek`](Self::peek).
    pub fn poll_peek(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_peek_from(cx, buf).map_ok(|(len, _)| len)
    }

    /// The twin of [`peek_sender`](Self::peek_sender).
    ///
    /// # Errors
    /// As [`peek_sender`](Self::peek_sender).
    pub fn poll_peek_sender(&self, cx: &mut Context<'_>) -> Poll<io::Result<SocketAddr>> {
        self.poll_peek_from(cx, &mut []).map_ok(|(_, peer)| peer)
    }

    /// The twin of [`peek_from`](Self::peek_from).
    ///
    /// # Errors
    /// As [`peek_from`](Self::peek_from).
    pub fn poll_peek_from(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let peek = |door: &dyn Door, id, notify: Notify<'_>| door.udp_peek(id, notify, buf);
        self.sockets.poll(Side::Read, cx.waker(), peek).map_ok(|shown| self.shown(shown))
    }

    /// Waits until a datagram, or an error, is there.
    ///
    /// # Errors
    /// If the socket is used on a foreign thread.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is taken.
    pub async fn readable(&self) -> io::Result<()> {
        self.ready(Interest::READABLE).await.map(drop)
    }

    /// Waits until there is room for a datagram.
    ///
    /// # Errors
    /// If the socket is used on a foreign thread.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn writable(&self) -> io::Result<()> {
        self.ready(Interest::WRITABLE).await.map(drop)
    }

    /// Waits until the socket is ready for any of `interest`, and says for what.
    ///
    /// # Errors
    /// If the socket is used on a foreign thread.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        self.sockets.ready(interest).await
    }

    /// The twin of [`readable`](Self::readable).
    ///
    /// # Errors
    /// As [`readable`](Self::readable).
    pub fn poll_recv_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.sockets.poll_ready(Side::Read, cx.waker()))?;
        Poll::Ready(Ok(()))
    }

    /// The twin of [`writable`](Self::writable).
    ///
    /// # Errors
    /// As [`writable`](Self::writable).
    pub fn poll_send_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.sockets.poll_ready(Side::Write, cx.waker()))?;
        Poll::Ready(Ok(()))
    }

    /// The address that the socket is bound to.
    ///
    /// # Errors
    /// If the socket is used on a foreign thread.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.sockets.address(|door, id| door.udp_local_addr(id))
    }

    /// The connected peer.
    ///
    /// # Errors
    /// If there is none.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.sockets.address(|door, id| door.udp_peer_addr(id))
    }

    /// The hop limit of what is sent to single hosts.
    ///
    /// # Errors
    /// If the socket is used on a foreign thread.
    pub fn ttl(&self) -> io::Result<u32> {
        self.sockets.any()?.call(|door, id| door.udp_ttl(id)).map(u32::from)
    }

    /// Sets the hop limit of what is sent, 1 to 255, to multicast groups as well. Until it is set, what is sent to those does not
    /// leave the link: its hop limit is 1 (RFC 1112 §6.1, RFC 3493 §5.2).
    ///
    /// # Errors
    /// If it is out of range, or the socket is used on a foreign thread.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        let ttl = hop_limit(ttl)?;
        self.sockets.for_all(|door, id| door.udp_set_ttl(id, ttl))
    }

    /// The type of service of what is sent, which is the traffic class of IPv6.
    ///
    /// # Errors
    /// If the socket is used on a foreign thread.
    pub fn tos(&self) -> io::Result<u8> {
        self.sockets.any()?.call(|door, id| door.udp_tos(id))
    }

    /// Sets the type of service of what is sent: DSCP in the upper six bits (RFC 2474). The lower two are ECN's and
    /// stay as they are.
    ///
    /// # Errors
    /// If the socket is used on a foreign thread.
    pub fn set_tos(&self, tos: u8) -> io::Result<()> {
        self.sockets.for_all(|door, id| door.udp_set_tos(id, tos))
    }
}

/// A datagram's length and its sender, by an address that leads back.
fn from((origin, (len, peer)): (Origin, (usize, SocketAddr))) -> (usize, SocketAddr) {
    (len, origin.peer(peer))
}

fn poll_send(
    socket: &Handle<UdpId>,
    cx: &mut Context<'_>,
    buf: &[u8],
    to: Option<SocketAddr>,
) -> Poll<io::Result<usize>> {
    socket.poll(|door, id| door.udp_send(id, Notify::last(cx.waker()), buf, to))
}

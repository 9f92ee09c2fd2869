//! Waiting for connections.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use hayase_stack::{ListenerId, TcpId};

use super::TcpStream;
use super::options::Options;
use crate::door::Door;
use crate::host::Host;
use crate::net::addr::{ToSocketAddrs, first_that};
use crate::wakers::{Notify, Side};
use crate::wide::{Origin, Wide};

/// Connections that wait to be accepted, unless [`TcpSocket::listen`](super::TcpSocket::listen) says
/// otherwise. As tokio's.
const BACKLOG: usize = 1024;

/// A TCP listener. Any number of tasks may accept from it at once.
///
/// Dropping it resets the connections that nobody accepted.
///
/// ```no_run
/// # async fn serve() -> std::io::Result<()> {
/// let listener = hayase::net::TcpListener::bind("0.0.0.0:7").await?;
/// loop {
///     let (stream, peer) = listener.accept().await?;
///     println!("{peer} is here: {stream:?}");
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct TcpListener {
    sockets: Wide<ListenerId>,
    /// The last answer of [`poll_accept`](Self::poll_accept) was an error.
    has_failed: AtomicBool,
}

impl TcpListener {
    /// Listens at `addr` of the current host, on this core: with several, each may listen at the same address, and
    /// connections are spread over those that do. Port 0 takes a free one; `0.0.0.0` means all IPv4 addresses of
    /// the host and `[::]` all addresses, IPv4 ones included, on each of its [interfaces](crate::Host#several-interfaces).
    ///
    /// It waits until the other cores know, which they do in their next turn. One that does not turn is waited for a second at
    /// most: until it turns, connections that come to cores other than this one may be refused.
    ///
    /// # Errors
    /// If there is no current host, the address is none of its own, or the port is in use, or may not be used (below 1024, with the
    /// operating system's sockets); and [those of every call](crate::net#errors-of-every-call).
    ///
    /// # Cancel safety
    /// If it is dropped while it waits, it listens no more.
    pub async fn bind(addr: impl ToSocketAddrs) -> io::Result<TcpListener> {
        let listener = first_that(&addr, |addr| TcpListener::listen(addr, BACKLOG, &Options::default()))?;
        // Until the other cores know, a connection that comes to one of them would be refused there.
        listener.known().await?;
        Ok(listener)
    }

    /// Waits until the other cores know of the listener, as [`bind`](Self::bind) has done: for one that
    /// [`TcpSocket::listen`](super::TcpSocket::listen) has made.
    ///
    /// ```no_run
    /// # async fn listen() -> std::io::Result<()> {
    /// let socket = hayase::net::TcpSocket::new_v4()?;
    /// socket.bind("0.0.0.0:80".parse().unwrap())?;
    /// let listener = socket.listen(4096)?;
    /// listener.known().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the listener is used on a foreign thread.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn known(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_known(cx)).await
    }

    /// Listens, at once.
    pub(crate) fn listen(addr: SocketAddr, backlog: usize, options: &Options) -> io::Result<TcpListener> {
        let listen = |door: &dyn Door, addr| door.tcp_listen(addr, backlog, options);
        let sockets = Wide::bind(Host::current()?, addr, listen, |door, id| door.listener_local_addr(id))?;
        Ok(TcpListener { sockets, has_failed: AtomicBool::new(false) })
    }

    /// Waits until all cores know of it, but for those that do not turn.
    pub(crate) fn poll_known(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let is_known = Cell::new(true);
        self.sockets.for_all(|door, id| {
            let polled = door.listener_poll_known(id, cx.waker().clone())?;
            is_known.set(is_known.get() && polled.is_ready());
            Ok(())
        })?;
        if is_known.get() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Lets peers that were here before send data with their SYN: such a connection is accepted, and may be read and
    /// answered, before its handshake is over (TCP Fast Open, RFC 7413; Linux's `TCP_FASTOPEN`). At most `pending_max`
    /// connections at a time; 0, the default, switches it off. The application must bear it if the same data comes twice.
    /// With several cores, each core's listener is set by itself.
    ///
    /// # Errors
    /// If the listener is used on a foreign thread. [`io::ErrorKind::Unsupported`] with the operating system's sockets.
    pub fn set_fastopen(&self, pending_max: u32) -> io::Result<()> {
        let pending_max = usize::try_from(pending_max).unwrap_or(usize::MAX);
        self.sockets.for_all(|door, id| door.tcp_set_fastopen(id, pending_max))
    }

    /// Waits for a connection. Where several interfaces have some, each has its turn.
    ///
    /// # Errors
    /// If the listener is used on a foreign thread, the limit on sockets is reached, or the runtime is gone. Others have their
    /// turn before it is told, so that a loop that passes over errors holds up nobody.
    ///
    /// # Cancel safety
    /// Cancel safe: no connection is lost. An error is, where the call is given up before others have had their turn: the next
    /// call has it, if it stays.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let accepted = self.sockets.wait(Side::Read, |door, id, notify| door.tcp_accept(id, notify)).await;
        if accepted.is_err() {
            // The error may stay, as that of a runtime which is gone: a loop that passes over it would never end, nor could
            // any executor cancel it.
            hayase_executor::yield_now().await;
        }
        accepted.map(stream)
    }

    /// The twin of [`accept`](Self::accept). Only the last task that called is woken. Of errors one after the other, every second
    /// call has the task wait once.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        let accept = |door: &dyn Door, id, notify: Notify<'_>| door.tcp_accept(id, notify);
        let polled = self.sockets.poll(Side::Read, cx.waker(), accept);
        let has_failed = matches!(polled, Poll::Ready(Err(_)));
        if has_failed && self.has_failed.swap(false, Ordering::Relaxed) {
            // As in `accept`; here whoever calls has no place of its own to keep it in.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.has_failed.store(has_failed, Ordering::Relaxed);
        polled.map_ok(stream)
    }

    /// Takes a connection if one waits. For loops that poll by themselves.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if none does; else as [`accept`](Self::accept).
    pub fn try_accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.sockets.attempt(|door, id, notify| door.tcp_accept(id, notify)).map(stream)
    }

    /// The address that it listens at.
    ///
    /// # Errors
    /// If the listener is used on a foreign thread.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.sockets.address(|door, id| door.listener_local_addr(id))
    }
}

/// A connection belongs to the interface that it came in on.
fn stream((origin, (id, peer)): (Origin, (TcpId, SocketAddr))) -> (TcpStream, SocketAddr) {
    (TcpStream::new(origin.shard, id), origin.peer(peer))
}

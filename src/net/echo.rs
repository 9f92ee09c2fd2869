//! ICMP echo: what ping is made of.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};

use hayase_stack::{EchoId, EchoReply};

use crate::door::Door;
use crate::host::Host;
use crate::wakers::{Notify, Side};
use crate::wide::Wide;

/// A socket for ICMP and ICMPv6 echo requests and their replies.
///
/// ```no_run
/// # async fn ping() -> std::io::Result<()> {
/// use hayase::net::EchoSocket;
///
/// let socket = EchoSocket::open()?;
/// socket.send("10.7.0.1".parse().unwrap(), 1, b"hello")?;
/// let reply = socket.recv().await?;
/// println!("{} bytes from {}, ttl {}", reply.len, reply.from, reply.ttl);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct EchoSocket {
    sockets: Wide<EchoId>,
}

impl EchoSocket {
    /// Opens a socket, with an identifier of its own, on the current host and each of its
    /// [interfaces](crate::Host#several-interfaces).
    ///
    /// # Errors
    /// If there is no current host, or the limit on sockets is reached; on the operating system's sockets, if the process has neither
    /// CAP_NET_RAW nor a group in `net.ipv4.ping_group_range`; and [those of every call](crate::net#errors-of-every-call).
    pub fn open() -> io::Result<EchoSocket> {
        let sockets = Wide::open(Host::current()?, |door| door.echo_open())?;
        Ok(EchoSocket { sockets })
    }

    /// Sends an echo request. Longer ones than the link carries are fragmented.
    ///
    /// # Errors
    /// If there is no route to `to`, or `payload` exceeds what an IP packet can hold.
    pub fn send(&self, to: IpAddr, sequence: u16, payload: &[u8]) -> io::Result<()> {
        let (socket, _) = self.sockets.towards(SocketAddr::new(to, 0))?;
        socket.call(|door, id| door.echo_send(id, to, sequence, payload))
    }

    /// Waits for a reply to any of the requests.
    ///
    /// # Errors
    /// If an ICMP error came back instead.
    ///
    /// # Cancel safety
    /// Cancel safe: no reply is lost.
    pub async fn recv(&self) -> io::Result<EchoReply> {
        let received = self.sockets.wait(Side::Read, |door, id, notify| door.echo_recv(id, notify)).await;
        received.map(|(_, reply)| reply)
    }

    /// The twin of [`recv`](Self::recv). Only the last task that called is woken.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<io::Result<EchoReply>> {
        let receive = |door: &dyn Door, id, notify: Notify<'_>| door.echo_recv(id, notify);
        self.sockets.poll(Side::Read, cx.waker(), receive).map_ok(|(_, reply)| reply)
    }

    /// Takes a reply if one is there.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if none is; else as [`recv`](Self::recv).
    pub fn try_recv(&self) -> io::Result<EchoReply> {
        let received = self.sockets.attempt(|door, id, notify| door.echo_recv(id, notify));
        received.map(|(_, reply)| reply)
    }
}

//! ICMP echo: what ping is made of.

use std::io;
use std::net::IpAddr;
use std::task::{Context, Poll};

use hayase_stack::{EchoId, EchoReply};

use crate::door::Handle;
use crate::host::Host;
use crate::wakers::{Notify, Side};

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
    handle: Handle<EchoId>,
}

impl EchoSocket {
    /// Opens a socket, with an identifier of its own, on the current host.
    ///
    /// # Errors
    /// If there is no current host, or the limit on sockets is reached.
    pub fn open() -> io::Result<EchoSocket> {
        let handle = Host::current()?.open(|door| door.echo_open())?;
        Ok(EchoSocket { handle })
    }

    /// Sends an echo request. Longer ones than the link carries are fragmented.
    ///
    /// # Errors
    /// If there is no route to `to`, or `payload` exceeds what an IP packet can hold.
    pub fn send(&self, to: IpAddr, sequence: u16, payload: &[u8]) -> io::Result<()> {
        self.handle.call(|door, id| door.echo_send(id, to, sequence, payload))
    }

    /// Waits for a reply to any of the requests.
    ///
    /// # Errors
    /// If an ICMP error came back instead.
    ///
    /// # Cancel safety
    /// Cancel safe: no reply is lost.
    pub async fn recv(&self) -> io::Result<EchoReply> {
        self.handle.wait(Side::Read, |door, id, notify| door.echo_recv(id, notify)).await
    }

    /// The twin of [`recv`](Self::recv). Only the last task that called is woken.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<io::Result<EchoReply>> {
        self.handle.poll(|door, id| door.echo_recv(id, Notify::last(cx.waker())))
    }

    /// Takes a reply if one is there.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if none is; else as [`recv`](Self::recv).
    pub fn try_recv(&self) -> io::Result<EchoReply> {
        self.handle.attempt(|door, id, notify| door.echo_recv(id, notify))
    }
}

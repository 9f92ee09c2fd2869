//! What the two threads tell each other.

use std::io;
use std::net::SocketAddr;

use hayase_stack::{EchoId, EchoReply, ListenerId, Socket, TcpId, UdpId};

use super::chunk::Chunk;
use super::desk::Desk;
use super::moving::Destination;

/// From the task thread to the stack.
pub(super) enum Command {
    /// Bytes to send. They were paid for from the connection's credit.
    Write { id: TcpId, chunk: Chunk },
    /// So many bytes of the connection have been read, from its beginning.
    Read { id: TcpId, total: u64 },
    /// No more bytes follow.
    Shutdown(TcpId),
    /// The handle is gone, and the connection is to be reset.
    Abort(TcpId),
    /// The handle is gone. For a connection, `read` is as in [`Command::Read`].
    Close { socket: Socket, read: u64 },
    /// A connection was accepted, or an error told: the next one may be taken from the stack.
    Accepted(ListenerId),
    /// Send a datagram.
    Send(Box<Datagram>),
    /// A datagram was received: the next one may be taken from the stack.
    Received(UdpId),
    /// An ICMP error was told to the program: the next one may be passed on.
    HeardFailure(UdpId),
    /// An answer to an echo request was received: the next one may be taken from the stack.
    EchoReceived(EchoId),
    /// What is urgent was taken note of: the next place may be told.
    HeardUrgent(TcpId),
    /// Anything else.
    Run(Box<dyn FnOnce(&mut Desk<'_>) + Send>),
}

/// From the stack to the task thread.
pub(super) enum Completion {
    /// Bytes came in.
    Data { id: TcpId, chunk: Chunk },
    /// The stack has taken what cost so much.
    Written { id: TcpId, credit: u32 },
    /// The peer sends no more.
    Ended(TcpId),
    /// Nothing can be written any more.
    WriteClosed(TcpId),
    /// The connection, or the attempt to open it, has failed.
    Failed { id: TcpId, error: io::Error },
    /// The connection is open.
    Connected(TcpId),
    /// A connection came in, or none could be taken.
    Accepted { listener: ListenerId, accepted: io::Result<Box<Accepted>> },
    /// A datagram came in.
    Datagram(Box<Datagram>),
    /// Datagrams were sent.
    Sent { id: UdpId, count: u32 },
    /// An ICMP error came back.
    UdpFailed { id: UdpId, error: io::Error },
    /// A datagram could not be sent.
    Unsent { id: UdpId, unsent: Unsent },
    /// The peer marked as urgent what comes before the byte with this number, from the beginning.
    Urgent { id: TcpId, end: u64 },
    /// The connection moves, and no more bytes follow from here.
    Parting { id: TcpId, to: Box<Destination> },
    /// An answer to an echo request came in.
    Echo { id: EchoId, reply: io::Result<Box<EchoReply>> },
}

/// Why a datagram was not sent to a peer, or to the connected one.
#[derive(Debug)]
pub(super) struct Unsent {
    pub(super) to: Option<SocketAddr>,
    pub(super) error: io::Error,
}

/// A connection that nobody has asked for yet.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) id: TcpId,
    pub(super) addresses: Addresses,
}

/// Both ends of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addresses {
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
}

/// A datagram, to or from `peer`; without one, to the peer that its socket is connected to.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) id: UdpId,
    pub(super) peer: Option<SocketAddr>,
    pub(super) bytes: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_cache_line() {
        assert_eq!((size_of::<Command>(), size_of::<Completion>()), (64, 64));
    }
}

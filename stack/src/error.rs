//! What a call on a socket can fail with: the peer's doing or the caller's.

use core::fmt;

/// Why a socket call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Another socket has this address and port.
    AddrInUse,
    /// The address is none of this host's.
    AddrNotAvailable,
    /// Another host of the link has this address (RFC 4862 §5.4): it is not used.
    AddrDuplicate,
    /// It is not known yet whether another host of the link has this address.
    AddrTentative,
    /// Every ephemeral port towards this peer is taken.
    PortsExhausted,
    /// The peer refused the connection (RST to our SYN, or ICMP port unreachable).
    ConnectionRefused,
    /// The peer reset the connection.
    ConnectionReset,
    /// The connection was aborted here, or its listener closed before it was accepted.
    ConnectionAborted,
    /// The peer no longer answers (R2 of RFC 9293 §3.8.3, the keep-alive limit, or the linger time).
    TimedOut,
    /// No answer from the next hop, or ICMP host unreachable.
    HostUnreachable,
    /// No route to the destination.
    NetworkUnreachable,
    /// The socket is not connected.
    NotConnected,
    /// Written after `shutdown`, or after the peer closed.
    BrokenPipe,
    /// A datagram larger than the protocol can carry.
    MessageTooLong,
    /// An argument makes no sense; the text says which.
    InvalidInput(&'static str),
    /// The handle's socket is closed.
    StaleHandle,
    /// The limit on sockets in [`Config`](crate::Config) is reached.
    TooManySockets,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::AddrInUse => "address in use: choose another port, or 0 for any free one",
            Error::AddrNotAvailable => {
                "the address is none of this host's: bind to one of its addresses, or to 0.0.0.0 or [::]"
            }
            Error::AddrDuplicate => {
                "another host on the link has this address: give one of the two another address"
            }
            Error::AddrTentative => {
                "the address is still being checked for duplicates: try again in a second, or set dad_transmits to 0"
            }
            Error::PortsExhausted => {
                "every ephemeral port towards this peer is in use: close connections or add an address"
            }
            Error::ConnectionRefused => "connection refused: nothing listens on that port",
            Error::ConnectionReset => "connection reset by peer",
            Error::ConnectionAborted => "connection aborted",
            Error::TimedOut => "timed out: the peer does not answer",
            Error::HostUnreachable => {
                "host unreachable: the next hop does not answer, check address, cable and gateway"
            }
            Error::NetworkUnreachable => "network unreachable: add an address of that network or a route",
            Error::NotConnected => "the socket is not connected",
            Error::BrokenPipe => "broken pipe: this direction is shut down",
            Error::MessageTooLong => "message too long for one datagram",
            Error::InvalidInput(text) => text,
            Error::StaleHandle => "this socket was closed",
            Error::TooManySockets => "the limit on sockets is reached: raise it in the stack's Config",
        })
    }
}

impl core::error::Error for Error {}

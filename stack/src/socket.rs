//! Names of sockets and what can be said of their readiness.

use core::fmt;
use core::ops::{BitAnd, BitOr, BitOrAssign};

macro_rules! socket_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// A plain pair of integers: the slot, and which tenant of the slot. Using it after the socket closed is
        /// an error, never somebody else's socket.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name {
            /// The slot.
            pub index: u32,
            /// The tenant.
            pub generation: u32,
        }
    };
}

socket_id!(
    /// A TCP connection.
    TcpId
);
socket_id!(
    /// A TCP listener.
    ListenerId
);
socket_id!(
    /// A UDP socket.
    UdpId
);
socket_id!(
    /// A socket for ICMP echo.
    EchoId
);

/// Any socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Socket {
    /// A TCP connection.
    Tcp(TcpId),
    /// A TCP listener.
    Listener(ListenerId),
    /// A UDP socket.
    Udp(UdpId),
    /// A socket for ICMP echo.
    Echo(EchoId),
}

/// What a socket is ready for: a set.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Ready(u8);

impl Ready {
    /// Nothing.
    pub const EMPTY: Ready = Ready(0);
    /// A read, receive or accept would bring something.
    pub const READABLE: Ready = Ready(1);
    /// A write would take something, or the handshake is over.
    pub const WRITABLE: Ready = Ready(2);
    /// The peer will send no more.
    pub const READ_CLOSED: Ready = Ready(4);
    /// Nothing can be written any more.
    pub const WRITE_CLOSED: Ready = Ready(8);
    /// The socket failed; the next call tells why.
    pub const ERROR: Ready = Ready(16);
    /// The peer marked what is to be read as urgent (RFC 9293 §3.8.5).
    pub const PRIORITY: Ready = Ready(32);

    /// Whether all of `other` is in this set.
    #[inline]
    pub const fn contains(self, other: Ready) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is in this set.
    #[inline]
    pub const fn intersects(self, other: Ready) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether a read would have an answer: data, end or failure.
    #[inline]
    pub const fn is_readable(self) -> bool {
        self.intersects(Ready(Self::READABLE.0 | Self::READ_CLOSED.0 | Self::ERROR.0))
    }

    /// Whether a reader should look: also at what the peer marked as urgent, before it is there.
    #[inline]
    pub const fn wakes_reader(self) -> bool {
        self.is_readable() || self.contains(Self::PRIORITY)
    }

    /// Whether a writer should look: room, end or failure.
    #[inline]
    pub const fn wakes_writer(self) -> bool {
        self.intersects(Ready(Self::WRITABLE.0 | Self::WRITE_CLOSED.0 | Self::ERROR.0))
    }

    /// Whether the set is empty.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Ready {
    type Output = Ready;
    #[inline]
    fn bitor(self, other: Ready) -> Ready {
        Ready(self.0 | other.0)
    }
}

impl BitOrAssign for Ready {
    #[inline]
    fn bitor_assign(&mut self, other: Ready) {
        self.0 |= other.0;
    }
}

impl BitAnd for Ready {
    type Output = Ready;
    #[inline]
    fn bitand(self, other: Ready) -> Ready {
        Ready(self.0 & other.0)
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ["READABLE", "WRITABLE", "READ_CLOSED", "WRITE_CLOSED", "ERROR", "PRIORITY"];
        f.write_str("Ready(")?;
        for (bit, name) in names.iter().enumerate().filter(|(bit, _)| self.0 & 1 << bit != 0) {
            if self.0 & ((1 << bit) - 1) != 0 {
                f.write_str(" | ")?;
            }
            f.write_str(name)?;
        }
        f.write_str(")")
    }
}

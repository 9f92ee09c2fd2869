//! Interest in readiness, and readiness.

use std::fmt;
use std::ops::BitOr;

/// What a caller of `ready` wants to wait for. At least one of [`READABLE`](Interest::READABLE) and
/// [`WRITABLE`](Interest::WRITABLE).
///
/// ```
/// use hayase::io::Interest;
/// let both = Interest::READABLE | Interest::WRITABLE;
/// assert!(both.is_readable() && both.is_writable());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Interest {
    readable: bool,
    writable: bool,
}

impl Interest {
    /// Something to read, or the end of it.
    pub const READABLE: Interest = Interest { readable: true, writable: false };
    /// Room to write, or the end of that.
    pub const WRITABLE: Interest = Interest { readable: false, writable: true };

    /// Whether reading is among it.
    pub const fn is_readable(self) -> bool {
        self.readable
    }

    /// Whether writing is among it.
    pub const fn is_writable(self) -> bool {
        self.writable
    }

    /// Both together.
    #[must_use]
    pub const fn add(self, other: Interest) -> Interest {
        Interest { readable: self.readable || other.readable, writable: self.writable || other.writable }
    }
}

impl BitOr for Interest {
    type Output = Interest;
    fn bitor(self, other: Interest) -> Interest {
        self.add(other)
    }
}

/// What a socket is ready for: a set.
///
/// Readiness is the state of the socket at the moment it was asked, not a memory of events: it needs no
/// `try_*` call that fails to be renewed.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Ready(hayase_stack::Ready);

impl Ready {
    /// Nothing.
    pub const EMPTY: Ready = Ready(hayase_stack::Ready::EMPTY);

    pub(crate) fn new(ready: hayase_stack::Ready, interest: Interest) -> Ready {
        use hayase_stack::Ready as Flag;
        let mut mask = Flag::ERROR;
        if interest.readable {
            mask |= Flag::READABLE | Flag::READ_CLOSED;
        }
        if interest.writable {
            mask |= Flag::WRITABLE | Flag::WRITE_CLOSED;
        }
        Ready(ready & mask)
    }

    /// Whether there is nothing in it.
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Whether a read would bring something: data, the end, or an error.
    pub const fn is_readable(self) -> bool {
        self.0.is_readable()
    }

    /// Whether a write would get an answer: room, the end, or an error.
    pub const fn is_writable(self) -> bool {
        self.0.wakes_writer()
    }

    /// Whether the peer will send no more.
    pub const fn is_read_closed(self) -> bool {
        self.0.contains(hayase_stack::Ready::READ_CLOSED)
    }

    /// Whether nothing can be written any more.
    pub const fn is_write_closed(self) -> bool {
        self.0.contains(hayase_stack::Ready::WRITE_CLOSED)
    }

    /// Whether the socket failed; the next call on it tells why.
    pub const fn is_error(self) -> bool {
        self.0.contains(hayase_stack::Ready::ERROR)
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

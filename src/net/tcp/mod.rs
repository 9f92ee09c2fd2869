//! TCP: listener, stream, and the halves of a stream.

mod connect;
mod futures;
mod halves;
mod listener;
mod options;
mod socket;
mod split;
mod split_owned;
mod stream;
mod traits;

pub use listener::TcpListener;
pub use socket::TcpSocket;
pub use split::{ReadHalf, WriteHalf};
pub use split_owned::{OwnedReadHalf, OwnedWriteHalf, ReuniteError};
pub use stream::TcpStream;

pub(crate) use options::Options;

use std::io;

/// tokio counts hop limits in `u32`, IP in `u8`.
pub(super) fn hop_limit(ttl: u32) -> io::Result<u8> {
    u8::try_from(ttl).ok().filter(|ttl| *ttl > 0).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("a hop limit is 1 to 255, and {ttl} is not"))
    })
}

//! Close at once: what `hayase bench churn` asks a server for.

use std::future::{Ready, ready};
use std::io;

use hayase::net::TcpStream;

/// Closes first: TIME_WAIT is the server's, and the client's port is free again (RFC 9293 §3.6.1).
pub(crate) fn close(stream: TcpStream) -> Ready<io::Result<()>> {
    drop(stream);
    ready(Ok(()))
}

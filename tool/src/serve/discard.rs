//! Throws away what comes in (RFC 863).

use std::io;

use hayase::net::TcpStream;

/// Reads until the end of the stream.
pub(crate) async fn discard(mut stream: TcpStream) -> io::Result<()> {
    discard_from(&mut stream).await
}

/// Reads until the end of the stream, without a copy.
pub(super) async fn discard_from(stream: &mut TcpStream) -> io::Result<()> {
    while !stream.read_lease(usize::MAX).await?.is_empty() {}
    Ok(())
}

//! Sends back what comes in (RFC 862).

use std::io;

use hayase::net::TcpStream;

/// Up to here, a copy is cheaper than to hold the received frame until the peer has acknowledged its bytes; and a peer that
/// acknowledges nothing cannot make us hold many large frames for few bytes.
const COPY_LEN_MAX: usize = 2048;

/// Echoes until the end of the stream, and then ends the other direction. Between two pieces of data, it holds no buffer.
pub(crate) async fn echo(mut stream: TcpStream) -> io::Result<()> {
    loop {
        let lease = stream.read_lease(usize::MAX).await?;
        match lease.len() {
            0 => return stream.shutdown().await,
            1..=COPY_LEN_MAX => stream.write_all(&lease).await?,
            _ => stream.write_owned(lease).await?,
        }
    }
}

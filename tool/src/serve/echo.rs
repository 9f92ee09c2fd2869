//! Sends back what comes in (RFC 862).

use std::io;

use hayase::net::TcpStream;

/// Messages that are shorter are read into a buffer of the task's own, which is cheaper than to borrow the received frame.
const SHORT_LEN: usize = 64;

/// Up to here, a copy is cheaper than to hold the received frame until the peer has acknowledged its bytes; and a peer that
/// acknowledges nothing cannot make us hold many large frames for few bytes.
const COPY_LEN_MAX: usize = 2048;

/// Echoes until the end of the stream, and then ends the other direction. Between two pieces of data, it holds no buffer but
/// a few bytes.
pub(crate) async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut short = [0; SHORT_LEN];
    loop {
        let len = stream.read(&mut short).await?;
        if len == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&short[..len]).await?;
        if len == SHORT_LEN {
            echo_what_is_there(&mut stream).await?;
        }
    }
}

/// Echoes what else has come by now, without a copy where that is worth it. An end is left to the next read.
async fn echo_what_is_there(stream: &mut TcpStream) -> io::Result<()> {
    loop {
        let lease = match stream.try_read_lease(usize::MAX) {
            Ok(lease) => lease,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        match lease.len() {
            0 => return Ok(()),
            1..=COPY_LEN_MAX => stream.write_all(&lease).await?,
            _ => stream.write_owned(lease).await?,
        }
    }
}

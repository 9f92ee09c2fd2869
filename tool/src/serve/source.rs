//! Sends the pattern for as long as somebody takes it (RFC 864, with other characters).

use std::io;

use hayase::net::TcpStream;

use crate::pattern;

/// Sends until the peer closes. What it says is thrown away, so that it need not wait to be heard before it reads.
pub(super) async fn send(stream: TcpStream) -> io::Result<()> {
    let (mut reader, mut writer) = stream.into_split();
    drop(hayase::spawn(async move {
        while reader.read_lease(usize::MAX).await.is_ok_and(|lease| !lease.is_empty()) {}
    }));
    let mut offset = 0;
    loop {
        let bytes = pattern::stretch(offset, u64::MAX);
        writer.write_owned(bytes).await?;
        offset += bytes.len() as u64;
    }
}

//! The I/O traits of futures and of tokio.

use super::{connected, pattern};
use crate::Host;

everywhere! {
    async fn futures_traits(_client: Host, server: Host) {
        use futures_util::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};

        let (stream, peer) = connected(server).await;
        let (mut read, mut write) = (peer.into_buf_read(), stream);
        let data = pattern(10_000);
        AsyncWriteExt::write_all(&mut write, b"line\n").await.unwrap();
        AsyncWriteExt::write_all(&mut write, &data).await.unwrap();
        AsyncWriteExt::close(&mut write).await.unwrap();
        let mut line = String::new();
        AsyncBufReadExt::read_line(&mut read, &mut line).await.unwrap();
        let mut received = Vec::new();
        AsyncReadExt::read_to_end(&mut read, &mut received).await.unwrap();
        assert_eq!(line, "line\n");
        assert!(received == data);
    }

    #[cfg(feature = "tokio")]
    async fn tokio_traits(_client: Host, server: Host) {
        use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};

        let (stream, peer) = connected(server).await;
        let (_, mut write) = stream.into_split();
        let (mut read, _write) = peer.into_split();
        let data = pattern(10_000);
        AsyncWriteExt::write_all(&mut write, &data).await.unwrap();
        AsyncWriteExt::write_all(&mut write, b"line\nrest").await.unwrap();
        AsyncWriteExt::shutdown(&mut write).await.unwrap();
        let mut received = bytes::BytesMut::new();
        while received.len() < data.len() {
            let mut part = (&mut read).take((data.len() - received.len()) as u64);
            AsyncReadExt::read_buf(&mut part, &mut received).await.unwrap();
        }
        assert!(received == data);
        let mut lines = crate::io::BufReader::new(read).lines();
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("line"));
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("rest"));
        assert_eq!(lines.next_line().await.unwrap(), None);
    }
}

//! Leases, owned sends, and reading through frames.

use bytes::{Buf, Bytes};
use futures_util::future;

use super::{MORE_THAN_BUFFERS, connected, pattern};
use crate::Host;
use crate::io::{BufReader, Payload};
use crate::net::TcpStream;

everywhere! {
    async fn leases_bring_every_byte_once(_client: Host, server: Host) {
        let (mut stream, mut peer) = connected(server).await;
        let data = pattern(300_000);
        let copy = data.clone();
        crate::spawn(async move {
            stream.write_all(&copy).await.unwrap();
        });
        let mut received = Vec::new();
        loop {
            let mut lease = peer.read_lease(1000).await.unwrap();
            if lease.is_empty() {
                break;
            }
            assert!(lease.len() <= 1000);
            let front = lease.split_to(lease.len() / 2);
            received.extend_from_slice(&front);
            received.extend_from_slice(lease.chunk());
        }
        assert!(received == data);
    }

    async fn owned_bytes_arrive_and_are_let_go(_client: Host, server: Host) {
        let (mut stream, mut peer) = connected(server).await;
        let data = Bytes::from(pattern(200_000));
        let copy = data.clone();
        let writer = crate::spawn(async move {
            stream.write_owned(copy).await.unwrap();
            stream.write_owned("the end").await.unwrap();
            stream
        });
        let mut received = vec![0; data.len() + 7];
        peer.read_exact(&mut received).await.unwrap();
        assert!(received[..data.len()] == data && received.ends_with(b"the end"));
        let stream = writer.await.unwrap();
        while !stream.is_flushed().unwrap() {
            crate::task::yield_now().await;
        }
        assert!(data.is_unique(), "acknowledged bytes are not held any longer");
    }

    async fn a_proxy_passes_frames_on(_client: Host, server: Host) {
        let (mut source, mut from) = connected(server).await;
        let (mut to, mut sink) = connected(server).await;
        let data = pattern(500_000);
        let copy = data.clone();
        crate::spawn(async move { source.write_all(&copy).await.unwrap() });
        server.spawn(async move {
            loop {
                let lease = from.read_lease(usize::MAX).await.unwrap();
                if lease.is_empty() {
                    break;
                }
                to.write_owned(lease).await.unwrap();
            }
        });
        let mut received = Vec::new();
        sink.read_to_end(&mut received).await.unwrap();
        assert!(received == data);
    }

    async fn a_payload_remembers_what_is_left(_client: Host, server: Host) {
        let (stream, mut peer) = connected(server).await;
        let data = pattern(MORE_THAN_BUFFERS);
        let mut payload = Payload::from(data.clone());
        while stream.try_write_owned(&mut payload).is_ok_and(|len| len > 0) {}
        let left = payload.len();
        assert!(left > 0 && left < data.len());
        let send = async move {
            while !payload.is_empty() {
                stream.writable().await.unwrap();
                let _ = stream.try_write_owned(&mut payload);
            }
        };
        let mut received = Vec::new();
        future::join(send, peer.read_to_end(&mut received)).await.1.unwrap();
        assert!(received == data);
    }
}

async fn lines(mut reader: BufReader<TcpStream>) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line).await.unwrap() == 0 {
            return lines;
        }
        lines.push(String::from_utf8(line).unwrap());
    }
}

everywhere! {
    async fn lines_are_read_from_frames(_client: Host, server: Host) {
        let (mut stream, peer) = connected(server).await;
        stream.set_nodelay(true).unwrap();
        let reader = crate::spawn(lines(peer.into_buf_read()));
        for piece in ["first\nsec", "ond\n", "\nlast"] {
            stream.write_all(piece.as_bytes()).await.unwrap();
            crate::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        drop(stream);
        assert_eq!(reader.await.unwrap(), ["first\n", "second\n", "\n", "last"]);
    }
}

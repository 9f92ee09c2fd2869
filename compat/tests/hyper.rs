//! hyper, both ends, on a wire between two hosts.

mod common;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{AsyncRead, AsyncWrite};
use hayase::Host;
use hayase::net::TcpStream;
use hayase_compat::{FuturesIo, HayaseExecutor, HayaseIo, HayaseTimer};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper::{Response, Version};

use common::{SERVER, body, echo, listen, request};

#[hayase::test]
async fn http1_keeps_connections_and_bytes(_client: Host, server: Host) {
    let listener = listen(server).await;
    drop(server.spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let builder = hyper::server::conn::http1::Builder::new();
        builder.serve_connection(HayaseIo::new(stream), service_fn(echo)).await.unwrap();
    }));
    let stream = TcpStream::connect(SERVER).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(HayaseIo::new(stream)).await.unwrap();
    drop(hayase::spawn(connection));
    for len in [0, 1, 1460, 100_000, 1_000_000] {
        let sent = body(len);
        let response = sender.send_request(request(&sent)).await.unwrap();
        assert_eq!(response.version(), Version::HTTP_11);
        let received = response.into_body().collect().await.unwrap().to_bytes();
        assert!(received == sent, "{len} bytes");
    }
}

/// HTTP/2 has tasks of its own, on the executor, and writes and reads at once.
#[hayase::test]
async fn http2_runs_its_tasks_on_the_executor(_client: Host, server: Host) {
    let listener = listen(server).await;
    drop(server.spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let builder = hyper::server::conn::http2::Builder::new(HayaseExecutor);
        builder.serve_connection(FuturesIo::new(stream), service_fn(echo)).await
    }));
    let stream = TcpStream::connect(SERVER).await.unwrap();
    let io = HayaseIo::new(stream);
    let (sender, connection) = hyper::client::conn::http2::handshake(HayaseExecutor, io).await.unwrap();
    drop(hayase::spawn(connection));
    let tasks: Vec<_> = (0..20)
        .map(|number| {
            let mut sender = sender.clone();
            hayase::spawn(async move {
                let sent = body(number * 5000);
                let response = sender.send_request(request(&sent)).await.unwrap();
                assert_eq!(response.version(), Version::HTTP_2);
                response.into_body().collect().await.unwrap().to_bytes() == sent
            })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap());
    }
}

/// A stream that takes one slice at a time, as most with the traits of `futures::io` do.
struct OneSlice {
    request: &'static [u8],
    writes: Arc<AtomicUsize>,
}

impl AsyncRead for OneSlice {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<std::io::Result<usize>> {
        if self.request.is_empty() {
            // Not the end: the peer waits for its answer.
            return Poll::Pending;
        }
        let (now, later) = self.request.split_at(buf.len().min(self.request.len()));
        buf[..now.len()].copy_from_slice(now);
        self.request = later;
        Poll::Ready(Ok(now.len()))
    }
}

impl AsyncWrite for OneSlice {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[hayase::test]
async fn a_head_and_its_body_are_one_write(_client: Host, _server: Host) {
    let writes = Arc::new(AtomicUsize::new(0));
    let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let stream = OneSlice { request, writes: Arc::clone(&writes) };
    let hello = service_fn(|_| async { Ok::<_, Infallible>(Response::new(Full::new(body(500)))) });
    let builder = hyper::server::conn::http1::Builder::new();
    builder.serve_connection(FuturesIo::new(stream), hello).await.unwrap();
    assert_eq!(writes.load(Ordering::Relaxed), 1);
}

/// Whoever looks at a stream before hyper gets it loses nothing.
#[hayase::test]
async fn what_was_looked_at_is_served(_client: Host, server: Host) {
    let listener = listen(server).await;
    let served = server.spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut reader = stream.into_buf_read();
        let is_post = reader.fill_buf().await.unwrap().starts_with(b"POST ");
        let builder = hyper::server::conn::http1::Builder::new();
        builder.serve_connection(HayaseIo::new(reader), service_fn(echo)).await.unwrap();
        is_post
    });
    let stream = TcpStream::connect(SERVER).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(HayaseIo::new(stream)).await.unwrap();
    drop(hayase::spawn(connection));
    for len in [500, 100_000] {
        let sent = body(len);
        let response = sender.send_request(request(&sent)).await.unwrap();
        assert!(response.into_body().collect().await.unwrap().to_bytes() == sent, "{len} bytes");
    }
    drop(sender);
    assert!(served.await.unwrap());
}

#[hayase::test]
async fn a_silent_client_is_hung_up_on(_client: Host, server: Host) {
    let listener = listen(server).await;
    let served = server.spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.timer(HayaseTimer).header_read_timeout(Duration::from_millis(20));
        builder.serve_connection(HayaseIo::new(stream), service_fn(echo)).await
    });
    let mut stream = TcpStream::connect(SERVER).await.unwrap();
    stream.write_all(b"GET / HT").await.unwrap();
    let error = served.await.unwrap().unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap(), 0);
}

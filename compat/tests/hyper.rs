//! hyper, both ends, on a wire between two hosts.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use hayase::Host;
use hayase::net::{TcpListener, TcpStream};
use hayase_compat::{FuturesIo, HayaseExecutor, HayaseIo, HayaseTimer};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, Version};

const SERVER: &str = "10.7.0.2:80";

/// Answers with what was asked.
async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes);
    Ok(Response::new(Full::new(body.unwrap_or_default())))
}

fn body(len: usize) -> Bytes {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

fn request(body: &Bytes) -> Request<Full<Bytes>> {
    Request::post("http://10.7.0.2/").header("host", "10.7.0.2").body(Full::new(body.clone())).unwrap()
}

async fn listen(server: Host) -> TcpListener {
    server.scope(TcpListener::bind(SERVER)).await.unwrap()
}

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

//! hyper-util's pooled client, on a wire between two hosts.

mod common;

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use hayase::Host;
use hayase_compat::{HayaseConnector, HayaseExecutor, HayaseIo, HayaseTimer};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;

use common::{body, echo, listen, request};

/// Serves echoes, and counts connections.
async fn serve(server: Host) -> Rc<Cell<usize>> {
    let (listener, count) = (listen(server).await, Rc::new(Cell::new(0)));
    let counted = Rc::clone(&count);
    drop(server.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.set(counted.get() + 1);
            let builder = hyper::server::conn::http1::Builder::new();
            drop(hayase::spawn(builder.serve_connection(HayaseIo::new(stream), service_fn(echo))));
        }
    }));
    count
}

fn client() -> Client<HayaseConnector, Full<Bytes>> {
    Client::builder(HayaseExecutor).timer(HayaseTimer).pool_timer(HayaseTimer).build(HayaseConnector)
}

#[hayase::test]
async fn the_pooled_client_uses_a_connection_again(_client: Host, server: Host) {
    let count = serve(server).await;
    let client = client();
    for len in [0, 1, 100_000] {
        let sent = body(len);
        let response = client.request(request(&sent)).await.unwrap();
        let received = response.into_body().collect().await.unwrap().to_bytes();
        assert!(received == sent, "{len} bytes");
        // It is put back by a task of the client's.
        hayase::task::yield_now().await;
    }
    assert_eq!(count.get(), 1);
}

#[hayase::test]
async fn what_cannot_be_connected_is_an_error(_client: Host, _server: Host) {
    let client = client();
    for uri in ["http://10.7.0.2:81/", "http://example.com/"] {
        let error = client.get(uri.parse().unwrap()).await.unwrap_err();
        assert!(error.is_connect(), "{uri}: {error:?}");
    }
}

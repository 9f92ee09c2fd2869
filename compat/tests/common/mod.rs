//! What hyper's tests have in common: a service that answers with what was asked, and how it is reached.

use std::convert::Infallible;

use bytes::Bytes;
use hayase::Host;
use hayase::net::TcpListener;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};

pub(crate) const SERVER: &str = "10.7.0.2:80";

/// Answers with what was asked.
pub(crate) async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes);
    Ok(Response::new(Full::new(body.unwrap_or_default())))
}

pub(crate) fn body(len: usize) -> Bytes {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

pub(crate) fn request(body: &Bytes) -> Request<Full<Bytes>> {
    Request::post("http://10.7.0.2/").header("host", "10.7.0.2").body(Full::new(body.clone())).unwrap()
}

pub(crate) async fn listen(server: Host) -> TcpListener {
    server.scope(TcpListener::bind(SERVER)).await.unwrap()
}

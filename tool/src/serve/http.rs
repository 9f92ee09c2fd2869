//! HTTP/1.1, by hyper: `/` for a greeting, `/bytes/N` for N bytes of the pattern.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hayase::net::TcpStream;
use hayase_compat::{HayaseIo, HayaseTimer};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};

use crate::pattern;

/// Serves one connection for as long as its peer keeps it.
pub(super) async fn serve(stream: TcpStream) -> io::Result<()> {
    let service = service_fn(async |request| Ok::<_, Infallible>(respond(&request)));
    // With a timer, a peer that is slow with its headers is sent away.
    let server = http1::Builder::new().timer(HayaseTimer).serve_connection(HayaseIo::new(stream), service);
    server.await.map_err(io::Error::other)
}

fn respond(request: &Request<Incoming>) -> Response<Content> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/" => text(StatusCode::OK, "Hello from Hayase\n"),
        path => match path.strip_prefix("/bytes/").and_then(|len| len.parse().ok()) {
            Some(len) => {
                respond_with(StatusCode::OK, Content::Pattern { offset: 0, len }, "application/octet-stream")
            }
            None => text(StatusCode::NOT_FOUND, "there are / and /bytes/N\n"),
        },
    }
}

fn text(status: StatusCode, text: &'static str) -> Response<Content> {
    respond_with(status, Content::Text(text), "text/plain")
}

fn respond_with(status: StatusCode, content: Content, kind: &'static str) -> Response<Content> {
    let mut response = Response::new(content);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// The body of a response: static bytes in every case, so nothing is copied or held.
#[derive(Debug)]
enum Content {
    Text(&'static str),
    Pattern { offset: u64, len: u64 },
}

impl Content {
    fn len(&self) -> u64 {
        match self {
            Content::Text(text) => text.len() as u64,
            Content::Pattern { offset, len } => len - offset,
        }
    }

    fn take(&mut self) -> &'static [u8] {
        match self {
            Content::Text(text) => std::mem::take(text).as_bytes(),
            Content::Pattern { offset, len } => {
                let bytes = pattern::stretch(*offset, *len - *offset);
                *offset += bytes.len() as u64;
                bytes
            }
        }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = self.take();
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(Bytes::from_static(bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        self.len() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_as_long_as_it_says() {
        for (mut content, len) in [
            (Content::Text("Hello"), 5),
            (Content::Pattern { offset: 0, len: 0 }, 0),
            (Content::Pattern { offset: 0, len: 200_000 }, 200_000),
        ] {
            assert_eq!(content.len(), len);
            let mut taken = 0;
            while !content.is_end_stream() {
                taken += content.take().len() as u64;
                assert_eq!(content.size_hint().exact(), Some(len - taken));
            }
            assert_eq!(taken, len);
        }
    }
}

//! hyper-util's pooled client.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hayase::net::TcpStream;
use hyper::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use tower_service::Service;

use crate::HayaseIo;

impl Connection for HayaseIo<TcpStream> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

/// Connects to the host and port of a URI, without Nagle's delay, for hyper-util's pooled client and for tonic's channels
/// (`Endpoint::connect_with_connector`). Where the URI names no port it is 80, and 443 with `https`; what speaks TLS wraps it.
///
/// Names are not resolved: a host is an address or `localhost`.
///
/// ```no_run
/// use bytes::Bytes;
/// use hayase_compat::{HayaseConnector, HayaseExecutor, HayaseTimer};
/// use http_body_util::{BodyExt, Empty};
/// use hyper_util::client::legacy::Client;
///
/// # async fn get() -> Result<(), Box<dyn std::error::Error>> {
/// let client: Client<_, Empty<Bytes>> =
///     Client::builder(HayaseExecutor).timer(HayaseTimer).pool_timer(HayaseTimer).build(HayaseConnector);
/// let response = client.get("http://10.7.0.1:8080/".parse()?).await?;
/// println!("{:?}", response.into_body().collect().await?.to_bytes());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct HayaseConnector;

impl Service<Uri> for HayaseConnector {
    type Response = HayaseIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<HayaseIo<TcpStream>>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(async move {
            let stream = TcpStream::connect(target(&uri)?).await?;
            stream.set_nodelay(true)?;
            Ok(HayaseIo::new(stream))
        })
    }
}

/// Host and port of a URI.
fn target(uri: &Uri) -> io::Result<(&str, u16)> {
    let Some(host) = uri.host() else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("`{uri}` names no host to connect to"),
        ));
    };
    let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    // IPv6 addresses are in brackets there.
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Ok((host, uri.port_u16().unwrap_or(default)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_a_host_and_a_port() {
        for (uri, expected) in [
            ("http://10.7.0.2/a", ("10.7.0.2", 80)),
            ("https://10.7.0.2", ("10.7.0.2", 443)),
            ("http://[fd00:7::2]:8080/", ("fd00:7::2", 8080)),
            ("http://localhost:1", ("localhost", 1)),
        ] {
            assert_eq!(target(&uri.parse().unwrap()).unwrap(), expected);
        }
        let error = target(&Uri::from_static("/path")).unwrap_err();
        assert!(
            error.kind() == io::ErrorKind::InvalidInput && error.to_string().contains("/path"),
            "{error}"
        );
    }
}

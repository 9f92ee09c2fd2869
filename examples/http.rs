//! An HTTP server: hyper, unchanged, on Hayase's own TCP/IP stack.
//!
//! With the right to open a TAP device (as root, or under `unshare -rn`) it serves the machine it runs on:
//!
//! ```text
//! $ sudo cargo run --release --example http &
//! $ curl http://10.7.0.2:8080/
//! ```
//!
//! Without, it says so, and a client in the same process fetches a page over the in-memory wire.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};

use hayase::net::{TcpListener, TcpStream};
use hayase::{Cidr, Host};
use hayase_compat::{HayaseIo, HayaseTimer};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};

const PORT: u16 = 8080;

#[hayase::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let host = Host::current()?;
    let listener = TcpListener::bind(("::", PORT)).await?;
    let Some(peer) = host.peer() else {
        println!("serving; try:");
        for addr in host.addresses()?.iter().map(Cidr::addr).filter(|addr| !is_link_local(addr)) {
            println!("  curl http://{}/", SocketAddr::new(addr, PORT));
        }
        return Ok(serve(listener).await?);
    };
    hayase::spawn(serve(listener));
    println!("the peer on the wire fetches http://10.7.0.2:{PORT}/");
    peer.scope(fetch(SocketAddr::from(([10, 7, 0, 2], PORT)))).await
}

/// Such an address needs the name of an interface beside it.
fn is_link_local(addr: &IpAddr) -> bool {
    matches!(addr, IpAddr::V6(addr) if addr.is_unicast_link_local())
}

async fn serve(listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, peer) = listener.accept().await?;
        hayase::spawn(async move {
            // If that fails, the peer has gone already, which is no reason to serve nobody else.
            let _ = stream.set_nodelay(true);
            let service = service_fn(move |request| answer(request, peer));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(HayaseTimer)
                .serve_connection(HayaseIo::new(stream), service);
            if let Err(error) = connection.await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

async fn answer(request: Request<Incoming>, peer: SocketAddr) -> Result<Response<Full<Bytes>>, Infallible> {
    let text = format!("Hello, {}. This is {} over Hayase's TCP.\n", peer.ip(), request.uri().path());
    Ok(Response::new(Full::from(text)))
}

async fn fetch(server: SocketAddr) -> Result<(), Box<dyn Error>> {
    let stream = TcpStream::connect(server).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(HayaseIo::new(stream)).await?;
    hayase::spawn(connection);
    let request = Request::get("/").header("host", server.to_string()).body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    println!("{:?} {}", response.version(), response.status());
    let body = response.into_body().collect().await?.to_bytes();
    print!("{}", String::from_utf8_lossy(&body));
    Ok(())
}

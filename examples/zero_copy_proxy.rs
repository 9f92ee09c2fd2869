//! A TCP proxy that copies no byte: what it read is sent on in the frame that brought it.
//!
//! ```text
//! $ cargo run --release --example zero_copy_proxy 10.7.0.1:80 &      # from 10.7.0.2:8080 to there
//! $ curl http://10.7.0.2:8080/
//! ```
//!
//! Without an argument, on the in-memory wire, origin and client are tasks of the same process.

use std::env;
use std::io;
use std::net::SocketAddr;

use hayase::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use hayase::net::{TcpListener, TcpStream};
use hayase::{Host, WireSpec};

/// What one lease may bring: as much as the frame holds.
const LEASE_LEN_MAX: usize = usize::MAX;

fn main() -> io::Result<()> {
    let origin =
        env::args().nth(1).map(|arg| arg.parse::<SocketAddr>().map_err(io::Error::other)).transpose()?;
    match origin {
        Some(origin) => hayase::Runtime::new()?.block_on(proxy(origin)),
        None => {
            let wire = hayase::DeviceSpec::Wire(WireSpec::default());
            hayase::Runtime::builder().device(wire).build()?.block_on(demonstrate())
        }
    }
}

async fn proxy(origin: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind("[::]:8080").await?;
    println!("passing {} on to {origin}", listener.local_addr()?);
    loop {
        let (client, peer) = listener.accept().await?;
        hayase::spawn(async move {
            if let Err(error) = connect(client, origin).await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

/// Joins a client to the origin until both directions have ended.
async fn connect(client: TcpStream, origin: SocketAddr) -> io::Result<()> {
    let (client_read, client_write) = client.into_split();
    let (origin_read, origin_write) = TcpStream::connect(origin).await?.into_split();
    let there = hayase::spawn(pass(client_read, origin_write));
    pass(origin_read, client_write).await?;
    there.await?
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
    loop {
        let lease = from.read_lease(LEASE_LEN_MAX).await?;
        if lease.is_empty() {
            return to.shutdown().await;
        }
        to.write_owned(lease).await?;
    }
}

/// Origin and client on the other end of the wire.
async fn demonstrate() -> io::Result<()> {
    let peer = Host::current()?.peer().ok_or_else(|| io::Error::other("a wire has two ends"))?;
    let origin = peer.scope(TcpListener::bind("10.7.0.1:80")).await?;
    peer.spawn(async move {
        let (mut stream, _) = origin.accept().await?;
        let mut question = Vec::new();
        stream.read_to_end(&mut question).await?;
        stream.write_all(&question.to_ascii_uppercase()).await
    });
    hayase::spawn(proxy(SocketAddr::from(([10, 7, 0, 1], 80))));
    let client = async {
        let mut stream = TcpStream::connect("10.7.0.2:8080").await?;
        stream.write_all(b"through the proxy and back").await?;
        stream.shutdown().await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        println!("{}", String::from_utf8_lossy(&answer));
        Ok(())
    };
    peer.scope(client).await
}

//! The facade as its users see it, on a wire between two hosts.

mod cancel;
mod offloads;
mod reentry;
mod runtime;
mod tcp;
mod threads;
mod traits;
mod udp;
mod zero_copy;

use futures_util::future;

use crate::Host;
use crate::net::{TcpListener, TcpStream};

/// The server's address on a wire.
const SERVER: &str = "10.7.0.2";

/// A connection to `server`: the caller's end and the server's.
async fn connected(server: Host) -> (TcpStream, TcpStream) {
    let listener = server.scope(TcpListener::bind("0.0.0.0:0")).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (stream, accepted) = future::join(TcpStream::connect((SERVER, port)), listener.accept()).await;
    (stream.unwrap(), accepted.unwrap().0)
}

/// Bytes that tell where they belong.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

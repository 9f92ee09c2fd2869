//! UDP echo. On TAP it serves; on the in-memory wire, where nobody else can come, it asks itself.
//!
//! ```text
//! $ cargo run --release --example udp_echo &
//! $ echo hello | nc -u 10.7.0.2 7
//! ```

use std::io;

use hayase::Host;
use hayase::net::UdpSocket;

#[hayase::main]
async fn main() -> io::Result<()> {
    let socket = UdpSocket::bind("[::]:7").await?;
    println!("listening on {}", socket.local_addr()?);
    match Host::current()?.peer() {
        None => serve(socket).await,
        Some(peer) => {
            hayase::spawn(serve(socket));
            peer.scope(ask("10.7.0.2:7")).await
        }
    }
}

async fn serve(socket: UdpSocket) -> io::Result<()> {
    let mut buf = vec![0; 65_536];
    loop {
        let (len, peer) = socket.recv_from(&mut buf).await?;
        // A peer that cannot be answered is no reason to stop.
        let _ = socket.send_to(&buf[..len], peer).await;
    }
}

async fn ask(server: &str) -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0").await?;
    socket.connect(server).await?;
    socket.send(b"hello").await?;
    let mut buf = [0; 64];
    let len = socket.recv(&mut buf).await?;
    println!("{server} says {}", String::from_utf8_lossy(&buf[..len]));
    Ok(())
}

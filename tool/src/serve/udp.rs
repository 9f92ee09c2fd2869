//! Sends datagrams back.

use std::io;
use std::net::SocketAddr;

use hayase::net::UdpSocket;

use crate::failure::{Attempt, Result};

/// The longest payload of an IP packet.
const DATAGRAM_LEN_MAX: usize = 65_535;

/// Starts an echo for datagrams at one address. One socket for each, so that the reply comes from where the request went.
pub(super) async fn start(addr: SocketAddr) -> Result {
    let socket = UdpSocket::bind(addr).await.attempt(|| format!("cannot receive datagrams at {addr}"))?;
    drop(hayase::spawn(async move {
        let mut buf = vec![0; DATAGRAM_LEN_MAX];
        loop {
            // An error is the network's answer to an earlier reply, and no reason to stop.
            if let Err(error) = echo(&socket, &mut buf).await
                && is_final(&error)
            {
                return eprintln!("hayase: no more datagrams at {addr}: {error}");
            }
        }
    }));
    Ok(())
}

async fn echo(socket: &UdpSocket, buf: &mut [u8]) -> io::Result<usize> {
    let (len, peer) = socket.recv_from(buf).await?;
    socket.send_to(&buf[..len], peer).await
}

/// Whether the socket itself is gone.
fn is_final(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotConnected
}

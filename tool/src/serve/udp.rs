//! Sends datagrams back.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use hayase::net::UdpSocket;
use hayase::{Host, time};

use super::is_link_local;
use crate::failure::{Failure, Result};
use crate::say::note;

/// The longest payload of an IP packet.
const DATAGRAM_LEN_MAX: usize = 65_535;

/// How often it is looked for new addresses.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// Starts an echo for datagrams at each address of the current host, on one port; and at each that comes later, if some may.
pub(super) async fn start(port: u16, may_get_more: bool) -> Result {
    let mut echoes = Echoes { port, ..Echoes::default() };
    echoes.start().await?;
    if echoes.started.is_empty() {
        return Err(Failure::Error(format!("cannot receive datagrams on port {port}")));
    }
    if may_get_more {
        drop(hayase::spawn(async move {
            // If the host is gone, so is this.
            while echoes.start().await.is_ok() {
                time::sleep(LOOK_PERIOD).await;
            }
        }));
    }
    Ok(())
}

/// One socket for each address, so that the reply comes from where the request went.
#[derive(Debug, Default)]
struct Echoes {
    port: u16,
    started: HashSet<SocketAddr>,
    /// Where it cannot be, which was said.
    refused: HashSet<SocketAddr>,
}

impl Echoes {
    /// Starts those that are not there yet. Nothing that is wrong with one address ends what is well at the others.
    async fn start(&mut self) -> Result {
        for addr in places(Host::current()?, self.port)? {
            if self.started.contains(&addr) {
                continue;
            }
            match UdpSocket::bind(addr).await {
                Ok(socket) => {
                    self.started.insert(addr);
                    drop(hayase::spawn(echo(socket, addr)));
                }
                // The operating system wants to be told of which link it is, and does not tell which ones have it.
                Err(_) if is_link_local(&addr.ip()) => {}
                Err(error) if self.refused.insert(addr) => {
                    note(format_args!("hayase: cannot receive datagrams at {addr}: {error}"));
                }
                Err(_) => {}
            }
        }
        Ok(())
    }
}

/// The addresses, with the interface of each that is link-local where there are several: its number, from 1.
fn places(host: Host, port: u16) -> io::Result<Vec<SocketAddr>> {
    let interfaces = host.interfaces()?;
    let mut places = Vec::new();
    for (number, interface) in (1..).zip(&interfaces) {
        let scope = if interfaces.len() > 1 { number } else { 0 };
        places.extend(interface.addresses()?.into_iter().map(|cidr| match cidr.addr() {
            IpAddr::V6(addr) if addr.is_unicast_link_local() => {
                SocketAddrV6::new(addr, port, 0, scope).into()
            }
            addr => SocketAddr::new(addr, port),
        }));
    }
    Ok(places)
}

async fn echo(socket: UdpSocket, addr: SocketAddr) {
    let mut buf = vec![0; DATAGRAM_LEN_MAX];
    loop {
        // An error is the network's answer to an earlier reply, and no reason to stop.
        if let Err(error) = echo_one(&socket, &mut buf).await
            && is_final(&error)
        {
            return note(format_args!("hayase: no more datagrams at {addr}: {error}"));
        }
    }
}

async fn echo_one(socket: &UdpSocket, buf: &mut [u8]) -> io::Result<usize> {
    let (len, peer) = socket.recv_from(buf).await?;
    socket.send_to(&buf[..len], peer).await
}

/// Whether the socket itself is gone.
fn is_final(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotConnected
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: u16 = 7;
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Asks again until there is an answer, and checks where it comes from.
    async fn expect_echo(client: Host, to: SocketAddr) {
        let wildcard = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = client.scope(UdpSocket::bind(wildcard)).await.unwrap();
        let mut buf = [0; 16];
        let asking = async {
            loop {
                socket.send_to(b"datagram", to).await.unwrap();
                // Where nobody is, an ICMP error comes back.
                if let Ok(Ok(answer)) = time::timeout(LOOK_PERIOD / 10, socket.recv_from(&mut buf)).await {
                    return answer;
                }
                time::sleep(LOOK_PERIOD / 10).await;
            }
        };
        let answer = time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{to} does not answer"));
        assert_eq!(answer, (8, to));
    }

    #[hayase::test]
    async fn every_address_echoes_and_so_do_those_that_come_later(client: Host, server: Host) {
        server.scope(start(PORT, true)).await.unwrap();
        let places = places(server, PORT).unwrap();
        assert!(places.iter().any(|addr| is_link_local(&addr.ip())), "{places:?}");
        for addr in places {
            expect_echo(client, addr).await;
        }
        for later in ["10.7.0.77/24", "fd00:7::77/64"] {
            let later: hayase::Cidr = later.parse().unwrap();
            server.add_address(later).unwrap();
            expect_echo(client, SocketAddr::new(later.addr(), PORT)).await;
        }
    }

    #[hayase::test]
    async fn one_address_that_is_taken_leaves_the_others(client: Host, server: Host) {
        let _taken = server.scope(UdpSocket::bind(("10.7.0.2", PORT))).await.unwrap();
        server.scope(start(PORT, false)).await.unwrap();
        expect_echo(client, "[fd00:7::2]:7".parse().unwrap()).await;
    }
}

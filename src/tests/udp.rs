//! Datagrams, and ICMP echo.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future;
use hayase_device::conformance::skip;

use super::{address, addresses, closed_port, pattern};
use crate::Host;
use crate::net::{EchoSocket, UdpSocket};
use crate::time::{sleep, timeout};

everywhere! {
    async fn datagrams_go_both_ways(_client: Host, server: Host) {
        for addr in addresses(server) {
            let everywhere = if addr.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = server.scope(UdpSocket::bind(everywhere)).await.unwrap();
            let target = SocketAddr::new(addr, socket.local_addr().unwrap().port());
            let client = UdpSocket::bind(everywhere).await.unwrap();
            client.connect(target).await.unwrap();
            assert_eq!(client.peer_addr().unwrap(), target);
            let sent = pattern(1200);
            assert_eq!(client.send(&sent).await.unwrap(), 1200);
            let mut buf = [0; 2048];
            let mut peeked = [0; 4];
            let sender = socket.peek_sender().await.unwrap();
            assert_eq!(socket.try_peek_sender().unwrap(), sender);
            assert_eq!(poll_fn(|cx| socket.poll_peek_sender(cx)).await.unwrap(), sender);
            assert_eq!(socket.try_peek(&mut [0; 2]).unwrap(), 2);
            assert_eq!(poll_fn(|cx| socket.poll_peek(cx, &mut [0; 3])).await.unwrap(), 3);
            assert_eq!(socket.peek_from(&mut peeked).await.unwrap(), (4, sender));
            let (len, peer) = socket.recv_from(&mut buf).await.unwrap();
            assert_eq!((&buf[..len], &peeked[..], peer), (&sent[..], &sent[..4], sender));
            assert_eq!(socket.try_peek(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
            socket.send_to(b"short", peer).await.unwrap();
            assert_eq!(client.recv(&mut buf[..3]).await.unwrap(), 3, "what does not fit is cut");
            assert_eq!(client.try_recv(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
        }
    }

    /// To nobody, on a wire not even at the link layer: no device ever says that it is enough.
    async fn whoever_sends_without_end_lets_others_run(_client: Host, server: Host) {
        let nobody = if server.peer().is_some() { "10.7.0.77".parse().unwrap() } else { address(server) };
        let socket = UdpSocket::bind("0.0.0.0:0").await.unwrap();
        let greedy = crate::spawn(async move {
            loop {
                let _ = socket.send_to(b"x", (nobody, 9)).await;
            }
        });
        let modest = async {
            let socket = UdpSocket::bind("0.0.0.0:0").await.unwrap();
            for _ in 0..20 {
                sleep(Duration::from_millis(1)).await;
                let _ = socket.send_to(b"y", (nobody, 9)).await;
            }
        };
        timeout(Duration::from_secs(5), modest).await.expect("others have their turns");
        greedy.abort();
    }

    async fn a_socket_of_one_ip_version_sends_to_no_other(_client: Host, _server: Host) {
        let socket = UdpSocket::bind("0.0.0.0:0").await.unwrap();
        assert!(socket.connect("[fd00::77]:9").await.is_err());
        assert!(socket.send_to(b"x", "[fd00::77]:9").await.is_err());
    }

    async fn no_address_in_particular_is_the_host_itself(client: Host, _server: Host) {
        let any = |socket: &UdpSocket, addr: &str| SocketAddr::new(addr.parse().unwrap(), socket.local_addr().unwrap().port());
        let mut buf = [0; 8];
        for addr in addresses(client) {
            let everywhere = if addr.is_ipv4() { "0.0.0.0" } else { "::" };
            let socket = UdpSocket::bind((everywhere, 0)).await.unwrap();
            let sender = UdpSocket::bind((everywhere, 0)).await.unwrap();
            let target = any(&socket, everywhere);
            sender.send_to(b"async", target).await.unwrap();
            assert_eq!(timeout(Duration::from_secs(5), socket.recv(&mut buf)).await.unwrap().unwrap(), 5);
            sender.try_send_to(b"try", target).unwrap();
            assert_eq!(timeout(Duration::from_secs(5), socket.recv(&mut buf)).await.unwrap().unwrap(), 3);
            poll_fn(|cx| sender.poll_send_to(cx, b"poll", target)).await.unwrap();
            assert_eq!(timeout(Duration::from_secs(5), socket.recv(&mut buf)).await.unwrap().unwrap(), 4);
            sender.connect(target).await.unwrap();
            assert!(sender.peer_addr().unwrap().ip().is_loopback());
            sender.send(b"to it").await.unwrap();
            let (len, from) = timeout(Duration::from_secs(5), socket.recv_from(&mut buf)).await.unwrap().unwrap();
            assert!(len == 5 && from.ip().is_loopback(), "{from}");
        }
        // Of a socket with an address, it is that.
        let socket = UdpSocket::bind((address(client), 0)).await.unwrap();
        let sender = UdpSocket::bind((address(client), 0)).await.unwrap();
        sender.connect(any(&socket, "0.0.0.0")).await.unwrap();
        assert_eq!(sender.peer_addr().unwrap(), socket.local_addr().unwrap());
        sender.send_to(b"x", any(&socket, "0.0.0.0")).await.unwrap();
        assert_eq!(timeout(Duration::from_secs(5), socket.recv(&mut buf)).await.unwrap().unwrap(), 1);
    }

    async fn several_tasks_share_a_socket(_client: Host, server: Host) {
        let socket = Arc::new(server.scope(UdpSocket::bind((address(server), 0))).await.unwrap());
        // On a wire, no more wait until the server has told its link-layer address.
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let socket = Arc::clone(&socket);
                server.spawn(async move {
                    let mut buf = [0; 16];
                    socket.recv_from(&mut buf).await.unwrap().0
                })
            })
            .collect();
        sleep(Duration::from_millis(1)).await;
        let sender = UdpSocket::bind("0.0.0.0:0").await.unwrap();
        for _ in 0..3 {
            sender.send_to(b"x", socket.local_addr().unwrap()).await.unwrap();
        }
        let received = timeout(Duration::from_secs(5), future::join_all(tasks)).await;
        assert!(received.expect("every task got one").into_iter().all(|len| len.unwrap() == 1));
    }

    async fn a_closed_port_is_reported(_client: Host, server: Host) {
        let closed = closed_port(server);
        let socket = UdpSocket::bind("0.0.0.0:0").await.unwrap();
        socket.connect(closed).await.unwrap();
        for round in 0..3 {
            socket.send(b"anybody?").await.unwrap();
            let answer = timeout(Duration::from_secs(5), socket.recv(&mut [0; 8])).await;
            let error = answer.expect("an ICMP error").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "in round {round}");
        }
    }

    async fn the_server_answers_pings(_client: Host, server: Host) {
        let socket = match EchoSocket::open() {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return skip(&error.to_string()),
            socket => socket.unwrap(),
        };
        let small = addresses(server).into_iter().map(|addr| (addr, 56));
        for (addr, len) in small.chain([(address(server), 8000)]) {
            socket.send(addr, 3, &pattern(len)).unwrap();
            let reply = timeout(Duration::from_secs(5), socket.recv()).await.expect("a reply").unwrap();
            assert_eq!((reply.from, reply.sequence, reply.len, reply.ttl), (addr, 3, len, 64));
        }
        assert_eq!(socket.try_recv().unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}

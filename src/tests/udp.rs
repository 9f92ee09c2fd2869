//! Datagrams, and ICMP echo.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future;

use super::{SERVER, pattern};
use crate::Host;
use crate::net::{EchoSocket, UdpSocket};
use crate::time::{sleep, timeout};

#[hayase::test]
async fn datagrams_go_both_ways(_client: Host, server: Host) {
    for (bind, target) in [("0.0.0.0:7", "10.7.0.2:7"), ("[fd00:7::2]:7", "[fd00:7::2]:7")] {
        let socket = server.scope(UdpSocket::bind(bind)).await.unwrap();
        let local = if target.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
        let client = UdpSocket::bind(local).await.unwrap();
        client.connect(target).await.unwrap();
        assert_eq!(client.peer_addr().unwrap().to_string(), target);
        let sent = pattern(1200);
        assert_eq!(client.send(&sent).await.unwrap(), 1200);
        let mut buf = [0; 2048];
        let mut peeked = [0; 4];
        socket.peek_from(&mut peeked).await.unwrap();
        let (len, peer) = socket.recv_from(&mut buf).await.unwrap();
        assert_eq!((&buf[..len], &peeked[..]), (&sent[..], &sent[..4]));
        socket.send_to(b"short", peer).await.unwrap();
        assert_eq!(client.recv(&mut buf[..3]).await.unwrap(), 3, "what does not fit is cut");
        assert_eq!(client.try_recv(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}

#[hayase::test]
async fn several_tasks_share_a_socket(_client: Host, server: Host) {
    let socket = Arc::new(server.scope(UdpSocket::bind("0.0.0.0:7")).await.unwrap());
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let socket = Arc::clone(&socket);
            server.spawn(async move {
                let mut buf = [0; 16];
                socket.recv_from(&mut buf).await.unwrap().0
            })
        })
        .collect();
    sleep(Duration::from_millis(1)).await;
    // The first datagram asks for the server's link-layer address; only so many wait for the answer.
    let echo = EchoSocket::open().unwrap();
    echo.send(SERVER.parse().unwrap(), 1, b"").unwrap();
    echo.recv().await.unwrap();
    let sender = UdpSocket::bind("0.0.0.0:0").await.unwrap();
    for _ in 0..4 {
        sender.send_to(b"x", (SERVER, 7)).await.unwrap();
    }
    let received = timeout(Duration::from_secs(5), future::join_all(tasks)).await;
    assert!(received.expect("every task got one").into_iter().all(|len| len.unwrap() == 1));
}

#[hayase::test]
async fn a_closed_port_is_reported(_client: Host, _server: Host) {
    let socket = UdpSocket::bind("0.0.0.0:0").await.unwrap();
    socket.connect((SERVER, 9)).await.unwrap();
    socket.send(b"anybody?").await.unwrap();
    let answer = timeout(Duration::from_secs(5), socket.recv(&mut [0; 8])).await;
    assert_eq!(answer.expect("an ICMP error").unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[hayase::test]
async fn the_server_answers_pings(_client: Host, _server: Host) {
    let socket = EchoSocket::open().unwrap();
    for (addr, len) in [("10.7.0.2", 56), ("fd00:7::2", 56), ("10.7.0.2", 8000)] {
        socket.send(addr.parse().unwrap(), 3, &pattern(len)).unwrap();
        let reply = timeout(Duration::from_secs(5), socket.recv()).await.expect("a reply").unwrap();
        assert_eq!((reply.from.to_string().as_str(), reply.sequence, reply.len), (addr, 3, len));
    }
    assert_eq!(socket.try_recv().unwrap_err().kind(), ErrorKind::WouldBlock);
}

//! Connections.

use std::io::{ErrorKind, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future;

use super::{
    MORE_THAN_BUFFERS, address, addresses, closed_port, connected, fill, free_port, listen, pattern,
};
use crate::Host;
use crate::io::Interest;
use crate::net::{Congestion, Keepalive, TcpListener, TcpSocket, TcpStream};
use crate::stack::State;
use crate::time::{sleep, timeout};

/// Echoes until the end of the stream.
async fn echo(mut stream: TcpStream) {
    let mut buf = [0; 1024];
    while let Ok(len @ 1..) = stream.read(&mut buf).await {
        stream.write_all(&buf[..len]).await.unwrap();
    }
}

/// A peer that has said all is gone before it has read all: the loss is told, each time that it is asked.
pub(super) async fn lose_by_a_reset(server: Host) {
    let (mut stream, mut peer) = connected(server).await;
    peer.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    fill(&mut stream).await;
    stream.shutdown().await.unwrap();
    assert!(!stream.is_flushed().unwrap(), "nobody reads");
    // With unread data, closing is a reset.
    drop(peer);
    let flush = async {
        loop {
            match stream.is_flushed() {
                Ok(is_flushed) => assert!(!is_flushed, "bytes were lost"),
                Err(error) => return error.kind(),
            }
            sleep(Duration::from_millis(1)).await;
        }
    };
    let kind =
        timeout(Duration::from_secs(5), flush).await.expect("a connection that is over has no more to come");
    assert_eq!(
        (kind, stream.is_flushed().unwrap_err().kind()),
        (ErrorKind::ConnectionReset, ErrorKind::ConnectionReset)
    );
}

everywhere! {
    /// So that a client finds a listener by the address which that tells.
    async fn no_address_in_particular_is_the_host_itself(client: Host, _server: Host) {
        for addr in addresses(client) {
            let everywhere = if addr.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let listener = TcpListener::bind(everywhere).await.unwrap();
            let target = listener.local_addr().unwrap();
            assert!(target.ip().is_unspecified());
            let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.unwrap();
            socket.bind(everywhere.parse().unwrap()).unwrap();
            let connect = future::join(TcpStream::connect(target), socket.connect(target));
            let (streams, first, second) = future::join3(connect, listener.accept(), listener.accept()).await;
            let streams = [streams.0.unwrap(), streams.1.unwrap()];
            let peers = [first.unwrap().1, second.unwrap().1];
            for stream in streams {
                assert!(stream.peer_addr().unwrap().ip().is_loopback());
                assert!(peers.contains(&stream.local_addr().unwrap()), "{stream:?}");
            }
        }
        // From an address, it is that.
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((address(client), 0).into()).unwrap();
        let connect = socket.connect(listener.local_addr().unwrap());
        let (stream, accepted) = future::join(connect, listener.accept()).await;
        assert_eq!(stream.unwrap().peer_addr().unwrap().ip(), address(client));
        assert_eq!(accepted.unwrap().1.ip(), address(client));
    }

    async fn echoes_over_both_versions_of_ip(_client: Host, server: Host) {
        let listener = server.scope(TcpListener::bind("[::]:0")).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let addresses = addresses(server);
        let count = addresses.len();
        let serve = server.spawn(async move {
            for _ in 0..count {
                let (stream, _) = listener.accept().await.unwrap();
                crate::spawn(echo(stream));
            }
        });
        for addr in addresses {
            let mut stream = TcpStream::connect((addr, port)).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), (addr, port).into());
            stream.write_all(b"hello").await.unwrap();
            let mut buf = [0; 5];
            assert_eq!(stream.read_exact(&mut buf).await.unwrap(), 5);
            assert_eq!(&buf, b"hello");
        }
        serve.await.unwrap();
    }

    async fn a_closed_port_refuses(_client: Host, server: Host) {
        let closed = closed_port(server);
        let error = TcpStream::connect(closed).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let error = TcpStream::connect([closed, closed]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }

    async fn the_second_address_is_tried(_client: Host, server: Host) {
        let (_listener, open) = listen(server).await;
        let stream = TcpStream::connect([closed_port(server), open]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open);
    }
}

#[hayase::test]
async fn nobody_answers_at_an_unused_address(_client: Host, _server: Host) {
    let error = TcpStream::connect("10.8.0.1:7").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NetworkUnreachable, "{error}");
    let attempt = timeout(Duration::from_millis(20), TcpStream::connect("10.7.0.99:7")).await;
    assert!(attempt.is_err(), "it goes on trying");
}

everywhere! {
    async fn a_half_closed_connection_still_carries_the_other_half(_client: Host, server: Host) {
        let (mut stream, mut peer) = connected(server).await;
        stream.write_all(b"question").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(stream.write(b"more").await.unwrap_err().kind(), ErrorKind::BrokenPipe);

        let mut question = Vec::new();
        peer.read_to_end(&mut question).await.unwrap();
        assert_eq!(question, b"question");
        assert_eq!(peer.state().unwrap(), State::CloseWait);
        peer.write_all(b"answer").await.unwrap();
        drop(peer);

        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"answer");
    }

    async fn abort_resets(_client: Host, server: Host) {
        let (stream, mut peer) = connected(server).await;
        stream.abort();
        let error = peer.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }

    async fn a_writer_waits_for_a_slow_reader(_client: Host, server: Host) {
        let (mut stream, mut peer) = connected(server).await;
        let data = pattern(MORE_THAN_BUFFERS);
        let mut queued = 0;
        while let Ok(written) = timeout(Duration::from_millis(20), stream.write(&data[queued..])).await {
            queued += written.unwrap();
        }
        assert!(queued > 0 && queued < data.len(), "{queued} bytes were taken without a reader");

        let rest = &data[queued..];
        let write = async {
            stream.write_all(rest).await.unwrap();
            stream.shutdown().await.unwrap();
        };
        let mut received = Vec::new();
        let (_, read) = future::join(write, peer.read_to_end(&mut received)).await;
        assert_eq!(read.unwrap(), data.len());
        assert!(received == data, "bytes changed on the way");
    }

    async fn what_a_reset_loses_is_not_flushed(_client: Host, server: Host) {
        lose_by_a_reset(server).await;
    }

    async fn a_hundred_connections_at_once(_client: Host, server: Host) {
        let (listener, addr) = listen(server).await;
        server.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                crate::spawn(echo(stream));
            }
        });
        let clients = (0..100u32).map(|number| async move {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            for round in 0..10 {
                let sent = (number * 1000 + round).to_be_bytes();
                stream.write_all(&sent).await.unwrap();
                let mut received = [0; 4];
                stream.read_exact(&mut received).await.unwrap();
                assert_eq!(received, sent);
            }
        });
        future::join_all(clients).await;
    }

    async fn a_host_reaches_itself(client: Host, _server: Host) {
        let listener = TcpListener::bind("[::]:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for addr in addresses(client) {
            let (stream, accepted) = future::join(TcpStream::connect((addr, port)), listener.accept()).await;
            let (mut stream, (mut peer, _)) = (stream.unwrap(), accepted.unwrap());
            stream.write_all(b"it is me").await.unwrap();
            peer.read_exact(&mut [0; 8]).await.unwrap();
        }
    }

    async fn several_tasks_accept_from_one_listener(_client: Host, server: Host) {
        let (listener, addr) = listen(server).await;
        let accepts = future::join_all((0..3).map(|_| listener.accept()));
        let connects = future::join_all((0..3).map(|_| TcpStream::connect(addr)));
        let all = timeout(Duration::from_secs(5), future::join(accepts, connects)).await;
        let (accepted, connected) = all.expect("every waiting task got a connection");
        assert!(accepted.iter().all(Result::is_ok) && connected.iter().all(Result::is_ok));
    }

    async fn halves_work_apart_and_reunite(_client: Host, server: Host) {
        let (mut stream, peer) = connected(server).await;
        let (mut read, mut write) = peer.into_split();
        let reader = crate::spawn(async move {
            let mut buf = [0; 4];
            read.read_exact(&mut buf).await.unwrap();
            (read, buf)
        });
        write.write_all(b"pong").await.unwrap();
        {
            let (mut read, mut write) = stream.split();
            let mut buf = [0; 4];
            let (sent, received) = future::join(write.write_all(b"ping"), read.read_exact(&mut buf)).await;
            assert!(sent.is_ok() && received.is_ok());
            assert_eq!(&buf, b"pong");
        }
        let (read, buf) = reader.await.unwrap();
        assert_eq!(&buf, b"ping");
        let (other, _other_peer) = connected(server).await;
        let (other_read, other_write) = other.into_split();
        let error = read.reunite(other_write).unwrap_err();
        let (read, other_write) = (error.0, error.1);
        assert!(other_read.reunite(other_write).is_ok());
        let mut peer = write.reunite(read).unwrap();
        peer.write_all(b"whole").await.unwrap();
        stream.read_exact(&mut [0; 5]).await.unwrap();
    }

    async fn dropping_the_write_half_ends_the_stream(_client: Host, server: Host) {
        let (mut stream, peer) = connected(server).await;
        let (mut read, write) = peer.into_split();
        drop(write);
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
        stream.write_all(b"x").await.unwrap();
        assert_eq!(read.read(&mut [0; 8]).await.unwrap(), 1);
    }

    async fn vectored_io_keeps_the_order(_client: Host, server: Host) {
        let (mut stream, mut peer) = connected(server).await;
        let bufs = [IoSlice::new(b"one"), IoSlice::new(b""), IoSlice::new(b"two"), IoSlice::new(b"three")];
        assert_eq!(stream.write_vectored(&bufs).await.unwrap(), 11);
        while peer.peek(&mut [0; 16]).await.unwrap() < 11 {
            sleep(Duration::from_millis(1)).await;
        }
        let (mut a, mut b) = ([0; 4], [0; 16]);
        let mut bufs = [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)];
        assert_eq!(peer.read_vectored(&mut bufs).await.unwrap(), 11);
        assert_eq!((&a, &b[..7]), (b"onet", &b"wothree"[..]));
    }

    async fn try_calls_never_wait(_client: Host, server: Host) {
        let (mut stream, peer) = connected(server).await;
        assert_eq!(peer.try_read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(peer.try_write(b"").unwrap(), 0);
        stream.write_all(b"hello").await.unwrap();
        peer.readable().await.unwrap();
        let mut buf = Vec::new();
        assert_eq!(peer.try_read_buf(&mut buf).unwrap(), 5);
        assert_eq!(buf, b"hello");
        assert_eq!(peer.try_read_buf(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
        while peer.try_write(&[0; 65_536]).is_ok() {}
        assert_eq!(peer.try_write(b"x").unwrap_err().kind(), ErrorKind::WouldBlock);
    }

    async fn readiness_is_the_state_and_not_an_event(_client: Host, server: Host) {
        let (mut stream, mut peer) = connected(server).await;
        let ready = peer.ready(Interest::READABLE | Interest::WRITABLE).await.unwrap();
        assert!(ready.is_writable() && !ready.is_readable());
        stream.write_all(b"x").await.unwrap();
        for _ in 0..2 {
            assert!(peer.ready(Interest::READABLE).await.unwrap().is_readable(), "until it is read");
        }
        peer.read(&mut [0; 8]).await.unwrap();
        let waiting = timeout(Duration::from_millis(5), peer.readable()).await;
        assert!(waiting.is_err());
        stream.shutdown().await.unwrap();
        assert!(peer.ready(Interest::READABLE).await.unwrap().is_read_closed());
    }

    async fn a_task_that_computes_before_it_closes_has_all_its_time_to_linger(_client: Host, server: Host) {
        let (stream, mut peer) = connected(server).await;
        let linger = Duration::from_millis(600);
        stream.set_linger(Some(linger)).unwrap();
        let data = pattern(30_000);
        // In one poll: the time of the turn stands still meanwhile.
        std::thread::sleep(linger);
        assert_eq!(stream.try_write(&data).unwrap(), data.len());
        drop(stream);
        let mut read = Vec::new();
        peer.read_to_end(&mut read).await.unwrap();
        assert!(read == data, "{} of {} bytes", read.len(), data.len());
    }

    async fn options_are_kept(_client: Host, server: Host) {
        let (stream, _peer) = connected(server).await;
        stream.set_nodelay(true).unwrap();
        assert!(stream.nodelay().unwrap());
        stream.set_linger(Some(Duration::from_secs(3))).unwrap();
        assert_eq!(stream.linger().unwrap(), Some(Duration::from_secs(3)));
        let keepalive = Keepalive { idle: Duration::from_secs(9), ..Keepalive::default() };
        stream.set_keepalive(Some(keepalive)).unwrap();
        assert_eq!(stream.keepalive().unwrap(), Some(keepalive));
        assert_eq!(stream.user_timeout().unwrap(), None);
        stream.set_user_timeout(Some(Duration::from_secs(30))).unwrap();
        assert_eq!(stream.user_timeout().unwrap(), Some(Duration::from_secs(30)));
        stream.set_ttl(9).unwrap();
        assert_eq!(stream.ttl().unwrap(), 9);
        assert_eq!(stream.set_ttl(256).unwrap_err().kind(), ErrorKind::InvalidInput);
        stream.set_tos(0xb8).unwrap();
        assert_eq!(stream.tos().unwrap(), 0xb8);
        assert!(stream.take_error().unwrap().is_none());
        assert_eq!(stream.state().unwrap(), State::Established);
    }

    async fn a_socket_chooses_its_own_address(client: Host, server: Host) {
        let listener = {
            let _server = server.enter();
            let socket = TcpSocket::new_v4().unwrap();
            assert_eq!(socket.local_addr().unwrap(), "0.0.0.0:0".parse().unwrap());
            socket.bind((address(server), 0).into()).unwrap();
            assert_eq!(socket.local_addr().unwrap_err().kind(), ErrorKind::AddrNotAvailable, "no port yet");
            assert!(socket.bind((address(server), 81).into()).is_err());
            assert!(socket.bind("[::]:80".parse().unwrap()).is_err());
            socket.listen(4).unwrap()
        };
        let socket = TcpSocket::new_v4().unwrap();
        let own = SocketAddr::new(address(client), free_port());
        socket.bind(own).unwrap();
        assert_eq!((socket.local_addr().unwrap(), socket.take_error().unwrap().is_none()), (own, true));
        let (stream, accepted) =
            future::join(socket.connect(listener.local_addr().unwrap()), listener.accept()).await;
        assert_eq!((stream.unwrap().local_addr().unwrap(), accepted.unwrap().1), (own, own));
        let error = TcpSocket::new_v6().unwrap().connect(listener.local_addr().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }

    async fn a_port_is_taken_once(client: Host, server: Host) {
        let port = free_port();
        let again = || TcpListener::bind(("0.0.0.0", port));
        let first = client.scope(again()).await.unwrap();
        assert_eq!(again().await.unwrap_err().kind(), ErrorKind::AddrInUse);
        let elsewhere = server.scope(again()).await;
        assert_eq!(elsewhere.is_ok(), server != client, "another host has ports of its own");
        drop(first);
        assert!(again().await.is_ok());
        let error = TcpListener::bind("192.0.2.1:0").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
    }
}

#[hayase::test]
async fn a_connection_tells_how_it_is_doing(_client: Host, server: Host) {
    let (mut stream, mut peer) = connected(server).await;
    assert_eq!(stream.congestion().unwrap(), Congestion::Cubic);
    stream.set_congestion(Congestion::NewReno).unwrap();
    stream.write_all(&pattern(50_000)).await.unwrap();
    let mut received = vec![0; 50_000];
    peer.read_exact(&mut received).await.unwrap();
    let (ours, theirs) = (stream.info().unwrap(), peer.info().unwrap());
    assert_eq!((ours.state, ours.congestion), (State::Established, Congestion::NewReno));
    assert!(ours.rtt_us > 0 && ours.snd_cwnd > ours.snd_mss && ours.rto_us >= 200_000, "{ours:?}");
    assert_eq!(theirs.bytes_received, 50_000);
}

#[hayase::test]
async fn a_stream_that_ends_has_nothing_urgent(_client: Host, server: Host) {
    let (mut stream, peer) = connected(server).await;
    let waiting = crate::spawn(async move { peer.urgent().await });
    stream.write_all(b"nothing of this is").await.unwrap();
    crate::time::sleep(Duration::from_millis(5)).await;
    assert!(!waiting.is_finished());
    stream.shutdown().await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), 0);
}

#[hayase::test]
async fn data_goes_with_a_syn_once_the_server_gave_a_cookie(_client: Host, server: Host) {
    let listener = {
        let _server = server.enter();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_fastopen(16).unwrap();
        socket.bind("0.0.0.0:7".parse().unwrap()).unwrap();
        socket.listen(16).unwrap()
    };
    let addr = SocketAddr::new(address(server), 7);
    // More than goes with a SYN, and more than is under way between two threads.
    for (early, len) in [(0, 3000), (1, 3000), (2, 700_000)] {
        let request = pattern(len);
        let receive = async {
            let mut theirs = listener.accept().await.unwrap().0;
            let mut received = vec![0; len];
            theirs.read_exact(&mut received).await.unwrap();
            assert!(received == request);
            theirs.write_all(b"yes").await.unwrap();
            theirs
        };
        let (ours, _theirs) = future::join(TcpStream::connect_with(addr, &request), receive).await;
        let mut answer = [0; 3];
        ours.unwrap().read_exact(&mut answer).await.unwrap();
        let passive = server.counters().unwrap().get("TcpExtTCPFastOpenPassive").unwrap();
        assert_eq!((&answer, passive), (b"yes", early));
    }
}

#[hayase::test]
async fn a_host_lists_its_connections(client: Host, server: Host) {
    assert!(server.tcp_connections().unwrap().is_empty());
    let (mut stream, mut peer) = connected(server).await;
    stream.write_all(b"hello").await.unwrap();
    peer.read_exact(&mut [0; 5]).await.unwrap();
    let (local, remote) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
    let ours = client.tcp_connections().unwrap();
    let theirs = server.tcp_connections().unwrap();
    let ends: Vec<_> = ours.iter().chain(&theirs).map(|(local, remote, _)| (*local, *remote)).collect();
    assert_eq!(ends, [(local, remote), (remote, local)]);
    assert_eq!((theirs[0].2.state, theirs[0].2.bytes_received), (State::Established, 5));
}

//! What a socket is told before it listens or connects.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future;

use super::addresses;
use crate::net::{TcpListener, TcpSocket, TcpStream};
use crate::{Host, Model};

/// A listener at a free port of an address, whose socket was told something before.
fn listen(server: Host, ip: IpAddr, tell: impl Fn(&TcpSocket)) -> TcpListener {
    let _server = server.enter();
    let socket = if ip.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.unwrap();
    tell(&socket);
    socket.bind((ip, 0).into()).unwrap();
    socket.listen(4).unwrap()
}

/// Both ends of a connection, whose sockets were told the same: who connects, and who was accepted.
async fn pair(server: Host, ip: IpAddr, tell: impl Fn(&TcpSocket)) -> [TcpStream; 2] {
    let listener = listen(server, ip, &tell);
    let socket = if ip.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.unwrap();
    tell(&socket);
    let to: SocketAddr = listener.local_addr().unwrap();
    let (stream, accepted) = future::join(socket.connect(to), listener.accept()).await;
    [stream.unwrap(), accepted.unwrap().0]
}

/// Runs a case with every model.
fn with_every_model<F: Future>(case: impl Fn(Host, Host) -> F) {
    for model in Model::ALL {
        // Seen if the test fails.
        println!("model {model}");
        super::models::run(model, &case);
    }
}

async fn both_ends_have_what_their_sockets_were_told(server: Host) {
    for ip in addresses(server) {
        let tell = |socket: &TcpSocket| {
            socket.set_nodelay(true).unwrap();
            socket.set_keepalive(true).unwrap();
            socket.set_linger(Some(Duration::from_secs(3))).unwrap();
            match ip {
                IpAddr::V4(_) => socket.set_tos_v4(0xb8 | 0b11).unwrap(),
                IpAddr::V6(_) => socket.set_tclass_v6(0x28 | 0b11).unwrap(),
            }
        };
        for stream in pair(server, ip, tell).await {
            assert!(stream.nodelay().unwrap() && stream.keepalive().unwrap().is_some(), "{ip}");
            assert_eq!(stream.linger().unwrap(), Some(Duration::from_secs(3)), "{ip}");
            assert_eq!(stream.tos().unwrap(), if ip.is_ipv4() { 0xb8 } else { 0x28 }, "{ip}");
        }
        for stream in pair(server, ip, |_| {}).await {
            assert!(!stream.nodelay().unwrap() && stream.keepalive().unwrap().is_none(), "{ip}");
            assert_eq!((stream.linger().unwrap(), stream.tos().unwrap()), (None, 0), "{ip}");
        }
    }
}

/// By what the peer sees, and not by what is remembered.
async fn dropping_with_zero_linger_resets(server: Host) {
    let ip = super::address(server);
    let [stream, mut accepted] = pair(server, ip, |socket| socket.set_zero_linger().unwrap()).await;
    drop(stream);
    assert_eq!(accepted.read(&mut [0; 8]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    let [mut stream, accepted] = pair(server, ip, |socket| socket.set_zero_linger().unwrap()).await;
    drop(accepted);
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    let [stream, mut accepted] = pair(server, ip, |_| {}).await;
    stream.set_zero_linger().unwrap();
    drop(stream);
    assert_eq!(accepted.read(&mut [0; 8]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn options_go_along_on_a_stack_of_ours() {
    with_every_model(|_, server| both_ends_have_what_their_sockets_were_told(server));
    with_every_model(|_, server| dropping_with_zero_linger_resets(server));
}

#[cfg(feature = "kernel")]
#[test]
fn options_go_along_on_the_kernels_sockets() {
    super::kernel::run(|_, server| both_ends_have_what_their_sockets_were_told(server));
    super::kernel::run(|_, server| dropping_with_zero_linger_resets(server));
}

#[test]
fn a_socket_tells_what_it_was_told() {
    let (v4, v6) = (TcpSocket::new_v4().unwrap(), TcpSocket::new_v6().unwrap());
    assert!(!v4.keepalive().unwrap() && !v4.nodelay().unwrap());
    assert_eq!((v4.linger().unwrap(), v4.tos_v4().unwrap(), v6.tclass_v6().unwrap()), (None, 0, 0));
    for on in [true, false] {
        v4.set_keepalive(on).unwrap();
        v4.set_nodelay(on).unwrap();
        assert_eq!((v4.keepalive().unwrap(), v4.nodelay().unwrap()), (on, on));
    }
    v4.set_zero_linger().unwrap();
    assert_eq!(v4.linger().unwrap(), Some(Duration::ZERO));
    v4.set_linger(None).unwrap();
    assert_eq!(v4.linger().unwrap(), None);
    v6.set_tos_v4(0x28).unwrap();
    v6.set_tclass_v6(0xff).unwrap();
    assert_eq!((v6.tos_v4().unwrap(), v6.tclass_v6().unwrap()), (0x28, 0xfc));
    let errors = [v4.set_tos_v4(256), v6.set_tclass_v6(256), v4.set_tclass_v6(8), v4.tclass_v6().map(drop)];
    for error in errors.map(Result::unwrap_err) {
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
}

/// A listener at `[::]` has connections of both versions, each with its own.
async fn each_version_has_its_own_class(server: Host) {
    let listener = listen(server, "::".parse().unwrap(), |socket| {
        socket.set_tos_v4(0xb8).unwrap();
        socket.set_tclass_v6(0x28).unwrap();
    });
    let port = listener.local_addr().unwrap().port();
    for ip in addresses(server) {
        let (stream, accepted) = future::join(TcpStream::connect((ip, port)), listener.accept()).await;
        stream.unwrap();
        let tos = accepted.unwrap().0.tos().unwrap();
        assert_eq!(tos, if ip.is_ipv4() { 0xb8 } else { 0x28 }, "{ip}");
    }
}

#[test]
fn each_version_has_its_own_class_on_a_stack_of_ours() {
    with_every_model(|_, server| each_version_has_its_own_class(server));
}

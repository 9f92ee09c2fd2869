//! What a socket is told before it listens or connects.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use futures_util::future;

use super::{addresses, fill};
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

/// Leaves a connection of the listener's in TIME-WAIT, and nobody who listens. Returns the address.
async fn left_in_time_wait(server: Host) -> SocketAddr {
    let listener = listen(server, super::address(server), |_| {});
    let addr = listener.local_addr().unwrap();
    let (stream, accepted) = future::join(TcpStream::connect(addr), listener.accept()).await;
    let (mut stream, mut accepted) = (stream.unwrap(), accepted.unwrap().0);
    // Who closes first waits.
    accepted.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    stream.shutdown().await.unwrap();
    assert_eq!(accepted.read(&mut [0; 8]).await.unwrap(), 0);
    addr
}

/// Listens at an address again, with a say in who may have had it.
fn listen_again(server: Host, addr: SocketAddr, reuse: Option<bool>) -> std::io::Result<TcpListener> {
    let _server = server.enter();
    let socket = TcpSocket::new_v4().unwrap();
    reuse.map_or(Ok(()), |reuse| socket.set_reuseaddr(reuse))?;
    assert_eq!(socket.reuseaddr().unwrap(), reuse.unwrap_or(true));
    socket.bind(addr)?;
    socket.listen(4)
}

async fn what_is_over_is_no_obstacle_unless_told_so(server: Host, refusal: ErrorKind) {
    let addr = left_in_time_wait(server).await;
    assert_eq!(listen_again(server, addr, Some(false)).unwrap_err().kind(), refusal);
    drop(listen_again(server, addr, None).unwrap());
    let listener = listen_again(server, addr, Some(true)).unwrap();
    let (stream, accepted) = future::join(TcpStream::connect(addr), listener.accept()).await;
    assert!(stream.is_ok() && accepted.is_ok());
    let taken = listen_again(server, addr, Some(true)).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AddrInUse, "a listener is an obstacle");
}

#[test]
fn on_a_stack_of_ours_what_is_over_is_never_an_obstacle() {
    with_every_model(|_, server| what_is_over_is_no_obstacle_unless_told_so(server, ErrorKind::Unsupported));
}

#[cfg(feature = "kernel")]
#[test]
fn the_kernel_is_told_whether_what_is_over_is_an_obstacle() {
    super::kernel::run(|_, server| what_is_over_is_no_obstacle_unless_told_so(server, ErrorKind::AddrInUse));
}

#[test]
fn a_socket_that_connects_from_a_chosen_address_is_told_what_cannot_be() {
    with_every_model(|client, server| async move {
        let listener = listen(server, super::address(server), |_| {});
        let addr = listener.local_addr().unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(false).unwrap();
        socket.bind((super::address(client), 0).into()).unwrap();
        assert_eq!(socket.connect(addr).await.unwrap_err().kind(), ErrorKind::Unsupported);
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(false).unwrap();
        socket.connect(addr).await.expect("without one there is nothing to reuse");
    });
}

/// Two listeners at one address, and what comes of that.
fn listen_twice(server: Host, reuse: [bool; 2]) -> std::io::Result<[TcpListener; 2]> {
    let ip = super::address(server);
    let first = listen(server, ip, |socket| socket.set_reuseport(reuse[0]).unwrap());
    let _server = server.enter();
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseport(reuse[1])?;
    assert_eq!(socket.reuseport()?, reuse[1]);
    socket.bind(first.local_addr()?)?;
    Ok([first, socket.listen(4)?])
}

#[cfg(feature = "kernel")]
#[test]
fn the_kernel_shares_a_port_between_those_who_all_say_so() {
    super::kernel::run(|_, server| async move {
        for reuse in [[false, false], [false, true], [true, false]] {
            assert_eq!(listen_twice(server, reuse).unwrap_err().kind(), ErrorKind::AddrInUse, "{reuse:?}");
        }
        let listeners = listen_twice(server, [true, true]).unwrap();
        let addr = listeners[0].local_addr().unwrap();
        let mut accepted = [0; 2];
        for _ in 0..64 {
            let one = pin!(listeners[0].accept());
            let other = pin!(listeners[1].accept());
            let accept = future::select(one, other);
            let (stream, came) = future::join(TcpStream::connect(addr), accept).await;
            stream.unwrap();
            accepted[matches!(came, future::Either::Right(_)) as usize] += 1;
        }
        assert!(accepted.iter().all(|count| *count > 0), "{accepted:?}");
    });
}

#[test]
fn on_a_stack_of_ours_who_wants_to_share_a_port_is_told_how() {
    with_every_model(|_, server| async move {
        let error = listen_twice(server, [true, true]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(error.to_string().contains("several tasks"), "{error}");
    });
}

/// What both ends and all between them take when nobody reads.
async fn what_is_kept(server: Host, sizes: Option<u32>) -> usize {
    let tell = |socket: &TcpSocket| {
        if let Some(size) = sizes {
            socket.set_send_buffer_size(size).unwrap();
            socket.set_recv_buffer_size(size).unwrap();
        }
    };
    let [mut stream, mut accepted] = pair(server, super::address(server), tell).await;
    let there = fill(&mut stream).await;
    // Who was accepted has them as well.
    let back = if sizes.is_some() { fill(&mut accepted).await } else { 0 };
    there.max(back)
}

/// Beside the stack's, what is between two threads at most: on its way there, and from there.
fn between_threads(model: Model) -> usize {
    if model == Model::Unified { 0 } else { 2 * (256 << 10) }
}

#[test]
fn buffers_have_the_size_that_was_chosen() {
    for model in Model::ALL {
        let kept = |sizes| super::models::run(model, |_, server| what_is_kept(server, sizes));
        let (chosen, others) = (kept(Some(16 << 10)), kept(None));
        assert!((1..=(32 << 10) + between_threads(model)).contains(&chosen), "{model}: {chosen}");
        // With a thread of its own, the stack may be late on a busy machine.
        assert!(others >= 500 << 10 || model != Model::Unified, "{model}: {others}");
    }
}

#[cfg(feature = "kernel")]
#[test]
fn the_kernels_buffers_have_twice_the_size_that_was_chosen() {
    for model in Model::ALL {
        let kept = |sizes| super::kernel::run_on(model, |server| what_is_kept(server, sizes));
        let (chosen, others) = (kept(Some(16 << 10)), kept(None));
        // The system counts its own trimmings as well, and rounds.
        assert!((1..=(96 << 10) + between_threads(model)).contains(&chosen), "{model}: {chosen}");
        assert!(others > chosen, "{model}: {others}");
    }
}

#[test]
fn a_size_that_was_not_chosen_is_none() {
    let socket = TcpSocket::new_v4().unwrap();
    let sizes = || [socket.send_buffer_size(), socket.recv_buffer_size()];
    for size in sizes() {
        assert_eq!(size.unwrap_err().kind(), ErrorKind::Unsupported);
    }
    socket.set_send_buffer_size(9000).unwrap();
    socket.set_recv_buffer_size(7000).unwrap();
    assert_eq!(sizes().map(Result::unwrap), [9000, 7000]);
}

//! One host of several interfaces: a program with two in-memory devices, each with a host of its own at the other end.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::future;
use hayase_stack::{Config, State};

use super::{pattern, waits};
use crate::device::wire::{Wire, WireConfig};
use crate::door;
use crate::io::Interest;
use crate::net::{EchoSocket, TcpListener, TcpSocket, TcpStream, UdpSocket};
use crate::runtime::Queue;
use crate::time::{self, sleep, timeout};
use crate::{Builder, Cidr, Host, Model, Offloads, Reactor, Runtime};

/// The second number of the interfaces' networks.
const NETS: [u8; 2] = [7, 8];

const SOON: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(10);

/// An address of a network in both versions of IP.
fn addresses(net: u8, last: u8) -> [IpAddr; 2] {
    [format!("10.{net}.0.{last}"), format!("fd00:{net}::{last}")].map(|text| text.parse().unwrap())
}

fn at(addr: IpAddr, port: u16) -> SocketAddr {
    (addr, port).into()
}

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

/// A wire with the program's interface at one end and a host to talk to at the other.
pub(super) fn device(net: u8) -> Queue {
    Box::new(move |reactor: &mut Reactor, config: &Config| {
        let (near, far) = Wire::pair(WireConfig::default());
        let mut hosts = Vec::new();
        for (end, last) in [(near, 2), (far, 1)] {
            let host = reactor.attach(end, config.clone(), time::now())?;
            for (addr, prefix) in addresses(net, last).into_iter().zip([24, 64]) {
                host.add_address(Cidr::new(addr, prefix).unwrap())?;
            }
            hosts.push(host);
        }
        door::join(hosts[0].shard(), hosts[1].shard())?;
        Ok(hosts)
    })
}

fn build(builder: Builder, cores: usize) -> Runtime {
    let device = |net| (0..cores).map(|_| device(net)).collect();
    let built = builder.cores(cores).build_with(|builder, reactor, handle| {
        builder.attach_devices(reactor, handle, NETS.map(device).into())
    });
    built.unwrap()
}

/// The program's host, its interfaces, and who is at their other ends.
#[derive(Clone, Copy)]
pub(crate) struct Site {
    pub(crate) all: Host,
    near: [Host; 2],
    far: [Host; 2],
}

impl Site {
    /// That of the core that this runs on.
    fn here() -> Site {
        let all = Host::current().unwrap();
        let near: [Host; 2] = all.interfaces().unwrap().try_into().unwrap();
        Site { all, near, far: near.map(|host| host.peer().unwrap()) }
    }
}

/// Runs a test with every CPU model.
pub(crate) fn run<F: Future>(test: impl Fn(Site) -> F) {
    run_with(Config::default(), test);
}

fn run_with<F: Future>(config: Config, test: impl Fn(Site) -> F) {
    for model in Model::ALL {
        let runtime = build(Runtime::builder().model(model).stack(config.clone()), 1);
        println!("model {model}");
        runtime.block_on(async { timeout(LONG, test(Site::here())).await.expect("it is stuck") });
    }
}

/// Waits until a host has so many connections, and whoever accepts them may have heard of it.
async fn until_established(host: Host, count: usize) {
    let established = || {
        let all = host.tcp_connections().unwrap();
        all.iter().filter(|(_, _, info)| info.state == State::Established).count()
    };
    while established() < count {
        sleep(Duration::from_millis(1)).await;
    }
    // What a stack on another thread has told is taken in a turn of this one.
    sleep(Duration::from_millis(1)).await;
}

/// A connection from the other end of an interface, and what the listener makes of it.
async fn meet(listener: &TcpListener, from: Host, to: SocketAddr) -> (TcpStream, TcpStream, SocketAddr) {
    let (stream, accepted) = future::join(from.scope(TcpStream::connect(to)), listener.accept()).await;
    let (accepted, peer) = accepted.unwrap();
    (stream.unwrap(), accepted, peer)
}

pub(super) async fn check_echo(mut near: TcpStream, mut far: TcpStream) {
    let data = pattern(100_000);
    let echo = async {
        let mut buf = vec![0; data.len()];
        near.read_exact(&mut buf).await.unwrap();
        near.write_all(&buf).await.unwrap();
    };
    let ask = async {
        let (mut reader, mut writer) = far.split();
        let mut buf = vec![0; data.len()];
        let (written, read) = future::join(writer.write_all(&data), reader.read_exact(&mut buf)).await;
        written.unwrap();
        read.unwrap();
        assert!(buf == data);
    };
    future::join(echo, ask).await;
}

#[test]
fn the_hosts_of_a_runtime_are_all_together_and_each_alone() {
    let runtime = build(Runtime::builder(), 1);
    let Site { all, near, far } = runtime.block_on(async { Site::here() });
    assert_eq!(runtime.hosts(), [&[all][..], &near, &far].concat());
    assert_eq!(near[0].interfaces().unwrap(), [near[0]]);
    let own = all.addresses().unwrap();
    for (host, net) in near.iter().zip(NETS) {
        assert!(addresses(net, 2).iter().all(|addr| own.iter().any(|cidr| cidr.addr() == *addr)));
        assert_eq!(host.addresses().unwrap().len(), own.len() / 2);
        host.set_offloads(if net == 7 { Offloads::TX_CHECKSUM } else { Offloads::ALL }).unwrap();
    }
    assert_eq!((all.mtu().unwrap(), all.offloads().unwrap()), (1500, Offloads::TX_CHECKSUM));
    assert_eq!(all.set_offloads(Offloads::NONE).unwrap(), Offloads::NONE);
    assert_eq!(near.map(|host| host.offloads().unwrap()), [Offloads::NONE; 2]);
    for error in [all.mac().unwrap_err(), all.caps().unwrap_err(), all.add_address(own[0]).unwrap_err()] {
        assert!(error.to_string().contains("Host::interfaces"), "{error}");
    }
    assert_eq!(all.address_states().unwrap().len(), own.len());
    all.remove_address(addresses(8, 2)[0]).unwrap();
    assert_eq!(near[1].addresses().unwrap().len(), own.len() / 2 - 1);
    assert_eq!(all.remove_address(addresses(8, 2)[0]).unwrap_err().kind(), ErrorKind::AddrNotAvailable);
    drop(runtime);
    assert_eq!(all.addresses().unwrap_err().kind(), ErrorKind::NotConnected);
}

#[test]
fn a_host_is_made_of_different_ones_with_different_addresses() {
    let mut reactor = Reactor::new();
    let attach = |reactor: &mut Reactor, net| device(net)(reactor, &Config::default()).unwrap();
    let [a, b, same] = [7, 8, 7].map(|net| attach(&mut reactor, net)[0]);
    let all = reactor.unite(&[a, b]).unwrap();
    assert_eq!(Host::current().unwrap(), all);
    for (interfaces, part) in
        [(&[][..], "at least one"), (&[a, same], "10.7.0.2"), (&[a, a], "twice"), (&[all, same], "already")]
    {
        let error = reactor.unite(interfaces).unwrap_err();
        assert!(error.kind() == ErrorKind::InvalidInput && error.to_string().contains(part), "{error}");
    }
    let text = std::thread::spawn(move || all.addresses().unwrap_err().to_string()).join().unwrap();
    assert!(text.contains("thread"), "{text}");
}

#[test]
fn a_listener_at_no_address_takes_what_comes_in_anywhere() {
    run(|Site { far, near, .. }| async move {
        let both = TcpListener::bind("[::]:0").await.unwrap();
        let port = both.local_addr().unwrap().port();
        let v4 = TcpListener::bind("0.0.0.0:80").await.unwrap();
        for (index, net) in NETS.into_iter().enumerate() {
            for addr in addresses(net, 2) {
                let before = near[1 - index].tcp_count().unwrap();
                let (stream, accepted, peer) = meet(&both, far[index], at(addr, port)).await;
                assert_eq!(accepted.local_addr().unwrap(), at(addr, port));
                assert_eq!((peer, accepted.peer_addr().unwrap()), (stream.local_addr().unwrap(), peer));
                // It belongs to its own interface, and costs the other nothing.
                assert!(near[1 - index].tcp_count().unwrap() <= before);
                check_echo(accepted, stream).await;
            }
            meet(&v4, far[index], at(addresses(net, 2)[0], 80)).await;
        }
        let error = far[1].scope(TcpStream::connect(at(addresses(8, 2)[1], 80))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "IPv4 only");
    });
}

#[test]
fn a_listener_at_an_address_is_on_its_interface() {
    run(|Site { all, far, near }| async move {
        let addr = addresses(8, 2)[0];
        let listener = TcpListener::bind(at(addr, 80)).await.unwrap();
        meet(&listener, far[1], at(addr, 80)).await;
        let error = far[0].scope(TcpStream::connect(at(addresses(7, 2)[0], 80))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let error = TcpListener::bind("10.9.0.2:80").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
        // The ends are strong: through the other interface the address is not to be had, and that is counted.
        let _all = TcpListener::bind("0.0.0.0:81").await.unwrap();
        far[0].add_route(cidr("10.8.0.0/24"), addresses(7, 2)[0]).unwrap();
        let dropped = |host: Host| host.counters().unwrap().get("IP_INADDRERRORS").unwrap();
        let mut attempt = pin!(far[0].scope(TcpStream::connect(at(addr, 81))));
        let ended = timeout(SOON, attempt.as_mut()).await;
        assert!(ended.is_err(), "{ended:?}");
        // A stack on a thread of its own tries when it gets to it.
        while dropped(all) == 0 {
            let ended = timeout(Duration::from_millis(1), attempt.as_mut()).await;
            assert!(ended.is_err(), "{ended:?}");
        }
        assert_eq!((dropped(near[0]), dropped(near[1])), (dropped(all), 0));
    });
}

#[test]
fn a_busy_port_leaves_nothing_open() {
    run(|Site { near, .. }| async move {
        let _busy = near[1].scope(TcpListener::bind("0.0.0.0:80")).await.unwrap();
        let error = TcpListener::bind("0.0.0.0:80").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        near[0].scope(TcpListener::bind("0.0.0.0:80")).await.unwrap();
    });
}

#[test]
fn a_port_that_is_chosen_is_free_everywhere() {
    let mut config = Config::default();
    config.ephemeral_ports = 50_000..=50_003;
    run_with(config, |Site { near, .. }| async move {
        let mut busy = Vec::new();
        for port in 50_000..50_003 {
            busy.push(near[1].scope(TcpListener::bind(("0.0.0.0", port))).await.unwrap());
        }
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        assert_eq!(listener.local_addr().unwrap().port(), 50_003);
        let error = TcpListener::bind("0.0.0.0:0").await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable), "{error}");
    });
}

/// Where a connection goes out: the last number but two of its own address.
async fn way(remote: &str) -> io::Result<u8> {
    let stream = TcpStream::connect(remote).await?;
    match stream.local_addr()?.ip() {
        IpAddr::V4(addr) => Ok(addr.octets()[1]),
        IpAddr::V6(addr) => Ok(addr.segments()[1] as u8),
    }
}

/// An address that only a router leads to.
const REMOTE: &str = "192.0.2.1";

#[test]
fn connections_go_out_by_the_routes_of_all() {
    run(|Site { all, far, near }| async move {
        let mut listeners = Vec::new();
        for host in far {
            host.add_address(cidr("192.0.2.1/32")).unwrap();
            listeners.push(host.scope(TcpListener::bind("[::]:80")).await.unwrap());
        }
        assert_eq!(way("10.7.0.1:80").await.unwrap(), 7);
        assert_eq!(way("10.8.0.1:80").await.unwrap(), 8);
        assert_eq!(way("[fd00:7::1]:80").await.unwrap(), 7);
        assert_eq!(way("[fd00:8::1]:80").await.unwrap(), 8);
        let error = way("192.0.2.1:80").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NetworkUnreachable);

        all.add_route(Cidr::ALL_V4, addresses(8, 1)[0]).unwrap();
        assert_eq!(way("192.0.2.1:80").await.unwrap(), 8, "the only way");
        all.add_route(Cidr::ALL_V4, addresses(7, 1)[0]).unwrap();
        assert_eq!(way("192.0.2.1:80").await.unwrap(), 7, "the first of two equal ones");
        all.add_route(cidr("192.0.2.0/24"), addresses(8, 1)[0]).unwrap();
        assert_eq!(way("192.0.2.1:80").await.unwrap(), 8, "the longest prefix");
        near[0].add_route(cidr("192.0.2.1/32"), addresses(7, 1)[0]).unwrap();
        assert_eq!(way("192.0.2.1:80").await.unwrap(), 7);
        near[0].remove_route(cidr("192.0.2.1/32")).unwrap();

        // Whoever has chosen an address has chosen an interface.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(at(addresses(7, 2)[0], 0)).unwrap();
        let stream = socket.connect(at(REMOTE.parse().unwrap(), 80)).await.unwrap();
        assert_eq!(stream.local_addr().unwrap().ip(), addresses(7, 2)[0]);
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("10.9.0.2:0".parse().unwrap()).unwrap();
        let error = socket.connect("10.7.0.1:80".parse().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);

        all.remove_route(cidr("192.0.2.0/24")).unwrap();
        all.remove_route(Cidr::ALL_V4).unwrap();
        assert_eq!(way("192.0.2.1:80").await.unwrap_err().kind(), ErrorKind::NetworkUnreachable);
        assert!(
            all.remove_route(Cidr::ALL_V4).is_err()
                && all.add_route(Cidr::ALL_V4, REMOTE.parse().unwrap()).is_err()
        );
    });
}

#[test]
fn loopback_addresses_and_ones_own_are_reached() {
    run(|_| async move {
        let everywhere = TcpListener::bind("[::]:80").await.unwrap();
        for addr in ["127.0.0.1", "::1", "10.7.0.2", "10.8.0.2", "fd00:8::2"] {
            let to = at(addr.parse().unwrap(), 80);
            let (connected, accepted) = future::join(TcpStream::connect(to), everywhere.accept()).await;
            check_echo(accepted.unwrap().0, connected.unwrap()).await;
        }
        let there = TcpListener::bind("127.0.0.1:81").await.unwrap();
        let (connected, accepted) = future::join(TcpStream::connect("127.0.0.1:81"), there.accept()).await;
        check_echo(accepted.unwrap().0, connected.unwrap()).await;
        let (a, b) =
            (UdpSocket::bind("127.0.0.1:80").await.unwrap(), UdpSocket::bind("0.0.0.0:0").await.unwrap());
        b.send_to(b"hello", "127.0.0.1:80").await.unwrap();
        assert_eq!(a.recv_from(&mut [0; 8]).await.unwrap().0, 5);
    });
}

/// The socket of the other end of each interface, bound to its address of a version of IP.
async fn far_sockets(far: [Host; 2], version: usize) -> [UdpSocket; 2] {
    let bind = |index: usize| far[index].scope(UdpSocket::bind((addresses(NETS[index], 1)[version], 0)));
    let (a, b) = future::join(bind(0), bind(1)).await;
    [a.unwrap(), b.unwrap()]
}

/// A datagram that is looked at and never taken is always there.
#[test]
fn whoever_always_finds_something_on_all_lets_others_run() {
    run(|Site { far, .. }| async move {
        let socket = UdpSocket::bind("0.0.0.0:80").await.unwrap();
        let [sender, _] = far_sockets(far, 0).await;
        sender.send_to(b"x", at(addresses(7, 2)[0], 80)).await.unwrap();
        socket.readable().await.unwrap();
        let look = async {
            for _ in 0..1000 {
                socket.peek_from(&mut [0; 8]).await.unwrap();
            }
        };
        let waits = waits(look).await;
        assert!((6..=8).contains(&waits), "{waits} waits");
    });
}

#[test]
fn datagrams_come_from_all_and_go_by_route() {
    run(|Site { far, .. }| async move {
        let socket = UdpSocket::bind("[::]:80").await.unwrap();
        assert_eq!(socket.local_addr().unwrap(), "[::]:80".parse().unwrap());
        socket.set_ttl(9).unwrap();
        let mut buf = [0; 16];
        for version in [0, 1] {
            let sockets = far_sockets(far, version).await;
            for (other, net) in sockets.iter().zip(NETS) {
                other.send_to(b"question", at(addresses(net, 2)[version], 80)).await.unwrap();
                assert!(socket.ready(Interest::READABLE).await.unwrap().is_readable());
                let (len, peer) = socket.recv_from(&mut buf).await.unwrap();
                assert_eq!((len, peer), (8, other.local_addr().unwrap()));
                assert_eq!(socket.try_recv_from(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
                socket.writable().await.unwrap();
                socket.send_to(b"answer", peer).await.unwrap();
                let answer = other.recv_from(&mut buf).await.unwrap();
                assert_eq!(answer, (6, at(addresses(net, 2)[version], 80)));
            }
        }
        assert_eq!(socket.ttl().unwrap(), 9);
        assert_eq!(socket.send(b"x").await.unwrap_err().kind(), ErrorKind::NotConnected);
        // A stack on another thread says so when it has looked.
        let error = loop {
            match socket.send_to(b"x", "192.0.2.1:80").await {
                Ok(_) => sleep(Duration::from_millis(1)).await,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::NetworkUnreachable);
    });
}

#[test]
fn what_is_peeked_at_is_what_is_received_next() {
    run(|Site { far, .. }| async move {
        let socket = UdpSocket::bind("0.0.0.0:80").await.unwrap();
        let sockets = far_sockets(far, 0).await;
        for (other, net) in sockets.iter().zip(NETS) {
            other.send_to(&[net; 3], at(addresses(net, 2)[0], 80)).await.unwrap();
        }
        sleep(SOON).await;
        for _ in NETS {
            let (mut seen, mut again, mut taken) = ([0; 8], [0; 8], [0; 8]);
            let shown = socket.peek_from(&mut seen).await.unwrap();
            assert_eq!(socket.try_peek_from(&mut again).unwrap(), shown);
            assert_eq!(socket.recv_from(&mut taken).await.unwrap(), shown);
            assert!(seen == taken && again == taken, "{seen:?} and {again:?}, then {taken:?}");
        }
    });
}

/// A link-local address with its scope.
fn scoped(addr: IpAddr, port: u16, scope: u32) -> SocketAddr {
    let mut addr = at(addr, port);
    if let SocketAddr::V6(addr) = &mut addr {
        addr.set_scope_id(scope);
    }
    addr
}

/// What a socket of the other side is called here.
fn peer_of(other: &UdpSocket, scope: u32) -> SocketAddr {
    let addr = other.local_addr().unwrap();
    scoped(addr.ip(), addr.port(), scope)
}

/// Both interfaces have the same one, and so have both ends of the other side.
#[test]
fn link_local_addresses_tell_their_interface() {
    run(|Site { far, .. }| async move {
        let socket = UdpSocket::bind("[::]:80").await.unwrap();
        let listener = TcpListener::bind("[::]:80").await.unwrap();
        let mut buf = [0; 16];
        for (index, host) in far.into_iter().enumerate() {
            let link_local = host.addresses().unwrap()[0].addr();
            let scope = index as u32 + 1;
            let other = host.scope(UdpSocket::bind((link_local, 0))).await.unwrap();
            let near = Site::here().near[index].addresses().unwrap()[0].addr();
            other.send_to(b"question", at(near, 80)).await.unwrap();
            let (_, peer) = socket.recv_from(&mut buf).await.unwrap();
            assert!(matches!(peer, SocketAddr::V6(peer) if peer.scope_id() == scope), "{peer}");
            socket.send_to(b"answer", peer).await.unwrap();
            assert_eq!(other.recv_from(&mut buf).await.unwrap().0, 6);
            let (_stream, accepted, peer) = meet(&listener, host, at(near, 80)).await;
            assert!(matches!(peer, SocketAddr::V6(peer) if peer.scope_id() == scope), "{peer}");
            // The connection says the same, and by what it says one gets back.
            let own = accepted.local_addr().unwrap();
            assert_eq!((accepted.peer_addr().unwrap(), own), (peer, scoped(near, 80, scope)));
            assert_eq!(
                Site::here().all.tcp_connections().unwrap().iter().filter(|flow| flow.1 == peer).count(),
                1
            );
            let back = host.scope(TcpListener::bind((link_local, 81))).await.unwrap();
            let socket = TcpSocket::new_v6().unwrap();
            // Both interfaces have it: the peer's scope says which is meant.
            socket.bind(at(near, 0)).unwrap();
            let connect = socket.connect(scoped(link_local, 81, scope));
            let (connected, accepted) = future::join(connect, back.accept()).await;
            let connected = connected.unwrap();
            assert_eq!(connected.peer_addr().unwrap(), scoped(link_local, 81, scope));
            assert_eq!(accepted.unwrap().1.port(), connected.local_addr().unwrap().port());
            // So does a datagram socket on one interface.
            let one = UdpSocket::bind(scoped(near, 82, scope)).await.unwrap();
            assert_eq!(one.local_addr().unwrap(), scoped(near, 82, scope));
            other.send_to(b"question", at(near, 82)).await.unwrap();
            let (_, from) = one.recv_from(&mut buf).await.unwrap();
            one.connect(from).await.unwrap();
            assert_eq!((from, one.peer_addr().unwrap()), (peer_of(&other, scope), from));
            // It is on no other link.
            let elsewhere = scoped(link_local, 81, 3 - scope);
            let sent = one.send_to(b"x", elsewhere).await.unwrap_err();
            let connected = one.connect(elsewhere).await.unwrap_err();
            assert!([sent, connected].iter().all(|error| error.to_string().contains("another link")));
        }
        let error = socket.send_to(b"x", "[fe80::1%3]:80").await.unwrap_err();
        assert!(error.to_string().contains("no interface 3"), "{error}");
    });
}

#[test]
fn a_connected_socket_is_where_its_peer_is() {
    run(|Site { far, .. }| async move {
        let sockets = far_sockets(far, 0).await;
        let socket = UdpSocket::bind("0.0.0.0:80").await.unwrap();
        let waiting = crate::spawn(async move {
            let mut buf = [0; 16];
            let received = socket.recv(&mut buf).await;
            (socket, received)
        });
        sleep(Duration::from_millis(1)).await;
        sockets[0].send_to(b"first", "10.7.0.2:80").await.unwrap();
        let (socket, received) = waiting.await.unwrap();
        assert_eq!(received.unwrap(), 5);

        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        assert!(socket.poll_recv_ready(&mut Context::from_waker(&waker)).is_pending());
        socket.connect(sockets[1].local_addr().unwrap()).await.unwrap();
        assert_eq!(count.0.load(Ordering::Relaxed), 1, "who waited on the other interface looks again");
        assert_eq!(socket.peer_addr().unwrap(), sockets[1].local_addr().unwrap());
        assert_eq!(socket.local_addr().unwrap(), "10.8.0.2:80".parse().unwrap());
        socket.send(b"question").await.unwrap();
        let mut buf = [0; 16];
        assert_eq!(sockets[1].recv_from(&mut buf).await.unwrap().0, 8);
        sockets[1].send_to(b"answer", "10.8.0.2:80").await.unwrap();
        assert_eq!(socket.recv_from(&mut buf).await.unwrap(), (6, sockets[1].local_addr().unwrap()));
        // On the other interface nobody has that port any more, until somebody else does.
        sockets[0].connect("10.7.0.2:80").await.unwrap();
        sockets[0].send(b"x").await.unwrap();
        assert_eq!(sockets[0].recv(&mut buf).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        // That one's place is where the closed one's was, and its waiters are not the closed one's.
        let next = UdpSocket::bind("10.7.0.2:80").await.unwrap();
        let received = crate::spawn(async move { next.recv_from(&mut [0; 16]).await });
        sleep(Duration::from_millis(1)).await;
        drop(socket);
        sleep(Duration::from_millis(1)).await;
        sockets[0].send(b"next").await.unwrap();
        assert_eq!(received.await.unwrap().unwrap().0, 4);
    });
}

#[test]
fn echo_requests_go_by_route() {
    run(|_| async move {
        let socket = EchoSocket::open().unwrap();
        for (sequence, to) in (1..).zip(["10.7.0.1", "10.8.0.1", "fd00:8::1", "127.0.0.1"]) {
            socket.send(to.parse().unwrap(), sequence, b"hello").unwrap();
            let reply = socket.recv().await.unwrap();
            assert_eq!((reply.from, reply.sequence), (to.parse().unwrap(), sequence));
        }
        assert_eq!(
            socket.send(REMOTE.parse().unwrap(), 9, b"").unwrap_err().kind(),
            ErrorKind::NetworkUnreachable
        );
    });
}

/// Counts how often it is called; who holds it shows in its reference count.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn who_has_waited_is_forgotten_everywhere() {
    run(|Site { far, .. }| async move {
        let listener = TcpListener::bind("0.0.0.0:80").await.unwrap();
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut cx = Context::from_waker(&waker);
        let held = || Arc::strong_count(&count) - 2;
        for (index, net) in NETS.into_iter().enumerate() {
            let connect = || far[index].scope(TcpStream::connect(at(addresses(net, 2)[0], 80)));
            // A future that is given up.
            let mut accept = Box::pin(listener.accept());
            assert!(accept.as_mut().poll(&mut cx).is_pending() && held() == 2);
            drop(accept);
            assert_eq!(held(), 0);
            // A future that gets a connection of one interface.
            let mut accept = Box::pin(listener.accept());
            assert!(accept.as_mut().poll(&mut cx).is_pending());
            let _stream = connect().await.unwrap();
            while count.0.swap(0, Ordering::Relaxed) == 0 {
                sleep(Duration::from_millis(1)).await;
            }
            assert!(accept.as_mut().poll(&mut cx).is_ready());
            drop(accept);
            assert_eq!(held(), 0);
            // The last task that polled, which it does twice.
            assert!(listener.poll_accept(&mut cx).is_pending() && listener.poll_accept(&mut cx).is_pending());
            assert_eq!(held(), 2);
            let _stream = connect().await.unwrap();
            while count.0.swap(0, Ordering::Relaxed) == 0 {
                sleep(Duration::from_millis(1)).await;
            }
            let Poll::Ready(accepted) = listener.poll_accept(&mut cx) else { panic!("it was woken") };
            assert_eq!(accepted.unwrap().0.local_addr().unwrap().ip(), addresses(net, 2)[0]);
            assert_eq!(held(), 0);
        }
    });
}

#[test]
fn a_cancelled_accept_loses_no_connection() {
    run(|Site { far, .. }| async move {
        let listener = TcpListener::bind("0.0.0.0:80").await.unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        for round in 0..20 {
            let mut accept = Box::pin(listener.accept());
            assert!(accept.as_mut().poll(&mut cx).is_pending());
            let index = round % 2;
            let _stream =
                far[index].scope(TcpStream::connect(at(addresses(NETS[index], 2)[0], 80))).await.unwrap();
            sleep(Duration::from_micros(200)).await;
            drop(accept);
            listener.accept().await.unwrap();
        }
    });
}

#[test]
fn a_busy_interface_does_not_starve_the_other() {
    run(|Site { all, far, .. }| async move {
        let listener = TcpListener::bind("0.0.0.0:80").await.unwrap();
        let mut streams = Vec::new();
        for index in [0, 0, 0, 0, 0, 0, 1, 1] {
            let to = at(addresses(NETS[index], 2)[0], 80);
            streams.push(far[index].scope(TcpStream::connect(to)).await.unwrap());
        }
        // What is accepted ahead in a split stack is here then.
        until_established(all, streams.len()).await;
        let mut order = Vec::new();
        for _ in 0..streams.len() {
            let (_stream, peer) = listener.accept().await.unwrap();
            order.push(peer.ip() == addresses(8, 1)[0]);
        }
        let later: Vec<_> = order.iter().skip_while(|is_second| !**is_second).collect();
        assert!(later.len() >= 7 && *later[2], "one and one as long as both have some: {order:?}");
    });
}

#[test]
fn tasks_may_still_choose_an_interface() {
    run(|Site { all, near, far }| async move {
        let listener = near[1].scope(TcpListener::bind("0.0.0.0:80")).await.unwrap();
        assert_eq!(near[1].spawn(async { Host::current().unwrap() }).await.unwrap(), near[1]);
        assert_eq!(crate::spawn(async { Host::current().unwrap() }).await.unwrap(), all);
        assert_eq!(near[0].scope(all.scope(async { Host::current().unwrap() })).await, all);
        meet(&listener, far[1], at(addresses(8, 2)[0], 80)).await;
        let error = far[0].scope(TcpStream::connect(at(addresses(7, 2)[0], 80))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn every_core_has_all_interfaces() {
    for model in Model::ALL {
        let runtime = build(Runtime::builder().model(model), 2);
        let serve = || async {
            let Site { far, .. } = Site::here();
            let listener = TcpListener::bind("0.0.0.0:80").await.unwrap();
            for (index, net) in NETS.into_iter().enumerate() {
                let (stream, accepted, _) = meet(&listener, far[index], at(addresses(net, 2)[0], 80)).await;
                check_echo(accepted, stream).await;
            }
        };
        runtime.block_on(async move {
            let other = crate::spawn_on(1, serve).unwrap();
            let (one, other) = future::join(crate::spawn(serve()), timeout(LONG, other)).await;
            one.unwrap();
            other.unwrap().unwrap();
        });
    }
}

/// Where stacks have threads of their own, sockets work on all others; else they say why not, and are closed at home.
#[test]
fn a_socket_on_all_interfaces_goes_where_others_go() {
    for model in Model::ALL {
        let runtime = build(Runtime::builder().model(model), 1);
        runtime.block_on(async move {
            let Site { all, far, .. } = Site::here();
            let listener = TcpListener::bind("0.0.0.0:80").await.unwrap();
            let _stream = far[1].scope(TcpStream::connect("10.8.0.2:80")).await.unwrap();
            timeout(LONG, until_established(all, 1)).await.expect("it is established");
            let accepted =
                std::thread::spawn(move || listener.try_accept().map(|(stream, _)| stream.local_addr()));
            let accepted = accepted.join().unwrap();
            if model == Model::Unified {
                let text = accepted.unwrap_err().to_string();
                assert!(text.contains("spawn_on"), "{text}");
            } else {
                assert_eq!(accepted.unwrap().unwrap(), "10.8.0.2:80".parse().unwrap());
            }
            let refused = async {
                loop {
                    match far[0].scope(TcpStream::connect("10.7.0.2:80")).await {
                        // It is not closed yet.
                        Ok(_) => sleep(Duration::from_millis(1)).await,
                        Err(error) => break error,
                    }
                }
            };
            let error = timeout(LONG, refused).await.expect("it is closed");
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        });
    }
}

/// As in a program whose tasks are on threads of its own, or of another runtime.
#[test]
fn a_host_of_several_is_used_on_other_threads_where_its_stacks_have_their_own() {
    for model in [Model::Split, Model::Merge] {
        let runtime = build(Runtime::builder().model(model), 1);
        let Site { all, near, far } = runtime.block_on(async { Site::here() });
        let work = move || {
            super::futures_executor(all.scope(async move {
                assert_eq!((Host::current().unwrap(), all.interfaces().unwrap()), (all, near.to_vec()));
                let listener = TcpListener::bind("[::]:0").await.unwrap();
                let port = listener.local_addr().unwrap().port();
                let sockets = far_sockets(far, 0).await;
                let socket = UdpSocket::bind("0.0.0.0:80").await.unwrap();
                for (index, net) in NETS.into_iter().enumerate() {
                    let (stream, accepted, _) =
                        meet(&listener, far[index], at(addresses(net, 2)[0], port)).await;
                    check_echo(accepted, stream).await;
                    let there = far[index].scope(TcpListener::bind("[::]:81")).await.unwrap();
                    let (stream, accepted, _) = meet(&there, all, at(addresses(net, 1)[1], 81)).await;
                    check_echo(accepted, stream).await;
                    socket.send_to(b"hello", sockets[index].local_addr().unwrap()).await.unwrap();
                    let peer = sockets[index].recv_from(&mut [0; 8]).await.unwrap().1;
                    assert_eq!(peer, at(addresses(net, 2)[0], 80));
                }
                (all.addresses().unwrap(), all.tcp_count().unwrap() > 0, all.mac().unwrap_err().kind())
            }))
        };
        let seen = std::thread::spawn(work).join().unwrap();
        assert_eq!(seen, (all.addresses().unwrap(), true, ErrorKind::InvalidInput));
        drop(runtime);
        let gone = std::thread::spawn(move || all.interfaces().unwrap_err().kind()).join().unwrap();
        assert_eq!(gone, ErrorKind::NotConnected);
    }
    let runtime = build(Runtime::builder(), 1);
    let all = runtime.host();
    let error = std::thread::spawn(move || all.interfaces().unwrap_err().to_string()).join().unwrap();
    assert!(error.contains("spawn_on"), "{error}");
}

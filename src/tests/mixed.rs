//! One host of several interfaces, of which one is the operating system's sockets.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use futures_util::future;
use hayase_device::conformance::skip;

use super::interfaces::{check_echo, device};
use crate::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use crate::runtime::Queue;
use crate::time::{self, timeout};
use crate::{Host, Model, Reactor, Runtime};

/// An in-memory device and the operating system's sockets, in this order or the other.
fn build(model: Model, is_kernel_first: bool) -> Runtime {
    let kernel = |reactor: &mut Reactor, _: &_| Ok(vec![reactor.attach_kernel(false, None, time::now())?]);
    let built = Runtime::builder().model(model).build_with(|builder, reactor, handle| {
        let mut devices: Vec<Vec<Queue>> = vec![vec![device(7)], vec![Box::new(kernel)]];
        if is_kernel_first {
            devices.reverse();
        }
        builder.attach_devices(reactor, handle, devices)
    });
    built.unwrap()
}

/// Runs a test with every CPU model and both orders: on the host, and its two interfaces with the kernel last.
fn run<F: Future>(test: impl Fn(Host, [Host; 2], bool) -> F) {
    for (model, is_kernel_first) in Model::ALL.into_iter().flat_map(|model| [(model, false), (model, true)]) {
        println!("model {model}, kernel first: {is_kernel_first}");
        build(model, is_kernel_first).block_on(async {
            let host = Host::current().unwrap();
            let mut interfaces: [Host; 2] = host.interfaces().unwrap().try_into().unwrap();
            if is_kernel_first {
                interfaces.reverse();
            }
            let test = test(host, interfaces, is_kernel_first);
            timeout(Duration::from_secs(10), test).await.expect("it is stuck");
        });
    }
}

async fn meet(listener: &TcpListener, to: SocketAddr) -> (TcpStream, TcpStream, SocketAddr) {
    let (stream, accepted) = future::join(TcpStream::connect(to), listener.accept()).await;
    let (accepted, peer) = accepted.unwrap();
    (stream.unwrap(), accepted, peer)
}

#[test]
fn loopback_is_the_first_ones() {
    run(|_, [wire, kernel], is_kernel_first| async move {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let before = [wire, kernel].map(|host| host.tcp_count().unwrap());
            let Ok(listener) = TcpListener::bind(address).await else {
                assert!(is_kernel_first && address.starts_with('['), "no {address}");
                continue;
            };
            let (stream, accepted, _) = meet(&listener, listener.local_addr().unwrap()).await;
            let both = [wire, kernel].map(|host| host.tcp_count().unwrap());
            let more = [both[0] - before[0], both[1] - before[1]];
            assert_eq!(more, if is_kernel_first { [0, 2] } else { [2, 0] });
            check_echo(accepted, stream).await;
            let receiver = UdpSocket::bind(address).await.unwrap();
            let sender = UdpSocket::bind(address).await.unwrap();
            sender.send_to(b"hello", receiver.local_addr().unwrap()).await.unwrap();
            let (len, from) = receiver.recv_from(&mut [0; 8]).await.unwrap();
            assert_eq!((len, from), (5, sender.local_addr().unwrap()));
        }
    });
}

/// A link-local address of this machine, and the number of its link.
fn own_link_local() -> Option<(Ipv6Addr, u32)> {
    let table = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    table.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let addr = Ipv6Addr::from(u128::from_str_radix(words.next()?, 16).ok()?);
        let link = u32::from_str_radix(words.next()?, 16).ok()?;
        addr.is_unicast_link_local().then_some((addr, link))
    })
}

/// Both have some, and both have a link number 1 or 2. What goes to our own addresses leaves this machine by no link.
#[test]
fn a_scope_names_an_interface_or_a_link_of_the_system() {
    let Some((own, link)) = own_link_local() else { return skip("this machine has no link-local address") };
    run(|_, [wire, kernel], is_kernel_first| async move {
        let scoped = |port, scope| SocketAddr::from(SocketAddrV6::new(own, port, 0, scope));
        let scope = 2 + link;
        let listener = TcpListener::bind(scoped(0, scope)).await.unwrap();
        let here = listener.local_addr().unwrap();
        assert_eq!(here, scoped(here.port(), scope));
        let (stream, accepted, peer) = meet(&listener, here).await;
        assert_eq!((stream.peer_addr().unwrap(), stream.local_addr().unwrap()), (here, peer));
        assert_eq!((accepted.peer_addr().unwrap(), accepted.local_addr().unwrap()), (peer, here));
        assert_eq!(wire.tcp_count().unwrap(), 0);
        check_echo(accepted, stream).await;
        let socket = TcpSocket::new_v6().unwrap();
        socket.bind(scoped(0, scope)).unwrap();
        socket.connect(here).await.unwrap();

        // One that is everywhere, and by where it came from one gets back.
        let socket = UdpSocket::bind("[::]:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let other = UdpSocket::bind(scoped(0, scope)).await.unwrap();
        let mut buf = [0; 8];
        other.send_to(b"hello", scoped(port, scope)).await.unwrap();
        let (len, from) = socket.recv_from(&mut buf).await.unwrap();
        assert_eq!((len, from), (5, other.local_addr().unwrap()));
        socket.send_to(b"answer", from).await.unwrap();
        assert_eq!(other.recv_from(&mut buf).await.unwrap(), (6, scoped(port, scope)));
        let from_wire = far_of(wire).await;
        let ours = wire.addresses().unwrap()[0].addr();
        from_wire.send_to(b"hello", (ours, port)).await.unwrap();
        let (_, from) = socket.recv_from(&mut buf).await.unwrap();
        let number = if is_kernel_first { 2 } else { 1 };
        assert!(matches!(from, SocketAddr::V6(from) if from.scope_id() == number), "{from}");
        socket.send_to(b"answer", from).await.unwrap();
        assert_eq!(from_wire.recv_from(&mut buf).await.unwrap().0, 6);
        socket.connect(other.local_addr().unwrap()).await.unwrap();
        assert_eq!(socket.peer_addr().unwrap(), other.local_addr().unwrap());

        // The system has many links: its number among ours names none of them.
        let error = TcpStream::connect(scoped(80, 3 - number)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(kernel.addresses().unwrap().iter().any(|cidr| cidr.addr() == IpAddr::from(own)));
    });
}

/// A socket at the other end of the wire, at its link-local address.
async fn far_of(wire: Host) -> UdpSocket {
    let far = wire.peer().unwrap();
    let addr = far.addresses().unwrap()[0].addr();
    far.scope(UdpSocket::bind((addr, 0))).await.unwrap()
}

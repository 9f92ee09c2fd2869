//! Several devices, each with a queue for every core: what cores do with connections, they do on each device.

use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};

use super::*;

/// The second number of the devices' networks. The gate is in the first.
const NETS: [u8; 2] = [9, 10];
const PORT: u16 = 80;
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 2);

fn addr(net: u8, last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, net, 0, last)
}

/// A server of two devices with two queues each, and the cables that lead to these.
fn two_devices(builder: Builder) -> (Runtime, Vec<Parts>) {
    let (mut servers, mut clients) = (Vec::new(), Vec::new());
    for net in NETS {
        let (mut queues, mut cables) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let ((to_server, from_client), (to_client, from_server)) = (ring(), ring());
            cables.push((to_server, from_server));
            let rss = Some(Rss::even(2));
            let attach = move |reactor: &mut Reactor, config: &_| {
                let nic = Nic::new(vec![(to_client, from_client)], Spreading::Rss, rss, 2);
                attach(reactor, nic, addr(net, 2), config)
            };
            queues.push(Box::new(attach) as Queue);
        }
        servers.push(queues);
        clients.push(Parts(cables, Spreading::Rss, Some(Rss::even(2)), 1));
    }
    let server = builder.cores(2).build_with(|builder, reactor, handle| {
        let seat = |queues| builder.seat(queues, true);
        let devices = servers.into_iter().map(seat).collect::<io::Result<Vec<_>>>()?;
        builder.attach_devices(reactor, handle, devices)
    });
    (server.unwrap(), clients)
}

fn play_two<C: Future + 'static, S: Future>(
    builder: Builder,
    client: impl FnOnce() -> C + Send + 'static,
    server: impl FnOnce() -> S,
) -> (C::Output, S::Output)
where
    C::Output: Send + 'static,
{
    let (runtime, clients) = two_devices(builder);
    let devices = || {
        let device = |(net, parts): (u8, Parts)| {
            let attach =
                move |reactor: &mut Reactor, config: &_| attach(reactor, parts.build(), addr(net, 1), config);
            vec![Box::new(attach) as Queue]
        };
        NETS.into_iter().zip(clients).map(device).collect()
    };
    play_on(runtime, devices, client, server)
}

/// Waits until nobody else can have this host's link-local addresses.
async fn link_local_is_ours() {
    let count = || {
        let addresses = Host::current().unwrap().addresses().unwrap();
        addresses
            .iter()
            .filter(|cidr| matches!(cidr.addr(), IpAddr::V6(addr) if addr.is_unicast_link_local()))
            .count()
    };
    while count() < NETS.len() {
        sleep(Duration::from_millis(5)).await;
    }
}

async fn greet(stream: &mut TcpStream, text: &[u8]) {
    stream.write_all(text).await.unwrap();
    let mut buf = vec![0; text.len()];
    stream.read_exact(&mut buf).await.unwrap();
    assert_eq!(buf, text);
}

#[test]
fn policies_deal_the_connections_of_every_device() {
    const COUNT: usize = 20;
    let policies = [AcceptPolicy::RoundRobin, AcceptPolicy::LeastLoaded];
    for (policy, model) in policies.into_iter().flat_map(|policy| Model::ALL.map(|model| (policy, model))) {
        let client = || async {
            wait_at_the_gate().await;
            let mut streams = Vec::new();
            for number in 0..COUNT {
                let mut stream = TcpStream::connect((addr(NETS[number % 2], 2), PORT)).await.unwrap();
                greet(&mut stream, b"hello").await;
                streams.push(stream);
            }
        };
        let builder = Runtime::builder().accept(policy).model(model);
        let ((), counts) = play_two(builder, client, || async {
            let counts = start_echo(PORT, &[0, 1]).await;
            let _gate = let_in().await;
            while counted(&counts).iter().sum::<usize>() < COUNT {
                sleep(Duration::from_millis(1)).await;
            }
            counted(&counts)
        });
        assert!(counts.iter().all(|count| (6..=14).contains(count)), "{model} {policy:?}: {counts:?}");
    }
}

/// There and back, with the device that it came in on: its addresses are what they were, the scope of a link-local one too.
#[test]
fn connections_of_every_device_move() {
    for model in Model::ALL {
        let client = || async {
            wait_at_the_gate().await;
            let v4 = NETS.map(|net| SocketAddr::from((addr(net, 2), PORT)));
            let v6 = [1, 2].map(|scope| SocketAddr::from(SocketAddrV6::new(LINK_LOCAL, PORT, 0, scope)));
            for to in v4.into_iter().chain(v6) {
                let mut stream = TcpStream::connect(to).await.unwrap();
                assert_eq!(stream.peer_addr().unwrap(), to);
                for text in [b"zero", b"one.", b"two."] {
                    greet(&mut stream, text).await;
                }
            }
        };
        play_two(Runtime::builder().model(model), client, || async {
            link_local_is_ours().await;
            let listener = TcpListener::bind(("::", PORT)).await.unwrap();
            let _gate = let_in().await;
            for index in 0..2 * NETS.len() {
                let (mut stream, peer) = listener.accept().await.unwrap();
                let ends = (stream.local_addr().unwrap(), peer);
                let scope = if let SocketAddr::V6(peer) = peer { peer.scope_id() } else { 0 };
                assert_eq!(scope, if index < 2 { 0 } else { index as u32 - 1 }, "{peer}");
                echo_of(&mut stream, ends).await;
                let stream = stream.migrate(1).await.unwrap();
                let there = spawn_on(1, move || async move {
                    let mut stream = stream;
                    echo_of(&mut stream, ends).await;
                    stream.migrate(0).await.unwrap()
                });
                let mut stream = there.unwrap().await.unwrap();
                echo_of(&mut stream, ends).await;
                // The client closes first.
                assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
            }
        });
    }

    async fn echo_of(stream: &mut TcpStream, ends: (SocketAddr, SocketAddr)) {
        assert_eq!((stream.local_addr().unwrap(), stream.peer_addr().unwrap()), ends);
        let mut buf = [0; 4];
        stream.read_exact(&mut buf).await.unwrap();
        stream.write_all(&buf).await.unwrap();
    }
}

/// A connection with a port of its own choice is pinned to the core that opened it, whatever frames of it look like; and no frame
/// has a scope.
#[test]
fn connections_to_link_local_addresses_stay_on_their_core() {
    const COUNT: u16 = 8;
    let client = || async {
        link_local_is_ours().await;
        let listener = TcpListener::bind(("::", PORT)).await.unwrap();
        wait_at_the_gate().await;
        let mut echoes = Vec::new();
        for _ in 0..4 * COUNT {
            let (stream, _) = listener.accept().await.unwrap();
            echoes.push(spawn(echo_one(stream)));
        }
        // The server closes first.
        for echo in echoes {
            echo.await.unwrap();
        }
    };
    play_two(Runtime::builder(), client, || async {
        link_local_is_ours().await;
        let _gate = let_in().await;
        for core in 0..2 {
            spawn_on(core, move || connect_all(core as u16)).unwrap().await.unwrap();
        }
    });

    async fn connect_all(core: u16) {
        let peer = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 1);
        for (number, scope) in (0..COUNT).flat_map(|number| [(number, 1), (number, 2)]) {
            let socket = TcpSocket::new_v6().unwrap();
            socket.bind((Ipv6Addr::UNSPECIFIED, 4000 + 100 * core + number).into()).unwrap();
            let to = SocketAddrV6::new(peer, PORT, 0, scope).into();
            let connected = timeout(Duration::from_secs(5), socket.connect(to)).await;
            let mut stream = connected.expect("answers come to this core").unwrap();
            greet(&mut stream, b"hello").await;
        }
    }
}

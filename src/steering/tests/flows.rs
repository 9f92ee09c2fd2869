//! Flows of which the NIC brings something, or everything, to another queue than their home's.

use hayase_device::{FlowKey, HASH_KEY_MICROSOFT, HashFields};
use tokio::sync::oneshot;

use super::*;

/// Both cores have a UDP socket there.
pub(super) const PORT: u16 = 5000;

/// A port of the client, what comes from which to that one the NIC brings to this queue.
pub(super) fn port_of_queue(queue: u16) -> u16 {
    let flow =
        |port| FlowKey { source: (CLIENT, port).into(), destination: (SERVER, PORT).into(), udp: true };
    (6000..7000).find(|port| Rss::even(2).queue(&flow(*port)) == queue).expect("one in two is")
}

async fn socket_at(peer: u16) -> UdpSocket {
    let socket = UdpSocket::bind((SERVER, PORT)).await.unwrap();
    socket.connect((CLIENT, peer)).await.unwrap();
    socket
}

/// The client says so of every datagram, and its NIC brings that to the first queue.
#[test]
fn that_nobody_listens_is_told_to_the_core_that_asked() {
    for (queues, spreading) in NICS {
        let server = || async {
            let _here = UdpSocket::bind((SERVER, PORT)).await.unwrap();
            let ask = || async {
                let socket = socket_at(port_of_queue(1)).await;
                socket.send(b"anybody?").await.unwrap();
                let told = timeout(Duration::from_secs(5), socket.recv(&mut [0; 1])).await;
                told.expect("it is told").unwrap_err().kind()
            };
            let told = spawn_on(1, ask).unwrap().await.unwrap();
            assert_eq!(told, io::ErrorKind::ConnectionRefused, "{queues} {spreading:?}");
            let gate = let_in().await;
            drop(gate.accept().await.unwrap());
        };
        play(site(2, queues, spreading, AcceptPolicy::Local), wait_at_the_gate, server);
    }
}

/// Sends back what comes to these ports until the server lets in.
async fn echo_datagrams(ports: [u16; 2]) {
    for port in ports {
        let socket = UdpSocket::bind((CLIENT, port)).await.unwrap();
        drop(spawn(async move {
            let mut buf = [0; 100];
            while let Ok((len, from)) = socket.recv_from(&mut buf).await {
                socket.send_to(&buf[..len], from).await.unwrap();
            }
        }));
    }
    wait_at_the_gate().await;
}

/// Asks until there is an answer: the client may not listen yet.
async fn ask(socket: &UdpSocket) {
    let ask = async {
        loop {
            // What is refused is asked again.
            let _ = socket.send(b"you?").await;
            let mut buf = [0; 100];
            if let Ok(Ok(len)) = timeout(Duration::from_millis(20), socket.recv(&mut buf)).await {
                return assert_eq!(&buf[..len], b"you?");
            }
        }
    };
    timeout(Duration::from_secs(5), ask).await.expect("the datagram comes back");
}

/// Each core asks peers of either queue, and the first goes on when the second has come to the port.
#[test]
fn a_socket_with_a_peer_hears_of_it_whoever_else_has_its_port() {
    for (queues, spreading) in NICS {
        let ports = [port_of_queue(0), port_of_queue(1)];
        for (first, second) in [(0, 1), (1, 0)] {
            let server = || async {
                let (has_come, comes) = oneshot::channel();
                let alone = spawn_on(first, move || async move {
                    let socket = socket_at(ports[second]).await;
                    ask(&socket).await;
                    comes.await.unwrap();
                    ask(&socket).await;
                    socket
                });
                let both = spawn_on(second, move || async move {
                    let socket = socket_at(ports[first]).await;
                    has_come.send(()).unwrap();
                    ask(&socket).await;
                    socket
                });
                let (_alone, _both) = (alone.unwrap().await.unwrap(), both.unwrap().await.unwrap());
                let gate = let_in().await;
                drop(gate.accept().await.unwrap());
            };
            play(site(2, queues, spreading, AcceptPolicy::Local), move || echo_datagrams(ports), server);
        }
    }
}

/// Echoes at a port of the client until the server lets in.
async fn serve_connections() {
    let listener = TcpListener::bind((CLIENT, 90)).await.unwrap();
    drop(spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(spawn(echo_one(stream)));
        }
    }));
    wait_at_the_gate().await;
}

/// Has the client echo on a new connection, which is returned.
async fn ask_client() -> TcpStream {
    // It may not listen yet.
    let mut stream = loop {
        match TcpStream::connect((CLIENT, 90)).await {
            Ok(stream) => break stream,
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}"),
        }
        sleep(Duration::from_millis(5)).await;
    };
    stream.write_all(b"ping").await.unwrap();
    let mut buf = [0; 4];
    stream.read_exact(&mut buf).await.unwrap();
    assert_eq!(&buf, b"ping");
    stream
}

/// A NIC that hashes addresses alone brings everything of a peer to one queue, whatever the port.
#[test]
fn every_core_connects_to_a_peer_whose_answers_come_to_one() {
    let rss = Rss::new(&HASH_KEY_MICROSOFT, &[0, 1], HashFields::ADDRESSES);
    let site = site_by(Runtime::builder().cores(2), 2, Spreading::Rss, Some(rss.expect("a table of two")));
    play(site, serve_connections, || async move {
        for core in [0, 1] {
            spawn_on(core, || async { drop(ask_client().await) }).unwrap().await.unwrap();
        }
        let gate = let_in().await;
        drop(gate.accept().await.unwrap());
    });
}

/// Where the NIC hashes ports as well, each core chooses one to which the answers come: no segment comes in at one core
/// that the stack of another gets.
#[test]
fn what_a_connection_is_answered_is_passed_to_no_other_core() {
    const CONNECTIONS: u64 = 20;
    let ask = |core: u16| async move {
        for _ in 0..CONNECTIONS {
            let local = ask_client().await.local_addr().unwrap();
            let flow = FlowKey { source: (CLIENT, 90).into(), destination: local, udp: false };
            assert_eq!(Rss::even(2).queue(&flow), core, "answers to {local}");
        }
    };
    let count = || async {
        let counters = Host::current().unwrap().counters().unwrap();
        [SEGMENTS, "TcpInSegs"].map(|name| counters.get(name).unwrap())
    };
    let site = site(2, 2, Spreading::Rss, AcceptPolicy::Local);
    play(site, serve_connections, || async move {
        for core in [0, 1] {
            spawn_on(usize::from(core), move || ask(core)).unwrap().await.unwrap();
        }
        for core in [0, 1] {
            let [came, taken] = spawn_on(core, count).unwrap().await.unwrap();
            // A SYN-ACK and an echo at least.
            assert!(came == taken && came >= 2 * CONNECTIONS, "core {core}: {came} came in, {taken} taken");
        }
        let gate = let_in().await;
        drop(gate.accept().await.unwrap());
    });
}

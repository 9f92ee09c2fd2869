//! Two thousand connections through a bottleneck that loses a hundredth.

use hayase::net::{TcpSocket, TcpStream};
use hayase_sim::{Link, Sim, Topology};

const CLIENTS: usize = 8;
const CONNECTIONS: usize = 2000;
const LEN: u64 = 20_000;

#[test]
fn gets_through_a_lossy_bottleneck() {
    let bottleneck =
        Link { loss: 0.01, ..Link::with_rate(200_000_000, std::time::Duration::from_millis(10)) };
    let topology = Topology::dumbbell(CLIENTS, 1, &Link::default(), &bottleneck);
    let mut stack = hayase::stack::Config::default();
    (stack.backlog_max, stack.syn_backlog_max) = (4096, 4096);
    Sim::builder().topology(topology).stack(stack).seeds(4).run(|sim| async move {
        let mut senders = Vec::new();
        let mut receivers = Vec::new();
        let server = std::net::SocketAddr::new(sim.address(CLIENTS), 0);
        let listener = {
            let _server = sim.server().enter();
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind("0.0.0.0:80".parse().unwrap()).unwrap();
            socket.listen(4096).unwrap()
        };
        let flows: Vec<_> = (0..CONNECTIONS).map(|_| sim.flow()).collect();
        let ports = |index: usize| 2000 + (index / CLIENTS) as u16;
        for (index, flow) in flows.iter().cloned().enumerate() {
            let (client, to) = (index % CLIENTS, std::net::SocketAddr::new(server.ip(), 80));
            let from = std::net::SocketAddr::new(sim.address(client), ports(index));
            senders.push(sim.host(client).spawn(async move {
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind(from).unwrap();
                flow.send(&mut socket.connect(to).await?, LEN).await
            }));
        }
        for _ in 0..CONNECTIONS {
            let (mut stream, from): (TcpStream, _) = listener.accept().await.unwrap();
            let client = (0..CLIENTS).find(|client| sim.address(*client) == from.ip()).unwrap();
            let flow = flows[usize::from(from.port() - 2000) * CLIENTS + client].clone();
            receivers.push(sim.server().spawn(async move { flow.receive(&mut stream).await }));
        }
        for sender in senders {
            sender.await.unwrap().unwrap();
        }
        for receiver in receivers {
            assert_eq!(receiver.await.unwrap().unwrap(), LEN);
        }
        assert!(sim.elapsed() < std::time::Duration::from_secs(120), "{:?}", sim.elapsed());
    });
}

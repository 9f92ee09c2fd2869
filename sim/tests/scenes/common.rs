//! What scenes are made of.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use hayase::Host;
use hayase::net::{Congestion, TcpInfo, TcpListener, TcpStream};
use hayase::task::JoinHandle;
use hayase::time::{sleep, timeout};
use hayase_sim::{Flow, Link, Sim};

pub(crate) const SERVER: &str = "10.7.0.2:80";

/// Seeds of every scene. What costs a processor more than some tens of milliseconds each has two sizes, and this many seeds of
/// the smaller one. Pools that run dry, pacing and the use of clean links have fewer, and one size each.
pub(crate) const SEEDS: u64 = 200;

pub(crate) fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub(crate) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Connects to the server of a pair.
pub(crate) async fn connect() -> TcpStream {
    connect_to(addr(SERVER)).await
}

/// Connects. On a bad path nobody may answer to ARP for three seconds; then it tries again.
pub(crate) async fn connect_to(server: SocketAddr) -> TcpStream {
    loop {
        match TcpStream::connect(server).await {
            Ok(stream) => return stream,
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::HostUnreachable, "{error}"),
        }
    }
}

/// Listens on the server of a pair.
pub(crate) async fn listen(sim: &Sim) -> TcpListener {
    sim.server().scope(TcpListener::bind(SERVER)).await.expect("the port is free")
}

/// Receives one flow on the server.
pub(crate) fn receive(sim: &Sim, listener: TcpListener, flow: &Flow) -> JoinHandle<io::Result<u64>> {
    let flow = flow.clone();
    sim.server().spawn(async move {
        let (mut stream, _) = listener.accept().await?;
        flow.receive(&mut stream).await
    })
}

/// Sends `len` bytes to a server that receives them, and returns how long that took.
pub(crate) async fn transfer(sim: &Sim, len: u64) -> Duration {
    let flow = sim.flow();
    let server = receive(sim, listen(sim).await, &flow);
    let start = sim.elapsed();
    let mut stream = connect().await;
    flow.send(&mut stream, len).await.expect("the path is good enough");
    assert_eq!(server.await.expect("the server ends by itself").expect("all of it"), len);
    sim.elapsed() - start
}

/// Sends from a host to the server for as long as the scene lasts, to a port that is for that host alone. Returns how many
/// bytes have been read so far.
pub(crate) async fn pour(sim: &Sim, host: usize, congestion: Congestion) -> Rc<Cell<u64>> {
    let server = SocketAddr::new(sim.address(sim.hosts().len() - 1), 80 + host as u16);
    let listener = sim.server().scope(TcpListener::bind(server)).await.expect("the port is free");
    let count = Rc::new(Cell::new(0));
    let counted = Rc::clone(&count);
    sim.server().spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("somebody connects");
        let mut buf = vec![0; 65_536];
        while let Ok(len @ 1..) = stream.read(&mut buf).await {
            counted.set(counted.get() + len as u64);
        }
    });
    sim.host(host).spawn(async move {
        let mut stream = connect_to(server).await;
        stream.set_congestion(congestion).expect("the connection is here");
        let chunk = [0; 65_536];
        while stream.write_all(&chunk).await.is_ok() {}
    });
    count
}

/// The share of a link's rate that arrives as payload, by a count of bytes, from now on for so long.
pub(crate) async fn used(link: &Link, count: &Cell<u64>, time: Duration) -> f64 {
    let before = count.get();
    sleep(time).await;
    (count.get() - before) as f64 * 8.0 / time.as_secs_f64() / link.rate.expect("it has one") as f64
}

/// Bytes that are under way when a path of such links both ways is full, and nothing queues.
pub(crate) fn held(link: &Link) -> f64 {
    link.rate.expect("it has one") as f64 / 8.0 * 2.0 * link.delay.as_secs_f64()
}

/// What the only connection of a host tells of itself.
pub(crate) fn info(host: Host) -> TcpInfo {
    let connections = host.tcp_connections().expect("the host is here");
    assert_eq!(connections.len(), 1, "{connections:?}");
    connections[0].2
}

/// A connection from the client to the server of a pair: its two ends.
pub(crate) async fn connected(sim: &Sim) -> (TcpStream, TcpStream) {
    let listener = listen(sim).await;
    let stream = connect().await;
    let (peer, _) = listener.accept().await.expect("it was accepted");
    (stream, peer)
}

/// What a counter of a host says.
pub(crate) fn count(host: Host, name: &str) -> u64 {
    host.counters().expect("the host is here").get(name).expect("there is such a counter")
}

/// Waits for something that has to happen within a time.
pub(crate) async fn within<F: Future>(time: Duration, future: F) -> F::Output {
    timeout(time, future).await.unwrap_or_else(|_| panic!("it was to happen within {time:?}"))
}

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

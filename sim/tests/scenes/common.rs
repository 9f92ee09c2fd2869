//! What scenes are made of.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hayase::net::{TcpListener, TcpStream};
use hayase::task::JoinHandle;
use hayase::time::timeout;
use hayase_sim::{Flow, Sim};

pub(crate) const SERVER: &str = "10.7.0.2:80";

/// Seeds of every scene. What costs a processor more than some tens of milliseconds each has two sizes, and this many seeds of
/// the smaller one. Pools that run dry have fewer, and one size each.
pub(crate) const SEEDS: u64 = 200;

pub(crate) fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub(crate) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Connects to the server of a pair. On a bad path nobody may answer to ARP for three seconds; then it tries again.
pub(crate) async fn connect() -> TcpStream {
    loop {
        match TcpStream::connect(SERVER).await {
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

/// A connection from the client to the server of a pair: its two ends.
pub(crate) async fn connected(sim: &Sim) -> (TcpStream, TcpStream) {
    let listener = listen(sim).await;
    let stream = connect().await;
    let (peer, _) = listener.accept().await.expect("it was accepted");
    (stream, peer)
}

/// What a counter of a host says.
pub(crate) fn count(host: hayase::Host, name: &str) -> u64 {
    host.counters().expect("the host is here").get(name).expect("there is such a counter")
}

/// Waits for something that has to happen within a time.
pub(crate) async fn within<F: Future>(time: Duration, future: F) -> F::Output {
    timeout(time, future).await.unwrap_or_else(|_| panic!("it was to happen within {time:?}"))
}

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

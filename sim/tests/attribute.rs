//! `#[hayase::test(sim)]`: the same test in a simulation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hayase::Host;
use hayase::net::{TcpListener, TcpStream};
use hayase::time::{now, sleep};
use hayase_sim::{Link, Sim};

async fn greet(server: Host) -> std::io::Result<()> {
    let listener = server.scope(TcpListener::bind("10.7.0.2:80")).await?;
    let mut stream = TcpStream::connect("10.7.0.2:80").await?;
    let (mut peer, from) = listener.accept().await?;
    assert_eq!(from, stream.local_addr()?);
    stream.write_all(b"hello").await?;
    let mut greeting = [0; 5];
    peer.read_exact(&mut greeting).await?;
    assert_eq!(&greeting, b"hello");
    Ok(())
}

#[hayase::test(sim, seeds = 200)]
async fn greets_over_bad_networks(client: Host, server: Host) -> std::io::Result<()> {
    assert_eq!(Host::current()?, client);
    greet(server).await
}

static RUNS: AtomicU64 = AtomicU64::new(0);

#[hayase::test(sim, seeds = 16, link = Link::with_delay(Duration::from_millis(250)))]
async fn gets_the_simulation_and_its_link(_client: Host, server: Host, sim: Sim) {
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let is_replay = std::env::var_os("HAYASE_SIM_SEED").is_some();
    assert!(
        is_replay || sim.seed() == run,
        "one seed after the other, from 0 on: {} is the {run}th",
        sim.seed()
    );
    greet(server).await.unwrap();
    // ARP there and back, SYN there and back, the end of the handshake, the greeting.
    assert_eq!(sim.elapsed(), Duration::from_millis(6 * 250));
}

#[hayase::test(sim)]
async fn takes_the_simulation_alone(sim: Sim) {
    greet(sim.server()).await.unwrap();
}

#[hayase::test(sim)]
async fn takes_nothing() {
    let start = now();
    sleep(Duration::from_secs(86_000)).await;
    assert_eq!((now() - start).as_secs(), 86_000);
}

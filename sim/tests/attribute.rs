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

static SEEDS: AtomicU64 = AtomicU64::new(0);

#[hayase::test(sim, seeds = 16, link = Link::with_delay(Duration::from_millis(250)))]
async fn gets_the_simulation_and_its_link(_client: Host, server: Host, sim: Sim) {
    SEEDS.fetch_or(1 << sim.seed(), Ordering::Relaxed);
    greet(server).await.unwrap();
    // ARP there and back, SYN there and back, the end of the handshake, the greeting.
    assert_eq!(sim.elapsed(), Duration::from_millis(6 * 250));
    if sim.seed() == 15 {
        assert_eq!(SEEDS.load(Ordering::Relaxed), 0xffff);
    }
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

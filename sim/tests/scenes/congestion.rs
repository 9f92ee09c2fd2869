//! Each congestion control on a path with a shallow queue.

use std::time::Duration;

use hayase::net::{Congestion, TcpStream};
use hayase_sim::{Link, Sim};

use crate::common::{SEEDS, SERVER, listen, millis, receive};

/// Loss at the queue is all that tells the sender how fast the path is.
#[test]
fn finds_the_rate_of_a_path() {
    for congestion in Congestion::ALL.iter().copied() {
        finds_the_rate(congestion, 5_000_000, 15, (0.75, 0.05));
        // Mostly slow start.
        finds_the_rate(congestion, 1_500_000, SEEDS, (0.6, 0.1));
    }
}

fn finds_the_rate(congestion: Congestion, len: u64, seeds: u64, (use_min, dropped_max): (f64, f64)) {
    let rate = 10_000_000;
    let link = Link { queue_len: 32 * 1024, ..Link::with_rate(rate, millis(15)) };
    Sim::builder().link(link).seeds(seeds).run(move |sim| async move {
        let used = used(&sim, congestion, len, rate).await;
        assert!(used > use_min, "{congestion:?} used {used:.3}");
        let [forth, _] = sim.cable(0).stats();
        let dropped = forth.overflowed as f64 / forth.entered as f64;
        assert!(dropped < dropped_max, "{congestion:?} lost {dropped:.3} of its segments");
    });
}

/// The share of a rate that a transfer uses.
async fn used(sim: &Sim, congestion: Congestion, len: u64, rate: u64) -> f64 {
    let flow = sim.flow();
    let server = receive(sim, listen(sim).await, &flow);
    let mut stream = TcpStream::connect(SERVER).await.unwrap();
    stream.set_congestion(congestion).unwrap();
    let start = sim.elapsed();
    flow.send(&mut stream, len).await.unwrap();
    server.await.unwrap().unwrap();
    8.0 * len as f64 / (sim.elapsed() - start).as_secs_f64() / rate as f64
}

/// A long path that loses packets by chance: NewReno and CUBIC take every loss for congestion, BBR does not.
#[test]
fn bbr_fills_a_path_that_loses_one_percent() {
    let rate = 20_000_000;
    for (len, seeds, use_min) in [(40_000_000, 6, 0.85), (4_000_000, SEEDS, 0.6)] {
        let link = Link { loss: 0.01, ..Link::with_rate(rate, millis(25)) };
        Sim::builder().link(link).seeds(seeds).run(move |sim| async move {
            let used = used(&sim, Congestion::Bbr, len, rate).await;
            assert!(used > use_min, "used {used:.3}");
        });
    }
}

/// The rate changes by a factor of ten, down and up again.
#[test]
fn follows_a_path_that_changes() {
    follows(20_000_000, 20);
    follows(2_000_000, SEEDS);
}

/// At a steady `rate` its bytes would take eight seconds.
fn follows(rate: u64, seeds: u64) {
    let link = Link::with_rate(rate, millis(10));
    Sim::builder().link(link).seeds(seeds).run(move |sim| async move {
        let flow = sim.flow();
        let server = receive(&sim, listen(&sim).await, &flow);
        let cable = sim.cable(0);
        let changes = sim.client().spawn(async move {
            for rate in [rate / 10, rate, rate / 20, rate * 5 / 2] {
                hayase::time::sleep(Duration::from_secs(2)).await;
                cable.change(|link| link.rate = Some(rate));
            }
        });
        let mut stream = TcpStream::connect(SERVER).await.unwrap();
        flow.send(&mut stream, rate).await.unwrap();
        server.await.unwrap().unwrap();
        changes.await.unwrap();
        assert!(sim.elapsed() < Duration::from_secs(20), "{:?}", sim.elapsed());
    });
}

//! Flows that share a bottleneck share its rate.

use std::cell::Cell;
use std::rc::Rc;

use hayase::net::{Congestion, TcpListener, TcpStream};
use hayase::time::sleep;
use hayase_sim::{Link, Sim, Topology};

use crate::common::{millis, seconds};

const RATE: u64 = 20_000_000;

/// Bytes of each flow between the fifth second after the last of them began and the end.
async fn shares(sim: &Sim, flows: usize, congestion: Congestion) -> Vec<f64> {
    let counts: Vec<_> = (0..flows).map(|_| Rc::new(Cell::new(0_u64))).collect();
    for (client, count) in counts.iter().cloned().enumerate() {
        let addr = std::net::SocketAddr::new(sim.address(flows), 80 + client as u16);
        let listener = sim.server().scope(TcpListener::bind(addr)).await.unwrap();
        sim.server().spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buf = vec![0; 65_536];
            while let Ok(len @ 1..) = stream.read(&mut buf).await {
                count.set(count.get() + len as u64);
            }
        });
        sim.host(client).spawn(async move {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            stream.set_congestion(congestion).unwrap();
            let chunk = [0; 65_536];
            while stream.write_all(&chunk).await.is_ok() {}
        });
        sleep(seconds(1)).await;
    }
    sleep(seconds(5)).await;
    let before: Vec<_> = counts.iter().map(|count| count.get()).collect();
    sleep(seconds(40)).await;
    counts.iter().zip(before).map(|(count, before)| (count.get() - before) as f64).collect()
}

/// Jain's index: 1 for equal shares, 1 / n if one has it all.
fn jain(shares: &[f64]) -> f64 {
    let (sum, squares) =
        shares.iter().fold((0.0, 0.0), |(sum, squares), share| (sum + share, squares + share * share));
    sum * sum / (shares.len() as f64 * squares)
}

fn is_fair(flows: usize, congestion: Congestion, seeds: u64) {
    let bottleneck = Link::with_rate(RATE, millis(10));
    let topology = Topology::dumbbell(flows, 1, &Link::default(), &bottleneck);
    Sim::builder().topology(topology).seeds(seeds).run(move |sim| async move {
        let shares = shares(&sim, flows, congestion).await;
        let used = shares.iter().sum::<f64>() * 8.0 / 40.0 / RATE as f64;
        assert!(
            jain(&shares) > 0.9 && used > 0.9,
            "{congestion:?} {:.3}, link use {used:.3}: {shares:?}",
            jain(&shares)
        );
    });
}

#[test]
fn of_two_cubic_flows() {
    is_fair(2, Congestion::Cubic, 6);
}

#[test]
fn of_two_newreno_flows() {
    is_fair(2, Congestion::NewReno, 4);
}

#[test]
fn of_two_bbr_flows() {
    is_fair(2, Congestion::Bbr, 4);
}

#[test]
fn of_four_cubic_flows() {
    is_fair(4, Congestion::Cubic, 3);
}

//! Flows that share a bottleneck share its rate.

use hayase::net::Congestion;
use hayase::time::sleep;
use hayase_sim::{Link, Sim, Topology};

use crate::common::{SEEDS, millis, pour, seconds};

/// How fast the bottleneck is, how many seconds count, and what is fair.
#[derive(Clone, Copy)]
struct Scale {
    rate: u64,
    time: u64,
    index_min: f64,
    seeds: u64,
}

const LARGE: Scale = Scale { rate: 20_000_000, time: 40, index_min: 0.9, seeds: 3 };

/// With fewer segments under way each loss weighs more, and there is less time to make up for it.
const SMALL: Scale = Scale { rate: 1_000_000, time: 25, index_min: 0.7, seeds: SEEDS };

/// Bytes of each flow in so many seconds from the fifth after the last of them began.
async fn shares(sim: &Sim, flows: usize, congestion: Congestion, time: u64) -> Vec<f64> {
    let mut counts = Vec::new();
    for client in 0..flows {
        counts.push(pour(sim, client, congestion).await);
        sleep(seconds(1)).await;
    }
    sleep(seconds(5)).await;
    let before: Vec<_> = counts.iter().map(|count| count.get()).collect();
    sleep(seconds(time)).await;
    counts.iter().zip(before).map(|(count, before)| (count.get() - before) as f64).collect()
}

/// Jain's index: 1 for equal shares, 1 / n if one has it all.
fn jain(shares: &[f64]) -> f64 {
    let (sum, squares) =
        shares.iter().fold((0.0, 0.0), |(sum, squares), share| (sum + share, squares + share * share));
    sum * sum / (shares.len() as f64 * squares)
}

fn is_fair(flows: usize, congestion: Congestion, scale: Scale) {
    let bottleneck = Link::with_rate(scale.rate, millis(10));
    let topology = Topology::dumbbell(flows, 1, &Link::default(), &bottleneck);
    Sim::builder().topology(topology).seeds(scale.seeds).run(move |sim| async move {
        let shares = shares(&sim, flows, congestion, scale.time).await;
        let used = shares.iter().sum::<f64>() * 8.0 / scale.time as f64 / scale.rate as f64;
        let index = jain(&shares);
        assert!(
            index > scale.index_min && used > 0.9,
            "{congestion:?} {index:.3}, link use {used:.3}: {shares:?}"
        );
    });
}

#[test]
fn of_two_cubic_flows() {
    is_fair(2, Congestion::Cubic, LARGE);
    is_fair(2, Congestion::Cubic, SMALL);
}

#[test]
fn of_two_newreno_flows() {
    is_fair(2, Congestion::NewReno, LARGE);
    is_fair(2, Congestion::NewReno, SMALL);
}

#[test]
fn of_two_bbr_flows() {
    is_fair(2, Congestion::Bbr, LARGE);
    is_fair(2, Congestion::Bbr, SMALL);
}

#[test]
fn of_four_cubic_flows() {
    is_fair(4, Congestion::Cubic, LARGE);
    is_fair(4, Congestion::Cubic, SMALL);
}

//! Loss of 0.1 to 20 %, single and in bursts, both ways.

use hayase_sim::{BurstLoss, Link, Sim};

use crate::common::{SEEDS, millis, transfer};

/// Whatever is lost, all arrives.
#[test]
fn of_every_degree_is_repaired() {
    for loss in [0.001, 0.01, 0.05, 0.1, 0.2] {
        let link = Link { loss, ..Link::with_delay(millis(10)) };
        Sim::builder().link(link).seeds(SEEDS).run(|sim| async move {
            transfer(&sim, 150_000).await;
        });
    }
}

/// A loss of 1 % costs no more than a few round trips: recovery does not wait for the timer.
#[test]
fn of_a_hundredth_costs_no_timeouts() {
    let mut slow = 0;
    for seed in 0..SEEDS {
        let link = Link { loss: 0.01, ..Link::with_delay(millis(25)) };
        let took = std::cell::Cell::new(millis(0));
        Sim::builder().link(link).seed(seed).run(|sim| {
            let took = &took;
            async move { took.set(transfer(&sim, 300_000).await) }
        });
        slow += u64::from(took.get() > millis(1500));
    }
    // A lost SYN or ARP packet is only found out by its timer, after a second: that happens to four in a hundred.
    assert!(slow * 10 <= SEEDS, "{slow} of {SEEDS} transfers took more than 1.5 s");
}

#[test]
fn in_bursts_is_repaired() {
    for burst in
        [BurstLoss { begins: 0.01, ends: 0.3, loss: 1.0 }, BurstLoss { begins: 0.002, ends: 0.15, loss: 0.9 }]
    {
        let link = Link { burst_loss: Some(burst), ..Link::with_delay(millis(10)) };
        Sim::builder().link(link).seeds(SEEDS).run(|sim| async move {
            transfer(&sim, 200_000).await;
        });
    }
}

/// Acknowledgements are lost, data is not: hardly anything has to be sent again.
#[test]
fn of_acknowledgements_is_made_up_for_by_later_ones() {
    let good = Link::with_delay(millis(10));
    let topology = hayase_sim::Topology::asymmetric_pair(good.clone(), Link { loss: 0.3, ..good });
    Sim::builder().topology(topology).seeds(SEEDS).run(|sim| async move {
        transfer(&sim, 300_000).await;
        let again = crate::common::count(sim.client(), "TcpRetransSegs");
        assert!(again < 40, "{again} of about 200 segments were sent again");
    });
}

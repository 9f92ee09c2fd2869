//! Damaged frames: bytes that changed, ends that are missing. Every one is dropped and counted, none is believed.

use hayase_sim::{Link, Sim};

use crate::common::{SEEDS, count, millis, transfer};

#[test]
fn of_bytes_is_noticed() {
    for corrupt in [0.01, 0.1] {
        let link = Link { corrupt, ..Link::with_delay(millis(5)) };
        Sim::builder().link(link).seeds(SEEDS).run(|sim| async move {
            transfer(&sim, 200_000).await;
        });
    }
}

#[test]
fn of_lengths_is_noticed() {
    for truncate in [0.01, 0.1] {
        let link = Link { truncate, ..Link::with_delay(millis(5)) };
        Sim::builder().link(link).seeds(SEEDS).run(|sim| async move {
            transfer(&sim, 200_000).await;
        });
    }
}

/// Whatever reached a host and was damaged is found among its drops.
#[test]
fn is_counted() {
    let link = Link { corrupt: 0.2, ..Link::with_delay(millis(5)) };
    Sim::builder().link(link).seeds(SEEDS).run(|sim| async move {
        transfer(&sim, 300_000).await;
        let [forth, _] = sim.cable(0).stats();
        let names = ["TCP_CSUM", "IP_CSUM", "IP_INHDR", "PKT_TOO_SMALL", "IP_INADDRERRORS", "IP_NOPROTO"];
        let dropped: u64 = names.iter().map(|name| count(sim.server(), name)).sum();
        // A byte of the padding or of Ethernet is nobody's.
        assert!(dropped * 10 >= forth.damaged * 9, "{dropped} of {} dropped", forth.damaged);
    });
}

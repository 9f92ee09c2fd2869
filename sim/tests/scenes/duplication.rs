//! Frames that arrive twice.

use hayase_sim::{Link, Sim};

use crate::common::{SEEDS, count, millis, transfer};

#[test]
fn changes_nothing_for_the_application() {
    for duplicate in [0.01, 0.2, 1.0] {
        let link = Link { duplicate, ..Link::with_delay(millis(5)) };
        Sim::builder().link(link).seeds(SEEDS).run(|sim| async move {
            transfer(&sim, 200_000).await;
        });
    }
}

/// Duplicates are no losses: hardly anything is sent again for them.
#[test]
fn is_no_loss() {
    let link = Link { duplicate: 0.3, ..Link::with_delay(millis(5)) };
    Sim::builder().link(link).seeds(SEEDS).run(|sim| async move {
        transfer(&sim, 500_000).await;
        let again = count(sim.client(), "TcpRetransSegs");
        assert!(again <= 2, "{again} segments were sent again and none was lost");
    });
}

#[test]
fn with_reordering_and_loss_changes_nothing_either() {
    let link = Link { duplicate: 0.1, reorder: 0.1, reorder_frames_max: 10, loss: 0.02, ..Link::default() };
    Sim::builder().link(link).seeds(SEEDS).run(|sim| async move {
        transfer(&sim, 150_000).await;
    });
}

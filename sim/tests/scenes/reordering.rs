//! Segments that others overtake: up to a hundred of them.

use hayase_sim::{Link, Sim};

use crate::common::{SEEDS, count, millis, transfer};

#[test]
fn by_up_to_a_hundred_segments_is_put_right() {
    for frames_max in [1, 3, 10, 30, 100] {
        let link = Link { reorder: 0.05, reorder_frames_max: frames_max, ..Link::with_delay(millis(10)) };
        Sim::builder().link(link).seeds(SEEDS).run(|sim| async move {
            transfer(&sim, 400_000).await;
        });
    }
}

/// By a few segments, or by 0.1 s, two round trips, where nothing follows: the latter look lost and are sent again, but
/// they hardly slow the transfer down.
#[test]
fn by_a_few_segments_costs_little_time() {
    let link = Link { reorder: 0.05, reorder_frames_max: 5, ..Link::with_rate(50_000_000, millis(20)) };
    Sim::builder().link(link).seeds(SEEDS).run(|sim| async move {
        let took = transfer(&sim, 2_000_000).await;
        let again = count(sim.client(), "TcpRetransSegs");
        // Slow start may still find out how much the queue holds.
        let [forth, _] = sim.cable(0).stats();
        let needless = again.saturating_sub(forth.overflowed);
        assert!(
            needless < 300,
            "{needless} of 1,400 segments were sent again and not lost: {again}, {forth:?}"
        );
        assert!(took < millis(2_500), "{took:?}");
    });
}

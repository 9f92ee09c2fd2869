//! A short storm; `hayase sim storm` runs long ones.

use hayase_sim::storm;

#[test]
fn short_storms_break_no_rule() {
    let mut total = storm::Storm::default();
    for seed in 0..200 {
        let storm = storm::run(seed);
        total.flows += storm.flows;
        total.completed += storm.completed;
        total.faults += storm.faults;
        total.early += storm.early;
    }
    assert!(total.flows > 2000 && total.faults > 1000 && total.early > 50, "{total:?}");
    // Storms after which nothing works would prove nothing.
    assert!(total.completed * 4 > total.flows, "{total:?}");
}

#[test]
fn a_storm_repeats_itself() {
    for seed in [3, 1 << 40] {
        assert_eq!(storm::run(seed), storm::run(seed));
    }
}

//! Paths of 1 Mbit/s to 10 Gbit/s and 1 to 500 ms: how much of the link a single transfer uses.

use std::time::Duration;

use hayase::stack::Config;
use hayase_sim::{Link, Random, Sim, Topology};

use crate::common::{SEEDS, millis, transfer};

struct Path {
    rate: u64,
    round_trip: Duration,
    /// How long the transfer would take at the full rate.
    busy: Duration,
    /// The share of the rate that it uses at least, slow start and handshake included.
    use_min: f64,
    seeds: u64,
}

const MBIT: u64 = 1_000_000;

fn runs(path: &Path) {
    let bytes_of = |time: Duration| (path.rate as f64 / 8.0 * time.as_secs_f64()) as u64;
    let mut stack = Config::default();
    // What is in flight and what waits in the queue, and room for both while a loss is repaired.
    let buffer_len = (6 * bytes_of(path.round_trip) as usize).max(stack.receive_buffer_len);
    (stack.receive_buffer_len, stack.send_buffer_len) = (buffer_len, buffer_len);
    let (rate, len, use_min) = (path.rate, bytes_of(path.busy), path.use_min);
    let link = Link::with_rate(rate, path.round_trip / 2);
    let builder = Sim::builder().link(link).stack(stack).time_max(2 * path.busy + millis(10_000));
    builder.seeds(path.seeds).run(move |sim| async move {
        let took = transfer(&sim, len).await;
        let used = len as f64 * 8.0 / took.as_secs_f64() / rate as f64;
        let info = sim.cable(0).stats()[0];
        assert!(used >= use_min && used < 1.0, "{used:.3} of {rate} bit/s in {took:?}: {info:?}");
    });
}

/// Any of these paths: what a megabyte takes beyond its time on the line is slow start, and what it lost.
#[test]
fn of_any_rate_is_found() {
    const LEN: u64 = 1_000_000;
    let mut stack = Config::default();
    (stack.receive_buffer_len, stack.send_buffer_len) = (4 << 20, 4 << 20);
    let path = |random: &mut Random| {
        let round_trip = millis(*random.pick(&[1, 2, 5, 10, 20, 50, 100, 200, 500]));
        Topology::pair(Link::with_rate(MBIT << random.between(0..=13), round_trip / 2))
    };
    Sim::builder().topology_with(path).stack(stack).seeds(SEEDS).run(|sim| async move {
        let took = transfer(&sim, LEN).await;
        let [link, _] = sim.cable(0).links();
        let line = Duration::from_secs_f64(LEN as f64 * 8.0 / link.rate.expect("it has one") as f64);
        let limit = line.mul_f64(1.3) + 2 * link.delay * 16 + millis(50);
        assert!(took > line && took < limit, "{took:?}, on the line {line:?}, delay {:?}", link.delay);
    });
}

#[test]
fn of_a_megabit_is_used() {
    runs(&Path { rate: MBIT, round_trip: millis(1), busy: millis(10_000), use_min: 0.9, seeds: 20 });
    runs(&Path { rate: MBIT, round_trip: millis(100), busy: millis(20_000), use_min: 0.85, seeds: 20 });
    runs(&Path { rate: MBIT, round_trip: millis(500), busy: millis(60_000), use_min: 0.85, seeds: 20 });
}

#[test]
fn of_ten_megabits_is_used() {
    runs(&Path { rate: 10 * MBIT, round_trip: millis(10), busy: millis(10_000), use_min: 0.9, seeds: 10 });
    runs(&Path { rate: 10 * MBIT, round_trip: millis(200), busy: millis(30_000), use_min: 0.8, seeds: 5 });
}

#[test]
fn of_a_hundred_megabits_is_used() {
    runs(&Path { rate: 100 * MBIT, round_trip: millis(20), busy: millis(3_000), use_min: 0.85, seeds: 4 });
    runs(&Path { rate: 100 * MBIT, round_trip: millis(500), busy: millis(20_000), use_min: 0.5, seeds: 1 });
}

#[test]
fn of_a_gigabit_is_used() {
    runs(&Path { rate: 1000 * MBIT, round_trip: millis(10), busy: millis(600), use_min: 0.75, seeds: 2 });
}

#[test]
fn of_ten_gigabits_is_used() {
    runs(&Path { rate: 10_000 * MBIT, round_trip: millis(1), busy: millis(80), use_min: 0.75, seeds: 2 });
}

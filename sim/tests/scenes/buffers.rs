//! Buffers as they are without any configuration: large enough for a long path, and small where the path is.

use std::time::Duration;

use hayase::net::Congestion;
use hayase::stack::Config;
use hayase::time::sleep;
use hayase_sim::{Link, Random, Sim, Topology};

use crate::common::{SEEDS, held, info, millis, pour, used};

/// A path, and for how many round trips it is filled first, and looked at then.
#[derive(Clone, Copy)]
struct LongPath {
    rate: fn(&mut Random) -> u64,
    round_trip: fn(&mut Random) -> Duration,
    round_trips: u32,
    seeds: u64,
}

/// A path that holds more than a new connection keeps: both ends' buffers grow until it is full.
fn grow(path: LongPath) {
    let make = move |random: &mut Random| {
        let (rate, round_trip) = ((path.rate)(random), (path.round_trip)(random));
        Topology::pair(Link::with_rate(rate, round_trip / 2))
    };
    Sim::builder().topology_with(make).seeds(path.seeds).run(move |sim| async move {
        let [link, _] = sim.cable(0).links();
        let time = 2 * path.round_trips * link.delay;
        let (config, held) = (Config::default(), held(&link));
        assert!(held > 1.2 * config.receive_buffer_len as f64, "{held} bytes fit without growing");
        let count = pour(&sim, 0, Congestion::default()).await;
        sleep(time).await;
        let used = used(&link, &count, time).await;
        let receiver = info(sim.server());
        assert!(used > 0.85, "used {used:.3} of {link}: {receiver:?}");
        assert!(f64::from(receiver.rcv_ssthresh) > held, "{held} bytes: {receiver:?}");
    });
}

#[test]
fn grow_until_a_long_path_is_full() {
    grow(LongPath { rate: |_| 1_000_000_000, round_trip: |_| millis(100), round_trips: 30, seeds: 1 });
    grow(LongPath {
        rate: |random| random.between(20..=25) * 1_000_000,
        round_trip: |random| millis(random.between(300..=350)),
        round_trips: 15,
        seeds: SEEDS,
    });
}

/// Paths that hold less than that: the window is what it was at first, and what the sender keeps is no more than twice what
/// can be under way, on the path and in its queue, as long as slow start doubles it.
#[test]
fn stay_small_where_the_path_is() {
    let some_path = |random: &mut Random| {
        let (rate, delay) = (random.between(1..=20) * 1_000_000, random.between(500..=10_000));
        Topology::pair(Link::with_rate(rate, Duration::from_micros(delay)))
    };
    Sim::builder().topology_with(some_path).seeds(SEEDS).run(|sim| async move {
        let (config, [link, _]) = (Config::default(), sim.cable(0).links());
        let may_keep = config.send_buffer_len.max(4 * (held(&link) as usize + link.queue_len));
        pour(&sim, 0, Congestion::default()).await;
        for _ in 0..20 {
            sleep(millis(100)).await;
            let (sender, receiver) = (info(sim.client()), info(sim.server()));
            assert_eq!(receiver.rcv_ssthresh as usize, config.receive_buffer_len, "{receiver:?}");
            let kept = (sender.unacked + sender.notsent_bytes) as usize;
            assert!(kept <= may_keep, "{kept} bytes, {may_keep} may be: {sender:?}");
        }
    });
}

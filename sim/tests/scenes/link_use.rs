//! How much of a path a single transfer uses once it has started up, with no configuration: 1 to 500 ms, 1 Mbit/s to 10 Gbit/s.

use std::cell::Cell;
use std::time::Duration;

use hayase::net::Congestion;
use hayase::stack::Config;
use hayase::time::sleep;
use hayase_sim::{Link, Sim};

use crate::common::{held, millis, pour, used};

const MBIT: u64 = 1_000_000;
const RATES: [u64; 5] = [MBIT, 10 * MBIT, 100 * MBIT, 1000 * MBIT, 10_000 * MBIT];
const ROUND_TRIPS: [u64; 6] = [1, 10, 50, 100, 200, 500];

/// What of a frame of full length is payload, and with that the most that can be used of a rate.
const PAYLOAD: f64 = 1448.0 / 1514.0;

/// What the default uses at least of the most that is possible.
const USE_MIN: f64 = 0.92;

/// Round trips of starting up, and then of measuring, and at least how many segments those are.
const ROUNDS: u32 = 40;
const SEGMENTS: u32 = 2000;

#[derive(Debug, Clone, Copy)]
struct Path {
    rate: u64,
    round_trip: Duration,
}

impl Path {
    fn time(self) -> Duration {
        let segment = Duration::from_secs_f64(1514.0 * 8.0 / self.rate as f64);
        (ROUNDS * self.round_trip).max(SEGMENTS * segment)
    }

    fn link(self) -> Link {
        Link::with_rate(self.rate, self.round_trip / 2)
    }

    /// The share of the rate that arrives as payload, with everything as it is by default.
    fn used(self, congestion: Congestion) -> f64 {
        let share = Cell::new(0.0);
        Sim::builder().link(self.link()).run(|sim| {
            let share = &share;
            async move {
                let count = pour(&sim, 0, congestion).await;
                sleep(self.time()).await;
                share.set(used(&self.link(), &count, self.time()).await);
            }
        });
        share.get()
    }

    /// The least that the default uses: nearly all, or as much as fits into its buffers, of which a sixteenth may be free.
    fn use_min(self) -> f64 {
        let buffer = Config::default().send_buffer_len_max as f64 * 15.0 / 16.0;
        USE_MIN * PAYLOAD.min(buffer / held(&self.link()))
    }
}

/// A path that holds less than the buffers do is full; one that holds more has what they hold.
fn is_used(round_trips: &[u64], rates: &[u64]) {
    for (round_trip, rate) in round_trips.iter().flat_map(|time| rates.iter().map(|rate| (*time, *rate))) {
        let path = Path { rate, round_trip: millis(round_trip) };
        let used = path.used(Congestion::default());
        assert!(used >= path.use_min(), "{used:.3}, at least {:.3} of {path:?}", path.use_min());
    }
}

#[test]
fn of_every_path_is_what_it_holds_or_the_buffers_do() {
    is_used(&ROUND_TRIPS, &RATES[..3]);
    is_used(&ROUND_TRIPS[..2], &RATES[3..]);
    is_used(&[200], &RATES[3..]);
}

#[test]
#[ignore = "long: with --ignored and --nocapture it prints the table of docs/SIMULATION.md"]
fn of_every_path_with_every_congestion_control() {
    for congestion in Congestion::ALL.iter().copied() {
        println!("{congestion:?}");
        for round_trip in ROUND_TRIPS.map(millis) {
            let used = RATES.map(|rate| {
                let path = Path { rate, round_trip };
                let used = path.used(congestion);
                assert!(
                    congestion != Congestion::default() || used >= path.use_min(),
                    "{used:.3} of {path:?}"
                );
                format!("{:.0} %", used * 100.0)
            });
            println!("| {round_trip:?} | {} |", used.join(" | "));
        }
    }
}

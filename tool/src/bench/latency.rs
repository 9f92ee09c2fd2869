//! How long each round trip took.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::report::Percentiles;

/// The longest round trip that is told from longer ones.
const TIME_MAX: Duration = Duration::from_secs(60);

/// Digits of a time that count.
const SIGNIFICANT_DIGITS: u8 = 3;

/// The times of all connections.
#[derive(Debug, Clone)]
pub(super) struct Latency(Rc<RefCell<Histogram<u64>>>);

impl Latency {
    pub(super) fn new() -> Latency {
        let histogram = Histogram::new_with_max(TIME_MAX.as_nanos() as u64, SIGNIFICANT_DIGITS);
        Latency(Rc::new(RefCell::new(histogram.expect("three digits of a minute in nanoseconds fit"))))
    }

    /// Starts to time one connection's round trips, which follow one another without a pause.
    pub(super) fn laps(&self) -> Laps {
        Laps { latency: self.clone(), lap_start: Instant::now() }
    }

    /// Adds the time of one round trip.
    pub(super) fn record(&self, time: Duration) {
        self.0.borrow_mut().saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// All times, for other threads.
    pub(super) fn times(&self) -> Histogram<u64> {
        self.0.borrow().clone()
    }

    /// Adds the times of another core.
    pub(super) fn add(&self, times: &Histogram<u64>) {
        self.0.borrow_mut().add(times).expect("all histograms have the same range");
    }

    /// The time that one of so many round trips exceeds, in microseconds: of 1, 2, 4 and so on, as far as there are so many.
    pub(super) fn curve(&self) -> Vec<(f64, f64)> {
        let times = self.0.borrow();
        let powers = (0..).map(|power| 2_f64.powi(power)).take_while(|one_of| *one_of <= times.len() as f64);
        powers.map(|one_of| (one_of, times.value_at_quantile(1.0 - 1.0 / one_of) as f64 / 1e3)).collect()
    }

    pub(super) fn percentiles(&self) -> Percentiles {
        let times = self.0.borrow();
        Percentiles {
            p50: times.value_at_quantile(0.5),
            p90: times.value_at_quantile(0.9),
            p99: times.value_at_quantile(0.99),
            p99_9: times.value_at_quantile(0.999),
            max: times.max(),
        }
    }
}

/// One connection's stopwatch.
#[derive(Debug)]
pub(super) struct Laps {
    latency: Latency,
    lap_start: Instant,
}

impl Laps {
    /// The end of a round trip is the start of the next: one look at the clock for both.
    pub(super) fn lap(&mut self) {
        let now = Instant::now();
        let time = now - self.lap_start;
        self.lap_start = now;
        self.latency.record(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_goes_as_far_as_there_are_round_trips() {
        let latency = Latency::new();
        (1..=100).for_each(|ms| latency.record(Duration::from_millis(ms)));
        let curve = latency.curve();
        assert_eq!(
            curve.iter().map(|(one_of, _)| *one_of).collect::<Vec<_>>(),
            [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]
        );
        let ms = |index: usize| (curve[index].1 / 1e3).round();
        assert_eq!((ms(0), ms(1), ms(2), ms(6)), (1.0, 50.0, 75.0, 99.0));
        assert!(Latency::new().curve().is_empty());
    }

    #[test]
    fn laps_of_several_connections_meet() {
        let latency = Latency::new();
        let mut laps = [latency.laps(), latency.laps()];
        std::thread::sleep(Duration::from_millis(2));
        laps.iter_mut().for_each(Laps::lap);
        let Percentiles { p50, p99_9, max, .. } = latency.percentiles();
        assert_eq!(latency.0.borrow().len(), 2);
        assert!(2_000_000 <= p50 && p50 <= p99_9 && p99_9 <= max);
    }
}

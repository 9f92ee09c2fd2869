//! Pacing: a large window leaves over a round trip instead of at once, so that it needs no queue at the bottleneck.
//!
//! The rate is what Linux's is: twice the window a round trip in slow start, which doubles it, and a fifth more than
//! the window else. What goes together is what a millisecond has room for. The first ten segments of a flight are
//! never held back (RFC 6928 lets them go), so a request or a reply that is no larger knows nothing of all this; nor
//! are retransmissions, of which PRR says how many go. With BBR the rate is the model's, and holds for everything.

use core::time::Duration;

use hayase_device::Frame;
use hayase_time::Instant;

use super::congestion::initial_window;
use super::connection::Connection;
use crate::config::Config;

/// Below this a window leaves faster than timers tell.
const RTT_MIN_US: u32 = 1000;

/// What goes together.
const QUANTUM_US: u64 = 1000;

impl<F: Frame> Connection<F> {
    /// The pacing rate in bytes a second. `None`: as fast as the device takes them.
    pub(super) fn pacing_rate(&self, config: &Config) -> Option<u64> {
        if let Some(rate) = self.congestion.model_rate() {
            return Some(rate);
        }
        let srtt_us = u64::from(self.rtt.srtt_us());
        self.is_paced(config).then(|| self.window_tenths() * 100_000 / srtt_us)
    }

    pub(super) fn is_paced(&self, config: &Config) -> bool {
        config.pacing && self.rtt.srtt_us() >= RTT_MIN_US
    }

    /// Tenths of bytes that may leave in a round trip.
    fn window_tenths(&self) -> u64 {
        let tenths = if self.congestion.is_slow_start() { 20 } else { 12 };
        u64::from(self.congestion.cwnd().max(self.mss)) * tenths
    }

    /// The largest super-segment: what goes together, and two segments at least.
    pub(super) fn pacing_quantum(&self, config: &Config) -> u32 {
        let Some(rate) = self.pacing_rate(config) else { return u32::MAX };
        let quantum = (rate * QUANTUM_US / 1_000_000).min(u32::MAX.into()) as u32;
        (quantum - quantum % self.mss).max(2 * self.mss)
    }

    /// Whether pacing has a say in what may be sent now.
    #[inline(always)]
    pub(super) fn may_be_held_back(&self, now: Instant) -> bool {
        self.pace_at > now.after_micros(QUANTUM_US)
    }

    /// Whether new data has to wait, and until when if so.
    #[inline]
    pub(super) fn is_held_back(&mut self, now: Instant, config: &Config) -> bool {
        if !self.may_be_held_back(now) {
            return false;
        }
        let is_exempt = self.flight() < initial_window(self.mss) || !self.is_paced(config);
        if is_exempt && self.congestion.model_rate().is_none() {
            return false;
        }
        self.congestion.bulk_mut().held_until = self.pace_at;
        true
    }

    /// The same at the rate that a model of the path wants: for everything, from the first segment on, and what was sent
    /// late because a timer was does not count against it.
    pub(super) fn pace_by_model(&mut self, len: u32, now: Instant) {
        if let Some(rate) = self.congestion.model_rate() {
            let nanos = u64::from(len) * 1_000_000_000 / rate;
            let start = now.saturating_sub(Duration::from_micros(QUANTUM_US));
            self.pace_at = self.pace_at.max(start).after_nanos(nanos);
        }
    }

    /// New data was sent behind other data: the next has its time.
    pub(super) fn pace(&mut self, len: u32, now: Instant, config: &Config) {
        if self.is_paced(config) {
            let nanos = u64::from(len) * u64::from(self.rtt.srtt_us()) * 10_000 / self.window_tenths();
            self.pace_at = self.pace_at.max(now).after_nanos(nanos);
        }
    }
}

//! CUBIC (RFC 9438): the window is a cubic function of the time since the last loss, whatever the round trip. It rises
//! quickly, lingers where the last loss was, and then looks for more. Integers only: bytes, and milliseconds.

use hayase_time::Instant;

use super::congestion::{Ack, CWND_MAX, CongestionControl, Window};
use super::hystart::{HyStart, Pace};
use crate::seq::Seq;

/// beta_cubic = 0.7, in tenths (§4.6).
const BETA_10: u64 = 7;

/// alpha_cubic = 3 (1 - beta) / (1 + beta) = 9/17 (§4.3), in 1/1024.
const ALPHA_1024: u64 = 9 * 1024 / 17;

/// Beyond this distance from K the function says nothing that a window could follow: 3.2 million segments.
const DISTANCE_MAX_MS: i64 = 200_000;

/// CUBIC's variables, under the RFC's names.
#[derive(Debug, Default)]
pub(super) struct Cubic {
    w_max: u32,
    /// cwnd_prior: what the window was when it was last reduced.
    cwnd_prior: u32,
    /// The stage of congestion avoidance that is going on.
    epoch: Option<Epoch>,
    hystart: HyStart,
    /// What the last acknowledgement reached that found the window in use.
    seen: Option<Seq>,
    /// When that was, if it left nothing outstanding.
    rested_at: Option<Instant>,
}

#[derive(Debug)]
struct Epoch {
    /// t_epoch
    start: Instant,
    /// K, in milliseconds.
    k_ms: i64,
    /// W_est in 1/1024 of a byte.
    w_est_1024: u64,
    /// What is left of the last division, so that small steps add up.
    remainder: u64,
}

impl Cubic {
    fn begin(&mut self, cwnd: u32, mss: u32, now: Instant) -> Epoch {
        self.w_max = self.w_max.max(cwnd);
        // K = cbrt((W_max - cwnd_epoch) / C), windows in segments, C = 0.4: in milliseconds, times 2.5 * 10^9.
        let cube = u64::from(self.w_max - cwnd) * 2_500_000_000 / u64::from(mss.max(1));
        Epoch { start: now, k_ms: cube_root(cube) as i64, w_est_1024: u64::from(cwnd) * 1024, remainder: 0 }
    }

    /// The stage goes on where it was when all was acknowledged, a while before something was sent again: nor is that time
    /// any (§5.8), as Linux has it.
    fn skip_rest(&mut self, rested_at: Instant, ack: &Ack) {
        let round_trip_us = u64::from(ack.rtt_us);
        // If what was sent went again, nobody knows when it was sent first.
        self.epoch = self.epoch.take().filter(|_| round_trip_us > 0);
        if let Some(epoch) = &mut self.epoch {
            let since_us = ack.now.micros_since(rested_at);
            epoch.start = epoch.start.after_micros(since_us.saturating_sub(round_trip_us));
        }
    }

    fn slow_start(&mut self, window: &mut Window, ack: &Ack) -> u32 {
        // RFC 9406 §4.3: only the first slow start looks for its end; the others have theirs.
        let is_first = window.ssthresh == CWND_MAX;
        match if is_first { self.hystart.on_ack(ack) } else { Pace::Divided(1) } {
            Pace::Divided(divisor) => {
                let left = window.slow_start(ack.acked / divisor);
                if window.is_slow_start() { 0 } else { left }
            }
            Pace::Exit => {
                self.hystart = HyStart::default();
                window.ssthresh = window.cwnd;
                ack.acked
            }
        }
    }

    fn avoid(&mut self, window: &mut Window, ack: &Ack, acked: u32) {
        let mut epoch = self.epoch.take().unwrap_or_else(|| self.begin(window.cwnd, ack.mss, ack.now));
        let t_ms = (ack.now.nanos_since(epoch.start) / 1_000_000) as i64;
        epoch.advance_estimate(window.cwnd, self.cwnd_prior, acked, ack.mss);
        let estimate = (epoch.w_est_1024 / 1024).min(u64::from(u32::MAX)) as u32;
        if w_cubic(t_ms - epoch.k_ms, self.w_max, ack.mss) < u64::from(estimate) {
            // The Reno-friendly region (§4.3).
            window.grow(estimate.saturating_sub(window.cwnd));
        } else {
            let ahead_ms = t_ms - epoch.k_ms + i64::from(ack.srtt_us / 1000);
            let cwnd = u64::from(window.cwnd);
            // §4.2: never more than half as much again in a round trip.
            let target = w_cubic(ahead_ms, self.w_max, ack.mss).clamp(cwnd, cwnd + cwnd / 2);
            let growth = (target - cwnd) * u64::from(acked) + epoch.remainder;
            epoch.remainder = growth % cwnd.max(1);
            window.grow((growth / cwnd.max(1)).min(u64::from(acked)) as u32);
        }
        self.epoch = Some(epoch);
    }
}

impl Epoch {
    /// What Reno would have by now (§4.3): slower until it has made good its smaller reduction, then as fast.
    fn advance_estimate(&mut self, cwnd: u32, cwnd_prior: u32, acked: u32, mss: u32) {
        let alpha = if self.w_est_1024 / 1024 >= u64::from(cwnd_prior) { 1024 } else { ALPHA_1024 };
        let growth = alpha * u64::from(acked) * u64::from(mss) / u64::from(cwnd.max(1));
        self.w_est_1024 = self.w_est_1024.saturating_add(growth);
    }
}

impl CongestionControl for Cubic {
    fn on_ack(&mut self, window: &mut Window, ack: &Ack) {
        let rest = (ack.una == ack.nxt).then_some(ack.now);
        let rested_at = core::mem::replace(&mut self.rested_at, rest);
        if self.seen.replace(ack.una).is_some_and(|seen| seen != ack.una - ack.acked) {
            // §5.8: the time in which the window was not used is no time. The next stage starts where this one was.
            self.epoch = None;
            self.hystart = HyStart::default();
        } else if let Some(rested_at) = rested_at {
            self.skip_rest(rested_at, ack);
        }
        let left = if window.is_slow_start() { self.slow_start(window, ack) } else { ack.acked };
        if left > 0 && !window.is_slow_start() {
            self.avoid(window, ack, left);
        }
    }

    fn reduced(&mut self, window: &Window, flight: u32, mss: u32) -> u32 {
        let cwnd = window.cwnd;
        // Fast convergence (§4.7): a flow that did not get back to where it was makes room for a newer one.
        self.w_max = if cwnd < self.w_max { (u64::from(cwnd) * (10 + BETA_10) / 20) as u32 } else { cwnd };
        self.cwnd_prior = cwnd;
        self.epoch = None;
        ((u64::from(flight) * BETA_10 / 10) as u32).max(2 * mss)
    }

    fn on_timeout(&mut self) {
        // RFC 9438 §4.8: what is begun next aims at where it begins.
        self.w_max = 0;
    }

    fn on_undo(&mut self, window: &Window) {
        self.w_max = self.w_max.max(window.cwnd);
        self.epoch = None;
    }

    fn on_idle(&mut self) {
        self.epoch = None;
    }
}

/// W_cubic at a distance of `ms` from K, in bytes (§4.2, figure 1): C (t - K)^3 + W_max.
fn w_cubic(ms: i64, w_max: u32, mss: u32) -> u64 {
    let ms = ms.clamp(-DISTANCE_MAX_MS, DISTANCE_MAX_MS);
    let change = ms * ms * ms / 1000 * 4 * i64::from(mss.min(u32::from(u16::MAX))) / 10_000_000;
    (i64::from(w_max) + change).max(0) as u64
}

/// The largest integer whose cube is no larger.
fn cube_root(cube: u64) -> u64 {
    // 2,642,245^3 is the largest below 2^64.
    let (mut low, mut high) = (0u64, 2_642_245u64);
    while low < high {
        let middle = (low + high).div_ceil(2);
        if middle * middle * middle <= cube { low = middle } else { high = middle - 1 }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::super::congestion::tests::{MSS, ack};
    use super::super::congestion::{Congestion, Controller};
    use super::*;

    /// A path of 100 ms after a loss at 1000 segments: the window at the end of each of `rounds` round trips.
    fn after_a_loss(rounds: u64) -> alloc::vec::Vec<u32> {
        let mut cubic = Controller::new(Congestion::Cubic, MSS);
        cubic.set_cwnd(1000 * MSS);
        cubic.on_loss(1000 * MSS, MSS);
        let mut windows = alloc::vec![cubic.cwnd()];
        let mut una = Seq(0);
        for round in 0..rounds {
            let (segments, start) = (u64::from(cubic.cwnd() / MSS), round * 100);
            for n in 0..segments {
                una += MSS;
                cubic.on_ack(&Ack { una, srtt_us: 100_000, ..ack(MSS, start + n * 100 / segments) });
            }
            windows.push(cubic.cwnd());
        }
        windows
    }

    #[test]
    fn roots_are_exact() {
        for root in [0u64, 1, 2, 9, 1000, 123_456, 2_642_245] {
            let cube = root * root * root;
            assert_eq!(cube_root(cube), root);
            assert_eq!(cube_root(cube.saturating_sub(1)), root.saturating_sub(1));
        }
        assert_eq!(cube_root(u64::MAX), 2_642_245);
    }

    #[test]
    fn h1_a_loss_takes_three_tenths() {
        assert_eq!(after_a_loss(0), [700 * MSS]);
    }

    #[test]
    fn h2_growth_is_concave_reaches_the_old_window_after_k_and_is_convex_then() {
        let windows = after_a_loss(180);
        // K = cbrt(1000 * 0.3 / 0.4) = 9.08 s
        let back = windows.iter().position(|window| *window >= 999 * MSS).unwrap();
        assert!((78..=95).contains(&back), "{back} round trips of 0.1 s");
        let step = |at: usize| windows[at + 10] - windows[at];
        assert!(step(0) > step(30) && step(30) > step(60), "concave");
        assert!(step(110) < step(140) && step(140) < step(170), "convex");
    }

    #[test]
    fn h3_a_flow_that_did_not_get_back_makes_room() {
        let mut cubic = Cubic::default();
        let window = |cwnd| Window { cwnd, ssthresh: cwnd };
        cubic.reduced(&window(1_000_000), 1_000_000, MSS);
        assert_eq!(cubic.w_max, 1_000_000);
        cubic.reduced(&window(800_000), 800_000, MSS);
        assert_eq!(cubic.w_max, 680_000);
    }

    #[test]
    fn h3_on_a_short_path_it_grows_as_reno_does() {
        let mut cubic = Controller::new(Congestion::Cubic, MSS);
        cubic.set_cwnd(20 * MSS);
        cubic.on_loss(20 * MSS, MSS);
        let mut una = Seq(0);
        for n in 0..100 {
            for _ in 0..cubic.cwnd() / MSS {
                una += MSS;
                cubic.on_ack(&Ack { una, srtt_us: 1000, ..ack(MSS, n) });
            }
        }
        // 14 + 0.53 a round trip until 20, then 1 a round trip.
        assert!((90..=115).contains(&(cubic.cwnd() / MSS)), "{}", cubic.cwnd());
    }

    #[test]
    fn time_in_which_the_window_is_not_used_does_not_count() {
        let mut cubic = Controller::new(Congestion::Cubic, MSS);
        cubic.set_cwnd(1000 * MSS);
        cubic.on_loss(1000 * MSS, MSS);
        cubic.on_ack(&Ack { una: Seq(MSS), ..ack(MSS, 0) });
        let before = cubic.cwnd();
        // A minute later, and much further on.
        cubic.on_ack(&Ack { una: Seq(1 << 20), ..ack(MSS, 60_000) });
        assert!(cubic.cwnd() < before + MSS, "{} after {before}", cubic.cwnd());
    }

    /// Slow start that a growing delay ended: the window and what was acknowledged.
    fn after_hystart() -> (Controller, Seq) {
        let mut cubic = Controller::new(Congestion::Cubic, MSS);
        let mut una = Seq(0);
        for round in 0..30 {
            let nxt = una + cubic.cwnd();
            let rtt_us = if round < 2 { 50_000 } else { 100_000 };
            while una.before(nxt) && cubic.is_slow_start() {
                una += MSS;
                cubic.on_ack(&Ack { una, nxt, rtt_us, ..ack(MSS, round * 100) });
            }
        }
        assert!(!cubic.is_slow_start(), "it ended");
        (cubic, una)
    }

    /// RFC 9406 §4.3: HyStart++ is for the first slow start alone.
    #[test]
    fn h2_slow_start_after_a_timeout_doubles_up_to_the_threshold() {
        let (mut cubic, mut una) = after_hystart();
        for _ in 0..300 {
            cubic.on_timeout(64 * MSS, MSS, false);
            let ssthresh = cubic.ssthresh();
            let mut wanted = MSS;
            while wanted < ssthresh {
                let nxt = una + cubic.cwnd();
                while una.before(nxt) {
                    una += MSS;
                    cubic.on_ack(&Ack { una, nxt, rtt_us: 100_000, ..ack(MSS, 10_000) });
                }
                wanted = (2 * wanted).min(ssthresh);
                assert!(cubic.cwnd() >= wanted, "{} of {wanted}", cubic.cwnd());
            }
        }
    }

    /// RFC 9438 §4.8: what the window was before a timeout is no aim.
    #[test]
    fn h1_after_a_timeout_growth_starts_where_slow_start_ends() {
        let mut cubic = Controller::new(Congestion::Cubic, MSS);
        cubic.set_cwnd(1000 * MSS);
        cubic.on_timeout(20 * MSS, MSS, false);
        let mut una = Seq(0);
        for round in 0..40 {
            let segments = u64::from(cubic.cwnd() / MSS);
            for n in 0..segments {
                una += MSS;
                let at = round * 100 + n * 100 / segments;
                cubic.on_ack(&Ack { una, srtt_us: 100_000, ..ack(MSS, at) });
            }
        }
        // From 14 on: C t^3 is 20 segments after 3.7 s, Reno's estimate is 19 by then.
        assert!((25..=45).contains(&(cubic.cwnd() / MSS)), "{}", cubic.cwnd());
    }

    #[test]
    fn no_number_overflows() {
        for (millis, cwnd, mss) in
            [(u64::MAX / 2_000_000, 1 << 30, 64), (1 << 40, 1, 65_535), (0, 1 << 30, 1)]
        {
            let mut cubic = Controller::new(Congestion::Cubic, mss);
            cubic.set_cwnd(cwnd);
            cubic.on_loss(cwnd, mss);
            cubic.set_cwnd(cwnd / 2 + 1);
            for at in [0, millis] {
                cubic.on_ack(&Ack { mss, srtt_us: u32::MAX, ..ack(u32::MAX, at) });
            }
            assert!(cubic.cwnd() <= 1 << 30);
        }
    }
}

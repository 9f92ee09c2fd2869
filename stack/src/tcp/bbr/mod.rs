//! BBR, version 3 (draft-ietf-ccwg-bbr): the window and the pacing rate follow a model of the path, which is how fast it
//! delivers and how long it takes at least, and not whether something was lost. Names are the draft's; integers only:
//! bytes, bytes a second, microseconds.
//!
//! Here is what is done when (§5.2) and what comes out: pacing rate and window (§5.6). What is estimated stands in
//! [`model`], the phases in [`phases`]. Loss detection and what is sent again are nobody's business here.

mod model;
mod phases;

use hayase_time::Instant;

use self::model::{Aggregation, Bounds, MaxBandwidth, MinRtt};
use self::phases::{AckPhase, FullPipe, Phase};
use super::congestion::{CWND_MAX, Window, initial_window};
use super::rate::{Loss, Sample};

/// No bound.
const INFINITE: u64 = u64::MAX;

/// BBR.LossThresh, 2 %, as the number of bytes of which one may be lost.
const LOSS_THRESH_INV: u64 = 50;

/// Segments that may be lost besides: of a window of less than fifty a single one is more than 2 %, and chance alone takes
/// that from a path that loses 1 % in every third round.
const LOSS_TOLERANCE: u64 = 2;

/// BBR.Beta = 0.7, in tenths.
const BETA_10: u64 = 7;

/// BBR.PacingMarginPercent
const PACING_MARGIN_PERCENT: u64 = 1;

/// BBR.MinPipeCwnd, in segments.
const MIN_PIPE_CWND: u64 = 4;

/// The initial round trip of §5.6.2, where none was measured.
const RTT_UNKNOWN_US: u64 = 1000;

/// What a send quantum has room for, and the most that it is (§5.6.3).
const QUANTUM_US: u64 = 1000;
const QUANTUM_LEN_MAX: u64 = 64 * 1024;

/// What the connection knows, and BBR does not, when an acknowledgement has been processed.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Situation {
    /// C.inflight
    pub(in super::super) in_flight: u32,
    /// C.SMSS
    pub(in super::super) mss: u32,
    /// C.has_selective_acks
    pub(in super::super) has_sack: bool,
    /// Loss that acknowledgements showed is being repaired.
    pub(in super::super) is_fast: bool,
    /// C.srtt. 0: nothing was measured.
    pub(in super::super) srtt_us: u32,
    /// C.delivered
    pub(in super::super) delivered: u64,
}

#[derive(Debug)]
pub(in super::super) struct Bbr {
    phase: Phase,
    /// Where [`random`](Bbr::random) is.
    seed: u32,
    pacing_rate: u64,
    /// The pacing rate comes from a round trip that was measured.
    has_seen_rtt: bool,
    /// C.delivered, when it was last heard of.
    delivered: u64,

    // Rounds (§5.5.1)
    next_round_delivered: u64,
    round_start: bool,
    round_count: u64,
    drain_start_round: u64,

    // The model of the path (§5.5)
    bw: u64,
    max_bw: MaxBandwidth,
    min_rtt: MinRtt,
    aggregation: Aggregation,
    bounds: Bounds,
    full_pipe: FullPipe,

    // The delivery process of this round
    bw_latest: u64,
    inflight_latest: u64,
    loss_round_delivered: u64,
    loss_round_start: bool,
    is_loss_in_round: bool,
    /// More was lost than is tolerated, or a router marked packets.
    is_congested_in_round: bool,
    loss_events_in_round: u8,

    // ProbeBW (§5.3.3)
    ack_phase: AckPhase,
    is_bw_probe_sample: bool,
    bw_probe_up_rounds: u32,
    bw_probe_up_acked: u64,
    probe_up_acked_per_inc: u64,
    rounds_since_probe_up: u64,
    bw_probe_wait_us: u64,
    cycle_stamp: Instant,
    prev_probe_too_high: bool,
    prev_probe_precautionary: bool,

    // ProbeRTT (§5.3.4)
    probe_rtt_done_stamp: Option<Instant>,
    probe_rtt_round_done: bool,
    idle_restart: bool,

    // C.is_cwnd_limited: in this round, and in the one before.
    is_limited_now: bool,
    was_limited: bool,

    // What is gone back to
    /// The window is smaller than it was for a loss, or about to be.
    is_recovering: bool,
    prior_cwnd: u32,
    undo_phase: Option<Phase>,
    undo: Bounds,
}

impl Bbr {
    /// OnInit. `seed` decides when bandwidth is probed: flows that share a path should not do so together.
    pub(in super::super) fn new(now: Instant, window: &Window, at: &Situation, seed: u32) -> Bbr {
        let mut bbr = Bbr {
            phase: Phase::Startup,
            seed: seed | 1,
            pacing_rate: 0,
            has_seen_rtt: false,
            delivered: at.delivered,
            next_round_delivered: 0,
            round_start: false,
            round_count: 0,
            drain_start_round: 0,
            bw: 0,
            max_bw: MaxBandwidth::default(),
            min_rtt: MinRtt::new(now, at.srtt_us),
            aggregation: Aggregation::new(now),
            bounds: Bounds::NONE,
            full_pipe: FullPipe::default(),
            bw_latest: 0,
            inflight_latest: 0,
            loss_round_delivered: 0,
            loss_round_start: false,
            is_loss_in_round: false,
            is_congested_in_round: false,
            loss_events_in_round: 0,
            ack_phase: AckPhase::Init,
            is_bw_probe_sample: false,
            bw_probe_up_rounds: 0,
            bw_probe_up_acked: 0,
            probe_up_acked_per_inc: INFINITE,
            rounds_since_probe_up: 0,
            bw_probe_wait_us: 0,
            cycle_stamp: now,
            prev_probe_too_high: false,
            prev_probe_precautionary: false,
            probe_rtt_done_stamp: None,
            probe_rtt_round_done: false,
            idle_restart: false,
            is_limited_now: false,
            was_limited: false,
            is_recovering: false,
            prior_cwnd: 0,
            undo_phase: None,
            undo: Bounds::NONE,
        };
        bbr.init_pacing_rate(window, at);
        bbr
    }

    /// Bytes a second at which everything is paced.
    pub(in super::super) fn pacing_rate(&self) -> u64 {
        self.pacing_rate.max(1)
    }

    /// Whether samples are to count as limited by the application: those of ProbeRTT say nothing of the path.
    pub(in super::super) fn ignores_samples(&self) -> bool {
        self.phase == Phase::ProbeRtt
    }

    /// UpdateOnACK, for each acknowledgement that delivered something.
    pub(in super::super) fn on_sample(&mut self, window: &mut Window, rs: &Sample, at: &Situation) {
        if !self.has_seen_rtt && at.srtt_us > 0 {
            self.init_pacing_rate(window, at);
        }
        self.delivered = rs.total_delivered;
        self.update_latest_delivery_signals(rs);
        self.update_congestion_signals(window, rs, at);
        self.update_ack_aggregation(window, rs);
        self.check_full_bw_reached(rs);
        self.check_startup_done(rs, at);
        self.check_drain_done(rs.now, at);
        self.update_probe_bw_cycle_phase(window, rs, at);
        self.min_rtt.update(rs);
        self.check_probe_rtt(window, rs, at);
        self.advance_latest_delivery_signals(rs);
        self.bw = self.max_bw.get().min(self.bounds.bw_shortterm);
        self.set_pacing_rate_with_gain(self.phase.pacing_gain_percent());
        self.set_cwnd(window, rs, at);
    }

    /// The window was full, or nearly.
    pub(in super::super) fn on_cwnd_limited(&mut self) {
        self.is_limited_now = true;
    }

    fn is_cwnd_limited(&self) -> bool {
        self.is_limited_now || self.was_limited
    }

    /// HandleRestartFromIdle: something leaves, nothing was outstanding, and the application was the reason.
    pub(in super::super) fn on_restart(&mut self, now: Instant, window: &mut Window) {
        self.idle_restart = true;
        self.aggregation.restart(now);
        if self.phase.is_probe_bw() {
            self.set_pacing_rate_with_gain(100);
        } else if self.phase == Phase::ProbeRtt {
            self.check_probe_rtt_done(window, now);
        }
    }

    /// HandleLostPacket
    pub(in super::super) fn on_lost(&mut self, window: &Window, loss: &Loss, at: &Situation, now: Instant) {
        self.delivered = at.delivered;
        self.note_loss(window);
        self.loss_events_in_round = self.loss_events_in_round.saturating_add(1);
        if !self.is_bw_probe_sample {
            return;
        }
        let in_flight = u64::from(loss.in_flight);
        if is_inflight_too_high(loss.lost, in_flight, at) {
            let in_flight = inflight_at_loss(loss, at.mss);
            self.handle_inflight_too_high(window, (in_flight, loss.is_app_limited), at.mss, now);
        }
    }

    /// A router marked packets, or a loss was repaired before it was found: once a round at most. It is answered where more
    /// loss than is tolerated would be (RFC 3168 §6.1.2).
    pub(in super::super) fn on_congestion(&mut self, window: &Window, mss: u32, now: Instant) {
        self.note_loss(window);
        self.is_congested_in_round = true;
        match self.phase {
            Phase::Startup => self.full_pipe.is_reached = true,
            Phase::Refill | Phase::Up if self.is_bw_probe_sample => {
                let in_flight = u64::from(window.cwnd) * BETA_10 / 10;
                self.handle_inflight_too_high(window, (in_flight, false), mss, now);
            }
            _ => {}
        }
    }

    /// NoteLoss
    fn note_loss(&mut self, window: &Window) {
        if !self.is_loss_in_round {
            self.loss_round_delivered = self.delivered;
            self.save_state_upon_loss(window);
        }
        self.is_loss_in_round = true;
    }

    fn save_state_upon_loss(&mut self, window: &Window) {
        self.save_cwnd(window);
        self.undo_phase = None;
        self.undo = self.bounds;
    }

    /// OnEnterFastRecovery, and OnEnterRTO but for the window, which is the connection's.
    pub(in super::super) fn on_recovery(&mut self, window: &Window) {
        self.save_state_upon_loss(window);
        self.is_recovering = true;
    }

    /// All that was lost is repaired.
    pub(in super::super) fn on_recovered(&mut self, window: &mut Window) {
        self.is_recovering = false;
        self.restore_cwnd(window);
    }

    /// HandleSpuriousLossDetection
    pub(in super::super) fn on_undo(&mut self, window: &mut Window) {
        self.on_recovered(window);
        self.is_loss_in_round = false;
        self.full_pipe.reset();
        self.bounds = self.bounds.max(self.undo);
        let was = self.undo_phase.take();
        if was == Some(Phase::Startup) && self.phase != Phase::Startup {
            self.full_pipe.is_reached = false;
            if self.phase != Phase::ProbeRtt {
                self.phase = Phase::Startup;
            }
        } else if was == Some(Phase::Up) && !matches!(self.phase, Phase::Up | Phase::ProbeRtt) {
            self.start_refill();
        }
    }

    fn save_cwnd(&mut self, window: &Window) {
        let is_known_good = !self.is_recovering && self.phase != Phase::ProbeRtt;
        self.prior_cwnd = if is_known_good { window.cwnd } else { self.prior_cwnd.max(window.cwnd) };
    }

    fn restore_cwnd(&self, window: &mut Window) {
        window.cwnd = window.cwnd.max(self.prior_cwnd);
    }

    fn init_pacing_rate(&mut self, window: &Window, at: &Situation) {
        let rtt_us = if at.srtt_us > 0 { u64::from(at.srtt_us) } else { RTT_UNKNOWN_US };
        let nominal = u64::from(window.cwnd.max(initial_window(at.mss))) * 1_000_000 / rtt_us;
        self.pacing_rate = nominal * Phase::Startup.pacing_gain_percent() / 100;
        self.has_seen_rtt = at.srtt_us > 0;
    }

    fn set_pacing_rate_with_gain(&mut self, gain_percent: u64) {
        let rate = self.bw * gain_percent / 100 * (100 - PACING_MARGIN_PERCENT) / 100;
        if rate > 0 && (self.full_pipe.is_reached || rate > self.pacing_rate) {
            self.pacing_rate = rate;
        }
    }

    /// C.send_quantum
    fn send_quantum(&self, mss: u32) -> u64 {
        (self.pacing_rate() * QUANTUM_US / 1_000_000).min(QUANTUM_LEN_MAX).max(2 * u64::from(mss))
    }

    fn bdp_multiple(&self, bw: u64, gain_percent: u64, mss: u32) -> u64 {
        match self.min_rtt.get() {
            Some(min_rtt_us) => bw * u64::from(min_rtt_us) / 1_000_000 * gain_percent / 100,
            None => initial_window(mss).into(),
        }
    }

    fn quantization_budget(&self, inflight_cap: u64, mss: u32) -> u64 {
        let cap = inflight_cap.max(3 * self.send_quantum(mss)).max(min_pipe_cwnd(mss));
        if self.phase == Phase::Up { cap + 2 * u64::from(mss) } else { cap }
    }

    fn inflight(&self, bw: u64, gain_percent: u64, mss: u32) -> u64 {
        self.quantization_budget(self.bdp_multiple(bw, gain_percent, mss), mss)
    }

    fn max_inflight(&self, mss: u32) -> u64 {
        let cap = self.bdp_multiple(self.bw, self.phase.cwnd_gain_percent(), mss);
        self.quantization_budget(cap + self.aggregation.extra_acked(), mss)
    }

    fn set_cwnd(&mut self, window: &mut Window, rs: &Sample, at: &Situation) {
        let (max_inflight, grown) =
            (self.max_inflight(at.mss), u64::from(window.cwnd) + u64::from(rs.newly_acked));
        let mut cwnd = u64::from(window.cwnd);
        if self.full_pipe.is_reached {
            cwnd = grown.min(max_inflight);
        } else if cwnd < max_inflight || rs.total_delivered < u64::from(initial_window(at.mss)) {
            cwnd = grown;
        }
        cwnd = cwnd.max(min_pipe_cwnd(at.mss));
        if self.phase == Phase::ProbeRtt {
            cwnd = cwnd.min(self.probe_rtt_cwnd(at.mss));
        }
        window.cwnd = cwnd.min(self.model_bound(at.mss)).min(CWND_MAX.into()) as u32;
    }

    /// BoundCwndForModel
    fn model_bound(&self, mss: u32) -> u64 {
        let cap = match self.phase {
            Phase::Down | Phase::Refill | Phase::Up => self.bounds.inflight_longterm,
            Phase::Cruise | Phase::ProbeRtt => self.inflight_with_headroom(mss),
            Phase::Startup | Phase::Drain => INFINITE,
        };
        cap.min(self.bounds.inflight_shortterm).max(min_pipe_cwnd(mss))
    }

    /// TargetInflight
    fn target_inflight(&self, window: &Window, mss: u32) -> u64 {
        self.bdp_multiple(self.bw, 100, mss).min(window.cwnd.into())
    }

    /// The next of a row of numbers that nobody else has (xorshift).
    fn random(&mut self) -> u32 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 17;
        self.seed ^= self.seed << 5;
        self.seed
    }
}

fn min_pipe_cwnd(mss: u32) -> u64 {
    MIN_PIPE_CWND * u64::from(mss)
}

/// How much of what was in flight may be lost.
fn tolerated(in_flight: u64, mss: u32) -> u64 {
    in_flight / LOSS_THRESH_INV + LOSS_TOLERANCE * u64::from(mss)
}

/// IsInflightTooHigh
fn is_inflight_too_high(lost: u64, in_flight: u64, at: &Situation) -> bool {
    lost > if at.has_sack { tolerated(in_flight, at.mss) } else { 0 }
}

/// InflightAtLoss: with how much in flight, counted within what was lost, the losses went beyond what is tolerated.
fn inflight_at_loss(loss: &Loss, mss: u32) -> u64 {
    let inflight_prev = u64::from(loss.in_flight).saturating_sub(loss.len.into());
    let lost_prev = loss.lost.saturating_sub(loss.len.into());
    let lost_prefix = tolerated(inflight_prev, mss).saturating_sub(lost_prev);
    inflight_prev + lost_prefix * LOSS_THRESH_INV / (LOSS_THRESH_INV - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1000;

    /// A path of 1 MB/s and 40 ms whose acknowledgements come every 10 ms, seen by one connection.
    struct Path {
        bbr: Bbr,
        window: Window,
        now: Instant,
        at: Situation,
        rate: u64,
        is_app_limited: bool,
    }

    impl Path {
        fn new() -> Path {
            let at = Situation {
                in_flight: 10_000,
                mss: MSS,
                has_sack: true,
                is_fast: false,
                srtt_us: 40_000,
                delivered: 0,
            };
            let window = Window { cwnd: 10_000, ssthresh: CWND_MAX };
            let now = Instant::from_millis(1000);
            Path {
                bbr: Bbr::new(now, &window, &at, 7),
                window,
                now,
                at,
                rate: 1_000_000,
                is_app_limited: false,
            }
        }

        /// The next acknowledgement, of 10 ms worth of data that was sent a round trip ago.
        fn ack(&mut self) {
            self.lossy_ack(0);
        }

        fn lossy_ack(&mut self, lost: u64) {
            self.now = self.now.after_micros(10_000);
            let newly_acked = (self.rate / 100) as u32;
            self.at.delivered += u64::from(newly_acked);
            // Startup makes a queue.
            let has_queue = matches!(self.bbr.phase, Phase::Startup | Phase::Drain);
            self.at.in_flight = if has_queue { self.window.cwnd } else { self.window.cwnd.min(40_000) };
            let rs = Sample {
                now: self.now,
                has_data: true,
                delivery_rate: self.rate,
                delivered: self.rate / 25,
                prior_delivered: self.at.delivered.saturating_sub(self.rate / 25),
                is_app_limited: self.is_app_limited,
                sent_in_flight: self.at.in_flight,
                lost,
                rtt_us: Some(40_000),
                newly_acked,
                total_delivered: self.at.delivered,
            };
            self.bbr.on_sample(&mut self.window, &rs, &self.at);
        }

        fn until(&mut self, phase: Phase) {
            for _ in 0..2000 {
                if self.bbr.phase == phase {
                    return;
                }
                self.ack();
            }
            panic!("{phase:?} never came: {:?}", self.bbr);
        }

        /// So much is lost of what was sent with so much in flight.
        fn lose(&mut self, len: u32, in_flight: u32) {
            let loss = Loss { len, in_flight, lost: len.into(), is_app_limited: false };
            self.bbr.on_lost(&self.window, &loss, &self.at, self.now);
        }
    }

    #[test]
    fn startup_ends_when_the_rate_stops_growing_and_not_before() {
        let mut path = Path::new();
        for rate in [250_000, 500_000, 1_000_000] {
            path.rate = rate;
            (0..8).for_each(|_| path.ack());
            assert_eq!(path.bbr.phase, Phase::Startup);
            assert!(path.bbr.pacing_rate() >= rate * 27 / 10);
        }
        (0..16).for_each(|_| path.ack());
        assert!(path.bbr.full_pipe.is_reached);
        assert_ne!(path.bbr.phase, Phase::Startup);
        assert_eq!(path.bbr.max_bw.get(), 1_000_000);
    }

    #[test]
    fn an_application_that_is_slow_ends_no_startup() {
        let mut path = Path::new();
        path.is_app_limited = true;
        (0..200).for_each(|_| path.ack());
        assert_eq!(path.bbr.phase, Phase::Startup);
    }

    #[test]
    fn the_window_is_two_of_what_the_path_holds_and_the_rate_is_the_paths() {
        let mut path = Path::new();
        path.until(Phase::Drain);
        assert!(path.bbr.pacing_rate() <= 500_000, "half, until the queue is gone");
        path.until(Phase::Cruise);
        path.ack();
        let bdp = 40_000;
        assert!((2 * bdp..=2 * bdp + 20_000).contains(&path.window.cwnd), "{}", path.window.cwnd);
        assert_eq!(path.bbr.pacing_rate(), 990_000, "a margin of 1 %");
    }

    #[test]
    fn bandwidth_is_probed_in_turns() {
        let mut path = Path::new();
        for phase in [Phase::Cruise, Phase::Refill, Phase::Up, Phase::Down, Phase::Cruise, Phase::Refill] {
            path.until(phase);
        }
        path.until(Phase::Up);
        path.ack();
        assert_eq!(path.bbr.pacing_rate(), 1_000_000 * 125 / 100 * 99 / 100);
    }

    #[test]
    fn a_faster_path_is_found_and_a_slower_one_is_believed_two_cycles_later() {
        let mut path = Path::new();
        path.until(Phase::Cruise);
        path.rate = 2_000_000;
        path.ack();
        assert_eq!(path.bbr.max_bw.get(), 2_000_000);
        path.rate = 500_000;
        for phase in [Phase::Up, Phase::Down, Phase::Cruise, Phase::Up, Phase::Down, Phase::Cruise, Phase::Up]
        {
            path.until(phase);
        }
        assert_eq!(path.bbr.max_bw.get(), 500_000);
    }

    #[test]
    fn the_path_is_emptied_when_its_length_was_not_seen_for_five_seconds() {
        let mut path = Path::new();
        path.until(Phase::Cruise);
        let cwnd = path.window.cwnd;
        path.until(Phase::ProbeRtt);
        path.ack();
        assert_eq!(path.window.cwnd, 20_000, "half of what the path holds");
        assert!(path.bbr.ignores_samples());
        let start = path.now;
        path.until(Phase::Cruise);
        let took = (path.now - start).as_millis();
        assert!((200..300).contains(&took), "{took} ms");
        assert!(path.window.cwnd >= cwnd, "as before");
    }

    #[test]
    fn a_probe_that_loses_too_much_is_over_and_bounds_what_is_in_flight() {
        let mut path = Path::new();
        path.until(Phase::Up);
        path.lose(3000, 60_000);
        assert_eq!(path.bbr.phase, Phase::Up, "a little is tolerated");
        path.lose(9000, 60_000);
        assert_eq!(path.bbr.phase, Phase::Down);
        let bound = path.bbr.bounds.inflight_longterm;
        assert!((51_000..60_000).contains(&bound), "{bound}: where the losses went beyond 2 %");
        path.ack();
        assert!(u64::from(path.window.cwnd) <= bound);
        path.until(Phase::Cruise);
        path.ack();
        assert!(u64::from(path.window.cwnd) <= bound * 86 / 100, "with headroom for others");
    }

    #[test]
    fn random_loss_of_one_percent_changes_nothing_and_much_loss_does() {
        let mut path = Path::new();
        path.until(Phase::Cruise);
        path.lose(1000, 40_000);
        (0..8).for_each(|_| path.lossy_ack(1000));
        assert_eq!(path.bbr.bounds, Bounds::NONE);
        path.rate = 800_000;
        (0..12).for_each(|_| {
            path.lose(10_000, 40_000);
            path.lossy_ack(10_000);
        });
        assert!((700_000..=800_000).contains(&path.bbr.bounds.bw_shortterm), "{:?}", path.bbr.bounds);
        path.until(Phase::Refill);
        assert_eq!(path.bbr.bounds.bw_shortterm, INFINITE, "the next probe starts afresh");
    }

    #[test]
    fn a_mark_ends_startup_and_a_probe() {
        let mut path = Path::new();
        path.bbr.on_congestion(&path.window, MSS, path.now);
        path.ack();
        assert_eq!(path.bbr.phase, Phase::Drain);
        path.until(Phase::Up);
        path.bbr.on_congestion(&path.window, MSS, path.now);
        assert_eq!(path.bbr.phase, Phase::Down);
        path.until(Phase::Cruise);
        path.bbr.on_congestion(&path.window, MSS, path.now);
        (0..8).for_each(|_| path.ack());
        assert!(path.bbr.bounds.inflight_shortterm < INFINITE);
    }

    #[test]
    fn a_loss_that_was_none_is_undone() {
        let mut path = Path::new();
        path.until(Phase::Up);
        let cwnd = path.window.cwnd;
        path.bbr.on_recovery(&path.window);
        path.lose(9000, 60_000);
        path.window.cwnd = 5000;
        path.bbr.on_undo(&mut path.window);
        assert_eq!((path.bbr.phase, path.bbr.bounds), (Phase::Refill, Bounds::NONE));
        assert!(path.window.cwnd >= cwnd);
    }

    #[test]
    fn many_losses_in_many_places_end_startup() {
        let mut path = Path::new();
        path.rate = 250_000;
        (0..8).for_each(|_| path.ack());
        path.rate = 500_000;
        path.at.is_fast = true;
        (0..8).for_each(|_| {
            (0..2).for_each(|_| path.lose(1000, 40_000));
            path.lossy_ack(8_000);
        });
        assert!(path.bbr.full_pipe.is_reached && path.bbr.phase != Phase::Startup);
        assert!(path.bbr.bounds.inflight_longterm < INFINITE);
    }
}

//! The phases (draft-ietf-ccwg-bbr §5.3): Startup looks for the rate, Drain empties the queue that it made, ProbeBW holds
//! the rate and looks for more in turns, ProbeRTT empties the path to see how long it is.

use core::time::Duration;

use hayase_time::Instant;

use super::{BETA_10, Bbr, INFINITE, Situation, is_inflight_too_high, min_pipe_cwnd};
use crate::tcp::congestion::Window;
use crate::tcp::rate::Sample;

/// BBR.Headroom = 0.15, in percent.
const HEADROOM_PERCENT: u64 = 15;

/// BBRStartupFullLossCnt
const STARTUP_FULL_LOSS_COUNT: u8 = 6;

/// Rounds without a quarter more after which the pipe counts as full (§5.3.1.2).
const FULL_BW_ROUNDS: u8 = 3;

/// Rounds after which Drain ends, whatever is in flight (§5.3.2).
const DRAIN_ROUNDS_MAX: u64 = 3;

/// BBR.ProbeRTTDuration
const PROBE_RTT_DURATION: Duration = Duration::from_millis(200);

/// The least time between two probes of bandwidth, and what chance may add to it (§5.3.3.6).
const PROBE_WAIT_US: u64 = 2_000_000;
const PROBE_WAIT_RANDOM_US: u64 = 1_000_000;

/// Within so many rounds a probe comes in any case: Reno would need as many (§5.3.3.5.3).
const RENO_ROUNDS_MAX: u64 = 63;

/// BBR.state
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Startup,
    Drain,
    /// ProbeBW_DOWN
    Down,
    /// ProbeBW_CRUISE
    Cruise,
    /// ProbeBW_REFILL
    Refill,
    /// ProbeBW_UP
    Up,
    ProbeRtt,
}

impl Phase {
    /// BBR.pacing_gain (§5.6.1)
    pub(super) fn pacing_gain_percent(self) -> u64 {
        match self {
            Phase::Startup => 277,
            Phase::Drain => 50,
            Phase::Down => 90,
            Phase::Up => 125,
            Phase::Cruise | Phase::Refill | Phase::ProbeRtt => 100,
        }
    }

    /// BBR.cwnd_gain (§5.6.1)
    pub(super) fn cwnd_gain_percent(self) -> u64 {
        match self {
            Phase::ProbeRtt => PROBE_RTT_CWND_GAIN_PERCENT,
            Phase::Up => 225,
            _ => 200,
        }
    }

    /// IsInAProbeBWState
    pub(super) fn is_probe_bw(self) -> bool {
        matches!(self, Phase::Down | Phase::Cruise | Phase::Refill | Phase::Up)
    }

    /// IsProbingBW
    pub(super) fn is_probing_bw(self) -> bool {
        matches!(self, Phase::Startup | Phase::Refill | Phase::Up)
    }
}

/// BBR.ProbeRTTCwndGain
const PROBE_RTT_CWND_GAIN_PERCENT: u64 = 50;

/// BBR.ack_phase: what the acknowledgements that arrive say about a probe of bandwidth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AckPhase {
    Init,
    Refilling,
    ProbeStarting,
    ProbeFeedback,
    ProbeStopping,
}

/// Whether the path delivers all that it can: a rate that stops growing says so.
#[derive(Debug, Default)]
pub(super) struct FullPipe {
    /// BBR.full_bw
    bw: u64,
    count: u8,
    /// BBR.full_bw_now
    is_now: bool,
    /// BBR.full_bw_reached
    pub(super) is_reached: bool,
}

impl FullPipe {
    /// ResetFullBW
    pub(super) fn reset(&mut self) {
        (self.bw, self.count, self.is_now) = (0, 0, false);
    }

    fn restart_from(&mut self, bw: u64) {
        self.reset();
        self.bw = bw;
    }
}

impl Bbr {
    pub(super) fn check_full_bw_reached(&mut self, rs: &Sample) {
        let pipe = &mut self.full_pipe;
        if pipe.is_now || !self.round_start || rs.is_app_limited || rs.delivery_rate == 0 {
            return;
        }
        if rs.delivery_rate >= pipe.bw + pipe.bw / 4 {
            return pipe.restart_from(rs.delivery_rate);
        }
        pipe.count += 1;
        pipe.is_now = pipe.count >= FULL_BW_ROUNDS;
        pipe.is_reached |= pipe.is_now;
    }

    pub(super) fn check_startup_done(&mut self, rs: &Sample, at: &Situation) {
        if self.phase != Phase::Startup {
            return;
        }
        self.check_startup_high_loss(rs, at);
        if self.full_pipe.is_reached {
            self.phase = Phase::Drain;
            self.drain_start_round = self.round_count;
        }
    }

    /// CheckStartupHighLoss (§5.3.1.3): at the end of a round in which much was lost, in many places.
    fn check_startup_high_loss(&mut self, rs: &Sample, at: &Situation) {
        let least = if at.has_sack { STARTUP_FULL_LOSS_COUNT } else { 1 };
        let is_full = self.loss_round_start
            && at.is_fast
            && !self.full_pipe.is_reached
            && self.loss_events_in_round >= least
            && is_inflight_too_high(rs.lost, rs.sent_in_flight.into(), at);
        if is_full {
            self.undo_phase = Some(Phase::Startup);
            self.full_pipe.is_reached = true;
            let bdp = self.bdp_multiple(self.max_bw.get(), 100, at.mss);
            self.bounds.inflight_longterm = bdp.max(self.inflight_latest);
        }
    }

    pub(super) fn check_drain_done(&mut self, now: Instant, at: &Situation) {
        if self.phase != Phase::Drain {
            return;
        }
        let is_drained = u64::from(at.in_flight) <= self.inflight(self.bw, 100, at.mss);
        if is_drained || self.round_count > self.drain_start_round + DRAIN_ROUNDS_MAX {
            self.start_down(now);
        }
    }

    pub(super) fn start_down(&mut self, now: Instant) {
        self.reset_congestion_signals();
        self.probe_up_acked_per_inc = INFINITE;
        self.pick_probe_wait();
        self.cycle_stamp = now;
        self.ack_phase = AckPhase::ProbeStopping;
        self.start_round();
        self.phase = Phase::Down;
    }

    pub(super) fn start_refill(&mut self) {
        self.reset_short_term_model();
        self.bw_probe_up_rounds = 0;
        self.bw_probe_up_acked = 0;
        self.prev_probe_precautionary = false;
        self.ack_phase = AckPhase::Refilling;
        self.start_round();
        self.phase = Phase::Refill;
    }

    fn start_up(&mut self, window: &Window, rs: &Sample, mss: u32) {
        self.ack_phase = AckPhase::ProbeStarting;
        self.start_round();
        self.full_pipe.restart_from(rs.delivery_rate);
        self.phase = Phase::Up;
        self.raise_inflight_longterm_slope(window, mss);
    }

    pub(super) fn update_probe_bw_cycle_phase(&mut self, window: &Window, rs: &Sample, at: &Situation) {
        if !self.full_pipe.is_reached || self.adapt_long_term_model(window, rs, at) {
            return;
        }
        let phase = self.phase;
        match phase {
            Phase::Down if !self.is_time_to_probe_bw(window, rs, at.mss) && self.is_time_to_cruise(at) => {
                self.phase = Phase::Cruise;
            }
            Phase::Cruise => {
                self.is_time_to_probe_bw(window, rs, at.mss);
            }
            Phase::Refill if self.round_start => {
                self.is_bw_probe_sample = true;
                self.start_up(window, rs, at.mss);
            }
            Phase::Up if self.is_time_to_go_down(window, rs, at) => {
                self.prev_probe_too_high = false;
                self.start_down(rs.now);
            }
            _ => {}
        }
    }

    fn is_time_to_cruise(&self, at: &Situation) -> bool {
        let in_flight = u64::from(at.in_flight);
        in_flight <= self.inflight_with_headroom(at.mss)
            && in_flight <= self.inflight(self.max_bw.get(), 100, at.mss)
    }

    fn is_time_to_go_down(&mut self, window: &Window, rs: &Sample, at: &Situation) -> bool {
        if self.prev_probe_too_high && u64::from(at.in_flight) >= self.bounds.inflight_longterm {
            self.prev_probe_precautionary = true;
            return true;
        }
        if self.is_cwnd_limited() && u64::from(window.cwnd) >= self.bounds.inflight_longterm {
            self.full_pipe.restart_from(rs.delivery_rate);
            return false;
        }
        self.full_pipe.is_now
    }

    /// IsTimeToProbeBW: begins the probe where it is.
    fn is_time_to_probe_bw(&mut self, window: &Window, rs: &Sample, mss: u32) -> bool {
        let has_waited = rs.now > self.cycle_stamp.after_micros(self.bw_probe_wait_us);
        let reno_rounds = self.target_inflight(window, mss) / u64::from(mss.max(1));
        let is_due = has_waited || self.rounds_since_probe_up >= reno_rounds.min(RENO_ROUNDS_MAX);
        if is_due {
            self.start_refill();
        }
        is_due
    }

    fn pick_probe_wait(&mut self) {
        self.rounds_since_probe_up = u64::from(self.random() & 1);
        self.bw_probe_wait_us = PROBE_WAIT_US + u64::from(self.random()) % PROBE_WAIT_RANDOM_US;
    }

    pub(super) fn inflight_with_headroom(&self, mss: u32) -> u64 {
        if self.bounds.inflight_longterm == INFINITE {
            return INFINITE;
        }
        let longterm = self.bounds.inflight_longterm;
        let headroom = (longterm * HEADROOM_PERCENT / 100).max(mss.into());
        longterm.saturating_sub(headroom).max(min_pipe_cwnd(mss))
    }

    fn raise_inflight_longterm_slope(&mut self, window: &Window, mss: u32) {
        let growth_this_round = 1u64 << self.bw_probe_up_rounds;
        self.bw_probe_up_rounds = (self.bw_probe_up_rounds + 1).min(30);
        self.probe_up_acked_per_inc = (u64::from(window.cwnd) / growth_this_round).max(mss.into()).max(1);
    }

    fn probe_inflight_longterm_upward(&mut self, window: &Window, rs: &Sample, mss: u32) {
        if !self.is_cwnd_limited() || u64::from(window.cwnd) < self.bounds.inflight_longterm {
            return;
        }
        self.bw_probe_up_acked += u64::from(rs.newly_acked);
        let steps = self.bw_probe_up_acked / self.probe_up_acked_per_inc;
        self.bw_probe_up_acked -= steps * self.probe_up_acked_per_inc;
        self.bounds.inflight_longterm += steps * u64::from(mss);
        if self.round_start {
            self.raise_inflight_longterm_slope(window, mss);
        }
    }

    /// AdaptLongTermModel. Returns whether it began another phase.
    fn adapt_long_term_model(&mut self, window: &Window, rs: &Sample, at: &Situation) -> bool {
        if self.ack_phase == AckPhase::ProbeStarting && self.round_start {
            self.ack_phase = AckPhase::ProbeFeedback;
        }
        if self.ack_phase == AckPhase::ProbeStopping && self.round_start {
            self.is_bw_probe_sample = false;
            self.ack_phase = AckPhase::Init;
            if self.phase.is_probe_bw() && !rs.is_app_limited {
                self.max_bw.advance();
            }
            if self.phase.is_probe_bw() && self.prev_probe_precautionary && !self.prev_probe_too_high {
                self.start_refill();
                return true;
            }
        }
        if is_inflight_too_high(rs.lost, rs.sent_in_flight.into(), at)
            || self.bounds.inflight_longterm == INFINITE
        {
            return false;
        }
        self.bounds.inflight_longterm = self.bounds.inflight_longterm.max(rs.sent_in_flight.into());
        if self.phase == Phase::Up {
            self.probe_inflight_longterm_upward(window, rs, at.mss);
        }
        false
    }

    pub(super) fn handle_inflight_too_high(
        &mut self,
        window: &Window,
        (in_flight, is_app_limited): (u64, bool),
        mss: u32,
        now: Instant,
    ) {
        self.prev_probe_too_high = true;
        self.is_bw_probe_sample = false;
        if !is_app_limited {
            let target = self.target_inflight(window, mss) * BETA_10 / 10;
            self.bounds.inflight_longterm = in_flight.max(target);
        }
        if self.phase == Phase::Up {
            self.undo_phase = Some(Phase::Up);
            self.start_down(now);
        }
    }

    pub(super) fn check_probe_rtt(&mut self, window: &mut Window, rs: &Sample, at: &Situation) {
        if self.phase != Phase::ProbeRtt && self.min_rtt.has_expired && !self.idle_restart {
            self.save_cwnd(window);
            self.phase = Phase::ProbeRtt;
            self.probe_rtt_done_stamp = None;
            self.ack_phase = AckPhase::ProbeStopping;
            self.start_round();
        }
        if self.phase == Phase::ProbeRtt {
            self.handle_probe_rtt(window, rs, at);
        }
        if rs.delivered > 0 {
            self.idle_restart = false;
        }
    }

    fn handle_probe_rtt(&mut self, window: &mut Window, rs: &Sample, at: &Situation) {
        if self.probe_rtt_done_stamp.is_none() {
            if u64::from(at.in_flight) <= self.probe_rtt_cwnd(at.mss) {
                self.probe_rtt_done_stamp = Some(rs.now + PROBE_RTT_DURATION);
                self.probe_rtt_round_done = false;
                self.start_round();
            }
            return;
        }
        self.probe_rtt_round_done |= self.round_start;
        if self.probe_rtt_round_done {
            self.check_probe_rtt_done(window, rs.now);
        }
    }

    pub(super) fn check_probe_rtt_done(&mut self, window: &mut Window, now: Instant) {
        if self.probe_rtt_done_stamp.is_none_or(|at| now <= at) {
            return;
        }
        self.min_rtt.schedule(now);
        self.restore_cwnd(window);
        self.reset_short_term_model();
        if self.full_pipe.is_reached {
            self.start_down(now);
            self.phase = Phase::Cruise;
        } else {
            self.phase = Phase::Startup;
        }
    }

    pub(super) fn probe_rtt_cwnd(&self, mss: u32) -> u64 {
        self.bdp_multiple(self.bw, PROBE_RTT_CWND_GAIN_PERCENT, mss).max(min_pipe_cwnd(mss))
    }
}

//! The model of the path (draft-ietf-ccwg-bbr §5.5): how much it delivers, how long it takes at least, how much of what it
//! delivers comes in lumps, and what was lately found to be too much.

use core::time::Duration;

use hayase_time::Instant;

use super::{BETA_10, Bbr, INFINITE, Situation, is_inflight_too_high};
use crate::tcp::congestion::Window;
use crate::tcp::rate::Sample;

/// BBR.MinRTTFilterLen and BBR.ProbeRTTInterval
const MIN_RTT_FILTER_LEN: Duration = Duration::from_secs(10);
const PROBE_RTT_INTERVAL: Duration = Duration::from_secs(5);

/// Half of BBR.ExtraAckedFilterLen, in rounds: the filter has two halves.
const EXTRA_ACKED_ROUNDS: u64 = 5;

/// BBR.max_bw_filter: of this cycle of ProbeBW and of the one before.
#[derive(Debug, Default)]
pub(super) struct MaxBandwidth {
    before: u64,
    now: u64,
}

impl MaxBandwidth {
    /// BBR.max_bw
    pub(super) fn get(&self) -> u64 {
        self.before.max(self.now)
    }

    /// AdvanceMaxBwFilter. A cycle without samples says nothing about the path.
    pub(super) fn advance(&mut self) {
        if self.now > 0 {
            (self.before, self.now) = (self.now, 0);
        }
    }
}

/// BBR.min_rtt, and when it has to be measured anew.
#[derive(Debug)]
pub(super) struct MinRtt {
    min_us: Option<u32>,
    min_at: Instant,
    probe_us: u32,
    probe_at: Instant,
    /// BBR.probe_rtt_expired
    pub(super) has_expired: bool,
}

impl MinRtt {
    pub(super) fn new(now: Instant, srtt_us: u32) -> MinRtt {
        let min_us = (srtt_us > 0).then_some(srtt_us);
        let probe_us = min_us.unwrap_or(u32::MAX);
        MinRtt { min_us, min_at: now, probe_us, probe_at: now, has_expired: false }
    }

    /// In microseconds.
    pub(super) fn get(&self) -> Option<u32> {
        self.min_us
    }

    /// UpdateMinRTT
    pub(super) fn update(&mut self, rs: &Sample) {
        self.has_expired = rs.now > self.probe_at + PROBE_RTT_INTERVAL;
        if let Some(rtt_us) = rs.rtt_us
            && (rtt_us < self.probe_us || self.has_expired)
        {
            (self.probe_us, self.probe_at) = (rtt_us, rs.now);
        }
        let is_old = rs.now > self.min_at + MIN_RTT_FILTER_LEN;
        if self.probe_us < u32::MAX && (is_old || self.min_us.is_none_or(|min| self.probe_us < min)) {
            (self.min_us, self.min_at) = (Some(self.probe_us), self.probe_at);
        }
    }

    /// The next ProbeRTT is an interval from now.
    pub(super) fn schedule(&mut self, now: Instant) {
        self.probe_at = now;
    }
}

/// BBR.extra_acked: how much more than the rate alone says is acknowledged at once.
#[derive(Debug)]
pub(super) struct Aggregation {
    since: Instant,
    acked: u64,
    /// Of the rounds that are counted, and of as many before.
    most: [u64; 2],
    rounds: u64,
}

impl Aggregation {
    pub(super) fn new(now: Instant) -> Aggregation {
        Aggregation { since: now, acked: 0, most: [0; 2], rounds: 0 }
    }

    pub(super) fn extra_acked(&self) -> u64 {
        self.most[0].max(self.most[1])
    }

    pub(super) fn restart(&mut self, now: Instant) {
        self.since = now;
    }
}

/// What was too much (§2.9, §2.8): for good, until a probe finds otherwise, and for this cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) inflight_longterm: u64,
    pub(super) inflight_shortterm: u64,
    pub(super) bw_shortterm: u64,
}

impl Bounds {
    pub(super) const NONE: Bounds =
        Bounds { inflight_longterm: INFINITE, inflight_shortterm: INFINITE, bw_shortterm: INFINITE };

    pub(super) fn max(self, other: Bounds) -> Bounds {
        Bounds {
            inflight_longterm: self.inflight_longterm.max(other.inflight_longterm),
            inflight_shortterm: self.inflight_shortterm.max(other.inflight_shortterm),
            bw_shortterm: self.bw_shortterm.max(other.bw_shortterm),
        }
    }
}

impl Bbr {
    pub(super) fn update_latest_delivery_signals(&mut self, rs: &Sample) {
        self.loss_round_start = false;
        if !rs.has_data {
            return;
        }
        self.bw_latest = self.bw_latest.max(rs.delivery_rate);
        self.inflight_latest = self.inflight_latest.max(rs.delivered);
        if rs.prior_delivered >= self.loss_round_delivered {
            self.loss_round_delivered = rs.total_delivered;
            self.loss_round_start = true;
        }
    }

    pub(super) fn advance_latest_delivery_signals(&mut self, rs: &Sample) {
        if self.loss_round_start {
            (self.bw_latest, self.inflight_latest) = (rs.delivery_rate, rs.delivered);
            self.loss_events_in_round = 0;
        }
    }

    pub(super) fn reset_congestion_signals(&mut self) {
        (self.is_loss_in_round, self.is_congested_in_round) = (false, false);
        (self.bw_latest, self.inflight_latest) = (0, 0);
    }

    pub(super) fn update_congestion_signals(&mut self, window: &Window, rs: &Sample, at: &Situation) {
        self.update_max_bw(rs);
        if self.loss_round_start {
            self.is_congested_in_round |=
                self.is_loss_in_round && is_inflight_too_high(rs.lost, rs.sent_in_flight.into(), at);
            self.adapt_lower_bounds_from_congestion(window);
            (self.is_loss_in_round, self.is_congested_in_round) = (false, false);
        }
    }

    fn update_max_bw(&mut self, rs: &Sample) {
        self.update_round(rs);
        if rs.delivery_rate > 0 && (rs.delivery_rate >= self.max_bw.get() || !rs.is_app_limited) {
            self.max_bw.now = self.max_bw.now.max(rs.delivery_rate);
        }
    }

    fn update_round(&mut self, rs: &Sample) {
        self.round_start = rs.has_data && rs.prior_delivered >= self.next_round_delivered;
        if self.round_start {
            self.start_round();
            self.round_count += 1;
            self.rounds_since_probe_up += 1;
            self.was_limited = core::mem::take(&mut self.is_limited_now);
        }
    }

    pub(super) fn start_round(&mut self) {
        self.next_round_delivered = self.delivered;
    }

    /// AdaptLowerBoundsFromCongestion, once a round: what is lost while nothing is probed says that the path delivers less
    /// than it did.
    ///
    /// The draft has this follow from any loss, we from more than is tolerated while probing: at 1 % of random loss the
    /// bounds else lose as much in every round, and the margin of the pacing rate besides, until the next probe.
    fn adapt_lower_bounds_from_congestion(&mut self, window: &Window) {
        if self.phase.is_probing_bw() || !self.is_congested_in_round {
            return;
        }
        let bounds = &mut self.bounds;
        if bounds.bw_shortterm == INFINITE {
            bounds.bw_shortterm = self.max_bw.get();
        }
        if bounds.inflight_shortterm == INFINITE {
            bounds.inflight_shortterm = window.cwnd.into();
        }
        bounds.bw_shortterm = self.bw_latest.max(bounds.bw_shortterm * BETA_10 / 10);
        bounds.inflight_shortterm = self.inflight_latest.max(bounds.inflight_shortterm * BETA_10 / 10);
    }

    pub(super) fn reset_short_term_model(&mut self) {
        (self.bounds.bw_shortterm, self.bounds.inflight_shortterm) = (INFINITE, INFINITE);
    }

    pub(super) fn update_ack_aggregation(&mut self, window: &Window, rs: &Sample) {
        let (bw, is_reached) = (self.bw, self.full_pipe.is_reached);
        let aggregation = &mut self.aggregation;
        let expected = u128::from(bw) * u128::from(rs.now.micros_since(aggregation.since)) / 1_000_000;
        let mut expected = expected.min(u128::from(u64::MAX)) as u64;
        if aggregation.acked <= expected {
            (aggregation.acked, aggregation.since, expected) = (0, rs.now, 0);
        }
        aggregation.acked = aggregation.acked.saturating_add(rs.newly_acked.into());
        if self.round_start {
            aggregation.rounds += 1;
            if aggregation.rounds >= if is_reached { EXTRA_ACKED_ROUNDS } else { 1 } {
                (aggregation.rounds, aggregation.most) = (0, [0, aggregation.most[0]]);
            }
        }
        let extra = (aggregation.acked - expected).min(window.cwnd.into());
        aggregation.most[0] = aggregation.most[0].max(extra);
    }
}

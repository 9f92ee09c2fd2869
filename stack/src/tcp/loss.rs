//! What an acknowledgement says about loss, in the order of RFC 8985 §6.2: was the last recovery needless, did the
//! probe repair something, what is lost now, and how much may go out to repair it.

use hayase_device::Frame;
use hayase_time::Instant;

use super::connection::{Connection, LossTimer};
use super::rack::Answer;
use super::segment::Segment;
use super::segment_arrives::Context;
use super::undo::Undo;
use crate::config::Config;
use crate::counters::{Count, Counters};
use crate::seq::Seq;

/// What one acknowledgement brought.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// SND.UNA moved.
    pub(super) has_progress: bool,
    /// Bytes that are known to have arrived since the last report, in order or not.
    pub(super) delivered: u32,
    /// A duplicate that the peer received (RFC 2883).
    pub(super) dsack: Option<(Seq, Seq)>,
    /// SEG.TSecr
    pub(super) echo: Option<u32>,
    /// Said nothing but what was said before.
    pub(super) is_bare_duplicate: bool,
}

impl<F: Frame> Connection<F> {
    /// Takes the SACK blocks of a segment, the lowest first: what arrived in order is no reordering. Returns how many
    /// bytes of them are news, and the duplicate that they report.
    pub(super) fn take_sack(&mut self, segment: &Segment<'_, F>, now: Instant) -> (u32, Option<(Seq, Seq)>) {
        let blocks = segment.header.options.sack.as_slice();
        let Some((first, rest)) = blocks.split_first().filter(|_| self.sack_ok) else { return (0, None) };
        let dsack = self.is_dsack(*first, rest).then_some(*first);
        let una = self.snd_una;
        let answer = Answer { now, min_rtt_us: self.rtt.min_us(), echo_age_ms: None };
        let blocks = segment.header.options.sack.sorted_from(una);
        let news = blocks.as_slice().iter().map(|block| self.recovery.sack(*block, una, answer)).sum();
        (news, dsack)
    }

    /// RFC 2883 §4: the first block lies below the acknowledgement, or within the second.
    fn is_dsack(&self, (left, right): (Seq, Seq), rest: &[(Seq, Seq)]) -> bool {
        let is_old = right.at_or_before(self.snd_una) && (self.snd_una - left) <= self.max_snd_wnd;
        let is_within = rest.first().is_some_and(|(l, r)| {
            l.at_or_before(left) && right.at_or_before(*r) && r.at_or_before(self.snd_nxt)
        });
        left.before(right) && (is_old || is_within)
    }

    /// What an acknowledgement means to recovery.
    pub(super) fn assess(&mut self, report: &Report, cx: &mut Context<'_>) {
        if let Some(dsack) = report.dsack {
            self.duplicate_reported(dsack, cx);
        }
        if report.has_progress {
            self.undo_if_echo_refutes(report.echo, cx);
        }
        if self.is_probing_mtu() {
            self.judge_mtu_probe(cx.now, cx.counters);
        }
        if !self.recovery.is_quiet() {
            self.judge_timeout(report, cx);
            self.probe_acknowledged(report, cx);
            if self.is_to_be_judged(report, cx.now) {
                self.judge((report.delivered, report.has_progress), cx.now, cx.counters, cx.config);
            }
        }
        if self.congestion.is_model_based() {
            self.update_model(cx.now);
        }
    }

    /// Whether what is lost has to be found out now. Without SACK there is little to look at.
    fn is_to_be_judged(&mut self, report: &Report, now: Instant) -> bool {
        if !self.sack_ok {
            return true;
        }
        // Who says nothing new changes nothing: what becomes late meanwhile has its timer.
        let is_news = report.has_progress || report.delivered > 0 || report.dsack.is_some();
        let unjudged = self.recovery.repair_mut().map(|repair| &mut repair.unjudged);
        is_news && unjudged.is_none_or(|rest| rest.admits(report.delivered, report.has_progress, now))
    }

    /// What is lost by now, and how much may go out to repair it.
    fn judge(
        &mut self,
        (delivered, has_progress): (u32, bool),
        now: Instant,
        counters: &mut Counters,
        config: &Config,
    ) {
        let lost = self.detect_losses(now, config);
        if self.recovery.must_enter() && !self.is_only_probe_lost(now, counters) {
            self.enter_fast_recovery(counters);
            if self.loss_timer != LossTimer::Reordering {
                // What goes again has its whole time, as in Linux: the timer ran for the first transmission.
                self.arm_timeout(now, config);
            }
        }
        self.reduce(delivered, has_progress && lost == 0);
    }

    /// The same for all acknowledgements of this turn but the first.
    #[inline]
    pub(super) fn judge_rest(&mut self, now: Instant, counters: &mut Counters, config: &Config) {
        let Some(rest) = self.recovery.repair_mut().and_then(|repair| repair.unjudged.take()) else { return };
        if !self.recovery.is_quiet() {
            self.judge((rest.delivered, rest.has_progress), now, counters, config);
            self.digest_losses(now);
        }
    }

    fn duplicate_reported(&mut self, dsack: (Seq, Seq), cx: &mut Context<'_>) {
        cx.counters.count(Count::DsackRecv);
        let (una, nxt) = (self.snd_una, self.snd_nxt);
        let Some(repair) = self.recovery.repair_mut() else { return };
        repair.dsack_dups = repair.dsack_dups.saturating_add(1);
        repair.rack.on_dsack(una, nxt);
        if repair.undo.as_mut().is_some_and(|undo| undo.is_refuted_by_dsack(dsack)) {
            cx.counters.count(Count::DsackUndo);
            self.undo_recovery();
        }
    }

    fn undo_if_echo_refutes(&mut self, echo: Option<u32>, cx: &mut Context<'_>) {
        let echo = echo.filter(|_| self.timestamps_ok);
        let Some(repair) = self.recovery.repair_mut() else { return };
        if repair.undo.as_mut().is_some_and(|undo| undo.is_refuted_by_echo(echo)) {
            cx.counters.count(if self.recovery.is_fast() { Count::FullUndo } else { Count::SpuriousRtos });
            self.undo_recovery();
        }
    }

    /// The recovery was needless: the window is what it was (RFC 4015 §3.2), and what counted as lost is on its way.
    pub(super) fn undo_recovery(&mut self) {
        let Some(undo) = self.recovery.repair_mut().and_then(|repair| repair.undo.take()) else { return };
        self.congestion.restore(undo.cwnd, undo.ssthresh);
        self.recovery.leave_needless(self.snd_una);
        self.disbelieve_claim();
        self.force = false;
    }

    /// RACK_detect_loss (RFC 8985 §6.2, step 5), and its timer. Returns how many bytes are newly lost.
    fn detect_losses(&mut self, now: Instant, config: &Config) -> u32 {
        let (lost, wait_ns) = self.recovery.detect(self.snd_una, self.mss, &self.rtt, now);
        if wait_ns > 0 {
            self.loss_timer = LossTimer::Reordering;
            self.deadlines.retransmit = now.after_nanos(wait_ns);
        } else if self.flight() > 0 && self.loss_timer != LossTimer::Timeout {
            // Whoever waited for reordering, or was about to probe, knows now.
            self.arm_loss_timer(now, config);
        }
        lost
    }

    /// The reordering timer: what was late is lost.
    pub(super) fn reordering_timeout(&mut self, now: Instant, counters: &mut Counters, config: &Config) {
        self.judge((0, false), now, counters, config);
        self.digest_losses(now);
    }

    /// What to go back to if the recovery that begins now is needless.
    pub(super) fn undo_point(&self) -> Undo {
        let (cwnd, ssthresh) = (self.congestion.cwnd(), self.congestion.ssthresh());
        Undo::new(cwnd, ssthresh, self.snd_una..self.snd_nxt)
    }

    fn enter_fast_recovery(&mut self, counters: &mut Counters) {
        counters.count(Count::FastRetrans);
        let undo = self.undo_point();
        self.congestion.on_loss(self.flight(), self.mss);
        self.note_reduction();
        self.recovery.enter_fast(self.snd_una, self.snd_nxt, undo);
        // The first retransmission goes whatever the window says.
        self.force = true;
    }

    /// In fast recovery the window is what is on its way and what PRR adds to that (RFC 9937 §6).
    fn reduce(&mut self, delivered: u32, is_safe: bool) {
        if !self.recovery.is_fast() || self.congestion.is_model_based() {
            return;
        }
        let pipe = self.recovery.pipe(self.snd_una, self.snd_nxt, self.mss);
        let (ssthresh, mss) = (self.congestion.ssthresh(), self.mss);
        if let Some(repair) = self.recovery.repair_mut() {
            let allowance = repair.prr.allowance(delivered, pipe, ssthresh, mss, is_safe);
            self.congestion.set_cwnd(pipe + allowance);
        }
    }
}

//! The tail loss probe (RFC 8985 §7): where the last segments of a flight are lost nothing follows that could tell, so
//! after two round trips one more segment goes, and its acknowledgement starts recovery long before the timer would.

use hayase_device::{Device, Frame};
use hayase_time::Instant;

use super::connection::{Connection, LossTimer};
use super::loss::Report;
use super::output::{Output, Plan};
use super::segment_arrives::Context;
use crate::config::Config;
use crate::counters::Count;
use crate::egress::Egress;
use crate::seq::Seq;

/// TLP.max_ack_delay: how long a peer may sit on the acknowledgement of a lone segment.
const ACK_DELAY_MAX_NS: u64 = 200_000_000;

/// A probe whose outcome is not known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Probe {
    /// TLP.end_seq
    end: Seq,
    /// TLP.is_retrans
    is_retrans: bool,
}

impl<F: Frame> Connection<F> {
    /// Starts the timer that watches what is outstanding: the probe's where there may be one and the timeout is not
    /// nearer (RFC 8985 §7.2), else the timeout's (RFC 6298 §5).
    pub(super) fn arm_loss_timer(&mut self, now: Instant, config: &Config) {
        self.watch(now, now.after_nanos(self.rto_ns(config)), config);
    }

    /// Data was sent while more was outstanding: the probe is for the end of the flight, so it waits. The timeout does not
    /// (RFC 6298 §5.1), or a sender that goes on would never hear that its peer is gone.
    pub(super) fn postpone_probe(&mut self, now: Instant, config: &Config) {
        if !self.may_probe() {
            return;
        }
        let timeout_at = match self.loss_timer {
            LossTimer::Timeout => self.deadlines.retransmit,
            // It is not kept while the probe is what is waited for; as in Linux, the oldest segment tells it.
            _ => {
                self.recovery.flight.first_sent_at().unwrap_or(now).after_nanos(self.rto_ns(config)).max(now)
            }
        };
        self.watch(now, timeout_at, config);
    }

    fn watch(&mut self, now: Instant, timeout_at: Instant, config: &Config) {
        let probe_at = if self.may_probe() { now.after_nanos(self.pto_ns(config)) } else { Instant::MAX };
        self.loss_timer = if probe_at < timeout_at { LossTimer::Probe } else { LossTimer::Timeout };
        self.deadlines.retransmit = probe_at.min(timeout_at);
    }

    fn may_probe(&self) -> bool {
        self.sack_ok
            && self.retries == 0
            && self.snd_wnd > 0
            && self.recovery.is_quiet()
            && self.rtt.srtt_us() > 0
    }

    fn pto_ns(&self, config: &Config) -> u64 {
        let two_rtt_ns = u64::from(self.rtt.srtt_us()) * 2000 + u64::from(config.loss_probe_margin_us) * 1000;
        if self.flight() <= self.mss { two_rtt_ns + ACK_DELAY_MAX_NS } else { two_rtt_ns }
    }

    /// TLP_send_probe: new data if there is any and the peer takes it, else the last segment once more.
    pub(super) fn send_probe<D>(&mut self, egress: &mut Egress<'_, F, D>, config: &Config)
    where
        D: Device<Frame = F>,
    {
        if self.may_probe() && egress.device.room() > 0 {
            let room = (self.snd_una + self.snd_wnd).since(self.snd_nxt);
            let fresh = self.unsent_len().min(self.mss).min(room);
            let plan = if fresh > 0 {
                Plan { seq: self.snd_nxt, len: fresh, fin: false, retransmission: false }
            } else {
                self.last_segment()
            };
            // Without a buffer there is no probe.
            if matches!(self.send_segment(plan, egress, config), Output::Done) {
                egress.counters.count(Count::LossProbes);
                let probe = Probe { end: self.snd_nxt, is_retrans: plan.retransmission };
                self.recovery.trouble(self.snd_una).probe = Some(probe);
            }
        }
        // Whether or not it went: the timeout is what is left (RFC 8985 §7.3). If it did not, that runs since something did:
        // a router may have said meanwhile that segments were too long, and they went again.
        let now = egress.now;
        self.loss_timer = LossTimer::Timeout;
        self.deadlines.retransmit = self.last_sent_at.after_nanos(self.rto_ns(config)).max(now);
    }

    /// The segment that was sent last.
    fn last_segment(&self) -> Plan {
        let fin = self.fin_seq().is_some_and(|fin| fin.before(self.snd_nxt));
        let end = self.snd_nxt - u32::from(fin);
        let len = end.since(self.recovery.flight.last_start(self.snd_una));
        // Whole segments and what was left of them went out together.
        let tail = if len == 0 { 0 } else { (len - 1) % self.mss + 1 };
        Plan { seq: end - tail, len: tail, fin, retransmission: true }
    }

    /// TLP_process_ack (§7.4.2): a probe that repaired a loss hid it from congestion control.
    pub(super) fn probe_acknowledged(&mut self, report: &Report, cx: &mut Context<'_>) {
        let una = self.snd_una;
        let Some(repair) = self.recovery.repair_mut() else { return };
        let Some(probe) = repair.probe else { return };
        if una.before(probe.end) {
            return;
        }
        let is_needless = !probe.is_retrans || report.dsack.is_some() || report.is_bare_duplicate;
        if is_needless {
            repair.probe = None;
        } else if una.after(probe.end) {
            repair.probe = None;
            cx.counters.count(Count::LossProbeRecovery);
            // What was outstanding when it was lost is acknowledged by now: the window says how much it was.
            self.congestion.on_congestion(self.mss, cx.now);
            self.note_reduction();
        }
    }
}

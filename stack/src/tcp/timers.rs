//! What happens when a connection's time is up.

use hayase_device::{Device, Frame};
use hayase_time::Instant;

use super::connection::{AckDebt, Connection, LossTimer};
use super::output::Output;
use super::segment::Reply;
use super::state::State;
use crate::config::Config;
use crate::counters::{Count, Counters};
use crate::egress::Egress;
use crate::error::Error;

impl<F: Frame> Connection<F> {
    /// Runs what is due. Returns a reset to send, if the connection ended by one.
    pub(super) fn expire<D>(&mut self, egress: &mut Egress<'_, F, D>, config: &Config) -> Option<Reply>
    where
        D: Device<Frame = F>,
    {
        let now = egress.now;
        if now >= self.deadlines.delayed_ack {
            self.deadlines.delayed_ack = Instant::MAX;
            egress.counters.count(Count::DelayedAcks);
            self.owe_ack(AckDebt::Now);
        }
        if let Some(bulk) = self.congestion.bulk.as_mut().filter(|bulk| now >= bulk.held_until) {
            // Output goes on where it stopped.
            bulk.held_until = Instant::MAX;
        }
        if now >= self.deadlines.retransmit {
            self.deadlines.retransmit = Instant::MAX;
            match self.loss_timer {
                LossTimer::Timeout => self.retransmit_timeout(egress, config),
                LossTimer::Probe => self.send_probe(egress, config),
                LossTimer::Reordering => self.reordering_timeout(now, egress.counters, config),
                LossTimer::PeersFin => self.enter_closed(None),
            }
        }
        if now >= self.idle_at() {
            self.set_idle_at(None);
            return self.idle_timeout(egress);
        }
        None
    }

    /// RFC 6298 §5.4 to §5.7, or a probe of a closed window.
    fn retransmit_timeout<D>(&mut self, egress: &mut Egress<'_, F, D>, config: &Config)
    where
        D: Device<Frame = F>,
    {
        let patience_ends_at = self.patience_ends_at(egress.now, config);
        if self.is_past_r2(patience_ends_at, egress.now, config) {
            if !self.state.is_synchronized() {
                egress.counters.count(Count::AttemptFails);
            }
            // A soft error that was reported meanwhile says more than "timed out" (MUST-47).
            return self.enter_closed(Some(self.soft_error().unwrap_or(Error::TimedOut)));
        }
        let is_repeated = self.retries > 0;
        self.retries = self.retries.saturating_add(1);
        self.backoff = self.backoff.saturating_add(1);
        self.neighbor = None;
        // What was acknowledged before says nothing of the way from now on.
        self.progressed = false;
        if !self.state.is_synchronized() || self.flight() > 0 || self.has_unsent() {
            // Before anything is sent: where no buffer can be had for it, patience ends as with a silent peer.
            self.loss_timer = LossTimer::Timeout;
            self.deadlines.retransmit = egress.now.after_nanos(self.rto_ns(config));
            self.deadlines.retransmit =
                patience_ends_at.unwrap_or(Instant::MAX).min(self.deadlines.retransmit);
        }
        if !self.state.is_synchronized() {
            egress.counters.count(Count::RetransSegs);
            self.count_timeout(egress.now);
            self.resend_syn();
            return;
        }
        if self.flight() > 0 {
            self.force = true;
            if self.snd_wnd > 0 {
                egress.counters.count(Count::Timeouts);
                self.presume_all_lost(is_repeated, egress.now, egress.counters);
            } else {
                // The peer shut its window over what is outstanding, or over the byte that asks whether it opened, which asks
                // again. Whether it threw that away shows when it opens.
                egress.counters.count(Count::WinProbe);
                self.suspect_black_hole(egress.now, egress.counters);
                self.recovery.doubt(self.snd_una, self.snd_nxt, self.mss);
            }
        } else if self.unsent_len() > 0 {
            self.probe_window(egress, config);
        }
    }

    /// RFC 6298 §5.4 and RFC 5681 §3.1, of a peer that takes data.
    fn presume_all_lost(&mut self, is_repeated: bool, now: Instant, counters: &mut Counters) {
        self.count_timeout(now);
        let undo = self.undo_point();
        // Less than FlightSize (RFC 5681 §2): what the peer reported has left the path.
        let flight = self.flight() - self.recovery.sacked_len();
        let is_reduced = is_repeated || self.recovery.is_fast();
        self.congestion.on_timeout(flight, self.mss, is_reduced);
        self.note_reduction();
        let mss = self.mss;
        self.suspect_black_hole(now, counters);
        if self.mss < mss {
            // The loss window is one segment, of those that go from now on (RFC 5681 §3.1).
            self.congestion.set_cwnd(self.congestion.cwnd().min(self.mss));
        }
        self.rtt.forget_min();
        self.recovery.enter_loss(self.snd_una, self.snd_nxt, Some(undo), !self.timestamps_ok);
        self.digest_losses(now);
    }

    /// Whether R2 is passed (RFC 9293 §3.8.3): as many retransmissions as may be, or the user timeout, which takes the
    /// place of that once the handshake is over (Linux's `TCP_USER_TIMEOUT`).
    fn is_past_r2(&self, patience_ends_at: Option<Instant>, now: Instant, config: &Config) -> bool {
        let limit = match self.state {
            State::SynSent => Some(config.syn_retries_max),
            // Who opened at the same time as the peer has the patience of who opens (MUST-23).
            State::SynReceived if self.is_passive() => Some(config.synack_retries_max),
            State::SynReceived => Some(config.syn_retries_max),
            _ if patience_ends_at.is_some() => None,
            _ => Some(config.retries_max),
        };
        limit.is_some_and(|limit| self.retries >= limit) || patience_ends_at.is_some_and(|at| now >= at)
    }

    /// Whether the peer opened the connection, which is not accepted yet, or was before its handshake was over.
    fn is_passive(&self) -> bool {
        self.listener.is_some() || self.is_early()
    }

    /// One byte of new data, or as much as a window too small for silly-window avoidance has room for
    /// (RFC 9293 §3.8.6.1).
    fn probe_window<D>(&mut self, egress: &mut Egress<'_, F, D>, config: &Config)
    where
        D: Device<Frame = F>,
    {
        if self.snd_wnd > 0 {
            self.force = true;
        } else {
            self.probe(egress, config);
        }
    }

    /// The end of patience, or keep-alive.
    fn idle_timeout<D>(&mut self, egress: &mut Egress<'_, F, D>) -> Option<Reply>
    where
        D: Device<Frame = F>,
    {
        if !self.owned {
            // FIN_WAIT_2 without a peer, or the linger time of a socket that was closed.
            let is_waiting_for_fin = self.state == State::FinWait2;
            let reset = Reply::reset(self.tuple, self.bare_seq(), Some(self.rcv_nxt));
            self.enter_closed(None);
            return (!is_waiting_for_fin).then_some(reset);
        }
        let now = egress.now;
        let limit = self.user_timeout().map(|timeout| timeout.limit);
        let is_watched = self.deadlines.retransmit != Instant::MAX;
        let rare = self.rare.as_deref_mut()?;
        let probing = rare.probing.as_deref_mut()?;
        if probing.due_at() > now || is_watched {
            // Heard of meanwhile, or data is outstanding and its own timer watches the peer.
            rare.idle_at = Some(probing.due_at().max(now + probing.settings.interval));
            return None;
        }
        let is_gone = match limit {
            Some(limit) => probing.sent > 0 && now >= probing.heard_at + limit,
            None => probing.is_exhausted(),
        };
        if is_gone {
            let reset = Reply::reset(self.tuple, self.bare_seq(), Some(self.rcv_nxt));
            self.enter_closed(Some(Error::TimedOut));
            return Some(reset);
        }
        let has_left = self.send_keepalive(egress) == Output::Done;
        let rare = self.rare.as_deref_mut()?;
        let probing = rare.probing.as_deref_mut()?;
        // With a user timeout there may be any number of them. Nobody answers one that found no buffer.
        probing.sent = probing.sent.saturating_add(u8::from(has_left));
        // Every probe has its time, also when this one comes late because the host slept.
        rare.idle_at = Some(probing.due_at().max(now + probing.settings.interval));
        None
    }
}

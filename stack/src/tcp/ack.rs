//! What an acknowledgement means to the sender: window, round-trip time, recovery, congestion window.

use hayase_device::Frame;
use hayase_device::hint::unlikely;
use hayase_time::Instant;

use super::congestion::Ack;
use super::connection::{Connection, LossTimer};
use super::info::DeliveryRate;
use super::loss::Report;
use super::rack::Answer;
use super::segment::Segment;
use super::segment_arrives::Context;
use crate::config::Config;
use crate::seq::Seq;
use crate::socket::Ready;
use crate::wire::tcp::Flags;

impl<F: Frame> Connection<F> {
    /// Takes an acknowledgement whose number is known to be within bounds.
    #[inline]
    pub(super) fn acknowledged(&mut self, segment: &Segment<'_, F>, cx: &mut Context<'_>) {
        let ack = segment.header.ack;
        let was_shut = self.snd_wnd == 0;
        // Also of a SYN that was seen before, and is trimmed off (RFC 7323 §2.2).
        let shift = if segment.header.flags.contains(Flags::SYN) { 0 } else { self.snd_wscale };
        let window = u32::from(segment.header.window) << shift;
        let window_moved = self.update_window(segment.seq, ack, window);
        let is_echo = self.take_echo(segment, cx);
        let (una, arrived) = (self.snd_una, self.recovery.arrived_len(self.snd_una, self.mss));
        let mut report = Report::default();
        if ack.after(una) {
            report.has_progress = true;
            let echo = segment.header.options.timestamps.map(|timestamps| timestamps.ecr);
            report.echo = echo;
            let (was_waiting, cwnd) = (self.retries > 0, self.congestion.cwnd());
            self.advance(ack, echo, cx.now, cx.config);
            if is_echo {
                self.congestion.set_cwnd(self.congestion.cwnd().min(cwnd));
            }
            if was_waiting {
                self.goes_on(cx.now);
            }
        }
        let (newly_sacked, dsack) = self.take_sack(segment, cx.now);
        report.dsack = dsack;
        // RFC 5681 §2: no data, no window change.
        let is_duplicate = ack == una && segment.sequence_len() == 0 && !window_moved;
        // Also with nothing outstanding: so a peer answers a probe that was needless (RFC 8985 §7.4.2).
        report.is_bare_duplicate = is_duplicate && newly_sacked == 0;
        if ack == una && self.flight() > 0 {
            // With SACK, only news count, so that a receiver repeating itself is no loss.
            let speaks_for_loss = if self.sack_ok { newly_sacked > 0 } else { is_duplicate };
            if speaks_for_loss {
                self.recovery.on_dup_ack(una);
            }
            if self.snd_wnd == 0 && self.owned {
                // The peer lives, and holds its window shut: probing goes on for as long as it answers (MUST-36).
                // Not for a connection that nobody owns any more.
                self.retries = 0;
                self.count_timeout_over(cx.now);
            }
        }
        if was_shut && self.snd_wnd > 0 {
            self.window_opened(cx.now, cx.config);
        }
        let arrived_now = self.recovery.arrived_len(self.snd_una, self.mss);
        report.delivered = (self.snd_una - una + arrived_now).saturating_sub(arrived);
        if is_echo && report.delivered > 0 {
            self.count_marked(report.delivered);
        }
        self.assess(&report, cx);
    }

    /// The peer takes data again. That it did not was no sign of a slow path.
    fn window_opened(&mut self, now: Instant, config: &Config) {
        self.backoff = 0;
        if self.flight() > 0 {
            // The byte that probed the window did not get in, or what came when it shut did not: that goes first. Not all
            // of it: a peer may shut and open its window as often as it likes.
            self.recovery.doubt(self.snd_una, self.snd_nxt, self.mss);
            self.force = true;
            if self.loss_timer == LossTimer::Timeout {
                // Without the back-off, and once with the whole time: a peer that opens and shuts its window for ever ends by
                // the timeout.
                let at = now.after_nanos(self.rto_ns(config));
                let is_first = self.recovery.note_reopened();
                self.deadlines.retransmit = if is_first { at } else { at.min(self.deadlines.retransmit) };
            }
        }
    }

    /// SND.WND from segments newer than the last that set it. Returns whether it changed.
    ///
    /// SND.WL2 (RFC 9293 §3.10.7.4, fifth) is not kept: it is the acknowledgement number of a segment that was taken, so it
    /// is at or before SND.UNA, and what is before SND.UNA is refused here: what is left is at or after it.
    #[inline]
    pub(super) fn update_window(&mut self, seq: Seq, ack: Seq, window: u32) -> bool {
        // An ACK of what was acknowledged before tells an old right edge.
        if seq.before(self.snd_wl1) || ack.before(self.snd_una) {
            return false;
        }
        let moved = window != self.snd_wnd;
        self.snd_wnd = window;
        self.max_snd_wnd = self.max_snd_wnd.max(window);
        self.snd_wl1 = seq;
        moved
    }

    /// SND.UNA moves.
    #[inline(always)]
    pub(super) fn advance(&mut self, ack: Seq, echo: Option<u32>, now: Instant, config: &Config) {
        let acked = ack - self.snd_una;
        let is_in_use = self.uses_window();
        let echo_age_ms = echo.filter(|_| self.timestamps_ok).map(|echo| self.ts_now(now).wrapping_sub(echo));
        let min_rtt_us = self.rtt.min_us();
        let sent_at = self.recovery.deliver(self.snd_una, ack, || Answer { now, min_rtt_us, echo_age_ms });
        self.snd_una = ack;
        self.tally.bytes_acked += u64::from(acked);
        self.send.acknowledge(ack);
        self.measure(sent_at, echo_age_ms, now);
        if is_in_use || !self.recovery.is_open() {
            self.move_window(acked, sent_at, now);
        } else {
            self.recovery.forget_dup_acks();
        }
        self.retries = 0;
        self.progressed = true;
        // RFC 6298 §5.2 and §5.3
        if self.flight() == 0 {
            self.deadlines.retransmit = Instant::MAX;
        } else {
            self.arm_loss_timer(now, config);
        }
        self.wake_writer(config);
    }

    /// Whether so much is outstanding that the congestion window may be what holds data back, or was before others of this turn
    /// were acknowledged.
    #[inline(always)]
    pub(super) fn uses_window(&self) -> bool {
        self.congestion.is_much(self.flight()) || self.congestion.is_in_use()
    }

    /// What `acked` bytes mean to recovery and to the congestion window.
    #[inline(never)]
    fn move_window(&mut self, acked: u32, sent_at: Option<Instant>, now: Instant) {
        let flight = self.flight() + acked;
        let was_used = self.congestion.note_use(flight, acked, now);
        let was_open = self.recovery.is_open();
        let is_over = self.recovery.on_ack(self.snd_una, acked, self.mss);
        if self.congestion.is_model_based() {
            // The window follows from what was delivered, at the end of the acknowledgement.
            if !was_open && self.recovery.is_open() {
                self.congestion.on_recovered();
            }
            self.force |= self.recovery.is_fast() && !self.sack_ok;
        } else if is_over {
            self.congestion.set_cwnd(self.congestion.ssthresh());
        } else if self.recovery.is_fast() {
            // A partial ACK: without SACK, the next hole goes now, whatever the window says (RFC 6582 §3.2 step 3).
            self.force |= !self.sack_ok;
        } else if was_used {
            self.open_congestion_window(acked, sent_at, now);
        }
    }

    /// The window was used, so it opens (RFC 5681 §3.1).
    fn open_congestion_window(&mut self, acked: u32, sent_at: Option<Instant>, now: Instant) {
        let rtt_us = sent_at.map_or(0, |at| now.micros_since(at).clamp(1, u32::MAX.into()) as u32);
        let (una, nxt, srtt_us) = (self.snd_una, self.snd_nxt, self.rtt.srtt_us());
        let ack = Ack { now, acked, mss: self.mss, una, nxt, rtt_us, srtt_us };
        self.congestion.on_ack(&ack);
        self.congestion.bulk_mut().delivery_rate.get_or_insert_with(|| DeliveryRate::new(&ack)).on_ack(&ack);
    }

    /// A round-trip sample: of when the segment left, or, where that was sent twice, of the timestamp that came back
    /// (RFC 7323 §4: an echoed timestamp is of the segment that was received).
    #[inline]
    fn measure(&mut self, sent_at: Option<Instant>, echo_age_ms: Option<u32>, now: Instant) {
        match sent_at {
            Some(sent_at) => self.take_sample(now.micros_since(sent_at)),
            None => self.measure_by_echo(echo_age_ms),
        }
    }

    #[cold]
    fn measure_by_echo(&mut self, age_ms: Option<u32>) {
        if let Some(millis) = age_ms {
            self.take_sample(u64::from(millis) * 1000);
        }
    }

    /// Only a measurement ends the back-off, not any ACK: the timeout may have been too short for the path, and
    /// would be so again (RFC 6298 §5, Karn).
    #[inline]
    fn take_sample(&mut self, rtt_us: u64) {
        self.rtt.sample(rtt_us);
        self.backoff = 0;
    }

    /// A blocked writer is woken once much of the buffer is free, not for every segment.
    #[inline]
    pub(super) fn wake_writer(&mut self, config: &Config) {
        if unlikely(self.write_blocked) {
            self.wake_blocked_writer(config);
        }
    }

    #[inline(never)]
    fn wake_blocked_writer(&mut self, config: &Config) {
        let buffer_len = self.send_buffer_len(config);
        if self.send.room(buffer_len) >= self.worthwhile_room(buffer_len, config) {
            self.write_blocked = false;
            self.events |= Ready::WRITABLE;
        }
    }

    /// A third of the buffer: what else is in it lasts until the writer has come. Not so where the path holds more than may
    /// be kept for it, and all of it is under way but for what Nagle keeps: whatever is free is missing there.
    pub(super) fn worthwhile_room(&self, buffer_len: usize, config: &Config) -> usize {
        let is_too_small = buffer_len >= config.send_buffer_len_max && self.unsent_len() < self.mss;
        let (third, sixteenth) = (buffer_len / 3, buffer_len / 16);
        // A segment at least, and never none: a full buffer has no room.
        let least = if is_too_small { sixteenth.max(third.min(self.mss as usize)) } else { third };
        least.max(1)
    }
}

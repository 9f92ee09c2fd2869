//! What an acknowledgement means to the sender: window, round-trip time, recovery, congestion window.

use hayase_device::Frame;
use hayase_time::Instant;

use super::congestion::CongestionControl;
use super::connection::Connection;
use super::segment::Segment;
use super::segment_arrives::Context;
use crate::config::Config;
use crate::counters::Count;
use crate::seq::Seq;
use crate::socket::Ready;
use crate::wire::tcp::{Flags, Timestamps};

impl<F: Frame> Connection<F> {
    /// Takes an acknowledgement whose number is known to be within bounds.
    #[inline]
    pub(super) fn acknowledged(&mut self, segment: &Segment<'_, F>, cx: &mut Context<'_>) {
        let ack = segment.header.ack;
        let was_shut = self.snd_wnd == 0;
        let shift = if segment.has(Flags::SYN) { 0 } else { self.snd_wscale };
        let window = u32::from(segment.header.window) << shift;
        let window_moved = self.update_window(segment.seq, ack, window);
        let newly_sacked = self.take_sack(segment);
        if ack.after(self.snd_una) {
            self.advance(ack, segment.header.options.timestamps, cx.now, cx.config);
        } else if ack == self.snd_una && self.flight() > 0 {
            // RFC 5681 §2: no data, no window change, something outstanding. With SACK, only news count, so
            // that a receiver repeating itself is no loss.
            let is_duplicate = segment.sequence_len() == 0 && !window_moved;
            if if self.sack_ok { newly_sacked > 0 } else { is_duplicate } {
                self.recovery.on_dup_ack();
            }
            if self.snd_wnd == 0 && self.owned {
                // The peer lives, and holds its window shut: probing goes on for as long as it answers (MUST-36).
                // Not for a connection that nobody owns any more.
                self.retries = 0;
            }
        }
        if was_shut && self.snd_wnd > 0 {
            self.window_opened();
        }
        if self.recovery.must_enter(self.snd_una, self.mss) {
            cx.counters.count(Count::FastRetrans);
            self.congestion.on_loss(cx.now, self.flight(), self.mss);
            self.recovery.enter_fast(self.snd_una, self.snd_nxt);
            self.timed = None;
            self.force = true;
        }
    }

    /// The peer takes data again. That it did not was no sign of a slow path.
    fn window_opened(&mut self) {
        self.backoff = 0;
        if self.flight() > 0 {
            // The byte that probed the window did not get in: it goes first.
            self.recovery.enter_loss(self.snd_una, self.snd_nxt);
            self.force = true;
        }
    }

    /// SND.WND from segments newer than the last that set it. Returns whether it changed.
    #[inline]
    pub(super) fn update_window(&mut self, seq: Seq, ack: Seq, window: u32) -> bool {
        let is_newer = self.snd_wl1.before(seq) || (self.snd_wl1 == seq && self.snd_wl2.at_or_before(ack));
        // An ACK of what was acknowledged before tells an old right edge.
        if !is_newer || ack.before(self.snd_una) {
            return false;
        }
        let moved = window != self.snd_wnd;
        self.snd_wnd = window;
        self.max_snd_wnd = self.max_snd_wnd.max(window);
        self.snd_wl1 = seq;
        self.snd_wl2 = ack;
        moved
    }

    #[inline]
    fn take_sack(&mut self, segment: &Segment<'_, F>) -> u32 {
        if !self.sack_ok {
            return 0;
        }
        let blocks = segment.header.options.sack.as_slice().iter();
        blocks.map(|block| self.recovery.scoreboard.add(*block, self.snd_una, self.snd_nxt)).sum()
    }

    /// SND.UNA moves.
    #[inline(always)]
    pub(super) fn advance(
        &mut self,
        ack: Seq,
        timestamps: Option<Timestamps>,
        now: Instant,
        config: &Config,
    ) {
        let acked = ack - self.snd_una;
        let was_limited = self.flight().saturating_mul(2) >= self.congestion.cwnd();
        let was_recovering = !self.recovery.is_open();
        self.snd_una = ack;
        self.send.acknowledge(ack);
        self.measure(ack, timestamps, was_recovering, now);
        self.recovery.on_ack(ack, acked, self.mss);
        if !self.recovery.is_fast() {
            self.congestion.on_ack(now, acked, self.mss, was_limited);
        } else if !self.sack_ok {
            // A partial ACK: the next hole goes now, whatever the window says (RFC 6582 §3.2 step 3).
            self.force = true;
        }
        self.retries = 0;
        self.progressed = true;
        // RFC 6298 §5.2 and §5.3
        self.deadlines.retransmit =
            if self.flight() > 0 { now.after_nanos(self.rto_ns(config)) } else { Instant::MAX };
        self.wake_writer(config);
    }

    /// A round-trip sample: of the timed segment, or, where that was sent twice, of the timestamp that came back
    /// (RFC 7323 §4: an echoed timestamp is of the segment that was received).
    #[inline]
    fn measure(&mut self, ack: Seq, timestamps: Option<Timestamps>, recovering: bool, now: Instant) {
        if let Some((end, sent_at)) = self.timed {
            if ack.at_or_after(end) {
                self.timed = None;
                self.take_sample(now.micros_since(sent_at));
            }
        } else if recovering
            && self.timestamps_ok
            && let Some(timestamps) = timestamps
        {
            let millis = self.ts_now(now).wrapping_sub(timestamps.ecr);
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

    /// A blocked writer is woken once a third of the buffer is free, not for every segment.
    #[inline]
    pub(super) fn wake_writer(&mut self, config: &Config) {
        if self.write_blocked && self.send.room(config.send_buffer_len) >= config.send_buffer_len / 3 {
            self.write_blocked = false;
            self.events |= Ready::WRITABLE;
        }
    }
}

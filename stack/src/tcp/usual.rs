//! What a connection nearly always has to say: the one segment with all that was written, in the frame that the
//! write filled, to a neighbour that is known; or an acknowledgement and nothing else.
//!
//! The answers are those of [`output`](super::output), which sees to everything else.

use hayase_device::hint::{likely, unlikely, usually};
use hayase_device::{Device, Frame, Prefix, TxMeta};
use hayase_time::Instant;

use super::connection::{Connection, LossTimer};
use super::emit::checksum_request;
use crate::config::Config;
use crate::counters::Count;
use crate::egress::Egress;
use crate::usual::{Headers, TCP_V4, TCP_V6, payload_sum};
use crate::wire::tcp::Flags;

/// Bytes of all headers, where TCP's starts `AT`, without timestamps and with them.
const PLAIN_V4: usize = TCP_V4 + 20;
const STAMPED_V4: usize = TCP_V4 + 32;
const PLAIN_V6: usize = TCP_V6 + 20;
const STAMPED_V6: usize = TCP_V6 + 32;

impl<F: Frame> Connection<F> {
    /// What is nearly always to be done for a connection: nothing is going on but data, and what was written is one
    /// segment, which goes. Returns whether that was it.
    #[inline(always)]
    pub(super) fn output_steadily<D>(&mut self, egress: &mut Egress<'_, F, D>, config: &Config) -> bool
    where
        D: Device<Frame = F>,
    {
        debug_assert!(!self.steady || self.is_steady());
        // Nothing was sent beyond it while the connection is steady; what were less than nothing is more than a segment.
        let len = self.send.end() - self.snd_nxt;
        if unlikely(!self.steady)
            || unlikely(!self.is_one_segment(len))
            || unlikely(self.may_be_held_back(egress.now))
            || unlikely(self.has_paused(egress.now, config))
        {
            return false;
        }
        if self.window_due {
            self.open_window();
        }
        match (likely(self.is_v4), likely(self.timestamps_ok)) {
            (true, true) => self.send_last::<TCP_V4, STAMPED_V4, D>(len, egress, config),
            (true, false) => self.send_last::<TCP_V4, PLAIN_V4, D>(len, egress, config),
            (false, true) => self.send_last::<TCP_V6, STAMPED_V6, D>(len, egress, config),
            (false, false) => self.send_last::<TCP_V6, PLAIN_V6, D>(len, egress, config),
        }
    }

    /// Whether `len` bytes, all that was never sent, may go as one segment.
    #[inline(always)]
    fn is_one_segment(&self, len: u32) -> bool {
        let window = self.congestion.cwnd().min(self.snd_wnd);
        // None at all becomes more than any segment.
        likely(len.wrapping_sub(1) < self.mss)
            && likely(self.flight() + len <= window)
            && likely(self.is_worth_sending(len, len))
    }

    /// Sends the last frame of the queue, behind `LEN` bytes of headers whose TCP part starts `AT`.
    #[inline(always)]
    fn send_last<const AT: usize, const LEN: usize, D>(
        &mut self,
        len: u32,
        egress: &mut Egress<'_, F, D>,
        config: &Config,
    ) -> bool
    where
        D: Device<Frame = F>,
    {
        let Some(front) = usually(egress.known_front(self.neighbor)) else { return false };
        if unlikely(egress.device.room() == 0) {
            return false;
        }
        let Some(frame) = usually(self.send.last_whole(self.snd_nxt, len)) else { return false };
        let checksum = checksum_request(egress.offloads(), AT);
        let payload_sum = if checksum.is_none() { Some(payload_sum(frame.bytes())) } else { None };
        let headers: Headers<'_, AT> = Headers {
            front,
            ttl: &self.ttl,
            tos: &(self.tos | self.recovery.ecn.ect),
            tuple: &self.tuple,
            address_sum: &self.address_sum,
            flags: Flags(Flags::ACK.0 | Flags::PSH.0),
            seq: &self.snd_nxt,
            ack: &self.rcv_nxt,
            edge: (&self.rcv_adv, &self.rcv_wscale),
            timestamps: (egress.millis, &self.ts_offset, &self.ts_recent),
            payload_len: len,
            payload_sum,
        };
        let Some(sent) = usually(Frame::share_behind::<LEN>(frame, &headers)) else { return false };
        egress.counters.count(Count::OutSegs);
        egress.device.transmit(sent, TxMeta { checksum, segmentation: None });
        self.note_sent_steadily(len, egress.now, config);
        true
    }

    /// Books what was sent: SND.NXT, the timer, the timed segment, what the ACK in it settled.
    #[inline(always)]
    fn note_sent_steadily(&mut self, len: u32, now: Instant, config: &Config) {
        let end = self.snd_nxt + len;
        self.last_sent_at = now;
        self.acknowledgement_sent();
        self.recovery.flight.send(end, now);
        self.snd_nxt = end;
        if likely(self.deadlines.retransmit == Instant::MAX) {
            self.loss_timer = LossTimer::Timeout;
            self.deadlines.retransmit = now.after_micros(self.rtt.steady_rto_us(config));
        } else {
            self.note_sent_in_time(len, now, config);
        }
    }

    /// Sends an acknowledgement. Returns whether it did.
    pub(super) fn send_usual_ack<D>(&mut self, egress: &mut Egress<'_, F, D>) -> bool
    where
        D: Device<Frame = F>,
    {
        if self.has_blocks() | self.recovery.ecn.echoes | (self.snd_wnd == 0) {
            return false;
        }
        match (self.is_v4, self.timestamps_ok) {
            (true, true) => self.send_plain_ack::<TCP_V4, STAMPED_V4, D>(egress),
            (true, false) => self.send_plain_ack::<TCP_V4, PLAIN_V4, D>(egress),
            (false, true) => self.send_plain_ack::<TCP_V6, STAMPED_V6, D>(egress),
            (false, false) => self.send_plain_ack::<TCP_V6, PLAIN_V6, D>(egress),
        }
    }

    /// The same in `LEN` bytes of headers whose TCP part starts `AT`.
    fn send_plain_ack<const AT: usize, const LEN: usize, D>(&self, egress: &mut Egress<'_, F, D>) -> bool
    where
        D: Device<Frame = F>,
    {
        if egress.device.room() == 0 {
            return false;
        }
        let Some(mut frame) = egress.device.alloc(0) else { return false };
        let Some(front) = egress.known_front(self.neighbor) else { return false };
        let Some(out) = frame.prepend(LEN).and_then(|bytes| bytes.first_chunk_mut::<LEN>()) else {
            return false;
        };
        let checksum = checksum_request(egress.offloads(), AT);
        let headers: Headers<'_, AT> = Headers {
            front,
            ttl: &self.ttl,
            tos: &self.tos,
            tuple: &self.tuple,
            address_sum: &self.address_sum,
            flags: Flags::ACK,
            seq: &self.snd_nxt,
            ack: &self.rcv_nxt,
            // The peer's FIN may have stood behind the window.
            edge: (&self.rcv_adv.max(self.rcv_nxt), &self.rcv_wscale),
            timestamps: (egress.millis, &self.ts_offset, &self.ts_recent),
            payload_len: 0,
            payload_sum: if checksum.is_none() { Some(0) } else { None },
        };
        headers.write(out);
        egress.counters.count(Count::OutSegs);
        egress.device.transmit(frame, TxMeta { checksum, segmentation: None });
        true
    }

    /// Whether SACK blocks are to be sent.
    #[inline(always)]
    pub(super) fn has_blocks(&self) -> bool {
        self.out_of_order.is_some() || self.dsack().is_some()
    }
}

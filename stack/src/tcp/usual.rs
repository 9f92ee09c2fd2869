//! What a connection nearly always has to say: the one segment with all that was written, in the frame that the
//! write filled, to a neighbour that is known; or an acknowledgement and nothing else.
//!
//! The answers are those of [`output`](super::output), which sees to everything else.

use hayase_device::{Device, Frame, TxMeta};
use hayase_time::Instant;

use super::connection::Connection;
use super::emit::checksum_request;
use super::output::Plan;
use crate::config::Config;
use crate::counters::Count;
use crate::egress::Egress;
use crate::usual::{Lower, TCP_V4, TCP_V6, Usual};
use crate::wire::Mac;
use crate::wire::tcp::Flags;

impl<F: Frame> Connection<F> {
    /// What is nearly always to be done for a connection: nothing is going on but data, and what was written is one
    /// segment, which goes. Returns whether that was it.
    #[inline]
    pub(super) fn output_steadily<D>(&mut self, egress: &mut Egress<'_, F, D>, config: &Config) -> bool
    where
        D: Device<Frame = F>,
    {
        debug_assert!(!self.steady || self.is_steady());
        let len = self.unsent_len();
        if !self.steady || !self.is_one_segment(len) || self.has_paused(egress.now, config) {
            return false;
        }
        if self.window_due {
            self.open_window(config);
        }
        if self.tuple.is_v4() {
            self.send_last::<TCP_V4, D>(len, egress, config)
        } else {
            self.send_last::<TCP_V6, D>(len, egress, config)
        }
    }

    /// Whether `len` bytes, all that was never sent, may go as one segment.
    #[inline(always)]
    fn is_one_segment(&self, len: u32) -> bool {
        let window = self.congestion.cwnd().min(self.snd_wnd);
        // None at all becomes more than any segment.
        len.wrapping_sub(1) < self.mss && self.flight() + len <= window && self.is_worth_sending(len, len)
    }

    /// Sends the last frame of the queue, behind headers whose TCP part starts `AT`.
    fn send_last<const AT: usize, D>(
        &mut self,
        len: u32,
        egress: &mut Egress<'_, F, D>,
        config: &Config,
    ) -> bool
    where
        D: Device<Frame = F>,
    {
        let Some(dst) = egress.known_mac(self.neighbor) else { return false };
        if egress.device.room() == 0 {
            return false;
        }
        let usual = self.usual(Flags::ACK | Flags::PSH, len, egress.now);
        let lower = self.lower(dst, egress);
        let meta = TxMeta { checksum: checksum_request(egress.offloads(), AT), segmentation: None };
        let headers_len = usual.headers_len::<AT>();
        let Some(frame) = self.send.last_whole(self.snd_nxt, len) else { return false };
        let Some(bytes) = frame.prepend(headers_len) else { return false };
        usual.write::<AT>(bytes, &lower, meta.checksum.is_some());
        let sent = frame.share();
        frame.trim_front(headers_len);
        egress.counters.count(Count::OutSegs);
        egress.device.transmit(sent, meta);
        let plan = Plan { seq: self.snd_nxt, len, fin: false, retransmission: false };
        self.note_sent(plan, len, false, egress, config);
        true
    }

    /// Sends an acknowledgement. Returns whether it did.
    pub(super) fn send_usual_ack<D>(&mut self, egress: &mut Egress<'_, F, D>) -> bool
    where
        D: Device<Frame = F>,
    {
        if self.has_blocks() || egress.device.room() == 0 {
            return false;
        }
        let Some(dst) = egress.known_mac(self.neighbor) else { return false };
        let usual = self.usual(Flags::ACK, 0, egress.now);
        let lower = self.lower(dst, egress);
        let at = usual.transport_at();
        let meta = TxMeta { checksum: checksum_request(egress.offloads(), at), segmentation: None };
        let Some(mut frame) = egress.device.alloc(0) else { return false };
        let Some(bytes) = frame.prepend(at + usual.tcp_len()) else { return false };
        if at == TCP_V4 {
            usual.write::<TCP_V4>(bytes, &lower, meta.checksum.is_some());
        } else {
            usual.write::<TCP_V6>(bytes, &lower, meta.checksum.is_some());
        }
        egress.counters.count(Count::OutSegs);
        egress.device.transmit(frame, meta);
        true
    }

    /// Whether SACK blocks are to be sent.
    #[inline(always)]
    fn has_blocks(&self) -> bool {
        self.dsack.is_some() | self.out_of_order.is_some()
    }

    #[inline(always)]
    fn usual(&self, flags: Flags, payload_len: u32, now: Instant) -> Usual {
        Usual {
            tuple: self.tuple,
            flags,
            seq: self.snd_nxt,
            ack: self.rcv_nxt,
            window: self.window_field(),
            timestamps: self.timestamps(now),
            payload_len,
        }
    }

    #[inline(always)]
    fn lower<D: Device<Frame = F>>(&self, dst: Mac, egress: &mut Egress<'_, F, D>) -> Lower {
        Lower { dst, src: egress.mac(), ttl: self.ttl, tos: self.tos, ident: egress.take_idents(1) }
    }
}

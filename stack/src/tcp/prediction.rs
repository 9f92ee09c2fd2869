//! Header prediction (V. Jacobson, 1990): the segment that an established connection expects next.
//!
//! It continues what was received, acknowledges what was sent, and says nothing else. All checks of
//! [`segment_arrives`](super::segment_arrives) would let it pass; here that is known from a few comparisons, and
//! what is left to do is what the RFC has the segment do. Whatever else arrives goes through the checks.

use hayase_device::{Burst, Frame, RxChecksum, RxMeta};
use hayase_time::Instant;

use super::connection::{AckDebt, Connection};
use super::{Tcp, Turn};
use crate::config::Config;
use crate::counters::Count;
use crate::seq::Seq;
use crate::socket::TcpId;
use crate::usual::Arrived;
use crate::wire::tcp::Timestamps;

/// What an expected segment brings.
struct Expected {
    /// SEG.ACK
    ack: Seq,
    /// SEG.WND, scaled.
    window: u32,
    timestamps: Option<Timestamps>,
    /// Bytes of payload.
    len: u32,
}

impl<F: Frame> Tcp<F> {
    /// Takes the frame of a segment whose TCP header starts `AT`, if the segment is what its connection expects.
    #[inline(always)]
    pub(crate) fn receive_predicted<const AT: usize>(
        &mut self,
        slot: &mut Option<F>,
        meta: RxMeta,
        burst: &mut Burst<F>,
        turn: &mut Turn<'_>,
    ) {
        let Some(arrived) = slot.as_ref().and_then(|frame| Arrived::new::<AT>(frame.bytes())) else { return };
        if meta.checksum != RxChecksum::Verified && !arrived.is_intact() {
            return;
        }
        let Some(index) = self.flows.find_likely(&arrived.tuple) else { return };
        let Some((connection, generation)) = self.connections.get_mut_with_generation(index) else { return };
        if connection.tuple != arrived.tuple || self.agenda.memory_len > turn.config.memory_len_max {
            return;
        }
        let Some(expected) = connection.expects(&arrived) else { return };
        let Some(mut frame) = slot.take() else { return };
        turn.counters.count(Count::InSegs);
        connection.acknowledged_as_expected(&expected, turn.now, turn.config);
        if expected.len > 0 {
            if expected.len >= connection.mss && !burst.is_empty() {
                let count = connection.take_run::<AT>(frame, burst);
                turn.counters.add(Count::InReceives, count);
                turn.counters.add(Count::InSegs, count);
            } else {
                frame.trim_front(frame.len() - expected.len as usize);
                connection.take_expected(frame, expected.len);
            }
        }
        self.agenda.enlist(connection, index);
        self.agenda.announce(connection, TcpId { index, generation });
        if connection.flight() > 0 {
            self.agenda.schedule(connection, index);
        }
        self.agenda.charge(connection);
    }
}

impl<F: Frame> Connection<F> {
    /// The segment, if nothing is going on but data one way, the other, or both, and this is the next of it.
    #[inline(always)]
    fn expects(&self, arrived: &Arrived<'_>) -> Option<Expected> {
        debug_assert!(!self.steady || self.is_steady());
        if !self.steady || self.snd_wnd == 0 {
            return None;
        }
        let timestamps = arrived.plain(self.timestamps_ok)?;
        let (seq, ack) = (arrived.seq(), arrived.ack());
        let len = arrived.payload_len(self.timestamps_ok);
        let acked = ack - self.snd_una;
        let is_next = seq == self.rcv_nxt
            && len <= self.rcv_wnd()
            && acked <= self.flight()
            // What brings nothing may be a duplicate, a window update or a probe: not for here.
            && acked | len != 0
            // A later segment may have told the window before.
            && self.snd_wl1.at_or_before(seq)
            && timestamps.is_none_or(|timestamps| (timestamps.val.wrapping_sub(self.ts_recent) as i32) >= 0);
        let window = u32::from(arrived.window()) << self.snd_wscale;
        is_next.then_some(Expected { ack, window, timestamps, len })
    }

    /// The acknowledgement, the window and the timestamp of an expected segment.
    #[inline(always)]
    fn acknowledged_as_expected(&mut self, expected: &Expected, now: Instant, config: &Config) {
        let seq = self.rcv_nxt;
        // RFC 7323 §4.3 (2)
        if let Some(timestamps) = expected.timestamps
            && seq.at_or_before(self.last_ack_sent)
        {
            self.take_timestamp(timestamps, now);
        }
        self.snd_wnd = expected.window;
        self.max_snd_wnd = self.max_snd_wnd.max(expected.window);
        self.snd_wl1 = seq;
        self.snd_wl2 = expected.ack;
        if expected.ack != self.snd_una {
            self.advance(expected.ack, expected.timestamps, now, config);
        }
    }

    /// Text that continues what was received.
    #[inline(always)]
    fn take_expected(&mut self, payload: F, len: u32) {
        self.receive.push_fragment(payload);
        self.note_expected(len);
    }

    /// Books it, and the ACK that it asks for.
    #[inline(always)]
    pub(super) fn note_expected(&mut self, len: u32) {
        self.note_received(len);
        // An ACK for every second full segment (SHLD-19).
        let is_due = self.unacked_len >= 2 * self.mss;
        self.owe_ack(if is_due { AckDebt::Now } else { AckDebt::Delayed });
    }
}

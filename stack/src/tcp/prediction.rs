//! Header prediction (V. Jacobson, 1990): the segment that an established connection expects next.
//!
//! It continues what was received, acknowledges what was sent, and says nothing else. All checks of
//! [`segment_arrives`](super::segment_arrives) would let it pass; here that is known from a few comparisons, and
//! what is left to do is what the RFC has the segment do. Whatever else arrives goes through the checks.

use hayase_device::Frame;
use hayase_time::Instant;

use super::connection::Connection;
use super::{Tcp, Turn};
use crate::config::Config;
use crate::counters::Count;
use crate::socket::TcpId;
use crate::usual::Usual;

impl<F: Frame> Tcp<F> {
    /// Takes the frame of a segment, if the segment is what its connection expects; else gives the frame back.
    #[inline]
    pub(crate) fn receive_predicted(
        &mut self,
        usual: &Usual,
        mut frame: F,
        turn: &mut Turn<'_>,
    ) -> Result<(), F> {
        let Some(index) = self.flows.find_likely(&usual.tuple) else { return Err(frame) };
        let Some((connection, generation)) = self.connections.get_mut_with_generation(index) else {
            return Err(frame);
        };
        if connection.tuple != usual.tuple
            || !connection.expects(usual)
            || self.agenda.memory_len > turn.config.memory_len_max
        {
            return Err(frame);
        }
        turn.counters.count(Count::InSegs);
        connection.acknowledged_as_expected(usual, turn.now, turn.config);
        if usual.payload_len > 0 {
            frame.trim_front(frame.len() - usual.payload_len as usize);
            connection.take_next(frame, usual.payload_len);
        }
        self.agenda.note(connection, TcpId { index, generation });
        Ok(())
    }
}

impl<F: Frame> Connection<F> {
    /// Whether nothing is going on but data one way, the other, or both, and this is the next of it.
    #[inline(always)]
    fn expects(&self, usual: &Usual) -> bool {
        let acked = usual.ack - self.snd_una;
        debug_assert!(!self.steady || self.is_steady());
        self.steady
            && self.snd_wnd != 0
            && usual.seq == self.rcv_nxt
            && usual.payload_len <= self.rcv_wnd()
            && acked <= self.flight()
            // What brings nothing may be a duplicate, a window update or a probe: not for here.
            && acked | usual.payload_len != 0
            && match usual.timestamps {
                Some(timestamps) => {
                    self.timestamps_ok && (timestamps.val.wrapping_sub(self.ts_recent) as i32) >= 0
                }
                None => !self.timestamps_ok,
            }
    }

    /// The acknowledgement, the window and the timestamp of an expected segment.
    #[inline(always)]
    fn acknowledged_as_expected(&mut self, usual: &Usual, now: Instant, config: &Config) {
        self.note_timestamp(usual.seq, usual.timestamps, now);
        self.update_window(usual.seq, usual.ack, u32::from(usual.window) << self.snd_wscale);
        if usual.ack != self.snd_una {
            self.advance(usual.ack, usual.timestamps, now, config);
        }
    }
}

//! Header prediction (V. Jacobson, 1990): the segment that an established connection expects next.
//!
//! It continues what was received, acknowledges what was sent, and says nothing else. All checks of
//! [`segment_arrives`](super::segment_arrives) would let it pass; here that is known from a few comparisons, and
//! what is left to do is what the RFC has the segment do. Whatever else arrives goes through the checks.

use hayase_device::hint::{likely, unlikely, usually};
use hayase_device::{Burst, Frame, RxChecksum, RxMeta};
use hayase_time::Instant;

use super::Tcp;
use super::agenda::Agenda;
use super::connection::{AckDebt, Connection};
use crate::config::Config;
use crate::seq::Seq;
use crate::usual::Arrived;

/// What is left to do of an expected segment once its window and its timestamp are taken.
#[derive(Debug, Clone, Copy)]
struct Expected {
    /// SEG.ACK
    ack: Seq,
    /// Bytes of payload.
    len: u32,
    /// TSecr, if the connection has timestamps.
    echo: u32,
}

/// A segment that its connection expects, and where to enter what follows.
pub(crate) struct Predicted<'a, F> {
    connection: &'a mut Connection<F>,
    agenda: &'a mut Agenda,
    index: u32,
    segment: Expected,
}

impl<F: Frame> Tcp<F> {
    /// The segment of a frame, whose TCP header starts `AT`, if it is what its connection expects.
    #[inline(always)]
    pub(crate) fn predict<const AT: usize>(
        &mut self,
        bytes: &[u8],
        meta: RxMeta,
        now: Instant,
        config: &Config,
    ) -> Option<Predicted<'_, F>> {
        if meta.checksum != RxChecksum::Verified && unlikely(!Arrived::is_intact::<AT>(bytes)) {
            return None;
        }
        self.predict_arrived(usually(Arrived::new::<AT>(bytes))?, now, config)
    }

    /// The same of a frame with more payload in further fragments, whose checksum the device has verified.
    pub(crate) fn predict_chained<const AT: usize>(
        &mut self,
        bytes: &[u8],
        behind_len: usize,
        now: Instant,
        config: &Config,
    ) -> Option<Predicted<'_, F>> {
        self.predict_arrived(Arrived::new::<AT>(bytes)?.with_behind(behind_len), now, config)
    }

    #[inline(always)]
    fn predict_arrived(
        &mut self,
        arrived: Arrived<'_>,
        now: Instant,
        config: &Config,
    ) -> Option<Predicted<'_, F>> {
        let index = usually(self.flows.find_likely(&arrived.tuple))?;
        let connection = usually(self.connections.get_mut(index))?;
        if unlikely(connection.tuple != arrived.tuple)
            || unlikely(self.agenda.memory_len > config.memory_len_max)
        {
            return None;
        }
        let segment = usually(connection.expects(&arrived, now))?;
        Some(Predicted { connection, agenda: &mut self.agenda, index, segment })
    }
}

impl<F: Frame> Predicted<'_, F> {
    /// Whether more of the same may follow in the burst.
    #[inline(always)]
    pub(crate) fn may_be_run(&self) -> bool {
        self.segment.len >= self.connection.mss
    }

    /// Takes the frame of the segment.
    #[inline(always)]
    pub(crate) fn receive(mut self, frame: F, now: Instant, config: &Config) {
        let went = self.advance(now, config);
        let len = self.segment.len;
        let came = if len > 0 { self.connection.take_expected_text(frame, len) } else { 0 };
        self.enter(came, went);
    }

    /// Takes the frame of the segment, which is a chain.
    pub(crate) fn receive_chain(mut self, mut frame: F, now: Instant, config: &Config) {
        let went = self.advance(now, config);
        let (held, len) = (self.connection.receive.memory_len(), self.segment.len);
        frame.trim_front(frame.total_len() - len as usize);
        self.connection.receive.push(frame);
        self.connection.note_expected(len);
        self.connection.progressed = true;
        let came = self.connection.receive.memory_len() - held;
        self.enter(came, went);
    }

    /// Takes the frame of the segment and those at the front of the burst that continue it. Returns how many these are.
    #[inline(never)]
    pub(crate) fn receive_run<const AT: usize>(
        mut self,
        frame: F,
        burst: &mut Burst<F>,
        now: Instant,
        config: &Config,
    ) -> u64 {
        let went = self.advance(now, config);
        let held = self.connection.receive.memory_len();
        let count = self.connection.take_run::<AT>(frame, burst);
        let came = self.connection.receive.memory_len() - held;
        self.enter(came, went);
        count
    }

    #[inline(always)]
    fn advance(&mut self, now: Instant, config: &Config) -> usize {
        let Expected { ack, echo, .. } = self.segment;
        if ack == self.connection.snd_una {
            return 0;
        }
        self.connection.advance_as_expected(ack, echo, now, config)
    }

    /// Enters what follows.
    #[inline(always)]
    fn enter(self, came: usize, went: usize) {
        let Predicted { connection, agenda, index, segment } = self;
        agenda.enlist(connection, index);
        if likely(segment.len > 0) {
            agenda.announce_text(connection, index);
        } else {
            agenda.announce(connection, index);
        }
        if connection.flight() > 0 {
            agenda.schedule(connection, index);
        }
        agenda.book(connection, came, went);
    }
}

impl<F: Frame> Connection<F> {
    /// The segment, if nothing is going on but data one way, the other, or both, and this is the next of it. Then its
    /// window and its timestamp are taken.
    #[inline(always)]
    fn expects(&mut self, arrived: &Arrived<'_>, now: Instant) -> Option<Expected> {
        debug_assert!(!self.steady || self.is_steady());
        if unlikely(!self.steady) || unlikely(self.snd_wnd == 0) {
            return None;
        }
        let timestamps = usually(arrived.plain(self.timestamps_ok))?;
        let (seq, ack) = (arrived.seq(), arrived.ack());
        let len = arrived.payload_len(self.timestamps_ok);
        let acked = ack - self.snd_una;
        let is_next = likely(seq == self.rcv_nxt)
            && likely((seq + len).at_or_before(self.rcv_adv))
            && likely(acked <= self.flight())
            // What brings nothing may be a duplicate, a window update or a probe: not for here.
            && likely(acked | len != 0)
            // A later segment may have told the window before.
            && likely(self.snd_wl1.at_or_before(seq))
            && likely(timestamps.is_none_or(|stamps| (stamps.val.wrapping_sub(self.ts_recent) as i32) >= 0));
        if unlikely(!is_next) {
            return None;
        }
        // RFC 7323 §4.3 (2)
        if let Some(timestamps) = timestamps
            && likely(seq.at_or_before(self.last_ack_sent))
        {
            self.take_timestamp(timestamps, now);
        }
        let window = u32::from(arrived.window()) << self.snd_wscale;
        if unlikely(window != self.snd_wnd) {
            self.snd_wnd = window;
            self.max_snd_wnd = self.max_snd_wnd.max(window);
        }
        self.snd_wl1 = seq;
        Some(Expected { ack, len, echo: timestamps.map_or(0, |timestamps| timestamps.ecr) })
    }

    /// An acknowledgement of something new. Returns how many bytes of buffers went home.
    #[inline(always)]
    fn advance_as_expected(&mut self, ack: Seq, echo: u32, now: Instant, config: &Config) -> usize {
        let held = self.send.memory_len();
        if unlikely(!self.advance_to_end(ack, now)) {
            self.advance_part(ack, echo, now, config);
            return held - self.send.memory_len();
        }
        self.wake_writer(config);
        held
    }

    #[inline(never)]
    fn advance_part(&mut self, ack: Seq, echo: u32, now: Instant, config: &Config) {
        self.advance(ack, self.timestamps_ok.then_some(echo), now, config);
    }

    /// SND.UNA moves over all that was written, which was one frame, sent once: what a reply does to a request. Returns
    /// whether that was it; if not, nothing happened. What [`advance`](Self::advance) does besides is of no account
    /// while the connection is steady and the window not in use.
    #[inline(always)]
    fn advance_to_end(&mut self, ack: Seq, now: Instant) -> bool {
        if unlikely(self.uses_window()) {
            return false;
        }
        if unlikely(!self.send.is_sole_until(ack)) {
            return false;
        }
        let Some(sent_at) = usually(self.recovery.deliver_sole(ack)) else { return false };
        self.tally.bytes_acked += u64::from(ack - self.snd_una);
        self.snd_una = ack;
        self.send.drop_sole();
        self.rtt.sample(now.micros_since(sent_at));
        self.progressed = true;
        self.deadlines.retransmit = Instant::MAX;
        true
    }

    /// Text that continues what was received. Returns how many bytes of buffers it brings.
    #[inline(always)]
    fn take_expected_text(&mut self, payload: F, len: u32) -> usize {
        let came = self.receive.push_tail(payload, len as usize);
        self.note_expected(len);
        came
    }

    /// Books text, and the ACK that it asks for. The news of it are [`Agenda::announce_text`]'s.
    #[inline(always)]
    pub(super) fn note_expected(&mut self, len: u32) {
        self.rcv_nxt += len;
        self.tally.bytes_received += u64::from(len);
        // An ACK for every second full segment (SHLD-19).
        if unlikely(self.unacked_len() >= 2 * self.mss) {
            self.ack_debt = AckDebt::Now;
        } else if likely(self.ack_debt == AckDebt::None) {
            self.ack_debt = AckDebt::Delayed;
        }
    }
}

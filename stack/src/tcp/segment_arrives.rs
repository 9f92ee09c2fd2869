//! SEGMENT ARRIVES (RFC 9293 §3.10.7.4): the checks, in the RFC's order, one function each.

use hayase_device::Frame;
use hayase_time::Instant;

use super::challenges::Challenges;
use super::connection::{AckDebt, Connection, LossTimer};
use super::pressure::Pressure;
use super::segment::{Reset, Segment, Stop};
use super::state::State;
use crate::config::Config;
use crate::counters::{Count, Counters, Drop};
use crate::error::Error;
use crate::seq::Seq;
use crate::socket::Ready;
use crate::wire::tcp::{Flags, Timestamps};

/// What a segment's processing may look at besides the connection.
pub(super) struct Context<'a> {
    pub(super) now: Instant,
    pub(super) config: &'a Config,
    pub(super) counters: &'a mut Counters,
    pub(super) challenges: &'a mut Challenges,
    /// Whether more buffers are held than should be.
    pub(super) pressure: Pressure,
    /// The segment's packet met congestion on its way.
    pub(super) is_marked: bool,
}

/// How often one connection answers segments that cannot be its peer's (RFC 5961 §7; Linux's
/// `tcp_invalid_ratelimit`).
const CHALLENGE_INTERVAL_MS: u32 = 500;

/// Duplicate ACKs for one burst: enough for the peer to notice (RFC 5681 §3.2 counts to three).
const DUPLICATES_OWED_MAX: u8 = 4;

/// After so long without a segment, 24 days, TS.Recent proves nothing any more (RFC 7323 §5.5).
const TS_RECENT_AGE_MAX: u32 = age_stamp(Instant::from_nanos(24 * 24 * 3600 * 1_000_000_000));

impl<F: Frame> Connection<F> {
    pub(super) fn segment_arrives(
        &mut self,
        mut segment: Segment<'_, F>,
        cx: &mut Context<'_>,
    ) -> Result<(), Stop> {
        if self.state == State::SynSent {
            return self.arrives_in_syn_sent(segment, cx);
        }
        self.check_timestamp(&segment, cx)?;
        self.check_sequence(&mut segment, cx)?;
        self.check_rst(&segment, cx)?;
        self.check_syn(&segment, cx)?;
        self.check_ack(&segment, cx)?;
        self.check_urg(&segment);
        self.check_marks(&segment, cx);
        self.take_text(&mut segment, cx)?;
        self.check_fin(&segment);
        Ok(())
    }

    /// PAWS (RFC 7323 §5.3, R1): a timestamp older than the last is an old duplicate, whatever its sequence
    /// number. Resets are exempt.
    #[inline]
    fn check_timestamp(&mut self, segment: &Segment<'_, F>, cx: &mut Context<'_>) -> Result<(), Stop> {
        let Some(timestamps) = segment.header.options.timestamps.filter(|_| self.timestamps_ok) else {
            return Ok(());
        };
        let is_old = (timestamps.val.wrapping_sub(self.ts_recent) as i32) < 0;
        if !is_old || segment.has(Flags::RST) || self.ts_recent_is_outdated(cx.now) {
            return Ok(());
        }
        self.answer_stranger(segment.len > 0, cx.now);
        Err(Stop::Drop(Drop::TcpPaws))
    }

    /// First: the sequence number. What is acceptable is trimmed to the window.
    #[inline]
    fn check_sequence(&mut self, segment: &mut Segment<'_, F>, cx: &mut Context<'_>) -> Result<(), Stop> {
        let (seq, len) = (segment.seq, segment.sequence_len());
        // What nearly every segment is: the next one, within the window.
        if seq == self.rcv_nxt && len <= self.rcv_wnd() {
            return Ok(());
        }
        if seq == self.rcv_nxt && self.rcv_wnd() == 0 {
            // A probe of our closed window. Its ACK and RST count (MUST-66), its data has to come again.
            self.owe_ack(AckDebt::Now);
            segment.truncate(0);
            return Ok(());
        }
        if segment.has(Flags::RST) {
            return self.check_place_of_rst(seq);
        }
        if !(self.is_acceptable(seq, len) || self.answers_simultaneous_open(segment)) {
            return Err(self.refuse_sequence(segment, cx));
        }
        if seq.before(self.rcv_nxt) {
            self.trim_old(segment);
        }
        let beyond = (segment.seq + segment.sequence_len()).since(self.rcv_adv);
        if beyond > 0 {
            self.owe_ack(AckDebt::Now);
            segment.truncate(self.rcv_adv.since(segment.seq).min(segment.len));
        }
        Ok(())
    }

    /// A reset is judged by where it stands itself, whatever it carries (RFC 5961 §3.2): nothing of it is trimmed, or one
    /// with enough data in front of RCV.NXT would be as good as the exact one.
    #[cold]
    fn check_place_of_rst(&self, seq: Seq) -> Result<(), Stop> {
        let is_within = seq == self.rcv_nxt || seq.within(self.rcv_nxt, self.rcv_wnd());
        if is_within { Ok(()) } else { Err(Stop::Drop(Drop::TcpInvalidRst)) }
    }

    /// Table 6 of RFC 9293 §3.10.7.4. What carries nothing may also stand at the very end of the window, where a peer is that
    /// has filled it: its acknowledgements count while something is missing before them (as in Linux's `tcp_sequence`).
    fn is_acceptable(&self, seq: Seq, len: u32) -> bool {
        let (nxt, wnd) = (self.rcv_nxt, self.rcv_wnd());
        match (len, wnd) {
            (0, 0) => seq == nxt,
            (0, _) => seq - nxt <= wnd,
            (_, 0) => false,
            (_, _) => seq.within(nxt, wnd) || (seq + (len - 1)).within(nxt, wnd),
        }
    }

    /// The second SYN of a peer that opened at the same time as we did acknowledges our first one (RFC 9293 §3.5,
    /// figure 8): its SYN is old, its ACK is what both wait for.
    #[cold]
    fn answers_simultaneous_open(&self, segment: &Segment<'_, F>) -> bool {
        self.state == State::SynReceived
            && segment.seq == self.snd_wl1
            && segment.has(Flags::SYN)
            && segment.has(Flags::ACK)
    }

    fn refuse_sequence(&mut self, segment: &Segment<'_, F>, cx: &mut Context<'_>) -> Stop {
        if self.state == State::SynReceived && segment.has(Flags::SYN) && segment.seq == self.snd_wl1 {
            // Our SYN-ACK was lost: the peer repeats its SYN, we repeat our answer.
            self.resend_syn();
            if segment.flags.0 & super::ecn::SETUP.0 == 0 {
                // One that asks no more for ECN must not find itself with it (RFC 3168 §6.1.1).
                self.recovery.ecn.ect = 0;
            }
            return Stop::Drop(Drop::TcpOldData);
        }
        let is_old = segment.seq.before(self.rcv_nxt);
        if is_old && segment.len > 0 && self.sack_ok {
            // RFC 2883 §4.1: say which duplicate this ACK answers.
            self.report_duplicate(segment.seq, segment.text_end().min(self.rcv_nxt));
        }
        self.answer_stranger(segment.len > 0 || segment.has(Flags::FIN), cx.now);
        Stop::Drop(if is_old { Drop::TcpOldData } else { Drop::TcpInvalidSequence })
    }

    /// The next ACK says that this came twice (RFC 2883).
    fn report_duplicate(&mut self, left: Seq, right: Seq) {
        self.rare_mut().dsack = Some((left, right));
    }

    /// Cuts off what was received before.
    fn trim_old(&mut self, segment: &mut Segment<'_, F>) {
        let mut old = self.rcv_nxt.since(segment.seq);
        if segment.has(Flags::SYN) {
            // The SYN takes the first place in the sequence.
            segment.flags = Flags(segment.flags.0 & !Flags::SYN.0);
            segment.seq += 1;
            old -= 1;
        }
        if old > 0 && self.sack_ok {
            self.report_duplicate(segment.seq, self.rcv_nxt);
        }
        segment.trim_front(old);
        self.owe_ack(AckDebt::Now);
    }

    /// Second: RST, by the rules of RFC 5961 §3.2: exact closes, within the window is asked to prove itself.
    #[inline]
    fn check_rst(&mut self, segment: &Segment<'_, F>, cx: &mut Context<'_>) -> Result<(), Stop> {
        if !segment.has(Flags::RST) {
            return Ok(());
        }
        if segment.seq != self.rcv_nxt {
            self.challenge(cx);
            return Err(Stop::Drop(Drop::TcpInvalidRst));
        }
        let error = match self.state {
            State::SynReceived if self.is_early() => Error::ConnectionReset,
            State::SynReceived if self.listener.is_some() => Error::ConnectionAborted,
            State::SynReceived => Error::ConnectionRefused,
            _ => Error::ConnectionReset,
        };
        let count = if self.state == State::SynReceived { Count::AttemptFails } else { Count::EstabResets };
        cx.counters.count(count);
        // Both sides had said all (MUST-12 is about data that may be lost): nothing is lost in these, once ours has arrived.
        let is_done = matches!(self.state, State::Closing | State::LastAck | State::TimeWait)
            && self.is_data_acknowledged();
        self.enter_closed((!is_done).then_some(error));
        Ok(())
    }

    /// Fourth: a SYN in a synchronized state draws a challenge ACK (RFC 5961 §4.2).
    #[inline]
    fn check_syn(&mut self, segment: &Segment<'_, F>, cx: &mut Context<'_>) -> Result<(), Stop> {
        if self.state == State::Closed {
            return Err(Stop::Drop(Drop::TcpClose));
        }
        if !segment.has(Flags::SYN) {
            return Ok(());
        }
        self.challenge(cx);
        Err(Stop::Drop(Drop::TcpInvalidSyn))
    }

    /// RFC 7323 §4.3 (2): TS.Recent follows the segment that covers Last.ACK.sent; also back, once it is too old to tell old
    /// from new (§5.5).
    #[inline]
    fn note_timestamp(&mut self, seq: Seq, timestamps: Option<Timestamps>, now: Instant) {
        if let Some(timestamps) = timestamps
            && self.timestamps_ok
            && seq.at_or_before(self.last_ack_sent)
            && ((timestamps.val.wrapping_sub(self.ts_recent) as i32) >= 0 || self.ts_recent_is_outdated(now))
        {
            self.take_timestamp(timestamps, now);
        }
    }

    fn ts_recent_is_outdated(&self, now: Instant) -> bool {
        age_stamp(now) - self.ts_recent_at > TS_RECENT_AGE_MAX
    }

    /// TS.Recent, and when it was heard.
    #[inline(always)]
    pub(super) fn take_timestamp(&mut self, timestamps: Timestamps, now: Instant) {
        self.ts_recent = timestamps.val;
        self.ts_recent_at = age_stamp(now);
    }

    /// Fifth: the ACK field.
    #[inline]
    fn check_ack(&mut self, segment: &Segment<'_, F>, cx: &mut Context<'_>) -> Result<(), Stop> {
        if !segment.has(Flags::ACK) {
            return Err(Stop::Drop(Drop::TcpFlags));
        }
        let ack = segment.header.ack;
        if self.state == State::SynReceived {
            self.check_ack_in_syn_received(segment, cx)?;
        } else if ack.after(self.snd_nxt) || ack.before(self.oldest_ack()) {
            // RFC 5961 §5.2
            self.challenge(cx);
            return Err(Stop::Drop(Drop::TcpInvalidAck));
        }
        // Not before: by a timestamp far ahead somebody who guesses would have PAWS drop all that the peer says.
        self.note_timestamp(segment.seq, segment.header.options.timestamps, cx.now);
        if let Some(probing) = self.probing_mut() {
            probing.heard(cx.now);
        }
        self.acknowledged(segment, cx);
        self.advance_closing(cx)
    }

    /// The oldest acknowledgement that may be late and nothing else: as far back as the peer's window ever reached, and no
    /// farther than to our SYN. What was never sent nobody acknowledges but who guesses (draft-ietf-tcpm-tcp-ghost-acks).
    #[inline]
    fn oldest_ack(&self) -> Seq {
        let acked_len = self.tally.bytes_acked.min(u64::from(self.max_snd_wnd)) as u32;
        self.snd_una - acked_len
    }

    fn check_ack_in_syn_received(
        &mut self,
        segment: &Segment<'_, F>,
        cx: &mut Context<'_>,
    ) -> Result<(), Stop> {
        let ack = segment.header.ack;
        // Not SND.NXT: that is back at ISS while our SYN waits to go out again.
        if !self.acknowledges_syn(ack) {
            return Err(Stop::Reset(Reset { tuple: self.tuple, seq: ack, ack: None }));
        }
        if self.snd_nxt == self.iss {
            // The SYN needs not go again, but the acknowledgement that it would have carried has to. What went with it
            // early counts as never sent, as if the SYN had gone.
            self.recovery.forget_flight();
            self.owe_ack(AckDebt::Now);
        }
        self.snd_nxt = self.snd_nxt.max(ack);
        // The window of a SYN is not scaled (RFC 7323 §2.2): both may have opened at once.
        let shift = if segment.header.flags.contains(Flags::SYN) { 0 } else { self.snd_wscale };
        self.establish(segment, cx.now, shift);
        Ok(())
    }

    /// The handshake is over.
    pub(super) fn establish(&mut self, segment: &Segment<'_, F>, now: Instant, window_shift: u8) {
        self.state = if self.fin_queued { State::FinWait1 } else { State::Established };
        self.snd_wnd = u32::from(segment.header.window) << window_shift;
        self.max_snd_wnd = self.snd_wnd;
        self.snd_wl1 = segment.seq;
        if self.retries > 0 {
            // Our SYN had to go again, so nothing was measured, and the path may be full.
            self.rtt.assume_slow();
            self.congestion.on_handshake_loss(self.mss);
            self.count_timeout_over(now);
        }
        (self.backoff, self.retries) = (0, 0);
        if let Some(probing) = self.probing_mut() {
            probing.heard(now);
        }
        self.write_blocked = false;
        self.events |= Ready::WRITABLE;
    }

    /// Fifth, continued: what the acknowledgement of our FIN means in each state.
    #[inline]
    fn advance_closing(&mut self, cx: &Context<'_>) -> Result<(), Stop> {
        if !matches!(self.state, State::FinWait1 | State::Closing | State::LastAck) {
            return Ok(());
        }
        if !self.fin_seq().is_some_and(|fin| self.snd_una.after(fin)) {
            return Ok(());
        }
        match self.state {
            State::FinWait1 => {
                self.state = State::FinWait2;
                if !self.owned {
                    self.set_idle_at(None);
                    self.await_fin(cx.now, cx.config);
                }
                Ok(())
            }
            State::Closing => {
                self.state = State::TimeWait;
                Ok(())
            }
            _ => {
                self.enter_closed(None);
                Err(Stop::Drop(Drop::TcpClose))
            }
        }
    }

    /// Nobody owns the connection, and nothing is outstanding but the peer's FIN: for that it has a while.
    pub(super) fn await_fin(&mut self, now: Instant, config: &Config) {
        self.loss_timer = LossTimer::PeersFin;
        self.deadlines.retransmit = now.after_micros(config.fin_timeout_us.into());
    }

    /// Sixth: the URG bit. Urgent data is delivered in line (RFC 6093 §4); the application learns that there is
    /// some, and where it ends, each time the peer moves that end (MUST-32).
    #[inline]
    fn check_urg(&mut self, segment: &Segment<'_, F>) {
        if !segment.has(Flags::URG) || !self.state.can_receive() {
            return;
        }
        let up = segment.header.seq + u32::from(segment.header.urgent);
        let known = self.rare().and_then(|rare| rare.rcv_up);
        if known.is_some_and(|known| !up.after(known)) {
            return;
        }
        if up.after(self.consumed()) {
            self.rare_mut().rcv_up = Some(up);
            self.events |= Ready::PRIORITY;
        } else if let Some(rare) = &mut self.rare {
            rare.rcv_up = None;
        }
    }

    /// Seventh: the segment's text.
    #[inline]
    fn take_text(&mut self, segment: &mut Segment<'_, F>, cx: &mut Context<'_>) -> Result<(), Stop> {
        let Some(payload) = segment.payload.take() else { return Ok(()) };
        if !self.state.can_receive() {
            return Err(Stop::Drop(Drop::TcpClose));
        }
        if !self.owned && self.listener.is_none() {
            // Nobody will ever read it (SHLD-3).
            let reset = Reset { tuple: self.tuple, seq: self.bare_seq(), ack: Some(self.rcv_nxt) };
            self.enter_closed(None);
            return Err(Stop::Reset(reset));
        }
        // What fills a hole is not kept out by what lies beyond it: nobody could ever read either.
        let is_next = segment.seq == self.rcv_nxt;
        if cx.pressure != Pressure::None && !self.may_keep(is_next, cx) {
            // The peer sends it again, and by then the application may have read. It is told what is here, for it to find
            // the hole whose filling makes room (RFC 5681 §4.2).
            self.owe_ack(AckDebt::Now);
            return Err(Stop::Drop(Drop::ProtoMem));
        }
        if !is_next {
            return self.keep_out_of_order(segment.seq, payload, cx);
        }
        self.take_next(payload, segment.len);
        Ok(())
    }

    /// Whether there are buffers for more, while too many are held.
    #[cold]
    fn may_keep(&mut self, is_next: bool, cx: &mut Context<'_>) -> bool {
        let (held, limit, count) = if is_next {
            (self.receive.memory_len(), cx.pressure.unread_len(), Count::RcvQDrop)
        } else {
            (self.out_of_order_memory_len(), cx.pressure.out_of_order_len(), Count::OfoDrop)
        };
        if held < limit {
            return true;
        }
        cx.counters.count(count);
        false
    }

    /// Text that continues what was received.
    #[inline]
    pub(super) fn take_next(&mut self, payload: F, len: u32) {
        self.receive.push(payload);
        self.note_received(len);
        // An ACK for every second full segment (SHLD-19), and at once while there are holes (RFC 5681 §4.2).
        let has_holes = self.out_of_order.is_some();
        self.owe_ack(if has_holes || self.unacked_len() >= 2 * self.mss {
            AckDebt::Now
        } else {
            AckDebt::Delayed
        });
        if has_holes {
            self.fill_holes();
        }
    }

    /// Books bytes that continue what was received.
    #[inline(always)]
    pub(super) fn note_received(&mut self, len: u32) {
        self.rcv_nxt += len;
        self.tally.bytes_received += u64::from(len);
        self.duplicates_owed = 0;
        self.events |= Ready::READABLE;
    }

    fn keep_out_of_order(&mut self, seq: Seq, payload: F, cx: &mut Context<'_>) -> Result<(), Stop> {
        if !self.sack_ok && self.ack_debt == AckDebt::Now {
            // One of this burst is owed already. With SACK it says all; without, every segment needs its own.
            self.duplicates_owed = (self.duplicates_owed + 1).min(DUPLICATES_OWED_MAX);
        }
        self.owe_ack(AckDebt::Now);
        let end = seq + payload.total_len() as u32;
        let limit = self.out_of_order_limit(cx.config);
        let assembler = self.out_of_order.get_or_insert_default();
        match assembler.insert(seq, payload, limit) {
            Ok(true) => {
                cx.counters.count(Count::OfoQueue);
                let rare = self.rare_mut();
                rare.ofo_segs = rare.ofo_segs.saturating_add(1);
                Ok(())
            }
            Ok(false) => {
                if self.sack_ok {
                    self.report_duplicate(seq, end);
                }
                // It goes on: a FIN may have been put on what was sent before.
                cx.counters.drop(Drop::TcpOldData);
                Ok(())
            }
            Err(_) => Err(Stop::Drop(Drop::TcpOverwindow)),
        }
    }

    fn fill_holes(&mut self) {
        let Some(assembler) = &mut self.out_of_order else { return };
        while let Some(frame) = assembler.pop(self.rcv_nxt) {
            self.rcv_nxt += frame.total_len() as u32;
            self.tally.bytes_received += frame.total_len() as u64;
            self.receive.push(frame);
        }
        if assembler.is_empty() {
            self.out_of_order = None;
        }
    }

    /// Eighth: the FIN bit. It counts when everything in front of it is here.
    #[inline]
    fn check_fin(&mut self, segment: &Segment<'_, F>) {
        let mut fin = self.rare().and_then(|rare| rare.early_fin);
        if segment.has(Flags::FIN) {
            fin = Some(segment.text_end());
            // In its place or behind a gap (RFC 5681 §4.2): the peer learns at once.
            self.owe_ack(AckDebt::Now);
        }
        if let Some(fin) = fin {
            self.take_fin(fin);
        }
    }

    /// The peer's FIN stands at `fin`.
    fn take_fin(&mut self, fin: Seq) {
        if fin.after(self.rcv_nxt) {
            self.rare_mut().early_fin = Some(fin);
            return;
        }
        if let Some(rare) = &mut self.rare {
            rare.early_fin = None;
        }
        if fin == self.rcv_nxt {
            self.receive_fin();
        }
    }

    fn receive_fin(&mut self) {
        if self.fin_received {
            return;
        }
        self.fin_received = true;
        self.rcv_nxt += 1;
        self.rcv_adv = self.rcv_adv.max(self.rcv_nxt);
        self.owe_ack(AckDebt::Now);
        self.out_of_order = None;
        self.events |= Ready::READABLE | Ready::READ_CLOSED;
        self.state = match self.state {
            State::SynReceived | State::Established => State::CloseWait,
            State::FinWait1 => State::Closing,
            State::FinWait2 => State::TimeWait,
            other => other,
        };
    }

    /// An ACK that tells a peer where we stand, and a forger nothing: rate limited (RFC 5961 §7).
    fn challenge(&mut self, cx: &mut Context<'_>) {
        if self.may_answer(cx.now) && cx.challenges.allow(cx.now) {
            self.note_answer(cx.now);
            cx.counters.count(Count::ChallengeAck);
        }
    }

    /// The ACK that an unacceptable segment draws. Data is answered always: its sender retransmits and needs to
    /// know. Bare ACKs, which keep-alives are, are answered at a limited rate, or two confused peers would answer each other
    /// for ever: at one of the connection (Linux's `tcp_oow_rate_limited`), since nobody may use up the answers of others.
    fn answer_stranger(&mut self, has_data: bool, now: Instant) {
        if has_data {
            self.owe_ack(AckDebt::Now);
        } else if self.may_answer(now) {
            self.note_answer(now);
        }
    }

    fn may_answer(&self, now: Instant) -> bool {
        self.challenged_ms == 0 || answered_ms(now).wrapping_sub(self.challenged_ms) >= CHALLENGE_INTERVAL_MS
    }

    fn note_answer(&mut self, now: Instant) {
        self.challenged_ms = answered_ms(now);
        self.owe_ack(AckDebt::Now);
    }
}

/// It wraps after 49 days: a segment that comes just then waits half a second more. 0 stands for never.
fn answered_ms(now: Instant) -> u32 {
    (now.as_millis() as u32).max(1)
}

/// A time for those who count in days, in steps of 2^30 ns: a shift is cheaper than a division.
#[inline(always)]
pub(super) const fn age_stamp(now: Instant) -> u32 {
    (now.as_nanos() >> 30) as u32
}

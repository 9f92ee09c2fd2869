//! What leaves a connection at the end of a turn: retransmissions, new data, a FIN, an ACK.

use core::time::Duration;

use hayase_device::hint::likely;
use hayase_device::{Device, Frame};
use hayase_time::Instant;

use super::connection::{AckDebt, Connection, LossTimer};
use super::emit;
use super::state::State;
use crate::config::Config;
use crate::counters::Count;
use crate::egress::Egress;
use crate::seq::Seq;
use crate::wire::tcp::{Flags, Options, SACK_BLOCKS_MAX, TcpHeader};

/// What a connection sends anew in one turn, in bytes, and what it sends again: a burst's worth. Others come between, the
/// answers to it come in time for the next, and it is still in the processor's cache when somebody looks at it, be it the
/// device or, where both ends are on one machine, the peer.
const TURN_LEN_MAX: u32 = 96 * 1024;

/// Whether a connection has said all that it may say now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    Done,
    /// Its share of this turn is used up: it goes on in the next.
    More,
    /// The device's queue is full or its pool dry: go on next turn.
    Blocked,
}

/// A segment that is to be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) seq: Seq,
    pub(super) len: u32,
    pub(super) fin: bool,
    pub(super) retransmission: bool,
}

impl<F: Frame> Connection<F> {
    /// Sends what may be sent now.
    #[inline(never)]
    pub(super) fn output<D>(&mut self, egress: &mut Egress<'_, F, D>, config: &Config) -> Output
    where
        D: Device<Frame = F>,
    {
        match self.state {
            State::Closed | State::TimeWait => return Output::Done,
            State::SynSent => return self.output_syn(egress, config),
            State::SynReceived => {
                // No more than a SYN can say: it may have to go again, and takes nothing back (RFC 7323 §2.2).
                self.rcv_adv = self.rcv_nxt + self.rcv_wnd().min(u32::from(u16::MAX));
                self.window_due = true;
                let answered = self.output_syn(egress, config);
                if answered == Output::Blocked {
                    return answered;
                }
                // Data goes early only once, and the SYN-ACK by itself after a timeout.
                if !self.is_early() || self.retries > 0 {
                    // What is not acceptable draws an ACK in this state as well (RFC 9293 §3.10.7.4, first).
                    return self.settle_ack(egress, config);
                }
            }
            _ => {}
        }
        self.fit_link(egress.link.caps.mtu);
        if self.has_paused(egress.now, config) {
            self.congestion.on_idle(self.mss);
            // Nor says what was acknowledged before the pause that the next hop is still there; what came just now does.
            self.progressed &= self.ack_debt != AckDebt::None;
        }
        self.judge_rest(egress.now, egress.counters, config);
        if self.path_mtu().is_some() {
            self.probe_path_mtu(egress, config);
        }
        if self.congestion.is_model_based() {
            self.prepare_model(egress.now);
        }
        let share_end = self.snd_nxt + TURN_LEN_MAX;
        let (mut resent_len, mut has_more) = (0, false);
        self.output_train(TURN_LEN_MAX, egress, config);
        while self.has_output()
            && let Some(plan) = self.next_segment(egress, config)
        {
            has_more = self.snd_nxt.at_or_after(share_end) || resent_len >= TURN_LEN_MAX;
            if has_more {
                break;
            }
            resent_len += if plan.retransmission { plan.len } else { 0 };
            if self.send_segment(plan, egress, config) == Output::Blocked {
                self.arm_persist(egress.now, config);
                return Output::Blocked;
            }
        }
        if self.congestion.is_model_based() {
            self.note_limits();
        }
        self.arm_persist(egress.now, config);
        match self.settle_ack(egress, config) {
            Output::Done if has_more => Output::More,
            settled => settled,
        }
    }

    /// A SYN or SYN-ACK, if it is not out.
    fn output_syn<D>(&mut self, egress: &mut Egress<'_, F, D>, config: &Config) -> Output
    where
        D: Device<Frame = F>,
    {
        if self.snd_nxt != self.iss {
            return Output::Done;
        }
        let is_answer = self.state == State::SynReceived;
        if !is_answer {
            self.rcv_adv = self.rcv_nxt + super::syn_sent::initial_receive_window(self.space_len as usize);
        }
        let mut header = self.header(self.iss, egress.now);
        header.options = Options {
            mss: Some(egress.mss(self.tuple.local_ip())),
            window_scale: self.window_scaling_ok.then_some(self.rcv_wscale),
            sack_permitted: self.sack_ok,
            fast_open: self.fast_open_option(),
            ..header.options
        };
        let kind = if is_answer { Flags::SYN | Flags::ACK } else { Flags::SYN };
        header.flags = kind | self.ecn_setup_flags(is_answer, config);
        if !is_answer {
            header.ack = Seq(0);
        }
        // RFC 7323 §2.2: never scaled.
        header.window = self.rcv_wnd().min(u32::from(u16::MAX)) as u16;
        let data_len = self.syn_data_len(header.len() as u32, egress.mss(self.tuple.local_ip()).into());
        let data_len = if data_len > 0 { self.send_syn_data(data_len, &header, egress) } else { 0 };
        if data_len == 0 && self.emit_bare(&header, egress) == Output::Blocked {
            return Output::Blocked;
        }
        self.snd_nxt = self.iss + 1 + data_len;
        self.note_syn_data(data_len);
        self.recovery.forget_flight();
        // The timer runs from when it goes for the first time until it is acknowledged, or patience ends.
        if self.deadlines.retransmit == Instant::MAX {
            self.recovery.flight.send(self.snd_nxt, egress.now);
            self.arm_timeout(egress.now, config);
        }
        // Else it goes again: what was sent twice is not timed (Karn), and a peer that repeats its SYN wins no time by it.
        self.ack_debt = AckDebt::None;
        self.last_ack_sent = self.rcv_nxt;
        Output::Done
    }

    /// Sends a SYN with data. Returns how much; none if there is no buffer for it.
    fn send_syn_data<D>(&mut self, len: u32, header: &TcpHeader, egress: &mut Egress<'_, F, D>) -> u32
    where
        D: Device<Frame = F>,
    {
        let Some(hop) = emit::next_hop(|| self.tuple.remote_ip(), &mut self.neighbor, egress) else {
            return 0;
        };
        let envelope = emit::envelope(&self.tuple, self.ttl, self.tos);
        let headers_len = egress.headers_len(envelope.src) + header.len();
        let payload = self.send.payload(self.iss + 1, len as usize, headers_len, egress.device);
        let Some(payload) = payload else { return 0 };
        let sent = payload.len() as u32;
        emit::data(&envelope, header, payload, hop, sent, egress).map_or(0, |()| sent)
    }

    /// Nothing was sent for longer than an RTO: what the window was before says nothing about the path after it
    /// (RFC 5681 §4.1).
    #[inline]
    pub(super) fn has_paused(&self, now: Instant, config: &Config) -> bool {
        // No RTO is shorter than that.
        let is_recent =
            self.last_sent_at >= now.saturating_sub(Duration::from_micros(config.rto_min_us.into()));
        !likely(is_recent) && self.flight() == 0 && now.nanos_since(self.last_sent_at) > self.rto_ns(config)
    }

    /// Whether there is anything to send at all, window or not.
    #[inline]
    fn has_output(&self) -> bool {
        self.snd_nxt != self.send.end()
            || self.fin_queued
            || !self.recovery.is_open()
            || self.recovery.lost_len() > 0
    }

    /// The next segment that windows, Nagle and silly-window avoidance let go: what was lost first.
    #[inline]
    fn next_segment<D>(&mut self, egress: &Egress<'_, F, D>, config: &Config) -> Option<Plan>
    where
        D: Device<Frame = F>,
    {
        let unsent = self.unsent_len();
        let segment_max = if unsent > self.mss || !self.recovery.is_open() {
            self.segment_max(egress, config)
        } else {
            self.mss
        };
        if self.congestion.is_model_based() && !self.force && self.is_held_back(egress.now, config) {
            return None;
        }
        if let Some(plan) = self.next_retransmission(segment_max) {
            return Some(plan);
        }
        if unsent == 0 {
            return self.next_fin();
        }
        if !self.force && self.is_held_back(egress.now, config) {
            return None;
        }
        let usable = self.usable_window();
        let mut len = unsent.min(usable).min(segment_max);
        if len > self.mss && len < unsent {
            // The device cuts whole segments; the rest waits for the window or for the next one.
            len -= len % self.mss;
        }
        if len == 0 || !(self.force || self.is_worth_sending(len, unsent)) {
            return None;
        }
        let fin = len == unsent && self.fin_queued && usable > len;
        Some(Plan { seq: self.snd_nxt, len, fin, retransmission: false })
    }

    /// Payload of the largest segment that may be handed to the device: whole segments, if it cuts them.
    pub(super) fn segment_max<D>(&self, egress: &Egress<'_, F, D>, config: &Config) -> u32
    where
        D: Device<Frame = F>,
    {
        if self.recovery.ecn.cwr_due {
            // One segment says CWR, and not all into which a device cuts it.
            return self.mss;
        }
        let max = egress.tso_payload_max(self.tuple.is_v4(), self.header_len()).unwrap_or(self.mss);
        (max - max % self.mss).max(self.mss).min(self.pacing_quantum(config))
    }

    fn next_retransmission(&mut self, segment_max: u32) -> Option<Plan> {
        let (from, to) = self.recovery.next_lost(self.snd_una, segment_max)?;
        if self.recovery.is_testing() {
            return None;
        }
        let pipe = self.recovery.pipe(self.snd_una, self.snd_nxt, self.mss);
        let room = self.congestion.cwnd().saturating_sub(pipe);
        let room = if self.force { room.max(self.mss) } else { room };
        let data_end = to.min(self.send.end());
        // Nor beyond the window, should the peer have shrunk it (RFC 9293 §3.8.6).
        let data_end = data_end.min(self.snd_una + self.snd_wnd.max(1));
        let mut len = data_end.since(from).min(segment_max).min(room - room % self.mss);
        if self.snd_wnd == 0 {
            // The peer shrank its window to nothing: a byte a timeout asks whether it opened (MUST-35).
            if !self.force {
                return None;
            }
            len = len.min(1);
        }
        let fin = self.fin_seq().is_some_and(|fin| from + len == fin && to.after(fin));
        (len > 0 || (fin && room > 0)).then_some(Plan { seq: from, len, fin, retransmission: true })
    }

    /// Nagle (RFC 9293 §3.7.4) and the sender's silly-window avoidance (§3.8.6.2.1).
    #[inline]
    pub(super) fn is_worth_sending(&self, len: u32, unsent: u32) -> bool {
        let is_all = len == unsent;
        len >= self.mss
            || (is_all && (self.nodelay || self.fin_queued || self.flight() == 0 || self.is_first_early()))
            || len >= self.max_snd_wnd / 2 && !is_all
    }

    /// The FIN, once everything in front of it is out.
    fn next_fin(&mut self) -> Option<Plan> {
        let fin = self.fin_seq()?;
        (self.snd_nxt == fin).then_some(Plan { seq: fin, len: 0, fin: true, retransmission: false })
    }

    pub(super) fn send_segment<D>(
        &mut self,
        plan: Plan,
        egress: &mut Egress<'_, F, D>,
        config: &Config,
    ) -> Output
    where
        D: Device<Frame = F>,
    {
        let mut header = self.header(plan.seq, egress.now);
        let sent = if plan.len == 0 {
            header.flags = header.flags | Flags::FIN;
            match self.emit_bare(&header, egress) {
                Output::Done => Some((0, true)),
                Output::More | Output::Blocked => None,
            }
        } else {
            self.send_data(plan, &mut header, egress)
        };
        let Some((len, fin)) = sent else { return Output::Blocked };
        self.note_sent(plan, len, fin, egress, config);
        Output::Done
    }

    /// Sends `plan.len` bytes, or as many as there are buffers for. Returns how many, and whether the FIN went.
    fn send_data<D>(
        &mut self,
        plan: Plan,
        header: &mut TcpHeader,
        egress: &mut Egress<'_, F, D>,
    ) -> Option<(u32, bool)>
    where
        D: Device<Frame = F>,
    {
        let hop = emit::next_hop(|| self.tuple.remote_ip(), &mut self.neighbor, egress)?;
        if hop.in_doubt && core::mem::take(&mut self.progressed) {
            egress.confirm(self.neighbor);
        }
        let is_new = !plan.retransmission && self.snd_wnd > 0;
        if is_new && self.recovery.ecn.cwr_due {
            header.flags = header.flags | Flags::CWR;
        }
        // Neither what goes again nor what probes a window (RFC 3168 §6.1.5, §6.1.6).
        let ect = if is_new { self.recovery.ecn.ect } else { 0 };
        let envelope = emit::envelope(&self.tuple, self.ttl, self.tos | ect);
        let headers_len = egress.headers_len(envelope.src) + header.len();
        let last = self.send.end();
        let (wanted, mss) = match self.probe_len_at(plan.seq) {
            // Longer than others, and not to be cut.
            Some(len) if len == plan.len => (len, len),
            _ => self.beside_blocks(plan.len, header.len() as u32),
        };
        let payload = self.send.payload(plan.seq, wanted as usize, headers_len, egress.device)?;
        let len = payload.len() as u32;
        let fin = plan.fin && len == plan.len;
        if plan.seq + len == last {
            // MUST-61: the last segment of what was written.
            header.flags = header.flags | Flags::PSH;
        }
        if fin {
            header.flags = header.flags | Flags::FIN;
        }
        emit::data(&envelope, header, payload, hop, mss, egress)?;
        self.recovery.ecn.cwr_due &= !is_new;
        Some((len, fin))
    }

    /// How much of `len` bytes, and how much to a segment, fits behind a TCP header of this length: SACK blocks
    /// take their room from the payload (RFC 6691 §2).
    #[inline]
    fn beside_blocks(&self, len: u32, header_len: u32) -> (u32, u32) {
        let blocks_len = header_len - self.header_len();
        if blocks_len == 0 || len + blocks_len <= self.mss {
            return (len, self.mss);
        }
        let mss = self.mss.saturating_sub(blocks_len).max(1);
        let whole = len.saturating_sub(blocks_len) / mss * mss;
        (whole.max(mss).min(len), mss)
    }

    /// Books what was sent: SND.NXT, the timer, the timed segment, what the ACK in it settled.
    #[inline]
    pub(super) fn note_sent<D>(
        &mut self,
        plan: Plan,
        len: u32,
        fin: bool,
        egress: &mut Egress<'_, F, D>,
        config: &Config,
    ) where
        D: Device<Frame = F>,
    {
        let now = egress.now;
        let end = plan.seq + len + u32::from(fin);
        self.force = false;
        self.last_sent_at = now;
        self.report_sent();
        if plan.retransmission {
            egress.counters.count(Count::RetransSegs);
            let stamp = self.timestamps_ok.then(|| self.ts_now(now));
            self.recovery.on_retransmit(self.snd_una, plan.seq..end, stamp, now);
            if let Some(repair) = self.recovery.repair_mut() {
                repair.bytes_retrans += u64::from(len);
            }
        } else {
            self.recovery.flight.send(end, now);
        }
        let (was_idle, is_behind) = (self.flight() == 0, self.is_behind_others());
        self.snd_nxt = self.snd_nxt.max(end);
        if self.congestion.is_model_based() {
            self.note_sent_to_model(end - plan.seq, was_idle, now);
        }
        if !is_behind {
            self.arm_timeout(now, config);
            if plan.len > self.mss {
                // The device makes several segments of it.
                self.postpone_probe(now, config);
            }
        } else {
            self.note_sent_behind_others(end - plan.seq, now, config);
        }
    }

    #[inline]
    pub(super) fn arm_timeout(&mut self, now: Instant, config: &Config) {
        self.loss_timer = LossTimer::Timeout;
        self.deadlines.retransmit = now.after_nanos(self.rto_ns(config));
    }

    /// Books a train of new segments up to SND.NXT, as [`note_sent`](Self::note_sent) would one after the other.
    pub(super) fn note_train_sent(
        &mut self,
        is_behind: bool,
        are_several: bool,
        now: Instant,
        config: &Config,
    ) {
        self.last_sent_at = now;
        self.acknowledgement_sent();
        self.recovery.flight.send(self.snd_nxt, now);
        if !is_behind {
            self.arm_timeout(now, config);
        }
        if is_behind || are_several {
            self.postpone_probe(now, config);
        }
    }

    /// Whether what goes now goes behind what is outstanding, and watched. A timer that probed a shut window is of no use
    /// for what goes when it opens.
    pub(super) fn is_behind_others(&self) -> bool {
        self.flight() > 0 && self.deadlines.retransmit != Instant::MAX
    }

    /// Books `len` new bytes that were sent while the timer ran.
    pub(super) fn note_sent_in_time(&mut self, len: u32, now: Instant, config: &Config) {
        if self.flight() == len {
            self.arm_timeout(now, config);
        } else {
            self.note_sent_behind_others(len, now, config);
        }
    }

    /// What is to be booked besides where something was outstanding before.
    fn note_sent_behind_others(&mut self, len: u32, now: Instant, config: &Config) {
        if self.recovery.is_fast() {
            self.recovery.trouble(self.snd_una).prr.on_sent(len);
        } else if !self.congestion.is_model_based() {
            self.pace(len, now, config);
        }
        self.postpone_probe(now, config);
    }

    /// Data that the peer's window or a want of buffers holds back, with nothing outstanding that could bring
    /// an ACK: the timer probes (RFC 9293 §3.8.6.1).
    #[inline]
    fn arm_persist(&mut self, now: Instant, config: &Config) {
        if self.flight() == 0 && self.deadlines.retransmit == Instant::MAX && self.has_unsent() {
            self.arm_timeout(now, config);
        }
    }

    /// Sends one byte against a closed window. The peer answers with the window as it is now.
    pub(super) fn probe<D>(&mut self, egress: &mut Egress<'_, F, D>, config: &Config)
    where
        D: Device<Frame = F>,
    {
        let plan = Plan { seq: self.snd_nxt, len: 1, fin: false, retransmission: false };
        // Without a buffer there is no probe; the timer comes again.
        if self.send_segment(plan, egress, config) == Output::Done {
            egress.counters.count(Count::WinProbe);
        }
        self.recovery.flight.distrust_last();
        self.arm_timeout(egress.now, config);
    }

    /// Pays the acknowledgement that no data carried, or gives it time.
    fn settle_ack<D>(&mut self, egress: &mut Egress<'_, F, D>, config: &Config) -> Output
    where
        D: Device<Frame = F>,
    {
        match self.ack_debt {
            AckDebt::None => Output::Done,
            AckDebt::Delayed => {
                if self.deadlines.delayed_ack == Instant::MAX {
                    self.deadlines.delayed_ack = egress.now.after_micros(config.delayed_ack_us.into());
                }
                Output::Done
            }
            AckDebt::Now => self.send_acks(egress),
        }
    }

    /// The acknowledgement, and the duplicates of it that a peer without SACK counts.
    fn send_acks<D>(&mut self, egress: &mut Egress<'_, F, D>) -> Output
    where
        D: Device<Frame = F>,
    {
        loop {
            if self.send_ack(egress) == Output::Blocked {
                // Those before it have settled the debt, and it is still owed.
                self.ack_debt = AckDebt::Now;
                return Output::Blocked;
            }
            if self.duplicates_owed == 0 {
                return Output::Done;
            }
            self.duplicates_owed -= 1;
        }
    }

    fn send_ack<D>(&mut self, egress: &mut Egress<'_, F, D>) -> Output
    where
        D: Device<Frame = F>,
    {
        let sent = if self.send_usual_ack(egress) {
            Output::Done
        } else {
            let header = self.header(self.bare_seq(), egress.now);
            self.emit_bare(&header, egress)
        };
        if sent == Output::Done {
            self.report_sent();
        }
        sent
    }

    /// A segment without data at SND.UNA - 1, which the peer answers by an ACK (RFC 9293 §3.8.4).
    pub(super) fn send_keepalive<D>(&mut self, egress: &mut Egress<'_, F, D>) -> Output
    where
        D: Device<Frame = F>,
    {
        let header = self.header(self.snd_una - 1, egress.now);
        let sent = self.emit_bare(&header, egress);
        if sent == Output::Done {
            egress.counters.count(Count::KeepAlive);
        }
        sent
    }

    fn emit_bare<D>(&mut self, header: &TcpHeader, egress: &mut Egress<'_, F, D>) -> Output
    where
        D: Device<Frame = F>,
    {
        let envelope = emit::envelope(&self.tuple, self.ttl, self.tos);
        let sent = emit::bare(&envelope, header, &mut self.neighbor, egress);
        if sent == Output::Done && core::mem::take(&mut self.progressed) {
            egress.confirm(self.neighbor);
        }
        sent
    }

    /// Every segment carries the newest acknowledgement: nothing is owed any more.
    #[inline(always)]
    pub(super) fn acknowledgement_sent(&mut self) {
        self.ack_debt = AckDebt::None;
        self.deadlines.delayed_ack = Instant::MAX;
        self.last_ack_sent = self.rcv_nxt;
    }

    /// The same where it may have reported a duplicate: on no steady connection.
    fn report_sent(&mut self) {
        self.acknowledgement_sent();
        if let Some(rare) = &mut self.rare {
            rare.dsack = None;
        }
    }

    /// The header of a segment at `seq`, with the acknowledgement, window and options of now.
    #[inline]
    fn header(&self, seq: Seq, now: Instant) -> TcpHeader {
        let mut header = TcpHeader {
            src_port: self.tuple.local_port(),
            dst_port: self.tuple.remote_port(),
            seq,
            ack: self.rcv_nxt,
            flags: if self.recovery.ecn.echoes { Flags::ACK | Flags::ECE } else { Flags::ACK },
            window: self.window_field(),
            urgent: 0,
            options: Options { timestamps: self.timestamps(now), ..Options::default() },
        };
        if self.has_blocks() {
            self.report_blocks(&mut header.options);
        }
        header
    }

    /// SEG.WND, scaled down.
    #[inline]
    pub(super) fn window_field(&self) -> u16 {
        (self.rcv_wnd() >> self.rcv_wscale).min(u32::from(u16::MAX)) as u16
    }

    /// Length of a data segment's TCP header without SACK blocks.
    #[inline]
    pub(super) fn header_len(&self) -> u32 {
        TcpHeader::LEN as u32 + if self.timestamps_ok { super::connection::TIMESTAMPS_LEN } else { 0 }
    }

    /// What SACK has to say: a duplicate first, then what is held out of order, as far as it fits.
    #[cold]
    fn report_blocks(&self, options: &mut Options) {
        if !self.sack_ok {
            return;
        }
        let max = if self.timestamps_ok { SACK_BLOCKS_MAX - 1 } else { SACK_BLOCKS_MAX };
        if let Some((left, right)) = self.dsack() {
            options.sack.push(left, right);
        }
        if let Some(assembler) = &self.out_of_order {
            for (left, right) in assembler.blocks(max - options.sack.as_slice().len()).as_slice() {
                options.sack.push(*left, *right);
            }
        }
    }

    /// Moves the advertised window as far as the buffer allows. Called before anything is sent.
    #[inline]
    pub(super) fn open_window(&mut self) {
        self.window_due = false;
        self.rcv_adv = self.window_edge();
        self.window_opens_at = self.rcv_adv - self.space_len + self.window_step();
    }
}

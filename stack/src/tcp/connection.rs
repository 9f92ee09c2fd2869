//! One connection: the transmission control block (RFC 9293 §3.3.1).

use alloc::boxed::Box;
use core::num::NonZeroU64;

use hayase_device::Frame;
use hayase_device::hint::likely;
use hayase_time::{Instant, TimerKey};

use super::assembler::Assembler;
use super::congestion::Controller;
use super::flow::Tuple;
use super::info::Tally;
use super::rare::Rare;
use super::receive_queue::ReceiveQueue;
use super::recovery::Recovery;
use super::rtt::Rtt;
use super::send_queue::SendQueue;
use super::state::State;
use crate::config::Config;
use crate::error::Error;
use crate::ip::neighbor::NeighborId;
use crate::seq::Seq;
use crate::socket::{ListenerId, Ready};
use crate::wire::tcp::{Options, Timestamps};

/// What the peer is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum AckDebt {
    #[default]
    None,
    /// An acknowledgement, which may wait for company (RFC 9293 §3.8.6.3).
    Delayed,
    /// An acknowledgement at the end of this turn.
    Now,
}

/// What the one timer of what is outstanding is for (RFC 8985 §8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LossTimer {
    /// The retransmission timeout, or the probe of a closed window.
    Timeout,
    /// The tail loss probe.
    Probe,
    /// What may be reordered becomes lost.
    Reordering,
    /// Nothing is outstanding but the peer's FIN, and nobody owns the connection: the end of patience with FIN_WAIT_2.
    PeersFin,
}

/// What every connection must do by when. `Instant::MAX`: nothing. What few must do is in
/// [`Rare`] and [`Bulk`](super::rare::Bulk).
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    pub(super) retransmit: Instant,
    pub(super) delayed_ack: Instant,
}

impl Deadlines {
    pub(super) const NONE: Deadlines = Deadlines { retransmit: Instant::MAX, delayed_ack: Instant::MAX };
}

/// Where a connection stands besides its slot.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Listed {
    /// In the list of connections with something to send.
    pub(super) work: bool,
    /// In the list of connections with news.
    pub(super) ready: bool,
    /// In the flow table.
    pub(super) flows: bool,
    /// In the line of connections that hold something out of order.
    pub(super) disordered: Place,
    /// In the line of writers who found no buffers. Who was served may write a segment, however much is held.
    pub(super) hungry: Place,
}

/// Where a connection stands in a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Place {
    /// Not in it, or no more: whoever finds it there strikes it.
    #[default]
    None,
    InLine,
    /// It was its turn a moment ago.
    Served,
}

#[derive(Debug)]
pub(crate) struct Connection<F> {
    pub(super) tuple: Tuple,
    /// [`Tuple::address_sum`].
    pub(super) address_sum: u16,
    /// [`Tuple::is_v4`]: every segment that leaves asks.
    pub(super) is_v4: bool,
    pub(super) state: State,
    /// The next hop, remembered so that a segment needs no route lookup.
    pub(super) neighbor: Option<NeighborId>,
    pub(super) ttl: u8,
    /// DSCP, in the upper six bits of IPv4's type of service and IPv6's traffic class.
    pub(super) tos: u8,

    // Send sequence space (RFC 9293 §3.3.1)
    pub(super) iss: Seq,
    pub(super) snd_una: Seq,
    pub(super) snd_nxt: Seq,
    /// SND.WND, scaled.
    pub(super) snd_wnd: u32,
    /// Of the segment that told SND.WND: until the handshake is over that was the peer's SYN, and this is IRS.
    pub(super) snd_wl1: Seq,
    /// MAX.SND.WND (RFC 5961 §5.2) and the yardstick of silly windows (RFC 9293 §3.8.6.2.1).
    pub(super) max_snd_wnd: u32,
    pub(super) snd_wscale: u8,
    /// Payload of a full segment: the peer's MSS, within our MTU, less the options of every segment.
    pub(super) mss: u32,

    // Receive sequence space
    pub(super) rcv_nxt: Seq,
    /// Right edge of the window that the peer knows of: RCV.NXT + RCV.WND. Never moves left (SHLD-14).
    pub(super) rcv_adv: Seq,
    pub(super) rcv_wscale: u8,
    /// Bytes that are kept for the application: the largest window.
    pub(super) space_len: u32,
    /// RCV.NXT from which on the window may be worth opening: what is cheap to look at.
    pub(super) window_opens_at: Seq,

    // Options of both directions
    pub(super) sack_ok: bool,
    pub(super) timestamps_ok: bool,
    pub(super) window_scaling_ok: bool,
    /// TS.Recent (RFC 7323 §4.3), and when it was set, as `age_stamp` has it (§5.5: it ages).
    pub(super) ts_recent: u32,
    pub(super) ts_recent_at: u32,
    /// Last.ACK.sent
    pub(super) last_ack_sent: Seq,
    /// What is added to the clock, so that timestamps tell nothing of other connections (RFC 7323 §5.4).
    pub(super) ts_offset: u32,
    /// When this connection last answered a segment that may be a forger's (RFC 5961 §7), in milliseconds; 0 is never. A
    /// peer's keep-alive is such a segment, so it is no rare thing.
    pub(super) challenged_ms: u32,

    pub(super) rtt: Rtt,
    pub(super) congestion: Controller,
    pub(super) recovery: Recovery,
    pub(super) backoff: u8,
    pub(super) retries: u8,
    pub(super) last_sent_at: Instant,
    /// When what was sent so far has left, at the pacing rate.
    pub(super) pace_at: Instant,
    pub(super) tally: Tally,

    pub(super) send: SendQueue<F>,
    pub(super) receive: ReceiveQueue<F>,
    pub(super) out_of_order: Option<Box<Assembler<F>>>,

    pub(super) deadlines: Deadlines,
    /// What `deadlines.retransmit` is for.
    pub(super) loss_timer: LossTimer,
    pub(super) timer: Timer,

    pub(super) ack_debt: AckDebt,
    /// ACKs owed beyond that one: a peer without SACK finds its loss by counting duplicates (RFC 5681 §4.2).
    pub(super) duplicates_owed: u8,
    pub(super) nodelay: bool,
    /// The application shut down writing: a FIN follows the queue.
    pub(super) fin_queued: bool,
    /// The peer's FIN was received.
    pub(super) fin_received: bool,
    /// Send at least one segment whatever the window says: a timeout's retransmission, or a probe.
    pub(super) force: bool,
    /// Bytes of buffers held, as TCP's account has them.
    pub(super) charged_len: usize,
    /// Nothing is going on but data: [`is_steady`](Connection::is_steady) when somebody last looked. What changes
    /// it for the better may leave it, what changes it for the worse must not.
    pub(super) steady: bool,
    /// The application made room that the peer has not been told of.
    pub(super) window_due: bool,
    /// A writer waits for room.
    pub(super) write_blocked: bool,
    /// An acknowledgement proved since the last look that the next hop forwards what we send.
    pub(super) progressed: bool,
    pub(super) listed: Listed,
    /// The application, or an accept queue, has a handle.
    pub(super) owned: bool,
    /// The listener that this connection is for, until it was accepted.
    pub(super) listener: Option<ListenerId>,
    pub(super) events: Ready,
    /// Who waits for text, by the name that was left for it.
    pub(super) reader: Option<NonZeroU64>,
    /// Others than named readers may wait for text.
    pub(super) watched: bool,
    pub(super) rare: Option<Box<Rare>>,
}

/// The one timer of a connection: its place in the wheel, and when it fires, which may be earlier than any deadline, never
/// later.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timer {
    pub(super) key: Option<TimerKey>,
    pub(super) at: Instant,
}

impl Timer {
    pub(super) const STOPPED: Timer = Timer { key: None, at: Instant::MAX };
}

/// What the first segments of a connection are made of.
pub(super) struct Opening {
    pub(super) tuple: Tuple,
    pub(super) state: State,
    pub(super) iss: Seq,
    pub(super) ts_offset: u32,
    pub(super) mss: u32,
    pub(super) now: Instant,
}

impl<F: Frame> Connection<F> {
    pub(super) fn new(opening: Opening, config: &Config) -> Connection<F> {
        Connection {
            tuple: opening.tuple,
            address_sum: opening.tuple.address_sum(),
            is_v4: opening.tuple.is_v4(),
            state: opening.state,
            neighbor: None,
            ttl: config.ttl,
            tos: 0,
            iss: opening.iss,
            snd_una: opening.iss,
            snd_nxt: opening.iss,
            snd_wnd: 0,
            snd_wl1: Seq(0),
            max_snd_wnd: 0,
            snd_wscale: 0,
            mss: opening.mss,
            rcv_nxt: Seq(0),
            rcv_adv: Seq(0),
            rcv_wscale: window_scale(config),
            space_len: config.receive_buffer_len.min(u32::MAX as usize) as u32,
            window_opens_at: Seq(0),
            sack_ok: config.sack,
            timestamps_ok: config.timestamps,
            window_scaling_ok: config.window_scaling,
            ts_recent: 0,
            ts_recent_at: 0,
            last_ack_sent: Seq(0),
            ts_offset: opening.ts_offset,
            challenged_ms: 0,
            rtt: Rtt::default(),
            congestion: Controller::new(config.congestion, opening.mss),
            recovery: Recovery::new(),
            backoff: 0,
            retries: 0,
            last_sent_at: opening.now,
            pace_at: opening.now,
            tally: Tally::default(),
            send: SendQueue::new(opening.iss + 1),
            receive: ReceiveQueue::default(),
            out_of_order: None,
            deadlines: Deadlines::NONE,
            loss_timer: LossTimer::Timeout,
            timer: Timer::STOPPED,
            ack_debt: AckDebt::None,
            duplicates_owed: 0,
            nodelay: false,
            fin_queued: false,
            fin_received: false,
            force: false,
            charged_len: 0,
            steady: false,
            window_due: false,
            write_blocked: false,
            progressed: false,
            listed: Listed::default(),
            owned: false,
            listener: None,
            events: Ready::EMPTY,
            reader: None,
            watched: false,
            rare: None,
        }
    }

    /// Takes the options of the peer's SYN: each holds only if both sides offered it.
    pub(super) fn negotiate(&mut self, options: &Options, mss_default: u32, mss_max: u32) {
        let mss = options.mss.map_or(mss_default, |mss| u32::from(mss).max(MSS_MIN));
        self.timestamps_ok &= options.timestamps.is_some();
        self.sack_ok &= options.sack_permitted;
        self.recovery.has_sack = self.sack_ok;
        self.window_scaling_ok &= options.window_scale.is_some();
        if self.window_scaling_ok {
            // RFC 7323 §2.3: a shift above 14 counts as 14.
            self.snd_wscale = options.window_scale.unwrap_or(0).min(14);
        } else {
            self.rcv_wscale = 0;
        }
        let options_len = if self.timestamps_ok { TIMESTAMPS_LEN } else { 0 };
        // A link too narrow for any payload has a byte of it nevertheless, rather than a division by zero.
        self.mss = mss.min(mss_max).saturating_sub(options_len).max(1);
        self.congestion.set_initial_window(self.mss);
        if let Some(Timestamps { val, .. }) = options.timestamps {
            self.ts_recent = val;
        }
    }

    /// What is new for the application, if it has the connection already.
    #[inline(always)]
    pub(super) fn take_news(&mut self) -> Ready {
        self.listed.ready = false;
        let events = core::mem::take(&mut self.events);
        if likely(self.owned) && likely(self.listener.is_none()) { events } else { Ready::EMPTY }
    }

    /// Leaves a name for when there is text, unless there is some, or who waits may not be told by names alone. Returns
    /// whether it did: then whoever left it has to wait.
    #[inline(always)]
    pub(super) fn leave_name(&mut self, reader: Option<NonZeroU64>) -> bool {
        let may_wait = reader.is_some() && !self.watched && self.is_drained();
        if likely(may_wait) {
            self.reader = reader;
        }
        may_wait
    }

    /// Whether there is nothing to read at present, on a connection where nothing is going on but data.
    #[inline(always)]
    fn is_drained(&self) -> bool {
        self.steady && self.receive.is_empty()
    }

    /// Bytes outstanding, the SYN's and FIN's places in the sequence included.
    #[inline]
    pub(super) fn flight(&self) -> u32 {
        self.snd_nxt - self.snd_una
    }

    /// Whether the peer has every byte that was written, the FIN aside. Also of a connection that is over, whose queue is
    /// empty.
    pub(super) fn is_data_acknowledged(&self) -> bool {
        !self.send.end().after(self.snd_una)
    }

    /// Whether nothing is going on but data one way, the other, or both: nothing lost, nothing missing, nobody
    /// leaving, nothing to report.
    pub(super) fn is_steady(&self) -> bool {
        self.state == State::Established
            // What looks like a loopback segment and takes the short way would not be asked where it comes from.
            && !self.tuple.is_loopback()
            && self.recovery.is_quiet()
            && self.out_of_order.is_none()
            && self.rare().is_none_or(Rare::is_quiet)
            && !self.force
            && self.recovery.ecn.is_quiet()
            // Each of its segments is measured.
            && !self.congestion.is_model_based()
            && self.retries | self.backoff | self.duplicates_owed == 0
            && (self.owned || self.listener.is_some())
    }

    /// Sequence number of our FIN, once one is queued.
    #[inline]
    pub(super) fn fin_seq(&self) -> Option<Seq> {
        self.fin_queued.then(|| self.send.end())
    }

    /// Bytes written and never sent.
    #[inline]
    pub(super) fn unsent_len(&self) -> u32 {
        self.send.end().since(self.snd_nxt)
    }

    /// Whether there is data or a FIN that was never sent.
    #[inline]
    pub(super) fn has_unsent(&self) -> bool {
        self.unsent_len() > 0 || self.fin_seq() == Some(self.snd_nxt)
    }

    /// RCV.WND that the peer knows of.
    #[inline]
    pub(super) fn rcv_wnd(&self) -> u32 {
        self.rcv_adv.since(self.rcv_nxt)
    }

    /// The right edge that we could advertise: what the buffer has room for, never left of what was promised,
    /// and moving only by steps worth a segment (silly window avoidance, RFC 9293 §3.8.6.2.2).
    #[inline]
    pub(super) fn window_edge(&self) -> Seq {
        let room = self.space_len.saturating_sub(self.receive.len() as u32);
        // No more than the window field can say.
        let room = room.min(u32::from(u16::MAX) << self.rcv_wscale);
        let edge = self.rcv_nxt + room;
        let gain = edge.since(self.rcv_adv);
        if gain >= self.window_step() { edge } else { self.rcv_adv }
    }

    /// By how much the window opens at least.
    #[inline]
    pub(super) fn window_step(&self) -> u32 {
        self.mss.min(self.space_len / 2)
    }

    /// Bytes received since the last acknowledgement went out.
    #[inline(always)]
    pub(super) fn unacked_len(&self) -> u32 {
        self.rcv_nxt - self.last_ack_sent
    }

    /// Whether [`window_edge`](Self::window_edge) may be right of what the peer knows: what is cheap to know.
    #[inline(always)]
    pub(super) fn may_open_window(&self) -> bool {
        self.rcv_nxt.at_or_after(self.window_opens_at)
    }

    /// Bytes from the next that the application reads to the end of what is urgent (RFC 9293 §3.8.5, MUST-33).
    pub(super) fn urgent_len(&self) -> u32 {
        let up = self.rare().and_then(|rare| rare.rcv_up);
        up.map_or(0, |up| up.since(self.consumed()))
    }

    /// The next byte that the application reads.
    pub(super) fn consumed(&self) -> Seq {
        self.rcv_nxt - self.receive.len() as u32 - u32::from(self.fin_received)
    }

    /// The application read something: perhaps all that was urgent.
    #[cold]
    pub(super) fn forget_urgent(&mut self) {
        if self.urgent_len() == 0
            && let Some(rare) = &mut self.rare
        {
            rare.rcv_up = None;
        }
    }

    /// Bytes of buffers held.
    #[inline]
    pub(super) fn memory_len(&self) -> usize {
        let held = self.send.memory_len() + self.receive.memory_len();
        match &self.out_of_order {
            None => held,
            Some(assembler) => held + assembler.memory_len(),
        }
    }

    /// Bytes of buffers held of what waits behind a hole.
    #[inline]
    pub(super) fn out_of_order_memory_len(&self) -> usize {
        self.out_of_order.as_ref().map_or(0, |assembler| assembler.memory_len())
    }

    /// The timestamp clock: milliseconds.
    #[inline]
    pub(super) fn ts_now(&self, now: Instant) -> u32 {
        (now.as_millis() as u32).wrapping_add(self.ts_offset)
    }

    /// The timestamps option of the next segment.
    #[inline]
    pub(super) fn timestamps(&self, now: Instant) -> Option<Timestamps> {
        self.timestamps_ok.then(|| Timestamps { val: self.ts_now(now), ecr: self.ts_recent })
    }

    #[inline]
    pub(super) fn rto_ns(&self, config: &Config) -> u64 {
        self.rtt.rto_us(self.backoff, config) * 1000
    }

    #[inline]
    pub(super) fn owe_ack(&mut self, debt: AckDebt) {
        self.ack_debt = self.ack_debt.max(debt);
    }

    /// The sequence number of what carries no data. A peer whose window is shut did not take the byte that probed it, and
    /// would find what stands behind that outside of its window (Linux's `tcp_acceptable_seq`).
    #[inline]
    pub(super) fn bare_seq(&self) -> Seq {
        if self.snd_wnd == 0 { self.snd_una } else { self.snd_nxt }
    }

    /// Bytes that congestion and flow control let go now, in addition to what is outstanding.
    #[inline]
    pub(super) fn usable_window(&self) -> u32 {
        let cwnd = self.congestion.cwnd() + self.recovery.limited_transmit(self.mss);
        let pipe = self.recovery.pipe(self.snd_una, self.snd_nxt, self.mss);
        let peer = (self.snd_una + self.snd_wnd).since(self.snd_nxt);
        cwnd.saturating_sub(pipe).min(peer)
    }

    /// What the application can do now.
    pub(super) fn ready(&self, config: &Config) -> Ready {
        let mut ready = Ready::EMPTY;
        let closed = self.state == State::Closed;
        if !self.receive.is_empty() {
            ready |= Ready::READABLE;
        }
        if self.fin_received || closed {
            ready |= Ready::READABLE | Ready::READ_CLOSED;
        }
        if closed || self.fin_queued {
            ready |= Ready::WRITABLE | Ready::WRITE_CLOSED;
        } else if self.state.can_send()
            && (self.state.is_synchronized() || self.is_early())
            // Who was turned away waits until it is worth while: a full buffer is not all that a write may meet.
            && !self.write_blocked
            && self.send.room(self.send_buffer_len(config)) > 0
        {
            ready |= Ready::WRITABLE;
        }
        if self.urgent_len() > 0 {
            ready |= Ready::PRIORITY;
        }
        if self.has_failed() {
            ready |= Ready::ERROR;
        }
        ready
    }

    /// The connection is over. What was received stays readable; everything else goes home.
    pub(super) fn enter_closed(&mut self, error: Option<Error>) {
        self.state = State::Closed;
        self.listed.hungry = Place::None;
        self.send.clear();
        self.out_of_order = None;
        self.forget_deadlines();
        self.ack_debt = AckDebt::None;
        self.force = false;
        self.events |= Ready::READABLE | Ready::WRITABLE | Ready::READ_CLOSED | Ready::WRITE_CLOSED;
        if let Some(rare) = &mut self.rare {
            (rare.hard_error, rare.probing) = (None, None);
        }
        if let Some(error) = error {
            self.rare_mut().hard_error = Some(Box::new(error));
            self.events |= Ready::ERROR;
        }
    }

    /// The first of all deadlines.
    #[inline]
    pub(super) fn deadline(&self) -> Instant {
        let mut at = self.deadlines.retransmit.min(self.deadlines.delayed_ack);
        if let Some(rare) = &self.rare {
            at = at.min(rare.idle_at.unwrap_or(Instant::MAX));
        }
        if let Some(bulk) = &self.congestion.bulk {
            at = at.min(bulk.held_until);
        }
        at
    }

    /// Nothing is to be done any more.
    pub(super) fn forget_deadlines(&mut self) {
        self.deadlines = Deadlines::NONE;
        self.set_idle_at(None);
        if let Some(bulk) = &mut self.congestion.bulk {
            bulk.held_until = Instant::MAX;
        }
    }
}

/// A peer that asks for less makes us send more headers than data; Linux's `tcp_min_snd_mss` is 48.
const MSS_MIN: u32 = 64;

/// Bytes that the timestamps option takes in every segment.
pub(super) const TIMESTAMPS_LEN: u32 = 12;

/// The shift of our windows: they cover the largest buffer that a connection may get.
pub(super) fn window_scale(config: &Config) -> u8 {
    let buffer_len = config.receive_buffer_len.max(config.receive_buffer_len_max);
    if config.window_scaling { window_scale_for(buffer_len) } else { 0 }
}

/// The smallest shift with which the whole buffer can be advertised (RFC 7323 §2.2).
fn window_scale_for(buffer_len: usize) -> u8 {
    (0..14).find(|shift| buffer_len >> shift <= usize::from(u16::MAX)).unwrap_or(14)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::rare::Bulk;
    use crate::tcp::recovery::Repair;

    #[test]
    fn the_scale_covers_the_buffer() {
        assert_eq!([1000, 65_535, 65_536, 1 << 20, 1 << 30].map(window_scale_for), [0, 0, 1, 5, 14]);
    }

    #[test]
    fn a_connection_is_small() {
        let len = size_of::<Connection<hayase_device::heap::HeapFrame>>();
        assert!(len <= 424, "{len} bytes");
        let boxes = [size_of::<Rare>(), size_of::<Bulk>(), size_of::<Repair>()];
        assert!(boxes.iter().zip([112, 96, 160]).all(|(len, max)| *len <= max), "{boxes:?} bytes");
    }
}

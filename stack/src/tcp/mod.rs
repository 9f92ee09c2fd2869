//! TCP (RFC 9293).
//!
//! The way in: [`Tcp::receive`] finds the connection and hands the segment to
//! [`segment_arrives`], which reads like §3.10.7. The way out: [`Tcp::transmit`] asks every connection that has
//! something to say for its [`output`]. Nothing walks over all connections: work, news and timers are lists.

mod ack;
mod agenda;
mod assembler;
mod bbr;
mod buffers;
mod challenges;
mod congestion;
pub(crate) mod connection;
mod cookie;
mod cubic;
pub(crate) mod ecn;
mod emit;
mod fastopen;
mod flight;
pub(crate) mod flow;
mod frto;
mod hystart;
pub(crate) mod icmp;
mod info;
mod isn;
mod keepalive;
mod listener;
mod loss;
pub(crate) mod migrate;
mod mishaps;
mod model;
mod newreno;
mod open;
mod options;
mod output;
mod pacing;
mod path_mtu;
mod ports;
mod prediction;
pub(crate) mod pressure;
mod prr;
mod rack;
mod rare;
mod rate;
mod receive_queue;
mod recovery;
mod rtt;
mod run;
mod segment;
mod segment_arrives;
mod send_queue;
mod socket;
mod state;
mod stateless;
mod stuck;
mod syn_sent;
mod time_wait;
mod timers;
mod tlp;
mod train;
mod undo;
mod user_timeout;
mod usual;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::num::NonZeroU64;

use hayase_device::hint::{likely, unlikely, usually};
use hayase_device::{Caps, Device, Frame};
use hayase_time::Instant;

use self::agenda::{Agenda, Timed};
use self::challenges::Challenges;
use self::connection::{AckDebt, Connection, Place, Timer};
use self::fastopen::FastOpens;
use self::flow::{Flow, Flows, Tuple};
use self::listener::{Listener, Listeners};
use self::output::Output;
use self::ports::Ports;
use self::pressure::Pressure;
use self::segment::{Reply, Segment, Stop};
use self::segment_arrives::Context;
use self::stuck::Watch;
use self::time_wait::{Arrival, TimeWait, TimeWaits};
use crate::config::Config;
use crate::counters::{Count, Counters, Drop};
use crate::egress::Egress;
use crate::random::Random;
use crate::slab::Slab;
use crate::socket::{ListenerId, Ready, Socket, TcpId};
use crate::wire::tcp::{Flags, TcpHeader};

pub use self::congestion::Congestion;
pub use self::ecn::Ecn;
pub use self::info::{CaState, TcpInfo};
pub use self::keepalive::Keepalive;
pub use self::options::TcpOptions;
pub use self::state::State;

/// Replies that wait for the end of the turn. A flood of segments to closed ports is answered up to here.
const REPLIES_MAX: usize = 1024;

/// Connections that find no buffer in a turn before no other is asked.
const MUTE_MAX: usize = 64;

/// All of TCP's state.
#[derive(Debug)]
pub(crate) struct Tcp<F> {
    connections: Slab<Connection<F>>,
    flows: Flows,
    listeners: Listeners,
    time_waits: TimeWaits,
    agenda: Agenda,
    /// Connections that hold something out of order, the longest first, and some that did.
    disordered: VecDeque<u32>,
    /// Writers who found no buffers, the longest first, and some who did.
    hungry: VecDeque<u32>,
    /// Writers who were in that line and may write now, since when, where little may be written.
    served: Vec<(u32, Instant)>,
    /// Bytes that were written since data was sent last, but for those that took the shortest way, and in how many writes.
    written_len: usize,
    written_count: usize,
    /// Connections that had something to say in this turn, and no buffer to say it in.
    mute_count: usize,
    /// There may be something for those in the line. If not, nothing but time, or what is let go of, will help.
    can_feed: bool,
    /// When some writers could have a segment although too much is held, and what was held then.
    spared_at: Instant,
    spared_at_len: usize,
    /// Who may have to go, should it come to that.
    watch: Watch,
    /// Of the account of buffers, what datagrams take.
    datagrams_len: usize,
    replies: VecDeque<Reply>,
    /// Replies for which there was no room, and which were not counted yet.
    lost_replies_count: u64,
    challenges: Challenges,
    fast_opens: FastOpens,
    ports: Ports,
    /// What the device can do, as far as filling frames is concerned.
    caps: Caps,
    /// The device took no more, or its pool was dry, when we last sent: nothing but time or frames that come home
    /// will help.
    is_stalled: bool,
}

impl<F: Frame> Tcp<F> {
    pub(crate) fn new(config: &Config, caps: &Caps, random: &Random, now: Instant) -> Tcp<F> {
        Tcp {
            connections: Slab::new(config.connections_max),
            flows: Flows::new(random),
            listeners: Listeners::new(config, random),
            time_waits: TimeWaits::new(config),
            agenda: Agenda::new(now),
            disordered: VecDeque::new(),
            hungry: VecDeque::new(),
            served: Vec::new(),
            mute_count: 0,
            written_len: 0,
            written_count: 0,
            can_feed: false,
            spared_at: now,
            spared_at_len: 0,
            watch: Watch::default(),
            datagrams_len: 0,
            replies: VecDeque::new(),
            lost_replies_count: 0,
            challenges: Challenges::new(config, random),
            fast_opens: FastOpens::new(config, random),
            ports: Ports::new(),
            caps: *caps,
            is_stalled: false,
        }
    }

    pub(crate) fn set_caps(&mut self, caps: &Caps) {
        self.caps = *caps;
    }

    /// Connections in every state but TIME_WAIT, and those in it.
    pub(crate) fn count(&self) -> usize {
        self.connections.len() + self.time_waits.len()
    }

    /// A segment whose checksum is right. Gives it back if it belongs to no connection: the caller then looks
    /// whether such addresses may open one, and calls [`receive_stranger`](Self::receive_stranger).
    #[inline]
    pub(crate) fn receive(
        &mut self,
        tuple: &Tuple,
        header: &TcpHeader,
        payload: F,
        turn: &mut Turn<'_>,
    ) -> Result<Result<(), Drop>, F> {
        turn.counters.count(Count::InSegs);
        match self.find(tuple) {
            Some(Flow::Connection(index)) => {
                Ok(self.connection_receive(index, Segment::new(header, payload), turn))
            }
            Some(Flow::TimeWait(index)) => {
                Ok(self.time_wait_receive(index, *tuple, Segment::new(header, payload), turn))
            }
            None => Err(payload),
        }
    }

    /// A segment that belongs to no connection, between addresses that may have one.
    pub(crate) fn receive_stranger(
        &mut self,
        tuple: &Tuple,
        header: &TcpHeader,
        payload: F,
        turn: &mut Turn<'_>,
    ) -> Result<(), Drop> {
        self.listen_receive(*tuple, Segment::new(header, payload), None, turn)
    }

    #[inline]
    fn find(&self, tuple: &Tuple) -> Option<Flow> {
        self.flows.find(tuple, |flow| match flow {
            Flow::Connection(index) => self.connections.get(index).is_some_and(|c| c.tuple == *tuple),
            Flow::TimeWait(index) => self.time_waits.get(index).is_some_and(|entry| entry.tuple == *tuple),
        })
    }

    #[inline]
    fn connection_receive(
        &mut self,
        index: u32,
        segment: Segment<'_, F>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Drop> {
        let Some(connection) = self.connections.get_mut(index) else { return Err(Drop::NoSocket) };
        let was_half_open = connection.state == State::SynReceived;
        let asked = connection.state == State::SynSent && connection.fast_open().is_some();
        let header = segment.header;
        if was_half_open && !connection.is_early() && segment.has(Flags::ACK) && !segment.has(Flags::RST) {
            // MUST-58's sibling: with a full accept queue the handshake is not finished; the peer tries again.
            if let Some(listener) = connection.listener.and_then(|id| self.listeners.get(id))
                && !listener.has_room()
            {
                return Err(Drop::ListenOverflow);
            }
        }
        let mut cx = Context {
            now: turn.now,
            config: turn.config,
            counters: turn.counters,
            challenges: &mut self.challenges,
            pressure: Pressure::of(self.agenda.memory_len, turn.config.memory_len_max),
            is_marked: turn.is_marked,
        };
        let result = connection.segment_arrives(segment, &mut cx);
        let is_disordered = connection.out_of_order.is_some() && connection.listed.disordered == Place::None;
        if was_half_open && connection.state != State::SynReceived {
            self.leave_half_open(index, turn);
        }
        if asked {
            self.learn_fast_open(index, header, turn.now, turn.counters);
        }
        if let Err(Stop::Reset(reset)) = result {
            self.reply(reset.into());
        }
        self.settle(index, turn.now, turn.config);
        if is_disordered {
            self.note_disordered(index);
        }
        self.relieve_if_needed(turn.now, turn.config, turn.counters);
        match result {
            Ok(()) => Ok(()),
            Err(Stop::Drop(Drop::TcpClose)) if !self.connections_has(index) => Ok(()),
            Err(Stop::Drop(reason)) => Err(reason),
            Err(Stop::Reset(_)) if !self.connections_has(index) => Err(Drop::TcpClose),
            Err(Stop::Reset(_)) => Err(Drop::TcpFlags),
        }
    }

    fn connections_has(&self, index: u32) -> bool {
        self.connections.get(index).is_some_and(|connection| connection.state != State::Closed)
    }

    fn time_wait_receive(
        &mut self,
        index: u32,
        tuple: Tuple,
        segment: Segment<'_, F>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Drop> {
        let Some(entry) = self.time_waits.get(index) else { return Err(Drop::NoSocket) };
        match entry.arrives(&segment, turn.now) {
            Arrival::Ignored => Err(Drop::TcpOldData),
            Arrival::Answer(reply) => {
                self.reply(reply);
                Ok(())
            }
            Arrival::Repeated(reply) => {
                let at = turn.now.after_micros(turn.config.time_wait_us.into());
                self.time_waits.renew(index, turn.now, at);
                self.reply(reply);
                Ok(())
            }
            Arrival::Closed => {
                self.remove_time_wait(index);
                Ok(())
            }
            Arrival::Reopen if !self.has_room_for(&tuple) => {
                // The entry is of more use than a SYN that comes to nothing: its peer may lack our last ACK yet.
                let answer = entry.answer(turn.now);
                self.reply(answer);
                Ok(())
            }
            Arrival::Reopen => {
                turn.counters.count(Count::TwRecycled);
                let predecessor = entry.snd_nxt;
                self.remove_time_wait(index);
                self.listen_receive(tuple, segment, Some(predecessor), turn)
            }
        }
    }

    /// Whether a connection between these ends may be opened by the peer.
    fn has_room_for(&self, tuple: &Tuple) -> bool {
        let listener = self.listeners.find(tuple.local_ip(), tuple.local_port());
        let has_room = listener.and_then(|id| self.listeners.get(id)).is_some_and(Listener::has_room);
        has_room && !self.connections.is_full()
    }

    fn remove_time_wait(&mut self, index: u32) {
        if let Some(entry) = self.time_waits.remove(index) {
            self.flows.remove(&entry.tuple, Flow::TimeWait(index));
        }
    }

    /// Queues a reply for the end of the turn. Whether there was room.
    fn reply(&mut self, reply: Reply) -> bool {
        let has_room = self.replies.len() < REPLIES_MAX;
        if has_room {
            self.replies.push_back(reply);
        } else {
            self.lost_replies_count += 1;
        }
        has_room
    }

    /// What any change of a connection may entail: news, work, a timer, its end.
    #[inline]
    fn settle(&mut self, index: u32, now: Instant, config: &Config) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        // The short way knows of no tags, so that it need not ask.
        connection.steady = config.vlan.is_none() && connection.is_steady();
        self.agenda.note(connection, index);
        if matches!(connection.state, State::Closed | State::TimeWait) {
            self.retire(index, now, config);
        }
    }

    /// Moves a connection on that both sides closed, and lets go of one that nobody needs.
    #[cold]
    fn retire(&mut self, index: u32, now: Instant, config: &Config) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        if connection.state == State::TimeWait && connection.listed.flows {
            self.enter_time_wait(index, now, config);
        }
        self.leave_early(index, now);
        let Some(connection) = self.connections.get_mut(index) else { return };
        if connection.listed.flows {
            connection.listed.flows = false;
            let tuple = connection.tuple;
            self.flows.remove(&tuple, Flow::Connection(index));
        }
        if !connection.owned {
            self.agenda.strike(connection);
            self.connections.remove(index);
            self.agenda.tidy_work_if_needed(&mut self.connections);
        }
    }

    fn enter_time_wait(&mut self, index: u32, now: Instant, config: &Config) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        connection.listed.flows = false;
        connection.forget_deadlines();
        let entry = TimeWait::of(connection, now);
        let owes_ack = connection.ack_debt != AckDebt::None;
        self.flows.remove(&entry.tuple, Flow::Connection(index));
        if owes_ack {
            self.reply(entry.answer(now));
        }
        let (added, evicted) = self.time_waits.insert(entry, now.after_micros(config.time_wait_us.into()));
        if let Some((old, entry)) = evicted {
            self.flows.remove(&entry.tuple, Flow::TimeWait(old));
        }
        if let Some(added) = added {
            self.flows.insert(&entry.tuple, Flow::TimeWait(added));
        }
    }

    /// Runs every timer that is due.
    pub(crate) fn expire<D>(&mut self, egress: &mut Egress<'_, F, D>, config: &Config)
    where
        D: Device<Frame = F>,
    {
        let now = egress.now;
        while let Some(index) = self.agenda.wheel.expire(now).map(Timed::index) {
            let Some(connection) = self.connections.get_mut(index) else { continue };
            connection.timer = Timer::STOPPED;
            if connection.deadline() > now {
                self.agenda.rearm(connection, index);
                continue;
            }
            let was_half_open = connection.state == State::SynReceived;
            if let Some(reset) = connection.expire(egress, config) {
                self.reply(reset);
            }
            let is_over = |c: &Connection<F>| c.state == State::Closed && !c.is_early();
            if was_half_open && self.connections.get(index).is_some_and(is_over) {
                self.abandon_half_open(index);
            }
            self.settle(index, now, config);
        }
        self.agenda.wheel_at = self.agenda.wheel.next_deadline().unwrap_or(Instant::MAX);
        while let Some((index, entry)) = self.time_waits.expire(now) {
            self.flows.remove(&entry.tuple, Flow::TimeWait(index));
        }
    }

    /// Sends what connections have to say. Returns how many of them spoke.
    #[inline]
    pub(crate) fn transmit<D>(&mut self, egress: &mut Egress<'_, F, D>, config: &Config) -> usize
    where
        D: Device<Frame = F>,
    {
        let replied = self.transmit_replies(egress, config);
        self.is_stalled = !self.replies.is_empty();
        let mut work = core::mem::take(&mut self.agenda.work);
        let mut spoke = work.iter().take_while(|index| self.transmit_one(**index, egress, config)).count();
        // Whoever the device turned away is first when it has room again.
        work.drain(..spoke);
        work.append(&mut self.agenda.work);
        self.agenda.work = work;
        if unlikely(self.is_stalled) {
            let mute_count = core::mem::take(&mut self.mute_count);
            spoke -= mute_count;
            // Not always the same one gets the only buffer that comes home.
            self.agenda.work.rotate_left(mute_count.min(1));
        }
        if unlikely(self.written_len | self.hungry.len() > 0) {
            self.feed(egress, config);
        }
        replied + spoke
    }

    /// Sends what one connection has to say. Returns whether the device can take more.
    #[inline(always)]
    fn transmit_one<D>(&mut self, index: u32, egress: &mut Egress<'_, F, D>, config: &Config) -> bool
    where
        D: Device<Frame = F>,
    {
        let Some(connection) = usually(self.connections.get_mut(index)) else { return true };
        connection.listed.work = false;
        if likely(connection.output_steadily(egress, config)) {
            // No other deadline comes nearer by it.
            if unlikely(connection.deadlines.retransmit < connection.timer.at) {
                self.agenda.rearm(connection, index);
            }
            return true;
        }
        self.transmit_any(index, egress, config)
    }

    /// The same for whatever a connection may have to say. By itself: what is usual needs the registers.
    #[inline(never)]
    fn transmit_any<D>(&mut self, index: u32, egress: &mut Egress<'_, F, D>, config: &Config) -> bool
    where
        D: Device<Frame = F>,
    {
        let Some(connection) = self.connections.get_mut(index) else { return true };
        connection.open_window();
        let output = connection.output(egress, config);
        // Output moves deadlines; it ends no connection.
        self.agenda.announce(connection, index);
        self.agenda.schedule(connection, index);
        match output {
            Output::Done => {}
            Output::Blocked => {
                connection.listed.work = true;
                self.is_stalled = true;
                return egress.device.room() > 0 && self.pass_over(index);
            }
            Output::More => {
                connection.listed.work = true;
                self.agenda.work.push(index);
            }
        }
        true
    }

    /// There is room, and no buffer: others may have theirs already, in what was written. So this one is asked again behind
    /// them. Whether there are others left to be asked in this turn. A full device would refuse all of them.
    #[cold]
    fn pass_over(&mut self, index: u32) -> bool {
        if self.mute_count >= MUTE_MAX {
            return false;
        }
        self.mute_count += 1;
        self.agenda.work.push(index);
        true
    }

    fn transmit_replies<D>(&mut self, egress: &mut Egress<'_, F, D>, config: &Config) -> usize
    where
        D: Device<Frame = F>,
    {
        let mut sent = 0;
        if likely(self.replies.is_empty()) {
            return sent;
        }
        // Only where many were to be sent, there may have been too many.
        if unlikely(self.replies.len() == REPLIES_MAX) {
            egress.counters.add_drops(Drop::FullRing, core::mem::take(&mut self.lost_replies_count));
        }
        while let Some(reply) = self.replies.pop_front() {
            if emit::reply(&reply, config.ttl, egress) == Output::Blocked {
                self.replies.push_front(reply);
                break;
            }
            sent += 1;
        }
        sent
    }

    /// Whether [`transmit`](Self::transmit) would find something to do.
    #[inline]
    pub(crate) fn has_output(&self) -> bool {
        self.has_speech() || !self.hungry.is_empty()
    }

    /// The same, of what it can do.
    #[inline]
    pub(crate) fn has_work(&self) -> bool {
        (!self.is_stalled && self.has_speech()) | self.can_feed
    }

    /// Whether connections, or replies to those of none, may have something to send.
    #[inline]
    fn has_speech(&self) -> bool {
        self.agenda.work.len() | self.replies.len() != 0
    }

    /// Whether the device or its pool holds up what is to be sent, or those who want to write.
    #[inline]
    pub(crate) fn is_stalled(&self) -> bool {
        self.is_stalled || !self.hungry.is_empty() && !self.can_feed
    }

    #[inline]
    pub(crate) fn deadline(&self) -> Instant {
        self.time_waits.deadline().map_or(self.agenda.wheel_at, |at| at.min(self.agenda.wheel_at))
    }

    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        !self.agenda.called.is_empty()
            || !self.agenda.ready.is_empty()
            || !self.agenda.ready_listeners.is_empty()
    }

    /// Names the readers who left their names and have something to read, once each.
    #[inline(always)]
    pub(crate) fn drain_called(&mut self, f: impl FnMut(NonZeroU64)) {
        self.agenda.called.drain(..).for_each(f);
    }

    /// Hands out the connections with news, once each.
    #[inline(always)]
    pub(crate) fn drain_ready(&mut self, mut f: impl FnMut(TcpId, Ready)) {
        for index in self.agenda.ready.drain(..) {
            // If it is the next tenant of a slot, it has its own news, once.
            let Some((connection, generation)) = usually(self.connections.get_mut_with_generation(index))
            else {
                continue;
            };
            let events = connection.take_news();
            if likely(!events.is_empty()) {
                if let Some(reader) = connection.reader
                    && events.wakes_reader()
                {
                    connection.reader = None;
                    self.agenda.called.push(reader);
                }
                f(TcpId { index, generation }, events);
            }
        }
    }

    /// Hands out the listeners with news, once each.
    pub(crate) fn drain_ready_listeners(&mut self, f: &mut dyn FnMut(Socket, Ready)) {
        for id in self.agenda.ready_listeners.drain(..) {
            let events = self.listeners.take_news(id);
            if !events.is_empty() {
                f(Socket::Listener(id), events);
            }
        }
    }

    fn notify_listener(&mut self, id: ListenerId) {
        if let Some(listener) = self.listeners.get_mut(id)
            && !listener.in_ready
        {
            listener.in_ready = true;
            self.agenda.ready_listeners.push(id);
        }
    }
}

/// What the processing of one frame may look at besides TCP's own state.
pub(crate) struct Turn<'a> {
    pub(crate) now: Instant,
    pub(crate) config: &'a Config,
    pub(crate) counters: &'a mut Counters,
    pub(crate) random: &'a Random,
    /// The largest packet that our link takes.
    pub(crate) mtu: usize,
    /// The packet met congestion on its way (CE, RFC 3168 §5).
    pub(crate) is_marked: bool,
}

//! Opening connections: passively for a SYN that a listener wants, actively for `connect`.

use core::net::{IpAddr, SocketAddr};

use hayase_device::Frame;
use hayase_time::Instant;

use super::connection::{Connection, Opening};
use super::flow::{Flow, Tuple};
use super::segment::{Reply, Segment};
use super::state::State;
use super::{Tcp, Turn, isn};
use crate::bind::{ephemeral_ports, ephemeral_ports_from};
use crate::config::Config;
use crate::counters::{Count, Counters, Drop};
use crate::egress::mss;
use crate::error::Error;
use crate::ip::address;
use crate::random::Random;
use crate::seq::Seq;
use crate::socket::{ListenerId, TcpId};
use crate::wire::tcp::Flags;

impl<F: Frame> Tcp<F> {
    /// A segment for which there is no connection: LISTEN (RFC 9293 §3.10.7.2) or CLOSED (§3.10.7.1).
    /// `predecessor` is where the sequence numbers of a connection between the same ends came to, if that is over
    /// but not forgotten.
    pub(super) fn listen_receive(
        &mut self,
        tuple: Tuple,
        segment: Segment<'_, F>,
        predecessor: Option<Seq>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Drop> {
        let listener = self.listeners.find(tuple.local_ip(), tuple.local_port());
        // First: a reset has nothing to reset.
        if segment.has(Flags::RST) {
            return Err(Drop::NoSocket);
        }
        // A host that talks to itself from outside, and a port that no application has (F10).
        if tuple.remote() == tuple.local() || tuple.remote_port() == 0 {
            return Err(Drop::IpInvalidSource);
        }
        let Some(listener) = listener.filter(|_| segment.has(Flags::SYN) && !segment.has(Flags::ACK)) else {
            if let Some(id) = listener
                && let Some(connection) = self.recall(tuple, id, &segment, turn)
            {
                return self.open_recalled(connection, segment, turn);
            }
            // Second: an ACK draws a reset, and so does anything sent to a closed port.
            if (listener.is_none() || segment.has(Flags::ACK))
                && let Some(reply) = Reply::to_nobody(tuple, &segment)
            {
                self.reply(reply);
            }
            return Err(Drop::NoSocket);
        };
        // Third: a SYN. A FIN beside it is no connection anybody wants.
        if segment.has(Flags::FIN) {
            return Err(Drop::TcpFlags);
        }
        self.open_passive(tuple, listener, segment, predecessor, turn)
    }

    fn open_passive(
        &mut self,
        tuple: Tuple,
        id: ListenerId,
        segment: Segment<'_, F>,
        predecessor: Option<Seq>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Drop> {
        self.listeners.get(id).filter(|listener| listener.has_room()).ok_or(Drop::ListenOverflow)?;
        let is_flooded = self.listeners.is_flooded(id, turn.config);
        // A predecessor's sequence numbers bind this one's: no place for a cookie.
        if is_flooded && turn.config.syn_cookies && predecessor.is_none() {
            self.answer_by_cookie(tuple, id, &segment, turn);
            return Ok(());
        }
        let opening =
            opening(tuple, State::SynReceived, mss(turn.mtu, tuple.local_ip()) as u32, turn.random, turn.now);
        // RFC 1122 §4.2.2.13: above everything that the predecessor sent, window included.
        let iss = predecessor.map_or(opening.iss, |last| opening.iss.max(last + ISS_STEP));
        if self.connections.is_full() {
            return Err(Drop::TooManySockets);
        }
        let mut connection = Connection::new(Opening { iss, ..opening }, turn.config);
        connection.listener = Some(id);
        if let Some(options) = self.listeners.get(id).and_then(|listener| listener.options.as_deref()) {
            connection.take_options(options, turn.now, turn.config);
        }
        connection.take_syn(segment.header, turn.now, turn.config);
        if let Some(fast) = self.judge_fast_open(id, &tuple, segment.header, turn) {
            connection.rare_mut().fast_open = Some(fast);
        }
        let is_early = connection.is_early();
        let Some(index) = self.insert(connection) else { return Err(Drop::TooManySockets) };
        if is_early {
            self.accept_early(index, segment, turn);
            return Ok(());
        }
        let child = TcpId { index, generation: self.connections.generation(index) };
        self.enqueue_half_open(id, child, turn);
        self.settle(index, turn.now, turn.config);
        Ok(())
    }

    fn enqueue_half_open(&mut self, id: ListenerId, child: TcpId, turn: &mut Turn<'_>) {
        let connections = &self.connections;
        let is_half_open = |id: TcpId| {
            connections.get_generation(id.index, id.generation).is_some_and(|c| c.state == State::SynReceived)
        };
        if let Some(evicted) = self.listeners.push_half_open(id, child, turn.config, is_half_open) {
            turn.counters.drop(Drop::SynQueueOverflow);
            if let Some(connection) = self.connections.get_mut(evicted.index) {
                connection.enter_closed(None);
            }
            self.abandon_half_open(evicted.index);
            self.settle(evicted.index, turn.now, turn.config);
        }
    }

    /// A half-open connection is one no more: it goes to the accept queue, or it died.
    pub(super) fn leave_half_open(&mut self, index: u32, turn: &mut Turn<'_>) {
        let generation = self.connections.generation(index);
        let Some(connection) = self.connections.get_mut(index) else { return };
        if connection.is_early() {
            return self.leave_early(index, turn.now);
        }
        drop(connection.take_fast_open());
        let Some(id) = connection.listener else { return };
        if connection.state == State::Closed {
            return self.abandon_half_open(index);
        }
        let Some(listener) = self.listeners.end_half_open(id) else { return };
        listener.accept_queue.push_back(TcpId { index, generation });
        connection.owned = true;
        connection.watch_peer();
        turn.counters.count(Count::PassiveOpens);
        self.notify_listener(id);
    }

    /// A half-open connection died.
    pub(super) fn abandon_half_open(&mut self, index: u32) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        if let Some(id) = connection.listener.take() {
            self.listeners.end_half_open(id);
        }
    }

    /// Opens actively (RFC 9293 §3.10.1). `local` is an address of ours, with port 0 for any that
    /// `is_good`.
    pub(crate) fn connect(
        &mut self,
        now: Instant,
        (local, remote): (SocketAddr, SocketAddr),
        is_good: &dyn Fn(SocketAddr) -> bool,
        mss_max: u32,
        (random, counters): (&mut Random, &mut Counters),
        config: &Config,
    ) -> Result<TcpId, Error> {
        check_remote(remote)?;
        let tuple = match local.port() {
            0 => self.choose_port(now, (local.ip(), remote), is_good, random, config)?,
            _ => Tuple::new(local, remote),
        };
        let known = self.find(&tuple);
        let predecessor = known.and_then(|flow| self.predecessor(flow, now, config));
        if known.is_some() && predecessor.is_none() {
            return Err(Error::AddrInUse);
        }
        if self.connections.is_full() {
            // Before a predecessor goes in vain.
            return Err(Error::TooManySockets);
        }
        let mut opening = opening(tuple, State::SynSent, mss_max, random, now);
        if let Some(index) = predecessor {
            self.succeed(index, &mut opening, counters);
        }
        let mut connection = Connection::new(opening, config);
        connection.owned = true;
        let index = self.insert(connection).ok_or(Error::TooManySockets)?;
        self.settle(index, now, config);
        Ok(TcpId { index, generation: self.connections.generation(index) })
    }

    pub(super) fn insert(&mut self, mut connection: Connection<F>) -> Option<u32> {
        connection.listed.flows = true;
        let tuple = connection.tuple;
        let (index, _) = self.connections.insert(connection).ok()?;
        self.flows.insert(&tuple, Flow::Connection(index));
        Some(index)
    }

    /// The entry of a connection that is over, if a new one may take its place: it had timestamps.
    fn predecessor(&self, flow: Flow, now: Instant, config: &Config) -> Option<u32> {
        let Flow::TimeWait(index) = flow else { return None };
        let entry = self.time_waits.get(index).filter(|_| config.timestamps)?;
        entry.may_be_succeeded(now).then_some(index)
    }

    /// Takes that place: above everything that its predecessor sent, window included, as where the peer opens (RFC 1122
    /// §4.2.2.13), and with the clock going on.
    #[cold]
    fn succeed(&mut self, index: u32, opening: &mut Opening, counters: &mut Counters) {
        let Some(entry) = self.time_waits.get(index) else { return };
        counters.count(Count::TwRecycled);
        opening.iss = opening.iss.max(entry.snd_nxt + ISS_STEP);
        opening.ts_offset = entry.ts_offset();
        self.remove_time_wait(index);
    }

    /// A port from which nobody is connected to this peer yet. If there is none far and wide, one from which somebody was.
    fn choose_port(
        &mut self,
        now: Instant,
        (local, remote): (IpAddr, SocketAddr),
        is_good: &dyn Fn(SocketAddr) -> bool,
        random: &mut Random,
        config: &Config,
    ) -> Result<Tuple, Error> {
        let start = self.ports.start(local, remote, random);
        let mut place = None;
        for (skipped, port) in (0..).zip(ephemeral_ports_from(start.at, config)) {
            if place.is_some() && skipped >= FREE_PORT_LOOKS {
                break;
            }
            let addr = SocketAddr::new(local, port);
            if !is_good(addr) || self.listeners.has_port(port) {
                continue;
            }
            let tuple = Tuple::new(addr, remote);
            let Some(flow) = self.find(&tuple) else {
                place = Some((skipped, tuple));
                break;
            };
            if place.is_none() && self.predecessor(flow, now, config).is_some() {
                place = Some((skipped, tuple));
            }
        }
        let (skipped, tuple) = place.ok_or(Error::PortsExhausted)?;
        self.ports.take(start, skipped, random);
        Ok(tuple)
    }

    /// A port that no listener has, for `bind` to port 0.
    pub(super) fn choose_listen_port(&self, random: &mut Random, config: &Config) -> Result<u16, Error> {
        ephemeral_ports(random, config)
            .find(|port| !self.listeners.has_port(*port))
            .ok_or(Error::PortsExhausted)
    }
}

/// After so many ports in use, one of a connection that is over will do: who opens and closes more of them in a minute than
/// there are ports would look at all of them every time, to find none that is free.
const FREE_PORT_LOOKS: u32 = 128;

/// How far a connection's sequence numbers start from its predecessor's: farther than an unscaled window.
const ISS_STEP: u32 = 1 << 17;

pub(super) fn opening(tuple: Tuple, state: State, mss: u32, random: &Random, now: Instant) -> Opening {
    let iss = isn::initial_sequence(random, &tuple, now);
    Opening { tuple, state, iss, ts_offset: isn::timestamp_offset(random, &tuple), mss, now }
}

/// MUST-46: nobody connects to a group.
fn check_remote(remote: SocketAddr) -> Result<(), Error> {
    if remote.port() == 0 {
        return Err(Error::InvalidInput("cannot connect to port 0: name the port of the service"));
    }
    if !address::is_unicast(remote.ip()) {
        return Err(Error::InvalidInput(
            "cannot connect to a broadcast, multicast or unspecified address: TCP needs one peer",
        ));
    }
    Ok(())
}

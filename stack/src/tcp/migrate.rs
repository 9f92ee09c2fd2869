//! A connection that moves to another stack of the same host: its state as plain memory, which may leave its core.
//!
//! What its queues hold is copied, since frames may not leave theirs. What belongs to a place in a stack stays behind:
//! timers are set anew, the next hop is looked up again.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;

use hayase_device::{Device, Frame};
use hayase_time::Instant;

use super::Tcp;
use super::assembler::{Assembler, Limit};
use super::congestion::Controller;
use super::connection::{AckDebt, Connection, Deadlines, LossTimer, Opening};
use super::flow::{Flow, Tuple};
use super::info::Tally;
use super::rare::Rare;
use super::receive_queue::ReceiveQueue;
use super::recovery::Recovery;
use super::rtt::Rtt;
use super::send_queue::{Filling, SEND_LEN_MAX, SendQueue};
use super::state::State;
use crate::chain;
use crate::config::Config;
use crate::error::Error;
use crate::seq::Seq;
use crate::socket::TcpId;
use crate::stack::Stack;

/// A connection between two stacks. Dropping it loses the connection: its peer is reset when it speaks next.
#[derive(Debug)]
pub struct Migrant {
    state: Luggage,
    /// Written and not acknowledged, and where it starts.
    sent: Vec<u8>,
    sent_from: Seq,
    /// Received and not read.
    received: Vec<u8>,
    /// Received before its turn.
    early: Vec<(Seq, Vec<u8>)>,
}

impl Migrant {
    /// Our end.
    pub fn local_addr(&self) -> SocketAddr {
        self.state.tuple.local()
    }

    /// The peer's end.
    pub fn peer_addr(&self) -> SocketAddr {
        self.state.tuple.remote()
    }
}

/// Declares what of a connection moves. The pattern names everything else: a field of [`Connection`] in neither list does
/// not compile.
macro_rules! luggage {
    (moves { $($field:ident: $type:ty,)* } stays { $($left:ident,)* }) => {
        #[derive(Debug)]
        struct Luggage {
            $($field: $type,)*
        }

        impl Luggage {
            fn pack<F>(connection: Connection<F>) -> Luggage {
                let Connection { $($field,)* $($left: _,)* } = connection;
                Luggage { $($field,)* }
            }

            fn unpack<F>(self, connection: &mut Connection<F>) {
                $(connection.$field = self.$field;)*
            }
        }
    };
}

luggage! {
    moves {
        tuple: Tuple, state: State, ttl: u8, tos: u8,
        iss: Seq, snd_una: Seq, snd_nxt: Seq, snd_wnd: u32, snd_wl1: Seq, max_snd_wnd: u32,
        snd_wscale: u8, mss: u32,
        rcv_nxt: Seq, rcv_adv: Seq, rcv_wscale: u8, space_len: u32, window_opens_at: Seq,
        sack_ok: bool, timestamps_ok: bool, window_scaling_ok: bool, ts_recent: u32, ts_recent_at: u32,
        last_ack_sent: Seq, ts_offset: u32, challenged_ms: u32,
        rtt: Rtt, congestion: Controller, recovery: Recovery, backoff: u8, retries: u8, last_sent_at: Instant,
        pace_at: Instant, tally: Tally,
        deadlines: Deadlines, loss_timer: LossTimer,
        ack_debt: AckDebt, duplicates_owed: u8, nodelay: bool, fin_queued: bool, fin_received: bool, force: bool,
        window_due: bool,
        rare: Option<Box<Rare>>,
    }
    stays {
        address_sum, is_v4, neighbor, send, receive, out_of_order, timer, charged_len, steady, write_blocked, progressed,
        listed, owned, listener, events, reader, watched,
    }
}

impl<F: Frame> Tcp<F> {
    fn export(&mut self, id: TcpId) -> Result<Migrant, Error> {
        let connection = self.connections.get_generation_mut(id.index, id.generation);
        let connection = connection.filter(|c| c.owned).ok_or(Error::StaleHandle)?;
        if !connection.state.is_synchronized() || connection.state == State::TimeWait {
            return Err(Error::NotConnected);
        }
        self.agenda.strike(connection);
        let tuple = connection.tuple;
        self.flows.remove(&tuple, Flow::Connection(id.index));
        self.connections.remove(id.index).map(pack).ok_or(Error::StaleHandle)
    }

    fn import<D: Device<Frame = F>>(
        &mut self,
        now: Instant,
        migrant: Migrant,
        device: &mut D,
        config: &Config,
    ) -> Result<TcpId, Error> {
        if self.find(&migrant.state.tuple).is_some() {
            return Err(Error::AddrInUse);
        }
        let mut connection = unpack(migrant, now, device, config)?;
        connection.owned = true;
        connection.listed.flows = true;
        let tuple = connection.tuple;
        let (index, generation) = self.connections.insert(connection).map_err(|_| Error::TooManySockets)?;
        self.flows.insert(&tuple, Flow::Connection(index));
        self.settle(index, now, config);
        if self.connections.get(index).is_some_and(|connection| connection.out_of_order.is_some()) {
            self.note_disordered(index);
        }
        Ok(TcpId { index, generation })
    }

    /// Puts a connection into the accept queue of the listener at its local address.
    fn offer(&mut self, id: TcpId) -> Result<(), Error> {
        let connection = self.connections.get_generation_mut(id.index, id.generation);
        let connection = connection.ok_or(Error::StaleHandle)?;
        let tuple = connection.tuple;
        let at = self.listeners.find(tuple.local_ip(), tuple.local_port()).ok_or(Error::StaleHandle)?;
        let listener = self.listeners.get_mut(at).filter(|listener| listener.has_room());
        listener.ok_or(Error::TooManySockets)?.accept_queue.push_back(id);
        connection.listener = Some(at);
        self.notify_listener(at);
        Ok(())
    }
}

fn pack<F: Frame>(connection: Connection<F>) -> Migrant {
    let mut received = vec![0; connection.receive.len()];
    connection.receive.peek(&mut received);
    let early = connection.out_of_order.iter().flat_map(|assembler| assembler.pieces());
    let sent: Vec<u8> = connection.send.frames().flat_map(Frame::bytes).copied().collect();
    Migrant {
        // Not SND.UNA, which goes beyond it with our FIN.
        sent_from: connection.send.end() - sent.len() as u32,
        sent,
        received,
        early: early.map(|(seq, frame)| (seq, to_vec(frame))).collect(),
        state: Luggage::pack(connection),
    }
}

fn to_vec<F: Frame>(frame: &F) -> Vec<u8> {
    let mut bytes = vec![0; frame.total_len()];
    chain::copy(frame, 0, &mut bytes);
    bytes
}

/// Rebuilds a connection in the memory of another device. It fails if that has too few buffers.
fn unpack<F: Frame, D: Device<Frame = F>>(
    migrant: Migrant,
    now: Instant,
    device: &mut D,
    config: &Config,
) -> Result<Connection<F>, Error> {
    let Migrant { state, sent, sent_from, received, early } = migrant;
    let Luggage { tuple, iss, ts_offset, mss, .. } = state;
    let opening = Opening { tuple, state: State::Established, iss, ts_offset, mss, now };
    let mut connection = Connection::new(opening, config);
    connection.send = send_queue(&state, &sent, sent_from, device)?;
    let mut queue = ReceiveQueue::default();
    refill(&received, device, |_, frame| queue.push(frame))?;
    connection.receive = queue;
    state.unpack(&mut connection);
    if !early.is_empty() {
        let limit = connection.out_of_order_limit(config);
        connection.out_of_order = Some(Box::new(assembler(&early, device, limit)?));
    }
    Ok(connection)
}

fn send_queue<F: Frame, D: Device<Frame = F>>(
    state: &Luggage,
    bytes: &[u8],
    start: Seq,
    device: &mut D,
) -> Result<SendQueue<F>, Error> {
    let mut queue = SendQueue::new(start);
    // It was within its limits where it comes from, whatever its segments take in buffers here.
    let buffer_len = SEND_LEN_MAX;
    let filling =
        Filling { mss: state.mss as usize, tso_len_max: None, buffer_len, room_min: 0, is_summed: false };
    let written = queue.write(bytes, state.snd_nxt, filling, device);
    if written == bytes.len() { Ok(queue) } else { Err(Error::TooManySockets) }
}

fn assembler<F: Frame, D: Device<Frame = F>>(
    early: &[(Seq, Vec<u8>)],
    device: &mut D,
    limit: Limit,
) -> Result<Assembler<F>, Error> {
    let mut assembler = Assembler::default();
    for (seq, bytes) in early {
        refill(bytes, device, |offset, frame| {
            // A piece that finds no place is sent again by the peer (RFC 2018 §8).
            let _ = assembler.insert(*seq + offset as u32, frame, limit);
        })?;
    }
    Ok(assembler)
}

/// Copies bytes into frames, and tells each with its offset.
fn refill<F: Frame, D: Device<Frame = F>>(
    bytes: &[u8],
    device: &mut D,
    mut push: impl FnMut(usize, F),
) -> Result<(), Error> {
    let mut offset = 0;
    while offset < bytes.len() {
        let rest = &bytes[offset..];
        let mut frame = device.alloc(rest.len()).ok_or(Error::TooManySockets)?;
        let len = rest.len().min(frame.tailroom());
        let out = frame.extend(len).filter(|out| !out.is_empty()).ok_or(Error::TooManySockets)?;
        out.copy_from_slice(&rest[..len]);
        push(offset, frame);
        offset += len;
    }
    Ok(())
}

/// Connections that change their stack.
impl<F: Frame> Stack<F> {
    /// Takes a connection out of this stack. From now on its segments are a stranger's here.
    ///
    /// # Errors
    /// `NotConnected` if it is not established or closing, `StaleHandle`; `InvalidInput` if its peer is this host itself,
    /// whose segments come to no other stack.
    pub fn tcp_export(&mut self, id: TcpId) -> Result<Migrant, Error> {
        if self.link.is_here(self.tcp.peer_addr(id)?.ip()) {
            return Err(Error::InvalidInput("a connection of a host with itself stays on its core"));
        }
        self.tcp.export(id)
    }

    /// Takes a connection in.
    ///
    /// # Errors
    /// `TooManySockets` if a limit is reached or the device has too few buffers, `AddrInUse` if there is one between
    /// the same ends. The connection is lost then.
    pub fn tcp_import<D: Device<Frame = F>>(
        &mut self,
        now: Instant,
        migrant: Migrant,
        device: &mut D,
    ) -> Result<TcpId, Error> {
        self.tcp.import(now, migrant, device, &self.config)
    }

    /// Lets a connection that was taken in wait to be accepted by the listener at its local address.
    ///
    /// # Errors
    /// `StaleHandle` if there is no such listener, `TooManySockets` if too many wait already.
    pub fn tcp_offer(&mut self, id: TcpId) -> Result<(), Error> {
        self.tcp.offer(id)
    }

    /// Whether there is a connection between these ends, in any state.
    pub fn tcp_has_flow(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        self.tcp.find(&Tuple::new(local, remote)).is_some()
    }

    /// Both ends, ours first, of the connections at one of our ports. It looks at all connections: not for the path.
    pub fn tcp_flows_at(&self, port: u16) -> Vec<(SocketAddr, SocketAddr)> {
        let tuples = self.tcp.connections.iter().map(|(_, connection)| connection.tuple);
        tuples
            .filter(|tuple| tuple.local_port() == port)
            .map(|tuple| (tuple.local(), tuple.remote()))
            .collect()
    }
}

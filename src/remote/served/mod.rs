//! The sockets that other threads have.

mod datagram;
mod listener;
mod moving;
mod tcp;
mod urgent;

use std::collections::{BTreeMap, VecDeque};

use bytes::BytesMut;
use hayase_stack::{EchoId, ListenerId, Ready, Socket, TcpId, UdpId};
use hayase_time::Instant;

use super::client::Client;
use super::memory::Memory;
use super::output::Output;
use super::table::Table;
use crate::door::Door;

use datagram::{Echo, Udp};
use listener::Listener;
use tcp::{SMALL_LEN, Tcp};

/// What a datagram can hold.
const DATAGRAM_LEN_MAX: usize = 65_536;

/// Every served socket, and the clients that have them.
#[derive(Default)]
pub(super) struct Sockets {
    tcp: Table<TcpId, Tcp>,
    listeners: Table<ListenerId, Listener>,
    udp: Table<UdpId, Udp>,
    echo: Table<EchoId, Echo>,
    /// By the number of the client.
    outputs: Vec<Option<Output>>,
    /// Connections with data in the stack whose client has too many messages to read already.
    stalled: VecDeque<TcpId>,
    /// Connections that are closed and not sent yet, by when they are reset and their place in the stack.
    lingering: BTreeMap<(Instant, u32), TcpId>,
    /// The time of the turn.
    pub(super) now: Instant,
    memory: Memory,
    /// Where many received bytes go before it is known how many.
    large: BytesMut,
    /// Where a few received bytes go before they are part of a message.
    small: Vec<u8>,
    datagram: Vec<u8>,
}

impl Sockets {
    /// Lets a client in, and returns its number.
    pub(super) fn admit(&mut self, output: Output) -> usize {
        self.small.resize(SMALL_LEN, 0);
        self.datagram.resize(DATAGRAM_LEN_MAX, 0);
        let free = self.outputs.iter().position(Option::is_none).unwrap_or(self.outputs.len());
        match self.outputs.get_mut(free) {
            Some(place) => *place = Some(output),
            None => self.outputs.push(Some(output)),
        }
        free
    }

    /// A client is gone: its sockets are closed.
    pub(super) fn dismiss(&mut self, door: &dyn Door, client: usize) {
        for id in self.listeners.names(|listener| listener.client == client) {
            self.close(door, Socket::Listener(id), 0);
        }
        for id in self.tcp.names(|tcp| tcp.client == client && !tcp.closing) {
            let read = self.tcp.get(id).map_or(0, |tcp| tcp.read_total);
            self.close(door, Socket::Tcp(id), read);
        }
        for id in self.udp.names(|udp| udp.client == client) {
            self.close(door, Socket::Udp(id), 0);
        }
        for id in self.echo.names(|echo| echo.client == client) {
            self.close(door, Socket::Echo(id), 0);
        }
        self.outputs[client] = None;
    }

    /// The stack is going: nobody is served any more.
    pub(super) fn hang_up(&mut self) {
        self.outputs.drain(..).flatten().for_each(|output| output.client.hang_up());
    }

    /// A client that is there.
    pub(super) fn client(&self, client: usize) -> &Client {
        &self.outputs[client].as_ref().expect("a client with an input has an output").client
    }

    /// The stack says that a socket changed.
    #[inline]
    pub(super) fn changed(&mut self, door: &dyn Door, socket: Socket, ready: Ready) {
        match socket {
            Socket::Tcp(id) => self.tcp_changed(door, id, ready),
            Socket::Listener(id) => self.accept(door, id),
            Socket::Udp(id) => self.udp_changed(door, id),
            Socket::Echo(id) => self.echo_changed(door, id),
        }
    }

    /// Looks at a socket that may have changed without the stack saying so.
    pub(super) fn look(&mut self, door: &dyn Door, socket: Socket) {
        if let Ok(ready) = door.ready(socket) {
            self.changed(door, socket, ready);
        }
    }

    /// Goes on with the connections whose clients had too much to read.
    pub(super) fn resume(&mut self, door: &dyn Door) {
        for _ in 0..self.stalled.len() {
            let Some(id) = self.stalled.pop_front() else { return };
            if let Some(tcp) = self.tcp.get_mut(id) {
                tcp.stalled = false;
                self.look(door, Socket::Tcp(id));
            }
        }
    }

    /// Publishes everything that there is to tell. Returns how much that was.
    #[inline]
    pub(super) fn publish(&mut self) -> usize {
        self.outputs.iter_mut().flatten().map(Output::publish).sum()
    }

    /// Whether a turn would have something to publish, or to take out of the stack.
    pub(super) fn is_due(&self) -> bool {
        let mut outputs = self.outputs.iter().flatten();
        outputs.any(Output::is_due) || self.stalled.iter().any(|id| self.has_room_for(*id))
    }

    /// When it has to be looked after although nothing happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.lingering.first_key_value().map(|((until, _), _)| *until)
    }

    fn has_room_for(&self, id: TcpId) -> bool {
        self.tcp.get(id).and_then(|tcp| self.outputs[tcp.client].as_ref()).is_some_and(Output::has_room)
    }

    /// The handle of a socket is gone. Of a connection, `read` bytes have been read.
    pub(super) fn close(&mut self, door: &dyn Door, socket: Socket, read: u64) {
        match socket {
            Socket::Tcp(id) => return self.close_tcp(door, id, read),
            Socket::Listener(id) => drop(self.listeners.remove(id)),
            Socket::Udp(id) => drop(self.udp.remove(id)),
            Socket::Echo(id) => drop(self.echo.remove(id)),
        }
        door.close(socket);
    }
}

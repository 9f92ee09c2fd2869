//! Where the commands of one client are carried out.

use std::io;

use hayase_stack::{EchoId, ListenerId, Socket, TcpId, UdpId};

use super::message::Command;
use super::mirror;
use super::moving::{Baggage, Destination};
use super::served::Sockets;
use crate::door::Door;

/// The stack, its served sockets, and whose command it is.
pub(super) struct Desk<'a> {
    pub(super) door: &'a dyn Door,
    sockets: &'a mut Sockets,
    client: usize,
}

impl<'a> Desk<'a> {
    pub(super) fn new(door: &'a dyn Door, sockets: &'a mut Sockets, client: usize) -> Desk<'a> {
        Desk { door, sockets, client }
    }

    /// Carries a command out.
    #[inline]
    pub(super) fn obey(&mut self, command: Command) {
        let Desk { door, sockets, .. } = self;
        match command {
            Command::Write { id, chunk } => sockets.write(*door, id, chunk),
            Command::Read { id, total } => sockets.read(*door, id, total),
            Command::Shutdown(id) => sockets.shut_down(*door, id),
            Command::Abort(id) => sockets.abort(*door, id),
            Command::Close { socket, read } => sockets.close(*door, socket, read),
            Command::Accepted(id) => sockets.accepted(*door, id),
            Command::Send(datagram) => sockets.send(*door, *datagram),
            Command::HeardUrgent(id) => sockets.heard_urgent(id),
            Command::HeardFailure(id) => sockets.heard_failure(*door, id),
            Command::Received(id) => sockets.received(*door, id),
            Command::EchoReceived(id) => sockets.echo_received(*door, id),
            Command::Run(op) => op(self),
        }
    }

    /// The client has a new socket, of which it knows before anything happens to it.
    fn open(&mut self, socket: Socket) {
        self.sockets.client(self.client).open(socket);
    }

    /// The client has a new connection, whose handshake is under way.
    pub(super) fn serve_tcp(&mut self, id: TcpId) {
        self.open(Socket::Tcp(id));
        self.sockets.serve_tcp(id, self.client, true);
    }

    /// The client has a new listener.
    pub(super) fn serve_listener(&mut self, id: ListenerId, backlog: usize) {
        self.open(Socket::Listener(id));
        self.sockets.serve_listener(id, self.client, backlog);
    }

    /// The client has a new UDP socket.
    pub(super) fn serve_udp(&mut self, id: UdpId) {
        self.open(Socket::Udp(id));
        self.sockets.serve_udp(id, self.client);
    }

    /// The client has a new echo socket.
    pub(super) fn serve_echo(&mut self, id: EchoId) {
        self.open(Socket::Echo(id));
        self.sockets.serve_echo(id, self.client);
    }

    /// A connection is about to move.
    pub(super) fn part(&mut self, id: TcpId, to: Box<Destination>) {
        self.sockets.part(id, to);
    }

    /// A connection moves, of which this is what the client had.
    pub(super) fn send_off(&mut self, id: TcpId, mirror: mirror::Tcp, to: Destination) {
        self.sockets.send_off(self.door, id, mirror, to);
    }

    /// A connection has come to this stack, and its baggage here.
    pub(super) fn welcome(&mut self, id: TcpId, baggage: Baggage) {
        self.sockets.welcome(self.door, id, self.client, baggage);
    }

    /// Whether the peer has acknowledged everything that the client wrote.
    pub(super) fn is_flushed(&self, id: TcpId) -> io::Result<bool> {
        Ok(self.sockets.has_passed_all(id)? && self.door.tcp_flushed(id)?)
    }
}

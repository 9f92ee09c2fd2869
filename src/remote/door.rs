//! The door to a stack on another thread.

use std::cell::RefCell;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use hayase_device::{Caps, Offloads, SharedBytes};
use hayase_stack::{
    AddressState, Cidr, Congestion, EchoId, EchoReply, Error, Keepalive, ListenerId, Reach, Ready, Socket,
    State as TcpState, TcpId, TcpInfo, UdpId, Way, check_destination,
};

use super::chunk::Chunk;
use super::client::{Client, State};
use super::desk::Desk;
use super::message::{Addresses, Command, Datagram};
use super::moving::Destination;
use super::{DATAGRAMS_MAX, SEND_MAX, mirror};
use crate::counters::Counters;
use crate::door::{Door, Farewell, urgent_untold};
use crate::error::io_error;
use crate::net::tcp::Options;
use crate::shard::write_each;
use crate::steering::Moved;
use crate::wakers::{Answers, Notify, Side, WaitsIn};

/// The longest payload of an IPv4 or IPv6 packet with a UDP header.
const DATAGRAM_LEN_MAX: usize = 65_535 - 8;

/// How long it is taken for granted what the stack can reach. Routes change in seconds at the soonest, and asking takes
/// some ten microseconds.
const WAYS_AGE_MAX: Duration = Duration::from_millis(50);

/// A thread's door: reads and writes are served from the mirror, everything else is asked.
pub(super) struct RemoteDoor {
    client: Arc<Client>,
    /// This is not the client's own thread, whose turn publishes commands.
    away: bool,
    /// What the stack can reach, and since when that is known.
    ways: RefCell<Option<(Instant, Vec<Way>)>>,
    answers: Answers,
}

impl RemoteDoor {
    /// For any thread.
    pub(super) fn new(client: Arc<Client>) -> RemoteDoor {
        RemoteDoor { client, away: true, ways: RefCell::default(), answers: Answers::default() }
    }

    /// For the client's own thread.
    pub(super) fn of_owner(client: Arc<Client>) -> RemoteDoor {
        RemoteDoor { client, away: false, ways: RefCell::default(), answers: Answers::default() }
    }

    fn ask<T: Send + 'static>(
        &self,
        op: impl FnOnce(&mut Desk<'_>) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        self.client.ask(op)
    }

    /// Changes an address or a route, by which the ways change.
    fn reroute(&self, op: impl FnOnce(&dyn Door) -> io::Result<()> + Send + 'static) -> io::Result<()> {
        self.ways.take();
        self.ask(move |desk| op(desk.door))
    }

    fn with_ways<T>(&self, look: impl FnOnce(&[Way]) -> T) -> io::Result<T> {
        let known = self.ways.borrow().as_ref().filter(|(since, _)| since.elapsed() < WAYS_AGE_MAX).is_some();
        if !known {
            let ways = self.ask(|desk| desk.door.ways())?;
            self.ways.replace(Some((Instant::now(), ways)));
        }
        Ok(look(self.ways.borrow().as_ref().map_or(&[], |(_, ways)| ways)))
    }

    /// Sets an option of a connection that is known here. What is asked later sees it.
    fn set(
        &self,
        id: TcpId,
        op: impl FnOnce(&dyn Door) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        self.client.call(self.away, |state| state.tcp(id).map(drop))?;
        // It fails for connections that are no more, and for those no option matters.
        self.client.tell(self.away, move |desk| drop(op(desk.door)))
    }

    /// A call that may have to wait. What comes in is there at once, whether this thread turns or not, and so there may always
    /// be something: every so often a call is put off, that whatever else its task and its thread have to do gets its turn.
    #[inline]
    fn poll<I: WaitsIn, T>(
        &self,
        (id, side, notify): (I, Side, Notify<'_>),
        op: impl FnMut(&mut State) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.answers.poll(notify.waker(), || self.client.poll(self.away, (id, side, notify), op))
    }

    #[inline]
    fn poll_read<T>(
        &self,
        id: TcpId,
        notify: Notify<'_>,
        mut read: impl FnMut(&mut mirror::Tcp) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.poll((id, Side::Read, notify), |state| {
            let tcp = state.tcp(id)?;
            let read = read(tcp);
            if let Some(total) = tcp.news() {
                state.push(Command::Read { id, total });
            }
            read
        })
    }

    /// What ended a connection, if the stack has told it and nobody has taken it.
    fn told_error(&self, id: TcpId) -> io::Result<Option<io::Error>> {
        self.client.call(self.away, |state| Ok(state.tcp(id)?.take_error()))
    }

    fn addresses_of(&self, id: TcpId) -> io::Result<Addresses> {
        let known = self.client.call(self.away, |state| state.tcp(id).map(|tcp| tcp.addresses))?;
        if let Some(addresses) = known {
            return Ok(addresses);
        }
        let asked = self.ask(move |desk| {
            Ok(Addresses { local: desk.door.tcp_local_addr(id)?, peer: desk.door.tcp_peer_addr(id)? })
        })?;
        self.client.call(self.away, |state| {
            state.tcp(id)?.addresses = Some(asked);
            Ok(asked)
        })
    }
}

impl State {
    #[inline]
    fn tcp(&mut self, id: TcpId) -> io::Result<&mut mirror::Tcp> {
        self.mirrors.tcp.get_mut(id).ok_or_else(closed)
    }

    fn udp(&mut self, id: UdpId) -> io::Result<&mut mirror::Udp> {
        self.mirrors.udp.get_mut(id).ok_or_else(closed)
    }

    fn ready(&self, socket: Socket) -> Ready {
        let readable = |any| if any { Ready::READABLE } else { Ready::EMPTY };
        let ready = match socket {
            Socket::Tcp(id) => self.mirrors.tcp.get(id).map(mirror::Tcp::ready),
            Socket::Udp(id) => self.mirrors.udp.get(id).map(mirror::Udp::ready),
            Socket::Listener(id) => self.mirrors.listeners.get(id).map(|l| readable(!l.accepted.is_empty())),
            Socket::Echo(id) => self.mirrors.echo.get(id).map(|echo| readable(!echo.replies.is_empty())),
        };
        ready.unwrap_or(Ready::READABLE | Ready::WRITABLE | Ready::ERROR)
    }

    /// Sends as much of `bytes` as was paid for.
    fn write(&mut self, id: TcpId, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let paid = self.tcp(id)?.pay(bytes.len());
        if let Poll::Ready(Ok(len)) = paid {
            let chunk = Chunk::copy(&bytes[..len], |bytes| self.copy(bytes));
            self.push(Command::Write { id, chunk });
        }
        paid
    }

    /// An ICMP error, if there is one. The next may come then.
    fn take_failure(&mut self, id: UdpId) -> io::Result<()> {
        let Some(error) = self.udp(id)?.error.take() else { return Ok(()) };
        self.push(Command::HeardFailure(id));
        Err(error)
    }

    /// Sends a datagram, unless too many are under way.
    fn send(&mut self, id: UdpId, bytes: &[u8], to: Option<SocketAddr>) -> Poll<io::Result<usize>> {
        let udp = self.udp(id)?;
        if let (Some(local), Some(to)) = (udp.local, to) {
            check_destination(local, to).map_err(io_error)?;
        }
        // What befell a datagram to somebody else is no reason not to send this one.
        if let Some(unsent) = udp.unsent.take_if(|unsent| unsent.to == to) {
            return Poll::Ready(Err(unsent.error));
        }
        self.take_failure(id)?;
        let udp = self.udp(id)?;
        if to.is_none() && udp.peer.is_none() {
            return Poll::Ready(Err(io_error(Error::NotConnected)));
        }
        if bytes.len() > DATAGRAM_LEN_MAX {
            return Poll::Ready(Err(io_error(Error::MessageTooLong)));
        }
        if udp.sending >= DATAGRAMS_MAX {
            return Poll::Pending;
        }
        udp.sending += 1;
        self.push(Command::Send(Box::new(Datagram { id, peer: to, bytes: bytes.to_vec() })));
        Poll::Ready(Ok(bytes.len()))
    }
}

#[cold]
fn closed() -> io::Error {
    io_error(Error::StaleHandle)
}

impl Door for RemoteDoor {
    fn tcp_listen(&self, local: SocketAddr, backlog: usize, options: &Options) -> io::Result<ListenerId> {
        let options = *options;
        self.ask(move |desk| {
            let id = desk.door.tcp_listen(local, backlog, &options)?;
            desk.serve_listener(id, backlog);
            Ok(id)
        })
    }

    fn listener_local_addr(&self, id: ListenerId) -> io::Result<SocketAddr> {
        self.ask(move |desk| desk.door.listener_local_addr(id))
    }

    fn listener_poll_known(&self, id: ListenerId, waker: Waker) -> Poll<io::Result<()>> {
        self.ask(move |desk| Ok(desk.door.listener_poll_known(id, waker)))?
    }

    /// Whether it can move is found out when it leaves.
    fn tcp_migrate(&self, id: TcpId, to: usize) -> io::Result<Moved> {
        let (destination, moved) = Destination::new(to);
        let removed = self.client.call(self.away, |state| {
            state.tcp(id)?;
            state.push(Command::Run(Box::new(move |desk| desk.part(id, destination))));
            Ok(state.mirrors.wakers.close(Socket::Tcp(id)))
        })?;
        drop(removed);
        Ok(moved)
    }

    fn tcp_accept(&self, id: ListenerId, notify: Notify<'_>) -> Poll<io::Result<(TcpId, SocketAddr)>> {
        self.poll((id, Side::Read, notify), |state| {
            let listener = state.mirrors.listeners.get_mut(id).ok_or_else(closed)?;
            let Some(accepted) = listener.accepted.pop_front() else { return Poll::Pending };
            state.push(Command::Accepted(id));
            Poll::Ready(accepted.map(|accepted| (accepted.id, accepted.addresses.peer)))
        })
    }

    fn tcp_connect(
        &self,
        remote: SocketAddr,
        local: Option<SocketAddr>,
        options: &Options,
    ) -> io::Result<TcpId> {
        let options = *options;
        self.ask(move |desk| {
            let id = desk.door.tcp_connect(remote, local, &options)?;
            desk.serve_tcp(id);
            Ok(id)
        })
    }

    /// What the stack does not take at once is written when the handshake is over.
    fn tcp_connect_with(
        &self,
        remote: SocketAddr,
        local: Option<SocketAddr>,
        options: &Options,
        bytes: &[u8],
    ) -> io::Result<(TcpId, usize)> {
        let options = *options;
        let bytes = bytes[..bytes.len().min(SEND_MAX)].to_vec();
        self.ask(move |desk| {
            let (id, len) = desk.door.tcp_connect_with(remote, local, &options, &bytes)?;
            desk.serve_tcp(id);
            Ok((id, len))
        })
    }

    fn tcp_set_fastopen(&self, id: ListenerId, pending_max: usize) -> io::Result<()> {
        self.ask(move |desk| desk.door.tcp_set_fastopen(id, pending_max))
    }

    fn tcp_poll_connect(&self, id: TcpId, notify: Notify<'_>) -> Poll<io::Result<()>> {
        self.poll((id, Side::Write, notify), |state| state.tcp(id)?.poll_connect())
    }

    fn tcp_read(&self, id: TcpId, notify: Notify<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_read(id, notify, |tcp| tcp.read(0, |unread| unread.read(buf)))
    }

    fn tcp_read_vectored(
        &self,
        id: TcpId,
        notify: Notify<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        if bufs.iter().all(|buf| buf.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        self.poll_read(id, notify, |tcp| {
            tcp.read(0, |unread| bufs.iter_mut().map(|buf| unread.read(buf)).sum())
        })
    }

    /// The bytes are shown when nothing is locked any more: `sink` may use sockets.
    fn tcp_read_with(
        &self,
        id: TcpId,
        notify: Notify<'_>,
        len_max: usize,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Poll<io::Result<usize>> {
        let taken = self.poll_read(id, notify, |tcp| {
            tcp.read(Vec::new(), |unread| {
                let (mut chunks, mut left) = (Vec::new(), len_max);
                while left > 0
                    && let Some(chunk) = unread.take(left)
                {
                    left -= chunk.len();
                    chunks.push(chunk);
                }
                chunks
            })
        });
        taken.map_ok(|chunks| {
            chunks.iter().for_each(|chunk| sink(chunk));
            chunks.iter().map(|chunk| chunk.len()).sum()
        })
    }

    fn tcp_lease(&self, id: TcpId, notify: Notify<'_>, len_max: usize) -> Poll<io::Result<SharedBytes>> {
        let taken = self.poll_read(id, notify, |tcp| tcp.read(None, |unread| unread.take(len_max.max(1))));
        taken.map_ok(|chunk| match chunk {
            Some(chunk) => SharedBytes::from_owner(chunk.into_bytes()),
            None => SharedBytes::from(Vec::new()),
        })
    }

    fn tcp_peek(&self, id: TcpId, notify: Notify<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_read(id, notify, |tcp| tcp.peek(buf))
    }

    fn tcp_write(&self, id: TcpId, notify: Notify<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll((id, Side::Write, notify), |state| state.write(id, bytes))
    }

    fn tcp_write_vectored(
        &self,
        id: TcpId,
        notify: Notify<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll((id, Side::Write, notify), |state| write_each(bufs, |buf| state.write(id, buf)))
    }

    /// The bytes belong to this thread, so that the stack's gets a copy.
    fn tcp_write_owned(
        &self,
        id: TcpId,
        notify: Notify<'_>,
        bytes: &mut SharedBytes,
    ) -> Poll<io::Result<usize>> {
        let written = self.tcp_write(id, notify, bytes);
        if let Poll::Ready(Ok(len)) = written {
            bytes.advance(len);
        }
        written
    }

    fn tcp_shutdown(&self, id: TcpId) -> io::Result<()> {
        self.client.call(self.away, |state| if state.shut_down(id) { Ok(()) } else { Err(closed()) })
    }

    fn tcp_local_addr(&self, id: TcpId) -> io::Result<SocketAddr> {
        self.addresses_of(id).map(|addresses| addresses.local)
    }

    fn tcp_peer_addr(&self, id: TcpId) -> io::Result<SocketAddr> {
        self.addresses_of(id).map(|addresses| addresses.peer)
    }

    fn tcp_state(&self, id: TcpId) -> io::Result<TcpState> {
        self.ask(move |desk| desk.door.tcp_state(id))
    }

    fn tcp_flushed(&self, id: TcpId) -> io::Result<bool> {
        let flushed = self.ask(move |desk| desk.is_flushed(id));
        // What ended it may be here, untold.
        flushed.map_err(|error| self.told_error(id).ok().flatten().unwrap_or(error))
    }

    fn tcp_take_error(&self, id: TcpId) -> io::Result<Option<io::Error>> {
        match self.told_error(id)? {
            Some(error) => Ok(Some(error)),
            None => self.ask(move |desk| desk.door.tcp_take_error(id)),
        }
    }

    fn tcp_nodelay(&self, id: TcpId) -> io::Result<bool> {
        self.ask(move |desk| desk.door.tcp_nodelay(id))
    }

    fn tcp_set_nodelay(&self, id: TcpId, on: bool) -> io::Result<()> {
        self.set(id, move |door| door.tcp_set_nodelay(id, on))
    }

    fn tcp_linger(&self, id: TcpId) -> io::Result<Option<Duration>> {
        self.ask(move |desk| desk.door.tcp_linger(id))
    }

    fn tcp_set_linger(&self, id: TcpId, linger: Option<Duration>) -> io::Result<()> {
        self.set(id, move |door| door.tcp_set_linger(id, linger))
    }

    fn tcp_keepalive(&self, id: TcpId) -> io::Result<Option<Keepalive>> {
        self.ask(move |desk| desk.door.tcp_keepalive(id))
    }

    /// Unlike most options, it can make no sense.
    fn tcp_set_keepalive(&self, id: TcpId, keepalive: Option<Keepalive>) -> io::Result<()> {
        self.ask(move |desk| desk.door.tcp_set_keepalive(id, keepalive))
    }

    fn tcp_user_timeout(&self, id: TcpId) -> io::Result<Option<Duration>> {
        self.ask(move |desk| desk.door.tcp_user_timeout(id))
    }

    fn tcp_set_user_timeout(&self, id: TcpId, limit: Option<Duration>) -> io::Result<()> {
        self.set(id, move |door| door.tcp_set_user_timeout(id, limit))
    }

    fn tcp_ttl(&self, id: TcpId) -> io::Result<u8> {
        self.ask(move |desk| desk.door.tcp_ttl(id))
    }

    fn tcp_set_ttl(&self, id: TcpId, ttl: u8) -> io::Result<()> {
        self.set(id, move |door| door.tcp_set_ttl(id, ttl))
    }

    fn tcp_info(&self, id: TcpId) -> io::Result<TcpInfo> {
        self.ask(move |desk| desk.door.tcp_info(id))
    }

    fn tcp_connections(&self) -> io::Result<Vec<(SocketAddr, SocketAddr, TcpInfo)>> {
        self.ask(|desk| desk.door.tcp_connections())
    }

    fn tcp_congestion(&self, id: TcpId) -> io::Result<Congestion> {
        self.ask(move |desk| desk.door.tcp_congestion(id))
    }

    /// The operating system may not have it, or not for everybody.
    fn tcp_set_congestion(&self, id: TcpId, congestion: Congestion) -> io::Result<()> {
        self.ask(move |desk| desk.door.tcp_set_congestion(id, congestion))
    }

    fn tcp_tos(&self, id: TcpId) -> io::Result<u8> {
        self.ask(move |desk| desk.door.tcp_tos(id))
    }

    fn tcp_set_tos(&self, id: TcpId, tos: u8) -> io::Result<()> {
        self.set(id, move |door| door.tcp_set_tos(id, tos))
    }

    fn tcp_poll_urgent(&self, id: TcpId, notify: Notify<'_>) -> Poll<io::Result<usize>> {
        if !self.client.tells_urgent {
            return Poll::Ready(Err(urgent_untold()));
        }
        self.poll((id, Side::Read, notify), |state| state.tcp(id)?.poll_urgent())
    }

    fn udp_bind(&self, local: SocketAddr) -> io::Result<UdpId> {
        let id = self.ask(move |desk| {
            let id = desk.door.udp_bind(local)?;
            desk.serve_udp(id);
            Ok(id)
        })?;
        self.client.call(self.away, |state| {
            state.udp(id)?.local = Some(local);
            Ok(id)
        })
    }

    fn udp_connect(&self, id: UdpId, remote: SocketAddr) -> io::Result<()> {
        self.ask(move |desk| desk.door.udp_connect(id, remote))?;
        self.client.call(self.away, |state| {
            state.udp(id)?.peer = Some(remote);
            Ok(())
        })
    }

    fn udp_local_addr(&self, id: UdpId) -> io::Result<SocketAddr> {
        self.ask(move |desk| desk.door.udp_local_addr(id))
    }

    fn udp_peer_addr(&self, id: UdpId) -> io::Result<SocketAddr> {
        self.client.call(self.away, |state| state.udp(id)?.peer.ok_or_else(|| io_error(Error::NotConnected)))
    }

    fn udp_send(
        &self,
        id: UdpId,
        notify: Notify<'_>,
        bytes: &[u8],
        to: Option<SocketAddr>,
    ) -> Poll<io::Result<usize>> {
        self.poll((id, Side::Write, notify), |state| state.send(id, bytes, to))
    }

    fn udp_recv(
        &self,
        id: UdpId,
        notify: Notify<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        self.poll((id, Side::Read, notify), |state| {
            state.take_failure(id)?;
            let udp = state.udp(id)?;
            let received = udp.next().map(|datagram| datagram.copy_to(buf));
            if let Poll::Ready(Ok(_)) = received {
                udp.unread.pop_front();
                state.push(Command::Received(id));
            }
            received
        })
    }

    fn udp_peek(
        &self,
        id: UdpId,
        notify: Notify<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        self.poll((id, Side::Read, notify), |state| {
            state.take_failure(id)?;
            state.udp(id)?.next().map(|datagram| datagram.copy_to(buf))
        })
    }

    fn udp_ttl(&self, id: UdpId) -> io::Result<u8> {
        self.ask(move |desk| desk.door.udp_ttl(id))
    }

    fn udp_set_ttl(&self, id: UdpId, ttl: u8) -> io::Result<()> {
        self.ask(move |desk| desk.door.udp_set_ttl(id, ttl))
    }

    fn udp_tos(&self, id: UdpId) -> io::Result<u8> {
        self.ask(move |desk| desk.door.udp_tos(id))
    }

    fn udp_set_tos(&self, id: UdpId, tos: u8) -> io::Result<()> {
        self.ask(move |desk| desk.door.udp_set_tos(id, tos))
    }

    fn echo_open(&self) -> io::Result<EchoId> {
        self.ask(|desk| {
            let id = desk.door.echo_open()?;
            desk.serve_echo(id);
            Ok(id)
        })
    }

    fn echo_send(&self, id: EchoId, to: IpAddr, sequence: u16, payload: &[u8]) -> io::Result<()> {
        let payload = payload.to_vec();
        self.ask(move |desk| desk.door.echo_send(id, to, sequence, &payload))
    }

    fn echo_recv(&self, id: EchoId, notify: Notify<'_>) -> Poll<io::Result<EchoReply>> {
        self.poll((id, Side::Read, notify), |state| {
            let echo = state.mirrors.echo.get_mut(id).ok_or_else(closed)?;
            let Some(reply) = echo.replies.pop_front() else { return Poll::Pending };
            state.push(Command::EchoReceived(id));
            Poll::Ready(reply.map(|reply| *reply))
        })
    }

    fn poll_ready(&self, socket: Socket, side: Side, notify: Notify<'_>) -> Poll<io::Result<Ready>> {
        let ready = |state: &mut State| {
            let ready = state.ready(socket);
            let wanted = match side {
                Side::Read => ready.is_readable(),
                Side::Write => ready.wakes_writer(),
            };
            if wanted { Poll::Ready(Ok(ready)) } else { Poll::Pending }
        };
        match socket {
            Socket::Tcp(id) => self.poll((id, side, notify), ready),
            Socket::Listener(id) => self.poll((id, side, notify), ready),
            Socket::Udp(id) => self.poll((id, side, notify), ready),
            Socket::Echo(id) => self.poll((id, side, notify), ready),
        }
    }

    fn ready(&self, socket: Socket) -> io::Result<Ready> {
        self.client.call(self.away, |state| Ok(state.ready(socket)))
    }

    fn forget(&self, socket: Socket, side: Side, ticket: NonZeroU64) {
        let forgotten =
            self.client.call(self.away, |state| Ok(state.mirrors.wakers.forget(socket, side, ticket)));
        drop(forgotten);
    }

    fn rouse(&self, socket: Socket) {
        let woken = self.client.call(self.away, |state| Ok(state.mirrors.wakers.wake_waiters(socket)));
        woken.into_iter().flatten().for_each(Waker::wake);
    }

    fn bid(&self, farewell: Farewell) {
        self.client.bid(self.away, farewell);
    }

    fn has_links(&self) -> io::Result<bool> {
        self.ask(|desk| desk.door.has_links())
    }

    /// The ways of a moment ago: a datagram to anywhere must not wait for the stack.
    fn ways(&self) -> io::Result<Vec<Way>> {
        self.with_ways(<[Way]>::to_vec)
    }

    fn reach(&self, dst: IpAddr) -> io::Result<Option<Reach>> {
        self.with_ways(|ways| Reach::by(ways.iter().copied(), dst))
    }

    fn addresses(&self) -> io::Result<Vec<Cidr>> {
        self.ask(|desk| desk.door.addresses())
    }

    fn address_states(&self) -> io::Result<Vec<(Cidr, AddressState)>> {
        self.ask(|desk| desk.door.address_states())
    }

    fn add_address(&self, cidr: Cidr) -> io::Result<()> {
        self.reroute(move |door| door.add_address(cidr))
    }

    fn remove_address(&self, addr: IpAddr) -> io::Result<()> {
        self.reroute(move |door| door.remove_address(addr))
    }

    fn add_route(&self, destination: Cidr, gateway: IpAddr) -> io::Result<()> {
        self.reroute(move |door| door.add_route(destination, gateway))
    }

    fn remove_route(&self, destination: Cidr) -> io::Result<()> {
        self.reroute(move |door| door.remove_route(destination))
    }

    fn caps(&self) -> io::Result<Caps> {
        self.ask(|desk| desk.door.caps())
    }

    fn set_offloads(&self, wanted: Offloads) -> io::Result<Offloads> {
        self.ask(move |desk| desk.door.set_offloads(wanted))
    }

    fn mac(&self) -> io::Result<[u8; 6]> {
        self.ask(|desk| desk.door.mac())
    }

    fn counters(&self) -> io::Result<Counters> {
        self.ask(|desk| desk.door.counters())
    }

    fn tcp_count(&self) -> io::Result<usize> {
        self.ask(|desk| desk.door.tcp_count())
    }
}

//! UDP (RFC 768).

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::hash::BuildHasher;
use core::net::{IpAddr, SocketAddr};
use core::task::Poll;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hayase_device::{Device, Frame, Offloads, TxChecksum, TxMeta};
use hayase_time::Instant;

use crate::bind;
use crate::bound::{Bound, key};
use crate::chain;
use crate::config::Config;
use crate::counters::{Count, Drop};
use crate::egress::{Egress, Envelope, Fit, GROUP_TTL, Unsent, network_len};
use crate::error::Error;
use crate::ip::long_ones::LongOnes;
use crate::ip::path_mtus;
use crate::line::{Line, Place, Wish};
use crate::random::Random;
use crate::slab::Slab;
use crate::socket::{Ready, Socket, UdpId};
use crate::tcp::pressure::Pressure;
use crate::wire::{Protocol, ipv6, pseudo_header, udp};

/// A datagram that waits for the application.
#[derive(Debug)]
struct Datagram<F> {
    from: SocketAddr,
    /// The payload; nothing for an empty datagram.
    payload: Option<F>,
    memory_len: usize,
}

#[derive(Debug)]
struct UdpSocket<F> {
    local: SocketAddr,
    remote: Option<SocketAddr>,
    /// The hop limit, and that of what goes to groups.
    ttl: u8,
    group_ttl: u8,
    tos: u8,
    queue: VecDeque<Datagram<F>>,
    memory_len: usize,
    error: Option<Error>,
    /// Its place among those that wait for the device.
    place: Place,
    /// Long packets of IPv6 that it sent lately.
    long_ones: LongOnes,
    /// The turn in which it last sent, and how many datagrams then.
    sent_in: u32,
    sent_count: u32,
    events: Ready,
}

/// Bytes that a queued datagram costs besides its frame: a flood of empty ones is bounded too.
const DATAGRAM_LEN: usize = 128;

/// The largest payload of a datagram that fits an IP packet.
const PAYLOAD_MAX_V4: usize = 65_507;
const PAYLOAD_MAX_V6: usize = 65_527;

/// Long packets that a socket remembers: of a server's, the last ones of so many peers.
const LONG_ONES_MAX: usize = 512;

/// Datagrams that a socket sends before its sender waits for the next turn, also where no device asks for that: those to this
/// host itself, and those to a neighbour whose address nobody knows. Or a task that sends without end would let no other
/// run, and no timer expire.
const SENT_COUNT_MAX: u32 = 1024;

/// All UDP sockets, found by their addresses.
#[derive(Debug)]
pub(crate) struct Udp<F> {
    sockets: Slab<UdpSocket<F>>,
    bound: Bound,
    /// Those with a peer, by both addresses: ours first.
    connected: HashMap<(SocketAddr, SocketAddr), u32, FixedState>,
    ready: Vec<u32>,
    /// Sockets whose sender waits for the device.
    line: Line,
    /// The number of the turn.
    turn: u32,
    /// What all datagrams that wait take.
    memory_len: usize,
}

impl<F: Frame> Udp<F> {
    pub(crate) fn new(config: &Config, random: &Random) -> Udp<F> {
        Udp {
            sockets: Slab::new(config.udp_sockets_max),
            bound: Bound::new(random),
            connected: HashMap::with_hasher(FixedState::with_seed(random.table_keys()[1])),
            ready: Vec::new(),
            line: Line::new(),
            turn: 0,
            memory_len: 0,
        }
    }

    /// What all datagrams that wait take, in bytes.
    pub(crate) fn memory_len(&self) -> usize {
        self.memory_len
    }

    pub(crate) fn bind(
        &mut self,
        local: SocketAddr,
        random: &mut Random,
        config: &Config,
    ) -> Result<UdpId, Error> {
        let port = match local.port() {
            0 => self.choose_port(random, config)?,
            port => port,
        };
        let local = SocketAddr::new(local.ip(), port);
        if self.bound.has(local) {
            return Err(Error::AddrInUse);
        }
        let socket = UdpSocket {
            local,
            remote: None,
            ttl: config.ttl,
            group_ttl: GROUP_TTL,
            tos: 0,
            queue: VecDeque::new(),
            memory_len: 0,
            error: None,
            place: Place::Nowhere,
            long_ones: LongOnes::new(LONG_ONES_MAX),
            sent_in: 0,
            sent_count: 0,
            events: Ready::EMPTY,
        };
        let (index, generation) = self.sockets.insert(socket).map_err(|_| Error::TooManySockets)?;
        self.bound.insert(local, index, true);
        Ok(UdpId { index, generation })
    }

    fn choose_port(&self, random: &mut Random, config: &Config) -> Result<u16, Error> {
        bind::ephemeral_ports(random, config)
            .find(|port| !self.bound.has_port(*port))
            .ok_or(Error::PortsExhausted)
    }

    fn get(&self, id: UdpId) -> Result<&UdpSocket<F>, Error> {
        self.sockets.get_generation(id.index, id.generation).ok_or(Error::StaleHandle)
    }

    fn get_mut(&mut self, id: UdpId) -> Result<&mut UdpSocket<F>, Error> {
        self.sockets.get_generation_mut(id.index, id.generation).ok_or(Error::StaleHandle)
    }

    /// # Errors
    /// `AddrInUse` if another socket has the same two addresses; `InvalidInput` if they are of two IP versions.
    pub(crate) fn connect(&mut self, id: UdpId, remote: SocketAddr, source: IpAddr) -> Result<(), Error> {
        let socket = self.get(id)?;
        let (before, mut local) = (socket.ends(), socket.local);
        check_version(local, remote)?;
        if local.ip().is_unspecified() {
            local.set_ip(source);
        }
        let ends = (local, key(remote.ip(), remote.port()));
        if self.connected.get(&ends).is_some_and(|index| *index != id.index) {
            return Err(Error::AddrInUse);
        }
        self.forget(before, id.index);
        self.bound.insert(local, id.index, false);
        self.connected.insert(ends, id.index);
        let socket = self.get_mut(id)?;
        (socket.local, socket.remote) = (local, Some(remote));
        Ok(())
    }

    pub(crate) fn has_flow(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        self.connected.contains_key(&(local, key(remote.ip(), remote.port())))
    }

    pub(crate) fn flows_at(&self, port: u16) -> Vec<(SocketAddr, SocketAddr)> {
        self.connected.keys().copied().filter(|(local, _)| local.port() == port).collect()
    }

    /// Nothing that comes in leads to the socket with these ends any more.
    fn forget(&mut self, (local, remote): (SocketAddr, Option<SocketAddr>), index: u32) {
        self.bound.remove(local, index);
        if let Some(remote) = remote {
            self.connected.remove(&(local, key(remote.ip(), remote.port())));
        }
    }

    pub(crate) fn local_addr(&self, id: UdpId) -> Result<SocketAddr, Error> {
        self.get(id).map(|socket| socket.local)
    }

    pub(crate) fn peer_addr(&self, id: UdpId) -> Result<SocketAddr, Error> {
        self.get(id)?.remote.ok_or(Error::NotConnected)
    }

    pub(crate) fn set_ttl(&mut self, id: UdpId, ttl: u8) -> Result<(), Error> {
        self.get_mut(id).map(|socket| (socket.ttl, socket.group_ttl) = (ttl, ttl))
    }

    pub(crate) fn ttl(&self, id: UdpId) -> Result<u8, Error> {
        self.get(id).map(|socket| socket.ttl)
    }

    pub(crate) fn set_tos(&mut self, id: UdpId, tos: u8) -> Result<(), Error> {
        self.get_mut(id).map(|socket| socket.tos = tos)
    }

    pub(crate) fn tos(&self, id: UdpId) -> Result<u8, Error> {
        self.get(id).map(|socket| socket.tos)
    }

    pub(crate) fn close(&mut self, id: UdpId) {
        let Ok(socket) = self.get(id) else { return };
        self.forget(socket.ends(), id.index);
        let removed = self.sockets.remove(id.index);
        self.memory_len -= removed.as_ref().map_or(0, |socket| socket.memory_len);
        if let Some(socket) = removed {
            self.line.leave(socket.place);
        }
    }

    pub(crate) fn ready_now(&self, id: UdpId) -> Ready {
        let Ok(socket) = self.get(id) else { return Ready::READABLE | Ready::WRITABLE | Ready::ERROR };
        let mut ready = Ready::EMPTY;
        if !socket.queue.is_empty() {
            ready |= Ready::READABLE;
        }
        if !socket.place.is_in_line() {
            ready |= Ready::WRITABLE;
        }
        if socket.error.is_some() {
            ready |= Ready::READABLE | Ready::WRITABLE | Ready::ERROR;
        }
        ready
    }

    /// Sends a datagram. `to` overrides the connected peer.
    pub(crate) fn send<D: Device<Frame = F>>(
        &mut self,
        id: UdpId,
        bytes: &[u8],
        to: Option<SocketAddr>,
        egress: &mut Egress<'_, F, D>,
    ) -> Poll<Result<usize, Error>> {
        let Udp { sockets, line, turn, connected, .. } = self;
        let Some(socket) = sockets.get_generation_mut(id.index, id.generation) else {
            return Poll::Ready(Err(Error::StaleHandle));
        };
        if let Some(error) = socket.error.take() {
            return Poll::Ready(Err(error));
        }
        if socket.sent_in != *turn {
            (socket.sent_in, socket.sent_count) = (*turn, 0);
        }
        // It may take a frame more or less: who was called and finds too little keeps its place.
        let has_room = |kept| egress.device.room() >= kept + 1 + bytes.len() / egress.link.caps.mtu;
        let may_try = socket.sent_count < SENT_COUNT_MAX && line.may_try(socket.place, *turn, has_room);
        let tried = may_try.then(|| socket.transmit(bytes, to, egress, connected.hasher()));
        let sent = tried.unwrap_or(Err(Refusal::Full(Wish::Room(1))));
        if let Err(Refusal::Full(wish)) = sent {
            socket.place = line.join(id.index, socket.place, wish);
            return Poll::Pending;
        }
        if socket.place != Place::Nowhere {
            socket.place = line.got_on(id.index, socket.place);
        }
        match sent {
            Err(Refusal::Error(error)) => Poll::Ready(Err(error)),
            _ => {
                socket.sent_count += 1;
                Poll::Ready(Ok(bytes.len()))
            }
        }
    }

    pub(crate) fn recv(
        &mut self,
        id: UdpId,
        buf: &mut [u8],
        peek: bool,
    ) -> Poll<Result<(usize, SocketAddr), Error>> {
        let Some(socket) = self.sockets.get_generation_mut(id.index, id.generation) else {
            return Poll::Ready(Err(Error::StaleHandle));
        };
        if let Some(error) = socket.error.take() {
            return Poll::Ready(Err(error));
        }
        let Some(datagram) = socket.queue.front() else { return Poll::Pending };
        let len = datagram.payload.as_ref().map_or(0, |payload| chain::copy(payload, 0, buf));
        let from = datagram.from;
        if !peek && let Some(datagram) = socket.queue.pop_front() {
            socket.memory_len -= datagram.memory_len;
            self.memory_len -= datagram.memory_len;
        }
        Poll::Ready(Ok((len, from)))
    }

    /// A datagram whose checksum is right; `payload` has no bytes if it is empty. Under pressure a socket keeps no more of
    /// them than a connection does of what is not read.
    pub(crate) fn receive(
        &mut self,
        (local, remote): (SocketAddr, SocketAddr),
        payload: F,
        pressure: Pressure,
        config: &Config,
    ) -> Result<(), Drop> {
        let index = self.find(local, remote).ok_or(Drop::NoSocket)?;
        let Some(socket) = self.sockets.get_mut(index) else { return Err(Drop::NoSocket) };
        let memory_len = DATAGRAM_LEN + chain::capacity(&payload);
        if socket.memory_len + memory_len > config.udp_receive_buffer_len {
            return Err(Drop::SocketRcvbuff);
        }
        if socket.memory_len >= pressure.unread_len() {
            return Err(Drop::ProtoMem);
        }
        socket.memory_len += memory_len;
        self.memory_len += memory_len;
        let payload = (payload.total_len() > 0).then_some(payload);
        socket.queue.push_back(Datagram { from: remote, payload, memory_len });
        self.raise(index, Ready::READABLE);
        Ok(())
    }

    /// The socket for a datagram: a connected one before a bound one, an exact address before any.
    fn find(&self, local: SocketAddr, remote: SocketAddr) -> Option<u32> {
        let connected = self.connected.get(&(local, remote)).copied();
        connected.or_else(|| self.bound.find(local.ip(), local.port()))
    }

    /// An ICMP error about a datagram of ours. A connected socket learns of it, as on Linux.
    pub(crate) fn icmp_error(&mut self, local: SocketAddr, remote: SocketAddr, error: Error) -> bool {
        let Some(index) = self.find(local, remote) else { return false };
        let Some(socket) = self.sockets.get_mut(index) else { return false };
        if socket.remote.is_some() {
            socket.error = Some(error);
            self.raise(index, Ready::READABLE | Ready::WRITABLE | Ready::ERROR);
        }
        true
    }

    /// Whether a datagram between these ends may have been ours, or of a socket of the host's other stacks with the same address.
    pub(crate) fn may_have_sent(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        self.find(local, remote).is_some()
    }

    /// Whether a packet longer than `mtu` went that way lately.
    pub(crate) fn has_sent_longer(
        &self,
        (local, remote): (SocketAddr, SocketAddr),
        mtu: usize,
        now: Instant,
    ) -> bool {
        let socket = self.find(local, remote).and_then(|index| self.sockets.get(index));
        let hash = self.connected.hasher().hash_one(key(remote.ip(), remote.port()));
        socket.is_some_and(|socket| socket.long_ones.has_longer(hash, mtu, now))
    }

    fn raise(&mut self, index: u32, events: Ready) {
        if let Some(socket) = self.sockets.get_mut(index) {
            socket.raise(index, events, &mut self.ready);
        }
    }

    /// A turn ends: whoever sends without end has let others run.
    #[inline]
    pub(crate) fn end_turn(&mut self) {
        self.turn = self.turn.wrapping_add(1);
    }

    /// Lets those try again who wait for the device and whose turn it is. `is_due`: it is time to look whether there are buffers
    /// again.
    pub(crate) fn unblock(&mut self, room: usize, is_due: bool, now: Instant) {
        let Udp { sockets, line, ready, turn, .. } = self;
        line.call(room, is_due, (now, *turn), |index, place| {
            let Some(socket) = sockets.get_mut(index) else { return };
            socket.place = place;
            socket.raise(index, Ready::WRITABLE, ready);
        });
    }

    /// Whether somebody waits for the device.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.line.is_empty()
    }

    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(crate) fn drain_ready(&mut self, f: &mut dyn FnMut(Socket, Ready)) {
        for index in self.ready.drain(..) {
            let generation = self.sockets.generation(index);
            if let Some(socket) = self.sockets.get_mut(index) {
                f(Socket::Udp(UdpId { index, generation }), core::mem::take(&mut socket.events));
            }
        }
    }
}

/// Whether a socket that is bound to `local` can send to this address at all, whatever the routes.
///
/// # Errors
/// `InvalidInput` if it has no address or no port, or is of another IP version.
pub fn check_destination(local: SocketAddr, to: SocketAddr) -> Result<(), Error> {
    if to.port() == 0 || to.ip().is_unspecified() {
        return Err(Error::InvalidInput("a datagram needs a destination address and port"));
    }
    check_version(local, to)
}

/// Whether a socket can send to this address: one at `[::]` can to any.
fn check_version(local: SocketAddr, remote: SocketAddr) -> Result<(), Error> {
    let is_any = local.is_ipv6() && local.ip().is_unspecified();
    if is_any || local.is_ipv4() == remote.is_ipv4() {
        return Ok(());
    }
    Err(Error::InvalidInput("socket and peer are of different IP versions"))
}

enum Refusal {
    /// Until the device has this.
    Full(Wish),
    Error(Error),
}

impl<F: Frame> UdpSocket<F> {
    /// Our end, and the peer's.
    fn ends(&self) -> (SocketAddr, Option<SocketAddr>) {
        (self.local, self.remote)
    }

    fn raise(&mut self, index: u32, events: Ready, ready: &mut Vec<u32>) {
        if self.events.is_empty() {
            ready.push(index);
        }
        self.events |= events;
    }

    /// `hasher`: what nobody else can compute.
    fn transmit<D: Device<Frame = F>>(
        &mut self,
        bytes: &[u8],
        to: Option<SocketAddr>,
        egress: &mut Egress<'_, F, D>,
        hasher: &FixedState,
    ) -> Result<(), Refusal> {
        let to = to.or(self.remote).ok_or(Refusal::Error(Error::NotConnected))?;
        check_destination(self.local, to).map_err(Refusal::Error)?;
        let src = match self.local.ip() {
            ip if ip.is_unspecified() => egress.link.source_for(to.ip()).map_err(Refusal::Error)?,
            ip => ip,
        };
        egress.link.check_ends(src, to.ip()).map_err(Refusal::Error)?;
        let payload_max = if src.is_ipv4() { PAYLOAD_MAX_V4 } else { PAYLOAD_MAX_V6 };
        if bytes.len() > payload_max {
            return Err(Refusal::Error(Error::MessageTooLong));
        }
        let (head, meta) = self.head(src, to, bytes, egress);
        let ttl = if to.ip().is_multicast() { self.group_ttl } else { self.ttl };
        let envelope = Envelope { src, dst: to.ip(), protocol: Protocol::UDP, ttl, tos: self.tos };
        let fit = if self.place.has_waited_in_vain() { Fit::AsEver } else { Fit::All };
        match egress.datagram(envelope, &head, core::iter::once(bytes), bytes.len(), (meta, fit)) {
            Ok(()) => {
                egress.counters.count(Count::UdpOut);
                let len = ipv6::LEN + udp::LEN + bytes.len();
                if src.is_ipv6() && len > path_mtus::MTU_MIN {
                    let mtu = egress.link.datagram_mtu(Protocol::UDP, to.ip(), len, egress.now);
                    self.long_ones.note(hasher.hash_one(key(to.ip(), to.port())), len.min(mtu), egress.now);
                }
                Ok(())
            }
            Err(Unsent::Full(frames)) => Err(Refusal::Full(Wish::Room(frames))),
            Err(Unsent::NoBuffers) => Err(Refusal::Full(Wish::Buffers)),
            Err(Unsent::TooLong) => Err(Refusal::Error(Error::MessageTooLong)),
        }
    }

    /// The UDP header, and what the device is to do about its checksum. A datagram that goes in fragments is
    /// summed here: no device sees all of it.
    fn head<D: Device<Frame = F>>(
        &self,
        src: IpAddr,
        to: SocketAddr,
        bytes: &[u8],
        egress: &Egress<'_, F, D>,
    ) -> ([u8; udp::LEN], TxMeta) {
        let len = udp::LEN + bytes.len();
        let mut header =
            udp::Header { src_port: self.local.port(), dst_port: to.port(), len: len as u16, checksum: 0 };
        let mut head = [0; udp::LEN];
        let mut sum = pseudo_header(src, to.ip(), Protocol::UDP, len);
        let packet_len = network_len(src) + len;
        let fits = packet_len <= egress.link.datagram_mtu(Protocol::UDP, to.ip(), packet_len, egress.now);
        let mut meta = TxMeta::default();
        if fits && egress.offloads().contains(Offloads::TX_CHECKSUM_UDP) {
            header.checksum = sum.value();
            let start = egress.headers_len(src) as u16;
            meta.checksum = Some(TxChecksum { start, offset: udp::CHECKSUM_OFFSET as u16 });
        } else {
            header.emit(&mut head);
            sum.add(&head);
            sum.add(bytes);
            header.checksum = udp::checksum(sum);
        }
        header.emit(&mut head);
        (head, meta)
    }
}

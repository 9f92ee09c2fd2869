//! The stack: its parts, its verbs, and the calls on its sockets; those of TCP are in [`connections`](crate::connections).

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::num::NonZeroU64;
use core::task::Poll;
use core::time::Duration;

use hayase_device::{Burst, Caps, Device, Frame, RxMeta, TxMeta};
use hayase_time::Instant;

use crate::autoconf::START_DELAY_MS;
use crate::config::Config;
use crate::counters::{Count, Counters, Drop};
use crate::duties::Duty;
use crate::echo::{EchoReply, Echoes};
use crate::egress::{Egress, Envelope, Fit, GROUP_TTL, Unsent, network_len};
use crate::error::Error;
use crate::hearsay::Heard;
use crate::icmp;
use crate::ip::address::{Cidr, link_local};
use crate::ip::addresses::AddressState;
use crate::ip::limiter::Limiter;
use crate::ip::{HostLimiter, Reassembly, Way};
use crate::link::Link;
use crate::random::Random;
use crate::socket::{EchoId, Ready, Socket, TcpId, UdpId};
use crate::tcp::Tcp;
use crate::udp::Udp;
use crate::wire::{Mac, Protocol};

/// The part of the type of service that is not the application's (RFC 3168 §5).
pub(crate) const ECN_BITS: u8 = 0b11;

/// How long to wait before what a full device or a dry pool held up is tried again.
pub(crate) const RETRY_US: u64 = 1000;

/// A TCP/IP stack on frames of type `F`.
///
/// It has four verbs, which its owner calls once a turn: [`receive`](Stack::receive), [`expire`](Stack::expire),
/// [`drain_ready`](Stack::drain_ready), [`transmit`](Stack::transmit). Between them applications read and write
/// through the calls named after their protocol. A call that returns `Poll::Pending` has nothing to give now;
/// `drain_ready` names the socket when that changes.
#[derive(Debug)]
pub struct Stack<F> {
    pub(crate) config: Config,
    pub(crate) link: Link<F>,
    pub(crate) tcp: Tcp<F>,
    pub(crate) udp: Udp<F>,
    pub(crate) echoes: Echoes,
    pub(crate) reassembly: Reassembly<F>,
    pub(crate) icmp_limit: HostLimiter,
    pub(crate) heard: Heard,
    pub(crate) random: Random,
    pub(crate) counters: Counters,
    /// When to try again what a full device or a dry pool held up.
    retry_at: Instant,
}

impl<F: Frame> Stack<F> {
    /// A stack on a device with these abilities and this link-layer address.
    ///
    /// `seed` must be secret and different at every start: sequence numbers, ports and hash keys come from it.
    /// `now` is the beginning of its time. It has one address, the link-local one of IPv6.
    pub fn new(config: Config, caps: &Caps, mac: [u8; 6], seed: [u8; 32], now: Instant) -> Stack<F> {
        let config = config.within(caps);
        let mut random = Random::new(seed);
        let icmp_limit = HostLimiter::new(
            Limiter::new(config.icmp_per_second, config.icmp_per_second),
            Limiter::new(config.icmp_per_second.div_ceil(10), config.icmp_per_second.div_ceil(10)),
            &random,
        );
        let link = Link::new(&config, caps, Mac(mac), &mut random);
        let mut stack = Stack {
            tcp: Tcp::new(&config, &link.caps, &random, now),
            link,
            udp: Udp::new(&config, &random),
            echoes: Echoes::new(&config),
            reassembly: Reassembly::new(config.reassembly_len_max, random.next()),
            icmp_limit,
            heard: Heard::default(),
            random,
            counters: Counters::default(),
            retry_at: Instant::MAX,
            config,
        };
        let own = Cidr::new(IpAddr::V6(link_local(Mac(mac))), 64);
        // A link-local address is a host's and the table is empty: there is nothing to refuse.
        let added = own.map(|own| stack.link.add_address(own));
        debug_assert!(matches!(added, Some(Ok(()))));
        // What several queues of a NIC would ask, the first one asks for all.
        if stack.config.autoconf && caps.queue == 0 {
            let delay = Duration::from_millis(stack.random.next() % START_DELAY_MS);
            stack.link.duties.push(now + delay, Duty::SolicitRouters(0));
        }
        stack
    }

    /// Takes over what the device can do now, after [`Device::set_offloads`].
    pub fn set_caps(&mut self, caps: &Caps) {
        self.link.set_caps(caps);
        self.tcp.set_caps(&self.link.caps);
    }

    /// What the device can do for this stack. The MTU is that of IP packets: less than the device's in a VLAN, and where a
    /// router has said so.
    pub fn caps(&self) -> &Caps {
        &self.link.caps
    }

    /// The limits in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    // Addresses and routes

    /// Gives this host an address, and a route to its network. With [`Config::dad_transmits`], an IPv6 address is used
    /// once it is known that no other host of the link has it: [`address_state`](Self::address_state) tells.
    ///
    /// # Errors
    /// If it is no host's address, is here already, or a limit is reached.
    pub fn add_address(&mut self, cidr: Cidr) -> Result<(), Error> {
        self.link.add_address(cidr)
    }

    /// Takes an address away. Connections that use it stay until they time out.
    ///
    /// # Errors
    /// `AddrNotAvailable` if it is none of ours.
    pub fn remove_address(&mut self, addr: IpAddr) -> Result<(), Error> {
        self.link.remove_address(addr)
    }

    /// The addresses of this host that are in use.
    pub fn addresses(&self) -> impl Iterator<Item = Cidr> + '_ {
        self.link.assigned()
    }

    /// All addresses of this host, those included that cannot be used (yet), and what they are good for.
    pub fn address_states(&self) -> impl Iterator<Item = (Cidr, AddressState)> + '_ {
        self.link.addresses.iter().map(|address| (address.cidr, address.state))
    }

    /// What an address is good for. `None` if it was never given to this host.
    pub fn address_state(&self, addr: IpAddr) -> Option<AddressState> {
        self.link.address_state(addr)
    }

    /// Routes a network through a gateway; `0.0.0.0/0` and `::/0` are everything.
    ///
    /// # Errors
    /// If the gateway is on none of our networks, the network has a route, or the table is full.
    pub fn add_route(&mut self, destination: Cidr, gateway: IpAddr) -> Result<(), Error> {
        self.link.add_route(destination, gateway)
    }

    /// Takes a route away.
    ///
    /// # Errors
    /// `NetworkUnreachable` if there is none to that network.
    pub fn remove_route(&mut self, destination: Cidr) -> Result<(), Error> {
        self.link.remove_route(destination)
    }

    /// What this host can reach by its addresses and routes, configured and learnt, in no particular order: of several
    /// hosts, [`Reach::by`](crate::Reach::by) tells which is nearest to an address.
    pub fn ways(&self) -> impl Iterator<Item = Way> + '_ {
        self.link.ways()
    }

    // The verbs

    /// Takes in the frames of a burst. Answers that need no application (ARP, echo) leave at once; everything
    /// else leaves with [`transmit`](Self::transmit).
    #[inline]
    pub fn receive<D: Device<Frame = F>>(&mut self, now: Instant, burst: &mut Burst<F>, device: &mut D) {
        while let Some((frame, &meta)) = burst.pop_front() {
            self.receive_frame(now, frame, meta, burst, device);
        }
        if !self.link.loopback.is_empty() {
            self.receive_loopback(now, device);
        }
    }

    /// What this host sent to itself until now.
    #[inline(never)]
    fn receive_loopback<D: Device<Frame = F>>(&mut self, now: Instant, device: &mut D) {
        let mut none = Burst::new(1);
        self.link.is_looping = true;
        for _ in 0..self.link.loopback.len() {
            if let Some((frame, meta)) = self.link.loopback.pop_front() {
                self.receive_looped(now, frame, meta, &mut none, device);
            }
        }
        self.link.is_looping = false;
    }

    #[inline(never)]
    fn receive_looped<D: Device<Frame = F>>(
        &mut self,
        now: Instant,
        frame: F,
        meta: RxMeta,
        none: &mut Burst<F>,
        device: &mut D,
    ) {
        self.receive_frame(now, frame, meta, none, device);
    }

    /// Runs the timers that are due.
    pub fn expire<D: Device<Frame = F>>(&mut self, now: Instant, device: &mut D) {
        let mut egress = Egress::new(now, device, &mut self.link, &mut self.counters);
        self.tcp.expire(&mut egress, &self.config);
        self.expire_reassembly(now, device);
        self.run_duties(now, device);
        self.expire_neighbors(now, device);
    }

    /// Sends what is due to be sent, as far as the device takes it. Returns how many connections spoke.
    /// The caller rings the doorbell ([`Device::flush`]).
    #[inline]
    pub fn transmit<D: Device<Frame = F>>(&mut self, now: Instant, device: &mut D) -> usize {
        let has_spoken = self.tcp.has_output();
        let mut spoke = 0;
        if has_spoken {
            let mut egress = Egress::new(now, device, &mut self.link, &mut self.counters);
            spoke = self.tcp.transmit(&mut egress, &self.config);
        }
        self.udp.end_turn();
        let is_blocked = self.udp.is_blocked();
        let blocked_until = if is_blocked { self.unblock(now, device) } else { Instant::MAX };
        if self.link.duties.deadline() <= now {
            self.run_duties(now, device);
        }
        // A packet to an unknown neighbour has raised a question, which is due at once.
        if self.link.neighbors.deadline().is_some_and(|at| at <= now) {
            self.expire_neighbors(now, device);
        }
        // Frames come home without a word: look again in a while, and not at every turn until then.
        let is_stalled = !is_blocked && has_spoken && self.tcp.is_stalled();
        self.retry_at = if is_stalled { now.after_micros(RETRY_US) } else { blocked_until };
        spoke
    }

    /// Lets senders of datagrams try again, if it is time, and says when the next time is: who tries may be back after this turn,
    /// and who waits for buffers waits no longer because there are many turns.
    #[cold]
    fn unblock<D: Device<Frame = F>>(&mut self, now: Instant, device: &D) -> Instant {
        let (is_due, retry_at) = (self.retry_at <= now, now.after_micros(RETRY_US));
        let room = device.room();
        self.link.room_max = self.link.room_max.max(room);
        self.udp.unblock(room, is_due, now);
        if is_due { retry_at } else { retry_at.min(self.retry_at) }
    }

    /// Whether [`drain_ready`](Self::drain_ready) or [`drain_called`](Self::drain_called) has something to say.
    #[inline]
    pub fn has_news(&self) -> bool {
        self.tcp.has_news() || self.udp.has_news() || self.echoes.has_news()
    }

    /// Names the sockets whose readiness changed since the last call, once each.
    #[inline]
    pub fn drain_ready(&mut self, mut f: impl FnMut(Socket, Ready)) {
        self.drain_ready_connections(|id, ready| f(Socket::Tcp(id), ready));
        self.drain_ready_others(f);
    }

    /// As [`drain_ready`](Self::drain_ready), of connections alone, which are many.
    #[inline(always)]
    pub fn drain_ready_connections(&mut self, f: impl FnMut(TcpId, Ready)) {
        self.tcp.drain_ready(f);
    }

    /// Says the names of readers who left them and have something to read, once each, those that
    /// [`drain_ready`](Self::drain_ready) came upon included.
    #[inline(always)]
    pub fn drain_called(&mut self, f: impl FnMut(NonZeroU64)) {
        self.tcp.drain_called(f);
    }

    /// As [`drain_ready`](Self::drain_ready), of all other sockets.
    #[inline]
    pub fn drain_ready_others(&mut self, mut f: impl FnMut(Socket, Ready)) {
        if self.has_news() {
            self.udp.drain_ready(&mut f);
            self.echoes.drain_ready(&mut f);
            self.tcp.drain_ready_listeners(&mut f);
        }
    }

    /// When [`expire`](Self::expire) has something to do. It may be a little early, never late.
    #[inline]
    pub fn deadline(&self) -> Option<Instant> {
        let neighbors = self.link.neighbors.deadline().unwrap_or(Instant::MAX);
        let reassembly = self.reassembly.deadline().unwrap_or(Instant::MAX);
        let chores = self.link.duties.deadline().min(self.retry_at);
        let at = self.tcp.deadline().min(neighbors).min(reassembly).min(chores);
        (at != Instant::MAX).then_some(at)
    }

    /// Whether [`transmit`](Self::transmit) or [`receive`](Self::receive) has something to do right now.
    #[inline]
    pub fn has_work(&self) -> bool {
        self.tcp.has_work() || !self.link.loopback.is_empty()
    }

    // UDP

    /// Opens a UDP socket; addresses and port 0 as for [`tcp_listen`](Self::tcp_listen).
    ///
    /// # Errors
    /// `AddrNotAvailable`, `AddrInUse`, `TooManySockets`, `PortsExhausted`.
    pub fn udp_bind(&mut self, local: SocketAddr) -> Result<UdpId, Error> {
        self.check_local(local.ip())?;
        self.udp.bind(local, &mut self.random, &self.config)
    }

    /// Sets the peer: only its datagrams are received, and its ICMP errors reported.
    ///
    /// # Errors
    /// `NetworkUnreachable`, `StaleHandle`; `AddrInUse` if another socket has the same two addresses; `InvalidInput` if
    /// they are of different IP versions.
    pub fn udp_connect(&mut self, id: UdpId, remote: SocketAddr) -> Result<(), Error> {
        let source = self.link.source_for(remote.ip())?;
        self.udp.connect(id, remote, source)
    }

    /// Whether a socket has these two addresses.
    pub fn udp_has_flow(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        self.udp.has_flow(local, remote)
    }

    /// Both addresses, ours first, of the sockets with a peer at one of our ports. It looks at all of them: not for the path.
    pub fn udp_flows_at(&self, port: u16) -> Vec<(SocketAddr, SocketAddr)> {
        self.udp.flows_at(port)
    }

    /// Our end.
    ///
    /// # Errors
    /// `StaleHandle`
    pub fn udp_local_addr(&self, id: UdpId) -> Result<SocketAddr, Error> {
        self.udp.local_addr(id)
    }

    /// The connected peer.
    ///
    /// # Errors
    /// `NotConnected`, `StaleHandle`.
    pub fn udp_peer_addr(&self, id: UdpId) -> Result<SocketAddr, Error> {
        self.udp.peer_addr(id)
    }

    /// Sends a datagram, in fragments if it is longer than the MTU. `Pending`: the device is full.
    ///
    /// # Errors
    /// `NotConnected` without a destination, `MessageTooLong`, `NetworkUnreachable`; `ConnectionRefused` if the
    /// peer said so about an earlier one.
    pub fn udp_send<D: Device<Frame = F>>(
        &mut self,
        now: Instant,
        id: UdpId,
        bytes: &[u8],
        to: Option<SocketAddr>,
        device: &mut D,
    ) -> Poll<Result<usize, Error>> {
        let mut egress = Egress::new(now, device, &mut self.link, &mut self.counters);
        self.udp.send(id, bytes, to, &mut egress)
    }

    /// Takes a datagram: how many bytes were copied (what does not fit is lost), and from whom.
    ///
    /// # Errors
    /// `ConnectionRefused` if the connected peer said so.
    pub fn udp_recv(&mut self, id: UdpId, buf: &mut [u8]) -> Poll<Result<(usize, SocketAddr), Error>> {
        let received = self.udp.recv(id, buf, false);
        self.tcp.charge_datagrams(self.udp.memory_len());
        received
    }

    /// Looks at the next datagram without taking it.
    ///
    /// # Errors
    /// As [`udp_recv`](Self::udp_recv).
    pub fn udp_peek(&mut self, id: UdpId, buf: &mut [u8]) -> Poll<Result<(usize, SocketAddr), Error>> {
        self.udp.recv(id, buf, true)
    }

    /// What a UDP socket is ready for now.
    pub fn udp_ready(&self, id: UdpId) -> Ready {
        self.udp.ready_now(id)
    }

    /// Sets the hop limit of what this socket sends. Until then it is [`Config::ttl`], and 1 of what goes to multicast groups
    /// (RFC 1112 §6.1, RFC 3493 §5.2); from then on it holds for them as well.
    ///
    /// # Errors
    /// `StaleHandle`
    pub fn udp_set_ttl(&mut self, id: UdpId, ttl: u8) -> Result<(), Error> {
        self.udp.set_ttl(id, ttl)
    }

    /// The hop limit of what does not go to groups.
    ///
    /// # Errors
    /// `StaleHandle`
    pub fn udp_ttl(&self, id: UdpId) -> Result<u8, Error> {
        self.udp.ttl(id)
    }

    /// Sets the type of service of a socket's datagrams: DSCP in the upper six bits (RFC 2474). The lower two are
    /// ECN's, and left as they are (RFC 9293 §3.9.2, MUST-48).
    ///
    /// # Errors
    /// `StaleHandle`.
    pub fn udp_set_tos(&mut self, id: UdpId, tos: u8) -> Result<(), Error> {
        self.udp.set_tos(id, tos & !ECN_BITS)
    }

    /// The type of service of a socket's datagrams.
    ///
    /// # Errors
    /// `StaleHandle`.
    pub fn udp_tos(&self, id: UdpId) -> Result<u8, Error> {
        self.udp.tos(id)
    }

    /// Closes a UDP socket.
    pub fn udp_close(&mut self, id: UdpId) {
        self.udp.close(id);
        self.tcp.charge_datagrams(self.udp.memory_len());
    }

    // ICMP echo

    /// Opens a socket for ICMP echo.
    ///
    /// # Errors
    /// `TooManySockets`
    pub fn echo_open(&mut self) -> Result<EchoId, Error> {
        self.echoes.open(&mut self.random)
    }

    /// Sends an echo request, in fragments if it is longer than the MTU.
    ///
    /// # Errors
    /// `NetworkUnreachable`, `MessageTooLong`, `StaleHandle`.
    pub fn echo_send<D: Device<Frame = F>>(
        &mut self,
        now: Instant,
        id: EchoId,
        to: IpAddr,
        sequence: u16,
        payload: &[u8],
        device: &mut D,
    ) -> Result<(), Error> {
        let ident = self.echoes.ident(id)?;
        let src = self.link.source_for(to)?;
        let head = icmp::echo_request(src, to, ident, sequence, payload);
        let protocol = if to.is_ipv4() { Protocol::ICMPV4 } else { Protocol::ICMPV6 };
        let ttl = if to.is_multicast() { GROUP_TTL } else { self.config.ttl };
        let envelope = Envelope { src, dst: to, protocol, ttl, tos: 0 };
        let mut egress = Egress::new(now, device, &mut self.link, &mut self.counters);
        let body = core::iter::once(payload);
        match egress.datagram(envelope, &head, body, payload.len(), (TxMeta::default(), Fit::AsEver)) {
            Ok(()) => {
                egress.counters.count(Count::IcmpOut);
                egress.link.note_echo(to, network_len(src) + head.len() + payload.len(), now);
                Ok(())
            }
            // A request that the device does not take is lost like any other.
            Err(Unsent::Full(_) | Unsent::NoBuffers) => {
                egress.counters.drop(Drop::FullRing);
                Ok(())
            }
            Err(Unsent::TooLong) => Err(Error::MessageTooLong),
        }
    }

    /// The identifier of a socket's requests.
    ///
    /// # Errors
    /// `StaleHandle`
    pub fn echo_ident(&self, id: EchoId) -> Result<u16, Error> {
        self.echoes.ident(id)
    }

    /// Takes an answer, or the error that a request met.
    ///
    /// # Errors
    /// `HostUnreachable`, `NetworkUnreachable`, `StaleHandle`.
    pub fn echo_recv(&mut self, id: EchoId) -> Poll<Result<EchoReply, Error>> {
        self.echoes.recv(id)
    }

    /// Closes an echo socket.
    pub fn echo_close(&mut self, id: EchoId) {
        self.echoes.close(id);
    }

    pub(crate) fn check_local(&self, ip: IpAddr) -> Result<(), Error> {
        if ip.is_unspecified() || ip.is_loopback() {
            return Ok(());
        }
        match self.link.address_state(ip) {
            Some(AddressState::Preferred | AddressState::Deprecated) => Ok(()),
            Some(AddressState::Tentative) => Err(Error::AddrTentative),
            Some(AddressState::Duplicate) => Err(Error::AddrDuplicate),
            None => Err(Error::AddrNotAvailable),
        }
    }
}

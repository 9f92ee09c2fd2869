//! The host on its link: addresses, routes, neighbours, and what the device can do.

use alloc::collections::VecDeque;
use core::cmp::Reverse;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hayase_device::{Caps, Frame, RxMeta, TxMeta};
use hayase_time::Instant;

use crate::config::Config;
use crate::duties::{self, Duty};
use crate::error::Error;
use crate::ip::address::{self, Cidr};
use crate::ip::addresses::{Address, AddressState, Addresses};
use crate::ip::discovered::Discovered;
use crate::ip::idents::Idents;
use crate::ip::long_ones::LongOnes;
use crate::ip::path_mtus::{self, PathMtus};
use crate::ip::{Neighbors, Route, Routes, Way};
use crate::membership::Membership;
use crate::random::Random;
use crate::timetable::Timetable;
use crate::usual::Own;
use crate::wire::{Mac, Protocol, VlanId, ethernet, ipv4, ipv6};

/// Frames that this host sends to itself and that wait for the next turn.
const LOOPBACK_COUNT_MAX: usize = 1024;

/// Long echo requests and replies that are remembered: the last ones.
const LONG_ECHOES_MAX: usize = 64;

const PATHS_DOMAIN: u64 = 0x8201;
const ECHO_PATHS_DOMAIN: u64 = 0x1_8201;

/// A packet that waits for its neighbour's link-layer address. It has its Ethernet header already, with an
/// empty destination.
#[derive(Debug)]
pub(crate) struct Waiting<F> {
    pub(crate) frame: F,
    pub(crate) meta: TxMeta,
}

#[derive(Debug)]
pub(crate) struct Link<F> {
    pub(crate) mac: Mac,
    /// What the short way knows it by.
    pub(crate) own: Own,
    /// The VLAN, whose number every frame carries.
    pub(crate) vlan: Option<VlanId>,
    pub(crate) caps: Caps,
    pub(crate) addresses: Addresses,
    routes: Routes,
    /// What routers have said.
    pub(crate) discovered: Discovered,
    pub(crate) neighbors: Neighbors<Waiting<F>>,
    /// What routers said of paths, when datagrams were too long for them.
    pub(crate) path_mtus: PathMtus,
    /// The same of echo requests and replies. Anybody can have us send those as he likes: by themselves, they tell nobody of the
    /// paths of datagrams.
    pub(crate) echo_path_mtus: PathMtus,
    /// Long ones of these, that went out lately.
    long_echoes: LongOnes,
    /// The longest packets of datagrams, of IPv4 and of IPv6: the link takes them, and the device's buffers hold them.
    datagram_mtus: [usize; 2],
    /// What is to be done without anybody asking.
    pub(crate) duties: Timetable<Duty>,
    /// The most frames that the device was seen to take at once; 0 before a datagram wanted to know.
    pub(crate) room_max: usize,
    /// The MTU of the device; that of the link may be smaller.
    pub(crate) mtu_max: usize,
    /// What routers are told of multicast groups.
    pub(crate) membership: Membership,
    /// What addresses are made from.
    pub(crate) secret: [u8; 16],
    /// What the host's other stacks have as well, and nobody else.
    pub(crate) shared_secret: [u8; 16],
    /// Questions before an IPv6 address is used.
    pub(crate) dad_transmits: u8,
    /// Whether the link hears of new addresses.
    pub(crate) announces: bool,
    pub(crate) idents: Idents,
    pub(crate) loopback: VecDeque<(F, RxMeta)>,
    /// What is being received now comes from `loopback`.
    pub(crate) is_looping: bool,
}

impl<F: Frame> Link<F> {
    pub(crate) fn new(config: &Config, caps: &Caps, mac: Mac, random: &mut Random) -> Link<F> {
        Link {
            mac,
            own: Own::new(mac),
            vlan: config.vlan,
            caps: in_vlan(caps, config.vlan),
            addresses: Addresses::new(config.addresses_max),
            routes: Routes::new(config.routes_max),
            discovered: Discovered::default(),
            neighbors: Neighbors::new(mac, config.neighbors_max, random.next()),
            path_mtus: PathMtus::new(random.for_use(PATHS_DOMAIN)),
            echo_path_mtus: PathMtus::new(random.for_use(ECHO_PATHS_DOMAIN)),
            long_echoes: LongOnes::new(LONG_ECHOES_MAX),
            datagram_mtus: datagram_mtus(&in_vlan(caps, config.vlan)),
            duties: Timetable::new(),
            room_max: 0,
            mtu_max: in_vlan(caps, config.vlan).mtu,
            membership: Membership::new(),
            secret: config.stable_secret.unwrap_or_else(|| {
                (u128::from(random.next()) << 64 | u128::from(random.next())).to_be_bytes()
            }),
            shared_secret: config.shared_secret.unwrap_or_else(|| random.secret(duties::DOMAIN)),
            dad_transmits: config.dad_transmits.unwrap_or(0),
            // What several queues of a NIC would say, the first one says for all.
            announces: config.announce.unwrap_or(false) && caps.queue == 0,
            idents: Idents::new(random),
            loopback: VecDeque::new(),
            is_looping: false,
        }
    }

    /// Bytes in front of an IP packet.
    #[inline]
    pub(crate) fn ether_len(&self) -> usize {
        ethernet::LEN + if self.vlan.is_some() { ethernet::TAG_LEN } else { 0 }
    }

    /// Takes over what the device can do now.
    pub(crate) fn set_caps(&mut self, caps: &Caps) {
        // A router may have said that the link takes less than the device.
        let narrowed = (self.caps.mtu < self.mtu_max).then_some(self.caps.mtu);
        let caps = in_vlan(caps, self.vlan);
        self.set_mtu(narrowed.unwrap_or(caps.mtu));
        self.caps = Caps { mtu: self.caps.mtu, ..caps };
        self.datagram_mtus = datagram_mtus(&self.caps);
    }

    /// The link takes packets of this length from now on.
    pub(crate) fn set_mtu(&mut self, mtu: usize) {
        if mtu < self.caps.mtu {
            // Connections come to know of it where they look up their next hop.
            self.neighbors.void_ids();
        }
        self.caps.mtu = mtu;
        self.datagram_mtus = datagram_mtus(&self.caps);
    }

    /// Adds an address and the route to its network.
    pub(crate) fn add_address(&mut self, cidr: Cidr) -> Result<(), Error> {
        if !address::is_host_source(cidr.addr()) || cidr.broadcast().is_some_and(|b| b == cidr.addr()) {
            return Err(Error::InvalidInput(
                "an interface address must be a host's: no group, broadcast or loopback",
            ));
        }
        if self.addresses.get(cidr.addr()).is_some() {
            return Err(Error::AddrInUse);
        }
        if self.addresses.is_full() {
            return Err(Error::TooManySockets);
        }
        // Several addresses of one network share its route.
        if !self.routes.iter().any(|route| route.destination == cidr.network()) {
            let route = Route { destination: cidr.network(), gateway: None };
            self.routes
                .add(route)
                .map_err(|_| Error::InvalidInput("the routing table is full: raise routes_max"))?;
        }
        let mut address = Address::new(cidr);
        self.take_up(&mut address, Instant::ZERO);
        self.addresses.push(address);
        // What went through a router may be on the link now.
        self.neighbors.void_ids();
        Ok(())
    }

    pub(crate) fn remove_address(&mut self, addr: IpAddr) -> Result<(), Error> {
        let removed = self.addresses.remove(addr).ok_or(Error::AddrNotAvailable)?.cidr;
        if !self.addresses.iter().any(|address| address.cidr.network() == removed.network()) {
            // Connections of that address go on by the way that they know, as long as they do.
            self.routes.remove(removed.network());
        }
        self.forget(addr);
        Ok(())
    }

    /// An address is gone: nothing is left to do about it.
    pub(crate) fn forget(&mut self, addr: IpAddr) {
        self.duties.retain(|duty| match *duty {
            Duty::Probe(probed) => IpAddr::V6(probed) != addr,
            Duty::Announce(announced, _) => IpAddr::V4(announced) != addr,
            _ => true,
        });
        self.note_change(addr, false, Instant::ZERO);
    }

    pub(crate) fn add_route(&mut self, destination: Cidr, gateway: IpAddr) -> Result<(), Error> {
        if !self.has_network_of(gateway) {
            self.add_way_to(gateway)?;
        }
        let route = Route { destination, gateway: Some(gateway) };
        let added = self.routes.add(route);
        if added.is_err() {
            self.remove_way_to(gateway);
        }
        added.map_err(|_| Error::InvalidInput("there is a route to that network, or the table is full"))?;
        self.ways_changed();
        Ok(())
    }

    pub(crate) fn remove_route(&mut self, destination: Cidr) -> Result<(), Error> {
        let removed = self.routes.remove(destination).ok_or(Error::NetworkUnreachable)?;
        if let Some(gateway) = removed.gateway {
            self.remove_way_to(gateway);
        }
        self.ways_changed();
        Ok(())
    }

    /// Whether an address is in a network of ours.
    fn has_network_of(&self, addr: IpAddr) -> bool {
        self.addresses.iter().any(|address| address.cidr.contains(addr))
    }

    /// A host whose own address is all of its network, as clouds give them, has its gateway on the link all the same: as if
    /// there were a route to that alone.
    fn add_way_to(&mut self, gateway: IpAddr) -> Result<(), Error> {
        let is_alone = |cidr: Cidr| cidr.is_host() && cidr.addr().is_ipv4() == gateway.is_ipv4();
        if !self.addresses.iter().any(|address| is_alone(address.cidr)) {
            return Err(Error::InvalidInput(
                "the gateway is on none of this host's networks: give the host an address of the gateway's network, or one that \
                 is a network of its own (/32, of IPv6 /128)",
            ));
        }
        let route = Route { destination: Cidr::host(gateway), gateway: None };
        if self.routes.iter().any(|known| known.destination == route.destination) {
            return Ok(());
        }
        self.routes.add(route).map_err(|_| Error::InvalidInput("the routing table is full: raise routes_max"))
    }

    /// Undoes `add_way_to` once no route leads through that gateway.
    fn remove_way_to(&mut self, gateway: IpAddr) {
        let way = Cidr::host(gateway);
        let is_used = self.routes.iter().any(|route| route.gateway == Some(gateway));
        // An address that is a network of its own has the same way to itself.
        let is_own = self.addresses.iter().any(|address| address.cidr == way);
        let is_derived = |route: &Route| route.destination == way && route.gateway.is_none();
        if !is_used && !is_own && self.routes.iter().any(is_derived) {
            self.routes.remove(way);
        }
    }

    /// Connections look up their way anew.
    fn ways_changed(&mut self) {
        self.keep_routers();
        self.neighbors.void_ids();
    }

    /// Those through whom packets go on keep their places among the neighbours.
    pub(crate) fn keep_routers(&mut self) {
        let configured = self.routes.iter().filter_map(|route| route.gateway);
        self.neighbors.set_routers(configured.chain(self.discovered.routers().map(IpAddr::V6)));
    }

    /// The addresses that may be used.
    pub(crate) fn assigned(&self) -> impl Iterator<Item = Cidr> + '_ {
        self.addresses.assigned()
    }

    /// What an address is good for; `None` if it is none of ours.
    pub(crate) fn address_state(&self, addr: IpAddr) -> Option<AddressState> {
        self.addresses.get(addr).map(|address| address.state)
    }

    /// Whether an address is this host's.
    #[inline]
    pub(crate) fn is_ours(&self, addr: IpAddr) -> bool {
        self.addresses.is_assigned(addr)
    }

    /// Whether what is sent to an address stays here: one of ours, or a loopback address (RFC 1122 §3.2.1.3 (g)).
    #[inline]
    pub(crate) fn is_here(&self, addr: IpAddr) -> bool {
        addr.is_loopback() || self.is_ours(addr)
    }

    /// Whether the packet that is being received is for us. Loopback addresses are only ours as long as it comes from
    /// ourselves.
    #[inline]
    pub(crate) fn is_for_us(&self, dst: IpAddr) -> bool {
        self.is_ours(dst) || self.is_looping && dst.is_loopback()
    }

    /// Whether a packet from the wire says that we sent it: somebody wants us to answer ourselves.
    #[inline]
    pub(crate) fn is_martian(&self, src: IpAddr) -> bool {
        !self.is_looping && self.is_ours(src)
    }

    /// Whether the packet that is being received may come from this host.
    #[inline]
    pub(crate) fn is_host_source(&self, src: IpAddr) -> bool {
        address::is_host_source(src) || self.is_looping && src.is_loopback()
    }

    /// Whether an IPv4 address reaches every host of a network of ours.
    #[inline]
    pub(crate) fn is_broadcast(&self, addr: Ipv4Addr) -> bool {
        addr.is_broadcast() || self.assigned().any(|cidr| cidr.broadcast() == Some(addr))
    }

    /// All nodes, and the groups in which our neighbours ask for our addresses, those included that are still in
    /// question.
    pub(crate) fn is_our_group(&self, dst: Ipv6Addr) -> bool {
        dst == address::ALL_NODES || self.is_member(dst)
    }

    /// The next hop to an address. A host's own networks come before any gateway, and what was configured before what
    /// routers say.
    #[inline]
    pub(crate) fn route(&self, dst: IpAddr) -> Option<IpAddr> {
        let configured = self.routes.find(dst);
        if configured.is_none_or(|route| route.destination.prefix() == 0) && self.discovered.is_on_link(dst) {
            return Some(dst);
        }
        match configured {
            Some(route) => Some(route.gateway.unwrap_or(dst)),
            None if dst.is_ipv6() => self.discovered.router().map(IpAddr::V6),
            None => None,
        }
    }

    /// What is known of the paths that packets of this protocol take.
    pub(crate) fn path_mtus(&mut self, protocol: Protocol) -> &mut PathMtus {
        if protocol == Protocol::UDP { &mut self.path_mtus } else { &mut self.echo_path_mtus }
    }

    /// An echo request or reply went out that would be a packet of this length.
    pub(crate) fn note_echo(&mut self, dst: IpAddr, len: usize, now: Instant) {
        let len = len.min(self.datagram_mtu(Protocol::ICMPV6, dst, len, now));
        if let (IpAddr::V6(dst), true) = (dst, len > path_mtus::MTU_MIN) {
            self.long_echoes.note(self.echo_path_mtus.hash(dst), len, now);
        }
    }

    /// Whether an echo request or reply that was longer went there lately.
    pub(crate) fn has_echoed_longer(&self, dst: Ipv6Addr, mtu: usize, now: Instant) -> bool {
        self.long_echoes.has_longer(self.echo_path_mtus.hash(dst), mtu, now)
    }

    /// The longest packet that a datagram, or a message of ICMP, may be sent in. `len`: of the packet, were it one.
    #[inline]
    pub(crate) fn datagram_mtu(&self, protocol: Protocol, dst: IpAddr, len: usize, now: Instant) -> usize {
        let [v4, v6] = self.datagram_mtus;
        match dst {
            IpAddr::V6(dst) if len > path_mtus::MTU_MIN => {
                let paths = if protocol == Protocol::UDP { &self.path_mtus } else { &self.echo_path_mtus };
                paths.get(dst, now).map_or(v6, |mtu| mtu.min(v6))
            }
            IpAddr::V6(_) => v6,
            IpAddr::V4(_) => v4,
        }
    }

    /// What this host can reach, in no particular order.
    pub(crate) fn ways(&self) -> impl Iterator<Item = Way> + '_ {
        let own = self.assigned().filter_map(|cidr| Way::own(cidr.addr()));
        let routes = self.routes.iter().map(|route| route.destination);
        let default = self.discovered.router().map(|_| Cidr::ALL_V6);
        own.chain(routes.chain(self.discovered.networks()).chain(default).map(Way::to))
    }

    /// The address to send from: for IPv4 the one nearest to the next hop, for IPv6 that of RFC 6724.
    pub(crate) fn source_for(&self, dst: IpAddr) -> Result<IpAddr, Error> {
        if dst.is_loopback() {
            return Ok(address::loopback(dst));
        }
        if self.is_ours(dst) {
            return Ok(dst);
        }
        let group = !address::is_unicast(dst);
        let near = if group { dst } else { self.route(dst).ok_or(Error::NetworkUnreachable)? };
        let on_link = self.assigned().filter(|cidr| near.is_ipv4() && cidr.contains(near));
        let nearest = on_link.min_by_key(|cidr| Reverse(cidr.prefix())).map(|cidr| cidr.addr());
        let source = nearest.or_else(|| address::select_source(dst, self.addresses.sources()));
        source.ok_or(Error::NetworkUnreachable)
    }

    /// Whether packets may go between these addresses. A loopback address never shows on the wire (RFC 1122 §3.2.1.3 (g),
    /// RFC 4291 §2.5.3).
    pub(crate) fn check_ends(&self, src: IpAddr, dst: IpAddr) -> Result<(), Error> {
        if src.is_loopback() && !self.is_here(dst) {
            return Err(Error::InvalidInput("a socket at a loopback address reaches only its own host"));
        }
        Ok(())
    }

    /// Queues a frame of this host to itself. False if too many wait.
    pub(crate) fn loop_back(&mut self, frame: F, meta: RxMeta) -> bool {
        let has_room = self.loopback.len() < LOOPBACK_COUNT_MAX;
        if has_room {
            self.loopback.push_back((frame, meta));
        }
        has_room
    }
}

fn datagram_mtus(caps: &Caps) -> [usize; 2] {
    [ipv4::LEN, ipv6::LEN].map(|header_len| caps.mtu.min(caps.fill_len_max.saturating_add(header_len)))
}

/// What a device can do with frames that have a tag: it counts that as part of the packet.
fn in_vlan(caps: &Caps, vlan: Option<VlanId>) -> Caps {
    let tag_len = vlan.map_or(0, |_| ethernet::TAG_LEN);
    Caps { mtu: caps.mtu - tag_len, tso_len_max: caps.tso_len_max - tag_len, ..*caps }
}

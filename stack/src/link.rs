//! The host on its link: addresses, routes, neighbours, and what the device can do.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

use hayase_device::{Caps, Frame, RxMeta, TxMeta};

use crate::config::Config;
use crate::error::Error;
use crate::ip::address::{self, Cidr};
use crate::ip::{Neighbors, Route, Routes};
use crate::random::Random;
use crate::wire::Mac;

/// Frames that this host sends to itself and that wait for the next turn.
const LOOPBACK_COUNT_MAX: usize = 1024;

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
    pub(crate) caps: Caps,
    addresses: Vec<Cidr>,
    addresses_max: usize,
    routes: Routes,
    pub(crate) neighbors: Neighbors<Waiting<F>>,
    /// Identification of the next IPv4 packet, and of the next IPv6 packet in fragments.
    pub(crate) ident: u32,
    pub(crate) loopback: VecDeque<(F, RxMeta)>,
    /// What is being received now comes from `loopback`.
    pub(crate) is_looping: bool,
}

impl<F: Frame> Link<F> {
    pub(crate) fn new(config: &Config, caps: &Caps, mac: Mac, random: &mut Random) -> Link<F> {
        Link {
            mac,
            caps: *caps,
            addresses: Vec::new(),
            addresses_max: config.addresses_max,
            routes: Routes::new(config.routes_max),
            neighbors: Neighbors::new(config.neighbors_max, random.next()),
            ident: random.next() as u32,
            loopback: VecDeque::new(),
            is_looping: false,
        }
    }

    /// Adds an address and the route to its network.
    pub(crate) fn add_address(&mut self, cidr: Cidr) -> Result<(), Error> {
        if !address::is_host_source(cidr.addr()) || cidr.broadcast().is_some_and(|b| b == cidr.addr()) {
            return Err(Error::InvalidInput(
                "an interface address must be a host's: no group, broadcast or loopback",
            ));
        }
        if self.is_ours(cidr.addr()) {
            return Err(Error::AddrInUse);
        }
        if self.addresses.len() >= self.addresses_max {
            return Err(Error::TooManySockets);
        }
        // Several addresses of one network share its route.
        if !self.routes.iter().any(|route| route.destination == cidr.network()) {
            let route = Route { destination: cidr.network(), gateway: None };
            self.routes
                .add(route)
                .map_err(|_| Error::InvalidInput("the routing table is full: raise routes_max"))?;
        }
        self.addresses.push(cidr);
        Ok(())
    }

    pub(crate) fn remove_address(&mut self, addr: IpAddr) -> Result<(), Error> {
        let at = self.addresses.iter().position(|cidr| cidr.addr() == addr).ok_or(Error::AddrNotAvailable)?;
        let removed = self.addresses.remove(at);
        if !self.addresses.iter().any(|cidr| cidr.network() == removed.network()) {
            self.routes.remove(removed.network());
        }
        Ok(())
    }

    pub(crate) fn add_route(&mut self, destination: Cidr, gateway: IpAddr) -> Result<(), Error> {
        if !self.addresses.iter().any(|cidr| cidr.contains(gateway)) {
            return Err(Error::InvalidInput("the gateway is on none of this host's networks"));
        }
        let route = Route { destination, gateway: Some(gateway) };
        self.routes
            .add(route)
            .map_err(|_| Error::InvalidInput("there is a route to that network, or the table is full"))
    }

    pub(crate) fn remove_route(&mut self, destination: Cidr) -> Result<(), Error> {
        self.routes.remove(destination).map(|_| ()).ok_or(Error::NetworkUnreachable)
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = Cidr> + '_ {
        self.addresses.iter().copied()
    }

    /// Whether an address is this host's.
    #[inline]
    pub(crate) fn is_ours(&self, addr: IpAddr) -> bool {
        self.addresses.iter().any(|cidr| cidr.addr() == addr)
    }

    /// Whether a packet from the wire says that we sent it: somebody wants us to answer ourselves.
    #[inline]
    pub(crate) fn is_martian(&self, src: IpAddr) -> bool {
        !self.is_looping && self.is_ours(src)
    }

    /// Whether an IPv4 address reaches every host of a network of ours.
    #[inline]
    pub(crate) fn is_broadcast(&self, addr: Ipv4Addr) -> bool {
        addr.is_broadcast() || self.addresses.iter().any(|cidr| cidr.broadcast() == Some(addr))
    }

    /// The next hop to an address. A host's own networks come before any gateway.
    #[inline]
    pub(crate) fn route(&self, dst: IpAddr) -> Option<IpAddr> {
        self.routes.lookup(dst).map(|hop| hop.addr)
    }

    /// The address to send from: the one nearest to the next hop.
    pub(crate) fn source_for(&self, dst: IpAddr) -> Result<IpAddr, Error> {
        if self.is_ours(dst) {
            return Ok(dst);
        }
        let group = !address::is_unicast(dst);
        let near = if group { dst } else { self.route(dst).ok_or(Error::NetworkUnreachable)? };
        let on_link = self.addresses().find(|cidr| cidr.contains(near)).map(|cidr| cidr.addr());
        on_link.or_else(|| address::select_source(dst, self.addresses())).ok_or(Error::NetworkUnreachable)
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

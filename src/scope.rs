//! Scopes of link-local addresses on hosts of several interfaces.
//!
//! An `fe80::` address means nothing without its link, which the scope names by a number. A stack of ours has one link and
//! ignores the number; the operating system's sockets have many, and numbers of their own for these. So the interfaces of a
//! host are 1 to N, in their order, and a link of the operating system is N and the system's number for it. Here one is turned
//! into the other, where addresses go to an interface and where they come from it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{PoisonError, RwLock};

use crate::door::ShardId;
use crate::host::Host;

/// Every interface of a host of several, in this process: sockets tell their addresses on any thread.
static PLACES: RwLock<Vec<Place>> = RwLock::new(Vec::new());

/// An interface among several.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// The host of all.
    host: ShardId,
    interface: ShardId,
    /// From 1.
    number: u32,
    /// How many there are.
    count: u32,
    /// It is the operating system's sockets, and has scopes of its own.
    has_links: bool,
}

/// Notes which interfaces a host has.
pub(crate) fn note(host: ShardId, interfaces: &[Host]) -> io::Result<()> {
    let mut places = Vec::new();
    for (number, interface) in (1..).zip(interfaces) {
        let (count, has_links) = (interfaces.len() as u32, interface.has_links()?);
        places.push(Place { host, interface: interface.shard(), number, count, has_links });
    }
    PLACES.write().unwrap_or_else(PoisonError::into_inner).extend(places);
    Ok(())
}

/// The host is no more.
pub(crate) fn forget(host: ShardId) {
    PLACES.write().unwrap_or_else(PoisonError::into_inner).retain(|place| place.host != host);
}

/// The interfaces of a host, in their order, whichever thread they are of.
pub(crate) fn interfaces(host: ShardId) -> Vec<Host> {
    let places = PLACES.read().unwrap_or_else(PoisonError::into_inner);
    places.iter().filter(|place| place.host == host).map(|place| Host::new(place.interface)).collect()
}

#[cold]
fn place(interface: ShardId) -> Option<Place> {
    let places = PLACES.read().unwrap_or_else(PoisonError::into_inner);
    places.iter().find(|place| place.interface == interface).copied()
}

/// Whether an address is one of many that only its link tells apart.
#[inline]
pub(crate) fn is_link_local(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V6(addr) if addr.is_unicast_link_local())
}

/// Which of these interfaces the scope of a link-local address names. 0 names none.
///
/// # Errors
/// If there are not so many.
pub(crate) fn named(
    addr: SocketAddr,
    interfaces: impl ExactSizeIterator<Item = Host>,
) -> io::Result<Option<usize>> {
    let scope = match addr {
        SocketAddr::V6(v6) if is_link_local(addr.ip()) => v6.scope_id() as usize,
        _ => return Ok(None),
    };
    let count = interfaces.len();
    if scope <= count {
        return Ok(scope.checked_sub(1));
    }
    let is_systems = |host: Host| place(host.shard()).is_some_and(|place| place.has_links);
    match { interfaces }.position(is_systems) {
        Some(index) => Ok(Some(index)),
        None => {
            let text = format!("{addr}: there is no interface {scope}, only 1 to {count}");
            Err(io::Error::new(io::ErrorKind::InvalidInput, text))
        }
    }
}

/// An address as an interface knows it.
#[inline]
pub(crate) fn inward(interface: ShardId, addr: SocketAddr) -> SocketAddr {
    if is_link_local(addr.ip()) { scoped(interface, addr, Place::inward) } else { addr }
}

/// A peer's address as an interface knows it, for a socket that is on this one alone.
///
/// # Errors
/// If it is one of another link.
#[inline]
pub(crate) fn inward_only(interface: ShardId, peer: SocketAddr) -> io::Result<SocketAddr> {
    if is_link_local(peer.ip()) { on_this_link(interface, peer) } else { Ok(peer) }
}

#[cold]
fn on_this_link(interface: ShardId, peer: SocketAddr) -> io::Result<SocketAddr> {
    if let (SocketAddr::V6(v6), Some(place)) = (peer, place(interface))
        && !place.is_named_by(v6.scope_id())
    {
        let text = format!("{peer} is on another link than the socket, whose interface is {}", place.number);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(inward(interface, peer))
}

/// An address of an interface as its host knows it: from everywhere, it leads there.
#[inline]
pub(crate) fn outward(interface: ShardId, addr: SocketAddr) -> SocketAddr {
    if is_link_local(addr.ip()) { scoped(interface, addr, Place::outward) } else { addr }
}

#[cold]
fn scoped(interface: ShardId, mut addr: SocketAddr, turn: fn(Place, u32) -> u32) -> SocketAddr {
    if let (SocketAddr::V6(v6), Some(place)) = (&mut addr, place(interface)) {
        v6.set_scope_id(turn(place, v6.scope_id()));
    }
    addr
}

impl Place {
    fn is_named_by(self, scope: u32) -> bool {
        scope == 0 || scope == self.number || scope > self.count && self.has_links
    }

    fn inward(self, scope: u32) -> u32 {
        scope.saturating_sub(self.count)
    }

    fn outward(self, scope: u32) -> u32 {
        if scope == 0 { self.number } else { scope.saturating_add(self.count) }
    }
}

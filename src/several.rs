//! Hosts of several interfaces: which hosts they are made of, and which of these a socket belongs to.
//!
//! Such a host has no stack. Its name stands for a list of hosts of one thread, each with its device, addresses, routes
//! and counters, and every socket is on one of these, or on each ([`Wide`](crate::wide::Wide)). A connection is on the one
//! that it came in or went out on, and knows nothing of the others.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use hayase_stack::Cidr;

use crate::door::{self, ShardId};
use crate::host::{self, Host};
use crate::mailbox;
use crate::scope::{self, is_link_local};

thread_local! {
    /// The hosts of several interfaces of this thread: one, as a rule, or none.
    static HOSTS: RefCell<Vec<(ShardId, Rc<[Host]>)>> = const { RefCell::new(Vec::new()) };
}

/// The interfaces of a host of several: one of this thread, or one whose stacks work on every thread.
pub(crate) fn of(id: ShardId) -> Option<Rc<[Host]>> {
    // What has a door here is one interface, and the path of its sockets is no place to ask the whole process.
    of_this_thread(id).or_else(|| if door::of(id).is_some() { None } else { of_another(id) })
}

fn of_this_thread(id: ShardId) -> Option<Rc<[Host]>> {
    // At the end of a thread there may be no list left to look into.
    let found = HOSTS.try_with(|hosts| {
        let hosts = hosts.borrow();
        hosts.iter().find(|(known, _)| *known == id).map(|(_, interfaces)| Rc::clone(interfaces))
    });
    found.ok().flatten()
}

#[cold]
fn of_another(id: ShardId) -> Option<Rc<[Host]>> {
    let interfaces = scope::interfaces(id);
    let is_within_reach = |host: &Host| door::enter(host.shard(), |_| ()).is_ok();
    let is_usable = !interfaces.is_empty() && interfaces.iter().all(is_within_reach);
    is_usable.then(|| interfaces.into())
}

/// Makes one host of several.
///
/// # Errors
/// If there are none, one of them is none of this thread with one interface, or two have the same address.
pub(crate) fn unite(interfaces: &[Host]) -> io::Result<Host> {
    let refused = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    if let Some(host) = interfaces.iter().find(|host| of(host.shard()).is_some()) {
        return refused(format!("{host:?} has several interfaces already: name each of them"));
    }
    let mut addresses: Vec<IpAddr> = Vec::new();
    for (index, host) in interfaces.iter().enumerate() {
        if interfaces[..index].contains(host) {
            return refused(format!("{host:?} is named twice"));
        }
        for (cidr, _) in host.address_states()? {
            let addr = cidr.addr();
            if addresses.contains(&addr) && !is_link_local(addr) {
                return refused(format!("{addr} is the address of two devices: each needs one of its own"));
            }
            addresses.push(addr);
        }
    }
    if interfaces.is_empty() {
        return refused("a host needs at least one interface".into());
    }
    let id = mailbox::open()?;
    if let Err(error) = scope::note(id, interfaces) {
        mailbox::close(id);
        return Err(error);
    }
    HOSTS.with(|hosts| hosts.borrow_mut().push((id, interfaces.into())));
    host::united(id, interfaces);
    Ok(Host::new(id))
}

/// The host is no more. Its interfaces may be.
pub(crate) fn part(id: ShardId) {
    mailbox::close(id);
    scope::forget(id);
    let _ = HOSTS.try_with(|hosts| hosts.borrow_mut().retain(|(known, _)| *known != id));
}

/// Whether a host is one of this thread.
pub(crate) fn is_here(id: ShardId) -> bool {
    of_this_thread(id).is_some() || door::is_here(id)
}

/// The interface for a socket that is bound to `local`. `None` if that is no address in particular.
pub(crate) fn at(interfaces: &[Host], local: SocketAddr) -> io::Result<Option<Host>> {
    if local.ip().is_unspecified() {
        return Ok(None);
    }
    if let Some(index) = scope::named(local, interfaces.iter().copied())? {
        return Ok(Some(interfaces[index]));
    }
    // The operating system's sockets have a loopback of their own, which is not ours.
    if local.ip().is_loopback() {
        return Ok(interfaces.first().copied());
    }
    for host in interfaces {
        if host.address_states()?.iter().any(|(cidr, _)| cidr.addr() == local.ip()) {
            return Ok(Some(*host));
        }
    }
    // It is nobody's, as the first will say.
    Ok(interfaces.first().copied())
}

/// The interface for what goes to `remote`: that which its scope names; else that of `local`, if this is an address in
/// particular; or else the nearest.
pub(crate) fn towards(
    interfaces: &[Host],
    remote: SocketAddr,
    local: Option<SocketAddr>,
) -> io::Result<Option<Host>> {
    // Of several interfaces with one link-local address, `local` may be anyone's.
    if let Some(index) = scope::named(remote, interfaces.iter().copied())? {
        return Ok(Some(interfaces[index]));
    }
    // From a loopback address one reaches all of one's own.
    if let Some(local) = local.filter(|local| !local.ip().is_loopback())
        && let Some(host) = at(interfaces, local)?
    {
        return Ok(Some(host));
    }
    let index = nearest(interfaces.iter().copied(), remote)?;
    Ok(interfaces.get(index).copied())
}

/// Which interface is nearest to `remote`: the one whose own address that is, else the one with the longest matching
/// prefix in its routes; of several, or where none has a way, the first.
pub(crate) fn nearest(
    interfaces: impl ExactSizeIterator<Item = Host> + Clone,
    remote: SocketAddr,
) -> io::Result<usize> {
    if let Some(index) = scope::named(remote, interfaces.clone())? {
        return Ok(index);
    }
    // Loopback addresses are in no table, so that always the same one answers.
    if remote.ip().is_loopback() {
        return Ok(0);
    }
    let mut nearest = (0, None);
    for (index, host) in interfaces.enumerate() {
        let reach = host.reach(remote.ip())?;
        if reach > nearest.1 {
            nearest = (index, reach);
        }
    }
    Ok(nearest.0)
}

/// The interface through which a gateway is a neighbour.
pub(crate) fn beside(interfaces: &[Host], gateway: IpAddr) -> io::Result<Option<Host>> {
    // An address that is a network of its own has its gateway beside it wherever that is.
    let is_alone = |cidr: &Cidr| cidr.is_host() && cidr.addr().is_ipv4() == gateway.is_ipv4();
    let (mut alone, mut containing) = (None, None);
    for host in interfaces {
        let addresses = host.addresses()?;
        if containing.is_none() && addresses.iter().any(|cidr| cidr.contains(gateway)) {
            containing = Some(*host);
        }
        if alone.is_none() && addresses.iter().any(is_alone) {
            alone = Some(*host);
        }
    }
    Ok(containing.or(alone).or(interfaces.first().copied()))
}

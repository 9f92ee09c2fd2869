//! Sockets by the address that they are bound to: found by a hash or three, however many sockets there are.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::random::Random;

/// Who has an address.
#[derive(Debug, Clone, Copy, Default)]
struct Holders {
    /// The socket that gets what is sent there by anybody.
    open: Option<u32>,
    /// All of them, with those that have a peer.
    count: u32,
}

/// The sockets of one transport, by index.
#[derive(Debug)]
pub(crate) struct Bound {
    by_address: HashMap<SocketAddr, Holders, FixedState>,
    /// How many sockets there are at a port, whatever their address.
    by_port: HashMap<u16, u32, FixedState>,
}

impl Bound {
    pub(crate) fn new(random: &Random) -> Bound {
        let hasher = FixedState::with_seed(random.table_keys()[0]);
        Bound { by_address: HashMap::with_hasher(hasher.clone()), by_port: HashMap::with_hasher(hasher) }
    }

    /// Whether some socket has this very address.
    pub(crate) fn has(&self, local: SocketAddr) -> bool {
        self.by_address.contains_key(&key(local.ip(), local.port()))
    }

    /// Whether some socket has this port.
    pub(crate) fn has_port(&self, port: u16) -> bool {
        self.by_port.contains_key(&port)
    }

    /// Adds a socket. One that `is_open` is found by [`find`](Self::find) from now on.
    pub(crate) fn insert(&mut self, local: SocketAddr, index: u32, is_open: bool) {
        let holders = self.by_address.entry(key(local.ip(), local.port())).or_default();
        holders.count += 1;
        if is_open {
            holders.open = Some(index);
        }
        *self.by_port.entry(local.port()).or_default() += 1;
    }

    /// Takes away a socket that was added with this address.
    pub(crate) fn remove(&mut self, local: SocketAddr, index: u32) {
        if let Entry::Occupied(mut entry) = self.by_address.entry(key(local.ip(), local.port())) {
            let holders = entry.get_mut();
            holders.count -= 1;
            holders.open = holders.open.filter(|open| *open != index);
            if holders.count == 0 {
                entry.remove();
            }
        }
        if let Entry::Occupied(mut entry) = self.by_port.entry(local.port()) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }

    /// The open socket for what is sent to `local`, an address of ours: one with that very address before one with all
    /// of its family. `[::]` takes what is left, of IPv4 too, as on Linux with IPV6_V6ONLY off.
    pub(crate) fn find(&self, local: IpAddr, port: u16) -> Option<u32> {
        let open = |ip| self.by_address.get(&key(ip, port)).and_then(|holders| holders.open);
        open(local)
            .or_else(|| if local.is_ipv4() { open(Ipv4Addr::UNSPECIFIED.into()) } else { None })
            .or_else(|| open(Ipv6Addr::UNSPECIFIED.into()))
    }
}

/// An address as received packets have it: without the flow label and scope that a program may have given.
pub(crate) fn key(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip, port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_most_exact_address_wins_and_what_is_removed_leaves_nothing() {
        let mut bound = Bound::new(&Random::new([7; 32]));
        let all = [("[::]:80", 1), ("0.0.0.0:80", 2), ("10.0.0.1:80", 3)];
        all.iter().for_each(|(local, index)| bound.insert(addr(local), *index, true));
        let find = |bound: &Bound, ip: &str| bound.find(ip.parse().unwrap(), 80);
        assert_eq!(find(&bound, "10.0.0.1"), Some(3));
        assert_eq!(find(&bound, "10.0.0.2"), Some(2));
        assert_eq!(find(&bound, "fd00::1"), Some(1));
        assert_eq!(bound.find("10.0.0.1".parse().unwrap(), 81), None);
        bound.remove(addr("0.0.0.0:80"), 2);
        assert_eq!(find(&bound, "10.0.0.2"), Some(1), "dual stack");
        bound.remove(addr("10.0.0.1:80"), 3);
        assert!(bound.has_port(80) && !bound.has(addr("10.0.0.1:80")));
        bound.remove(addr("[::]:80"), 1);
        assert!(!bound.has_port(80) && bound.by_address.is_empty() && bound.by_port.is_empty());
    }

    #[test]
    fn a_socket_with_a_peer_holds_its_address_and_is_not_found() {
        let mut bound = Bound::new(&Random::new([7; 32]));
        let local = addr("10.0.0.1:53");
        bound.insert(local, 1, false);
        assert!(bound.has(local) && bound.find(local.ip(), 53).is_none());
        bound.insert(local, 2, true);
        assert_eq!(bound.find(local.ip(), 53), Some(2));
        bound.remove(local, 1);
        assert_eq!(bound.find(local.ip(), 53), Some(2), "the other one stays");
        bound.remove(local, 2);
        assert!(!bound.has(local));
    }
}

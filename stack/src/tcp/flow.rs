//! From a segment's addresses to its connection: one keyed hash lookup, however many connections there are.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hashbrown::HashTable;
use hayase_device::checksum::Sum;

use crate::random::Random;
use crate::wire::Protocol;

/// The addresses and ports of a connection. IPv4 addresses are kept in their IPv4-mapped form, so that both
/// families compare and hash as the same few integers.
#[derive(Clone, Copy)]
pub(crate) struct Tuple {
    local: [u64; 2],
    remote: [u64; 2],
    /// Local port in the upper, remote port in the lower half.
    ports: u32,
}

impl Tuple {
    #[inline]
    pub(crate) fn new(local: SocketAddr, remote: SocketAddr) -> Tuple {
        Tuple {
            local: words(local.ip()),
            remote: words(remote.ip()),
            ports: u32::from(local.port()) << 16 | u32::from(remote.port()),
        }
    }

    /// From the addresses and ports of a received IPv4 packet, as they stand there: source first.
    #[inline(always)]
    pub(crate) fn received_v4(addresses: [u8; 8], ports: [u8; 4]) -> Tuple {
        let addresses = u64::from_be_bytes(addresses);
        Tuple {
            local: [0, MAPPED | (addresses & 0xffff_ffff)],
            remote: [0, MAPPED | addresses >> 32],
            ports: u32::from_be_bytes(ports).rotate_left(16),
        }
    }

    /// From the addresses and ports of a received IPv6 packet, as they stand there: source first.
    #[inline(always)]
    pub(crate) fn received_v6(addresses: [u8; 32], ports: [u8; 4]) -> Tuple {
        let word = |at: usize| u64::from_be_bytes(core::array::from_fn(|i| addresses[at + i]));
        Tuple {
            local: [word(16), word(24)],
            remote: [word(0), word(8)],
            ports: u32::from_be_bytes(ports).rotate_left(16),
        }
    }

    #[inline(always)]
    pub(crate) fn is_v4(&self) -> bool {
        self.local[0] == 0 && self.local[1] >> 32 == MAPPED >> 32
    }

    /// Whether it is a connection with this host's own loopback.
    #[inline]
    pub(crate) fn is_loopback(&self) -> bool {
        let is_here = |words: [u64; 2]| match words {
            [0, low] => low == 1 || low >> 24 == MAPPED >> 24 | 127,
            _ => false,
        };
        is_here(self.remote) || is_here(self.local)
    }

    /// The lower words of local and remote address: all of it, if they are of IPv4.
    #[inline(always)]
    pub(crate) fn low_words(&self) -> (u32, u32) {
        (self.local[1] as u32, self.remote[1] as u32)
    }

    /// Local port in the upper, remote port in the lower half.
    #[inline(always)]
    pub(crate) fn ports(&self) -> u32 {
        self.ports
    }

    /// The sum over the pseudo-header of a segment, in either direction (RFC 9293 §3.1).
    #[inline]
    pub(crate) fn pseudo_header(&self, segment_len: u32) -> Sum {
        if self.is_v4() {
            return self.pseudo_header_v4(segment_len);
        }
        let mut sum = Sum::default();
        for word in [self.local[0], self.local[1], self.remote[0], self.remote[1]] {
            sum.add_u32((word >> 32) as u32);
            sum.add_u32(word as u32);
        }
        sum.add_u32(u32::from(Protocol::TCP.0) + segment_len);
        sum
    }

    /// The same for addresses that are known to be of IPv4.
    #[inline(always)]
    pub(crate) fn pseudo_header_v4(&self, segment_len: u32) -> Sum {
        let (local, remote) = self.low_words();
        let mut sum = Sum::default();
        sum.add_u32(local);
        sum.add_u32(remote);
        sum.add_u32(u32::from(Protocol::TCP.0) + segment_len);
        sum
    }

    #[inline]
    pub(crate) fn local_ip(&self) -> IpAddr {
        address(self.local)
    }

    #[inline]
    pub(crate) fn remote_ip(&self) -> IpAddr {
        address(self.remote)
    }

    #[inline]
    pub(crate) fn local_port(&self) -> u16 {
        (self.ports >> 16) as u16
    }

    #[inline]
    pub(crate) fn remote_port(&self) -> u16 {
        self.ports as u16
    }

    pub(crate) fn local(&self) -> SocketAddr {
        SocketAddr::new(self.local_ip(), self.local_port())
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        SocketAddr::new(self.remote_ip(), self.remote_port())
    }

    /// The tuple as words, for keyed functions of it.
    pub(crate) fn as_words(&self) -> [u64; 5] {
        [self.local[0], self.local[1], self.remote[0], self.remote[1], u64::from(self.ports)]
    }
}

impl PartialEq for Tuple {
    /// Word by word: of addresses of IPv4 half the words are known.
    #[inline(always)]
    fn eq(&self, other: &Tuple) -> bool {
        let differs = |a: [u64; 2], b: [u64; 2]| (a[0] ^ b[0]) | (a[1] ^ b[1]);
        differs(self.local, other.local) | differs(self.remote, other.remote) == 0
            && self.ports == other.ports
    }
}

impl Eq for Tuple {}

impl fmt::Debug for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} - {}", self.local(), self.remote())
    }
}

const MAPPED: u64 = 0xffff_0000_0000;

#[inline]
fn words(ip: IpAddr) -> [u64; 2] {
    match ip {
        IpAddr::V4(v4) => [0, MAPPED | u64::from(u32::from(v4))],
        IpAddr::V6(v6) => {
            let bits = u128::from(v6);
            [(bits >> 64) as u64, bits as u64]
        }
    }
}

#[inline]
fn address([high, low]: [u64; 2]) -> IpAddr {
    if high == 0 && low >> 32 == MAPPED >> 32 {
        IpAddr::V4(Ipv4Addr::from(low as u32))
    } else {
        IpAddr::V6(Ipv6Addr::from(u128::from(high) << 64 | u128::from(low)))
    }
}

/// What a tuple leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Index of a connection.
    Connection(u32),
    /// Index of a TIME_WAIT entry.
    TimeWait(u32),
}

impl Flow {
    const TIME_WAIT: u32 = 1 << 31;

    #[inline]
    fn pack(self) -> u32 {
        match self {
            Flow::Connection(index) => index,
            Flow::TimeWait(index) => index | Self::TIME_WAIT,
        }
    }

    #[inline]
    fn unpack(word: u32) -> Flow {
        if word & Self::TIME_WAIT == 0 {
            Flow::Connection(word)
        } else {
            Flow::TimeWait(word & !Self::TIME_WAIT)
        }
    }
}

/// An entry of the table.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// The upper half of the hash.
    tag: u32,
    flow: u32,
}

/// The table. It holds no tuples, 9 bytes a flow: those are read where the flows live, and only once a tag fits.
#[derive(Debug)]
pub(crate) struct Flows {
    table: HashTable<Entry>,
    keys: [u64; 4],
}

impl Flows {
    pub(crate) fn new(random: &Random) -> Flows {
        Flows { table: HashTable::new(), keys: random.table_keys() }
    }

    /// Keyed multiply-and-fold: without the keys nobody can choose addresses that collide.
    #[inline]
    fn hash(&self, tuple: &Tuple) -> u64 {
        let [a, b, c, d] = self.keys;
        let hash = fold(tuple.local[0] ^ a, tuple.local[1] ^ b);
        let hash = fold(hash ^ tuple.remote[0], tuple.remote[1] ^ c);
        fold(hash ^ u64::from(tuple.ports), d)
    }

    #[inline]
    pub(crate) fn find(&self, tuple: &Tuple, is_it: impl Fn(Flow) -> bool) -> Option<Flow> {
        let hash = self.hash(tuple);
        let is_entry = |entry: &Entry| entry.tag == tag(hash) && is_it(Flow::unpack(entry.flow));
        self.table.find(hash, is_entry).map(|entry| Flow::unpack(entry.flow))
    }

    /// The connection that this tuple is nearly certainly of: the caller compares. One in four billion tuples
    /// without a connection is taken for one of another.
    #[inline]
    pub(crate) fn find_likely(&self, tuple: &Tuple) -> Option<u32> {
        let hash = self.hash(tuple);
        let entry = self.table.find(hash, |entry| entry.tag == tag(hash))?;
        (entry.flow & Flow::TIME_WAIT == 0).then_some(entry.flow)
    }

    /// Adds a flow; the caller knows that the tuple is not there yet.
    pub(crate) fn insert(&mut self, tuple: &Tuple, flow: Flow, tuple_of: impl Fn(Flow) -> Option<Tuple>) {
        let keys = Flows { table: HashTable::new(), keys: self.keys };
        let rehash = |entry: &Entry| tuple_of(Flow::unpack(entry.flow)).map_or(0, |tuple| keys.hash(&tuple));
        let hash = self.hash(tuple);
        self.table.insert_unique(hash, Entry { tag: tag(hash), flow: flow.pack() }, rehash);
    }

    pub(crate) fn remove(&mut self, tuple: &Tuple, flow: Flow) {
        if let Ok(entry) = self.table.find_entry(self.hash(tuple), |entry| entry.flow == flow.pack()) {
            entry.remove();
        }
    }
}

#[inline]
fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    #[test]
    fn loopback_is_known_by_either_end() {
        let is_loopback = |a: &str, b: &str| Tuple::new(a.parse().unwrap(), b.parse().unwrap()).is_loopback();
        assert!(is_loopback("127.0.0.1:1", "127.0.0.1:2") && is_loopback("10.0.0.1:1", "127.255.0.1:2"));
        assert!(is_loopback("[::1]:1", "[::1]:2") && is_loopback("[fd00::1]:1", "[::1]:2"));
        assert!(
            !is_loopback("10.0.0.1:1", "128.0.0.1:2") && !is_loopback("126.255.255.255:1", "10.0.0.127:2")
        );
        assert!(!is_loopback("[fd00::1]:1", "[::2]:2") && !is_loopback("[fd00::1]:1", "[fe80::1]:2"));
    }

    use super::*;
    use alloc::vec::Vec;

    fn tuple(i: u32) -> Tuple {
        let local = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 80);
        Tuple::new(local, SocketAddr::new(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + i)), 1000 + (i % 7) as u16))
    }

    #[test]
    fn addresses_of_both_families_survive() {
        let v6 = Tuple::new("[fd00::1]:80".parse().unwrap(), "[fe80::2]:4000".parse().unwrap());
        assert_eq!(v6.local(), "[fd00::1]:80".parse().unwrap());
        assert_eq!(v6.remote(), "[fe80::2]:4000".parse().unwrap());
        assert_eq!(tuple(5).remote(), "10.0.0.5:1005".parse().unwrap());
    }

    #[test]
    fn finds_each_of_many_and_forgets_the_removed() {
        let tuples: Vec<Tuple> = (0..10_000).map(tuple).collect();
        let of = |flow: Flow| match flow {
            Flow::Connection(i) | Flow::TimeWait(i) => tuples.get(i as usize).copied(),
        };
        let mut flows = Flows::new(&Random::new([3; 32]));
        for i in 0..tuples.len() as u32 {
            let flow = if i % 2 == 0 { Flow::Connection(i) } else { Flow::TimeWait(i) };
            flows.insert(&tuples[i as usize], flow, of);
        }
        let find = |flows: &Flows, i: usize| flows.find(&tuples[i], |flow| of(flow) == Some(tuples[i]));
        assert_eq!(find(&flows, 4711), Some(Flow::TimeWait(4711)));
        flows.remove(&tuples[4711], Flow::TimeWait(4711));
        assert_eq!(find(&flows, 4711), None);
        assert_eq!(find(&flows, 4712), Some(Flow::Connection(4712)));
        assert_eq!(flows.find_likely(&tuples[4712]), Some(4712));
        assert_eq!(flows.find_likely(&tuples[4713]), None, "in TIME_WAIT");
        let stranger = tuple(20_000);
        assert_eq!(flows.find(&stranger, |flow| of(flow) == Some(stranger)), None);
    }
}

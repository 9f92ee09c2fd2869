//! From a segment's addresses to its connection: one keyed hash lookup, however many connections there are.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hayase_device::checksum::{self, plus};
use hayase_device::hint::{likely, usually};

use crate::egress::to_v6;
use crate::random::Random;

/// The addresses and ports of a connection, as its received packets have them: what arrives need not be turned round to be
/// compared, hashed or summed.
#[derive(Clone, Copy)]
pub(crate) struct Tuple {
    /// Source and destination, word by word. Those of IPv4 are one word, and nothing follows.
    addresses: [u64; 4],
    /// Source and destination in the lower half; the IP version above.
    ports: u64,
}

impl Tuple {
    #[inline]
    pub(crate) fn new(local: SocketAddr, remote: SocketAddr) -> Tuple {
        let ([a, b], [c, d]) = (remote.port().to_be_bytes(), local.port().to_be_bytes());
        let ports = [a, b, c, d];
        match (remote.ip(), local.ip()) {
            (IpAddr::V4(remote), IpAddr::V4(local)) => {
                let ([a, b, c, d], [e, f, g, h]) = (remote.octets(), local.octets());
                Tuple::received_v4([a, b, c, d, e, f, g, h], ports)
            }
            (remote, local) => {
                let mut addresses = [0; 32];
                addresses[..16].copy_from_slice(&to_v6(remote).octets());
                addresses[16..].copy_from_slice(&to_v6(local).octets());
                Tuple::received_v6(addresses, ports)
            }
        }
    }

    /// From the addresses and ports of a received IPv4 packet, as they stand there: source first.
    #[inline(always)]
    pub(crate) fn received_v4(addresses: [u8; 8], ports: [u8; 4]) -> Tuple {
        Tuple { addresses: [u64::from_ne_bytes(addresses), 0, 0, 0], ports: V4 | raw_ports(ports) }
    }

    /// From the addresses and ports of a received IPv6 packet, as they stand there: source first.
    #[inline(always)]
    pub(crate) fn received_v6(addresses: [u8; 32], ports: [u8; 4]) -> Tuple {
        let word = |at: usize| u64::from_ne_bytes(core::array::from_fn(|i| addresses[at + i]));
        Tuple { addresses: [word(0), word(8), word(16), word(24)], ports: V6 | raw_ports(ports) }
    }

    #[inline(always)]
    pub(crate) fn is_v4(&self) -> bool {
        self.ports >> 32 == V4 >> 32
    }

    /// Whether it is a connection with this host's own loopback.
    #[inline]
    pub(crate) fn is_loopback(&self) -> bool {
        self.remote_ip().is_loopback() || self.local_ip().is_loopback()
    }

    /// Source and destination of the packets that are sent on an IPv4 connection, as they stand there.
    #[inline(always)]
    pub(crate) fn sent_v4(&self) -> u64 {
        self.addresses[0].rotate_left(32)
    }

    /// The same of IPv6.
    #[inline(always)]
    pub(crate) fn sent_v6(&self) -> [u64; 4] {
        let [a, b, c, d] = self.addresses;
        [c, d, a, b]
    }

    /// Source and destination port of the segments that are sent, as they stand there.
    #[inline(always)]
    pub(crate) fn sent_ports(&self) -> u32 {
        (self.ports as u32).rotate_left(16)
    }

    /// The one's complement sum of both addresses, which every checksum of the connection begins with, in either
    /// direction (RFC 9293 §3.1).
    pub(crate) fn address_sum(&self) -> u16 {
        let [a, b, c, d] = self.addresses;
        u16::from_be(checksum::fold(plus(plus(a, b), plus(c, d))))
    }

    #[inline]
    pub(crate) fn local_ip(&self) -> IpAddr {
        if self.is_v4() { v4(self.sent_v4()) } else { v6(self.addresses[2], self.addresses[3]) }
    }

    #[inline]
    pub(crate) fn remote_ip(&self) -> IpAddr {
        if self.is_v4() { v4(self.addresses[0]) } else { v6(self.addresses[0], self.addresses[1]) }
    }

    #[inline]
    pub(crate) fn local_port(&self) -> u16 {
        let [.., a, b] = (self.ports as u32).to_ne_bytes();
        u16::from_be_bytes([a, b])
    }

    #[inline]
    pub(crate) fn remote_port(&self) -> u16 {
        let [a, b, ..] = (self.ports as u32).to_ne_bytes();
        u16::from_be_bytes([a, b])
    }

    pub(crate) fn local(&self) -> SocketAddr {
        SocketAddr::new(self.local_ip(), self.local_port())
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        SocketAddr::new(self.remote_ip(), self.remote_port())
    }

    /// The tuple as words, for keyed functions of it.
    pub(crate) fn as_words(&self) -> [u64; 5] {
        let [a, b, c, d] = self.addresses;
        [a, b, c, d, self.ports]
    }
}

impl PartialEq for Tuple {
    /// Of addresses of IPv4 only the first word says anything.
    #[inline(always)]
    fn eq(&self, other: &Tuple) -> bool {
        let differ = |at: usize| self.addresses[at] ^ other.addresses[at];
        self.addresses[0] == other.addresses[0]
            && self.ports == other.ports
            && (self.is_v4() || differ(1) | differ(2) | differ(3) == 0)
    }
}

impl Eq for Tuple {}

impl fmt::Debug for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} - {}", self.local(), self.remote())
    }
}

const V4: u64 = 4 << 32;
const V6: u64 = 6 << 32;

#[inline(always)]
fn raw_ports(ports: [u8; 4]) -> u64 {
    u64::from(u32::from_ne_bytes(ports))
}

/// The address that stands first in a word.
#[inline]
fn v4(word: u64) -> IpAddr {
    let [a, b, c, d, ..] = word.to_ne_bytes();
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

#[inline]
fn v6(high: u64, low: u64) -> IpAddr {
    let bits = u128::from(u64::from_be(high)) << 64 | u128::from(u64::from_be(low));
    IpAddr::V6(Ipv6Addr::from(bits))
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

/// The fewest places of a table that has any: 2 KiB, in which some dozens of flows hardly meet.
const PLACES_MIN: usize = 256;

/// A place in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// The upper half of a hash, made odd. 0: the place is free.
    tag: u32,
    flow: u32,
}

impl Place {
    const FREE: Place = Place { tag: 0, flow: 0 };
}

/// The table: a flow is at the place that the upper bits of its tag name, or at the next that was free (linear probing). It
/// holds no tuples, 8 bytes a place: those are read where the flows live, and only once the whole tag fits.
///
/// Between a flow's own place and where it stands none is free, so a search ends at the first that is.
#[derive(Debug)]
pub(crate) struct Flows {
    /// A power of two of them, or none at all.
    places: Vec<Place>,
    /// How far a tag is shifted for the number of its place.
    shift: u32,
    count: usize,
    keys: [u64; 4],
}

impl Flows {
    pub(crate) fn new(random: &Random) -> Flows {
        Flows { places: Vec::new(), shift: 0, count: 0, keys: random.table_keys() }
    }

    /// Keyed multiply-and-fold: without the keys nobody can choose addresses that collide.
    #[inline(always)]
    fn tag(&self, tuple: &Tuple) -> u32 {
        let [a, b, c, d] = self.keys;
        let [e, f, g, h] = tuple.addresses;
        let hash = if tuple.is_v4() {
            fold(e ^ a, tuple.ports ^ b)
        } else {
            let hash = fold(fold(e ^ a, f ^ b) ^ g, h ^ c);
            fold(hash ^ tuple.ports, a)
        };
        (fold(hash, d) >> 32) as u32 | 1
    }

    /// The number of the place where a tag belongs.
    #[inline(always)]
    fn home(&self, tag: u32) -> usize {
        (tag >> self.shift) as usize
    }

    /// The number of the next place.
    #[inline(always)]
    fn after(&self, place: usize) -> usize {
        (place + 1) & (self.places.len() - 1)
    }

    /// The first flow with this tag that `is_it` wants, and its place.
    #[inline(always)]
    fn find_place(&self, tag: u32, is_it: impl Fn(u32) -> bool) -> Option<(usize, u32)> {
        let mut at = self.home(tag);
        loop {
            let place = usually(self.places.get(at))?;
            if likely(place.tag == tag) && is_it(place.flow) {
                return Some((at, place.flow));
            }
            if *place == Place::FREE {
                return None;
            }
            at = self.after(at);
        }
    }

    #[inline]
    pub(crate) fn find(&self, tuple: &Tuple, is_it: impl Fn(Flow) -> bool) -> Option<Flow> {
        let found = self.find_place(self.tag(tuple), |flow| is_it(Flow::unpack(flow)));
        found.map(|(_, flow)| Flow::unpack(flow))
    }

    /// The connection that this tuple is nearly certainly of: the caller compares. One in two billion tuples without a
    /// connection is taken for one of another.
    #[inline(always)]
    pub(crate) fn find_likely(&self, tuple: &Tuple) -> Option<u32> {
        let (_, flow) = usually(self.find_place(self.tag(tuple), |_| true))?;
        if likely(flow & Flow::TIME_WAIT == 0) { Some(flow) } else { None }
    }

    /// Adds a flow; the caller knows that the tuple is not there yet.
    pub(crate) fn insert(&mut self, tuple: &Tuple, flow: Flow) {
        // A quarter stays free, so that searches are short.
        if (self.count + 1) * 4 > self.places.len() * 3 {
            self.grow();
        }
        self.count += 1;
        self.put(Place { tag: self.tag(tuple), flow: flow.pack() });
    }

    fn put(&mut self, entry: Place) {
        let mut at = self.home(entry.tag);
        while self.places[at] != Place::FREE {
            at = self.after(at);
        }
        self.places[at] = entry;
    }

    #[cold]
    fn grow(&mut self) {
        let len = (self.places.len() * 2).max(PLACES_MIN);
        let entries = core::mem::replace(&mut self.places, vec![Place::FREE; len]);
        self.shift = u32::BITS - len.trailing_zeros();
        entries.into_iter().filter(|entry| *entry != Place::FREE).for_each(|entry| self.put(entry));
    }

    pub(crate) fn remove(&mut self, tuple: &Tuple, flow: Flow) {
        let Some((mut hole, _)) = self.find_place(self.tag(tuple), |other| other == flow.pack()) else {
            return;
        };
        self.count -= 1;
        // Who stands behind it moves up, unless that were in front of where it belongs.
        let mut at = self.after(hole);
        while self.places[at] != Place::FREE {
            let distance = |from: usize| at.wrapping_sub(from) & (self.places.len() - 1);
            if distance(self.home(self.places[at].tag)) >= distance(hole) {
                self.places[hole] = self.places[at];
                hole = at;
            }
            at = self.after(at);
        }
        self.places[hole] = Place::FREE;
    }
}

#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

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
            flows.insert(&tuples[i as usize], flow);
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

    /// Whatever comes and goes, each that is there is found, and the rest is free.
    #[test]
    fn a_crowded_table_forgets_nobody() {
        let tuples: Vec<Tuple> = (0..192).map(tuple).collect();
        let mut flows = Flows::new(&Random::new([7; 32]));
        let (mut here, mut random) = ([false; 192], Random::new([8; 32]));
        for _ in 0..20_000 {
            let i = random.next() as usize % 192;
            here[i] = !here[i];
            if here[i] {
                flows.insert(&tuples[i], Flow::Connection(i as u32));
            } else {
                flows.remove(&tuples[i], Flow::Connection(i as u32));
            }
            let j = random.next() as usize % 192;
            let found = flows.find(&tuples[j], |flow| flow == Flow::Connection(j as u32));
            assert_eq!(found.is_some(), here[j]);
        }
        assert_eq!((flows.places.len(), flows.count), (256, here.iter().filter(|is| **is).count()));
        assert_eq!(flows.places.iter().filter(|place| **place != Place::FREE).count(), flows.count);
    }
}

//! How a NIC spreads flows over its queues: receive-side scaling.
//!
//! The hash is Toeplitz's: each set bit of the input adds (exclusive or) the 32 bits of the key that begin at that
//! bit. The result's low bits choose an entry of the indirection table, and the entry names the queue.
//!
//! In software that is one look-up for each byte of input: what its bits add follows from the key, and is in a table.

use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::ops::{BitOr, BitOrAssign};

/// The longest input, in bytes: two IPv6 addresses and two ports.
const INPUT_LEN_MAX: usize = 36;

/// What a key needs at least: so much input, and the hash's own width behind it.
const KEY_LEN_MIN: usize = INPUT_LEN_MAX + 4;

/// The key of Microsoft's RSS verification suite, which most drivers start with.
pub const HASH_KEY_MICROSOFT: [u8; KEY_LEN_MIN] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0,
    0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42,
    0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

/// Which packets are hashed with their ports; the others are hashed by address alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct HashFields(u8);

impl HashFields {
    /// Addresses only.
    pub const ADDRESSES: HashFields = HashFields(0);
    /// TCP over IPv4 with ports.
    pub const TCP4: HashFields = HashFields(1 << 0);
    /// TCP over IPv6 with ports.
    pub const TCP6: HashFields = HashFields(1 << 1);
    /// UDP over IPv4 with ports.
    pub const UDP4: HashFields = HashFields(1 << 2);
    /// UDP over IPv6 with ports.
    pub const UDP6: HashFields = HashFields(1 << 3);
    /// TCP and UDP of both versions with ports.
    pub const ALL: HashFields = HashFields(15);

    /// Whether every kind of `other` is in this set.
    #[inline]
    pub const fn contains(self, other: HashFields) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for HashFields {
    type Output = HashFields;
    fn bitor(self, other: HashFields) -> HashFields {
        HashFields(self.0 | other.0)
    }
}

impl BitOrAssign for HashFields {
    fn bitor_assign(&mut self, other: HashFields) {
        self.0 |= other.0;
    }
}

/// A flow as a received packet shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// The packet's source.
    pub source: SocketAddr,
    /// The packet's destination, of the same IP version.
    pub destination: SocketAddr,
    /// Whether it is UDP; else it is TCP.
    pub udp: bool,
}

/// The key, the table and the fields of a NIC's receive-side scaling.
#[derive(Clone, PartialEq, Eq)]
pub struct Rss {
    key: Vec<u8>,
    table: Vec<u16>,
    fields: HashFields,
    /// For each place in the input, what each value of its byte adds to the hash.
    sums: Vec<[u32; 256]>,
}

impl Rss {
    /// The NIC's own choice. `None` if the key is shorter than 40 bytes, or the table's length is no power of two.
    #[must_use]
    pub fn new(key: &[u8], table: &[u16], fields: HashFields) -> Option<Rss> {
        let is_sound = key.len() >= KEY_LEN_MIN && table.len().is_power_of_two();
        is_sound.then(|| Rss::with_table(key, table.to_vec(), fields))
    }

    /// Spreads all flows evenly over `queues` queues, with the usual key: for steering in software.
    ///
    /// # Panics
    /// If `queues` is 0.
    #[must_use]
    pub fn even(queues: u16) -> Rss {
        assert!(queues > 0, "there is at least one queue");
        let table_len = usize::from(queues).next_power_of_two().max(128);
        let table = (0..queues).cycle().take(table_len).collect();
        Rss::with_table(&HASH_KEY_MICROSOFT, table, HashFields::ALL)
    }

    fn with_table(key: &[u8], table: Vec<u16>, fields: HashFields) -> Rss {
        let sums = key.windows(5).take(INPUT_LEN_MAX).map(sums).collect();
        Rss { key: key.to_vec(), table, fields, sums }
    }

    /// The hash of a flow, as the NIC reports it beside a frame.
    #[must_use]
    pub fn hash(&self, flow: &FlowKey) -> u32 {
        let mut hash = Toeplitz { sums: self.sums.iter(), sum: 0 };
        let with_ports = match (flow.source.ip(), flow.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                hash.add(&source.octets());
                hash.add(&destination.octets());
                if flow.udp { HashFields::UDP4 } else { HashFields::TCP4 }
            }
            (source, destination) => {
                hash.add(&v6_octets(source));
                hash.add(&v6_octets(destination));
                if flow.udp { HashFields::UDP6 } else { HashFields::TCP6 }
            }
        };
        if self.fields.contains(with_ports) {
            hash.add(&flow.source.port().to_be_bytes());
            hash.add(&flow.destination.port().to_be_bytes());
        }
        hash.sum
    }

    /// The queue on which packets of a flow arrive.
    #[must_use]
    pub fn queue(&self, flow: &FlowKey) -> u16 {
        self.queue_of_hash(self.hash(flow))
    }

    /// The queue on which packets with this hash arrive.
    #[must_use]
    pub fn queue_of_hash(&self, hash: u32) -> u16 {
        self.table[hash as usize & (self.table.len() - 1)]
    }
}

fn v6_octets(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped().octets(),
        IpAddr::V6(addr) => addr.octets(),
    }
}

/// What each value of a byte adds, whose place in the input is that of the first of five bytes of the key.
fn sums(key: &[u8]) -> [u32; 256] {
    let five = key.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let mut sums = [0; 256];
    for value in 1..256_usize {
        // Its lowest bit adds the 32 bits of the key from that bit on; what the others add is known by now.
        let lowest = value.trailing_zeros();
        sums[value] = sums[value & (value - 1)] ^ (five >> (lowest + 1)) as u32;
    }
    sums
}

/// The hash so far.
struct Toeplitz<'a> {
    /// Those of the places that come.
    sums: core::slice::Iter<'a, [u32; 256]>,
    sum: u32,
}

impl Toeplitz<'_> {
    #[inline]
    fn add(&mut self, input: &[u8]) {
        for (byte, sums) in input.iter().zip(&mut self.sums) {
            self.sum ^= sums[usize::from(*byte)];
        }
    }
}

impl fmt::Debug for Rss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rss { key, table, fields, sums: _ } = self;
        let mut debug = f.debug_struct("Rss");
        debug.field("key", key).field("table", table).field("fields", fields).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(source: &str, destination: &str) -> FlowKey {
        FlowKey { source: source.parse().unwrap(), destination: destination.parse().unwrap(), udp: false }
    }

    /// Microsoft, "Verifying the RSS Hash Calculation".
    #[test]
    fn hashes_are_those_of_the_verification_suite() {
        let with_ports = Rss::even(2);
        let without = Rss::new(&HASH_KEY_MICROSOFT, &[0, 1], HashFields::ADDRESSES).unwrap();
        for (source, destination, ports, addresses) in [
            ("66.9.149.187:2794", "161.142.100.80:1766", 0x51cc_c178, 0x323e_8fc2),
            ("199.92.111.2:14230", "65.69.140.83:4739", 0xc626_b0ea, 0xd718_262a),
            ("24.19.198.95:12898", "12.22.207.184:38024", 0x5c2b_394a, 0xd2d0_a5de),
            ("38.27.205.30:48228", "209.142.163.6:2217", 0xafc7_327f, 0x8298_9176),
            ("153.39.163.191:44251", "202.188.127.2:1303", 0x10e8_28a2, 0x5d18_09c5),
            ("[3ffe:2501:200:1fff::7]:2794", "[3ffe:2501:200:3::1]:1766", 0x4020_7d3d, 0x2cc1_8cd5),
            ("[3ffe:501:8::260:97ff:fe40:efab]:14230", "[ff02::1]:4739", 0xdde5_1bbf, 0x0f0c_461c),
            (
                "[3ffe:1900:4545:3:200:f8ff:fe21:67cf]:44251",
                "[fe80::200:f8ff:fe21:67cf]:38024",
                0x02d1_feef,
                0x4b61_e985,
            ),
        ] {
            let flow = flow(source, destination);
            assert_eq!((with_ports.hash(&flow), without.hash(&flow)), (ports, addresses), "{source}");
        }
    }

    /// Bit by bit, as the suite defines it.
    fn plain(key: &[u8], input: &[u8]) -> u32 {
        let bit = |bytes: &[u8], at: usize| u32::from(bytes[at / 8] >> (7 - at % 8) & 1);
        let window = |from: usize| (from..from + 32).fold(0, |sum, at| sum << 1 | bit(key, at));
        (0..input.len() * 8).filter(|&at| bit(input, at) == 1).fold(0, |sum, at| sum ^ window(at))
    }

    #[test]
    fn the_tables_say_what_the_bits_do_for_any_key() {
        let mut state = 1u32;
        let mut byte = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        for key_len in [40, 52] {
            let key: Vec<u8> = (0..key_len).map(|_| byte()).collect();
            let rss = Rss::new(&key, &[0], HashFields::ALL).unwrap();
            for _ in 0..100 {
                let input: [u8; 36] = core::array::from_fn(|_| byte());
                let addr = |at: usize| <[u8; 16]>::try_from(&input[at..at + 16]).unwrap();
                let port = |at: usize| u16::from_be_bytes([input[at], input[at + 1]]);
                let source = SocketAddr::new(addr(0).into(), port(32));
                let destination = SocketAddr::new(addr(16).into(), port(34));
                let flow = FlowKey { source, destination, udp: true };
                assert_eq!(rss.hash(&flow), plain(&key, &input));
            }
        }
    }

    #[test]
    fn flows_are_spread_evenly() {
        let rss = Rss::even(3);
        let mut counts = [0; 3];
        for port in 1..=3000 {
            let flow = flow(&alloc::format!("10.7.0.1:{port}"), "10.7.0.2:7");
            counts[usize::from(rss.queue(&flow))] += 1;
        }
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert_eq!(Rss::new(&[0; 39], &[0], HashFields::ALL), None);
        assert_eq!(Rss::new(&[0; 40], &[0, 1, 2], HashFields::ALL), None);
        assert_eq!(Rss::new(&[0; 40], &[], HashFields::ALL), None);
    }
}

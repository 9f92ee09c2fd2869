//! How the NIC spreads flows over our devices, where it says so in a way that we can follow.

use std::os::fd::AsFd;

use hayase_device::{HashFields, Rss};

use crate::sys::{self, FlowHash};

/// Toeplitz's function (`ETH_RSS_HASH_TOP`).
const TOEPLITZ: u8 = 1;

/// Both ports (`RXH_L4_B_0_1` and `RXH_L4_B_2_3`), and both addresses.
const PORTS: u64 = 0xc0;
const ADDRESSES: u64 = 0x30;

/// Kinds of packets as ethtool numbers them, and as we do.
const KINDS: [(u32, HashFields); 4] =
    [(1, HashFields::TCP4), (5, HashFields::TCP6), (2, HashFields::UDP4), (6, HashFields::UDP6)];

/// What stands for a queue that is not ours.
const NOBODY: u16 = u16::MAX;

/// Asks the interface. `None` if it does not spread flows, or in another way than Toeplitz's, as a veth.
pub(crate) fn ask(interface: &str, queues: &[u32], device_count: usize) -> Option<Rss> {
    let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0).ok()?;
    let hash = sys::flow_hash(socket.as_fd(), interface).ok()?;
    let bits = KINDS.map(|(kind, _)| sys::hash_fields(socket.as_fd(), interface, kind).ok());
    spread(&hash, bits, queues, device_count)
}

/// Which device a flow comes to: the bound `queues` are dealt out to the devices in turn.
fn spread(hash: &FlowHash, bits: [Option<u64>; 4], queues: &[u32], device_count: usize) -> Option<Rss> {
    if hash.function != TOEPLITZ || hash.transform != 0 {
        return None;
    }
    let mut fields = HashFields::ADDRESSES;
    for ((_, kind), bits) in KINDS.into_iter().zip(bits) {
        match bits? {
            bits if bits == ADDRESSES | PORTS => fields |= kind,
            ADDRESSES => {}
            // Something that we do not compute.
            _ => return None,
        }
    }
    let device_of = |queue: &u32| {
        let place = queues.iter().position(|ours| ours == queue);
        place.map_or(NOBODY, |place| (place % device_count) as u16)
    };
    let table: Vec<_> = hash.table.iter().map(device_of).collect();
    Rss::new(&hash.key, &table, fields)
}

#[cfg(test)]
mod tests {
    use hayase_device::{FlowKey, HASH_KEY_MICROSOFT};

    use super::*;

    const ALL: u64 = ADDRESSES | PORTS;

    fn nic(function: u8, transform: u8) -> FlowHash {
        let table = (0..4).cycle().take(128).collect();
        FlowHash { function, transform, table, key: HASH_KEY_MICROSOFT.to_vec() }
    }

    #[test]
    fn queues_are_dealt_out_as_devices_are() {
        let flow = FlowKey {
            source: "66.9.149.187:2794".parse().unwrap(),
            destination: "161.142.100.80:1766".parse().unwrap(),
            udp: false,
        };
        // The hash ends in 0x78: queue 0 of 4.
        let rss = spread(&nic(1, 0), [Some(ALL); 4], &[0, 1, 2, 3], 2).unwrap();
        assert_eq!((rss.hash(&flow), rss.queue(&flow)), (0x51cc_c178, 0));
        assert_eq!([0, 1, 2, 3].map(|hash| rss.queue_of_hash(hash)), [0, 1, 0, 1]);
        let rss = spread(&nic(1, 0), [Some(ALL); 4], &[2, 3], 2).unwrap();
        assert_eq!([0, 1, 2, 3].map(|hash| rss.queue_of_hash(hash)), [NOBODY, NOBODY, 0, 1]);
    }

    #[test]
    fn ports_count_where_the_nic_says_so() {
        let rss =
            spread(&nic(1, 0), [Some(ALL), Some(ALL), Some(ADDRESSES), Some(ADDRESSES)], &[0], 1).unwrap();
        let flow = |udp| FlowKey {
            source: "66.9.149.187:2794".parse().unwrap(),
            destination: "161.142.100.80:1766".parse().unwrap(),
            udp,
        };
        assert_eq!((rss.hash(&flow(false)), rss.hash(&flow(true))), (0x51cc_c178, 0x323e_8fc2));
    }

    #[test]
    fn what_we_cannot_follow_is_unknown() {
        assert_eq!(spread(&nic(2, 0), [Some(ALL); 4], &[0], 1), None, "another function");
        assert_eq!(spread(&nic(1, 1), [Some(ALL); 4], &[0], 1), None, "a symmetric one");
        assert_eq!(spread(&nic(1, 0), [Some(ALL), None, Some(ALL), Some(ALL)], &[0], 1), None, "unsaid");
        assert_eq!(spread(&nic(1, 0), [Some(ALL | 2); 4], &[0], 1), None, "more fields");
        assert_eq!(ask("lo", &[0], 1), None);
    }
}

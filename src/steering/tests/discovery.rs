//! What the link says to one queue, and what every core makes of it.

use std::net::{IpAddr, Ipv6Addr};

use hayase_device::checksum::pseudo_header;
use hayase_stack::AddressState;

use super::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);
const WANTED: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
const PREFIX: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0);

/// An ICMPv6 message to all nodes of the link, given from its type on, with nothing in its checksum.
fn frame(src: Ipv6Addr, mut message: Vec<u8>) -> Vec<u8> {
    let mut sum = pseudo_header(&src.octets(), &ALL_NODES.octets(), 58, message.len() as u32);
    sum.add(&message);
    message[2..4].copy_from_slice(&sum.checksum().to_be_bytes());
    let len = (message.len() as u16).to_be_bytes();
    let link = [&[0x33, 0x33, 0, 0, 0, 1][..], &MAC, &[0x86, 0xdd]].concat();
    let network = [&[0x60, 0, 0, 0][..], &len, &[58, 255], &src.octets(), &ALL_NODES.octets()].concat();
    [link, network, message].concat()
}

/// A neighbour advertisement, by which a host defends its address (RFC 4861 §4.4).
fn defence() -> Vec<u8> {
    let head = [136, 0, 0, 0, 0x20, 0, 0, 0];
    frame(WANTED, [&head[..], &WANTED.octets(), &[2, 1], &MAC].concat())
}

/// A router's word (RFC 4861 §4.2): a prefix to make addresses of.
fn router() -> Vec<u8> {
    let head = [134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
    let prefix = [3, 4, 64, 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 0x0e, 0x10, 0, 0, 0, 0];
    frame(ROUTER, [&head[..], &prefix, &PREFIX.octets(), &[1, 1], &MAC].concat())
}

/// Puts a frame on the cable to a queue.
fn put(nic: &mut Nic, queue: usize, bytes: &[u8]) {
    let mut frame = nic.pool.alloc(bytes.len()).expect("the pool is large");
    frame.extend(bytes.len()).expect("it fits").copy_from_slice(bytes);
    assert!(nic.cables[queue].0.send(&frame, passed(0)));
}

type States = Vec<(Ipv6Addr, AddressState)>;

/// The IPv6 addresses of this core, the link-local one left out, and what they are good for.
fn states() -> States {
    let all = Host::current().unwrap().address_states().unwrap().into_iter();
    let v6 = all.filter_map(|(cidr, state)| match cidr.addr() {
        IpAddr::V6(addr) if !addr.is_unicast_link_local() => Some((addr, state)),
        _ => None,
    });
    v6.collect()
}

/// Waits until both cores say the same, and `is_it` likes that.
async fn agreed(is_it: impl Fn(&States) -> bool) -> States {
    let look = async {
        loop {
            let (here, there) = (states(), spawn_on(1, || async { states() }).unwrap().await.unwrap());
            if here == there && is_it(&here) {
                return here;
            }
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(20), look).await.expect("the cores come to agree")
}

/// Two cores, and the end of the cables at which the test is the link.
fn on_every_queue(config: &Config, test: impl AsyncFn(&mut Nic, usize)) {
    for (queues, spreading) in NICS {
        for queue in 0..queues {
            let builder = Runtime::builder().cores(2).stack(config.clone());
            let Site { server, mut client } = site_with(builder, 2, queues, spreading);
            server.block_on(test(&mut client, queue));
        }
    }
}

#[test]
fn an_address_of_another_host_is_given_up_by_every_core() {
    let mut config = Config::default();
    config.dad_transmits = Some(1);
    on_every_queue(&config, async |link, queue| {
        Host::current().unwrap().add_address(format!("{WANTED}/64").parse().unwrap()).unwrap();
        agreed(|states| states[..] == [(WANTED, AddressState::Tentative)]).await;
        put(link, queue, &defence());
        agreed(|states| states[..] == [(WANTED, AddressState::Duplicate)]).await;
    });
}

/// Puts what goes to a group on the cable to a queue, as a port does that reflects it (RFC 7527 §1). Returns how many of
/// them asked whether somebody has the address that is wanted.
fn reflect(nic: &mut Nic, queue: usize) -> usize {
    let mut groups = Vec::new();
    for (_, cable) in &mut nic.cables {
        while cable.len() > 0 {
            cable.take(|parcel| groups.extend(Some(parcel.bytes.to_vec()).filter(|bytes| bytes[0] == 0x33)));
        }
    }
    groups.iter().for_each(|bytes| put(nic, queue, bytes));
    let is_probe =
        |bytes: &&Vec<u8>| bytes[22..38] == [0; 16] && bytes[54] == 135 && bytes[62..78] == WANTED.octets();
    groups.iter().filter(is_probe).count()
}

#[test]
fn what_the_other_core_asks_is_no_rival_where_it_comes_back() {
    let mut config = Config::default();
    config.dad_transmits = Some(2);
    on_every_queue(&config, async |link, queue| {
        Host::current().unwrap().add_address(format!("{WANTED}/64").parse().unwrap()).unwrap();
        let mut count = 0;
        let look = async {
            while states()[..] == [(WANTED, AddressState::Tentative)] {
                count += reflect(link, queue);
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(Duration::from_secs(20), look).await.expect("it is tried for two seconds");
        assert!(count >= 2, "each core asks");
        agreed(|states| states[..] == [(WANTED, AddressState::Preferred)]).await;
    });
}

/// The same address on each, and each has seen that nobody else has it.
#[test]
fn every_core_makes_the_same_address_of_a_routers_word() {
    let mut config = Config::default();
    (config.dad_transmits, config.autoconf) = (Some(1), true);
    on_every_queue(&config, async |link, queue| {
        put(link, queue, &router());
        let made = agreed(|states| matches!(states[..], [(_, AddressState::Preferred)])).await;
        assert_eq!(made[0].0.segments()[..4], PREFIX.segments()[..4], "{made:?}");
    });
}

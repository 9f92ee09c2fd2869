//! A host's own addresses on its link: duplicate address detection (RFC 4862 §5.4, RFC 7527), announcements and conflicts
//! of IPv4 addresses (RFC 5227).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hayase_stack::{AddressState, Config, Drop, Error};

use crate::codec::{self, Arp, BROADCAST, Body, Heard, ICMPV6, IpOut, Payload, UDP};
use crate::host::{Host, PEER_MAC, PEER_V4, PEER_V6, STACK_MAC, STACK_V6, ms, neighbor_advert};

const STACK: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const NOBODY: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
/// The solicited-node group of the stack's address.
const SOLICITED: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 1));
const SOLICIT: u8 = 135;
const ADVERT: u8 = 136;

/// A host that asks before it uses an IPv6 address, so many times.
fn careful(dad_transmits: u8) -> Host {
    let mut config = Config::default();
    config.dad_transmits = Some(dad_transmits);
    Host::with(config, 1500)
}

fn state(host: &Host) -> Option<AddressState> {
    host.stack.address_state(STACK_V6)
}

/// The questions for the stack's address that it sent from nobody: how long after `Host::with`, and the options.
fn probes(host: &mut Host) -> Vec<(u128, Vec<u8>)> {
    let start = hayase_stack::Instant::from_millis(10_000);
    let heard = host.drain().into_iter();
    heard.filter_map(|(at, heard)| probe(&heard).map(|options| ((at - start).as_millis(), options))).collect()
}

fn probe(heard: &Heard) -> Option<Vec<u8>> {
    let Body::Ip(ip) = &heard.body else { return None };
    match &ip.payload {
        Payload::Icmp { kind: SOLICIT, rest, .. } if ip.src == NOBODY && rest[..16] == octets(STACK_V6) => {
            assert_eq!((ip.dst, ip.ttl), (SOLICITED, 255));
            assert_eq!(heard.dst_mac, [0x33, 0x33, 0xff, 0, 0, 1]);
            Some(rest[16..].to_vec())
        }
        _ => None,
    }
}

fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V6(ip) => ip.octets(),
        IpAddr::V4(ip) => panic!("{ip} is no IPv6 address"),
    }
}

fn solicit(src: IpAddr, options: &[u8]) -> Vec<u8> {
    let message = codec::icmp(src, SOLICITED, SOLICIT, 0, 0, &[&octets(STACK_V6)[..], options].concat());
    IpOut { ttl: 255, ..IpOut::new(src, SOLICITED, ICMPV6) }.packet(&message)
}

fn echo_request() -> Vec<u8> {
    codec::icmp(PEER_V6, STACK_V6, 128, 0, 7, b"x")
}

// Duplicate address detection

#[test]
fn l1_an_address_is_asked_for_before_it_is_used() {
    let mut host = careful(1);
    host.wait(ms(900));
    let asked = probes(&mut host);
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].0, 0, "at once");
    assert_eq!(state(&host), Some(AddressState::Tentative));
    host.wait(ms(200));
    assert_eq!(state(&host), Some(AddressState::Preferred));
    host.ip(PEER_V6, STACK_V6, ICMPV6, &echo_request());
    assert_eq!(host.next_icmp().0, 129);
}

#[test]
fn l1_as_many_questions_as_configured_go_out_a_second_apart() {
    let mut host = careful(3);
    host.wait(ms(5000));
    let times: Vec<u128> = probes(&mut host).iter().map(|(at, _)| *at).collect();
    assert!(times.windows(2).all(|pair| (1000..1100).contains(&(pair[1] - pair[0]))), "{times:?}");
    assert_eq!((times.len(), state(&host)), (3, Some(AddressState::Preferred)));
}

#[test]
fn l1_a_question_that_a_full_device_does_not_take_is_not_asked() {
    let mut host = careful(2);
    host.wait_full(ms(5000));
    assert_eq!(state(&host), Some(AddressState::Tentative));
    host.wait(ms(2500));
    let times: Vec<u128> = probes(&mut host).iter().map(|(at, _)| *at).collect();
    assert!((5000..=5002).contains(&times[0]) && times[1] - times[0] >= 1000, "{times:?}");
    assert_eq!((times.len(), state(&host)), (2, Some(AddressState::Preferred)));
}

#[test]
fn l1_the_link_local_address_is_asked_for_as_well() {
    let mut host = careful(1);
    let own = IpAddr::V6("fe80::ff:fe00:a".parse().unwrap());
    assert_eq!(host.stack.address_state(own), Some(AddressState::Tentative));
    host.wait(ms(1100));
    assert_eq!(host.stack.address_state(own), Some(AddressState::Preferred));
}

#[test]
fn l1_without_questions_an_address_is_ours_at_once() {
    let mut host = careful(0);
    assert_eq!(state(&host), Some(AddressState::Preferred));
    host.wait(ms(3000));
    host.silence();
}

/// RFC 4862 §5.4: "not assigned to an interface in the traditional sense".
#[test]
fn l1_a_tentative_address_neither_answers_nor_speaks() {
    let mut host = careful(1);
    host.turn();
    host.drain();
    host.ip(PEER_V6, STACK_V6, ICMPV6, &echo_request());
    host.packet(&solicit(PEER_V6, &[1, 1, 2, 0, 0, 0, 0, 0x0b]));
    host.ip(PEER_V6, STACK_V6, UDP, &codec::udp((PEER_V6, 9), (STACK_V6, 9), b"x"));
    host.silence();
    assert_eq!(state(&host), Some(AddressState::Tentative), "who asks for it has no claim to it");
    let bound = (STACK_V6, 80).into();
    assert_eq!(host.stack.tcp_listen(bound, 1), Err(Error::AddrTentative));
    assert_eq!(host.stack.udp_bind(bound), Err(Error::AddrTentative));
    let connected = host.stack.tcp_connect(host.now, (PEER_V6, 80).into(), None);
    assert_eq!(connected, Err(Error::NetworkUnreachable), "there is no address to come from");
    assert!(!host.stack.addresses().any(|cidr| cidr.addr() == STACK_V6));
    host.wait(ms(1100));
    assert!(host.stack.tcp_listen(bound, 1).is_ok());
}

#[test]
fn l1_an_address_that_another_host_has_is_not_used() {
    let mut host = careful(1);
    host.turn();
    host.packet(&neighbor_advert(STACK_V6, "ff02::1".parse().unwrap(), 0x2000_0000));
    assert_eq!((state(&host), host.dropped(Drop::AddrConflict)), (Some(AddressState::Duplicate), 1));
    host.wait(ms(5000));
    host.drain();
    host.ip(PEER_V6, STACK_V6, ICMPV6, &echo_request());
    host.packet(&solicit(PEER_V6, &[1, 1, 2, 0, 0, 0, 0, 0x0b]));
    host.silence();
    let refused = host.stack.tcp_listen((STACK_V6, 80).into(), 1).unwrap_err();
    assert_eq!(refused, Error::AddrDuplicate);
    let id = host.stack.udp_bind("[::]:9".parse().unwrap()).unwrap();
    host.stack.add_address("fd00::3/64".parse().unwrap()).unwrap();
    host.wait(ms(1100));
    host.drain();
    host.udp_send(id, b"x", (STACK_V6, 9));
    assert!(matches!(host.next_ip().payload, Payload::Udp { .. }), "its owner is a neighbour like any other");
    host.stack.remove_address(STACK_V6).unwrap();
    host.stack.add_address("fd00::1/64".parse().unwrap()).unwrap();
    host.wait(ms(1100));
    assert_eq!(state(&host), Some(AddressState::Preferred), "given again, it is tried again");
}

/// RFC 4862 §5.4.3
#[test]
fn l1_two_hosts_that_try_the_same_address_both_leave_it() {
    let mut host = careful(1);
    host.turn();
    host.packet(&solicit(NOBODY, &[14, 1, 9, 9, 9, 9, 9, 9]));
    assert_eq!(state(&host), Some(AddressState::Duplicate));
    host.wait(ms(3000));
    assert_eq!(state(&host), Some(AddressState::Duplicate));
}

/// RFC 7527 §4.2
#[test]
fn l1_our_own_question_that_comes_back_is_no_rival() {
    let mut host = careful(1);
    host.turn();
    let (_, nonce) = probes(&mut host).remove(0);
    assert_eq!(nonce[..2], [14, 1], "a nonce, and no link-layer address");
    host.packet(&solicit(NOBODY, &nonce));
    host.wait(ms(1100));
    assert_eq!(state(&host), Some(AddressState::Preferred));
}

/// Each core of a host asks, and a port that reflects groups sends what one says to the queue of another (RFC 7527 §1).
#[test]
fn l1_a_question_of_the_hosts_other_stack_that_comes_back_is_no_rival() {
    let core = |is_other: bool, shared_secret| {
        let mut config = Config::default();
        // Which draws a random number more.
        config.autoconf = is_other;
        (config.dad_transmits, config.shared_secret) = (Some(1), Some(shared_secret));
        Host::with(config, 1500)
    };
    let (mut one, mut other, mut stranger) = (core(false, [9; 16]), core(true, [9; 16]), core(true, [8; 16]));
    for host in [&mut one, &mut other, &mut stranger] {
        host.turn();
    }
    let (_, nonce) = probes(&mut other).remove(0);
    let (_, strange) = probes(&mut stranger).remove(0);
    one.packet(&solicit(NOBODY, &nonce));
    assert_eq!(state(&one), Some(AddressState::Tentative));
    one.wait(ms(1100));
    one.drain();
    one.packet(&solicit(NOBODY, &nonce));
    one.silence();
    assert_eq!(state(&one), Some(AddressState::Preferred), "and one that is late is none either");
    other.packet(&solicit(NOBODY, &strange));
    assert_eq!(state(&other), Some(AddressState::Duplicate));
}

#[test]
fn l1_an_address_in_use_is_kept_whoever_claims_it() {
    let mut host = careful(1);
    host.wait(ms(1100));
    host.drain();
    host.packet(&neighbor_advert(STACK_V6, "ff02::1".parse().unwrap(), 0x2000_0000));
    assert_eq!((state(&host), host.dropped(Drop::AddrConflict)), (Some(AddressState::Preferred), 1));
    host.packet(&solicit(NOBODY, &[]));
    let Some((_, Heard { body: Body::Ip(ip), .. })) = host.next() else { panic!("an answer expected") };
    assert!(matches!(ip.payload, Payload::Icmp { kind: ADVERT, .. }), "who tries it is told");
}

/// Conflicts must come from the link, and be what they seem.
#[test]
fn l2_forged_conflicts_do_not_take_an_address_away() {
    let mut host = careful(1);
    host.turn();
    host.drain();
    let all_nodes: IpAddr = "ff02::1".parse().unwrap();
    let good = neighbor_advert(STACK_V6, all_nodes, 0x2000_0000);
    let mut far = good.clone();
    far[7] = 254;
    let mut damaged = good.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let mut solicited = neighbor_advert(STACK_V6, all_nodes, 0x4000_0000);
    host.packet(&far);
    host.packet(&damaged);
    host.packet(&solicited);
    solicited.truncate(60);
    host.packet(&solicited);
    host.packet(&solicit(NOBODY, &[1, 1, 2, 0, 0, 0, 0, 0x0b]));
    host.packet(&solicit(NOBODY, &[14, 0, 0, 0, 0, 0, 0, 0]));
    assert_eq!(state(&host), Some(AddressState::Tentative));
    assert_eq!(host.dropped(Drop::AddrConflict), 0);
}

// IPv4

fn announcing() -> Host {
    let mut config = Config::default();
    config.announce = Some(true);
    Host::with(config, 1500)
}

fn arps(host: &mut Host) -> Vec<(u128, Arp)> {
    let start = hayase_stack::Instant::from_millis(10_000);
    let arp = |(at, heard): (hayase_stack::Instant, Heard)| match heard.body {
        Body::Arp(arp) => {
            assert_eq!(heard.dst_mac, BROADCAST);
            Some(((at - start).as_millis(), arp))
        }
        Body::Ip(_) => None,
    };
    host.drain().into_iter().filter_map(arp).collect()
}

/// RFC 5227 §2.3
#[test]
fn j5_a_new_address_is_announced_twice() {
    let mut host = announcing();
    host.answers_neighbors = false;
    host.wait(ms(10_000));
    let announcement = Arp { operation: 1, sender: (STACK_MAC, STACK), target: ([0; 6], STACK) };
    assert_eq!(arps(&mut host), [(0, announcement.clone()), (2000, announcement)]);
    host.stack.remove_address(STACK.into()).unwrap();
    host.stack.add_address("10.0.0.9/24".parse().unwrap()).unwrap();
    host.stack.remove_address([10, 0, 0, 9].into()).unwrap();
    host.wait(ms(5000));
    host.silence();
}

#[test]
fn j5_an_announcement_that_a_full_device_does_not_take_follows() {
    let mut host = announcing();
    host.answers_neighbors = false;
    host.wait_full(ms(5000));
    host.wait(ms(5000));
    let times: Vec<u128> = arps(&mut host).iter().map(|(at, _)| *at).collect();
    assert!(times.len() == 2 && times[0] <= 5002 && times[1] - times[0] >= 2000, "{times:?}");
}

/// RFC 5227 §2.4 (c)
#[test]
fn j5_an_address_is_defended_and_no_more_than_every_ten_seconds() {
    let mut host = Host::new();
    host.answers_neighbors = false;
    let claim = Arp { operation: 1, sender: (PEER_MAC, STACK), target: ([0; 6], STACK) };
    for _ in 0..210 {
        host.inject(&claim.frame(BROADCAST));
        host.wait(ms(100));
    }
    let defence = Arp { operation: 1, sender: (STACK_MAC, STACK), target: ([0; 6], STACK) };
    let times: Vec<u128> = arps(&mut host)
        .into_iter()
        .map(|(at, arp)| {
            assert_eq!(arp, defence);
            at
        })
        .collect();
    assert_eq!(times.len(), 3, "{times:?}");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 10_000), "{times:?}");
    assert_eq!(host.dropped(Drop::AddrConflict), 210);
    assert_eq!(host.stack.address_state(STACK.into()), Some(AddressState::Preferred));
}

#[test]
fn j5_our_own_announcement_that_comes_back_is_no_conflict() {
    let mut host = Host::new();
    let own = Arp { operation: 1, sender: (STACK_MAC, STACK), target: ([0; 6], STACK) };
    host.inject(&codec::ethernet(BROADCAST, STACK_MAC, 0x0806, &own.frame(BROADCAST)[14..]));
    host.silence();
    host.packet(&IpOut::new(PEER_V4, STACK.into(), 1).packet(&codec::icmp(
        PEER_V4,
        STACK.into(),
        8,
        0,
        7,
        b"x",
    )));
    assert_eq!(host.next_icmp().0, 0);
}

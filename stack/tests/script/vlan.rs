//! A host in a VLAN (802.1Q): row n8. Every frame of these scripts has a tag, unless it says otherwise.

use std::net::IpAddr;
use std::time::Duration;

use hayase_stack::wire::VlanId;
use hayase_stack::{Config, Count, Drop};

use crate::codec::{self, Body, ICMP, ICMPV6, IpOut, Payload};
use crate::dsl::{Script, ack, data, modern_syn, syn, syn_ack};
use crate::host::{Host, PEER_MAC, PEER_V4, PEER_V6, STACK_MAC, STACK_V4, STACK_V6, arp_request};

const VLAN: u16 = 5;

fn config() -> Config {
    let mut config = Config::default();
    config.vlan = VlanId::new(VLAN);
    config
}

fn host() -> Host {
    Host::with(config(), 1500)
}

fn echo(src: IpAddr, dst: IpAddr) -> Vec<u8> {
    let (kind, protocol) = if src.is_ipv4() { (8, ICMP) } else { (128, ICMPV6) };
    let packet = IpOut::new(src, dst, protocol).packet(&codec::icmp(src, dst, kind, 0, 7, b"x"));
    codec::frame(STACK_MAC, PEER_MAC, &packet)
}

#[test]
fn n8_everything_that_is_sent_has_the_tag() {
    let mut host = host();
    let IpAddr::V4(ours) = STACK_V4 else { panic!("an IPv4 address") };
    host.inject(&arp_request(ours));
    host.turn();
    assert_eq!(host.next_arp().1.operation, 2);
    for (src, dst) in [(PEER_V4, STACK_V4), (PEER_V6, STACK_V6)] {
        host.inject(&echo(src, dst));
        host.turn();
        assert!(matches!(host.next_icmp().0, 0 | 129), "and the neighbour was asked for in the VLAN");
        let id = host.stack.udp_bind((dst, 9).into()).unwrap();
        host.udp_send(id, &[7; 4000], (src, 9));
        let pieces = host.drain();
        assert_eq!(pieces.len(), 3, "fragments");
        for (_, heard) in pieces {
            let Body::Ip(ip) = heard.body else { panic!("{heard:?}") };
            assert!(matches!(ip.payload, Payload::Fragment { .. }));
        }
    }
}

/// The tag is part of what the device's MTU measures.
#[test]
fn n8_a_tag_takes_four_bytes_of_the_mtu() {
    let mut script = Script::listening_on(host(), STACK_V4, PEER_V4);
    assert_eq!(script.host.stack.caps().mtu, 1496);
    script.peer(syn().mss(9000));
    let got = script.expect(syn_ack());
    assert_eq!(got.options.mss, Some(1456));
    script.peer(ack(1));
    script.accept();
    script.write(5000);
    script.expect(data(1..1457));
}

#[test]
fn n8_a_connection_works_in_a_vlan() {
    for (stack, peer) in [(STACK_V4, PEER_V4), (STACK_V6, PEER_V6)] {
        let mut script = Script::listening_on(host(), stack, peer).established(modern_syn());
        for i in 0..20 {
            script.peer(data(1 + i * 100..101 + i * 100));
            assert_eq!(script.read(), 100);
            script.write(10);
            script.expect(data(1 + i * 10..11 + i * 10).ack(101 + i * 100));
            script.peer(ack(11 + i * 10));
        }
        script.host.silence();
    }
}

#[test]
fn n8_frames_of_another_vlan_or_of_none_are_not_for_us() {
    let mut host = host();
    for tag in [4, 6, 0x1004, 0xffe, 0xfff] {
        host.inject_raw(&codec::tagged(&echo(PEER_V4, STACK_V4), tag));
    }
    host.inject_raw(&echo(PEER_V4, STACK_V4));
    host.inject_raw(&codec::tagged(&codec::tagged(&echo(PEER_V4, STACK_V4), 7), VLAN));
    host.inject_raw(&codec::tagged(&echo(PEER_V4, STACK_V4), VLAN)[..17]);
    host.silence();
    assert_eq!((host.dropped(Drop::OtherVlan), host.dropped(Drop::UnhandledProto)), (5, 1));
    assert_eq!(host.dropped(Drop::PktTooSmall), 2, "a reserved number, and half a tag");
}

/// A tag may be there for its priority alone, or have one beside its VLAN.
#[test]
fn n8_a_priority_makes_no_difference() {
    for mut host in [host(), Host::new()] {
        for tag in [0, 0xe000] {
            host.inject_raw(&codec::tagged(&echo(PEER_V4, STACK_V4), tag));
            host.turn();
            assert_eq!(host.next_icmp().0, 0);
        }
    }
    let mut host = host();
    host.inject_raw(&codec::tagged(&echo(PEER_V4, STACK_V4), 0xb000 | VLAN));
    host.turn();
    assert_eq!(host.next_icmp().0, 0);
}

#[test]
fn n8_a_host_without_vlan_is_in_none() {
    let mut host = Host::new();
    for tag in [1, 5, 4094] {
        host.inject_raw(&codec::tagged(&echo(PEER_V4, STACK_V4), tag));
    }
    host.silence();
    assert_eq!(host.dropped(Drop::OtherVlan), 3);
}

/// The short way of usual segments does not look for tags, and must not be open to who has none.
#[test]
fn n8_an_established_connection_takes_nothing_from_outside_its_vlan() {
    let mut script = Script::listening_on(host(), STACK_V4, PEER_V4).established(modern_syn());
    script.peer(data(1..101));
    assert_eq!(script.read(), 100);
    script.host.drain();
    let segments = script.host.stack.counters().get(Count::InSegs);
    let packet = script.packet(data(101..201));
    script.host.inject_raw(&codec::frame(STACK_MAC, PEER_MAC, &packet));
    script.host.turn();
    assert_eq!(script.host.stack.counters().get(Count::InSegs), segments);
    assert_eq!(script.host.dropped(Drop::OtherVlan), 1);
}

#[test]
fn n8_what_waits_for_a_neighbour_has_its_tag_already() {
    let mut host = host();
    host.answers_neighbors = false;
    let id = host.stack.udp_bind((STACK_V4, 9).into()).unwrap();
    host.stack.udp_connect(id, (PEER_V4, 9).into()).unwrap();
    host.udp_send(id, b"x", (PEER_V4, 9));
    host.wait(Duration::from_secs(5));
    let asked = host.drain();
    assert_eq!(asked.len(), 3);
    let mut buf = [0; 10];
    let error = host.stack.udp_recv(id, &mut buf);
    assert!(matches!(error, std::task::Poll::Ready(Err(hayase_stack::Error::HostUnreachable))), "{error:?}");
}

//! Ways to other networks: gateways, and the addresses that packets come from.

use std::net::IpAddr;

use hayase_stack::{Cidr, Config, Error, Reach};

use crate::codec::{Body, Ip, Payload};
use crate::host::{Host, PEER_MAC, STACK_MAC};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

fn reach(host: &Host, dst: &str) -> Option<Reach> {
    Reach::by(host.stack.ways(), ip(dst))
}

/// A host of this one address.
fn alone(address: &str) -> Host {
    let mut host = Host::new();
    host.stack.remove_address(ip("10.0.0.1")).unwrap();
    host.stack.remove_address(ip("fd00::1")).unwrap();
    host.stack.add_address(cidr(address)).unwrap();
    host
}

/// Sends a datagram, which somebody at the peer's link-layer address gets.
fn sent_to(host: &mut Host, dst: &str) -> Ip {
    let any = if ip(dst).is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let id = host.stack.udp_bind(any.parse().unwrap()).unwrap();
    host.udp_send(id, b"x", (ip(dst), 9));
    host.stack.udp_close(id);
    let (_, heard) = host.next().expect("a datagram");
    assert_eq!(heard.dst_mac, PEER_MAC);
    let Body::Ip(ip) = heard.body else { panic!("an IP packet expected") };
    ip
}

/// As clouds have it: an address that is a network of its own, and a gateway in none.
#[test]
fn an_address_that_is_all_of_its_network_has_its_gateway_on_the_link() {
    for (address, gateway, everywhere, far) in [
        ("10.128.0.2/32", "10.128.0.1", Cidr::ALL_V4, "192.0.2.9"),
        ("10.128.0.2/32", "172.31.1.1", cidr("192.0.2.0/24"), "192.0.2.9"),
        ("2001:db8::2/128", "2001:db8:ffff::1", Cidr::ALL_V6, "2001:db8:5::9"),
    ] {
        let mut host = alone(address);
        host.stack.add_route(everywhere, ip(gateway)).unwrap();
        host.answers_neighbors = false;
        let id = host.stack.udp_bind(if far.contains(':') { "[::]:7" } else { "0.0.0.0:7" }.parse().unwrap());
        host.udp_send(id.unwrap(), b"x", (ip(far), 9));
        let own = cidr(address).addr();
        match host.next().expect("a question").1.body {
            Body::Arp(arp) => {
                assert_eq!((IpAddr::V4(arp.target.1), arp.sender.0), (ip(gateway), STACK_MAC));
                assert_eq!(IpAddr::V4(arp.sender.1), own);
            }
            Body::Ip(Ip { src, payload: Payload::Icmp { kind: 135, rest, .. }, .. }) => {
                assert_eq!((src, &rest[..16]), (own, &octets(ip(gateway))[..]));
            }
            other => panic!("a question for the gateway expected, not {other:?}"),
        }
        host.answers_neighbors = true;
        host.wait(std::time::Duration::from_secs(2));
        host.drain();
        assert_eq!(sent_to(&mut host, far).src, own);
        // The gateway itself is a host that can be reached, for as long as it is one.
        assert_eq!(sent_to(&mut host, gateway).dst, ip(gateway));
        host.stack.remove_route(everywhere).unwrap();
        assert_eq!(reach(&host, gateway), None);
    }
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V6(ip) => ip.octets().to_vec(),
        IpAddr::V4(ip) => ip.octets().to_vec(),
    }
}

#[test]
fn a_gateway_is_in_a_network_of_the_hosts_or_refused() {
    for (address, gateway) in
        [("10.9.0.2/24", "10.8.0.1"), ("10.9.0.2/32", "fd00:9::1"), ("fd00:9::2/64", "fd00:8::1")]
    {
        let mut host = alone(address);
        let everywhere = if ip(gateway).is_ipv4() { Cidr::ALL_V4 } else { Cidr::ALL_V6 };
        let refused = host.stack.add_route(everywhere, ip(gateway));
        assert!(matches!(refused, Err(Error::InvalidInput(text)) if text.contains("/32")), "{refused:?}");
        assert_eq!(reach(&host, gateway), None, "nothing is left of it");
    }
    // Its gateway may have come into a network of ours meanwhile.
    let mut host = alone("10.9.0.2/32");
    host.stack.add_route(Cidr::ALL_V4, ip("10.8.0.1")).unwrap();
    host.stack.add_address(cidr("10.8.0.5/24")).unwrap();
    host.stack.remove_route(Cidr::ALL_V4).unwrap();
    host.stack.remove_address(ip("10.8.0.5")).unwrap();
    assert_eq!(reach(&host, "10.8.0.1"), None);
    // What is refused for another reason leaves nothing either.
    let mut host = alone("10.9.0.2/32");
    host.stack.add_route(Cidr::ALL_V4, ip("10.8.0.1")).unwrap();
    let before = reach(&host, "10.8.0.2");
    host.stack.add_route(Cidr::ALL_V4, ip("10.8.0.2")).unwrap_err();
    assert_eq!(reach(&host, "10.8.0.2"), before);
}

#[test]
fn of_several_addresses_the_nearest_is_the_source() {
    let mut host = alone("10.0.0.5/8");
    host.stack.add_address(cidr("10.1.0.5/24")).unwrap();
    host.stack.add_address(cidr("10.1.0.6/24")).unwrap();
    assert_eq!(sent_to(&mut host, "10.1.0.9").src, ip("10.1.0.5"));
    assert_eq!(sent_to(&mut host, "10.2.0.9").src, ip("10.0.0.5"));
}

/// A table that is full of others, who were all heard of just now, does not keep a host from its gateway.
#[test]
fn a_gateway_is_found_and_kept_whoever_else_is_on_the_link() {
    let mut config = Config::default();
    config.neighbors_max = 8;
    let mut host = Host::with(config, 1500);
    host.stack.add_route(Cidr::ALL_V4, ip("10.0.0.254")).unwrap();
    for round in 0..3 {
        for other in 10..18 {
            // Asked for, answered, and so proven.
            let id = host.stack.udp_bind("0.0.0.0:7".parse().unwrap()).unwrap();
            let to = (ip(&format!("10.0.0.{}", other + 8 * round)), 9).into();
            let sent = host.stack.udp_send(host.now, id, b"x", Some(to), &mut host.device);
            assert!(sent.is_ready());
            host.stack.udp_close(id);
            host.turn();
        }
        host.drain();
        assert_eq!(sent_to(&mut host, "192.0.2.9").dst, ip("192.0.2.9"));
        // It is in doubt when the next round comes.
        host.wait(std::time::Duration::from_secs(31));
        host.drain();
    }
}

//! Router discovery and stateless address autoconfiguration (RFC 4861 §6, RFC 4862 §5.5, RFC 7217): the script is the
//! router.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use hayase_device::{Caps, Device};
use hayase_stack::{AddressState, Cidr, Config, Drop, Error, Reach};

use crate::codec::{self, Body, Heard, ICMPV6, IpOut, Payload};
use crate::dsl::{Script, ack, data, syn};
use crate::host::{Host, PEER_MAC, PEER_V6, STACK_MAC, STACK_V6, ms, neighbor_advert};
use crate::oracle::pattern;

const ROUTER: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9));
const OTHER_ROUTER: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 10));
const ALL_NODES: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));
const ALL_ROUTERS: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2));
const LINK_LOCAL: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 0x0a));
const ROUTER_SOLICIT: u8 = 133;
const ON_LINK: u8 = 0x80;
const AUTONOMOUS: u8 = 0x40;
const BOTH: u8 = ON_LINK | AUTONOMOUS;
const FOR_EVER: u32 = u32::MAX;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn config() -> Config {
    let mut config = Config::default();
    config.autoconf = true;
    config.stable_secret = Some([5; 16]);
    config
}

/// A host that has asked for routers, and been heard.
fn host() -> Host {
    let mut host = Host::with(config(), 1500);
    host.wait(secs(1));
    host.drain();
    host
}

/// What a router advertises.
#[derive(Clone)]
struct Advert {
    src: IpAddr,
    lifetime_s: u16,
    reachable_ms: u32,
    retransmit_ms: u32,
    options: Vec<u8>,
}

fn advert() -> Advert {
    let options = [&[1, 1][..], &PEER_MAC].concat();
    Advert { src: ROUTER, lifetime_s: 1800, reachable_ms: 0, retransmit_ms: 0, options }
}

impl Advert {
    fn prefix(self, prefix: &str, len: u8, flags: u8, valid_s: u32, preferred_s: u32) -> Advert {
        let IpAddr::V6(prefix) = ip(prefix) else { panic!("an IPv6 prefix") };
        let mut option = vec![3, 4, len, flags];
        option.extend([valid_s.to_be_bytes(), preferred_s.to_be_bytes(), [0; 4]].concat());
        option.extend(prefix.octets());
        Advert { options: [self.options, option].concat(), ..self }
    }

    fn mtu(self, mtu: u32) -> Advert {
        let option = [&[5, 1, 0, 0][..], &mtu.to_be_bytes()].concat();
        Advert { options: [self.options, option].concat(), ..self }
    }

    fn message(&self) -> Vec<u8> {
        let times = [self.reachable_ms.to_be_bytes(), self.retransmit_ms.to_be_bytes()].concat();
        let word = u32::from(self.lifetime_s) | 64 << 24;
        codec::icmp(self.src, ALL_NODES, 134, 0, word, &[times, self.options.clone()].concat())
    }

    fn packet(&self) -> Vec<u8> {
        IpOut { ttl: 255, ..IpOut::new(self.src, ALL_NODES, ICMPV6) }.packet(&self.message())
    }

    fn send(&self, host: &mut Host) {
        host.packet(&self.packet());
    }
}

/// The addresses that the host has made, and their states.
fn made(host: &Host) -> Vec<(Cidr, AddressState)> {
    let given = [LINK_LOCAL, ip("10.0.0.1"), ip("fd00::1")];
    host.stack.address_states().filter(|(cidr, _)| !given.contains(&cidr.addr())).collect()
}

#[track_caller]
fn the_made(host: &Host) -> (Cidr, AddressState) {
    let made = made(host);
    assert_eq!(made.len(), 1, "{made:?}");
    made[0]
}

/// The router solicitations that the host sent: times, and from where.
fn questions(host: &mut Host) -> Vec<(u64, IpAddr, Vec<u8>)> {
    let question = |(at, heard): (hayase_stack::Instant, Heard)| match heard.body {
        Body::Ip(ip) => match ip.payload {
            Payload::Icmp { kind: ROUTER_SOLICIT, code: 0, rest, .. } => {
                assert_eq!((ip.dst, ip.ttl, heard.dst_mac), (ALL_ROUTERS, 255, [0x33, 0x33, 0, 0, 0, 2]));
                Some((at.as_millis() - 10_000, ip.src, rest))
            }
            _ => None,
        },
        Body::Arp(_) => None,
    };
    host.drain().into_iter().filter_map(question).collect()
}

// Asking

/// RFC 4861 §6.3.7, RFC 7559 §2
#[test]
fn l9_a_host_asks_for_routers_ever_more_seldom_until_one_answers() {
    let mut host = Host::with(config(), 1500);
    host.wait(secs(70));
    let asked = questions(&mut host);
    assert!(asked[0].0 < 1000, "within a second");
    assert_eq!((asked[0].1, &asked[0].2[..]), (LINK_LOCAL, &[&[1, 1][..], &STACK_MAC].concat()[..]));
    let pauses: Vec<u64> = asked.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(pauses.len() >= 3, "{pauses:?}");
    for (pause, least) in pauses.iter().zip([4000, 8000, 16_000, 32_000]) {
        assert!((least..=least * 11 / 10).contains(pause), "{pauses:?}");
    }
    advert().send(&mut host);
    host.wait(secs(1000));
    assert_eq!(questions(&mut host), [], "a router is there");
    host.wait(secs(900));
    assert_eq!(questions(&mut host).len(), 5, "its life is over: 4 s later, and 8, 16, 32 after that");
}

#[test]
fn l9_a_question_that_a_full_device_does_not_take_is_asked_at_once_then() {
    let mut host = Host::with(config(), 1500);
    host.wait_full(secs(20));
    host.wait(secs(30));
    let times: Vec<u64> = questions(&mut host).iter().map(|(at, ..)| *at).collect();
    assert!(times.len() == 4 && times[0] <= 20_002 && times[1] - times[0] < 4500, "{times:?}");
}

#[test]
fn l9_before_it_has_an_address_a_host_asks_as_nobody() {
    let mut config = config();
    config.dad_transmits = Some(3);
    let mut host = Host::with(config, 1500);
    host.wait(secs(1));
    let asked = questions(&mut host);
    assert_eq!((asked[0].1, asked[0].2.len()), (IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0));
}

#[test]
fn l9_unless_told_to_a_host_neither_asks_nor_believes() {
    let mut host = Host::new();
    host.wait(secs(10));
    advert().prefix("2001:db8::", 64, BOTH, 3600, 3600).send(&mut host);
    host.silence();
    assert_eq!((made(&host).len(), host.dropped(Drop::IcmpUnhandled)), (0, 1));
    assert_eq!(
        host.stack.tcp_connect(host.now, "[2001:db8:9::1]:80".parse().unwrap(), None),
        Err(Error::NetworkUnreachable)
    );
}

// Routers

/// Where a packet for elsewhere goes: the MAC address, and the neighbour asked for first if it is not known.
fn send_far(host: &mut Host) -> Result<[u8; 6], IpAddr> {
    let id = host.stack.udp_bind("[::]:0".parse().unwrap()).unwrap();
    let sent =
        host.stack.udp_send(host.now, id, b"x", Some("[2001:db8:9::1]:9".parse().unwrap()), &mut host.device);
    assert!(sent.is_ready());
    host.turn();
    let (_, heard) = host.next().expect("a packet");
    host.stack.udp_close(id);
    match heard.body {
        Body::Ip(codec::Ip { payload: Payload::Udp { .. }, .. }) => Ok(heard.dst_mac),
        Body::Ip(codec::Ip { payload: Payload::Icmp { kind: 135, rest, .. }, .. }) => {
            Err(<[u8; 16]>::try_from(&rest[..16]).unwrap().into())
        }
        other => panic!("{other:?}"),
    }
}

fn is_reachable(host: &mut Host) -> bool {
    let connected = host.stack.tcp_connect(host.now, "[2001:db8:9::1]:80".parse().unwrap(), None);
    match connected {
        Ok(id) => {
            host.stack.tcp_abort(host.now, id);
            host.turn();
            host.drain();
            true
        }
        Err(error) => {
            assert_eq!(error, Error::NetworkUnreachable);
            false
        }
    }
}

#[test]
fn l9_a_router_leads_everywhere_for_as_long_as_it_says() {
    let mut host = host();
    assert!(!is_reachable(&mut host));
    Advert { lifetime_s: 60, ..advert() }.send(&mut host);
    assert_eq!(send_far(&mut host), Ok(PEER_MAC), "its link-layer address came along");
    host.wait(secs(59));
    assert!(is_reachable(&mut host));
    host.wait(secs(2));
    assert!(!is_reachable(&mut host));
    advert().send(&mut host);
    assert!(is_reachable(&mut host));
    Advert { lifetime_s: 0, ..advert() }.send(&mut host);
    assert!(!is_reachable(&mut host), "it is none any more");
    host.drain();
    host.wait(secs(5));
    assert_eq!(questions(&mut host).len(), 1, "another one is looked for");
}

/// What the first queue of a NIC asks, it asks for all.
#[test]
fn l9_of_several_queues_one_looks_for_another_router() {
    for (queue, count) in [(0, 1), (1, 0)] {
        let mut host = host();
        host.stack.set_caps(&Caps { queue, ..*host.device.caps() });
        advert().send(&mut host);
        assert!(is_reachable(&mut host));
        Advert { lifetime_s: 0, ..advert() }.send(&mut host);
        assert!(!is_reachable(&mut host));
        host.wait(secs(5));
        assert_eq!(questions(&mut host).len(), count, "queue {queue}");
    }
}

/// By which a host of several interfaces chooses.
#[test]
fn n8_what_can_be_reached_is_what_is_configured_and_what_routers_say() {
    let mut host = host();
    let reach = |host: &Host, dst: &str| Reach::by(host.stack.ways(), ip(dst));
    let own = host.stack.addresses().find(|cidr| cidr.addr().is_ipv4()).unwrap();
    assert_eq!(reach(&host, &own.addr().to_string()), Some(Reach::Own));
    assert_eq!(reach(&host, "2001:db8:9::1"), None);
    Advert { lifetime_s: 60, ..advert() }.send(&mut host);
    assert_eq!(reach(&host, "2001:db8:9::1"), Some(Reach::Routed(0)), "by the router");
    advert().prefix("2001:db8:9::", 64, ON_LINK, 60, 60).send(&mut host);
    assert_eq!(reach(&host, "2001:db8:9::1"), Some(Reach::Routed(64)), "on the link");
    host.stack.add_route("2001:db8:9::1/128".parse().unwrap(), LINK_LOCAL).unwrap();
    assert_eq!(reach(&host, "2001:db8:9::1"), Some(Reach::Routed(128)));
    host.stack.remove_route("2001:db8:9::1/128".parse().unwrap()).unwrap();
    host.wait(secs(61));
    assert_eq!(
        reach(&host, "2001:db8:9::1"),
        Some(Reach::Routed(0)),
        "the router of the second advertisement"
    );
    host.wait(secs(1800));
    assert_eq!(reach(&host, "2001:db8:9::1"), None);
}

/// RFC 4861 §6.3.6
#[test]
fn l9_a_router_that_is_silent_is_replaced_by_the_next() {
    let mut host = host();
    for src in [ROUTER, OTHER_ROUTER] {
        Advert { src, options: Vec::new(), ..advert() }.send(&mut host);
    }
    host.answers_neighbors = false;
    assert_eq!(send_far(&mut host), Err(ROUTER));
    host.wait(secs(5));
    host.drain();
    assert_eq!(send_far(&mut host), Err(OTHER_ROUTER));
    host.packet(&neighbor_advert(OTHER_ROUTER, LINK_LOCAL, 0xe000_0000));
    host.drain();
    assert_eq!(send_far(&mut host), Ok(PEER_MAC));
}

/// RFC 4861 §7.2.5
#[test]
fn l9_a_router_that_says_it_is_none_is_replaced_by_the_next() {
    let mut host = host();
    host.answers_neighbors = false;
    let mac = |n: u8| [&[1, 1][..], &[2, 0, 0, 0, 1, n]].concat();
    Advert { options: mac(1), ..advert() }.send(&mut host);
    Advert { src: OTHER_ROUTER, options: mac(2), ..advert() }.send(&mut host);
    assert_eq!(send_far(&mut host), Ok([2, 0, 0, 0, 1, 1]));
    // Without R and without O: it does not even know its link-layer address.
    host.packet(&neighbor_advert(ROUTER, LINK_LOCAL, 0));
    assert_eq!(send_far(&mut host), Ok([2, 0, 0, 0, 1, 1]));
    host.packet(&neighbor_advert(ROUTER, ALL_NODES, 0xa000_0000));
    assert_eq!(send_far(&mut host), Ok(PEER_MAC), "it has moved");
    host.packet(&neighbor_advert(ROUTER, ALL_NODES, 0x2000_0000));
    assert_eq!(send_far(&mut host), Ok([2, 0, 0, 0, 1, 2]), "it is a host now");
    host.packet(&neighbor_advert(OTHER_ROUTER, ALL_NODES, 0x2000_0000));
    assert!(!is_reachable(&mut host));
    host.wait(secs(5));
    assert_eq!(questions(&mut host).len(), 1, "another one is looked for");
}

/// A connection remembers its next hop, as long as that is one.
#[test]
fn l9_connections_leave_a_router_that_is_none_any_more() {
    let far = ip("2001:db8:9::1");
    let mut t = Script::listening_on(host(), STACK_V6, far);
    let mac = |n: u8| [&[1, 1][..], &[2, 0, 0, 0, 1, n]].concat();
    let router = Advert { options: mac(1), ..advert() };
    router.send(&mut t.host);
    Advert { src: OTHER_ROUTER, options: mac(2), ..advert() }.send(&mut t.host);
    let mut t = t.established(syn().mss(1440));
    let mut hops = Vec::new();
    for n in 1..=4 {
        if n == 4 {
            Advert { lifetime_s: 0, ..router.clone() }.send(&mut t.host);
        }
        t.write(10);
        let (_, heard) = t.host.next().expect("a segment");
        hops.push(heard.dst_mac[5]);
        t.peer(ack(1 + 10 * n));
    }
    assert_eq!(hops, [1, 1, 1, 2]);
}

/// RFC 4861 §6.3.4: connections that are there already are of no use to a link that takes less.
#[test]
fn l9_a_smaller_mtu_is_that_of_connections_too() {
    let mut t = Script::listening_on(host(), STACK_V6, PEER_V6);
    let mut ids = Vec::new();
    for port in [4000, 4001] {
        t.reborn(port, 77);
        t = t.established(syn().mss(1440));
        for n in 0..3 {
            t.write(1440);
            t.expect(data(1 + n * 1440..1 + (n + 1) * 1440));
            t.peer(ack(1 + (n + 1) * 1440));
        }
        ids.push(t.id());
    }
    advert().mtu(1280).send(&mut t.host);
    for id in ids {
        let bytes: Vec<u8> = (1 + 3 * 1440..1 + 4 * 1440).map(pattern).collect();
        assert!(t.host.stack.tcp_write(t.host.now, id, &bytes, &mut t.host.device).is_ready());
        t.host.turn();
        let Payload::Tcp(tcp) = t.host.next_ip().payload else { panic!("a segment expected") };
        assert_eq!(tcp.payload.len(), 1220);
    }
}

#[test]
fn l9_a_configured_gateway_comes_before_routers() {
    let mut host = host();
    host.stack.add_route(Cidr::ALL_V6, ip("fd00::77")).unwrap();
    advert().send(&mut host);
    host.answers_neighbors = false;
    assert_eq!(send_far(&mut host), Err(ip("fd00::77")));
}

/// RFC 4861 §6.1.2
#[test]
fn l9_advertisements_that_break_the_rules_are_ignored() {
    let mut host = host();
    let good = advert().prefix("2001:db8::", 64, BOTH, 3600, 3600);
    let mut far = good.packet();
    far[7] = 254;
    let mut bad_sum = good.packet();
    bad_sum[42] ^= 1;
    let global = Advert { src: ip("2001:db8::9"), ..good.clone() }.packet();
    let code = codec::icmp(ROUTER, ALL_NODES, 134, 1, 0x4000_0708, &good.message()[8..]);
    let code = IpOut { ttl: 255, ..IpOut::new(ROUTER, ALL_NODES, ICMPV6) }.packet(&code);
    let empty_option = Advert { options: vec![5, 0, 0, 0, 0, 0, 5, 0], ..good.clone() }.packet();
    let long_option = Advert { options: vec![5, 9, 0, 0, 0, 0, 5, 0], ..good.clone() }.packet();
    let short = codec::icmp(ROUTER, ALL_NODES, 134, 0, 0x4000_0708, &[0; 4]);
    let short = IpOut { ttl: 255, ..IpOut::new(ROUTER, ALL_NODES, ICMPV6) }.packet(&short);
    for packet in [far, bad_sum, global, code, empty_option, long_option, short] {
        host.packet(&packet);
        assert!(made(&host).is_empty() && !is_reachable(&mut host));
    }
    good.send(&mut host);
    assert_eq!(made(&host).len(), 1);
}

#[test]
fn l9_a_flood_of_routers_and_prefixes_takes_bounded_memory() {
    let mut host = host();
    advert().prefix("2001:db8::", 64, BOTH, 3600, 3600).send(&mut host);
    let first = the_made(&host);
    for i in 0..2000_u16 {
        let src = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, i));
        let prefix = |j: u16| Ipv6Addr::new(0x2001, 0xdb8, i, j + 1, 0, 0, 0, 0).to_string();
        let flood = (0..4).fold(advert(), |all, j| all.prefix(&prefix(j), 64, BOTH, FOR_EVER, FOR_EVER));
        Advert { src, ..flood }.send(&mut host);
    }
    assert!(made(&host).len() <= 8, "{}", made(&host).len());
    assert!(host.dropped(Drop::RouterBudget) > 1900);
    assert_eq!(made(&host)[0], first, "what was there stays");
    assert_eq!(send_far(&mut host), Ok(PEER_MAC));
    host.drain();
    host.wait(secs(10));
    host.assert_frames_home();
}

// Prefixes

#[test]
fn l9_a_network_is_on_the_link_for_as_long_as_a_router_says() {
    let mut host = host();
    advert().prefix("2001:db8:9::", 64, ON_LINK, 60, 60).send(&mut host);
    host.answers_neighbors = false;
    assert_eq!(send_far(&mut host), Err(ip("2001:db8:9::1")), "the neighbour itself is asked for");
    assert_eq!(made(&host).len(), 0, "and no address is made");
    host.wait(secs(61));
    host.drain();
    assert_eq!(send_far(&mut host), Ok(PEER_MAC), "by the router");
    advert().prefix("2001:db8:9::", 64, ON_LINK, 60, 60).send(&mut host);
    advert().prefix("2001:db8:9::", 64, ON_LINK, 0, 0).send(&mut host);
    assert_eq!(send_far(&mut host), Ok(PEER_MAC), "withdrawn");
}

#[test]
fn l9_the_link_local_prefix_is_not_a_routers_to_give() {
    let mut host = host();
    let claims = advert().prefix("fe80::", 64, BOTH, 3600, 3600).prefix("ff02::", 64, BOTH, 3600, 3600);
    claims.send(&mut host);
    assert_eq!(made(&host).len(), 0);
}

// Addresses

/// RFC 4862 §5.5.3 (d)
#[test]
fn l9_an_address_is_made_of_an_autonomous_prefix_and_tried() {
    let mut config = config();
    config.dad_transmits = Some(1);
    let mut host = Host::with(config, 1500);
    host.wait(secs(1));
    advert().prefix("2001:db8::", 64, AUTONOMOUS, 3600, 1800).send(&mut host);
    let (cidr, state) = the_made(&host);
    assert_eq!((cidr.network().to_string(), state), ("2001:db8::/64".to_owned(), AddressState::Tentative));
    host.drain();
    host.wait(ms(2100));
    assert_eq!(the_made(&host).1, AddressState::Preferred);
    let asked = host.drain().into_iter().any(|(_, heard)| match heard.body {
        Body::Ip(ip) => matches!(ip.payload, Payload::Icmp { kind: 135, .. }) && ip.src.is_unspecified(),
        Body::Arp(_) => false,
    });
    assert!(asked);
    let connection = host.stack.tcp_connect(host.now, "[2001:db8:9::1]:80".parse().unwrap(), None).unwrap();
    assert_eq!(
        host.stack.tcp_local_addr(connection).unwrap().ip(),
        cidr.addr(),
        "not from link-local or fd00::1"
    );
}

/// RFC 7217 §5
#[test]
fn l9_a_made_address_is_the_same_after_a_restart_and_another_in_another_network() {
    let address = |prefix: &str, secret| {
        let mut config = config();
        config.stable_secret = secret;
        let mut host = Host::with(config, 1500);
        advert().prefix(prefix, 64, AUTONOMOUS, 3600, 1800).send(&mut host);
        match the_made(&host).0.addr() {
            IpAddr::V6(addr) => addr.to_bits() as u64,
            IpAddr::V4(_) => panic!("an IPv6 address"),
        }
    };
    let own = address("2001:db8::", Some([5; 16]));
    assert_eq!(own, address("2001:db8::", Some([5; 16])));
    assert_ne!(own, address("2001:db8:1::", Some([5; 16])));
    assert_ne!(own, address("2001:db8::", Some([6; 16])));
    assert_ne!(own, address("2001:db8::", None));
    assert_ne!(own as u32, 0xfe00_000a, "nothing of the link-layer address shows");
}

/// RFC 7217 §6
#[test]
fn l9_a_made_address_that_another_host_has_is_replaced_three_times() {
    let mut config = config();
    config.dad_transmits = Some(1);
    let mut host = Host::with(config, 1500);
    advert().prefix("2001:db8::", 64, AUTONOMOUS, FOR_EVER, FOR_EVER).send(&mut host);
    let mut tried = vec![the_made(&host).0.addr()];
    for _ in 0..3 {
        let taken = *tried.last().unwrap();
        host.packet(&neighbor_advert(taken, ALL_NODES, 0x2000_0000));
        let (cidr, state) = the_made(&host);
        assert_eq!(state, AddressState::Tentative);
        assert!(!tried.contains(&cidr.addr()));
        tried.push(cidr.addr());
        host.wait(ms(300));
    }
    host.packet(&neighbor_advert(tried[3], ALL_NODES, 0x2000_0000));
    assert_eq!(the_made(&host).1, AddressState::Duplicate, "enough");
    host.wait(secs(10));
    assert_eq!(the_made(&host).1, AddressState::Duplicate);
}

#[test]
fn l9_prefixes_that_no_address_can_be_made_of_make_none() {
    let mut host = host();
    advert().prefix("2001:db8::", 63, AUTONOMOUS, 3600, 3600).send(&mut host);
    advert().prefix("2001:db8::", 64, AUTONOMOUS, 3600, 3601).send(&mut host);
    advert().prefix("2001:db8::", 64, AUTONOMOUS, 0, 0).send(&mut host);
    assert_eq!(made(&host), []);
}

/// RFC 4862 §5.5.4
#[test]
fn l9_an_address_is_deprecated_and_then_gone() {
    for dad_transmits in [0, 1] {
        is_deprecated_and_then_gone(dad_transmits);
    }
}

fn is_deprecated_and_then_gone(dad_transmits: u8) {
    let mut config = config();
    config.dad_transmits = Some(dad_transmits);
    let mut host = Host::with(config, 1500);
    advert().prefix("2001:db8::", 64, AUTONOMOUS, 200, 100).send(&mut host);
    advert().prefix("2001:db8:1::", 64, AUTONOMOUS, FOR_EVER, FOR_EVER).send(&mut host);
    host.wait(secs(3));
    let (old, new) = (made(&host)[0].0.addr(), made(&host)[1].0.addr());
    let source = |host: &mut Host| {
        let id = host.stack.tcp_connect(host.now, "[2001:db8::77]:80".parse().unwrap(), None).unwrap();
        host.stack.tcp_local_addr(id).unwrap().ip()
    };
    assert_eq!(source(&mut host), old, "the nearer one");
    host.wait(secs(98));
    assert_eq!(host.stack.address_state(old), Some(AddressState::Deprecated));
    assert_eq!(source(&mut host), new);
    assert!(host.stack.tcp_listen((old, 80).into(), 1).is_ok(), "still in use");
    host.wait(secs(100));
    assert_eq!(host.stack.address_state(old), None);
    assert_eq!(host.stack.tcp_listen((old, 81).into(), 1), Err(Error::AddrNotAvailable));
}

/// RFC 4862 §5.5.3 (e)
#[test]
fn l9_nobody_shortens_the_life_of_an_address_below_two_hours() {
    let mut host = host();
    advert().prefix("2001:db8::", 64, AUTONOMOUS, FOR_EVER, FOR_EVER).send(&mut host);
    let addr = the_made(&host).0.addr();
    advert().prefix("2001:db8::", 64, AUTONOMOUS, 0, 0).send(&mut host);
    assert_eq!(host.stack.address_state(addr), Some(AddressState::Deprecated), "but preferred no more");
    host.wait(secs(7190));
    assert_eq!(host.stack.address_state(addr), Some(AddressState::Deprecated));
    advert().prefix("2001:db8::", 64, AUTONOMOUS, 1, 1).send(&mut host);
    host.wait(secs(5));
    assert!(host.stack.address_state(addr).is_some(), "what is left of them stays");
    host.wait(secs(10));
    assert_eq!(host.stack.address_state(addr), None);
}

#[test]
fn l9_another_advertisement_prolongs_the_life_of_an_address() {
    let mut host = host();
    let again = advert().prefix("2001:db8::", 64, AUTONOMOUS, 200, 100);
    for _ in 0..20 {
        again.send(&mut host);
        host.wait(secs(90));
        assert_eq!(the_made(&host).1, AddressState::Preferred);
    }
}

// The link

#[test]
fn l9_the_links_mtu_is_obeyed_within_reason() {
    let mut host = host();
    let size = |host: &mut Host| {
        let id = host.stack.tcp_connect(host.now, "[fd00::2]:80".parse().unwrap(), None).unwrap();
        host.turn();
        let codec::Ip { payload: Payload::Tcp(tcp), .. } = host.next_ip() else { panic!("a SYN expected") };
        host.stack.tcp_abort(host.now, id);
        host.turn();
        codec::Options::parse(&tcp.options).mss.unwrap()
    };
    assert_eq!(size(&mut host), 1440);
    advert().mtu(1400).send(&mut host);
    assert_eq!(size(&mut host), 1340);
    for absurd in [0, 68, 1279, 1501, 9000, u32::MAX] {
        advert().mtu(absurd).send(&mut host);
        assert_eq!(size(&mut host), 1340, "{absurd}");
    }
    advert().mtu(1500).send(&mut host);
    assert_eq!(size(&mut host), 1440);
}

#[test]
fn l9_the_times_of_neighbour_discovery_are_the_routers_within_reason() {
    for (retransmit_ms, pause) in [(0, 1000), (1, 1000), (3000, 3000), (u32::MAX, 10_000)] {
        let mut host = host();
        Advert { retransmit_ms, ..advert() }.send(&mut host);
        host.answers_neighbors = false;
        let id = host.stack.udp_bind("[::]:0".parse().unwrap()).unwrap();
        host.udp_send(id, b"x", (ip("fd00::2"), 9));
        host.wait(secs(15));
        let asked = host.drain();
        let pauses: Vec<u128> = asked.windows(2).map(|pair| (pair[1].0 - pair[0].0).as_millis()).collect();
        assert!(!pauses.is_empty() && pauses.iter().all(|got| *got == pause), "{retransmit_ms}: {pauses:?}");
    }
}

/// RFC 4861 §6.3.2
#[test]
fn l9_a_neighbour_is_believed_for_as_long_as_the_router_says() {
    let mut host = host();
    Advert { reachable_ms: 2_000_000, ..advert() }.send(&mut host);
    let id = host.stack.udp_bind("[::]:0".parse().unwrap()).unwrap();
    host.udp_send(id, b"x", (ip("fd00::2"), 9));
    host.drain();
    host.answers_neighbors = false;
    for _ in 0..9 {
        host.wait(secs(100));
        host.udp_send(id, b"x", (ip("fd00::2"), 9));
        let (_, heard) = host.next().unwrap();
        assert!(matches!(heard.body, Body::Ip(codec::Ip { payload: Payload::Udp { .. }, .. })), "{heard:?}");
        host.silence();
    }
}

//! IPv6, ICMPv6 and neighbor discovery (RFC 8200, 4443, 4861, 4862, 5722, 6946, 5095).

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use hayase_stack::{Config, Drop, UdpId};

use crate::codec::{self, ACK, Body, FRAGMENT, Heard, ICMPV6, IpOut, Payload, RST, SYN, TCP, UDP};
use crate::dsl::{Script, ack, data, syn, syn_ack};
use crate::host::{Host, PEER_MAC, PEER_V6, STACK_MAC, STACK_V6, neighbor_advert};

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const DESTINATION: u8 = 60;
const NO_NEXT: u8 = 59;

const ALL_NODES: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));
/// The solicited-node group of the stack's address.
const SOLICITED: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 1));
const NOBODY: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

const SOLICIT: u8 = 135;
const ADVERT: u8 = 136;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V6(ip) => ip.octets(),
        IpAddr::V4(ip) => panic!("{ip} is no IPv6 address"),
    }
}

/// A neighbor solicitation for `target` with these options behind.
fn solicit(src: IpAddr, dst: IpAddr, target: IpAddr, options: &[u8]) -> Vec<u8> {
    codec::icmp(src, dst, SOLICIT, 0, 0, &[&octets(target)[..], options].concat())
}

const SOURCE_OPTION: [u8; 8] = [1, 1, 2, 0, 0, 0, 0, 0x0b];

fn with_hops(src: IpAddr, dst: IpAddr, hops: u8, message: &[u8]) -> Vec<u8> {
    IpOut { ttl: hops, ..IpOut::new(src, dst, ICMPV6) }.packet(message)
}

fn echo(payload: &[u8]) -> Vec<u8> {
    codec::icmp(PEER_V6, STACK_V6, 128, 0, 0x1234_0007, payload)
}

#[track_caller]
fn assert_echoed(host: &mut Host, payload: &[u8]) {
    assert_eq!(host.next_icmp(), (129, 0, 0x1234_0007, payload.to_vec()));
}

/// A stack that knows its peer already, and a socket on port 2000.
fn host() -> (Host, UdpId) {
    let mut host = Host::new();
    let id = host.stack.udp_bind("[::]:2000".parse().unwrap()).unwrap();
    host.ip(PEER_V6, STACK_V6, ICMPV6, &echo(b"hello"));
    assert_echoed(&mut host, b"hello");
    (host, id)
}

fn datagram(payload: &[u8]) -> Vec<u8> {
    codec::udp((PEER_V6, 9000), (STACK_V6, 2000), payload)
}

/// The advertisement that the stack sent: to whom, on which layer, its flags, and what follows them.
fn next_advert(host: &mut Host) -> ([u8; 6], IpAddr, u32, Vec<u8>) {
    let Some((_, Heard { dst_mac, body: Body::Ip(ip), .. })) = host.next() else { panic!("nothing came") };
    match ip.payload {
        Payload::Icmp { kind: ADVERT, code: 0, word, rest } => (dst_mac, ip.dst, word, rest),
        other => panic!("an advertisement expected, not {other:?}"),
    }
}

// Neighbor discovery

#[test]
fn l1_a_solicitation_is_answered_with_the_s_flag_and_our_link_layer_address() {
    let mut host = Host::new();
    for dst in [SOLICITED, STACK_V6] {
        let message = solicit(PEER_V6, dst, STACK_V6, &SOURCE_OPTION);
        host.packet(&with_hops(PEER_V6, dst, 255, &message));
        let (mac, to, flags, rest) = next_advert(&mut host);
        assert_eq!((mac, to), (PEER_MAC, PEER_V6));
        assert_eq!(flags >> 29, 0b011, "no router, solicited, override");
        assert_eq!(rest, [&octets(STACK_V6)[..], &[2, 1], &STACK_MAC].concat());
    }
}

/// A question to us alone that does not say where it comes from.
fn bare_solicit(src: IpAddr) -> Vec<u8> {
    with_hops(src, STACK_V6, 255, &solicit(src, STACK_V6, STACK_V6, &[]))
}

/// RFC 4861 §7.2.4
#[test]
fn l1_who_asks_and_does_not_say_where_it_is_is_asked_and_then_answered() {
    let mut host = Host::new();
    host.answers_neighbors = false;
    host.packet(&bare_solicit(PEER_V6));
    let Some((_, Heard { body: Body::Ip(ip), .. })) = host.next() else { panic!("a question expected") };
    let Payload::Icmp { kind: SOLICIT, rest, .. } = ip.payload else { panic!("{ip:?}") };
    assert_eq!(rest, [&octets(PEER_V6)[..], &[1, 1], &STACK_MAC].concat());
    host.silence();
    host.packet(&neighbor_advert(PEER_V6, STACK_V6, 0x6000_0000));
    let (mac, to, flags, rest) = next_advert(&mut host);
    assert_eq!((mac, to, flags >> 29), (PEER_MAC, PEER_V6, 0b011));
    assert_eq!(rest, [&octets(STACK_V6)[..], &[2, 1], &STACK_MAC].concat());
    host.packet(&bare_solicit(PEER_V6));
    assert_eq!(next_advert(&mut host).1, PEER_V6, "who is known is answered at once");
    host.silence();
    host.assert_frames_home();
}

/// RFC 4861 §4.3: in what goes to a group the option must be.
#[test]
fn l1_who_asks_a_group_and_does_not_say_where_it_is_is_not_answered() {
    let mut host = Host::new();
    host.packet(&with_hops(PEER_V6, SOLICITED, 255, &solicit(PEER_V6, SOLICITED, STACK_V6, &[])));
    host.silence();
    assert_eq!(host.dropped(Drop::NeighUnresolved), 1);
}

#[test]
fn l1_a_flood_of_such_questions_takes_no_more_than_the_table_and_nothing_that_is_in_use() {
    let mut config = Config::default();
    config.neighbors_max = 64;
    let mut host = Host::with(config, 1500);
    let id = host.stack.udp_bind("[::]:2000".parse().unwrap()).unwrap();
    host.answers_neighbors = false;
    host.udp_send(id, b"ours", (PEER_V6, 9));
    let stranger = |n: u16| IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, n));
    for n in 0..2000 {
        host.packet(&bare_solicit(stranger(n)));
    }
    assert_eq!((host.device.pool().in_use(), host.dropped(Drop::NeighUnresolved)), (64, 2000 - 63));
    for _ in 0..2000 {
        host.packet(&bare_solicit(stranger(0)));
    }
    assert!(host.device.pool().in_use() <= 64 + 64, "{}", host.device.pool().in_use());
    host.drain();
    host.packet(&neighbor_advert(PEER_V6, STACK_V6, 0x6000_0000));
    assert!(matches!(host.next_ip().payload, Payload::Udp { .. }), "what waits of ours is not lost");
    host.wait(secs(5));
    host.drain();
    host.assert_frames_home();
}

/// RFC 4862 §5.4
#[test]
fn l1_duplicate_address_detection_is_answered_to_all_nodes() {
    let mut host = Host::new();
    host.packet(&with_hops(NOBODY, SOLICITED, 255, &solicit(NOBODY, SOLICITED, STACK_V6, &[])));
    let (mac, to, flags, _) = next_advert(&mut host);
    assert_eq!((mac, to), ([0x33, 0x33, 0, 0, 0, 1], ALL_NODES));
    assert_eq!(flags >> 29, 0b001, "not solicited");
}

#[test]
fn l1_nobody_else_is_answered_for() {
    let mut host = Host::new();
    let other = PEER_V6;
    host.packet(&with_hops(PEER_V6, SOLICITED, 255, &solicit(PEER_V6, SOLICITED, other, &SOURCE_OPTION)));
    host.silence();
}

/// RFC 4861 §7.1.1
#[test]
fn l2_solicitations_that_break_the_rules_are_ignored() {
    let mut host = Host::new();
    let good = solicit(PEER_V6, SOLICITED, STACK_V6, &SOURCE_OPTION);
    for hops in [254, 64, 1, 0] {
        host.packet(&with_hops(PEER_V6, SOLICITED, hops, &good));
        host.silence();
    }
    let mut bad_sum = good.clone();
    bad_sum[2] ^= 1;
    let code = codec::icmp(PEER_V6, SOLICITED, SOLICIT, 1, 0, &good[8..]);
    let no_length = solicit(PEER_V6, SOLICITED, STACK_V6, &[1, 0, 2, 0, 0, 0, 0, 0x0b]);
    let too_long = solicit(PEER_V6, SOLICITED, STACK_V6, &[1, 2, 2, 0, 0, 0, 0, 0x0b]);
    let group = solicit(PEER_V6, SOLICITED, ALL_NODES, &SOURCE_OPTION);
    let short = codec::icmp(PEER_V6, SOLICITED, SOLICIT, 0, 0, &octets(STACK_V6)[..12]);
    for bad in [bad_sum, code, no_length, too_long, group, short] {
        host.packet(&with_hops(PEER_V6, SOLICITED, 255, &bad));
        host.silence();
    }
    let dad_with_option = solicit(NOBODY, SOLICITED, STACK_V6, &SOURCE_OPTION);
    host.packet(&with_hops(NOBODY, SOLICITED, 255, &dad_with_option));
    let dad_to_us = solicit(NOBODY, STACK_V6, STACK_V6, &[]);
    host.packet(&with_hops(NOBODY, STACK_V6, 255, &dad_to_us));
    host.silence();
}

#[test]
fn l2_an_advertisement_that_nobody_asked_for_teaches_nothing() {
    let mut host = Host::new();
    let id = host.stack.udp_bind("[::]:2000".parse().unwrap()).unwrap();
    host.answers_neighbors = false;
    host.packet(&neighbor_advert(PEER_V6, STACK_V6, 0x2000_0000));
    host.udp_send(id, b"x", (PEER_V6, 9));
    assert_eq!(host.next_icmp().0, SOLICIT);
}

/// RFC 6980 §5
#[test]
fn l2_neighbor_discovery_in_fragments_is_ignored() {
    let mut host = Host::new();
    let id = host.stack.udp_bind("[::]:2000".parse().unwrap()).unwrap();
    host.answers_neighbors = false;
    host.udp_send(id, b"x", (PEER_V6, 9));
    assert_eq!(host.next_icmp().0, SOLICIT);
    let advert = neighbor_advert(PEER_V6, STACK_V6, 0x6000_0000);
    let in_fragment = |offset, more, ident, piece: &[u8]| {
        let mut packet = fragment(ICMPV6, offset, more, ident, piece);
        packet[7] = 255;
        packet
    };
    let (head, tail) = advert[40..].split_at(16);
    host.packet(&in_fragment(0, true, 1, head));
    host.packet(&in_fragment(16, false, 1, tail));
    host.packet(&in_fragment(0, false, 2, &advert[40..]));
    let question = solicit(PEER_V6, STACK_V6, STACK_V6, &SOURCE_OPTION);
    host.packet(&in_fragment(0, false, 3, &question));
    host.silence();
    assert_eq!(host.dropped(Drop::Ipv6NdiscBad), 3);
    host.packet(&advert);
    assert_eq!(host.drain().len(), 1, "the datagram that waited");
}

#[test]
fn a_silent_neighbour_is_asked_for_three_times_and_given_up() {
    let mut host = Host::new();
    let id = host.stack.udp_bind("[::]:2000".parse().unwrap()).unwrap();
    host.answers_neighbors = false;
    host.udp_send(id, b"x", (PEER_V6, 9));
    host.wait(secs(10));
    let asked = host.drain();
    assert_eq!(asked.len(), 3);
    for (_, heard) in asked {
        assert_eq!(heard.dst_mac[..2], [0x33, 0x33], "to the solicited-node group");
    }
    host.assert_frames_home();
}

// Echo, checksums

#[test]
fn l3_an_echo_comes_back_identical() {
    let (mut host, _) = host();
    for len in [0, 1, 2, 777, 1452] {
        let payload = vec![0x5a; len];
        host.ip(PEER_V6, STACK_V6, ICMPV6, &echo(&payload));
        assert_echoed(&mut host, &payload);
    }
}

/// RFC 4443 §4.2
#[test]
fn l3_an_echo_to_all_nodes_is_answered_from_our_address_and_not_without_end() {
    let (mut host, _) = host();
    let ask = |host: &mut Host, dst: IpAddr| {
        let request = codec::icmp(PEER_V6, dst, 128, 0, 0x1234_0007, b"who is there?");
        let to_group = codec::frame(
            [0x33, 0x33, 0, 0, 0, 1],
            PEER_MAC,
            &IpOut::new(PEER_V6, dst, ICMPV6).packet(&request),
        );
        host.inject(&to_group);
        host.turn();
    };
    ask(&mut host, ALL_NODES);
    let answer = host.next_ip();
    assert_eq!((answer.src, answer.dst), (STACK_V6, PEER_V6));
    let Payload::Icmp { kind: 129, word: 0x1234_0007, rest, .. } = answer.payload else {
        panic!("{answer:?}")
    };
    assert_eq!(rest, b"who is there?");
    // Neither to another group, nor what all on the link got with our address.
    for dst in [SOLICITED, STACK_V6] {
        ask(&mut host, dst);
        host.silence();
    }
    assert_eq!(host.dropped(Drop::IcmpUnhandled), 2);
    (0..500).for_each(|_| ask(&mut host, ALL_NODES));
    assert!((1..500).contains(&host.drain().len()));
    assert!(host.dropped(Drop::IcmpRateLimit) > 0);
}

/// RFC 8200 §8.1
#[test]
fn l3_checksums_are_mandatory() {
    let (mut host, id) = host();
    let mut bad = echo(b"x");
    bad[2] ^= 1;
    host.ip(PEER_V6, STACK_V6, ICMPV6, &bad);
    let mut none = datagram(b"x");
    none[6..8].fill(0);
    host.ip(PEER_V6, STACK_V6, UDP, &none);
    assert_eq!(host.udp_recv(id), None);
    host.silence();
    assert_eq!((host.dropped(Drop::IcmpCsum), host.dropped(Drop::UdpCsum)), (1, 1));
}

// Extension headers

/// An options header in front of `next`, with one option of this type, filled up by PadN.
fn options_header(next: u8, option: u8) -> Vec<u8> {
    vec![next, 0, option, 0, 1, 2, 0, 0]
}

#[test]
fn l4_known_extension_headers_are_walked() {
    let (mut host, id) = host();
    for header in [HOP_BY_HOP, DESTINATION] {
        let packet = [options_header(UDP, 1), datagram(b"hi")].concat();
        host.ip(PEER_V6, STACK_V6, header, &packet);
        assert_eq!(host.udp_recv(id).as_deref(), Some(&b"hi"[..]), "header {header}");
    }
    let both = [options_header(DESTINATION, 1), options_header(UDP, 0), datagram(b"hi")].concat();
    host.ip(PEER_V6, STACK_V6, HOP_BY_HOP, &both);
    assert_eq!(host.udp_recv(id).as_deref(), Some(&b"hi"[..]));
}

/// RFC 8200 §4.2
#[test]
fn l4_an_unknown_option_says_itself_what_to_do_with_it() {
    let (mut host, id) = host();
    let mut send = |option: u8| {
        host.ip(PEER_V6, STACK_V6, DESTINATION, &[options_header(UDP, option), datagram(b"hi")].concat());
        let answer = host.has_heard().then(|| host.next_icmp());
        (host.udp_recv(id).is_some(), answer.map(|(kind, code, pointer, _)| (kind, code, pointer)))
    };
    assert_eq!(send(0x1e), (true, None), "00: skipped");
    assert_eq!(send(0x5e), (false, None), "01: dropped");
    assert_eq!(send(0x9e), (false, Some((4, 2, 42))), "10: dropped and reported");
    assert_eq!(send(0xde), (false, Some((4, 2, 42))), "11: reported, to one host");
}

#[test]
fn l4_an_unknown_next_header_is_reported() {
    let (mut host, _) = host();
    host.ip(PEER_V6, STACK_V6, 99, &[0; 20]);
    let (kind, code, pointer, _) = host.next_icmp();
    assert_eq!((kind, code, pointer), (4, 1, 6));
    host.ip(PEER_V6, STACK_V6, DESTINATION, &[options_header(99, 1), vec![0; 20]].concat());
    let (kind, code, pointer, _) = host.next_icmp();
    assert_eq!((kind, code, pointer), (4, 1, 40));
    host.ip(PEER_V6, STACK_V6, NO_NEXT, &[0; 20]);
    host.silence();
}

/// RFC 5095
#[test]
fn l4_a_type_0_routing_header_is_refused() {
    let (mut host, id) = host();
    let routing = |segments_left| {
        let header = [&[UDP, 2, 0, segments_left, 0, 0, 0, 0][..], &octets(PEER_V6)].concat();
        [header, datagram(b"hi")].concat()
    };
    host.ip(PEER_V6, STACK_V6, ROUTING, &routing(1));
    let (kind, code, pointer, _) = host.next_icmp();
    assert_eq!((kind, code, pointer), (4, 0, 42));
    assert_eq!(host.udp_recv(id), None);
    host.ip(PEER_V6, STACK_V6, ROUTING, &routing(0));
    assert_eq!(host.udp_recv(id).as_deref(), Some(&b"hi"[..]), "with nothing left it is ignored");
}

#[test]
fn l4_extension_headers_that_lie_about_their_length_do_no_harm() {
    let (mut host, id) = host();
    for len in [1, 2, 50, 255] {
        let mut packet = [options_header(UDP, 1), datagram(b"hi")].concat();
        packet[1] = len;
        host.ip(PEER_V6, STACK_V6, DESTINATION, &packet);
    }
    let chain: Vec<u8> = (0..100).flat_map(|_| options_header(DESTINATION, 1)).collect();
    host.ip(PEER_V6, STACK_V6, DESTINATION, &chain);
    assert_eq!(host.udp_recv(id), None);
    host.drain();
    host.ip(PEER_V6, STACK_V6, ICMPV6, &echo(b"alive?"));
    assert_echoed(&mut host, b"alive?");
}

// Fragments

fn fragment(next: u8, offset: usize, more: bool, ident: u32, piece: &[u8]) -> Vec<u8> {
    let mut header = vec![next, 0];
    header.extend((offset as u16 | u16::from(more)).to_be_bytes());
    header.extend(ident.to_be_bytes());
    IpOut::new(PEER_V6, STACK_V6, FRAGMENT).packet(&[&header[..], piece].concat())
}

fn cut(message: &[u8], ident: u32) -> Vec<Vec<u8>> {
    let last = message.len().div_ceil(1000) - 1;
    let pieces = message.chunks(1000).enumerate();
    pieces.map(|(i, piece)| fragment(UDP, i * 1000, i < last, ident, piece)).collect()
}

#[test]
fn l5_fragments_come_in_any_order_and_twice() {
    let (mut host, id) = host();
    let payload = vec![0x77; 3500];
    let mut pieces = cut(&datagram(&payload), 5);
    pieces.reverse();
    for piece in pieces[..2].iter().chain(&pieces) {
        host.packet(piece);
    }
    assert!(host.udp_recv(id) == Some(payload));
    host.silence();
    host.assert_frames_home();
}

/// RFC 6946
#[test]
fn l5_a_packet_that_is_its_own_only_fragment_is_a_packet() {
    let (mut host, id) = host();
    host.packet(&cut(&datagram(&[1; 1500]), 9)[0]);
    host.packet(&fragment(UDP, 0, false, 9, &datagram(b"atom")));
    assert_eq!(host.udp_recv(id).as_deref(), Some(&b"atom"[..]), "it does not wait for its namesakes");
}

/// RFC 5722
#[test]
fn l5_an_overlap_throws_the_whole_packet_away() {
    let (mut host, id) = host();
    let message = datagram(&[3; 2500]);
    let pieces = cut(&message, 4);
    host.packet(&pieces[0]);
    host.packet(&fragment(UDP, 992, true, 4, &[9; 16]));
    host.packet(&pieces[1]);
    host.packet(&pieces[2]);
    assert_eq!(host.udp_recv(id), None);
    host.wait(secs(120));
    host.drain();
    host.assert_frames_home();
}

#[test]
fn l5_fragments_that_never_complete_are_given_up_after_a_minute() {
    let (mut host, _) = host();
    let pieces = cut(&datagram(&[3; 2500]), 4);
    host.packet(&pieces[0]);
    host.wait(secs(58));
    host.silence();
    host.wait(secs(5));
    let (kind, code, _, quote) = host.next_icmp();
    assert_eq!((kind, code), (3, 1));
    assert!(pieces[0].starts_with(&quote[..40]));
    host.assert_frames_home();
}

#[test]
fn l5_a_large_datagram_goes_out_in_fragments() {
    let (mut host, id) = host();
    let payload = vec![0x42; 5000];
    host.udp_send(id, &payload, (PEER_V6, 9));
    let mut whole = vec![];
    for (_, heard) in host.drain() {
        let Body::Ip(ip) = heard.body else { panic!("an IP packet expected") };
        let Payload::Fragment { protocol, offset, more, bytes } = ip.payload else { panic!("{ip:?}") };
        assert_eq!((protocol, usize::from(offset)), (UDP, whole.len()));
        assert!(bytes.len() <= 1452 && (!more || bytes.len() % 8 == 0));
        whole.extend(bytes);
    }
    let Payload::Udp { payload: sent, .. } = Payload::parse(STACK_V6, PEER_V6, UDP, &whole) else { panic!() };
    assert!(sent == payload);
}

// Errors

#[test]
fn a_closed_udp_port_is_unreachable_and_quoted() {
    let (mut host, _) = host();
    let packet = IpOut::new(PEER_V6, STACK_V6, UDP).packet(&codec::udp((PEER_V6, 9), (STACK_V6, 2001), b"x"));
    host.packet(&packet);
    let (kind, code, _, quote) = host.next_icmp();
    assert_eq!((kind, code, quote), (1, 4, packet));
}

/// The payloads of the packets that the stack sent: fragments, or one that is whole.
fn pieces(host: &mut Host) -> Vec<(usize, Option<u16>)> {
    let parts = host.drain().into_iter().map(|(_, heard)| match heard.body {
        Body::Ip(ip) => match ip.payload {
            Payload::Fragment { offset, bytes, .. } => (bytes.len(), Some(offset)),
            Payload::Udp { payload, .. } => (payload.len() + 8, None),
            Payload::Icmp { rest, .. } => (rest.len() + 8, None),
            other @ Payload::Tcp(_) => panic!("{other:?}"),
        },
        other @ Body::Arp(_) => panic!("{other:?}"),
    });
    parts.collect()
}

/// A router says that this packet of the stack's is too big.
fn too_big(host: &mut Host, mtu: u32, packet: &[u8]) {
    let router: IpAddr = "fd00::fe".parse().unwrap();
    let quote = &packet[..packet.len().min(1232)];
    host.ip(router, STACK_V6, ICMPV6, &codec::icmp(router, STACK_V6, 2, 0, mtu, quote));
}

/// RFC 8201 §4: datagrams that a router cannot pass on, and may not cut, go in fragments that it can.
#[test]
fn l6_packet_too_big_has_datagrams_cut_for_the_path() {
    let (mut host, id) = host();
    let (payload, to) = (vec![7; 1400], (PEER_V6, 9000));
    let quoted = IpOut::new(STACK_V6, PEER_V6, UDP).packet(&codec::udp((STACK_V6, 2000), to, &payload));
    let whole = [(1408, None)];
    // Of a socket that is not here, of less than any link takes, of nothing in particular, and of what fits.
    let strange = IpOut::new(STACK_V6, PEER_V6, UDP).packet(&codec::udp((STACK_V6, 7), to, &payload));
    too_big(&mut host, 1300, &strange);
    too_big(&mut host, 1279, &quoted);
    too_big(&mut host, 1300, &quoted[..44]);
    let short =
        IpOut::new(STACK_V6, PEER_V6, UDP).packet(&codec::udp((STACK_V6, 2000), to, &payload[..1252]));
    too_big(&mut host, 1300, &short);
    host.udp_send(id, &payload, to);
    assert_eq!(pieces(&mut host), whole);
    too_big(&mut host, 1300, &quoted);
    let cut = [(1248, Some(0)), (160, Some(1248))];
    host.udp_send(id, &payload, to);
    assert_eq!(pieces(&mut host), cut, "1300 bytes less 48 of headers, in eights");
    // What a fragment tells that is too big itself, and not what one without ports tells.
    let first = |offset: u16| {
        let header = [&[UDP, 0][..], &(offset | 1).to_be_bytes(), &[0, 0, 0, 9], &[0x07, 0xd0, 0x23, 0x28]];
        IpOut::new(STACK_V6, PEER_V6, FRAGMENT).packet(&[&header.concat()[..], &[0; 1300]].concat())
    };
    too_big(&mut host, 1280, &first(1248));
    host.udp_send(id, &payload, to);
    assert_eq!(pieces(&mut host), cut);
    too_big(&mut host, 1280, &first(0));
    host.udp_send(id, &payload, to);
    assert_eq!(pieces(&mut host), [(1232, Some(0)), (176, Some(1232))]);
    // Short ones are whole as ever, and so are those to other hosts.
    host.udp_send(id, &payload[..1200], to);
    assert_eq!(pieces(&mut host), [(1208, None)]);
    host.udp_send(id, &payload, (IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x77)), 9000));
    host.drain();
    host.wait(secs(601));
    host.drain();
    host.udp_send(id, &payload, to);
    assert!(pieces(&mut host).contains(&whole[0]), "paths change");
}

/// The router's word comes to one stack of several that are one host, for a datagram of any.
#[test]
fn l6_what_a_router_says_of_a_path_is_told_to_the_hosts_other_stacks() {
    let ((mut one, _), (mut other, id)) = (host(), host());
    let (payload, to) = (vec![7; 1400], (PEER_V6, 9000));
    one.stack.share_neighbors();
    one.udp_send(id, &payload, to);
    one.drain();
    let quoted = IpOut::new(STACK_V6, PEER_V6, UDP).packet(&codec::udp((STACK_V6, 2000), to, &payload));
    too_big(&mut one, 1300, &quoted);
    too_big(&mut one, 1400, &quoted);
    let heard = one.stack.take_heard();
    assert_eq!(heard.len(), 1, "what is no news is not told");
    other.udp_send(id, &payload, to);
    assert_eq!(pieces(&mut other), [(1408, None)]);
    other.stack.hear(other.now, heard[0], &mut other.device);
    other.udp_send(id, &payload, to);
    assert_eq!(pieces(&mut other), [(1248, Some(0)), (160, Some(1248))]);
}

/// Nor need it be the stack that has sent it.
#[test]
fn l6_what_is_said_of_another_stacks_datagram_is_judged_by_that_stack() {
    let ((mut one, _), (mut other, id), (mut third, _)) = (host(), host(), host());
    let (payload, to) = (vec![7; 1400], (PEER_V6, 9000));
    let quoted = IpOut::new(STACK_V6, PEER_V6, UDP).packet(&codec::udp((STACK_V6, 2000), to, &payload));
    one.stack.share_neighbors();
    other.stack.share_neighbors();
    too_big(&mut one, 1300, &quoted);
    let claim = one.stack.take_heard()[0];
    assert_eq!(one.dropped(Drop::IcmpUnrelated), 1);
    other.stack.hear(other.now, claim, &mut other.device);
    other.udp_send(id, &payload, to);
    assert_eq!(pieces(&mut other), [(1408, None)], "it had not sent such a datagram either");
    other.stack.take_heard();
    other.stack.hear(other.now, claim, &mut other.device);
    other.udp_send(id, &payload, to);
    assert_eq!(pieces(&mut other).len(), 2);
    let heard = other.stack.take_heard();
    assert_eq!(heard.len(), 1);
    third.stack.hear(third.now, heard[0], &mut third.device);
    third.udp_send(id, &payload, to);
    assert_eq!(pieces(&mut third).len(), 2, "who has sent it is believed");
}

/// CVE-2021-20322: what anybody may say of anything tells him by what follows which port sends to whom.
#[test]
fn l6_packet_too_big_counts_only_if_a_longer_datagram_went_there_lately() {
    let (mut host, id) = host();
    let to = (PEER_V6, 9000);
    let quoted = IpOut::new(STACK_V6, PEER_V6, UDP).packet(&codec::udp((STACK_V6, 2000), to, &[7; 1400]));
    let pieces_of = |host: &mut Host, len: usize, port: u16| {
        host.udp_send(id, &vec![7; len], (PEER_V6, port));
        pieces(host).len()
    };
    too_big(&mut host, 1300, &quoted);
    assert_eq!(pieces_of(&mut host, 1400, to.1), 1, "none was sent");
    host.wait(secs(11));
    too_big(&mut host, 1300, &quoted);
    assert_eq!(pieces_of(&mut host, 1300, to.1), 1, "it was sent long ago");
    too_big(&mut host, 1348, &quoted);
    assert_eq!(pieces_of(&mut host, 1400, 9001), 1, "it was no longer than that");
    too_big(&mut host, 1400, &quoted);
    assert_eq!(pieces_of(&mut host, 1400, 9001), 1, "it went to another port");
    assert_eq!(host.dropped(Drop::IcmpUnrelated), 4);
    too_big(&mut host, 1347, &quoted);
    assert_eq!(pieces_of(&mut host, 1300, to.1), 2);
}

/// Whatever is said of as many echo replies as anybody likes to have.
#[test]
fn l6_the_paths_of_datagrams_are_apart_from_those_of_echoes() {
    let (mut host, id) = host();
    let stranger = |n: u16| IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, n));
    let send = |host: &mut Host, peer: IpAddr| {
        host.udp_send(id, &[7; 1400], (peer, 9000));
        pieces(host).len()
    };
    let ask = |host: &mut Host, peer: IpAddr| {
        host.ip(peer, STACK_V6, ICMPV6, &codec::icmp(peer, STACK_V6, 128, 0, 7, &[7; 1400]));
        pieces(host).len()
    };
    assert_eq!(send(&mut host, PEER_V6), 1);
    let datagram = codec::udp((STACK_V6, 2000), (PEER_V6, 9000), &[7; 1400]);
    too_big(&mut host, 1300, &IpOut::new(STACK_V6, PEER_V6, UDP).packet(&datagram));
    assert_eq!(ask(&mut host, PEER_V6), 1);
    for n in 0..1000 {
        assert_eq!(ask(&mut host, stranger(n)), 1);
        let reply = codec::icmp(STACK_V6, stranger(n), 129, 0, 7, &[7; 1400]);
        too_big(&mut host, 1300, &IpOut::new(STACK_V6, stranger(n), ICMPV6).packet(&reply));
        assert_eq!(ask(&mut host, stranger(n)), 2);
    }
    assert_eq!(send(&mut host, PEER_V6), 2);
    assert_eq!(send(&mut host, stranger(999)), 1);
}

#[test]
fn l6_packet_too_big_has_echo_requests_cut_for_the_path() {
    let (mut host, _) = host();
    let id = host.stack.echo_open().unwrap();
    let ping = |host: &mut Host| {
        host.stack.echo_send(host.now, id, PEER_V6, 1, &[7; 1400], &mut host.device).unwrap();
        host.turn();
    };
    ping(&mut host);
    let Payload::Icmp { word, .. } = host.next_ip().payload else { panic!("an echo request expected") };
    for (ident, parts) in [(word ^ 1 << 16, 1), (word, 2)] {
        let request = codec::icmp(STACK_V6, PEER_V6, 128, 0, ident, &[7; 1400]);
        too_big(&mut host, 1300, &IpOut::new(STACK_V6, PEER_V6, ICMPV6).packet(&request));
        ping(&mut host);
        assert_eq!(pieces(&mut host).len(), parts);
    }
}

/// Who answers sends as well: else a peer behind a narrow path asks in vain.
#[test]
fn l6_packet_too_big_has_echo_replies_cut_for_the_path() {
    let (mut host, _) = host();
    let ask = |host: &mut Host| {
        host.ip(PEER_V6, STACK_V6, ICMPV6, &codec::icmp(PEER_V6, STACK_V6, 128, 0, 7, &[7; 1400]));
        pieces(host).len()
    };
    let too_big_to = |host: &mut Host, peer| {
        let quoted = codec::icmp(STACK_V6, peer, 129, 0, 7, &[7; 1400]);
        too_big(host, 1300, &IpOut::new(STACK_V6, peer, ICMPV6).packet(&quoted));
    };
    too_big_to(&mut host, PEER_V6);
    assert_eq!(ask(&mut host), 1, "nothing was answered");
    host.wait(secs(11));
    too_big_to(&mut host, PEER_V6);
    assert_eq!(ask(&mut host), 1, "not lately");
    // What is neither asked nor answered says nothing.
    for (kind, parts) in [(1, 1), (8, 1), (129, 2)] {
        let quoted = codec::icmp(STACK_V6, PEER_V6, kind, 0, 7, &[7; 1400]);
        too_big(&mut host, 1300, &IpOut::new(STACK_V6, PEER_V6, ICMPV6).packet(&quoted));
        assert_eq!(ask(&mut host), parts, "{kind}");
    }
}

/// RFC 4443 §2.4(e)
#[test]
fn l7_no_error_about_errors_or_groups() {
    let (mut host, _) = host();
    let inner = IpOut::new(STACK_V6, PEER_V6, UDP).packet(&codec::udp((STACK_V6, 9), (PEER_V6, 9), b"x"));
    for kind in [1, 2, 3, 4, 100, 127] {
        host.ip(PEER_V6, STACK_V6, ICMPV6, &codec::icmp(PEER_V6, STACK_V6, kind, 0, 0, &inner));
    }
    host.ip(PEER_V6, ALL_NODES, UDP, &codec::udp((PEER_V6, 9), (ALL_NODES, 2001), b"x"));
    host.ip(PEER_V6, ALL_NODES, 99, b"xxxxxxxx");
    for src in [NOBODY, ALL_NODES, IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        host.ip(src, STACK_V6, UDP, &codec::udp((src, 9), (STACK_V6, 2001), b"x"));
    }
    // First fragments that no other follows.
    let bytes = [&[UDP, 0, 0, 1][..], &4u32.to_be_bytes(), &[1; 16]].concat();
    let first = |src, dst| IpOut::new(src, dst, FRAGMENT).packet(&bytes);
    host.packet(&first(PEER_V6, ALL_NODES));
    host.packet(&first(STACK_V6, STACK_V6));
    host.inject(&codec::frame([0x33, 0x33, 0, 0, 0, 1], PEER_MAC, &first(PEER_V6, STACK_V6)));
    host.wait(secs(120));
    host.silence();
    assert_eq!(host.dropped(Drop::FragTimeout), 3);
}

/// RFC 4443 §2.4(f)
#[test]
fn icmpv6_errors_are_rate_limited() {
    let (mut host, _) = host();
    for _ in 0..500 {
        host.ip(PEER_V6, STACK_V6, UDP, &codec::udp((PEER_V6, 9), (STACK_V6, 2001), b"x"));
    }
    assert!((1..500).contains(&host.drain().len()));
}

#[test]
fn l8_datagrams_work_the_same() {
    let (mut host, id) = host();
    for payload in [&b"one"[..], b"", b"three"] {
        host.ip(PEER_V6, STACK_V6, UDP, &datagram(payload));
        assert_eq!(host.udp_recv(id).as_deref(), Some(payload));
    }
    host.udp_send(id, b"back", (PEER_V6, 9000));
    assert!(matches!(host.next_ip().payload, Payload::Udp { src_port: 2000, dst_port: 9000, .. }));
}

/// The handshake both ways, and the reset of a closed port.
#[test]
fn l8_segments_work_the_same() {
    let mut server = Script::listening_v6();
    server.peer(syn());
    server.expect(syn_ack());
    server.peer(ack(1));
    server.accept();
    server.write(3000);
    server.expect(data(1..1221));
    let mut client = Script::connecting_on(Host::new(), STACK_V6, PEER_V6);
    client.expect(syn());
    client.peer(syn_ack().mss(1440));
    client.expect(ack(1));
    let mut host = Host::new();
    let closed =
        codec::Tcp { src_port: 9, dst_port: 81, seq: 7, flags: SYN, window: 1000, ..codec::Tcp::default() };
    host.ip(PEER_V6, STACK_V6, TCP, &closed.encode(PEER_V6, STACK_V6));
    let Payload::Tcp(reset) = host.next_ip().payload else { panic!("a segment expected") };
    assert_eq!((reset.flags, reset.seq, reset.ack), (RST | ACK, 0, 8));
}

/// RFC 4861 §8: a host may, and this one does not.
#[test]
fn l9_redirects_are_ignored() {
    let (mut host, id) = host();
    let router: IpAddr = "fe80::9".parse().unwrap();
    let elsewhere: IpAddr = "fe80::66".parse().unwrap();
    let body = [octets(elsewhere), octets(PEER_V6)].concat();
    let message = codec::icmp(router, STACK_V6, 137, 0, 0, &body);
    host.packet(&with_hops(router, STACK_V6, 255, &message));
    host.udp_send(id, b"x", (PEER_V6, 9));
    let (_, heard) = host.next().unwrap();
    assert_eq!((heard.dst_mac, host.dropped(Drop::IcmpUnhandled)), (PEER_MAC, 1));
}

//! IPv4 and ICMP (RFC 791, 792, 815, 1122, 6864), ARP (RFC 826, 5227), UDP over IPv4 (RFC 768).

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use hayase_stack::{Config, Drop, UdpId};

use crate::codec::{self, Arp, BROADCAST, ICMP, IpOut, Payload, UDP};
use crate::host::{Host, PEER_MAC, PEER_V4, STACK_MAC, STACK_V4, arp_request, ms};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const STACK: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

fn echo(payload: &[u8]) -> Vec<u8> {
    codec::icmp(PEER_V4, STACK_V4, 8, 0, 0x1234_0007, payload)
}

fn echo_packet(payload: &[u8]) -> Vec<u8> {
    IpOut::new(PEER_V4, STACK_V4, ICMP).packet(&echo(payload))
}

/// Asks for an echo and takes it.
#[track_caller]
fn assert_alive(host: &mut Host) {
    host.packet(&echo_packet(b"alive?"));
    assert_eq!(host.next_icmp(), (0, 0, 0x1234_0007, b"alive?".to_vec()));
}

fn udp_host() -> (Host, UdpId) {
    let mut host = Host::new();
    let id = host.stack.udp_bind("0.0.0.0:2000".parse().unwrap()).unwrap();
    (host, id)
}

fn datagram(payload: &[u8]) -> Vec<u8> {
    codec::udp((PEER_V4, 9000), (STACK_V4, 2000), payload)
}

/// A message cut into fragments of `len` bytes: identification, offsets and all.
fn fragments(src: IpAddr, protocol: u8, ident: u16, message: &[u8], len: usize) -> Vec<Vec<u8>> {
    let count = message.len().div_ceil(len);
    (0..count)
        .map(|i| {
            let piece = &message[i * len..message.len().min((i + 1) * len)];
            let fragment = ((i * len) as u16, i + 1 < count);
            IpOut { ident, fragment, ..IpOut::new(src, STACK_V4, protocol) }.packet(piece)
        })
        .collect()
}

// I. IPv4

#[test]
fn i1_a_damaged_header_is_dropped() {
    let mut host = Host::new();
    let resum = |mut packet: Vec<u8>| {
        packet[10..12].fill(0);
        let header_len = usize::from(packet[0] & 15).max(5) * 4;
        let sum = codec::checksum(&[&packet[..header_len.min(packet.len())]]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet
    };
    for (at, value) in [(0, 0x35), (0, 0x55), (0, 0x44), (0, 0x40), (0, 0x4f), (2, 0xff), (3, 19), (3, 0)] {
        let mut packet = echo_packet(b"x");
        packet[at] = value;
        host.inject(&codec::ethernet(STACK_MAC, PEER_MAC, 0x0800, &resum(packet)));
        host.silence();
    }
    let mut packet = echo_packet(b"x");
    packet[10] ^= 1;
    host.packet(&packet);
    host.silence();
    assert_eq!(host.dropped(Drop::IpCsum), 1);
    assert_alive(&mut host);
}

#[test]
fn i2_link_padding_is_removed() {
    let mut host = Host::new();
    let mut packet = echo_packet(b"ab");
    packet.extend([0xee; 20]);
    host.packet(&packet);
    assert_eq!(host.next_icmp().3, b"ab");
}

#[test]
fn i3_what_is_for_others_is_dropped_and_never_forwarded() {
    let mut host = Host::new();
    for dst in [[10, 0, 0, 3], [10, 0, 1, 1], [8, 8, 8, 8]] {
        host.ip(PEER_V4, dst.into(), ICMP, &echo(b"x"));
        host.silence();
    }
    host.inject(&codec::frame([2, 0, 0, 0, 0, 0x77], PEER_MAC, &echo_packet(b"x")));
    host.silence();
    assert_eq!(host.dropped(Drop::OtherHost), 1);
}

#[test]
fn i4_a_ttl_of_one_is_enough_to_arrive() {
    let mut host = Host::new();
    for ttl in [1, 0] {
        host.packet(&IpOut { ttl, ..IpOut::new(PEER_V4, STACK_V4, ICMP) }.packet(&echo(b"x")));
        assert_eq!(host.next_icmp().0, 0, "TTL {ttl}");
    }
}

/// RFC 815
#[test]
fn i5_fragments_come_in_any_order_twice_and_interleaved() {
    let (mut host, id) = udp_host();
    let (a, b) = (bytes(3000), bytes(2500));
    let other: IpAddr = [10, 0, 0, 3].into();
    let mut mixed = fragments(PEER_V4, UDP, 7, &datagram(&a), 1000);
    mixed.reverse();
    let same_ident = fragments(other, UDP, 7, &codec::udp((other, 9000), (STACK_V4, 2000), &b), 1000);
    let pairs: Vec<Vec<u8>> =
        mixed.iter().zip(&same_ident).flat_map(|(x, y)| [x.clone(), y.clone(), x.clone()]).collect();
    for packet in pairs.iter().chain(&mixed).chain(&same_ident) {
        host.packet(packet);
    }
    let got: Vec<Vec<u8>> = std::iter::from_fn(|| host.udp_recv(id)).collect();
    assert!(got.contains(&a) && got.contains(&b));
    host.wait(secs(120));
    host.drain();
    host.assert_frames_home();
}

#[test]
fn i6_fragments_that_never_complete_are_given_up_and_their_sender_told() {
    let mut host = Host::new();
    let pieces = fragments(PEER_V4, ICMP, 7, &echo(&bytes(3000)), 1480);
    host.packet(&pieces[0]);
    host.packet(&pieces[2]);
    host.silence();
    host.wait(secs(120));
    let (kind, code, _, quote) = host.next_icmp();
    assert_eq!((kind, code), (11, 1), "time exceeded in reassembly");
    assert_eq!(quote[..20], pieces[0][..20]);
    host.packet(&fragments(PEER_V4, ICMP, 8, &echo(&bytes(3000)), 1480)[1]);
    host.wait(secs(120));
    host.silence();
    host.assert_frames_home();
}

#[test]
fn i6_overlapping_overlong_and_empty_fragments_do_no_harm() {
    let (mut host, id) = udp_host();
    let message = datagram(&bytes(2500));
    let piece = |from: usize, len: usize, more| {
        IpOut { ident: 5, fragment: (from as u16, more), ..IpOut::new(PEER_V4, STACK_V4, UDP) }
            .packet(&message[from..from + len])
    };
    for packet in [piece(0, 1480, true), piece(8, 1480, true), piece(1480, 1028, false)] {
        host.packet(&packet);
    }
    let beyond = IpOut { ident: 6, fragment: (65_528, false), ..IpOut::new(PEER_V4, STACK_V4, UDP) };
    host.packet(&beyond.packet(&[0; 100]));
    let empty = IpOut { ident: 7, fragment: (8, true), ..IpOut::new(PEER_V4, STACK_V4, UDP) };
    host.packet(&empty.packet(&[]));
    let odd = IpOut { ident: 8, fragment: (0, true), ..IpOut::new(PEER_V4, STACK_V4, UDP) };
    host.packet(&odd.packet(&[0; 13]));
    while let Some(got) = host.udp_recv(id) {
        assert!(got == bytes(2500), "whole or not at all");
    }
    host.drain();
    assert_alive(&mut host);
    host.wait(secs(120));
    host.drain();
    host.assert_frames_home();
}

#[test]
fn i6_a_flood_of_fragments_takes_bounded_memory() {
    let mut config = Config::default();
    config.reassembly_len_max = 256 * 1024;
    let mut host = Host::with(config, 1500);
    for ident in 0..5000 {
        let fragment = IpOut { ident, fragment: (0, true), ..IpOut::new(PEER_V4, STACK_V4, UDP) };
        host.packet(&fragment.packet(&[0; 1480]));
    }
    assert!(host.device.pool().in_use() == 0 || host.dropped(Drop::FragBudget) > 4000);
    host.drain();
    assert_alive(&mut host);
    host.wait(secs(120));
    host.drain();
    host.assert_frames_home();
}

#[test]
fn i7_an_echo_comes_back_identical_in_every_size() {
    let mut host = Host::new();
    for len in (0..=1472).step_by(37).chain([1471, 1472]) {
        host.packet(&echo_packet(&bytes(len)));
        assert_eq!(host.next_icmp(), (0, 0, 0x1234_0007, bytes(len)));
    }
}

#[test]
fn i7_a_bad_icmp_checksum_is_dropped() {
    let mut host = Host::new();
    for flip in [2, 3, 5, 9] {
        let mut packet = echo_packet(&bytes(100));
        packet[20 + flip] ^= 0x10;
        host.packet(&packet);
        host.silence();
    }
    assert_eq!(host.dropped(Drop::IcmpCsum), 4);
}

#[test]
fn i8_an_unknown_protocol_is_unreachable_and_quoted() {
    let mut host = Host::new();
    let packet = IpOut::new(PEER_V4, STACK_V4, 99).packet(&bytes(40));
    host.packet(&packet);
    let (kind, code, _, quote) = host.next_icmp();
    assert_eq!((kind, code), (3, 2));
    assert!(quote.len() >= 28 && packet.starts_with(&quote));
}

#[test]
fn i8_a_closed_udp_port_is_unreachable_and_quoted() {
    let mut host = Host::new();
    let packet = IpOut::new(PEER_V4, STACK_V4, UDP).packet(&datagram(&bytes(40)));
    host.packet(&packet);
    let (kind, code, _, quote) = host.next_icmp();
    assert_eq!((kind, code), (3, 3));
    assert!(quote.len() >= 28 && packet.starts_with(&quote));
}

/// RFC 1122 §3.2.2
#[test]
fn i9_no_error_about_errors_groups_broadcasts_or_later_fragments() {
    let mut host = Host::new();
    let error = codec::icmp(PEER_V4, STACK_V4, 3, 3, 0, &IpOut::new(STACK_V4, PEER_V4, UDP).packet(&[0; 8]));
    host.ip(PEER_V4, STACK_V4, ICMP, &error);
    for dst in [[10, 0, 0, 255], [255, 255, 255, 255], [224, 0, 0, 1]] {
        let dst: IpAddr = dst.into();
        host.ip(PEER_V4, dst, UDP, &codec::udp((PEER_V4, 9), (dst, 9), b"x"));
        host.ip(PEER_V4, dst, 99, b"x");
        host.ip(PEER_V4, dst, ICMP, &codec::icmp(PEER_V4, dst, 8, 0, 1, b"x"));
    }
    host.inject(&codec::frame(
        BROADCAST,
        PEER_MAC,
        &IpOut::new(PEER_V4, STACK_V4, UDP).packet(&datagram(b"x")),
    ));
    for src in [[127, 0, 0, 1], [0, 0, 0, 0], [224, 0, 0, 1], [255, 255, 255, 255], [10, 0, 0, 255]] {
        host.ip(src.into(), STACK_V4, 99, b"x");
    }
    let later = IpOut { ident: 3, fragment: (800, false), ..IpOut::new(PEER_V4, STACK_V4, 99) };
    host.packet(&later.packet(b"x"));
    // First fragments that no other follows.
    let first =
        |src, dst| IpOut { ident: 4, fragment: (0, true), ..IpOut::new(src, dst, UDP) }.packet(&[1; 16]);
    for dst in [[10, 0, 0, 255], [255, 255, 255, 255], [224, 0, 0, 1]] {
        host.packet(&first(PEER_V4, dst.into()));
    }
    for src in [[10, 0, 0, 255], [10, 0, 0, 1], [255, 255, 255, 255], [224, 0, 0, 1]] {
        host.packet(&first(src.into(), STACK_V4));
    }
    host.inject(&codec::frame(BROADCAST, PEER_MAC, &first(PEER_V4, STACK_V4)));
    host.wait(secs(120));
    host.silence();
}

#[test]
fn i10_icmp_errors_are_rate_limited() {
    let mut host = Host::new();
    for _ in 0..500 {
        host.ip(PEER_V4, STACK_V4, UDP, &datagram(b"x"));
    }
    let count = host.drain().len();
    assert!((1..500).contains(&count), "{count} errors");
    host.wait(secs(2));
    host.ip(PEER_V4, STACK_V4, UDP, &datagram(b"x"));
    assert_eq!(host.next_icmp().0, 3, "and the limit passes");
}

#[test]
fn i12_redirects_are_ignored() {
    let (mut host, id) = udp_host();
    let quote = IpOut::new(STACK_V4, PEER_V4, UDP).packet(&codec::udp((STACK_V4, 2000), (PEER_V4, 9), b"x"));
    for from in [PEER_V4, [10, 0, 0, 254].into()] {
        host.ip(from, STACK_V4, ICMP, &codec::icmp(from, STACK_V4, 5, 1, 0x0a00_0063, &quote));
    }
    host.udp_send(id, b"x", (PEER_V4, 9));
    let (_, heard) = host.next().unwrap();
    assert_eq!(heard.dst_mac, PEER_MAC);
    host.silence();
}

/// RFC 6864
#[test]
fn i13_packets_that_may_be_cut_have_different_identifications() {
    let mut host = Host::new();
    let idents: Vec<u32> = (0..3)
        .map(|_| {
            host.packet(&echo_packet(b"x"));
            let ip = host.next_ip();
            assert!(!ip.dont_fragment);
            ip.ident
        })
        .collect();
    assert!(idents[0] != idents[1] && idents[1] != idents[2]);
}

#[test]
fn must_50_ip_options_that_we_do_not_know_are_ignored() {
    let mut host = Host::new();
    let options: [&[u8]; 3] =
        [&[1, 1, 1, 0], &[7, 7, 4, 0, 0, 0, 0, 0], &[68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0]];
    for option in options {
        let packet = IpOut { options: option.to_vec(), ..IpOut::new(PEER_V4, STACK_V4, ICMP) };
        host.packet(&packet.packet(&echo(b"x")));
        assert_eq!(host.next_icmp().0, 0, "{option:?}");
    }
}

#[test]
fn ip_options_with_impossible_lengths_and_source_routes_are_dropped() {
    let mut host = Host::new();
    for option in [[7, 0, 0, 0], [7, 1, 0, 0], [7, 40, 0, 0], [131, 3, 4, 0], [137, 3, 4, 0]] {
        let packet = IpOut { options: option.to_vec(), ..IpOut::new(PEER_V4, STACK_V4, ICMP) };
        host.packet(&packet.packet(&echo(b"x")));
        host.silence();
    }
}

#[test]
fn frames_of_every_length_do_no_harm() {
    let mut host = Host::new();
    let whole = codec::frame(STACK_MAC, PEER_MAC, &echo_packet(&bytes(60)));
    for len in 14..whole.len() {
        host.inject(&whole[..len]);
        host.silence();
    }
    host.inject(&codec::ethernet(STACK_MAC, PEER_MAC, 0x88cc, &bytes(50)));
    host.silence();
    assert_alive(&mut host);
}

// J. ARP

#[test]
fn j1_who_has_is_answered_for_our_address_only() {
    let mut host = Host::new();
    host.inject(&arp_request(STACK));
    host.turn();
    let answer = Arp { operation: 2, sender: (STACK_MAC, STACK), target: (PEER_MAC, PEER) };
    assert_eq!(host.next_arp(), (PEER_MAC, answer.clone()));
    for other in [[10, 0, 0, 2], [10, 0, 0, 3], [10, 0, 0, 255], [0, 0, 0, 0]] {
        host.inject(&arp_request(other.into()));
        host.silence();
    }
    let asked_alone = Arp { operation: 1, sender: (PEER_MAC, PEER), target: (STACK_MAC, STACK) };
    host.inject(&asked_alone.frame(STACK_MAC));
    host.turn();
    assert_eq!(host.next_arp(), (PEER_MAC, answer));
}

/// RFC 5227 §2.1.1
#[test]
fn j1_a_probe_from_nobody_is_answered_and_teaches_nothing() {
    let mut host = Host::new();
    let probe = Arp { operation: 1, sender: (PEER_MAC, Ipv4Addr::UNSPECIFIED), target: ([0; 6], STACK) };
    host.inject(&probe.frame(BROADCAST));
    host.turn();
    let (dst, answer) = host.next_arp();
    assert_eq!((dst, answer.sender), (PEER_MAC, (STACK_MAC, STACK)));
}

#[test]
fn j2_malformed_arp_is_ignored() {
    let mut host = Host::new();
    let whole = arp_request(STACK);
    for (at, value) in
        [(14, 9), (15, 6), (16, 0x86), (18, 5), (19, 16), (20, 1), (21, 0), (21, 3), (21, 9), (22, 0xff)]
    {
        let mut frame = whole.clone();
        frame[at] = value;
        host.inject(&frame);
        host.silence();
    }
    for len in 14..whole.len() {
        host.inject(&whole[..len]);
        host.silence();
    }
}

/// RFC 1122 §2.3.2.1
#[test]
fn j3_a_silent_host_is_asked_for_once_a_second_and_given_up() {
    let (mut host, id) = udp_host();
    host.answers_neighbors = false;
    let start = host.now;
    for _ in 0..50 {
        let sent = host.stack.udp_send(host.now, id, b"x", Some((PEER_V4, 9).into()), &mut host.device);
        assert!(sent.is_ready());
        host.wait(ms(20));
    }
    host.wait(secs(9));
    let requests = host.drain();
    assert!((2..=4).contains(&requests.len()), "{requests:?}");
    let times: Vec<u128> = requests.iter().map(|(at, _)| (*at - start).as_millis()).collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 1000), "{times:?}");
    host.assert_frames_home();
}

/// What was not asked nobody can answer.
#[test]
fn j3_a_host_that_a_full_device_did_not_ask_for_is_not_given_up() {
    let (mut host, id) = udp_host();
    let sent = host.stack.udp_send(host.now, id, b"late", Some((PEER_V4, 9).into()), &mut host.device);
    assert!(sent.is_ready());
    host.wait_full(secs(5));
    host.wait(ms(10));
    let Payload::Udp { payload, .. } = host.next_ip().payload else { panic!("a datagram expected") };
    assert_eq!((&payload[..], host.dropped(Drop::NeighUnresolved)), (&b"late"[..], 0));
}

/// RFC 1122 §2.3.2.2
#[test]
fn j3_the_latest_packet_waits_for_a_late_answer() {
    let (mut host, id) = udp_host();
    host.answers_neighbors = false;
    for text in [b"1", b"2", b"3", b"4", b"5"] {
        host.udp_send(id, text, (PEER_V4, 9));
    }
    let (dst, question) = host.next_arp();
    assert_eq!((dst, question.operation, question.target.1), (BROADCAST, 1, PEER));
    host.wait(ms(500));
    let answer = Arp { operation: 2, sender: (PEER_MAC, PEER), target: question.sender };
    host.inject(&answer.frame(STACK_MAC));
    host.turn();
    let sent: Vec<Vec<u8>> = host
        .drain()
        .into_iter()
        .filter_map(|(_, heard)| match heard.body {
            codec::Body::Ip(codec::Ip { payload: Payload::Udp { payload, .. }, .. }) => Some(payload),
            _ => None,
        })
        .collect();
    assert_eq!(sent.last().map(Vec::as_slice), Some(&b"5"[..]), "{sent:?}");
}

#[test]
fn j4_an_answer_that_nobody_asked_for_teaches_nothing() {
    let (mut host, id) = udp_host();
    host.answers_neighbors = false;
    let target = (STACK_MAC, STACK);
    host.inject(&Arp { operation: 2, sender: (PEER_MAC, PEER), target }.frame(STACK_MAC));
    host.turn();
    host.udp_send(id, b"x", (PEER_V4, 9));
    assert_eq!(host.next_arp().1.operation, 1, "it is asked for all the same");
}

#[test]
fn j4_a_known_host_may_move() {
    let (mut host, id) = udp_host();
    host.udp_send(id, b"x", (PEER_V4, 9));
    assert_eq!(host.next().unwrap().1.dst_mac, PEER_MAC);
    let elsewhere = [2, 0, 0, 0, 0, 0x55];
    host.inject(&Arp { operation: 1, sender: (elsewhere, PEER), target: ([0; 6], PEER) }.frame(BROADCAST));
    host.turn();
    host.udp_send(id, b"x", (PEER_V4, 9));
    assert_eq!(host.next().unwrap().1.dst_mac, elsewhere);
}

/// RFC 5227 §2.4
#[test]
fn j5_a_claim_to_our_address_is_survived() {
    let mut host = Host::new();
    for operation in [1, 2] {
        let claim = Arp { operation, sender: (PEER_MAC, STACK), target: ([0; 6], STACK) };
        for _ in 0..10 {
            host.inject(&claim.frame(BROADCAST));
            host.turn();
        }
    }
    host.drain();
    assert_alive(&mut host);
}

// K. UDP

#[test]
fn k1_the_checksum_is_verified_where_there_is_one() {
    let (mut host, id) = udp_host();
    let mut bad = datagram(b"hello");
    bad[6] ^= 1;
    host.ip(PEER_V4, STACK_V4, UDP, &bad);
    assert_eq!((host.udp_recv(id), host.dropped(Drop::UdpCsum)), (None, 1));
    let mut none = datagram(b"hello");
    none[6..8].fill(0);
    host.ip(PEER_V4, STACK_V4, UDP, &none);
    assert_eq!(host.udp_recv(id).as_deref(), Some(&b"hello"[..]));
}

/// The parser refuses a zero; one of these payloads sums up to it.
#[test]
fn k1_a_sum_of_zero_is_sent_as_all_ones() {
    let (mut host, id) = udp_host();
    let mut ones = 0;
    for value in 0..=u16::MAX {
        let wire = codec::udp((STACK_V4, 2000), (PEER_V4, 9), &value.to_be_bytes());
        if wire[6..8] == [0xff, 0xff] {
            host.udp_send(id, &value.to_be_bytes(), (PEER_V4, 9));
            assert!(matches!(host.next_ip().payload, Payload::Udp { .. }));
            ones += 1;
        }
    }
    assert!(ones > 0);
}

#[test]
fn k2_lengths_that_cannot_be_are_dropped_and_shorter_ones_trim() {
    let (mut host, id) = udp_host();
    for len in [0, 1, 7, 14, 1000, 65_535u16] {
        let mut datagram = datagram(b"hello");
        datagram[4..6].copy_from_slice(&len.to_be_bytes());
        datagram[6..8].fill(0);
        host.ip(PEER_V4, STACK_V4, UDP, &datagram);
        assert_eq!(host.udp_recv(id), None, "length {len}");
    }
    let mut padded = datagram(b"hello");
    padded.extend([9; 30]);
    host.ip(PEER_V4, STACK_V4, UDP, &padded);
    assert_eq!(host.udp_recv(id).as_deref(), Some(&b"hello"[..]));
    for len in 0..8 {
        host.ip(PEER_V4, STACK_V4, UDP, &datagram(b"")[..len]);
    }
    assert_eq!(host.udp_recv(id), None);
}

#[test]
fn k3_boundaries_are_kept_and_empty_datagrams_delivered() {
    let (mut host, id) = udp_host();
    for payload in [&b"one"[..], b"", b"three", b"4"] {
        host.ip(PEER_V4, STACK_V4, UDP, &datagram(payload));
    }
    let got: Vec<Vec<u8>> = std::iter::from_fn(|| host.udp_recv(id)).collect();
    assert_eq!(got, [&b"one"[..], b"", b"three", b"4"]);
}

#[test]
fn k3_a_connected_socket_hears_its_peer_only() {
    let (mut host, id) = udp_host();
    host.stack.udp_connect(id, (PEER_V4, 9000).into()).unwrap();
    let stranger: IpAddr = [10, 0, 0, 3].into();
    host.ip(stranger, STACK_V4, UDP, &codec::udp((stranger, 9000), (STACK_V4, 2000), b"no"));
    host.ip(PEER_V4, STACK_V4, UDP, &codec::udp((PEER_V4, 9001), (STACK_V4, 2000), b"no"));
    host.ip(PEER_V4, STACK_V4, UDP, &datagram(b"yes"));
    assert_eq!(host.udp_recv(id).as_deref(), Some(&b"yes"[..]));
    assert_eq!(host.udp_recv(id), None);
}

#[test]
fn k4_large_datagrams_go_out_in_fragments_that_fit_together() {
    let (mut host, id) = udp_host();
    for len in [1473, 4000, 20_000] {
        host.udp_send(id, &bytes(len), (PEER_V4, 9));
        let (mut whole, mut ident) = (vec![], None);
        for (_, heard) in host.drain() {
            let codec::Body::Ip(ip) = heard.body else { panic!("an IP packet expected") };
            let Payload::Fragment { protocol, offset, more, bytes } = ip.payload else { panic!("{ip:?}") };
            assert_eq!((protocol, usize::from(offset)), (UDP, whole.len()));
            assert!(bytes.len() <= 1480 && (!more || bytes.len() % 8 == 0));
            assert_eq!(*ident.get_or_insert(ip.ident), ip.ident);
            whole.extend(bytes);
        }
        let Payload::Udp { payload, .. } = Payload::parse(STACK_V4, PEER_V4, UDP, &whole) else { panic!() };
        assert!(payload == bytes(len));
    }
}

#[test]
fn k4_large_datagrams_come_in_fragments() {
    let (mut host, id) = udp_host();
    for (ident, len) in [(1, 1473), (2, 4000), (3, 20_000)] {
        for packet in fragments(PEER_V4, UDP, ident, &datagram(&bytes(len)), 1480) {
            host.packet(&packet);
        }
        assert!(host.udp_recv(id) == Some(bytes(len)), "{len} bytes");
    }
    host.assert_frames_home();
}

#[test]
fn a_flood_of_datagrams_takes_bounded_memory() {
    let (mut host, id) = udp_host();
    for i in 0..10_000u32 {
        host.ip(PEER_V4, STACK_V4, UDP, &datagram(if i % 2 == 0 { b"" } else { b"x" }));
    }
    assert!(host.dropped(Drop::SocketRcvbuff) > 5000);
    while host.udp_recv(id).is_some() {}
    host.assert_frames_home();
}

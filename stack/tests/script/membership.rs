//! Multicast listener discovery (RFC 3810, RFC 2710, RFC 3590): the script is the querier.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use hayase_stack::{AddressState, Config, Drop};

use crate::codec::{self, Body, Heard, ICMPV6, IpOut, Payload, ROUTER_ALERT};
use crate::host::{Host, ms, neighbor_advert};

const ROUTER: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9));
const ALL_NODES: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));
const ALL_ROUTERS: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2));
const ALL_MLD_ROUTERS: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16));
const NOBODY: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
const LINK_LOCAL: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 0x0a));
/// The group in which fd00::1 is asked for, and that of the link-local address.
const GROUP: &str = "ff02::1:ff00:1";
const GROUP_LOCAL: &str = "ff02::1:ff00:a";

const IS: u8 = 2;
const LEFT: u8 = 3;
const JOINED: u8 = 4;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn octets(group: &str) -> [u8; 16] {
    group.parse::<Ipv6Addr>().unwrap().octets()
}

/// A report: when, from where, to whom, and what it says of which groups. Of version 1, 131 is a report and 132 the end.
type Report = (u64, IpAddr, IpAddr, Vec<(u8, String)>);

fn reports(host: &mut Host) -> Vec<Report> {
    let report = |(at, heard): (hayase_stack::Instant, Heard)| {
        let Body::Ip(ip) = heard.body else { return None };
        let IpAddr::V6(dst) = ip.dst else { return None };
        let Payload::Icmp { kind, word, rest, .. } = ip.payload else { return None };
        let group = |bytes: &[u8]| Ipv6Addr::from(<[u8; 16]>::try_from(bytes).unwrap()).to_string();
        let records = match kind {
            143 => {
                assert_eq!(rest.len(), word as usize * 20);
                rest.chunks(20)
                    .map(|record| {
                        assert_eq!(record[1..4], [0; 3], "no auxiliary data, no sources");
                        (record[0], group(&record[4..]))
                    })
                    .collect()
            }
            131 | 132 => vec![(kind, group(&rest))],
            _ => return None,
        };
        let low = dst.octets();
        assert_eq!(heard.dst_mac, [0x33, 0x33, low[12], low[13], low[14], low[15]]);
        Some((at.as_millis() - 10_000, ip.src, ip.dst, records))
    };
    host.drain().into_iter().filter_map(report).collect()
}

fn announcing(dad_transmits: u8) -> Host {
    let mut config = Config::default();
    config.announce = Some(true);
    config.dad_transmits = Some(dad_transmits);
    Host::with(config, 1500)
}

/// A query of version 1 (`len` 24) or 2 (`len` 28) for a group, or for all.
fn query(len: usize, delay_code: u16, group: Option<&str>) -> Vec<u8> {
    let mut rest = group.map_or([0; 16], octets).to_vec();
    rest.resize(len - 8, 0);
    let dst = group.map_or(ALL_NODES, ip);
    codec::icmp(ROUTER, dst, 130, 0, u32::from(delay_code) << 16, &rest)
}

fn packet(dst: IpAddr, hops: u8, message: &[u8]) -> Vec<u8> {
    IpOut { ttl: hops, ..IpOut::new(ROUTER, dst, 0) }.packet(&[&ROUTER_ALERT[..], message].concat())
}

fn ask(host: &mut Host, len: usize, delay_code: u16, group: Option<&str>) {
    let dst = group.map_or(ALL_NODES, ip);
    host.packet(&packet(dst, 1, &query(len, delay_code, group)));
}

// Joining and leaving

/// RFC 4862 §5.4.2, RFC 3590 §4
#[test]
fn l10_a_group_is_joined_before_its_address_is_asked_for() {
    let mut host = announcing(1);
    host.turn();
    let order: Vec<(u8, IpAddr)> = host
        .drain()
        .into_iter()
        .filter_map(|(_, heard)| match heard.body {
            Body::Ip(ip) => match ip.payload {
                Payload::Icmp { kind, .. } => Some((kind, ip.src)),
                _ => None,
            },
            Body::Arp(_) => None,
        })
        .collect();
    assert_eq!(order, [(143, NOBODY), (135, NOBODY), (143, NOBODY), (135, NOBODY)]);
}

/// RFC 3810 §6.1: twice, should one be lost.
#[test]
fn l10_every_group_is_reported_twice_within_a_second() {
    let mut host = announcing(0);
    host.wait(secs(20));
    let reports = reports(&mut host);
    for group in [GROUP, GROUP_LOCAL] {
        let of: Vec<&Report> =
            reports.iter().filter(|report| report.3 == [(JOINED, group.to_owned())]).collect();
        assert_eq!(of.len(), 2, "{reports:?}");
        assert_eq!((of[0].0, of[0].1, of[0].2), (0, LINK_LOCAL, ALL_MLD_ROUTERS));
        assert!((1..=1000).contains(&of[1].0), "{reports:?}");
    }
    assert_eq!(reports.len(), 4);
}

#[test]
fn l10_a_report_that_a_full_device_does_not_take_follows() {
    let mut host = announcing(0);
    host.wait_full(secs(5));
    host.wait(secs(5));
    let times: Vec<u64> = reports(&mut host).iter().map(|report| report.0).collect();
    assert!(times.len() == 4 && times[..2].iter().all(|at| (5000..=5002).contains(at)), "{times:?}");
}

#[test]
fn l10_a_group_is_left_with_its_last_address() {
    let mut host = announcing(0);
    host.stack.add_address("fd00:1::1/64".parse().unwrap()).unwrap();
    host.wait(secs(5));
    assert_eq!(reports(&mut host).len(), 4, "the third address has the group of the second");
    host.stack.remove_address(ip("fd00::1")).unwrap();
    host.wait(secs(5));
    assert_eq!(reports(&mut host).len(), 0);
    host.stack.remove_address(ip("fd00:1::1")).unwrap();
    host.wait(secs(5));
    let left = reports(&mut host);
    assert_eq!(left.len(), 2);
    assert!(left.iter().all(|report| report.3 == [(LEFT, GROUP.to_owned())]));
}

#[test]
fn l10_the_group_of_a_duplicate_is_left() {
    let mut host = announcing(1);
    host.wait(ms(500));
    host.drain();
    host.packet(&neighbor_advert(ip("fd00::1"), ALL_NODES, 0x2000_0000));
    assert_eq!(host.stack.address_state(ip("fd00::1")), Some(AddressState::Duplicate));
    host.wait(secs(5));
    let of_group: Vec<u8> = reports(&mut host)
        .into_iter()
        .flat_map(|report| report.3)
        .filter(|(_, group)| group == GROUP)
        .map(|(kind, _)| kind)
        .collect();
    assert_eq!(of_group, [LEFT, LEFT]);
}

/// Where nobody wants to know: on a wire.
#[test]
fn l10_unless_told_to_a_host_reports_only_when_asked() {
    let mut host = Host::new();
    host.wait(secs(5));
    host.silence();
    ask(&mut host, 28, 1000, None);
    host.wait(secs(1));
    assert_eq!(reports(&mut host).len(), 1);
}

// Queries

/// RFC 3810 §6.2
#[test]
fn l10_a_query_is_answered_with_all_groups_in_its_time() {
    let mut host = Host::new();
    let mut times = Vec::new();
    for _ in 0..20 {
        let asked_at = host.now;
        ask(&mut host, 28, 5000, None);
        host.wait(secs(5));
        let answers = reports(&mut host);
        assert_eq!(answers.len(), 1);
        let (at, src, dst, records) = &answers[0];
        assert_eq!((*src, *dst), (LINK_LOCAL, ALL_MLD_ROUTERS));
        assert_eq!(*records, [(IS, GROUP.to_owned()), (IS, GROUP_LOCAL.to_owned())]);
        times.push(at + 10_000 - asked_at.as_millis());
    }
    assert!(times.iter().all(|time| *time <= 5000));
    assert!(times.iter().max().unwrap() - times.iter().min().unwrap() > 1000, "at random: {times:?}");
}

#[test]
fn l10_a_query_for_one_group_is_for_its_members() {
    let mut host = Host::new();
    ask(&mut host, 28, 100, Some(GROUP));
    host.wait(secs(1));
    assert_eq!(reports(&mut host).len(), 1);
    ask(&mut host, 28, 100, Some("ff02::1:ff00:2"));
    ask(&mut host, 28, 100, Some("ff02::1"));
    host.wait(secs(1));
    assert_eq!(reports(&mut host), []);
}

/// RFC 3810 §8.2.1
#[test]
fn l10_a_router_of_version_1_is_answered_in_version_1() {
    let mut host = announcing(0);
    host.wait(secs(2));
    host.drain();
    ask(&mut host, 24, 1000, None);
    host.wait(secs(1));
    let answers: Vec<(IpAddr, Vec<(u8, String)>)> =
        reports(&mut host).into_iter().map(|(_, _, dst, records)| (dst, records)).collect();
    let group = |group: &str| (ip(group), vec![(131, group.to_owned())]);
    assert_eq!(answers, [group(GROUP), group(GROUP_LOCAL)]);
    host.stack.remove_address(ip("fd00::1")).unwrap();
    host.wait(secs(2));
    let done = reports(&mut host);
    assert_eq!((done.len(), done[0].2, &done[0].3[..]), (2, ALL_ROUTERS, &[(132, GROUP.to_owned())][..]));
    ask(&mut host, 28, 100, None);
    host.wait(secs(1));
    assert_eq!(reports(&mut host)[0].3[0].0, 131, "as long as it may still be there");
    host.wait(secs(260));
    ask(&mut host, 28, 100, None);
    host.wait(secs(1));
    assert_eq!(reports(&mut host)[0].3[0].0, IS);
}

/// RFC 3810 §6.2, §8.1
#[test]
fn l10_queries_that_break_the_rules_are_ignored() {
    let mut host = Host::new();
    let good = query(28, 100, None);
    let global = ip("2001:db8::9");
    let far = codec::icmp(global, ALL_NODES, 130, 0, 100 << 16, &[0; 20]);
    let no_alert = IpOut { ttl: 1, ..IpOut::new(ROUTER, ALL_NODES, ICMPV6) }.packet(&good);
    let padding = [&[ICMPV6, 0, 1, 4, 0, 0, 0, 0][..], &good].concat();
    let padding = IpOut { ttl: 1, ..IpOut::new(ROUTER, ALL_NODES, 0) }.packet(&padding);
    let global =
        IpOut { ttl: 1, ..IpOut::new(global, ALL_NODES, 0) }.packet(&[&ROUTER_ALERT[..], &far].concat());
    let mut damaged = packet(ALL_NODES, 1, &good);
    damaged[60] ^= 1;
    for bad in [
        no_alert,
        padding,
        global,
        damaged,
        packet(ALL_NODES, 255, &good),
        packet(ALL_NODES, 1, &query(26, 100, None)),
    ] {
        host.packet(&bad);
    }
    host.wait(secs(1));
    assert_eq!(reports(&mut host), []);
    assert_eq!(
        (host.dropped(Drop::Ipv6NdiscBad), host.dropped(Drop::IcmpCsum), host.dropped(Drop::IcmpInvalid)),
        (4, 1, 1)
    );
}

#[test]
fn l10_a_flood_of_queries_gets_a_trickle_of_answers() {
    let mut host = Host::new();
    for _ in 0..5000 {
        ask(&mut host, 28, 0, None);
        host.wait(ms(1));
    }
    let count = reports(&mut host).len();
    assert!(count < 5000 / 10, "{count} in 5 s");
    host.wait(secs(1));
    host.drain();
    host.silence();
    host.assert_frames_home();
}

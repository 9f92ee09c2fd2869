//! UDP: which socket a datagram is for, and who waits for the device.

use std::net::{IpAddr, SocketAddr};
use std::task::Poll;
use std::time::Duration;

use hayase_device::Device;
use hayase_device::heap::PoolConfig;
use hayase_stack::{Config, Error, Ready, Socket, UdpId};

use crate::codec;
use crate::host::{Host, PEER_V4, STACK_V4};

const PORT: u16 = 53;

fn bind(host: &mut Host, ip: &str) -> UdpId {
    host.stack.udp_bind(SocketAddr::new(ip.parse().unwrap(), PORT)).unwrap()
}

/// A datagram from a port of the peer: which of these sockets gets it.
fn receiver(host: &mut Host, from: u16, sockets: &[UdpId]) -> Option<usize> {
    host.ip(PEER_V4, STACK_V4, 17, &codec::udp((PEER_V4, from), (STACK_V4, PORT), b"x"));
    let got: Vec<_> = sockets.iter().map(|id| host.udp_recv(*id).is_some()).collect();
    assert!(got.iter().filter(|got| **got).count() <= 1, "one datagram, one socket");
    got.iter().position(|got| *got)
}

#[test]
fn k_the_socket_that_says_most_gets_the_datagram() {
    let mut host = Host::new();
    let ips = ["::", "0.0.0.0", "10.0.0.1", "0.0.0.0"];
    let mut sockets = Vec::new();
    for (i, ip) in ips[..3].iter().enumerate() {
        sockets.push(bind(&mut host, ip));
        assert_eq!(receiver(&mut host, 9, &sockets), Some(i), "the latest says most");
    }
    host.stack.udp_close(sockets.remove(1));
    sockets.insert(1, bind(&mut host, ips[3]));
    host.stack.udp_connect(sockets[1], (PEER_V4, 9).into()).unwrap();
    assert_eq!(host.stack.udp_local_addr(sockets[1]), Ok((STACK_V4, PORT).into()));
    assert_eq!(receiver(&mut host, 9, &sockets), Some(1), "a peer says more than an address");
    assert_eq!(receiver(&mut host, 8, &sockets), Some(2), "and others are not for it");

    host.stack.udp_connect(sockets[1], (PEER_V4, 8).into()).unwrap();
    assert_eq!(receiver(&mut host, 8, &sockets), Some(1), "a new peer");
    assert_eq!(receiver(&mut host, 9, &sockets), Some(2), "takes the place of the old one");
    for left in [1, 2, 0] {
        host.stack.udp_close(sockets[left]);
    }
    assert_eq!(receiver(&mut host, 8, &[]), None);
    assert_eq!(host.next_icmp().0, 3, "nobody is left");
}

#[test]
fn k_an_address_and_a_pair_of_addresses_have_one_socket() {
    let mut host = Host::new();
    let (a, b) = (bind(&mut host, "0.0.0.0"), bind(&mut host, "10.0.0.1"));
    let again = |host: &mut Host, ip: IpAddr| host.stack.udp_bind((ip, PORT).into());
    assert_eq!(again(&mut host, STACK_V4), Err(Error::AddrInUse));
    host.stack.udp_connect(a, (PEER_V4, 9).into()).unwrap();
    assert_eq!(host.stack.udp_connect(b, (PEER_V4, 9).into()), Err(Error::AddrInUse));
    host.stack.udp_connect(a, (PEER_V4, 9).into()).unwrap();
    host.stack.udp_close(b);
    assert_eq!(again(&mut host, STACK_V4), Err(Error::AddrInUse), "the connected one has it");
    host.stack.udp_close(a);
    assert!(again(&mut host, STACK_V4).is_ok());
}

#[test]
fn k_chosen_ports_are_free_ones() {
    let mut config = Config::default();
    config.ephemeral_ports = 40_000..=40_063;
    let mut host = Host::with(config, 1500);
    let any: SocketAddr = (STACK_V4, 0).into();
    let sockets: Vec<_> = (0..64).map(|_| host.stack.udp_bind(any).unwrap()).collect();
    assert_eq!(host.stack.udp_bind(any), Err(Error::PortsExhausted));
    let freed = host.stack.udp_local_addr(sockets[7]).unwrap();
    host.stack.udp_close(sockets[7]);
    let last = host.stack.udp_bind(any).unwrap();
    assert_eq!(host.stack.udp_local_addr(last), Ok(freed));
}

/// Sockets of which some are closed while they wait: the others are woken, each once.
#[test]
fn k_everybody_who_waits_for_the_device_is_woken_once() {
    let mut host = Host::new();
    let pool = PoolConfig::default();
    let sockets: Vec<_> = (0..5).map(|_| host.stack.udp_bind((STACK_V4, 0).into()).unwrap()).collect();
    host.udp_send(sockets[0], b"the neighbour is known now", (PEER_V4, 9));
    let to = Some((PEER_V4, 9).into());
    let send = |host: &mut Host, id| host.stack.udp_send(host.now, id, b"x", to, &mut host.device);
    let room = pool.small_count_max;
    let fill = |host: &mut Host, id| (0..room).take_while(|_| send(host, id).is_ready()).count();
    let sent: usize = sockets.iter().map(|id| fill(&mut host, *id)).sum();
    assert!(sent < room, "the device is full");
    for id in &sockets {
        assert_eq!((send(&mut host, *id), send(&mut host, *id)), (Poll::Pending, Poll::Pending));
    }
    host.stack.drain_ready(|_, _| {});
    for closed in [0, 3] {
        host.stack.udp_close(sockets[closed]);
    }
    // The wire is emptied at the end of the first turn, which the second one sees.
    (0..2).for_each(|_| host.turn());
    let mut woken = Vec::new();
    host.stack.drain_ready(|socket, ready| {
        assert_eq!(ready, Ready::WRITABLE);
        woken.push(socket);
    });
    woken.sort_by_key(|socket| format!("{socket:?}"));
    assert_eq!(woken, [1, 2, 4].map(|i| Socket::Udp(sockets[i])));
    assert!([1, 2, 4].iter().all(|i| send(&mut host, sockets[*i]).is_ready()));
}

/// Of a part of a datagram nobody has anything.
#[test]
fn k4_a_datagram_goes_whole_or_waits() {
    const LEN: usize = 60_000;
    const PIECES: usize = 41;
    // The device's queue holds no whole number of datagrams.
    let mut host = Host::new();
    let id = bind(&mut host, "0.0.0.0");
    let to = Some((PEER_V4, 9).into());
    let send = |host: &mut Host| host.stack.udp_send(host.now, id, &[7; LEN], to, &mut host.device);
    assert_eq!(send(&mut host), Poll::Ready(Ok(LEN)));
    host.turn();
    assert_eq!(host.drain().len(), PIECES, "its neighbour is known from here on");
    let mut count = 0;
    while send(&mut host).is_ready() {
        count += 1;
    }
    assert!(
        !host.device.room().is_multiple_of(PIECES) && count > 1,
        "{count} in a queue of no multiple of it"
    );
    // Who waits is let be until there is room for all of it, and is not forgotten.
    for _ in 0..3 {
        host.stack.transmit(host.now, &mut host.device);
        assert!(!host.stack.has_news());
        assert_eq!(host.stack.deadline(), Some(host.now + Duration::from_millis(1)));
    }
    host.turn();
    host.stack.transmit(host.now, &mut host.device);
    let mut told = Vec::new();
    host.stack.drain_ready(|socket, ready| told.push((socket, ready)));
    assert_eq!(told, [(Socket::Udp(id), Ready::WRITABLE)]);
    assert_eq!(host.drain().len(), count * PIECES);
    assert_eq!(host.dropped(hayase_stack::Drop::FullRing), 0);

    // Nor are there buffers for all of it.
    let pool = PoolConfig { small_count_max: PIECES - 1, large_count_max: 0, ..PoolConfig::default() };
    let mut host = Host::in_memory(Config::default(), 1500, hayase_device::Offloads::NONE, pool);
    let id = bind(&mut host, "0.0.0.0");
    host.udp_send(id, b"x", (PEER_V4, 9));
    host.drain();
    for _ in 0..3 {
        let sent = host.stack.udp_send(host.now, id, &[7; LEN], to, &mut host.device);
        assert_eq!(sent, Poll::Pending);
        host.stack.transmit(host.now, &mut host.device);
        assert!(!host.stack.has_news(), "nothing tells of buffers");
        host.wait(Duration::from_millis(1));
        assert!(host.stack.has_news(), "so it tries again in a while");
        host.stack.drain_ready(|_, _| {});
        host.silence();
        host.assert_frames_home();
    }
    host.udp_send(id, &[7; LEN / 2], (PEER_V4, 9));
    assert_eq!(host.drain().len(), PIECES.div_ceil(2));
}

/// RFC 1112 §6.1, RFC 3493 §5.2: the script's host looks at every hop limit.
#[test]
fn k6_what_goes_to_a_group_stays_on_the_link_unless_its_socket_has_a_hop_limit() {
    let mut host = Host::new();
    let id = bind(&mut host, "::");
    let groups: [IpAddr; 2] = ["224.0.0.251", "ff02::fb"].map(|group| group.parse().unwrap());
    let send = |host: &mut Host| {
        for to in [groups[0], PEER_V4, groups[1]] {
            host.udp_send(id, b"x", (to, 5353));
            assert_eq!(host.next_ip().dst, to);
        }
    };
    send(&mut host);
    assert_eq!(host.stack.udp_ttl(id), Ok(64), "of what goes to one host");
    host.stack.udp_set_ttl(id, 9).unwrap();
    (host.ttl, host.group_ttl) = (9, 9);
    send(&mut host);

    (host.ttl, host.group_ttl) = (64, 1);
    let ping = host.stack.echo_open().unwrap();
    for to in groups {
        host.stack.echo_send(host.now, ping, to, 1, b"x", &mut host.device).unwrap();
        host.turn();
        assert_eq!(host.next_ip().dst, to);
    }
}

/// A socket with long datagrams and one with short ones, on a device whose queue is full of frames of others.
struct Rivals {
    host: Host,
    long: UdpId,
    short: UdpId,
    /// Whether it sends without being called, as who answers what comes in does.
    short_barges: bool,
    /// Datagrams that went.
    sent: (usize, usize),
}

/// A datagram of 41 frames.
static LONG: [u8; 60_000] = [7; 60_000];

impl Rivals {
    fn new(short_barges: bool) -> Rivals {
        let mut host = Host::new();
        let (long, short) = (bind(&mut host, "0.0.0.0"), bind(&mut host, "10.0.0.1"));
        // Its neighbour is known from here on, and how much the device takes.
        host.udp_send(long, &LONG, (PEER_V4, 9));
        let mut rivals = Rivals { host, long, short, short_barges, sent: (0, 0) };
        while rivals.send_short() {}
        assert!(!rivals.send(rivals.long, &LONG), "the device is full");
        rivals
    }

    fn send(&mut self, id: UdpId, bytes: &[u8]) -> bool {
        let host = &mut self.host;
        let sent = host.stack.udp_send(host.now, id, bytes, Some((PEER_V4, 9).into()), &mut host.device);
        assert!(sent.is_pending() || sent == Poll::Ready(Ok(bytes.len())), "{sent:?}");
        sent.is_ready()
    }

    fn send_short(&mut self) -> bool {
        self.send(self.short, b"x")
    }

    /// A turn after a tenth of a millisecond: so many frames have left, and who was called sends what he can, the short ones
    /// first.
    fn turn(&mut self, freed: usize) {
        let host = &mut self.host;
        host.now += Duration::from_micros(100);
        host.pass_unseen(freed);
        host.stack.transmit(host.now, &mut host.device);
        let mut called = Vec::new();
        host.stack.drain_ready(|socket, _| called.push(socket));
        if self.short_barges || called.contains(&Socket::Udp(self.short)) {
            while self.send_short() {
                self.sent.1 += 1;
            }
        }
        if called.contains(&Socket::Udp(self.long)) {
            while self.send(self.long, &LONG) {
                self.sent.0 += 1;
            }
        }
    }
}

#[test]
fn k4_a_long_datagram_has_its_turn_beside_short_ones() {
    for short_barges in [false, true] {
        let mut rivals = Rivals::new(short_barges);
        (0..1000).for_each(|_| rivals.turn(4));
        let (long, short) = rivals.sent;
        // Of 4000 frames the one had 41 times as many as its datagrams.
        assert!((20..=97).contains(&long) && short >= 20, "{long} long and {short} short ones");
        assert!(long * 41 + short >= 3900, "and none was wasted: {long} and {short}");
    }
}

/// Something else fills the device in each turn, so that there never is room for it.
#[test]
fn k4_a_datagram_that_finds_no_room_delays_others_for_a_while_only() {
    let mut rivals = Rivals::new(false);
    let mut gaps = vec![0];
    for _ in 0..2000 {
        let before = rivals.sent.1;
        rivals.turn(4);
        rivals.host.fill_to(4);
        match rivals.sent.1 - before {
            0 => *gaps.last_mut().unwrap() += 1,
            _ => gaps.push(0),
        }
    }
    assert_eq!(rivals.sent.0, 0);
    let longest = gaps.iter().max().unwrap();
    assert!(*longest <= 110, "{longest} tenths of a millisecond in which nobody sent");
    assert!(gaps.len() > 1500, "{} turns of 2000 in which somebody did", gaps.len());
    // What it wants is not forgotten.
    (0..50).for_each(|_| rivals.turn(41));
    assert!(rivals.sent.0 > 0);
}

/// A device that never had room for all of it: part of it goes, and nobody waits for ever.
#[test]
fn k4_a_datagram_for_which_the_device_is_too_small_is_tried_after_a_while() {
    const ROOM: usize = 16;
    let mut host = Host::new();
    let id = bind(&mut host, "0.0.0.0");
    let to = Some((PEER_V4, 9).into());
    let send = |host: &mut Host| host.stack.udp_send(host.now, id, &LONG, to, &mut host.device);
    host.fill_to(ROOM);
    assert!(send(&mut host).is_ready(), "it waits for its neighbour");
    host.pass_unseen(usize::from(u16::MAX));
    host.turn();
    host.fill_to(ROOM);
    assert_eq!(send(&mut host), Poll::Pending);
    let start = host.now;
    host.stack.transmit(host.now, &mut host.device);
    while !host.stack.has_news() {
        host.now = host.stack.deadline().expect("somebody waits");
        host.stack.expire(host.now, &mut host.device);
        host.stack.transmit(host.now, &mut host.device);
        assert!(host.now < start + Duration::from_millis(20));
    }
    assert!(host.now > start + Duration::from_millis(5));
    assert_eq!(send(&mut host), Poll::Ready(Ok(LONG.len())));
    assert_eq!(host.dropped(hayase_stack::Drop::FullRing), 41 - ROOM as u64);
}

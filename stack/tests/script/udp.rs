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

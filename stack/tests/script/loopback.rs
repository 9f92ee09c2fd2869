//! A host that talks to itself by loopback addresses (RFC 1122 §3.2.1.3 (g), RFC 4291 §2.5.3): row n8.

use std::net::{IpAddr, SocketAddr};
use std::task::Poll;

use hayase_device::Offloads;
use hayase_stack::{Config, Count, Drop, Error, TcpId};

use crate::codec::{self, ICMP, ICMPV6, IpOut, SYN, TCP, Tcp, UDP};
use crate::host::{Host, PEER_V4, PEER_V6, STACK_V4};

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Opens a connection of the host with itself: the client's end and the server's.
#[track_caller]
fn connect(host: &mut Host, listen: &str, to: &str) -> (TcpId, TcpId) {
    let listener = host.stack.tcp_listen(addr(listen), 8).unwrap();
    let client = host.stack.tcp_connect(host.now, addr(to), None).unwrap();
    host.turn();
    assert_eq!(host.stack.tcp_poll_connect(client), Poll::Ready(Ok(())));
    let Poll::Ready(Ok((server, peer))) = host.stack.tcp_accept(listener) else { panic!("nobody came") };
    assert_eq!(Ok(peer), host.stack.tcp_local_addr(client));
    (client, server)
}

/// Sends this many bytes from one end to the other.
fn transfer(host: &mut Host, from: TcpId, to: TcpId, len: usize) {
    let sent: Vec<u8> = (0..len).map(|i| (i * 31 + i / 253) as u8).collect();
    let (mut got, mut written, mut buf) = (Vec::new(), 0, vec![0; 65_536]);
    while got.len() < len {
        if let Poll::Ready(taken) = host.stack.tcp_write(host.now, from, &sent[written..], &mut host.device) {
            written += taken.unwrap();
        }
        host.turn();
        while let Poll::Ready(Ok(count @ 1..)) = host.stack.tcp_read(host.now, to, &mut buf) {
            got.extend_from_slice(&buf[..count]);
        }
        host.wait(crate::host::ms(1));
    }
    assert!(got == sent);
}

#[test]
fn n8_a_host_connects_to_itself_and_nothing_shows_on_the_wire() {
    for (listen, to, from) in [
        ("127.0.0.1:80", "127.0.0.1:80", "127.0.0.1"),
        ("0.0.0.0:80", "127.0.0.1:80", "127.0.0.1"),
        ("127.3.2.1:80", "127.3.2.1:80", "127.0.0.1"),
        ("[::1]:80", "[::1]:80", "::1"),
        ("[::]:80", "[::1]:80", "::1"),
        ("[::]:80", "127.0.0.1:80", "127.0.0.1"),
        ("10.0.0.1:80", "10.0.0.1:80", "10.0.0.1"),
    ] {
        let mut host = Host::new();
        let (client, server) = connect(&mut host, listen, to);
        assert_eq!(host.stack.tcp_local_addr(client).unwrap().ip(), from.parse::<IpAddr>().unwrap(), "{to}");
        transfer(&mut host, client, server, 100_000);
        transfer(&mut host, server, client, 1);
        host.stack.tcp_close(host.now, client);
        host.stack.tcp_close(host.now, server);
        host.wait(crate::host::ms(120_000));
        host.silence();
        assert_eq!(host.stack.tcp_count(), 0);
        host.assert_frames_home();
    }
}

#[test]
fn n8_loopback_uses_the_offloads_that_the_device_has() {
    let mut host = Host::on(Config::default(), 1500, Offloads::ALL);
    let (client, server) = connect(&mut host, "127.0.0.1:80", "127.0.0.1:80");
    transfer(&mut host, client, server, 3_000_000);
    host.silence();
}

#[test]
fn n8_a_loopback_port_that_nobody_listens_at_refuses() {
    for to in ["127.0.0.1:80", "[::1]:80"] {
        let mut host = Host::new();
        let client = host.stack.tcp_connect(host.now, addr(to), None).unwrap();
        host.turn();
        assert_eq!(host.stack.tcp_poll_connect(client), Poll::Ready(Err(Error::ConnectionRefused)));
        host.silence();
    }
}

#[test]
fn n8_datagrams_and_errors_loop_as_well() {
    for ip in ["127.0.0.1", "::1"] {
        let ip: IpAddr = ip.parse().unwrap();
        let mut host = Host::new();
        let server = host.stack.udp_bind((ip, 53).into()).unwrap();
        let client = host.stack.udp_bind((ip, 0).into()).unwrap();
        for len in [0, 100, 30_000] {
            host.udp_send(client, &vec![7; len], (ip, 53));
            assert_eq!(host.udp_recv(server), Some(vec![7; len]));
        }
        host.stack.udp_connect(client, (ip, 54).into()).unwrap();
        let sent = host.stack.udp_send(host.now, client, b"x", None, &mut host.device);
        assert_eq!(sent, Poll::Ready(Ok(1)));
        host.turn();
        let mut buf = [0; 10];
        assert_eq!(host.stack.udp_recv(client, &mut buf), Poll::Ready(Err(Error::ConnectionRefused)));
        host.silence();
    }
}

#[test]
fn n8_a_host_pings_itself() {
    for to in ["127.0.0.1", "127.9.9.9", "::1", "10.0.0.1"] {
        let mut host = Host::new();
        let to: IpAddr = to.parse().unwrap();
        let id = host.stack.echo_open().unwrap();
        host.stack.echo_send(host.now, id, to, 7, b"payload", &mut host.device).unwrap();
        host.turn();
        let Poll::Ready(Ok(reply)) = host.stack.echo_recv(id) else { panic!("no answer from {to}") };
        assert_eq!((reply.from, reply.sequence, reply.len), (to, 7, 7));
        host.silence();
    }
}

/// Neither end of a packet on the wire is a loopback address, in either direction.
#[test]
fn n8_a_loopback_address_never_leaves_the_host() {
    let mut host = Host::new();
    let listener = Some(addr("127.0.0.1:5000"));
    let refused = host.stack.tcp_connect(host.now, (PEER_V4, 80).into(), listener);
    assert!(matches!(refused, Err(Error::InvalidInput(_))));
    for (bound, to) in [("127.0.0.1:53", PEER_V4), ("[::1]:53", PEER_V6)] {
        let id = host.stack.udp_bind(addr(bound)).unwrap();
        let sent = host.stack.udp_send(host.now, id, b"x", Some((to, 53).into()), &mut host.device);
        assert!(matches!(sent, Poll::Ready(Err(Error::InvalidInput(_)))));
    }
    host.silence();
}

#[test]
fn f10_loopback_addresses_on_the_wire_are_dropped() {
    let mut host = Host::new();
    let (v4, v6): (IpAddr, IpAddr) = ("127.0.0.1".parse().unwrap(), "::1".parse().unwrap());
    let sockets =
        [host.stack.udp_bind(addr("[::]:53")).unwrap(), host.stack.udp_bind(addr("127.0.0.1:54")).unwrap()];
    host.stack.tcp_listen(addr("[::]:80"), 8).unwrap();
    let syn = Tcp { src_port: 9, dst_port: 80, flags: SYN, window: 1000, ..Tcp::default() };
    let mut count = 0;
    for (src, dst) in [(PEER_V4, v4), (v4, STACK_V4), (v4, v4), (PEER_V6, v6), (v6, v6)] {
        for port in [53, 54] {
            host.ip(src, dst, UDP, &codec::udp((src, 9), (dst, port), b"x"));
        }
        host.ip(src, dst, TCP, &syn.encode(src, dst));
        let (protocol, kind) = if src.is_ipv4() { (ICMP, 8) } else { (ICMPV6, 128) };
        host.packet(&IpOut::new(src, dst, protocol).packet(&codec::icmp(src, dst, kind, 0, 7, b"x")));
        count += 4;
    }
    host.silence();
    assert!(sockets.into_iter().all(|id| host.udp_recv(id).is_none()));
    assert_eq!(host.dropped(Drop::IpInvalidSource) + host.dropped(Drop::IpInAddr), count);
}

#[test]
fn f10_the_wire_has_no_part_in_a_loopback_connection() {
    let mut host = Host::new();
    let (client, server) = connect(&mut host, "127.0.0.1:80", "127.0.0.1:80");
    transfer(&mut host, client, server, 1000);
    let ip: IpAddr = "127.0.0.1".parse().unwrap();
    let src_port = host.stack.tcp_local_addr(client).unwrap().port();
    let forged = Tcp { src_port, dst_port: 80, flags: SYN, window: 1000, ..Tcp::default() };
    host.ip(ip, ip, TCP, &forged.encode(ip, ip));
    assert_eq!(host.stack.counters().get(Count::ChallengeAck), 0, "it did not get as far as the connection");
    assert_eq!(host.dropped(Drop::IpInvalidSource), 1);
    transfer(&mut host, server, client, 1000);
}

//! Two stacks on a wire, driven by hand: the verbs as anybody's loop would call them.

mod common;

use std::net::SocketAddr;
use std::task::Poll;
use std::time::Duration;

use common::{Net, pattern};
use hayase_device::Offloads;
use hayase_device::heap::PoolConfig;
use hayase_stack::wire::VlanId;
use hayase_stack::{Config, Drop, Error, Ready, State, UdpId};
use hayase_wire::{EndConfig, WireConfig};

const MIXTURES: [Offloads; 4] = [Offloads::NONE, Offloads::ALL, Offloads::TX_CHECKSUM, Offloads::RX_CHECKSUM];

#[test]
fn bytes_arrive_whole_whatever_the_devices_can_do() {
    for a in MIXTURES {
        for b in MIXTURES {
            let mut net = Net::new(a, b);
            let (client, server) = net.connect_v4();
            let data = pattern(300_000);
            assert_eq!(net.transfer(client, server, &data), data, "{a} to {b}");
            net.close_both(client, server);
            net.assert_clean();
        }
    }
}

#[test]
fn ipv6_works_the_same() {
    let mut net = Net::new(Offloads::ALL, Offloads::NONE);
    let (client, server) = net.connect("[fd00::2]:80");
    let data = pattern(100_000);
    assert_eq!(net.transfer(client, server, &data), data);
    net.close_both(client, server);
    net.assert_clean();
}

/// Row n8: the offloads take the tag into account.
#[test]
fn bytes_arrive_whole_in_a_vlan() {
    for offloads in MIXTURES {
        let mut config = Config::default();
        config.vlan = VlanId::new(5);
        let mut net = Net::with_config(offloads, offloads, config);
        for to in ["10.0.0.2:80", "[fd00::2]:80"] {
            let (client, server) = net.connect(to);
            let data = pattern(300_000);
            assert_eq!(net.transfer(client, server, &data), data, "{offloads} to {to}");
            assert_eq!(net.transfer_back(server, client, &data), data, "{offloads} from {to}");
            net.close_both(client, server);
        }
        net.assert_clean();
    }
}

#[test]
fn a_reply_carries_the_acknowledgement() {
    let mut net = Net::new(Offloads::ALL, Offloads::ALL);
    let (client, server) = net.connect_v4();
    net.a.stack.tcp_set_nodelay(net.now, client, true).unwrap();
    net.b.stack.tcp_set_nodelay(net.now, server, true).unwrap();
    net.settle();
    let before = net.segments();
    for _ in 0..100 {
        net.a.write(net.now, client, b"x");
        net.settle();
        assert_eq!(net.b.read(net.now, server), b"x");
        net.b.write(net.now, server, b"y");
        net.settle();
        assert_eq!(net.a.read(net.now, client), b"y");
    }
    assert_eq!(net.segments() - before, 200, "two segments a round trip");
}

#[test]
fn a_closed_port_refuses() {
    let mut net = Net::new(Offloads::NONE, Offloads::NONE);
    let id = net.a.stack.tcp_connect(net.now, "10.0.0.2:81".parse().unwrap(), None).unwrap();
    net.settle();
    assert_eq!(net.a.stack.tcp_poll_connect(id), Poll::Ready(Err(Error::ConnectionRefused)));
    net.a.stack.tcp_close(net.now, id);
    assert_eq!(net.a.stack.tcp_count(), 0);
}

#[test]
fn nobody_home_is_an_unreachable_host() {
    let mut net = Net::new(Offloads::NONE, Offloads::NONE);
    let id = net.a.stack.tcp_connect(net.now, "10.0.0.77:81".parse().unwrap(), None).unwrap();
    net.run_for(Duration::from_secs(5));
    assert_eq!(net.a.stack.tcp_poll_connect(id), Poll::Ready(Err(Error::HostUnreachable)));
}

#[test]
fn a_slow_reader_stops_the_writer_and_loses_nothing() {
    let mut net = Net::new(Offloads::ALL, Offloads::NONE);
    let (client, server) = net.connect_v4();
    let data = pattern(3_000_000);
    let mut sent = 0;
    while let Poll::Ready(Ok(len)) = net.a.try_write(net.now, client, &data[sent..]) {
        sent += len;
        net.settle();
    }
    assert!(sent < data.len(), "the window must shut");
    net.run_for(Duration::from_secs(30));
    assert_eq!(net.a.stack.tcp_state(client), State::Established);
    let mut got = Vec::new();
    while got.len() < data.len() {
        got.extend(net.b.read(net.now, server));
        if let Poll::Ready(Ok(len)) = net.a.try_write(net.now, client, &data[sent..]) {
            sent += len;
        }
        net.step(Duration::from_millis(1));
    }
    assert!(got == data);
}

#[test]
fn half_close_lets_the_other_direction_go_on() {
    let mut net = Net::new(Offloads::ALL, Offloads::ALL);
    let (client, server) = net.connect_v4();
    net.a.stack.tcp_shutdown(net.now, client).unwrap();
    net.settle();
    assert_eq!(net.b.stack.tcp_read(net.now, server, &mut [0; 8]), Poll::Ready(Ok(0)));
    assert_eq!(net.a.try_write(net.now, client, b"no"), Poll::Ready(Err(Error::BrokenPipe)));
    let data = pattern(100_000);
    assert_eq!(net.transfer_back(server, client, &data), data);
    net.close_both(client, server);
    net.assert_clean();
}

#[test]
fn loss_in_both_directions_is_repaired() {
    for seed in 1..=20 {
        let mut net = Net::new(Offloads::NONE, Offloads::NONE);
        net.loss_per_mille = 30;
        net.rng = seed;
        let (client, server) = net.connect_v4();
        let data = pattern(400_000);
        assert_eq!(net.transfer(client, server, &data), data, "seed {seed}");
        net.close_both(client, server);
        net.assert_clean();
    }
}

#[test]
fn a_reset_is_told_to_both_readers_and_writers() {
    let mut net = Net::new(Offloads::NONE, Offloads::NONE);
    let (client, server) = net.connect_v4();
    net.a.stack.tcp_abort(net.now, client);
    net.settle();
    assert_eq!(net.b.stack.tcp_read(net.now, server, &mut [0; 8]), Poll::Ready(Err(Error::ConnectionReset)));
    assert_eq!(net.b.try_write(net.now, server, b"x"), Poll::Ready(Err(Error::BrokenPipe)));
}

#[test]
fn an_idle_connection_holds_no_buffer_and_no_timer() {
    let mut net = Net::new(Offloads::NONE, Offloads::NONE);
    let (client, server) = net.connect_v4();
    let data = pattern(50_000);
    net.transfer(client, server, &data);
    net.run_for(Duration::from_secs(120));
    net.assert_frames_home();
    let wakeups = net.run_for(Duration::from_secs(3600));
    assert!(wakeups < 300, "{wakeups} turns in an idle hour");
}

#[test]
fn udp_carries_small_large_and_empty_datagrams() {
    for offloads in [Offloads::NONE, Offloads::ALL] {
        let mut net = Net::new(offloads, offloads);
        let a = net.a.stack.udp_bind("10.0.0.1:1000".parse().unwrap()).unwrap();
        let b = net.b.stack.udp_bind("0.0.0.0:2000".parse().unwrap()).unwrap();
        for len in [0, 1, 1472, 1473, 4000, 20_000, 65_507] {
            let data = pattern(len);
            net.a.udp_send(net.now, a, &data, "10.0.0.2:2000");
            net.settle();
            let mut buf = vec![0; 70_000];
            let received = net.b.stack.udp_recv(b, &mut buf);
            assert_eq!(received, Poll::Ready(Ok((len, "10.0.0.1:1000".parse().unwrap()))));
            assert!(buf[..len] == data[..]);
        }
        net.assert_frames_home();
    }
}

/// Two hosts on jumbo frames, with buffers of which none holds one.
fn small_buffers(offloads: Offloads) -> Net {
    let pool = PoolConfig { large_len: 2048, ..PoolConfig::default() };
    let WireConfig { a, b, .. } = WireConfig::default();
    let (a, b) = (EndConfig { offloads, ..a }, EndConfig { offloads, ..b });
    Net::on_wire(WireConfig { a, b, pool, mtu: 9000, ..WireConfig::default() }, Config::default())
}

fn udp_crosses(net: &mut Net, from: UdpId, at: UdpId, to: &str, len: usize) {
    let (data, mut buf) = (pattern(len), vec![0; 70_000]);
    let to = SocketAddr::new(to.parse().unwrap(), 2000);
    net.a.udp_send(net.now, from, &data, &to.to_string());
    net.settle();
    let received = net.b.stack.udp_recv(at, &mut buf);
    assert!(
        matches!(received, Poll::Ready(Ok((found, _))) if found == len),
        "{len} bytes to {to}: {received:?}"
    );
    assert!(buf[..len] == data[..], "{len} bytes to {to}");
}

/// With scatter-gather a packet takes several buffers; without, IP cuts it to what one holds.
#[test]
fn datagrams_and_pings_that_no_buffer_holds_arrive() {
    for offloads in [Offloads::NONE, Offloads::TX_CHECKSUM, Offloads::SG, Offloads::ALL] {
        let mut net = small_buffers(offloads);
        let a = net.a.stack.udp_bind("[::]:1000".parse().unwrap()).unwrap();
        let b = net.b.stack.udp_bind("[::]:2000".parse().unwrap()).unwrap();
        for to in ["10.0.0.2", "fd00::2"] {
            let cut_before = net.a.counter("IpFragOKs");
            for len in [1871, 1872, 1912, 1913, 4000, 8900] {
                udp_crosses(&mut net, a, b, to, len);
            }
            let cut = net.a.counter("IpFragOKs") - cut_before;
            let is_gathered = offloads.contains(Offloads::SG);
            assert_eq!(cut, if is_gathered { 0 } else { 3 }, "{offloads} to {to}: packets cut");
            udp_crosses(&mut net, a, b, to, 20_000);
            udp_crosses(&mut net, a, b, to, 65_000);
            let id = net.a.stack.echo_open().unwrap();
            for len in [1500, 8000, 20_000] {
                net.a.ping(net.now, id, to, &pattern(len));
                net.settle();
                assert!(
                    matches!(net.a.stack.echo_recv(id), Poll::Ready(Ok(reply)) if reply.len == len),
                    "{offloads} to {to}: a ping of {len} bytes"
                );
            }
        }
        net.assert_clean();
    }
}

#[test]
fn ping_answers_in_every_size() {
    let mut net = Net::new(Offloads::ALL, Offloads::NONE);
    for (to, len) in
        [("10.0.0.2", 0), ("10.0.0.2", 1472), ("10.0.0.2", 8192), ("fd00::2", 56), ("fd00::2", 8192)]
    {
        let id = net.a.stack.echo_open().unwrap();
        net.a.ping(net.now, id, to, &pattern(len));
        net.settle();
        match net.a.stack.echo_recv(id) {
            Poll::Ready(Ok(reply)) => assert_eq!((reply.len, reply.sequence), (len, 7)),
            other => panic!("{to} {len}: {other:?}"),
        }
        net.a.stack.echo_close(id);
    }
    net.assert_frames_home();
}

#[test]
fn two_hosts_that_open_at_once_are_connected() {
    let mut net = Net::new(Offloads::NONE, Offloads::NONE);
    let (at_a, at_b) = ("10.0.0.1:1000".parse().unwrap(), "10.0.0.2:2000".parse().unwrap());
    let a = net.a.stack.tcp_connect(net.now, at_b, Some(at_a)).unwrap();
    let b = net.b.stack.tcp_connect(net.now, at_a, Some(at_b)).unwrap();
    net.run_for(Duration::from_secs(1));
    assert_eq!(
        (net.a.stack.tcp_state(a), net.b.stack.tcp_state(b)),
        (State::Established, State::Established)
    );
    let data = pattern(10_000);
    assert_eq!(net.transfer(a, b, &data), data);
}

#[test]
fn readers_who_do_not_read_leave_buffers_for_the_others() {
    let mut config = Config::default();
    config.memory_len_max = 1024 * 1024;
    let mut net = Net::with_config(Offloads::NONE, Offloads::NONE, config);
    let idle: Vec<_> = (0..40).map(|_| net.connect_v4()).collect();
    for (client, _) in &idle {
        // As much as the window and the budget take.
        let mut sent = 0;
        while sent < 400_000
            && let Poll::Ready(Ok(len)) = net.a.try_write(net.now, *client, &pattern(10_000))
        {
            sent += len;
            net.settle();
        }
    }
    let unread: usize = idle.iter().map(|(_, server)| net.b.stack.tcp_queued(*server)).sum();
    assert!(unread < 40 * 100_000, "{unread} bytes wait");
    assert!(net.b.stack.counters().dropped(Drop::ProtoMem) > 0);

    let (client, server) = net.connect_v4();
    let data = pattern(100_000);
    assert_eq!(net.transfer(client, server, &data), data, "somebody who reads is served");
}

/// Many writers with a lot to say: what some have written goes before the rest write, who are then told to go on.
#[test]
fn writers_wait_for_what_was_written_before_to_go() {
    const WRITERS: usize = 20;
    let chunk = pattern(64 * 1024);
    let mut net = Net::new(Offloads::ALL, Offloads::ALL);
    let pairs: Vec<_> = (0..WRITERS).map(|_| net.connect_v4()).collect();
    let mut written = [0; WRITERS];
    for turn in 0..5 {
        let mut in_turn = 0;
        for (pair, written) in pairs.iter().zip(&mut written) {
            // Who was turned away asks again when told, as a task does.
            let is_told = net.a.stack.tcp_ready(pair.0).contains(Ready::WRITABLE);
            if *written == 0
                && is_told
                && let Poll::Ready(len) = net.a.try_write(net.now, pair.0, &chunk)
            {
                *written += len.unwrap();
                in_turn += 1;
            }
        }
        assert_eq!(in_turn, 4, "turn {turn}: 256 KiB");
        net.settle();
        for pair in &pairs {
            net.b.read(net.now, pair.1);
        }
        net.step(Duration::from_millis(1));
    }
    assert_eq!(written, [chunk.len(); WRITERS]);
    pairs.into_iter().for_each(|(client, server)| net.close_both(client, server));
    net.assert_clean();
}

/// What holds of IPv4 holds of IPv6: a connection goes on where its address has gone, to its end.
#[test]
fn a_connection_outlives_its_address() {
    for (to, address) in [("10.0.0.2:80", "10.0.0.2"), ("[fd00::2]:80", "fd00::2")] {
        let mut net = Net::new(Offloads::ALL, Offloads::NONE);
        let (client, server) = net.connect(to);
        // The network stays.
        net.b.stack.add_address("10.0.0.3/24".parse().unwrap()).unwrap();
        net.b.stack.add_address("fd00::3/64".parse().unwrap()).unwrap();
        net.b.stack.remove_address(address.parse().unwrap()).unwrap();
        net.loss_per_mille = 20;
        let data = pattern(300_000);
        assert_eq!(net.transfer(client, server, &data), data, "{to}");
        net.loss_per_mille = 0;
        net.close_both(client, server);
        assert_eq!(net.b.stack.tcp_state(server), State::Closed, "{to}");
        // A stranger does not get in by it.
        net.b.stack.tcp_listen("[::]:81".parse().unwrap(), 1).unwrap();
        let stranger = to.replace(":80", ":81").parse().unwrap();
        let stranger = net.a.stack.tcp_connect(net.now, stranger, None).unwrap();
        net.run_for(Duration::from_secs(1));
        assert_eq!(net.a.stack.tcp_state(stranger), State::SynSent, "{to}");
    }
}

/// A connection that goes through a router takes another one as soon as the routes say so.
#[test]
fn a_route_that_changes_moves_connections() {
    let mut net = Net::new(Offloads::ALL, Offloads::ALL);
    let everywhere = "0.0.0.0/0".parse().unwrap();
    net.b.stack.add_address("10.9.0.2/24".parse().unwrap()).unwrap();
    net.b.stack.add_route(everywhere, "10.9.0.1".parse().unwrap()).unwrap();
    net.b.stack.add_route("10.0.0.0/24".parse().unwrap(), "10.9.0.1".parse().unwrap()).unwrap_err();
    net.a.stack.add_route(everywhere, "10.0.0.2".parse().unwrap()).unwrap();
    let (client, server) = net.connect("10.9.0.2:80");
    assert_eq!(net.transfer(client, server, &pattern(1000)), pattern(1000));
    net.a.stack.remove_route(everywhere).unwrap();
    net.a.stack.add_route(everywhere, "10.0.0.77".parse().unwrap()).unwrap();
    // Nobody is there, which shows that this is where the segment went.
    net.a.write(net.now, client, b"lost");
    net.settle();
    assert!(net.b.read(net.now, server).is_empty());
}

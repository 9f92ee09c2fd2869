//! SYN floods and cookies: RFC 4987. Rows F6, F7 and N5.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use hayase_stack::{Config, Count, Drop, ListenerId, State, TcpInfo};

use crate::codec::{self, Body, Heard, Ip, Payload, SYN};
use crate::dsl::{Script, Segment, ack, data, modern_syn, rst, syn, syn_ack};
use crate::host::{PEER_MAC, PEER_V4, STACK_MAC};

/// A listener that has room for no half-open connection: every SYN is answered by a cookie.
fn flooded() -> Script {
    Script::listening_with({
        let mut config = Config::default();
        config.syn_backlog_max = 0;
        config
    })
}

fn info(t: &Script) -> TcpInfo {
    t.host.stack.tcp_info(t.id()).unwrap()
}

fn count(t: &Script, count: Count) -> u64 {
    t.host.stack.counters().get(count)
}

/// SYNs from as many hosts beyond the router. All of them are answered.
fn flood(t: &mut Script, numbers: std::ops::Range<u32>) {
    let (client, expected) = (t.peer_addr, numbers.len());
    for n in numbers {
        t.peer_addr =
            SocketAddr::new(Ipv4Addr::from_bits(0xc612_0000 + n).into(), 1024 + (n % 60_000) as u16);
        let packet = t.packet(modern_syn().timestamps(n, 0).seq(0));
        t.host.inject(&codec::frame(STACK_MAC, PEER_MAC, &packet));
    }
    t.peer_addr = client;
    t.host.turn();
    let heard = t.host.drain();
    let is_answer = |heard: &Heard| matches!(&heard.body, Body::Ip(Ip { payload: Payload::Tcp(tcp), .. }) if tcp.flags & SYN != 0);
    assert_eq!(heard.iter().filter(|(_, heard)| is_answer(heard)).count(), expected);
}

#[test]
fn f6_clients_are_served_throughout_a_flood_of_100_000_syns() {
    let mut t = Script::listening();
    t.host.stack.add_route("0.0.0.0/0".parse().unwrap(), PEER_V4).unwrap();
    let mut t = t.established(modern_syn());
    for round in 0..2000u32 {
        flood(&mut t, round * 50..round * 50 + 50);
        let at = t.nxt;
        t.peer(data(at..at + 1000));
        assert_eq!(t.read(), 1000, "round {round}");
        t.write(1000);
        assert!(t.drain().iter().any(|got| got.len == 1000));
        t.peer(ack(t.seen));
        if round % 100 == 99 {
            // The next client comes while the queue is full.
            t.abort();
            t.drain();
            t.reborn(4001 + round as u16, round);
            t = t.established(modern_syn());
        }
        assert!(t.host.stack.tcp_count() <= Config::default().syn_backlog_max + 2, "memory is bounded");
        assert!(t.host.device.pool().in_use() <= 4, "and so are buffers");
        t.wait(Duration::from_micros(500));
        t.drain();
    }
    assert_eq!(count(&t, Count::SyncookiesRecv), 20);
    assert!(count(&t, Count::SyncookiesSent) > 98_000);
    assert_eq!((count(&t, Count::SyncookiesFailed), t.host.dropped(Drop::SynQueueOverflow)), (0, 0));
}

#[test]
fn f6_without_cookies_the_oldest_makes_room() {
    let mut t = Script::listening_with({
        let mut config = Config::default();
        (config.syn_cookies, config.syn_backlog_max) = (false, 10);
        config
    });
    for port in 5000..5100 {
        t.reborn(port, u32::from(port));
        t.peer(syn());
        t.expect(syn_ack());
        assert!(t.host.stack.tcp_count() <= 10);
    }
    assert_eq!(t.host.dropped(Drop::SynQueueOverflow), 90);
    t.peer(ack(1));
    t.accept();
    assert_eq!(count(&t, Count::SyncookiesSent), 0);
}

/// Listeners beside the first, on the ports behind it; all of them.
fn listen_on(t: &mut Script, count: u16) -> Vec<ListenerId> {
    let ip = t.stack_addr.ip();
    let mut listen = |port| t.host.stack.tcp_listen(SocketAddr::new(ip, port), 16).unwrap();
    let more: Vec<_> = (81..80 + count).map(&mut listen).collect();
    t.listener.into_iter().chain(more).collect()
}

/// A flood that visits every listener, `each` SYNs long at each of them.
fn flood_all(t: &mut Script, listeners: u16, each: u32, half_open_max: usize) {
    t.host.stack.add_route("0.0.0.0/0".parse().unwrap(), PEER_V4).unwrap();
    for n in 0..listeners {
        t.stack_addr.set_port(80 + n);
        flood(t, u32::from(n) * each..u32::from(n + 1) * each);
        let kept = usize::from(n + 1) * each as usize;
        assert_eq!(t.host.stack.tcp_count(), kept.min(half_open_max), "{n} listeners");
    }
}

#[test]
fn f6_all_listeners_together_keep_no_more_than_their_limit() {
    let Config { listeners_max, half_open_max, syn_backlog_max, .. } = Config::default();
    assert!(half_open_max < listeners_max * syn_backlog_max);
    let mut t = Script::listening();
    listen_on(&mut t, listeners_max as u16);
    flood_all(&mut t, listeners_max as u16, 17, half_open_max);
    let refused = (listeners_max * 17 - half_open_max) as u64;
    assert_eq!(count(&t, Count::SyncookiesSent), refused, "none for as long as there was room");
    assert_eq!(t.host.dropped(Drop::SynQueueOverflow), 0);
    // A client of a listener that keeps a few is served.
    t.stack_addr.set_port(80);
    t.reborn(4001, 1);
    let mut t = t.established(modern_syn());
    t.peer(data(1..1001));
    assert_eq!((t.read(), count(&t, Count::SyncookiesRecv)), (1000, 1));
    assert_eq!(t.host.stack.tcp_count(), half_open_max + 1);
}

#[test]
fn f6_what_is_over_counts_for_no_listener() {
    let mut t = Script::listening_with({
        let mut config = Config::default();
        config.half_open_max = 60;
        config
    });
    let listeners = listen_on(&mut t, 20);
    flood_all(&mut t, 20, 3, 60);
    // A listener that goes takes its own along, and one that finished its handshake is none.
    t.host.stack.close_listener(t.host.now, listeners[19]);
    t.host.turn();
    assert_eq!(t.host.stack.tcp_count(), 57);
    t.host.drain();
    t.stack_addr.set_port(80);
    for port in 4001..4003 {
        t.reborn(port, 1);
        t = t.established(modern_syn());
    }
    t.reborn(4003, 1);
    for (port, kept) in [(5000, 60), (5001, 61), (5002, 62), (5003, 62)] {
        t.reborn(port, 1);
        t.peer(modern_syn());
        t.expect(syn_ack());
        assert_eq!(t.host.stack.tcp_count(), kept);
    }
    assert_eq!(count(&t, Count::SyncookiesSent), 1);
    // Those that nobody finished die of age, and there is room again.
    t.host.wait(Duration::from_secs(200));
    t.host.drain();
    assert_eq!(t.host.stack.tcp_count(), 2);
    t.stack_addr.set_port(90);
    flood(&mut t, 0..60);
    assert_eq!((t.host.stack.tcp_count(), count(&t, Count::SyncookiesSent)), (62, 1));
}

#[test]
fn f6_without_cookies_one_of_any_listener_makes_room() {
    let mut t = Script::listening_with({
        let mut config = Config::default();
        (config.syn_cookies, config.half_open_max) = (false, 60);
        config
    });
    listen_on(&mut t, 200);
    flood_all(&mut t, 200, 3, 60);
    assert_eq!((t.host.dropped(Drop::SynQueueOverflow), count(&t, Count::SyncookiesSent)), (540, 0));
    // The first listener has none by now, and is served.
    t.stack_addr.set_port(80);
    t.reborn(4001, 1);
    let mut t = t.established(modern_syn());
    t.peer(data(1..1001));
    assert_eq!((t.read(), t.host.stack.tcp_count()), (1000, 60));
}

#[test]
fn f7_a_cookie_keeps_mss_window_scale_sack_and_timestamps() {
    let mut t = flooded().established(syn().mss(1400).sack_permitted().window_scale(7).timed());
    let TcpInfo { sack, timestamps, snd_wscale, snd_mss, .. } = info(&t);
    assert_eq!((sack, timestamps, snd_wscale, snd_mss), (true, true, 7, 1388));
    assert_ne!(info(&t).rcv_wscale, 0);
    assert_eq!(info(&t).rtt_us, 0, "a rounded stamp is no sample");
    // What each of them means on the wire.
    t.peer(ack(1).window(100));
    t.write(20_000);
    let flight = t.drain();
    // Less what silly-window avoidance keeps back.
    let sum = flight.iter().map(|got| got.len).sum::<u32>();
    assert_eq!(sum, (100 << 7) / 1388 * 1388);
    assert!(flight.iter().all(|got| got.options.timestamps.is_some()));
    t.peer(data(101..201).ack(1).window(100));
    t.expect(ack(1).sack(&[(101, 201)]));
    t.peer(data(1..101));
    assert_eq!(t.read(), 200);
}

#[test]
fn f7_every_window_scale_comes_back() {
    for shift in [None, Some(0), Some(1), Some(14), Some(15)] {
        let mut offer = syn().mss(1460).timed();
        if let Some(shift) = shift {
            offer = offer.window_scale(shift);
        }
        let t = flooded().established(offer);
        assert_eq!(info(&t).snd_wscale, shift.unwrap_or(0).min(14), "{shift:?}");
        assert_eq!(info(&t).rcv_wscale > 0, shift.is_some());
        assert!(!info(&t).sack);
    }
}

#[test]
fn f7_without_timestamps_a_cookie_keeps_the_mss_and_offers_nothing_else() {
    let cases = [(Some(1460), 1460), (Some(1459), 1440), (Some(300), 64), (None, 536)];
    for (mss, kept) in cases {
        let mut t = flooded();
        let offer = syn().sack_permitted().window_scale(7);
        t.peer(mss.map_or(offer.clone(), |mss| offer.mss(mss)));
        let answer = t.expect(syn_ack());
        assert_eq!((answer.options.window_scale, answer.options.sack_permitted), (None, false));
        t.peer(ack(1));
        t.accept();
        assert_eq!((info(&t).snd_mss, info(&t).sack, info(&t).rcv_wscale), (kept, false, 0));
    }
}

#[test]
fn f7_cookies_work_over_ipv6() {
    let mut config = Config::default();
    config.syn_backlog_max = 0;
    let host = crate::host::Host::with(config, 1500);
    let t = Script::listening_on(host, crate::host::STACK_V6, crate::host::PEER_V6);
    let mut t = t.established(syn().mss(1220).timed());
    t.peer(data(1..1001));
    assert_eq!((t.read(), info(&t).snd_mss), (1000, 1208));
}

#[test]
fn f7_data_may_bring_the_cookie_back_when_the_ack_was_lost() {
    let mut t = flooded();
    t.peer(modern_syn());
    t.expect(syn_ack());
    t.wait(Duration::from_secs(30));
    t.silence();
    t.peer(data(1..501).ack(1));
    t.accept();
    assert_eq!(t.read(), 500);
}

#[test]
fn f7_a_cookie_that_is_forged_or_old_opens_nothing() {
    let mut t = flooded();
    t.peer(modern_syn());
    t.expect(syn_ack());
    let forged: [fn(Segment) -> Segment; 3] = [|s| s.ack(2), |s| s.seq(2), |s| s.without_timestamps()];
    for (n, forge) in (1..).zip(forged) {
        t.peer(forge(ack(1)));
        let answers = t.drain();
        assert!(answers.len() == 1 && answers[0].is(codec::RST), "{n}: {answers:?}");
        assert_eq!((count(&t, Count::SyncookiesFailed), t.host.stack.tcp_count()), (n, 0));
    }
    t.wait(Duration::from_secs(135));
    t.peer(ack(1));
    assert!(t.drain()[0].is(codec::RST));
    assert_eq!(count(&t, Count::SyncookiesFailed), 3, "nobody looks any more");
    assert_eq!((count(&t, Count::SyncookiesRecv), t.host.stack.tcp_count()), (0, 0));
}

#[test]
fn n5_the_accept_queue_stays_bounded() {
    let mut t = flooded();
    let ports = 5000..5020;
    let answered = |port| {
        t.reborn(port, 1);
        t.peer(syn().mss(1460));
        t.expect(syn_ack()).wire_seq
    };
    let isns: Vec<u32> = ports.clone().map(answered).collect();
    for (port, isn) in ports.zip(&isns) {
        t.reborn(port, 1);
        t.resume(*isn);
        t.peer(ack(1).seq(1));
        t.silence();
    }
    assert_eq!((t.host.stack.tcp_count(), t.host.dropped(Drop::ListenOverflow)), (16, 4));
    while t.has_connection() {}
    // One that found no room comes again with its data.
    t.resume(isns[19]);
    t.peer(data(1..11).ack(1));
    t.accept();
    assert_eq!((t.read(), t.state()), (10, State::Established));
}

#[test]
fn n5_a_cookie_connection_that_is_reset_at_once_leaves_nothing() {
    let mut t = flooded().established(modern_syn());
    t.peer(rst(1));
    assert_eq!(t.state(), State::Closed);
    t.close();
    assert_eq!(t.host.stack.tcp_count(), 0);
    t.host.assert_frames_home();
}

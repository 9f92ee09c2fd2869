//! Buffers that grow with what goes through them. Row N6.

use std::task::Poll;

use hayase_stack::{Config, Ready, TcpInfo};

use crate::dsl::{Script, ack, data, modern_syn, syn, syn_ack};
use crate::host::ms;

const KIB: u32 = 1024;

fn info(t: &Script) -> TcpInfo {
    t.host.stack.tcp_info(t.id()).unwrap()
}

fn small(max: usize) -> Config {
    let mut config = Config::default();
    (config.receive_buffer_len, config.receive_buffer_len_max) = (64 << 10, max);
    (config.send_buffer_len, config.send_buffer_len_max) = (64 << 10, max);
    config
}

/// A connection with a round trip of 100 ms.
fn far(config: Config) -> Script {
    let mut t = Script::listening_with(config);
    t.peer(modern_syn());
    t.expect(syn_ack());
    t.wait(ms(100));
    t.peer(ack(1));
    t.accept();
    t
}

/// The peer sends so much, and the application reads it, each 100 ms.
fn rounds(t: &mut Script, lens: &[u32]) {
    for len in lens {
        let end = t.nxt + len;
        while t.nxt < end {
            let at = t.nxt;
            t.peer(data(at..(at + 1448).min(end)));
            t.read();
        }
        t.wait(ms(101));
        t.drain();
    }
}

#[test]
fn n6_the_window_grows_with_what_the_application_takes_in_a_round_trip() {
    let mut t = far(small(4 << 20));
    rounds(&mut t, &[10_000, 20_000, 20_000]);
    assert!(info(&t).rcv_wnd <= 64 * KIB, "no more than the buffer: nothing grows");
    rounds(&mut t, &[60_000, 60_000, 60_000]);
    let wide = info(&t).rcv_wnd;
    assert!((110 * KIB..=240 * KIB).contains(&wide), "{wide}");
    rounds(&mut t, &[100_000, 100_000]);
    assert!(info(&t).rcv_wnd > wide);
    rounds(&mut t, &[1000, 1000, 1000]);
    assert!(info(&t).rcv_wnd > wide, "and keeps what it has");
}

#[test]
fn n6_the_window_does_not_grow_while_nobody_reads_or_beyond_its_limit() {
    let mut t = far(small(100 << 10));
    for at in (1..60_000).step_by(1000) {
        t.peer(data(at..at + 1000));
        t.wait(ms(10));
    }
    t.drain();
    assert!(info(&t).rcv_wnd < 6000, "nothing was read");
    t.read();
    rounds(&mut t, &[60_000, 60_000, 60_000, 60_000]);
    assert!(info(&t).rcv_wnd <= 100 * KIB);
}

#[test]
fn n6_without_window_scaling_nothing_grows() {
    let mut t = Script::listening_with(small(4 << 20)).established(syn().mss(1460));
    rounds(&mut t, &[60_000, 60_000, 60_000]);
    assert!(info(&t).rcv_wnd <= 65_535);
}

#[test]
fn n6_while_tcp_holds_much_nothing_grows() {
    let mut config = small(4 << 20);
    config.memory_len_max = 200 << 10;
    let mut t = far(config);
    rounds(&mut t, &[60_000, 60_000, 60_000]);
    assert!(info(&t).rcv_wnd <= 64 * KIB);
}

#[test]
fn n6_the_send_buffer_holds_two_congestion_windows() {
    let mut t = far(small(256 << 10));
    assert!(t.try_write(1 << 20).is_ready());
    let mut most = 0;
    for _ in 0..12 {
        t.wait(ms(100));
        t.drain();
        t.peer(ack(t.seen));
        while t.try_write(64 * KIB).is_ready() {}
        let TcpInfo { snd_cwnd, unacked, notsent_bytes, .. } = info(&t);
        let held = unacked + notsent_bytes;
        assert!(
            held <= (2 * snd_cwnd).clamp(64 * KIB, 256 * KIB),
            "{held} bytes with a window of {snd_cwnd}"
        );
        most = most.max(held);
    }
    assert!(most > 200 * KIB, "{most}");
}

/// What has to be acknowledged of a full buffer of 64 KiB before a writer is woken that waits for room in it. The peer has a
/// window of so many times 128 bytes.
fn freed_before_woken(window: u16) -> u32 {
    let mut t = far(small(64 << 10));
    for _ in 0..6 {
        let _: Poll<_> = t.try_write(64 * KIB);
        t.wait(ms(100));
        t.drain();
        t.peer(ack(t.seen).window(window));
    }
    while t.try_write(64 * KIB).is_ready() {}
    t.wait(ms(99));
    t.drain();
    let (acked, mut freed) = (t.seen - info(&t).unacked, 0);
    while !t.host.stack.tcp_ready(t.id()).contains(Ready::WRITABLE) {
        freed += 1448;
        t.peer(ack(acked + freed).window(window));
        t.drain();
    }
    freed
}

#[test]
fn n6_a_writer_is_woken_at_a_third_and_sooner_where_all_is_under_way() {
    let freed = freed_before_woken(256);
    assert!((64 * KIB / 3..64 * KIB / 2).contains(&freed), "{freed}, with as much that cannot go");
    let freed = freed_before_woken(u16::MAX);
    assert!((64 * KIB / 16..64 * KIB / 12).contains(&freed), "{freed}, with a path that waits for more");
}

//! Blind attacks and ICMP errors: RFC 5961, 5927, 1191, 8201, 1122 §4.2.3.9.

use std::net::IpAddr;
use std::task::Poll;
use std::time::Duration;

use hayase_stack::{Config, Error, State};

use crate::codec::{self, ICMP, ICMPV6, PSH, SYN};
use crate::dsl::{Script, ack, data, modern_syn, rst, syn, syn_ack};
use crate::host::{Host, PEER_V4, PEER_V6, STACK_V4, STACK_V6, ms};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

// RFC 5961

#[test]
fn f1_only_the_exact_reset_closes_rfc_5961_3_2() {
    let mut t = Script::server();
    t.peer(data(1..11));
    t.read();
    t.wait(ms(100));
    t.drain();
    for outside in [0, 10, 70_000, 1 << 30, 1 << 31] {
        t.peer(rst(outside));
        t.silence();
    }
    for inside in [12, 1000, 60_000] {
        t.peer(rst(inside));
        t.expect(ack(11).seq(1));
        t.wait(secs(1));
    }
    assert_eq!(t.state(), State::Established);
    t.peer(rst(11));
    t.expect_error(Error::ConnectionReset);
}

/// Its data would reach into the window, and RCV.NXT: the place of the reset itself counts.
#[test]
fn f1_data_does_not_make_a_reset_exact_rfc_5961_3_2() {
    let mut t = Script::server();
    t.peer(data(1..11));
    t.read();
    t.wait(ms(100));
    t.drain();
    for (seq, len) in [(5, 100), (10, 1), (10, 1400), (0, 1460)] {
        t.peer(rst(seq).carrying(len));
        t.peer(rst(seq).carrying(len).and(SYN));
        t.silence();
    }
    t.peer(rst(12).carrying(100));
    t.expect(ack(11).seq(1));
    assert_eq!(t.state(), State::Established);
    t.peer(rst(11).carrying(100));
    t.expect_error(Error::ConnectionReset);
}

#[test]
fn f2_a_syn_draws_a_challenge_ack_wherever_it_is_rfc_5961_4_2() {
    let mut t = Script::server();
    t.peer(data(1..11));
    t.read();
    t.wait(ms(100));
    t.drain();
    for seq in [0, 11, 12, 1000, 1 << 30] {
        for segment in [syn().seq(seq), syn_ack().seq(seq), syn().seq(seq).carrying(5)] {
            t.peer(segment);
            t.expect(ack(11).seq(1));
            t.wait(secs(1));
        }
    }
    t.peer(data(11..21));
    assert_eq!((t.state(), t.read()), (State::Established, 10));
}

#[test]
fn f2_a_peer_that_rebooted_is_freed_by_its_own_reset() {
    let mut t = Script::server();
    t.peer(syn().seq(1 << 20));
    t.expect(ack(1));
    t.peer(rst(1));
    assert_eq!(t.state(), State::Closed);
    t.close();
    t.reborn(4000, 1234);
    t.established(syn());
}

#[test]
fn f3_data_with_an_impossible_ack_is_not_taken_rfc_5961_5_2() {
    let mut t = Script::server();
    t.write(100);
    t.drain();
    for bad in [200, 1 << 20, 1 << 31, u32::MAX - 70_000] {
        t.wait(secs(1));
        t.drain();
        t.peer(data(1..11).ack(bad));
        let answers = t.drain();
        assert!(answers.iter().all(|got| got.ack == 1), "{bad}: {answers:?}");
    }
    assert_eq!(t.read(), 0);
    t.peer(data(1..11).ack(0));
    assert_eq!(t.read(), 10, "one that may be late is taken");
}

/// As far back as the peer's window ever reached there is nothing that we sent, on a young connection (ghost ACKs).
#[test]
fn f3_data_with_an_ack_of_what_was_never_sent_is_not_taken() {
    for mut t in [Script::server(), Script::client()] {
        for (sent, is_moved) in [(0, false), (100, false), (100, true)] {
            t.write(sent);
            t.drain();
            t.peer(ack(t.seen));
            if is_moved {
                t.migrate();
            }
            for ghost in [u32::MAX, u32::MAX - 1000, u32::MAX - 60_000] {
                t.wait(secs(1));
                t.peer(data(1..11).seq(t.nxt).ack(ghost));
                // A challenge ACK, and no data.
                t.expect(ack(t.nxt - 10));
                t.nxt -= 10;
                t.silence();
            }
            assert_eq!(t.read(), 0);
        }
        let at = t.nxt;
        t.peer(data(at..at + 10).ack(1));
        assert_eq!(t.read(), 10, "one that is late is taken");
    }
}

/// A timestamp far ahead would have PAWS drop all that the peer says from then on.
#[test]
fn f3_the_timestamp_of_what_has_an_impossible_ack_is_not_taken_rfc_5961_5_2() {
    let mut t = Script::modern_server();
    let far = t.ts_now().wrapping_add(1 << 30);
    t.peer(data(1..11).ack(1 << 20).timestamps(far, 0));
    t.peer(data(1..11).flags(PSH).timestamps(far, 0));
    t.drain();
    assert_eq!(t.read(), 0);
    t.peer(data(1..11));
    assert_eq!(t.read(), 10);
}

#[test]
fn f4_challenge_acks_are_throttled_rfc_5961_7() {
    let mut t = Script::server();
    for i in 0..400 {
        t.peer(rst(2 + i));
    }
    let count = t.drain().len();
    assert!((1..=10).contains(&count), "{count} challenge ACKs");
}

// ICMP errors

/// An ICMP error that quotes a segment of the stack at `seq`.
pub(crate) fn icmp_error(t: &mut Script, kind: u8, code: u8, word: u32, isn: u32, seq: u32) {
    let (stack, peer) = (t.stack_addr, t.peer_addr);
    let quoted = codec::Tcp {
        src_port: stack.port(),
        dst_port: peer.port(),
        seq: isn.wrapping_add(seq),
        flags: codec::ACK,
        payload: vec![0; 1400],
        ..codec::Tcp::default()
    };
    let bytes = quoted.encode(stack.ip(), peer.ip());
    let quote = codec::IpOut::new(stack.ip(), peer.ip(), codec::TCP).packet(&bytes);
    let protocol = if stack.is_ipv4() { ICMP } else { ICMPV6 };
    let router: IpAddr = if stack.is_ipv4() { [10, 0, 0, 254].into() } else { PEER_V6 };
    let message = codec::icmp(router, stack.ip(), kind, code, word, &quote[..quote.len().min(80)]);
    t.host.ip(router, stack.ip(), protocol, &message);
}

/// A connection with 14,600 bytes in flight, and the stack's ISN.
fn in_flight() -> (Script, u32) {
    let mut t = Script::listening();
    t.peer(syn().mss(1460));
    let isn = t.expect(syn_ack()).wire_seq;
    t.peer(ack(1));
    t.accept();
    t.write(14_600);
    t.drain();
    (t, isn)
}

#[test]
fn must_55_source_quench_is_ignored() {
    let (mut t, isn) = in_flight();
    icmp_error(&mut t, 4, 0, 0, isn, 1);
    t.silence();
    t.peer(ack(14_601));
    t.write(14_600);
    assert!(t.drain().len() >= 10);
}

#[test]
fn must_56_no_icmp_error_aborts_an_established_connection() {
    let (mut t, isn) = in_flight();
    let codes = (0..=15).map(|code| (3, code)).chain([(11, 0), (11, 1), (12, 0), (12, 1), (12, 2)]);
    for (kind, code) in codes.filter(|error| *error != (3, 4)) {
        icmp_error(&mut t, kind, code, 0, isn, 1);
        assert_eq!(t.state(), State::Established, "type {kind} code {code}");
    }
    t.peer(data(1..11).ack(14_601));
    assert_eq!(t.read(), 10);
}

#[test]
fn must_47_a_soft_error_is_reported_to_the_application() {
    let (mut t, isn) = in_flight();
    icmp_error(&mut t, 3, 1, 0, isn, 1);
    let id = t.id();
    assert_eq!(t.host.stack.tcp_take_error(id), Some(Error::HostUnreachable));
    assert_eq!(t.host.stack.tcp_take_error(id), None);
}

/// As by Linux: what was overcome is neither reported hours later, nor what a peer is said to have died of.
#[test]
fn must_47_a_soft_error_is_forgotten_once_something_is_acknowledged() {
    let (mut t, isn) = in_flight();
    icmp_error(&mut t, 3, 1, 0, isn, 1);
    t.peer(ack(1461));
    let id = t.id();
    assert_eq!(t.host.stack.tcp_take_error(id), None);
}

#[test]
fn must_54_a_hard_error_ends_an_attempt_to_connect() {
    for code in [2, 3] {
        let mut t = Script::connecting();
        let isn = t.expect(syn()).wire_seq;
        icmp_error(&mut t, 3, code, 0, isn, 0);
        assert_eq!(t.poll_connect(), Poll::Ready(Err(Error::ConnectionRefused)));
    }
}

#[test]
fn must_56_a_soft_error_does_not_end_an_attempt_to_connect() {
    let mut t = Script::connecting();
    let isn = t.expect(syn()).wire_seq;
    icmp_error(&mut t, 3, 1, 0, isn, 0);
    assert_eq!(t.poll_connect(), Poll::Pending);
    t.peer(syn_ack());
    t.expect(ack(1));
    assert_eq!(t.poll_connect(), Poll::Ready(Ok(())));
}

#[test]
fn f9_a_forged_quote_changes_nothing_rfc_5927_4_1() {
    let mut t = Script::connecting();
    let isn = t.expect(syn()).wire_seq;
    for guess in [1, 2, 1 << 20, u32::MAX] {
        icmp_error(&mut t, 3, 3, 0, isn, guess);
        assert_eq!(t.poll_connect(), Poll::Pending, "{guess}");
    }
    let (mut t, isn) = in_flight();
    for guess in [0, 14_601, 1 << 30, u32::MAX] {
        icmp_error(&mut t, 3, 4, 600, isn, guess);
    }
    t.silence();
}

/// RFC 1191 §3
#[test]
fn i11_fragmentation_needed_lowers_the_segment_size_and_sends_again() {
    let (mut t, isn) = in_flight();
    icmp_error(&mut t, 3, 4, 1000, isn, 1);
    let again = t.drain();
    assert!(!again.is_empty() && again[0].seq == 1, "{again:?}");
    assert!(again.iter().all(|got| got.len <= 960));
    let mut end = 1;
    while end < 14_601 {
        end = again.iter().chain(&t.drain()).map(|got| got.range().end).max().unwrap().max(end);
        t.peer(ack(end));
    }
}

#[test]
fn i11_absurd_sizes_are_ignored_or_bounded() {
    for (mtu, least) in
        [(0, 500), (1, 1460), (67, 1460), (1500, 1460), (9000, 1460), (65_535, 1460), (300, 500)]
    {
        let (mut t, isn) = in_flight();
        icmp_error(&mut t, 3, 4, mtu, isn, 1);
        t.drain();
        for _ in 0..10 {
            t.peer(ack(t.seen));
            t.drain();
        }
        t.write(14_600);
        let largest = t.drain().iter().map(|got| got.len).max().unwrap();
        assert!(largest >= least, "MTU {mtu}: {largest}");
    }
}

/// The segments of the peer's next `count` looks, in which it acknowledges what it saw.
fn acknowledge(t: &mut Script, count: usize) {
    for _ in 0..count {
        t.peer(ack(t.seen));
        t.drain();
    }
}

/// RFC 4821 §7.7
#[test]
fn n3_a_path_that_swallows_long_segments_gets_shorter_ones() {
    for (stack, peer, base) in [(STACK_V4, PEER_V4, 1024), (STACK_V6, PEER_V6, 1220)] {
        let mut t = Script::listening_on(Host::new(), stack, peer);
        t.peer(syn().mss(1440));
        t.expect(syn_ack());
        t.peer(ack(1));
        t.accept();
        t.write(4000);
        assert!(t.drain().iter().any(|got| got.len == 1440));
        let mut timeouts = 0;
        loop {
            t.host.wait(ms(250));
            let Some(again) = t.drain().pop() else { continue };
            timeouts += 1;
            if again.len < 1440 {
                assert_eq!((again.seq, again.len), (1, base));
                break;
            }
            assert!(timeouts < 4, "still {again:?}");
        }
        t.peer(ack(1 + base));
        acknowledge(&mut t, 10);
        t.write(4000);
        assert!(t.drain().iter().all(|got| got.len <= base), "it stays so");
        acknowledge(&mut t, 10);
    }
}

/// RFC 8201 §4
#[test]
fn l6_packet_too_big_lowers_the_segment_size_and_never_below_1280() {
    for (mtu, wanted) in [(1300, 1240), (1280, 1220), (600, 1440), (0, 1440), (1500, 1440)] {
        let mut t = Script::listening_on(Host::new(), STACK_V6, PEER_V6);
        t.peer(syn().mss(1440));
        let isn = t.expect(syn_ack()).wire_seq;
        t.peer(ack(1));
        t.accept();
        t.write(14_400);
        t.drain();
        icmp_error(&mut t, 2, 0, mtu, isn, 1);
        t.drain();
        for _ in 0..10 {
            t.peer(ack(t.seen));
            t.drain();
        }
        t.write(14_400);
        let largest = t.drain().iter().map(|got| got.len).max().unwrap();
        assert_eq!(largest, wanted, "MTU {mtu}");
    }
}

#[test]
fn an_error_about_nobodys_segment_is_dropped() {
    let mut t = Script::server();
    t.peer_addr.set_port(9);
    icmp_error(&mut t, 3, 3, 0, 77, 0);
    icmp_error(&mut t, 3, 4, 600, 77, 0);
    t.silence();
}

// Everything at once

#[test]
fn every_flag_combination_at_every_place_leaves_the_connection_usable() {
    let mut t = Script::listening().established(modern_syn());
    for flags in 0..=255u8 {
        for seq in [0, 2, 1 << 16, 1 << 31] {
            // A reset may be right by accident only where the stream is.
            if flags & codec::RST == 0 || seq > 1000 {
                t.peer(ack(1).seq(seq).flags(flags & !SYN).carrying(u32::from(flags) % 3));
                t.peer(ack(1 << 25).seq(seq).flags(flags));
            }
        }
    }
    t.wait(secs(1));
    t.drain();
    assert!(matches!(t.state(), State::Established | State::CloseWait));
    t.write(10);
    assert_eq!(t.drain().iter().map(|got| got.len).sum::<u32>(), 10, "it still sends");
}

/// Keep-alives, and the probes of a shut window that Linux sends, are no attack: whoever spends what challenges there are
/// takes none of their answers away.
#[test]
fn f4_keep_alives_are_answered_when_the_challenges_are_spent() {
    let mut config = Config::default();
    config.challenge_acks_per_second = 0;
    let mut t = Script::listening_with(config).established(modern_syn());
    t.peer(syn().seq(1));
    t.silence();
    for _ in 0..3 {
        t.peer(ack(1).seq(0));
        t.expect(ack(1));
        t.wait(ms(600));
    }
}

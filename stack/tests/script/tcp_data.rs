//! Receiving data: acceptability, order, acknowledgements, the receive window (RFC 9293 §3.10.7.4, §3.8.6).

use std::task::Poll;
use std::time::Duration;

use hayase_stack::{Config, Error, Ready, State};

use crate::codec::{ACK, FIN, PSH, URG};
use crate::dsl::{Script, ack, data, fin, modern_syn, rst, syn};
use crate::host::ms;

fn small_buffer(len: usize) -> Config {
    let mut config = Config::default();
    (config.receive_buffer_len, config.receive_buffer_len_max) = (len, len);
    config
}

/// A connection whose receive window is `len` bytes, and full.
fn shut(len: u32) -> Script {
    let mut t = Script::listening_with(small_buffer(len as usize)).established(syn().mss(1000));
    let mut at = 1;
    while at <= len {
        let end = (at + 1000).min(len + 1);
        t.peer(data(at..end));
        at = end;
    }
    let last = t.drain().pop().expect("an acknowledgement");
    assert_eq!((last.ack, last.window), (len + 1, 0));
    t
}

// Acceptability

#[test]
fn what_lies_outside_the_window_draws_an_ack_and_is_not_delivered() {
    let mut t = Script::listening_with(small_buffer(10_000)).established(syn());
    t.peer(data(1..1001));
    t.wait_for(ms(500), ack(1001));
    for outside in [data(1..1001), data(1..2), data(500..1001), data(20_000..20_100), data(11_001..11_002)] {
        t.peer(outside);
        t.expect(ack(1001));
    }
    assert_eq!(t.read(), 1000);
    t.peer(data(1 << 31..(1 << 31) + 5));
    t.drain();
    assert_eq!(t.read(), 0);
}

#[test]
fn what_straddles_an_edge_of_the_window_is_trimmed_to_it() {
    let mut t = Script::listening_with(small_buffer(3000)).established(syn().mss(1460));
    t.peer(data(1..1001));
    t.peer(data(501..1501));
    t.expect(ack(1501));
    t.peer(data(1501..2501));
    t.peer(data(2501..3501));
    let got = t.drain().pop().unwrap();
    assert_eq!((got.ack, got.window), (3001, 0), "the first 500 of the last segment fit");
    assert_eq!(t.read(), 3000);
}

#[test]
fn overlapping_and_disordered_segments_deliver_each_byte_once() {
    let mut t = Script::server();
    let pieces = [
        (401, 700),
        (1, 50),
        (651, 1200),
        (20, 410),
        (2000, 2500),
        (900, 2100),
        (1, 1401),
        (1300, 2501),
        (2400, 2501),
    ];
    for (from, to) in pieces {
        t.peer(data(from..to));
    }
    assert_eq!(t.read(), 2500);
    assert_eq!(t.drain().pop().unwrap().ack, 2501);
}

#[test]
fn segments_in_random_order_arrive_in_order() {
    let mut t = Script::modern_server();
    let mut order: Vec<u32> = (0..64).collect();
    let mut rng = 12345u64;
    for i in (1..order.len()).rev() {
        rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        order.swap(i, (rng >> 33) as usize % (i + 1));
    }
    for i in order {
        t.peer(data(1 + i * 700..701 + i * 700));
    }
    assert_eq!(t.read(), 64 * 700);
    t.host.wait(ms(100));
    assert_eq!(t.drain().pop().unwrap().ack, 64 * 700 + 1);
    t.host.assert_frames_home();
}

/// SHLD-31
#[test]
fn shld_31_out_of_order_data_is_kept_so_that_one_segment_completes_ten() {
    let mut t = Script::server();
    t.peer_all((1..10).map(|i| data(1 + i * 100..101 + i * 100)));
    assert!(t.drain().iter().all(|got| got.ack == 1));
    t.peer(data(1..101));
    t.expect(ack(1001));
    assert_eq!(t.read(), 1000);
}

/// RFC 5681 §4.2
#[test]
fn without_sack_every_segment_out_of_order_draws_its_own_duplicate() {
    let mut t = Script::server();
    t.peer_all((1..4).map(|i| data(1 + i * 100..101 + i * 100)));
    assert_eq!(t.drain().iter().map(|got| got.ack).collect::<Vec<_>>(), [1, 1, 1]);
    t.peer(data(1..101));
    t.expect(ack(401));
    t.silence_for(ms(200));
}

#[test]
fn with_sack_one_ack_says_what_a_burst_lacks() {
    let mut t = Script::sack_server();
    t.peer_all((1..4).map(|i| data(1 + i * 100..101 + i * 100)));
    assert_eq!(t.drain().len(), 1);
}

#[test]
fn must_60_data_without_push_is_not_held_back() {
    let mut t = Script::server();
    t.peer(data(1..11).flags(ACK));
    assert_eq!(t.read(), 10);
}

#[test]
fn a_segment_without_ack_is_dropped() {
    let mut t = Script::server();
    t.peer(data(1..101).flags(0));
    t.peer(data(1..101).flags(PSH));
    t.silence_for(ms(200));
    assert_eq!(t.read(), 0);
}

/// RFC 5681 §4.2
#[test]
fn b11_a_gap_is_acknowledged_at_once_and_so_is_what_fills_it() {
    let mut t = Script::server();
    t.peer(data(101..201));
    t.expect(ack(1));
    t.peer(data(301..401));
    t.expect(ack(1));
    t.peer(data(1..101));
    t.expect(ack(201));
    t.peer(data(201..301));
    t.expect(ack(401));
}

#[test]
fn b11_a_fin_behind_a_gap_is_acknowledged_at_once() {
    let mut t = Script::server();
    t.peer(fin(101));
    t.expect(ack(1));
}

// Acknowledgements

#[test]
fn must_40_an_ack_waits_less_than_half_a_second() {
    let mut t = Script::server();
    t.peer(data(1..21));
    t.silence();
    let delay = t.wait_for(ms(500), ack(21));
    assert!(delay > ms(1), "SHLD-18: it does wait");
}

#[test]
fn shld_19_every_second_full_segment_is_acknowledged_at_once() {
    let mut t = Script::server();
    for i in 0..20 {
        t.peer(data(1 + i * 1460..1 + (i + 1) * 1460));
        if i % 2 == 0 {
            t.silence();
        } else {
            t.expect(ack(1 + (i + 1) * 1460));
        }
    }
}

#[test]
fn must_58_a_burst_is_acknowledged_by_less_than_one_ack_a_segment() {
    let mut t = Script::modern_server();
    t.peer_all((0..40).map(|i| data(1 + i * 1448..1 + (i + 1) * 1448)));
    let acks = t.drain();
    assert!((1..=20).contains(&acks.len()), "{} ACKs", acks.len());
    assert_eq!(acks.last().unwrap().ack, 40 * 1448 + 1);
}

#[test]
fn an_ack_rides_on_data_that_goes_the_other_way() {
    let mut t = Script::server();
    t.peer(data(1..21));
    t.write(5);
    t.expect(data(1..6).ack(21));
    t.silence_for(ms(100));
}

/// F5
#[test]
fn f5_bare_acks_that_do_not_fit_are_not_answered_one_by_one() {
    let mut t = Script::server();
    for _ in 0..200 {
        t.peer(ack(1).seq(1 << 30));
    }
    assert!(t.drain().len() <= 2);
    for _ in 0..200 {
        t.peer(ack(5000));
    }
    assert!(t.drain().len() <= 2);
    t.peer(data(1..11));
    assert_eq!(t.read(), 10);
}

// The receive window

#[test]
fn must_1_the_window_is_as_large_as_the_buffer_and_all_of_it_is_taken() {
    let mut t = Script::listening_with(small_buffer(60_000)).established(syn().mss(1000));
    for at in (1..60_001).step_by(1000) {
        t.peer(data(at..at + 1000));
    }
    let last = t.drain().pop().unwrap();
    assert_eq!((last.ack, last.window), (60_001, 0));
    assert_eq!(t.read(), 60_000);
}

/// SHLD-14 itself is watched by the oracle in every script.
#[test]
fn must_39_a_window_opens_by_a_full_segment_or_not_at_all() {
    let mut t = shut(10_000);
    for _ in 0..9 {
        assert_eq!(t.read_some(100), Poll::Ready(Ok(100)));
        t.silence();
    }
    assert_eq!(t.read_some(600), Poll::Ready(Ok(600)));
    let got = t.expect(ack(10_001));
    assert!(got.window >= 1000, "{got:?}");
}

#[test]
fn a_shut_window_opens_at_once_when_the_application_reads() {
    let mut t = shut(10_000);
    assert_eq!(t.read(), 10_000);
    let windows: Vec<u16> = t.drain().iter().map(|got| got.window).collect();
    assert_eq!(windows.last(), Some(&10_000), "{windows:?}");
}

#[test]
fn a_probe_of_a_shut_window_is_answered_and_its_byte_left_to_the_peer() {
    let mut t = shut(4000);
    for _ in 0..5 {
        t.peer(data(4001..4002));
        t.expect(ack(4001).window(0));
    }
    assert_eq!(t.read(), 4000);
    t.drain();
    t.peer(data(4001..4002));
    assert_eq!(t.read(), 1);
}

#[test]
fn must_66_a_reset_is_processed_at_zero_window() {
    let mut t = shut(4000);
    t.peer(rst(4001));
    assert_eq!(t.read_some(9999), Poll::Ready(Ok(4000)), "what came before it can still be read");
    t.expect_error(Error::ConnectionReset);
}

#[test]
fn must_66_an_ack_is_processed_at_zero_window() {
    let mut t = shut(4000);
    t.write(100);
    t.expect(data(1..101));
    assert_eq!(t.host.stack.tcp_flushed(t.id()), Ok(false));
    t.peer(data(4001..4011).ack(101));
    assert_eq!(t.host.stack.tcp_flushed(t.id()), Ok(true));
}

#[test]
fn a_fin_beyond_a_full_window_comes_again_and_then_counts() {
    let mut t = shut(4000);
    t.peer(fin(4001));
    t.expect(ack(4001).window(0));
    assert_eq!(t.state(), State::Established);
    assert_eq!(t.read(), 4000);
    t.drain();
    t.peer(fin(4001));
    t.expect(ack(4002));
    t.expect_end();
}

#[test]
fn a_sender_of_one_byte_segments_fills_no_more_than_the_window() {
    let mut t = Script::listening_with(small_buffer(3000)).established(modern_syn());
    for at in 1..4000 {
        t.peer(data(at..at + 1));
    }
    assert!(t.host.received_in_use() < 500, "and is not given a buffer a byte");
    assert_eq!(t.read(), 3000);
}

/// The smallest MSS is no licence to a buffer for each of so small segments.
#[test]
fn a_peer_with_a_tiny_mss_is_given_no_more_buffers_than_others() {
    let mut t = Script::listening().established(modern_syn().mss(64));
    for at in (1..200_000).step_by(52 * 32) {
        t.peer_all((0..32).map(|n| data(at + 52 * n..at + 52 * (n + 1))));
    }
    assert!(t.host.received_in_use() < 400, "{} buffers in order", t.host.received_in_use());
    assert!(t.read() > 199_000);
    let start = t.nxt;
    for n in 1..4000 {
        t.peer(data(start + 2 * n..start + 2 * n + 1));
        t.drain();
    }
    let held = t.host.received_in_use();
    assert!((500..1100).contains(&held), "{held} buffers out of order");
}

// Urgent data (RFC 6093: in line)

#[test]
fn must_31_urgent_data_of_any_length_stays_in_the_stream() {
    let mut t = Script::server();
    for (i, pointer) in [0, 1, 50, 100, 101, 65_535].into_iter().enumerate() {
        let at = 1 + i as u32 * 100;
        t.peer(data(at..at + 100).urgent(pointer));
        assert_eq!(t.read(), 100, "pointer {pointer}");
    }
    t.peer(data(601..601).urgent(9).flags(URG | ACK));
    t.peer(data(601..651));
    assert_eq!(t.read(), 50);
}

/// The news of a socket since the last look.
fn news(t: &mut Script) -> Ready {
    let mut news = Ready::EMPTY;
    t.host.stack.drain_ready(|_, ready| news |= ready);
    news
}

#[test]
fn must_32_the_application_is_told_when_the_urgent_pointer_moves() {
    let mut t = Script::server();
    news(&mut t);
    t.peer(data(1..101));
    assert!(!news(&mut t).contains(Ready::PRIORITY), "nothing is urgent");
    t.peer(data(101..201).urgent(50));
    assert!(news(&mut t).contains(Ready::PRIORITY), "something is");
    t.peer(data(201..301));
    assert!(!news(&mut t).contains(Ready::PRIORITY), "it did not move");
    t.peer(data(301..401).urgent(0));
    assert!(news(&mut t).contains(Ready::PRIORITY), "it moved");
    t.read();
    t.peer(data(401..501).urgent(0));
    assert!(!news(&mut t).contains(Ready::PRIORITY), "what it marks was read");
}

#[test]
fn must_33_how_much_is_urgent_can_be_asked() {
    let mut t = Script::server();
    let urgent = |t: &Script| t.host.stack.tcp_urgent_len(t.id()).unwrap();
    assert_eq!(urgent(&t), 0);
    t.peer(data(1..101).urgent(250));
    assert_eq!(urgent(&t), 250, "more than has arrived");
    t.read();
    assert_eq!(urgent(&t), 150);
    t.peer(data(101..301));
    t.read();
    assert_eq!(urgent(&t), 0);
}

// FIN

/// Behind a hole, on a segment that is here already: Linux puts it there where it has no memory for one of its own.
#[test]
fn a_fin_on_what_was_sent_before_counts_once_the_hole_is_filled() {
    let mut t = Script::server();
    t.peer(data(1001..2001));
    t.peer(data(1001..2001).and_fin());
    t.drain();
    t.peer(data(1..1001));
    assert_eq!(t.drain().last().map(|got| got.ack), Some(2002));
    assert_eq!((t.read(), t.state()), (2000, State::CloseWait));
}

#[test]
fn a_fin_counts_only_in_its_place() {
    let mut t = Script::server();
    t.peer(data(101..201).and_fin());
    t.expect(ack(1));
    assert_eq!(t.state(), State::Established);
    t.peer(data(1..101));
    t.expect(ack(202));
    assert_eq!((t.state(), t.read()), (State::CloseWait, 200));
    t.expect_end();
}

#[test]
fn a_repeated_fin_is_acknowledged_again() {
    let mut t = Script::server();
    for _ in 0..3 {
        t.peer(fin(1));
        t.expect(ack(2));
        assert_eq!(t.state(), State::CloseWait);
    }
}

#[test]
fn data_behind_a_fin_is_nobodys() {
    let mut t = Script::server();
    t.peer(data(1..11).and_fin());
    t.expect(ack(12));
    t.peer(data(12..22));
    assert_eq!(t.read(), 10);
    t.expect_end();
    assert!(t.drain().iter().all(|got| got.ack == 12));
}

#[test]
fn a_fin_is_no_reason_to_lose_data_that_was_not_read_yet() {
    let mut t = Script::server();
    t.peer_all([data(1..1001), fin(1001)]);
    t.wait(Duration::from_secs(100));
    assert_eq!(t.read(), 1000);
    t.expect_end();
}

#[test]
fn syn_fin_and_friends_make_no_sense_and_no_harm() {
    let mut t = Script::server();
    for flags in 0..64u8 {
        if flags & 0x04 == 0 {
            t.peer(ack(1).seq(1 << 29).flags(flags));
        }
    }
    t.drain();
    t.peer(data(1..11).flags(ACK));
    assert_eq!((t.state(), t.read()), (State::Established, 10));
    t.peer(ack(1).seq(11).flags(FIN));
    assert_eq!(t.state(), State::Established, "a FIN without ACK is no FIN");
}

//! Sending data: segment size, Nagle, silly windows, the peer's window and its probes (RFC 9293 §3.7, §3.8.6).

use std::task::Poll;
use std::time::Duration;

use hayase_device::Offloads;
use hayase_stack::{Config, Count, Ready, State};

use crate::codec::{PSH, RST};
use crate::dsl::{Script, Segment, ack, data, fin, modern_syn, syn, syn_ack};
use crate::host::{Host, PEER_V4, PEER_V6, STACK_V4, STACK_V6, ms};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// The largest segment of a long write.
fn largest(t: &mut Script) -> u32 {
    t.write(20_000);
    t.drain().iter().map(|got| got.len).max().unwrap()
}

// Segment size

#[test]
fn must_67_the_mss_that_we_say_follows_the_mtu() {
    for (mtu, v4, v6) in [(1500, 1460, 1440), (9000, 8960, 8940), (1280, 1240, 1220)] {
        let config = hayase_stack::Config::default;
        let mut t = Script::listening_on(Host::with(config(), mtu), STACK_V4, PEER_V4);
        t.peer(syn());
        assert_eq!(t.expect(syn_ack()).options.mss, Some(v4));
        let mut t = Script::connecting_on(Host::with(config(), mtu), STACK_V6, PEER_V6);
        assert_eq!(t.expect(syn()).options.mss, Some(v6));
    }
}

#[test]
fn must_14_the_mss_of_the_peer_is_obeyed() {
    for mss in [300, 536, 1000, 1460] {
        let mut t = Script::listening().established(syn().mss(mss));
        assert_eq!(largest(&mut t), u32::from(mss));
    }
}

#[test]
fn must_15_without_the_option_536_bytes_on_ipv4_and_1220_on_ipv6() {
    assert_eq!(largest(&mut Script::listening().established(syn())), 536);
    assert_eq!(largest(&mut Script::listening_v6().established(syn())), 1220);
}

#[test]
fn must_16_timestamps_take_their_room_from_the_payload() {
    let mut t = Script::listening().established(syn().mss(1000).timed());
    assert_eq!(largest(&mut t), 988);
}

#[test]
fn must_16_our_own_mtu_is_a_limit_too() {
    let mut t = Script::listening().established(syn().mss(9000));
    assert_eq!(largest(&mut t), 1460);
}

#[test]
fn must_16_sack_blocks_take_their_room_from_the_payload() {
    let mut t = Script::modern_server();
    for at in [5001, 10_001, 15_001] {
        t.peer(data(at..at + 100));
    }
    t.drain();
    // The oracle looks at the sizes.
    t.write(14_000);
    let sent: u32 = t.drain().iter().map(|got| got.len).sum();
    assert!(sent > 12_000, "{sent}");
}

#[test]
fn an_absurd_mss_does_not_make_absurd_segments() {
    for mss in [0, 1, 7] {
        let mut t = Script::listening().established(syn().mss(mss));
        t.write(1000);
        let sizes: Vec<u32> = t.drain().iter().map(|got| got.len).collect();
        assert!(sizes[0] >= 48, "{sizes:?}");
    }
}

#[test]
fn must_61_the_last_segment_of_a_write_pushes() {
    let mut t = Script::server();
    t.write(4380);
    let pushes: Vec<bool> = t.drain().iter().map(|got| got.is(PSH)).collect();
    assert_eq!(pushes, [false, false, true]);
}

// Nagle (§3.7.4)

#[test]
fn nagle_holds_a_small_segment_while_another_is_out() {
    let mut t = Script::server();
    t.write(1);
    t.expect(data(1..2));
    for _ in 0..9 {
        t.write(1);
        t.silence();
    }
    t.peer(ack(2));
    t.expect(data(2..11));
}

#[test]
fn nagle_lets_full_segments_go() {
    let mut t = Script::server();
    t.write(1);
    t.expect(data(1..2));
    t.write(1470);
    t.expect(data(2..1462));
    t.silence();
    t.peer(ack(1462));
    t.expect(data(1462..1472));
}

#[test]
fn must_17_nagle_can_be_switched_off() {
    let mut t = Script::server();
    t.set_nodelay(true);
    for at in 1..10 {
        t.write(1);
        t.expect(data(at..at + 1));
    }
}

#[test]
fn must_17_switching_it_off_releases_what_was_held() {
    let mut t = Script::server();
    t.write(1);
    t.expect(data(1..2));
    t.write(5);
    t.silence();
    t.set_nodelay(true);
    t.expect(data(2..7));
}

#[test]
fn closing_releases_what_nagle_held() {
    let mut t = Script::server();
    t.write(1);
    t.expect(data(1..2));
    t.write(5);
    t.shutdown();
    t.expect(data(2..7).and_fin());
}

// The peer's window

#[test]
fn must_1_a_window_above_32767_is_used() {
    let mut t = Script::server();
    t.write(200_000);
    let mut last = 1;
    for _ in 0..8 {
        let flight = t.drain();
        last = flight.last().map_or(last, |got| got.range().end);
        t.peer(ack(last).window(65_535));
    }
    t.drain();
    t.peer(ack(last).window(0x8000));
    t.drain();
    t.write(100_000);
    let una = t.seen;
    t.peer(ack(una).window(0xff00));
    let end = t.drain().last().unwrap().range().end;
    assert!(end - una > 0x8000, "{} bytes in flight", end - una);
}

#[test]
fn nothing_goes_beyond_the_window() {
    for window in [1000, 1460, 2920, 5000] {
        let mut t = Script::listening();
        t.window = window;
        let mut t = t.established(syn().mss(1460));
        t.write(20_000);
        let end = t.drain().last().map_or(1, |got| got.range().end);
        assert!(end - 1 <= u32::from(window), "window {window}");
    }
}

/// SHLD-15
#[test]
fn must_34_a_peer_that_shrinks_its_window_is_tolerated() {
    let mut t = Script::server();
    t.write(30_000);
    t.expect_flight(1..14_601, 1460);
    t.peer(ack(1461).window(2000));
    t.silence();
    t.peer(ack(2921).window(2000));
    t.silence();
    t.peer(ack(14_601).window(20_000));
    let next = t.next().expect("the window is open");
    assert_eq!(next.seq, 14_601);
}

#[test]
fn must_35_a_window_that_shrinks_to_nothing_with_data_in_flight_recovers() {
    let mut t = Script::server();
    t.write(14_600);
    t.expect_flight(1..14_601, 1460);
    t.peer(ack(1461).window(0));
    for _ in 0..20 {
        t.wait_any(secs(200));
        t.peer(ack(1461).window(0));
    }
    assert_eq!(t.state(), State::Established);
    t.peer(ack(1461).window(20_000));
    let mut last = 1461;
    for _ in 0..20 {
        last = t.drain().iter().map(|got| got.range().end).max().unwrap_or(last);
        t.peer(ack(last));
    }
    assert_eq!(last, 14_601);
}

/// A flight of ten segments on a path of 20 ms, and a window that shuts over all but the first of them.
fn shut_over_a_flight(syn: Segment, mss: u32) -> Script {
    let mut t = Script::listening();
    t.peer(syn);
    t.expect(syn_ack());
    t.wait(ms(20));
    t.peer(ack(1));
    t.accept();
    t.write(10 * mss);
    t.expect_flight(1..10 * mss + 1, mss);
    t.wait(ms(20));
    t.peer(ack(mss + 1).window(0));
    t.silence();
    t
}

/// Two bare ACKs are no way to have a whole window sent again, however often.
#[test]
fn a_window_that_shuts_and_opens_draws_one_segment_and_not_the_flight() {
    for (syn, mss) in [(syn().mss(1460), 1460), (modern_syn(), 1448)] {
        let mut t = shut_over_a_flight(syn, mss);
        for _ in 0..20 {
            t.peer(ack(mss + 1));
            t.expect(data(mss + 1..2 * mss + 1));
            t.silence();
            t.peer(ack(mss + 1).window(0));
            t.silence();
        }
        // Nor does a timeout meanwhile make it so: that is a probe.
        let probes = t.wait_any(secs(2));
        assert!(probes.iter().all(|got| got.len <= 1), "{probes:?}");
        t.peer(ack(mss + 1));
        t.expect(data(mss + 1..2 * mss + 1));
        t.silence();
        // All of it had arrived, and no congestion was met.
        t.peer(ack(10 * mss + 1));
        t.write(10 * mss);
        t.expect_flight(10 * mss + 1..20 * mss + 1, mss);
    }
}

/// A peer that neither takes anything nor goes away, and does so often enough to be heard before every timeout.
#[test]
fn whoever_toggles_its_window_for_ever_does_not_keep_a_closed_connection() {
    let mut t = shut_over_a_flight(modern_syn(), 1448);
    t.close();
    for round in 0.. {
        assert!(round < 20_000, "it is kept for as long as the peer likes");
        if t.host.stack.tcp_connections().count() == 0 {
            break;
        }
        t.peer(ack(1449));
        t.wait(ms(100));
        t.peer(ack(1449).window(0));
        t.drain();
    }
}

/// The same where somebody owns it: its own patience ends it.
#[test]
fn whoever_toggles_its_window_for_ever_meets_the_user_timeout() {
    let mut t = shut_over_a_flight(modern_syn(), 1448);
    let id = t.id();
    t.host.stack.tcp_set_user_timeout(id, Some(secs(5))).unwrap();
    for round in 0.. {
        assert!(round < 100, "20 s are more than 5");
        if t.state() == State::Closed {
            break;
        }
        t.peer(ack(1449));
        t.wait(ms(100));
        t.peer(ack(1449).window(0));
        t.wait(ms(100));
        t.drain();
    }
}

/// Also the byte that asks again and again is no loss.
#[test]
fn probes_of_a_shut_window_are_no_timeouts() {
    let mut t = shut_over_a_flight(modern_syn(), 1448);
    t.peer(ack(10 * 1448 + 1).window(0));
    t.write(5000);
    let mut probes = 0;
    while probes < 6 {
        probes += t.wait_any(secs(10)).len() as u64;
        t.peer(ack(10 * 1448 + 1).window(0));
    }
    let count = |count| t.host.stack.counters().get(count);
    assert_eq!((count(Count::WinProbe), count(Count::Timeouts)), (probes, 0));
}

/// The peer reported what it holds beyond a hole, threw it away when the hole was filled, and shut its window.
#[test]
fn must_35_a_window_shut_over_what_was_reported_and_thrown_away_is_probed() {
    let mut t = Script::listening();
    t.peer(modern_syn());
    t.expect(syn_ack());
    t.wait(ms(20));
    t.peer(ack(1));
    t.accept();
    t.write(4 * 1448);
    t.expect_flight(1..4 * 1448 + 1, 1448);
    t.wait(ms(20));
    t.peer(ack(1).sack(&[(1449, 4 * 1448 + 1)]));
    t.drain();
    t.peer(ack(1449).window(0));
    t.drain();
    let probes = t.wait_any(secs(20));
    assert!(!probes.is_empty(), "a shut window is probed");
}

/// The peer threw away what came after it shut its window. What it says of the first segment tells of all others.
#[test]
fn what_a_shut_window_threw_away_comes_again_without_a_timeout() {
    let mut t = shut_over_a_flight(modern_syn(), 1448);
    t.peer(ack(1449));
    t.expect(data(1449..2897));
    t.wait(ms(20));
    t.peer(ack(2897));
    let again = t.drain();
    assert_eq!((again[0].seq, again.last().unwrap().range().end), (2897, 14_481), "{again:?}");
    // As much of it as the window takes.
    let mut t = shut_over_a_flight(syn().mss(1460).sack_permitted(), 1460);
    t.peer(ack(1461).window(2000));
    t.expect(data(1461..2921));
    t.wait(ms(20));
    t.peer(ack(2921).window(2000));
    t.expect_flight(2921..4921, 1460);
    t.silence();
}

/// SHLD-29, SHLD-30
#[test]
fn must_36_a_shut_window_is_probed_by_single_bytes_with_growing_gaps() {
    let mut t = Script::server();
    t.peer(ack(1).window(0));
    t.write(5000);
    t.silence();
    let start = t.host.now;
    let mut times = vec![];
    for _ in 0..8 {
        let probes = t.wait_any(secs(200));
        for probe in probes {
            assert!(probe.len <= 1 && probe.seq <= 1, "{probe:?}");
            times.push((probe.at - start).as_secs_f64());
        }
        t.peer(ack(1).window(0));
    }
    assert!(times[0] >= 0.19, "SHLD-29: an RTO first");
    let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for pair in gaps.windows(2) {
        assert!(pair[1] > 1.6 * pair[0] && pair[1] < 2.6 * pair[0], "SHLD-30: {gaps:?}");
    }
}

#[test]
fn must_37_a_window_may_stay_shut_for_ever_while_probes_are_answered() {
    let mut t = Script::server();
    t.peer(ack(1).window(0));
    t.write(5000);
    for _ in 0..100 {
        t.wait_any(secs(200));
        t.peer(ack(1).window(0));
    }
    assert_eq!(t.state(), State::Established);
    t.peer(ack(1).window(10_000));
    let mut end = 1;
    while end < 5001 {
        let flight = t.wait_any(secs(1));
        end = flight.iter().map(|got| got.range().end).max().unwrap();
        t.peer(ack(end).window(10_000));
    }
}

#[test]
fn must_37_a_byte_taken_by_a_probe_and_a_window_still_shut() {
    let mut t = Script::server();
    t.peer(ack(1).window(0));
    t.write(100);
    for at in 1..6 {
        let probe = t.wait_any(secs(200)).pop().unwrap();
        assert_eq!(probe.range(), at..at + 1);
        t.peer(ack(at + 1).window(0));
        t.drain();
    }
    t.peer(ack(6).window(1000));
    t.expect(data(6..101));
}

#[test]
fn a_peer_that_shuts_its_window_and_dies_is_given_up() {
    let mut t = Script::server();
    t.peer(ack(1).window(0));
    t.write(5000);
    t.wait(secs(7200));
    t.expect_error(hayase_stack::Error::TimedOut);
}

#[test]
fn a_window_update_that_was_lost_is_found_by_the_probe() {
    let mut t = Script::server();
    t.peer(ack(1).window(0));
    t.write(1000);
    let probe = t.wait_any(secs(5)).remove(0);
    t.peer(ack(probe.range().end).window(5000));
    t.expect(data(probe.range().end..1001));
}

#[test]
fn must_38_a_window_that_opens_by_crumbs_gets_no_crumbs() {
    let mut t = Script::server();
    t.write(1460);
    t.expect(data(1..1461));
    t.peer(ack(1461).window(0));
    t.write(50_000);
    let mut small = 0;
    for step in 1..=100 {
        t.wait(ms(10));
        t.peer(ack(t.seen).window(20 * step));
        small += t.drain().iter().filter(|got| got.len > 1 && got.len < 500).count();
    }
    assert!(small <= 4, "{small} tiny segments");
}

#[test]
fn an_old_segment_does_not_change_the_window() {
    let mut t = Script::server();
    t.peer(data(1..101));
    t.write(1460);
    t.drain();
    t.peer(ack(1461).seq(101).window(30_000));
    // Delayed on its way: from before the window opened.
    t.peer(ack(1).seq(101).window(0));
    t.write(1460);
    t.expect(data(1461..2921));
    // Overtaken by a later one (SND.WL1, §3.10.7.4).
    t.peer(data(201..301).ack(2921).window(30_000));
    t.peer(data(101..201).ack(2921).window(0));
    t.drain();
    t.write(1460);
    t.expect(data(2921..4381));
}

/// The peer did not take the byte that probed its window: it expects that one, and takes nothing that stands behind it.
#[test]
fn what_carries_no_data_stands_where_a_shut_window_ends() {
    let mut t = Script::server();
    t.peer(ack(1).window(0));
    t.write(100);
    t.wait_for(secs(2), data(1..2));
    t.window = 0;
    t.peer(data(1..101).ack(1));
    let said = t.wait_any(ms(500));
    assert_eq!(said.iter().map(|got| (got.seq, got.len, got.ack)).collect::<Vec<_>>(), [(1, 0, 101)]);
    t.abort();
    let reset = t.next().expect("a reset");
    assert_eq!((reset.seq, reset.is(RST)), (1, true));
}

/// The timer of the probes is of before it opened.
#[test]
fn what_goes_when_a_window_opens_has_a_round_trip_to_be_acknowledged() {
    for is_probed in [false, true] {
        let mut t = Script::modern_server();
        // The round trip is 100 ms.
        for n in 0..20 {
            t.write(10);
            t.drain();
            t.wait(ms(100));
            t.peer(ack(11 + 10 * n));
        }
        t.peer(ack(201).window(0));
        t.write(50_000);
        // Just before the timer would run out, for the first time or the second.
        let start = t.host.now;
        let mut probes = 0;
        while probes < usize::from(is_probed) {
            t.wait(ms(1));
            probes += t.drain().len();
        }
        let time = t.host.now - start;
        t.wait(if is_probed { ms(2 * time.as_millis() as u64 - 10) } else { ms(290) });
        let seen = t.seen;
        t.peer(ack(201).window(60_000));
        let first: Vec<_> = t.drain().iter().map(|got| got.seq).collect();
        t.wait(ms(60));
        let again: Vec<_> = t.drain().iter().map(|got| got.seq).filter(|seq| first.contains(seq)).collect();
        assert_eq!((again, first.is_empty()), (vec![], false), "probed: {is_probed}, {seen}");
        assert_eq!(t.host.stack.counters().get(Count::Timeouts), 0);
    }
}

/// Or one that asks for readiness and tries, again and again, would never let the stack go on.
#[test]
fn who_was_turned_away_is_not_writable_before_there_is_room() {
    let mut config = Config::default();
    config.memory_len_max = 8 * 1024;
    let mut t = Script::listening_with(config).established(syn().mss(1000));
    let is_writable = |t: &Script| t.host.stack.tcp_ready(t.id()).contains(Ready::WRITABLE);
    let (mut asked, mut written) = (0, 0);
    while is_writable(&t) {
        if let Poll::Ready(taken) = t.try_write(1000) {
            written += taken.expect("the connection stands") as u32;
        }
        asked += 1;
        assert!(asked < 100, "writable, and not to be written");
    }
    assert!(written < 64 * 1024, "its own limit is twice that");
    t.window = 65_535;
    while t.seen < written + 1 {
        t.drain();
        t.peer(ack(t.seen));
    }
    assert!(is_writable(&t));
}

#[test]
fn a_writer_waits_while_the_buffer_is_full_and_is_woken() {
    let mut t = Script::server();
    t.peer(ack(1).window(0));
    let mut written = 0;
    while let Poll::Ready(Ok(len)) = t.try_write(100_000) {
        written += len;
    }
    assert_eq!(written, crate::host::SEND_BUFFER_LEN);
    t.host.stack.drain_ready(|_, _| {});
    t.window = 65_535;
    let mut woken = false;
    for _ in 0..300 {
        t.wait(ms(300));
        t.drain();
        t.peer(ack(t.seen));
        t.host.stack.drain_ready(|_, ready| woken |= ready.wakes_writer());
        if woken {
            break;
        }
    }
    assert!(woken);
    assert!(t.try_write(100).is_ready());
}

#[test]
fn every_byte_of_a_long_transfer_is_right_on_a_modern_connection() {
    let mut t = Script::modern_server();
    let mut end = 1;
    for _ in 0..40 {
        t.write(10_000);
        end = t.drain().last().map_or(end, |got| got.range().end);
        t.peer(ack(end));
    }
    while end < 400_001 {
        let flight = t.drain();
        assert!(!flight.is_empty(), "stalled at {end}");
        end = flight.last().unwrap().range().end;
        t.peer(ack(end));
        t.wait(ms(1));
    }
    t.peer(fin(1));
    t.host.wait(ms(100));
    t.drain();
    t.host.assert_frames_home();
}

/// The device cuts the segments, fills in checksums and gathers: on the wire that must not show.
#[test]
fn must_16_segments_that_the_device_cuts_are_like_any_other() {
    for syn in [syn().mss(1000), syn().mss(1460).sack_permitted(), modern_syn()] {
        let host = Host::on(hayase_stack::Config::default(), 1500, Offloads::ALL);
        let mut t = Script::listening_on(host, STACK_V4, PEER_V4).established(syn);
        t.write(300_000);
        t.peer(data(5001..5101));
        let (mut end, mut lost) = (1, false);
        for _ in 0..200 {
            let flight = t.drain();
            // One segment is lost on its way, and a byte of every flight is left unacknowledged.
            let missing = if lost { None } else { flight.iter().find(|got| got.seq > 100_000) };
            lost |= missing.is_some();
            end = missing
                .map_or(flight.iter().map(|got| got.range().end).max(), |got| Some(got.seq))
                .unwrap_or(end);
            t.peer(ack(if flight.is_empty() { end } else { end - 1 }));
            if end == 300_001 {
                break;
            }
            t.wait(ms(10));
        }
        assert_eq!(end, 300_001);
        t.peer_all((0..5).map(|i| data(1 + i * 1000..1001 + i * 1000)));
        assert_eq!(t.read(), 5100);
        t.wait(ms(100));
        t.drain();
        t.host.assert_frames_home();
    }
}

#[test]
fn an_unused_option_changes_nothing() {
    let mut t = Script::listening().established(modern_syn());
    t.peer(data(1..11).without_timestamps());
    assert_eq!(t.read(), 10);
}

//! Loss and congestion: RFC 6298, 5681, 6928, 6582, 3042, 2018, 2883, 6675.

use std::collections::BTreeSet;
use std::time::Duration;

use hayase_stack::{Config, Congestion, State};

use crate::dsl::{Got, Script, ack, data, modern_syn, syn};
use crate::host::ms;

const MSS: u32 = 1460;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Sequence number at which segment `n` starts, counted from 0.
const fn at(n: u32) -> u32 {
    1 + n * MSS
}

fn ends(flight: &[Got]) -> Vec<u32> {
    flight.iter().map(|got| (got.range().end - 1) / MSS).collect()
}

fn starts(flight: &[Got]) -> Vec<u32> {
    flight.iter().map(|got| (got.seq - 1) / MSS).collect()
}

/// Where the window is NewReno's.
fn reno_server() -> Script {
    let mut config = Config::default();
    config.congestion = Congestion::NewReno;
    Script::listening_with(config).established(syn().mss(1460))
}

/// Ten segments are out, and more are to come.
fn ten_out(mut t: Script) -> Script {
    t.write(100 * MSS);
    t.expect_flight(at(0)..at(10), MSS);
    t.silence();
    t
}

fn bytes(flight: &[Got]) -> u32 {
    flight.iter().map(|got| got.len).sum()
}

// The retransmission timer (RFC 6298)

/// C2, C5
#[test]
fn c2_the_timeout_doubles() {
    let mut t = Script::server();
    t.write(100);
    let start = t.expect(data(1..101)).at;
    t.wait(secs(100));
    let again = t.drain();
    let times: Vec<Duration> = again.iter().map(|got| got.at - start).collect();
    assert!(times[0] > ms(5) && times[0] < ms(3200), "C5: {times:?}");
    let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    for pair in gaps.windows(2) {
        let ratio = pair[1] / pair[0];
        assert!((1.6..2.6).contains(&ratio), "{gaps:?}");
    }
    assert!(again.iter().all(|got| got.range() == (1..101)));
}

#[test]
fn c3_after_a_late_ack_new_data_goes_at_once_and_its_ack_ends_the_back_off() {
    let mut t = Script::server();
    t.write(100);
    t.wait(secs(10));
    t.drain();
    t.peer(ack(101));
    t.write(100);
    t.expect(data(101..201));
    t.peer(ack(201));
    t.write(100);
    t.expect(data(201..301));
    assert!(t.wait_for(secs(2), data(201..301)) < secs(1));
}

/// Where every segment is taken for lost nothing can be measured, unless the longer timeout is kept.
#[test]
fn c6_the_back_off_lasts_until_something_was_measured() {
    let mut t = Script::server();
    t.write(100);
    t.drain();
    t.wait(ms(500));
    assert!(!t.drain().is_empty(), "repeated, needlessly");
    t.peer(ack(101));
    t.write(100);
    t.expect(data(101..201));
    t.silence_for(ms(350));
    t.peer(ack(201));
    t.write(100);
    t.expect(data(201..301));
    t.silence_for(ms(350));
}

/// A round trip of `rtt` milliseconds, give or take five, for every segment.
fn steady(t: &mut Script, rtt: u64, rounds: u32) -> usize {
    let mut spurious = 0;
    for round in 0..rounds {
        t.write(100);
        let sent = t.drain();
        t.wait(ms(rtt + u64::from(round * 7 % 11) - 5));
        spurious += t.drain().len();
        t.peer(ack(sent.last().unwrap().range().end));
    }
    spurious
}

#[test]
fn c4_a_steady_delay_causes_no_timeout() {
    for rtt in [20, 150, 190, 400, 900] {
        let mut t = Script::server();
        assert!(steady(&mut t, rtt, 10) <= 6, "a few until it is known: {rtt} ms");
        assert_eq!(steady(&mut t, rtt, 60), 0, "{rtt} ms");
    }
}

/// The last segment of a burst may be acknowledged late: up to 200 ms by peers that delay ACKs so long.
#[test]
fn c4_a_delayed_ack_is_no_loss() {
    for rtt in [1, 50, 150] {
        let mut t = Script::server();
        steady(&mut t, rtt + 5, 30);
        t.write(100);
        let sent = t.drain();
        t.wait(ms(rtt + 195));
        assert!(t.drain().is_empty(), "{rtt} ms");
        t.peer(ack(sent[0].range().end));
    }
}

#[test]
fn c6_retransmitted_data_is_not_timed() {
    let mut t = Script::server();
    steady(&mut t, 20, 10);
    t.write(100);
    let sent = t.drain().remove(0);
    t.wait(secs(10));
    t.drain();
    t.peer(ack(sent.range().end));
    t.write(100);
    let next = t.drain().remove(0);
    t.wait(ms(20));
    t.peer(ack(next.range().end));
    t.write(100);
    let next = t.drain().remove(0);
    let again = t.wait_any(secs(5)).remove(0);
    assert!(again.at - next.at < ms(600), "ten seconds were no round trip");
}

// Congestion control (RFC 5681, RFC 6928)

#[test]
fn b1_the_first_flight_is_ten_segments() {
    let mut t = Script::server();
    t.write(50_000);
    assert_eq!(ends(&t.drain()), (1..=10).collect::<Vec<_>>());
}

#[test]
fn b1_a_handshake_that_lost_a_segment_starts_with_one() {
    let mut t = Script::listening();
    t.peer(syn().mss(1460));
    t.wait(secs(2));
    t.drain();
    t.peer(ack(1));
    t.accept();
    t.write(50_000);
    assert_eq!(ends(&t.drain()), [1]);
}

#[test]
fn b2_slow_start_doubles_a_flight_and_no_more() {
    let mut t = ten_out(Script::server());
    let (mut before, mut acked) = (10, 10);
    for _ in 0..2 {
        t.peer(ack(at(acked)));
        let flight = t.drain();
        let count = flight.len() as u32;
        assert!(count > before && count <= 2 * before, "{count} after {before}");
        (before, acked) = (count, acked + count);
    }
}

#[test]
fn b3_many_acks_for_few_bytes_gain_nothing() {
    let mut t = ten_out(Script::server());
    for i in 1..=100 {
        t.peer(ack(1 + i * 20));
    }
    assert!(t.drain().len() <= 4, "2000 bytes acknowledged twice over");
}

#[test]
fn b4_after_a_timeout_one_segment_goes_and_then_slow_start() {
    let mut t = ten_out(Script::server());
    t.wait(secs(2));
    let again = t.drain();
    assert!(again.iter().all(|got| got.range() == (at(0)..at(1))), "{again:?}");
    // A duplicate: it was a loss, and F-RTO has nothing to ask.
    t.peer(ack(at(0)));
    t.peer(ack(at(1)));
    assert_eq!(starts(&t.drain()), [1, 2]);
    t.peer(ack(at(3)));
    assert_eq!(starts(&t.drain()), [3, 4, 5, 6]);
}

#[test]
fn b4_a_timeout_halves_the_threshold() {
    let mut t = ten_out(reno_server());
    t.wait(secs(2));
    t.drain();
    t.peer(ack(at(0)));
    let mut flights = vec![];
    let mut acked = 0;
    for _ in 0..5 {
        acked += flights.last().copied().unwrap_or(1);
        t.peer(ack(at(acked)));
        flights.push(t.drain().len() as u32);
    }
    assert_eq!(flights, [2, 4, 5, 6, 7], "slow start to 5, then one a round trip");
}

#[test]
fn b5_three_duplicate_acks_bring_the_segment_again_at_once() {
    let mut t = ten_out(Script::server());
    t.peer(ack(at(0)));
    t.peer(ack(at(0)));
    t.drain();
    t.peer(ack(at(0)));
    assert_eq!(t.drain().first().map(Got::range), Some(at(0)..at(1)));
}

#[test]
fn b5_several_duplicates_in_one_burst_count_as_several() {
    let mut t = ten_out(Script::server());
    t.peer_all((0..6).map(|_| ack(at(0))));
    assert_eq!(t.drain().first().map(Got::range), Some(at(0)..at(1)));
}

#[test]
fn b6_one_duplicate_ack_is_no_loss() {
    let mut t = ten_out(Script::server());
    t.peer(ack(at(0)));
    assert!(t.drain().iter().all(|got| got.seq >= at(10)));
    t.wait(ms(100));
    t.silence();
}

#[test]
fn b6_acks_with_data_or_another_window_are_no_duplicates() {
    let mut t = ten_out(Script::server());
    for i in 0..5 {
        t.peer(data(1 + i * 10..11 + i * 10).ack(at(0)));
    }
    for i in 0..5 {
        t.peer(ack(at(0)).window(60_000 - i));
    }
    assert!(t.drain().iter().all(|got| got.seq != at(0) || got.len == 0));
}

#[test]
fn b7_a_loss_halves_the_window() {
    let mut t = ten_out(reno_server());
    t.peer(ack(at(10)));
    let before = t.drain().len() as u32;
    t.peer_all((0..3).map(|_| ack(at(10))));
    t.drain();
    let una = t.seen;
    t.peer(ack(una));
    let after = t.drain().len() as u32;
    assert!(after >= before * 4 / 10 && after <= before * 6 / 10 + 1, "{after} after {before}");
}

/// RFC 6582 §3.2
#[test]
fn b8_a_partial_ack_brings_the_next_hole_at_once() {
    let mut t = ten_out(Script::server());
    t.peer_all((0..3).map(|_| ack(at(0))));
    t.drain();
    for hole in [3, 5, 8] {
        t.peer(ack(at(hole)));
        let flight = t.drain();
        assert_eq!(flight.first().map(|got| got.seq), Some(at(hole)), "{flight:?}");
        assert!(flight[1..].iter().all(|got| got.seq >= at(10)), "one hole at a time");
    }
}

/// RFC 6582 §3.2 step 2: they may be answers to what was sent again in vain.
#[test]
fn b8_duplicates_at_the_end_of_a_recovery_begin_no_other() {
    let mut t = ten_out(Script::server());
    t.peer_all((0..3).map(|_| ack(at(0))));
    t.drain();
    let recover = t.seen;
    t.peer(ack(recover));
    t.drain();
    t.peer_all((0..3).map(|_| ack(recover)));
    let flight = t.drain();
    assert!(flight.iter().all(|got| got.seq > recover), "{flight:?}");
    let next = recover + MSS;
    t.peer(ack(next));
    t.drain();
    t.peer_all((0..3).map(|_| ack(next)));
    let flight = t.drain();
    assert!(flight.iter().any(|got| got.seq == next), "{flight:?}");
}

/// RFC 3042
#[test]
fn b9_two_duplicate_acks_release_new_data() {
    let mut t = ten_out(Script::server());
    t.peer(ack(at(0)));
    t.expect(data(at(10)..at(11)));
    t.peer(ack(at(0)));
    t.expect(data(at(11)..at(12)));
    t.silence();
}

/// RFC 5681 §3.2: no more segments can have left the network than were out.
#[test]
fn b10_a_flood_of_duplicate_acks_releases_no_flood() {
    let mut t = ten_out(Script::server());
    for _ in 0..300 {
        t.peer(ack(at(0)));
    }
    let flight = t.drain();
    assert!(flight.len() <= 15, "{} segments for 300 duplicates", flight.len());
    assert_eq!(flight.iter().filter(|got| got.seq == at(0)).count(), 1);
    let mut last = t.seen;
    t.peer(ack(last));
    while last < at(100) {
        let flight = t.drain();
        last = flight.last().map_or(last, |got| got.range().end);
        t.peer(ack(last));
        t.wait(ms(1));
    }
}

#[test]
fn b10_acks_of_what_was_never_sent_gain_nothing() {
    let mut t = ten_out(Script::server());
    for ahead in [1, 1000, 1 << 20] {
        t.peer(ack(at(10) + ahead));
    }
    assert!(t.drain().iter().all(|got| got.len == 0));
    t.peer(ack(at(10)));
    assert_eq!(t.drain().first().map(|got| got.seq), Some(at(10)));
}

/// RFC 5681 §4.1
#[test]
fn b12_after_a_pause_the_window_starts_over() {
    let mut t = Script::server();
    let mut acked = 0;
    t.write(150 * MSS);
    while acked < 150 {
        acked += t.drain().len() as u32;
        t.peer(ack(at(acked)));
    }
    t.wait(secs(3));
    t.write(100 * MSS);
    let burst = t.drain().len();
    assert!(burst <= 10, "{burst} segments after a pause");
}

// SACK, generated (RFC 2018, RFC 2883)

#[test]
fn d1_sack_is_reported_only_if_it_was_negotiated() {
    let mut t = Script::server();
    t.peer(data(101..201));
    t.expect(ack(1).sack(&[]));
    let mut t = Script::sack_server();
    t.peer(data(101..201));
    t.expect(ack(1).sack(&[(101, 201)]));
}

#[test]
fn d2_the_first_block_holds_the_latest_segment_and_earlier_ones_follow() {
    let mut t = Script::sack_server();
    t.peer(data(101..201));
    t.expect(ack(1).sack(&[(101, 201)]));
    t.peer(data(301..401));
    t.expect(ack(1).sack(&[(301, 401), (101, 201)]));
    t.peer(data(501..601));
    t.expect(ack(1).sack(&[(501, 601), (301, 401), (101, 201)]));
    t.peer(data(201..301));
    t.expect(ack(1).sack(&[(101, 401), (501, 601)]));
    t.peer(data(1..101));
    t.expect(ack(401).sack(&[(501, 601)]));
    t.peer(data(401..501));
    t.expect(ack(601).sack(&[]));
}

#[test]
fn d2_as_many_blocks_as_fit_four_or_three_beside_timestamps() {
    for (syn, most) in [(syn().mss(1460).sack_permitted(), 4), (modern_syn(), 3)] {
        let mut t = Script::listening().established(syn);
        let mut last = vec![];
        for i in 1..=6 {
            t.peer(data(i * 200..i * 200 + 100));
            last = t.expect(ack(1)).sack;
        }
        let newest: Vec<(u32, u32)> = (0..most).map(|i| ((6 - i) * 200, (6 - i) * 200 + 100)).collect();
        assert_eq!(last, newest);
    }
}

/// RFC 2883 §4
#[test]
fn d3_a_duplicate_is_reported_first() {
    let mut t = Script::sack_server();
    t.peer_all([data(1..101), data(101..201)]);
    t.wait(ms(100));
    t.drain();
    t.peer(data(101..201));
    t.expect(ack(201).sack(&[(101, 201)]));
    t.peer(data(301..401));
    t.expect(ack(201).sack(&[(301, 401)]));
    t.peer(data(1..101));
    t.expect(ack(201).sack(&[(1, 101), (301, 401)]));
    t.peer(data(301..401));
    t.expect(ack(201).sack(&[(301, 401), (301, 401)]));
    t.peer(data(401..501));
    t.expect(ack(201).sack(&[(301, 501)]));
}

// SACK, used (RFC 6675)

/// Blocks of whole segments.
fn blocks(ranges: &[(u32, u32)]) -> Vec<(u32, u32)> {
    ranges.iter().map(|(from, to)| (at(*from), at(*to))).collect()
}

#[test]
fn d4_holes_are_repaired_without_sending_what_arrived() {
    let mut t = ten_out(Script::sack_server());
    // 0, 3 and 5 are lost.
    let mut held: Vec<(u32, u32)> = vec![];
    for range in [(1, 2), (1, 3), (4, 5), (6, 7), (6, 8), (6, 9), (6, 10)] {
        held.retain(|(from, _)| *from != range.0);
        held.insert(0, range);
        t.peer(ack(at(0)).sack(&blocks(&held)));
    }
    let again: Vec<u32> =
        t.drain().iter().filter(|got| got.seq < at(10)).map(|got| (got.seq - 1) / MSS).collect();
    assert_eq!(again, [0, 3, 5]);
}

#[test]
fn d4_three_sacked_segments_above_a_hole_make_it_a_loss() {
    let mut t = ten_out(Script::sack_server());
    t.peer(ack(at(0)).sack(&blocks(&[(1, 2)])));
    t.peer(ack(at(0)).sack(&blocks(&[(1, 3)])));
    assert!(t.drain().iter().all(|got| got.seq >= at(10)), "two may be reordering");
    t.peer(ack(at(0)).sack(&blocks(&[(1, 4)])));
    assert_eq!(t.drain().first().map(|got| got.seq), Some(at(0)));
}

#[test]
fn d4_one_ack_may_tell_of_many_segments() {
    let mut t = ten_out(Script::sack_server());
    t.peer(ack(at(0)).sack(&blocks(&[(1, 10)])));
    assert_eq!(t.drain().first().map(|got| got.seq), Some(at(0)));
}

#[test]
fn d5_a_reneging_peer_gets_everything_again_after_a_timeout() {
    let mut t = ten_out(Script::sack_server());
    t.peer(ack(at(0)).sack(&blocks(&[(5, 10)])));
    t.drain();
    t.wait(secs(2));
    t.drain();
    let mut have = 0;
    let mut got_again = BTreeSet::new();
    for _ in 0..30 {
        t.peer(ack(at(have)));
        for got in t.drain() {
            got_again.insert((got.seq - 1) / MSS);
        }
        t.wait(secs(2));
        got_again.extend(starts(&t.drain()));
        while got_again.contains(&have) || have == 0 {
            have += 1;
        }
        if have >= 10 {
            break;
        }
    }
    assert!((5..10).all(|n| got_again.contains(&n)), "{got_again:?}");
}

#[test]
fn d6_half_a_flight_lost_is_repaired_without_a_timeout() {
    for (syn, mss) in [(syn().mss(1460).sack_permitted(), 1460), (modern_syn(), 1448)] {
        let mut t = Script::listening().established(syn);
        t.write(100 * mss);
        t.drain();
        let seg = |n: u32| 1 + n * mss;
        let mut have: BTreeSet<u32> = (5..10).collect();
        let mut una = 0;
        t.peer(ack(1).sack(&[(seg(5), seg(10))]));
        let start = t.host.now;
        for _ in 0..40 {
            t.wait(ms(2));
            for got in t.drain() {
                have.insert((got.seq - 1) / mss);
            }
            while have.contains(&una) {
                una += 1;
            }
            let above: Vec<u32> = have.iter().copied().filter(|n| *n > una).collect();
            let block = above.first().map(|first| (seg(*first), seg(above.last().unwrap() + 1)));
            t.peer(ack(seg(una)).sack(block.as_slice()));
        }
        assert!(una >= 10 && t.host.now - start < ms(200), "at {una}");
    }
}

#[test]
fn d7_a_lost_retransmission_is_sent_again() {
    for mut t in [ten_out(Script::server()), ten_out(Script::sack_server())] {
        t.peer_all((1..8).map(|n| ack(at(0)).sack(&blocks(&[(1, n + 1)]))));
        t.drain();
        t.wait(secs(3));
        let again = t.drain();
        assert!(again.iter().any(|got| got.seq == at(0)), "{again:?}");
    }
}

#[test]
fn d8_blocks_that_cannot_be_are_ignored() {
    let mut t = ten_out(Script::sack_server());
    let nonsense = [
        vec![(at(5), at(4))],
        vec![(at(5), at(5))],
        vec![(at(12), at(20))],
        vec![(at(9), at(11))],
        vec![(at(0).wrapping_sub(5000), at(2))],
        vec![(0x8000_0000, 0x9000_0000)],
    ];
    for blocks in nonsense {
        for _ in 0..4 {
            t.peer(ack(at(0)).sack(&blocks));
        }
    }
    assert!(t.drain().iter().all(|got| got.seq >= at(10)), "nothing was lost");
    t.peer(ack(at(10)));
    assert_eq!(t.drain().first().map(|got| got.seq >= at(10)), Some(true));
}

#[test]
fn d8_a_storm_of_random_blocks_does_no_harm() {
    let mut t = ten_out(Script::sack_server());
    let mut rng = 99u64;
    let mut random = |below: u32| {
        rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (rng >> 33) as u32 % below
    };
    for _ in 0..300 {
        let blocks: Vec<(u32, u32)> = (0..4).map(|_| (random(at(12)), random(at(12)))).collect();
        t.peer(ack(at(0)).sack(&blocks));
    }
    t.drain();
    let mut last = at(0);
    for _ in 0..2000 {
        t.wait(ms(50));
        last = t.drain().iter().map(|got| got.range().end).max().unwrap_or(0).max(last);
        t.peer(ack(last));
        if last == at(100) {
            break;
        }
    }
    assert_eq!((last, t.state()), (at(100), State::Established));
}

#[test]
fn d8_a_block_below_the_acknowledgement_reports_a_duplicate_and_no_loss() {
    let mut t = ten_out(Script::sack_server());
    t.peer(ack(at(4)));
    t.drain();
    for _ in 0..5 {
        t.peer(ack(at(4)).sack(&blocks(&[(1, 2)])));
    }
    assert_eq!(bytes(&t.drain()), 0);
}

#[test]
fn a_loss_at_the_end_of_a_flight_is_repaired_by_the_timer() {
    let mut t = Script::server();
    t.write(6 * MSS);
    t.expect_flight(at(0)..at(6), MSS);
    t.peer(ack(at(4)));
    let again = t.wait_any(secs(3));
    assert_eq!(again[0].seq, at(4));
    t.peer(ack(at(5)));
    t.wait(secs(1));
    assert!(t.drain().iter().any(|got| got.seq == at(5)));
}

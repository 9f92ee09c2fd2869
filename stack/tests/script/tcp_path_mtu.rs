//! How long segments may be is searched upwards with one of them at a time (RFC 4821 §7, RFC 8899 §5). Row N3; what makes
//! them shorter is in [`tcp_attack`](crate::tcp_attack).

use std::time::Duration;

use hayase_stack::Count;

use crate::dsl::{Got, Script, Segment, ack, modern_syn, syn, syn_ack};
use crate::host::ms;
use crate::tcp_attack::icmp_error;

const MSS: u32 = 1460;

/// A connection that is accepted a round trip after its SYN, and where our numbers begin.
fn accepted(round_trip: Duration) -> (Script, u32) {
    let mut t = Script::listening();
    t.peer(syn().mss(MSS as u16).sack_permitted());
    let isn = t.expect(syn_ack()).wire_seq;
    t.wait(round_trip);
    t.peer(ack(1));
    t.accept();
    (t, isn)
}

/// A connection whose segments a router made shorter, 960 bytes, ten minutes ago.
fn narrowed() -> (Script, u32) {
    let (mut t, isn) = accepted(ms(20));
    t.write(14_600);
    t.drain();
    icmp_error(&mut t, 3, 4, 1000, isn, 1);
    deliver_all(&mut t);
    t.wait(Duration::from_secs(601));
    (t, isn)
}

fn count(t: &Script, count: Count) -> u64 {
    t.host.stack.counters().get(count)
}

/// Acknowledges until there is nothing more; what came.
fn deliver_all(t: &mut Script) -> Vec<Got> {
    let mut all = t.drain();
    loop {
        t.wait(ms(20));
        t.peer(ack(t.seen));
        let more = t.drain();
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

fn cwnd(t: &Script) -> u32 {
    t.host.stack.tcp_info(t.id()).unwrap().snd_cwnd
}

#[test]
fn n3_one_longer_segment_asks_and_all_are_longer_once_it_passed() {
    let (mut t, _) = narrowed();
    t.write(20_000);
    let flight = t.drain();
    assert_eq!(flight[0].len, MSS, "what was before a router spoke");
    assert!(flight.len() > 4 && flight[1..].iter().all(|got| got.len == 960), "one only: {flight:?}");
    t.peer(ack(t.seen));
    assert_eq!(count(&t, Count::MtupSuccess), 1);
    deliver_all(&mut t);
    t.write(14_600);
    assert!(t.drain().iter().all(|got| got.len == MSS));
}

/// A connection over which 100,000 bytes went, and ten segments more are on their way.
fn proven() -> (Script, u32) {
    proven_to(syn().mss(MSS as u16).sack_permitted())
}

fn proven_to(syn: Segment) -> (Script, u32) {
    let mut t = Script::listening();
    t.peer(syn);
    let isn = t.expect(syn_ack()).wire_seq;
    t.wait(ms(20));
    t.peer(ack(1));
    t.accept();
    t.write(100_000);
    deliver_all(&mut t);
    t.write(14_600);
    t.drain();
    (t, isn)
}

/// RFC 5927 §7.2
#[test]
fn f9_who_says_that_a_known_path_is_narrow_is_not_believed_while_it_goes_on() {
    let (mut t, isn) = proven();
    icmp_error(&mut t, 3, 4, 1000, isn, 100_001);
    t.silence();
    deliver_all(&mut t);
    t.write(14_600);
    assert!(t.drain().iter().all(|got| got.len == MSS));
    // Nor when something else is lost later.
    t.wait(Duration::from_secs(2));
    let again = t.drain();
    assert!(!again.is_empty() && again.iter().all(|got| got.len == MSS), "{again:?}");
}

#[test]
fn f9_who_says_so_is_right_if_what_he_quotes_is_lost() {
    let (mut t, isn) = proven();
    icmp_error(&mut t, 3, 4, 1000, isn, 100_001);
    t.silence();
    t.wait(Duration::from_secs(2));
    let again = t.drain();
    assert!(again.iter().any(|got| got.seq == 100_001 && got.len == 960), "{again:?}");
    deliver_all(&mut t);
    t.write(14_600);
    assert!(t.drain().iter().all(|got| got.len <= 960));
}

/// The loss window is one segment, of those that go from now on (RFC 5681 §3.1): with more, nobody could tell which of them
/// was acknowledged, and a needless timeout from a needed one (RFC 5682 §2.1).
#[test]
fn f9_a_timeout_that_makes_segments_shorter_sends_one_of_them() {
    let (mut t, isn) = proven();
    icmp_error(&mut t, 3, 4, 576, isn, 100_001);
    t.silence();
    let mut again = Vec::new();
    while count(&t, Count::Timeouts) == 0 {
        again = t.wait_any(Duration::from_secs(2));
    }
    assert_eq!(again.iter().map(|got| (got.seq, got.len)).collect::<Vec<_>>(), [(100_001, 536)]);
}

/// The peer has what is quoted, or lacks something before it: that is no proof.
#[test]
fn f9_who_quotes_another_segment_than_the_lost_one_is_not_believed() {
    let (mut t, isn) = proven();
    icmp_error(&mut t, 3, 4, 1000, isn, 101_461);
    t.wait(Duration::from_secs(2));
    let again = t.drain();
    assert!(!again.is_empty() && again.iter().all(|got| got.len == MSS), "{again:?}");
}

/// Its fast retransmission met the same router: that is as good as a timeout, and comes sooner.
#[test]
fn f9_who_quotes_the_lost_segment_again_a_round_trip_later_is_believed_at_once() {
    let (mut t, isn) = proven();
    icmp_error(&mut t, 3, 4, 1000, isn, 100_001);
    icmp_error(&mut t, 3, 4, 1000, isn, 100_001);
    t.silence();
    t.wait(ms(40));
    t.drain();
    icmp_error(&mut t, 3, 4, 1000, isn, 100_001);
    let again = t.drain();
    assert!(again.iter().any(|got| got.seq == 100_001 && got.len == 960), "{again:?}");
}

/// What was quoted was late and nothing else, as the echo of its timestamp shows (RFC 3522).
#[test]
fn f9_a_needless_timeout_proves_nothing() {
    let (mut t, isn) = proven_to(modern_syn());
    deliver_all(&mut t);
    t.write(14_480);
    let first = t.drain().remove(0);
    let echo = first.options.timestamps.unwrap().0;
    icmp_error(&mut t, 3, 4, 1000, isn, first.seq);
    t.wait(ms(600));
    assert!(t.drain().iter().any(|got| got.seq == first.seq && got.len == 948));
    let now = t.ts_now();
    t.peer(ack(first.range().end).timestamps(now, echo));
    assert_eq!(count(&t, Count::SpuriousRtos), 1);
    deliver_all(&mut t);
    t.write(14_480);
    assert!(t.drain().iter().all(|got| got.len == MSS - 12), "all is as it was");
}

#[test]
fn n3_where_too_little_would_follow_nothing_is_asked() {
    let (mut t, _) = narrowed();
    // The probe and three segments.
    t.write(MSS + 3 * 960 - 1);
    assert!(t.drain().iter().all(|got| got.len <= 960));
}

#[test]
fn n3_a_probe_that_is_lost_costs_itself_alone() {
    let (mut t, _) = narrowed();
    t.write(14_600);
    let flight = t.drain();
    let (probe, before) = (flight[0].clone(), cwnd(&t));
    assert_eq!(probe.len, MSS);
    for got in &flight[1..] {
        t.peer(ack(probe.seq).sack(&[(flight[1].seq, got.range().end)]));
    }
    t.wait(ms(10));
    let again: Vec<Got> = t.drain().into_iter().filter(|got| got.seq < probe.range().end).collect();
    let lens: Vec<u32> = again.iter().map(|got| got.len).collect();
    assert_eq!((again[0].seq, &lens[..]), (probe.seq, &[960, 500][..]));
    assert!(cwnd(&t) >= before, "{} after {before}", cwnd(&t));
    assert_eq!((count(&t, Count::FastRetrans), count(&t, Count::MtupFail)), (0, 1));
    // The next is half as much longer.
    deliver_all(&mut t);
    t.write(14_600);
    let lens: Vec<u32> = t.drain().iter().map(|got| got.len).collect();
    assert_eq!((lens[0], lens[1]), (960 + (MSS - 1 - 960) / 2, 960));
}

#[test]
fn n3_a_loss_beside_the_probes_is_congestion() {
    let (mut t, _) = narrowed();
    t.write(14_600);
    let flight = t.drain();
    let before = cwnd(&t);
    for got in &flight[2..] {
        t.peer(ack(flight[0].seq).sack(&[(flight[2].seq, got.range().end)]));
    }
    t.wait(ms(10));
    t.drain();
    deliver_all(&mut t);
    assert_eq!(count(&t, Count::FastRetrans), 1);
    assert!(cwnd(&t) < before, "{} after {before}", cwnd(&t));
}

#[test]
fn n3_without_sack_the_loss_of_a_probe_is_found_by_duplicates() {
    let mut t = Script::listening();
    t.peer(syn().mss(MSS as u16));
    let isn = t.expect(syn_ack()).wire_seq;
    t.peer(ack(1));
    t.accept();
    t.write(14_600);
    t.drain();
    icmp_error(&mut t, 3, 4, 1000, isn, 1);
    deliver_all(&mut t);
    // Duplicates at the very end of a recovery would not count.
    t.write(100);
    deliver_all(&mut t);
    t.wait(Duration::from_secs(601));
    t.write(14_600);
    let flight = t.drain();
    let (probe, before) = (flight[0].clone(), cwnd(&t));
    assert_eq!(probe.len, MSS);
    (0..3).for_each(|_| t.peer(ack(probe.seq)));
    let again: Vec<Got> = t.drain().into_iter().filter(|got| got.seq < probe.range().end).collect();
    assert_eq!((again[0].seq, again[0].len), (probe.seq, 960));
    assert!(cwnd(&t) >= before && count(&t, Count::FastRetrans) == 0);
}

#[test]
fn n3_a_router_that_answers_a_probe_says_how_long_it_may_be() {
    let (mut t, isn) = narrowed();
    t.write(14_600);
    let probe = t.drain().remove(0);
    assert_eq!(probe.len, MSS);
    icmp_error(&mut t, 3, 4, 1200, isn, probe.seq);
    let again = t.drain();
    assert_eq!((again[0].seq, again[0].len), (probe.seq, 960), "at once");
    deliver_all(&mut t);
    t.write(14_600);
    assert_eq!(t.drain()[0].len, 1160, "just what the router said");
    deliver_all(&mut t);
    t.write(14_600);
    assert!(t.drain().iter().all(|got| got.len == 1160));
}

/// What a router said was too long goes again, and there is no tail loss probe for it: the timeout is counted from then on,
/// and not from when the probe would have been due (RFC 6298 §5).
#[test]
fn n3_what_went_again_for_a_router_has_one_timeout() {
    let (mut t, isn) = accepted(ms(200));
    t.write(2 * MSS);
    assert_eq!(t.drain().len(), 2);
    icmp_error(&mut t, 3, 4, 1000, isn, 1);
    assert!(t.drain().iter().all(|got| got.len <= 960));
    // 200 ms, and four times half of that.
    t.silence_for(ms(590));
    let again = t.wait_any(ms(20));
    assert_eq!((again[0].seq, count(&t, Count::Timeouts), count(&t, Count::LossProbes)), (1, 1, 0));
}

/// A path that swallows segments of more than `limit` bytes without a word, until two million bytes have arrived; the
/// payload of the longest that went last, and how often the timer ran out.
fn through_black_hole(limit: u32) -> (u32, u64) {
    let mut t = Script::listening();
    t.peer(syn().mss(MSS as u16).sack_permitted());
    t.expect(syn_ack());
    t.wait(ms(20));
    t.peer(ack(1));
    t.accept();
    let (mut una, mut held, mut last) = (1, Vec::<(u32, u32)>::new(), vec![]);
    for _ in 0..10_000 {
        let _ = t.try_write(20_000);
        let passed: Vec<Got> = t.drain().into_iter().filter(|got| got.len <= limit).collect();
        last = passed.iter().map(|got| got.len).collect();
        for got in passed {
            held.push((got.seq, got.range().end));
            while let Some(at) = held.iter().position(|(l, r)| *l <= una && *r > una) {
                una = held.swap_remove(at).1;
            }
            held.retain(|(_, r)| *r > una);
            match held.last() {
                Some(block) => t.peer(ack(una).sack(&[*block])),
                None => t.peer(ack(una)),
            }
        }
        t.wait(ms(20));
        if una > 2_000_000 {
            break;
        }
    }
    assert!(una > 2_000_000, "limit {limit}: {una} bytes arrived");
    (last.iter().copied().max().unwrap_or(0), count(&t, Count::Timeouts))
}

/// The longest that passes is found, by timeouts at first and by probes then, and nothing but the probes is lost any more.
#[test]
fn n3_a_black_hole_is_measured_to_the_byte_or_nearly() {
    for limit in [1100, 1240, 1400, 1455] {
        let (longest, timeouts) = through_black_hole(limit);
        assert!((limit - 8..=limit).contains(&longest), "limit {limit}: {longest}");
        assert!(timeouts <= 4, "limit {limit}: {timeouts}");
    }
}

/// Nor is that the end where the path takes less than nearly every other (RFC 4821 §7.7): MTUs of 1000, 576 and 296.
#[test]
fn n3_a_black_hole_for_short_segments_is_found_too() {
    for limit in [960, 536, 256] {
        let (longest, timeouts) = through_black_hole(limit);
        assert!((limit - 8..=limit).contains(&longest), "limit {limit}: {longest}");
        assert!(timeouts <= 8, "limit {limit}: {timeouts}");
    }
}

/// On a path whose router says how long packets may be, until 20,000 bytes have arrived; the payload of the longest
/// that passed, and how often the timer ran out.
fn through_router(mtu: u32) -> (u32, u64) {
    let (mut t, isn) = accepted(ms(20));
    t.write(20_000);
    let (mut una, mut longest) = (1, 0);
    while una <= 20_000 {
        let out = t.wait_any(Duration::from_secs(3));
        if let Some(got) = out.iter().find(|got| got.len + 40 > mtu) {
            icmp_error(&mut t, 3, 4, mtu, isn, got.seq);
        }
        let passed = out.iter().filter(|got| got.len + 40 <= mtu);
        longest = passed.clone().map(|got| got.len).fold(longest, u32::max);
        una = passed.fold(una, |una, got| if got.seq <= una { una.max(got.range().end) } else { una });
        t.peer(ack(una));
    }
    (longest, count(&t, Count::Timeouts))
}

/// RFC 1191 §3: a router may have a link with any MTU from 68 bytes on.
#[test]
fn n3_a_router_with_a_link_of_less_than_552_bytes_is_believed_once_that_is_lost() {
    for mtu in [508, 296, 68] {
        assert_eq!(through_router(mtu), (mtu - 40, 1), "MTU {mtu}");
    }
}

#[test]
fn n3_who_tells_of_such_a_link_where_nothing_is_lost_is_not_believed() {
    let (mut t, isn) = accepted(ms(20));
    t.write(14_600);
    t.drain();
    (0..3).for_each(|_| icmp_error(&mut t, 3, 4, 68, isn, 1));
    deliver_all(&mut t);
    t.write(14_600);
    assert!(t.drain().iter().all(|got| got.len == 512));
    // Nor when something else is lost later.
    assert!(t.wait_any(Duration::from_secs(2)).iter().all(|got| got.len == 512));
}

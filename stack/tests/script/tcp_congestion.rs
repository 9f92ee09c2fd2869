//! Congestion control, chosen per socket: NewReno (RFC 5681, 6582), CUBIC (RFC 9438) with HyStart++ (RFC 9406) and BBR
//! (draft-ietf-ccwg-bbr). Rows H and N2.

use std::time::Duration;

use hayase_stack::{Config, Congestion};

use crate::dsl::{Got, Script, Segment, ack, modern_syn, syn_ack};
use crate::host::ms;

const MSS: u32 = 1448;
const RTT: Duration = ms(100);

fn listening(congestion: Congestion) -> Script {
    let mut config = Config::default();
    config.congestion = congestion;
    config.pacing = false;
    config.send_buffer_len = 4 << 20;
    Script::listening_with(config)
}

/// A peer 100 ms away that takes 8 MB at once.
fn established(mut t: Script, syn: Segment) -> Script {
    t.peer(syn);
    t.expect(syn_ack());
    t.wait(RTT);
    t.peer(ack(1));
    t.accept();
    t
}

fn server(congestion: Congestion) -> Script {
    established(listening(congestion), modern_syn())
}

/// Fills the send buffer and takes what comes out.
fn flight(t: &mut Script) -> Vec<Got> {
    while t.try_write(20 * MSS).is_ready() {}
    t.drain().into_iter().filter(|got| got.len > 0).collect()
}

/// One round trip in which everything arrives, each segment acknowledged by itself, evenly spaced. Returns how many
/// segments the window had room for.
fn round(t: &mut Script, flight: &mut Vec<Got>) -> usize {
    let count = flight.len();
    let step = RTT / count.max(1) as u32;
    let mut next = vec![];
    for got in std::mem::take(flight) {
        t.wait(step);
        t.peer(ack(got.range().end));
        next.extend(self::flight(t));
    }
    *flight = next;
    count
}

/// Grows to `count` segments in flight, then loses the first of them. Returns what was in flight in the round trip
/// after the repair.
fn after_one_loss(t: &mut Script, count: usize) -> (usize, Vec<Got>) {
    let mut out = flight(t);
    while out.len() < count {
        round(t, &mut out);
    }
    let before = out.len();
    let una = out[0].seq;
    for got in &out[1..] {
        t.peer(ack(una).sack(&[(out[1].seq, got.range().end)]));
    }
    t.wait(RTT);
    let mut out = flight(t);
    let end = out.iter().map(|got| got.range().end).max().unwrap();
    out.retain(|got| got.seq != una);
    t.peer(ack(end));
    let mut out = flight(t);
    round(t, &mut out);
    (before, out)
}

#[test]
fn h1_a_loss_takes_three_tenths_of_the_window() {
    let mut t = server(Congestion::Cubic);
    let (before, after) = after_one_loss(&mut t, 40);
    let after = after.len();
    assert!(after * 10 >= before * 6 && after * 10 <= before * 8, "{after} after {before}");
}

#[test]
fn b7_with_newreno_it_takes_half() {
    let mut t = server(Congestion::NewReno);
    let (before, after) = after_one_loss(&mut t, 40);
    let after = after.len();
    assert!(after * 10 >= before * 4 && after * 10 <= before * 6, "{after} after {before}");
}

#[test]
fn h2_the_window_comes_back_to_where_it_was_lingers_and_goes_on() {
    let mut t = server(Congestion::Cubic);
    let (before, mut out) = after_one_loss(&mut t, 60);
    let windows: Vec<usize> = (0..120).map(|_| round(&mut t, &mut out)).collect();
    // K = cbrt(W_max * 0.3 / 0.4): 4.9 s for 160 segments.
    let k = ((before as f64 * 0.75).cbrt() * 10.0) as usize;
    let back = windows.iter().position(|window| window * 100 >= before * 97).unwrap();
    assert!(back > k / 3 && back < k + 10, "after {back} round trips, K is {k}: {windows:?}");
    let (start, plateau) = (windows[10] - windows[0], windows[k + 3] - windows[k - 7]);
    assert!(start > plateau, "concave: {start} then {plateau}");
    let later = windows[119] - windows[109];
    assert!(later > 2 * plateau, "convex: {plateau} then {later}");
}

#[test]
fn h2_slow_start_ends_where_the_delay_grows_and_nothing_is_lost() {
    let mut t = server(Congestion::Cubic);
    let mut out = flight(&mut t);
    let mut windows = vec![];
    for n in 0..12u64 {
        // From the third round trip on the queue at the bottleneck grows.
        t.wait(ms(if n < 3 { 0 } else { 20 }));
        windows.push(round(&mut t, &mut out));
    }
    let last = windows[11] as f64 / windows[10] as f64;
    assert!(last < 1.3 && windows[11] < 2000, "{windows:?}");
}

#[test]
fn n2_the_algorithm_is_chosen_while_the_connection_runs() {
    let mut t = server(Congestion::Cubic);
    let id = t.id();
    assert_eq!(t.host.stack.tcp_congestion(id), Ok(Congestion::Cubic));
    t.host.stack.tcp_set_congestion(id, Congestion::NewReno).unwrap();
    assert_eq!(t.host.stack.tcp_congestion(id), Ok(Congestion::NewReno));
    let (before, after) = after_one_loss(&mut t, 40);
    assert!(after.len() * 10 <= before * 6, "{} after {before}", after.len());
}

#[test]
fn n2_new_connections_have_what_the_configuration_says() {
    for congestion in Congestion::ALL {
        let t = server(*congestion);
        assert_eq!(t.host.stack.tcp_congestion(t.id()), Ok(*congestion));
    }
}

#[test]
fn n2_bbr_paces_from_the_first_segment_on() {
    let mut t = server(Congestion::Bbr);
    // 2.77 initial windows of ten segments a round trip, a millisecond's worth at a time.
    assert_eq!(flight(&mut t).len(), 1);
    let start = t.host.now;
    let mut sent = 1;
    while sent < 10 {
        sent += t.wait_any(RTT).len();
    }
    let took = (t.host.now - start).as_millis();
    assert!((28..=40).contains(&took), "ten segments in {took} ms");
}

#[test]
fn n2_bbr_keeps_its_window_when_something_is_lost() {
    let mut t = server(Congestion::Bbr);
    let mut out = flight(&mut t);
    while out.len() < 10 {
        out.extend(t.wait_any(RTT));
    }
    for got in &out[1..] {
        t.peer(ack(1).sack(&[(out[1].seq, got.range().end)]));
    }
    let info = t.host.stack.tcp_info(t.id()).unwrap();
    assert!(info.snd_cwnd >= 10 * MSS, "{info:?}");
    assert_eq!(info.lost + info.total_retrans * MSS, MSS, "the hole is found all the same");
}

#[test]
fn n2_bbr_measures_each_segment_and_knows_when_the_application_was_slow() {
    let mut t = server(Congestion::Bbr);
    for _ in 0..3 {
        t.write(1000);
        let got = t.drain().remove(0);
        t.wait(RTT);
        t.peer(ack(got.range().end));
        let info = t.host.stack.tcp_info(t.id()).unwrap();
        assert_eq!(info.delivery_rate, 10_000, "a thousand bytes in a round trip");
        assert!(info.delivery_rate_app_limited, "there was nothing more to send");
    }
    t.host.stack.tcp_set_congestion(t.id(), Congestion::Cubic).unwrap();
    assert_eq!(t.host.stack.tcp_info(t.id()).unwrap().delivery_rate, 0, "nobody measures any more");
}

// Acknowledgements that come together, and a window that is not used. Rows B2 and H2.

fn cwnd(t: &Script) -> u32 {
    t.host.stack.tcp_info(t.id()).unwrap().snd_cwnd
}

/// An acknowledgement for every two of these segments.
fn acks_of(flight: &[Got]) -> Vec<Segment> {
    flight.chunks(2).map(|two| ack(two[two.len() - 1].range().end)).collect()
}

/// One round trip after which all acknowledgements come in one turn.
fn burst(t: &mut Script, flight: &mut Vec<Got>) {
    t.wait(RTT);
    t.peer_all(acks_of(flight));
    *flight = self::flight(t);
}

#[test]
fn b2_acknowledgements_that_come_together_open_the_window_as_they_do_one_by_one() {
    for congestion in [Congestion::NewReno, Congestion::Cubic] {
        let (mut together, mut apart) = (server(congestion), server(congestion));
        let (mut burst_out, mut out) = (flight(&mut together), flight(&mut apart));
        for segments in [10, 20, 40, 80] {
            assert_eq!((cwnd(&together), cwnd(&apart)), (segments * MSS, segments * MSS), "{congestion}");
            burst(&mut together, &mut burst_out);
            apart.wait(RTT);
            let mut next = vec![];
            for ack in acks_of(&out) {
                apart.peer(ack);
                next.extend(flight(&mut apart));
            }
            out = next;
        }
    }
}

#[test]
fn b2_so_they_do_after_a_loss() {
    for congestion in [Congestion::NewReno, Congestion::Cubic] {
        let mut t = server(congestion);
        let (_, mut out) = after_one_loss(&mut t, 40);
        // What was in flight when the window became smaller.
        (0..2).for_each(|_| burst(&mut t, &mut out));
        let before = cwnd(&t);
        (0..20).for_each(|_| burst(&mut t, &mut out));
        let gained = (cwnd(&t) - before) / MSS;
        // CUBIC's region that is friendly to Reno has half a segment for each round trip at first.
        let least = if congestion == Congestion::NewReno { 19 } else { 9 };
        assert!((least..=40).contains(&gained), "{congestion}: {gained} segments in 20 round trips");
    }
}

#[test]
fn h2_rounds_end_where_acknowledgements_come_together_too() {
    let mut t = server(Congestion::Cubic);
    let mut out = flight(&mut t);
    let mut windows = vec![];
    for n in 0..12 {
        // From the third round trip on the queue at the bottleneck grows.
        t.wait(ms(if n < 3 { 0 } else { 20 }));
        windows.push(cwnd(&t) / MSS);
        burst(&mut t, &mut out);
    }
    assert_eq!(windows[..4], [10, 20, 40, 80], "nothing is slow yet");
    // In conservative slow start, and not for ever.
    assert!(windows.windows(2).skip(4).all(|two| two[1] * 10 <= two[0] * 13), "{windows:?}");
    let ssthresh = t.host.stack.tcp_info(t.id()).unwrap().snd_ssthresh;
    assert!(ssthresh < 400 * MSS, "{windows:?}, then {ssthresh} bytes");
}

/// Writes so many segments, which is all that there is, and acknowledges every two of them a round trip later.
fn exchange(t: &mut Script, segments: u32) {
    t.write(segments * MSS);
    let out = t.drain();
    t.wait(RTT);
    t.peer_all(acks_of(&out));
    t.drain();
}

/// RFC 7661
#[test]
fn b2_a_window_that_is_not_used_does_not_grow() {
    for congestion in [Congestion::NewReno, Congestion::Cubic] {
        let mut t = server(congestion);
        exchange_at_once(&mut t, 10);
        exchange_at_once(&mut t, 20);
        (0..30).for_each(|_| exchange(&mut t, 19));
        assert_eq!(cwnd(&t), 40 * MSS, "{congestion}: less than half of it is used");
        (0..30).for_each(|_| exchange(&mut t, 25));
        assert!(cwnd(&t) <= 52 * MSS, "{congestion}: no more than twice what is used");
    }
}

/// The same with one acknowledgement for all.
fn exchange_at_once(t: &mut Script, segments: u32) {
    t.write(segments * MSS);
    t.drain();
    t.wait(RTT);
    t.peer(ack(t.seen));
}

/// In congestion avoidance after a loss among forty segments, with nothing outstanding.
fn lossy(congestion: Congestion) -> Script {
    let mut t = server(congestion);
    exchange_at_once(&mut t, 10);
    exchange_at_once(&mut t, 20);
    t.write(40 * MSS);
    let out = t.drain();
    t.wait(RTT);
    t.peer(ack(out[0].seq).sack(&[(out[1].seq, out[39].range().end)]));
    t.drain();
    t.wait(RTT);
    t.peer(ack(out[39].range().end));
    t
}

/// As many round trips as given, each of which uses all of the window and ends with one acknowledgement, and then a rest.
fn rested(rounds: u32, rest: Duration) -> u32 {
    let mut t = lossy(Congestion::Cubic);
    for _ in 0..rounds {
        let segments = cwnd(&t) / MSS;
        exchange_at_once(&mut t, segments);
        t.wait(rest);
    }
    cwnd(&t)
}

/// RFC 9438 §5.8
#[test]
fn h2_time_in_which_nothing_was_outstanding_is_no_time() {
    let (busy, lazy) = (rested(60, ms(0)), rested(60, ms(150)));
    assert!(busy > 30 * MSS && busy.abs_diff(lazy) <= MSS, "{busy} without rest, {lazy} with");
}

#[test]
fn h2_after_a_pause_the_window_comes_back_to_where_it_was_and_starts_a_new_stage() {
    let mut t = lossy(Congestion::Cubic);
    let mut fill = |rounds: u32| {
        for _ in 0..rounds {
            let segments = cwnd(&t) / MSS;
            exchange_at_once(&mut t, segments);
        }
        let before = cwnd(&t);
        t.wait(Duration::from_secs(20));
        before
    };
    let (before, after) = (fill(5), fill(8));
    assert!(after <= before + 4 * MSS, "{after} after {before}");
}

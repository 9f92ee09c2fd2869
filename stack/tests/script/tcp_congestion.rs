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

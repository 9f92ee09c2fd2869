//! Pacing, and what a connection tells of itself. Row N2.

use std::time::Duration;

use hayase_stack::{CaState, Config, Congestion, Error, State, TcpInfo};

use crate::dsl::{Got, Script, ack, data, modern_syn, syn_ack};
use crate::host::ms;

const MSS: u32 = 1448;
const RTT: Duration = ms(100);

/// A peer 100 ms away.
fn far_away(config: Config) -> Script {
    let mut t = Script::listening_with(config);
    t.peer(modern_syn());
    t.expect(syn_ack());
    t.wait(RTT);
    t.peer(ack(1));
    t.accept();
    t
}

fn info(t: &Script) -> TcpInfo {
    t.host.stack.tcp_info(t.id()).unwrap()
}

/// Two round trips of slow start, each flight acknowledged as a whole; then what comes within the next 80 ms.
fn third_flight(config: Config) -> (Script, Vec<Got>) {
    let mut t = far_away(config);
    t.write(300 * MSS);
    for _ in 0..2 {
        t.wait(RTT);
        t.drain();
        let seen = t.seen;
        t.peer(ack(seen));
    }
    t.wait(ms(80));
    let flight = t.drain();
    (t, flight)
}

#[test]
fn n2_a_large_window_leaves_over_a_round_trip() {
    let (_, flight) = third_flight(Config::default());
    assert!(flight.len() > 20, "{}", flight.len());
    let start = flight[0].at;
    let at_once = flight.iter().filter(|got| got.at == start).count();
    assert!(at_once <= 14, "{at_once} at once of {}", flight.len());
    let time = flight.last().unwrap().at - start;
    assert!((ms(10)..ms(70)).contains(&time), "twice the window a round trip, after ten at once: {time:?}");
    for pair in flight[14..].windows(8) {
        assert!(pair[7].at - pair[0].at >= ms(5), "a burst at {:?}", pair[0].at - start);
    }
}

#[test]
fn n2_pacing_can_be_switched_off() {
    let mut config = Config::default();
    config.pacing = false;
    let (t, flight) = third_flight(config);
    let start = flight[0].at;
    assert!(flight.len() > 20 && flight.iter().all(|got| got.at == start));
    assert_eq!(t.host.stack.tcp_info(t.id()).unwrap().pacing_rate, None);
}

#[test]
fn n2_a_reply_that_fits_the_initial_window_leaves_at_once() {
    let mut t = far_away(Config::default());
    for n in 0..5 {
        t.write(10 * MSS);
        let reply = t.drain();
        assert_eq!(reply.len(), 10, "reply {n}");
        t.wait(RTT);
        let seen = t.seen;
        t.peer(ack(seen));
        t.drain();
    }
}

#[test]
fn n2_a_new_connection_tells_where_it_starts() {
    let t = far_away(Config::default());
    let info = t.host.stack.tcp_info(t.id()).unwrap();
    assert_eq!((info.state, info.congestion), (State::Established, Congestion::Cubic));
    assert_eq!((info.snd_mss, info.snd_cwnd, info.snd_ssthresh), (MSS, 10 * MSS, 1 << 30));
    assert_eq!((info.rtt_us, info.rttvar_us, info.min_rtt_us), (100_000, 50_000, 100_000));
    assert_eq!((info.rto_us, info.retransmits, info.total_retrans), (300_000, 0, 0));
    assert_eq!((info.unacked, info.sacked, info.lost, info.delivery_rate), (0, 0, 0, 0));
    assert!(info.timestamps && info.sack && info.snd_wscale == 7);
    assert_eq!(info.pacing_rate, Some(2 * 10 * u64::from(MSS) * 10));
    assert_eq!((info.ca_state, info.probes, info.retrans), (CaState::Open, 0, 0));
    assert_eq!((info.ato_us, info.pmtu, info.advmss), (40_000, 1500, 1460));
    assert_eq!((info.rcv_ssthresh, info.rcv_rtt_us, info.rcv_space), (512 * 1024, 100_000, 0));
    assert_eq!((info.bytes_sent, info.bytes_retrans, info.dsack_dups, info.reord_seen), (0, 0, 0, 0));
}

#[test]
fn n2_the_phase_of_recovery_is_told_by_its_name() {
    let mut t = far_away(Config::default());
    t.write(10 * MSS);
    t.drain();
    t.wait(RTT);
    let at = |n: u32| 1 + n * MSS;
    t.peer(ack(1).sack(&[(at(1), at(2))]));
    assert_eq!(info(&t).ca_state, CaState::Disorder);
    t.peer(ack(1).sack(&[(at(1), at(5))]));
    t.drain();
    assert_eq!(info(&t).ca_state, CaState::Recovery);
    t.peer(ack(at(10)));
    assert_eq!(info(&t).ca_state, CaState::Open);
    t.write(MSS);
    t.wait(Duration::from_secs(5));
    let lost = info(&t);
    assert_eq!(lost.ca_state, CaState::Loss);
    assert!(lost.retransmits >= 1 && lost.probes == 0);
}

#[test]
fn n2_what_goes_again_is_counted_in_bytes() {
    let mut t = far_away(Config::default());
    t.write(10 * MSS);
    t.drain();
    t.wait(RTT);
    let at = |n: u32| 1 + n * MSS;
    t.peer(ack(1).sack(&[(at(1), at(8))]));
    assert_eq!(t.drain().len(), 1, "the hole");
    let again = info(&t);
    assert_eq!((again.retrans, again.bytes_retrans, again.total_retrans), (MSS, MSS.into(), 1));
    assert_eq!(again.bytes_sent, u64::from(11 * MSS));
    assert_eq!(again.last_data_sent_at, t.host.now);
    t.wait(RTT);
    t.peer(ack(at(10)).sack(&[(at(0), at(1))]));
    let over = info(&t);
    assert_eq!((over.retrans, over.bytes_retrans, over.dsack_dups), (0, MSS.into(), 1));
    t.shutdown();
    t.drain();
    assert_eq!(info(&t).bytes_sent, u64::from(11 * MSS), "neither SYN nor FIN is data");
}

/// How many there were, how many of them were the first of some, and how many milliseconds those took.
fn timeouts(t: &Script) -> (u32, u32, u64) {
    let info = info(t);
    (info.total_rto, info.total_rto_recoveries, (info.total_rto_time_us + 500) / 1000)
}

#[test]
fn n2_timeouts_are_counted_and_how_long_they_took() {
    let mut t = far_away(Config::default());
    t.write(MSS);
    // After 0.3 s, 0.9 s, 2.1 s and 4.5 s.
    t.wait(Duration::from_secs(5));
    assert_eq!(timeouts(&t), (4, 1, 0), "it is not over");
    t.drain();
    t.peer(ack(1 + MSS));
    assert_eq!(timeouts(&t), (4, 1, 4700));
    t.write(MSS);
    t.wait(ms(1000));
    let (count, recoveries, took) = timeouts(&t);
    assert!(count > 4 && (recoveries, took) == (2, 4700), "{count}, {recoveries} times, {took} ms");
    t.drain();
    // Segments are shorter by now.
    let seen = t.seen;
    t.peer(ack(seen));
    assert!(timeouts(&t).2 > 4700);
}

#[test]
fn n2_timeouts_of_a_syn_are_counted() {
    let mut t = Script::connecting();
    t.wait(ms(3500));
    t.drain();
    // After 1 s and 3 s.
    t.peer(syn_ack().ack(1));
    assert_eq!((info(&t).state, timeouts(&t)), (State::Established, (2, 1, 2500)));
}

#[test]
fn n2_a_path_that_reorders_is_told_of() {
    let mut t = far_away(Config::default());
    t.write(10 * MSS);
    t.drain();
    t.wait(RTT);
    let at = |n: u32| 1 + n * MSS;
    t.peer(ack(1).sack(&[(at(1), at(2))]));
    t.peer(ack(at(2)));
    let info = info(&t);
    assert_eq!((info.reord_seen, info.total_retrans, info.ca_state), (1, 0, CaState::Open));
}

#[test]
fn n2_what_arrives_before_its_turn_is_told_of() {
    let mut t = far_away(Config::default());
    t.peer(data(201..301));
    t.peer(data(401..501));
    assert_eq!((info(&t).rcv_ooo_bytes, info(&t).rcv_ooopack), (200, 2));
    t.peer(data(1..201));
    assert_eq!((info(&t).rcv_ooo_bytes, info(&t).rcv_ooopack, info(&t).bytes_received), (100, 2, 300));
}

#[test]
fn n2_probes_of_a_closed_window_are_no_retransmissions() {
    let mut t = far_away(Config::default());
    t.peer(ack(1).window(0));
    t.write(1000);
    t.wait(Duration::from_secs(3));
    let shut = info(&t);
    assert!(shut.probes >= 2 && shut.retransmits == 0 && shut.total_rto == 0, "{shut:?}");
    assert_eq!(shut.ca_state, CaState::Loss, "what probed is outstanding");
    t.drain();
    t.peer(ack(1).window(0));
    assert_eq!(info(&t).probes, 0, "it answers");
}

#[test]
fn n2_what_is_outstanding_reported_and_lost_is_told() {
    let mut t = far_away(Config::default());
    t.write(10 * MSS);
    t.drain();
    t.wait(RTT);
    let at = |n: u32| 1 + n * MSS;
    t.peer(ack(at(1)).sack(&[(at(3), at(7))]));
    let info = t.host.stack.tcp_info(t.id()).unwrap();
    assert_eq!((info.unacked, info.sacked), (9 * MSS, 4 * MSS));
    assert_eq!(info.delivered, u64::from(1 + MSS + 4 * MSS), "with the SYN");
    assert_eq!(info.lost + info.total_retrans * MSS, 2 * MSS, "1 and 2, sent again or about to be");
    assert!(info.total_retrans >= 1 && info.snd_ssthresh < 10 * MSS);
}

#[test]
fn n2_bytes_are_counted_in_both_directions() {
    let mut t = far_away(Config::default());
    t.write(1000);
    t.drain();
    t.peer(data(1..501).ack(1001));
    t.peer(data(601..701));
    t.peer(data(501..601));
    let info = t.host.stack.tcp_info(t.id()).unwrap();
    assert_eq!((info.bytes_acked, info.bytes_received), (1000 + 1, 700));
}

#[test]
fn n2_the_rate_of_delivery_is_measured_where_the_window_is_used() {
    let mut t = far_away(Config::default());
    t.write(300 * MSS);
    for _ in 0..4 {
        t.wait(RTT);
        t.drain();
        let seen = t.seen;
        t.peer(ack(seen));
    }
    let rate = t.host.stack.tcp_info(t.id()).unwrap().delivery_rate;
    let per_round = rate / u64::from(MSS) / 10;
    assert!((10..=80).contains(&per_round), "{per_round} segments a round trip");
}

#[test]
fn n2_a_connection_that_is_gone_tells_nothing() {
    let mut t = far_away(Config::default());
    let id = t.id();
    t.abort();
    assert_eq!(t.host.stack.tcp_info(id).unwrap_err(), Error::StaleHandle);
}

//! Closing: half close, all ways into TIME-WAIT, resets, limits of patience (RFC 9293 §3.6, §3.10.4, §3.10.5).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::task::Poll;
use std::time::Duration;

use hayase_stack::{Config, Count, Drop, Error, Keepalive, State};

use crate::codec::{ACK, FIN, RST};
use crate::dsl::{Got, Script, ack, data, fin, modern_syn, rst, syn, syn_ack};
use crate::host::{Host, STACK_V4, ms};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A connection that we closed first and the peer then; in TIME-WAIT.
fn in_time_wait(syn: crate::dsl::Segment) -> Script {
    let mut t = Script::listening().established(syn);
    t.close();
    t.expect(fin(1));
    t.peer(ack(2));
    t.peer(fin(1));
    t.expect(ack(2).seq(2));
    t
}

/// Whether nothing is left of the connection.
fn is_gone(t: &Script) -> bool {
    t.host.stack.tcp_count() == 0
}

// The ways through the states

#[test]
fn we_close_first_fin_wait_1_fin_wait_2_time_wait() {
    let mut t = Script::server();
    t.shutdown();
    t.expect(fin(1).ack(1));
    assert_eq!(t.state(), State::FinWait1);
    t.peer(ack(2));
    assert_eq!(t.state(), State::FinWait2);
    t.peer(fin(1));
    t.expect(ack(2).seq(2));
    assert_eq!(t.state(), State::TimeWait);
    t.expect_end();
}

#[test]
fn a_client_closes_the_same_way() {
    let mut t = Script::client();
    t.write(10);
    t.expect(data(1..11));
    t.close();
    t.expect(fin(11));
    t.peer(data(1..1).ack(12).and_fin());
    t.expect(ack(2).seq(12));
    t.wait(secs(61));
    assert!(is_gone(&t));
    t.host.assert_frames_home();
}

#[test]
fn fin_and_ack_of_ours_in_one_segment_lead_straight_to_time_wait() {
    let mut t = Script::server();
    t.shutdown();
    t.expect(fin(1));
    t.peer(fin(1).ack(2));
    t.expect(ack(2).seq(2));
    assert_eq!(t.state(), State::TimeWait);
}

#[test]
fn the_peer_closes_first_close_wait_last_ack_closed() {
    let mut t = Script::server();
    t.peer(fin(1));
    t.expect(ack(2));
    assert_eq!(t.state(), State::CloseWait);
    t.expect_end();
    t.shutdown();
    t.expect(fin(1).ack(2));
    assert_eq!(t.state(), State::LastAck);
    t.peer(ack(2));
    assert_eq!(t.state(), State::Closed);
    t.close();
    assert!(is_gone(&t));
}

#[test]
fn both_close_at_once_closing_time_wait() {
    let mut t = Script::server();
    t.shutdown();
    t.expect(fin(1).ack(1));
    t.peer(fin(1).ack(1));
    t.expect(ack(2).seq(2));
    assert_eq!(t.state(), State::Closing);
    t.peer(ack(2));
    assert_eq!(t.state(), State::TimeWait);
    t.silence();
}

#[test]
fn half_close_we_said_all_and_the_peer_goes_on() {
    let mut t = Script::server();
    t.write(10);
    t.shutdown();
    t.expect(data(1..11));
    t.expect(fin(11));
    t.peer(ack(12));
    for at in (1..60_001).step_by(1000) {
        t.peer(data(at..at + 1000));
        assert_eq!(t.read(), 1000);
    }
    t.peer(fin(60_001));
    assert_eq!(t.drain().pop().unwrap().ack, 60_002);
    assert_eq!(t.try_write(1), Poll::Ready(Err(Error::BrokenPipe)));
}

#[test]
fn half_close_the_peer_said_all_and_we_go_on() {
    let mut t = Script::server();
    t.peer(fin(1));
    t.expect(ack(2));
    t.write(100_000);
    let mut at = 1;
    while at < 100_001 {
        let flight = t.drain();
        assert!(!flight.is_empty(), "stalled at {at}");
        at = flight.last().map_or(at, |got| got.range().end);
        t.peer(ack(at));
    }
    t.close();
    t.expect(fin(100_001));
    t.peer(ack(100_002));
    assert!(is_gone(&t));
}

#[test]
fn a_fin_travels_with_the_last_data_or_behind_it_and_is_repeated_when_lost() {
    let mut t = Script::server();
    t.write(10);
    t.expect(data(1..11));
    t.close();
    t.expect(fin(11));
    let mut again = t.wait_any(secs(2));
    assert_eq!(again.remove(0).range(), 1..11);
    t.peer(ack(11));
    t.drain();
    t.wait(secs(5));
    assert!(t.drain().iter().all(|got| got.is(FIN) && got.seq + got.len == 11));
    t.peer(ack(12));
    t.peer(fin(1));
    t.expect(ack(2));
}

#[test]
fn closing_does_not_lose_what_was_written() {
    let mut t = Script::server();
    t.write(50_000);
    t.close();
    let mut last = 1;
    while last <= 50_000 {
        for got in t.drain() {
            last = last.max(got.range().end + u32::from(got.is(FIN)));
        }
        t.peer(ack(last));
    }
    assert_eq!(last, 50_002);
    t.peer(fin(1));
    t.expect(ack(2));
}

// TIME-WAIT

#[test]
fn must_13_a_repeated_fin_in_time_wait_is_acknowledged() {
    let mut t = in_time_wait(syn().mss(1460));
    for _ in 0..3 {
        t.wait(secs(5));
        t.peer(fin(1));
        t.expect(ack(2).seq(2));
    }
}

/// We were the client, and nobody listens at our port.
#[test]
fn must_13_a_syn_that_opens_nothing_leaves_time_wait_alone() {
    let mut t = Script::client();
    t.close();
    t.expect(fin(1));
    t.peer(ack(2));
    t.peer(fin(1));
    t.expect(ack(2).seq(2));
    for higher in [syn().seq(100_000), syn().seq(100_000).and(FIN)] {
        t.peer(higher);
        t.expect(ack(2).seq(2));
    }
    t.peer(fin(1));
    t.expect(ack(2).seq(2));
    t.wait(secs(61));
    assert!(is_gone(&t));
}

/// All that wait to be accepted are as many as may be.
#[test]
fn must_13_a_syn_for_which_there_is_no_room_leaves_time_wait_alone() {
    let mut t = in_time_wait(syn().mss(1460));
    let isn = t.peer_isn;
    for port in 5000..5016 {
        t.reborn(port, isn);
        t.peer(syn().mss(1460));
        t.expect(syn_ack());
        t.peer(ack(1));
    }
    t.drain();
    t.reborn(4000, isn.wrapping_add(100_000));
    t.peer(syn().mss(1460));
    let answer = t.drain();
    assert!(answer.len() == 1 && answer[0].flags == ACK, "{answer:?}");
    assert_eq!(t.host.stack.tcp_count(), 17);
}

/// Only the peer's FIN shows that it lacks our last ACK.
#[test]
fn time_wait_is_not_lengthened_by_what_is_no_fin_of_the_peer() {
    let mut t = in_time_wait(syn().mss(1460));
    t.wait(secs(30));
    for segment in [data(1000..1010), data(0..1), fin(5), fin(0)] {
        t.peer(segment);
        t.expect(ack(2).seq(2));
    }
    t.wait(secs(31));
    assert!(is_gone(&t));
}

#[test]
fn time_wait_ends_after_a_minute_and_leaves_nothing() {
    let mut t = in_time_wait(modern_syn());
    t.wait(secs(59));
    assert!(!is_gone(&t));
    t.wait(secs(2));
    assert!(is_gone(&t));
    t.peer(fin(1).ack(2));
    t.expect(rst(2));
    t.host.assert_frames_home();
}

/// RFC 1337
#[test]
fn a_stray_reset_does_not_cut_time_wait_short() {
    let mut t = in_time_wait(syn().mss(1460));
    for seq in [0, 1, 3, 1000, 1 << 30] {
        t.peer(rst(seq));
    }
    t.silence();
    assert!(!is_gone(&t));
}

#[test]
fn may_2_a_syn_with_a_higher_sequence_number_reopens() {
    let mut t = in_time_wait(syn().mss(1460));
    t.peer_isn = t.peer_isn.wrapping_add(100_000);
    t.reborn(4000, t.peer_isn);
    let t = t.established(syn().mss(1460));
    assert_eq!(t.state(), State::Established);
}

/// RFC 1122 §4.2.2.13
#[test]
fn may_2_the_new_connection_starts_above_all_that_the_old_one_sent() {
    let mut t = Script::listening();
    t.peer(syn().mss(1460));
    let old = t.expect(syn_ack()).wire_seq;
    t.peer(ack(1));
    t.accept();
    t.write(400_000);
    t.close();
    let mut last = 1;
    while last <= 400_000 {
        last = t.drain().iter().map(|got| got.range().end + u32::from(got.is(FIN))).max().unwrap_or(last);
        t.peer(ack(last));
    }
    t.peer(fin(1));
    t.drain();
    t.reborn(4000, t.peer_isn.wrapping_add(100_000));
    t.peer(syn().mss(1460));
    let new = t.expect(syn_ack()).wire_seq;
    assert!(new.wrapping_sub(old.wrapping_add(400_000)) < 1 << 30, "{old} then {new}");
}

/// RFC 6191
#[test]
fn may_2_a_newer_timestamp_reopens_whatever_the_sequence_number() {
    let mut t = in_time_wait(modern_syn());
    t.wait(ms(10));
    t.reborn(4000, t.peer_isn.wrapping_sub(100_000));
    t.established(modern_syn());
}

#[test]
fn n7_time_wait_is_never_in_the_way_of_a_newer_connection() {
    let mut t = Script::listening();
    for n in 0..2000u32 {
        t.reborn(4000, n.wrapping_mul(0x9e37_79b9));
        t = t.established(modern_syn());
        t.close();
        t.expect(fin(1));
        t.peer(ack(2));
        t.peer(fin(1));
        t.expect(ack(2).seq(2));
        assert_eq!(t.host.stack.tcp_count(), 1, "one makes room for the next");
        t.wait(ms(1));
    }
    assert_eq!(t.host.stack.counters().get(Count::TwRecycled), 1999);
    t.host.assert_frames_home();
}

/// A host with so few ports that they are used up at once.
fn few_ports() -> Script {
    let mut config = Config::default();
    config.ephemeral_ports = 40_000..=40_007;
    Script::idle_on(Host::with(config, 1500))
}

/// Opens a connection to the same peer, whose SYN-ACK this is, and closes it first. Returns what its SYN was, and its end.
fn come_and_go(
    t: &mut Script,
    local: Option<SocketAddr>,
    syn_ack: crate::dsl::Segment,
) -> Result<(Got, u32), Error> {
    let id = t.host.stack.tcp_connect(t.host.now, t.peer_addr, local)?;
    t.reborn(4000, t.peer_isn);
    t.opened(id);
    let first = t.expect(syn());
    t.peer(syn_ack);
    t.expect(ack(1));
    t.close();
    t.expect(fin(1));
    t.peer(ack(2));
    t.peer(fin(1));
    let last = t.expect(ack(2).seq(2)).wire_seq;
    Ok((first, last))
}

/// RFC 6191, as Linux's `tcp_tw_reuse`.
#[test]
fn n7_our_own_time_wait_makes_room_for_a_newer_connection_to_the_same_peer() {
    let mut t = few_ports();
    let answer = || syn_ack().mss(1460).timed();
    let mut ends = HashMap::new();
    for _ in 0..8 {
        let (_, end) = come_and_go(&mut t, None, answer()).unwrap();
        ends.insert(t.stack_addr, end);
    }
    assert_eq!(
        come_and_go(&mut t, None, answer()).unwrap_err(),
        Error::PortsExhausted,
        "it may still be on its way"
    );
    t.wait(ms(1100));
    for _ in 0..8 {
        let (first, end) = come_and_go(&mut t, None, answer()).unwrap();
        let old = ends.insert(t.stack_addr, end).unwrap();
        assert!((1..1 << 30).contains(&first.wire_seq.wrapping_sub(old)), "{old} then {first:?}");
    }
    assert_eq!(t.host.stack.counters().get(Count::TwRecycled), 8);
    assert_eq!((ends.len(), t.host.stack.tcp_count()), (8, 8), "each made room for one");
    assert_eq!(come_and_go(&mut t, None, answer()).unwrap_err(), Error::PortsExhausted);
    t.host.assert_frames_home();
}

#[test]
fn n7_also_where_the_port_is_chosen() {
    let mut t = few_ports();
    let (local, answer) = (Some((STACK_V4, 40_000).into()), || syn_ack().mss(1460).timed());
    let (old, _) = come_and_go(&mut t, local, answer()).unwrap();
    assert_eq!(come_and_go(&mut t, local, answer()).unwrap_err(), Error::AddrInUse);
    t.wait(ms(1100));
    let (new, _) = come_and_go(&mut t, local, answer()).unwrap();
    let clock = |got: &Got| got.options.timestamps.unwrap().0;
    assert_eq!(clock(&new).wrapping_sub(clock(&old)), 1100);
}

/// Nothing tells the peer what is old then.
#[test]
fn n7_without_timestamps_it_does_not() {
    let mut t = few_ports();
    let local = Some((STACK_V4, 40_000).into());
    come_and_go(&mut t, local, syn_ack().mss(1460)).unwrap();
    t.wait(secs(50));
    assert_eq!(come_and_go(&mut t, local, syn_ack()).unwrap_err(), Error::AddrInUse);
}

#[test]
fn an_old_syn_in_time_wait_draws_an_ack_and_not_a_connection() {
    let mut t = in_time_wait(syn().mss(1460));
    t.peer(syn().mss(1460));
    t.expect(ack(2).seq(2));
    assert!(!t.has_connection());
}

#[test]
fn f5_bare_acks_in_time_wait_make_no_loop() {
    let mut t = in_time_wait(syn().mss(1460));
    for _ in 0..200 {
        t.peer(ack(2));
    }
    t.silence();
    for _ in 0..200 {
        t.peer(ack(2).seq(1));
        t.peer(ack(2).seq(1000));
    }
    assert!(t.drain().len() <= 2, "two confused hosts would answer each other for ever");
}

// Resets

#[test]
fn must_12_the_application_learns_of_a_reset() {
    let mut t = Script::server();
    t.peer(rst(1));
    t.expect_error(Error::ConnectionReset);
    assert_eq!(t.try_write(1), Poll::Ready(Err(Error::BrokenPipe)));

    let mut t = Script::server();
    t.peer(rst(1));
    assert_eq!(t.try_write(1), Poll::Ready(Err(Error::ConnectionReset)), "a writer learns it too");
    t.silence();
}

/// SHLD-2
#[test]
fn shld_2_a_reset_may_carry_data() {
    let mut t = Script::server();
    t.peer(rst(1).carrying(20));
    assert_eq!(t.state(), State::Closed);
    t.expect_error(Error::ConnectionReset);
}

#[test]
fn must_12_a_reset_closes_in_every_synchronized_state() {
    // What the script and the application do before the reset, and where it has to stand.
    let peer_closes = |t: &mut Script| t.peer(fin(1));
    type Step<'a> = &'a dyn Fn(&mut Script);
    let cases: [(State, &[Step<'_>], u32); 6] = [
        (State::Established, &[], 1),
        (State::FinWait1, &[&Script::shutdown], 1),
        (State::FinWait2, &[&Script::shutdown, &|t| t.peer(ack(2))], 1),
        (State::CloseWait, &[&peer_closes], 2),
        (State::LastAck, &[&peer_closes, &Script::shutdown], 2),
        (State::Closing, &[&Script::shutdown, &|t| t.peer(fin(1).ack(1))], 2),
    ];
    for (state, steps, seq) in cases {
        let mut t = Script::server();
        steps.iter().for_each(|step| step(&mut t));
        assert_eq!(t.state(), state);
        t.drain();
        t.peer(rst(seq));
        assert_eq!(t.state(), State::Closed, "from {state:?}");
        t.close();
        assert!(is_gone(&t), "from {state:?}");
        t.silence();
    }
}

/// MUST-12 is about data that may be lost: in LAST-ACK that is ours, until it is acknowledged.
#[test]
fn must_12_a_reset_after_both_closed_tells_of_what_was_lost() {
    for (acked, outcome) in [(1, Err(Error::ConnectionReset)), (101, Ok(true))] {
        let mut t = Script::server();
        t.peer(fin(1));
        t.write(100);
        t.shutdown();
        t.drain();
        assert_eq!(t.state(), State::LastAck);
        t.peer(ack(2).seq(2).ack(acked));
        assert_eq!(t.host.stack.tcp_flushed(t.id()), Ok(false));
        t.peer(rst(2));
        assert_eq!(t.state(), State::Closed);
        let flushed = t.host.stack.tcp_flushed(t.id());
        assert_eq!(flushed, outcome, "acknowledged: {acked}");
        assert_eq!(t.host.stack.tcp_flushed(t.id()), outcome, "asked again");
    }
}

#[test]
fn shld_3_closing_with_unread_data_resets() {
    let mut t = Script::server();
    t.peer(data(1..101));
    t.close();
    let got = t.drain().pop().unwrap();
    assert!(got.is(RST) && got.seq == 1, "{got:?}");
    assert!(is_gone(&t));
}

/// What the end of a host waits for.
#[test]
fn what_the_peer_has_not_acknowledged_is_undelivered() {
    let mut t = Script::listening();
    t.peer(syn().mss(1460));
    assert!(!t.host.stack.tcp_has_undelivered(), "half open");
    t.expect(syn_ack());
    t.peer(ack(1));
    t.accept();
    assert!(!t.host.stack.tcp_has_undelivered());
    t.write(100);
    assert!(t.host.stack.tcp_has_undelivered());
    t.drain();
    assert!(t.host.stack.tcp_has_undelivered());
    t.peer(ack(101));
    assert!(!t.host.stack.tcp_has_undelivered());
    t.close();
    t.expect(fin(101));
    assert!(t.host.stack.tcp_has_undelivered(), "the FIN");
    t.peer(ack(102));
    assert!(!t.host.stack.tcp_has_undelivered(), "it is the peer's turn");
}

/// The byte that probes a shut window is beyond what the peer takes, and so would be a reset behind it (RFC 5961 §3.2).
#[test]
fn shld_3_the_reset_stands_where_the_peer_takes_it() {
    let mut t = Script::server();
    t.peer(ack(1).window(0));
    t.write(100);
    let probes = t.wait_any(ms(2000));
    assert_eq!((probes[0].seq, probes[0].len), (1, 1));
    t.close();
    t.peer(data(1..11).ack(1).window(0));
    let reset = t.drain().into_iter().find(|got| got.is(RST)).expect("nobody reads any more");
    assert_eq!(reset.seq, 1);
    assert_eq!(t.host.dropped(Drop::TcpClose), 1);
}

#[test]
fn shld_3_data_after_close_draws_a_reset() {
    let mut t = Script::server();
    t.close();
    t.expect(fin(1));
    t.peer(ack(2));
    t.peer(data(1..101));
    assert!(t.drain().iter().any(|got| got.is(RST) && got.seq == 2));
    assert!(is_gone(&t));
}

#[test]
fn lingering_for_no_time_resets() {
    let mut t = Script::server();
    let id = t.id();
    t.host.stack.tcp_set_linger(id, Some(Duration::ZERO)).unwrap();
    t.write(100);
    t.drain();
    t.close();
    let got = t.expect(rst(101).ack(1));
    assert!(got.is(ACK));
    assert!(is_gone(&t));
}

#[test]
fn lingering_for_a_while_resets_only_when_it_is_over() {
    let mut t = Script::server();
    let id = t.id();
    t.host.stack.tcp_set_linger(id, Some(secs(5))).unwrap();
    t.close();
    t.wait(ms(4900));
    assert!(!t.drain().iter().any(|got| got.is(RST)));
    t.wait(ms(200));
    assert!(t.drain().iter().any(|got| got.is(RST)));
    assert!(is_gone(&t));
}

#[test]
fn abort_resets_where_the_peer_stands() {
    let mut t = Script::server();
    t.peer(data(1..11));
    t.write(10);
    t.drain();
    t.abort();
    t.expect(rst(11).ack(11));
    assert!(is_gone(&t));
    t.host.assert_frames_home();
}

#[test]
fn a_closing_listener_resets_whom_nobody_accepted() {
    let mut t = Script::listening();
    t.peer(syn());
    t.expect(syn_ack());
    t.peer(ack(1));
    let listener = t.listener.unwrap();
    t.host.stack.close_listener(t.host.now, listener);
    t.host.turn();
    t.expect(rst(1).ack(1));
    t.reborn(4000, 5);
    t.peer(syn());
    t.expect(rst(0).ack(1));
    assert!(is_gone(&t));
}

// Limits of patience

#[test]
fn fin_wait_2_of_a_closed_socket_lasts_a_minute() {
    let mut t = Script::server();
    t.close();
    t.expect(fin(1));
    t.peer(ack(2));
    t.wait(secs(59));
    assert!(!is_gone(&t));
    t.wait(secs(2));
    assert!(is_gone(&t));
}

#[test]
fn must_20_unacknowledged_data_is_given_up_after_r2_and_not_before_100_seconds() {
    let mut t = Script::server();
    t.write(100);
    t.wait(secs(100));
    assert_eq!(t.state(), State::Established);
    t.wait(secs(3600));
    t.expect_error(Error::TimedOut);
    assert_eq!(t.host.stack.tcp_count(), 1, "the handle is the application's");
    t.close();
    assert!(is_gone(&t));
}

#[test]
fn must_21_r2_can_be_set() {
    let mut config = hayase_stack::Config::default();
    config.retries_max = 3;
    let mut t = Script::listening_with(config).established(syn());
    t.write(100);
    t.wait(secs(20));
    t.expect_error(Error::TimedOut);
}

#[test]
fn a_closed_socket_whose_peer_is_gone_goes_away() {
    let mut t = Script::server();
    t.write(1000);
    t.close();
    t.wait(secs(3600));
    assert!(is_gone(&t));
    t.drain();
    t.host.assert_frames_home();
}

/// RFC 6429 §3: MUST-37 protects applications, not a peer that makes us keep what nobody owns any more.
#[test]
fn a_closed_socket_whose_peer_keeps_its_window_shut_goes_away() {
    let mut t = Script::server();
    t.peer(ack(1).window(0));
    t.write(1000);
    t.close();
    for _ in 0..100 {
        t.wait(secs(60));
        t.drain();
        t.peer(ack(1).window(0));
    }
    assert!(is_gone(&t));
    t.drain();
    t.host.assert_frames_home();
}

// Keep-alive (§3.8.4)

fn keepalive(t: &mut Script, idle: u64, interval: u64, count: u8) {
    let id = t.id();
    let settings = Keepalive { idle: secs(idle), interval: secs(interval), count };
    t.host.stack.tcp_set_keepalive(t.host.now, id, Some(settings)).unwrap();
}

#[test]
fn must_25_keep_alive_is_off_by_default() {
    let mut t = Script::server();
    t.silence_for(secs(100_000));
    assert_eq!(t.state(), State::Established);
}

#[test]
fn must_28_keep_alive_waits_two_hours_unless_told_otherwise() {
    let mut t = Script::server();
    let id = t.id();
    t.host.stack.tcp_set_keepalive(t.host.now, id, Some(Keepalive::default())).unwrap();
    t.silence_for(secs(7199));
    t.wait_for(secs(2), ack(1).seq(0));
}

#[test]
fn must_29_one_lost_answer_does_not_kill() {
    let mut t = Script::server();
    keepalive(&mut t, 10, 5, 3);
    for _ in 0..5 {
        t.wait_for(secs(12), ack(1).seq(0));
        t.wait_for(secs(6), ack(1).seq(0));
        t.peer(ack(1));
    }
    assert_eq!(t.state(), State::Established);
}

#[test]
fn must_29_a_peer_that_never_answers_is_given_up() {
    let mut t = Script::server();
    keepalive(&mut t, 10, 5, 3);
    t.wait(secs(60));
    let got = t.drain();
    assert_eq!(got.iter().filter(|got| !got.is(RST)).count(), 3);
    t.expect_error(Error::TimedOut);
}

#[test]
fn probes_of_the_peer_are_answered_and_their_garbage_byte_is_not_delivered() {
    let mut t = Script::server();
    t.peer(data(1..11));
    assert_eq!(t.read(), 10);
    t.drain();
    t.wait(secs(1));
    t.drain();
    for probe in [ack(1).seq(10), data(10..11), ack(1).seq(10)] {
        t.wait(secs(10));
        t.peer(probe);
        t.expect(ack(11).seq(1));
    }
    assert_eq!(t.read(), 0);
}

#[test]
fn a_busy_port_is_not_given_to_a_second_listener() {
    let mut t = Script::listening();
    let addr: SocketAddr = t.stack_addr;
    assert_eq!(t.host.stack.tcp_listen(addr, 1), Err(Error::AddrInUse));
}

//! TCP Fast Open (RFC 7413). Row N4.

use std::task::Poll;
use std::time::Duration;

use hayase_stack::{Config, Count, Error, State};

use crate::codec::{ACK, RST, SYN};
use crate::dsl::{Got, Script, Segment, ack, data, fin, modern_syn, rst, syn, syn_ack};
use crate::host::{Host, PEER_V4, PEER_V6, STACK_V4, STACK_V6};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn count(t: &Script, count: Count) -> u64 {
    t.host.stack.counters().get(count)
}

// The server

/// A listener of whose connections so many may be early.
fn listening(pending_max: usize) -> Script {
    listening_with(Config::default(), pending_max)
}

fn listening_with(config: Config, pending_max: usize) -> Script {
    let mut t = Script::listening_with(config);
    let listener = t.listener.unwrap();
    t.host.stack.tcp_set_fastopen(listener, pending_max).unwrap();
    t
}

/// Asks for a cookie, by a handshake that is then reset.
fn cookie(t: &mut Script) -> Vec<u8> {
    t.peer(syn().mss(1460).fast_open(&[]));
    let cookie = t.expect(syn_ack()).options.fast_open.expect("a cookie");
    t.peer(rst(1));
    t.reborn(t.peer_addr.port() + 1, 77_000);
    cookie
}

/// A SYN with this cookie and `len` bytes.
fn fast_syn(cookie: &[u8], len: u32) -> Segment {
    syn().mss(1460).fast_open(cookie).carrying(len)
}

#[test]
fn n4_a_cookie_is_given_to_whoever_asks_and_no_data_is_taken_for_it() {
    let mut t = listening(8);
    t.peer(fast_syn(&[], 100));
    let got = t.expect(syn_ack().ack(1));
    let cookie = got.options.fast_open.expect("a cookie");
    assert_eq!((cookie.len(), count(&t, Count::FastOpenCookieReqd)), (8, 1));
    assert!(!t.has_connection());
    t.peer(ack(1));
    assert!(t.has_connection());
}

#[test]
fn n4_data_behind_a_good_cookie_is_read_and_answered_before_the_handshake_is_over() {
    for (stack, peer) in [(STACK_V4, PEER_V4), (STACK_V6, PEER_V6)] {
        let mut t = Script::listening_on(Host::new(), stack, peer);
        let listener = t.listener.unwrap();
        t.host.stack.tcp_set_fastopen(listener, 8).unwrap();
        let cookie = cookie(&mut t);
        t.peer(fast_syn(&cookie, 100));
        t.expect(syn_ack().ack(101));
        t.accept();
        assert_eq!((t.state(), t.read()), (State::SynReceived, 100));
        t.set_nodelay(true);
        t.write(3000);
        let answer = t.drain();
        assert_eq!(answer.iter().map(|got| got.len).sum::<u32>(), 3000, "{answer:?}");
        assert!(answer.iter().all(|got| got.ack == 101 && !got.is(SYN)));
        t.peer(ack(3001));
        assert_eq!((t.state(), count(&t, Count::FastOpenPassive)), (State::Established, 1));
        t.peer(data(101..201));
        assert_eq!(t.read(), 100);
        t.shutdown();
        t.peer(fin(201));
        t.drain();
        t.peer(ack(3002));
        assert_eq!(t.state(), State::TimeWait);
    }
}

#[test]
fn n4_the_cookie_is_good_from_any_port() {
    let mut t = listening(8);
    let cookie = cookie(&mut t);
    t.reborn(9000, 5);
    t.peer(fast_syn(&cookie, 10));
    t.expect(syn_ack().ack(11));
}

#[test]
fn n4_a_bad_cookie_brings_a_good_one_and_its_data_has_to_come_again() {
    let mut t = listening(8);
    let good = cookie(&mut t);
    for bad in [&[1u8; 8][..], &[1; 4], &[1; 16], &good[..6]] {
        t.peer(fast_syn(bad, 100));
        let got = t.expect(syn_ack().ack(1));
        assert_eq!(got.options.fast_open.as_deref(), Some(&good[..]));
        t.peer(ack(1));
        t.accept();
        assert_eq!(t.read(), 0);
        t.peer(data(1..101));
        assert_eq!(t.read(), 100);
        let port = t.peer_addr.port() + 1;
        t.reborn(port, 1000);
    }
    assert_eq!(count(&t, Count::FastOpenPassiveFail), 4);
}

#[test]
fn n4_without_the_option_or_with_it_switched_off_nothing_is_different() {
    let mut t = listening(0);
    t.peer(fast_syn(&[], 0));
    let got = t.expect(syn_ack().ack(1));
    assert!(got.options.fast_open.is_none());
    let mut t = listening(8);
    t.peer(syn().mss(1460).carrying(100));
    let got = t.expect(syn_ack().ack(1));
    assert!(got.options.fast_open.is_none());
}

#[test]
fn n4_options_of_impossible_length_are_ignored() {
    let mut t = listening(8);
    for body in [&[34u8, 3, 0, 1][..], &[34, 4, 0, 0], &[34, 7, 1, 2, 3, 4, 5, 1], &[34, 20, 0, 0]] {
        t.peer(syn().raw_options(body));
        assert!(t.expect(syn_ack().ack(1)).options.fast_open.is_none());
        let port = t.peer_addr.port() + 1;
        t.reborn(port, 1000);
    }
}

#[test]
fn n4_all_options_of_a_modern_peer_go_together() {
    let mut t = listening(8);
    let cookie = cookie(&mut t);
    t.peer(modern_syn().fast_open(&cookie).carrying(50));
    let got = t.expect(syn_ack().ack(51));
    let options = &got.options;
    assert!(options.sack_permitted && options.timestamps.is_some() && options.window_scale.is_some());
    t.reborn(7000, 9);
    t.peer(modern_syn().fast_open(&[]));
    let options = t.expect(syn_ack().ack(1)).options;
    assert!(options.sack_permitted && options.timestamps.is_some() && options.window_scale.is_some());
    assert_eq!(options.fast_open, Some(cookie));
}

#[test]
fn n4_no_more_are_early_than_the_listener_says_rfc_7413_5_1() {
    let mut t = listening(2);
    let cookie = cookie(&mut t);
    let mut answers = vec![];
    for n in 0..3u16 {
        t.reborn(5000 + n, 1000);
        t.peer(fast_syn(&cookie, 10));
        answers.push(t.next().expect("an answer"));
    }
    let acks: Vec<u32> = answers.iter().map(|got| got.ack).collect();
    assert_eq!(acks, [11, 11, 1], "the third has to finish its handshake");
    assert_eq!(count(&t, Count::FastOpenListenOverflow), 1);
    // One that is reset keeps its place for a minute, since resets are easily forged.
    t.reborn(5001, 1000);
    t.peer(rst(11));
    t.reborn(5003, 1000);
    t.peer(fast_syn(&cookie, 10));
    t.expect(syn_ack().ack(1));
    // One that finishes its handshake makes room.
    t.reborn(5000, 1000);
    t.resume(answers[0].wire_seq);
    t.nxt = 11;
    t.peer(ack(1));
    t.reborn(5004, 1000);
    t.peer(fast_syn(&cookie, 10));
    t.expect(syn_ack().ack(11));
}

#[test]
fn n4_a_syn_ack_that_is_lost_goes_again_alone_and_the_data_is_there_once() {
    let mut t = listening(8);
    let cookie = cookie(&mut t);
    t.peer(fast_syn(&cookie, 100));
    t.expect(syn_ack().ack(101));
    t.accept();
    t.write(1000);
    t.expect(data(1..1001));
    // By the timer, and because the SYN comes again, which brings no data the second time.
    t.wait_for(secs(2), syn_ack().ack(101));
    t.silence();
    t.peer(syn().mss(1460));
    t.expect(syn_ack().ack(101));
    assert_eq!(t.read(), 100);
    t.peer(ack(1));
    t.expect(data(1..1001));
    t.peer(ack(1001));
    assert_eq!(t.state(), State::Established);
}

#[test]
fn n4_early_data_that_arrived_before_the_syn_ack_was_repeated_is_acknowledged() {
    let mut t = listening(8);
    let cookie = cookie(&mut t);
    t.peer(fast_syn(&cookie, 100));
    t.expect(syn_ack().ack(101));
    t.accept();
    t.write(1000);
    t.expect(data(1..1001));
    t.wait_for(secs(2), syn_ack().ack(101));
    t.peer(ack(1001));
    assert_eq!(t.state(), State::Established);
    t.silence();
}

#[test]
fn n4_what_was_never_sent_cannot_be_acknowledged() {
    let mut t = listening(8);
    let cookie = cookie(&mut t);
    t.peer(fast_syn(&cookie, 100));
    t.expect(syn_ack().ack(101));
    t.accept();
    t.peer(ack(2));
    assert!(t.expect(rst(2)).is(RST));
    assert_eq!(t.state(), State::SynReceived);
}

#[test]
fn n4_a_reset_and_a_silent_peer_end_it_with_an_error() {
    for silent in [false, true] {
        let mut t = listening(1);
        let cookie = cookie(&mut t);
        t.peer(fast_syn(&cookie, 100));
        t.expect(syn_ack().ack(101));
        t.accept();
        assert_eq!(t.read(), 100);
        if silent {
            t.wait(secs(200));
            t.expect_error(Error::TimedOut);
        } else {
            t.peer(rst(101));
            assert!(matches!(t.read_some(9), Poll::Ready(Err(_))));
        }
        assert_eq!(t.host.stack.tcp_state(t.id()), State::Closed);
    }
}

#[test]
fn n4_closing_early_ends_well() {
    let mut t = listening(1);
    let cookie = cookie(&mut t);
    t.peer(fast_syn(&cookie, 100));
    t.expect(syn_ack().ack(101));
    t.accept();
    t.read();
    t.write(10);
    t.close();
    let sent = t.drain();
    assert!(sent.iter().any(|got| got.len == 10), "{sent:?}");
    t.peer(ack(t.seen));
    t.peer(fin(101).ack(t.seen));
    t.drain();
    t.wait(secs(61));
    assert_eq!(t.host.stack.tcp_count(), 0);
}

#[test]
fn n4_a_listener_that_goes_takes_early_connections_along() {
    let mut t = listening(1);
    let cookie = cookie(&mut t);
    t.peer(fast_syn(&cookie, 100));
    t.expect(syn_ack().ack(101));
    t.host.stack.close_listener(t.host.now, t.listener.unwrap());
    t.host.turn();
    assert!(t.next().is_some_and(|got| got.is(RST)));
    assert_eq!(t.host.stack.tcp_count(), 0);
}

#[test]
fn n4_while_syn_cookies_are_in_force_nobody_is_early() {
    let mut config = Config::default();
    config.syn_backlog_max = 0;
    let mut t = listening_with(config, 8);
    t.peer(fast_syn(&[], 0));
    let got = t.expect(syn_ack().ack(1));
    assert!(got.options.fast_open.is_none());
    t.peer(ack(1));
    t.accept();
    assert_eq!(t.state(), State::Established);
}

#[test]
fn n4_a_cookie_lasts_for_an_epoch_and_the_next() {
    let mut t = listening(8);
    let cookie = cookie(&mut t);
    let mut answers = vec![];
    for (n, hours) in [19, 19].into_iter().enumerate() {
        t.wait(secs(hours * 3600));
        t.drain();
        t.reborn(6000 + n as u16, 1000);
        t.peer(fast_syn(&cookie, 10));
        let got = t.drain().pop().expect("an answer");
        answers.push((got.ack, got.options.fast_open.is_some_and(|new| new != cookie)));
        t.peer(rst(got.ack));
    }
    assert_eq!(answers, [(11, true), (1, true)], "a new one comes in time");
}

// The client

/// Opens from the stack with `len` bytes of the stream; how many were taken.
fn connect(t: &mut Script, len: u32) {
    t.connect_with(len);
}

fn client() -> Script {
    Script::idle()
}

/// A handshake that brings a cookie: it was asked for, and the data came after it.
fn got_cookie(cookie: &[u8]) -> Script {
    let mut t = client();
    connect(&mut t, 100);
    let got = t.expect(syn());
    assert_eq!((got.options.fast_open.as_deref(), got.len), (Some(&[][..]), 0));
    t.peer(syn_ack().mss(1400).fast_open(cookie));
    t.expect(data(1..101).ack(1));
    t.peer(ack(101));
    t.abort();
    t.drain();
    t
}

/// The SYN of the next connection, which must carry this much.
fn second(t: &mut Script, len: u32, carried: u32) -> Got {
    t.reborn(4000, 1 << 20);
    connect(t, len);
    t.expect(syn().carrying(carried))
}

const COOKIE: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

#[test]
fn n4_the_first_time_a_cookie_is_asked_for_and_the_second_the_data_goes_with_the_syn() {
    for cookie in [&[9u8; 4][..], &COOKIE, &[7; 16]] {
        let mut t = got_cookie(cookie);
        let got = second(&mut t, 100, 100);
        assert_eq!(got.options.fast_open.as_deref(), Some(cookie));
        assert!(got.options.timestamps.is_some() && got.options.sack_permitted);
        t.peer(syn_ack().mss(1400).ack(101));
        t.expect(ack(1).seq(101));
        assert_eq!((t.state(), count(&t, Count::FastOpenActive)), (State::Established, 1));
        t.peer(data(1..51));
        assert_eq!(t.read(), 50);
        t.write(100);
        t.expect(data(101..201));
    }
}

#[test]
fn n4_no_more_goes_with_a_syn_than_the_peer_takes() {
    let mut t = got_cookie(&COOKIE);
    // Its MSS, less the options of the SYN (RFC 6691): 32 bytes.
    second(&mut t, 5000, 1400 - 32);
    t.peer(syn_ack().mss(1400).ack(1369));
    let mut rest = t.drain();
    t.peer(ack(t.seen));
    rest.extend(t.drain());
    assert_eq!(rest.iter().map(|got| got.len).sum::<u32>(), 5000 - 1368, "{rest:?}");
}

#[test]
fn n4_data_that_is_not_taken_goes_again_with_the_end_of_the_handshake() {
    // All of it, or a part.
    for taken in [0, 40] {
        let mut t = got_cookie(&COOKIE);
        second(&mut t, 100, 100);
        t.peer(syn_ack().mss(1400).ack(1 + taken));
        t.expect(data(1 + taken..101));
        assert_eq!(count(&t, Count::FastOpenActiveFail), u64::from(taken == 0));
        t.peer(ack(101));
        assert_eq!(t.state(), State::Established);
    }
}

#[test]
fn n4_a_server_that_refuses_a_cookie_is_asked_for_another() {
    let mut t = got_cookie(&COOKIE);
    second(&mut t, 100, 100);
    t.peer(syn_ack().mss(1400));
    t.drain();
    t.abort();
    t.drain();
    let got = second(&mut t, 100, 0);
    assert_eq!(got.options.fast_open.as_deref(), Some(&[][..]));
    // And one that gives another is shown that.
    t.peer(syn_ack().mss(1400).fast_open(&[5; 8]));
    t.drain();
    t.abort();
    t.drain();
    assert_eq!(second(&mut t, 100, 100).options.fast_open.as_deref(), Some(&[5; 8][..]));
}

#[test]
fn n4_a_syn_that_gets_lost_goes_again_without_and_the_peer_is_spared_for_an_hour() {
    let mut t = got_cookie(&COOKIE);
    second(&mut t, 100, 100);
    let again = t.wait_any(secs(2)).remove(0);
    assert!(again.flags == SYN && again.options.fast_open.is_none() && again.len == 0, "{again:?}");
    t.peer(syn_ack().mss(1400));
    t.expect(data(1..101));
    assert_eq!(count(&t, Count::FastOpenBlackhole), 1);
    t.abort();
    t.drain();
    assert!(second(&mut t, 100, 0).options.fast_open.is_none());
    t.abort();
    t.drain();
    t.wait(secs(3601));
    t.drain();
    assert_eq!(second(&mut t, 100, 100).options.fast_open.as_deref(), Some(&COOKIE[..]));
}

/// A SYN may wait for its neighbour's address while the next goes out: that it arrived late is no sign that the path
/// swallows it.
#[test]
fn n4_a_cookie_that_comes_after_another_syn_is_kept() {
    let mut t = Script::idle();
    assert_eq!(second(&mut t, 100, 0).options.fast_open.as_deref(), Some(&[][..]));
    t.wait_for(secs(2), syn());
    t.peer(syn_ack().mss(1400).fast_open(&COOKIE));
    t.expect(data(1..101));
    assert_eq!(count(&t, Count::FastOpenBlackhole), 0);
    t.abort();
    t.drain();
    assert_eq!(second(&mut t, 100, 100).options.fast_open.as_deref(), Some(&COOKIE[..]));
}

/// The SYN with data arrived, its answer got lost: the answer to the second SYN acknowledges both.
#[test]
fn n4_the_data_of_a_syn_may_be_acknowledged_after_another() {
    let mut t = got_cookie(&COOKIE);
    second(&mut t, 100, 100);
    t.wait_for(secs(2), syn());
    t.peer(syn_ack().mss(1400).ack(101));
    t.expect(ack(1).seq(101));
    assert_eq!(t.state(), State::Established);
}

#[test]
fn n4_an_acknowledgement_of_more_than_was_sent_is_reset() {
    let mut t = got_cookie(&COOKIE);
    second(&mut t, 100, 100);
    t.peer(syn_ack().mss(1400).ack(102));
    assert!(t.expect(rst(102)).is(RST));
    assert_eq!(t.state(), State::SynSent);
}

#[test]
fn n4_both_may_open_at_once_with_data() {
    let mut t = got_cookie(&COOKIE);
    second(&mut t, 100, 100);
    t.peer(syn().mss(1400));
    let got = t.expect(syn_ack());
    assert_eq!(got.len, 0);
    t.peer(syn_ack().mss(1400));
    t.expect(data(1..101));
    t.peer(ack(101));
    assert_eq!((t.state(), count(&t, Count::FastOpenActive)), (State::Established, 0));
}

#[test]
fn n4_a_refused_connection_is_refused() {
    let mut t = got_cookie(&COOKIE);
    second(&mut t, 100, 100);
    t.peer(rst(0).ack(101));
    assert_eq!(t.poll_connect(), Poll::Ready(Err(Error::ConnectionRefused)));
}

/// It answers no question about Fast Open.
#[test]
fn n4_a_port_that_is_shut_says_nothing_of_the_path() {
    let mut t = got_cookie(&COOKIE);
    let (active, failed) = (count(&t, Count::FastOpenActive), count(&t, Count::FastOpenActiveFail));
    second(&mut t, 100, 100);
    t.wait_for(secs(2), syn());
    t.peer(rst(0).and(ACK).ack(1));
    assert_eq!(count(&t, Count::FastOpenBlackhole), 0);
    second(&mut t, 100, 100);
    t.peer(rst(0).and(ACK).ack(101));
    assert_eq!((count(&t, Count::FastOpenActive), count(&t, Count::FastOpenActiveFail)), (active, failed));
    assert_eq!(second(&mut t, 100, 100).options.fast_open.as_deref(), Some(&COOKIE[..]));
}

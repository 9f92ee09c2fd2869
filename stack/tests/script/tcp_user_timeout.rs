//! How long a connection waits for a peer that does not answer: R2 (RFC 9293 §3.8.3) and the user timeout (RFC 5482).
//! Row N6.

use std::time::Duration;

use hayase_stack::{Config, Error, Keepalive, State};

use crate::dsl::{Script, ack, modern_syn, syn};
use crate::host::ms;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn set(t: &mut Script, limit: Option<Duration>) {
    let id = t.id();
    t.host.stack.tcp_set_user_timeout(id, limit).unwrap();
    assert_eq!(t.host.stack.tcp_user_timeout(id), Ok(limit));
}

/// How long it takes until the connection is given up.
fn time_to_close(t: &mut Script, limit: Duration) -> Duration {
    let start = t.host.now;
    while t.state() != State::Closed {
        assert!(t.host.now < start + limit, "not given up within {limit:?}");
        t.wait(ms(10));
        t.drain();
    }
    t.host.now - start
}

fn assert_about(time: Duration, wanted: Duration) {
    assert!((wanted..wanted + ms(20)).contains(&time), "{time:?}, not {wanted:?}");
}

#[test]
fn must_21_the_user_timeout_ends_the_wait_for_an_acknowledgement() {
    for limit in [ms(700), secs(5), secs(60)] {
        let mut t = Script::modern_server();
        set(&mut t, Some(limit));
        t.write(1000);
        assert_about(time_to_close(&mut t, secs(100)), limit);
        t.expect_error(Error::TimedOut);
    }
}

#[test]
fn must_21_r2_is_configured_as_a_number_of_retransmissions() {
    let mut config = Config::default();
    config.retries_max = 3;
    let mut t = Script::listening_with(config).established(modern_syn());
    t.write(1000);
    let time = time_to_close(&mut t, secs(100));
    // 0.2 s, doubled three times.
    assert!((secs(3)..ms(3300)).contains(&time), "{time:?}");
    t.expect_error(Error::TimedOut);
}

#[test]
fn n6_the_user_timeout_may_be_longer_than_r2() {
    let mut config = Config::default();
    config.retries_max = 3;
    let mut t = Script::listening_with(config).established(modern_syn());
    set(&mut t, Some(secs(30)));
    t.write(1000);
    assert_about(time_to_close(&mut t, secs(100)), secs(30));
}

#[test]
fn n6_every_acknowledgement_starts_the_time_again() {
    let mut t = Script::modern_server();
    set(&mut t, Some(secs(5)));
    t.write(10_000);
    for n in 1..=8 {
        t.wait(secs(4));
        t.drain();
        t.peer(ack(1 + 1000 * n));
        assert_eq!(t.state(), State::Established, "after {n} times 4 s");
    }
    assert!(time_to_close(&mut t, secs(100)) >= ms(4900));
}

#[test]
fn n6_an_idle_connection_knows_no_user_timeout() {
    let mut t = Script::modern_server();
    set(&mut t, Some(secs(1)));
    t.silence_for(secs(3600));
    t.write(100);
    t.drain();
    t.wait(ms(500));
    t.peer(ack(101));
    t.wait(secs(10));
    assert_eq!(t.state(), State::Established);
    // One loss is not ten seconds of silence.
    t.write(100);
    t.wait(ms(600));
    assert_eq!(t.state(), State::Established);
}

#[test]
fn n6_a_window_that_stays_shut_ends_it_too_though_probes_are_answered() {
    for (limit, ends) in [(Some(secs(20)), true), (None, false)] {
        let mut t = Script::listening().established(syn().mss(1460));
        set(&mut t, limit);
        t.peer(ack(1).window(0));
        t.write(1000);
        let end = t.host.now + secs(60);
        while t.host.now < end && t.state() != State::Closed {
            t.wait(ms(100));
            if t.drain().iter().any(|got| got.len > 0) {
                t.peer(ack(1).window(0));
            }
        }
        assert_eq!(t.state() == State::Closed, ends, "{limit:?}");
        if ends {
            let left = end.duration_since(t.host.now);
            assert!((secs(39)..secs(41)).contains(&left), "{left:?} left of a minute");
            t.expect_error(Error::TimedOut);
        }
    }
}

#[test]
fn n6_it_takes_the_place_of_keep_alives_count() {
    let mut t = Script::modern_server();
    let id = t.id();
    let keepalive = Keepalive { idle: secs(10), interval: secs(1), count: 9 };
    t.host.stack.tcp_set_keepalive(t.host.now, id, Some(keepalive)).unwrap();
    set(&mut t, Some(secs(13)));
    assert_about(time_to_close(&mut t, secs(100)), secs(13));
    t.expect_error(Error::TimedOut);
}

/// More probes than a byte counts, and intervals beyond the end of time.
#[test]
fn n6_probes_may_be_many_and_far_between() {
    let mut t = Script::modern_server();
    let id = t.id();
    let keepalive = Keepalive { idle: secs(10), interval: secs(1), count: 9 };
    t.host.stack.tcp_set_keepalive(t.host.now, id, Some(keepalive)).unwrap();
    set(&mut t, Some(secs(600)));
    assert_about(time_to_close(&mut t, secs(1000)), secs(600));
    t.expect_error(Error::TimedOut);

    let mut t = Script::modern_server();
    let id = t.id();
    let keepalive = Keepalive { interval: Duration::MAX, ..keepalive };
    t.host.stack.tcp_set_keepalive(t.host.now, id, Some(keepalive)).unwrap();
    t.wait(secs(100));
    assert_eq!(t.drain().len(), 1, "one probe");
}

#[test]
fn n6_zero_is_none_and_a_stale_handle_is_an_error() {
    let mut t = Script::modern_server();
    let id = t.id();
    t.host.stack.tcp_set_user_timeout(id, Some(Duration::ZERO)).unwrap();
    assert_eq!(t.host.stack.tcp_user_timeout(id), Ok(None));
    t.abort();
    assert_eq!(t.host.stack.tcp_set_user_timeout(id, None), Err(Error::StaleHandle));
}

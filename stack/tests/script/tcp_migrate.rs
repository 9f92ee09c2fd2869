//! A connection changes its stack in the middle of something, and its peer sees nothing of it.

use std::time::Duration;

use hayase_stack::State;

use crate::codec::FIN;
use crate::dsl::{Script, ack, data, fin, syn};
use crate::host::ms;

#[test]
fn what_is_outstanding_unsent_and_unread_moves_along() {
    let mut t = Script::sack_server();
    t.peer(data(1..101));
    t.write(30_000);
    let first = t.drain();
    assert!(first.iter().map(|got| got.len).sum::<u32>() < 30_000, "some of it waits");
    t.peer(data(201..301).ack(1));
    t.migrate();
    t.peer(data(101..201).ack(1));
    assert_eq!(t.read(), 300);
    t.drain();
    while t.seen < 30_001 {
        t.wait(ms(20));
        t.peer(data(301..301).ack(t.seen));
        assert!(!t.drain().is_empty(), "it stopped at {}", t.seen);
    }
    t.peer(data(301..301).ack(30_001));
    t.silence_for(Duration::from_secs(5));
}

/// Segments of 536 bytes take a buffer of 2 KiB each.
#[test]
fn small_segments_have_room_where_they_come() {
    let mut t = Script::listening().established(syn().mss(536));
    t.write(3000);
    t.drain();
    t.migrate();
    for _ in 0..2 {
        t.peer(ack(t.seen));
        t.drain();
    }
    t.peer(ack(3001));
    assert!(t.host.stack.tcp_flushed(t.id()).unwrap());
}

#[test]
fn a_fin_that_was_acknowledged_is_not_sent_again() {
    let mut t = Script::server();
    t.write(10);
    t.drain();
    t.peer(ack(11));
    t.shutdown();
    t.expect(fin(11));
    t.peer(ack(12));
    assert_eq!(t.state(), State::FinWait2);
    t.migrate();
    t.silence_for(Duration::from_secs(5));
    t.peer(data(1..101).ack(12));
    assert_eq!(t.read(), 100);
    t.peer(fin(101).ack(12));
    t.drain();
    assert_eq!(t.state(), State::TimeWait);
}

#[test]
fn a_fin_that_was_not_acknowledged_moves_along() {
    let mut t = Script::server();
    t.write(10);
    t.shutdown();
    t.drain();
    t.migrate();
    t.wait(ms(1500));
    let sent = t.drain();
    assert!(sent.iter().any(|got| got.range().end == 11 && got.flags & FIN != 0), "{sent:?}");
    t.peer(ack(12));
    assert_eq!(t.state(), State::FinWait2);
}

//! Readers who leave their names: each is called once, and nobody who waits otherwise misses anything.

use core::num::NonZeroU64;

use hayase_stack::Ready;

use crate::dsl::{Script, data, fin};

fn name(number: u64) -> NonZeroU64 {
    NonZeroU64::new(number).unwrap()
}

/// What the stack has to say: the names, and the readiness of the connection.
fn news(t: &mut Script) -> (Vec<u64>, Ready) {
    let (mut names, mut news) = (Vec::new(), Ready::EMPTY);
    t.host.stack.drain_ready(|_, ready| news |= ready);
    t.host.stack.drain_called(|name| names.push(name.get()));
    assert!(!t.host.stack.has_news());
    (names, news)
}

#[test]
fn a_reader_is_called_once_for_all_that_came() {
    let mut t = Script::server();
    news(&mut t);
    let id = t.id();
    assert!(t.host.stack.tcp_name_reader(id, name(7)));
    assert!(t.host.stack.tcp_name_reader(id, name(8)), "the last takes the place of the one before");
    t.peer(data(1..101));
    t.peer(data(101..201));
    assert_eq!(news(&mut t), (vec![8], Ready::READABLE), "what came after the call is told without a name");
    t.peer(data(201..301));
    assert_eq!(news(&mut t), (vec![], Ready::READABLE), "nobody has left a name since");
}

#[test]
fn a_read_that_leaves_nothing_leaves_the_name() {
    let mut t = Script::server();
    t.peer(data(1..101));
    t.peer(data(101..201));
    news(&mut t);
    let (id, now) = (t.id(), t.host.now);
    let read = |t: &mut Script, len: usize| {
        let poll = t.host.stack.tcp_read_drain(now, id, &mut vec![0; len], Some(name(9)));
        assert_eq!(t.host.stack.tcp_readers().count(), usize::from(len == 200));
        poll
    };
    assert_eq!(read(&mut t, 100), core::task::Poll::Ready(Ok((100, false))));
    assert_eq!(read(&mut t, 200), core::task::Poll::Ready(Ok((100, true))));
    t.peer(data(201..301));
    assert_eq!(news(&mut t), (vec![9], Ready::EMPTY));
}

#[test]
fn the_end_calls_as_well_and_those_who_watch_are_told_too() {
    let mut t = Script::server();
    news(&mut t);
    let id = t.id();
    assert!(t.host.stack.tcp_name_reader(id, name(3)));
    t.host.stack.tcp_watch(id);
    t.peer(data(1..101));
    assert_eq!(news(&mut t), (vec![3], Ready::READABLE));
    assert!(!t.host.stack.tcp_name_reader(id, name(4)), "names would not tell everybody");
    t.peer(fin(101));
    let (names, ready) = news(&mut t);
    assert!(names.is_empty() && ready.contains(Ready::READ_CLOSED));
}

#[test]
fn an_end_calls_who_reads() {
    let mut t = Script::server();
    news(&mut t);
    let id = t.id();
    assert!(t.host.stack.tcp_name_reader(id, name(5)));
    t.peer(fin(1));
    let (names, ready) = news(&mut t);
    assert_eq!(names, [5]);
    assert!(ready.contains(Ready::READ_CLOSED));
}

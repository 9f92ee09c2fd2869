//! A device with few buffers. Whatever peers send and applications leave unread, some stay free to receive into: or nothing
//! would ever arrive that lets go of the others.

use std::task::Poll;

use hayase_device::Offloads;
use hayase_device::heap::PoolConfig;
use hayase_stack::{Config, Count, Drop, Ready, State, TcpId};

use crate::codec;
use crate::dsl::{Script, Segment, Talk, ack, data, fin, modern_syn, rst};
use crate::host::{Host, PEER_V4, STACK_V4, ms};

/// Buffers of the device. What sockets hold for long is half of that.
const BUFFERS: usize = 64;

const MSS: u32 = 1448;

/// Nobody has set a limit that suits the device.
fn host() -> Host {
    let pool = PoolConfig { small_count_max: BUFFERS, large_count_max: 1, ..PoolConfig::default() };
    Host::in_memory(Config::default(), 1500, Offloads::NONE, pool)
}

fn listening() -> Script {
    Script::listening_on(host(), STACK_V4, PEER_V4)
}

fn count(t: &Script, count: Count) -> u64 {
    t.host.stack.counters().get(count)
}

/// What the stack acknowledges, at once or after a while.
fn acked(t: &mut Script) -> u32 {
    let mut said = t.drain();
    if said.is_empty() {
        said = t.wait_any(ms(500));
    }
    said.last().map_or(0, |last| last.ack)
}

/// Another connection, beside those that there are.
fn another(mut t: Script, number: u32) -> (Script, TcpId) {
    t.reborn(5000 + number as u16, number.wrapping_mul(0x9e37_79b9));
    t = t.established(modern_syn());
    let id = t.id();
    (t, id)
}

/// This connection sends so many single bytes beyond a hole.
fn send_beyond_a_hole(t: &mut Script, count: u32) {
    for n in 1..=count {
        t.peer(data(2 * n..2 * n + 1));
        t.drain();
    }
}

#[test]
fn what_sockets_may_hold_follows_from_what_the_device_has() {
    let limits = |host: &Host| {
        let config = host.stack.config();
        (config.memory_len_max, config.reassembly_len_max)
    };
    assert_eq!(limits(&host()), (BUFFERS * 2048 / 2, BUFFERS * 2048 / 16));
    let mut config = Config::default();
    assert_eq!(limits(&Host::new()), (config.memory_len_max, config.reassembly_len_max));
    config.memory_len_max = 1 << 40;
    assert_eq!(limits(&Host::with(config, 1500)).0, 64 << 20, "half of what is there");
}

/// Peers who send what cannot be put in order, and never what is missing.
#[test]
fn holes_that_are_never_filled_keep_nobody_out() {
    let mut t = listening();
    for number in 0..20 {
        t = another(t, number).0;
        send_beyond_a_hole(&mut t, 40);
        let held = t.host.received_in_use();
        assert!(held <= BUFFERS * 3 / 4 + 1, "{held} of {BUFFERS} buffers");
    }
    let (pruned, refused) = (count(&t, Count::OfoPruned), count(&t, Count::OfoDrop));
    assert_eq!(pruned + refused + t.host.received_in_use() as u64, 20 * 40, "each is accounted for");
    assert!(pruned > 100 && refused > 100, "{pruned} {refused}");
    assert_eq!((t.host.dropped(Drop::TcpOfoQueuePrune), t.host.dropped(Drop::ProtoMem)), (pruned, refused));
    // Who has something to say is heard, and has his own holes filled.
    t = another(t, 99).0;
    for at in (1..100 * MSS).step_by(2 * MSS as usize) {
        t.peer(data(at + MSS..at + 2 * MSS));
        t.expect(ack(at).sack(&[(at + MSS, at + 2 * MSS)]));
        t.peer(data(at..at + MSS));
        t.expect(ack(at + 2 * MSS));
        assert_eq!(t.read(), 2 * MSS as usize);
        t.drain();
    }
}

/// What was let go of is sent again, and nothing is missing or there twice.
#[test]
fn a_hole_that_is_filled_at_last_gives_all_of_the_stream() {
    let (mut t, id) = another(listening(), 0);
    for n in (1..60).rev() {
        t.peer(data(1 + n * MSS..1 + (n + 1) * MSS));
        t.drain();
    }
    assert!(count(&t, Count::OfoPruned) > 20, "as little as is left of it");
    assert_eq!(t.id(), id);
    t.peer(data(1..1 + MSS));
    let mut have = acked(&mut t);
    assert!(have > 1 + MSS, "the lowest was kept");
    t.read();
    while have < 1 + 60 * MSS {
        t.peer(data(have..have + MSS));
        have = acked(&mut t);
        t.read();
    }
    t.peer(fin(have));
    t.expect_end();
    assert_eq!(t.host.received_in_use(), 0);
}

/// Applications that do not read, and peers who go on sending.
#[test]
fn what_nobody_reads_leaves_buffers_to_close_by() {
    let (mut t, mut ids) = (listening(), vec![]);
    for number in 0..100 {
        let id;
        (t, id) = another(t, number);
        ids.push(id);
        for at in [1, 1001, 2001] {
            t.peer(data(at..at + 1000));
            t.drain();
        }
        let held = t.host.received_in_use();
        assert!(held < BUFFERS - 4, "{held} of {BUFFERS} buffers");
    }
    assert!(count(&t, Count::RcvQDrop) > 0 && t.host.dropped(Drop::ProtoMem) > 0);
    // Whoever wants to write waits for a while, but not for somebody to read: that may be the writer itself.
    let mut written = t.try_write(100);
    for _ in 0..3 {
        t.wait(ms(100));
        t.drain();
        if written.is_pending() && t.host.stack.tcp_ready(t.id()).contains(Ready::WRITABLE) {
            written = t.try_write(100);
        }
    }
    assert_eq!(written, Poll::Ready(Ok(100)));
    // Resets are heard.
    t.peer(rst(t.nxt.min(1)));
    assert_eq!(t.state(), State::Closed);
    // Whoever reads makes room for all.
    let mut buf = [0; 4000];
    for id in &ids {
        while let Poll::Ready(Ok(1..)) = t.host.stack.tcp_read(t.host.now, *id, &mut buf) {}
    }
    assert_eq!(t.host.received_in_use(), 0);
    t = another(t, 101).0;
    for at in (1..20_000).step_by(1000) {
        t.peer(data(at..at + 1000));
    }
    assert_eq!(t.read(), 20_000);
}

/// Peers who take nothing of what is sent to them, and answer every probe, would have it all for ever.
#[test]
fn who_holds_all_buffers_with_a_shut_window_makes_way() {
    let mut t = listening();
    t.is_one_of_many = true;
    for number in 0..80 {
        t.window = u16::MAX;
        t = another(t, number).0;
        t.window = 0;
        t.peer(ack(1));
        let _ = t.try_write(1000);
        t.drain();
        // For some seconds each of them may be slow.
        t.wait(ms(300));
        t.drain();
    }
    assert!(t.host.stack.config().memory_len_max / 4 * 7 < 80 * 2048, "they would hold all");
    t.window = u16::MAX;
    let mut heard = 0;
    for number in 100..110 {
        t = another(t, number).0;
        // As a peer does whose segment is lost.
        for _ in 0..10 {
            t.peer(data(1..1001));
            t.drain();
        }
        heard += usize::from(t.read_some(1000).is_ready());
        t.close();
    }
    assert!(heard >= 9, "{heard} of 10 were heard");
    assert!(count(&t, Count::AbortOnMemory) > 0);
}

/// Seventy peers, of whom each says this before he is sent anything, and this in each tenth of a second from then on. Are others
/// heard after five seconds?
fn who_holds_all_buffers(first: Segment, says: impl Fn(&Script, u32) -> Segment) {
    let mut t = listening();
    t.is_one_of_many = true;
    let mut talks = Vec::new();
    for number in 0..70 {
        t = another(t, number).0;
        t.peer(first.clone());
        let mut talk = Talk::default();
        t.switch(&mut talk);
        talks.push(talk);
    }
    let mut heard = 0;
    for round in 1..60 {
        for talk in &mut talks {
            t.switch(talk);
            if t.state() == State::Established {
                // Whoever finds room says more.
                let _ = t.try_write(1000);
                t.drain();
                let segment = says(&t, round);
                t.peer(segment);
                t.drain();
            }
            t.switch(talk);
        }
        t.wait(ms(100));
        t.drain();
        if round >= 50 {
            t = another(t, 200 + round).0;
            t.peer(data(1..1001));
            t.drain();
            heard += usize::from(t.read_some(1000).is_ready());
            t.close();
        }
    }
    assert!(heard >= 8, "{heard} of 10 were heard");
    assert!(count(&t, Count::AbortOnMemory) > 0);
}

/// The windows are wide open, and no timer tells of it.
#[test]
fn who_takes_a_byte_now_and_then_makes_way() {
    who_holds_all_buffers(ack(1), |t, round| ack(t.seen.min(1 + round)));
}

/// Each time that it opens, a timeout begins anew.
#[test]
fn who_opens_and_shuts_his_window_makes_way() {
    who_holds_all_buffers(ack(1), |_, round| if round % 2 == 0 { ack(1) } else { ack(1).window(0) });
}

/// Each byte that he takes is measured, and ends the back-off.
#[test]
fn whose_window_has_room_for_a_byte_makes_way() {
    who_holds_all_buffers(ack(1).window(1), |t, _| ack(t.seen).window(1));
}

/// Datagrams that nobody reads are in the same account.
#[test]
fn datagrams_and_segments_share_one_budget() {
    let mut t = another(listening(), 0).0;
    send_beyond_a_hole(&mut t, 25);
    assert_eq!((t.host.received_in_use(), count(&t, Count::OfoPruned)), (25, 0));
    let sockets: Vec<_> = (0..20)
        .map(|n| (n, t.host.stack.udp_bind((STACK_V4, 2000 + n).into()).expect("the port is free")))
        .collect();
    for (n, _) in &sockets {
        for _ in 0..20 {
            let datagram = codec::udp((PEER_V4, 9), (STACK_V4, 2000 + n), &[7; 900]);
            t.host.ip(PEER_V4, STACK_V4, 17, &datagram);
            let held = t.host.received_in_use();
            assert!(held < BUFFERS - 4, "{held} of {BUFFERS} buffers");
        }
    }
    assert_eq!(count(&t, Count::OfoPruned), 25, "what waits behind a hole went first");
    assert!(t.host.dropped(Drop::ProtoMem) > 300);
    // Connections come and go all the same, and have what they send as soon as there is room.
    t = another(t, 1).0;
    for (_, id) in &sockets {
        while t.host.udp_recv(*id).is_some() {}
        t.host.stack.udp_close(*id);
    }
    assert_eq!(t.host.received_in_use(), 0);
    t.peer(data(1..1001));
    assert_eq!(t.read(), 1000);
}

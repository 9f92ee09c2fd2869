//! Options that a socket has before there is a connection: those of a listener are its connections', from the SYN-ACK on.

use std::task::Poll;
use std::time::Duration;

use hayase_stack::{Config, Error, Keepalive, TcpOptions};

use crate::codec::{ACK, SYN};
use crate::dsl::{Script, ack, data, modern_syn, rst, syn, syn_ack};
use crate::host::{Host, PEER_V4, PEER_V6, STACK_V4, STACK_V6};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Everything that is not the default; the lower bits of the classes are not for us to choose.
fn options() -> TcpOptions {
    TcpOptions {
        nodelay: true,
        linger: Some(Duration::ZERO),
        keepalive: Some(Keepalive { idle: secs(10), interval: secs(5), count: 3 }),
        tos: 0xb8 | 0b11,
        tclass: 0x28 | 0b01,
        send_buffer_len: Some(8192),
        receive_buffer_len: Some(16_384),
    }
}

/// A listener with options, at an address of either version.
fn listening(config: Config, is_v4: bool) -> Script {
    let (stack, peer) = if is_v4 { (STACK_V4, PEER_V4) } else { (STACK_V6, PEER_V6) };
    let mut t = Script::listening_on(Host::with(config, 1500), stack, peer);
    let listener = t.listener.unwrap();
    t.host.stack.listener_set_options(listener, &options()).unwrap();
    // The host looks at each packet.
    t.host.tos = if is_v4 { 0xb8 } else { 0x28 };
    t
}

fn has_options(t: &Script) {
    let (stack, id) = (&t.host.stack, t.id());
    assert_eq!(stack.tcp_nodelay(id), Ok(true));
    assert_eq!(stack.tcp_linger(id), Ok(options().linger));
    assert_eq!(stack.tcp_keepalive(id), Ok(options().keepalive));
    assert_eq!(stack.tcp_tos(id), Ok(t.host.tos));
    assert!(stack.tcp_info(id).unwrap().rcv_wnd <= 16_384);
}

#[test]
fn connections_have_them_from_their_listener() {
    for is_v4 in [true, false] {
        let mut t = listening(Config::default(), is_v4).established(modern_syn());
        has_options(&t);
        t.write(10);
        t.expect(data(1..11));
        t.write(10);
        t.expect(data(11..21));
    }
}

#[test]
fn a_cookie_that_comes_back_makes_a_connection_with_them() {
    let mut config = Config::default();
    config.syn_backlog_max = 0;
    for is_v4 in [true, false] {
        let t = listening(config.clone(), is_v4).established(modern_syn());
        has_options(&t);
    }
}

#[test]
fn a_peer_is_probed_as_soon_as_somebody_could_accept_it() {
    let mut t = listening(Config::default(), true);
    t.peer(syn().mss(1460));
    t.expect(syn_ack());
    t.peer(ack(1));
    let waited = t.wait_for(secs(11), ack(1).seq(0));
    assert!(waited >= secs(9), "{waited:?}");
    t.peer(ack(1));
    t.accept();
    t.wait_for(secs(11), ack(1).seq(0));
    t.peer(ack(1));
    for _ in 0..3 {
        t.wait_for(secs(11), ack(1).seq(0));
    }
    // Nobody answers. The reset is nothing of the connection's.
    t.host.tos = 0;
    t.wait(secs(6));
    t.expect_error(Error::TimedOut);
}

/// The end of a handshake is a matter of its own retransmissions.
#[test]
fn who_never_finishes_the_handshake_is_not_probed() {
    let mut t = listening(Config::default(), true);
    t.peer(syn().mss(1460));
    t.expect(syn_ack());
    t.wait(secs(120));
    assert!(t.drain().iter().all(|got| got.flags == SYN | ACK), "a SYN-ACK, again");
    assert!(!t.has_connection());
}

#[test]
fn who_connects_has_them_from_the_syn_on() {
    let mut t = Script::idle();
    t.host.tos = 0xb8;
    let id = t.host.stack.tcp_connect(t.host.now, t.peer_addr, None).unwrap();
    t.host.stack.tcp_set_options(t.host.now, id, &options()).unwrap();
    t.opened(id);
    t.expect(syn());
    t.peer(syn_ack().mss(1460));
    t.expect(ack(1));
    has_options(&t);
    t.wait_for(secs(11), ack(1).seq(0));
    // Its end is a reset, which is nothing of the connection's.
    t.host.tos = 0;
    t.close();
    t.expect(rst(1).ack(1));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut t = Script::server();
    let keepalive = Some(Keepalive { count: 0, ..Keepalive::default() });
    let senseless = TcpOptions { keepalive, ..TcpOptions::default() };
    let (id, listener) = (t.id(), t.listener.unwrap());
    let now = t.host.now;
    let refused = t.host.stack.tcp_set_options(now, id, &senseless);
    assert!(matches!(refused, Err(Error::InvalidInput(_))), "{refused:?}");
    assert_eq!(t.host.stack.listener_set_options(listener, &senseless), refused);
    t.host.stack.close_listener(now, listener);
    let closed = t.host.stack.listener_set_options(listener, &options());
    assert_eq!(closed, Err(Error::StaleHandle));
}

/// A connection of a listener with these sizes.
fn sized(send: usize, receive: usize) -> Script {
    let mut t = Script::listening();
    let (send_buffer_len, receive_buffer_len) = (Some(send), Some(receive));
    let options = TcpOptions { send_buffer_len, receive_buffer_len, ..TcpOptions::default() };
    t.host.stack.listener_set_options(t.listener.unwrap(), &options).unwrap();
    t
}

#[test]
fn the_window_is_as_large_as_its_buffer_and_does_not_grow() {
    for (asked, len) in [(8192, 8192), (1, 4096), (64 << 10, 65_535)] {
        let mut t = sized(8192, asked);
        t.peer(modern_syn());
        assert_eq!(t.expect(syn_ack()).window, len as u16, "of {asked} bytes");
        t.peer(ack(1));
        t.accept();
        for _ in 0..200 {
            // All that there is a window for, in each round trip: others would grow.
            let end = t.nxt + t.host.stack.tcp_info(t.id()).unwrap().rcv_wnd.min(20_000);
            while t.nxt < end {
                let at = t.nxt;
                t.peer(data(at..(at + 1448).min(end)));
                t.read();
            }
            t.wait(secs(1));
            t.drain();
            assert!(t.host.stack.tcp_info(t.id()).unwrap().rcv_wnd as usize <= asked.max(4096));
        }
    }
}

#[test]
fn a_cookie_promises_no_larger_window() {
    let mut config = Config::default();
    config.syn_backlog_max = 0;
    let mut t = listening(config, true);
    t.peer(modern_syn());
    assert_eq!(t.expect(syn_ack()).window, 16_384);
}

#[test]
fn what_is_written_fits_into_its_buffer_however_wide_the_path() {
    let mut t = sized(8192, 8192).established(modern_syn());
    for round in 0..50 {
        let mut written = 0;
        while let Poll::Ready(Ok(len)) = t.try_write(1000) {
            written += len;
        }
        assert!((1..=8192).contains(&written), "{written} bytes in round {round}");
        t.drain();
        t.peer(ack(t.seen));
        t.wait(secs(1));
        t.peer(ack(t.seen));
    }
}

#[test]
fn sizes_stay_within_what_the_stack_has_for_a_connection() {
    let mut config = Config::default();
    (config.receive_buffer_len, config.receive_buffer_len_max) = (8192, 16_384);
    let mut t = Script::listening_with(config);
    let options = TcpOptions { receive_buffer_len: Some(1 << 30), ..TcpOptions::default() };
    t.host.stack.listener_set_options(t.listener.unwrap(), &options).unwrap();
    t.peer(modern_syn());
    assert_eq!(t.expect(syn_ack()).window, 16_384);
}

//! A hundred thousand connections, opened and closed one after the other. Row N7.
#![forbid(unsafe_code)]

#[expect(dead_code, reason = "each test binary uses its own part")]
mod common;

use std::task::Poll;
use std::time::Duration;

use hayase_device::Offloads;
use hayase_stack::State;

use crate::common::Net;

const COUNT: u32 = 100_000;

/// Whoever closed first keeps each of them for a minute, which is some ten thousand at a time; then nothing is left.
#[test]
fn n7_a_hundred_thousand_connections_leave_nothing() {
    let mut net = Net::new(Offloads::ALL, Offloads::ALL);
    let listener = net.b.stack.tcp_listen("0.0.0.0:80".parse().unwrap(), 16).unwrap();
    let mut most = 0;
    for n in 0..COUNT {
        let client = net.a.stack.tcp_connect(net.now, "10.0.0.2:80".parse().unwrap(), None).unwrap();
        net.settle();
        let Poll::Ready(Ok((server, _))) = net.b.stack.tcp_accept(listener) else {
            panic!("no connection {n}")
        };
        let request = n.to_be_bytes();
        net.a.write(net.now, client, &request);
        net.a.stack.tcp_shutdown(net.now, client).unwrap();
        net.settle();
        assert_eq!(net.b.read(net.now, server), request);
        net.b.stack.tcp_close(net.now, server);
        net.settle();
        assert_eq!(net.a.stack.tcp_state(client), State::TimeWait);
        net.a.stack.tcp_close(net.now, client);
        net.now += Duration::from_millis(4);
        assert_eq!(net.b.stack.tcp_count(), 0, "the server forgets at once");
        most = most.max(net.a.stack.tcp_count());
    }
    assert!((14_000..=15_001).contains(&most), "{most} at a time");
    net.assert_frames_home();
    net.run_for(Duration::from_secs(61));
    net.b.stack.close_listener(net.now, listener);
    net.assert_clean();
}

//! A thousand connections at once.

use std::io::{Read, Write};
use std::net::TcpStream;

use hayase_tests::pattern::pattern;
use hayase_tests::{Site, kernel, matrix, site};

const CONNECTIONS: usize = 1000;
const IN_TURN: usize = 800;
const ROUNDS: usize = 3;
const MESSAGE_LEN: usize = 1500;
/// How many are reset before the server is heard. A reset that is lost never comes again, and what lies between holds as
/// few as 512 frames while the server does not run: a TAP interface a thousand, the rings of DPDK's driver half of that.
const RESET_AT_ONCE: usize = 250;

/// What connection `index` says in `round`: no two say the same.
fn message(index: usize, round: usize) -> Vec<u8> {
    let start = index * ROUNDS + round;
    pattern(start + MESSAGE_LEN).split_off(start)
}

fn connect_all(site: &Site) -> Vec<TcpStream> {
    kernel::raise_file_limit();
    (0..CONNECTIONS).map(|_| site.connect()).collect()
}

/// The server has let go of all connections. The kernel closed first, so that TIME_WAIT is its affair.
fn expect_none(site: &Site) {
    kernel::eventually("no connection is left over", || (site.connections() == 0).then_some(()));
}

/// All of them are reset, as many at once as the link is sure to hold.
fn reset_all(site: &Site, mut streams: Vec<TcpStream>) {
    while !streams.is_empty() {
        let left = streams.len().saturating_sub(RESET_AT_ONCE);
        streams.drain(left..).for_each(|stream| kernel::reset_on_close(&stream));
        kernel::eventually("the server notices", || (site.connections() <= left as u64).then_some(()));
    }
}

matrix! {
    fn everyone_gets_their_own_echo(site) {
        let _alone = site::heavy();
        kernel::raise_file_limit();
        let _server = site.serve("echo", &[]);
        let mut streams = connect_all(site);
        for round in 0..ROUNDS {
            for (index, stream) in streams.iter_mut().enumerate() {
                stream.write_all(&message(index, round)).unwrap();
            }
            for (index, stream) in streams.iter_mut().enumerate() {
                let mut echoed = vec![0; MESSAGE_LEN];
                stream.read_exact(&mut echoed).unwrap();
                assert!(echoed == message(index, round), "connection {index}, round {round}");
            }
        }
    }

    /// Two thousand are reset, a thousand leave in order, and none is left over.
    fn everyone_may_leave_at_once_and_come_again(site) {
        let _alone = site::heavy();
        kernel::raise_file_limit();
        let _server = site.serve_control();
        for abrupt in [true, false, true] {
            let streams = connect_all(site);
            if abrupt {
                reset_all(site, streams);
            } else {
                drop(streams);
            }
            site.check_echo();
        }
        expect_none(site);
    }

    /// One after the other: the next comes when the one before has left.
    fn everyone_is_served_in_turn(site) {
        let _alone = site::heavy();
        let _server = site.serve_control();
        for index in 0..IN_TURN {
            let mut stream = site.connect();
            stream.write_all(&message(index, 0)).unwrap();
            let mut echoed = vec![0; MESSAGE_LEN];
            stream.read_exact(&mut echoed).unwrap();
            assert!(echoed == message(index, 0), "connection {index}");
        }
        expect_none(site);
    }
}

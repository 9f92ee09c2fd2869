//! Connections of which only one end still exists.

use std::io::ErrorKind;

use hayase_sim::{Link, Sim};

use crate::common::{SEEDS, connected, millis, seconds, within};

/// One end is aborted while the path is dead, so that the other never hears of it; it hears when it speaks.
#[test]
fn ends_are_found_out_by_speaking() {
    Sim::builder().link(Link::with_delay(millis(20))).seeds(SEEDS).run(|sim| async move {
        let (mut stream, peer) = connected(&sim).await;
        sim.cable(0).cut();
        peer.abort();
        hayase::time::sleep(seconds(5)).await;
        sim.cable(0).mend();
        assert_eq!(sim.server().tcp_count().unwrap(), 0);
        stream.write_all(b"anybody?").await.unwrap();
        let error = within(seconds(3), stream.read(&mut [0; 8])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

/// Who only listens finds out by keep-alive (RFC 9293 §3.8.4).
#[test]
fn ends_are_found_out_by_keepalive() {
    Sim::builder().link(Link { loss: 0.05, ..Link::with_delay(millis(20)) }).seeds(SEEDS).run(
        |sim| async move {
            let (mut stream, peer) = connected(&sim).await;
            let keepalive = hayase::net::Keepalive { idle: seconds(30), interval: seconds(5), count: 4 };
            stream.set_keepalive(Some(keepalive)).unwrap();
            sim.cable(0).cut();
            peer.abort();
            hayase::time::sleep(seconds(5)).await;
            sim.cable(0).mend();
            let error = within(seconds(60), stream.read(&mut [0; 8])).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        },
    );
}

//! The user timeout (RFC 5482 §2): how long what was written may stay unacknowledged, and what that is on a bad path.

use std::io::ErrorKind;

use hayase::time::sleep;
use hayase_sim::{Link, Sim};

use crate::common::{SEEDS, connect, connected, count, listen, millis, receive, seconds, within};

fn lossy() -> Link {
    Link { loss: 0.03, ..Link::with_rate(5_000_000, millis(20)) }
}

/// The path is cut at any time: whoever writes is told after his time, and not after the fifteen minutes of R2.
#[test]
fn ends_what_nobody_acknowledges() {
    Sim::builder().link(lossy()).seeds(SEEDS).run(|sim| async move {
        let (mut stream, _peer) = connected(&sim).await;
        let mut random = sim.random();
        let limit = seconds(random.between(5..=60));
        stream.set_user_timeout(Some(limit)).unwrap();
        stream.write_all(&[7; 10_000]).await.unwrap();
        sleep(random.time(seconds(3))).await;
        sim.cable(0).cut();
        let start = sim.elapsed();
        stream.write_all(b"is anybody there?").await.unwrap();
        let error = within(seconds(120), stream.read(&mut [0; 8])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let took = sim.elapsed() - start;
        assert!(took + seconds(3) > limit && took < limit + seconds(1), "{took:?} of {limit:?}");
    });
}

/// Blackouts that are shorter, one after the other, end nothing: what counts is the time without progress.
#[test]
fn ends_nothing_that_goes_on() {
    // 40 s without blackouts, of which there are three in that time. Whoever has backed off tries again before the next.
    const LEN: u64 = 2_000_000;
    Sim::builder().link(Link::with_rate(400_000, millis(20))).seeds(SEEDS).run(|sim| async move {
        let flow = sim.flow();
        let server = receive(&sim, listen(&sim).await, &flow);
        let (cable, mut random) = (sim.cable(0), sim.random());
        let blackouts = sim.client().spawn(async move {
            for _ in 0..3 {
                sleep(seconds(8) + random.time(seconds(3))).await;
                cable.cut();
                sleep(seconds(2) + random.time(seconds(1))).await;
                cable.mend();
            }
        });
        let mut stream = connect().await;
        stream.set_user_timeout(Some(seconds(10))).unwrap();
        flow.send(&mut stream, LEN).await.unwrap();
        assert_eq!(server.await.unwrap().unwrap(), LEN);
        assert!(blackouts.is_finished() && count(sim.client(), "TcpExtTCPTimeouts") >= 3);
        assert!(sim.elapsed() > seconds(40 + 6), "{:?}", sim.elapsed());
    });
}

//! Keep-alive over hours.

use std::io::ErrorKind;

use hayase::net::Keepalive;
use hayase::time::sleep;
use hayase_sim::{Link, Sim};

use crate::common::{SEEDS, connected, count, millis, seconds, within};

/// A path that loses a tenth does not kill an idle connection in half a day.
#[test]
fn does_not_kill_the_living() {
    Sim::builder().link(Link { loss: 0.1, ..Link::with_delay(millis(50)) }).seeds(SEEDS).run(
        |sim| async move {
            let (mut stream, mut peer) = connected(&sim).await;
            let keepalive = Keepalive { idle: seconds(60), interval: seconds(10), count: 9 };
            stream.set_keepalive(Some(keepalive)).unwrap();
            peer.set_keepalive(Some(keepalive)).unwrap();
            sleep(seconds(12 * 3600)).await;
            assert!(count(sim.client(), "TcpExtTCPKeepAlive") > 300);
            stream.write_all(b"good evening").await.unwrap();
            within(seconds(60), peer.read_exact(&mut [0; 12])).await.unwrap();
        },
    );
}

/// A dead one is noticed after idle + count * interval.
#[test]
fn notices_the_dead() {
    Sim::builder().link(Link::with_delay(millis(50))).seeds(SEEDS).run(|sim| async move {
        let (mut stream, _peer) = connected(&sim).await;
        stream.set_keepalive(Some(Keepalive { idle: seconds(60), interval: seconds(10), count: 3 })).unwrap();
        let start = sim.elapsed();
        sim.cable(0).cut();
        let error = stream.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let took = sim.elapsed() - start;
        assert!(took > seconds(85) && took < seconds(95), "{took:?}");
    });
}

//! The path is dead for a second to two minutes, and comes back.

use hayase::time::sleep;
use hayase_sim::{Link, Sim};

use crate::common::{SEEDS, listen, millis, receive, seconds};

/// The transfer goes on where it stopped; the longest timeout says how long after.
#[test]
fn a_transfer_survives_blackouts() {
    for dark in [1, 5, 30, 120] {
        let link = Link::with_rate(2_000_000, millis(20));
        Sim::builder().link(link).seeds(SEEDS).run(move |sim| async move {
            let flow = sim.flow();
            let server = receive(&sim, listen(&sim).await, &flow);
            let mut random = sim.random();
            let cable = sim.cable(0);
            let client = sim
                .client()
                .spawn(async move { flow.send(&mut crate::common::connect().await, 1_000_000).await });
            // The transfer takes 4 s. Within the first moments the server has not heard the end of the handshake, and
            // gives up after a minute.
            sleep(millis(300) + random.time(seconds(3))).await;
            cable.cut();
            sleep(seconds(dark)).await;
            cable.mend();
            let mended_at = sim.elapsed();
            client.await.unwrap().expect("it is no longer than retransmission goes on");
            server.await.unwrap().expect("all arrives");
            // After a silence of t the next attempt is at most another t away, and at most 120 s.
            let after = sim.elapsed() - mended_at;
            assert!(after < seconds(dark.min(120) + 15), "{after:?} after a blackout of {dark} s");
        });
    }
}

/// The path dies for good: both ends are told, the writer by its retransmissions, the reader by keep-alive.
#[test]
fn the_end_of_a_path_is_told_to_both() {
    Sim::builder().link(Link::default()).seeds(SEEDS).run(|sim| async move {
        let (mut stream, mut peer) = crate::common::connected(&sim).await;
        let keepalive =
            hayase::net::Keepalive { idle: seconds(60), interval: seconds(10), ..Default::default() };
        peer.set_keepalive(Some(keepalive)).unwrap();
        sim.cable(0).cut();
        stream.write_all(b"into the void").await.unwrap();
        let reader = sim.server().spawn(async move { peer.read(&mut [0; 8]).await });
        let error = stream.read(&mut [0; 8]).await.unwrap_err();
        // Its neighbour is silent as well, which is the better explanation.
        assert_eq!(error.kind(), std::io::ErrorKind::HostUnreachable);
        assert!(sim.elapsed() > seconds(100) && sim.elapsed() < seconds(1200), "{:?}", sim.elapsed());
        assert_eq!(reader.await.unwrap().unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    });
}

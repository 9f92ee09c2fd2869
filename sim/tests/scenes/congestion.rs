//! Each congestion control on a path with a shallow queue.

use std::time::Duration;

use hayase::net::{Congestion, TcpStream};
use hayase_sim::{Link, Sim};

use crate::common::{SERVER, listen, millis, receive};

/// Loss at the queue is all that tells the sender how fast the path is.
#[test]
fn finds_the_rate_of_a_path() {
    for congestion in Congestion::ALL.iter().copied() {
        let rate = 10_000_000;
        let link = Link { queue_len: 32 * 1024, ..Link::with_rate(rate, millis(15)) };
        Sim::builder().link(link).seeds(15).run(move |sim| async move {
            let flow = sim.flow();
            let server = receive(&sim, listen(&sim).await, &flow);
            let mut stream = TcpStream::connect(SERVER).await.unwrap();
            stream.set_congestion(congestion).unwrap();
            let start = sim.elapsed();
            flow.send(&mut stream, 5_000_000).await.unwrap();
            server.await.unwrap().unwrap();
            let used = 40_000_000.0 / (sim.elapsed() - start).as_secs_f64() / rate as f64;
            assert!(used > 0.75, "{congestion:?} used {used:.3}");
            let [forth, _] = sim.cable(0).stats();
            let dropped = forth.overflowed as f64 / forth.entered as f64;
            assert!(dropped < 0.05, "{congestion:?} lost {dropped:.3} of its segments");
        });
    }
}

/// A long path that loses packets by chance: NewReno and CUBIC take every loss for congestion, BBR does not.
#[test]
fn bbr_fills_a_path_that_loses_one_percent() {
    let rate = 20_000_000;
    let link = Link { loss: 0.01, ..Link::with_rate(rate, millis(25)) };
    Sim::builder().link(link).seeds(6).run(move |sim| async move {
        let flow = sim.flow();
        let server = receive(&sim, listen(&sim).await, &flow);
        let mut stream = TcpStream::connect(SERVER).await.unwrap();
        stream.set_congestion(Congestion::Bbr).unwrap();
        let start = sim.elapsed();
        flow.send(&mut stream, 40_000_000).await.unwrap();
        server.await.unwrap().unwrap();
        let used = 320_000_000.0 / (sim.elapsed() - start).as_secs_f64() / rate as f64;
        assert!(used > 0.85, "used {used:.3}");
    });
}

/// The rate changes by a factor of ten, down and up again.
#[test]
fn follows_a_path_that_changes() {
    let link = Link::with_rate(20_000_000, millis(10));
    Sim::builder().link(link).seeds(20).run(|sim| async move {
        let flow = sim.flow();
        let server = receive(&sim, listen(&sim).await, &flow);
        let cable = sim.cable(0);
        let changes = sim.client().spawn(async move {
            for rate in [2_000_000, 20_000_000, 1_000_000, 50_000_000] {
                hayase::time::sleep(Duration::from_secs(2)).await;
                cable.change(|link| link.rate = Some(rate));
            }
        });
        let mut stream = TcpStream::connect(SERVER).await.unwrap();
        flow.send(&mut stream, 20_000_000).await.unwrap();
        server.await.unwrap().unwrap();
        changes.await.unwrap();
        assert!(sim.elapsed() < Duration::from_secs(20), "{:?}", sim.elapsed());
    });
}

//! Explicit congestion notification (RFC 3168): a router that says that its queue is long, before anything is lost.

use std::time::Duration;

use hayase::net::{Congestion, TcpStream};
use hayase::stack::{Config, Ecn};
use hayase_sim::{Builder, Link, Random, Sim, Topology};

use crate::common::{SEEDS, SERVER, count, listen, millis, receive};

/// For how long the path is used.
const TIME: Duration = Duration::from_secs(3);

/// Paths of 2 to 10 Mbit/s and 10 to 100 ms, with a long queue that is marked from half a round trip on.
fn some_path(random: &mut Random) -> Topology {
    let (rate, delay) = (random.between(2..=10) * 1_000_000, millis(random.between(5..=50)));
    let round_trip_len = (rate as f64 / 8.0 * 2.0 * delay.as_secs_f64()) as usize;
    let marked = round_trip_len / 2 + 16 * 1024;
    let link = Link {
        queue_len: 4 * round_trip_len + 64 * 1024,
        mark_len: Some(marked),
        ..Link::with_rate(rate, delay)
    };
    Topology::asymmetric_pair(link, Link::with_delay(delay))
}

fn world(ecn: Ecn) -> Builder {
    let mut config = Config::default();
    config.ecn = ecn;
    Sim::builder().topology_with(some_path).stack(config).seeds(SEEDS)
}

/// Sends for a while; returns the share of the rate that was used.
async fn use_path(sim: &Sim, ecn: bool) -> f64 {
    let [link, _] = sim.cable(0).links();
    let rate = link.rate.expect("it has one") as f64;
    let len = (rate / 8.0 * TIME.as_secs_f64()) as u64;
    let (flow, mut random) = (sim.flow(), sim.random());
    let server = receive(sim, listen(sim).await, &flow);
    let start = sim.elapsed();
    let mut stream = TcpStream::connect(SERVER).await.unwrap();
    stream.set_congestion(*random.pick(&[Congestion::NewReno, Congestion::Cubic])).unwrap();
    assert_eq!(stream.info().unwrap().ecn, ecn);
    flow.send(&mut stream, len).await.unwrap();
    assert_eq!(server.await.unwrap().unwrap(), len);
    len as f64 * 8.0 / (sim.elapsed() - start).as_secs_f64() / rate
}

/// The sender slows down for the marks: nothing is lost, nothing goes twice, and the path stays in use.
#[test]
fn marks_are_heeded_before_anything_is_lost() {
    world(Ecn::Request).run(|sim| async move {
        let used = use_path(&sim, true).await;
        let [forth, back] = sim.cable(0).stats();
        assert!(forth.marked > 0 && back.marked == 0, "{forth:?} {back:?}");
        assert_eq!((forth.overflowed, forth.lost), (0, 0));
        assert_eq!(count(sim.server(), "IpExtInCEPkts"), forth.marked);
        assert!(count(sim.client(), "TcpExtTCPEcnReductions") > 0, "nobody slowed down");
        assert_eq!(count(sim.client(), "TcpRetransSegs"), 0, "{forth:?}");
        assert!(used > 0.6, "used {used:.3}");
    });
}

/// The same paths with senders that do not ask: no packet is marked, whatever waits.
#[test]
fn marks_are_not_for_who_does_not_ask() {
    world(Ecn::Off).run(|sim| async move {
        use_path(&sim, false).await;
        let [forth, _] = sim.cable(0).stats();
        assert_eq!((forth.marked, count(sim.server(), "IpExtInCEPkts")), (0, 0));
    });
}

//! Paths that take shorter packets than the hosts: with and without a word from the router.

use std::time::Duration;

use hayase::net::{TcpListener, TcpStream};
use hayase_sim::{Link, Sim};

use crate::common::{SEEDS, millis, seconds, transfer};

/// The router says how long packets may be (RFC 1191): nothing is lost but the first long ones.
#[test]
fn that_routers_tell_is_kept_to() {
    for mtu in [1300, 576] {
        let link = Link { mtu: Some(mtu), ..Link::with_delay(millis(10)) };
        Sim::builder().link(link).seeds(SEEDS).run(|sim| async move {
            let took = transfer(&sim, 200_000).await;
            assert!(took < seconds(2), "{took:?}");
        });
    }
}

#[test]
fn that_routers_tell_is_kept_to_over_ipv6() {
    let link = Link { mtu: Some(1300), ..Link::with_delay(millis(10)) };
    Sim::builder().link(link).seeds(SEEDS).run(|sim| async move {
        let flow = sim.flow();
        let listener = sim.server().scope(TcpListener::bind("[fd00:7::2]:80")).await.unwrap();
        let server = crate::common::receive(&sim, listener, &flow);
        let mut stream = TcpStream::connect("[fd00:7::2]:80").await.unwrap();
        flow.send(&mut stream, 200_000).await.unwrap();
        assert_eq!(server.await.unwrap().unwrap(), 200_000);
        assert!(sim.elapsed() < seconds(2), "{:?}", sim.elapsed());
    });
}

/// A black hole: long packets vanish, and nobody says so (RFC 2923). The sender finds out (RFC 4821).
#[test]
fn that_nobody_tells_is_found_out() {
    let link = Link { silent_mtu: Some(1300), ..Link::with_delay(millis(10)) };
    Sim::builder().link(link).seeds(SEEDS).run(|sim| async move {
        let took = transfer(&sim, 200_000).await;
        assert!(took < seconds(15), "{took:?}");
    });
}

/// The path gets narrow under a transfer that knows it as wide.
fn shrinks_under_way(narrow: fn(&mut Link), time_max: Duration) {
    Sim::builder().link(Link::with_rate(5_000_000, millis(10))).seeds(SEEDS).run(|sim| async move {
        let cable = sim.cable(0);
        let mut random = sim.random();
        let narrowing = sim.client().spawn(async move {
            hayase::time::sleep(random.time(millis(700))).await;
            cable.change(narrow);
        });
        let took = transfer(&sim, 600_000).await;
        assert!(took < time_max, "{took:?}");
        narrowing.await.unwrap();
    });
}

#[test]
fn that_shrinks_under_way_is_found_out() {
    shrinks_under_way(|link| link.silent_mtu = Some(1300), seconds(25));
}

/// The router says so. A path that was wide is doubted until it says so again, or for one timeout (RFC 5927 §7.2).
#[test]
fn that_shrinks_under_way_is_doubted_and_then_kept_to() {
    shrinks_under_way(|link| link.mtu = Some(1300), seconds(4));
}

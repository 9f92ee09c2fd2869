//! Paths that take shorter packets than the hosts: with and without a word from the router.

use std::ops::RangeInclusive;
use std::time::Duration;

use hayase::net::{TcpInfo, TcpListener, TcpStream};
use hayase::time::sleep;
use hayase_sim::{Link, Sim};

use crate::common::{SEEDS, connect, count, listen, millis, receive, seconds, transfer};

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

/// Bytes of such a transfer.
const LEN: usize = 400_000;

/// Payload of a segment in a packet of 1500 bytes; and of one of 1300, or of what a search finds, to within 8 bytes.
const WIDE: u32 = 1448;
const NARROW: RangeInclusive<u32> = 1240..=1248;

/// The narrow stretch is gone, and a transfer that goes on sends longer segments again, one of them at first (RFC 8899
/// §5.1.1, PMTU_RAISE_TIMER): ten minutes after a router spoke, or after a search ended that nobody helped. Where the path
/// loses packets, a probe may be one of them: what is tried next is shorter, and what is found `short_max` bytes short of
/// what would pass.
fn widens(narrow: fn(&mut Link), loss: f64, short_max: u32) {
    Sim::builder().link(Link { loss, ..Link::with_delay(millis(10)) }).seeds(SEEDS).run(
        move |sim| async move {
            sim.cable(0).change(narrow);
            let (flow, mut random) = (sim.flow(), sim.random());
            let server = receive(&sim, listen(&sim).await, &flow);
            let mut stream = connect().await;
            let bytes = flow.first(LEN);
            stream.write_all(&bytes[..LEN / 2]).await.unwrap();
            let narrow = settled(&stream, LEN / 2).await;
            assert!(NARROW.contains(&narrow.snd_mss), "{narrow:?}");
            sleep(random.time(seconds(500))).await;
            sim.cable(0).change(|link| (link.mtu, link.silent_mtu) = (None, None));
            sleep(seconds(610)).await;
            assert_eq!(
                stream.info().unwrap().snd_mss,
                narrow.snd_mss,
                "nothing was sent that could be longer"
            );
            stream.write_all(&bytes[LEN / 2..]).await.unwrap();
            let wide = settled(&stream, LEN).await;
            assert!((WIDE - short_max..=WIDE).contains(&wide.snd_mss), "{wide:?} after {narrow:?}");
            assert!(count(sim.client(), "TcpExtTCPMTUPSuccess") > 0);
            flow.send_from(LEN as u64, &mut stream, LEN as u64).await.unwrap();
            server.await.unwrap().unwrap();
        },
    );
}

/// What a connection tells of itself once all of so many bytes has arrived.
async fn settled(stream: &TcpStream, len: usize) -> TcpInfo {
    loop {
        let info = stream.info().unwrap();
        if info.bytes_acked > len as u64 {
            return info;
        }
        sleep(millis(50)).await;
    }
}

#[test]
fn that_widens_is_found_out_after_a_router_spoke() {
    widens(|link| link.mtu = Some(1300), 0.0, 0);
    widens(|link| link.mtu = Some(1300), 0.01, 16);
}

#[test]
fn that_widens_is_found_out_after_a_black_hole() {
    widens(|link| link.silent_mtu = Some(1300), 0.0, 0);
}

//! TCP Fast Open (RFC 7413): what it spares, and that a network that does not like it loses nothing by it.

use std::time::Duration;

use hayase::net::{TcpSocket, TcpStream};
use hayase_sim::{Flow, Link, Sim};

use crate::common::{SEEDS, SERVER, addr, count, listen, millis, receive, seconds};

/// What goes with a SYN.
const REQUEST_LEN: usize = 300;

/// Connections of a scene, one after the other: the first asks for the cookie.
const CONNECTIONS: u64 = 5;

/// A request with the SYN and `len` bytes in all, to a server that agrees to it. How long the client took.
async fn ask(sim: &Sim, flow: &Flow, len: u64) -> Duration {
    let listener = listen(sim).await;
    listener.set_fastopen(16).expect("the stack has it");
    let server = receive(sim, listener, flow);
    let start = sim.elapsed();
    let mut stream = TcpStream::connect_with(SERVER, &flow.first(REQUEST_LEN)).await.expect("it answers");
    flow.send_from(REQUEST_LEN as u64, &mut stream, len).await.expect("the path is good enough");
    assert_eq!(server.await.expect("the server ends by itself").expect("all of it"), len);
    sim.elapsed() - start
}

/// From the second connection on the request is there with the SYN: the server has all of it after half a round trip.
#[test]
fn spares_a_round_trip_once_there_is_a_cookie() {
    Sim::builder().link(Link::with_delay(millis(50))).seeds(SEEDS).run(|sim| async move {
        for number in 0..CONNECTIONS {
            let listener = listen(&sim).await;
            listener.set_fastopen(16).unwrap();
            let begun_at = sim.elapsed();
            let server = {
                let sim = sim.clone();
                sim.server().spawn(async move {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    stream.read(&mut [0; REQUEST_LEN]).await.unwrap();
                    sim.elapsed() - begun_at
                })
            };
            let stream = TcpStream::connect_with(SERVER, &[1; REQUEST_LEN]).await.unwrap();
            let heard_after = server.await.unwrap();
            drop(stream);
            // The first of all asks for the neighbour as well.
            let expected = if number == 0 { 150..=260 } else { 50..=60 };
            assert!(expected.contains(&heard_after.as_millis()), "{number}: {heard_after:?}");
        }
        assert_eq!(count(sim.server(), "TcpExtTCPFastOpenPassive"), CONNECTIONS - 1);
        assert_eq!(count(sim.client(), "TcpExtTCPFastOpenActive"), CONNECTIONS - 1);
    });
}

/// A client that always has the same port: to who watches, each connection is another one, and all of each is watched.
#[test]
fn a_port_that_is_used_again_is_another_connection() {
    Sim::builder().link(Link::with_delay(millis(10))).seeds(SEEDS).run(|sim| async move {
        for _ in 0..CONNECTIONS {
            let (listener, flow) = (listen(&sim).await, sim.flow());
            listener.set_fastopen(16).unwrap();
            let server = receive(&sim, listener, &flow);
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(addr("10.7.0.1:5000")).unwrap();
            let mut stream = socket.connect_with(addr(SERVER), &flow.first(REQUEST_LEN)).await.unwrap();
            flow.send_from(REQUEST_LEN as u64, &mut stream, 5000).await.unwrap();
            assert_eq!(server.await.unwrap().unwrap(), 5000);
            hayase::time::sleep(seconds(70)).await;
        }
        assert_eq!(count(sim.server(), "TcpExtTCPFastOpenPassive"), CONNECTIONS - 1);
    });
}

/// SYNs with data are lost as well, come late and overtake each other.
#[test]
fn loses_nothing_on_a_bad_path() {
    let link = Link { loss: 0.1, reorder: 0.1, jitter: millis(5), ..Link::with_delay(millis(10)) };
    Sim::builder().link(link).seeds(SEEDS).run(|sim| async move {
        crate::common::transfer(&sim, 1).await;
        for _ in 0..CONNECTIONS {
            ask(&sim, &sim.flow(), 20_000).await;
        }
    });
}

/// The server loses power, and with it the key of its cookies: the old one is worth nothing, and the data go again.
#[test]
fn a_cookie_of_a_former_life_is_replaced() {
    Sim::builder().link(Link::with_delay(millis(10))).seeds(SEEDS).run(|sim| async move {
        ask(&sim, &sim.flow(), 20_000).await;
        ask(&sim, &sim.flow(), 20_000).await;
        sim.reboot(1).await;
        ask(&sim, &sim.flow(), 20_000).await;
        assert_eq!(count(sim.server(), "TcpExtTCPFastOpenPassive"), 0, "the old cookie was refused");
        ask(&sim, &sim.flow(), 20_000).await;
        assert_eq!(count(sim.server(), "TcpExtTCPFastOpenPassive"), 1, "the new one is good");
    });
}

/// A box on the way swallows SYNs that carry data: the data go after the handshake, and for a while nobody tries again.
#[test]
fn a_path_that_swallows_early_data_is_avoided() {
    Sim::builder().link(Link::with_delay(millis(10))).seeds(SEEDS).run(|sim| async move {
        ask(&sim, &sim.flow(), 1000).await;
        // Shorter than a SYN with the request, longer than the rest.
        let cable = sim.cable(0);
        cable.change_forth(|link| link.silent_mtu = Some(200));
        let mending = sim.clone().client().spawn(async move {
            hayase::time::sleep(millis(500)).await;
            cable.change_forth(|link| link.silent_mtu = None);
        });
        let took = ask(&sim, &sim.flow(), 1000).await;
        assert!((seconds(1)..seconds(2)).contains(&took), "a SYN's timeout: {took:?}");
        mending.await.unwrap();
        let took = ask(&sim, &sim.flow(), 1000).await;
        assert!(took < millis(100), "{took:?}");
        assert_eq!(count(sim.server(), "TcpExtTCPFastOpenPassive"), 0, "the second attempt is without");
    });
}

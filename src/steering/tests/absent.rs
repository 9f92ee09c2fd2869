//! Cores that do not turn: because nobody drives them, or because they have ended.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::mpsc::channel;
use std::task::Poll;

use futures_util::future::join;
use hayase_executor::Executor;
use hayase_wire::{Wire, WireConfig, WireDevice};

use super::*;
use crate::steering::fabric::seats;
use crate::steering::ring::RING_LEN;

/// What a program does that starts its servers on other cores and goes on with something else on this one.
#[test]
fn a_core_that_nobody_drives_keeps_no_other_from_listening() {
    let Site { server, client: _ } = site(2, 2, Spreading::Rss, AcceptPolicy::Local);
    let (bound, is_bound) = channel();
    let bind = move || async move {
        // By now, core 0 turns no more.
        sleep(Duration::from_millis(20)).await;
        let listener = TcpListener::bind((SERVER, 80)).await.unwrap();
        bound.send(listener.local_addr().unwrap()).unwrap();
    };
    server.block_on(async { drop(spawn_on(1, bind).unwrap()) });
    assert_eq!(is_bound.recv_timeout(Duration::from_secs(10)), Ok((SERVER, 80).into()));
}

/// One core of two, on this thread.
fn core(seat: super::super::Seat, device: WireDevice) -> Reactor {
    let mut reactor = Reactor::new();
    reactor.sit(seat);
    attach_wire(&mut reactor, device, SERVER);
    reactor
}

fn attach_wire(reactor: &mut Reactor, device: WireDevice, addr: Ipv4Addr) -> Host {
    let host = reactor.attach(device, Config::default(), time::now()).unwrap();
    host.add_address(format!("{addr}/24").parse().unwrap()).unwrap();
    host
}

#[test]
fn a_connection_that_moves_to_a_core_that_ends_is_lost_and_no_more() {
    let ((near, far), (other, _cable)) =
        (Wire::pair(WireConfig::default()), Wire::pair(WireConfig::default()));
    let mut seats = seats(2, 2, AcceptPolicy::RoundRobin).unwrap().into_iter();
    let mut here = core(seats.next().unwrap(), near);
    let mut there = Some(core(seats.next().unwrap(), other));
    let server = here.hosts().next().unwrap();
    let client = attach_wire(&mut here, far, CLIENT);
    let executor = Executor::new().unwrap();
    executor.block_on(&here, async {
        let listener = server.scope(TcpListener::bind((SERVER, 80))).await.unwrap();
        let connect = || async {
            let connect = client.scope(TcpStream::connect((SERVER, 80)));
            let (stream, accepted) = join(connect, listener.accept()).await;
            (stream.unwrap(), accepted.unwrap().0)
        };
        let (_first, moving) = connect().await;
        let mut moving = pin!(moving.migrate(1));
        poll_fn(|cx| {
            assert!(moving.as_mut().poll(cx).is_pending(), "it is on its way");
            Poll::Ready(())
        })
        .await;
        there.take();
        let lost = timeout(Duration::from_secs(5), moving).await.expect("nobody answers").unwrap_err();
        assert_eq!(lost.kind(), io::ErrorKind::ConnectionAborted, "{lost}");

        // It gets no more: neither by name nor in turn, also where it listened.
        let (mut stream, moving) = connect().await;
        let lost = timeout(Duration::from_secs(5), moving.migrate(1)).await.expect("nobody answers");
        assert_eq!(lost.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        stream.write_all(b"to nobody").await.unwrap();
        let end =
            timeout(Duration::from_secs(5), stream.read(&mut [0; 1])).await.expect("it is answered here");
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        server.scope(TcpListener::bind((SERVER, 81))).await.unwrap();
    });
}

/// Whoever sends to a core that does not turn fills the ring to it, and no more than that.
#[test]
fn what_a_core_that_does_not_turn_has_no_room_for_is_dropped_and_counted() {
    const SENT: usize = RING_LEN + 100;
    let (near, far) = Wire::pair(WireConfig::default());
    let (other, _cable) = Wire::pair(WireConfig::default());
    let mut seats = seats(2, 2, AcceptPolicy::Local).unwrap().into_iter();
    let mut here = core(seats.next().unwrap(), near);
    let _there = core(seats.next().unwrap(), other);
    let server = here.hosts().next().unwrap();
    let client = attach_wire(&mut here, far, CLIENT);
    let backlog = || server.counters().unwrap().get("CPU_BACKLOG");
    let executor = Executor::new().unwrap();
    executor.block_on(&here, async {
        let port = super::flows::port_of_queue(1);
        let socket = client.scope(UdpSocket::bind((CLIENT, port))).await.unwrap();
        for _ in 0..SENT {
            socket.send_to(b"anybody?", (SERVER, super::flows::PORT)).await.unwrap();
            // Each goes in a turn of its own: no queue on the way is long enough for all.
            sleep(Duration::from_micros(1)).await;
        }
        let counted = async {
            while backlog() != Some((SENT - RING_LEN) as u64) {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let counted = timeout(Duration::from_secs(5), counted).await;
        assert!(counted.is_ok(), "{SENT} sent, and dropped {:?}", backlog());
    });
}

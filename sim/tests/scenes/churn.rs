//! Connections that come and go for a long time, from few ports, on a path that loses some of everything.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use hayase::Host;
use hayase::net::{TcpListener, TcpStream};
use hayase::stack::Config;
use hayase::task::JoinHandle;
use hayase::time::sleep;
use hayase_sim::{Link, Sim};

use crate::common::{SEEDS, connect_to, count, millis, seconds};

/// Those who connect, each again and again to a port of its own.
const CLIENTS: u16 = 8;

/// Ports from which each of them connects. Each comes again before the minute of TIME_WAIT is over.
const PORTS: u16 = 40;

/// The most that is sent over one of them.
const LEN_MAX: u64 = 16_000;

/// The most connections that a host has, those in TIME_WAIT included: each client's, one for each of its ports.
const COUNT_MAX: usize = (CLIENTS * PORTS) as usize;

/// For as long as it goes on, as many connections are made as at first, hosts have no more of them, and each port serves for
/// the next one while the last is still remembered. A minute or two after it, nothing is left.
fn is_steady(time: Duration, seeds: u64) {
    let mut stack = Config::default();
    stack.ephemeral_ports = 40_000..=40_000 + PORTS - 1;
    let link = Link { loss: 0.01, duplicate: 0.01, reorder: 0.01, ..Link::with_delay(millis(10)) };
    Sim::builder().link(link).stack(stack).seeds(seeds).run(move |sim| async move {
        let served = Rc::new(Cell::new(0));
        let clients: Vec<_> =
            (0..CLIENTS).map(|client| comes_and_goes(&sim, client, time, &served)).collect();
        let first = served_in(&sim, &served, time / 2).await;
        let second = served_in(&sim, &served, time / 2).await;
        assert!(second * 10 > first * 8, "{first} connections, and then {second}");
        let again = count(sim.server(), "TcpExtTWRecycled");
        assert!(again > second / 4, "of {second} connections, {again} came from a port that was remembered");
        for client in clients {
            client.await.unwrap();
        }
        sleep(seconds(130)).await;
        assert_eq!([sim.client(), sim.server()].map(count_of), [0, 0]);
    });
}

#[test]
fn is_as_steady_after_an_hour() {
    is_steady(seconds(3600), 2);
    is_steady(seconds(150), SEEDS);
}

fn count_of(host: Host) -> usize {
    host.tcp_count().expect("the host is here")
}

/// How many connections are served in so long a time. All the while, both hosts have no more of them than there are ports.
async fn served_in(sim: &Sim, served: &Cell<u64>, time: Duration) -> u64 {
    let (before, end) = (served.get(), sim.elapsed() + time);
    while sim.elapsed() < end {
        sleep(seconds(1)).await;
        let counts = [sim.client(), sim.server()].map(count_of);
        assert!(counts.iter().all(|count| *count <= COUNT_MAX), "{counts:?} at {:?}", sim.elapsed());
    }
    served.get() - before
}

/// One who connects, gets or sends something, and comes again after a while.
fn comes_and_goes(sim: &Sim, client: u16, time: Duration, served: &Rc<Cell<u64>>) -> JoinHandle<()> {
    let (sim, served, mut random) = (sim.clone(), Rc::clone(served), sim.random());
    sim.client().spawn(async move {
        let server = SocketAddr::new(sim.address(1), 80 + client);
        let listener = sim.server().scope(TcpListener::bind(server)).await.unwrap();
        while sim.elapsed() < time {
            let stream = connect_to(server).await;
            let (peer, from) = listener.accept().await.unwrap();
            assert_eq!(from, stream.local_addr().unwrap());
            // Five in six get something from the server, which then closes first and remembers the connection.
            let (from, to) = if random.below(6) > 0 { (peer, stream) } else { (stream, peer) };
            pass(&sim, from, to, random.between(1..=LEN_MAX)).await;
            served.set(served.get() + 1);
            sleep(random.time(millis(1200))).await;
        }
    })
}

/// Passes so many bytes from one end to the other, and closes.
async fn pass(sim: &Sim, mut from: TcpStream, mut to: TcpStream, len: u64) {
    let flow = sim.flow();
    let sender = flow.clone();
    let sent = hayase::spawn(async move { sender.send(&mut from, len).await });
    assert_eq!(flow.receive(&mut to).await.unwrap(), len);
    sent.await.unwrap().unwrap();
}

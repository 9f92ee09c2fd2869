//! Little memory, and many who want it.

use std::cell::Cell;
use std::rc::Rc;

use hayase::device::heap::PoolConfig;
use hayase::net::TcpStream;
use hayase::stack::Config;
use hayase::time::sleep;
use hayase_sim::{Builder, Link, Sim};

use crate::common::{SEEDS, SERVER, count, listen, millis, seconds};

const LEN: u64 = 400_000;

/// Sixty senders to readers that do not read for a minute, 24 MB of them, into a budget of 4: the oracle watches the
/// budget, and when the readers wake, all of it comes.
#[test]
fn that_is_short_is_shared() {
    of_so_many(60, 4 << 20, 5);
    of_so_many(12, 1 << 20, SEEDS);
}

fn of_so_many(connections: usize, budget: usize, seeds: u64) {
    let mut stack = Config::default();
    stack.memory_len_max = budget;
    let link = Link::with_rate(100_000_000, millis(5));
    Sim::builder().link(link).stack(stack).seeds(seeds).run(move |sim| async move {
        let listener = listen(&sim).await;
        let (mut senders, mut receivers) = (Vec::new(), Vec::new());
        for _ in 0..connections {
            let flow = sim.flow();
            let mut stream = TcpStream::connect(SERVER).await.unwrap();
            let (mut peer, _) = listener.accept().await.unwrap();
            let receiver = flow.clone();
            senders.push(sim.client().spawn(async move { flow.send(&mut stream, LEN).await }));
            receivers.push(sim.server().spawn(async move {
                sleep(seconds(60)).await;
                receiver.receive(&mut peer).await
            }));
        }
        for task in receivers {
            assert_eq!(task.await.unwrap().unwrap(), LEN);
        }
        for task in senders {
            task.await.unwrap().unwrap();
        }
    });
}

/// A pair whose hosts have 96 buffers each.
fn with_few_buffers() -> Builder {
    let pool = PoolConfig { small_count_max: 96, large_count_max: 2, ..PoolConfig::default() };
    Sim::builder().link(Link::with_delay(millis(1))).pool(pool).seeds(20)
}

/// Connections from the client to the server, before anything is said on one: their two ends.
async fn connected(sim: &Sim, count: usize) -> Vec<(TcpStream, TcpStream)> {
    let listener = listen(sim).await;
    let mut pairs = Vec::new();
    for _ in 0..count {
        pairs.push((TcpStream::connect(SERVER).await.unwrap(), listener.accept().await.unwrap().0));
    }
    pairs
}

/// Many more requests at once than there are buffers: what is left is for the replies, so that nobody is stuck and given up,
/// and who found none is told when there are some.
#[test]
fn that_many_want_at_once_goes_round() {
    const CONNECTIONS: usize = 200;
    const ROUNDS: u8 = 10;
    with_few_buffers().run(|sim| async move {
        let pairs = connected(&sim, CONNECTIONS).await;
        let start = sim.elapsed();
        let (mut clients, mut servers) = (Vec::new(), Vec::new());
        for (mut stream, mut peer) in pairs {
            clients.push(sim.client().spawn(async move {
                for round in 0..ROUNDS {
                    stream.write_all(&[round]).await.unwrap();
                    let mut reply = [0];
                    stream.read_exact(&mut reply).await.unwrap();
                    assert_eq!(reply, [round]);
                }
            }));
            servers.push(sim.server().spawn(async move {
                let mut request = [0];
                while peer.read(&mut request).await.unwrap() > 0 {
                    peer.write_all(&request).await.unwrap();
                }
            }));
        }
        for task in clients.into_iter().chain(servers) {
            task.await.unwrap();
        }
        let (took, aborted) = (sim.elapsed() - start, count(sim.client(), "TcpExtTCPAbortOnMemory"));
        assert!(took < seconds(10) && aborted == 0, "{took:?}, {aborted} given up");
    });
}

/// Those who had some first have no more of it than those who wait: a reply makes room for whoever is next, not only for the
/// next request of who got it. Some may be given up in the crush at the beginning.
#[test]
fn that_many_want_for_ever_is_shared_evenly() {
    const CONNECTIONS: usize = 200;
    with_few_buffers().seeds(3).run(|sim| async move {
        let pairs = connected(&sim, CONNECTIONS).await;
        let rounds: Vec<_> = pairs.iter().map(|_| Rc::new(Cell::new(Some(0_u32)))).collect();
        for ((mut stream, mut peer), rounds) in pairs.into_iter().zip(rounds.iter().cloned()) {
            sim.client().spawn(async move {
                while stream.write_all(&[1]).await.is_ok() && stream.read_exact(&mut [0]).await.is_ok() {
                    rounds.update(|rounds| rounds.map(|count| count + 1));
                }
                rounds.set(None);
            });
            sim.server().spawn(async move {
                let mut request = [0];
                while peer.read_exact(&mut request).await.is_ok() && peer.write_all(&request).await.is_ok() {}
            });
        }
        sleep(seconds(3)).await;
        rounds.iter().for_each(|rounds| rounds.update(|rounds| rounds.map(|_| 0)));
        sleep(seconds(2)).await;
        let rounds: Vec<u32> = rounds.iter().filter_map(|rounds| rounds.get()).collect();
        let mean = rounds.iter().sum::<u32>() / rounds.len() as u32;
        let least = rounds.iter().min().copied().unwrap_or_default();
        let given_up = CONNECTIONS - rounds.len();
        assert!(given_up < CONNECTIONS / 10, "{given_up} given up");
        assert!(mean > 200 && 2 * least > mean, "the least {least}, on average {mean}: {rounds:?}");
    });
}

/// Requests that come faster than they are answered fill the buffers, unread, while the tasks that would read them wait to write
/// an answer. Some connections may be given up; the others come to their end, and nobody waits for ever.
#[test]
fn that_is_full_of_what_writers_are_to_read_goes_round() {
    const CONNECTIONS: usize = 150;
    const LEN: usize = 1000;
    with_few_buffers().run(|sim| async move {
        let pairs = connected(&sim, CONNECTIONS).await;
        let mut clients = Vec::new();
        for (mut stream, mut peer) in pairs {
            clients.push(sim.client().spawn(async move {
                stream.write_all(&[7; 4 * LEN]).await?;
                stream.read_exact(&mut [0; 4 * LEN]).await
            }));
            sim.server().spawn(async move {
                let mut request = [0; LEN];
                while peer.read_exact(&mut request).await.is_ok() && peer.write_all(&request).await.is_ok() {}
            });
        }
        let (start, mut served_count) = (sim.elapsed(), 0);
        for client in clients {
            served_count += usize::from(client.await.unwrap().is_ok());
        }
        let took = sim.elapsed() - start;
        assert!(took < seconds(60) && served_count > CONNECTIONS / 2, "{served_count} served in {took:?}");
    });
}

/// Hardly any buffers, on a bad path: frames are dropped for want of them, and all arrives in the end. TCP may take half
/// of them.
#[test]
fn of_the_device_may_run_dry() {
    let pool = PoolConfig { small_count_max: 64, large_count_max: 2, ..PoolConfig::default() };
    let mut stack = Config::default();
    stack.memory_len_max = 64 * 1024;
    let link = Link { loss: 0.01, ..Link::with_delay(millis(5)) };
    Sim::builder().link(link).pool(pool).stack(stack).seeds(SEEDS).run(|sim| async move {
        crate::common::transfer(&sim, 300_000).await;
    });
}

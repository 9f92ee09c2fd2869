//! Little memory, and many who want it.

use hayase::net::TcpStream;
use hayase::stack::Config;
use hayase::time::sleep;
use hayase_sim::{Link, Sim};

use crate::common::{SEEDS, SERVER, listen, millis, seconds};

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

/// Hardly any buffers, on a bad path: frames are dropped for want of them, and all arrives in the end. TCP may take half
/// of them.
#[test]
fn of_the_device_may_run_dry() {
    let pool =
        hayase::device::heap::PoolConfig { small_count_max: 64, large_count_max: 2, ..Default::default() };
    let mut stack = Config::default();
    stack.memory_len_max = 64 * 1024;
    let link = Link { loss: 0.01, ..Link::with_delay(millis(5)) };
    Sim::builder().link(link).pool(pool).stack(stack).seeds(SEEDS).run(|sim| async move {
        crate::common::transfer(&sim, 300_000).await;
    });
}

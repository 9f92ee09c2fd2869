//! Hardly any buffers, and nobody who set a limit that suits them.

use hayase::device::heap::PoolConfig;
use hayase::net::TcpStream;
use hayase_sim::{Builder, Link, Sim};

use crate::common::{SERVER, listen, millis};

fn with_buffers(count: usize) -> Builder {
    let pool = PoolConfig { small_count_max: count, large_count_max: 2, ..PoolConfig::default() };
    Sim::builder().pool(pool)
}

/// What waits behind a hole would take all of them, and what fills the hole would find none.
#[test]
fn is_no_end_of_a_transfer() {
    let link = Link { loss: 0.02, ..Link::with_delay(millis(5)) };
    with_buffers(64).link(link).seeds(50).run(|sim| async move {
        crate::common::transfer(&sim, 300_000).await;
    });
}

/// The same for several at once, who share them.
#[test]
fn is_no_end_of_many_transfers() {
    const LEN: u64 = 100_000;
    let link = Link { loss: 0.02, ..Link::with_delay(millis(5)) };
    with_buffers(128).link(link).seeds(20).run(|sim| async move {
        let listener = listen(&sim).await;
        let (mut senders, mut receivers) = (Vec::new(), Vec::new());
        for _ in 0..8 {
            let (flow, receiver) = {
                let flow = sim.flow();
                (flow.clone(), flow)
            };
            let mut stream = crate::common::connect().await;
            let (mut peer, _): (TcpStream, _) = listener.accept().await.unwrap();
            senders.push(sim.client().spawn(async move { flow.send(&mut stream, LEN).await }));
            receivers.push(sim.server().spawn(async move { receiver.receive(&mut peer).await }));
        }
        for task in receivers {
            assert_eq!(task.await.unwrap().unwrap(), LEN, "to {SERVER}");
        }
        for task in senders {
            task.await.unwrap().unwrap();
        }
    });
}

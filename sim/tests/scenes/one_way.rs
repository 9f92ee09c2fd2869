//! Cables of which one direction is dead.

use hayase::time::sleep;
use hayase_sim::{Link, Sim};

use crate::common::{SEEDS, connect, listen, millis, receive, seconds};

/// Data arrives and nobody hears of it, or the other way round; then the way is open again.
#[test]
fn for_a_while_costs_time_only() {
    for is_forth in [true, false] {
        Sim::builder().link(Link::with_rate(5_000_000, millis(10))).seeds(SEEDS).run(move |sim| async move {
            let flow = sim.flow();
            let server = receive(&sim, listen(&sim).await, &flow);
            let client = sim.client().spawn(async move { flow.send(&mut connect().await, 500_000).await });
            let (cable, mut random) = (sim.cable(0), sim.random());
            sleep(millis(100) + random.time(millis(600))).await;
            let cut = |on| match is_forth {
                true => cable.change_forth(|link| link.cut = on),
                false => cable.change_back(|link| link.cut = on),
            };
            cut(true);
            sleep(random.time(seconds(20))).await;
            cut(false);
            client.await.unwrap().unwrap();
            assert_eq!(server.await.unwrap().unwrap(), 500_000);
        });
    }
}

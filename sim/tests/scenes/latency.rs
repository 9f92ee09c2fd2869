//! Requests and replies: what a round trip costs beyond the path's delay.

use hayase_sim::{Link, Sim};

use crate::common::{SEEDS, connected, millis, seconds};

/// Nothing waits for a timer: a hundred round trips take a hundred times the delay of the path.
#[test]
fn is_the_delay_of_the_path() {
    for delay in [1, 10, 100, 250] {
        Sim::builder().link(Link::with_delay(millis(delay))).seeds(SEEDS).run(move |sim| async move {
            let (mut stream, mut peer) = connected(&sim).await;
            let echo = sim.server().spawn(async move {
                let mut buf = [0; 4096];
                while let Ok(len @ 1..) = peer.read(&mut buf).await {
                    peer.write_all(&buf[..len]).await.unwrap();
                }
            });
            let start = sim.elapsed();
            let mut buf = [7; 100];
            for _ in 0..100 {
                stream.write_all(&buf).await.unwrap();
                stream.read_exact(&mut buf).await.unwrap();
            }
            assert_eq!(sim.elapsed() - start, millis(200 * delay));
            drop(stream);
            echo.await.unwrap();
        });
    }
}

/// On a path that loses 2 %, the hundredth part of the requests takes longer than a timeout, no more.
#[test]
fn survives_loss() {
    Sim::builder().link(Link { loss: 0.02, ..Link::with_delay(millis(10)) }).seeds(SEEDS).run(
        |sim| async move {
            let (mut stream, mut peer) = connected(&sim).await;
            let echo = sim.server().spawn(async move {
                let mut buf = [0; 4096];
                while let Ok(len @ 1..) = peer.read(&mut buf).await {
                    peer.write_all(&buf[..len]).await.unwrap();
                }
            });
            let start = sim.elapsed();
            let mut buf = [7; 100];
            for _ in 0..100 {
                stream.write_all(&buf).await.unwrap();
                stream.read_exact(&mut buf).await.unwrap();
            }
            let took = sim.elapsed() - start;
            assert!(took < seconds(10), "{took:?}");
            drop(stream);
            echo.await.unwrap();
        },
    );
}

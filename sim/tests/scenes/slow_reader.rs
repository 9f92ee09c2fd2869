//! A reader that takes an hour.

use hayase::net::TcpStream;
use hayase::time::sleep;
use hayase_sim::{Link, Sim};

use crate::common::{connected, millis, seconds};

const LEN: usize = 3_600_000;

fn pattern() -> Vec<u8> {
    (0..LEN).map(|i| (i * 7 + i / 251) as u8).collect()
}

async fn send_all(mut stream: TcpStream) -> std::io::Result<()> {
    stream.write_all(&pattern()).await?;
    stream.shutdown().await?;
    // The end of the reader's side.
    stream.read(&mut [0]).await.map(drop)
}

/// A kilobyte a second: the window is closed nearly all the time, and opens in steps worth sending.
#[test]
fn gets_all_of_it() {
    Sim::builder().link(Link { loss: 0.01, ..Link::with_delay(millis(10)) }).seeds(10).run(
        |sim| async move {
            let (stream, mut peer) = connected(&sim).await;
            let writer = sim.client().spawn(send_all(stream));
            let mut received = Vec::new();
            let mut buf = vec![0; 1000];
            loop {
                let len = peer.read(&mut buf).await.unwrap();
                if len == 0 {
                    break;
                }
                received.extend_from_slice(&buf[..len]);
                sleep(seconds(1)).await;
            }
            assert!(sim.elapsed() > seconds(3500) && received == pattern());
            drop(peer);
            writer.await.unwrap().unwrap();
            let [forth, _] = sim.cable(0).stats();
            // No silly windows (RFC 9293 §3.8.6.2): 2,500 full segments, and probes while the window is shut.
            assert!(forth.entered < 12_000, "{forth:?}");
        },
    );
}

/// Nothing at all for an hour: the writer probes the closed window (RFC 9293 §3.8.6.1), and does not give up.
#[test]
fn may_sleep_for_an_hour() {
    Sim::builder().link(Link { loss: 0.05, ..Link::with_delay(millis(10)) }).seeds(100).run(
        |sim| async move {
            let (stream, mut peer) = connected(&sim).await;
            let writer = sim.client().spawn(send_all(stream));
            sleep(seconds(3600)).await;
            let mut received = Vec::new();
            peer.read_to_end(&mut received).await.unwrap();
            assert!(received == pattern());
            drop(peer);
            writer.await.unwrap().unwrap();
            assert!(sim.elapsed() < seconds(3800), "{:?}", sim.elapsed());
        },
    );
}

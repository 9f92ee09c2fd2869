//! A reader that takes an hour.

use hayase::net::TcpStream;
use hayase::time::sleep;
use hayase_sim::{Link, Sim};

use crate::common::{SEEDS, connected, millis, seconds};

/// An hour of them.
const LEN: usize = 3_600_000;

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

async fn send_all(mut stream: TcpStream, len: usize) -> std::io::Result<()> {
    stream.write_all(&pattern(len)).await?;
    stream.shutdown().await?;
    // The end of the reader's side.
    stream.read(&mut [0]).await.map(drop)
}

/// A kilobyte a second: the window is closed nearly all the time, and opens in steps worth sending.
fn reads_slowly(len: usize, seeds: u64) {
    let link = Link { loss: 0.01, ..Link::with_delay(millis(10)) };
    Sim::builder().link(link).seeds(seeds).run(move |sim| async move {
        let (stream, mut peer) = connected(&sim).await;
        let writer = sim.client().spawn(send_all(stream, len));
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
        assert!(sim.elapsed() > seconds(len as u64 / 1030) && received == pattern(len));
        drop(peer);
        writer.await.unwrap().unwrap();
        let [forth, _] = sim.cable(0).stats();
        // No silly windows (RFC 9293 §3.8.6.2): of an hour, 2,500 full segments, and probes while the window is shut.
        assert!(forth.entered < len as u64 / 300, "{forth:?}");
    });
}

#[test]
fn gets_all_of_it() {
    reads_slowly(LEN, 10);
    reads_slowly(LEN / 10, SEEDS);
}

/// Nothing at all for an hour: the writer probes the closed window (RFC 9293 §3.8.6.1), and does not give up.
#[test]
fn may_sleep_for_an_hour() {
    Sim::builder().link(Link { loss: 0.05, ..Link::with_delay(millis(10)) }).seeds(SEEDS).run(
        |sim| async move {
            let (stream, mut peer) = connected(&sim).await;
            let writer = sim.client().spawn(send_all(stream, LEN));
            sleep(seconds(3600)).await;
            let mut received = Vec::new();
            peer.read_to_end(&mut received).await.unwrap();
            assert!(received == pattern(LEN));
            drop(peer);
            writer.await.unwrap().unwrap();
            assert!(sim.elapsed() < seconds(3800), "{:?}", sim.elapsed());
        },
    );
}

//! Pacing: what leaves over a round trip instead of at once.

use std::cell::Cell;
use std::collections::VecDeque;
use std::time::Duration;

use hayase::net::Congestion;
use hayase::stack::Config;
use hayase::time::sleep;
use hayase_sim::{Link, Random, Sim, Topology};

use crate::common::{SEEDS, connected, info, millis, pour};

/// A frame of full length.
const FRAME_LEN: u64 = 1514;

/// Bytes of a piece, and pieces.
const PIECE_LEN: usize = 64_000;
const PIECES: u64 = 20;

/// Paths of 10 to 40 Mbit/s and 20 to 60 ms, with a queue for 20 frames.
fn shallow(random: &mut Random) -> Topology {
    let (rate, delay) = (random.between(10..=40) * 1_000_000, millis(random.between(10..=30)));
    let link = Link::with_rate(rate, delay);
    Topology::asymmetric_pair(Link { queue_len: 20 * FRAME_LEN as usize, ..link }, Link::with_delay(delay))
}

/// Sends pieces of 64 KB, with pauses, so that each of them finds nothing under way: half of what the path could take.
/// Returns the frames that the queue had no room for, of all seeds, and how long a piece took on average.
fn sends_pieces(pacing: bool) -> (u64, Duration) {
    let mut stack = Config::default();
    stack.pacing = pacing;
    let (dropped, took) = (Cell::new(0), Cell::new(Duration::ZERO));
    Sim::builder().topology_with(shallow).stack(stack).seeds(SEEDS).run(|sim| {
        let (dropped, took) = (&dropped, &took);
        async move {
            let rate = sim.cable(0).links()[0].rate.unwrap();
            let (mut stream, mut peer) = connected(&sim).await;
            let (piece, mut buf) = (vec![7; PIECE_LEN], vec![0; PIECE_LEN]);
            for _ in 0..PIECES {
                let start = sim.elapsed();
                stream.write_all(&piece).await.unwrap();
                peer.read_exact(&mut buf).await.unwrap();
                took.set(took.get() + (sim.elapsed() - start));
                sleep(Duration::from_secs_f64(PIECE_LEN as f64 * 8.0 / rate as f64)).await;
            }
            dropped.set(dropped.get() + sim.cable(0).stats()[0].overflowed);
        }
    });
    (dropped.get(), took.get() / (SEEDS * PIECES) as u32)
}

/// The same pieces over the same paths, paced and not.
#[test]
fn spares_shallow_queues() {
    let (paced, paced_took) = sends_pieces(true);
    let (unpaced, took) = sends_pieces(false);
    assert!(8 * paced < unpaced, "{paced} frames were dropped with pacing, {unpaced} without");
    assert!(paced_took < took, "{paced_took:?} with pacing, {took:?} without");
}

/// A window of hundreds of segments, looked at every millisecond: in any ten of them there is no more on the wire than the
/// pacing rate lets go, with the ten segments that a flight may begin with and a millisecond's worth at once.
#[test]
fn rules_what_is_on_the_wire() {
    for congestion in Congestion::ALL.iter().copied() {
        let link = |random: &mut Random| {
            Topology::pair(Link {
                queue_len: 4 << 20,
                ..Link::with_rate(random.between(40..=80) * 1_000_000, millis(25))
            })
        };
        Sim::builder().topology_with(link).seeds(SEEDS / 10).run(move |sim| async move {
            pour(&sim, 0, congestion).await;
            sleep(millis(150)).await;
            let mut last: VecDeque<(u64, u64)> = VecDeque::new();
            for _ in 0..1500 {
                let rate = info(sim.client()).pacing_rate.expect("it is paced");
                last.push_back((sim.cable(0).stats()[0].entered, rate));
                if last.len() > 10 {
                    let (entered, _) = last.pop_front().unwrap();
                    let rate = last.iter().map(|(_, rate)| *rate).max().unwrap();
                    let sent = (last.back().unwrap().0 - entered) * FRAME_LEN;
                    let may_send = rate * 11 / 1000 * FRAME_LEN / 1448 + 10 * FRAME_LEN;
                    assert!(sent <= may_send, "{congestion:?}: {sent} bytes in 10 ms, at {rate} a second");
                }
                sleep(millis(1)).await;
            }
        });
    }
}

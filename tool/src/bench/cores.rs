//! The same game on each of several cores at once.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hayase::{Host, spawn_on, time};
use hdrhistogram::Histogram;

use super::Goal;
use super::bed::{self, Bed, warn_of_missing};
use super::bulk::{self, Sent};
use super::latency::Latency;
use super::pingpong::{self, Ball, Played};
use super::report::{Bulk, Conditions, Counts, Pingpong};
use crate::cli::{BenchCommon, BulkArgs, PingpongArgs};
use crate::failure::{Attempt, Failure, Result};
use crate::serve;

/// How often a core that is ready looks whether the others are.
const READY_PERIOD: Duration = Duration::from_millis(1);

/// Where all cores wait for each other. A core that gives its own up gives up all.
#[derive(Clone)]
struct Barrier {
    ready: Arc<AtomicUsize>,
    has_left: Arc<AtomicBool>,
    cores: usize,
}

impl Barrier {
    fn new(cores: usize) -> Barrier {
        Barrier { ready: Arc::default(), has_left: Arc::default(), cores }
    }

    /// Waits until all cores do.
    ///
    /// # Errors
    /// [`Failure::Silent`] if one never will: it says why.
    async fn wait(&self) -> Result {
        self.ready.fetch_add(1, Ordering::Relaxed);
        loop {
            // In this order: who leaves behind the barrier was ready before.
            let has_left = self.has_left.load(Ordering::Acquire);
            if self.ready.load(Ordering::Relaxed) >= self.cores {
                return Ok(());
            }
            if has_left {
                return Err(Failure::Silent);
            }
            time::sleep(READY_PERIOD).await;
        }
    }
}

/// A core's place in front of a barrier, left with the end of its game, whether by an error or a panic.
struct Place(Barrier);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.has_left.store(true, Ordering::Release);
    }
}

/// Plays a game on each core, which is told its number, and collects what they say.
fn play_on_each<T, F>(
    bed: &Bed,
    cores: usize,
    play: impl Fn(usize, Barrier) -> F + Clone + Send + 'static,
) -> Result<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + 'static,
{
    bed.block_on(async {
        let barrier = Barrier::new(cores);
        let mut games = Vec::new();
        for core in 0..cores {
            let (play, barrier) = (play.clone(), barrier.clone());
            games.push(spawn_on(core, move || async move {
                let place = Place(barrier.clone());
                let score = play(core, barrier).await;
                drop(place);
                score
            })?);
        }
        let mut scores = Vec::new();
        for game in games {
            scores.push(game.await.map_err(Failure::from).flatten());
        }
        // Who only waited for another has nothing to say.
        scores.sort_by_key(|score| matches!(score, Err(Failure::Silent)));
        scores.into_iter().collect()
    })?
}

/// The bed of `cores` of them, of which the first is this thread.
fn make_bed(common: &BenchCommon, cores: usize) -> Result<Bed> {
    let bed = Bed::with_cores(common, cores)?;
    warn_of_missing(common.offloads, bed.runtime.host().offloads()?);
    Ok(bed)
}

/// The ends on this core.
struct Ends {
    client: Host,
    /// It may be elsewhere.
    server: Option<Host>,
}

impl Ends {
    fn here() -> Result<Ends> {
        let client = Host::current()?;
        Ok(Ends { client, server: client.peer() })
    }

    /// What both have counted so far.
    fn counts(&self) -> Result<Counts> {
        let hosts: Vec<_> = [self.client].into_iter().chain(self.server).collect();
        Ok(bed::counts_of(&hosts)?)
    }
}

fn sum<'a>(counts: impl Iterator<Item = &'a Counts>) -> Counts {
    counts.fold(Counts::default(), |mut sum, counts| {
        sum.merge(counts);
        sum
    })
}

/// What one core did.
struct Score {
    round_trips: u64,
    elapsed: Duration,
    times: Option<Histogram<u64>>,
    congestion: Option<&'static str>,
    counts: Counts,
}

/// Runs pingpong on `args.cores` cores, each with connections of its own, as many as are asked for.
pub(super) fn pingpong(args: &PingpongArgs) -> Result<Pingpong> {
    let bed = make_bed(&args.common, args.cores)?;
    let game = args.clone();
    let scores =
        play_on_each(&bed, args.cores, move |core, barrier| pingpong_on(core, game.clone(), barrier))?;

    let connections = args.common.connections() * args.cores;
    let conditions = Conditions {
        idle: Some(args.idle * args.cores),
        cores: Some(args.cores),
        congestion: scores.first().and_then(|score| score.congestion),
        ..bed.conditions("pingpong", connections)?
    };
    let round_trips = scores.iter().map(|score| score.round_trips).sum();
    let elapsed = scores.iter().map(|score| score.elapsed).max().unwrap_or_default();
    let latency = Latency::new();
    scores.iter().flat_map(|score| &score.times).for_each(|times| latency.add(times));
    let is_timed = scores.iter().all(|score| score.times.is_some());
    let counts = sum(scores.iter().map(|score| &score.counts));
    let latency = is_timed.then_some(&latency);
    Ok(Pingpong::new(conditions, args.payload, round_trips, elapsed, latency, counts))
}

/// One core's part.
async fn pingpong_on(core: usize, args: PingpongArgs, barrier: Barrier) -> Result<Score> {
    let ends = Ends::here()?;
    let count = args.common.connections() + args.idle;
    let mut streams = bed::connect(ends.server, args.common.connect, count, serve::echo).await?;
    // They stay open until the end.
    let idle = streams.split_off(args.common.connections());
    let congestion = bed::congestion_of(&streams);
    let payload = pingpong::payload(args.payload);
    let balls = streams.into_iter().map(|stream| Ball::new(stream, &payload)).collect();
    let latency = (args.latency || args.round_trips.is_none()).then(Latency::new);

    barrier.wait().await?;
    let before = ends.counts()?;
    let goal = Goal::new(args.round_trips, args.common.duration).part(core, args.cores);
    let played = pingpong::play_all(balls, goal, latency.as_ref()).await;
    let Played { round_trips, elapsed, .. } = played.attempt(|| pingpong::FAILED.into())?;
    let counts = ends.counts()?.since(&before);
    drop(idle);
    Ok(Score { round_trips, elapsed, times: latency.map(|latency| latency.times()), congestion, counts })
}

/// Runs bulk on `args.cores` cores, each with connections of its own, as many as are asked for.
pub(super) fn bulk(args: &BulkArgs) -> Result<Bulk> {
    let bed = make_bed(&args.common, args.cores)?;
    let game = args.clone();
    let scores = play_on_each(&bed, args.cores, move |core, barrier| bulk_on(core, game.clone(), barrier))?;

    let connections = args.common.connections() * args.cores;
    let congestion = scores.first().and_then(|(_, congestion, _)| *congestion);
    let conditions =
        Conditions { cores: Some(args.cores), congestion, ..bed.conditions("bulk", connections)? };
    let counts = sum(scores.iter().map(|(.., counts)| counts));
    let sent = Sent::together(scores.into_iter().map(|(sent, ..)| sent));
    Ok(Bulk::new(conditions, args.write, args.owned, sent, counts))
}

/// One core's part.
async fn bulk_on(
    core: usize,
    args: BulkArgs,
    barrier: Barrier,
) -> Result<(Sent, Option<&'static str>, Counts)> {
    let ends = Ends::here()?;
    let common = &args.common;
    let streams = bed::connect(ends.server, common.connect, common.connections(), bulk::read_to_end).await?;
    let congestion = bed::congestion_of(&streams);

    barrier.wait().await?;
    let before = ends.counts()?;
    let goal = Goal::new(args.bytes, common.duration).part(core, args.cores);
    let sent = bulk::send_all(streams, args.write(), goal, args.is_sampled()).await;
    let sent = sent.attempt(|| bulk::FAILED.into())?;
    Ok((sent, congestion, ends.counts()?.since(&before)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    /// Core 0 is ready, and waits for a core that never will be.
    #[test]
    fn a_core_that_fails_before_the_start_keeps_nobody_waiting() {
        let bed = Bed::with_cores(&BenchCommon::default(), 2).unwrap();
        let scores = play_on_each(&bed, 2, |core, barrier| async move {
            match core {
                0 => time::timeout(LIMIT, barrier.wait()).await.expect("the other core has left"),
                _ => Err(Failure::Error("no connection".into())),
            }
        });
        assert_eq!(scores.unwrap_err().to_string(), "no connection");
        let scores = play_on_each(&bed, 2, |core, barrier| async move {
            barrier.wait().await?;
            Ok(core)
        });
        assert_eq!(scores.unwrap(), [0, 1]);
    }
}

//! The same game on each of several cores at once.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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

/// Where all cores wait for each other.
#[derive(Clone)]
struct Start {
    ready: Arc<AtomicUsize>,
    cores: usize,
}

impl Start {
    async fn wait(&self) {
        self.ready.fetch_add(1, Ordering::Relaxed);
        while self.ready.load(Ordering::Relaxed) < self.cores {
            time::sleep(READY_PERIOD).await;
        }
    }
}

/// Plays a game on each core and collects what they say.
fn play_on_each<T, F>(
    bed: &Bed,
    cores: usize,
    play: impl Fn(Start) -> F + Clone + Send + 'static,
) -> Result<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + 'static,
{
    bed.runtime.block_on(async {
        let start = Start { ready: Arc::default(), cores };
        let mut games = Vec::new();
        for core in 0..cores {
            let (play, start) = (play.clone(), start.clone());
            games.push(spawn_on(core, move || play(start))?);
        }
        let mut scores = Vec::new();
        for game in games {
            scores.push(game.await??);
        }
        Ok::<_, Failure>(scores)
    })
}

/// The bed of `cores` of them, of which the first is this thread.
fn make_bed(common: &BenchCommon, cores: usize) -> Result<Bed> {
    let bed = Bed::with_cores(common, cores)?;
    warn_of_missing(common.offloads, bed.runtime.host().offloads()?);
    Ok(bed)
}

/// The two ends on this core, of which the second may be elsewhere.
fn hosts() -> Result<(Vec<Host>, Option<Host>)> {
    let host = Host::current()?;
    let server = host.peer();
    Ok(([Some(host), server].into_iter().flatten().collect(), server))
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
    let scores = play_on_each(&bed, args.cores, move |start| play(game.clone(), start))?;

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

async fn play(args: PingpongArgs, start: Start) -> Result<Score> {
    let (hosts, server) = hosts()?;
    let count = args.common.connections() + args.idle;
    let mut streams = bed::connect(server, args.common.connect, count, serve::echo).await?;
    // They stay open until the end.
    let idle = streams.split_off(args.common.connections());
    let congestion = bed::congestion_of(&streams);
    let payload = pingpong::payload(args.payload);
    let balls = streams.into_iter().map(|stream| Ball::new(stream, &payload)).collect();
    let latency = (args.latency || args.round_trips.is_none()).then(Latency::new);

    start.wait().await;
    let before = bed::counts_of(&hosts)?;
    let goal = Goal::new(args.round_trips, args.common.duration);
    let played = pingpong::play_all(balls, goal, latency.as_ref()).await;
    let Played { round_trips, elapsed, .. } = played.attempt(|| "a round trip failed".into())?;
    let counts = bed::counts_of(&hosts)?.since(&before);
    drop(idle);
    Ok(Score { round_trips, elapsed, times: latency.map(|latency| latency.times()), congestion, counts })
}

/// Runs bulk on `args.cores` cores, each with connections of its own, as many as are asked for.
pub(super) fn bulk(args: &BulkArgs) -> Result<Bulk> {
    let bed = make_bed(&args.common, args.cores)?;
    let game = args.clone();
    let scores = play_on_each(&bed, args.cores, move |start| send(game.clone(), start))?;

    let connections = args.common.connections() * args.cores;
    let congestion = scores.first().and_then(|(_, congestion, _)| *congestion);
    let conditions =
        Conditions { cores: Some(args.cores), congestion, ..bed.conditions("bulk", connections)? };
    let counts = sum(scores.iter().map(|(.., counts)| counts));
    let sent = Sent::together(scores.into_iter().map(|(sent, ..)| sent));
    Ok(Bulk::new(conditions, args.write, args.owned, sent, counts))
}

async fn send(args: BulkArgs, start: Start) -> Result<(Sent, Option<&'static str>, Counts)> {
    let (hosts, server) = hosts()?;
    let common = &args.common;
    let streams = bed::connect(server, common.connect, common.connections(), bulk::read_to_end).await?;
    let congestion = bed::congestion_of(&streams);

    start.wait().await;
    let before = bed::counts_of(&hosts)?;
    let sent =
        bulk::send_all(streams, args.write(), Goal::new(args.bytes, common.duration), args.is_sampled())
            .await;
    let sent = sent.attempt(|| "a transfer failed".into())?;
    Ok((sent, congestion, bed::counts_of(&hosts)?.since(&before)))
}

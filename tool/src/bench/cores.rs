//! The same game on each of several cores at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hayase::{Host, spawn_on, time};
use hdrhistogram::Histogram;

use super::Goal;
use super::bed::{self, Bed, warn_of_missing};
use super::latency::Latency;
use super::pingpong::{Ball, payload, play_all};
use super::report::{Conditions, Counts, Pingpong};
use crate::cli::PingpongArgs;
use crate::failure::{Attempt, Failure, Result};
use crate::serve;

/// How often a core that is ready looks whether the others are.
const READY_PERIOD: Duration = Duration::from_millis(1);

/// What one core did.
struct Score {
    round_trips: u64,
    elapsed: Duration,
    times: Option<Histogram<u64>>,
    counts: Counts,
}

/// Runs the bench on `args.cores` cores, each with connections of its own, as many as are asked for.
pub(super) fn run(args: &PingpongArgs) -> Result {
    let bed = Bed::with_cores(&args.common, args.cores)?;
    warn_of_missing(args.common.offloads, bed.runtime.host().offloads()?);
    let scores = bed.runtime.block_on(async {
        let ready = Arc::new(AtomicUsize::new(0));
        let mut games = Vec::new();
        for core in 0..args.cores {
            let (args, ready) = (args.clone(), Arc::clone(&ready));
            games.push(spawn_on(core, move || play(args, ready))?);
        }
        let mut scores = Vec::new();
        for game in games {
            scores.push(game.await??);
        }
        Ok::<_, Failure>(scores)
    })?;
    report(args, &bed, scores)
}

fn report(args: &PingpongArgs, bed: &Bed, scores: Vec<Score>) -> Result {
    let connections = args.common.connections * args.cores;
    let conditions = Conditions {
        idle: Some(args.idle * args.cores),
        cores: Some(args.cores),
        ..bed.conditions("pingpong", connections)?
    };
    let round_trips = scores.iter().map(|score| score.round_trips).sum();
    let elapsed = scores.iter().map(|score| score.elapsed).max().unwrap_or_default();
    let (latency, mut counts) = (Latency::new(), Counts::default());
    for score in &scores {
        counts.merge(&score.counts);
        score.times.iter().for_each(|times| latency.add(times));
    }
    let is_timed = scores.iter().all(|score| score.times.is_some());
    let latency_ns = is_timed.then(|| latency.percentiles());
    Pingpong::new(conditions, args.payload, round_trips, elapsed, latency_ns, counts).print(args.common.json)
}

/// One core's game: it begins when all cores are ready for theirs.
async fn play(args: PingpongArgs, ready: Arc<AtomicUsize>) -> Result<Score> {
    let host = Host::current()?;
    let (server, remote) = (host.peer(), args.common.connect);
    let count = args.common.connections + args.idle;
    let mut streams = bed::connect(server, remote, count, serve::echo).await?;
    // They stay open until the end.
    let idle = streams.split_off(args.common.connections);
    let payload = payload(args.payload);
    let balls = streams.into_iter().map(|stream| Ball::new(stream, &payload)).collect();
    let latency = (args.latency || args.round_trips.is_none()).then(Latency::new);

    ready.fetch_add(1, Ordering::Relaxed);
    while ready.load(Ordering::Relaxed) < args.cores {
        time::sleep(READY_PERIOD).await;
    }
    let hosts: Vec<Host> = [Some(host), server].into_iter().flatten().collect();
    let before = bed::counts_of(&hosts)?;
    let goal = Goal::new(args.round_trips, args.common.duration);
    let played = play_all(balls, goal, latency.as_ref()).await.attempt(|| "a round trip failed".into())?;
    let counts = bed::counts_of(&hosts)?.since(&before);
    drop(idle);
    let times = latency.map(|latency| latency.times());
    Ok(Score { round_trips: played.round_trips, elapsed: played.elapsed, times, counts })
}

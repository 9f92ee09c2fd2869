//! `hayase bench pingpong`: a payload goes there and comes back, and again.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hayase::Runtime;
use hayase::net::TcpStream;

use super::bed::{Bed, warn_of_missing};
use super::latency::{Laps, Latency};
use super::report::{Conditions, Pingpong};
use super::{Goal, Share, join_all};
use crate::cli::PingpongArgs;
use crate::failure::{Attempt, Result};
use crate::serve;

pub(super) fn run(args: &PingpongArgs) -> Result {
    measure(args)?.print(args.common.json)
}

/// Measures without saying what was found.
pub(super) fn measure(args: &PingpongArgs) -> Result<Pingpong> {
    let common = &args.common;
    let bed = Bed::new(common)?;
    warn_of_missing(common.offloads, bed.runtime.host().offloads()?);
    let mut streams = bed.runtime.block_on(bed.connect(common.connections + args.idle, serve::echo))?;
    // They stay open until the end.
    let idle = streams.split_off(common.connections);
    let payload = payload(args.payload);
    let balls = streams.into_iter().map(|stream| Ball::new(stream, &payload)).collect();

    let goal = Goal::new(args.round_trips, common.duration);
    let latency = (args.latency || args.round_trips.is_none()).then(Latency::new);
    let before = bed.counts()?;
    let played = measured_round_trips(&bed.runtime, balls, goal, latency.as_ref());
    let Played { balls, round_trips, elapsed } = played.attempt(|| "a round trip failed".into())?;
    let counts = bed.counts()?.since(&before);
    drop((balls, idle));

    let conditions = Conditions { idle: Some(args.idle), ..bed.conditions("pingpong", common.connections)? };
    let latency_ns = latency.map(|latency| latency.percentiles());
    let payload = args.payload;
    Ok(Pingpong::new(conditions, payload, round_trips, elapsed, latency_ns, counts))
}

/// Bytes that are all different from those of an empty buffer, at first.
pub(super) fn payload(len: usize) -> Rc<[u8]> {
    (1..=u8::MAX).cycle().take(len).collect()
}

/// One connection, what is sent on it, and where its echo goes.
#[derive(Debug)]
pub(super) struct Ball {
    stream: TcpStream,
    payload: Rc<[u8]>,
    echo: Vec<u8>,
}

/// The result. The connections are in it so that their ends are not measured.
#[derive(Debug)]
pub(super) struct Played {
    balls: Vec<Ball>,
    pub(super) round_trips: u64,
    pub(super) elapsed: Duration,
}

/// All that is measured happens in here. Profilers find it by its name, which the help names.
#[inline(never)]
fn measured_round_trips(
    runtime: &Runtime,
    balls: Vec<Ball>,
    goal: Goal,
    latency: Option<&Latency>,
) -> io::Result<Played> {
    runtime.block_on(play_all(balls, goal, latency))
}

pub(super) async fn play_all(balls: Vec<Ball>, goal: Goal, latency: Option<&Latency>) -> io::Result<Played> {
    let start = Instant::now();
    let shares = goal.shares(balls.len());
    let play = |(ball, share): (Ball, _)| match latency.cloned() {
        None => hayase::spawn(ball.play(share, || {})),
        Some(latency) => hayase::spawn(async move {
            let mut laps: Laps = latency.laps();
            ball.play(share, || laps.lap()).await
        }),
    };
    let tasks = balls.into_iter().zip(shares).map(play).collect();
    let (balls, counts): (_, Vec<u64>) = join_all(tasks).await?.into_iter().unzip();
    Ok(Played { balls, round_trips: counts.iter().sum(), elapsed: start.elapsed() })
}

impl Ball {
    pub(super) fn new(stream: TcpStream, payload: &Rc<[u8]>) -> Ball {
        Ball { stream, payload: Rc::clone(payload), echo: vec![0; payload.len()] }
    }

    /// Goes there and back until the share is done, and says how often that was.
    async fn play(mut self, share: Share, mut lap: impl FnMut()) -> io::Result<(Ball, u64)> {
        let mut count = 0;
        while share.left(count) > 0 {
            self.stream.write_all(&self.payload).await?;
            self.stream.read_exact(&mut self.echo).await?;
            lap();
            count += 1;
        }
        if count > 0 && self.echo[..] != self.payload[..] {
            return Err(io::Error::other("the server sent other bytes back: is it an echo server?"));
        }
        Ok((self, count))
    }
}

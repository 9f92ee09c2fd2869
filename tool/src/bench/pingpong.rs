//! `hayase bench pingpong`: a payload goes there and comes back, and again.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hayase::net::TcpStream;
use hayase::{DeviceSpec, Model, WireSpec, stack};
use hayase_sim::VirtualWire;

use super::bed::{self, Bed, warn_of_missing};
use super::latency::{Laps, Latency};
use super::progress::Progress;
use super::report::{Conditions, Pingpong, thousands};
use super::{Goal, Share, cores, join_all, not_an_echo, rate, sweep};
use crate::cli::{CONNECTIONS_MAX, CORES_MAX, PingpongArgs, PingpongSweep};
use crate::failure::{Attempt, Failure, Result};
use crate::serve;

pub(super) fn run(args: &PingpongArgs) -> Result {
    check(args).map_or(Ok(()), |conflict| Err(Failure::Usage(conflict.into())))?;
    match args.sweep {
        Some(sweep) => sweep::pingpong(args, sweep)?.publish(args.points.svg.as_deref(), args.common.json),
        None => measure_visibly(args)?.publish(args.points.svg.as_deref(), args.common.json),
    }
}

/// Measures once, and shows meanwhile what it does.
fn measure_visibly(args: &PingpongArgs) -> Result<Pingpong> {
    let mut args = args.clone();
    // Only what is timed can be drawn.
    args.latency |= args.points.svg.is_some();
    let mut progress = Progress::new("pingpong", 1);
    let much = match args.round_trips {
        Some(count) => format!("{} round trips", thousands(count)),
        None => format!("{} s", args.common.duration.as_secs_f64()),
    };
    progress.step(format_args!("{} connections, {much}", args.common.connections()));
    measure_as_asked(&args)
}

/// What makes no sense together, beyond what the command line's own rules say.
fn check(args: &PingpongArgs) -> Option<&'static str> {
    let (common, is_wire) = (&args.common, matches!(args.common.device, None | Some(DeviceSpec::Wire(_))));
    let greatest = args.points.values.iter().copied().max().unwrap_or_default();
    match args.sweep {
        Some(PingpongSweep::Connections) if greatest > CONNECTIONS_MAX => {
            Some("a sweep of connections goes to 1,000,000: give smaller --values")
        }
        Some(PingpongSweep::Cores) if greatest > CORES_MAX => {
            Some("a sweep of cores goes to 64: give smaller --values")
        }
        Some(PingpongSweep::Connections) if common.connections.is_some() => {
            Some("a sweep of connections chooses their number: give --values in place of --connections")
        }
        Some(PingpongSweep::Connections) if args.cores > 1 => {
            Some("a sweep of connections is made on one core: leave --cores out")
        }
        Some(PingpongSweep::Cores) if args.cores > 1 => {
            Some("a sweep of cores chooses their number: give --values in place of --cores")
        }
        None if args.rate.is_some() && args.cores > 1 => {
            Some("requests at a rate are sent by one core: leave --cores out")
        }
        Some(PingpongSweep::Rate) if args.cores > 1 => {
            Some("requests at a rate are sent by one core: leave --cores out")
        }
        None if args.virtual_time && args.points.svg.is_some() => {
            Some("round trips on virtual time are counted and not timed: leave --svg out")
        }
        None if args.virtual_time && (args.cores > 1 || common.core.model != Model::Unified) => {
            Some("virtual time is that of one thread: leave --cores and --model out")
        }
        None if args.virtual_time && common.core.spin.is_some() => {
            Some("on virtual time nobody waits: leave --spin out")
        }
        None if args.virtual_time && !is_wire => {
            Some("only the wire goes along with virtual time: measure on --device wire")
        }
        _ => None,
    }
}

/// Measures once, without saying what was found.
pub(super) fn measure_as_asked(args: &PingpongArgs) -> Result<Pingpong> {
    match args.cores {
        _ if args.virtual_time => measure_in_virtual_time(args),
        2.. => cores::pingpong(args),
        _ => measure(args),
    }
}

/// Measures on one core.
pub(super) fn measure(args: &PingpongArgs) -> Result<Pingpong> {
    let common = &args.common;
    let bed = Bed::new(common)?;
    warn_of_missing(common.offloads, bed.runtime.host().offloads()?);
    let connections = common.connections();
    let mut streams = bed.block_on(bed.connect(connections + args.idle, serve::echo))??;
    // They stay open until the end.
    let idle = streams.split_off(connections);
    let congestion = bed::congestion_of(&streams);
    let payload = payload(args.payload);
    let goal = Goal::new(args.round_trips, common.duration);
    let latency = (args.latency || args.round_trips.is_none() || args.rate.is_some()).then(Latency::new);
    let before = bed.counts()?;
    let mut conditions =
        Conditions { idle: Some(args.idle), congestion, ..bed.conditions("pingpong", connections)? };
    // The connections stay open until everything is counted.
    let Played { balls, round_trips, elapsed } = match (args.rate, &latency) {
        (Some(rate), Some(latency)) => {
            let kept = rate::keep(streams, payload, rate, goal, latency);
            let kept = bed.block_on(kept)?.attempt(|| FAILED.into())?;
            conditions.due_per_second = Some(rate);
            conditions.not_sent = Some(kept.not_sent);
            Played { balls: Vec::new(), round_trips: kept.round_trips, elapsed: kept.elapsed }
        }
        _ => {
            let balls = streams.into_iter().map(|stream| Ball::new(stream, &payload)).collect();
            measured_round_trips(&bed, balls, goal, latency.as_ref())?
        }
    };
    let counts = bed.counts()?.since(&before);
    drop((balls, idle));
    Ok(Pingpong::new(conditions, args.payload, round_trips, elapsed, latency.as_ref(), counts))
}

/// Round trips per second of processor time on one core, of a byte each, with no look at the clock for each.
#[cfg(feature = "peers")]
pub(super) fn untimed_rate(common: &crate::cli::BenchCommon) -> Result<f64> {
    let bed = Bed::new(common)?;
    let streams = bed.block_on(bed.connect(common.connections(), serve::echo))??;
    let payload = payload(1);
    let balls = streams.into_iter().map(|stream| Ball::new(stream, &payload)).collect();
    let start = super::processor_time();
    let played = measured_round_trips(&bed, balls, Goal::new(None, common.duration), None)?;
    Ok(played.round_trips as f64 / (super::processor_time() - start).as_secs_f64())
}

/// Measures on the wire where the clock goes on with the turns: with the same arguments, the same instructions.
fn measure_in_virtual_time(args: &PingpongArgs) -> Result<Pingpong> {
    let common = &args.common;
    let spec = match &common.device {
        Some(DeviceSpec::Wire(spec)) => spec.clone(),
        _ => WireSpec::default(),
    };
    let offloads = common.offloads.unwrap_or(spec.offloads);
    let connections = common.connections();
    let turn_time = HALF_ROUND_TRIP * connections as u32;
    let mut config = stack::Config::default();
    config.congestion = common.core.congestion.unwrap_or_default();
    let wire = VirtualWire::default().mtu(spec.mtu).offloads(offloads).turn_time(turn_time).stack(config);
    let found = wire.run(|client, server| async move {
        let count = connections + args.idle;
        let mut streams = bed::connect(Some(server), None, count, serve::echo).await?;
        let idle = streams.split_off(connections);
        let congestion = bed::congestion_of(&streams);
        let payload = payload(args.payload);
        let balls = streams.into_iter().map(|stream| Ball::new(stream, &payload)).collect();
        let before = bed::counts_of(&[client, server])?;
        let played = play_all(balls, Goal::new(args.round_trips, common.duration), None).await;
        let played = played.attempt(|| FAILED.into())?;
        let counts = bed::counts_of(&[client, server])?.since(&before);
        drop((played.balls, idle));
        Ok::<_, Failure>((played.round_trips, played.elapsed, congestion, client.offloads()?, counts))
    })?;
    let (round_trips, elapsed, congestion, offloads, counts) = found?;
    bed::warn_of_missing(common.offloads, offloads);
    let conditions = Conditions {
        command: "pingpong",
        device: DeviceSpec::Wire(spec).to_string(),
        model: common.core.model.name(),
        offloads: offloads.to_string(),
        congestion,
        connections,
        idle: Some(args.idle),
        virtual_time: true,
        ..Conditions::default()
    };
    Ok(Pingpong::new(conditions, args.payload, round_trips, elapsed, None, counts))
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

/// What the error of a connection is told with.
pub(super) const FAILED: &str = "a round trip failed";

/// Time that one connection's half of a round trip takes where time is virtual.
const HALF_ROUND_TRIP: Duration = Duration::from_nanos(150);

/// All that is measured happens in here. Profilers find it by its name, which the help names.
#[inline(never)]
fn measured_round_trips(
    bed: &Bed,
    balls: Vec<Ball>,
    goal: Goal,
    latency: Option<&Latency>,
) -> Result<Played> {
    bed.block_on(play_all(balls, goal, latency))?.attempt(|| FAILED.into())
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
            return Err(not_an_echo());
        }
        Ok((self, count))
    }
}

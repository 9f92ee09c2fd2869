//! `hayase bench churn`: connections that are opened only to be closed.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use hayase::net::TcpStream;

use super::bed::{self, Bed};
use super::latency::Latency;
use super::plot::{Axis, Line, Plot, Scale};
use super::progress::Progress;
use super::report::{Conditions, Counts, Percentiles};
use super::study::{Cell, Column, Settings, Study, Table, in_turns};
use super::{Goal, Share, join_all};
use crate::cli::{BenchCommon, ChurnArgs};
use crate::failure::{Attempt, Result};
use crate::serve;

pub(super) fn run(args: &ChurnArgs) -> Result {
    measure(args)?.publish(args.study.svg.as_deref(), args.study.json)
}

/// What one round found.
struct Found {
    opened: u64,
    per_second: f64,
    times: Percentiles,
    counts: Counts,
    congestion: Option<&'static str>,
}

/// Measures without saying what was found.
pub(super) fn measure(args: &ChurnArgs) -> Result<Study> {
    let rounds = args.study.rounds;
    let mut progress = Progress::new("churn", args.connections.len() * usize::from(rounds));
    let mut settings = Settings::default();
    let name = |tasks: &usize| format!("{tasks} at a time");
    let found = in_turns(&args.connections, rounds, name, |tasks| {
        progress.step(name(tasks));
        let common = BenchCommon {
            device: args.device.clone(),
            connect: args.connect,
            duration: args.study.duration,
            ..BenchCommon::default()
        };
        let bed = Bed::new(&common)?;
        let found = open_and_close(&bed, *tasks, &common)?;
        let conditions = bed.conditions("churn", *tasks)?;
        settings = Conditions { congestion: found.congestion, ..conditions }.settings();
        Ok(found)
    })?;
    drop(progress);
    let (points, found, failed) = found.medians(|found| found.per_second);

    let mut table = Table::new(&[
        Column("connections", "at a time", 0),
        Column("opened", "connections", 0),
        Column("connections_per_second", "per second", 0),
        Column("microseconds_each", "us each", 2),
        Column("p50_us", "p50 us", 1),
        Column("p99_us", "p99 us", 1),
        Column("retransmissions", "retransmissions", 0),
    ]);
    for (tasks, found) in points.iter().zip(&found) {
        let [p50, p99] = [found.times.p50, found.times.p99].map(|ns| Cell::from(ns as f64 / 1e3));
        let each = (1e6 / found.per_second).into();
        let retransmissions = found.counts.retransmissions().into();
        let rate = found.per_second.into();
        table.push(vec![(*tasks).into(), found.opened.into(), rate, each, p50, p99, retransmissions]);
    }
    let rates = points.iter().zip(&found).map(|(x, y)| (*x as f64, y.per_second)).collect();
    let plot = Plot::lines(
        "Connections opened and closed per second",
        Axis::new("at a time", Scale::Twos),
        Axis::new("per second", Scale::Linear),
        vec![Line::new("connections", 0, rates)],
    );
    let duration = format!("{} s", args.study.duration.as_secs_f64());
    let settings = settings.with("rounds", rounds).with("duration", duration);
    Ok(Study::new("churn", settings, table, vec![plot]).without(failed))
}

fn open_and_close(bed: &Bed, tasks: usize, common: &BenchCommon) -> Result<Found> {
    let target = bed.block_on(bed.server(serve::close))??;
    // The first finds out where the server is; meanwhile only so many could wait.
    let first = bed.block_on(TcpStream::connect(target))?;
    let first = first.attempt(|| format!("cannot connect to {target}"))?;
    let congestion = bed::congestion_of(&[first]);
    let latency = Latency::new();
    let before = bed.counts()?;
    let start = Instant::now();
    let opened = bed.block_on(async {
        let shares = Goal::new(None, common.duration).shares(tasks);
        let open = |share| hayase::spawn(open_in_turn(target, share, latency.clone()));
        join_all(shares.into_iter().map(open).collect()).await
    })?;
    let opened: u64 = opened.attempt(|| format!("a connection to {target} failed"))?.into_iter().sum();
    let per_second = opened as f64 / start.elapsed().as_secs_f64();
    let counts = bed.counts()?.since(&before);
    Ok(Found { opened, per_second, times: latency.percentiles(), counts, congestion })
}

async fn open_in_turn(target: SocketAddr, share: Share, latency: Latency) -> io::Result<u64> {
    let mut count = 0;
    let mut laps = latency.laps();
    while share.left(count) > 0 {
        let mut stream = TcpStream::connect(target).await?;
        if stream.read(&mut [0]).await? > 0 {
            return Err(io::Error::other(
                "the server sent something: it should close every connection at once",
            ));
        }
        drop(stream);
        laps.lap();
        count += 1;
    }
    Ok(count)
}

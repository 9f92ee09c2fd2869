//! `hayase bench idle-cost`: what connections on which nothing happens cost one on which something does.

use super::pingpong;
use super::plot::{Axis, Line, Plot, Scale};
use super::progress::Progress;
use super::report::{Pingpong, thousands};
use super::study::{Cell, Column, Study, Table, in_turns};
use crate::cli::{BenchCommon, IdleCostArgs, PingpongArgs};
use crate::failure::Result;

pub(super) fn run(args: &IdleCostArgs) -> Result {
    measure(args)?.publish(args.study.svg.as_deref(), args.study.json)
}

/// Measures without saying what was found.
pub(super) fn measure(args: &IdleCostArgs) -> Result<Study> {
    let rounds = args.study.rounds;
    let mut progress = Progress::new("idle-cost", args.idle.len() * usize::from(rounds));
    let name = |idle: &usize| format!("{} idle", thousands(*idle as u64));
    let found = in_turns(&args.idle, rounds, name, |idle| {
        progress.step(name(idle));
        pingpong::measure(&args_at(args, *idle))
    })?;
    drop(progress);
    // The median of the times is little moved by what else the machine does; the rate is.
    let (idle_counts, found, failed) = found.medians(|found: &Pingpong| found.percentiles_us()[0]);

    let mut table = Table::new(&[
        Column("idle", "idle", 0),
        Column("round_trips_per_second", "per second", 0),
        Column("p50_us", "p50 us", 2),
        Column("p99_us", "p99 us", 2),
        Column("of_first", "p50 of first", 3),
    ]);
    let first = found[0].percentiles_us()[0];
    for (idle, found) in idle_counts.iter().zip(&found) {
        let [p50, _, p99, _] = found.percentiles_us();
        let rate = found.round_trips_per_second.into();
        table.push(vec![Cell::from(*idle), rate, p50.into(), p99.into(), (p50 / first).into()]);
    }
    // On a scale of tens there is no zero: alone counts as one.
    let points = idle_counts.iter().zip(&found).map(|(x, y)| ((*x).max(1) as f64, y.percentiles_us()[0]));
    let plot = Plot::lines(
        "Median time of a round trip beside idle connections",
        Axis::new("idle connections (1: none)", Scale::Tens),
        Axis::new("microseconds", Scale::Linear),
        vec![Line::new("p50", 0, points.collect())],
    );
    let duration = format!("{} s", args.study.duration.as_secs_f64());
    let settings = found[0].settings().with("rounds", rounds).with("duration", duration);
    Ok(Study::new("idle-cost", settings, table, vec![plot]).without(failed))
}

fn args_at(args: &IdleCostArgs, idle: usize) -> PingpongArgs {
    let common = BenchCommon {
        device: args.device.clone(),
        connect: args.connect,
        duration: args.study.duration,
        ..BenchCommon::default()
    };
    PingpongArgs { idle, ..PingpongArgs::new(common, 1) }
}

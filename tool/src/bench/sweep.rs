//! `hayase bench pingpong --sweep` and `hayase bench bulk --sweep`: the same measurement at several points.

use std::thread;

use hayase::{DeviceSpec, Offloads};

use super::bed::Bed;
use super::bulk;
use super::pingpong;
use super::plot::{Axis, Bar, Content, Line, Plot, Scale, bytes};
use super::progress::Progress;
use super::report::{Bulk, Pingpong};
use super::study::{Cell, Column, Study, Table, in_turns};
use crate::cli::{BenchCommon, BulkArgs, PingpongArgs, PingpongSweep};
use crate::failure::Result;

/// Connections on each core in a sweep of cores, and in one of rates: as the servers of iip's evaluation have.
const CONNECTIONS_PER_CORE: usize = 32;

/// Numbers of connections, if none are given.
const CONNECTIONS: [usize; 11] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

/// Requests that are due each second, if no rates are given.
const RATES: [usize; 8] = [1_000, 10_000, 50_000, 100_000, 200_000, 400_000, 700_000, 1_000_000];

/// Sizes of a message, if none are given: 62 KiB to 40 MiB.
const MESSAGES: [usize; 10] =
    [62 << 10, 125 << 10, 250 << 10, 500 << 10, 1 << 20, 2560 << 10, 5 << 20, 10 << 20, 20 << 20, 40 << 20];

/// Runs `bench pingpong` at each point.
pub(super) fn pingpong(args: &PingpongArgs, sweep: PingpongSweep) -> Result<Study> {
    let points = match (&args.points.values[..], sweep) {
        ([], PingpongSweep::Connections) => CONNECTIONS.to_vec(),
        ([], PingpongSweep::Cores) => (1..=thread::available_parallelism().map_or(1, usize::from)).collect(),
        ([], PingpongSweep::Rate) => RATES.to_vec(),
        (values, _) => values.to_vec(),
    };
    let (name, rounds) = (name(sweep), args.points.rounds);
    let mut progress = Progress::new("pingpong", points.len() * usize::from(rounds));
    let point_name = |point: &usize| format!("{name} {point}");
    let found = in_turns(&points, rounds, point_name, |point| {
        progress.step(point_name(point));
        pingpong::measure_as_asked(&args_at(args, sweep, *point))
    })?;
    drop(progress);
    // Where the rate is what was asked for, the times tell the rounds apart.
    let (points, found, failed) = match sweep {
        PingpongSweep::Rate => found.medians(|found: &Pingpong| found.percentiles_us()[2]),
        _ => found.medians(|found: &Pingpong| found.round_trips_per_second),
    };
    let idle = match sweep {
        PingpongSweep::Cores => format!("{} on each core", args.idle),
        _ => args.idle.to_string(),
    };
    let settings = found[0].settings().with("idle", idle);
    let settings = settings.with("rounds", rounds).with("duration", seconds(&args.common));
    let (table, plots) = match sweep {
        PingpongSweep::Connections => (table(name, &points, &found, false), latency_plots(&points, &found)),
        PingpongSweep::Cores => (table(name, &points, &found, true), vec![cores_plot(&points, &found)]),
        PingpongSweep::Rate => (rate_table(&points, &found), vec![rate_plot(&points, &found)]),
    };
    let connections = args_at(args, sweep, 1).common.connections();
    let settings = match sweep {
        PingpongSweep::Rate => settings.with("connections", connections),
        PingpongSweep::Cores => settings.with("connections", format_args!("{connections} on each core")),
        PingpongSweep::Connections => settings,
    };
    let mut study = Study::new("pingpong", settings, table, plots).without(failed);
    study.sweep = Some(name);
    Ok(study)
}

fn name(sweep: PingpongSweep) -> &'static str {
    match sweep {
        PingpongSweep::Cores => "cores",
        PingpongSweep::Connections => "connections",
        PingpongSweep::Rate => "rate",
    }
}

fn seconds(common: &BenchCommon) -> String {
    format!("{} s", common.duration.as_secs_f64())
}

/// The arguments of one point.
fn args_at(args: &PingpongArgs, sweep: PingpongSweep, value: usize) -> PingpongArgs {
    let mut args = args.clone();
    match sweep {
        PingpongSweep::Connections => args.common.connections = Some(value),
        PingpongSweep::Cores => {
            args.cores = value;
            args.common.connections.get_or_insert(CONNECTIONS_PER_CORE);
        }
        PingpongSweep::Rate => {
            args.rate = Some(value as f64);
            args.common.connections.get_or_insert(CONNECTIONS_PER_CORE);
        }
    }
    args
}

/// What was due, what was done of it, and how long it took from when it was due.
fn rate_table(points: &[usize], found: &[Pingpong]) -> Table {
    let mut table = Table::new(&[
        Column("due_per_second", "due per second", 0),
        Column("round_trips_per_second", "per second", 0),
        Column("p50_us", "p50 us", 1),
        Column("p90_us", "p90 us", 1),
        Column("p99_us", "p99 us", 1),
        Column("p99.9_us", "p99.9 us", 1),
        Column("not_sent", "not sent", 0),
    ]);
    for (point, found) in points.iter().zip(found) {
        let mut row = vec![Cell::from(*point), found.round_trips_per_second.into()];
        row.extend(found.percentiles_us().map(Cell::from));
        row.push(found.not_sent().into());
        table.push(row);
    }
    table
}

fn rate_plot(points: &[usize], found: &[Pingpong]) -> Plot {
    let curve = |(index, name): (usize, &&str)| {
        let times = points.iter().zip(found).map(|(x, y)| (*x as f64, y.percentiles_us()[index]));
        Line::new(*name, index, times.collect())
    };
    let lines = ["p50", "p90", "p99", "p99.9"].iter().enumerate().map(curve).collect();
    let x = Axis::new("requests due per second", Scale::Tens);
    Plot::lines("Time of a request from when it was due", x, Axis::new("microseconds", Scale::Tens), lines)
}

fn table(name: &'static str, points: &[usize], found: &[Pingpong], scales: bool) -> Table {
    let mut columns = vec![
        Column(name, name, 0),
        Column("round_trips_per_second", "per second", 0),
        Column("nanoseconds_per_round_trip", "ns each", 1),
        Column("p50_us", "p50 us", 1),
        Column("p90_us", "p90 us", 1),
        Column("p99_us", "p99 us", 1),
        Column("p99.9_us", "p99.9 us", 1),
    ];
    if scales {
        columns.push(Column("of_linear", "of linear", 2));
    }
    let mut table = Table::new(&columns);
    let first = points[0] as f64 / found[0].round_trips_per_second;
    for (point, found) in points.iter().zip(found) {
        let rate = found.round_trips_per_second;
        let mut row = vec![Cell::from(*point), rate.into(), found.nanoseconds_per_round_trip.into()];
        row.extend(found.percentiles_us().map(Cell::from));
        if scales {
            row.push((rate * first / *point as f64).into());
        }
        table.push(row);
    }
    table
}

/// Rates and times against the number of connections, and times against rates.
fn latency_plots(points: &[usize], found: &[Pingpong]) -> Vec<Plot> {
    let rates = points.iter().zip(found).map(|(x, y)| (*x as f64, y.round_trips_per_second)).collect();
    let connections = || Axis::new("connections", Scale::Twos);
    let rate = Plot::lines(
        "Round trips per second",
        connections(),
        Axis::new("per second", Scale::Linear),
        vec![Line::new("round trips", 0, rates)],
    );
    let names = ["p50", "p90", "p99", "p99.9"];
    let against = |x: &dyn Fn(usize) -> f64| {
        let curve = |(index, name): (usize, &&str)| {
            let points =
                (0..found.len()).map(|point| (x(point), found[point].percentiles_us()[index])).collect();
            Line::new(*name, index, points)
        };
        names.iter().enumerate().map(curve).collect::<Vec<_>>()
    };
    let latency = Plot::lines(
        "Time of a round trip against throughput",
        Axis::new("round trips per second", Scale::Linear),
        Axis::new("microseconds", Scale::Tens),
        against(&|point| found[point].round_trips_per_second),
    );
    let load = Plot::lines(
        "Time of a round trip",
        connections(),
        Axis::new("microseconds", Scale::Tens),
        against(&|point| points[point] as f64),
    );
    vec![rate, load, latency]
}

fn cores_plot(points: &[usize], found: &[Pingpong]) -> Plot {
    let rates: Vec<_> =
        points.iter().zip(found).map(|(x, y)| (*x as f64, y.round_trips_per_second)).collect();
    let each = rates[0].1 / rates[0].0;
    let linear = rates.iter().map(|(cores, _)| (*cores, cores * each)).collect();
    let lines = vec![Line::new("measured", 0, rates), Line::new("linear", 6, linear).thin()];
    let y = Axis::new("round trips per second", Scale::Linear);
    Plot::lines("Round trips per second by cores", Axis::new("cores", Scale::Whole), y, lines)
}

/// What is left out of the offloads, as in iip's evaluation.
struct Ablation {
    name: &'static str,
    /// Whether the bytes are sent from where the application has them.
    owned: bool,
    without: Offloads,
}

/// Offloads, each with what it makes possible.
fn ablations() -> [Ablation; 6] {
    let set = |name, owned, without| Ablation { name, owned, without };
    [
        set("all", true, Offloads::NONE),
        set("no zero-copy", false, Offloads::NONE),
        set("no TSO", true, Offloads::TSO),
        set("no TSO, no tx checksum", true, Offloads::TSO | Offloads::TX_CHECKSUM),
        set("no rx checksum", true, Offloads::RX_CHECKSUM),
        set("no LRO", true, Offloads::LRO),
    ]
}

/// What to ask of the device. The kernel's sockets have all that the kernel has, which is not ours to change.
fn offloads_of(set: &Ablation, device: Option<&DeviceSpec>) -> Option<Offloads> {
    let is_given = matches!(device, Some(DeviceSpec::Kernel)) && set.without == Offloads::NONE;
    (!is_given).then_some(Offloads::ALL & !set.without)
}

/// Runs `bench bulk` with messages of each size and each of the ablations.
pub(super) fn message_size(args: &BulkArgs) -> Result<Study> {
    let given = &args.points.values;
    let sizes = if given.is_empty() { MESSAGES.to_vec() } else { given.clone() };
    let (sets, rounds) = (ablations(), args.points.rounds);
    let points: Vec<_> = (0..sets.len()).flat_map(|set| sizes.iter().map(move |size| (set, *size))).collect();
    let mut progress = Progress::new("bulk", points.len() * usize::from(rounds));
    let name = |(set, size): &(usize, usize)| format!("{}, {}", sets[*set].name, bytes(*size as f64));
    let found = in_turns(&points, rounds, name, |(set, size)| {
        progress.step(name(&(*set, *size)));
        let set = &sets[*set];
        let mut args = args.clone();
        (args.write, args.owned) = (*size, set.owned);
        args.common.offloads = offloads_of(set, args.common.device.as_ref());
        // What the device lacks is told by the report: the offloads in force are in it.
        let bed = Bed::new(&args.common)?;
        bulk::measure(&args, &bed, false)
    })?;
    drop(progress);
    let (points, found, failed) = found.medians(|found: &Bulk| found.bits_per_second);

    let mut table = Table::new(&[
        Column("set", "set", 0),
        Column("offloads", "offloads in force", 0),
        Column("message", "message bytes", 0),
        Column("gigabits_per_second", "Gbit/s", 2),
        Column("of_all", "of all", 2),
    ]);
    let mut lines: Vec<_> =
        sets.iter().enumerate().map(|(index, set)| Line::new(set.name, index, Vec::new())).collect();
    let all_of = |size: usize| points.iter().zip(&found).find(|(point, _)| **point == (0, size));
    for ((set, size), bulk) in points.iter().zip(&found) {
        let rate = bulk.bits_per_second / 1e9;
        let of_all =
            all_of(*size).map_or(Cell::Missing, |(_, all)| (rate * 1e9 / all.bits_per_second).into());
        lines[*set].points.push((*size as f64, rate));
        table.push(vec![sets[*set].name.into(), bulk.offloads().into(), (*size).into(), rate.into(), of_all]);
    }
    lines.retain(|line| !line.points.is_empty());
    let (x, y) = (Axis::new("message", Scale::Bytes), Axis::new("Gbit/s", Scale::Linear));
    let plot = Plot::lines("Bulk by size of a message and what is left out", x, y, lines);
    let settings = found[0].settings().with("rounds", rounds).with("duration", seconds(&args.common));
    let shares = shares_plot(&table);
    let mut study = Study::new("bulk", settings, table, vec![plot, shares]).without(failed);
    study.sweep = Some("message-size");
    Ok(study)
}

/// What each of the ablations leaves of the rate: the least, the median and the greatest of all sizes.
fn shares_plot(table: &Table) -> Plot {
    let bar = |(group, set): (usize, &Ablation)| {
        let rows = table.rows.iter().filter(|row| row[0] == set.name.into());
        let mut shares: Vec<_> = rows
            .filter_map(|row| match row[4] {
                Cell::Number(share) => Some(share),
                _ => None,
            })
            .collect();
        shares.sort_by(f64::total_cmp);
        // What could not be measured is no nought.
        let (least, greatest) = (*shares.first()?, *shares.last()?);
        let values = [least, shares[shares.len() / 2], greatest];
        Some(Bar { name: set.name.to_owned(), group, values })
    };
    let bars = ablations().iter().enumerate().filter_map(bar).collect();
    Plot {
        title: "What is left of the rate: median, least and greatest of all sizes".into(),
        x: Axis::new("", Scale::Linear),
        y: Axis::new("of all offloads", Scale::Linear),
        content: Content::Bars(bars),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_that_was_not_measured_has_no_bar() {
        let mut table =
            Table::new(&["set", "offloads", "message", "rate", "of_all"].map(|key| Column(key, key, 0)));
        let row = |set: &str, share: Cell| vec![set.into(), "sg".into(), 1_usize.into(), 2.0.into(), share];
        table.push(row("all", 1.0.into()));
        table.push(row("no TSO", 0.5.into()));
        table.push(row("no TSO", 0.25.into()));
        table.push(row("no LRO", Cell::Missing));
        let Content::Bars(bars) = shares_plot(&table).content else { panic!("bars are drawn") };
        let bars: Vec<_> = bars.iter().map(|bar| (bar.name.as_str(), bar.values)).collect();
        assert_eq!(bars, [("all", [1.0; 3]), ("no TSO", [0.25, 0.5, 0.5])]);
    }

    #[test]
    fn all_offloads_are_asked_for_wherever_they_can_be() {
        let [all, .., no_lro] = ablations();
        assert_eq!(offloads_of(&all, None), Some(Offloads::ALL));
        assert_eq!(offloads_of(&all, Some(&DeviceSpec::Kernel)), None);
        assert_eq!(offloads_of(&no_lro, None), Some(Offloads::ALL & !Offloads::LRO));
        assert!(offloads_of(&no_lro, Some(&DeviceSpec::Kernel)).is_some(), "so that it is refused");
    }

    #[test]
    fn the_ablations_are_those_of_the_evaluation() {
        let offloads = |name: &str| {
            let set = ablations().into_iter().find(|set| set.name == name).unwrap();
            (Offloads::ALL & !set.without).consistent()
        };
        assert_eq!(offloads("all"), Offloads::ALL);
        assert!(
            !offloads("no TSO").intersects(Offloads::TSO)
                && offloads("no TSO").contains(Offloads::TX_CHECKSUM)
        );
        let without_both = offloads("no TSO, no tx checksum");
        assert!(!without_both.intersects(Offloads::TSO | Offloads::TX_CHECKSUM), "{without_both}");
        assert!(without_both.contains(Offloads::RX_CHECKSUM | Offloads::LRO));
        assert!(!offloads("no rx checksum").intersects(Offloads::RX_CHECKSUM));
        assert_eq!(ablations().iter().filter(|set| !set.owned).count(), 1);
        assert_eq!((MESSAGES[0], MESSAGES[9]), (63_488, 41_943_040));
    }
}

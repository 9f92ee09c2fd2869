//! `hayase bench models`: the three CPU models at several loads.

use hayase::Model;
use serde::Serialize;

use super::pingpong;
use super::plot::{Axis, Line, Plot, Scale};
use super::progress::Progress;
use super::report::{Pingpong, thousands};
use super::study::{Cell, Column, Settings, Study, Table, in_turns};
use crate::cli::{BenchCommon, CoreArgs, ModelsArgs, PingpongArgs};
use crate::failure::Result;

pub(super) fn run(args: &ModelsArgs) -> Result {
    measure(args)?.publish(args.study.svg.as_deref(), args.study.json)
}

/// One model.
#[derive(Debug, Serialize)]
struct Curve {
    model: &'static str,
    points: Vec<Point>,
    /// The most that any load brought.
    peak_per_second: f64,
    /// That by unified's, if unified was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    of_unified: Option<f64>,
}

/// One load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Point {
    connections: usize,
    round_trips_per_second: f64,
    p50_ns: u64,
    p99_ns: u64,
}

/// Measures without saying what was found. The models take turns at each load.
pub(super) fn measure(args: &ModelsArgs) -> Result<Study> {
    let rounds = args.study.rounds;
    let at = |connections: &usize| args.models.iter().map(move |model| (*model, *connections)).collect();
    let points: Vec<(Model, usize)> =
        args.connections.iter().flat_map(|count| -> Vec<_> { at(count) }).collect();
    let mut progress = Progress::new("models", points.len() * usize::from(rounds));
    let name = |(model, connections): &(Model, usize)| format!("{model}, {connections} connections");
    let found = in_turns(&points, rounds, name, |point| {
        progress.step(name(point));
        pingpong::measure(&pingpong_args(args, point.0, point.1))
    })?;
    drop(progress);
    // The middle one by its rate, whole: its rate and its times belong together.
    let (points, found, failed) = found.medians(|found: &Pingpong| found.round_trips_per_second);
    let settings = settings(args, &found);
    let curves =
        curves(&args.models, points.into_iter().zip(&found).map(|(at, found)| (at, Point::new(at.1, found))));
    let device = found[0].device();
    Ok(study(settings, &curves, plot(device, args.payload, &curves)).without(failed))
}

/// What holds for every model. Offloads may be fewer with one that runs elsewhere, so they are those of all together.
fn settings(args: &ModelsArgs, found: &[Pingpong]) -> Settings {
    let mut offloads: Vec<_> = found.iter().map(Pingpong::offloads).collect();
    offloads.sort_unstable();
    offloads.dedup();
    let mut settings =
        Settings::default().with("device", found[0].device()).with("offloads", offloads.join(" or "));
    if let Some(congestion) = found[0].congestion() {
        settings = settings.with("congestion", congestion);
    }
    let duration = format!("{} s", args.study.duration.as_secs_f64());
    settings.with("payload", args.payload).with("rounds", args.study.rounds).with("duration", duration)
}

/// A curve for each model that has a point, with its peak beside unified's.
fn curves(models: &[Model], points: impl Iterator<Item = ((Model, usize), Point)>) -> Vec<Curve> {
    let points: Vec<_> = points.collect();
    let of = |model: Model| -> Vec<Point> {
        points.iter().filter(|((other, _), _)| *other == model).map(|(_, point)| *point).collect()
    };
    let peak = |points: &[Point]| points.iter().map(|point| point.round_trips_per_second).fold(0.0, f64::max);
    let unified = Some(peak(&of(Model::Unified))).filter(|peak| *peak > 0.0);
    let curve = |model: &Model| {
        let points = of(*model);
        let peak_per_second = peak(&points);
        let of_unified = unified.map(|unified| peak_per_second / unified);
        Curve { model: model.name(), points, peak_per_second, of_unified }
    };
    models.iter().map(curve).filter(|curve| !curve.points.is_empty()).collect()
}

/// The curves as a table; to programs also as they are, with their peaks.
fn study(mut settings: Settings, curves: &[Curve], plot: Plot) -> Study {
    let mut table = Table::new(&[
        Column("model", "model", 0),
        Column("connections", "connections", 0),
        Column("round_trips_per_second", "per second", 0),
        Column("p50_us", "p50 us", 1),
        Column("p99_us", "p99 us", 1),
        Column("of_unified", "of unified", 2),
    ]);
    let unified = curves.iter().find(|curve| curve.model == Model::Unified.name());
    for curve in curves {
        for point in &curve.points {
            let same = unified
                .and_then(|curve| curve.points.iter().find(|other| other.connections == point.connections));
            let [p50, p99] = [point.p50_ns, point.p99_ns].map(|ns| Cell::from(ns as f64 / 1e3));
            let rate = point.round_trips_per_second;
            let of_unified = same.map_or(Cell::Missing, |same| (rate / same.round_trips_per_second).into());
            table.push(vec![curve.model.into(), point.connections.into(), rate.into(), p50, p99, of_unified]);
        }
    }
    let peak = |curve: &Curve| {
        let rate = thousands(curve.peak_per_second.round() as u64);
        let part = curve.of_unified.map(|part| format!(" ({part:.2} of unified)")).unwrap_or_default();
        format!("{} {rate}{part}", curve.model)
    };
    settings = settings.with("peak per second", curves.iter().map(peak).collect::<Vec<_>>().join(", "));
    let mut study = Study::new("models", settings, table, vec![plot]);
    let curves = serde_json::to_value(curves).expect("numbers and names are JSON");
    study.more.insert("curves".into(), curves);
    study
}

/// Times against rates, one curve for each model and percentile.
fn plot(device: &str, payload: usize, curves: &[Curve]) -> Plot {
    let curve = |(colour, curve): (usize, &Curve)| {
        let points = |time: fn(&Point) -> u64| {
            let point = |point: &Point| (point.round_trips_per_second, time(point) as f64 / 1e3);
            curve.points.iter().map(point).collect()
        };
        let p99 = Line::new(format!("{} p99", curve.model), colour, points(|point| point.p99_ns));
        let p50 = Line::new(format!("{} p50", curve.model), colour, points(|point| point.p50_ns)).thin();
        [p99, p50]
    };
    let lines = curves.iter().enumerate().flat_map(curve).collect();
    let title = format!("CPU models on {device}, {payload} bytes");
    let x = Axis::new("round trips per second", Scale::Linear);
    Plot::lines(title, x, Axis::new("microseconds", Scale::Tens), lines)
}

/// The same as `bench pingpong` with the model and so many connections.
fn pingpong_args(args: &ModelsArgs, model: Model, connections: usize) -> PingpongArgs {
    let common = BenchCommon {
        device: args.device.clone(),
        connect: args.connect,
        connections: Some(connections),
        duration: args.study.duration,
        offloads: args.offloads,
        core: CoreArgs { model, congestion: args.congestion, ..CoreArgs::default() },
        ..BenchCommon::default()
    };
    PingpongArgs::new(common, args.payload)
}

impl Point {
    fn new(connections: usize, found: &Pingpong) -> Point {
        let times = found.latency_ns.expect("round trips of a duration are timed");
        let round_trips_per_second = found.round_trips_per_second;
        Point { connections, round_trips_per_second, p50_ns: times.p50, p99_ns: times.p99 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Vec<Curve> {
        let points = [
            (Model::Unified, 1, 1e6),
            (Model::Split, 1, 0.5e6),
            (Model::Unified, 32, 4e6),
            (Model::Split, 32, 3e6),
        ];
        let points = points.map(|(model, connections, round_trips_per_second)| {
            ((model, connections), Point { connections, round_trips_per_second, p50_ns: 1500, p99_ns: 3000 })
        });
        curves(&[Model::Unified, Model::Split, Model::Merge], points.into_iter())
    }

    #[test]
    fn peaks_are_compared_with_unified() {
        let point =
            ((Model::Merge, 1), Point { connections: 1, round_trips_per_second: 1e6, p50_ns: 1, p99_ns: 2 });
        let alone = curves(&[Model::Merge], [point].into_iter());
        assert_eq!((alone[0].of_unified, alone[0].peak_per_second), (None, 1e6));
        let found = found();
        let parts: Vec<_> = found.iter().map(|curve| (curve.model, curve.of_unified)).collect();
        assert_eq!(parts, [("unified", Some(1.0)), ("split", Some(0.75))]);
        let curves = study(Settings::default(), &found, plot("wire", 1, &found));
        let object = serde_json::to_value(&curves).unwrap();
        assert_eq!(object["rows"][2]["of_unified"], 0.5, "at the same load: {object}");
        assert_eq!(
            (&object["curves"][1]["points"][1]["connections"], &object["command"]),
            (&32.into(), &"models".into())
        );
        let text = curves.to_string();
        assert!(
            text.contains(
                "  peak per second  unified 4,000,000 (1.00 of unified), split 3,000,000 (0.75 of unified)\n"
            ),
            "{text}"
        );
        assert!(text.contains("  split             32   3,000,000     1.5     3.0        0.75"), "{text}");
    }

    #[test]
    fn curves_are_times_against_rates() {
        let plot = plot("wire", 1, &found());
        assert_eq!(plot.title, "CPU models on wire, 1 bytes");
        let crate::bench::plot::Content::Lines(lines) = plot.content else { panic!("lines") };
        let names: Vec<_> = lines.iter().map(|line| line.name.as_str()).collect();
        assert_eq!(names, ["unified p99", "unified p50", "split p99", "split p50"]);
        assert_eq!(lines[3].points, [(0.5e6, 1.5), (3e6, 1.5)]);
    }
}

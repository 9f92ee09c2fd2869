//! `hayase bench models`: the three CPU models at several loads.

use std::fmt;
use std::fs;

use hayase::Model;
use serde::Serialize;

use super::machine::Machine;
use super::pingpong;
use super::plot::{self, Axis, Line, Plot, Scale};
use super::progress::Progress;
use super::report::{self, Pingpong, VERSION, thousands};
use super::study::{Cell, Column, Settings, Study, Table};
use crate::cli::{BenchCommon, ModelsArgs, PingpongArgs};
use crate::failure::{Attempt, Failure, Result};

pub(super) fn run(args: &ModelsArgs) -> Result {
    let comparison = Comparison::measure(args)?;
    if let Some(file) = &args.svg {
        let drawing = plot::draw(&[comparison.plot()])?;
        fs::write(file, drawing).attempt(|| format!("cannot draw into {}", file.display()))?;
    }
    report::print(&comparison, args.json)
}

/// What was found.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    version: &'static str,
    command: &'static str,
    device: String,
    payload: usize,
    rounds: u16,
    curves: Vec<Curve>,
    machine: Machine,
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

impl Comparison {
    /// The models take turns, so that whatever else happens on the machine happens to all of them.
    pub(super) fn measure(args: &ModelsArgs) -> Result<Comparison> {
        let mut curves: Vec<(Model, Vec<Point>)> =
            args.models.iter().map(|model| (*model, Vec::new())).collect();
        let mut device = String::new();
        let steps = args.connections.len() * args.models.len() * usize::from(args.rounds);
        let mut progress = Progress::new("models", steps);
        for connections in &args.connections {
            let mut rounds = vec![Vec::new(); curves.len()];
            for _ in 0..args.rounds {
                for ((model, _), points) in curves.iter().zip(&mut rounds) {
                    progress.step(format_args!("{model}, {connections} connections"));
                    let found = pingpong::measure(&pingpong_args(args, *model, *connections))?;
                    points.push(Point::new(*connections, &found)?);
                    device = found.device().to_owned();
                }
            }
            for ((_, curve), points) in curves.iter_mut().zip(rounds) {
                curve.push(median(points));
            }
        }
        let (payload, rounds) = (args.payload, args.rounds);
        let curves = compare(curves);
        let machine = Machine::here();
        Ok(Comparison { version: VERSION, command: "models", device, payload, rounds, curves, machine })
    }

    /// Times against rates, one curve for each model and percentile.
    fn plot(&self) -> Plot {
        let curve = |(colour, curve): (usize, &Curve)| {
            let points = |time: fn(&Point) -> u64| {
                let point = |point: &Point| (point.round_trips_per_second, time(point) as f64 / 1e3);
                curve.points.iter().map(point).collect()
            };
            let p99 = Line::new(format!("{} p99", curve.model), colour, points(|point| point.p99_ns));
            let p50 = Line::new(format!("{} p50", curve.model), colour, points(|point| point.p50_ns)).thin();
            [p99, p50]
        };
        let lines = self.curves.iter().enumerate().flat_map(curve).collect();
        let title = format!("CPU models on {}, {} bytes", self.device, self.payload);
        let x = Axis::new("round trips per second", Scale::Linear);
        Plot::lines(title, x, Axis::new("microseconds", Scale::Tens), lines)
    }

    /// The same as a table, for the page of all studies.
    pub(super) fn study(&self) -> Study {
        let mut table = Table::new(&[
            Column("model", "model", 0),
            Column("connections", "connections", 0),
            Column("round_trips_per_second", "per second", 0),
            Column("p50_us", "p50 us", 1),
            Column("p99_us", "p99 us", 1),
        ]);
        for curve in &self.curves {
            for point in &curve.points {
                let [p50, p99] = [point.p50_ns, point.p99_ns].map(|ns| Cell::from(ns as f64 / 1e3));
                let rate = point.round_trips_per_second.into();
                table.push(vec![curve.model.into(), point.connections.into(), rate, p50, p99]);
            }
        }
        let settings = Settings::default().with("device", &self.device).with("payload", self.payload);
        Study::new("models", settings.with("rounds", self.rounds), table, vec![self.plot()])
    }
}

/// The same as `bench pingpong` with the model and so many connections.
fn pingpong_args(args: &ModelsArgs, model: Model, connections: usize) -> PingpongArgs {
    let common = BenchCommon {
        device: args.device.clone(),
        model,
        connect: args.connect,
        connections: Some(connections),
        duration: args.duration,
        offloads: args.offloads,
        ..BenchCommon::default()
    };
    PingpongArgs::new(common, args.payload)
}

impl Point {
    fn new(connections: usize, found: &Pingpong) -> Result<Point> {
        let times = found.latency_ns.ok_or_else(|| Failure::Error("round trips were not timed".into()))?;
        let round_trips_per_second = found.round_trips_per_second;
        Ok(Point { connections, round_trips_per_second, p50_ns: times.p50, p99_ns: times.p99 })
    }
}

/// The middle one by its rate, whole: its rate and its times belong together.
fn median(mut points: Vec<Point>) -> Point {
    points.sort_by(|a, b| a.round_trips_per_second.total_cmp(&b.round_trips_per_second));
    points[points.len() / 2]
}

fn compare(curves: Vec<(Model, Vec<Point>)>) -> Vec<Curve> {
    let peak = |points: &[Point]| points.iter().map(|point| point.round_trips_per_second).fold(0.0, f64::max);
    let unified = curves.iter().find(|(model, _)| *model == Model::Unified).map(|(_, points)| peak(points));
    let curve = |(model, points): (Model, Vec<Point>)| {
        let peak_per_second = peak(&points);
        let of_unified = unified.map(|unified| peak_per_second / unified);
        Curve { model: model.name(), points, peak_per_second, of_unified }
    };
    curves.into_iter().map(curve).collect()
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.rounds == 1 { "round" } else { "rounds" };
        writeln!(
            f,
            "CPU models on {}, {} bytes, median of {} {plural}",
            self.device, self.payload, self.rounds
        )?;
        for curve in &self.curves {
            write!(f, "  {:<8} peak {} round trips/s", curve.model, rate(curve.peak_per_second))?;
            match curve.of_unified {
                Some(part) => writeln!(f, ", {part:.2} of unified")?,
                None => writeln!(f)?,
            }
            writeln!(f, "    {:>11}  {:>12}  {:>8}  {:>8}", "connections", "per second", "p50 us", "p99 us")?;
            for Point { connections, round_trips_per_second, p50_ns, p99_ns } in &curve.points {
                let (p50, p99) = (*p50_ns as f64 / 1e3, *p99_ns as f64 / 1e3);
                writeln!(
                    f,
                    "    {connections:>11}  {:>12}  {p50:>8.1}  {p99:>8.1}",
                    rate(*round_trips_per_second)
                )?;
            }
        }
        Ok(())
    }
}

fn rate(per_second: f64) -> String {
    thousands(per_second.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(connections: usize, round_trips_per_second: f64) -> Point {
        Point { connections, round_trips_per_second, p50_ns: 1500, p99_ns: 3000 }
    }

    fn comparison() -> Comparison {
        let curves = vec![
            (Model::Unified, vec![point(1, 1e6), point(32, 4e6)]),
            (Model::Split, vec![point(1, 0.5e6), point(32, 3e6)]),
        ];
        let device = "wire".to_owned();
        Comparison {
            version: VERSION,
            command: "models",
            device,
            payload: 1,
            rounds: 3,
            curves: compare(curves),
            machine: Machine::here(),
        }
    }

    #[test]
    fn peaks_are_compared_with_unified() {
        let parts: Vec<_> = comparison().curves.iter().map(|curve| curve.of_unified).collect();
        assert_eq!(parts, [Some(1.0), Some(0.75)]);
        let alone = compare(vec![(Model::Merge, vec![point(1, 1e6)])]);
        assert_eq!((alone[0].of_unified, alone[0].peak_per_second), (None, 1e6));
        assert_eq!(median(vec![point(1, 3.0), point(1, 1.0), point(1, 2.0)]), point(1, 2.0));
    }

    #[test]
    fn people_get_a_table() {
        let text = comparison().to_string();
        assert!(text.contains("  split    peak 3,000,000 round trips/s, 0.75 of unified\n"), "{text}");
        assert!(text.contains("\n             32     4,000,000       1.5       3.0\n"), "{text}");
    }

    #[test]
    fn a_chart_has_a_curve_for_each_model() {
        let svg = plot::draw(&[comparison().plot()]).unwrap();
        for part in ["<svg", "unified p99", "split p50", "round trips per second", "polyline"] {
            assert!(svg.contains(part), "{part} is not in {svg}");
        }
        let text = comparison().study().to_string();
        assert!(text.contains("  split             32   3,000,000     1.5     3.0"), "{text}");
    }
}

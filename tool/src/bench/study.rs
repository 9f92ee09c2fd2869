//! What a study found: a table and its pictures, for people, for programs and for the page of all studies.

use std::fmt;
use std::fs;
use std::path::Path;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value};

use super::machine::Machine;
use super::plot::Plot;
use super::report::{VERSION, thousands};
use crate::failure::{Attempt, Failure, Result};
use crate::say::note;

/// A measurement of several points.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Study {
    version: &'static str,
    pub(super) command: &'static str,
    /// What makes the command say this again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sweep: Option<&'static str>,
    machine: Machine,
    pub(super) settings: Settings,
    #[serde(flatten)]
    pub(super) table: Table,
    /// What else it says to programs, beside the rows.
    #[serde(flatten)]
    pub(super) more: Map<String, Value>,
    /// Points that could not be measured, or not as often as was wanted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) failed: Vec<Failed>,
    /// One above the other.
    #[serde(skip)]
    pub(super) plots: Vec<Plot>,
}

/// A point that could not be measured, or not in every round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Failed {
    pub(super) point: String,
    pub(super) reason: String,
    /// The rounds that it has. With one at least, it is in the table.
    pub(super) rounds: usize,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failed { point, reason, rounds } = self;
        match rounds {
            0 => write!(f, "without {point}: {reason}"),
            1 => write!(f, "with one round of {point}: {reason}"),
            _ => write!(f, "with {rounds} rounds of {point}: {reason}"),
        }
    }
}

/// What was the same at every point.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings(pub(super) Vec<(&'static str, String)>);

impl Settings {
    pub(super) fn with(mut self, name: &'static str, value: impl fmt::Display) -> Settings {
        self.0.push((name, value.to_string()));
        self
    }
}

impl Serialize for Settings {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// A column: its name for programs, its name for people, and the digits behind the point.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column(pub(super) &'static str, pub(super) &'static str, pub(super) usize);

/// What stands in a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Cell {
    Text(String),
    Count(u64),
    Number(f64),
    /// There is no such figure.
    Missing,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }
}

impl From<usize> for Cell {
    fn from(count: usize) -> Cell {
        Cell::Count(count as u64)
    }
}

impl From<u64> for Cell {
    fn from(count: u64) -> Cell {
        Cell::Count(count)
    }
}

impl From<f64> for Cell {
    fn from(number: f64) -> Cell {
        if number.is_finite() { Cell::Number(number) } else { Cell::Missing }
    }
}

/// The figures.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(super) fn new(columns: &[Column]) -> Table {
        Table { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, with a cell for each column.
    pub(super) fn push(&mut self, row: Vec<Cell>) {
        assert_eq!(row.len(), self.columns.len(), "a row has a cell for each column");
        self.rows.push(row);
    }

    /// A cell as people read it.
    pub(super) fn text(cell: &Cell, Column(_, _, digits): Column) -> String {
        match cell {
            Cell::Text(text) => text.clone(),
            Cell::Count(count) => thousands(*count),
            Cell::Number(number) if digits == 0 && *number >= 0.0 => thousands(number.round() as u64),
            Cell::Number(number) => format!("{number:.digits$}"),
            Cell::Missing => "-".to_owned(),
        }
    }
}

/// Rows are objects, so that a program need not count columns.
impl Serialize for Table {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let objects: Vec<_> = self.rows.iter().map(|row| Row(&self.columns, row)).collect();
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("rows", &objects)?;
        map.end()
    }
}

struct Row<'a>(&'a [Column], &'a [Cell]);

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|Column(key, ..)| key).zip(self.1))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let titles = self.columns.iter().map(|Column(_, title, _)| (*title).to_owned()).collect();
        let texts = |row: &Vec<Cell>| {
            row.iter().zip(&self.columns).map(|(cell, column)| Table::text(cell, *column)).collect()
        };
        let lines: Vec<Vec<String>> = [titles].into_iter().chain(self.rows.iter().map(texts)).collect();
        let is_text = |index: usize| matches!(self.rows.first().map(|row| &row[index]), Some(Cell::Text(_)));
        for (number, line) in lines.iter().enumerate() {
            let mut text = String::from(" ");
            for (index, cell) in line.iter().enumerate() {
                let width = lines.iter().map(|line| line[index].chars().count()).max().unwrap_or_default();
                text +=
                    &if is_text(index) { format!(" {cell:<width$}") } else { format!("  {cell:>width$}") };
            }
            let end = if number + 1 < lines.len() { "\n" } else { "" };
            write!(f, "{}{end}", text.trim_end())?;
        }
        Ok(())
    }
}

impl Study {
    /// What was found, with the machine that it was found on.
    pub(super) fn new(command: &'static str, settings: Settings, table: Table, plots: Vec<Plot>) -> Study {
        let machine = Machine::here();
        let (more, failed) = (Map::new(), Vec::new());
        Study { version: VERSION, command, sweep: None, machine, settings, table, more, failed, plots }
    }

    /// The same with the points that it lacks.
    pub(super) fn without(self, failed: Vec<Failed>) -> Study {
        Study { failed, ..self }
    }

    pub(super) fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Draws if there is a file to draw into, and prints.
    pub(super) fn publish(&self, svg: Option<&Path>, json: bool) -> Result {
        super::report::print(self, json)?;
        match svg {
            Some(file) => draw_into(file, &self.plots)?,
            // Whoever reads this on a terminal may not know.
            None if !json => note("hayase: --svg FILE draws this"),
            None => {}
        }
        Ok(())
    }
}

/// Draws pictures into a file.
pub(super) fn draw_into(file: &Path, plots: &[Plot]) -> Result {
    let drawing = super::plot::draw(plots)?;
    fs::write(file, drawing).attempt(|| format!("cannot draw into {}", file.display()))
}

impl fmt::Display for Study {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sweep = self.sweep.map(|sweep| format!(" --sweep {sweep}")).unwrap_or_default();
        writeln!(f, "{}{sweep}", self.command)?;
        for (name, value) in &self.settings.0 {
            writeln!(f, "  {name:<16} {value}")?;
        }
        writeln!(f, "  {:<16} {}", "machine", self.machine)?;
        write!(f, "{}", self.table)?;
        self.failed.iter().try_for_each(|failed| write!(f, "\n  {failed}"))
    }
}

/// The middle one of several figures, by what `key` says of them.
pub(super) fn median<T>(mut figures: Vec<T>, key: impl Fn(&T) -> f64) -> T {
    assert!(!figures.is_empty(), "every point is measured at least once");
    figures.sort_by(|a, b| key(a).total_cmp(&key(b)));
    let middle = figures.len() / 2;
    figures.swap_remove(middle)
}

/// What the points of a study brought.
#[derive(Debug)]
pub(super) struct Measured<P, T> {
    /// Those that were measured, each with what its rounds brought: one at least.
    pub(super) points: Vec<(P, Vec<T>)>,
    pub(super) failed: Vec<Failed>,
}

impl<P, T> Measured<P, T> {
    /// Of each point the round that is in the middle, by what `key` says of them.
    pub(super) fn medians(self, key: impl Fn(&T) -> f64 + Copy) -> (Vec<P>, Vec<T>, Vec<Failed>) {
        let middle = |(point, rounds)| (point, median(rounds, key));
        let (points, found) = self.points.into_iter().map(middle).unzip();
        (points, found, self.failed)
    }
}

/// Measures every point once in each of `rounds`, in turns, so that whatever else happens on the machine happens to all of
/// them. A point that fails is not tried again, and keeps what its earlier rounds brought; `name` is what it is called.
///
/// # Errors
/// That of the first point, if all of them fail; and a signal that ends it.
pub(super) fn in_turns<P: Clone, T>(
    points: &[P],
    rounds: u16,
    name: impl Fn(&P) -> String,
    mut measure: impl FnMut(&P) -> Result<T>,
) -> Result<Measured<P, T>> {
    let mut found: Vec<Vec<T>> = points.iter().map(|_| Vec::new()).collect();
    let mut failures: Vec<Option<Failure>> = points.iter().map(|_| None).collect();
    for _ in 0..rounds {
        for ((point, found), failure) in points.iter().zip(&mut found).zip(&mut failures) {
            if failure.is_none() {
                match measure(point) {
                    Ok(value) => found.push(value),
                    Err(Failure::Interrupted) => return Err(Failure::Interrupted),
                    Err(why) => *failure = Some(why),
                }
            }
        }
    }
    if found.iter().all(Vec::is_empty) {
        return Err(failures.swap_remove(0).expect("a point without a figure has failed"));
    }
    let failed = points.iter().zip(failures).zip(&found).filter_map(|((point, failure), found)| {
        Some(Failed { point: name(point), reason: failure?.to_string(), rounds: found.len() })
    });
    let failed = failed.collect();
    let points = points.iter().cloned().zip(found).filter(|(_, rounds)| !rounds.is_empty()).collect();
    Ok(Measured { points, failed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn study() -> Study {
        let mut table =
            Table::new(&[Column("set", "set", 0), Column("idle", "idle", 0), Column("ns", "ns", 1)]);
        table.push(vec!["all".into(), 0_usize.into(), 150.25.into()]);
        table.push(vec!["no TSO".into(), 10_000_usize.into(), f64::NAN.into()]);
        Study::new("idle-cost", Settings::default().with("device", "wire"), table, Vec::new())
    }

    #[test]
    fn programs_get_rows_with_names() {
        let object = serde_json::to_value(study()).unwrap();
        assert_eq!(object["rows"][0], json!({"set": "all", "idle": 0, "ns": 150.25}));
        assert_eq!(object["rows"][1], json!({"set": "no TSO", "idle": 10_000, "ns": null}));
        assert_eq!(
            (&object["command"], &object["settings"]),
            (&json!("idle-cost"), &json!({"device": "wire"}))
        );
        assert!(object["machine"]["cores"].as_u64() > Some(0), "{object}");
    }

    #[test]
    fn people_get_aligned_columns() {
        let text = study().to_string();
        assert!(text.starts_with("idle-cost\n  device           wire\n  machine          "), "{text}");
        assert!(text.ends_with("\n  all          0  150.2\n  no TSO  10,000      -"), "{text}");
    }

    #[test]
    fn points_take_turns_and_the_middle_one_counts() {
        let mut order = Vec::new();
        let found = in_turns(&[1, 2], 2, i32::to_string, |point| {
            order.push(*point);
            Ok(order.len())
        });
        let found = found.unwrap();
        assert_eq!((order, found.points), (vec![1, 2, 1, 2], vec![(1, vec![1, 3]), (2, vec![2, 4])]));
        assert_eq!(median(vec![3.0, 1.0, 2.0], |figure| *figure), 2.0);
    }

    #[test]
    fn a_point_that_fails_takes_none_with_it() {
        let mut calls = Vec::new();
        let found = in_turns(
            &[1, 2, 3],
            3,
            |point| format!("{point} idle"),
            |point| {
                calls.push(*point);
                match (*point, calls.len()) {
                    (2, _) => Err(Failure::Error("no port is left".into())),
                    (3, 5..) => Err(Failure::Error("it is gone".into())),
                    _ => Ok(point * 10),
                }
            },
        );
        let (points, figures, failed) = found.unwrap().medians(|figure| f64::from(*figure));
        assert_eq!((calls, points, figures), (vec![1, 2, 3, 1, 3, 1], vec![1, 3], vec![10, 30]));
        let words =
            |point: &str, reason: &str, rounds| Failed { point: point.into(), reason: reason.into(), rounds };
        assert_eq!(failed, [words("2 idle", "no port is left", 0), words("3 idle", "it is gone", 1)]);

        let ended = in_turns(&[1, 2], 1, i32::to_string, |point| match point {
            1 => Ok(()),
            _ => Err(Failure::Interrupted),
        });
        assert!(matches!(ended, Err(Failure::Interrupted)), "a signal is for all points");

        let none = in_turns(&[1, 2], 1, i32::to_string, |point| {
            Err::<(), _>(Failure::Error(format!("{point}: no")))
        });
        assert_eq!(none.unwrap_err().to_string(), "1: no");

        let lacking = study().without(failed);
        assert!(
            lacking
                .to_string()
                .ends_with("\n  without 2 idle: no port is left\n  with one round of 3 idle: it is gone")
        );
        let object = serde_json::to_value(lacking).unwrap();
        assert_eq!(object["failed"][0], json!({"point": "2 idle", "reason": "no port is left", "rounds": 0}));
        assert_eq!(serde_json::to_value(study()).unwrap().get("failed"), None);
    }
}

//! What a bench found, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use hayase::counters::Counters;
use hayase::stack::Count;
use serde::Serialize;

use super::bulk::Sent;
use super::latency::Latency;
use super::machine::Machine;
use super::plot::{Axis, Line, Plot, Scale};
use super::study::{Settings, draw_into};
use crate::failure::Result;
use crate::say::say;

/// The circumstances of a run.
#[derive(Debug, Default, Serialize)]
pub(super) struct Conditions {
    pub(super) command: &'static str,
    pub(super) device: String,
    /// How stack and tasks share the CPUs.
    pub(super) model: &'static str,
    /// How long a core looks for work before it sleeps, in microseconds, if that was chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) spin_us: Option<u64>,
    /// Those in force, which may be fewer than asked for.
    pub(super) offloads: String,
    /// The congestion control of the connections, where it has a name here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) congestion: Option<&'static str>,
    pub(super) connections: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) idle: Option<usize>,
    /// If there are several, each with its share of the connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cores: Option<usize>,
    /// Requests that were due each second, if they were due at times of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) due_per_second: Option<f64>,
    /// Of those, the ones that could not be sent before the run was over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) not_sent: Option<u64>,
    /// Whether the clock went on with the turns.
    #[serde(skip_serializing_if = "is_false")]
    pub(super) virtual_time: bool,
}

impl Conditions {
    /// Those that hold for every point of a sweep.
    pub(super) fn settings(&self) -> Settings {
        let mut settings = Settings::default().with("device", &self.device).with("model", self.model);
        if let Some(spin) = self.spin_us {
            settings = settings.with("spin_us", spin);
        }
        self.name_congestion(settings.with("offloads", &self.offloads))
    }

    fn name_congestion(&self, settings: Settings) -> Settings {
        match self.congestion {
            Some(name) => settings.with("congestion", name),
            None => settings,
        }
    }
}

/// What is as usual is not told.
fn is_false(flag: &bool) -> bool {
    !flag
}

/// What went wrong on the way, at both hosts of a wire or at our own.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    retransmissions: u64,
    /// By reason.
    drops: BTreeMap<&'static str, u64>,
}

impl Counts {
    pub(super) fn retransmissions(&self) -> u64 {
        self.retransmissions
    }

    pub(super) fn add(&mut self, counters: &Counters) {
        for (name, count) in counters.iter() {
            if name == Count::RetransSegs.name() {
                self.retransmissions += count;
            } else if count > 0 && Count::ALL.iter().all(|event| event.name() != name) {
                *self.drops.entry(name).or_default() += count;
            }
        }
    }

    /// Adds those of another core.
    pub(super) fn merge(&mut self, other: &Counts) {
        self.retransmissions += other.retransmissions;
        for (name, count) in &other.drops {
            *self.drops.entry(name).or_default() += count;
        }
    }

    /// What was counted after `before`.
    pub(super) fn since(mut self, before: &Counts) -> Counts {
        self.retransmissions -= before.retransmissions;
        for (name, count) in &before.drops {
            self.drops.entry(name).and_modify(|now| *now -= count);
        }
        self.drops.retain(|_, count| *count > 0);
        self
    }
}

/// Times of round trips, in nanoseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Percentiles {
    pub(super) p50: u64,
    pub(super) p90: u64,
    pub(super) p99: u64,
    #[serde(rename = "p99.9")]
    pub(super) p99_9: u64,
    pub(super) max: u64,
}

/// The result of `bench pingpong`.
#[derive(Debug, Serialize)]
pub(super) struct Pingpong {
    version: &'static str,
    #[serde(flatten)]
    conditions: Conditions,
    payload: usize,
    round_trips: u64,
    seconds: f64,
    pub(super) round_trips_per_second: f64,
    /// The time of the run by the number of its round trips, however many were under way at once.
    pub(super) nanoseconds_per_round_trip: f64,
    /// Null if the round trips were counted and not timed.
    pub(super) latency_ns: Option<Percentiles>,
    #[serde(flatten)]
    counts: Counts,
    /// The times, to be drawn: see [`Latency::curve`].
    #[serde(skip)]
    curve: Vec<(f64, f64)>,
}

impl Pingpong {
    pub(super) fn new(
        conditions: Conditions,
        payload: usize,
        round_trips: u64,
        elapsed: Duration,
        latency: Option<&Latency>,
        counts: Counts,
    ) -> Pingpong {
        let seconds = elapsed.as_secs_f64();
        Pingpong {
            version: VERSION,
            conditions,
            payload,
            round_trips,
            seconds,
            round_trips_per_second: round_trips as f64 / seconds,
            nanoseconds_per_round_trip: seconds * 1e9 / round_trips.max(1) as f64,
            latency_ns: latency.map(Latency::percentiles),
            counts,
            curve: latency.map(Latency::curve).unwrap_or_default(),
        }
    }

    /// The times of round trips, as one of how many exceeds them.
    fn plot(&self) -> Plot {
        let Conditions { device, connections, due_per_second, .. } = &self.conditions;
        let due = due_per_second.map(|rate| format!(", {} due each second", thousands(rate.round() as u64)));
        let title =
            format!("Times of round trips on {device}, {connections} connections{}", due.unwrap_or_default());
        let x = Axis::new("one round trip of so many takes longer", Scale::Tens);
        let line = Line::new("round trips", 0, self.curve.clone());
        Plot::lines(title, x, Axis::new("microseconds", Scale::Tens), vec![line])
    }

    /// The device, as a SPEC.
    pub(super) fn device(&self) -> &str {
        &self.conditions.device
    }

    /// Those in force.
    pub(super) fn offloads(&self) -> &str {
        &self.conditions.offloads
    }

    pub(super) fn congestion(&self) -> Option<&'static str> {
        self.conditions.congestion
    }

    /// Requests that were due and could not be sent.
    pub(super) fn not_sent(&self) -> u64 {
        self.conditions.not_sent.unwrap_or_default()
    }

    /// p50, p90, p99 and p99.9, in microseconds; not numbers if nothing was timed.
    pub(super) fn percentiles_us(&self) -> [f64; 4] {
        self.latency_ns.map_or([f64::NAN; 4], |times| {
            [times.p50, times.p90, times.p99, times.p99_9].map(|ns| ns as f64 / 1e3)
        })
    }

    /// What holds for every number of idle connections.
    pub(super) fn settings(&self) -> Settings {
        self.conditions.settings().with("payload", self.payload)
    }

    /// Prints, and draws if there is a file to draw into.
    pub(super) fn publish(&self, svg: Option<&Path>, json: bool) -> Result {
        print_located(self, json)?;
        svg.map_or(Ok(()), |file| draw_into(file, &[self.plot()]))
    }
}

/// The result of `bench bulk`.
#[derive(Debug, Serialize)]
pub(super) struct Bulk {
    version: &'static str,
    #[serde(flatten)]
    conditions: Conditions,
    write: usize,
    owned: bool,
    bytes: u64,
    seconds: f64,
    pub(super) bits_per_second: f64,
    #[serde(flatten)]
    counts: Counts,
    /// What had been written when, to be drawn.
    #[serde(skip)]
    samples: Vec<Sample>,
}

impl Bulk {
    pub(super) fn new(conditions: Conditions, write: usize, owned: bool, sent: Sent, counts: Counts) -> Bulk {
        let Sent { bytes, elapsed, samples } = sent;
        let seconds = elapsed.as_secs_f64();
        let bits_per_second = bytes as f64 * 8.0 / seconds;
        Bulk { version: VERSION, conditions, write, owned, bytes, seconds, bits_per_second, counts, samples }
    }

    /// The offloads in force.
    pub(super) fn offloads(&self) -> &str {
        &self.conditions.offloads
    }

    /// What holds for every point of a sweep.
    pub(super) fn settings(&self) -> Settings {
        let Conditions { device, model, connections, .. } = &self.conditions;
        let settings = Settings::default().with("device", device).with("model", model);
        self.conditions.name_congestion(settings.with("connections", connections))
    }

    /// Prints, and draws if there is a file to draw into: the rate as time goes by.
    pub(super) fn publish(&self, svg: Option<&Path>, json: bool) -> Result {
        print_located(self, json)?;
        svg.map_or(Ok(()), |file| draw_into(file, &[self.plot()]))
    }

    fn plot(&self) -> Plot {
        let Conditions { device, connections, .. } = &self.conditions;
        let title = format!("Bulk on {device}, {connections} connections, as time goes by");
        let line = Line::new("written", 0, rates(&self.samples));
        let (x, y) = (Axis::new("seconds", Scale::Linear), Axis::new("Gbit/s", Scale::Linear));
        Plot::lines(title, x, y, vec![line])
    }
}

/// Seconds since the start, and the bytes that had been written by then.
pub(super) type Sample = (f64, u64);

/// The rate in gigabits a second between each sample and the one before it.
fn rates(samples: &[Sample]) -> Vec<(f64, f64)> {
    let before = [(0.0, 0)].into_iter().chain(samples.iter().copied());
    let rate = |((since, before), (now, bytes)): (Sample, &Sample)| {
        (*now, (bytes - before) as f64 * 8e-9 / (now - since).max(1e-9))
    };
    before.zip(samples).map(rate).collect()
}

pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A result of one run, with the machine that it was found on.
#[derive(Serialize)]
struct Located<'a, T> {
    #[serde(flatten)]
    found: &'a T,
    machine: Machine,
}

/// Prints the result of one run. People know where they are.
fn print_located(found: &(impl Serialize + fmt::Display), json: bool) -> Result {
    if json { print_json(&Located { found, machine: Machine::here() }) } else { print(found, false) }
}

fn print_json(report: &impl Serialize) -> Result {
    say(serde_json::to_string(report)?)
}

pub(super) fn print(report: &(impl Serialize + fmt::Display), json: bool) -> Result {
    if json {
        return print_json(report);
    }
    say(report)
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} on {}", self.command, self.device)?;
        writeln!(f, "  model            {}", self.model)?;
        if let Some(spin) = self.spin_us {
            writeln!(f, "  spin             {} us", thousands(spin))?;
        }
        writeln!(f, "  offloads         {}", self.offloads)?;
        if let Some(congestion) = self.congestion {
            writeln!(f, "  congestion       {congestion}")?;
        }
        if let Some(cores) = self.cores {
            writeln!(f, "  cores            {cores}")?;
        }
        if self.virtual_time {
            writeln!(f, "  time             virtual")?;
        }
        if let Some(rate) = self.due_per_second {
            writeln!(f, "  due              {} requests/s", thousands(rate.round() as u64))?;
        }
        if let Some(count @ 1..) = self.not_sent {
            writeln!(f, "  not sent in time {} requests: more than this can do", thousands(count))?;
        }
        write!(f, "  connections      {}", thousands(self.connections as u64))?;
        match self.idle {
            Some(idle) => writeln!(f, " active, {} idle", thousands(idle as u64)),
            None => writeln!(f),
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  retransmissions  {}", thousands(self.retransmissions))?;
        for (reason, count) in &self.drops {
            write!(f, "\n  dropped          {} {reason}", thousands(*count))?;
        }
        Ok(())
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Percentiles { p50, p90, p99, p99_9, max } = *self;
        let values = [("p50", p50), ("p90", p90), ("p99", p99), ("p99.9", p99_9), ("max", max)];
        let values = values.map(|(name, ns)| format!("{name} {:.1}", ns as f64 / 1e3));
        write!(f, "{} us", values.join("  "))
    }
}

impl fmt::Display for Pingpong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.conditions)?;
        writeln!(f, "  payload          {}", bytes(self.payload as u64))?;
        writeln!(f, "  round trips      {} in {:.3} s", thousands(self.round_trips), self.seconds)?;
        let (rate, each) = (self.round_trips_per_second.round() as u64, self.nanoseconds_per_round_trip);
        writeln!(f, "  rate             {} round trips/s, {each:.1} ns each", thousands(rate))?;
        if let Some(latency) = &self.latency_ns {
            writeln!(f, "  latency          {latency}")?;
        }
        write!(f, "{}", self.counts)
    }
}

impl fmt::Display for Bulk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.conditions)?;
        let copy = if self.owned { "without a copy" } else { "copied" };
        writeln!(f, "  write            {}, {copy}", bytes(self.write as u64))?;
        writeln!(f, "  sent             {} in {:.3} s", bytes(self.bytes), self.seconds)?;
        writeln!(f, "  rate             {:.3} Gbit/s", self.bits_per_second / 1e9)?;
        write!(f, "{}", self.counts)
    }
}

fn bytes(count: u64) -> String {
    format!("{} {}", thousands(count), if count == 1 { "byte" } else { "bytes" })
}

/// A number in groups of three digits.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn digits_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn counts_are_those_of_the_run() {
        let before = Counts { retransmissions: 2, drops: [("NOMEM", 1), ("OTHERHOST", 5)].into() };
        let after = Counts { retransmissions: 3, drops: [("NOMEM", 1), ("OTHERHOST", 7)].into() };
        assert_eq!(after.since(&before), Counts { retransmissions: 1, drops: [("OTHERHOST", 2)].into() });
    }

    fn pingpong() -> Pingpong {
        let conditions = Conditions {
            command: "pingpong",
            device: "wire".into(),
            model: "unified",
            offloads: "none".into(),
            connections: 32,
            idle: Some(1000),
            ..Conditions::default()
        };
        let latency = Latency::new();
        (0..9).for_each(|_| latency.record(Duration::from_nanos(1500)));
        latency.record(Duration::from_millis(5));
        let counts = Counts { retransmissions: 0, drops: [("NOMEM", 1)].into() };
        Pingpong::new(conditions, 1, 2_000_000, Duration::from_secs(2), Some(&latency), counts)
    }

    #[test]
    fn programs_get_one_flat_object() {
        let object = serde_json::to_value(pingpong()).unwrap();
        assert_eq!(
            object,
            json!({
                "version": VERSION, "command": "pingpong", "device": "wire", "model": "unified", "offloads": "none", "connections": 32,
                "idle": 1000, "payload": 1, "round_trips": 2_000_000, "seconds": 2.0,
                "round_trips_per_second": 1e6, "nanoseconds_per_round_trip": 1000.0,
                "latency_ns": {"p50": 1500, "p90": 1500, "p99": 5_001_215, "p99.9": 5_001_215, "max": 5_001_215},
                "retransmissions": 0, "drops": {"NOMEM": 1},
            })
        );
    }

    #[test]
    fn rates_are_those_between_samples() {
        let rates = rates(&[(0.5, 500_000_000), (1.5, 500_000_000), (2.0, 750_000_000)]);
        assert_eq!(rates, [(0.5, 8.0), (1.5, 0.0), (2.0, 4.0)]);
        let drawn = crate::bench::plot::draw(&[pingpong().plot()]).unwrap();
        assert!(drawn.contains("Times of round trips on wire, 32 connections"), "{drawn}");
    }

    #[test]
    fn people_get_aligned_lines() {
        let text = pingpong().to_string();
        assert!(text.contains("  connections      32 active, 1,000 idle\n"), "{text}");
        assert!(text.contains("  rate             1,000,000 round trips/s, 1000.0 ns each\n"), "{text}");
        assert!(text.contains("p99.9 5001.2  max 5001.2 us"), "{text}");
        assert!(text.ends_with("  dropped          1 NOMEM"), "{text}");
    }
}

//! `hayase sim storm`: random worlds with random faults, until the time is over or a rule is broken.

use std::fmt;
use std::panic::catch_unwind;
use std::time::{Duration, Instant};

use hayase_sim::storm::{self, Storm};
use serde::Serialize;

use crate::cli::StormArgs;
use crate::failure::{Failure, Result};
use crate::say::say;

/// How often it says how far it is.
const REPORT_PERIOD: Duration = Duration::from_secs(10);

pub(crate) fn run(args: &StormArgs) -> Result {
    let start = Instant::now();
    let mut summary = Summary::new(args.seed);
    let mut report_at = start + REPORT_PERIOD;
    loop {
        let seed = args.seed.wrapping_add(summary.storms);
        // The panic has said which rule was broken, and the simulation how to replay it.
        let Ok(storm) = catch_unwind(|| storm::run(seed)) else {
            summary.failed_seed = Some(seed);
            break;
        };
        summary.add(&storm);
        let is_over = match args.count {
            Some(count) => summary.storms >= count,
            None => start.elapsed() >= args.minutes,
        };
        if is_over {
            break;
        }
        if Instant::now() >= report_at && !args.json {
            report_at += REPORT_PERIOD;
            say(&summary)?;
        }
    }
    summary.seconds = start.elapsed().as_secs_f64();
    if args.json {
        say(serde_json::to_string(&summary)?)?;
    } else {
        say(&summary)?;
    }
    if summary.failed_seed.is_some() { Err(Failure::Silent) } else { Ok(()) }
}

/// All storms so far.
#[derive(Debug, Serialize)]
struct Summary {
    command: &'static str,
    first_seed: u64,
    storms: u64,
    failed_seed: Option<u64>,
    flows: u64,
    completed: u64,
    early: u64,
    bytes: u64,
    faults: u64,
    events: u64,
    virtual_seconds: f64,
    seconds: f64,
}

impl Summary {
    fn new(first_seed: u64) -> Summary {
        Summary {
            command: "sim storm",
            first_seed,
            storms: 0,
            failed_seed: None,
            flows: 0,
            completed: 0,
            early: 0,
            bytes: 0,
            faults: 0,
            events: 0,
            virtual_seconds: 0.0,
            seconds: 0.0,
        }
    }

    fn add(&mut self, storm: &Storm) {
        self.storms += 1;
        self.flows += storm.flows;
        self.completed += storm.completed;
        self.early += storm.early;
        self.bytes += storm.bytes;
        self.faults += storm.faults;
        self.events += storm.events;
        self.virtual_seconds += storm.time.as_secs_f64();
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { first_seed, storms, flows, completed, early, bytes, faults, events, .. } = self;
        let hours = self.virtual_seconds / 3600.0;
        write!(
            f,
            "{storms} storms from seed {first_seed} on: {hours:.1} hours of virtual time, {events} events, "
        )?;
        write!(f, "{faults} faults, {completed} of {flows} connections complete with {bytes} bytes, ")?;
        write!(f, "{early} with early data")?;
        match self.failed_seed {
            Some(seed) => write!(f, "; seed {seed} broke a rule"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storms_add_up() {
        let mut summary = Summary::new(7);
        let storm = Storm { flows: 3, completed: 2, time: Duration::from_secs(1800), ..Storm::default() };
        (0..2).for_each(|_| summary.add(&storm));
        let text = summary.to_string();
        assert!(
            text.starts_with("2 storms from seed 7 on: 1.0 hours") && text.contains("4 of 6 conn"),
            "{text}"
        );
        summary.failed_seed = Some(9);
        assert!(summary.to_string().ends_with("seed 9 broke a rule"));
        let json = serde_json::to_value(summary).unwrap();
        assert_eq!((&json["storms"], &json["failed_seed"]), (&2.into(), &9.into()));
    }
}

//! One stage of the path of a packet, a given number of times.
//!
//! Times on shared machines swing; instructions do not. So this program only runs a stage, and `benches/count`
//! runs it under callgrind for N and for 2N iterations and prints the difference per iteration: set-up cancels
//! out.
#![forbid(unsafe_code)]

mod round_trip;
mod stages;

use std::process::ExitCode;

/// A stage: what it is called, and how to run it so many times.
type Stage = (&'static str, fn(u64));

const STAGES: [Stage; 11] = [
    ("checksum-1460", stages::checksum_1460),
    ("frame", stages::frame),
    ("wire-echo", stages::wire_echo),
    ("task-wake", stages::task_wake),
    ("idle-turn", stages::idle_turn),
    ("stack-round-trip-1", |n| round_trip::run(n, 1, 0)),
    ("stack-round-trip-32", |n| round_trip::run(n, 32, 0)),
    ("stack-round-trip-10000", |n| round_trip::run(n, 10_000, 0)),
    ("stack-round-trip-32-software-checksum", |n| round_trip::run_in_software(n, 32)),
    ("stack-round-trip-1-of-10000", |n| round_trip::run(n, 1, 9_999)),
    ("stack-connect-close", round_trip::connect_close),
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let stage = arguments.next().and_then(|name| STAGES.iter().find(|(n, _)| *n == name));
    let count = arguments.next().and_then(|count| count.parse().ok());
    let (Some((_, run)), Some(count)) = (stage, count) else {
        eprintln!("usage: hayase-benches STAGE COUNT, with STAGE one of:");
        STAGES.iter().for_each(|(name, _)| eprintln!("  {name}"));
        return ExitCode::from(2);
    };
    run(count);
    ExitCode::SUCCESS
}

//! One stage of the path of a packet, a given number of times.
//!
//! Times on shared machines swing; instructions do not. So this program only runs a stage, and `benches/count`
//! runs it under callgrind for N and for 2N iterations and prints the difference per iteration: set-up cancels
//! out.
#![forbid(unsafe_code)]

mod async_path;
mod round_trip;
mod sack;
mod stages;

use std::process::ExitCode;

use hayase_device::Offloads;

/// A stage: what it is called, and how to run it so many times.
type Stage = (&'static str, fn(u64));

const STAGES: &[Stage] = &[
    ("checksum-64", |n| stages::checksum(n, 64)),
    ("checksum-1460", |n| stages::checksum(n, 1460)),
    ("checksum-65536", |n| stages::checksum(n, 65_536)),
    ("frame", stages::frame),
    ("wire-echo", stages::wire_echo),
    ("wire-cut-64k", stages::cut_64k),
    ("timer", stages::timer),
    ("task-wake", stages::task_wake),
    ("task-spawn", stages::task_spawn),
    ("idle-turn", stages::idle_turn),
    ("stack-foreign-frame", stages::foreign_frame),
    ("stack-round-trip-1", |n| round_trip::run(n, 1, 0)),
    ("stack-round-trip-32", |n| round_trip::run(n, 32, 0)),
    ("stack-round-trip-10000", |n| round_trip::run(n, 10_000, 0)),
    ("stack-round-trip-32-software-checksum", |n| round_trip::run_in_software(n, 32)),
    ("stack-round-trip-1-of-10000", |n| round_trip::run(n, 1, 9_999)),
    ("stack-connect-close", round_trip::connect_close),
    ("stack-sack-repeated", sack::repeated),
    ("async-round-trip-1", |n| async_path::round_trips(n, 1, 0, Offloads::ALL)),
    ("async-round-trip-32", |n| async_path::round_trips(n, 32, 0, Offloads::ALL)),
    ("async-round-trip-32-software-checksum", |n| async_path::round_trips(n, 32, 0, Offloads::NONE)),
    ("async-round-trip-1-of-10000", |n| async_path::round_trips(n, 1, 9_999, Offloads::ALL)),
    ("async-connect-close", async_path::connect_close),
    ("async-bulk-64k", |n| async_path::bulk(n, Offloads::ALL)),
    ("async-bulk-64k-no-tso", |n| async_path::bulk(n, Offloads::TX_CHECKSUM | Offloads::RX_CHECKSUM)),
    ("async-bulk-64k-software", |n| async_path::bulk(n, Offloads::NONE)),
    ("async-bulk-64k-owned", async_path::bulk_owned),
    ("async-datagram-64", |n| async_path::datagrams(n, 64)),
    ("async-datagram-8k", |n| async_path::datagrams(n, 8192)),
    ("async-sleep", async_path::sleeps),
    ("async-bulk-64k-in-flight-64k", |n| async_path::bulk_in_flight(n, 64 << 10)),
    ("async-bulk-64k-in-flight-16m", |n| async_path::bulk_in_flight(n, 16 << 20)),
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

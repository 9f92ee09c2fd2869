//! One stage of the path of a packet, a given number of times.
//!
//! Times on shared machines swing; instructions do not. So this program only runs a stage, and `benches/count`
//! runs it under callgrind for N and for 2N iterations and prints the difference per iteration: set-up cancels
//! out.
#![forbid(unsafe_code)]

mod async_path;
mod one_end;
mod round_trip;
mod stages;

use std::process::ExitCode;

use hayase_device::Offloads;

/// What a device does that takes checksums and nothing else.
fn checksums() -> Offloads {
    Offloads::TX_CHECKSUM | Offloads::RX_CHECKSUM
}

/// A stage.
struct Stage {
    name: &'static str,
    run: fn(u64),
    /// How often it is run to be counted, and then twice as often.
    count: u64,
}

/// A stage that is dear: the figure is as good with fewer iterations.
const FEW: u64 = 200;

/// So often that each of 10,000 connections has its turn several times.
const MANY: u64 = 40_000;

/// So often that each of 32 connections has the same share: those that are done a turn before the others take more to end, and
/// a different number of them in either run would not cancel out.
const SHARED: u64 = 3200;

const fn stage(name: &'static str, run: fn(u64)) -> Stage {
    Stage { name, run, count: 2000 }
}

const fn stage_of(name: &'static str, count: u64, run: fn(u64)) -> Stage {
    Stage { name, run, count }
}

const STAGES: &[Stage] = &[
    stage("checksum-64", |n| stages::checksum(n, 64)),
    stage("checksum-1460", |n| stages::checksum(n, 1460)),
    stage("checksum-65536", |n| stages::checksum(n, 65_536)),
    stage("frame", stages::frame),
    stage("wire-echo", stages::wire_echo),
    stage_of("wire-cut-64k", FEW, stages::cut_64k),
    stage("timer", stages::timer),
    stage("task-wake", stages::task_wake),
    stage("task-wake-waiter", stages::task_wake_waiter),
    stage("task-spawn", stages::task_spawn),
    stage("idle-turn", stages::idle_turn),
    stage("headers", one_end::headers),
    stage("stack-foreign-frame", stages::foreign_frame),
    stage("stack-receive-old-ack", one_end::receive_old_ack),
    stage("stack-receive-segment", one_end::receive_segment),
    stage("stack-send-segment", one_end::send_segment),
    stage("stack-send-datagram", one_end::send_datagram),
    stage("stack-round-trip-1", |n| round_trip::run(n, 1, 0)),
    stage_of("stack-round-trip-32", SHARED, |n| round_trip::run(n, 32, 0)),
    stage_of("stack-round-trip-10000", MANY, |n| round_trip::run(n, 10_000, 0)),
    stage_of("stack-round-trip-32-software-checksum", SHARED, |n| round_trip::run_in_software(n, 32)),
    stage("stack-round-trip-1-of-10000", |n| round_trip::run(n, 1, 9_999)),
    stage("stack-connect-close", round_trip::connect_close),
    stage("stack-bulk-64k", |n| round_trip::bulk(n, Offloads::ALL)),
    stage("stack-bulk-64k-no-tso", |n| round_trip::bulk(n, checksums())),
    stage("stack-bulk-64k-software", |n| round_trip::bulk(n, Offloads::NONE)),
    stage("async-round-trip-1", |n| async_path::round_trips(n, 1, 0, Offloads::ALL)),
    stage_of("async-round-trip-32", SHARED, |n| async_path::round_trips(n, 32, 0, Offloads::ALL)),
    stage_of("async-round-trip-32-software-checksum", SHARED, |n| {
        async_path::round_trips(n, 32, 0, Offloads::NONE);
    }),
    stage("async-round-trip-1-of-10000", |n| async_path::round_trips(n, 1, 9_999, Offloads::ALL)),
    stage("async-connect-close", async_path::connect_close),
    stage("async-bulk-64k", |n| async_path::bulk(n, Offloads::ALL)),
    stage("async-bulk-64k-no-tso", |n| async_path::bulk(n, checksums())),
    stage("async-bulk-64k-software", |n| async_path::bulk(n, Offloads::NONE)),
    stage("async-bulk-64k-owned", |n| async_path::bulk_owned(n, async_path::WRITE_LEN)),
    stage("async-bulk-segment-owned", |n| async_path::bulk_owned(n, async_path::SEGMENT_LEN)),
    stage("async-datagram-64", |n| async_path::datagrams(n, 64)),
    stage("async-datagram-8k", |n| async_path::datagrams(n, 8192)),
    stage("async-sleep", async_path::sleeps),
    stage("async-bulk-64k-in-flight-64k", |n| async_path::bulk_in_flight(n, 64 << 10)),
    stage("async-bulk-64k-in-flight-16m", |n| async_path::bulk_in_flight(n, 16 << 20)),
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let stage = arguments.next().and_then(|name| STAGES.iter().find(|stage| stage.name == name));
    let count = arguments.next().and_then(|count| count.parse().ok());
    let (Some(stage), Some(count)) = (stage, count) else {
        eprintln!(
            "usage: hayase-benches STAGE COUNT, with STAGE one of these, each beside the COUNT to take:"
        );
        STAGES.iter().for_each(|stage| eprintln!("  {} {}", stage.name, stage.count));
        return ExitCode::from(2);
    };
    (stage.run)(count);
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Stages that `benches/gate` does not compare, and why: everything else is in `benches/baseline`.
    const NOT_GATED: &[(&str, &str)] = &[];

    const BASELINE: &str = include_str!("../baseline");

    fn gated() -> BTreeSet<&'static str> {
        let lines = BASELINE.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| line.split_whitespace().next()).collect()
    }

    #[test]
    fn every_stage_is_gated_or_it_is_said_why_not() {
        let gated = gated();
        let excused: BTreeSet<_> = NOT_GATED.iter().map(|(name, _)| *name).collect();
        let stages: BTreeSet<_> = STAGES.iter().map(|stage| stage.name).collect();
        assert_eq!(stages.len(), STAGES.len(), "two stages have one name");
        assert_eq!(gated.intersection(&excused).collect::<Vec<_>>(), [&""; 0], "gated and not gated");
        assert!(NOT_GATED.iter().all(|(_, reason)| reason.len() > 20), "a reason is a sentence");
        let known: BTreeSet<_> = gated.union(&excused).copied().collect();
        assert_eq!(known, stages, "benches/baseline and what is excused, and the stages that there are");
    }

    /// A figure and the reason why it is what it is.
    #[test]
    fn every_line_of_the_baseline_has_a_figure_and_a_reason() {
        for line in BASELINE.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<_> = line.split_whitespace().collect();
            assert!(words.len() > 3 && words[1].parse::<u64>().is_ok_and(|figure| figure > 0), "{line}");
        }
    }
}

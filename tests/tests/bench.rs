//! `hayase bench` on the in-memory wire: no rights are needed for that.

use std::time::Duration;

use hayase_tests::{Process, binary};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

const OFFLOADS: [&str; 8] = [
    "all",
    "none",
    "tx-checksum",
    "rx-checksum",
    "tx-checksum+tso",
    "lro",
    "sg",
    "tx-checksum+rx-checksum+tso+lro+sg",
];

fn bench(arguments: &[&str]) -> Value {
    let mut command = binary::hayase();
    command.arg("bench").args(arguments).arg("--json");
    let exit = Process::spawn(&mut command).wait(LIMIT).success();
    serde_json::from_slice(&exit.stdout)
        .unwrap_or_else(|error| panic!("{arguments:?}: not one JSON value: {error}\n{}", exit.text()))
}

#[test]
fn pingpong_makes_exactly_its_round_trips() {
    for offloads in OFFLOADS {
        let figures = bench(&["pingpong", "--round-trips", "1000", "--offloads", offloads]);
        assert_eq!(figures["round_trips"], 1000, "{offloads}: {figures}");
    }
}

#[test]
fn bulk_moves_exactly_its_bytes() {
    for offloads in OFFLOADS {
        let figures = bench(&["bulk", "--bytes", "3000000", "--offloads", offloads]);
        assert_eq!(figures["bytes"], 3_000_000, "{offloads}: {figures}");
    }
}

#[test]
fn two_cores_do_it_twice() {
    let figures = bench(&["pingpong", "--cores", "2", "--connections", "3", "--round-trips", "1000"]);
    assert_eq!(
        (&figures["round_trips"], &figures["connections"], &figures["cores"]),
        (&2000.into(), &6.into(), &2.into()),
        "{figures}"
    );
    let figures = bench(&["bulk", "--cores", "2", "--connections", "3", "--bytes", "1000000", "--owned"]);
    assert_eq!(
        (&figures["bytes"], &figures["connections"], &figures["cores"]),
        (&2_000_000.into(), &6.into(), &2.into()),
        "{figures}"
    );
}

#[test]
fn round_trips_are_shared_by_the_connections() {
    let counts = ["--connections", "7", "--round-trips", "1000", "--payload", "2000"];
    let figures = bench(&[&["pingpong"], &counts[..]].concat());
    assert_eq!(figures["round_trips"], 1000, "{figures}");
}

#[test]
fn idle_connections_are_held() {
    let figures = bench(&["pingpong", "--connections", "1", "--idle", "1000", "--round-trips", "100"]);
    assert_eq!(figures["round_trips"], 100, "{figures}");
}

#[test]
fn a_duration_ends_a_bench() {
    // Built first: what is timed is the bench.
    bench(&["pingpong", "--round-trips", "1"]);
    for bench_name in ["pingpong", "bulk"] {
        let start = std::time::Instant::now();
        let figures = bench(&[bench_name, "--duration", "1"]);
        let field = if bench_name == "pingpong" { "round_trips" } else { "bytes" };
        assert!(figures[field].as_u64().is_some_and(|count| count > 0), "{figures}");
        assert!((1.0..20.0).contains(&start.elapsed().as_secs_f64()));
    }
}

#[test]
fn the_wire_takes_a_larger_mtu() {
    let figures = bench(&["bulk", "--device", "wire:mtu=9000", "--bytes", "3000000", "--offloads", "none"]);
    assert_eq!(figures["bytes"], 3_000_000, "{figures}");
}

#[test]
fn an_unknown_offload_is_refused_with_the_names() {
    let mut command = binary::hayase();
    command.args(["bench", "pingpong", "--round-trips", "1", "--offloads", "warp"]);
    let exit = Process::spawn(&mut command).wait(LIMIT);
    assert!(!exit.status.success());
    assert!(exit.stderr.contains("warp") && exit.stderr.contains("tx-checksum"), "{}", exit.stderr);
}

#[test]
fn a_device_that_cannot_be_opened_says_what_to_do() {
    let mut command = binary::hayase();
    command.args([
        "ping",
        "10.7.0.1",
        "--device",
        "tap:name=a-name-of-more-than-15-letters,addr=10.7.0.2/24",
    ]);
    let exit = Process::spawn(&mut command).wait(LIMIT);
    assert!(!exit.status.success());
    assert!(!exit.stderr.trim().is_empty() && !exit.stderr.contains("panicked"), "{}", exit.stderr);
}

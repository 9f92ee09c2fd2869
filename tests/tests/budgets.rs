//! What a connection may cost, and how many there may be: both ends are in one process, on the in-memory wire.

use std::time::Duration;

use hayase_tests::{Process, binary};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(120);

/// Bytes of the allocator's that an idle end takes at most, and with a task that waits on it.
const END_MAX: f64 = 512.0;
const END_WITH_TASK_MAX: f64 = 640.0;

const CROWD: &str = "200000";

/// Round trips of a crowd: two for each.
const ROUND_TRIPS: u64 = 400_000;

fn bench(arguments: &[&str]) -> Value {
    let mut command = binary::hayase();
    command.arg("bench").args(arguments).args(["--device", "wire", "--json"]);
    let exit = Process::spawn(&mut command).wait(LIMIT).success();
    serde_json::from_slice(&exit.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

#[test]
fn an_idle_connection_is_small() {
    let report = bench(&["memory", "--connections", "50000"]);
    let row = &report["rows"][0];
    let each_end = |name: &str| row[name].as_f64().unwrap_or_else(|| panic!("{name}: {report}")) / 2.0;
    let (end, with_task) = (each_end("allocated_bytes"), each_end("allocated_bytes_with_tasks"));
    println!("an idle end takes {end:.0} bytes, with its task {with_task:.0}");
    assert!(end > 300.0 && end <= END_MAX, "{end} bytes an end");
    assert!(with_task > end && with_task <= END_WITH_TASK_MAX, "{with_task} bytes an end with its task");
}

#[test]
fn two_hundred_thousand_connections_all_answer() {
    let report = bench(&["pingpong", "--connections", CROWD, "--round-trips", &ROUND_TRIPS.to_string()]);
    assert_eq!(report["round_trips"], ROUND_TRIPS, "{report}");
    assert_eq!(report["connections"].to_string(), CROWD, "{report}");
}

//! No atomic instruction on the path of a packet, from the device to the task and back: callgrind counts those that were
//! executed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use hayase_tests::callgrind::{executed, locked, source};
use hayase_tests::{Process, binary, rights};

const LIMIT: Duration = Duration::from_secs(120);

/// In the shorter run.
const ROUND_TRIPS: u64 = 2000;

/// The same on two cores, where all that the process does is counted, and not only a function of it.
const ROUND_TRIPS_OF_TWO: u64 = 20_000;

/// The function that measures on one core.
const MEASURED: &str = "--toggle-collect=*measured_round_trips";

/// What may be left between two runs of different length, for each round trip: what timers do.
const NOISE_MAX: f64 = 0.01;

/// Locked instructions by the source file that they are in, in a run of so many round trips on the wire, on so many cores: on
/// one those of [`MEASURED`], on several all of all threads.
fn locked_by_file(round_trips: u64, cores: u64) -> BTreeMap<String, u64> {
    let name = format!("callgrind.{round_trips}.{cores}.{}", std::process::id());
    let path = binary::profile_directory().join(name);
    let program = binary::hayase();
    let mut command = std::process::Command::new("valgrind");
    command.args(["--tool=callgrind", "--dump-instr=yes", "--compress-strings=no", "--compress-pos=no"]);
    // So that a thread that waits for another, awake, does not keep it from running.
    command.args(["--fair-sched=yes", &format!("--callgrind-out-file={}", path.display())]);
    command.args((cores == 1).then_some(MEASURED));
    command.arg(program.get_program()).args(["bench", "pingpong", "--connections", "8", "--device", "wire"]);
    command.args(["--round-trips", &round_trips.to_string(), "--cores", &cores.to_string()]);
    // Valgrind 3.19 runs no other thread while one sleeps in io_uring: none does.
    command.args(["--spin", &LIMIT.as_micros().to_string()]);
    Process::spawn(&mut command).wait(LIMIT).success();
    let profile = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    fs::remove_file(&path).expect("it was just read");
    by_file(&profile)
}

fn by_file(profile: &str) -> BTreeMap<String, u64> {
    let counts = executed(profile);
    assert!(counts.values().sum::<u64>() > 1_000_000, "the function that is measured was not found");
    let mut objects: Vec<_> =
        counts.keys().map(|(object, _)| object).filter(|name| name.starts_with('/')).collect();
    objects.sort_unstable();
    objects.dedup();
    let mut found = BTreeMap::new();
    for object in objects {
        for address in locked(Path::new(object)) {
            if let Some(count) = counts.get(&(object.clone(), address)) {
                *found.entry(source(Path::new(object), address)).or_default() += count;
            }
        }
    }
    found
}

/// What a round trip more brings, on so many cores: so what only the start and the end lock counts for nothing.
fn check(cores: u64, round_trips: u64) {
    if !["valgrind", "objdump", "addr2line"].into_iter().all(rights::has_program) {
        return;
    }
    let too_many = locked_on_the_path(cores, round_trips);
    for (name, each) in &too_many {
        println!("{each:6.2} locked instructions a round trip in {name}");
    }
    assert!(too_many.is_empty(), "locked instructions on the path of {cores} cores");
}

/// The files with more than [`NOISE_MAX`] locked instructions a round trip, and how many.
fn locked_on_the_path(cores: u64, round_trips: u64) -> Vec<(String, f64)> {
    let (once, twice) = (locked_by_file(round_trips, cores), locked_by_file(2 * round_trips, cores));
    // The tasks are spawned and joined, which locks: so what locks is seen.
    assert!(!twice.is_empty(), "no locked instruction at all was seen, not even of the start and the end");
    let done = round_trips as f64;
    let each = twice.into_iter().map(|(name, count)| {
        let more = count.saturating_sub(once.get(&name).copied().unwrap_or_default());
        (name, more as f64 / done)
    });
    each.filter(|(_, each)| *each > NOISE_MAX).collect()
}

#[test]
fn nothing_on_the_path_is_atomic() {
    check(1, ROUND_TRIPS);
}

/// With several cores each has its own queue, stack and tasks, and the flows on it are at home: one core sees nothing of the
/// other's. (A frame that has to be steered from one to the other goes over a ring, which takes an atomic store.)
#[test]
fn nothing_on_the_path_of_two_cores_is_atomic() {
    check(2, ROUND_TRIPS_OF_TWO);
}

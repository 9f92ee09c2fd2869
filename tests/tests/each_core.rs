//! `#[hayase::main(cores = N)]`: the example `cores`, whose main runs once a core, each with a listener of its own.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::Command;

use hayase_tests::kernel::{PATIENCE, connect};
use hayase_tests::{Device, Family, Offloads, Process, Site, binary};

const CONNECTIONS: usize = 64;

/// The threads whose mains say that they listen: two of them, in order.
fn mains(program: &Process) -> Vec<String> {
    let thread = |line: &str| line.split_once(" listens on ").map(|(thread, _)| thread.to_owned());
    let next = |known: Option<&str>| {
        let line =
            program.line(PATIENCE, |line| thread(line).is_some_and(|thread| Some(thread.as_str()) != known));
        thread(&line).expect("it was looked for")
    };
    let first = next(None);
    let mut mains = vec![next(Some(&first)), first];
    mains.sort_unstable();
    mains
}

/// It needs no right: on the wire each core has a link of its own.
#[test]
fn main_runs_once_a_core() {
    let mut command = Command::new(binary::example("cores"));
    let mut program = Process::spawn(command.env("HAYASE_DEVICE", "wire"));
    mains(&program);
    assert!(program.is_running(), "no main ends, so the program does not");
    program.interrupt();
    let rest = program.wait(PATIENCE).text();
    assert_eq!(rest.matches(" listens on ").count(), 2, "more mains than cores: {rest}");
}

/// A task that each main spawned for a connection ran on its own core, whose count nobody else has touched.
#[test]
fn each_main_serves_the_connections_of_its_core() {
    Site::run(Device::Tap, Family::V4, Offloads::All, |site| {
        let mut command = Command::new(binary::example("cores"));
        let program = Process::spawn_in(&site.namespace, command.env("HAYASE_DEVICE", site.device()));
        let mains = mains(&program);
        let mut counts: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for _ in 0..CONNECTIONS {
            let mut greeting = String::new();
            connect(&site.namespace, site.hayase(7)).read_to_string(&mut greeting).unwrap();
            let words =
                greeting.trim().strip_prefix("you are connection ").and_then(|rest| rest.split_once(" of "));
            let (count, thread) = words.unwrap_or_else(|| panic!("{greeting:?}"));
            counts.entry(thread.to_owned()).or_default().push(count.parse().unwrap());
        }
        // That 64 fair coins fall on one side nobody will see.
        assert_eq!(counts.keys().cloned().collect::<Vec<_>>(), mains);
        for numbers in counts.values_mut() {
            numbers.sort_unstable();
            assert!(numbers.iter().copied().eq(1..=numbers.len()), "{numbers:?}");
        }
    });
}

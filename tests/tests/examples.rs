//! The examples that no other test runs: on the wire, and on a TAP interface with the kernel as peer.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::Command;
use std::thread;
use std::time::Duration;

use hayase_tests::kernel::{self, PATIENCE};
use hayase_tests::{Device, Family, Offloads, Process, Site, binary};

/// How long a program may take to say that it listens.
const START_MAX: Duration = Duration::from_secs(20);

/// What a program prints that ends by itself.
fn output_of(example: &str) -> String {
    Process::spawn(&mut Command::new(binary::example(example))).wait(PATIENCE).success().text()
}

#[test]
fn a_loop_of_ones_own_turns_the_network() {
    let text = output_of("foreign_loop");
    let turns = text.strip_prefix("1000 questions were answered in ");
    let turns = turns.and_then(|rest| rest.split(' ').next()?.parse::<u32>().ok());
    // A turn asks one question at most.
    assert!(turns.is_some_and(|turns| turns >= 1000), "{text:?}");
}

#[test]
fn a_proxy_on_the_wire_brings_its_client_the_answer() {
    let text = output_of("zero_copy_proxy");
    assert!(text.ends_with("\nTHROUGH THE PROXY AND BACK\n"), "{text:?}");
}

/// Both ends are the kernel's, and what comes back has gone four times through the stack.
#[test]
fn a_proxy_passes_on_what_the_kernel_says_to_itself() {
    Site::run(Device::Tap, Family::V4, Offloads::All, |site| {
        let listener = kernel::listen(&site.namespace, site.family);
        let origin = site.kernel(kernel::port(&listener)).to_string();
        let mut command = Command::new(binary::example("zero_copy_proxy"));
        let proxy = Process::spawn_in(&site.namespace, command.arg(&origin));
        proxy.line(START_MAX, |line| line == format!("passing [::]:8080 on to {origin}"));
        thread::scope(|scope| {
            scope.spawn(|| kernel::serve(&listener, 2, kernel::echo_to_end));
            for len in [1, 20_000_000] {
                kernel::echo_of_pattern(&kernel::connect(&site.namespace, site.hayase(8080)), len);
            }
        });
    });
}

/// `#[hayase::main(cores = 2)]`: each main has connections, and a count of its own for them.
#[test]
fn a_main_for_each_core_serves_connections_of_its_own() {
    const CONNECTIONS: usize = 64;
    Site::run(Device::Tap, Family::V4, Offloads::All, |site| {
        let server = Process::spawn_in(&site.namespace, &mut Command::new(binary::example("cores")));
        let listens = |line: &str| line.ends_with(" listens on [::]:7");
        let first = server.line(START_MAX, listens);
        let second = server.line(START_MAX, |line| listens(line) && line != first);

        let mut counts = BTreeMap::<String, Vec<usize>>::new();
        for _ in 0..CONNECTIONS {
            let mut greeting = String::new();
            kernel::connect(&site.namespace, site.hayase(7)).read_to_string(&mut greeting).unwrap();
            let said = greeting.trim_end().strip_prefix("you are connection ");
            let said =
                said.and_then(|said| said.split_once(" of ")).unwrap_or_else(|| panic!("{greeting:?}"));
            counts.entry(said.1.to_owned()).or_default().push(said.0.parse().unwrap());
        }
        for line in [&first, &second] {
            let thread = line.split(' ').next().unwrap_or_default();
            let counted = counts.remove(thread).unwrap_or_default();
            // A fair coin falls so rarely on one side that no test will see it.
            assert!(counted.len() >= CONNECTIONS / 8, "{thread} has {} of {CONNECTIONS}", counted.len());
            assert!(counted.iter().copied().eq(1..=counted.len()), "{thread}: {counted:?}");
        }
        assert!(counts.is_empty(), "a third main: {counts:?}");
    });
}

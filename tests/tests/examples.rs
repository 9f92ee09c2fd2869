//! The examples that no other test runs: on the wire, and on a TAP interface with the kernel as peer.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::panic::catch_unwind;
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

#[test]
fn tasks_of_tokio_ask_each_other_on_the_wire() {
    let mut command = Command::new(binary::example("beside_tokio"));
    let text = Process::spawn(command.env("HAYASE_DEVICE", "wire")).wait(PATIENCE).success().text();
    assert!(text.ends_with("\n10.7.0.2:7 says hello\n"), "{text:?}");
}

#[test]
fn tasks_of_tokio_serve_the_kernel() {
    Site::run(Device::Tap, Family::V4, Offloads::All, |site| {
        let server = Process::spawn_in(&site.namespace, &mut Command::new(binary::example("beside_tokio")));
        server.line(START_MAX, |line| line == "listening on [::]:7");
        thread::scope(|scope| {
            for len in [1, 10, 1_000_000, 5_000_000] {
                scope.spawn(move || {
                    kernel::echo_of_pattern(&kernel::connect(&site.namespace, site.hayase(7)), len);
                });
            }
        });
    });
}

/// What was asked before the signal is answered, who has asked nothing is dismissed, nobody else gets in, and who takes too long
/// is cut off.
#[test]
fn a_server_that_is_interrupted_answers_and_ends() {
    // A server that has read nothing when the signal comes, for want of a processor, was asked nothing. One that does not do as
    // it should does it never.
    let run = || Site::run(Device::Tap, Family::V4, Offloads::All, interrupt_server);
    if !(1..3).any(|_| catch_unwind(run).is_ok()) {
        run();
    }
}

fn interrupt_server(site: &Site) {
    let mut command = Command::new(binary::example("graceful_shutdown"));
    let server = Process::spawn_in(&site.namespace, &mut command);
    server.line(START_MAX, |line| line == "listening on [::]:9");
    let connect = || kernel::connect(&site.namespace, site.hayase(9));
    let [mut asks, mut idles, mut takes_long] = [connect(), connect(), connect()];
    asks.write_all(b"1\n").unwrap();
    asks.read_exact(&mut [0; "slept 1 ms\n".len()]).unwrap();
    takes_long.write_all(b"60000\n").unwrap();
    asks.write_all(b"1000\n").unwrap();
    thread::sleep(Duration::from_millis(200));
    server.interrupt();
    server.line(START_MAX, |line| line == "no more connections, 3 are open");
    let refused = kernel::try_connect(&site.namespace, site.hayase(9)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let [mut answer, mut nothing] = [String::new(), String::new()];
    idles.read_to_string(&mut nothing).unwrap();
    asks.read_to_string(&mut answer).unwrap();
    assert_eq!((answer.as_str(), nothing.as_str()), ("slept 1000 ms\n", ""));
    let text = server.wait(PATIENCE).success().text();
    assert!(text.ends_with("\n1 are cut off\ngood bye\n"), "{text:?}");
    assert_eq!(takes_long.read(&mut [0; 1]).unwrap(), 0);
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

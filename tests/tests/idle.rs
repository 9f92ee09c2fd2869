//! Nobody talks to a server, so it must not run either.

use std::thread;
use std::time::Duration;

use hayase_tests::{Device, Family, Offloads, Site};

/// What the start of a server and of connections leaves behind: spins, delayed ACKs, neighbours.
const SETTLING_TIME: Duration = Duration::from_millis(700);

/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(4);

/// How much of one processor it may use: 0.5 %.
const SHARE_MAX: f64 = 0.005;

/// Every arrangement of stacks and tasks.
const ARRANGEMENTS: [&[&str]; 5] = [
    &[],
    &["--cores", "2"],
    &["--model", "split"],
    &["--model", "merge"],
    &["--cores", "2", "--model", "split"],
];

/// The share of a processor that a server with idle connections uses, which must answer afterwards.
fn idle_share(site: &Site, arrangement: &[&str]) -> f64 {
    let server = site.serve("echo", &[&["--udp"], arrangement].concat());
    let _idle: Vec<_> = (0..10).map(|_| site.connect()).collect();
    site.check_echo();
    thread::sleep(SETTLING_TIME);
    let before = server.cpu_time();
    thread::sleep(WATCHED);
    let used = server.cpu_time() - before;
    site.check_echo();
    used.as_secs_f64() / WATCHED.as_secs_f64()
}

/// All arrangements at the same time: what is measured is the time of each process alone.
fn no_idle_server_runs(device: Device) {
    thread::scope(|scope| {
        for arrangement in ARRANGEMENTS {
            scope.spawn(move || {
                Site::run(device, Family::V4, Offloads::All, |site| {
                    let share = idle_share(site, arrangement);
                    println!("{device:?} {arrangement:?}: {:.3} % of a processor", share * 100.0);
                    assert!(share < SHARE_MAX, "{device:?} {arrangement:?}: {share} of a processor");
                });
            });
        }
    });
}

#[test]
fn on_tap() {
    no_idle_server_runs(Device::Tap);
}

#[test]
fn on_xdp() {
    no_idle_server_runs(Device::Xdp);
}

#[test]
fn on_the_kernels_sockets() {
    no_idle_server_runs(Device::Kernel);
}

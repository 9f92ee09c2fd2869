//! Nobody talks to a server, so it must not run either; and when somebody does, it must be there.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use hayase_tests::sandbox::without_io_uring;
use hayase_tests::site::heavy;
use hayase_tests::{Device, Family, Offloads, Process, Site, kernel};

/// What the start of a server and of connections leaves behind: spins, delayed ACKs, neighbours.
const SETTLING_TIME: Duration = Duration::from_millis(700);

/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(4);

/// How often its threads may run in a second. Timers of the stack and of tasks explain a dozen, with two cores.
const RUNS_MAX: u64 = 50;

/// The same in every turn: as often as that takes 0.5 % of a processor where a wake-up takes 10 us.
const RUNS_EVER_MAX: u64 = 500;

/// How much of one processor it may use. What a wake-up costs is a matter of the machine, and how many there are is not; who
/// does not sleep takes all of it.
const SHARE_MAX: f64 = 0.05;

/// Every arrangement of stacks and tasks.
const ARRANGEMENTS: [&[&str]; 5] = [
    &[],
    &["--cores", "2"],
    &["--model", "split"],
    &["--model", "merge"],
    &["--cores", "2", "--model", "split"],
];

/// How many first requests are timed.
const REQUESTS: usize = 101;

/// How often both are measured, one after the other, until it is met.
const TURNS: usize = 8;

/// How long nothing happens before each: longer than any spin.
const IDLE: Duration = Duration::from_millis(10);

/// How many wake-ups of a thread the first request may cost.
const WAKE_UPS_MAX: u32 = 3;

/// How often the threads of a server with idle connections run, and the share of a processor that they use. It must answer
/// afterwards.
fn rest(site: &Site, server: &Process) -> (u64, f64) {
    let _idle: Vec<_> = (0..10).map(|_| site.connect()).collect();
    site.check_echo();
    thread::sleep(SETTLING_TIME);
    let (before, run_count) = (server.cpu_time(), server.run_count());
    thread::sleep(WATCHED);
    let (used, run_count) = (server.cpu_time() - before, server.run_count() - run_count);
    assert!(
        run_count < RUNS_EVER_MAX * WATCHED.as_secs(),
        "woken {run_count} times in {WATCHED:?}: {server:?}"
    );
    site.check_echo();
    (run_count, used.as_secs_f64() / WATCHED.as_secs_f64())
}

/// From a byte to an echo server until it is back, if nothing happened before: the quickest but for a twentieth, since what
/// the machine does besides comes on top, and not always.
fn first_request(mut stream: TcpStream) -> Duration {
    stream.set_nodelay(true).unwrap();
    let mut request = || {
        thread::sleep(IDLE);
        let start = Instant::now();
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        start.elapsed()
    };
    let mut times: Vec<_> = (0..REQUESTS).map(|_| request()).collect();
    times.sort_unstable();
    times[REQUESTS / 20]
}

/// The same of a thread that sleeps in `read`, on the kernel's loopback interface: what a wake-up costs.
fn wake_up(site: &Site) -> Duration {
    let listener = kernel::listen(&site.namespace, site.family);
    let address = site.kernel(kernel::port(&listener));
    thread::scope(|scope| {
        scope.spawn(|| kernel::serve(&listener, 1, kernel::echo_to_end));
        first_request(kernel::connect(&site.namespace, address))
    })
}

#[test]
fn the_first_request_after_idle_costs_three_wake_ups_at_most() {
    for device in [Device::Tap, Device::Xdp, Device::Kernel, Device::Dpdk] {
        Site::run(device, Family::V4, Offloads::All, |site| {
            let _alone = heavy();
            let _server = site.serve("echo", &[]);
            // What the machine does besides comes on top, at any time; a wake-up too many is there in every turn.
            let is_met = (0..TURNS).any(|_| {
                let (wake_up, request) = (wake_up(site), first_request(site.connect()));
                println!("{device:?}: the first request {request:?}, where a wake-up costs {wake_up:?}");
                request < wake_up * WAKE_UPS_MAX
            });
            assert!(is_met, "{device:?}: more than {WAKE_UPS_MAX} wake-ups in each of {TURNS} turns");
        });
    }
}

/// Containers forbid io_uring; `ppoll` takes its place.
#[test]
fn without_io_uring_a_server_sleeps_and_wakes_as_well() {
    for device in [Device::Tap, Device::Xdp, Device::Kernel, Device::Dpdk] {
        Site::run(device, Family::V4, Offloads::All, |site| {
            let arguments = ["--udp", "--cores", "2"];
            let allowed = start_alone(site, &arguments);
            let has_ring = allowed.has_io_uring();
            drop(allowed);
            let server = without_io_uring(|| start_alone(site, &arguments));
            assert!(!server.has_io_uring(), "the filter has no effect");
            if !has_ring {
                println!("{device:?}: io_uring is forbidden here in any case");
            }
            check_rest(site, &server, &format!("{device:?} without io_uring"));
        });
    }
}

/// Starts an echo server, which takes a processor for a while, and nobody measures times meanwhile.
fn start_alone(site: &Site, arguments: &[&str]) -> Process {
    let _alone = heavy();
    site.serve("echo", arguments)
}

/// Holds an idle server to its limits. A machine that takes the pages of idle programs away has them read again at each of the
/// few wake-ups, now and then; a server that does not rest is seen in every turn.
fn check_rest(site: &Site, server: &Process, name: &str) {
    let is_met = (0..TURNS).any(|_| {
        let (run_count, share) = rest(site, server);
        println!("{name}: {run_count} runs, {:.3} % of a processor", share * 100.0);
        run_count < RUNS_MAX * WATCHED.as_secs() && share < SHARE_MAX
    });
    assert!(is_met, "{name}: too many runs, or too much of a processor, in each of {TURNS} turns");
}

/// All arrangements at the same time: what is measured is the time of each process alone.
fn no_idle_server_runs(device: Device) {
    thread::scope(|scope| {
        for arrangement in ARRANGEMENTS {
            scope.spawn(move || {
                Site::run(device, Family::V4, Offloads::All, |site| {
                    let server = start_alone(site, &[&["--udp"], arrangement].concat());
                    check_rest(site, &server, &format!("{device:?} {arrangement:?}"));
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

/// DPDK's driver of packet sockets: the thread sleeps on the socket. Other drivers of DPDK's are in `dpdk.rs`.
#[test]
fn on_dpdk() {
    no_idle_server_runs(Device::Dpdk);
}

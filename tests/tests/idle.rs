//! Nobody talks to a server, so it must not run either; and when somebody does, it must be there.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use hayase_tests::sandbox::without_io_uring;
use hayase_tests::site::heavy;
use hayase_tests::{Device, Family, Offloads, Process, Site};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

/// What the start of a server and of connections leaves behind: spins, delayed ACKs, neighbours.
const SETTLING_TIME: Duration = Duration::from_millis(700);

/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(4);

/// How much of one processor it may use: 0.5 %.
const SHARE_MAX: f64 = 0.005;

/// The same on a driver of DPDK's without an interrupt, which is looked at a thousand times a second: 1 %.
const SHARE_MAX_OF_NAPS: f64 = 0.01;

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
const TURNS: usize = 4;

/// How long nothing happens before each: longer than any spin.
const IDLE: Duration = Duration::from_millis(10);

/// How many wake-ups of a thread the first request may cost more than one to a server that is awake, whose cost is that of the
/// kernel's TCP and the device at both ends. The server's own is one of them.
const WAKE_UPS_MAX: u32 = 3;

/// The share of a processor that a server with idle connections uses, which must answer afterwards.
fn idle_share(site: &Site, server: &Process) -> f64 {
    let _idle: Vec<_> = (0..10).map(|_| site.connect()).collect();
    site.check_echo();
    thread::sleep(SETTLING_TIME);
    let before = server.cpu_time();
    thread::sleep(WATCHED);
    let used = server.cpu_time() - before;
    site.check_echo();
    used.as_secs_f64() / WATCHED.as_secs_f64()
}

/// The lower quartile: what the machine does besides comes on top, and not always.
fn typical(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 4]
}

/// From a byte to an echo server until it is back, if nothing happened before. Who asks does not sleep meanwhile, so that the
/// only thread that has to be woken is the server's.
fn first_request(stream: TcpStream) -> Duration {
    request_after(IDLE, stream)
}

/// The same if the server is awake: the next request follows the answer.
fn busy_request(stream: TcpStream) -> Duration {
    request_after(Duration::ZERO, stream)
}

fn request_after(idle: Duration, mut stream: TcpStream) -> Duration {
    stream.set_nodelay(true).unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut request = || {
        if !idle.is_zero() {
            thread::sleep(idle);
        }
        let start = Instant::now();
        stream.write_all(b"x").unwrap();
        loop {
            match stream.read(&mut [0]) {
                Ok(len) => break assert_eq!(len, 1, "the server has closed"),
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::hint::spin_loop(),
                Err(error) => panic!("{error}"),
            }
        }
        start.elapsed()
    };
    typical((0..REQUESTS).map(|_| request()).collect())
}

/// The yardstick: from a write to an eventfd until the thread that sleeps on it is up. One wake-up, and nothing else.
fn wake_up() -> Duration {
    let (bell, (send, receive)) = (eventfd(0, EventfdFlags::CLOEXEC).unwrap(), channel());
    thread::scope(|scope| {
        scope.spawn(|| {
            let send = send;
            for _ in 0..REQUESTS {
                poll(&mut [PollFd::new(&bell, PollFlags::IN)], None).unwrap();
                send.send(Instant::now()).unwrap();
                rustix::io::read(&bell, &mut [0; 8]).unwrap();
            }
        });
        let round = |_| {
            thread::sleep(IDLE);
            let start = Instant::now();
            rustix::io::write(&bell, &1_u64.to_ne_bytes()).unwrap();
            receive.recv().unwrap() - start
        };
        typical((0..REQUESTS).map(round).collect())
    })
}

#[test]
fn the_first_request_after_idle_costs_three_wake_ups_at_most() {
    for device in [Device::Tap, Device::Xdp, Device::Kernel] {
        Site::run(device, Family::V4, Offloads::All, |site| {
            let _alone = heavy();
            let _server = site.serve("echo", &[]);
            // What the machine does besides comes on top, at any time; a wake-up too many is there in every turn.
            let is_met = (0..TURNS).any(|_| {
                let (wake_up, busy) = (wake_up(), busy_request(site.connect()));
                let request = first_request(site.connect());
                let more = request.saturating_sub(busy);
                let ratio = more.as_secs_f64() / wake_up.as_secs_f64();
                println!(
                    "{device:?}: the first request {request:?}, a busy one {busy:?}: {ratio:.2} wake-ups of {wake_up:?} more"
                );
                more <= wake_up * WAKE_UPS_MAX
            });
            assert!(is_met, "{device:?}: more than {WAKE_UPS_MAX} wake-ups in each of {TURNS} turns");
        });
    }
}

/// Containers forbid io_uring; `ppoll` takes its place.
#[test]
fn without_io_uring_a_server_sleeps_and_wakes_as_well() {
    for device in [Device::Tap, Device::Xdp, Device::Kernel] {
        Site::run(device, Family::V4, Offloads::All, |site| {
            let arguments = ["--udp", "--cores", "2"];
            let allowed = site.serve("echo", &arguments);
            let has_ring = allowed.has_io_uring();
            drop(allowed);
            let server = without_io_uring(|| site.serve("echo", &arguments));
            assert!(!server.has_io_uring(), "the filter has no effect");
            if !has_ring {
                println!("{device:?}: io_uring is forbidden here in any case");
            }
            let share = idle_share(site, &server);
            println!("{device:?} without io_uring: {:.3} % of a processor", share * 100.0);
            assert!(share < SHARE_MAX, "{device:?} without io_uring: {share} of a processor");
        });
    }
}

/// All arrangements at the same time: what is measured is the time of each process alone.
fn no_idle_server_runs(device: Device) {
    let share_max = if device == Device::Dpdk { SHARE_MAX_OF_NAPS } else { SHARE_MAX };
    thread::scope(|scope| {
        for arrangement in ARRANGEMENTS {
            scope.spawn(move || {
                Site::run(device, Family::V4, Offloads::All, |site| {
                    let server = site.serve("echo", &[&["--udp"], arrangement].concat());
                    let share = idle_share(site, &server);
                    println!("{device:?} {arrangement:?}: {:.3} % of a processor", share * 100.0);
                    assert!(share < share_max, "{device:?} {arrangement:?}: {share} of a processor");
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

/// DPDK's driver of packet sockets has no interrupt: the thread naps.
#[test]
fn on_dpdk() {
    no_idle_server_runs(Device::Dpdk);
}

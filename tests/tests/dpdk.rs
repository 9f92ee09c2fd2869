//! Two processes with a link of DPDK's between them: `hayase` at both ends of virtio, and of memif. And one process, with the
//! kernel at the other end of an interface; the rest of the tests does that over packet sockets.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use hayase_tests::pair::{Driver, ECHO, LIMIT, Link, TRANSFER_LEN, start};
use hayase_tests::site::{INTERFACE, OUR_INTERFACE, hayase_address, heavy, kernel_address, listens_at};
use hayase_tests::{Exit, Family, Namespace, Offloads, Process, binary, kernel, links, rights};

links! {
    virtio: Virtio;
    memif: Memif;
}

/// What one end leaves to the other, the other may have to do, on the way there and on the way back.
#[test]
fn an_end_without_offloads_is_understood() {
    for (family, offloads) in
        [(Family::V4, [Offloads::All, Offloads::None]), (Family::V6, [Offloads::None, Offloads::All])]
    {
        Link::run_over(Driver::Virtio, family, offloads, 1, |link| {
            let _server = link.serve(&[ECHO]);
            link.check_echo(TRANSFER_LEN);
        });
    }
}

#[test]
fn two_queues_serve_two_cores() {
    Link::run(Driver::Virtio, 2, |link| {
        let _server = link.serve(&[ECHO]);
        let figures =
            link.bench(ECHO, &["pingpong", "--cores", "2", "--connections", "8", "--round-trips", "10000"]);
        assert_eq!(figures["connections"], 16, "{figures}");
        assert_eq!(figures["round_trips"], 10_000, "{figures}");
    });
}

/// A process that is killed in the middle of a transfer, and the next one in its place.
#[test]
fn a_client_that_was_killed_can_be_followed_by_another() {
    for driver in [Driver::Virtio, Driver::Memif] {
        Link::run(driver, 1, |link| {
            let _server = link.serve(&[ECHO]);
            (0..3).for_each(|_| link.kill_client());
            link.check_echo(1_000_000);
        });
    }
}

#[test]
fn a_server_that_was_killed_can_be_followed_by_another() {
    for driver in [Driver::Virtio, Driver::Memif] {
        Link::run(driver, 1, |link| {
            for _ in 0..2 {
                let server = link.serve(&[ECHO]);
                link.check_echo(1_000_000);
                drop(server);
                // A server that had no time to do it leaves its socket.
                fs::remove_file(link.socket()).unwrap();
            }
            let _server = link.serve(&[ECHO]);
            link.check_echo(1_000_000);
        });
    }
}

/// How `hayase serve echo` ends on a device that it cannot open.
fn refusal(spec: &str) -> Exit {
    let exit = start(&["serve", "echo"], spec).wait(LIMIT);
    assert_eq!(exit.status.code(), Some(1), "{spec}: {exit:?}");
    exit
}

#[test]
fn what_cannot_start_says_why() {
    Link::run(Driver::Virtio, 1, |link| {
        for (spec, parts) in [
            (link.server(",eal=--no-such-option"), ["EAL did not start", "--no-such-option"]),
            (link.server(",eal=-m 1"), ["memory", "eal="]),
            (link.client(), ["no DPDK driver takes", "net_virtio_user0"]),
            ("dpdk:vdev=net_nothing0,addr=10.7.0.1/24".to_owned(), ["no DPDK driver takes", "net_nothing0"]),
        ] {
            let said = refusal(&spec).stderr;
            assert!(parts.iter().all(|part| said.contains(part)), "{spec}: {said}");
        }
    });
}

/// A real-time thread that waits for one of DPDK's on the same CPU waited for ever.
#[test]
fn a_real_time_process_starts_and_ends() {
    if !rights::has_program("chrt") || !may_be_real_time() {
        return;
    }
    Link::run(Driver::Virtio, 1, |link| {
        let binary = binary::hayase_with_dpdk();
        let program = Path::new(binary.get_program());
        for _ in 0..2 {
            let mut command = Command::new("taskset");
            command.args(["-c", "0", "chrt", "-f", "1"]).arg(program);
            command.args(["serve", "echo", "--port", "7", "--device", &link.server("")]);
            let server = Process::spawn(&mut command);
            server.line(LIMIT, |line| listens_at(line).is_some());
            link.check_echo(1_000_000);
            server.interrupt();
            server.wait(LIMIT).success();
        }
    });
}

fn may_be_real_time() -> bool {
    let may = Command::new("chrt").args(["-f", "1", "true"]).status().is_ok_and(|status| status.success());
    if !may {
        rights::skip("needs CAP_SYS_NICE");
    }
    may
}

/// Runs a case in a namespace, one at a time, unless something for it is missing, which is printed.
fn beside_the_kernel(case: impl FnOnce(&Namespace)) {
    let has_all = rights::can_use_dpdk() && rights::can_use_tap() && rights::has_program("ethtool");
    if has_all {
        let _alone = heavy();
        case(&Namespace::new().unwrap_or_else(|error| panic!("{error}")));
    }
}

/// Starts an echo server on a device of DPDK's.
fn serve_on(namespace: &Namespace, vdev: &str) -> Process {
    let spec = format!("dpdk:vdev={vdev},addr={}/24,dad=0", hayase_address(Family::V4));
    let mut command = binary::hayase_with_dpdk();
    command.args(["serve", "echo", "--port", "7", "--device", &spec]);
    let process = Process::spawn_in(namespace, &mut command);
    process.line(LIMIT, |line| listens_at(line).is_some());
    process
}

/// A pair of interfaces, one for us and one for the kernel.
fn add_veth(namespace: &Namespace) {
    namespace.ip(&["link", "add", OUR_INTERFACE, "type", "veth", "peer", "name", INTERFACE]);
    namespace.ip(&["link", "set", OUR_INTERFACE, "addrgenmode", "none", "up"]);
}

/// Brings the kernel's end up, with its address and with checksums that are filled in.
fn bring_up(namespace: &Namespace, interface: &str) {
    let address = format!("{}/24", kernel_address(Family::V4));
    namespace.ip(&["address", "add", &address, "dev", interface]);
    namespace.ip(&["link", "set", interface, "up"]);
    namespace.run("ethtool", &["-K", interface, "tx", "off", "tso", "off", "gso", "off"]);
}

/// The kernel's pattern comes back from an echo server, also after `interface` was down.
fn check_kernel(namespace: &Namespace, interface: &str) {
    let echo = || {
        let stream = kernel::connect(namespace, (hayase_address(Family::V4), 7).into());
        kernel::echo_of_pattern(&stream, 10_000_000);
    };
    echo();
    let stream = kernel::connect(namespace, (hayase_address(Family::V4), 7).into());
    thread::scope(|scope| {
        let transfer = scope.spawn(|| kernel::echo_of_pattern(&stream, 20_000_000));
        thread::sleep(Duration::from_millis(20));
        namespace.ip(&["link", "set", interface, "down"]);
        thread::sleep(Duration::from_millis(300));
        namespace.ip(&["link", "set", interface, "up"]);
        transfer.join().expect("every byte came back");
    });
    echo();
}

#[test]
fn dpdks_own_tap_serves_the_kernel() {
    beside_the_kernel(|namespace| {
        let _server = serve_on(namespace, &format!("net_tap0,iface={INTERFACE}"));
        bring_up(namespace, INTERFACE);
        check_kernel(namespace, INTERFACE);
    });
}

/// AF_XDP by DPDK's own driver, with so much in both directions that every buffer has its turn.
#[test]
fn an_interface_under_af_xdp_echoes_in_bulk() {
    beside_the_kernel(|namespace| {
        if !rights::can_use_xdp() {
            return;
        }
        add_veth(namespace);
        bring_up(namespace, INTERFACE);
        let _server = serve_on(namespace, &format!("net_af_xdp0,iface={OUR_INTERFACE}"));
        for _ in 0..2 {
            let stream = kernel::connect(namespace, (hayase_address(Family::V4), 7).into());
            kernel::echo_of_pattern(&stream, 50_000_000);
        }
        check_kernel(namespace, INTERFACE);
    });
}

/// Packet sockets on an interface of the kernel's; the other tests take the kernel's end of the link down.
#[test]
fn an_interface_under_packet_sockets_may_go_down() {
    beside_the_kernel(|namespace| {
        add_veth(namespace);
        bring_up(namespace, INTERFACE);
        let _server = serve_on(namespace, &format!("net_af_packet0,iface={OUR_INTERFACE}"));
        check_kernel(namespace, OUR_INTERFACE);
    });
}

/// The interface goes from under a server. Nothing comes any more, and the server looks for it no more often than for anything
/// else, until it is told to end.
fn check_deletion(namespace: &Namespace, server: Process, interface: &str) {
    kernel::echo_of_pattern(&kernel::connect(namespace, (hayase_address(Family::V4), 7).into()), 100_000);
    namespace.ip(&["link", "del", interface]);
    let before = server.cpu_time();
    thread::sleep(Duration::from_secs(1));
    let used = server.cpu_time() - before;
    assert!(used < Duration::from_millis(100), "{used:?} of a second went into an interface that is gone");
    server.interrupt();
    server.wait(LIMIT).success();
}

#[test]
fn an_interface_that_is_deleted_is_survived() {
    for driver in ["net_af_packet0", "net_af_xdp0"] {
        beside_the_kernel(|namespace| {
            if driver == "net_af_xdp0" && !rights::can_use_xdp() {
                return;
            }
            add_veth(namespace);
            bring_up(namespace, INTERFACE);
            let server = serve_on(namespace, &format!("{driver},iface={OUR_INTERFACE}"));
            check_deletion(namespace, server, OUR_INTERFACE);
        });
    }
    beside_the_kernel(|namespace| {
        let server = serve_on(namespace, &format!("net_tap0,iface={INTERFACE}"));
        bring_up(namespace, INTERFACE);
        check_deletion(namespace, server, INTERFACE);
    });
}

/// How often the threads of an idle server may run in a second. A nap of the longest ends 63 times, vhost is looked after 50
/// times, and a stray frame makes naps short for some 60 of them.
const RUNS_MAX: u64 = 200;

/// What of a processor it may use. What a wake-up costs is a matter of the machine, and how many there are is not; who does not
/// nap takes all of it.
const SHARE_MAX: f64 = 0.05;

/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(3);

/// How long nothing happens before that: what the start leaves behind.
const SETTLING_TIME: Duration = Duration::from_millis(700);

/// How long nothing happens before a first answer: longer than it takes until naps are four times as long as they may be.
const REST: Duration = Duration::from_millis(520);

/// By so much longer is the rest before the next answer: they meet every part of a nap, and of one four times as long.
const REST_STEP: Duration = Duration::from_millis(23);

/// How many first answers are timed.
const ANSWERS: usize = 11;

/// What a third of them may take where a driver wakes nobody: the longest nap.
const NAP_MAX: Duration = Duration::from_millis(16);

/// The same where an interrupt wakes the server: ten times what it takes, and a seventh of the time after which vhost is looked
/// after in any case.
const INTERRUPTED_MAX: Duration = Duration::from_millis(3);

/// How often it is measured until it is met: what the machine does besides comes on top at any time, and looks that are too
/// many are there every time.
const TURNS: usize = 4;

/// Holds a server to these limits.
fn check_rest(driver: &str, server: &Process, answer_max: Duration, mut ask: impl FnMut()) {
    let is_met = (0..TURNS).any(|_| {
        let (run_count, share) = rest(server, &mut ask);
        let answer = first_answer(&mut ask);
        println!(
            "{driver}: {run_count} runs, {:.3} % of a processor, first answer {answer:?}",
            share * 100.0
        );
        run_count < RUNS_MAX * WATCHED.as_secs() && share < SHARE_MAX && answer < answer_max
    });
    assert!(is_met, "{driver}: too many runs, or too much time, or too late, in each of {TURNS} turns");
}

/// How often the threads of a server run to which nobody talks, and the share of a processor that they use.
fn rest(server: &Process, ask: &mut impl FnMut()) -> (u64, f64) {
    ask();
    thread::sleep(SETTLING_TIME);
    let (before, run_count) = (server.cpu_time(), server.run_count());
    thread::sleep(WATCHED);
    let (used, run_count) = (server.cpu_time() - before, server.run_count() - run_count);
    (run_count, used.as_secs_f64() / WATCHED.as_secs_f64())
}

/// How long the first answer after a rest takes: a third of them is as quick, since what the machine does besides comes on top,
/// and not always.
fn first_answer(ask: &mut impl FnMut()) -> Duration {
    let answer = |number| {
        thread::sleep(REST + number * REST_STEP);
        let start = Instant::now();
        ask();
        start.elapsed()
    };
    let mut answers: Vec<_> = (0..ANSWERS as u32).map(answer).collect();
    answers.sort_unstable();
    answers[ANSWERS / 3]
}

/// The same between two processes.
fn check_rest_of_link(link: &Link, answer_max: Duration) {
    let server = link.serve(&[ECHO]);
    let mut client = link.connect(ECHO);
    let (mut stdin, mut len) = (client.stdin(), 0);
    let ask = || {
        stdin.write_all(b"x").unwrap();
        len += 1;
        client.printed(LIMIT, len);
    };
    check_rest(&format!("{:?}", link.driver), &server, answer_max, ask);
}

/// The same of a server that the kernel talks to.
fn check_rest_beside_the_kernel(namespace: &Namespace, vdev: &str, interface: &str, answer_max: Duration) {
    let server = serve_on(namespace, vdev);
    bring_up(namespace, interface);
    let mut stream = kernel::connect(namespace, (hayase_address(Family::V4), 7).into());
    stream.set_nodelay(true).unwrap();
    let ask = || {
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
    };
    check_rest(vdev, &server, answer_max, ask);
}

/// virtio interrupts, AF_XDP has sockets to sleep on, the others wake nobody: their threads nap.
#[test]
fn an_idle_server_rests_and_answers_after_a_nap_at_most() {
    for (driver, answer_max) in [(Driver::Virtio, INTERRUPTED_MAX), (Driver::Memif, NAP_MAX)] {
        Link::run(driver, 1, |link| check_rest_of_link(link, answer_max));
    }
    beside_the_kernel(|namespace| {
        check_rest_beside_the_kernel(namespace, &format!("net_tap0,iface={INTERFACE}"), INTERFACE, NAP_MAX);
    });
    beside_the_kernel(|namespace| {
        if !rights::can_use_xdp() {
            return;
        }
        add_veth(namespace);
        let vdev = format!("net_af_xdp0,iface={OUR_INTERFACE}");
        check_rest_beside_the_kernel(namespace, &vdev, INTERFACE, INTERRUPTED_MAX);
    });
}

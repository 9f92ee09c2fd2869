//! Two processes with a link of DPDK's between them: `hayase` at both ends of virtio, and of memif. And one process, with the
//! kernel at the other end of an interface; the rest of the tests does that over packet sockets.
//!
//! The former needs no rights, but memory: each process takes some hundred megabytes.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hayase_tests::pattern::{hash_to_end, pattern, pattern_hash, write_pattern};
use hayase_tests::site::{INTERFACE, OUR_INTERFACE, hayase_address, heavy, kernel_address, listens_at};
use hayase_tests::{Exit, Family, Namespace, Process, binary, kernel, rights};
use serde_json::Value;

/// How long a process may take for its part.
const LIMIT: Duration = Duration::from_secs(60);

/// Where the server is.
const SERVER: &str = "10.7.0.1:7";

/// What is compared of each direction, in bytes.
const TRANSFER_LEN: u64 = 100_000_000;

/// What lies between two processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Driver {
    /// net_vhost at the server, net_virtio_user at the client.
    Virtio,
    /// net_memif at both.
    Memif,
}

/// A link, and the directory of its socket, which goes with it.
#[derive(Debug)]
struct Link {
    driver: Driver,
    queues: usize,
    directory: PathBuf,
}

impl Link {
    /// Runs a case, one at a time, unless there is no DPDK here, which is printed.
    fn run(driver: Driver, queues: usize, case: impl FnOnce(&Link)) {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        if !rights::can_use_dpdk() {
            return;
        }
        let _alone = heavy();
        let name = format!("hayase-dpdk-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        case(&Link { driver, queues, directory });
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("link")
    }

    fn server(&self, options: &str) -> String {
        let (socket, queues) = (self.socket(), self.queues);
        let socket = socket.display();
        let device = match self.driver {
            Driver::Virtio => format!("net_vhost0,iface={socket},queues={queues},tso=1,client=0"),
            Driver::Memif => format!("net_memif0,role=server,socket={socket},socket-abstract=no"),
        };
        format!("dpdk:vdev={device},addr=10.7.0.1/24{options}")
    }

    fn client(&self, options: &str) -> String {
        let (socket, queues) = (self.socket(), self.queues);
        let socket = socket.display();
        let device = match self.driver {
            Driver::Virtio => format!("net_virtio_user0,path={socket},queues={queues}"),
            Driver::Memif => format!("net_memif0,role=client,socket={socket},socket-abstract=no"),
        };
        format!("dpdk:vdev={device},addr=10.7.0.2/24{options}")
    }

    /// Starts `hayase serve SERVICE` and waits until it listens.
    fn serve(&self, service: &str, options: &str) -> Process {
        let cores = self.queues.to_string();
        let arguments = ["serve", service, "--port", "7", "--cores", &cores];
        let process = start(&arguments, &self.server(options));
        process.line(LIMIT, |line| listens_at(line).is_some());
        process
    }

    fn connect(&self, options: &str) -> Process {
        start(&["connect", SERVER], &self.client(options))
    }

    /// The figures of `hayase bench`.
    fn bench(&self, arguments: &[&str]) -> Value {
        let arguments = [&["bench"], arguments, &["--connect", SERVER, "--json"]].concat();
        let exit = start(&arguments, &self.client("")).wait(LIMIT).success();
        serde_json::from_slice(&exit.stdout)
            .unwrap_or_else(|error| panic!("not one JSON value: {error}\n{}", exit.text()))
    }

    /// Sends the pattern to an echo server through a client of its own, and compares what comes back.
    fn check_echo(&self, len: u64, options: &str) {
        let mut client = self.connect(options);
        let stdin = client.stdin();
        let exit = thread::scope(|scope| {
            let sent = scope.spawn(move || write_pattern(stdin, len));
            let exit = client.wait(LIMIT).success();
            sent.join().unwrap().expect("the client reads its input");
            exit
        });
        assert_eq!(hash_to_end(&exit.stdout[..]).unwrap(), (len, pattern_hash(len)), "{}", exit.stderr);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // What is left in a directory for temporary files is no reason to fail.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn start(arguments: &[&str], spec: &str) -> Process {
    Process::spawn(binary::hayase_with_dpdk().args(arguments).args(["--device", spec]))
}

/// How `hayase serve echo` ends on a device that it cannot open.
fn refusal(spec: &str) -> Exit {
    let exit = start(&["serve", "echo"], spec).wait(LIMIT);
    assert_eq!(exit.status.code(), Some(1), "{spec}: {exit:?}");
    exit
}

#[test]
fn virtio_carries_both_directions_with_offloads_and_without() {
    Link::run(Driver::Virtio, 1, |link| {
        for (ours, theirs) in [("all", "all"), ("none", "none"), ("all", "none")] {
            let _server = link.serve("echo", &format!(",offloads={ours}"));
            link.check_echo(TRANSFER_LEN, &format!(",offloads={theirs}"));
        }
    });
}

#[test]
fn memif_carries_both_directions() {
    Link::run(Driver::Memif, 1, |link| {
        let _server = link.serve("echo", "");
        link.check_echo(TRANSFER_LEN, "");
    });
}

#[test]
fn http_is_served() {
    Link::run(Driver::Virtio, 1, |link| {
        let _server = link.serve("http", "");
        let mut client = link.connect("");
        let mut stdin = client.stdin();
        stdin.write_all(b"GET /bytes/300000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        // The request's end is not to be the connection's.
        let start = client.printed(LIMIT, 1000);
        let head_len = start.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head ends") + 4;
        let response = client.printed(LIMIT, head_len + 300_000);
        assert!(response.starts_with(b"HTTP/1.1 200 OK\r\n") && response[head_len..] == pattern(300_000)[..]);
        drop(stdin);
        client.wait(LIMIT).success();
    });
}

#[test]
fn the_bench_moves_exactly_its_bytes() {
    Link::run(Driver::Virtio, 1, |link| {
        let _server = link.serve("discard", "");
        let figures = link.bench(&["bulk", "--bytes", "200000000", "--connections", "3"]);
        assert_eq!(figures["bytes"], 200_000_000, "{figures}");
    });
}

#[test]
fn two_queues_serve_two_cores() {
    Link::run(Driver::Virtio, 2, |link| {
        let _server = link.serve("echo", "");
        let figures =
            link.bench(&["pingpong", "--cores", "2", "--connections", "8", "--round-trips", "10000"]);
        assert_eq!(figures["connections"], 16, "{figures}");
        assert_eq!(figures["round_trips"], 10_000, "{figures}");
    });
}

/// A process that is killed in the middle of a transfer, and the next one in its place.
#[test]
fn a_client_that_was_killed_can_be_followed_by_another() {
    for driver in [Driver::Virtio, Driver::Memif] {
        Link::run(driver, 1, |link| {
            let _server = link.serve("echo", "");
            for _ in 0..3 {
                let mut client = link.connect("");
                let stdin = client.stdin();
                let sender = thread::spawn(move || write_pattern(stdin, u64::MAX));
                client.printed(LIMIT, 1_000_000);
                drop(client);
                assert!(sender.join().unwrap().is_err(), "its input ended with it");
            }
            link.check_echo(1_000_000, "");
        });
    }
}

#[test]
fn a_server_that_was_killed_can_be_followed_by_another() {
    for driver in [Driver::Virtio, Driver::Memif] {
        Link::run(driver, 1, |link| {
            for _ in 0..2 {
                let server = link.serve("echo", "");
                link.check_echo(1_000_000, "");
                drop(server);
                // A server that had no time to do it leaves its socket.
                fs::remove_file(link.socket()).unwrap();
            }
            let _server = link.serve("echo", "");
            link.check_echo(1_000_000, "");
        });
    }
}

#[test]
fn what_cannot_start_says_why() {
    Link::run(Driver::Virtio, 1, |link| {
        for (spec, parts) in [
            (link.server(",eal=--no-such-option"), ["EAL did not start", "--no-such-option"]),
            (link.server(",eal=-m 1"), ["memory", "eal="]),
            (link.client(""), ["no DPDK driver takes", "net_virtio_user0"]),
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
            link.check_echo(1_000_000, "");
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
        namespace.ip(&["link", "add", OUR_INTERFACE, "type", "veth", "peer", "name", INTERFACE]);
        namespace.ip(&["link", "set", OUR_INTERFACE, "addrgenmode", "none", "up"]);
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
        namespace.ip(&["link", "add", OUR_INTERFACE, "type", "veth", "peer", "name", INTERFACE]);
        namespace.ip(&["link", "set", OUR_INTERFACE, "addrgenmode", "none", "up"]);
        bring_up(namespace, INTERFACE);
        let _server = serve_on(namespace, &format!("net_af_packet0,iface={OUR_INTERFACE}"));
        check_kernel(namespace, OUR_INTERFACE);
    });
}

/// What of a processor an idle server may use: 0.5 %.
const SHARE_MAX: f64 = 0.005;

/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(3);

/// How long nothing happens before that, and before each first answer: longer than it takes until naps are long.
const REST: Duration = Duration::from_millis(700);

/// The longest nap of a driver that wakes nobody.
const NAP_MAX: Duration = Duration::from_millis(16);

/// What the first answer may take besides: a hundred times what it takes from a server that is awake.
const ANSWER_MAX: Duration = Duration::from_millis(8);

/// How often it is measured until it is met: what the machine does besides comes on top at any time, and looks that are too
/// many are there every time.
const TURNS: usize = 4;

/// Holds a server that naps for `nap_max` to these limits.
fn check_rest(driver: &str, server: &Process, nap_max: Duration, mut ask: impl FnMut()) {
    let is_met = (0..TURNS).any(|_| {
        let (share, answer) = rest(driver, server, &mut ask);
        share < SHARE_MAX && answer < nap_max + ANSWER_MAX
    });
    assert!(is_met, "{driver}: too much of the processor, or too late, in each of {TURNS} turns");
}

/// The share of a processor that a server uses to which nobody talks, and the median of how long the first answer after a rest
/// takes.
fn rest(driver: &str, server: &Process, ask: &mut impl FnMut()) -> (f64, Duration) {
    ask();
    thread::sleep(REST);
    let before = server.cpu_time();
    thread::sleep(WATCHED);
    let share = (server.cpu_time() - before).as_secs_f64() / WATCHED.as_secs_f64();
    let mut answer = || {
        thread::sleep(REST);
        let start = Instant::now();
        ask();
        start.elapsed()
    };
    let mut answers: Vec<_> = (0..7).map(|_| answer()).collect();
    answers.sort_unstable();
    println!("{driver}: {:.3} % of a processor, first answers {answers:?}", share * 100.0);
    (share, answers[answers.len() / 2])
}

/// The same between two processes.
fn check_rest_of_link(link: &Link, nap_max: Duration) {
    let server = link.serve("echo", "");
    let mut client = link.connect("");
    let (mut stdin, mut len) = (client.stdin(), 0);
    let ask = || {
        stdin.write_all(b"x").unwrap();
        len += 1;
        client.printed(LIMIT, len);
    };
    check_rest(&format!("{:?}", link.driver), &server, nap_max, ask);
}

/// The same of a server that the kernel talks to.
fn check_rest_beside_the_kernel(namespace: &Namespace, vdev: &str, interface: &str) {
    let server = serve_on(namespace, vdev);
    bring_up(namespace, interface);
    let mut stream = kernel::connect(namespace, (hayase_address(Family::V4), 7).into());
    stream.set_nodelay(true).unwrap();
    let ask = || {
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
    };
    check_rest(vdev, &server, NAP_MAX, ask);
}

/// virtio interrupts, the others wake nobody: their threads nap.
#[test]
fn an_idle_server_rests_and_answers_after_a_nap_at_most() {
    for (driver, nap_max) in [(Driver::Virtio, Duration::ZERO), (Driver::Memif, NAP_MAX)] {
        Link::run(driver, 1, |link| check_rest_of_link(link, nap_max));
    }
    beside_the_kernel(|namespace| {
        check_rest_beside_the_kernel(namespace, &format!("net_tap0,iface={INTERFACE}"), INTERFACE);
    });
    beside_the_kernel(|namespace| {
        if !rights::can_use_xdp() {
            return;
        }
        namespace.ip(&["link", "add", OUR_INTERFACE, "type", "veth", "peer", "name", INTERFACE]);
        namespace.ip(&["link", "set", OUR_INTERFACE, "addrgenmode", "none", "up"]);
        let vdev = format!("net_af_xdp0,iface={OUR_INTERFACE}");
        check_rest_beside_the_kernel(namespace, &vdev, INTERFACE);
    });
}

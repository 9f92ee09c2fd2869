//! Transfers between Hayase and the kernel over bad cables, both as client and as server; and how long they take, beside
//! what they take between two kernels on the same cable.

use std::env;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use hayase_tests::impair::{Cable, Impairment};
use hayase_tests::pattern::{hash_to_end, pattern_hash, write_pattern};
use hayase_tests::shares;
use hayase_tests::site::{
    CONTROL_PORT, INTERFACE, OUR_INTERFACE, PORT, hayase_address, kernel_address, listens_at,
};
use hayase_tests::tap::Tap;
use hayase_tests::{Family, Namespace, Process, binary, kernel, rights, site};

const START_MAX: Duration = Duration::from_secs(20);
/// The end of the cable at which Hayase is, or the other kernel.
const FAR_INTERFACE: &str = "im0";

/// What cables suffer from.
const CABLES: [(&str, Impairment); 8] = [
    ("none", Impairment::NONE),
    ("loss 1 %", Impairment { loss: 100, ..Impairment::NONE }),
    ("loss 5 %", Impairment { loss: 500, ..Impairment::NONE }),
    ("reordering 2 %", Impairment { reordering: 200, ..Impairment::NONE }),
    ("duplication 2 %", Impairment { duplication: 200, ..Impairment::NONE }),
    ("corruption 1 %", Impairment { corruption: 100, ..Impairment::NONE }),
    (
        "delay 50 ms",
        Impairment { delay: Duration::from_millis(50), queue_len: 1_250_000, ..Impairment::NONE },
    ),
    ("silent MTU 1300", Impairment { silent_mtu: 1300, ..Impairment::NONE }),
];

fn cable(name: &str) -> Impairment {
    CABLES.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no cable {name}")).1
}

/// The kernel at one end of a cable, and somebody at the other.
struct Ends {
    near: Namespace,
    far: Namespace,
    _cable: Cable,
}

/// A namespace in which both addresses of an end are at this interface.
fn addressed(namespace: &Namespace, interface: &str, address: fn(Family) -> IpAddr) {
    for (family, prefix) in [(Family::V4, 24), (Family::V6, 64)] {
        namespace.ip(&["address", "add", &format!("{}/{prefix}", address(family)), "dev", interface]);
        if let IpAddr::V6(address) = address(family) {
            kernel::eventually("an address is ours", || kernel::is_local(namespace, address).then_some(()));
        }
    }
}

impl Ends {
    fn new(impairment: Impairment, seed: u64) -> Ends {
        let [near, far] = [0, 1].map(|_| Namespace::new().unwrap_or_else(|error| panic!("{error}")));
        let cable = Cable::new(Tap::new(&near, INTERFACE), Tap::new(&far, FAR_INTERFACE), impairment, seed);
        addressed(&near, INTERFACE, kernel_address);
        // Off by default: a kernel that sends into a black hole would do so for ever.
        for namespace in [&near, &far] {
            namespace.sysctl("ipv4/tcp_mtu_probing", "1");
        }
        Ends { near, far, _cable: cable }
    }

    /// Hayase at the far end, through a bridge.
    fn serve(&self) -> Process {
        self.far.ip(&["link", "add", "br0", "type", "bridge", "mcast_snooping", "0"]);
        self.far.ip(&["link", "set", "br0", "addrgenmode", "none", "up"]);
        self.far.ip(&["tuntap", "add", "dev", OUR_INTERFACE, "mode", "tap"]);
        for interface in [FAR_INTERFACE, OUR_INTERFACE] {
            self.far.ip(&["link", "set", interface, "addrgenmode", "none", "master", "br0", "up"]);
        }
        let (v4, v6) = (hayase_address(Family::V4), hayase_address(Family::V6));
        let device = format!("tap:name={OUR_INTERFACE},addr={v4}/24,addr={v6}/64,dad=0,offloads=none");
        let (port, control) = (PORT.to_string(), CONTROL_PORT.to_string());
        let mut command = binary::hayase();
        command.args(["serve", "echo", "--port", &port, "--ctl", &control, "--device", &device]);
        let server = Process::spawn_in(&self.far, &mut command);
        server.line(START_MAX, |line| listens_at(line).is_some_and(|address| address.port() == PORT));
        server
    }

    /// Another kernel at the far end, which understands the orders that are compared.
    fn serve_by_kernel(&self) {
        addressed(&self.far, FAR_INTERFACE, hayase_address);
        let listener = self.far.enter(|| TcpListener::bind(("::", CONTROL_PORT))).expect("a free port");
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                thread::spawn(move || obey(stream));
            }
        });
    }
}

/// `SENDCLOSE n` and `DISCARD`, as by Hayase's control port.
fn obey(mut stream: TcpStream) -> io::Result<()> {
    kernel::use_cubic(&stream);
    let mut order = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte)? == 1 && byte != [b'\n'] {
        order.push(byte[0]);
    }
    match String::from_utf8_lossy(&order).strip_prefix("SENDCLOSE ") {
        Some(len) => write_pattern(&stream, len.parse().map_err(io::Error::other)?),
        None => io::copy(&mut stream, &mut io::sink()).map(|_| ()),
    }
}

fn order(namespace: &Namespace, to: SocketAddr, order: &str) -> TcpStream {
    let mut stream = kernel::connect(namespace, to);
    kernel::use_cubic(&stream);
    stream.write_all(format!("{order}\n").as_bytes()).unwrap();
    stream
}

/// There and back, with Hayase as the server and as the client.
fn transfers(family: Family, name: &str, seed: u64, len: u64) {
    if !rights::can_use_tap() {
        return;
    }
    let ends = Ends::new(cable(name), seed);
    let _server = ends.serve();
    let far = |port| SocketAddr::from((hayase_address(family), port));
    kernel::echo_of_pattern(&kernel::connect(&ends.near, far(PORT)), len);

    let listener = kernel::listen(&ends.near, family);
    let back = format!("CONNECT {} {}", kernel_address(family), kernel::port(&listener));
    let ordering = order(&ends.near, far(CONTROL_PORT), &back);
    kernel::echo_of_pattern(&kernel::accept(&listener), len);
    drop(ordering);
}

macro_rules! cables {
    ($($test:ident: $name:literal, $len:expr;)*) => {$(
        mod $test {
            use super::*;

            #[test]
            fn v4() {
                transfers(Family::V4, $name, 41, $len);
            }

            #[test]
            fn v6() {
                transfers(Family::V6, $name, 61, $len);
            }
        }
    )*};
}

cables! {
    no_fault: "none", 4 << 20;
    loss_of_one_percent: "loss 1 %", 1 << 20;
    loss_of_five_percent: "loss 5 %", 300_000;
    reordering: "reordering 2 %", 2 << 20;
    duplication: "duplication 2 %", 2 << 20;
    corruption: "corruption 1 %", 1 << 20;
    a_long_way: "delay 50 ms", 2 << 20;
    a_silent_mtu: "silent MTU 1300", 1 << 20;
}

/// How long the far end takes to send, and to receive. The handshake does not count: a SYN that is lost costs a second.
fn times(ends: &Ends, family: Family, len: u64) -> [f64; 2] {
    let far = SocketAddr::from((hayase_address(family), CONTROL_PORT));
    let stream = order(&ends.near, far, &format!("SENDCLOSE {len}"));
    let start = Instant::now();
    let received = hash_to_end(stream).unwrap();
    let sending = start.elapsed().as_secs_f64();
    assert_eq!(received, (len, pattern_hash(len)));

    let stream = order(&ends.near, far, "DISCARD");
    let start = Instant::now();
    write_pattern(&stream, len).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(kernel::read(&stream, &mut [0]).unwrap(), 0);
    [sending, start.elapsed().as_secs_f64()]
}

/// Cables on which times are compared, and the least median of the shares. So slow a line is what everybody waits for, not the
/// processor, which tests share. Where chance decides, more is sent.
const COMPARED: [Compared; 8] = [
    Compared { name: "none", len: 2 << 20, floor: FLOOR },
    Compared { name: "loss 1 %", len: 4 << 20, floor: FLOOR },
    // Single rounds are between 0.46 and 8.2: with what can be afforded, 15 of them, a fall to a half is found two times
    // in three, and to two thirds one time in eight.
    Compared { name: "loss 5 %", len: 1 << 20, floor: 0.7 },
    Compared { name: "reordering 2 %", len: 2 << 20, floor: FLOOR },
    Compared { name: "duplication 2 %", len: 2 << 20, floor: FLOOR },
    Compared { name: "corruption 1 %", len: 4 << 20, floor: FLOOR },
    Compared { name: "delay 50 ms", len: 3 << 20, floor: FLOOR },
    // Most of the time are the timeouts before the sender suspects a black hole. A kernel that sent to Hayase waited for one more
    // in 1 of 16 rounds, which the median does not mind.
    Compared { name: "silent MTU 1300", len: 512 << 10, floor: FLOOR },
];

/// The least share of the goodput of two kernels, of what the far end sends and of what it receives. How often chance fails such
/// a test, or passes one that should fail, is among the tests of [`shares`].
const FLOOR: f64 = 0.9;

/// Cables at a time: with more, their frames would wait for processors.
const LANES: usize = 4;

/// Bits a second of a line on which times are compared.
const COMPARED_RATE: u64 = 20_000_000;

/// Higher than whoever else is on this machine, if we may.
const NICENESS: i32 = -15;

/// A cable, how much is sent over it at a time, and the least share.
struct Compared {
    name: &'static str,
    len: u64,
    floor: f64,
}

/// Seconds that transfers took: of the far end's sending, and of its receiving.
struct Times {
    kernels: [f64; 2],
    ours: [f64; 2],
}

impl Compared {
    /// Times of two kernels, and of Hayase and a kernel, over the same cable with the same seed.
    fn round(&self, round: u64) -> Times {
        let known = cable(self.name);
        let queue_len = known.queue_len * COMPARED_RATE / known.rate * 2;
        let impairment = Impairment { rate: COMPARED_RATE, queue_len, ..known };
        let family = if round.is_multiple_of(2) { Family::V4 } else { Family::V6 };
        let kernels = {
            let ends = Ends::new(impairment, round + 1);
            ends.serve_by_kernel();
            times(&ends, family, self.len)
        };
        let ends = Ends::new(impairment, round + 1);
        let _server = ends.serve();
        Times { kernels, ours: times(&ends, family, self.len) }
    }

    /// So many rounds at least, and two more as long as chance may have decided. A line of the table, and whether both medians
    /// are large enough.
    fn compare(&self, rounds_min: usize) -> (String, bool) {
        let (mut ratios, mut seconds) = ([Vec::new(), Vec::new()], 0.0);
        loop {
            let Times { kernels, ours } = self.round(ratios[0].len() as u64);
            (0..2).for_each(|i| ratios[i].push(kernels[i] / ours[i]));
            seconds += kernels[0];
            let count = ratios[0].len();
            if count % 2 == 0 || count < rounds_min {
                continue;
            }
            let [sends, receives] = [0, 1].map(|i| shares::judge(&ratios[i], self.floor));
            if let (Some(sends), Some(receives)) = (sends, receives) {
                println!("{}: sends {:.2?}, receives {:.2?}", self.name, ratios[0], ratios[1]);
                let rate = self.len as f64 * 8e-6 * count as f64 / seconds;
                let [s, r] = [0, 1].map(|i| shares::median(&ratios[i]));
                return (
                    format!("| {} | {rate:.1} | {s:.2} | {r:.2} | {count} |\n", self.name),
                    sends && receives,
                );
            }
        }
    }
}

/// The lines of these cables' table, and whether all are as they should be.
fn compare_all(cables: &[Compared], rounds_min: usize) -> (String, bool) {
    // This thread's, and so that of all that it starts. Without it the test is only slower.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
    let (mut lines, mut is_good) = (String::new(), true);
    for compared in cables {
        let (line, is_as_it_should_be) = compared.compare(rounds_min);
        io::stderr().write_all(line.as_bytes()).expect("standard error can be written");
        lines += &line;
        is_good &= is_as_it_should_be;
    }
    (lines, is_good)
}

/// Times in turn, of two kernels and of Hayase and a kernel; printed as a table of medians, with the rounds that it took.
/// `HAYASE_ROUNDS` says how many at least, and none is none.
#[test]
fn goodput_is_nearly_the_kernels_or_better() {
    let rounds_min = env::var("HAYASE_ROUNDS")
        .map_or(shares::ROUNDS_MIN, |text| text.parse().expect("a number of rounds"));
    if rounds_min == 0 || !rights::can_use_tap() {
        return;
    }
    let _alone = site::heavy();
    let results: Vec<_> = thread::scope(|scope| {
        let lanes = COMPARED.chunks(COMPARED.len().div_ceil(LANES));
        let lanes: Vec<_> = lanes.map(|lane| scope.spawn(|| compare_all(lane, rounds_min))).collect();
        lanes.into_iter().map(|lane| lane.join().expect("transfers arrive")).collect()
    });
    let lines: String = results.iter().map(|(lines, _)| lines.as_str()).collect();
    assert!(results.iter().all(|(_, is_good)| *is_good), "less than the least share:\n{lines}");
}

//! Two processes with a link of their own between them: `hayase` at both ends.
//!
//! It needs no rights where it is DPDK's, but memory: each process takes some hundred megabytes.

use std::fs;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::pattern::{hash_to_end, pattern, pattern_hash, write_pattern};
use crate::site::{hayase_address, heavy, kernel_address, listens_at};
use crate::{Family, Offloads, Process, binary, rights};

/// How long a process may take for its part.
pub const LIMIT: Duration = Duration::from_secs(60);

/// What is compared of each direction, in bytes.
pub const TRANSFER_LEN: u64 = 20_000_000;

/// A service and its own port.
pub type Service = (&'static str, u16);

/// Sends back what comes in.
pub const ECHO: Service = ("echo", 7);
const DISCARD: Service = ("discard", 9);
const CLOSE: Service = ("close", 10);
const HTTP: Service = ("http", 80);
const NOTHING: Service = ("nothing", 8);

/// What lies between two processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// DPDK's net_vhost at the server, net_virtio_user at the client.
    Virtio,
    /// DPDK's net_memif at both.
    Memif,
    /// The ends of a pipe of netmap's.
    Pipe,
    /// Two ports of netmap's switch.
    Vale,
}

impl Driver {
    /// Whether it is to be had here; says why not if it is not.
    fn is_here(self) -> bool {
        rights::can_use_dpdk() && (matches!(self, Driver::Virtio | Driver::Memif) || rights::can_use_netmap())
    }
}

/// A link, and the directory of its socket, which goes with it.
#[derive(Debug)]
pub struct Link {
    /// What it is made of.
    pub driver: Driver,
    /// The family that the case uses. Both ends have addresses of both.
    family: Family,
    /// What the server's end and the client's are given.
    offloads: [Offloads; 2],
    queues: usize,
    /// No other link of this process has it.
    number: usize,
    directory: PathBuf,
}

impl Link {
    /// Runs a case over IPv4 with every offload, one at a time, unless there is no such link here, which is printed.
    ///
    /// # Panics
    /// If the case does.
    pub fn run(driver: Driver, queues: usize, case: impl FnOnce(&Link)) {
        Link::run_over(driver, Family::V4, [Offloads::All; 2], queues, case);
    }

    /// The same over either family, with what the server's end and the client's are given.
    ///
    /// # Panics
    /// If the case does.
    pub fn run_over(
        driver: Driver,
        family: Family,
        offloads: [Offloads; 2],
        queues: usize,
        case: impl FnOnce(&Link),
    ) {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        if !driver.is_here() {
            return;
        }
        let _alone = heavy();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("hayase-link-{}-{number}", process::id()));
        // One that had our process id before us may have been killed.
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).unwrap();
        case(&Link { driver, family, offloads, queues, number, directory });
    }

    /// The socket by which the ends of DPDK's links meet.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("link")
    }

    /// The server's device, with further options.
    pub fn server(&self, options: &str) -> String {
        let (socket, queues, number) = (self.socket(), self.queues, self.number);
        let socket = socket.display();
        let device = match self.driver {
            Driver::Virtio => format!("dpdk:vdev=net_vhost0,iface={socket},queues={queues},tso=1,client=0"),
            Driver::Memif => format!("dpdk:vdev=net_memif0,role=server,socket={socket},socket-abstract=no"),
            Driver::Pipe => format!("netmap:port=pipe{{{number}"),
            Driver::Vale => format!("netmap:port=vale{number}:1"),
        };
        spec(&device, kernel_address, self.offloads[0], options)
    }

    /// The client's device.
    pub fn client(&self) -> String {
        let (socket, queues, number) = (self.socket(), self.queues, self.number);
        let socket = socket.display();
        let device = match self.driver {
            Driver::Virtio => format!("dpdk:vdev=net_virtio_user0,path={socket},queues={queues}"),
            Driver::Memif => format!("dpdk:vdev=net_memif0,role=client,socket={socket},socket-abstract=no"),
            Driver::Pipe => format!("netmap:port=pipe}}{number}"),
            Driver::Vale => format!("netmap:port=vale{number}:2"),
        };
        spec(&device, hayase_address, self.offloads[1], "")
    }

    /// Where a service of the server's is.
    fn at(&self, (_, port): Service) -> SocketAddr {
        SocketAddr::new(kernel_address(self.family), port)
    }

    /// Starts `hayase serve SERVICES` and waits until all are listened for.
    ///
    /// # Panics
    /// If they are not.
    pub fn serve(&self, services: &[Service]) -> Process {
        let cores = self.queues.to_string();
        let mut arguments = vec!["serve", "--cores", &cores];
        arguments.extend(services.iter().map(|(name, _)| *name));
        let process = start(&arguments, &self.server(""));
        for service in services {
            process.line(LIMIT, |line| listens_at(line) == Some(self.at(*service)));
        }
        process
    }

    /// Starts a client, which sends its input to a service and prints what comes back.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn connect(&self, service: Service) -> Process {
        start(&["connect", &self.at(service).to_string()], &self.client())
    }

    /// What one of the commands prints as JSON.
    fn told(&self, arguments: &[&str]) -> Value {
        let exit = start(&[arguments, &["--json"]].concat(), &self.client()).wait(LIMIT).success();
        serde_json::from_slice(&exit.stdout)
            .unwrap_or_else(|error| panic!("not one JSON value: {error}\n{}", exit.text()))
    }

    /// The figures of `hayase bench`, with a service of the server's.
    ///
    /// # Panics
    /// If it fails, or prints something else.
    pub fn bench(&self, service: Service, arguments: &[&str]) -> Value {
        let server = self.at(service).to_string();
        self.told(&[&["bench"], arguments, &["--connect", &server]].concat())
    }

    /// Sends the pattern to an echo server through a client of its own, and compares what comes back.
    ///
    /// # Panics
    /// If they differ.
    pub fn check_echo(&self, len: u64) {
        let mut client = self.connect(ECHO);
        let stdin = client.stdin();
        let exit = thread::scope(|scope| {
            let sent = scope.spawn(move || write_pattern(stdin, len));
            let exit = client.wait(LIMIT).success();
            sent.join().unwrap().expect("the client reads its input");
            exit
        });
        assert_eq!(hash_to_end(&exit.stdout[..]).unwrap(), (len, pattern_hash(len)), "{}", exit.stderr);
    }

    fn check_http(&self) {
        let mut client = self.connect(HTTP);
        let mut stdin = client.stdin();
        stdin.write_all(b"GET /bytes/300000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        // The request's end is not to be the connection's.
        let start = client.printed(LIMIT, 1000);
        let head_len = start.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head ends") + 4;
        let response = client.printed(LIMIT, head_len + 300_000);
        assert!(response.starts_with(b"HTTP/1.1 200 OK\r\n") && response[head_len..] == pattern(300_000)[..]);
        drop(stdin);
        client.wait(LIMIT).success();
    }

    /// Datagrams of six fragments.
    fn check_ping(&self) {
        let host = kernel_address(self.family).to_string();
        let summary = self.told(&["ping", &host, "--size", "8192", "--count", "3", "--interval", "0.05"]);
        assert_eq!((&summary["sent"], &summary["received"]), (&3.into(), &3.into()), "{summary}");
    }

    fn check_refusal(&self) {
        let exit = self.connect(NOTHING).wait(LIMIT);
        assert!(!exit.status.success() && exit.stderr.contains("refused"), "{exit:?}");
    }

    /// A client of the echo that is killed in the middle of a transfer.
    ///
    /// # Panics
    /// If it does not get that far.
    pub fn kill_client(&self) {
        let mut client = self.connect(ECHO);
        let stdin = client.stdin();
        let sender = thread::spawn(move || write_pattern(stdin, u64::MAX));
        client.printed(LIMIT, 1_000_000);
        drop(client);
        assert!(sender.join().unwrap().is_err(), "its input ended with it");
    }

    /// Everything that two ends say to each other, through a client each.
    ///
    /// # Panics
    /// If anything is not as it should be.
    pub fn check_all(&self) {
        let _server = self.serve(&[ECHO, DISCARD, CLOSE, HTTP]);
        self.check_echo(TRANSFER_LEN);
        self.check_http();
        self.check_ping();
        self.check_refusal();
        let figures = self
            .bench(ECHO, &["pingpong", "--connections", "32", "--round-trips", "3200", "--payload", "5000"]);
        assert_eq!(figures["round_trips"], 3200, "{figures}");
        let figures = self.bench(DISCARD, &["bulk", "--bytes", "100000000", "--connections", "3", "--owned"]);
        assert_eq!(figures["bytes"], 100_000_000, "{figures}");
        let figures =
            self.bench(CLOSE, &["churn", "--connections", "8", "--duration", "0.5", "--rounds", "1"]);
        let closed = figures["rows"][0]["opened"].as_u64();
        assert!(closed.is_some_and(|count| count > 8), "{figures}");
    }
}

/// A device with addresses of both families.
fn spec(device: &str, address: impl Fn(Family) -> IpAddr, offloads: Offloads, options: &str) -> String {
    let (v4, v6) = (address(Family::V4), address(Family::V6));
    // Nobody else is on the link: a test need not wait until that is known.
    format!("{device},addr={v4}/24,addr={v6}/64,dad=0,offloads={offloads}{options}")
}

impl Drop for Link {
    fn drop(&mut self) {
        // What is left in a directory for temporary files is no reason to fail.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Starts `hayase ARGUMENTS --device SPEC`.
///
/// # Panics
/// If it cannot be started.
pub fn start(arguments: &[&str], spec: &str) -> Process {
    Process::spawn(binary::hayase_with_dpdk().args(arguments).args(["--device", spec]))
}

/// Declares tests of what links carry, with every offload and with none over IPv4 and IPv6: `links! { virtio: Virtio; }`.
#[macro_export]
macro_rules! links {
    ($($module:ident: $driver:ident;)*) => {$(
        mod $module {
            $crate::links! { @cases $driver
                v4_offloads_all: V4, All;
                v4_offloads_none: V4, None;
                v6_offloads_all: V6, All;
                v6_offloads_none: V6, None;
            }
        }
    )*};
    (@cases $driver:ident $($case:ident: $family:ident, $offloads:ident;)*) => {$(
        #[test]
        fn $case() {
            let (driver, family) = ($crate::pair::Driver::$driver, $crate::Family::$family);
            let offloads = [$crate::Offloads::$offloads; 2];
            $crate::pair::Link::run_over(driver, family, offloads, 1, $crate::pair::Link::check_all);
        }
    )*};
}

//! The program itself on the operating system's own sockets: no rights are needed, and the peer is another process.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

fn hayase(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hayase"));
    command.args(line.split_whitespace()).env("HAYASE_DEVICE", "kernel").stdin(Stdio::null());
    command
}

fn output(line: &str) -> Output {
    hayase(line).output().expect("the program was built for this test")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a command that must succeed printed.
fn success(line: &str) -> String {
    let output = output(line);
    assert!(output.status.success(), "{line}: {}\n{}", output.status, text(&output.stderr));
    text(&output.stdout)
}

fn json(line: &str) -> Value {
    serde_json::from_str(&success(line)).unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// A server, and where it listens on the loopback interface. It ends with the test.
struct Server {
    child: Child,
    addr: SocketAddr,
    /// Kept open: the server has other addresses to tell of, too.
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    fn start(service: &str) -> Server {
        let mut command = hayase(&format!("serve {service} --port 0"));
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program was built for this test");
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let lines = stdout.by_ref().lines();
        let mut addresses = lines.map_while(|line| line.ok()?.strip_prefix("listening on ")?.parse().ok());
        let addr = addresses.find(|addr: &SocketAddr| addr.ip().is_loopback() && addr.is_ipv4());
        let addr = addr.expect("a line with an address of the loopback interface");
        Server { child, addr, _stdout: stdout }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(PATIENCE).unwrap();
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, which its clients have noticed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn round_trips_and_bytes_between_two_processes_are_exact() {
    let echo = Server::start("echo");
    for options in ["", "--payload 30000 --connections 7"] {
        let figures =
            json(&format!("bench pingpong --connect {} --round-trips 1000 {options} --json", echo.addr));
        assert_eq!((&figures["round_trips"], &figures["device"]), (&1000.into(), &"kernel".into()));
        assert_eq!(figures["offloads"], "none", "none of ours");
    }
    let discard = Server::start("discard");
    for manner in ["", "--owned"] {
        let line =
            format!("bench bulk --connect {} --bytes 3000001 --connections 3 --json {manner}", discard.addr);
        let figures = json(&line);
        assert_eq!(figures["bytes"], 3_000_001, "{figures}");
    }
}

#[test]
fn the_systems_sockets_have_the_chosen_congestion_control() {
    let echo = Server::start("echo");
    let figures =
        json(&format!("bench pingpong --connect {} --round-trips 9 --congestion newreno --json", echo.addr));
    assert_eq!(figures["congestion"], "newreno", "{figures}");
}

#[test]
fn anybodys_clients_are_served() {
    let echo = Server::start("echo --udp");
    let mut stream = echo.connect();
    stream.write_all(b"over the kernel's own TCP").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut echoed = String::new();
    stream.read_to_string(&mut echoed).unwrap();
    assert_eq!(echoed, "over the kernel's own TCP");

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(PATIENCE).unwrap();
    socket.send_to(b"datagram", echo.addr).unwrap();
    let mut buf = [0; 16];
    assert_eq!(socket.recv_from(&mut buf).unwrap(), (8, echo.addr));

    let http = Server::start("http");
    let mut stream = http.connect();
    stream.write_all(b"GET /bytes/100000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).unwrap();
    assert!(response.starts_with(b"HTTP/1.1 200 OK") && response.len() > 100_000);
}

#[test]
fn stdin_and_stdout_are_connected() {
    let echo = Server::start("echo");
    let mut command = hayase(&format!("connect {}", echo.addr));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"there and back").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, b"there and back");
}

/// What came before is no less than all only if nothing came after.
#[test]
fn an_input_that_cannot_be_read_is_not_taken_for_its_end() {
    let echo = Server::start("echo");
    let folder = File::open("/").unwrap();
    let output = hayase(&format!("connect {}", echo.addr)).stdin(folder).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot read standard input"), "{}", text(&output.stderr));
}

#[test]
fn the_loopback_interface_answers_pings() {
    let output = output("ping 127.0.0.1 --count 2 --interval 0.01 --json");
    let stderr = text(&output.stderr);
    if stderr.contains("CAP_NET_RAW") {
        assert!(std::env::var_os("HAYASE_NO_SKIP").is_none(), "{stderr}");
        // Past the harness, which would keep it to itself.
        return writeln!(std::io::stderr(), "skipped: {stderr}").unwrap();
    }
    let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&figures["sent"], &figures["received"]), (&2.into(), &2.into()), "{figures}");
}

#[test]
fn what_it_has_not_is_refused() {
    for (line, code, part) in [
        ("bench pingpong --connect 127.0.0.1:9 --offloads tso", 1, "ethtool -K"),
        ("bench pingpong", 2, "--connect ADDR:PORT"),
        ("serve echo --device kernel:mtu=9000", 2, "takes no options"),
        ("serve echo --port 0 --fastopen", 1, "TCP Fast Open needs a device with a stack"),
        ("connect 127.0.0.1:9 --fastopen", 1, "connect, and write then"),
    ] {
        let output = output(line);
        assert_eq!(output.status.code(), Some(code), "{line}");
        assert!(text(&output.stderr).contains(part), "{line}: {}", text(&output.stderr));
    }
}

#[test]
fn the_doctor_finds_this_device_working_everywhere() {
    let report = json("doctor --json");
    let devices = report["devices"].as_array().unwrap();
    let names: Vec<_> = devices.iter().map(|device| device["device"].as_str().unwrap()).collect();
    assert_eq!(names, ["wire", "kernel", "tap", "xdp", "dpdk", "netmap"]);
    for device in devices {
        let list = |key: &str| device[key].as_array().unwrap().len();
        let works = device["works"].as_bool().unwrap();
        assert_eq!((list("why_not"), list("why_not") == 0), (list("remedies"), works), "{device}");
    }
    assert_eq!((&devices[0]["works"], &devices[1]["works"]), (&true.into(), &true.into()));
    let interfaces = report["machine"]["interfaces"].as_array().unwrap();
    assert!(interfaces.iter().any(|interface| interface["name"] == "lo"), "{report}");
    let words = success("doctor");
    assert!(words.starts_with("machine\n") && words.contains("\n  kernel           yes"), "{words}");
}

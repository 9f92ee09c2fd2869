//! One program on two interfaces at once, as its devices: the kernel is at the other end of both.
//!
//! `hy0` is the link of 10.7.0.0/24 and fd00:7::/64, `hy1` that of 10.8.0.0/24 and fd00:8::/64; the program is host 2 of
//! each, the kernel host 1.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::Command;

use hayase_tests::kernel::{self, PATIENCE};
use hayase_tests::pattern::pattern;
use hayase_tests::process::feed;
use hayase_tests::site::{CONTROL_PORT, OUR_INTERFACE, PORT, listens_at};
use hayase_tests::{Family, Namespace, Process, binary, rights};

const NETS: [u8; 2] = [7, 8];

/// What is behind the router of a link, which is the kernel as well.
const FAR: &str = "192.0.2.1";

/// A namespace, and the devices in the words of the command line.
struct Site {
    namespace: Namespace,
    devices: [String; 2],
}

fn address(net: u8, family: Family, host: u8) -> IpAddr {
    let text = match family {
        Family::V4 => format!("10.{net}.0.{host}"),
        Family::V6 => format!("fd00:{net}::{host}"),
    };
    text.parse().expect("an address")
}

/// The addresses of the program.
fn ours() -> impl Iterator<Item = IpAddr> {
    NETS.into_iter().flat_map(|net| [Family::V4, Family::V6].map(|family| address(net, family, 2)))
}

/// What a device is to have, for a host of its network.
fn link(net: u8, host: u8, option: &str) -> String {
    let [v4, v6] = [Family::V4, Family::V6].map(|family| address(net, family, host));
    format!("{option}={v4}/24,{option}={v6}/64")
}

fn tap(index: usize) -> String {
    let net = NETS[index];
    format!("tap:name=hy{index},{},{},dad=0", link(net, 2, "addr"), link(net, 1, "host"))
}

impl Site {
    /// Two TAP interfaces. `None`, and why, if the rights are missing.
    fn of_taps() -> Option<Site> {
        let namespace = rights::can_use_tap().then(|| Namespace::new().expect("root makes namespaces"))?;
        Some(Site { namespace, devices: [tap(0), tap(1)] })
    }

    /// A TAP interface, and AF_XDP on a veth.
    fn of_tap_and_xdp() -> Option<Site> {
        let site = Site::of_taps().filter(|_| rights::can_use_xdp())?;
        site.namespace.ip(&["link", "add", OUR_INTERFACE, "type", "veth", "peer", "name", "hy1"]);
        site.namespace.ip(&["link", "set", OUR_INTERFACE, "addrgenmode", "none", "up"]);
        site.namespace.ip(&["link", "set", "hy1", "up"]);
        for (family, prefix) in [(Family::V4, 24), (Family::V6, 64)] {
            let addr = format!("{}/{prefix}", address(8, family, 1));
            site.namespace.ip(&["address", "add", &addr, "dev", "hy1"]);
        }
        let xdp = format!("xdp:if={OUR_INTERFACE},{},trust=on,dad=0", link(8, 2, "addr"));
        Some(Site { devices: [tap(0), xdp], ..site })
    }

    /// Starts `hayase ARGUMENTS` with a `--device` for each.
    fn start(&self, arguments: &[&str]) -> Process {
        let devices = self.devices.iter().flat_map(|device| ["--device", device]);
        Process::spawn_in(&self.namespace, binary::hayase().args(arguments).args(devices))
    }

    fn serve(&self, arguments: &[&str]) -> Process {
        let (port, control) = (PORT.to_string(), CONTROL_PORT.to_string());
        let common = ["serve", "echo", "--port", &port, "--ctl", &control, "--udp"];
        let process = self.start(&[&common, arguments].concat());
        for addr in ours() {
            process.line(PATIENCE, |line| listens_at(line) == Some((addr, PORT).into()));
        }
        process
    }

    /// TCP and UDP on each address.
    fn check_echo(&self, port: u16) {
        for addr in ours() {
            kernel::echo_of_pattern(&kernel::connect(&self.namespace, (addr, port).into()), 1_000_000);
            self.check_datagrams((addr, port).into());
        }
    }

    fn check_datagrams(&self, to: SocketAddr) {
        let socket = kernel::udp(&self.namespace, to);
        let mut buffer = vec![0; 65_536];
        for size in [1, 1400, 4000] {
            socket.send(&pattern(size)).expect("the kernel sends");
            let count = kernel::receive(&socket, &mut buffer).unwrap_or_else(|error| panic!("{to}: {error}"));
            assert!(buffer[..count] == pattern(size), "{size} bytes from {to} came back as {count} others");
        }
    }

    /// Has the program connect to an address of the kernel, and returns from where that came in.
    fn comes_from(&self, to: IpAddr) -> IpAddr {
        let family = if to.is_ipv4() { Family::V4 } else { Family::V6 };
        let listener = kernel::listen(&self.namespace, family);
        let mut order: TcpStream =
            kernel::connect(&self.namespace, (address(7, Family::V4, 2), CONTROL_PORT).into());
        writeln!(order, "CONNECT {to} {}", kernel::port(&listener)).expect("the control port takes an order");
        let stream = kernel::accept(&listener);
        let mut answer = String::new();
        order.read_to_string(&mut answer).expect("the control port answers");
        assert_eq!(answer, "OK\n");
        let peer = stream.peer_addr().expect("it has a peer").ip();
        kernel::echo_of_pattern(&stream, 10_000);
        peer
    }

    /// What the program opens leaves by the route to it.
    fn check_connections_out(&self) {
        for net in NETS {
            for family in [Family::V4, Family::V6] {
                assert_eq!(self.comes_from(address(net, family, 1)), address(net, family, 2));
            }
        }
    }
}

#[test]
fn two_taps_serve_as_one_host() {
    let Some(site) = Site::of_taps() else { return };
    for arguments in
        [&[][..], &["--cores", "2"], &["--model", "split"], &["--model", "merge", "--cores", "2"]]
    {
        println!("{arguments:?}");
        let _server = site.serve(arguments);
        site.check_echo(PORT);
        site.check_connections_out();
    }
}

#[test]
fn devices_of_different_kinds_serve_as_one_host() {
    let Some(site) = Site::of_tap_and_xdp() else { return };
    for arguments in [&[][..], &["--cores", "2"]] {
        println!("{arguments:?}");
        let _server = site.serve(arguments);
        site.check_echo(PORT);
        site.check_connections_out();
    }
}

#[test]
fn the_kernels_own_sockets_may_be_one_of_them() {
    let Some(Site { namespace, devices: [first, _] }) = Site::of_taps() else { return };
    let site = Site { namespace, devices: [first, "kernel".to_owned()] };
    let port = PORT.to_string();
    let server = site.start(&["serve", "echo", "--port", &port]);
    for addr in [address(7, Family::V4, 2), [127, 0, 0, 1].into()] {
        server.line(PATIENCE, |line| listens_at(line) == Some((addr, PORT).into()));
        kernel::echo_of_pattern(&kernel::connect(&site.namespace, (addr, PORT).into()), 100_000);
    }
}

#[test]
fn a_gateway_is_the_last_resort() {
    let Some(mut site) = Site::of_taps() else { return };
    let far: IpAddr = FAR.parse().expect("an address");
    site.namespace.ip(&["address", "add", &format!("{far}/32"), "dev", "lo"]);
    site.devices[1] += ",gateway=10.8.0.1";
    let server = site.serve(&[]);
    assert_eq!(site.comes_from(far), address(8, Family::V4, 2), "the only way");
    drop(server);
    site.devices[0] += ",gateway=10.7.0.1";
    let _server = site.serve(&[]);
    assert_eq!(site.comes_from(far), address(7, Family::V4, 2), "the first of two equal ones");
    site.check_connections_out();
}

/// They know nothing of it: `[::]` in the source, and two devices in the environment.
#[test]
fn ordinary_programs_serve_on_both() {
    let Some(site) = Site::of_taps() else { return };
    for (name, is_udp) in [("echo", false), ("udp_echo", true)] {
        let mut command = Command::new(binary::example(name));
        let program =
            Process::spawn_in(&site.namespace, command.env("HAYASE_DEVICE", site.devices.join(";")));
        program.line(PATIENCE, |line| listens_at(line).is_some_and(|address| address.port() == 7));
        for addr in ours() {
            if is_udp {
                site.check_datagrams((addr, 7).into());
            } else {
                kernel::echo_of_pattern(&kernel::connect(&site.namespace, (addr, 7).into()), 100_000);
            }
        }
    }
}

#[test]
fn curl_and_socat_find_it_on_each() {
    let Some(site) = Site::of_taps().filter(|_| ["curl", "socat"].into_iter().all(rights::has_program))
    else {
        return;
    };
    let web = site.start(&["serve", "http", "--port", "8080"]);
    for addr in ours().map(|addr| SocketAddr::new(addr, 8080)) {
        web.line(PATIENCE, |line| listens_at(line) == Some(addr));
        let options = ["--silent", "--show-error", "--fail", "--noproxy", "*", "--globoff"];
        let mut command = Command::new("curl");
        command.args(options).arg(format!("http://{addr}/bytes/1000"));
        let exit = Process::spawn_in(&site.namespace, &mut command).wait(PATIENCE).success();
        assert!(exit.stdout == pattern(1000), "{addr}");
    }
    drop(web);
    let _server = site.serve(&[]);
    for addr in ours().map(|addr| SocketAddr::new(addr, PORT)) {
        let peer = format!("{}:{addr}", if addr.is_ipv4() { "TCP4" } else { "TCP6" });
        let mut command = Command::new("socat");
        let mut socat = Process::spawn_in(&site.namespace, command.args(["-t10", "STDIO", &peer]));
        feed(socat.stdin(), &pattern(100_000));
        assert!(socat.wait(PATIENCE).success().stdout == pattern(100_000), "{addr}");
    }
}

#[test]
fn connect_and_ping_go_out_by_route() {
    let Some(site) = Site::of_taps() else { return };
    for net in NETS {
        for family in [Family::V4, Family::V6] {
            let to = address(net, family, 1);
            let said = site.start(&["ping", &to.to_string(), "--count", "1"]).wait(PATIENCE).success().text();
            assert!(said.contains(&format!("bytes from {to}")), "{said}");
            let listener = kernel::listen(&site.namespace, family);
            let server = SocketAddr::new(to, kernel::port(&listener)).to_string();
            let mut client = site.start(&["connect", &server]);
            let mut stream = kernel::accept(&listener);
            assert_eq!(stream.peer_addr().unwrap().ip(), address(net, family, 2));
            stream.write_all(b"welcome\n").unwrap();
            drop((stream, client.stdin()));
            assert_eq!(client.wait(PATIENCE).success().text(), "welcome\n");
        }
    }
}

#[test]
fn what_cannot_be_together_is_refused() {
    let Some(mut site) = Site::of_taps() else { return };
    for (devices, part) in [
        ([tap(0), "wire".to_owned()], "the in-memory wire cannot be one device of several"),
        ([tap(0), tap(0).replace("hy0", "hy1")], "10.7.0.2 is the address of two"),
    ] {
        site.devices = devices;
        let exit = site.start(&["serve", "echo"]).wait(PATIENCE);
        assert!(!exit.status.success() && exit.stderr.contains(part), "{}", exit.stderr);
    }
    let devices = format!("{};{}", tap(0), tap(1));
    let mut bench = binary::hayase();
    bench.args(["bench", "pingpong", "--connect", "10.7.0.1:7"]).env("HAYASE_DEVICE", devices);
    let exit = Process::spawn_in(&site.namespace, &mut bench).wait(PATIENCE);
    assert!(!exit.status.success() && exit.stderr.contains("several devices"), "{}", exit.stderr);
}

//! The stack on a link with another host: whose addresses are free, what routers advertise, VLANs.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use hayase_tests::site::{INTERFACE, PORT, listens_at};
use hayase_tests::{Namespace, Process, binary, kernel, rights};
use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, netdevice, sockopt};

/// How long the program may take to say that it listens.
const START_MAX: Duration = Duration::from_secs(20);

/// A namespace; `None` where nobody may make one.
fn namespace() -> Option<Namespace> {
    rights::can_use_tap().then(|| Namespace::new().unwrap_or_else(|error| panic!("{error}")))
}

/// Starts an echo server on a TAP interface with these options.
fn serve(namespace: &Namespace, options: &str) -> Process {
    let device = format!("tap:name={INTERFACE},{options}");
    let mut command = binary::hayase();
    command.args(["serve", "echo", "--port", &PORT.to_string(), "--device", &device]);
    Process::spawn_in(namespace, &mut command)
}

/// Waits until a server listens at an address that `accepts` likes.
fn address(server: &Process, accepts: impl Fn(IpAddr) -> bool) -> SocketAddr {
    let line = server.line(START_MAX, |line| listens_at(line).is_some_and(|address| accepts(address.ip())));
    listens_at(&line).expect("the line was accepted")
}

fn check_echo(namespace: &Namespace, server: SocketAddr) {
    kernel::echo_of_pattern(&kernel::connect(namespace, server), 300_000);
}

#[test]
fn an_ipv6_address_is_ready_when_the_program_is() {
    let Some(namespace) = namespace() else { return };
    let started_at = Instant::now();
    let server = serve(&namespace, "addr=fd00:7::2/64,host=fd00:7::1/64");
    let address = address(&server, |ip| ip.is_ipv6());
    assert!(started_at.elapsed() >= Duration::from_secs(1), "it asked, and waited for an answer");
    check_echo(&namespace, address);
}

/// Root has made the interface for a user, with all that it needs: the program, which may change nothing, has nothing to change.
#[test]
fn an_interface_that_root_has_prepared_needs_no_right() {
    let Some(namespace) = namespace() else { return };
    if !rights::has_program("setpriv") {
        return;
    }
    namespace.ip(&["tuntap", "add", "dev", INTERFACE, "mode", "tap", "user", "root"]);
    for address in ["10.7.0.1/24", "fd00:7::1/64"] {
        namespace.ip(&["address", "add", address, "dev", INTERFACE, "nodad"]);
    }
    namespace.ip(&["link", "set", INTERFACE, "up"]);
    let device = format!(
        "tap:name={INTERFACE},addr=10.7.0.2/24,addr=fd00:7::2/64,host=10.7.0.1/24,host=fd00:7::1/64,dad=0"
    );
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-net_admin", "--inh-caps=-net_admin"]).arg(binary::hayase().get_program());
    command.args(["serve", "echo", "--port", &PORT.to_string(), "--device", &device]);
    let server = Process::spawn_in(&namespace, &mut command);
    check_echo(&namespace, address(&server, |ip| ip.is_ipv4()));

    let mut elsewhere = Command::new("setpriv");
    elsewhere
        .args(["--bounding-set=-net_admin", "--inh-caps=-net_admin"])
        .arg(binary::hayase().get_program());
    drop(server);
    let device = format!("tap:name={INTERFACE},addr=10.8.0.2/24,host=10.8.0.1/24");
    elsewhere.args(["serve", "echo", "--device", &device]);
    let said = Process::spawn_in(&namespace, &mut elsewhere).wait(START_MAX).stderr;
    assert!(said.contains(&format!("ip address add 10.8.0.1/24 dev {INTERFACE}")), "{said}");
}

/// What `serve` says of the kernel's side on stderr, on an interface with these options.
fn said_of_the_kernels_side(namespace: &Namespace, options: &str) -> Vec<String> {
    let server = serve(namespace, options);
    address(&server, |ip| ip.is_ipv4());
    server.interrupt();
    let said = server.wait(START_MAX).stderr;
    said.lines().filter(|line| line.contains("kernel's side")).map(str::to_owned).collect()
}

#[test]
fn serve_says_what_the_kernels_side_is_called() {
    let Some(namespace) = namespace() else { return };
    let said = said_of_the_kernels_side(&namespace, "addr=10.7.0.2/24,addr=fd00:7::2/64,dad=0");
    let named = format!("hayase: the kernel's side of {INTERFACE} is 10.7.0.1/24 and fd00:7::1/64");
    assert_eq!(said, [named]);
    // In a VLAN it is an interface of its own, which we know nothing of.
    assert_eq!(said_of_the_kernels_side(&namespace, "addr=10.8.0.2/24,vlan=7"), [""; 0]);
}

#[test]
fn an_address_that_the_kernel_has_is_not_used() {
    let Some(namespace) = namespace() else { return };
    // `host=` with one of our addresses is refused at once, so the interface has it before.
    namespace.ip(&["tuntap", "add", "dev", INTERFACE, "mode", "tap", "vnet_hdr"]);
    namespace.ip(&["address", "add", "fd00:7::9/64", "dev", INTERFACE, "nodad"]);
    // The kernel's side has just come up, and is not all there when it is asked for the first time.
    let addresses = "addr=10.7.0.2/24,addr=fd00:7::9/64,addr=fd00:7::2/64,dad=3";
    let server = serve(&namespace, &format!("{addresses},host=10.7.0.1/24"));
    let free: IpAddr = "fd00:7::2".parse().unwrap();
    check_echo(&namespace, address(&server, |ip| ip == free));
    server.interrupt();
    let said = server.wait(START_MAX).text();
    assert!(said.contains("fd00:7::2") && !said.contains("fd00:7::9"), "{said}");
}

/// A router advertisement to all nodes, from the kernel's link-local address, for a network in which hosts make addresses.
fn advertise(namespace: &Namespace, network: Ipv6Addr) -> rustix::io::Result<()> {
    let mut message = vec![134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
    message.extend([3, 4, 64, 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 0x0e, 0x10, 0, 0, 0, 0]);
    message.extend(network.octets());
    namespace.enter(|| {
        let socket = rustix::net::socket(AddressFamily::INET6, SocketType::RAW, Some(ipproto::ICMPV6))?;
        sockopt::set_ipv6_multicast_hops(&socket, 255)?;
        let index = netdevice::name_to_index(&socket, INTERFACE)?;
        let all_nodes = SocketAddrV6::new(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), 0, 0, index);
        rustix::net::sendto(&socket, &message, SendFlags::empty(), &all_nodes).map(|_| ())
    })
}

#[test]
fn an_address_is_made_of_what_a_router_advertises() {
    let Some(namespace) = namespace() else { return };
    let server = serve(&namespace, "autoconf=on");
    let network: Ipv6Addr = "2001:db8:7::".parse().unwrap();
    // Until the interface is there and up, there is nobody to tell.
    kernel::eventually("a router advertisement is sent", || advertise(&namespace, network).ok());
    let is_made = |ip: IpAddr| matches!(ip, IpAddr::V6(ip) if ip.to_bits() >> 64 == network.to_bits() >> 64);
    let repeated = thread::scope(|scope| {
        let waiting = scope.spawn(|| address(&server, is_made));
        while !waiting.is_finished() {
            thread::sleep(Duration::from_millis(500));
            advertise(&namespace, network).unwrap();
        }
        waiting.join().unwrap()
    });
    namespace.ip(&["address", "add", "2001:db8:7::1/64", "dev", INTERFACE]);
    kernel::eventually("the address is the kernel's", || {
        kernel::is_local(&namespace, "2001:db8:7::1".parse().unwrap()).then_some(())
    });
    check_echo(&namespace, repeated);
}

/// Two interfaces, hy0 and hy1, at a bridge of the kernel's: what it forwards keeps its tag.
fn bridge(namespace: &Namespace) {
    namespace.ip(&["link", "add", "br0", "type", "bridge"]);
    namespace.ip(&["link", "set", "br0", "up"]);
    for interface in [INTERFACE, "hy1"] {
        namespace.ip(&["tuntap", "add", "dev", interface, "mode", "tap"]);
        namespace.ip(&["link", "set", interface, "master", "br0", "up"]);
    }
}

/// Starts `hayase ARGUMENTS` at the bridge's other interface.
fn at_hy1(namespace: &Namespace, arguments: &[&str], options: &str) -> Process {
    let device = format!("tap:name=hy1,addr=10.7.0.1/24,addr=fd00:7::1/64,dad=0,{options}");
    Process::spawn_in(namespace, binary::hayase().args(arguments).args(["--device", &device]))
}

/// Two of our hosts in a VLAN, on links where its tag is seen.
fn in_a_vlan(offloads: &str) {
    let Some(namespace) = namespace() else { return };
    bridge(&namespace);
    let addresses = "addr=10.7.0.2/24,addr=fd00:7::2/64,dad=0";
    let server = serve(&namespace, &format!("{addresses},vlan=5,offloads={offloads}"));
    for address in [address(&server, |ip| ip.is_ipv4()), address(&server, |ip| ip.is_ipv6())] {
        let address = address.to_string();
        let bench = [
            "bench",
            "pingpong",
            "--round-trips",
            "100",
            "--payload",
            "50000",
            "--json",
            "--connect",
            &address,
        ];
        let exit =
            at_hy1(&namespace, &bench, &format!("vlan=5,offloads={offloads}")).wait(START_MAX).success();
        let figures: serde_json::Value = serde_json::from_slice(&exit.stdout).unwrap();
        assert_eq!(figures["round_trips"], 100, "{figures}");
    }
    let exit = at_hy1(&namespace, &["connect", &format!("10.7.0.2:{PORT}")], "vlan=6").wait(START_MAX);
    assert!(!exit.status.success() && exit.stderr.contains("unreachable"), "{exit:?}");
}

/// A TAP device has one queue: the other core sends through it, and its frames need the tag as well.
#[test]
fn every_core_is_in_the_vlan() {
    let Some(namespace) = namespace() else { return };
    bridge(&namespace);
    let device = format!("tap:name={INTERFACE},addr=10.7.0.2/24,addr=fd00:7::2/64,dad=0,vlan=5");
    let port = PORT.to_string();
    let serve = ["serve", "echo", "--port", &port, "--cores", "2", "--device", &device];
    let server = Process::spawn_in(&namespace, binary::hayase().args(serve));
    for address in [address(&server, |ip| ip.is_ipv4()), address(&server, |ip| ip.is_ipv6())] {
        let address = address.to_string();
        // As many as leave no core without one.
        let bench =
            ["bench", "pingpong", "--connections", "32", "--round-trips", "320", "--connect", &address];
        at_hy1(&namespace, &bench, "vlan=5").wait(START_MAX).success();
    }
}

#[test]
fn a_vlan_with_every_offload() {
    in_a_vlan("all");
}

#[test]
fn a_vlan_with_no_offload() {
    in_a_vlan("none");
}

//! What only AF_XDP has: queues, an interface that is shared with the kernel, an interface of the system's.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use hayase_tests::pattern::pattern;
use hayase_tests::site::{INTERFACE, OUR_INTERFACE, PORT, listens_at};
use hayase_tests::{Device, Family, Namespace, Offloads, Process, Site, binary, kernel, rights};

const LIMIT: Duration = Duration::from_secs(20);

fn on_xdp(case: impl FnOnce(&Site)) {
    Site::run(Device::Xdp, Family::V4, Offloads::All, case);
}

/// Starts `hayase serve echo` on a device of these words.
fn serve(namespace: &Namespace, spec: &str) -> Process {
    let port = PORT.to_string();
    let mut command = binary::hayase();
    command.args(["serve", "echo", "--port", &port, "--device", spec]);
    let process = Process::spawn_in(namespace, &mut command);
    process.line(LIMIT, |line| listens_at(line).is_some());
    process
}

/// What `hayase serve echo` says of a device that it cannot open.
fn refusal(namespace: &Namespace, spec: &str) -> String {
    let mut command = binary::hayase();
    command.args(["serve", "echo", "--device", spec]);
    let exit = Process::spawn_in(namespace, &mut command).wait(LIMIT);
    assert!(!exit.status.success());
    exit.stderr
}

/// Connections whose flows lie on both queues, served by one core.
#[test]
fn one_core_serves_all_queues() {
    on_xdp(|site| {
        let _server = site.serve("echo", &[]);
        let streams: Vec<_> = (0..32).map(|_| site.connect()).collect();
        streams.iter().for_each(|stream| kernel::echo_of_pattern(stream, 20_000));
    });
}

#[test]
fn a_transfer_survives_an_interface_that_goes_down() {
    on_xdp(|site| {
        let _server = site.serve("echo", &[]);
        let stream = site.connect();
        thread::scope(|scope| {
            let transfer = scope.spawn(|| kernel::echo_of_pattern(&stream, 20_000_000));
            for _ in 0..2 {
                thread::sleep(Duration::from_millis(20));
                site.namespace.ip(&["link", "set", OUR_INTERFACE, "down"]);
                thread::sleep(Duration::from_millis(300));
                site.namespace.ip(&["link", "set", OUR_INTERFACE, "up"]);
            }
            transfer.join().expect("every byte came back");
        });
        site.check_echo();
    });
}

#[test]
fn every_mode_serves() {
    on_xdp(|site| {
        site.system("ethtool", &["-K", "hy0", "tso", "off"]);
        for mode in ["copy", "skb"] {
            let _server = serve(&site.namespace, &format!("{},mode={mode}", site.device()));
            site.check_echo();
        }
        let said = refusal(&site.namespace, &format!("{},mode=zerocopy", site.device()));
        assert!(said.contains("cannot do mode=zerocopy") && said.contains("leave `mode` out"), "{said}");
    });
}

/// Without trust, a sender that fills in its checksums is understood, and one that does not is not.
#[test]
fn without_trust_the_sender_must_fill_in_checksums() {
    on_xdp(|site| {
        site.system("ethtool", &["-K", "hy0", "tx", "off"]);
        let _server = serve(&site.namespace, &site.device().replace(",trust=on", ""));
        site.check_echo();
    });
}

fn make_jumbo(site: &Site) {
    for interface in [OUR_INTERFACE, "hy0"] {
        site.namespace.ip(&["link", "set", interface, "mtu", "9000"]);
    }
}

/// A chunk holds 3,904 bytes of a packet: larger ones go in several, or in fragments of IP where there is no
/// scatter-gather.
#[test]
fn datagrams_larger_than_a_chunk_come_back_whole() {
    for (family, offloads) in
        [(Family::V4, Offloads::All), (Family::V6, Offloads::All), (Family::V4, Offloads::None)]
    {
        Site::run(Device::Xdp, family, offloads, |site| {
            make_jumbo(site);
            let _server = site.serve("echo", &["--udp"]);
            let socket = kernel::udp(&site.namespace, site.hayase(PORT));
            let mut buffer = vec![0; 65_536];
            for size in [3896, 3897, 4000, 8000, 8972, 20_000, 60_000] {
                let datagram = pattern(size);
                socket.send(&datagram).unwrap();
                let count = kernel::receive(&socket, &mut buffer);
                let count = count.unwrap_or_else(|error| panic!("size {size}: {error}"));
                assert!(buffer[..count] == datagram, "size {size} came back as {count} other bytes");
            }
            let mut ping = Command::new("ping");
            ping.args(["-c", "1", "-W", "5", "-s", "8000", &site.hayase(PORT).ip().to_string()]);
            Process::spawn_in(&site.namespace, &mut ping).wait(LIMIT).success();
        });
    }
}

#[test]
fn jumbo_frames_travel_in_fragments() {
    on_xdp(|site| {
        make_jumbo(site);
        let _server = site.serve("echo", &[]);
        kernel::echo_of_pattern(&site.connect(), 10_000_000);
    });
}

/// What the kernel of a namespace knows of a neighbour.
fn neighbour(namespace: &Namespace, address: IpAddr) -> String {
    let mut show = Command::new("ip");
    show.args(["neighbour", "show", "to", &address.to_string(), "dev", INTERFACE]);
    Process::spawn_in(namespace, &mut show).wait(LIMIT).success().text()
}

/// Whoever asks for our address does so on a queue of its own choice, which may be one that was left to the kernel.
#[test]
fn a_host_with_a_part_of_the_queues_is_found() {
    on_xdp(|site| {
        let address = site.hayase(PORT).ip();
        for queue in 0..2 {
            let spec = format!("xdp:if={OUR_INTERFACE},addr={address}/24,trust=on,queues={queue}-{queue}");
            let _server = serve(&site.namespace, &spec);
            // It announces itself twice (RFC 5227 §2.3), which would do for an answer.
            thread::sleep(Duration::from_secs(3));
            site.namespace.ip(&["neighbour", "flush", "all"]);
            let socket = site.namespace.enter(|| UdpSocket::bind("0.0.0.0:0")).expect("a socket");
            let start = Instant::now();
            while !neighbour(&site.namespace, address).contains("lladdr") {
                assert!(start.elapsed() < LIMIT, "queue {queue}: nobody answered for {address}");
                // Once the kernel has given up, the next datagram makes it ask again.
                let _ = socket.send_to(b"?", (address, 9));
                thread::sleep(Duration::from_millis(50));
            }
        }
    });
}

/// Two namespaces with a veth between them: the interface is the kernel's as much as ours, with one address for both.
#[test]
fn kernel_and_stack_share_an_interface_and_its_address() {
    if !rights::can_use_tap() || !rights::can_use_xdp() {
        return;
    }
    let (ours, theirs) = (namespace(), namespace());
    ours.ip(&["link", "add", OUR_INTERFACE, "type", "veth", "peer", "name", "hy0", "netns", theirs.name()]);
    let (shared, peer): (IpAddr, IpAddr) =
        (Ipv4Addr::new(10, 7, 0, 2).into(), Ipv4Addr::new(10, 7, 0, 1).into());
    for (namespace, interface, address) in [(&ours, OUR_INTERFACE, shared), (&theirs, "hy0", peer)] {
        namespace.ip(&["address", "add", &format!("{address}/24"), "dev", interface]);
        namespace.ip(&["link", "set", interface, "up"]);
    }
    let ssh = listen(&ours, (shared, 22).into());
    let far = listen(&theirs, (peer, 80).into());
    let keep = "keep=tcp:22,keep=tcp:32768-60999";
    let spec = format!("xdp:if={OUR_INTERFACE},addr={shared}/24,trust=on,{keep}");
    let _server = serve(&ours, &spec);

    thread::scope(|scope| {
        scope.spawn(|| kernel::serve(&ssh, 2, kernel::echo_to_end));
        scope.spawn(|| kernel::serve(&far, 1, kernel::echo_to_end));
        for _ in 0..2 {
            // Neither side knows its neighbour.
            ours.ip(&["neighbour", "flush", "all"]);
            theirs.ip(&["neighbour", "flush", "all"]);
            kernel::echo_of_pattern(&kernel::connect(&theirs, (shared, 22).into()), 100_000);
            kernel::echo_of_pattern(&kernel::connect(&theirs, (shared, PORT).into()), 100_000);
        }
        kernel::echo_of_pattern(&kernel::connect(&ours, (peer, 80).into()), 100_000);
    });
    let mut ping = Command::new("ping");
    ping.args(["-c", "1", "-W", "5", &shared.to_string()]);
    Process::spawn_in(&theirs, &mut ping).wait(LIMIT).success();
}

fn namespace() -> Namespace {
    Namespace::new().unwrap_or_else(|error| panic!("{error}"))
}

fn listen(namespace: &Namespace, address: SocketAddr) -> TcpListener {
    namespace.enter(|| TcpListener::bind(address)).unwrap_or_else(|error| panic!("{address}: {error}"))
}

#[test]
fn what_cannot_be_says_what_to_do() {
    on_xdp(|site| {
        let spec = |words: &str| format!("xdp:if={OUR_INTERFACE},addr=10.7.0.2/24,{words}");
        for (words, parts) in [
            ("queues=0-7", ["no receive queue 7", "ethtool -L hx0"]),
            ("mtu=9000", ["takes packets of 1500 bytes", "ip link set dev hx0 mtu 9000"]),
            ("keep=ssh", ["keep=ssh", "tcp:PORT"]),
        ] {
            let said = refusal(&site.namespace, &spec(words));
            assert!(parts.iter().all(|part| said.contains(part)), "{words}: {said}");
        }
        site.namespace.ip(&["link", "add", "hb0", "type", "bridge"]);
        site.namespace.ip(&["tuntap", "add", "dev", "ht0", "mode", "tap"]);
        site.namespace.ip(&["link", "set", "ht0", "master", "hb0"]);
        site.namespace.ip(&["link", "set", "hb0", "up"]);
        // It looks into `/sys`, which is mounted anew for the namespace.
        let mut command = Command::new("ip");
        command.args(["netns", "exec", site.namespace.name()]).arg(binary::hayase().get_program());
        command.args(["serve", "echo", "--device", "xdp:if=hb0,addr=10.7.0.2/24,mode=copy"]);
        let said = Process::spawn(&mut command).wait(LIMIT).stderr;
        assert!(said.contains("has the packets of ht0") && said.contains("mode=skb"), "{said}");
        let said = refusal(&site.namespace, "xdp:if=hx9,addr=10.7.0.2/24");
        assert!(said.contains("no interface hx9"), "{said}");
        let _server = site.serve("echo", &[]);
        let said = refusal(&site.namespace, &spec("trust=on"));
        assert!(said.contains("queue 0 of interface hx0 is busy"), "{said}");
    });
}

//! Two cores behind one address: wherever a frame comes in, the core answers that has the connection.
//!
//! TAP has one queue, so the core without it is steered to in software. AF_XDP has both queues of a veth pair, which
//! spreads flows by a hash that we do not know: half of the frames come in at the wrong core. On the kernel's sockets
//! each core has a listener of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::thread;

use hayase_tests::pattern::{expect_pattern, pattern};
use hayase_tests::site::{CONTROL_PORT, OUR_INTERFACE, PORT, hayase_address};
use hayase_tests::{Device, Process, Site, kernel, matrix, rights};

const CONNECTIONS: usize = 200;

/// What each core must have of them: a fair coin falls so rarely on one side that no test will see it.
const SHARE_MIN: usize = CONNECTIONS / 8;

/// Both sides of what fits into a frame, and several fragments.
const DATAGRAMS: [usize; 4] = [1, 1400, 1473, 9000];

fn serve(site: &Site, service: &str) -> Process {
    kernel::raise_file_limit();
    site.serve(service, &["--cores", "2", "--udp", "--ctl", &CONTROL_PORT.to_string()])
}

/// Connections that go on as echo, and which core has each.
fn connect_all(site: &Site) -> (Vec<TcpStream>, Vec<usize>) {
    let mut streams: Vec<_> = (0..CONNECTIONS).map(|_| site.order("CORE")).collect();
    let cores = streams.iter_mut().map(core_of).collect();
    (streams, cores)
}

/// The answer, and not one byte of what follows.
fn core_of(stream: &mut TcpStream) -> usize {
    let mut line = [0; 2];
    stream.read_exact(&mut line).expect("the control port answers");
    assert_eq!(line[1], b'\n', "{line:?}");
    usize::from(line[0] - b'0')
}

/// How many of these both cores have.
fn shares(cores: &[usize]) -> [usize; 2] {
    [0, 1].map(|core| cores.iter().filter(|&&of| of == core).count())
}

/// Frames that have come in at each queue of our interface.
fn queue_counts(site: &Site) -> [u64; 2] {
    let text = site.system("ethtool", &["-S", OUR_INTERFACE]);
    [0, 1].map(|queue| {
        let name = format!("rx_queue_{queue}_xdp_packets:");
        let count = text.lines().find_map(|line| line.trim().strip_prefix(&name)?.trim().parse().ok());
        count.unwrap_or_else(|| panic!("no {name}\n{text}"))
    })
}

/// Does `work`, by whose end something must have come in at each queue, if there are several.
fn at_both_queues(site: &Site, work: impl FnOnce()) {
    if site.device != Device::Xdp || !rights::has_program("ethtool") {
        return work();
    }
    let before = queue_counts(site);
    work();
    let after = queue_counts(site);
    assert!((0..2).all(|queue| after[queue] > before[queue]), "{before:?}, then {after:?}");
}

/// What connection `index` says: no two say the same.
fn message(index: usize) -> Vec<u8> {
    pattern(index + 3000).split_off(index)
}

fn check_datagrams(site: &Site, socket: &UdpSocket) {
    let mut buffer = vec![0; 65_536];
    for datagram in DATAGRAMS.into_iter().filter(|len| site.carries(*len)).map(pattern) {
        socket.send(&datagram).unwrap();
        let count = kernel::receive(socket, &mut buffer)
            .unwrap_or_else(|error| panic!("{} bytes from {socket:?}: {error}", datagram.len()));
        assert!(buffer[..count] == datagram, "{} bytes came back as {count} others", datagram.len());
    }
}

/// One request on a connection of its own; the body must be the pattern.
fn get(site: &Site, len: u64) {
    let mut stream = site.connect();
    write!(stream, "GET /bytes/{len} HTTP/1.1\r\nHost: hayase\r\nConnection: close\r\n\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 200 "), "{line}");
    while line.trim_end() != "" {
        line.clear();
        reader.read_line(&mut line).unwrap();
    }
    expect_pattern(&mut reader, len).unwrap();
    assert_eq!(reader.read(&mut [0]).unwrap(), 0, "more than the body");
}

matrix! {
    fn connections_land_on_both_cores_and_get_their_own_echo(site) {
        let _server = serve(site, "echo");
        let (mut streams, cores) = connect_all(site);
        assert!(shares(&cores).into_iter().all(|share| share >= SHARE_MIN), "{:?}", shares(&cores));
        for (index, stream) in streams.iter_mut().enumerate() {
            stream.write_all(&message(index)).unwrap();
        }
        for (index, stream) in streams.iter_mut().enumerate() {
            let mut echoed = vec![0; message(index).len()];
            stream.read_exact(&mut echoed).unwrap();
            assert!(echoed == message(index), "connection {index} on core {}", cores[index]);
        }
    }

    fn both_cores_echo_in_bulk_at_once(site) {
        let _server = serve(site, "echo");
        let (streams, cores) = connect_all(site);
        let of = |core| streams.iter().zip(&cores).filter(move |(_, of)| **of == core).map(|(stream, _)| stream);
        thread::scope(|scope| {
            for stream in of(0).take(4).chain(of(1).take(4)) {
                scope.spawn(|| kernel::echo_of_pattern(stream, 3_000_000));
            }
        });
    }

    /// The answers to a connection that a core opens come home to it.
    fn both_cores_connect(site) {
        let _server = serve(site, "echo");
        let listener = kernel::listen(&site.namespace, site.family);
        let to = site.kernel(kernel::port(&listener));
        let order = format!("CONNECT {} {}", to.ip(), to.port());
        let connect = |index: usize| {
            let mut control = site.order(&order);
            let mut stream = kernel::accept(&listener);
            let mut answer = String::new();
            control.read_to_string(&mut answer).unwrap();
            assert_eq!(answer, "OK\n", "connection {index}");
            stream.write_all(&message(index)).unwrap();
            stream
        };
        let streams: Vec<_> = (0..CONNECTIONS).map(connect).collect();
        for (index, mut stream) in streams.into_iter().enumerate() {
            stream.shutdown(Shutdown::Write).unwrap();
            let mut echoed = Vec::new();
            stream.read_to_end(&mut echoed).unwrap();
            assert!(echoed == message(index), "connection {index}");
        }
    }

    fn both_cores_serve_http(site) {
        let _server = serve(site, "http");
        let (_streams, cores) = connect_all(site);
        assert!(shares(&cores).into_iter().all(|share| share >= SHARE_MIN), "{:?}", shares(&cores));
        at_both_queues(site, || (0..100).for_each(|index| get(site, 1000 * index)));
    }

    /// Fragments that follow the first do not say for which port they are.
    fn datagrams_are_answered_whichever_queue_they_hit(site) {
        let _server = serve(site, "echo");
        at_both_queues(site, || {
            let sockets: Vec<_> = (0..50).map(|_| kernel::udp(&site.namespace, site.hayase(PORT))).collect();
            sockets.iter().for_each(|socket| check_datagrams(site, socket));
        });
    }

    fn pings_are_answered_whichever_queue_they_hit(site) {
        if !rights::has_program("ping") {
            return;
        }
        let _server = serve(site, "echo");
        let address = hayase_address(site.family).to_string();
        // Echo requests have no ports: to be spread, they must have different sources.
        let sources: Vec<_> = (10..26).map(|number| site.add_kernel_address(number).to_string()).collect();
        at_both_queues(site, || {
            let sizes = [56, 4000].into_iter().filter(|size| site.carries(*size)).map(|size| size.to_string());
            for (source, size) in sources.iter().zip(sizes.cycle()) {
                // After the last request, ping waits for an interval at least, however quick the replies before were.
                let words = ["-n", "-c", "2", "-i", "0.1", "-W", "5", "-s", &size, "-I", source, &address];
                let report = site.system("ping", &words);
                assert!(report.contains(" 2 received, 0% packet loss"), "{report}");
            }
        });
    }

    /// Each core's stack on a thread of its own, and all of them one host.
    fn stacks_apart_share_the_connections(site) {
        kernel::raise_file_limit();
        for model in ["split", "merge"] {
            let arguments = ["--cores", "2", "--model", model, "--udp", "--ctl", &CONTROL_PORT.to_string()];
            let _server = site.serve("echo", &arguments);
            let (mut streams, cores) = connect_all(site);
            assert!(shares(&cores).into_iter().all(|share| share >= SHARE_MIN), "{:?}", shares(&cores));
            for (index, stream) in streams.iter_mut().enumerate() {
                stream.write_all(&message(index)).unwrap();
                let mut echoed = vec![0; message(index).len()];
                stream.read_exact(&mut echoed).unwrap();
                assert!(echoed == message(index), "connection {index} on core {}", cores[index]);
            }
            (0..8).for_each(|_| check_datagrams(site, &kernel::udp(&site.namespace, site.hayase(PORT))));
        }
    }
}

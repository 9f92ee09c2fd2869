//! The peer: Linux's own TCP/IP, through sockets opened inside a namespace.
//!
//! Every socket has a time limit on reads and writes: a stack that falls silent fails a test, it does not
//! hang it.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Once;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SendFlags, SocketType, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::pattern::{Hash, hash_to_end, pattern_hash, write_pattern};
use crate::{Family, Namespace};

/// How long a read, a write, a connect or an accept may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition that has no event is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The flag of `sendto` (include/linux/socket.h), which rustix has no name for.
const MSG_FASTOPEN: u32 = 0x2000_0000;

/// The TCP states of `/proc/net/tcp` that the tests ask about (include/net/tcp_states.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpState {
    /// ESTABLISHED.
    Established,
    /// TIME-WAIT.
    TimeWait,
    /// Any other.
    Other,
}

/// Connects, and prepares the stream.
///
/// # Errors
/// Those of `connect`; `TimedOut` after [`PATIENCE`].
pub fn try_connect(namespace: &Namespace, address: SocketAddr) -> io::Result<TcpStream> {
    let stream = namespace.enter(|| TcpStream::connect_timeout(&address, PATIENCE))?;
    prepared(stream)
}

/// Connects, and prepares the stream.
///
/// # Panics
/// If that fails.
pub fn connect(namespace: &Namespace, address: SocketAddr) -> TcpStream {
    try_connect(namespace, address)
        .unwrap_or_else(|error| panic!("connecting to {address}: {error}\n{}", namespace.report()))
}

/// Connects from a given local address and port, even if a connection from there existed a moment ago.
///
/// # Errors
/// Those of `socket`, `bind` and `connect`.
pub fn connect_from(namespace: &Namespace, local: SocketAddr, remote: SocketAddr) -> io::Result<TcpStream> {
    let family = if local.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = namespace.enter(|| rustix::net::socket(family, SocketType::STREAM, None))?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &local)?;
    rustix::net::connect(&socket, &remote)?;
    prepared(TcpStream::from(socket))
}

/// Opens a listening socket on every address of a family, at a port of the kernel's choice.
///
/// # Panics
/// If that fails.
pub fn listen(namespace: &Namespace, family: Family) -> TcpListener {
    let address = unspecified(family == Family::V4, 0);
    namespace.enter(|| TcpListener::bind(address)).unwrap_or_else(|error| panic!("listening: {error}"))
}

/// The port of a listener.
///
/// # Panics
/// If the kernel does not tell.
pub fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().expect("a listener has an address").port()
}

/// Accepts one connection and prepares it.
///
/// # Panics
/// If none comes within [`PATIENCE`].
pub fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).expect("a listener can be made non-blocking");
    let stream = eventually("a connection to accept", || match listener.accept() {
        Ok((stream, _)) => Some(stream),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("accepting: {error}"),
    });
    stream.set_nonblocking(false).expect("a stream can be made blocking");
    prepared(stream).expect("an accepted stream takes options")
}

/// Opens a UDP socket connected to `peer`.
///
/// # Panics
/// If that fails.
pub fn udp(namespace: &Namespace, peer: SocketAddr) -> UdpSocket {
    let open = || {
        let socket = UdpSocket::bind(unspecified(peer.is_ipv4(), 0))?;
        socket.connect(peer)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok::<_, io::Error>(socket)
    };
    namespace.enter(open).unwrap_or_else(|error| panic!("a UDP socket to {peer}: {error}"))
}

/// Sends `data` with the SYN if there is a cookie for it, and after the handshake else (`MSG_FASTOPEN`): from this local
/// address, on a connection that is prepared then.
///
/// # Errors
/// Those of `socket`, `bind` and `sendto`.
pub fn connect_with(
    namespace: &Namespace,
    local: IpAddr,
    remote: SocketAddr,
    data: &[u8],
) -> io::Result<TcpStream> {
    let family = if local.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = namespace.enter(|| rustix::net::socket(family, SocketType::STREAM, None))?;
    rustix::net::bind(&socket, &SocketAddr::new(local, 0))?;
    let sent = rustix::net::sendto(&socket, data, SendFlags::from_bits_retain(MSG_FASTOPEN), &remote)?;
    assert_eq!(sent, data.len(), "a short piece of data is taken whole");
    prepared(TcpStream::from(socket))
}

/// What the kernel has counted in a namespace under a name of `/proc/net/netstat`, as `nstat` has it.
///
/// # Panics
/// If there is no such counter.
pub fn counter(namespace: &Namespace, name: &str) -> u64 {
    let path = "/proc/thread-self/net/netstat";
    let text = namespace.enter(|| fs::read_to_string(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let lines: Vec<&str> = text.lines().collect();
    let found = lines.chunks(2).find_map(|pair| {
        let (names, values) = (pair[0].split_whitespace(), pair.get(1)?.split_whitespace());
        let prefix = names.clone().next()?.trim_end_matches(':');
        let place = names.into_iter().position(|other| Some(other) == name.strip_prefix(prefix))?;
        values.clone().nth(place)?.parse().ok()
    });
    found.unwrap_or_else(|| panic!("no counter {name} in {path}"))
}

/// Makes closing this stream a reset (SO_LINGER with zero seconds).
///
/// # Panics
/// If the kernel refuses.
pub fn reset_on_close(stream: &TcpStream) {
    sockopt::set_socket_linger(stream, Some(Duration::ZERO)).expect("SO_LINGER can be set");
}

/// Chooses CUBIC, which Hayase has by default, and not every kernel.
///
/// # Panics
/// If the kernel does not have it.
pub fn use_cubic(stream: &TcpStream) {
    sockopt::set_tcp_congestion(stream, "cubic").expect("the kernel has CUBIC");
}

/// Makes the receive buffer of a stream small, so that its window closes soon.
///
/// # Panics
/// If the kernel refuses.
pub fn shrink_receive_buffer(stream: &TcpStream, len: usize) {
    sockopt::set_socket_recv_buffer_size(stream, len).expect("SO_RCVBUF can be set");
}

/// The state of the connection with these two ports; `None` if the kernel has no such connection.
pub fn tcp_state(namespace: &Namespace, local: u16, remote: u16) -> Option<TcpState> {
    let tables = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
    let text: String = namespace.enter(|| tables.iter().flat_map(fs::read_to_string).collect());
    text.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let ports = (port_of(fields.next()?)?, port_of(fields.next()?)?);
        let state = match fields.next()? {
            "01" => TcpState::Established,
            "06" => TcpState::TimeWait,
            _ => TcpState::Other,
        };
        (ports == (local, remote)).then_some(state)
    })
}

/// Whether the kernel takes packets to this address for its own.
pub fn is_local(namespace: &Namespace, address: Ipv6Addr) -> bool {
    let path = "/proc/thread-self/net/ipv6_route";
    let routes =
        namespace.enter(|| fs::read_to_string(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let host_route = format!("{:032x} 80 ", address.to_bits());
    routes.lines().any(|route| route.starts_with(&host_route))
}

/// The port of an `ADDRESS:PORT` of `/proc/net/tcp`.
fn port_of(field: &str) -> Option<u16> {
    u16::from_str_radix(field.rsplit_once(':')?.1, 16).ok()
}

/// Looks at `condition` until it holds something.
///
/// # Panics
/// If it does not within [`PATIENCE`].
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end_at = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end_at, "not in {PATIENCE:?}: {what}");
        thread::sleep(POLL_INTERVAL);
    }
}

/// Reads once. A signal to the process, such as the one that continues it, is no event of the stream.
///
/// # Errors
/// Those of the stream.
pub fn read(mut stream: impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    uninterrupted(|| stream.read(buffer))
}

/// Receives one datagram, as [`read`] does.
///
/// # Errors
/// Those of the socket.
pub fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<usize> {
    uninterrupted(|| socket.recv(buffer))
}

fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Sends back what comes, until the peer shuts down; returns how many bytes that was.
///
/// # Errors
/// Those of the stream.
pub fn echo_to_end(mut stream: TcpStream) -> io::Result<u64> {
    let mut buffer = vec![0; 64 * 1024];
    let mut total_len = 0;
    loop {
        let count = read(&stream, &mut buffer)?;
        if count == 0 {
            return Ok(total_len);
        }
        stream.write_all(&buffer[..count])?;
        total_len += count as u64;
    }
}

/// Throws away what comes, until the peer shuts down; returns how many bytes that was.
///
/// # Errors
/// Those of the stream.
pub fn discard_to_end(mut stream: TcpStream) -> io::Result<u64> {
    io::copy(&mut stream, &mut io::sink())
}

/// Accepts `count` connections and serves each on a thread; returns what the servers returned.
///
/// # Panics
/// If a connection fails.
pub fn serve(listener: &TcpListener, count: usize, server: fn(TcpStream) -> io::Result<u64>) -> Vec<u64> {
    let threads: Vec<_> = (0..count)
        .map(|_| {
            let stream = accept(listener);
            thread::spawn(move || server(stream))
        })
        .collect();
    let join = |thread: thread::JoinHandle<io::Result<u64>>| {
        thread.join().expect("a server does not panic").unwrap_or_else(|error| panic!("serving: {error}"))
    };
    threads.into_iter().map(join).collect()
}

/// Writes `len` pattern bytes to an echo server and shuts down, reading the echo to its end at the same
/// time; the bytes that come back must have the digest of those that went.
///
/// # Panics
/// If they have not, or the connection fails.
pub fn echo_of_pattern(stream: &TcpStream, len: u64) {
    let (echoed, sent) = thread::scope(|scope| {
        let sent = scope.spawn(|| {
            write_pattern(stream, len)?;
            stream.shutdown(std::net::Shutdown::Write)?;
            Ok::<Hash, io::Error>(pattern_hash(len))
        });
        let echoed = hash_to_end(stream).expect("the echo can be read");
        (echoed, sent.join().expect("the writer does not panic").expect("the server takes every byte"))
    });
    assert_eq!(echoed, (len, sent), "length and SHA-256 of the echo");
}

/// More connections than a test opens.
const FILES_MAX: u64 = 100_000;

/// Lets this process and those it starts open as many files as the system allows, root's more than it was given: the usual
/// 1,024 are too few for a thousand connections.
pub fn raise_file_limit() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let limit = getrlimit(Resource::Nofile);
        let to = |count| setrlimit(Resource::Nofile, Rlimit { current: count, maximum: count });
        let most = limit.maximum.map(|count| count.max(FILES_MAX));
        to(most).or_else(|_| to(limit.maximum)).expect("the soft limit may be raised to the hard one");
    });
}

fn prepared(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn unspecified(is_ipv4: bool, port: u16) -> SocketAddr {
    if is_ipv4 { (Ipv4Addr::UNSPECIFIED, port).into() } else { (Ipv6Addr::UNSPECIFIED, port).into() }
}

//! Sockets on the loopback interface.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::{Key, Kind, Socket, Sockets, State, TcpOptions};

const PATIENCE: Duration = Duration::from_secs(10);

fn localhost() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// The same with a port that the system gives nobody who asks for any (`net.ipv4.ip_local_port_range` begins above), and no
/// other process of ours takes.
fn localhost_apart() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 20_000 + (std::process::id() % 10_000) as u16).into()
}

/// A table for each way to be told of changes; epoll there always is.
fn tables() -> Vec<Sockets> {
    let (best, epoll) = (Sockets::new(false).unwrap(), Sockets::on_epoll(false).unwrap());
    assert_eq!(epoll.readiness(), "epoll");
    if best.readiness() == "epoll" {
        skip("io_uring is not to be had here, so it is epoll twice");
    }
    vec![best, epoll]
}

/// Says on the terminal, whatever the test harness captures, that a test does nothing.
pub(crate) fn skip(reason: &str) {
    assert!(
        std::env::var_os("HAYASE_NO_SKIP").is_none(),
        "HAYASE_NO_SKIP is set, and this test cannot run: {reason}"
    );
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    // A closed standard error is no reason to fail.
    let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("skipped: {name}: {reason}\n"));
}

/// Asks again whenever the set has spoken.
fn wait<T>(sockets: &mut Sockets, mut ask: impl FnMut(&mut Sockets) -> Poll<io::Result<T>>) -> io::Result<T> {
    let end_at = Instant::now() + PATIENCE;
    loop {
        if let Poll::Ready(answer) = ask(sockets) {
            return answer;
        }
        assert!(Instant::now() < end_at, "no answer");
        sockets.poll(|_, _, _| {}).unwrap();
    }
}

fn pair(sockets: &mut Sockets, at: SocketAddr, to: fn(SocketAddr) -> SocketAddr) -> (Key, Key) {
    let listener = sockets.listen(at, 8, &TcpOptions::default()).unwrap();
    let addr = sockets.listener(listener).unwrap().local_addr().unwrap();
    let client = sockets.connect(to(addr), None, &TcpOptions::default()).unwrap();
    wait(sockets, |sockets| sockets.tcp(client)?.poll_connect()).unwrap();
    let (server, peer) = wait(sockets, |sockets| sockets.accept(listener)).unwrap();
    assert_eq!(peer, sockets.tcp(client).unwrap().local_addr().unwrap());
    sockets.remove(listener);
    (client, server)
}

fn connected(sockets: &mut Sockets) -> (Key, Key) {
    pair(sockets, localhost(), |addr| addr)
}

#[test]
fn a_call_that_leads_to_nothing_is_not_made() {
    for mut sockets in tables() {
        let (client, server) = connected(&mut sockets);
        let mut buf = [0; 8];
        assert!(sockets.tcp(server).unwrap().read(&mut buf).is_pending());
        assert!(matches!(sockets.tcp(client).unwrap().write(b"hello"), Poll::Ready(Ok(5))));
        // The bytes are there, but the set has not spoken yet.
        assert!(sockets.tcp(server).unwrap().read(&mut buf).is_pending());
        assert_eq!(wait(&mut sockets, |sockets| sockets.tcp(server)?.read(&mut buf)).unwrap(), 5);
        assert!(!sockets.tcp(server).unwrap().readiness().unwrap().readable);
    }
}

#[test]
fn the_end_is_seen_behind_the_last_bytes() {
    for mut sockets in tables() {
        let (client, server) = connected(&mut sockets);
        assert!(matches!(sockets.tcp(client).unwrap().write(b"bye"), Poll::Ready(Ok(3))));
        drop(sockets.remove(client));
        let mut buf = [0; 8];
        assert_eq!(wait(&mut sockets, |sockets| sockets.tcp(server)?.read(&mut buf)).unwrap(), 3);
        assert_eq!(wait(&mut sockets, |sockets| sockets.tcp(server)?.read(&mut buf)).unwrap(), 0);
        assert_eq!(sockets.tcp(server).unwrap().state().unwrap(), State::CloseWait);
        assert!(sockets.tcp(server).unwrap().readiness().unwrap().read_closed);
    }
}

#[test]
fn a_connection_tells_how_it_is_doing() {
    for mut sockets in tables() {
        let (client, server) = connected(&mut sockets);
        assert!(matches!(sockets.tcp(client).unwrap().write(b"hello"), Poll::Ready(Ok(5))));
        let mut buf = [0; 8];
        assert_eq!(wait(&mut sockets, |sockets| sockets.tcp(server)?.read(&mut buf)).unwrap(), 5);
        let info = sockets.tcp(client).unwrap().info().unwrap();
        assert_eq!(
            (info.state, info.ca_state, info.bytes_sent, info.total_retrans),
            (State::Established, 0, 5, 0)
        );
        assert!((500..=65_535).contains(&info.advmss) && (500..=65_535).contains(&info.snd_mss), "{info:?}");
        assert!(info.pmtu > info.snd_mss && info.rto >= 1000 && info.snd_cwnd > 0, "{info:?}");
        let info = sockets.tcp(server).unwrap().info().unwrap();
        assert_eq!((info.bytes_received, info.bytes_sent), (5, 0));
    }
}

/// Reading stops in front of urgent data, and must go on behind it.
#[test]
fn urgent_data_does_not_stall_the_reader() {
    use rustix::net::{SendFlags, send};

    for mut sockets in tables() {
        let (client, server) = connected(&mut sockets);
        let fd = sockets.tcp(client).unwrap().source().fd().try_clone_to_owned().unwrap();
        for (bytes, flags) in
            [(b"ab", SendFlags::empty()), (b"c!", SendFlags::OOB), (b"de", SendFlags::empty())]
        {
            send(&fd, bytes, flags).unwrap();
        }
        let (mut received, mut buf) = (Vec::new(), [0; 64]);
        while received != b"abc!de" {
            let len = wait(&mut sockets, |sockets| sockets.tcp(server)?.read(&mut buf)).unwrap();
            received.extend_from_slice(&buf[..len]);
        }
    }
}

#[test]
fn a_full_socket_takes_more_when_it_was_read() {
    for mut sockets in tables() {
        let (client, server) = connected(&mut sockets);
        let chunk = vec![7; 1 << 20];
        let mut written = 0;
        while let Poll::Ready(len) = sockets.tcp(client).unwrap().write(&chunk) {
            written += len.unwrap();
        }
        assert!(!sockets.tcp(client).unwrap().is_flushed().unwrap(), "the peer's window is closed");
        let mut buf = vec![0; 1 << 20];
        let mut read = 0;
        while read < written {
            read += wait(&mut sockets, |sockets| sockets.tcp(server)?.read(&mut buf)).unwrap();
        }
        assert!(wait(&mut sockets, |sockets| sockets.tcp(client)?.write(&chunk)).unwrap() > 0);
    }
}

#[test]
fn both_versions_of_ip_reach_one_listener() {
    let everywhere = "[::]:0".parse().unwrap();
    for mut sockets in tables() {
        let (_, server) = pair(&mut sockets, everywhere, |addr| ([127, 0, 0, 1], addr.port()).into());
        assert!(sockets.tcp(server).unwrap().peer_addr().unwrap().is_ipv4(), "no address mapped into IPv6");
        assert!(sockets.tcp(server).unwrap().local_addr().unwrap().is_ipv4());
        sockets.tcp(server).unwrap().set_ttl(9).unwrap();
        let user_timeout = Some(Duration::from_millis(1500));
        sockets.tcp(server).unwrap().set_user_timeout(user_timeout).unwrap();
        assert_eq!(sockets.tcp(server).unwrap().user_timeout().unwrap(), user_timeout);
        assert_eq!(sockets.tcp(server).unwrap().ttl().unwrap(), 9);
    }
}

#[test]
fn a_name_is_good_for_one_tenant() {
    for mut sockets in tables() {
        let first = sockets.bind(localhost()).unwrap();
        assert!(matches!(sockets.remove(first), Some(Socket::Udp(_))));
        let second = sockets.bind(localhost()).unwrap();
        assert_eq!((second.index, sockets.count(Kind::Udp)), (first.index, 1));
        assert_eq!(sockets.udp(first).unwrap_err().kind(), io::ErrorKind::NotConnected);
        assert_eq!(sockets.tcp(second).unwrap_err().kind(), io::ErrorKind::NotConnected, "another kind");
        assert!(sockets.remove(first).is_none() && sockets.remove(second).is_some() && sockets.is_empty());
    }
}

#[test]
fn the_peer_of_one_that_lingers_for_nothing_is_reset() {
    for mut sockets in tables() {
        let (client, server) = connected(&mut sockets);
        sockets.tcp(client).unwrap().set_linger(Some(Duration::ZERO));
        let Some(Socket::Tcp(tcp)) = sockets.remove(client) else { panic!("a connection") };
        assert!(tcp.close().is_none());
        let error = wait(&mut sockets, |sockets| sockets.tcp(server)?.read(&mut [0; 1])).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}

#[test]
fn one_with_unread_data_does_not_linger() {
    for mut sockets in tables() {
        let (client, server) = connected(&mut sockets);
        while sockets.tcp(client).unwrap().write(&[7; 65_536]).is_ready() {}
        assert!(sockets.tcp(server).unwrap().write(b"unread").is_ready());
        sockets.tcp(client).unwrap().set_linger(Some(Duration::from_secs(3600)));
        let Some(Socket::Tcp(tcp)) = sockets.remove(client) else { panic!("a connection") };
        assert!(tcp.close().is_none());
    }
}

#[test]
fn the_peer_of_one_that_lingers_too_long_is_reset() {
    for mut sockets in tables() {
        let (client, server) = connected(&mut sockets);
        while sockets.tcp(client).unwrap().write(&[7; 65_536]).is_ready() {}
        sockets.tcp(client).unwrap().set_linger(Some(Duration::from_secs(1)));
        let Some(Socket::Tcp(tcp)) = sockets.remove(client) else { panic!("a connection") };
        let lingering = tcp.close().expect("it has something to deliver");
        assert_eq!((lingering.time(), lingering.is_over()), (Duration::from_secs(1), false));
        lingering.end();
        let mut buf = vec![0; 1 << 20];
        let error = loop {
            match wait(&mut sockets, |sockets| sockets.tcp(server)?.read(&mut buf)) {
                Ok(len) => assert_ne!(len, 0, "an orderly end"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}

#[test]
fn threads_share_a_port_and_a_thread_does_not() {
    let (mut one, mut other) = (Sockets::new(true).unwrap(), Sockets::new(true).unwrap());
    let first = one.listen(localhost(), 8, &TcpOptions::default()).unwrap();
    let addr = one.listener(first).unwrap().local_addr().unwrap();
    assert!(other.listen(addr, 8, &TcpOptions::default()).is_ok());
    assert_eq!(one.listen(addr, 8, &TcpOptions::default()).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    let mut alone = Sockets::new(false).unwrap();
    assert_eq!(alone.listen(addr, 8, &TcpOptions::default()).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    // IPv6 is another port, but for what takes both.
    let all = one.listen("0.0.0.0:0".parse().unwrap(), 8, &TcpOptions::default()).unwrap();
    let port = one.listener(all).unwrap().local_addr().unwrap().port();
    let mut listen = |addr: IpAddr| {
        one.listen((addr, port).into(), 8, &TcpOptions::default()).map_err(|error| error.kind())
    };
    assert!(listen(Ipv6Addr::LOCALHOST.into()).is_ok());
    for taken in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::UNSPECIFIED.into()] {
        assert_eq!(listen(taken), Err(io::ErrorKind::AddrInUse));
    }
}

/// Two tables are two cores: what comes to one port is for either.
#[test]
fn a_port_that_the_system_chooses_is_nobody_elses() {
    let mut tables = [Sockets::new(true).unwrap(), Sockets::new(true).unwrap()];
    let mut ports = HashSet::new();
    for round in 0..800 {
        let sockets = &mut tables[round % 2];
        let key = sockets.bind(localhost()).unwrap();
        let addr = sockets.udp(key).unwrap().local_addr().unwrap();
        assert!(ports.insert(addr.port()), "{addr} was chosen twice of {round}");
    }
    let [one, other] = &mut tables;
    let key = one.bind(localhost()).unwrap();
    let chosen = one.udp(key).unwrap().local_addr().unwrap();
    assert!(other.bind(chosen).is_ok(), "whoever asks for it by name shares it");
    let everywhere = (Ipv4Addr::UNSPECIFIED, chosen.port()).into();
    for taken in [chosen, everywhere] {
        assert_eq!(
            one.bind(taken).unwrap_err().kind(),
            io::ErrorKind::AddrInUse,
            "on one core only one has it"
        );
    }
}

/// Also before the set has ever been asked, when the socket's first change is still on its way.
#[test]
fn what_is_closed_is_free_at_once() {
    for mut sockets in tables() {
        let addr = localhost_apart();
        for _ in 0..3 {
            let key = sockets.bind(addr).unwrap_or_else(|error| panic!("{}: {error}", sockets.readiness()));
            drop(sockets.remove(key));
            let key = sockets.bind(addr).unwrap();
            sockets.poll(|_, _, _| {}).unwrap();
            drop(sockets.remove(key));
        }
    }
}

/// More changes than there is room for answers, while nobody asks.
#[test]
fn changes_that_find_no_room_are_told_later() {
    for mut sockets in tables() {
        let key = sockets.bind(localhost()).unwrap();
        let addr = sockets.udp(key).unwrap().local_addr().unwrap();
        sockets.poll(|_, _, _| {}).unwrap();
        for _ in 0..10_000 {
            sockets.presume_ready(key);
            assert!(sockets.udp(key).unwrap().send(b"x", Some(addr)).is_ready());
            assert!(sockets.udp(key).unwrap().recv(&mut [0; 8]).is_ready());
        }
        while sockets.poll(|_, _, _| {}).unwrap() > 0 || sockets.is_pending() {}
        let stranger = std::net::UdpSocket::bind(localhost()).unwrap();
        for _ in 0..3 {
            assert!(sockets.udp(key).unwrap().recv(&mut [0; 8]).is_pending());
            stranger.send_to(b"y", addr).unwrap();
            wait(&mut sockets, |sockets| sockets.udp(key)?.recv(&mut [0; 8])).unwrap();
        }
    }
}

fn is_readable(sockets: &Sockets) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let mut fds = [PollFd::from_borrowed_fd(sockets.fd(), PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::default())).unwrap() > 0
}

/// Nothing that was closed keeps the descriptor readable, or a thread would never sleep.
#[test]
fn a_set_with_nothing_to_tell_is_silent() {
    for mut sockets in tables() {
        let (client, server) = connected(&mut sockets);
        let quiet = sockets.bind(localhost()).unwrap();
        for key in [client, server] {
            drop(sockets.remove(key));
        }
        while sockets.poll(|_, _, _| {}).unwrap() > 0 || sockets.is_pending() {}
        assert!(!is_readable(&sockets), "{}", sockets.readiness());
        drop(sockets.remove(quiet));
    }
}

/// Forbids io_uring to this thread, as containers do: `io_uring_setup`, `io_uring_enter` and `io_uring_register`.
fn forbid_io_uring() {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

    let rules = [425, 426, 427].into_iter().map(|call| (call, Vec::new())).collect();
    let (allow, forbid) = (SeccompAction::Allow, SeccompAction::Errno(libc::EPERM as u32));
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, allow, forbid, arch).unwrap();
    seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
}

/// A policy may come into force after the start.
#[test]
fn where_io_uring_is_forbidden_later_epoll_goes_on() {
    let sandboxed = || {
        let mut sockets = Sockets::new(false).unwrap();
        let (client, server) = connected(&mut sockets);
        forbid_io_uring();
        let (other, mut buf) = (sockets.bind(localhost()).unwrap(), [0; 8]);
        for _ in 0..3 {
            assert!(sockets.tcp(client).unwrap().write(b"hello").is_ready());
            assert_eq!(wait(&mut sockets, |sockets| sockets.tcp(server)?.read(&mut buf)).unwrap(), 5);
        }
        assert_eq!(sockets.readiness(), "epoll");
        assert_eq!(Sockets::new(false).unwrap().readiness(), "epoll");
        assert!(sockets.remove(other).is_some());
        drop(sockets.remove(client));
        assert_eq!(wait(&mut sockets, |sockets| sockets.tcp(server)?.read(&mut buf)).unwrap(), 0);
    };
    std::thread::spawn(sandboxed).join().unwrap();
}

/// Set for the process that is to be killed.
const VICTIM: &str = "HAYASE_KERNEL_VICTIM";

/// A thread of the kernel cleans up after a process that had a ring, somewhat after it is gone.
#[test]
fn the_ports_of_a_process_that_was_killed_are_free() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    if std::env::var_os(VICTIM).is_some() {
        return hold_ports();
    }
    for _ in 0..10 {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::the_ports_of_a_process_that_was_killed_are_free", "--nocapture"])
            .env(VICTIM, "")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(victim.stdout.take().unwrap()).lines().map(Result::unwrap);
        let ports = lines.filter_map(|line| line.strip_prefix("holds ").map(|addr| addr.parse().unwrap()));
        let ports: Vec<SocketAddr> = ports.take(2).collect();
        victim.kill().unwrap();
        victim.wait().unwrap();
        std::net::TcpListener::bind(ports[0]).unwrap();
        std::net::UdpSocket::bind(ports[1]).unwrap();
    }
}

/// Sleeps on a table with a listener, a UDP socket and a connection, until somebody kills us.
fn hold_ports() {
    use std::io::Write;

    let mut sockets = Sockets::new(false).unwrap();
    let _pair = connected(&mut sockets);
    let (listener, udp) = (
        sockets.listen(localhost_apart(), 8, &TcpOptions::default()).unwrap(),
        sockets.bind(localhost_apart()).unwrap(),
    );
    sockets.poll(|_, _, _| {}).unwrap();
    let listens_at = sockets.listener(listener).unwrap().local_addr().unwrap();
    let bound_to = sockets.udp(udp).unwrap().local_addr().unwrap();
    let mut out = io::stdout().lock();
    write!(out, "\nholds {listens_at}\nholds {bound_to}\n").unwrap();
    out.flush().unwrap();
    std::thread::sleep(PATIENCE);
}

#[test]
fn congestion_control_is_chosen_by_name_and_accepted_with() {
    for mut sockets in tables() {
        sockets.set_congestion("reno").unwrap();
        let (client, server) = connected(&mut sockets);
        for key in [client, server] {
            assert_eq!(sockets.tcp(key).unwrap().congestion().unwrap(), "reno");
        }
        let error = sockets.set_congestion("nonesuch").unwrap_err();
        assert!(error.to_string().contains("modprobe tcp_nonesuch"), "{error}");
        assert!(sockets.tcp(client).unwrap().set_congestion("nonesuch").is_err());
        assert_eq!(sockets.tcp(client).unwrap().congestion().unwrap(), "reno");
    }
}

/// What a table refuses for the sake of the others is a matter of all who have the port.
#[test]
fn a_thread_shares_a_port_with_itself_where_all_say_so() {
    let sharing = TcpOptions { reuse_port: true, ..TcpOptions::default() };
    for shares_ports in [true, false] {
        let mut sockets = Sockets::new(shares_ports).unwrap();
        let first = sockets.listen(localhost(), 8, &sharing).unwrap();
        let addr = sockets.listener(first).unwrap().local_addr().unwrap();
        let refused = sockets.listen(addr, 8, &TcpOptions::default()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        sockets.listen(addr, 8, &sharing).unwrap();
    }
    let strict = TcpOptions { reuse_address: false, ..TcpOptions::default() };
    let refused = Sockets::new(true).unwrap().listen(localhost(), 8, &strict).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::Unsupported);
}

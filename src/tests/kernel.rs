//! What is particular to the kernel's sockets.

use std::cell::Cell;
use std::fs;
use std::future::poll_fn;
use std::io::{ErrorKind, Read, Write};
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future;
use hayase_device::conformance::skip;
use hayase_stack::State;
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::{address, addresses, connected, fill};
use crate::net::{CaState, Congestion, EchoSocket, TcpListener, TcpSocket, TcpStream, UdpSocket};
use crate::time::{sleep, timeout};
use crate::{DeviceSpec, Host, Model, Offloads, Parking, Runtime};

/// Runs a case of [`everywhere`](super) with every CPU model: the one host is client and server.
pub(super) fn run<F: Future>(case: impl Fn(Host, Host) -> F) {
    for model in Model::ALL {
        // Seen if the test fails.
        println!("model {model}");
        let runtime = Runtime::builder().device(DeviceSpec::Kernel).model(model).build().unwrap();
        let host = runtime.host();
        runtime.block_on(async { case(host, host).await });
    }
}

/// Runs a case with one of them.
pub(super) fn run_on<F: Future>(model: Model, case: impl FnOnce(Host) -> F) -> F::Output {
    let runtime = Runtime::builder().device(DeviceSpec::Kernel).model(model).build().unwrap();
    let host = runtime.host();
    runtime.block_on(async { case(host).await })
}

fn with_host<F: Future>(case: impl FnOnce(Host) -> F) {
    let runtime = Runtime::builder().device(DeviceSpec::Kernel).build().unwrap();
    let host = runtime.host();
    runtime.block_on(async { case(host).await });
}

#[test]
fn the_host_has_the_addresses_of_the_machine() {
    with_host(|host| async move {
        let loopback: IpAddr = [127, 0, 0, 1].into();
        assert!(host.addresses().unwrap().iter().any(|cidr| (cidr.addr(), cidr.prefix()) == (loopback, 8)));
        assert_eq!(host.peer(), None);
        assert_eq!(host.offloads().unwrap(), Offloads::NONE);
    });
}

#[test]
fn what_is_the_systems_affair_is_refused_with_the_command_for_it() {
    with_host(|host| async move {
        let cidr = "192.0.2.1/24".parse().unwrap();
        let gateway = [192, 0, 2, 254].into();
        for (result, command) in [
            (host.add_address(cidr), "ip address add"),
            (host.remove_address(cidr.addr()), "ip address"),
            (host.add_route(cidr, gateway), "ip route add"),
            (host.remove_route(cidr), "ip route"),
            (host.set_offloads(Offloads::ALL).map(drop), "ethtool -K"),
            (host.mac().map(drop), "ip link"),
        ] {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains(command), "{error}");
        }
    });
}

#[test]
fn counters_are_those_of_the_machine() {
    with_host(|host| async move {
        let before = host.counters().unwrap().get("TcpActiveOpens").unwrap();
        let (_stream, _peer) = connected(host).await;
        assert!(host.counters().unwrap().get("TcpActiveOpens").unwrap() > before);
        assert_eq!(host.tcp_count().unwrap(), 2);
    });
}

#[test]
fn a_connection_tells_what_the_system_knows_of_it() {
    with_host(|host| async move {
        let (mut stream, mut peer) = connected(host).await;
        stream.write_all(&[1; 1000]).await.unwrap();
        peer.read_exact(&mut [0; 1000]).await.unwrap();
        let info = stream.info().unwrap();
        assert_eq!((info.state, info.ca_state), (State::Established, CaState::Open));
        assert_eq!((info.bytes_sent, info.bytes_retrans, info.total_retrans), (1000, 0, 0));
        assert_eq!(info.snd_ssthresh, 1 << 30, "no loss yet");
        assert!(info.snd_cwnd >= 2 * info.snd_mss && info.snd_cwnd % info.snd_mss == 0, "{info:?}");
        assert!(info.rtt_us > 0 && u64::from(info.rtt_us) < info.rto_us, "{info:?}");
        assert!(info.snd_wnd >= 1000 && info.rcv_ssthresh > 0 && info.pmtu > info.snd_mss, "{info:?}");
        let since = crate::time::now().duration_since(info.last_data_sent_at);
        assert!(since < Duration::from_secs(10), "sent {since:?} ago");
        assert_eq!(peer.info().unwrap().bytes_received, 1000);
        drop(peer);
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(stream.info().unwrap().state, State::CloseWait);
    });
}

#[test]
fn an_idle_thread_sleeps_until_the_set_speaks() {
    for parking in [Parking::Auto, Parking::Ppoll] {
        let builder = Runtime::builder().device(DeviceSpec::Kernel).parking(parking).spin(Duration::ZERO);
        let runtime = builder.build().unwrap();
        runtime.block_on(async {
            let (mut stream, mut peer) = connected(runtime.host()).await;
            let before = runtime.metrics();
            assert!(timeout(Duration::from_millis(100), peer.read(&mut [0; 8])).await.is_err());
            let turns = runtime.metrics().turns - before.turns;
            assert!(turns < 20, "{turns} turns without anything to do on {}", runtime.parking());
            let write = async {
                sleep(Duration::from_millis(5)).await;
                stream.write_all(b"x").await.unwrap();
            };
            let mut buf = [0; 8];
            let read = timeout(Duration::from_secs(5), peer.read(&mut buf));
            assert_eq!(future::join(write, read).await.1.expect("woken").unwrap(), 1);
        });
    }
}

/// Two tables of sockets, on two threads, talk to each other: every wake-up comes from the kernel.
#[test]
fn threads_talk_through_the_kernel() {
    let (tell, told) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        with_host(|host| async move {
            let listener = TcpListener::bind((address(host), 0)).await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buf = [0; 64];
            while let len @ 1.. = stream.read(&mut buf).await.unwrap() {
                stream.write_all(&buf[..len]).await.unwrap();
            }
        });
    });
    let addr = told.recv().unwrap();
    with_host(|_| async move {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        for byte in 0..=255 {
            stream.write_all(&[byte]).await.unwrap();
            let mut buf = [0];
            stream.read_exact(&mut buf).await.unwrap();
            assert_eq!(buf, [byte]);
        }
    });
    server.join().unwrap();
}

#[test]
fn dropping_never_blocks_however_long_it_lingers() {
    with_host(|host| async move {
        let mut times = Vec::new();
        for _ in 0..5 {
            let (stream, mut peer) = connected(host).await;
            while stream.try_write(&[7; 65_536]).is_ok() {}
            stream.set_linger(Some(Duration::from_millis(50))).unwrap();
            let start = std::time::Instant::now();
            drop(stream);
            times.push(start.elapsed());
            sleep(Duration::from_millis(100)).await;
            let mut received = Vec::new();
            let error = peer.read_to_end(&mut received).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
        // Who waits does each time; others may have the processor now and then.
        assert!(times.iter().any(|time| *time < Duration::from_millis(40)), "{times:?}");
    });
}

/// As tokio has it; and the reader still hears how it ended.
#[test]
fn shutdown_of_a_connection_that_is_over_succeeds() {
    run(|host, _| async move {
        let (mut stream, mut peer) = connected(host).await;
        peer.write_all(b"reply").await.unwrap();
        stream.read_exact(&mut [0; 5]).await.unwrap();
        peer.abort();
        sleep(Duration::from_millis(20)).await;
        stream.shutdown().await.unwrap();
        futures_util::AsyncWriteExt::close(&mut stream).await.unwrap();
        let error = stream.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn one_that_lingers_delivers_to_a_reader() {
    with_host(|host| async move {
        let (stream, mut peer) = connected(host).await;
        let mut written = 0;
        while let Ok(len) = stream.try_write(&[7; 65_536]) {
            written += len;
        }
        stream.set_linger(Some(Duration::from_secs(20))).unwrap();
        drop(stream);
        let mut received = Vec::new();
        peer.read_to_end(&mut received).await.unwrap();
        assert_eq!(received.len(), written);
    });
}

#[test]
fn a_datagram_socket_of_both_versions_speaks_both() {
    with_host(|host| async move {
        let both = UdpSocket::bind("[::]:0").await.unwrap();
        for addr in addresses(host) {
            let other = UdpSocket::bind((addr, 0)).await.unwrap();
            both.send_to(b"x", other.local_addr().unwrap()).await.unwrap();
            let (_, from) = other.recv_from(&mut [0; 8]).await.unwrap();
            assert_eq!(from.ip(), addr);
            other.send_to(b"y", from).await.unwrap();
            assert_eq!(both.recv_from(&mut [0; 8]).await.unwrap().1, other.local_addr().unwrap());
        }
    });
}

#[test]
fn without_a_peer_a_datagram_goes_nowhere() {
    with_host(|_| async {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        assert_eq!(socket.send(b"x").await.unwrap_err().kind(), ErrorKind::NotConnected);
        assert_eq!(socket.peer_addr().unwrap_err().kind(), ErrorKind::NotConnected);
    });
}

/// Each has an identifier of its own, so nobody gets the other's answer.
#[test]
fn pings_do_not_mix() {
    with_host(|host| async move {
        let (one, other) = match (EchoSocket::open(), EchoSocket::open()) {
            (Ok(one), Ok(other)) => (one, other),
            (Err(error), _) | (_, Err(error)) => return skip(&error.to_string()),
        };
        one.send(address(host), 1, b"one").unwrap();
        other.send(address(host), 2, b"other").unwrap();
        let both = future::join(one.recv(), other.recv());
        let (first, second) = timeout(Duration::from_secs(5), both).await.expect("both answers");
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!(((first.sequence, first.len), (second.sequence, second.len)), ((1, 3), (2, 5)));
        assert_eq!(one.try_recv().unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}

/// Connections that are made have it, and those that are accepted.
#[test]
fn connections_have_the_congestion_control_that_was_chosen() {
    for model in Model::ALL {
        let builder = Runtime::builder().device(DeviceSpec::Kernel).model(model);
        let runtime = builder.congestion(Congestion::NewReno).build().unwrap();
        runtime.block_on(async {
            let (ours, theirs) = connected(runtime.host()).await;
            for stream in [ours, theirs] {
                assert_eq!(stream.congestion().unwrap(), Congestion::NewReno);
            }
        });
    }
}

/// CUBIC is in every kernel, but not everybody may choose it.
#[test]
fn a_connection_may_choose_another_congestion_control() {
    with_host(|host| async move {
        let (stream, peer) = connected(host).await;
        let before = peer.congestion().unwrap();
        match stream.set_congestion(Congestion::Cubic) {
            Ok(()) => assert_eq!(stream.congestion().unwrap(), Congestion::Cubic),
            Err(error) => assert!(error.to_string().contains("tcp_allowed_congestion_control"), "{error}"),
        }
        assert_eq!(peer.congestion().unwrap(), before);
    });
}

/// Rights are a thread's, and those of the threads that it starts: without any, one may choose what is allowed to all. Whoever
/// is refused hears of it, whichever thread has the sockets.
#[test]
fn a_congestion_control_that_is_not_for_everybody_is_refused_on_every_thread() {
    let allowed = fs::read_to_string("/proc/sys/net/ipv4/tcp_allowed_congestion_control").unwrap();
    let without_rights = move || {
        let none = CapabilitySet::empty();
        let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
        rustix::thread::set_capabilities(None, sets).unwrap();
        run(|host, _| {
            let allowed = allowed.clone();
            async move {
                let (stream, _peer) = connected(host).await;
                for congestion in Congestion::ALL.iter().copied() {
                    let had = stream.congestion().unwrap();
                    let is_allowed =
                        congestion == had || allowed.split_whitespace().any(|name| name == congestion.name());
                    let set = stream.set_congestion(congestion);
                    assert_eq!(set.is_ok(), is_allowed, "{congestion:?}: {set:?}");
                    assert_eq!(stream.congestion().unwrap(), if is_allowed { congestion } else { had });
                }
            }
        });
    };
    std::thread::spawn(without_rights).join().unwrap();
}

/// The kernel has it, but not through these sockets: nothing may look as if it were in force.
#[test]
fn fast_open_is_refused_and_nothing_is_left_of_the_attempt() {
    with_host(|host| async move {
        let listener = TcpListener::bind((address(host), 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_fastopen(16).unwrap();
        for error in [
            listener.set_fastopen(16).unwrap_err(),
            TcpStream::connect_with(addr, b"early").await.unwrap_err(),
            TcpSocket::new_v4().unwrap().connect_with(addr, b"early").await.unwrap_err(),
            socket.listen(16).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains("connect, and write then"), "{error}");
        }
        assert_eq!(listener.try_accept().unwrap_err().kind(), ErrorKind::WouldBlock, "nobody connected");
        assert_eq!(host.tcp_count().unwrap(), 0);
        // What the text advises.
        let (stream, accepted) = future::join(TcpStream::connect(addr), listener.accept()).await;
        stream.unwrap().write_all(b"then").await.unwrap();
        let mut buf = [0; 4];
        accepted.unwrap().0.read_exact(&mut buf).await.unwrap();
        assert_eq!(&buf, b"then");
    });
}

/// In a process of its own, which may open few descriptors: the limit is everybody's.
#[test]
fn accept_says_that_there_are_no_descriptors_and_goes_on_when_there_are() {
    const NAME: &str = "tests::kernel::accept_says_that_there_are_no_descriptors_and_goes_on_when_there_are";
    const FEW: &str = "HAYASE_TEST_HAS_FEW_DESCRIPTORS";
    if std::env::var_os(FEW).is_none() {
        let program = std::env::current_exe().unwrap();
        let script = "ulimit -n 64 && exec \"$0\" --exact \"$1\" --nocapture";
        let mut shell = std::process::Command::new("sh");
        let status = shell.args(["-c", script]).arg(program).arg(NAME).env(FEW, "1").status().unwrap();
        return assert!(status.success(), "{status}");
    }
    run(|_, server| async move {
        let (listener, addr) = super::listen(server).await;
        let open = || fs::File::open("/dev/null");
        let mut files: Vec<_> = std::iter::from_fn(|| open().ok()).collect();
        drop(files.pop());
        let _stream = TcpStream::connect(addr).await.unwrap();
        let refused = timeout(Duration::from_secs(5), listener.accept()).await.expect("somebody is told");
        let error = refused.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::MFILE.raw_os_error()), "{error}");
        drop(files);
        let accept = async {
            // It may have been tried once more before there were any.
            while listener.accept().await.is_err() {}
        };
        timeout(Duration::from_secs(5), accept).await.expect("the connection has waited");
    });
}

/// As many as like may wait on one socket, and nobody is asked again before there is something.
#[test]
fn hundreds_wait_for_one_listener_and_its_thread_sleeps() {
    const WAITERS: usize = 300;
    with_host(|host| async move {
        let (listener, addr) = super::listen(host).await;
        let (listener, polls) = (Rc::new(listener), Rc::new(Cell::new(0)));
        let tasks: Vec<_> = (0..WAITERS)
            .map(|_| {
                let (listener, polls) = (Rc::clone(&listener), Rc::clone(&polls));
                crate::spawn(async move {
                    let mut accept = pin!(listener.accept());
                    let counted = poll_fn(|cx| {
                        polls.set(polls.get() + 1);
                        accept.as_mut().poll(cx)
                    });
                    counted.await.unwrap()
                })
            })
            .collect();
        sleep(Duration::from_millis(50)).await;
        assert!(polls.get() <= 2 * WAITERS, "{} polls", polls.get());
        let clients = future::join_all((0..WAITERS).map(|_| TcpStream::connect(addr)));
        let accepted = async {
            for task in tasks {
                task.await.unwrap();
            }
        };
        let (clients, ()) = timeout(Duration::from_secs(20), future::join(clients, accepted)).await.unwrap();
        assert!(clients.iter().all(Result::is_ok));
    });
}

#[test]
fn with_every_model_urgent_data_is_not_told() {
    run(|_, server| async move {
        let (stream, _peer) = connected(server).await;
        let error = timeout(Duration::from_secs(5), stream.urgent()).await.expect("an answer").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    });
}

/// What has delivered everything holds no descriptor until its time is over, nor does what the peer goes on sending to.
#[test]
fn one_that_lingers_is_let_go_of_when_it_need_not_any_more() {
    for sends_on in [false, true] {
        let runtime = Runtime::builder().device(DeviceSpec::Kernel).build().unwrap();
        runtime.block_on(async {
            let (mut stream, mut peer) = connected(runtime.host()).await;
            stream.set_linger(Some(Duration::from_secs(3600))).unwrap();
            fill(&mut stream).await;
            drop(stream);
            sleep(Duration::from_millis(1)).await;
            let lingers = || runtime.reactor.deadline().is_some();
            assert!(lingers(), "it waits for its reader");
            let is_let_go = async {
                while lingers() {
                    sleep(Duration::from_millis(10)).await;
                }
            };
            let mut received = Vec::new();
            let read = async {
                if sends_on {
                    peer.write_all(b"more").await.unwrap();
                    is_let_go.await;
                    return peer.read_to_end(&mut received).await;
                }
                let read = peer.read_to_end(&mut received).await;
                is_let_go.await;
                read
            };
            let read = timeout(Duration::from_secs(20), read).await.expect("it lingers on");
            assert_eq!(read.err().map(|error| error.kind()), sends_on.then_some(ErrorKind::ConnectionReset));
        });
    }
}

/// What was read is no reason to reset, also where a message about it would not have been worth it yet.
#[test]
fn a_stream_that_outlives_its_runtime_is_closed_and_not_reset() {
    for model in Model::ALL {
        let runtime = Runtime::builder().device(DeviceSpec::Kernel).model(model).build().unwrap();
        let (mut peer, stream) = runtime.block_on(async {
            let (listener, addr) = super::listen(runtime.host()).await;
            let mut peer = std::net::TcpStream::connect(addr).unwrap();
            peer.write_all(b"heard").unwrap();
            let mut stream = listener.accept().await.unwrap().0;
            stream.read_exact(&mut [0; 5]).await.unwrap();
            (peer, stream)
        });
        drop(runtime);
        assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0, "model {model}");
        drop(stream);
    }
}

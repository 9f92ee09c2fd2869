//! What only a stack on a thread of its own has: sockets on every thread, and buffers between two of them.

use std::io::ErrorKind;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use futures_util::future;
use hayase_stack::Config;

use super::tcp::lose_by_a_reset;
use super::{SERVER, connected, fill, futures_executor, pattern, waits};
use crate::net::{EchoSocket, TcpListener, TcpStream, UdpSocket};
use crate::time::{sleep, timeout};
use crate::{DeviceSpec, Host, Model, Runtime, WireSpec};

const APART: [Model; 2] = [Model::Split, Model::Merge];

fn runtime(model: Model) -> Runtime {
    runtime_with(model, Config::default())
}

fn runtime_with(model: Model, config: Config) -> Runtime {
    let wire = DeviceSpec::Wire(WireSpec::default());
    Runtime::builder().device(wire).model(model).stack(config).build().unwrap()
}

fn server_and_client(runtime: &Runtime) -> (Host, Host) {
    (runtime.host(), runtime.peer().unwrap())
}

/// Runs a test on the client's host.
pub(super) fn run<F: Future>(model: Model, test: impl FnOnce(Host, Host) -> F) -> F::Output {
    run_with(model, Config::default(), test)
}

fn run_with<F: Future>(model: Model, config: Config, test: impl FnOnce(Host, Host) -> F) -> F::Output {
    let runtime = runtime_with(model, config);
    let (server, client) = server_and_client(&runtime);
    runtime.block_on(client.scope(async { test(client, server).await }))
}

async fn echo(mut stream: TcpStream) {
    let mut buf = [0; 1024];
    while let Ok(len @ 1..) = stream.read(&mut buf).await {
        stream.write_all(&buf[..len]).await.unwrap();
    }
}

#[test]
fn what_a_reset_loses_is_not_flushed() {
    for model in APART {
        run(model, |_, server| lose_by_a_reset(server));
    }
}

#[test]
fn a_socket_works_on_a_foreign_thread() {
    for model in APART {
        run(model, |_, server| async move {
            let (stream, mut peer) = connected(server).await;
            // This thread is blocked meanwhile, and delivers nothing.
            let (stream, local) = thread::spawn(move || {
                assert_eq!(stream.try_read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
                assert_eq!(stream.try_write(b"from afar").unwrap(), 9);
                let local = stream.local_addr().unwrap();
                (stream, local)
            })
            .join()
            .unwrap();
            let mut buf = [0; 9];
            peer.read_exact(&mut buf).await.unwrap();
            assert_eq!((&buf, local), (b"from afar", peer.peer_addr().unwrap()));
            thread::spawn(move || drop(stream)).join().unwrap();
            let end = timeout(Duration::from_secs(5), peer.read(&mut buf)).await;
            assert_eq!(end.expect("the connection was closed").unwrap(), 0);
        });
    }
}

/// A future that the main thread waits for, on a thread with an executor of somebody else.
#[test]
fn a_foreign_executor_is_woken_while_the_owner_waits() {
    for model in APART {
        let runtime = runtime(model);
        let (server, client) = server_and_client(&runtime);
        // Nobody turns the runtime: its thread waits for the other one.
        let received = thread::spawn(move || {
            futures_executor(async move {
                let listener = server.scope(TcpListener::bind("0.0.0.0:7")).await.unwrap();
                let connect = client.scope(TcpStream::connect((SERVER, 7)));
                let (stream, accepted) = future::join(connect, listener.accept()).await;
                let (mut stream, (peer, _)) = (stream.unwrap(), accepted.unwrap());
                let mut buf = [0; 4];
                let work = async {
                    stream.write_all(b"ping").await.unwrap();
                    stream.read_exact(&mut buf).await.unwrap();
                    drop(stream);
                };
                future::join(work, echo(peer)).await;
                buf
            })
        });
        assert_eq!(&received.join().unwrap(), b"ping");
    }
}

/// Building it turned it, until it was known that the addresses are nobody else's.
#[test]
fn the_thread_that_has_built_a_runtime_may_wait_by_other_means() {
    for model in APART {
        let mut config = Config::default();
        config.dad_transmits = Some(1);
        let runtime = runtime_with(model, config);
        let (server, client) = server_and_client(&runtime);
        let (done, is_done) = channel();
        // Should nothing wake this thread, the other one does, and not before.
        let owner = thread::current();
        let rescue = thread::spawn(move || {
            let is_stuck = is_done.recv_timeout(Duration::from_secs(10)).is_err();
            owner.unpark();
            is_stuck
        });
        futures_executor(async {
            let listener = server.scope(TcpListener::bind("0.0.0.0:7")).await.unwrap();
            let connect = client.scope(TcpStream::connect((SERVER, 7)));
            let (stream, accepted) = future::join(connect, listener.accept()).await;
            let (mut stream, (mut peer, _)) = (stream.unwrap(), accepted.unwrap());
            stream.write_all(b"ping").await.unwrap();
            peer.read_exact(&mut [0; 4]).await.unwrap();
        });
        let _ = done.send(());
        assert!(!rescue.join().unwrap(), "{model}: nobody delivered");
    }
}

/// Bytes that are looked at and never taken are always there: as those of a peer that is quicker than its reader.
#[test]
fn whoever_always_finds_something_lets_others_run() {
    const CALLS: usize = 10_000;

    async fn look(stream: &TcpStream, socket: &UdpSocket) -> [usize; 3] {
        let [peek, readable, datagram] = [
            waits(async {
                for _ in 0..CALLS {
                    stream.peek(&mut [0; 8]).await.unwrap();
                }
            })
            .await,
            waits(async {
                for _ in 0..CALLS {
                    stream.readable().await.unwrap();
                }
            })
            .await,
            waits(async {
                for _ in 0..CALLS {
                    socket.peek_from(&mut [0; 8]).await.unwrap();
                }
            })
            .await,
        ];
        // Who does not wait is never put off.
        (0..CALLS).for_each(|_| assert_eq!(socket.try_peek(&mut [0; 8]).unwrap(), 1));
        [peek, readable, datagram]
    }

    for model in Model::ALL {
        run(model, |_, server| async move {
            let (mut stream, peer) = connected(server).await;
            let socket = server.scope(UdpSocket::bind("0.0.0.0:7")).await.unwrap();
            UdpSocket::bind("0.0.0.0:0").await.unwrap().send_to(b"x", (SERVER, 7)).await.unwrap();
            stream.write_all(b"hello").await.unwrap();
            let mut waits = look(&peer, &socket).await.to_vec();
            let for_ever = async {
                loop {
                    peer.readable().await.unwrap();
                }
            };
            timeout(Duration::from_millis(20), for_ever).await.unwrap_err();
            if APART.contains(&model) {
                let there =
                    thread::spawn(move || futures_executor(async move { look(&peer, &socket).await }));
                waits.extend(there.join().unwrap());
            }
            for waits in waits {
                // The bytes are waited for as well, and one share may have begun before.
                assert!((CALLS / 128..=CALLS / 128 + 4).contains(&waits), "{model}: {waits} waits");
            }
        });
    }
}

#[test]
fn a_datagram_that_cannot_be_sent_is_told_to_those_who_send() {
    for model in APART {
        run(model, |_, _| async move {
            let socket = UdpSocket::bind("0.0.0.0:0").await.unwrap();
            let mut buf = [0; 8];
            let receive = timeout(Duration::from_millis(50), socket.recv_from(&mut buf));
            let send = async {
                // There is no route, as the stack finds out later; what goes elsewhere has nothing to do with that.
                socket.send_to(b"x", "192.0.2.1:9").await.unwrap();
                sleep(Duration::from_millis(20)).await;
                socket.send_to(b"x", (SERVER, 9)).await.unwrap();
            };
            let (received, ()) = future::join(receive, send).await;
            assert!(received.is_err(), "nobody sent anything: {received:?}");
            let nowhere = socket.send_to(b"x", "10.7.0.1:0").await.unwrap_err();
            assert_eq!(nowhere.kind(), ErrorKind::InvalidInput, "{nowhere}");
            // The stack says so when it has looked.
            let told = async {
                loop {
                    match socket.send_to(b"x", "192.0.2.1:9").await {
                        Ok(_) => sleep(Duration::from_millis(1)).await,
                        Err(error) => break error,
                    }
                }
            };
            let error = timeout(Duration::from_secs(5), told).await.expect("who sends is told");
            assert_eq!(error.kind(), ErrorKind::NetworkUnreachable, "{error}");
        });
    }
}

#[test]
fn a_reader_that_does_not_read_closes_the_window() {
    // Nothing grows, so that what may be under way is known to the byte.
    let mut config = Config::default();
    (config.send_buffer_len_max, config.receive_buffer_len_max) =
        (config.send_buffer_len, config.receive_buffer_len);
    for model in APART {
        run_with(model, config.clone(), |_, server| async move {
            let (mut stream, mut peer) = connected(server).await;
            let data = pattern(8 << 20);
            let mut sent = 0;
            while let Ok(len) = timeout(Duration::from_millis(50), stream.write(&data[sent..])).await {
                sent += len.unwrap();
            }
            // Both buffers of the stacks and both of the rings, and not a byte more.
            let limit = 2 * (512 << 10) + 2 * (256 << 10) + (64 << 10);
            assert!(sent <= limit, "{sent} bytes went to somebody who reads nothing, of at most {limit}");
            let rest = &data[sent..];
            let send = async {
                stream.write_all(rest).await.unwrap();
                stream.shutdown().await.unwrap();
            };
            let mut received = Vec::new();
            future::join(send, peer.read_to_end(&mut received)).await.1.unwrap();
            assert!(received == data);
        });
    }
}

/// More than a connection may have under way to its reader: the rest is in the stack when the reset comes.
const MORE_THAN_UNDER_WAY: usize = (256 << 10) + 10_000;

/// Reads until the end, and says how many bytes came and what that was.
async fn drain(stream: &mut TcpStream) -> (usize, std::io::Result<()>) {
    let mut received = Vec::new();
    let end = timeout(Duration::from_secs(5), stream.read_to_end(&mut received)).await.expect("an end");
    (received.len(), end.map(drop))
}

/// Writes to a stream that is not read, waits until it is all there, and resets.
async fn write_and_reset(mut peer: TcpStream, len: usize) {
    peer.write_all(&pattern(len)).await.unwrap();
    while !peer.is_flushed().unwrap() {
        sleep(Duration::from_millis(1)).await;
    }
    peer.abort();
    sleep(Duration::from_millis(5)).await;
}

/// A download that broke off does not look complete, although there was nothing left to write.
#[test]
fn a_reset_after_shutdown_is_told_behind_what_came_before() {
    for model in APART {
        run(model, |_, server| async move {
            let (mut stream, peer) = connected(server).await;
            stream.shutdown().await.unwrap();
            write_and_reset(peer, MORE_THAN_UNDER_WAY).await;
            let (len, end) = drain(&mut stream).await;
            assert_eq!((len, end.unwrap_err().kind()), (MORE_THAN_UNDER_WAY, ErrorKind::ConnectionReset));
        });
    }
}

/// The rest is exactly what is read at first, and there is room for more: the error is all that the second read finds.
#[test]
fn a_reset_right_behind_a_piece_is_told() {
    for model in APART {
        run(model, |_, server| async move {
            let (mut stream, peer) = connected(server).await;
            let len = (256 << 10) + 2048;
            write_and_reset(peer, len).await;
            let (read, end) = drain(&mut stream).await;
            assert_eq!((read, end.unwrap_err().kind()), (len, ErrorKind::ConnectionReset));
        });
    }
}

/// As in the unified model: what was received stays readable, whoever is told first that the connection is over.
#[test]
fn a_writer_that_is_told_of_a_reset_takes_nothing_from_a_slow_reader() {
    for model in APART {
        run(model, |_, server| async move {
            let (stream, peer) = connected(server).await;
            let (mut read, mut write) = stream.into_split();
            let writer = crate::spawn(async move {
                let data = pattern(super::MORE_THAN_BUFFERS);
                let error = write.write_all(&data).await.unwrap_err();
                write.forget();
                error
            });
            write_and_reset(peer, MORE_THAN_UNDER_WAY).await;
            let error = writer.await.unwrap();
            assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
            let mut received = Vec::new();
            let end = timeout(Duration::from_secs(5), read.read_to_end(&mut received)).await.unwrap();
            assert_eq!(
                (received.len(), end.unwrap_err().kind()),
                (MORE_THAN_UNDER_WAY, ErrorKind::ConnectionReset)
            );
        });
    }
}

/// To say so after the end takes nothing away from whoever reads.
#[test]
fn shutdown_after_a_reset_leaves_the_error_to_the_reader() {
    for model in APART {
        run(model, |_, server| async move {
            for len in [10, MORE_THAN_UNDER_WAY] {
                let (mut stream, peer) = connected(server).await;
                write_and_reset(peer, len).await;
                stream.shutdown().await.unwrap();
                sleep(Duration::from_millis(5)).await;
                let (read, end) = drain(&mut stream).await;
                assert_eq!((read, end.unwrap_err().kind()), (len, ErrorKind::ConnectionReset));
            }
        });
    }
}

/// RFC 9293 §3.10.4: also the bytes that have left the stack and were not read count as unread.
#[test]
fn closing_with_unread_bytes_resets() {
    for model in APART {
        run(model, |_, server| async move {
            let (mut stream, peer) = connected(server).await;
            stream.write_all(b"unheard").await.unwrap();
            peer.readable().await.unwrap();
            drop(peer);
            let error = timeout(Duration::from_secs(5), stream.read(&mut [0; 8])).await.unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        });
    }
}

#[test]
fn what_was_written_arrives_after_the_handle_is_gone() {
    for model in APART {
        run(model, |_, server| async move {
            let (mut stream, mut peer) = connected(server).await;
            let data = pattern(700_000);
            let copy = data.clone();
            let writer = crate::spawn(async move { stream.write_all(&copy).await.unwrap() });
            sleep(Duration::from_millis(5)).await;
            let mut received = Vec::new();
            peer.read_to_end(&mut received).await.unwrap();
            writer.await.unwrap();
            assert!(received == data, "{} bytes", received.len());
        });
    }
}

/// The time runs from the close on, not from when the stack has everything.
#[test]
fn a_connection_that_cannot_deliver_lingers_no_longer_than_it_may() {
    for model in APART {
        run(model, |client, server| async move {
            let (mut stream, mut peer) = connected(server).await;
            fill(&mut stream).await;
            stream.set_linger(Some(Duration::from_secs(2))).unwrap();
            assert_eq!(client.tcp_count().unwrap(), 1);
            let closed_at = Instant::now();
            drop(stream);
            let gone = async {
                while client.tcp_count().unwrap() > 0 {
                    sleep(Duration::from_millis(5)).await;
                }
            };
            timeout(Duration::from_secs(10), gone).await.expect("it lingers for ever");
            // Less than it has: the stack's time is that of the turn in which it hears of the close.
            assert!(closed_at.elapsed() > Duration::from_secs(1), "it has time");
            let error = drain(&mut peer).await.1.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        });
    }
}

#[test]
fn a_connection_that_lingers_delivers_to_a_reader() {
    for model in APART {
        run(model, |_, server| async move {
            let (mut stream, mut peer) = connected(server).await;
            let sent = fill(&mut stream).await;
            stream.set_linger(Some(Duration::from_secs(20))).unwrap();
            drop(stream);
            sleep(Duration::from_millis(5)).await;
            let (received, end) = drain(&mut peer).await;
            assert_eq!((received, end.unwrap()), (sent, ()));
        });
    }
}

#[test]
fn many_small_writes_are_bounded_and_kept_in_order() {
    for model in APART {
        run(model, |_, server| async move {
            let (mut stream, mut peer) = connected(server).await;
            let data = pattern(50_000);
            let mut written = 0;
            while stream.try_write(&data[written..written + 1]).is_ok() {
                written += 1;
            }
            assert!(written > 1000 && written < 10_000, "{written} bytes in writes of one");
            let rest = &data[written..];
            let send = async {
                for byte in rest {
                    stream.write_all(std::slice::from_ref(byte)).await.unwrap();
                }
                stream.shutdown().await.unwrap();
            };
            let mut received = Vec::new();
            future::join(send, peer.read_to_end(&mut received)).await.1.unwrap();
            assert!(received == data);
        });
    }
}

#[test]
fn many_small_pieces_wait_in_order_for_a_slow_reader() {
    for model in APART {
        run(model, |_, server| async move {
            let (mut stream, mut peer) = connected(server).await;
            stream.set_nodelay(true).unwrap();
            let data = pattern(60_000);
            let (mut sent, mut lens) = (0, [1, 53, 54, 300, 2047, 2048, 5000, 1, 1].into_iter().cycle());
            while sent < data.len() {
                let len = lens.next().unwrap().min(data.len() - sent);
                stream.write_all(&data[sent..sent + len]).await.unwrap();
                sent += len;
                // So that they come one by one.
                sleep(Duration::from_micros(200)).await;
            }
            stream.shutdown().await.unwrap();
            let mut received = vec![0; 25_000];
            // What its stack has is not all here at once.
            let peeked = async {
                while peer.peek(&mut received).await.unwrap() < 25_000 {
                    sleep(Duration::from_millis(1)).await;
                }
            };
            timeout(Duration::from_secs(20), peeked).await.expect("it is shown all that there is room for");
            assert!(received == data[..25_000], "peeked");
            peer.read_exact(&mut received[..10_001]).await.unwrap();
            received.truncate(10_001);
            for _ in 0..5 {
                received.extend_from_slice(&peer.read_lease(1000).await.unwrap());
            }
            peer.read_to_end(&mut received).await.unwrap();
            assert!(received == data, "{} bytes", received.len());
        });
    }
}

#[test]
fn connections_that_nobody_accepted_are_reset_with_their_listener() {
    for model in APART {
        run(model, |_, server| async move {
            let listener = server.scope(TcpListener::bind("0.0.0.0:7")).await.unwrap();
            let mut stream = TcpStream::connect((SERVER, 7)).await.unwrap();
            sleep(Duration::from_millis(2)).await;
            drop(listener);
            let error = timeout(Duration::from_secs(5), stream.read(&mut [0; 8])).await.unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        });
    }
}

#[test]
fn the_end_of_the_runtime_wakes_those_who_wait_elsewhere() {
    for model in APART {
        let runtime = runtime(model);
        let (server, client) = server_and_client(&runtime);
        let (waiting, is_waiting) = channel();
        let waiter = thread::spawn(move || {
            futures_executor(async move {
                let (_stream, mut peer) = client.scope(connected(server)).await;
                waiting.send(()).unwrap();
                peer.read(&mut [0; 1]).await
            })
        });
        is_waiting.recv().unwrap();
        thread::sleep(Duration::from_millis(5));
        drop(runtime);
        let error = waiter.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected, "{error}");
    }
}

#[test]
fn datagrams_wait_for_their_readers_up_to_a_limit() {
    for model in APART {
        run(model, |_, server| async move {
            let socket = server.scope(UdpSocket::bind("0.0.0.0:7")).await.unwrap();
            let sender = UdpSocket::bind("0.0.0.0:0").await.unwrap();
            sender.send_to(b"x", (SERVER, 7)).await.unwrap();
            socket.recv_from(&mut [0; 8]).await.unwrap();
            let count = |name| server.counters().unwrap().get(name).unwrap();
            let before = (count("IpInReceives"), count("SOCKET_RCVBUFF"));
            for number in 0..500u16 {
                sender.send_to(&number.to_be_bytes(), (SERVER, 7)).await.unwrap();
            }
            // Before the first is read, and makes room, all have come.
            while count("IpInReceives") < before.0 + 500 {
                sleep(Duration::from_millis(1)).await;
            }
            let kept = 500 - (count("SOCKET_RCVBUFF") - before.1);
            let (mut buf, mut numbers) = ([0; 2], Vec::new());
            for _ in 0..kept {
                let received = timeout(Duration::from_secs(5), socket.recv_from(&mut buf)).await;
                assert_eq!(received.expect("what is kept is read").unwrap().0, 2);
                numbers.push(u16::from_be_bytes(buf));
            }
            // Those that are under way and those of the stack, the first of all; and then there is room again.
            let count = numbers.len() as u16;
            assert!((64..64 + 128).contains(&count) && numbers.iter().copied().eq(0..count), "{numbers:?}");
            sender.send_to(b"x", (SERVER, 7)).await.unwrap();
            assert_eq!(socket.recv_from(&mut buf).await.unwrap().0, 1);
        });
    }
}

/// What their readers have read and not told of counts as unread: more than the tests' limit for all of them.
#[test]
fn many_conversations_go_on_forever() {
    for model in APART {
        run(model, |_, server| async move {
            let mut pairs = Vec::new();
            for _ in 0..32 {
                pairs.push(connected(server).await);
            }
            let (mut buf, data) = ([0; 1000], pattern(1000));
            for round in 0..60 {
                for (stream, peer) in &mut pairs {
                    let talk = async {
                        stream.write_all(&data).await.unwrap();
                        peer.read_exact(&mut buf).await.unwrap();
                    };
                    let talked = timeout(Duration::from_secs(5), talk).await;
                    assert!(talked.is_ok() && buf[..] == data[..], "in round {round}");
                }
            }
        });
    }
}

#[test]
fn answers_to_echo_requests_wait_for_their_readers_up_to_a_limit() {
    for model in APART {
        run(model, |client, _| async move {
            let (socket, to) = (EchoSocket::open().unwrap(), SERVER.parse().unwrap());
            // The neighbour is known then, and nothing has to wait for it.
            socket.send(to, 500, b"x").unwrap();
            assert_eq!(socket.recv().await.unwrap().sequence, 500);
            let count = |name| client.counters().unwrap().get(name).unwrap();
            let before = (count("IpInReceives"), count("ICMP_UNRELATED"));
            for sequence in 0..500 {
                socket.send(to, sequence, b"x").unwrap();
            }
            // Before the first is read, and makes room, all have come.
            while count("IpInReceives") < before.0 + 500 {
                sleep(Duration::from_millis(1)).await;
            }
            let kept = 500 - (count("ICMP_UNRELATED") - before.1);
            let mut sequences = Vec::new();
            for _ in 0..kept {
                let reply = timeout(Duration::from_secs(5), socket.recv()).await;
                sequences.push(reply.expect("what is kept is read").unwrap().sequence);
            }
            // Those that are under way and those of the stack, the first of all; and then there is room again.
            let count = sequences.len() as u16;
            assert!(
                (64..=64 + 256).contains(&count) && sequences.iter().copied().eq(0..count),
                "{sequences:?}"
            );
            socket.send(to, 501, b"x").unwrap();
            assert_eq!(socket.recv().await.unwrap().sequence, 501);
        });
    }
}

#[test]
fn a_connection_of_a_single_core_has_nowhere_to_go() {
    for model in APART {
        let error = run(model, |_, server| async move {
            let (stream, _peer) = connected(server).await;
            stream.migrate(0).await.unwrap_err()
        });
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("single core"), "{error}");
    }
}

/// Also where it has used the other one: sockets work on every thread.
#[test]
fn a_task_on_another_core_is_on_the_host_of_that() {
    for model in Model::ALL {
        let wire = DeviceSpec::Wire(WireSpec::default());
        let runtime = Runtime::builder().device(wire).model(model).cores(2).build().unwrap();
        let (here, peer) = server_and_client(&runtime);
        let there = move || async move {
            let _ = here.addresses();
            Host::current().unwrap()
        };
        let theirs = runtime.block_on(async { crate::spawn_on(1, there).unwrap().await.unwrap() });
        assert_ne!(theirs, here);
        let chosen =
            |host: Host| runtime.block_on(host.scope(async { crate::spawn_on(1, there).unwrap().await }));
        assert_eq!((chosen(here).unwrap(), chosen(peer).unwrap()), (theirs, theirs), "model {model}");
        let same = runtime.block_on(peer.scope(async { crate::spawn_on(0, there).unwrap().await }));
        assert_eq!(same.unwrap(), peer);
    }
}

#[test]
fn every_core_has_a_stack_apart() {
    for model in APART {
        let wire = DeviceSpec::Wire(WireSpec::default());
        let runtime = Runtime::builder().device(wire).model(model).cores(2).build().unwrap();
        let task = || async {
            let server = Host::current().unwrap();
            let client = server.peer().unwrap();
            let (mut stream, peer) = client.scope(connected(server)).await;
            let echo = crate::spawn(echo(peer));
            stream.write_all(b"hello").await.unwrap();
            let mut buf = [0; 5];
            stream.read_exact(&mut buf).await.unwrap();
            drop(stream);
            echo.await.unwrap();
            buf
        };
        let bufs = runtime.block_on(async move {
            future::join(crate::spawn_on(1, task).unwrap(), crate::spawn(task())).await
        });
        assert_eq!((&bufs.0.unwrap(), &bufs.1.unwrap()), (b"hello", b"hello"));
    }
}

/// What a program on tokio's threads does: nothing of it runs on ours.
#[cfg(feature = "tokio")]
#[test]
fn a_multi_threaded_tokio_program_echoes() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
        let mut buf = [0; 4096];
        loop {
            match AsyncReadExt::read(&mut stream, &mut buf).await? {
                0 => return AsyncWriteExt::shutdown(&mut stream).await,
                len => AsyncWriteExt::write_all(&mut stream, &buf[..len]).await?,
            }
        }
    }

    async fn ask(client: Host, number: usize) {
        let mut stream = client.scope(TcpStream::connect((SERVER, 7))).await.unwrap();
        let data = pattern(1000 + number * 333);
        for _ in 0..20 {
            AsyncWriteExt::write_all(&mut stream, &data).await.unwrap();
            let mut echoed = vec![0; data.len()];
            AsyncReadExt::read_exact(&mut stream, &mut echoed).await.unwrap();
            assert!(echoed == data);
            tokio::task::yield_now().await;
        }
    }

    for model in APART {
        let hayase = runtime(model);
        let (server, client) = server_and_client(&hayase);
        let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(3).build().unwrap();
        tokio.block_on(async move {
            let listener = server.scope(TcpListener::bind("0.0.0.0:7")).await.unwrap();
            let accept = tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream));
                }
            });
            let clients: Vec<_> = (0..16).map(|number| tokio::spawn(ask(client, number))).collect();
            for client in clients {
                client.await.unwrap();
            }
            accept.abort();
        });
    }
}

//! Connections that move between the cores of a host, wherever the stacks of these are.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::{Pin, pin};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use futures_util::future::join;

use super::*;
use crate::io::Interest;
use crate::tests::futures_executor;

const PORT: u16 = 80;

/// A server of two cores.
fn two_cores(model: Model, queues: usize, spreading: Spreading) -> Site {
    site_with(Runtime::builder().cores(2).model(model), 2, queues, spreading)
}

/// The first connection to this core.
async fn accept_one() -> TcpStream {
    let listener = TcpListener::bind((SERVER, PORT)).await.unwrap();
    listener.accept().await.unwrap().0
}

fn sent_by(first: usize, number: usize) -> u8 {
    (number * 7 + number / 251 + first) as u8
}

#[test]
fn a_connection_moves_with_all_that_it_holds() {
    const LEN: usize = 200_000;
    for model in Model::ALL {
        for (queues, spreading) in NICS {
            let client = || async {
                let mut stream = connect(PORT).await;
                let sent: Vec<u8> = (0..LEN).map(|number| sent_by(0, number)).collect();
                let mut back = vec![0; LEN];
                let (mut read, mut write) = stream.split();
                let (result, written) = join(read.read_exact(&mut back), write.write_all(&sent)).await;
                result.unwrap();
                written.unwrap();
                assert!(back == sent);
                stream.shutdown().await.unwrap();
                assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
            };
            play(two_cores(model, queues, spreading), client, || async {
                hop(accept_one().await, 0, 0, model).await;
            });
        }
    }

    /// Echoes a part, with more than that unread and unacknowledged, and goes on on the other core.
    fn hop(
        mut stream: TcpStream,
        core: usize,
        done: usize,
        model: Model,
    ) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move {
            let mut buf = vec![0; 20_000];
            stream.read_exact(&mut buf).await.unwrap();
            stream.write_all(&buf).await.unwrap();
            let (core, done) = (1 - core, done + buf.len());
            if done == LEN {
                assert_eq!(stream.read(&mut buf).await.unwrap(), 0);
                return;
            }
            let stream = stream.migrate(core).await.unwrap();
            if model == Model::Unified {
                assert!(stream.peer_addr().is_err(), "it belongs to another thread now");
            }
            spawn_on(core, move || hop(stream, core, done, model)).unwrap().await.unwrap();
        })
    }
}

/// Numbers that look random, the same each time.
struct Dice(Cell<u64>);

impl Dice {
    fn new(seed: u64) -> Dice {
        Dice(Cell::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1))
    }

    fn below(&self, end: usize) -> usize {
        let mut x = self.0.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0.set(x);
        (x >> 11) as usize % end
    }
}

/// Bytes of a transfer, each way.
const TRANSFER_LEN: usize = 1_500_000;

/// What both ends know of a transfer.
#[derive(Default)]
struct Progress {
    /// What each end has read.
    read: [AtomicUsize; 2],
    /// The connection moves no more.
    is_settled: AtomicBool,
}

impl Progress {
    fn is_read(&self) -> bool {
        self.read.iter().all(|read| read.load(Ordering::Acquire) == TRANSFER_LEN)
    }

    fn is_settled(&self) -> bool {
        self.is_settled.load(Ordering::Acquire)
    }
}

/// One end of a transfer in both directions, whose bytes say where they belong.
///
/// The hasty end says that no more follows when all is written. The other one does when all is read, at both ends, and no move
/// is under way: a connection that is over could move no more.
struct Transfer {
    stream: TcpStream,
    dice: Dice,
    seed: u64,
    /// Which end this is.
    end: usize,
    written: usize,
    progress: Arc<Progress>,
    is_shut: bool,
    is_over: bool,
}

impl Transfer {
    fn new(stream: TcpStream, seed: u64, end: usize, progress: Arc<Progress>) -> Transfer {
        let dice = Dice::new(seed + end as u64);
        Transfer { stream, dice, seed, end, written: 0, progress, is_shut: false, is_over: false }
    }

    /// Writes as much as is taken of a random amount.
    fn write(&mut self) {
        let len = (TRANSFER_LEN - self.written).min(1 + self.dice.below(40_000));
        let bytes: Vec<u8> = (self.written..self.written + len).map(|n| sent_by(self.end, n)).collect();
        match self.stream.try_write(&bytes) {
            Ok(len) => self.written += len,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "seed {}", self.seed),
        }
    }

    fn read(&mut self) {
        let done = self.progress.read[self.end].load(Ordering::Relaxed);
        let mut buf = vec![0; 1 + self.dice.below(40_000)];
        match self.stream.try_read(&mut buf) {
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "seed {}", self.seed),
            Ok(0) => {
                assert_eq!(done, TRANSFER_LEN, "seed {}: the end came too early", self.seed);
                self.is_over = true;
            }
            Ok(len) => {
                let expected = (done..).map(|n| sent_by(1 - self.end, n));
                let wrong = buf[..len].iter().zip(expected).position(|(got, expected)| *got != expected);
                assert_eq!(wrong.map(|at| done + at), None, "seed {}: a wrong byte", self.seed);
                self.progress.read[self.end].store(done + len, Ordering::Release);
            }
        }
    }

    fn step(&mut self) {
        match self.dice.below(3) {
            0 if !self.is_over => self.read(),
            _ if self.written < TRANSFER_LEN => self.write(),
            _ if self.is_shut => {}
            _ if self.seed as usize % 2 == self.end || self.progress.is_settled() => {
                self.stream.shut_down().unwrap();
                self.is_shut = true;
            }
            _ => {}
        }
    }

    /// Reads and writes a few times. Now and then as much as it can, so that what is in between fills up.
    async fn go_on(&mut self) {
        for _ in 0..=self.dice.below(8) {
            for _ in 0..[1, 1, 1, 10][self.dice.below(4)] {
                self.step();
            }
            if self.is_done() {
                return;
            }
            if self.dice.below(2) == 0 {
                sleep(Duration::from_micros(self.dice.below(1000) as u64)).await;
            } else if !self.is_over && self.written < TRANSFER_LEN {
                self.stream.ready(Interest::READABLE | Interest::WRITABLE).await.unwrap();
            }
        }
    }

    fn is_done(&self) -> bool {
        self.is_over && self.is_shut
    }
}

/// Goes on with a transfer, now on this core and now on that one. Returns how often it moved.
fn wander(mut transfer: Transfer, core: usize, moves: usize) -> Pin<Box<dyn Future<Output = usize>>> {
    Box::pin(async move {
        transfer.go_on().await;
        if transfer.progress.is_read() {
            transfer.progress.is_settled.store(true, Ordering::Release);
            while !transfer.is_done() {
                transfer.go_on().await;
            }
            return moves;
        }
        // Now and then to where it is.
        let core = if transfer.dice.below(8) == 0 { core } else { 1 - core };
        transfer.stream = transfer.stream.migrate(core).await.unwrap();
        spawn_on(core, move || wander(transfer, core, moves + 1)).unwrap().await.unwrap()
    })
}

#[test]
fn moves_lose_double_and_reorder_nothing() {
    for model in Model::ALL {
        let mut total = 0;
        for (seed, (queues, spreading)) in (0..).zip(NICS.into_iter().chain(NICS)) {
            let progress = Arc::new(Progress::default());
            let clients = Arc::clone(&progress);
            let client = move || async move {
                let mut transfer = Transfer::new(connect(PORT).await, seed, 0, clients);
                while !transfer.is_done() {
                    transfer.go_on().await;
                }
            };
            let ((), moves) = play(two_cores(model, queues, spreading), client, || async {
                wander(Transfer::new(accept_one().await, seed, 1, progress), 0, 0).await
            });
            total += moves;
        }
        assert!(total > 60, "{model}: {total} moves");
    }
}

/// What no stack has taken moves along, and so does the end that follows it.
#[test]
fn the_end_follows_what_was_written_before_a_move() {
    const LEN: usize = 400_000;
    for model in Model::ALL {
        let has_moved = Arc::new(AtomicBool::new(false));
        let is_told = Arc::clone(&has_moved);
        let client = move || async move {
            let mut stream = connect(PORT).await;
            // A connection whose end was heard at both ends could move no more.
            while !is_told.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(1)).await;
            }
            let mut received = Vec::new();
            stream.read_to_end(&mut received).await.unwrap();
            assert!(received.iter().enumerate().all(|(number, byte)| *byte == sent_by(0, number)));
            received.len()
        };
        let (received, written) = play(two_cores(model, 2, Spreading::Rss), client, || async {
            let stream = accept_one().await;
            let bytes: Vec<u8> = (0..LEN).map(|number| sent_by(0, number)).collect();
            let mut written = 0;
            while let Ok(len @ 1..) = stream.try_write(&bytes[written..]) {
                written += len;
            }
            stream.shut_down().unwrap();
            let mut stream = stream.migrate(1).await.unwrap();
            has_moved.store(true, Ordering::Relaxed);
            let wait = move || async move {
                assert_eq!(stream.try_write(b"more").unwrap_err().kind(), ErrorKind::BrokenPipe);
                // The client hears the end, although the stream is open, and answers by its own.
                assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
            };
            spawn_on(1, wait).unwrap().await.unwrap();
            written
        });
        assert!(written > 100_000 && received == written, "{model}: {received} of {written}");
    }
}

#[test]
fn a_move_that_nobody_waits_for_closes_the_connection() {
    for model in Model::ALL {
        let client = || async {
            let mut stream = connect(PORT).await;
            stream.write_all(b"unheard").await.unwrap();
            stream.read(&mut [0; 8]).await.map_err(|error| error.kind())
        };
        let (end, ()) = play(two_cores(model, 2, Spreading::Rss), client, || async {
            let stream = accept_one().await;
            stream.readable().await.unwrap();
            drop(poll_once(pin!(stream.migrate(1))).await);
        });
        assert_eq!(end, Err(ErrorKind::ConnectionReset), "{model}");
    }
}

/// Polls a future once, which may be too early for its end.
async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

#[test]
fn a_move_to_nowhere_ends_as_if_the_stream_were_dropped() {
    for model in Model::ALL {
        let client = || async {
            let mut received = Vec::new();
            connect(PORT).await.read_to_end(&mut received).await.unwrap();
            received
        };
        let (received, error) = play(two_cores(model, 2, Spreading::Rss), client, || async {
            let mut stream = accept_one().await;
            stream.write_all(b"farewell").await.unwrap();
            stream.migrate(7).await.unwrap_err()
        });
        assert_eq!(
            (&received[..], error.kind()),
            (&b"farewell"[..], ErrorKind::InvalidInput),
            "{model}: {error}"
        );
    }
}

/// The place of a connection that has left is free: who waits there waits for another one.
#[test]
fn a_move_wakes_and_forgets_nobody_else() {
    for model in Model::ALL {
        let has_left = Arc::new(AtomicBool::new(false));
        let is_told = Arc::clone(&has_left);
        let client = || async move {
            let _first = connect(PORT).await;
            while !is_told.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(1)).await;
            }
            let mut second = connect(PORT).await;
            second.read_exact(&mut [0; 2]).await.unwrap();
            second.write_all(b"hello").await.unwrap();
            second.read(&mut [0; 1]).await.unwrap()
        };
        let (end, ()) = play(two_cores(model, 2, Spreading::Rss), client, || async {
            let listener = TcpListener::bind((SERVER, PORT)).await.unwrap();
            let (first, _) = listener.accept().await.unwrap();
            let mut moved = pin!(first.migrate(1));
            let early = poll_once(moved.as_mut()).await;
            sleep(Duration::from_millis(20)).await;
            has_left.store(true, Ordering::Relaxed);
            let (mut read, mut write) = listener.accept().await.unwrap().0.into_split();
            let reader = spawn(async move { read.read_exact(&mut [0; 5]).await.unwrap() });
            sleep(Duration::from_millis(1)).await;
            drop(match early {
                Poll::Ready(first) => first.unwrap(),
                Poll::Pending => moved.await.unwrap(),
            });
            write.write_all(b"go").await.unwrap();
            assert_eq!(reader.await.unwrap(), 5);
        });
        assert_eq!(end, 0, "{model}");
    }
}

/// Where the stacks are apart, a thread of somebody else may ask for a move while the cores' own threads are blocked.
#[test]
fn a_foreign_thread_moves_a_connection() {
    for model in [Model::Split, Model::Merge] {
        let client = || async {
            let mut stream = connect(PORT).await;
            stream.write_all(b"hello").await.unwrap();
            let mut received = Vec::new();
            stream.read_to_end(&mut received).await.unwrap();
            received
        };
        let (received, ()) = play(two_cores(model, 2, Spreading::Rss), client, || async {
            let stream = accept_one().await;
            let echo = move || {
                futures_executor(async {
                    let mut stream = stream.migrate(1).await.unwrap();
                    let mut buf = [0; 5];
                    stream.read_exact(&mut buf).await.unwrap();
                    stream.write_all(&buf).await.unwrap();
                });
            };
            thread::spawn(echo).join().unwrap();
        });
        assert_eq!(received, b"hello", "{model}");
    }
}

#[test]
fn urgent_data_is_told_of_before_and_after_a_move() {
    for model in Model::ALL {
        let client = || async {
            let mut stream = connect(PORT).await;
            stream.write_all(URGENT).await.unwrap();
            let mut buf = [0; 2];
            stream.read_exact(&mut buf).await.unwrap();
            stream.write_all(b"URGENT and more").await.unwrap();
            stream.read_exact(&mut buf).await.unwrap();
            stream.shutdown().await.unwrap();
            assert_eq!(stream.read(&mut buf).await.unwrap(), 0);
        };
        play(two_cores(model, 2, Spreading::Rss), client, || async {
            let mut stream = accept_one().await;
            assert_eq!(stream.urgent().await.unwrap(), usize::from(URGENT_LEN), "more than has come");
            stream.read_exact(&mut [0; 3]).await.unwrap();
            assert_eq!(stream.urgent().await.unwrap(), 7);
            let stream = stream.migrate(1).await.unwrap();
            let stream = spawn_on(1, move || hear_of_more(stream)).unwrap().await.unwrap();
            hear_the_rest(stream).await;
        });
    }

    /// On core 1, and back.
    async fn hear_of_more(mut stream: TcpStream) -> TcpStream {
        assert_eq!(stream.urgent().await.unwrap(), 7);
        stream.read_exact(&mut [0; 3]).await.unwrap();
        assert_eq!(stream.urgent().await.unwrap(), 4);
        stream.write_all(b"go").await.unwrap();
        stream.read_exact(&mut [0; 4]).await.unwrap();
        assert_eq!(stream.urgent().await.unwrap(), 6, "up to the end of the second, which has come");
        stream.migrate(0).await.unwrap()
    }

    async fn hear_the_rest(mut stream: TcpStream) {
        assert_eq!(stream.urgent().await.unwrap(), 6);
        stream.read_exact(&mut [0; 11]).await.unwrap();
        assert!(timeout(Duration::from_millis(10), stream.urgent()).await.is_err(), "all of it was read");
        stream.write_all(b"on").await.unwrap();
        assert_eq!(stream.urgent().await.unwrap(), 0, "no more will come");
    }
}

/// The pointer moves with each of many segments, while the application looks away: what it hears in the end is the last.
#[test]
fn urgent_data_without_end_is_told_of_to_the_last() {
    const COUNT: usize = 200;
    for model in Model::ALL {
        let client = || async {
            let mut stream = connect(PORT).await;
            stream.set_nodelay(true).unwrap();
            for number in 0..COUNT {
                stream.write_all(URGENT).await.unwrap();
                // The last is a segment of its own for sure, the others as far as they hurry.
                let pause = if number == COUNT - 2 { 5 } else { 0 };
                sleep(Duration::from_millis(pause)).await;
            }
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
        };
        play(two_cores(model, 2, Spreading::Rss), client, || async {
            let mut stream = accept_one().await;
            thread::sleep(Duration::from_millis(50));
            stream.read_exact(&mut [0; (COUNT - 1) * URGENT.len()]).await.unwrap();
            stream.readable().await.unwrap();
            // The byte may be here before what is said of it.
            let told = async {
                while stream.urgent().await.unwrap() != usize::from(URGENT_LEN) {
                    sleep(Duration::from_millis(1)).await;
                }
            };
            timeout(Duration::from_secs(5), told)
                .await
                .unwrap_or_else(|_| panic!("{model}: it was not told"));
            stream.read_exact(&mut [0; URGENT.len()]).await.unwrap();
        });
    }
}

/// A waker of somebody else, which looks at a socket of the core that calls it.
struct Onlooker {
    socket: UdpSocket,
    seen: Mutex<Vec<ErrorKind>>,
}

impl Wake for Onlooker {
    fn wake(self: Arc<Self>) {
        let error = self.socket.try_recv_from(&mut [0; 1]).unwrap_err();
        self.seen.lock().unwrap().push(error.kind());
    }
}

/// The core that has taken the connection in calls it.
#[test]
fn who_is_told_of_an_arrival_may_use_sockets_there() {
    let client = || async { connect(PORT).await.read(&mut [0; 1]).await.unwrap() };
    let (end, ()) = play(two_cores(Model::Unified, 2, Spreading::Rss), client, || async {
        let stream = accept_one().await;
        let bind = || async { UdpSocket::bind((SERVER, 9)).await.unwrap() };
        let socket = spawn_on(1, bind).unwrap().await.unwrap();
        let onlooker = Arc::new(Onlooker { socket, seen: Mutex::default() });
        let waker = Waker::from(Arc::clone(&onlooker));
        // The other core stands still until somebody waits for its answer.
        let (go_on, held) = mpsc::channel::<()>();
        let (holds, is_held) = mpsc::channel();
        drop(spawn_on(1, move || async move {
            holds.send(()).unwrap();
            assert!(held.recv().is_err());
        }));
        is_held.recv().unwrap();
        let mut moving = pin!(stream.migrate(1));
        assert!(moving.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(go_on);
        while onlooker.seen.lock().unwrap().is_empty() {
            sleep(Duration::from_millis(1)).await;
        }
        drop(moving.await.unwrap());
        assert_eq!(*onlooker.seen.lock().unwrap(), [ErrorKind::WouldBlock]);
    });
    assert_eq!(end, 0);
}

/// A listener is open when all cores know of it, and not before.
#[test]
fn binding_waits_for_the_other_cores() {
    for model in Model::ALL {
        let Site { server, client: _ } = two_cores(model, 2, Spreading::Rss);
        server.block_on(async {
            for port in 1..=100 {
                let listener = TcpListener::bind((SERVER, port)).await.unwrap();
                let known = |listener: &TcpListener| listener.poll_known(&Context::from_waker(Waker::noop()));
                assert!(matches!(known(&listener), Poll::Ready(Ok(()))), "{model}: port {port}");
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind((SERVER, 100 + port).into()).unwrap();
                let listener = socket.listen(8).unwrap();
                listener.known().await.unwrap();
                assert!(matches!(known(&listener), Poll::Ready(Ok(()))), "{model}: port {port}");
            }
        });
    }
}

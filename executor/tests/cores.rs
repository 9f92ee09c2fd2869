//! Cores on real threads: wakes that must not be lost, tasks that travel, and idleness that must cost nothing.

use std::cell::Cell;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use hayase_executor::time::{sleep, timeout};
use hayase_executor::{
    Config, Cores, Executor, Handle, Interest, JoinHandle, Parking, Reactor, spawn, spawn_on, yield_now,
};
use rustix::time::{ClockId, clock_gettime};

/// Long enough that only a lost wake takes it.
const LOST: Duration = Duration::from_secs(20);
/// How often a number is handed over in a game.
const ROUNDS: u64 = 5_000;

fn with_parking(parking: Parking, cores: &Cores, core: usize) -> Option<Executor> {
    build(Config { parking, ..Config::default() }, cores, core)
}

fn build(config: Config, cores: &Cores, core: usize) -> Option<Executor> {
    let demanded = config.parking == Parking::IoUring;
    match Executor::builder().config(config).core(cores, core).build() {
        Ok(executor) => Some(executor),
        Err(error) if demanded => {
            skip(&format!("io_uring is not to be had: {error}"));
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Says on the terminal, whatever the test harness captures, that a test does nothing.
fn skip(reason: &str) {
    assert!(
        std::env::var_os("HAYASE_NO_SKIP").is_none(),
        "HAYASE_NO_SKIP is set, and this test cannot run: {reason}"
    );
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    // A closed standard error is no reason to fail.
    let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("skipped: {name}: {reason}\n"));
}

/// A core on a thread of its own, until it is told to stop.
struct Worker {
    handle: Handle,
    stop: Arc<AtomicBool>,
    waker: Arc<Mutex<Option<Waker>>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Worker {
    fn start(cores: &Cores, core: usize) -> Worker {
        let stop = Arc::new(AtomicBool::new(false));
        let waker: Arc<Mutex<Option<Waker>>> = Arc::default();
        let thread = thread::spawn({
            let (cores, stop, waker) = (cores.clone(), stop.clone(), waker.clone());
            move || {
                let executor = Executor::builder().core(&cores, core).build().unwrap();
                executor.block_on(
                    &(),
                    poll_fn(|cx| {
                        *waker.lock().unwrap() = Some(cx.waker().clone());
                        if stop.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
                    }),
                );
            }
        });
        Worker { handle: cores.handle(core).unwrap(), stop, waker, thread: Some(thread) }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(waker) = self.waker.lock().unwrap().take() {
            waker.wake();
        }
        let result = self.thread.take().unwrap().join();
        assert!(result.is_ok() || thread::panicking());
    }
}

/// Two tasks on two threads hand a number to and fro; each side sleeps in between, sometimes.
#[derive(Default)]
struct PingPong {
    count: AtomicU64,
    wakers: [Mutex<Option<Waker>>; 2],
}

impl PingPong {
    /// Waits for the number to be of this side's parity, and counts on.
    async fn play(&self, side: usize, rounds: u64) {
        while self.count.load(Ordering::SeqCst) < rounds {
            poll_fn(|cx| {
                *self.wakers[side].lock().unwrap() = Some(cx.waker().clone());
                let mine = self.count.load(Ordering::SeqCst) % 2 == side as u64;
                if mine { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            self.count.fetch_add(1, Ordering::SeqCst);
            if let Some(waker) = self.wakers[1 - side].lock().unwrap().take() {
                waker.wake();
            }
        }
    }
}

/// One side plays as the root, the other as a task: they are woken in different ways.
///
/// A wake can only be lost if it comes while the sleeper is lying down. A side that spins for about as long as the answer
/// takes lies down just when the answer comes, so the length of the spin sweeps over that.
fn ping_pong(parking: Parking) {
    for spin_nanos in (0..4_000).step_by(100) {
        let cores = Cores::new(2).unwrap();
        let game = Arc::new(PingPong::default());
        let play = |core: usize| {
            let (cores, game) = (cores.clone(), game.clone());
            thread::spawn(move || {
                let config = Config { parking, spin: Duration::from_nanos(spin_nanos), ..Config::default() };
                let Some(executor) = build(config, &cores, core) else { return };
                executor.block_on(&(), async {
                    if core == 0 {
                        game.play(core, ROUNDS).await;
                    } else {
                        spawn(async move { game.play(core, ROUNDS).await }).await.unwrap();
                    }
                });
            })
        };
        let threads = [play(0), play(1)];
        // Others may have the processors, and slow the game down; a wake that is lost stops it.
        let (mut count, mut counted_at) = (0, Instant::now());
        while !threads.iter().all(thread::JoinHandle::is_finished) {
            let now = game.count.load(Ordering::SeqCst);
            if core::mem::replace(&mut count, now) != now {
                counted_at = Instant::now();
            }
            assert!(counted_at.elapsed() < LOST, "stuck at {count}");
            thread::sleep(Duration::from_millis(1));
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

#[test]
fn no_wake_is_lost_between_sleepers_in_ppoll() {
    ping_pong(Parking::Ppoll);
}

#[test]
fn no_wake_is_lost_between_sleepers_in_io_uring() {
    ping_pong(Parking::IoUring);
}

#[test]
fn a_storm_of_wakes_from_many_threads_loses_none() {
    const SENDERS: usize = 4;
    const MESSAGES: usize = 20_000;
    let executor = Executor::new().unwrap();
    let received = Rc::new(Cell::new(0));
    let done: Rc<Cell<Option<Waker>>> = Rc::default();
    let mut senders = Vec::new();
    for _ in 0..SENDERS {
        let (waker_out, waker_in) = mpsc::channel();
        let inbox = Arc::new(AtomicUsize::new(0));
        let (received, done, mail) = (received.clone(), done.clone(), inbox.clone());
        drop(executor.spawn(poll_fn(move |cx| {
            let _ = waker_out.send(cx.waker().clone());
            received.set(received.get() + mail.swap(0, Ordering::SeqCst));
            if received.get() == SENDERS * MESSAGES {
                done.take().unwrap().wake();
            }
            Poll::<()>::Pending
        })));
        executor.turn(&());
        let waker: Waker = waker_in.recv().unwrap();
        senders.push(thread::spawn(move || {
            for message in 0..MESSAGES {
                inbox.fetch_add(1, Ordering::SeqCst);
                waker.wake_by_ref();
                if message % 64 == 0 {
                    // Lets the receiver fall asleep now and then.
                    thread::sleep(Duration::from_micros(20));
                }
            }
        }));
    }
    // Nothing but the senders' wakes and the timeout of a lost one ends a sleep.
    let all = poll_fn(|cx| {
        done.set(Some(cx.waker().clone()));
        if received.get() == SENDERS * MESSAGES { Poll::Ready(()) } else { Poll::Pending }
    });
    executor.block_on(&(), async { timeout(LOST, all).await.expect("a wake was lost") });
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    let metrics = executor.metrics();
    assert!(metrics.remote_wakes > 0 && metrics.parks > 0, "{metrics:?}");
}

#[test]
fn futures_are_made_where_they_run() {
    let cores = Cores::new(2).unwrap();
    let _worker = Worker::start(&cores, 1);
    let executor = Executor::builder().core(&cores, 0).build().unwrap();
    executor.block_on(&(), async {
        let here = thread::current().id();
        let there = spawn_on(1, || {
            // An Rc lives across an await: the future is not Send.
            let shared = Rc::new(Cell::new(1));
            async move {
                yield_now().await;
                shared.set(shared.get() + 1);
                (thread::current().id(), shared.get(), Handle::current().core())
            }
        })
        .unwrap();
        let (thread, value, core) = there.await.unwrap();
        assert_ne!(thread, here);
        assert_eq!((value, core), (2, 1));
        // A core can be asked for itself.
        assert_eq!(spawn_on(0, || async { thread::current().id() }).unwrap().await.unwrap(), here);
    });
}

#[test]
fn many_tasks_cross_both_ways() {
    let cores = Cores::new(2).unwrap();
    let _worker = Worker::start(&cores, 1);
    let executor = Executor::builder().core(&cores, 0).build().unwrap();
    let sum: u64 = executor.block_on(&(), async {
        let tasks: Vec<_> = (0..2_000u64)
            .map(|n| {
                let back = Handle::current();
                spawn_on(1, move || async move {
                    let square = back.spawn_on(move || async move { n * n });
                    square.await.unwrap() - n * n + n
                })
                .unwrap()
            })
            .collect();
        let mut sum = 0;
        for task in tasks {
            sum += task.await.unwrap();
        }
        sum
    });
    assert_eq!(sum, 1_999 * 2_000 / 2);
}

#[test]
fn panics_cross_cores_as_values() {
    let cores = Cores::new(2).unwrap();
    let worker = Worker::start(&cores, 1);
    let executor = Executor::builder().core(&cores, 0).build().unwrap();
    executor.block_on(&(), async {
        let task = worker.handle.spawn_on(|| async { panic!("over there") });
        let id = task.id();
        let error = task.await.unwrap_err();
        assert_eq!(error.id(), id);
        assert_eq!(error.to_string(), "the task panicked: over there");
        let maker: fn() -> std::future::Ready<()> = || panic!("before it began");
        assert!(worker.handle.spawn_on(maker).await.unwrap_err().is_panic());
        assert_eq!(worker.handle.spawn_on(|| async { 1 }).await.unwrap(), 1, "the core goes on");
    });
}

#[test]
fn abort_reaches_another_core_before_and_after_the_task_exists() {
    struct Told(mpsc::Sender<thread::ThreadId>);
    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.0.send(thread::current().id());
        }
    }
    let cores = Cores::new(2).unwrap();
    let (tell, told) = mpsc::channel();
    let request = |tell: &mpsc::Sender<_>| -> JoinHandle<()> {
        let told = Told(tell.clone());
        cores.handle(1).unwrap().spawn_on(move || async move {
            let _told = told;
            pending::<()>().await;
        })
    };
    // The core has not started yet.
    let early = request(&tell);
    early.abort();
    assert!(!early.is_finished());
    let worker = Worker::start(&cores, 1);
    let executor = Executor::builder().core(&cores, 0).build().unwrap();
    executor.block_on(&(), async {
        let thread = worker.handle.spawn_on(|| async { thread::current().id() }).await.unwrap();
        assert!(early.await.unwrap_err().is_cancelled());
        let late = request(&tell);
        worker.handle.spawn_on(|| async {}).await.unwrap();
        let abort = late.abort_handle();
        abort.abort();
        assert!(late.await.unwrap_err().is_cancelled());
        let detached = request(&tell);
        let abort = detached.abort_handle();
        drop(detached);
        abort.abort();
        for _ in 0..3 {
            assert_eq!(told.recv_timeout(LOST).unwrap(), thread, "futures are dropped where they live");
        }
    });
}

#[test]
fn what_waits_for_a_core_that_goes_is_cancelled() {
    let cores = Cores::new(2).unwrap();
    let elsewhere = cores.handle(1).unwrap();
    let executor = Executor::builder().core(&cores, 1).build().unwrap();
    let running = elsewhere.spawn_on(pending::<()>);
    executor.turn(&());
    let requested = elsewhere.spawn_on(pending::<()>);
    drop(executor);
    let refused = elsewhere.spawn_on(pending::<()>);
    let waiting = Executor::builder().core(&cores, 0).build().unwrap();
    for task in [running, requested, refused] {
        assert!(waiting.block_on(&(), task).unwrap_err().is_cancelled());
    }
    let error = Executor::builder().core(&cores, 1).build().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
}

/// Whatever becomes of one of them.
#[test]
fn all_that_wait_for_a_core_that_goes_are_told() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped with what was to be spawned");
        }
    }

    let cores = Cores::new(2).unwrap();
    let elsewhere = cores.handle(1).unwrap();
    let executor = Executor::builder().core(&cores, 1).build().unwrap();
    let request = || {
        let bomb = Bomb;
        elsewhere.spawn_on(move || async move { drop(bomb) })
    };
    let early = [request(), request()];
    drop(executor);
    let late = request();
    let waiting = Executor::builder().core(&cores, 0).build().unwrap();
    for task in early.into_iter().chain([late]) {
        assert!(waiting.block_on(&(), task).unwrap_err().is_cancelled());
    }
}

#[test]
fn a_core_that_is_not_there_is_named() {
    let executor = Executor::new().unwrap();
    executor.block_on(&(), async {
        let error = spawn_on(4, || async {}).map(drop).unwrap_err();
        assert_eq!(error.to_string(), "there is no core 4: this runtime has one core, core 0");
    });
    let cores = Cores::new(3).unwrap();
    let error = cores.handle(3).map(drop).unwrap_err();
    assert_eq!(error.to_string(), "there is no core 3: this runtime has 3 cores, 0 to 2");
    let error = Executor::builder().core(&cores, 7).build().unwrap_err();
    assert!(error.to_string().contains("no core 7"), "{error}");
}

/// Threads wake tasks while the executor that owns them is dropped: each future goes, on its own thread.
#[test]
fn waking_and_dropping_at_the_same_time() {
    for round in 0..300 {
        let alive = Rc::new(());
        let executor = Executor::new().unwrap();
        let (send, wakers) = mpsc::channel();
        for _ in 0..8 {
            let (alive, send) = (alive.clone(), send.clone());
            drop(executor.spawn(async move {
                let _alive = alive;
                poll_fn(|cx| {
                    let _ = send.send(cx.waker().clone());
                    Poll::<()>::Pending
                })
                .await;
            }));
        }
        executor.turn(&());
        let wakers: Vec<Waker> = wakers.try_iter().collect();
        assert_eq!(wakers.len(), 8);
        let start = Arc::new(std::sync::Barrier::new(2));
        let storm = thread::spawn({
            let start = start.clone();
            move || {
                start.wait();
                for _ in 0..20 {
                    wakers.iter().for_each(Waker::wake_by_ref);
                }
            }
        });
        start.wait();
        for _ in 0..round % 40 {
            std::hint::spin_loop();
        }
        drop(executor);
        assert_eq!(Rc::strong_count(&alive), 1);
        storm.join().unwrap();
    }
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[test]
fn an_idle_executor_uses_no_cpu() {
    for parking in [Parking::Ppoll, Parking::IoUring] {
        let cores = Cores::new(1).unwrap();
        let Some(executor) = with_parking(parking, &cores, 0) else { continue };
        drop(executor.spawn(pending::<()>()));
        let before = (thread_cpu(), Instant::now());
        executor.block_on(&(), sleep(Duration::from_millis(400)));
        let (cpu, time) = (thread_cpu() - before.0, before.1.elapsed());
        // What a wake-up costs is a matter of the machine, and how many there are is not. Who spins takes all of the time.
        assert!(cpu * 10 < time, "{parking:?}: {cpu:?} of {time:?}");
        let metrics = executor.metrics();
        assert!(metrics.parks < 20 && metrics.turns < 2_000, "{parking:?}: {metrics:?}");
    }
}

#[test]
fn spinning_spins_and_then_sleeps() {
    let spin_for = |spin, length| {
        let config = Config { spin, ..Config::default() };
        let executor = Executor::builder().config(config).build().unwrap();
        executor.block_on(&(), sleep(length));
        executor.metrics()
    };
    // Long enough for a hundred turns, unless others have the processor: not every time.
    let has_spun = (0..20).any(|_| {
        let patient = spin_for(Duration::from_secs(10), Duration::from_millis(50));
        assert_eq!(patient.parks, 0, "{patient:?}");
        patient.idle_turns > 100
    });
    assert!(has_spun);
    let has_slept = (0..20).any(|_| {
        let weary = spin_for(Duration::from_millis(20), Duration::from_millis(100));
        weary.parks > 0 && weary.idle_turns > 100
    });
    assert!(has_slept);
}

/// A reactor that is a pipe.
struct PipeReactor {
    fd: std::os::fd::OwnedFd,
    waker: Cell<Option<Waker>>,
    /// How many have come.
    bytes: Arc<AtomicUsize>,
    deadline: Cell<Option<hayase_time::Instant>>,
}

impl Reactor for PipeReactor {
    fn receive(&self, now: hayase_time::Instant) -> usize {
        if self.deadline.get().is_some_and(|deadline| deadline <= now) {
            self.deadline.set(None);
            return 1;
        }
        let count = rustix::io::read(&self.fd, &mut [0; 16]).unwrap_or(0);
        self.bytes.fetch_add(count, Ordering::SeqCst);
        if count > 0
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
        count
    }

    fn transmit(&self, _now: hayase_time::Instant) -> usize {
        0
    }

    fn deadline(&self) -> Option<hayase_time::Instant> {
        self.deadline.get()
    }

    fn pending(&self) -> bool {
        false
    }

    fn interests(&self, add: &mut dyn FnMut(Interest)) {
        use std::os::fd::AsRawFd;
        add(Interest { fd: self.fd.as_raw_fd(), readable: true, writable: false });
    }
}

#[test]
fn a_device_and_a_deadline_of_the_reactor_wake_the_sleeper() {
    use rustix::pipe::{PipeFlags, pipe_with};
    for parking in [Parking::Ppoll, Parking::IoUring] {
        let cores = Cores::new(1).unwrap();
        let Some(executor) = with_parking(parking, &cores, 0) else { continue };
        let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).unwrap();
        let bytes = Arc::new(AtomicUsize::new(0));
        let reactor = PipeReactor {
            fd: read,
            waker: Cell::new(None),
            bytes: bytes.clone(),
            deadline: Cell::new(Some(executor.now() + Duration::from_millis(3))),
        };
        let writer = thread::spawn(move || {
            for sent in 0..200 {
                // Each for itself, however seldom the reader gets a processor, and when it has had time to lie down again.
                while bytes.load(Ordering::SeqCst) < sent {
                    thread::yield_now();
                }
                thread::sleep(Duration::from_micros(200));
                rustix::io::write(&write, b"x").unwrap();
            }
            write
        });
        let all = poll_fn(|cx| {
            reactor.waker.set(Some(cx.waker().clone()));
            if reactor.bytes.load(Ordering::SeqCst) == 200 { Poll::Ready(()) } else { Poll::Pending }
        });
        executor.block_on(&reactor, async { timeout(LOST, all).await.unwrap() });
        drop(writer.join().unwrap());
        assert_eq!(reactor.deadline.get(), None, "{parking:?}");
        let metrics = executor.metrics();
        assert!(metrics.parks > 20 && metrics.turns < 2_000, "{metrics:?}");
    }
}

#[test]
fn a_handle_can_be_awaited_without_any_executor() {
    struct Thread(thread::Thread);
    impl std::task::Wake for Thread {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let cores = Cores::new(1).unwrap();
    let worker = Worker::start(&cores, 0);
    let mut task = worker.handle.spawn_on(|| async {
        sleep(Duration::from_millis(5)).await;
        "done"
    });
    let waker = Waker::from(Arc::new(Thread(thread::current())));
    let start = Instant::now();
    let output = loop {
        assert!(start.elapsed() < LOST);
        match Pin::new(&mut task).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => break output,
            Poll::Pending => thread::park_timeout(LOST),
        }
    };
    assert_eq!(output.unwrap(), "done");
}

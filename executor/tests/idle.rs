//! What the first request after a while costs: the core was asleep, and no spin helps.

use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use hayase_executor::{Config, Cores, Executor, Parking};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

const ROUNDS: usize = 101;

/// How often both are measured, one after the other, until it is met.
const TURNS: usize = 8;

/// Long enough for every spin to end.
const IDLE: Duration = Duration::from_millis(2);

/// How many wake-ups of a thread that does nothing else the first request may cost.
const WAKE_UPS_MAX: u32 = 3;

/// The lower quartile: what the machine does besides comes on top, and not always.
fn typical(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 4]
}

/// From a write to an eventfd until the thread that sleeps on it is up.
fn wake_up() -> Duration {
    let (bell, (send, receive)) = (eventfd(0, EventfdFlags::CLOEXEC).unwrap(), channel());
    thread::scope(|scope| {
        scope.spawn(|| {
            let send = send;
            for _ in 0..ROUNDS {
                poll(&mut [PollFd::new(&bell, PollFlags::IN)], None).unwrap();
                send.send(Instant::now()).unwrap();
                rustix::io::read(&bell, &mut [0; 8]).unwrap();
            }
        });
        let round = |_| {
            thread::sleep(IDLE);
            let start = Instant::now();
            rustix::io::write(&bell, &1u64.to_ne_bytes()).unwrap();
            receive.recv().unwrap() - start
        };
        typical((0..ROUNDS).map(round).collect())
    })
}

/// From a message to an idle core until the task that it brings runs.
fn first_request(parking: Parking) -> Duration {
    let cores = Cores::new(1).unwrap();
    let handle = cores.handle(0).unwrap();
    let (stop, stopped) = channel();
    let worker = thread::spawn(move || {
        let config = Config { parking, ..Config::default() };
        let executor = Executor::builder().config(config).core(&cores, 0).build().unwrap();
        executor.block_on(&(), async {
            while stopped.try_recv().is_err() {
                hayase_executor::time::sleep(Duration::from_millis(50)).await;
            }
        });
    });
    let round = |_| {
        thread::sleep(IDLE);
        let (send, receive) = channel();
        let start = Instant::now();
        drop(handle.spawn_on(move || async move { send.send(Instant::now()).unwrap() }));
        receive.recv().unwrap() - start
    };
    let time = typical((0..ROUNDS).map(round).collect());
    stop.send(()).unwrap();
    worker.join().unwrap();
    time
}

/// What else the machine does comes on top of both, at any time: they are measured in turns, and one good turn shows what
/// is possible. A wake-up too many is there in every turn.
#[test]
fn the_first_request_after_idle_costs_three_wake_ups_at_most() {
    for parking in [Parking::Auto, Parking::Ppoll] {
        let is_met = (0..TURNS).any(|_| {
            let (wake_up, request) = (wake_up(), first_request(parking));
            println!("a wake-up costs {wake_up:?}, the first request after idle, {parking:?}, {request:?}");
            request <= wake_up * WAKE_UPS_MAX
        });
        assert!(is_met, "{parking:?}: more than {WAKE_UPS_MAX} wake-ups in each of {TURNS} turns");
    }
}

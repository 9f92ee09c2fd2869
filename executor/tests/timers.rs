//! Timers on virtual and on real time.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn, ready};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hayase_executor::time::{
    MissedTickBehavior, interval, interval_at, now, sleep, sleep_until, timeout, timeout_at,
};
use hayase_executor::{Clock, Executor, Interest, Reactor, VirtualClock, VirtualPark, spawn, yield_now};
use hayase_time::Instant;

const TICK: Duration = Duration::from_nanos(1 << 16);

/// An executor whose sleep is a jump.
fn on_virtual_time() -> (Executor, VirtualClock) {
    let clock = VirtualClock::new(Instant::from_millis(123_456));
    let executor = Executor::builder()
        .clock(Clock::Virtual(clock.clone()))
        .park(VirtualPark::new(clock.clone()))
        .build()
        .unwrap();
    (executor, clock)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn sleepers_wake_in_order_never_early_and_at_most_a_tick_late() {
    let (executor, _) = on_virtual_time();
    let woken = Rc::new(RefCell::new(Vec::new()));
    executor.block_on(&(), async {
        let start = now();
        let lengths = [3_600_000, 5, 1, 70_000, 500, 20, 86_400_000, 2];
        let tasks = lengths.map(|length| {
            let woken = woken.clone();
            spawn(async move {
                sleep(ms(length)).await;
                let late = now() - (start + ms(length));
                assert!(now() >= start + ms(length) && late <= TICK, "{length} ms came {late:?} late");
                woken.borrow_mut().push(length);
            })
        });
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert_eq!(*woken.borrow(), [1, 2, 5, 20, 500, 70_000, 3_600_000, 86_400_000]);
    assert!(executor.metrics().parks < 60, "long sleeps are slept in few pieces");
}

/// Notes when it was told to send.
#[derive(Default)]
struct Sent(RefCell<Vec<Instant>>);

impl Reactor for Sent {
    fn receive(&self, _now: Instant) -> usize {
        0
    }

    fn transmit(&self, now: Instant) -> usize {
        self.0.borrow_mut().push(now);
        0
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn pending(&self) -> bool {
        false
    }

    fn interests(&self, _add: &mut dyn FnMut(Interest)) {}
}

/// Else a timer of what was sent might be over before it left.
#[test]
fn what_a_task_wrote_leaves_at_the_time_it_leaves() {
    let (executor, clock) = on_virtual_time();
    let (sent, start) = (Sent::default(), clock.now());
    drop(executor.spawn({
        let clock = clock.clone();
        async move { clock.advance(ms(10)) }
    }));
    executor.turn(&sent);
    assert_eq!(*sent.0.borrow(), [start + ms(10)], "the task has computed for so long");
}

#[test]
fn the_past_is_ready_at_once() {
    let (executor, clock) = on_virtual_time();
    let start = clock.now();
    executor.block_on(&(), async {
        sleep(Duration::ZERO).await;
        sleep_until(Instant::ZERO).await;
        sleep_until(now()).await;
    });
    assert_eq!(clock.now(), start);
}

#[test]
fn a_dropped_sleep_leaves_nothing_behind() {
    let (executor, clock) = on_virtual_time();
    let start = clock.now();
    executor.block_on(&(), async {
        let mut forgotten = Box::pin(sleep(ms(50)));
        assert!(poll_fn(|cx| Poll::Ready(forgotten.as_mut().poll(cx).is_pending())).await);
        drop(forgotten);
        sleep(ms(200)).await;
    });
    assert!(clock.now() - start >= ms(200));
    assert_eq!(executor.metrics().timers_expired, 1);
}

#[test]
fn a_reset_moves_the_instant_both_ways() {
    let (executor, _) = on_virtual_time();
    executor.block_on(&(), async {
        let start = now();
        let mut sleep = pin!(sleep(ms(1_000)));
        assert!(poll_fn(|cx| Poll::Ready(sleep.as_mut().poll(cx).is_pending())).await);
        sleep.as_mut().reset(start + ms(10));
        sleep.as_mut().await;
        assert!(now() - start >= ms(10) && now() - start < ms(11));
        assert!(sleep.is_elapsed());
        sleep.as_mut().reset(start + ms(40));
        assert!(!sleep.is_elapsed());
        sleep.as_mut().await;
        assert!(now() - start >= ms(40) && now() - start < ms(41));
    });
    assert_eq!(executor.metrics().timers_expired, 2);
}

#[test]
fn the_last_waker_is_the_one_that_is_woken() {
    let (executor, _) = on_virtual_time();
    executor.block_on(&(), async {
        let mut sleep = Box::pin(sleep(ms(5)));
        // Polled here first, then moved into a task.
        assert!(poll_fn(|cx| Poll::Ready(sleep.as_mut().poll(cx).is_pending())).await);
        spawn(sleep).await.unwrap();
    });
    assert_eq!(executor.metrics().timers_expired, 1);
}

#[test]
fn a_sleep_may_move_to_another_executor() {
    let (first, clock) = on_virtual_time();
    let mut moved = sleep_until(clock.now() + ms(30));
    first.block_on(&(), async {
        assert!(poll_fn(|cx| Poll::Ready(Pin::new(&mut moved).poll(cx).is_pending())).await);
    });
    let second = Executor::builder()
        .clock(Clock::Virtual(clock.clone()))
        .park(VirtualPark::new(clock))
        .build()
        .unwrap();
    // A timer of the second executor has the key that the sleep has in the first.
    let other = second.spawn(sleep(ms(60)));
    second.turn(&());
    second.block_on(&(), &mut moved);
    drop(moved);
    second.block_on(&(), other).unwrap();
}

#[test]
fn timeouts() {
    let (executor, _) = on_virtual_time();
    executor.block_on(&(), async {
        let start = now();
        assert_eq!(timeout(ms(10), ready(1)).await, Ok(1));
        assert_eq!(timeout(Duration::ZERO, ready(2)).await, Ok(2), "what is ready is not thrown away");
        let elapsed = timeout(ms(10), pending::<()>()).await.unwrap_err();
        assert!(now() - start >= ms(10));
        assert_eq!(io::Error::from(elapsed).kind(), io::ErrorKind::TimedOut);
        assert!(timeout_at(now() + ms(5), sleep(ms(6))).await.is_err());
        assert!(timeout_at(now() + ms(6), sleep(ms(5))).await.is_ok());
        assert!(timeout(Duration::MAX, sleep(ms(5))).await.is_ok());
    });
}

#[test]
fn intervals_keep_their_beat() {
    let (executor, _) = on_virtual_time();
    executor.block_on(&(), async {
        let start = now();
        let mut interval = interval(ms(10));
        assert_eq!(interval.period(), ms(10));
        assert_eq!(interval.tick().await, start, "the first tick is at once");
        for tick in 1..=100 {
            assert_eq!(interval.tick().await, start + ms(10 * tick), "no drift");
        }
        interval.reset();
        let reset = now();
        assert_eq!(interval.tick().await, reset + ms(10));
        interval.reset_immediately();
        assert!(interval.tick().await <= now());
    });
}

#[test]
fn missed_ticks_are_treated_as_chosen() {
    let ticks = |behavior| {
        let (executor, clock) = on_virtual_time();
        executor.block_on(&(), async move {
            let start = now();
            let mut interval = interval_at(start + ms(10), ms(10));
            interval.set_missed_tick_behavior(behavior);
            assert_eq!(interval.missed_tick_behavior(), behavior);
            interval.tick().await;
            // The thread is held up.
            clock.advance(start + ms(47) - clock.now());
            let mut ticks = Vec::new();
            for _ in 0..5 {
                interval.tick().await;
                ticks.push((now() - start).as_millis());
            }
            ticks
        })
    };
    assert_eq!(ticks(MissedTickBehavior::Burst), [47, 47, 47, 50, 60]);
    assert_eq!(ticks(MissedTickBehavior::Delay), [47, 57, 67, 77, 87]);
    assert_eq!(ticks(MissedTickBehavior::Skip), [47, 50, 60, 70, 80]);
}

#[test]
fn a_stall_on_virtual_time_is_named() {
    let stalled = std::panic::catch_unwind(|| on_virtual_time().0.block_on(&(), pending::<()>()));
    let message = *stalled.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("every task waits"), "{message}");
}

#[test]
fn the_time_of_a_turn_stands_still() {
    let executor = Executor::new().unwrap();
    executor.block_on(&(), async {
        let before = now();
        std::thread::sleep(ms(3));
        assert_eq!(now(), before);
        // A duration counts from the clock all the same.
        let start = std::time::Instant::now();
        sleep(ms(2)).await;
        assert!(start.elapsed() >= ms(2));
        assert!(now() - before >= ms(5));
    });
    let before = now();
    std::thread::sleep(ms(1));
    assert!(now() - before >= ms(1), "without an executor it is the clock");
}

#[test]
fn real_sleeps_are_never_short_and_seldom_long() {
    let executor = Executor::new().unwrap();
    executor.block_on(&(), async {
        let times = [100u64, 400, 1_000, 3_000, 1_700, 900];
        let mut shortest_delay = Duration::MAX;
        for (number, micros) in times.into_iter().cycle().take(500).enumerate() {
            let start = std::time::Instant::now();
            sleep(Duration::from_micros(micros)).await;
            let elapsed = start.elapsed();
            assert!(elapsed >= Duration::from_micros(micros), "{micros} us took {elapsed:?}");
            shortest_delay = shortest_delay.min(elapsed - Duration::from_micros(micros));
            // As many as it takes on a busy machine, and each length once.
            if number + 1 >= times.len() && shortest_delay < ms(1) {
                return;
            }
        }
        panic!("all were late by {shortest_delay:?} or more");
    });
}

#[test]
fn a_sleep_is_small_and_can_be_sent() {
    fn is_send<T: Send + Sync + Unpin>(_: &T) {}
    let sleep = sleep(ms(1));
    is_send(&sleep);
    assert!(size_of_val(&sleep) <= 32);
}

#[test]
fn a_waker_that_runs_code_when_dropped_does_no_harm() {
    struct Nosy(Rc<Cell<u32>>);
    impl Drop for Nosy {
        fn drop(&mut self) {
            // Uses the wheel, from within whatever dropped it.
            let mut sleep = sleep(ms(1));
            let _ = Pin::new(&mut sleep).poll(&mut Context::from_waker(Waker::noop()));
            self.0.set(self.0.get() + 1);
        }
    }
    let dropped = Rc::new(Cell::new(0));
    let (executor, _) = on_virtual_time();
    let nosy = Nosy(dropped.clone());
    executor.block_on(&(), async move {
        let task = spawn(async move {
            let _nosy = nosy;
            sleep(ms(1_000)).await;
        });
        yield_now().await;
        task.abort();
        yield_now().await;
    });
    assert_eq!(dropped.get(), 1);
}

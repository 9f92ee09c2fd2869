//! Tasks on one core: spawning, joining, aborting, panicking, dropping, and taking turns.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::future::{Future, pending, poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hayase_executor::time::{sleep, timeout};
use hayase_executor::{
    Config, Executor, Interest, JoinHandle, JoinSet, Reactor, VirtualClock, VirtualPark, spawn, yield_now,
};
use hayase_time::Instant;

fn executor() -> Executor {
    Executor::new().unwrap()
}

/// Sets a flag when it is dropped.
struct Bomb(Rc<Cell<u32>>);

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn outputs_come_back_and_need_not_be_send() {
    let text = executor().block_on(&(), async {
        let shared = Rc::new("hello".to_owned());
        let task = spawn({
            let shared = shared.clone();
            async move {
                yield_now().await;
                shared
            }
        });
        assert!(!task.is_finished());
        let joined = task.await.unwrap();
        assert!(Rc::ptr_eq(&joined, &shared));
        joined.to_string()
    });
    assert_eq!(text, "hello");
}

#[test]
fn a_dropped_handle_detaches() {
    let done = Rc::new(Cell::new(false));
    let executor = executor();
    executor.block_on(&(), async {
        drop(spawn({
            let done = done.clone();
            async move {
                yield_now().await;
                done.set(true);
            }
        }));
        yield_now().await;
        yield_now().await;
    });
    assert!(done.get());
    assert_eq!(executor.metrics().tasks_live, 0);
}

#[test]
fn no_two_tasks_are_called_the_same_while_there_are_handles() {
    executor().block_on(&(), async {
        let mut tasks: Vec<_> = (0..100).map(|n| spawn(async move { n })).collect();
        // Places of those that have ended are taken again.
        for task in &mut tasks {
            task.await.unwrap();
        }
        tasks.extend((0..100).map(|n| spawn(async move { n })));
        let ids: HashSet<_> = tasks.iter().map(JoinHandle::id).collect();
        assert_eq!(ids.len(), tasks.len());
        assert_eq!(ids.iter().map(ToString::to_string).collect::<HashSet<_>>().len(), tasks.len());
        assert!(tasks.iter().all(|task| task.id() == task.abort_handle().id()));
    });
}

#[test]
fn abort_drops_the_future_and_says_so() {
    let dropped = Rc::new(Cell::new(0));
    executor().block_on(&(), async {
        let bomb = Bomb(dropped.clone());
        let task = spawn(async move {
            let _bomb = bomb;
            pending::<()>().await;
        });
        yield_now().await;
        assert_eq!(dropped.get(), 0);
        task.abort();
        let id = task.id();
        let error = task.await.unwrap_err();
        assert!(error.is_cancelled() && !error.is_panic() && error.id() == id);
        assert_eq!(error.to_string(), "the task was cancelled");
        assert!(error.try_into_panic().is_err());
        assert_eq!(dropped.get(), 1, "the future goes before the result comes");
    });
}

#[test]
fn abort_before_the_first_poll_prevents_it() {
    executor().block_on(&(), async {
        let ran = Rc::new(Cell::new(false));
        let task = spawn({
            let ran = ran.clone();
            async move { ran.set(true) }
        });
        task.abort_handle().abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert!(!ran.get());
    });
}

#[test]
fn abort_after_the_end_changes_nothing() {
    executor().block_on(&(), async {
        let task = spawn(ready(7));
        let abort = task.abort_handle();
        yield_now().await;
        assert!(task.is_finished());
        abort.abort();
        // The place of the task may be another's by now.
        let other = spawn(async {
            yield_now().await;
            8
        });
        abort.abort();
        assert_eq!((task.await.unwrap(), other.await.unwrap()), (7, 8));
    });
}

#[test]
fn a_task_can_abort_itself_and_ends_at_its_next_await() {
    executor().block_on(&(), async {
        let handle: Rc<RefCell<Option<JoinHandle<()>>>> = Rc::default();
        let steps = Rc::new(Cell::new(0));
        let task = spawn({
            let (handle, steps) = (handle.clone(), steps.clone());
            async move {
                steps.set(1);
                handle.borrow().as_ref().unwrap().abort();
                yield_now().await;
                steps.set(2);
            }
        });
        *handle.borrow_mut() = Some(task);
        yield_now().await;
        yield_now().await;
        let task = handle.borrow_mut().take().unwrap();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(steps.get(), 1);
    });
}

#[test]
fn a_panic_ends_its_task_only() {
    let executor = executor();
    executor.block_on(&(), async {
        let other = spawn(async {
            yield_now().await;
            yield_now().await;
            "alive"
        });
        let number = std::hint::black_box(7);
        let error = spawn(async move { panic!("number {number}") }).await.unwrap_err();
        assert!(error.is_panic() && !error.is_cancelled());
        assert_eq!(error.to_string(), "the task panicked: number 7");
        assert_eq!(*error.into_panic().downcast::<String>().unwrap(), "number 7");
        assert_eq!(other.await.unwrap(), "alive");
    });
    assert_eq!(executor.metrics().tasks_live, 0);
}

#[test]
fn a_panicking_destructor_ends_its_task_only() {
    struct Grenade;
    impl Drop for Grenade {
        fn drop(&mut self) {
            panic!("pin pulled");
        }
    }
    let executor = executor();
    executor.block_on(&(), async {
        let aborted = spawn(async {
            let _grenade = Grenade;
            pending::<()>().await;
        });
        yield_now().await;
        aborted.abort();
        assert!(aborted.await.unwrap_err().is_panic());
        drop(spawn(async {
            let _grenade = Grenade;
            pending::<()>().await;
        }));
        yield_now().await;
    });
    drop(executor);
}

/// The destructor's panic is the outcome. The output, which nobody gets, has one as well.
#[test]
fn a_destructor_and_an_output_that_panic_end_their_task_only() {
    struct Panics(&'static str);
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("{}", self.0);
        }
    }
    /// A future whose destructor panics after it has ended.
    struct Ends {
        _last: Panics,
    }
    impl Future for Ends {
        type Output = Panics;
        fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Panics> {
            Poll::Ready(Panics("output"))
        }
    }
    executor().block_on(&(), async {
        let error = spawn(Ends { _last: Panics("future") }).await.map(std::mem::forget).unwrap_err();
        assert_eq!(error.to_string(), "the task panicked: future");
        assert_eq!(spawn(async { 7 }).await.unwrap(), 7);
    });
}

#[test]
fn a_panic_of_the_root_leaves_the_executor_usable() {
    let executor = executor();
    let panic = catch_unwind(AssertUnwindSafe(|| executor.block_on(&(), async { panic!("root") })));
    assert!(panic.is_err());
    assert_eq!(executor.block_on(&(), async { 3 }), 3);
    assert!(catch_unwind(|| spawn(ready(()))).is_err(), "nothing is current any more");
}

fn panic_message(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("it did not panic");
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => (*payload.downcast::<&str>().unwrap()).to_owned(),
    }
}

#[test]
fn misuse_is_named() {
    let message = panic_message(|| drop(spawn(ready(()))));
    assert!(message.contains("there is no executor on this thread"), "{message}");
    let message = panic_message(|| {
        let mut sleep = sleep(Duration::from_secs(1));
        let _ = Pin::new(&mut sleep).poll(&mut Context::from_waker(Waker::noop()));
    });
    assert!(message.contains("there is no executor on this thread"), "{message}");
    let message = panic_message(|| {
        executor().block_on(&(), async { executor().block_on(&(), async {}) });
    });
    assert!(message.contains("from within an executor"), "{message}");
    let executor = Rc::new(executor());
    let message = panic_message(|| {
        executor.block_on(&(), {
            let executor = executor.clone();
            async move { executor.turn(&()).worked }
        });
    });
    assert!(message.contains("from one of its own tasks"), "{message}");
}

#[test]
fn a_set_is_collected_from_futures() {
    let outputs = executor().block_on(&(), async {
        let set: JoinSet<u32> = (0..3).map(|number| async move { number }).collect();
        assert_eq!(set.len(), 3);
        set.join_all().await
    });
    assert_eq!(outputs, [0, 1, 2]);
}

#[test]
fn dropping_the_executor_drops_its_tasks_here() {
    let dropped = Rc::new(Cell::new(0));
    let leaked: Rc<RefCell<Vec<Waker>>> = Rc::default();
    let executor = executor();
    let (waiting, asleep, unpolled) = executor.block_on(&(), async {
        let bomb = Bomb(dropped.clone());
        let leak = leaked.clone();
        let waiting = spawn(async move {
            let _bomb = bomb;
            poll_fn(|cx| {
                leak.borrow_mut().push(cx.waker().clone());
                Poll::<()>::Pending
            })
            .await;
        });
        let bomb = Bomb(dropped.clone());
        let asleep = spawn(async move {
            let _bomb = bomb;
            sleep(Duration::from_secs(3_600)).await;
        });
        yield_now().await;
        let bomb = Bomb(dropped.clone());
        (waiting, asleep, spawn(async move { drop(bomb) }))
    });
    assert_eq!((dropped.get(), executor.metrics().tasks_live), (0, 3));
    drop(executor);
    assert_eq!(dropped.get(), 3);
    // Waking what is gone does nothing, from here or from elsewhere.
    for waker in leaked.take() {
        waker.wake_by_ref();
        std::thread::spawn(move || waker.wake()).join().unwrap();
    }
    let later = Executor::new().unwrap();
    for task in [waiting, asleep, unpolled] {
        task.abort();
        assert!(later.block_on(&(), task).unwrap_err().is_cancelled());
    }
}

#[test]
fn destructors_may_use_the_executor_that_goes() {
    struct Spawner(Rc<Cell<u32>>);
    impl Drop for Spawner {
        fn drop(&mut self) {
            let bomb = Bomb(self.0.clone());
            drop(spawn(async move {
                let _bomb = bomb;
                unreachable!("nothing runs any more");
            }));
        }
    }
    let dropped = Rc::new(Cell::new(0));
    let executor = executor();
    let spawner = Spawner(dropped.clone());
    drop(executor.spawn(async move {
        let _spawner = spawner;
        pending::<()>().await;
    }));
    drop(executor);
    assert_eq!(dropped.get(), 1);
}

#[test]
fn a_task_that_owns_its_own_waker_goes_with_the_executor() {
    let dropped = Rc::new(Cell::new(0));
    let executor = executor();
    let bomb = Bomb(dropped.clone());
    drop(executor.spawn(async move {
        let _bomb = bomb;
        let mut own = None;
        poll_fn(|cx| {
            own = Some(cx.waker().clone());
            Poll::<()>::Pending
        })
        .await;
        drop(own);
    }));
    executor.turn(&());
    drop(executor);
    assert_eq!(dropped.get(), 1);
}

/// Counts its calls, in order.
#[derive(Default)]
struct Log {
    calls: RefCell<Vec<&'static str>>,
    waker: RefCell<Option<Waker>>,
}

impl Reactor for Log {
    fn receive(&self, _now: Instant) -> usize {
        self.calls.borrow_mut().push("receive");
        let waker = self.waker.take();
        waker.map_or(0, |waker| {
            waker.wake();
            1
        })
    }

    fn transmit(&self, _now: Instant) -> usize {
        self.calls.borrow_mut().push("transmit");
        0
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn pending(&self) -> bool {
        self.waker.borrow().is_some()
    }

    fn interests(&self, _add: &mut dyn FnMut(Interest)) {}
}

#[test]
fn a_reply_leaves_in_the_turn_of_its_request() {
    let executor = executor();
    let log = Rc::new(Log::default());
    drop(executor.spawn({
        let log = log.clone();
        async move {
            let mut first = true;
            poll_fn(|cx| {
                if std::mem::take(&mut first) {
                    *log.waker.borrow_mut() = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Poll::Ready(())
            })
            .await;
            // The reply is another task's work.
            let log = log.clone();
            drop(spawn(async move { log.calls.borrow_mut().push("reply") }));
        }
    }));
    assert!(executor.turn(&*log).worked);
    log.calls.borrow_mut().clear();
    assert!(executor.turn(&*log).worked);
    assert_eq!(*log.calls.borrow(), ["receive", "reply", "transmit"]);
    assert!(!executor.turn(&*log).worked);
}

#[test]
fn busy_tasks_do_not_starve_the_reactor_or_each_other() {
    let config = Config { polls_max: 10, ..Config::default() };
    let executor = Executor::builder().config(config).build().unwrap();
    let counts = [const { Cell::new(0u32) }; 3];
    let counts: &'static [Cell<u32>; 3] = Box::leak(Box::new(counts));
    for count in counts {
        drop(executor.spawn(async move {
            loop {
                count.set(count.get() + 1);
                yield_now().await;
            }
        }));
    }
    let log = Log::default();
    for _ in 0..30 {
        assert!(executor.turn(&log).worked);
    }
    assert_eq!(log.calls.borrow().len(), 60, "each turn received and transmitted");
    assert_eq!(counts.each_ref().map(Cell::get), [100; 3], "10 polls a turn, shared fairly");
    assert_eq!(executor.metrics().polls, 300);
}

/// The root may wait for a task without sleeping.
#[test]
fn with_a_single_poll_for_a_turn_a_task_runs_beside_the_root() {
    let config = Config { polls_max: 1, ..Config::default() };
    let executor = Executor::builder().config(config).build().unwrap();
    executor.block_on(&(), async {
        let task = spawn(async {});
        for _ in 0..10 {
            yield_now().await;
        }
        assert!(task.is_finished());
    });
}

#[test]
fn the_root_is_neither_starved_nor_greedy() {
    let executor = executor();
    let (ran, rounds) = (Rc::new(Cell::new(0u32)), 50);
    drop(executor.spawn({
        let ran = ran.clone();
        async move {
            loop {
                ran.set(ran.get() + 1);
                yield_now().await;
            }
        }
    }));
    executor.block_on(&(), async {
        for _ in 0..rounds {
            yield_now().await;
        }
    });
    assert!(ran.get() >= rounds, "the task ran {} times", ran.get());
    assert!(executor.metrics().turns <= u64::from(rounds) + 1, "the root runs in every turn");
}

#[test]
fn tasks_survive_the_end_of_block_on() {
    let executor = executor();
    let mut task = None;
    executor.block_on(&(), async {
        task = Some(spawn(async {
            sleep(Duration::from_millis(2)).await;
            5
        }));
    });
    let task = task.unwrap();
    assert_eq!(executor.block_on(&(), task).unwrap(), 5);
}

/// A look in between, for whatever has ended already, is not the wait.
#[test]
fn a_try_takes_nothing_from_whoever_waits_for_a_set() {
    let joined = executor().block_on(&(), async {
        let mut set = JoinSet::new();
        set.spawn(async {
            sleep(Duration::from_millis(5)).await;
            7
        });
        let join = poll_fn(|cx| {
            let joined = set.poll_join_next(cx);
            if joined.is_pending() {
                assert!(set.try_join_next().is_none());
            }
            joined
        });
        timeout(Duration::from_secs(5), join).await
    });
    assert_eq!(joined.expect("nobody was woken").unwrap().unwrap(), 7);
}

#[test]
fn a_set_joins_in_the_order_of_ending() {
    let clock = VirtualClock::default();
    let executor = Executor::builder()
        .clock(hayase_executor::Clock::Virtual(clock.clone()))
        .park(VirtualPark::new(clock))
        .build()
        .unwrap();
    executor.block_on(&(), async {
        let mut set = JoinSet::new();
        assert!(set.join_next().await.is_none());
        for ms in [30u64, 10, 20] {
            set.spawn(async move {
                sleep(Duration::from_millis(ms)).await;
                ms
            });
        }
        assert!(set.try_join_next().is_none());
        let mut order = Vec::new();
        while let Some(result) = set.join_next().await {
            order.push(result.unwrap());
        }
        assert_eq!(order, [10, 20, 30]);

        let abort = set.spawn(pending());
        let panics = set.spawn(async { panic!("one of many") });
        abort.abort();
        let mut errors = [set.join_next().await, set.join_next().await].map(|r| r.unwrap().unwrap_err());
        errors.sort_by_key(hayase_executor::JoinError::is_panic);
        assert!(errors[0].is_cancelled() && errors[1].is_panic());
        assert_eq!(errors.map(|error| error.id()), [abort.id(), panics.id()]);
        assert!(set.is_empty());

        set.spawn(pending());
        set.shutdown().await;
        assert_eq!(set.len(), 0);
        for n in 0..3 {
            set.spawn(ready(n));
        }
        assert_eq!(set.join_all().await, [0, 1, 2]);
    });
}

#[test]
fn dropping_a_set_aborts_and_detaching_does_not() {
    let dropped = Rc::new(Cell::new(0));
    let executor = executor();
    executor.block_on(&(), async {
        let waits = |bomb: Bomb| async move {
            let _bomb = bomb;
            pending::<()>().await;
        };
        let mut kept = JoinSet::new();
        kept.spawn(waits(Bomb(dropped.clone())));
        kept.detach_all();
        drop(kept);
        let mut set = JoinSet::new();
        set.spawn(waits(Bomb(dropped.clone())));
        drop(set);
        yield_now().await;
        assert_eq!(dropped.get(), 1);
    });
    assert_eq!(executor.metrics().tasks_live, 1);
}

#[test]
fn a_foreign_loop_hears_of_wakes() {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let executor = executor();
    let slot: Rc<RefCell<Option<Waker>>> = Rc::default();
    let polls = Rc::new(Cell::new(0));
    drop(executor.spawn({
        let (slot, polls) = (slot.clone(), polls.clone());
        poll_fn(move |cx| {
            *slot.borrow_mut() = Some(cx.waker().clone());
            polls.set(polls.get() + 1);
            Poll::<()>::Pending
        })
    }));
    assert!(executor.deadline().is_some_and(|deadline| deadline <= executor.now()), "a task waits to run");
    assert!(executor.prepare_park().is_none());
    while executor.turn(&()).worked {}
    assert_eq!((executor.deadline(), polls.get()), (None, 1));

    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    for (round, entered) in [true, false, true].into_iter().enumerate() {
        let parked = executor.prepare_park().expect("nothing to do");
        let guard = entered.then(|| executor.enter());
        let rings = || poll(&mut [PollFd::new(&parked, PollFlags::IN)], Some(&at_once)).unwrap();
        assert_eq!(rings(), 0);
        slot.borrow().as_ref().unwrap().wake_by_ref();
        assert_eq!(rings(), 1, "entered: {entered}");
        drop(guard);
        executor.unpark(parked);
        assert!(executor.turn(&()).worked);
        assert_eq!(polls.get(), round + 2);
    }
}

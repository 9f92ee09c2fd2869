//! Stages that need no connection.

use std::cell::Cell;
use std::future::poll_fn;
use std::hint::black_box;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use hayase_device::conformance::packet::{Ip, Packet};
use hayase_device::heap::{HeapFrame, Pool, PoolConfig};
use hayase_device::{Burst, Device, Frame, Offloads, TxMeta, checksum};
use hayase_executor::{Clock, Executor, VirtualClock};
use hayase_stack::{Config, Instant, Stack};
use hayase_time::Wheel;
use hayase_wire::{EndConfig, Wire, WireConfig};

/// An executor whose time stands still. How often the clock is read and not the counter depends on the time that a turn takes,
/// and that on the machine.
fn executor() -> Executor {
    let clock = Clock::Virtual(VirtualClock::default());
    Executor::builder().clock(clock).build().expect("an executor")
}

/// The checksum of so many bytes.
pub(crate) fn checksum(count: u64, len: usize) {
    let bytes = vec![0x5a; len];
    for _ in 0..count {
        black_box(checksum::checksum(black_box(&bytes)));
    }
}

/// A frame that is for another host: dropped as early as a stack can.
pub(crate) fn foreign_frame(count: u64) {
    let (mut far, mut near) = Wire::pair(WireConfig::default());
    let now = Instant::from_millis(1);
    let mut stack = Stack::<HeapFrame>::new(Config::default(), near.caps(), near.mac(), [1; 32], now);
    let mut burst = Burst::new(64);
    for _ in 0..count {
        let mut frame = far.alloc(60).expect("the pool is not empty");
        frame.extend(60).expect("there is room").fill(2);
        far.transmit(frame, TxMeta::default());
        near.receive(&mut burst);
        stack.receive(now, &mut burst, &mut near);
    }
}

/// A timer set, moved and taken back, among a thousand others.
pub(crate) fn timer(count: u64) {
    let now = Instant::from_millis(1);
    let mut wheel = Wheel::new(now);
    let at = |index: u64| now + Duration::from_micros(100 + index * 997 % 1_000_000);
    for index in 0..1000 {
        wheel.insert(at(index), index);
    }
    for index in 0..count {
        let key = wheel.insert(at(index), index);
        black_box(wheel.reset(key, at(index + 1)));
        black_box(wheel.remove(key));
    }
}

/// A super-segment of 62,000 bytes over a wire whose other end takes none: cut in software, with checksums.
pub(crate) fn cut_64k(count: u64) {
    let mut config = WireConfig::default();
    config.b = EndConfig { offloads: Offloads::NONE, ..config.b };
    let (mut a, mut b) = Wire::pair(config);
    let mut burst = Burst::new(64);
    let packet = Packet::tcp(Ip::V4, 62_000);
    let (bytes, meta) = (packet.build_partial(), packet.segmentation_meta(1448));
    for _ in 0..count {
        let mut frame = a.alloc(bytes.len()).expect("the pool is not empty");
        frame.extend(bytes.len()).expect("there is room").copy_from_slice(&bytes);
        a.transmit(frame, meta);
        while b.receive(&mut burst) > 0 {
            burst.drain().for_each(drop);
        }
    }
}

/// A task that is spawned, runs once and is joined.
pub(crate) fn task_spawn(count: u64) {
    let executor = executor();
    executor.block_on(&(), async move {
        for _ in 0..count {
            hayase_executor::spawn(async {}).await.expect("it ends");
        }
    });
}

/// A frame's life without a device: taken, filled, shared, sent home.
pub(crate) fn frame(count: u64) {
    let pool = Pool::new(PoolConfig::default());
    for _ in 0..count {
        let mut frame = pool.alloc(1).expect("the pool is not empty");
        frame.extend(1).expect("there is room")[0] = 1;
        black_box(frame.share());
    }
}

/// A frame to the other end and back, without a stack.
pub(crate) fn wire_echo(count: u64) {
    let (mut a, mut b) = Wire::pair(WireConfig::default());
    let mut burst = Burst::new(64);
    for _ in 0..count {
        let mut frame = a.alloc(60).expect("the pool is not empty");
        frame.extend(60).expect("there is room").fill(0);
        a.transmit(frame, TxMeta::default());
        a.flush();
        b.receive(&mut burst);
        for (frame, _) in burst.drain() {
            b.transmit(frame, TxMeta::default());
        }
        b.flush();
        a.receive(&mut burst);
        burst.drain().for_each(drop);
    }
}

/// A task that wakes itself.
pub(crate) fn task_wake(count: u64) {
    let executor = executor();
    executor.block_on(&(), async move {
        for _ in 0..count {
            hayase_executor::yield_now().await;
        }
    });
}

/// A task that waits is woken by another, runs, and wakes that one: two wakes and two polls.
pub(crate) fn task_wake_waiter(count: u64) {
    let executor = executor();
    let bells: [Rc<Bell>; 2] = Default::default();
    executor.block_on(&(), async move {
        let [here, there] = bells;
        let other = hayase_executor::spawn(answer(Rc::clone(&there), Rc::clone(&here), count));
        answer(here, there, count).await;
        other.await.expect("it ends");
    });
}

/// A place where one task waits and another rings.
#[derive(Default)]
struct Bell {
    rung: Cell<u64>,
    waiter: Cell<Option<Waker>>,
}

/// Rings there, waits here, and again.
async fn answer(here: Rc<Bell>, there: Rc<Bell>, count: u64) {
    for number in 1..=count {
        there.rung.set(number);
        if let Some(waiter) = there.waiter.take() {
            waiter.wake();
        }
        poll_fn(|cx| {
            if here.rung.get() >= number {
                return Poll::Ready(());
            }
            here.waiter.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

/// A turn of an executor that has nothing to do.
pub(crate) fn idle_turn(count: u64) {
    let executor = executor();
    for _ in 0..count {
        executor.turn(&());
    }
}

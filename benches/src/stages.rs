//! Stages that need no connection.

use std::hint::black_box;

use hayase_device::heap::{Pool, PoolConfig};
use hayase_device::{Burst, Device, Frame, TxMeta, checksum};
use hayase_executor::Executor;
use hayase_wire::{Wire, WireConfig};

/// The checksum of a full segment.
pub(crate) fn checksum_1460(count: u64) {
    let bytes = [0x5a; 1460];
    for _ in 0..count {
        black_box(checksum::checksum(black_box(&bytes)));
    }
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
    let executor = Executor::new().expect("an executor");
    executor.block_on(&(), async move {
        for _ in 0..count {
            hayase_executor::yield_now().await;
        }
    });
}

/// A turn of an executor that has nothing to do.
pub(crate) fn idle_turn(count: u64) {
    let executor = Executor::new().expect("an executor");
    for _ in 0..count {
        executor.turn(&());
    }
}

//! Hayase's executor: one thread, its tasks and its timers, turning around a [`Reactor`].
//!
//! A turn is receive, run, transmit: the reactor's way in wakes tasks, the tasks read and write, and the
//! reactor's way out carries what they wrote, so that a reply leaves in the turn in which its request came.
//! When a turn finds nothing to do, the thread sleeps until a descriptor, a deadline or another core wakes it.
//! The executor knows neither TCP nor any device.
//!
//! - [`Executor`] runs tasks: [`block_on`](Executor::block_on), or [`turn`](Executor::turn) from somebody else's loop.
//! - [`spawn`], [`spawn_on`], [`JoinHandle`], [`JoinSet`], [`yield_now`]: tasks. They need not be `Send`.
//! - [`time`]: [`sleep`](time::sleep), [`timeout`](time::timeout), [`interval`](time::interval).
//! - [`Cores`] and [`Handle`]: the executors of the other cores.
//!
//! ```
//! use std::time::Duration;
//!
//! let executor = hayase_executor::Executor::new().unwrap();
//! let answer = executor.block_on(&(), async {
//!     let task = hayase_executor::spawn(async {
//!         hayase_executor::time::sleep(Duration::from_millis(1)).await;
//!         42
//!     });
//!     task.await.unwrap()
//! });
//! assert_eq!(answer, 42);
//! ```
//!
//! # What wakes what
//! A waker is a number: which core, and which of its tasks. A wake on the executor's own thread pushes the task into a
//! plain queue, with neither lock nor atomic operation. A wake from another thread leaves it in the mailbox of the task's
//! core, once however often it is woken, and rings (an eventfd) only if that core sleeps.
#![deny(unsafe_code)]

mod clock;
mod config;
mod core;
mod cores;
mod current;
mod doorbell;
mod executor;
mod flags;
mod mailbox;
mod metrics;
mod numbers;
mod park;
mod reactor;
mod root;
mod spin;
mod sync;
#[allow(unsafe_code)]
mod sys;
mod task;
mod ticker;
pub mod time;
mod turn;

pub use crate::clock::{Clock, VirtualClock};
pub use crate::config::{Config, Parking};
pub use crate::cores::{Cores, Handle, NoSuchCore, spawn_on};
pub use crate::executor::{Builder, Enter, Executor, Turn};
pub use crate::mailbox::Parked;
pub use crate::metrics::Metrics;
pub use crate::park::{Park, VirtualPark};
pub use crate::reactor::{Interest, Reactor};
pub use crate::task::{
    AbortHandle, Id, JoinError, JoinHandle, JoinSet, TaskWaker, Waking, YieldNow, spawn, waking, yield_now,
};

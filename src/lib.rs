//! Async networking on its own TCP/IP stack: a thread-per-core executor whose reactor *is* the stack.
//!
//! `TcpStream`, `TcpListener` and `UdpSocket` resolve straight from the queues of a NIC. The API is shaped as
//! tokio's:
//!
//! ```no_run
//! use hayase::net::TcpListener;
//!
//! #[hayase::main]
//! async fn main() -> std::io::Result<()> {
//!     let listener = TcpListener::bind("[::]:7").await?;
//!     loop {
//!         let (mut stream, _peer) = listener.accept().await?;
//!         hayase::spawn(async move {
//!             let mut buf = [0; 4096];
//!             while let Ok(len @ 1..) = stream.read(&mut buf).await {
//!                 if stream.write_all(&buf[..len]).await.is_err() {
//!                     break;
//!                 }
//!             }
//!         });
//!     }
//! }
//! ```
//!
//! - [`net`]: sockets. [`io`]: readiness, zero-copy reads and writes. [`time`]: timers and clocks. [`task`]: tasks, their handles,
//!   and sets of them.
//! - [`main`] and [`test`](macro@test), or [`Runtime`] and its [`Builder`], run the code; [`DeviceSpec`]
//!   names the device.
//! - [`Handle`]: a runtime for other threads.
//! - [`Host`]: addresses, routes, offloads, counters.
//! - [`Reactor`]: the network alone, for loops that are not ours.
//!
//! # One turn
//! `receive` takes frames from the device through the stack to the sockets and wakes tasks; the tasks read
//! and write; `transmit` carries what they wrote to the device. So a reply leaves in the turn in which its
//! request came, together with the acknowledgement.
//!
//! # Threads
//! A shard (stack, device queue, executor) belongs to one thread, and so do its sockets and tasks; nothing on
//! the path is locked or atomic. [`Builder::cores`] makes one for each core. Sockets are integers, and so `Send` and `Sync`,
//! for the sake of code with such bounds; used on another thread they return errors that say so, unless the stack has a
//! thread of its own ([`Model`]).
//!
//! # Features
//! - `tap` (default): TAP interfaces of Linux.
//! - `xdp` (default): the queues of a network interface, through AF_XDP of Linux.
//! - `kernel` (default): the same API over the sockets of Linux.
//! - `dpdk`: devices of DPDK's drivers. Needs `libdpdk-dev` and `pkg-config`.
//! - `netmap`: netmap's rings, switches and pipes. Needs netmap's kernel module to run.
//! - `tokio`: tokio's `AsyncRead` and `AsyncWrite` on our types. Those of `futures` are always there.
#![forbid(unsafe_code)]

/// The program in README.md, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

// So that what the macros write works in this crate, too.
#[cfg(test)]
extern crate self as hayase;

mod capture;
pub mod counters;
mod door;
mod drained;
mod error;
mod host;
pub mod io;
#[cfg(feature = "kernel")]
mod kernel;
mod mailbox;
mod mains;
pub mod net;
mod reactor;
mod remote;
mod runtime;
mod scope;
mod several;
mod shard;
mod steering;
mod sync;
pub mod task;
#[cfg(test)]
mod tests;
mod tray;
mod turn;
mod wakers;
mod wide;

pub use capture::Capture;
pub use hayase_device::Offloads;
pub use hayase_executor::{Metrics, Parking};
pub use hayase_macros::{main, test};
pub use hayase_stack as stack;
pub use hayase_stack::{AddressState, Cidr};
pub use host::{Entered, Host, Scope};
pub use reactor::Reactor;
pub use runtime::{
    Builder, DeviceSpec, DpdkSpec, Enter, Handle, LinkSpec, Model, NetmapSpec, ParseModelError,
    ParseSpecError, Runtime, TapSpec, WireSpec, XdpKeep, XdpMode, XdpSpec,
};
pub use steering::AcceptPolicy;
pub use task::{spawn, spawn_on};

pub mod time {
    //! Timers, and the time of the turn.
    //!
    //! A timer never fires early, and at most 65.5 us after its instant plus what the turn under way takes, or the waking of a
    //! thread that sleeps.
    //!
    //! [`Instant`] is a number of nanoseconds, and reads no clock. In place of `Instant::now()` there is [`now`], the time of the
    //! present turn, which makes deadlines; and [`clock_now`] to measure with: `clock_now() - start` in place of
    //! `start.elapsed()`.

    pub use hayase_executor::time::{
        Elapsed, Interval, MissedTickBehavior, Sleep, Timeout, clock_now, interval, interval_at, now, sleep,
        sleep_until, timeout, timeout_at,
    };
    pub use hayase_time::Instant;
    pub use std::time::Duration;

    pub mod error {
        //! Errors of timers.

        pub use hayase_executor::time::Elapsed;
    }
}

pub mod device {
    //! The seam between the stack and a NIC, and the backends.

    pub use hayase_device::*;
    #[cfg(feature = "dpdk")]
    pub use hayase_dpdk as dpdk;
    #[cfg(feature = "netmap")]
    pub use hayase_netmap as netmap;
    #[cfg(feature = "tap")]
    pub use hayase_tap as tap;
    pub use hayase_wire as wire;
    #[cfg(feature = "xdp")]
    pub use hayase_xdp as xdp;
}

/// What the macros call. Not part of the API.
#[doc(hidden)]
pub mod __private {
    pub use crate::mains::{Outcome, block_on, block_on_each};
    use crate::{DeviceSpec, Host, Model, Runtime, WireSpec};

    /// Runs a test on the client's host of a wire.
    #[cfg(not(test))]
    pub fn run_test<F: Future>(test: impl FnOnce(Host, Host) -> F) -> F::Output {
        run_test_on(Model::default(), test)
    }

    /// Runs a test of this crate with every CPU model.
    #[cfg(test)]
    pub fn run_test<F: Future<Output: Outcome>>(test: impl Fn(Host, Host) -> F) -> F::Output {
        let [first, rest @ ..] = Model::ALL;
        rest.into_iter().fold(run_test_on(first, &test), |output, model| {
            if output.is_failure() { output } else { run_test_on(model, &test) }
        })
    }

    fn run_test_on<F: Future>(model: Model, test: impl FnOnce(Host, Host) -> F) -> F::Output {
        let wire = DeviceSpec::Wire(WireSpec::default());
        let runtime = Runtime::builder().device(wire).model(model).build().expect("a runtime on a wire");
        let (server, client) = (runtime.host(), runtime.peer().expect("a wire has two ends"));
        // Seen if the test fails.
        println!("model {model}");
        runtime.block_on(client.scope(async { test(client, server).await }))
    }
}

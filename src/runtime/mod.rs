//! The runtime: an executor on each core, and on core 0 the network.

mod builder;
mod device;
mod spec;
mod workers;

pub use builder::Builder;
pub use spec::{DeviceSpec, ParseSpecError, TapSpec, WireSpec};

use std::time::Duration;

use hayase_executor::{Clock, Executor, Metrics};

use crate::host::{self, Host, Scope};
use crate::reactor::Reactor;
use workers::Workers;

/// Runs async code on Hayase.
///
/// ```
/// use hayase::Runtime;
///
/// let runtime = Runtime::builder().device("wire".parse()?).build()?;
/// let addresses = runtime.block_on(async { hayase::Host::current()?.addresses() })?;
/// assert!(addresses.contains(&"10.7.0.2/24".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Dropping
/// All tasks are cancelled, and their sockets closed. What had been written is still sent, for half a second
/// at most; then the hosts vanish.
#[derive(Debug)]
pub struct Runtime {
    /// `None` only while it is being dropped.
    executor: Option<Executor>,
    reactor: Reactor,
    workers: Workers,
    hosts: Vec<Host>,
}

/// How long a runtime that is being dropped goes on sending.
const LINGER: Duration = Duration::from_millis(500);

/// How long such a runtime sleeps between two turns.
const LINGER_NAP: Duration = Duration::from_micros(200);

impl Runtime {
    /// A runtime with every choice left to the defaults: see [`Builder`].
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn new() -> std::io::Result<Runtime> {
        Runtime::builder().build()
    }

    /// Where everything about a runtime can be chosen.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Runs `future`, and all tasks beside it, until it has ended.
    ///
    /// # Panics
    /// If it is called from within a runtime: await the future instead. If the future panics.
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let chosen = host::chosen();
        let _default = host::forget_chosen();
        self.executor().block_on(&self.reactor, Scope::new(chosen, future))
    }

    /// Its hosts. The first is the one that `block_on` and `spawn` mean. On a wire the second is the other end.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The host that `block_on` and `spawn` mean.
    pub fn host(&self) -> Host {
        self.hosts[0]
    }

    /// On a wire, the host at its other end.
    pub fn peer(&self) -> Option<Host> {
        self.host().peer()
    }

    /// Number of cores, this thread's included.
    pub fn cores(&self) -> usize {
        self.executor().handle().cores().count()
    }

    /// What the executor of this thread has counted.
    pub fn metrics(&self) -> Metrics {
        self.executor().metrics()
    }

    /// How this thread sleeps when there is nothing to do: `io_uring` or `ppoll`.
    pub fn parking(&self) -> &'static str {
        self.executor().parking()
    }

    /// Makes this runtime the current one of the thread, so that `spawn` and `sleep` work outside of
    /// `block_on`.
    #[must_use = "the runtime is current only as long as this value lives"]
    pub fn enter(&self) -> hayase_executor::Enter<'_> {
        self.executor().enter()
    }

    fn executor(&self) -> &Executor {
        self.executor.as_ref().expect("a runtime has its executor until it is dropped")
    }

    /// Turns for as long as the stack has something to do soon, as a retransmission has that waits for its ACK.
    fn linger(&self) {
        let end = Clock::Monotonic.now() + LINGER;
        loop {
            let now = Clock::Monotonic.now();
            let worked = self.reactor.turn(now);
            let done =
                !self.reactor.pending() && self.reactor.deadline().is_none_or(|deadline| deadline > end);
            if done || now >= end {
                break;
            }
            if !worked {
                std::thread::sleep(LINGER_NAP);
            }
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.workers.stop();
        // Tasks own sockets: they go while the network is still there.
        drop(self.executor.take());
        // On a wire, the peer goes as well.
        if self.peer().is_none() {
            self.linger();
        }
    }
}

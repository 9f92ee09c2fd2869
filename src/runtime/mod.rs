//! The runtime: on each core an executor and a network of its own.

mod apart;
mod builder;
mod cpus;
mod device;
mod devices;
mod handle;
mod model;
mod network;
mod secret;
mod spec;
mod workers;

pub(crate) use apart::StackThread;
pub use builder::Builder;
pub(crate) use device::Queue;
pub use handle::Handle;
pub use model::{Model, ParseModelError};
pub use spec::{
    DeviceSpec, DpdkSpec, LinkSpec, NetmapSpec, ParseSpecError, TapSpec, WireSpec, XdpKeep, XdpMode, XdpSpec,
};

use hayase_executor::{Executor, JoinHandle, Metrics};

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
/// Its network gets on while it runs: outside of [`block_on`](Runtime::block_on) and [`enter`](Runtime::enter) sockets are opened
/// on its host only where the stack has a thread to itself ([`Model`]), and are errors elsewhere.
///
/// It stays on the thread that has built it, which is core 0: it is neither `Send` nor `Sync`. Other threads have its
/// [`handle`](Runtime::handle).
///
/// # Dropping
/// All tasks are cancelled, and their sockets closed. What had been written is still sent, for half a second
/// at most after the tasks of all cores have ended; then the hosts vanish. The drop waits for that, and for
/// the threads of other cores and of stacks.
///
/// # Panics
/// When it is dropped, if one of these threads has panicked.
#[derive(Debug)]
pub struct Runtime {
    /// `None` only while it is being dropped.
    executor: Option<Executor>,
    pub(crate) reactor: Reactor,
    workers: Workers,
    hosts: Vec<Host>,
    /// Where the stack has a thread to itself, until the runtime is dropped.
    shared: Option<host::Shared>,
}

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
    /// If it is called from within a runtime: await the future instead. If the future panics. If the kernel refuses to let the thread
    /// sleep, as a sandbox may that allows neither io_uring nor `ppoll`.
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let chosen = host::chosen();
        let _default = (host::default_to(self.host()), host::forget_chosen());
        let _turning = Turning(&self.reactor);
        self.executor().block_on(&self.reactor, Scope::new(chosen, future))
    }

    /// Runs `future` as a task of core 0, on this runtime's [host](Self::host), during [`block_on`](Self::block_on). As
    /// [`hayase::spawn`](crate::spawn), which is for tasks, and inherits their host.
    ///
    /// ```
    /// let runtime = hayase::Runtime::builder().device("wire".parse()?).build()?;
    /// let task = runtime.spawn(async { 1 + 1 });
    /// assert_eq!(runtime.block_on(task)?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.executor().spawn(future)
    }

    /// Core 0 for other threads, to start tasks on it.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::new(self.executor().handle())
    }

    /// Its hosts. The first is the one that `block_on` and `spawn` mean. On a wire the second is the other end. On several
    /// devices, the first is all of them together, and behind it each comes by itself.
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

    /// Number of cores, this thread's included: core 0.
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
    /// `block_on`, and sockets are opened on its host. Of several such values, drop the last first.
    #[must_use = "the runtime is current only as long as this value lives"]
    pub fn enter(&self) -> Enter<'_> {
        Enter { _host: host::default_to(self.host()), _executor: self.executor().enter() }
    }

    fn executor(&self) -> &Executor {
        self.executor.as_ref().expect("a runtime has its executor until it is dropped")
    }
}

/// Keeps a runtime current: see [`Runtime::enter`].
#[derive(Debug)]
#[must_use = "the runtime is current only as long as this value lives"]
pub struct Enter<'a> {
    _host: host::Default,
    _executor: hayase_executor::Enter<'a>,
}

/// A reactor that is turned around, until this is dropped.
struct Turning<'a>(&'a Reactor);

impl Drop for Turning<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.shared = None;
        // What destructors of tasks do, they do on this runtime's host.
        let _default = (host::default_to(self.host()), host::forget_chosen());
        self.workers.stop();
        // Tasks own sockets: they go while the network is still there.
        drop(self.executor.take());
        self.workers.linger(&self.reactor);
        // The other cores' stacks, which their threads wait for, may wait for this one's.
        self.reactor.close();
        self.workers.join();
    }
}

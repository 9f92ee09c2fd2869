//! A stack on a thread of its own: the CPU models split and merge.

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use hayase_executor::{AbortHandle, Config, Executor, Handle};
use hayase_stack::Config as StackConfig;

use super::cpus::{Bound, Cpus};
use super::device::Queue;
use super::model::Model;
use super::network::{self, Ending, LINGER, Unfinished};
use crate::door;
use crate::host::Host;
use crate::reactor::Reactor;
use crate::remote::Connector;

/// Which CPUs the threads of a runtime are bound to.
///
/// Core i has the i-th CPU of those that are allowed. In the model split, the stacks have the CPUs behind those of the
/// cores; with too few CPUs, threads share. On a wire, both ends are on the one thread of the stack, and the tasks of
/// both hosts on the other: neither host is favoured, and nothing but rings lies between the CPUs.
#[derive(Debug, Clone)]
pub(super) struct Placement {
    model: Model,
    cores: usize,
    cpus: Cpus,
    executor: Config,
    /// That of the stacks of all cores.
    ending: Ending,
}

impl Placement {
    /// For this thread, which is core 0, and the others of its runtime.
    pub(super) fn new(model: Model, cores: usize, cpus: Cpus, executor: &Config) -> Placement {
        Placement { model, cores, cpus, executor: executor.clone(), ending: Ending::default() }
    }

    /// The queue of core `core`, with its stack where the model wants it.
    pub(super) fn place(self, core: usize, queue: Queue) -> Queue {
        match self.model {
            Model::Unified => queue,
            Model::Split | Model::Merge => {
                Box::new(move |reactor, stack| self.attach(core, queue, reactor, stack))
            }
        }
    }

    /// Starts the thread of a stack, and connects this thread, which is the core's.
    fn attach(
        self,
        core: usize,
        queue: Queue,
        reactor: &mut Reactor,
        stack: &StackConfig,
    ) -> io::Result<Vec<Host>> {
        let (thread, served) = StackThread::start(core, queue, self, stack)?;
        reactor.keep(thread);
        let hosts: Vec<Host> =
            served.connectors.iter().map(|connector| reactor.connect(connector)).collect::<Result<_, _>>()?;
        for (host, peer) in hosts.iter().zip(&served.peers) {
            if let Some(peer) = peer.and_then(|peer| hosts.get(peer)) {
                door::join(host.shard(), peer.shard())?;
                reactor.join(*host, *peer);
            }
        }
        Ok(hosts)
    }

    fn cpu_of_stack(&self, core: usize) -> usize {
        match self.model {
            Model::Split => self.cores + core,
            Model::Unified | Model::Merge => core,
        }
    }
}

/// What a stack's thread has to offer.
struct Served {
    /// In the order of the queue's hosts.
    connectors: Vec<Connector>,
    /// For each of these, which one is at the other end of its wire.
    peers: Vec<Option<usize>>,
    stop: AbortHandle,
}

/// The thread of a stack. Dropping it ends it, after what had been written was sent.
pub(crate) struct StackThread {
    thread: Option<JoinHandle<()>>,
    stop: AbortHandle,
    /// Where the thread that has started it is, if that is for this to say.
    bound: Option<Bound>,
}

impl StackThread {
    /// Starts it and waits until its stack stands.
    fn start(
        core: usize,
        queue: Queue,
        placement: Placement,
        stack: &StackConfig,
    ) -> io::Result<(StackThread, Served)> {
        let (sender, outcome) = sync_channel(1);
        let (stack, theirs, unfinished) = (stack.clone(), placement.clone(), placement.ending.hold_up());
        let run = move || run(core, queue, &theirs, &stack, unfinished, &sender);
        let thread = thread::Builder::new().name(format!("hayase-stack-{core}")).spawn(run)?;
        let died = |_| Err(io::Error::other(format!("the stack of core {core} died while it started")));
        let served = match outcome.recv().unwrap_or_else(died) {
            Ok(served) => served,
            Err(error) => {
                // Who tries again finds its device free. That it panicked is said.
                let _ = thread.join();
                return Err(error);
            }
        };
        // From here on, whatever fails ends it.
        let mut started = StackThread { thread: Some(thread), stop: served.stop.clone(), bound: None };
        // Several cores are bound to their CPUs whatever the model. Last, because threads inherit it.
        if placement.cores == 1 {
            started.bound = placement.cpus.bind(core)?;
        }
        Ok((started, served))
    }

    /// Has it send what had been written, and end.
    pub(crate) fn stop(&self) {
        self.stop.abort();
    }
}

impl Drop for StackThread {
    fn drop(&mut self) {
        self.stop();
        if let Some(panic) = self.thread.take().and_then(|thread| thread.join().err())
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
        self.bound = None;
    }
}

/// What the thread does.
fn run(
    core: usize,
    queue: Queue,
    placement: &Placement,
    stack: &StackConfig,
    unfinished: Unfinished,
    started: &SyncSender<io::Result<Served>>,
) {
    let mut reactor = Reactor::new();
    let cpu = placement.cpu_of_stack(core);
    let build = |bound| Ok((bound, Executor::builder().config(placement.executor.clone()).build()?));
    let (_bound, executor) = match placement.cpus.bind(cpu).and_then(build) {
        Ok(built) => built,
        Err(error) => return drop(started.send(Err(error))),
    };
    // It runs until it is aborted.
    let life = executor.spawn(std::future::pending::<()>());
    let served = serve(queue, &mut reactor, stack, &executor.handle(), life.abort_handle());
    let is_serving = served.is_ok();
    // The receiver waits for exactly one message, and there is room for it.
    let _ = started.send(served);
    if is_serving {
        let _ = executor.block_on(&reactor, life);
        network::linger(&reactor, unfinished, LINGER);
    }
}

fn serve(
    queue: Queue,
    reactor: &mut Reactor,
    stack: &StackConfig,
    handle: &Handle,
    stop: AbortHandle,
) -> io::Result<Served> {
    let hosts = queue(reactor, stack)?;
    reactor.wake_through(handle);
    let index_of = |peer: Host| hosts.iter().position(|host| *host == peer);
    let peers = hosts.iter().map(|host| host.peer().and_then(index_of)).collect();
    let mut connectors = reactor.serve(handle)?;
    connectors.sort_by_key(|(host, _)| index_of(*host));
    Ok(Served { connectors: connectors.into_iter().map(|(_, connector)| connector).collect(), peers, stop })
}

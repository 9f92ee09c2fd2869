//! The cores beside core 0: a thread, an executor and a network each.

use std::future::poll_fn;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hayase_executor::{Config, Cores, Executor};

use super::cpus::{Bound, Cpus};
use super::device::Queue;
use super::network::{Choices, Ending, Unfinished, attach, linger};
use crate::reactor::Reactor;

/// The running threads. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Workers {
    threads: Vec<JoinHandle<()>>,
    stop: Arc<Stop>,
    /// Core 0, until its network has said the last.
    own: Option<Unfinished>,
    /// Where this thread is, until they have ended.
    bound: Option<Bound>,
}

impl Workers {
    /// Starts cores 1 and up, and binds them and this thread, which is core 0, to CPUs. A single core is not bound. The first of
    /// `queues` is for core 1, and so on; a core without one runs tasks without network.
    pub(super) fn start(
        cores: &Cores,
        cpus: &Cpus,
        config: &Config,
        choices: &Choices,
        queues: Vec<Queue>,
    ) -> io::Result<Workers> {
        let ending = Ending::default();
        let own = Some(ending.hold_up());
        let mut workers = Workers { threads: Vec::new(), stop: Arc::default(), own, bound: None };
        if cores.count() == 1 {
            return Ok(workers);
        }
        let mut queues = queues.into_iter();
        for core in 1..cores.count() {
            let (cores, config, choices) = (cores.clone(), config.clone(), choices.clone());
            let (cpus, stop) = (cpus.clone(), Arc::clone(&workers.stop));
            let unfinished = ending.hold_up();
            let worker =
                Worker { core, cores, cpus, config, choices, queue: queues.next(), stop, unfinished };
            workers.threads.push(worker.start()?);
        }
        // Last, because threads inherit it.
        workers.bound = cpus.bind(0)?;
        Ok(workers)
    }

    /// Has the other cores end their tasks, and then their networks, as soon as all have said their last.
    pub(super) fn stop(&self) {
        self.stop.now();
    }

    /// Turns the network of this thread until it, and those of the others, which may receive and send through it, have said their
    /// last.
    pub(super) fn linger(&mut self, reactor: &Reactor) {
        if let Some(own) = self.own.take() {
            linger(reactor, own, Duration::MAX);
        }
    }

    /// Waits for the threads.
    ///
    /// # Panics
    /// If one of them has panicked.
    pub(super) fn join(&mut self) {
        for thread in self.threads.drain(..) {
            if let Err(panic) = thread.join()
                && !thread::panicking()
            {
                std::panic::resume_unwind(panic);
            }
        }
        self.bound = None;
    }
}

/// After a start that failed half way; otherwise they are stopped already.
impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.now();
        self.own = None;
        self.join();
    }
}

/// A core on its way to its thread.
struct Worker {
    core: usize,
    cores: Cores,
    cpus: Cpus,
    config: Config,
    choices: Choices,
    queue: Option<Queue>,
    stop: Arc<Stop>,
    unfinished: Unfinished,
}

impl Worker {
    /// Starts the core, and waits until its executor and its network stand.
    fn start(self) -> io::Result<JoinHandle<()>> {
        let core = self.core;
        let (started, outcome) = sync_channel(1);
        let thread =
            thread::Builder::new().name(format!("hayase-{core}")).spawn(move || self.run(&started))?;
        let died = |_| Err(io::Error::other(format!("core {core} died while it started")));
        match outcome.recv().unwrap_or_else(died) {
            Ok(()) => Ok(thread),
            Err(error) => {
                // Who tries again finds its device free. That it panicked is said.
                let _ = thread.join();
                Err(error)
            }
        }
    }

    fn run(mut self, started: &SyncSender<io::Result<()>>) {
        let bound = self.cpus.bind(self.core);
        let built = bound.and_then(|bound| Ok((bound, self.build()?)));
        // The receiver waits for exactly one message, and there is room for it.
        match built {
            Ok((_bound, (executor, reactor))) => {
                let _ = started.send(Ok(()));
                executor.block_on(&reactor, poll_fn(|cx| self.stop.poll(cx)));
                // Tasks own sockets: they go while the network is still there.
                drop(executor);
                linger(&reactor, self.unfinished, Duration::MAX);
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        }
    }

    fn build(&mut self) -> io::Result<(Executor, Reactor)> {
        let executor =
            Executor::builder().config(self.config.clone()).core(&self.cores, self.core).build()?;
        let mut reactor = Reactor::new();
        if let Some(queue) = self.queue.take() {
            attach(&mut reactor, queue, &self.choices, &executor.handle())?;
        }
        Ok((executor, reactor))
    }
}

/// The end of the workers, which they wait for.
#[derive(Debug, Default)]
struct Stop(Mutex<(bool, Vec<Waker>)>);

impl Stop {
    fn now(&self) {
        let wakers = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.0 = true;
            std::mem::take(&mut state.1)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        // Cloned before anything is locked.
        let waker = cx.waker().clone();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0 {
            return Poll::Ready(());
        }
        if !state.1.iter().any(|known| known.will_wake(&waker)) {
            state.1.push(waker);
        }
        Poll::Pending
    }
}

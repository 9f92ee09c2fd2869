//! The cores beside core 0: a thread, an executor and a network each.

use std::future::poll_fn;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};

use hayase_executor::{Config, Cores, Executor};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::device::Queue;
use super::network::{Choices, attach, linger, turn_until};
use crate::reactor::Reactor;

/// The running threads. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Workers {
    threads: Vec<JoinHandle<()>>,
    stop: Arc<Stop>,
    /// The CPUs of this thread before it was pinned.
    unpinned: Option<CpuSet>,
}

impl Workers {
    /// Starts cores 1 and up, and pins them and this thread, which is core 0. A single core is not pinned. The first of
    /// `queues` is for core 1, and so on; a core without one runs tasks without network.
    pub(super) fn start(
        cores: &Cores,
        config: &Config,
        choices: &Choices,
        queues: Vec<Queue>,
    ) -> io::Result<Workers> {
        let mut workers = Workers { threads: Vec::new(), stop: Arc::default(), unpinned: None };
        if cores.count() == 1 {
            return Ok(workers);
        }
        let allowed = sched_getaffinity(None)?;
        let mut queues = queues.into_iter();
        for core in 1..cores.count() {
            let (cores, config, choices) = (cores.clone(), config.clone(), choices.clone());
            let stop = Arc::clone(&workers.stop);
            let worker = Worker { core, cores, config, choices, queue: queues.next(), allowed, stop };
            workers.threads.push(worker.start()?);
        }
        // Last, because threads inherit it.
        pin(&allowed, 0)?;
        workers.unpinned = Some(allowed);
        Ok(workers)
    }

    /// Ends the threads, with their tasks. `reactor` is this thread's, through which theirs may send their last.
    pub(super) fn stop(&mut self, reactor: &Reactor) {
        self.stop.now();
        if !self.threads.is_empty() {
            turn_until(reactor, || self.threads.iter().all(JoinHandle::is_finished));
        }
        self.join();
    }

    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            if let Err(panic) = thread.join()
                && !thread::panicking()
            {
                std::panic::resume_unwind(panic);
            }
        }
        if let Some(cpus) = self.unpinned.take() {
            // The thread was allowed on these CPUs before; if that has changed, it stays where it is.
            let _ = sched_setaffinity(None, &cpus);
        }
    }
}

/// After a start that failed half way; otherwise they are stopped already.
impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.now();
        self.join();
    }
}

/// A core on its way to its thread.
struct Worker {
    core: usize,
    cores: Cores,
    config: Config,
    choices: Choices,
    queue: Option<Queue>,
    allowed: CpuSet,
    stop: Arc<Stop>,
}

impl Worker {
    /// Starts the core, and waits until its executor and its network stand.
    fn start(self) -> io::Result<JoinHandle<()>> {
        let core = self.core;
        let (started, outcome) = sync_channel(1);
        let thread =
            thread::Builder::new().name(format!("hayase-{core}")).spawn(move || self.run(&started))?;
        match outcome.recv() {
            Ok(Ok(())) => Ok(thread),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::other(format!("core {core} died while it started"))),
        }
    }

    fn run(mut self, started: &SyncSender<io::Result<()>>) {
        let built = self.build();
        // The receiver waits for exactly one message, and there is room for it.
        match built {
            Ok((executor, reactor)) => {
                let _ = started.send(Ok(()));
                executor.block_on(&reactor, poll_fn(|cx| self.stop.poll(cx)));
                // Tasks own sockets: they go while the network is still there.
                drop(executor);
                linger(&reactor);
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        }
    }

    fn build(&mut self) -> io::Result<(Executor, Reactor)> {
        pin(&self.allowed, self.core)?;
        let executor =
            Executor::builder().config(self.config.clone()).core(&self.cores, self.core).build()?;
        let mut reactor = Reactor::new();
        if let Some(queue) = self.queue.take() {
            attach(&mut reactor, queue, &self.choices, &executor.handle())?;
        }
        Ok((executor, reactor))
    }
}

/// Binds this thread to the n-th of the allowed CPUs, from 0; behind the last comes the first.
pub(super) fn pin(allowed: &CpuSet, n: usize) -> io::Result<()> {
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
    let Some(cpu) = cpus.get(n % cpus.len().max(1)) else { return Ok(()) };
    let mut one = CpuSet::new();
    one.set(*cpu);
    Ok(sched_setaffinity(None, &one)?)
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

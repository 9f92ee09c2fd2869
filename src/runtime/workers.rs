//! The cores beside core 0: a thread and an executor each.

use std::future::poll_fn;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};

use hayase_executor::{Config, Cores, Executor};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The running threads. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Workers {
    threads: Vec<JoinHandle<()>>,
    stop: Arc<Stop>,
    /// The CPUs of this thread before it was pinned.
    unpinned: Option<CpuSet>,
}

impl Workers {
    /// Starts cores 1 and up, and pins them and this thread, which is core 0. A single core is not pinned.
    pub(super) fn start(cores: &Cores, config: &Config) -> io::Result<Workers> {
        let mut workers = Workers { threads: Vec::new(), stop: Arc::default(), unpinned: None };
        if cores.count() == 1 {
            return Ok(workers);
        }
        let allowed = sched_getaffinity(None)?;
        for core in 1..cores.count() {
            workers.threads.push(start(core, cores, config, &allowed, &workers.stop)?);
        }
        // Last, because threads inherit it.
        pin(&allowed, 0)?;
        workers.unpinned = Some(allowed);
        Ok(workers)
    }

    /// Ends the threads, with their tasks.
    pub(super) fn stop(&mut self) {
        self.stop.now();
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

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts one core, and waits until its executor stands.
fn start(
    core: usize,
    cores: &Cores,
    config: &Config,
    allowed: &CpuSet,
    stop: &Arc<Stop>,
) -> io::Result<JoinHandle<()>> {
    let (cores, config, allowed, stop) = (cores.clone(), config.clone(), *allowed, Arc::clone(stop));
    let (started, outcome) = sync_channel(1);
    let run = move || run(core, &cores, config, &allowed, &stop, &started);
    let thread = thread::Builder::new().name(format!("hayase-{core}")).spawn(run)?;
    match outcome.recv() {
        Ok(Ok(())) => Ok(thread),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::other(format!("core {core} died while it started"))),
    }
}

fn run(
    core: usize,
    cores: &Cores,
    config: Config,
    allowed: &CpuSet,
    stop: &Stop,
    started: &SyncSender<io::Result<()>>,
) {
    let executor =
        pin(allowed, core).and_then(|()| Executor::builder().config(config).core(cores, core).build());
    // The receiver waits for exactly one message, and there is room for it.
    match executor {
        Ok(executor) => {
            let _ = started.send(Ok(()));
            executor.block_on(&(), poll_fn(|cx| stop.poll(cx)));
        }
        Err(error) => {
            let _ = started.send(Err(error));
        }
    }
}

/// Binds this thread to one of the allowed CPUs. With fewer CPUs than cores, they share.
fn pin(allowed: &CpuSet, core: usize) -> io::Result<()> {
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
    let Some(cpu) = cpus.get(core % cpus.len().max(1)) else { return Ok(()) };
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
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0 {
            return Poll::Ready(());
        }
        state.1.push(cx.waker().clone());
        Poll::Pending
    }
}

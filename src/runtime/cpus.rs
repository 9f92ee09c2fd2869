//! Which CPUs the threads of a runtime are bound to.

use std::collections::BTreeMap;
use std::io;
use std::marker::PhantomData;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// For each CPU that threads were bound to, where such a thread was allowed before. One for each CPU at most.
static BOUND: Mutex<BTreeMap<usize, CpuSet>> = Mutex::new(BTreeMap::new());

fn bound() -> MutexGuard<'static, BTreeMap<usize, CpuSet>> {
    // A map of sets is whole whatever happened to the thread that held its lock.
    BOUND.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The CPUs that a runtime may use, in their order; none if its threads are not to be bound.
#[derive(Debug, Clone)]
pub(super) struct Cpus(Option<CpuSet>);

impl Cpus {
    /// No thread is bound.
    pub(super) fn free() -> Cpus {
        Cpus(None)
    }

    /// Those of this thread. Threads inherit where they are bound: if that is where one of ours was, it is those that ours
    /// had before, and a second runtime does not crowd onto one CPU of the first.
    pub(super) fn allowed() -> io::Result<Cpus> {
        let here = sched_getaffinity(None)?;
        let inherited = match *listed(&here) {
            [cpu] => bound().get(&cpu).copied(),
            _ => None,
        };
        Ok(Cpus(Some(inherited.unwrap_or(here))))
    }

    /// Binds this thread to the n-th, from 0; behind the last comes the first.
    pub(super) fn bind(&self, n: usize) -> io::Result<()> {
        let Some(allowed) = &self.0 else { return Ok(()) };
        let cpus = listed(allowed);
        let Some(cpu) = cpus.get(n % cpus.len().max(1)) else { return Ok(()) };
        let mut one = CpuSet::new();
        one.set(*cpu);
        bound().insert(*cpu, *allowed);
        Ok(sched_setaffinity(None, &one)?)
    }

    /// The same until the returned value is dropped.
    pub(super) fn bind_for_now(&self, n: usize) -> io::Result<Bound> {
        self.bind(n)?;
        Ok(Bound { allowed: self.0, here: PhantomData })
    }
}

fn listed(cpus: &CpuSet) -> Vec<usize> {
    (0..CpuSet::MAX_CPU).filter(|cpu| cpus.is_set(*cpu)).collect()
}

/// Keeps a thread bound to one CPU.
#[derive(Debug)]
pub(super) struct Bound {
    allowed: Option<CpuSet>,
    /// It changes something of this thread.
    here: PhantomData<*const ()>,
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let Some(allowed) = &self.allowed {
            // The thread was allowed on these CPUs before; if that has changed, it stays where it is.
            let _ = sched_setaffinity(None, allowed);
        }
    }
}

//! Which CPUs the threads of a runtime are bound to.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::marker::PhantomData;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The CPUs that threads are bound to, one entry for each at most.
static BOUND: Mutex<BTreeMap<usize, Crowd>> = Mutex::new(BTreeMap::new());

thread_local! {
    /// How often this thread is bound, and where it was allowed before the first time.
    static HELD: Cell<Option<(usize, CpuSet)>> = const { Cell::new(None) };
}

/// The threads that are bound to one CPU.
struct Crowd {
    count: usize,
    /// Where the latest of them was allowed before.
    allowed: CpuSet,
}

fn bound() -> MutexGuard<'static, BTreeMap<usize, Crowd>> {
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

    /// Those of this thread. Threads inherit where they are bound: if that is where one of ours is, it is those that ours
    /// had before, and a second runtime does not crowd onto one CPU of the first.
    pub(super) fn allowed() -> io::Result<Cpus> {
        let here = sched_getaffinity(None)?;
        let inherited = match *listed(&here) {
            [cpu] => bound().get(&cpu).map(|crowd| crowd.allowed),
            _ => None,
        };
        Ok(Cpus(Some(inherited.unwrap_or(here))))
    }

    /// Binds this thread to the n-th, from 0, until the returned value is dropped; behind the last comes the first.
    pub(super) fn bind(&self, n: usize) -> io::Result<Option<Bound>> {
        let Some(allowed) = self.0 else { return Ok(None) };
        let cpus = listed(&allowed);
        let Some(&cpu) = cpus.get(n % cpus.len().max(1)) else { return Ok(None) };
        let (count, before) = HELD.get().unwrap_or((0, sched_getaffinity(None)?));
        let mut one = CpuSet::new();
        one.set(cpu);
        sched_setaffinity(None, &one)?;
        HELD.set(Some((count + 1, before)));
        let mut bound = bound();
        let crowd = bound.entry(cpu).or_insert(Crowd { count: 0, allowed });
        crowd.count += 1;
        crowd.allowed = allowed;
        Ok(Some(Bound { cpu, here: PhantomData }))
    }
}

fn listed(cpus: &CpuSet) -> Vec<usize> {
    (0..CpuSet::MAX_CPU).filter(|cpu| cpus.is_set(*cpu)).collect()
}

/// Keeps a thread bound to one CPU.
#[derive(Debug)]
pub(super) struct Bound {
    cpu: usize,
    /// It changes something of this thread.
    here: PhantomData<*const ()>,
}

impl Drop for Bound {
    fn drop(&mut self) {
        let mut bound = bound();
        if let Some(crowd) = bound.get_mut(&self.cpu) {
            crowd.count -= 1;
            if crowd.count == 0 {
                bound.remove(&self.cpu);
            }
        }
        drop(bound);
        // The last one, which need not be the first that came, lets it go.
        match HELD.take() {
            Some((count @ 2.., before)) => HELD.set(Some((count - 1, before))),
            // If it is not allowed there any more, it stays where it is.
            Some((_, before)) => drop(sched_setaffinity(None, &before)),
            None => {}
        }
    }
}

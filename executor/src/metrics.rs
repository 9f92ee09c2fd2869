//! What an executor counts.

use std::cell::Cell;

/// The counters of an executor since it was built.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Metrics {
    /// Turns.
    pub turns: u64,
    /// Turns that found nothing to do.
    pub idle_turns: u64,
    /// Times that the thread went to sleep.
    pub parks: u64,
    /// Task polls, those of `block_on`'s future included.
    pub polls: u64,
    /// Tasks spawned.
    pub tasks_spawned: u64,
    /// Tasks that ended in a panic.
    pub tasks_panicked: u64,
    /// Tasks that have not ended.
    pub tasks_live: u64,
    /// Messages from other threads: wakes, spawns, aborts.
    pub remote_wakes: u64,
    /// Timers that expired.
    pub timers_expired: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) turns: Counter,
    pub(crate) idle_turns: Counter,
    pub(crate) parks: Counter,
    pub(crate) polls: Counter,
    pub(crate) tasks_spawned: Counter,
    pub(crate) tasks_panicked: Counter,
    pub(crate) remote_wakes: Counter,
    pub(crate) timers_expired: Counter,
}

impl Counters {
    pub(crate) fn snapshot(&self, tasks_live: usize) -> Metrics {
        Metrics {
            turns: self.turns.get(),
            idle_turns: self.idle_turns.get(),
            parks: self.parks.get(),
            polls: self.polls.get(),
            tasks_spawned: self.tasks_spawned.get(),
            tasks_panicked: self.tasks_panicked.get(),
            tasks_live: tasks_live as u64,
            remote_wakes: self.remote_wakes.get(),
            timers_expired: self.timers_expired.get(),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counter(Cell<u64>);

impl Counter {
    #[inline]
    pub(crate) fn add(&self, count: usize) {
        self.0.set(self.0.get().wrapping_add(count as u64));
    }

    fn get(&self) -> u64 {
        self.0.get()
    }
}

//! What a task is called.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::TaskId;

/// Names a task: of all that run, and of all whose handles there are, none other is called so. The name says neither when
/// a task was spawned nor where.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Id {
    /// The core that has it; of one that another core has yet to make, none.
    core: u64,
    number: u64,
}

/// No core is called so: they are counted from 0.
const ELSEWHERE: u64 = u64::MAX;

impl Id {
    /// Of a task of the core that is called `core`.
    pub(super) fn here(core: u64, id: TaskId) -> Id {
        Id { core, number: u64::from(id.generation) << 32 | u64::from(id.index) }
    }

    /// Of a task that another core is asked to make: a new one at each call.
    pub(super) fn elsewhere() -> Id {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        Id { core: ELSEWHERE, number: COUNT.fetch_add(1, Ordering::Relaxed) }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.core {
            ELSEWHERE => write!(f, "remote-{}", self.number),
            core => write!(f, "{core}-{}", self.number),
        }
    }
}

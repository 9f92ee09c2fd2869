//! How a thread becomes a client of a stack.

use std::fmt;
use std::sync::Arc;
use std::thread::{self, ThreadId};

use hayase_executor::Handle;

use super::output::Line;
use crate::door::ShardId;
use crate::tray::Tray;

/// New clients, on their way to the stack's thread.
pub(super) type Intake = Tray<Vec<Line>>;

/// Where a stack can be reached from other threads.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(super) intake: Arc<Intake>,
    /// The executor of the stack's thread.
    pub(super) stack: Handle,
    pub(super) thread: ThreadId,
    /// The stack's own name, which means something on its thread only.
    pub(super) shard: ShardId,
    /// Whether it tells what peers mark as urgent.
    pub(super) tells_urgent: bool,
}

impl Connector {
    pub(super) fn new(shard: ShardId, stack: &Handle, tells_urgent: bool) -> Connector {
        let thread = thread::current().id();
        Connector { intake: Arc::default(), stack: stack.clone(), thread, shard, tells_urgent }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connector({})", self.shard)
    }
}

//! What the running task knows already: that a socket which it has just read has nothing more.
//!
//! Who reads in a loop asks once more after the last datum, to hear that it must wait. But a read that leaves nothing behind can
//! tell: it registers the task at once, and notes here that the next read of that task will have to wait. The note holds
//! while nothing can come in, until the next turn of any shard of this thread, or until anything else is asked of one that
//! could change the answer or who waits for it.

use std::cell::Cell;
use std::task::Waker;

use hayase_executor::TaskWaker;
use hayase_stack::TcpId;

use crate::door::ShardId;

#[derive(Clone, Copy)]
struct Note {
    shard: Option<ShardId>,
    /// The connection, in one word.
    id: u64,
    /// The task that is registered.
    task: Option<TaskWaker>,
}

const NOTHING: Note = Note { shard: None, id: 0, task: None };

#[inline(always)]
fn word(id: TcpId) -> u64 {
    u64::from(id.generation) << 32 | u64::from(id.index)
}

thread_local! {
    static NOTE: Cell<Note> = const { Cell::new(NOTHING) };
}

/// Nothing is left to be read, and this task is registered to hear of more.
#[inline(always)]
pub(crate) fn note(shard: ShardId, id: TcpId, task: TaskWaker) {
    NOTE.set(Note { shard: Some(shard), id: word(id), task: Some(task) });
}

/// Whether a read by the task of this waker would have to wait, and it is registered.
#[inline(always)]
pub(crate) fn is_noted(shard: ShardId, id: TcpId, waker: &Waker) -> bool {
    let Note { shard: noted, id: connection, task } = NOTE.get();
    connection == word(id) && noted == Some(shard) && task.is_some_and(|task| task.wakes_by(waker))
}

/// That may have changed.
#[inline(always)]
pub(crate) fn forget() {
    NOTE.set(NOTHING);
}

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
    id: TcpId,
    /// The task that is registered.
    task: Option<TaskWaker>,
}

const NOTHING: Note = Note { shard: None, id: TcpId { index: 0, generation: 0 }, task: None };

thread_local! {
    static NOTE: Cell<Note> = const { Cell::new(NOTHING) };
}

/// Nothing is left to be read, and this task is registered to hear of more.
#[inline(always)]
pub(crate) fn note(shard: ShardId, id: TcpId, task: TaskWaker) {
    NOTE.set(Note { shard: Some(shard), id, task: Some(task) });
}

/// Whether a read by the task of this waker would have to wait, and it is registered.
#[inline(always)]
pub(crate) fn is_noted(shard: ShardId, id: TcpId, waker: &Waker) -> bool {
    let note = NOTE.get();
    note.id == id && note.shard == Some(shard) && note.task.is_some() && note.task == TaskWaker::of(waker)
}

/// That may have changed.
#[inline(always)]
pub(crate) fn forget() {
    NOTE.set(NOTHING);
}

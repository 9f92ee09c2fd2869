//! What the reactor asks of a shard, whichever device it has, and of what stands for one on another thread.

use std::time::Duration;

use hayase_device::Interest;
use hayase_executor::Handle;
use hayase_stack::{Ready, Socket};
use hayase_time::Instant;

use crate::door::ShardId;

/// What the reactor asks of a shard.
pub(crate) trait Turn {
    /// Device → stack → wakers. Returns how much was done: frames, and a round of timers.
    fn receive(&self, now: Instant) -> usize;
    /// Stack → device. Returns the number of frames.
    fn transmit(&self, now: Instant) -> usize;
    fn deadline(&self) -> Option<Instant>;
    fn pending(&self) -> bool;
    /// Whether something that was written, or that no more follows, has not arrived yet.
    fn has_undelivered(&self) -> bool;
    fn interests(&self, add: &mut dyn FnMut(Interest));
    /// Readies the device for the thread's sleep, as [`Device::arm`] says.
    fn arm(&self) -> Option<Duration> {
        None
    }
    /// The sleep is over.
    fn disarm(&self) {}
    /// What ends the sleep of the shard's thread from now on.
    fn wake_through(&self, handle: &Handle);
    /// The shard at the other end of the wire, if the device is one.
    fn join(&self, _peer: ShardId) {}
    /// The thread goes on without turning, until the next call of `receive`.
    fn leave(&self) {}
    /// From now on, what changes is listed for [`changed`](Turn::changed), and nobody is woken.
    fn list_changes(&self) {}
    /// Moves the sockets that changed into `list`.
    fn changed(&self, _list: &mut Vec<(Socket, Ready)>) {}
}

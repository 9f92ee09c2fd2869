//! The contract between the turn and what it turns around.

use std::time::Duration;

use hayase_time::Instant;

/// A descriptor to sleep on.
///
/// Its number only has to be valid until the thread wakes up: nothing stays registered from one sleep to the next.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Interest {
    /// The descriptor. A negative number is none.
    pub fd: i32,
    /// Wake up when it can be read.
    pub readable: bool,
    /// Wake up when it can be written.
    pub writable: bool,
}

/// What an executor turns around: a network stack with its devices, or nothing, which is `()`.
///
/// The methods take `&self` because tasks reach the same stack while they run; the reactor brings its own interior
/// mutability. Wakers may be called from any of them: a wake only queues the task, it runs none.
pub trait Reactor {
    /// The way in: NIC queue to sockets to wakers. `now` is the turn's time.
    ///
    /// Returns how much was done (frames, expired timers); 0 means that nothing was there. It takes a bounded
    /// number of frames, so that tasks get their turn, and is called again before the thread sleeps.
    fn receive(&self, now: Instant) -> usize;

    /// The way out: what tasks wrote to the NIC queue, then the doorbell. Returns how much was sent.
    fn transmit(&self, now: Instant) -> usize;

    /// When the reactor wants a turn although nothing arrives.
    fn deadline(&self) -> Option<Instant>;

    /// Whether there is work right now, so that sleeping would be wrong. Asked before and after [`arm`](Self::arm).
    fn pending(&self) -> bool;

    /// Readies the reactor for the thread's sleep: what comes from now on is to raise one of its descriptors. Returns
    /// the longest time that the thread may sleep all the same, for a source that cannot do that.
    fn arm(&self) -> Option<Duration> {
        None
    }

    /// The sleep is over, or was not begun.
    fn disarm(&self) {}

    /// Tells the descriptors to sleep on, each once. Called when about to sleep.
    ///
    /// A descriptor that stays ready while `receive` and `transmit` find nothing to do keeps the thread awake.
    fn interests(&self, add: &mut dyn FnMut(Interest));
}

/// No network: tasks and timers only.
impl Reactor for () {
    #[inline]
    fn receive(&self, _now: Instant) -> usize {
        0
    }

    #[inline]
    fn transmit(&self, _now: Instant) -> usize {
        0
    }

    #[inline]
    fn deadline(&self) -> Option<Instant> {
        None
    }

    #[inline]
    fn pending(&self) -> bool {
        false
    }

    fn interests(&self, _add: &mut dyn FnMut(Interest)) {}
}

//! Queues whose device is gone while frames of their thread live on, in leases of the application.
//!
//! The counts of frames are their thread's, and a driver that is closed counts down what it still has. So a port is not
//! closed by one thread while another has frames. Which port a frame is of is not counted, only how many a thread has:
//! with none left, all that it still has a share in may go.

use std::cell::RefCell;
use std::mem;
use std::sync::Arc;

use crate::port::{Pools, Port};
use crate::sys::DpdkFrame;

/// What a queue leaves behind.
struct Leaving {
    pools: Pools,
    /// The share in the port, unless that is closed by now.
    port: Option<Arc<Port>>,
}

impl Leaving {
    fn settle(self) {
        match self.port {
            Some(port) => port.keep(self.pools),
            None => self.pools.free(),
        }
    }
}

/// What the queues of a thread have left behind.
struct Left(RefCell<Vec<Leaving>>);

thread_local! {
    static LEFT: Left = const { Left(RefCell::new(Vec::new())) };
}

impl Left {
    fn settle(&self) {
        if DpdkFrame::live_count() == 0 && !self.0.borrow().is_empty() {
            // Taken out first: closing a port may call the application, which may come back here.
            self.0.take().into_iter().for_each(Leaving::settle);
        }
    }
}

impl Drop for Left {
    /// The thread ends. What it holds until later stays valid, and its port open: nobody is told when that goes.
    fn drop(&mut self) {
        self.settle();
        self.0.take().into_iter().for_each(mem::forget);
    }
}

/// Takes the pools of a queue that goes, and its share in `port`, for as long as frames of this thread live.
///
/// The caller's own share goes afterwards. If that is the last one, the port is closed with it even if there are such
/// frames: the thread that has them is the one that waits for the end of it.
pub(crate) fn leave(pools: Pools, port: &Arc<Port>) {
    pools.flush();
    if DpdkFrame::live_count() == 0 {
        port.keep(pools);
        return settle();
    }
    let others = Arc::strong_count(port) > 1;
    let leaving = Leaving { pools, port: others.then(|| Arc::clone(port)) };
    let mut leaving = Some(leaving);
    let _ = LEFT.try_with(|left| left.0.borrow_mut().extend(leaving.take()));
    // On a thread that is just ending, there is no list any more: as in `Left::drop`.
    mem::forget(leaving);
}

/// Lets go of what queues of this thread have left behind, if no frame of it lives any more.
pub(crate) fn settle() {
    let _ = LEFT.try_with(Left::settle);
}

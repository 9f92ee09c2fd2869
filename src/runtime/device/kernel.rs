//! The operating system's own sockets.

use hayase_stack::{Config, Congestion};

use super::Queue;
use crate::reactor::Reactor;
use crate::time;

/// A table of sockets for each core. Where there are several, listeners on the same port share it, and the kernel
/// spreads connections over them. Without `congestion`, connections have the system's.
pub(super) fn open(cores: usize, congestion: Option<Congestion>) -> Vec<Queue> {
    let queue = |_| {
        Box::new(move |reactor: &mut Reactor, _: &Config| {
            reactor.attach_kernel(cores > 1, congestion, time::now()).map(|host| vec![host])
        }) as Queue
    };
    (0..cores).map(queue).collect()
}

//! From the queue pairs of a device to one for each core.

use std::io;

use super::fabric::{Seat, seats};
use super::policy::AcceptPolicy;
use crate::runtime::Queue;

/// Makes one host of the shards on these queue pairs, and of the shards of those cores for which there is none.
///
/// # Errors
/// If there are more cores than can be steered.
pub(crate) fn seat(queues: Vec<Queue>, cores: usize, policy: AcceptPolicy) -> io::Result<Vec<Queue>> {
    let mut queues = queues.into_iter().take(cores);
    let seats = seats(cores, queues.len(), policy)?;
    Ok(seats.into_iter().map(|seat| take(seat, queues.next())).collect())
}

/// The way of one core to its network.
fn take(seat: Seat, queue: Option<Queue>) -> Queue {
    Box::new(move |reactor, config| match queue {
        Some(queue) => {
            reactor.sit(seat);
            queue(reactor, config)
        }
        None => Ok(vec![reactor.attach_satellite(seat)?]),
    })
}

//! A core's network: from a queue pair to hosts that are ready for use, and to its end.

use std::io;
use std::thread;
use std::time::Duration;

use hayase_device::Offloads;
use hayase_executor::{Clock, Handle};

use super::device::Queue;
use crate::host::Host;
use crate::reactor::Reactor;

/// What holds for the network of every core.
#[derive(Debug, Clone, Default)]
pub(super) struct Choices {
    pub(super) stack: hayase_stack::Config,
    pub(super) offloads: Option<Offloads>,
}

/// How long a network that is being taken down goes on sending.
const LINGER: Duration = Duration::from_millis(500);

/// How long it sleeps between two turns then.
const LINGER_NAP: Duration = Duration::from_micros(200);

/// Puts a stack on a queue pair, in the reactor of this thread, whose executor is that of `handle`.
pub(super) fn attach(
    reactor: &mut Reactor,
    queue: Queue,
    choices: &Choices,
    handle: &Handle,
) -> io::Result<Vec<Host>> {
    let hosts = queue(reactor, &choices.stack)?;
    if let Some(offloads) = choices.offloads {
        for host in &hosts {
            host.set_offloads(offloads)?;
        }
    }
    reactor.wake_through(handle);
    Ok(hosts)
}

/// Turns for as long as a stack has something to do soon, as a retransmission has that waits for its ACK.
pub(super) fn linger(reactor: &Reactor) {
    // On a wire, the peer goes as well: nobody is left to be told.
    if reactor.hosts().all(|host| host.peer().is_some()) {
        return;
    }
    let end = Clock::Monotonic.now() + LINGER;
    turn_until(reactor, || {
        let is_idle = !reactor.pending() && reactor.deadline().is_none_or(|deadline| deadline > end);
        is_idle || Clock::Monotonic.now() >= end
    });
}

/// Turns at least once, without running tasks, until `is_over`.
pub(super) fn turn_until(reactor: &Reactor, mut is_over: impl FnMut() -> bool) {
    loop {
        let worked = reactor.turn(Clock::Monotonic.now());
        if is_over() {
            break;
        }
        if !worked {
            thread::sleep(LINGER_NAP);
        }
    }
}

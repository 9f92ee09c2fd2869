//! A core's network: from a queue pair to hosts that are ready for use, and to its end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use hayase_device::Offloads;
use hayase_executor::{Clock, Handle};
use hayase_stack::AddressState;

use super::device::Queue;
use crate::host::Host;
use crate::reactor::Reactor;
use crate::scope;

/// What holds for the network of every core.
#[derive(Debug, Clone, Default)]
pub(super) struct Choices {
    pub(super) stack: hayase_stack::Config,
    pub(super) offloads: Option<Offloads>,
}

/// How long a network that is being taken down goes on sending.
pub(super) const LINGER: Duration = Duration::from_millis(500);

/// How long a network sleeps between two turns while no executor turns it.
const NAP: Duration = Duration::from_micros(200);

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

/// The most that the addresses of a host take until it is known whether they can be used.
const SETTLE_MAX: Duration = Duration::from_secs(12);

/// Turns until the addresses that were given to the hosts are in use, or known to be somebody else's; and, where they are
/// to be learnt, which `learning` says of each device, until there is one. Who binds to an address next need not wait.
pub(super) fn settle_addresses(reactor: &Reactor, learning: &[bool]) -> io::Result<()> {
    let end = Clock::Monotonic.now() + SETTLE_MAX;
    for (device, host) in reactor.hosts().enumerate() {
        let is_learning = learning.get(device).is_some_and(|is_learning| *is_learning);
        while is_unsettled(host, is_learning)? && Clock::Monotonic.now() < end {
            turn_until(reactor, || true);
            thread::sleep(NAP);
        }
    }
    Ok(())
}

/// Whether it is not known yet if an address can be used, or which one there is, other than the link-local one.
fn is_unsettled(host: Host, is_learning: bool) -> io::Result<bool> {
    let mut states = host.address_states()?;
    states.retain(|(cidr, _)| !scope::is_link_local(cidr.addr()));
    Ok(is_learning && states.is_empty() || states.iter().any(|(_, state)| *state == AddressState::Tentative))
}

/// The end of networks that are one host together. They receive and send for each other, so that none may go before each has
/// said what it had to say.
#[derive(Debug, Clone, Default)]
pub(super) struct Ending(Arc<AtomicUsize>);

impl Ending {
    /// One network more that the others wait for.
    pub(super) fn hold_up(&self) -> Unfinished {
        self.0.fetch_add(1, Ordering::Relaxed);
        Unfinished(self.clone())
    }

    fn has_come(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }
}

/// A network that may still have something to say. The others' end waits until this is dropped.
#[derive(Debug)]
pub(super) struct Unfinished(Ending);

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Release);
    }
}

/// Turns for as long as something is on its way, or a stack has something to do soon, as a delayed acknowledgement is; and then,
/// for `wait_max` at most, until the others of its host have come as far.
pub(super) fn linger(reactor: &Reactor, unfinished: Unfinished, wait_max: Duration) {
    // On a wire, the peer goes as well: nobody is left to be told.
    if reactor.hosts().all(|host| host.peer().is_some()) {
        return;
    }
    say_the_last(reactor);
    let ending = unfinished.0.clone();
    drop(unfinished);
    let end = Clock::Monotonic.now() + wait_max;
    if !ending.has_come() {
        turn_until(reactor, || ending.has_come() || Clock::Monotonic.now() >= end);
    }
}

fn say_the_last(reactor: &Reactor) {
    let end = Clock::Monotonic.now() + LINGER;
    turn_until(reactor, || {
        let is_idle = !reactor.pending()
            && !reactor.has_undelivered()
            && reactor.deadline().is_none_or(|deadline| deadline > end);
        is_idle || Clock::Monotonic.now() >= end
    });
}

/// Turns at least once, without running tasks, until `is_over`. From then on nobody turns here, until somebody does.
pub(super) fn turn_until(reactor: &Reactor, mut is_over: impl FnMut() -> bool) {
    loop {
        let worked = reactor.turn(Clock::Monotonic.now());
        if is_over() {
            break;
        }
        if !worked {
            thread::sleep(NAP);
        }
    }
    reactor.leave();
}

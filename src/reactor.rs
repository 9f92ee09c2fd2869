//! What the executor turns around: the shards of its thread.

use std::fmt;
use std::io;
use std::rc::Rc;

use hayase_device::{Device, Interest};
use hayase_executor::Handle;
use hayase_stack::Config;
use hayase_time::Instant;

use crate::door::{self, Door};
use crate::host::{self, Host};
use crate::mailbox;
use crate::shard::{Shard, Turn};

/// The network of a thread: its stacks and their devices.
///
/// A [`Runtime`](crate::Runtime) has one inside. By itself it is for loops that are not ours: attach a
/// device, then call [`turn`](Reactor::turn) (or [`receive`](Reactor::receive) and
/// [`transmit`](Reactor::transmit) with work in between) as often as the loop comes round, and use sockets
/// through their `try_*` and `poll_*` methods.
///
/// ```
/// use hayase::Reactor;
/// use hayase::device::wire::{Wire, WireConfig};
/// use hayase::time;
///
/// let (end, _other_end) = Wire::pair(WireConfig::default());
/// let mut reactor = Reactor::new();
/// let host = reactor.attach(end, Default::default(), time::now())?;
/// host.add_address("10.7.0.2/24".parse().unwrap())?;
/// reactor.turn(time::now());
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// Dropping it takes its hosts away; their sockets then are errors.
#[derive(Default)]
pub struct Reactor {
    shards: Vec<(Host, Rc<dyn Turn>)>,
}

impl Reactor {
    /// Without any network so far.
    #[must_use]
    pub fn new() -> Reactor {
        Reactor::default()
    }

    /// Puts a stack on `device` and returns it as a host, without addresses. The first host becomes the
    /// default of the thread. Time may be counted from anywhere, but the same for `now` here and in every
    /// turn.
    ///
    /// # Errors
    /// If the operating system has no random numbers for the stack's secrets, or this is called from inside a
    /// call to another shard.
    pub fn attach(
        &mut self,
        device: impl Device + 'static,
        config: Config,
        now: Instant,
    ) -> io::Result<Host> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)
            .map_err(|error| io::Error::other(format!("no random numbers: {error}")))?;
        let mut shard = None;
        let id = door::install(|id| {
            let mailbox = mailbox::of(id).expect("the mailbox was opened with the name");
            let new = Rc::new(Shard::new(device, config, seed, now, mailbox));
            shard = Some(Rc::clone(&new) as Rc<dyn Turn>);
            new as Rc<dyn Door>
        })?;
        let host = Host::new(id);
        self.shards.extend(shard.map(|shard| (host, shard)));
        host::appeared(id);
        Ok(host)
    }

    /// Tells what ends the sleep of this thread when another one has something for it.
    pub(crate) fn wake_through(&self, handle: &Handle) {
        for (_, shard) in &self.shards {
            let handle = handle.clone();
            // An empty task is what can be sent to any core.
            shard.mailbox().set_wake(move || drop(handle.spawn_on(|| async {})));
        }
    }

    /// Its hosts, in the order in which they were attached.
    pub fn hosts(&self) -> impl Iterator<Item = Host> + '_ {
        self.shards.iter().map(|(host, _)| *host)
    }

    /// The way in: takes what the devices received, advances the timers, wakes whom that concerns. `now`
    /// becomes the time of everything that is called until the next turn. Returns how much was done; 0 means
    /// nothing.
    pub fn receive(&self, now: Instant) -> usize {
        self.shards.iter().map(|(_, shard)| shard.receive(now)).sum()
    }

    /// The way out: hands what is due to the devices and rings their doorbells. Returns how much was sent; 0
    /// means nothing.
    pub fn transmit(&self, now: Instant) -> usize {
        self.shards.iter().map(|(_, shard)| shard.transmit(now)).sum()
    }

    /// In and out. Returns whether there was anything to do.
    pub fn turn(&self, now: Instant) -> bool {
        self.receive(now) + self.transmit(now) > 0
    }

    /// When it wants to be turned although nothing arrives: the next timer of any stack.
    pub fn deadline(&self) -> Option<Instant> {
        self.shards.iter().filter_map(|(_, shard)| shard.deadline()).min()
    }

    /// Whether there is something to do right now.
    pub fn pending(&self) -> bool {
        self.shards.iter().any(|(_, shard)| shard.pending())
    }

    /// The descriptors that become ready when frames arrive.
    pub fn interests(&self, add: &mut dyn FnMut(Interest)) {
        self.shards.iter().for_each(|(_, shard)| shard.interests(add));
    }
}

impl hayase_executor::Reactor for Reactor {
    #[inline]
    fn receive(&self, now: Instant) -> usize {
        Reactor::receive(self, now)
    }

    #[inline]
    fn transmit(&self, now: Instant) -> usize {
        Reactor::transmit(self, now)
    }

    fn deadline(&self) -> Option<Instant> {
        Reactor::deadline(self)
    }

    fn pending(&self) -> bool {
        Reactor::pending(self)
    }

    fn interests(&self, add: &mut dyn FnMut(hayase_executor::Interest)) {
        Reactor::interests(self, &mut |Interest { fd, readable, writable }| {
            add(hayase_executor::Interest { fd, readable, writable });
        });
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        for (host, _) in &self.shards {
            host::vanished(host.shard());
            door::remove(host.shard());
        }
    }
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.hosts()).finish()
    }
}

//! What the executor turns around: the shards of its thread.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hayase_device::{Device, Interest};
use hayase_executor::Handle;
use hayase_stack::Config;
use hayase_time::Instant;

use crate::capture::{Capture, Captured, Tap};
use crate::door::{self, Door, Gate, ShardId};
use crate::host::{self, Host};
#[cfg(feature = "kernel")]
use crate::kernel::KernelShard;
use crate::mailbox::{self, Mailbox};
use crate::remote::{Connector, Link, Server};
use crate::runtime::StackThread;
use crate::several;
use crate::shard::Shard;
use crate::steering::{Member, Satellite, Seat, Station, Steered};
use crate::time;
use crate::turn::Turn;

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
/// Dropping it takes its hosts away; their sockets then are errors, also for those who wait for them.
#[derive(Default)]
pub struct Reactor {
    shards: Vec<(Host, Rc<dyn Turn>)>,
    /// Hosts of several interfaces, which are among the shards.
    united: Vec<Host>,
    /// Behind the shards, which are dropped first.
    threads: Vec<StackThread>,
    /// For the next stack that is attached.
    seat: Option<Seat>,
    /// Where frames of devices that are attached from now on are recorded.
    capture: Option<Capture>,
}

/// What the secrets of a stack come from.
fn seed() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| io::Error::other(format!("no random numbers: {error}")))?;
    Ok(seed)
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
        self.attach_seeded(device, config, seed()?, now)
    }

    /// As [`attach`](Self::attach), with `seed` in place of the operating system's random numbers: for simulations,
    /// where the same seed makes the same stack. Sequence numbers and ports that come from a seed which somebody knows
    /// can be guessed.
    ///
    /// # Errors
    /// If this is called from inside a call to another shard.
    pub fn attach_seeded(
        &mut self,
        device: impl Device + 'static,
        config: Config,
        seed: [u8; 32],
        now: Instant,
    ) -> io::Result<Host> {
        let tap = self.capture.clone().and_then(|capture| Tap::new(capture, device.mac()));
        let device = Captured::new(device, tap);
        let Some(mut seat) = self.seat.take() else {
            return self.install(|mailbox| Shard::new(device, config, seed, now, mailbox, None));
        };
        let station = Station::new(&mut seat, &device, &config);
        let device = Steered::new(device, &mut seat, Rc::clone(&station));
        self.install_as(|id, mailbox| {
            let shard = Shard::new(device, config, seed, now, mailbox, Some(Rc::clone(&station)));
            let shard = Rc::new(shard);
            (Gate::new(Rc::clone(&shard)), Rc::new(Member::new(id, shard, station)) as Rc<dyn Turn>)
        })
    }

    /// Records the frames of devices that are attached after this, if the record is started.
    pub fn capture(&mut self, capture: &Capture) {
        self.capture = Some(capture.clone());
    }

    /// Makes one host of several that were attached: their addresses are its own, and its sockets are on that of its
    /// interfaces which they are for, or on each; [`Host`] says how that is chosen. If one of them is the default of the
    /// thread, it becomes the default in its place. The interfaces go on being hosts, too.
    ///
    /// ```
    /// use hayase::Reactor;
    /// use hayase::device::wire::{Wire, WireConfig};
    /// use hayase::time;
    ///
    /// let mut reactor = Reactor::new();
    /// let mut interfaces = Vec::new();
    /// for address in ["10.7.0.2/24", "10.8.0.2/24"] {
    ///     let (end, _other_end) = Wire::pair(WireConfig::default());
    ///     let interface = reactor.attach(end, Default::default(), time::now())?;
    ///     interface.add_address(address.parse().unwrap())?;
    ///     interfaces.push(interface);
    /// }
    /// let host = reactor.unite(&interfaces)?;
    /// assert_eq!(host.interfaces()?, interfaces);
    /// assert_eq!(hayase::Host::current()?, host);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if there are none, one is named twice or has several interfaces itself, or two have
    /// the same address, link-local ones aside. If one is on another thread or no more.
    pub fn unite(&mut self, interfaces: &[Host]) -> io::Result<Host> {
        let host = several::unite(interfaces)?;
        self.united.push(host);
        Ok(host)
    }

    /// Makes the next stack that is attached here one of several that are one host.
    pub(crate) fn sit(&mut self, seat: Seat) {
        self.seat = Some(seat);
    }

    /// Puts a stack where there is no queue pair: it sends through another core's.
    pub(crate) fn attach_satellite(&mut self, mut seat: Seat) -> io::Result<Host> {
        let (device, config) = Satellite::new(&mut seat)?;
        self.sit(seat);
        // What it sends and receives is recorded at the device by which it does.
        let capture = self.capture.take();
        let host = self.attach(device, config, time::now());
        self.capture = capture;
        host
    }

    /// Takes the operating system's sockets in place of a stack, as a host with the addresses of this machine. With
    /// `shares_ports`, other threads can have the same ports. Without `congestion`, connections have the system's.
    #[cfg(feature = "kernel")]
    pub(crate) fn attach_kernel(
        &mut self,
        shares_ports: bool,
        congestion: Option<hayase_stack::Congestion>,
        now: Instant,
    ) -> io::Result<Host> {
        let mut sockets = hayase_kernel::Sockets::new(shares_ports)?;
        congestion.map_or(Ok(()), |congestion| sockets.set_congestion(congestion.name()))?;
        self.install(|mailbox| KernelShard::new(sockets, now, mailbox))
    }

    fn install<S>(&mut self, make: impl FnOnce(Arc<Mailbox>) -> S) -> io::Result<Host>
    where
        S: Turn + 'static,
        Rc<S>: Door,
    {
        self.install_as(|_, mailbox| {
            let shard = Rc::new(make(mailbox));
            (Gate::new(Rc::clone(&shard)), shard as Rc<dyn Turn>)
        })
    }

    fn install_as(
        &mut self,
        make: impl FnOnce(ShardId, Arc<Mailbox>) -> (Gate, Rc<dyn Turn>),
    ) -> io::Result<Host> {
        let mut shard = None;
        let id = door::install(|id| {
            let (door, turn) = make(id, mailbox::of(id).expect("the mailbox was opened with the name"));
            shard = Some(turn);
            door
        })?;
        let host = Host::new(id);
        self.shards.extend(shard.map(|shard| (host, shard)));
        host::appeared(id);
        Ok(host)
    }

    /// Tells what ends the sleep of this thread when another one has something for it.
    pub(crate) fn wake_through(&self, handle: &Handle) {
        self.shards.iter().for_each(|(_, shard)| shard.wake_through(handle));
    }

    /// Puts the stacks of this thread at the service of others. `handle` is of this thread's executor.
    pub(crate) fn serve(&mut self, handle: &Handle) -> io::Result<Vec<(Host, Connector)>> {
        let serve = |(host, shard): &mut (Host, Rc<dyn Turn>)| {
            let server = Rc::new(Server::new(Rc::clone(shard), host.shard(), handle)?);
            *shard = Rc::clone(&server) as Rc<dyn Turn>;
            Ok((*host, server.connector()))
        };
        self.shards.iter_mut().map(serve).collect()
    }

    /// Connects this thread with a stack on another one, and returns it as a host.
    pub(crate) fn connect(&mut self, connector: &Connector) -> io::Result<Host> {
        let link = Link::new(connector)?;
        let host = Host::new(link.shard());
        self.shards.push((host, Rc::new(link)));
        host::appeared(host.shard());
        Ok(host)
    }

    /// Tells other threads that two hosts are the two ends of a wire.
    pub(crate) fn join(&self, a: Host, b: Host) {
        for (host, shard) in &self.shards {
            if *host == a {
                shard.join(b.shard());
            }
        }
    }

    /// Keeps the thread of a stack for as long as this thread is connected with it.
    pub(crate) fn keep(&mut self, thread: StackThread) {
        self.threads.push(thread);
    }

    /// The end of its hosts. Threads of stacks are told, and not waited for before this is dropped.
    pub(crate) fn close(&mut self) {
        for host in self.united.drain(..) {
            host::vanished(host.shard());
            several::part(host.shard());
        }
        for (host, _) in &self.shards {
            host::vanished(host.shard());
            door::remove(host.shard());
        }
        self.shards.clear();
        self.threads.iter().for_each(StackThread::stop);
    }

    /// The thread goes on without turning, for a while or for ever.
    pub(crate) fn leave(&self) {
        self.shards.iter().for_each(|(_, shard)| shard.leave());
    }

    /// Whether something that was written has not arrived yet, or has to be said to a peer.
    pub(crate) fn has_undelivered(&self) -> bool {
        self.shards.iter().any(|(_, shard)| shard.has_undelivered())
    }

    /// Its hosts, in the order in which they were attached; those of several interfaces are not among them.
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

    /// Readies the devices for a sleep: what comes from now on makes one of the [`interests`](Self::interests) ready.
    /// Ask [`pending`](Self::pending) once more before sleeping. Returns the longest time to sleep all the same, for
    /// devices that raise no descriptor; `None` if there is no such device.
    pub fn arm(&self) -> Option<Duration> {
        self.shards.iter().filter_map(|(_, shard)| shard.arm()).min()
    }

    /// The sleep after [`arm`](Self::arm) is over, or was not begun.
    pub fn disarm(&self) {
        self.shards.iter().for_each(|(_, shard)| shard.disarm());
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

    fn arm(&self) -> Option<Duration> {
        Reactor::arm(self)
    }

    fn disarm(&self) {
        Reactor::disarm(self);
    }

    fn interests(&self, add: &mut dyn FnMut(hayase_executor::Interest)) {
        Reactor::interests(self, &mut |Interest { fd, readable, writable }| {
            add(hayase_executor::Interest { fd, readable, writable });
        });
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.hosts()).finish()
    }
}

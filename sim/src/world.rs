//! One simulation: the hosts, the network between them, and the clock that all share.
//!
//! To the executor it is a [`Reactor`] as any other: frames arrive, stacks turn, frames leave. What is different is the
//! clock, which stands still while anything is to be done, and the sleep, which moves it to the next deadline.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::time::Duration;

use hayase::stack::Config;
use hayase::time::Instant;
use hayase::{Cidr, Host, Reactor};
use hayase_executor::{Interest, Reactor as _, VirtualClock};

use crate::flow::Ledger;
use crate::network::Network;
use crate::oracle::books::{self, Books, Memory};
use crate::oracle::{Violation, uphold};
use crate::random::Random;
use crate::station::DeviceConfig;
use crate::topology::Topology;

/// When simulations start: late enough that nothing is before zero.
pub(crate) const START: Instant = Instant::from_millis(1_000_000);

/// Turns without a step of the clock, after which a task must be spinning.
const TURNS_STILL_MAX: u32 = 1_000_000;

/// How often connections and memory are looked at, while anything happens.
const SWEEP_PERIOD: Duration = Duration::from_secs(1);

/// How long connections may take to die once nobody uses them, at least: fifteen doublings of the timeout are a quarter of
/// it.
const DRAIN_TIME: Duration = Duration::from_secs(3600);

/// What is chosen about a simulation, before its seed.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) topology: Topology,
    pub(crate) stack: Config,
    pub(crate) device: DeviceConfig,
    pub(crate) time_max: Duration,
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) seed: u64,
    pub(crate) clock: VirtualClock,
    pub(crate) network: RefCell<Network>,
    pub(crate) random: RefCell<Random>,
    pub(crate) ledger: Rc<Ledger>,
    reactors: Vec<RefCell<Reactor>>,
    hosts: RefCell<Vec<Host>>,
    /// Hosts that start anew with the next turn.
    reboots: RefCell<Vec<usize>>,
    /// Since when the clock has not moved, and how many turns that were.
    still: Cell<(Instant, u32)>,
    sweep_at: Cell<Instant>,
    /// The scenario has ended.
    is_draining: Cell<bool>,
}

impl World {
    /// # Errors
    /// If the operating system refuses what a shard needs.
    pub(crate) fn new(plan: Plan, seed: u64, mut random: Random) -> io::Result<World> {
        let network = Network::new(&plan.topology, &mut random);
        let hosts = plan.topology.hosts;
        let world = World {
            plan,
            seed,
            clock: VirtualClock::new(START),
            network: RefCell::new(network),
            random: RefCell::new(random),
            ledger: Rc::default(),
            reactors: (0..hosts).map(|_| RefCell::default()).collect(),
            hosts: RefCell::default(),
            reboots: RefCell::default(),
            still: Cell::new((START, 0)),
            sweep_at: Cell::new(START),
            is_draining: Cell::new(false),
        };
        for index in 0..hosts {
            let host = world.start(index)?;
            world.hosts.borrow_mut().push(host);
        }
        Ok(world)
    }

    /// # Panics
    /// If there is no such host.
    pub(crate) fn host(&self, index: usize) -> Host {
        self.assert_host(index);
        self.hosts.borrow()[index]
    }

    /// # Panics
    /// If there is no such host.
    pub(crate) fn assert_host(&self, index: usize) {
        let count = self.plan.topology.hosts;
        assert!(index < count, "there are {count} hosts, and no number {index}");
    }

    pub(crate) fn hosts(&self) -> Vec<Host> {
        self.hosts.borrow().clone()
    }

    /// How long it has gone on.
    pub(crate) fn elapsed(&self) -> Duration {
        self.clock.now() - START
    }

    /// Starts a host anew, between two turns.
    pub(crate) fn reboot(&self, index: usize) {
        self.reboots.borrow_mut().push(index);
    }

    pub(crate) fn is_rebooting(&self, index: usize) -> bool {
        self.reboots.borrow().contains(&index)
    }

    fn start(&self, index: usize) -> io::Result<Host> {
        let device = self.network.borrow_mut().stations[index].plug(&self.plan.device);
        let seed = self.random.borrow_mut().bytes();
        let mut reactor = Reactor::new();
        let host = reactor.attach_seeded(device, self.plan.stack.clone(), seed, self.clock.now())?;
        for cidr in addresses(index) {
            host.add_address(cidr)?;
        }
        self.reactors[index].replace(reactor);
        Ok(host)
    }

    /// Without a word to anybody, as when the power fails.
    fn reboot_now(&self) {
        for index in self.reboots.take() {
            drop(self.reactors[index].take());
            self.network.borrow_mut().observers.rebooted(index);
            let host = self.start(index).expect("a host starts a second time as it did the first");
            self.hosts.borrow_mut()[index] = host;
        }
    }

    /// Names a simulation that stands still or never ends.
    fn watch(&self, now: Instant) {
        let (since, turns) = self.still.get();
        let turns = if since == now { turns + 1 } else { 0 };
        self.still.set((now, turns));
        assert!(
            turns < TURNS_STILL_MAX,
            "time stands still: a task or a stack is busy without end at {now:?}"
        );
        let limit = self.plan.time_max;
        let is_in_time = self.elapsed() <= limit || self.is_draining.get();
        assert!(is_in_time, "the simulation is not over after {limit:?}, its longest time");
        if now >= self.sweep_at.get() {
            self.sweep_at.set(now + SWEEP_PERIOD);
            self.sweep(now);
        }
    }

    fn sweep(&self, now: Instant) {
        let mut network = self.network.borrow_mut();
        for (index, host) in self.hosts.borrow().iter().enumerate() {
            let connections = host.tcp_connections().expect("the host is on this thread");
            network.observers.sweep(now, index, &connections, &self.plan.stack);
            let station = &network.stations[index];
            uphold(books::memory_is_bounded(&Memory {
                name: &station.name,
                len: station.memory_len(),
                connections: &connections,
                config: &self.plan.stack,
                device: &self.plan.device,
            }));
        }
    }

    /// Goes on without tasks until nothing is left to do: connections die, TIME_WAIT passes, frames arrive.
    pub(crate) fn drain(&self) {
        self.is_draining.set(true);
        let forged_at = self.network.borrow().forged_at();
        let ends_at = self.clock.now().max(forged_at) + drain_max(&self.plan.stack);
        loop {
            let now = self.clock.now();
            let worked = self.receive(now) + self.transmit(now) > 0;
            if worked || self.pending() {
                continue;
            }
            match self.deadline() {
                None => break,
                Some(at) if at > ends_at => uphold(Err(self.undrained())),
                Some(at) => self.clock.advance_to(at),
            }
        }
        let is_empty = |host: &Host| host.tcp_count().is_ok_and(|count| count == 0);
        if !self.hosts.borrow().iter().all(is_empty) {
            uphold(Err(self.undrained()));
        }
    }

    fn undrained(&self) -> Violation {
        let mut text = format!("{:?} after the end", drain_max(&self.plan.stack));
        for host in self.hosts.borrow().iter() {
            let count = host.tcp_count().unwrap_or(0);
            let connections = host.tcp_connections().unwrap_or_default();
            text += &format!("; {host:?} has {count} connections: {connections:?}");
        }
        Violation::new("TIME_WAIT and timers drain", text)
    }

    /// After the drain: everything is where it belongs.
    pub(crate) fn settle(&self) {
        uphold(self.ledger.settle());
        self.close_books();
        self.frames_are_home();
        for reactor in &self.reactors {
            drop(reactor.take());
        }
        self.frames_are_home();
    }

    fn close_books(&self) {
        let network = self.network.borrow();
        for (index, pipe) in network.pipes.iter().enumerate() {
            uphold(books::pipe_adds_up(index, &pipe.stats));
        }
        for (index, host) in self.hosts.borrow().iter().enumerate() {
            let station = &network.stations[index];
            let counters = host.counters().expect("the host is on this thread");
            let segments = network.observers.segments(index);
            let (name, delivered) = (station.name.as_str(), station.delivered);
            uphold(books::counters_add_up(&Books { name, counters: &counters, delivered, segments }));
        }
    }

    fn frames_are_home(&self) {
        for station in &self.network.borrow().stations {
            uphold(books::frames_are_home(&station.name, station.frames_out()));
        }
    }
}

impl hayase_executor::Reactor for World {
    fn receive(&self, now: Instant) -> usize {
        self.watch(now);
        self.reboot_now();
        let arrived = self.network.borrow_mut().advance(now);
        arrived + self.reactors.iter().map(|reactor| reactor.borrow().receive(now)).sum::<usize>()
    }

    fn transmit(&self, now: Instant) -> usize {
        let sent: usize = self.reactors.iter().map(|reactor| reactor.borrow().transmit(now)).sum();
        sent + self.network.borrow_mut().collect(now)
    }

    fn deadline(&self) -> Option<Instant> {
        let stacks = self.reactors.iter().filter_map(|reactor| reactor.borrow().deadline()).min();
        stacks.into_iter().chain(self.network.borrow().next_at()).min()
    }

    fn pending(&self) -> bool {
        self.reactors.iter().any(|reactor| reactor.borrow().pending())
    }

    fn interests(&self, _add: &mut dyn FnMut(Interest)) {}
}

/// How long connections may take to die once nobody uses them.
fn drain_max(config: &Config) -> Duration {
    let retries = u32::from(config.retries_max.max(config.syn_retries_max));
    let trying = Duration::from_micros(config.rto_max_us.into()) * (retries + 1);
    let closing = Duration::from_micros(u64::from(config.time_wait_us) + u64::from(config.fin_timeout_us));
    DRAIN_TIME.max(trying + closing)
}

/// The addresses of a host.
fn addresses(index: usize) -> [Cidr; 2] {
    [(address_v4(index), 16), (address_v6(index), 64)]
        .map(|(addr, prefix)| Cidr::new(addr, prefix).expect("the prefix fits the family"))
}

/// 10.7.0.1 for the first host.
pub(crate) fn address_v4(index: usize) -> IpAddr {
    let [high, low] = (index as u16 + 1).to_be_bytes();
    Ipv4Addr::new(10, 7, high, low).into()
}

/// fd00:7::1 for the first host.
pub(crate) fn address_v6(index: usize) -> IpAddr {
    Ipv6Addr::new(0xfd00, 7, 0, 0, 0, 0, 0, index as u16 + 1).into()
}

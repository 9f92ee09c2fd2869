//! What a simulated program may ask of the simulation around it.

use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use hayase::Host;
use hayase::time::Instant;

use crate::builder::Builder;
use crate::flow::Flow;
use crate::link::Link;
use crate::pipe::PipeStats;
use crate::random::Random;
use crate::trace::Trace;
use crate::world::{self, World};

/// A running simulation, as the code in it sees it. Clones are handles on the same one.
///
/// The code is the application's own: `hayase::net`, `hayase::time` and `hayase::spawn` work as ever, on virtual time.
/// A task opens its sockets on the host that it [belongs to](Host); the first task belongs to the client.
#[derive(Clone)]
pub struct Sim {
    world: Rc<World>,
}

impl Sim {
    /// Where everything about a simulation can be chosen.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn new(world: Rc<World>) -> Sim {
        Sim { world }
    }

    /// The seed from which all chance in here comes.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.world.seed
    }

    /// Every host.
    #[must_use]
    pub fn hosts(&self) -> Vec<Host> {
        self.world.hosts()
    }

    /// The host of this number.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn host(&self, index: usize) -> Host {
        self.world.host(index)
    }

    /// The first host, 10.7.0.1.
    #[must_use]
    pub fn client(&self) -> Host {
        self.host(0)
    }

    /// The last host: of a pair, 10.7.0.2.
    #[must_use]
    pub fn server(&self) -> Host {
        self.host(self.hosts().len() - 1)
    }

    /// The IPv4 address of the host of this number.
    #[must_use]
    pub fn address(&self, index: usize) -> IpAddr {
        world::address_v4(index)
    }

    /// The IPv6 address of the host of this number.
    #[must_use]
    pub fn address_v6(&self, index: usize) -> IpAddr {
        world::address_v6(index)
    }

    /// Number of cables.
    #[must_use]
    pub fn cables(&self) -> usize {
        self.world.network.borrow().pipes.len() / 2
    }

    /// The cable of this number, to look at it or to change it.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn cable(&self, index: usize) -> Cable {
        let count = self.cables();
        assert!(index < count, "there are {count} cables, and no number {index}");
        Cable { world: Rc::clone(&self.world), index }
    }

    /// A stream of random numbers of the caller's own.
    #[must_use]
    pub fn random(&self) -> Random {
        self.world.random.borrow_mut().fork()
    }

    /// Bytes to be sent over a connection and compared where they arrive.
    #[must_use]
    pub fn flow(&self) -> Flow {
        self.world.ledger.open(self.world.seed)
    }

    /// How long the simulation has gone on, in its own time.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.world.elapsed()
    }

    /// Lets a frame reach a host at once that nobody has sent: an attacker's, say. [`TcpForge`](crate::TcpForge) makes
    /// some. One
    /// that is too short or too long for the host's device is refused by it, as any NIC does.
    ///
    /// # Panics
    /// If there is no such host.
    pub fn inject(&self, host: usize, frame: &[u8]) {
        self.inject_at(self.world.clock.now(), host, frame);
    }

    /// As [`inject`](Self::inject), at some later instant. The simulation does not end before.
    ///
    /// # Panics
    /// If there is no such host.
    pub fn inject_at(&self, at: Instant, host: usize, frame: &[u8]) {
        self.world.assert_host(host);
        self.world.network.borrow_mut().inject(at, host, frame);
    }

    /// Takes the power from a host and starts it anew, with nothing but its addresses. Returns it: the handle of before
    /// means a host that is no more, whose sockets are errors, also for the tasks that wait for them.
    ///
    /// # Panics
    /// If there is no such host.
    ///
    /// # Cancel safety
    /// Once polled, it happens.
    pub async fn reboot(&self, index: usize) -> Host {
        self.world.assert_host(index);
        self.world.reboot(index);
        while self.world.is_rebooting(index) {
            hayase::task::yield_now().await;
        }
        self.host(index)
    }

    /// All that has happened so far, in one number.
    #[must_use]
    pub fn trace(&self) -> Trace {
        self.world.network.borrow().trace
    }

    /// What a host has sent and received, as a file for Wireshark or tcpdump: a pcap with nanoseconds of virtual time.
    ///
    /// # Panics
    /// If there is no such host.
    #[must_use]
    pub fn pcap(&self, host: usize) -> Vec<u8> {
        self.world.assert_host(host);
        self.world.network.borrow().stations[host].capture.to_pcap()
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sim(seed {}, {:?})", self.seed(), self.elapsed())
    }
}

/// A cable of a running simulation. What is changed holds for the frames that are sent from then on, which queue behind
/// those that wait already: the queue empties at the new rate.
#[derive(Clone)]
pub struct Cable {
    world: Rc<World>,
    index: usize,
}

impl Cable {
    /// What it is like: its way forth and its way back.
    #[must_use]
    pub fn links(&self) -> [Link; 2] {
        let network = self.world.network.borrow();
        [0, 1].map(|way| network.pipes[2 * self.index + way].link.clone())
    }

    /// Changes both directions.
    ///
    /// # Panics
    /// If the rate is 0 after that.
    pub fn change(&self, change: impl Fn(&mut Link)) {
        self.change_forth(&change);
        self.change_back(&change);
    }

    /// Changes the way forth: from a client to its server, from a host to its switch.
    ///
    /// # Panics
    /// As [`change`](Self::change) does.
    pub fn change_forth(&self, change: impl FnOnce(&mut Link)) {
        self.change_pipe(2 * self.index, change);
    }

    /// Changes the way back.
    ///
    /// # Panics
    /// As [`change`](Self::change) does.
    pub fn change_back(&self, change: impl FnOnce(&mut Link)) {
        self.change_pipe(2 * self.index + 1, change);
    }

    fn change_pipe(&self, pipe: usize, change: impl FnOnce(&mut Link)) {
        self.world.network.borrow_mut().pipes[pipe].change(self.world.clock.now(), change);
    }

    /// Makes both directions links of this kind.
    ///
    /// # Panics
    /// As [`change`](Self::change) does.
    pub fn set(&self, link: &Link) {
        self.change(|old| old.clone_from(link));
    }

    /// Cuts both directions.
    pub fn cut(&self) {
        self.change(|link| link.cut = true);
    }

    /// Ends the cut of both directions.
    pub fn mend(&self) {
        self.change(|link| link.cut = false);
    }

    /// What happened so far: on its way forth, and on its way back.
    #[must_use]
    pub fn stats(&self) -> [PipeStats; 2] {
        let network = self.world.network.borrow();
        [0, 1].map(|way| network.pipes[2 * self.index + way].stats)
    }
}

impl fmt::Debug for Cable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [forth, back] = self.links();
        write!(f, "Cable {} (forth: {forth}; back: {back})", self.index)
    }
}

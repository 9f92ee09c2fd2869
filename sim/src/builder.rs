//! Every choice about a simulation, and the loop over its seeds.

use std::env;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

pub use hayase::__private::Outcome;
use hayase::device::Offloads;
use hayase::device::heap::PoolConfig;
use hayase::stack::Config;
use hayase_executor::{Clock, Executor, VirtualPark};

use crate::failure::Failure;
use crate::link::Link;
use crate::random::Random;
use crate::sim::Sim;
use crate::station::DeviceConfig;
use crate::topology::Topology;
use crate::world::{Plan, World};

/// Replays this seed alone.
const SEED_VARIABLE: &str = "HAYASE_SIM_SEED";

/// Runs so many seeds, whatever the test says.
const SEEDS_VARIABLE: &str = "HAYASE_SIM_SEEDS";

/// A day.
const TIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// Chooses everything about a simulation.
///
/// Without any choice: one seed, a client and a server, and between them [a bad link](Link::bad) that is another one
/// with each seed; each seed has a mixture of offloads of its own, too.
#[must_use = "a builder simulates nothing until `run` is called"]
pub struct Builder {
    first: u64,
    count: u64,
    topology: Box<dyn Fn(&mut Random) -> Topology>,
    stack: Config,
    offloads: Option<Offloads>,
    mtu: usize,
    pool: PoolConfig,
    time_max: Duration,
    captures: Option<PathBuf>,
    /// What replays a failure, where that is no test.
    replay: Option<String>,
}

impl Builder {
    pub(crate) fn new() -> Builder {
        let bad = |random: &mut Random| Topology::asymmetric_pair(Link::bad(random), Link::bad(random));
        Builder {
            first: 0,
            count: 1,
            topology: Box::new(bad),
            stack: Config::default(),
            offloads: None,
            mtu: 1500,
            pool: PoolConfig::default(),
            time_max: TIME_MAX,
            captures: None,
            replay: None,
        }
    }

    /// Starts with this seed. The default is 0.
    pub fn seed(mut self, seed: u64) -> Builder {
        self.first = seed;
        self
    }

    /// Runs so many seeds, one after the other, until one fails. The default is 1; the environment variable
    /// `HAYASE_SIM_SEEDS` overrules it. With `HAYASE_SIM_SEED`, that seed alone is run.
    pub fn seeds(mut self, count: u64) -> Builder {
        self.count = count;
        self
    }

    /// Runs this seed, whatever the environment says; `replay` does it again.
    pub(crate) fn exactly(mut self, seed: u64, replay: String) -> Builder {
        self.replay = Some(replay);
        self.seed(seed)
    }

    /// Joins a client and a server by this link, in both directions.
    pub fn link(self, link: Link) -> Builder {
        self.topology(Topology::pair(link))
    }

    /// Simulates this network.
    pub fn topology(self, topology: Topology) -> Builder {
        self.topology_with(move |_| topology.clone())
    }

    /// Simulates a network that is another one with each seed.
    pub fn topology_with(mut self, make: impl Fn(&mut Random) -> Topology + 'static) -> Builder {
        self.topology = Box::new(make);
        self
    }

    /// The limits and habits of all stacks.
    pub fn stack(mut self, config: Config) -> Builder {
        self.stack = config;
        self
    }

    /// What the hosts' devices can do. Otherwise each seed chooses.
    pub fn offloads(mut self, offloads: Offloads) -> Builder {
        self.offloads = Some(offloads);
        self
    }

    /// The MTU of the hosts' devices, in bytes. The default is 1500.
    pub fn mtu(mut self, mtu: usize) -> Builder {
        self.mtu = mtu;
        self
    }

    /// The memory of each device, for sending and for receiving.
    pub fn pool(mut self, pool: PoolConfig) -> Builder {
        self.pool = pool;
        self
    }

    /// The longest virtual time; whoever takes longer has failed. The default is a day.
    pub fn time_max(mut self, time: Duration) -> Builder {
        self.time_max = time;
        self
    }

    /// Writes captures of failures into this folder, which is made if there is none. Otherwise the environment variable
    /// `HAYASE_SIM_PCAP` names it, or else it is `hayase-sim` among the temporary files.
    pub fn captures(mut self, folder: impl Into<PathBuf>) -> Builder {
        self.captures = Some(folder.into());
        self
    }

    /// Runs `scenario` once with each seed, on the client, and returns what the last one returned: the first that
    /// failed, if one did.
    ///
    /// When the scenario has ended, its tasks are cancelled, and the simulation goes on until every connection is gone.
    ///
    /// # Panics
    /// As the scenario does, or with the name of the rule that was broken; before, it prints the seed to replay and
    /// where the captures are. Also if a task panics, if every task waits and nothing is going to happen, if the
    /// topology is none, or an environment variable is no number.
    pub fn run<F: Future<Output: Outcome>>(self, scenario: impl Fn(Sim) -> F) -> F::Output {
        let seeds = self.chosen_seeds();
        let (last, seeds) = seeds.split_last().expect("a simulation has at least one seed");
        for seed in seeds {
            let output = self.run_seed(*seed, &scenario);
            if output.is_failure() {
                return output;
            }
        }
        self.run_seed(*last, &scenario)
    }

    fn chosen_seeds(&self) -> Vec<u64> {
        if self.replay.is_some() {
            return vec![self.first];
        }
        if let Some(seed) = number(SEED_VARIABLE) {
            return vec![seed];
        }
        let count = number(SEEDS_VARIABLE).unwrap_or(self.count).max(1);
        (0..count).map(|index| self.first.wrapping_add(index)).collect()
    }

    fn run_seed<F: Future<Output: Outcome>>(&self, seed: u64, scenario: &impl Fn(Sim) -> F) -> F::Output {
        let world = Rc::new(self.world(seed));
        // After a panic, the world is only looked at: its network is plain data, and whole between two events.
        let result = catch_unwind(AssertUnwindSafe(|| simulate(&world, scenario)));
        if result.as_ref().map_or(true, Outcome::is_failure) {
            eprintln!("{}", Failure::of(&world, self.captures.as_deref(), self.replay.clone()));
        }
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }

    fn world(&self, seed: u64) -> World {
        let mut random = Random::new(seed);
        let topology = (self.topology)(&mut random);
        if let Err(text) = topology.check() {
            panic!("this topology cannot be simulated: {text}");
        }
        let offloads = self.offloads.unwrap_or_else(|| some_offloads(&mut random));
        let device = DeviceConfig { mtu: self.mtu, offloads, pool: self.pool };
        let plan = Plan { topology, stack: self.stack.clone(), device, time_max: self.time_max };
        World::new(plan, seed, random).expect("a thread can have as many shards")
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seeds = self.first..self.first.wrapping_add(self.count);
        f.debug_struct("Builder").field("seeds", &seeds).field("stack", &self.stack).finish_non_exhaustive()
    }
}

fn simulate<F: Future>(world: &Rc<World>, scenario: &impl Fn(Sim) -> F) -> F::Output {
    let clock = world.clock.clone();
    let builder = Executor::builder().clock(Clock::Virtual(clock.clone())).park(VirtualPark::new(clock));
    let executor = builder.build().expect("a process can open a descriptor more");
    let task = world.host(0).scope(async { scenario(Sim::new(Rc::clone(world))).await });
    let output = executor.block_on(&**world, task);
    let panicked = executor.metrics().tasks_panicked;
    assert_eq!(panicked, 0, "{panicked} tasks panicked");
    // Tasks own sockets: they go while the network is still there.
    drop(executor);
    world.drain();
    world.settle();
    output
}

fn some_offloads(random: &mut Random) -> Offloads {
    let names = ["all", "none", "tx-checksum+rx-checksum", "tx-checksum+tso+sg", "rx-checksum+lro"];
    random.pick(&names).parse().expect("these are names of offloads")
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    let parsed = text.parse();
    Some(
        parsed.unwrap_or_else(|_| {
            panic!("environment variable {variable}: `{text}` is no seed: give a number")
        }),
    )
}

/// The name of the test that runs on this thread.
pub(crate) fn test_name() -> String {
    thread::current().name().unwrap_or("main").to_owned()
}

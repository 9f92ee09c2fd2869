//! Every choice about a runtime, with its default.

use std::env;
use std::io;
use std::time::Duration;

use hayase_device::Offloads;
use hayase_executor::{Config, Cores, Executor, Handle, Parking};
use hayase_stack::Congestion;

use super::Runtime;
use super::apart::Placement;
use super::cpus::Cpus;
use super::device::{self, Queue};
use super::devices;
use super::model::Model;
use super::network::{Choices, attach, settle_addresses};
use super::secret::settle_secrets;
use super::spec::{DeviceSpec, TapSpec, WireSpec};
use super::workers::Workers;
use crate::capture::Capture;
use crate::host::{self, Host};
use crate::reactor::Reactor;
use crate::steering::{self, AcceptPolicy};

/// The environment variable that names the devices where the program does not.
const DEVICE_VARIABLE: &str = "HAYASE_DEVICE";

/// How long to look for the next frame of a device that is made to be polled. Its peer has to be woken once it sleeps,
/// and so have we, each for the other: spinning for less than both take, two that have once slept go on sleeping in turns.
const SPIN_POLLED: Duration = Duration::from_micros(200);

/// The hosts of core 0, and the queues of the other cores.
type Attached = io::Result<(Vec<Host>, Vec<Queue>)>;

/// Chooses everything about a [`Runtime`].
///
/// Where no [`device`](Builder::device) is named, the environment variable `HAYASE_DEVICE` names it, or several with `;`
/// between them; where that is not set, it is a TAP interface `hy0` with 10.7.0.2 and fd00:7::2, and the kernel at 10.7.0.1 and
/// fd00:7::1; and where the right to open one, the driver, or the feature `tap` is missing, it is the in-memory wire, which a line
/// on stderr says.
#[derive(Debug, Clone)]
#[must_use = "a builder builds nothing until `build` is called"]
pub struct Builder {
    devices: Vec<DeviceSpec>,
    cores: usize,
    model: Model,
    bound: bool,
    spin: Option<Duration>,
    executor: Config,
    network: Choices,
    accept: AcceptPolicy,
    congestion: Option<Congestion>,
    capture: Option<Capture>,
    quiet: bool,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            devices: Vec::new(),
            cores: 1,
            model: Model::default(),
            bound: true,
            spin: None,
            executor: Config::default(),
            network: Choices::default(),
            accept: AcceptPolicy::Local,
            congestion: None,
            capture: None,
            quiet: false,
        }
    }
}

impl Builder {
    /// Uses this device, besides those that were named before.
    ///
    /// With several, each core has a stack on each, with the addresses and routes of its spec, and all are one host for the
    /// program: a listener on `[::]` gets what comes in on any, a connection goes out by the routes, and so on as
    /// [`Host`](crate::Host#several-interfaces) says. The order counts where two are equally good. They may be of different
    /// kinds, with any number of [`cores`](Self::cores) and every [`model`](Self::model).
    ///
    /// Not possible, and an error of [`build`](Self::build): the in-memory wire as one of several, the device `kernel` twice,
    /// and an address that two devices have.
    ///
    /// ```no_run
    /// let runtime = hayase::Runtime::builder()
    ///     .device("xdp:if=eth1,addr=192.0.2.2/24,gateway=192.0.2.1".parse()?)
    ///     .device("tap:name=hy0,addr=10.7.0.2/24".parse()?)
    ///     .build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn device(mut self, spec: DeviceSpec) -> Builder {
        self.devices.push(spec);
        self
    }

    /// Uses these devices, as [`device`](Self::device) does each.
    pub fn devices(mut self, specs: impl IntoIterator<Item = DeviceSpec>) -> Builder {
        self.devices.extend(specs);
        self
    }

    /// Runs this many cores, each an executor and a stack on a thread of its own and, with more than one,
    /// [bound](Self::bound) to a CPU. Core 0 is the thread that calls [`Runtime::block_on`]. All have the same addresses; nothing is shared
    /// on the path of a packet. The default is 1. On the wire and on the operating system's sockets there may be any number, on every
    /// other device 64 at most.
    ///
    /// On a device with a queue pair for each core, each core has its own; where there are fewer, the cores without one
    /// send and receive through the others. A connection is on the core to which the NIC brings its frames, unless
    /// [`accept`](Self::accept) or [`TcpStream::migrate`](crate::net::TcpStream::migrate) has put it elsewhere. A socket
    /// that only one core has opened gets what is for it, on whatever queue it comes; listen on every core to have
    /// connections spread over them. On the in-memory wire, each core has a wire of its own, with both ends.
    pub fn cores(mut self, count: usize) -> Builder {
        self.cores = count;
        self
    }

    /// Where the stack of each core runs: on the thread of its tasks, which is the default, or on one of its own.
    ///
    /// With [`Model::Split`] a core takes two CPUs, and its threads are [bound](Self::bound) to them as far as there are so
    /// many;
    /// with [`Model::Merge`] two threads share one, and neither spins.
    pub fn model(mut self, model: Model) -> Builder {
        self.model = model;
        self
    }

    /// Whether the threads of a runtime with several are bound to a CPU each, of those where the calling thread is allowed.
    /// They are, unless this says otherwise. A single core on the thread of its stack is not.
    ///
    /// Core 0 is the thread that calls [`build`](Self::build), and is bound from then until the runtime is dropped. So are
    /// threads that a bound one starts, since threads inherit this; but cores of another runtime are bound among the same CPUs
    /// as this one's. Start those that are to run beside the cores before `build`: an executor with threads of its own, such as
    /// tokio's; or say `false` here, or give them their CPUs (`sched_setaffinity`).
    pub fn bound(mut self, bound: bool) -> Builder {
        self.bound = bound;
        self
    }

    /// Which core serves a new connection, where several listen at its port. The default is the one to which the NIC
    /// brings it. It says nothing on the wire, which each core has for itself, and on the operating system's sockets, where
    /// the system deals connections out (`SO_REUSEPORT`).
    pub fn accept(mut self, policy: AcceptPolicy) -> Builder {
        self.accept = policy;
        self
    }

    /// How a thread sleeps when there is nothing to do.
    pub fn parking(mut self, parking: Parking) -> Builder {
        self.executor.parking = parking;
        self
    }

    /// The longest time that a thread goes on looking for work before it sleeps. Sleeps that last longer shorten it to
    /// nothing, so an idle thread burns nothing; zero never looks twice. The default is 20 us, a few times what
    /// waking up costs, and 200 us with [`Model::Split`] and on DPDK; with [`Model::Merge`] no thread spins.
    pub fn spin(mut self, time: Duration) -> Builder {
        self.spin = Some(time);
        self
    }

    /// The most task polls between two looks at the device.
    pub fn budget(mut self, polls_max: usize) -> Builder {
        self.executor.polls_max = polls_max;
        self
    }

    /// Uses these offloads, of those that the device has and its spec leaves (`offloads=`).
    pub fn offloads(mut self, offloads: Offloads) -> Builder {
        self.network.offloads = Some(offloads);
        self
    }

    /// The limits and habits of the stack.
    pub fn stack(mut self, config: hayase_stack::Config) -> Builder {
        self.network.stack = config;
        self
    }

    /// The congestion control of all connections, in place of [`stack`](Self::stack)'s; on the operating system's sockets
    /// in place of the system's own (`TCP_CONGESTION`), if it has it and allows it. A connection may still choose another:
    /// [`TcpStream::set_congestion`](crate::net::TcpStream::set_congestion).
    pub fn congestion(mut self, congestion: Congestion) -> Builder {
        self.congestion = Some(congestion);
        self
    }

    /// Records the frames of every device and core, whenever the record is started: see [`Capture`].
    ///
    /// It is an error of [`build`](Self::build) with the device `kernel`, which has no frames of ours: the system's own tcpdump
    /// sees those.
    pub fn capture(mut self, capture: &Capture) -> Builder {
        self.capture = Some(capture.clone());
        self
    }

    /// Says nothing on stderr when the wire takes the place of TAP.
    pub fn quiet(mut self, quiet: bool) -> Builder {
        self.quiet = quiet;
        self
    }

    /// Builds the runtime, for this thread.
    ///
    /// # Errors
    /// If the device cannot be opened or its addresses make no sense, if there are to be no cores or polls, or more than 64 cores on a
    /// device that they share,
    /// if the operating system does not have or allow the congestion control, or if the process may open no more
    /// descriptors or threads. The text says what to do.
    pub fn build(self) -> io::Result<Runtime> {
        self.build_with(Builder::attach)
    }

    /// Builds the runtime with the network that `attach` gives to core 0.
    pub(crate) fn build_with(
        mut self,
        attach: impl FnOnce(&Builder, &mut Reactor, &Handle) -> Attached,
    ) -> io::Result<Runtime> {
        if self.cores == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a runtime needs at least one core"));
        }
        if let Some(congestion) = self.congestion {
            self.network.stack.congestion = congestion;
        }
        settle_secrets(&mut self.network.stack)?;
        self.executor.spin = self.model.spin(self.spin, self.spin_of_device()?);
        let cores = Cores::new(self.cores)?;
        let executor = Executor::builder().config(self.executor.clone()).core(&cores, 0).build()?;
        let mut reactor = Reactor::new();
        let (hosts, queues) = attach(&self, &mut reactor, &executor.handle())?;
        let workers = Workers::start(&cores, &self.cpus()?, &self.executor, &self.network, queues)?;
        settle_addresses(&reactor, &self.learning()?)?;
        let shared = (self.model != Model::Unified).then(|| host::share(hosts[0]));
        if shared.is_none() {
            // Its sockets get on only while it turns, for which `block_on` and `enter` make it the default.
            host::undefault(&hosts);
        }
        Ok(Runtime { executor: Some(executor), reactor, workers, hosts, shared })
    }

    fn cpus(&self) -> io::Result<Cpus> {
        // A single core that has its stack on its own thread is not bound, so it need not be known where it might be.
        let binds = self.bound && (self.cores > 1 || self.model != Model::Unified);
        if binds { Cpus::allowed() } else { Ok(Cpus::free()) }
    }

    /// Whether the addresses are to come from the link alone, for each device.
    fn learning(&self) -> io::Result<Vec<bool>> {
        Ok(self.chosen_devices()?.iter().map(DeviceSpec::is_learning).collect())
    }

    /// How long to spin where nobody has chosen.
    fn spin_of_device(&self) -> io::Result<Duration> {
        let is_polled = self.chosen_devices()?.iter().any(device::is_polled);
        Ok(if is_polled { SPIN_POLLED } else { self.executor.spin })
    }

    /// Gives core 0 its network.
    fn attach(&self, reactor: &mut Reactor, handle: &Handle) -> Attached {
        let specs = self.chosen_devices()?;
        if specs.is_empty() {
            self.attach_default(reactor, handle)
        } else {
            self.open(reactor, handle, &specs)
        }
    }

    fn open(&self, reactor: &mut Reactor, handle: &Handle, specs: &[DeviceSpec]) -> Attached {
        devices::check(specs)?;
        let open = |spec| {
            let mut queues = device::open(spec, self.cores, self.congestion)?;
            if let Some(capture) = &self.capture {
                queues = device::captured(spec, queues, capture)?;
            }
            self.seat(queues, device::is_one_network(spec))
        };
        self.attach_devices(reactor, handle, specs.iter().map(open).collect::<io::Result<_>>()?)
    }

    /// From the queues of a device to one for each core.
    pub(crate) fn seat(&self, queues: Vec<Queue>, is_one_network: bool) -> io::Result<Vec<Queue>> {
        if self.cores > 1 && is_one_network {
            return steering::seat(queues, self.cores, self.accept);
        }
        Ok(queues)
    }

    /// Attaches core 0 to its queue of each device, and makes the other cores' ready for them.
    pub(crate) fn attach_devices(
        &self,
        reactor: &mut Reactor,
        handle: &Handle,
        devices: Vec<Vec<Queue>>,
    ) -> Attached {
        let placement = Placement::new(self.model, self.cores, self.cpus()?, &self.executor);
        let count = devices.len();
        let place =
            |(core, queues)| devices::as_one(placement.clone().place(core, devices::together(queues)), count);
        let mut queues = devices::deal(devices).into_iter().enumerate().map(place);
        let first = queues.next().expect("a device has a queue");
        let hosts = attach(reactor, first, &self.network, handle)?;
        Ok((hosts, queues.collect()))
    }

    /// The devices that the program has named, or else the environment.
    fn chosen_devices(&self) -> io::Result<Vec<DeviceSpec>> {
        if !self.devices.is_empty() {
            return Ok(self.devices.clone());
        }
        let Some(text) = env::var_os(DEVICE_VARIABLE) else { return Ok(Vec::new()) };
        DeviceSpec::list(&text.to_string_lossy()).map_err(|error| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("environment variable {DEVICE_VARIABLE}: {error}"),
            )
        })
    }

    /// TAP if we may, else the wire.
    fn attach_default(&self, reactor: &mut Reactor, handle: &Handle) -> Attached {
        match self.open(reactor, handle, &[DeviceSpec::Tap(TapSpec::default())]) {
            Err(error) if is_missing_right(&error) => {
                if !self.quiet {
                    eprintln!("hayase: {error}");
                    eprintln!("hayase: using the in-memory wire instead, which only this process can reach");
                }
                self.open(reactor, handle, &[DeviceSpec::Wire(WireSpec::default())])
            }
            result => result,
        }
    }
}

/// Whether TAP is not to be had here at all, as against a mistake that should be seen.
fn is_missing_right(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound | io::ErrorKind::Unsupported
    )
}

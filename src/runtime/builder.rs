//! Every choice about a runtime, with its default.

use std::env;
use std::io;
use std::time::Duration;

use hayase_device::Offloads;
use hayase_executor::{Config, Cores, Executor, Parking};

use super::Runtime;
use super::device;
use super::spec::{DeviceSpec, TapSpec, WireSpec};
use super::workers::Workers;
use crate::host::Host;
use crate::reactor::Reactor;

/// The environment variable that names the device where the program does not.
const DEVICE_VARIABLE: &str = "HAYASE_DEVICE";

/// Chooses everything about a [`Runtime`].
///
/// Where no [`device`](Builder::device) is named, the environment variable `HAYASE_DEVICE` names it; where
/// that is not set, it is a TAP interface `hy0` with 10.7.0.2 and fd00:7::2, and the kernel at 10.7.0.1 and
/// fd00:7::1; and where the right to open one is missing, it is the in-memory wire, which a line on stderr
/// says.
#[derive(Debug, Clone)]
#[must_use = "a builder builds nothing until `build` is called"]
pub struct Builder {
    device: Option<DeviceSpec>,
    cores: usize,
    executor: Config,
    offloads: Option<Offloads>,
    stack: hayase_stack::Config,
    quiet: bool,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            device: None,
            cores: 1,
            executor: Config::default(),
            offloads: None,
            stack: hayase_stack::Config::default(),
            quiet: false,
        }
    }
}

impl Builder {
    /// Uses this device.
    pub fn device(mut self, spec: DeviceSpec) -> Builder {
        self.device = Some(spec);
        self
    }

    /// Runs this many cores, each an executor on a thread of its own and, with more than one, pinned to a
    /// CPU. Core 0 is the thread that calls [`Runtime::block_on`], and has the device; on the others, tasks
    /// run without network. The default is 1.
    pub fn cores(mut self, count: usize) -> Builder {
        self.cores = count;
        self
    }

    /// How a thread sleeps when there is nothing to do.
    pub fn parking(mut self, parking: Parking) -> Builder {
        self.executor.parking = parking;
        self
    }

    /// How long a thread goes on looking for work before it sleeps. The default is zero, which burns nothing;
    /// a busy server gains from some ten microseconds.
    pub fn spin(mut self, time: Duration) -> Builder {
        self.executor.spin = time;
        self
    }

    /// The most task polls between two looks at the device.
    pub fn budget(mut self, polls_max: usize) -> Builder {
        self.executor.polls_max = polls_max;
        self
    }

    /// Uses these offloads, as far as the device has them, whatever its spec says.
    pub fn offloads(mut self, offloads: Offloads) -> Builder {
        self.offloads = Some(offloads);
        self
    }

    /// The limits and habits of the stack.
    pub fn stack(mut self, config: hayase_stack::Config) -> Builder {
        self.stack = config;
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
    /// If the device cannot be opened or its addresses make no sense, if there are to be no cores or polls,
    /// or if the process may open no more descriptors or threads. The text says what to do.
    pub fn build(self) -> io::Result<Runtime> {
        if self.cores == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a runtime needs at least one core"));
        }
        let cores = Cores::new(self.cores)?;
        let executor = Executor::builder().config(self.executor.clone()).core(&cores, 0).build()?;
        let mut reactor = Reactor::new();
        let hosts = self.attach(&mut reactor)?;
        if let Some(offloads) = self.offloads {
            for host in &hosts {
                host.set_offloads(offloads)?;
            }
        }
        reactor.wake_through(&executor.handle());
        let workers = Workers::start(&cores, &self.executor)?;
        Ok(Runtime { executor: Some(executor), reactor, workers, hosts })
    }

    fn attach(&self, reactor: &mut Reactor) -> io::Result<Vec<Host>> {
        match self.chosen_device()? {
            Some(spec) => self.attach_queue(reactor, &spec),
            None => self.attach_default(reactor),
        }
    }

    fn attach_queue(&self, reactor: &mut Reactor, spec: &DeviceSpec) -> io::Result<Vec<Host>> {
        let mut queues = device::open(spec, 1)?;
        queues.remove(0)(reactor, &self.stack)
    }

    fn chosen_device(&self) -> io::Result<Option<DeviceSpec>> {
        if self.device.is_some() {
            return Ok(self.device.clone());
        }
        let Some(text) = env::var_os(DEVICE_VARIABLE) else { return Ok(None) };
        let parsed = text.to_string_lossy().parse::<DeviceSpec>();
        parsed.map(Some).map_err(|error| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("environment variable {DEVICE_VARIABLE}: {error}"),
            )
        })
    }

    /// TAP if we may, else the wire.
    fn attach_default(&self, reactor: &mut Reactor) -> io::Result<Vec<Host>> {
        match self.attach_queue(reactor, &DeviceSpec::Tap(TapSpec::default())) {
            Err(error) if is_missing_right(&error) => {
                if !self.quiet {
                    eprintln!("hayase: {error}");
                    eprintln!("hayase: using the in-memory wire instead, which only this process can reach");
                }
                self.attach_queue(reactor, &DeviceSpec::Wire(WireSpec::default()))
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

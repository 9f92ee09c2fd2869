//! From a name to queues: sockets bound in the best way there is, a program attached, memory dealt out.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use hayase_device::Rss;

use crate::config::{Mode, XdpConfig};
use crate::device::XdpDevice;
use crate::error::XdpError;
use crate::interface::Interface;
use crate::ladder::{self, Binding, Failure};
use crate::neighbours::Neighbours;
use crate::program::assemble;
use crate::rss;
use crate::sys::{self, Bind, Endpoint, Link, Map, Part, Region, RingLens, Umem};

/// What a received frame needs beside the MTU: Ethernet and a VLAN tag.
const LINK_HEADER_LEN: usize = 18;

/// What the kernel keeps free in front of every packet that it receives (`XDP_PACKET_HEADROOM`).
const KERNEL_HEADROOM: usize = 256;

/// A chunk: half a page, or a page where packets are larger.
const CHUNK_LENS: [usize; 2] = [2048, 4096];

/// The kernel lets go of queue and program somewhat after the process that had them has closed them.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);
const RELEASE_NAP: Duration = Duration::from_millis(5);

/// Rings of a socket. A turn's worth of frames many times over; completions never overtake what can be in flight.
const LENS: RingLens = RingLens { fill: 2048, completion: 4096, receive: 2048, transmit: 4096 };

/// What the kernel takes of a packet to send: one linear piece and `MAX_SKB_FRAGS` others, of which a kernel may be
/// built with fewer than the usual 17.
const FRAGMENTS_MAX: usize = 16;

const _: () = assert!(FRAGMENTS_MAX.is_power_of_two());

const FLAG_SKB: u32 = 1 << 1;
const FLAG_DRIVER: u32 = 1 << 2;

/// One or several queues of an interface, on the way to their core.
///
/// Until it becomes a device, what arrives on these queues stays with the kernel.
#[derive(Debug)]
pub struct XdpQueue {
    pub(crate) endpoints: Endpoints,
    pub(crate) part: Part,
    pub(crate) neighbours: Option<Neighbours>,
    pub(crate) attachment: Arc<Attachment>,
    pub(crate) facts: Facts,
}

/// What holds for all queues of an interface.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) interface: String,
    pub(crate) mac: [u8; 6],
    pub(crate) mtu: usize,
    pub(crate) mode: Mode,
    /// Whether the kernel fills in checksums on request.
    pub(crate) checksum: bool,
    /// The most fragments of a packet; 1 if there is no scatter-gather.
    pub(crate) fragments_max: usize,
    pub(crate) config: XdpConfig,
    /// How the NIC spreads flows over the devices.
    pub(crate) rss: Option<Rss>,
    /// Which device this is, and of how many.
    pub(crate) device: u16,
    pub(crate) device_count: u16,
}

/// What goes with the last device of an interface.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) map: Map,
    _link: Link,
    /// A packet socket that receives nothing, and keeps the NIC's filters open for us.
    _filters: OwnedFd,
}

/// Opens an interface: every queue is bound, and there is one [`XdpQueue`] for each core, at most as many as queues that can
/// send.
///
/// # Errors
/// An [`XdpError`] that says what to do: without the rights, if there is no such interface or queue, if somebody else
/// has it, if the driver cannot do what was asked for.
pub fn open(config: &XdpConfig) -> Result<Vec<XdpQueue>, XdpError> {
    let interface = Interface::look(&config.interface)?;
    check_mode(config, &interface)?;
    let queues = chosen_queues(config, &interface)?;
    let mtu = chosen_mtu(config, &interface)?;
    // The first of a device's queues, in ascending order, is the one that it sends by.
    let device_count = sending_count(&queues, &interface)?.min(config.devices_max.max(1));
    let plan = Plan { config, interface: &interface, queues: &queues, mtu, device_count };
    // First of all, because it tells of missing rights best.
    let map = plan.map()?;
    let region = plan.region()?;
    let (bound, link, mode) = plan.climb(&map, &region)?;
    plan.check_queues()?;
    let parts = region.divide(plan.chunk_len(), plan.chunk_count());
    let attachment = Attachment { map, _link: link, _filters: plan.filters()? };
    let Binding { copy, fragments } = bound.binding;
    let facts = Facts {
        interface: interface.name.clone(),
        mac: config.mac.unwrap_or(interface.mac),
        mtu,
        mode,
        // Of what a driver does by itself with such a request, the kernel does not tell a socket.
        checksum: bound.metadata && copy,
        fragments_max: if fragments && copy { FRAGMENTS_MAX } else { 1 },
        config: config.clone(),
        rss: rss::ask(&interface.name, &queues, device_count),
        device: 0,
        device_count: device_count as u16,
    };
    deal(bound.endpoints, parts, &interface, Arc::new(attachment), &facts)
}

/// What a driver redirects, which are packets of the interfaces below, would reach no socket of this one.
fn check_mode(config: &XdpConfig, interface: &Interface) -> Result<(), XdpError> {
    match config.mode {
        Some(mode @ (Mode::ZeroCopy | Mode::Copy)) if !interface.lower.is_empty() => {
            Err(XdpError::OverOthers {
                interface: interface.name.clone(),
                mode,
                lower: interface.lower.clone(),
            })
        }
        _ => Ok(()),
    }
}

fn chosen_queues(config: &XdpConfig, interface: &Interface) -> Result<Vec<u32>, XdpError> {
    let queues = config.queues.clone().unwrap_or(0..=interface.queue_count - 1);
    if *queues.end() >= interface.queue_count || queues.is_empty() {
        return Err(XdpError::NoSuchQueue {
            interface: interface.name.clone(),
            wanted: *queues.end(),
            count: interface.queue_count,
        });
    }
    Ok(queues.collect())
}

/// How many of the queues can send.
fn sending_count(queues: &[u32], interface: &Interface) -> Result<usize, XdpError> {
    match queues.iter().filter(|queue| **queue < interface.send_queue_count).count() {
        0 => Err(XdpError::NoSendQueue {
            interface: interface.name.clone(),
            wanted: queues[0],
            count: interface.send_queue_count,
        }),
        count => Ok(count),
    }
}

fn chosen_mtu(config: &XdpConfig, interface: &Interface) -> Result<usize, XdpError> {
    let mtu = config.mtu.unwrap_or(interface.mtu);
    if mtu > interface.mtu {
        let interface_mtu = interface.mtu;
        return Err(XdpError::MtuTooLarge {
            interface: interface.name.clone(),
            wanted: mtu,
            mtu: interface_mtu,
        });
    }
    Ok(mtu)
}

/// Deals endpoints and memory out to the devices, in turn.
fn deal(
    endpoints: Endpoints,
    parts: Vec<Part>,
    interface: &Interface,
    attachment: Arc<Attachment>,
    facts: &Facts,
) -> Result<Vec<XdpQueue>, XdpError> {
    let mut queues: Vec<_> = (0..)
        .zip(parts)
        .map(|(device, part)| XdpQueue {
            endpoints: Vec::new(),
            part,
            neighbours: None,
            attachment: Arc::clone(&attachment),
            facts: Facts { device, ..facts.clone() },
        })
        .collect();
    let (count, bound_count) = (queues.len(), endpoints.len());
    for (index, endpoint) in endpoints.into_iter().enumerate() {
        queues[index % count].endpoints.push(endpoint);
    }
    // The kernel gets what is said of neighbours: on our queues where it has a part in them, and else on its own.
    if !facts.config.keep.is_empty() || bound_count < interface.queue_count as usize {
        queues[0].neighbours = Some(Neighbours::open(interface)?);
    }
    Ok(queues)
}

/// What is to be opened.
struct Plan<'a> {
    config: &'a XdpConfig,
    interface: &'a Interface,
    queues: &'a [u32],
    mtu: usize,
    device_count: usize,
}

/// Sockets, each with its queue.
type Endpoints = Vec<(u32, Endpoint)>;

/// What was opened, and how.
struct Bound {
    endpoints: Endpoints,
    binding: Binding,
    /// Whether packets may have requests in front.
    metadata: bool,
}

impl Plan<'_> {
    /// Binds all queues and attaches the program, in the best way that works for all of them.
    fn climb(&self, map: &Map, region: &Region) -> Result<(Bound, Link, Mode), XdpError> {
        let untried = self.no_mode(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        ladder::climb(
            &ladder::modes(self.config.mode, !self.interface.lower.is_empty()),
            untried,
            |binding| self.bind(region, binding),
            |bound, mode| self.attach(map, bound, mode),
        )
    }

    /// With the program attached: virtio_net, for one, then receives on more queues than before, and what arrives on those that
    /// were not there would go to the kernel.
    fn check_queues(&self) -> Result<(), XdpError> {
        let (bound, now) = (self.interface.queue_count, self.interface.queue_count_now()?);
        if self.config.queues.is_none() && now > bound {
            return Err(XdpError::MoreQueues { interface: self.interface.name.clone(), bound, now });
        }
        Ok(())
    }

    /// The memory of all devices.
    fn region(&self) -> Result<Region, XdpError> {
        Region::map(self.memory_len()).map_err(|error| self.bind_error(self.queues[0], error))
    }

    /// A chunk takes a whole packet if it can; a larger one comes in fragments.
    fn chunk_len(&self) -> usize {
        let needed = self.mtu + LINK_HEADER_LEN + KERNEL_HEADROOM;
        if needed <= CHUNK_LENS[0] { CHUNK_LENS[0] } else { CHUNK_LENS[1] }
    }

    /// Chunks of each device.
    fn chunk_count(&self) -> usize {
        let queues = self.queues.len().div_ceil(self.device_count);
        self.config.chunk_count.max(XdpConfig::CHUNK_COUNT_MIN * queues)
    }

    /// Memory of all devices, in bytes. What no machine has is more than the kernel gives.
    fn memory_len(&self) -> usize {
        self.chunk_len().saturating_mul(self.chunk_count()).saturating_mul(self.device_count)
    }

    /// Binds all queues in one way.
    fn bind(&self, region: &Region, binding: Binding) -> Result<Bound, Failure> {
        let chunk_len = self.chunk_len();
        if !binding.fragments && self.mtu + LINK_HEADER_LEN + KERNEL_HEADROOM > chunk_len {
            return Err(self.refusal_to_bind(self.queues[0], io::Error::from_raw_os_error(libc::EMSGSIZE)));
        }
        let mut endpoints = Endpoints::new();
        let mut metadata = false;
        for &queue in self.queues {
            let opened = if endpoints.is_empty() {
                // Memory that was locked just now, by the way before or a process that is gone, is not given back at once.
                patiently(|| open_owner(region, chunk_len)).map(|(owner, has_metadata)| {
                    metadata = has_metadata;
                    owner
                })
            } else {
                Endpoint::open(None, LENS)
            };
            let endpoint = opened.map_err(|error| Failure::Final(self.bind_error(queue, error)))?;
            let Binding { copy, fragments } = binding;
            let how = Bind { interface_index: self.interface.index, queue, copy, fragments };
            let bind = || match endpoints.first() {
                None => endpoint.bind(how),
                Some((_, owner)) => endpoint.bind_sharing(how, owner.socket()),
            };
            patiently(bind).map_err(|error| self.refusal_to_bind(queue, error))?;
            endpoints.push((queue, endpoint));
        }
        Ok(Bound { endpoints, binding, metadata })
    }

    /// A driver has words of its own for what it does not do: "not permitted" among them, although the rights were proved
    /// by the socket and its memory.
    fn refusal_to_bind(&self, queue: u32, error: io::Error) -> Failure {
        if is_taken(&error) {
            return Failure::Final(self.bind_error(queue, error));
        }
        Failure::Refused(self.no_mode(error))
    }

    fn no_mode(&self, source: io::Error) -> XdpError {
        XdpError::NoMode { interface: self.interface.name.clone(), mode: self.config.mode, source }
    }

    fn bind_error(&self, queue: u32, error: io::Error) -> XdpError {
        let interface = self.interface.name.clone();
        match error.raw_os_error() {
            Some(libc::EBUSY) => XdpError::Busy { interface, queue },
            Some(libc::ENOBUFS | libc::ENOMEM) => {
                XdpError::MemoryLimit { len: self.memory_len(), source: error }
            }
            _ => XdpError::of_call("open an AF_XDP socket", error),
        }
    }

    /// A map that has a place for every queue.
    fn map(&self) -> Result<Map, XdpError> {
        let last = self.queues.last().copied().unwrap_or(0);
        Map::new(last + 1).map_err(|error| XdpError::of_call("make a BPF map of sockets", error))
    }

    /// Loads the program and attaches it.
    fn attach(&self, map: &Map, bound: &Bound, mode: Mode) -> Result<Link, Failure> {
        let code = assemble(&self.config.keep, map.fd());
        let program = sys::load(&code, bound.binding.fragments).map_err(|(source, log)| {
            Failure::Final(match source.raw_os_error() {
                Some(libc::EPERM) => XdpError::of_call("load an XDP program", source),
                _ => XdpError::Program { log, source },
            })
        })?;
        let flags = if mode == Mode::Skb { FLAG_SKB } else { FLAG_DRIVER };
        patiently(|| sys::attach(&program, self.interface.index, flags)).map_err(|error| {
            match error.raw_os_error() {
                _ if is_taken(&error) => Failure::Final(XdpError::ProgramTaken(self.interface.name.clone())),
                Some(libc::EPERM) => Failure::Refused(XdpError::of_call("attach an XDP program", error)),
                _ => Failure::Refused(self.no_mode(error)),
            }
        })
    }

    /// Opens the NIC's filters for groups, which IPv6 finds its neighbours by, for our address if it is not the NIC's, and for
    /// everything if that is wanted.
    fn filters(&self) -> Result<OwnedFd, XdpError> {
        let open = || {
            let socket = sys::socket(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
            sys::join_all_multicast(socket.as_fd(), self.interface.index)?;
            if let Some(mac) = self.config.mac {
                sys::join_unicast(socket.as_fd(), self.interface.index, mac)?;
            }
            if self.config.promiscuous {
                sys::join_promiscuous(socket.as_fd(), self.interface.index)?;
            }
            Ok(socket)
        };
        open().map_err(|error| XdpError::of_call("open the interface's filters", error))
    }
}

/// A socket with a UMEM that may have requests in front of packets if the kernel knows them (Linux 6.11).
fn open_owner(region: &Region, chunk_len: usize) -> io::Result<(Endpoint, bool)> {
    let umem = |metadata| Umem { region, chunk_len, metadata };
    match Endpoint::open(Some(umem(true)), LENS) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            Ok((Endpoint::open(Some(umem(false)), LENS)?, false))
        }
        result => result.map(|endpoint| (endpoint, true)),
    }
}

/// Whether somebody else has the queue, or the interface's one place for a program.
fn is_taken(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST))
}

/// Whether it may work in a moment: what is taken, or locked beyond the limit, is given back after its owner is gone.
fn may_pass(error: &io::Error) -> bool {
    is_taken(error) || error.raw_os_error() == Some(libc::ENOBUFS)
}

/// Tries again for a while.
fn patiently<T>(attempt: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let deadline = Instant::now() + RELEASE_TIMEOUT;
    loop {
        match attempt() {
            Err(error) if may_pass(&error) && Instant::now() < deadline => thread::sleep(RELEASE_NAP),
            result => return result,
        }
    }
}

impl XdpQueue {
    /// The queues of the interface that it stands for.
    pub fn queues(&self) -> impl Iterator<Item = u32> + '_ {
        self.endpoints.iter().map(|(queue, _)| *queue)
    }

    /// How packets get to our memory.
    pub fn mode(&self) -> Mode {
        self.facts.mode
    }

    /// Becomes a device, on the thread that will use it, and from now on receives.
    ///
    /// # Errors
    /// [`XdpError::Io`] if the kernel refuses to redirect to its sockets.
    pub fn into_device(self) -> Result<XdpDevice, XdpError> {
        XdpDevice::new(self)
    }
}

//! Opening a port: finding its driver, agreeing on offloads and queues, starting it, and closing it in the end.

use std::ffi::CString;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hayase_device::{Caps, Frame, HASH_KEY_MICROSOFT, HashFields, Offloads, Rss};

use crate::config::{LARGE_LEN, RING_LEN, SMALL_LEN};
use crate::device::DpdkDevice;
use crate::driver::{self, Kind};
use crate::eal::{Eal, on_a_plain_thread};
use crate::leaving;
use crate::sys::eal::{describe, logged};
use crate::sys::pool::Pool;
use crate::sys::port::{self as sys, Lane, PortInfo, PortSetup};
use crate::sys::xdp_sockets::XdpSockets;
use crate::sys::{DpdkFrame, drop_released};
use crate::{DpdkConfig, DpdkError, PoolConfig};

/// The most fragments of a frame: more than a super-segment of ordinary writes has, fewer than a small ring.
const FRAGMENTS_MAX: usize = 32;

/// Thresholds at which virtio looks for frames that were sent, the most eager first. The ring must be four longer, and
/// how long it is, it does not say.
const VIRTIO_THRESHOLDS: [u16; 6] = [1020, 508, 252, 124, 60, 28];

/// The largest packet of TSO: what a large buffer holds.
const TSO_LEN_MAX: usize = LARGE_LEN as usize - DpdkFrame::HEADROOM - 14;

/// How long a peer's answer to our call is waited for. It takes a millisecond.
const HANDSHAKE_MAX: Duration = Duration::from_secs(1);

/// DPDK's name for a device that it has already.
const EEXIST: i32 = -17;

/// The memory of one queue.
#[derive(Debug)]
pub(crate) struct Pools {
    pub(crate) rx: Pool,
    pub(crate) small: Pool,
    pub(crate) large: Pool,
}

impl Pools {
    fn new(config: &DpdkConfig) -> Result<Pools, DpdkError> {
        let PoolConfig { rx_count, small_count, large_count } = config.pool;
        // The driver of AF_XDP tells the kernel of as many bytes as buffers without gaps would take: those behind a gap
        // lie outside, may not be sent, and each stops what is behind it.
        let receiving = if config.is_af_xdp() { Pool::dense } else { Pool::new };
        let made = [
            receiving(rx_count, config.rx_room()),
            Pool::new(small_count, SMALL_LEN),
            Pool::new(large_count, LARGE_LEN),
        ];
        if made.iter().any(Result::is_err) {
            made.into_iter().flatten().for_each(Pool::free);
            return Err(DpdkError::NoMemory { what: "buffers", len: config.memory_len() });
        }
        let pools: Vec<Pool> = made.into_iter().flatten().collect();
        let [rx, small, large] = pools.try_into().expect("there are three");
        Ok(Pools { rx, small, large })
    }

    /// An empty frame for `len` bytes: a small buffer if that fits or no large one is left.
    #[inline]
    pub(crate) fn alloc(&self, len: usize) -> Option<DpdkFrame> {
        const SMALL_ROOM: usize = SMALL_LEN as usize - DpdkFrame::HEADROOM;
        let large = if len > SMALL_ROOM { DpdkFrame::alloc(&self.large) } else { None };
        large.or_else(|| DpdkFrame::alloc(&self.small))
    }

    /// Buffers in use, those included that wait at the device.
    pub(crate) fn in_use(&self) -> usize {
        self.all().into_iter().map(Pool::in_use).sum()
    }

    fn all(&self) -> [&Pool; 3] {
        [&self.rx, &self.small, &self.large]
    }

    /// Brings what this thread keeps at hand back to the pools.
    pub(crate) fn flush(&self) {
        self.all().into_iter().for_each(Pool::flush);
    }

    /// Gives the memory back, if all buffers have come home. No thread may hold frames of it.
    pub(crate) fn free(self) {
        [self.rx, self.small, self.large].into_iter().for_each(Pool::free);
    }
}

/// A started port. It is closed when its last queue goes, and no other thread has frames any more.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) number: u16,
    pub(crate) kind: Kind,
    pub(crate) fills_ip_checksum: bool,
    name: String,
    is_virtual: bool,
    /// The pools of queues that are gone, and to which no frame comes home any more.
    left: Mutex<Vec<Pools>>,
}

impl Port {
    /// Keeps the pools of a queue that is gone, and of which no thread holds frames, for as long as the driver needs them.
    pub(crate) fn keep(&self, pools: Pools) {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).push(pools);
    }

    /// Stops the driver, which lets go of every mbuf, whichever queue's it was.
    fn close(&mut self) {
        let mut eal = Eal::lock();
        sys::close(self.number, self.is_virtual);
        eal.release(&self.name);
        let left = std::mem::take(self.left.get_mut().unwrap_or_else(PoisonError::into_inner));
        left.into_iter().for_each(Pools::free);
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.close();
        // Without EAL's lock: destructors of the application may come back here.
        drop_released();
    }
}

/// A queue's share of its port: its lane and its memory. Both stay as long as the port does.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) lane: Lane,
    /// `None` only while it is being dropped.
    pools: Option<Pools>,
    pub(crate) port: Arc<Port>,
}

impl Seat {
    #[inline]
    pub(crate) fn pools(&self) -> &Pools {
        self.pools.as_ref().expect("a seat has its pools until it is dropped")
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(pools) = self.pools.take() {
            leaving::leave(pools, &self.port);
        }
    }
}

/// A queue pair of an open port, on its way to its core.
#[derive(Debug)]
pub struct DpdkQueue {
    pub(crate) seat: Seat,
    pub(crate) mac: [u8; 6],
    pub(crate) mtu: usize,
    pub(crate) available: Offloads,
    pub(crate) fragments_max: usize,
    pub(crate) held_len_max: usize,
    pub(crate) queues: u16,
    pub(crate) rss: Option<Rss>,
    /// The descriptor that becomes readable with a frame, if it has one.
    pub(crate) wake: Option<RawFd>,
    pub(crate) nap_max: Duration,
}

impl DpdkQueue {
    /// The device, on the thread that it is to work on: it and its frames stay there.
    ///
    /// # Errors
    /// If the process may open no more descriptors.
    pub fn into_device(self) -> Result<DpdkDevice, DpdkError> {
        DpdkDevice::new(self)
    }

    /// What the device is like with these offloads in force.
    pub(crate) fn caps(&self, offloads: Offloads) -> Caps {
        let or = |offload, with, without| if offloads.intersects(offload) { with } else { without };
        let fragments_max = or(Offloads::SG, self.fragments_max, 1);
        Caps {
            offloads,
            mtu: self.mtu,
            tso_len_max: or(Offloads::TSO, TSO_LEN_MAX.max(self.mtu), self.mtu),
            fragments_max,
            fill_len_max: fragments_max * (LARGE_LEN as usize - DpdkFrame::HEADROOM),
            queue: self.seat.lane.number(),
            queues: self.queues,
            held_len_max: self.held_len_max,
        }
    }
}

/// Opens a port with as many queue pairs as it has, up to those that are wanted. With the first one, EAL starts.
///
/// # Errors
/// A [`DpdkError`] that says what to do: if EAL does not start, no driver takes the device, it refuses to be as is wanted,
/// it is open already, or memory is short.
pub fn open(config: &DpdkConfig) -> Result<Vec<DpdkQueue>, DpdkError> {
    leaving::settle();
    on_a_plain_thread("hayase-dpdk", || open_here(config))?
}

fn open_here(config: &DpdkConfig) -> Result<Vec<DpdkQueue>, DpdkError> {
    let mut eal = Eal::lock();
    eal.start(config)?;
    eal.claim(config.name())?;
    let (opened, log) = logged(|| attach(config));
    if opened.is_err() {
        eal.release(config.name());
    }
    opened.map_err(|error| error.with_log(&log))
}

fn attach(config: &DpdkConfig) -> Result<Vec<DpdkQueue>, DpdkError> {
    let number = probe(config)?;
    let mut pools = Vec::new();
    match bring_up(number, config, &mut pools) {
        Ok(started) => Ok(started.queues(number, config, pools)),
        Err(error) => {
            // The port gives back what it took of the pools before they go.
            sys::close(number, !config.is_pci());
            pools.into_iter().for_each(Pools::free);
            Err(error)
        }
    }
}

/// The number of the device's port.
fn probe(config: &DpdkConfig) -> Result<u16, DpdkError> {
    let failed = |reason| DpdkError::Probe { device: config.device.clone(), reason, log: String::new() };
    if config.frees_elsewhere() {
        return Err(failed(
            "with packed_vq=1 and server=1 it frees frames on a thread of its own: leave one out".into(),
        ));
    }
    let devargs =
        CString::new(config.device.as_str()).map_err(|_| failed("a zero byte in its name".into()))?;
    match sys::probe(&devargs) {
        // EAL has looked for PCI devices when it started.
        Ok(()) | Err(EEXIST) => {}
        Err(error) => return Err(failed(describe(error))),
    }
    sys::find(config.name()).ok_or_else(|| failed("the driver made no port".into()))
}

/// What a port came to.
struct Started {
    info: PortInfo,
    kind: Kind,
    available: Offloads,
    setup: PortSetup,
    lanes: Vec<Lane>,
    mac: [u8; 6],
}

/// Starts a port. The memory of its queues is left in `pools`, also if that fails.
fn bring_up(number: u16, config: &DpdkConfig, pools: &mut Vec<Pools>) -> Result<Started, DpdkError> {
    let refused = |what, error| DpdkError::Start {
        device: config.device.clone(),
        what,
        reason: describe(error),
        log: String::new(),
    };
    let info = sys::info(number).map_err(|error| refused("say what it can do", error))?;
    let kind = Kind::of(&info.driver, config);
    let queues = config.queues.min(info.queues_max).max(1);
    for _ in 0..queues {
        pools.push(Pools::new(config)?);
    }
    let available = driver::offloads(&info, kind, config);
    let wanted = setup(&info, kind, config, queues, available);
    let mut last = None;
    for setup in rungs(wanted) {
        match start(number, &setup, kind, pools) {
            Ok(lanes) => {
                if config.shakes_hands() {
                    await_link(number);
                }
                let mac = addressed(number, config).map_err(|error| refused("tell its address", error))?;
                return Ok(Started { info, kind, available, setup, lanes, mac });
            }
            Err((what, error)) => last = Some(refused(what, error)),
        }
    }
    Err(last.expect("there is at least one way to start a port"))
}

/// Waits for the peer's answer, which EAL's own thread takes: what is sent before it is lost, and the first question for a
/// neighbour is asked again only after a second. A peer that does not answer is none whose link could be waited for.
fn await_link(number: u16) {
    let end = Instant::now() + HANDSHAKE_MAX;
    while !sys::link_is_up(number) && Instant::now() < end {
        thread::sleep(Duration::from_millis(1));
    }
}

fn setup(info: &PortInfo, kind: Kind, config: &DpdkConfig, queues: u16, available: Offloads) -> PortSetup {
    let (rx_offloads, tx_offloads) = driver::requests(info, kind, available);
    let spreads = queues > 1 && info.table_len > 0;
    let key_len = if info.key_len == 0 { HASH_KEY_MICROSOFT.len() } else { usize::from(info.key_len) };
    PortSetup {
        rx_offloads,
        tx_offloads,
        rss_fields: if spreads { info.rss_fields & sys::rss_known_fields() } else { 0 },
        rss_key: HASH_KEY_MICROSOFT.iter().copied().cycle().take(key_len).collect(),
        mtu: config.mtu as u32,
        lro_len_max: if available.contains(Offloads::LRO) { info.lro_len_max } else { 0 },
        queues,
        rx_interrupts: true,
    }
}

/// What is wanted, then without what drivers refuse although they offer it: interrupts, then RSS.
fn rungs(wanted: PortSetup) -> [PortSetup; 3] {
    let silent = PortSetup { rx_interrupts: false, ..wanted.clone() };
    let plain = PortSetup { rss_fields: 0, ..silent.clone() };
    [wanted, silent, plain]
}

/// Configures and starts a port, or says what it refused, and with which error.
fn start(
    number: u16,
    setup: &PortSetup,
    kind: Kind,
    pools: &[Pools],
) -> Result<Vec<Lane>, (&'static str, i32)> {
    sys::configure(number, setup)
        .map_err(|error| ("take its configuration (MTU, offloads, queues)", error))?;
    let lane = |(queue, pools): (usize, &Pools)| set_up_queue(number, queue as u16, kind, &pools.rx);
    let lanes: Result<Vec<_>, _> = pools.iter().enumerate().map(lane).collect();
    let lanes = lanes.map_err(|error| ("set up a queue", error))?;
    sys::start(number).map_err(|error| ("start", error))?;
    Ok(lanes)
}

fn set_up_queue(number: u16, queue: u16, kind: Kind, pool: &Pool) -> Result<Lane, i32> {
    let set_up = |threshold| sys::set_up_queue(number, queue, pool, RING_LEN, threshold);
    if kind == Kind::Xdp {
        let before = XdpSockets::open_now();
        let mut lane = set_up(0)?;
        lane.socket = XdpSockets::open_now().added_since(&before);
        return Ok(lane);
    }
    let eager = match kind {
        Kind::Virtio => VIRTIO_THRESHOLDS.into_iter().find_map(|threshold| set_up(threshold).ok()),
        _ => None,
    };
    eager.map_or_else(|| set_up(0), Ok)
}

/// Gives the started port its address and MTU, as far as its driver cares; returns the address.
fn addressed(number: u16, config: &DpdkConfig) -> Result<[u8; 6], i32> {
    // It was configured with this MTU; some drivers want to be told twice, and others refuse.
    let _ = sys::set_mtu(number, config.mtu as u16);
    // IPv6 finds its neighbours by groups. A driver without a filter has nothing to open.
    let _ = sys::open_filter(number, false);
    let Some(mac) = config.mac else { return sys::mac(number) };
    if sys::set_mac(number, mac).is_err() {
        let _ = sys::open_filter(number, true);
    }
    Ok(mac)
}

impl Started {
    fn queues(self, number: u16, config: &DpdkConfig, pools: Vec<Pools>) -> Vec<DpdkQueue> {
        let rss = self.rss(number);
        let port = Arc::new(Port {
            number,
            kind: self.kind,
            fills_ip_checksum: driver::fills_ip_checksum(self.setup.tx_offloads),
            name: config.name().into(),
            is_virtual: !config.is_pci(),
            left: Mutex::default(),
        });
        let fragments_max = match usize::from(self.info.fragments_max) {
            0 => FRAGMENTS_MAX,
            count => count.min(FRAGMENTS_MAX),
        };
        let (has_interrupts, kind) = (self.setup.rx_interrupts, self.kind);
        let queue = |(lane, pools): (Lane, Pools)| DpdkQueue {
            wake: match kind {
                Kind::Packet => lane.packet_socket(),
                Kind::Xdp => lane.socket,
                _ => lane.interrupt_fd().filter(|_| has_interrupts && lane.has_interrupt()),
            },
            nap_max: config.nap_max,
            seat: Seat { lane, pools: Some(pools), port: Arc::clone(&port) },
            mac: self.mac,
            mtu: config.mtu,
            available: self.available,
            fragments_max,
            held_len_max: config.held_len_max(),
            queues: self.setup.queues,
            rss: rss.clone(),
        };
        self.lanes.into_iter().zip(pools).map(queue).collect()
    }

    /// How flows are spread, if the driver says.
    fn rss(&self, number: u16) -> Option<Rss> {
        if self.setup.rss_fields == 0 {
            return None;
        }
        let key_len = self.setup.rss_key.len();
        let (table, key, ports) = sys::rss(number, self.setup.queues, self.info.table_len, key_len)?;
        let kinds = [HashFields::TCP4, HashFields::TCP6, HashFields::UDP4, HashFields::UDP6];
        let mut fields = HashFields::ADDRESSES;
        kinds
            .into_iter()
            .enumerate()
            .filter(|(bit, _)| ports >> bit & 1 == 1)
            .for_each(|(_, kind)| fields |= kind);
        Rss::new(&key, &table, fields)
    }
}

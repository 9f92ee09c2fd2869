//! Binding a port: each pair of its rings to a descriptor of its own, the pairs dealt out to queues.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use hayase_device::{Frame, Offloads};
use netmap_sys::{
    API, NR_EXCLUSIVE, NR_REG_ONE_NIC, NR_RX_RINGS_ONLY, NmreqHeader, NmreqOptOffsets, NmreqOption,
    NmreqRegister, PORT_NAME_LEN, REQ_OPT_OFFSETS, REQ_REGISTER,
};

use crate::device::{NetmapDevice, PairSetup, Setup};
use crate::memory::Kernel;
use crate::sys::{self, Binding, Region};
use crate::{NetmapError, NetmapFrame, PortKind, PortName};

/// The furthest from its buffer's start that we have a frame begin. What is further is moved.
const OFFSET_MAX: u64 = NetmapFrame::HEADROOM as u64;

/// Bits of a slot's field that hold such an offset.
const OFFSET_BITS: u32 = 16;

/// Which port to open, and how.
#[derive(Debug, Clone)]
pub struct NetmapConfig {
    /// The port: `eth1`, `vale0:1`, `pipe{1`; see [`PortName`].
    pub port: String,
    /// The most queues to make of it, one for each core. The rings of a NIC are all taken, since flows arrive on
    /// every one: with fewer queues than rings, a queue has several. A pipe that does not exist yet is made with so
    /// many rings; both ends have as many.
    pub queues: u16,
    /// Our link-layer address. By default the interface's, or one that follows from the port's name.
    pub mac: Option<[u8; 6]>,
    /// The largest IP packet on the link, in bytes.
    pub mtu: usize,
    /// The offloads that may be used; all that the port has are in force at first.
    pub offloads: Offloads,
    /// Buffers besides those in the rings, for each queue: what frames and queues of the stack may hold. The kernel
    /// may give fewer.
    pub buffers: u32,
}

impl Default for NetmapConfig {
    /// `vale0:1`, one queue, Ethernet's MTU, every offload, 8192 buffers, which usually are 16 MiB.
    fn default() -> NetmapConfig {
        NetmapConfig {
            port: "vale0:1".into(),
            queues: 1,
            mac: None,
            mtu: 1500,
            offloads: Offloads::ALL,
            buffers: 8192,
        }
    }
}

/// A pair of rings, or a receive ring without a partner, bound to a descriptor.
#[derive(Debug)]
struct Pair {
    file: File,
    bound: NmreqRegister,
    has_offsets: bool,
}

/// Some pairs of a port's rings with memory for one core, on their way to its thread. Closed again if dropped.
#[derive(Debug)]
pub struct NetmapQueue {
    port: PortName,
    config: NetmapConfig,
    pairs: Vec<Pair>,
    queue: u16,
    queues: u16,
}

/// Binds a port: as many queues as are wanted and it has pairs of rings for. Never empty. Receive rings beyond the pairs
/// are dealt out as well, since flows arrive on them.
///
/// # Errors
/// A [`NetmapError`] that says what to do: without the module, without the right, if there is no such port or
/// somebody else has it, if it has no memory.
pub fn open(config: &NetmapConfig) -> Result<Vec<NetmapQueue>, NetmapError> {
    let port = PortName::parse(&config.port)?;
    port.check_interface(config.mtu)?;
    let wanted = config.queues.max(1);
    let first = bind(&port, config, Wanted { ring: 0, buffers: config.buffers, receives_only: false })?;
    let queues = wanted.min(first.bound.rx_rings).min(first.bound.tx_rings).max(1);
    let others = others(queues, first.bound.tx_rings, first.bound.rx_rings, config.buffers);
    let queue =
        |queue| NetmapQueue { port: port.clone(), config: config.clone(), pairs: vec![], queue, queues };
    let mut opened: Vec<_> = (0..queues).map(queue).collect();
    opened[0].pairs.push(first);
    for wanted in others {
        opened[usize::from(wanted.ring % queues)].pairs.push(bind(&port, config, wanted)?);
    }
    Ok(opened)
}

/// What to bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    ring: u16,
    /// Extra buffers.
    buffers: u32,
    /// Without the transmit ring of this number.
    receives_only: bool,
}

/// The rings to bind after the first pair. Where a port has fewer transmit rings, netmap would give the first one out
/// again, and refuse that to us as to anybody else: it is bound already.
fn others(queues: u16, tx_rings: u16, rx_rings: u16, buffers: u32) -> impl Iterator<Item = Wanted> {
    (1..rx_rings).map(move |ring| Wanted {
        ring,
        buffers: if ring < queues { buffers } else { 0 },
        receives_only: ring >= tx_rings,
    })
}

/// Binds one pair of rings, with offsets where the port has them and we can use them.
fn bind(port: &PortName, config: &NetmapConfig, wanted: Wanted) -> Result<Pair, NetmapError> {
    let file = OpenOptions::new().read(true).write(true).open(netmap_sys::DEVICE);
    let file = file.map_err(NetmapError::of_open)?;
    let mut header = header(port.as_str());
    // On a NIC nobody sees how frames lie in their buffers. The other end of a pipe or the switch does, and its
    // program may not know of offsets.
    if port.kind() == PortKind::Nic {
        let (mut bound, mut offsets) = (request(port, config, wanted), offsets());
        if sys::control(&file, &mut header, &mut bound, Some(&mut offsets)).is_ok() {
            return Ok(Pair { file, bound, has_offsets: true });
        }
    }
    let mut bound = request(port, config, wanted);
    match sys::control(&file, &mut header, &mut bound, None) {
        Ok(()) => Ok(Pair { file, bound, has_offsets: false }),
        Err(error) => Err(NetmapError::of_bind(port.as_str(), error)),
    }
}

fn header(port: &str) -> NmreqHeader {
    let mut name = [0; PORT_NAME_LEN];
    name[..port.len()].copy_from_slice(port.as_bytes());
    NmreqHeader { version: API, reqtype: REQ_REGISTER, reserved: 0, name, options: 0, body: 0 }
}

fn request(port: &PortName, config: &NetmapConfig, wanted: Wanted) -> NmreqRegister {
    let rings = if port.kind() == PortKind::Pipe { config.queues.max(1) } else { 0 };
    NmreqRegister {
        tx_rings: rings,
        rx_rings: rings,
        ringid: wanted.ring,
        mode: NR_REG_ONE_NIC,
        extra_bufs: wanted.buffers,
        flags: NR_EXCLUSIVE | if wanted.receives_only { NR_RX_RINGS_ONLY } else { 0 },
        ..NmreqRegister::default()
    }
}

fn offsets() -> NmreqOptOffsets {
    NmreqOptOffsets {
        option: NmreqOption { reqtype: REQ_OPT_OFFSETS, ..NmreqOption::default() },
        max_offset: OFFSET_MAX,
        offset_bits: OFFSET_BITS,
        ..NmreqOptOffsets::default()
    }
}

impl NetmapQueue {
    /// Which queue of its port it is, from 0.
    pub fn queue(&self) -> u16 {
        self.queue
    }

    /// How many queues the port was opened with.
    pub fn queues(&self) -> u16 {
        self.queues
    }

    /// Makes a device of it. To be called on the thread that the device will live on.
    ///
    /// # Errors
    /// If the memory cannot be mapped or makes no sense, has no spare buffers, or the MTU is too large for it.
    pub fn into_device(self) -> Result<NetmapDevice, NetmapError> {
        let what = || format!("map netmap port {}", self.port.as_str());
        let failed = |error| NetmapError::io(what(), error);
        let first = self.pairs.first().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        let region = Region::map(&first.file, &first.bound).map_err(failed)?;
        let bindings: io::Result<Vec<_>> =
            self.pairs.iter().map(|pair| PairSetup::new(&region, &pair.bound, pair.has_offsets)).collect();
        let setup = Setup {
            binding: Binding::new(&region, &first.bound).map_err(failed)?,
            region,
            pairs: bindings.map_err(failed)?,
            keeps_buffer: self.port.kind() != PortKind::Pipe,
            takes_chains: self.port.takes_chains(),
            mac: self.config.mac.unwrap_or_else(|| self.port.mac()),
            mtu: self.config.mtu,
            offloads: self.config.offloads,
            queue: self.queue,
            queues: self.queues,
        };
        let name = self.port.as_str().to_owned();
        let files = Descriptors(self.pairs.into_iter().map(|pair| pair.file).collect());
        NetmapDevice::new(name, setup, Box::new(files))
    }
}

/// The descriptor of each pair.
#[derive(Debug)]
struct Descriptors(Vec<File>);

impl Kernel for Descriptors {
    fn sync_transmit(&self, pair: usize) -> io::Result<()> {
        sys::sync_transmit(&self.0[pair])
    }

    fn sync_receive(&self, pair: usize) -> io::Result<()> {
        sys::sync_receive(&self.0[pair])
    }

    fn is_readable(&self, pair: usize) -> bool {
        sys::is_readable(&self.0[pair])
    }

    fn descriptor(&self, pair: usize) -> RawFd {
        self.0[pair].as_raw_fd()
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn receive_rings_without_a_partner_are_bound_alone() {
        let config = NetmapConfig { port: "eth1".into(), ..NetmapConfig::default() };
        let port = PortName::parse("eth1").expect("a name");
        let flags = |wanted| request(&port, &config, wanted).flags;
        // Four receive rings, two transmit rings, and so two queues.
        let others: Vec<_> = others(2, 2, 4, 7).collect();
        let rings: Vec<_> =
            others.iter().map(|wanted| (wanted.ring, wanted.buffers, flags(*wanted))).collect();
        let alone = NR_EXCLUSIVE | NR_RX_RINGS_ONLY;
        assert_eq!(rings, [(1, 7, NR_EXCLUSIVE), (2, 0, alone), (3, 0, alone)]);
    }
}

//! A queue of a netmap port on its core's thread.

use std::io;
use std::rc::Rc;

use hayase_device::headers::ETHERNET_LEN;
use hayase_device::{Burst, Caps, Device, Frame, Interest, Offloads, SharedBytes, TxMeta};
use netmap_sys::NmreqRegister;

use crate::frame;
use crate::memory::{Kernel, Memory, RECEIVE_RESERVE};
use crate::receiver::Receiver;
use crate::sys::{Binding, Region, RingView};
use crate::transmitter::{SlotRules, Transmitter};
use crate::{NetmapError, NetmapFrame};

/// The most fragments of a frame: more than a jumbo frame of the stack's has.
const FRAGMENTS_MAX: usize = 16;

/// How long a thread may sleep without a look at rings that do not move, in nanoseconds: their descriptor would
/// wake at once, with nothing but an error to tell.
const STALLED_SLEEP: u64 = 10_000_000;

/// What a device is made of.
pub(crate) struct Setup {
    pub(crate) region: Rc<Region>,
    /// The binding of the first pair, which has the extra buffers.
    pub(crate) binding: Binding,
    pub(crate) pairs: Vec<PairSetup>,
    pub(crate) keeps_buffer: bool,
    pub(crate) takes_chains: bool,
    pub(crate) mac: [u8; 6],
    pub(crate) mtu: usize,
    pub(crate) offloads: Offloads,
    pub(crate) queue: u16,
    pub(crate) queues: u16,
}

/// Rings that were bound together. Of the transmit rings, a device uses its first pair's.
pub(crate) struct PairSetup {
    receive: RingView,
    has_offsets: bool,
}

impl PairSetup {
    pub(crate) fn new(
        region: &Rc<Region>,
        bound: &NmreqRegister,
        has_offsets: bool,
    ) -> io::Result<PairSetup> {
        let binding = Binding::new(region, bound)?;
        Ok(PairSetup { receive: binding.receive_ring()?, has_offsets })
    }
}

/// A queue of a netmap port, with the memory its frames live in.
///
/// Frames may outlive it; the port stays bound until the last of them is gone.
#[derive(Debug)]
pub struct NetmapDevice {
    name: String,
    mac: [u8; 6],
    caps: Caps,
    available: Offloads,
    receivers: Vec<Receiver>,
    /// The ring to look at first, another one each time: none starves behind a busy one.
    first: usize,
    transmitter: Transmitter,
    memory: Rc<Memory>,
    rx_errors: u64,
}

impl NetmapDevice {
    pub(crate) fn new(
        name: String,
        setup: Setup,
        kernel: Box<dyn Kernel>,
    ) -> Result<NetmapDevice, NetmapError> {
        let malformed = |error| NetmapError::io(format!("use the rings of netmap port {name}"), error);
        let transmit = setup.binding.transmit_ring().map_err(malformed)?;
        let memory = Memory::new(setup.region, setup.binding, kernel);
        if memory.extra_count() <= RECEIVE_RESERVE {
            return Err(NetmapError::NoBuffers(name));
        }
        let mtu_max = memory.buffer_len().saturating_sub(ETHERNET_LEN);
        if setup.mtu > mtu_max && !setup.takes_chains {
            return Err(NetmapError::MtuTooLarge { port: name, mtu: setup.mtu, mtu_max });
        }
        let mut pairs = setup.pairs.into_iter();
        let first = pairs.next().ok_or_else(|| malformed(io::ErrorKind::InvalidInput.into()))?;
        let rules = SlotRules {
            keeps_buffer: setup.keeps_buffer,
            offset_max: if first.has_offsets { NetmapFrame::HEADROOM } else { 0 },
            frame_slots_max: (setup.mtu + ETHERNET_LEN).div_ceil(memory.buffer_len()) as u32,
        };
        let transmitter = Transmitter::new(transmit, rules, &memory).map_err(malformed)?;
        let others = pairs.map(|pair| Receiver::new(pair.receive));
        let mut device = NetmapDevice {
            mac: setup.mac,
            caps: Caps {
                queue: setup.queue,
                queues: setup.queues,
                held_len_max: (memory.extra_count() - RECEIVE_RESERVE) * memory.buffer_len(),
                ..Caps::ethernet(setup.mtu)
            },
            available: setup.offloads & if setup.takes_chains { Offloads::SG } else { Offloads::NONE },
            receivers: [Receiver::new(first.receive)].into_iter().chain(others).collect(),
            first: 0,
            transmitter,
            memory,
            rx_errors: 0,
            name,
        };
        device.set_offloads(Offloads::ALL);
        Ok(device)
    }

    /// The port's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Buffers in use: frames, leases and what is queued anywhere. 0 when all came home. What is in slots does not
    /// count.
    pub fn in_use(&self) -> usize {
        self.memory.extra_count().saturating_sub(self.memory.spare_count())
    }

    /// Whether the kernel refuses to move frames: the interface is down, or gone. Nothing is received then, and what
    /// is transmitted waits, as far as there is room.
    pub fn is_stalled(&self) -> bool {
        (0..self.receivers.len()).all(|pair| self.is_pair_stalled(pair))
    }

    fn is_pair_stalled(&self, pair: usize) -> bool {
        self.receivers[pair].stalled || pair == 0 && self.transmitter.stalled
    }

    /// Whether a frame has a length and a number of fragments that can be, and asks for nothing.
    fn is_acceptable(&self, frame: &NetmapFrame, meta: &TxMeta) -> bool {
        let fragments_max = self.caps.fragments_max;
        (ETHERNET_LEN..=ETHERNET_LEN + self.caps.mtu).contains(&frame.total_len())
            && *meta == TxMeta::default()
            && (frame.next().is_none() || frame.fragments().take(fragments_max + 1).count() <= fragments_max)
    }

    /// Notes what came of a system call. Each time that a pair of rings stops moving counts once.
    fn note(&mut self, pair: usize, note: impl FnOnce(&mut NetmapDevice)) {
        let was_stalled = self.is_pair_stalled(pair);
        note(self);
        self.rx_errors += u64::from(self.is_pair_stalled(pair) && !was_stalled);
    }

    /// Hands over what is queued, and takes back what the kernel has sent.
    fn synchronise_transmit(&mut self) {
        let result = self.memory.kernel().sync_transmit(0);
        self.note(0, |device| device.transmitter.stalled = result.is_err());
        if !self.transmitter.stalled {
            self.transmitter.synchronised();
            self.transmitter.reclaim(&self.memory);
        }
    }
}

impl Drop for NetmapDevice {
    fn drop(&mut self) {
        self.transmitter.close(&self.memory);
        self.memory.close();
    }
}

impl Device for NetmapDevice {
    type Frame = NetmapFrame;

    #[inline]
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn set_offloads(&mut self, wanted: Offloads) -> Offloads {
        self.caps.offloads = wanted & self.available;
        self.caps.fragments_max = if self.caps.offloads.contains(Offloads::SG) { FRAGMENTS_MAX } else { 1 };
        let room = self.memory.buffer_len().saturating_sub(NetmapFrame::HEADROOM);
        self.caps.fill_len_max = self.caps.fragments_max * room;
        self.caps.offloads
    }

    fn mac(&self) -> [u8; 6] {
        self.mac
    }

    fn receive(&mut self, burst: &mut Burst<NetmapFrame>) -> usize {
        let before = burst.len();
        // A `poll` by the parked thread moves slots as well.
        self.transmitter.reclaim(&self.memory);
        for turn in 0..self.receivers.len() {
            let pair = (self.first + turn) % self.receivers.len();
            // One system call a turn, and none while the last one's frames are not even all taken.
            if (self.receivers[pair].ready() as usize) < burst.room() {
                let result = self.memory.kernel().sync_receive(pair);
                self.note(pair, |device| device.receivers[pair].stalled = result.is_err());
            }
            self.receivers[pair].receive(&self.memory, burst);
        }
        self.first = (self.first + 1) % self.receivers.len();
        burst.len() - before
    }

    #[inline]
    fn alloc(&mut self, _len: usize) -> Option<NetmapFrame> {
        if self.memory.spare_count() <= RECEIVE_RESERVE {
            return None;
        }
        self.memory.take().map(frame::empty)
    }

    /// netmap sends from its own memory only.
    fn wrap(&mut self, _bytes: &SharedBytes) -> Option<NetmapFrame> {
        None
    }

    #[inline]
    fn room(&self) -> usize {
        self.transmitter.room()
    }

    fn transmit(&mut self, frame: NetmapFrame, meta: TxMeta) {
        if self.is_acceptable(&frame, &meta) {
            self.transmitter.send(frame, &self.memory);
        } else {
            self.transmitter.errors += 1;
        }
    }

    fn flush(&mut self) {
        if self.transmitter.is_busy() {
            self.synchronise_transmit();
        }
    }

    /// Asks the kernel: one system call for each pair of rings, unless it is known.
    fn pending(&self) -> bool {
        if self.receivers.iter().any(|receiver| receiver.ready() > 0) {
            return true;
        }
        let readable = |pair| !self.is_pair_stalled(pair) && self.memory.kernel().is_readable(pair);
        !self.transmitter.stalled && self.transmitter.is_waiting() || (0..self.receivers.len()).any(readable)
    }

    fn interests(&self, interest: &mut dyn FnMut(Interest)) {
        let moving = |pair: &usize| !self.is_pair_stalled(*pair);
        for pair in (0..self.receivers.len()).filter(moving) {
            let writable = pair == 0 && self.transmitter.room() == 0;
            interest(Interest { fd: self.memory.kernel().descriptor(pair), readable: true, writable });
        }
    }

    fn arm(&mut self) -> Option<u64> {
        let is_stalled = (0..self.receivers.len()).any(|pair| self.is_pair_stalled(pair));
        is_stalled.then_some(STALLED_SLEEP)
    }

    fn drops(&self, count: &mut dyn FnMut(&'static str, u64)) {
        let of_rings = |counter: fn(&Receiver) -> u64| self.receivers.iter().map(counter).sum::<u64>();
        count("rx_no_buffer", of_rings(|receiver| receiver.no_buffer));
        count("rx_errors", self.rx_errors + of_rings(|receiver| receiver.errors));
        count("tx_dropped", self.transmitter.dropped);
        count("tx_errors", self.transmitter.errors);
    }
}

//! A host's end of its cable: the NIC's other side.
//!
//! The host's device is the in-memory wire of every other program. At the wire's far end sits a station, which has no
//! offloads: so whatever the stack left to its device, checksums and cutting, is really done before a frame crosses the
//! network, and what arrives is verified if the host's device has that offload. Frames cross as copies, as from one
//! machine to another, and each host has memory of its own.

use std::rc::Rc;

use hayase::device::headers::ETHERNET_LEN;
use hayase::device::heap::{HeapFrame, Pool, PoolConfig};
use hayase::device::wire::{EndConfig, Wire, WireConfig, WireDevice};
use hayase::device::{Burst, Device, Frame, Offloads, TxMeta};
use hayase::time::Instant;

use crate::capture::Capture;

/// Frames that one look at the wire brings.
const BURST_LEN: usize = 64;

/// Frames of a NIC's ring, each way.
const RING_LEN: usize = 1024;

/// What the hosts' devices are like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeviceConfig {
    pub(crate) mtu: usize,
    pub(crate) offloads: Offloads,
    pub(crate) pool: PoolConfig,
}

#[derive(Debug)]
pub(crate) struct Station {
    pub(crate) name: String,
    pub(crate) mac: [u8; 6],
    /// The pipe that leads away from here.
    pub(crate) uplink: usize,
    mtu: usize,
    far: WireDevice,
    burst: Burst<HeapFrame>,
    pub(crate) capture: Capture,
    /// The memory of this host, and of the one that it was before a reboot.
    pools: Vec<Pool>,
    /// Frames that the stack was given since it was started.
    pub(crate) delivered: u64,
}

impl Station {
    /// A host that is off, as yet.
    pub(crate) fn new(index: usize, name: String, uplink: usize, capture_len: usize) -> Station {
        let [high, low] = (index as u16 + 1).to_be_bytes();
        let (_, far) = Wire::pair(WireConfig::default());
        Station {
            name,
            mac: [0x02, 0, 0, 7, high, low],
            uplink,
            mtu: 0,
            far,
            burst: Burst::new(BURST_LEN),
            capture: Capture::new(capture_len),
            pools: Vec::new(),
            delivered: 0,
        }
    }

    /// Puts a new device in, and returns it.
    pub(crate) fn plug(&mut self, config: &DeviceConfig) -> WireDevice {
        let mut wire = WireConfig {
            mtu: config.mtu,
            queue_frames_max: RING_LEN,
            pool: config.pool,
            ..WireConfig::default()
        };
        wire.a = EndConfig { offloads: config.offloads, mac: self.mac };
        wire.b = EndConfig { offloads: Offloads::NONE, ..wire.b };
        let (device, far) = Wire::pair(wire);
        self.pools.extend([device.pool().clone(), far.pool().clone()]);
        self.far = far;
        self.mtu = config.mtu;
        self.delivered = 0;
        device
    }

    /// Takes what the host has sent.
    pub(crate) fn collect(&mut self, now: Instant, mut take: impl FnMut(Rc<[u8]>)) -> usize {
        let mut count = 0;
        while self.far.receive(&mut self.burst) > 0 {
            for (frame, _) in self.burst.drain() {
                let bytes: Rc<[u8]> = match frame.next() {
                    None => frame.bytes().into(),
                    Some(_) => frame.fragments().flatten().copied().collect(),
                };
                self.capture.add(now, &bytes);
                take(bytes);
                count += 1;
            }
        }
        count
    }

    /// Hands a frame to the host. Returns whether it took it: a NIC has no room, or drops runts and giants.
    pub(crate) fn deliver(&mut self, now: Instant, bytes: &Rc<[u8]>) -> bool {
        let has_length = (ETHERNET_LEN..=ETHERNET_LEN + self.mtu).contains(&bytes.len());
        let copy = has_length.then(|| self.copy(bytes)).flatten();
        let taken = copy.is_some_and(|frame| {
            let has_room = self.far.room() > 0;
            if has_room {
                self.far.transmit(frame, TxMeta::default());
            }
            has_room
        });
        if taken {
            self.capture.add(now, bytes);
            self.delivered += 1;
        }
        taken
    }

    fn copy(&mut self, bytes: &[u8]) -> Option<HeapFrame> {
        let mut frame = self.far.alloc(bytes.len())?;
        frame.extend(bytes.len())?.copy_from_slice(bytes);
        Some(frame)
    }

    /// Buffers that are not in their pools.
    pub(crate) fn frames_out(&self) -> usize {
        self.pools.iter().map(Pool::in_use).sum()
    }

    /// Bytes of those buffers.
    pub(crate) fn memory_len(&self) -> usize {
        self.pools.iter().map(Pool::in_use_len).sum()
    }
}

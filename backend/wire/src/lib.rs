//! An in-memory wire: two Hayase devices joined by a cable that is a pair of queues.
//!
//! Both ends live in one thread, and a frame moves from one host to the other without a copy, in tens of
//! instructions. Each end plays a NIC with any mixture of offloads: where the sender asks for something that
//! the receiver's hardware can take as it is (an unfinished checksum, an uncut super-segment), it passes, as
//! between two virtual machines on virtio; where not, the work is really done before the frame arrives.
//!
//! ```
//! use hayase_device::{Burst, Device, Frame, TxMeta};
//! use hayase_wire::{Wire, WireConfig};
//!
//! let (mut a, mut b) = Wire::pair(WireConfig::default());
//! let mut frame = a.alloc(60).unwrap();
//! frame.extend(60).unwrap().fill(0);
//! a.transmit(frame, TxMeta::default());
//!
//! let mut burst = Burst::new(32);
//! assert_eq!(b.receive(&mut burst), 1);
//! ```
#![forbid(unsafe_code)]

mod crossing;
mod device;

use hayase_device::Offloads;
use hayase_device::heap::PoolConfig;

pub use device::WireDevice;

/// A cable. It exists only as its two ends.
#[derive(Debug)]
pub struct Wire;

impl Wire {
    /// A new cable with a device at each end.
    ///
    /// When one end is dropped, the other stays usable: what it sends is dropped and counted (`tx_dropped`).
    ///
    /// # Panics
    /// If `queue_frames_max` is 0, `mtu` is below 68 (the least of RFC 791) or above 65,535, or a buffer of
    /// `pool` is smaller than a frame's headroom.
    pub fn pair(config: WireConfig) -> (WireDevice, WireDevice) {
        WireDevice::pair(&config)
    }
}

/// What a [`Wire`] is like.
#[derive(Debug, Clone)]
pub struct WireConfig {
    /// The largest IP packet on the link, in bytes.
    pub mtu: usize,
    /// The first host's end.
    pub a: EndConfig,
    /// The second host's end.
    pub b: EndConfig,
    /// The most frames on their way in each direction. A super-segment that is cut counts as one when it is
    /// given, and its pieces may go beyond this.
    pub queue_frames_max: usize,
    /// Limits of each end's own memory.
    pub pool: PoolConfig,
}

/// What the NIC at one end of a [`Wire`] is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndConfig {
    /// The offloads that the NIC has; all are in force at first, but for those that
    /// [make no sense](Offloads::consistent) without another.
    pub offloads: Offloads,
    /// Its link-layer address.
    pub mac: [u8; 6],
}

impl Default for WireConfig {
    /// Ethernet's MTU, every offload at both ends, 1024 frames each way, the default pool, and the locally
    /// administered addresses `02:00:00:00:00:0a` and `02:00:00:00:00:0b`.
    fn default() -> WireConfig {
        let end = |last| EndConfig { offloads: Offloads::ALL, mac: [0x02, 0, 0, 0, 0, last] };
        WireConfig {
            mtu: 1500,
            a: end(0x0a),
            b: end(0x0b),
            queue_frames_max: 1024,
            pool: PoolConfig::default(),
        }
    }
}

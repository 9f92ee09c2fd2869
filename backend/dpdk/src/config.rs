//! Which port to open, and how.

use std::time::Duration;

use hayase_device::{Frame, Offloads};

use crate::sys::DpdkFrame;
use crate::sys::pool::PAGE_ROOM;

/// Bytes of a buffer for ordinary frames, headroom included: Ethernet's frame and its surroundings, as DPDK has it.
pub(crate) const SMALL_LEN: u16 = 2048 + DpdkFrame::HEADROOM as u16;

/// Bytes of a buffer for super-segments, headroom included: what 16 bits can say, down to a cache line.
pub(crate) const LARGE_LEN: u16 = 65_472;

/// Descriptors of each ring, as far as the driver has them.
pub(crate) const RING_LEN: u16 = 1024;

/// Bytes that an mbuf takes beside its buffer: itself, its private area, its place in the pool.
const OVERHEAD_LEN: usize = 128 + 128 + 64;

/// Which port to open, and how.
#[derive(Debug, Clone)]
pub struct DpdkConfig {
    /// The device as DPDK names it, with its arguments: `net_virtio_user0,path=/run/vhost.sock`, `0000:01:00.0`.
    pub device: String,
    /// Further arguments of EAL. They count for the process, so the first port to be opened decides.
    pub eal: Vec<String>,
    /// The most queue pairs to use; as many are as the device has.
    pub queues: u16,
    /// Our link-layer address. By default the device's.
    pub mac: Option<[u8; 6]>,
    /// The largest IP packet on the link, in bytes.
    pub mtu: usize,
    /// The offloads that may be used; those that the device has are in force at first, but for those that
    /// [make no sense](Offloads::consistent) without another.
    pub offloads: Offloads,
    /// The longest nap of an idle thread whose driver wakes nobody. A nap is an eighth of the time in which no frame came or
    /// went; the first frame after that waits for the end of it.
    pub nap_max: Duration,
    /// Limits of each queue's memory.
    pub pool: PoolConfig,
}

impl Default for DpdkConfig {
    /// No device, one queue, Ethernet's MTU, every offload, naps of [`DpdkConfig::NAP_MAX`], the default pools.
    fn default() -> DpdkConfig {
        DpdkConfig {
            device: String::new(),
            eal: Vec::new(),
            queues: 1,
            mac: None,
            mtu: 1500,
            offloads: Offloads::ALL,
            nap_max: DpdkConfig::NAP_MAX,
            pool: PoolConfig::default(),
        }
    }
}

impl DpdkConfig {
    /// 16 ms: some sixty looks at a queue in a second, which are less than half a per cent of a processor also where waking is dear.
    pub const NAP_MAX: Duration = Duration::from_millis(16);

    /// The device's name, without its arguments.
    pub(crate) fn name(&self) -> &str {
        self.device.split(',').next().unwrap_or_default()
    }

    /// An argument of the device.
    pub(crate) fn argument(&self, key: &str) -> Option<&str> {
        let pairs = self.device.split(',').skip(1).filter_map(|pair| pair.split_once('='));
        pairs.filter(|pair| pair.0 == key).map(|pair| pair.1).last()
    }

    /// Whether it is on the PCI bus: `0000:01:00.0`, `01:00.0`.
    pub(crate) fn is_pci(&self) -> bool {
        self.name().contains(':')
    }

    /// Whether its driver frees mbufs on a thread of EAL's while it runs: virtio does so with its packed queues when it is the
    /// end that waits for the other, and that comes back.
    pub(crate) fn frees_elsewhere(&self) -> bool {
        let is_on = |key| self.argument(key) == Some("1");
        self.name().starts_with("net_virtio_user") && is_on("packed_vq") && is_on("server")
    }

    /// Whether it calls a peer that is there, and has a link when that has answered.
    pub(crate) fn shakes_hands(&self) -> bool {
        // It goes by an older name as well.
        let waits = matches!(self.argument("role"), Some("server" | "master"));
        self.name().starts_with("net_memif") && !waits
    }

    /// Whether it is an interface of the kernel's, through AF_XDP.
    pub(crate) fn is_af_xdp(&self) -> bool {
        self.name().starts_with("net_af_xdp")
    }

    /// Bytes of a buffer to receive into.
    pub(crate) fn rx_room(&self) -> u16 {
        // The kernel has these by pages.
        if self.is_af_xdp() { PAGE_ROOM } else { SMALL_LEN }
    }

    /// Bytes of a queue's buffers that connections may hold, whether they receive or send: those that wait at the device are
    /// not there to be held.
    pub(crate) fn held_len_max(&self) -> usize {
        let received = self.pool.rx_count.saturating_sub(RING_LEN.into()) * usize::from(self.rx_room());
        received.min(self.pool.small_count * usize::from(SMALL_LEN))
    }

    /// Memory that its queues take, in bytes.
    pub(crate) fn memory_len(&self) -> usize {
        usize::from(self.queues) * self.pool.memory_len(self.rx_room())
    }
}

/// Limits of a queue's memory. What is received and what is sent have pools of their own, so neither starves the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolConfig {
    /// Buffers of 2 KiB to receive into: those that wait at the device, and all that is received and not yet read.
    pub rx_count: usize,
    /// Buffers of 2 KiB to send from.
    pub small_count: usize,
    /// Buffers of 64 KiB to send super-segments from.
    pub large_count: usize,
}

impl PoolConfig {
    pub(crate) const DEFAULT: PoolConfig =
        PoolConfig { rx_count: 16_384, small_count: 16_384, large_count: 512 };

    /// Memory that one queue takes whose buffers to receive into have `rx_room` bytes.
    pub(crate) const fn memory_len(self, rx_room: u16) -> usize {
        const fn len(room: u16) -> usize {
            room as usize + OVERHEAD_LEN
        }
        self.rx_count * len(rx_room) + self.small_count * len(SMALL_LEN) + self.large_count * len(LARGE_LEN)
    }
}

impl Default for PoolConfig {
    /// 40 MiB each of small buffers for receiving and for sending, 32 MiB of large ones.
    fn default() -> PoolConfig {
        PoolConfig::DEFAULT
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn a_device_is_a_name_and_arguments() {
        let config = |device: &str| DpdkConfig { device: device.into(), ..DpdkConfig::default() };
        let vhost = config("net_vhost0,iface=/run/a.sock,tso=1");
        assert_eq!((vhost.name(), vhost.is_pci()), ("net_vhost0", false));
        assert_eq!((vhost.argument("tso"), vhost.argument("client")), (Some("1"), None));
        assert!(config("0000:01:00.0,representor=0").is_pci() && config("01:00.0").is_pci());
        assert!(config("net_memif0").shakes_hands() && config("net_memif1,id=0,role=client").shakes_hands());
        assert!(!config("net_memif0,role=server").shakes_hands() && !vhost.shakes_hands());
    }
}

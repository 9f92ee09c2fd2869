//! What may be chosen about an interface.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use hayase_device::Offloads;

/// Which queues of which interface to use, and how.
#[derive(Debug, Clone)]
pub struct XdpConfig {
    /// The interface's name, at most 15 bytes. It must exist and be up.
    pub interface: String,
    /// Our link-layer address: by default the interface's own. Another one is added to what the NIC accepts.
    pub mac: Option<[u8; 6]>,
    /// The largest IP packet, in bytes: by default, and at most, the interface's.
    pub mtu: Option<usize>,
    /// The queues of the interface to bind: by default all that it receives on. What arrives on others stays
    /// with the kernel.
    pub queues: Option<RangeInclusive<u32>>,
    /// How many devices to make of these queues, at most: one for each core. With fewer devices than queues, a
    /// device has several of them, dealt out in turn.
    pub devices_max: usize,
    /// How packets get from NIC to memory: by default the best way that driver and kernel know.
    pub mode: Option<Mode>,
    /// What is left to the kernel. If this is empty, everything on the bound queues is ours.
    pub keep: Vec<Keep>,
    /// Whether the link's other end is on this machine. Such a sender leaves checksums to hardware that is not
    /// there, and nothing tells: a checksum field that holds just the pseudo-header's sum is then taken for
    /// one that was left out.
    pub trust: bool,
    /// Whether the NIC's filters are opened for everything. Many NICs throw away what is in a VLAN that the kernel has no
    /// interface for, unless they are.
    pub promiscuous: bool,
    /// The offloads that may be used, as far as there are any.
    pub offloads: Offloads,
    /// Chunks of memory of each device, of 2 KiB, or 4 KiB where the MTU asks for it. They are locked in memory. There are
    /// [at least some](Self::CHUNK_COUNT_MIN) for each of its queues.
    pub chunk_count: usize,
}

impl XdpConfig {
    /// 32 MiB a device at Ethernet's MTU: two rings full, and as much again for what sockets hold.
    pub const CHUNK_COUNT: usize = 16_384;

    /// The fewest chunks for each queue of a device. Half of them wait for packets: as many as a turn takes.
    pub const CHUNK_COUNT_MIN: usize = 128;
}

impl Default for XdpConfig {
    /// No interface yet; one device on all queues, the best mode, nothing kept, no trust, every offload.
    fn default() -> XdpConfig {
        XdpConfig {
            interface: String::new(),
            mac: None,
            mtu: None,
            queues: None,
            devices_max: 1,
            mode: None,
            keep: Vec::new(),
            trust: false,
            promiscuous: false,
            offloads: Offloads::ALL,
            chunk_count: XdpConfig::CHUNK_COUNT,
        }
    }
}

/// How packets get from the NIC to our memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The NIC itself writes into and reads from our memory: needs a driver that can.
    ZeroCopy,
    /// The driver runs the program, the kernel copies.
    Copy,
    /// The kernel runs the program after it has made its own packet of it, and copies: works on every interface.
    Skb,
}

/// Packets that are left to the kernel although they arrive on a queue of ours.
///
/// As soon as anything is kept, both sides live on the link: ARP, neighbour discovery, ICMP errors and queries for
/// multicast listeners reach the kernel as well as us; what else is said of groups, and what is neither IP nor ARP,
/// reaches the kernel only.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Keep {
    /// TCP to these ports.
    Tcp(RangeInclusive<u16>),
    /// UDP to these ports.
    Udp(RangeInclusive<u16>),
    /// Echo requests and replies, of ICMP and ICMPv6: the kernel answers `ping`.
    Icmp,
    /// Nothing more than what both sides need to live on the link.
    Arp,
    /// Everything to this address.
    Address(IpAddr),
}

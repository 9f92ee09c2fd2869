//! What can be found out about a machine without changing it.

use serde::Serialize;

/// Everything that a verdict may depend on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Facts {
    /// The release of the kernel.
    pub(super) kernel: String,
    /// CPUs that this process may use.
    pub(super) cpus: usize,
    pub(super) capabilities: Capabilities,
    /// Whether the capabilities count everywhere, or only in a user namespace of one's own.
    pub(super) initial_user_namespace: bool,
    /// Whether a filter of system calls is in force, as in most containers.
    pub(super) seccomp: bool,
    pub(super) io_uring: Probe,
    /// Opening `/dev/net/tun`.
    pub(super) tun: Probe,
    /// Opening a socket of AF_XDP.
    pub(super) af_xdp: Probe,
    /// Opening a socket for ICMP echo on the kernel's sockets.
    pub(super) echo: Probe,
    /// Opening `/dev/netmap` and, in a program that was built with netmap, asking the module for its version.
    pub(super) netmap: Probe,
    /// Opening `/dev/vfio/vfio`, through which a process gets a PCI device.
    pub(super) vfio: Probe,
    /// The first port that needs no right.
    pub(super) unprivileged_port_start: u16,
    pub(super) limits: Limits,
    pub(super) hugepages: Hugepages,
    /// PCI devices whose driver leaves them to a process.
    pub(super) user_space_devices: Vec<UserSpaceDevice>,
    pub(super) built: Built,
    pub(super) interfaces: Vec<Interface>,
}

/// Whether something worked when it was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Probe {
    pub(super) works: bool,
    /// Whether the thing is there at all.
    pub(super) exists: bool,
    /// The system's words, if it did not work.
    pub(super) error: Option<String>,
}

impl Probe {
    pub(super) fn of<T>(attempt: std::io::Result<T>) -> Probe {
        let error = attempt.err();
        let is_absent = error.as_ref().is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound);
        Probe { works: error.is_none(), exists: !is_absent, error: error.map(|error| error.to_string()) }
    }

    /// The system's words, for a sentence.
    pub(super) fn words(&self) -> &str {
        self.error.as_deref().unwrap_or("it works")
    }
}

/// The capabilities that a device may need, as far as they are in effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Capabilities {
    pub(super) net_bind_service: bool,
    pub(super) net_admin: bool,
    pub(super) net_raw: bool,
    pub(super) ipc_lock: bool,
    pub(super) sys_admin: bool,
    pub(super) bpf: bool,
}

impl Capabilities {
    /// The bits of `linux/capability.h`.
    pub(super) fn new(effective: u64) -> Capabilities {
        let has = |bit: u32| effective >> bit & 1 == 1;
        Capabilities {
            net_bind_service: has(10),
            net_admin: has(12),
            net_raw: has(13),
            ipc_lock: has(14),
            sys_admin: has(21),
            bpf: has(39),
        }
    }

    /// Each by its name.
    pub(super) fn named(self) -> [(&'static str, bool); 6] {
        [
            ("CAP_NET_ADMIN", self.net_admin),
            ("CAP_NET_RAW", self.net_raw),
            ("CAP_BPF", self.bpf),
            ("CAP_SYS_ADMIN", self.sys_admin),
            ("CAP_IPC_LOCK", self.ipc_lock),
            ("CAP_NET_BIND_SERVICE", self.net_bind_service),
        ]
    }
}

/// Soft limits of this process; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Limits {
    /// Bytes that may be locked in memory (`ulimit -l`, in KiB there).
    pub(super) memlock: Option<u64>,
    /// Descriptors (`ulimit -n`).
    pub(super) nofile: Option<u64>,
}

/// Memory in large pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Hugepages {
    pub(super) sizes: Vec<HugepageSize>,
    /// Where a hugetlbfs is mounted.
    pub(super) mounts: Vec<String>,
}

/// The large pages of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct HugepageSize {
    pub(super) kib: u64,
    pub(super) total: u64,
    pub(super) free: u64,
}

/// A PCI device bound to a driver such as vfio-pci.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct UserSpaceDevice {
    /// `0000:01:00.0`.
    pub(super) address: String,
    pub(super) driver: String,
}

/// The optional devices that this program was built with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Built {
    pub(super) dpdk: bool,
    pub(super) netmap: bool,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Interface {
    pub(super) name: String,
    /// `None` if the system does not tell.
    pub(super) driver: Option<String>,
    pub(super) loopback: bool,
    pub(super) mtu: u32,
    /// Whether it was brought up.
    pub(super) up: bool,
    /// Whether it has a link.
    pub(super) carrier: bool,
    pub(super) rx_queues: usize,
    pub(super) tx_queues: usize,
    /// Whether the machine's default route goes this way.
    pub(super) default_route: bool,
    /// `None` if the kernel does not tell.
    pub(super) xdp: Option<XdpFeatures>,
}

/// What a driver can do with XDP, as it tells the kernel (`NETDEV_XDP_ACT_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct XdpFeatures {
    /// Programs run in the driver, before the kernel allocates anything, and can redirect to AF_XDP.
    pub(super) native: bool,
    /// AF_XDP shares its memory with the NIC.
    pub(super) zero_copy: bool,
    /// Frames of several buffers.
    pub(super) multi_buffer: bool,
}

impl XdpFeatures {
    pub(super) fn new(flags: u64) -> XdpFeatures {
        const BASIC: u64 = 1;
        const REDIRECT: u64 = 2;
        const XSK_ZEROCOPY: u64 = 8;
        const RX_SG: u64 = 32;
        XdpFeatures {
            native: flags & (BASIC | REDIRECT) == BASIC | REDIRECT,
            zero_copy: flags & XSK_ZEROCOPY != 0,
            multi_buffer: flags & RX_SG != 0,
        }
    }
}

//! Ports, by their number: what EAL's lock and `crate::port` make safe to call.

use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::marker::PhantomData;
use std::mem;
use std::os::fd::RawFd;
use std::ptr::{self, NonNull};

use super::ffi;
use super::frame::Segment;
use super::pool::Pool;

/// The most mbufs of one look at a queue.
pub(crate) const BURST_MAX: usize = 32;

/// What a driver says that it can do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PortInfo {
    /// The driver's name.
    pub(crate) driver: String,
    /// `RTE_ETH_RX_OFFLOAD_*`.
    pub(crate) rx_offloads: u64,
    /// `RTE_ETH_TX_OFFLOAD_*`.
    pub(crate) tx_offloads: u64,
    /// `RTE_ETH_RSS_*`.
    pub(crate) rss_fields: u64,
    /// The longest super-frame, in bytes, or 0.
    pub(crate) lro_len_max: u32,
    /// Queue pairs.
    pub(crate) queues_max: u16,
    /// The largest IP packet, in bytes.
    pub(crate) mtu_max: u16,
    /// The most segments of a transmitted frame, or 0.
    pub(crate) fragments_max: u16,
    /// Entries of the indirection table of RSS, or 0.
    pub(crate) table_len: u16,
    /// Bytes of the key of RSS, or 0.
    pub(crate) key_len: u16,
}

/// How a port is to be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PortSetup {
    /// `RTE_ETH_RX_OFFLOAD_*`.
    pub(crate) rx_offloads: u64,
    /// `RTE_ETH_TX_OFFLOAD_*`.
    pub(crate) tx_offloads: u64,
    /// `RTE_ETH_RSS_*`; 0 without RSS.
    pub(crate) rss_fields: u64,
    /// The key of RSS.
    pub(crate) rss_key: Vec<u8>,
    /// The largest IP packet, in bytes.
    pub(crate) mtu: u32,
    /// The longest super-frame, in bytes, or 0.
    pub(crate) lro_len_max: u32,
    /// Queue pairs.
    pub(crate) queues: u16,
    /// Whether queues are to have interrupts.
    pub(crate) rx_interrupts: bool,
}

/// The error number of a call that returns 0 or a negative one.
fn check(result: i32) -> Result<(), i32> {
    if result < 0 { Err(result) } else { Ok(()) }
}

/// Makes a bus look for a device, and a driver take it.
pub(crate) fn probe(devargs: &CStr) -> Result<(), i32> {
    // SAFETY: the string ends in zero and is copied. EAL runs.
    check(unsafe { ffi::rte_dev_probe(devargs.as_ptr()) })
}

/// A port by the name of its device.
pub(crate) fn find(device: &str) -> Option<u16> {
    let name = CString::new(device).ok()?;
    let mut port = 0;
    // SAFETY: the string ends in zero; a number is written to `port`.
    let found = unsafe { ffi::rte_eth_dev_get_port_by_name(name.as_ptr(), &raw mut port) };
    (found == 0).then_some(port)
}

/// What the driver of a port can do.
pub(crate) fn info(port: u16) -> Result<PortInfo, i32> {
    let mut info = ffi::PortInfo {
        driver: ptr::null(),
        rx_offloads: 0,
        tx_offloads: 0,
        rss_fields: 0,
        lro_len_max: 0,
        queues_max: 0,
        mtu_max: 0,
        fragments_max: 0,
        table_len: 0,
        key_len: 0,
    };
    // SAFETY: `info` is laid out as the shim's structure, and valid for the call.
    check(unsafe { ffi::hayase_port_info(port, &raw mut info) })?;
    let driver = if info.driver.is_null() {
        String::new()
    } else {
        // SAFETY: a driver's name is a constant that ends in zero.
        unsafe { CStr::from_ptr(info.driver) }.to_string_lossy().into_owned()
    };
    Ok(PortInfo {
        driver,
        rx_offloads: info.rx_offloads,
        tx_offloads: info.tx_offloads,
        rss_fields: info.rss_fields,
        lro_len_max: info.lro_len_max,
        queues_max: info.queues_max,
        mtu_max: info.mtu_max,
        fragments_max: info.fragments_max,
        table_len: info.table_len,
        key_len: info.key_len,
    })
}

/// Configures a stopped port.
pub(crate) fn configure(port: u16, setup: &PortSetup) -> Result<(), i32> {
    let config = ffi::PortConfig {
        rx_offloads: setup.rx_offloads,
        tx_offloads: setup.tx_offloads,
        rss_fields: setup.rss_fields,
        rss_key: setup.rss_key.as_ptr(),
        mtu: setup.mtu,
        lro_len_max: setup.lro_len_max,
        queues: setup.queues,
        rss_key_len: setup.rss_key.len() as u8,
        rx_interrupts: u8::from(setup.rx_interrupts),
    };
    // SAFETY: `config` is laid out as the shim's structure; it and the key are read during the call only.
    check(unsafe { ffi::hayase_port_configure(port, &raw const config) })
}

/// Sets up a queue pair that receives into `pool`, which must outlive the port. `free_threshold` 0 is the driver's own
/// choice.
pub(crate) fn set_up_queue(
    port: u16,
    queue: u16,
    pool: &Pool,
    ring_len: u16,
    free_threshold: u16,
) -> Result<Lane, i32> {
    // SAFETY: the pool lives; whoever has it frees it after the port has been closed.
    check(unsafe { ffi::hayase_queue_setup(port, queue, pool.raw(), ring_len, ring_len, free_threshold) })?;
    Ok(Lane { port, queue, socket: None, one_thread: PhantomData })
}

/// Starts a port.
pub(crate) fn start(port: u16) -> Result<(), i32> {
    // SAFETY: the call takes a number, which DPDK checks.
    check(unsafe { ffi::rte_eth_dev_start(port) })
}

/// Sets the MTU of a port.
pub(crate) fn set_mtu(port: u16, mtu: u16) -> Result<(), i32> {
    // SAFETY: the call takes numbers, which DPDK checks.
    check(unsafe { ffi::rte_eth_dev_set_mtu(port, mtu) })
}

/// Makes a port pass frames to groups, or all frames.
pub(crate) fn open_filter(port: u16, promiscuous: bool) -> Result<(), i32> {
    // SAFETY: the calls take a number, which DPDK checks.
    check(unsafe {
        if promiscuous {
            ffi::rte_eth_promiscuous_enable(port)
        } else {
            ffi::rte_eth_allmulticast_enable(port)
        }
    })
}

/// The link-layer address of a port.
pub(crate) fn mac(port: u16) -> Result<[u8; 6], i32> {
    let mut mac = [0; 6];
    // SAFETY: six bytes are written.
    check(unsafe { ffi::hayase_port_mac(port, mac.as_mut_ptr()) })?;
    Ok(mac)
}

/// Changes the link-layer address of a port.
pub(crate) fn set_mac(port: u16, mac: [u8; 6]) -> Result<(), i32> {
    // SAFETY: six bytes are read.
    check(unsafe { ffi::hayase_port_set_mac(port, mac.as_ptr()) })
}

/// Whether there is a peer at the other end.
pub(crate) fn link_is_up(port: u16) -> bool {
    // SAFETY: the call takes a number, which DPDK checks.
    unsafe { ffi::hayase_port_link_is_up(port) != 0 }
}

/// Frames lost on their way in: missed, without a buffer, in error.
pub(crate) fn losses(port: u16) -> [u64; 3] {
    let mut losses = [0; 3];
    // Without statistics, nothing is known to be lost.
    // SAFETY: three numbers are written.
    let _ = unsafe { ffi::hayase_port_losses(port, losses.as_mut_ptr()) };
    losses
}

/// Spreads flows evenly over the queues of a started port, and returns the table, the key and which of TCP over IPv4,
/// TCP over IPv6, UDP over IPv4, UDP over IPv6 are hashed with ports, in four bits.
pub(crate) fn rss(port: u16, queues: u16, table_len: u16, key_len: usize) -> Option<(Vec<u16>, Vec<u8>, u8)> {
    let (mut table, mut key, mut fields) = (vec![0; usize::from(table_len)], vec![0; key_len], 0);
    // SAFETY: `table` and `key` are as long as is said, `fields` is one number; all are valid for the call.
    let result = unsafe {
        let key = (key.as_mut_ptr(), key.len() as u8);
        ffi::hayase_port_rss(port, queues, table.as_mut_ptr(), table_len, key.0, key.1, &raw mut fields)
    };
    // SAFETY: the call takes a number.
    (result == 0).then(|| (table, key, unsafe { ffi::hayase_rss_ports(fields) }))
}

/// The fields of RSS that are followed.
pub(crate) fn rss_known_fields() -> u64 {
    // SAFETY: the call takes nothing.
    unsafe { ffi::hayase_rss_known_fields() }
}

/// Stops and closes a port. Its mbufs go to their pools; nobody uses it any more.
pub(crate) fn close(port: u16, is_virtual: bool) {
    // SAFETY: the call takes numbers; callers have given up every queue of the port.
    unsafe { ffi::hayase_port_close(port, is_virtual.into()) };
}

/// What the guest of a net_vhost port has agreed to (virtio 1.2 §5.1.3, in bits); nothing if there is no guest.
pub(crate) fn guest_features(port: u16) -> u64 {
    // SAFETY: the call takes a number; it is for ports of net_vhost, and callers know which those are.
    unsafe { ffi::hayase_vhost_features(port) }
}

/// One queue pair of a port, for one thread at a time: there is one for each that was set up. Frames pass once the port
/// is started, and until it is closed.
#[derive(Debug)]
pub(crate) struct Lane {
    port: u16,
    queue: u16,
    /// What the driver receives by, where that was seen.
    pub(crate) socket: Option<RawFd>,
    /// It may be sent to another thread, but not be shared with one.
    one_thread: PhantomData<Cell<()>>,
}

impl Lane {
    /// Which queue pair of its port it is.
    pub(crate) fn number(&self) -> u16 {
        self.queue
    }

    /// Takes received frames, at most [`BURST_MAX`], and appends them; returns how many.
    #[inline]
    pub(crate) fn receive(&self, count_max: usize, into: &mut Vec<Segment>) -> usize {
        let mut mbufs = [ptr::null_mut(); BURST_MAX];
        let count_max = count_max.min(BURST_MAX) as u16;
        // SAFETY: there is room for that many pointers. No other thread is at this queue.
        let count = unsafe { ffi::hayase_rx_burst(self.port, self.queue, mbufs.as_mut_ptr(), count_max) };
        for mbuf in &mbufs[..usize::from(count)] {
            // SAFETY: the driver gave these mbufs away; they are of the pool that the queue was set up with.
            into.push(unsafe { Segment::from_raw(NonNull::new_unchecked(*mbuf)) });
        }
        usize::from(count)
    }

    /// Hands over frames from the front of `segments`; returns how many were taken, which are gone from there.
    #[inline]
    pub(crate) fn transmit(&self, segments: &mut Vec<Segment>) -> usize {
        let count = segments.len().min(usize::from(u16::MAX)) as u16;
        // SAFETY: a segment is a pointer to an mbuf. No other thread is at this queue.
        let sent =
            unsafe { ffi::hayase_tx_burst(self.port, self.queue, segments.as_mut_ptr().cast(), count) };
        // What was sent is the driver's.
        segments.drain(..usize::from(sent)).for_each(mem::forget);
        usize::from(sent)
    }

    /// Lets the driver look at frames before they are sent, and finish their headers; returns how many at the front it
    /// accepts. A driver that wants no look accepts all.
    #[inline]
    pub(crate) fn prepare(&self, segments: &mut [Segment]) -> usize {
        let count = segments.len().min(usize::from(u16::MAX)) as u16;
        // SAFETY: as for `transmit`; nothing changes hands.
        usize::from(unsafe {
            ffi::hayase_tx_prepare(self.port, self.queue, segments.as_mut_ptr().cast(), count)
        })
    }

    /// Makes the driver give back what it has sent, if it can on request.
    pub(crate) fn reclaim(&self) {
        // A driver that cannot does it when more is sent.
        // SAFETY: the call takes numbers, which DPDK checks. No other thread is at this queue.
        let _ = unsafe { ffi::rte_eth_tx_done_cleanup(self.port, self.queue, 0) };
    }

    /// Whether the driver interrupts when it is asked to.
    pub(crate) fn has_interrupt(&self) -> bool {
        let has = self.enable_interrupt();
        self.disable_interrupt();
        has
    }

    /// Asks for an interrupt with the next frame; whether there will be one.
    pub(crate) fn enable_interrupt(&self) -> bool {
        // SAFETY: the call takes numbers, which DPDK checks.
        unsafe { ffi::rte_eth_dev_rx_intr_enable(self.port, self.queue) == 0 }
    }

    /// Asks for no more interrupts.
    pub(crate) fn disable_interrupt(&self) {
        // A driver that cannot goes on ringing, which costs time only.
        // SAFETY: the call takes numbers, which DPDK checks.
        let _ = unsafe { ffi::rte_eth_dev_rx_intr_disable(self.port, self.queue) };
    }

    /// The descriptor that net_af_packet receives by. It is for ports of that driver, and callers know which those are.
    pub(crate) fn packet_socket(&self) -> Option<RawFd> {
        // SAFETY: the call takes numbers. The port is started, so the driver has put a structure there that begins with an
        // `int`.
        let fd = unsafe { ffi::hayase_packet_socket(self.port, self.queue) };
        (fd >= 0).then_some(fd)
    }

    /// The descriptor of the queue's interrupt. DPDK logs it if there is none.
    pub(crate) fn interrupt_fd(&self) -> Option<RawFd> {
        // SAFETY: the call takes numbers, which DPDK checks.
        let fd = unsafe { ffi::rte_eth_dev_rx_intr_ctl_q_get_fd(self.port, self.queue) };
        (fd >= 0).then_some(fd)
    }
}

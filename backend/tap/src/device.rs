//! Our end of a TAP interface.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::thread;
use std::time::{Duration, Instant};

use hayase_device::headers::ETHERNET_LEN;
use hayase_device::heap::{HeapFrame, Pool, PoolConfig};
use hayase_device::segment::is_segmentable;
use hayase_device::{
    Burst, Caps, Device, Frame, Interest, Nap, Offloads, SharedBytes, TxMeta, TxSegmentation,
};

use crate::receiver::Receiver;
use crate::sys::{self, IfRequest, Ifreq};
use crate::transmitter::{FRAGMENTS_MAX, Lack, Transmitter};
use crate::vnet::{VNET_LEN, VnetHeader};
use crate::{TapError, host};

/// The largest packet of TSO: what IPv4's length field can say.
const TSO_LEN_MAX: usize = 65_535;

/// The descriptors of a process that is killed while it sleeps in io_uring are closed by a thread of the kernel, somewhat
/// after the process is gone: who starts a server anew is not to be told that the old one has the interface.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);
const RELEASE_NAP: Duration = Duration::from_millis(5);

/// Which TAP interface to open, and how.
#[derive(Debug, Clone)]
pub struct TapConfig {
    /// The interface's name, at most 15 bytes. It is created if it does not exist (and then vanishes when it is
    /// closed), attached to if it does.
    pub name: String,
    /// Our link-layer address. By default the kernel's own with the last bit flipped.
    pub mac: Option<[u8; 6]>,
    /// The largest IP packet on the link, in bytes. The kernel's side is set to the same.
    pub mtu: usize,
    /// The offloads that may be used; all are in force at first, but for those that
    /// [make no sense](Offloads::consistent) without another.
    pub offloads: Offloads,
    /// Limits of the device's memory.
    pub pool: PoolConfig,
}

impl Default for TapConfig {
    /// `hy0`, Ethernet's MTU, every offload, the default pool.
    fn default() -> TapConfig {
        TapConfig {
            name: "hy0".into(),
            mac: None,
            mtu: 1500,
            offloads: Offloads::ALL,
            pool: PoolConfig::default(),
        }
    }
}

/// Our end of a TAP interface.
///
/// Closing it takes the carrier from the kernel's side; the interface itself vanishes unless it was made to
/// persist (`ip tuntap add`).
#[derive(Debug)]
pub struct TapDevice {
    pub(crate) tun: File,
    name: String,
    mac: [u8; 6],
    caps: Caps,
    available: Offloads,
    pool: Pool,
    receiver: Receiver,
    pub(crate) transmitter: Transmitter,
    nap: Nap,
    rx_errors: u64,
    /// Whether the interface still exists: it may be deleted under us.
    attached: bool,
}

impl TapDevice {
    /// Opens a TAP interface. One that another process has is waited for, for two seconds: the kernel lets go of it
    /// somewhat after that process has ended.
    ///
    /// # Errors
    /// A [`TapError`] that says what to do: without CAP_NET_ADMIN, without the driver, if the interface is
    /// taken or of another kind, if its name or MTU cannot be.
    pub fn open(config: &TapConfig) -> Result<TapDevice, TapError> {
        check_name(&config.name)?;
        let tun = open_tun(&config.name)?;
        attach(&tun, &config.name)?;
        host::set_mtu(&config.name, config.mtu)?;
        let mac = match config.mac {
            Some(mac) => mac,
            None => neighbour(host::mac(&config.name)?),
        };
        let pool = Pool::new(config.pool);
        let mut device = TapDevice {
            tun,
            name: config.name.clone(),
            mac,
            caps: Caps::ethernet(config.mtu),
            available: config.offloads,
            receiver: Receiver::new(&pool),
            pool,
            transmitter: Transmitter::default(),
            nap: Nap::new(),
            rx_errors: 0,
            attached: true,
        };
        // An interface that persists may have been left with anything.
        let in_force = device.negotiate(whole_rx_checksum(config.offloads).consistent());
        device.caps = caps(config.mtu, in_force, &device.pool);
        Ok(device)
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The memory that this device's frames live in.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Buffers of the [pool](Self::pool) that the device keeps ready to receive into.
    pub fn ready_count(&self) -> usize {
        self.receiver.ready_count()
    }

    /// Whether the interface still exists. If it was deleted, nothing is received any more, and what is
    /// transmitted is dropped and counted.
    pub fn is_attached(&self) -> bool {
        self.attached
    }

    /// Asks the kernel for these receive offloads, or for what it has of them.
    fn negotiate(&self, wanted: Offloads) -> Offloads {
        let rungs = [wanted, wanted & !Offloads::LRO, wanted & !(Offloads::LRO | Offloads::RX_CHECKSUM)];
        let granted = rungs.into_iter().find(|rung| {
            let flags = tun_flags(*rung);
            sys::set_tun_offload(self.tun.as_fd(), flags).is_ok()
        });
        granted.unwrap_or(rungs[2])
    }

    /// Whether the frame has a length and a number of fragments that can be, and asks for nothing that was not
    /// promised. The kernel looks less closely at where it is told to cut.
    fn is_acceptable(&self, frame: &HeapFrame, meta: &TxMeta) -> bool {
        let segmentation = meta.segmentation.is_none_or(|request| {
            first_segment_len(request) <= ETHERNET_LEN + self.caps.mtu && is_segmentable(frame, request)
        });
        let len_max = if meta.segmentation.is_some() { self.caps.tso_len_max } else { self.caps.mtu };
        let fragments_max = self.caps.fragments_max;
        (ETHERNET_LEN..=ETHERNET_LEN + len_max).contains(&frame.total_len())
            && meta.is_promised_by(self.caps.offloads)
            && segmentation
            && frame.fragments().take(fragments_max + 1).count() <= fragments_max
    }
}

fn first_segment_len(request: TxSegmentation) -> usize {
    usize::from(request.header_len) + usize::from(request.segment_len)
}

/// An interface name as the kernel takes it. `%` would make the kernel choose a number.
fn check_name(name: &str) -> Result<(), TapError> {
    let is_strange = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | '%');
    if name.is_empty() || name.len() > sys::NAME_LEN_MAX || name.contains(is_strange) || name.starts_with('.')
    {
        return Err(TapError::BadName(name.into()));
    }
    Ok(())
}

fn open_tun(name: &str) -> Result<File, TapError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")
        .map_err(|error| TapError::of_open(name, error))
}

fn attach(tun: &File, name: &str) -> Result<(), TapError> {
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    let request = || {
        let mut request = Ifreq::new(name).with_i16(flags as i16);
        sys::interface(tun.as_fd(), IfRequest::Attach, &mut request)
    };
    patiently(request).map_err(|error| TapError::of_attach(name, error))?;
    sys::set_vnet_header_len(tun.as_fd(), VNET_LEN)
        .map_err(|error| TapError::io(format!("set the virtio header of {name}"), error))
}

/// Tries again for a while what another process has.
fn patiently(attempt: impl Fn() -> io::Result<()>) -> io::Result<()> {
    let deadline = Instant::now() + RELEASE_TIMEOUT;
    loop {
        // Before the attempt: however long this thread was away, the last attempt is made when the time is over.
        let is_last = Instant::now() >= deadline;
        match attempt() {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && !is_last => thread::sleep(RELEASE_NAP),
            result => return result,
        }
    }
}

/// A locally administered unicast address that differs from `mac`, and is the same each time.
fn neighbour(mut mac: [u8; 6]) -> [u8; 6] {
    mac[0] = mac[0] & !1 | 2;
    mac[5] ^= 1;
    mac
}

/// What the kernel may leave to us, in its words.
fn tun_flags(offloads: Offloads) -> u32 {
    let checksum = if offloads.contains(Offloads::RX_CHECKSUM) { libc::TUN_F_CSUM } else { 0 };
    let super_frames = libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    checksum | if offloads.contains(Offloads::LRO) { super_frames } else { 0 }
}

/// The kernel has one switch for the receive checksums of all protocols.
fn whole_rx_checksum(offloads: Offloads) -> Offloads {
    if offloads.contains(Offloads::RX_CHECKSUM) { offloads } else { offloads & !Offloads::RX_CHECKSUM }
}

fn caps(mtu: usize, offloads: Offloads, pool: &Pool) -> Caps {
    let or = |offload, with, without| if offloads.intersects(offload) { with } else { without };
    let fragments_max = or(Offloads::SG, FRAGMENTS_MAX, 1);
    Caps {
        offloads,
        mtu,
        tso_len_max: or(Offloads::TSO, TSO_LEN_MAX, mtu),
        fragments_max,
        fill_len_max: fragments_max * pool.alloc_len_max(),
        queue: 0,
        queues: 1,
        held_len_max: pool.small_len_max(),
    }
}

impl Device for TapDevice {
    type Frame = HeapFrame;

    #[inline]
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn set_offloads(&mut self, wanted: Offloads) -> Offloads {
        let wanted = whole_rx_checksum(wanted & self.available).consistent();
        // The kernel is asked only where it has a say.
        let is_granted = tun_flags(wanted) == tun_flags(self.caps.offloads);
        let in_force = if is_granted { wanted } else { self.negotiate(wanted) };
        self.caps = caps(self.caps.mtu, in_force, &self.pool);
        in_force
    }

    fn mac(&self) -> [u8; 6] {
        self.mac
    }

    fn receive(&mut self, burst: &mut Burst<HeapFrame>) -> usize {
        if !self.attached {
            return 0;
        }
        let before = burst.len();
        let wants_verdict = self.caps.offloads.contains(Offloads::RX_CHECKSUM);
        // One look per place in the burst, so that a flood of frames that are dropped ends as well.
        for _ in 0..burst.room() {
            match self.receiver.read(&self.tun, &self.pool, wants_verdict) {
                Ok(Some((frame, meta))) => burst.push(frame, meta),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.rx_errors += 1;
                    self.attached = error.raw_os_error() != Some(libc::EBADFD);
                    break;
                }
            }
        }
        burst.len() - before
    }

    #[inline]
    fn alloc(&mut self, len: usize) -> Option<HeapFrame> {
        self.pool.alloc(len)
    }

    fn wrap(&mut self, bytes: &SharedBytes) -> Option<HeapFrame> {
        Pool::wrap(bytes.clone())
    }

    #[inline]
    fn room(&self) -> usize {
        self.transmitter.room()
    }

    fn transmit(&mut self, frame: HeapFrame, mut meta: TxMeta) {
        if !self.is_acceptable(&frame, &meta) {
            self.transmitter.errors += 1;
            return;
        }
        // One segment is no super-segment, whatever it is called.
        meta.segmentation =
            meta.segmentation.filter(|&request| frame.total_len() > first_segment_len(request));
        self.transmitter.send(&self.tun, frame, VnetHeader::from_tx(meta).to_bytes());
    }

    fn flush(&mut self) {
        if self.transmitter.lack() != Lack::Nothing {
            self.transmitter.flush(&self.tun);
        }
        if self.transmitter.lack() != Lack::Memory {
            self.nap.reset();
        }
    }

    /// Asks the kernel: one system call.
    fn pending(&self) -> bool {
        let writable = if self.transmitter.lack() == Lack::Room { libc::POLLOUT } else { 0 };
        self.attached && sys::is_ready(self.tun.as_fd(), libc::POLLIN | writable)
    }

    fn interests(&self, interest: &mut dyn FnMut(Interest)) {
        if self.attached {
            interest(Interest {
                fd: self.tun.as_raw_fd(),
                readable: true,
                writable: self.transmitter.lack() == Lack::Room,
            });
        }
    }

    /// Nothing tells that the kernel has memory again.
    fn arm(&mut self) -> Option<u64> {
        (self.transmitter.lack() == Lack::Memory).then(|| self.nap.take())
    }

    fn drops(&self, count: &mut dyn FnMut(&'static str, u64)) {
        count("rx_dropped", self.receiver.dropped);
        count("rx_no_buffer", self.receiver.no_buffer);
        count("rx_errors", self.rx_errors);
        count("tx_dropped", self.transmitter.dropped);
        count("tx_errors", self.transmitter.errors);
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn names_are_checked_before_the_kernel_sees_them() {
        for name in ["", "sixteen-bytes-xx", "a b", "a/b", "a:b", "tap%d", "..", "a\n"] {
            let config = TapConfig { name: name.into(), ..TapConfig::default() };
            assert!(matches!(TapDevice::open(&config), Err(TapError::BadName(_))), "{name:?}");
        }
        check_name("fifteen-bytes-x").unwrap();
    }

    #[test]
    fn our_address_is_a_neighbour_of_the_kernels() {
        assert_eq!(neighbour([0x02, 1, 2, 3, 4, 5]), [0x02, 1, 2, 3, 4, 4]);
        assert_eq!(neighbour([0x01, 1, 2, 3, 4, 4]), [0x02, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn the_kernel_is_told_only_what_is_in_force() {
        assert_eq!(tun_flags(Offloads::NONE), 0);
        assert_eq!(tun_flags(Offloads::RX_CHECKSUM | Offloads::TSO), libc::TUN_F_CSUM);
        assert_eq!(tun_flags(Offloads::ALL), 15);
        assert_eq!(whole_rx_checksum(Offloads::RX_CHECKSUM_TCP | Offloads::SG), Offloads::SG);
    }
}

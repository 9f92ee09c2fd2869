//! AF_XDP sockets: setting one up, waking the kernel, asking it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::check;
use super::memory::{METADATA_LEN, Region};
use super::net::socket;
use super::ring::{Consumer, Descriptor, Producer};

/// `struct xdp_statistics`.
pub(crate) type Statistics = libc::xdp_statistics;

/// Entries of each ring: powers of two.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RingLens {
    pub(crate) fill: u32,
    pub(crate) completion: u32,
    pub(crate) receive: u32,
    pub(crate) transmit: u32,
}

/// What a socket registers as its UMEM.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Umem<'a> {
    pub(crate) region: &'a Region,
    pub(crate) chunk_len: usize,
    /// Whether packets may have a request in front.
    pub(crate) metadata: bool,
}

/// How a socket is bound.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bind {
    pub(crate) interface_index: u32,
    pub(crate) queue: u32,
    pub(crate) copy: bool,
    /// Whether packets may have several fragments.
    pub(crate) fragments: bool,
}

/// A socket and its rings.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(super) socket: OwnedFd,
    pub(super) lens: RingLens,
    pub(super) fill: Producer<u64>,
    pub(super) completion: Consumer<u64>,
    pub(super) receive: Consumer<Descriptor>,
    pub(super) transmit: Producer<Descriptor>,
}

impl Endpoint {
    /// A socket that is not bound yet, with a UMEM of its own, or without any.
    pub(crate) fn open(umem: Option<Umem<'_>>, lens: RingLens) -> io::Result<Endpoint> {
        let socket = socket(libc::AF_XDP, libc::SOCK_RAW, 0)?;
        let fd = socket.as_fd();
        if let Some(umem) = umem {
            register(fd, umem)?;
        }
        for (option, len) in [
            (libc::XDP_UMEM_FILL_RING, lens.fill),
            (libc::XDP_UMEM_COMPLETION_RING, lens.completion),
            (libc::XDP_RX_RING, lens.receive),
            (libc::XDP_TX_RING, lens.transmit),
        ] {
            set_option(fd, option, &len)?;
        }
        // The kernel refuses to map the rings of a socket that is bound.
        let offsets = ring_offsets(fd)?;
        let transmit_page = libc::XDP_PGOFF_TX_RING as u64;
        Ok(Endpoint {
            lens,
            fill: Producer::map(fd, libc::XDP_UMEM_PGOFF_FILL_RING, &offsets.fr, lens.fill)?,
            completion: Consumer::map(
                fd,
                libc::XDP_UMEM_PGOFF_COMPLETION_RING,
                &offsets.cr,
                lens.completion,
            )?,
            receive: Consumer::map(fd, libc::XDP_PGOFF_RX_RING as u64, &offsets.rx, lens.receive)?,
            transmit: Producer::map(fd, transmit_page, &offsets.tx, lens.transmit)?,
            socket,
        })
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Binds the socket to a queue, with its own UMEM.
    pub(crate) fn bind(&self, how: Bind) -> io::Result<()> {
        let way = if how.copy { libc::XDP_COPY } else { libc::XDP_ZEROCOPY };
        let fragments = if how.fragments { libc::XDP_USE_SG } else { 0 };
        bind(self.socket(), how, libc::XDP_USE_NEED_WAKEUP | way | fragments, 0)
    }

    /// Binds the socket to a queue, with the UMEM of another one that is bound, and in its way.
    pub(crate) fn bind_sharing(&self, how: Bind, owner: BorrowedFd<'_>) -> io::Result<()> {
        bind(self.socket(), how, libc::XDP_SHARED_UMEM, owner.as_raw_fd() as u32)
    }
}

fn bind(fd: BorrowedFd<'_>, how: Bind, flags: u16, umem_fd: u32) -> io::Result<()> {
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: flags,
        sxdp_ifindex: how.interface_index,
        sxdp_queue_id: how.queue,
        sxdp_shared_umem_fd: umem_fd,
    };
    let len = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the pointer is to a valid `sockaddr_xdp` that lives through the call, and `len` is its size.
    check(unsafe { libc::bind(fd.as_raw_fd(), std::ptr::from_ref(&address).cast(), len) })
}

fn register(fd: BorrowedFd<'_>, umem: Umem<'_>) -> io::Result<()> {
    let registration = libc::xdp_umem_reg {
        addr: umem.region.address(),
        len: umem.region.len() as u64,
        chunk_size: umem.chunk_len as u32,
        headroom: 0,
        flags: if umem.metadata { libc::XDP_UMEM_TX_METADATA_LEN } else { 0 },
        tx_metadata_len: if umem.metadata { METADATA_LEN as u32 } else { 0 },
    };
    set_option(fd, libc::XDP_UMEM_REG, &registration)
}

/// Sets an option whose value is a plain structure of numbers.
fn set_option<T: Copy>(fd: BorrowedFd<'_>, option: i32, value: &T) -> io::Result<()> {
    let (value, len) = (std::ptr::from_ref(value).cast(), size_of::<T>() as libc::socklen_t);
    // SAFETY: the pointer is to a value that lives through the call, and `len` is its size. The region that a
    // UMEM's registration names stays mapped as long as anybody of ours looks at it; the kernel holds its pages.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_XDP, option, value, len) })
}

fn ring_offsets(fd: BorrowedFd<'_>) -> io::Result<libc::xdp_mmap_offsets> {
    const NONE: libc::xdp_ring_offset = libc::xdp_ring_offset { producer: 0, consumer: 0, desc: 0, flags: 0 };
    let mut offsets = libc::xdp_mmap_offsets { rx: NONE, tx: NONE, fr: NONE, cr: NONE };
    get_option(fd, libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, &mut offsets)?;
    Ok(offsets)
}

/// Asks for an option whose value is a plain structure of numbers, every bit pattern of which is valid.
fn get_option<T: Copy>(fd: BorrowedFd<'_>, level: i32, option: i32, value: &mut T) -> io::Result<()> {
    let mut len = size_of::<T>() as libc::socklen_t;
    let value = std::ptr::from_mut(value).cast();
    // SAFETY: the pointer is to a value that is ours alone for the call, and `len` is its size.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), level, option, value, &raw mut len) })?;
    if len as usize == size_of::<T>() { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ENOSYS)) }
}

/// What the kernel counted; zeros if it says nothing.
pub(super) fn statistics(fd: BorrowedFd<'_>) -> Statistics {
    let mut statistics = Statistics {
        rx_dropped: 0,
        rx_invalid_descs: 0,
        tx_invalid_descs: 0,
        rx_ring_full: 0,
        rx_fill_ring_empty_descs: 0,
        tx_ring_empty_descs: 0,
    };
    // Counters are no reason to fail.
    let _ = get_option(fd, libc::SOL_XDP, libc::XDP_STATISTICS, &mut statistics);
    statistics
}

/// The error that waits on the socket, if there is one.
pub(super) fn take_error(fd: BorrowedFd<'_>) -> Option<io::Error> {
    let mut error: libc::c_int = 0;
    match get_option(fd, libc::SOL_SOCKET, libc::SO_ERROR, &mut error) {
        Ok(()) if error == 0 => None,
        Ok(()) => Some(io::Error::from_raw_os_error(error)),
        Err(error) => Some(error),
    }
}

/// Makes the kernel send what is in the transmit ring.
pub(super) fn wake_transmit(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: there is no buffer and no address: the length is 0.
    let sent =
        unsafe { libc::sendto(fd.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Tells the driver that there is something in the fill ring.
pub(super) fn wake_receive(fd: BorrowedFd<'_>) {
    let (null, address) = (std::ptr::null_mut(), std::ptr::null_mut());
    // A driver that cannot now asks again with the next packet.
    // SAFETY: there is no buffer and no address: the length is 0.
    unsafe { libc::recvfrom(fd.as_raw_fd(), null, 0, libc::MSG_DONTWAIT, address, std::ptr::null_mut()) };
}

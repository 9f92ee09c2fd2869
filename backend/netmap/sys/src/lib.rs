//! The binary interface of netmap, version 14: what a program needs to bind a port, find its rings in the shared
//! memory and move frames through them.
//!
//! These are declarations only. Names follow Rust's habits; the C names of `net/netmap.h` are search aliases. Sizes
//! and offsets are asserted when this crate is compiled, so no C header or compiler is needed to be sure of them.
//!
//! ```
//! use netmap_sys::{API, NmreqHeader, NmreqRegister, REQ_REGISTER, Slot};
//!
//! assert_eq!((API, REQ_REGISTER), (14, 1));
//! assert_eq!((size_of::<NmreqHeader>(), size_of::<NmreqRegister>(), size_of::<Slot>()), (88, 56, 16));
//! ```
//!
//! | step | with |
//! | --- | --- |
//! | open [`DEVICE`] | |
//! | bind a ring of a port | ioctl [`NIOCCTRL`] on a [`NmreqHeader`] whose body is a [`NmreqRegister`] |
//! | map [`NmreqRegister::memsize`] bytes | the [`Interface`] is at [`NmreqRegister::offset`] in them |
//! | find the rings | [`Interface`] is followed by the offsets of its [`Ring`]s, a [`Ring`] by its [`Slot`]s |
//! | exchange slots with the kernel | ioctl [`NIOCTXSYNC`], [`NIOCRXSYNC`], or `poll` |
#![no_std]
#![forbid(unsafe_code)]

use core::ffi::c_long;
use core::mem::offset_of;

/// The device that every port is bound through.
#[doc(alias = "NETMAP_DEVICE_NAME")]
pub const DEVICE: &str = "/dev/netmap";

/// The version of the interface that this crate declares.
#[doc(alias = "NETMAP_API")]
pub const API: u16 = 14;

/// Room for a port's name, its terminating zero included, in bytes.
#[doc(alias = "NETMAP_REQ_IFNAMSIZ")]
pub const PORT_NAME_LEN: usize = 64;

/// The most slots that one frame may take.
#[doc(alias = "NETMAP_MAX_FRAGS")]
pub const FRAGMENTS_MAX: usize = 64;

/// Buffers below this number are netmap's own and never given out.
pub const BUFFER_MIN: u32 = 2;

/// A buffer descriptor in a ring.
#[doc(alias = "netmap_slot")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Slot {
    /// The number of the buffer.
    pub buf_idx: u32,
    /// Bytes of the frame in this buffer.
    pub len: u16,
    /// `NS_*`.
    pub flags: u16,
    /// An address with [`NS_INDIRECT`]; the bits of [`Ring::offset_mask`] are where in the buffer the frame starts.
    pub ptr: u64,
}

/// The slot's buffer was exchanged: set by whoever writes another [`Slot::buf_idx`].
pub const NS_BUF_CHANGED: u16 = 0x0001;
/// Report this slot's completion at once.
pub const NS_REPORT: u16 = 0x0002;
/// Pass the frame on to the other side of the port.
pub const NS_FORWARD: u16 = 0x0004;
/// The switch shall not learn this frame's source.
pub const NS_NO_LEARN: u16 = 0x0008;
/// The frame is at the address [`Slot::ptr`]; transmit rings of VALE ports only.
pub const NS_INDIRECT: u16 = 0x0010;
/// The frame goes on in the next slot.
pub const NS_MOREFRAG: u16 = 0x0020;

/// The head of a ring. [`num_slots`](Ring::num_slots) times a [`Slot`] follow it.
///
/// The program owns the slots from `head` up to, not including, `tail`; all others are the kernel's.
#[doc(alias = "netmap_ring")]
#[derive(Debug, Clone, Copy)]
#[repr(C, align(128))]
pub struct Ring {
    /// Where the first buffer is, counted from this structure. Buffer n is n times `nr_buf_size` further.
    pub buf_ofs: i64,
    /// Slots of the ring.
    pub num_slots: u32,
    /// Size of each buffer, in bytes.
    pub nr_buf_size: u32,
    /// The ring's number.
    pub ringid: u16,
    /// 0 to transmit, 1 to receive.
    pub dir: u16,
    /// The program's: the first slot that it owns.
    pub head: u32,
    /// The program's: `poll` wakes when `tail` passes this slot.
    pub cur: u32,
    /// The kernel's: the first slot that the program does not own.
    pub tail: u32,
    /// `NR_*` of rings.
    pub flags: u32,
    /// When the ring was last synchronised, if that was asked for.
    pub ts: Timeval,
    /// The bits of [`Slot::ptr`] that are an offset; 0 unless the port was bound with [`NmreqOptOffsets`].
    pub offset_mask: u64,
    /// What a transmitted frame's offset must be a multiple of; 0 if that is no matter.
    pub buf_align: u64,
    /// The kernel's.
    pub sem: Sem,
}

/// The kernel's room in a [`Ring`], on cache lines of its own.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(128))]
pub struct Sem(pub [u8; 128]);

/// `struct timeval`.
#[doc(alias = "timeval")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Timeval {
    /// Seconds.
    pub tv_sec: c_long,
    /// Microseconds.
    pub tv_usec: c_long,
}

/// One binding of a port. The offsets of its rings follow, an `isize` each, counted from this structure: transmit
/// rings of the hardware, of the host, then receive rings of the hardware, of the host.
#[doc(alias = "netmap_if")]
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Interface {
    /// The interface's name.
    pub ni_name: [u8; 16],
    /// The version of the interface.
    pub ni_version: u32,
    /// Properties.
    pub ni_flags: u32,
    /// Transmit rings of the hardware.
    pub ni_tx_rings: u32,
    /// Receive rings of the hardware.
    pub ni_rx_rings: u32,
    /// The first of a list of extra buffers, 0 if there is none. The first four bytes of each are the number of the
    /// next. The list must be whole when the port is closed.
    pub ni_bufs_head: u32,
    /// Transmit rings of the host.
    pub ni_host_tx_rings: u32,
    /// Receive rings of the host.
    pub ni_host_rx_rings: u32,
    /// Nothing so far.
    pub ni_spare1: [u32; 3],
    /// Where the offsets of the rings start.
    pub ring_ofs: [isize; 0],
}

/// What every request starts with.
#[doc(alias = "nmreq_header")]
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct NmreqHeader {
    /// In: [`API`]. Out: the version that the kernel speaks.
    pub version: u16,
    /// `REQ_*`: what is asked for.
    pub reqtype: u16,
    /// 0.
    pub reserved: u32,
    /// The port's name, ended by a zero.
    pub name: [u8; PORT_NAME_LEN],
    /// The address of the first [`NmreqOption`], or 0.
    pub options: u64,
    /// The address of the request's body.
    pub body: u64,
}

/// Bind (some rings of) a port to the descriptor. The body is a [`NmreqRegister`].
#[doc(alias = "NETMAP_REQ_REGISTER")]
pub const REQ_REGISTER: u16 = 1;
/// Ask about a port. The body is a [`NmreqPortInfoGet`].
#[doc(alias = "NETMAP_REQ_PORT_INFO_GET")]
pub const REQ_PORT_INFO_GET: u16 = 2;

/// The body of [`REQ_REGISTER`].
#[doc(alias = "nmreq_register")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct NmreqRegister {
    /// Out: where the [`Interface`] is in the shared memory.
    pub offset: u64,
    /// Out: size of the shared memory, in bytes.
    pub memsize: u64,
    /// Slots of a transmit ring. In: a wish, or 0.
    pub tx_slots: u32,
    /// Slots of a receive ring. In: a wish, or 0.
    pub rx_slots: u32,
    /// Transmit rings. In: a wish, or 0.
    pub tx_rings: u16,
    /// Receive rings. In: a wish, or 0.
    pub rx_rings: u16,
    /// Transmit rings of the host. In: a wish, or 0.
    pub host_tx_rings: u16,
    /// Receive rings of the host. In: a wish, or 0.
    pub host_rx_rings: u16,
    /// Which memory. In: 0 for any. Bindings with the same one can exchange buffers.
    pub mem_id: u16,
    /// Which ring, with [`NR_REG_ONE_NIC`].
    pub ringid: u16,
    /// `NR_REG_*`: which rings.
    pub mode: u32,
    /// Extra buffers. Out: how many there were.
    pub extra_bufs: u32,
    /// `NR_*` of requests.
    pub flags: u64,
}

/// Bind every ring of the hardware.
pub const NR_REG_ALL_NIC: u32 = 1;
/// Bind the rings of the host.
pub const NR_REG_SW: u32 = 2;
/// Bind the rings of hardware and host.
pub const NR_REG_NIC_SW: u32 = 3;
/// Bind one pair of rings of the hardware.
pub const NR_REG_ONE_NIC: u32 = 4;

/// Nobody else may bind these rings.
pub const NR_EXCLUSIVE: u64 = 0x800;
/// `poll` returns received slots to the kernel even if it is not asked about reading.
pub const NR_DO_RX_POLL: u64 = 0x1_0000;
/// Of a pair, the receive ring only.
pub const NR_RX_RINGS_ONLY: u64 = 0x2000;
/// `poll` transmits only if it is asked about writing.
pub const NR_NO_TX_POLL: u64 = 0x2_0000;

/// The body of [`REQ_PORT_INFO_GET`].
#[doc(alias = "nmreq_port_info_get")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct NmreqPortInfoGet {
    /// Out: size of the shared memory, in bytes.
    pub memsize: u64,
    /// Out: slots of a transmit ring.
    pub tx_slots: u32,
    /// Out: slots of a receive ring.
    pub rx_slots: u32,
    /// Out: transmit rings.
    pub tx_rings: u16,
    /// Out: receive rings.
    pub rx_rings: u16,
    /// Out: transmit rings of the host.
    pub host_tx_rings: u16,
    /// Out: receive rings of the host.
    pub host_rx_rings: u16,
    /// Which memory.
    pub mem_id: u16,
    /// Nothing so far.
    pub pad: [u16; 3],
}

/// What every option of a request starts with.
#[doc(alias = "nmreq_option")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct NmreqOption {
    /// The address of the next option, or 0.
    pub next: u64,
    /// `REQ_OPT_*`: what it is.
    pub reqtype: u32,
    /// Out: 0, or why the option was refused, an `errno`.
    pub status: u32,
    /// The option's size, if it varies; else 0.
    pub size: u64,
}

/// Frames may start at an offset in their buffers. The option is a [`NmreqOptOffsets`].
#[doc(alias = "NETMAP_REQ_OPT_OFFSETS")]
pub const REQ_OPT_OFFSETS: u32 = 5;

/// The option [`REQ_OPT_OFFSETS`] of [`REQ_REGISTER`].
#[doc(alias = "nmreq_opt_offsets")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct NmreqOptOffsets {
    /// What every option starts with.
    pub option: NmreqOption,
    /// The largest offset that will be used. Out: the largest possible, not less.
    pub max_offset: u64,
    /// The offset in every slot at first.
    pub initial_offset: u64,
    /// How many low bits of [`Slot::ptr`] are the offset; 0 for all of them.
    pub offset_bits: u32,
    /// What a transmitted frame's offset will be a multiple of.
    pub tx_align: u32,
    /// The least distance between frames that share a buffer; 0 if none do.
    pub min_gap: u64,
}

/// Every request; it is told apart by [`NmreqHeader::reqtype`].
pub const NIOCCTRL: u32 = iowr(b'i', 151, size_of::<NmreqHeader>());
/// Hands filled slots of transmit rings to the kernel, and takes sent ones back.
pub const NIOCTXSYNC: u32 = io(b'i', 148);
/// Returns received slots to the kernel, and takes new ones.
pub const NIOCRXSYNC: u32 = io(b'i', 149);

/// `_IO` of `asm-generic/ioctl.h`.
const fn io(kind: u8, number: u8) -> u32 {
    (kind as u32) << 8 | number as u32
}

/// `_IOWR` of `asm-generic/ioctl.h`.
const fn iowr(kind: u8, number: u8, len: usize) -> u32 {
    3 << 30 | (len as u32) << 16 | io(kind, number)
}

#[cfg(any(
    target_arch = "mips",
    target_arch = "mips64",
    target_arch = "powerpc",
    target_arch = "powerpc64",
    target_arch = "sparc64"
))]
compile_error!("request numbers are made in another way on this architecture");

/// Size and alignment of a structure, then the offset of each field, as the C compiler lays them out on 64 bits.
#[cfg(target_pointer_width = "64")]
macro_rules! assert_layout {
    ($name:ident, $size:literal, $align:literal, $($field:ident $at:literal)*) => {
        const _: () = {
            assert!(size_of::<$name>() == $size && align_of::<$name>() == $align);
            $(assert!(offset_of!($name, $field) == $at);)*
        };
    };
}

#[cfg(target_pointer_width = "64")]
mod layout {
    use super::*;

    assert_layout!(Slot, 16, 8, buf_idx 0 len 4 flags 6 ptr 8);
    assert_layout!(Ring, 256, 128, buf_ofs 0 num_slots 8 nr_buf_size 12 ringid 16 dir 18 head 20 cur 24 tail 28
        flags 32 ts 40 offset_mask 56 buf_align 64 sem 128);
    assert_layout!(Interface, 56, 8, ni_name 0 ni_version 16 ni_flags 20 ni_tx_rings 24 ni_rx_rings 28 ni_bufs_head 32
        ni_host_tx_rings 36 ni_host_rx_rings 40 ni_spare1 44 ring_ofs 56);
    assert_layout!(NmreqHeader, 88, 8, version 0 reqtype 2 reserved 4 name 8 options 72 body 80);
    assert_layout!(NmreqRegister, 56, 8, offset 0 memsize 8 tx_slots 16 rx_slots 20 tx_rings 24 rx_rings 26
        host_tx_rings 28 host_rx_rings 30 mem_id 32 ringid 34 mode 36 extra_bufs 40 flags 48);
    assert_layout!(NmreqPortInfoGet, 32, 8, memsize 0 tx_slots 8 rx_slots 12 tx_rings 16 rx_rings 18
        host_tx_rings 20 host_rx_rings 22 mem_id 24 pad 26);
    assert_layout!(NmreqOption, 24, 8, next 0 reqtype 8 status 12 size 16);
    assert_layout!(NmreqOptOffsets, 56, 8, option 0 max_offset 24 initial_offset 32 offset_bits 40 tx_align 44
        min_gap 48);

    // The C compiler's values of the request numbers.
    const _: () = assert!(NIOCCTRL == 0xc058_6997 && NIOCTXSYNC == 0x6994 && NIOCRXSYNC == 0x6995);
}

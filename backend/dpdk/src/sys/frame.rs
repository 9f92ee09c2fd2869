//! Frames in mbufs.
//!
//! An mbuf's reference count says how many see its buffer: our handles, and a driver. How many of them are ours stands
//! beside it, in the private area that our pools put behind each mbuf, so it is known whether a driver has the mbuf as
//! well. Then what the driver reads of it (bounds, chain, flags) must stay, and a second transmission goes out in an
//! mbuf of its own that is attached to the same buffer.
//!
//! The counts are plain numbers. Handles never leave their thread, and while a port is open the drivers free the references
//! that they are given in calls from that thread. When it is closed, they do so on the thread that closes it, while no
//! other thread has handles: `crate::leaving` sees to that.

use std::cell::Cell;
use std::ffi::c_void;
use std::mem::{self, ManuallyDrop, MaybeUninit};
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::slice;

use hayase_device::{Frame, RxChecksum, SharedBytes};

use super::ffi::{self, Mbuf};
use super::pool::Pool;
use super::released::{self, Thread};
use super::{eal, memory};
use crate::leaving;

/// Bytes behind each mbuf: [`Private`], rounded up to cache lines.
pub(super) const PRIVATE_LEN: u16 = 128;

const F_EXTERNAL: u64 = 1 << 61;
const F_INDIRECT: u64 = 1 << 62;
const F_RX_RSS_HASH: u64 = 1 << 1;
const F_RX_LRO: u64 = 1 << 16;
const F_RX_L4_BAD: u64 = 1 << 3;
const F_RX_L4_GOOD: u64 = 1 << 8;
const F_RX_L4_MASK: u64 = F_RX_L4_BAD | F_RX_L4_GOOD;

/// What stands behind an mbuf.
#[repr(C)]
struct Private {
    /// Our handles on the mbuf.
    handles: u32,
    /// Whether `node` holds a frame.
    node_is_taken: bool,
    /// A frame of this mbuf that is part of a chain: a place that costs no allocation.
    node: MaybeUninit<DpdkFrame>,
    /// The owner of foreign bytes that the mbuf stands for.
    owner: MaybeUninit<SharedBytes>,
    /// The thread of that owner, where a driver has the mbuf.
    thread: Thread,
    /// `struct rte_mbuf_ext_shared_info`, for the driver.
    shared_info: [u64; 3],
}

const _: () = assert!(size_of::<Private>() <= PRIVATE_LEN as usize && align_of::<Private>() <= 8);

/// The private area of an mbuf of our pools.
fn private(mbuf: NonNull<Mbuf>) -> *mut Private {
    // SAFETY: our pools put `PRIVATE_LEN` bytes behind each mbuf, in the same object.
    unsafe { mbuf.as_ptr().add(1).cast() }
}

thread_local! {
    /// Handles that live on this thread.
    static LIVE: Cell<usize> = const { Cell::new(0) };
}

/// A [`Frame`] in an mbuf, or on foreign bytes that an mbuf stands for. 32 bytes.
#[derive(Debug)]
pub struct DpdkFrame {
    mbuf: NonNull<Mbuf>,
    data: NonNull<u8>,
    len: u32,
    foreign: bool,
    next: Option<Link>,
}

impl DpdkFrame {
    /// Handles that live on this thread. At 0, none of its pools will hear of it again.
    #[inline]
    pub(crate) fn live_count() -> usize {
        LIVE.get()
    }

    /// An empty frame with the headroom that DPDK gives, or `None` if the pool is dry.
    #[inline]
    pub(crate) fn alloc(pool: &Pool) -> Option<DpdkFrame> {
        let mbuf = alloc(pool)?;
        // SAFETY: the mbuf was allocated just now, and is ours alone. Its data begin within its buffer.
        unsafe {
            let data = (*mbuf.as_ptr()).buf_addr.add(Self::HEADROOM);
            Some(Self::first(mbuf, NonNull::new_unchecked(data), 0))
        }
    }

    /// A frame on somebody else's bytes. It can only be read and sent.
    pub(crate) fn wrap(pool: &Pool, bytes: &SharedBytes) -> Option<DpdkFrame> {
        let len = u32::try_from(bytes.len()).ok()?;
        let mbuf = alloc(pool)?;
        let owner = bytes.clone();
        // The owner is shared, and stays so while we hold it: what it lends by `&self` stays where it is.
        let data = NonNull::from(&*owner).cast();
        // SAFETY: the mbuf was allocated just now, and is ours alone.
        unsafe {
            (*private(mbuf)).owner.write(owner);
            let mut frame = Self::first(mbuf, data, len);
            frame.foreign = true;
            Some(frame)
        }
    }

    /// Whether hardware reaches all of these bytes where they are.
    pub(crate) fn is_reachable(bytes: &[u8]) -> bool {
        eal::devices_see_virtual_addresses() && memory::covers(bytes)
    }

    /// The first handle on an mbuf.
    ///
    /// # Safety
    /// `mbuf` is of our pools, nobody else has a reference to it, and the bytes live as long as it.
    #[inline]
    unsafe fn first(mbuf: NonNull<Mbuf>, data: NonNull<u8>, len: u32) -> DpdkFrame {
        let private = private(mbuf);
        // SAFETY: the area is ours, and nobody else looks at it.
        unsafe {
            (*private).handles = 1;
            (*private).node_is_taken = false;
        }
        LIVE.set(LIVE.get() + 1);
        DpdkFrame { mbuf, data, len, foreign: false, next: None }
    }

    #[inline]
    fn refcnt(&self) -> u16 {
        // SAFETY: the mbuf lives as long as a handle on it.
        unsafe { (*self.mbuf.as_ptr()).refcnt }
    }

    /// Whether the bytes may be changed, and there is room around them.
    #[inline]
    fn is_writable(&self) -> bool {
        !self.foreign && self.refcnt() == 1
    }

    /// The buffer's address and length.
    #[inline]
    fn buffer(&self) -> (*mut u8, usize) {
        // SAFETY: the mbuf lives as long as a handle on it.
        unsafe { ((*self.mbuf.as_ptr()).buf_addr, usize::from((*self.mbuf.as_ptr()).buf_len)) }
    }

    /// Turns one fragment, which is unchained, into what a driver takes: the mbuf itself if no driver has it, else one
    /// that is attached to the same buffer. `None` if that needs an mbuf and `pool` is dry.
    #[inline]
    fn into_segment(self, pool: &Pool) -> Option<NonNull<Mbuf>> {
        if self.foreign {
            return self.carried(pool);
        }
        let (start, _) = self.buffer();
        let offset = self.data.as_ptr() as usize - start as usize;
        // SAFETY: the private area belongs to an mbuf that we have a handle on.
        let ours = unsafe { (*private(self.mbuf)).handles };
        if u32::from(self.refcnt()) > ours {
            return self.attached(pool, offset);
        }
        let frame = ManuallyDrop::new(self);
        LIVE.set(LIVE.get() - 1);
        // SAFETY: no driver has the mbuf, so all of it is ours to write; our reference becomes the driver's.
        unsafe {
            (*private(frame.mbuf)).handles = ours - 1;
            prepare(frame.mbuf, offset, frame.len);
        }
        Some(frame.mbuf)
    }

    #[cold]
    fn attached(self, pool: &Pool, offset: usize) -> Option<NonNull<Mbuf>> {
        let indirect = alloc(pool)?;
        // SAFETY: `indirect` is new, and ours alone; the mbuf it is attached to gains a reference by it, before we lose
        // that of `self`.
        unsafe {
            ffi::hayase_mbuf_attach(indirect.as_ptr(), self.mbuf.as_ptr());
            prepare(indirect, offset, self.len);
        }
        Some(indirect)
    }

    /// Foreign bytes in an external buffer.
    fn carried(self, pool: &Pool) -> Option<NonNull<Mbuf>> {
        let len = u16::try_from(self.len).ok()?;
        let carrier = alloc(pool)?;
        // SAFETY: a foreign frame's mbuf has an owner until its last handle goes. The carrier is new and ours alone; its
        // owner keeps the bytes where they are until `release` is called, which is once.
        unsafe {
            let owner = (*private(self.mbuf)).owner.assume_init_ref().clone();
            let private = private(carrier);
            (*private).owner.write(owner);
            (*private).thread = released::this_thread();
            let shared_info = (&raw mut (*private).shared_info).cast();
            let addr = self.data.as_ptr().cast();
            ffi::hayase_mbuf_attach_external(carrier.as_ptr(), addr, len, shared_info, release);
            prepare(carrier, 0, self.len);
        }
        Some(carrier)
    }

    /// One segment that a driver has received.
    ///
    /// # Safety
    /// The reference is the caller's to give, to an mbuf of our pools.
    unsafe fn from_segment(mbuf: NonNull<Mbuf>) -> DpdkFrame {
        // SAFETY: the driver gave the mbuf away: nobody else has it. Its data lie in its buffer.
        unsafe {
            let raw = mbuf.as_ptr();
            let data = (*raw).buf_addr.add(usize::from((*raw).data_off));
            Self::first(mbuf, NonNull::new_unchecked(data), u32::from((*raw).data_len))
        }
    }
}

#[inline]
fn alloc(pool: &Pool) -> Option<NonNull<Mbuf>> {
    // SAFETY: the pool lives as long as the reference to it.
    NonNull::new(unsafe { ffi::hayase_mbuf_alloc(pool.raw()) })
}

/// Makes an mbuf a segment of its own with these bounds.
///
/// # Safety
/// All of the mbuf is the caller's to write.
#[inline]
unsafe fn prepare(mbuf: NonNull<Mbuf>, offset: usize, len: u32) {
    let raw = mbuf.as_ptr();
    // SAFETY: as the caller vouches.
    unsafe {
        (*raw).data_off = offset as u16;
        (*raw).data_len = len as u16;
        (*raw).pkt_len = len;
        (*raw).nb_segs = 1;
        (*raw).next = ptr::null_mut();
        (*raw).ol_flags &= F_EXTERNAL | F_INDIRECT;
        (*raw).tx_offload = 0;
    }
}

/// The longest packet of IP, whose header IPv6 does not count, with an Ethernet header and two tags.
const PACKET_LEN_MAX: u32 = 22 + 40 + 65_535;

/// Nearly twice the buffers that it fills.
const SEGMENTS_MAX: u16 = 64;

/// Called by DPDK with the last reference to an external buffer, on the thread of the queue or on one that closes the port.
/// `mbuf` is its carrier.
///
/// # Safety
/// For DPDK only.
unsafe extern "C" fn release(_: *mut c_void, mbuf: *mut c_void) {
    let Some(mbuf) = NonNull::new(mbuf.cast()) else { return };
    let private = private(mbuf);
    // SAFETY: owner and thread were written when the buffer was attached. The owner is taken once, and not touched here.
    unsafe {
        let owner = ManuallyDrop::new((*private).owner.assume_init_read());
        released::release(owner, (*private).thread);
    }
}

impl Drop for DpdkFrame {
    #[inline]
    fn drop(&mut self) {
        LIVE.set(LIVE.get() - 1);
        let private = private(self.mbuf);
        // SAFETY: our handle keeps mbuf and private area alive; with the last reference, the mbuf goes to its pool.
        unsafe {
            (*private).handles -= 1;
            if self.refcnt() > 1 {
                (*self.mbuf.as_ptr()).refcnt -= 1;
                return;
            }
            let owner = self.foreign.then(|| (*private).owner.assume_init_read());
            ffi::hayase_mbuf_free_segment(self.mbuf.as_ptr());
            drop(owner);
        }
    }
}

impl Frame for DpdkFrame {
    #[inline]
    fn bytes(&self) -> &[u8] {
        // SAFETY: the bytes are initialised and live as long as a handle; nobody changes them while there are others.
        unsafe { slice::from_raw_parts(self.data.as_ptr(), self.len as usize) }
    }

    #[inline]
    fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        // SAFETY: as above, and this is the only handle.
        self.is_writable()
            .then(|| unsafe { slice::from_raw_parts_mut(self.data.as_ptr(), self.len as usize) })
    }

    #[inline]
    fn headroom(&self) -> usize {
        if self.is_writable() { self.data.as_ptr() as usize - self.buffer().0 as usize } else { 0 }
    }

    #[inline]
    fn tailroom(&self) -> usize {
        let (start, len) = self.buffer();
        let end = self.data.as_ptr() as usize + self.len as usize;
        if self.is_writable() { start as usize + len - end } else { 0 }
    }

    #[inline]
    fn prepend(&mut self, len: usize) -> Option<&mut [u8]> {
        if len > self.headroom() {
            return None;
        }
        // SAFETY: there is that much headroom in the buffer in front of the data.
        self.data = unsafe { self.data.sub(len) };
        self.len += len as u32;
        self.bytes_mut()
    }

    #[inline]
    fn extend(&mut self, len: usize) -> Option<&mut [u8]> {
        if len > self.tailroom() {
            return None;
        }
        let old_len = self.len as usize;
        self.len += len as u32;
        self.bytes_mut()?.get_mut(old_len..)
    }

    #[inline]
    fn trim_front(&mut self, len: usize) {
        let len = len.min(self.len as usize);
        // SAFETY: the data are at least that long.
        self.data = unsafe { self.data.add(len) };
        self.len -= len as u32;
    }

    #[inline]
    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(u32::try_from(len).unwrap_or(u32::MAX));
    }

    #[inline]
    fn share(&self) -> DpdkFrame {
        let private = private(self.mbuf);
        LIVE.set(LIVE.get() + 1);
        // SAFETY: our handle keeps mbuf and private area alive. A count that would overflow is a mistake of ours, and
        // ends here rather than in a buffer that is freed while it is in use.
        unsafe {
            let raw = self.mbuf.as_ptr();
            (*raw).refcnt = (*raw).refcnt.checked_add(1).expect("fewer than 65,536 handles on a buffer");
            (*private).handles += 1;
        }
        DpdkFrame { mbuf: self.mbuf, data: self.data, len: self.len, foreign: self.foreign, next: None }
    }

    #[inline]
    fn is_unique(&self) -> bool {
        self.refcnt() == 1
    }

    /// It stays the same however the bounds change: who counts it at the start and at the end counts it right.
    #[inline]
    fn capacity(&self) -> usize {
        if !self.foreign {
            return self.buffer().1;
        }
        // SAFETY: a foreign frame's mbuf has an owner until its last handle goes.
        unsafe { (*private(self.mbuf)).owner.assume_init_ref().len() }
    }

    fn chain(&mut self, next: DpdkFrame) {
        let mut last = self;
        while last.next.is_some() {
            last = last.next.as_mut().expect("looked at just now").frame_mut();
        }
        last.next = Some(Link::new(next));
    }

    #[inline]
    fn next(&self) -> Option<&DpdkFrame> {
        self.next.as_ref().map(Link::frame)
    }

    #[inline]
    fn unchain(&mut self) -> Option<DpdkFrame> {
        self.next.take().map(Link::into_frame)
    }

    fn into_shared(mut self) -> SharedBytes {
        drop(self.unchain());
        SharedBytes::new(Rc::new(Lease(self, Departure)))
    }
}

/// A received frame as the application's bytes.
struct Lease(DpdkFrame, Departure);

/// Dropped after the frame of a lease, which may have been what a port that nobody uses any more had to wait for.
struct Departure;

impl Drop for Departure {
    #[inline]
    fn drop(&mut self) {
        if DpdkFrame::live_count() == 0 {
            leaving::settle();
        }
    }
}

impl AsRef<[u8]> for Lease {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

/// An owned frame at a place of its own: in the private area of its mbuf, or on the heap if another handle on the same
/// mbuf has that place.
#[derive(Debug)]
struct Link(NonNull<DpdkFrame>);

impl Link {
    fn new(frame: DpdkFrame) -> Link {
        let private = private(frame.mbuf);
        // SAFETY: the handle keeps the private area alive, also from within it; a place that is not taken is free.
        unsafe {
            if (*private).node_is_taken {
                return Link(NonNull::from(Box::leak(Box::new(frame))));
            }
            (*private).node_is_taken = true;
            Link(NonNull::from((*private).node.write(frame)))
        }
    }

    #[inline]
    fn frame(&self) -> &DpdkFrame {
        // SAFETY: the frame was put there by `new`, and stays until `self` goes.
        unsafe { self.0.as_ref() }
    }

    fn frame_mut(&mut self) -> &mut DpdkFrame {
        // SAFETY: as above, and `self` is the only way to it.
        unsafe { self.0.as_mut() }
    }

    fn into_frame(self) -> DpdkFrame {
        ManuallyDrop::new(self).take()
    }

    /// Moves the frame out. Only for a link that is not used again.
    fn take(&mut self) -> DpdkFrame {
        let private = private(self.frame().mbuf);
        // SAFETY: the frame is at its place, and is moved out once; a frame that is not in the area of its mbuf is in a
        // box.
        unsafe {
            if self.0.as_ptr() != (&raw mut (*private).node).cast() {
                return *Box::from_raw(self.0.as_ptr());
            }
            (*private).node_is_taken = false;
            self.0.as_ptr().read()
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// What a driver gave or is to be given: a chain of mbufs, owned.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Segment(NonNull<Mbuf>);

/// What is set in an mbuf for a driver to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TxRequest {
    /// `RTE_MBUF_F_TX_*`.
    pub(crate) flags: u64,
    /// Length of the link's header, in bytes.
    pub(crate) l2_len: usize,
    /// Length of IP's header, in bytes.
    pub(crate) l3_len: usize,
    /// Length of the transport's header, in bytes.
    pub(crate) l4_len: usize,
    /// Payload of each segment, in bytes, or 0.
    pub(crate) segment_len: u16,
}

impl Segment {
    /// Takes over an mbuf from a driver.
    ///
    /// # Safety
    /// The reference is the caller's to give, to an mbuf of our pools.
    pub(super) unsafe fn from_raw(mbuf: NonNull<Mbuf>) -> Segment {
        Segment(mbuf)
    }

    /// Chains the mbufs of a frame. `None` if that needs mbufs and `pool` is dry.
    #[inline]
    pub(crate) fn from_frame(mut frame: DpdkFrame, pool: &Pool) -> Option<Segment> {
        let mut rest = frame.unchain();
        let segment = Segment(frame.into_segment(pool)?);
        let mut last = segment.0;
        while let Some(mut fragment) = rest {
            rest = fragment.unchain();
            let next = fragment.into_segment(pool)?;
            // SAFETY: all of the chain is ours to write.
            unsafe {
                let head = segment.0.as_ptr();
                (*last.as_ptr()).next = next.as_ptr();
                (*head).nb_segs += 1;
                (*head).pkt_len += (*next.as_ptr()).pkt_len;
            }
            last = next;
        }
        Some(segment)
    }

    /// The frame in these mbufs.
    #[inline]
    pub(crate) fn into_frame(self) -> DpdkFrame {
        let first = ManuallyDrop::new(self).0;
        // SAFETY: the chain is ours, each of it an mbuf of our pools; `next` is read before its owner changes.
        unsafe {
            let mut next = NonNull::new(mem::replace(&mut (*first.as_ptr()).next, ptr::null_mut()));
            let mut frame = DpdkFrame::from_segment(first);
            let mut last = &mut frame;
            while let Some(mbuf) = next {
                next = NonNull::new(mem::replace(&mut (*mbuf.as_ptr()).next, ptr::null_mut()));
                last = last.next.insert(Link::new(DpdkFrame::from_segment(mbuf))).frame_mut();
            }
            frame
        }
    }

    /// Whether it can be a packet. The other end of a virtual link may call anything so, up to all buffers that there are.
    #[inline]
    pub(crate) fn is_a_packet(&self) -> bool {
        // SAFETY: the mbuf is ours.
        let (nb_segs, pkt_len) = unsafe { ((*self.0.as_ptr()).nb_segs, (*self.0.as_ptr()).pkt_len) };
        nb_segs <= SEGMENTS_MAX && pkt_len <= PACKET_LEN_MAX
    }

    /// What the driver found out about a received frame.
    #[inline]
    pub(crate) fn findings(&self) -> Findings {
        // SAFETY: the mbuf is ours.
        let (flags, tx_offload, hash) = unsafe {
            ((*self.0.as_ptr()).ol_flags, (*self.0.as_ptr()).tx_offload, (*self.0.as_ptr()).hash_rss)
        };
        let l4 = flags & F_RX_L4_MASK;
        Findings {
            checksum: if l4 & F_RX_L4_GOOD != 0 { RxChecksum::Verified } else { RxChecksum::Unverified },
            // Both bits: the data are right, and their sum was never written.
            is_partial: l4 == F_RX_L4_MASK,
            segment_len: if flags & F_RX_LRO != 0 { (tx_offload >> 24) as u16 } else { 0 },
            flow_hash: (flags & F_RX_RSS_HASH != 0).then_some(hash),
        }
    }

    /// Writes into the first mbuf what the driver is to do.
    pub(crate) fn request(&mut self, request: &TxRequest) {
        let lens = request.l2_len as u64 | (request.l3_len as u64) << 7 | (request.l4_len as u64) << 16;
        // SAFETY: the mbuf is ours to write. The fields are those whose widths the shim asserts.
        unsafe {
            (*self.0.as_ptr()).ol_flags |= request.flags;
            (*self.0.as_ptr()).tx_offload = lens | u64::from(request.segment_len) << 24;
        }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // SAFETY: the chain is ours, and each reference is given up once.
        unsafe { ffi::hayase_mbuf_free(self.0.as_ptr()) };
    }
}

/// What a driver found out about a received frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Findings {
    /// The verdict on the transport checksum.
    pub(crate) checksum: RxChecksum,
    /// Whether the sender, on this machine, never filled it in.
    pub(crate) is_partial: bool,
    /// The payload of each original segment of a super-frame, or 0.
    pub(crate) segment_len: u16,
    /// The flow's hash.
    pub(crate) flow_hash: Option<u32>,
}

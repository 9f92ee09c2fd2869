//! The memory that netmap shares with us, and its system calls. The only unsafe code of this crate.
//!
//! The memory holds structures (interfaces, rings with their slots) and behind them buffers. Structures are looked
//! at field by field, since the kernel and, on a pipe, the peer write to them. A buffer belongs to whoever holds its
//! [`BufferId`], of which there is one for each buffer that is not in a slot of the kernel's: it is made from a list
//! or slot that the kernel gave us, and from then on only exchanged against another one.

use std::fs::File;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{Ordering, compiler_fence};

use netmap_sys::{
    BUFFER_MIN, Interface, NIOCCTRL, NIOCRXSYNC, NIOCTXSYNC, NS_BUF_CHANGED, NmreqHeader, NmreqOptOffsets,
    NmreqPortInfoGet, NmreqRegister, Ring, Slot,
};

/// The right to a buffer: whoever holds it may read it, and write it if they hold it alone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BufferId(NonZeroU32);

impl BufferId {
    /// The buffer's number.
    #[cfg(test)]
    pub(crate) fn number(&self) -> u32 {
        self.0.get()
    }
}

/// Where the buffers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    /// Offset of buffer 0. Everything in front of it is structures.
    start: usize,
    buffer_len: usize,
    count: u32,
}

/// The shared memory.
#[derive(Debug)]
pub(crate) struct Region {
    base: NonNull<u8>,
    len: usize,
    layout: Layout,
    /// What gives the memory back; it is called with `base` and `len`, once.
    release: unsafe fn(NonNull<u8>, usize),
}

impl Region {
    /// Maps the memory of a port that was bound.
    pub(crate) fn map(port: &File, bound: &NmreqRegister) -> io::Result<Rc<Region>> {
        let len = usize::try_from(bound.memsize).map_err(|_| malformed("its size"))?;
        // SAFETY: a new mapping is asked for, at an address of the kernel's choice, so nothing that exists changes.
        let base = unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(std::ptr::null_mut(), len, access, libc::MAP_SHARED, port.as_raw_fd(), 0)
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(|| malformed("its address"))?;
        let layout = Layout { start: len, buffer_len: 0, count: 0 };
        Region { base, len, layout, release: unmap }.laid_out(bound)
    }

    /// Learns from the transmit ring that was bound where the buffers are. Of the others the interface says nothing.
    fn laid_out(mut self, bound: &NmreqRegister) -> io::Result<Rc<Region>> {
        let interface = usize::try_from(bound.offset).map_err(|_| malformed("an interface"))?;
        self.field::<Interface>(interface)?;
        (_, self.layout) = self.ring_header(interface, bound.ringid.into())?;
        Ok(Rc::new(self))
    }

    /// Size of each buffer, in bytes.
    #[inline]
    pub(crate) fn buffer_len(&self) -> usize {
        self.layout.buffer_len
    }

    /// A buffer, to read.
    #[inline]
    pub(crate) fn bytes<'a>(&'a self, id: &'a BufferId) -> &'a [u8] {
        let at = self.buffer_at(id);
        // SAFETY: `buffer_at` lies in the mapping, which lives as long as `self`, with a whole buffer behind it.
        // Nobody writes to it: we only through `bytes_mut`, which wants the id exclusively, and netmap, by its
        // contract, only to buffers in slots of receive rings, whose numbers are nobody's id.
        unsafe { std::slice::from_raw_parts(at.as_ptr(), self.layout.buffer_len) }
    }

    /// A buffer, to write.
    #[inline]
    pub(crate) fn bytes_mut<'a>(&'a self, id: &'a mut BufferId) -> &'a mut [u8] {
        let at = self.buffer_at(id);
        // SAFETY: as in `bytes`; and the id is the only one of this buffer and borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(at.as_ptr(), self.layout.buffer_len) }
    }

    #[inline]
    fn buffer_at(&self, id: &BufferId) -> NonNull<u8> {
        // The id may be of another region, by a mistake of ours.
        assert!(id.0.get() < self.layout.count, "a buffer of another memory");
        // SAFETY: the layout was checked to have `count` whole buffers in the mapping, and this is one of them.
        unsafe { self.base.add(self.layout.start + id.0.get() as usize * self.layout.buffer_len) }
    }

    /// The id of a buffer of this number, if netmap gives such out.
    #[inline]
    fn id(&self, number: u32) -> Option<BufferId> {
        let id = NonZeroU32::new(number)?;
        (BUFFER_MIN..self.layout.count).contains(&number).then_some(BufferId(id))
    }

    /// A structure in front of the buffers.
    fn field<T>(&self, at: usize) -> io::Result<NonNull<T>> {
        let end = at.checked_add(size_of::<T>()).filter(|end| *end <= self.layout.start);
        // SAFETY: the structure was just found to lie within the mapping.
        let field = end.map(|_| unsafe { self.base.add(at) }.cast::<T>()).filter(|field| field.is_aligned());
        field.ok_or_else(|| malformed("a structure"))
    }

    /// The n-th ring of an interface, and where its buffers are.
    fn ring_header(&self, interface: usize, ring: usize) -> io::Result<(NonNull<Ring>, Layout)> {
        let table = interface + size_of::<Interface>();
        let offset: NonNull<isize> =
            self.field(table.saturating_add(ring.saturating_mul(size_of::<isize>())))?;
        // SAFETY: `field` found it to lie within the mapping, and aligned; any bytes are a number.
        let offset = unsafe { offset.read_volatile() };
        let at = interface.checked_add_signed(offset).ok_or_else(|| malformed("a ring's offset"))?;
        let header: NonNull<Ring> = self.field(at)?;
        // SAFETY: as above; a `Ring` is made of numbers.
        let ring = unsafe { header.read_volatile() };
        let slots_end = at + size_of::<Ring>() + (ring.num_slots as usize).saturating_mul(size_of::<Slot>());
        let start = isize::try_from(ring.buf_ofs).ok().and_then(|offset| at.checked_add_signed(offset));
        let start = start.filter(|start| (slots_end..=self.len).contains(start) && ring.num_slots >= 2);
        let start = start.ok_or_else(|| malformed("a ring's size"))?;
        let buffer_len = (ring.nr_buf_size as usize).max(1);
        let count = u32::try_from((self.len - start) / buffer_len).map_err(|_| malformed("its buffers"))?;
        Ok((header, Layout { start, buffer_len, count }))
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: whoever made the region said what releases its memory; whatever borrows from it borrows from `self`.
        unsafe { (self.release)(self.base, self.len) };
    }
}

/// Ends a mapping.
///
/// # Safety
/// `base` and `len` are those of a mapping that nobody uses any more.
unsafe fn unmap(base: NonNull<u8>, len: usize) {
    // SAFETY: the caller says so.
    unsafe { libc::munmap(base.as_ptr().cast(), len) };
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the memory of netmap makes no sense: {what}"))
}

/// One binding of a port in the shared memory.
#[derive(Debug)]
pub(crate) struct Binding {
    region: Rc<Region>,
    at: usize,
    header: NonNull<Interface>,
    bound: NmreqRegister,
}

impl Binding {
    /// Finds the binding that the kernel reported.
    pub(crate) fn new(region: &Rc<Region>, bound: &NmreqRegister) -> io::Result<Binding> {
        let at = usize::try_from(bound.offset).map_err(|_| malformed("an interface"))?;
        let header = region.field(at)?;
        Ok(Binding { region: Rc::clone(region), at, header, bound: *bound })
    }

    fn header(&self) -> Interface {
        // SAFETY: `field` found it to lie within the mapping, and aligned; it is made of numbers.
        unsafe { self.header.read_volatile() }
    }

    /// The transmit ring that was bound.
    pub(crate) fn transmit_ring(&self) -> io::Result<RingView> {
        RingView::new(&self.region, self.at, self.bound.ringid.into())
    }

    /// The receive ring that was bound.
    pub(crate) fn receive_ring(&self) -> io::Result<RingView> {
        let header = self.header();
        let transmit_rings = (header.ni_tx_rings as usize).saturating_add(header.ni_host_tx_rings as usize);
        let ring = usize::from(self.bound.ringid);
        RingView::new(&self.region, self.at, transmit_rings.saturating_add(ring))
    }

    /// Takes the extra buffers over, which can be done once: the first of the kernel's list is the last here. The
    /// list stays as it is.
    pub(crate) fn take_extra(&self) -> Vec<BufferId> {
        let mut next = self.header().ni_bufs_head;
        let count = self.bound.extra_bufs as usize;
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count
            && let Some(id) = self.region.id(next)
        {
            let link = self.region.bytes(&id).first_chunk().copied();
            taken.push(id);
            next = link.map_or(0, u32::from_ne_bytes);
        }
        taken.reverse();
        taken
    }

    /// Has a buffer lead to the next one of the kernel's list.
    pub(crate) fn link_extra(&self, id: &mut BufferId, next: Option<&BufferId>) {
        if let Some(link) = self.region.bytes_mut(id).first_chunk_mut() {
            *link = u32::to_ne_bytes(next.map_or(0, |next| next.0.get()));
        }
    }

    /// Begins the kernel's list with this buffer.
    pub(crate) fn set_extra(&mut self, first: Option<&BufferId>) {
        // The process may be killed between any two instructions: the links of a list are written before it begins
        // with them, and a buffer is out of it before its bytes are a frame's.
        compiler_fence(Ordering::SeqCst);
        let head = first.map_or(0, |id| id.0.get());
        // SAFETY: as in `header`; the kernel looks at this field when the port is closed and not before.
        unsafe { (&raw mut (*self.header.as_ptr()).ni_bufs_head).write_volatile(head) };
        compiler_fence(Ordering::SeqCst);
    }
}

/// A ring in the shared memory. The kernel touches our slots in our own system calls only.
#[derive(Debug)]
pub(crate) struct RingView {
    region: Rc<Region>,
    header: NonNull<Ring>,
    slots: NonNull<Slot>,
    count: u32,
    offset_mask: u64,
    align: usize,
}

impl RingView {
    fn new(region: &Rc<Region>, interface: usize, ring: usize) -> io::Result<RingView> {
        let (header, layout) = region.ring_header(interface, ring)?;
        if layout != region.layout {
            return Err(malformed("rings with buffers of their own"));
        }
        // SAFETY: `ring_header` found it to lie within the mapping with all its slots behind it, and it is aligned.
        let (ring, slots) = unsafe { (header.read_volatile(), header.add(1).cast::<Slot>()) };
        let align = usize::try_from(ring.buf_align).unwrap_or(0).max(1);
        if !align.is_power_of_two() {
            return Err(malformed("an alignment"));
        }
        Ok(RingView {
            region: Rc::clone(region),
            header,
            slots,
            count: ring.num_slots,
            offset_mask: ring.offset_mask,
            align,
        })
    }

    /// How many slots there are.
    #[inline]
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// What an offset in a buffer must be a multiple of: a power of two.
    #[inline]
    pub(crate) fn align(&self) -> usize {
        self.align
    }

    /// Where in its buffer the frame of a slot starts.
    #[inline]
    pub(crate) fn offset(&self, slot: &Slot) -> u64 {
        slot.ptr & self.offset_mask
    }

    /// Our first slot.
    #[inline]
    pub(crate) fn head(&self) -> u32 {
        // SAFETY: the header lies within the mapping, which `self.region` keeps; any bytes are a number.
        unsafe { (&raw const (*self.header.as_ptr()).head).read_volatile() % self.count }
    }

    /// The kernel's first slot.
    #[inline]
    pub(crate) fn tail(&self) -> u32 {
        // SAFETY: as in `head`.
        unsafe { (&raw const (*self.header.as_ptr()).tail).read_volatile() % self.count }
    }

    /// Hands the slots before `head` to the kernel, which sees it at the next synchronisation; `poll` wakes for any
    /// slot more than there are now.
    #[inline]
    pub(crate) fn set_head(&self, head: u32) {
        // SAFETY: as in `head`; these fields are ours to write.
        unsafe {
            (&raw mut (*self.header.as_ptr()).head).write_volatile(head);
            (&raw mut (*self.header.as_ptr()).cur).write_volatile(head);
        }
    }

    /// Has `poll` wake for slots behind `slot` only, not for what lies between `head` and it.
    #[inline]
    pub(crate) fn wake_behind(&self, slot: u32) {
        // SAFETY: as in `head`; this field is ours to write.
        unsafe { (&raw mut (*self.header.as_ptr()).cur).write_volatile(slot) };
    }

    #[inline]
    fn slot_at(&self, slot: u32) -> NonNull<Slot> {
        assert!(slot < self.count, "a slot beyond the ring");
        // SAFETY: `new` found so many slots to lie within the mapping.
        unsafe { self.slots.add(slot as usize) }
    }

    /// What a slot says.
    #[inline]
    pub(crate) fn slot(&self, slot: u32) -> Slot {
        // SAFETY: `slot_at` lies within the mapping, and aligned; a `Slot` is made of numbers.
        unsafe { self.slot_at(slot).read_volatile() }
    }

    #[inline]
    fn write(&self, at: u32, slot: Slot) {
        // SAFETY: as in `slot`; that it is a slot of ours is the caller's affair, and without it no memory is
        // touched that Rust knows of.
        unsafe { self.slot_at(at).write_volatile(slot) };
    }

    /// Exchanges the buffer of a slot that was received for another one. False, and nothing happens, if the slot
    /// names no buffer.
    #[inline]
    pub(crate) fn exchange(&self, at: u32, id: &mut BufferId) -> bool {
        let Some(received) = self.region.id(self.slot(at).buf_idx) else { return false };
        let spare = std::mem::replace(id, received);
        self.write(at, Slot { buf_idx: spare.0.get(), len: 0, flags: NS_BUF_CHANGED, ptr: 0 });
        true
    }

    /// The id of the buffer that a slot of a transmit ring came with. To be called once for each slot that is not out.
    pub(crate) fn take_id(&self, at: u32) -> io::Result<BufferId> {
        self.returned(at).ok_or_else(|| malformed("a slot's buffer"))
    }

    /// Has a slot name a buffer that stays with us: netmap reads it until the slot comes back.
    #[inline]
    pub(crate) fn lend(&self, at: u32, id: &BufferId, (offset, len): (u64, u16), flags: u16) {
        self.write(
            at,
            Slot { buf_idx: id.0.get(), len, flags: flags | NS_BUF_CHANGED, ptr: offset & self.offset_mask },
        );
    }

    /// The buffer in place of a lent one: on a pipe the peer kept that and gave another. To be called once each time that a
    /// slot comes back.
    #[inline]
    pub(crate) fn returned(&self, at: u32) -> Option<BufferId> {
        self.region.id(self.slot(at).buf_idx)
    }
}

/// Binds rings of a port to an open [`netmap_sys::DEVICE`]. On failure too, the option tells whether it was the reason.
pub(crate) fn control(
    netmap: &File,
    header: &mut NmreqHeader,
    body: &mut NmreqRegister,
    option: Option<&mut NmreqOptOffsets>,
) -> io::Result<()> {
    header.body = std::ptr::from_mut(body).expose_provenance() as u64;
    header.options = option.map_or(0, |option| std::ptr::from_mut(option).expose_provenance() as u64);
    // SAFETY: the request reads and writes one `NmreqHeader` and what its two addresses name: for a request to
    // register, one `NmreqRegister` and a list of options, here one `NmreqOptOffsets` without a successor or none.
    // All are laid out as the kernel's, borrowed exclusively, and live through the call.
    check(unsafe { libc::ioctl(netmap.as_raw_fd(), NIOCCTRL as _, std::ptr::from_mut(header)) })
}

/// Asks an open [`netmap_sys::DEVICE`] about a port.
pub(crate) fn ask(netmap: &File, header: &mut NmreqHeader, body: &mut NmreqPortInfoGet) -> io::Result<()> {
    header.body = std::ptr::from_mut(body).expose_provenance() as u64;
    // SAFETY: as in `control`; the request about a port reads and writes one `NmreqPortInfoGet`, and there are no options.
    check(unsafe { libc::ioctl(netmap.as_raw_fd(), NIOCCTRL as _, std::ptr::from_mut(header)) })
}

/// Hands filled transmit slots to the kernel and takes sent ones back.
pub(crate) fn sync_transmit(port: &File) -> io::Result<()> {
    sync(port.as_raw_fd(), NIOCTXSYNC)
}

/// Returns received slots to the kernel and takes new ones.
pub(crate) fn sync_receive(port: &File) -> io::Result<()> {
    sync(port.as_raw_fd(), NIOCRXSYNC)
}

fn sync(port: RawFd, request: u32) -> io::Result<()> {
    // SAFETY: the request takes no argument. It changes slots that are the kernel's, and which slots those are;
    // nothing of that is borrowed.
    check(unsafe { libc::ioctl(port, request as _) })
}

/// Whether a port has something to receive.
pub(crate) fn is_readable(port: &File) -> bool {
    let mut poll = libc::pollfd { fd: port.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: the pointer is to one valid `pollfd`, as the count says, and exclusive for the call.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
    ready > 0 && poll.revents & libc::POLLIN != 0
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// What only the tests need: memory without a kernel, and the kernel's side of it.
#[cfg(test)]
pub(crate) mod testing {
    use std::alloc::{Layout as Allocation, alloc_zeroed, dealloc};

    use super::*;

    fn allocation(len: usize) -> Allocation {
        Allocation::from_size_align(len, 4096).expect("a small power of two")
    }

    /// Memory with these bytes, laid out as netmap's.
    pub(crate) fn region(image: &[u8], bound: &NmreqRegister) -> io::Result<Rc<Region>> {
        assert!(!image.is_empty(), "an image has bytes");
        // SAFETY: the size is not 0.
        let base = NonNull::new(unsafe { alloc_zeroed(allocation(image.len())) }).expect("memory");
        // SAFETY: the allocation is new, and as long as the image.
        unsafe { base.copy_from_nonoverlapping(NonNull::from(image).cast(), image.len()) };
        let layout = Layout { start: image.len(), buffer_len: 0, count: 0 };
        Region { base, len: image.len(), layout, release }.laid_out(bound)
    }

    /// Frees the memory of a fake.
    ///
    /// # Safety
    /// `region` allocated it, with this length, and nobody uses it any more.
    unsafe fn release(base: NonNull<u8>, len: usize) {
        // SAFETY: the caller says so, and `region` used this very layout.
        unsafe { dealloc(base.as_ptr(), allocation(len)) };
    }

    impl Region {
        /// What is in a buffer, as the kernel sees it.
        pub(crate) fn peek(&self, number: u32) -> Vec<u8> {
            self.bytes(&self.id(number).expect("a buffer's number")).to_vec()
        }

        /// Writes into a buffer, as the kernel does.
        pub(crate) fn poke(&self, number: u32, at: usize, bytes: &[u8]) {
            let mut id = self.id(number).expect("a buffer's number");
            self.bytes_mut(&mut id)[at..at + bytes.len()].copy_from_slice(bytes);
        }

        /// One more than the highest number of a buffer.
        pub(crate) fn buffer_count(&self) -> u32 {
            self.layout.count
        }
    }

    impl RingView {
        /// The slot behind which `poll` wakes.
        pub(crate) fn cur(&self) -> u32 {
            // SAFETY: as in `head`.
            unsafe { (&raw const (*self.header.as_ptr()).cur).read_volatile() % self.count }
        }

        /// Writes a slot, as the kernel does.
        pub(crate) fn set_slot(&self, at: u32, slot: Slot) {
            self.write(at, slot);
        }

        /// Gives slots to the program.
        pub(crate) fn set_tail(&self, tail: u32) {
            // SAFETY: as in `head`.
            unsafe { (&raw mut (*self.header.as_ptr()).tail).write_volatile(tail) };
        }
    }

    impl Binding {
        /// The buffers that the kernel would free when the port is closed.
        pub(crate) fn extra(&self) -> Vec<u32> {
            let mut numbers = Vec::new();
            let mut next = self.header().ni_bufs_head;
            while let Some(id) = self.region.id(next) {
                numbers.push(next);
                next = u32::from_ne_bytes(*self.region.bytes(&id).first_chunk().expect("four bytes"));
            }
            numbers
        }
    }
}

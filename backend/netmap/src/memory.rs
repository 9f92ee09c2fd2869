//! A device's share of netmap's memory: its spare buffers, and the way home for every frame.
//!
//! A spare buffer waits as a [`Buffer`] that was used before, reference count and all, or, before its first use and
//! when its last handle was not a frame, as a bare [`BufferId`]. So no frame costs a trip to the allocator.

use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;

use crate::sys::{Binding, BufferId, Region};

/// Spare buffers that only receiving may use: acknowledgements come in although senders have taken everything, and
/// free what they have taken.
pub(crate) const RECEIVE_RESERVE: usize = 32;

/// The system calls on a device's pairs of rings, each of which is bound to a descriptor of its own.
pub(crate) trait Kernel: Debug {
    /// Hands filled transmit slots over and takes sent ones back.
    fn sync_transmit(&self, pair: usize) -> io::Result<()>;
    /// Returns received slots and takes new ones.
    fn sync_receive(&self, pair: usize) -> io::Result<()>;
    /// Whether synchronising would bring something to receive.
    fn is_readable(&self, pair: usize) -> bool;
    /// The descriptor to sleep on.
    fn descriptor(&self, pair: usize) -> RawFd;
}

/// Spare buffers without a handle. They are the list that the kernel frees when the port is closed, also if that is
/// because the process was killed: then only buffers that were used are lost, until nobody has the memory any more.
#[derive(Debug)]
struct Bare {
    /// The one that asked for the extra buffers.
    binding: Binding,
    /// The list from its end: links in the memory are written for the kernel, and not read again.
    ids: Vec<BufferId>,
}

impl Bare {
    fn new(binding: Binding) -> Bare {
        let ids = binding.take_extra();
        Bare { binding, ids }
    }

    fn pop(&mut self) -> Option<BufferId> {
        let id = self.ids.pop()?;
        self.binding.set_extra(self.ids.last());
        Some(id)
    }

    fn push(&mut self, mut id: BufferId) {
        self.binding.link_extra(&mut id, self.ids.last());
        self.binding.set_extra(Some(&id));
        self.ids.push(id);
    }
}

/// What the frames of a device share. It lives until the last of them is gone, and keeps the port bound so long: a
/// buffer that somebody reads must not be given to somebody else.
#[derive(Debug)]
pub(crate) struct Memory {
    region: Rc<Region>,
    kernel: Box<dyn Kernel>,
    used: RefCell<Vec<Rc<Buffer>>>,
    bare: RefCell<Bare>,
    extra_count: usize,
    /// Whether the device is there. `used` holds the memory, and the memory `used`, so that ring must not be
    /// closed again once the device is gone.
    open: Cell<bool>,
}

impl Memory {
    pub(crate) fn new(region: Rc<Region>, binding: Binding, kernel: Box<dyn Kernel>) -> Rc<Memory> {
        let bare = Bare::new(binding);
        let extra_count = bare.ids.len();
        Rc::new(Memory {
            region,
            kernel,
            used: RefCell::new(Vec::with_capacity(extra_count)),
            bare: RefCell::new(bare),
            extra_count,
            open: Cell::new(true),
        })
    }

    #[inline]
    pub(crate) fn kernel(&self) -> &dyn Kernel {
        &*self.kernel
    }

    /// Size of each buffer, in bytes.
    #[inline]
    pub(crate) fn buffer_len(&self) -> usize {
        self.region.buffer_len()
    }

    /// How many buffers are spare.
    #[inline]
    pub(crate) fn spare_count(&self) -> usize {
        self.used.borrow().len() + self.bare.borrow().ids.len()
    }

    /// How many buffers there are besides those that slots were made with.
    pub(crate) fn extra_count(&self) -> usize {
        self.extra_count
    }

    /// A spare buffer with this handle only, if one is left.
    #[inline]
    pub(crate) fn take(self: &Rc<Self>) -> Option<Rc<Buffer>> {
        if let Some(buffer) = self.used.borrow_mut().pop() {
            return Some(buffer);
        }
        let id = self.bare.borrow_mut().pop()?;
        Some(self.adopt(Some(id)))
    }

    /// A handle on a buffer that netmap gave us, or will give us for a slot that is out.
    pub(crate) fn adopt(self: &Rc<Self>, id: Option<BufferId>) -> Rc<Buffer> {
        Rc::new(Buffer { id, lent: Cell::new(0), memory: Rc::clone(self) })
    }

    /// The device goes: frames that are still out keep the memory, and it keeps no frames.
    pub(crate) fn close(&self) {
        self.open.set(false);
        // Taken out first: a buffer that is dropped looks at its memory.
        drop(self.used.take());
    }
}

/// A buffer of netmap's.
#[derive(Debug)]
pub struct Buffer {
    /// Always there, but for the moment in which it is dropped, and in a slot until that comes back for the first time.
    id: Option<BufferId>,
    /// How many slots of a transmit ring name it, and own it when all handles are gone: more than one if it is sent
    /// again before it was sent.
    lent: Cell<u32>,
    memory: Rc<Memory>,
}

impl Buffer {
    #[inline]
    pub(crate) fn id(&self) -> Option<&BufferId> {
        self.id.as_ref()
    }

    #[inline]
    pub(crate) fn id_mut(&mut self) -> Option<&mut BufferId> {
        self.id.as_mut()
    }

    /// A slot came back with this buffer. What names none leaves us the one that we had.
    #[inline]
    pub(crate) fn settle(&mut self, returned: Option<BufferId>) {
        if returned.is_some() {
            self.id = returned;
        }
    }

    #[inline]
    pub(crate) fn lend(&self) {
        self.lent.update(|slots| slots + 1);
    }

    #[inline]
    pub(crate) fn take_back(&self) {
        self.lent.update(|slots| slots - 1);
    }

    #[inline]
    pub(crate) fn is_of(&self, memory: &Rc<Memory>) -> bool {
        Rc::ptr_eq(&self.memory, memory)
    }

    /// Sends a buffer home whose last handle is about to go.
    #[inline]
    pub(crate) fn send_home(this: &Rc<Buffer>) {
        let is_last = Rc::strong_count(this) == 1 && this.lent.get() == 0;
        if is_last && this.id.is_some() && this.memory.open.get() {
            this.memory.used.borrow_mut().push(Rc::clone(this));
        }
    }
}

impl AsRef<[u8]> for Buffer {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self.id.as_ref().map_or(&[], |id| self.memory.region.bytes(id))
    }
}

impl AsMut<[u8]> for Buffer {
    #[inline]
    fn as_mut(&mut self) -> &mut [u8] {
        match &mut self.id {
            Some(id) => self.memory.region.bytes_mut(id),
            None => &mut [],
        }
    }
}

impl Drop for Buffer {
    /// The way home for a buffer whose last handle was no frame.
    fn drop(&mut self) {
        if let Some(id) = self.id.take()
            && self.lent.get() == 0
        {
            self.memory.bare.borrow_mut().push(id);
        }
    }
}

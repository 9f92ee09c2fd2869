//! Chunks of the UMEM that are not in use, and the way back to them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::frame::{self, XdpFrame};
use crate::sys::{Memory, Part};

/// A chunk: a buffer of the UMEM, and its way home.
#[derive(Debug)]
pub struct Chunk {
    pub(crate) memory: Memory,
    home: Rc<Home>,
}

/// What the handles of a pool share.
///
/// Free chunks and their home hold each other; closing breaks the ring. That spares each frame that is dropped
/// the question whether its pool is still there.
#[derive(Debug)]
struct Home {
    free: RefCell<Vec<Rc<Chunk>>>,
    is_open: Cell<bool>,
    count: usize,
}

/// The memory of an [`XdpDevice`](crate::XdpDevice), in chunks of one size.
///
/// It is closed with its device. Frames that are still out stay valid, and their memory goes with the last.
#[derive(Debug, Clone)]
pub struct Pool(Rc<Home>);

impl Pool {
    pub(crate) fn new(part: Part) -> Pool {
        let home = Rc::new(Home {
            free: RefCell::new(Vec::with_capacity(part.chunk_count())),
            is_open: Cell::new(true),
            count: part.chunk_count(),
        });
        let chunks = part.into_chunks().map(|memory| Rc::new(Chunk { memory, home: Rc::clone(&home) }));
        // The last one in is the first one out: small addresses first.
        let chunks: Vec<_> = chunks.collect();
        home.free.borrow_mut().extend(chunks.into_iter().rev());
        Pool(home)
    }

    /// An empty frame. `None` if the pool is dry.
    #[inline]
    pub fn alloc(&self) -> Option<XdpFrame> {
        frame::empty(self.take()?)
    }

    /// Chunks that are free.
    #[inline]
    pub fn free_count(&self) -> usize {
        self.0.free.borrow().len()
    }

    /// Chunks that are not free: in frames and leases, queued anywhere, or with the kernel.
    pub fn in_use(&self) -> usize {
        self.0.count - self.free_count()
    }

    /// Whether the chunk is one of this pool.
    #[inline]
    pub(crate) fn owns(&self, chunk: &Chunk) -> bool {
        Rc::ptr_eq(&self.0, &chunk.home)
    }

    /// A chunk that nobody else has.
    #[inline]
    pub(crate) fn take(&self) -> Option<Rc<Chunk>> {
        self.0.free.borrow_mut().pop()
    }

    /// Nothing comes back from now on, and nothing is given out: the kernel may still write into what it has.
    pub(crate) fn close(&self) {
        self.0.is_open.set(false);
        // Taken out first: chunks that are dropped look at their home.
        let free = self.0.free.take();
        drop(free);
    }
}

impl Chunk {
    /// Gives a handle back; with the last one, the chunk is free.
    #[inline]
    pub(crate) fn release(chunk: Rc<Chunk>) {
        if Rc::strong_count(&chunk) == 1 && chunk.home.is_open.get() {
            let home = Rc::clone(&chunk.home);
            home.free.borrow_mut().push(chunk);
        }
    }

    /// Makes the chunk free if `chunk` is its last handle, which is about to be dropped.
    #[inline]
    pub(crate) fn release_last(chunk: &Rc<Chunk>) {
        if Rc::strong_count(chunk) == 1 && chunk.home.is_open.get() {
            chunk.home.free.borrow_mut().push(Rc::clone(chunk));
        }
    }
}

//! The application's bytes that drivers are done with, on their way to the thread that sent them.
//!
//! Their owners are counted without atomics, and their destructors are the application's: they are dropped on that thread
//! only, and where no driver is on the stack. Mostly a driver is done with bytes in a call of the thread that has the
//! queue. What it still has when its port is closed, it lets go of on the thread that closes the port: EAL's, or that of
//! the port's last queue. Then the owner waits for its own thread, and stays for good if that is gone.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hayase_device::SharedBytes;

/// A thread that sends the application's bytes: no two ever have the same number. 0 is none.
pub(super) type Thread = u64;

/// An owner on a thread that is not its own, which moves it and does nothing else to it.
struct Stranded(ManuallyDrop<SharedBytes>);

// SAFETY: who has it on another thread than its own can only move it or forget it. `Home` alone takes the owner out, on
// the owner's thread.
unsafe impl Send for Stranded {}

/// Owners that other threads have left for one.
#[derive(Default)]
struct Stranding {
    is_any: AtomicBool,
    owners: Mutex<Vec<Stranded>>,
}

impl Stranding {
    fn leave(&self, owner: Stranded) {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).push(owner);
        self.is_any.store(true, Ordering::Release);
    }

    fn take(&self) -> Vec<Stranded> {
        self.is_any.store(false, Ordering::Relaxed);
        std::mem::take(&mut *self.owners.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The threads that live. A lock that is taken when a thread sends its first bytes and when it ends, and for what is
/// stranded.
static HOMES: Mutex<BTreeMap<Thread, Arc<Stranding>>> = Mutex::new(BTreeMap::new());

/// What comes back to a thread.
struct Home {
    thread: Thread,
    released: RefCell<Vec<SharedBytes>>,
    stranding: Arc<Stranding>,
}

thread_local! {
    /// The number of this thread while it has a home.
    static THREAD: Cell<Thread> = const { Cell::new(0) };
    static HOME: Home = Home::new();
}

impl Home {
    fn new() -> Home {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let (thread, stranding) = (NEXT.fetch_add(1, Ordering::Relaxed), Arc::new(Stranding::default()));
        HOMES.lock().unwrap_or_else(PoisonError::into_inner).insert(thread, Arc::clone(&stranding));
        THREAD.set(thread);
        Home { thread, released: RefCell::default(), stranding }
    }

    fn drop_released(&self) {
        if !self.released.borrow().is_empty() {
            // Taken out first: a destructor may come back here.
            drop(self.released.take());
        }
        if self.stranding.is_any.load(Ordering::Acquire) {
            self.drop_stranded();
        }
    }

    #[cold]
    fn drop_stranded(&self) {
        // This is the thread that they belong to: its number was in the mbuf that each came from.
        self.stranding.take().into_iter().for_each(|stranded| drop(ManuallyDrop::into_inner(stranded.0)));
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        THREAD.set(0);
        HOMES.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.thread);
        self.drop_released();
    }
}

/// The number of this thread; 0 if it is just ending.
#[inline]
pub(super) fn this_thread() -> Thread {
    match THREAD.get() {
        0 => HOME.try_with(|home| home.thread).unwrap_or(0),
        thread => thread,
    }
}

/// Takes an owner that a driver is done with.
///
/// # Safety
/// `thread` is what [`this_thread`] was where the owner was made. No other handle on it is used here.
pub(super) unsafe fn release(owner: ManuallyDrop<SharedBytes>, thread: Thread) {
    if thread != 0 && thread == THREAD.get() {
        // There is a home as long as there is a number.
        let _ = HOME.try_with(|home| home.released.borrow_mut().push(ManuallyDrop::into_inner(owner)));
        return;
    }
    let homes = HOMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(stranding) = homes.get(&thread) {
        stranding.leave(Stranded(owner));
    }
}

/// Drops the application's bytes of this thread that drivers are done with.
#[inline]
pub(crate) fn drop_released() {
    if THREAD.get() != 0 {
        let _ = HOME.try_with(Home::drop_released);
    }
}

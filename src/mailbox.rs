//! What the rest of the process knows of a shard, and the one thing that it may ask of it: what is left to do for a
//! socket whose handle was dropped on another thread.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, ThreadId};

use crate::door::{Farewell, ShardId};
use crate::remote;
use crate::tray::Tray;

/// Every shard of the process by its serial number. Looked at when a shard comes or goes and when something
/// went wrong, never on the path of a byte.
static SHARDS: Mutex<BTreeMap<u32, Arc<Mailbox>>> = Mutex::new(BTreeMap::new());

static SERIAL: AtomicU32 = AtomicU32::new(1);

/// Which slots of the threads' tables of doors have a name. A slot means the same shard on every thread, so that
/// a door to it can stand in the same place of any of them.
static SLOTS: Mutex<Vec<bool>> = Mutex::new(Vec::new());

/// The shard's end that other threads can reach.
pub(crate) struct Mailbox {
    id: ShardId,
    thread: ThreadId,
    thread_name: String,
    farewells: Tray<Vec<Farewell>>,
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Mailbox {
    /// The name of the shard.
    #[inline(always)]
    pub(crate) fn id(&self) -> ShardId {
        self.id
    }

    /// Sets what ends the sleep of the shard's thread.
    pub(crate) fn set_wake(&self, wake: impl Fn() + Send + Sync + 'static) {
        // A shard belongs to one reactor for life: a second wake would be the same one.
        let _ = self.wake.set(Box::new(wake));
    }

    /// Whether other threads dropped handles of this shard's sockets.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.farewells.is_empty()
    }

    /// What is left to do for the handles that other threads dropped.
    pub(crate) fn take(&self) -> Vec<Farewell> {
        self.farewells.take(mem::take)
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailbox of thread {}", self.thread_name)
    }
}

/// A list of integers is whole whatever happened to the thread that held its lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn find(id: ShardId) -> Option<Arc<Mailbox>> {
    lock(&SHARDS).get(&id.serial()).cloned()
}

/// A new name.
///
/// # Errors
/// If all slots are taken.
pub(crate) fn name() -> io::Result<ShardId> {
    let mut slots = lock(&SLOTS);
    let free = slots.iter().position(|taken| !taken).unwrap_or(slots.len());
    let Ok(slot) = u16::try_from(free) else {
        let text = "65,536 shards in one process are the limit";
        return Err(io::Error::new(io::ErrorKind::QuotaExceeded, text));
    };
    match slots.get_mut(free) {
        Some(taken) => *taken = true,
        None => slots.push(true),
    }
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    ShardId::new(slot, serial)
        .ok_or_else(|| io::Error::other("this process has had 2^32 shards, which is the limit"))
}

/// Nobody has this name any more: its slot can be given to another.
pub(crate) fn unname(id: ShardId) {
    if let Some(taken) = lock(&SLOTS).get_mut(id.slot()) {
        *taken = false;
    }
}

/// Names a new shard of this thread and opens its mailbox.
///
/// # Errors
/// As [`name`].
pub(crate) fn open() -> io::Result<ShardId> {
    let id = name()?;
    let current = thread::current();
    let thread_name = current.name().map_or_else(|| format!("{:?}", current.id()), str::to_owned);
    let mailbox =
        Mailbox { id, thread: current.id(), thread_name, farewells: Tray::default(), wake: OnceLock::new() };
    lock(&SHARDS).insert(id.serial(), Arc::new(mailbox));
    Ok(id)
}

/// The mailbox of a shard that was opened before.
pub(crate) fn of(id: ShardId) -> Option<Arc<Mailbox>> {
    find(id)
}

/// The shard is no more.
pub(crate) fn close(id: ShardId) {
    if lock(&SHARDS).remove(&id.serial()).is_some() {
        unname(id);
    }
}

/// Bids a shard of another thread farewell of a socket. One that is no more has closed it already.
#[cold]
pub(crate) fn send(id: ShardId, farewell: Farewell) {
    if remote::bid(id, farewell) {
        return;
    }
    let Some(mailbox) = find(id).filter(|mailbox| mailbox.thread != thread::current().id()) else { return };
    mailbox.farewells.put(|farewells| farewells.push(farewell));
    if let Some(wake) = mailbox.wake.get() {
        wake();
    }
}

/// Why a shard cannot be reached from here.
#[cold]
pub(crate) fn absent(id: ShardId) -> io::Error {
    let here = thread::current();
    match find(id) {
        None => io::Error::new(
            io::ErrorKind::NotConnected,
            format!(
                "the runtime of this socket ({id}) has shut down: keep the Runtime alive while its sockets are used"
            ),
        ),
        Some(mailbox) if mailbox.thread == here.id() => io::Error::new(
            io::ErrorKind::ResourceBusy,
            format!("the table of shards is being changed: {id} cannot be used from inside that"),
        ),
        Some(mailbox) => io::Error::other(format!(
            "this socket belongs to {id} of thread `{}` and was used on thread `{}`: use it where it was opened, \
             and move the work there with `spawn_on`",
            mailbox.thread_name,
            here.name().unwrap_or("unnamed"),
        )),
    }
}

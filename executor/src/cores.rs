//! The executors of other cores.

use std::error::Error;
use std::sync::Arc;
use std::{fmt, io};

use crate::current;
use crate::mailbox::{Mailbox, Message};
use crate::task::{JoinHandle, Placement};

/// A group of cores, known by index from 0. Each gets an executor, on a thread of its own, with
/// [`Builder::core`](crate::Builder::core).
///
/// The mailboxes exist before the executors: what is spawned on a core that has not started yet waits for it.
///
/// ```
/// use hayase_executor::{Cores, Executor, spawn_on};
///
/// let cores = Cores::new(2).unwrap();
/// let worker = std::thread::spawn({
///     let cores = cores.clone();
///     move || {
///         let executor = Executor::builder().core(&cores, 1).build().unwrap();
///         executor.block_on(&(), hayase_executor::time::sleep(std::time::Duration::from_millis(50)));
///     }
/// });
/// let executor = Executor::builder().core(&cores, 0).build().unwrap();
/// let sum = executor.block_on(&(), async {
///     let task = spawn_on(1, || async { 1 + 1 }).unwrap();
///     task.await.unwrap()
/// });
/// assert_eq!(sum, 2);
/// worker.join().unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Cores(Arc<[Arc<Mailbox>]>);

impl Cores {
    /// A group of `count` cores.
    ///
    /// # Errors
    /// If the process may open no more descriptors: a core needs one.
    ///
    /// # Panics
    /// If `count` is 0.
    pub fn new(count: usize) -> io::Result<Cores> {
        assert!(count > 0, "a group of cores has at least one");
        let mailboxes = (0..count).map(|index| Mailbox::new(index).map(Arc::new));
        Ok(Cores(mailboxes.collect::<Result<_, _>>()?))
    }

    /// Number of cores.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The core with this index.
    ///
    /// # Errors
    /// If the group has no such core.
    pub fn handle(&self, core: usize) -> Result<Handle, NoSuchCore> {
        match self.0.get(core) {
            Some(mailbox) => Ok(Handle::new(mailbox.clone(), self.clone())),
            None => Err(NoSuchCore { core, count: self.count() }),
        }
    }

    /// The same inside of the crate, where the index was checked before.
    pub(crate) fn mailbox(&self, core: usize) -> &Arc<Mailbox> {
        &self.0[core]
    }

    /// Makes the caller the executor of a core.
    pub(crate) fn claim(&self, core: usize) -> io::Result<()> {
        let handle = self.handle(core).map_err(|error| io::Error::new(io::ErrorKind::NotFound, error))?;
        if handle.mailbox.claim() {
            return Ok(());
        }
        let message = format!("core {core} of this group has, or had, an executor already");
        Err(io::Error::new(io::ErrorKind::AlreadyExists, message))
    }
}

/// A core, seen from any thread.
#[derive(Clone, Debug)]
pub struct Handle {
    mailbox: Arc<Mailbox>,
    cores: Cores,
}

impl Handle {
    pub(crate) fn new(mailbox: Arc<Mailbox>, cores: Cores) -> Handle {
        Handle { mailbox, cores }
    }

    /// The core of this thread.
    ///
    /// # Panics
    /// If there is no executor on this thread.
    #[must_use]
    #[track_caller]
    pub fn current() -> Handle {
        current::with(|core| core.handle())
    }

    /// The core of this thread, if it has one.
    #[must_use]
    pub fn try_current() -> Option<Handle> {
        current::try_with(|core| core.handle())
    }

    /// The core's index in its group.
    #[must_use]
    pub fn core(&self) -> usize {
        self.mailbox.index
    }

    /// The core's group.
    #[must_use]
    pub fn cores(&self) -> &Cores {
        &self.cores
    }

    /// Ends the core's sleep, if it sleeps, after something was written at which its reactor looks in
    /// [`pending`](crate::Reactor::pending). Costs a fence while the core is awake, and a system call if it sleeps.
    #[inline]
    pub fn notify(&self) {
        self.mailbox.notify();
    }

    /// Runs the future that `make` returns as a task of this core.
    ///
    /// `make` travels, the future does not: it is made and polled on the core's thread, and need not be `Send`. If the
    /// executor is gone, or goes before the task has ended, the handle resolves to an error that
    /// [is cancelled](crate::JoinError::is_cancelled). If none has been built yet, the task waits for it.
    pub fn spawn_on<M, F>(&self, make: M) -> JoinHandle<F::Output>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        let (placement, handle) = Placement::new();
        let spawn = Message::Spawn(Box::new(move |core| {
            placement.place(|slot| core.spawn_into(slot, async { make().await }));
        }));
        self.mailbox.send(spawn);
        handle
    }
}

/// Runs the future that `make` returns as a task of another core of this thread's group, or of this one.
///
/// See [`Handle::spawn_on`].
///
/// # Errors
/// If the group has no such core.
///
/// # Panics
/// If there is no executor on this thread.
#[track_caller]
pub fn spawn_on<M, F>(core: usize, make: M) -> Result<JoinHandle<F::Output>, NoSuchCore>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future + 'static,
    F::Output: Send + 'static,
{
    let handle = current::with(|current| current.cores.handle(core))?;
    Ok(handle.spawn_on(make))
}

/// A core was named that the group does not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoSuchCore {
    core: usize,
    count: usize,
}

impl fmt::Display for NoSuchCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NoSuchCore { core, count } = self;
        match count {
            1 => write!(f, "there is no core {core}: this runtime has one core, core 0"),
            _ => write!(f, "there is no core {core}: this runtime has {count} cores, 0 to {}", count - 1),
        }
    }
}

impl Error for NoSuchCore {}

//! A runtime as other threads see it.

use hayase_executor::{JoinHandle, NoSuchCore};

/// A core of a runtime, seen from any thread: it starts tasks there.
///
/// A [`Runtime`](crate::Runtime) and its tasks stay on their threads. Whoever else has work for them, such as a thread that waits
/// for signals, that of a C library or a test without async, gets a handle: `Clone`, `Send` and `Sync`. It does not keep the
/// runtime alive.
///
/// ```
/// use hayase::net::TcpListener;
///
/// let runtime = hayase::Runtime::builder().device("wire".parse()?).build()?;
/// let handle = runtime.handle();
/// let thread = std::thread::spawn(move || {
///     // The closure travels. What it returns stays on the runtime's thread, and need not be `Send`.
///     handle.spawn(|| async { TcpListener::bind("0.0.0.0:80").await?.local_addr() })
/// });
/// let task = thread.join().unwrap();
/// assert_eq!(runtime.block_on(task)??.port(), 80);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Handle(hayase_executor::Handle);

impl Handle {
    pub(super) fn new(handle: hayase_executor::Handle) -> Handle {
        Handle(handle)
    }

    /// That of the core that this thread is.
    ///
    /// # Panics
    /// If there is no runtime on this thread.
    #[must_use]
    #[track_caller]
    pub fn current() -> Handle {
        Handle(hayase_executor::Handle::current())
    }

    /// That of the core that this thread is, if it is one.
    #[must_use]
    pub fn try_current() -> Option<Handle> {
        hayase_executor::Handle::try_current().map(Handle)
    }

    /// Runs the future that `make` returns as a task of this core, on its [host](crate::Runtime::host): at once if the core
    /// turns, and else when it is next in `block_on`.
    ///
    /// Unlike tokio's, it takes a closure, which is made to travel so that the future need not. The handle that it returns may be
    /// awaited anywhere. Where the runtime is gone, or goes before the task has ended, it resolves to an error that
    /// [is cancelled](crate::task::JoinError::is_cancelled).
    pub fn spawn<M, F>(&self, make: M) -> JoinHandle<F::Output>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        self.0.spawn_on(make)
    }

    /// The same on another core of the runtime: see [`hayase::spawn_on`](crate::spawn_on).
    ///
    /// # Errors
    /// If there is no such core.
    pub fn spawn_on<M, F>(&self, core: usize, make: M) -> Result<JoinHandle<F::Output>, NoSuchCore>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        Ok(self.0.cores().handle(core)?.spawn_on(make))
    }

    /// Which core it is, from 0.
    #[must_use]
    pub fn core(&self) -> usize {
        self.0.core()
    }

    /// Number of cores of the runtime.
    #[must_use]
    pub fn cores(&self) -> usize {
        self.0.cores().count()
    }
}

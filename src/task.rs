//! Tasks. They need not be `Send`: a task stays on its core.

pub use hayase_executor::{AbortHandle, Id, JoinError, JoinHandle, JoinSet, NoSuchCore, YieldNow, yield_now};

use crate::host::{Scope, chosen, spawn_in};
use crate::several;

/// Runs `future` as a task of this core. It inherits the spawner's [host](crate::Host).
///
/// The task runs whether or not the handle is kept, and a panic ends it alone. (A [`JoinSet`] spawns on the
/// default host; with several hosts, [`JoinSet::insert`] what this returns.)
///
/// # Panics
/// If there is no runtime on this thread.
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    spawn_in(chosen(), future)
}

/// Runs the future that `make` returns as a task of core `core` of this runtime.
///
/// `make` travels there, the future does not and need not be `Send`. Its host is the default of that core, also where the
/// spawner has chosen one, unless both are on one core. Sockets of this core are of no use on another one, unless the stack
/// has a thread of its own ([`Model`](crate::Model)).
///
/// ```
/// let runtime = hayase::Runtime::builder().device("wire".parse()?).cores(2).build()?;
/// let name = runtime.block_on(async {
///     let task = hayase::spawn_on(1, || async { std::thread::current().name().map(str::to_owned) })?;
///     Ok::<_, Box<dyn std::error::Error>>(task.await?)
/// })?;
/// assert_eq!(name.as_deref(), Some("hayase-1"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If there is no such core.
///
/// # Panics
/// If there is no runtime on this thread.
#[track_caller]
pub fn spawn_on<M, F>(core: usize, make: M) -> Result<JoinHandle<F::Output>, NoSuchCore>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future + 'static,
    F::Output: Send + 'static,
{
    let host = chosen();
    hayase_executor::spawn_on(core, move || {
        // The spawner's host is one of its own thread, whether or not its sockets would work on others.
        let host = host.filter(|host| several::is_here(*host));
        Scope::new(host, async { make().await })
    })
}

//! Where hyper's own tasks run.

use hyper::rt::Executor;

/// Runs futures as tasks of the core that hyper runs on. They need not be `Send`.
#[derive(Debug, Clone, Copy, Default)]
pub struct HayaseExecutor;

impl<F> Executor<F> for HayaseExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    #[track_caller]
    fn execute(&self, future: F) {
        drop(hayase::spawn(future));
    }
}

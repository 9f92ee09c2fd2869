//! The core of the current thread.

use std::cell::RefCell;
use std::rc::Rc;

use crate::core::Core;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Core>>> = const { RefCell::new(None) };
}

/// Calls `f` with the core of this thread, if it has one. `f` must not run code of users: it could enter or leave.
#[inline]
pub(crate) fn try_with<R>(f: impl FnOnce(&Rc<Core>) -> R) -> Option<R> {
    // A thread that is ending has no core.
    CURRENT.try_with(|current| current.borrow().as_ref().map(f)).ok().flatten()
}

/// Calls `f` with the core of this thread, or without one if there is none. The same holds for this `f`.
#[inline]
pub(crate) fn visit<R>(f: impl FnOnce(Option<&Rc<Core>>) -> R) -> R {
    let mut f = Some(f);
    let visited = try_with(|core| f.take().map(|f| f(Some(core)))).flatten();
    match (visited, f) {
        (Some(result), _) => result,
        (None, Some(f)) => f(None),
        (None, None) => unreachable!("it is taken to be called"),
    }
}

/// The same where there has to be one.
#[inline]
#[track_caller]
pub(crate) fn with<R>(f: impl FnOnce(&Rc<Core>) -> R) -> R {
    match try_with(f) {
        Some(result) => result,
        None => none(),
    }
}

#[cold]
#[track_caller]
fn none() -> ! {
    panic!(
        "there is no executor on this thread: call this from a task of Hayase's runtime, in the future of `Runtime::block_on`, \
         or after `Runtime::enter` (of `Executor`, if there is no such runtime); in a task of tokio's use `tokio::spawn` and \
         `tokio::time`"
    )
}

/// Makes a core the current one until it is dropped; then the one before is current again.
#[derive(Debug)]
pub(crate) struct Entered {
    before: Option<Rc<Core>>,
}

pub(crate) fn enter(core: Rc<Core>) -> Entered {
    let before = CURRENT.try_with(|current| current.borrow_mut().replace(core)).ok().flatten();
    Entered { before }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.before.take();
        let left = CURRENT.try_with(|current| current.replace(before));
        // Dropping a core can run code of users, and so happens with the thread's cell at rest.
        drop(left);
    }
}

//! Why a task has no output.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use super::Id;

/// The end of a task that returned nothing: it panicked or was cancelled.
pub struct JoinError {
    id: Id,
    reason: Reason,
}

/// Why a task has returned nothing. Which one that was, its handle knows.
pub(crate) enum Reason {
    Cancelled,
    /// The lock is never waited for: it makes the payload, which is `Send`, `Sync` as well.
    Panicked(Mutex<Box<dyn Any + Send>>),
}

impl Reason {
    pub(super) fn panicked(payload: Box<dyn Any + Send>) -> Reason {
        Reason::Panicked(Mutex::new(payload))
    }
}

impl JoinError {
    pub(super) fn new(id: Id, reason: Reason) -> JoinError {
        JoinError { id, reason }
    }

    /// What the task was called: as [`JoinHandle::id`](crate::JoinHandle::id).
    #[must_use]
    pub fn id(&self) -> Id {
        self.id
    }

    /// Whether the task was aborted, or its executor dropped.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self.reason, Reason::Cancelled)
    }

    /// Whether the task panicked.
    #[must_use]
    pub fn is_panic(&self) -> bool {
        matches!(self.reason, Reason::Panicked(_))
    }

    /// What the task panicked with, to be passed to [`std::panic::resume_unwind`].
    ///
    /// # Panics
    /// If the task did not panic.
    #[must_use]
    pub fn into_panic(self) -> Box<dyn Any + Send> {
        self.try_into_panic().expect("the task was cancelled, it did not panic")
    }

    /// What the task panicked with.
    ///
    /// # Errors
    /// The error itself if the task did not panic.
    pub fn try_into_panic(self) -> Result<Box<dyn Any + Send>, JoinError> {
        match self.reason {
            Reason::Panicked(payload) => Ok(payload.into_inner().unwrap_or_else(PoisonError::into_inner)),
            Reason::Cancelled => Err(self),
        }
    }

    /// The words of the panic, if it was made of words.
    fn message(&self) -> Option<String> {
        let Reason::Panicked(payload) = &self.reason else { return None };
        let payload = payload.lock().unwrap_or_else(PoisonError::into_inner);
        let text = payload.downcast_ref::<&str>().copied();
        text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).map(str::to_owned)
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.reason, self.message()) {
            (Reason::Cancelled, _) => f.write_str("the task was cancelled"),
            (Reason::Panicked(_), Some(message)) => write!(f, "the task panicked: {message}"),
            (Reason::Panicked(_), None) => f.write_str("the task panicked"),
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({self})")
    }
}

impl Error for JoinError {}

impl From<JoinError> for std::io::Error {
    fn from(error: JoinError) -> std::io::Error {
        std::io::Error::other(error)
    }
}

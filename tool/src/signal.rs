//! SIGINT and SIGTERM as the end of a future, so that devices are closed in order.

use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::{future, process, thread};

use futures_util::future::{Either, select};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::{Failure, Result};

/// What shells report for a program that a SIGINT ended.
pub(crate) const INTERRUPTED: u8 = 130;

/// The first SIGINT or SIGTERM. The second ends the process on the spot.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    caught: bool,
    waker: Option<Waker>,
}

/// Signals are the process's: whoever asks for them gets the same ones.
static OF_PROCESS: Mutex<Option<Interrupt>> = Mutex::new(None);

impl Interrupt {
    /// From now on, the signals do not kill.
    pub(crate) fn catch() -> io::Result<Interrupt> {
        let mut of_process = lock(&OF_PROCESS);
        if let Some(interrupt) = &*of_process {
            return Ok(interrupt.clone());
        }
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let state = Arc::<Mutex<State>>::default();
        let caught = Arc::clone(&state);
        thread::Builder::new().name("signals".into()).spawn(move || {
            for _ in signals.forever() {
                if note(&caught) {
                    process::exit(INTERRUPTED.into());
                }
            }
        })?;
        Ok(of_process.insert(Interrupt { state }).clone())
    }

    /// Waits for the first signal. Of several that wait at once, only the last is woken.
    pub(crate) async fn wait(&self) {
        future::poll_fn(|cx| {
            let mut state = lock(&self.state);
            if state.caught {
                return Poll::Ready(());
            }
            state.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// What a future results in, unless a signal comes before: then it is dropped, and what it had open is closed.
    pub(crate) async fn unless_before<F: Future>(&self, future: F) -> Result<F::Output> {
        match select(pin!(future), pin!(self.wait())).await {
            Either::Left((output, _)) => Ok(output),
            Either::Right(_) => Err(Failure::Interrupted),
        }
    }
}

/// Notes a signal. Returns whether it was not the first.
fn note(state: &Mutex<State>) -> bool {
    let (again, waker) = {
        let mut state = lock(state);
        (std::mem::replace(&mut state.caught, true), state.waker.take())
    };
    if let Some(waker) = waker {
        waker.wake();
    }
    again
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

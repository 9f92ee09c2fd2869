//! SIGINT and SIGTERM as the end of a future, so that devices are closed in order.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::{future, process, thread};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// What shells report for a program that a SIGINT ended.
const INTERRUPTED: i32 = 130;

/// The first SIGINT or SIGTERM. The second ends the process on the spot.
#[derive(Debug)]
pub(crate) struct Interrupt {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    caught: bool,
    waker: Option<Waker>,
}

impl Interrupt {
    /// From now on, the signals do not kill.
    pub(crate) fn catch() -> io::Result<Interrupt> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let state = Arc::<Mutex<State>>::default();
        let caught = Arc::clone(&state);
        thread::Builder::new().name("signals".into()).spawn(move || {
            for _ in signals.forever() {
                if note(&caught) {
                    process::exit(INTERRUPTED);
                }
            }
        })?;
        Ok(Interrupt { state })
    }

    /// Waits for the first signal.
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

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

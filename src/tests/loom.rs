//! Every order in which threads can put something into a tray while a core takes what is there, tried by loom.

#[path = "../tray.rs"]
mod tray;

mod sync {
    pub(crate) use std::sync::PoisonError;

    pub(crate) use loom::sync::atomic::{AtomicBool, Ordering};
    pub(crate) use loom::sync::{Mutex, MutexGuard};
}

use loom::sync::Arc;
use loom::thread;
use tray::Tray;

/// The flag never says that there is nothing when there is, and nothing is taken twice.
#[test]
fn whatever_is_put_into_a_tray_is_taken() {
    loom::model(|| {
        let tray = Arc::new(Tray::<u32>::default());
        let senders: Vec<_> = (0..2)
            .map(|_| {
                let tray = Arc::clone(&tray);
                thread::spawn(move || tray.put(|count| *count += 1))
            })
            .collect();
        let look = || if tray.is_empty() { 0 } else { tray.take(std::mem::take) };
        let mut taken = look() + look();
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        taken += look();
        assert_eq!(taken, 2);
        assert!(tray.is_empty() && tray.with(|count| *count) == 0);
    });
}

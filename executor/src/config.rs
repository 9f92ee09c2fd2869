//! What can be chosen about an executor.

use std::time::Duration;

/// How the thread sleeps when there is nothing to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Parking {
    /// io_uring where the kernel allows it (containers often do not), else `ppoll`.
    #[default]
    Auto,
    /// io_uring: one system call arms the polls and sleeps. Building the executor fails where it is forbidden.
    IoUring,
    /// `ppoll`.
    Ppoll,
}

/// The limits of a turn and the manner of sleeping.
#[derive(Clone, Debug)]
pub struct Config {
    /// The most task polls of a turn. A higher limit makes larger bursts of work per doorbell; a lower one lets
    /// the NIC queue be read more often while tasks are busy. At least 1.
    pub polls_max: usize,
    /// The longest time to go on turning after the last work before sleeping. Waking up takes 4 to 13 us, so a busy
    /// server whose next request comes sooner gains from spinning. Sleeps that last longer than this shorten the spin
    /// to nothing, so that an idle core burns nothing. Zero never spins. The default is 20 us.
    pub spin: Duration,
    /// How to sleep.
    pub parking: Parking,
}

/// A few times what waking up costs.
const SPIN: Duration = Duration::from_micros(20);

impl Default for Config {
    fn default() -> Config {
        Config { polls_max: 256, spin: SPIN, parking: Parking::Auto }
    }
}

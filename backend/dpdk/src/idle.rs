//! Sleeping: on a descriptor of the driver's where it has one, else in naps.

use std::os::fd::RawFd;
use std::time::Duration;

use hayase_device::Nap;

use crate::DpdkError;
use crate::driver::Kind;
use crate::port::Seat;
use crate::sys::bell::Bell;
use crate::sys::port::link_is_up;

/// The part of the time in which nothing came or went that the next nap is: by so much a frame may be late. It is also what a
/// stray frame costs, some fifty looks until naps are long again.
const NAPS_OF_REST: u64 = 8;

/// vhost forgets that we wanted an interrupt when its guest is replaced, and wakes nobody: so often it is looked after.
const VHOST_LOOK: u64 = 20_000_000;

/// How a queue's thread sleeps.
#[derive(Debug)]
pub(crate) struct Idle {
    bell: Option<Bell>,
    is_armed: bool,
    /// For a driver that takes nothing.
    nap: Nap,
    /// The longest nap, in nanoseconds.
    nap_max: u64,
    /// How long it has napped since something came or was sent, in nanoseconds.
    rested: u64,
}

impl Idle {
    /// Listens to this descriptor of a driver, if it has one.
    pub(crate) fn new(wake: Option<RawFd>, nap_max: Duration) -> Result<Idle, DpdkError> {
        let bell = wake.map(Bell::new).transpose();
        let bell = bell.map_err(|source| DpdkError::Io { what: "listen to a queue's interrupt", source })?;
        let nap_max = u64::try_from(nap_max.as_nanos()).unwrap_or(u64::MAX);
        Ok(Idle { bell, is_armed: false, nap: Nap::new(), nap_max, rested: 0 })
    }

    /// What becomes readable when a frame comes.
    pub(crate) fn fd(&self) -> Option<RawFd> {
        self.bell.as_ref().map(Bell::fd)
    }

    /// Something came, or was sent and may be answered: the next nap is short.
    #[inline]
    pub(crate) fn stir(&mut self) {
        self.nap.reset();
        self.rested = 0;
    }

    /// Readies the queue for sleep, of at most so many nanoseconds. `None`: until it rings.
    pub(crate) fn arm(&mut self, seat: &Seat, is_stuck: bool) -> Option<u64> {
        self.is_armed = self.bell.is_some() && (rings_by_itself(seat) || seat.lane.enable_interrupt());
        if is_stuck {
            return Some(self.nap.take());
        }
        if !self.is_armed {
            return Some(self.rest());
        }
        let forgets = seat.port.kind == Kind::Vhost || !link_is_up(seat.port.number);
        forgets.then_some(VHOST_LOOK)
    }

    /// The next nap of a driver that wakes nobody.
    fn rest(&mut self) -> u64 {
        let nap = (self.rested / NAPS_OF_REST).max(Nap::MIN).min(self.nap_max);
        self.rested = self.rested.saturating_add(nap);
        nap
    }

    pub(crate) fn disarm(&mut self, seat: &Seat) {
        if let Some(bell) = self.bell.as_ref().filter(|_| self.is_armed) {
            if !rings_by_itself(seat) {
                seat.lane.disable_interrupt();
            }
            bell.silence();
        }
        self.is_armed = false;
    }
}

/// A socket is readable whether it was asked to be or not.
fn rings_by_itself(seat: &Seat) -> bool {
    matches!(seat.port.kind, Kind::Packet | Kind::Xdp)
}

//! Sleeping: on the queue's interrupt where the driver has one, else in naps.

use std::os::fd::RawFd;

use crate::DpdkError;
use crate::driver::Kind;
use crate::port::Seat;
use crate::sys::bell::Bell;
use crate::sys::port::link_is_up;

/// The first nap without an interrupt, in nanoseconds; each is twice as long as the one before.
const NAP_MIN: u64 = 20_000;

/// The longest nap, in nanoseconds: a thousand looks at a queue in a second are some per cent of a CPU.
const NAP_MAX: u64 = 1_000_000;

/// vhost forgets that we wanted an interrupt when its guest is replaced, and wakes nobody: so often it is looked after.
const VHOST_LOOK: u64 = 20_000_000;

/// How a queue's thread sleeps.
#[derive(Debug)]
pub(crate) struct Idle {
    bell: Option<Bell>,
    is_armed: bool,
    nap: u64,
}

impl Idle {
    /// Listens to this descriptor of a driver, if it has one.
    pub(crate) fn new(interrupt: Option<RawFd>) -> Result<Idle, DpdkError> {
        let bell = interrupt.map(Bell::new).transpose();
        let bell = bell.map_err(|source| DpdkError::Io { what: "listen to a queue's interrupt", source })?;
        Ok(Idle { bell, is_armed: false, nap: NAP_MIN })
    }

    /// What becomes readable when a frame comes.
    pub(crate) fn fd(&self) -> Option<RawFd> {
        self.bell.as_ref().map(Bell::fd)
    }

    /// Something came: the next nap is short.
    #[inline]
    pub(crate) fn stir(&mut self) {
        self.nap = NAP_MIN;
    }

    /// Readies the queue for sleep, of at most so many nanoseconds. `None`: until it rings.
    pub(crate) fn arm(&mut self, seat: &Seat, is_stuck: bool) -> Option<u64> {
        self.is_armed = self.bell.is_some() && seat.lane.enable_interrupt();
        if !self.is_armed || is_stuck {
            return Some(self.nap());
        }
        let forgets = seat.port.kind == Kind::Vhost || !link_is_up(seat.port.number);
        forgets.then_some(VHOST_LOOK)
    }

    fn nap(&mut self) -> u64 {
        let nap = self.nap;
        self.nap = (nap * 2).min(NAP_MAX);
        nap
    }

    pub(crate) fn disarm(&mut self, seat: &Seat) {
        if let Some(bell) = self.bell.as_ref().filter(|_| self.is_armed) {
            seat.lane.disable_interrupt();
            bell.silence();
        }
        self.is_armed = false;
    }
}

//! What most connections have no use for, in two boxes: one for what an application, a path or a peer asks for beyond the
//! usual, one for whoever moves much. Without them a connection is as large as two pointers say.
//!
//! A box is made once and is as large as its type, whatever a peer sends: so the number of connections bounds them, as it
//! does [`Repair`](super::recovery::Repair), and they are not in the account of buffers.

use alloc::boxed::Box;

use hayase_time::Instant;

use super::buffers::Intake;
use super::congestion::Algorithm;
use super::connection::Connection;
use super::fastopen::FastOpen;
use super::info::DeliveryRate;
use super::keepalive::Probing;
use super::mishaps::Mishaps;
use super::options::Wishes;
use super::path_mtu::PathMtu;
use crate::error::Error;
use crate::seq::Seq;

/// What few connections have. What is large and has few of them in turn is boxed again.
#[derive(Debug, Default)]
pub(super) struct Rare {
    /// Keep-alive, or the end of patience with a connection that nobody owns any more. `None`: neither.
    pub(super) idle_at: Option<Instant>,
    /// RCV.UP: the end of what the peer marked as urgent, until the application has read up to it.
    pub(super) rcv_up: Option<Seq>,
    /// A duplicate that the next ACK reports (RFC 2883).
    pub(super) dsack: Option<(Seq, Seq)>,
    /// Segments that arrived before their turn.
    pub(super) ofo_segs: u32,
    /// Where the peer's FIN stands, when it arrived before data in front of it.
    pub(super) early_fin: Option<Seq>,
    /// Until this is acknowledged, what routers marked left before the window became smaller (RFC 3168 §6.1.2).
    pub(super) reduced_until: Option<Seq>,
    /// What ended the connection, until the application has heard of it.
    pub(super) hard_error: Option<Box<Error>>,
    /// What a router said of the path (RFC 9293 §3.9.2.2, MUST-47), and how many bytes had been acknowledged by then.
    pub(super) soft_error: Option<Box<(Error, u64)>>,
    pub(super) probing: Option<Box<Probing>>,
    pub(super) wishes: Option<Box<Wishes>>,
    /// Data that goes with a SYN, until the handshake is over.
    pub(super) fast_open: Option<Box<FastOpen>>,
    /// Where the path turned out to be narrower than both ends' links.
    pub(super) path_mtu: Option<Box<PathMtu>>,
    /// Once there was one.
    pub(super) mishaps: Option<Box<Mishaps>>,
}

impl Rare {
    /// Whether it says nothing that its absence would not.
    fn is_empty(&self) -> bool {
        matches!(
            self,
            Rare {
                idle_at: None,
                rcv_up: None,
                dsack: None,
                ofo_segs: 0,
                early_fin: None,
                reduced_until: None,
                hard_error: None,
                soft_error: None,
                probing: None,
                wishes: None,
                fast_open: None,
                path_mtu: None,
                mishaps: None,
            }
        )
    }

    /// Whether nothing of it asks for more than the short ways do.
    pub(super) fn is_quiet(&self) -> bool {
        self.early_fin.is_none()
            && self.dsack.is_none()
            && self.reduced_until.is_none()
            && self.probing.is_none()
            && self.path_mtu.as_ref().is_none_or(|path| !path.is_probing())
    }
}

/// What a connection has that filled its congestion window, or whose application took much.
#[derive(Debug)]
pub(super) struct Bulk {
    /// What congestion control keeps.
    pub(super) algorithm: Algorithm,
    /// When data may go that pacing holds back. `Instant::MAX`: there is none.
    pub(super) held_until: Instant,
    /// The most bytes that were outstanding while that was much of the congestion window.
    pub(super) flight_max: u32,
    /// What the first acknowledgement of a turn found outstanding; 0 if that was not much of the window, or all of it is
    /// acknowledged.
    pub(super) turn_flight: u32,
    /// Which turn: its time in microseconds, which comes round.
    pub(super) turn_at: u32,
    pub(super) delivery_rate: Option<DeliveryRate>,
    pub(super) intake: Option<Intake>,
}

impl Bulk {
    pub(super) fn new(algorithm: Algorithm) -> Bulk {
        Bulk {
            algorithm,
            held_until: Instant::MAX,
            flight_max: 0,
            turn_flight: 0,
            turn_at: 0,
            delivery_rate: None,
            intake: None,
        }
    }
}

impl<F> Connection<F> {
    pub(super) fn rare(&self) -> Option<&Rare> {
        self.rare.as_deref()
    }

    /// The same, from now on if it was not there.
    pub(super) fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Until when marks are of a window that became smaller since.
    pub(super) fn reduced_until(&self) -> Option<Seq> {
        self.rare.as_ref().and_then(|rare| rare.reduced_until)
    }

    /// The duplicate that the next ACK reports.
    #[inline(always)]
    pub(super) fn dsack(&self) -> Option<(Seq, Seq)> {
        self.rare.as_ref().and_then(|rare| rare.dsack)
    }

    /// Whether the peer marked something as urgent that the application has not read.
    #[inline(always)]
    pub(super) fn is_urgent(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.rcv_up.is_some())
    }

    /// Whether the application has not heard yet of what ended the connection.
    pub(super) fn has_failed(&self) -> bool {
        self.rare().is_some_and(|rare| rare.hard_error.is_some())
    }

    /// What a router said of the path, unless something was acknowledged since, which it has overcome.
    pub(super) fn soft_error(&self) -> Option<Error> {
        let (error, bytes_acked) = self.rare()?.soft_error.as_deref()?;
        (*bytes_acked == self.tally.bytes_acked).then_some(*error)
    }

    pub(super) fn set_soft_error(&mut self, error: Error) {
        let bytes_acked = self.tally.bytes_acked;
        self.rare_mut().soft_error = Some(Box::new((error, bytes_acked)));
    }

    pub(super) fn path_mtu(&self) -> Option<&PathMtu> {
        self.rare.as_ref().and_then(|rare| rare.path_mtu.as_deref())
    }

    pub(super) fn path_mtu_mut(&mut self) -> Option<&mut PathMtu> {
        self.rare.as_mut().and_then(|rare| rare.path_mtu.as_deref_mut())
    }

    pub(super) fn mishaps(&self) -> Option<&Mishaps> {
        self.rare.as_ref().and_then(|rare| rare.mishaps.as_deref())
    }

    /// The same, from now on if it was not there.
    pub(super) fn mishaps_mut(&mut self) -> &mut Mishaps {
        self.rare_mut().mishaps.get_or_insert_default()
    }

    pub(super) fn fast_open(&self) -> Option<&FastOpen> {
        self.rare.as_ref().and_then(|rare| rare.fast_open.as_deref())
    }

    pub(super) fn fast_open_mut(&mut self) -> Option<&mut FastOpen> {
        self.rare.as_mut().and_then(|rare| rare.fast_open.as_deref_mut())
    }

    /// The handshake is over. What was there for it alone goes, so that Fast Open leaves nothing behind.
    pub(super) fn take_fast_open(&mut self) -> Option<Box<FastOpen>> {
        let rare = self.rare.as_mut()?;
        let fast = rare.fast_open.take();
        if rare.is_empty() {
            self.rare = None;
        }
        fast
    }

    pub(super) fn probing(&self) -> Option<&Probing> {
        self.rare.as_ref().and_then(|rare| rare.probing.as_deref())
    }

    pub(super) fn probing_mut(&mut self) -> Option<&mut Probing> {
        self.rare.as_mut().and_then(|rare| rare.probing.as_deref_mut())
    }

    /// When keep-alive or patience is up.
    pub(super) fn idle_at(&self) -> Instant {
        self.rare.as_ref().and_then(|rare| rare.idle_at).unwrap_or(Instant::MAX)
    }

    pub(super) fn set_idle_at(&mut self, at: Option<Instant>) {
        if at.is_some() || self.rare.is_some() {
            self.rare_mut().idle_at = at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::tcp::connection::Opening;
    use crate::tcp::flow::Tuple;
    use crate::tcp::state::State;
    use hayase_device::heap::HeapFrame;

    #[test]
    fn a_box_that_says_nothing_goes_with_the_handshake() {
        let tuple = Tuple::new(([10, 0, 0, 1], 80).into(), ([10, 0, 0, 2], 1000).into());
        let (state, iss, now) = (State::SynSent, Seq(0), Instant::ZERO);
        let opening = Opening { tuple, state, iss, ts_offset: 0, mss: 1460, now };
        let mut connection: Connection<HeapFrame> = Connection::new(opening, &Config::default());
        connection.rare_mut();
        connection.take_fast_open();
        assert!(connection.rare.is_none());
        connection.rare_mut().wishes = Some(Box::default());
        connection.take_fast_open();
        assert!(connection.rare.is_some());
    }
}

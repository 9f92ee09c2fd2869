//! Explicit congestion notification (RFC 3168): a router that begins to queue marks packets instead of dropping them, the
//! receiver says so until it is heard, and the sender makes its window smaller once a round trip.

use hayase_device::Frame;

use super::connection::{AckDebt, Connection};
use super::segment::Segment;
use super::segment_arrives::Context;
use super::state::State;
use crate::config::Config;
use crate::counters::Count;
use crate::wire::tcp::{Flags, TcpHeader};

/// What a host does about explicit congestion notification (Linux's `tcp_ecn`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Ecn {
    /// It neither asks for it nor agrees to it.
    Off,
    /// It agrees if the peer asks.
    #[default]
    Accept,
    /// It asks as well. Where a SYN that asks is not answered, the next does not.
    Request,
}

/// ECT(0): whoever sent this packet understands marks (RFC 3168 §5).
const ECT_0: u8 = 0b10;

/// In a SYN: the sender asks for ECN (RFC 3168 §6.1.1).
pub(super) const SETUP: Flags = Flags(Flags::ECE.0 | Flags::CWR.0);

/// ECN of one connection.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Notification {
    /// ECT(0) if both ends agreed, else 0: what new data has in the lower two bits of its type of service.
    pub(super) ect: u8,
    /// Our SYN asked.
    pub(super) requested: bool,
    /// A mark arrived, and the peer has not said that it knows: every ACK says ECE.
    pub(super) echoes: bool,
    /// The window became smaller: the next new data says CWR.
    pub(super) cwr_due: bool,
}

impl Notification {
    /// Whether nothing is to be said of it.
    pub(super) fn is_quiet(&self) -> bool {
        !(self.echoes | self.cwr_due)
    }
}

impl<F: Frame> Connection<F> {
    /// What the ECN bits of a SYN or SYN-ACK mean: both bits ask, ECE alone agrees (RFC 3168 §6.1.1). Both in an answer
    /// come from a host that returns what it does not know.
    pub(super) fn agree_on_ecn(&mut self, header: &TcpHeader, config: &Config) {
        let bits = header.flags.0 & SETUP.0;
        let agreed = if header.flags.contains(Flags::ACK) {
            self.recovery.ecn.requested && bits == Flags::ECE.0
        } else {
            let is_wanted = if self.state == State::SynSent {
                self.recovery.ecn.requested
            } else {
                config.ecn != Ecn::Off
            };
            is_wanted && bits == SETUP.0
        };
        self.recovery.ecn.ect = if agreed { ECT_0 } else { 0 };
    }

    /// What ECN adds to the flags of a SYN (`is_answer`: of a SYN-ACK). A SYN that goes again asks no more: something on
    /// the way may drop those that do (§6.1.1.1).
    pub(super) fn ecn_setup_flags(&mut self, is_answer: bool, config: &Config) -> Flags {
        if is_answer {
            return if self.recovery.ecn.ect != 0 { Flags::ECE } else { Flags::default() };
        }
        self.recovery.ecn.requested = config.ecn == Ecn::Request && self.retries == 0;
        if self.recovery.ecn.requested { SETUP } else { Flags::default() }
    }

    /// The receiver's part (§6.1.3): marks are echoed until the sender says that its window is smaller. What is not data
    /// within the window never comes here (§6.1.5).
    #[inline]
    pub(super) fn check_marks(&mut self, segment: &Segment<'_, F>, cx: &mut Context<'_>) {
        if self.recovery.ecn.ect == 0 || segment.len == 0 {
            return;
        }
        if segment.has(Flags::CWR) {
            self.recovery.ecn.echoes = false;
            // Its window may have room for one segment: it waits for this ACK.
            self.owe_ack(AckDebt::Now);
        }
        if cx.is_marked && !self.recovery.ecn.echoes {
            self.recovery.ecn.echoes = true;
            self.owe_ack(AckDebt::Now);
        }
    }

    /// The window became smaller, for whatever reason (RFC 3168 §6.1.2).
    pub(super) fn note_reduction(&mut self) {
        if self.recovery.ecn.ect != 0 {
            self.recovery.ecn.cwr_due = true;
            self.rare_mut().reduced_until = Some(self.snd_nxt);
        }
    }

    /// The sender's part (§6.1.2): ECE makes the window smaller, once for all that is outstanding. Returns whether the
    /// acknowledgement is one that must not make it larger.
    pub(super) fn take_echo(&mut self, segment: &Segment<'_, F>, cx: &mut Context<'_>) -> bool {
        if let Some(rare) = &mut self.rare {
            rare.reduced_until.take_if(|until| segment.header.ack.after(*until));
        }
        if self.recovery.ecn.ect == 0 || !segment.has(Flags::ECE) || segment.has(Flags::SYN) {
            return false;
        }
        if self.reduced_until().is_none() && self.recovery.is_open() && self.flight() > 0 {
            cx.counters.count(Count::EcnReductions);
            self.congestion.on_congestion(self.mss, cx.now);
            self.note_reduction();
        }
        true
    }
}

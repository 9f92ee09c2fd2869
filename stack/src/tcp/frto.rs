//! F-RTO (RFC 5682 §2.1, §3.1): was the timeout needless? Where the peer has no timestamps, which tell at once
//! ([`undo`](super::undo)), it is found out by sending something new. One segment goes again. If what is acknowledged then
//! goes beyond it, new data follows instead of more repetitions, and if that moves the acknowledgements on, they are of what
//! was sent first: it was late, and not lost. With SACK, duplicates that are reported would tell as well, but only after all
//! of it went again.

use hayase_device::Frame;

use super::connection::Connection;
use super::loss::Report;
use super::segment_arrives::Context;
use crate::counters::Count;
use crate::seq::Seq;

/// Segments to which the window is set if the timeout was not needless after all (§2.1, step 3a).
const CWND_SEGMENTS: u32 = 3;

/// How far the question has been answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frto {
    /// The timer ran out, nothing went again yet (step 1).
    Begun,
    /// What lies before this went again.
    Repeated(Seq),
    /// New data is out (step 2b): the next acknowledgement tells (step 3).
    Testing,
}

impl Frto {
    /// `to` is the end of what went again. Where more than one segment goes again, what is acknowledged may be either's.
    pub(super) fn on_retransmit(self, to: Seq) -> Option<Frto> {
        if self == Frto::Begun { Some(Frto::Repeated(to)) } else { None }
    }
}

impl<F: Frame> Connection<F> {
    /// Steps 2 and 3. Without an answer the usual recovery goes on.
    pub(super) fn judge_timeout(&mut self, report: &Report, cx: &mut Context<'_>) {
        let Some(frto) = self.recovery.frto() else { return };
        if !report.has_progress {
            // With SACK, what arrives behind a hole speaks for a loss as a duplicate does (§3.1, step 3a); a duplicate that
            // the peer itself has received does not.
            let is_duplicate = report.is_bare_duplicate && report.dsack.is_none();
            if is_duplicate || report.delivered > 0 {
                self.recovery.set_frto(None);
                if frto == Frto::Testing {
                    self.congestion.set_cwnd(CWND_SEGMENTS * self.mss);
                }
            }
            return;
        }
        match frto {
            // All that went again, and no more than was out when the timer ran out: that may be the answer to either.
            Frto::Repeated(end) if self.snd_una.at_or_after(end) && self.has_something_new() => {
                self.recovery.set_frto(Some(Frto::Testing));
            }
            Frto::Testing => {
                self.recovery.set_frto(None);
                cx.counters.count(Count::SpuriousRtos);
                self.undo_recovery();
            }
            Frto::Begun | Frto::Repeated(_) => self.recovery.set_frto(None),
        }
    }

    /// Whether a segment of new data may go now.
    fn has_something_new(&self) -> bool {
        let unsent = self.unsent_len();
        let len = unsent.min(self.usable_window()).min(self.mss);
        len > 0 && self.is_worth_sending(len, unsent)
    }
}

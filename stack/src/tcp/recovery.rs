//! What to send again, and when: NewReno (RFC 6582) and SACK-based recovery (RFC 6675) as one machine.
//!
//! Everything is said in three sequence numbers: what is outstanding starts at SND.UNA, everything below the
//! *loss edge* that the peer does not hold is lost, and everything below `high_rxt` was sent again already.
//! With SACK the scoreboard moves the loss edge, without it duplicate ACKs expose one segment at a time, after a
//! timeout the edge is the end of all that was sent. RACK-TLP will move the same edge by time.

use super::sack::{DUP_THRESH, Scoreboard};
use crate::seq::Seq;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    /// Nothing is known to be lost.
    #[default]
    Open,
    /// Loss was found by acknowledgements (fast recovery).
    Fast,
    /// The retransmission timer ran out: all that was outstanding is presumed lost.
    Loss,
}

#[derive(Debug, Default)]
pub(super) struct Recovery {
    phase: Phase,
    /// Recovery ends when this is acknowledged.
    recover: Seq,
    /// End of what was retransmitted in this recovery.
    high_rxt: Seq,
    /// Duplicate ACKs since SND.UNA last moved.
    dup_acks: u32,
    pub(super) scoreboard: Scoreboard,
}

impl Recovery {
    pub(super) fn new(iss: Seq) -> Recovery {
        Recovery { recover: iss, high_rxt: iss, ..Recovery::default() }
    }

    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Nothing is lost or looks like it.
    pub(super) fn is_quiet(&self) -> bool {
        self.phase == Phase::Open && self.scoreboard.is_empty() && self.dup_acks == 0
    }

    /// In fast recovery: the congestion window stands still.
    #[inline]
    pub(super) fn is_fast(&self) -> bool {
        self.phase == Phase::Fast
    }

    /// Everything before `una` was acknowledged, `acked` bytes of it now.
    #[inline]
    pub(super) fn on_ack(&mut self, una: Seq, acked: u32, mss: u32) {
        self.scoreboard.advance(una);
        if self.phase == Phase::Open {
            self.dup_acks = 0;
            return;
        }
        if una.at_or_after(self.recover) {
            self.phase = Phase::Open;
            self.dup_acks = 0;
            return;
        }
        // A partial ACK: the next hole starts here (RFC 6582 §3.2 step 3), and what it covered has left the
        // network, so the duplicate ACKs that stood for it do so no more.
        self.high_rxt = self.high_rxt.max(una);
        self.dup_acks = self.dup_acks.saturating_sub(acked / mss.max(1));
    }

    /// A duplicate ACK arrived (RFC 5681 §2).
    pub(super) fn on_dup_ack(&mut self) {
        self.dup_acks = self.dup_acks.saturating_add(1);
    }

    /// Whether what is known by now means that the segment at SND.UNA is lost, and recovery must begin.
    pub(super) fn must_enter(&self, una: Seq, mss: u32) -> bool {
        // RFC 6582 §3.2 step 2: after a timeout, duplicates of what it resent prove nothing. The phase says that
        // `recover` is behind; a comparison would go wrong 2 GiB later.
        self.phase == Phase::Open
            && (self.dup_acks >= DUP_THRESH
                || self.scoreboard.loss_edge(mss).is_some_and(|edge| edge.after(una)))
    }

    /// Fast recovery begins.
    pub(super) fn enter_fast(&mut self, una: Seq, nxt: Seq) {
        self.phase = Phase::Fast;
        self.recover = nxt;
        self.high_rxt = una;
    }

    /// The retransmission timer ran out.
    pub(super) fn enter_loss(&mut self, una: Seq, nxt: Seq) {
        self.phase = Phase::Loss;
        self.recover = nxt;
        self.high_rxt = una;
        self.dup_acks = 0;
        self.scoreboard.clear();
    }

    /// Below this, what the peer does not hold is lost.
    fn loss_edge(&self, una: Seq, mss: u32) -> Seq {
        match self.phase {
            Phase::Open => una,
            Phase::Loss => self.recover,
            // At least the first segment: it is why we are here.
            Phase::Fast => (una + mss).max(self.scoreboard.loss_edge(mss).unwrap_or(una)).min(self.recover),
        }
    }

    /// The next stretch to send again.
    #[inline]
    pub(super) fn next_lost(&self, una: Seq, mss: u32) -> Option<(Seq, Seq)> {
        if self.phase == Phase::Open {
            return None;
        }
        self.scoreboard.next_gap(una.max(self.high_rxt), self.loss_edge(una, mss))
    }

    /// `..end` was sent again.
    pub(super) fn on_retransmit(&mut self, end: Seq) {
        self.high_rxt = self.high_rxt.max(end);
    }

    /// Bytes that are on their way (`pipe` of RFC 6675 §4): what is outstanding, less what arrived, less what
    /// is lost and not yet sent again.
    #[inline]
    pub(super) fn pipe(&self, una: Seq, nxt: Seq, mss: u32) -> u32 {
        let flight = nxt - una;
        if self.phase == Phase::Open && self.scoreboard.is_empty() {
            return flight;
        }
        let lost = self.scoreboard.gap_len(una.max(self.high_rxt), self.loss_edge(una, mss));
        // Without SACK each duplicate ACK stands for a segment that arrived: for no more of them than were out when
        // recovery began, or a liar could open the window at will (RFC 5681 §3.2).
        let arrived = match (self.phase, self.scoreboard.is_empty()) {
            (Phase::Fast, true) => self.dup_acks.saturating_mul(mss).min(self.recover.since(una)),
            _ => self.scoreboard.sacked_len(),
        };
        flight.saturating_sub(arrived).saturating_sub(lost)
    }

    /// Limited transmit (RFC 3042): bytes beyond the congestion window that the first two duplicate ACKs allow.
    #[inline]
    pub(super) fn limited_transmit(&self, mss: u32) -> u32 {
        match self.phase {
            Phase::Open => self.dup_acks.min(DUP_THRESH - 1) * mss,
            Phase::Fast | Phase::Loss => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1000;

    /// Ten segments of which the peer reported `sacked`.
    fn ten(sacked: &[(u32, u32)]) -> Recovery {
        let mut recovery = Recovery::new(Seq(0));
        for (l, r) in sacked {
            recovery.scoreboard.add((Seq(*l), Seq(*r)), Seq(0), Seq(10_000));
        }
        recovery
    }

    #[test]
    fn sack_sends_every_hole_once_and_nothing_that_arrived() {
        let mut recovery = ten(&[(1000, 3000), (4000, 7000)]);
        assert!(recovery.must_enter(Seq(0), MSS));
        recovery.enter_fast(Seq(0), Seq(10_000));
        assert_eq!(recovery.next_lost(Seq(0), MSS), Some((Seq(0), Seq(1000))));
        assert_eq!(recovery.pipe(Seq(0), Seq(10_000), MSS), 10_000 - 5000 - 2000);
        recovery.on_retransmit(Seq(1000));
        assert_eq!(recovery.next_lost(Seq(0), MSS), Some((Seq(3000), Seq(4000))));
        recovery.on_retransmit(Seq(4000));
        assert_eq!(recovery.next_lost(Seq(0), MSS), None, "7000.. has nothing above it");
        assert_eq!(recovery.pipe(Seq(0), Seq(10_000), MSS), 5000);
        recovery.on_ack(Seq(10_000), 10_000, MSS);
        assert!(recovery.is_open());
    }

    #[test]
    fn without_sack_a_partial_ack_exposes_the_next_hole() {
        let mut recovery = ten(&[]);
        (0..3).for_each(|_| recovery.on_dup_ack());
        assert!(recovery.must_enter(Seq(0), MSS));
        recovery.enter_fast(Seq(0), Seq(10_000));
        assert_eq!(recovery.next_lost(Seq(0), MSS), Some((Seq(0), Seq(1000))));
        recovery.on_retransmit(Seq(1000));
        assert_eq!(recovery.next_lost(Seq(0), MSS), None);
        assert_eq!(recovery.pipe(Seq(0), Seq(10_000), MSS), 7000);
        recovery.on_ack(Seq(4000), 4000, MSS);
        assert_eq!(recovery.next_lost(Seq(4000), MSS), Some((Seq(4000), Seq(5000))));
    }

    #[test]
    fn after_a_timeout_everything_goes_again() {
        let mut recovery = ten(&[(5000, 6000)]);
        recovery.enter_loss(Seq(0), Seq(10_000));
        assert_eq!(recovery.next_lost(Seq(0), MSS), Some((Seq(0), Seq(10_000))));
        assert_eq!(recovery.pipe(Seq(0), Seq(10_000), MSS), 0);
        recovery.on_retransmit(Seq(1000));
        assert_eq!(recovery.pipe(Seq(0), Seq(10_000), MSS), 1000);
        recovery.on_ack(Seq(3000), 3000, MSS);
        assert_eq!(recovery.next_lost(Seq(3000), MSS), Some((Seq(3000), Seq(10_000))));
        assert!(!recovery.must_enter(Seq(3000), MSS));
    }

    #[test]
    fn a_loss_is_seen_however_long_ago_the_last_one_was() {
        let mut recovery = Recovery::new(Seq(0));
        let una = Seq(3 << 30);
        (0..3).for_each(|_| recovery.on_dup_ack());
        assert!(recovery.must_enter(una, MSS));
        recovery.enter_fast(una, una + 10_000);
        assert_eq!(recovery.next_lost(una, MSS), Some((una, una + MSS)));
    }

    #[test]
    fn two_duplicates_release_new_data_only() {
        let mut recovery = ten(&[]);
        recovery.on_dup_ack();
        assert_eq!(recovery.limited_transmit(MSS), 1000);
        recovery.on_dup_ack();
        assert!(!recovery.must_enter(Seq(0), MSS) && recovery.limited_transmit(MSS) == 2000);
    }
}

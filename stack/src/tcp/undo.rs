//! Was it needless? A retransmission is spurious if what it repeated had arrived: the Eifel algorithm sees it by the
//! timestamp that comes back (RFC 3522), and duplicates that the peer reports prove it afterwards (RFC 2883, RFC
//! 3708). Then the congestion window is what it was (RFC 4015).

use core::ops::Range;

use crate::seq::Seq;

/// What to go back to if a recovery turns out to be needless.
#[derive(Debug, Clone)]
pub(super) struct Undo {
    pub(super) cwnd: u32,
    pub(super) ssthresh: u32,
    /// What was outstanding when recovery began: duplicates of anything else prove nothing.
    range: Range<Seq>,
    /// RetransmitTS: the timestamp of the first retransmission, until an acknowledgement of it came.
    stamp: Option<u32>,
    /// Bytes sent again that the peer has not reported as duplicates.
    unproven_len: u32,
}

impl Undo {
    pub(super) fn new(cwnd: u32, ssthresh: u32, range: Range<Seq>) -> Undo {
        Undo { cwnd, ssthresh, range, stamp: None, unproven_len: 0 }
    }

    /// `len` bytes were sent again, in a segment with this timestamp.
    pub(super) fn on_retransmit(&mut self, len: u32, stamp: Option<u32>) {
        if self.unproven_len == 0 {
            self.stamp = stamp;
        }
        self.unproven_len = self.unproven_len.saturating_add(len);
    }

    /// The first acknowledgement that makes progress: if it echoes an older timestamp than the retransmission's, it
    /// answers what was sent before (RFC 3522 §3.2, step 5).
    pub(super) fn is_refuted_by_echo(&mut self, echo: Option<u32>) -> bool {
        let (Some(stamp), Some(echo)) = (self.stamp.take(), echo) else { return false };
        (echo.wrapping_sub(stamp) as i32) < 0
    }

    /// The peer reported a duplicate. Whether all that was sent again is now known to have arrived twice.
    pub(super) fn is_refuted_by_dsack(&mut self, (left, right): (Seq, Seq)) -> bool {
        if left.before(self.range.start) || right.after(self.range.end) {
            return false;
        }
        let was = self.unproven_len;
        self.unproven_len = was.saturating_sub(right - left);
        was > 0 && self.unproven_len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_from_before_the_retransmission_refutes_it_and_only_the_first_counts() {
        let mut undo = Undo::new(10_000, 5000, Seq(0)..Seq(10_000));
        undo.on_retransmit(1000, Some(u32::MAX - 5));
        undo.on_retransmit(1000, Some(3));
        assert!(undo.is_refuted_by_echo(Some(u32::MAX - 6)));
        assert!(!undo.is_refuted_by_echo(Some(u32::MAX - 6)));
        let mut undo = Undo::new(10_000, 5000, Seq(0)..Seq(10_000));
        undo.on_retransmit(1000, Some(7));
        assert!(!undo.is_refuted_by_echo(Some(7)));
    }

    #[test]
    fn every_byte_that_was_repeated_must_be_a_duplicate() {
        let mut undo = Undo::new(10_000, 5000, Seq(0)..Seq(10_000));
        undo.on_retransmit(1000, None);
        undo.on_retransmit(1000, None);
        assert!(!undo.is_refuted_by_dsack((Seq(0), Seq(1000))));
        assert!(!undo.is_refuted_by_dsack((Seq(12_000), Seq(14_000))), "of another time");
        assert!(undo.is_refuted_by_dsack((Seq(1000), Seq(2000))));
        assert!(!undo.is_refuted_by_dsack((Seq(1000), Seq(2000))));
    }
}

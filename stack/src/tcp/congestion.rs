//! How much may be in flight: congestion control as a trait, and NewReno.
//!
//! Loss detection and what to resend are [`recovery`](super::recovery)'s; a controller only says how large
//! the window is. All sizes are bytes.

use hayase_time::Instant;

/// A congestion controller.
pub(crate) trait CongestionControl {
    /// The congestion window.
    fn cwnd(&self) -> u32;

    /// The slow start threshold.
    fn ssthresh(&self) -> u32;

    /// Fast recovery sets the window itself, and is over when that is the threshold.
    fn set_cwnd(&mut self, cwnd: u32);

    /// A reduction turned out to be needless: what it reduced from.
    fn restore(&mut self, cwnd: u32, ssthresh: u32);

    /// `acked` new bytes were acknowledged outside of recovery, while `limited` by the window (and not by the
    /// application: RFC 9293 leaves it open, RFC 2861 and everybody since does not let an unused window grow).
    fn on_ack(&mut self, now: Instant, acked: u32, mss: u32, limited: bool);

    /// Loss was found by acknowledgements: recovery begins with `flight` bytes outstanding.
    fn on_loss(&mut self, now: Instant, flight: u32, mss: u32);

    /// The retransmission timer ran out.
    fn on_timeout(&mut self, now: Instant, flight: u32, mss: u32, repeated: bool);

    /// A SYN of ours had to be sent again: the initial window is one segment (RFC 5681 §3.1).
    fn on_handshake_loss(&mut self, mss: u32);

    /// Nothing was sent for longer than an RTO (RFC 5681 §4.1).
    fn on_idle(&mut self, mss: u32);
}

/// The initial window of RFC 6928: ten segments, at most 14,600 bytes or two segments.
pub(crate) fn initial_window(mss: u32) -> u32 {
    (10 * mss).min((2 * mss).max(14_600))
}

/// RFC 5681's congestion avoidance as NewReno (RFC 6582) uses it, with growth counted in bytes (RFC 3465).
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewReno {
    cwnd: u32,
    ssthresh: u32,
    /// Bytes acknowledged towards the next segment of congestion avoidance.
    acked: u32,
}

/// A window beyond this is no window: it only could overflow.
const CWND_MAX: u32 = 1 << 30;

impl NewReno {
    pub(crate) fn new(mss: u32) -> NewReno {
        NewReno { cwnd: initial_window(mss), ssthresh: CWND_MAX, acked: 0 }
    }
}

impl CongestionControl for NewReno {
    #[inline]
    fn cwnd(&self) -> u32 {
        self.cwnd
    }

    fn ssthresh(&self) -> u32 {
        self.ssthresh
    }

    fn set_cwnd(&mut self, cwnd: u32) {
        self.cwnd = cwnd.min(CWND_MAX);
    }

    fn restore(&mut self, cwnd: u32, ssthresh: u32) {
        self.cwnd = self.cwnd.max(cwnd);
        self.ssthresh = self.ssthresh.max(ssthresh);
    }

    #[inline]
    fn on_ack(&mut self, _now: Instant, acked: u32, mss: u32, limited: bool) {
        if !limited {
            return;
        }
        // One ACK may cover many segments (LRO, GRO, stretch ACKs): RFC 3465 with L unbounded would burst, so a
        // single ACK opens the window by what it acknowledged, never beyond doubling, and slow start ends at
        // ssthresh in the middle of it.
        let slow = acked.min(self.cwnd).min(self.ssthresh.saturating_sub(self.cwnd));
        self.cwnd += slow;
        if self.cwnd < self.ssthresh {
            return;
        }
        self.acked += acked - slow;
        if self.acked >= self.cwnd {
            self.acked -= self.cwnd;
            self.cwnd = (self.cwnd + mss).min(CWND_MAX);
        }
    }

    fn on_loss(&mut self, _now: Instant, flight: u32, mss: u32) {
        // RFC 5681 equation (4)
        self.ssthresh = (flight / 2).max(2 * mss);
        self.cwnd = self.ssthresh;
        self.acked = 0;
    }

    fn on_timeout(&mut self, _now: Instant, flight: u32, mss: u32, repeated: bool) {
        // A second timeout of the same segment leaves ssthresh alone (RFC 5681 §3.1).
        if !repeated {
            self.ssthresh = (flight / 2).max(2 * mss);
        }
        self.cwnd = mss;
        self.acked = 0;
    }

    fn on_handshake_loss(&mut self, mss: u32) {
        self.cwnd = mss;
    }

    fn on_idle(&mut self, mss: u32) {
        self.cwnd = self.cwnd.min(initial_window(mss));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1000;

    #[test]
    fn doubles_then_adds_one_segment_a_round() {
        let now = Instant::ZERO;
        let mut reno = NewReno::new(MSS);
        assert_eq!(reno.cwnd(), 10_000);
        reno.on_ack(now, 10_000, MSS, true);
        assert_eq!(reno.cwnd(), 20_000);
        reno.on_ack(now, 5000, MSS, false);
        assert_eq!(reno.cwnd(), 20_000, "an unused window does not grow");
        reno.on_loss(now, 20_000, MSS);
        assert_eq!(reno.cwnd(), 10_000);
        for _ in 0..10 {
            reno.on_ack(now, MSS, MSS, true);
        }
        assert_eq!(reno.cwnd(), 11_000);
    }

    #[test]
    fn a_timeout_starts_over_and_a_second_one_keeps_the_threshold() {
        let now = Instant::ZERO;
        let mut reno = NewReno::new(MSS);
        reno.on_timeout(now, 8000, MSS, false);
        assert_eq!(reno.cwnd(), MSS);
        reno.on_timeout(now, 1000, MSS, true);
        for _ in 0..3 {
            reno.on_ack(now, reno.cwnd(), MSS, true);
        }
        assert_eq!(reno.cwnd(), 5000, "slow start up to ssthresh 4000, then one a round");
    }

    #[test]
    fn the_initial_window_is_rfc_6928s() {
        assert_eq!([536, 1460, 8960].map(initial_window), [5360, 14_600, 17_920]);
    }
}

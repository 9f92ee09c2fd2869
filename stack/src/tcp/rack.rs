//! RACK (RFC 8985 §6): what was sent well before something that arrived, and has not arrived itself, is lost.

use hayase_time::Instant;

use super::flight::{Run, Scoreboard};
use crate::seq::Seq;

/// Recoveries without a duplicate after which the reordering window is what it was (RFC 8985 §6.2, step 4).
const REO_WND_PERSIST: u8 = 16;

/// On a path of a few microseconds it is the hosts that reorder: cores, queues and bursts.
const REO_WND_MIN_NS: u64 = 1_000_000;

/// RACK's variables, under the RFC's names.
#[derive(Debug)]
pub(super) struct Rack {
    /// RACK.xmit_ts and RACK.end_seq: of all that was delivered, what was sent last.
    xmit_at: Instant,
    end_seq: Seq,
    /// RACK.rtt
    rtt_ns: u64,
    /// RACK.fack: the highest that was delivered.
    fack: Seq,
    /// RACK.reordering_seen, and how often.
    reord_seen: u32,
    reo_wnd_mult: u8,
    reo_wnd_persist: u8,
    /// RACK.dsack_round: until this is acknowledged, further duplicates are of the same round.
    dsack_round: Option<Seq>,
}

/// What decides how much later than its successors a segment may arrive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Path {
    pub(super) min_rtt_us: u32,
    pub(super) srtt_us: u32,
    /// In recovery, or with so much SACKed that waiting for more is needless unless the path is known to reorder.
    pub(super) is_urgent: bool,
}

/// An acknowledgement, and what it says of when that left which it answers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) now: Instant,
    pub(super) min_rtt_us: u32,
    /// Milliseconds since the timestamp that it echoes. Only where it moves SND.UNA: what arrives behind a hole is not echoed
    /// (RFC 7323 §4.3).
    pub(super) echo_age_ms: Option<u32>,
}

impl Answer {
    /// Step 2: whether, what went again last so long ago, an earlier transmission is answered: sooner than the path allows, or
    /// by a timestamp from before.
    fn is_of_an_earlier(&self, rtt_ns: u64) -> bool {
        // Both ends of an age are cut to whole milliseconds.
        let is_older = |age: u32| u64::from(age.saturating_sub(1)) * 1_000_000 > rtt_ns;
        rtt_ns < u64::from(self.min_rtt_us) * 1000 || self.echo_age_ms.is_some_and(is_older)
    }
}

impl Rack {
    pub(super) fn new(una: Seq) -> Rack {
        Rack {
            xmit_at: Instant::ZERO,
            end_seq: una,
            rtt_ns: 0,
            fack: una,
            reord_seen: 0,
            reo_wnd_mult: 1,
            reo_wnd_persist: 0,
            dsack_round: None,
        }
    }

    /// Steps 2 and 3: something was delivered. In one acknowledgement, lower sequence numbers come first.
    pub(super) fn delivered(&mut self, run: &Run, answer: Answer) {
        if run.end.at_or_after(self.fack) {
            self.fack = run.end;
        } else if !run.ambiguous {
            self.reord_seen = self.reord_seen.saturating_add(1);
        }
        let rtt_ns = answer.now.nanos_since(run.sent_at);
        if run.ambiguous && answer.is_of_an_earlier(rtt_ns) {
            return;
        }
        self.rtt_ns = rtt_ns;
        if is_sent_after((run.sent_at, run.end), (self.xmit_at, self.end_seq)) {
            (self.xmit_at, self.end_seq) = (run.sent_at, run.end);
        }
    }

    /// Step 4, first half: the peer reported a duplicate, so something was sent again without need: wait longer.
    /// Once a round trip.
    pub(super) fn on_dsack(&mut self, una: Seq, nxt: Seq) {
        if self.dsack_round.is_none_or(|round| una.at_or_after(round)) {
            self.dsack_round = Some(nxt);
            self.reo_wnd_mult = self.reo_wnd_mult.saturating_add(1);
            self.reo_wnd_persist = REO_WND_PERSIST;
        }
    }

    /// Step 4, second half.
    pub(super) fn on_recovered(&mut self) {
        // All that was outstanding at the last report is acknowledged. Kept, it would be a number that comes again.
        self.dsack_round = None;
        self.reo_wnd_persist = self.reo_wnd_persist.saturating_sub(1);
        if self.reo_wnd_persist == 0 {
            self.reo_wnd_mult = 1;
        }
    }

    /// Stretches that arrived later than what was sent after them.
    pub(super) fn reord_seen(&self) -> u32 {
        self.reord_seen
    }

    /// RACK.reo_wnd, in nanoseconds.
    fn reo_wnd_ns(&self, path: Path) -> u64 {
        if self.reord_seen == 0 && path.is_urgent {
            return 0;
        }
        let wnd_us = u64::from(self.reo_wnd_mult) * u64::from(path.min_rtt_us / 4);
        (wnd_us.min(u64::from(path.srtt_us)) * 1000).max(REO_WND_MIN_NS)
    }

    /// Step 5: finds what is lost. Returns how many bytes are newly so, and after how many nanoseconds more will be
    /// unless it arrives.
    /// `lost` sees what is.
    pub(super) fn detect(
        &self,
        board: &mut Scoreboard<'_>,
        path: Path,
        now: Instant,
        lost: impl FnMut(&Run, u32),
    ) -> (u32, u64) {
        let patience_ns = self.rtt_ns + self.reo_wnd_ns(path);
        let remaining = |run: &Run| {
            // What was sent again left behind all that left at the same time.
            let end = if run.ambiguous { self.end_seq } else { run.end };
            is_sent_after((self.xmit_at, self.end_seq), (run.sent_at, end))
                .then(|| run.sent_at.after_nanos(patience_ns).nanos_since(now))
        };
        board.lose_overdue(remaining, lost)
    }
}

/// RACK_sent_after: what left at the same time left in the order of its sequence numbers.
fn is_sent_after((a, a_end): (Instant, Seq), (b, b_end): (Instant, Seq)) -> bool {
    a > b || (a == b && a_end.after(b_end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::flight::{Account, Fate, Flight};

    const PATH: Path = Path { min_rtt_us: 40_000, srtt_us: 50_000, is_urgent: false };

    /// Ten segments sent a millisecond apart, the first at 0, of which `sacked` arrived after 40 ms.
    fn lost_at(millis: u64, urgent: bool, sacked: core::ops::Range<u32>) -> (u32, u64) {
        let (mut flight, mut account, mut rack) = (Flight::default(), Account::default(), Rack::new(Seq(0)));
        (0..10).for_each(|n| flight.send(Seq((n + 1) * 1000), Instant::from_millis(n.into())));
        let now = Instant::from_millis(39 + u64::from(sacked.end));
        let mut board = Scoreboard::new(&mut flight, &mut account, Seq(0));
        board.sack((Seq(sacked.start * 1000), Seq(sacked.end * 1000)), |run, _| {
            rack.delivered(run, Answer { now, min_rtt_us: 40_000, echo_age_ms: None });
        });
        rack.detect(&mut board, Path { is_urgent: urgent, ..PATH }, Instant::from_millis(millis), |_, _| {})
    }

    #[test]
    fn what_a_quarter_of_the_round_trip_does_not_bring_is_lost() {
        assert_eq!(lost_at(41, false, 1..2), (0, 9_000_000), "0 + 40 + 10 ms");
        assert_eq!(lost_at(50, false, 1..2), (1000, 0));
    }

    /// RFC 8985 §6.2, step 2: what went again 54 ms ago, on a path of 20 ms, and what is echoed left before that, or then.
    #[test]
    fn an_echo_from_before_a_retransmission_is_of_an_earlier_one() {
        let at = Instant::from_millis;
        let run = Run { end: Seq(1000), sent_at: at(226), fate: Fate::Pending, ambiguous: true };
        for (echo_age_ms, xmit_at) in [(Some(260), Instant::ZERO), (Some(54), at(226)), (None, at(226))] {
            let mut rack = Rack::new(Seq(0));
            rack.delivered(&run, Answer { now: at(280), min_rtt_us: 20_000, echo_age_ms });
            assert_eq!(rack.xmit_at, xmit_at, "{echo_age_ms:?}");
        }
    }

    #[test]
    fn with_three_above_it_a_segment_is_lost_at_once() {
        assert_eq!(lost_at(43, true, 1..4), (1000, 0));
    }

    #[test]
    fn what_was_sent_later_is_not_judged() {
        assert_eq!(lost_at(4000, true, 0..4), (0, 0));
    }

    #[test]
    fn duplicates_widen_the_window_once_a_round_and_sixteen_recoveries_narrow_it() {
        let mut rack = Rack::new(Seq(0));
        rack.on_dsack(Seq(0), Seq(1000));
        rack.on_dsack(Seq(500), Seq(2000));
        assert_eq!(rack.reo_wnd_ns(PATH), 20_000_000);
        rack.on_dsack(Seq(1000), Seq(2000));
        assert_eq!(rack.reo_wnd_ns(PATH), 30_000_000);
        (0..40).for_each(|n| rack.on_dsack(Seq(2000 + n * 1000), Seq(3000 + n * 1000)));
        assert_eq!(rack.reo_wnd_ns(PATH), 50_000_000, "never beyond SRTT");
        (0..16).for_each(|_| rack.on_recovered());
        assert_eq!(rack.reo_wnd_ns(PATH), 10_000_000);
    }
}

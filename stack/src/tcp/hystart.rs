//! HyStart++ (RFC 9406): slow start ends when the round trip grows, not when the queue at the bottleneck overflows.

use super::congestion::Ack;
use crate::seq::Seq;

// RFC 9406 §4.3
const MIN_RTT_THRESH_US: u32 = 4_000;
const MIN_RTT_DIVISOR: u32 = 8;
const MAX_RTT_THRESH_US: u32 = 16_000;
const N_RTT_SAMPLE: u8 = 8;
const CSS_GROWTH_DIVISOR: u32 = 4;
const CSS_ROUNDS: u8 = 5;

/// What slow start may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// Grow by this part of what was acknowledged.
    Divided(u32),
    /// Leave slow start.
    Exit,
}

/// HyStart++'s variables, under the RFC's names.
#[derive(Debug, Default)]
pub(super) struct HyStart {
    /// windowEnd: the round is over when this is acknowledged.
    window_end: Option<Seq>,
    last_round_min_rtt_us: Option<u32>,
    current_round_min_rtt_us: Option<u32>,
    rtt_sample_count: u8,
    /// Conservative slow start: cssBaselineMinRtt and the rounds spent.
    css: Option<(u32, u8)>,
}

impl HyStart {
    /// One acknowledgement in slow start (§4.2).
    pub(super) fn on_ack(&mut self, ack: &Ack) -> Pace {
        if self.window_end.is_none_or(|end| is_over(end, ack)) && self.start_round(ack.nxt) {
            return Pace::Exit;
        }
        if ack.rtt_us > 0 {
            let least = self.current_round_min_rtt_us.map_or(ack.rtt_us, |min| min.min(ack.rtt_us));
            self.current_round_min_rtt_us = Some(least);
            self.rtt_sample_count = self.rtt_sample_count.saturating_add(1);
        }
        self.judge();
        Pace::Divided(if self.css.is_some() { CSS_GROWTH_DIVISOR } else { 1 })
    }

    /// Returns whether enough rounds of conservative slow start are over.
    fn start_round(&mut self, nxt: Seq) -> bool {
        self.window_end = Some(nxt);
        self.last_round_min_rtt_us = self.current_round_min_rtt_us.take();
        self.rtt_sample_count = 0;
        let Some((_, rounds)) = &mut self.css else { return false };
        *rounds += 1;
        *rounds >= CSS_ROUNDS
    }

    fn judge(&mut self) {
        let Some(current) = self.current_round_min_rtt_us.filter(|_| self.rtt_sample_count >= N_RTT_SAMPLE)
        else {
            return;
        };
        match (self.css, self.last_round_min_rtt_us) {
            // The delay was a passing one: slow start goes on.
            (Some((baseline, _)), _) if current < baseline => self.css = None,
            (None, Some(last)) => {
                let thresh = (last / MIN_RTT_DIVISOR).clamp(MIN_RTT_THRESH_US, MAX_RTT_THRESH_US);
                if current >= last.saturating_add(thresh) {
                    self.css = Some((current, 0));
                }
            }
            _ => {}
        }
    }
}

/// Whether the round that ends at `end` is over. The acknowledgement that leaves nothing outstanding is its last: there
/// is nothing yet by which the next could end.
fn is_over(end: Seq, ack: &Ack) -> bool {
    ack.una.after(end) || (ack.una == end && ack.nxt.after(ack.una))
}

#[cfg(test)]
mod tests {
    use super::super::congestion::tests::ack;
    use super::*;

    /// A round of ten acknowledgements, each of which measured so much.
    fn round(hystart: &mut HyStart, number: u32, rtt_ms: u32) -> Pace {
        let acks = (0..10).map(|n| Ack {
            una: Seq(number * 10 + n),
            nxt: Seq(number * 10 + 10),
            rtt_us: rtt_ms * 1000,
            ..ack(1000, 0)
        });
        acks.fold(Pace::Divided(1), |pace, ack| if pace == Pace::Exit { pace } else { hystart.on_ack(&ack) })
    }

    #[test]
    fn a_steady_path_is_left_alone() {
        let mut hystart = HyStart::default();
        assert!((0..20).all(|n| round(&mut hystart, n, 50 + n % 3) == Pace::Divided(1)));
    }

    #[test]
    fn a_growing_delay_slows_growth_and_then_ends_it() {
        let mut hystart = HyStart::default();
        round(&mut hystart, 0, 50);
        assert_eq!(round(&mut hystart, 1, 55), Pace::Divided(1), "less than an eighth");
        assert_eq!(round(&mut hystart, 2, 62), Pace::Divided(4));
        assert!((3..7).all(|n| round(&mut hystart, n, 63) == Pace::Divided(4)));
        assert_eq!(round(&mut hystart, 7, 63), Pace::Exit);
    }

    /// The last of them leaves nothing outstanding: what leaves then is of the next round.
    #[test]
    fn acknowledgements_that_come_together_are_one_round() {
        let together = |hystart: &mut HyStart, number: u32, rtt_ms: u32| {
            let (nxt, rtt_us) = (Seq(number * 10 + 10), rtt_ms * 1000);
            let acks = (1..=10).map(|n| Ack { una: Seq(number * 10 + n), nxt, rtt_us, ..ack(1000, 0) });
            acks.map(|ack| hystart.on_ack(&ack)).find(|pace| *pace == Pace::Exit)
        };
        let mut hystart = HyStart::default();
        assert_eq!(together(&mut hystart, 0, 50), None);
        assert!((1..6).all(|n| together(&mut hystart, n, 62).is_none()));
        assert_eq!(hystart.css.map(|(_, rounds)| rounds), Some(4));
        assert_eq!(together(&mut hystart, 6, 62), Some(Pace::Exit));
    }

    #[test]
    fn a_passing_delay_is_forgiven() {
        let mut hystart = HyStart::default();
        round(&mut hystart, 0, 50);
        assert_eq!(round(&mut hystart, 1, 62), Pace::Divided(4));
        assert_eq!(round(&mut hystart, 2, 50), Pace::Divided(1));
    }
}

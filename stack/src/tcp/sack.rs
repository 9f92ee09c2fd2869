//! What the peer holds beyond the cumulative ACK: the sender's scoreboard (RFC 2018 §5, RFC 6675 §3).

use alloc::vec::Vec;

use crate::seq::Seq;

/// The most ranges remembered. A peer that reports more is not lost: what is forgotten counts as missing and
/// is sent again.
const RANGES_MAX: usize = 256;

/// How many segments' worth of SACKed data above a hole make it a loss (DupThresh of RFC 6675 §2).
pub(super) const DUP_THRESH: u32 = 3;

/// Ranges above SND.UNA that the peer reported, sorted and apart from each other.
#[derive(Debug, Default)]
pub(super) struct Scoreboard {
    ranges: Vec<(Seq, Seq)>,
    sacked_len: u32,
}

impl Scoreboard {
    /// Bytes that the peer holds beyond the cumulative ACK.
    #[inline]
    pub(super) fn sacked_len(&self) -> u32 {
        self.sacked_len
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Takes a block; returns how many bytes of it are news. A block that is inverted, empty, or not within
    /// what is outstanding is ignored: the peer lies, or reports a duplicate (RFC 2883).
    pub(super) fn add(&mut self, (left, right): (Seq, Seq), una: Seq, nxt: Seq) -> u32 {
        // As distances from SND.UNA: halves of the sequence space apart, before and after mean nothing.
        if !(left - una < right - una && right - una <= nxt - una) {
            return 0;
        }
        let before = self.sacked_len;
        let first = self.ranges.partition_point(|(_, r)| r.before(left));
        let last = self.ranges.partition_point(|(l, _)| l.at_or_before(right));
        if first == last && self.ranges.len() >= RANGES_MAX {
            return 0;
        }
        let mut merged = (left, right);
        for (l, r) in self.ranges.drain(first..last) {
            self.sacked_len -= r - l;
            merged = (merged.0.min(l), merged.1.max(r));
        }
        self.sacked_len += merged.1 - merged.0;
        self.ranges.insert(first, merged);
        self.sacked_len - before
    }

    /// Everything before `una` is acknowledged.
    #[inline]
    pub(super) fn advance(&mut self, una: Seq) {
        if self.ranges.is_empty() {
            return;
        }
        let gone = self.ranges.partition_point(|(_, r)| r.at_or_before(una));
        for (l, r) in self.ranges.drain(..gone) {
            self.sacked_len -= r - l;
        }
        if let Some((left, _)) = self.ranges.first_mut() {
            self.sacked_len -= una.since(*left);
            *left = left.max(una);
        }
        if self.ranges.is_empty() {
            self.ranges = Vec::new();
        }
    }

    /// Forgets everything: after a timeout the peer may have reneged (RFC 2018 §8).
    pub(super) fn clear(&mut self) {
        *self = Scoreboard::default();
    }

    /// The sequence number below which whatever is not SACKed counts as lost (IsLost of RFC 6675 §4):
    /// above it lie `DUP_THRESH` ranges, or more than `DUP_THRESH - 1` segments' worth of bytes.
    pub(super) fn loss_edge(&self, mss: u32) -> Option<Seq> {
        let mut len = 0;
        self.ranges.iter().rev().zip(1..).find_map(|((l, r), count)| {
            len += *r - *l;
            (count >= DUP_THRESH || len > (DUP_THRESH - 1) * mss).then_some(*l)
        })
    }

    /// The first stretch within `from..until` that the peer does not hold.
    pub(super) fn next_gap(&self, from: Seq, until: Seq) -> Option<(Seq, Seq)> {
        let mut start = from;
        for (l, r) in &self.ranges[self.ranges.partition_point(|(_, r)| r.at_or_before(from))..] {
            if start.before(*l) {
                break;
            }
            start = start.max(*r);
        }
        let end = self
            .ranges
            .get(self.ranges.partition_point(|(l, _)| l.at_or_before(start)))
            .map_or(until, |(l, _)| until.min(*l));
        start.before(end).then_some((start, end))
    }

    /// Bytes within `from..until` that the peer does not hold.
    pub(super) fn gap_len(&self, from: Seq, until: Seq) -> u32 {
        let held: u32 = self.ranges.iter().map(|(l, r)| r.min(until).since(l.max(from))).sum();
        until.since(from) - held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(blocks: &[(u32, u32)]) -> Scoreboard {
        let mut board = Scoreboard::default();
        for (l, r) in blocks {
            board.add((Seq(*l), Seq(*r)), Seq(0), Seq(10_000));
        }
        board
    }

    #[test]
    fn merges_what_touches_and_ignores_what_cannot_be() {
        let mut board = board(&[(100, 200), (300, 400), (200, 250)]);
        assert_eq!(board.sacked_len(), 250);
        assert_eq!(board.add((Seq(150), Seq(350)), Seq(0), Seq(10_000)), 50);
        assert_eq!(board.ranges, [(Seq(100), Seq(400))]);
        for (l, r) in [(400, 300), (5, 5), (9_999, 10_001), (u32::MAX, 50), (1 << 31, 9 << 28)] {
            assert_eq!(board.add((Seq(l), Seq(r)), Seq(0), Seq(10_000)), 0, "{l}..{r}");
        }
        board.advance(Seq(150));
        assert_eq!((board.sacked_len(), board.ranges.len()), (250, 1));
        board.advance(Seq(400));
        assert!(board.is_empty() && board.sacked_len() == 0);
    }

    #[test]
    fn finds_the_holes() {
        let board = board(&[(100, 200), (300, 400)]);
        assert_eq!(board.next_gap(Seq(0), Seq(1000)), Some((Seq(0), Seq(100))));
        assert_eq!(board.next_gap(Seq(100), Seq(1000)), Some((Seq(200), Seq(300))));
        assert_eq!(board.next_gap(Seq(250), Seq(280)), Some((Seq(250), Seq(280))));
        assert_eq!(board.next_gap(Seq(320), Seq(1000)), Some((Seq(400), Seq(1000))));
        assert_eq!(board.next_gap(Seq(320), Seq(400)), None);
        assert_eq!(board.gap_len(Seq(0), Seq(1000)), 800);
        assert_eq!(board.gap_len(Seq(150), Seq(350)), 100);
    }

    #[test]
    fn a_hole_below_three_segments_is_lost() {
        assert_eq!(board(&[(1000, 3000)]).loss_edge(1000), None, "two segments may be reordering");
        assert_eq!(board(&[(1000, 3001)]).loss_edge(1000), Some(Seq(1000)));
        assert_eq!(board(&[(100, 110), (200, 210), (300, 310)]).loss_edge(1000), Some(Seq(100)));
    }

    #[test]
    fn a_liar_cannot_make_it_grow() {
        let blocks: alloc::vec::Vec<(u32, u32)> = (0..2000).map(|i| (i * 4, i * 4 + 1)).collect();
        let mut board = board(&blocks);
        assert_eq!(board.ranges.len(), RANGES_MAX);
        assert_eq!(board.add((Seq(0), Seq(9_000)), Seq(0), Seq(10_000)), 9_000 - RANGES_MAX as u32);
    }
}

//! What is outstanding, stretch by stretch: when each was sent last, and what became of it. The scoreboard of RFC 2018
//! §5 and RFC 6675 §3, and the segment times of RFC 8985 §5.2, in one.
//!
//! What goes out in one turn is one stretch, so a request or a reply is one, and that one lives inside the
//! connection. Acknowledgements and retransmissions split stretches; equal neighbours grow together again. How much is
//! reported and how much is lost is counted only for who met either: so a [`Flight`] is the stretches alone, and what
//! changes their fate is done by a [`Scoreboard`], which has the account as well.

use hayase_device::hint::likely;
use hayase_time::Instant;

use crate::fifo::Fifo;
use crate::seq::Seq;

/// So many stretches may always be told apart, however little is outstanding.
const RUNS_MIN: usize = 64;

/// And one for each so many bytes, up to [`RUNS_MAX`]: what a peer's reports make us keep is then a part of what is
/// outstanding, which is in the account of buffers.
const RUN_LEN_MIN: usize = 64;

/// The most stretches that the peer's reports may split what is outstanding into, unless so much is outstanding that
/// there are more segments of [`RUN_LEN`]. A peer that reports more is not lost: what is forgotten counts as missing and
/// is sent again.
const RUNS_MAX: usize = 1024;

/// A stretch for each so many bytes may always be told apart: the segments of a long fat path are longer.
const RUN_LEN: usize = 1024;

/// The stretches that `outstanding` bytes may be split into.
fn runs_max(outstanding: usize) -> usize {
    (outstanding / RUN_LEN_MIN).clamp(RUNS_MIN, RUNS_MAX).max(outstanding / RUN_LEN)
}

/// How many segments' worth of SACKed data above a hole make it a loss (DupThresh of RFC 6675 §2).
pub(super) const DUP_THRESH: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// On its way, as far as anybody knows.
    Pending = 0,
    /// The peer holds it, beyond a hole.
    Sacked,
    /// Lost, and not yet sent again.
    Lost,
}

/// A stretch of sequence numbers. It starts where the one before it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) end: Seq,
    pub(super) sent_at: Instant,
    pub(super) fate: Fate,
    /// Sent more than once, or to a window that was shut: what an acknowledgement of it answers is not known, so
    /// it is not timed (Karn).
    pub(super) ambiguous: bool,
}

impl Run {
    /// Whether two neighbours need not be told apart.
    fn is_like(&self, other: &Run) -> bool {
        self.fate == other.fate
            && (self.fate == Fate::Sacked
                || (self.sent_at == other.sent_at && self.ambiguous == other.ambiguous))
    }
}

/// What is outstanding. The first run starts at SND.UNA.
#[derive(Debug, Default)]
pub(super) struct Flight {
    runs: Fifo<Run>,
}

/// How much of what is outstanding is not on its way.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Bytes that the peer holds beyond the cumulative ACK.
    pub(super) sacked_len: u32,
    /// Bytes that are lost and were not sent again.
    pub(super) lost_len: u32,
    /// Where to look first for what is lost, if anything is. A path of many thousand segments would otherwise be searched
    /// from its start for each that is sent again.
    lost_from: Seq,
}

impl Account {
    /// Everything is on its way.
    #[inline]
    pub(super) fn is_whole(&self) -> bool {
        self.sacked_len | self.lost_len == 0
    }

    /// A run that starts here is lost.
    #[inline]
    fn note_lost(&mut self, start: Seq) {
        if self.lost_len == 0 || start.before(self.lost_from) {
            self.lost_from = start;
        }
    }

    /// So much of a run is not what it was.
    #[inline]
    pub(super) fn settle(&mut self, run: &Run, len: u32) {
        match run.fate {
            Fate::Pending => {}
            Fate::Sacked => self.sacked_len -= len,
            Fate::Lost => self.lost_len -= len,
        }
    }
}

impl Flight {
    /// Everything from the last transmission up to `end` was sent for the first time.
    #[inline(always)]
    pub(super) fn send(&mut self, end: Seq, now: Instant) {
        if likely(self.runs.is_empty()) {
            self.runs.push_front(Run { end, sent_at: now, fate: Fate::Pending, ambiguous: false });
        } else {
            self.send_behind(Run { end, sent_at: now, fate: Fate::Pending, ambiguous: false });
        }
    }

    #[inline(never)]
    fn send_behind(&mut self, run: Run) {
        match self.runs.back_mut() {
            Some(last) if last.is_like(&run) => last.end = run.end,
            _ => self.runs.push_back(run),
        }
    }

    /// Takes the one run that is outstanding, if it was sent once and just that is acknowledged: what a request or a
    /// reply is.
    #[inline(always)]
    pub(super) fn take_sole(&mut self, una: Seq) -> Option<Run> {
        self.runs.pop_sole_if(|run| {
            // As one number: three answers that are nearly always the same are not worth three branches.
            let unusual = (run.end - una) | run.fate as u32 | u32::from(run.ambiguous);
            likely(unusual == 0)
        })
    }

    /// What was sent last says nothing about the path's delay: the peer's window was shut.
    pub(super) fn distrust_last(&mut self) {
        if let Some(last) = self.runs.back_mut() {
            last.ambiguous = true;
        }
    }

    /// Nothing is outstanding: what was has to be sent anew.
    pub(super) fn clear(&mut self) {
        self.runs = Fifo::default();
    }

    /// Everything from SND.UNA, `start`, to `una` is acknowledged. `settled` sees each run that was outstanding, as far as
    /// it is so no more, and how many bytes that is.
    pub(super) fn acknowledge(&mut self, mut start: Seq, una: Seq, mut settled: impl FnMut(&Run, u32)) {
        while let Some(front) = self.runs.front() {
            let run = *front;
            let is_over = run.end.at_or_before(una);
            let end = if is_over { run.end } else { start.max(una) };
            if end != start {
                settled(&Run { end, ..run }, end - start);
            }
            if !is_over {
                return;
            }
            self.runs.drop_front();
            start = end;
        }
    }

    /// When the oldest of what is outstanding was sent last.
    pub(super) fn first_sent_at(&self) -> Option<Instant> {
        self.runs.front().map(|run| run.sent_at)
    }

    /// Bytes that were sent again and are on their way, if the first run starts at SND.UNA, `start`.
    pub(super) fn resent_len(&self, start: Seq) -> u32 {
        let starts = core::iter::once(start).chain(self.runs.iter().map(|run| run.end));
        let resent =
            self.runs.iter().zip(starts).filter(|(run, _)| run.ambiguous && run.fate == Fate::Pending);
        resent.map(|(run, start)| run.end - start).sum()
    }

    /// Where the run starts that was sent last, if the first starts at SND.UNA, `start`.
    pub(super) fn last_start(&self, start: Seq) -> Seq {
        self.start_of(self.runs.len().saturating_sub(1), start)
    }

    /// Sequence number behind everything that is outstanding.
    fn end(&self) -> Option<Seq> {
        self.runs.len().checked_sub(1).and_then(|last| self.runs.get(last)).map(|run| run.end)
    }

    fn start_of(&self, index: usize, start: Seq) -> Seq {
        index.checked_sub(1).and_then(|before| self.runs.get(before)).map_or(start, |run| run.end)
    }
}

/// What is outstanding, and the account of it.
pub(super) struct Scoreboard<'a> {
    flight: &'a mut Flight,
    account: &'a mut Account,
    /// SND.UNA: where the first run starts.
    start: Seq,
}

impl<'a> Scoreboard<'a> {
    pub(super) fn new(flight: &'a mut Flight, account: &'a mut Account, start: Seq) -> Scoreboard<'a> {
        Scoreboard { flight, account, start }
    }

    /// Takes a SACK block; returns how many bytes of it are news, each stretch of which `delivered` sees. A block
    /// that is inverted, empty, or not within what is outstanding is ignored: the peer lies, or reports a duplicate
    /// (RFC 2883).
    pub(super) fn sack(&mut self, (left, right): (Seq, Seq), mut delivered: impl FnMut(&Run, u32)) -> u32 {
        let Some(end) = self.flight.end() else { return 0 };
        // As distances from SND.UNA: halves of the sequence space apart, before and after mean nothing.
        if !(left - self.start < right - self.start && right - self.start <= end - self.start) {
            return 0;
        }
        // What was reported before, as every acknowledgement repeats it, is no reason to cut anything.
        let index = self.flight.runs.partition_point(|run| run.end.at_or_before(left));
        let is_known = |run: &Run| run.fate == Fate::Sacked && right.at_or_before(run.end);
        if self.flight.runs.get(index).is_some_and(is_known) {
            return 0;
        }
        let before = self.account.sacked_len;
        self.recast(left, right, |run, len| {
            if run.fate != Fate::Sacked {
                delivered(run, len);
            }
            run.fate = Fate::Sacked;
        });
        self.account.sacked_len - before
    }

    /// `from..to` was sent again.
    pub(super) fn resend(&mut self, from: Seq, to: Seq, now: Instant) {
        let again =
            |run: &mut Run, _| *run = Run { sent_at: now, fate: Fate::Pending, ambiguous: true, ..*run };
        if !self.recast(from, to, again) {
            // Where parts cannot be told apart any more, the whole counts: what stayed lost would be sent without end.
            let first = self.flight.runs.partition_point(|run| run.end.at_or_before(from));
            let last = self.flight.runs.partition_point(|run| run.end.before(to));
            let whole = self.flight.runs.get(last).map(|run| (self.start_of(first), run.end));
            if let Some((from, to)) = whole {
                self.recast(from, to, again);
            }
        }
        if from.at_or_before(self.account.lost_from.max(self.start)) {
            self.account.lost_from = self.account.lost_from.max(to);
        }
    }

    /// What is on its way within `from..to` counts as lost; `lost` sees it, and how many bytes each is.
    pub(super) fn lose(&mut self, from: Seq, to: Seq, mut lost: impl FnMut(&Run, u32)) {
        self.recast(from, to, |run, len| {
            if run.fate == Fate::Pending {
                lost(run, len);
                run.fate = Fate::Lost;
            }
        });
    }

    /// Whether the peer holds what it ought to have acknowledged: then it has thrown it away (RFC 2018 §8).
    pub(super) fn has_reneged(&self) -> bool {
        self.flight.runs.front().is_some_and(|run| run.fate == Fate::Sacked)
    }

    /// Nothing is left of what was on its way. What the peer reported stays reported, unless it holds what it ought
    /// to have acknowledged: then it has thrown everything away (reneging, RFC 2018 §8).
    pub(super) fn lose_all(&mut self, mut lost: impl FnMut(&Run, u32)) {
        let reneged = self.has_reneged();
        let Some(end) = self.flight.end() else { return };
        self.recast(self.start, end, |run, len| {
            if reneged || run.fate == Fate::Pending {
                lost(run, len);
                run.fate = Fate::Lost;
            }
        });
    }

    /// Nothing was lost after all: it is on its way still.
    pub(super) fn find_all(&mut self) {
        let Some(end) = self.flight.end() else { return };
        self.recast(self.start, end, |run, _| {
            if run.fate == Fate::Lost {
                run.fate = Fate::Pending;
            }
        });
    }

    /// Goes through what is on its way, in order: `remaining` says how long each may still take, in nanoseconds, or
    /// nothing for what is not up for judgement. What has no time left is lost, as `on_lost` is told. Returns how much is
    /// newly lost, and the longest time that any has left.
    pub(super) fn lose_overdue(
        &mut self,
        mut remaining: impl FnMut(&Run) -> Option<u64>,
        mut on_lost: impl FnMut(&Run, u32),
    ) -> (u32, u64) {
        let (mut start, mut lost, mut longest) = (self.start, 0, 0);
        for index in 0..self.flight.runs.len() {
            let Some(run) = self.flight.runs.get_mut(index) else { break };
            let end = run.end;
            if run.fate == Fate::Pending
                && let Some(left) = remaining(run)
            {
                longest = longest.max(left);
                if left == 0 {
                    on_lost(run, end - start);
                    run.fate = Fate::Lost;
                    self.account.note_lost(start);
                    self.account.lost_len += end - start;
                    lost += end - start;
                }
            }
            start = end;
        }
        (lost, longest)
    }

    /// The first stretch that is to be sent again. What lies beyond `len_max` bytes of it is not looked at.
    #[inline]
    pub(super) fn next_lost(&self, len_max: u32) -> Option<(Seq, Seq)> {
        if self.account.lost_len == 0 {
            return None;
        }
        let first = self.flight.runs.partition_point(|run| run.end.at_or_before(self.account.lost_from));
        let is_lost = |index: &usize| self.flight.runs.get(*index).is_some_and(|run| run.fate == Fate::Lost);
        let first = (first..self.flight.runs.len()).find(is_lost).or_else(|| (0..first).find(is_lost))?;
        let from = self.start_of(first);
        let mut to = self.flight.runs.get(first)?.end;
        for index in first + 1..self.flight.runs.len() {
            if to - from >= len_max || !is_lost(&index) {
                break;
            }
            to = self.flight.runs.get(index)?.end;
        }
        Some((from, to))
    }

    /// Whether so much is SACKed that what lies below is lost rather than late (IsLost of RFC 6675 §4): `DUP_THRESH`
    /// stretches, or more than `DUP_THRESH - 1` segments' worth of bytes.
    pub(super) fn is_past_dup_thresh(&self, mss: u32) -> bool {
        let sacked = || self.flight.runs.iter().filter(|run| run.fate == Fate::Sacked);
        self.account.sacked_len > (DUP_THRESH - 1) * mss
            || (self.account.sacked_len > 0 && sacked().nth(DUP_THRESH as usize - 1).is_some())
    }

    /// Changes what lies within `from..to`, and keeps the accounts. Returns whether that could be told apart from what
    /// is around it; if not, nothing is changed.
    fn recast(&mut self, from: Seq, to: Seq, mut change: impl FnMut(&mut Run, u32)) -> bool {
        let (from, Some(end)) = (from.max(self.start), self.flight.end()) else { return true };
        let to = to.min(end);
        if !from.before(to) {
            return true;
        }
        let Some(first) = self.split(from) else { return false };
        let Some(behind) = self.split(to) else { return false };
        for index in first..behind {
            let start = self.start_of(index);
            let Some(run) = self.flight.runs.get_mut(index) else { break };
            let (was, len) = (*run, run.end - start);
            change(run, len);
            let is = *run;
            self.account.settle(&was, len);
            match is.fate {
                Fate::Pending => {}
                Fate::Sacked => self.account.sacked_len += len,
                Fate::Lost => {
                    self.account.note_lost(start);
                    self.account.lost_len += len;
                }
            }
        }
        self.merge(first, behind);
        true
    }

    fn start_of(&self, index: usize) -> Seq {
        self.flight.start_of(index, self.start)
    }

    /// Makes a run start at `at`; returns its index, or nothing if there are too many.
    fn split(&mut self, at: Seq) -> Option<usize> {
        let index = self.flight.runs.partition_point(|run| run.end.at_or_before(at));
        if self.start_of(index) == at {
            return Some(index);
        }
        let outstanding = self.flight.end().map_or(0, |end| (end - self.start) as usize);
        if self.flight.runs.len() >= runs_max(outstanding) {
            return None;
        }
        let whole = *self.flight.runs.get(index)?;
        self.flight.runs.insert(index, Run { end: at, ..whole });
        Some(index + 1)
    }

    /// Lets the runs `first..behind` grow together where they are alike, with each other and with their neighbours.
    fn merge(&mut self, first: usize, behind: usize) {
        let runs = &mut self.flight.runs;
        let (mut kept, end) = (first.saturating_sub(1), runs.len().min(behind + 1));
        for index in kept + 1..end {
            let Some(run) = runs.get(index).copied() else { break };
            if runs.get(kept).is_some_and(|left| !left.is_like(&run)) {
                kept += 1;
            }
            if let Some(place) = runs.get_mut(kept) {
                *place = run;
            }
        }
        // All at once: an acknowledgement may fill thousands of holes.
        runs.remove_range(kept + 1..end.max(kept + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A flight with its account.
    #[derive(Default)]
    struct Whole {
        flight: Flight,
        account: Account,
        una: Seq,
    }

    impl Whole {
        fn board(&mut self) -> Scoreboard<'_> {
            Scoreboard::new(&mut self.flight, &mut self.account, self.una)
        }

        fn acknowledge(&mut self, una: Seq, mut settled: impl FnMut(&Run, u32)) {
            self.flight.acknowledge(self.una, una, |run, len| {
                self.account.settle(run, len);
                settled(run, len);
            });
            self.una = una;
        }
    }

    /// Ten thousand bytes, sent at once.
    fn flight(blocks: &[(u32, u32)]) -> Whole {
        let mut whole = Whole::default();
        whole.flight.send(Seq(10_000), Instant::ZERO);
        for (l, r) in blocks {
            whole.board().sack((Seq(*l), Seq(*r)), |_, _| {});
        }
        whole
    }

    fn ends(Whole { flight, .. }: &Whole) -> alloc::vec::Vec<(u32, Fate)> {
        flight.runs.iter().map(|run| (run.end.0, run.fate)).collect()
    }

    #[test]
    fn what_goes_out_in_one_turn_is_one_run() {
        let mut flight = flight(&[]);
        flight.flight.send(Seq(12_000), Instant::ZERO);
        flight.flight.send(Seq(13_000), Instant::from_millis(1));
        assert_eq!(ends(&flight), [(12_000, Fate::Pending), (13_000, Fate::Pending)]);
        let mut seen = alloc::vec![];
        flight.acknowledge(Seq(5000), |run, _| seen.push(run.end.0));
        flight.acknowledge(Seq(13_000), |run, _| seen.push(run.end.0));
        assert_eq!(seen, [5000, 12_000, 13_000]);
        assert!(flight.flight.runs.is_empty() && flight.una == Seq(13_000));
    }

    #[test]
    fn merges_what_touches_and_ignores_what_cannot_be() {
        let mut flight = flight(&[(100, 200), (300, 400), (200, 250)]);
        assert_eq!(flight.account.sacked_len, 250);
        assert_eq!(flight.board().sack((Seq(150), Seq(350)), |_, _| {}), 50);
        assert_eq!(ends(&flight), [(100, Fate::Pending), (400, Fate::Sacked), (10_000, Fate::Pending)]);
        for (l, r) in [(400, 300), (5, 5), (9_999, 10_001), (u32::MAX, 50), (1 << 31, 9 << 28)] {
            assert_eq!(flight.board().sack((Seq(l), Seq(r)), |_, _| {}), 0, "{l}..{r}");
        }
        flight.acknowledge(Seq(150), |_, _| {});
        assert_eq!(flight.account.sacked_len, 250);
        flight.acknowledge(Seq(400), |_, _| {});
        assert!(flight.account.is_whole());
    }

    #[test]
    fn holes_are_lost_sent_again_and_found() {
        let mut flight = flight(&[(1000, 3000), (4000, 7000)]);
        flight.board().lose(Seq(0), Seq(7000), |_, _| {});
        assert_eq!(
            (flight.account.lost_len, flight.board().next_lost(u32::MAX)),
            (2000, Some((Seq(0), Seq(1000))))
        );
        flight.board().resend(Seq(0), Seq(1000), Instant::from_millis(5));
        assert_eq!(
            (flight.account.lost_len, flight.board().next_lost(u32::MAX)),
            (1000, Some((Seq(3000), Seq(4000))))
        );
        flight.board().find_all();
        assert_eq!((flight.account.lost_len, flight.board().next_lost(u32::MAX)), (0, None));
        flight.acknowledge(Seq(10_000), |_, _| {});
        assert!(flight.account.is_whole() && flight.flight.runs.is_empty());
    }

    #[test]
    fn what_was_reported_survives_a_timeout_unless_the_peer_reneged() {
        let mut honest = flight(&[(1000, 3000)]);
        honest.board().lose_all(|_, _| {});
        assert_eq!((honest.account.lost_len, honest.account.sacked_len), (8000, 2000));
        let mut reneging = flight(&[(1000, 3000)]);
        reneging.acknowledge(Seq(1000), |_, _| {});
        reneging.board().lose_all(|_, _| {});
        assert_eq!((reneging.account.lost_len, reneging.account.sacked_len), (9000, 0));
        assert_eq!(reneging.board().next_lost(u32::MAX), Some((Seq(1000), Seq(10_000))));
    }

    #[test]
    fn three_segments_above_a_hole_make_it_a_loss() {
        assert!(!flight(&[(1000, 3000)]).board().is_past_dup_thresh(1000), "two segments may be reordering");
        assert!(flight(&[(1000, 3001)]).board().is_past_dup_thresh(1000));
        assert!(flight(&[(100, 110), (200, 210), (300, 310)]).board().is_past_dup_thresh(1000));
    }

    /// Small segments, more of them than may be told apart, all lost: each is sent again once, not one without end.
    #[test]
    fn what_cannot_be_told_apart_is_sent_again_once() {
        let mut flight = Whole::default();
        for turn in 1..=2000 {
            flight.flight.send(Seq(turn * 100), Instant::from_millis(turn.into()));
        }
        flight.board().lose_all(|_, _| {});
        let mut sent = 0;
        while let Some((from, to)) = flight.board().next_lost(u32::MAX) {
            let to = to.min(from + 10);
            flight.board().resend(from, to, Instant::from_millis(3000));
            sent += 1;
            assert!(sent <= 20_000, "{from:?} is sent without end");
        }
        assert_eq!(flight.account.lost_len, 0);
    }

    /// A long fat path: six thousand segments in as many turns, every second one reported.
    #[test]
    fn the_reports_of_a_long_fat_path_are_kept() {
        let mut flight = Whole::default();
        for turn in 1..=6000 {
            flight.flight.send(Seq(turn * 1448), Instant::from_micros(turn.into()));
        }
        for pair in 0..3000 {
            assert_eq!(
                flight.board().sack((Seq(pair * 2896 + 1448), Seq(pair * 2896 + 2896)), |_, _| {}),
                1448
            );
        }
        flight.board().lose(Seq(0), Seq(6000 * 1448), |_, _| {});
        assert_eq!(flight.account.lost_len, 3000 * 1448);
        flight.board().resend(Seq(0), Seq(1000), Instant::from_millis(9));
        assert_eq!(
            (flight.account.lost_len, flight.board().next_lost(u32::MAX)),
            (3000 * 1448 - 1000, Some((Seq(1000), Seq(1448))))
        );
    }

    /// Every second byte of a little, reported by a liar: what is kept of it is less than the buffers that hold it.
    #[test]
    fn what_is_kept_is_in_proportion_to_what_is_outstanding() {
        for outstanding in [100u32, 4096, 16_384] {
            let mut flight = Whole::default();
            flight.flight.send(Seq(outstanding), Instant::ZERO);
            for at in (1..outstanding).step_by(2) {
                flight.board().sack((Seq(at), Seq(at + 1)), |_, _| {});
            }
            let kept = flight.flight.runs.len() * size_of::<Run>();
            assert!(kept <= 1024.max(outstanding as usize / 4), "{kept} bytes for {outstanding}");
            // Ten segments of it are told apart as before.
            let mut flight = Whole::default();
            flight.flight.send(Seq(outstanding), Instant::ZERO);
            let len = outstanding / 10;
            let sacked: u32 = (0..5)
                .map(|n| flight.board().sack((Seq(2 * n * len), Seq((2 * n + 1) * len)), |_, _| {}))
                .sum();
            assert_eq!(sacked, 5 * len);
        }
    }

    #[test]
    fn a_liar_cannot_make_it_grow() {
        let mut flight = Whole::default();
        flight.flight.send(Seq(1 << 20), Instant::ZERO);
        for i in 0..5000 {
            flight.board().sack((Seq(i * 4 + 1), Seq(i * 4 + 2)), |_, _| {});
        }
        assert!(flight.flight.runs.len() <= RUNS_MAX);
        let news = flight.board().sack((Seq(0), Seq(1 << 20)), |_, _| {});
        assert_eq!((news + 511, flight.flight.runs.len()), (1 << 20, 1));
    }
}

//! Segments that arrived before their turn, and what SACK says of them.

use alloc::collections::VecDeque;

use hayase_device::Frame;

use crate::chain;
use crate::seq::Seq;
use crate::wire::tcp::{SACK_BLOCKS_MAX, SackBlocks};

#[derive(Debug)]
struct Held<F> {
    seq: Seq,
    len: u32,
    frame: F,
}

impl<F> Held<F> {
    fn end(&self) -> Seq {
        self.seq + self.len
    }
}

/// How much may wait out of order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    /// So many segments in any case.
    pub(super) count: usize,
    /// And more, as long as their buffers take less than so many bytes.
    pub(super) memory_len: usize,
}

/// The out-of-order queue: sorted, without overlaps.
#[derive(Debug)]
pub(super) struct Assembler<F> {
    held: VecDeque<Held<F>>,
    /// What is here without a gap, in order: what SACK reports, and thousands of segments may be of.
    ranges: VecDeque<(Seq, Seq)>,
    /// A sequence number in each of the ranges that changed last, latest first (RFC 2018 §4: the first block
    /// holds the segment that caused the ACK, the others repeat what was reported last).
    recent: [Option<Seq>; SACK_BLOCKS_MAX],
    len: u32,
    /// Bytes of buffers held; one that several pieces share counts for each.
    memory_len: usize,
}

impl<F> Default for Assembler<F> {
    fn default() -> Assembler<F> {
        let (held, ranges, recent) = (VecDeque::new(), VecDeque::new(), [None; SACK_BLOCKS_MAX]);
        Assembler { held, ranges, recent, len: 0, memory_len: 0 }
    }
}

impl<F: Frame> Assembler<F> {
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Bytes held.
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// Bytes of buffers held.
    pub(super) fn memory_len(&self) -> usize {
        self.memory_len
    }

    /// Whether no more may wait.
    fn is_full(&self, limit: Limit) -> bool {
        self.held.len() >= limit.count && self.memory_len >= limit.memory_len
    }

    /// Keeps a segment. What is here already stays, so no byte is held twice. Returns whether anything of it
    /// was new; the segment is refused if as much is here as may be.
    pub(super) fn insert(&mut self, seq: Seq, frame: F, limit: Limit) -> Result<bool, F> {
        if self.is_full(limit) {
            return Err(frame);
        }
        self.remember(seq);
        let (mut start, end) = (seq, seq + frame.total_len() as u32);
        let mut rest = Some(frame);
        let mut at = self.held.partition_point(|held| held.end().at_or_before(start));
        let mut new = false;
        // What is held cuts the segment into the pieces that are missing.
        while let Some(mut piece) = rest.take() {
            let next = self.held.get(at).map(|held| (held.seq, held.end()));
            let (gap_end, resume) = next.map_or((end, end), |(l, r)| (end.min(l), end.min(r)));
            if start.before(gap_end) {
                if gap_end.before(end) && resume.before(end) {
                    rest = self.split_off(&mut piece, resume - start);
                }
                chain::truncate(&mut piece, (gap_end - start) as usize);
                let len = gap_end - start;
                self.memory_len += chain::capacity(&piece);
                self.held.insert(at, Held { seq: start, len, frame: piece });
                self.join(start, gap_end);
                self.len += len;
                at += 1;
                new = true;
            } else if resume.before(end) {
                rest = chain::trim_front(piece, (resume - start) as usize);
            }
            start = resume;
            at += 1;
            if self.is_full(limit) {
                break;
            }
        }
        Ok(new)
    }

    /// A stretch is here now that was not.
    fn join(&mut self, left: Seq, right: Seq) {
        let at = self.ranges.partition_point(|(_, end)| end.before(left));
        let next = self.ranges.get(at + 1).copied();
        match self.ranges.get_mut(at) {
            Some(range) if range.1 == left => {
                range.1 = right;
                if let Some((_, end)) = next.filter(|(start, _)| *start == right) {
                    range.1 = end;
                    self.ranges.remove(at + 1);
                }
            }
            Some(range) if range.0 == right => range.0 = left,
            _ => self.ranges.insert(at, (left, right)),
        }
    }

    /// Lets go of what is highest until buffers of no more than so many bytes are held. Returns how many pieces went: a
    /// segment that fills several gaps is kept in as many.
    pub(super) fn prune(&mut self, memory_len: usize) -> u64 {
        let mut pruned = 0;
        while self.memory_len > memory_len
            && let Some(held) = self.held.pop_back()
        {
            self.len -= held.len;
            self.memory_len -= chain::capacity(&held.frame);
            pruned += 1;
            if let Some(range) = self.ranges.back_mut() {
                range.1 = held.seq;
                if range.0 == range.1 {
                    self.ranges.pop_back();
                }
            }
        }
        if self.held.is_empty() {
            *self = Assembler::default();
        }
        pruned
    }

    /// A second handle on everything from `offset` on.
    fn split_off(&self, frame: &mut F, offset: u32) -> Option<F> {
        let mut offset = offset as usize;
        let mut tail: Option<F> = None;
        let mut fragment = Some(&*frame);
        while let Some(current) = fragment {
            if offset < current.len() {
                let mut share = current.share();
                share.trim_front(offset);
                match &mut tail {
                    Some(tail) => tail.chain(share),
                    None => tail = Some(share),
                }
            }
            offset = offset.saturating_sub(current.len());
            fragment = current.next();
        }
        tail
    }

    fn remember(&mut self, seq: Seq) {
        self.recent.rotate_right(1);
        self.recent[0] = Some(seq);
    }

    /// What is here, in order.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (Seq, &F)> {
        self.held.iter().map(|held| (held.seq, &held.frame))
    }

    /// Takes out the segment that starts at or before `rcv_nxt`, trimmed to what is new.
    pub(super) fn pop(&mut self, rcv_nxt: Seq) -> Option<F> {
        while self.held.front()?.seq.at_or_before(rcv_nxt) {
            let held = self.held.pop_front()?;
            self.len -= held.len;
            self.memory_len -= chain::capacity(&held.frame);
            if let Some(range) = self.ranges.front_mut() {
                range.0 = held.end();
                if range.0 == range.1 {
                    self.ranges.pop_front();
                }
            }
            if self.held.is_empty() {
                *self = Assembler::default();
            }
            if let Some(frame) = chain::trim_front(held.frame, rcv_nxt.since(held.seq) as usize) {
                return Some(frame);
            }
        }
        None
    }

    /// The blocks to report, at most `max` (RFC 2018 §4).
    pub(super) fn blocks(&self, max: usize) -> SackBlocks {
        let mut blocks = SackBlocks::default();
        for seq in self.recent.iter().flatten() {
            if let Some((left, right)) = self.range_around(*seq)
                && !blocks.as_slice().iter().any(|(l, _)| *l == left)
            {
                blocks.push(left, right);
            }
        }
        // Fewer changed lately than there are ranges: the lowest holes are the ones that hurt.
        let mut ranges = self.ranges.iter();
        while blocks.as_slice().len() < max.min(SACK_BLOCKS_MAX)
            && let Some((left, right)) = ranges.next()
        {
            if !blocks.as_slice().iter().any(|(l, _)| l == left) {
                blocks.push(*left, *right);
            }
        }
        blocks.truncate(max);
        blocks
    }

    /// The contiguous range that holds `seq`.
    fn range_around(&self, seq: Seq) -> Option<(Seq, Seq)> {
        let at = self.ranges.partition_point(|(_, end)| end.at_or_before(seq));
        self.ranges.get(at).copied().filter(|(start, _)| start.at_or_before(seq))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;
    use hayase_device::heap::{HeapFrame, Pool, PoolConfig};
    use proptest::prelude::*;

    fn frame(pool: &Pool, from: u32, to: u32) -> HeapFrame {
        let mut frame = pool.alloc((to - from) as usize).unwrap();
        for (byte, at) in frame.extend((to - from) as usize).unwrap().iter_mut().zip(from..) {
            *byte = at as u8;
        }
        frame
    }

    fn at_most(count: usize) -> Limit {
        Limit { count, memory_len: 0 }
    }

    fn ranges(blocks: &SackBlocks) -> Vec<(u32, u32)> {
        blocks.as_slice().iter().map(|(l, r)| (l.0, r.0)).collect()
    }

    #[test]
    fn reports_the_latest_range_first_and_merges_neighbours() {
        let pool = Pool::new(PoolConfig::default());
        let mut assembler = Assembler::default();
        for (from, to) in [(10, 20), (30, 40), (50, 60), (20, 25)] {
            assert_eq!(assembler.insert(Seq(from), frame(&pool, from, to), at_most(99)).ok(), Some(true));
        }
        assert_eq!(ranges(&assembler.blocks(4)), [(10, 25), (50, 60), (30, 40)]);
        assert_eq!(ranges(&assembler.blocks(2)), [(10, 25), (50, 60)]);
        assert_eq!(
            assembler.insert(Seq(12), frame(&pool, 12, 24), at_most(99)).ok(),
            Some(false),
            "nothing new"
        );
        assert!(assembler.insert(Seq(99), frame(&pool, 99, 100), at_most(4)).is_err(), "full");
    }

    #[test]
    fn more_than_so_many_wait_only_in_buffers_that_are_full_enough() {
        let pool = Pool::new(PoolConfig::default());
        let limit = Limit { count: 10, memory_len: 20 * 2048 };
        let mut assembler = Assembler::default();
        let kept =
            (0..50u32).filter(|n| assembler.insert(Seq(2 * n), frame(&pool, 0, 1), limit).is_ok()).count();
        assert_eq!((kept, pool.in_use()), (20, 20));
    }

    #[test]
    fn the_highest_goes_first_when_memory_is_short() {
        let pool = Pool::new(PoolConfig::default());
        let mut assembler = Assembler::default();
        for (from, to) in [(50, 60), (10, 20), (30, 40), (60, 70)] {
            assert!(assembler.insert(Seq(from), frame(&pool, from, to), at_most(99)).is_ok());
        }
        assert_eq!((assembler.prune(3 * 2048), assembler.prune(2 * 2048)), (1, 1));
        assert_eq!((ranges(&assembler.blocks(4)), pool.in_use()), (vec![(30, 40), (10, 20)], 2));
        assert_eq!((assembler.prune(0), pool.in_use(), assembler.is_empty()), (2, 0, true));
    }

    /// What is here without a gap, looked for piece by piece.
    fn joined(assembler: &Assembler<HeapFrame>) -> VecDeque<(Seq, Seq)> {
        let mut ranges: VecDeque<(Seq, Seq)> = VecDeque::new();
        for held in &assembler.held {
            match ranges.back_mut() {
                Some(range) if range.1 == held.seq => range.1 = held.end(),
                _ => ranges.push_back((held.seq, held.end())),
            }
        }
        ranges
    }

    proptest! {
        #[test]
        fn hands_out_every_byte_once_and_in_order(
            pieces in proptest::collection::vec((0u32..200, 1u32..40), 1..60), pruned_to in 0usize..80,
        ) {
            let pool = Pool::new(PoolConfig::default());
            let base = u32::MAX - 100; // across the wrap
            let mut assembler = Assembler::default();
            let mut model = vec![false; 240];
            for (from, len) in &pieces {
                let new = (*from..from + len).any(|i| !model[i as usize]);
                let inserted = assembler.insert(Seq(base) + *from, frame(&pool, *from, from + len), at_most(1000)).ok();
                prop_assert_eq!(inserted, Some(new));
                (*from..from + len).for_each(|i| model[i as usize] = true);
                prop_assert_eq!(assembler.len as usize, model.iter().filter(|held| **held).count());
                prop_assert_eq!(&assembler.ranges, &joined(&assembler));
            }
            assembler.prune(pruned_to * 2048);
            prop_assert!(assembler.memory_len() <= pruned_to * 2048);
            prop_assert_eq!(&assembler.ranges, &joined(&assembler));
            let held: Vec<_> = assembler.held.iter().map(|held| held.seq - Seq(base)..held.end() - Seq(base)).collect();
            model.iter_mut().enumerate().for_each(|(i, here)| *here = held.iter().any(|range| range.contains(&(i as u32))));
            let mut at = 0u32;
            while at < 240 {
                match assembler.pop(Seq(base) + at) {
                    Some(frame) => {
                        for byte in frame.fragments().flatten() {
                            prop_assert!(model[at as usize] && *byte == at as u8);
                            at += 1;
                        }
                        prop_assert_eq!(&assembler.ranges, &joined(&assembler));
                    }
                    None => {
                        prop_assert!(!model[at as usize]);
                        at += 1;
                    }
                }
            }
            prop_assert!(assembler.is_empty() && assembler.len == 0);
            prop_assert_eq!(pool.in_use(), 0);
        }
    }
}

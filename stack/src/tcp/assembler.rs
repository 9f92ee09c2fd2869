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

/// The out-of-order queue: sorted, without overlaps.
#[derive(Debug)]
pub(super) struct Assembler<F> {
    held: VecDeque<Held<F>>,
    /// A sequence number in each of the ranges that changed last, latest first (RFC 2018 §4: the first block
    /// holds the segment that caused the ACK, the others repeat what was reported last).
    recent: [Option<Seq>; SACK_BLOCKS_MAX],
    len: u32,
    /// Bytes of buffers held; one that several pieces share counts for each.
    memory_len: usize,
}

impl<F> Default for Assembler<F> {
    fn default() -> Assembler<F> {
        Assembler { held: VecDeque::new(), recent: [None; SACK_BLOCKS_MAX], len: 0, memory_len: 0 }
    }
}

impl<F: Frame> Assembler<F> {
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Bytes of buffers held.
    pub(super) fn memory_len(&self) -> usize {
        self.memory_len
    }

    /// Keeps a segment. What is here already stays, so no byte is held twice. Returns whether anything of it
    /// was new; the segment is refused if `count_max` segments are here.
    pub(super) fn insert(&mut self, seq: Seq, frame: F, count_max: usize) -> Result<bool, F> {
        if self.held.len() >= count_max {
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
                self.len += len;
                at += 1;
                new = true;
            } else if resume.before(end) {
                rest = chain::trim_front(piece, (resume - start) as usize);
            }
            start = resume;
            at += 1;
            if self.held.len() >= count_max {
                break;
            }
        }
        Ok(new)
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
        let mut from = 0;
        while blocks.as_slice().len() < max.min(SACK_BLOCKS_MAX)
            && let Some((left, right)) = self.held.get(from).and_then(|held| self.range_around(held.seq))
        {
            if !blocks.as_slice().iter().any(|(l, _)| *l == left) {
                blocks.push(left, right);
            }
            from = self.held.partition_point(|held| held.seq.before(right));
        }
        blocks.truncate(max);
        blocks
    }

    /// The contiguous range that holds `seq`.
    fn range_around(&self, seq: Seq) -> Option<(Seq, Seq)> {
        let at = self.held.partition_point(|held| held.end().at_or_before(seq));
        let hit = self.held.get(at).filter(|held| held.seq.at_or_before(seq))?;
        let (mut left, mut right) = (hit.seq, hit.end());
        for held in self.held.range(..at).rev() {
            if held.end() != left {
                break;
            }
            left = held.seq;
        }
        for held in self.held.range(at + 1..) {
            if held.seq != right {
                break;
            }
            right = held.end();
        }
        Some((left, right))
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

    fn ranges(blocks: &SackBlocks) -> Vec<(u32, u32)> {
        blocks.as_slice().iter().map(|(l, r)| (l.0, r.0)).collect()
    }

    #[test]
    fn reports_the_latest_range_first_and_merges_neighbours() {
        let pool = Pool::new(PoolConfig::default());
        let mut assembler = Assembler::default();
        for (from, to) in [(10, 20), (30, 40), (50, 60), (20, 25)] {
            assert_eq!(assembler.insert(Seq(from), frame(&pool, from, to), 99).ok(), Some(true));
        }
        assert_eq!(ranges(&assembler.blocks(4)), [(10, 25), (50, 60), (30, 40)]);
        assert_eq!(ranges(&assembler.blocks(2)), [(10, 25), (50, 60)]);
        assert_eq!(assembler.insert(Seq(12), frame(&pool, 12, 24), 99).ok(), Some(false), "nothing new");
        assert!(assembler.insert(Seq(99), frame(&pool, 99, 100), 4).is_err(), "full");
    }

    proptest! {
        #[test]
        fn hands_out_every_byte_once_and_in_order(pieces in proptest::collection::vec((0u32..200, 1u32..40), 1..60)) {
            let pool = Pool::new(PoolConfig::default());
            let base = u32::MAX - 100; // across the wrap
            let mut assembler = Assembler::default();
            let mut model = vec![false; 240];
            for (from, len) in &pieces {
                let new = (*from..from + len).any(|i| !model[i as usize]);
                let inserted = assembler.insert(Seq(base) + *from, frame(&pool, *from, from + len), 1000).ok();
                prop_assert_eq!(inserted, Some(new));
                (*from..from + len).for_each(|i| model[i as usize] = true);
                prop_assert_eq!(assembler.len as usize, model.iter().filter(|held| **held).count());
            }
            let mut at = 0u32;
            while at < 240 {
                match assembler.pop(Seq(base) + at) {
                    Some(frame) => {
                        for byte in frame.fragments().flatten() {
                            prop_assert!(model[at as usize] && *byte == at as u8);
                            at += 1;
                        }
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

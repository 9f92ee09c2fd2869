//! The long packets that were sent lately. Whoever says that one was too big for a path may be anybody, and has to know of one
//! that was: else he fills the table of paths with what he likes, and sees by what he finds missing there which port of ours
//! sends to somebody else (CVE-2021-20322; RFC 8085 §5.1, RFC 8899 §4.6.1).

use alloc::vec::Vec;
use core::time::Duration;

use hayase_time::Instant;

/// How long a complaint may take: many round trips, and what the packet and it waited in queues.
const LATELY: Duration = Duration::from_secs(10);

/// Places that a packet may be remembered in.
const WAY_COUNT: usize = 4;

/// The longest packet that went to somebody since `at`. No length: a free place.
#[derive(Debug, Clone, Copy, Default)]
struct LongOne {
    /// Of whom it went to, as much as tells him from others: part of a secret hash.
    tag: u32,
    /// Milliseconds, which come round: what is older than seven weeks may look new for once.
    at: u32,
    len: u16,
}

impl LongOne {
    fn is_recent(self, now: u32) -> bool {
        self.len > 0 && u128::from(now.wrapping_sub(self.at)) < LATELY.as_millis()
    }
}

/// A memory of a bounded number of long packets that takes as much as it needs: nothing, if there are none.
#[derive(Debug)]
pub(crate) struct LongOnes {
    sets: Vec<[LongOne; WAY_COUNT]>,
    sets_max: usize,
}

impl LongOnes {
    /// A memory of `count_max` packets, a power of two. It forgets the oldest first.
    pub(crate) const fn new(count_max: usize) -> LongOnes {
        LongOnes { sets: Vec::new(), sets_max: count_max / WAY_COUNT }
    }

    /// A packet of that length went to whom `hash` stands for, which nobody else can compute.
    pub(crate) fn note(&mut self, hash: u64, len: usize, now: Instant) {
        let len = u16::try_from(len).unwrap_or(u16::MAX);
        let new = LongOne { tag: hash as u32, at: now.as_millis() as u32, len };
        if self.sets.is_empty() {
            self.sets.push([LongOne::default(); WAY_COUNT]);
        }
        while !self.put(new) {
            self.grow(new.at);
        }
    }

    /// Whether a packet longer than `mtu` went there lately.
    pub(crate) fn has_longer(&self, hash: u64, mtu: usize, now: Instant) -> bool {
        let (tag, now) = (hash as u32, now.as_millis() as u32);
        let set = self.sets.get(self.set_of(tag)).into_iter().flatten();
        set.filter(|one| one.tag == tag && one.is_recent(now)).any(|one| usize::from(one.len) > mtu)
    }

    /// The lowest bits say where; there are a power of two of sets.
    fn set_of(&self, tag: u32) -> usize {
        tag as usize & self.sets.len().wrapping_sub(1)
    }

    /// False if something recent would be forgotten for it, and need not.
    fn put(&mut self, new: LongOne) -> bool {
        let (at, may_grow) = (self.set_of(new.tag), self.sets.len() < self.sets_max);
        let set = &mut self.sets[at];
        if let Some(known) = set.iter_mut().find(|one| one.len > 0 && one.tag == new.tag) {
            // A shorter one does not show that a longer one was sent lately.
            if new.len >= known.len || !known.is_recent(new.at) {
                *known = new;
            }
            return true;
        }
        let age = |one: &LongOne| if one.len > 0 { new.at.wrapping_sub(one.at) } else { u32::MAX };
        let Some(oldest) = set.iter_mut().max_by_key(|one| age(one)) else { return true };
        let has_place = !may_grow || !oldest.is_recent(new.at);
        if has_place {
            *oldest = new;
        }
        has_place
    }

    fn grow(&mut self, now: u32) {
        let count = self.sets.len() * 2;
        let before = core::mem::replace(&mut self.sets, alloc::vec![[LongOne::default(); WAY_COUNT]; count]);
        for one in before.into_iter().flatten().filter(|one| one.is_recent(now)) {
            // Each set becomes two, so that there is room for all.
            self.put(one);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_millis(u32::MAX as u64 - 3000);

    #[test]
    fn l6_what_was_sent_is_remembered_for_a_while_and_no_longer_than_it_was() {
        let mut ones = LongOnes::new(16);
        assert!(!ones.has_longer(7, 1280, NOW));
        ones.note(7, 1400, NOW);
        ones.note(7, 1300, NOW + Duration::from_secs(9));
        for (mtu, after, known) in [(1399, 9, true), (1400, 9, false), (1299, 10, false)] {
            assert_eq!(ones.has_longer(7, mtu, NOW + Duration::from_secs(after)), known, "{mtu} {after}");
        }
        assert!(!ones.has_longer(8, 1280, NOW), "to somebody else");
        ones.note(7, 1300, NOW + Duration::from_secs(11));
        assert!(ones.has_longer(7, 1299, NOW + Duration::from_secs(12)));
        assert!(!ones.has_longer(7, 1300, NOW + Duration::from_secs(12)));
    }

    #[test]
    fn it_grows_to_its_bound_and_forgets_the_oldest() {
        let mut ones = LongOnes::new(16);
        let hash = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
        let knows = |ones: &LongOnes, n| ones.has_longer(hash(n), 1280, NOW + Duration::from_millis(n));
        for n in 0..1000 {
            ones.note(hash(n), 1500, NOW + Duration::from_millis(n));
            assert!(knows(&ones, n), "the latest one");
        }
        assert_eq!(ones.sets.len(), 4);
        assert!((0..900).all(|n| !knows(&ones, n)));
    }

    /// Whoever sends to one peer at a time needs no more than the least.
    #[test]
    fn what_is_old_makes_room() {
        let mut ones = LongOnes::new(1024);
        (0..1000).for_each(|n| ones.note(n * 64, 1500, NOW + LATELY * n as u32));
        assert_eq!(ones.sets.len(), 1);
    }
}

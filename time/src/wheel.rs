//! A hierarchical timer wheel (Varghese and Lauck, 1987, scheme 6).
//!
//! Deadlines are counted in ticks of 2^16 ns, so a deadline is a number of 48 bits, which is eight digits to the
//! base of 64. Each digit has a level, each value of a digit a slot. An entry hangs in the level of the highest
//! digit in which its deadline differs from the time already elapsed, in the slot of the value of that digit.
//! Three things follow:
//! - every occupied slot of a level lies ahead of the elapsed time, and every entry of a level comes before any
//!   entry of the next: the next slot is found with two bit scans, however long the wheel slept;
//! - eight digits cover all of time: there is no horizon, and no list of entries that do not fit yet;
//! - when the time reaches a slot above level 0, its entries move down by at least one level, so an entry moves
//!   at most seven times in its life.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::num::NonZeroU32;
use core::{fmt, mem};

use crate::Instant;

/// A tick is 2^16 ns, 65.5 us: finer than a delayed ACK or an RTO needs, coarse enough for short cascades.
const TICK_SHIFT: u32 = 16;
/// 64 slots a level: one machine word says which are occupied.
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// 8 levels of 6 bits are the 48 bits of the last tick of time.
const LEVELS: usize = ((u64::BITS - TICK_SHIFT) / SLOT_BITS) as usize;
const TICK_MAX: u64 = u64::MAX >> TICK_SHIFT;
/// The list of entries whose time has come, after those of the slots.
const DUE: u16 = (LEVELS * SLOTS) as u16;
const LISTS: usize = LEVELS * SLOTS + 1;
/// The list of an entry that hangs nowhere because it is free.
const NOWHERE: u16 = u16::MAX;
/// Ticks are numbers of 48 bits: lists have the rest of a word.
const LIST_BITS: u32 = u16::BITS;
/// Where there is no room left, a wheel grows by this part of what it has: doubling would leave half of it unused, and a
/// program may have a million timers.
const GROWTH: usize = 8;
/// But by no fewer entries.
const GROWTH_MIN: usize = 16;
/// The end of a list of indices.
const NONE: u32 = u32::MAX;

/// Names an entry of a [`Wheel`].
///
/// A key whose entry has expired or was removed is stale and finds nothing, also when the entry's memory has been
/// reused since (2^32 - 1 reuses of one place make a key valid again).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TimerKey {
    index: u32,
    generation: NonZeroU32,
}

struct Entry<T> {
    /// The tick of the deadline, and below it the list in which the entry hangs: 48 and 16 bits.
    place: u64,
    next: u32,
    prev: u32,
    generation: NonZeroU32,
    value: Option<T>,
}

impl<T> Entry<T> {
    #[inline]
    fn tick(&self) -> u64 {
        self.place >> LIST_BITS
    }

    #[inline]
    fn set_tick(&mut self, tick: u64) {
        self.place = tick << LIST_BITS | u64::from(self.list());
    }

    #[inline]
    fn list(&self) -> u16 {
        self.place as u16
    }

    #[inline]
    fn set_list(&mut self, list: u16) {
        self.place = self.tick() << LIST_BITS | u64::from(list);
    }
}

/// A set of values, each with the instant at which it is to be handed out again.
///
/// An entry is never handed out before its instant, and at most one tick (65.5 us) after it. All operations are
/// O(1); [`expire`](Self::expire) amortised over the life of an entry. Memory grows with the most entries that
/// were held at one time, and is reused.
///
/// ```
/// use core::time::Duration;
/// use hayase_time::{Instant, Wheel};
///
/// let mut wheel = Wheel::new(Instant::ZERO);
/// let at = Instant::from_millis(3);
/// let key = wheel.insert(at, "delayed ACK");
/// wheel.insert(at, "retransmission");
/// assert_eq!(wheel.remove(key), Some("delayed ACK"));
/// assert_eq!(wheel.expire(Instant::from_millis(2)), None);
/// assert_eq!(wheel.expire(Instant::from_millis(4)), Some("retransmission"));
/// assert_eq!(wheel.next_deadline(), None);
/// ```
pub struct Wheel<T> {
    /// The tick up to which slots have been emptied.
    elapsed: u64,
    /// Which levels hold entries.
    levels: u8,
    /// Which slots of each level hold entries.
    slots: [u64; LEVELS],
    /// The first entry of each list. Lists are rings: the entry before the first is the last.
    heads: Box<[u32; LISTS]>,
    entries: Vec<Entry<T>>,
    /// The first free entry; free entries are chained by `next`.
    free: u32,
    len: usize,
}

impl<T> Wheel<T> {
    /// An empty wheel at the instant `now`.
    #[must_use]
    pub fn new(now: Instant) -> Wheel<T> {
        Wheel {
            elapsed: now.as_nanos() >> TICK_SHIFT,
            levels: 0,
            slots: [0; LEVELS],
            heads: Box::new([NONE; LISTS]),
            entries: Vec::new(),
            free: NONE,
            len: 0,
        }
    }

    /// Number of entries.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds `value`, to be handed out at the first tick that is not before `at`.
    ///
    /// An instant in the past is due at once. (An instant in the last tick of time, 584 years from the epoch,
    /// is due at the beginning of that tick.)
    ///
    /// # Panics
    /// With 2^32 - 1 entries in the wheel.
    #[inline]
    pub fn insert(&mut self, at: Instant, value: T) -> TimerKey {
        let index = self.allocate(value);
        self.place(index, tick_not_before(at));
        self.len += 1;
        TimerKey { index, generation: self.entries[index as usize].generation }
    }

    /// Takes an entry out before its time. `None` if the key is stale.
    #[inline]
    pub fn remove(&mut self, key: TimerKey) -> Option<T> {
        self.entry(key)?;
        self.unlink(key.index);
        self.release(key.index)
    }

    /// Gives an entry another instant. `false` if the key is stale.
    #[inline]
    pub fn reset(&mut self, key: TimerKey, at: Instant) -> bool {
        let tick = tick_not_before(at);
        match self.entry(key).map(Entry::tick) {
            None => false,
            Some(same) if same == tick => true,
            Some(_) => {
                self.unlink(key.index);
                self.place(key.index, tick);
                true
            }
        }
    }

    /// The value of an entry. `None` if the key is stale.
    #[inline]
    #[must_use]
    pub fn get(&self, key: TimerKey) -> Option<&T> {
        self.entry(key)?.value.as_ref()
    }

    /// The value of an entry. `None` if the key is stale.
    #[inline]
    pub fn get_mut(&mut self, key: TimerKey) -> Option<&mut T> {
        let entry = self.entries.get_mut(key.index as usize)?;
        if entry.generation == key.generation { entry.value.as_mut() } else { None }
    }

    /// Hands out one entry whose instant has come, those of earlier ticks first and those of one tick in the
    /// order of their insertion. (An entry inserted when its instant had passed counts to the tick of its
    /// insertion.) Call it until it returns `None`.
    ///
    /// Empty time costs nothing: the wheel jumps from occupied slot to occupied slot. A `now` before that of an
    /// earlier call changes nothing.
    #[inline]
    pub fn expire(&mut self, now: Instant) -> Option<T> {
        let now = now.as_nanos() >> TICK_SHIFT;
        loop {
            let due = self.heads[DUE as usize];
            if due != NONE {
                self.unlink(due);
                return self.release(due);
            }
            match self.next_slot() {
                Some((list, start)) if start <= now => self.open(list, start),
                _ => {
                    // Every occupied slot starts after `now`, so no digit that placed an entry changes.
                    self.elapsed = self.elapsed.max(now);
                    return None;
                }
            }
        }
    }

    /// When to call [`expire`](Self::expire) next.
    ///
    /// Exact to the tick for an entry of the next few milliseconds. For a farther one it may be earlier than the
    /// entry's instant, when the entry only moves down in the wheel, but never later than the tick at which the
    /// entry is handed out. In the past if entries are waiting to be handed out.
    #[inline]
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let tick = if self.heads[DUE as usize] != NONE { self.elapsed } else { self.next_slot()?.1 };
        Some(Instant::from_nanos(tick << TICK_SHIFT))
    }

    /// The next occupied slot, as its list, and the tick at which it starts.
    #[inline]
    fn next_slot(&self) -> Option<(u16, u64)> {
        if self.levels == 0 {
            return None;
        }
        let level = self.levels.trailing_zeros() as usize % LEVELS;
        let slot = self.slots[level].trailing_zeros();
        let shift = level as u32 * SLOT_BITS;
        let above = self.elapsed >> shift >> SLOT_BITS << SLOT_BITS;
        Some((list(level, slot), (above | u64::from(slot)) << shift))
    }

    /// Moves the entries of a slot whose time has come to where they belong now.
    fn open(&mut self, list: u16, start: u64) {
        self.elapsed = start;
        let first = mem::replace(&mut self.heads[list as usize], NONE);
        self.set_vacant(list);
        let mut index = first;
        loop {
            let entry = &self.entries[index as usize];
            let (next, tick) = (entry.next, entry.tick());
            self.place(index, tick);
            if next == first {
                return;
            }
            index = next;
        }
    }

    /// Hangs an entry into the list that its deadline demands.
    #[inline]
    fn place(&mut self, index: u32, tick: u64) {
        self.entries[index as usize].set_tick(tick);
        if tick <= self.elapsed {
            return self.link(index, DUE);
        }
        let level = ((tick ^ self.elapsed).ilog2() / SLOT_BITS) as usize;
        let slot = (tick >> (level as u32 * SLOT_BITS)) as u32 % SLOTS as u32;
        self.levels |= 1 << level;
        self.slots[level] |= 1 << slot;
        self.link(index, list(level, slot));
    }

    /// Appends an entry to a list.
    #[inline]
    fn link(&mut self, index: u32, list: u16) {
        let head = &mut self.heads[list as usize];
        let (first, last) = if *head == NONE {
            *head = index;
            (index, index)
        } else {
            (*head, mem::replace(&mut self.entries[*head as usize].prev, index))
        };
        let entry = &mut self.entries[index as usize];
        entry.set_list(list);
        entry.next = first;
        entry.prev = last;
        self.entries[last as usize].next = index;
    }

    /// Takes an entry out of its list.
    #[inline]
    fn unlink(&mut self, index: u32) {
        let entry = &self.entries[index as usize];
        let (next, prev, list) = (entry.next, entry.prev, entry.list());
        if next == index {
            self.heads[list as usize] = NONE;
            self.set_vacant(list);
            return;
        }
        self.entries[prev as usize].next = next;
        self.entries[next as usize].prev = prev;
        let head = &mut self.heads[list as usize];
        if *head == index {
            *head = next;
        }
    }

    /// Notes that a list has become empty.
    #[inline]
    fn set_vacant(&mut self, list: u16) {
        if list == DUE {
            return;
        }
        let level = list as usize / SLOTS;
        self.slots[level] &= !(1 << (list as usize % SLOTS));
        if self.slots[level] == 0 {
            self.levels &= !(1 << level);
        }
    }

    #[inline]
    fn entry(&self, key: TimerKey) -> Option<&Entry<T>> {
        self.entries.get(key.index as usize).filter(|entry| entry.generation == key.generation)
    }

    /// An entry with `value` that hangs nowhere yet.
    #[inline]
    fn allocate(&mut self, value: T) -> u32 {
        let index = self.free;
        let Some(entry) = self.entries.get_mut(index as usize) else { return self.grow(value) };
        self.free = entry.next;
        entry.value = Some(value);
        index
    }

    #[cold]
    fn grow(&mut self, value: T) -> u32 {
        let index = u32::try_from(self.entries.len()).ok().filter(|index| *index != NONE);
        let index = index.expect("a timer wheel holds at most 2^32 - 1 entries");
        let entry = Entry {
            place: u64::from(NOWHERE),
            next: NONE,
            prev: NONE,
            generation: NonZeroU32::MIN,
            value: Some(value),
        };
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve_exact((self.entries.len() / GROWTH).max(GROWTH_MIN));
        }
        self.entries.push(entry);
        index
    }

    /// Frees an unlinked entry and makes its keys stale.
    #[inline]
    fn release(&mut self, index: u32) -> Option<T> {
        let entry = &mut self.entries[index as usize];
        entry.generation = entry.generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        entry.set_list(NOWHERE);
        entry.next = mem::replace(&mut self.free, index);
        self.len -= 1;
        entry.value.take()
    }
}

impl<T> fmt::Debug for Wheel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let elapsed = Instant::from_nanos(self.elapsed << TICK_SHIFT);
        f.debug_struct("Wheel")
            .field("elapsed", &elapsed)
            .field("len", &self.len)
            .field("next_deadline", &self.next_deadline())
            .finish_non_exhaustive()
    }
}

/// Rounds up: a timer may be late by a tick, but never early.
#[inline]
fn tick_not_before(at: Instant) -> u64 {
    let nanos = at.as_nanos();
    let partial = nanos & ((1 << TICK_SHIFT) - 1) != 0;
    ((nanos >> TICK_SHIFT) + u64::from(partial)).min(TICK_MAX)
}

#[inline]
fn list(level: usize, slot: u32) -> u16 {
    (level * SLOTS) as u16 | slot as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_tick(tick: u64) -> Instant {
        Instant::from_nanos(tick << TICK_SHIFT)
    }

    #[test]
    fn a_key_is_a_word_and_stays_one_in_an_option() {
        assert_eq!(size_of::<TimerKey>(), 8);
        assert_eq!(size_of::<Option<TimerKey>>(), 8);
    }

    #[test]
    fn an_entry_of_a_small_number_is_three_words() {
        assert_eq!(size_of::<Entry<NonZeroU32>>(), 24);
    }

    #[test]
    fn stale_keys_find_nothing() {
        let mut wheel = Wheel::new(Instant::ZERO);
        let first = wheel.insert(at_tick(5), 'a');
        assert_eq!(wheel.remove(first), Some('a'));
        let second = wheel.insert(at_tick(5), 'b');
        assert_eq!(second.index, first.index, "memory is reused");
        assert_eq!(wheel.remove(first), None);
        assert!(!wheel.reset(first, at_tick(1)));
        assert_eq!(wheel.get(first), None);
        assert_eq!(wheel.get_mut(first), None);
        assert_eq!((wheel.get(second), wheel.len()), (Some(&'b'), 1));
    }

    #[test]
    fn the_past_is_due_at_once_and_can_still_be_removed() {
        let mut wheel = Wheel::new(at_tick(1_000));
        let removed = wheel.insert(Instant::ZERO, 1);
        wheel.insert(at_tick(1_000), 2);
        assert!(wheel.next_deadline().unwrap() <= at_tick(1_000));
        assert_eq!(wheel.remove(removed), Some(1));
        assert_eq!(wheel.expire(at_tick(1_000)), Some(2));
        assert_eq!(wheel.expire(at_tick(1_000)), None);
        assert_eq!(wheel.next_deadline(), None);
    }

    #[test]
    fn one_tick_keeps_the_order_of_insertion() {
        let mut wheel = Wheel::new(Instant::ZERO);
        for value in 0..5 {
            wheel.insert(at_tick(70_000), value);
        }
        let fired: Vec<_> = core::iter::from_fn(|| wheel.expire(at_tick(70_000))).collect();
        assert_eq!(fired, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn an_entry_moves_down_at_most_once_a_level() {
        let mut wheel = Wheel::new(Instant::ZERO);
        let far = Instant::from_nanos(u64::MAX / 3);
        wheel.insert(far, ());
        let mut jumps = 0;
        let mut fired = None;
        while fired.is_none() {
            let next = wheel.next_deadline().unwrap();
            assert!(next <= Instant::from_nanos((tick_not_before(far)) << TICK_SHIFT));
            fired = wheel.expire(next);
            jumps += 1;
        }
        assert!(jumps <= LEVELS, "{jumps} jumps");
    }

    #[test]
    fn the_end_of_time_is_reached() {
        let mut wheel = Wheel::new(Instant::ZERO);
        wheel.insert(Instant::MAX, ());
        assert_eq!(wheel.expire(at_tick(TICK_MAX - 1)), None);
        assert_eq!(wheel.expire(Instant::MAX), Some(()));
    }

    #[test]
    fn time_that_runs_backwards_is_ignored() {
        let mut wheel = Wheel::new(Instant::ZERO);
        assert_eq!(wheel.expire(at_tick(100)), None);
        wheel.insert(at_tick(110), ());
        assert_eq!(wheel.expire(at_tick(3)), None);
        assert_eq!(wheel.next_deadline(), Some(at_tick(110)));
        assert_eq!(wheel.expire(at_tick(110)), Some(()));
    }

    #[test]
    fn a_reset_moves_both_ways() {
        let mut wheel = Wheel::new(Instant::ZERO);
        let key = wheel.insert(at_tick(10), ());
        assert!(wheel.reset(key, at_tick(500)));
        assert_eq!(wheel.expire(at_tick(499)), None);
        assert!(wheel.reset(key, at_tick(7)), "back into the past");
        assert_eq!(wheel.expire(at_tick(499)), Some(()));
        assert!(!wheel.reset(key, at_tick(600)));
    }
}

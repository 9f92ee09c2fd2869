//! TIME-WAIT (RFC 9293 §3.10.7.4, RFC 6191): what is left of a connection in 64 bytes.

use alloc::collections::VecDeque;

use hayase_device::Frame;
use hayase_time::Instant;

use super::connection::Connection;
use super::flow::Tuple;
use super::segment::{Reply, Segment};
use crate::config::Config;
use crate::seq::Seq;
use crate::slab::Slab;
use crate::wire::tcp::{Flags, Options, Timestamps};

/// A connection that both sides closed.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeWait {
    pub(super) tuple: Tuple,
    pub(super) snd_nxt: Seq,
    pub(super) rcv_nxt: Seq,
    ts_recent: u32,
    ts_offset: u32,
    has_timestamps: bool,
    /// What its last acknowledgement said: a window never shrinks (SHLD-14), not even one that is of no use.
    window: u16,
    /// When it was last heard of, in tenths of a second.
    heard_ds: u16,
    /// Which of this slot's deadlines counts: a repeated FIN starts the time again.
    renewals: u16,
}

/// What a segment does to a TIME_WAIT entry.
#[derive(Debug)]
pub(super) enum Arrival {
    /// Nothing.
    Ignored,
    /// It is answered.
    Answer(Reply),
    /// So is the peer's FIN, which lacks our last ACK: the time starts again (MUST-13).
    Repeated(Reply),
    /// The peer opens a new connection: the entry makes room for it (MAY-2), if there is a use for it.
    Reopen,
    /// A reset ends it.
    Closed,
}

impl TimeWait {
    pub(super) fn of<F: Frame>(connection: &Connection<F>, now: Instant) -> TimeWait {
        TimeWait {
            tuple: connection.tuple,
            snd_nxt: connection.snd_nxt,
            rcv_nxt: connection.rcv_nxt,
            ts_recent: connection.ts_recent,
            ts_offset: connection.ts_offset,
            has_timestamps: connection.timestamps_ok,
            window: connection.window_field(),
            heard_ds: deciseconds(now),
            renewals: 0,
        }
    }

    pub(super) fn arrives<F: Frame>(&self, segment: &Segment<'_, F>, now: Instant) -> Arrival {
        if segment.has(Flags::RST) {
            // A stray reset does not cut TIME_WAIT short; one at RCV.NXT does, as in any other state (RFC 9293 §3.10.7.4, second)
            // and as by default in Linux. RFC 1337 §3 would have every one ignored: an old duplicate may come to lie there.
            return if segment.seq == self.rcv_nxt { Arrival::Closed } else { Arrival::Ignored };
        }
        if segment.has(Flags::SYN) && !segment.has(Flags::ACK) {
            // With a FIN it opens nothing.
            if self.is_newer(segment) && !segment.has(Flags::FIN) {
                return Arrival::Reopen;
            }
            return Arrival::Answer(self.answer(now));
        }
        if segment.has(Flags::FIN) && segment.text_end() + 1 == self.rcv_nxt {
            return Arrival::Repeated(self.answer(now));
        }
        if segment.sequence_len() > 0 {
            // An old duplicate, or somebody guesses.
            return Arrival::Answer(self.answer(now));
        }
        // A bare ACK asks for none: two hosts that disagree would answer each other for a minute.
        Arrival::Ignored
    }

    /// Whether a SYN can only be of a new incarnation: by its timestamp (RFC 6191 §2), else by its sequence
    /// number.
    fn is_newer<F: Frame>(&self, segment: &Segment<'_, F>) -> bool {
        match segment.header.options.timestamps {
            Some(timestamps) if self.has_timestamps && timestamps.val != self.ts_recent => {
                timestamps.val.wrapping_sub(self.ts_recent) as i32 > 0
            }
            _ => segment.seq.after(self.rcv_nxt),
        }
    }

    /// Whether a connection that we open may take its place, as with Linux's `tcp_tw_reuse`: by its timestamps the peer tells
    /// whatever is left of this one on the way from what is new (RFC 6191 §2), if they are newer for certain.
    pub(super) fn may_be_succeeded(&self, now: Instant) -> bool {
        self.has_timestamps && deciseconds(now).wrapping_sub(self.heard_ds) > SUCCESSION_AGE_DS
    }

    /// The clock of a connection that takes its place goes on from where this one's is.
    pub(super) fn ts_offset(&self) -> u32 {
        self.ts_offset
    }

    /// The acknowledgement of everything.
    pub(super) fn answer(&self, now: Instant) -> Reply {
        let val = (now.as_millis() as u32).wrapping_add(self.ts_offset);
        Reply {
            tuple: self.tuple,
            seq: self.snd_nxt,
            ack: Some(self.rcv_nxt),
            flags: Flags::ACK,
            window: self.window,
            tos: 0,
            options: Options {
                timestamps: self.has_timestamps.then_some(Timestamps { val, ecr: self.ts_recent }),
                ..Options::default()
            },
        }
    }
}

/// A second, as in Linux, and more by what the unit leaves open.
const SUCCESSION_AGE_DS: u16 = 10;

/// Tenths of a second. They come around after two hours: by then an entry is gone, or waits a second longer.
fn deciseconds(now: Instant) -> u16 {
    (now.as_millis() / 100) as u16
}

/// So many deadlines are not worth a look at whether they count.
const QUEUE_LEN_MIN: usize = 64;

/// All entries. They all live equally long, so their deadlines stand in a queue.
#[derive(Debug)]
pub(super) struct TimeWaits {
    entries: Slab<TimeWait>,
    queue: VecDeque<Deadline>,
}

#[derive(Debug)]
struct Deadline {
    at: Instant,
    index: u32,
    generation: u32,
    renewals: u16,
}

impl TimeWaits {
    pub(super) fn new(config: &Config) -> TimeWaits {
        TimeWaits { entries: Slab::new(config.time_wait_max), queue: VecDeque::new() }
    }

    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<&TimeWait> {
        self.entries.get(index)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds an entry. If there is no room the oldest goes, and is returned.
    pub(super) fn insert(&mut self, entry: TimeWait, at: Instant) -> (Option<u32>, Option<(u32, TimeWait)>) {
        let evicted = if self.entries.is_full() { self.pop_oldest() } else { None };
        let Ok((index, generation)) = self.entries.insert(entry) else { return (None, evicted) };
        self.enqueue(Deadline { at, index, generation, renewals: 0 });
        (Some(index), evicted)
    }

    /// Deadlines of entries that went before their time, or were given more of it, stay where they are until they come
    /// due, or until they are as many as the others: so the queue is bounded as the entries are, however often a peer
    /// opens and closes the same connection.
    fn enqueue(&mut self, deadline: Deadline) {
        if self.queue.len() >= QUEUE_LEN_MIN.max(2 * self.entries.len()) {
            let entries = &self.entries;
            self.queue.retain(|deadline| is_current(entries, deadline));
        }
        self.queue.push_back(deadline);
    }

    pub(super) fn remove(&mut self, index: u32) -> Option<TimeWait> {
        self.entries.remove(index)
    }

    /// Starts the time of an entry again, a few times: until `at`.
    pub(super) fn renew(&mut self, index: u32, now: Instant, at: Instant) {
        const RENEWALS_MAX: u16 = 8;
        let generation = self.entries.generation(index);
        if let Some(entry) = self.entries.get_mut(index)
            && entry.renewals < RENEWALS_MAX
        {
            entry.renewals += 1;
            entry.heard_ds = deciseconds(now);
            let renewals = entry.renewals;
            self.enqueue(Deadline { at, index, generation, renewals });
        }
    }

    /// Takes out an entry whose time is over.
    pub(super) fn expire(&mut self, now: Instant) -> Option<(u32, TimeWait)> {
        while self.queue.front()?.at <= now {
            let deadline = self.queue.pop_front()?;
            if is_current(&self.entries, &deadline) {
                return Some((deadline.index, self.entries.remove(deadline.index)?));
            }
        }
        None
    }

    fn pop_oldest(&mut self) -> Option<(u32, TimeWait)> {
        loop {
            let deadline = self.queue.pop_front()?;
            if is_current(&self.entries, &deadline) {
                return Some((deadline.index, self.entries.remove(deadline.index)?));
            }
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.queue.front().map(|deadline| deadline.at)
    }
}

/// Whether a deadline still counts.
fn is_current(entries: &Slab<TimeWait>, deadline: &Deadline) -> bool {
    let entry = entries.get_generation(deadline.index, deadline.generation);
    entry.is_some_and(|entry| entry.renewals == deadline.renewals)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::connection::Opening;
    use crate::tcp::state::State;
    use alloc::vec::Vec;
    use hayase_device::heap::HeapFrame;

    fn entry(port: u16) -> TimeWait {
        let tuple = Tuple::new(([10, 0, 0, 1], 80).into(), ([10, 0, 0, 2], port).into());
        let (state, iss, now) = (State::TimeWait, Seq(0), Instant::ZERO);
        let opening = Opening { tuple, state, iss, ts_offset: 0, mss: 1460, now };
        TimeWait::of(&Connection::<HeapFrame>::new(opening, &Config::default()), now)
    }

    /// Of a connection that is opened and closed anew 100,000 times, each time with as many FINs as count, hardly more is
    /// left than of one, and the others keep their time.
    #[test]
    fn entries_that_go_before_their_time_leave_nothing_behind() {
        let mut all = TimeWaits::new(&Config::default());
        let at = Instant::from_millis;
        let others: Vec<u32> = (0..100).map(|n| all.insert(entry(n), at(50_000)).0.unwrap()).collect();
        for n in 0..100_000 {
            let (index, evicted) = all.insert(entry(4000), at(60_000 + n));
            assert!(evicted.is_none());
            (0..20).for_each(|_| all.renew(index.unwrap(), at(n), at(60_000 + n)));
            assert!(all.queue.len() <= 202, "{} deadlines of {} entries", all.queue.len(), all.len());
            assert!(n == 99_999 || all.remove(index.unwrap()).is_some());
        }
        let mut over: Vec<u32> =
            core::iter::from_fn(|| all.expire(at(50_000))).map(|(index, _)| index).collect();
        over.sort_unstable();
        assert_eq!((over, all.len()), (others, 1));
        assert!(all.expire(at(159_998)).is_none());
        assert!(all.expire(at(159_999)).is_some() && all.deadline().is_none());
    }

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<TimeWait>() <= 64, "{} bytes", size_of::<TimeWait>());
    }
}

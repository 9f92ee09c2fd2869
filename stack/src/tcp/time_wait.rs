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
    /// The peer opens a new connection: the entry makes room (MAY-2).
    Reopen,
    /// A reset ends it.
    Closed,
}

impl TimeWait {
    pub(super) fn of<F: Frame>(connection: &Connection<F>) -> TimeWait {
        TimeWait {
            tuple: connection.tuple,
            snd_nxt: connection.snd_nxt,
            rcv_nxt: connection.rcv_nxt,
            ts_recent: connection.ts_recent,
            ts_offset: connection.ts_offset,
            has_timestamps: connection.timestamps_ok,
            window: (connection.rcv_wnd() >> connection.rcv_wscale).min(u32::from(u16::MAX)) as u16,
            renewals: 0,
        }
    }

    pub(super) fn arrives<F: Frame>(&self, segment: &Segment<'_, F>, now: Instant) -> Arrival {
        if segment.has(Flags::RST) {
            // RFC 1337: a stray reset must not cut TIME_WAIT short. Only the exact one is the peer's.
            return if segment.seq == self.rcv_nxt { Arrival::Closed } else { Arrival::Ignored };
        }
        if segment.has(Flags::SYN) && !segment.has(Flags::ACK) {
            if self.is_newer(segment) {
                return Arrival::Reopen;
            }
            return Arrival::Answer(self.answer(now));
        }
        if segment.sequence_len() > 0 {
            // A repeated FIN, or an old duplicate: the peer lacks our last ACK.
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

    /// The acknowledgement of everything.
    pub(super) fn answer(&self, now: Instant) -> Reply {
        let val = (now.as_millis() as u32).wrapping_add(self.ts_offset);
        Reply {
            tuple: self.tuple,
            seq: self.snd_nxt,
            ack: Some(self.rcv_nxt),
            flags: Flags::ACK,
            window: self.window,
            options: Options {
                timestamps: self.has_timestamps.then_some(Timestamps { val, ecr: self.ts_recent }),
                ..Options::default()
            },
        }
    }
}

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
        self.queue.push_back(Deadline { at, index, generation, renewals: 0 });
        (Some(index), evicted)
    }

    pub(super) fn remove(&mut self, index: u32) -> Option<TimeWait> {
        self.entries.remove(index)
    }

    /// Starts the time of an entry again. The number of renewals is bounded, and so is the queue.
    pub(super) fn renew(&mut self, index: u32, at: Instant) {
        const RENEWALS_MAX: u16 = 8;
        let generation = self.entries.generation(index);
        if let Some(entry) = self.entries.get_mut(index)
            && entry.renewals < RENEWALS_MAX
        {
            entry.renewals += 1;
            self.queue.push_back(Deadline { at, index, generation, renewals: entry.renewals });
        }
    }

    /// Takes out an entry whose time is over.
    pub(super) fn expire(&mut self, now: Instant) -> Option<(u32, TimeWait)> {
        while self.queue.front()?.at <= now {
            let deadline = self.queue.pop_front()?;
            if self.is_current(&deadline) {
                return Some((deadline.index, self.entries.remove(deadline.index)?));
            }
        }
        None
    }

    fn pop_oldest(&mut self) -> Option<(u32, TimeWait)> {
        loop {
            let deadline = self.queue.pop_front()?;
            if self.is_current(&deadline) {
                return Some((deadline.index, self.entries.remove(deadline.index)?));
            }
        }
    }

    fn is_current(&self, deadline: &Deadline) -> bool {
        self.entries
            .get_generation(deadline.index, deadline.generation)
            .is_some_and(|entry| entry.renewals == deadline.renewals)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.queue.front().map(|deadline| deadline.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<TimeWait>() <= 64, "{} bytes", size_of::<TimeWait>());
    }
}

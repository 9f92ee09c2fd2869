//! What gives way when all that is kept for applications and peers takes too much of the device's buffers (Linux's
//! `tcp_mem` and `tcp_prune_queue`).
//!
//! Receiving needs buffers too: were all of them held, no acknowledgement would come in, no retransmission that fills a hole,
//! no reset, and nothing would ever be let go. So the more is held, the less a connection may add: first what waits behind
//! a hole, which its sender keeps and sends again (RFC 2018 §8), then what the application has not read, last what it
//! writes. No window shrinks by it: what finds no place is lost, as it may be on any path. And where next to nothing is left,
//! connections go whose peers take nothing of what is held for them.

use alloc::collections::VecDeque;
use core::mem;
use core::time::Duration;

use hayase_device::{Device, Frame};
use hayase_time::Instant;

use super::Tcp;
use super::connection::{Connection, Listed, Place};
use crate::config::Config;
use crate::counters::{Count, Counters, Drop};
use crate::egress::Egress;
use crate::slab::Slab;
use crate::socket::Ready;

/// How much too much is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pressure {
    /// No more than the budget.
    None,
    /// More than that.
    Over,
    /// More than one and a half times that.
    Far,
    /// More than one and five eighths.
    Full,
    /// More than one and three quarters.
    Brim,
}

impl Pressure {
    pub(crate) fn of(held: usize, budget: usize) -> Pressure {
        match held.saturating_sub(budget) {
            0 => Pressure::None,
            excess if excess <= budget / 2 => Pressure::Over,
            excess if excess <= budget / 8 * 5 => Pressure::Far,
            excess if excess <= budget / 4 * 3 => Pressure::Full,
            _ => Pressure::Brim,
        }
    }

    /// Bytes of buffers with what the application is to read, from which on a connection, or a socket for datagrams, takes
    /// no more.
    pub(crate) fn unread_len(self) -> usize {
        match self {
            Pressure::None => usize::MAX,
            Pressure::Over => 64 * 1024,
            // Whoever has nothing gets something.
            Pressure::Far | Pressure::Full => 1,
            Pressure::Brim => 0,
        }
    }

    /// The same of what waits behind a hole.
    pub(super) fn out_of_order_len(self) -> usize {
        match self {
            Pressure::None => usize::MAX,
            Pressure::Over => 16 * 1024,
            Pressure::Far | Pressure::Full | Pressure::Brim => 0,
        }
    }

    /// What a connection may keep for its peer, in bytes.
    pub(super) fn send_len(self) -> usize {
        match self {
            Pressure::None => usize::MAX,
            Pressure::Over => 16 * 1024,
            // A segment, or a connection whose peer waits for it would never go on.
            Pressure::Far => 1500,
            // What is left is for what comes in, and with it the acknowledgements that let go of something. Writers line up.
            Pressure::Full | Pressure::Brim => 0,
        }
    }
}

/// Connections that are looked at, for one segment, for what they could let go of.
pub(super) const LOOKS_MAX: usize = 16;

/// So many places of a line are not worth a look at whether who stood there still does.
const LINE_LEN_MIN: usize = 64;

/// Writers who are told, in one turn, that they may go on: the least, and the most.
const FED_MIN: usize = 8;
const FED_MAX: usize = 64;

/// Places of the line that are looked at in one turn for these.
const FED_LOOKS_MAX: usize = 4 * FED_MAX;

/// For so long nothing was let go of, before some may have a segment each: the shortest time after which a peer may be given up
/// for lost.
const SPARE_AFTER: Duration = Duration::from_millis(200);

/// A buffer that holds a segment, more or less, in bytes.
const SPARED_LEN: usize = 2048;

impl<F: Frame> Tcp<F> {
    /// How much too much all connections and datagrams hold.
    #[inline]
    pub(crate) fn pressure(&self, config: &Config) -> Pressure {
        Pressure::of(self.agenda.memory_len, config.memory_len_max)
    }

    /// Datagrams hold so many bytes of buffers by now: they are in the same account.
    pub(crate) fn charge_datagrams(&mut self, len: usize) {
        self.agenda.memory_len = self.agenda.memory_len - self.datagrams_len + len;
        self.datagrams_len = len;
    }

    /// The connection holds something out of order, and is one of those that are asked to let go of it.
    pub(super) fn note_disordered(&mut self, index: u32) {
        line_up(&mut self.disordered, &mut self.connections, index, |listed| &mut listed.disordered);
    }

    /// A writer found no buffers, and is one of those who are told when there are.
    pub(super) fn note_hungry(&mut self, index: u32) {
        line_up(&mut self.hungry, &mut self.connections, index, |listed| &mut listed.hungry);
        self.can_feed = true;
    }

    /// What was written has been sent, as far as it may be: tells writers in the line that they may go on, if there are buffers.
    /// Who has waited longest is first, and no more are told than there is room for, or than twice as many as wrote in this
    /// turn: they would find that others have written enough.
    #[inline(never)]
    pub(super) fn feed<D>(&mut self, egress: &mut Egress<'_, F, D>, config: &Config)
    where
        D: Device<Frame = F>,
    {
        let written_count = mem::take(&mut self.written_count);
        self.written_len = 0;
        self.can_feed = false;
        self.strike_the_sated();
        if self.hungry.is_empty() || egress.device.alloc(1).is_none() {
            return;
        }
        let count = (2 * written_count).clamp(FED_MIN, FED_MAX);
        match self.pressure(config) {
            Pressure::None | Pressure::Over => self.feed_some(count, None),
            pressure => {
                let served = self.served_count(egress.now);
                let count = match pressure {
                    // One at a time always finds its place: there is some left above.
                    Pressure::Far => count.min(self.room_before_full(config).max(1)),
                    _ => self.spared_count(egress, config),
                };
                self.feed_some(count.saturating_sub(served), Some(egress.now));
            }
        }
    }

    /// Tells the first `count` of the line. Where nearly everything is held, at `served_at`, what they may write is theirs:
    /// who asks anew does not take it.
    fn feed_some(&mut self, count: usize, served_at: Option<Instant>) {
        let mut fed = 0;
        for _ in 0..FED_LOOKS_MAX {
            if fed == count {
                break;
            }
            let Some(index) = self.hungry.pop_front() else { return };
            let Some(connection) = self.connections.get_mut(index) else { continue };
            if connection.listed.hungry != Place::InLine {
                continue;
            }
            connection.listed.hungry = Place::None;
            if let Some(at) = served_at {
                connection.listed.hungry = Place::Served;
                self.served.push((index, at));
            }
            connection.write_blocked = false;
            connection.events |= Ready::WRITABLE;
            self.agenda.announce(connection, index);
            fed += 1;
        }
        self.can_feed = fed > 0 && !self.hungry.is_empty();
    }

    /// How many were served and have not written yet. Who has not for a while does not want to any more.
    fn served_count(&mut self, now: Instant) -> usize {
        let connections = &mut self.connections;
        self.served.retain(|&(index, at)| {
            let is_served = |c: &&mut Connection<F>| c.listed.hungry == Place::Served;
            let Some(connection) = connections.get_mut(index).filter(is_served) else { return false };
            let is_over = now >= at + SPARE_AFTER;
            if is_over {
                connection.listed.hungry = Place::None;
            }
            !is_over
        });
        self.served.len()
    }

    /// Whoever is at the head of the line and wants nothing any more leaves it.
    fn strike_the_sated(&mut self) {
        while let Some(index) = self.hungry.front() {
            if self
                .connections
                .get(*index)
                .is_some_and(|connection| connection.listed.hungry == Place::InLine)
            {
                return;
            }
            self.hungry.pop_front();
        }
    }

    /// Segments that may be written before the pressure is [`Pressure::Full`].
    fn room_before_full(&self, config: &Config) -> usize {
        (config.memory_len_max / 8 * 13).saturating_sub(self.agenda.memory_len) / SPARED_LEN
    }

    /// How many writers may have a segment each, although too much is held. It may be held for tasks that do not read
    /// because they wait to write: so the line never stands still for good, and goes on as long as less is held each time.
    fn spared_count<D>(&mut self, egress: &mut Egress<'_, F, D>, config: &Config) -> usize
    where
        D: Device<Frame = F>,
    {
        let (now, held) = (egress.now, self.agenda.memory_len);
        let is_late = now >= self.spared_at + SPARE_AFTER;
        // Replies keep their room, unless nothing else helps: then a part of what is left is given away each time.
        let limit = if is_late { spared_end(config) } else { config.memory_len_max / 4 * 7 };
        let left = limit.saturating_sub(held) / SPARED_LEN;
        let count = left.min(if is_late { FED_MIN.max(left / 4) } else { FED_MIN });
        if !is_late && (count == 0 || held >= self.spared_at_len) {
            return 0;
        }
        (self.spared_at, self.spared_at_len) = (now, held);
        if count == 0 {
            // What was spared before is held for peers that are gone, of whom nothing comes that would have them looked at.
            self.abort_stuck(now, config, egress.counters);
        }
        count
    }

    /// Something came: if too much is held, what has waited behind a hole for the longest time goes.
    #[inline]
    pub(crate) fn relieve_if_needed(&mut self, now: Instant, config: &Config, counters: &mut Counters) {
        if self.agenda.memory_len > config.memory_len_max {
            self.relieve(config, counters);
            if self.pressure(config) >= Pressure::Full {
                self.abort_stuck(now, config, counters);
            }
        }
    }

    #[cold]
    fn relieve(&mut self, config: &Config, counters: &mut Counters) {
        for _ in 0..LOOKS_MAX {
            let pressure = self.pressure(config);
            if pressure == Pressure::None {
                return;
            }
            let Some(index) = self.disordered.pop_front() else { return };
            let Some(connection) = self.connections.get_mut(index) else { continue };
            if mem::take(&mut connection.listed.disordered) != Place::InLine {
                continue;
            }
            let pruned = connection.prune_out_of_order(pressure.out_of_order_len());
            counters.add(Count::OfoPruned, pruned);
            counters.add_drops(Drop::TcpOfoQueuePrune, pruned);
            if connection.out_of_order.is_some() {
                connection.listed.disordered = Place::InLine;
                self.disordered.push_back(index);
            }
            self.agenda.charge(connection);
        }
    }
}

/// What a connection may keep for its peer, in bytes, if it has stood in line for it and so much is held.
pub(super) fn served_len_max(held: usize, config: &Config) -> usize {
    if held + SPARED_LEN <= spared_end(config) { Pressure::Far.send_len() } else { 0 }
}

/// So much may be held when nothing else helps.
fn spared_end(config: &Config) -> usize {
    config.memory_len_max / 8 * 15
}

/// Puts a connection at the end of a line, in which it does not stand yet, as `place` says.
fn line_up<F: Frame>(
    line: &mut VecDeque<u32>,
    connections: &mut Slab<Connection<F>>,
    index: u32,
    place: fn(&mut Listed) -> &mut Place,
) {
    if line.len() >= LINE_LEN_MIN.max(2 * connections.len()) {
        tidy(line, connections, place);
    }
    if let Some(connection) = connections.get_mut(index) {
        *place(&mut connection.listed) = Place::InLine;
        line.push_back(index);
    }
}

/// Strikes connections that are no more, or whose successor is there already.
fn tidy<F: Frame>(
    line: &mut VecDeque<u32>,
    connections: &mut Slab<Connection<F>>,
    place: fn(&mut Listed) -> &mut Place,
) {
    line.retain(|index| {
        let place = connections.get_mut(*index).map(|connection| place(&mut connection.listed));
        place.filter(|place| **place == Place::InLine).map(mem::take).is_some()
    });
    for index in line {
        if let Some(connection) = connections.get_mut(*index) {
            *place(&mut connection.listed) = Place::InLine;
        }
    }
}

impl<F: Frame> Connection<F> {
    /// Lets go of what waits out of order, the highest first, down to so many bytes of buffers. Returns how many segments
    /// that were. The peer may have been told that they are here: it sends them again all the same (RFC 2018 §8).
    fn prune_out_of_order(&mut self, memory_len: usize) -> u64 {
        let Some(assembler) = &mut self.out_of_order else { return 0 };
        let pruned = assembler.prune(memory_len);
        if assembler.is_empty() {
            self.out_of_order = None;
        }
        pruned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_in_steps() {
        let at = |held| Pressure::of(held, 1000);
        assert_eq!([0, 1000].map(at), [Pressure::None; 2]);
        assert_eq!([1001, 1500].map(at), [Pressure::Over; 2]);
        assert_eq!([1501, 1625].map(at), [Pressure::Far; 2]);
        assert_eq!([1626, 1750].map(at), [Pressure::Full; 2]);
        assert_eq!([1751, usize::MAX].map(at), [Pressure::Brim; 2]);
        assert_eq!([0, 1].map(|held| Pressure::of(held, 0)), [Pressure::None, Pressure::Brim]);
    }
}

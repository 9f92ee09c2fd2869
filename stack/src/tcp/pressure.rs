//! What gives way when all that is kept for applications and peers takes too much of the device's buffers (Linux's
//! `tcp_mem` and `tcp_prune_queue`).
//!
//! Receiving needs buffers too: were all of them held, no acknowledgement would come in, no retransmission that fills a hole,
//! no reset, and nothing would ever be let go. So the more is held, the less a connection may add: first what waits behind
//! a hole, which its sender keeps and sends again (RFC 2018 §8), then what the application has not read, last what it
//! writes. No window shrinks by it: what finds no place is lost, as it may be on any path. And where next to nothing is left,
//! connections go whose peers take nothing of what is held for them.

use hayase_device::Frame;
use hayase_time::Instant;

use super::Tcp;
use super::connection::Connection;
use super::segment::Reply;
use crate::config::Config;
use crate::counters::{Count, Counters, Drop};
use crate::error::Error;

/// How much too much is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pressure {
    /// No more than the budget.
    None,
    /// More than that.
    Over,
    /// More than one and a half times that.
    Far,
    /// More than one and three quarters.
    Full,
}

impl Pressure {
    pub(crate) fn of(held: usize, budget: usize) -> Pressure {
        match held.saturating_sub(budget) {
            0 => Pressure::None,
            excess if excess <= budget / 2 => Pressure::Over,
            excess if excess <= budget / 4 * 3 => Pressure::Far,
            _ => Pressure::Full,
        }
    }

    /// Bytes of buffers with what the application is to read, from which on a connection, or a socket for datagrams, takes
    /// no more.
    pub(crate) fn unread_len(self) -> usize {
        match self {
            Pressure::None => usize::MAX,
            Pressure::Over => 64 * 1024,
            // Whoever has nothing gets something.
            Pressure::Far => 1,
            Pressure::Full => 0,
        }
    }

    /// The same of what waits behind a hole.
    pub(super) fn out_of_order_len(self) -> usize {
        match self {
            Pressure::None => usize::MAX,
            Pressure::Over => 16 * 1024,
            Pressure::Far | Pressure::Full => 0,
        }
    }

    /// What a connection may keep for its peer, in bytes.
    pub(super) fn send_len(self) -> usize {
        match self {
            Pressure::None => usize::MAX,
            Pressure::Over => 16 * 1024,
            // A segment, or a connection whose peer waits for it would never go on.
            Pressure::Far | Pressure::Full => 1500,
        }
    }
}

/// Connections that are looked at, for one segment, for what they could let go of.
const LOOKS_MAX: usize = 16;

/// Doublings of the timeout after which a peer is one that takes nothing: three seconds from 0.2 s on. One timeout is loss, and a
/// window is shut for a while where a reader is slow.
const STUCK_BACKOFF: u8 = 4;

/// So many entries of that list are not worth a look at whether they still count.
const DISORDERED_COUNT_MIN: usize = 64;

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
        if self.disordered.len() >= DISORDERED_COUNT_MIN.max(2 * self.connections.len()) {
            self.tidy_disordered();
        }
        if let Some(connection) = self.connections.get_mut(index) {
            connection.listed.disordered = true;
            self.disordered.push_back(index);
        }
    }

    /// Strikes connections that are no more, or whose successor is there already.
    fn tidy_disordered(&mut self) {
        let connections = &mut self.connections;
        let mut take = |index: u32| {
            let connection = connections.get_mut(index);
            connection.is_some_and(|connection| core::mem::take(&mut connection.listed.disordered))
        };
        self.disordered.retain(|index| take(*index));
        for index in &self.disordered {
            if let Some(connection) = self.connections.get_mut(*index) {
                connection.listed.disordered = true;
            }
        }
    }

    /// Something came: if too much is held, what has waited behind a hole for the longest time goes.
    #[inline]
    pub(crate) fn relieve_if_needed(&mut self, now: Instant, config: &Config, counters: &mut Counters) {
        if self.agenda.memory_len > config.memory_len_max {
            self.relieve(config, counters);
            if self.pressure(config) == Pressure::Full {
                self.abort_stuck(now, config, counters);
            }
        }
    }

    /// Of some connections whose peers take nothing, the one that holds most is aborted (Linux's `tcp_check_oom`). Their
    /// patience never ends as long as they answer every probe of a window that they keep shut (MUST-36).
    #[cold]
    fn abort_stuck(&mut self, now: Instant, config: &Config, counters: &mut Counters) {
        let mut worst = (0, None);
        for _ in 0..LOOKS_MAX {
            let index = self.look_at;
            self.look_at = if index + 1 < self.connections.slot_count() { index + 1 } else { 0 };
            if let Some(connection) = self.connections.get(index).filter(|c| c.is_stuck())
                && connection.memory_len() > worst.0
            {
                worst = (connection.memory_len(), Some(index));
            }
        }
        let Some(index) = worst.1 else { return };
        let Some(connection) = self.connections.get_mut(index) else { return };
        let reset = Reply::reset(connection.tuple, connection.bare_seq(), Some(connection.rcv_nxt));
        connection.enter_closed(Some(Error::ConnectionAborted));
        counters.count(Count::AbortOnMemory);
        self.reply(reset);
        self.settle(index, now, config);
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
            if !core::mem::take(&mut connection.listed.disordered) {
                continue;
            }
            let pruned = connection.prune_out_of_order(pressure.out_of_order_len());
            counters.add(Count::OfoPruned, pruned);
            counters.add_drops(Drop::TcpOfoQueuePrune, pruned);
            if connection.out_of_order.is_some() {
                connection.listed.disordered = true;
                self.disordered.push_back(index);
            }
            self.agenda.charge(connection);
        }
    }
}

impl<F: Frame> Connection<F> {
    /// Whether something has waited for some seconds for a peer that does not acknowledge, or whose window has no room: the
    /// timer ran out for it, or its window was probed, time and again.
    fn is_stuck(&self) -> bool {
        !self.send.is_empty() && self.backoff >= STUCK_BACKOFF
    }

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
        assert_eq!([1501, 1750].map(at), [Pressure::Far; 2]);
        assert_eq!([1751, usize::MAX].map(at), [Pressure::Full; 2]);
        assert_eq!([0, 1].map(|held| Pressure::of(held, 0)), [Pressure::None, Pressure::Full]);
    }
}

//! What gives way when all that is kept for applications and peers takes too much of the device's buffers (Linux's
//! `tcp_mem` and `tcp_prune_queue`).
//!
//! Receiving needs buffers too: were all of them held, no acknowledgement would come in, no retransmission that fills a hole,
//! no reset, and nothing would ever be let go. So the more is held, the less a connection may add: first what waits behind
//! a hole, which its sender keeps and sends again (RFC 2018 §8), then what the application has not read, last what it
//! writes. No window shrinks by it: what finds no place is lost, as it may be on any path.

use hayase_device::Frame;

use super::Tcp;
use super::connection::Connection;
use crate::config::Config;
use crate::counters::{Count, Counters, Drop};

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

/// Connections that are looked at, for one segment, for what they hold out of order.
const LOOKS_MAX: usize = 16;

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

    /// Something was added: if it was too much, what has waited behind a hole for the longest time goes.
    #[inline]
    pub(crate) fn relieve_if_needed(&mut self, config: &Config, counters: &mut Counters) {
        if self.agenda.memory_len > config.memory_len_max {
            self.relieve(config, counters);
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

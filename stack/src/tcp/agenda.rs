//! What is to be done: who has something to send, who has news, whose time comes when, how much all of them hold.
//!
//! Nothing walks over all connections. Whatever changes one enters it here, once, under its index.

use alloc::vec::Vec;
use core::num::{NonZeroU32, NonZeroU64};

use hayase_device::Frame;
use hayase_device::hint::{likely, unlikely};
use hayase_time::{Instant, Wheel};

use super::connection::Connection;
use crate::socket::{ListenerId, Ready};

/// Whose time it is: an index, kept so that none at all takes no more room in the wheel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timed(NonZeroU32);

impl Timed {
    /// An index is less than 2^30: the slab's limit.
    #[inline]
    fn new(index: u32) -> Timed {
        Timed(NonZeroU32::MIN.saturating_add(index))
    }

    #[inline]
    pub(super) fn index(self) -> u32 {
        self.0.get() - 1
    }
}

#[derive(Debug)]
pub(super) struct Agenda {
    /// Connections that may have something to send.
    pub(super) work: Vec<u32>,
    /// Connections with news for the application.
    pub(super) ready: Vec<u32>,
    /// Readers who left their names, and whose text has come.
    pub(super) called: Vec<NonZeroU64>,
    /// Listeners with news for the application.
    pub(super) ready_listeners: Vec<ListenerId>,
    pub(super) wheel: Wheel<Timed>,
    /// No later than the earliest entry of the wheel.
    pub(super) wheel_at: Instant,
    /// Bytes of buffers that connections hold, and datagrams that wait.
    pub(super) memory_len: usize,
}

impl Agenda {
    pub(super) fn new(now: Instant) -> Agenda {
        Agenda {
            work: Vec::new(),
            ready: Vec::new(),
            called: Vec::new(),
            ready_listeners: Vec::new(),
            wheel: Wheel::new(now),
            wheel_at: Instant::MAX,
            memory_len: 0,
        }
    }

    /// Enters what any change of a living connection may entail.
    #[inline]
    pub(super) fn note<F: Frame>(&mut self, connection: &mut Connection<F>, index: u32) {
        self.enlist(connection, index);
        self.announce(connection, index);
        self.schedule(connection, index);
        self.charge(connection);
    }

    /// The connection may have something to send.
    #[inline(always)]
    pub(super) fn enlist<F>(&mut self, connection: &mut Connection<F>, index: u32) {
        if likely(!connection.listed.work) {
            connection.listed.work = true;
            self.work.push(index);
        }
    }

    /// Enters its news, if there are any.
    #[inline(always)]
    pub(super) fn announce<F>(&mut self, connection: &mut Connection<F>, index: u32) {
        if likely(!connection.events.is_empty()) && likely(!connection.listed.ready) {
            connection.listed.ready = true;
            self.ready.push(index);
        }
    }

    /// Enters the news that there is text: under the name of its reader, if there is no other news and nobody else to tell.
    #[inline(always)]
    pub(super) fn announce_text<F>(&mut self, connection: &mut Connection<F>, index: u32) {
        match connection.reader {
            Some(reader) if likely(connection.events.is_empty()) && likely(!connection.watched) => {
                connection.reader = None;
                self.called.push(reader);
            }
            _ => {
                connection.events |= Ready::READABLE;
                self.announce(connection, index);
            }
        }
    }

    /// Sees to it that its timer fires in time.
    #[inline(always)]
    pub(super) fn schedule<F: Frame>(&mut self, connection: &mut Connection<F>, index: u32) {
        if unlikely(connection.deadline() < connection.timer.at) {
            self.rearm(connection, index);
        }
    }

    /// Brings the account of buffers up to date with one connection.
    #[inline]
    pub(super) fn charge<F: Frame>(&mut self, connection: &mut Connection<F>) {
        let held = connection.memory_len();
        self.memory_len = self.memory_len + held - connection.charged_len;
        connection.charged_len = held;
    }

    /// Makes the timer fire no later than the earliest deadline. A deadline that moved back leaves the timer alone:
    /// it fires early, finds nothing due and goes to the new place. So an active connection touches the wheel a few
    /// times a second, whatever it sends.
    #[cold]
    pub(super) fn rearm<F: Frame>(&mut self, connection: &mut Connection<F>, index: u32) {
        let at = connection.deadline();
        connection.timer.at = at;
        if at == Instant::MAX {
            return;
        }
        match connection.timer.key {
            Some(key) if self.wheel.reset(key, at) => {}
            _ => connection.timer.key = Some(self.wheel.insert(at, Timed::new(index))),
        }
        self.wheel_at = self.wheel_at.min(at);
    }

    /// The same where it is known what came and what went.
    #[inline(always)]
    pub(super) fn book<F: Frame>(&mut self, connection: &mut Connection<F>, came: usize, went: usize) {
        let change = came.wrapping_sub(went);
        self.memory_len = self.memory_len.wrapping_add(change);
        connection.charged_len = connection.charged_len.wrapping_add(change);
        debug_assert_eq!(connection.charged_len, connection.memory_len());
    }

    /// A connection goes, with its timer and what it was charged for.
    pub(super) fn strike<F>(&mut self, connection: &mut Connection<F>) {
        if let Some(key) = connection.timer.key.take() {
            self.wheel.remove(key);
        }
        self.memory_len -= core::mem::take(&mut connection.charged_len);
    }
}

//! Listeners: the LISTEN state (RFC 9293 §3.10.7.2), the SYN queue and the accept queue.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::net::{IpAddr, SocketAddr};

use hayase_time::Instant;

use super::fastopen::Places;
use super::options::TcpOptions;
use crate::bound::Bound;
use crate::config::Config;
use crate::error::Error;
use crate::random::Random;
use crate::slab::Slab;
use crate::socket::{ListenerId, Ready, TcpId};

/// A listener.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) local: SocketAddr,
    backlog: usize,
    /// Half-open connections, oldest first. Entries that finished or died are skipped when they come up.
    half_open: VecDeque<TcpId>,
    half_open_count: usize,
    /// Until then an ACK may bring back a cookie.
    pub(super) cookies_until: Instant,
    /// For connections that are accepted before their handshake is over.
    pub(super) places: Places,
    /// What its connections have.
    pub(super) options: Option<Box<TcpOptions>>,
    /// Connections that wait to be accepted.
    pub(super) accept_queue: VecDeque<TcpId>,
    pub(super) in_ready: bool,
}

impl Listener {
    /// Whether another connection may finish its handshake.
    pub(super) fn has_room(&self) -> bool {
        self.accept_queue.len() < self.backlog
    }

    fn push_half_open(&mut self, id: TcpId, config: &Config, is_open: impl Fn(TcpId) -> bool) {
        // Drop what is no longer half open from the front, so that the queue does not outgrow its limit.
        while self.half_open.front().is_some_and(|oldest| !is_open(*oldest)) {
            self.half_open.pop_front();
        }
        self.half_open.push_back(id);
        if self.half_open.len() > 2 * config.syn_backlog_max {
            self.half_open.retain(|id| is_open(*id));
        }
    }

    fn pop_half_open(&mut self, is_open: impl Fn(TcpId) -> bool) -> Option<TcpId> {
        while let Some(oldest) = self.half_open.pop_front() {
            if is_open(oldest) {
                return Some(oldest);
            }
        }
        None
    }

    /// Every connection that nobody accepted.
    pub(super) fn into_connections(self) -> impl Iterator<Item = TcpId> {
        self.half_open.into_iter().chain(self.accept_queue)
    }
}

/// All listeners, found by their addresses.
#[derive(Debug)]
pub(super) struct Listeners {
    slab: Slab<Listener>,
    bound: Bound,
    /// Half-open connections of all of them.
    half_open_count: usize,
    /// Where the search for one to give up goes on.
    look_at: u32,
}

impl Listeners {
    pub(super) fn new(config: &Config, random: &Random) -> Listeners {
        Listeners {
            slab: Slab::new(config.listeners_max),
            bound: Bound::new(random),
            half_open_count: 0,
            look_at: 0,
        }
    }

    /// # Errors
    /// `AddrInUse` if another listener would take some of the same connections with the same precedence.
    pub(super) fn insert(&mut self, local: SocketAddr, backlog: usize) -> Result<ListenerId, Error> {
        if self.bound.has(local) {
            return Err(Error::AddrInUse);
        }
        let listener = Listener {
            local,
            backlog: backlog.max(1),
            half_open: VecDeque::new(),
            half_open_count: 0,
            cookies_until: Instant::ZERO,
            places: Places::default(),
            options: None,
            accept_queue: VecDeque::new(),
            in_ready: false,
        };
        let (index, generation) = self.slab.insert(listener).map_err(|_| Error::TooManySockets)?;
        self.bound.insert(local, index, true);
        Ok(ListenerId { index, generation })
    }

    pub(super) fn remove(&mut self, id: ListenerId) -> Option<Listener> {
        self.slab.get_generation(id.index, id.generation)?;
        let listener = self.slab.remove(id.index)?;
        self.bound.remove(listener.local, id.index);
        self.half_open_count -= listener.half_open_count;
        Some(listener)
    }

    /// Whether as many connections are half open as may be, at this listener or at all.
    pub(super) fn is_flooded(&self, id: ListenerId, config: &Config) -> bool {
        let count = self.get(id).map_or(0, |listener| listener.half_open_count);
        count >= config.syn_backlog_max || self.half_open_count >= config.half_open_max
    }

    /// Notes a half-open connection of a listener; returns an old one if there are too many now: the oldest of this
    /// listener, if they are its own.
    pub(super) fn push_half_open(
        &mut self,
        id: ListenerId,
        child: TcpId,
        config: &Config,
        is_open: impl Fn(TcpId) -> bool,
    ) -> Option<TcpId> {
        self.begin_half_open(id);
        let all = self.half_open_count;
        let listener = self.get_mut(id)?;
        listener.push_half_open(child, config, &is_open);
        if listener.half_open_count > config.syn_backlog_max {
            return listener.pop_half_open(is_open);
        }
        if all > config.half_open_max { self.pop_half_open(is_open) } else { None }
    }

    /// One listener after the other gives up all that it has, so that none is spared and the search seldom goes far.
    fn pop_half_open(&mut self, is_open: impl Fn(TcpId) -> bool) -> Option<TcpId> {
        for _ in 0..=self.slab.slot_count() {
            let listener = self.slab.get_mut(self.look_at);
            if let Some(oldest) = listener.and_then(|listener| listener.pop_half_open(&is_open)) {
                return Some(oldest);
            }
            self.look_at = if self.look_at + 1 < self.slab.slot_count() { self.look_at + 1 } else { 0 };
        }
        None
    }

    /// A listener has one half-open connection more.
    pub(super) fn begin_half_open(&mut self, id: ListenerId) {
        if let Some(listener) = self.get_mut(id) {
            listener.half_open_count += 1;
            self.half_open_count += 1;
        }
    }

    /// A connection of a listener is not half open any more.
    pub(super) fn end_half_open(&mut self, id: ListenerId) -> Option<&mut Listener> {
        let listener = self.slab.get_generation_mut(id.index, id.generation)?;
        listener.half_open_count -= 1;
        self.half_open_count -= 1;
        Some(listener)
    }

    pub(super) fn get(&self, id: ListenerId) -> Option<&Listener> {
        self.slab.get_generation(id.index, id.generation)
    }

    pub(super) fn get_mut(&mut self, id: ListenerId) -> Option<&mut Listener> {
        self.slab.get_generation_mut(id.index, id.generation)
    }

    /// What is new at a listener: connections to accept.
    #[inline(never)]
    pub(super) fn take_news(&mut self, id: ListenerId) -> Ready {
        self.get_mut(id).map_or(Ready::EMPTY, |listener| {
            listener.in_ready = false;
            Ready::READABLE
        })
    }

    /// Whether a port is taken by some listener.
    pub(super) fn has_port(&self, port: u16) -> bool {
        self.bound.has_port(port)
    }

    /// The listener for a SYN to `local`: one bound to that very address before one bound to all.
    pub(super) fn find(&self, local: IpAddr, port: u16) -> Option<ListenerId> {
        let index = self.bound.find(local, port)?;
        Some(ListenerId { index, generation: self.slab.generation(index) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_most_exact_listener_wins() {
        let mut listeners = Listeners::new(&Config::default(), &Random::new([1; 32]));
        let any6 = listeners.insert(addr("[::]:80"), 1).unwrap();
        let any4 = listeners.insert(addr("0.0.0.0:80"), 1).unwrap();
        let one = listeners.insert(addr("10.0.0.1:80"), 1).unwrap();
        assert_eq!(listeners.insert(addr("10.0.0.1:80"), 1), Err(Error::AddrInUse));
        let find = |ip: &str| listeners.find(ip.parse().unwrap(), 80);
        assert_eq!(find("10.0.0.1"), Some(one));
        assert_eq!(find("10.0.0.2"), Some(any4));
        assert_eq!(find("fd00::1"), Some(any6));
        assert_eq!(listeners.find("10.0.0.1".parse().unwrap(), 81), None);
        listeners.remove(any4);
        assert_eq!(listeners.find("10.0.0.2".parse().unwrap(), 80), Some(any6), "dual stack");
    }
}

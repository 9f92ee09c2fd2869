//! Peers who take nothing of what is held for them, where nearly all memory is (Linux's `tcp_check_oom`).
//!
//! Their patience never ends as long as they answer every probe of a window that they keep shut (MUST-36), or acknowledge a
//! byte now and then: the back-off of the timer tells of silence only. So it is watched what some peers take in some
//! seconds. That is done where memory is short and for no more than a fixed number of them at a time, so that connections
//! need not remember it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use hayase_device::Frame;
use hayase_time::Instant;

use super::Tcp;
use super::connection::Connection;
use super::pressure::LOOKS_MAX;
use super::segment::Reply;
use crate::config::Config;
use crate::counters::{Count, Counters};
use crate::error::Error;

/// Doublings of the timeout after which a peer is one that takes nothing: three seconds from 0.2 s on. One timeout is loss, and a
/// window is shut for a while where a reader is slow.
const STUCK_BACKOFF: u8 = 4;

/// For so long a peer is watched: whoever is further away than that is not to be told from one that takes nothing, however
/// long he is given, since he can have us believe that he is.
const WATCH_TIME: Duration = Duration::from_secs(3);

/// So many are watched at a time.
const WATCHED_MAX: usize = 1024;

/// Connections that are watched.
#[derive(Debug, Default)]
pub(super) struct Watch {
    watched: VecDeque<Watched>,
    /// Those of them who were found to take nothing, in this look.
    found: Vec<Watched>,
    /// Where the search for others goes on.
    look_at: u32,
}

#[derive(Debug, Clone, Copy)]
struct Watched {
    index: u32,
    generation: u32,
    since: Instant,
    /// What its peer has acknowledged, in all, once it has taken something.
    wanted: u64,
}

impl Watch {
    fn next_index(&mut self, slot_count: u32) -> u32 {
        let index = self.look_at;
        self.look_at = if index + 1 < slot_count { index + 1 } else { 0 };
        index
    }

    /// One that has been watched for long enough.
    fn take_due(&mut self, now: Instant) -> Option<Watched> {
        self.watched.pop_front_if(|watched| now >= watched.since + WATCH_TIME)
    }

    /// Keeps those who were found, in their order. Who is gone by then is found no more.
    fn put_back(&mut self) {
        while let Some(watched) = self.found.pop() {
            self.watched.push_front(watched);
        }
    }

    fn add(&mut self, watched: Watched) {
        if self.watched.len() < WATCHED_MAX {
            self.watched.push_back(watched);
        }
    }
}

impl<F: Frame> Tcp<F> {
    /// Of some connections whose peers take nothing, the one that holds most is aborted.
    #[cold]
    pub(super) fn abort_stuck(&mut self, now: Instant, config: &Config, counters: &mut Counters) {
        let mut worst = (0, None);
        let mut suspect = |connection: &Connection<F>, index: u32| {
            if connection.memory_len() > worst.0 {
                worst = (connection.memory_len(), Some(index));
            }
        };
        for _ in 0..LOOKS_MAX {
            let Some(watched) = self.watch.take_due(now) else { break };
            let Watched { index, generation, wanted, .. } = watched;
            let connection = self.connections.get_generation(index, generation);
            if let Some(connection) =
                connection.filter(|c| !c.send.is_empty() && c.tally.bytes_acked < wanted)
            {
                suspect(connection, index);
                self.watch.found.push(watched);
            }
        }
        // Those who do not have to go now are the first to be looked at again.
        self.watch.put_back();
        for _ in 0..LOOKS_MAX {
            let index = self.watch.next_index(self.connections.slot_count());
            let Some(connection) = self.connections.get(index).filter(|c| !c.send.is_empty()) else {
                continue;
            };
            if connection.backoff >= STUCK_BACKOFF {
                suspect(connection, index);
            } else {
                let generation = self.connections.generation(index);
                self.watch.add(Watched { index, generation, since: now, wanted: connection.wanted() });
            }
        }
        if let Some(index) = worst.1 {
            self.abort_for_memory(index, now, config, counters);
        }
    }

    fn abort_for_memory(&mut self, index: u32, now: Instant, config: &Config, counters: &mut Counters) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        let reset = Reply::reset(connection.tuple, connection.bare_seq(), Some(connection.rcv_nxt));
        connection.enter_closed(Some(Error::ConnectionAborted));
        counters.count(Count::AbortOnMemory);
        self.reply(reset);
        self.settle(index, now, config);
    }
}

impl<F: Frame> Connection<F> {
    /// What the peer has acknowledged, in all, once it has taken a segment of what is held for it, or all that is if that is less.
    fn wanted(&self) -> u64 {
        self.tally.bytes_acked + u64::from((self.send.end() - self.snd_una).min(self.mss))
    }
}

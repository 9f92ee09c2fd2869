//! Rules that hold in every simulation, whatever is simulated. Breaking one ends it with a panic that names the rule.
//!
//! - [`streams`]: what is acknowledged had arrived, what is sent again is what was sent, windows never shrink.
//! - [`stall`]: data that is outstanding is not forgotten.
//! - [`books`]: counters add up, frames come home, memory stays within its budget, timers drain.
//! - The [ledger](crate::Flow) of flows: every byte arrives once and in order, or both sides get an error.

pub(crate) mod books;
pub(crate) mod stall;
pub(crate) mod streams;

use std::fmt;
use std::net::SocketAddr;

use hayase::stack::Config;
use hayase::time::Instant;

use self::stall::{Stalls, stall_max};
use self::streams::Streams;
use crate::packet::Segment;

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    rule: &'static str,
    text: String,
}

impl Violation {
    pub(crate) fn new(rule: &'static str, text: String) -> Violation {
        Violation { rule, text }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oracle: {}: {}", self.rule, self.text)
    }
}

/// A rule was looked at.
pub(crate) type Verdict = Result<(), Violation>;

/// Ends the simulation if the rule is broken.
#[track_caller]
pub(crate) fn uphold(verdict: Verdict) {
    if let Err(violation) = verdict {
        panic!("{violation}");
    }
}

/// TCP segments that crossed a host's end of its cable.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SegmentCount {
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

/// What looks at every frame.
#[derive(Debug, Default)]
pub(crate) struct Observers {
    streams: Streams,
    stalls: Stalls,
    segments: Vec<SegmentCount>,
}

impl Observers {
    /// A host has sent a frame.
    pub(crate) fn sent(&mut self, now: Instant, host: usize, frame: &[u8]) {
        if let Some(segment) = Segment::read(frame) {
            self.count_mut(host).sent += 1;
            uphold(self.streams.sent(now, &segment));
        }
    }

    /// A host got a frame just as another one had sent it.
    pub(crate) fn received(&mut self, host: usize, frame: &[u8]) {
        if let Some(segment) = Segment::read(frame) {
            self.count_mut(host).received += 1;
            self.streams.received(&segment);
        }
    }

    /// Looks at the connections of a host: every few seconds is enough.
    pub(crate) fn sweep(
        &mut self,
        now: Instant,
        host: usize,
        connections: &[stall::Connection],
        config: &Config,
    ) {
        let streams = &self.streams;
        let last_effort = |local: SocketAddr, remote: SocketAddr| streams.last_effort_at(local, remote);
        uphold(self.stalls.sweep(now, host, connections, stall_max(config), last_effort));
    }

    /// The host starts anew, and its counters with it.
    pub(crate) fn rebooted(&mut self, host: usize) {
        *self.count_mut(host) = SegmentCount::default();
    }

    pub(crate) fn segments(&self, host: usize) -> SegmentCount {
        self.segments.get(host).copied().unwrap_or_default()
    }

    fn count_mut(&mut self, host: usize) -> &mut SegmentCount {
        if host >= self.segments.len() {
            self.segments.resize(host + 1, SegmentCount::default());
        }
        &mut self.segments[host]
    }
}

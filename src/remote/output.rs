//! The stack's ends of the rings to and from one client.

use std::collections::VecDeque;
use std::sync::Arc;

use rtrb::{Consumer, Producer};

use super::client::Client;
use super::message::{Command, Completion};
use super::{BATCH_LEN, RECEIVE_MAX, RECEIVE_MIN, RING_LEN, UNREAD_MAX, ring};

/// A client as it arrives.
pub(super) struct Line {
    pub(super) commands: Consumer<Command>,
    pub(super) output: Output,
}

/// What is told to one client.
pub(super) struct Output {
    completions: Producer<Completion>,
    /// What was not published yet. It has no limit of its own: data is not added beyond [`has_room`](Self::has_room),
    /// and of everything else there is a bounded amount for each socket.
    outbox: VecDeque<Completion>,
    pub(super) client: Arc<Client>,
    /// Bytes that its readers have not read.
    pub(super) unread: u64,
}

impl Output {
    pub(super) fn new(completions: Producer<Completion>, client: Arc<Client>) -> Output {
        Output { completions, outbox: VecDeque::new(), client, unread: 0 }
    }

    #[inline]
    pub(super) fn push(&mut self, completion: Completion) {
        self.outbox.push_back(completion);
        if self.outbox.len() >= BATCH_LEN {
            self.publish();
        }
    }

    /// Whether more data should be taken out of the stack.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        self.outbox.len() < RING_LEN
    }

    /// Bytes that one connection may have unread.
    #[inline]
    pub(super) fn receive_max(&self) -> u64 {
        if self.unread < UNREAD_MAX { RECEIVE_MAX } else { RECEIVE_MIN }
    }

    /// Whether something can be published.
    pub(super) fn is_due(&self) -> bool {
        !self.outbox.is_empty() && !self.completions.is_full()
    }

    /// Publishes what was pushed, at once, and sees to it that it is read.
    pub(super) fn publish(&mut self) -> usize {
        let count = ring::publish(&mut self.completions, &mut self.outbox);
        if count > 0 {
            self.client.published();
        }
        count
    }
}

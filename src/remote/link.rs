//! A client as the turn of its own thread sees it.

use std::io;
use std::sync::Arc;

use hayase_device::Interest;
use hayase_executor::Handle;
use hayase_time::Instant;

use super::client::Client;
use super::door::RemoteDoor;
use super::intake::Connector;
use crate::door::{self, Gate, ShardId};
use crate::turn::Turn;

/// A stack on another thread, in the place of one on this thread.
pub(crate) struct Link {
    client: Arc<Client>,
}

impl Link {
    /// Connects this thread.
    pub(crate) fn new(connector: &Connector) -> io::Result<Link> {
        let link = Link { client: Client::new(connector)? };
        door::adopt(link.shard(), Gate::new(RemoteDoor::of_owner(Arc::clone(&link.client))))?;
        Ok(link)
    }

    pub(crate) fn shard(&self) -> ShardId {
        self.client.id()
    }
}

impl Turn for Link {
    fn receive(&self, _now: Instant) -> usize {
        self.client.drive();
        self.client.receive()
    }

    fn transmit(&self, _now: Instant) -> usize {
        self.client.transmit()
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn pending(&self) -> bool {
        self.client.pending()
    }

    /// The stack's thread sees to what the stack has. What has not reached it goes with the link.
    fn has_undelivered(&self) -> bool {
        false
    }

    fn interests(&self, _add: &mut dyn FnMut(Interest)) {}

    fn wake_through(&self, handle: &Handle) {
        self.client.set_owner(handle);
    }

    fn leave(&self) {
        self.client.leave();
    }

    fn join(&self, peer: ShardId) {
        self.client.set_peer(peer);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.client.retire();
    }
}

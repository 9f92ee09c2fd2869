//! Which clients there are: looked at when a thread uses one for the first time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::client::Client;
use super::door::RemoteDoor;
use crate::door::{Farewell, Gate, ShardId};

static CLIENTS: Mutex<BTreeMap<u32, Arc<Client>>> = Mutex::new(BTreeMap::new());

fn clients() -> MutexGuard<'static, BTreeMap<u32, Arc<Client>>> {
    // A map of references is whole whatever happened to the thread that held its lock.
    CLIENTS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn find(id: ShardId) -> Option<Arc<Client>> {
    clients().get(&id.serial()).cloned()
}

pub(super) fn insert(client: &Arc<Client>) {
    clients().insert(client.id().serial(), Arc::clone(client));
}

pub(super) fn remove(id: ShardId) {
    let removed = clients().remove(&id.serial());
    drop(removed);
}

/// A door for a thread that has none to this shard, if the shard is a remote one.
pub(crate) fn door(id: ShardId) -> Option<Gate> {
    let client = find(id)?;
    client.share();
    Some(Gate::new(RemoteDoor::new(client)))
}

/// The client of a stack, if that has a thread of its own.
pub(super) fn client_of(stack: ShardId) -> Option<Arc<Client>> {
    clients().values().find(|client| client.shard() == stack).cloned()
}

/// The other end of the wire of a remote shard.
pub(crate) fn peer(id: ShardId) -> Option<ShardId> {
    find(id)?.peer()
}

/// Bids a shard farewell of a socket whose handle was dropped where there is no table of doors any more. `false` if the
/// shard is no remote one.
pub(crate) fn bid(id: ShardId, farewell: Farewell) -> bool {
    let client = find(id);
    if let Some(client) = &client {
        client.share();
        client.bid(true, farewell);
    }
    client.is_some()
}

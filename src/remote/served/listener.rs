//! Listeners.

use std::task::Poll;

use hayase_stack::{ListenerId, Socket, TcpId};

use super::Sockets;
use crate::door::Door;
use crate::remote::ACCEPT_MAX;
use crate::remote::message::{Accepted, Addresses, Completion};
use crate::wakers::Notify;

#[derive(Debug)]
pub(super) struct Listener {
    pub(super) client: usize,
    /// Connections that were taken from the stack and not accepted by anybody, and an error that nobody was told.
    waiting: usize,
    waiting_max: usize,
    /// The last of these is an error.
    has_failed: bool,
}

impl Sockets {
    pub(in crate::remote) fn serve_listener(&mut self, id: ListenerId, client: usize, backlog: usize) {
        let waiting_max = backlog.clamp(1, ACCEPT_MAX);
        self.listeners.insert(id, Listener { client, waiting: 0, waiting_max, has_failed: false });
    }

    /// Takes connections from the stack, ahead of those who will ask for them. An error is theirs as well: it comes behind
    /// the connections, and nothing more is taken before somebody was told.
    pub(super) fn accept(&mut self, door: &dyn Door, id: ListenerId) {
        while let Some(listener) = self.listeners.get_mut(id)
            && listener.waiting < listener.waiting_max
            && !listener.has_failed
            && let Poll::Ready(accepted) = door.tcp_accept(id, Notify::NEVER)
        {
            let accepted = match accepted.map(|(tcp, peer)| (tcp, peer, door.tcp_local_addr(tcp))) {
                Ok((id, peer, Ok(local))) => {
                    Ok(Box::new(Accepted { id, addresses: Addresses { local, peer } }))
                }
                // One that died while it waited has no address: nobody misses it.
                Ok((id, _, Err(_))) => {
                    door.close(Socket::Tcp(id));
                    continue;
                }
                Err(error) => Err(error),
            };
            listener.waiting += 1;
            listener.has_failed = accepted.is_err();
            let client = listener.client;
            let tcp = accepted.as_ref().ok().map(|accepted| accepted.id);
            if let Some(tcp) = tcp {
                self.serve_tcp(tcp, client, false);
            }
            self.tell(client, Completion::Accepted { listener: id, accepted });
            if let Some(tcp) = tcp {
                self.look_at_accepted(door, tcp);
            }
        }
    }

    /// What came in before the connection was accepted was no news then.
    fn look_at_accepted(&mut self, door: &dyn Door, id: TcpId) {
        self.look(door, Socket::Tcp(id));
    }

    /// Somebody accepted one, or was told of an error.
    pub(in crate::remote) fn accepted(&mut self, door: &dyn Door, id: ListenerId) {
        if let Some(listener) = self.listeners.get_mut(id) {
            listener.waiting -= 1;
            listener.has_failed &= listener.waiting > 0;
            self.accept(door, id);
        }
    }
}

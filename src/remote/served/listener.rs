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
    /// Connections that were taken from the stack and not accepted by anybody.
    waiting: usize,
    waiting_max: usize,
}

impl Sockets {
    pub(in crate::remote) fn serve_listener(&mut self, id: ListenerId, client: usize, backlog: usize) {
        let waiting_max = backlog.clamp(1, ACCEPT_MAX);
        self.listeners.insert(id, Listener { client, waiting: 0, waiting_max });
    }

    /// Takes connections from the stack, ahead of those who will ask for them.
    pub(super) fn accept(&mut self, door: &dyn Door, id: ListenerId) {
        while let Some(listener) = self.listeners.get_mut(id)
            && listener.waiting < listener.waiting_max
            && let Poll::Ready(Ok((tcp, peer))) = door.tcp_accept(id, Notify::NEVER)
        {
            // One that died while it waited has no address: nobody misses it.
            let Ok(local) = door.tcp_local_addr(tcp) else { continue };
            listener.waiting += 1;
            let client = listener.client;
            let accepted = Box::new(Accepted { id: tcp, addresses: Addresses { local, peer } });
            self.serve_tcp(tcp, client, false);
            self.tell(client, Completion::Accepted { listener: id, accepted });
            self.look_at_accepted(door, tcp);
        }
    }

    /// What came in before the connection was accepted was no news then.
    fn look_at_accepted(&mut self, door: &dyn Door, id: TcpId) {
        self.look(door, Socket::Tcp(id));
    }

    /// Somebody accepted one.
    pub(in crate::remote) fn accepted(&mut self, door: &dyn Door, id: ListenerId) {
        if let Some(listener) = self.listeners.get_mut(id) {
            listener.waiting -= 1;
            self.accept(door, id);
        }
    }
}

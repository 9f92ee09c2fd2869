//! Connections that leave for another core, or come from one: see [`moving`](crate::remote::moving).

use std::collections::VecDeque;

use hayase_stack::{Socket, TcpId};

use super::Sockets;
use super::tcp::Tcp;
use crate::door::{Door, Farewell, Handle};
use crate::remote::message::Completion;
use crate::remote::moving::{Baggage, Destination, arrive};
use crate::remote::{SEND_MAX, mirror};

impl Sockets {
    /// Passes nothing more on, and says so. A connection that is no more has nobody who waits for its move.
    pub(in crate::remote) fn part(&mut self, id: TcpId, to: Box<Destination>) {
        self.tell_urgent_rest(id);
        if let Some(tcp) = self.tcp.get_mut(id) {
            tcp.parting = true;
            let client = tcp.client;
            self.tell(client, Completion::Parting { id, to });
        }
    }

    /// Sends a connection to the stack of another core, and its baggage after it. One that cannot move is closed.
    pub(in crate::remote) fn send_off(
        &mut self,
        door: &dyn Door,
        id: TcpId,
        mirror: mirror::Tcp,
        Destination { core, reply }: Destination,
    ) {
        match door.tcp_migrate(id, core) {
            Err(error) => {
                self.close(door, Socket::Tcp(id), mirror.read_total());
                reply.send(Err(error));
            }
            Ok(moved) => {
                let unsent = self.remove_tcp(id).map_or_else(VecDeque::new, |tcp| tcp.unsent);
                moved.then(move |arrived| arrive(arrived, Baggage { mirror, unsent, reply }));
            }
        }
    }

    /// Takes in what came with a connection that is in the stack already.
    pub(in crate::remote) fn welcome(
        &mut self,
        door: &dyn Door,
        id: TcpId,
        client: usize,
        Baggage { mirror, unsent, reply }: Baggage,
    ) {
        let paid: usize = unsent.iter().map(|(_, paid)| paid).sum();
        let (unread, has_unsent) = (mirror.unread_len(), !unsent.is_empty());
        self.tcp.insert(id, Tcp::moved(client, unread, unsent, mirror.is_shut_down()));
        if let Some(output) = &mut self.outputs[client] {
            output.unread += unread;
        }
        let name = self.client(client).id();
        self.client(client).adopt(id, mirror.moved(SEND_MAX - paid));
        if has_unsent {
            // Also so that the stack tells when there is room for the rest.
            self.resend(door, id);
        }
        self.look(door, Socket::Tcp(id));
        if let Some(unwanted) = reply.offer(Ok(Handle::new(name, id))) {
            // Dropping the handle would open a door to the client on this thread, and have it shared for good.
            self.client(client).bid(true, Farewell::Close(Socket::Tcp(unwanted.into_id())));
        }
    }
}

//! Connections that move to the stack of another core, with what is under way between the threads of both.
//!
//! 1. The task thread asks for it, and has no handle any more. The stack's thread passes nothing more on, and says so
//!    behind the last bytes that came in ([`Completion::Parting`](super::message::Completion::Parting)).
//! 2. Whoever takes that completion takes the mirror away, with all that nobody has read, and sends it back
//!    ([`send_off`]). By then the stack's thread has got everything that was written: the stack has it, or it waits for
//!    room there. So the connection leaves its stack as in the unified model, and takes the rest along.
//! 3. The other stack takes it in and says under which name. The [`Baggage`] goes to the client of that stack, as a
//!    command ([`arrive`]). What happens to the connection before that is obeyed is seen then, by a look at it.
//!
//! Any of the threads may end in between: then the [`Reply`] is dropped, which is an answer, too.

use std::collections::VecDeque;
use std::io;

use hayase_stack::TcpId;

use super::chunk::Chunk;
use super::message::Command;
use super::{mirror, registry};
use crate::door::Handle;
use crate::steering::{Moved, Reply};

/// Where a connection is to go, and who waits to hear that it is there.
pub(super) struct Destination {
    pub(super) core: usize,
    pub(super) reply: Reply,
}

impl Destination {
    pub(super) fn new(core: usize) -> (Box<Destination>, Moved) {
        let (reply, moved) = Moved::channel();
        (Box::new(Destination { core, reply }), moved)
    }
}

/// What of a connection is in no stack.
pub(super) struct Baggage {
    /// With what was received and not read.
    pub(super) mirror: mirror::Tcp,
    /// What was written and no stack has taken, each with what was paid for it.
    pub(super) unsent: VecDeque<(Chunk, usize)>,
    pub(super) reply: Reply,
}

/// Sends back what the client had.
pub(super) fn send_off(id: TcpId, mirror: mirror::Tcp, to: Destination) -> Command {
    Command::Run(Box::new(move |desk| desk.send_off(id, mirror, to)))
}

/// The connection has arrived in another stack, and its baggage follows. On whichever thread knows of it.
pub(super) fn arrive(arrived: io::Result<Handle<TcpId>>, baggage: Baggage) {
    let connection = match arrived {
        Ok(connection) => connection,
        Err(error) => return baggage.reply.send(Err(error)),
    };
    // If there is nobody to bring it to, all of it is dropped: the connection is closed, and who waits is told.
    if let Some(client) = registry::client_of(connection.shard()) {
        let _ = client.tell(true, move |desk| desk.welcome(connection.into_id(), baggage));
    }
}

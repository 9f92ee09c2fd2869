//! The stack's side: a shard that serves other threads, in its own thread's turn.

use std::cell::RefCell;
use std::io;
use std::mem;
use std::rc::Rc;
use std::time::Duration;

use hayase_device::Interest;
use hayase_executor::Handle;
use hayase_stack::{Ready, Socket};
use hayase_time::Instant;
use rtrb::Consumer;

use super::RING_LEN_LOW;
use super::desk::Desk;
use super::intake::Connector;
use super::message::Command;
use super::output::Line;
use super::served::Sockets;
use crate::door::{self, Gate, ShardId};
use crate::mailbox;
use crate::turn::Turn;

/// A shard, and those whom it serves.
///
/// Its turn is that of the shard with two steps more: when frames have come in, what that changed is told to the
/// clients; before frames go out, what the clients want is done.
pub(crate) struct Server {
    shard: Rc<dyn Turn>,
    door: Gate,
    connector: Connector,
    /// By the number of the client.
    inputs: RefCell<Vec<Option<Consumer<Command>>>>,
    sockets: RefCell<Sockets>,
    changed: RefCell<Vec<(Socket, Ready)>>,
}

impl Server {
    /// Serves a shard of this thread, whose executor is that of `handle`.
    pub(crate) fn new(shard: Rc<dyn Turn>, id: ShardId, handle: &Handle) -> io::Result<Server> {
        shard.list_changes();
        let door = door::of(id).ok_or_else(|| mailbox::absent(id))?;
        let connector = Connector::new(id, handle, door.tells_urgent());
        Ok(Server {
            shard,
            door,
            connector,
            inputs: RefCell::default(),
            sockets: RefCell::default(),
            changed: RefCell::default(),
        })
    }

    /// How to become its client.
    pub(crate) fn connector(&self) -> Connector {
        self.connector.clone()
    }

    /// Lets new clients in.
    fn admit(&self) {
        if self.connector.intake.is_empty() {
            return;
        }
        for Line { commands, output } in self.connector.intake.take(mem::take) {
            let number = self.sockets.borrow_mut().admit(output);
            let mut inputs = self.inputs.borrow_mut();
            if number >= inputs.len() {
                inputs.resize_with(number + 1, || None);
            }
            inputs[number] = Some(commands);
        }
    }

    fn with_time<T>(&self, now: Instant, op: impl FnOnce(&mut Sockets) -> T) -> T {
        let sockets = &mut *self.sockets.borrow_mut();
        sockets.now = now;
        op(sockets)
    }

    /// Does what the clients want. Returns how much that was.
    fn obey(&self, sockets: &mut Sockets) -> usize {
        let mut inputs = self.inputs.borrow_mut();
        let mut count = 0;
        for (number, input) in inputs.iter_mut().enumerate() {
            let Some(commands) = input else { continue };
            let waiting = commands.slots();
            if let Ok(chunk) = commands.read_chunk(waiting) {
                let mut desk = Desk::new(&*self.door, sockets, number);
                chunk.into_iter().for_each(|command| desk.obey(command));
            }
            count += waiting;
            if waiting >= RING_LEN_LOW {
                sockets.client(number).taken();
            }
            if commands.is_abandoned() && commands.is_empty() {
                *input = None;
                sockets.dismiss(&*self.door, number);
            }
        }
        count
    }

    /// Tells the clients what changed. Returns how much there was to tell.
    fn tell(&self) -> usize {
        let mut changed = mem::take(&mut *self.changed.borrow_mut());
        self.shard.changed(&mut changed);
        let mut sockets = self.sockets.borrow_mut();
        for (socket, ready) in changed.drain(..) {
            sockets.changed(&*self.door, socket, ready);
        }
        sockets.resume(&*self.door);
        let count = sockets.publish();
        *self.changed.borrow_mut() = changed;
        count
    }
}

impl Turn for Server {
    fn receive(&self, now: Instant) -> usize {
        self.admit();
        let received = self.shard.receive(now);
        let ended = self.with_time(now, |sockets| sockets.end_lingering(&*self.door));
        received + ended + self.tell()
    }

    fn transmit(&self, now: Instant) -> usize {
        let obeyed = self.with_time(now, |sockets| self.obey(sockets));
        let transmitted = self.shard.transmit(now);
        obeyed + transmitted + self.tell()
    }

    fn deadline(&self) -> Option<Instant> {
        self.shard.deadline().into_iter().chain(self.sockets.borrow().deadline()).min()
    }

    fn pending(&self) -> bool {
        let waits = |input: &Consumer<Command>| !input.is_empty() || input.is_abandoned();
        self.shard.pending()
            || !self.connector.intake.is_empty()
            || self.inputs.borrow().iter().flatten().any(waits)
            || self.sockets.borrow().is_due()
    }

    fn has_undelivered(&self) -> bool {
        self.shard.has_undelivered()
    }

    fn interests(&self, add: &mut dyn FnMut(Interest)) {
        self.shard.interests(add);
    }

    fn arm(&self) -> Option<Duration> {
        self.shard.arm()
    }

    fn disarm(&self) {
        self.shard.disarm();
    }

    fn wake_through(&self, handle: &Handle) {
        self.shard.wake_through(handle);
    }
}

impl Drop for Server {
    /// Whoever still asks gets an error: first they are told that there is nobody, then what they asked is dropped.
    fn drop(&mut self) {
        self.admit();
        self.sockets.get_mut().hang_up();
        for mut commands in self.inputs.get_mut().drain(..).flatten() {
            while let Ok(command) = commands.pop() {
                drop(command);
            }
        }
    }
}

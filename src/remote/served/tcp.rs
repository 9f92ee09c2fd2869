//! Connections.

use std::collections::VecDeque;
use std::io;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use hayase_device::SharedBytes;
use hayase_stack::{Error, Ready, Socket, TcpId};
use hayase_time::Instant;

use super::Sockets;
use super::urgent::Urgent;
use crate::door::{Door, Farewell};
use crate::error::io_error;
use crate::remote::chunk::Chunk;
use crate::remote::memory::Memory;
use crate::remote::message::Completion;
use crate::remote::{LARGE_LEN, SEND_MAX, cost};
use crate::wakers::Notify;

/// What one read takes by way of a small buffer: most requests, and the end of everything else.
pub(super) const SMALL_LEN: usize = LARGE_LEN;

/// What one message carries at most.
const PIECE_LEN: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Tcp {
    pub(super) client: usize,
    /// The handshake is not over.
    connecting: bool,
    /// Bytes that were taken out of the stack, and that have been read.
    pub(super) taken_total: u64,
    pub(super) read_total: u64,
    /// Its ends are counted as those.
    urgent: Urgent,
    /// What was written and the stack has not taken, each with what was paid for it.
    pub(super) unsent: VecDeque<(Chunk, usize)>,
    /// What the stack has taken and the client is not told of.
    freed: usize,
    ended: bool,
    write_closed: bool,
    /// What ended it, if a write was told while the stack still had bytes for the client: told behind those.
    error: Option<io::Error>,
    /// Something was written that the stack did not take before that.
    has_lost: bool,
    /// The end follows what is unsent.
    shut_down: bool,
    /// So does the close: the handle is gone.
    pub(super) closing: bool,
    /// When a close that waits for what is unsent becomes a reset.
    lingers_until: Option<Instant>,
    /// It is about to move to another core: the client gets nothing more from here.
    pub(super) parting: bool,
    /// It is in the list of those who wait for room in the messages.
    pub(super) stalled: bool,
}

impl Tcp {
    fn new(client: usize, connecting: bool) -> Tcp {
        Tcp {
            client,
            connecting,
            taken_total: 0,
            read_total: 0,
            urgent: Urgent::default(),
            unsent: VecDeque::new(),
            freed: 0,
            ended: false,
            write_closed: false,
            error: None,
            has_lost: false,
            shut_down: false,
            closing: false,
            lingers_until: None,
            parting: false,
            stalled: false,
        }
    }

    /// As it comes from another core.
    pub(super) fn moved(
        client: usize,
        unread_len: u64,
        unsent: VecDeque<(Chunk, usize)>,
        shut_down: bool,
    ) -> Tcp {
        Tcp { taken_total: unread_len, unsent, shut_down, ..Tcp::new(client, false) }
    }

    /// Nothing more can be written, and what waits for that goes.
    fn close_write(&mut self) {
        self.write_closed = true;
        self.has_lost |= !self.unsent.is_empty();
        self.unsent.clear();
    }

    /// The stack has taken what cost so much. Returns what the client should be told.
    fn free(&mut self, paid: usize) -> Option<u32> {
        self.freed += paid;
        // The client has three quarters left before it has to wait for this.
        let is_worth_it = self.freed >= SEND_MAX / 4;
        is_worth_it.then(|| std::mem::take(&mut self.freed) as u32)
    }
}

/// Commands.
impl Sockets {
    pub(in crate::remote) fn serve_tcp(&mut self, id: TcpId, client: usize, connecting: bool) {
        self.tcp.insert(id, Tcp::new(client, connecting));
    }

    /// Bytes to send: to the stack if it takes them now, else behind those that wait.
    #[inline]
    pub(in crate::remote) fn write(&mut self, door: &dyn Door, id: TcpId, mut chunk: Chunk) {
        let Some(tcp) = self.tcp.get_mut(id) else { return };
        let paid = cost(chunk.len());
        if tcp.unsent.is_empty() && !tcp.write_closed {
            match write(door, id, &mut chunk) {
                Poll::Ready(Ok(())) => return self.free(id, paid),
                Poll::Ready(Err(error)) => {
                    tcp.has_lost = true;
                    return self.break_off(door, id, error);
                }
                Poll::Pending => {}
            }
        }
        match self.tcp.get_mut(id) {
            Some(tcp) if tcp.write_closed => tcp.has_lost = true,
            Some(tcp) => tcp.unsent.push_back((chunk.apart(), paid)),
            None => {}
        }
    }

    #[inline]
    fn free(&mut self, id: TcpId, paid: usize) {
        let Some(tcp) = self.tcp.get_mut(id) else { return };
        if let Some(credit) = tcp.free(paid) {
            let client = tcp.client;
            self.tell(client, Completion::Written { id, credit });
        }
    }

    /// The client has read: there may be room for more.
    pub(in crate::remote) fn read(&mut self, door: &dyn Door, id: TcpId, total: u64) {
        self.note_read(id, total);
        self.look(door, Socket::Tcp(id));
    }

    fn note_read(&mut self, id: TcpId, total: u64) {
        let Some(tcp) = self.tcp.get_mut(id) else { return };
        let read = total - tcp.read_total;
        tcp.read_total = total;
        if let Some(output) = &mut self.outputs[tcp.client] {
            output.unread -= read;
        }
    }

    pub(in crate::remote) fn shut_down(&mut self, door: &dyn Door, id: TcpId) {
        if let Some(tcp) = self.tcp.get_mut(id) {
            tcp.shut_down = true;
            self.finish(door, id);
        }
    }

    pub(in crate::remote) fn abort(&mut self, door: &dyn Door, id: TcpId) {
        if self.remove_tcp(id).is_some() {
            door.bid(Farewell::Abort(id));
        }
    }

    /// The connection is served no more, and what the client has not read of it counts no more.
    pub(super) fn remove_tcp(&mut self, id: TcpId) -> Option<Tcp> {
        let tcp = self.tcp.remove(id)?;
        if let Some(output) = &mut self.outputs[tcp.client] {
            output.unread -= tcp.taken_total - tcp.read_total;
        }
        if let Some(until) = tcp.lingers_until {
            self.lingering.remove(&(until, id.index));
        }
        Some(tcp)
    }

    /// What was written is still delivered, unless the peer's bytes were not read (RFC 9293 §3.10.4, SHLD-3): those
    /// are here, and the stack does not know of them.
    pub(super) fn close_tcp(&mut self, door: &dyn Door, id: TcpId, read: u64) {
        let Some(tcp) = self.tcp.get_mut(id) else { return };
        let has_unread = tcp.taken_total > read;
        let (client, unread) = (tcp.client, tcp.taken_total - tcp.read_total);
        tcp.closing = true;
        tcp.read_total = tcp.taken_total;
        if let Some(output) = &mut self.outputs[client] {
            output.unread -= unread;
        }
        match door.tcp_linger(id) {
            Ok(Some(Duration::ZERO)) => return self.abort(door, id),
            _ if has_unread => return self.abort(door, id),
            Ok(Some(linger)) => self.linger(id, linger),
            _ => {}
        }
        self.finish(door, id);
    }

    /// The time runs from the close on, also before the stack knows of it.
    fn linger(&mut self, id: TcpId, linger: Duration) {
        if let Some(tcp) = self.tcp.get_mut(id).filter(|tcp| !tcp.unsent.is_empty()) {
            let until = self.now + linger;
            tcp.lingers_until = Some(until);
            self.lingering.insert((until, id.index), id);
        }
    }

    /// Resets the connections whose time to deliver the rest is over. Returns how many.
    pub(in crate::remote) fn end_lingering(&mut self, door: &dyn Door) -> usize {
        let mut count = 0;
        while let Some(first) = self.lingering.first_entry()
            && first.key().0 <= self.now
        {
            let id = first.remove();
            self.abort(door, id);
            count += 1;
        }
        count
    }

    /// Once nothing is unsent: the end and the close that were asked for.
    fn finish(&mut self, door: &dyn Door, id: TcpId) {
        let Some(tcp) = self.tcp.get(id).filter(|tcp| tcp.unsent.is_empty()) else { return };
        if tcp.closing {
            if let Some(until) = tcp.lingers_until {
                // Of its time, this much is left. It fails for connections that are no more.
                let _ = door.tcp_set_linger(id, Some(until - self.now));
            }
            self.remove_tcp(id);
            door.close(Socket::Tcp(id));
        } else if tcp.shut_down && !tcp.write_closed {
            // If it fails, the connection has, of which the client hears anyway.
            let _ = door.tcp_shutdown(id);
        }
    }

    /// Whether the stack has taken everything that the client wrote; an error if it never will.
    pub(in crate::remote) fn has_passed_all(&self, id: TcpId) -> io::Result<bool> {
        match self.tcp.get(id) {
            Some(tcp) if tcp.has_lost => Err(io_error(Error::ConnectionReset)),
            found => Ok(found.is_none_or(|tcp| tcp.unsent.is_empty())),
        }
    }
}

/// Changes.
impl Sockets {
    #[inline]
    pub(super) fn tcp_changed(&mut self, door: &dyn Door, id: TcpId, ready: Ready) {
        let Some(tcp) = self.tcp.get_mut(id) else { return };
        let (connecting, has_unsent) = (tcp.connecting, !tcp.unsent.is_empty());
        if connecting && !self.connect(door, id) {
            return;
        }
        if ready.contains(Ready::PRIORITY) {
            self.tell_urgent(door, id);
        }
        if ready.is_readable() {
            self.take(door, id, ready);
        }
        if has_unsent && ready.wakes_writer() {
            self.resend(door, id);
        }
        if ready.intersects(Ready::WRITE_CLOSED | Ready::ERROR) {
            self.close_write(door, id);
        }
    }

    /// The peer marked something as urgent: what it is counted from is still in the stack. The stack says so whenever it
    /// is looked at, and the client hears of it once; and of the next when it knows of that.
    #[cold]
    fn tell_urgent(&mut self, door: &dyn Door, id: TcpId) {
        let Some(tcp) = self.tcp.get_mut(id) else { return };
        let Poll::Ready(Ok(len @ 1..)) = door.tcp_poll_urgent(id, Notify::NEVER) else { return };
        let (end, client) = (tcp.urgent.mark(tcp.taken_total + len as u64), tcp.client);
        self.tell_urgent_end(id, client, end);
    }

    /// The client knows of what it was told is urgent.
    pub(in crate::remote) fn heard_urgent(&mut self, id: TcpId) {
        if let Some(tcp) = self.tcp.get_mut(id).filter(|tcp| !tcp.parting) {
            let (end, client) = (tcp.urgent.heard(), tcp.client);
            self.tell_urgent_end(id, client, end);
        }
    }

    /// What the client does not know yet, of a connection that it hears no more of from here.
    pub(super) fn tell_urgent_rest(&mut self, id: TcpId) {
        if let Some(tcp) = self.tcp.get_mut(id) {
            let (end, client) = (tcp.urgent.last(), tcp.client);
            self.tell_urgent_end(id, client, end);
        }
    }

    fn tell_urgent_end(&mut self, id: TcpId, client: usize, end: Option<u64>) {
        if let Some(end) = end {
            self.tell(client, Completion::Urgent { id, end });
        }
    }

    /// Whether the handshake is over, and well.
    fn connect(&mut self, door: &dyn Door, id: TcpId) -> bool {
        let Some(tcp) = self.tcp.get_mut(id) else { return false };
        match door.tcp_poll_connect(id, Notify::NEVER) {
            Poll::Pending => false,
            Poll::Ready(Ok(())) => {
                tcp.connecting = false;
                let client = tcp.client;
                self.tell(client, Completion::Connected(id));
                true
            }
            Poll::Ready(Err(error)) => {
                tcp.connecting = false;
                self.fail(id, error);
                false
            }
        }
    }

    /// Takes what came in out of the stack, as far as the client may have it.
    #[inline]
    fn take(&mut self, door: &dyn Door, id: TcpId, ready: Ready) {
        while let Some(room) = self.room(id) {
            let len_max = room.min(SMALL_LEN as u64) as usize;
            match door.tcp_read(id, Notify::NEVER, &mut self.small[..len_max]) {
                Poll::Ready(Ok(0)) => return self.end(id),
                Poll::Ready(Ok(len)) if len < len_max => {
                    let memory = &mut self.memory;
                    let chunk = Chunk::copy(&self.small[..len], |bytes| memory.copy(bytes));
                    self.pass_on(id, chunk);
                    // Only an end or an error can be behind it.
                    if !ready.intersects(Ready::READ_CLOSED | Ready::ERROR) {
                        return;
                    }
                }
                Poll::Ready(Ok(len)) => {
                    let (chunk, failure) = self.take_large(door, id, len, room);
                    self.pass_on(id, chunk);
                    if let Some(error) = failure {
                        return self.fail(id, error);
                    }
                }
                Poll::Ready(Err(error)) => return self.fail(id, error),
                Poll::Pending => return,
            }
        }
    }

    /// How many more bytes the client may have, if any. With too many messages to read already, it gets them later.
    #[inline]
    fn room(&mut self, id: TcpId) -> Option<u64> {
        let tcp = self.tcp.get_mut(id).filter(|tcp| !tcp.ended && !tcp.closing && !tcp.parting)?;
        let output = self.outputs[tcp.client].as_ref()?;
        let room = output.receive_max().saturating_sub(tcp.taken_total - tcp.read_total);
        if room > 0 && !output.has_room() {
            if !std::mem::replace(&mut tcp.stalled, true) {
                self.stalled.push_back(id);
            }
            return None;
        }
        (room > 0).then_some(room)
    }

    /// What is behind the first `len` bytes, which are in the small buffer, and these: one piece. And an error, if there is
    /// nothing else behind it: the stack tells it once.
    fn take_large(
        &mut self,
        door: &dyn Door,
        id: TcpId,
        len: usize,
        room: u64,
    ) -> (Chunk, Option<io::Error>) {
        let more = room.min(PIECE_LEN as u64) as usize - len;
        let large = &mut self.large;
        large.reserve(PIECE_LEN);
        large.extend_from_slice(&self.small[..len]);
        let mut failure = None;
        if more > 0 {
            // An end behind it is met by the next round.
            let mut sink = |bytes: &[u8]| large.extend_from_slice(bytes);
            if let Poll::Ready(Err(error)) = door.tcp_read_with(id, Notify::NEVER, more, &mut sink) {
                failure = Some(error);
            }
        }
        (take_filled(large, &mut self.memory), failure)
    }

    #[inline]
    fn pass_on(&mut self, id: TcpId, chunk: Chunk) {
        let Some(tcp) = self.tcp.get_mut(id) else { return };
        let Some(output) = &mut self.outputs[tcp.client] else { return };
        tcp.taken_total += chunk.len() as u64;
        output.unread += chunk.len() as u64;
        output.push(Completion::Data { id, chunk });
    }

    fn end(&mut self, id: TcpId) {
        let Some(tcp) = self.tcp.get_mut(id) else { return };
        if let Some(error) = tcp.error.take() {
            return self.fail(id, error);
        }
        tcp.ended = true;
        let client = tcp.client;
        self.tell(client, Completion::Ended(id));
    }

    /// Sends what had to wait.
    pub(super) fn resend(&mut self, door: &dyn Door, id: TcpId) {
        while let Some(tcp) = self.tcp.get_mut(id)
            && let Some((chunk, paid)) = tcp.unsent.front_mut()
        {
            let paid = *paid;
            match write(door, id, chunk) {
                Poll::Ready(Ok(())) => {
                    tcp.unsent.pop_front();
                    self.free(id, paid);
                }
                Poll::Ready(Err(error)) => {
                    self.break_off(door, id, error);
                    break;
                }
                Poll::Pending => return,
            }
        }
        self.finish(door, id);
    }

    /// Nothing can be written any more, by whosever doing.
    fn close_write(&mut self, door: &dyn Door, id: TcpId) {
        let Some(tcp) = self.tcp.get_mut(id).filter(|tcp| !tcp.write_closed) else { return };
        tcp.close_write();
        let client = tcp.client;
        self.tell(client, Completion::WriteClosed(id));
        self.finish(door, id);
    }

    /// A write was told what ended the connection. What came in before that comes first, also where there is no room for it
    /// yet.
    fn break_off(&mut self, door: &dyn Door, id: TcpId, error: io::Error) {
        let Some(tcp) = self.tcp.get_mut(id) else { return };
        tcp.has_lost |= !tcp.unsent.is_empty();
        tcp.unsent.clear();
        tcp.error = Some(error);
        self.take(door, id, Ready::READ_CLOSED | Ready::ERROR);
        self.close_write(door, id);
    }

    fn fail(&mut self, id: TcpId, error: io::Error) {
        let Some(tcp) = self.tcp.get_mut(id) else { return };
        tcp.ended = true;
        tcp.close_write();
        let client = tcp.client;
        self.tell(client, Completion::Failed { id, error });
    }

    pub(super) fn tell(&mut self, client: usize, completion: Completion) {
        if let Some(output) = &mut self.outputs[client] {
            output.push(completion);
        }
    }
}

/// What was read into `large`: with that, if it fills half of it and more, and else in `memory`.
fn take_filled(large: &mut BytesMut, memory: &mut Memory) -> Chunk {
    if large.len() >= large.capacity() / 2 {
        return Chunk::Shared(large.split().freeze());
    }
    let chunk = Chunk::copy(large, |bytes| memory.copy(bytes));
    large.clear();
    chunk
}

/// Hands a chunk to the stack. What it does not take is left in the chunk.
#[inline]
fn write(door: &dyn Door, id: TcpId, chunk: &mut Chunk) -> Poll<io::Result<()>> {
    if let Chunk::Shared(bytes) = chunk
        && bytes.len() >= LARGE_LEN
    {
        return write_owned(door, id, bytes);
    }
    while !chunk.is_empty() {
        match door.tcp_write(id, Notify::NEVER, chunk) {
            Poll::Ready(Ok(len)) if len == chunk.len() => break,
            Poll::Ready(Ok(len)) => chunk.advance(len),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
    }
    Poll::Ready(Ok(()))
}

fn write_owned(door: &dyn Door, id: TcpId, bytes: &mut Bytes) -> Poll<io::Result<()>> {
    let mut owned = SharedBytes::from_owner(bytes.clone());
    let written = loop {
        match door.tcp_write_owned(id, Notify::NEVER, &mut owned) {
            Poll::Ready(Ok(_)) if owned.is_empty() => break Poll::Ready(Ok(())),
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
            Poll::Pending => break Poll::Pending,
        }
    };
    bytes.advance(bytes.len() - owned.len());
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fills_less_than_half_takes_no_more_than_it_needs() {
        let (mut large, mut memory) = (BytesMut::with_capacity(PIECE_LEN), Memory::default());
        let place = large.as_ptr();
        for len in [100, 2048, PIECE_LEN / 2 - 1] {
            large.resize(len, 7);
            let chunk = take_filled(&mut large, &mut memory);
            assert_eq!((chunk.len(), large.len(), large.capacity()), (len, 0, PIECE_LEN));
            assert_ne!(chunk.as_ptr(), place, "{len} bytes keep {PIECE_LEN}");
        }
        large.resize(PIECE_LEN / 2, 7);
        let chunk = take_filled(&mut large, &mut memory);
        assert_eq!((chunk.len(), chunk.as_ptr()), (PIECE_LEN / 2, place), "copied");
    }

    #[test]
    fn a_small_write_that_waits_keeps_nobody_elses_memory() {
        let shared = Bytes::from(vec![7; 4096]);
        let [small, large] = [100, LARGE_LEN].map(|len| Chunk::Shared(shared.slice(..len)).apart());
        assert_eq!((small.len(), large.as_ptr()), (100, shared.as_ptr()));
        drop(large);
        assert!(shared.is_unique(), "{} bytes keep {}", small.len(), shared.len());
    }
}

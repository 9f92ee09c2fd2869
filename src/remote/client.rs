//! A thread's view of one stack.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Poll, Waker};
use std::thread::{self, ThreadId};

use bytes::Bytes;
use hayase_executor::{Handle, TaskWaker};
use hayase_stack::{ListenerId, Ready, Socket, TcpId, UdpId};
use rtrb::{Consumer, Producer, RingBuffer};

use super::desk::Desk;
use super::intake::Connector;
use super::memory::Memory;
use super::message::{Accepted, Command, Completion};
use super::output::{Line, Output};
use super::table::Table;
use super::{BATCH_LEN, RING_LEN, RING_LEN_LOW, mirror, moving, registry, ring};
use crate::door::{Farewell, ShardId};
use crate::mailbox;
use crate::wakers::{Kept, Notify, Side, WaitsIn, Wakers};

/// See the [module](super).
pub(crate) struct Client {
    id: ShardId,
    /// The executor of the thread whose client this is. Before it is known, nobody drives the client.
    owner: OnceLock<Handle>,
    /// The executor of the stack's thread.
    stack: Handle,
    stack_thread: ThreadId,
    /// The stack's own name.
    shard: ShardId,
    /// Whether the stack tells what peers mark as urgent.
    pub(super) tells_urgent: bool,
    state: Padded<Mutex<State>>,
    /// Whether the owner turns, and so delivers what comes in and publishes what is to go out.
    driven: AtomicBool,
    /// Whether other threads use it as well: the owner may be waiting for them instead of turning.
    shared: AtomicBool,
    peer: OnceLock<ShardId>,
}

/// Something in cache lines of its own. The owner writes its part in every turn; what the stack's thread looks at whenever
/// it publishes lies beside that, and stays in its cache. Two lines, because some processors fetch them in pairs.
#[repr(align(128))]
struct Padded<T>(T);

/// What the lock is for. Only the holder is producer or consumer of the rings.
pub(super) struct State {
    /// `None` when either side has hung up.
    rings: Option<Rings>,
    /// Commands that were not published yet. Bounded by the credit of the sockets.
    outbox: VecDeque<Command>,
    pub(super) mirrors: Mirrors,
    /// Changes with everything that somebody may be waiting for.
    version: u64,
    /// For copies of what is written.
    memory: Memory,
}

struct Rings {
    commands: Producer<Command>,
    completions: Consumer<Completion>,
}

/// What is known of all sockets, and who waits for them.
#[derive(Default)]
pub(super) struct Mirrors {
    pub(super) wakers: Wakers,
    /// The tasks that are to be woken.
    woken: Vec<TaskWaker>,
    pub(super) tcp: Table<TcpId, mirror::Tcp>,
    pub(super) listeners: Table<ListenerId, mirror::Listener>,
    pub(super) udp: Table<UdpId, mirror::Udp>,
    pub(super) echo: Table<hayase_stack::EchoId, mirror::Echo>,
}

impl Client {
    /// Connects this thread with a stack.
    pub(super) fn new(connector: &Connector) -> io::Result<Arc<Client>> {
        let (commands, their_commands) = RingBuffer::new(RING_LEN);
        let (their_completions, completions) = RingBuffer::new(RING_LEN);
        let state = State {
            rings: Some(Rings { commands, completions }),
            outbox: VecDeque::new(),
            mirrors: Mirrors::default(),
            version: 0,
            memory: Memory::default(),
        };
        let client = Arc::new(Client {
            id: mailbox::name()?,
            owner: OnceLock::new(),
            stack: connector.stack.clone(),
            stack_thread: connector.thread,
            shard: connector.shard,
            tells_urgent: connector.tells_urgent,
            state: Padded(Mutex::new(state)),
            driven: AtomicBool::new(false),
            shared: AtomicBool::new(false),
            peer: OnceLock::new(),
        });
        registry::insert(&client);
        let output = Output::new(their_completions, Arc::clone(&client));
        connector.intake.put(|lines| lines.push(Line { commands: their_commands, output }));
        connector.stack.notify();
        Ok(client)
    }

    pub(super) fn id(&self) -> ShardId {
        self.id
    }

    /// The stack whose client this is.
    pub(super) fn shard(&self) -> ShardId {
        self.shard
    }

    pub(super) fn peer(&self) -> Option<ShardId> {
        self.peer.get().copied()
    }

    pub(super) fn set_owner(&self, owner: &Handle) {
        // A thread has one executor for life.
        let _ = self.owner.set(owner.clone());
    }

    pub(super) fn set_peer(&self, peer: ShardId) {
        // A wire has two ends, and nobody re-plugs it.
        let _ = self.peer.set(peer);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The functions under the lock do not panic; if one did, its bytes were its own socket's.
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `op` on what is known here.
    #[inline]
    pub(super) fn call<T>(&self, away: bool, op: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.lock();
        if state.rings.is_none() {
            return Err(mailbox::absent(self.id));
        }
        let result = op(&mut state);
        self.hand_over(state, away);
        result
    }

    /// The same for a call that may have to wait: then its waker is kept.
    #[inline]
    pub(super) fn poll<I: WaitsIn, T>(
        &self,
        away: bool,
        (id, side, notify): (I, Side, Notify<'_>),
        mut op: impl FnMut(&mut State) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut cloned: Option<(Waker, u64)> = None;
        loop {
            let mut state = self.lock();
            if state.rings.is_none() {
                return Poll::Ready(Err(mailbox::absent(self.id)));
            }
            if cloned.as_ref().is_none_or(|(_, version)| *version != state.version) {
                let polled = op(&mut state);
                if polled.is_ready() {
                    self.hand_over(state, away);
                    return polled;
                }
            }
            let Some(waker) = notify.waker() else { return Poll::Pending };
            if let Some(task) = TaskWaker::of(waker) {
                let replaced = state.mirrors.wakers.insert(id, side, notify, Kept::Task(task));
                drop(state);
                drop(replaced);
                return Poll::Pending;
            }
            let version = state.version;
            match cloned.take() {
                Some((waker, seen)) if seen == version => {
                    let replaced = state.mirrors.wakers.insert(id, side, notify, Kept::Other(waker));
                    // Dropped when nothing is locked any more: it may run foreign code.
                    drop(state);
                    drop(replaced);
                    return Poll::Pending;
                }
                // Cloned without the lock, for the same reason; what happens meanwhile changes the version.
                outdated => {
                    drop(state);
                    drop(outdated);
                    cloned = Some((waker.clone(), version));
                }
            }
        }
    }

    /// Publishes the commands of a call, unless the owner's turn will do that for several calls together.
    #[inline]
    fn hand_over(&self, mut state: MutexGuard<'_, State>, away: bool) {
        let is_due = state.outbox.len() >= BATCH_LEN || away || !self.driven.load(Ordering::Relaxed);
        if is_due && state.publish() > 0 {
            drop(state);
            self.stack.notify();
        }
    }

    /// Has `op` run on the stack's thread, after everything that was asked before, and does not wait for it.
    pub(super) fn tell(&self, away: bool, op: impl FnOnce(&mut Desk<'_>) + Send + 'static) -> io::Result<()> {
        self.call(away, |state| {
            state.push(Command::Run(Box::new(op)));
            Ok(())
        })
    }

    /// Has `op` run on the stack's thread, and waits for its result.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        op: impl FnOnce(&mut Desk<'_>) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        if thread::current().id() == self.stack_thread {
            return Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "a waker that the stack's own thread calls must not wait for the stack",
            ));
        }
        let (sender, answer) = sync_channel(1);
        self.tell(true, move |desk| {
            // There is room for one, and who asked waits.
            let _ = sender.send(op(desk));
        })?;
        while !self.publish_all() {
            thread::yield_now();
        }
        // The stack's thread drops what it does not run any more.
        answer.recv().unwrap_or_else(|_| Err(mailbox::absent(self.id)))
    }

    /// Publishes commands until all are. Returns whether that is so.
    fn publish_all(&self) -> bool {
        let mut state = self.lock();
        let published = state.publish();
        let done = state.rings.is_none() || state.outbox.is_empty();
        drop(state);
        if published > 0 || !done {
            self.stack.notify();
        }
        done
    }

    /// Takes what came in and wakes whom it concerns. Returns how much that was.
    pub(super) fn receive(&self) -> usize {
        let mut state = self.lock();
        let count = state.take_completions();
        if count == 0 {
            return 0;
        }
        TaskWaker::wake_all(&state.mirrors.woken);
        state.mirrors.woken.clear();
        let woken = state.mirrors.wakers.woken();
        // What was answered at once. The turn that publishes the rest may be none of ours.
        let published = state.publish();
        drop(state);
        if count >= RING_LEN_LOW || published > 0 {
            self.stack.notify();
        }
        if let Some(mut woken) = woken {
            woken.drain(..).for_each(Waker::wake);
            self.lock().mirrors.wakers.recycle(woken);
        }
        count
    }

    /// Publishes what is to go out. Returns how much that was.
    pub(super) fn transmit(&self) -> usize {
        let published = self.lock().publish();
        if published > 0 {
            self.stack.notify();
        }
        published
    }

    /// Whether a turn would have something to do.
    pub(super) fn pending(&self) -> bool {
        let state = self.lock();
        state.rings.as_ref().is_some_and(|rings| {
            !rings.completions.is_empty() || (!state.outbox.is_empty() && !rings.commands.is_full())
        })
    }

    /// The owner turns.
    #[inline]
    pub(super) fn drive(&self) {
        if !self.driven.load(Ordering::Relaxed) {
            self.driven.store(true, Ordering::Relaxed);
        }
    }

    /// The owner does not turn any more: the stack's thread delivers in its place.
    pub(super) fn leave(&self) {
        self.driven.store(false, Ordering::Relaxed);
        // Either the stack's thread sees this after it has published, or we see what it has published.
        fence(Ordering::SeqCst);
        self.receive();
        self.transmit();
    }

    /// Another thread uses it: the stack's thread delivers, whether the owner turns or not.
    pub(super) fn share(&self) {
        if !self.shared.swap(true, Ordering::Relaxed) {
            // As in `leave`.
            fence(Ordering::SeqCst);
            self.receive();
            self.transmit();
        }
    }

    /// On the stack's thread: sees to it that what was published is read.
    pub(super) fn published(&self) {
        match self.driver() {
            Some(owner) => owner.notify(),
            None => {
                self.receive();
            }
        }
    }

    /// On the stack's thread: there is room for commands again.
    pub(super) fn taken(&self) {
        match self.driver() {
            Some(owner) => owner.notify(),
            None => {
                self.transmit();
            }
        }
    }

    /// The owner, if it is certain to look.
    fn driver(&self) -> Option<&Handle> {
        fence(Ordering::SeqCst);
        let is_driven = self.driven.load(Ordering::Relaxed) && !self.shared.load(Ordering::Relaxed);
        self.owner.get().filter(|_| is_driven)
    }

    /// On the stack's thread: somebody who waits for the answer has opened a socket.
    pub(super) fn open(&self, socket: Socket) {
        let mirrors = &mut self.lock().mirrors;
        match socket {
            Socket::Tcp(id) => mirrors.tcp.insert(id, mirror::Tcp::new(true, None)),
            Socket::Listener(id) => mirrors.listeners.insert(id, mirror::Listener::default()),
            Socket::Udp(id) => mirrors.udp.insert(id, mirror::Udp::default()),
            Socket::Echo(id) => mirrors.echo.insert(id, mirror::Echo::default()),
        }
    }

    /// On the stack's thread: a connection has come from another core.
    pub(super) fn adopt(&self, id: TcpId, mirror: mirror::Tcp) {
        self.lock().mirrors.tcp.insert(id, mirror);
    }

    /// The handle of a socket is gone.
    pub(super) fn bid(&self, away: bool, farewell: Farewell) {
        let removed = self.call(away, |state| Ok(state.bid(farewell)));
        // After the end nothing is left to do. Wakers are dropped when nothing is locked any more.
        drop(removed);
    }

    /// Publishes what is left, and then ends it: the stack closes the sockets that are still open, connections according to
    /// what of them was read.
    pub(super) fn retire(&self) {
        self.lock().tell_all_read();
        while !self.publish_all() {
            thread::yield_now();
        }
        self.hang_up();
    }

    /// From now on its sockets are errors. Whoever waits is woken to see that.
    pub(super) fn hang_up(&self) {
        let mut state = self.lock();
        let rings = state.rings.take();
        let outbox = mem::take(&mut state.outbox);
        let mirrors = mem::take(&mut state.mirrors);
        drop(state);
        if rings.is_some() {
            // First: a socket of it must not find it where another shard stands by then.
            registry::remove(self.id);
            mailbox::unname(self.id);
        }
        drop((rings, outbox));
        mirrors.wake_all().into_iter().for_each(Waker::wake);
        self.stack.notify();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.id)
    }
}

impl State {
    #[inline]
    pub(super) fn push(&mut self, command: Command) {
        self.outbox.push_back(command);
    }

    /// A copy of bytes that are written. The stack holds large ones until the peer has acknowledged them.
    pub(super) fn copy(&mut self, bytes: &[u8]) -> Bytes {
        self.memory.copy(bytes)
    }

    fn publish(&mut self) -> usize {
        let State { rings, outbox, .. } = self;
        rings.as_mut().map_or(0, |rings| ring::publish(&mut rings.commands, outbox))
    }

    fn tell_all_read(&mut self) {
        let State { mirrors, outbox, .. } = self;
        for id in mirrors.tcp.names(mirror::Tcp::has_untold) {
            let total = mirrors.tcp.get(id).map(mirror::Tcp::read_total);
            outbox.extend(total.map(|total| Command::Read { id, total }));
        }
    }

    fn take_completions(&mut self) -> usize {
        let Some(rings) = &mut self.rings else { return 0 };
        let count = rings.completions.slots();
        let Ok(chunk) = rings.completions.read_chunk(count) else { return 0 };
        for completion in chunk {
            self.mirrors.apply(completion, &mut self.outbox);
        }
        self.version += u64::from(count > 0);
        count
    }

    /// Forgets a socket and has the stack do the rest. Returns whoever waited for it; with one that is gone already, its
    /// place may be somebody else's.
    fn bid(&mut self, farewell: Farewell) -> Vec<Waker> {
        let (is_known, socket) = match farewell {
            Farewell::Close(socket) => (self.close(socket), socket),
            Farewell::Abort(id) => (self.abort(id), Socket::Tcp(id)),
            Farewell::Shutdown(id) => {
                self.shut_down(id);
                return Vec::new();
            }
            Farewell::Forget(socket, side, ticket) => {
                return self.mirrors.wakers.forget(socket, side, ticket).into_iter().collect();
            }
        };
        if is_known { self.mirrors.wakers.close(socket) } else { Vec::new() }
    }

    fn close(&mut self, socket: Socket) -> bool {
        let mirrors = &mut self.mirrors;
        let read = match socket {
            Socket::Tcp(id) => mirrors.tcp.remove(id).map(|tcp| tcp.read_total()),
            Socket::Listener(id) => mirrors.listeners.remove(id).map(|listener| {
                for accepted in listener.accepted.into_iter().flatten() {
                    self.abort(accepted.id);
                }
                0
            }),
            Socket::Udp(id) => mirrors.udp.remove(id).map(|_| 0),
            Socket::Echo(id) => mirrors.echo.remove(id).map(|_| 0),
        };
        let close = read.map(|read| Command::Close { socket, read });
        let is_known = close.is_some();
        self.outbox.extend(close);
        is_known
    }

    /// No more follows. Returns whether the connection is one of ours.
    pub(super) fn shut_down(&mut self, id: TcpId) -> bool {
        let is_news = self.mirrors.tcp.get_mut(id).map(mirror::Tcp::shut_down);
        if is_news == Some(true) {
            self.push(Command::Shutdown(id));
        }
        is_news.is_some()
    }

    fn abort(&mut self, id: TcpId) -> bool {
        let is_known = self.mirrors.tcp.remove(id).is_some();
        self.outbox.extend(is_known.then_some(Command::Abort(id)));
        is_known
    }
}

impl Mirrors {
    fn wake_all(mut self) -> Vec<Waker> {
        self.wakers.wake_all()
    }

    /// Notes what the stack says. What it says of sockets that were closed meanwhile means nothing any more.
    #[inline]
    fn apply(&mut self, completion: Completion, outbox: &mut VecDeque<Command>) {
        match completion {
            Completion::Data { id, chunk } => {
                self.update(id, Ready::READABLE, |tcp| tcp.push(chunk));
            }
            Completion::Written { id, credit } => self.update(id, Ready::WRITABLE, |tcp| tcp.earn(credit)),
            other => self.apply_rare(other, outbox),
        }
    }

    /// Everybody is to be woken who waits for this socket.
    #[inline]
    fn note(&mut self, socket: Socket, ready: Ready) {
        self.wakers.wake(socket, ready, |task| self.woken.push(task));
    }

    #[inline]
    fn update(&mut self, id: TcpId, ready: Ready, update: impl FnOnce(&mut mirror::Tcp)) {
        if let Some(tcp) = self.tcp.get_mut(id) {
            update(tcp);
            self.wakers.wake(Socket::Tcp(id), ready, |task| self.woken.push(task));
        }
    }

    fn apply_rare(&mut self, completion: Completion, outbox: &mut VecDeque<Command>) {
        match completion {
            Completion::Data { .. } | Completion::Written { .. } => {}
            Completion::Ended(id) => self.update(id, Ready::READ_CLOSED, |tcp| tcp.ended = true),
            Completion::WriteClosed(id) => {
                self.update(id, Ready::WRITE_CLOSED, |tcp| tcp.write_closed = true);
            }
            Completion::Failed { id, error } => self.update(id, Ready::ERROR, |tcp| tcp.fail(error)),
            Completion::Connected(id) => self.update(id, Ready::WRITABLE, |tcp| tcp.connecting = false),
            Completion::Urgent { id, end } => {
                self.update(id, Ready::PRIORITY, |tcp| tcp.mark_urgent(end));
                outbox.push_back(Command::HeardUrgent(id));
            }
            Completion::Parting { id, to } => {
                let send_off = self.tcp.remove(id).map(|mirror| moving::send_off(id, mirror, *to));
                outbox.extend(send_off);
            }
            Completion::Accepted { listener, accepted } => self.accept(listener, accepted, outbox),
            Completion::Datagram(datagram) => {
                let id = datagram.id;
                self.update_udp(id, Ready::READABLE, |udp| udp.unread.push_back(*datagram));
            }
            Completion::Sent { id, count } => {
                self.update_udp(id, Ready::WRITABLE, |udp| udp.sending -= count as usize);
            }
            Completion::UdpFailed { id, error } => {
                self.update_udp(id, Ready::ERROR, |udp| udp.error = Some(error));
            }
            Completion::Unsent { id, unsent } => {
                self.update_udp(id, Ready::WRITABLE, |udp| udp.unsent = Some(unsent));
            }
            Completion::Echo { id, reply } => {
                if let Some(echo) = self.echo.get_mut(id) {
                    echo.replies.push_back(reply);
                    self.note(Socket::Echo(id), Ready::READABLE);
                }
            }
        }
    }

    fn update_udp(&mut self, id: UdpId, ready: Ready, update: impl FnOnce(&mut mirror::Udp)) {
        if let Some(udp) = self.udp.get_mut(id) {
            update(udp);
            self.note(Socket::Udp(id), ready);
        }
    }

    fn accept(
        &mut self,
        listener: ListenerId,
        accepted: io::Result<Box<Accepted>>,
        outbox: &mut VecDeque<Command>,
    ) {
        let Some(known) = self.listeners.get_mut(listener) else {
            // Connections that nobody accepted are reset with their listener.
            return outbox.extend(accepted.ok().map(|accepted| Command::Abort(accepted.id)));
        };
        if let Ok(accepted) = &accepted {
            self.tcp.insert(accepted.id, mirror::Tcp::new(false, Some(accepted.addresses)));
        }
        known.accepted.push_back(accepted);
        self.note(Socket::Listener(listener), Ready::READABLE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The stack may give the place of a connection that was reset to another one before its thread goes on.
    #[test]
    fn a_late_farewell_takes_nothing_from_the_next_tenant() {
        let executor = hayase_executor::Executor::new().unwrap();
        let shard = mailbox::name().unwrap();
        let client = Client::new(&Connector::new(shard, &executor.handle(), true)).unwrap();
        let [before, after] = [1, 2].map(|generation| TcpId { index: 3, generation });
        client.adopt(before, mirror::Tcp::new(false, None));
        client.bid(true, Farewell::Abort(before));
        client.adopt(after, mirror::Tcp::new(false, None));
        let notify = Notify::last(Waker::noop());
        let kept = notify.keep().unwrap();
        assert!(client.lock().mirrors.wakers.insert(after, Side::Read, notify, kept).is_none());
        for farewell in [Farewell::Abort(before), Farewell::Close(Socket::Tcp(before))] {
            client.bid(true, farewell);
        }
        let waiting = client.lock().mirrors.wakers.close(Socket::Tcp(after));
        assert_eq!(waiting.len(), 1);
        client.retire();
        mailbox::unname(shard);
    }
}

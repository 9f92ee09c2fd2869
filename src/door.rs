//! The door between a socket and the stack of its shard.
//!
//! A socket is three integers. [`enter`] turns the first, the shard, into that shard's [`Door`]: an index into
//! a table of this thread and a comparison. The door hides which device, and so which frames, the stack has;
//! a read or a write is one virtual call.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::{self, ManuallyDrop};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::ops::Deref;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use hayase_device::{Caps, Offloads, SharedBytes};
use hayase_stack::{
    AddressState, Cidr, Congestion, EchoId, EchoReply, Keepalive, ListenerId, Reach, Ready, Socket, State,
    TcpId, TcpInfo, UdpId, Way,
};

use crate::counters::Counters;
use crate::drained;
use crate::io::Interest;
use crate::mailbox;
use crate::net::tcp::Options;
use crate::remote;
use crate::steering::Moved;
use crate::wakers::{Notify, Side};

/// What sockets and hosts may ask of a shard.
///
/// Every function may be called at any time on the shard's thread, from a waker or a `Drop` as well: a shard
/// that is busy answers with an error, and keeps what must not be lost ([`Door::bid`]) for its next turn.
pub(crate) trait Door {
    fn tcp_listen(&self, local: SocketAddr, backlog: usize, options: &Options) -> io::Result<ListenerId>;
    fn listener_local_addr(&self, id: ListenerId) -> io::Result<SocketAddr>;
    /// Waits until all shards of this host know of the listener that can. The waker is cloned and dropped while nothing is
    /// borrowed.
    fn listener_poll_known(&self, _id: ListenerId, _waker: Waker) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn tcp_accept(&self, id: ListenerId, notify: Notify<'_>) -> Poll<io::Result<(TcpId, SocketAddr)>>;
    fn tcp_connect(
        &self,
        remote: SocketAddr,
        local: Option<SocketAddr>,
        options: &Options,
    ) -> io::Result<TcpId>;
    /// Connects with data; says how much of it is on its way.
    fn tcp_connect_with(
        &self,
        _remote: SocketAddr,
        _local: Option<SocketAddr>,
        _options: &Options,
        _bytes: &[u8],
    ) -> io::Result<(TcpId, usize)> {
        Err(no_fastopen())
    }
    fn tcp_set_fastopen(&self, _id: ListenerId, _pending_max: usize) -> io::Result<()> {
        Err(no_fastopen())
    }
    fn tcp_poll_connect(&self, id: TcpId, notify: Notify<'_>) -> Poll<io::Result<()>>;
    /// Sends a connection to the shard of core `to`. Unless it fails, the connection is not this shard's any more.
    fn tcp_migrate(&self, _id: TcpId, _to: usize) -> io::Result<Moved> {
        Err(alone())
    }

    fn tcp_read(&self, id: TcpId, notify: Notify<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;
    fn tcp_read_vectored(
        &self,
        id: TcpId,
        notify: Notify<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>>;
    fn tcp_read_with(
        &self,
        id: TcpId,
        notify: Notify<'_>,
        len_max: usize,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Poll<io::Result<usize>>;
    fn tcp_lease(&self, id: TcpId, notify: Notify<'_>, len_max: usize) -> Poll<io::Result<SharedBytes>>;
    fn tcp_peek(&self, id: TcpId, notify: Notify<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;

    fn tcp_write(&self, id: TcpId, notify: Notify<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;
    fn tcp_write_vectored(
        &self,
        id: TcpId,
        notify: Notify<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>>;
    fn tcp_write_owned(
        &self,
        id: TcpId,
        notify: Notify<'_>,
        bytes: &mut SharedBytes,
    ) -> Poll<io::Result<usize>>;
    fn tcp_shutdown(&self, id: TcpId) -> io::Result<()>;

    fn tcp_local_addr(&self, id: TcpId) -> io::Result<SocketAddr>;
    fn tcp_peer_addr(&self, id: TcpId) -> io::Result<SocketAddr>;
    fn tcp_state(&self, id: TcpId) -> io::Result<State>;
    fn tcp_flushed(&self, id: TcpId) -> io::Result<bool>;
    fn tcp_take_error(&self, id: TcpId) -> io::Result<Option<io::Error>>;
    fn tcp_nodelay(&self, id: TcpId) -> io::Result<bool>;
    fn tcp_set_nodelay(&self, id: TcpId, on: bool) -> io::Result<()>;
    fn tcp_linger(&self, id: TcpId) -> io::Result<Option<Duration>>;
    fn tcp_set_linger(&self, id: TcpId, linger: Option<Duration>) -> io::Result<()>;
    fn tcp_keepalive(&self, id: TcpId) -> io::Result<Option<Keepalive>>;
    fn tcp_set_keepalive(&self, id: TcpId, keepalive: Option<Keepalive>) -> io::Result<()>;
    fn tcp_user_timeout(&self, id: TcpId) -> io::Result<Option<Duration>>;
    fn tcp_set_user_timeout(&self, id: TcpId, limit: Option<Duration>) -> io::Result<()>;
    fn tcp_ttl(&self, id: TcpId) -> io::Result<u8>;
    fn tcp_set_ttl(&self, id: TcpId, ttl: u8) -> io::Result<()>;
    fn tcp_tos(&self, id: TcpId) -> io::Result<u8>;
    fn tcp_set_tos(&self, id: TcpId, tos: u8) -> io::Result<()>;
    fn tcp_info(&self, id: TcpId) -> io::Result<TcpInfo>;
    fn tcp_connections(&self) -> io::Result<Vec<(SocketAddr, SocketAddr, TcpInfo)>> {
        Err(not_listed())
    }
    fn tcp_congestion(&self, id: TcpId) -> io::Result<Congestion>;
    fn tcp_set_congestion(&self, id: TcpId, congestion: Congestion) -> io::Result<()>;
    /// Whether it is told what peers mark as urgent.
    fn tells_urgent(&self) -> bool {
        true
    }
    /// Bytes to the end of what is urgent, once something is; 0 at the end of the stream.
    fn tcp_poll_urgent(&self, _id: TcpId, _notify: Notify<'_>) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(urgent_untold()))
    }

    fn udp_bind(&self, local: SocketAddr) -> io::Result<UdpId>;
    fn udp_connect(&self, id: UdpId, remote: SocketAddr) -> io::Result<()>;
    fn udp_local_addr(&self, id: UdpId) -> io::Result<SocketAddr>;
    fn udp_peer_addr(&self, id: UdpId) -> io::Result<SocketAddr>;
    fn udp_send(
        &self,
        id: UdpId,
        notify: Notify<'_>,
        bytes: &[u8],
        to: Option<SocketAddr>,
    ) -> Poll<io::Result<usize>>;
    fn udp_recv(
        &self,
        id: UdpId,
        notify: Notify<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>>;
    fn udp_peek(
        &self,
        id: UdpId,
        notify: Notify<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>>;
    fn udp_ttl(&self, id: UdpId) -> io::Result<u8>;
    fn udp_set_ttl(&self, id: UdpId, ttl: u8) -> io::Result<()>;
    fn udp_tos(&self, id: UdpId) -> io::Result<u8>;
    fn udp_set_tos(&self, id: UdpId, tos: u8) -> io::Result<()>;

    fn echo_open(&self) -> io::Result<EchoId>;
    fn echo_send(&self, id: EchoId, to: IpAddr, sequence: u16, payload: &[u8]) -> io::Result<()>;
    fn echo_recv(&self, id: EchoId, notify: Notify<'_>) -> Poll<io::Result<EchoReply>>;

    /// What the socket is ready for, once that has anything in common with what `side` waits for.
    fn poll_ready(&self, socket: Socket, side: Side, notify: Notify<'_>) -> Poll<io::Result<Ready>>;
    /// What the socket is ready for now.
    fn ready(&self, socket: Socket) -> io::Result<Ready>;
    /// The future that holds this ticket waits no more.
    fn forget(&self, socket: Socket, side: Side, ticket: NonZeroU64);
    /// Wakes everybody who waits for the socket, which is no connection, to look again.
    fn rouse(&self, socket: Socket);
    /// Does what is left to do for a handle that is gone, or for a half of one. Never fails: a busy shard does it in its next turn.
    fn bid(&self, farewell: Farewell);
    /// The handle is gone.
    fn close(&self, socket: Socket) {
        self.bid(Farewell::Close(socket));
    }

    /// Whether there are several links behind it, which scopes tell apart.
    fn has_links(&self) -> io::Result<bool> {
        Ok(false)
    }
    /// What this host can reach, as far as is known here.
    fn ways(&self) -> io::Result<Vec<Way>>;
    /// How near it is to an address. `None`: it knows no way.
    fn reach(&self, dst: IpAddr) -> io::Result<Option<Reach>> {
        Ok(Reach::by(self.ways()?, dst))
    }
    fn addresses(&self) -> io::Result<Vec<Cidr>>;
    fn address_states(&self) -> io::Result<Vec<(Cidr, AddressState)>>;
    fn add_address(&self, cidr: Cidr) -> io::Result<()>;
    fn remove_address(&self, addr: IpAddr) -> io::Result<()>;
    fn add_route(&self, destination: Cidr, gateway: IpAddr) -> io::Result<()>;
    fn remove_route(&self, destination: Cidr) -> io::Result<()>;
    fn caps(&self) -> io::Result<Caps>;
    fn set_offloads(&self, wanted: Offloads) -> io::Result<Offloads>;
    fn mac(&self) -> io::Result<[u8; 6]>;
    fn counters(&self) -> io::Result<Counters>;
    fn tcp_count(&self) -> io::Result<usize>;
}

/// What is left to do for a handle that is gone, or for a half of one: nobody is there to hear of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// Close the socket.
    Close(Socket),
    /// Reset the connection, and close it.
    Abort(TcpId),
    /// Tell the peer that no more follows.
    Shutdown(TcpId),
    /// The future with this ticket waits no more.
    Forget(Socket, Side, NonZeroU64),
}

/// Bids a shard farewell of a socket: here, or at home if this is not its thread.
fn bid(id: ShardId, farewell: Farewell) {
    if enter(id, |door| door.bid(farewell)).is_err() {
        mailbox::send(id, farewell);
    }
}

/// The error of a shard that is the whole of its host.
pub(crate) fn alone() -> io::Error {
    let text = "a connection can move between the cores of one runtime whose device is one network: not with a single \
                core, on the in-memory wire, or with the operating system's sockets";
    io::Error::new(io::ErrorKind::Unsupported, text)
}

/// The error of a door behind which no data goes with a SYN.
fn no_fastopen() -> io::Error {
    let text = "TCP Fast Open needs a device with a stack of Hayase: with the operating system's sockets, connect, and write \
                then";
    io::Error::new(io::ErrorKind::Unsupported, text)
}

/// The error of a door that does not tell what is urgent.
pub(crate) fn urgent_untold() -> io::Error {
    let text = "the operating system's sockets do not tell of urgent data: it is in the stream all the same";
    io::Error::new(io::ErrorKind::Unsupported, text)
}

/// The error of a door behind which there is no list of connections.
fn not_listed() -> io::Error {
    let text = "the connections of the operating system are listed there (`ss -ti`)";
    io::Error::new(io::ErrorKind::Unsupported, text)
}

/// The name of a shard: where its door is in the tables of the threads that use it, and a number that no other
/// shard of this process has or had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ShardId(NonZeroU64);

impl ShardId {
    /// `serial` is not 0.
    pub(crate) fn new(slot: u16, serial: u32) -> Option<ShardId> {
        NonZeroU64::new(u64::from(serial) << 16).map(|serial| ShardId(serial | u64::from(slot)))
    }

    #[inline(always)]
    pub(crate) fn slot(self) -> usize {
        usize::from(self.0.get() as u16)
    }

    pub(crate) fn serial(self) -> u32 {
        (self.0.get() >> 16) as u32
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard {}", self.serial())
    }
}

/// A door that this thread may use, with as many handles as are wanted.
///
/// The box is behind the count, and not the door itself: a handle is one word, and what is called stands where its type says
/// and not where its alignment would have it. Four times a round trip that is worth it.
#[derive(Clone)]
pub(crate) struct Gate(Rc<Box<dyn Door>>);

impl Gate {
    pub(crate) fn new(door: impl Door + 'static) -> Gate {
        Gate(Rc::new(Box::new(door)))
    }
}

impl Deref for Gate {
    type Target = dyn Door;

    #[inline(always)]
    fn deref(&self) -> &(dyn Door + 'static) {
        &**self.0
    }
}

struct Entry {
    id: ShardId,
    gate: Gate,
    /// The shard at the other end of the wire, if the device is one.
    peer: Cell<Option<ShardId>>,
    /// The shard, or the client of one, is of this thread, and not just used here.
    is_own: bool,
}

type Doors = RefCell<Vec<Option<Entry>>>;

thread_local! {
    /// Emptied by [`Emptier`] when the thread ends, and not dropped: so no access has to ask whether it still is.
    static DOORS: ManuallyDrop<Doors> = const { ManuallyDrop::new(RefCell::new(Vec::new())) };
    static EMPTIER: Emptier = const { Emptier };
}

/// Empties the table of a thread that ends.
struct Emptier;

impl Drop for Emptier {
    fn drop(&mut self) {
        // Doors whose last handle this is run code of users, which may look into the table.
        let doors = DOORS.with(|doors| doors.try_borrow_mut().map(|mut doors| mem::take(&mut *doors)));
        drop(doors);
    }
}

/// Calls `visit` with the door of a shard of this thread.
///
/// # Errors
/// If the shard belongs to another thread, or is no more.
#[inline(always)]
pub(crate) fn enter<T>(id: ShardId, visit: impl FnOnce(&dyn Door) -> T) -> io::Result<T> {
    find(id).map(|door| visit(&*door))
}

/// The door of a shard, if this thread may use it.
#[inline(always)]
fn find(id: ShardId) -> io::Result<Gate> {
    match of(id) {
        Some(gate) => Ok(gate),
        None => open_remote(id),
    }
}

/// The door of a shard of this thread: a handle of its own, so that the table is at rest while it is used.
#[inline(always)]
pub(crate) fn of(id: ShardId) -> Option<Gate> {
    with_entry(id, |entry| entry.gate.clone())
}

/// Calls `f`, which runs no foreign code, with an entry of this thread's table.
#[inline(always)]
fn with_entry<T>(id: ShardId, f: impl FnOnce(&Entry) -> T) -> Option<T> {
    // Alone, which is the cheaper question: nothing in here looks into the table again.
    DOORS.with(|doors| match doors.try_borrow_mut().ok()?.get(id.slot()) {
        Some(Some(entry)) if entry.id == id => Some(f(entry)),
        _ => None,
    })
}

/// The first use of a shard on this thread, which works if the shard is one that other threads may use.
#[cold]
fn open_remote(id: ShardId) -> io::Result<Gate> {
    let gate = remote::door(id).ok_or_else(|| mailbox::absent(id))?;
    // Where the table is in use or gone, the door is opened anew the next time.
    let _ = put_remote(id, gate.clone(), false);
    Ok(gate)
}

/// Puts a door to a shard of another thread into this thread's table, whose client this thread is.
///
/// # Errors
/// If the table is in use further up the call stack, or the thread ends.
pub(crate) fn adopt(id: ShardId, gate: Gate) -> io::Result<()> {
    put_remote(id, gate, true)
}

fn put_remote(id: ShardId, gate: Gate, is_own: bool) -> io::Result<()> {
    let entry = Entry { id, gate, peer: Cell::new(remote::peer(id)), is_own };
    let before = change(|doors| put(doors, id, entry))?;
    drop(before);
    Ok(())
}

/// Fills the slot of an entry, and returns who was there: a shard that is no more.
fn put(doors: &mut Vec<Option<Entry>>, id: ShardId, entry: Entry) -> Option<Entry> {
    let slot = id.slot();
    if slot >= doors.len() {
        doors.resize_with(slot + 1, || None);
    }
    doors[slot].replace(entry)
}

/// Changes the table of this thread.
///
/// # Errors
/// If it is in use further up the call stack, or the thread ends.
fn change<T>(change: impl FnOnce(&mut Vec<Option<Entry>>) -> T) -> io::Result<T> {
    // From now on, or not at all any more, there is somebody to empty it.
    EMPTIER.try_with(|_| ()).map_err(|_| busy())?;
    DOORS.with(|doors| Ok(change(&mut *doors.try_borrow_mut().map_err(|_| busy())?)))
}

fn busy() -> io::Error {
    io::Error::other(
        "a shard cannot be attached while another one is being attached, or when its thread ends",
    )
}

/// Notes that two shards of this thread are the two ends of a wire.
pub(crate) fn join(a: ShardId, b: ShardId) -> io::Result<()> {
    let join = |of: ShardId, peer| with_entry(of, |entry| entry.peer.set(Some(peer)));
    join(a, b).and_then(|()| join(b, a)).ok_or_else(|| mailbox::absent(a))
}

/// The shard at the other end of the wire.
pub(crate) fn peer(id: ShardId) -> Option<ShardId> {
    with_entry(id, |entry| entry.peer.get()).unwrap_or_else(|| remote::peer(id))
}

/// Whether the shard is one of this thread. One that it only may use, as every thread may a remote one, is not.
pub(crate) fn is_here(id: ShardId) -> bool {
    with_entry(id, |entry| entry.is_own).unwrap_or(false)
}

/// Puts a door into this thread's table; `make` is told the name under which it will be found.
///
/// # Errors
/// If the table is full, or in use further up the call stack.
pub(crate) fn install(make: impl FnOnce(ShardId) -> Gate) -> io::Result<ShardId> {
    let id = mailbox::open()?;
    let installed = change(|doors| {
        let entry = Entry { id, gate: make(id), peer: Cell::new(None), is_own: true };
        put(doors, id, entry)
    });
    match installed {
        Ok(before) => {
            drop(before);
            Ok(id)
        }
        Err(error) => {
            mailbox::close(id);
            Err(error)
        }
    }
}

/// Takes a door out of this thread's table; from then on its sockets are errors.
pub(crate) fn remove(id: ShardId) {
    mailbox::close(id);
    // Dropping the shard drops wakers, which can drop tasks, whose sockets look into the table: not under
    // its borrow. At the thread's very end the table is gone already, and the shard with it.
    let removed = DOORS.with(|doors| {
        let mut doors = doors.try_borrow_mut().ok()?;
        let entry = doors.get_mut(id.slot())?;
        if entry.as_ref().is_some_and(|entry| entry.id == id) { entry.take() } else { None }
    });
    drop(removed);
}

/// A socket of one shard, owned: dropping it closes the socket.
///
/// Integers only, so it is `Send` and `Sync` by itself. It can be used on its shard's thread only, unless the
/// shard is a [remote](crate::remote) one; elsewhere every call is an error, and dropping it sends the close home.
pub(crate) struct Handle<I: SocketId> {
    shard: ShardId,
    id: I,
}

/// A name of one kind of socket.
pub(crate) trait SocketId: Copy {
    fn socket(self) -> Socket;
}

impl SocketId for TcpId {
    fn socket(self) -> Socket {
        Socket::Tcp(self)
    }
}

impl SocketId for ListenerId {
    fn socket(self) -> Socket {
        Socket::Listener(self)
    }
}

impl SocketId for UdpId {
    fn socket(self) -> Socket {
        Socket::Udp(self)
    }
}

impl SocketId for EchoId {
    fn socket(self) -> Socket {
        Socket::Echo(self)
    }
}

impl<I: SocketId> Handle<I> {
    pub(crate) fn new(shard: ShardId, id: I) -> Handle<I> {
        Handle { shard, id }
    }

    pub(crate) fn shard(&self) -> ShardId {
        self.shard
    }

    /// A call that has its answer at once.
    #[inline]
    pub(crate) fn call<T>(&self, op: impl FnOnce(&dyn Door, I) -> io::Result<T>) -> io::Result<T> {
        enter(self.shard, |door| op(door, self.id))?
    }

    /// A call that takes the socket over. If it fails, the socket is closed.
    pub(crate) fn part_with<T>(self, op: impl FnOnce(&dyn Door, I) -> io::Result<T>) -> io::Result<T> {
        let result = self.call(op)?;
        self.into_id();
        Ok(result)
    }

    /// The socket by its name, for whoever closes it from now on.
    pub(crate) fn into_id(self) -> I {
        ManuallyDrop::new(self).id
    }

    /// A call that may have to wait.
    #[inline(always)]
    pub(crate) fn poll<T>(
        &self,
        op: impl FnOnce(&dyn Door, I) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match find(self.shard) {
            Ok(door) => op(&*door, self.id),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// A call that does not wait: [`io::ErrorKind::WouldBlock`] instead.
    #[inline]
    pub(crate) fn attempt<T>(
        &self,
        op: impl FnOnce(&dyn Door, I, Notify<'_>) -> Poll<io::Result<T>>,
    ) -> io::Result<T> {
        match self.poll(|door, id| op(door, id, Notify::NEVER)) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// The future that holds this ticket waits no more.
    pub(crate) fn forget(&self, side: Side, ticket: NonZeroU64) {
        let socket = self.id.socket();
        if enter(self.shard, |door| door.forget(socket, side, ticket)).is_err() {
            // It has waited at home, and was dropped on another thread.
            mailbox::send(self.shard, Farewell::Forget(socket, side, ticket));
        }
    }

    /// Waits, as one of any number of tasks, until `op` has its answer.
    pub(crate) async fn wait<T>(
        &self,
        side: Side,
        mut op: impl FnMut(&dyn Door, I, Notify<'_>) -> Poll<io::Result<T>>,
    ) -> io::Result<T> {
        let mut waiting = Waiting { handle: self, side, ticket: None };
        std::future::poll_fn(|cx| {
            let notify = Notify::each(cx.waker(), &mut waiting.ticket);
            self.poll(|door, id| op(door, id, notify))
        })
        .await
    }
}

impl Handle<TcpId> {
    /// Resets the connection, and closes it.
    pub(crate) fn abort(self) {
        let shard = self.shard;
        bid(shard, Farewell::Abort(self.into_id()));
    }

    /// Whoever writes is gone: no more follows.
    pub(crate) fn end_writing(&self) {
        bid(self.shard, Farewell::Shutdown(self.id));
    }

    /// Whether it is known without asking that a read by the task of this waker has to wait.
    #[inline(always)]
    pub(crate) fn is_drained(&self, waker: &Waker) -> bool {
        drained::is_noted(self.shard, self.id, waker)
    }
}

impl<I: SocketId> Drop for Handle<I> {
    fn drop(&mut self) {
        bid(self.shard, Farewell::Close(self.id.socket()));
    }
}

impl<I: SocketId> fmt::Debug for Handle<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.shard, self.id.socket())
    }
}

impl<I: SocketId> Handle<I> {
    /// Waits, as one of any number of tasks, until the socket is ready for any of `interest`.
    pub(crate) async fn ready(&self, interest: Interest) -> io::Result<crate::io::Ready> {
        let mut read = Waiting { handle: self, side: Side::Read, ticket: None };
        let mut write = Waiting { handle: self, side: Side::Write, ticket: None };
        std::future::poll_fn(|cx| {
            for (wanted, waiting) in
                [(interest.is_readable(), &mut read), (interest.is_writable(), &mut write)]
            {
                let notify = Notify::each(cx.waker(), &mut waiting.ticket);
                if wanted && let Poll::Ready(ready) = self.poll_ready(waiting.side, notify)? {
                    return Poll::Ready(Ok(crate::io::Ready::new(ready, interest)));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// The state of the socket, once that has anything to do with `side`.
    pub(crate) fn poll_ready(&self, side: Side, notify: Notify<'_>) -> Poll<io::Result<Ready>> {
        self.poll(|door, id| door.poll_ready(id.socket(), side, notify))
    }
}

/// A future's place among those that wait; dropping it gives the place up.
struct Waiting<'a, I: SocketId> {
    handle: &'a Handle<I>,
    side: Side,
    ticket: Option<NonZeroU64>,
}

impl<I: SocketId> Drop for Waiting<'_, I> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.handle.forget(self.side, ticket);
        }
    }
}

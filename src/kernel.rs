//! A shard without a stack: the operating system's own sockets behind the same [`Door`].
//!
//! What a socket is asked goes to the kernel at once. Who has to wait is kept in [`Wakers`], as in a shard with a
//! stack, and woken when the kernel's readiness set names the socket. No foreign code runs while anything is borrowed:
//! a sink of read bytes gets them from a buffer of its own, and sent bytes are copied before the call returns.

mod info;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use hayase_device::{Caps, Interest, Offloads, SharedBytes};
use hayase_executor::{Handle, waking};
use hayase_kernel::{Addresses, Key, Kind, Lingering, Readiness, Sockets};
use hayase_stack::{
    AddressState, Cidr, Congestion, Count, EchoId, EchoReply, Keepalive, ListenerId, Reach, Ready, Socket,
    State, TcpId, TcpInfo, UdpId, Way,
};
use hayase_time::Instant;

use crate::counters::Counters;
use crate::door::{Door, Farewell};
use crate::mailbox::Mailbox;
use crate::net::tcp::Options;
use crate::turn::Turn;
use crate::wakers::{Notify, READY_COUNT_MAX, Side, WaitsIn, Wakers};

/// Bytes that one read takes for those who bring no buffer: what a stream has ready at most times.
const READ_LEN: usize = 65_536;

/// What an IP packet may have: cutting it to the link's MTU is the kernel's affair.
const PACKET_LEN_MAX: usize = 65_535;

/// How soon it is noticed that a connection which lingers has delivered everything: it holds a descriptor until then.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The sockets of one thread.
pub(crate) struct KernelShard {
    sockets: RefCell<Sockets>,
    wakers: RefCell<Wakers>,
    /// Calls that could have waited and were answered, since the turn began, of each socket.
    answered: RefCell<HashMap<Socket, usize>>,
    /// Sockets for which a call waits for the next turn.
    put_off: RefCell<Vec<Socket>>,
    /// What reads without a buffer of the caller's go through.
    buffer: Cell<Vec<u8>>,
    /// Connections that are closed and have so long to deliver the rest.
    lingering: RefCell<BTreeMap<(Instant, Key), Lingering>>,
    /// When to look which of them have delivered it.
    look_at: Cell<Instant>,
    /// From when they are asked for on.
    addresses: RefCell<Option<Addresses>>,
    now: Cell<Instant>,
    mailbox: Arc<Mailbox>,
}

/// The names of sockets, here and there.
trait Named: WaitsIn + Copy {
    fn key(self) -> Key;
    fn of(key: Key) -> Self;
    fn socket(self) -> Socket;
}

macro_rules! named {
    ($($id:ident => $socket:ident),*) => {
        $(impl Named for $id {
            fn key(self) -> Key {
                Key { index: self.index, generation: self.generation }
            }

            fn of(Key { index, generation }: Key) -> $id {
                $id { index, generation }
            }

            fn socket(self) -> Socket {
                Socket::$socket(self)
            }
        })*
    };
}

named!(TcpId => Tcp, ListenerId => Listener, UdpId => Udp, EchoId => Echo);

fn socket(kind: Kind, key: Key) -> Socket {
    match kind {
        Kind::Tcp => Socket::Tcp(Named::of(key)),
        Kind::Listener => Socket::Listener(Named::of(key)),
        Kind::Udp => Socket::Udp(Named::of(key)),
        Kind::Echo => Socket::Echo(Named::of(key)),
    }
}

fn key(socket: Socket) -> Key {
    match socket {
        Socket::Tcp(id) => id.key(),
        Socket::Listener(id) => id.key(),
        Socket::Udp(id) => id.key(),
        Socket::Echo(id) => id.key(),
    }
}

fn ready(readiness: Readiness) -> Ready {
    let flags = [
        (readiness.readable, Ready::READABLE),
        (readiness.writable, Ready::WRITABLE),
        (readiness.read_closed, Ready::READ_CLOSED),
        (readiness.write_closed, Ready::WRITE_CLOSED),
        (readiness.error, Ready::ERROR),
    ];
    flags.into_iter().filter(|(holds, _)| *holds).fold(Ready::EMPTY, |set, (_, flag)| set | flag)
}

fn state(state: hayase_kernel::State) -> State {
    use hayase_kernel::State as Theirs;
    match state {
        Theirs::Closed => State::Closed,
        Theirs::SynSent => State::SynSent,
        Theirs::SynReceived => State::SynReceived,
        Theirs::Established => State::Established,
        Theirs::FinWait1 => State::FinWait1,
        Theirs::FinWait2 => State::FinWait2,
        Theirs::CloseWait => State::CloseWait,
        Theirs::Closing => State::Closing,
        Theirs::LastAck => State::LastAck,
        Theirs::TimeWait => State::TimeWait,
    }
}

/// What is asked of the operating system by other means.
fn elsewhere(what: &str, how: &str) -> io::Error {
    let text = format!("on the device `kernel`, {what} are the operating system's affair: {how}");
    io::Error::new(io::ErrorKind::Unsupported, text)
}

fn addresses_elsewhere() -> io::Error {
    elsewhere("addresses", "`ip address add ADDRESS/PREFIX dev INTERFACE`")
}

fn routes_elsewhere() -> io::Error {
    elsewhere("routes", "`ip route add DESTINATION via GATEWAY`")
}

fn cidrs(addresses: &[(IpAddr, u8)]) -> impl Iterator<Item = Cidr> {
    addresses.iter().filter_map(|(addr, prefix)| Cidr::new(*addr, *prefix))
}

/// Its own addresses, their networks, and everything else by whichever way the system has.
fn ways(addresses: &[(IpAddr, u8)]) -> impl Iterator<Item = Way> {
    let own = cidrs(addresses).filter_map(|cidr| Way::own(cidr.addr()));
    let networks = cidrs(addresses).map(|cidr| cidr.network()).chain([Cidr::ALL_V4, Cidr::ALL_V6]);
    own.chain(networks.map(Way::to))
}

impl KernelShard {
    pub(crate) fn new(sockets: Sockets, now: Instant, mailbox: Arc<Mailbox>) -> KernelShard {
        KernelShard {
            sockets: RefCell::new(sockets),
            wakers: RefCell::default(),
            answered: RefCell::default(),
            put_off: RefCell::default(),
            buffer: Cell::default(),
            lingering: RefCell::default(),
            look_at: Cell::new(now),
            addresses: RefCell::default(),
            now: Cell::new(now),
            mailbox,
        }
    }

    /// The addresses of this machine: asked for again where they have changed, since every datagram may ask.
    fn with_addresses<T>(&self, look: impl FnOnce(&[(IpAddr, u8)]) -> T) -> io::Result<T> {
        let mut addresses = self.addresses.borrow_mut();
        let addresses = match &mut *addresses {
            Some(addresses) => addresses,
            none => none.insert(Addresses::new()?),
        };
        addresses.get().map(look)
    }

    /// A call that has its answer at once.
    fn call<T>(&self, op: impl FnOnce(&mut Sockets) -> io::Result<T>) -> io::Result<T> {
        op(&mut self.sockets.borrow_mut())
    }

    /// A call that may have to wait: then its waker is kept.
    fn poll<I: Named, T>(
        &self,
        id: I,
        side: Side,
        notify: Notify<'_>,
        op: impl FnOnce(&mut Sockets, Key) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.is_put_off(id.socket(), &notify) {
            self.wait(id, side, notify);
            return Poll::Pending;
        }
        let mut sockets = self.sockets.borrow_mut();
        if notify.waker().is_none() {
            sockets.presume_ready(id.key());
        }
        let poll = op(&mut sockets, id.key());
        drop(sockets);
        match poll {
            Poll::Pending => self.wait(id, side, notify),
            Poll::Ready(_) => self.count_answer(id.socket()),
        }
        poll
    }

    /// Whether a socket has had its share of the turn, [`READY_COUNT_MAX`] answers. Whoever asks is to wait then, and is woken
    /// in the next.
    fn is_put_off(&self, socket: Socket, notify: &Notify<'_>) -> bool {
        if notify.waker().is_none() {
            return false;
        }
        let is_put_off = self.answered.borrow().get(&socket).is_some_and(|count| *count >= READY_COUNT_MAX);
        if is_put_off {
            self.put_off.borrow_mut().push(socket);
        }
        is_put_off
    }

    /// Those who wait in vain are no share: there may be any number of them.
    fn count_answer(&self, socket: Socket) {
        *self.answered.borrow_mut().entry(socket).or_insert(0) += 1;
    }

    fn wait<I: Named>(&self, id: I, side: Side, notify: Notify<'_>) {
        if let Some(kept) = notify.keep() {
            let replaced = self.wakers.borrow_mut().insert(id, side, notify, kept);
            // Dropped when the table is not borrowed any more.
            drop(replaced);
        }
    }

    /// Reads into the buffer of the shard and shows `look` what came.
    fn read_with<T>(
        &self,
        id: TcpId,
        notify: Notify<'_>,
        len_max: usize,
        look: impl FnOnce(&[u8]) -> T,
    ) -> Poll<io::Result<T>> {
        // Taken out, since `look` may read as well.
        let mut buffer = self.buffer.take();
        buffer.resize(READ_LEN, 0);
        let wanted = &mut buffer[..len_max.min(READ_LEN)];
        let read = self.poll(id, Side::Read, notify, |sockets, key| sockets.tcp(key)?.read(wanted));
        let looked = read.map_ok(|len| look(&buffer[..len]));
        self.buffer.set(buffer);
        looked
    }

    /// Asks the readiness set, and wakes everybody whose socket changed.
    fn look(&self) -> usize {
        let mut wakers = self.wakers.borrow_mut();
        let put_off = self.put_off.take();
        let count = waking(|waking| {
            let mut wake = |socket, ready| wakers.wake(socket, ready, |task| waking.wake(task));
            put_off.into_iter().for_each(|socket| wake(socket, Ready::READABLE | Ready::WRITABLE));
            self.sockets.borrow_mut().poll(|kind, key, readiness| wake(socket(kind, key), ready(readiness)))
        });
        if let Some(mut woken) = wakers.woken() {
            drop(wakers);
            woken.drain(..).for_each(Waker::wake);
            self.wakers.borrow_mut().recycle(woken);
        }
        count.expect("the set was opened with the shard")
    }

    /// Ends what has lingered long enough, and what need not linger any more: nobody tells of that. Returns how much that was.
    fn end_lingering(&self) -> usize {
        let now = self.now.get();
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return 0;
        }
        self.look_at.set(now + LOOK_INTERVAL);
        let mut lingering = self.lingering.borrow_mut();
        let count = lingering.len();
        lingering.retain(|(end_at, _), lingering| {
            let is_late = now >= *end_at;
            if is_late {
                lingering.end();
            }
            !is_late && !lingering.is_over()
        });
        count - lingering.len()
    }

    /// What is left to do for a socket whose handle is gone.
    fn bid(&self, farewell: Farewell) {
        let socket = match farewell {
            Farewell::Close(socket) => socket,
            Farewell::Forget(socket, side, ticket) => {
                let forgotten = self.wakers.borrow_mut().forget(socket, side, ticket);
                return drop(forgotten);
            }
            // One that is not connected any more needs none.
            Farewell::Shutdown(id) => return drop(self.call(|sockets| sockets.tcp(id.key())?.shutdown())),
            Farewell::Abort(id) => {
                // One that is no more is closed.
                let _ = self.call(|sockets| sockets.tcp(id.key()).map(hayase_kernel::Tcp::abort));
                Socket::Tcp(id)
            }
        };
        let key = key(socket);
        let Some(removed) = self.sockets.borrow_mut().remove(key) else { return };
        if let hayase_kernel::Socket::Tcp(tcp) = removed
            && let Some(lingering) = tcp.close()
        {
            let end_at = self.now.get() + lingering.time();
            let mut all = self.lingering.borrow_mut();
            if all.is_empty() {
                self.look_at.set(self.now.get() + LOOK_INTERVAL);
            }
            all.insert((end_at, key), lingering);
        }
        let removed = self.wakers.borrow_mut().close(socket);
        drop(removed);
    }
}

impl Drop for KernelShard {
    /// Who waits for a socket is woken, and finds that it is gone.
    fn drop(&mut self) {
        let woken = self.wakers.get_mut().wake_all();
        woken.into_iter().for_each(Waker::wake);
    }
}

impl Turn for KernelShard {
    fn receive(&self, now: Instant) -> usize {
        self.now.set(now);
        self.answered.borrow_mut().clear();
        if !self.mailbox.is_empty() {
            self.mailbox.take().into_iter().for_each(|farewell| self.bid(farewell));
        }
        self.look() + self.end_lingering()
    }

    /// What was written has gone already.
    fn transmit(&self, _now: Instant) -> usize {
        0
    }

    fn deadline(&self) -> Option<Instant> {
        let lingering = self.lingering.borrow();
        let ((end_at, _), _) = lingering.first_key_value()?;
        Some((*end_at).min(self.look_at.get()))
    }

    fn pending(&self) -> bool {
        !self.mailbox.is_empty()
            || !self.put_off.borrow().is_empty()
            || self.sockets.borrow_mut().is_pending()
    }

    /// The kernel sees to it, also when this process is gone.
    fn has_undelivered(&self) -> bool {
        false
    }

    fn interests(&self, add: &mut dyn FnMut(Interest)) {
        let sockets = self.sockets.borrow();
        if !sockets.is_empty() {
            add(Interest { fd: sockets.fd().as_raw_fd(), readable: true, writable: false });
        }
    }

    fn wake_through(&self, handle: &Handle) {
        let handle = handle.clone();
        self.mailbox.set_wake(move || handle.notify());
    }

    fn list_changes(&self) {
        self.wakers.borrow_mut().list_changes();
    }

    fn changed(&self, list: &mut Vec<(Socket, Ready)>) {
        self.wakers.borrow_mut().changed(list);
    }
}

impl Door for Rc<KernelShard> {
    fn tells_urgent(&self) -> bool {
        false
    }

    fn tcp_listen(&self, local: SocketAddr, backlog: usize, options: &Options) -> io::Result<ListenerId> {
        self.call(|sockets| sockets.listen(local, backlog, &options.for_kernel())).map(Named::of)
    }

    fn listener_local_addr(&self, id: ListenerId) -> io::Result<SocketAddr> {
        self.call(|sockets| sockets.listener(id.key())?.local_addr())
    }

    fn tcp_accept(&self, id: ListenerId, notify: Notify<'_>) -> Poll<io::Result<(TcpId, SocketAddr)>> {
        let accepted = self.poll(id, Side::Read, notify, Sockets::accept);
        accepted.map_ok(|(key, peer)| (Named::of(key), peer))
    }

    fn tcp_connect(
        &self,
        remote: SocketAddr,
        local: Option<SocketAddr>,
        options: &Options,
    ) -> io::Result<TcpId> {
        self.call(|sockets| sockets.connect(remote, local, &options.for_kernel())).map(Named::of)
    }

    fn tcp_poll_connect(&self, id: TcpId, notify: Notify<'_>) -> Poll<io::Result<()>> {
        self.poll(id, Side::Write, notify, |sockets, key| sockets.tcp(key)?.poll_connect())
    }

    fn tcp_read(&self, id: TcpId, notify: Notify<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll(id, Side::Read, notify, |sockets, key| sockets.tcp(key)?.read(buf))
    }

    fn tcp_read_vectored(
        &self,
        id: TcpId,
        notify: Notify<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(id, Side::Read, notify, |sockets, key| sockets.tcp(key)?.read_vectored(bufs))
    }

    fn tcp_read_with(
        &self,
        id: TcpId,
        notify: Notify<'_>,
        len_max: usize,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Poll<io::Result<usize>> {
        self.read_with(id, notify, len_max, |bytes| {
            if !bytes.is_empty() {
                sink(bytes);
            }
            bytes.len()
        })
    }

    fn tcp_lease(&self, id: TcpId, notify: Notify<'_>, len_max: usize) -> Poll<io::Result<SharedBytes>> {
        self.read_with(id, notify, len_max, |bytes| SharedBytes::from(bytes.to_vec()))
    }

    fn tcp_peek(&self, id: TcpId, notify: Notify<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll(id, Side::Read, notify, |sockets, key| sockets.tcp(key)?.peek(buf))
    }

    fn tcp_write(&self, id: TcpId, notify: Notify<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(id, Side::Write, notify, |sockets, key| sockets.tcp(key)?.write(bytes))
    }

    fn tcp_write_vectored(
        &self,
        id: TcpId,
        notify: Notify<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(id, Side::Write, notify, |sockets, key| sockets.tcp(key)?.write_vectored(bufs))
    }

    fn tcp_write_owned(
        &self,
        id: TcpId,
        notify: Notify<'_>,
        bytes: &mut SharedBytes,
    ) -> Poll<io::Result<usize>> {
        let written = self.poll(id, Side::Write, notify, |sockets, key| sockets.tcp(key)?.write(bytes));
        written.map_ok(|len| {
            bytes.advance(len);
            len
        })
    }

    fn tcp_shutdown(&self, id: TcpId) -> io::Result<()> {
        self.call(|sockets| sockets.tcp(id.key())?.shutdown())
    }

    fn tcp_local_addr(&self, id: TcpId) -> io::Result<SocketAddr> {
        self.call(|sockets| sockets.tcp(id.key())?.local_addr())
    }

    fn tcp_peer_addr(&self, id: TcpId) -> io::Result<SocketAddr> {
        self.call(|sockets| sockets.tcp(id.key())?.peer_addr())
    }

    fn tcp_state(&self, id: TcpId) -> io::Result<State> {
        self.call(|sockets| sockets.tcp(id.key())?.state()).map(state)
    }

    fn tcp_info(&self, id: TcpId) -> io::Result<TcpInfo> {
        let congestion = self.tcp_congestion(id)?;
        let info = self.call(|sockets| sockets.tcp(id.key())?.info())?;
        Ok(info::tcp_info(&info, congestion, self.now.get()))
    }

    fn tcp_flushed(&self, id: TcpId) -> io::Result<bool> {
        self.call(|sockets| sockets.tcp(id.key())?.is_flushed())
    }

    fn tcp_take_error(&self, id: TcpId) -> io::Result<Option<io::Error>> {
        self.call(|sockets| sockets.tcp(id.key())?.take_error())
    }

    fn tcp_nodelay(&self, id: TcpId) -> io::Result<bool> {
        self.call(|sockets| sockets.tcp(id.key())?.nodelay())
    }

    fn tcp_set_nodelay(&self, id: TcpId, on: bool) -> io::Result<()> {
        self.call(|sockets| sockets.tcp(id.key())?.set_nodelay(on))
    }

    fn tcp_linger(&self, id: TcpId) -> io::Result<Option<Duration>> {
        self.call(|sockets| Ok(sockets.tcp(id.key())?.linger()))
    }

    fn tcp_set_linger(&self, id: TcpId, linger: Option<Duration>) -> io::Result<()> {
        self.call(|sockets| sockets.tcp(id.key()).map(|tcp| tcp.set_linger(linger)))
    }

    fn tcp_keepalive(&self, id: TcpId) -> io::Result<Option<Keepalive>> {
        let keepalive = self.call(|sockets| sockets.tcp(id.key())?.keepalive())?;
        Ok(keepalive.map(|hayase_kernel::Keepalive { idle, interval, count }| Keepalive {
            idle,
            interval,
            count,
        }))
    }

    fn tcp_set_keepalive(&self, id: TcpId, keepalive: Option<Keepalive>) -> io::Result<()> {
        let keepalive = keepalive.map(|Keepalive { idle, interval, count }| hayase_kernel::Keepalive {
            idle,
            interval,
            count,
        });
        self.call(|sockets| sockets.tcp(id.key())?.set_keepalive(keepalive))
    }

    fn tcp_user_timeout(&self, id: TcpId) -> io::Result<Option<Duration>> {
        self.call(|sockets| sockets.tcp(id.key())?.user_timeout())
    }

    fn tcp_set_user_timeout(&self, id: TcpId, limit: Option<Duration>) -> io::Result<()> {
        self.call(|sockets| sockets.tcp(id.key())?.set_user_timeout(limit))
    }

    fn tcp_congestion(&self, id: TcpId) -> io::Result<Congestion> {
        let name = self.call(|sockets| sockets.tcp(id.key())?.congestion())?;
        let known = Congestion::ALL.iter().find(|congestion| congestion.name() == name);
        known.copied().ok_or_else(|| {
            let text = format!(
                "the operating system rules this connection by `{name}`, which Hayase has no name for: see `ss -ti`"
            );
            io::Error::new(io::ErrorKind::Unsupported, text)
        })
    }

    fn tcp_set_congestion(&self, id: TcpId, congestion: Congestion) -> io::Result<()> {
        self.call(|sockets| sockets.tcp(id.key())?.set_congestion(congestion.name()))
    }

    fn tcp_ttl(&self, id: TcpId) -> io::Result<u8> {
        self.call(|sockets| sockets.tcp(id.key())?.ttl())
    }

    fn tcp_set_ttl(&self, id: TcpId, ttl: u8) -> io::Result<()> {
        self.call(|sockets| sockets.tcp(id.key())?.set_ttl(ttl))
    }

    fn tcp_tos(&self, id: TcpId) -> io::Result<u8> {
        self.call(|sockets| sockets.tcp(id.key())?.tos())
    }

    fn tcp_set_tos(&self, id: TcpId, tos: u8) -> io::Result<()> {
        self.call(|sockets| sockets.tcp(id.key())?.set_tos(tos))
    }

    fn udp_bind(&self, local: SocketAddr) -> io::Result<UdpId> {
        self.call(|sockets| sockets.bind(local)).map(Named::of)
    }

    fn udp_connect(&self, id: UdpId, remote: SocketAddr) -> io::Result<()> {
        self.call(|sockets| sockets.udp(id.key())?.connect(remote))
    }

    fn udp_local_addr(&self, id: UdpId) -> io::Result<SocketAddr> {
        self.call(|sockets| sockets.udp(id.key())?.local_addr())
    }

    fn udp_peer_addr(&self, id: UdpId) -> io::Result<SocketAddr> {
        self.call(|sockets| sockets.udp(id.key())?.peer_addr())
    }

    fn udp_send(
        &self,
        id: UdpId,
        notify: Notify<'_>,
        bytes: &[u8],
        to: Option<SocketAddr>,
    ) -> Poll<io::Result<usize>> {
        self.poll(id, Side::Write, notify, |sockets, key| sockets.udp(key)?.send(bytes, to))
    }

    fn udp_recv(
        &self,
        id: UdpId,
        notify: Notify<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        self.poll(id, Side::Read, notify, |sockets, key| sockets.udp(key)?.recv(buf))
    }

    fn udp_peek(
        &self,
        id: UdpId,
        notify: Notify<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        self.poll(id, Side::Read, notify, |sockets, key| sockets.udp(key)?.peek(buf))
    }

    fn udp_ttl(&self, id: UdpId) -> io::Result<u8> {
        self.call(|sockets| sockets.udp(id.key())?.ttl())
    }

    fn udp_set_ttl(&self, id: UdpId, ttl: u8) -> io::Result<()> {
        self.call(|sockets| sockets.udp(id.key())?.set_ttl(ttl))
    }

    fn udp_tos(&self, id: UdpId) -> io::Result<u8> {
        self.call(|sockets| sockets.udp(id.key())?.tos())
    }

    fn udp_set_tos(&self, id: UdpId, tos: u8) -> io::Result<()> {
        self.call(|sockets| sockets.udp(id.key())?.set_tos(tos))
    }

    fn echo_open(&self) -> io::Result<EchoId> {
        self.call(Sockets::open_echo).map(Named::of)
    }

    fn echo_send(&self, id: EchoId, to: IpAddr, sequence: u16, payload: &[u8]) -> io::Result<()> {
        self.call(|sockets| sockets.echo(id.key())?.send(to, sequence, payload))
    }

    fn echo_recv(&self, id: EchoId, notify: Notify<'_>) -> Poll<io::Result<EchoReply>> {
        let reply = self.poll(id, Side::Read, notify, |sockets, key| sockets.echo(key)?.recv());
        reply.map_ok(|hayase_kernel::Reply { from, sequence, len, ttl }| EchoReply {
            from,
            sequence,
            len,
            ttl,
        })
    }

    fn poll_ready(&self, socket: Socket, side: Side, notify: Notify<'_>) -> Poll<io::Result<Ready>> {
        let ready = self.ready(socket)?;
        let wanted = match side {
            Side::Read => ready.is_readable(),
            Side::Write => ready.wakes_writer(),
        };
        if wanted && !self.is_put_off(socket, &notify) {
            self.count_answer(socket);
            return Poll::Ready(Ok(ready));
        }
        match socket {
            Socket::Tcp(id) => self.wait(id, side, notify),
            Socket::Listener(id) => self.wait(id, side, notify),
            Socket::Udp(id) => self.wait(id, side, notify),
            Socket::Echo(id) => self.wait(id, side, notify),
        }
        Poll::Pending
    }

    fn ready(&self, socket: Socket) -> io::Result<Ready> {
        let readiness = self.call(|sockets| match socket {
            Socket::Tcp(id) => sockets.tcp(id.key())?.readiness(),
            Socket::Listener(id) => sockets.listener(id.key())?.readiness(),
            Socket::Udp(id) => sockets.udp(id.key())?.readiness(),
            Socket::Echo(_) => Ok(Readiness::default()),
        });
        readiness.map(ready)
    }

    fn forget(&self, socket: Socket, side: Side, ticket: NonZeroU64) {
        let forgotten = self.wakers.borrow_mut().forget(socket, side, ticket);
        drop(forgotten);
    }

    fn rouse(&self, socket: Socket) {
        let woken = self.wakers.borrow_mut().wake_waiters(socket);
        woken.into_iter().for_each(Waker::wake);
    }

    fn bid(&self, farewell: Farewell) {
        (**self).bid(farewell);
    }

    /// Its routes are the kernel's affair, which may have one to anywhere.
    fn has_links(&self) -> io::Result<bool> {
        Ok(true)
    }

    fn ways(&self) -> io::Result<Vec<Way>> {
        self.with_addresses(|addresses| ways(addresses).collect())
    }

    fn reach(&self, dst: IpAddr) -> io::Result<Option<Reach>> {
        self.with_addresses(|addresses| Reach::by(ways(addresses), dst))
    }

    fn addresses(&self) -> io::Result<Vec<Cidr>> {
        self.with_addresses(|addresses| cidrs(addresses).collect())
    }

    fn address_states(&self) -> io::Result<Vec<(Cidr, AddressState)>> {
        Ok(self.addresses()?.into_iter().map(|cidr| (cidr, AddressState::Preferred)).collect())
    }

    fn add_address(&self, _cidr: Cidr) -> io::Result<()> {
        Err(addresses_elsewhere())
    }

    fn remove_address(&self, _addr: IpAddr) -> io::Result<()> {
        Err(addresses_elsewhere())
    }

    fn add_route(&self, _destination: Cidr, _gateway: IpAddr) -> io::Result<()> {
        Err(routes_elsewhere())
    }

    fn remove_route(&self, _destination: Cidr) -> io::Result<()> {
        Err(routes_elsewhere())
    }

    /// None of what the kernel may offload is in our hands.
    fn caps(&self) -> io::Result<Caps> {
        Ok(Caps::ethernet(PACKET_LEN_MAX))
    }

    fn set_offloads(&self, _wanted: Offloads) -> io::Result<Offloads> {
        Err(elsewhere("offloads", "`ethtool -K INTERFACE tso on|off` and the like"))
    }

    fn mac(&self) -> io::Result<[u8; 6]> {
        Err(elsewhere("link-layer addresses", "each interface has one of its own, see `ip link`"))
    }

    /// Those of the whole network namespace: the kernel has no others.
    fn counters(&self) -> io::Result<Counters> {
        let counted = hayase_kernel::counters()?;
        let count = |name: &'static str| Some((name, *counted.get(name)?));
        Ok(Counters::new(Count::ALL.iter().filter_map(|event| count(event.name())).collect()))
    }

    fn tcp_count(&self) -> io::Result<usize> {
        self.call(|sockets| Ok(sockets.count(Kind::Tcp)))
    }
}

//! A shard: one stack, its device, and who waits for its sockets.
//!
//! **Readiness is data; wake last.** The stack says which sockets changed, and the shard queues the tasks that wait for
//! them, by name. Other wakers than those of our executor it collects, and wakes and drops them when nothing is borrowed
//! any more. For dropping a waker can drop a task, the task a socket, and the socket comes back through the [`Door`]. The
//! other ways for foreign code to get in are the destructor of bytes that were given to the stack to send, and whoever is shown
//! bytes where they lie ([`Door::tcp_read_with`]): these run while the stack is borrowed, and find the door busy. Whatever they
//! ask fails with an error, but for [`Door::bid`], which is put off to the next turn.

mod farewells;
mod opening;
mod slices;

pub(crate) use slices::write_each;

use std::cell::{Cell, RefCell, RefMut};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use hayase_device::{Burst, Caps, Device, Interest, Offloads, SharedBytes};
use hayase_executor::{Handle, TaskWaker, waking};
use hayase_stack::{
    AddressState, Cidr, Config, Congestion, EchoId, EchoReply, Error, Keepalive, ListenerId, Reach, Ready,
    Socket, Stack, State, TcpId, TcpInfo, UdpId, Way,
};
use hayase_time::Instant;

use crate::counters::Counters;
use crate::door::{self, Door, Farewell};
use crate::drained;
use crate::error::io_error;
use crate::mailbox::Mailbox;
use crate::net::tcp::Options;
use crate::steering::{Moved, Setting, Station};
use crate::turn::Turn;
use crate::wakers::{Answers, Notify, Side, WaitsIn, Wakers};

/// Frames that one look at the device brings at most: what the first-level cache holds the headers of.
const BURST_LEN: usize = 64;

/// Bursts that one turn takes at most, so that tasks get their share when frames never stop coming.
const BURSTS_PER_TURN: usize = 4;

/// One stack with its device.
pub(crate) struct Shard<D: Device> {
    core: RefCell<Core<D>>,
    wakers: RefCell<Wakers>,
    /// The time of the turn: the clock's at its beginning serves all calls of tasks, and its time after them what is sent.
    now: Cell<Instant>,
    /// What is left to do for handles that were dropped while the stack was borrowed.
    farewells: RefCell<Vec<Farewell>>,
    /// Whether there are any.
    deferred: Cell<bool>,
    mailbox: Arc<Mailbox>,
    /// Of calls that leave what they find.
    answers: Answers,
    /// Where it is one of several shards that are one host.
    station: Option<Rc<Station>>,
}

struct Core<D: Device> {
    stack: Stack<D::Frame>,
    device: D,
    burst: Burst<D::Frame>,
}

impl<D: Device> Shard<D> {
    pub(crate) fn new(
        device: D,
        config: Config,
        seed: [u8; 32],
        now: Instant,
        mailbox: Arc<Mailbox>,
        station: Option<Rc<Station>>,
    ) -> Shard<D> {
        let stack = Stack::new(config, device.caps(), device.mac(), seed, now);
        Shard {
            core: RefCell::new(Core { stack, device, burst: Burst::new(BURST_LEN) }),
            wakers: RefCell::default(),
            now: Cell::new(now),
            farewells: RefCell::default(),
            deferred: Cell::new(false),
            mailbox,
            answers: Answers::default(),
            station,
        }
    }

    /// Stack and device, for what is wrapped around the shard. `None` if they are in use further up.
    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut Stack<D::Frame>, &mut D) -> T) -> Option<T> {
        drained::forget();
        let mut core = self.core.try_borrow_mut().ok()?;
        let Core { stack, device, .. } = &mut *core;
        Some(f(stack, device))
    }

    /// Changes an address or a route, here and in the other shards of this host.
    fn set(&self, setting: Setting) -> io::Result<()> {
        self.call(|core, _| setting.apply(&mut core.stack))?;
        if let Some(station) = &self.station {
            station.announce(setting);
        }
        Ok(())
    }

    #[inline]
    fn core(&self) -> io::Result<RefMut<'_, Core<D>>> {
        self.core.try_borrow_mut().map_err(|_| busy())
    }

    /// A call that has its answer at once.
    #[inline]
    fn call<T>(&self, op: impl FnOnce(&mut Core<D>, Instant) -> Result<T, Error>) -> io::Result<T> {
        drained::forget();
        op(&mut *self.core()?, self.now.get()).map_err(io_error)
    }

    /// A call that may have to wait: then its waker is kept.
    #[inline(always)]
    fn poll<I: WaitsIn, T>(
        &self,
        id: I,
        side: Side,
        notify: Notify<'_>,
        op: impl FnOnce(&mut Core<D>, Instant) -> Poll<Result<T, Error>>,
    ) -> Poll<io::Result<T>> {
        let poll = op(&mut *self.core()?, self.now.get());
        match poll {
            Poll::Ready(Ok(value)) => Poll::Ready(Ok(value)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(io_error(error))),
            Poll::Pending => {
                self.wait(id, side, notify);
                Poll::Pending
            }
        }
    }

    /// A read, whose waiter is registered at once if nothing more is there.
    #[inline(always)]
    fn read<T>(
        &self,
        id: TcpId,
        notify: Notify<'_>,
        op: impl FnOnce(&mut Core<D>, Instant, Option<NonZeroU64>) -> Poll<Result<(T, bool), Error>>,
    ) -> Poll<io::Result<T>> {
        let task = notify.last_task();
        let name = task.map(TaskWaker::to_bits);
        let (value, is_named) = match self.poll(id, Side::Read, notify, |core, now| op(core, now, name)) {
            Poll::Ready(Ok(read)) => read,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        };
        if let Some(task) = task.filter(|_| is_named) {
            drained::note(self.mailbox.id(), id, task);
        }
        Poll::Ready(Ok(value))
    }

    #[inline(never)]
    fn wait<I: WaitsIn>(&self, id: I, side: Side, notify: Notify<'_>) {
        let Some(kept) = notify.keep() else { return };
        drained::forget();
        if side == Side::Read
            && let Some(id) = id.connection()
            && self.name_reader(id, &notify)
        {
            return;
        }
        let replaced = self.wakers.borrow_mut().insert(id, side, notify, kept);
        // Dropped when the table is not borrowed any more.
        drop(replaced);
    }

    /// Leaves the name of a reader with the stack, if it is a task of ours and nobody else waits. Returns whether it did.
    fn name_reader(&self, id: TcpId, notify: &Notify<'_>) -> bool {
        let Ok(mut core) = self.core.try_borrow_mut() else { return false };
        if let Some(task) = notify.last_task() {
            return core.stack.tcp_name_reader(id, task.to_bits());
        }
        core.stack.tcp_watch(id);
        if notify.is_last() {
            core.stack.tcp_take_reader(id);
        }
        false
    }

    /// Wakes everybody whose socket changed.
    #[inline(always)]
    fn wake(&self, core: RefMut<'_, Core<D>>) {
        if core.stack.has_news() {
            self.wake_now(core);
        }
    }

    #[inline(never)]
    fn wake_now(&self, mut core: RefMut<'_, Core<D>>) {
        let mut wakers = self.wakers.borrow_mut();
        waking(|waking| {
            let stack = &mut core.stack;
            if wakers.is_driven() {
                stack.drain_ready_connections(|id, ready| {
                    wakers.wake_drivers(id, ready, |task| waking.wake(task));
                });
            } else {
                stack.drain_ready_connections(|id, ready| {
                    wakers.wake(Socket::Tcp(id), ready, |task| waking.wake(task));
                });
            }
            stack.drain_called(|name| waking.wake(TaskWaker::from_bits(name)));
            stack.drain_ready_others(|socket, ready| wakers.wake(socket, ready, |task| waking.wake(task)));
        });
        drop(core);
        if let Some(mut woken) = wakers.woken() {
            drop(wakers);
            woken.drain(..).for_each(Waker::wake);
            self.wakers.borrow_mut().recycle(woken);
        }
    }
}

impl<D: Device> Drop for Shard<D> {
    /// Who waits for a socket is woken, to find that it is an error now.
    fn drop(&mut self) {
        self.core.get_mut().stack.tcp_readers().for_each(|name| TaskWaker::from_bits(name).wake());
        self.wakers.get_mut().wake_all().into_iter().for_each(Waker::wake);
    }
}

#[cold]
fn busy() -> io::Error {
    io::Error::new(
        io::ErrorKind::ResourceBusy,
        "the stack is busy: a destructor of sent bytes, or a sink of read bytes, must not use sockets",
    )
}

impl<D: Device> Core<D> {
    /// Takes what the device has, up to the limit of a turn. Returns how much was done.
    fn receive(&mut self, now: Instant) -> usize {
        let mut count = 0;
        for _ in 0..BURSTS_PER_TURN {
            let received = self.device.receive(&mut self.burst);
            // Without frames there may still be packets of ours to ourselves.
            if received > 0 || self.stack.has_work() {
                self.stack.receive(now, &mut self.burst, &mut self.device);
            }
            count += received;
            if received < BURST_LEN {
                break;
            }
        }
        if self.stack.deadline().is_some_and(|deadline| deadline <= now) {
            self.stack.expire(now, &mut self.device);
            count += 1;
        }
        count
    }

    fn close(&mut self, now: Instant, socket: Socket, station: Option<&Station>) {
        let service = station.and_then(|station| station.service_of(&self.stack, socket));
        match socket {
            Socket::Tcp(id) => self.stack.tcp_close(now, id),
            Socket::Listener(id) => self.stack.close_listener(now, id),
            Socket::Udp(id) => self.stack.udp_close(id),
            Socket::Echo(id) => self.stack.echo_close(id),
        }
        if let Some((station, service)) = station.zip(service) {
            station.close(service, &self.stack);
        }
    }
}

impl<D: Device> Turn for Shard<D> {
    fn receive(&self, now: Instant) -> usize {
        self.now.set(now);
        drained::forget();
        self.bid_deferred();
        let Ok(mut core) = self.core.try_borrow_mut() else { return 0 };
        let count = core.receive(now);
        self.wake(core);
        count
    }

    fn transmit(&self, now: Instant) -> usize {
        drained::forget();
        let Ok(mut core) = self.core.try_borrow_mut() else { return 0 };
        let Core { stack, device, .. } = &mut *core;
        let count = stack.transmit(now, device);
        device.flush();
        self.wake(core);
        count
    }

    fn deadline(&self) -> Option<Instant> {
        self.core.try_borrow().ok()?.stack.deadline()
    }

    fn pending(&self) -> bool {
        let work = self.core.try_borrow().is_ok_and(|core| core.stack.has_work() || core.device.pending());
        work || self.deferred.get() || !self.mailbox.is_empty()
    }

    fn has_undelivered(&self) -> bool {
        self.core.try_borrow().is_ok_and(|core| core.stack.tcp_has_undelivered())
    }

    fn interests(&self, add: &mut dyn FnMut(Interest)) {
        if let Ok(core) = self.core.try_borrow() {
            core.device.interests(add);
        }
    }

    fn arm(&self) -> Option<Duration> {
        let nap = self.core.try_borrow_mut().ok()?.device.arm();
        nap.map(Duration::from_nanos)
    }

    fn disarm(&self) {
        if let Ok(mut core) = self.core.try_borrow_mut() {
            core.device.disarm();
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

impl<D: Device> Door for Rc<Shard<D>> {
    fn tcp_listen(&self, local: SocketAddr, backlog: usize, options: &Options) -> io::Result<ListenerId> {
        self.listen(local, backlog, options)
    }

    fn listener_poll_known(&self, id: ListenerId, waker: Waker) -> Poll<io::Result<()>> {
        let Some(station) = &self.station else { return Poll::Ready(Ok(())) };
        let port = self.listener_local_addr(id)?.port();
        station.poll_joined(port, waker).map(Ok)
    }

    fn listener_local_addr(&self, id: ListenerId) -> io::Result<SocketAddr> {
        self.call(|core, _| core.stack.listener_local_addr(id))
    }

    fn tcp_accept(&self, id: ListenerId, notify: Notify<'_>) -> Poll<io::Result<(TcpId, SocketAddr)>> {
        self.poll(id, Side::Read, notify, |core, _| match &self.station {
            None => core.stack.tcp_accept(id),
            Some(station) => station.accept(&mut core.stack, id),
        })
    }

    fn tcp_connect(
        &self,
        remote: SocketAddr,
        local: Option<SocketAddr>,
        options: &Options,
    ) -> io::Result<TcpId> {
        self.connect(remote, local, options)
    }

    fn tcp_connect_with(
        &self,
        remote: SocketAddr,
        local: Option<SocketAddr>,
        options: &Options,
        bytes: &[u8],
    ) -> io::Result<(TcpId, usize)> {
        self.connect_with(remote, local, options, bytes)
    }

    fn tcp_set_fastopen(&self, id: ListenerId, pending_max: usize) -> io::Result<()> {
        self.call(|core, _| core.stack.tcp_set_fastopen(id, pending_max))
    }

    fn tcp_migrate(&self, id: TcpId, to: usize) -> io::Result<Moved> {
        let station = self.station.as_ref().ok_or_else(door::alone)?;
        let moved = self.call(|core, _| station.migrate(&mut core.stack, id, to))?;
        // The place in the stack is free from here on, and those who wait at it are of the next connection there.
        let removed = self.wakers.borrow_mut().close(Socket::Tcp(id));
        drop(removed);
        Ok(moved)
    }

    fn tcp_poll_connect(&self, id: TcpId, notify: Notify<'_>) -> Poll<io::Result<()>> {
        self.poll(id, Side::Write, notify, |core, _| core.stack.tcp_poll_connect(id))
    }

    fn tcp_read(&self, id: TcpId, notify: Notify<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.read(id, notify, |core, now, name| core.stack.tcp_read_drain(now, id, buf, name))
    }

    fn tcp_read_vectored(
        &self,
        id: TcpId,
        notify: Notify<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(id, Side::Read, notify, |core, now| core.read_vectored(now, id, bufs))
    }

    fn tcp_read_with(
        &self,
        id: TcpId,
        notify: Notify<'_>,
        len_max: usize,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Poll<io::Result<usize>> {
        self.poll(id, Side::Read, notify, |core, now| core.read_with(now, id, len_max, sink))
    }

    fn tcp_lease(&self, id: TcpId, notify: Notify<'_>, len_max: usize) -> Poll<io::Result<SharedBytes>> {
        self.read(id, notify, |core, now, name| core.stack.tcp_lease_drain(now, id, len_max, name))
    }

    fn tcp_peek(&self, id: TcpId, notify: Notify<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let waker = notify.waker();
        self.answers.poll(waker, || self.poll(id, Side::Read, notify, |core, _| core.stack.tcp_peek(id, buf)))
    }

    fn tcp_write(&self, id: TcpId, notify: Notify<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(id, Side::Write, notify, |core, now| core.stack.tcp_write(now, id, bytes, &mut core.device))
    }

    fn tcp_write_vectored(
        &self,
        id: TcpId,
        notify: Notify<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(id, Side::Write, notify, |core, now| core.write_vectored(now, id, bufs))
    }

    fn tcp_write_owned(
        &self,
        id: TcpId,
        notify: Notify<'_>,
        bytes: &mut SharedBytes,
    ) -> Poll<io::Result<usize>> {
        self.poll(id, Side::Write, notify, |core, now| {
            core.stack.tcp_write_owned(now, id, bytes, &mut core.device)
        })
    }

    fn tcp_shutdown(&self, id: TcpId) -> io::Result<()> {
        self.call(|core, now| core.stack.tcp_shutdown(now, id))
    }

    fn tcp_local_addr(&self, id: TcpId) -> io::Result<SocketAddr> {
        self.call(|core, _| core.stack.tcp_local_addr(id))
    }

    fn tcp_peer_addr(&self, id: TcpId) -> io::Result<SocketAddr> {
        self.call(|core, _| core.stack.tcp_peer_addr(id))
    }

    fn tcp_state(&self, id: TcpId) -> io::Result<State> {
        self.call(|core, _| Ok(core.stack.tcp_state(id)))
    }

    fn tcp_flushed(&self, id: TcpId) -> io::Result<bool> {
        self.call(|core, _| core.stack.tcp_flushed(id))
    }

    fn tcp_take_error(&self, id: TcpId) -> io::Result<Option<io::Error>> {
        self.call(|core, _| Ok(core.stack.tcp_take_error(id).map(io_error)))
    }

    fn tcp_nodelay(&self, id: TcpId) -> io::Result<bool> {
        self.call(|core, _| core.stack.tcp_nodelay(id))
    }

    fn tcp_set_nodelay(&self, id: TcpId, on: bool) -> io::Result<()> {
        self.call(|core, now| core.stack.tcp_set_nodelay(now, id, on))
    }

    fn tcp_linger(&self, id: TcpId) -> io::Result<Option<Duration>> {
        self.call(|core, _| core.stack.tcp_linger(id))
    }

    fn tcp_set_linger(&self, id: TcpId, linger: Option<Duration>) -> io::Result<()> {
        self.call(|core, _| core.stack.tcp_set_linger(id, linger))
    }

    fn tcp_keepalive(&self, id: TcpId) -> io::Result<Option<Keepalive>> {
        self.call(|core, _| core.stack.tcp_keepalive(id))
    }

    fn tcp_set_keepalive(&self, id: TcpId, keepalive: Option<Keepalive>) -> io::Result<()> {
        self.call(|core, now| core.stack.tcp_set_keepalive(now, id, keepalive))
    }

    fn tcp_user_timeout(&self, id: TcpId) -> io::Result<Option<Duration>> {
        self.call(|core, _| core.stack.tcp_user_timeout(id))
    }

    fn tcp_set_user_timeout(&self, id: TcpId, limit: Option<Duration>) -> io::Result<()> {
        self.call(|core, _| core.stack.tcp_set_user_timeout(id, limit))
    }

    fn tcp_ttl(&self, id: TcpId) -> io::Result<u8> {
        self.call(|core, _| core.stack.tcp_ttl(id))
    }

    fn tcp_set_ttl(&self, id: TcpId, ttl: u8) -> io::Result<()> {
        self.call(|core, _| core.stack.tcp_set_ttl(id, ttl))
    }

    fn tcp_tos(&self, id: TcpId) -> io::Result<u8> {
        self.call(|core, _| core.stack.tcp_tos(id))
    }

    fn tcp_set_tos(&self, id: TcpId, tos: u8) -> io::Result<()> {
        self.call(|core, _| core.stack.tcp_set_tos(id, tos))
    }

    fn tcp_info(&self, id: TcpId) -> io::Result<TcpInfo> {
        self.call(|core, _| core.stack.tcp_info(id))
    }

    fn tcp_connections(&self) -> io::Result<Vec<(SocketAddr, SocketAddr, TcpInfo)>> {
        self.call(|core, _| Ok(core.stack.tcp_connections().collect()))
    }

    fn tcp_congestion(&self, id: TcpId) -> io::Result<Congestion> {
        self.call(|core, _| core.stack.tcp_congestion(id))
    }

    fn tcp_set_congestion(&self, id: TcpId, congestion: Congestion) -> io::Result<()> {
        self.call(|core, _| core.stack.tcp_set_congestion(id, congestion))
    }

    fn tcp_poll_urgent(&self, id: TcpId, notify: Notify<'_>) -> Poll<io::Result<usize>> {
        let look = |core: &mut Core<D>, _| match core.stack.tcp_urgent_len(id) {
            Ok(0) if !core.stack.tcp_ready(id).contains(Ready::READ_CLOSED) => Poll::Pending,
            answer => Poll::Ready(answer),
        };
        self.answers.poll(notify.waker(), || self.poll(id, Side::Read, notify, look))
    }

    fn udp_bind(&self, local: SocketAddr) -> io::Result<UdpId> {
        self.call(|core, _| match &self.station {
            None => core.stack.udp_bind(local),
            Some(station) => station.bind(&mut core.stack, local),
        })
    }

    fn udp_connect(&self, id: UdpId, remote: SocketAddr) -> io::Result<()> {
        self.call(|core, _| match &self.station {
            None => core.stack.udp_connect(id, remote),
            Some(station) => station.connect_udp(&mut core.stack, id, remote),
        })
    }

    fn udp_local_addr(&self, id: UdpId) -> io::Result<SocketAddr> {
        self.call(|core, _| core.stack.udp_local_addr(id))
    }

    fn udp_peer_addr(&self, id: UdpId) -> io::Result<SocketAddr> {
        self.call(|core, _| core.stack.udp_peer_addr(id))
    }

    fn udp_send(
        &self,
        id: UdpId,
        notify: Notify<'_>,
        bytes: &[u8],
        to: Option<SocketAddr>,
    ) -> Poll<io::Result<usize>> {
        self.poll(id, Side::Write, notify, |core, now| {
            core.stack.udp_send(now, id, bytes, to, &mut core.device)
        })
    }

    fn udp_recv(
        &self,
        id: UdpId,
        notify: Notify<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        self.poll(id, Side::Read, notify, |core, _| core.stack.udp_recv(id, buf))
    }

    fn udp_peek(
        &self,
        id: UdpId,
        notify: Notify<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let waker = notify.waker();
        self.answers.poll(waker, || self.poll(id, Side::Read, notify, |core, _| core.stack.udp_peek(id, buf)))
    }

    fn udp_ttl(&self, id: UdpId) -> io::Result<u8> {
        self.call(|core, _| core.stack.udp_ttl(id))
    }

    fn udp_set_ttl(&self, id: UdpId, ttl: u8) -> io::Result<()> {
        self.call(|core, _| core.stack.udp_set_ttl(id, ttl))
    }

    fn udp_tos(&self, id: UdpId) -> io::Result<u8> {
        self.call(|core, _| core.stack.udp_tos(id))
    }

    fn udp_set_tos(&self, id: UdpId, tos: u8) -> io::Result<()> {
        self.call(|core, _| core.stack.udp_set_tos(id, tos))
    }

    fn echo_open(&self) -> io::Result<EchoId> {
        self.call(|core, _| match &self.station {
            None => core.stack.echo_open(),
            Some(station) => station.open_echo(&mut core.stack),
        })
    }

    fn echo_send(&self, id: EchoId, to: IpAddr, sequence: u16, payload: &[u8]) -> io::Result<()> {
        self.call(|core, now| core.stack.echo_send(now, id, to, sequence, payload, &mut core.device))
    }

    fn echo_recv(&self, id: EchoId, notify: Notify<'_>) -> Poll<io::Result<EchoReply>> {
        self.poll(id, Side::Read, notify, |core, _| core.stack.echo_recv(id))
    }

    fn poll_ready(&self, socket: Socket, side: Side, notify: Notify<'_>) -> Poll<io::Result<Ready>> {
        let ready = self.ready(socket)?;
        let wanted = match side {
            Side::Read => ready.is_readable(),
            Side::Write => ready.wakes_writer(),
        };
        if wanted {
            return self.answers.poll(notify.waker(), || Poll::Ready(Ok(ready)));
        }
        match socket {
            Socket::Tcp(id) => {
                if side == Side::Write {
                    self.call(|core, _| core.stack.tcp_await_room(id))?;
                }
                self.wait(id, side, notify);
            }
            Socket::Listener(id) => self.wait(id, side, notify),
            Socket::Udp(id) => self.wait(id, side, notify),
            Socket::Echo(id) => self.wait(id, side, notify),
        }
        Poll::Pending
    }

    fn ready(&self, socket: Socket) -> io::Result<Ready> {
        self.call(|core, _| {
            Ok(match socket {
                Socket::Tcp(id) => core.stack.tcp_ready(id),
                Socket::Udp(id) => core.stack.udp_ready(id),
                Socket::Listener(id) => core.stack.listener_ready(id),
                Socket::Echo(_) => Ready::EMPTY,
            })
        })
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

    fn ways(&self) -> io::Result<Vec<Way>> {
        self.call(|core, _| Ok(core.stack.ways().collect()))
    }

    fn reach(&self, dst: IpAddr) -> io::Result<Option<Reach>> {
        self.call(|core, _| Ok(Reach::by(core.stack.ways(), dst)))
    }

    fn addresses(&self) -> io::Result<Vec<Cidr>> {
        self.call(|core, _| Ok(core.stack.addresses().collect()))
    }

    fn address_states(&self) -> io::Result<Vec<(Cidr, AddressState)>> {
        self.call(|core, _| Ok(core.stack.address_states().collect()))
    }

    fn add_address(&self, cidr: Cidr) -> io::Result<()> {
        self.set(Setting::AddAddress(cidr))
    }

    fn remove_address(&self, addr: IpAddr) -> io::Result<()> {
        self.set(Setting::RemoveAddress(addr))
    }

    fn add_route(&self, destination: Cidr, gateway: IpAddr) -> io::Result<()> {
        self.set(Setting::AddRoute(destination, gateway))
    }

    fn remove_route(&self, destination: Cidr) -> io::Result<()> {
        self.set(Setting::RemoveRoute(destination))
    }

    fn caps(&self) -> io::Result<Caps> {
        self.call(|core, _| Ok(*core.stack.caps()))
    }

    fn set_offloads(&self, wanted: Offloads) -> io::Result<Offloads> {
        self.call(|core, _| {
            let offloads = core.device.set_offloads(wanted);
            core.stack.set_caps(core.device.caps());
            Ok(offloads)
        })
    }

    fn mac(&self) -> io::Result<[u8; 6]> {
        self.call(|core, _| Ok(core.device.mac()))
    }

    fn counters(&self) -> io::Result<Counters> {
        self.call(|core, _| {
            let mut counts: Vec<_> = core.stack.counters().iter().collect();
            core.device.drops(&mut |name, count| counts.push((name, count)));
            Ok(Counters::new(counts))
        })
    }

    fn tcp_count(&self) -> io::Result<usize> {
        self.call(|core, _| Ok(core.stack.tcp_count()))
    }
}

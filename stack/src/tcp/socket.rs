//! The user calls (RFC 9293 §3.9.1): OPEN, SEND, RECEIVE, CLOSE, ABORT, STATUS, and options.

use core::net::SocketAddr;
use core::num::NonZeroU64;
use core::task::Poll;
use core::time::Duration;

use hayase_device::hint::{likely, unlikely, usually};
use hayase_device::{Device, Frame, SharedBytes};
use hayase_time::Instant;

use super::Tcp;
use super::congestion::Congestion;
use super::connection::{AckDebt, Connection, Place};
use super::info::TcpInfo;
use super::keepalive::{Keepalive, Probing};
use super::pressure::{self, Pressure};
use super::segment::Reply;
use super::send_queue::Filling;
use super::state::State;
use super::user_timeout::UserTimeout;
use crate::config::Config;
use crate::error::Error;
use crate::random::Random;
use crate::socket::{ListenerId, Ready, TcpId};

/// Bytes that all writers together write before what there is goes out: then they wait for the next turn. Whatever lies longer
/// leaves the processor's cache before the device reads it, and who never stops writing keeps others from their turn.
const WRITTEN_LEN_MAX: usize = 256 * 1024;

/// A way to read, from a connection that has something. No closure, so that it can be written out where it is used.
trait Reading<F> {
    type Output;

    fn read(self, connection: &mut Connection<F>) -> Self::Output;
}

/// Into memory.
struct Copied<'a>(&'a mut [u8]);

impl<F: Frame> Reading<F> for Copied<'_> {
    type Output = usize;

    #[inline(always)]
    fn read(self, connection: &mut Connection<F>) -> usize {
        connection.receive.read(self.0)
    }
}

/// Where it lies, at most so many bytes.
struct Leased(usize);

impl<F: Frame> Reading<F> for Leased {
    type Output = Option<SharedBytes>;

    #[inline(always)]
    fn read(self, connection: &mut Connection<F>) -> Option<SharedBytes> {
        connection.receive.lease(self.0.max(1))
    }
}

/// Also leaves the reader's name where the next read will have to wait, and says whether it did.
struct Drained<R>(R, Option<NonZeroU64>);

impl<F: Frame, R: Reading<F>> Reading<F> for Drained<R> {
    type Output = (R::Output, bool);

    #[inline(always)]
    fn read(self, connection: &mut Connection<F>) -> (R::Output, bool) {
        (self.0.read(connection), connection.leave_name(self.1))
    }
}

impl<F: Frame> Tcp<F> {
    #[inline]
    fn get(&self, id: TcpId) -> Result<&Connection<F>, Error> {
        self.connections.get_generation(id.index, id.generation).filter(|c| c.owned).ok_or(Error::StaleHandle)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: TcpId) -> Result<&mut Connection<F>, Error> {
        let connection = self.connections.get_generation_mut(id.index, id.generation);
        connection.filter(|c| c.owned).ok_or(Error::StaleHandle)
    }

    pub(crate) fn listen(
        &mut self,
        local: SocketAddr,
        backlog: usize,
        random: &mut Random,
        config: &Config,
    ) -> Result<ListenerId, Error> {
        let port = match local.port() {
            0 => self.choose_listen_port(random, config)?,
            port => port,
        };
        self.listeners.insert(SocketAddr::new(local.ip(), port), backlog.min(config.backlog_max))
    }

    pub(crate) fn listener_local_addr(&self, id: ListenerId) -> Result<SocketAddr, Error> {
        self.listeners.get(id).map(|listener| listener.local).ok_or(Error::StaleHandle)
    }

    /// Whether `accept` would bring something.
    pub(crate) fn listener_ready(&self, id: ListenerId) -> Ready {
        match self.listeners.get(id) {
            Some(listener) if listener.accept_queue.is_empty() => Ready::EMPTY,
            Some(_) => Ready::READABLE,
            None => Ready::READABLE | Ready::ERROR,
        }
    }

    pub(crate) fn accept(&mut self, id: ListenerId) -> Poll<Result<(TcpId, SocketAddr), Error>> {
        let Some(listener) = self.listeners.get_mut(id) else { return Poll::Ready(Err(Error::StaleHandle)) };
        while let Some(child) = listener.accept_queue.pop_front() {
            if let Some(connection) = self.connections.get_generation_mut(child.index, child.generation) {
                connection.listener = None;
                return Poll::Ready(Ok((child, connection.tuple.remote())));
            }
        }
        Poll::Pending
    }

    /// Closes a listener. Connections that nobody accepted are reset.
    pub(crate) fn close_listener(&mut self, now: Instant, id: ListenerId, config: &Config) {
        let Some(listener) = self.listeners.remove(id) else { return };
        for child in listener.into_connections() {
            // The SYN queue still names some that left it: those belong to somebody else by now.
            if let Some(connection) = self.connections.get_generation_mut(child.index, child.generation)
                && connection.listener == Some(id)
            {
                connection.listener = None;
                connection.owned = true;
                self.abort(now, child, config);
            }
        }
    }

    pub(crate) fn poll_connect(&mut self, id: TcpId) -> Poll<Result<(), Error>> {
        let connection = match self.get_mut(id) {
            Ok(connection) => connection,
            Err(error) => return Poll::Ready(Err(error)),
        };
        match connection.state {
            State::SynSent | State::SynReceived => Poll::Pending,
            State::Closed => Poll::Ready(Err(connection.take_error().unwrap_or(Error::ConnectionReset))),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// The most that a connection may keep now: little while all of them together hold too much.
    #[inline]
    fn send_len_max(&self, config: &Config) -> usize {
        self.pressure(config).send_len()
    }

    /// What a write may do: `Err` if it can never succeed.
    #[inline]
    fn check_write(connection: &mut Connection<F>) -> Result<(), Error> {
        if !connection.has_failed() && !connection.fin_queued && connection.state.can_send() {
            return Ok(());
        }
        Err(connection.take_error().unwrap_or(Error::BrokenPipe))
    }

    #[inline(always)]
    pub(crate) fn write<D: Device<Frame = F>>(
        &mut self,
        now: Instant,
        id: TcpId,
        bytes: &[u8],
        device: &mut D,
        config: &Config,
    ) -> Poll<Result<usize, Error>> {
        // A request or a reply, on a connection where nothing else is going on. One segment goes into any buffer.
        if likely(self.agenda.memory_len < config.memory_len_max)
            && let Some(connection) = usually(self.connections.get_generation_mut(id.index, id.generation))
            && let Some(came) = usually(connection.write_segment(bytes, device))
        {
            self.agenda.enlist(connection, id.index);
            self.agenda.book(connection, came, 0);
            return Poll::Ready(Ok(bytes.len()));
        }
        self.write_any(now, id, bytes, device, config)
    }

    #[inline(never)]
    fn write_any<D: Device<Frame = F>>(
        &mut self,
        now: Instant,
        id: TcpId,
        bytes: &[u8],
        device: &mut D,
        config: &Config,
    ) -> Poll<Result<usize, Error>> {
        self.write_with(now, id, bytes.is_empty(), config, |connection, filling| {
            connection.send.write(bytes, connection.snd_nxt, filling, device)
        })
    }

    pub(crate) fn write_owned<D: Device<Frame = F>>(
        &mut self,
        now: Instant,
        id: TcpId,
        bytes: &mut SharedBytes,
        device: &mut D,
        config: &Config,
    ) -> Poll<Result<usize, Error>> {
        self.write_with(now, id, bytes.is_empty(), config, |connection, filling| {
            connection.send.write_owned(bytes, connection.snd_nxt, filling, device)
        })
    }

    #[inline]
    fn write_with(
        &mut self,
        now: Instant,
        id: TcpId,
        is_empty: bool,
        config: &Config,
        write: impl FnOnce(&mut Connection<F>, Filling) -> usize,
    ) -> Poll<Result<usize, Error>> {
        let mut send_len_max = self.send_len_max(config);
        let Some(connection) =
            self.connections.get_generation_mut(id.index, id.generation).filter(|c| c.owned)
        else {
            return Poll::Ready(Err(Error::StaleHandle));
        };
        if let Err(error) = Self::check_write(connection) {
            return Poll::Ready(Err(error));
        }
        if is_empty {
            return Poll::Ready(Ok(0));
        }
        // What goes with a SYN is written once, or not at all.
        if self.written_len >= WRITTEN_LEN_MAX && connection.state != State::SynSent {
            connection.write_blocked = true;
            self.line_up_writer(id.index, now, config);
            return Poll::Pending;
        }
        if send_len_max <= Pressure::Far.send_len() {
            // Nearly everything is held: what there is belongs to those who stood in line for it.
            if connection.listed.hungry == Place::Served {
                send_len_max = pressure::served_len_max(self.agenda.memory_len, config);
            } else if !self.hungry.is_empty() {
                send_len_max = 0;
            }
        }
        let buffer_len = connection.send_buffer_len(config).min(send_len_max);
        let filling = connection.filling(&self.caps, buffer_len, config);
        let written = write(connection, filling);
        if written == 0 {
            connection.write_blocked = true;
            // Room, and yet nothing was taken, or nothing in the queue that an acknowledgement could make room of: there are
            // no buffers.
            if connection.send.is_empty() || connection.send.room(buffer_len) >= filling.room_min {
                self.line_up_writer(id.index, now, config);
            } else {
                if connection.listed.hungry == Place::Served {
                    // It has to wait for an acknowledgement, and keeps nobody behind it from their turn.
                    connection.listed.hungry = Place::None;
                }
                self.settle(id.index, now, config);
            }
            return Poll::Pending;
        }
        // Its place in the line, if it had one, is nobody's.
        connection.listed.hungry = Place::None;
        self.written_len += written;
        self.written_count += 1;
        self.agenda.note(connection, id.index);
        Poll::Ready(Ok(written))
    }

    /// A writer waits for buffers, or for what was written before to go.
    fn line_up_writer(&mut self, index: u32, now: Instant, config: &Config) {
        let is_short = self.pressure(config) >= Pressure::Far;
        let Some(connection) = self.connections.get_mut(index) else { return };
        if is_short && connection.ack_debt == AckDebt::Delayed {
            // It would wait for what is not to be written now; and the peer holds buffers until it comes.
            connection.ack_debt = AckDebt::Now;
        }
        let is_new = connection.listed.hungry != Place::InLine;
        self.settle(index, now, config);
        if is_new {
            self.note_hungry(index);
        }
    }

    #[inline(always)]
    pub(crate) fn read(
        &mut self,
        now: Instant,
        id: TcpId,
        buf: &mut [u8],
        config: &Config,
    ) -> Poll<Result<usize, Error>> {
        self.read_with(now, id, config, 0, Copied(buf))
    }

    /// As [`read`](Self::read); also leaves the reader's name where the next read will have to wait, and says whether it did.
    #[inline(always)]
    pub(crate) fn read_drain(
        &mut self,
        now: Instant,
        id: TcpId,
        buf: &mut [u8],
        reader: Option<NonZeroU64>,
        config: &Config,
    ) -> Poll<Result<(usize, bool), Error>> {
        self.read_with(now, id, config, (0, false), Drained(Copied(buf), reader))
    }

    /// Leaves a name for when there is something to read, in the place of the one before. Returns whether that will be told.
    pub(crate) fn name_reader(&mut self, id: TcpId, reader: NonZeroU64) -> bool {
        let Ok(connection) = self.get_mut(id) else { return false };
        connection.reader = Some(reader).filter(|_| !connection.watched);
        connection.reader.is_some()
    }

    /// From now on not all who wait for something to read are named.
    pub(crate) fn watch(&mut self, id: TcpId) {
        if let Ok(connection) = self.get_mut(id) {
            connection.watched = true;
        }
    }

    /// Takes back the name that was left.
    pub(crate) fn take_reader(&mut self, id: TcpId) -> Option<NonZeroU64> {
        self.get_mut(id).ok()?.reader.take()
    }

    /// All names that were left, also of those called already.
    pub(crate) fn readers(&self) -> impl Iterator<Item = NonZeroU64> + '_ {
        let waiting = self.connections.iter().filter_map(|(_, connection)| connection.reader);
        waiting.chain(self.agenda.called.iter().copied())
    }

    pub(crate) fn peek(&mut self, id: TcpId, buf: &mut [u8]) -> Poll<Result<usize, Error>> {
        match self.get_mut(id) {
            Err(error) => Poll::Ready(Err(error)),
            Ok(connection) => connection.poll_receive(0, |connection| connection.receive.peek(buf)),
        }
    }

    #[inline(always)]
    pub(crate) fn lease(
        &mut self,
        now: Instant,
        id: TcpId,
        len_max: usize,
        config: &Config,
    ) -> Poll<Result<SharedBytes, Error>> {
        let end = || SharedBytes::from(alloc::vec::Vec::new());
        self.read_with(now, id, config, None, Leased(len_max))
            .map(|lease| lease.map(|lease| lease.unwrap_or_else(end)))
    }

    /// As [`lease`](Self::lease); also does what [`read_drain`](Self::read_drain) does.
    #[inline(always)]
    pub(crate) fn lease_drain(
        &mut self,
        now: Instant,
        id: TcpId,
        len_max: usize,
        reader: Option<NonZeroU64>,
        config: &Config,
    ) -> Poll<Result<(SharedBytes, bool), Error>> {
        let end = || SharedBytes::from(alloc::vec::Vec::new());
        let lease = self.read_with(now, id, config, (None, false), Drained(Leased(len_max), reader));
        lease.map_ok(|(lease, is_drained)| (lease.unwrap_or_else(end), is_drained))
    }

    #[inline(always)]
    fn read_with<R: Reading<F>>(
        &mut self,
        now: Instant,
        id: TcpId,
        config: &Config,
        end: R::Output,
        reading: R,
    ) -> Poll<Result<R::Output, Error>> {
        let connection = self.connections.get_generation_mut(id.index, id.generation);
        let Some(connection) = usually(connection.filter(|c| likely(c.owned))) else {
            return Poll::Ready(Err(Error::StaleHandle));
        };
        if unlikely(connection.receive.is_empty()) {
            return connection.poll_end(end);
        }
        let held = connection.receive.memory_len();
        let result = Poll::Ready(Ok(reading.read(connection)));
        self.agenda.book(connection, connection.receive.memory_len(), held);
        if unlikely(connection.is_urgent()) {
            connection.forget_urgent();
        }
        debug_assert!(
            connection.may_open_window()
                || connection.window_due
                || !connection.state.can_receive()
                || connection.rcv_adv == connection.window_edge()
        );
        if unlikely(connection.may_open_window())
            && connection.state.can_receive()
            && connection.rcv_adv != connection.window_edge()
        {
            self.made_room(now, id.index, config);
        }
        result
    }

    /// The application made room: the peer is told if that is worth a segment.
    #[inline(never)]
    fn made_room(&mut self, now: Instant, index: u32, config: &Config) {
        let free_len = config.memory_len_max.saturating_sub(self.agenda.memory_len);
        if let Some(connection) = self.connections.get_mut(index) {
            connection.size_receive_buffer(now, free_len, config);
            connection.window_due = true;
            connection.owe_window_update();
            self.settle(index, now, config);
        }
    }

    pub(crate) fn ready_now(&self, id: TcpId, config: &Config) -> Ready {
        match self.get(id) {
            Ok(connection) => connection.ready(config),
            Err(_) => Ready::READABLE | Ready::WRITABLE | Ready::ERROR,
        }
    }

    pub(crate) fn await_room(&mut self, id: TcpId) -> Result<(), Error> {
        self.get_mut(id).map(|connection| connection.write_blocked = true)
    }

    pub(crate) fn flushed(&mut self, id: TcpId) -> Result<bool, Error> {
        let connection = self.get_mut(id)?;
        match connection.state {
            State::Closed if connection.is_data_acknowledged() => Ok(true),
            State::Closed => Err(connection.take_error().unwrap_or(Error::ConnectionReset)),
            _ => Ok(connection.send.is_empty() && connection.flight() == 0),
        }
    }

    pub(crate) fn has_undelivered(&self) -> bool {
        self.connections.iter().any(|(_, connection)| match connection.state {
            State::Established | State::CloseWait => !connection.send.is_empty(),
            // The FIN is outstanding.
            State::FinWait1 | State::Closing | State::LastAck => true,
            _ => false,
        })
    }

    pub(crate) fn queued(&self, id: TcpId) -> usize {
        self.get(id).map_or(0, |connection| connection.receive.len())
    }

    pub(crate) fn urgent_len(&self, id: TcpId) -> Result<usize, Error> {
        self.get(id).map(|connection| connection.urgent_len() as usize)
    }

    pub(crate) fn state(&self, id: TcpId) -> State {
        self.get(id).map_or(State::Closed, |connection| connection.state)
    }

    pub(crate) fn shutdown(&mut self, now: Instant, id: TcpId, config: &Config) -> Result<(), Error> {
        let connection = self.get_mut(id)?;
        // Nothing is left to be shut down where the connection is over; the reader is to hear why.
        if connection.state != State::Closed {
            connection.queue_fin();
            self.settle(id.index, now, config);
        }
        Ok(())
    }

    /// The handle is gone. Unread data, or a linger time of zero, makes it a reset (RFC 9293 §3.10.4, SHLD-3).
    pub(crate) fn close(&mut self, now: Instant, id: TcpId, config: &Config) {
        let Ok(connection) = self.get_mut(id) else { return };
        let has_unread = !connection.receive.is_empty() || connection.out_of_order.is_some();
        let linger = connection.linger();
        let is_hard = linger == Some(Duration::ZERO) || has_unread;
        match connection.state {
            State::Closed | State::TimeWait => {}
            State::SynSent => connection.enter_closed(None),
            _ if is_hard => return self.abort(now, id, config),
            state => {
                connection.queue_fin();
                connection.set_idle_at(linger.map(|linger| now + linger));
                if linger.is_none() && state == State::FinWait2 {
                    connection.await_fin(now, config);
                }
            }
        }
        (connection.owned, connection.reader) = (false, None);
        if let Some(rare) = &mut connection.rare {
            rare.probing = None;
        }
        self.settle(id.index, now, config);
    }

    /// RFC 9293 §3.10.5
    pub(crate) fn abort(&mut self, now: Instant, id: TcpId, config: &Config) {
        let Ok(connection) = self.get_mut(id) else { return };
        connection.receive.clear();
        let reset = match connection.state {
            State::Closed | State::TimeWait | State::SynSent => None,
            _ => Some(Reply::reset(connection.tuple, connection.bare_seq(), Some(connection.rcv_nxt))),
        };
        if connection.state != State::TimeWait {
            connection.enter_closed(Some(Error::ConnectionAborted));
        }
        connection.owned = false;
        if let Some(reset) = reset {
            self.reply(reset);
        }
        self.settle(id.index, now, config);
    }

    pub(crate) fn local_addr(&self, id: TcpId) -> Result<SocketAddr, Error> {
        self.get(id).map(|connection| connection.tuple.local())
    }

    pub(crate) fn peer_addr(&self, id: TcpId) -> Result<SocketAddr, Error> {
        self.get(id).map(|connection| connection.tuple.remote())
    }

    pub(crate) fn set_nodelay(
        &mut self,
        now: Instant,
        id: TcpId,
        on: bool,
        config: &Config,
    ) -> Result<(), Error> {
        self.get_mut(id)?.nodelay = on;
        // What Nagle held back goes now.
        self.settle(id.index, now, config);
        Ok(())
    }

    pub(crate) fn nodelay(&self, id: TcpId) -> Result<bool, Error> {
        self.get(id).map(|connection| connection.nodelay)
    }

    pub(crate) fn set_linger(&mut self, id: TcpId, linger: Option<Duration>) -> Result<(), Error> {
        self.get_mut(id)
            .map(|connection| connection.rare_mut().wishes.get_or_insert_default().linger = linger)
    }

    pub(crate) fn linger(&self, id: TcpId) -> Result<Option<Duration>, Error> {
        self.get(id).map(Connection::linger)
    }

    pub(crate) fn set_ttl(&mut self, id: TcpId, ttl: u8) -> Result<(), Error> {
        self.get_mut(id).map(|connection| connection.ttl = ttl)
    }

    pub(crate) fn ttl(&self, id: TcpId) -> Result<u8, Error> {
        self.get(id).map(|connection| connection.ttl)
    }

    pub(crate) fn set_tos(&mut self, id: TcpId, tos: u8) -> Result<(), Error> {
        self.get_mut(id).map(|connection| connection.tos = tos)
    }

    pub(crate) fn tos(&self, id: TcpId) -> Result<u8, Error> {
        self.get(id).map(|connection| connection.tos)
    }

    pub(crate) fn set_congestion(&mut self, id: TcpId, congestion: Congestion) -> Result<(), Error> {
        self.get_mut(id).map(|connection| connection.choose_congestion(congestion))
    }

    pub(crate) fn congestion(&self, id: TcpId) -> Result<Congestion, Error> {
        self.get(id).map(|connection| connection.congestion.congestion())
    }

    pub(crate) fn connections<'a>(
        &'a self,
        config: &'a Config,
    ) -> impl Iterator<Item = (SocketAddr, SocketAddr, TcpInfo)> + 'a {
        self.connections.iter().map(|(_, connection)| {
            (connection.tuple.local(), connection.tuple.remote(), connection.info(&self.caps, config))
        })
    }

    pub(crate) fn info(&self, id: TcpId, config: &Config) -> Result<TcpInfo, Error> {
        self.get(id).map(|connection| connection.info(&self.caps, config))
    }

    pub(crate) fn set_keepalive(
        &mut self,
        now: Instant,
        id: TcpId,
        keepalive: Option<Keepalive>,
        config: &Config,
    ) -> Result<(), Error> {
        Keepalive::check(keepalive)?;
        let connection = self.get_mut(id)?;
        if matches!(connection.state, State::Closed | State::TimeWait) {
            // Nobody is to be kept alive.
            return Ok(());
        }
        let rare = connection.rare_mut();
        rare.probing = keepalive.map(|settings| alloc::boxed::Box::new(Probing::new(settings, now)));
        rare.idle_at = rare.probing.as_ref().map(|probing| probing.due_at());
        self.settle(id.index, now, config);
        Ok(())
    }

    pub(crate) fn keepalive(&self, id: TcpId) -> Result<Option<Keepalive>, Error> {
        self.get(id).map(|connection| connection.probing().map(|probing| probing.settings))
    }

    pub(crate) fn set_user_timeout(&mut self, id: TcpId, limit: Option<Duration>) -> Result<(), Error> {
        let limit = limit.filter(|limit| !limit.is_zero());
        let timeout = limit.map(UserTimeout::new);
        self.get_mut(id)
            .map(|connection| connection.rare_mut().wishes.get_or_insert_default().user_timeout = timeout)
    }

    pub(crate) fn user_timeout(&self, id: TcpId) -> Result<Option<Duration>, Error> {
        self.get(id).map(|connection| connection.user_timeout().map(|timeout| timeout.limit))
    }

    pub(crate) fn take_error(&mut self, id: TcpId) -> Option<Error> {
        let connection = self.get_mut(id).ok()?;
        connection.take_error().or_else(|| {
            let error = connection.soft_error();
            connection.rare.as_mut()?.soft_error = None;
            error
        })
    }
}

impl<F: Frame> Connection<F> {
    /// What ended it, once.
    fn take_error(&mut self) -> Option<Error> {
        self.rare.as_mut()?.hard_error.take().map(|error| *error)
    }

    /// What closing does (`SO_LINGER`).
    fn linger(&self) -> Option<Duration> {
        self.wishes().and_then(|wishes| wishes.linger)
    }

    /// How frames are to be filled for this connection's segments.
    #[inline]
    fn filling(&self, caps: &hayase_device::Caps, buffer_len: usize, config: &Config) -> Filling {
        use hayase_device::Offloads;
        let is_v4 = self.tuple.local_ip().is_ipv4();
        let offload = if is_v4 { Offloads::TSO4 } else { Offloads::TSO6 } | Offloads::TX_CHECKSUM_TCP;
        // 60 bytes of IP and 60 of TCP header at most.
        let tso = caps.offloads.contains(offload).then(|| caps.tso_len_max.saturating_sub(120));
        // Whole segments, so that what follows does not straddle two frames.
        let mss = self.mss as usize;
        let tso = tso.map(|max| (max - max % mss).max(mss));
        let is_summed = !caps.offloads.contains(Offloads::TX_CHECKSUM_TCP);
        let room_min = self.worthwhile_room(buffer_len, config);
        Filling { mss, tso_len_max: tso, buffer_len, room_min, is_summed }
    }

    /// Takes a write that is one segment by itself, if nothing is going on but data and nothing is queued. Returns
    /// how many bytes of buffers it takes, if so.
    #[inline(always)]
    fn write_segment<D: Device<Frame = F>>(&mut self, bytes: &[u8], device: &mut D) -> Option<usize> {
        // No bytes at all become more than any segment.
        let is_segment = bytes.len().wrapping_sub(1) < self.mss as usize;
        let is_usual =
            likely(self.steady) && likely(self.owned) && likely(is_segment) && likely(self.send.is_empty());
        if is_usual { self.send.push_segment(bytes, device) } else { None }
    }

    /// Received data, the end, or the error that ended it.
    #[inline]
    fn poll_receive<T>(&mut self, end: T, read: impl FnOnce(&mut Self) -> T) -> Poll<Result<T, Error>> {
        if self.receive.is_empty() { self.poll_end(end) } else { Poll::Ready(Ok(read(self))) }
    }

    /// Where there is nothing to read: the end, the error that ended it, or more to come.
    #[inline(always)]
    fn poll_end<T>(&mut self, end: T) -> Poll<Result<T, Error>> {
        if self.steady {
            return Poll::Pending;
        }
        match self.has_ended() {
            Ok(false) => Poll::Pending,
            Ok(true) => Poll::Ready(Ok(end)),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Whether nothing more will come; the error that ended it, once.
    #[inline(never)]
    fn has_ended(&mut self) -> Result<bool, Error> {
        match self.take_error() {
            Some(error) => Err(error),
            None => Ok(self.fin_received || matches!(self.state, State::Closed | State::TimeWait)),
        }
    }

    /// After a read: an update is sent at once if the peer may be waiting for it, that is if its window was
    /// nearly shut; otherwise it travels with the next segment.
    #[inline]
    fn owe_window_update(&mut self) {
        if self.rcv_wnd() < self.space_len / 2 {
            self.owe_ack(AckDebt::Now);
        }
    }

    /// CLOSE (RFC 9293 §3.10.4): a FIN follows what is queued.
    fn queue_fin(&mut self) {
        if self.fin_queued {
            return;
        }
        self.fin_queued = true;
        self.listed.hungry = Place::None;
        self.state = match self.state {
            State::Established => State::FinWait1,
            State::CloseWait => State::LastAck,
            other => other,
        };
    }
}

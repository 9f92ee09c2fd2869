//! The stack's calls on TCP's sockets.

use core::net::{IpAddr, SocketAddr};
use core::num::NonZeroU64;
use core::task::Poll;
use core::time::Duration;

use hayase_device::{Device, Frame, SharedBytes};
use hayase_time::Instant;

use crate::counters::Count;
use crate::egress::mss;
use crate::error::Error;
use crate::socket::{ListenerId, Ready, TcpId};
use crate::stack::{ECN_BITS, Stack};
use crate::tcp::{Congestion, Keepalive, State, TcpInfo, TcpOptions};

impl<F: Frame> Stack<F> {
    /// Listens on an address of ours, or on all (`0.0.0.0`; `[::]` also takes IPv4, whose peers then appear with
    /// plain IPv4 addresses). Port 0 chooses one. `backlog` connections may wait for
    /// [`tcp_accept`](Self::tcp_accept), within [`Config::backlog_max`](crate::Config::backlog_max).
    ///
    /// # Errors
    /// `AddrNotAvailable`, `AddrInUse`, `TooManySockets`, `PortsExhausted`.
    pub fn tcp_listen(&mut self, local: SocketAddr, backlog: usize) -> Result<ListenerId, Error> {
        self.check_local(local.ip())?;
        self.tcp.listen(local, backlog, &mut self.random, &self.config)
    }

    /// Where a listener listens.
    ///
    /// # Errors
    /// `StaleHandle` after it was closed.
    pub fn listener_local_addr(&self, id: ListenerId) -> Result<SocketAddr, Error> {
        self.tcp.listener_local_addr(id)
    }

    /// What a listener is ready for now.
    pub fn listener_ready(&self, id: ListenerId) -> Ready {
        self.tcp.listener_ready(id)
    }

    /// Takes a connection whose handshake is over, and the peer's address.
    ///
    /// # Errors
    /// `StaleHandle` after the listener was closed.
    pub fn tcp_accept(&mut self, id: ListenerId) -> Poll<Result<(TcpId, SocketAddr), Error>> {
        self.tcp.accept(id)
    }

    /// Closes a listener. Connections that nobody accepted are reset.
    pub fn close_listener(&mut self, now: Instant, id: ListenerId) {
        self.tcp.close_listener(now, id, &self.config);
    }

    /// Opens a connection. Its handshake's outcome comes from [`tcp_poll_connect`](Self::tcp_poll_connect).
    /// `local` chooses the address and port to come from.
    ///
    /// # Errors
    /// `NetworkUnreachable`, `AddrNotAvailable`, `AddrInUse`, `PortsExhausted`, `TooManySockets`, and
    /// `InvalidInput` for an address that is not one host's (MUST-46).
    pub fn tcp_connect(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        local: Option<SocketAddr>,
    ) -> Result<TcpId, Error> {
        self.tcp_connect_where(now, remote, local, &|_| true)
    }

    /// As [`tcp_connect`](Self::tcp_connect), but if the port is for us to choose, it is one for whose address `is_good`
    /// holds: on a NIC with several queues, one whose answers come to ours.
    ///
    /// # Errors
    /// As [`tcp_connect`](Self::tcp_connect); `PortsExhausted` also if no port is good.
    pub fn tcp_connect_where(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        local: Option<SocketAddr>,
        is_good: &dyn Fn(SocketAddr) -> bool,
    ) -> Result<TcpId, Error> {
        let local = match local {
            Some(local) if !local.ip().is_unspecified() => {
                self.check_local(local.ip())?;
                local
            }
            other => {
                SocketAddr::new(self.link.source_for(remote.ip())?, other.map_or(0, |local| local.port()))
            }
        };
        if local.is_ipv4() != remote.is_ipv4() {
            return Err(Error::InvalidInput("local and remote address are of different IP versions"));
        }
        self.link.check_ends(local.ip(), remote.ip())?;
        if matches!(remote.ip(), IpAddr::V4(v4) if self.link.is_broadcast(v4)) {
            return Err(Error::InvalidInput("cannot connect to a broadcast address: TCP needs one peer"));
        }
        let mss = mss(self.link.caps.mtu, local.ip()) as u32;
        let ends = (local, remote);
        let own = (&mut self.random, &mut self.counters);
        let id = self.tcp.connect(now, ends, is_good, mss, own, &self.config)?;
        self.counters.count(Count::ActiveOpens);
        Ok(id)
    }

    /// As [`tcp_connect`](Self::tcp_connect), with data that goes with the SYN if the peer gave us a cookie before (TCP
    /// Fast Open, RFC 7413), and right after the handshake else; then a cookie is asked for. Returns how many of `bytes`
    /// were taken: the rest is to be written. What goes with a SYN may arrive twice, at two connections even.
    ///
    /// # Errors
    /// As [`tcp_connect`](Self::tcp_connect).
    pub fn tcp_connect_with<D: Device<Frame = F>>(
        &mut self,
        now: Instant,
        (remote, local): (SocketAddr, Option<SocketAddr>),
        is_good: &dyn Fn(SocketAddr) -> bool,
        bytes: &[u8],
        device: &mut D,
    ) -> Result<(TcpId, usize), Error> {
        let id = self.tcp_connect_where(now, remote, local, is_good)?;
        let taken = self.tcp.open_with(now, id, bytes, device, &self.config)?;
        Ok((id, taken))
    }

    /// Lets connections be accepted, with the data of their SYN, before their handshake is over (TCP Fast Open, RFC 7413),
    /// if their peers show a cookie that this host gave them: at most `pending_max` at a time. 0, the default: none. The
    /// application must bear it if the same data comes twice.
    ///
    /// # Errors
    /// `StaleHandle` after the listener was closed.
    pub fn tcp_set_fastopen(&mut self, id: ListenerId, pending_max: usize) -> Result<(), Error> {
        self.tcp.set_fastopen(id, pending_max, &self.config)
    }

    /// Gives a connection options that have a say in its first segments. For one that was just opened, before what it has to
    /// say is sent: there they are as good as given with the call that opened it.
    ///
    /// # Errors
    /// `StaleHandle`; `InvalidInput` for keep-alive with times or counts of zero.
    pub fn tcp_set_options(&mut self, now: Instant, id: TcpId, options: &TcpOptions) -> Result<(), Error> {
        self.tcp.set_options(now, id, options, &self.config)
    }

    /// Gives options to the connections that come in at a listener from now on, from the answer to their SYN on, as Linux's
    /// listeners do.
    ///
    /// # Errors
    /// `StaleHandle` after the listener was closed; `InvalidInput` for keep-alive with times or counts of zero.
    pub fn listener_set_options(&mut self, id: ListenerId, options: &TcpOptions) -> Result<(), Error> {
        self.tcp.set_listener_options(id, options)
    }

    /// The outcome of a handshake.
    ///
    /// # Errors
    /// `ConnectionRefused`, `TimedOut`, `HostUnreachable`, `ConnectionReset`, `StaleHandle`.
    pub fn tcp_poll_connect(&mut self, id: TcpId) -> Poll<Result<(), Error>> {
        self.tcp.poll_connect(id)
    }

    /// Queues bytes to be sent; returns how many were taken, at least one unless `bytes` is empty.
    ///
    /// # Errors
    /// What ended the connection, once; then `BrokenPipe`.
    #[inline(always)]
    pub fn tcp_write<D: Device<Frame = F>>(
        &mut self,
        now: Instant,
        id: TcpId,
        bytes: &[u8],
        device: &mut D,
    ) -> Poll<Result<usize, Error>> {
        self.tcp.write(now, id, bytes, device, &self.config)
    }

    /// Queues the application's own memory, which is kept until it is acknowledged: what was taken is cut off the
    /// front of `bytes`, and its length returned.
    ///
    /// # Errors
    /// As [`tcp_write`](Self::tcp_write).
    pub fn tcp_write_owned<D: Device<Frame = F>>(
        &mut self,
        now: Instant,
        id: TcpId,
        bytes: &mut SharedBytes,
        device: &mut D,
    ) -> Poll<Result<usize, Error>> {
        self.tcp.write_owned(now, id, bytes, device, &self.config)
    }

    /// Reads what was received; 0 is the end of the stream (or an empty `buf`).
    ///
    /// # Errors
    /// What ended the connection, once everything received before it was read.
    #[inline(always)]
    pub fn tcp_read(&mut self, now: Instant, id: TcpId, buf: &mut [u8]) -> Poll<Result<usize, Error>> {
        self.tcp.read(now, id, buf, &self.config)
    }

    /// As [`tcp_read`](Self::tcp_read). If a read that follows before anything else is received will have to wait, and that
    /// is plain, `reader` is left as by [`tcp_name_reader`](Self::tcp_name_reader); also says whether it was.
    ///
    /// # Errors
    /// As [`tcp_read`](Self::tcp_read).
    #[inline(always)]
    pub fn tcp_read_drain(
        &mut self,
        now: Instant,
        id: TcpId,
        buf: &mut [u8],
        reader: Option<NonZeroU64>,
    ) -> Poll<Result<(usize, bool), Error>> {
        self.tcp.read_drain(now, id, buf, reader, &self.config)
    }

    /// Leaves a name with a connection, in the place of the one before: [`drain_called`](Self::drain_called) says it, once,
    /// when there is something to read, and then [`drain_ready`](Self::drain_ready) may say nothing of it. Who waits is thus
    /// found without a table of the caller's. Returns whether the name will be said, which is not so of connections that are
    /// [watched](Self::tcp_watch).
    #[must_use]
    pub fn tcp_name_reader(&mut self, id: TcpId, reader: NonZeroU64) -> bool {
        self.tcp.name_reader(id, reader)
    }

    /// From now on [`drain_ready`](Self::drain_ready) tells all that is new of a connection, names or no names.
    pub fn tcp_watch(&mut self, id: TcpId) {
        self.tcp.watch(id);
    }

    /// Takes back the name that was left with a connection.
    pub fn tcp_take_reader(&mut self, id: TcpId) -> Option<NonZeroU64> {
        self.tcp.take_reader(id)
    }

    /// The names that were left with connections, and those that [`drain_called`](Self::drain_called) would say.
    pub fn tcp_readers(&self) -> impl Iterator<Item = NonZeroU64> + '_ {
        self.tcp.readers()
    }

    /// Reads without consuming.
    ///
    /// # Errors
    /// As [`tcp_read`](Self::tcp_read).
    pub fn tcp_peek(&mut self, id: TcpId, buf: &mut [u8]) -> Poll<Result<usize, Error>> {
        self.tcp.peek(id, buf)
    }

    /// Takes over received data where it lies, at most `len_max` bytes. Empty is the end of the stream. The
    /// frame's buffer goes home when the lease is dropped.
    ///
    /// # Errors
    /// As [`tcp_read`](Self::tcp_read).
    #[inline(always)]
    pub fn tcp_lease(&mut self, now: Instant, id: TcpId, len_max: usize) -> Poll<Result<SharedBytes, Error>> {
        self.tcp.lease(now, id, len_max, &self.config)
    }

    /// As [`tcp_lease`](Self::tcp_lease); also does what [`tcp_read_drain`](Self::tcp_read_drain) does.
    ///
    /// # Errors
    /// As [`tcp_read`](Self::tcp_read).
    #[inline(always)]
    pub fn tcp_lease_drain(
        &mut self,
        now: Instant,
        id: TcpId,
        len_max: usize,
        reader: Option<NonZeroU64>,
    ) -> Poll<Result<(SharedBytes, bool), Error>> {
        self.tcp.lease_drain(now, id, len_max, reader, &self.config)
    }

    /// What a connection is ready for now. After a write that had to wait it is not writable until it was told so by
    /// [`drain_ready`](Self::drain_ready).
    pub fn tcp_ready(&self, id: TcpId) -> Ready {
        self.tcp.ready_now(id, &self.config)
    }

    /// Has [`drain_ready`](Self::drain_ready) tell when there is room to write again, as after a write that had to wait.
    ///
    /// # Errors
    /// `StaleHandle`.
    pub fn tcp_await_room(&mut self, id: TcpId) -> Result<(), Error> {
        self.tcp.await_room(id)
    }

    /// Whether everything written was acknowledged.
    ///
    /// # Errors
    /// `StaleHandle`. If the connection is over and not everything was: what ended it, or `ConnectionReset` if that was told
    /// before.
    pub fn tcp_flushed(&mut self, id: TcpId) -> Result<bool, Error> {
        self.tcp.flushed(id)
    }

    /// Whether any connection, also of those that nobody owns any more, has something that its peer has not acknowledged: data,
    /// or that no more follows. Walks over all of them until one has.
    pub fn tcp_has_undelivered(&self) -> bool {
        self.tcp.has_undelivered()
    }

    /// Bytes to read until the end of what the peer marked as urgent; 0 if nothing is. Urgent data is delivered in
    /// line, with everything else (RFC 9293 §3.8.5, MUST-31 to MUST-33); [`Ready::PRIORITY`] tells of it.
    ///
    /// # Errors
    /// `StaleHandle`.
    pub fn tcp_urgent_len(&self, id: TcpId) -> Result<usize, Error> {
        self.tcp.urgent_len(id)
    }

    /// Bytes that a read would bring now.
    pub fn tcp_queued(&self, id: TcpId) -> usize {
        self.tcp.queued(id)
    }

    /// Closes our direction: a FIN follows what is queued. Reading goes on. Without effect where the connection is over; what
    /// ended it is for the next read or write to tell.
    ///
    /// # Errors
    /// `StaleHandle`.
    pub fn tcp_shutdown(&mut self, now: Instant, id: TcpId) -> Result<(), Error> {
        self.tcp.shutdown(now, id, &self.config)
    }

    /// Gives the handle up. The connection closes in the background; if received data is unread, or the linger
    /// time is zero, it is reset instead.
    pub fn tcp_close(&mut self, now: Instant, id: TcpId) {
        self.tcp.close(now, id, &self.config);
    }

    /// Resets the connection and gives the handle up.
    pub fn tcp_abort(&mut self, now: Instant, id: TcpId) {
        self.tcp.abort(now, id, &self.config);
    }

    /// Our end.
    ///
    /// # Errors
    /// `StaleHandle`
    pub fn tcp_local_addr(&self, id: TcpId) -> Result<SocketAddr, Error> {
        self.tcp.local_addr(id)
    }

    /// The peer's end.
    ///
    /// # Errors
    /// `StaleHandle`
    pub fn tcp_peer_addr(&self, id: TcpId) -> Result<SocketAddr, Error> {
        self.tcp.peer_addr(id)
    }

    /// Nagle's algorithm off or on (`TCP_NODELAY`).
    ///
    /// # Errors
    /// `StaleHandle`
    pub fn tcp_set_nodelay(&mut self, now: Instant, id: TcpId, on: bool) -> Result<(), Error> {
        self.tcp.set_nodelay(now, id, on, &self.config)
    }

    /// Whether Nagle's algorithm is off.
    ///
    /// # Errors
    /// `StaleHandle`
    pub fn tcp_nodelay(&self, id: TcpId) -> Result<bool, Error> {
        self.tcp.nodelay(id)
    }

    /// What closing does (`SO_LINGER`): `None` closes in the background for as long as it takes, zero resets,
    /// anything else resets if it took longer than that. No call ever waits.
    ///
    /// # Errors
    /// `StaleHandle`
    pub fn tcp_set_linger(&mut self, id: TcpId, linger: Option<Duration>) -> Result<(), Error> {
        self.tcp.set_linger(id, linger)
    }

    /// The linger time.
    ///
    /// # Errors
    /// `StaleHandle`
    pub fn tcp_linger(&self, id: TcpId) -> Result<Option<Duration>, Error> {
        self.tcp.linger(id)
    }

    /// Keep-alive, off by default (RFC 9293 §3.8.4).
    ///
    /// # Errors
    /// `StaleHandle`; `InvalidInput` for times or counts of zero.
    pub fn tcp_set_keepalive(
        &mut self,
        now: Instant,
        id: TcpId,
        keepalive: Option<Keepalive>,
    ) -> Result<(), Error> {
        self.tcp.set_keepalive(now, id, keepalive, &self.config)
    }

    /// The keep-alive settings.
    ///
    /// # Errors
    /// `StaleHandle`
    pub fn tcp_keepalive(&self, id: TcpId) -> Result<Option<Keepalive>, Error> {
        self.tcp.keepalive(id)
    }

    /// How long what was written may stay unacknowledged, or unsent because the peer's window is shut, before the
    /// connection fails with `TimedOut` (`TCP_USER_TIMEOUT`, RFC 5482 §2). It takes the place of
    /// [`Config::retries_max`](crate::Config::retries_max) and of keep-alive's count. `None`, the default, or zero: those hold.
    ///
    /// # Errors
    /// `StaleHandle`
    pub fn tcp_set_user_timeout(&mut self, id: TcpId, limit: Option<Duration>) -> Result<(), Error> {
        self.tcp.set_user_timeout(id, limit)
    }

    /// The user timeout.
    ///
    /// # Errors
    /// `StaleHandle`
    pub fn tcp_user_timeout(&self, id: TcpId) -> Result<Option<Duration>, Error> {
        self.tcp.user_timeout(id)
    }

    /// The hop limit of what this connection sends.
    ///
    /// # Errors
    /// `StaleHandle`
    pub fn tcp_set_ttl(&mut self, id: TcpId, ttl: u8) -> Result<(), Error> {
        self.tcp.set_ttl(id, ttl)
    }

    /// The hop limit.
    ///
    /// # Errors
    /// `StaleHandle`
    pub fn tcp_ttl(&self, id: TcpId) -> Result<u8, Error> {
        self.tcp.ttl(id)
    }

    /// Sets the type of service of a socket's segments: DSCP in the upper six bits (RFC 2474). The lower two are
    /// ECN's, and left as they are (RFC 9293 §3.9.2, MUST-48).
    ///
    /// # Errors
    /// `StaleHandle`.
    pub fn tcp_set_tos(&mut self, id: TcpId, tos: u8) -> Result<(), Error> {
        self.tcp.set_tos(id, tos & !ECN_BITS)
    }

    /// The type of service of a socket's segments.
    ///
    /// # Errors
    /// `StaleHandle`.
    pub fn tcp_tos(&self, id: TcpId) -> Result<u8, Error> {
        self.tcp.tos(id)
    }

    /// Chooses a socket's congestion control (`TCP_CONGESTION`): from now on, with the window as it is.
    ///
    /// # Errors
    /// `StaleHandle`.
    pub fn tcp_set_congestion(&mut self, id: TcpId, congestion: Congestion) -> Result<(), Error> {
        self.tcp.set_congestion(id, congestion)
    }

    /// A socket's congestion control.
    ///
    /// # Errors
    /// `StaleHandle`.
    pub fn tcp_congestion(&self, id: TcpId) -> Result<Congestion, Error> {
        self.tcp.congestion(id)
    }

    /// What a connection can tell of itself (`TCP_INFO`).
    ///
    /// # Errors
    /// `StaleHandle`.
    pub fn tcp_info(&self, id: TcpId) -> Result<TcpInfo, Error> {
        self.tcp.info(id, &self.config)
    }

    /// Every connection but those in TIME_WAIT, in no particular order: local address, remote address, and what it
    /// can tell of itself (`ss -ti`). Walks over all of them.
    pub fn tcp_connections(&self) -> impl Iterator<Item = (SocketAddr, SocketAddr, TcpInfo)> + '_ {
        self.tcp.connections(&self.config)
    }

    /// Takes the error that ended the connection, or one that it survived (`SO_ERROR`).
    pub fn tcp_take_error(&mut self, id: TcpId) -> Option<Error> {
        self.tcp.take_error(id)
    }

    /// The state of a connection; `Closed` for a stale handle.
    pub fn tcp_state(&self, id: TcpId) -> State {
        self.tcp.state(id)
    }

    /// Connections that exist, TIME_WAIT included.
    pub fn tcp_count(&self) -> usize {
        self.tcp.count()
    }
}

//! Connections, and what waits for them.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::Poll;
use std::time::Duration;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketFlags, SocketType, acceptfrom_with, sockopt,
};

use crate::address;
use crate::info::Info;
use crate::options::TcpOptions;
use crate::source::{Readiness, Side, Source};
use crate::sys;

/// The most slices that one call takes (`UIO_MAXIOV`).
const SLICES_MAX: usize = 1024;

/// The states of a connection (RFC 9293 §3.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No connection.
    Closed,
    /// Our SYN is out.
    SynSent,
    /// A SYN came and was answered.
    SynReceived,
    /// Open both ways.
    Established,
    /// We closed; neither acknowledgement nor the peer's FIN is here.
    FinWait1,
    /// We closed and that is acknowledged; the peer may still send.
    FinWait2,
    /// The peer closed; we may still send.
    CloseWait,
    /// Both closed at once.
    Closing,
    /// The peer closed first, then we.
    LastAck,
    /// Both closed; waiting so that old segments die out.
    TimeWait,
}

impl State {
    /// The state of this number (`include/net/tcp_states.h`).
    pub(crate) fn numbered(number: u8) -> State {
        match number {
            1 => State::Established,
            2 => State::SynSent,
            3 | 12 => State::SynReceived,
            4 => State::FinWait1,
            5 => State::FinWait2,
            6 => State::TimeWait,
            8 => State::CloseWait,
            9 => State::LastAck,
            11 => State::Closing,
            _ => State::Closed,
        }
    }
}

/// Settings of keep-alive, under Linux's names. The kernel counts whole seconds; fractions are rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// How long a connection is silent before the first probe (`TCP_KEEPIDLE`).
    pub idle: Duration,
    /// Time between probes (`TCP_KEEPINTVL`).
    pub interval: Duration,
    /// Unanswered probes before the connection is given up (`TCP_KEEPCNT`).
    pub count: u8,
}

/// A connection, or the attempt to make one.
#[derive(Debug)]
pub struct Tcp {
    source: Source,
    is_connected: bool,
    /// A FIN is queued.
    is_shut_down: bool,
    /// Kept here and not in the kernel, whose `close` would block for so long.
    linger: Option<Duration>,
}

/// A connection that was closed with [linger](Tcp::set_linger) and has not delivered everything.
///
/// Dropping it leaves that to the kernel, for as long as it takes.
#[derive(Debug)]
pub struct Lingering {
    fd: OwnedFd,
    time: Duration,
}

impl Lingering {
    /// How long it may go on.
    pub fn time(&self) -> Duration {
        self.time
    }

    /// Whether there is nothing left to linger for: all was delivered, or the peer sends on, which nobody reads.
    pub fn is_over(&self) -> bool {
        has_delivered(self.fd.as_fd()) || has_unread(self.fd.as_fd())
    }

    /// The time is over: resets the connection if there is still something to deliver.
    pub fn end(&self) {
        if !has_delivered(self.fd.as_fd()) {
            reset(self.fd.as_fd());
        }
    }
}

/// One that cannot be asked has nothing left.
fn has_delivered(fd: BorrowedFd<'_>) -> bool {
    !sys::unacknowledged(fd).is_ok_and(|len| len > 0)
}

fn has_unread(fd: BorrowedFd<'_>) -> bool {
    rustix::io::ioctl_fionread(fd).is_ok_and(|len| len > 0)
}

/// Sends a reset. A connection that is gone already needs none.
fn reset(fd: BorrowedFd<'_>) {
    let _ = rustix::net::connect_unspec(fd);
}

/// Opening and closing.
impl Tcp {
    fn open(fd: OwnedFd, linger: Option<Duration>) -> Tcp {
        Tcp { source: Source::eager(fd), is_connected: true, is_shut_down: false, linger }
    }

    pub(crate) fn connect(
        remote: SocketAddr,
        local: Option<SocketAddr>,
        options: &TcpOptions,
        congestion: Option<&str>,
    ) -> io::Result<Tcp> {
        let remote = address::canonical(remote);
        let fd = address::open(address::family(remote), SocketType::STREAM, None)?;
        congestion.map_or(Ok(()), |name| set_congestion(fd.as_fd(), name))?;
        sockopt::set_socket_oobinline(&fd, true)?;
        options.apply(fd.as_fd())?;
        if let Some(local) = local {
            options.apply_reuse(fd.as_fd())?;
            rustix::net::bind(&fd, &local)?;
        }
        match rustix::net::connect(&fd, &remote) {
            Ok(()) => Ok(Tcp::open(fd, options.linger)),
            Err(Errno::INPROGRESS | Errno::INTR) => {
                let source = Source::patient(fd);
                Ok(Tcp { source, is_connected: false, is_shut_down: false, linger: options.linger })
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    pub(crate) fn source_mut(&mut self) -> &mut Source {
        &mut self.source
    }

    /// Whether the handshake is over.
    ///
    /// # Errors
    /// If the peer refused or did not answer.
    pub fn poll_connect(&mut self) -> Poll<io::Result<()>> {
        if self.is_connected {
            return Poll::Ready(Ok(()));
        }
        if !self.source.is_ready(Side::Write) {
            return Poll::Pending;
        }
        sockopt::socket_error(self.source.fd())??;
        match rustix::net::getpeername(self.source.fd()) {
            Ok(_) => {
                self.is_connected = true;
                Poll::Ready(Ok(()))
            }
            Err(Errno::NOTCONN) => {
                self.source.exhaust(Side::Write);
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }

    /// Tells the peer that no more will be written. Where the connection is over, there is nobody to tell.
    ///
    /// # Errors
    /// None that can be provoked.
    pub fn shutdown(&mut self) -> io::Result<()> {
        match rustix::net::shutdown(self.source.fd(), Shutdown::Write) {
            Ok(()) | Err(Errno::NOTCONN) => {}
            Err(error) => return Err(error.into()),
        }
        self.is_shut_down = true;
        Ok(())
    }

    /// Resets the connection, now.
    pub fn abort(&mut self) {
        reset(self.source.fd());
    }

    /// Closes it. Returns what is to be dropped later, if it was told to linger. What is unread makes it a reset at once
    /// (RFC 9293 §3.6.1).
    pub fn close(self) -> Option<Lingering> {
        let time = self.linger?;
        if time.is_zero() {
            self.source.with_reset();
            return None;
        }
        let is_done = has_delivered(self.source.fd()) || has_unread(self.source.fd());
        if is_done || rustix::net::shutdown(self.source.fd(), Shutdown::Write).is_err() {
            return None;
        }
        Some(Lingering { fd: self.source.into_fd(), time })
    }
}

impl Source {
    fn with_reset(self) {
        reset(self.fd());
    }
}

/// Reading and writing.
impl Tcp {
    /// Reads what is there. 0 is the end of the stream, or an empty `buf`.
    ///
    /// # Errors
    /// If the connection failed.
    pub fn read(&mut self, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let wanted = buf.len();
        if wanted == 0 {
            return Poll::Ready(Ok(0));
        }
        let read = self.source.attempt(Side::Read, |fd| {
            rustix::net::recv(fd, &mut *buf, RecvFlags::empty()).map(|(len, _)| len)
        });
        self.note(Side::Read, wanted, read)
    }

    /// Reads what is there into one slice after the other.
    ///
    /// # Errors
    /// If the connection failed.
    pub fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> Poll<io::Result<usize>> {
        let count = bufs.len().min(SLICES_MAX);
        let bufs = &mut bufs[..count];
        let wanted = bufs.iter().map(|buf| buf.len()).sum();
        if wanted == 0 {
            return Poll::Ready(Ok(0));
        }
        let read = self.source.attempt(Side::Read, |fd| rustix::io::readv(fd, bufs));
        self.note(Side::Read, wanted, read)
    }

    /// Looks at what is there without taking it.
    ///
    /// # Errors
    /// If the connection failed.
    pub fn peek(&mut self, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.source
            .attempt(Side::Read, |fd| rustix::net::recv(fd, &mut *buf, RecvFlags::PEEK).map(|(len, _)| len))
    }

    /// Queues what there is room for.
    ///
    /// # Errors
    /// If the connection failed, or was shut down.
    pub fn write(&mut self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written =
            self.source.attempt(Side::Write, |fd| rustix::net::send(fd, bytes, SendFlags::NOSIGNAL));
        self.note(Side::Write, bytes.len(), written)
    }

    /// Queues what there is room for of one slice after the other.
    ///
    /// # Errors
    /// If the connection failed, or was shut down.
    pub fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let bufs = &bufs[..bufs.len().min(SLICES_MAX)];
        let offered = bufs.iter().map(|buf| buf.len()).sum();
        let written = self.source.attempt(Side::Write, |fd| {
            rustix::net::sendmsg(fd, bufs, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL)
        });
        self.note(Side::Write, offered, written)
    }

    fn note(&mut self, side: Side, wanted: usize, done: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(len)) = &done
            && *len < wanted
        {
            self.source.fell_short(side);
        }
        done
    }
}

/// Addresses, state and options: each a system call.
impl Tcp {
    /// What it is ready for at this moment.
    ///
    /// # Errors
    /// As all of these: if the kernel refuses.
    pub fn readiness(&mut self) -> io::Result<Readiness> {
        self.source.readiness()
    }

    /// Our address.
    ///
    /// # Errors
    /// As all of these: if the kernel refuses.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        address::local(self.source.fd())
    }

    /// The peer's address.
    ///
    /// # Errors
    /// As all of these: if the kernel refuses.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        address::peer(self.source.fd())
    }

    /// The state, by its name in RFC 9293.
    ///
    /// # Errors
    /// As all of these: if the kernel refuses.
    pub fn state(&self) -> io::Result<State> {
        // The state is the first byte of what the kernel has to say.
        let mut info = [0; 1];
        sys::tcp_info(self.source.fd(), &mut info)?;
        Ok(State::numbered(info[0]))
    }

    /// What the kernel knows of the connection (`TCP_INFO`).
    ///
    /// # Errors
    /// As all of these: if the kernel refuses.
    pub fn info(&self) -> io::Result<Info> {
        Info::of(self.source.fd())
    }

    /// Whether the peer has acknowledged everything that was written.
    ///
    /// # Errors
    /// If the connection is over and not everything was: what ended it, or
    /// [`ConnectionReset`](io::ErrorKind::ConnectionReset) if that was told before. And as all of these: if the kernel refuses.
    pub fn is_flushed(&self) -> io::Result<bool> {
        // In this order: what is closed has no more acknowledgements to come.
        let is_over = self.state()? == State::Closed;
        let len = sys::unacknowledged(self.source.fd())?;
        // A FIN has a place in the sequence, and is nothing that was written.
        if !is_over || len <= usize::from(self.is_shut_down) {
            return Ok(len == 0 || is_over);
        }
        Err(self.take_error()?.unwrap_or_else(|| io::ErrorKind::ConnectionReset.into()))
    }

    /// Takes the error that the connection failed with, if no call has reported it yet.
    ///
    /// # Errors
    /// As all of these: if the kernel refuses.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(sockopt::socket_error(self.source.fd())?.err().map(io::Error::from))
    }

    /// Whether Nagle's algorithm is off.
    ///
    /// # Errors
    /// As all of these: if the kernel refuses.
    pub fn nodelay(&self) -> io::Result<bool> {
        Ok(sockopt::tcp_nodelay(self.source.fd())?)
    }

    /// Switches Nagle's algorithm off, or on.
    ///
    /// # Errors
    /// As all of these: if the kernel refuses.
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        Ok(sockopt::set_tcp_nodelay(self.source.fd(), on)?)
    }

    /// What becomes of undelivered data when it is [closed](Tcp::close).
    pub fn linger(&self) -> Option<Duration> {
        self.linger
    }

    /// What becomes of undelivered data when it is [closed](Tcp::close): `None` delivers it for as long as it takes, zero
    /// resets the connection.
    pub fn set_linger(&mut self, linger: Option<Duration>) {
        self.linger = linger;
    }

    /// Whether and how a silent peer is probed.
    ///
    /// # Errors
    /// As all of these: if the kernel refuses.
    pub fn keepalive(&self) -> io::Result<Option<Keepalive>> {
        let fd = self.source.fd();
        if !sockopt::socket_keepalive(fd)? {
            return Ok(None);
        }
        let (idle, interval) = (sockopt::tcp_keepidle(fd)?, sockopt::tcp_keepintvl(fd)?);
        let count = u8::try_from(sockopt::tcp_keepcnt(fd)?).unwrap_or(u8::MAX);
        Ok(Some(Keepalive { idle, interval, count }))
    }

    /// Probes a silent peer, or does not.
    ///
    /// # Errors
    /// As all of these: if the kernel refuses.
    pub fn set_keepalive(&self, keepalive: Option<Keepalive>) -> io::Result<()> {
        let fd = self.source.fd();
        if let Some(Keepalive { idle, interval, count }) = keepalive {
            sockopt::set_tcp_keepidle(fd, whole_seconds(idle))?;
            sockopt::set_tcp_keepintvl(fd, whole_seconds(interval))?;
            sockopt::set_tcp_keepcnt(fd, count.into())?;
        }
        Ok(sockopt::set_socket_keepalive(fd, keepalive.is_some())?)
    }

    /// How long what was written may stay unacknowledged before the connection fails. `None`: as long as the kernel's
    /// retransmissions take.
    ///
    /// # Errors
    /// As all of these: if the kernel refuses.
    pub fn user_timeout(&self) -> io::Result<Option<Duration>> {
        let millis = sockopt::tcp_user_timeout(self.source.fd())?;
        Ok((millis > 0).then(|| Duration::from_millis(millis.into())))
    }

    /// Sets it, in whole milliseconds: less is a millisecond.
    ///
    /// # Errors
    /// As all of these: if the kernel refuses.
    pub fn set_user_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        let limit = limit.filter(|limit| !limit.is_zero());
        // The kernel keeps it as a signed number.
        let millis = limit.map_or(0, |limit| limit.as_millis().clamp(1, 0x7fff_ffff) as u32);
        Ok(sockopt::set_tcp_user_timeout(self.source.fd(), millis)?)
    }

    /// The name of its congestion control (`TCP_CONGESTION`).
    ///
    /// # Errors
    /// As all of these: if the kernel refuses.
    pub fn congestion(&self) -> io::Result<String> {
        Ok(sockopt::tcp_congestion(self.source.fd())?)
    }

    /// Chooses its congestion control by the kernel's name for it.
    ///
    /// # Errors
    /// If the kernel has none of that name, or root alone may choose it.
    pub fn set_congestion(&self, name: &str) -> io::Result<()> {
        set_congestion(self.source.fd(), name)
    }

    /// The hop limit of what is sent.
    ///
    /// # Errors
    /// As all of these: if the kernel refuses.
    pub fn ttl(&self) -> io::Result<u8> {
        address::ttl(self.source.fd())
    }

    /// Sets the hop limit of what is sent.
    ///
    /// # Errors
    /// As all of these: if the kernel refuses.
    pub fn set_ttl(&self, ttl: u8) -> io::Result<()> {
        address::set_ttl(self.source.fd(), ttl)
    }

    /// The type of service of what is sent.
    ///
    /// # Errors
    /// As all of these: if the kernel refuses.
    pub fn tos(&self) -> io::Result<u8> {
        address::tos(self.source.fd())
    }

    /// Sets the type of service of what is sent: DSCP, in the upper six bits.
    ///
    /// # Errors
    /// As all of these: if the kernel refuses.
    pub fn set_tos(&self, tos: u8) -> io::Result<()> {
        address::set_tos(self.source.fd(), tos)
    }
}

/// Chooses a socket's congestion control. Connections that a listener accepts have the listener's.
pub(crate) fn set_congestion(fd: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    sockopt::set_tcp_congestion(fd, name).map_err(|errno| match errno {
        Errno::NOENT => {
            let text = format!(
                "the operating system has no congestion control `{name}`: load it as root with `modprobe tcp_{name}`, or \
                 choose one of those in /proc/sys/net/ipv4/tcp_available_congestion_control"
            );
            io::Error::new(io::ErrorKind::Unsupported, text)
        }
        Errno::PERM => {
            let text = format!(
                "the operating system lets root alone choose the congestion control `{name}`: run as root, have root add it \
                 to the sysctl net.ipv4.tcp_allowed_congestion_control, or choose one that is there"
            );
            io::Error::new(io::ErrorKind::PermissionDenied, text)
        }
        errno => errno.into(),
    })
}

fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0)))
}

/// A socket that waits for connections.
#[derive(Debug)]
pub struct Listener {
    source: Source,
    /// What its connections have of what is kept here.
    linger: Option<Duration>,
    /// Whether another one of this table may have its port.
    reuses_port: bool,
}

impl Listener {
    pub(crate) fn bind(
        addr: SocketAddr,
        backlog: usize,
        options: &TcpOptions,
        shares_port: bool,
        congestion: Option<&str>,
    ) -> io::Result<Listener> {
        let (fd, addr) = address::open_for(addr, SocketType::STREAM)?;
        congestion.map_or(Ok(()), |name| set_congestion(fd.as_fd(), name))?;
        options.apply_reuse(fd.as_fd())?;
        // Connections have it from their listener.
        sockopt::set_socket_oobinline(&fd, true)?;
        options.apply(fd.as_fd())?;
        if shares_port {
            sockopt::set_socket_reuseport(&fd, true)?;
        }
        rustix::net::bind(&fd, &addr)?;
        rustix::net::listen(&fd, i32::try_from(backlog).unwrap_or(i32::MAX))?;
        Ok(Listener { source: Source::eager(fd), linger: options.linger, reuses_port: options.reuse_port })
    }

    pub(crate) fn reuses_port(&self) -> bool {
        self.reuses_port
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    pub(crate) fn source_mut(&mut self) -> &mut Source {
        &mut self.source
    }

    /// Takes a connection if one waits.
    pub(crate) fn accept(&mut self) -> Poll<io::Result<(Tcp, SocketAddr)>> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        // One that died while it waited is none.
        let accepted = self.source.attempt(Side::Read, |fd| {
            loop {
                match retry_on_intr(|| acceptfrom_with(fd, flags)) {
                    Err(Errno::CONNABORTED) => {}
                    result => return result,
                }
            }
        })?;
        accepted.map(|(fd, peer)| {
            let peer = address::of_kernel(peer.ok_or(Errno::NOTCONN)?)?;
            Ok((Tcp::open(fd, self.linger), peer))
        })
    }

    /// What it is ready for.
    ///
    /// # Errors
    /// If the kernel has no memory for the question.
    pub fn readiness(&mut self) -> io::Result<Readiness> {
        self.source.readiness()
    }

    /// The address that it listens at.
    ///
    /// # Errors
    /// None that can be provoked.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        address::local(self.source.fd())
    }
}

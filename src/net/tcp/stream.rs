//! A connection.

use std::future::poll_fn;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BufMut;
use hayase_stack::{Congestion, Keepalive, State, TcpId, TcpInfo};

use super::futures::{Read, ReadExact, ReadLease, Write, WriteAll};
use super::options::Options;
use super::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf, hop_limit, split, split_owned};
use crate::door::{Handle, ShardId};
use crate::io::{BufReader, Interest, Lease, Payload, Ready};
use crate::net::addr::{self, ToSocketAddrs};
use crate::scope;
use crate::wakers::{Notify, Side};

/// A TCP connection.
///
/// Three integers: `Send` and `Sync`, of use on the thread of its host only, see [`net`](crate::net). Reading
/// and writing come in four forms: async methods that need no trait in scope; `futures::io` and, with the
/// feature `tokio`, `tokio::io` traits; `try_*`; and `poll_*`, which keep one waker for each direction.
///
/// Dropping it closes the connection: what was written is still delivered, and a peer that goes on sending is
/// reset. But if something was received that nobody has read, the connection is reset at once, as on Linux, and what was written
/// may be lost: read to the end first, or [`shutdown`](Self::shutdown) and then read until the peer closes.
/// [`set_linger`](Self::set_linger) and [`abort`](Self::abort) change all that.
///
/// ```no_run
/// # async fn ask() -> std::io::Result<()> {
/// let mut stream = hayase::net::TcpStream::connect("10.7.0.1:7").await?;
/// stream.write_all(b"hello").await?;
/// let mut answer = [0; 5];
/// stream.read_exact(&mut answer).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TcpStream {
    handle: Handle<TcpId>,
}

/// What is asked for at a time where the caller names no limit: a super-frame.
const READ_LEN_MAX: usize = 65_536;

/// Opening and closing.
impl TcpStream {
    pub(super) fn new(shard: ShardId, id: TcpId) -> TcpStream {
        TcpStream::of(Handle::new(shard, id))
    }

    pub(super) fn of(handle: Handle<TcpId>) -> TcpStream {
        TcpStream { handle }
    }

    /// Connects from the current host to `addr`; of several addresses to the first that answers. Of several
    /// [interfaces](crate::Host#several-interfaces) it takes the nearest. `0.0.0.0` and `[::]` are the host itself, as on Linux.
    ///
    /// # Errors
    /// If there is no current host or no route, and if the peer refuses or does not answer.
    ///
    /// # Cancel safety
    /// Dropping the future gives the attempt up; the peer may have seen a connection that was closed at once.
    pub async fn connect(addr: impl ToSocketAddrs) -> io::Result<TcpStream> {
        let mut last = None;
        for addr in addr.addresses()? {
            match TcpStream::connect_from(addr, None, &Options::default()).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(addr::none))
    }

    /// As [`connect`](Self::connect), and writes `data`: with the SYN, a round trip sooner, if the peer gave this host a
    /// cookie for that before (TCP Fast Open, RFC 7413; Linux's `MSG_FASTOPEN`), and right after the handshake else, in
    /// which a cookie is asked for. It resolves when the peer has answered and all of `data` is queued.
    ///
    /// Use it for requests that may arrive twice, as an HTTP GET may: a network may repeat a SYN, and nobody at the other
    /// end tells that from a second connection. Peers must agree to it
    /// ([`set_fastopen`](super::TcpListener::set_fastopen)); where they do not, nothing but the round trip is lost.
    ///
    /// ```no_run
    /// # async fn ask() -> std::io::Result<()> {
    /// let stream = hayase::net::TcpStream::connect_with("10.7.0.1:80", b"GET / HTTP/1.0\r\n\r\n").await?;
    /// # drop(stream);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`connect`](Self::connect) and [`write_all`](Self::write_all). [`io::ErrorKind::Unsupported`] with the operating
    /// system's sockets.
    ///
    /// # Cancel safety
    /// As [`connect`](Self::connect); the peer may have got some of `data`.
    pub async fn connect_with(addr: impl ToSocketAddrs, data: &[u8]) -> io::Result<TcpStream> {
        let mut last = None;
        for addr in addr.addresses()? {
            match TcpStream::connect_from_with(addr, None, &Options::default(), data).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(addr::none))
    }

    pub(super) async fn connected(&self) -> io::Result<()> {
        poll_fn(|cx| self.handle.poll(|door, id| door.tcp_poll_connect(id, Notify::last(cx.waker())))).await
    }

    /// Tells the peer that no more will be written, after everything that was; reading goes on. Without effect where the
    /// connection is over.
    ///
    /// # Errors
    /// If it is used on a foreign thread.
    ///
    /// # Cancel safety
    /// Cancel safe: it never waits.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        self.shut_down()
    }

    pub(crate) fn shut_down(&self) -> io::Result<()> {
        self.handle.call(|door, id| door.tcp_shutdown(id))
    }

    /// Whoever writes is gone, on whichever thread.
    pub(super) fn end_writing(&self) {
        self.handle.end_writing();
    }

    /// Resets the connection: what was not delivered is thrown away, here and there. On a foreign thread, that is left to
    /// the connection's own.
    pub fn abort(self) {
        self.handle.abort();
    }

    /// Moves the connection to another core of this runtime, with all that was received and not read, written and not
    /// acknowledged. What is returned is of use there; take it along:
    ///
    /// ```no_run
    /// # async fn serve(stream: hayase::net::TcpStream) -> std::io::Result<()> {
    /// let mut stream = stream.migrate(1).await?;
    /// hayase::spawn_on(1, move || async move { stream.write_all(b"from core 1").await })
    ///     .map_err(std::io::Error::other)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] where the cores are no single network (the in-memory wire, the operating system's
    /// sockets); if there is no such core, or the connection is not established any more, as it is when both ends have said
    /// that no more follows; and if the other core has no room for it. The connection is closed then, whatever is unread.
    ///
    /// # Cancel safety
    /// Not cancel safe: the connection is closed when it arrives.
    pub async fn migrate(self, core: usize) -> io::Result<TcpStream> {
        let moved = self.handle.part_with(|door, id| door.tcp_migrate(id, core))?;
        moved.arrived().await.map(|handle| TcpStream { handle })
    }

    /// Borrows the two directions, for use in one task.
    pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        split::split(self)
    }

    /// Takes the two directions apart, for use in two tasks. Dropping the write half shuts that direction down.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        split_owned::split(self)
    }

    /// Reads through the frames themselves, as an `AsyncBufRead`.
    pub fn into_buf_read(self) -> BufReader<TcpStream> {
        BufReader::new(self)
    }
}

/// Reading.
impl TcpStream {
    /// Reads what is there into `buf`, waiting if nothing is. 0 is the end of the stream, or an empty `buf`.
    ///
    /// # Errors
    /// If the connection was reset or timed out, or is used on a foreign thread.
    ///
    /// # Cancel safety
    /// Cancel safe: if another branch completes first, nothing was read.
    #[inline]
    pub fn read(&mut self, buf: &mut [u8]) -> impl Future<Output = io::Result<usize>> {
        Read::new(self, buf)
    }

    /// Fills `buf`, and returns its length.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if the stream ends before; else as [`read`](Self::read).
    ///
    /// # Cancel safety
    /// Not cancel safe: what was read so far is in `buf` and its length is lost.
    #[inline]
    pub fn read_exact(&mut self, buf: &mut [u8]) -> impl Future<Output = io::Result<usize>> {
        self.fill(buf)
    }

    /// Appends what is there to `buf`, as far as it can grow, waiting if nothing is. 0 is the end of the
    /// stream.
    ///
    /// A `buf` of your own kind must not use sockets in its `put_slice`: the stack is borrowed meanwhile, and calls fail.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    ///
    /// # Cancel safety
    /// Cancel safe: if another branch completes first, nothing was read.
    pub async fn read_buf(&mut self, buf: &mut impl BufMut) -> io::Result<usize> {
        poll_fn(|cx| self.poll_append(cx, buf)).await
    }

    /// Appends everything until the end of the stream to `buf`, and returns its length.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    ///
    /// # Cancel safety
    /// Nothing is lost, since what was read is in `buf`: keep it and call again.
    pub async fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        self.drain_to(buf).await
    }

    /// Reads what is there into one slice after the other, waiting if nothing is.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    ///
    /// # Cancel safety
    /// Cancel safe: if another branch completes first, nothing was read.
    pub async fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read_vectored(cx, bufs)).await
    }

    /// Takes what is there, at most `len_max` bytes of it and never more than one frame, without a copy. An
    /// empty lease is the end of the stream.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    ///
    /// # Cancel safety
    /// Cancel safe: if another branch completes first, nothing was taken.
    #[inline]
    pub fn read_lease(&mut self, len_max: usize) -> impl Future<Output = io::Result<Lease>> {
        ReadLease::new(self, len_max)
    }

    /// Looks at what is there without taking it, waiting if nothing is.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is taken.
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.handle.wait(Side::Read, |door, id, notify| door.tcp_peek(id, notify, buf)).await
    }

    /// Reads what is there.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if nothing is; else as [`read`](Self::read).
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        self.handle.attempt(|door, id, notify| door.tcp_read(id, notify, buf))
    }

    /// Reads what is there into one slice after the other.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if nothing is; else as [`read`](Self::read).
    pub fn try_read_vectored(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.handle.attempt(|door, id, notify| door.tcp_read_vectored(id, notify, bufs))
    }

    /// Appends what is there to `buf`, as far as it can grow. As in [`read_buf`](Self::read_buf), that must not use sockets.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if nothing is; else as [`read`](Self::read).
    pub fn try_read_buf(&self, buf: &mut impl BufMut) -> io::Result<usize> {
        let len_max = buf.remaining_mut().min(READ_LEN_MAX);
        if len_max == 0 {
            return Ok(0);
        }
        let mut sink = |bytes: &[u8]| buf.put_slice(bytes);
        self.handle.attempt(|door, id, notify| door.tcp_read_with(id, notify, len_max, &mut sink))
    }

    /// Takes what is there without a copy, as [`read_lease`](Self::read_lease).
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if nothing is; else as [`read`](Self::read).
    pub fn try_read_lease(&self, len_max: usize) -> io::Result<Lease> {
        if len_max == 0 {
            return Ok(Lease::default());
        }
        self.handle.attempt(|door, id, notify| door.tcp_lease(id, notify, len_max)).map(Lease::new)
    }

    /// The twin of [`read`](Self::read). Only the last task that called is woken.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    #[inline(always)]
    pub fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if self.handle.is_drained(cx.waker()) {
            return Poll::Pending;
        }
        self.handle.poll(|door, id| door.tcp_read(id, Notify::last(cx.waker()), buf))
    }

    /// The twin of [`read_vectored`](Self::read_vectored). Only the last task that called is woken.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn poll_read_vectored(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        self.handle.poll(|door, id| door.tcp_read_vectored(id, Notify::last(cx.waker()), bufs))
    }

    /// The twin of [`read_lease`](Self::read_lease). Only the last task that called is woken.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    #[inline(always)]
    pub fn poll_read_lease(&self, cx: &mut Context<'_>, len_max: usize) -> Poll<io::Result<Lease>> {
        if len_max == 0 {
            return Poll::Ready(Ok(Lease::default()));
        }
        if self.handle.is_drained(cx.waker()) {
            return Poll::Pending;
        }
        self.handle.poll(|door, id| door.tcp_lease(id, Notify::last(cx.waker()), len_max)).map_ok(Lease::new)
    }

    /// Shows what is there, at most `len_max` bytes in all, to `sink` where it lies, and takes it. For those
    /// who must fill foreign buffers with one copy. The stack is borrowed while `sink` runs: a socket call
    /// from inside it fails. Only the last task that called is woken.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn poll_read_with(
        &self,
        cx: &mut Context<'_>,
        len_max: usize,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Poll<io::Result<usize>> {
        if len_max == 0 {
            return Poll::Ready(Ok(0));
        }
        self.handle.poll(|door, id| door.tcp_read_with(id, Notify::last(cx.waker()), len_max, sink))
    }

    /// The twin of [`peek`](Self::peek). Only the last task that called is woken.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn poll_peek(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.handle.poll(|door, id| door.tcp_peek(id, Notify::last(cx.waker()), buf))
    }

    pub(super) fn poll_append(&self, cx: &mut Context<'_>, buf: &mut impl BufMut) -> Poll<io::Result<usize>> {
        let len_max = buf.remaining_mut().min(READ_LEN_MAX);
        self.poll_read_with(cx, len_max, &mut |bytes| buf.put_slice(bytes))
    }

    #[inline]
    pub(super) fn fill(&self, buf: &mut [u8]) -> impl Future<Output = io::Result<usize>> {
        ReadExact::new(self, buf)
    }

    pub(super) async fn drain_to(&self, buf: &mut Vec<u8>) -> io::Result<usize> {
        let before = buf.len();
        while poll_fn(|cx| self.poll_append(cx, buf)).await? > 0 {}
        Ok(buf.len() - before)
    }
}

/// Writing.
impl TcpStream {
    /// Queues as much of `buf` as there is room for, waiting if there is none, and returns how much that was.
    ///
    /// # Errors
    /// If the connection was reset, timed out or shut down, or is used on a foreign thread.
    ///
    /// # Cancel safety
    /// Cancel safe: if another branch completes first, nothing was queued.
    #[inline]
    pub fn write(&mut self, buf: &[u8]) -> impl Future<Output = io::Result<usize>> {
        Write::new(self, buf)
    }

    /// Queues all of `buf`, waiting for room as often as it takes.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    ///
    /// # Cancel safety
    /// Not cancel safe: a part may have been queued, and how much is lost.
    #[inline]
    pub fn write_all(&mut self, buf: &[u8]) -> impl Future<Output = io::Result<()>> {
        self.send_all(buf)
    }

    /// Queues what there is room for of one slice after the other, waiting if there is none.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    ///
    /// # Cancel safety
    /// Cancel safe: if another branch completes first, nothing was queued.
    pub async fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_write_vectored(cx, bufs)).await
    }

    /// Queues all of `bytes`, waiting for room as often as it takes. Up to 2 KiB are copied, more are held where they are until the
    /// peer has acknowledged them. Where a device cannot send from foreign memory, the stack copies.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    ///
    /// # Cancel safety
    /// Not cancel safe: a part may have been queued, and how much is lost. Whoever needs to know keeps the
    /// [`Payload`] and calls [`poll_write_owned`](Self::poll_write_owned).
    pub async fn write_owned(&mut self, bytes: impl Into<Payload>) -> io::Result<()> {
        self.send_owned(bytes.into()).await
    }

    /// Returns at once: what is written is on its way at the end of the turn, with no buffer in between.
    ///
    /// # Errors
    /// None so far. The signature is that of the traits.
    pub async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Queues what there is room for.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if there is none; else as [`write`](Self::write).
    pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        self.handle.attempt(|door, id, notify| door.tcp_write(id, notify, buf))
    }

    /// Queues what there is room for of one slice after the other.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if there is none; else as [`write`](Self::write).
    pub fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.handle.attempt(|door, id, notify| door.tcp_write_vectored(id, notify, bufs))
    }

    /// Takes what there is room for off the front of `bytes`: whole segments, if not all of it. Up to 2 KiB are copied, more are
    /// held where they are until the peer has acknowledged them.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if there is none; else as [`write`](Self::write).
    pub fn try_write_owned(&self, bytes: &mut Payload) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.handle.attempt(|door, id, notify| door.tcp_write_owned(id, notify, &mut bytes.0))
    }

    /// The twin of [`write`](Self::write). Only the last task that called is woken.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    #[inline(always)]
    pub fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.handle.poll(|door, id| door.tcp_write(id, Notify::last(cx.waker()), buf))
    }

    /// The twin of [`write_vectored`](Self::write_vectored). Only the last task that called is woken.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn poll_write_vectored(&self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.handle.poll(|door, id| door.tcp_write_vectored(id, Notify::last(cx.waker()), bufs))
    }

    /// The twin of [`try_write_owned`](Self::try_write_owned). Only the last task that called is woken.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn poll_write_owned(&self, cx: &mut Context<'_>, bytes: &mut Payload) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.handle.poll(|door, id| door.tcp_write_owned(id, Notify::last(cx.waker()), &mut bytes.0))
    }

    /// The twin of [`shutdown`](Self::shutdown).
    ///
    /// # Errors
    /// As [`shutdown`](Self::shutdown).
    pub fn poll_shutdown(&self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shut_down())
    }

    #[inline]
    pub(super) fn send_all(&self, buf: &[u8]) -> impl Future<Output = io::Result<()>> {
        WriteAll::new(self, buf)
    }

    pub(super) async fn send_owned(&self, mut bytes: Payload) -> io::Result<()> {
        while !bytes.is_empty() {
            poll_fn(|cx| self.poll_write_owned(cx, &mut bytes)).await?;
        }
        Ok(())
    }
}

/// Readiness.
impl TcpStream {
    /// Waits until a read would bring data, the end or an error.
    ///
    /// # Errors
    /// If the stream is used on a foreign thread.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is taken.
    pub async fn readable(&self) -> io::Result<()> {
        self.ready(Interest::READABLE).await.map(drop)
    }

    /// Waits until a write would get room or an error.
    ///
    /// # Errors
    /// If the stream is used on a foreign thread.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn writable(&self) -> io::Result<()> {
        self.ready(Interest::WRITABLE).await.map(drop)
    }

    /// Waits until the stream is ready for any of `interest`, and says for what.
    ///
    /// # Errors
    /// If the stream is used on a foreign thread.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        self.handle.ready(interest).await
    }

    /// Waits until the peer marks data as urgent, and says how many bytes there are to read up to its end; 0 if the
    /// peer will send no more. Urgent data is in the stream, among all other (RFC 9293 §3.8.5, RFC 6093).
    ///
    /// # Errors
    /// If the stream is used on a foreign thread; [`io::ErrorKind::Unsupported`] where its stack is the operating
    /// system's.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is taken.
    pub async fn urgent(&self) -> io::Result<usize> {
        self.handle.wait(Side::Read, |door, id, notify| door.tcp_poll_urgent(id, notify)).await
    }

    /// The twin of [`readable`](Self::readable). Only the last task that called is woken.
    ///
    /// # Errors
    /// As [`readable`](Self::readable).
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.handle.poll_ready(Side::Read, Notify::last(cx.waker())))?;
        Poll::Ready(Ok(()))
    }

    /// The twin of [`writable`](Self::writable). Only the last task that called is woken.
    ///
    /// # Errors
    /// As [`writable`](Self::writable).
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.handle.poll_ready(Side::Write, Notify::last(cx.waker())))?;
        Poll::Ready(Ok(()))
    }
}

/// Addresses, state and options. All of them fail on a foreign thread.
impl TcpStream {
    /// Our address.
    ///
    /// # Errors
    /// As all of these.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(scope::outward(self.handle.shard(), self.handle.call(|door, id| door.tcp_local_addr(id))?))
    }

    /// The peer's address.
    ///
    /// # Errors
    /// As all of these.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(scope::outward(self.handle.shard(), self.handle.call(|door, id| door.tcp_peer_addr(id))?))
    }

    /// The connection's state, by its name in RFC 9293.
    ///
    /// # Errors
    /// As all of these.
    pub fn state(&self) -> io::Result<State> {
        self.handle.call(|door, id| door.tcp_state(id))
    }

    /// Whether the peer has acknowledged everything that was written.
    ///
    /// # Errors
    /// If the connection is over and not everything was: what ended it, or [`io::ErrorKind::ConnectionReset`] if a call has
    /// reported that already. And as all of these.
    pub fn is_flushed(&self) -> io::Result<bool> {
        self.handle.call(|door, id| door.tcp_flushed(id))
    }

    /// Takes the error that the connection failed with, if it did and no call has reported it yet.
    ///
    /// # Errors
    /// As all of these.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.handle.call(|door, id| door.tcp_take_error(id))
    }

    /// Whether small segments are sent at once (Nagle's algorithm is off).
    ///
    /// # Errors
    /// As all of these.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.handle.call(|door, id| door.tcp_nodelay(id))
    }

    /// Sends small segments at once, or lets them wait for company while others are unacknowledged (Nagle's
    /// algorithm, the default).
    ///
    /// # Errors
    /// As all of these.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.handle.call(|door, id| door.tcp_set_nodelay(id, nodelay))
    }

    /// What becomes of undelivered data when the stream is dropped.
    ///
    /// # Errors
    /// As all of these.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        self.handle.call(|door, id| door.tcp_linger(id))
    }

    /// What becomes of undelivered data when the stream is dropped: `None` delivers it in the background for
    /// as long as it takes, zero resets the connection, another time resets it when that has passed. With received data unread, the
    /// connection is reset whatever was chosen. Dropping never blocks.
    ///
    /// # Errors
    /// As all of these.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.handle.call(|door, id| door.tcp_set_linger(id, linger))
    }

    /// Has dropping the stream reset the connection: as [`set_linger`](Self::set_linger) of zero, by tokio's name.
    ///
    /// # Errors
    /// As all of these.
    pub fn set_zero_linger(&self) -> io::Result<()> {
        self.set_linger(Some(Duration::ZERO))
    }

    /// Whether and how a silent peer is probed.
    ///
    /// # Errors
    /// As all of these.
    pub fn keepalive(&self) -> io::Result<Option<Keepalive>> {
        self.handle.call(|door, id| door.tcp_keepalive(id))
    }

    /// Probes a silent peer, or does not, which is the default.
    ///
    /// # Errors
    /// As all of these, and [`io::ErrorKind::InvalidInput`] if a time or the count is zero.
    pub fn set_keepalive(&self, keepalive: Option<Keepalive>) -> io::Result<()> {
        self.handle.call(|door, id| door.tcp_set_keepalive(id, keepalive))
    }

    /// How long what was written may stay unacknowledged.
    ///
    /// # Errors
    /// As all of these.
    pub fn user_timeout(&self) -> io::Result<Option<Duration>> {
        self.handle.call(|door, id| door.tcp_user_timeout(id))
    }

    /// How long what was written may stay unacknowledged, or unsent because the peer takes nothing, before the
    /// connection fails with [`io::ErrorKind::TimedOut`] (`TCP_USER_TIMEOUT`). `None`, the default, or zero: as long as
    /// [`Config::retries_max`](crate::stack::Config::retries_max) retransmissions take, a quarter of an hour, and a
    /// window may stay shut for ever. It is found out when a retransmission or a probe is due, and where keep-alive is
    /// on, it takes the place of its count.
    ///
    /// # Errors
    /// As all of these.
    pub fn set_user_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        self.handle.call(|door, id| door.tcp_set_user_timeout(id, limit))
    }

    /// How the connection is doing, as Linux's `TCP_INFO` tells it: round-trip time, windows, losses, rates. With the
    /// operating system's sockets it is what the system tells, in the same units.
    ///
    /// # Errors
    /// As all of these, and as those of [`congestion`](Self::congestion).
    pub fn info(&self) -> io::Result<TcpInfo> {
        self.handle.call(|door, id| door.tcp_info(id))
    }

    /// Who rules the congestion window.
    ///
    /// # Errors
    /// As all of these; [`io::ErrorKind::Unsupported`] if the operating system has given its socket an algorithm that
    /// [`Congestion`] does not name.
    pub fn congestion(&self) -> io::Result<Congestion> {
        self.handle.call(|door, id| door.tcp_congestion(id))
    }

    /// Chooses who rules the congestion window from now on. What was learned of the path is kept.
    ///
    /// # Errors
    /// As all of these; if the operating system, where the socket is its own, has no such algorithm or lets root alone
    /// choose it.
    pub fn set_congestion(&self, congestion: Congestion) -> io::Result<()> {
        self.handle.call(|door, id| door.tcp_set_congestion(id, congestion))
    }

    /// The hop limit of what is sent.
    ///
    /// # Errors
    /// As all of these.
    pub fn ttl(&self) -> io::Result<u32> {
        self.handle.call(|door, id| door.tcp_ttl(id)).map(u32::from)
    }

    /// Sets the hop limit of what is sent, 1 to 255.
    ///
    /// # Errors
    /// If it is out of range, and as all of these.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        let ttl = hop_limit(ttl)?;
        self.handle.call(|door, id| door.tcp_set_ttl(id, ttl))
    }

    /// The type of service of what is sent, which is the traffic class of IPv6.
    ///
    /// # Errors
    /// As all of these.
    pub fn tos(&self) -> io::Result<u8> {
        self.handle.call(|door, id| door.tcp_tos(id))
    }

    /// Sets the type of service of what is sent: DSCP in the upper six bits (RFC 2474). The lower two are ECN's and
    /// stay as they are.
    ///
    /// # Errors
    /// As all of these.
    pub fn set_tos(&self, tos: u8) -> io::Result<()> {
        self.handle.call(|door, id| door.tcp_set_tos(id, tos))
    }
}

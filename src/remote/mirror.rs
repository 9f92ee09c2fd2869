//! What the task thread knows of its sockets without asking.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::task::Poll;

use hayase_stack::{EchoReply, Error, Ready};

use super::chunk::Chunk;
use super::message::{Accepted, Addresses, Datagram, Unsent};
use super::{DATAGRAMS_MAX, LARGE_LEN, RECEIVE_MAX, RECEIVE_MIN, SEND_COST_MIN, SEND_MAX, cost};
use crate::error::io_error;

/// Chunks for which a connection keeps places although nothing waits: as many as [`RECEIVE_MIN`] bytes have.
const PLACES_MAX: usize = RECEIVE_MIN as usize / size_of::<Chunk>();

/// A connection.
#[derive(Debug)]
pub(super) struct Tcp {
    /// What came in and was not read.
    unread: VecDeque<Chunk>,
    /// Bytes that have been read, and how many of them the stack knows of.
    read_total: u64,
    told_total: u64,
    /// Where what the peer marked as urgent ends, counted as those.
    urgent_end: u64,
    /// Bytes that may be written.
    credit: usize,
    /// The handshake is not over.
    pub(super) connecting: bool,
    pub(super) ended: bool,
    pub(super) write_closed: bool,
    /// We have said that no more follows.
    shut_down: bool,
    /// There was an error, and the stack has nothing left to shut down.
    failed: bool,
    /// The error, until somebody is told.
    error: Option<io::Error>,
    pub(super) addresses: Option<Addresses>,
}

impl Tcp {
    pub(super) fn new(connecting: bool, addresses: Option<Addresses>) -> Tcp {
        Tcp {
            unread: VecDeque::new(),
            read_total: 0,
            told_total: 0,
            urgent_end: 0,
            credit: SEND_MAX,
            connecting,
            ended: false,
            write_closed: false,
            shut_down: false,
            failed: false,
            error: None,
            addresses,
        }
    }

    /// As it arrives at another stack, which counts anew, and tells anew how the connection ended.
    pub(super) fn moved(self, credit: usize) -> Tcp {
        let urgent_end = self.urgent_len();
        let Tcp { unread, shut_down, addresses, .. } = self;
        Tcp { unread, urgent_end, credit, shut_down, ..Tcp::new(false, addresses) }
    }

    /// Bytes that wait for their reader.
    pub(super) fn unread_len(&self) -> u64 {
        self.unread.iter().map(|chunk| chunk.len() as u64).sum()
    }

    /// Takes what came in. What is small and has to wait behind others goes where that takes no more memory than it is worth:
    /// a peer chooses how small, and a reader how long.
    #[inline]
    pub(super) fn push(&mut self, chunk: Chunk) {
        if self.unread.is_empty() || chunk.len() >= LARGE_LEN {
            self.unread.push_back(chunk);
        } else {
            self.push_small(&chunk);
        }
    }

    /// The first is left alone: it is where it came, and a part of it may have been read.
    fn push_small(&mut self, chunk: &[u8]) {
        let has_last = self.unread.len() > 1;
        let appended = self.unread.back_mut().is_some_and(|last| has_last && last.append(chunk));
        if !appended {
            self.unread.push_back(Chunk::keep(chunk));
        }
    }

    pub(super) fn fail(&mut self, error: io::Error) {
        self.error = Some(error);
        (self.failed, self.connecting, self.ended, self.write_closed) = (true, false, true, true);
    }

    /// How many bytes the stack should be told have been read, once that is worth a message.
    ///
    /// A reader that has nothing left may have nothing more to say, and so leaves less untold than it gets where all are
    /// held short: or everybody would wait for ever, the stack to be told and the reader for bytes.
    #[inline]
    pub(super) fn news(&mut self) -> Option<u64> {
        let is_empty = self.unread.is_empty();
        if is_empty && self.unread.capacity() > PLACES_MAX {
            self.unread = VecDeque::new();
        }
        let worth = if is_empty { RECEIVE_MIN / 2 } else { RECEIVE_MAX / 4 };
        if self.read_total - self.told_total < worth {
            return None;
        }
        self.told_total = self.read_total;
        Some(self.read_total)
    }

    /// Whether more has been read than the stack knows of.
    pub(super) fn has_untold(&self) -> bool {
        self.read_total > self.told_total
    }

    pub(super) fn read_total(&self) -> u64 {
        self.read_total
    }

    /// What there is to read, the end, or the error that ended it. As the stack's own order.
    #[inline]
    pub(super) fn read<T>(&mut self, end: T, read: impl FnOnce(&mut Unread<'_>) -> T) -> Poll<io::Result<T>> {
        if self.unread.is_empty() {
            return self.end(end);
        }
        Poll::Ready(Ok(read(&mut Unread { chunks: &mut self.unread, total: &mut self.read_total })))
    }

    fn end<T>(&mut self, end: T) -> Poll<io::Result<T>> {
        match self.error.take() {
            Some(error) => Poll::Ready(Err(error)),
            None if self.ended => Poll::Ready(Ok(end)),
            None => Poll::Pending,
        }
    }

    /// Copies what there is, without taking it.
    pub(super) fn peek(&mut self, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.unread.is_empty() {
            return self.end(0);
        }
        let mut filled = 0;
        for chunk in &self.unread {
            if filled == buf.len() {
                break;
            }
            filled += copy(chunk, &mut buf[filled..]);
        }
        Poll::Ready(Ok(filled))
    }

    /// How many of `len` bytes may be written now, which are then paid for.
    #[inline]
    pub(super) fn pay(&mut self, len: usize) -> Poll<io::Result<usize>> {
        if let Some(error) = self.error.take() {
            return Poll::Ready(Err(error));
        }
        if self.shut_down || self.write_closed {
            return Poll::Ready(Err(io_error(Error::BrokenPipe)));
        }
        if self.connecting || self.credit < SEND_COST_MIN {
            return Poll::Pending;
        }
        let len = len.min(self.credit);
        self.credit -= cost(len);
        Poll::Ready(Ok(len))
    }

    pub(super) fn earn(&mut self, credit: u32) {
        self.credit += credit as usize;
    }

    pub(super) fn mark_urgent(&mut self, end: u64) {
        self.urgent_end = self.urgent_end.max(end);
    }

    /// Bytes to the end of what is urgent.
    fn urgent_len(&self) -> u64 {
        self.urgent_end.saturating_sub(self.read_total)
    }

    pub(super) fn poll_urgent(&self) -> Poll<io::Result<usize>> {
        match self.urgent_len() {
            0 if !self.ended => Poll::Pending,
            len => Poll::Ready(Ok(len as usize)),
        }
    }

    /// Whether no more follows.
    pub(super) fn is_shut_down(&self) -> bool {
        self.shut_down
    }

    /// No more follows. Returns whether the stack has to know. What ended a connection is for those who read and write: after
    /// it there is nothing to shut down.
    pub(super) fn shut_down(&mut self) -> bool {
        self.shut_down = true;
        !self.failed
    }

    pub(super) fn poll_connect(&mut self) -> Poll<io::Result<()>> {
        match self.error.take() {
            Some(error) => Poll::Ready(Err(error)),
            None if self.failed => Poll::Ready(Err(io_error(Error::ConnectionReset))),
            None if self.connecting => Poll::Pending,
            None => Poll::Ready(Ok(())),
        }
    }

    pub(super) fn take_error(&mut self) -> Option<io::Error> {
        self.error.take()
    }

    pub(super) fn ready(&self) -> Ready {
        let mut ready = Ready::EMPTY;
        if !self.unread.is_empty() {
            ready |= Ready::READABLE;
        }
        if self.ended {
            ready |= Ready::READABLE | Ready::READ_CLOSED;
        }
        if self.write_closed || self.shut_down {
            ready |= Ready::WRITABLE | Ready::WRITE_CLOSED;
        } else if !self.connecting && self.credit >= SEND_COST_MIN {
            ready |= Ready::WRITABLE;
        }
        if self.urgent_len() > 0 {
            ready |= Ready::PRIORITY;
        }
        if self.error.is_some() {
            ready |= Ready::ERROR;
        }
        ready
    }
}

/// Received bytes, at least one of them.
pub(super) struct Unread<'a> {
    chunks: &'a mut VecDeque<Chunk>,
    total: &'a mut u64,
}

impl Unread<'_> {
    /// Fills `buf` as far as the bytes go.
    #[inline]
    pub(super) fn read(&mut self, buf: &mut [u8]) -> usize {
        let mut filled = 0;
        while filled < buf.len()
            && let Some(chunk) = self.chunks.front_mut()
        {
            let len = copy(chunk, &mut buf[filled..]);
            filled += len;
            if len == chunk.len() {
                self.chunks.pop_front();
            } else {
                chunk.advance(len);
            }
        }
        *self.total += filled as u64;
        filled
    }

    /// Takes the first bytes that lie together, at most `len_max`.
    pub(super) fn take(&mut self, len_max: usize) -> Option<Chunk> {
        let front = self.chunks.front_mut()?;
        let taken = if front.len() > len_max { front.split_to(len_max) } else { self.chunks.pop_front()? };
        *self.total += taken.len() as u64;
        Some(taken)
    }
}

fn copy(chunk: &Chunk, buf: &mut [u8]) -> usize {
    let len = chunk.len().min(buf.len());
    buf[..len].copy_from_slice(&chunk[..len]);
    len
}

/// A listener.
#[derive(Debug, Default)]
pub(super) struct Listener {
    /// Connections, and why there was none.
    pub(super) accepted: VecDeque<io::Result<Box<Accepted>>>,
}

/// A UDP socket.
#[derive(Debug, Default)]
pub(super) struct Udp {
    pub(super) unread: VecDeque<Datagram>,
    /// Datagrams that were handed to the stack and not sent yet.
    pub(super) sending: usize,
    /// What it was bound to.
    pub(super) local: Option<SocketAddr>,
    pub(super) peer: Option<SocketAddr>,
    /// An ICMP error, for whoever asks next.
    pub(super) error: Option<io::Error>,
    /// For whoever sends there next.
    pub(super) unsent: Option<Unsent>,
}

impl Udp {
    pub(super) fn ready(&self) -> Ready {
        let mut ready = Ready::EMPTY;
        if !self.unread.is_empty() {
            ready |= Ready::READABLE;
        }
        if self.sending < DATAGRAMS_MAX {
            ready |= Ready::WRITABLE;
        }
        if self.error.is_some() {
            ready |= Ready::READABLE | Ready::WRITABLE | Ready::ERROR;
        }
        ready
    }

    /// The next datagram.
    pub(super) fn next(&self) -> Poll<&Datagram> {
        self.unread.front().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Datagram {
    /// Copies as much as fits. What does not is lost, as in all of UDP.
    pub(super) fn copy_to(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let len = self.bytes.len().min(buf.len());
        buf[..len].copy_from_slice(&self.bytes[..len]);
        let peer = self.peer.ok_or_else(|| io_error(Error::NotConnected))?;
        Ok((len, peer))
    }
}

/// An echo socket.
#[derive(Debug, Default)]
pub(super) struct Echo {
    pub(super) replies: VecDeque<io::Result<Box<EchoReply>>>,
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::remote::chunk::INLINE_LEN;

    fn read(tcp: &mut Tcp, len: usize) -> Option<u64> {
        let mut buf = vec![0; len];
        let read = tcp.read(0, |unread| unread.read(&mut buf));
        assert!(matches!(read, Poll::Ready(Ok(read)) if read == len));
        tcp.news()
    }

    #[test]
    fn a_reader_that_is_held_short_is_never_left_without_room() {
        let mut tcp = Tcp::new(false, None);
        for (round, told) in [(1, None), (2, Some(2048)), (3, None), (4, Some(4096))] {
            tcp.push(Chunk::Shared(vec![0; 1024].into()));
            assert_eq!(read(&mut tcp, 1024), told, "after {round} KiB");
        }
    }

    #[test]
    fn while_there_is_something_to_read_it_takes_more_to_tell() {
        let mut tcp = Tcp::new(false, None);
        tcp.push(Chunk::Shared(vec![0; 128 * 1024].into()));
        assert_eq!(read(&mut tcp, 60 * 1024), None);
        assert_eq!(read(&mut tcp, 4 * 1024), Some(64 * 1024));
        assert_eq!(read(&mut tcp, 63 * 1024), None);
        assert_eq!(read(&mut tcp, 1024), Some(128 * 1024));
    }

    /// What lies in memory that it alone keeps, and the places.
    fn memory_len(tcp: &Tcp) -> usize {
        let kept = |chunk: &Chunk| match chunk {
            Chunk::Kept(bytes) => bytes.capacity(),
            Chunk::Shared(bytes) => bytes.len(),
            Chunk::Inline { .. } => 0,
        };
        tcp.unread.iter().map(kept).sum::<usize>() + tcp.unread.capacity() * size_of::<Chunk>()
    }

    /// A peer chooses the pieces, and the reader need not read.
    #[test]
    fn unread_bytes_take_twice_their_number_however_small_they_come() {
        for lens in [&[1][..], &[30], &[54], &[53, 54], &[1, 2048], &[2047], &[2047, 2048, 1]] {
            let (mut tcp, mut sent) = (Tcp::new(false, None), Vec::new());
            for len in lens.iter().cycle() {
                let bytes: Vec<u8> = (sent.len()..sent.len() + len).map(|at| (at % 251) as u8).collect();
                sent.extend_from_slice(&bytes);
                tcp.push(Chunk::copy(&bytes, Bytes::copy_from_slice));
                if sent.len() > RECEIVE_MAX as usize {
                    break;
                }
            }
            let taken = memory_len(&tcp);
            assert!(taken <= 2 * sent.len() + RECEIVE_MIN as usize, "{taken} bytes for pieces of {lens:?}");
            let mut received = vec![0; sent.len()];
            assert!(matches!(tcp.peek(&mut received), Poll::Ready(Ok(len)) if len == sent.len()));
            assert!(received == sent, "peeked, of pieces of {lens:?}");
            received.fill(0);
            read(&mut tcp, 10);
            let rest = tcp.read(0, |unread| unread.read(&mut received[10..]));
            assert!(matches!(rest, Poll::Ready(Ok(len)) if len == sent.len() - 10));
            assert!(received[10..] == sent[10..], "read, of pieces of {lens:?}");
            tcp.news();
            assert!(memory_len(&tcp) <= RECEIVE_MIN as usize, "nothing is left of pieces of {lens:?}");
        }
    }

    #[test]
    fn few_bytes_that_wait_keep_nothing_but_themselves() {
        let mut tcp = Tcp::new(false, None);
        let shared = Bytes::from(vec![7; 1000]);
        tcp.push(Chunk::Inline { start: 0, end: 1, bytes: [0; INLINE_LEN] });
        for len in [1, 54, 500] {
            tcp.push(Chunk::Shared(shared.slice(..len)));
        }
        assert!(shared.is_unique(), "what was shared is kept");
        read(&mut tcp, 556);
    }

    #[test]
    fn leases_of_what_was_put_together_go_to_its_end() {
        let mut tcp = Tcp::new(false, None);
        for number in 0..200 {
            tcp.push(Chunk::Inline { start: 0, end: 1, bytes: [number; INLINE_LEN] });
        }
        let mut leased = Vec::new();
        while let Poll::Ready(Ok(Some(chunk))) = tcp.read(None, |unread| unread.take(60)) {
            leased.extend_from_slice(&chunk.into_bytes());
        }
        assert!(leased.iter().copied().eq(0..200));
    }
}

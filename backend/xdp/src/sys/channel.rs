//! A socket with its four rings, and what the kernel has of ours through them.
//!
//! Here is kept what makes the memory safe: while a chunk is lent to receive, no handle on it is anywhere else.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use super::ring::Descriptor;
use super::socket::{self, Endpoint, Statistics};
use crate::pool::Chunk;

/// More fragments of the same packet follow.
const CONTINUED: u32 = libc::XDP_PKT_CONTD;

/// There is a request in front of the packet.
const HAS_METADATA: u32 = libc::XDP_TX_METADATA;

/// How often the kernel is asked to go on sending, at most: it stops after 32 packets each time, and a ring holds
/// no more than these.
const KICKS_MAX: usize = 256;

/// What became of the frames that were given to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kicked {
    /// It has them all, or takes them by itself.
    Taken,
    /// It took some, and has no memory or queue for the rest just now.
    Slow,
    /// It has no memory or queue just now.
    Stuck,
    /// The interface is down.
    Down,
    /// The interface is gone.
    Gone,
}

/// A chunk that the kernel has, or none.
#[derive(Debug, Default)]
struct Loan {
    chunk: Option<Rc<Chunk>>,
    /// How many transmissions hold it; 0 while it is lent to receive.
    sends: u32,
}

/// A packet, or a fragment of one, that has arrived.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) chunk: Rc<Chunk>,
    pub(crate) start: u32,
    pub(crate) len: u32,
    pub(crate) continued: bool,
}

/// One queue of an interface, on its core.
#[derive(Debug)]
pub(crate) struct Channel {
    endpoint: Endpoint,
    loans: Box<[Loan]>,
    /// Address of the first chunk, and the length of each.
    base: u64,
    chunk_shift: u32,
    lent_count: usize,
    lent_max: usize,
    /// Descriptors that are queued or sent, and not completed yet.
    sending_count: u32,
    /// Whether the driver has been told of what is in the fill ring since something was put there.
    is_told: bool,
    /// Packets that the kernel took and threw away.
    pub(crate) lost: u64,
    /// Descriptors of the kernel that made no sense.
    pub(crate) strange: u64,
}

impl Channel {
    /// A channel for chunks of such a [layout](super::Part::layout).
    pub(crate) fn new(
        endpoint: Endpoint,
        (base, chunk_len, count): (u64, usize, usize),
        lent_max: usize,
    ) -> Channel {
        let loans = std::iter::repeat_with(Loan::default).take(count).collect();
        Channel {
            lent_max: lent_max.min(endpoint.lens.fill as usize),
            endpoint,
            loans,
            base,
            chunk_shift: chunk_len.trailing_zeros(),
            lent_count: 0,
            sending_count: 0,
            is_told: false,
            lost: 0,
            strange: 0,
        }
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.endpoint.socket.as_fd()
    }

    /// How many chunks wait for packets.
    #[inline]
    pub(crate) fn lent_count(&self) -> usize {
        self.lent_count
    }

    /// Lends chunks from `take` to receive into, as far as it gives any and the kernel is short of them.
    #[inline]
    pub(crate) fn lend(&mut self, mut take: impl FnMut() -> Option<Rc<Chunk>>) {
        let wanted = self.lent_max - self.lent_count;
        if wanted == 0 {
            return self.tell_once();
        }
        let room = (self.endpoint.fill.room() as usize).min(wanted);
        for _ in 0..room {
            let Some(chunk) = take() else { break };
            self.lend_one(chunk);
        }
        if self.endpoint.fill.has_unpublished() {
            self.is_told = self.endpoint.fill.publish();
            if self.is_told {
                socket::wake_receive(self.socket());
            }
        }
    }

    /// A driver that found the ring empty just before we filled it may have asked to be woken just after we looked. With nothing
    /// to receive into it receives nothing, so that there would be no other occasion.
    #[inline]
    fn tell_once(&mut self) {
        if !self.is_told && self.endpoint.fill.wants_wake() {
            self.is_told = true;
            socket::wake_receive(self.socket());
        }
    }

    #[inline]
    fn lend_one(&mut self, mut chunk: Rc<Chunk>) {
        let index = self.index_of(chunk.memory.address());
        // From now on the kernel writes: nobody may look.
        if Rc::get_mut(&mut chunk).is_none() || self.loans[index].chunk.is_some() {
            self.strange += 1;
            return;
        }
        self.endpoint.fill.push(chunk.memory.address());
        self.loans[index].chunk = Some(chunk);
        self.lent_count += 1;
    }

    /// Whether nothing has arrived.
    #[inline]
    pub(crate) fn is_quiet(&self) -> bool {
        self.endpoint.receive.is_empty()
    }

    /// Takes the next packet, or fragment of one, that has arrived.
    #[inline]
    pub(crate) fn receive(&mut self) -> Option<Arrival> {
        while let Some(descriptor) = self.endpoint.receive.pop() {
            if let Some(arrival) = self.accept(descriptor) {
                return Some(arrival);
            }
            self.strange += 1;
        }
        None
    }

    #[inline]
    fn accept(&mut self, descriptor: Descriptor) -> Option<Arrival> {
        let loan = self.loans.get_mut(index(self.base, self.chunk_shift, descriptor.address))?;
        let chunk = loan.chunk.take_if(|_| loan.sends == 0)?;
        self.lent_count -= 1;
        let start = (descriptor.address - chunk.memory.address()) as u32;
        let fits = descriptor.len <= chunk.memory.len() - start;
        let continued = descriptor.options & CONTINUED != 0;
        fits.then_some(Arrival { chunk, start, len: descriptor.len, continued })
    }

    /// Lets the kernel have the slots of what was received.
    #[inline]
    pub(crate) fn release(&self) {
        self.endpoint.receive.release();
    }

    /// Fragments that the transmit queue takes now.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        self.endpoint.transmit.room() as usize
    }

    /// Queues bytes of a chunk. There must be [`room`](Self::room).
    #[inline]
    pub(crate) fn transmit(
        &mut self,
        chunk: &Rc<Chunk>,
        start: u32,
        len: u32,
        requests: bool,
        continued: bool,
    ) {
        let address = chunk.memory.address() + u64::from(start);
        let Some(loan) = self.loans.get_mut(index(self.base, self.chunk_shift, address)) else { return };
        if loan.sends == 0 {
            // A chunk of another pool would put out the one that the kernel has.
            if loan.chunk.is_some() {
                self.strange += 1;
                return;
            }
            loan.chunk = Some(Rc::clone(chunk));
        }
        loan.sends += 1;
        self.sending_count += 1;
        let options = if requests { HAS_METADATA } else { 0 } | if continued { CONTINUED } else { 0 };
        self.endpoint.transmit.push(Descriptor { address, len, options });
    }

    /// Whether something is queued that the kernel was not told of.
    #[inline]
    pub(crate) fn has_unpublished(&self) -> bool {
        self.endpoint.transmit.has_unpublished()
    }

    /// Makes the kernel send what is queued.
    #[inline]
    pub(crate) fn kick(&mut self) -> Kicked {
        if self.endpoint.transmit.has_unpublished() {
            self.endpoint.transmit.publish();
        }
        // Also where all of it has come back: the kernel says what it has thrown away with its next answer only.
        if self.endpoint.transmit.waiting() == 0 || !self.endpoint.transmit.wants_wake() {
            return Kicked::Taken;
        }
        kick_until_taken(self.endpoint.transmit.waiting(), || {
            let answer = socket::wake_transmit(self.socket());
            // One that the interface did not take, for want of a carrier or of room in its queue, and that is gone.
            self.lost += u64::from(is_busy(&answer));
            self.complete();
            (answer, self.endpoint.transmit.waiting())
        })
    }

    /// Takes back what the kernel has sent.
    #[inline]
    pub(crate) fn complete(&mut self) {
        if self.sending_count == 0 {
            return;
        }
        let mut any = false;
        while let Some(address) = self.endpoint.completion.pop() {
            any = true;
            self.complete_one(address);
        }
        if any {
            self.endpoint.completion.release();
        }
    }

    #[inline]
    fn complete_one(&mut self, address: u64) {
        match self.loans.get_mut(index(self.base, self.chunk_shift, address)) {
            Some(loan) if loan.sends > 0 => {
                loan.sends -= 1;
                self.sending_count -= 1;
                if loan.sends == 0
                    && let Some(chunk) = loan.chunk.take()
                {
                    Chunk::release(chunk);
                }
            }
            _ => self.strange += 1,
        }
    }

    /// What the kernel counted.
    pub(crate) fn statistics(&self) -> Statistics {
        socket::statistics(self.socket())
    }

    /// What is wrong with the socket: an interface that is gone.
    pub(crate) fn take_error(&self) -> Option<io::Error> {
        socket::take_error(self.socket())
    }

    #[inline]
    fn index_of(&self, address: u64) -> usize {
        index(self.base, self.chunk_shift, address)
    }
}

/// Asks the kernel to send `waiting` packets, until it has them or takes none: in copy mode it is our own call that sends,
/// 32 packets each time. `ask` returns the answer, and how many wait after it.
fn kick_until_taken(waiting: u32, mut ask: impl FnMut() -> (io::Result<()>, u32)) -> Kicked {
    let mut before = waiting;
    for _ in 0..KICKS_MAX {
        let (answer, left) = ask();
        match answer.map_err(|error| error.raw_os_error()) {
            _ if left == 0 => return Kicked::Taken,
            Err(Some(libc::ENETDOWN)) => return Kicked::Down,
            Err(Some(libc::ENXIO | libc::ENODEV)) => return Kicked::Gone,
            _ if left == before => break,
            _ => before = left,
        }
    }
    if before == waiting { Kicked::Stuck } else { Kicked::Slow }
}

fn is_busy(answer: &io::Result<()>) -> bool {
    answer.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY))
}

/// Which chunk of ours an address is in; an index beyond all of them if it is in none.
#[inline]
fn index(base: u64, chunk_shift: u32, address: u64) -> usize {
    (address.wrapping_sub(base) >> chunk_shift) as usize
}

#[cfg(test)]
mod unit {
    use super::*;

    /// How it ends with a kernel that takes so many of 100 packets each time, and how often it is asked.
    fn kicked(takes: &[u32], answer: i32) -> (Kicked, usize) {
        let (mut waiting, mut asked) = (100, 0);
        let outcome = kick_until_taken(waiting, || {
            waiting -= takes.get(asked).copied().unwrap_or(0);
            asked += 1;
            (Err(io::Error::from_raw_os_error(answer)), waiting)
        });
        (outcome, asked)
    }

    #[test]
    fn a_kernel_is_asked_for_as_long_as_it_takes_some() {
        assert_eq!(kicked(&[32, 32, 32, 4], libc::EAGAIN), (Kicked::Taken, 4));
        assert_eq!(kicked(&[32, 1], libc::EAGAIN), (Kicked::Slow, 3));
        for shortage in [libc::EAGAIN, libc::ENOBUFS, libc::EBUSY] {
            assert_eq!(kicked(&[], shortage), (Kicked::Stuck, 1));
        }
        assert_eq!(kicked(&[], libc::ENETDOWN), (Kicked::Down, 1));
        assert_eq!(kicked(&[], libc::ENXIO), (Kicked::Gone, 1));
    }
}

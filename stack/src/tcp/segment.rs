//! A received segment on its way through the checks of RFC 9293 §3.10.7, and what can come of it.

use hayase_device::Frame;

use super::flow::Tuple;
use crate::chain;
use crate::counters::Drop;
use crate::seq::Seq;
use crate::wire::tcp::{Flags, Options, TcpHeader};

/// A received segment. Checks trim it to what is new and within the window.
#[derive(Debug)]
pub(super) struct Segment<'h, F> {
    /// The header as it came. Sequence number and flags follow what the checks cut off, and stand below.
    pub(super) header: &'h TcpHeader,
    /// SEG.SEQ
    pub(super) seq: Seq,
    pub(super) flags: Flags,
    pub(super) payload: Option<F>,
    /// Length of the payload in bytes.
    pub(super) len: u32,
}

impl<'h, F: Frame> Segment<'h, F> {
    #[inline(always)]
    pub(super) fn new(header: &'h TcpHeader, payload: F) -> Segment<'h, F> {
        let len = payload.total_len() as u32;
        let payload = (len > 0).then_some(payload);
        Segment { header, seq: header.seq, flags: header.flags, payload, len }
    }

    #[inline]
    pub(super) fn has(&self, flag: Flags) -> bool {
        self.flags.contains(flag)
    }

    /// SEG.LEN: the payload and the places of SYN and FIN.
    #[inline]
    pub(super) fn sequence_len(&self) -> u32 {
        self.len + u32::from(self.has(Flags::SYN)) + u32::from(self.has(Flags::FIN))
    }

    /// Sequence number behind the payload: where a FIN stands.
    #[inline]
    pub(super) fn text_end(&self) -> Seq {
        self.seq + self.len
    }

    /// Takes `len` bytes of payload off the front.
    pub(super) fn trim_front(&mut self, len: u32) {
        let len = len.min(self.len);
        self.payload = self.payload.take().and_then(|payload| chain::trim_front(payload, len as usize));
        self.seq += len;
        self.len -= len;
    }

    /// Keeps `len` bytes of payload; what is cut off takes the FIN with it.
    pub(super) fn truncate(&mut self, len: u32) {
        if len == 0 {
            self.payload = None;
        } else if let Some(payload) = &mut self.payload {
            chain::truncate(payload, len as usize);
        }
        self.len = len;
        self.flags = Flags(self.flags.0 & !Flags::FIN.0);
    }
}

/// Why the checks ended early.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stop {
    /// The segment is thrown away. What the peer is owed is noted in the connection.
    Drop(Drop),
    /// The segment is answered by a reset.
    Reset(Reset),
}

/// A reset, before it is a segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reset {
    pub(super) tuple: Tuple,
    pub(super) seq: Seq,
    pub(super) ack: Option<Seq>,
}

impl From<Reset> for Reply {
    fn from(Reset { tuple, seq, ack }: Reset) -> Reply {
        Reply::reset(tuple, seq, ack)
    }
}

/// A segment without data that belongs to no connection's queue: a reset, TIME_WAIT's answer, or a SYN-ACK of which
/// nothing is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reply {
    pub(super) tuple: Tuple,
    pub(super) seq: Seq,
    pub(super) ack: Option<Seq>,
    pub(super) flags: Flags,
    pub(super) window: u16,
    /// The type of service.
    pub(super) tos: u8,
    pub(super) options: Options,
}

impl Reply {
    /// A reset that fits what the peer expects (RFC 9293 §3.5.2).
    pub(super) fn reset(tuple: Tuple, seq: Seq, ack: Option<Seq>) -> Reply {
        Reply { tuple, seq, ack, flags: Flags::RST, window: 0, tos: 0, options: Options::default() }
    }

    /// The answer to a segment for which there is no connection (RFC 9293 §3.10.7.1). None to a reset.
    pub(super) fn to_nobody<F: Frame>(tuple: Tuple, segment: &Segment<'_, F>) -> Option<Reply> {
        if segment.has(Flags::RST) {
            return None;
        }
        Some(if segment.has(Flags::ACK) {
            Reply::reset(tuple, segment.header.ack, None)
        } else {
            Reply::reset(tuple, Seq(0), Some(segment.seq + segment.sequence_len()))
        })
    }
}

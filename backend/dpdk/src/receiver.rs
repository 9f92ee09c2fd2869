//! The way in: bursts of the driver, finished to what is in force.
//!
//! A driver cannot change what it offers while it runs. What was agreed on with the other end of a virtual link and is
//! then switched off here goes on arriving (unfinished checksums, uncut super-segments), and is completed in software.

use std::cell::RefCell;

use hayase_device::headers::{Headers, TCP, TCP_CHECKSUM_OFFSET, UDP, UDP_CHECKSUM_OFFSET};
use hayase_device::segment::{OffloadError, PieceChecksum, fill_checksum, segment};
use hayase_device::{Burst, Frame, FrameQueue, Offloads, RxChecksum, RxMeta, TxChecksum, TxSegmentation};

use crate::driver::Kind;
use crate::port::{Pools, Seat};
use crate::sys::port::{BURST_MAX, Lane};
use crate::sys::{DpdkFrame, Segment};

/// Takes frames from the driver.
#[derive(Debug)]
pub(crate) struct Receiver {
    /// What a look at the queue brought that nobody took yet.
    stash: RefCell<Vec<Segment>>,
    /// Frames that are finished and found no room.
    ready: FrameQueue<DpdkFrame>,
    /// Frames that there was no buffer to finish in.
    pub(crate) no_buffer: u64,
    /// Frames that could not be finished.
    pub(crate) errors: u64,
}

impl Receiver {
    pub(crate) fn new() -> Receiver {
        Receiver {
            stash: RefCell::new(Vec::with_capacity(BURST_MAX)),
            ready: FrameQueue::default(),
            no_buffer: 0,
            errors: 0,
        }
    }

    /// Whether something has arrived. Looking means taking it from the driver: few drivers can tell otherwise.
    pub(crate) fn is_waiting(&self, lane: &Lane) -> bool {
        let stash = &mut *self.stash.borrow_mut();
        !self.ready.is_empty() || !stash.is_empty() || lane.receive(BURST_MAX, stash) > 0
    }

    /// Fills the burst; returns how many frames that were. It takes no more from the driver than would fit: so a flood of frames
    /// that are dropped ends as well.
    pub(crate) fn receive(&mut self, burst: &mut Burst<DpdkFrame>, seat: &Seat, in_force: Offloads) -> usize {
        let before = burst.len();
        if !self.ready.is_empty() {
            burst.take_from(&mut self.ready);
        }
        let (mut left, mut is_more) = (burst.room(), true);
        while left.min(burst.room()) > 0 && is_more {
            let mut stash = self.stash.take();
            if stash.is_empty() {
                let wanted = left.min(burst.room()).min(BURST_MAX);
                is_more = seat.lane.receive(wanted, &mut stash) == wanted;
            }
            let count = left.min(burst.room()).min(stash.len());
            left -= count;
            for segment in stash.drain(..count) {
                self.take(segment, seat, in_force);
            }
            burst.take_from(&mut self.ready);
            // What is left of the stash, and its memory.
            self.stash.replace(stash);
        }
        burst.len() - before
    }

    #[inline]
    fn take(&mut self, segment: Segment, seat: &Seat, in_force: Offloads) {
        if !segment.is_a_packet() {
            self.errors += 1;
            return;
        }
        let findings = segment.findings();
        let wants_verdict = in_force.contains(Offloads::RX_CHECKSUM);
        let mut frame = segment.into_frame();
        // A guest may send a datagram longer than its MTU, too: that is one packet.
        let is_super = findings.segment_len > 0 && is_tcp(&frame);
        let mut meta = RxMeta {
            checksum: if wants_verdict { findings.checksum } else { RxChecksum::Unverified },
            segment_len: if is_super { findings.segment_len } else { 0 },
            flow_hash: findings.flow_hash,
        };
        if is_super && !in_force.contains(Offloads::LRO) {
            meta.segment_len = 0;
            return self.cut(&frame, findings.segment_len, meta, seat.pools());
        }
        if findings.is_partial {
            if !wants_verdict {
                return self.fill(frame, meta, seat.pools());
            }
            meta.checksum = RxChecksum::Verified;
            if is_super && seat.port.kind == Kind::Virtio {
                restore_pseudo_header(&mut frame);
            }
        }
        self.ready.push_back(frame, meta);
    }

    /// Cuts a super-frame that nobody here wants whole.
    #[cold]
    fn cut(&mut self, frame: &DpdkFrame, segment_len: u16, mut meta: RxMeta, pools: &Pools) {
        let Some(request) = segmentation(frame, segment_len) else {
            self.errors += 1;
            return;
        };
        meta.checksum = RxChecksum::Unverified;
        let ready = &mut self.ready;
        let emit = |piece| ready.push_back(piece, meta);
        match segment(frame, request, PieceChecksum::Complete, |len| pools.alloc(len), emit) {
            Ok(_) => {}
            Err(OffloadError::NoBuffer) => self.no_buffer += 1,
            Err(OffloadError::Malformed) => self.errors += 1,
        }
    }

    /// Fills in a checksum that the sender left open and nobody here vouches for.
    #[cold]
    fn fill(&mut self, frame: DpdkFrame, meta: RxMeta, pools: &Pools) {
        let Some(request) = open_checksum(&frame) else {
            self.errors += 1;
            return;
        };
        match fill_checksum(frame, request, |len| pools.alloc(len)) {
            Ok(frame) => self.ready.push_back(frame, meta),
            Err(OffloadError::NoBuffer) => self.no_buffer += 1,
            Err(OffloadError::Malformed) => self.errors += 1,
        }
    }
}

fn is_tcp(frame: &DpdkFrame) -> bool {
    Headers::parse(frame.bytes()).is_some_and(|headers| headers.protocol == TCP)
}

fn segmentation(frame: &DpdkFrame, segment_len: u16) -> Option<TxSegmentation> {
    let headers = Headers::parse(frame.bytes())?;
    let header_len = u16::try_from(headers.end(frame.bytes())?).ok()?;
    Some(TxSegmentation { segment_len, header_len, ipv6: headers.ipv6 })
}

fn open_checksum(frame: &DpdkFrame) -> Option<TxChecksum> {
    let headers = Headers::parse(frame.bytes())?;
    let offset = match headers.protocol {
        TCP => TCP_CHECKSUM_OFFSET,
        UDP => UDP_CHECKSUM_OFFSET,
        _ => return None,
    };
    Some(TxChecksum { start: u16::try_from(headers.transport).ok()?, offset })
}

/// The field of an unfinished checksum holds the sum of the pseudo-header. DPDK's vhost leaves the length out of it where
/// it hands over a super-segment; whoever finished that sum would get it wrong.
fn restore_pseudo_header(frame: &mut DpdkFrame) {
    let Some(headers) = Headers::parse(frame.bytes()).filter(|headers| headers.protocol == TCP) else {
        return;
    };
    let sum = headers.pseudo_header(frame.bytes(), headers.transport_len).value();
    let at = headers.transport + usize::from(TCP_CHECKSUM_OFFSET);
    if let Some(field) = frame.bytes_mut().and_then(|bytes| bytes.get_mut(at..at + 2)) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
}

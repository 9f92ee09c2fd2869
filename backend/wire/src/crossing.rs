//! What happens to a frame between two NICs: the work that the sender asked for and the receiver cannot spare.

use hayase_device::headers::{ETHERNET_LEN, TCP_CHECKSUM_OFFSET, UDP_CHECKSUM_OFFSET, is_linear_enough};
use hayase_device::heap::{HeapFrame, Pool};
use hayase_device::segment::{
    OffloadError, PieceChecksum, fill_checksum, is_segmentable, linearise, segment,
};
use hayase_device::verify::verify;
use hayase_device::{Frame, Offloads, RxChecksum, RxMeta, TxChecksum, TxMeta, TxSegmentation};

use crate::device::FRAGMENTS_MAX;

/// The circumstances in which a frame crosses the wire.
pub(crate) struct Crossing<'a> {
    pub(crate) mtu: usize,
    /// What the sending end has in force.
    pub(crate) sender: Offloads,
    /// What the receiving end has in force.
    pub(crate) receiver: Offloads,
    /// What follows for frames that need no work.
    pub(crate) passage: Passage,
    /// The sender's memory, for the results of its hardware's work.
    pub(crate) pool: &'a Pool,
}

impl Crossing<'_> {
    /// Makes of a frame what the receiver is to get.
    pub(crate) fn cross(
        &self,
        frame: HeapFrame,
        meta: TxMeta,
        mut deliver: impl FnMut(HeapFrame, RxMeta),
    ) -> Result<(), OffloadError> {
        if !self.is_promised(&frame, meta) {
            return Err(OffloadError::Malformed);
        }
        match meta.segmentation {
            Some(request) => self.cross_super_segment(frame, meta, request, deliver),
            None => self.cross_frame(frame, meta.checksum).map(|(frame, meta)| deliver(frame, meta)),
        }
    }

    /// Whether the sender asks only for what its device has promised.
    fn is_promised(&self, frame: &HeapFrame, meta: TxMeta) -> bool {
        let fragments_max = if self.sender.contains(Offloads::SG) { FRAGMENTS_MAX } else { 1 };
        let fragments = std::iter::successors(Some(frame), |fragment| fragment.next());
        meta.is_promised_by(self.sender) && fragments.take(fragments_max + 1).count() <= fragments_max
    }

    fn cross_frame(
        &self,
        frame: HeapFrame,
        request: Option<TxChecksum>,
    ) -> Result<(HeapFrame, RxMeta), OffloadError> {
        let len = frame.total_len();
        if !(ETHERNET_LEN..=ETHERNET_LEN + self.mtu).contains(&len) {
            return Err(OffloadError::Malformed);
        }
        let frame = self.with_linear_headers(frame)?;
        let (frame, checksum) = match (self.passage.rx_checksum_of(frame.len(), request), request) {
            (Some(checksum), _) => (frame, checksum),
            (None, None) => {
                let checksum = verify(&frame, self.receiver);
                (frame, checksum)
            }
            (None, Some(request)) => {
                (fill_checksum(frame, request, |len| self.pool.alloc(len))?, RxChecksum::Unverified)
            }
        };
        Ok((frame, RxMeta { checksum, ..RxMeta::default() }))
    }

    fn cross_super_segment(
        &self,
        frame: HeapFrame,
        meta: TxMeta,
        request: TxSegmentation,
        mut deliver: impl FnMut(HeapFrame, RxMeta),
    ) -> Result<(), OffloadError> {
        let (header_len, segment_len) = (usize::from(request.header_len), usize::from(request.segment_len));
        let len = frame.total_len();
        let fits = header_len + segment_len <= ETHERNET_LEN + self.mtu && len <= ETHERNET_LEN + 65_535;
        if !fits || !is_segmentable(&frame, request) {
            return Err(OffloadError::Malformed);
        }
        if len <= header_len + segment_len {
            let (frame, meta) = self.cross_frame(frame, meta.checksum)?;
            deliver(frame, meta);
            return Ok(());
        }
        let takes_partial = self.receiver.contains(Offloads::RX_CHECKSUM_TCP);
        let checksum = if takes_partial { RxChecksum::Verified } else { RxChecksum::Unverified };
        if self.receiver.contains(Offloads::LRO) {
            let frame = self.with_linear_headers(frame)?;
            deliver(frame, RxMeta { checksum, segment_len: request.segment_len, flow_hash: None });
            return Ok(());
        }
        let piece = if takes_partial { PieceChecksum::Partial } else { PieceChecksum::Complete };
        let alloc = |len| self.pool.alloc(len);
        let deliver = |frame| deliver(frame, RxMeta { checksum, ..RxMeta::default() });
        segment(&frame, request, piece, alloc, deliver).map(drop)
    }

    /// A receiver finds all headers in the first fragment.
    fn with_linear_headers(&self, frame: HeapFrame) -> Result<HeapFrame, OffloadError> {
        if frame.next().is_none() || is_linear_enough(frame.bytes()) {
            return Ok(frame);
        }
        linearise(&frame, |len| self.pool.alloc(len))
    }
}

/// What passes from one NIC to the other as it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passage {
    /// The checksums, one bit for the offset of each, that the sender need not finish and the receiver does not look at.
    unfinished: u32,
    /// The receiver looks at checksums that are finished.
    looks: bool,
}

impl Passage {
    pub(crate) fn between(sender: Offloads, receiver: Offloads) -> Passage {
        let bit = |offset: u16, tx, rx| u32::from(sender.contains(tx) && receiver.contains(rx)) << offset;
        let tcp = bit(TCP_CHECKSUM_OFFSET, Offloads::TX_CHECKSUM_TCP, Offloads::RX_CHECKSUM_TCP);
        let udp = bit(UDP_CHECKSUM_OFFSET, Offloads::TX_CHECKSUM_UDP, Offloads::RX_CHECKSUM_UDP);
        Passage { unfinished: tcp | udp, looks: receiver.intersects(Offloads::RX_CHECKSUM) }
    }

    /// The verdict on a frame that passes as it is: its unfinished checksum is no matter to a receiver that takes
    /// the hardware's word, and without a request nobody looks unless that hardware does. `None` if the checksum
    /// must be filled in or looked at, or the request is not in order.
    #[inline(always)]
    pub(crate) fn rx_checksum_of(self, frame_len: usize, request: Option<TxChecksum>) -> Option<RxChecksum> {
        let Some(TxChecksum { start, offset }) = request else {
            return (!self.looks).then_some(RxChecksum::Unverified);
        };
        let is_unfinished = self.unfinished.checked_shr(offset.into()).is_some_and(|bits| bits & 1 == 1);
        let field_end = usize::from(start) + usize::from(offset) + 2;
        (is_unfinished && field_end <= frame_len).then_some(RxChecksum::Verified)
    }
}

//! The way out: frames gather in a turn, and go to the driver in one burst.

use hayase_device::headers::{ETHERNET_LEN, Headers, TCP_CHECKSUM_OFFSET};
use hayase_device::segment::{
    OffloadError, PieceChecksum, fill_checksum, is_segmentable, linearise, segment,
};
use hayase_device::{Caps, Frame, TxChecksum, TxMeta, TxSegmentation};

use crate::driver::{Kind, Peer};
use crate::port::Seat;
use crate::sys::port::{guest_features, link_is_up};
use crate::sys::{DpdkFrame, Segment, TxRequest, drop_released};

/// The most frames of a turn. It is more than a ring holds, so that a turn can fill one.
const QUEUE_FRAMES_MAX: usize = 2048;

/// The longest IP header that an mbuf can tell of, in bytes.
const L3_LEN_MAX: usize = 511;

const F_TCP_SEG: u64 = 1 << 50;
const F_TCP_CHECKSUM: u64 = 1 << 52;
const F_UDP_CHECKSUM: u64 = 3 << 52;
const F_IP_CHECKSUM: u64 = 1 << 54;
const F_IPV4: u64 = 1 << 55;
const F_IPV6: u64 = 1 << 56;

/// Hands frames to the driver, in order.
#[derive(Debug)]
pub(crate) struct Transmitter {
    /// vhost is the one driver that does not see to this by itself. Its guest may be replaced by another.
    peer: Peer,
    waiting: Vec<Segment>,
    /// Whether the driver took nothing the last time.
    is_stuck: bool,
    /// Whether the driver may hold frames that it has sent.
    is_unreclaimed: bool,
    /// Frames beyond our room, without a buffer, or without a peer to go to.
    pub(crate) dropped: u64,
    /// Frames that we, or the driver, refused.
    pub(crate) errors: u64,
}

impl Transmitter {
    pub(crate) fn new(kind: Kind) -> Transmitter {
        Transmitter {
            peer: if kind == Kind::Vhost { Peer::default() } else { Peer::ANY },
            waiting: Vec::with_capacity(QUEUE_FRAMES_MAX),
            is_stuck: false,
            is_unreclaimed: false,
            dropped: 0,
            errors: 0,
        }
    }

    #[inline]
    pub(crate) fn room(&self) -> usize {
        // While the driver takes nothing, more would only wait behind what does.
        if self.is_stuck { 0 } else { QUEUE_FRAMES_MAX.saturating_sub(self.waiting.len()) }
    }

    /// Whether frames wait that the driver may take now.
    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty() && !self.is_stuck
    }

    /// Whether frames wait for the driver to find room: nothing tells when that is.
    #[inline]
    pub(crate) fn is_stuck(&self) -> bool {
        self.is_stuck
    }

    #[inline]
    pub(crate) fn send(&mut self, frame: DpdkFrame, mut meta: TxMeta, caps: &Caps, seat: &Seat) {
        if !is_acceptable(&frame, &meta, caps) {
            self.errors += 1;
            return;
        }
        if self.room() == 0 {
            self.dropped += 1;
            return;
        }
        // One segment is no super-segment, whatever it is called.
        meta.segmentation =
            meta.segmentation.filter(|&request| frame.total_len() > first_segment_len(request));
        let outcome = match meta.segmentation {
            Some(request) if !self.takes_whole(request) => self.send_cut(&frame, request, seat),
            _ => self.send_whole(frame, meta, seat),
        };
        match outcome {
            Ok(()) => {}
            Err(OffloadError::NoBuffer) => self.dropped += 1,
            Err(OffloadError::Malformed) => self.errors += 1,
        }
    }

    fn takes_whole(&self, request: TxSegmentation) -> bool {
        if request.ipv6 { self.peer.tso6 } else { self.peer.tso4 }
    }

    #[inline]
    fn send_whole(
        &mut self,
        mut frame: DpdkFrame,
        mut meta: TxMeta,
        seat: &Seat,
    ) -> Result<(), OffloadError> {
        let pools = seat.pools();
        if let Some(request) = meta.checksum.take_if(|_| !self.peer.checksum) {
            frame = fill_checksum(frame, request, |len| pools.alloc(len))?;
        }
        let frame = if must_be_copied(&frame, meta, seat.port.kind) {
            linearise(&frame, |len| pools.alloc(len))?
        } else {
            frame
        };
        let request = match meta.checksum {
            None => None,
            Some(checksum) => Some(
                request(frame.bytes(), checksum, meta.segmentation, seat.port.fills_ip_checksum)
                    .ok_or(OffloadError::Malformed)?,
            ),
        };
        let mut segment = Segment::from_frame(frame, &pools.small).ok_or(OffloadError::NoBuffer)?;
        if let Some(request) = request {
            segment.request(&request);
        }
        self.waiting.push(segment);
        Ok(())
    }

    /// Cuts a super-segment for a guest that would not know one.
    #[cold]
    fn send_cut(
        &mut self,
        frame: &DpdkFrame,
        request: TxSegmentation,
        seat: &Seat,
    ) -> Result<(), OffloadError> {
        let (pools, waiting) = (seat.pools(), &mut self.waiting);
        let emit = |piece| waiting.extend(Segment::from_frame(piece, &pools.small));
        segment(frame, request, PieceChecksum::Complete, |len| pools.alloc(len), emit).map(drop)
    }

    /// Hands what waits to the driver, as far as it takes it; returns how many frames that were.
    pub(crate) fn flush(&mut self, seat: &Seat) -> usize {
        if seat.port.kind == Kind::Vhost && (!self.waiting.is_empty() || self.peer == Peer::default()) {
            self.peer = Peer::guest(guest_features(seat.port.number));
        }
        if self.waiting.is_empty() {
            self.reclaim(seat);
            return 0;
        }
        if !matches!(seat.port.kind, Kind::Virtio | Kind::Vhost) {
            self.prepare(seat);
        }
        let mut sent = 0;
        while !self.waiting.is_empty() {
            match seat.lane.transmit(&mut self.waiting) {
                0 => break,
                count => sent += count,
            }
        }
        self.is_unreclaimed |= sent > 0;
        // `prepare` may have refused all of them.
        self.is_stuck = sent == 0 && !self.waiting.is_empty();
        if self.is_stuck && !link_is_up(seat.port.number) {
            self.dropped += self.waiting.len() as u64;
            self.waiting.clear();
            self.is_stuck = false;
        }
        drop_released();
        sent
    }

    /// Drivers have rules of their own about what headers hold before they are sent. virtio's are ours already.
    fn prepare(&mut self, seat: &Seat) {
        let mut at = 0;
        while at < self.waiting.len() {
            at += seat.lane.prepare(&mut self.waiting[at..]);
            if at < self.waiting.len() {
                drop(self.waiting.remove(at));
                self.errors += 1;
            }
        }
    }

    /// Once there is time: what was sent comes home though nothing follows it.
    fn reclaim(&mut self, seat: &Seat) {
        if self.is_unreclaimed {
            self.is_unreclaimed = false;
            seat.lane.reclaim();
            drop_released();
        }
    }
}

/// Whether the frame has a length and a number of fragments that can be, and asks for nothing that was not promised.
fn is_acceptable(frame: &DpdkFrame, meta: &TxMeta, caps: &Caps) -> bool {
    let segmentation = meta.segmentation.is_none_or(|request| {
        first_segment_len(request) <= ETHERNET_LEN + caps.mtu && is_segmentable(frame, request)
    });
    let len_max = if meta.segmentation.is_some() { caps.tso_len_max } else { caps.mtu };
    (ETHERNET_LEN..=ETHERNET_LEN + len_max).contains(&frame.total_len())
        && meta.is_promised_by(caps.offloads)
        && segmentation
        && frame.fragments().take(caps.fragments_max + 1).count() <= caps.fragments_max
}

fn first_segment_len(request: TxSegmentation) -> usize {
    usize::from(request.header_len) + usize::from(request.segment_len)
}

/// Whether the frame cannot go as it is: its headers are not in one piece, or it would be somebody else's to change while
/// we see it.
fn must_be_copied(frame: &DpdkFrame, meta: TxMeta, kind: Kind) -> bool {
    let header_len = match (meta.segmentation, meta.checksum) {
        (Some(request), _) => usize::from(request.header_len),
        (None, Some(request)) => usize::from(request.start) + usize::from(request.offset) + 2,
        (None, None) => ETHERNET_LEN,
    };
    let is_shared =
        || std::iter::successors(Some(frame), |frame| frame.next()).any(|frame| !frame.is_unique());
    header_len > frame.len() || kind == Kind::HandsOver && is_shared()
}

/// What is asked of the driver, in its words. `None` if it makes no sense.
fn request(
    linear: &[u8],
    checksum: TxChecksum,
    segmentation: Option<TxSegmentation>,
    fills_ip_checksum: bool,
) -> Option<TxRequest> {
    let transport = usize::from(checksum.start);
    let headers = Headers::parse(linear).filter(|headers| headers.transport == transport)?;
    let l3_len = transport - headers.network;
    let is_tcp = checksum.offset == TCP_CHECKSUM_OFFSET;
    let l4_len = if is_tcp { usize::from(*linear.get(transport + 12)? >> 4) * 4 } else { 8 };
    linear.get(transport + usize::from(checksum.offset)..)?.get(..2)?;
    let ip = match (headers.ipv6, segmentation) {
        (true, _) => F_IPV6,
        (false, Some(_)) if fills_ip_checksum => F_IPV4 | F_IP_CHECKSUM,
        (false, _) => F_IPV4,
    };
    let transport_flag = if is_tcp { F_TCP_CHECKSUM } else { F_UDP_CHECKSUM };
    let cut = if segmentation.is_some() { F_TCP_SEG } else { 0 };
    (l3_len <= L3_LEN_MAX).then_some(TxRequest {
        flags: ip | transport_flag | cut,
        l2_len: headers.network,
        l3_len,
        l4_len,
        segment_len: segmentation.map_or(0, |request| request.segment_len),
    })
}

#[cfg(test)]
mod unit {
    use hayase_device::conformance::packet::{Ip, Packet};

    use super::*;

    #[test]
    fn requests_are_put_in_the_drivers_words() {
        for (ip, l3_len, version) in [(Ip::V4, 20, F_IPV4), (Ip::V6, 40, F_IPV6)] {
            let tcp = Packet::tcp(ip, 3000);
            let bytes = tcp.build_partial();
            let plain = request(&bytes, tcp.tx_checksum(), None, true).unwrap();
            assert_eq!(plain.flags, version | F_TCP_CHECKSUM);
            assert_eq!((plain.l2_len, plain.l3_len, plain.l4_len, plain.segment_len), (14, l3_len, 20, 0));
            let cut = request(&bytes, tcp.tx_checksum(), Some(tcp.segmentation(1000)), true).unwrap();
            let ip_checksum = if ip == Ip::V4 { F_IP_CHECKSUM } else { 0 };
            assert_eq!(cut.flags, version | F_TCP_CHECKSUM | F_TCP_SEG | ip_checksum);
            assert_eq!(cut.segment_len, 1000);
            let udp = Packet::udp(ip, 9);
            let datagram = request(&udp.build_partial(), udp.tx_checksum(), None, true).unwrap();
            assert_eq!((datagram.flags, datagram.l4_len), (version | F_UDP_CHECKSUM, 8));
        }
    }

    #[test]
    fn requests_beside_the_headers_are_refused() {
        let tcp = Packet::tcp(Ip::V4, 9);
        let bytes = tcp.build_partial();
        for (start, offset) in [(35, 16), (14, 16), (63, 16), (u16::MAX, 16)] {
            let checksum = TxChecksum { start, offset };
            assert!(request(&bytes, checksum, None, false).is_none(), "{start}");
        }
        assert!(request(&bytes[..50], tcp.tx_checksum(), None, false).is_none());
    }
}

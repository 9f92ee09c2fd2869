//! The transmit half of an offload engine, in software: filling in checksums, cutting TCP super-segments.
//!
//! A backend uses it for what its hardware lacks while its caps promise it, so that every device can be asked
//! for the same. Requests that make no sense are answered with [`OffloadError::Malformed`], never a panic.

use core::fmt;

use crate::checksum::{Sum, checksum};
use crate::headers::{Headers, TCP, UDP_CHECKSUM_OFFSET};
use crate::verify::add_range;
use crate::{Frame, TxChecksum, TxSegmentation};

/// Room for the headers of one segment: Ethernet with two tags, IPv6 with some extensions, TCP with all options.
const HEADER_LEN_MAX: usize = 256;

const FLAG_FIN: u8 = 0x01;
const FLAG_PSH: u8 = 0x08;
const FLAG_CWR: u8 = 0x80;

/// Why a frame could not be treated as its sender asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffloadError {
    /// The request does not fit the frame.
    Malformed,
    /// The pool is dry.
    NoBuffer,
}

impl fmt::Display for OffloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OffloadError::Malformed => "the offload request does not fit the frame",
            OffloadError::NoBuffer => "no buffer is left for the offload's result",
        })
    }
}

impl core::error::Error for OffloadError {}

/// What becomes of the checksum of each piece of a super-segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PieceChecksum {
    /// It is computed.
    Complete,
    /// The field holds the sum of the pseudo-header, as [`TxChecksum`] wants it: somebody else completes it.
    Partial,
}

/// Fills in the transport checksum that `request` asks for, and returns the frame.
///
/// Works in place if the first fragment can be changed; otherwise `alloc` gives a buffer for a copy of that
/// fragment alone, and other handles keep seeing the old bytes.
///
/// # Errors
/// `Malformed` if the field does not lie in the first fragment, `NoBuffer` if a copy is needed and `alloc`
/// gives no room for it.
pub fn fill_checksum<F: Frame>(
    frame: F,
    request: TxChecksum,
    alloc: impl FnOnce(usize) -> Option<F>,
) -> Result<F, OffloadError> {
    let start = usize::from(request.start);
    let field = start + usize::from(request.offset);
    if field + 2 > frame.len() {
        return Err(OffloadError::Malformed);
    }
    let mut sum = Sum::default();
    add_range(&mut sum, &frame, start, usize::MAX);
    let checksum = match sum.checksum() {
        // In UDP, 0 means that there is no checksum (RFC 768).
        0 if request.offset == UDP_CHECKSUM_OFFSET => 0xffff,
        checksum => checksum,
    };
    let mut frame = make_writable(frame, alloc)?;
    let bytes = frame.bytes_mut().ok_or(OffloadError::NoBuffer)?;
    put_u16(bytes, field, checksum);
    Ok(frame)
}

/// The frame itself if its first fragment can be changed, else one with a copy of that fragment in front.
fn make_writable<F: Frame>(mut frame: F, alloc: impl FnOnce(usize) -> Option<F>) -> Result<F, OffloadError> {
    if frame.bytes_mut().is_some() {
        return Ok(frame);
    }
    let rest = frame.unchain();
    let mut copy = linearise(&frame, alloc)?;
    if let Some(rest) = rest {
        copy.chain(rest);
    }
    Ok(copy)
}

/// A copy of a chain in one fragment.
///
/// # Errors
/// `NoBuffer` if `alloc` gives no frame with room for all of it.
pub fn linearise<F: Frame>(chain: &F, alloc: impl FnOnce(usize) -> Option<F>) -> Result<F, OffloadError> {
    let len = chain.total_len();
    let mut frame = alloc(len).ok_or(OffloadError::NoBuffer)?;
    let bytes = frame.extend(len).ok_or(OffloadError::NoBuffer)?;
    Cursor::new(chain, 0).read(bytes);
    Ok(frame)
}

/// Whether a request for segmentation fits the frame: the headers are where it says, and they are TCP's.
/// They may lie across fragments.
pub fn is_segmentable<F: Frame>(frame: &F, request: TxSegmentation) -> bool {
    Template::new(frame, request).is_ok()
}

/// Cuts a TCP super-segment (maybe a chain) into segments, each in a linear frame from `alloc`, handed to
/// `emit` in order; returns how many they were. It is what a NIC with TSO does:
///
/// * each has the headers in front, with IP length, IPv4 identification and header checksum of its own;
/// * sequence numbers advance by the payload;
/// * FIN and PSH stay on the last segment, CWR on the first (RFC 3168 §6.1.2);
/// * the TCP checksum is as `checksum` says, whatever the super-segment held in its place.
///
/// # Errors
/// `Malformed` if the request does not fit the frame; nothing was emitted then. `NoBuffer` if `alloc` gave
/// out: the segments before were emitted, the others are lost.
pub fn segment<F: Frame>(
    frame: &F,
    request: TxSegmentation,
    checksum: PieceChecksum,
    mut alloc: impl FnMut(usize) -> Option<F>,
    mut emit: impl FnMut(F),
) -> Result<usize, OffloadError> {
    let template = Template::new(frame, request)?;
    let header = &template.header[..template.len];
    let payload_len = frame.total_len() - header.len();
    let segment_len = usize::from(request.segment_len);
    let mut payload = Cursor::new(frame, header.len());
    let count = payload_len.div_ceil(segment_len).max(1);
    for index in 0..count {
        let offset = index * segment_len;
        let len = header.len() + segment_len.min(payload_len - offset);
        let mut piece = alloc(len).ok_or(OffloadError::NoBuffer)?;
        let bytes = piece.extend(len).ok_or(OffloadError::NoBuffer)?;
        let (front, back) = bytes.split_at_mut(header.len());
        front.copy_from_slice(header);
        payload.read(back);
        template.stamp(bytes, Position { index, offset, last: index + 1 == count }, checksum);
        emit(piece);
    }
    Ok(count)
}

/// Where a piece lies in its super-segment.
struct Position {
    index: usize,
    /// Payload bytes before it.
    offset: usize,
    last: bool,
}

/// The headers that every piece starts from.
struct Template {
    header: [u8; HEADER_LEN_MAX],
    len: usize,
    at: Headers,
}

impl Template {
    fn new<F: Frame>(frame: &F, request: TxSegmentation) -> Result<Template, OffloadError> {
        let len = usize::from(request.header_len);
        let mut template = [0; HEADER_LEN_MAX];
        let header = template.get_mut(..len).ok_or(OffloadError::Malformed)?;
        if Cursor::new(frame, 0).read(header) < len {
            return Err(OffloadError::Malformed);
        }
        let at = Headers::parse(header).ok_or(OffloadError::Malformed)?;
        let piece_len_max = len - at.network + usize::from(request.segment_len);
        let fits = at.protocol == TCP
            && !at.fragment
            && at.ipv6 == request.ipv6
            && at.end(header) == Some(len)
            && len >= at.transport + 20
            && request.segment_len > 0
            && piece_len_max <= usize::from(u16::MAX);
        if fits { Ok(Template { header: template, len, at }) } else { Err(OffloadError::Malformed) }
    }

    /// Makes the copied headers those of one piece, which is complete but for them.
    fn stamp(&self, piece: &mut [u8], position: Position, checksum: PieceChecksum) {
        self.stamp_ip(piece, position.index);
        self.stamp_tcp(piece, &position);
        let tcp = self.at.transport;
        put_u16(piece, tcp + 16, 0);
        let mut sum = self.at.pseudo_header(piece, piece.len() - tcp);
        let value = match checksum {
            PieceChecksum::Partial => sum.value(),
            PieceChecksum::Complete => {
                sum.add(&piece[tcp..]);
                sum.checksum()
            }
        };
        put_u16(piece, tcp + 16, value);
    }

    fn stamp_ip(&self, piece: &mut [u8], index: usize) {
        let Headers { network, transport, ipv6, .. } = self.at;
        let packet_len = (piece.len() - network) as u16;
        if ipv6 {
            return put_u16(piece, network + 4, packet_len - 40);
        }
        let id = u16::from_be_bytes([piece[network + 4], piece[network + 5]]);
        put_u16(piece, network + 2, packet_len);
        put_u16(piece, network + 4, id.wrapping_add(index as u16));
        put_u16(piece, network + 10, 0);
        let sum = checksum(&piece[network..transport]);
        put_u16(piece, network + 10, sum);
    }

    fn stamp_tcp(&self, piece: &mut [u8], position: &Position) {
        let header = &mut piece[self.at.transport..];
        let seq = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        header[4..8].copy_from_slice(&seq.wrapping_add(position.offset as u32).to_be_bytes());
        if position.index > 0 {
            header[13] &= !FLAG_CWR;
        }
        if !position.last {
            header[13] &= !(FLAG_FIN | FLAG_PSH);
        }
    }
}

/// Reads a chain from front to back.
struct Cursor<'a, F> {
    frame: Option<&'a F>,
    offset: usize,
}

impl<'a, F: Frame> Cursor<'a, F> {
    fn new(frame: &'a F, offset: usize) -> Self {
        Cursor { frame: Some(frame), offset }
    }

    /// Fills `into` as far as the chain reaches; returns how far that was.
    fn read(&mut self, into: &mut [u8]) -> usize {
        let mut done = 0;
        while done < into.len()
            && let Some(frame) = self.frame
        {
            let Some(bytes) = frame.bytes().get(self.offset..).filter(|bytes| !bytes.is_empty()) else {
                self.offset -= frame.len();
                self.frame = frame.next();
                continue;
            };
            let len = bytes.len().min(into.len() - done);
            into[done..done + len].copy_from_slice(&bytes[..len]);
            self.offset += len;
            done += len;
        }
        done
    }
}

fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::conformance::packet::{Ip, Packet, assert_checksums, assert_pieces};
    use crate::heap::{HeapFrame, Pool, PoolConfig};

    fn pool() -> Pool {
        Pool::new(PoolConfig::default())
    }

    fn frame(pool: &Pool, bytes: &[u8]) -> HeapFrame {
        let mut frame = pool.alloc(bytes.len()).unwrap();
        frame.extend(bytes.len()).unwrap().copy_from_slice(bytes);
        frame
    }

    fn cut(frame: &HeapFrame, request: TxSegmentation) -> Result<Vec<Vec<u8>>, OffloadError> {
        let (pool, mut pieces) = (pool(), Vec::new());
        let emit = |piece: HeapFrame| pieces.push(piece.bytes().to_vec());
        segment(frame, request, PieceChecksum::Complete, |len| pool.alloc(len), emit)?;
        Ok(pieces)
    }

    #[test]
    fn fills_checksums_in_place() {
        let pool = pool();
        for packet in [Packet::tcp, Packet::udp] {
            for ip in [Ip::V4, Ip::V6] {
                for payload_len in [0, 1, 2, 777, 1400] {
                    let packet = packet(ip, payload_len);
                    let frame = frame(&pool, &packet.build_partial());
                    let address = frame.bytes().as_ptr();
                    let frame = fill_checksum(frame, packet.tx_checksum(), |_| None).unwrap();
                    assert_eq!((frame.bytes(), frame.bytes().as_ptr()), (&packet.build()[..], address));
                }
            }
        }
    }

    #[test]
    fn leaves_what_another_handle_sees_alone() {
        let pool = pool();
        let packet = Packet::udp(Ip::V4, 9);
        let bytes = packet.build_partial();
        let mut chain = frame(&pool, &bytes[..45]);
        chain.chain(frame(&pool, &bytes[45..]));
        let kept = chain.share();
        let filled = fill_checksum(chain, packet.tx_checksum(), |len| pool.alloc(len)).unwrap();
        assert_eq!(kept.bytes(), &bytes[..45]);
        assert_eq!(filled.fragments().flatten().copied().collect::<Vec<u8>>(), packet.build());
        let shared = kept.share();
        assert_eq!(fill_checksum(shared, packet.tx_checksum(), |_| None).err(), Some(OffloadError::NoBuffer));
    }

    #[test]
    fn a_udp_checksum_is_never_zero() {
        let pool = pool();
        let frame = frame(&pool, &[0xff, 0xff, 0, 0, 0, 0, 0, 0]);
        let request = TxChecksum { start: 0, offset: UDP_CHECKSUM_OFFSET };
        assert_eq!(fill_checksum(frame, request, |_| None).unwrap().bytes()[6..], [0xff, 0xff]);
    }

    #[test]
    fn a_checksum_beyond_the_frame_is_malformed() {
        let pool = pool();
        for (start, offset) in [(59, 0), (60, 16), (44, 16), (u16::MAX, u16::MAX)] {
            let frame = frame(&pool, &[0; 60]);
            let result = fill_checksum(frame, TxChecksum { start, offset }, |_| None);
            assert_eq!(result.err(), Some(OffloadError::Malformed), "{start}+{offset}");
        }
    }

    #[test]
    fn cuts_like_a_nic() {
        let pool = pool();
        for ip in [Ip::V4, Ip::V6] {
            for payload_len in [1, 999, 1000, 1001, 2000, 64_000] {
                let mut packet = Packet::tcp(ip, payload_len);
                packet.flags = 0xd9; // CWR, ECE, ACK, PSH, FIN
                packet.seq = u32::MAX - 500;
                let whole = frame(&pool, &packet.build_partial());
                let pieces = cut(&whole, packet.segmentation(1000)).unwrap();
                assert_eq!(pieces.len(), payload_len.div_ceil(1000));
                assert_pieces(&packet, 1000, &pieces);
            }
        }
    }

    #[test]
    fn cuts_chains_wherever_their_seams_are() {
        let pool = pool();
        let packet = Packet::tcp(Ip::V4, 700);
        let bytes = packet.build_partial();
        for seam in 0..bytes.len() {
            let mut chain = frame(&pool, &bytes[..seam]);
            chain.chain(frame(&pool, &bytes[seam..]));
            assert_pieces(&packet, 300, &cut(&chain, packet.segmentation(300)).unwrap());
        }
    }

    #[test]
    fn partial_sums_can_be_completed() {
        let pool = pool();
        let packet = Packet::tcp(Ip::V6, 2500);
        let whole = frame(&pool, &packet.build_partial());
        let mut pieces = Vec::new();
        let emit = |piece| pieces.push(piece);
        let count =
            segment(&whole, packet.segmentation(1000), PieceChecksum::Partial, |len| pool.alloc(len), emit);
        assert_eq!(count, Ok(3));
        for piece in pieces {
            let piece = fill_checksum(piece, packet.tx_checksum(), |_| None).unwrap();
            assert_checksums(piece.bytes());
        }
    }

    #[test]
    fn a_dry_pool_loses_the_rest() {
        let pool = Pool::new(PoolConfig { small_count_max: 2, large_count_max: 1, ..PoolConfig::default() });
        let packet = Packet::tcp(Ip::V4, 5000);
        let whole = frame(&pool, &packet.build_partial());
        let mut pieces = Vec::new();
        let alloc = |len| pool.alloc(len);
        let result = segment(&whole, packet.segmentation(1000), PieceChecksum::Complete, alloc, |piece| {
            pieces.push(piece);
        });
        assert_eq!((result, pieces.len()), (Err(OffloadError::NoBuffer), 2));
    }

    #[test]
    fn requests_that_do_not_fit_are_refused() {
        let pool = pool();
        let tcp = Packet::tcp(Ip::V4, 3000);
        let good = tcp.segmentation(1000);
        let whole = frame(&pool, &tcp.build_partial());
        let requests = [
            TxSegmentation { segment_len: 0, ..good },
            TxSegmentation { segment_len: u16::MAX, ..good },
            TxSegmentation { header_len: 0, ..good },
            TxSegmentation { header_len: good.header_len - 1, ..good },
            TxSegmentation { header_len: good.header_len + 1, ..good },
            TxSegmentation { header_len: u16::MAX, ..good },
            TxSegmentation { ipv6: true, ..good },
        ];
        for request in requests {
            assert_eq!(cut(&whole, request), Err(OffloadError::Malformed), "{request:?}");
        }
        let udp = frame(&pool, &Packet::udp(Ip::V4, 3000).build_partial());
        assert_eq!(cut(&udp, TxSegmentation { header_len: 42, ..good }), Err(OffloadError::Malformed));
        let runt = frame(&pool, &tcp.build()[..30]);
        assert_eq!(cut(&runt, good), Err(OffloadError::Malformed));
    }
}

//! A TCP segment as somebody on the cable sees it.

use std::net::{IpAddr, SocketAddr};

use hayase::device::headers::{Headers, TCP};

use crate::forge::TcpForge;

pub(crate) const FIN: u8 = TcpForge::FIN;
pub(crate) const SYN: u8 = TcpForge::SYN;
pub(crate) const RST: u8 = TcpForge::RST;
pub(crate) const ACK: u8 = TcpForge::ACK;

const MIN_LEN: usize = 20;
const KIND_NOP: u8 = 1;
const KIND_WINDOW_SCALE: u8 = 3;

/// The fields of a segment that an observer needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment<'a> {
    pub(crate) src: SocketAddr,
    pub(crate) dst: SocketAddr,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    /// As it stands in the header.
    pub(crate) window: u16,
    /// The window scale option.
    pub(crate) scale: Option<u8>,
    pub(crate) payload: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Reads a frame. `None` if it is not one whole TCP segment.
    pub(crate) fn read(frame: &'a [u8]) -> Option<Segment<'a>> {
        let headers = Headers::parse(frame)?;
        if headers.protocol != TCP || headers.fragment {
            return None;
        }
        let tcp = frame.get(headers.transport..headers.transport + headers.transport_len)?;
        let fixed = tcp.first_chunk::<MIN_LEN>()?;
        let word = |at: usize| u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        let header_len = usize::from(fixed[12] >> 4) * 4;
        let (src, dst) = addresses(frame, &headers)?;
        let port = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
        Some(Segment {
            src: SocketAddr::new(src, port(0)),
            dst: SocketAddr::new(dst, port(2)),
            seq: word(4),
            ack: word(8),
            flags: fixed[13],
            window: port(14),
            scale: window_scale(tcp.get(MIN_LEN..header_len)?),
            payload: tcp.get(header_len..)?,
        })
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Sequence numbers that it takes: SEG.LEN.
    pub(crate) fn sequence_len(&self) -> u32 {
        self.payload.len() as u32 + u32::from(self.has(SYN)) + u32::from(self.has(FIN))
    }
}

/// Whether the transport checksum of a TCP segment is right.
pub(crate) fn is_intact(frame: &[u8]) -> bool {
    let Some(headers) = Headers::parse(frame).filter(|headers| headers.protocol == TCP) else { return false };
    let end = headers.transport + headers.transport_len;
    let Some(segment) = frame.get(headers.transport..end) else { return false };
    let mut sum = headers.pseudo_header(frame, headers.transport_len);
    sum.add(segment);
    sum.is_valid()
}

fn addresses(frame: &[u8], headers: &Headers) -> Option<(IpAddr, IpAddr)> {
    let network = frame.get(headers.network..)?;
    if headers.ipv6 {
        let at = |at: usize| network.get(at..at + 16).and_then(|bytes| bytes.first_chunk::<16>());
        return Some((IpAddr::from(*at(8)?), IpAddr::from(*at(24)?)));
    }
    let at = |at: usize| network.get(at..at + 4).and_then(|bytes| bytes.first_chunk::<4>());
    Some((IpAddr::from(*at(12)?), IpAddr::from(*at(16)?)))
}

fn window_scale(mut options: &[u8]) -> Option<u8> {
    loop {
        options = match options {
            [KIND_WINDOW_SCALE, 3, shift, ..] => return Some((*shift).min(14)),
            [KIND_NOP, rest @ ..] => rest,
            [kind, len, ..] if *kind > KIND_NOP && *len >= 2 => options.get(usize::from(*len)..)?,
            _ => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forged_is_read_back() {
        for (src, dst) in [("10.7.0.1:5", "10.7.0.2:80"), ("[fd00:7::1]:5", "[fd00:7::2]:80")] {
            let (src, dst) = (src.parse().unwrap(), dst.parse().unwrap());
            let forge = TcpForge { seq: 7, ack: 9, flags: ACK | FIN, window: 100, ..TcpForge::new(src, dst) };
            let frame = forge.frame([2; 6], [4; 6], b"hello");
            let segment = Segment::read(&frame).unwrap();
            assert_eq!((segment.src, segment.dst), (src, dst));
            assert_eq!(
                (segment.seq, segment.ack, segment.window, segment.payload),
                (7, 9, 100, &b"hello"[..])
            );
            assert_eq!((segment.sequence_len(), segment.scale), (6, None));
            assert!(is_intact(&frame));
            let mut damaged = frame.clone();
            damaged[frame.len() - 1] ^= 1;
            assert!(!is_intact(&damaged) && !is_intact(&frame[..frame.len() - 1]));
            for len in 0..frame.len() {
                assert_eq!(Segment::read(&frame[..len]), None, "{len} bytes of {}", frame.len());
            }
        }
    }

    #[test]
    fn the_scale_is_found_among_other_options() {
        assert_eq!(window_scale(&[2, 4, 5, 0xb4, 1, 3, 3, 7]), Some(7));
        assert_eq!(window_scale(&[1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(window_scale(&[2, 40, 3, 3, 7]), None);
        assert_eq!(window_scale(&[3, 3, 200]), Some(14), "RFC 7323 §2.3");
    }
}

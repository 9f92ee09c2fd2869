//! IPv6 and its extension headers (RFC 8200).

use core::net::Ipv6Addr;

use super::icmpv6::ParameterProblem;
use super::{Protocol, WireError, array_at, be16, be32};

/// Length of the fixed header, in bytes.
pub const LEN: usize = 40;

/// Length of a fragment header, in bytes.
pub const FRAGMENT_LEN: usize = 8;

/// The smallest MTU that a link may have, in bytes (RFC 8200 §5).
pub const MTU_MIN: usize = 1280;

/// The largest payload, extension headers included, in bytes.
pub const PAYLOAD_LEN_MAX: usize = u16::MAX as usize;

/// The most extension headers of a packet. RFC 8200 §4.1 names six, one of which may come twice; whoever
/// sends more wants to keep the receiver busy.
pub const EXTENSION_COUNT_MAX: usize = 8;

/// Where in the fixed header the payload length is.
const PAYLOAD_LEN_AT: usize = 4;
/// Where in the fixed header the next header is.
const NEXT_HEADER_AT: usize = 6;

/// The fixed header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Source address.
    pub src: Ipv6Addr,
    /// Destination address.
    pub dst: Ipv6Addr,
    /// What follows: an extension header or what the packet carries.
    pub next_header: Protocol,
    /// Hops left.
    pub hop_limit: u8,
    /// DSCP and, in the low two bits, ECN (RFC 3168).
    pub traffic_class: u8,
    /// Label of the flow, 20 bits; 0 for none.
    pub flow_label: u32,
    /// Length of what follows the fixed header, in bytes. What is longer is link padding.
    pub payload_len: u16,
}

/// Reads the fixed header of a packet of `packet_len` bytes in all, of which `bytes` are the first fragment.
///
/// # Errors
/// `Truncated`, `Version`, `TotalLength`; `Address` for a source that is a group (RFC 4291 §2.7).
#[inline]
pub fn parse(bytes: &[u8], packet_len: usize) -> Result<Header, WireError> {
    let header = parse_fields(array_at(bytes, 0)?)?;
    if LEN + usize::from(header.payload_len) > packet_len {
        return Err(WireError::TotalLength);
    }
    if header.src.is_multicast() {
        return Err(WireError::Address);
    }
    Ok(header)
}

#[inline]
fn parse_fields(fixed: &[u8; LEN]) -> Result<Header, WireError> {
    let word = be32(fixed, 0);
    if word >> 28 != 6 {
        return Err(WireError::Version);
    }
    Ok(Header {
        src: Ipv6Addr::from(*array_at::<16>(fixed, 8)?),
        dst: Ipv6Addr::from(*array_at::<16>(fixed, 24)?),
        next_header: Protocol(fixed[NEXT_HEADER_AT]),
        hop_limit: fixed[7],
        traffic_class: (word >> 20) as u8,
        flow_label: word & 0xf_ffff,
        payload_len: be16(fixed, PAYLOAD_LEN_AT),
    })
}

impl Header {
    /// Writes the header.
    ///
    /// # Panics
    /// If `header` is not [`LEN`] bytes long.
    #[inline]
    pub fn emit(&self, header: &mut [u8]) {
        header.copy_from_slice(&self.to_bytes());
    }

    /// The header as bytes.
    #[inline]
    pub fn to_bytes(&self) -> [u8; LEN] {
        let word = 6 << 28 | u32::from(self.traffic_class) << 20 | self.flow_label & 0xf_ffff;
        let mut header = [0; LEN];
        header[..4].copy_from_slice(&word.to_be_bytes());
        header[4..6].copy_from_slice(&self.payload_len.to_be_bytes());
        header[NEXT_HEADER_AT] = self.next_header.0;
        header[7] = self.hop_limit;
        header[8..24].copy_from_slice(&self.src.octets());
        header[24..].copy_from_slice(&self.dst.octets());
        header
    }
}

/// A fragment header (RFC 8200 §4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FragmentHeader {
    /// What the reassembled packet has here, as this fragment says; that of the first fragment counts.
    pub next_header: Protocol,
    /// Where in the fragmentable part this fragment starts, in bytes: a multiple of 8.
    pub offset: u16,
    /// Whether fragments follow.
    pub more: bool,
    /// Tells the fragments of one packet from those of another.
    pub ident: u32,
}

impl FragmentHeader {
    #[inline]
    fn parse(header: &[u8; FRAGMENT_LEN]) -> FragmentHeader {
        let offset_flags = be16(header, 2);
        FragmentHeader {
            next_header: Protocol(header[0]),
            offset: offset_flags & !7,
            more: offset_flags & 1 != 0,
            ident: be32(header, 4),
        }
    }

    /// Writes the header.
    ///
    /// # Panics
    /// If `header` is not [`FRAGMENT_LEN`] bytes long.
    pub fn emit(&self, header: &mut [u8]) {
        debug_assert!(self.offset.is_multiple_of(8), "fragments start at multiples of 8");
        let [o0, o1] = (self.offset | u16::from(self.more)).to_be_bytes();
        let [i0, i1, i2, i3] = self.ident.to_be_bytes();
        header.copy_from_slice(&[self.next_header.0, 0, o0, o1, i0, i1, i2, i3]);
    }
}

/// Where the extension headers of a packet end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extensions {
    /// What the packet carries; of a fragment, what its fragment header says.
    pub protocol: Protocol,
    /// Where that starts, in bytes from the start of the packet. The packet may end right there.
    pub offset: usize,
    /// Where the field is that names it (of a fragment: that names the fragment header), in bytes from the
    /// start of the packet: what a parameter problem points at when nobody knows the protocol.
    pub next_header_at: usize,
    /// Set if this is only a part of a packet. A packet that is its own only fragment does not count as one
    /// (RFC 6946).
    pub fragment: Option<FragmentHeader>,
    /// Set if it has a fragment header that says that it is its own only fragment (RFC 6946).
    pub is_atomic: bool,
}

/// Why extension headers were refused, and whom to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// What was wrong: the reason of the drop.
    pub error: WireError,
    /// The parameter problem to send to the source, if it is to know.
    pub report: Option<Report>,
}

/// A parameter problem to be sent (RFC 4443 §3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// The kind of problem.
    pub code: ParameterProblem,
    /// Where it is, in bytes from the start of the packet.
    pub pointer: u32,
    /// Whether it is sent even if the packet went to a group (RFC 4443 §2.4(e.3)).
    pub to_multicast: bool,
}

impl From<WireError> for Refusal {
    fn from(error: WireError) -> Refusal {
        Refusal { error, report: None }
    }
}

impl Refusal {
    fn with_report(error: WireError, code: ParameterProblem, pointer: usize) -> Refusal {
        Refusal { error, report: Some(Report { code, pointer: pointer as u32, to_multicast: false }) }
    }
}

/// Walks the extension headers of a packet whose fixed header is `header`. They must lie within `packet`,
/// the first fragment of the frame.
///
/// # Errors
/// What is wrong, and what to tell the source about it.
#[inline]
pub fn walk_extensions(packet: &[u8], header: &Header) -> Result<Extensions, Refusal> {
    let start = Extensions {
        protocol: header.next_header,
        offset: LEN,
        next_header_at: NEXT_HEADER_AT,
        fragment: None,
        is_atomic: false,
    };
    match header.next_header {
        Protocol::TCP | Protocol::UDP | Protocol::ICMPV6 => Ok(start),
        _ => walk(packet, LEN + usize::from(header.payload_len), start),
    }
}

#[cold]
fn walk(packet: &[u8], end: usize, start: Extensions) -> Result<Extensions, Refusal> {
    let packet = &packet[..end.min(packet.len())];
    let mut here = start;
    for _ in 0..=EXTENSION_COUNT_MAX {
        let at = here.offset;
        match here.protocol {
            Protocol::HOP_BY_HOP if at != LEN => {
                let code = ParameterProblem::UnrecognizedNextHeader;
                return Err(Refusal::with_report(WireError::HeaderOrder, code, here.next_header_at));
            }
            Protocol::HOP_BY_HOP | Protocol::DESTINATION_OPTIONS => check_options(packet, at)?,
            Protocol::ROUTING => check_routing(packet, at)?,
            Protocol::FRAGMENT => {
                let fragment = FragmentHeader::parse(array_at(packet, at)?);
                if fragment.offset != 0 || fragment.more {
                    check_fragment(packet, end, at, &fragment)?;
                    let (protocol, offset) = (fragment.next_header, at + FRAGMENT_LEN);
                    return Ok(Extensions { protocol, offset, fragment: Some(fragment), ..here });
                }
                here.is_atomic = true;
            }
            _ => return Ok(here),
        }
        here = step(packet, here)?;
    }
    Err(WireError::HeaderCount.into())
}

/// Steps over one extension header, whatever it says.
fn step(packet: &[u8], here: Extensions) -> Result<Extensions, WireError> {
    let at = here.offset;
    let len = match here.protocol {
        Protocol::FRAGMENT => FRAGMENT_LEN,
        _ => extension_len(packet, at)?,
    };
    let next_header = *packet.get(at).ok_or(WireError::Truncated)?;
    Ok(Extensions { protocol: Protocol(next_header), offset: at + len, next_header_at: at, ..here })
}

/// The length of an extension header that says it itself: all but the fragment header.
fn extension_len(packet: &[u8], at: usize) -> Result<usize, WireError> {
    let [_, units] = *array_at::<2>(packet, at)?;
    let len = (usize::from(units) + 1) * 8;
    if at + len <= packet.len() { Ok(len) } else { Err(WireError::Truncated) }
}

/// Walks the options of a hop-by-hop or destination options header. None asks anything of us, so that all
/// that counts is what the two top bits say about those who do not know an option (RFC 8200 §4.2).
fn check_options(packet: &[u8], at: usize) -> Result<(), Refusal> {
    const PAD1: u8 = 0;
    let end = at + extension_len(packet, at)?;
    let mut at = at + 2;
    while at < end {
        let kind = packet[at];
        if kind == PAD1 {
            at += 1;
            continue;
        }
        let len = packet[..end].get(at + 1).ok_or(WireError::OptionLength)?;
        refuse_unknown_option(kind, at)?;
        at += 2 + usize::from(*len);
    }
    if at == end { Ok(()) } else { Err(WireError::OptionLength.into()) }
}

fn refuse_unknown_option(kind: u8, at: usize) -> Result<(), Refusal> {
    let error = WireError::UnknownOption;
    let report = Report {
        code: ParameterProblem::UnrecognizedOption,
        pointer: at as u32,
        to_multicast: kind >> 6 == 0b10,
    };
    match kind >> 6 {
        0b00 => Ok(()),
        0b01 => Err(error.into()),
        _ => Err(Refusal { error, report: Some(report) }),
    }
}

/// We are the last stop of every route: a routing header with stops left is refused, type 0 included, which
/// counts as unknown (RFC 8200 §4.4, RFC 5095 §3).
fn check_routing(packet: &[u8], at: usize) -> Result<(), Refusal> {
    let [_, _, _, segments_left] = *array_at::<4>(packet, at)?;
    match segments_left {
        0 => Ok(()),
        _ => Err(Refusal::with_report(WireError::SourceRoute, ParameterProblem::ErroneousField, at + 2)),
    }
}

/// The checks of RFC 8200 §4.5 that one fragment must pass alone.
fn check_fragment(packet: &[u8], end: usize, at: usize, fragment: &FragmentHeader) -> Result<(), Refusal> {
    let error = WireError::FragmentLength;
    let len = end - (at + FRAGMENT_LEN);
    if fragment.more && !len.is_multiple_of(8) {
        return Err(Refusal::with_report(error, ParameterProblem::ErroneousField, PAYLOAD_LEN_AT));
    }
    if len == 0 {
        return Err(error.into());
    }
    if at - LEN + usize::from(fragment.offset) + len > PAYLOAD_LEN_MAX {
        return Err(Refusal::with_report(error, ParameterProblem::ErroneousField, at + 2));
    }
    if fragment.offset == 0 && !reaches_upper_layer(packet, at + FRAGMENT_LEN, fragment.next_header) {
        let code = ParameterProblem::IncompleteHeaderChain;
        return Err(Refusal::with_report(WireError::FragmentHeaders, code, 0));
    }
    Ok(())
}

/// Whether a first fragment has every header up to that of the transport, so that nobody on the way had to
/// guess what it passed (RFC 7112).
fn reaches_upper_layer(packet: &[u8], offset: usize, protocol: Protocol) -> bool {
    let start = Extensions { protocol, offset, next_header_at: 0, fragment: None, is_atomic: false };
    let Ok(upper) = skip(packet, start) else { return false };
    let header_len = match upper.protocol {
        Protocol::TCP => 20,
        Protocol::UDP => super::udp::LEN,
        Protocol::ICMPV6 => 4,
        _ => 0,
    };
    // A fragment within a fragment is nobody's packet, and every layer of them would be put together in turn.
    upper.fragment.is_none() && upper.offset + header_len <= packet.len()
}

/// Walks over extension headers without judging them. Stops behind a fragment header with another fragment's
/// payload.
fn skip(packet: &[u8], start: Extensions) -> Result<Extensions, WireError> {
    let mut here = start;
    for _ in 0..=EXTENSION_COUNT_MAX {
        match here.protocol {
            Protocol::HOP_BY_HOP | Protocol::DESTINATION_OPTIONS | Protocol::ROUTING => {}
            Protocol::FRAGMENT => {
                here.fragment = Some(FragmentHeader::parse(array_at(packet, here.offset)?));
            }
            _ => return Ok(here),
        }
        here = step(packet, here)?;
        if here.fragment.is_some_and(|fragment| fragment.offset != 0) {
            return Ok(here);
        }
    }
    Err(WireError::HeaderCount)
}

/// Reads what an ICMP error quotes: a packet that may be cut off anywhere. [`Extensions::fragment`] with an
/// offset other than 0 means that the transport header is not there; otherwise it starts at
/// [`Extensions::offset`], as far as the quote goes.
///
/// # Errors
/// `Truncated`, `Version`, `HeaderCount`.
pub fn parse_quote(quote: &[u8]) -> Result<(Header, Extensions), WireError> {
    let header = parse_fields(array_at(quote, 0)?)?;
    let start = Extensions {
        protocol: header.next_header,
        offset: LEN,
        next_header_at: NEXT_HEADER_AT,
        fragment: None,
        is_atomic: false,
    };
    Ok((header, skip(quote, start)?))
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// A packet whose fixed header names `first` and whose payload is `payload`.
    fn packet(first: Protocol, payload: &[u8]) -> (Header, Vec<u8>) {
        let header = Header {
            src: "fd00::1".parse().unwrap(),
            dst: "fd00::2".parse().unwrap(),
            next_header: first,
            hop_limit: 64,
            traffic_class: 0,
            flow_label: 0,
            payload_len: payload.len() as u16,
        };
        (header, [&header.to_bytes(), payload].concat())
    }

    fn walked(first: Protocol, payload: &[u8]) -> Result<Extensions, Refusal> {
        let (header, bytes) = packet(first, payload);
        walk_extensions(&bytes, &header)
    }

    fn reported(error: WireError, code: ParameterProblem, pointer: u32) -> Result<Extensions, Refusal> {
        Err(Refusal { error, report: Some(Report { code, pointer, to_multicast: false }) })
    }

    const UDP: u8 = Protocol::UDP.0;

    #[test]
    fn l4_headers_are_walked_to_the_transport() {
        let payload = [
            &[60, 0, 5, 2, 0, 0, 1, 0][..],                     // hop by hop: router alert
            &[43, 1, 1, 4, 0, 0, 0, 0, 1, 4, 0, 0, 0, 0, 0, 0], // destination options: padding
            &[UDP, 0, 0, 0, 0, 0, 0, 0],                        // routing: no segments left
            &[0; 8],
        ]
        .concat();
        let end = walked(Protocol::HOP_BY_HOP, &payload).unwrap();
        assert_eq!((end.protocol, end.offset, end.next_header_at), (Protocol::UDP, LEN + 32, LEN + 24));
        assert_eq!(walked(Protocol(253), &[]).unwrap().next_header_at, 6);
    }

    #[test]
    fn l4_unknown_options_do_as_their_top_bits_say() {
        let option = |kind: u8| walked(Protocol::DESTINATION_OPTIONS, &[UDP, 0, 1, 0, kind, 2, 0, 0]);
        assert!(option(0x1e).is_ok());
        assert_eq!(option(0x5e), Err(WireError::UnknownOption.into()));
        let (error, code) = (WireError::UnknownOption, ParameterProblem::UnrecognizedOption);
        let report = Report { code, pointer: 44, to_multicast: true };
        assert_eq!(option(0x9e), Err(Refusal { error, report: Some(report) }));
        assert_eq!(option(0xde), reported(error, code, 44));
    }

    #[test]
    fn l4_routing_headers_with_segments_left_are_refused() {
        for kind in [0, 2, 3, 4, 253] {
            let routing = |left| walked(Protocol::ROUTING, &[UDP, 0, kind, left, 0, 0, 0, 0]);
            assert!(routing(0).is_ok());
            assert_eq!(routing(1), reported(WireError::SourceRoute, ParameterProblem::ErroneousField, 42));
        }
    }

    #[test]
    fn l4_hop_by_hop_comes_first_and_headers_are_few() {
        let late = [&[0, 0, 1, 4, 0, 0, 0, 0][..], &[UDP, 0, 1, 4, 0, 0, 0, 0]].concat();
        let code = ParameterProblem::UnrecognizedNextHeader;
        assert_eq!(walked(Protocol::DESTINATION_OPTIONS, &late), reported(WireError::HeaderOrder, code, 40));
        let chain = |count: usize| {
            let mut payload = [60, 0, 1, 4, 0, 0, 0, 0].repeat(count);
            payload[8 * (count - 1)] = UDP;
            walked(Protocol::DESTINATION_OPTIONS, &payload)
        };
        assert!(chain(EXTENSION_COUNT_MAX).is_ok());
        assert_eq!(chain(EXTENSION_COUNT_MAX + 1), Err(WireError::HeaderCount.into()));
    }

    #[test]
    fn options_and_headers_end_within_the_packet() {
        for payload in [&[UDP][..], &[UDP, 1, 1, 4, 0, 0, 0, 0], &[UDP, 0, 0, 0, 0]] {
            assert_eq!(walked(Protocol::DESTINATION_OPTIONS, payload), Err(WireError::Truncated.into()));
        }
        for payload in [[UDP, 0, 1, 5, 0, 0, 0, 0], [UDP, 0, 0, 0, 0, 0, 0, 1]] {
            assert_eq!(walked(Protocol::DESTINATION_OPTIONS, &payload), Err(WireError::OptionLength.into()));
        }
    }

    #[test]
    fn l5_fragments_are_found_and_checked() {
        let fragment = |offset: u16, more, len| {
            let header = FragmentHeader { next_header: Protocol::UDP, offset, more, ident: 7 };
            let mut payload = vec![0; FRAGMENT_LEN + len];
            header.emit(&mut payload[..FRAGMENT_LEN]);
            walked(Protocol::FRAGMENT, &payload)
                .map(|end| (end.fragment.map(|found| found == header), end.offset))
        };
        assert_eq!(fragment(0, true, 16), Ok((Some(true), 48)));
        assert_eq!(fragment(16, false, 3), Ok((Some(true), 48)));
        assert_eq!(fragment(0, false, 11), Ok((None, 48)), "atomic");
        let refused = |result: Result<_, Refusal>| {
            let refusal = result.unwrap_err();
            (refusal.error, refusal.report.map(|report| (report.code, report.pointer)))
        };
        let erroneous =
            |pointer| (WireError::FragmentLength, Some((ParameterProblem::ErroneousField, pointer)));
        assert_eq!(refused(fragment(0, true, 15)), erroneous(4));
        assert_eq!(refused(fragment(65528, false, 8)), erroneous(42));
        assert_eq!(refused(fragment(8, false, 0)), (WireError::FragmentLength, None));
        let incomplete = (WireError::FragmentHeaders, Some((ParameterProblem::IncompleteHeaderChain, 0)));
        let tcp = [6, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(refused(walked(Protocol::FRAGMENT, &tcp).map(|_| (None, 0))), incomplete);
    }

    #[test]
    fn quotes_are_read_as_far_as_they_go() {
        let (header, bytes) = packet(Protocol::ROUTING, &[UDP, 0, 0, 3, 0, 0, 0, 0, 1, 2]);
        let (quoted, end) = parse_quote(&bytes).unwrap();
        assert_eq!((quoted, end.protocol, end.offset), (header, Protocol::UDP, 48));
        let (_, bytes) = packet(Protocol::FRAGMENT, &[60, 0, 0, 8, 0, 0, 0, 1, 9, 9]);
        let (_, end) = parse_quote(&bytes).unwrap();
        assert_eq!(end.fragment.unwrap().offset, 8);
        assert_eq!(parse_quote(&bytes[..44]), Err(WireError::Truncated));
    }

    #[test]
    fn the_fixed_header_is_checked() {
        let (header, mut bytes) = packet(Protocol::UDP, &[0; 4]);
        assert_eq!(parse(&bytes, 44), Ok(header));
        assert_eq!(parse(&bytes, 43), Err(WireError::TotalLength));
        assert_eq!(parse(&bytes[..39], 44), Err(WireError::Truncated));
        bytes[8] = 0xff;
        assert_eq!(parse(&bytes, 44), Err(WireError::Address));
        bytes[0] = 0x45;
        assert_eq!(parse(&bytes, 44), Err(WireError::Version));
    }

    /// Bytes that often make valid extension headers.
    fn headers() -> impl Strategy<Value = Vec<u8>> {
        let kind = prop::sample::select(vec![0u8, 6, 17, 43, 44, 58, 59, 60, 253]);
        let header = (kind, 0u8..3, prop::collection::vec(0u8..8, 6)).prop_map(|(kind, len, rest)| {
            let mut header = vec![kind, len];
            header.extend(rest);
            header.resize((usize::from(len) + 1) * 8, 0);
            header
        });
        prop::collection::vec(header, 0..12).prop_map(|headers| headers.concat())
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, payload in headers(), first in 0u8..61, cut: usize) {
            let _ = (parse(&bytes, bytes.len()), parse_quote(&bytes));
            let (header, mut bytes) = packet(Protocol(first), &payload);
            bytes.truncate(LEN + cut % (payload.len() + 1));
            let _ = parse_quote(&bytes);
            if let Ok(end) = walk_extensions(&bytes, &header) {
                prop_assert!(end.offset <= bytes.len() && end.next_header_at < end.offset);
            }
        }

        #[test]
        fn round_trips(
            src: u128, dst: u128, next_header: u8, hop_limit: u8, traffic_class: u8,
            flow_label in 0u32..1 << 20, payload_len: u16,
        ) {
            let src = src & !(0xff << 120);
            let header = Header {
                src: src.into(), dst: dst.into(), next_header: Protocol(next_header), hop_limit, traffic_class,
                flow_label, payload_len,
            };
            let mut bytes = [0; LEN];
            header.emit(&mut bytes);
            prop_assert_eq!(parse(&bytes, LEN + usize::from(payload_len)), Ok(header));
        }
    }
}

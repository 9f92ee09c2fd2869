//! ICMP for IPv6 (RFC 4443).

use core::net::{IpAddr, Ipv6Addr};

use hayase_device::checksum::Sum;

pub use super::icmpv4::{Echo, TimeExceeded};
use super::{Protocol, WireError, array_at, be16, be32, ipv6, mld, ndp, pseudo_header};

/// Length of the header, in bytes. The data of an echo, or the packet that an error quotes, follows.
pub const LEN: usize = 8;

/// The most bytes of a packet to quote in an error: with its own headers it stays within the smallest MTU
/// (RFC 4443 §2.4(c)).
pub const QUOTE_LEN_MAX: usize = ipv6::MTU_MIN - ipv6::LEN - LEN;

const UNREACHABLE: u8 = 1;
const PACKET_TOO_BIG: u8 = 2;
const TIME_EXCEEDED: u8 = 3;
const PARAMETER_PROBLEM: u8 = 4;
pub(crate) const ECHO_REQUEST: u8 = 128;
pub(crate) const ECHO_REPLY: u8 = 129;

/// Why a packet did not arrive: the codes of RFC 4443 §3.1 in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreachable {
    /// No way there.
    NoRoute,
    /// An administrator forbids it.
    Prohibited,
    /// The scope of the source address ends before.
    BeyondScope,
    /// The host does not answer on its link, or something else.
    Address,
    /// Nobody there listens on its port.
    Port,
    /// The source address is forbidden.
    SourcePolicy,
    /// A route says to refuse it.
    RejectRoute,
}

/// What is wrong with a packet: the codes of RFC 4443 §3.4 and RFC 7112 §5 in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterProblem {
    /// A header field with an impossible value.
    ErroneousField,
    /// Nobody here knows what a next header field names.
    UnrecognizedNextHeader,
    /// Nobody here knows an option that must be known.
    UnrecognizedOption,
    /// The first fragment lacks headers.
    IncompleteHeaderChain,
}

/// A message, or its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// The quoted packet did not arrive.
    Unreachable(Unreachable),
    /// The quoted packet is too long for a link on the way (RFC 8201).
    PacketTooBig {
        /// The MTU of that link, in bytes.
        mtu: u32,
    },
    /// The quoted packet took too long.
    TimeExceeded(TimeExceeded),
    /// The quoted packet has a fault.
    ParameterProblem {
        /// Which.
        code: ParameterProblem,
        /// Where, in bytes from its start.
        pointer: u32,
    },
    /// Somebody wants an echo.
    EchoRequest(Echo),
    /// An echo that we wanted.
    EchoReply(Echo),
    /// Neighbor discovery.
    Ndp(ndp::Message),
    /// A router asks for members of multicast groups.
    Query(mld::Query),
}

/// Reads a message that came in a packet with the fixed header `packet`. `bytes` are its first fragment, and
/// end with it at the latest; what an echo or an error carries starts at [`LEN`]. `sum` is the sum over the
/// [`pseudo_header`] and the whole message.
///
/// # Errors
/// `Truncated`, `Checksum`, `MessageCode`; `MessageType` for what a host does not act upon; those of
/// [`ndp::parse`] and [`mld::parse`].
pub fn parse(bytes: &[u8], sum: Sum, packet: &ipv6::Header) -> Result<Message, WireError> {
    let header: &[u8; LEN] = array_at(bytes, 0)?;
    if !sum.is_valid() {
        return Err(WireError::Checksum);
    }
    let (code, word) = (header[1], be32(header, 4));
    let echo = Echo { ident: be16(header, 4), sequence: be16(header, 6) };
    Ok(match header[0] {
        UNREACHABLE => Message::Unreachable(Unreachable::from_code(code)?),
        // RFC 4443 §3.2: the code is ignored by the receiver.
        PACKET_TOO_BIG => Message::PacketTooBig { mtu: word },
        TIME_EXCEEDED if code == 0 => Message::TimeExceeded(TimeExceeded::Transit),
        TIME_EXCEEDED if code == 1 => Message::TimeExceeded(TimeExceeded::Reassembly),
        PARAMETER_PROBLEM => {
            Message::ParameterProblem { code: ParameterProblem::from_code(code)?, pointer: word }
        }
        ECHO_REQUEST if code == 0 => Message::EchoRequest(echo),
        ECHO_REPLY if code == 0 => Message::EchoReply(echo),
        TIME_EXCEEDED | ECHO_REQUEST | ECHO_REPLY => return Err(WireError::MessageCode),
        mld::QUERY => Message::Query(mld::parse(bytes, packet)?),
        ndp::TYPE_MIN..=ndp::TYPE_MAX => Message::Ndp(ndp::parse(bytes, packet)?),
        _ => return Err(WireError::MessageType),
    })
}

impl Unreachable {
    const CODES: [Unreachable; 7] = [
        Unreachable::NoRoute,
        Unreachable::Prohibited,
        Unreachable::BeyondScope,
        Unreachable::Address,
        Unreachable::Port,
        Unreachable::SourcePolicy,
        Unreachable::RejectRoute,
    ];

    fn from_code(code: u8) -> Result<Unreachable, WireError> {
        Self::CODES.get(usize::from(code)).copied().ok_or(WireError::MessageCode)
    }
}

impl ParameterProblem {
    const CODES: [ParameterProblem; 4] = [
        ParameterProblem::ErroneousField,
        ParameterProblem::UnrecognizedNextHeader,
        ParameterProblem::UnrecognizedOption,
        ParameterProblem::IncompleteHeaderChain,
    ];

    fn from_code(code: u8) -> Result<ParameterProblem, WireError> {
        Self::CODES.get(usize::from(code)).copied().ok_or(WireError::MessageCode)
    }
}

impl Message {
    /// Writes the header in front of what `message` carries already, with the checksum over both and the
    /// pseudo-header; a neighbor discovery message is written whole.
    ///
    /// # Panics
    /// If `message` is shorter than [`LEN`], or for neighbor discovery is not [`ndp::Message::len`] bytes long.
    pub fn emit(&self, src: Ipv6Addr, dst: Ipv6Addr, message: &mut [u8]) {
        if let Message::Ndp(ndp) = self {
            return ndp.emit(src, dst, message);
        }
        let mut sum = pseudo_header(IpAddr::V6(src), IpAddr::V6(dst), Protocol::ICMPV6, message.len());
        let (header, body) = message.split_at_mut(LEN);
        sum.add(body);
        header.copy_from_slice(&self.to_bytes(sum));
    }

    /// The header as bytes, with the checksum for `rest`, the sum of the pseudo-header and the body.
    ///
    /// # Panics
    /// For neighbor discovery, which has no body; for what only routers send.
    pub fn to_bytes(&self, rest: Sum) -> [u8; LEN] {
        let (kind, code, [a, b, c, d]) = self.fields();
        let mut header = [kind, code, 0, 0, a, b, c, d];
        let mut sum = rest;
        sum.add_u16(be16(&header, 0));
        sum.add_u32(be32(&header, 4));
        [header[2], header[3]] = sum.checksum().to_be_bytes();
        header
    }

    fn fields(&self) -> (u8, u8, [u8; 4]) {
        match *self {
            Message::Unreachable(code) => (UNREACHABLE, code as u8, [0; 4]),
            Message::PacketTooBig { mtu } => (PACKET_TOO_BIG, 0, mtu.to_be_bytes()),
            Message::TimeExceeded(TimeExceeded::Transit) => (TIME_EXCEEDED, 0, [0; 4]),
            Message::TimeExceeded(TimeExceeded::Reassembly) => (TIME_EXCEEDED, 1, [0; 4]),
            Message::ParameterProblem { code, pointer } => {
                (PARAMETER_PROBLEM, code as u8, pointer.to_be_bytes())
            }
            Message::EchoRequest(echo) => (ECHO_REQUEST, 0, echo.to_bytes()),
            Message::EchoReply(echo) => (ECHO_REPLY, 0, echo.to_bytes()),
            Message::Ndp(_) => panic!("neighbor discovery messages are written whole"),
            Message::Query(_) => panic!("a host is no router"),
        }
    }
}

/// Whether a packet is an ICMP error or a redirect, or cannot be told from one: no error is sent about those
/// (RFC 4443 §2.4(e)).
pub fn is_error(packet: &[u8]) -> bool {
    const QUERIES: u8 = 0x80;
    let Ok((_, end)) = ipv6::parse_quote(packet) else { return true };
    if end.protocol != Protocol::ICMPV6 {
        return false;
    }
    let later_fragment = end.fragment.is_some_and(|fragment| fragment.offset != 0);
    later_fragment || packet.get(end.offset).is_none_or(|&kind| kind & QUERIES == 0 || kind == ndp::REDIRECT)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const SRC: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
    const DST: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

    fn packet(payload_len: usize) -> ipv6::Header {
        ipv6::Header {
            src: SRC,
            dst: DST,
            next_header: Protocol::ICMPV6,
            hop_limit: 255,
            traffic_class: 0,
            flow_label: 0,
            payload_len: payload_len as u16,
        }
    }

    fn sum(bytes: &[u8]) -> Sum {
        let mut sum = pseudo_header(SRC.into(), DST.into(), Protocol::ICMPV6, bytes.len());
        sum.add(bytes);
        sum
    }

    fn repaired(mut bytes: Vec<u8>) -> Vec<u8> {
        if bytes.len() >= LEN {
            bytes[2..4].fill(0);
            let checksum = sum(&bytes).checksum();
            bytes[2..4].copy_from_slice(&checksum.to_be_bytes());
        }
        bytes
    }

    #[test]
    fn what_no_host_acts_upon_is_refused() {
        for (kind, code, error) in [
            (0, 0, WireError::MessageType),
            (100, 0, WireError::MessageType),
            (131, 0, WireError::MessageType),
            (1, 7, WireError::MessageCode),
            (3, 2, WireError::MessageCode),
            (4, 4, WireError::MessageCode),
            (128, 1, WireError::MessageCode),
        ] {
            let bytes = repaired([kind, code, 0, 0, 0, 0, 0, 0].to_vec());
            assert_eq!(parse(&bytes, sum(&bytes), &packet(8)), Err(error), "type {kind} code {code}");
        }
    }

    #[test]
    fn l7_errors_are_told_from_queries() {
        let with = |kind: u8| [&packet(8).to_bytes()[..], &[kind, 0, 0, 0, 0, 0, 0, 0]].concat();
        assert!(is_error(&with(1)) && is_error(&with(100)) && is_error(&with(ndp::REDIRECT)));
        assert!(!is_error(&with(ECHO_REQUEST)) && !is_error(&with(135)));
        assert!(is_error(&with(ECHO_REQUEST)[..ipv6::LEN]));
        let udp = ipv6::Header { next_header: Protocol::UDP, ..packet(0) };
        assert!(!is_error(&udp.to_bytes()));
        // Behind a destination options header that will be refused.
        let options = ipv6::Header { next_header: Protocol::DESTINATION_OPTIONS, ..packet(16) };
        assert!(is_error(&[&options.to_bytes()[..], &[58, 0, 0x9e, 4, 0, 0, 0, 0], &[1; 8]].concat()));
    }

    fn message() -> impl Strategy<Value = Message> {
        let echo = (any::<u16>(), any::<u16>()).prop_map(|(ident, sequence)| Echo { ident, sequence });
        prop_oneof![
            echo.clone().prop_map(Message::EchoRequest),
            echo.prop_map(Message::EchoReply),
            prop::sample::select(Unreachable::CODES.to_vec()).prop_map(Message::Unreachable),
            any::<u32>().prop_map(|mtu| Message::PacketTooBig { mtu }),
            (prop::sample::select(ParameterProblem::CODES.to_vec()), any::<u32>())
                .prop_map(|(code, pointer)| Message::ParameterProblem { code, pointer }),
            Just(Message::TimeExceeded(TimeExceeded::Transit)),
            Just(Message::TimeExceeded(TimeExceeded::Reassembly)),
        ]
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, kind in 128u8..140) {
            let _ = is_error(&bytes);
            let mut bytes = repaired(bytes);
            let _ = parse(&bytes, sum(&bytes), &packet(bytes.len()));
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            let bytes = repaired(bytes);
            let _ = parse(&bytes, sum(&bytes), &packet(bytes.len()));
        }

        #[test]
        fn round_trips_and_damage_is_seen(message in message(), body: Vec<u8>, at: usize, bit in 0u8..8) {
            let mut bytes = [&[0; LEN], &body[..]].concat();
            message.emit(SRC, DST, &mut bytes);
            prop_assert_eq!(parse(&bytes, sum(&bytes), &packet(bytes.len())), Ok(message));
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(parse(&bytes, sum(&bytes), &packet(bytes.len())), Err(WireError::Checksum));
        }
    }
}

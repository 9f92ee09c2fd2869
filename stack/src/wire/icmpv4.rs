//! ICMP for IPv4 (RFC 792, RFC 1122 §3.2.2).

use hayase_device::checksum::Sum;

use super::{Protocol, WireError, array_at, be16, ipv4};

/// Length of the header, in bytes. The data of an echo, or the packet that an error quotes, follows.
pub const LEN: usize = 8;

/// The most bytes of a packet to quote in an error: with its own headers it stays within 576 bytes, which
/// every path takes (RFC 1812 §4.3.2.3).
pub const QUOTE_LEN_MAX: usize = 576 - ipv4::LEN - LEN;

const ECHO_REPLY: u8 = 0;
const UNREACHABLE: u8 = 3;
pub(crate) const ECHO_REQUEST: u8 = 8;
const TIME_EXCEEDED: u8 = 11;
const PARAMETER_PROBLEM: u8 = 12;

/// What tells one echo from another; a reply repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echo {
    /// Whose echo it is.
    pub ident: u16,
    /// Which one.
    pub sequence: u16,
}

/// Why a packet did not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreachable {
    /// No way to its network.
    Net,
    /// The host does not answer on its link.
    Host,
    /// Nobody there speaks its protocol.
    Protocol,
    /// Nobody there listens on its port.
    Port,
    /// It must not be fragmented and is too long for a link on the way (RFC 1191).
    FragmentationNeeded {
        /// The MTU of that link, in bytes; 0 from routers older than RFC 1191.
        mtu: u16,
    },
    /// One of the codes 5 to 15: routes that failed, administrators who forbid, precedences too low.
    Other(u8),
}

/// What took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeExceeded {
    /// The packet ran out of hops.
    Transit,
    /// Its fragments did not all arrive.
    Reassembly,
}

/// The header of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// Somebody wants an echo.
    EchoRequest(Echo),
    /// An echo that we wanted.
    EchoReply(Echo),
    /// The quoted packet did not arrive.
    Unreachable(Unreachable),
    /// The quoted packet took too long.
    TimeExceeded(TimeExceeded),
    /// The quoted packet has a fault.
    ParameterProblem {
        /// Where, in bytes from its start.
        pointer: u8,
    },
}

/// Reads the header of a message of which `bytes` are the first fragment; what it carries starts at [`LEN`].
/// `sum` is the sum over the whole message.
///
/// # Errors
/// `Truncated`, `Checksum`, `MessageCode`; `MessageType` for what a host does not act upon, source quench
/// (RFC 6633) and redirects among them: routes are the configuration's business.
pub fn parse(bytes: &[u8], sum: Sum) -> Result<Message, WireError> {
    let header: &[u8; LEN] = array_at(bytes, 0)?;
    if !sum.is_valid() {
        return Err(WireError::Checksum);
    }
    let echo = Echo { ident: be16(header, 4), sequence: be16(header, 6) };
    Ok(match (header[0], header[1]) {
        (ECHO_REQUEST, 0) => Message::EchoRequest(echo),
        (ECHO_REPLY, 0) => Message::EchoReply(echo),
        (UNREACHABLE, code) => Message::Unreachable(parse_unreachable(code, be16(header, 6))?),
        (TIME_EXCEEDED, 0) => Message::TimeExceeded(TimeExceeded::Transit),
        (TIME_EXCEEDED, 1) => Message::TimeExceeded(TimeExceeded::Reassembly),
        // Codes 1 and 2 name a missing option and a bad length: for the sender all the same.
        (PARAMETER_PROBLEM, 0..=2) => Message::ParameterProblem { pointer: header[4] },
        (ECHO_REQUEST | ECHO_REPLY | TIME_EXCEEDED | PARAMETER_PROBLEM, _) => {
            return Err(WireError::MessageCode);
        }
        _ => return Err(WireError::MessageType),
    })
}

fn parse_unreachable(code: u8, mtu: u16) -> Result<Unreachable, WireError> {
    Ok(match code {
        0 => Unreachable::Net,
        1 => Unreachable::Host,
        2 => Unreachable::Protocol,
        3 => Unreachable::Port,
        4 => Unreachable::FragmentationNeeded { mtu },
        5..=15 => Unreachable::Other(code),
        _ => return Err(WireError::MessageCode),
    })
}

impl Message {
    /// Writes the header in front of what `message` carries already, with the checksum over both.
    ///
    /// # Panics
    /// If `message` is shorter than [`LEN`].
    pub fn emit(&self, message: &mut [u8]) {
        let (header, body) = message.split_at_mut(LEN);
        let mut sum = Sum::default();
        sum.add(body);
        header.copy_from_slice(&self.to_bytes(sum));
    }

    /// The header as bytes, with the checksum for a body whose sum is `body`.
    pub fn to_bytes(&self, body: Sum) -> [u8; LEN] {
        let (kind, code, [a, b, c, d]) = self.fields();
        let mut header = [kind, code, 0, 0, a, b, c, d];
        let mut sum = body;
        sum.add_u16(be16(&header, 0));
        sum.add_u16(be16(&header, 4));
        sum.add_u16(be16(&header, 6));
        [header[2], header[3]] = sum.checksum().to_be_bytes();
        header
    }

    fn fields(&self) -> (u8, u8, [u8; 4]) {
        match *self {
            Message::EchoRequest(echo) => (ECHO_REQUEST, 0, echo.to_bytes()),
            Message::EchoReply(echo) => (ECHO_REPLY, 0, echo.to_bytes()),
            Message::Unreachable(unreachable) => {
                let (code, mtu) = match unreachable {
                    Unreachable::Net => (0, 0),
                    Unreachable::Host => (1, 0),
                    Unreachable::Protocol => (2, 0),
                    Unreachable::Port => (3, 0),
                    Unreachable::FragmentationNeeded { mtu } => (4, mtu),
                    Unreachable::Other(code) => (code, 0),
                };
                (UNREACHABLE, code, u32::from(mtu).to_be_bytes())
            }
            Message::TimeExceeded(TimeExceeded::Transit) => (TIME_EXCEEDED, 0, [0; 4]),
            Message::TimeExceeded(TimeExceeded::Reassembly) => (TIME_EXCEEDED, 1, [0; 4]),
            Message::ParameterProblem { pointer } => (PARAMETER_PROBLEM, 0, [pointer, 0, 0, 0]),
        }
    }
}

impl Echo {
    /// Identifier and sequence number as they stand in the header.
    pub(super) fn to_bytes(self) -> [u8; 4] {
        let ([i0, i1], [s0, s1]) = (self.ident.to_be_bytes(), self.sequence.to_be_bytes());
        [i0, i1, s0, s1]
    }
}

/// Whether a packet is an ICMP error, or cannot be told from one: no error is sent about those
/// (RFC 1122 §3.2.2).
pub fn is_error(packet: &[u8]) -> bool {
    let Ok((header, at)) = ipv4::parse_quote(packet) else { return true };
    if header.protocol != Protocol::ICMPV4 {
        return false;
    }
    let queries = [ECHO_REQUEST, ECHO_REPLY, 9, 10, 13, 14, 15, 16, 17, 18];
    header.fragment_offset != 0 || packet.get(at).is_none_or(|kind| !queries.contains(kind))
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn sum(bytes: &[u8]) -> Sum {
        let mut sum = Sum::default();
        sum.add(bytes);
        sum
    }

    fn raw(kind: u8, code: u8) -> Result<Message, WireError> {
        let mut header = [kind, code, 0, 0, 0, 0, 0, 0];
        let checksum = sum(&header).checksum();
        header[2..4].copy_from_slice(&checksum.to_be_bytes());
        parse(&header, sum(&header))
    }

    #[test]
    fn what_no_host_acts_upon_is_refused() {
        for (kind, code, error) in [
            (4, 0, WireError::MessageType),
            (5, 1, WireError::MessageType),
            (13, 0, WireError::MessageType),
            (8, 1, WireError::MessageCode),
            (3, 16, WireError::MessageCode),
            (11, 2, WireError::MessageCode),
            (12, 3, WireError::MessageCode),
        ] {
            assert_eq!(raw(kind, code), Err(error), "type {kind} code {code}");
        }
        assert_eq!(parse(&[8, 0, 0, 0, 0, 0, 0], Sum::default()), Err(WireError::Truncated));
    }

    #[test]
    fn i9_errors_are_told_from_queries() {
        let packet = |protocol, offset, kind| {
            let header = ipv4::Header {
                src: [10, 0, 0, 1].into(),
                dst: [10, 0, 0, 2].into(),
                protocol,
                ttl: 64,
                tos: 0,
                ident: 0,
                dont_fragment: false,
                more_fragments: false,
                fragment_offset: offset,
                payload_len: 8,
            };
            [&header.to_bytes()[..], &[kind, 0, 0, 0, 0, 0, 0, 0]].concat()
        };
        assert!(!is_error(&packet(Protocol::UDP, 0, 3)));
        assert!(!is_error(&packet(Protocol::ICMPV4, 0, ECHO_REQUEST)));
        assert!(is_error(&packet(Protocol::ICMPV4, 0, UNREACHABLE)));
        assert!(is_error(&packet(Protocol::ICMPV4, 8, ECHO_REQUEST)), "a later fragment may be anything");
        assert!(is_error(&packet(Protocol::ICMPV4, 0, 200)));
        assert!(is_error(&packet(Protocol::ICMPV4, 0, 8)[..20]));
    }

    fn message() -> impl Strategy<Value = Message> {
        let echo = (any::<u16>(), any::<u16>()).prop_map(|(ident, sequence)| Echo { ident, sequence });
        prop_oneof![
            echo.clone().prop_map(Message::EchoRequest),
            echo.prop_map(Message::EchoReply),
            any::<u16>().prop_map(|mtu| Message::Unreachable(Unreachable::FragmentationNeeded { mtu })),
            (5u8..16).prop_map(|code| Message::Unreachable(Unreachable::Other(code))),
            any::<u8>().prop_map(|pointer| Message::ParameterProblem { pointer }),
            prop::sample::select(alloc::vec![
                Message::Unreachable(Unreachable::Net),
                Message::Unreachable(Unreachable::Host),
                Message::Unreachable(Unreachable::Protocol),
                Message::Unreachable(Unreachable::Port),
                Message::TimeExceeded(TimeExceeded::Transit),
                Message::TimeExceeded(TimeExceeded::Reassembly),
            ]),
        ]
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut bytes: Vec<u8>) {
            let _ = is_error(&bytes);
            if bytes.len() >= LEN {
                bytes[2..4].fill(0);
                let checksum = sum(&bytes).checksum();
                bytes[2..4].copy_from_slice(&checksum.to_be_bytes());
            }
            let _ = parse(&bytes, sum(&bytes));
        }

        #[test]
        fn round_trips_and_damage_is_seen(message in message(), body: Vec<u8>, at: usize, bit in 0u8..8) {
            let mut bytes = [&[0; LEN], &body[..]].concat();
            message.emit(&mut bytes);
            prop_assert_eq!(parse(&bytes, sum(&bytes)), Ok(message));
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(parse(&bytes, sum(&bytes)), Err(WireError::Checksum));
        }
    }
}

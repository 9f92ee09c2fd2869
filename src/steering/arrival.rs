//! What a frame says about who it is for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hayase_device::FlowKey;
use hayase_device::headers::{Headers, ICMPV6, TCP, UDP};

use super::table::{Kind, Service};

const ICMPV4: u8 = 1;

/// Length of the part of an ICMP message before what it quotes (RFC 792, RFC 4443).
const ICMP_LEN: usize = 8;

/// Whom a frame is for, as far as one can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Any shard can deal with it: ARP, neighbour discovery, an echo request, and what nobody understands.
    Anyone,
    /// A segment, a datagram, or an error about one of ours. The source is the peer.
    Flow(FlowKey),
    /// The answer to an echo request with this identifier, or an error about one.
    Echo(Service),
    /// A part of a packet. Only the first knows the ports.
    Fragment(FragmentKey, Option<FlowKey>),
}

/// What the fragments of a packet have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FragmentKey {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) ident: u32,
}

/// Whether a frame is a whole segment or datagram with no tag, which NICs spread by its flow. Cheaper than
/// [`classify`], and no is no answer.
#[inline]
pub(super) fn is_plain(linear: &[u8]) -> bool {
    const PROTOCOL_V4: usize = 23;
    const NEXT_HEADER_V6: usize = 20;
    let Some(header) = linear.first_chunk::<{ PROTOCOL_V4 + 1 }>() else { return false };
    match header[12..14] {
        // No fragment: no offset, and nothing that follows.
        [8, 0] => matches!(header[PROTOCOL_V4], TCP | UDP) && header[20] & 0x3f == 0 && header[21] == 0,
        [0x86, 0xdd] => matches!(header[NEXT_HEADER_V6], TCP | UDP),
        _ => false,
    }
}

/// Reads the linear part of a frame.
pub(super) fn classify(linear: &[u8]) -> Arrival {
    let Some(headers) = Headers::parse(linear) else { return Arrival::Anyone };
    let arrival = match headers.protocol {
        _ if headers.fragment => fragment(linear, &headers),
        TCP | UDP => flow(linear, &headers, headers.transport, headers.protocol).map(Arrival::Flow),
        ICMPV4 if !headers.ipv6 => icmp(linear, &headers, 0, 3..=12),
        ICMPV6 if headers.ipv6 => icmp(linear, &headers, 129, 1..=4),
        _ => None,
    };
    arrival.unwrap_or(Arrival::Anyone)
}

fn flow(linear: &[u8], headers: &Headers, transport: usize, protocol: u8) -> Option<FlowKey> {
    let (source, destination) = addresses(linear, headers)?;
    Some(FlowKey {
        source: SocketAddr::new(source, u16_at(linear, transport)?),
        destination: SocketAddr::new(destination, u16_at(linear, transport + 2)?),
        udp: protocol == UDP,
    })
}

/// An echo reply has this type; an error, which quotes a packet of ours, one of those.
fn icmp(
    linear: &[u8],
    headers: &Headers,
    echo_reply: u8,
    errors: std::ops::RangeInclusive<u8>,
) -> Option<Arrival> {
    let kind = *linear.get(headers.transport)?;
    if kind == echo_reply {
        return Some(echo(u16_at(linear, headers.transport + 4)?));
    }
    if !errors.contains(&kind) {
        return None;
    }
    let quoted = Headers::parse_packet(linear, headers.transport + ICMP_LEN)?;
    if quoted.fragment {
        // The first one tells whose it was.
        let Some(Arrival::Fragment(_, Some(flow))) = fragment(linear, &quoted) else { return None };
        return Some(Arrival::Flow(reversed(flow)));
    }
    match quoted.protocol {
        TCP | UDP => {
            flow(linear, &quoted, quoted.transport, quoted.protocol).map(reversed).map(Arrival::Flow)
        }
        ICMPV4 | ICMPV6 => Some(echo(u16_at(linear, quoted.transport + 4)?)),
        _ => None,
    }
}

/// The same flow as the other end sees it.
fn reversed(flow: FlowKey) -> FlowKey {
    FlowKey { source: flow.destination, destination: flow.source, udp: flow.udp }
}

fn echo(ident: u16) -> Arrival {
    Arrival::Echo(Service { kind: Kind::Echo, number: ident })
}

fn fragment(linear: &[u8], headers: &Headers) -> Option<Arrival> {
    let (source, destination) = addresses(linear, headers)?;
    let at = headers.transport;
    let (ident, offset, protocol, transport) = if headers.ipv6 {
        // RFC 8200 §4.5
        let ident = u32::from_be_bytes(linear.get(at + 4..at + 8)?.try_into().ok()?);
        (ident, u16_at(linear, at + 2)? >> 3, *linear.get(at)?, at + 8)
    } else {
        let ident = u16_at(linear, headers.network + 4)?;
        (u32::from(ident), u16_at(linear, headers.network + 6)? & 0x1fff, headers.protocol, at)
    };
    let is_first = offset == 0 && matches!(protocol, TCP | UDP);
    let first = is_first.then(|| flow(linear, headers, transport, protocol)).flatten();
    Some(Arrival::Fragment(FragmentKey { source, destination, ident }, first))
}

fn addresses(linear: &[u8], headers: &Headers) -> Option<(IpAddr, IpAddr)> {
    if headers.ipv6 {
        let at = headers.network + 8;
        let source: [u8; 16] = linear.get(at..at + 16)?.try_into().ok()?;
        let destination: [u8; 16] = linear.get(at + 16..at + 32)?.try_into().ok()?;
        return Some((Ipv6Addr::from(source).into(), Ipv6Addr::from(destination).into()));
    }
    let at = headers.network + 12;
    let source: [u8; 4] = linear.get(at..at + 4)?.try_into().ok()?;
    let destination: [u8; 4] = linear.get(at + 4..at + 8)?.try_into().ok()?;
    Some((Ipv4Addr::from(source).into(), Ipv4Addr::from(destination).into()))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).and_then(|bytes| Some(u16::from_be_bytes(bytes.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An Ethernet frame with an IPv4 packet from 10.0.0.1 to 10.0.0.2.
    fn ipv4(protocol: u8, flags: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend(packet(protocol, flags, [10, 0, 0, 1], [10, 0, 0, 2], payload));
        frame
    }

    fn packet(protocol: u8, flags: u16, from: [u8; 4], to: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![8, 0, 0x45, 0, 0, 0, 0, 77];
        bytes.extend(flags.to_be_bytes());
        bytes.extend([64, protocol, 0, 0]);
        bytes.extend(from.into_iter().chain(to));
        bytes.extend(payload);
        let len = (bytes.len() - 2) as u16;
        bytes[4..6].copy_from_slice(&len.to_be_bytes());
        bytes
    }

    fn key(source: &str, destination: &str, udp: bool) -> FlowKey {
        FlowKey { source: source.parse().unwrap(), destination: destination.parse().unwrap(), udp }
    }

    #[test]
    fn segments_and_datagrams_are_flows() {
        let ports = [0, 7, 0, 9, 0, 0, 0, 0];
        let tcp = classify(&ipv4(TCP, 0, &ports));
        assert_eq!(tcp, Arrival::Flow(key("10.0.0.1:7", "10.0.0.2:9", false)));
        let udp = classify(&ipv4(UDP, 0, &ports));
        assert_eq!(udp, Arrival::Flow(key("10.0.0.1:7", "10.0.0.2:9", true)));
        assert_eq!(classify(&ipv4(TCP, 0, &ports[..3])), Arrival::Anyone, "cut off");
        assert!(is_plain(&ipv4(TCP, 0, &ports)) && is_plain(&ipv4(UDP, 0x4000, &ports)));
        assert!(!is_plain(&ipv4(UDP, 0x2000, &ports)) && !is_plain(&ipv4(UDP, 1, &ports)), "fragments");
        assert!(!is_plain(&ipv4(ICMPV4, 0, &ports)) && !is_plain(&ipv4(TCP, 0, &ports)[..20]));
    }

    #[test]
    fn errors_belong_to_the_flow_that_they_quote() {
        let quoted = packet(UDP, 0, [10, 0, 0, 2], [10, 0, 0, 9], &[0, 5, 0, 6, 0, 8, 0, 0]);
        let mut message = vec![3, 3, 0, 0, 0, 0, 0, 0];
        message.extend(&quoted[2..]);
        assert_eq!(
            classify(&ipv4(ICMPV4, 0, &message)),
            Arrival::Flow(key("10.0.0.9:6", "10.0.0.2:5", true))
        );
        // The first of its fragments, and another.
        for (offset, wanted) in
            [(0x2000, Arrival::Flow(key("10.0.0.9:6", "10.0.0.2:5", true))), (0x2004, Arrival::Anyone)]
        {
            let mut message = vec![3, 3, 0, 0, 0, 0, 0, 0];
            let ports = [0, 5, 0, 6, 0, 8, 0, 0];
            message.extend(&packet(UDP, offset, [10, 0, 0, 2], [10, 0, 0, 9], &ports)[2..]);
            assert_eq!(classify(&ipv4(ICMPV4, 0, &message)), wanted);
        }
        let reply = classify(&ipv4(ICMPV4, 0, &[0, 0, 0, 0, 1, 2, 0, 0]));
        assert_eq!(reply, Arrival::Echo(Service { kind: Kind::Echo, number: 0x102 }));
        assert_eq!(classify(&ipv4(ICMPV4, 0, &[8, 0, 0, 0, 1, 2, 0, 0])), Arrival::Anyone, "a request");
    }

    #[test]
    fn fragments_have_a_key_and_the_first_has_ports() {
        let first = classify(&ipv4(UDP, 0x2000, &[0, 7, 0, 9, 0, 0, 0, 0]));
        let second = classify(&ipv4(UDP, 1, &[1; 8]));
        let (Arrival::Fragment(a, Some(flow)), Arrival::Fragment(b, None)) = (first, second) else {
            panic!("{first:?} {second:?}")
        };
        assert_eq!((a, flow), (b, key("10.0.0.1:7", "10.0.0.2:9", true)));
    }
}

//! Multicast listener discovery, versions 1 (RFC 2710) and 2 (RFC 3810): what switches and routers learn from where a
//! group has members.

use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;

use super::{Protocol, WireError, array_at, be16, ipv6, pseudo_header};

/// The ICMPv6 type of a query.
pub const QUERY: u8 = 130;
const REPORT_V1: u8 = 131;
const DONE_V1: u8 = 132;
const REPORT_V2: u8 = 143;

/// The hop limit of every message.
pub const HOP_LIMIT: u8 = 1;

/// The hop-by-hop options in front of every message: router alert (RFC 2711), so that routers look at packets to groups
/// that they are no members of, and padding.
pub const ROUTER_ALERT: [u8; 8] = [Protocol::ICMPV6.0, 0, 5, 2, 0, 0, 1, 0];

/// Length of a query or report of version 1, which is also the shortest query of all.
const V1_LEN: usize = 24;
/// Length of the shortest query of version 2.
const V2_LEN_MIN: usize = 28;

/// Length of a report of version 2 without its records.
const REPORT_LEN: usize = 8;
const RECORD_LEN: usize = 20;

/// Records that a report has room for within the smallest MTU.
pub const RECORD_COUNT_MAX: usize =
    (ipv6::MTU_MIN - ipv6::LEN - ROUTER_ALERT.len() - REPORT_LEN) / RECORD_LEN;

/// A router asks for members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// The group that it asks for; `None`: all.
    pub group: Option<Ipv6Addr>,
    /// When the answer is due at the latest.
    pub delay_max: Duration,
    /// It speaks version 1, and understands no other.
    pub is_v1: bool,
}

/// Reads a query that came in a packet with the fixed header `packet` and whose checksum is right.
///
/// # Errors
/// What makes RFC 3810 §6.2 and §8.1 ignore it: `Address`, `HopLimit`, `Truncated` for a length that no version has.
pub fn parse(bytes: &[u8], packet: &ipv6::Header) -> Result<Query, WireError> {
    let fixed: &[u8; V1_LEN] = array_at(bytes, 0)?;
    if !packet.src.is_unicast_link_local() {
        return Err(WireError::Address);
    }
    if packet.hop_limit != HOP_LIMIT {
        return Err(WireError::HopLimit);
    }
    let is_v1 = bytes.len() == V1_LEN;
    if !is_v1 && bytes.len() < V2_LEN_MIN {
        return Err(WireError::Truncated);
    }
    let group = Ipv6Addr::from(*array_at::<16>(fixed, 8)?);
    if !group.is_unspecified() && !group.is_multicast() {
        return Err(WireError::Address);
    }
    let code = be16(fixed, 4);
    let millis = if is_v1 { u64::from(code) } else { maximum_response_delay(code) };
    let group = Some(group).filter(|group| !group.is_unspecified());
    Ok(Query { group, delay_max: Duration::from_millis(millis), is_v1 })
}

/// RFC 3810 §5.1.3: from half on, a number with an exponent.
fn maximum_response_delay(code: u16) -> u64 {
    if code < 0x8000 {
        return code.into();
    }
    u64::from(code & 0x0fff | 0x1000) << ((code >> 12 & 7) + 3)
}

/// Whether a packet has the router alert option, without which no query counts (RFC 3810 §6.2).
pub fn has_router_alert(packet: &[u8]) -> bool {
    const PAD1: u8 = 0;
    const ALERT: u8 = 5;
    let Ok([next_header]) = array_at::<1>(packet, 6) else { return false };
    let Some(header) = packet.get(ipv6::LEN..) else { return false };
    let Ok([_, units]) = array_at::<2>(header, 0) else { return false };
    let Some(mut options) = header.get(2..(usize::from(*units) + 1) * 8) else { return false };
    if Protocol(*next_header) != Protocol::HOP_BY_HOP {
        return false;
    }
    while let [kind, rest @ ..] = options {
        options = match (*kind, rest) {
            (PAD1, rest) => rest,
            (ALERT, [2, 0, 0, ..]) => return true,
            (_, [len, rest @ ..]) => rest.get(usize::from(*len)..).unwrap_or(&[]),
            _ => return false,
        };
    }
    false
}

/// What a record of a report of version 2 says of its group (RFC 3810 §5.2.12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// We are a member: the answer to a query.
    Is = 2,
    /// We are one no longer: of no source any more.
    Left = 3,
    /// We have become one: of every source.
    Joined = 4,
}

/// The length of a report about so many groups, in bytes.
pub const fn report_len(count: usize) -> usize {
    REPORT_LEN + count * RECORD_LEN
}

/// Writes a report of version 2 with its checksum.
///
/// # Panics
/// If `message` is not [`report_len`] bytes long.
pub fn emit_report(src: Ipv6Addr, dst: Ipv6Addr, record: Record, groups: &[Ipv6Addr], message: &mut [u8]) {
    assert_eq!(message.len(), report_len(groups.len()), "the buffer fits the report");
    message.fill(0);
    message[0] = REPORT_V2;
    message[6..8].copy_from_slice(&(groups.len() as u16).to_be_bytes());
    let (records, _) = message[REPORT_LEN..].as_chunks_mut::<RECORD_LEN>();
    for (out, group) in records.iter_mut().zip(groups) {
        out[0] = record as u8;
        out[4..].copy_from_slice(&group.octets());
    }
    sum(src, dst, message);
}

/// A message of version 1: that we are a member of the group to which it goes, or are no longer.
pub fn message_v1(src: Ipv6Addr, dst: Ipv6Addr, record: Record, group: Ipv6Addr) -> [u8; V1_LEN] {
    let mut message = [0; V1_LEN];
    message[0] = if record == Record::Left { DONE_V1 } else { REPORT_V1 };
    message[8..].copy_from_slice(&group.octets());
    sum(src, dst, &mut message);
    message
}

fn sum(src: Ipv6Addr, dst: Ipv6Addr, message: &mut [u8]) {
    let mut sum = pseudo_header(IpAddr::V6(src), IpAddr::V6(dst), Protocol::ICMPV6, message.len());
    sum.add(message);
    message[2..4].copy_from_slice(&sum.checksum().to_be_bytes());
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);

    fn packet(src: Ipv6Addr, hop_limit: u8) -> ipv6::Header {
        ipv6::Header {
            src,
            dst: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
            next_header: Protocol::HOP_BY_HOP,
            hop_limit,
            traffic_class: 0,
            flow_label: 0,
            payload_len: 0,
        }
    }

    fn query(len: usize, code: u16) -> Vec<u8> {
        let mut bytes = vec![0; len];
        bytes[0] = QUERY;
        bytes[4..6].copy_from_slice(&code.to_be_bytes());
        bytes
    }

    #[test]
    fn the_length_tells_the_version_and_the_unit_of_the_delay() {
        let delay = |len, code| {
            parse(&query(len, code), &packet(ROUTER, 1))
                .map(|query| (query.is_v1, query.delay_max.as_millis()))
        };
        assert_eq!(delay(24, 0xffff), Ok((true, 65_535)));
        assert_eq!(delay(28, 10_000), Ok((false, 10_000)));
        assert_eq!(delay(28, 0x8000), Ok((false, 32_768)));
        assert_eq!(delay(44, 0xffff), Ok((false, 8_387_584)), "RFC 3810 §5.1.3");
        for len in [23, 25, 27] {
            assert_eq!(delay(len, 0), Err(WireError::Truncated));
        }
    }

    #[test]
    fn queries_come_from_routers_of_the_link() {
        let good = query(28, 0);
        assert!(parse(&good, &packet(ROUTER, 1)).is_ok());
        assert_eq!(parse(&good, &packet(ROUTER, 2)), Err(WireError::HopLimit));
        let global = "fd00::9".parse().unwrap();
        assert_eq!(parse(&good, &packet(global, 1)), Err(WireError::Address));
        let mut unicast = good.clone();
        unicast[8..24].copy_from_slice(&ROUTER.octets());
        assert_eq!(parse(&unicast, &packet(ROUTER, 1)), Err(WireError::Address));
    }

    #[test]
    fn router_alert_is_found_wherever_it_stands() {
        let with = |options: &[u8]| {
            let mut bytes = vec![0; ipv6::LEN];
            bytes.extend_from_slice(options);
            bytes
        };
        for options in [
            &ROUTER_ALERT[..],
            &[58, 0, 0, 0, 5, 2, 0, 0],
            &[58, 1, 1, 2, 0, 0, 0, 0, 0, 0, 5, 2, 0, 0, 1, 0],
        ] {
            assert!(has_router_alert(&with(options)), "{options:?}");
        }
        for options in [
            &[58, 0, 1, 4, 0, 0, 0, 0][..],
            &[58, 0, 5, 2, 0, 1, 1, 0],
            &[58, 0, 5, 4, 0, 0, 0, 0],
            &[58, 9],
            &[],
        ] {
            assert!(!has_router_alert(&with(options)), "{options:?}");
        }
        let mut other = with(&ROUTER_ALERT);
        other[6] = 60;
        assert!(!has_router_alert(&other), "destination options");
    }

    #[test]
    fn a_full_report_fits_the_smallest_mtu() {
        let whole = |count| ipv6::LEN + ROUTER_ALERT.len() + report_len(count);
        assert!(whole(RECORD_COUNT_MAX) <= ipv6::MTU_MIN && whole(RECORD_COUNT_MAX + 1) > ipv6::MTU_MIN);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes, &packet(ROUTER, 1));
            has_router_alert(&bytes);
            has_router_alert(&[&[0; ipv6::LEN][..], &bytes].concat());
        }
    }
}

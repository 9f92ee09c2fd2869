//! Neighbor discovery for IPv6 (RFC 4861).

use core::net::{IpAddr, Ipv6Addr};

use super::{Mac, Protocol, WireError, array_at, be16, be32, ipv6, pseudo_header};

/// The lowest ICMPv6 type of neighbor discovery.
pub const TYPE_MIN: u8 = ROUTER_SOLICIT;
/// The highest ICMPv6 type of neighbor discovery.
pub const TYPE_MAX: u8 = REDIRECT;
/// The ICMPv6 type of a redirect.
pub const REDIRECT: u8 = 137;

/// The hop limit that every message has: it shows that no router forwarded it (RFC 4861 §3.1).
pub const HOP_LIMIT: u8 = 255;

/// The most prefixes taken from one router advertisement; those behind are left out. Links have one or two, and as many again
/// while they are renumbered.
pub const PREFIX_COUNT_MAX: usize = 6;

const ROUTER_SOLICIT: u8 = 133;
const ROUTER_ADVERT: u8 = 134;
const NEIGHBOR_SOLICIT: u8 = 135;
const NEIGHBOR_ADVERT: u8 = 136;

const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;
const PREFIX_INFORMATION: u8 = 3;
const MTU: u8 = 5;
const NONCE: u8 = 14;

/// Options are counted in units of so many bytes.
const OPTION_UNIT: usize = 8;
/// Length of a link-layer address option on Ethernet.
const LINK_LAYER_LEN: usize = 8;

/// What marks a question as one's own (RFC 3971 §5.3.2).
pub type Nonce = [u8; 6];

/// A message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// A host wants to know its routers.
    RouterSolicit {
        /// The link-layer address of the sender.
        source_mac: Option<Mac>,
    },
    /// A router tells about itself and the link.
    RouterAdvert(RouterAdvert),
    /// Who has this address? Or, from the unspecified address: does anybody (RFC 4862 §5.4)?
    NeighborSolicit {
        /// The address in question.
        target: Ipv6Addr,
        /// The link-layer address of the sender.
        source_mac: Option<Mac>,
        /// What the sender knows its own question by, should it come back (RFC 7527).
        nonce: Option<Nonce>,
    },
    /// A host tells about an address that it has.
    NeighborAdvert(NeighborAdvert),
    /// A router knows a better first hop.
    Redirect {
        /// The better first hop; the destination itself if it is on the link.
        target: Ipv6Addr,
        /// For packets to this address.
        destination: Ipv6Addr,
        /// The link-layer address of the target.
        target_mac: Option<Mac>,
    },
}

/// A neighbor advertisement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NeighborAdvert {
    /// The address spoken of.
    pub target: Ipv6Addr,
    /// The sender is a router.
    pub router: bool,
    /// This answers a solicitation, and so proves that packets get there.
    pub solicited: bool,
    /// This replaces a link-layer address that is known already.
    pub override_known: bool,
    /// The link-layer address of the target; may be absent in an answer to a unicast solicitation.
    pub target_mac: Option<Mac>,
}

/// Whether a router is to be used before others (RFC 4191 §2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Preference {
    /// After those that do not say.
    Low,
    /// What is not said, or not understood, counts as this.
    #[default]
    Medium,
    /// Before those that do not say.
    High,
}

impl Preference {
    fn of_bits(bits: u8) -> Preference {
        match bits & 3 {
            1 => Preference::High,
            3 => Preference::Low,
            _ => Preference::Medium,
        }
    }
}

/// A router advertisement. A value of zero means that the router says nothing about it: the default one says that the sender
/// is no router for what is not on the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RouterAdvert {
    /// Hop limit for packets we send.
    pub hop_limit: u8,
    /// Addresses are given by DHCPv6.
    pub managed: bool,
    /// Other configuration is given by DHCPv6.
    pub other: bool,
    /// Whether the sender is to be used before other default routers.
    pub preference: Preference,
    /// How long the sender is a default router, in seconds; 0: it is none.
    pub lifetime_s: u16,
    /// How long a neighbor counts as reachable, in milliseconds.
    pub reachable_ms: u32,
    /// How long to wait between solicitations, in milliseconds.
    pub retransmit_ms: u32,
    /// The link-layer address of the router.
    pub source_mac: Option<Mac>,
    /// The MTU of the link, in bytes.
    pub mtu: Option<u32>,
    /// It tells of more prefixes than are taken from one advertisement.
    pub left_out: bool,
    prefixes: [Option<Prefix>; PREFIX_COUNT_MAX],
}

impl RouterAdvert {
    /// The prefixes of the link.
    pub fn prefixes(&self) -> impl Iterator<Item = &Prefix> {
        self.prefixes.iter().flatten()
    }
}

/// A prefix of the link (RFC 4861 §4.6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// The prefix; bits behind its length mean nothing.
    pub addr: Ipv6Addr,
    /// Its length in bits, at most 128.
    pub len: u8,
    /// Its addresses are on this link.
    pub on_link: bool,
    /// Hosts may make addresses of it (RFC 4862).
    pub autonomous: bool,
    /// How long it is valid, in seconds; all ones: for ever.
    pub valid_s: u32,
    /// How long addresses made of it are preferred, in seconds; all ones: for ever.
    pub preferred_s: u32,
}

/// Reads a message that came in a packet with the fixed header `packet` and whose checksum is right. `bytes`
/// are the whole message.
///
/// # Errors
/// What makes RFC 4861 §6.1, §7.1 or §8.1 discard it: `HopLimit`, `MessageCode`, `Truncated`, `OptionLength`,
/// `Address`; `MessageType` for another message.
pub fn parse(bytes: &[u8], packet: &ipv6::Header) -> Result<Message, WireError> {
    let [kind, code, ..] = *array_at::<4>(bytes, 0)?;
    if packet.hop_limit != HOP_LIMIT {
        return Err(WireError::HopLimit);
    }
    if code != 0 {
        return Err(WireError::MessageCode);
    }
    match kind {
        ROUTER_SOLICIT => parse_router_solicit(bytes, packet),
        ROUTER_ADVERT => parse_router_advert(bytes, packet),
        NEIGHBOR_SOLICIT => parse_neighbor_solicit(bytes, packet),
        NEIGHBOR_ADVERT => parse_neighbor_advert(bytes, packet),
        REDIRECT => parse_redirect(bytes, packet),
        _ => Err(WireError::MessageType),
    }
}

fn parse_router_solicit(bytes: &[u8], packet: &ipv6::Header) -> Result<Message, WireError> {
    let source_mac = Options::parse(bytes, 8)?.source_mac;
    if packet.src.is_unspecified() && source_mac.is_some() {
        return Err(WireError::Address);
    }
    Ok(Message::RouterSolicit { source_mac })
}

fn parse_router_advert(bytes: &[u8], packet: &ipv6::Header) -> Result<Message, WireError> {
    let fixed: &[u8; 16] = array_at(bytes, 0)?;
    if !packet.src.is_unicast_link_local() {
        return Err(WireError::Address);
    }
    let options = Options::parse(bytes, fixed.len())?;
    Ok(Message::RouterAdvert(RouterAdvert {
        hop_limit: fixed[4],
        managed: fixed[5] & 0x80 != 0,
        other: fixed[5] & 0x40 != 0,
        preference: Preference::of_bits(fixed[5] >> 3),
        lifetime_s: be16(fixed, 6),
        reachable_ms: be32(fixed, 8),
        retransmit_ms: be32(fixed, 12),
        source_mac: options.source_mac,
        mtu: options.mtu,
        left_out: options.left_out,
        prefixes: options.prefixes,
    }))
}

fn parse_neighbor_solicit(bytes: &[u8], packet: &ipv6::Header) -> Result<Message, WireError> {
    let target = parse_target(bytes)?;
    let Options { source_mac, nonce, .. } = Options::parse(bytes, 24)?;
    if packet.src.is_unspecified() && (source_mac.is_some() || !is_solicited_node(packet.dst)) {
        return Err(WireError::Address);
    }
    Ok(Message::NeighborSolicit { target, source_mac, nonce })
}

fn parse_neighbor_advert(bytes: &[u8], packet: &ipv6::Header) -> Result<Message, WireError> {
    let target = parse_target(bytes)?;
    let flags = bytes[4];
    let advert = NeighborAdvert {
        target,
        router: flags & 0x80 != 0,
        solicited: flags & 0x40 != 0,
        override_known: flags & 0x20 != 0,
        target_mac: Options::parse(bytes, 24)?.target_mac,
    };
    // An answer goes to the one who asked, never to a group (RFC 4861 §7.1.2).
    if advert.solicited && packet.dst.is_multicast() {
        return Err(WireError::Address);
    }
    Ok(Message::NeighborAdvert(advert))
}

fn parse_redirect(bytes: &[u8], packet: &ipv6::Header) -> Result<Message, WireError> {
    let target = parse_target(bytes)?;
    let destination = Ipv6Addr::from(*array_at::<16>(bytes, 24)?);
    let first_hop_ok = target == destination || target.is_unicast_link_local();
    if !packet.src.is_unicast_link_local() || destination.is_multicast() || !first_hop_ok {
        return Err(WireError::Address);
    }
    Ok(Message::Redirect { target, destination, target_mac: Options::parse(bytes, 40)?.target_mac })
}

/// The target address, which three messages have at the same place.
fn parse_target(bytes: &[u8]) -> Result<Ipv6Addr, WireError> {
    let target = Ipv6Addr::from(*array_at::<16>(bytes, 8)?);
    if target.is_multicast() { Err(WireError::Address) } else { Ok(target) }
}

/// Whether this is the group of those who have a certain end of address (RFC 4291 §2.7.1).
fn is_solicited_node(addr: Ipv6Addr) -> bool {
    matches!(addr.segments(), [0xff02, 0, 0, 0, 0, 1, 0xff00..=0xffff, _])
}

/// What the options of a message say.
#[derive(Debug, Default)]
struct Options {
    source_mac: Option<Mac>,
    target_mac: Option<Mac>,
    mtu: Option<u32>,
    nonce: Option<Nonce>,
    left_out: bool,
    prefixes: [Option<Prefix>; PREFIX_COUNT_MAX],
}

impl Options {
    /// Reads the options from `at` to the end of the message. Unknown ones are skipped (RFC 4861 §4.6).
    fn parse(bytes: &[u8], at: usize) -> Result<Options, WireError> {
        let mut rest = bytes.get(at..).ok_or(WireError::Truncated)?;
        let mut options = Options::default();
        while !rest.is_empty() {
            let [kind, units] = *array_at::<2>(rest, 0)?;
            let len = usize::from(units) * OPTION_UNIT;
            let (option, behind) = rest.split_at_checked(len).ok_or(WireError::OptionLength)?;
            if option.is_empty() {
                return Err(WireError::OptionLength);
            }
            options.take(kind, option)?;
            rest = behind;
        }
        Ok(options)
    }

    fn take(&mut self, kind: u8, option: &[u8]) -> Result<(), WireError> {
        match kind {
            SOURCE_LINK_LAYER => self.source_mac = Some(parse_mac(option)?),
            TARGET_LINK_LAYER => self.target_mac = Some(parse_mac(option)?),
            MTU => self.mtu = Some(be32(option_of::<8>(option)?, 4)),
            // A nonce of another length is none of ours.
            NONCE => self.nonce = option_of::<8>(option).map(|&[_, _, nonce @ ..]| nonce).ok(),
            PREFIX_INFORMATION => {
                let prefix = parse_prefix(option_of(option)?)?;
                match self.prefixes.iter_mut().find(|slot| slot.is_none()) {
                    Some(free) => *free = Some(prefix),
                    None => self.left_out = true,
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// An option that has just one length.
fn option_of<const LEN: usize>(option: &[u8]) -> Result<&[u8; LEN], WireError> {
    option.try_into().map_err(|_| WireError::OptionLength)
}

fn parse_mac(option: &[u8]) -> Result<Mac, WireError> {
    let [_, _, mac @ ..] = *option_of::<LINK_LAYER_LEN>(option)?;
    Some(Mac(mac)).filter(|mac| mac.is_unicast()).ok_or(WireError::Address)
}

fn parse_prefix(option: &[u8; 32]) -> Result<Prefix, WireError> {
    let len = option[2];
    if len > 128 {
        return Err(WireError::OptionLength);
    }
    Ok(Prefix {
        addr: Ipv6Addr::from(*array_at::<16>(option, 16)?),
        len,
        on_link: option[3] & 0x80 != 0,
        autonomous: option[3] & 0x40 != 0,
        valid_s: be32(option, 4),
        preferred_s: be32(option, 8),
    })
}

impl Message {
    /// Length of the message, in bytes.
    ///
    /// # Panics
    /// For what only routers send.
    #[expect(clippy::len_without_is_empty, reason = "no message is empty")]
    pub fn len(&self) -> usize {
        let (fixed_len, option_count) = match self {
            Message::RouterSolicit { source_mac } => (8, usize::from(source_mac.is_some())),
            Message::NeighborSolicit { source_mac, nonce, .. } => {
                (24, usize::from(source_mac.is_some()) + usize::from(nonce.is_some()))
            }
            Message::NeighborAdvert(advert) => (24, usize::from(advert.target_mac.is_some())),
            Message::RouterAdvert(_) | Message::Redirect { .. } => panic!("a host is no router"),
        };
        // All options that a host sends are of one unit.
        fixed_len + option_count * OPTION_UNIT
    }

    /// Writes the message with its checksum.
    ///
    /// # Panics
    /// If `message` is not [`len`](Self::len) bytes long; for what only routers send.
    pub fn emit(&self, src: Ipv6Addr, dst: Ipv6Addr, message: &mut [u8]) {
        assert_eq!(message.len(), self.len(), "the buffer fits the message");
        message.fill(0);
        match self {
            Message::RouterSolicit { source_mac } => {
                message[0] = ROUTER_SOLICIT;
                emit_options(&[(SOURCE_LINK_LAYER, source_mac.map(|mac| mac.0))], &mut message[8..]);
            }
            Message::NeighborSolicit { target, source_mac, nonce } => {
                message[0] = NEIGHBOR_SOLICIT;
                message[8..24].copy_from_slice(&target.octets());
                let options = [(SOURCE_LINK_LAYER, source_mac.map(|mac| mac.0)), (NONCE, *nonce)];
                emit_options(&options, &mut message[24..]);
            }
            Message::NeighborAdvert(advert) => advert.emit(message),
            Message::RouterAdvert(_) | Message::Redirect { .. } => panic!("a host is no router"),
        }
        let mut sum = pseudo_header(IpAddr::V6(src), IpAddr::V6(dst), Protocol::ICMPV6, message.len());
        sum.add(message);
        message[2..4].copy_from_slice(&sum.checksum().to_be_bytes());
    }
}

impl NeighborAdvert {
    fn emit(&self, message: &mut [u8]) {
        let flag = |set, bit| if set { bit } else { 0 };
        message[0] = NEIGHBOR_ADVERT;
        message[4] = flag(self.router, 0x80) | flag(self.solicited, 0x40) | flag(self.override_known, 0x20);
        message[8..24].copy_from_slice(&self.target.octets());
        emit_options(&[(TARGET_LINK_LAYER, self.target_mac.map(|mac| mac.0))], &mut message[24..]);
    }
}

/// Writes those options of one unit that are there.
fn emit_options(options: &[(u8, Option<[u8; 6]>)], out: &mut [u8]) {
    let present = options.iter().filter_map(|(kind, value)| Some((kind, (*value)?)));
    for ((kind, value), option) in present.zip(out.as_chunks_mut::<OPTION_UNIT>().0) {
        option[..2].copy_from_slice(&[*kind, 1]);
        option[2..].copy_from_slice(&value);
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const HOST: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
    const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);
    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn packet(src: Ipv6Addr, dst: Ipv6Addr) -> ipv6::Header {
        ipv6::Header {
            src,
            dst,
            next_header: Protocol::ICMPV6,
            hop_limit: HOP_LIMIT,
            traffic_class: 0,
            flow_label: 0,
            payload_len: 0,
        }
    }

    fn solicit(source_mac: Option<Mac>) -> Vec<u8> {
        let message = Message::NeighborSolicit { target: HOST, source_mac, nonce: None };
        let mut bytes = vec![0xaa; message.len()];
        message.emit(ROUTER, HOST, &mut bytes);
        bytes
    }

    #[test]
    fn l2_what_the_rfc_discards_is_discarded() {
        let good = packet(ROUTER, HOST);
        assert!(parse(&solicit(Some(MAC)), &good).is_ok());
        let far = ipv6::Header { hop_limit: 254, ..good };
        assert_eq!(parse(&solicit(Some(MAC)), &far), Err(WireError::HopLimit));
        let refused = |at: usize, value| {
            let mut bytes = solicit(Some(MAC));
            bytes[at] = value;
            parse(&bytes, &good).unwrap_err()
        };
        assert_eq!(refused(1, 1), WireError::MessageCode);
        assert_eq!(refused(8, 0xff), WireError::Address);
        assert_eq!(refused(25, 0), WireError::OptionLength);
        assert_eq!(refused(25, 2), WireError::OptionLength);
        assert_eq!(refused(26, 3), WireError::Address);
        assert_eq!(parse(&solicit(None)[..23], &good), Err(WireError::Truncated));
    }

    #[test]
    fn probes_for_duplicates_come_without_address_to_the_right_group() {
        let group = "ff02::1:ff00:1".parse().unwrap();
        let unspecified = Ipv6Addr::UNSPECIFIED;
        assert!(parse(&solicit(None), &packet(unspecified, group)).is_ok());
        assert_eq!(parse(&solicit(Some(MAC)), &packet(unspecified, group)), Err(WireError::Address));
        assert_eq!(parse(&solicit(None), &packet(unspecified, HOST)), Err(WireError::Address));
    }

    #[test]
    fn nobody_answers_a_group() {
        let advert = NeighborAdvert {
            target: HOST,
            router: false,
            solicited: true,
            override_known: true,
            target_mac: Some(MAC),
        };
        let mut bytes = [0; 32];
        Message::NeighborAdvert(advert).emit(HOST, ROUTER, &mut bytes);
        assert_eq!(parse(&bytes, &packet(HOST, ROUTER)), Ok(Message::NeighborAdvert(advert)));
        let all_nodes = "ff02::1".parse().unwrap();
        assert_eq!(parse(&bytes, &packet(HOST, all_nodes)), Err(WireError::Address));
    }

    fn advert(prefix_count: u8) -> Vec<u8> {
        let mut bytes = vec![134, 0, 0, 0, 64, 0xc0, 0x07, 0x08, 0, 0, 0x75, 0x30, 0, 0, 0x03, 0xe8];
        bytes.extend([1, 1, 2, 0, 0, 0, 0, 9]);
        bytes.extend([5, 1, 0, 0, 0, 0, 0x05, 0xdc]);
        bytes.extend([200, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]); // unknown
        for i in 0..prefix_count {
            bytes.extend([3, 4, 64, 0xc0, 0, 0, 0x0e, 0x10, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
            bytes.extend(Ipv6Addr::new(0xfd00, i.into(), 0, 0, 0, 0, 0, 0).octets());
        }
        bytes
    }

    #[test]
    fn a_router_says_whether_it_is_preferred() {
        use Preference::{High, Low, Medium};

        for (bits, preference) in [(0b00, Medium), (0b01, High), (0b10, Medium), (0b11, Low)] {
            let mut bytes = advert(0);
            bytes[5] |= bits << 3;
            let Ok(Message::RouterAdvert(router)) = parse(&bytes, &packet(ROUTER, HOST)) else {
                panic!("a router advertisement");
            };
            assert_eq!((router.preference, router.managed, router.other), (preference, true, true));
        }
    }

    #[test]
    fn a_router_advertisement_is_read_whole_and_its_prefixes_are_bounded() {
        for count in [0, 1, PREFIX_COUNT_MAX + 3] {
            let Ok(Message::RouterAdvert(router)) = parse(&advert(count as u8), &packet(ROUTER, HOST)) else {
                panic!("a router advertisement");
            };
            assert_eq!(
                (router.hop_limit, router.managed, router.other, router.lifetime_s),
                (64, true, true, 1800)
            );
            assert_eq!((router.reachable_ms, router.retransmit_ms), (30_000, 1000));
            assert_eq!((router.source_mac, router.mtu), (Some(Mac([2, 0, 0, 0, 0, 9])), Some(1500)));
            assert_eq!(router.prefixes().count(), count.min(PREFIX_COUNT_MAX));
            assert_eq!(router.left_out, count > PREFIX_COUNT_MAX);
            for (i, prefix) in router.prefixes().enumerate() {
                assert_eq!((prefix.addr.segments()[1], prefix.len), (i as u16, 64));
                assert_eq!((prefix.valid_s, prefix.preferred_s), (3600, u32::MAX));
                assert!(prefix.on_link && prefix.autonomous);
            }
        }
        assert_eq!(parse(&advert(1), &packet(HOST, HOST)), Err(WireError::Address));
        let mut long_prefix = advert(1);
        long_prefix[50] = 129;
        assert_eq!(parse(&long_prefix, &packet(ROUTER, HOST)), Err(WireError::OptionLength));
    }

    #[test]
    fn redirects_come_from_routers_and_lead_to_neighbors() {
        let mut bytes = vec![137, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend(ROUTER.octets());
        bytes.extend(HOST.octets());
        bytes.extend([2, 1, 2, 0, 0, 0, 0, 1]);
        let redirect = Message::Redirect { target: ROUTER, destination: HOST, target_mac: Some(MAC) };
        assert_eq!(parse(&bytes, &packet(ROUTER, HOST)), Ok(redirect));
        assert_eq!(parse(&bytes, &packet(HOST, HOST)), Err(WireError::Address));
        bytes[8] = 0xfd;
        assert_eq!(parse(&bytes, &packet(ROUTER, HOST)), Err(WireError::Address));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(kind in 133u8..138, mut bytes: Vec<u8>, tame: bool) {
            for (at, byte) in bytes.iter_mut().enumerate() {
                // Small numbers make options that fit.
                if tame { *byte %= if at % 8 == 1 { 3 } else { 6 }; }
            }
            let bytes = [&[kind, 0, 0, 0], &bytes[..]].concat();
            let _ = parse(&bytes, &packet(ROUTER, HOST));
        }

        #[test]
        fn round_trips(
            target in 0u128..0xff << 120, mac: Option<[u8; 5]>, nonce: Option<Nonce>, flags: [bool; 3],
        ) {
            let [router, solicited, override_known] = flags;
            let mac = mac.map(|[a, b, c, d, e]| Mac([2, a, b, c, d, e]));
            let target = Ipv6Addr::from(target);
            let advert = NeighborAdvert { target, router, solicited, override_known, target_mac: mac };
            for message in [
                Message::RouterSolicit { source_mac: mac },
                Message::NeighborSolicit { target, source_mac: mac, nonce },
                Message::NeighborAdvert(advert),
            ] {
                let mut bytes = vec![0xaa; message.len()];
                message.emit(ROUTER, HOST, &mut bytes);
                prop_assert_eq!(parse(&bytes, &packet(ROUTER, HOST)), Ok(message));
            }
        }
    }
}

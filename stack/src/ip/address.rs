//! Addresses: networks, scopes, and which of them may stand where.

use alloc::string::{String, ToString};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

use crate::wire::Mac;

/// An address with the length of its network's prefix.
///
/// It stands for the address of an interface, or for the whole network, as the place where it is used says.
///
/// ```
/// use hayase_stack::ip::Cidr;
/// let interface: Cidr = "10.7.0.2/24".parse().unwrap();
/// assert!(interface.contains("10.7.0.200".parse().unwrap()));
/// assert_eq!(interface.network().to_string(), "10.7.0.0/24");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    addr: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// Every IPv4 address.
    pub const ALL_V4: Cidr = Cidr { addr: IpAddr::V4(Ipv4Addr::UNSPECIFIED), prefix: 0 };
    /// Every IPv6 address.
    pub const ALL_V6: Cidr = Cidr { addr: IpAddr::V6(Ipv6Addr::UNSPECIFIED), prefix: 0 };

    /// An address in a network whose prefix has `prefix` bits. `None` if the address does not have so many.
    pub const fn new(addr: IpAddr, prefix: u8) -> Option<Cidr> {
        if prefix <= bit_count(addr) { Some(Cidr { addr, prefix }) } else { None }
    }

    /// The network of one address alone.
    pub const fn host(addr: IpAddr) -> Cidr {
        Cidr { addr, prefix: bit_count(addr) }
    }

    /// Whether it is a network of one address alone.
    pub const fn is_host(&self) -> bool {
        self.prefix == bit_count(self.addr)
    }

    /// The address.
    #[inline]
    pub const fn addr(&self) -> IpAddr {
        self.addr
    }

    /// Length of the prefix, in bits.
    #[inline]
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether `addr` is in the network.
    #[inline]
    pub fn contains(&self, addr: IpAddr) -> bool {
        match (self.addr, addr) {
            (IpAddr::V4(own), IpAddr::V4(other)) => (own.to_bits() ^ other.to_bits()) & self.mask_v4() == 0,
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits() ^ other.to_bits()) & self.mask_v6() == 0,
            _ => false,
        }
    }

    /// The network: the same prefix, with the bits behind it zero.
    #[must_use]
    pub fn network(&self) -> Cidr {
        let addr = match self.addr {
            IpAddr::V4(addr) => IpAddr::V4(Ipv4Addr::from_bits(addr.to_bits() & self.mask_v4())),
            IpAddr::V6(addr) => IpAddr::V6(Ipv6Addr::from_bits(addr.to_bits() & self.mask_v6())),
        };
        Cidr { addr, ..*self }
    }

    /// The address of all hosts of the network. `None` for IPv6, and for networks of one or two hosts, where
    /// every address is a host's (RFC 3021).
    #[inline]
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        match self.addr {
            IpAddr::V4(addr) if self.prefix < 31 => {
                Some(Ipv4Addr::from_bits(addr.to_bits() | !self.mask_v4()))
            }
            _ => None,
        }
    }

    #[inline]
    fn mask_v4(&self) -> u32 {
        u32::MAX.checked_shl(u32::BITS - u32::from(self.prefix)).unwrap_or(0)
    }

    #[inline]
    fn mask_v6(&self) -> u128 {
        u128::MAX.checked_shl(u128::BITS - u32::from(self.prefix)).unwrap_or(0)
    }
}

const fn bit_count(addr: IpAddr) -> u8 {
    match addr {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix)
    }
}

/// Why a text is no address with a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParseCidrError {
    /// There is no `/`.
    NoPrefix(String),
    /// What stands in front of the `/` is no address.
    Address(String),
    /// What stands behind the `/` is no number, or more than the address has bits.
    Prefix {
        /// What stands there.
        text: String,
        /// The bits of the address.
        max: u8,
    },
}

impl fmt::Display for ParseCidrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParseCidrError::NoPrefix(text) => {
                write!(
                    f,
                    "`{text}` lacks the length of its network: write it as in 10.7.0.2/24 or fd00::2/64"
                )
            }
            ParseCidrError::Address(text) => write!(f, "`{text}` is neither an IPv4 nor an IPv6 address"),
            ParseCidrError::Prefix { text, max } => {
                write!(f, "`{text}` is no length of a network: use a number from 0 to {max}")
            }
        }
    }
}

impl core::error::Error for ParseCidrError {}

impl FromStr for Cidr {
    type Err = ParseCidrError;

    fn from_str(text: &str) -> Result<Cidr, ParseCidrError> {
        let (addr, prefix) =
            text.split_once('/').ok_or_else(|| ParseCidrError::NoPrefix(text.to_string()))?;
        let addr: IpAddr = addr.parse().map_err(|_| ParseCidrError::Address(addr.to_string()))?;
        prefix
            .parse()
            .ok()
            .and_then(|prefix| Cidr::new(addr, prefix))
            .ok_or_else(|| ParseCidrError::Prefix { text: prefix.to_string(), max: bit_count(addr) })
    }
}

/// Whether a packet from the link may come from `addr`: a host's address, which a group, the broadcast
/// address, an address of no host yet (0.0.0.0/8) and a loopback address are not (RFC 1122 §3.2.1.3,
/// RFC 4291 §2.5 and §2.7). A network's own broadcast address is its [`Cidr::broadcast`].
#[inline]
pub fn is_host_source(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => {
            let first = addr.octets()[0];
            first != 0 && first != 127 && !addr.is_multicast() && !addr.is_broadcast()
        }
        // An IPv4 address in IPv6 clothes would pass filters meant for IPv4 (RFC 4942 §2.2).
        IpAddr::V6(addr) => {
            !addr.is_multicast()
                && !addr.is_unspecified()
                && !addr.is_loopback()
                && addr.to_ipv4_mapped().is_none()
        }
    }
}

/// Whether an address is one host's, to send to: no group, no broadcast, not unspecified.
#[inline]
pub fn is_unicast(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => !addr.is_multicast() && !addr.is_broadcast() && !addr.is_unspecified(),
        IpAddr::V6(addr) => !addr.is_multicast() && !addr.is_unspecified(),
    }
}

/// The loopback address to send from to another one.
pub(crate) const fn loopback(dst: IpAddr) -> IpAddr {
    match dst {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    }
}

/// Every router of the link.
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// Every node of the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The group that questions for the link-layer address of `addr` go to (RFC 4291 §2.7.1).
pub const fn solicited_node(addr: Ipv6Addr) -> Ipv6Addr {
    let [.., b, c, d] = addr.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | b as u16, u16::from_be_bytes([c, d]))
}

/// The link-local address that a station makes of its link-layer address (RFC 4291 appendix A).
pub const fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    let words = [[a ^ 0x02, b], [c, 0xff], [0xfe, d], [e, f]];
    Ipv6Addr::new(
        0xfe80,
        0,
        0,
        0,
        u16::from_be_bytes(words[0]),
        u16::from_be_bytes(words[1]),
        u16::from_be_bytes(words[2]),
        u16::from_be_bytes(words[3]),
    )
}

/// How far an address means the same, in the numbers of RFC 4291 §2.7: the larger, the farther.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(pub u8);

impl Scope {
    /// One link.
    pub const LINK: Scope = Scope(2);
    /// One site.
    pub const SITE: Scope = Scope(5);
    /// The world.
    pub const GLOBAL: Scope = Scope(14);

    /// The scope of an address (RFC 6724 §3.1, §3.2).
    pub fn of(addr: IpAddr) -> Scope {
        match addr {
            IpAddr::V4(addr) if addr.is_loopback() || addr.is_link_local() => Scope::LINK,
            IpAddr::V4(_) => Scope::GLOBAL,
            IpAddr::V6(addr) => match addr.octets() {
                [0xff, flags_scope, ..] => Scope(flags_scope & 0x0f),
                [0xfe, 0x80..=0xbf, ..] => Scope::LINK,
                [0xfe, 0xc0..=0xff, ..] => Scope::SITE,
                _ if addr.is_loopback() => Scope::LINK,
                _ => Scope::GLOBAL,
            },
        }
    }
}

/// An address that packets may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// The address, and its network.
    pub cidr: Cidr,
    /// It should not be used for anything new (RFC 4862 §5.5.4).
    pub is_deprecated: bool,
}

impl From<Cidr> for Source {
    fn from(cidr: Cidr) -> Source {
        Source { cidr, is_deprecated: false }
    }
}

/// Which of a host's addresses to send from to `dst`: the rules 1 (the same address), 2 (a scope that reaches, and no
/// larger than needed), 3 (not deprecated), 6 (the same label) and 8 (the longest common prefix) of RFC 6724 §5, in this
/// order; among equals the first. `None` if there is no address of that family.
///
/// The others do not tell addresses of a host with one interface and without temporary or mobile addresses apart.
pub fn select_source(dst: IpAddr, candidates: impl IntoIterator<Item = Source>) -> Option<IpAddr> {
    candidates
        .into_iter()
        .filter(|candidate| candidate.cidr.addr.is_ipv4() == dst.is_ipv4())
        .reduce(|best, next| if is_better_source(next, best, dst) { next } else { best })
        .map(|best| best.cidr.addr)
}

/// The label of an address in RFC 6724's default policy (§2.1), as far as its prefixes are still in use: unique local
/// addresses (RFC 4193) talk to their like.
fn label(addr: IpAddr) -> u8 {
    match addr {
        IpAddr::V6(addr) => match addr.octets() {
            [0xfc | 0xfd, ..] => 13,
            [0x20, 0x02, ..] => 2,
            [0x20, 0x01, 0, 0, ..] => 5,
            _ => 1,
        },
        IpAddr::V4(_) => 4,
    }
}

fn is_better_source(next: Source, best: Source, dst: IpAddr) -> bool {
    let is_younger = best.is_deprecated && !next.is_deprecated;
    let is_older = next.is_deprecated && !best.is_deprecated;
    let (next, best) = (next.cidr, best.cidr);
    if next.addr == dst || best.addr == dst {
        return next.addr == dst && best.addr != dst;
    }
    let (next_scope, best_scope) = (Scope::of(next.addr), Scope::of(best.addr));
    let needed = Scope::of(dst);
    if next_scope < best_scope {
        return next_scope >= needed;
    }
    if next_scope > best_scope {
        return best_scope < needed;
    }
    if is_younger || is_older {
        return is_younger;
    }
    let (is_next_alike, is_best_alike) = (label(next.addr) == label(dst), label(best.addr) == label(dst));
    if is_next_alike != is_best_alike {
        return is_next_alike;
    }
    common_prefix_len(next, dst) > common_prefix_len(best, dst)
}

/// How many bits `own` has in common with `other`, up to the end of its prefix (RFC 6724 §2.2).
fn common_prefix_len(own: Cidr, other: IpAddr) -> u32 {
    let common = match (own.addr, other) {
        (IpAddr::V4(own), IpAddr::V4(other)) => (own.to_bits() ^ other.to_bits()).leading_zeros(),
        (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits() ^ other.to_bits()).leading_zeros(),
        _ => 0,
    };
    common.min(u32::from(own.prefix))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn networks_know_their_members() {
        let network = cidr("10.7.0.2/24");
        assert!(network.contains(ip("10.7.0.255")) && !network.contains(ip("10.7.1.2")));
        assert!(!network.contains(ip("fd00::1")));
        assert_eq!(network.broadcast(), Some(Ipv4Addr::new(10, 7, 0, 255)));
        assert_eq!((cidr("10.0.0.1/31").broadcast(), cidr("fd00::1/64").broadcast()), (None, None));
        assert!(
            cidr("fd00::2/64").contains(ip("fd00::ffff"))
                && !cidr("fd00::2/64").contains(ip("fd00:0:0:1::2"))
        );
        assert!(Cidr::ALL_V4.contains(ip("1.2.3.4")) && !Cidr::ALL_V4.contains(ip("::1")));
        assert!(Cidr::ALL_V6.contains(ip("fd00::1")));
        assert_eq!(cidr("10.0.0.1/32").network(), cidr("10.0.0.1/32"));
    }

    #[test]
    fn errors_say_what_is_wrong() {
        for (text, says) in [
            ("10.7.0.2", "lacks the length"),
            ("10.7.0/24", "`10.7.0` is neither"),
            ("10.7.0.2/33", "from 0 to 32"),
            ("fd00::1/129", "from 0 to 128"),
            ("fd00::1/", "`` is no length"),
        ] {
            let error = text.parse::<Cidr>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn f10_martians_are_no_sources() {
        for text in ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "239.1.1.1", "255.255.255.255"] {
            assert!(!is_host_source(ip(text)), "{text}");
        }
        for text in ["::", "::1", "ff02::1", "::ffff:10.0.0.1"] {
            assert!(!is_host_source(ip(text)), "{text}");
        }
        assert!(
            is_host_source(ip("10.0.0.1")) && is_host_source(ip("fe80::1")) && is_host_source(ip("fd00::1"))
        );
    }

    #[test]
    fn groups_everybody_and_nobody_are_no_single_host() {
        for text in ["224.0.0.1", "255.255.255.255", "0.0.0.0", "ff02::1", "::"] {
            assert!(!is_unicast(ip(text)), "{text}");
        }
        assert!(["10.0.0.255", "127.0.0.1", "::1", "fe80::1"].into_iter().all(|text| is_unicast(ip(text))));
    }

    #[test]
    fn addresses_are_made_of_addresses() {
        assert_eq!(ip("ff02::1:ff34:5678"), solicited_node("fd00::1234:5678".parse().unwrap()));
        assert_eq!(ip("fe80::ff:fe00:2a"), link_local(Mac([2, 0, 0, 0, 0, 0x2a])));
    }

    #[test]
    fn sources_suit_their_destination() {
        let own = ["fe80::2/64", "fd00::2/64", "2001:db8::2/64", "10.0.0.2/24", "192.168.0.2/16"];
        let own = own.map(|text| Source::from(cidr(text)));
        for (dst, source) in [
            ("fe80::1", "fe80::2"),
            ("ff02::1", "fe80::2"),
            ("fd00::1", "fd00::2"),
            ("2001:db8::77", "2001:db8::2"),
            ("2001:db8:1::1", "2001:db8::2"),
            ("ff0e::1", "2001:db8::2"),
            ("2001:db8::2", "2001:db8::2"),
            ("192.168.9.9", "192.168.0.2"),
            ("10.0.0.1", "10.0.0.2"),
        ] {
            assert_eq!(select_source(ip(dst), own), Some(ip(source)), "to {dst}");
            let reversed = own.into_iter().rev();
            assert_eq!(select_source(ip(dst), reversed), Some(ip(source)), "to {dst}, in reverse");
        }
        assert_eq!(select_source(ip("2001:db8::1"), [cidr("fe80::2/64").into()]), Some(ip("fe80::2")));
        assert_eq!(select_source(ip("10.0.0.1"), [cidr("fe80::2/64").into()]), None);
        let old = Source { cidr: cidr("2001:db8::2/64"), is_deprecated: true };
        let new = Source::from(cidr("2001:db8:ffff::2/64"));
        for own in [[old, new], [new, old]] {
            assert_eq!(
                select_source(ip("2001:db8::1"), own),
                Some(new.cidr.addr()),
                "the old one is nearer, and deprecated"
            );
            assert_eq!(select_source(old.cidr.addr(), own), Some(old.cidr.addr()));
        }
        assert_eq!(select_source(ip("2001:db8::1"), [old]), Some(old.cidr.addr()), "better than none");
    }

    proptest! {
        #[test]
        fn text_round_trips(bits: u128, v4: bool, prefix in 0u8..129) {
            let (addr_v4, addr_v6) = (Ipv4Addr::from_bits(bits as u32), Ipv6Addr::from_bits(bits));
            let addr = if v4 { IpAddr::V4(addr_v4) } else { IpAddr::V6(addr_v6) };
            let Some(cidr) = Cidr::new(addr, prefix) else {
                prop_assert!(v4 && prefix > 32);
                return Ok(());
            };
            prop_assert_eq!(cidr.to_string().parse(), Ok(cidr));
            prop_assert!(cidr.network().contains(addr) && cidr.contains(cidr.network().addr()));
        }
    }
}

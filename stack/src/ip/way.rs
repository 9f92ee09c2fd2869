//! How near a host is to an address: by which one of several chooses itself.

use core::net::IpAddr;

use super::Cidr;

/// How a host gets to an address. The greater one is the nearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// By a route, or on the link, to a network with a prefix of this length. A default route has 0.
    Routed(u8),
    /// The address is its own.
    Own,
}

/// What a host can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// The network, or the one address.
    pub network: Cidr,
    /// How.
    pub reach: Reach,
}

impl Way {
    /// To a network, by a route or on the link.
    pub fn to(network: Cidr) -> Way {
        Way { network, reach: Reach::Routed(network.prefix()) }
    }

    /// To an address of the host's own.
    pub fn own(addr: IpAddr) -> Option<Way> {
        let prefix = if addr.is_ipv4() { 32 } else { 128 };
        Cidr::new(addr, prefix).map(|network| Way { network, reach: Reach::Own })
    }
}

impl Reach {
    /// The best of these ways to an address (RFC 1122 §3.3.1: the longest prefix). `None` if there is none.
    pub fn by(ways: impl IntoIterator<Item = Way>, dst: IpAddr) -> Option<Reach> {
        ways.into_iter().filter(|way| way.network.contains(dst)).map(|way| way.reach).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_is_nearest_and_one_self_nearer_still() {
        let network = |text: &str| Way::to(text.parse().unwrap());
        let ways = [
            network("0.0.0.0/0"),
            network("10.7.0.0/24"),
            network("10.0.0.0/8"),
            Way::own("10.7.0.2".parse().unwrap()).unwrap(),
        ];
        for (dst, reach) in [
            ("10.7.0.2", Some(Reach::Own)),
            ("10.7.0.9", Some(Reach::Routed(24))),
            ("10.8.0.9", Some(Reach::Routed(8))),
            ("192.0.2.1", Some(Reach::Routed(0))),
            ("fd00::1", None),
        ] {
            assert_eq!(Reach::by(ways, dst.parse().unwrap()), reach, "{dst}");
        }
        let order = [None, Some(Reach::Routed(0)), Some(Reach::Routed(32)), Some(Reach::Own)];
        assert!(order.is_sorted());
    }
}

//! The routing table.

use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use super::Cidr;

/// A way to a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The network.
    pub destination: Cidr,
    /// The router that leads there. `None`: the network is on the link.
    pub gateway: Option<IpAddr>,
}

/// The neighbour that a packet goes to next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextHop {
    /// Its address.
    pub addr: IpAddr,
    /// Whether it is the destination itself rather than a router.
    pub on_link: bool,
}

/// Why a route was not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteError {
    /// The table is full.
    Full {
        /// How many routes it holds.
        count_max: usize,
    },
    /// There is a route to this network.
    Duplicate(Cidr),
    /// The gateway is no host of the destination's IP version.
    Gateway(IpAddr),
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RouteError::Full { count_max } => write!(f, "the routing table is full with {count_max} routes"),
            RouteError::Duplicate(network) => {
                write!(f, "there is a route to {network} already: remove it first")
            }
            RouteError::Gateway(gateway) => {
                write!(
                    f,
                    "`{gateway}` cannot be a gateway: use the address of a router of the same IP version"
                )
            }
        }
    }
}

impl core::error::Error for RouteError {}

/// Routes, of which the most specific wins.
///
/// A host has a handful: they are kept in one sorted list, and walking it is faster than any tree.
#[derive(Debug)]
pub struct Routes {
    /// Longer prefixes first, so that the first match is the best.
    routes: Vec<Route>,
    count_max: usize,
}

impl Routes {
    /// An empty table of at most `count_max` routes.
    pub fn new(count_max: usize) -> Routes {
        Routes { routes: Vec::new(), count_max }
    }

    /// Adds a route. Of the destination only the network counts.
    ///
    /// # Errors
    /// See [`RouteError`]; the table is then unchanged.
    pub fn add(&mut self, route: Route) -> Result<(), RouteError> {
        let route = Route { destination: route.destination.network(), ..route };
        if let Some(gateway) = route.gateway
            && (gateway.is_ipv4() != route.destination.addr().is_ipv4()
                || !super::address::is_host_source(gateway))
        {
            return Err(RouteError::Gateway(gateway));
        }
        if self.routes.iter().any(|other| other.destination == route.destination) {
            return Err(RouteError::Duplicate(route.destination));
        }
        if self.routes.len() >= self.count_max {
            return Err(RouteError::Full { count_max: self.count_max });
        }
        let prefix = route.destination.prefix();
        let at = self.routes.partition_point(|other| other.destination.prefix() >= prefix);
        self.routes.insert(at, route);
        Ok(())
    }

    /// Takes out the route to this network.
    pub fn remove(&mut self, destination: Cidr) -> Option<Route> {
        let destination = destination.network();
        let at = self.routes.iter().position(|route| route.destination == destination)?;
        Some(self.routes.remove(at))
    }

    /// The route with the longest matching prefix.
    #[inline]
    pub(crate) fn find(&self, dst: IpAddr) -> Option<&Route> {
        self.routes.iter().find(|route| route.destination.contains(dst))
    }

    /// The next hop to `dst` by the route with the longest matching prefix (RFC 1122 §3.3.1). `None` if there
    /// is no route.
    #[inline]
    pub fn lookup(&self, dst: IpAddr) -> Option<NextHop> {
        let route = self.find(dst)?;
        Some(NextHop { addr: route.gateway.unwrap_or(dst), on_link: route.gateway.is_none() })
    }

    /// The routes, the most specific first.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter()
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::*;

    fn route(destination: &str, gateway: &str) -> Route {
        Route { destination: destination.parse().unwrap(), gateway: gateway.parse().ok() }
    }

    fn table() -> Routes {
        let mut routes = Routes::new(8);
        for (destination, gateway) in [
            ("0.0.0.0/0", "10.7.0.1"),
            ("10.7.0.2/24", ""),
            ("10.0.0.0/8", "10.7.0.9"),
            ("10.7.0.77/32", "10.7.0.8"),
            ("fd00::/64", ""),
            ("::/0", "fe80::1"),
        ] {
            routes.add(route(destination, gateway)).unwrap();
        }
        routes
    }

    #[test]
    fn the_most_specific_route_wins() {
        let routes = table();
        for (dst, addr, on_link) in [
            ("10.7.0.5", "10.7.0.5", true),
            ("10.7.0.77", "10.7.0.8", false),
            ("10.8.0.1", "10.7.0.9", false),
            ("8.8.8.8", "10.7.0.1", false),
            ("fd00::5", "fd00::5", true),
            ("2001:db8::1", "fe80::1", false),
        ] {
            let next_hop = NextHop { addr: addr.parse().unwrap(), on_link };
            assert_eq!(routes.lookup(dst.parse().unwrap()), Some(next_hop), "to {dst}");
        }
        assert_eq!(Routes::new(8).lookup("10.0.0.1".parse().unwrap()), None);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut routes = table();
        let error = routes.add(route("10.7.0.9/24", "10.7.0.1")).unwrap_err();
        assert!(error.to_string().contains("10.7.0.0/24"), "{error}");
        for gateway in ["fe80::1", "224.0.0.1", "0.0.0.0", "127.0.0.1"] {
            let gateway_error = Err(RouteError::Gateway(gateway.parse().unwrap()));
            assert_eq!(routes.add(route("172.16.0.0/12", gateway)), gateway_error);
        }
        routes.add(route("172.16.0.0/12", "10.7.0.1")).unwrap();
        routes.add(route("172.16.0.0/13", "10.7.0.1")).unwrap();
        assert_eq!(routes.add(route("172.16.0.0/14", "10.7.0.1")), Err(RouteError::Full { count_max: 8 }));
    }

    #[test]
    fn removing_a_route_uncovers_the_next() {
        let mut routes = table();
        assert!(routes.remove("10.7.0.0/24".parse().unwrap()).is_some());
        assert!(routes.remove("10.7.0.0/24".parse().unwrap()).is_none());
        assert_eq!(
            routes.lookup("10.7.0.5".parse().unwrap()).unwrap().addr,
            "10.7.0.9".parse::<IpAddr>().unwrap()
        );
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(
            networks in prop::collection::vec((any::<u32>(), 0u8..33), 0..20),
            dst: u32,
        ) {
            let mut routes = Routes::new(20);
            for (addr, prefix) in networks {
                let addr = IpAddr::V4((addr & 0xff00_ffff).into());
                let _ = routes.add(Route { destination: Cidr::new(addr, prefix).unwrap(), gateway: None });
            }
            let dst = IpAddr::V4((dst & 0xff00_ffff).into());
            let matching = routes.iter().filter(|r| r.destination.contains(dst));
            let longest = matching.max_by_key(|r| r.destination.prefix());
            let found = routes.routes.iter().find(|r| r.destination.contains(dst));
            prop_assert_eq!(found, longest);
            prop_assert_eq!(routes.lookup(dst).is_some(), longest.is_some());
        }
    }
}

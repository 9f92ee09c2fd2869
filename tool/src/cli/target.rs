//! Where the server of a bench is.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// A port, or several that follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) first: u16,
    pub(crate) last: u16,
}

impl Ports {
    pub(crate) fn one(port: u16) -> Ports {
        Ports { first: port, last: port }
    }

    pub(crate) fn all(self) -> RangeInclusive<u16> {
        self.first..=self.last
    }

    pub(crate) fn count(self) -> usize {
        self.all().count()
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Ports, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let ports = first.parse().ok().zip(last.parse().ok()).map(|(first, last)| Ports { first, last });
        let is_range =
            |ports: &Ports| ports.first == ports.last || (0 < ports.first && ports.first < ports.last);
        ports.filter(is_range).ok_or_else(|| "give a port, as 7, or several, as 7000-7009".into())
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if self.last > self.first { write!(f, "-{}", self.last) } else { Ok(()) }
    }
}

/// A server elsewhere, which may listen on several ports: one takes no more connections from an address than that has
/// ports to call from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    /// With the first port, and with the scope if the address is of a link alone.
    first: SocketAddr,
    pub(crate) ports: Ports,
}

impl Target {
    /// Each of its ports, as a place to connect to.
    pub(crate) fn addresses(self) -> impl Iterator<Item = SocketAddr> {
        self.ports.all().map(move |port| {
            let mut addr = self.first;
            addr.set_port(port);
            addr
        })
    }

    /// The first of them.
    pub(crate) fn first(self) -> SocketAddr {
        self.first
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        let wrong =
            |what: &dyn fmt::Display| format!("{what}: give ADDR:PORT or ADDR:PORT-PORT, as 10.7.0.1:7");
        let (place, last) = match text.rsplit_once('-') {
            Some((place, last)) => (place, Some(last)),
            None => (text, None),
        };
        let first: SocketAddr = place.parse().map_err(|error| wrong(&error))?;
        let ports = match last {
            Some(last) => {
                format!("{}-{last}", first.port()).parse().map_err(|error: String| wrong(&error))?
            }
            None => Ports::one(first.port()),
        };
        Ok(Target { first, ports })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first().fmt(f)?;
        if self.ports.count() > 1 { write!(f, "-{}", self.ports.last) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_value_are_the_same() {
        for (text, count, last) in [
            ("10.7.0.1:7", 1, "10.7.0.1:7"),
            ("10.7.0.1:7000-7009", 10, "10.7.0.1:7009"),
            ("[fd00::1]:7-8", 2, "[fd00::1]:8"),
            ("[fe80::1%2]:7", 1, "[fe80::1%2]:7"),
            ("[fe80::1%2]:7-9", 3, "[fe80::1%2]:9"),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!((target.to_string().as_str(), target.addresses().count()), (text, count));
            assert_eq!(target.addresses().last(), last.parse().ok());
        }
        assert_eq!("10.7.0.1:7-7".parse::<Target>().unwrap().to_string(), "10.7.0.1:7");
    }

    #[test]
    fn mistakes_are_named() {
        for text in ["10.7.0.1", "10.7.0.1:9-7", "10.7.0.1:7-", "10.7.0.1:7-70000", "host:7", "10.7.0.1:0-5"]
        {
            let words = text.parse::<Target>().unwrap_err();
            assert!(words.contains("ADDR:PORT-PORT"), "{text}: {words}");
        }
    }
}

//! What sockets of both transports have in common: which ports may be chosen for them, and which addresses they
//! cover.

use core::net::IpAddr;

use crate::config::Config;
use crate::random::Random;

/// Every ephemeral port once, from a random one on (RFC 6056 §3.3.1).
pub(crate) fn ephemeral_ports(random: &mut Random, config: &Config) -> impl Iterator<Item = u16> + use<> {
    let (first, last) = (*config.ephemeral_ports.start(), *config.ephemeral_ports.end());
    let count = u32::from(last.saturating_sub(first)) + 1;
    let start = random.next() as u32 % count;
    (0..count).map(move |i| first + ((start + i) % count) as u16)
}

/// Whether a socket bound to `bound` gets what is sent to `local`, an address of ours.
pub(crate) fn covers(bound: IpAddr, local: IpAddr) -> bool {
    match bound {
        IpAddr::V4(v4) if v4.is_unspecified() => local.is_ipv4(),
        // Dual stack, as Linux does with IPV6_V6ONLY off.
        IpAddr::V6(v6) if v6.is_unspecified() => true,
        ip => ip == local,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn every_port_comes_once_and_the_first_is_anybodys_guess() {
        let mut random = Random::new([4; 32]);
        let config = Config { ephemeral_ports: 65_000..=65_535, ..Config::default() };
        let ports: Vec<u16> = ephemeral_ports(&mut random, &config).collect();
        let mut sorted = ports.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(65_000..=65_535));
        assert_ne!(ephemeral_ports(&mut random, &config).next(), Some(ports[0]));
    }

    #[test]
    fn the_unspecified_address_covers_its_family_and_that_of_ipv6_all() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(covers(ip("0.0.0.0"), ip("10.0.0.1")) && !covers(ip("0.0.0.0"), ip("fd00::1")));
        assert!(covers(ip("::"), ip("10.0.0.1")) && covers(ip("::"), ip("fd00::1")));
        assert!(covers(ip("10.0.0.1"), ip("10.0.0.1")) && !covers(ip("10.0.0.1"), ip("10.0.0.2")));
    }
}

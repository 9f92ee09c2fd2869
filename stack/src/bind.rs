//! What sockets of both transports have in common: which ports may be chosen for them.

use crate::config::Config;
use crate::random::Random;

/// Every ephemeral port once, from a random one on (RFC 6056 §3.3.1).
pub(crate) fn ephemeral_ports(random: &mut Random, config: &Config) -> impl Iterator<Item = u16> + use<> {
    ephemeral_ports_from(random.next() as u32, config)
}

/// Every ephemeral port once, from one on: the `start`th, counting around.
pub(crate) fn ephemeral_ports_from(start: u32, config: &Config) -> impl Iterator<Item = u16> + use<> {
    let (first, last) = (*config.ephemeral_ports.start(), *config.ephemeral_ports.end());
    let count = u32::from(last.saturating_sub(first)) + 1;
    let start = start % count;
    (0..count).map(move |i| first + ((start + i) % count) as u16)
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
}

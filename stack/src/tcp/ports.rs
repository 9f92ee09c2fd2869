//! Which ports connections are opened from (RFC 6056 §3.3.4, Algorithm 4, with the random steps of Algorithm 5): each
//! destination has a place of its own to start from, which nobody without the key can compute, and goes on from there
//! port by port. So a stranger cannot guess the next one, and no connection gets by chance the port of one to the same
//! peer that ended just now: thousands come between.

use alloc::boxed::Box;
use core::net::{IpAddr, SocketAddr};

use super::flow::Tuple;
use crate::random::Random;

const DOMAIN_PORT: u64 = 0x9047;

/// Destinations that share a counter learn of each other how many connections were opened: with few counters that is
/// worth something to an observer.
const COUNTERS: usize = 1024;

/// A step is at most so long: whoever sees one port knows little of the next.
const STEP_MAX: u32 = 8;

#[derive(Debug)]
pub(super) struct Ports {
    counters: Box<[u32]>,
}

/// Where to look for a port, and which counter is to know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    /// In the order of all ephemeral ports, from the first one on and around again.
    pub(super) at: u32,
    counter: usize,
}

impl Ports {
    pub(super) fn new() -> Ports {
        Ports { counters: alloc::vec![0; COUNTERS].into() }
    }

    /// Where to look for a port towards `remote`.
    pub(super) fn start(&self, local: IpAddr, remote: SocketAddr, random: &Random) -> Start {
        let ends = Tuple::new(SocketAddr::new(local, 0), remote);
        let hash = random.keyed(DOMAIN_PORT, &ends.as_words());
        let counter = (hash >> 32) as usize % COUNTERS;
        Start { at: (hash as u32).wrapping_add(self.counters[counter]), counter }
    }

    /// The port `skipped` places after `start` was taken.
    pub(super) fn take(&mut self, start: Start, skipped: u32, random: &mut Random) {
        let step = skipped + 1 + random.next() as u32 % STEP_MAX;
        let counter = &mut self.counters[start.counter];
        *counter = counter.wrapping_add(step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;

    fn remote(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 80).into()
    }

    fn local() -> IpAddr {
        [10, 0, 0, 1].into()
    }

    #[test]
    fn a_port_comes_again_only_after_all_others_had_their_turn() {
        let (mut ports, mut random) = (Ports::new(), Random::new([3; 32]));
        let first = ports.start(local(), remote(2), &random).at;
        let mut at = first;
        for _ in 0..1000 {
            let start = ports.start(local(), remote(2), &random);
            assert!(
                start.at == at || (1..=STEP_MAX).contains(&start.at.wrapping_sub(at)),
                "{start:?} after {at}"
            );
            at = start.at;
            ports.take(start, 0, &mut random);
        }
        assert!((1000..=8000).contains(&at.wrapping_sub(first)), "{first} to {at}");
        // What was skipped because it was in use is not looked at again.
        let start = ports.start(local(), remote(2), &random);
        ports.take(start, 5000, &mut random);
        assert!(ports.start(local(), remote(2), &random).at.wrapping_sub(start.at) > 5000);
    }

    #[test]
    fn destinations_start_anywhere_and_hosts_with_other_keys_elsewhere() {
        let (ports, random) = (Ports::new(), Random::new([3; 32]));
        let starts: BTreeSet<u32> =
            (2..=101).map(|last| ports.start(local(), remote(last), &random).at % 28_232).collect();
        assert!(starts.len() > 95, "of 100 destinations");
        let gaps: Vec<u32> = starts.iter().zip(starts.iter().skip(1)).map(|(a, b)| b - a).collect();
        assert!(*gaps.iter().max().unwrap() < 28_232 / 4, "{gaps:?}");
        let other = Random::new([4; 32]);
        assert_ne!(ports.start(local(), remote(2), &random), ports.start(local(), remote(2), &other));
    }

    #[test]
    fn a_counter_wraps_without_harm() {
        let (mut ports, mut random) = (Ports::new(), Random::new([3; 32]));
        ports.counters.fill(u32::MAX);
        let start = ports.start(local(), remote(2), &random);
        ports.take(start, 0, &mut random);
        let step = ports.start(local(), remote(2), &random).at.wrapping_sub(start.at);
        assert!((1..=STEP_MAX).contains(&step), "{step}");
    }
}

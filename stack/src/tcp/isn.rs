//! Initial sequence numbers (RFC 6528) and timestamp offsets (RFC 7323 §5.4): a clock plus a keyed function of
//! the addresses.

use hayase_time::Instant;

use super::flow::Tuple;
use crate::random::Random;
use crate::seq::Seq;

const DOMAIN_ISN: u64 = 0x15_4e;
const DOMAIN_TIMESTAMP: u64 = 0x75;

/// ISN = M + F(localip, localport, remoteip, remoteport, secretkey), M a 4 microsecond clock.
pub(super) fn initial_sequence(random: &Random, tuple: &Tuple, now: Instant) -> Seq {
    let clock = (now.as_micros() / 4) as u32;
    Seq((random.keyed(DOMAIN_ISN, &tuple.as_words()) as u32).wrapping_add(clock))
}

/// The offset of a connection's timestamps. The same addresses get the same one, so that a successor's
/// timestamps continue where its predecessor's ended.
pub(super) fn timestamp_offset(random: &Random, tuple: &Tuple) -> u32 {
    random.keyed(DOMAIN_TIMESTAMP, &tuple.as_words()) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_with_time_and_jumps_between_peers() {
        let random = Random::new([9; 32]);
        let tuple = |port| Tuple::new(([10, 0, 0, 1], 80).into(), ([10, 0, 0, 2], port).into());
        let at = |port, micros| initial_sequence(&random, &tuple(port), Instant::from_micros(micros));
        assert_eq!(at(1000, 4000) - at(1000, 0), 1000);
        let steps = [at(1001, 0) - at(1000, 0), at(1002, 0) - at(1001, 0)];
        assert_ne!(steps[0], steps[1]);
    }
}

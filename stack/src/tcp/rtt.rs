//! The round-trip time and the retransmission timeout (RFC 6298).

use crate::config::Config;
use hayase_device::hint::{likely, unlikely};

/// The timeout before anything was measured (RFC 6298 §2.1).
const RTO_INITIAL_US: u32 = 1_000_000;

/// The same where the handshake met a timeout.
const RTO_SLOW_US: u32 = 3_000_000;

/// No path takes longer: a larger sample is a clock that jumped.
const RTT_MAX_US: u64 = 60_000_000;

/// The estimator. Times are kept in microseconds: 71 minutes fit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rtt {
    /// SRTT in eighths of a microsecond, so that the average loses nothing to rounding. 0: no sample yet.
    srtt_8: u32,
    /// RTTVAR in quarters of a microsecond; without a sample, the timeout.
    rttvar_4: u32,
    /// The shortest sample, in microseconds. `u32::MAX`: no sample yet.
    min: u32,
}

impl Default for Rtt {
    fn default() -> Rtt {
        Rtt { srtt_8: 0, rttvar_4: RTO_INITIAL_US, min: u32::MAX }
    }
}

impl Rtt {
    /// Takes a measurement. The caller keeps Karn's rule: nothing that was sent twice is measured.
    #[inline(always)]
    pub(crate) fn sample(&mut self, rtt_us: u64) {
        // In one question: none becomes more than any.
        let is_plain = likely(rtt_us.wrapping_sub(1) < RTT_MAX_US);
        let rtt = if is_plain { rtt_us as u32 } else { rtt_us.clamp(1, RTT_MAX_US) as u32 };
        self.min = self.min.min(rtt);
        if unlikely(self.srtt_8 == 0) {
            // (2.2) SRTT <- R, RTTVAR <- R/2
            self.srtt_8 = rtt * 8;
            self.rttvar_4 = rtt * 2;
            return;
        }
        // (2.3) RTTVAR <- 3/4 RTTVAR + 1/4 |SRTT - R|, then SRTT <- 7/8 SRTT + 1/8 R
        let delta = (self.srtt_8 / 8).abs_diff(rtt);
        self.rttvar_4 = self.rttvar_4 - self.rttvar_4 / 4 + delta;
        self.srtt_8 = self.srtt_8 - self.srtt_8 / 8 + rtt;
    }

    /// SRTT in microseconds. 0: no sample yet.
    #[inline]
    pub(crate) fn srtt_us(&self) -> u32 {
        self.srtt_8 / 8
    }

    /// RTTVAR in microseconds.
    pub(crate) fn rttvar_us(&self) -> u32 {
        if self.srtt_8 == 0 { 0 } else { self.rttvar_4 / 4 }
    }

    /// The shortest round trip since the path last failed, in microseconds. 0: no sample yet.
    #[inline]
    pub(crate) fn min_us(&self) -> u32 {
        if self.min == u32::MAX { 0 } else { self.min }
    }

    /// The timer ran out: this may be another path.
    pub(crate) fn forget_min(&mut self) {
        self.min = u32::MAX;
    }

    /// RFC 6298 §5.7: where the timer ran out on a SYN, data starts from a timeout of no less than 3 s, until
    /// something was measured.
    pub(crate) fn assume_slow(&mut self) {
        if self.srtt_8 == 0 {
            self.rttvar_4 = RTO_SLOW_US;
        }
    }

    /// RTO <- SRTT + max(floor, 4 RTTVAR), doubled `backoff` times, up to the ceiling; in microseconds.
    ///
    /// RFC 6298 §2.3 has the clock granularity G for the floor and 1 s as the least RTO. With a shorter least RTO, a
    /// long path that is steady would time out at its first delayed ACK: so the floor is the margin above SRTT.
    #[inline]
    pub(crate) fn rto_us(&self, backoff: u8, config: &Config) -> u64 {
        (u64::from(self.base_us(config)) << backoff.min(20)).min(u64::from(config.rto_max_us))
    }

    /// The same where nothing was doubled.
    #[inline(always)]
    pub(crate) fn steady_rto_us(&self, config: &Config) -> u64 {
        u64::from(self.base_us(config).min(config.rto_max_us))
    }

    #[inline(always)]
    fn base_us(&self, config: &Config) -> u32 {
        self.srtt_8 / 8 + self.rttvar_4.max(config.rto_min_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1000;

    #[test]
    fn starts_at_a_second_and_doubles_up_to_the_ceiling() {
        let (rtt, config) = (Rtt::default(), Config::default());
        let rtos: alloc::vec::Vec<u64> =
            (0..9).map(|backoff| rtt.rto_us(backoff, &config) / 1_000_000).collect();
        assert_eq!(rtos, [1, 2, 4, 8, 16, 32, 64, 120, 120]);
    }

    #[test]
    fn follows_the_path_and_keeps_its_floor() {
        let (mut rtt, config) = (Rtt::default(), Config::default());
        rtt.sample(100 * MS);
        assert_eq!(rtt.rto_us(0, &config), 300 * MS, "R + 4 * R/2");
        for _ in 0..100 {
            rtt.sample(100 * MS);
        }
        assert_eq!(rtt.srtt_8 / 8, 100_000);
        let floor = 100 * MS + u64::from(config.rto_min_us);
        assert_eq!(rtt.rto_us(0, &config), floor, "a steady path: the floor rules");
        rtt.sample(500 * MS);
        assert!(rtt.rto_us(0, &config) > 450 * MS, "a jump widens the variance at once");
        for _ in 0..100 {
            rtt.sample(20);
        }
        assert!(rtt.srtt_8 / 8 < 1000);
    }
}

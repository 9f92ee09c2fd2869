//! The round-trip time and the retransmission timeout (RFC 6298).

use core::time::Duration;

use crate::config::Config;

/// The clock granularity G: timers tick in a fraction of a millisecond.
const GRANULARITY_US: u32 = 1000;

/// The timeout before anything was measured (RFC 6298 §2.1).
const RTO_INITIAL: Duration = Duration::from_secs(1);

/// The estimator. Times are kept in microseconds: 71 minutes fit.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rtt {
    /// SRTT in eighths of a microsecond, so that the average loses nothing to rounding. 0: no sample yet.
    srtt_8: u32,
    /// RTTVAR in quarters of a microsecond.
    rttvar_4: u32,
}

impl Rtt {
    /// Takes a measurement. The caller keeps Karn's rule: nothing that was sent twice is measured.
    #[inline]
    pub(crate) fn sample(&mut self, rtt: Duration) {
        let rtt = (rtt.as_micros().min(60_000_000) as u32).max(1);
        if self.srtt_8 == 0 {
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

    /// RTO <- SRTT + max(G, 4 RTTVAR), within the limits, doubled `backoff` times.
    #[inline]
    pub(crate) fn rto(&self, backoff: u8, config: &Config) -> Duration {
        let base = if self.srtt_8 == 0 {
            RTO_INITIAL
        } else {
            let micros = self.srtt_8 / 8 + self.rttvar_4.max(GRANULARITY_US);
            Duration::from_micros(u64::from(micros)).max(config.rto_min)
        };
        base.saturating_mul(1 << backoff.min(20)).min(config.rto_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn starts_at_a_second_and_doubles_up_to_the_ceiling() {
        let (rtt, config) = (Rtt::default(), Config::default());
        let rtos: alloc::vec::Vec<u64> = (0..9).map(|backoff| rtt.rto(backoff, &config).as_secs()).collect();
        assert_eq!(rtos, [1, 2, 4, 8, 16, 32, 64, 120, 120]);
    }

    #[test]
    fn follows_the_path_and_keeps_its_floor() {
        let (mut rtt, config) = (Rtt::default(), Config::default());
        rtt.sample(MS(100));
        assert_eq!(rtt.rto(0, &config), MS(300), "R + 4 * R/2");
        for _ in 0..100 {
            rtt.sample(MS(100));
        }
        assert_eq!(rtt.srtt_8 / 8, 100_000);
        assert_eq!(rtt.rto(0, &config), config.rto_min, "a steady path: the floor rules");
        rtt.sample(MS(500));
        assert!(rtt.rto(0, &config) > MS(450), "a jump widens the variance at once");
        for _ in 0..100 {
            rtt.sample(Duration::from_micros(20));
        }
        assert!(rtt.srtt_8 / 8 < 1000);
    }
}

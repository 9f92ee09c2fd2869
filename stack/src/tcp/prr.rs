//! Proportional rate reduction (RFC 6937, RFC 9937): during fast recovery, how much may go out for what was delivered.
//! The window shrinks over a round trip, segment by segment, instead of at once, and never falls below what
//! congestion control wants because much was lost.

/// PRR's variables, under the RFC's names.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Prr {
    /// prr_delivered: bytes delivered in this recovery.
    delivered: u32,
    /// prr_out: bytes sent in this recovery.
    out: u32,
    /// RecoverFS: bytes outstanding when it began.
    recover_fs: u32,
}

impl Prr {
    pub(super) fn new(recover_fs: u32) -> Prr {
        Prr { delivered: 0, out: 0, recover_fs: recover_fs.max(1) }
    }

    #[inline]
    pub(super) fn on_sent(&mut self, len: u32) {
        self.out = self.out.saturating_add(len);
    }

    /// SndCnt: what may be sent now that `delivered` bytes more arrived and `pipe` are on their way. `is_safe`: the
    /// acknowledgement made progress and showed no further loss.
    pub(super) fn allowance(
        &mut self,
        delivered: u32,
        pipe: u32,
        ssthresh: u32,
        mss: u32,
        is_safe: bool,
    ) -> u32 {
        self.delivered = self.delivered.saturating_add(delivered);
        if pipe > ssthresh {
            let target = u64::from(self.delivered) * u64::from(ssthresh);
            let target = target.div_ceil(u64::from(self.recover_fs)).min(u32::MAX.into()) as u32;
            return target.saturating_sub(self.out);
        }
        // PRR-CRB, or PRR-SSRB where it is safe to catch up.
        let limit = self.delivered.saturating_sub(self.out).max(delivered);
        let limit = if is_safe { limit.saturating_add(mss) } else { limit };
        limit.min(ssthresh - pipe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_shrinks_in_proportion_to_what_arrives() {
        let mut prr = Prr::new(20_000);
        let mut sent = 0;
        for n in 1..=10 {
            let count = prr.allowance(1000, 20_000 - n * 1000 + sent, 7000, 1000, false);
            prr.on_sent(count);
            sent += count;
        }
        assert_eq!(sent, 3500, "7 of 20 for each of 10");
    }

    #[test]
    fn after_heavy_loss_as_much_goes_as_arrives_and_a_little_more_when_that_is_safe() {
        let mut prr = Prr::new(20_000);
        assert_eq!(prr.allowance(1000, 3000, 10_000, 1000, false), 1000);
        prr.on_sent(1000);
        assert_eq!(prr.allowance(1000, 3000, 10_000, 1000, true), 2000);
        prr.on_sent(2000);
        assert_eq!(prr.allowance(1000, 9500, 10_000, 1000, true), 500, "not beyond ssthresh");
    }
}

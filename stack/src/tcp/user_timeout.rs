//! The user timeout (RFC 9293 §3.10.8, RFC 5482 §2): how long what was written may stay unacknowledged before the
//! connection is given up, where the application wants another time than R2 gives.

use core::time::Duration;

use hayase_device::Frame;
use hayase_time::Instant;

use super::connection::Connection;
use crate::config::Config;

/// The user timeout of one connection.
#[derive(Debug)]
pub(super) struct UserTimeout {
    pub(super) limit: Duration,
    /// How much was acknowledged when the connection last stood still, and since when it did: found out by a timer, or by
    /// the acknowledgement that a timeout waited for.
    standstill: Option<(u64, Instant)>,
}

impl UserTimeout {
    pub(super) fn new(limit: Duration) -> UserTimeout {
        UserTimeout { limit, standstill: None }
    }

    /// When patience ends with a connection on which `acked` bytes are acknowledged, if nothing more was for as long as
    /// `since`.
    fn ends_at(&mut self, acked: u64, since: Instant) -> Instant {
        let known = self.standstill.filter(|(then, _)| *then == acked);
        let (_, since) = *self.standstill.insert(known.unwrap_or((acked, since)));
        since + self.limit
    }
}

impl<F: Frame> Connection<F> {
    /// After a timeout something was acknowledged at last.
    #[cold]
    pub(super) fn goes_on(&mut self, now: Instant) {
        self.count_timeout_over(now);
        let (acked, is_waiting) = (self.tally.bytes_acked, self.flight() > 0);
        if let Some(timeout) = self.user_timeout_mut() {
            // With nothing outstanding it does not stand still, however long it is silent.
            timeout.standstill = is_waiting.then_some((acked, now));
        }
    }

    /// When the user timeout ends the connection that stands still now. `None` if there is none.
    pub(super) fn patience_ends_at(&mut self, now: Instant, config: &Config) -> Option<Instant> {
        let rto = Duration::from_nanos(self.rto_ns(config));
        // Nothing outstanding: a window is shut, and the timer that found it so ran for a timeout.
        let since = self.recovery.flight.first_sent_at().unwrap_or(now - rto);
        let acked = self.tally.bytes_acked;
        self.user_timeout_mut().map(|timeout| timeout.ends_at(acked, since))
    }

    pub(super) fn user_timeout(&self) -> Option<&UserTimeout> {
        self.wishes().and_then(|wishes| wishes.user_timeout.as_ref())
    }

    fn user_timeout_mut(&mut self) -> Option<&mut UserTimeout> {
        self.rare.as_mut()?.wishes.as_mut()?.user_timeout.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_runs_from_the_first_standstill_until_something_is_acknowledged() {
        let mut timeout = UserTimeout::new(Duration::from_secs(10));
        let at = Instant::from_millis;
        assert_eq!(timeout.ends_at(100, at(1000)), at(11_000));
        assert_eq!(timeout.ends_at(100, at(5000)), at(11_000));
        assert_eq!(timeout.ends_at(101, at(9000)), at(19_000));
    }
}

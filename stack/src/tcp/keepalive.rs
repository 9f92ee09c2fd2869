//! Keep-alive (RFC 9293 §3.8.4): off unless asked for.

use core::time::Duration;

use hayase_time::Instant;

use crate::error::Error;

/// Settings of keep-alive, under Linux's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// How long a connection is silent before the first probe (`TCP_KEEPIDLE`). Not below 2 hours unless the
    /// application says so (MUST-28).
    pub idle: Duration,
    /// Time between probes (`TCP_KEEPINTVL`).
    pub interval: Duration,
    /// Unanswered probes before the connection is given up (`TCP_KEEPCNT`): one lost answer does not kill
    /// (MUST-29).
    pub count: u8,
}

impl Default for Keepalive {
    fn default() -> Keepalive {
        Keepalive { idle: Duration::from_secs(7200), interval: Duration::from_secs(75), count: 9 }
    }
}

impl Keepalive {
    /// # Errors
    /// `InvalidInput` for settings that make no sense.
    pub(super) fn check(settings: Option<Keepalive>) -> Result<(), Error> {
        match settings {
            Some(k) if k.idle.is_zero() || k.interval.is_zero() || k.count == 0 => {
                Err(Error::InvalidInput("keep-alive needs times and a count above zero"))
            }
            _ => Ok(()),
        }
    }
}

/// Keep-alive of one connection.
#[derive(Debug)]
pub(super) struct Probing {
    pub(super) settings: Keepalive,
    /// Probes since the peer was last heard.
    pub(super) sent: u8,
    pub(super) heard_at: Instant,
}

impl Probing {
    pub(super) fn new(settings: Keepalive, now: Instant) -> Probing {
        Probing { settings, sent: 0, heard_at: now }
    }

    /// The peer sent something.
    pub(super) fn heard(&mut self, now: Instant) {
        self.sent = 0;
        self.heard_at = now;
    }

    /// When the next probe, or the end, is due.
    pub(super) fn due_at(&self) -> Instant {
        self.heard_at + self.settings.idle + self.settings.interval.saturating_mul(u32::from(self.sent))
    }

    /// Whether the peer counts as gone.
    pub(super) fn is_exhausted(&self) -> bool {
        self.sent >= self.settings.count
    }
}

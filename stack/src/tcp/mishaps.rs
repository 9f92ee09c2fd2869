//! What went wrong on a connection, counted for those who ask: where it happens, which is never on the way of a segment that
//! nothing is wrong with.

use hayase_device::Frame;
use hayase_time::Instant;

use super::connection::Connection;
use super::state::State;

/// What was counted since the connection began.
#[derive(Debug, Default)]
pub(super) struct Mishaps {
    /// Timeouts of the retransmission timer.
    pub(super) rto_count: u32,
    /// How often the first of some came, and for how long nothing was acknowledged from then on.
    pub(super) rto_recovery_count: u32,
    pub(super) rto_time_us: u64,
    /// When the first of those came that are not over.
    rto_at: Option<Instant>,
    /// Bytes that arrived when the peer said that something had been marked.
    pub(super) delivered_ce: u64,
}

impl<F: Frame> Connection<F> {
    /// The retransmission timer ran out over something that is outstanding.
    pub(super) fn count_timeout(&mut self, now: Instant) {
        // Who wants to connect may be nobody: of a flood's no more is kept than is needed to answer.
        if self.state == State::SynReceived {
            return;
        }
        let mishaps = self.mishaps_mut();
        mishaps.rto_count = mishaps.rto_count.saturating_add(1);
        if mishaps.rto_at.is_none() {
            mishaps.rto_at = Some(now);
            mishaps.rto_recovery_count += 1;
        }
    }

    /// Something was acknowledged at last.
    pub(super) fn count_timeout_over(&mut self, now: Instant) {
        if let Some(mishaps) = self.rare.as_mut().and_then(|rare| rare.mishaps.as_deref_mut())
            && let Some(since) = mishaps.rto_at.take()
        {
            mishaps.rto_time_us += now.micros_since(since);
        }
    }

    /// So much arrived, and the peer says that some of what it got was marked.
    #[cold]
    pub(super) fn count_marked(&mut self, delivered: u32) {
        self.mishaps_mut().delivered_ce += u64::from(delivered);
    }
}

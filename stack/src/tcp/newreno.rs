//! RFC 5681's congestion avoidance as NewReno (RFC 6582) uses it, with growth counted in bytes (RFC 3465).

use super::congestion::{Ack, CongestionControl, Window};

#[derive(Debug, Default)]
pub(super) struct NewReno {
    /// Bytes acknowledged towards the next segment of congestion avoidance.
    acked: u32,
}

impl CongestionControl for NewReno {
    fn on_ack(&mut self, window: &mut Window, ack: &Ack) {
        let left = window.slow_start(ack.acked);
        if window.is_slow_start() {
            return;
        }
        self.acked = self.acked.saturating_add(left);
        if self.acked >= window.cwnd {
            self.acked -= window.cwnd;
            window.grow(ack.mss);
        }
    }

    fn reduced(&mut self, _window: &Window, flight: u32, mss: u32) -> u32 {
        self.acked = 0;
        // RFC 5681 equation (4)
        (flight / 2).max(2 * mss)
    }

    fn on_undo(&mut self, _window: &Window) {}
}

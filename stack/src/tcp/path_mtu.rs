//! How long a segment may be on the way: path-MTU discovery (RFC 1191, RFC 8201), and what to do about routers
//! that throw away what is too long and say nothing (RFC 2923 §2.1, RFC 4821 §7.7).

use alloc::boxed::Box;
use core::time::Duration;

use hayase_device::Frame;
use hayase_time::Instant;

use super::connection::{Connection, TIMESTAMPS_LEN};
use crate::egress::network_len;
use crate::wire::tcp::TcpHeader;

/// The smallest packets that we go down to (Linux's `min_pmtu`): smaller ones help an attacker more than the path.
const MTU_FLOOR_V4: usize = 552;

/// No link has a smaller MTU (RFC 791 §3.2, RFC 8200 §5): whoever reports one is not believed (RFC 8201 §4).
const MTU_MIN_V4: usize = 68;
const MTU_MIN_V6: usize = 1280;

/// What passes nearly everywhere (RFC 4821 §7.7 recommends 1024 bytes of payload).
const MTU_BASE_V4: usize = 1024 + 40;

/// Timeouts of the same segment after which its length is suspected, as in Linux: two or three may be chance.
const TIMEOUTS_SUSPICIOUS: u8 = 4;

/// After so long, longer segments are tried again: paths change (RFC 1191 §6.3).
const RAISE_INTERVAL: Duration = Duration::from_secs(600);

/// What was found out about the path: there only once something was.
#[derive(Debug, Clone, Copy)]
pub(super) struct PathMtu {
    /// What segments had been before.
    mss_before: u32,
    /// When that is tried again.
    raise_at: Instant,
}

impl<F: Frame> Connection<F> {
    /// A router says that packets of ours are too long for its next link: smaller segments from now on, and what
    /// was lost goes again at once (RFC 1191 §6.3, RFC 8201 §5.4).
    pub(super) fn packet_too_big(&mut self, now: Instant, mtu: usize) {
        let is_v4 = self.tuple.is_v4();
        let (least, floor) = if is_v4 { (MTU_MIN_V4, MTU_FLOOR_V4) } else { (MTU_MIN_V6, MTU_MIN_V6) };
        if mtu >= least && self.lower_mss(now, mtu.max(floor)) {
            self.recovery.enter_loss(self.snd_una, self.snd_nxt, None);
            self.force = true;
        }
    }

    /// The timer ran out. If it did before for the same long segment, the path may have a black hole for such:
    /// shorter ones find out.
    pub(super) fn suspect_black_hole(&mut self, now: Instant) {
        let base = if self.tuple.is_v4() { MTU_BASE_V4 } else { MTU_MIN_V6 };
        if self.retries >= TIMEOUTS_SUSPICIOUS && self.flight() > 0 && self.snd_wnd > 0 {
            self.lower_mss(now, base);
        }
    }

    /// Returns whether segments got shorter.
    fn lower_mss(&mut self, now: Instant, mtu: usize) -> bool {
        let options = if self.timestamps_ok { TIMESTAMPS_LEN } else { 0 };
        let mss = (mtu - network_len(self.tuple.local_ip()) - TcpHeader::LEN) as u32 - options;
        if mss >= self.mss || !self.state.is_synchronized() {
            return false;
        }
        let mss_before = self.path_mtu.as_ref().map_or(self.mss, |path| path.mss_before);
        self.path_mtu = Some(Box::new(PathMtu { mss_before, raise_at: now + RAISE_INTERVAL }));
        self.mss = mss;
        true
    }

    /// Tries longer segments again when that is due.
    pub(super) fn raise_mss(&mut self, now: Instant) {
        if let Some(path) = self.path_mtu.take_if(|path| now >= path.raise_at) {
            self.mss = path.mss_before;
        }
    }
}

//! How long a segment may be on the way: path-MTU discovery (RFC 1191, RFC 8201), what to do about routers that throw
//! away what is too long and say nothing (RFC 2923 §2.1, RFC 4821 §7.7), and how longer segments are tried again: one at
//! a time, whose loss means nothing else (RFC 4821 §7, RFC 8899).
//!
//! Anybody can say that he is a router. At the start of a connection, before long segments can have passed, he is
//! believed at once. Later the path speaks against him, and he is believed only if he quotes the very segment that the
//! timer runs out for (RFC 5927 §7.2), or quotes it again a round trip later, when it went again in vain: whoever guesses
//! a number in the window shortens nothing. Nor is he believed without that if he speaks of a path as narrow as few are.

use alloc::boxed::Box;
use core::time::Duration;

use hayase_device::hint::unlikely;
use hayase_device::{Device, Frame};
use hayase_time::Instant;

use super::connection::{Connection, TIMESTAMPS_LEN};
use super::output::Plan;
use crate::config::Config;
use crate::counters::{Count, Counters};
use crate::egress::{Egress, network_len};
use crate::seq::Seq;
use crate::wire::tcp::TcpHeader;

/// The smallest packets that we go down to at somebody's word (Linux's `min_pmtu`): smaller ones help an attacker more than
/// the path, unless what is no longer does not pass either.
const MTU_FLOOR_V4: usize = 552;

/// No link has a smaller MTU (RFC 791 §3.2, RFC 8200 §5): whoever reports one is not believed (RFC 8201 §4).
const MTU_MIN_V4: usize = 68;
const MTU_MIN_V6: usize = 1280;

/// The narrowest path that is looked for where nobody says how narrow it is: serial lines had it (RFC 1191 §7.1). Segments get no
/// shorter for what is lost, then, than a path that loses one in five can bear.
const MTU_SILENT_V4: usize = 296;

/// What passes nearly everywhere (RFC 4821 §7.7 recommends 1024 bytes of payload).
const MTU_BASE_V4: usize = 1024 + 40;

/// Where so many bytes were acknowledged, segments of full length were among them, or else were never sent and are not
/// in a hurry. RFC 5927 §7.2 has the longest packet that was acknowledged instead, for which each would be looked at.
const PROVEN_LEN: u64 = 64 * 1024;

/// Timeouts of the same segment after which its length is suspected, as in Linux: two or three may be chance.
const TIMEOUTS_SUSPICIOUS: u8 = 4;

/// What is outstanding and no longer than that is lost for another reason, as far as anybody knows: no path is so narrow
/// in earnest, and it would go in pieces whenever the peer was away for a while.
const SHORT_LEN: u32 = 128;

/// After so long, longer segments are tried again: paths change (RFC 1191 §6.3, RFC 8899 §5.1.1, PMTU_RAISE_TIMER).
const RAISE_INTERVAL: Duration = Duration::from_secs(600);

/// Bounds so near to each other are not worth another probe (Linux's `tcp_probe_threshold`).
const SEARCH_STEP: u32 = 8;

/// Segments that must follow a probe, so that its loss is seen (RFC 4821 §7.4; DupThresh of RFC 5681).
const FOLLOWERS: u32 = 3;

/// What was found out about the path: there only once something was. Segments of the connection's `mss` pass: that is
/// search_low (RFC 4821 §7.1).
#[derive(Debug, Clone, Copy)]
pub(super) struct PathMtu {
    /// What segments had been before: no longer ones are tried.
    mss_before: u32,
    /// search_high: longer ones are known not to pass.
    high: u32,
    /// The next probe has just that size. Without, it halves the distance.
    tries_high: bool,
    /// When the next probe may go.
    probe_at: Instant,
    probe: Option<Probe>,
    doubted: Option<Claim>,
    /// What segments were before a claim was believed at a timeout that may turn out to have been needless.
    unproven: Option<u32>,
}

/// What somebody said of a path that was known to be wider.
#[derive(Debug, Clone, Copy)]
struct Claim {
    /// Of the segment that he quotes.
    seq: Seq,
    /// Payload of segments that would pass.
    mss: u32,
    made_at: Instant,
}

/// A longer segment that is on its way.
#[derive(Debug, Clone, Copy)]
struct Probe {
    start: Seq,
    end: Seq,
    /// It got lost: what it carried goes again in shorter segments.
    has_failed: bool,
}

impl PathMtu {
    /// Segments of `mss` bytes are the longest, and pass as far as is known.
    fn new(mss: u32, probe_at: Instant) -> PathMtu {
        PathMtu {
            mss_before: mss,
            high: mss,
            tries_high: true,
            probe_at,
            probe: None,
            doubted: None,
            unproven: None,
        }
    }

    /// Keeps the claim about the earliest segment that is outstanding: that is the one whose timer runs.
    fn doubt(&mut self, claim: Claim, una: Seq) {
        if self.doubted.is_none_or(|known| known.seq.before(una) || claim.seq.before(known.seq)) {
            self.doubted = Some(claim);
        }
    }

    /// Whether a probe is on its way, or what it carried has to go again.
    #[inline]
    pub(super) fn is_probing(&self) -> bool {
        self.probe.is_some()
    }

    /// Payload of the next probe, if segments of `low` bytes pass.
    fn candidate(&self, low: u32) -> u32 {
        if self.tries_high || self.high.saturating_sub(low) <= SEARCH_STEP {
            self.high
        } else {
            low + (self.high - low) / 2
        }
    }

    /// So long a segment does not pass, if `low` does: the next probe is shorter, or there is none for a while.
    fn fail(&mut self, len: u32, low: u32, now: Instant) {
        self.tries_high = false;
        self.high = (len - 1).max(low);
        if self.high - low <= SEARCH_STEP {
            (self.high, self.tries_high, self.probe_at) = (self.mss_before, true, now + RAISE_INTERVAL);
        }
    }
}

impl<F: Frame> Connection<F> {
    /// A router quotes the segment at `seq` and says that it is too long for its next link: smaller segments from now
    /// on, and what was lost goes again at once (RFC 1191 §6.3, RFC 8201 §5.4).
    pub(super) fn packet_too_big(&mut self, now: Instant, seq: Seq, mtu: usize, counters: &mut Counters) {
        let is_v4 = self.tuple.is_v4();
        let (least, floor) = if is_v4 { (MTU_MIN_V4, MTU_FLOOR_V4) } else { (MTU_MIN_V6, MTU_MIN_V6) };
        if mtu < least {
            return;
        }
        let mss = self.mss_within(mtu.max(floor));
        // Segments are as short as his word makes them, and he says that they are too long nevertheless.
        let is_strange = mtu < floor && mss >= self.mss;
        let mss = if is_strange { self.mss_within(mtu) } else { mss };
        let is_doubtful = is_strange || self.tally.bytes_acked >= PROVEN_LEN;
        if mss < self.mss && is_doubtful && !self.is_claimed_again(seq, now) {
            let (una, mss_now) = (self.snd_una, self.mss);
            let path = &mut self.rare_mut().path_mtu;
            let path = path.get_or_insert_with(|| Box::new(PathMtu::new(mss_now, now)));
            path.doubt(Claim { seq, mss, made_at: now }, una);
        } else if self.lower_mss(now, mss) {
            self.recovery.enter_loss(self.snd_una, self.snd_nxt, None, false);
            self.force = true;
        } else if self.probe_len().is_some_and(|len| mss < len) {
            // It was the probe, and the router knows what will do.
            self.fail_mtu_probe(now, counters);
            if let Some(path) = self.path_mtu_mut() {
                (path.high, path.tries_high, path.probe_at) = (mss, true, now);
            }
        }
    }

    /// Whether the first of all that is outstanding was quoted before, and had the time to go again since.
    fn is_claimed_again(&self, seq: Seq, now: Instant) -> bool {
        let Some(claim) = self.path_mtu().and_then(|path| path.doubted) else { return false };
        seq == self.snd_una
            && claim.seq == seq
            && now.micros_since(claim.made_at) >= self.rtt.srtt_us().into()
    }

    /// The timer ran out over what somebody said was too long: so he may be a router.
    fn heed_doubted(&mut self, now: Instant) {
        let Some(claim) = self.path_mtu_mut().and_then(|path| path.doubted.take()) else { return };
        let mss_now = self.mss;
        if claim.seq == self.snd_una && self.snd_wnd > 0 && self.lower_mss(now, claim.mss) {
            if let Some(path) = self.path_mtu_mut() {
                path.unproven = Some(mss_now);
            }
        } else {
            self.forget_path_if_wide();
        }
    }

    /// The timeout was needless, so what somebody said is as doubtful as it was.
    pub(super) fn disbelieve_claim(&mut self) {
        if let Some(mss) = self.path_mtu_mut().and_then(|path| path.unproven.take()) {
            self.mss = mss;
            self.forget_path_if_wide();
        }
    }

    /// As long as all is as it was, there is nothing to remember.
    fn forget_path_if_wide(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.path_mtu.take_if(|path| path.mss_before <= self.mss && !path.is_probing());
        }
    }

    /// The timer ran out. If it did before for the same long segment, the path may have a black hole for such:
    /// shorter ones find out, half as long each time once they are as short as nearly every path takes them (RFC 4821 §7.7),
    /// and how much longer they may be is searched at once.
    pub(super) fn suspect_black_hole(&mut self, now: Instant, counters: &mut Counters) {
        if self.probe_len().is_some() {
            self.fail_mtu_probe(now, counters);
        }
        self.heed_doubted(now);
        let (least, base) =
            if self.tuple.is_v4() { (MTU_SILENT_V4, MTU_BASE_V4) } else { (MTU_MIN_V6, MTU_MIN_V6) };
        if self.retries >= TIMEOUTS_SUSPICIOUS && self.flight() > 0 && self.snd_wnd > 0 {
            let mss = self.mss_within(base);
            let is_short = self.flight() <= SHORT_LEN;
            let mss = if mss < self.mss || is_short { mss } else { self.mss_within(least).max(self.mss / 2) };
            if self.lower_mss(now, mss)
                && let Some(path) = self.path_mtu_mut()
            {
                (path.high, path.tries_high, path.probe_at) = (path.mss_before, false, now);
            }
        }
    }

    fn mss_within(&self, mtu: usize) -> u32 {
        let options = if self.timestamps_ok { TIMESTAMPS_LEN } else { 0 };
        (mtu - network_len(self.tuple.local_ip()) - TcpHeader::LEN) as u32 - options
    }

    /// Segments are no longer than the link takes, which may be less than it took when the connection was opened (RFC 4861
    /// §6.3.4): what is longer would not even get to a router that could say so. They stay so if the link takes more again.
    #[inline]
    pub(super) fn fit_link(&mut self, mtu: usize) {
        if unlikely(self.mss as usize > mtu.saturating_sub(self.headers_len())) {
            self.narrow(mtu);
        }
    }

    #[cold]
    fn narrow(&mut self, mtu: usize) {
        self.mss = (mtu.saturating_sub(self.headers_len()) as u32).max(1);
        // It opens by smaller steps now.
        self.window_due = true;
        let mss = self.mss;
        if let Some(path) = self.path_mtu_mut() {
            // Nothing longer is tried.
            (path.mss_before, path.high) = (path.mss_before.min(mss), path.high.min(mss));
            path.unproven = None;
        }
        self.forget_path_if_wide();
    }

    /// Bytes in front of the payload of a packet.
    fn headers_len(&self) -> usize {
        network_len(self.tuple.local_ip()) + self.header_len() as usize
    }

    /// Returns whether segments got shorter.
    fn lower_mss(&mut self, now: Instant, mss: u32) -> bool {
        if mss >= self.mss || !self.state.is_synchronized() {
            return false;
        }
        let mss_before = self.path_mtu().map_or(self.mss, |path| path.mss_before);
        self.rare_mut().path_mtu = Some(Box::new(PathMtu::new(mss_before, now + RAISE_INTERVAL)));
        self.mss = mss;
        self.window_due = true;
        true
    }

    #[inline]
    pub(super) fn is_probing_mtu(&self) -> bool {
        self.path_mtu().is_some_and(PathMtu::is_probing)
    }

    /// Payload of the probe that is on its way.
    fn probe_len(&self) -> Option<u32> {
        let probe = self.path_mtu()?.probe.as_ref().filter(|probe| !probe.has_failed)?;
        Some(probe.end - probe.start)
    }

    /// Payload of the segment at `seq`, if that is the probe.
    pub(super) fn probe_len_at(&self, seq: Seq) -> Option<u32> {
        let probe = self.path_mtu()?.probe.as_ref()?;
        (probe.start == seq && !probe.has_failed).then_some(probe.end - probe.start)
    }

    /// Sends a longer segment if that is due, and enough would follow it to show its loss (RFC 4821 §7.4).
    pub(super) fn probe_path_mtu<D>(&mut self, egress: &mut Egress<'_, F, D>, config: &Config)
    where
        D: Device<Frame = F>,
    {
        let is_narrow = |path: &PathMtu| path.probe.is_none() && path.mss_before > self.mss;
        let Some(path) = self.path_mtu().filter(|path| is_narrow(path)) else { return };
        let (now, len) = (egress.now, path.candidate(self.mss));
        let (start, end) = (self.snd_nxt, self.snd_nxt + len);
        let is_due = now >= path.probe_at && self.recovery.is_quiet();
        if !is_due
            || self.dsack().is_some()
            || self.out_of_order.is_some()
            || self.unsent_len() < len + FOLLOWERS * self.mss
            || self.usable_window() < len
            || self.is_held_back(now, config)
        {
            return;
        }
        self.set_mtu_probe(Some(Probe { start, end, has_failed: false }));
        // What is on its way now is no steady stream.
        self.steady = false;
        let plan = Plan { seq: start, len, fin: false, retransmission: false };
        let _: super::output::Output = self.send_segment(plan, egress, config);
        if self.snd_nxt != end {
            // Too few buffers for so long a segment: another time.
            self.set_mtu_probe(None);
        }
    }

    fn set_mtu_probe(&mut self, probe: Option<Probe>) {
        if let Some(path) = self.path_mtu_mut() {
            path.probe = probe;
        }
    }

    /// An acknowledgement: did the probe pass?
    #[cold]
    pub(super) fn judge_mtu_probe(&mut self, now: Instant, counters: &mut Counters) {
        let (una, low) = (self.snd_una, self.mss);
        let Some(rare) = &mut self.rare else { return };
        let Some(path) = &mut rare.path_mtu else { return };
        let Some(probe) = path.probe.filter(|probe| una.at_or_after(probe.end)) else { return };
        path.probe = None;
        if probe.has_failed {
            return;
        }
        counters.count(Count::MtupSuccess);
        // The link may take less than when it left.
        self.mss = low.max((probe.end - probe.start).min(path.mss_before));
        (path.tries_high, path.probe_at) = (false, now);
        if self.mss >= path.mss_before {
            rare.path_mtu = None;
        } else if path.high <= self.mss {
            // As long as a router said.
            path.fail(self.mss + 1, self.mss, now);
        }
    }

    /// Whether what is lost is the probe and nothing else. Then it was too long, and that is no sign of congestion (RFC
    /// 4821 §7.5): what it carried goes again, and the window is what it was.
    pub(super) fn is_only_probe_lost(&mut self, now: Instant, counters: &mut Counters) -> bool {
        let Some(probe) = self.path_mtu().and_then(|path| path.probe) else { return false };
        let is_probe = self.recovery.next_lost(self.snd_una, u32::MAX).is_some_and(|(from, to)| {
            from.at_or_after(probe.start)
                && to.at_or_before(probe.end)
                && self.recovery.lost_len() == to - from
        });
        if is_probe && !probe.has_failed {
            self.fail_mtu_probe(now, counters);
        }
        is_probe
    }

    fn fail_mtu_probe(&mut self, now: Instant, counters: &mut Counters) {
        let low = self.mss;
        let Some(path) = self.path_mtu_mut() else { return };
        let Some(probe) = &mut path.probe else { return };
        probe.has_failed = true;
        let (start, end) = (probe.start, probe.end);
        path.fail(end - start, low, now);
        counters.count(Count::MtupFail);
        self.recovery.lose_probe(self.snd_una, start..end);
        self.force = true;
    }
}

//! How much may be in flight: congestion control, chosen per socket while the program runs.
//!
//! Loss detection and what to resend are [`recovery`](super::recovery)'s; a controller only says how large the window
//! is. All sizes are bytes. An enum calls the algorithm, and only where the window is used: a connection that never
//! fills its window pays for one comparison and holds no state besides.

use alloc::boxed::Box;
use core::fmt;
use core::str::FromStr;

use hayase_time::Instant;

use super::bbr::{Bbr, Situation};
use super::cubic::Cubic;
use super::newreno::NewReno;
use super::rare::Bulk;
use super::rate::{Loss, Sample};
use crate::error::Error;
use crate::seq::Seq;

/// An algorithm of congestion control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Congestion {
    /// RFC 5681 and RFC 6582: a segment a round trip more, and half of it gone at every loss.
    NewReno,
    /// RFC 9438 with HyStart++ (RFC 9406), what the Internet speaks: growth by time rather than by round trips, so
    /// that long paths are filled as well as short ones.
    #[default]
    Cubic,
    /// BBR, version 3 (draft-ietf-ccwg-bbr): it measures how much the path delivers and how long it takes, and sends at
    /// that rate, whatever is lost by chance. For long paths that lose packets. It is paced always, and measures each
    /// segment, which costs more than the others do.
    Bbr,
}

impl Congestion {
    /// All of them.
    pub const ALL: &[Congestion] = &[Congestion::NewReno, Congestion::Cubic, Congestion::Bbr];

    /// The name, which is Linux's for `TCP_CONGESTION`.
    pub const fn name(self) -> &'static str {
        match self {
            Congestion::NewReno => "reno",
            Congestion::Cubic => "cubic",
            Congestion::Bbr => "bbr",
        }
    }
}

impl fmt::Display for Congestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Congestion {
    type Err = Error;

    fn from_str(name: &str) -> Result<Congestion, Error> {
        let found = Congestion::ALL.iter().find(|congestion| congestion.name() == name);
        found.copied().ok_or(Error::InvalidInput("congestion control is one of: reno, cubic, bbr"))
    }
}

/// The congestion window and the slow start threshold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) cwnd: u32,
    pub(super) ssthresh: u32,
}

impl Window {
    fn new(mss: u32) -> Window {
        Window { cwnd: initial_window(mss), ssthresh: CWND_MAX }
    }

    pub(super) fn is_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    /// Slow start for `acked` bytes; returns those that are left for congestion avoidance.
    ///
    /// One ACK may cover many segments (LRO, GRO, stretch ACKs): RFC 3465 with L unbounded would burst, so a single
    /// ACK opens the window by what it acknowledged, never beyond doubling, and slow start ends at ssthresh in the
    /// middle of it.
    pub(super) fn slow_start(&mut self, acked: u32) -> u32 {
        let slow = acked.min(self.cwnd).min(self.ssthresh.saturating_sub(self.cwnd));
        self.cwnd += slow;
        acked - slow
    }

    pub(super) fn grow(&mut self, len: u32) {
        self.cwnd = self.cwnd.saturating_add(len).min(CWND_MAX);
    }
}

/// An acknowledgement that moved SND.UNA outside of fast recovery, while the window was used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ack {
    pub(super) now: Instant,
    /// Bytes newly acknowledged.
    pub(super) acked: u32,
    pub(super) mss: u32,
    pub(super) una: Seq,
    pub(super) nxt: Seq,
    /// The round trip that it measured. 0: none.
    pub(super) rtt_us: u32,
    pub(super) srtt_us: u32,
}

/// What an algorithm decides that goes by loss. BBR goes by what it measures, and rules window and rate itself.
pub(super) trait CongestionControl {
    /// The window grows, or not.
    fn on_ack(&mut self, window: &mut Window, ack: &Ack);

    /// Congestion, seen by loss with `flight` bytes outstanding: the new slow start threshold.
    fn reduced(&mut self, window: &Window, flight: u32, mss: u32) -> u32;

    /// The retransmission timer ran out, perhaps not for the first time.
    fn on_timeout(&mut self) {}

    /// A reduction was needless, and the window is what it was.
    fn on_undo(&mut self, window: &Window);

    /// Nothing was sent for so long that the window starts over.
    fn on_idle(&mut self) {}
}

#[derive(Debug)]
pub(super) enum Algorithm {
    NewReno(NewReno),
    /// Boxed when the window is filled for the first time.
    Cubic(Option<Box<Cubic>>),
    /// Boxed when the first data leaves.
    Bbr(Option<Box<Bbr>>),
}

impl Algorithm {
    pub(super) fn new(congestion: Congestion) -> Algorithm {
        match congestion {
            Congestion::NewReno => Algorithm::NewReno(NewReno::default()),
            Congestion::Cubic => Algorithm::Cubic(None),
            Congestion::Bbr => Algorithm::Bbr(None),
        }
    }

    /// For what happens once a round trip at most. `None`: BBR.
    fn control(&mut self) -> Option<&mut dyn CongestionControl> {
        match self {
            Algorithm::NewReno(reno) => Some(reno),
            Algorithm::Cubic(cubic) => Some(cubic.get_or_insert_default().as_mut()),
            Algorithm::Bbr(_) => None,
        }
    }
}

/// A connection's congestion window, and who rules it.
#[derive(Debug)]
pub(super) struct Controller {
    window: Window,
    congestion: Congestion,
    /// What the algorithm keeps, and what else needs who fills the window.
    pub(super) bulk: Option<Box<Bulk>>,
}

/// The initial window of RFC 6928: ten segments, at most 14,600 bytes or two segments.
pub(super) fn initial_window(mss: u32) -> u32 {
    (10 * mss).min((2 * mss).max(14_600))
}

/// A window beyond this is no window: it only could overflow.
pub(super) const CWND_MAX: u32 = 1 << 30;

impl Controller {
    pub(super) fn new(congestion: Congestion, mss: u32) -> Controller {
        Controller { window: Window::new(mss), congestion, bulk: None }
    }

    /// The handshake agreed on another segment size.
    pub(super) fn set_initial_window(&mut self, mss: u32) {
        self.window = Window::new(mss);
    }

    /// Another algorithm takes over the window as it is.
    pub(super) fn choose(&mut self, congestion: Congestion) {
        if congestion == self.congestion() {
            return;
        }
        if self.is_model_based() {
            // Its window is what the path holds: no slow start beyond it.
            self.window.ssthresh = self.window.ssthresh.min(self.window.cwnd);
        }
        self.congestion = congestion;
        if let Some(bulk) = &mut self.bulk {
            bulk.algorithm = Algorithm::new(congestion);
        }
    }

    pub(super) fn congestion(&self) -> Congestion {
        self.congestion
    }

    /// What bulk data needs, from now on if it was not there.
    pub(super) fn bulk_mut(&mut self) -> &mut Bulk {
        self.parts().1
    }

    /// The window, and what the algorithm keeps beside it.
    fn parts(&mut self) -> (&mut Window, &mut Bulk) {
        let congestion = self.congestion;
        let bulk = self.bulk.get_or_insert_with(|| Box::new(Bulk::new(Algorithm::new(congestion))));
        (&mut self.window, bulk)
    }

    /// Whether it rules by samples of the delivery rate ([`on_sample`](Self::on_sample)), and not by loss.
    #[inline]
    pub(super) fn is_model_based(&self) -> bool {
        self.congestion == Congestion::Bbr
    }

    /// The congestion window.
    #[inline]
    pub(super) fn cwnd(&self) -> u32 {
        self.window.cwnd
    }

    /// The slow start threshold.
    pub(super) fn ssthresh(&self) -> u32 {
        self.window.ssthresh
    }

    pub(super) fn is_slow_start(&self) -> bool {
        self.window.is_slow_start()
    }

    /// Fast recovery sets the window itself, and is over when that is the threshold.
    pub(super) fn set_cwnd(&mut self, cwnd: u32) {
        self.window.cwnd = cwnd.min(CWND_MAX);
    }

    /// Whether `flight` bytes are so many that the window may be what holds data back.
    #[inline(always)]
    pub(super) fn is_much(&self, flight: u32) -> bool {
        2 * u64::from(flight) >= u64::from(self.window.cwnd)
    }

    /// Whether the window was found in use in this turn, and not all is acknowledged that was outstanding then; or in an
    /// earlier turn, which the next acknowledgement finds out.
    #[inline(always)]
    pub(super) fn is_in_use(&self) -> bool {
        self.bulk.as_ref().is_some_and(|bulk| bulk.turn_flight > 0)
    }

    /// `acked` of `flight` bytes are acknowledged. Returns whether the window was in use when they left (RFC 5681 §3.1): at
    /// least half of it, which slow start may double (RFC 7661 §4.3). Many acknowledgements may come in one turn, before
    /// anything leaves for which they make room, and each finds less outstanding than the one before: what counts is what
    /// the first of them found.
    pub(super) fn note_use(&mut self, flight: u32, acked: u32, now: Instant) -> bool {
        if !self.is_much(flight) && !self.is_in_use() {
            return false;
        }
        let at = now.as_micros() as u32;
        let bulk = self.bulk_mut();
        if bulk.turn_flight == 0 || bulk.turn_at != at {
            (bulk.turn_flight, bulk.turn_at) = (flight, at);
        }
        let found = bulk.turn_flight;
        let is_much = self.is_much(found);
        let bulk = self.bulk_mut();
        if is_much {
            bulk.flight_max = bulk.flight_max.max(found);
        }
        if !is_much || acked == flight {
            bulk.turn_flight = 0;
        }
        is_much
    }

    /// An acknowledgement while the window was used. Of others nobody tells: RFC 9293 leaves it open, RFC 7661 and
    /// everybody since does not let an unused window grow.
    pub(super) fn on_ack(&mut self, ack: &Ack) {
        let (window, bulk) = self.parts();
        match &mut bulk.algorithm {
            Algorithm::NewReno(reno) => reno.on_ack(window, ack),
            Algorithm::Cubic(cubic) => cubic.get_or_insert_default().on_ack(window, ack),
            Algorithm::Bbr(_) => {}
        }
    }

    /// Loss was found by acknowledgements: recovery begins with `flight` bytes outstanding.
    pub(super) fn on_loss(&mut self, flight: u32, mss: u32) {
        self.reduce(flight, mss);
        self.with_model(Bbr::on_recovery);
    }

    /// Congestion that is no recovery: a router's mark, or a loss that a probe repaired.
    pub(super) fn on_congestion(&mut self, mss: u32, now: Instant) {
        self.reduce(self.window.cwnd, mss);
        self.with_model(|bbr, window| bbr.on_congestion(window, mss, now));
    }

    fn reduce(&mut self, flight: u32, mss: u32) {
        let (window, bulk) = self.parts();
        if let Some(control) = bulk.algorithm.control() {
            window.ssthresh = control.reduced(window, flight, mss);
            window.cwnd = window.ssthresh;
        }
    }

    /// Tells BBR, if that is it and has begun, about the window as it is.
    fn with_model(&mut self, f: impl FnOnce(&mut Bbr, &Window)) {
        self.with_model_and_window(|bbr, window| f(bbr, window));
    }

    /// The same, which may change it.
    fn with_model_and_window(&mut self, f: impl FnOnce(&mut Bbr, &mut Window)) {
        if let Some(Bulk { algorithm: Algorithm::Bbr(Some(bbr)), .. }) = self.bulk.as_deref_mut() {
            f(bbr, &mut self.window);
        }
    }

    /// Data leaves: from now on there are samples. `seed` is a number that other connections do not have.
    pub(super) fn begin_model(&mut self, now: Instant, at: &Situation, seed: u32) {
        let (window, bulk) = self.parts();
        if let Algorithm::Bbr(bbr @ None) = &mut bulk.algorithm {
            *bbr = Some(Box::new(Bbr::new(now, window, at, seed)));
        }
    }

    /// An acknowledgement delivered something, and this is what it says of the path.
    pub(super) fn on_sample(&mut self, sample: &Sample, at: &Situation) {
        self.with_model_and_window(|bbr, window| bbr.on_sample(window, sample, at));
    }

    /// Something is lost.
    pub(super) fn on_lost(&mut self, loss: &Loss, at: &Situation, now: Instant) {
        self.with_model(|bbr, window| bbr.on_lost(window, loss, at, now));
    }

    /// Something leaves, after the application had nothing to send.
    pub(super) fn on_restart(&mut self, now: Instant) {
        self.with_model_and_window(|bbr, window| bbr.on_restart(now, window));
    }

    /// The window was full.
    pub(super) fn on_cwnd_limited(&mut self) {
        self.with_model(|bbr, _| bbr.on_cwnd_limited());
    }

    /// All that was lost is repaired.
    pub(super) fn on_recovered(&mut self) {
        self.with_model_and_window(Bbr::on_recovered);
    }

    /// BBR, if that is it and has begun.
    #[inline]
    fn model(&self) -> Option<&Bbr> {
        match self.bulk.as_deref() {
            Some(Bulk { algorithm: Algorithm::Bbr(Some(bbr)), .. }) => Some(bbr),
            _ => None,
        }
    }

    /// The rate in bytes a second at which the model wants everything to leave. `None`: that is left to pacing.
    #[inline]
    pub(super) fn model_rate(&self) -> Option<u64> {
        self.model().map(Bbr::pacing_rate)
    }

    /// Whether samples are to count as limited by the application.
    pub(super) fn ignores_samples(&self) -> bool {
        self.model().is_some_and(Bbr::ignores_samples)
    }

    /// The retransmission timer ran out. `is_reduced`: over what ssthresh was made smaller for already.
    pub(super) fn on_timeout(&mut self, flight: u32, mss: u32, is_reduced: bool) {
        let (window, bulk) = self.parts();
        match bulk.algorithm.control() {
            Some(control) => {
                // A second timeout of the same segment leaves ssthresh alone (RFC 5681 §3.1), and so does, as in Linux, one that
                // ends fast recovery: what is outstanding by then says more of what was lost than of the path.
                if !is_reduced {
                    window.ssthresh = control.reduced(window, flight, mss);
                }
                control.on_timeout();
            }
            None => self.with_model(Bbr::on_recovery),
        }
        self.window.cwnd = mss;
    }

    /// A reduction turned out to be needless: what it reduced from.
    pub(super) fn restore(&mut self, cwnd: u32, ssthresh: u32) {
        self.window.cwnd = self.window.cwnd.max(cwnd);
        self.window.ssthresh = self.window.ssthresh.max(ssthresh);
        let (window, bulk) = self.parts();
        match bulk.algorithm.control() {
            Some(control) => control.on_undo(window),
            None => self.with_model_and_window(Bbr::on_undo),
        }
    }

    /// A SYN of ours had to be sent again: the initial window is one segment (RFC 5681 §3.1).
    pub(super) fn on_handshake_loss(&mut self, mss: u32) {
        self.window.cwnd = mss;
    }

    /// Nothing was sent for longer than an RTO: the restart window (RFC 5681 §4.1). BBR keeps its own, and paces what it
    /// sends at the rate that it knows.
    pub(super) fn on_idle(&mut self, mss: u32) {
        if !self.is_model_based() {
            self.window.cwnd = self.window.cwnd.min(initial_window(mss));
            if let Some(control) = self.bulk.as_mut().and_then(|bulk| bulk.algorithm.control()) {
                control.on_idle();
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) const MSS: u32 = 1000;

    /// An acknowledgement at `millis` that measured 50 ms.
    pub(in super::super) fn ack(acked: u32, millis: u64) -> Ack {
        Ack {
            now: Instant::from_millis(millis),
            acked,
            mss: MSS,
            una: Seq(0),
            nxt: Seq(0),
            rtt_us: 50_000,
            srtt_us: 50_000,
        }
    }

    #[test]
    fn doubles_then_adds_one_segment_a_round() {
        let mut reno = Controller::new(Congestion::NewReno, MSS);
        assert_eq!(reno.cwnd(), 10_000);
        reno.on_ack(&ack(10_000, 0));
        assert_eq!(reno.cwnd(), 20_000);
        reno.on_loss(20_000, MSS);
        assert_eq!(reno.cwnd(), 10_000);
        for _ in 0..10 {
            reno.on_ack(&ack(MSS, 0));
        }
        assert_eq!(reno.cwnd(), 11_000);
    }

    #[test]
    fn a_timeout_starts_over_and_a_second_one_keeps_the_threshold() {
        let mut reno = Controller::new(Congestion::NewReno, MSS);
        reno.on_timeout(8000, MSS, false);
        assert_eq!(reno.cwnd(), MSS);
        reno.on_timeout(1000, MSS, true);
        for _ in 0..3 {
            reno.on_ack(&ack(reno.cwnd(), 0));
        }
        assert_eq!(reno.cwnd(), 5000, "slow start up to ssthresh 4000, then one a round");
    }

    #[test]
    fn another_algorithm_takes_over_the_window() {
        let mut controller = Controller::new(Congestion::Cubic, MSS);
        controller.on_ack(&ack(10_000, 0));
        controller.choose(Congestion::NewReno);
        assert_eq!((controller.congestion(), controller.cwnd()), (Congestion::NewReno, 20_000));
    }

    #[test]
    fn names_are_read_back() {
        for congestion in Congestion::ALL {
            assert_eq!(congestion.name().parse(), Ok(*congestion));
        }
        assert!("vegas".parse::<Congestion>().is_err());
    }

    #[test]
    fn the_initial_window_is_rfc_6928s() {
        assert_eq!([536, 1460, 8960].map(initial_window), [5360, 14_600, 17_920]);
    }
}

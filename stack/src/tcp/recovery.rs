//! In which phase of loss recovery a connection is, and what is to be sent again.
//!
//! What is lost is marked in [`flight`](super::flight): by time where the peer has SACK ([`rack`](super::rack)), by
//! duplicate ACKs one segment at a time where it has not (NewReno, RFC 6582), and all of it after a timeout. Here is
//! what follows from that. What only a connection needs that met loss, reordering or a probe lies in a box.

use alloc::boxed::Box;
use core::ops::Range;

use hayase_device::hint::unlikely;
use hayase_time::Instant;

use super::ecn::Notification;
use super::flight::{Account, DUP_THRESH, Fate, Flight, Run, Scoreboard};
use super::frto::Frto;
use super::info::CaState;
use super::prr::Prr;
use super::rack::{Answer, Path, Rack};
use super::rate::Sampler;
use super::rtt::Rtt;
use super::tlp::Probe;
use super::undo::Undo;
use crate::seq::Seq;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing is known to be lost.
    Open,
    /// Loss was found by acknowledgements (fast recovery).
    Fast,
    /// The retransmission timer ran out: all that was outstanding is presumed lost.
    Loss,
}

#[derive(Debug)]
pub(super) struct Recovery {
    phase: Phase,
    /// The peer reports what it holds.
    pub(super) has_sack: bool,
    pub(super) flight: Flight,
    /// Congestion that is told rather than guessed from loss.
    pub(super) ecn: Notification,
    repair: Option<Box<Repair>>,
}

/// What a connection needs from its first trouble on.
#[derive(Debug)]
pub(super) struct Repair {
    account: Account,
    /// Recovery ends when this is acknowledged; outside of it, where the last one ended.
    recover: Seq,
    /// Duplicate ACKs since SND.UNA last moved.
    dup_acks: u32,
    pub(super) rack: Rack,
    pub(super) prr: Prr,
    /// The last recovery, as long as it may turn out to have been needless.
    pub(super) undo: Option<Undo>,
    /// Whether the timeout that is being repaired was needless, as long as that is being found out.
    frto: Option<Frto>,
    /// The tail loss probe whose outcome is not known yet.
    pub(super) probe: Option<Probe>,
    /// Only the first segment was said to be lost, and without SACK one acknowledgement tells of one more.
    doubts: bool,
    /// The window was opened since this recovery began.
    reopened: bool,
    /// What acknowledgements brought that were not judged yet.
    pub(super) unjudged: Unjudged,
    /// Segments that were sent again since the connection began, and the bytes in them.
    pub(super) total_retrans: u32,
    pub(super) bytes_retrans: u64,
    /// Duplicates that the peer reported.
    pub(super) dsack_dups: u32,
    /// How fast the path delivers, where congestion control asks for it.
    pub(super) sampler: Option<Box<Sampler>>,
}

/// Judging what is lost means going through all that is outstanding, which may be thousands of stretches. So it is done
/// for the first acknowledgement of a turn, and for all others of that turn together, when it ends.
#[derive(Debug, Default)]
pub(super) struct Unjudged {
    /// When an acknowledgement was judged last: the lower bits of it. Where they are the same by chance, one more waits for
    /// the end of its turn.
    at_ns: u32,
    is_due: bool,
    pub(super) has_progress: bool,
    pub(super) delivered: u32,
}

impl Unjudged {
    /// An acknowledgement brought news. Returns whether it is to be judged now.
    pub(super) fn admits(&mut self, delivered: u32, has_progress: bool, now: Instant) -> bool {
        let now_ns = now.as_nanos() as u32;
        if self.at_ns != now_ns && !self.is_due {
            self.at_ns = now_ns;
            return true;
        }
        self.is_due = true;
        self.delivered = self.delivered.saturating_add(delivered);
        self.has_progress |= has_progress;
        false
    }

    /// What waits to be judged.
    pub(super) fn take(&mut self) -> Option<Unjudged> {
        let rest = Unjudged { at_ns: self.at_ns, ..Unjudged::default() };
        self.is_due.then(|| core::mem::replace(self, rest))
    }
}

/// Tells those who measure that `len` bytes of a run were delivered.
fn note_delivered(
    (rack, sampler): (&mut Rack, &mut Option<Box<Sampler>>),
    (run, len): (&Run, u32),
    answer: Answer,
) {
    rack.delivered(run, answer);
    if let Some(sampler) = sampler {
        sampler.on_delivered(run, len, answer.now);
    }
}

/// The same of bytes that are lost.
fn note_lost(sampler: &mut Option<Box<Sampler>>, run: &Run, len: u32) {
    if let Some(sampler) = sampler {
        sampler.on_lost(run, len);
    }
}

impl Recovery {
    pub(super) fn new() -> Recovery {
        Recovery {
            phase: Phase::Open,
            has_sack: true,
            flight: Flight::default(),
            ecn: Notification::default(),
            repair: None,
        }
    }

    /// Everything that is outstanding is on its way.
    #[inline]
    fn is_whole(&self) -> bool {
        self.repair.as_ref().is_none_or(|repair| repair.account.is_whole())
    }

    /// Bytes that the peer holds beyond the cumulative ACK.
    #[inline]
    pub(super) fn sacked_len(&self) -> u32 {
        self.repair.as_ref().map_or(0, |repair| repair.account.sacked_len)
    }

    /// Bytes that are lost and were not sent again.
    #[inline]
    pub(super) fn lost_len(&self) -> u32 {
        self.repair.as_ref().map_or(0, |repair| repair.account.lost_len)
    }

    /// Nothing is outstanding: what was has to be sent anew.
    pub(super) fn forget_flight(&mut self) {
        self.flight.clear();
        if let Some(repair) = &mut self.repair {
            repair.account = Account::default();
        }
    }

    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// In fast recovery: PRR rules the congestion window.
    #[inline]
    pub(super) fn is_fast(&self) -> bool {
        self.phase == Phase::Fast
    }

    /// Nothing is lost or looks like it.
    pub(super) fn is_quiet(&self) -> bool {
        self.phase == Phase::Open
            && self.repair().is_none_or(|repair| {
                repair.account.is_whole() && repair.dup_acks == 0 && repair.probe.is_none()
            })
    }

    /// The phase as Linux has it. `was_reduced`: of what is outstanding, some left before a router's mark made the window
    /// smaller.
    pub(super) fn ca_state(&self, was_reduced: bool) -> CaState {
        let is_disordered = || !self.is_whole() || self.repair().is_some_and(|repair| repair.dup_acks > 0);
        match self.phase {
            Phase::Loss => CaState::Loss,
            Phase::Fast => CaState::Recovery,
            Phase::Open if was_reduced => CaState::Cwr,
            Phase::Open if is_disordered() => CaState::Disorder,
            Phase::Open => CaState::Open,
        }
    }

    pub(super) fn repair(&self) -> Option<&Repair> {
        self.repair.as_deref()
    }

    pub(super) fn repair_mut(&mut self) -> Option<&mut Repair> {
        self.repair.as_deref_mut()
    }

    /// The same, from now on if it was not there.
    pub(super) fn trouble(&mut self, una: Seq) -> &mut Repair {
        self.repair.get_or_insert_with(|| {
            Box::new(Repair {
                account: Account::default(),
                // RFC 6582 §3.2 step 1
                recover: una - 1,
                dup_acks: 0,
                rack: Rack::new(una),
                prr: Prr::default(),
                undo: None,
                frto: None,
                probe: None,
                doubts: false,
                reopened: false,
                unjudged: Unjudged::default(),
                total_retrans: 0,
                bytes_retrans: 0,
                dsack_dups: 0,
                sampler: None,
            })
        })
    }

    /// Everything from `una` to `ack` was delivered. Returns when the oldest of the news was sent, if all of it was sent
    /// just once (Karn).
    #[inline(always)]
    pub(super) fn deliver(&mut self, una: Seq, ack: Seq, answer: impl FnOnce() -> Answer) -> Option<Instant> {
        if let Some(sent_at) = self.deliver_sole(ack) {
            return Some(sent_at);
        }
        self.deliver_runs(una, ack, answer())
    }

    /// The same where just one stretch is outstanding, sent once, and nothing ever went wrong: all of it was delivered.
    /// Returns when it was sent; if nothing, nothing happened.
    #[inline(always)]
    pub(super) fn deliver_sole(&mut self, ack: Seq) -> Option<Instant> {
        if unlikely(self.repair.is_some()) {
            return None;
        }
        self.flight.take_sole(ack).map(|run| run.sent_at)
    }

    #[inline(never)]
    fn deliver_runs(&mut self, una: Seq, ack: Seq, answer: Answer) -> Option<Instant> {
        let repair = &mut self.repair;
        let (mut oldest, mut is_ambiguous) = (None, false);
        self.flight.acknowledge(una, ack, |run, len| {
            if run.fate != Fate::Sacked {
                oldest = oldest.or(Some(run.sent_at));
                is_ambiguous |= run.ambiguous;
            }
            let Some(Repair { account, rack, sampler, .. }) = repair.as_deref_mut() else { return };
            account.settle(run, len);
            if run.fate != Fate::Sacked {
                note_delivered((rack, sampler), (run, len), answer);
            }
        });
        oldest.filter(|_| !is_ambiguous)
    }

    /// The peer reports that it holds a block. Returns how many bytes of it are news.
    pub(super) fn sack(&mut self, block: (Seq, Seq), una: Seq, answer: Answer) -> u32 {
        self.trouble(una);
        let Some(Repair { account, rack, sampler, .. }) = self.repair.as_deref_mut() else { return 0 };
        Scoreboard::new(&mut self.flight, account, una).sack(block, |run, len| {
            note_delivered((rack, sampler), (run, len), answer);
        })
    }

    /// SND.UNA moved to `una`, by `acked` bytes. Returns whether fast recovery is over now.
    pub(super) fn on_ack(&mut self, una: Seq, acked: u32, mss: u32) -> bool {
        let Some(repair) = &mut self.repair else { return false };
        if self.phase == Phase::Open {
            repair.dup_acks = 0;
            return false;
        }
        if una.at_or_after(repair.recover) {
            return self.finish() == Phase::Fast;
        }
        // A partial ACK: what it covered has left the network, so the duplicate ACKs that stood for it do so no more.
        repair.dup_acks = repair.dup_acks.saturating_sub(acked / mss.max(1));
        if self.has_sack || (self.phase != Phase::Fast && !repair.doubts) {
            return false;
        }
        if repair.doubts && acked <= mss {
            // The peer took what went again, and has nothing of what came after it.
            repair.doubts = false;
            Scoreboard::new(&mut self.flight, &mut repair.account, una).lose_all(|_, _| {});
        } else {
            // The next hole starts here (RFC 6582 §3.2 step 3).
            self.lose_first(una, mss);
        }
        false
    }

    /// The first `len` bytes that are outstanding count as lost.
    fn lose_first(&mut self, una: Seq, len: u32) {
        self.lose(una, una..una + len, note_lost);
    }

    /// What probed the path's MTU is lost. Congestion control is told nothing of it.
    pub(super) fn lose_probe(&mut self, una: Seq, range: Range<Seq>) {
        self.lose(una, range, |_, _, _| {});
    }

    fn lose(
        &mut self,
        una: Seq,
        range: Range<Seq>,
        mut lost: impl FnMut(&mut Option<Box<Sampler>>, &Run, u32),
    ) {
        self.trouble(una);
        let Some(Repair { account, sampler, .. }) = self.repair.as_deref_mut() else { return };
        let mut board = Scoreboard::new(&mut self.flight, account, una);
        board.lose(range.start, range.end, |run, len| lost(sampler, run, len));
    }

    fn finish(&mut self) -> Phase {
        if let Some(repair) = &mut self.repair {
            repair.dup_acks = 0;
            repair.rack.on_recovered();
            (repair.frto, repair.unjudged) = (None, Unjudged::default());
            (repair.doubts, repair.reopened) = (false, false);
        }
        core::mem::replace(&mut self.phase, Phase::Open)
    }

    /// SND.UNA moved.
    #[inline]
    pub(super) fn forget_dup_acks(&mut self) {
        if let Some(repair) = &mut self.repair {
            repair.dup_acks = 0;
        }
    }

    /// A duplicate ACK arrived (RFC 5681 §2).
    pub(super) fn on_dup_ack(&mut self, una: Seq) {
        let repair = self.trouble(una);
        repair.dup_acks = repair.dup_acks.saturating_add(1);
    }

    /// Marks what is lost by now. Returns how many bytes are newly so, and after how many nanoseconds more will be.
    pub(super) fn detect(&mut self, una: Seq, mss: u32, rtt: &Rtt, now: Instant) -> (u32, u64) {
        let Some(Repair { account, dup_acks, rack, sampler, recover, .. }) = self.repair.as_deref_mut()
        else {
            return (0, 0);
        };
        let before = account.lost_len;
        let mut board = Scoreboard::new(&mut self.flight, account, una);
        let is_past_thresh = *dup_acks >= DUP_THRESH || board.is_past_dup_thresh(mss);
        if !self.has_sack {
            // RFC 6582 §3.2 step 2: duplicates of what was sent again prove nothing, until more than `recover` is
            // acknowledged. The phase says that it is not ahead; a comparison would go wrong 2 GiB later.
            if is_past_thresh && self.phase == Phase::Open && una != *recover {
                self.lose_first(una, mss);
            }
            return (self.lost_len() - before, 0);
        }
        let is_urgent = self.phase != Phase::Open || is_past_thresh;
        let path = Path { min_rtt_us: rtt.min_us(), srtt_us: rtt.srtt_us(), is_urgent };
        rack.detect(&mut board, path, now, |run, len| note_lost(sampler, run, len))
    }

    /// Something is lost that congestion control has not been told of: fast recovery must begin.
    pub(super) fn must_enter(&self) -> bool {
        self.phase == Phase::Open && self.lost_len() > 0
    }

    /// Fast recovery begins.
    pub(super) fn enter_fast(&mut self, una: Seq, nxt: Seq, undo: Undo) {
        self.phase = Phase::Fast;
        let repair = self.trouble(una);
        repair.recover = nxt;
        repair.prr = Prr::new(nxt - una);
        repair.undo = Some(undo);
        repair.probe = None;
    }

    /// All that is outstanding is presumed lost. `undo`: by congestion, if by anything. `asks`: it is to be found out by
    /// F-RTO whether that is so.
    pub(super) fn enter_loss(&mut self, una: Seq, nxt: Seq, undo: Option<Undo>, asks: bool) {
        // A second timeout may still turn out to be as needless as the first, a timeout in fast recovery hardly.
        let was = self.phase;
        self.phase = Phase::Loss;
        self.trouble(una);
        let Some(repair) = self.repair.as_deref_mut() else { return };
        (repair.recover, repair.dup_acks, repair.doubts) = (nxt, 0, false);
        Scoreboard::new(&mut self.flight, &mut repair.account, una).lose_all(|run, len| {
            if undo.is_some() {
                note_lost(&mut repair.sampler, run, len);
            }
        });
        // Not in fast recovery, nor where more went again than the first segment (RFC 5682 §2.1, step 1). That one may go
        // again as often as it takes, as with Linux: what is not sent twice proves as much.
        let is_unanswered = matches!(repair.frto, Some(Frto::Begun | Frto::Repeated(_)));
        let asks = asks && undo.is_some() && (was == Phase::Open || is_unanswered);
        repair.frto = asks.then_some(Frto::Begun);
        if was != Phase::Loss {
            repair.undo = undo;
        }
        repair.probe = None;
    }

    /// The peer shut its window over what is outstanding, or opens it again: what that was may have been thrown away, or
    /// not. Its first segment goes again, and what the answer says decides about the rest. No congestion did this.
    pub(super) fn doubt(&mut self, una: Seq, nxt: Seq, mss: u32) {
        let was_open = self.phase == Phase::Open;
        let repair = self.trouble(una);
        if was_open {
            (repair.recover, repair.dup_acks, repair.doubts) = (nxt, 0, true);
            (repair.undo, repair.probe) = (None, None);
        }
        // What the answer tells of a timeout would have to come from new data, which has no room: the byte that asks goes again.
        repair.frto = None;
        if was_open {
            self.phase = Phase::Loss;
        }
        let Some(Repair { account, .. }) = self.repair.as_deref_mut() else { return };
        let mut board = Scoreboard::new(&mut self.flight, account, una);
        if board.has_reneged() {
            board.lose_all(|_, _| {});
        } else {
            board.lose(una, una + mss.min(nxt - una), |_, _| {});
        }
    }

    /// The peer opens its window over what is in doubt. Returns whether that is for the first time in this recovery.
    pub(super) fn note_reopened(&mut self) -> bool {
        self.repair.as_deref_mut().is_some_and(|repair| !core::mem::replace(&mut repair.reopened, true))
    }

    pub(super) fn frto(&self) -> Option<Frto> {
        self.repair().and_then(|repair| repair.frto)
    }

    pub(super) fn set_frto(&mut self, frto: Option<Frto>) {
        if let Some(repair) = &mut self.repair {
            repair.frto = frto;
        }
    }

    /// Whether new data goes before what counts as lost.
    #[inline]
    pub(super) fn is_testing(&self) -> bool {
        self.phase == Phase::Loss && self.frto() == Some(Frto::Testing)
    }

    /// Nothing was lost: back to where we were.
    pub(super) fn leave_needless(&mut self, una: Seq) {
        if let Some(repair) = &mut self.repair {
            Scoreboard::new(&mut self.flight, &mut repair.account, una).find_all();
            // Nothing went again in vain, and what is outstanding may well be lost yet.
            repair.recover = una - 1;
        }
        self.finish();
    }

    /// The next stretch to send again, of which no more than `len_max` bytes are wanted.
    #[inline]
    pub(super) fn next_lost(&mut self, una: Seq, len_max: u32) -> Option<(Seq, Seq)> {
        let repair = self.repair.as_mut()?;
        Scoreboard::new(&mut self.flight, &mut repair.account, una).next_lost(len_max)
    }

    /// `range` was sent again, in a segment with this timestamp.
    pub(super) fn on_retransmit(&mut self, una: Seq, range: Range<Seq>, stamp: Option<u32>, now: Instant) {
        let is_open = self.is_open();
        self.trouble(una);
        let Some(repair) = self.repair.as_deref_mut() else { return };
        let (from, to) = (range.start, range.end);
        Scoreboard::new(&mut self.flight, &mut repair.account, una).resend(from, to, now);
        repair.total_retrans += 1;
        repair.frto = repair.frto.and_then(|frto| frto.on_retransmit(to));
        if !is_open && let Some(undo) = &mut repair.undo {
            undo.on_retransmit(to - from, stamp);
        }
    }

    /// Bytes that are known to have arrived beyond SND.UNA. Without SACK each duplicate ACK stands for a segment: for
    /// no more of them than were out when recovery began, or a liar could open the window at will (RFC 5681 §3.2).
    #[inline]
    pub(super) fn arrived_len(&self, una: Seq, mss: u32) -> u32 {
        let Some(repair) = &self.repair else { return 0 };
        if self.has_sack || self.phase != Phase::Fast {
            return repair.account.sacked_len;
        }
        repair.dup_acks.saturating_mul(mss).min(repair.recover.since(una))
    }

    /// Bytes that are on their way (`pipe` of RFC 6675 §4): what is outstanding, less what arrived, less what
    /// is lost and not yet sent again.
    #[inline]
    pub(super) fn pipe(&self, una: Seq, nxt: Seq, mss: u32) -> u32 {
        let flight = nxt - una;
        if self.phase == Phase::Open && self.is_whole() {
            return flight;
        }
        flight.saturating_sub(self.arrived_len(una, mss)).saturating_sub(self.lost_len())
    }

    /// Limited transmit (RFC 3042): bytes beyond the congestion window that the first two duplicate ACKs allow. With
    /// SACK it is the pipe that makes room.
    #[inline]
    pub(super) fn limited_transmit(&self, mss: u32) -> u32 {
        match &self.repair {
            Some(repair) if self.phase == Phase::Open && !self.has_sack => {
                repair.dup_acks.min(DUP_THRESH - 1) * mss
            }
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1000;

    /// Ten segments, sent at 0.
    fn ten(has_sack: bool) -> Recovery {
        let mut recovery = Recovery { has_sack, ..Recovery::new() };
        recovery.flight.send(Seq(10_000), Instant::ZERO);
        recovery
    }

    fn known_path() -> Rtt {
        let mut rtt = Rtt::default();
        rtt.sample(40_000);
        rtt
    }

    fn answer(now: Instant) -> Answer {
        Answer { now, min_rtt_us: known_path().min_us(), echo_age_ms: None }
    }

    fn enter_fast(recovery: &mut Recovery, una: Seq) {
        assert!(recovery.must_enter());
        recovery.enter_fast(una, una + 10_000, Undo::new(10_000, 20_000, una..una + 10_000));
    }

    #[test]
    fn sack_sends_every_hole_once_and_nothing_that_arrived() {
        let (mut recovery, now) = (ten(true), Instant::from_millis(40));
        for block in [(1000, 3000), (4000, 7000)] {
            recovery.sack((Seq(block.0), Seq(block.1)), Seq(0), answer(now));
        }
        assert_eq!(recovery.detect(Seq(0), MSS, &known_path(), now), (2000, 0));
        enter_fast(&mut recovery, Seq(0));
        assert_eq!(recovery.pipe(Seq(0), Seq(10_000), MSS), 10_000 - 5000 - 2000);
        assert_eq!(recovery.next_lost(Seq(0), u32::MAX), Some((Seq(0), Seq(1000))));
        recovery.on_retransmit(Seq(0), Seq(0)..Seq(1000), None, now);
        assert_eq!(recovery.next_lost(Seq(0), u32::MAX), Some((Seq(3000), Seq(4000))));
        recovery.on_retransmit(Seq(0), Seq(3000)..Seq(4000), None, now);
        assert_eq!(recovery.next_lost(Seq(0), u32::MAX), None, "7000.. has nothing above it");
        assert_eq!(recovery.pipe(Seq(0), Seq(10_000), MSS), 5000);
        recovery.deliver(Seq(0), Seq(10_000), || answer(now));
        assert!(recovery.on_ack(Seq(10_000), 10_000, MSS) && recovery.is_quiet());
    }

    #[test]
    fn a_retransmission_that_is_lost_is_found_by_what_was_sent_after_it() {
        let (mut recovery, rtt) = (ten(true), known_path());
        recovery.sack((Seq(1000), Seq(5000)), Seq(0), answer(Instant::from_millis(40)));
        recovery.detect(Seq(0), MSS, &rtt, Instant::from_millis(40));
        enter_fast(&mut recovery, Seq(0));
        recovery.on_retransmit(Seq(0), Seq(0)..Seq(1000), None, Instant::from_millis(40));
        recovery.flight.send(Seq(11_000), Instant::from_millis(41));
        recovery.sack((Seq(5000), Seq(10_000)), Seq(0), answer(Instant::from_millis(42)));
        assert_eq!(recovery.detect(Seq(0), MSS, &rtt, Instant::from_millis(42)).0, 0, "still on its way");
        recovery.sack((Seq(10_000), Seq(11_000)), Seq(0), answer(Instant::from_millis(81)));
        assert_eq!(recovery.detect(Seq(0), MSS, &rtt, Instant::from_millis(81)), (1000, 0));
        assert_eq!(recovery.next_lost(Seq(0), u32::MAX), Some((Seq(0), Seq(1000))));
    }

    /// Of three segments the last went again as a probe, and all arrived in order.
    #[test]
    fn a_probe_is_no_sign_of_reordering() {
        let (mut recovery, rtt, at) = (Recovery::new(), known_path(), Instant::from_millis);
        (1..=3).for_each(|n| recovery.flight.send(Seq(n * 1000), at(n.into())));
        recovery.on_retransmit(Seq(0), Seq(2000)..Seq(3000), None, at(60));
        recovery.deliver(Seq(0), Seq(3000), || answer(at(100)));
        recovery.flight.send(Seq(7000), at(101));
        recovery.sack((Seq(4000), Seq(7000)), Seq(3000), answer(at(141)));
        assert_eq!(recovery.detect(Seq(3000), MSS, &rtt, at(141)), (1000, 0), "lost at once");
    }

    #[test]
    fn without_sack_a_partial_ack_exposes_the_next_hole() {
        let (mut recovery, now) = (ten(false), Instant::from_millis(40));
        (0..3).for_each(|_| recovery.on_dup_ack(Seq(0)));
        recovery.detect(Seq(0), MSS, &known_path(), now);
        enter_fast(&mut recovery, Seq(0));
        assert_eq!(recovery.next_lost(Seq(0), u32::MAX), Some((Seq(0), Seq(1000))));
        recovery.on_retransmit(Seq(0), Seq(0)..Seq(1000), None, now);
        assert_eq!(recovery.next_lost(Seq(0), u32::MAX), None);
        assert_eq!(recovery.pipe(Seq(0), Seq(10_000), MSS), 7000);
        recovery.deliver(Seq(0), Seq(4000), || answer(now));
        recovery.on_ack(Seq(4000), 4000, MSS);
        assert_eq!(recovery.next_lost(Seq(4000), u32::MAX), Some((Seq(4000), Seq(5000))));
    }

    #[test]
    fn after_a_timeout_all_that_did_not_arrive_goes_again() {
        let mut recovery = ten(true);
        recovery.sack((Seq(5000), Seq(6000)), Seq(0), Answer { min_rtt_us: 0, ..answer(Instant::ZERO) });
        recovery.enter_loss(Seq(0), Seq(10_000), None, false);
        assert_eq!(recovery.next_lost(Seq(0), u32::MAX), Some((Seq(0), Seq(5000))));
        assert_eq!(recovery.pipe(Seq(0), Seq(10_000), MSS), 0);
        recovery.on_retransmit(Seq(0), Seq(0)..Seq(1000), None, Instant::ZERO);
        assert_eq!(recovery.pipe(Seq(0), Seq(10_000), MSS), 1000);
        assert!(!recovery.must_enter());
    }

    #[test]
    fn a_loss_is_seen_however_long_ago_the_last_one_was() {
        let una = Seq(3 << 30);
        let mut recovery = Recovery { has_sack: false, ..Recovery::new() };
        recovery.flight.send(una + 10_000, Instant::ZERO);
        (0..3).for_each(|_| recovery.on_dup_ack(una));
        recovery.detect(una, MSS, &Rtt::default(), Instant::ZERO);
        enter_fast(&mut recovery, una);
        assert_eq!(recovery.next_lost(una, u32::MAX), Some((una, una + MSS)));
    }

    #[test]
    fn a_turn_is_judged_twice_at_most_however_many_acknowledgements_it_brings() {
        let (mut unjudged, at) = (Unjudged::default(), Instant::from_millis);
        assert!(unjudged.admits(1000, false, at(1)) && unjudged.take().is_none());
        assert!(!unjudged.admits(1000, false, at(1)) && !unjudged.admits(500, true, at(1)));
        let rest = unjudged.take().expect("two waited");
        assert_eq!((rest.delivered, rest.has_progress), (1500, true));
        assert!(unjudged.take().is_none() && !unjudged.admits(1, false, at(1)));
        // Where the device was full, the turn did not end.
        assert!(!unjudged.admits(2, false, at(2)));
        assert_eq!(unjudged.take().map(|rest| (rest.delivered, rest.has_progress)), Some((3, false)));
        assert!(unjudged.admits(1, false, at(2)));
    }

    #[test]
    fn two_duplicates_release_new_data_only() {
        let mut recovery = ten(false);
        recovery.on_dup_ack(Seq(0));
        assert_eq!(recovery.limited_transmit(MSS), 1000);
        recovery.on_dup_ack(Seq(0));
        recovery.detect(Seq(0), MSS, &Rtt::default(), Instant::ZERO);
        assert!(!recovery.must_enter() && recovery.limited_transmit(MSS) == 2000);
    }
}

//! How fast the path delivers, segment by segment (draft-ietf-ccwg-bbr §4.1, once draft-cheng-iccrg-delivery-rate-estimation):
//! how much arrived between the moment when a segment left and the moment when its acknowledgement came.
//!
//! Kept for connections whose congestion control asks for it, beside what [`flight`](super::flight) knows of every
//! connection. What leaves at one instant shares an entry, and so does what leaves so shortly after that the difference
//! says nothing: an entry is found by the time at which a stretch was sent.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use hayase_time::Instant;

use super::flight::Run;
use crate::seq::Seq;

/// Entries of one connection: four round trips at the spacing below. What is older gives no sample.
const ENTRIES_MAX: usize = 1024;

/// How many entries a round trip gets.
const ENTRIES_PER_RTT: u64 = 256;

/// What was the case when something was sent (the P state of §4.1.2.1).
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// P.send_time
    sent_at: Instant,
    /// P.first_send_time
    first_sent_at: Instant,
    /// P.delivered_time
    delivered_at: Instant,
    /// P.delivered
    delivered: u64,
    /// P.lost
    lost: u64,
    /// P.tx_in_flight
    in_flight: u32,
    /// P.is_app_limited
    is_app_limited: bool,
}

/// The newest of what an acknowledgement delivered.
#[derive(Debug, Clone, Copy)]
struct Newest {
    entry: Entry,
    sent_at: Instant,
    end: Seq,
    /// Sent once: its round trip is known (Karn).
    is_timed: bool,
}

/// Something that was found to be lost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loss {
    /// Bytes of it.
    pub(super) len: u32,
    /// P.tx_in_flight
    pub(super) in_flight: u32,
    /// Bytes lost from when it was sent until now, it among them.
    pub(super) lost: u64,
    pub(super) is_app_limited: bool,
}

/// What one acknowledgement says of the path (the RS state of §2.3).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sample {
    pub(super) now: Instant,
    /// Something was delivered of which it is known when it was sent: what follows, up to `rtt_us`, has a meaning.
    pub(super) has_data: bool,
    /// RS.delivery_rate in bytes a second. 0: too short a time to tell.
    pub(super) delivery_rate: u64,
    /// RS.delivered: in the time over which the rate was measured.
    pub(super) delivered: u64,
    /// RS.prior_delivered
    pub(super) prior_delivered: u64,
    /// RS.is_app_limited
    pub(super) is_app_limited: bool,
    /// RS.tx_in_flight
    pub(super) sent_in_flight: u32,
    /// RS.lost
    pub(super) lost: u64,
    /// RS.rtt, of what was sent last.
    pub(super) rtt_us: Option<u32>,
    /// RS.newly_acked, in order or not.
    pub(super) newly_acked: u32,
    /// C.delivered
    pub(super) total_delivered: u64,
}

/// The C state of §4.1.2.1.
#[derive(Debug)]
pub(super) struct Sampler {
    entries: VecDeque<Entry>,
    /// C.delivered
    delivered: u64,
    /// C.delivered_time
    delivered_at: Instant,
    /// C.first_send_time
    first_sent_at: Instant,
    /// C.app_limited: until so much is delivered, the application was too slow to fill the window. 0: it was not.
    app_limited: u64,
    /// C.lost
    lost: u64,
    /// Of the acknowledgement that is being processed.
    newest: Option<Newest>,
    newly_acked: u32,
    losses: Vec<Loss>,
    /// The last rate, and whether it was the application's.
    last: (u64, bool),
}

impl Sampler {
    pub(super) fn new(now: Instant) -> Sampler {
        Sampler {
            entries: VecDeque::new(),
            delivered: 0,
            delivered_at: now,
            first_sent_at: now,
            app_limited: 0,
            lost: 0,
            newest: None,
            newly_acked: 0,
            losses: Vec::new(),
            last: (0, false),
        }
    }

    /// OnPacketSent: something left, again or for the first time. `in_flight` counts it; `was_idle`: nothing was
    /// outstanding before.
    pub(super) fn on_sent(&mut self, now: Instant, in_flight: u32, was_idle: bool, srtt_us: u32) {
        if was_idle {
            self.entries.clear();
            (self.first_sent_at, self.delivered_at) = (now, now);
        }
        let spacing_ns = u64::from(srtt_us) * 1000 / ENTRIES_PER_RTT;
        if let Some(last) = self.entries.back_mut()
            && (last.sent_at == now || now.nanos_since(last.sent_at) < spacing_ns)
        {
            last.in_flight = last.in_flight.max(in_flight);
            return;
        }
        if self.entries.len() == ENTRIES_MAX {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry {
            sent_at: now,
            first_sent_at: self.first_sent_at,
            delivered_at: self.delivered_at,
            delivered: self.delivered,
            lost: self.lost,
            in_flight,
            is_app_limited: self.app_limited > 0,
        });
    }

    fn entry(&self, sent_at: Instant) -> Option<Entry> {
        let behind = self.entries.partition_point(|entry| entry.sent_at <= sent_at);
        self.entries.get(behind.checked_sub(1)?).copied()
    }

    /// UpdateRateSample: the peer has `len` bytes of a run.
    pub(super) fn on_delivered(&mut self, run: &Run, len: u32, now: Instant) {
        self.delivered += u64::from(len);
        self.newly_acked = self.newly_acked.saturating_add(len);
        self.delivered_at = now;
        let Some(entry) = self.entry(run.sent_at) else { return };
        let is_newest = self.newest.is_none_or(|newest| {
            run.sent_at > newest.sent_at || (run.sent_at == newest.sent_at && run.end.after(newest.end))
        });
        if is_newest {
            let (sent_at, end) = (run.sent_at, run.end);
            self.newest = Some(Newest { entry, sent_at, end, is_timed: !run.ambiguous });
            self.first_sent_at = sent_at;
        }
    }

    /// `len` bytes of a run are lost.
    pub(super) fn on_lost(&mut self, run: &Run, len: u32) {
        self.lost += u64::from(len);
        if let Some(entry) = self.entry(run.sent_at) {
            let (in_flight, lost) = (entry.in_flight, self.lost - entry.lost);
            self.losses.push(Loss { len, in_flight, lost, is_app_limited: entry.is_app_limited });
        }
    }

    /// What was lost since this was last asked.
    pub(super) fn take_losses(&mut self) -> Vec<Loss> {
        core::mem::take(&mut self.losses)
    }

    /// MarkConnectionAppLimited: the window has room, and there is nothing to send.
    pub(super) fn limit_by_application(&mut self, in_flight: u32) {
        self.app_limited = (self.delivered + u64::from(in_flight)).max(1);
    }

    pub(super) fn is_app_limited(&self) -> bool {
        self.app_limited > 0
    }

    /// C.delivered
    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// The last rate in bytes a second, and whether the application was what limited it.
    pub(super) fn last(&self) -> (u64, bool) {
        self.last
    }

    /// GenerateRateSample, at the end of an acknowledgement. `None`: it delivered nothing.
    pub(super) fn take_sample(&mut self, now: Instant, min_rtt_us: u32) -> Option<Sample> {
        if self.delivered > self.app_limited {
            self.app_limited = 0;
        }
        let newly_acked = core::mem::take(&mut self.newly_acked);
        let newest = self.newest.take();
        if newly_acked == 0 {
            return None;
        }
        let sample = Sample { now, newly_acked, total_delivered: self.delivered, ..Sample::default() };
        let Some(Newest { entry, sent_at, is_timed, .. }) = newest else { return Some(sample) };
        let send_ns = sent_at.nanos_since(entry.first_sent_at);
        let ack_ns = self.delivered_at.nanos_since(entry.delivered_at);
        let interval_ns = send_ns.max(ack_ns);
        let delivered = self.delivered - entry.delivered;
        // Sooner than the path allows: what was sent again needlessly.
        let is_reliable = interval_ns > 0 && interval_ns >= u64::from(min_rtt_us) * 1000;
        let rate = u128::from(delivered) * 1_000_000_000 / u128::from(interval_ns.max(1));
        let delivery_rate = if is_reliable { rate.min(RATE_MAX.into()) as u64 } else { 0 };
        if delivery_rate > 0 {
            self.last = (delivery_rate, entry.is_app_limited);
        }
        let rtt_us = now.micros_since(sent_at).clamp(1, u32::MAX.into()) as u32;
        Some(Sample {
            has_data: true,
            delivery_rate,
            delivered,
            prior_delivered: entry.delivered,
            is_app_limited: entry.is_app_limited,
            sent_in_flight: entry.in_flight,
            lost: self.lost - entry.lost,
            rtt_us: is_timed.then_some(rtt_us),
            ..sample
        })
    }
}

/// 800 Gbit/s: products with it fit 64 bits.
const RATE_MAX: u64 = 100_000_000_000;

#[cfg(test)]
mod tests {
    use super::super::flight::Fate;
    use super::*;

    const MS: u64 = 1_000_000;

    fn run(end: u32, sent_ms: u64, ambiguous: bool) -> Run {
        Run { end: Seq(end), sent_at: Instant::from_millis(sent_ms), fate: Fate::Pending, ambiguous }
    }

    /// A segment of 1000 bytes each millisecond from 0 on, each acknowledged after 40 ms: the sample of the last.
    fn steady(segments: u32, app_limited_at: Option<u32>) -> (Sampler, Sample) {
        let mut sampler = Sampler::new(Instant::ZERO);
        let mut last = None;
        for n in 0..segments + 40 {
            let now = Instant::from_nanos(u64::from(n) * MS);
            if n >= 40 {
                sampler.on_delivered(&run((n - 39) * 1000, u64::from(n - 40), false), 1000, now);
                last = sampler.take_sample(now, 40_000);
            }
            if n < segments {
                sampler.on_sent(now, 1000 * n.min(39) + 1000, n == 0, 40_000);
            }
            if app_limited_at == Some(n) {
                sampler.limit_by_application(40_000);
            }
        }
        (sampler, last.unwrap())
    }

    #[test]
    fn the_rate_is_what_arrived_in_the_time_that_it_took() {
        let (sampler, sample) = steady(200, None);
        assert_eq!((sample.delivery_rate, sample.delivered), (1_000_000, 40_000));
        assert_eq!((sample.rtt_us, sample.sent_in_flight), (Some(40_000), 40_000));
        assert_eq!((sample.newly_acked, sample.total_delivered), (1000, 200_000));
        assert_eq!((sampler.last(), sample.is_app_limited), ((1_000_000, false), false));
    }

    #[test]
    fn acknowledgements_that_come_together_are_no_faster_path() {
        let mut sampler = Sampler::new(Instant::ZERO);
        for n in 0..40u64 {
            sampler.on_sent(Instant::from_millis(n), 1000 * (n as u32 + 1), n == 0, 40_000);
        }
        // All that was sent over 39 ms is acknowledged within one.
        for n in 0..40u64 {
            let now = Instant::from_nanos(80 * MS + n * 1000);
            sampler.on_delivered(&run((n as u32 + 1) * 1000, n, false), 1000, now);
            let sample = sampler.take_sample(now, 40_000).unwrap();
            assert!(sample.delivery_rate <= 1_000_000, "{n}: {}", sample.delivery_rate);
        }
    }

    #[test]
    fn the_application_limits_what_it_had_no_data_for() {
        assert!(steady(200, Some(170)).1.is_app_limited);
        assert!(!steady(200, Some(90)).1.is_app_limited, "that bubble is gone");
    }

    #[test]
    fn what_was_sent_again_has_a_rate_and_no_round_trip() {
        let mut sampler = Sampler::new(Instant::ZERO);
        sampler.on_sent(Instant::ZERO, 2000, true, 0);
        sampler.on_lost(&run(1000, 0, false), 1000);
        let [loss] = sampler.take_losses()[..] else { panic!("one loss") };
        assert_eq!((loss.len, loss.lost, loss.in_flight), (1000, 1000, 2000));
        sampler.on_sent(Instant::from_millis(50), 2000, false, 0);
        let now = Instant::from_millis(90);
        sampler.on_delivered(&run(1000, 50, true), 1000, now);
        let sample = sampler.take_sample(now, 40_000).unwrap();
        assert_eq!((sample.rtt_us, sample.lost), (None, 0), "the loss was before");
        assert!(sample.delivery_rate > 0);
        assert!(sampler.take_sample(now, 40_000).is_none());
    }

    #[test]
    fn too_short_a_time_says_nothing() {
        let mut sampler = Sampler::new(Instant::ZERO);
        sampler.on_sent(Instant::ZERO, 1000, true, 0);
        sampler.on_delivered(&run(1000, 0, false), 1000, Instant::from_millis(10));
        let sample = sampler.take_sample(Instant::from_millis(10), 40_000).unwrap();
        assert_eq!((sample.delivery_rate, sample.has_data), (0, true));
    }

    #[test]
    fn its_memory_is_bounded() {
        let mut sampler = Sampler::new(Instant::ZERO);
        (0..10_000).for_each(|n| sampler.on_sent(Instant::from_nanos(n), 1, n == 0, 0));
        assert_eq!(sampler.entries.len(), ENTRIES_MAX);
        sampler.on_delivered(&run(1000, 0, false), 1000, Instant::from_millis(10));
        assert!(!sampler.take_sample(Instant::from_millis(10), 0).unwrap().has_data, "forgotten");
        let mut sampler = Sampler::new(Instant::ZERO);
        (0..10_000u64).for_each(|n| sampler.on_sent(Instant::from_nanos(n * 4000), 1, n == 0, 40_000));
        assert!(sampler.entries.len() <= 257, "{}: a round trip", sampler.entries.len());
    }
}

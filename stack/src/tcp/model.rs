//! What a congestion control that models the path ([`bbr`](super::bbr)) is told of a connection, and when
//! (draft-ietf-ccwg-bbr §4.1.2, §5.2). The others know nothing of this, and pay nothing for it.

use alloc::boxed::Box;

use hayase_device::Frame;
use hayase_time::Instant;

use super::bbr::Situation;
use super::congestion::Congestion;
use super::connection::Connection;
use super::rate::Sampler;

impl<F: Frame> Connection<F> {
    /// Another congestion control from now on. It has to be measured how fast the path is, or no more.
    pub(super) fn choose_congestion(&mut self, congestion: Congestion) {
        self.congestion.choose(congestion);
        if self.congestion.is_model_based() {
            self.steady = false;
        } else if let Some(repair) = self.recovery.repair_mut() {
            repair.sampler = None;
        }
    }

    /// Before something is sent: the model is there, and knows that the connection was idle.
    pub(super) fn prepare_model(&mut self, now: Instant) {
        let is_idle = self.flight() == 0;
        let una = self.snd_una;
        let sampler = self.recovery.trouble(una).sampler.get_or_insert_with(|| Box::new(Sampler::new(now)));
        let is_app_limited = sampler.is_app_limited();
        let at = self.situation();
        self.congestion.begin_model(now, &at, self.iss.0 ^ self.ts_offset);
        if is_idle && is_app_limited && self.has_unsent() {
            self.congestion.on_restart(now);
        }
    }

    /// `len` bytes left.
    pub(super) fn note_sent_to_model(&mut self, len: u32, was_idle: bool, now: Instant) {
        let (pipe, srtt_us) = (self.pipe(), self.rtt.srtt_us());
        if let Some(sampler) = &mut self.recovery.trouble(self.snd_una).sampler {
            sampler.on_sent(now, pipe, was_idle, srtt_us);
        }
        self.pace_by_model(len, now);
    }

    /// CheckIfApplicationLimited, and C.is_cwnd_limited: all was sent that may be.
    pub(super) fn note_limits(&mut self) {
        let (pipe, cwnd) = (self.pipe(), self.congestion.cwnd());
        if pipe + self.mss > cwnd {
            return self.congestion.on_cwnd_limited();
        }
        if self.unsent_len() == 0
            && self.recovery.lost_len() == 0
            && let Some(sampler) = self.recovery.repair_mut().and_then(|repair| repair.sampler.as_mut())
        {
            sampler.limit_by_application(pipe);
        }
    }

    /// The end of an acknowledgement: what it lost and what it delivered.
    pub(super) fn update_model(&mut self, now: Instant) {
        self.digest_losses(now);
        let min_rtt_us = self.rtt.min_us();
        let Some(sampler) = self.recovery.repair_mut().and_then(|repair| repair.sampler.as_mut()) else {
            return;
        };
        let Some(sample) = sampler.take_sample(now, min_rtt_us) else { return };
        let at = self.situation();
        self.congestion.on_sample(&sample, &at);
        if self.congestion.ignores_samples()
            && let Some(sampler) = self.recovery.repair_mut().and_then(|repair| repair.sampler.as_mut())
        {
            sampler.limit_by_application(at.in_flight);
        }
    }

    /// Tells the model of what was found to be lost.
    pub(super) fn digest_losses(&mut self, now: Instant) {
        let Some(sampler) = self.recovery.repair_mut().and_then(|repair| repair.sampler.as_mut()) else {
            return;
        };
        let losses = sampler.take_losses();
        if losses.is_empty() {
            return;
        }
        let at = self.situation();
        losses.iter().for_each(|loss| self.congestion.on_lost(loss, &at, now));
    }

    /// C.inflight
    fn pipe(&self) -> u32 {
        self.recovery.pipe(self.snd_una, self.snd_nxt, self.mss)
    }

    fn situation(&self) -> Situation {
        let sampler = self.recovery.repair().and_then(|repair| repair.sampler.as_ref());
        Situation {
            in_flight: self.pipe(),
            mss: self.mss,
            has_sack: self.sack_ok,
            is_fast: self.recovery.is_fast(),
            srtt_us: self.rtt.srtt_us(),
            delivered: sampler.map_or(0, |sampler| sampler.delivered()),
        }
    }
}

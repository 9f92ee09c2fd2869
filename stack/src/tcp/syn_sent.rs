//! SYN-SENT (RFC 9293 §3.10.7.3).

use core::net::IpAddr;

use hayase_device::Frame;
use hayase_time::Instant;

use super::connection::{AckDebt, Connection};
use super::rack::Answer;
use super::segment::{Reset, Segment, Stop};
use super::segment_arrives::{Context, age_stamp};
use super::state::State;
use crate::config::Config;
use crate::counters::{Count, Drop};
use crate::error::Error;
use crate::seq::Seq;
use crate::wire::tcp::{Flags, TcpHeader};

impl<F: Frame> Connection<F> {
    pub(super) fn arrives_in_syn_sent(
        &mut self,
        segment: Segment<'_, F>,
        cx: &mut Context<'_>,
    ) -> Result<(), Stop> {
        let ack = segment.has(Flags::ACK).then_some(segment.header.ack);
        // First: an ACK of something that we did not send draws a reset, unless it comes with one.
        if let Some(ack) = ack.filter(|ack| !self.acknowledges_syn(*ack)) {
            return Err(if segment.has(Flags::RST) {
                Stop::Drop(Drop::TcpInvalidRst)
            } else {
                Stop::Reset(Reset { tuple: self.tuple, seq: ack, ack: None })
            });
        }
        // Second: a reset needs a good ACK (RFC 5961 §3.2).
        if segment.has(Flags::RST) {
            if ack.is_none() {
                return Err(Stop::Drop(Drop::TcpInvalidRst));
            }
            cx.counters.count(Count::AttemptFails);
            self.enter_closed(Some(Error::ConnectionRefused));
            return Ok(());
        }
        // Fourth: the SYN. Without one nothing is established.
        if !segment.has(Flags::SYN) {
            return Err(Stop::Drop(Drop::TcpFlags));
        }
        self.take_syn(segment.header, cx.now, cx.config);
        match ack {
            Some(ack) => self.syn_acknowledged(ack, segment, cx),
            None => self.simultaneous_open(),
        }
        Ok(())
    }

    /// IRS, RCV.NXT, options: what both kinds of open learn from a SYN. Data on it is left for the peer to send
    /// again: it is not acknowledged (RFC 9293 §3.4).
    pub(super) fn take_syn(&mut self, header: &TcpHeader, now: Instant, config: &Config) {
        self.rcv_nxt = header.seq + 1;
        self.last_ack_sent = self.rcv_nxt;
        self.ts_recent_at = age_stamp(now);
        let mss_max = self.mss;
        self.negotiate(&header.options, mss_default(self.tuple.local_ip()), mss_max);
        self.agree_on_ecn(header, config);
        self.snd_wnd = u32::from(header.window);
        self.snd_wl1 = header.seq;
        self.max_snd_wnd = self.snd_wnd;
        self.rcv_adv = self.rcv_nxt + initial_receive_window(self.space_len as usize);
        self.window_due = true;
    }

    fn syn_acknowledged(&mut self, ack: Seq, segment: Segment<'_, F>, cx: &mut Context<'_>) {
        let (now, min_rtt_us) = (cx.now, self.rtt.min_us());
        let answer = || Answer { now, min_rtt_us, echo_age_ms: None };
        let sent_at = self.recovery.deliver(self.snd_una, ack, answer);
        self.snd_una = ack;
        self.tally.bytes_acked += u64::from(ack - self.iss);
        self.send.acknowledge(ack);
        // What went with the SYN and was not taken goes again, as if it had not.
        self.recovery.forget_flight();
        // It was back at ISS if our SYN was about to go out again.
        self.snd_nxt = ack;
        if let Some(sent_at) = sent_at {
            self.rtt.sample(cx.now.micros_since(sent_at));
        }
        self.deadlines.retransmit = Instant::MAX;
        // RFC 7323 §2.2: the window of a segment with SYN is never scaled.
        self.establish(&segment, cx.now, 0);
        self.owe_ack(AckDebt::Now);
    }

    /// Both sides opened at once (§3.5, figure 8): our SYN goes again, now with an ACK.
    fn simultaneous_open(&mut self) {
        self.state = State::SynReceived;
        self.snd_nxt = self.iss;
    }
}

/// What a peer takes that does not say its MSS (MUST-15).
pub(super) fn mss_default(local: IpAddr) -> u32 {
    if local.is_ipv4() { 536 } else { 1220 }
}

/// The window of the first segments, which is not scaled yet.
pub(super) fn initial_receive_window(buffer_len: usize) -> u32 {
    buffer_len.min(usize::from(u16::MAX)) as u32
}

//! What a connection can tell of itself, under the names of Linux's `TCP_INFO`.

use hayase_device::Frame;
use hayase_time::Instant;

use super::congestion::Congestion;
use super::connection::Connection;
use super::state::State;
use crate::config::Config;
use crate::seq::Seq;

/// The state of a connection (RFC 9293 §3.9.1, STATUS). Names are those of Linux's `struct tcp_info`, but all sizes are
/// bytes, also where Linux counts segments, and all times are microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpInfo {
    /// The state of RFC 9293 §3.3.2.
    pub state: State,
    /// Who rules the congestion window.
    pub congestion: Congestion,
    /// Timeouts since something new was acknowledged.
    pub retransmits: u8,
    /// How often the timeout is doubled at present.
    pub backoff: u8,
    /// Timestamps are in use (RFC 7323).
    pub timestamps: bool,
    /// SACK is in use (RFC 2018).
    pub sack: bool,
    /// ECN is in use (RFC 3168).
    pub ecn: bool,
    /// Shifts of the peer's windows and ours (RFC 7323 §2).
    pub snd_wscale: u8,
    /// See `snd_wscale`.
    pub rcv_wscale: u8,
    /// The retransmission timeout (RFC 6298), back-off included.
    pub rto_us: u64,
    /// Payload of a full segment.
    pub snd_mss: u32,
    /// Bytes outstanding.
    pub unacked: u32,
    /// Bytes outstanding that the peer reported beyond a hole.
    pub sacked: u32,
    /// Bytes that are lost and were not sent again yet.
    pub lost: u32,
    /// The smoothed round-trip time. 0: nothing was measured yet.
    pub rtt_us: u32,
    /// Its variation.
    pub rttvar_us: u32,
    /// The shortest round trip since the last timeout. 0: nothing was measured yet.
    pub min_rtt_us: u32,
    /// The congestion window.
    pub snd_cwnd: u32,
    /// The slow start threshold. 2^30: none yet.
    pub snd_ssthresh: u32,
    /// The peer's window.
    pub snd_wnd: u32,
    /// The window that the peer was told of.
    pub rcv_wnd: u32,
    /// Segments sent again, by timeouts, recovery and probes.
    pub total_retrans: u32,
    /// Bytes a second at which data is paced. `None`: as fast as the device takes it.
    pub pacing_rate: Option<u64>,
    /// Bytes a second that arrived in the last round trip that filled the window; with BBR, by the last segment that was
    /// acknowledged. 0: nothing was measured yet.
    pub delivery_rate: u64,
    /// The application had too little to send for that to be the path's rate. Known with BBR alone.
    pub delivery_rate_app_limited: bool,
    /// Bytes acknowledged by the peer, SYN and FIN included.
    pub bytes_acked: u64,
    /// Bytes received in order.
    pub bytes_received: u64,
    /// Bytes written that were never sent.
    pub notsent_bytes: u32,
}

/// What is counted of a connection for those who ask.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) bytes_acked: u64,
    pub(super) bytes_received: u64,
}

/// How fast data arrives at the peer, measured a round trip at a time.
#[derive(Debug)]
pub(super) struct DeliveryRate {
    /// The round trip that is going on: when and where it began, and what ends it.
    since: Instant,
    from: Seq,
    until: Seq,
    /// What the last acknowledgement reached that found the window in use.
    seen: Seq,
    /// Bytes a second.
    rate: u64,
}

impl DeliveryRate {
    pub(super) fn new(now: Instant, una: Seq, nxt: Seq) -> DeliveryRate {
        DeliveryRate { since: now, from: una, until: nxt, seen: una, rate: 0 }
    }

    /// `acked` bytes were acknowledged while the window was in use.
    pub(super) fn on_ack(&mut self, now: Instant, acked: u32, una: Seq, nxt: Seq) {
        if core::mem::replace(&mut self.seen, una) != una - acked {
            // It was not in use meanwhile: that tells how fast the application is, not the path.
            (self.since, self.from, self.until) = (now, una, nxt);
        }
        if una.before(self.until) {
            return;
        }
        let elapsed_us = now.micros_since(self.since).max(1);
        self.rate = u64::from(una.since(self.from)) * 1_000_000 / elapsed_us;
        (self.since, self.from, self.until) = (now, una, nxt);
    }
}

impl<F: Frame> Connection<F> {
    pub(super) fn info(&self, config: &Config) -> TcpInfo {
        let of_window = self.congestion.bulk.as_ref().and_then(|bulk| bulk.delivery_rate.as_ref());
        let of_window = of_window.map_or(0, |delivery| delivery.rate);
        let sampled = self.recovery.repair().and_then(|repair| repair.sampler.as_ref());
        let (delivery_rate, is_app_limited) = sampled.map_or((of_window, false), |sampler| sampler.last());
        TcpInfo {
            state: self.state,
            congestion: self.congestion.congestion(),
            retransmits: self.retries,
            backoff: self.backoff,
            timestamps: self.timestamps_ok,
            sack: self.sack_ok,
            ecn: self.recovery.ecn.ect != 0,
            snd_wscale: self.snd_wscale,
            rcv_wscale: self.rcv_wscale,
            rto_us: self.rtt.rto_us(self.backoff, config),
            snd_mss: self.mss,
            unacked: self.flight(),
            sacked: self.recovery.sacked_len(),
            lost: self.recovery.lost_len(),
            rtt_us: self.rtt.srtt_us(),
            rttvar_us: self.rtt.rttvar_us(),
            min_rtt_us: self.rtt.min_us(),
            snd_cwnd: self.congestion.cwnd(),
            snd_ssthresh: self.congestion.ssthresh(),
            snd_wnd: self.snd_wnd,
            rcv_wnd: self.rcv_wnd(),
            total_retrans: self.recovery.repair().map_or(0, |repair| repair.total_retrans),
            pacing_rate: self.pacing_rate(config),
            delivery_rate,
            delivery_rate_app_limited: is_app_limited,
            bytes_acked: self.tally.bytes_acked,
            bytes_received: self.tally.bytes_received,
            notsent_bytes: self.unsent_len(),
        }
    }
}

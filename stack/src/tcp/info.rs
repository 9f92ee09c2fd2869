//! What a connection can tell of itself, under the names of Linux's `TCP_INFO`.

use hayase_device::{Caps, Frame};
use hayase_time::Instant;

use super::buffers::Intake;
use super::congestion::{Ack, Congestion};
use super::connection::Connection;
use super::state::State;
use crate::config::Config;
use crate::egress::{mss, network_len};
use crate::seq::Seq;

/// In which phase of loss recovery a connection is, under Linux's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CaState {
    /// Everything is on its way.
    #[default]
    Open,
    /// Something arrived out of order, or is late.
    Disorder,
    /// The window became smaller because a router marked something (RFC 3168).
    Cwr,
    /// Loss was found by acknowledgements, and is being repaired.
    Recovery,
    /// The retransmission timer ran out.
    Loss,
}

/// The state of a connection (RFC 9293 §3.9.1, STATUS). Names are those of Linux's `struct tcp_info`, but all sizes are
/// bytes, also where Linux counts segments, and all times are microseconds.
///
/// Of `struct tcp_info` there is not:
/// - what would have to be kept with every segment, on ways that do nothing but what they must: `segs_in`, `segs_out`,
///   `data_segs_in`, `data_segs_out`, `last_data_recv`, `last_ack_recv`. The counters of the host have segments and bytes of
///   all connections.
/// - what begins and ends on these ways, with every request and every window: `busy_time`, `rwnd_limited`,
///   `sndbuf_limited`. What holds a transfer back shows at any time in [`snd_cwnd`](Self::snd_cwnd),
///   [`snd_wnd`](Self::snd_wnd), [`unacked`](Self::unacked) and [`notsent_bytes`](Self::notsent_bytes).
/// - what is not there: `rcv_mss`, since acknowledgements go by our own segment size; `reordering`, since the tolerance is a
///   time (RFC 8985); `max_pacing_rate`, which nobody can set; `last_ack_sent` and `fackets`, which Linux has not either.
/// - what is counted for the host, not for each connection: `rehash`, `fastopen_client_fail`, and what the options say of
///   data with SYNs, and of whether the peer's segments have said [`ecn`](Self::ecn).
///
/// With the operating system's sockets it is filled from there. What the system counts in segments is then so many times
/// `snd_mss`; what it does not have is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TcpInfo {
    /// The state of RFC 9293 §3.3.2.
    pub state: State,
    /// Who rules the congestion window.
    pub congestion: Congestion,
    /// In which phase of loss recovery it is.
    pub ca_state: CaState,
    /// Timeouts since something new was acknowledged.
    pub retransmits: u8,
    /// Probes of a closed window, or of a peer that is silent (keep-alive), since the last was answered.
    pub probes: u8,
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
    /// How long an acknowledgement may wait for company.
    pub ato_us: u32,
    /// Payload of a full segment.
    pub snd_mss: u32,
    /// Bytes outstanding.
    pub unacked: u32,
    /// Bytes outstanding that the peer reported beyond a hole.
    pub sacked: u32,
    /// Bytes that are lost and were not sent again yet.
    pub lost: u32,
    /// Bytes that were sent again and are on their way. The byte that probes a closed window may be one of them.
    pub retrans: u32,
    /// When data was last sent, or the connection began. Linux says how long ago that is.
    pub last_data_sent_at: Instant,
    /// The largest packet that the path lets through, as far as is known, and our link.
    pub pmtu: u32,
    /// The MSS that we told the peer.
    pub advmss: u32,
    /// The largest window that the peer may be told of at present: it grows with what the application takes.
    pub rcv_ssthresh: u32,
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
    /// The round trip by which the receive buffer grows: the smoothed one. 0: nothing was measured yet.
    pub rcv_rtt_us: u32,
    /// The most that the application took in such a round trip. 0: too little to measure it.
    pub rcv_space: u32,
    /// Bytes that are held out of order.
    pub rcv_ooo_bytes: u32,
    /// Segments that arrived out of order.
    pub rcv_ooopack: u32,
    /// Segments sent again, by timeouts, recovery and probes.
    pub total_retrans: u32,
    /// Duplicates that the peer reported of what was sent again (RFC 2883).
    pub dsack_dups: u32,
    /// How often something arrived at the peer later than what was sent after it (RFC 8985).
    pub reord_seen: u32,
    /// Timeouts of the retransmission timer, that of SYNs included. Where a window was shut, it only probed.
    pub total_rto: u32,
    /// How often a timeout was the first since something was acknowledged.
    pub total_rto_recoveries: u32,
    /// From those on, the time until something was acknowledged again, where it was.
    pub total_rto_time_us: u64,
    /// Bytes a second at which data is paced. `None`: as fast as the device takes it.
    pub pacing_rate: Option<u64>,
    /// Bytes a second that arrived in the last round trip that filled the window; with BBR, by the last segment that was
    /// acknowledged. 0: nothing was measured yet.
    pub delivery_rate: u64,
    /// The application had too little to send for that to be the path's rate. Known with BBR alone.
    pub delivery_rate_app_limited: bool,
    /// Bytes acknowledged by the peer, SYN and FIN included.
    pub bytes_acked: u64,
    /// Bytes that arrived at the peer, SYN and FIN included: acknowledged, or reported beyond a hole.
    pub delivered: u64,
    /// How many of them the peer acknowledged while it said that something had been marked (RFC 3168).
    pub delivered_ce: u64,
    /// Bytes of data sent, those sent again included.
    pub bytes_sent: u64,
    /// Bytes of data sent again.
    pub bytes_retrans: u64,
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
    /// What the last acknowledgement reached that found the window in use, and whether it left nothing outstanding.
    seen: Seq,
    has_rested: bool,
    /// Bytes a second.
    rate: u64,
}

impl DeliveryRate {
    pub(super) fn new(ack: &Ack) -> DeliveryRate {
        let (from, until) = (ack.una - ack.acked, ack.nxt);
        DeliveryRate { since: ack.now, from, until, seen: from, has_rested: false, rate: 0 }
    }

    /// An acknowledgement while the window was in use.
    pub(super) fn on_ack(&mut self, ack: &Ack) {
        let Ack { now, una, nxt, .. } = *ack;
        let was_resting = core::mem::replace(&mut self.has_rested, una == nxt);
        let goes_on = core::mem::replace(&mut self.seen, una) == una - ack.acked;
        if !goes_on || was_resting {
            // It was not in use meanwhile: that tells how fast the application is, not the path.
            (self.since, self.from, self.until) = (now, una - ack.acked, nxt);
        }
        if una.before(self.until) {
            return;
        }
        // What is acknowledged at once took a round trip all the same.
        let elapsed_us = now.micros_since(self.since).max(ack.rtt_us.max(1).into());
        self.rate = u64::from(una.since(self.from)) * 1_000_000 / elapsed_us;
        (self.since, self.from, self.until) = (now, una, nxt);
    }
}

impl<F: Frame> Connection<F> {
    pub(super) fn info(&self, caps: &Caps, config: &Config) -> TcpInfo {
        TcpInfo {
            state: self.state,
            congestion: self.congestion.congestion(),
            timestamps: self.timestamps_ok,
            sack: self.sack_ok,
            ecn: self.recovery.ecn.ect != 0,
            snd_wscale: self.snd_wscale,
            rcv_wscale: self.rcv_wscale,
            rto_us: self.rtt.rto_us(self.backoff, config),
            rtt_us: self.rtt.srtt_us(),
            rttvar_us: self.rtt.rttvar_us(),
            min_rtt_us: self.rtt.min_us(),
            snd_cwnd: self.congestion.cwnd(),
            snd_ssthresh: self.congestion.ssthresh(),
            snd_wnd: self.snd_wnd,
            last_data_sent_at: self.last_sent_at,
            pacing_rate: self.pacing_rate(config),
            bytes_acked: self.tally.bytes_acked,
            notsent_bytes: self.unsent_len(),
            ..self
                .info_of_loss(self.info_of_delivery(self.info_of_receiving(self.info_of_path(caps), config)))
        }
    }

    fn info_of_path(&self, caps: &Caps) -> TcpInfo {
        let local = self.tuple.local_ip();
        TcpInfo {
            snd_mss: self.mss,
            pmtu: self.path_mtu().map_or(caps.mtu as u32, |_| self.packet_len_max()),
            advmss: mss(caps.mtu, local) as u32,
            ..TcpInfo::default()
        }
    }

    /// The length of a packet that is full.
    fn packet_len_max(&self) -> u32 {
        network_len(self.tuple.local_ip()) as u32 + self.header_len() + self.mss
    }

    fn info_of_receiving(&self, info: TcpInfo, config: &Config) -> TcpInfo {
        let intake = self.congestion.bulk.as_ref().and_then(|bulk| bulk.intake.as_ref());
        TcpInfo {
            ato_us: config.delayed_ack_us,
            rcv_ssthresh: self.space_len,
            rcv_wnd: self.rcv_wnd(),
            rcv_rtt_us: self.rtt.srtt_us(),
            rcv_space: intake.map_or(0, Intake::most),
            rcv_ooo_bytes: self.out_of_order.as_ref().map_or(0, |assembler| assembler.len()),
            rcv_ooopack: self.rare().map_or(0, |rare| rare.ofo_segs),
            bytes_received: self.tally.bytes_received,
            ..info
        }
    }

    fn info_of_delivery(&self, info: TcpInfo) -> TcpInfo {
        let of_window = self.congestion.bulk.as_ref().and_then(|bulk| bulk.delivery_rate.as_ref());
        let of_window = of_window.map_or(0, |delivery| delivery.rate);
        let sampled = self.recovery.repair().and_then(|repair| repair.sampler.as_ref());
        let (delivery_rate, is_app_limited) = sampled.map_or((of_window, false), |sampler| sampler.last());
        TcpInfo { delivery_rate, delivery_rate_app_limited: is_app_limited, ..info }
    }

    fn info_of_mishaps(&self, info: TcpInfo) -> TcpInfo {
        let Some(mishaps) = self.mishaps() else { return info };
        TcpInfo {
            total_rto: mishaps.rto_count,
            total_rto_recoveries: mishaps.rto_recovery_count,
            total_rto_time_us: mishaps.rto_time_us,
            delivered_ce: mishaps.delivered_ce,
            ..info
        }
    }

    fn info_of_loss(&self, info: TcpInfo) -> TcpInfo {
        let is_reduced = self.reduced_until().is_some_and(|until| self.snd_una.before(until));
        // What goes to a closed window is a probe, however often it goes.
        let is_shut = self.state.is_synchronized() && self.snd_wnd == 0;
        let (retransmits, probes) = if is_shut { (0, self.retries) } else { (self.retries, 0) };
        let info = TcpInfo {
            ca_state: self.recovery.ca_state(is_reduced),
            retransmits,
            probes: probes.saturating_add(self.probing().map_or(0, |probing| probing.sent)),
            backoff: self.backoff,
            unacked: self.flight(),
            delivered: self.tally.bytes_acked,
            bytes_sent: self.bytes_sent_once(),
            ..self.info_of_mishaps(info)
        };
        let Some(repair) = self.recovery.repair() else { return info };
        TcpInfo {
            sacked: self.recovery.sacked_len(),
            delivered: info.delivered + u64::from(self.recovery.sacked_len()),
            lost: self.recovery.lost_len(),
            retrans: self.recovery.flight.resent_len(self.snd_una),
            total_retrans: repair.total_retrans,
            bytes_retrans: repair.bytes_retrans,
            bytes_sent: info.bytes_sent + repair.bytes_retrans,
            dsack_dups: repair.dsack_dups,
            reord_seen: repair.rack.reord_seen(),
            ..info
        }
    }

    /// Bytes of data up to SND.NXT, without the SYN and the FIN.
    fn bytes_sent_once(&self) -> u64 {
        let has_sent_syn = self.snd_nxt != self.iss || self.state.is_synchronized();
        let has_sent_fin = self.fin_seq().is_some_and(|fin| self.snd_nxt.after(fin));
        let sent = self.tally.bytes_acked + u64::from(self.flight());
        sent.saturating_sub(u64::from(has_sent_syn) + u64::from(has_sent_fin))
    }
}

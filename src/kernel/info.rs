//! What the kernel tells of a connection, in the units of [`TcpInfo`].

use std::time::Duration;

use hayase_kernel::Info;
use hayase_stack::{CaState, Congestion, TcpInfo};
use hayase_time::Instant;

/// Segments of `TCP_INFINITE_SSTHRESH`: none yet.
const NO_SSTHRESH: u32 = 0x7fff_ffff;

/// The same in [`TcpInfo::snd_ssthresh`].
const NO_SSTHRESH_BYTES: u32 = 1 << 30;

/// What the kernel says at `now` of a connection that `congestion` rules.
pub(super) fn tcp_info(info: &Info, congestion: Congestion, now: Instant) -> TcpInfo {
    let bytes = |segments: u32| segments.saturating_mul(info.snd_mss);
    let mut told = TcpInfo::default();
    told.state = super::state(info.state);
    told.ca_state = ca_state(info.ca_state);
    told.congestion = congestion;
    (told.retransmits, told.probes, told.backoff) = (info.retransmits, info.probes, info.backoff);
    (told.timestamps, told.sack, told.ecn) = (info.timestamps, info.sack, info.ecn);
    (told.snd_wscale, told.rcv_wscale) = (info.snd_wscale, info.rcv_wscale);
    (told.rto_us, told.ato_us) = (info.rto.into(), info.ato);
    (told.snd_mss, told.pmtu, told.advmss) = (info.snd_mss, info.pmtu, info.advmss);
    (told.unacked, told.sacked) = (bytes(info.unacked), bytes(info.sacked));
    (told.lost, told.retrans) = (bytes(info.lost), bytes(info.retrans));
    told.last_data_sent_at = now.saturating_sub(Duration::from_millis(info.last_data_sent.into()));
    (told.rtt_us, told.rttvar_us) = (info.rtt, info.rttvar);
    told.min_rtt_us = if info.min_rtt == u32::MAX { 0 } else { info.min_rtt };
    told.snd_cwnd = bytes(info.snd_cwnd);
    told.snd_ssthresh =
        if info.snd_ssthresh == NO_SSTHRESH { NO_SSTHRESH_BYTES } else { bytes(info.snd_ssthresh) };
    (told.snd_wnd, told.rcv_wnd, told.rcv_ssthresh) = (info.snd_wnd, info.rcv_wnd, info.rcv_ssthresh);
    (told.rcv_rtt_us, told.rcv_space, told.rcv_ooopack) = (info.rcv_rtt, info.rcv_space, info.rcv_ooopack);
    (told.total_retrans, told.dsack_dups) = (info.total_retrans, info.dsack_dups);
    told.reord_seen = info.reord_seen;
    told.pacing_rate = (info.pacing_rate != u64::MAX).then_some(info.pacing_rate);
    told.delivery_rate = info.delivery_rate;
    told.delivery_rate_app_limited = info.delivery_rate_app_limited;
    (told.bytes_acked, told.bytes_received) = (info.bytes_acked, info.bytes_received);
    told.delivered = told.bytes_acked + u64::from(told.sacked);
    (told.bytes_sent, told.bytes_retrans) = (info.bytes_sent, info.bytes_retrans);
    told.notsent_bytes = info.notsent_bytes;
    told
}

fn ca_state(number: u8) -> CaState {
    match number {
        1 => CaState::Disorder,
        2 => CaState::Cwr,
        3 => CaState::Recovery,
        4 => CaState::Loss,
        _ => CaState::Open,
    }
}

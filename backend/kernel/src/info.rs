//! What the kernel tells of a connection: `struct tcp_info` of `linux/tcp.h`, field by field.

use std::io;
use std::os::fd::BorrowedFd;

use crate::State;
use crate::sys;

/// The whole of it in Linux 6.7. Older kernels fill in less, newer ones no more than this.
const LEN: usize = 248;

/// What the kernel knows of a connection, under its names and in its units: sizes are segments where nothing else is said,
/// and times are microseconds. What an older kernel does not tell is 0.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Info {
    /// The state, by its name in RFC 9293.
    pub state: State,
    /// `enum tcp_ca_state`: 0 Open, 1 Disorder, 2 CWR, 3 Recovery, 4 Loss.
    pub ca_state: u8,
    /// Timeouts in a row.
    pub retransmits: u8,
    /// Probes without an answer.
    pub probes: u8,
    /// How often the timeout is doubled.
    pub backoff: u8,
    /// Timestamps were agreed on.
    pub timestamps: bool,
    /// SACK was agreed on.
    pub sack: bool,
    /// ECN was agreed on.
    pub ecn: bool,
    /// Shift of the peer's windows.
    pub snd_wscale: u8,
    /// Shift of ours.
    pub rcv_wscale: u8,
    /// The application had too little to send for `delivery_rate` to be the path's.
    pub delivery_rate_app_limited: bool,
    /// Retransmission timeout.
    pub rto: u32,
    /// How long an acknowledgement may wait.
    pub ato: u32,
    /// Bytes in a full segment.
    pub snd_mss: u32,
    /// Outstanding.
    pub unacked: u32,
    /// Reported beyond a hole.
    pub sacked: u32,
    /// Lost, and not sent again.
    pub lost: u32,
    /// Sent again, and on their way.
    pub retrans: u32,
    /// Milliseconds since data was sent.
    pub last_data_sent: u32,
    /// Bytes of the largest packet.
    pub pmtu: u32,
    /// Bytes of the largest window at present.
    pub rcv_ssthresh: u32,
    /// Smoothed round trip.
    pub rtt: u32,
    /// Its variation.
    pub rttvar: u32,
    /// Slow start threshold.
    pub snd_ssthresh: u32,
    /// Congestion window.
    pub snd_cwnd: u32,
    /// The MSS that the peer was told, in bytes.
    pub advmss: u32,
    /// The receiver's measurement of the round trip.
    pub rcv_rtt: u32,
    /// Bytes that the application took in one.
    pub rcv_space: u32,
    /// Segments sent again.
    pub total_retrans: u32,
    /// Bytes a second. All bits set: as fast as can be.
    pub pacing_rate: u64,
    /// Bytes acknowledged.
    pub bytes_acked: u64,
    /// Bytes received in order.
    pub bytes_received: u64,
    /// Bytes written and not sent.
    pub notsent_bytes: u32,
    /// The shortest round trip. All bits set: none was measured.
    pub min_rtt: u32,
    /// Bytes a second.
    pub delivery_rate: u64,
    /// Bytes of data sent.
    pub bytes_sent: u64,
    /// Bytes of data sent again.
    pub bytes_retrans: u64,
    /// Duplicates that the peer reported.
    pub dsack_dups: u32,
    /// How often the path was seen to reorder.
    pub reord_seen: u32,
    /// Segments that arrived out of order.
    pub rcv_ooopack: u32,
    /// The peer's window, in bytes.
    pub snd_wnd: u32,
    /// Our window, in bytes.
    pub rcv_wnd: u32,
}

impl Info {
    pub(crate) fn of(fd: BorrowedFd<'_>) -> io::Result<Info> {
        let mut bytes = [0; LEN];
        sys::tcp_info(fd, &mut bytes)?;
        Ok(Info::parse(&bytes))
    }

    fn parse(bytes: &[u8; LEN]) -> Info {
        let word = |at: usize| u32::from_ne_bytes(std::array::from_fn(|byte| bytes[at + byte]));
        let long = |at: usize| u64::from_ne_bytes(std::array::from_fn(|byte| bytes[at + byte]));
        let (options, [first, second]) = (bytes[5], nibbles(bytes[6]));
        Info {
            state: State::numbered(bytes[0]),
            ca_state: bytes[1],
            retransmits: bytes[2],
            probes: bytes[3],
            backoff: bytes[4],
            timestamps: options & 1 != 0,
            sack: options & 2 != 0,
            ecn: options & 8 != 0,
            snd_wscale: first,
            rcv_wscale: second,
            delivery_rate_app_limited: first_bit(bytes[7]),
            rto: word(8),
            ato: word(12),
            snd_mss: word(16),
            unacked: word(24),
            sacked: word(28),
            lost: word(32),
            retrans: word(36),
            last_data_sent: word(44),
            pmtu: word(60),
            rcv_ssthresh: word(64),
            rtt: word(68),
            rttvar: word(72),
            snd_ssthresh: word(76),
            snd_cwnd: word(80),
            advmss: word(84),
            rcv_rtt: word(92),
            rcv_space: word(96),
            total_retrans: word(100),
            pacing_rate: long(104),
            bytes_acked: long(120),
            bytes_received: long(128),
            notsent_bytes: word(144),
            min_rtt: word(148),
            delivery_rate: long(160),
            bytes_sent: long(200),
            bytes_retrans: long(208),
            dsack_dups: word(216),
            reord_seen: word(220),
            rcv_ooopack: word(224),
            snd_wnd: word(228),
            rcv_wnd: word(232),
        }
    }
}

/// Two bit fields of four bits each, in the order of their declaration: C starts them at either end.
fn nibbles(byte: u8) -> [u8; 2] {
    if cfg!(target_endian = "little") { [byte & 15, byte >> 4] } else { [byte >> 4, byte & 15] }
}

/// A bit field of one bit that is declared first.
fn first_bit(byte: u8) -> bool {
    byte & if cfg!(target_endian = "little") { 1 } else { 0x80 } != 0
}

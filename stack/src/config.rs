//! A limit on everything, each with its unit in its name and its reason above it.

use core::ops::RangeInclusive;

use hayase_device::Caps;

use crate::tcp::{Congestion, Ecn};
use crate::wire::VlanId;

/// Limits and habits of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// TCP connections at once, in every state but TIME_WAIT. A slot costs some hundred bytes only when used.
    pub connections_max: usize,
    /// TIME_WAIT entries at once. Beyond it the oldest makes room: 64 bytes each.
    pub time_wait_max: usize,
    /// Listeners at once.
    pub listeners_max: usize,
    /// UDP sockets at once.
    pub udp_sockets_max: usize,
    /// Sockets for ICMP echo at once.
    pub echo_sockets_max: usize,
    /// Upper bound of a listener's backlog (Linux's `net.core.somaxconn`).
    pub backlog_max: usize,
    /// Half-open connections per listener (Linux's `tcp_max_syn_backlog`).
    pub syn_backlog_max: usize,
    /// Half-open connections of all listeners together, some 512 bytes each: a flood that goes to every port takes no
    /// more than one that goes to a few. A listener that finds so many is as good as full itself.
    pub half_open_max: usize,
    /// Whether a listener that finds so many, of its own or of all, answers further SYNs by cookies, and keeps nothing of
    /// them (RFC 4987 §3.6, Linux's `tcp_syncookies`). Without, an old one makes room: a flood then shortens the time that
    /// a peer has for its handshake.
    pub syn_cookies: bool,
    /// Servers whose Fast Open cookie, or trouble with such, is remembered (RFC 7413 §4.1.3).
    pub fastopen_peers_max: usize,
    /// Bytes of buffers that all TCP connections and UDP sockets together hold for long (Linux's `tcp_mem`). Beyond it what
    /// waits out of order goes, and a connection keeps only a little more than it needs to go on, so that peers who do not
    /// read, or who send what cannot be put in order, leave buffers for the others. No more than half of what the device
    /// can spare ([`Caps::held_len_max`](hayase_device::Caps::held_len_max)), whatever is asked for.
    pub memory_len_max: usize,
    /// Bytes that a connection keeps unsent and unacknowledged before `write` waits, as long as no more than half of that
    /// is under way at a time. What is written and lies in the queue leaves the processor's cache before it is sent.
    pub send_buffer_len: usize,
    /// The same for a connection that uses a larger congestion window, of which it keeps two (Linux's `tcp_wmem`). No
    /// more than `send_buffer_len`: nothing grows.
    pub send_buffer_len_max: usize,
    /// Bytes that a new connection keeps for the application: the largest receive window.
    pub receive_buffer_len: usize,
    /// The same for a connection whose application takes much in a round trip (Linux's `tcp_rmem`). Enough for 100 ms at
    /// 1 Gbit/s. No more than `receive_buffer_len`: nothing grows.
    pub receive_buffer_len_max: usize,
    /// Segments that one connection keeps out of order, or as many as fit twice its receive buffer with all that their
    /// buffers take. With the window it bounds what a sender of tiny fragments can make us hold.
    pub out_of_order_count_max: usize,
    /// Bytes of frames that a UDP socket keeps for the application.
    pub udp_receive_buffer_len: usize,
    /// Ports from which `connect` and port 0 choose (Linux's `ip_local_port_range`).
    pub ephemeral_ports: RangeInclusive<u16>,
    /// Hop limit of what we send (RFC 1122 §3.2.1.7 asks for a setting; 64 is IANA's value).
    pub ttl: u8,
    /// Retransmissions before an established connection is given up (Linux's `tcp_retries2`; R2 of RFC 9293
    /// §3.8.3 is at least 100 s, and 15 doublings from 0.2 s to the 120 s ceiling take 15 minutes).
    pub retries_max: u8,
    /// Retransmissions of a SYN. R2 for a SYN is at least 3 minutes (MUST-23): 1 + 2 + ... + 64 + 120 s.
    pub syn_retries_max: u8,
    /// Retransmissions of a SYN-ACK (Linux's `tcp_synack_retries`): a minute.
    pub synack_retries_max: u8,
    /// The least margin of the retransmission timeout above the round-trip time, in microseconds. RFC 6298 §2.4 wants
    /// timeouts of no less than 1 s; everybody's 200 ms is five times the longest delayed ACK that we send.
    pub rto_min_us: u32,
    /// The largest retransmission timeout, in microseconds (at least 60 s, RFC 6298 §2.5).
    pub rto_max_us: u32,
    /// What turns and timers of both ends may add to two round trips before a tail loss probe goes out, in microseconds
    /// (RFC 8985 §7.2; Linux's `TCP_TIMEOUT_MIN`).
    pub loss_probe_margin_us: u32,
    /// Whether peers may report what they hold beyond a hole, and are told so (RFC 2018, Linux's `tcp_sack`). Off, it is
    /// neither offered nor answered, and losses are repaired a round trip each: for a path that mangles the option.
    pub sack: bool,
    /// Whether segments carry timestamps where both ends want them (RFC 7323 §3, Linux's `tcp_timestamps`). Off, they are
    /// neither offered nor answered: twelve bytes more of data in a segment, and no protection against old segments
    /// (PAWS). SYN cookies then keep the MSS alone.
    pub timestamps: bool,
    /// Whether windows may be larger than 64 KiB where both ends can (RFC 7323 §2, Linux's `tcp_window_scaling`). Off, it
    /// is neither offered nor answered.
    pub window_scaling: bool,
    /// The congestion control of new connections (Linux's `tcp_congestion_control`).
    pub congestion: Congestion,
    /// Explicit congestion notification (RFC 3168, Linux's `tcp_ecn`).
    pub ecn: Ecn,
    /// Whether a large window leaves over a round trip instead of at once. With BBR it does in any case.
    pub pacing: bool,
    /// How long an ACK may wait for company, in microseconds (at most 500 ms, RFC 9293 §3.8.6.3).
    pub delayed_ack_us: u32,
    /// How long TIME_WAIT lasts, in microseconds. RFC 9293's 2 MSL is 4 minutes; Linux's 60 s is what the Internet lives with.
    pub time_wait_us: u32,
    /// How long a connection that the application closed waits for the peer's FIN, in
    /// microseconds (Linux's `tcp_fin_timeout`).
    pub fin_timeout_us: u32,
    /// ICMP errors a second that we send at most, a tenth of them to one host (RFC 4443 §2.4(f)). Half of them go on
    /// average, at random, so that the rest tells nothing.
    pub icmp_per_second: u32,
    /// Challenge ACKs a second that we send at most; half of them in some seconds, so that the rest tells nothing
    /// (RFC 5961 §7).
    pub challenge_acks_per_second: u32,
    /// Bytes of frames that wait for their missing fragments, over all packets (Linux's `ipfrag_high_thresh`). No more than
    /// a sixteenth of what the device can spare.
    pub reassembly_len_max: usize,
    /// Neighbours remembered (Linux's `gc_thresh3`).
    pub neighbors_max: usize,
    /// Routes, those of our own networks included.
    pub routes_max: usize,
    /// Addresses of this host.
    pub addresses_max: usize,
    /// The VLAN that this host is in (802.1Q): its frames carry a tag with this number, and those with none or another are
    /// not for it; one that names a priority alone is taken. A tag takes four bytes of what the device's MTU leaves. `None`: no
    /// tag.
    pub vlan: Option<VlanId>,
    /// How often the link is asked whether another host has an IPv6 address before it is used, a second apart (RFC 4862
    /// §5.4, Linux's `dad_transmits`); 0: it is used at once. `None` leaves it to whoever puts the stack on a device:
    /// by itself that is 0.
    pub dad_transmits: Option<u8>,
    /// Whether routers of the link are asked and believed: for default routes, networks, addresses and the MTU (Linux's
    /// `accept_ra` and `autoconf`). Off, since a server's addresses are chosen, and anybody on the link can play router.
    pub autoconf: bool,
    /// What addresses that this host makes itself come from, beside their network and the link-layer address (RFC 7217,
    /// Linux's `stable_secret`): with the same one a host has the same addresses after a restart. `None`: new ones.
    pub stable_secret: Option<[u8; 16]>,
    /// What the stacks of one host have in common and nobody else may know: the key of Fast Open's cookies (RFC 7413 §4.1.2,
    /// Linux's `tcp_fastopen_key`), so that one which a stack gave is good at all others, and what marks the questions of
    /// duplicate address detection (RFC 7527 §4.1), so that none takes another's for a rival's. It must be random, where
    /// `stable_secret` may be the number of a machine that anybody on it can read. `None`: each stack has its own, of its
    /// seed.
    pub shared_secret: Option<[u8; 16]>,
    /// Whether the link hears of addresses as they come: by gratuitous ARP (RFC 5227 §2.3), and by
    /// reports of the multicast groups in which they are asked for (RFC 3810). `None` leaves it to whoever
    /// puts the stack on a device: by itself it does not.
    pub announce: Option<bool>,
}

impl Config {
    /// The same within what a device has: were all of its buffers held, nothing would arrive any more, not even what lets
    /// go of some.
    pub(crate) fn within(self, caps: &Caps) -> Config {
        Config {
            memory_len_max: self.memory_len_max.min(caps.held_len_max / 2),
            reassembly_len_max: self.reassembly_len_max.min(caps.held_len_max / 16),
            ..self
        }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            connections_max: 1 << 20,
            time_wait_max: 1 << 18,
            listeners_max: 1024,
            udp_sockets_max: 65_536,
            echo_sockets_max: 256,
            backlog_max: 4096,
            syn_backlog_max: 1024,
            half_open_max: 16_384,
            syn_cookies: true,
            fastopen_peers_max: 256,
            memory_len_max: 64 * 1024 * 1024,
            send_buffer_len: 128 * 1024,
            send_buffer_len_max: 16 * 1024 * 1024,
            receive_buffer_len: 512 * 1024,
            receive_buffer_len_max: 16 * 1024 * 1024,
            out_of_order_count_max: 1024,
            udp_receive_buffer_len: 256 * 1024,
            ephemeral_ports: 32_768..=60_999,
            ttl: 64,
            retries_max: 15,
            syn_retries_max: 7,
            synack_retries_max: 5,
            rto_min_us: 200_000,
            rto_max_us: 120_000_000,
            loss_probe_margin_us: 2_000,
            sack: true,
            timestamps: true,
            window_scaling: true,
            congestion: Congestion::default(),
            ecn: Ecn::default(),
            pacing: true,
            delayed_ack_us: 40_000,
            time_wait_us: 60_000_000,
            fin_timeout_us: 60_000_000,
            icmp_per_second: 1000,
            challenge_acks_per_second: 1000,
            reassembly_len_max: 4 * 1024 * 1024,
            neighbors_max: 1024,
            routes_max: 64,
            addresses_max: 16,
            vlan: None,
            dad_transmits: None,
            autoconf: false,
            stable_secret: None,
            shared_secret: None,
            announce: None,
        }
    }
}

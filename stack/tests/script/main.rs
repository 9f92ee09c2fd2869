//! Packet scripts: the test plays the peer with frames of its own making, one fact a function.
//!
//! A fact is named after what it says and after the requirement that it proves. `must_15`, `shld_14` and `may_2` are
//! the numbers of RFC 9293 Appendix B; the letters are the rows of `docs/RFC.md`: b congestion control (RFC 5681,
//! 6928, 6582, 3042), c the retransmission timer (6298), d SACK (2018, 2883, 6675), e window scale and timestamps
//! (7323), f attacks (5961, 6528, 6056, 4987, 5927), g ECN (3168), h CUBIC (9438), i IPv4 and ICMP (791, 792, 1122, 1191),
//! j ARP (826, 5227), k UDP (768), l IPv6 (8200, 4443, 4861, 4862, 7217, 3810), n what is in none of them, as VLANs. Every
//! frame that the stack sends in any script also passes the [`oracle`].

mod codec;
mod dsl;
mod host;
mod oracle;

mod address;
mod autoconf;
mod ip;
mod ip6;
mod loopback;
mod membership;
mod routes;
mod udp;
mod vlan;

mod tcp_attack;
mod tcp_buffers;
mod tcp_close;
mod tcp_congestion;
mod tcp_data;
mod tcp_ecn;
mod tcp_fastopen;
mod tcp_flood;
mod tcp_frto;
mod tcp_info;
mod tcp_loss;
mod tcp_memory;
mod tcp_migrate;
mod tcp_open;
mod tcp_options;
mod tcp_path_mtu;
mod tcp_readers;
mod tcp_recovery;
mod tcp_send;
mod tcp_socket_options;
mod tcp_user_timeout;

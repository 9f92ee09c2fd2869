//! Packet scripts: the test plays the peer with frames of its own making, one fact a function.
//!
//! A fact is named after what it says and after the requirement that it proves: `must_15` is MUST-15 of
//! RFC 9293 Appendix B, other numbers and sections are in the comment above it. Every frame that the stack sends
//! in any script also passes the [`oracle`].

mod codec;
mod dsl;
mod host;
mod oracle;


mod ip;
mod ip6;
mod tcp_attack;
mod tcp_close;
mod tcp_data;
mod tcp_loss;
mod tcp_open;
mod tcp_options;
mod tcp_send;

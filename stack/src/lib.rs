//! A TCP/IP stack without a clock, a thread, a loop, an operating system or a NIC of its own.
//!
//! [`Stack`] is a value. Time, frames and chance come in as arguments; what is to be done comes out as frames on
//! a [`Device`](hayase_device::Device) and as readiness of sockets. It can be driven from anybody's loop:
//!
//! ```text
//! device.receive(&mut burst);
//! stack.receive(now, &mut burst, &mut device);   // frames → segments → sockets
//! stack.expire(now, &mut device);                // timers
//! stack.drain_ready(|socket, ready| ...);        // who has news
//! ...                                            // read and write
//! stack.transmit(now, &mut device);              // sockets → segments → frames
//! device.flush();
//! ```
//!
//! A packet's way in is [`ingress`](crate) → `tcp/mod.rs` → `tcp/segment_arrives.rs`; its way out is
//! `tcp/output.rs` → `tcp/emit.rs` → `egress.rs`. Everything that a stranger can make us keep has a limit in
//! [`Config`], everything that is thrown away is counted in [`Counters`] by reason.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod autoconf;
mod bind;
mod bound;
mod chain;
mod config;
mod connections;
mod counters;
mod duties;
mod echo;
mod egress;
mod error;
mod fifo;
mod hearsay;
mod icmp;
mod ingress;
pub mod ip;
mod line;
mod link;
mod membership;
mod random;
mod resolve;
mod seq;
mod slab;
mod socket;
mod stack;
mod tcp;
mod timetable;
mod udp;
mod usual;
pub mod wire;

pub use config::Config;
pub use counters::{Count, Counters, Drop};
pub use echo::EchoReply;
pub use error::Error;
pub use hayase_time::Instant;
pub use hearsay::Hearsay;
pub use ip::{AddressState, Cidr, ParseCidrError, Reach, Way};
pub use seq::Seq;
pub use socket::{EchoId, ListenerId, Ready, Socket, TcpId, UdpId};
pub use stack::Stack;
pub use tcp::migrate::Migrant;
pub use tcp::{CaState, Congestion, Ecn, Keepalive, State, TcpInfo, TcpOptions};
pub use udp::check_destination;

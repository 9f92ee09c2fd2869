//! Several shards that are one host: who gets which frame, and what they tell each other.
//!
//! ```text
//!   queue 0 ──► Steered ──► shard 0 ◄── News ──► shard 1 ◄── Steered ◄── queue 1
//!                  └──────────── ring of frames ─────────────►┘
//! ```
//!
//! Each flow has a home, the shard that has its connection, and any shard can tell which one that is by itself
//! ([`Table`](table::Table)): a pin if the flow has one, else the shards with a socket at its port, else the hash. Where
//! the NIC spreads flows by the same hash, frames come to the right queue, and nobody looks at them as long as every
//! listener is on every shard. All other frames are copied over a bounded ring into the memory of the shard that they
//! are for; a full ring drops, which is counted as `CPU_BACKLOG`, Linux's name for the same.
//!
//! A shard without a queue pair of its own (a [`Satellite`](satellite::Satellite)) sends through that of another.
//!
//! What one shard knows and the others need goes to them as [`News`](fabric::News): sockets opened and closed, what ARP
//! and neighbour discovery say, addresses and routes, connections that move. A shard takes the frames that are there,
//! then reads its news, and only then looks at the frames: so what was told before a frame came holds for that frame.
//!
//! With one core there is none of this: the shard has its device to itself.

mod arrival;
mod device;
mod fabric;
mod joining;
mod member;
mod policy;
mod reply;
mod ring;
mod satellite;
mod seats;
mod setting;
mod station;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use device::Steered;
pub(crate) use fabric::Seat;
pub(crate) use member::Member;
pub use policy::AcceptPolicy;
pub(crate) use reply::{Moved, Reply};
pub(crate) use satellite::Satellite;
pub(crate) use seats::seat;
pub(crate) use setting::Setting;
pub(crate) use station::Station;

/// Cores of a runtime whose shards are one host: a set of them is a word.
const CORES_MAX: usize = 64;

//! The fixture of the end-to-end tests: the Linux kernel as the peer.
//!
//! Every case gets a network namespace of its own ([`Namespace`]). The `hayase` program runs inside it
//! ([`Process`]) on a TAP device, an end of a veth by AF_XDP or DPDK, or the kernel's own sockets
//! ([`Device`]); the kernel at the other end is reached through ordinary `std::net` sockets opened inside
//! the namespace ([`kernel`]). [`matrix!`] runs a case on each of these devices, over IPv4 and IPv6, with every offload
//! and with none.
//!
//! [`Link`](pair::Link) lies between two processes of ours, without the kernel.
//!
//! [`Lan`](lan::Lan) is a link with a third host, which sends whatever frames a test makes ([`forge`]).
//!
//! [`house`] holds what the checks of the house rules need: a reader of Rust source, of licence expressions
//! and of the dependency graph.
#![forbid(unsafe_code)]

pub mod binary;
pub mod callgrind;
pub mod forge;
pub mod house;
pub mod impair;
pub mod kernel;
pub mod lan;
pub mod namespace;
pub mod pair;
pub mod pattern;
pub mod process;
pub mod rights;
pub mod sandbox;
pub mod shares;
pub mod site;
pub mod tap;

pub use namespace::Namespace;
pub use process::{Exit, Process};
pub use site::{Device, Family, Offloads, Site};

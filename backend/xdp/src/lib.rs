//! A Hayase device on the queues of a Linux network interface, through AF_XDP.
//!
//! The frames of the stack are chunks of a UMEM: memory that the kernel, or in zero-copy mode the NIC itself,
//! receives into and sends from. A program of a few instructions (`program.rs`) runs for each received packet and
//! redirects it to the socket of its queue, apart from what is [kept](Keep) for the kernel. It is assembled here
//! and loaded by bpf(2): no C library, no compiler.
//!
//! ```no_run
//! use hayase_xdp::{XdpConfig, open};
//!
//! let config = XdpConfig { interface: "eth1".into(), ..XdpConfig::default() };
//! for queue in open(&config)? {
//!     // Each on the thread of its own core.
//!     let device = queue.into_device()?;
//! }
//! # Ok::<(), hayase_xdp::XdpError>(())
//! ```
//!
//! * [`open`]: an interface, as one [`XdpQueue`] for each core.
//! * [`XdpDevice`]: such a queue on its core.
//! * [`XdpFrame`] and [`Pool`]: its memory.
#![deny(unsafe_code)]
#![cfg(target_os = "linux")]

mod config;
mod device;
mod error;
mod frame;
mod interface;
mod ladder;
mod neighbours;
mod open;
mod pool;
mod program;
mod rss;
#[allow(unsafe_code)]
mod sys;
#[cfg(test)]
mod tests;
mod trust;

pub use config::{Keep, Mode, XdpConfig};
pub use device::XdpDevice;
pub use error::XdpError;
pub use frame::XdpFrame;
pub use open::{XdpQueue, open};
pub use pool::Pool;

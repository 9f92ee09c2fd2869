//! A Hayase device on DPDK: hardware, and the virtual devices that DPDK's drivers make.
//!
//! Frames are mbufs in both directions: what a driver receives is what the stack reads, and what the stack writes is
//! what a driver sends. Checksums, TSO, LRO, chains, RSS and queues are used as far as the driver offers them.
//!
//! DPDK is a C library, so all of this is behind the feature `link`, which needs its headers
//! (Debian: `apt-get install libdpdk-dev pkg-config`). Without it the crate is empty.
//!
#![cfg_attr(feature = "link", doc = "```no_run")]
#![cfg_attr(not(feature = "link"), doc = "```ignore")]
//! use hayase_dpdk::{DpdkConfig, open};
//!
//! let device = "net_virtio_user0,path=/run/vhost.sock,queues=2".into();
//! for queue in open(&DpdkConfig { device, queues: 2, ..DpdkConfig::default() })? {
//!     std::thread::spawn(move || queue.into_device().map(drop));
//! }
//! # Ok::<(), hayase_dpdk::DpdkError>(())
//! ```
//!
//! * [`open`]: a port, as a [`DpdkQueue`] for each core.
//! * [`DpdkDevice`]: a queue pair at its core.
//! * [`Memory`]: memory of the application that is sent without a copy.
#![deny(unsafe_code)]
#![cfg(all(target_os = "linux", feature = "link"))]

mod config;
mod device;
mod driver;
mod eal;
mod error;
mod idle;
mod leaving;
mod port;
mod receiver;
#[allow(unsafe_code)]
mod sys;
#[cfg(test)]
mod tests;
mod transmitter;

pub use config::{DpdkConfig, PoolConfig};
pub use device::DpdkDevice;
pub use eal::{MEMORY_LEN, memory_note};
pub use error::DpdkError;
pub use port::{DpdkQueue, open};
pub use sys::{DpdkFrame, Memory};

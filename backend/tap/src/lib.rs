//! A Hayase device on a Linux TAP interface.
//!
//! The kernel holds the other end of the link, so that ordinary programs of this machine (and, bridged or
//! routed, of others) are the peers. Frames travel with a `virtio_net_hdr`: checksums are left to the receiver
//! and 64 KiB TCP segments pass uncut in both directions, as between virtual machines.
//!
//! ```no_run
//! use hayase_tap::{TapConfig, TapDevice, host};
//!
//! let device = TapDevice::open(&TapConfig { name: "hy0".into(), ..TapConfig::default() })?;
//! host::configure(device.name(), 1500, &[("10.7.0.1".parse().unwrap(), 24)])?;
//! # Ok::<(), hayase_tap::TapError>(())
//! ```
//!
//! * [`TapDevice`]: our end.
//! * [`host`]: the kernel's end: bringing it up and giving it addresses, without calling `ip`.
#![deny(unsafe_code)]
#![cfg(target_os = "linux")]

mod device;
mod error;
pub mod host;
mod receiver;
#[allow(unsafe_code)]
mod sys;
#[cfg(test)]
mod tests;
mod transmitter;
mod vnet;

pub use device::{TapConfig, TapDevice};
pub use error::TapError;

//! A Hayase device on [netmap](https://github.com/luigirizzo/netmap): rings of a NIC, ports of a VALE switch, pipes.
//!
//! The buffers that ring slots name are the stack's frames. What is received leaves its slot in exchange for a spare
//! buffer, what is transmitted enters its slot in exchange for the buffer that is there; the spare ones are extra
//! buffers of the same memory. One system call a turn fetches what came, one sends what was queued.
//!
//! ```no_run
//! use hayase_netmap::{NetmapConfig, open};
//!
//! let queues = open(&NetmapConfig { port: "vale0:1".into(), ..NetmapConfig::default() })?;
//! for queue in queues {
//!     std::thread::spawn(move || {
//!         let device = queue.into_device()?;
//!         // ...
//!         # drop(device);
//!         Ok::<(), hayase_netmap::NetmapError>(())
//!     });
//! }
//! # Ok::<(), hayase_netmap::NetmapError>(())
//! ```
//!
//! * [`open`] binds a port, and makes a [`NetmapQueue`] of each of its queue pairs;
//! * [`NetmapDevice`] is such a queue on its core's thread;
//! * [`probe`] tells whether there is a module, and of the right version;
//! * [`PortName`] tells what kinds of ports there are.
//!
//! Processes that share a memory of netmap, which the two ends of a pipe do, trust each other with it as they trust
//! the kernel: what one of them does to buffers that are not its own, the others see.
#![deny(unsafe_code)]
#![cfg(target_os = "linux")]

mod device;
mod error;
#[cfg(test)]
mod fake;
mod frame;
mod memory;
mod port;
mod probe;
mod queue;
mod receiver;
#[allow(unsafe_code)]
mod sys;
#[cfg(test)]
mod tests;
mod transmitter;

pub use device::NetmapDevice;
pub use error::NetmapError;
pub use frame::NetmapFrame;
pub use port::{PortKind, PortName};
pub use probe::probe;
pub use queue::{NetmapConfig, NetmapQueue, open};

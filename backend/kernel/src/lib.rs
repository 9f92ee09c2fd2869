//! The operating system's own sockets, in the form in which Hayase's facade wants them.
//!
//! This is no [`Device`](hayase_device::Device): no frame passes through here, and TCP is the kernel's. It is the
//! other half of "the same program with the same API": a table of non-blocking sockets that answer at once or say
//! that one has to wait, and one set of all of them that tells who waits no longer.
//!
//! ```
//! use std::task::Poll;
//! use hayase_kernel::{Sockets, TcpOptions};
//!
//! let mut sockets = Sockets::new(false)?;
//! let listener = sockets.listen("127.0.0.1:0".parse().unwrap(), 16, &TcpOptions::default())?;
//! let addr = sockets.listener(listener)?.local_addr()?;
//! let client = sockets.connect(addr, None, &TcpOptions::default())?;
//! let server = loop {
//!     if let Poll::Ready(accepted) = sockets.accept(listener) {
//!         break accepted?.0;
//!     }
//!     sockets.poll(|_, _, _| {})?;
//! };
//! assert_eq!(sockets.tcp(server)?.peer_addr()?, sockets.tcp(client)?.local_addr()?);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! * [`Sockets`]: the table and the set.
//! * [`Tcp`], [`Listener`], [`Udp`], [`Echo`]: a socket of each kind.
//! * [`addresses`], [`Addresses`], [`counters`]: what this machine is called, and what it has counted.
#![deny(unsafe_code)]
#![cfg(target_os = "linux")]

mod address;
mod counters;
mod echo;
mod info;
mod interfaces;
mod options;
mod sockets;
mod source;
#[allow(unsafe_code)]
mod sys;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;
mod watch;

pub use counters::counters;
pub use echo::{Echo, Reply};
pub use info::Info;
pub use interfaces::{Addresses, addresses};
pub use options::TcpOptions;
pub use sockets::{Key, Kind, Socket, Sockets};
pub use source::Readiness;
pub use tcp::{Keepalive, Lingering, Listener, State, Tcp};
pub use udp::Udp;

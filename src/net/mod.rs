//! TCP, UDP and ICMP echo, with tokio's names and semantics, and the signatures of its async functions. The `poll_*` functions
//! take slices where tokio's take a `ReadBuf`.
//!
//! Sockets are opened on the [current host](crate::Host::current). They are integers and therefore `Send` and
//! `Sync`, but work on the thread of their host only; elsewhere every call is an error that says so. Only where the stack
//! has a thread of its own (see [`Model`](crate::Model)), they work everywhere.
//!
//! # Errors of every call
//! Beside what is said of each, every call of a socket is an error
//! - of the kind [`Other`](std::io::ErrorKind::Other) on the thread of another core, or on one that has no host: the text names both
//!   threads;
//! - [`NotConnected`](std::io::ErrorKind::NotConnected) once the runtime of the socket is no more;
//! - [`ResourceBusy`](std::io::ErrorKind::ResourceBusy) from inside of another call: from the destructor of bytes that were given to be
//!   sent, and from whoever is shown received ones.
//!
//! Opening a socket is [`QuotaExceeded`](std::io::ErrorKind::QuotaExceeded) where the host has as many as
//! [`stack::Config`](crate::stack::Config) allows, and [`InvalidInput`](std::io::ErrorKind::InvalidInput) for a host name.

pub(crate) mod addr;
mod echo;
pub mod tcp;
mod udp;

pub use addr::{ToSocketAddrs, lookup_host};
pub use echo::EchoSocket;
pub use hayase_stack::{CaState, Congestion, EchoReply, Keepalive, TcpInfo};
pub use tcp::{TcpListener, TcpSocket, TcpStream};
pub use udp::UdpSocket;

//! TCP, UDP and ICMP echo, with tokio's names and semantics, and the signatures of its async functions. The `poll_*` functions
//! take slices where tokio's take a `ReadBuf`.
//!
//! Sockets are opened on the [current host](crate::Host::current). They are integers and therefore `Send` and
//! `Sync`, but work on the thread of their host only; elsewhere every call is an error that says so. Only where the stack
//! has a thread of its own (see [`Model`](crate::Model)), they work everywhere.

pub(crate) mod addr;
mod echo;
pub mod tcp;
mod udp;

pub use addr::{ToSocketAddrs, lookup_host};
pub use echo::EchoSocket;
pub use hayase_stack::{CaState, Congestion, EchoReply, Keepalive, TcpInfo};
pub use tcp::{TcpListener, TcpSocket, TcpStream};
pub use udp::UdpSocket;

//! Sockets whose stack is on another thread: what the CPU models split and merge are made of.
//!
//! ```text
//!   task thread                                  stack thread
//!   TcpStream ─► RemoteDoor ─► Client ══ Command ═► Server ─► Door of the shard ─► stack
//!                  wakers ◄─┘   mirror ◄ Completion ══ ┘ ◄─ what changed
//! ```
//!
//! A [`Client`] is a thread's view of one stack. It mirrors what the thread needs to know of each of its sockets: the
//! bytes that came in, how many may go out, and how it ended. So a read or a write is a look at the mirror, and never
//! waits for the other thread. Two bounded rings with one producer and one consumer each carry what happens: commands
//! go there and completions come back, in batches, one publication a turn. Whatever needs an answer that the mirror
//! does not have (to listen, to connect, an address of the host) is a closure that is sent to be run there, and waited
//! for.
//!
//! The client is behind a lock, which is free unless a second thread uses the same sockets. That is allowed: a handle
//! names the client, and a thread that has no door to it yet opens one. While the client's own thread does not turn,
//! or shares its sockets, the stack's thread delivers in its place: so sockets work in any thread of any runtime.
//!
//! # Limits
//! Nothing between the threads grows without bound. A connection holds at most [`RECEIVE_MAX`] bytes that were received
//! and not read; beyond, they stay in the stack, whose window closes. It holds at most [`SEND_MAX`] bytes that were
//! written and not taken by the stack; beyond, a write waits. Connections are taken ahead of `accept`, and datagrams
//! ahead of `recv`, up to [`ACCEPT_MAX`] and [`DATAGRAMS_MAX`].
//!
//! The memory that bytes take is as bounded as they are, in whatever pieces a peer sends them. Small ones that travel share
//! memory, and those that have to wait do not: behind others of their connection, they are put together in memory of their
//! own ([`mirror::Tcp::push`]), as are those that the stack does not take ([`chunk::Chunk::apart`]). The first of a
//! connection stays where it came, and keeps [`SHARED_LEN`] at most. All others take twice their number at most.

mod chunk;
mod client;
mod desk;
mod door;
mod intake;
mod link;
mod memory;
mod message;
mod mirror;
mod moving;
mod output;
mod registry;
mod ring;
mod served;
mod server;
mod table;

pub(crate) use intake::Connector;
pub(crate) use link::Link;
pub(crate) use registry::{bid, door, peer};
pub(crate) use server::Server;

/// Messages that a ring holds: 64 KiB of them, which the second-level caches of both cores keep.
const RING_LEN: usize = 1024;

/// After so many messages from one ring, whoever fills it may have been waiting for room.
const RING_LEN_LOW: usize = RING_LEN / 2;

/// Messages that are published before the turn ends: so that both threads have something to do at the same time, and
/// not one after the other.
const BATCH_LEN: usize = 16;

/// From here on, bytes have memory of their own: they are held and not copied, by readers and by the stack.
const LARGE_LEN: usize = 2048;

/// Memory that fewer bytes than that share. One of them keeps all of it: no more than a connection may have in any case.
const SHARED_LEN: usize = RECEIVE_MIN as usize;

/// Bytes of a connection that are on their way to its reader, beside the stack's own buffer.
const RECEIVE_MAX: u64 = 256 * 1024;

/// The same, where the readers of all connections together leave [`UNREAD_MAX`] unread.
const RECEIVE_MIN: u64 = 4 * 1024;

/// Bytes that the readers of one client may leave unread before each is held short. Tests get there with less.
const UNREAD_MAX: u64 = if cfg!(test) { 1 << 20 } else { 64 << 20 };

/// Bytes of a connection that are on their way to the stack.
const SEND_MAX: usize = 256 * 1024;

/// What a write costs of these at least: so that not too many of a byte each are under way.
const SEND_COST_MIN: usize = 64;

/// Connections of a listener that wait for `accept` beside the stack's own queue.
const ACCEPT_MAX: usize = 64;

/// Datagrams of a socket that are under way, in each direction.
const DATAGRAMS_MAX: usize = 64;

/// What a write takes off the bytes that may be under way.
fn cost(len: usize) -> usize {
    len.max(SEND_COST_MIN)
}

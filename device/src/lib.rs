//! The seam between a TCP/IP stack and a NIC.
//!
//! A [`Device`] owns memory and queues; a stack owns protocol. Between them travel [`Frame`]s, in
//! [`Burst`]s, each with what the hardware found out about it ([`RxMeta`]) or is asked to do to it
//! ([`TxMeta`]). What a device can do is data ([`Caps`]), so that whatever it lacks is done in software
//! by the stack, and every ability can be switched off to measure what it is worth.
//!
//! This crate depends on nothing, allocates through `alloc` only, and builds for bare metal.
//!
//! * [`Frame`]: bytes with headroom, a second handle on the same buffer, a chain.
//! * [`heap`]: a pool of frames in ordinary memory, in safe Rust, for backends without memory of their own.
//! * [`pooled`]: what frames in buffers have in common, for backends with memory of their own.
//! * [`SharedBytes`]: bytes somebody else owns, by reference count: how application memory becomes a frame
//!   and how a received frame becomes application memory, both without a copy.
//! * [`checksum`], [`segment`] and [`verify`]: the jobs of an offload engine, in software, for backends that must
//!   do them; [`headers`] is what they find their way by.
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;
// Where there is an operating system, it is asked which vectors the processor has.
#[cfg(any(test, feature = "conformance", all(target_arch = "x86_64", not(target_os = "none"))))]
extern crate std;

mod burst;
mod caps;
pub mod checksum;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod copy;
mod device;
mod frame;
pub mod headers;
pub mod heap;
pub mod hint;
mod meta;
mod nap;
pub mod pooled;
mod queue;
mod rss;
pub mod segment;
mod shared;
#[allow(unsafe_code)]
mod sys;
pub mod verify;

pub use burst::Burst;
pub use caps::{Caps, Offloads, ParseOffloadsError};
pub use copy::copy;
pub use device::{Device, Interest};
pub use frame::{Fragments, Frame, Prefix};
pub use meta::{RxChecksum, RxMeta, TxChecksum, TxMeta, TxSegmentation};
pub use nap::Nap;
pub use queue::FrameQueue;
pub use rss::{FlowKey, HASH_KEY_MICROSOFT, HashFields, Rss};
pub use shared::SharedBytes;

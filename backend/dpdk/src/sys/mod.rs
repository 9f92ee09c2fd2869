//! Every call into DPDK, and the frames that live in its memory. The only unsafe code of this crate.
//!
//! `shim/shim.c` makes functions of DPDK's inline functions and asserts, when it is compiled, the layouts that
//! [`ffi`] repeats.

pub(crate) mod bell;
pub(crate) mod eal;
mod ffi;
mod frame;
mod memory;
pub(crate) mod pool;
pub(crate) mod port;
mod released;
pub(crate) mod xdp_sockets;

pub use frame::DpdkFrame;
pub(crate) use frame::{Segment, TxRequest};
pub use memory::Memory;
pub(crate) use released::drop_released;

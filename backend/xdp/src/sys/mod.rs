//! Everything that the standard library does not wrap: memory and rings that are shared with the kernel, bpf(2),
//! socket options. The only unsafe code of this crate.

mod bpf;
mod channel;
mod memory;
mod net;
mod ring;
mod socket;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use bpf::{Instruction, Link, Map, attach, load};
pub(crate) use channel::{Channel, Kicked};
pub(crate) use memory::{METADATA_LEN, Memory, Part, Region};
pub(crate) use net::{
    Filter, FlowHash, IfRequest, Ifreq, NAME_LEN_MAX, attach_filter, bind_packet, channel_counts, flow_hash,
    hash_fields, ignore_outgoing, interface, join_all_multicast, join_promiscuous, join_unicast, socket,
};
pub(crate) use socket::{Bind, Endpoint, RingLens, Statistics, Umem};

use std::io;

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

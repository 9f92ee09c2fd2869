//! What all stacks of a host are told of its addresses and routes.

use std::net::IpAddr;

use hayase_device::Frame;
use hayase_stack::{Cidr, Error, Stack};

/// A change of a host's addresses or routes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Setting {
    AddAddress(Cidr),
    RemoveAddress(IpAddr),
    AddRoute(Cidr, IpAddr),
    RemoveRoute(Cidr),
}

impl Setting {
    pub(crate) fn apply<F: Frame>(self, stack: &mut Stack<F>) -> Result<(), Error> {
        match self {
            Setting::AddAddress(cidr) => stack.add_address(cidr),
            Setting::RemoveAddress(addr) => stack.remove_address(addr),
            Setting::AddRoute(destination, gateway) => stack.add_route(destination, gateway),
            Setting::RemoveRoute(destination) => stack.remove_route(destination),
        }
    }
}

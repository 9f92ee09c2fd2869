//! The addresses of a host, from the moment when they are wanted on (RFC 4862 §5.4).

use alloc::vec::Vec;
use core::net::IpAddr;

use hayase_time::Instant;

use super::Cidr;
use crate::wire::ndp::Nonce;

/// What an address is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AddressState {
    /// It is being found out whether another host of the link has it. Until then it is neither answered for nor sent from.
    Tentative,
    /// In use.
    Preferred,
    /// Another host has it: it is not used. Take it away and give it again to have it tried once more.
    Duplicate,
}

/// An address and what is known of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Address {
    pub(crate) cidr: Cidr,
    pub(crate) state: AddressState,
    /// Questions whether somebody has it, yet to be asked.
    pub(crate) probes_left: u8,
    /// What marks our questions, so that one which comes back is known for ours (RFC 7527).
    pub(crate) nonce: Nonce,
    /// When we last told somebody who claims it that it is ours (RFC 5227 §2.4).
    pub(crate) defended_at: Option<Instant>,
}

impl Address {
    /// An address that is in use at once.
    pub(crate) fn new(cidr: Cidr) -> Address {
        Address {
            cidr,
            state: AddressState::Preferred,
            probes_left: 0,
            nonce: Nonce::default(),
            defended_at: None,
        }
    }

    /// Whether it may be used.
    #[inline]
    pub(crate) fn is_assigned(&self) -> bool {
        self.state == AddressState::Preferred
    }
}

/// All addresses of a host: a handful, in a list.
#[derive(Debug)]
pub(crate) struct Addresses {
    list: Vec<Address>,
    count_max: usize,
}

impl Addresses {
    pub(crate) fn new(count_max: usize) -> Addresses {
        Addresses { list: Vec::new(), count_max }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.list.len() >= self.count_max
    }

    pub(crate) fn push(&mut self, address: Address) {
        self.list.push(address);
    }

    pub(crate) fn remove(&mut self, addr: IpAddr) -> Option<Address> {
        let at = self.list.iter().position(|address| address.cidr.addr() == addr)?;
        Some(self.list.remove(at))
    }

    /// In every state.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Address> {
        self.list.iter()
    }

    pub(crate) fn get(&self, addr: IpAddr) -> Option<&Address> {
        self.list.iter().find(|address| address.cidr.addr() == addr)
    }

    pub(crate) fn get_mut(&mut self, addr: IpAddr) -> Option<&mut Address> {
        self.list.iter_mut().find(|address| address.cidr.addr() == addr)
    }

    /// Those that may be used.
    #[inline]
    pub(crate) fn assigned(&self) -> impl Iterator<Item = Cidr> + '_ {
        self.list.iter().filter(|address| address.is_assigned()).map(|address| address.cidr)
    }

    /// Whether an address is ours to use.
    #[inline]
    pub(crate) fn is_assigned(&self, addr: IpAddr) -> bool {
        self.list.iter().any(|address| address.cidr.addr() == addr && address.is_assigned())
    }
}

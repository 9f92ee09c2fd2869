//! The addresses of a host, from the moment when they are wanted on (RFC 4862 §5.4).

use alloc::vec::Vec;
use core::net::IpAddr;

use hayase_time::Instant;

use super::{Cidr, Source};

/// What an address is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AddressState {
    /// It is being found out whether another host of the link has it. Until then it is neither answered for nor sent from.
    Tentative,
    /// In use.
    Preferred,
    /// In use, but not for new connections if there is another: the network is being renumbered (RFC 4862 §5.5.4).
    Deprecated,
    /// Another host has it: it is not used. Take it away and give it again to have it tried once more.
    Duplicate,
}

/// Where an address comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It was given to this host, for as long as nobody takes it away.
    Given,
    /// The host made it of a router's prefix; so many before it were another host's (`DAD_Counter`, RFC 7217 §5).
    Made { attempt: u8 },
}

/// An address and what is known of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Address {
    pub(crate) cidr: Cidr,
    pub(crate) state: AddressState,
    pub(crate) origin: Origin,
    pub(crate) preferred_until: Instant,
    pub(crate) valid_until: Instant,
    /// Questions whether somebody has it, yet to be asked.
    pub(crate) probes_left: u8,
    /// When we last told somebody who claims it that it is ours (RFC 5227 §2.4).
    pub(crate) defended_at: Option<Instant>,
}

impl Address {
    /// An address that is in use at once.
    pub(crate) fn new(cidr: Cidr) -> Address {
        Address {
            cidr,
            state: AddressState::Preferred,
            origin: Origin::Given,
            preferred_until: Instant::MAX,
            valid_until: Instant::MAX,
            probes_left: 0,
            defended_at: None,
        }
    }

    /// Whether it may be used.
    #[inline]
    pub(crate) fn is_assigned(&self) -> bool {
        matches!(self.state, AddressState::Preferred | AddressState::Deprecated)
    }

    fn is_made(&self) -> bool {
        matches!(self.origin, Origin::Made { .. })
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

    /// Those that packets may come from.
    pub(crate) fn sources(&self) -> impl Iterator<Item = Source> + '_ {
        self.list.iter().filter(|address| address.is_assigned()).map(|address| Source {
            cidr: address.cidr,
            is_deprecated: address.state == AddressState::Deprecated,
        })
    }

    /// The address that we have made of a network's prefix, whatever its state.
    pub(crate) fn made_of(&mut self, network: Cidr) -> Option<&mut Address> {
        self.list.iter_mut().find(|address| address.is_made() && address.cidr.network() == network)
    }

    /// How many we have made.
    pub(crate) fn made_count(&self) -> usize {
        self.list.iter().filter(|address| address.is_made()).count()
    }

    /// An address whose life is over.
    pub(crate) fn take_expired(&mut self, now: Instant) -> Option<IpAddr> {
        let at = self.list.iter().position(|address| address.valid_until <= now)?;
        Some(self.list.remove(at).cidr.addr())
    }

    /// Those that were preferred for long enough are no more.
    pub(crate) fn deprecate(&mut self, now: Instant) {
        for address in &mut self.list {
            if address.state == AddressState::Preferred && address.preferred_until <= now {
                address.state = AddressState::Deprecated;
            }
        }
    }

    /// When a lifetime ends.
    pub(crate) fn deadline(&self) -> Instant {
        let ends = self.list.iter().map(|address| match address.state {
            AddressState::Preferred => address.preferred_until.min(address.valid_until),
            _ => address.valid_until,
        });
        ends.min().unwrap_or(Instant::MAX)
    }

    /// Whether an address is ours to use.
    #[inline]
    pub(crate) fn is_assigned(&self, addr: IpAddr) -> bool {
        self.list.iter().any(|address| address.cidr.addr() == addr && address.is_assigned())
    }
}

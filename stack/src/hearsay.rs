//! What one stack of a host hears of its neighbours and of paths, for the others: the answer to a question comes to one queue
//! of the NIC, whichever stack asked.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use hayase_device::{Device, Frame};
use hayase_time::Instant;

use crate::ip::neighbor::Evidence;
use crate::stack::Stack;
use crate::wire::ndp::RouterAdvert;
use crate::wire::{Mac, Protocol};

/// What is kept for the others between two turns. What is beyond is asked for again by whoever needs it.
const HEARD_COUNT_MAX: usize = 256;

/// Something that ARP, neighbour discovery or ICMP told one stack, and may tell another.
#[derive(Debug, Clone, Copy)]
pub struct Hearsay(pub(crate) Rumour);

/// What there is to tell.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rumour {
    /// Somebody said who has an address.
    Neighbor { addr: IpAddr, mac: Option<Mac>, evidence: Evidence },
    /// Another host has an address that we wanted.
    Duplicate(Ipv6Addr),
    /// A router spoke to the link.
    Router { src: Ipv6Addr, advert: RouterAdvert },
    /// A router on the way to a host said how long packets of this protocol may be, and was believed. Connections, each of one stack,
    /// keep that for themselves.
    PathMtu { protocol: Protocol, remote: Ipv6Addr, mtu: usize },
    /// Somebody says so of a packet that another stack may have sent.
    TooBig(Claim),
}

/// That a packet was too big for somewhere.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    pub(crate) quoted: Quoted,
    pub(crate) mtu: usize,
}

/// The packet.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Quoted {
    Datagram {
        local: SocketAddr,
        remote: SocketAddr,
    },
    /// A request or a reply.
    Echo {
        remote: Ipv6Addr,
    },
}

/// What was heard since the last look; `None` where nobody wants to know.
#[derive(Debug, Default)]
pub(crate) struct Heard(Option<Vec<Hearsay>>);

impl Heard {
    pub(crate) fn note(&mut self, hearsay: Hearsay) {
        // Anybody may say of any path that it is narrow: that leaves room for what only the link can say.
        let is_far = matches!(hearsay.0, Rumour::PathMtu { .. } | Rumour::TooBig(_));
        let count_max = if is_far { HEARD_COUNT_MAX / 4 } else { HEARD_COUNT_MAX };
        if let Some(heard) = self.0.as_mut().filter(|heard| heard.len() < count_max) {
            heard.push(hearsay);
        }
    }
}

/// Neighbours of several stacks that are one host.
impl<F: Frame> Stack<F> {
    /// From now on, [`take_heard`](Self::take_heard) has what is to be told to the host's other stacks.
    pub fn share_neighbors(&mut self) {
        self.heard.0.get_or_insert_default();
    }

    /// What ARP, neighbour discovery and ICMP have told this stack since the last call.
    pub fn take_heard(&mut self) -> Vec<Hearsay> {
        match &mut self.heard.0 {
            Some(heard) if !heard.is_empty() => core::mem::take(heard),
            _ => Vec::new(),
        }
    }

    /// Learns from another stack as from the link itself: the same evidence proves the same.
    pub fn hear<D: Device<Frame = F>>(&mut self, now: Instant, hearsay: Hearsay, device: &mut D) {
        match hearsay.0 {
            Rumour::Neighbor { addr, mac, evidence } => self.learn(now, addr, mac, evidence, device),
            Rumour::Duplicate(addr) => self.link.give_up(addr, now),
            // What there is no room for was counted where it arrived.
            Rumour::Router { src, advert } => drop(self.obey_router(now, src, &advert, device)),
            Rumour::PathMtu { protocol, remote, mtu } => {
                self.link.path_mtus(protocol).lower(remote, mtu, now);
            }
            // It was counted where it arrived.
            Rumour::TooBig(claim) => _ = self.judge_too_big(now, claim),
        }
    }
}

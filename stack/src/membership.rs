//! Which multicast groups this host is in, as it tells routers and switches (RFC 3810, RFC 2710 for those that know no
//! other): those in which its addresses are asked for. Switches that look into such reports would keep neighbour
//! discovery from a host that makes none.

use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;

use hayase_device::{Device, Frame};
use hayase_time::Instant;

use crate::counters::{Count, Drop};
use crate::duties::Duty;
use crate::ip::address::{ALL_ROUTERS, link_local, solicited_node};
use crate::ip::addresses::AddressState;
use crate::link::Link;
use crate::stack::{RETRY_US, Stack};
use crate::wire::mld::{self, Query, Record};
use crate::wire::{EtherType, Mac, Protocol, ethernet, ipv6};

/// Every router that speaks version 2.
const ALL_MLD_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);

/// How often a change is reported, should a report be lost (`Robustness Variable`, RFC 3810 §9.1).
pub(crate) const REPORT_COUNT: u8 = 2;

/// How far apart, at the most (`Unsolicited Report Interval`, §9.11).
const REPORT_INTERVAL_MS: u64 = 1000;

/// How long a router of version 1 is taken to be there after it has asked (`Older Version Querier Present Timeout`, §9.12,
/// with the default query interval of 125 s).
const V1_TIMEOUT: Duration = Duration::from_secs(2 * 125 + 10);

/// An answer waits for a random time up to this at least, whatever the query says: a flood of queries for answers at once
/// gets a dozen of them a second.
const DELAY_MAX_LEAST: Duration = Duration::from_millis(100);

/// What is to be reported, and to whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Membership {
    /// Until when reports are of version 1.
    v1_until: Instant,
    /// When the answer to a query is due.
    report_at: Instant,
}

impl Membership {
    pub(crate) fn new() -> Membership {
        Membership { v1_until: Instant::ZERO, report_at: Instant::MAX }
    }
}

impl<F: Frame> Stack<F> {
    /// RFC 3810 §6.2: all groups are reported, whichever the query is about; sooner, if this one wants it sooner.
    pub(crate) fn receive_query(&mut self, now: Instant, query: Query) -> Result<(), Drop> {
        if query.is_v1 {
            self.link.membership.v1_until = now + V1_TIMEOUT;
        }
        if query.group.is_some_and(|group| !self.link.is_member(group)) {
            return Err(Drop::IpInAddr);
        }
        let delay_ns = query.delay_max.max(DELAY_MAX_LEAST).as_nanos() as u64;
        let at = now.after_nanos(self.random.next() % delay_ns);
        if at < self.link.membership.report_at {
            self.link.membership.report_at = at;
            self.link.duties.retain(|duty| *duty != Duty::Report);
            self.link.duties.push(at, Duty::Report);
        }
        Ok(())
    }

    /// The answer to a query.
    pub(crate) fn report_all<D: Device<Frame = F>>(&mut self, now: Instant, device: &mut D) {
        self.link.membership.report_at = Instant::MAX;
        let groups = self.link.groups();
        let mut all_went = true;
        for groups in groups.chunks(mld::RECORD_COUNT_MAX) {
            all_went &= self.report(now, Record::Is, groups, device);
        }
        if !all_went {
            self.link.membership.report_at = now.after_micros(RETRY_US);
            self.put_off(now, Duty::Report);
        }
    }

    /// Tells of a change, unless it was undone, and does so again in a moment.
    pub(crate) fn report_change<D: Device<Frame = F>>(
        &mut self,
        now: Instant,
        group: Ipv6Addr,
        has_joined: bool,
        count: u8,
        device: &mut D,
    ) {
        if self.link.is_member(group) != has_joined {
            return;
        }
        let record = if has_joined { Record::Joined } else { Record::Left };
        if !self.report(now, record, &[group], device) {
            self.put_off(now, Duty::ReportChange { group, has_joined, count });
        } else if count > 1 {
            let pause = Duration::from_millis(1 + self.random.next() % REPORT_INTERVAL_MS);
            self.link.duties.push(now + pause, Duty::ReportChange { group, has_joined, count: count - 1 });
        }
    }

    /// Whether all was sent.
    fn report<D: Device<Frame = F>>(
        &mut self,
        now: Instant,
        record: Record,
        groups: &[Ipv6Addr],
        device: &mut D,
    ) -> bool {
        let own = link_local(self.link.mac);
        // Without an address of its own yet, a host reports as nobody, for the switches (RFC 3590 §4).
        let src = if self.link.is_ours(IpAddr::V6(own)) { own } else { Ipv6Addr::UNSPECIFIED };
        if now >= self.link.membership.v1_until {
            let mut message = vec![0; mld::report_len(groups.len())];
            mld::emit_report(src, ALL_MLD_ROUTERS, record, groups, &mut message);
            return self.send_mld(src, ALL_MLD_ROUTERS, &message, device);
        }
        groups.iter().fold(true, |is_sent, group| {
            let dst = if record == Record::Left { ALL_ROUTERS } else { *group };
            self.send_mld(src, dst, &mld::message_v1(src, dst, record, *group), device) && is_sent
        })
    }

    fn send_mld<D: Device<Frame = F>>(
        &mut self,
        src: Ipv6Addr,
        dst: Ipv6Addr,
        message: &[u8],
        device: &mut D,
    ) -> bool {
        let mut front = [0; ethernet::LEN + ipv6::LEN];
        let (ether, network) = front.split_at_mut(ethernet::LEN);
        let mac = Mac::for_ipv6_multicast(dst);
        ethernet::Header { dst: mac, src: self.link.mac, ethertype: EtherType::IPV6 }.emit(ether);
        let header = ipv6::Header {
            src,
            dst,
            next_header: Protocol::HOP_BY_HOP,
            hop_limit: mld::HOP_LIMIT,
            traffic_class: 0,
            flow_label: 0,
            payload_len: (mld::ROUTER_ALERT.len() + message.len()) as u16,
        };
        header.emit(network);
        let is_sent = self.send_raw(&[&front[..], &mld::ROUTER_ALERT, message].concat(), device);
        if is_sent {
            self.counters.count(Count::IcmpOut);
        }
        is_sent
    }
}

impl<F: Frame> Link<F> {
    /// The groups in which our addresses are asked for, those included that are still in question. All nodes are a group
    /// that nobody reports (RFC 3810 §6).
    pub(crate) fn groups(&self) -> Vec<Ipv6Addr> {
        let mut groups: Vec<Ipv6Addr> = self.solicited_nodes().collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    pub(crate) fn is_member(&self, group: Ipv6Addr) -> bool {
        self.solicited_nodes().any(|own| own == group)
    }

    fn solicited_nodes(&self) -> impl Iterator<Item = Ipv6Addr> + '_ {
        let in_question = self.addresses.iter().filter(|address| address.state != AddressState::Duplicate);
        in_question.filter_map(|address| match address.cidr.addr() {
            IpAddr::V6(addr) => Some(solicited_node(addr)),
            IpAddr::V4(_) => None,
        })
    }

    /// Has a change of the group in which `addr` is asked for reported, if it is one. Called while the address is not, or
    /// no longer, in the table.
    pub(crate) fn note_change(&mut self, addr: IpAddr, has_joined: bool, at: Instant) {
        let IpAddr::V6(addr) = addr else { return };
        let group = solicited_node(addr);
        if self.announces && !self.is_member(group) {
            self.duties.push(at, Duty::ReportChange { group, has_joined, count: REPORT_COUNT });
        }
    }
}

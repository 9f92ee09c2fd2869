//! Which shard is a flow's home.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use hayase_device::{FlowKey, Rss};

use super::arrival::{Arrival, FragmentKey};

/// Packets in fragments whose home is remembered. An older one is forgotten for a newer: its last fragments then time out.
const FRAGMENTED_COUNT: usize = 256;

/// What a socket can be found by without a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Service {
    pub(super) kind: Kind,
    /// The port, or the identifier of an echo socket.
    pub(super) number: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Tcp,
    Udp,
    Echo,
}

/// What one shard knows of where flows are at home. All shards of a host come to the same result, but for the time that
/// news take.
#[derive(Debug)]
pub(super) struct Table {
    me: usize,
    cores: usize,
    rss: Rss,
    /// The NIC has spread the frames by the same hash: what comes here is for here, unless there is an exception.
    is_sorted: bool,
    /// Which cores have a socket there, a bit each.
    services: HashMap<Service, u64>,
    /// Services that some cores have and others have not.
    partial_count: usize,
    /// Connections that are not where the rest would have them.
    pins: HashMap<FlowKey, usize>,
    fragmented: Vec<Option<(FragmentKey, usize)>>,
    fragment_hasher: RandomState,
}

impl Table {
    pub(super) fn new(me: usize, cores: usize, rss: Rss, is_sorted: bool) -> Table {
        Table {
            me,
            cores,
            rss,
            is_sorted,
            services: HashMap::new(),
            partial_count: 0,
            pins: HashMap::new(),
            fragmented: vec![None; FRAGMENTED_COUNT],
            fragment_hasher: RandomState::new(),
        }
    }

    /// Whether all segments and datagrams that come to this shard are for it, so that nobody needs to look at their ports.
    #[inline]
    pub(super) fn is_trivial(&self) -> bool {
        self.is_sorted && self.partial_count == 0 && self.pins.is_empty()
    }

    /// The shard that a frame is for.
    pub(super) fn home(&mut self, arrival: Arrival) -> usize {
        match arrival {
            Arrival::Anyone => self.me,
            Arrival::Flow(flow) => self.home_of_flow(&flow),
            Arrival::Echo(service) => self.among(service, 0).unwrap_or(self.me),
            Arrival::Fragment(key, first) => self.home_of_fragment(key, first),
        }
    }

    pub(super) fn home_of_flow(&self, flow: &FlowKey) -> usize {
        self.pins.get(flow).copied().unwrap_or_else(|| self.unpinned_home(flow))
    }

    /// The home of a flow without a pin.
    pub(super) fn unpinned_home(&self, flow: &FlowKey) -> usize {
        let kind = if flow.udp { Kind::Udp } else { Kind::Tcp };
        let service = Service { kind, number: flow.destination.port() };
        let hash = self.rss.hash(flow);
        self.among(service, hash).unwrap_or(usize::from(self.rss.queue_of_hash(hash)))
    }

    /// The core that the hash chooses among those that have a service. `None` if none has. Where another core than the
    /// chosen one begins or ceases to have it, the choice is the same.
    fn among(&self, service: Service, hash: u32) -> Option<usize> {
        let cores = self.cores_of(service);
        let chosen = usize::from(self.rss.queue_of_hash(hash));
        if cores & bit(chosen) != 0 {
            return Some(chosen);
        }
        (0..self.cores).filter(|core| cores & bit(*core) != 0).max_by_key(|core| rank(hash, *core))
    }

    /// The first fragment tells where the others go.
    fn home_of_fragment(&mut self, key: FragmentKey, first: Option<FlowKey>) -> usize {
        let at = self.fragment_hasher.hash_one(key) as usize % FRAGMENTED_COUNT;
        match (first, self.fragmented[at]) {
            (Some(flow), _) => {
                let home = self.home_of_flow(&flow);
                self.fragmented[at] = Some((key, home));
                home
            }
            (None, Some((known, home))) if known == key => home,
            _ => self.me,
        }
    }

    /// Which cores have a service, a bit each.
    pub(super) fn cores_of(&self, service: Service) -> u64 {
        self.services.get(&service).copied().unwrap_or(0)
    }

    pub(super) fn open(&mut self, service: Service, core: usize) {
        self.change(service, |cores| cores | bit(core));
    }

    pub(super) fn close(&mut self, service: Service, core: usize) {
        self.change(service, |cores| cores & !bit(core));
    }

    fn change(&mut self, service: Service, change: impl FnOnce(u64) -> u64) {
        let all = bit(self.cores).wrapping_sub(1);
        let is_partial = |cores: u64| cores != 0 && cores & all != all;
        let before = self.cores_of(service);
        let after = change(before);
        match after {
            0 => self.services.remove(&service),
            _ => self.services.insert(service, after),
        };
        self.partial_count -= usize::from(is_partial(before));
        self.partial_count += usize::from(is_partial(after));
    }

    pub(super) fn is_pinned(&self, flow: &FlowKey) -> bool {
        self.pins.contains_key(flow)
    }

    pub(super) fn pin(&mut self, flow: FlowKey, core: usize) {
        self.pins.insert(flow, core);
    }

    pub(super) fn unpin(&mut self, flow: &FlowKey) {
        self.pins.remove(flow);
    }
}

/// How much a hash prefers a core (rendezvous hashing): whoever has the highest rank of several keeps it when others go.
fn rank(hash: u32, core: usize) -> u64 {
    // The finalizer of SplitMix64 without its last step.
    let mut rank = (u64::from(hash) << 32 | core as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    rank = (rank ^ rank >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    rank ^ rank >> 27
}

/// The set of one core. That of 64, one too many, is empty.
fn bit(core: usize) -> u64 {
    1u64.checked_shl(core as u32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: Service = Service { kind: Kind::Tcp, number: 80 };

    fn flow(port: u16) -> FlowKey {
        FlowKey { source: ([10, 0, 0, 1], port).into(), destination: ([10, 0, 0, 2], 80).into(), udp: false }
    }

    fn table(me: usize, cores: usize, is_sorted: bool) -> Table {
        Table::new(me, cores, Rss::even(cores as u16), is_sorted)
    }

    #[test]
    fn a_listener_gets_its_port_and_several_share_it() {
        let mut table = table(0, 4, false);
        let spread = |table: &Table| {
            let mut counts = [0; 4];
            (1..=1000).for_each(|port| counts[table.home_of_flow(&flow(port))] += 1);
            counts
        };
        assert!(spread(&table).iter().all(|count| *count > 150), "by hash");
        table.open(SERVICE, 2);
        assert_eq!(spread(&table), [0, 0, 1000, 0]);
        table.open(SERVICE, 1);
        let [none, some, others, last] = spread(&table);
        assert!(none == 0 && last == 0 && some > 300 && others > 300, "{some} {others}");
        table.close(SERVICE, 2);
        assert_eq!(spread(&table), [0, 1000, 0, 0]);
    }

    /// Whoever leaves pins its own connections: those of others must not move.
    #[test]
    fn a_core_that_leaves_a_port_moves_no_flow_of_others() {
        let mut table = table(0, 8, false);
        [1, 2, 4, 7].into_iter().for_each(|core| table.open(SERVICE, core));
        let homes =
            |table: &Table| (1..=2000).map(|port| table.home_of_flow(&flow(port))).collect::<Vec<_>>();
        let before = homes(&table);
        assert!([1, 2, 4, 7].iter().all(|core| before.iter().filter(|home| *home == core).count() > 300));
        table.close(SERVICE, 4);
        let after = homes(&table);
        assert!(before.iter().zip(&after).all(|(before, after)| *before == 4 || before == after));
        assert!(!after.contains(&4));
    }

    #[test]
    fn a_pin_comes_before_everything() {
        let mut table = table(0, 2, false);
        table.open(SERVICE, 0);
        table.pin(flow(5), 1);
        assert_eq!((table.home_of_flow(&flow(5)), table.unpinned_home(&flow(5))), (1, 0));
        table.unpin(&flow(5));
        assert_eq!(table.home_of_flow(&flow(5)), 0);
    }

    #[test]
    fn sorted_frames_need_no_look_while_there_is_no_exception() {
        let mut table = table(0, 2, true);
        assert!(table.is_trivial());
        table.open(SERVICE, 0);
        assert!(!table.is_trivial(), "one has it, one has not");
        table.open(SERVICE, 1);
        assert!(table.is_trivial());
        table.pin(flow(1), 1);
        assert!(!table.is_trivial());
        table.unpin(&flow(1));
        table.close(SERVICE, 0);
        table.close(SERVICE, 1);
        assert!(table.is_trivial());
    }

    #[test]
    fn sixty_four_cores_fit_the_word() {
        let mut table = table(63, 64, true);
        (0..64).for_each(|core| table.open(SERVICE, core));
        assert!(table.is_trivial() && table.cores_of(SERVICE) == u64::MAX);
    }

    #[test]
    fn fragments_follow_the_first() {
        let mut table = table(0, 2, false);
        table.open(SERVICE, 1);
        let key = |ident| FragmentKey { source: [1; 4].into(), destination: [2; 4].into(), ident };
        assert_eq!(table.home(Arrival::Fragment(key(1), None)), 0, "nobody knows");
        assert_eq!(table.home(Arrival::Fragment(key(1), Some(flow(9)))), 1);
        assert_eq!(table.home(Arrival::Fragment(key(1), None)), 1);
    }
}

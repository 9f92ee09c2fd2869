//! Who on the link has which address: one table for ARP (RFC 826) and neighbor discovery (RFC 4861).
//!
//! ```text
//!            need                 answer                 30 s             use
//!  (nothing) ────► Incomplete ───────────► Reachable ─────────► Stale ─────────► Probe, after 5 s
//!                  │ 3 questions             ▲   ▲                                │ 3 questions
//!                  ▼ unanswered              │   └──────── answer ◄───────────────┤ unanswered
//!               unreachable                  └── TCP progress (`confirm`)         ▼ unreachable
//! ```
//!
//! Reachable turns stale by the clock alone, without a timer; an entry in doubt goes on working while it is
//! asked for. So a timer runs only for entries with questions outstanding.

use alloc::vec::Vec;
use core::mem;
use core::net::IpAddr;
use core::num::NonZeroU32;
use core::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hayase_device::hint::{likely, usually};
use hayase_time::{Instant, TimerKey, Wheel};

use crate::usual::Front;
use crate::wire::Mac;

/// How long an answer or progress proves that a neighbour is there (`REACHABLE_TIME`, RFC 4861 §10).
const REACHABLE_TIME: Duration = Duration::from_secs(30);

/// How long an entry in doubt may be used before its neighbour is asked: time for an answer from above to
/// make the question needless (`DELAY_FIRST_PROBE_TIME`).
const DELAY_FIRST_PROBE: Duration = Duration::from_secs(5);

/// How long a question waits for its answer (`RETRANS_TIMER`; RFC 1122 §2.3.2.1 asks for no more than one ARP
/// request a second).
const RETRANSMIT: Duration = Duration::from_secs(1);

/// How often a neighbour is asked before it counts as unreachable (`MAX_MULTICAST_SOLICIT`).
const QUESTION_COUNT_MAX: u8 = 3;

/// The most packets that wait for one neighbour: RFC 1122 §2.3.2.2 wants at least the latest; these are the
/// fragments of the largest datagram and some more (Linux's `unres_qlen_bytes` holds about a hundred).
const WAITING_COUNT_MAX: usize = 64;

/// The most packets that wait for all neighbours together, the first of each not counted: silent hosts must
/// not hold the frame pool.
const WAITING_TOTAL_MAX: usize = 512;

/// How many entries are looked at to find one that may make room. The next search goes on from there, so a full
/// table costs a flood of new addresses no more than this each.
const EVICTION_SEARCH_MAX: usize = 128;

/// Names an entry of the table. A connection keeps it, so that looking up its next hop is an array access; it
/// turns invalid when the entry goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NeighborId {
    index: u32,
    /// Not zero, so that a connection has two words for a neighbour or none.
    generation: NonZeroU32,
}

/// How it was learnt that a neighbour has a link-layer address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// It asked for one of our addresses: it will want an answer, so it may have a new entry.
    Request,
    /// An ARP reply. It proves something only if there was a question.
    Reply,
    /// It spoke to others, or of itself unasked (gratuitous ARP). Known hosts may move; those that are unknown, or asked
    /// for, stay so.
    Announcement,
    /// A neighbor advertisement, with its flags (RFC 4861 §7.2.5).
    Advert {
        /// It answers a solicitation.
        solicited: bool,
        /// It replaces a link-layer address that is known already.
        override_known: bool,
    },
}

/// What the table wants done. See [`Neighbors::poll`].
#[derive(Debug, PartialEq, Eq)]
pub enum Output<P> {
    /// Ask who has an address: one neighbour, or the whole link.
    Solicit {
        /// The address in question.
        target: IpAddr,
        /// Whom to ask. `None`: everybody, by broadcast or the solicited-node group.
        unicast: Option<Mac>,
    },
    /// A neighbour did not answer, or its entry had to make room; these packets will not reach it.
    Unreachable {
        /// Its address.
        addr: IpAddr,
        /// What waited for it.
        packets: Vec<P>,
    },
}

#[derive(Debug)]
struct Neighbor<P> {
    /// Counts the entries that have lived in this slot.
    generation: NonZeroU32,
    /// Until when the link-layer address counts as proven. In the past: stale, or not known.
    fresh_until: Instant,
    mac: Option<Mac>,
    /// What its frames begin with, once the link-layer address is known.
    front: Front,
    /// `None` in a free slot.
    addr: Option<IpAddr>,
    /// Questions asked since the last answer.
    questions: u8,
    /// It is said to have another link-layer address than the one that worked, or one at all: it is asked, whatever progress
    /// there is, which may be that of packets to the old one.
    moved: bool,
    /// Runs while a question is due or outstanding.
    timer: Option<TimerKey>,
    /// What waits for the link-layer address.
    waiting: Vec<P>,
}

/// The neighbour table, with packets of type `P` waiting in it.
///
/// Entries are made by our own need, or by a host that asks for us; never by what somebody claims unasked.
/// A full table gives up an entry that is not proven reachable; one full of reachable neighbours takes no more.
#[derive(Debug)]
pub struct Neighbors<P> {
    /// Our own link-layer address.
    station: Mac,
    slots: Vec<Neighbor<P>>,
    by_addr: HashMap<IpAddr, u32, FixedState>,
    free: Vec<u32>,
    count_max: usize,
    /// Where the search for an entry to give up goes on: the oldest, until slots are reused.
    hand: usize,
    timers: Wheel<u32>,
    /// [`REACHABLE_TIME`], unless a router says otherwise.
    reachable_time: Duration,
    /// [`RETRANSMIT`], unless a router says otherwise.
    retransmit_time: Duration,
    /// Packets waiting, the abandoned ones included.
    waiting_count: usize,
    /// What waited in entries that had to make room, until it is polled.
    abandoned: Vec<(IpAddr, Vec<P>)>,
}

impl<P> Neighbors<P> {
    /// An empty table, for a host of this link-layer address, of at most `count_max` entries. `seed` is secret, so that
    /// nobody can choose addresses that collide.
    pub fn new(station: Mac, count_max: usize, seed: u64) -> Neighbors<P> {
        Neighbors {
            station,
            slots: Vec::new(),
            by_addr: HashMap::with_hasher(FixedState::with_seed(seed)),
            free: Vec::new(),
            count_max: count_max.min(u32::MAX as usize),
            hand: 0,
            timers: Wheel::new(Instant::ZERO),
            reachable_time: REACHABLE_TIME,
            retransmit_time: RETRANSMIT,
            waiting_count: 0,
            abandoned: Vec::new(),
        }
    }

    /// How long an answer proves from now on that a neighbour is there (RFC 4861 §6.3.4).
    pub fn set_reachable_time(&mut self, time: Duration) {
        self.reachable_time = time;
    }

    /// How long a question waits for its answer from now on.
    pub fn set_retransmit_time(&mut self, time: Duration) {
        self.retransmit_time = time;
    }

    /// How long a question waits for its answer.
    pub fn retransmit_time(&self) -> Duration {
        self.retransmit_time
    }

    /// The link-layer address of a neighbour, if it is known. `None` also if the entry is gone: then
    /// [`entry`](Self::entry) makes a new one.
    ///
    /// Using an entry in doubt gets it asked for; it goes on working meanwhile.
    #[inline]
    pub fn mac(&mut self, id: NeighborId, now: Instant) -> Option<Mac> {
        let neighbor = self.slots.get(id.index as usize).filter(|neighbor| neighbor.is(id))?;
        if now < neighbor.fresh_until {
            return neighbor.mac;
        }
        self.mac_in_doubt(id.index, now)
    }

    /// What frames to a neighbour begin with, as long as its link-layer address counts as proven.
    #[inline]
    pub(crate) fn fresh_front(&self, id: NeighborId, now: Instant) -> Option<&Front> {
        // What is proven is known.
        self.fresh(id, now).map(|neighbor| &neighbor.front)
    }

    /// As [`mac`](Self::mac), but only while nobody needs to ask whether it still holds.
    #[inline]
    pub fn fresh_mac(&self, id: NeighborId, now: Instant) -> Option<&Mac> {
        self.fresh(id, now)?.mac.as_ref()
    }

    #[inline(always)]
    fn fresh(&self, id: NeighborId, now: Instant) -> Option<&Neighbor<P>> {
        let neighbor = usually(self.slots.get(id.index as usize))?;
        let is_fresh = likely(neighbor.is(id)) && likely(now < neighbor.fresh_until);
        if is_fresh { Some(neighbor) } else { None }
    }

    #[cold]
    fn mac_in_doubt(&mut self, index: u32, now: Instant) -> Option<Mac> {
        let neighbor = &mut self.slots[index as usize];
        let mac = neighbor.mac?;
        if neighbor.timer.is_none() {
            neighbor.questions = 0;
            neighbor.timer = Some(self.timers.insert(now + DELAY_FIRST_PROBE, index));
        }
        Some(mac)
    }

    /// Takes note that packets got there and back: new data was acknowledged (RFC 4861 §7.3.1). Keeps an
    /// entry reachable without any question. Without effect on entries that are gone or not resolved.
    #[inline]
    pub fn confirm(&mut self, id: NeighborId, now: Instant) {
        if let Some(neighbor) = self.slots.get_mut(id.index as usize)
            && neighbor.is(id)
            && neighbor.mac.is_some()
        {
            neighbor.fresh_until = now + self.reachable_time;
        }
    }

    /// The entry for a next hop, made now if there is none: then [`poll`](Self::poll) wants it asked for at
    /// once. `None` if the table is full of reachable neighbours.
    pub fn entry(&mut self, addr: IpAddr, now: Instant) -> Option<NeighborId> {
        self.entry_by(addr, now, Eviction::AnyUnproven)
    }

    /// As [`entry`](Self::entry), to answer somebody who asked for us: nothing that is in use makes room for it.
    pub fn entry_to_answer(&mut self, addr: IpAddr, now: Instant) -> Option<NeighborId> {
        self.entry_by(addr, now, Eviction::Idle)
    }

    fn entry_by(&mut self, addr: IpAddr, now: Instant, eviction: Eviction) -> Option<NeighborId> {
        if let Some(id) = self.find(addr) {
            return Some(id);
        }
        let index = self.insert(addr, now, eviction)?;
        // The beginning of time has passed: due at once.
        self.slots[index as usize].timer = Some(self.timers.insert(Instant::ZERO, index));
        Some(self.id(index))
    }

    /// The entry for a next hop, if there is one.
    pub fn find(&self, addr: IpAddr) -> Option<NeighborId> {
        self.by_addr.get(&addr).map(|&index| self.id(index))
    }

    /// Whether a neighbour is known by this link-layer address, or by any if none is said.
    pub(crate) fn agrees(&self, addr: IpAddr, mac: Option<Mac>) -> bool {
        let known = self.by_addr.get(&addr).and_then(|&index| self.slots.get(index as usize)?.mac);
        known.is_some_and(|known| mac.is_none_or(|mac| mac == known))
    }

    /// From now on no [`NeighborId`] that was given out is good: whoever has one looks up its way anew.
    pub(crate) fn void_ids(&mut self) {
        for neighbor in &mut self.slots {
            neighbor.generation = neighbor.generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        }
    }

    /// Lets a packet wait until its neighbour is resolved. Returns the packet that had to go for it: the
    /// oldest of this neighbour, or `packet` itself when too many wait in all, or when the entry is gone or
    /// resolved.
    pub fn enqueue(&mut self, id: NeighborId, packet: P) -> Option<P> {
        let neighbor = self.slots.get_mut(id.index as usize);
        let Some(neighbor) = neighbor.filter(|n| n.is(id) && n.mac.is_none()) else {
            return Some(packet);
        };
        if neighbor.waiting.len() >= WAITING_COUNT_MAX {
            let oldest = neighbor.waiting.remove(0);
            neighbor.waiting.push(packet);
            return Some(oldest);
        }
        // One packet may always wait: a neighbour's resolution does not depend on others'.
        if !neighbor.waiting.is_empty() && self.waiting_count >= WAITING_TOTAL_MAX {
            return Some(packet);
        }
        neighbor.waiting.push(packet);
        self.waiting_count += 1;
        None
    }

    /// Takes note that `addr` has the link-layer address `mac` (which an advertisement may leave out).
    /// Returns the packets that waited for it, to be sent to `mac`.
    pub fn learn(&mut self, addr: IpAddr, mac: Option<Mac>, evidence: Evidence, now: Instant) -> Vec<P> {
        let Some(&index) = self.by_addr.get(&addr) else {
            if let (Evidence::Request, Some(mac)) = (evidence, mac)
                && let Some(index) = self.insert(addr, now, Eviction::Idle)
            {
                self.slots[index as usize].resolve(addr, mac, self.station);
            }
            return Vec::new();
        };
        let neighbor = &mut self.slots[index as usize];
        let proven = match evidence {
            Evidence::Advert { solicited, .. } => solicited,
            Evidence::Reply => neighbor.questions > 0,
            Evidence::Request | Evidence::Announcement => false,
        };
        let replaces = !matches!(evidence, Evidence::Advert { override_known: false, .. });
        match (neighbor.mac, mac) {
            (None, None) => return Vec::new(),
            (None, Some(_)) if evidence == Evidence::Announcement => {
                self.ask_now(index);
                return Vec::new();
            }
            (Some(known), Some(new)) if known != new && !replaces => {
                // Somebody disagrees: that is reason to doubt, not to believe (RFC 4861 §7.2.5 I).
                neighbor.fresh_until = neighbor.fresh_until.min(now);
                return Vec::new();
            }
            (known, Some(new)) if known != Some(new) => {
                let was_in_use = known.is_some() && (now < neighbor.fresh_until || neighbor.timer.is_some());
                neighbor.resolve(addr, new, self.station);
                neighbor.fresh_until = neighbor.fresh_until.min(now);
                self.stop_asking(index);
                if was_in_use && !proven {
                    let timer = self.timers.insert(now + DELAY_FIRST_PROBE, index);
                    let neighbor = &mut self.slots[index as usize];
                    (neighbor.timer, neighbor.moved) = (Some(timer), true);
                }
            }
            _ => {}
        }
        if proven {
            self.slots[index as usize].fresh_until = now + self.reachable_time;
            self.stop_asking(index);
        }
        let packets = mem::take(&mut self.slots[index as usize].waiting);
        self.waiting_count -= packets.len();
        packets
    }

    /// Hands out one thing to do; call it until there is none. Questions to one neighbour never wait for
    /// another.
    pub fn poll(&mut self, now: Instant) -> Option<Output<P>> {
        if let Some((addr, packets)) = self.abandoned.pop() {
            self.waiting_count -= packets.len();
            return Some(Output::Unreachable { addr, packets });
        }
        while let Some(index) = self.timers.expire(now) {
            let output = self.timeout(index, now);
            if output.is_some() {
                return output;
            }
        }
        None
    }

    /// The question for `target` that was handed out could not be sent: it does not count, and is asked at `at`. Who was
    /// not asked owes no answer.
    pub fn unasked(&mut self, target: IpAddr, at: Instant) {
        let Some(&index) = self.by_addr.get(&target) else { return };
        let neighbor = &mut self.slots[index as usize];
        neighbor.questions = neighbor.questions.saturating_sub(1);
        self.ask_at(index, at);
    }

    /// When to call [`poll`](Self::poll) next.
    pub fn deadline(&self) -> Option<Instant> {
        if self.abandoned.is_empty() { self.timers.next_deadline() } else { Some(Instant::ZERO) }
    }

    /// The table: address, link-layer address, and whether it is proven at `now`.
    pub fn iter(&self, now: Instant) -> impl Iterator<Item = (IpAddr, Option<Mac>, bool)> {
        self.slots.iter().filter_map(move |n| Some((n.addr?, n.mac, now < n.fresh_until)))
    }

    /// The next step of an entry whose timer ran out.
    fn timeout(&mut self, index: u32, now: Instant) -> Option<Output<P>> {
        let neighbor = &mut self.slots[index as usize];
        neighbor.timer = None;
        if now < neighbor.fresh_until && !neighbor.moved {
            // Progress above answered the question before it was asked, or while it was.
            neighbor.questions = 0;
            return None;
        }
        if neighbor.questions >= QUESTION_COUNT_MAX {
            let (addr, packets) = self.remove(index)?;
            self.waiting_count -= packets.len();
            return Some(Output::Unreachable { addr, packets });
        }
        neighbor.questions += 1;
        neighbor.timer = Some(self.timers.insert(now + self.retransmit_time, index));
        Some(Output::Solicit { target: neighbor.addr?, unicast: neighbor.mac })
    }

    /// Somebody who was asked for announces itself. Its answer comes from somebody who has heard the question, and so knows
    /// where we are; who only announces itself may know another of our address, and would answer that one. So the question
    /// goes on, once at once, and is not given up for now.
    fn ask_now(&mut self, index: u32) {
        let neighbor = &mut self.slots[index as usize];
        if !mem::replace(&mut neighbor.moved, true) {
            // What was asked before may be answered yet.
            neighbor.questions = neighbor.questions.min(QUESTION_COUNT_MAX - 1);
            self.ask_at(index, Instant::ZERO);
        }
    }

    fn ask_at(&mut self, index: u32, at: Instant) {
        let neighbor = &mut self.slots[index as usize];
        if let Some(timer) = neighbor.timer.take() {
            self.timers.remove(timer);
        }
        neighbor.timer = Some(self.timers.insert(at, index));
    }

    fn stop_asking(&mut self, index: u32) {
        let neighbor = &mut self.slots[index as usize];
        (neighbor.questions, neighbor.moved) = (0, false);
        if let Some(timer) = neighbor.timer.take() {
            self.timers.remove(timer);
        }
    }

    fn id(&self, index: u32) -> NeighborId {
        NeighborId { index, generation: self.slots[index as usize].generation }
    }

    /// A new entry that knows nothing yet.
    fn insert(&mut self, addr: IpAddr, now: Instant, eviction: Eviction) -> Option<u32> {
        if self.by_addr.len() >= self.count_max {
            self.evict(now, eviction)?;
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Neighbor::free());
            self.slots.len() as u32 - 1
        });
        self.slots[index as usize].addr = Some(addr);
        self.by_addr.insert(addr, index);
        Some(index)
    }

    /// Gives up the next entry round the table that may go.
    fn evict(&mut self, now: Instant, eviction: Eviction) -> Option<()> {
        let len = self.slots.len();
        let candidates = (0..len.min(EVICTION_SEARCH_MAX)).map(|_| {
            let index = self.hand % len;
            self.hand = index + 1;
            index
        });
        let index = { candidates }.find(|&index| self.slots[index].may_go(now, eviction))?;
        let (addr, packets) = self.remove(index as u32)?;
        if !packets.is_empty() {
            self.abandoned.push((addr, packets));
        }
        Some(())
    }

    /// Frees a slot. The packets that waited there still count as waiting.
    fn remove(&mut self, index: u32) -> Option<(IpAddr, Vec<P>)> {
        self.stop_asking(index);
        let neighbor = &mut self.slots[index as usize];
        let generation = neighbor.generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        let removed = mem::replace(neighbor, Neighbor { generation, ..Neighbor::free() });
        let addr = removed.addr?;
        self.by_addr.remove(&addr);
        self.free.push(index);
        Some((addr, removed.waiting))
    }
}

/// Which entries may make room for a new one.
#[derive(Debug, Clone, Copy)]
enum Eviction {
    /// For our own need: any that is not proven reachable.
    AnyUnproven,
    /// For a stranger's sake: none that is in use either.
    Idle,
}

impl<P> Neighbor<P> {
    /// Whether it is the one of that name, and not a later one in its slot.
    #[inline(always)]
    fn is(&self, id: NeighborId) -> bool {
        self.generation == id.generation
    }

    fn resolve(&mut self, addr: IpAddr, mac: Mac, station: Mac) {
        self.mac = Some(mac);
        self.front = Front::new(mac, station, addr.is_ipv4());
    }

    fn may_go(&self, now: Instant, eviction: Eviction) -> bool {
        let in_use = self.timer.is_some();
        let spared = in_use && matches!(eviction, Eviction::Idle);
        self.addr.is_some() && now >= self.fresh_until && !spared
    }

    fn free() -> Neighbor<P> {
        Neighbor {
            generation: NonZeroU32::MIN,
            fresh_until: Instant::ZERO,
            mac: None,
            front: Front::EMPTY,
            addr: None,
            questions: 0,
            moved: false,
            timer: None,
            waiting: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    const STATION: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const A: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
    const B: Mac = Mac([2, 0, 0, 0, 0, 0xb]);

    fn host(i: u32) -> IpAddr {
        IpAddr::V4((0x0a00_0000 + i).into())
    }

    fn at(seconds: f64) -> Instant {
        Instant::ZERO + Duration::from_secs_f64(1000.0 + seconds)
    }

    fn table() -> Neighbors<u32> {
        Neighbors::new(STATION, 4, 1)
    }

    fn outputs(neighbors: &mut Neighbors<u32>, now: Instant) -> Vec<Output<u32>> {
        core::iter::from_fn(|| neighbors.poll(now)).collect()
    }

    fn ask(target: IpAddr, unicast: Option<Mac>) -> Vec<Output<u32>> {
        vec![Output::Solicit { target, unicast }]
    }

    /// A table in which `host(1)` has been resolved at `at(0)`.
    fn resolved() -> (Neighbors<u32>, NeighborId) {
        let mut neighbors = table();
        let id = neighbors.entry(host(1), at(0.0)).unwrap();
        outputs(&mut neighbors, at(0.0));
        neighbors.learn(host(1), Some(A), Evidence::Reply, at(0.0));
        (neighbors, id)
    }

    #[test]
    fn a_packet_waits_for_the_answer() {
        let mut neighbors = table();
        let id = neighbors.entry(host(1), at(0.0)).unwrap();
        assert_eq!(neighbors.mac(id, at(0.0)), None);
        assert_eq!(neighbors.enqueue(id, 7), None);
        assert!(neighbors.deadline().unwrap() <= at(0.0));
        assert_eq!(outputs(&mut neighbors, at(0.0)), ask(host(1), None));
        assert_eq!(neighbors.learn(host(1), Some(A), Evidence::Reply, at(0.1)), [7]);
        assert_eq!(neighbors.mac(id, at(0.2)), Some(A));
        assert_eq!((neighbors.deadline(), neighbors.waiting_count), (None, 0));
        assert_eq!(neighbors.enqueue(id, 8), Some(8), "nothing waits for a known neighbour");
    }

    #[test]
    fn j3_a_silent_host_is_asked_once_a_second_and_given_up() {
        let mut neighbors = table();
        let id = neighbors.entry(host(1), at(0.0)).unwrap();
        let count = WAITING_COUNT_MAX as u32;
        for packet in 0..count {
            assert_eq!(neighbors.enqueue(id, packet), None);
        }
        assert_eq!(neighbors.enqueue(id, count), Some(0), "the oldest goes");
        let mut questions = 0;
        for step in 0..299 {
            questions += outputs(&mut neighbors, at(f64::from(step) * 0.01)).len();
            assert!(neighbors.entry(host(1), at(f64::from(step) * 0.01)) == Some(id));
        }
        assert_eq!(questions, 3);
        let unreachable = Output::Unreachable { addr: host(1), packets: (1..=count).collect() };
        assert_eq!(outputs(&mut neighbors, at(3.1)), [unreachable]);
        assert_eq!((neighbors.find(host(1)), neighbors.mac(id, at(3.1))), (None, None));
        assert_eq!((neighbors.enqueue(id, 9), neighbors.waiting_count), (Some(9), 0));
        assert!(neighbors.entry(host(1), at(3.1)).is_some_and(|new| new != id));
    }

    #[test]
    fn j4_unsolicited_claims_make_no_entry_but_known_hosts_may_move() {
        let mut neighbors = table();
        for evidence in [
            Evidence::Reply,
            Evidence::Announcement,
            Evidence::Advert { solicited: true, override_known: true },
        ] {
            neighbors.learn(host(9), Some(A), evidence, at(0.0));
            assert_eq!(neighbors.find(host(9)), None, "{evidence:?}");
        }
        let (mut neighbors, id) = resolved();
        neighbors.learn(host(1), Some(B), Evidence::Announcement, at(1.0));
        assert_eq!(neighbors.mac(id, at(1.0)), Some(B));
        assert_eq!(outputs(&mut neighbors, at(6.1)), ask(host(1), Some(B)), "it is not believed unasked");
        neighbors.learn(host(1), Some(B), Evidence::Reply, at(6.2));
        assert_eq!(outputs(&mut neighbors, at(10.0)), []);
    }

    /// A host that came back with another link-layer address, before its peer knows: the peer's announcement must not end
    /// the question, which is what tells the peer.
    #[test]
    fn an_announcement_is_no_answer() {
        let mut neighbors = table();
        let id = neighbors.entry(host(1), at(0.0)).unwrap();
        assert_eq!(neighbors.enqueue(id, 7), None);
        assert_eq!(outputs(&mut neighbors, at(0.0)), ask(host(1), None), "this one is lost");
        assert!(neighbors.learn(host(1), Some(A), Evidence::Announcement, at(0.5)).is_empty());
        assert_eq!(neighbors.mac(id, at(0.5)), None);
        assert_eq!(
            outputs(&mut neighbors, at(0.5)),
            ask(host(1), None),
            "it is there: it is asked again at once"
        );
        neighbors.learn(host(1), Some(A), Evidence::Announcement, at(0.6));
        assert_eq!(outputs(&mut neighbors, at(0.6)), [], "but not whenever it likes");
        assert_eq!(neighbors.learn(host(1), Some(A), Evidence::Reply, at(0.7)), [7]);
    }

    #[test]
    fn who_announces_itself_is_not_given_up() {
        let mut neighbors = table();
        let id = neighbors.entry(host(1), at(0.0)).unwrap();
        let questions = (0..30).map(|step| outputs(&mut neighbors, at(f64::from(step) * 0.1)).len());
        assert_eq!(questions.sum::<usize>(), 3);
        neighbors.learn(host(1), Some(A), Evidence::Announcement, at(2.95));
        assert_eq!(outputs(&mut neighbors, at(2.95)), ask(host(1), None));
        neighbors.learn(host(1), Some(A), Evidence::Reply, at(3.0));
        assert_eq!(neighbors.mac(id, at(3.0)), Some(A));
    }

    #[test]
    fn a_host_that_asks_for_us_is_known_but_not_proven() {
        let mut neighbors = table();
        assert!(neighbors.learn(host(1), Some(A), Evidence::Request, at(0.0)).is_empty());
        assert_eq!(neighbors.deadline(), None, "nobody is asked before there is need");
        let id = neighbors.entry(host(1), at(0.0)).unwrap();
        assert_eq!(neighbors.mac(id, at(0.0)), Some(A));
        assert_eq!(outputs(&mut neighbors, at(5.1)), ask(host(1), Some(A)));
    }

    #[test]
    fn a_stale_entry_works_while_it_is_asked_for_and_goes_when_nobody_answers() {
        let (mut neighbors, id) = resolved();
        assert_eq!((neighbors.mac(id, at(29.9)), neighbors.deadline()), (Some(A), None));
        assert_eq!(neighbors.mac(id, at(31.0)), Some(A));
        assert_eq!(outputs(&mut neighbors, at(35.9)), []);
        for second in 0..3 {
            let now = at(36.1 + 1.001 * f64::from(second));
            assert_eq!(outputs(&mut neighbors, now), ask(host(1), Some(A)));
            assert_eq!(neighbors.mac(id, now), Some(A));
        }
        assert_eq!(
            outputs(&mut neighbors, at(40.0)),
            [Output::Unreachable { addr: host(1), packets: vec![] }]
        );
        assert_eq!(neighbors.mac(id, at(40.0)), None);
    }

    /// As it is while the device is full.
    #[test]
    fn j3_a_question_that_could_not_be_sent_does_not_count() {
        let mut neighbors = table();
        let id = neighbors.entry(host(1), at(0.0)).unwrap();
        assert_eq!(neighbors.enqueue(id, 7), None);
        for step in 0..100 {
            let now = at(f64::from(step) * 0.1);
            assert_eq!(outputs(&mut neighbors, now), ask(host(1), None));
            neighbors.unasked(host(1), now + Duration::from_millis(99));
        }
        for second in 0..3 {
            assert_eq!(outputs(&mut neighbors, at(10.1 + 1.001 * f64::from(second))), ask(host(1), None));
        }
        let unreachable = Output::Unreachable { addr: host(1), packets: vec![7] };
        assert_eq!(outputs(&mut neighbors, at(13.2)), [unreachable]);
        neighbors.unasked(host(1), at(13.3));
        assert_eq!(neighbors.deadline(), None, "who is gone is not asked");
    }

    #[test]
    fn progress_makes_questions_needless() {
        let (mut neighbors, id) = resolved();
        for second in 0..100 {
            neighbors.confirm(id, at(f64::from(second)));
            assert_eq!(neighbors.mac(id, at(f64::from(second) + 0.5)), Some(A));
            assert_eq!(outputs(&mut neighbors, at(f64::from(second) + 0.5)), []);
        }
        assert_eq!(neighbors.mac(id, at(135.0)), Some(A));
        neighbors.confirm(id, at(136.0));
        assert_eq!(outputs(&mut neighbors, at(145.0)), [], "confirmed before the probe was due");
        let unresolved = neighbors.entry(host(2), at(145.0)).unwrap();
        neighbors.confirm(unresolved, at(145.0));
        assert_eq!(neighbors.mac(unresolved, at(145.0)), None);
    }

    /// An acknowledgement that comes after a claim may be for what was sent before it.
    #[test]
    fn progress_does_not_prove_an_address_that_somebody_claimed() {
        for evidence in [Evidence::Reply, Evidence::Announcement, Evidence::Request] {
            let (mut neighbors, id) = resolved();
            neighbors.learn(host(1), Some(B), evidence, at(10.0));
            let mut said = Vec::new();
            for tenth in 100..300 {
                let now = at(f64::from(tenth) / 10.0);
                neighbors.confirm(id, now);
                said.extend(outputs(&mut neighbors, now));
                assert_eq!(said.is_empty(), tenth <= 150, "asked 5 s after it was said");
            }
            let gone = vec![Output::Unreachable { addr: host(1), packets: Vec::new() }];
            let asked = || ask(host(1), Some(B));
            assert_eq!(said, [asked(), asked(), asked(), gone].into_iter().flatten().collect::<Vec<_>>());
            assert_eq!(neighbors.mac(id, at(30.0)), None, "a liar is forgotten");
        }
    }

    #[test]
    fn advertisements_do_as_their_flags_say() {
        let advert = |solicited, override_known| Evidence::Advert { solicited, override_known };
        let (mut neighbors, id) = resolved();
        neighbors.learn(host(1), Some(B), advert(false, false), at(1.0));
        assert_eq!(neighbors.mac(id, at(1.0)), Some(A), "not overridden");
        assert_eq!(outputs(&mut neighbors, at(6.1)), ask(host(1), Some(A)), "but in doubt");
        neighbors.learn(host(1), None, advert(true, false), at(6.2));
        assert_eq!(
            (neighbors.mac(id, at(36.0)), neighbors.deadline()),
            (Some(A), None),
            "proven without address"
        );
        neighbors.learn(host(1), Some(B), advert(true, true), at(37.0));
        assert_eq!((neighbors.mac(id, at(66.0)), neighbors.deadline()), (Some(B), None));
        let new = neighbors.entry(host(2), at(66.0)).unwrap();
        neighbors.learn(host(2), None, advert(true, true), at(66.0));
        assert_eq!(neighbors.mac(new, at(66.0)), None, "no address, no entry");
    }

    #[test]
    fn a_full_table_gives_up_what_is_not_proven() {
        let mut neighbors = table();
        let first = neighbors.entry(host(0), at(0.0)).unwrap();
        neighbors.enqueue(first, 7);
        for i in 1..4 {
            neighbors.entry(host(i), at(0.0)).unwrap();
        }
        neighbors.learn(host(8), Some(A), Evidence::Request, at(0.0));
        assert_eq!(neighbors.find(host(8)), None, "a stranger does not push out what we need");
        assert_eq!(neighbors.entry_to_answer(host(8), at(0.0)), None);
        let fifth = neighbors.entry(host(4), at(0.0)).unwrap();
        assert_eq!((neighbors.find(host(0)), neighbors.mac(first, at(0.0))), (None, None));
        let unreachable = Output::Unreachable { addr: host(0), packets: vec![7] };
        assert_eq!(neighbors.poll(at(0.0)), Some(unreachable));
        assert_eq!(outputs(&mut neighbors, at(0.0)).len(), 4);
        for i in 1..5 {
            neighbors.learn(host(i), Some(A), Evidence::Reply, at(0.0));
        }
        assert_eq!(neighbors.entry(host(5), at(1.0)), None, "all are reachable");
        assert_eq!(neighbors.mac(fifth, at(1.0)), Some(A));
        assert!(neighbors.entry(host(5), at(31.0)).is_some());
    }

    #[test]
    fn silent_hosts_do_not_take_the_place_of_others() {
        let mut neighbors = Neighbors::new(STATION, 1024, 1);
        let mut kept = 0;
        for i in 0..1000 {
            let id = neighbors.entry(host(i), at(0.0)).unwrap();
            kept += (0..WAITING_COUNT_MAX).filter(|_| neighbors.enqueue(id, i).is_none()).count();
        }
        assert!(kept <= 1000 + WAITING_TOTAL_MAX, "{kept} packets wait");
        let last = neighbors.entry(host(5000), at(0.0)).unwrap();
        assert_eq!(neighbors.enqueue(last, 1), None, "one may always wait");
        outputs(&mut neighbors, at(0.0));
        assert_eq!(neighbors.learn(host(5000), Some(A), Evidence::Reply, at(0.1)), [1]);
    }

    proptest! {
        #[test]
        fn packets_are_accounted_for_and_memory_is_bounded(
            steps in prop::collection::vec((0u8..6, 0u32..8, 0u64..8_000), 0..400),
        ) {
            let mut neighbors = table();
            let (mut now, mut given, mut returned) = (at(0.0), 0u32, 0usize);
            for (action, i, millis) in steps {
                now += Duration::from_millis(millis * millis / 8_000);
                match action {
                    0 | 1 => if let Some(id) = neighbors.entry(host(i), now) && neighbors.mac(id, now).is_none() {
                        given += 1;
                        returned += usize::from(neighbors.enqueue(id, given).is_some());
                    },
                    2 => returned += neighbors.learn(host(i), Some(A), Evidence::Reply, now).len(),
                    3 => returned += neighbors.learn(host(i), Some(B), Evidence::Request, now).len(),
                    4 => if let Some(id) = neighbors.find(host(i)) { neighbors.confirm(id, now); },
                    _ => for output in outputs(&mut neighbors, now) {
                        if let Output::Unreachable { packets, .. } = output { returned += packets.len(); }
                    },
                }
                prop_assert!(neighbors.by_addr.len() <= 4 && neighbors.slots.len() <= 4);
                prop_assert!(neighbors.timers.len() <= 4);
                prop_assert_eq!(neighbors.waiting_count, given as usize - returned);
                for (addr, index) in &neighbors.by_addr {
                    prop_assert_eq!(neighbors.slots[*index as usize].addr, Some(*addr));
                    let neighbor = &neighbors.slots[*index as usize];
                    prop_assert!(neighbor.mac.is_some() || neighbor.timer.is_some(), "no entry waits for ever");
                }
            }
        }
    }
}

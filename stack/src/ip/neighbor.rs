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
/// A full table gives up an entry that is not proven reachable; one full of reachable neighbours takes no more, but for a
/// router: those find room, and keep it, since all that is not on the link goes through them.
#[derive(Debug)]
pub struct Neighbors<P> {
    /// Our own link-layer address.
    station: Mac,
    slots: Vec<Neighbor<P>>,
    by_addr: HashMap<IpAddr, u32, FixedState>,
    /// Who leads on from here.
    routers: Vec<IpAddr>,
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
            routers: Vec::new(),
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

    /// Says who leads on from here: from now on these make room for nobody, and anybody else for them.
    pub fn set_routers(&mut self, routers: impl IntoIterator<Item = IpAddr>) {
        self.routers.clear();
        self.routers.extend(routers);
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
    /// once. `None` if the table is full of reachable neighbours, and it is no router.
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
        let is_router = self.routers.contains(&addr);
        let index = self.insert(addr, now, if is_router { Eviction::Any } else { eviction })?;
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
        let routers = &self.routers;
        let leads_on = |neighbor: &Neighbor<P>| neighbor.addr.is_some_and(|addr| routers.contains(&addr));
        let slots = &self.slots;
        let index = { candidates }.find(|&i| slots[i].may_go(now, eviction) && !leads_on(&slots[i]))?;
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
    /// For a router: any.
    Any,
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
        let is_proven = now < self.fresh_until;
        let is_spared = match eviction {
            Eviction::Any => false,
            Eviction::AnyUnproven => is_proven,
            Eviction::Idle => is_proven || self.timer.is_some(),
        };
        self.addr.is_some() && !is_spared
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
mod tests;

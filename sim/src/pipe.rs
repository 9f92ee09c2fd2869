//! One direction of a cable at work: what becomes of each frame, and when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::time::Duration;

use hayase::device::headers::ETHERNET_LEN;
use hayase::time::Instant;

use crate::forge;
use crate::link::Link;
use crate::random::Random;
use crate::topology::Node;

const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];

/// A frame that waits to be overtaken waits no longer: nothing else may come.
const HOLD_MAX: Duration = Duration::from_millis(100);

/// Whose words a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A host, or a router, has sent just this.
    Genuine,
    /// A host has sent it, and it was changed on its way.
    Damaged,
    /// An attacker's.
    Forged,
}

/// A frame in flight.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    pub(crate) bytes: Rc<[u8]>,
    pub(crate) origin: Origin,
}

/// What happens next in the network.
#[derive(Debug)]
pub(crate) enum Event {
    /// A packet leaves a pipe at its far end.
    Arrive { pipe: usize, packet: Packet },
    /// A packet that was to be overtaken has waited long enough.
    Release { pipe: usize, ticket: u64 },
    /// A forged frame reaches a host.
    Forged { host: usize, packet: Packet },
}

#[derive(Debug)]
struct Timed {
    at: Instant,
    /// What was scheduled first happens first.
    serial: u64,
    event: Event,
}

impl PartialEq for Timed {
    fn eq(&self, other: &Timed) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Timed {}

impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Timed) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timed {
    fn cmp(&self, other: &Timed) -> std::cmp::Ordering {
        (self.at, self.serial).cmp(&(other.at, other.serial))
    }
}

/// All that is going to happen, in order.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    heap: BinaryHeap<Reverse<Timed>>,
    serial: u64,
}

impl Schedule {
    pub(crate) fn push(&mut self, at: Instant, event: Event) {
        self.serial += 1;
        self.heap.push(Reverse(Timed { at, serial: self.serial, event }));
    }

    /// When something happens next.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(next)| next.at)
    }

    /// What has happened by `now`, one after the other.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Event> {
        let is_due = self.next_at().is_some_and(|at| at <= now);
        is_due.then(|| self.heap.pop().map(|Reverse(next)| next.event)).flatten()
    }
}

/// What one direction of a cable has done so far, in frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PipeStats {
    /// Frames that came in.
    pub entered: u64,
    /// Frames that came out at the far end.
    pub arrived: u64,
    /// Bytes that came out at the far end, Ethernet headers included.
    pub arrived_len: u64,
    /// Lost by chance, in bursts or not.
    pub lost: u64,
    /// Dropped because the queue was full.
    pub overflowed: u64,
    /// Dropped because the link was cut.
    pub cut: u64,
    /// Dropped because they were longer than an MTU.
    pub too_long: u64,
    /// Doubled.
    pub duplicated: u64,
    /// Changed or cut short.
    pub damaged: u64,
    /// Held back until others had overtaken them.
    pub reordered: u64,
    /// Marked as having met congestion.
    pub marked: u64,
}

impl PipeStats {
    /// Frames that are still on their way, if nothing got lost in the books.
    pub(crate) fn in_flight(&self) -> i64 {
        let gone = self.arrived + self.lost + self.overflowed + self.cut + self.too_long;
        (self.entered + self.duplicated) as i64 - gone as i64
    }
}

/// What became of a frame that was sent into a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Sent,
    Cut,
    /// The sender is to be told of this MTU.
    TooLong(usize),
    Swallowed,
    Overflowed,
    Lost,
}

#[derive(Debug)]
struct Held {
    ticket: u64,
    /// How many have still to overtake it.
    left: u64,
    packet: Packet,
}

#[derive(Debug)]
pub(crate) struct Pipe {
    index: usize,
    pub(crate) to: Node,
    pub(crate) link: Link,
    pub(crate) stats: PipeStats,
    random: Random,
    /// Until when the rate is used up by what was sent before.
    busy_until: Instant,
    /// When the last frame arrives that was not held back: no later one comes before.
    last_at: Instant,
    is_bad: bool,
    held: Vec<Held>,
    ticket: u64,
}

impl Pipe {
    pub(crate) fn new(index: usize, to: Node, link: Link, random: Random) -> Pipe {
        Pipe {
            index,
            to,
            link,
            stats: PipeStats::default(),
            random,
            busy_until: Instant::ZERO,
            last_at: Instant::ZERO,
            is_bad: false,
            held: Vec::new(),
            ticket: 0,
        }
    }

    /// Takes a frame, and schedules what becomes of it.
    pub(crate) fn send(&mut self, now: Instant, packet: Packet, schedule: &mut Schedule) -> Fate {
        self.stats.entered += 1;
        let is_congested = self.link.mark_len.is_some_and(|len| self.waiting_len(now) > len as u128);
        let departs_at = match self.admit(now, packet.bytes.len()) {
            Ok(departs_at) => departs_at,
            Err(fate) => return fate,
        };
        let packet = if is_congested { self.mark(packet) } else { packet };
        if self.loses() {
            self.stats.lost += 1;
            return Fate::Lost;
        }
        if self.random.chance(self.link.duplicate) {
            self.stats.duplicated += 1;
            let copy = self.damage(packet.clone());
            self.launch(departs_at, copy, schedule);
        }
        let packet = self.damage(packet);
        self.launch(departs_at, packet, schedule);
        Fate::Sent
    }

    /// Whether the link takes a frame of this length, and when it has sent it.
    fn admit(&mut self, now: Instant, len: usize) -> Result<Instant, Fate> {
        if self.link.cut {
            self.stats.cut += 1;
            return Err(Fate::Cut);
        }
        let packet_len = len.saturating_sub(ETHERNET_LEN);
        if let Some(mtu) = self.link.mtu.filter(|mtu| packet_len > *mtu) {
            self.stats.too_long += 1;
            return Err(Fate::TooLong(mtu));
        }
        if self.link.silent_mtu.is_some_and(|mtu| packet_len > mtu) {
            self.stats.too_long += 1;
            return Err(Fate::Swallowed);
        }
        self.enqueue(now, len).ok_or_else(|| {
            self.stats.overflowed += 1;
            Fate::Overflowed
        })
    }

    /// Changes the link. What waits in its queue waits for the new rate.
    ///
    /// # Panics
    /// If it is none after that.
    pub(crate) fn change(&mut self, now: Instant, change: impl FnOnce(&mut Link)) {
        let (waiting_len, before) = (self.waiting_len(now), self.link.rate);
        change(&mut self.link);
        if let Err(text) = self.link.check() {
            panic!("this link cannot be simulated: {text}");
        }
        if self.link.rate != before {
            self.busy_until = self.link.rate.map_or(now, |rate| now.after_nanos(time_of(waiting_len, rate)));
        }
    }

    /// Bytes that wait for the rate.
    fn waiting_len(&self, now: Instant) -> u128 {
        let waits = self.busy_until.max(now).nanos_since(now);
        self.link.rate.map_or(0, |rate| u128::from(waits) * u128::from(rate) / 8_000_000_000)
    }

    /// When the last bit of a frame has left; `None` if the queue is full.
    fn enqueue(&mut self, now: Instant, len: usize) -> Option<Instant> {
        let Some(rate) = self.link.rate else { return Some(now) };
        if self.waiting_len(now) + len as u128 > self.link.queue_len as u128 {
            return None;
        }
        self.busy_until = self.busy_until.max(now).after_nanos(time_of(len as u128, rate));
        Some(self.busy_until)
    }

    /// Tells the receiver that the queue is long, if the sender wants that told. It is still what the sender sent.
    fn mark(&mut self, packet: Packet) -> Packet {
        let Some(bytes) = forge::marked(&packet.bytes) else { return packet };
        self.stats.marked += 1;
        Packet { bytes: bytes.into(), ..packet }
    }

    fn loses(&mut self) -> bool {
        let mut loss = self.link.loss;
        if let Some(burst) = self.link.burst_loss {
            let turns = if self.is_bad { burst.ends } else { burst.begins };
            self.is_bad ^= self.random.chance(turns);
            if self.is_bad {
                loss = loss.max(burst.loss);
            }
        }
        self.random.chance(loss)
    }

    /// Changes one byte, which no checksum of the Internet misses, or cuts the end off. Once: two changes can cancel
    /// each other in the sum.
    fn damage(&mut self, packet: Packet) -> Packet {
        let len = packet.bytes.len();
        if packet.origin == Origin::Damaged {
            return packet;
        }
        let is_arp = packet.bytes.get(12..14) == Some(&ETHERTYPE_ARP);
        if len > ETHERNET_LEN && !is_arp && self.random.chance(self.link.corrupt) {
            let mut bytes = packet.bytes.to_vec();
            let at = self.random.between(ETHERNET_LEN as u64..=len as u64 - 1) as usize;
            bytes[at] ^= self.random.between(1..=255) as u8;
            self.stats.damaged += 1;
            return Packet { bytes: bytes.into(), origin: Origin::Damaged };
        }
        if len > ETHERNET_LEN && self.random.chance(self.link.truncate) {
            let kept = self.random.between(ETHERNET_LEN as u64..=len as u64 - 1) as usize;
            self.stats.damaged += 1;
            return Packet { bytes: packet.bytes[..kept].into(), origin: Origin::Damaged };
        }
        packet
    }

    /// Sends a frame on its way, or holds it back to be overtaken.
    fn launch(&mut self, departs_at: Instant, packet: Packet, schedule: &mut Schedule) {
        let jitter = self.random.time(self.link.jitter);
        let at = (departs_at + self.link.delay + jitter).max(self.last_at);
        if self.random.chance(self.link.reorder) {
            self.stats.reordered += 1;
            self.ticket += 1;
            let left = self.random.between(1..=self.link.reorder_frames_max.max(1));
            self.held.push(Held { ticket: self.ticket, left, packet });
            schedule.push(at + HOLD_MAX, Event::Release { pipe: self.index, ticket: self.ticket });
            return;
        }
        self.last_at = at;
        schedule.push(at, Event::Arrive { pipe: self.index, packet });
        for held in &mut self.held {
            held.left -= 1;
        }
        let pipe = self.index;
        for overtaken in self.held.extract_if(.., |held| held.left == 0) {
            schedule.push(at, Event::Arrive { pipe, packet: overtaken.packet });
        }
    }

    /// A frame that nobody has overtaken: its patience is at its end.
    pub(crate) fn release(&mut self, ticket: u64) -> Option<Packet> {
        let at = self.held.iter().position(|held| held.ticket == ticket)?;
        Some(self.held.remove(at).packet)
    }

    /// A frame has come out.
    pub(crate) fn arrived(&mut self, packet: &Packet) {
        self.stats.arrived += 1;
        self.stats.arrived_len += packet.bytes.len() as u64;
    }
}

/// Nanoseconds that so many bytes take at a rate.
fn time_of(len: u128, rate: u64) -> u64 {
    (len * 8_000_000_000 / u128::from(rate)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TcpForge;
    use crate::link::BurstLoss;

    fn pipe(link: Link) -> Pipe {
        Pipe::new(0, Node::Host(0), link, Random::new(1))
    }

    /// Sends frames of `len` bytes, numbered, all at once; tells which arrived when, in nanoseconds.
    fn sent(pipe: &mut Pipe, count: u8, len: usize) -> Vec<(u64, u8)> {
        let mut schedule = Schedule::default();
        for number in 0..count {
            let mut bytes = vec![0; len];
            bytes[0] = number;
            pipe.send(Instant::ZERO, Packet { bytes: bytes.into(), origin: Origin::Genuine }, &mut schedule);
        }
        let mut arrived = Vec::new();
        while let Some(at) = schedule.next_at() {
            let packet = match schedule.pop(at) {
                Some(Event::Arrive { packet, .. }) => Some(packet),
                Some(Event::Release { ticket, .. }) => pipe.release(ticket),
                _ => None,
            };
            let Some(packet) = packet else { continue };
            pipe.arrived(&packet);
            arrived.push((at.as_nanos(), packet.bytes[0]));
        }
        assert_eq!(pipe.stats.in_flight(), 0, "{:?}", pipe.stats);
        arrived
    }

    #[test]
    fn an_ideal_link_only_delays() {
        let arrived = sent(&mut pipe(Link::default()), 3, 60);
        assert_eq!(arrived, [(1_000_000, 0), (1_000_000, 1), (1_000_000, 2)]);
    }

    #[test]
    fn the_rate_spaces_frames_and_the_queue_is_bounded() {
        let link = Link { rate: Some(8_000_000), queue_len: 300, delay: Duration::ZERO, ..Link::default() };
        let mut pipe = pipe(link);
        assert_eq!(sent(&mut pipe, 5, 100), [(100_000, 0), (200_000, 1), (300_000, 2)]);
        assert_eq!(pipe.stats.overflowed, 2);
    }

    #[test]
    fn what_waits_waits_for_the_new_rate() {
        for (rate, frame_takes) in [(80_000_000, 10_000), (800_000, 1_000_000)] {
            let link =
                Link { rate: Some(8_000_000), queue_len: 300, delay: Duration::ZERO, ..Link::default() };
            let mut pipe = pipe(link);
            let mut schedule = Schedule::default();
            let frame = Packet { bytes: vec![0; 100].into(), origin: Origin::Genuine };
            // Two wait, so there is room for one more, at whatever rate.
            let mut send = |pipe: &mut Pipe| pipe.send(Instant::ZERO, frame.clone(), &mut schedule);
            assert_eq!([send(&mut pipe), send(&mut pipe)], [Fate::Sent; 2]);
            pipe.change(Instant::ZERO, |link| link.rate = Some(rate));
            assert_eq!([send(&mut pipe), send(&mut pipe)], [Fate::Sent, Fate::Overflowed], "{rate}");
            assert_eq!(pipe.busy_until, Instant::from_nanos(3 * frame_takes));
        }
    }

    #[test]
    fn jitter_keeps_the_order_and_reordering_does_not() {
        let jitter = Duration::from_millis(5);
        let arrived = sent(&mut pipe(Link { jitter, ..Link::default() }), 100, 60);
        assert!(arrived.is_sorted() && arrived.last().unwrap().0 > 5_000_000);

        let mut pipe = pipe(Link { reorder: 0.1, reorder_frames_max: 4, ..Link::default() });
        let arrived = sent(&mut pipe, 100, 60);
        assert!(!arrived.is_sorted_by_key(|(_, number)| *number) && pipe.stats.reordered > 3);
        let late = |(place, (_, number)): (usize, &(u64, u8))| place as i64 - i64::from(*number);
        let latest = arrived.iter().enumerate().map(late).max();
        // Others that are held back do not count as overtaking.
        assert!(latest.is_some_and(|latest| (2..=6).contains(&latest)), "{latest:?}");
    }

    #[test]
    fn a_long_queue_marks_who_understands_it() {
        let [from, to] = ["[fd00:7::1]:5", "[fd00:7::2]:80"].map(|addr| addr.parse().unwrap());
        let plain = TcpForge::new(from, to).frame([2; 6], [4; 6], &[7; 926]);
        let mut capable = plain.clone();
        capable[15] |= 2 << 4;
        // Ten frames of 1000 bytes at once: the first four find no more than 3000 in the queue.
        let link = Link { mark_len: Some(3000), ..Link::with_rate(8_000_000, Duration::from_millis(1)) };
        for (frame, marks) in [(&capable, 6), (&plain, 0)] {
            let (mut pipe, mut schedule) = (pipe(link.clone()), Schedule::default());
            for _ in 0..10 {
                let packet = Packet { bytes: frame.as_slice().into(), origin: Origin::Genuine };
                assert_eq!(pipe.send(Instant::ZERO, packet, &mut schedule), Fate::Sent);
            }
            let mut seen = Vec::new();
            while let Some(Event::Arrive { packet, .. }) = schedule.pop(Instant::MAX) {
                assert_eq!(packet.origin, Origin::Genuine);
                seen.push(packet.bytes[15] >> 4 & 3 == 3);
            }
            assert_eq!((pipe.stats.marked, seen.len()), (marks, 10));
            assert!(seen.iter().rev().take(marks as usize).all(|is_marked| *is_marked), "{seen:?}");
        }
    }

    #[test]
    fn the_last_frame_is_not_held_for_ever() {
        let link = Link { reorder: 1.0, ..Link::default() };
        assert_eq!(sent(&mut pipe(link), 1, 60), [(101_000_000, 0)]);
    }

    #[test]
    fn losses_come_as_often_as_they_should() {
        let mut single = pipe(Link { loss: 0.1, ..Link::default() });
        let burst = BurstLoss { begins: 0.01, ends: 0.1, loss: 1.0 };
        let mut bursts = pipe(Link { burst_loss: Some(burst), ..Link::default() });
        for pipe in [&mut single, &mut bursts] {
            let arrived: usize = (0..100).map(|_| sent(pipe, 200, 60).len()).sum();
            assert!((17_000..18_900).contains(&arrived), "{arrived} of 20,000");
        }
    }

    #[test]
    fn frames_are_doubled_damaged_and_cut() {
        let mut doubling = pipe(Link { duplicate: 1.0, ..Link::default() });
        assert_eq!(sent(&mut doubling, 2, 60).len(), 4);
        for link in [Link { corrupt: 1.0, ..Link::default() }, Link { truncate: 1.0, ..Link::default() }] {
            let mut pipe = pipe(link);
            let damaged = pipe.damage(Packet { bytes: vec![7; 60].into(), origin: Origin::Genuine });
            assert!(
                damaged.origin == Origin::Damaged
                    && *damaged.bytes != [7; 60]
                    && damaged.bytes[..14] == [7; 14]
            );
        }
    }

    #[test]
    fn long_packets_and_cut_links_are_refused() {
        let mut schedule = Schedule::default();
        let packet = Packet { bytes: vec![0; 1015].into(), origin: Origin::Genuine };
        for (link, fate) in [
            (Link { mtu: Some(1000), ..Link::default() }, Fate::TooLong(1000)),
            (Link { silent_mtu: Some(1000), ..Link::default() }, Fate::Swallowed),
            (Link { cut: true, ..Link::default() }, Fate::Cut),
            (Link { mtu: Some(1001), silent_mtu: Some(1001), ..Link::default() }, Fate::Sent),
        ] {
            assert_eq!(pipe(link).send(Instant::ZERO, packet.clone(), &mut schedule), fate);
        }
    }
}

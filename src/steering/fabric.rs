//! What the shards of a host share: how to reach each other. Nobody looks at it on the path of a frame.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::mem;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use hayase_device::{Caps, FlowKey, Rss, TxMeta};
use hayase_executor::Handle;
use hayase_stack::{Config, Hearsay, Migrant};

use super::CORES_MAX;
use super::policy::AcceptPolicy;
use super::reply::Reply;
use super::ring::{Receiver, Sender, ring};
use super::setting::Setting;
use super::table::Service;
use crate::tray::Tray;

/// What one shard tells another.
#[derive(Debug)]
pub(super) enum News {
    /// A core is about to have a socket there. Whoever has connections at the port pins those whose home would change,
    /// and answers [`Ready`](News::Ready).
    Joining(Service, usize),
    /// One of those that were asked, this core, is ready.
    Ready(Service, usize),
    /// A core has a socket there.
    Opened(Service, usize),
    /// It has no more.
    Closed(Service, usize),
    /// A connection is at this core, whatever the rest says.
    Pinned(FlowKey, usize),
    /// It is no more.
    Unpinned(FlowKey),
    /// A neighbour spoke, or a router of a path.
    Heard(Hearsay),
    /// An address or a route changed.
    Setting(Setting),
    /// A connection is yours now. Without a reply, it is for the listener at its address.
    Adopt(Box<Migrant>, Option<Reply>),
}

/// What a core may be told of neighbours and paths while it does not listen: words of which anybody can have many.
/// What is beyond is asked for again by whoever needs it. All other news are few, as what they are of, and each counts.
const HEARD_COUNT_MAX: usize = 1024;

/// Connections that may be on their way to a core which does not take them in: as many as wait at most listeners. More
/// are not dealt to it.
const DEALT_COUNT_MAX: usize = 1024;

/// What a core was told and has not taken.
#[derive(Debug, Default)]
struct Inbox {
    news: VecDeque<News>,
    /// How many of them are of neighbours.
    heard_count: usize,
    /// The last word on each flow whose pin has changed: the core that has it, or that it is no more.
    pins: HashMap<FlowKey, Option<usize>>,
    /// The pins that the core has, by their hashes: of those alone it has to hear that they are no more. All others come
    /// and go without a trace, as many as there may be while the core does not listen.
    known: HashSet<u64>,
    hasher: RandomState,
    /// The core has ended: what it is told is dropped.
    is_closed: bool,
}

impl Inbox {
    /// Returns whether there was room.
    fn push(&mut self, news: News) -> bool {
        match news {
            News::Pinned(flow, core) => {
                self.pins.insert(flow, Some(core));
            }
            News::Unpinned(flow) => self.unpin(flow),
            News::Heard(_) if self.heard_count >= HEARD_COUNT_MAX => return false,
            news => {
                self.heard_count += usize::from(matches!(news, News::Heard(_)));
                self.news.push_back(news);
            }
        }
        true
    }

    fn unpin(&mut self, flow: FlowKey) {
        let is_news = matches!(self.pins.get(&flow), Some(Some(_)));
        if is_news && !self.known.contains(&self.hasher.hash_one(flow)) {
            self.pins.remove(&flow);
        } else {
            self.pins.insert(flow, None);
        }
    }

    /// The core knows of a pin, or of none, by itself.
    fn note_pin(&mut self, flow: &FlowKey, is_pinned: bool) {
        let hash = self.hasher.hash_one(flow);
        if is_pinned {
            self.known.insert(hash);
        } else {
            self.known.remove(&hash);
        }
    }

    /// What to take: first the pins, which hold for all that comes after them.
    fn take(&mut self) -> VecDeque<News> {
        self.heard_count = 0;
        let mut others = mem::take(&mut self.news);
        if self.pins.is_empty() {
            return others;
        }
        let mut news = VecDeque::with_capacity(self.pins.len() + others.len());
        for (flow, core) in mem::take(&mut self.pins) {
            self.note_pin(&flow, core.is_some());
            news.push_back(core.map_or(News::Unpinned(flow), |core| News::Pinned(flow, core)));
        }
        news.append(&mut others);
        news
    }
}

/// How frames are spread over the shards.
#[derive(Debug, Clone)]
pub(super) struct Spread {
    pub(super) rss: Rss,
    /// Whether the NIC does it, one queue for each shard.
    pub(super) is_sorted: bool,
}

/// A queue pair that others send through, and how the stack on it behaves: as theirs have to.
#[derive(Debug, Clone)]
pub(super) struct Uplink {
    pub(super) caps: Caps,
    pub(super) mac: [u8; 6],
    pub(super) config: Config,
}

#[derive(Debug)]
pub(super) struct Fabric {
    members: Box<[Shared]>,
    spread: OnceLock<Spread>,
    pub(super) policy: AcceptPolicy,
}

/// What the others know of a shard.
#[derive(Debug, Default)]
struct Shared {
    inbox: Tray<Inbox>,
    /// News of neighbours that there was no room for.
    unheard: AtomicU64,
    wake: OnceLock<Handle>,
    uplink: OnceLock<Uplink>,
    /// Its connections, as of its last turn.
    load: AtomicUsize,
    /// Connections on their way to it.
    dealt_count: AtomicUsize,
}

impl Fabric {
    pub(super) fn cores(&self) -> usize {
        self.members.len()
    }

    /// How frames are spread: as the first that is asked says.
    pub(super) fn spread(&self, first: impl FnOnce() -> Spread) -> &Spread {
        self.spread.get_or_init(first)
    }

    /// Tells a core something, and wakes it if it sleeps. Returns whether it has not ended.
    pub(super) fn tell(&self, core: usize, news: News) -> bool {
        let member = &self.members[core];
        let is_dealt = matches!(news, News::Adopt(..));
        let refused = member.inbox.put(|inbox| {
            if inbox.is_closed {
                return Some(news);
            }
            if is_dealt {
                member.dealt_count.fetch_add(1, Ordering::Relaxed);
            }
            if !inbox.push(news) {
                member.unheard.fetch_add(1, Ordering::Relaxed);
            }
            None
        });
        // What is dropped here answers to whoever waits, with nothing locked.
        let is_told = refused.is_none();
        drop(refused);
        if is_told {
            self.wake(core);
        }
        is_told
    }

    /// The core ends, and takes nothing more.
    pub(super) fn close(&self, core: usize) {
        let member = &self.members[core];
        let untaken = member.inbox.take(|inbox| {
            member.dealt_count.store(usize::MAX, Ordering::Relaxed);
            mem::replace(inbox, Inbox { is_closed: true, ..Inbox::default() })
        });
        // It answers to whoever waits, with nothing locked.
        drop(untaken);
    }

    /// Whether a core has no connections that it could tell of: none at all, for it has not begun to turn, or has ended.
    pub(super) fn is_absent(&self, core: usize) -> bool {
        self.load(core) == 0 || self.members[core].inbox.with(|inbox| inbox.is_closed)
    }

    /// Wakes a core that sleeps, after something was written at which it looks before.
    pub(super) fn wake(&self, core: usize) {
        // One that has not started yet looks when it does.
        if let Some(handle) = self.members[core].wake.get() {
            handle.notify();
        }
    }

    #[inline]
    pub(super) fn has_news(&self, core: usize) -> bool {
        !self.members[core].inbox.is_empty()
    }

    /// Takes what a core was told.
    pub(super) fn news(&self, core: usize) -> VecDeque<News> {
        let member = &self.members[core];
        member.inbox.take(|inbox| {
            member.dealt_count.store(0, Ordering::Relaxed);
            inbox.take()
        })
    }

    /// A core has pinned a flow to another, or let go of it, of which it is not told.
    pub(super) fn note_pin(&self, core: usize, flow: &FlowKey, is_pinned: bool) {
        self.members[core].inbox.with(|inbox| inbox.note_pin(flow, is_pinned));
    }

    /// Whether a core takes in the connections that it is dealt.
    pub(super) fn has_room(&self, core: usize) -> bool {
        self.members[core].dealt_count.load(Ordering::Relaxed) < DEALT_COUNT_MAX
    }

    /// News of neighbours that a core missed, because it did not listen for too long.
    pub(super) fn unheard(&self, core: usize) -> u64 {
        self.members[core].unheard.load(Ordering::Relaxed)
    }

    pub(super) fn wake_through(&self, core: usize, handle: &Handle) {
        // A core has one executor for life: a second handle would be the same.
        let _ = self.members[core].wake.set(handle.clone());
    }

    pub(super) fn set_uplink(&self, core: usize, uplink: Uplink) {
        let _ = self.members[core].uplink.set(uplink);
    }

    pub(super) fn uplink(&self, core: usize) -> io::Result<&Uplink> {
        let uplink = self.members[core].uplink.get();
        uplink.ok_or_else(|| io::Error::other(format!("core {core}, which has the queue, has not started")))
    }

    pub(super) fn set_load(&self, core: usize, count: usize) {
        self.members[core].load.store(count, Ordering::Relaxed);
    }

    /// Takes note of one more connection before its core does.
    pub(super) fn add_load(&self, core: usize) {
        self.members[core].load.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn load(&self, core: usize) -> usize {
        self.members[core].load.load(Ordering::Relaxed)
    }
}

/// A shard's place among the others, on its way to its thread.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(super) core: usize,
    pub(super) fabric: Arc<Fabric>,
    /// By the core at the other end; none to itself.
    pub(super) to: Vec<Option<Sender>>,
    pub(super) from: Vec<Option<Receiver>>,
    /// For a core without a queue pair: to the one through which it sends, which is that core.
    pub(super) uplink: Option<(usize, Sender<TxMeta>)>,
    /// From those that send through us.
    pub(super) downlinks: Vec<Receiver<TxMeta>>,
    /// Whether each core has a queue pair.
    pub(super) is_complete: bool,
}

/// A seat for each core, the first `queues` of which have a queue pair.
///
/// # Errors
/// If there are more cores than can be steered.
pub(super) fn seats(cores: usize, queues: usize, policy: AcceptPolicy) -> io::Result<Vec<Seat>> {
    if cores > CORES_MAX {
        let text = format!("{CORES_MAX} cores on one device are the limit, and {cores} are asked for");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let members = (0..cores).map(|_| Shared::default()).collect();
    let fabric = Arc::new(Fabric { members, spread: OnceLock::new(), policy });
    let none = |_| None;
    let seat = |core| Seat {
        core,
        fabric: Arc::clone(&fabric),
        to: (0..cores).map(none).collect(),
        from: Vec::new(),
        uplink: None,
        downlinks: Vec::new(),
        is_complete: queues >= cores,
    };
    let mut seats: Vec<Seat> = (0..cores).map(seat).collect();
    for from in 0..cores {
        for to in 0..cores {
            let (sender, receiver) = ring();
            let is_other = from != to;
            seats[from].to[to] = is_other.then_some(sender);
            seats[to].from.push(is_other.then_some(receiver));
        }
    }
    for core in queues..cores {
        let (sender, receiver) = ring();
        seats[core].uplink = Some((core % queues, sender));
        seats[core % queues].downlinks.push(receiver);
    }
    Ok(seats)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hayase_device::{Burst, Device, Frame, TxMeta};
    use hayase_stack::{Instant, Stack};
    use hayase_wire::{Wire, WireConfig};

    use crate::steering::table::Kind;

    const SERVICE: Service = Service { kind: Kind::Tcp, number: 80 };

    fn flow(number: u32) -> FlowKey {
        let source = (std::net::Ipv4Addr::from(number), 9).into();
        FlowKey { source, destination: ([10, 0, 0, 1], 80).into(), udp: false }
    }

    /// What a stack hears of a neighbour that asks for it.
    fn hearsay() -> Hearsay {
        let (mut device, mut far) = Wire::pair(WireConfig::default());
        let now = Instant::from_millis(1);
        let mut stack = Stack::new(Config::default(), device.caps(), device.mac(), [1; 32], now);
        stack.add_address("10.0.0.1/24".parse().unwrap()).unwrap();
        stack.share_neighbors();
        let mut question = vec![0xff; 6];
        question.extend([2, 0, 0, 0, 0, 9, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        question.extend([2, 0, 0, 0, 0, 9, 10, 0, 0, 9, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1]);
        let mut frame = far.alloc(question.len()).unwrap();
        frame.extend(question.len()).unwrap().copy_from_slice(&question);
        far.transmit(frame, TxMeta::default());
        far.flush();
        let mut burst = Burst::new(4);
        device.receive(&mut burst);
        stack.receive(now, &mut burst, &mut device);
        stack.take_heard().pop().expect("a neighbour spoke")
    }

    /// A flood on the link while a core does not listen takes no more memory than so much, and keeps nothing else out.
    #[test]
    fn what_is_heard_of_neighbours_is_bounded_and_other_news_are_not() {
        let seats = seats(2, 2, AcceptPolicy::default()).unwrap();
        let (fabric, hearsay) = (&seats[0].fabric, hearsay());
        for round in 1..=2 {
            assert!((0..HEARD_COUNT_MAX + 500).all(|_| fabric.tell(1, News::Heard(hearsay))));
            fabric.tell(1, News::Closed(SERVICE, 0));
            let news = fabric.news(1);
            assert_eq!((news.len(), fabric.unheard(1)), (HEARD_COUNT_MAX + 1, 500 * round));
            assert!(matches!(news.back(), Some(News::Closed(..))));
        }
        assert_eq!((fabric.news(1).len(), fabric.unheard(0)), (0, 0));
    }

    fn pins(fabric: &Fabric, core: usize) -> Vec<(FlowKey, Option<usize>)> {
        let pin = |news| match news {
            News::Pinned(flow, core) => (flow, Some(core)),
            News::Unpinned(flow) => (flow, None),
            news => panic!("{news:?}"),
        };
        fabric.news(core).into_iter().map(pin).collect()
    }

    /// Each connection that is dealt, and ends, is pinned and unpinned everywhere: also where nobody listens.
    #[test]
    fn connections_that_came_and_went_leave_nothing_with_a_core_that_does_not_listen() {
        let seats = seats(2, 2, AcceptPolicy::RoundRobin).unwrap();
        let fabric = &seats[0].fabric;
        fabric.tell(1, News::Pinned(flow(0), 0));
        for number in 1..=100_000 {
            fabric.tell(1, News::Pinned(flow(number), 0));
            fabric.tell(1, News::Unpinned(flow(number)));
        }
        let held = |inbox: &mut Inbox| (inbox.pins.len(), inbox.news.len(), inbox.known.len());
        assert_eq!(fabric.members[1].inbox.with(held), (1, 0, 0));
        assert_eq!(pins(fabric, 1), [(flow(0), Some(0))]);
    }

    #[test]
    fn a_core_hears_of_the_end_of_every_pin_that_it_has() {
        let seats = seats(3, 3, AcceptPolicy::Local).unwrap();
        let fabric = &seats[0].fabric;
        fabric.tell(1, News::Pinned(flow(1), 0));
        assert_eq!(pins(fabric, 1), [(flow(1), Some(0))]);
        // It has moved on, and ended there; and so has one that was sent from here.
        fabric.tell(1, News::Pinned(flow(1), 2));
        fabric.tell(1, News::Unpinned(flow(1)));
        assert_eq!(pins(fabric, 1), [(flow(1), None)]);
        fabric.note_pin(1, &flow(2), true);
        fabric.tell(1, News::Pinned(flow(2), 0));
        fabric.tell(1, News::Unpinned(flow(2)));
        assert_eq!(pins(fabric, 1), [(flow(2), None)]);
        assert!(fabric.members[1].inbox.with(|inbox| inbox.known.is_empty()));
        // One that came back, and was let go of here.
        fabric.note_pin(1, &flow(3), true);
        fabric.note_pin(1, &flow(3), false);
        assert!(fabric.members[1].inbox.with(|inbox| inbox.known.is_empty()));
    }

    /// What holds for a connection is known before it comes.
    #[test]
    fn pins_come_before_everything_else() {
        let seats = seats(2, 2, AcceptPolicy::Local).unwrap();
        let fabric = &seats[0].fabric;
        fabric.tell(1, News::Ready(SERVICE, 0));
        fabric.tell(1, News::Pinned(flow(1), 0));
        let news = fabric.news(1);
        assert!(matches!(news.front(), Some(News::Pinned(..))) && news.len() == 2, "{news:?}");
    }
}

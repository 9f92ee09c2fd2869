//! What the shards of a host share: how to reach each other. Nobody looks at it on the path of a frame.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use hayase_device::{Caps, FlowKey, Rss, TxMeta};
use hayase_executor::Handle;
use hayase_stack::{Hearsay, Migrant};

use super::CORES_MAX;
use super::policy::AcceptPolicy;
use super::reply::Reply;
use super::ring::{Receiver, Sender, ring};
use super::setting::Setting;
use super::table::Service;

/// What one shard tells another.
#[derive(Debug)]
pub(super) enum News {
    /// A core is about to have a socket there. Whoever has connections at the port pins those whose home would change,
    /// and answers [`Ready`](News::Ready).
    Joining(Service, usize),
    /// One of those that were asked is ready.
    Ready(Service),
    /// A core has a socket there.
    Opened(Service, usize),
    /// It has no more.
    Closed(Service, usize),
    /// A connection is at this core, whatever the rest says.
    Pinned(FlowKey, usize),
    /// It is no more.
    Unpinned(FlowKey),
    /// A neighbour spoke.
    Heard(Hearsay),
    /// An address or a route changed.
    Setting(Setting),
    /// A connection is yours now. Without a reply, it is for the listener at its address.
    Adopt(Box<Migrant>, Option<Reply>),
}

/// How frames are spread over the shards.
#[derive(Debug, Clone)]
pub(super) struct Spread {
    pub(super) rss: Rss,
    /// Whether the NIC does it, one queue for each shard.
    pub(super) is_sorted: bool,
}

/// A queue pair that others send through.
#[derive(Debug, Clone, Copy)]
pub(super) struct Uplink {
    pub(super) caps: Caps,
    pub(super) mac: [u8; 6],
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
    news: Mutex<VecDeque<News>>,
    /// Whether there are any, so that a turn needs no lock to find out that there are none.
    has_news: AtomicBool,
    wake: OnceLock<Handle>,
    uplink: OnceLock<Uplink>,
    /// Its connections, as of its last turn.
    load: AtomicUsize,
}

/// A queue of plain values is whole whatever happened to the thread that held its lock.
fn lock(news: &Mutex<VecDeque<News>>) -> MutexGuard<'_, VecDeque<News>> {
    news.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fabric {
    pub(super) fn cores(&self) -> usize {
        self.members.len()
    }

    /// How frames are spread: as the first that is asked says.
    pub(super) fn spread(&self, first: impl FnOnce() -> Spread) -> &Spread {
        self.spread.get_or_init(first)
    }

    /// Tells a core something, and wakes it if it sleeps.
    pub(super) fn tell(&self, core: usize, news: News) {
        let member = &self.members[core];
        let mut queue = lock(&member.news);
        queue.push_back(news);
        member.has_news.store(true, Ordering::Relaxed);
        drop(queue);
        self.wake(core);
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
        self.members[core].has_news.load(Ordering::Relaxed)
    }

    /// Takes what a core was told.
    pub(super) fn news(&self, core: usize) -> VecDeque<News> {
        let member = &self.members[core];
        let mut queue = lock(&member.news);
        member.has_news.store(false, Ordering::Relaxed);
        std::mem::take(&mut queue)
    }

    pub(super) fn wake_through(&self, core: usize, handle: &Handle) {
        // A core has one executor for life: a second handle would be the same.
        let _ = self.members[core].wake.set(handle.clone());
    }

    pub(super) fn set_uplink(&self, core: usize, uplink: Uplink) {
        let _ = self.members[core].uplink.set(uplink);
    }

    pub(super) fn uplink(&self, core: usize) -> io::Result<Uplink> {
        let uplink = self.members[core].uplink.get().copied();
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

//! Who waits for which socket.
//!
//! Two kinds of waiters, as in tokio. A `poll_*` function has one waiter per socket and direction, the last
//! that asked, in a table indexed by the socket: 16 bytes a socket for both directions. (A task that reads from a
//! connection leaves its name there instead, unless others wait as well.) An async
//! method on `&self` may be called by many tasks at once: each gets a [`Ticket`], which its future hands
//! back when it is dropped, so that no waker outlives its future.
//!
//! The tasks of our executor are kept by their names ([`TaskWaker`]): nothing is cloned or dropped, and a wake is a push
//! into a queue, whatever is borrowed. Calling, cloning and dropping any other [`Waker`] can run foreign code, which may
//! come back to this very shard. So none of these is done here: such wakers come in cloned and go out to be called or
//! dropped, while nothing is borrowed.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::task::{Poll, Waker};

use hayase_device::hint::{likely, unlikely};
use hayase_executor::TaskWaker;
use hayase_stack::{EchoId, ListenerId, Ready, Socket, TcpId, UdpId};

/// Calls that are answered at once, where they could have waited, before one is put off: a task for which there is always
/// something would let no other run, and no timer expire. As many as tokio's tasks have.
pub(crate) const READY_COUNT_MAX: usize = 128;

/// Calls that were answered at once since one was put off.
#[derive(Debug, Default)]
pub(crate) struct Answers(Cell<usize>);

impl Answers {
    /// Polls, or puts off where [`READY_COUNT_MAX`] calls were answered: the task is woken at once, behind all others. Who only
    /// tries would not come back, and never has to.
    #[inline]
    pub(crate) fn poll<T>(&self, waker: Option<&Waker>, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
        let Some(waker) = waker else { return poll() };
        if self.0.get() == READY_COUNT_MAX {
            self.0.set(0);
            waker.wake_by_ref();
            return Poll::Pending;
        }
        let polled = poll();
        self.0.set(self.0.get() + usize::from(polled.is_ready()));
        polled
    }
}

/// A direction of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// Data, connections or datagrams come in.
    Read,
    /// There is room to send, or the handshake is over.
    Write,
}

/// The name of one waiting future among several.
pub(crate) type Ticket = Option<NonZeroU64>;

/// Whom to wake when what was asked for becomes possible: nobody, if the caller only tries; the task that drives this
/// direction, which takes the place of the one before; or one of several futures, if there is a ticket.
#[derive(Debug)]
pub(crate) struct Notify<'a> {
    waker: Option<&'a Waker>,
    ticket: Option<&'a mut Ticket>,
}

impl<'a> Notify<'a> {
    pub(crate) const NEVER: Notify<'static> = Notify { waker: None, ticket: None };

    #[inline(always)]
    pub(crate) fn last(waker: &'a Waker) -> Notify<'a> {
        Notify { waker: Some(waker), ticket: None }
    }

    #[inline(always)]
    pub(crate) fn each(waker: &'a Waker, ticket: &'a mut Ticket) -> Notify<'a> {
        Notify { waker: Some(waker), ticket: Some(ticket) }
    }

    #[inline(always)]
    pub(crate) fn waker(&self) -> Option<&'a Waker> {
        self.waker
    }

    /// Whether it takes the place of the one before.
    pub(crate) fn is_last(&self) -> bool {
        self.ticket.is_none()
    }

    /// The task that drives this direction, if it is one of our executor.
    #[inline(always)]
    pub(crate) fn last_task(&self) -> Option<TaskWaker> {
        if self.ticket.is_some() { None } else { self.waker.and_then(TaskWaker::of) }
    }

    /// What is kept of the waiter. It may clone a waker, and so is called while nothing is borrowed.
    #[inline(always)]
    pub(crate) fn keep(&self) -> Option<Kept> {
        let waker = self.waker?;
        Some(TaskWaker::of(waker).map_or_else(|| Kept::Other(waker.clone()), Kept::Task))
    }
}

/// Whom to wake.
#[derive(Debug)]
pub(crate) enum Kept {
    /// A task of an executor of ours.
    Task(TaskWaker),
    /// Anything else.
    Other(Waker),
}

impl Kept {
    fn wake(self, wake: &mut dyn FnMut(TaskWaker), woken: &mut Vec<Waker>) {
        match self {
            Kept::Task(task) => wake(task),
            Kept::Other(waker) => woken.push(waker),
        }
    }

    /// What can run foreign code when it is dropped.
    fn other(self) -> Option<Waker> {
        match self {
            Kept::Task(_) => None,
            Kept::Other(waker) => Some(waker),
        }
    }
}

/// The wakers of a shard.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    tcp: Table,
    listener: Table,
    udp: Table,
    echo: Table,
    others: Others,
    /// Instead of waiters, a list of what changed: for a shard that serves other threads.
    changed: Option<Vec<(Socket, Ready)>>,
    /// The last ticket that was given out. 2^64 of them last for centuries.
    ticket: u64,
}

/// The waiters for one kind of socket.
#[derive(Debug, Default)]
pub(crate) struct Table {
    last: Vec<[Last; 2]>,
    each: BTreeMap<(u32, Side), Vec<(NonZeroU64, Kept)>>,
}

/// Who waits for one direction of a socket: 0 is nobody, another number without [`OTHER`] a task, and one with it the
/// place of a waker among the [`Others`].
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Last(u64);

/// No task's number has this bit.
const OTHER: u64 = 1 << 63;

/// Wakers that are not of tasks of ours.
#[derive(Debug, Default)]
pub(crate) struct Others {
    places: Vec<Option<Waker>>,
    vacant: Vec<u32>,
    /// Those that are to be called as soon as nothing is borrowed.
    woken: Vec<Waker>,
}

impl Others {
    fn insert(&mut self, waker: Waker) -> Last {
        let place = self.vacant.pop().unwrap_or(self.places.len() as u32);
        match self.places.get_mut(place as usize) {
            Some(vacant) => *vacant = Some(waker),
            None => self.places.push(Some(waker)),
        }
        Last(OTHER | u64::from(place))
    }

    fn remove(&mut self, last: Last) -> Option<Waker> {
        let place = last.0 as u32;
        let waker = self.places.get_mut(place as usize)?.take()?;
        self.vacant.push(place);
        Some(waker)
    }

    /// Wakes a waiter that was taken out of a table, or lists it among the woken.
    #[inline(always)]
    fn wake(&mut self, last: Last, wake: impl FnOnce(TaskWaker)) {
        match NonZeroU64::new(last.0) {
            None => {}
            Some(bits) if last.0 & OTHER == 0 => wake(TaskWaker::from_bits(bits)),
            Some(_) => self.wake_other(last),
        }
    }

    #[inline(never)]
    fn wake_other(&mut self, last: Last) {
        let waker = self.remove(last);
        self.woken.extend(waker);
    }

    /// What is left of a waiter that waits no more, and can run foreign code when it is dropped.
    #[inline(always)]
    fn forget(&mut self, last: Last) -> Option<Waker> {
        if last.0 & OTHER == 0 { None } else { self.remove(last) }
    }
}

/// The tables of a shard, by what they are the tables of.
pub(crate) trait WaitsIn: Copy {
    fn table(wakers: &mut Wakers) -> (&mut Table, &mut Others);
    fn index(self) -> u32;
    /// The connection, if it is one.
    fn connection(self) -> Option<TcpId> {
        None
    }
}

macro_rules! waits_in {
    ($($id:ty => $table:ident $({ $connection:item })?),*) => {
        $(impl WaitsIn for $id {
            #[inline]
            fn table(wakers: &mut Wakers) -> (&mut Table, &mut Others) {
                (&mut wakers.$table, &mut wakers.others)
            }

            #[inline]
            fn index(self) -> u32 {
                self.index
            }

            $($connection)?
        })*
    };
}

waits_in!(
    TcpId => tcp {
        fn connection(self) -> Option<TcpId> {
            Some(self)
        }
    },
    ListenerId => listener,
    UdpId => udp,
    EchoId => echo
);

impl Wakers {
    /// Registers a waiter and returns the waker that it replaces.
    #[inline(always)]
    #[must_use = "dropping a waker can run foreign code: drop it while nothing is borrowed"]
    pub(crate) fn insert<I: WaitsIn>(
        &mut self,
        id: I,
        side: Side,
        notify: Notify<'_>,
        kept: Kept,
    ) -> Option<Waker> {
        if let Some(ticket) = notify.ticket {
            let ticket = self.ticket(ticket);
            return I::table(self).0.insert_each(id.index(), side, ticket, kept);
        }
        let (table, others) = I::table(self);
        let last = match kept {
            Kept::Task(task) => Last(task.to_bits().get()),
            Kept::Other(waker) => others.insert(waker),
        };
        let before = std::mem::replace(table.last_mut(id.index(), side), last);
        others.forget(before)
    }

    /// The ticket that the future has, or a new one.
    fn ticket(&mut self, ticket: &mut Ticket) -> NonZeroU64 {
        *ticket.get_or_insert_with(|| {
            self.ticket += 1;
            NonZeroU64::new(self.ticket).unwrap_or(NonZeroU64::MAX)
        })
    }

    /// Takes out a future that waits no more.
    #[must_use = "dropping a waker can run foreign code: drop it while nothing is borrowed"]
    pub(crate) fn forget(&mut self, socket: Socket, side: Side, ticket: NonZeroU64) -> Option<Waker> {
        let (table, index, _) = self.table(socket);
        let waiters = table.each.get_mut(&(index, side))?;
        let position = waiters.iter().position(|(known, _)| *known == ticket)?;
        waiters.swap_remove(position).1.other()
    }

    /// Whether nobody but the driver of each direction, if it has one, waits for connections.
    #[inline]
    pub(crate) fn is_driven(&self) -> bool {
        self.changed.is_none() && self.tcp.each.is_empty()
    }

    /// Where that is so, everybody is to be woken who waits for this connection: tasks by `wake`, others when
    /// [`woken`](Self::woken) tells who they are.
    #[inline(always)]
    pub(crate) fn wake_drivers(&mut self, id: TcpId, ready: Ready, mut wake: impl FnMut(TaskWaker)) {
        if likely(ready.wakes_reader()) {
            self.others.wake(self.tcp.take(id.index, Side::Read), &mut wake);
        }
        if unlikely(ready.wakes_writer()) {
            self.others.wake(self.tcp.take(id.index, Side::Write), &mut wake);
        }
    }

    /// The same of any socket, whoever waits.
    #[inline]
    pub(crate) fn wake(&mut self, socket: Socket, ready: Ready, mut wake: impl FnMut(TaskWaker)) {
        self.wake_any(socket, ready, &mut wake);
    }

    #[inline(never)]
    fn wake_any(&mut self, socket: Socket, ready: Ready, wake: &mut dyn FnMut(TaskWaker)) {
        if let Some(changed) = &mut self.changed {
            return changed.push((socket, ready));
        }
        let (table, index, others) = self.table(socket);
        if ready.wakes_reader() {
            table.wake(index, Side::Read, others, wake);
        }
        if ready.wakes_writer() {
            table.wake(index, Side::Write, others, wake);
        }
    }

    /// From now on nobody waits here: what changes is listed, for [`changed`](Self::changed).
    pub(crate) fn list_changes(&mut self) {
        self.changed.get_or_insert_default();
    }

    /// Moves the sockets that changed into `list`.
    pub(crate) fn changed(&mut self, list: &mut Vec<(Socket, Ready)>) {
        list.append(self.changed.get_or_insert_default());
    }

    /// The wakers that are to be called while nothing is borrowed, if there are any.
    #[inline]
    #[must_use = "these are still to be woken"]
    pub(crate) fn woken(&mut self) -> Option<Vec<Waker>> {
        if self.others.woken.is_empty() { None } else { Some(std::mem::take(&mut self.others.woken)) }
    }

    /// Wakes everybody who waits for anything. The wakers that are returned are to be called.
    #[must_use = "these are still to be woken"]
    pub(crate) fn wake_all(&mut self) -> Vec<Waker> {
        for table in [&mut self.tcp, &mut self.listener, &mut self.udp, &mut self.echo] {
            let Table { last, each } = std::mem::take(table);
            last.into_iter().flatten().for_each(|last| self.others.wake(last, TaskWaker::wake));
            let each = each.into_values().flatten();
            each.for_each(|(_, kept)| kept.wake(&mut TaskWaker::wake, &mut self.others.woken));
        }
        self.woken().unwrap_or_default()
    }

    /// Wakes everybody who waits for a socket. The wakers that are returned are to be called.
    #[must_use = "these are still to be woken"]
    pub(crate) fn wake_waiters(&mut self, socket: Socket) -> Vec<Waker> {
        self.wake_any(socket, Ready::READABLE | Ready::WRITABLE, &mut TaskWaker::wake);
        self.woken().unwrap_or_default()
    }

    /// Takes the emptied list back, for its memory.
    #[inline]
    pub(crate) fn recycle(&mut self, emptied: Vec<Waker>) {
        if self.others.woken.is_empty() {
            self.others.woken = emptied;
        }
    }

    /// Takes out everybody who waits for a socket that closes.
    #[must_use = "dropping a waker can run foreign code: drop it while nothing is borrowed"]
    pub(crate) fn close(&mut self, socket: Socket) -> Vec<Waker> {
        let mut removed = Vec::new();
        let (table, index, others) = self.table(socket);
        for side in [Side::Read, Side::Write] {
            removed.extend(others.forget(table.take(index, side)));
            if !table.each.is_empty() {
                let each = table.each.remove(&(index, side));
                removed.extend(each.into_iter().flatten().filter_map(|(_, kept)| kept.other()));
            }
        }
        removed
    }

    /// The table and the place in it of a socket, and the wakers beside the tables.
    #[inline(always)]
    fn table(&mut self, socket: Socket) -> (&mut Table, u32, &mut Others) {
        match socket {
            Socket::Tcp(id) => (&mut self.tcp, id.index, &mut self.others),
            Socket::Listener(id) => (&mut self.listener, id.index, &mut self.others),
            Socket::Udp(id) => (&mut self.udp, id.index, &mut self.others),
            Socket::Echo(id) => (&mut self.echo, id.index, &mut self.others),
        }
    }
}

impl Table {
    #[inline]
    fn last_mut(&mut self, index: u32, side: Side) -> &mut Last {
        let index = index as usize;
        if index >= self.last.len() {
            return self.grow(index, side);
        }
        &mut self.last[index][side as usize]
    }

    #[cold]
    fn grow(&mut self, index: usize, side: Side) -> &mut Last {
        if index >= self.last.capacity() {
            // By an eighth: doubling would leave half of it unused, and a host may have a million sockets.
            self.last.reserve_exact(index + 1 + index / 8 - self.last.len());
        }
        self.last.resize_with(index + 1, Default::default);
        &mut self.last[index][side as usize]
    }

    #[inline(never)]
    fn insert_each(&mut self, index: u32, side: Side, ticket: NonZeroU64, kept: Kept) -> Option<Waker> {
        let waiters = self.each.entry((index, side)).or_default();
        if let Some((_, known)) = waiters.iter_mut().find(|(known, _)| *known == ticket) {
            return std::mem::replace(known, kept).other();
        }
        waiters.push((ticket, kept));
        None
    }

    /// Takes out the last waiter.
    #[inline(always)]
    fn take(&mut self, index: u32, side: Side) -> Last {
        let last = self.last.get_mut(index as usize).map(|sides| &mut sides[side as usize]);
        last.map(std::mem::take).unwrap_or_default()
    }

    #[inline(always)]
    fn wake(&mut self, index: u32, side: Side, others: &mut Others, wake: &mut dyn FnMut(TaskWaker)) {
        others.wake(self.take(index, side), &mut *wake);
        // The empty list stays, with its memory, for the next wait.
        if let Some(waiters) = self.each.get_mut(&(index, side)) {
            waiters.drain(..).for_each(|(_, kept)| kept.wake(wake, &mut others.woken));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};
    use std::future::poll_fn;
    use std::rc::Rc;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Poll, Wake};

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counter() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (Arc::clone(&count), Waker::from(count))
    }

    fn kept(waker: &Waker) -> Kept {
        Notify::last(waker).keep().unwrap()
    }

    const ID: TcpId = TcpId { index: 5, generation: 1 };
    const SOCKET: Socket = Socket::Tcp(ID);

    fn wake(wakers: &mut Wakers, ready: Ready) -> usize {
        wakers.wake(SOCKET, ready, TaskWaker::wake);
        let woken = wakers.woken().unwrap_or_default();
        let count = woken.len();
        woken.into_iter().for_each(Waker::wake);
        count
    }

    #[test]
    fn the_last_waiter_replaces_the_one_before() {
        let mut wakers = Wakers::default();
        let ((a, a_waker), (b, b_waker)) = (counter(), counter());
        assert!(wakers.insert(ID, Side::Read, Notify::last(&a_waker), kept(&a_waker)).is_none());
        let replaced = wakers.insert(ID, Side::Read, Notify::last(&b_waker), kept(&b_waker));
        assert!(replaced.is_some_and(|waker| waker.will_wake(&a_waker)));
        assert_eq!(wake(&mut wakers, Ready::WRITABLE), 0);
        assert_eq!(wake(&mut wakers, Ready::READ_CLOSED), 1);
        assert_eq!(wake(&mut wakers, Ready::READABLE), 0, "woken once");
        assert_eq!((a.0.load(Ordering::Relaxed), b.0.load(Ordering::Relaxed)), (0, 1));
    }

    #[test]
    fn every_ticket_is_woken_unless_forgotten() {
        let mut wakers = Wakers::default();
        let counters: Vec<_> = (0..3).map(|_| counter()).collect();
        let mut tickets = [None; 3];
        for ((_, waker), ticket) in counters.iter().zip(&mut tickets) {
            let notify = Notify::each(waker, ticket);
            assert!(wakers.insert(ID, Side::Write, notify, kept(waker)).is_none());
        }
        let (_, first) = &counters[0];
        let again = wakers.insert(ID, Side::Write, Notify::each(first, &mut tickets[0]), kept(first));
        assert!(again.is_some(), "one place for each ticket");
        assert!(wakers.forget(SOCKET, Side::Write, tickets[1].unwrap()).is_some());
        assert!(wakers.forget(SOCKET, Side::Write, tickets[1].unwrap()).is_none());
        assert_eq!(wake(&mut wakers, Ready::ERROR), 2);
        let woken: Vec<_> = counters.iter().map(|(count, _)| count.0.load(Ordering::Relaxed)).collect();
        assert_eq!(woken, [1, 0, 1]);
    }

    #[test]
    fn a_closed_socket_leaves_nothing_behind() {
        let mut wakers = Wakers::default();
        let (_, waker) = counter();
        let mut ticket = None;
        let _ = wakers.insert(ID, Side::Read, Notify::last(&waker), kept(&waker));
        let _ = wakers.insert(ID, Side::Write, Notify::each(&waker, &mut ticket), kept(&waker));
        assert_eq!(wakers.close(SOCKET).len(), 2);
        assert!(wakers.tcp.each.is_empty());
        assert_eq!(wake(&mut wakers, Ready::READABLE | Ready::WRITABLE), 0);
    }

    #[test]
    fn both_directions_of_a_socket_take_16_bytes() {
        assert_eq!(size_of::<[Last; 2]>(), 16);
    }

    #[test]
    fn places_of_foreign_wakers_are_used_again() {
        let mut wakers = Wakers::default();
        let (count, waker) = counter();
        for round in 1..=3 {
            for index in 0..4 {
                let id = TcpId { index, generation: 1 };
                assert!(wakers.insert(id, Side::Read, Notify::last(&waker), kept(&waker)).is_none());
            }
            for index in 0..4 {
                let socket = Socket::Tcp(TcpId { index, generation: 1 });
                wakers.wake(socket, Ready::READABLE, |_| panic!("it is foreign"));
            }
            wakers.woken().unwrap().into_iter().for_each(Waker::wake);
            assert_eq!((count.0.load(Ordering::Relaxed), wakers.others.places.len()), (4 * round, 4));
        }
    }

    #[test]
    fn tasks_are_kept_by_name_and_woken_at_once() {
        let (wakers, polls) = (RefCell::new(Wakers::default()), Cell::new(0));
        let executor = hayase_executor::Executor::new().unwrap();
        let shared = Rc::new((wakers, polls));
        drop(executor.spawn({
            let shared = Rc::clone(&shared);
            poll_fn(move |cx| {
                let (wakers, polls) = &*shared;
                polls.set(polls.get() + 1);
                let notify = Notify::last(cx.waker());
                let kept = notify.keep().unwrap();
                assert!(matches!(kept, Kept::Task(_)));
                assert!(wakers.borrow_mut().insert(ID, Side::Read, notify, kept).is_none());
                Poll::<()>::Pending
            })
        }));
        let (wakers, polls) = &*shared;
        assert!(executor.turn(&()).worked);
        for round in 2..4 {
            // Also from outside of the executor, with the table borrowed.
            assert_eq!(wake(&mut wakers.borrow_mut(), Ready::READABLE), 0);
            assert_eq!(wake(&mut wakers.borrow_mut(), Ready::READABLE), 0, "woken once");
            assert!(executor.turn(&()).worked && !executor.turn(&()).worked);
            assert_eq!(polls.get(), round);
        }
        assert!(wakers.borrow_mut().close(SOCKET).is_empty());
        assert_eq!(wake(&mut wakers.borrow_mut(), Ready::READABLE), 0);
        assert!(!executor.turn(&()).worked);
    }
}

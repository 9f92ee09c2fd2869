//! Who waits for which socket.
//!
//! Two kinds of waiters, as in tokio. A `poll_*` function has one waiter per socket and direction, the last
//! that asked: one [`Waker`] in a table indexed by the socket, 32 bytes a socket for both directions. An async
//! method on `&self` may be called by many tasks at once: each gets a [`Ticket`], which its future hands
//! back when it is dropped, so that no waker outlives its future.
//!
//! Cloning and dropping a waker can run foreign code, which may come back to this very shard. So neither is
//! done here: wakers come in cloned and go out to be dropped, while nothing is borrowed.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::task::Waker;

use hayase_stack::{EchoId, ListenerId, Ready, Socket, TcpId, UdpId};

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

/// Whom to wake when what was asked for becomes possible.
#[derive(Debug)]
pub(crate) enum Notify<'a> {
    /// Nobody: the caller only tries.
    Never,
    /// The task that drives this direction; it takes the place of the one before.
    Last(&'a Waker),
    /// One of several futures.
    Each(&'a Waker, &'a mut Ticket),
}

impl<'a> Notify<'a> {
    pub(crate) fn waker(&self) -> Option<&'a Waker> {
        match self {
            Notify::Never => None,
            Notify::Last(waker) | Notify::Each(waker, _) => Some(waker),
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
    /// Who is to be woken as soon as nothing is borrowed.
    woken: Vec<Waker>,
    /// Instead of waiters, a list of what changed: for a shard that serves other threads.
    changed: Option<Vec<(Socket, Ready)>>,
    /// The last ticket that was given out. 2^64 of them last for centuries.
    ticket: u64,
}

/// The wakers of one kind of socket.
#[derive(Debug, Default)]
pub(crate) struct Table {
    last: Vec<[Option<Waker>; 2]>,
    each: BTreeMap<(u32, Side), Vec<(NonZeroU64, Waker)>>,
}

/// The tables of a shard, by what they are the tables of.
pub(crate) trait WaitsIn {
    fn table(wakers: &mut Wakers) -> &mut Table;
    fn index(self) -> u32;
}

macro_rules! waits_in {
    ($($id:ty => $table:ident),*) => {
        $(impl WaitsIn for $id {
            #[inline]
            fn table(wakers: &mut Wakers) -> &mut Table {
                &mut wakers.$table
            }

            #[inline]
            fn index(self) -> u32 {
                self.index
            }
        })*
    };
}

waits_in!(TcpId => tcp, ListenerId => listener, UdpId => udp, EchoId => echo);

impl Wakers {
    /// Registers a waiter and returns the waker that it replaces.
    #[inline(always)]
    #[must_use = "dropping a waker can run foreign code: drop it while nothing is borrowed"]
    pub(crate) fn insert<I: WaitsIn>(
        &mut self,
        id: I,
        side: Side,
        notify: Notify<'_>,
        waker: Waker,
    ) -> Option<Waker> {
        match notify {
            Notify::Never => Some(waker),
            Notify::Last(_) => I::table(self).last_mut(id.index(), side).replace(waker),
            Notify::Each(_, ticket) => {
                let ticket = self.ticket(ticket);
                I::table(self).insert_each(id.index(), side, ticket, waker)
            }
        }
    }

    /// The ticket that the future has, or a new one.
    fn ticket(&mut self, ticket: &mut Ticket) -> NonZeroU64 {
        *ticket.get_or_insert_with(|| {
            self.ticket += 1;
            NonZeroU64::new(self.ticket).unwrap_or(NonZeroU64::MAX)
        })
    }

    /// Takes out the waker of a future that waits no more.
    #[must_use = "dropping a waker can run foreign code: drop it while nothing is borrowed"]
    pub(crate) fn forget(&mut self, socket: Socket, side: Side, ticket: NonZeroU64) -> Option<Waker> {
        let (table, index, _) = self.table(socket);
        let waiters = table.each.get_mut(&(index, side))?;
        let position = waiters.iter().position(|(known, _)| *known == ticket)?;
        Some(waiters.swap_remove(position).1)
    }

    /// Takes out the wakers of everybody who should look at this socket: [`woken`](Self::woken) hands them
    /// over.
    #[inline(always)]
    pub(crate) fn take(&mut self, socket: Socket, ready: Ready) {
        if let Some(changed) = &mut self.changed {
            return changed.push((socket, ready));
        }
        let (table, index, woken) = self.table(socket);
        if ready.wakes_reader() {
            table.take(index, Side::Read, woken);
        }
        if ready.wakes_writer() {
            table.take(index, Side::Write, woken);
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

    /// The wakers that were taken out, if there are any.
    #[inline]
    pub(crate) fn woken(&mut self) -> Option<Vec<Waker>> {
        if self.woken.is_empty() { None } else { Some(std::mem::take(&mut self.woken)) }
    }

    /// Everybody who waits for anything.
    pub(crate) fn take_all(&mut self) -> Vec<Waker> {
        let mut all = std::mem::take(&mut self.woken);
        for table in [&mut self.tcp, &mut self.listener, &mut self.udp, &mut self.echo] {
            let Table { last, each } = std::mem::take(table);
            all.extend(last.into_iter().flatten().flatten());
            all.extend(each.into_values().flatten().map(|(_, waker)| waker));
        }
        all
    }

    /// Takes the emptied list back, for its memory.
    #[inline]
    pub(crate) fn recycle(&mut self, emptied: Vec<Waker>) {
        if self.woken.is_empty() {
            self.woken = emptied;
        }
    }

    /// Takes every waker of a socket that closes.
    #[must_use = "dropping a waker can run foreign code: drop it while nothing is borrowed"]
    pub(crate) fn close(&mut self, socket: Socket) -> Vec<Waker> {
        let mut removed = Vec::new();
        let (table, index, _) = self.table(socket);
        for side in [Side::Read, Side::Write] {
            table.take(index, side, &mut removed);
            table.each.remove(&(index, side));
        }
        removed
    }

    /// The table and the place in it of a socket, and the list of the woken.
    #[inline(always)]
    fn table(&mut self, socket: Socket) -> (&mut Table, u32, &mut Vec<Waker>) {
        match socket {
            Socket::Tcp(id) => (&mut self.tcp, id.index, &mut self.woken),
            Socket::Listener(id) => (&mut self.listener, id.index, &mut self.woken),
            Socket::Udp(id) => (&mut self.udp, id.index, &mut self.woken),
            Socket::Echo(id) => (&mut self.echo, id.index, &mut self.woken),
        }
    }
}

impl Table {
    #[inline]
    fn last_mut(&mut self, index: u32, side: Side) -> &mut Option<Waker> {
        let index = index as usize;
        if index >= self.last.len() {
            self.grow(index);
        }
        &mut self.last[index][side as usize]
    }

    #[cold]
    fn grow(&mut self, index: usize) {
        self.last.resize_with(index + 1, Default::default);
    }

    #[inline(never)]
    fn insert_each(&mut self, index: u32, side: Side, ticket: NonZeroU64, waker: Waker) -> Option<Waker> {
        let waiters = self.each.entry((index, side)).or_default();
        if let Some((_, known)) = waiters.iter_mut().find(|(known, _)| *known == ticket) {
            return Some(std::mem::replace(known, waker));
        }
        waiters.push((ticket, waker));
        None
    }

    #[inline(always)]
    fn take(&mut self, index: u32, side: Side, woken: &mut Vec<Waker>) {
        if let Some(sides) = self.last.get_mut(index as usize)
            && let Some(waker) = sides[side as usize].take()
        {
            woken.push(waker);
        }
        if !self.each.is_empty() {
            self.take_each(index, side, woken);
        }
    }

    #[inline(never)]
    fn take_each(&mut self, index: u32, side: Side, woken: &mut Vec<Waker>) {
        // The empty list stays, with its memory, for the next wait.
        if let Some(waiters) = self.each.get_mut(&(index, side)) {
            woken.extend(waiters.drain(..).map(|(_, waker)| waker));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

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

    const ID: TcpId = TcpId { index: 5, generation: 1 };
    const SOCKET: Socket = Socket::Tcp(ID);

    fn wake(wakers: &mut Wakers, ready: Ready) -> usize {
        wakers.take(SOCKET, ready);
        let woken = wakers.woken().unwrap_or_default();
        let count = woken.len();
        woken.into_iter().for_each(Waker::wake);
        count
    }

    #[test]
    fn the_last_waiter_replaces_the_one_before() {
        let mut wakers = Wakers::default();
        let ((a, a_waker), (b, b_waker)) = (counter(), counter());
        assert!(wakers.insert(ID, Side::Read, Notify::Last(&a_waker), a_waker.clone()).is_none());
        let replaced = wakers.insert(ID, Side::Read, Notify::Last(&b_waker), b_waker.clone());
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
            let notify = Notify::Each(waker, ticket);
            assert!(wakers.insert(ID, Side::Write, notify, waker.clone()).is_none());
        }
        let (_, first) = &counters[0];
        let again = wakers.insert(ID, Side::Write, Notify::Each(first, &mut tickets[0]), first.clone());
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
        let _ = wakers.insert(ID, Side::Read, Notify::Last(&waker), waker.clone());
        let _ = wakers.insert(ID, Side::Write, Notify::Each(&waker, &mut ticket), waker.clone());
        assert_eq!(wakers.close(SOCKET).len(), 2);
        assert!(wakers.tcp.each.is_empty());
        assert_eq!(wake(&mut wakers, Ready::READABLE | Ready::WRITABLE), 0);
    }

    #[test]
    fn both_directions_of_a_socket_take_32_bytes() {
        assert_eq!(size_of::<[Option<Waker>; 2]>(), 32);
    }
}

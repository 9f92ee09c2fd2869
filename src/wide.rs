//! A socket where its host has several interfaces.
//!
//! One that is bound to an address is on the interface that has it. One that is bound to none in particular is a socket on
//! each interface: what comes in on any is taken, by turns, so that a busy one does not starve the others; what goes out
//! takes the nearest. All this ends with the choice of an interface: a connection, accepted or opened, is a socket of its
//! interface's shard and nothing else.

use std::future::poll_fn;
use std::io;
use std::mem::{self, ManuallyDrop};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Poll, Waker};

use hayase_stack::{Error, Ready};

use crate::door::{Door, Handle, ShardId, SocketId};
use crate::error::io_error;
use crate::host::Host;
use crate::io::Interest;
use crate::scope;
use crate::several;
use crate::wakers::{Notify, READY_COUNT_MAX, Side, Ticket};

/// How often a port that is free on the first interface is tried on the others.
const PORT_TRIES: usize = 64;

/// A socket, on one interface or on each.
#[derive(Debug)]
pub(crate) enum Wide<I: SocketId> {
    One(Handle<I>),
    Each(Box<Each<I>>),
}

/// Where something came in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) shard: ShardId,
}

impl Origin {
    /// The address of a peer there, by which it is reached from everywhere: a link-local one means nothing without its
    /// link.
    pub(crate) fn peer(self, peer: SocketAddr) -> SocketAddr {
        scope::outward(self.shard, peer)
    }
}

/// A socket on each interface of a host, in their order.
#[derive(Debug)]
pub(crate) struct Each<I: SocketId> {
    parts: Box<[Part<I>]>,
    /// Which part is asked first.
    next: AtomicUsize,
    /// Calls that were answered at once.
    ready_count: AtomicUsize,
    /// The places of the last task that polled, for each side.
    last: [Mutex<Vec<Ticket>>; 2],
}

#[derive(Debug)]
struct Part<I: SocketId> {
    /// Not dropped if it was closed: by then its name may be that of another socket.
    handle: ManuallyDrop<Handle<I>>,
    /// The socket is connected on another interface, and closed here.
    is_closed: AtomicBool,
}

impl<I: SocketId> Part<I> {
    fn is_open(&self) -> bool {
        !self.is_closed.load(Ordering::Relaxed)
    }

    /// A call that may have to wait. Another thread may close the part meanwhile: what that answers is nobody's error.
    #[inline]
    fn poll<T>(&self, op: impl FnOnce(&dyn Door, I) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match self.handle.poll(op) {
            Poll::Ready(Err(_)) if !self.is_open() => Poll::Pending,
            polled => polled,
        }
    }
}

impl<I: SocketId> Drop for Each<I> {
    fn drop(&mut self) {
        let parts = mem::take(&mut self.parts).into_iter();
        parts.filter(Part::is_open).for_each(|part| drop(ManuallyDrop::into_inner(part.handle)));
    }
}

/// Opening.
impl<I: SocketId> Wide<I> {
    /// Opens a socket at `local` of a host, which is asked of the interface that has the address, or of each. `local_addr`
    /// tells the address of one that is open: a port that is to be chosen is to be the same everywhere.
    pub(crate) fn bind(
        host: Host,
        local: SocketAddr,
        open: impl Fn(&dyn Door, SocketAddr) -> io::Result<I>,
        local_addr: impl Fn(&dyn Door, I) -> io::Result<SocketAddr>,
    ) -> io::Result<Wide<I>> {
        let Some(interfaces) = several::of(host.shard()) else {
            return host.open(|door| open(door, local)).map(Wide::One);
        };
        if let Some(host) = several::at(&interfaces, local)? {
            let local = scope::inward(host.shard(), local);
            return host.open(|door| open(door, local)).map(Wide::One);
        }
        let everywhere = || {
            let mut local = local;
            Wide::on_each(&interfaces, |host| {
                let handle = host.open(|door| open(door, local))?;
                local.set_port(handle.call(&local_addr)?.port());
                Ok(handle)
            })
        };
        let is_taken = |error: &io::Error| local.port() == 0 && error.kind() == io::ErrorKind::AddrInUse;
        for _ in 1..PORT_TRIES {
            match everywhere() {
                Err(error) if is_taken(&error) => {}
                result => return result,
            }
        }
        everywhere()
    }

    /// Opens a socket that needs no address, on each interface of a host.
    pub(crate) fn open(host: Host, open: impl Fn(&dyn Door) -> io::Result<I>) -> io::Result<Wide<I>> {
        match several::of(host.shard()) {
            Some(interfaces) => Wide::on_each(&interfaces, |host| host.open(&open)),
            None => host.open(open).map(Wide::One),
        }
    }

    fn on_each(
        interfaces: &[Host],
        mut open: impl FnMut(&Host) -> io::Result<Handle<I>>,
    ) -> io::Result<Wide<I>> {
        // With the first that fails, those that were opened are closed.
        let handles = interfaces.iter().map(&mut open).collect::<io::Result<Vec<_>>>()?;
        let part = |handle| Part { handle: ManuallyDrop::new(handle), is_closed: AtomicBool::new(false) };
        let parts = handles.into_iter().map(part).collect();
        let (next, ready_count) = Default::default();
        Ok(Wide::Each(Box::new(Each { parts, next, ready_count, last: Default::default() })))
    }
}

/// Using.
impl<I: SocketId> Wide<I> {
    /// The socket on one interface, for what is the same on all.
    pub(crate) fn any(&self) -> io::Result<&Handle<I>> {
        match self {
            Wide::One(handle) => Ok(handle),
            Wide::Each(each) => each.open_parts().next().map(|(_, part)| &*part.handle).ok_or_else(unusable),
        }
    }

    /// The socket on the interface that is nearest to `remote`, and what that is called there.
    pub(crate) fn towards(&self, remote: SocketAddr) -> io::Result<(&Handle<I>, SocketAddr)> {
        match self {
            Wide::One(handle) => Ok((handle, scope::inward_only(handle.shard(), remote)?)),
            // Connected, it is on one, too.
            Wide::Each(each) => {
                let handle = &*each.towards(remote)?.handle;
                Ok((handle, scope::inward_only(handle.shard(), remote)?))
            }
        }
    }

    /// An address of the socket, by which it is reached from everywhere.
    pub(crate) fn address(
        &self,
        of: impl Fn(&dyn Door, I) -> io::Result<SocketAddr>,
    ) -> io::Result<SocketAddr> {
        let handle = self.any()?;
        Ok(scope::outward(handle.shard(), handle.call(of)?))
    }

    /// Does something to the socket on every interface.
    pub(crate) fn for_all(&self, op: impl Fn(&dyn Door, I) -> io::Result<()>) -> io::Result<()> {
        match self {
            Wide::One(handle) => handle.call(op),
            Wide::Each(each) => each.open_parts().try_for_each(|(_, part)| match part.handle.call(&op) {
                Err(_) if !part.is_open() => Ok(()),
                result => result,
            }),
        }
    }

    /// Connects on the interface that is nearest to `remote`. From then on the socket is there, and nowhere else.
    pub(crate) fn connect(
        &self,
        remote: SocketAddr,
        connect: impl Fn(&dyn Door, I, SocketAddr) -> io::Result<()>,
    ) -> io::Result<()> {
        let connect = |handle: &Handle<I>| {
            let remote = scope::inward_only(handle.shard(), remote)?;
            handle.call(|door, id| connect(door, id, remote))
        };
        match self {
            Wide::One(handle) => connect(handle),
            Wide::Each(each) => {
                let chosen = each.towards(remote)?;
                connect(&chosen.handle)?;
                each.close_all_but(chosen)
            }
        }
    }

    /// The interface that gave the last answer is asked first again: what was shown of it is what is to be read next.
    pub(crate) fn stay_at(&self, origin: &Origin) {
        if let Wide::Each(each) = self
            && let Some(index) = each.parts.iter().position(|part| part.handle.shard() == origin.shard)
        {
            each.next.store(index, Ordering::Relaxed);
        }
    }

    /// What does not wait: [`io::ErrorKind::WouldBlock`] instead.
    #[inline]
    pub(crate) fn attempt<T>(
        &self,
        mut op: impl FnMut(&dyn Door, I, Notify<'_>) -> Poll<io::Result<T>>,
    ) -> io::Result<(Origin, T)> {
        let polled = match self {
            Wide::One(handle) => return handle.attempt(op).map(|value| (only(handle), value)),
            Wide::Each(each) => each.take(&mut op),
        };
        match polled {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// What may have to wait. Only the last task that polled this side is woken.
    #[inline]
    pub(crate) fn poll<T>(
        &self,
        side: Side,
        waker: &Waker,
        mut op: impl FnMut(&dyn Door, I, Notify<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<(Origin, T)>> {
        match self {
            Wide::One(handle) => {
                let polled = handle.poll(|door, id| op(door, id, Notify::last(waker)));
                polled.map_ok(|value| (only(handle), value))
            }
            Wide::Each(each) => each.poll_last(side, |places| each.poll_any(waker, places, &mut op)),
        }
    }

    /// Waits, as one of any number of tasks, until `op` has its answer.
    pub(crate) async fn wait<T>(
        &self,
        side: Side,
        mut op: impl FnMut(&dyn Door, I, Notify<'_>) -> Poll<io::Result<T>>,
    ) -> io::Result<(Origin, T)> {
        match self {
            Wide::One(handle) => Ok((only(handle), handle.wait(side, op).await?)),
            Wide::Each(each) => {
                let mut places = Places::new(each, side);
                poll_fn(|cx| each.poll_any(cx.waker(), &mut places, &mut op)).await
            }
        }
    }

    /// Waits, as one of any number of tasks, until the socket is ready for any of `interest`.
    pub(crate) async fn ready(&self, interest: Interest) -> io::Result<crate::io::Ready> {
        let each = match self {
            Wide::One(handle) => return handle.ready(interest).await,
            Wide::Each(each) => each,
        };
        let (mut read, mut write) = (Places::new(each, Side::Read), Places::new(each, Side::Write));
        poll_fn(|cx| {
            for (wanted, places) in
                [(interest.is_readable(), &mut read), (interest.is_writable(), &mut write)]
            {
                if wanted && let Poll::Ready(ready) = each.poll_ready(cx.waker(), places)? {
                    return Poll::Ready(Ok(crate::io::Ready::new(ready, interest)));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// The state of the socket, once that has anything to do with `side`. Only the last task that polled is woken.
    pub(crate) fn poll_ready(&self, side: Side, waker: &Waker) -> Poll<io::Result<Ready>> {
        match self {
            Wide::One(handle) => handle.poll_ready(side, Notify::last(waker)),
            Wide::Each(each) => each.poll_last(side, |places| each.poll_ready(waker, places)),
        }
    }
}

fn only<I: SocketId>(handle: &Handle<I>) -> Origin {
    Origin { shard: handle.shard() }
}

/// Two threads have connected one socket at the same time, each elsewhere.
#[cold]
fn unusable() -> io::Error {
    io_error(Error::NotConnected)
}

impl<I: SocketId> Each<I> {
    fn open_parts(&self) -> impl Iterator<Item = (usize, &Part<I>)> {
        self.parts.iter().enumerate().filter(|(_, part)| part.is_open())
    }

    fn origin(&self, index: usize) -> Origin {
        Origin { shard: self.parts[index].handle.shard() }
    }

    fn towards(&self, remote: SocketAddr) -> io::Result<&Part<I>> {
        if self.parts.iter().all(Part::is_open) {
            let hosts = self.parts.iter().map(|part| Host::new(part.handle.shard()));
            return Ok(&self.parts[several::nearest(hosts, remote)?]);
        }
        self.open_parts().next().map(|(_, part)| part).ok_or_else(unusable)
    }

    /// Whoever waits there is woken, to find the part closed.
    fn close_all_but(&self, chosen: &Part<I>) -> io::Result<()> {
        for part in self.parts.iter().filter(|part| !std::ptr::eq(*part, chosen)) {
            if !part.is_closed.swap(true, Ordering::Relaxed) {
                part.handle.call(|door, id| {
                    door.rouse(id.socket());
                    door.close(id.socket());
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    /// The first answer that there is now, from the part after the one that gave the last.
    fn take<T>(
        &self,
        op: &mut impl FnMut(&dyn Door, I, Notify<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<(Origin, T)>> {
        let (count, next) = (self.parts.len(), self.next.load(Ordering::Relaxed));
        for index in (next..next + count).map(|index| index % count) {
            let part = &self.parts[index];
            if part.is_open()
                && let Poll::Ready(result) = part.poll(|door, id| op(door, id, Notify::NEVER))
            {
                self.next.store((index + 1) % count, Ordering::Relaxed);
                return Poll::Ready(result.map(|value| (self.origin(index), value)));
            }
        }
        Poll::Pending
    }

    /// Whether so many calls were answered that one is put off: each part is only tried at first, and puts off none of these.
    fn is_put_off(&self) -> bool {
        let is_put_off = self.ready_count.load(Ordering::Relaxed) >= READY_COUNT_MAX;
        if is_put_off {
            self.ready_count.store(0, Ordering::Relaxed);
        }
        is_put_off
    }

    /// The first answer that there is, or a place among those that wait on each part.
    fn poll_any<T>(
        &self,
        waker: &Waker,
        places: &mut Places<'_, I>,
        op: &mut impl FnMut(&dyn Door, I, Notify<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<(Origin, T)>> {
        if self.is_put_off() {
            waker.wake_by_ref();
            return Poll::Pending;
        }
        let taken = self.take(op);
        if taken.is_ready() {
            self.ready_count.fetch_add(1, Ordering::Relaxed);
            return taken;
        }
        for (index, part) in self.open_parts() {
            // A stack on another thread may have an answer by now.
            let notify = Notify::each(waker, places.ticket(index));
            if let Poll::Ready(result) = part.poll(|door, id| op(door, id, notify)) {
                return Poll::Ready(result.map(|value| (self.origin(index), value)));
            }
        }
        Poll::Pending
    }

    /// Readable is a socket that is so on any interface; writable one that is so on all, for nobody knows yet on which it
    /// will be written to.
    fn poll_ready(&self, waker: &Waker, places: &mut Places<'_, I>) -> Poll<io::Result<Ready>> {
        let side = places.side;
        let (mut all, mut waiting_count, mut ready_count) = (Ready::EMPTY, 0, 0);
        for (index, part) in self.open_parts() {
            let notify = Notify::each(waker, places.ticket(index));
            let polled = part.handle.poll_ready(side, notify);
            // Closed meanwhile: it counts for nothing, and may not wake anybody any more. Closed later, it does.
            if !part.is_open() {
                continue;
            }
            match polled? {
                Poll::Ready(ready) => (all, ready_count) = (all | ready, ready_count + 1),
                Poll::Pending => waiting_count += 1,
            }
        }
        let is_ready = match side {
            Side::Read => ready_count > 0,
            Side::Write => waiting_count == 0,
        };
        if is_ready { Poll::Ready(Ok(all)) } else { Poll::Pending }
    }

    /// Polls in the places of the task that polled this side before.
    fn poll_last<T>(
        &self,
        side: Side,
        poll: impl FnOnce(&mut Places<'_, I>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        // Not held while it polls, for that can run foreign code.
        let lock = || self.last[side as usize].lock().unwrap_or_else(PoisonError::into_inner);
        let mut places = Places { each: self, side, tickets: mem::take(&mut *lock()) };
        let polled = poll(&mut places);
        if polled.is_pending() {
            *lock() = mem::take(&mut places.tickets);
        }
        polled
    }
}

/// The places of one task, or one future, among those that wait on each part. Dropping them gives them up.
struct Places<'a, I: SocketId> {
    each: &'a Each<I>,
    side: Side,
    /// Empty before it has to wait for the first time.
    tickets: Vec<Ticket>,
}

impl<'a, I: SocketId> Places<'a, I> {
    fn new(each: &'a Each<I>, side: Side) -> Places<'a, I> {
        Places { each, side, tickets: Vec::new() }
    }

    fn ticket(&mut self, part: usize) -> &mut Ticket {
        if self.tickets.is_empty() {
            self.tickets.resize(self.each.parts.len(), None);
        }
        &mut self.tickets[part]
    }
}

impl<I: SocketId> Drop for Places<'_, I> {
    fn drop(&mut self) {
        for (part, ticket) in self.each.parts.iter().zip(&self.tickets) {
            if let Some(ticket) = *ticket
                && part.is_open()
            {
                part.handle.forget(self.side, ticket);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;
    use crate::tests::interfaces::{Site, run};

    fn everywhere(host: Host) -> Box<Each<hayase_stack::UdpId>> {
        let bind = |door: &dyn Door, addr| door.udp_bind(addr);
        let local = "0.0.0.0:80".parse().unwrap();
        match Wide::bind(host, local, bind, |door, id| door.udp_local_addr(id)).unwrap() {
            Wide::Each(each) => each,
            Wide::One(handle) => panic!("{handle:?} is on one interface"),
        }
    }

    /// As another thread does that connects the socket, after this one has looked whether the part is open.
    fn close(each: &Each<hayase_stack::UdpId>, index: usize) {
        let part = &each.parts[index];
        if !part.is_closed.swap(true, Ordering::Relaxed) {
            let close = |door: &dyn Door, id: hayase_stack::UdpId| {
                door.close(id.socket());
                Ok(())
            };
            part.handle.call(close).unwrap();
        }
    }

    #[test]
    fn what_a_part_says_that_is_closed_meanwhile_is_nobodys_error() {
        run(|Site { all, .. }| async move {
            let each = everywhere(all);
            let mut asked = 0;
            let taken = each.take(&mut |door, id, notify| {
                // Only the first is closed under the hands of whoever asks it.
                close(&each, 0);
                asked += 1;
                door.udp_recv(id, notify, &mut [0; 8])
            });
            assert!(taken.is_pending() && asked == 2, "{taken:?}");
            let wide = Wide::Each(each);
            let port = wide.any().unwrap().call(|door, id| door.udp_local_addr(id)).unwrap().port();
            assert_eq!(port, 80, "the other part is as it was");
        });
    }

    #[test]
    fn what_is_done_to_all_parts_is_not_done_to_one_that_is_closed_meanwhile() {
        run(|Site { all, .. }| async move {
            let wide = Wide::Each(everywhere(all));
            let Wide::Each(each) = &wide else { unreachable!() };
            let set = |door: &dyn Door, id| {
                close(each, 1);
                door.udp_set_ttl(id, 9)
            };
            wide.for_all(set).unwrap();
            assert_eq!(wide.any().unwrap().call(|door, id| door.udp_ttl(id)).unwrap(), 9);
            // An open part's error is an error.
            let refused = wide.for_all(|_, _| Err(ErrorKind::Other.into()));
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Other);
        });
    }
}

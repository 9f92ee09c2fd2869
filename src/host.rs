//! A host: one stack with its addresses, and the question which host a task means.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{PoisonError, RwLock};
use std::task::{Context, Poll};

use hayase_device::{Caps, Offloads};
use hayase_executor::JoinHandle;
use hayase_stack::{AddressState, Cidr, Reach, TcpInfo};
use pin_project_lite::pin_project;

use crate::counters::Counters;
use crate::door::{self, Door, Handle, ShardId, SocketId};
use crate::net::addr::meant;
use crate::scope;
use crate::several;

thread_local! {
    /// The host of the code that runs now, where that is not the thread's default.
    static CURRENT: Cell<Option<ShardId>> = const { Cell::new(None) };
    /// The host of the runtime that turns or is entered; else the first of the thread that is of no such runtime, or the one of
    /// several interfaces that has taken its place.
    static DEFAULT: Cell<Option<ShardId>> = const { Cell::new(None) };
}

/// The hosts of the process's runtimes that every thread may use.
static SHARED: RwLock<Vec<ShardId>> = RwLock::new(Vec::new());

/// One TCP/IP host: a stack, its device, its addresses and routes; or several of these, its interfaces.
///
/// A program has one, as a rule, and need not know: sockets are opened on the [current](Host::current) host, which is
/// that of the runtime unless [`scope`](Host::scope), [`spawn`](Host::spawn) or [`enter`](Host::enter) says otherwise. A
/// task inherits the host of the task that spawned it. On the in-memory wire a program has two, on the same thread, and
/// each task belongs to one of them.
///
/// # Several interfaces
/// A runtime on several [devices](crate::Builder::device) has one host for all of them, and each is a host by itself
/// ([`interfaces`](Host::interfaces)) with a stack, addresses, routes and counters of its own. On the host of all:
///
/// - a socket that is bound to an address is on the interface that has it; one bound to `0.0.0.0` or `[::]` is on each,
///   under the same port;
/// - a connection goes out on the interface whose own address the peer's is, or else on the one with the longest matching
///   prefix in its routes, so that default routes come last; where two are equal, on the first. A socket bound to an
///   address goes out on the interface that has it, whatever the routes say. So does each datagram, and each echo request;
/// - loopback addresses are the first interface's, for those who listen and those who connect;
/// - `fe80::` addresses tell their interface by their scope, as in `[fe80::1%2]:80`: its number, from 1. Those that are told,
///   of peers and our own, come with it. Where the operating system's sockets are one of N interfaces, the scope of a link of
///   theirs is N and the system's number of it;
/// - it is a host with strong ends (RFC 1122 §3.3.4.2): what comes in on one interface for an address of another is dropped
///   and counted, and nothing is forwarded.
///
/// What this costs is paid where a socket is opened or is on each interface. A connection is a socket of its own interface,
/// as if there were no others.
///
/// A handle: `Copy`, `Send` and `Sync`, of use on its own thread; or on every thread, if its stack has one to itself
/// ([`Model`](crate::Model)).
///
/// # Errors
/// Every method that returns an [`io::Result`] fails on a foreign thread, unless the stack has a thread to itself, and after
/// the end of the runtime.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Host {
    shard: ShardId,
}

impl Host {
    pub(crate) fn new(shard: ShardId) -> Host {
        Host { shard }
    }

    pub(crate) fn shard(self) -> ShardId {
        self.shard
    }

    /// Opens a socket on this host.
    pub(crate) fn open<I: SocketId>(
        self,
        open: impl FnOnce(&dyn Door) -> io::Result<I>,
    ) -> io::Result<Handle<I>> {
        self.call(open).map(|id| Handle::new(self.shard, id))
    }

    fn call<T>(self, op: impl FnOnce(&dyn Door) -> io::Result<T>) -> io::Result<T> {
        door::enter(self.shard, op)?
    }

    /// The same of every interface.
    fn call_each<T>(self, op: impl Fn(&dyn Door) -> io::Result<T>) -> io::Result<Vec<T>> {
        match several::of(self.shard) {
            Some(interfaces) => interfaces.iter().map(|host| host.call(&op)).collect(),
            None => Ok(vec![self.call(op)?]),
        }
    }

    /// The same of the only interface. `what` is asked of each of several.
    fn call_one<T>(self, what: &str, op: impl FnOnce(&dyn Door) -> io::Result<T>) -> io::Result<T> {
        if several::of(self.shard).is_some() {
            let text = format!(
                "this host has several interfaces, and {what} is that of one: ask one of Host::interfaces"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self.call(op)
    }

    /// How near it is to an address.
    pub(crate) fn reach(self, dst: IpAddr) -> io::Result<Option<Reach>> {
        self.call(|door| door.reach(dst))
    }

    /// Whether there are several links behind it, each with a scope of its own: it is the operating system's sockets.
    pub(crate) fn has_links(self) -> io::Result<bool> {
        self.call(|door| door.has_links())
    }

    /// The host that a connection to `remote` goes out on, from `local` if that is given: itself, or one of its interfaces;
    /// and what both are called there.
    pub(crate) fn towards(
        self,
        remote: SocketAddr,
        local: Option<SocketAddr>,
    ) -> io::Result<(Host, SocketAddr, Option<SocketAddr>)> {
        let remote = meant(remote, || local.map(|local| local.ip()));
        let host = match several::of(self.shard) {
            Some(interfaces) => several::towards(&interfaces, remote, local)?.unwrap_or(self),
            None => self,
        };
        let inward = |addr| scope::inward(host.shard, addr);
        Ok((host, inward(remote), local.map(inward)))
    }

    /// The host on which the calling task opens its sockets.
    ///
    /// On a thread that no runtime runs on, that is the host of the only runtime of the process whose stack has a thread to
    /// itself ([`Model`](crate::Model)), unless [`scope`](Host::scope) or [`enter`](Host::enter) says otherwise:
    ///
    /// ```standalone_crate
    /// use hayase::{Host, Model, Runtime};
    ///
    /// # fn build() -> std::io::Result<Runtime> {
    /// #     let wire = hayase::DeviceSpec::Wire(Default::default());
    /// #     Runtime::builder().device(wire).model(Model::Split).build()
    /// # }
    /// let runtime = Runtime::builder().device("wire".parse()?).model(Model::Split).build()?;
    /// let current = || std::thread::spawn(Host::current).join().unwrap();
    /// assert_eq!(current()?, runtime.host());
    /// # let second = build()?;
    /// # assert!(current().unwrap_err().to_string().contains("2 runtimes"));
    /// # let host = second.host();
    /// # let scoped = async move { Host::current() };
    /// # let run = move || futures_util::FutureExt::now_or_never(host.scope(scoped)).unwrap();
    /// # assert_eq!(std::thread::spawn(run).join().unwrap()?, host);
    /// # drop(runtime);
    /// # assert_eq!(current()?, second.host());
    /// # drop(second);
    /// # assert!(current().unwrap_err().to_string().contains("Runtime::block_on"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If there is no host on this thread, outside of a runtime, and none or several that every thread may use.
    pub fn current() -> io::Result<Host> {
        let shard = CURRENT.get().or(DEFAULT.get());
        shard.map_or_else(shared, |shard| Ok(Host::new(shard)))
    }

    /// The hosts that this one consists of: one for each device of its runtime, in their order. Itself, if it has but one
    /// interface.
    ///
    /// ```no_run
    /// # fn show() -> std::io::Result<()> {
    /// for interface in hayase::Host::current()?.interfaces()? {
    ///     println!("{:?} {}", interface.addresses()?, interface.counters()?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`Host`].
    pub fn interfaces(self) -> io::Result<Vec<Host>> {
        match several::of(self.shard) {
            Some(interfaces) => Ok(interfaces.to_vec()),
            None => door::enter(self.shard, |_| vec![self]),
        }
    }

    /// The host at the other end of the wire, if this one's device is a wire with both ends in this thread. Of several
    /// interfaces each has a peer of its own.
    pub fn peer(self) -> Option<Host> {
        door::peer(self.shard).map(Host::new)
    }

    /// Runs `future` as a task of this host.
    ///
    /// # Panics
    /// If there is no executor on this thread.
    #[track_caller]
    pub fn spawn<F>(self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        spawn_in(Some(self.shard), future)
    }

    /// Makes this host the current one wherever `future` runs.
    pub fn scope<F: Future>(self, future: F) -> Scope<F> {
        Scope::new(Some(self.shard), future)
    }

    /// Makes this host the current one until the returned value is dropped. For code that is not async; do
    /// not hold it across an `await`, where other tasks would see it: [`scope`](Self::scope) is for that. Of several such values,
    /// drop the last first.
    #[must_use = "the host is current only as long as this value lives"]
    pub fn enter(self) -> Entered {
        choose(Some(self.shard))
    }

    /// The addresses that are in use, with the prefixes of their networks.
    ///
    /// # Errors
    /// See [`Host`].
    pub fn addresses(self) -> io::Result<Vec<Cidr>> {
        Ok(self.call_each(|door| door.addresses())?.concat())
    }

    /// All addresses, with what they are good for: an IPv6 address is not used before it is known that no other host of
    /// the link has it, and never if one has.
    ///
    /// # Errors
    /// See [`Host`].
    pub fn address_states(self) -> io::Result<Vec<(Cidr, AddressState)>> {
        Ok(self.call_each(|door| door.address_states())?.concat())
    }

    /// Adds an address, and the route to its network.
    ///
    /// # Errors
    /// If the address is there already or makes no sense for a host, and if there are several interfaces that it could be
    /// an address of. See also [`Host`].
    pub fn add_address(self, cidr: Cidr) -> io::Result<()> {
        self.call_one("an address", |door| door.add_address(cidr))
    }

    /// Removes an address, and the route to its network.
    ///
    /// # Errors
    /// If there is no such address. See also [`Host`].
    pub fn remove_address(self, addr: IpAddr) -> io::Result<()> {
        let host = match several::of(self.shard) {
            Some(interfaces) => several::at(&interfaces, SocketAddr::new(addr, 0))?.unwrap_or(self),
            None => self,
        };
        host.call(|door| door.remove_address(addr))
    }

    /// Sends what is for `destination` to `gateway`. `0.0.0.0/0` and `::/0` are everything. Of several interfaces it is a
    /// route of the first that has the gateway in one of its networks. A gateway in none of them is taken to be on the link if
    /// this host has an address that is a network of its own (`10.128.0.2/32`), as clouds give them.
    ///
    /// # Errors
    /// If the gateway is in none of our networks, and we have no such address. See also [`Host`].
    pub fn add_route(self, destination: Cidr, gateway: IpAddr) -> io::Result<()> {
        let host = match several::of(self.shard) {
            Some(interfaces) => several::beside(&interfaces, gateway)?.unwrap_or(self),
            None => self,
        };
        host.call(|door| door.add_route(destination, gateway))
    }

    /// Removes a route; of several interfaces, from all that have it.
    ///
    /// # Errors
    /// If there is no such route. See also [`Host`].
    pub fn remove_route(self, destination: Cidr) -> io::Result<()> {
        let Some(interfaces) = several::of(self.shard) else {
            return self.call(|door| door.remove_route(destination));
        };
        let removed = interfaces.iter().map(|host| host.remove_route(destination));
        removed.reduce(|all, one| if all.is_ok() { all } else { one }).unwrap_or(Ok(()))
    }

    /// The offloads in force; of several interfaces, on all of them.
    ///
    /// # Errors
    /// See [`Host`].
    pub fn offloads(self) -> io::Result<Offloads> {
        Ok(on_all(self.call_each(|door| Ok(door.caps()?.offloads))?))
    }

    /// Puts the wanted offloads in force, as far as the device has them, and returns what then holds. What is
    /// not offloaded is done in software. Of several interfaces, this is done to all, and what holds on all of them returned.
    ///
    /// # Errors
    /// See [`Host`].
    pub fn set_offloads(self, wanted: Offloads) -> io::Result<Offloads> {
        Ok(on_all(self.call_each(|door| door.set_offloads(wanted))?))
    }

    /// What the device can do, with what was switched off left out.
    ///
    /// # Errors
    /// If there are several interfaces. See also [`Host`].
    pub fn caps(self) -> io::Result<Caps> {
        self.call_one("what a device can do", |door| door.caps())
    }

    /// The largest IP packet of the link, in bytes; of several interfaces, that of the link with the smallest.
    ///
    /// # Errors
    /// See [`Host`].
    pub fn mtu(self) -> io::Result<usize> {
        let mtus = self.call_each(|door| Ok(door.caps()?.mtu))?;
        Ok(mtus.into_iter().min().unwrap_or_default())
    }

    /// The link-layer address.
    ///
    /// # Errors
    /// If there are several interfaces. See also [`Host`].
    pub fn mac(self) -> io::Result<[u8; 6]> {
        self.call_one("a link-layer address", |door| door.mac())
    }

    /// What happened so far, counted; on all interfaces together.
    ///
    /// # Errors
    /// See [`Host`].
    pub fn counters(self) -> io::Result<Counters> {
        Ok(Counters::sum(self.call_each(|door| door.counters())?))
    }

    /// Every TCP connection but those in TIME_WAIT, in no particular order: our address, the peer's, and the state as
    /// [`TcpStream::info`](crate::net::TcpStream::info) has it. As `ss -ti`; it walks over all of them.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] with the operating system's sockets. See also [`Host`].
    pub fn tcp_connections(self) -> io::Result<Vec<(SocketAddr, SocketAddr, TcpInfo)>> {
        let mut connections = Vec::new();
        for host in self.interfaces()? {
            let outward = |addr| scope::outward(host.shard, addr);
            let of_one = host.call(|door| door.tcp_connections())?.into_iter();
            connections.extend(of_one.map(|(local, peer, info)| (outward(local), outward(peer), info)));
        }
        Ok(connections)
    }

    /// Number of TCP connections, in every state.
    ///
    /// # Errors
    /// See [`Host`].
    pub fn tcp_count(self) -> io::Result<usize> {
        Ok(self.call_each(|door| door.tcp_count())?.into_iter().sum())
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host({})", self.shard)
    }
}

/// What each of several has.
fn on_all(offloads: Vec<Offloads>) -> Offloads {
    offloads.into_iter().reduce(|all, one| all & one).unwrap_or(Offloads::NONE)
}

/// The host of a thread that has none.
#[cold]
fn shared() -> io::Result<Host> {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("unnamed");
    let hosts = SHARED.read().unwrap_or_else(PoisonError::into_inner);
    let text = match hosts[..] {
        [shard] => return Ok(Host::new(shard)),
        [] => format!(
            "there is no network on thread `{name}`: open sockets inside `Runtime::block_on` or `#[hayase::main]`, or in a \
             task of one of its cores; on any thread, if the runtime has `Model::Split` or `Model::Merge`"
        ),
        _ => format!(
            "thread `{name}` may use the networks of {} runtimes: say which by `Host::scope` or `Host::enter`",
            hosts.len()
        ),
    };
    Err(io::Error::new(io::ErrorKind::NotConnected, text))
}

/// Has every thread that has no host use this one, as long as it is the only one of which that is said, until the returned
/// value is dropped.
pub(crate) fn share(host: Host) -> Shared {
    SHARED.write().unwrap_or_else(PoisonError::into_inner).push(host.shard);
    Shared(host.shard)
}

/// Keeps a host one that every thread may use.
#[derive(Debug)]
pub(crate) struct Shared(ShardId);

impl Drop for Shared {
    fn drop(&mut self) {
        SHARED.write().unwrap_or_else(PoisonError::into_inner).retain(|shard| *shard != self.0);
    }
}

/// Makes a host the thread's default until the returned value is dropped: that of the runtime which runs, also where
/// another one came first.
pub(crate) fn default_to(host: Host) -> Default {
    Default { before: DEFAULT.replace(Some(host.shard)), here: PhantomData }
}

/// Keeps a host the thread's default.
#[derive(Debug)]
pub(crate) struct Default {
    before: Option<ShardId>,
    /// It changes something of this thread.
    here: PhantomData<*const ()>,
}

impl Drop for Default {
    fn drop(&mut self) {
        // The host of before may be no more.
        DEFAULT.set(self.before.filter(|shard| several::is_here(*shard)));
    }
}

/// Keeps a host current: see [`Host::enter`].
#[derive(Debug)]
#[must_use = "the host is current only as long as this value lives"]
pub struct Entered {
    before: Option<ShardId>,
    /// It changes something of this thread.
    here: PhantomData<*const ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.before);
    }
}

pin_project! {
    /// A future and the host that is current while it runs: see [`Host::scope`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless awaited"]
    pub struct Scope<F> {
        #[pin]
        future: F,
        // Behind the future, and so dropped after it.
        chosen: Chosen,
    }

    impl<F> PinnedDrop for Scope<F> {
        /// The destructors of a future that is cancelled are its code as well.
        fn drop(this: Pin<&mut Self>) {
            this.project().chosen.enter_for_good();
        }
    }
}

/// The host of a [`Scope`]; while that is dropped, the one that was current before.
#[derive(Debug)]
struct Chosen {
    host: Option<ShardId>,
    is_entered: bool,
}

impl Chosen {
    /// Makes the host current until this is dropped.
    fn enter_for_good(&mut self) {
        self.host = CURRENT.replace(self.host);
        self.is_entered = true;
    }
}

impl Drop for Chosen {
    fn drop(&mut self) {
        if self.is_entered {
            CURRENT.set(self.host);
        }
    }
}

impl<F> Scope<F> {
    pub(crate) fn new(host: Option<ShardId>, future: F) -> Scope<F> {
        Scope { future, chosen: Chosen { host, is_entered: false } }
    }
}

impl<F: Future> Future for Scope<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _entered = choose(this.chosen.host);
        this.future.poll(cx)
    }
}

fn choose(host: Option<ShardId>) -> Entered {
    Entered { before: CURRENT.replace(host), here: PhantomData }
}

/// The host that the running task has inherited or chosen; `None` for the thread's default.
pub(crate) fn chosen() -> Option<ShardId> {
    CURRENT.get()
}

/// Runs with no host chosen, as tasks expect to be run.
pub(crate) fn forget_chosen() -> Entered {
    choose(None)
}

/// Runs `future` as a task of a host.
#[track_caller]
pub(crate) fn spawn_in<F>(host: Option<ShardId>, future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    // The default host is what a task finds anyway.
    if host.is_none() || host == DEFAULT.get() {
        hayase_executor::spawn(future)
    } else {
        hayase_executor::spawn(Scope::new(host, future))
    }
}

/// The thread's first host becomes its default.
pub(crate) fn appeared(shard: ShardId) {
    if DEFAULT.get().is_none() {
        DEFAULT.set(Some(shard));
    }
}

/// A host of several takes the place of its interfaces as the default.
pub(crate) fn united(several: ShardId, interfaces: &[Host]) {
    if DEFAULT.get().is_none_or(|default| interfaces.contains(&Host::new(default))) {
        DEFAULT.set(Some(several));
    }
}

/// None of these is the thread's default any more, until [`default_to`] says so.
pub(crate) fn undefault(hosts: &[Host]) {
    hosts.iter().for_each(|host| vanished(host.shard));
}

/// The default goes with its host.
pub(crate) fn vanished(shard: ShardId) {
    // At the end of a thread there may be no cell left to clear.
    let _ = DEFAULT.try_with(|default| {
        if default.get() == Some(shard) {
            default.set(None);
        }
    });
}

//! A shard's own part of the steering: what it knows, and how it tells the others.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker, ready};
use std::time::Duration;

use hayase_device::{Device, FlowKey, Frame, Rss, RxMeta};
use hayase_executor::Handle;
use hayase_stack::{Config, EchoId, Error, ListenerId, Socket, Stack, TcpId, UdpId};
use hayase_time::Instant;

use super::arrival::Arrival;
use super::fabric::{Fabric, News, Seat, Spread, Uplink};
use super::joining::Joining;
use super::policy::AcceptPolicy;
use super::reply::{Moved, Reply};
use super::ring::{Passed, Sender};
use super::setting::Setting;
use super::table::{Kind, Service, Table};

/// How often a port that the stack chooses is tried for being one of ours; one in as many as there are cores is.
const TRIES_PER_CORE: usize = 32;

/// How long after a core joined a port others may still send there by what they knew before. They read their news every
/// turn, so that this is long.
const JOIN_TIME: Duration = Duration::from_millis(100);

/// What the door and the device of one shard share.
pub(crate) struct Station {
    core: usize,
    fabric: Arc<Fabric>,
    table: RefCell<Table>,
    to: RefCell<Vec<Option<Sender>>>,
    /// Cores with new frames in their rings, a bit each.
    dirty: Cell<u64>,
    dropped: Cell<u64>,
    /// How many sockets we have at each service.
    sockets: RefCell<HashMap<Service, usize>>,
    /// Services that wait for answers before they are open everywhere.
    joining: RefCell<Joining>,
    /// Services that another core has joined lately, and until when connections may come here that are its.
    making_way: RefCell<Vec<(Service, usize, Instant)>>,
    /// Connections of ours, and UDP sockets with a peer, that are pinned to us.
    pinned: RefCell<HashSet<FlowKey>>,
    /// The core that was last dealt a connection.
    dealt_to: Cell<usize>,
}

impl Station {
    /// Takes the sending ends of a seat whose queue pair, if it has one, is `device`, with a stack of that `config` on it.
    pub(crate) fn new(seat: &mut Seat, device: &impl Device, config: &Config) -> Rc<Station> {
        let (core, fabric) = (seat.core, Arc::clone(&seat.fabric));
        let cores = fabric.cores();
        let Spread { rss, is_sorted } = fabric.spread(|| match device.rss() {
            Some(rss) if seat.is_complete => Spread { rss: rss.clone(), is_sorted: true },
            _ => Spread { rss: Rss::even(cores as u16), is_sorted: false },
        });
        let table = Table::new(core, cores, rss.clone(), *is_sorted);
        if seat.uplink.is_none() {
            let uplink = Uplink { caps: *device.caps(), mac: device.mac(), config: config.clone() };
            fabric.set_uplink(core, uplink);
        }
        Rc::new(Station {
            core,
            table: RefCell::new(table),
            to: RefCell::new(std::mem::take(&mut seat.to)),
            dirty: Cell::new(0),
            dropped: Cell::new(0),
            sockets: RefCell::default(),
            joining: RefCell::default(),
            making_way: RefCell::default(),
            pinned: RefCell::default(),
            dealt_to: Cell::new(core),
            fabric,
        })
    }

    #[inline]
    pub(super) fn core(&self) -> usize {
        self.core
    }

    /// Frames that found no room on their way to other shards.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.get()
    }

    /// What other cores had to tell of neighbours, and this one did not take in time.
    pub(super) fn unheard(&self) -> u64 {
        self.fabric.unheard(self.core)
    }

    // Frames

    #[inline]
    pub(super) fn is_trivial(&self) -> bool {
        self.table.borrow().is_trivial()
    }

    pub(super) fn home(&self, arrival: Arrival) -> usize {
        self.table.borrow_mut().home(arrival)
    }

    /// Copies a frame to another shard.
    pub(super) fn pass_on<F: Frame>(&self, core: usize, frame: &F, meta: RxMeta, hops: u8) {
        let mut to = self.to.borrow_mut();
        let sender = to.get_mut(core).and_then(Option::as_mut);
        if sender.is_some_and(|sender| sender.send(frame, Passed { meta, hops })) {
            self.dirty.set(self.dirty.get() | 1 << core);
        } else {
            self.dropped.set(self.dropped.get() + 1);
        }
    }

    /// Wakes those who were sent frames. Returns how many that were.
    pub(super) fn wake_others(&self) -> usize {
        let mut dirty = self.dirty.take();
        let count = dirty.count_ones() as usize;
        while dirty != 0 {
            self.fabric.wake(dirty.trailing_zeros() as usize);
            dirty &= dirty - 1;
        }
        count
    }

    // News

    #[inline]
    pub(super) fn has_news(&self) -> bool {
        self.fabric.has_news(self.core)
    }

    pub(super) fn news(&self) -> VecDeque<News> {
        self.fabric.news(self.core)
    }

    pub(super) fn wake_through(&self, handle: &Handle) {
        self.fabric.wake_through(self.core, handle);
    }

    /// Tells all others the same. Returns which these are, a bit each.
    pub(super) fn tell_all(&self, news: impl Fn() -> News) -> u64 {
        let others = (0..self.fabric.cores()).filter(|core| *core != self.core);
        others.filter(|core| self.fabric.tell(*core, news())).fold(0, |set, core| set | 1 << core)
    }

    /// An address or a route changed here: it changes everywhere.
    pub(crate) fn announce(&self, setting: Setting) {
        self.tell_all(|| News::Setting(setting));
    }

    /// What was told of sockets and pins.
    pub(super) fn learn<F: Frame>(&self, now: Instant, news: News, stack: &Stack<F>) {
        match news {
            News::Joining(service, core) => self.make_way(now, service, core, stack),
            News::Ready(service, core) => self.one_is_ready(service, core),
            News::Opened(service, core) => {
                self.table.borrow_mut().open(service, core);
                match service.kind {
                    Kind::Tcp => self.making_way.borrow_mut().push((service, core, now + JOIN_TIME)),
                    // Sockets with a peer stay where they are. Most ports are of one core alone.
                    Kind::Udp if self.sockets.borrow().contains_key(&service) => self.pin_all(service, stack),
                    Kind::Udp | Kind::Echo => {}
                }
            }
            News::Closed(service, core) => self.table.borrow_mut().close(service, core),
            News::Pinned(flow, core) => self.table.borrow_mut().pin(flow, core),
            News::Unpinned(flow) => self.table.borrow_mut().unpin(&flow),
            News::Heard(_) | News::Setting(_) | News::Adopt(..) => {}
        }
    }

    // Sockets at a port

    /// Listens. A port that is ours to choose is one that no other core chooses.
    pub(crate) fn listen<F: Frame>(
        &self,
        stack: &mut Stack<F>,
        local: SocketAddr,
        backlog: usize,
    ) -> Result<ListenerId, Error> {
        let open = |stack: &mut Stack<F>| {
            let id = stack.tcp_listen(local, backlog)?;
            Ok((id, stack.listener_local_addr(id)?.port()))
        };
        let close = |stack: &mut Stack<F>, id| stack.close_listener(Instant::ZERO, id);
        let (id, number) = self.choose(stack, local.port() == 0, open, close)?;
        self.open(Service { kind: Kind::Tcp, number });
        Ok(id)
    }

    /// Opens a UDP socket, as [`listen`](Self::listen) does a listener.
    pub(crate) fn bind<F: Frame>(&self, stack: &mut Stack<F>, local: SocketAddr) -> Result<UdpId, Error> {
        let open = |stack: &mut Stack<F>| {
            let id = stack.udp_bind(local)?;
            Ok((id, stack.udp_local_addr(id)?.port()))
        };
        let (id, number) = self.choose(stack, local.port() == 0, open, Stack::udp_close)?;
        self.open(Service { kind: Kind::Udp, number });
        Ok(id)
    }

    /// Sets the peer of a UDP socket. Its datagrams come here, also where other cores have sockets at the port.
    pub(crate) fn connect_udp<F: Frame>(
        &self,
        stack: &mut Stack<F>,
        id: UdpId,
        remote: SocketAddr,
    ) -> Result<(), Error> {
        stack.udp_connect(id, remote)?;
        let source = SocketAddr::new(remote.ip(), remote.port());
        self.keep(FlowKey { source, destination: stack.udp_local_addr(id)?, udp: true });
        Ok(())
    }

    /// Opens an echo socket, whose identifier no other core has.
    pub(crate) fn open_echo<F: Frame>(&self, stack: &mut Stack<F>) -> Result<EchoId, Error> {
        let open = |stack: &mut Stack<F>| {
            let id = stack.echo_open()?;
            Ok((id, stack.echo_ident(id)?))
        };
        let (id, number) = self.choose(stack, true, open, Stack::echo_close)?;
        self.open(Service { kind: Kind::Echo, number });
        Ok(id)
    }

    /// Opens until the number is one of ours, if it is for us to choose.
    fn choose<S, I>(
        &self,
        stack: &mut S,
        is_free: bool,
        open: impl Fn(&mut S) -> Result<(I, u16), Error>,
        close: impl Fn(&mut S, I),
    ) -> Result<(I, u16), Error> {
        let cores = self.fabric.cores();
        for _ in 0..TRIES_PER_CORE * cores {
            let (id, number) = open(stack)?;
            if !is_free || usize::from(number) % cores == self.core {
                return Ok((id, number));
            }
            close(stack, id);
        }
        Err(Error::PortsExhausted)
    }

    /// A socket was opened.
    fn open(&self, service: Service) {
        let mut sockets = self.sockets.borrow_mut();
        let count = sockets.entry(service).or_insert(0);
        *count += 1;
        if *count > 1 {
            return;
        }
        let asked = match service.kind {
            Kind::Tcp => self.tell_all(|| News::Joining(service, self.core)),
            Kind::Udp | Kind::Echo => 0,
        };
        if asked == 0 {
            self.is_open(service);
        } else {
            self.joining.borrow_mut().ask(service, asked);
        }
    }

    fn is_open(&self, service: Service) {
        self.table.borrow_mut().open(service, self.core);
        self.tell_all(|| News::Opened(service, self.core));
    }

    /// Another core is about to share a port: connections of ours whose home that would change are pinned first.
    fn make_way<F: Frame>(&self, now: Instant, service: Service, core: usize, stack: &Stack<F>) {
        self.pin_all_but(service, core, stack);
        self.making_way.borrow_mut().push((service, core, now + JOIN_TIME));
        self.fabric.tell(core, News::Ready(service, self.core));
    }

    /// Pins connections that came here while not everybody knew of a core that joined: in the turn in which they come, and
    /// so before the peer hears of them.
    pub(super) fn go_on_making_way<F: Frame>(&self, now: Instant, stack: &Stack<F>) {
        if self.making_way.borrow().is_empty() {
            return;
        }
        self.making_way.borrow_mut().retain(|(_, _, until)| now < *until);
        let services = self.making_way.borrow().clone();
        services.into_iter().for_each(|(service, core, _)| self.pin_all_but(service, core, stack));
    }

    /// Pins the connections at a port that would be at home elsewhere if a core had joined it.
    fn pin_all_but<F: Frame>(&self, service: Service, core: usize, stack: &Stack<F>) {
        let is_open = self.table.borrow().cores_of(service) & 1 << core != 0;
        self.table.borrow_mut().open(service, core);
        self.pin_all(service, stack);
        if !is_open {
            self.table.borrow_mut().close(service, core);
        }
    }

    fn one_is_ready(&self, service: Service, core: usize) {
        let is_last = self.joining.borrow_mut().answered(service, core);
        if is_last {
            self.is_open(service);
        }
    }

    /// Waits no more for cores that do not turn, and have nothing that they would have to pin.
    pub(super) fn go_on_joining(&self, now: Instant) {
        if self.joining.borrow().is_empty() {
            return;
        }
        let complete = self.joining.borrow_mut().look(now, |core| self.fabric.is_absent(core));
        complete.into_iter().for_each(|service| self.is_open(service));
    }

    /// When to do that next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.joining.borrow().deadline()
    }

    /// Wakes those who waited for a listener. Nothing may be borrowed.
    pub(super) fn wake_joined(&self) {
        let woken = self.joining.borrow_mut().woken();
        woken.into_iter().for_each(Waker::wake);
    }

    /// Whether a listener is known everywhere, or has waited long enough for that. Nothing may be borrowed.
    pub(crate) fn poll_joined(&self, port: u16, waker: Waker) -> Poll<()> {
        let mut waker = Some(waker);
        self.joining.borrow_mut().poll(Service { kind: Kind::Tcp, number: port }, &mut waker)
    }

    /// Where a socket is found without a connection, if it is.
    pub(crate) fn service_of<F: Frame>(&self, stack: &Stack<F>, socket: Socket) -> Option<Service> {
        let (kind, number) = match socket {
            Socket::Listener(id) => (Kind::Tcp, stack.listener_local_addr(id).ok()?.port()),
            Socket::Udp(id) => (Kind::Udp, stack.udp_local_addr(id).ok()?.port()),
            Socket::Echo(id) => (Kind::Echo, stack.echo_ident(id).ok()?),
            Socket::Tcp(_) => return None,
        };
        Some(Service { kind, number })
    }

    /// A socket was closed. Connections that are here because of it stay here.
    pub(crate) fn close<F: Frame>(&self, service: Service, stack: &Stack<F>) {
        let mut sockets = self.sockets.borrow_mut();
        let Some(count) = sockets.get_mut(&service) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        sockets.remove(&service);
        self.joining.borrow_mut().forget(service);
        self.table.borrow_mut().close(service, self.core);
        self.pin_all(service, stack);
        self.tell_all(|| News::Closed(service, self.core));
    }

    // Connections

    /// Connects from a port whose answers come here, if that is for us to choose; else a pin brings them.
    pub(crate) fn connect<F: Frame>(
        &self,
        now: Instant,
        stack: &mut Stack<F>,
        remote: SocketAddr,
        local: Option<SocketAddr>,
    ) -> Result<TcpId, Error> {
        let open = |stack: &mut Stack<F>, is_home: &dyn Fn(SocketAddr) -> bool| {
            stack.tcp_connect_where(now, remote, local, is_home).map(|id| (id, ()))
        };
        self.connect_by(stack, remote, open).map(|(id, ())| id)
    }

    /// The same, by whatever call of the stack.
    pub(crate) fn connect_by<F: Frame, T>(
        &self,
        stack: &mut Stack<F>,
        remote: SocketAddr,
        open: impl FnOnce(&mut Stack<F>, &dyn Fn(SocketAddr) -> bool) -> Result<(TcpId, T), Error>,
    ) -> Result<(TcpId, T), Error> {
        // No frame says what the scope of a link-local address is here.
        let source = SocketAddr::new(remote.ip(), remote.port());
        let flow = |local| FlowKey { source, destination: local, udp: false };
        let is_home = |local| self.table.borrow().home_of_flow(&flow(local)) == self.core;
        // Where the hash is of addresses alone, no port brings the answers here, and a pin has to.
        let tries = Cell::new(TRIES_PER_CORE * self.fabric.cores());
        let is_good = |local| is_home(local) || tries.replace(tries.get().saturating_sub(1)) == 0;
        let (id, value) = open(stack, &is_good)?;
        let local = stack.tcp_local_addr(id)?;
        if !is_home(local) {
            self.pin(flow(local));
        }
        Ok((id, value))
    }

    /// Pins the connections at a port, and the UDP sockets with a peer, that would be at home elsewhere.
    fn pin_all<F: Frame>(&self, service: Service, stack: &Stack<F>) {
        let flows = match service.kind {
            Kind::Tcp => stack.tcp_flows_at(service.number),
            Kind::Udp => stack.udp_flows_at(service.number),
            Kind::Echo => return,
        };
        for (local, remote) in flows {
            self.keep(FlowKey { source: remote, destination: local, udp: service.kind == Kind::Udp });
        }
    }

    /// Pins a flow of ours if it would be at home elsewhere.
    fn keep(&self, flow: FlowKey) {
        let home = self.table.borrow().home_of_flow(&flow);
        if home != self.core {
            self.pin(flow);
        }
    }

    /// Keeps a connection here.
    fn pin(&self, flow: FlowKey) {
        self.table.borrow_mut().pin(flow, self.core);
        self.pinned.borrow_mut().insert(flow);
        self.tell_all(|| News::Pinned(flow, self.core));
    }

    fn unpin(&self, flow: FlowKey) {
        self.table.borrow_mut().unpin(&flow);
        self.fabric.note_pin(self.core, &flow, false);
        self.tell_all(|| News::Unpinned(flow));
    }

    pub(super) fn has_pins(&self) -> bool {
        !self.pinned.borrow().is_empty()
    }

    /// Takes away the pins of connections that are no more.
    pub(super) fn sweep<F: Frame>(&self, stack: &Stack<F>) {
        let is_over = |flow: &FlowKey| match flow.udp {
            true => !stack.udp_has_flow(flow.destination, flow.source),
            false => !stack.tcp_has_flow(flow.destination, flow.source),
        };
        let over: Vec<_> = self.pinned.borrow_mut().extract_if(is_over).collect();
        for flow in over {
            // Another core may have it by now.
            if self.table.borrow().home_of_flow(&flow) == self.core {
                self.unpin(flow);
            }
        }
    }

    /// Accepts, and deals what comes here to all cores that listen there, as the policy says.
    pub(crate) fn accept<F: Frame>(
        &self,
        stack: &mut Stack<F>,
        id: ListenerId,
    ) -> Poll<Result<(TcpId, SocketAddr), Error>> {
        loop {
            let (connection, peer) = ready!(stack.tcp_accept(id))?;
            let core = stack.tcp_local_addr(connection).map_or(self.core, |local| self.deal(local, peer));
            // One that is over already has no place to go to, and tells its end here.
            if core == self.core || self.send_off(stack, connection, core, None).is_err() {
                return Poll::Ready(Ok((connection, peer)));
            }
        }
    }

    /// The core that is to serve a connection.
    fn deal(&self, local: SocketAddr, peer: SocketAddr) -> usize {
        let table = self.table.borrow();
        let flow = FlowKey { source: peer, destination: local, udp: false };
        // What has a pin was dealt already.
        if self.fabric.policy == AcceptPolicy::Local || table.is_pinned(&flow) {
            return self.core;
        }
        let service = Service { kind: Kind::Tcp, number: local.port() };
        let (listening, cores) = (table.cores_of(service), self.fabric.cores());
        let next = (1..=cores).map(|step| (self.dealt_to.get() + step) % cores);
        let has_room = |core| core == self.core || self.fabric.has_room(core);
        let mut candidates = next.filter(|core| listening & 1 << core != 0 && has_room(*core));
        let core = match self.fabric.policy {
            AcceptPolicy::LeastLoaded => candidates.min_by_key(|core| self.fabric.load(*core)),
            _ => candidates.next(),
        };
        let core = core.unwrap_or(self.core);
        self.dealt_to.set(core);
        self.fabric.add_load(core);
        core
    }

    /// Sends a connection to another core, to be handed to whoever waits there.
    ///
    /// # Errors
    /// If there is no such core, or the connection is not established.
    pub(crate) fn migrate<F: Frame>(
        &self,
        stack: &mut Stack<F>,
        id: TcpId,
        core: usize,
    ) -> Result<Moved, Error> {
        if core >= self.fabric.cores() {
            return Err(Error::InvalidInput("this runtime has no such core"));
        }
        let (reply, moved) = Moved::channel();
        self.send_off(stack, id, core, Some(reply))?;
        Ok(moved)
    }

    fn send_off<F: Frame>(
        &self,
        stack: &mut Stack<F>,
        id: TcpId,
        core: usize,
        reply: Option<Reply>,
    ) -> Result<(), Error> {
        let migrant = stack.tcp_export(id)?;
        let flow = flow_of(migrant.local_addr(), migrant.peer_addr());
        self.pinned.borrow_mut().remove(&flow);
        // Frames that still come here follow it, and find it there: the news are read first.
        self.table.borrow_mut().pin(flow, core);
        self.fabric.note_pin(self.core, &flow, true);
        if !self.fabric.tell(core, News::Adopt(Box::new(migrant), reply)) {
            // The core has ended, and the connection with it.
            self.unpin(flow);
        }
        Ok(())
    }

    /// The core ends: its sockets and connections are no more.
    pub(super) fn leave(&self) {
        for (service, _) in self.sockets.take() {
            self.tell_all(|| News::Closed(service, self.core));
        }
        for flow in self.pinned.take() {
            self.tell_all(|| News::Unpinned(flow));
        }
        self.fabric.close(self.core);
    }

    /// A connection has come to stay.
    pub(super) fn settle(&self, local: SocketAddr, peer: SocketAddr) {
        self.pin(flow_of(local, peer));
    }

    /// Publishes how much there is to do here.
    pub(super) fn set_load(&self, connections: usize) {
        self.fabric.set_load(self.core, connections);
    }
}

fn flow_of(local: SocketAddr, peer: SocketAddr) -> FlowKey {
    FlowKey { source: peer, destination: local, udp: false }
}

impl fmt::Debug for Station {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Station").field("core", &self.core).finish_non_exhaustive()
    }
}

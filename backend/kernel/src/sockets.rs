//! All sockets of a thread, and the set that tells what they are ready for.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::task::Poll;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::SocketType;

use crate::address;
use crate::echo::Echo;
use crate::options::TcpOptions;
use crate::source::{Readiness, Source};
use crate::tcp::{self, Listener, Tcp};
use crate::udp::Udp;
use crate::watch::{Change, Watch};

/// Slots that a name has room for.
const SLOTS_MAX: usize = 1 << 31;

/// The name of a socket: the slot, and which tenant of the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The slot.
    pub index: u32,
    /// The tenant.
    pub generation: u32,
}

impl Key {
    /// The name of the socket's first or second descriptor.
    fn name(self, which: usize) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index) << 1 | which as u64
    }

    fn of(name: u64) -> (Key, usize) {
        (Key { index: name as u32 >> 1, generation: (name >> 32) as u32 }, name as usize & 1)
    }
}

/// A socket of any kind.
#[derive(Debug)]
pub enum Socket {
    /// A connection.
    Tcp(Tcp),
    /// What waits for connections.
    Listener(Listener),
    /// Datagrams.
    Udp(Udp),
    /// ICMP echo.
    Echo(Echo),
}

/// What a socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A connection.
    Tcp,
    /// What waits for connections.
    Listener,
    /// Datagrams.
    Udp,
    /// ICMP echo.
    Echo,
}

impl Socket {
    fn kind(&self) -> Kind {
        match self {
            Socket::Tcp(_) => Kind::Tcp,
            Socket::Listener(_) => Kind::Listener,
            Socket::Udp(_) => Kind::Udp,
            Socket::Echo(_) => Kind::Echo,
        }
    }

    /// Whether nobody else can have its port.
    fn holds_port(&self) -> bool {
        matches!(self, Socket::Listener(_) | Socket::Udp(_))
    }

    /// Its descriptors: echo has one for each version of IP.
    fn sources(&self) -> [Option<&Source>; 2] {
        match self {
            Socket::Tcp(tcp) => [Some(tcp.source()), None],
            Socket::Listener(listener) => [Some(listener.source()), None],
            Socket::Udp(udp) => [Some(udp.source()), None],
            Socket::Echo(echo) => echo.sources(),
        }
    }

    fn hear(&mut self, events: EventFlags) {
        match self {
            Socket::Tcp(tcp) => tcp.source_mut().hear(events),
            Socket::Listener(listener) => listener.source_mut().hear(events),
            Socket::Udp(udp) => udp.source_mut().hear(events),
            Socket::Echo(echo) => echo.hear(events),
        }
    }
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    socket: Option<Socket>,
}

/// The sockets of one thread.
///
/// Every call answers at once. `Pending` means: not before [`poll`](Sockets::poll) has named the socket again.
pub struct Sockets {
    watch: Watch,
    slots: Vec<Slot>,
    free: Vec<u32>,
    shares_ports: bool,
    /// The congestion control of new connections, where it is not the kernel's default.
    congestion: Option<String>,
}

impl Sockets {
    /// No sockets yet. With `shares_ports`, other tables of this process, on other threads, can have the same ports,
    /// and the kernel spreads connections and datagrams over them (`SO_REUSEPORT`).
    ///
    /// What changes is told by io_uring, or by epoll where that is forbidden or older than Linux 6.0.
    ///
    /// # Errors
    /// If the process may have no more descriptors.
    pub fn new(shares_ports: bool) -> io::Result<Sockets> {
        Ok(Sockets::told_by(Watch::new()?, shares_ports))
    }

    /// The same on epoll, whatever else there is.
    ///
    /// # Errors
    /// As [`new`](Sockets::new).
    pub fn on_epoll(shares_ports: bool) -> io::Result<Sockets> {
        Ok(Sockets::told_by(Watch::epoll()?, shares_ports))
    }

    fn told_by(watch: Watch, shares_ports: bool) -> Sockets {
        Sockets { watch, slots: Vec::new(), free: Vec::new(), shares_ports, congestion: None }
    }

    /// Chooses the congestion control of all connections from now on (`TCP_CONGESTION`), by the kernel's name for it.
    ///
    /// # Errors
    /// If the kernel has none of that name, or root alone may choose it.
    pub fn set_congestion(&mut self, name: &str) -> io::Result<()> {
        let (fd, _) = address::open_for((Ipv6Addr::UNSPECIFIED, 0).into(), SocketType::STREAM)?;
        tcp::set_congestion(fd.as_fd(), name)?;
        self.congestion = Some(name.to_owned());
        Ok(())
    }

    /// How it is told what changes: `io_uring` or `epoll`.
    pub fn readiness(&self) -> &'static str {
        self.watch.name()
    }

    /// The descriptor that can be read when [`poll`](Sockets::poll) has something to tell: to sleep on. It may be another
    /// one after any call.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.watch.fd()
    }

    /// Whether [`poll`](Sockets::poll) is to be called before sleeping, whatever the descriptor says.
    pub fn is_pending(&mut self) -> bool {
        self.watch.is_pending()
    }

    /// Number of sockets of a kind.
    pub fn count(&self, kind: Kind) -> usize {
        self.sockets().filter(|socket| socket.kind() == kind).count()
    }

    fn sockets(&self) -> impl Iterator<Item = &Socket> {
        self.slots.iter().filter_map(|slot| slot.socket.as_ref())
    }

    /// Whether there are none, and so nothing to wait for.
    pub fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// Takes in which sockets changed and tells `changed` of each, with all that it is ready for. Returns their
    /// number.
    ///
    /// # Errors
    /// None that can be provoked.
    pub fn poll(&mut self, mut changed: impl FnMut(Kind, Key, Readiness)) -> io::Result<usize> {
        let changes = match self.watch.changes(self.is_empty()) {
            Ok(changes) => changes,
            Err(error) => {
                self.fall_back(error)?;
                self.watch.changes(self.is_empty())?
            }
        };
        let mut count = 0;
        for &Change { name, events, is_last } in &changes {
            let (key, which) = Key::of(name);
            // It may have been closed while its event was on the way.
            let Some(socket) = find(&mut self.slots, key) else { continue };
            socket.hear(events);
            changed(socket.kind(), key, Readiness::new(events));
            count += 1;
            if is_last {
                self.watch_again(key, which)?;
            }
        }
        self.watch.recycle(changes);
        Ok(count)
    }

    /// A poll has ended by itself, as the kernel may do when it has no room for another answer.
    #[cold]
    fn watch_again(&mut self, key: Key, which: usize) -> io::Result<()> {
        let Some(socket) = find(&mut self.slots, key) else { return Ok(()) };
        let Some(source) = socket.sources()[which] else { return Ok(()) };
        match self.watch.add(source.fd(), key.name(which), socket.holds_port()) {
            Err(error) => self.fall_back(error),
            Ok(()) => Ok(()),
        }
    }

    /// The set failed: all sockets go to another, if there is one. It tells anew of all that holds.
    #[cold]
    fn fall_back(&mut self, error: io::Error) -> io::Result<()> {
        if !self.watch.is_replaceable() {
            return Err(error);
        }
        let mut watch = Watch::epoll()?;
        for (index, slot) in self.slots.iter().enumerate() {
            let key = Key { index: index as u32, generation: slot.generation };
            for (which, source) in slot.socket.iter().flat_map(named) {
                watch.add(source.fd(), key.name(which), true)?;
            }
        }
        self.watch = watch;
        Ok(())
    }

    fn watch(&mut self, key: Key, socket: &Socket) -> io::Result<()> {
        for (which, source) in named(socket) {
            if let Err(error) = self.watch.add(source.fd(), key.name(which), socket.holds_port()) {
                // What holds a port is epoll's already, which has no room for it.
                if socket.holds_port() {
                    return Err(error);
                }
                self.fall_back(error)?;
                // What came before went to the set that is gone, and a new socket is not among those that were moved.
                return named(socket)
                    .into_iter()
                    .try_for_each(|(which, source)| self.watch.add(source.fd(), key.name(which), true));
            }
        }
        Ok(())
    }

    /// Makes the next call on a socket a real one, whatever is remembered: for a caller who does not wait.
    pub fn presume_ready(&mut self, key: Key) {
        if let Some(socket) = find(&mut self.slots, key) {
            socket.hear(EventFlags::IN | EventFlags::OUT);
        }
    }

    fn insert(&mut self, socket: Socket) -> io::Result<Key> {
        let index = match self.free.last() {
            Some(index) => *index,
            None if self.slots.len() < SLOTS_MAX => self.slots.len() as u32,
            None => return Err(Errno::MFILE.into()),
        };
        let generation = self.slots.get(index as usize).map_or(0, |slot| slot.generation);
        let key = Key { index, generation };
        self.watch(key, &socket)?;
        let slot = Slot { generation, socket: Some(socket) };
        match self.slots.get_mut(index as usize) {
            None => self.slots.push(slot),
            Some(free) => {
                *free = slot;
                self.free.pop();
            }
        }
        Ok(key)
    }

    /// Takes a socket out. Dropping it closes it.
    pub fn remove(&mut self, key: Key) -> Option<Socket> {
        let slot = self.slots.get_mut(key.index as usize).filter(|slot| slot.generation == key.generation)?;
        let socket = slot.socket.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.index);
        for (which, source) in named(&socket) {
            // The descriptor may live on, and is not to wake anybody. A set that failed is replaced with the next look.
            let _ = self.watch.remove(source.fd(), key.name(which), socket.holds_port());
        }
        Some(socket)
    }
}

impl fmt::Debug for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.sockets()).finish()
    }
}

/// The descriptors of a socket, the first and the second.
fn named(socket: &Socket) -> impl Iterator<Item = (usize, &Source)> {
    socket.sources().into_iter().enumerate().filter_map(|(which, source)| Some((which, source?)))
}

fn find(slots: &mut [Slot], key: Key) -> Option<&mut Socket> {
    let slot = slots.get_mut(key.index as usize).filter(|slot| slot.generation == key.generation)?;
    slot.socket.as_mut()
}

/// Whether one of these addresses takes what is meant for `addr`.
fn has_port(mut taken: impl Iterator<Item = io::Result<SocketAddr>>, addr: SocketAddr) -> io::Result<bool> {
    taken.try_fold(false, |has, other| {
        let other = other?;
        Ok(has || other.port() == addr.port() && overlap(other.ip(), addr.ip()))
    })
}

#[cold]
/// Whether what is meant for one address may come to the other: `[::]` takes IPv4 as well.
fn overlap(one: IpAddr, other: IpAddr) -> bool {
    let takes = |any: IpAddr, addr: IpAddr| any.is_unspecified() && (any.is_ipv6() || addr.is_ipv4());
    one == other || takes(one, other) || takes(other, one)
}

fn stale() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "this socket was closed")
}

macro_rules! socket_of_kind {
    ($(#[$doc:meta] $name:ident: $kind:ident;)*) => {$(
        #[$doc]
        ///
        /// # Errors
        /// If it was closed.
        pub fn $name(&mut self, key: Key) -> io::Result<&mut $kind> {
            match find(&mut self.slots, key) {
                Some(Socket::$kind($name)) => Ok($name),
                _ => Err(stale()),
            }
        }
    )*};
}

impl Sockets {
    socket_of_kind! {
        /// A connection.
        tcp: Tcp;
        /// What waits for connections.
        listener: Listener;
        /// A UDP socket.
        udp: Udp;
        /// A socket for ICMP echo.
        echo: Echo;
    }

    /// Starts a connection; [`Tcp::poll_connect`] tells how that went.
    ///
    /// # Errors
    /// If there is no route, or the local address cannot be had.
    pub fn connect(
        &mut self,
        remote: SocketAddr,
        local: Option<SocketAddr>,
        options: &TcpOptions,
    ) -> io::Result<Key> {
        let tcp = Tcp::connect(remote, local, options, self.congestion.as_deref())?;
        self.insert(Socket::Tcp(tcp))
    }

    /// Waits for connections at `addr`; `[::]` is every address, those of IPv4 included.
    ///
    /// # Errors
    /// If the address is none of this machine's or its port is taken or needs rights.
    pub fn listen(&mut self, addr: SocketAddr, backlog: usize, options: &TcpOptions) -> io::Result<Key> {
        if self.shares_ports && !options.reuse_address {
            let text = "where several cores share ports, what is over is no obstacle to any of them: leave SO_REUSEADDR on";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        if self.shares_ports && self.has_listener_at(addr, options.reuse_port)? {
            return Err(Errno::ADDRINUSE.into());
        }
        let listener = Listener::bind(addr, backlog, options, self.shares_ports, self.congestion.as_deref())?;
        self.insert(Socket::Listener(listener))
    }

    /// Whether a listener of ours would get what is meant for `addr`, and at least one of both wants that for itself: the kernel
    /// does not mind where ports are shared.
    fn has_listener_at(&self, addr: SocketAddr, reuses_port: bool) -> io::Result<bool> {
        let listener = |socket: &Socket| match socket {
            Socket::Listener(listener) if !(reuses_port && listener.reuses_port()) => {
                Some(listener.local_addr())
            }
            _ => None,
        };
        has_port(self.sockets().filter_map(listener), addr)
    }

    /// The same of datagrams. Those of port 0 get a port that is free.
    fn has_udp_at(&self, addr: SocketAddr) -> io::Result<bool> {
        let udp = |socket: &Socket| match socket {
            Socket::Udp(udp) => Some(udp.local_addr()),
            _ => None,
        };
        has_port(self.sockets().filter_map(udp), addr)
    }

    /// Takes a connection if one waits, and says who made it.
    ///
    /// # Errors
    /// If the listener was closed, or the process may have no more descriptors.
    pub fn accept(&mut self, key: Key) -> Poll<io::Result<(Key, SocketAddr)>> {
        let accepted = self.listener(key)?.accept()?;
        accepted.map(|(tcp, peer)| Ok((self.insert(Socket::Tcp(tcp))?, peer)))
    }

    /// Opens a UDP socket at `addr`; `[::]` is every address, those of IPv4 included.
    ///
    /// # Errors
    /// As [`listen`](Sockets::listen).
    pub fn bind(&mut self, addr: SocketAddr) -> io::Result<Key> {
        if self.shares_ports && self.has_udp_at(addr)? {
            return Err(Errno::ADDRINUSE.into());
        }
        let udp = Udp::bind(addr, self.shares_ports)?;
        self.insert(Socket::Udp(udp))
    }

    /// Opens a socket for ICMP echo.
    ///
    /// # Errors
    /// If the process has not the right; the text says which.
    pub fn open_echo(&mut self) -> io::Result<Key> {
        let echo = Echo::open()?;
        self.insert(Socket::Echo(echo))
    }
}

//! Both ends of virtual links in this process, each test with devices of its own.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};
use std::{env, fs, process};

use hayase_device::conformance::packet::{Ip, Packet, raw};
use hayase_device::conformance::{Arrived, Harness, PEER_MAC, run};
use hayase_device::{Burst, Device, Frame, Offloads, RxMeta, SharedBytes, TxMeta};

use crate::sys::port::{find, link_is_up};
use crate::{DpdkConfig, DpdkDevice, DpdkError, DpdkFrame, Memory, PoolConfig, open};

/// Small enough to run dry.
const POOL: PoolConfig = PoolConfig { rx_count: 2048, small_count: 1024, large_count: 64 };

/// The station that the frames of a test come from.
const SOMEBODY: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// The station that frames come from which belong to no test.
const NOBODY: [u8; 6] = [2, 0, 0, 0, 0, 77];

const PATIENCE: Duration = Duration::from_secs(5);

static NEXT: AtomicU32 = AtomicU32::new(0);

fn next() -> u32 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A socket's path that is nobody else's, removed with its link.
#[derive(Debug)]
struct Socket(PathBuf);

impl Socket {
    fn new() -> Socket {
        let path = env::temp_dir().join(format!("hayase-dpdk-{}-{}.sock", process::id(), next()));
        // vhost binds to none that is there, and one that had our process id before us may have been killed.
        let _ = fs::remove_file(&path);
        Socket(path)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The driver may have removed it.
        let _ = fs::remove_file(&self.0);
    }
}

/// Ordinary memory, also where there are huge pages. Of those EAL takes more as it goes, and both ends of a link in one process
/// wait for each other then: virtio_user has locked EAL's memory while it waits for vhost to answer, which wants some.
const EAL: [&str; 4] = ["--no-huge", "--no-shconf", "-m", "1024"];

fn config(device: String, offloads: Offloads) -> DpdkConfig {
    DpdkConfig { device, offloads, eal: EAL.map(str::to_owned).into(), pool: POOL, ..DpdkConfig::default() }
}

fn open_one(config: &DpdkConfig) -> DpdkDevice {
    let mut queues = open(config).unwrap_or_else(|error| panic!("{}: {error}", config.device));
    assert_eq!(queues.len(), 1);
    queues.remove(0).into_device().expect("the device stands")
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end_at = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end_at, "not in {PATIENCE:?}: {what}");
        thread::yield_now();
    }
}

/// A device and the one at the other end of its link.
struct Link {
    device: DpdkDevice,
    peer: DpdkDevice,
    /// Whether the device's driver gives back what it has sent only when more follows.
    holds_sent: bool,
    _socket: Socket,
}

impl Link {
    /// The host's side of virtio, then the guest's.
    fn vhost(host: Offloads, guest: Offloads) -> (DpdkDevice, DpdkDevice, Socket) {
        let (number, socket) = (next(), Socket::new());
        let path = socket.0.display();
        let host = open_one(&config(format!("net_vhost{number},iface={path},tso=1"), host));
        let guest = open_one(&config(format!("net_virtio_user{number},path={path}"), guest));
        wait_for_link(&host, &guest);
        (host, guest, socket)
    }

    fn of_host(host: Offloads, guest: Offloads) -> Link {
        let (device, peer, _socket) = Link::vhost(host, guest);
        Link { device, peer, holds_sent: false, _socket }
    }

    fn of_guest(guest: Offloads, host: Offloads) -> Link {
        let (peer, device, _socket) = Link::vhost(host, guest);
        let mut link = Link { device, peer, holds_sent: true, _socket };
        // From the first frame on it holds one to five.
        link.push_out();
        link
    }

    fn memif(is_server: bool, offloads: Offloads) -> Link {
        let (number, socket) = (next(), Socket::new());
        let end = |role: &str, port: u32| {
            let path = socket.0.display();
            let device = format!("net_memif{port},role={role},id=0,socket={path},socket-abstract=no");
            open_one(&config(device, offloads))
        };
        let (server, client) = (end("server", number), end("client", next()));
        wait_for_link(&server, &client);
        let (device, peer) = if is_server { (server, client) } else { (client, server) };
        Link { device, peer, holds_sent: false, _socket: socket }
    }

    /// More frames, so that the driver looks for those that it has sent.
    fn push_out(&mut self) {
        if self.holds_sent && self.device.room() > 0 {
            send(&mut self.device, &raw(NOBODY, PEER_MAC, 60), TxMeta::default());
        }
    }
}

fn wait_for_link(one: &DpdkDevice, other: &DpdkDevice) {
    for device in [one, other] {
        let port = device.port_number();
        eventually("a link that is up", || link_is_up(port).then_some(()));
    }
}

fn send(device: &mut DpdkDevice, bytes: &[u8], meta: TxMeta) {
    let mut frame = device.alloc(bytes.len()).expect("the pool has a buffer");
    frame.extend(bytes.len()).expect("the buffer has room").copy_from_slice(bytes);
    device.transmit(frame, meta);
    device.flush();
}

fn receive(device: &mut DpdkDevice) -> Option<(DpdkFrame, RxMeta)> {
    let mut burst = Burst::new(1);
    device.receive(&mut burst);
    burst.drain().next()
}

fn bytes_of(frame: &DpdkFrame) -> Vec<u8> {
    frame.fragments().flatten().copied().collect()
}

/// A link in the hands of one check. vhost takes a second to make one, so the next check gets it, too.
struct Lent<'a> {
    link: Option<Link>,
    home: &'a Cell<Option<Link>>,
}

impl Lent<'_> {
    fn link(&mut self) -> &mut Link {
        self.link.as_mut().expect("it is there until the check ends")
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.home.set(self.link.take());
    }
}

fn conforms(make: impl FnOnce() -> Link) {
    let home = Cell::new(Some(make()));
    run(|| Lent { link: home.take(), home: &home });
}

impl Harness for Lent<'_> {
    type Device = DpdkDevice;

    fn device(&mut self) -> &mut DpdkDevice {
        &mut self.link().device
    }

    fn peer_send(&mut self, frame: &[u8], meta: TxMeta) {
        send(&mut self.link().peer, frame, meta);
    }

    fn peer_offloads(&self) -> Offloads {
        let peer = &self.link.as_ref().expect("as above").peer;
        peer.caps().offloads & (Offloads::TX_CHECKSUM | Offloads::TSO)
    }

    fn peer_receive(&mut self) -> Option<Arrived> {
        let link = self.link();
        // As a turn does, with what the queue had no room for.
        link.device.flush();
        while let Some((frame, meta)) = receive(&mut link.peer) {
            let bytes = bytes_of(&frame);
            if bytes[6..12] != NOBODY {
                return Some(Arrived { bytes, meta });
            }
        }
        link.push_out();
        None
    }

    fn in_use(&self) -> usize {
        self.link.as_ref().expect("as above").device.in_use()
    }
}

const ALL: Offloads = Offloads::ALL;
const NONE: Offloads = Offloads::NONE;

#[test]
fn the_hosts_side_of_virtio_conforms() {
    for (host, guest) in [(ALL, ALL), (NONE, ALL), (ALL, NONE), (NONE, NONE)] {
        conforms(|| Link::of_host(host, guest));
    }
}

#[test]
fn the_guests_side_of_virtio_conforms() {
    for (guest, host) in [(ALL, ALL), (NONE, ALL), (ALL, NONE), (NONE, NONE)] {
        conforms(|| Link::of_guest(guest, host));
    }
}

#[test]
fn both_ends_of_memif_conform() {
    for is_server in [true, false] {
        for offloads in [ALL, NONE] {
            conforms(|| Link::memif(is_server, offloads));
        }
    }
}

fn drops(device: &DpdkDevice, name: &str) -> u64 {
    let mut found = None;
    device.drops(&mut |reason, count| found = found.or((reason == name).then_some(count)));
    found.expect("a known reason")
}

fn expect(device: &mut DpdkDevice) -> (DpdkFrame, RxMeta) {
    eventually("a frame", || receive(device).filter(|(frame, _)| frame.bytes()[6..12] != NOBODY))
}

/// What is sent on a queue arrives on the one of the same number, and each has its own thread.
#[test]
fn two_queues_carry_frames_on_two_threads() {
    let (number, socket) = (next(), Socket::new());
    let path = socket.0.display();
    let queues = |device: String| open(&DpdkConfig { queues: 2, ..config(device, ALL) }).expect("it opens");
    let host = queues(format!("net_vhost{number},iface={path},tso=1,queues=2"));
    let guest = queues(format!("net_virtio_user{number},path={path},queues=2"));
    assert_eq!((host.len(), guest.len()), (2, 2));
    let pairs = host.into_iter().zip(guest);
    let threads: Vec<_> = pairs.map(|pair| thread::spawn(move || check_pair(pair.0, pair.1))).collect();
    let numbers: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("it works")).collect();
    assert_eq!(numbers, [0, 1]);
}

fn check_pair(host: crate::DpdkQueue, guest: crate::DpdkQueue) -> u16 {
    let (mut host, mut guest) = (host.into_device().unwrap(), guest.into_device().unwrap());
    wait_for_link(&host, &guest);
    assert_eq!(host.caps().queues, 2);
    // Here it hears what its guest takes.
    host.flush();
    let number = host.caps().queue;
    let packet = Packet::tcp(Ip::V4, 20_000 + usize::from(number)).between(SOMEBODY, PEER_MAC);
    for _ in 0..200 {
        for from_host in [true, false] {
            let (from, to) = if from_host { (&mut host, &mut guest) } else { (&mut guest, &mut host) };
            send(from, &packet.build_partial(), packet.segmentation_meta(1400));
            // The link is up as soon as the guest has set up its first queue; until it has the other, frames wait.
            let (frame, meta) = eventually("a frame", || {
                from.flush();
                receive(to).filter(|(frame, _)| frame.bytes()[6..12] != NOBODY)
            });
            assert_eq!(meta.segment_len, 1400);
            assert!(bytes_of(&frame) == packet.build_partial(), "bytes of queue {number}");
        }
    }
    number
}

/// A device sleeps until a frame rings, and the ring is heard once.
#[test]
fn an_interrupt_ends_the_sleep() {
    let Link { mut device, mut peer, _socket, .. } = Link::of_guest(ALL, ALL);
    for is_guest in [true, false] {
        let (sleeper, waker) = if is_guest { (&mut device, &mut peer) } else { (&mut peer, &mut device) };
        for _ in 0..3 {
            while receive(sleeper).is_some() {}
            assert!(sleeper.arm().is_none_or(|nap| nap >= 1_000_000), "it naps although it has an interrupt");
            assert!(!sleeper.pending());
            send(waker, &raw(SOMEBODY, PEER_MAC, 60), TxMeta::default());
            eventually("the bell", || is_readable(sleeper).then_some(()));
            sleeper.disarm();
            assert!(!is_readable(sleeper), "it goes on ringing");
            expect(sleeper);
        }
    }
}

fn is_readable(device: &DpdkDevice) -> bool {
    let mut ready = None;
    device.interests(&mut |interest| ready = Some(crate::sys::bell::is_readable(interest.fd)));
    ready.expect("a descriptor to sleep on")
}

#[test]
fn a_driver_without_interrupts_naps_longer_and_longer() {
    let Link { mut device, mut peer, _socket, .. } = Link::memif(false, NONE);
    device.interests(&mut |interest| panic!("nothing to sleep on: {interest:?}"));
    let (mut rested, mut count, mut last) = (0, 0, 0);
    while rested < 1_000_000_000 {
        last = device.arm().expect("a nap");
        assert!((20_000..=20_000.max(rested / 8)).contains(&last), "{last} after {rested}");
        (rested, count) = (rested + last, count + 1);
    }
    assert!(count < 200 && last == 16_000_000, "{count} naps in the first second, the last of {last}");
    send(&mut peer, &raw(SOMEBODY, PEER_MAC, 60), TxMeta::default());
    // A client offers buffers when it looks for frames: the first may have to wait for one.
    eventually("a frame", || {
        peer.flush();
        receive(&mut device)
    });
    assert_eq!(device.arm(), Some(20_000));
    while device.arm() < Some(16_000_000) {}
    send(&mut device, &raw(PEER_MAC, SOMEBODY, 60), TxMeta::default());
    assert_eq!(device.arm(), Some(20_000), "what was sent may be answered soon");
}

#[test]
fn a_peer_that_is_gone_costs_frames_and_nothing_else() {
    for is_guest in [true, false] {
        let link = if is_guest { Link::of_guest(ALL, ALL) } else { Link::of_host(ALL, ALL) };
        let Link { mut device, peer, _socket, .. } = link;
        drop(peer);
        let port = device.port_number();
        eventually("the link is down", || (!link_is_up(port)).then_some(()));
        let before = drops(&device, "tx_dropped");
        for _ in 0..600 {
            send(&mut device, &raw(SOMEBODY, PEER_MAC, 60), TxMeta::default());
        }
        assert!(drops(&device, "tx_dropped") > before, "they went nowhere");
        assert!(device.room() > 0 && !device.pending() && receive(&mut device).is_none());
    }
}

#[test]
fn a_guest_comes_back() {
    let (mut host, guest, socket) = Link::vhost(ALL, ALL);
    drop(guest);
    let path = socket.0.display();
    let mut guest = open_one(&config(format!("net_virtio_user{},path={path}", next()), NONE));
    wait_for_link(&host, &guest);
    send(&mut guest, &raw(SOMEBODY, PEER_MAC, 99), TxMeta::default());
    assert_eq!(expect(&mut host).0.len(), 99);
    // This one takes no super-segments, and the host minds it.
    let packet = Packet::tcp(Ip::V6, 3000).between(PEER_MAC, SOMEBODY);
    send(&mut host, &raw(PEER_MAC, SOMEBODY, 60), TxMeta::default());
    send(&mut host, &packet.build_partial(), packet.segmentation_meta(1400));
    let lens: Vec<_> = (0..4).map(|_| expect(&mut guest).0.total_len()).collect();
    assert_eq!(lens, [60, 1474, 1474, 274]);
}

/// Frames whose buffer the driver still has go out a second time in mbufs of their own.
#[test]
fn a_frame_is_sent_again_while_the_driver_has_it() {
    let Link { mut device, mut peer, _socket, .. } = Link::of_guest(ALL, ALL);
    let bytes = raw(SOMEBODY, PEER_MAC, 500);
    let mut frame = device.alloc(bytes.len()).unwrap();
    frame.extend(bytes.len()).unwrap().copy_from_slice(&bytes);
    for _ in 0..3 {
        let mut chain = frame.share();
        chain.truncate(100);
        let mut rest = frame.share();
        rest.trim_front(100);
        chain.chain(rest);
        device.transmit(chain, TxMeta::default());
    }
    assert!(!frame.is_unique() && frame.bytes_mut().is_none());
    device.flush();
    for _ in 0..3 {
        assert_eq!(bytes_of(&expect(&mut peer).0), bytes);
    }
}

/// Where an owner was dropped, if it was.
type Fate = Arc<Mutex<Option<ThreadId>>>;

fn of(fate: &Fate) -> Option<ThreadId> {
    *fate.lock().unwrap()
}

/// An owner that tells when it is dropped.
struct Told(Memory, Fate);

impl AsRef<[u8]> for Told {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref()
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        *self.1.lock().unwrap() = Some(thread::current().id());
    }
}

/// Such bytes, in memory that every device reaches.
fn told(bytes: &[u8]) -> (SharedBytes, Fate) {
    let (mut memory, fate) = (Memory::new(100_000).expect("there is memory"), Fate::default());
    memory.as_mut()[1000..][..bytes.len()].copy_from_slice(bytes);
    (SharedBytes::from_owner(Told(memory, Arc::clone(&fate))).slice(1000..80_000), fate)
}

#[test]
fn bytes_in_registered_memory_are_sent_from_where_they_are() {
    let mut link = Link::of_guest(ALL, ALL);
    assert!(link.device.wrap(&vec![1; 500].into()).is_none(), "the host could not see them");
    let bytes = raw(SOMEBODY, PEER_MAC, 500);
    let (shared, fate) = told(&bytes);
    let mut frame = link.device.wrap(&shared).expect("the host sees them");
    drop(shared);
    let kept = frame.capacity();
    frame.truncate(500);
    assert_eq!(frame.capacity(), kept, "the stack gives back what it has counted");
    let again = frame.share();
    link.device.transmit(frame, TxMeta::default());
    link.device.transmit(again, TxMeta::default());
    link.device.flush();
    for _ in 0..2 {
        assert_eq!(bytes_of(&expect(&mut link.peer).0), bytes);
    }
    assert_eq!(of(&fate), None, "the driver still has them");
    eventually("the driver is done with them", || {
        while receive(&mut link.peer).is_some() {}
        link.push_out();
        of(&fate)
    });
}

/// Sends bytes of the application, and leaves the driver with them.
fn send_told(device: &mut DpdkDevice) -> Fate {
    let (shared, fate) = told(&raw(SOMEBODY, PEER_MAC, 500));
    let mut frame = device.wrap(&shared).expect("the host sees them");
    frame.truncate(500);
    device.transmit(frame, TxMeta::default());
    device.flush();
    drop(shared);
    assert_eq!(of(&fate), None, "the driver still has them");
    fate
}

/// A virtual port is closed on a thread of EAL's: what its driver still has is dropped on ours all the same.
#[test]
fn bytes_that_the_driver_still_has_come_home_when_its_port_is_closed() {
    let mut link = Link::of_guest(ALL, ALL);
    let fate = send_told(&mut link.device);
    drop(link);
    assert_eq!(of(&fate), Some(thread::current().id()));
}

/// One thread has a lease, or none, of a port whose last device is dropped on another.
#[test]
fn a_port_of_several_threads_is_closed_when_none_but_the_last_has_frames() {
    for holds_lease in [true, false] {
        let (number, socket) = (next(), Socket::new());
        let path = socket.0.display();
        let queues =
            |device: String| open(&DpdkConfig { queues: 2, ..config(device, ALL) }).expect("it opens");
        let host = queues(format!("net_vhost{number},iface={path},tso=1,queues=2"));
        let mut host: Vec<_> = host.into_iter().map(|queue| queue.into_device().unwrap()).collect();
        let name = format!("net_virtio_user{number}");
        let mut guest = queues(format!("{name},path={path},queues=2"));
        let (last, first) = (guest.pop().unwrap(), guest.pop().unwrap());
        let (is_gone, goes_on) = (Barrier::new(2), Barrier::new(2));
        thread::scope(|scope| {
            let there = scope.spawn(|| {
                let mut device = first.into_device().unwrap();
                let bytes = eventually("a frame", || receive(&mut device));
                let lease = holds_lease.then(|| bytes.0.into_shared());
                let fate = send_told(&mut device);
                drop(device);
                is_gone.wait();
                goes_on.wait();
                assert_eq!(
                    find(&name).is_some(),
                    holds_lease,
                    "it is closed, but for a lease of this thread"
                );
                assert!(lease.as_ref().is_none_or(|lease| lease.len() == 60));
                drop(lease);
                assert_eq!(find(&name), None, "it is closed with the lease");
                (fate, thread::current().id())
            });
            let last = last.into_device().unwrap();
            wait_for_link(&host[0], &last);
            send(&mut host[0], &raw(PEER_MAC, SOMEBODY, 60), TxMeta::default());
            is_gone.wait();
            drop(last);
            goes_on.wait();
            let (fate, id) = there.join().unwrap();
            assert_eq!(of(&fate), Some(id), "it is dropped on the thread that sent it");
        });
        host.clear();
    }
}

#[test]
fn a_lease_outlives_its_device() {
    let Link { mut device, mut peer, _socket, .. } = Link::of_host(ALL, ALL);
    let bytes = raw(SOMEBODY, PEER_MAC, 700);
    send(&mut peer, &bytes, TxMeta::default());
    let lease = expect(&mut device).0.into_shared();
    drop((device, peer));
    assert_eq!(&lease[..], bytes);
}

#[test]
fn memory_comes_back_when_ports_are_closed() {
    for _ in 0..30 {
        let pool = PoolConfig { rx_count: 8192, small_count: 8192, large_count: 128 };
        let device = format!("net_null{}", next());
        drop(open_one(&DpdkConfig { pool, ..config(device, ALL) }));
    }
}

#[test]
fn the_spread_of_flows_is_read_from_the_driver() {
    let device = format!("net_null{},no-rx=1", next());
    let queues = open(&DpdkConfig { queues: 2, ..config(device, ALL) }).expect("it opens");
    let device = queues.into_iter().next().expect("two queues").into_device().unwrap();
    let rss = device.rss().expect("net_null says how it spreads flows");
    assert_eq!((0..4).map(|hash| rss.queue_of_hash(hash)).collect::<Vec<_>>(), [0, 1, 0, 1]);
}

#[test]
fn what_cannot_be_opened_says_why_and_leaves_the_next_alone() {
    let fails = |device: String| open(&config(device, ALL)).expect_err("it cannot be");
    let number = next();
    let error = fails(format!("net_virtio_user{number},path=/nonexistent/x.sock"));
    assert!(
        matches!(&error, DpdkError::Probe { .. }) && error.to_string().contains("/nonexistent/x.sock"),
        "{error}"
    );
    let error = fails(format!("net_virtio_user{number},path=/tmp/x.sock,packed_vq=1,server=1"));
    assert!(error.to_string().contains("on a thread of its own: leave one out"), "{error}");
    let error = fails(format!("net_no_such_driver{number}"));
    assert!(matches!(error, DpdkError::Probe { .. }), "{error}");
    let error = fails("0000:ff:1f.7".into());
    assert!(matches!(&error, DpdkError::NoPci(device) if device == "0000:ff:1f.7"), "{error}");
    let error =
        open(&DpdkConfig { mtu: 9000, ..config(format!("net_memif{number}"), ALL) }).expect_err("1500");
    assert!(matches!(error, DpdkError::Start { .. }), "{error}");
    let pool = PoolConfig { small_count: 1 << 24, ..POOL };
    let error = open(&DpdkConfig { pool, ..config(format!("net_null{number}"), ALL) }).expect_err("too much");
    assert!(matches!(error, DpdkError::NoMemory { .. }), "{error}");
    let device = open_one(&config(format!("net_null{number}"), ALL));
    let error = fails(format!("net_null{number}"));
    assert!(matches!(error, DpdkError::Busy(_)), "{error}");
    let eal = vec!["--log-level=debug".into()];
    let error = open(&DpdkConfig { eal, ..config(format!("net_null{}", next()), ALL) }).expect_err("it runs");
    assert!(matches!(error, DpdkError::EalDiffers { .. }), "{error}");
    drop(device);
    open_one(&config(format!("net_null{number}"), ALL));
}

//! Hosts of several cores, with a peer on the other end of cables that lead to their queues.

mod absent;
mod devices;
mod discovery;
mod endings;
mod flows;
mod moves;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use hayase_device::heap::{HeapFrame, Pool, PoolConfig};
use hayase_device::{Burst, Caps, Device, Frame, Interest, Offloads, Rss, RxMeta, SharedBytes, TxMeta};
use hayase_stack::Config;

use super::AcceptPolicy;
use super::arrival::{Arrival, classify};
use super::ring::{Passed, Receiver, Sender, ring};
use crate::host::Host;
use crate::net::{EchoSocket, TcpListener, TcpSocket, TcpStream, UdpSocket};
use crate::reactor::Reactor;
use crate::runtime::Queue;
use crate::task::spawn_on;
use crate::time::{self, sleep, timeout};
use crate::{Builder, Model, Runtime, spawn};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const GATE: u16 = 7000;
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);

/// How the client's NIC chooses the cable, that is the server's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spreading {
    /// As the server's NIC says it does.
    Rss,
    /// Without regard to flows.
    RoundRobin,
    /// Everything by the last.
    Last,
}

/// A device on cables to other threads. Nothing signals a frame, so it asks for naps.
#[derive(Debug)]
struct Nic {
    cables: Vec<(Sender, Receiver)>,
    spreading: Spreading,
    rss: Option<Rss>,
    next: usize,
    caps: Caps,
    mac: [u8; 6],
    pool: Pool,
    dropped: u64,
    /// Segments that came in.
    segments: u64,
}

/// The name by which a NIC counts the segments that came in at its queue, whosever they are.
const SEGMENTS: &str = "rx_segments";

impl Nic {
    fn new(cables: Vec<(Sender, Receiver)>, spreading: Spreading, rss: Option<Rss>, mac: u8) -> Nic {
        let pool = Pool::new(PoolConfig::default());
        let (caps, mac) = (Caps::ethernet(1500), [2, 0, 0, 0, 0, mac]);
        Nic { cables, spreading, rss, next: 0, caps, mac, pool, dropped: 0, segments: 0 }
    }

    fn cable_of(&mut self, frame: &[u8]) -> usize {
        match (self.spreading, classify(frame), &self.rss) {
            // NICs hash fragments by what all of a packet have in common.
            (_, Arrival::Fragment(key, _), _) => key.ident as usize % self.cables.len(),
            (Spreading::Last, ..) => self.cables.len() - 1,
            (Spreading::RoundRobin, ..) => {
                self.next = (self.next + 1) % self.cables.len();
                self.next
            }
            (Spreading::Rss, Arrival::Flow(flow), Some(rss)) => {
                usize::from(rss.queue(&flow)) % self.cables.len()
            }
            _ => 0,
        }
    }
}

impl Device for Nic {
    type Frame = HeapFrame;

    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn set_offloads(&mut self, _wanted: Offloads) -> Offloads {
        Offloads::NONE
    }

    fn mac(&self) -> [u8; 6] {
        self.mac
    }

    fn receive(&mut self, burst: &mut Burst<HeapFrame>) -> usize {
        let before = burst.len();
        for (_, cable) in &mut self.cables {
            while burst.room() > 0 && cable.len() > 0 {
                cable.take(|parcel| {
                    let arrival = classify(&parcel.bytes);
                    self.segments += u64::from(matches!(arrival, Arrival::Flow(flow) if !flow.udp));
                    let mut frame = self.pool.alloc(parcel.bytes.len()).expect("the pool is large");
                    let bytes = frame.extend(parcel.bytes.len()).expect("it fits");
                    bytes.copy_from_slice(&parcel.bytes);
                    mark_urgent(bytes);
                    burst.push(frame, RxMeta::default());
                });
            }
        }
        burst.len() - before
    }

    fn alloc(&mut self, len: usize) -> Option<HeapFrame> {
        self.pool.alloc(len)
    }

    fn wrap(&mut self, _bytes: &SharedBytes) -> Option<HeapFrame> {
        None
    }

    fn room(&self) -> usize {
        self.cables.iter().map(|(cable, _)| cable.room()).min().unwrap_or(0)
    }

    fn transmit(&mut self, frame: HeapFrame, _meta: TxMeta) {
        let cable = self.cable_of(frame.bytes());
        self.dropped += u64::from(!self.cables[cable].0.send(&frame, passed(0)));
    }

    fn flush(&mut self) {}

    fn pending(&self) -> bool {
        self.cables.iter().any(|(_, cable)| cable.len() > 0)
    }

    fn interests(&self, _interest: &mut dyn FnMut(Interest)) {}

    fn arm(&mut self) -> Option<u64> {
        Some(50_000)
    }

    fn rss(&self) -> Option<&Rss> {
        self.rss.as_ref()
    }

    fn drops(&self, count: &mut dyn FnMut(&'static str, u64)) {
        count("tx_dropped", self.dropped);
        count(SEGMENTS, self.segments);
    }
}

/// What a segment begins with that marks data as urgent: our stacks do not send such data.
const URGENT: &[u8] = b"URGENT";

/// How far the urgent data of such a segment goes, from its beginning.
const URGENT_LEN: u16 = 10;

/// Sets the URG bit and the urgent pointer of a TCP segment of IPv4 that asks for it.
fn mark_urgent(frame: &mut [u8]) {
    const TCP: usize = 34;
    let offset = frame.get(TCP + 12).map_or(0, |byte| usize::from(byte >> 4) * 4);
    if !frame.get(TCP + offset..).is_some_and(|payload| payload.starts_with(URGENT)) {
        return;
    }
    let word = |frame: &[u8], at: usize| u16::from_be_bytes([frame[TCP + at], frame[TCP + at + 1]]);
    // RFC 1624: the checksum follows the words that change.
    let mut sum = u32::from(!word(frame, 16));
    for (at, new) in [(12, word(frame, 12) | 0x20), (18, URGENT_LEN)] {
        sum += u32::from(!word(frame, at)) + u32::from(new);
        frame[TCP + at..TCP + at + 2].copy_from_slice(&new.to_be_bytes());
    }
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    frame[TCP + 16..TCP + 18].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

/// A server's runtime and what the client's needs.
struct Site {
    server: Runtime,
    client: Nic,
}

fn attach(reactor: &mut Reactor, nic: Nic, addr: Ipv4Addr, config: &Config) -> io::Result<Vec<Host>> {
    let host = reactor.attach(nic, config.clone(), time::now())?;
    host.add_address(format!("{addr}/24").parse().unwrap())?;
    Ok(vec![host])
}

/// A server with so many cores and queues.
fn site(cores: usize, queues: usize, spreading: Spreading, policy: AcceptPolicy) -> Site {
    site_with(Runtime::builder().cores(cores).accept(policy), cores, queues, spreading)
}

fn site_with(builder: Builder, cores: usize, queues: usize, spreading: Spreading) -> Site {
    let rss = (spreading == Spreading::Rss && queues == cores).then(|| Rss::even(queues as u16));
    site_by(builder, queues, spreading, rss)
}

/// The same with a NIC that spreads by `rss`.
fn site_by(builder: Builder, queues: usize, spreading: Spreading, rss: Option<Rss>) -> Site {
    let (mut near, mut far) = (Vec::new(), Vec::new());
    for _ in 0..queues {
        let ((to_server, from_client), (to_client, from_server)) = (ring(), ring());
        near.push((to_server, from_server));
        far.push((to_client, from_client));
    }
    let queue = |cable| {
        let rss = rss.clone();
        let attach = move |reactor: &mut Reactor, config: &_| {
            attach(reactor, Nic::new(vec![cable], Spreading::Rss, rss, 2), SERVER, config)
        };
        Box::new(attach) as Queue
    };
    let queues = far.into_iter().map(queue).collect();
    let server = builder.build_with(|builder, reactor, handle| {
        let queues = builder.seat(queues, true)?;
        builder.attach_devices(reactor, handle, vec![queues])
    });
    Site { server: server.unwrap(), client: Nic::new(near, spreading, rss, 1) }
}

/// Runs the client's part on a thread of its own, while the server's runs on this one.
fn play<C: Future + 'static, S: Future>(
    site: Site,
    client: impl FnOnce() -> C + Send + 'static,
    server: impl FnOnce() -> S,
) -> (C::Output, S::Output)
where
    C::Output: Send + 'static,
{
    let Site { server: runtime, client: nic } = site;
    let parts = send(nic);
    let queue = || {
        let attach = move |reactor: &mut Reactor, config: &_| attach(reactor, parts.build(), CLIENT, config);
        vec![vec![Box::new(attach) as Queue]]
    };
    play_on(runtime, queue, client, server)
}

/// The same with any devices, which are made on the client's thread.
fn play_on<C: Future + 'static, S: Future>(
    runtime: Runtime,
    devices: impl FnOnce() -> Vec<Vec<Queue>> + Send + 'static,
    client: impl FnOnce() -> C + Send + 'static,
    server: impl FnOnce() -> S,
) -> (C::Output, S::Output)
where
    C::Output: Send + 'static,
{
    let (stands, has_stood) = mpsc::channel();
    let thread = thread::spawn(move || {
        let builder = Runtime::builder();
        let runtime =
            builder.build_with(|builder, reactor, handle| builder.attach_devices(reactor, handle, devices()));
        let runtime = runtime.unwrap();
        stands.send(()).unwrap();
        runtime.block_on(async {
            timeout(Duration::from_secs(30), client()).await.expect("the client is stuck")
        })
    });
    // The time that the server has does not run before there is a client. The server's stacks go on meanwhile.
    runtime.block_on(async {
        while has_stood.try_recv() == Err(mpsc::TryRecvError::Empty) {
            sleep(Duration::from_millis(1)).await;
        }
    });
    let output = runtime
        .block_on(async { timeout(Duration::from_secs(30), server()).await.expect("the server is stuck") });
    // The server's stacks go on until the client has finished.
    runtime.block_on(async {
        while !thread.is_finished() {
            sleep(Duration::from_millis(1)).await;
        }
    });
    (thread.join().unwrap(), output)
}

/// What a device is made of, which may travel where the device may not.
fn passed(hops: u8) -> Passed {
    Passed { meta: RxMeta::default(), hops }
}

struct Parts(Vec<(Sender, Receiver)>, Spreading, Option<Rss>, u8);

fn send(nic: Nic) -> Parts {
    Parts(nic.cables, nic.spreading, nic.rss, nic.mac[5])
}

impl Parts {
    fn build(self) -> Nic {
        Nic::new(self.0, self.1, self.2, self.3)
    }
}

/// Listens on this core, and echoes and counts every connection.
async fn echo(port: u16, count: Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await.unwrap();
    drop(spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            drop(spawn(echo_one(stream)));
        }
    }));
}

async fn echo_one(mut stream: TcpStream) {
    let mut buf = [0; 2048];
    while let Ok(len @ 1..) = stream.read(&mut buf).await {
        if stream.write_all(&buf[..len]).await.is_err() {
            break;
        }
    }
}

/// Starts echo servers on these cores, and returns how many connections each gets.
async fn start_echo(port: u16, cores: &[usize]) -> Vec<Arc<AtomicUsize>> {
    let counts: Vec<_> = cores.iter().map(|_| Arc::new(AtomicUsize::new(0))).collect();
    for (core, count) in cores.iter().zip(&counts) {
        let count = Arc::clone(count);
        spawn_on(*core, move || echo(port, count)).unwrap().await.unwrap();
    }
    counts
}

fn counted(counts: &[Arc<AtomicUsize>]) -> Vec<usize> {
    counts.iter().map(|count| count.load(Ordering::Relaxed)).collect()
}

fn server(port: u16) -> SocketAddr {
    (SERVER, port).into()
}

/// Lets the client begin: it waits for this port.
async fn let_in() -> TcpListener {
    TcpListener::bind((SERVER, GATE)).await.unwrap()
}

/// Waits until the server is ready.
async fn wait_at_the_gate() {
    drop(connect(GATE).await);
}

/// Sends a pattern on many connections at once and wants it back.
async fn knock(port: u16, connections: usize) {
    let mut tasks = Vec::new();
    for number in 0..connections {
        tasks.push(spawn(async move {
            let mut stream = connect(port).await;
            let sent: Vec<u8> = (0..5000).map(|i| (i * 7 + number) as u8).collect();
            let mut back = vec![0; sent.len()];
            stream.write_all(&sent).await.unwrap();
            stream.read_exact(&mut back).await.unwrap();
            assert!(back == sent, "connection {number}");
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

/// The server may not have bound its port yet.
async fn connect(port: u16) -> TcpStream {
    loop {
        match TcpStream::connect(server(port)).await {
            Ok(stream) => return stream,
            Err(_) => sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Every kind of NIC, from the best to the worst.
const NICS: [(usize, Spreading); 3] =
    [(2, Spreading::Rss), (2, Spreading::RoundRobin), (1, Spreading::RoundRobin)];

#[test]
fn listeners_on_all_cores_share_the_connections() {
    for (queues, spreading) in NICS {
        let ((), counts) = play(
            site(2, queues, spreading, AcceptPolicy::Local),
            || async {
                wait_at_the_gate().await;
                knock(80, 40).await;
            },
            || async {
                let counts = start_echo(80, &[0, 1]).await;
                let _gate = let_in().await;
                while counted(&counts).iter().sum::<usize>() < 40 {
                    sleep(Duration::from_millis(1)).await;
                }
                counted(&counts)
            },
        );
        assert!(counts.iter().all(|count| *count >= 5), "{queues} {spreading:?}: {counts:?}");
    }
}

#[test]
fn a_listener_on_one_core_gets_what_comes_to_any_queue() {
    for (queues, spreading) in NICS {
        for core in [0, 1] {
            let ((), count) = play(
                site(2, queues, spreading, AcceptPolicy::Local),
                || knock(80, 20),
                || async move {
                    let counts = start_echo(80, &[core]).await;
                    while counted(&counts) != [20] {
                        sleep(Duration::from_millis(1)).await;
                    }
                    counted(&counts)
                },
            );
            assert_eq!(count, [20], "{queues} {spreading:?}, core {core}");
        }
    }
}

#[test]
fn what_a_core_asks_for_comes_back_to_it() {
    for (queues, spreading) in NICS {
        let client = || async {
            let udp = UdpSocket::bind((CLIENT, 53)).await.unwrap();
            drop(spawn(async move {
                let mut buf = [0; 4000];
                while let Ok((len, from)) = udp.recv_from(&mut buf).await {
                    udp.send_to(&buf[..len], from).await.unwrap();
                }
            }));
            let listener = TcpListener::bind((CLIENT, 90)).await.unwrap();
            drop(spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    drop(spawn(echo_one(stream)));
                }
            }));
            // Until all is done.
            wait_at_the_gate().await;
        };
        let ask = |number: u16| async move {
            // The client may not listen yet; and from a port that nobody chose with care.
            let mut stream = loop {
                let socket = TcpSocket::new_v4().unwrap();
                if number == 10 {
                    socket.bind((SERVER, 4711).into()).unwrap();
                }
                match socket.connect((CLIENT, 90).into()).await {
                    Ok(stream) => break stream,
                    Err(_) => sleep(Duration::from_millis(5)).await,
                }
            };
            stream.write_all(b"ping").await.unwrap();
            let mut buf = [0; 4];
            stream.read_exact(&mut buf).await.unwrap();
            assert_eq!(&buf, b"ping");
            // Fragments, too: only the first of them has ports.
            let udp = UdpSocket::bind((SERVER, 0)).await.unwrap();
            udp.send_to(&[number as u8; 3000], (CLIENT, 53)).await.unwrap();
            let mut buf = [0; 4000];
            let received = timeout(Duration::from_secs(5), udp.recv_from(&mut buf)).await;
            let (len, _) = received.expect("the datagram comes back").unwrap();
            assert_eq!((len, buf[2999]), (3000, number as u8));
            let echo = EchoSocket::open().unwrap();
            echo.send(CLIENT.into(), number, b"x").unwrap();
            let reply = timeout(Duration::from_secs(5), echo.recv()).await;
            assert_eq!(reply.expect("the echo comes back").unwrap().sequence, number);
        };
        play(site(2, queues, spreading, AcceptPolicy::Local), client, || async move {
            for number in 0..11 {
                spawn_on(usize::from(number) % 2, move || ask(number)).unwrap().await.unwrap();
            }
            let gate = let_in().await;
            drop(gate.accept().await.unwrap());
        });
    }
}

#[test]
fn policies_deal_connections_to_all_who_listen() {
    let policies = [AcceptPolicy::RoundRobin, AcceptPolicy::LeastLoaded];
    for (policy, model) in policies.into_iter().flat_map(|policy| Model::ALL.map(|model| (policy, model))) {
        for (queues, spreading) in NICS {
            let client = || async {
                wait_at_the_gate().await;
                let mut streams = Vec::new();
                for _ in 0..20 {
                    let mut stream = connect(80).await;
                    stream.write_all(b"hello").await.unwrap();
                    let mut buf = [0; 5];
                    stream.read_exact(&mut buf).await.unwrap();
                    streams.push(stream);
                }
            };
            let builder = Runtime::builder().cores(3).accept(policy).model(model);
            let ((), counts) = play(site_with(builder, 3, queues, spreading), client, || async {
                let counts = start_echo(80, &[0, 1, 2]).await;
                let _gate = let_in().await;
                while counted(&counts).iter().sum::<usize>() < 20 {
                    sleep(Duration::from_millis(1)).await;
                }
                counted(&counts)
            });
            let is_fair = counts.iter().all(|count| (4..=9).contains(count));
            assert!(is_fair, "{model} {policy:?} {queues}: {counts:?}");
        }
    }
}

/// Connections that were there before a second core listened stay where they are.
#[test]
fn a_second_listener_takes_no_connection_from_the_first() {
    for (queues, spreading) in NICS {
        let talk = |streams: Vec<TcpStream>| async {
            let mut streams = streams;
            for stream in &mut streams {
                stream.write_all(b"still").await.unwrap();
                let mut buf = [0; 5];
                stream.read_exact(&mut buf).await.unwrap();
            }
            streams
        };
        let client = move || async move {
            let mut streams = Vec::new();
            for _ in 0..20 {
                streams.push(connect(80).await);
            }
            for _ in 0..30 {
                streams = talk(streams).await;
                sleep(Duration::from_millis(5)).await;
            }
        };
        play(site(2, queues, spreading, AcceptPolicy::Local), client, || async {
            let counts = start_echo(80, &[0]).await;
            while counted(&counts) != [20] {
                sleep(Duration::from_millis(1)).await;
            }
            let second = spawn_on(1, || async {
                let listener = TcpListener::bind((SERVER, 80)).await.unwrap();
                sleep(Duration::from_millis(40)).await;
                drop(listener);
            });
            second.unwrap().await.unwrap();
        });
    }
}

#[test]
fn what_the_cores_of_other_networks_cannot_do_is_said() {
    let runtime = Runtime::builder().device("wire".parse().unwrap()).cores(2).build().unwrap();
    let server = runtime.host();
    let error = runtime.block_on(runtime.peer().unwrap().scope(async move {
        let listener = server.scope(TcpListener::bind("10.7.0.2:7")).await.unwrap();
        let stream = TcpStream::connect("10.7.0.2:7").await.unwrap();
        drop(listener);
        stream.migrate(1).await.unwrap_err()
    }));
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    let too_many = super::seat(Vec::new(), 65, AcceptPolicy::Local).map(drop);
    assert_eq!(too_many.unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn a_full_ring_drops_and_keeps_what_it_has() {
    let (mut sender, mut receiver) = ring();
    let pool = Pool::new(PoolConfig::default());
    let frame = pool.alloc(64).unwrap();
    let sent = (0..10_000).take_while(|_| sender.send(&frame, passed(0))).count();
    assert!(sent > 0 && sender.room() == 0 && receiver.len() == sent);
    assert_eq!(receiver.take(|parcel| parcel.label.hops), Some(0));
    assert!(sender.send(&frame, passed(3)) && !sender.send(&frame, passed(0)));
}

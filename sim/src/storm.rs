//! Storms: random worlds, random traffic and random mixtures of faults, from one seed each.
//!
//! Nobody says what is to come of a storm: connections fail as they must when cables are cut and hosts lose power. What
//! must hold is the rules of every simulation.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

use hayase::Host;
use hayase::net::{Congestion, Keepalive, TcpListener, TcpSocket, TcpStream};
use hayase::stack::Config;
use hayase::time::{sleep, timeout};

use crate::flow::Flow;
use crate::forge::TcpForge;
use crate::link::Link;
use crate::random::Random;
use crate::sim::Sim;
use crate::topology::Topology;

/// Clients of one storm at most.
const CLIENTS_MAX: u64 = 30;

/// Faults of one storm at most.
const FAULTS_MAX: u64 = 25;

/// Within this time everybody begins.
const START_MAX: Duration = Duration::from_secs(20);

/// How long a server waits for its client: longer than all retransmissions of a SYN.
const ACCEPT_MAX: Duration = Duration::from_secs(400);

/// Connections at most that a client makes, one after the other, if it makes them from the same port to the same port.
const CALLS_MAX: u64 = 4;

/// The port of the first such client; those of the others follow.
const OWN_PORT: u16 = 20_000;

/// Seconds that such a client rests: no SYN of before is on its way any more, and often its TIME_WAIT is over.
const REST: RangeInclusive<u64> = 5..=100;

/// Frames of one flood at most.
const FLOOD_MAX: u64 = 500;

/// What came of a storm that broke no rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Storm {
    /// Hosts of its world.
    pub hosts: u64,
    /// Connections that were begun.
    pub flows: u64,
    /// Connections over which all arrived.
    pub completed: u64,
    /// Connections whose data was with the server before their handshake was over, by hosts that kept their power.
    pub early: u64,
    /// Bytes that these carried.
    pub bytes: u64,
    /// Cuts, changes of links, reboots and floods.
    pub faults: u64,
    /// How long it lasted, in its own time.
    pub time: Duration,
    /// Events in its network.
    pub events: u64,
}

/// Runs the storm of this seed.
///
/// # Panics
/// If a rule is broken; the text names it, and what is printed before says how to replay the storm.
#[must_use]
pub fn run(seed: u64) -> Storm {
    let result = Rc::new(Cell::new(Storm::default()));
    let mut random = Random::new(seed ^ 0x0005_7031);
    let replay = format!("hayase sim storm --seed {seed} --count 1");
    let builder =
        Sim::builder().exactly(seed, replay).topology_with(some_topology).stack(some_config(&mut random));
    builder.run(|sim| {
        let result = Rc::clone(&result);
        async move { result.set(rage(sim).await) }
    });
    result.get()
}

fn some_topology(random: &mut Random) -> Topology {
    let link = Link::bad(random);
    match random.below(4) {
        0 => Topology::star(random.between(2..=6) as usize, &link),
        1 => {
            let (clients, servers) = (random.between(1..=4) as usize, random.between(1..=2) as usize);
            Topology::dumbbell(clients, servers, &Link::default(), &link)
        }
        _ => Topology::asymmetric_pair(link, Link::bad(random)),
    }
}

fn some_config(random: &mut Random) -> Config {
    let mut config = Config::default();
    let len = |random: &mut Random| 8192 << random.between(0..=7);
    config.send_buffer_len = len(random);
    config.receive_buffer_len = len(random);
    config.memory_len_max = (1 << 20) << random.between(0..=6);
    config.syn_backlog_max = random.between(1..=64) as usize;
    config.pacing = random.chance(0.7);
    config.sack = random.chance(0.9);
    config.timestamps = random.chance(0.8);
    config.window_scaling = random.chance(0.9);
    config
}

async fn rage(sim: Sim) -> Storm {
    let mut random = sim.random();
    let hosts = sim.hosts().len();
    let mut storm = Storm { hosts: hosts as u64, ..Storm::default() };
    let weather = {
        let (sim, random) = (sim.clone(), random.fork());
        hayase::spawn(bad_weather(sim, random))
    };
    let mut clients = Vec::new();
    for index in 0..random.between(1..=CLIENTS_MAX) {
        let from = random.below(hosts as u64) as usize;
        let to = (from + 1 + random.below(hosts as u64 - 1) as usize) % hosts;
        let call = Call { index: index as u16, from, to, random: random.fork(), sim: sim.clone() };
        clients.push(hayase::spawn(call.make()));
    }
    for client in clients {
        let Ok(calls) = client.await else { continue };
        storm.flows += calls.begun;
        storm.completed += calls.completed;
        storm.bytes += calls.bytes;
    }
    storm.faults = weather.await.unwrap_or(0);
    let early = |host: Host| host.counters().ok()?.get("TcpExtTCPFastOpenPassive");
    storm.early = sim.hosts().into_iter().filter_map(early).sum();
    Storm { time: sim.elapsed(), events: sim.trace().events(), ..storm }
}

/// One connection, to be made at some time, or several, one after the other between the same two ports.
struct Call {
    index: u16,
    from: usize,
    to: usize,
    random: Random,
    sim: Sim,
}

/// What came of a client's connections.
#[derive(Debug, Default)]
struct Calls {
    begun: u64,
    completed: u64,
    bytes: u64,
}

impl Call {
    async fn make(mut self) -> Calls {
        sleep(self.random.time(START_MAX)).await;
        let own_port = self.random.chance(0.3).then_some(OWN_PORT + self.index);
        let count = own_port.map_or(1, |_| self.random.between(2..=CALLS_MAX));
        let is_v4 = self.random.chance(0.5);
        let mut calls = Calls::default();
        for number in 0..count {
            if number > 0 {
                sleep(Duration::from_secs(self.random.between(REST))).await;
            }
            calls.begun += 1;
            // How a connection fails is no concern of a storm's.
            if let Ok(len) = self.once(is_v4, own_port).await {
                calls.completed += 1;
                calls.bytes += len;
            }
        }
        calls
    }

    async fn once(&mut self, is_v4: bool, port: Option<u16>) -> io::Result<u64> {
        let sim = self.sim.clone();
        let ip = |host| if is_v4 { sim.address(host) } else { sim.address_v6(host) };
        let addr = SocketAddr::new(ip(self.to), 1000 + self.index);
        let own = port.map(|port| SocketAddr::new(ip(self.from), port));
        let flow = sim.flow();
        let listener = sim.host(self.to).scope(TcpListener::bind(addr)).await?;
        if self.random.chance(0.7) {
            listener.set_fastopen(self.random.between(0..=4) as u32)?;
        }
        sim.host(self.to).spawn(serve(listener, flow.clone(), self.random.fork()));
        sim.host(self.from).scope(self.call(own, addr, flow)).await
    }

    async fn call(&mut self, own: Option<SocketAddr>, addr: SocketAddr, flow: Flow) -> io::Result<u64> {
        let len_max = 1 << self.random.between(0..=20);
        let len = self.random.below(len_max);
        // With the SYN, if the server gave a cookie before.
        let early = if self.random.chance(0.5) { self.random.below(2000).min(len) } else { 0 };
        let mut stream = connect(own, addr, &flow.first(early as usize)).await?;
        stream.set_congestion(*self.random.pick(Congestion::ALL))?;
        stream.set_nodelay(self.random.chance(0.5))?;
        stream.set_keepalive(Some(patience()))?;
        if self.random.chance(0.8) {
            return flow.send_from(early, &mut stream, len).await.map(|()| len);
        }
        let patience = self.random.time(Duration::from_secs(5));
        let result = timeout(patience, flow.send_from(early, &mut stream, len)).await;
        if self.random.chance(0.5) {
            stream.abort();
        }
        result.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into())).map(|()| len)
    }
}

/// Connects from a port of the caller's choice or from any, with data or without.
async fn connect(own: Option<SocketAddr>, addr: SocketAddr, early: &[u8]) -> io::Result<TcpStream> {
    let Some(own) = own else {
        return match early {
            [] => TcpStream::connect(addr).await,
            _ => TcpStream::connect_with(addr, early).await,
        };
    };
    let socket = if own.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(own)?;
    match early {
        [] => socket.connect(addr).await,
        _ => socket.connect_with(addr, early).await,
    }
}

/// Who waits for data is told when the peer has vanished.
fn patience() -> Keepalive {
    Keepalive { idle: Duration::from_secs(60), interval: Duration::from_secs(10), count: 6 }
}

async fn serve(listener: TcpListener, flow: Flow, mut random: Random) -> io::Result<u64> {
    let accepted = timeout(ACCEPT_MAX, listener.accept()).await;
    let (mut stream, _) = accepted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    stream.set_keepalive(Some(patience()))?;
    if random.chance(0.3) {
        sleep(random.time(Duration::from_secs(60))).await;
    }
    flow.receive(&mut stream).await
}

/// Faults, one after the other; in the end the network is as it may be, or whole.
async fn bad_weather(sim: Sim, mut random: Random) -> u64 {
    let faults = random.below(FAULTS_MAX + 1);
    for _ in 0..faults {
        sleep(random.time(Duration::from_secs(4))).await;
        let hosts = sim.hosts().len() as u64;
        let host = random.below(hosts) as usize;
        match random.below(10) {
            0 if random.chance(0.3) => drop(sim.reboot(host).await),
            1 => flood(&sim, host, &mut random),
            _ => change_a_cable(&sim, &mut random),
        }
    }
    if random.chance(0.8) {
        sleep(random.time(Duration::from_secs(100))).await;
        (0..sim.cables()).for_each(|cable| sim.cable(cable).mend());
    }
    faults
}

fn change_a_cable(sim: &Sim, random: &mut Random) {
    let cable = sim.cable(random.below(sim.cables() as u64) as usize);
    match random.below(7) {
        0 => cable.cut(),
        1 => cable.change_forth(|link| link.cut = true),
        2 => cable.change_back(|link| link.cut = true),
        3 => cable.change(|link| link.silent_mtu = Some(1300)),
        4 => cable.change(|link| link.mtu = Some(1280)),
        5 => cable.mend(),
        _ => cable.set(&Link::bad(random)),
    }
}

/// Segments that say they are of anybody's connections.
fn flood(sim: &Sim, host: usize, random: &mut Random) {
    let Ok(mac) = sim.host(host).mac() else { return };
    let hosts = sim.hosts().len() as u64;
    for _ in 0..random.between(1..=FLOOD_MAX) {
        let from = sim.address(random.below(hosts) as usize);
        let port = match random.below(3) {
            0 => OWN_PORT + random.below(CLIENTS_MAX) as u16,
            _ => random.between(32_768..=60_999) as u16,
        };
        let src = SocketAddr::new(from, port);
        let dst = SocketAddr::new(sim.address(host), 1000 + random.below(CLIENTS_MAX) as u16);
        let forge = TcpForge {
            seq: random.next_u64() as u32,
            ack: random.next_u64() as u32,
            flags: if random.chance(0.2) { TcpForge::SYN } else { random.next_u64() as u8 & 0x3f },
            window: random.next_u64() as u16,
            ..TcpForge::new(src, dst)
        };
        let at = hayase::time::now() + random.time(Duration::from_secs(1));
        sim.inject_at(at, host, &forge.frame([0x02, 0, 0, 0, 0, 0x66], mac, b""));
    }
}

//! Cables, switches and the far ends of the hosts' devices: everything that is simulated.

use std::collections::BTreeMap;
use std::rc::Rc;

use hayase::device::headers::ETHERNET_LEN;
use hayase::time::Instant;

use crate::forge;
use crate::oracle::Observers;
use crate::packet::is_intact;
use crate::pipe::{Event, Fate, Origin, Packet, Pipe, Schedule};
use crate::random::Random;
use crate::station::Station;
use crate::topology::{Node, Topology};
use crate::trace::Trace;

/// Bytes that the captures of all hosts hold together: each has its share.
const CAPTURE_LEN_MAX: usize = 64 * 1024 * 1024;

/// Who sends ICMP where a link's MTU is too small.
const ROUTER_MAC: [u8; 6] = [0x02, 0, 0, 7, 0xff, 0xff];

/// In the trace, what is not a [`Fate`].
const ARRIVED: u64 = 100;
const REFUSED: u64 = 101;
const FORGED: u64 = 102;

/// A learning switch.
#[derive(Debug, Default)]
struct Switch {
    /// The pipes that lead away from here.
    ports: Vec<usize>,
    learned: BTreeMap<[u8; 6], usize>,
}

#[derive(Debug)]
pub(crate) struct Network {
    /// Cable i is pipe 2 i, its way forth, and pipe 2 i + 1, its way back.
    pub(crate) pipes: Vec<Pipe>,
    pub(crate) stations: Vec<Station>,
    switches: Vec<Switch>,
    schedule: Schedule,
    /// When the last forged frame is to arrive.
    forged_at: Instant,
    pub(crate) trace: Trace,
    pub(crate) observers: Observers,
}

impl Network {
    pub(crate) fn new(topology: &Topology, random: &mut Random) -> Network {
        let mut pipes = Vec::new();
        let mut switches: Vec<Switch> = (0..topology.switches).map(|_| Switch::default()).collect();
        let mut uplinks = vec![0; topology.hosts];
        for wiring in &topology.cables {
            for (from, to, link) in
                [(wiring.from, wiring.to, &wiring.forth), (wiring.to, wiring.from, &wiring.back)]
            {
                match from {
                    Node::Host(host) => uplinks[host] = pipes.len(),
                    Node::Switch(switch) => switches[switch].ports.push(pipes.len()),
                }
                pipes.push(Pipe::new(pipes.len(), to, link.clone(), random.fork()));
            }
        }
        let capture_len = CAPTURE_LEN_MAX / topology.hosts;
        let station = |(host, uplink)| Station::new(host, name(topology, host), uplink, capture_len);
        let stations = uplinks.into_iter().enumerate().map(station).collect();
        let schedule = Schedule::default();
        Network {
            pipes,
            stations,
            switches,
            schedule,
            forged_at: Instant::ZERO,
            trace: Trace::default(),
            observers: Observers::default(),
        }
    }

    /// When something happens next.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.schedule.next_at()
    }

    /// Lets everything happen that happens by `now`. Returns how much that was.
    pub(crate) fn advance(&mut self, now: Instant) -> usize {
        let mut count = 0;
        while let Some(event) = self.schedule.pop(now) {
            count += 1;
            match event {
                Event::Arrive { pipe, packet } => self.arrive(now, pipe, packet),
                Event::Release { pipe, ticket } => {
                    if let Some(packet) = self.pipes[pipe].release(ticket) {
                        self.arrive(now, pipe, packet);
                    }
                }
                Event::Forged { host, packet } => {
                    self.trace.note(now, host as u64, FORGED, &packet.bytes);
                    self.deliver(now, host, &packet);
                }
            }
        }
        count
    }

    /// Takes what the hosts have sent. Returns how many frames that were.
    pub(crate) fn collect(&mut self, now: Instant) -> usize {
        let mut count = 0;
        let mut sent = Vec::new();
        for host in 0..self.stations.len() {
            let station = &mut self.stations[host];
            count += station.collect(now, |bytes| sent.push(bytes));
            let uplink = station.uplink;
            for bytes in sent.drain(..) {
                self.observers.sent(now, host, &bytes);
                self.send(now, uplink, Packet { bytes, origin: Origin::Genuine });
            }
        }
        count
    }

    /// Lets a frame that nobody sent reach a host, at `at`.
    pub(crate) fn inject(&mut self, at: Instant, host: usize, frame: &[u8]) {
        let packet = Packet { bytes: frame.into(), origin: Origin::Forged };
        self.schedule.push(at, Event::Forged { host, packet });
        self.forged_at = self.forged_at.max(at);
    }

    /// When the last forged frame arrives, or did.
    pub(crate) fn forged_at(&self) -> Instant {
        self.forged_at
    }

    fn send(&mut self, now: Instant, pipe: usize, packet: Packet) {
        let bytes = Rc::clone(&packet.bytes);
        let fate = self.pipes[pipe].send(now, packet, &mut self.schedule);
        let code = match fate {
            Fate::Sent => 0,
            Fate::Cut => 1,
            Fate::TooLong(_) => 2,
            Fate::Swallowed => 3,
            Fate::Overflowed => 4,
            Fate::Lost => 5,
        };
        self.trace.note(now, pipe as u64, code, &bytes);
        if let Fate::TooLong(mtu) = fate
            && let Some(answer) = forge::too_big(&bytes, mtu, ROUTER_MAC)
        {
            // The way back is the other pipe of the cable.
            self.send(now, pipe ^ 1, Packet { bytes: answer.into(), origin: Origin::Genuine });
        }
    }

    fn arrive(&mut self, now: Instant, pipe: usize, packet: Packet) {
        self.pipes[pipe].arrived(&packet);
        self.trace.note(now, pipe as u64, ARRIVED, &packet.bytes);
        match self.pipes[pipe].to {
            Node::Host(host) => self.deliver(now, host, &packet),
            Node::Switch(switch) => self.switch(now, switch, pipe, &packet),
        }
    }

    fn deliver(&mut self, now: Instant, host: usize, packet: &Packet) {
        if !self.stations[host].deliver(now, &packet.bytes) {
            self.trace.note(now, host as u64, REFUSED, &packet.bytes);
        } else if packet.origin == Origin::Genuine
            || (packet.origin == Origin::Damaged && is_intact(&packet.bytes))
        {
            // Damage that no checksum covers, such as a changed hop limit of IPv6, is none.
            self.observers.received(host, &packet.bytes);
        }
    }

    /// Sends a frame on to where its address was last seen, else everywhere.
    fn switch(&mut self, now: Instant, switch: usize, from: usize, packet: &Packet) {
        let way_back = from ^ 1;
        let Some(addresses) = packet.bytes.first_chunk::<{ ETHERNET_LEN - 2 }>() else { return };
        let [to, source] =
            [&addresses[..6], &addresses[6..]].map(|mac| *mac.first_chunk::<6>().unwrap_or(&[0; 6]));
        let table = &mut self.switches[switch];
        if source[0] & 1 == 0 {
            table.learned.insert(source, way_back);
        }
        match table.learned.get(&to).copied() {
            Some(port) if port == way_back => {}
            Some(port) => self.send(now, port, packet.clone()),
            None => {
                let others: Vec<_> = table.ports.iter().copied().filter(|port| *port != way_back).collect();
                others.into_iter().for_each(|port| self.send(now, port, packet.clone()));
            }
        }
    }
}

/// What to call a host in reports and in the names of captures.
fn name(topology: &Topology, host: usize) -> String {
    match (topology.hosts, host) {
        (1..=2, 0) => "client".to_owned(),
        (2, 1) => "server".to_owned(),
        _ => format!("host{host}"),
    }
}

//! Faults that were found once, each with the smallest scene that showed it.

#[allow(dead_code, reason = "every test file takes what it needs of the two hosts")]
mod common;

use std::net::Ipv4Addr;
use std::task::Poll;
use std::time::Duration;

use common::{Net, pattern};
use hayase_device::heap::HeapFrame;
use hayase_device::{Burst, Device, Frame, Offloads, TxMeta, checksum};
use hayase_stack::{Config, Instant, Keepalive, ListenerId, Stack, State, TcpId, wire};
use hayase_wire::{EndConfig, Wire, WireConfig, WireDevice};

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const PEER_PORT: u16 = 4000;
/// The peer's first sequence number.
const ISS: u32 = 1000;

/// A TCP segment as the peer sees or says it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Segment {
    src: Ipv4Addr,
    ports: (u16, u16),
    seq: u32,
    ack: u32,
    flags: u8,
    window: u16,
    options: Vec<u8>,
    payload: Vec<u8>,
    /// Length of the IP packet.
    packet_len: usize,
}

/// From the peer to port 80, without acknowledgement, options or data.
fn segment(flags: u8, seq: u32) -> Segment {
    Segment {
        src: PEER,
        ports: (PEER_PORT, 80),
        seq,
        ack: 0,
        flags,
        window: 65_535,
        options: Vec::new(),
        payload: Vec::new(),
        packet_len: 0,
    }
}

impl Segment {
    fn acks(self, ack: u32) -> Segment {
        Segment { ack, flags: self.flags | ACK, ..self }
    }

    fn with(self, payload: &[u8]) -> Segment {
        Segment { payload: payload.to_vec(), ..self }
    }

    fn options(self, options: &[u8]) -> Segment {
        Segment { options: options.to_vec(), ..self }
    }

    fn to_tcp(&self) -> Vec<u8> {
        let mut tcp = Vec::new();
        tcp.extend(self.ports.0.to_be_bytes());
        tcp.extend(self.ports.1.to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        tcp.extend([((20 + self.options.len()) / 4 << 4) as u8, self.flags]);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0; 4]);
        tcp.extend(&self.options);
        tcp.extend(&self.payload);
        let mut sum = checksum::pseudo_header(&self.src.octets(), &OURS.octets(), 6, tcp.len() as u32);
        sum.add(&tcp);
        tcp[16..18].copy_from_slice(&sum.checksum().to_be_bytes());
        tcp
    }

    fn parse(packet: &[u8]) -> Option<Segment> {
        let (ip, tcp) = packet.split_at_checked(20)?;
        let be16 = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        let be32 = |at: usize| u32::from_be_bytes([tcp[at], tcp[at + 1], tcp[at + 2], tcp[at + 3]]);
        let header_len = usize::from(tcp.get(12)? >> 4) * 4;
        (ip[9] == 6).then(|| Segment {
            src: Ipv4Addr::new(ip[12], ip[13], ip[14], ip[15]),
            ports: (be16(0), be16(2)),
            seq: be32(4),
            ack: be32(8),
            flags: tcp[13],
            window: be16(14),
            options: tcp[20..header_len].to_vec(),
            payload: tcp[header_len..].to_vec(),
            packet_len: packet.len(),
        })
    }
}

/// One stack, and a peer that says what the test wants it to.
struct Scene {
    stack: Stack<HeapFrame>,
    device: WireDevice,
    peer: WireDevice,
    burst: Burst<HeapFrame>,
    now: Instant,
}

impl Scene {
    fn new(offloads: Offloads) -> Scene {
        let defaults = WireConfig::default();
        Scene::on(WireConfig {
            a: EndConfig { offloads, ..defaults.a },
            b: EndConfig { offloads: Offloads::NONE, ..defaults.b },
            ..defaults
        })
    }

    fn on(config: WireConfig) -> Scene {
        let (device, peer) = Wire::pair(config);
        let now = Instant::from_millis(1);
        let mut stack = Stack::new(Config::default(), device.caps(), device.mac(), [7; 32], now);
        stack.add_address("10.0.0.1/24".parse().unwrap()).unwrap();
        let mut scene = Scene { stack, device, peer, burst: Burst::new(64), now };
        scene.introduce();
        scene
    }

    /// The peer asks for our address, so that the stack knows the peer's.
    fn introduce(&mut self) {
        let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1];
        arp.extend(self.peer.mac());
        arp.extend(PEER.octets());
        arp.extend([0; 6]);
        arp.extend(OURS.octets());
        self.frame(0x0806, &arp);
        self.turn();
    }

    fn frame(&mut self, ethertype: u16, body: &[u8]) {
        let mut bytes = self.device.mac().to_vec();
        bytes.extend(self.peer.mac());
        bytes.extend(ethertype.to_be_bytes());
        bytes.extend(body);
        let mut frame = self.peer.alloc(bytes.len()).unwrap();
        frame.extend(bytes.len()).unwrap().copy_from_slice(&bytes);
        self.peer.transmit(frame, TxMeta::default());
    }

    fn packet(&mut self, src: Ipv4Addr, protocol: u8, body: &[u8]) {
        let mut ip = vec![0x45, 0];
        ip.extend((20 + body.len() as u16).to_be_bytes());
        ip.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
        ip.extend(src.octets());
        ip.extend(OURS.octets());
        let sum = checksum::checksum(&ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        ip.extend(body);
        self.frame(0x0800, &ip);
    }

    /// Puts a segment on the wire; the stack sees it in its next turn.
    fn send(&mut self, segment: Segment) {
        self.packet(segment.src, 6, &segment.to_tcp());
    }

    /// One turn of the stack; what it said.
    fn turn(&mut self) -> Vec<Segment> {
        while self.device.receive(&mut self.burst) > 0 {
            self.stack.receive(self.now, &mut self.burst, &mut self.device);
        }
        if self.stack.deadline().is_some_and(|at| at <= self.now) {
            self.stack.expire(self.now, &mut self.device);
        }
        self.stack.transmit(self.now, &mut self.device);
        let mut said = Vec::new();
        while self.peer.receive(&mut self.burst) > 0 {
            for (frame, _) in self.burst.drain() {
                let bytes: Vec<u8> = frame.fragments().flatten().copied().collect();
                said.extend(bytes.get(14..).filter(|_| bytes[12..14] == [8, 0]).and_then(Segment::parse));
            }
        }
        said
    }

    /// Says something, and takes the answer.
    fn say(&mut self, segment: Segment) -> Vec<Segment> {
        self.send(segment);
        self.turn()
    }

    fn listen(&mut self) -> ListenerId {
        self.stack.tcp_listen("0.0.0.0:80".parse().unwrap(), 16).unwrap()
    }

    fn accept(&mut self, listener: ListenerId) -> TcpId {
        match self.stack.tcp_accept(listener) {
            Poll::Ready(Ok((id, _))) => id,
            other => panic!("nothing to accept: {other:?}"),
        }
    }

    /// A connection that the peer opened with these options; and the sequence number of our first byte.
    fn established(&mut self, options: &[u8]) -> (TcpId, u32) {
        let listener = self.listen();
        let syn_ack = self.say(segment(SYN, ISS).options(options)).remove(0);
        let ours = syn_ack.seq.wrapping_add(1);
        // A segment of a connection with timestamps has them.
        let timestamps = options.windows(2).position(|window| window == [8, 10]).map(|_| timestamps(2, 0));
        self.send(segment(ACK, ISS + 1).acks(ours).options(&timestamps.unwrap_or_default()));
        self.turn();
        (self.accept(listener), ours)
    }

    fn write(&mut self, id: TcpId, bytes: &[u8]) {
        let written = self.stack.tcp_write(self.now, id, bytes, &mut self.device);
        assert_eq!(written, Poll::Ready(Ok(bytes.len())));
    }

    fn pass(&mut self, time: Duration) -> Vec<Segment> {
        self.now += time;
        self.turn()
    }
}

fn timestamps(val: u32, ecr: u32) -> Vec<u8> {
    let mut option = vec![1, 1, 8, 10];
    option.extend(val.to_be_bytes());
    option.extend(ecr.to_be_bytes());
    option
}

/// MSS 1460, SACK permitted.
const SACK: [u8; 8] = [2, 4, 5, 180, 1, 1, 4, 2];


struct Rng(u64);
impl Rng {
    fn next(&mut self) -> u64 { self.0 ^= self.0 << 13; self.0 ^= self.0 >> 7; self.0 ^= self.0 << 17; self.0 }
    fn below(&mut self, n: u64) -> u64 { (self.next() >> 11) % n }
}

fn run(seed: u64) {
    let mut rng = Rng(seed.wrapping_mul(0x9e3779b97f4a7c15) | 1);
    let offloads = if rng.below(2) == 0 { Offloads::NONE } else { Offloads::ALL };
    let defaults = WireConfig::default();
    let small = rng.below(3) == 0;
    let pool = hayase_device::heap::PoolConfig { small_count_max: if small { 64 } else { 4096 }, large_count_max: 8, ..Default::default() };
    let mut scene = Scene::on(WireConfig {
        a: EndConfig { offloads, ..defaults.a },
        b: EndConfig { offloads: Offloads::NONE, ..defaults.b },
        queue_frames_max: if rng.below(4) == 0 { 4 } else { 1024 },
        pool,
        ..defaults
    });
    let listener = scene.listen();
    let mut ids: Vec<TcpId> = vec![];
    let mut last: std::collections::HashMap<(u16,u16),(u32,u32)> = Default::default(); // peer port -> (our snd next, ack of ours)
    let mut ts = 1u32;
    for step in 0..600 {
        let pport = 4000 + rng.below(3) as u16;
        let lport = if rng.below(8) == 0 { 5000 + rng.below(2) as u16 } else { 80 };
        let key = (lport, pport);
        let (ours, theirs) = *last.get(&key).unwrap_or(&(ISS, 0));
        match rng.below(20) {
            0..=8 => {
                let flags = match rng.below(12) {
                    0 | 1 => SYN, 2 => SYN | ACK, 3 => FIN | ACK, 4 if rng.below(4) == 0 => RST, 5 => FIN | SYN | ACK,
                    6 => rng.next() as u8 & 0x3f & !(RST * u8::from(rng.below(4) != 0)), _ => ACK };
                let jitter = |rng: &mut Rng, v: u32| match rng.below(10) { 0 => v.wrapping_sub(1), 1 => v.wrapping_add(rng.below(3000) as u32), 2 => v.wrapping_sub(rng.below(3000) as u32), 3 if rng.below(4)==0 => rng.next() as u32, 4 => v.wrapping_add(1), _ => v };
                let mut s = segment(flags, jitter(&mut rng, ours));
                s.ports = (pport, lport);
                s.ack = jitter(&mut rng, theirs);
                s.window = match rng.below(4) { 0 => 0, 1 => rng.below(100) as u16, _ => rng.next() as u16 };
                let len = match rng.below(4) { 0 => rng.below(1400) as usize, 1 => rng.below(5) as usize, _ => 0 };
                if flags & SYN == 0 || rng.below(4) == 0 { s.payload = vec![7; len]; }
                let mut o = vec![];
                if flags & SYN != 0 {
                    if rng.below(2) == 0 { o.extend([2, 4]); o.extend(((rng.below(1500)) as u16).to_be_bytes()); }
                    if rng.below(2) == 0 { o.extend([1, 1, 4, 2]); }
                    if rng.below(2) == 0 { o.extend([1, 3, 3, rng.below(20) as u8]); }
                }
                if rng.below(2) == 0 { ts = ts.wrapping_add(rng.below(100) as u32); o.extend(timestamps(if rng.below(10)==0 { rng.next() as u32 } else { ts }, rng.next() as u32)); }
                if rng.below(3) == 0 && o.len() <= 20 {
                    let n = 1 + rng.below(2);
                    o.extend([1, 1, 5, 2 + 8 * n as u8]);
                    for _ in 0..n { let l = theirs.wrapping_add(rng.below(20000) as u32); o.extend(l.to_be_bytes()); o.extend(l.wrapping_add(rng.below(5000) as u32).to_be_bytes()); }
                }
                s.options = o;
                if scene.peer.room() > 0 && scene.peer.pool().in_use() < 60 { scene.send(s.clone());
                let adv = s.payload.len() as u32 + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
                if s.seq == ours { last.insert(key, (ours.wrapping_add(adv), theirs)); } }
            }
            9 => if let Poll::Ready(Ok((id, _))) = scene.stack.tcp_accept(listener) { ids.push(id) },
            10 if ids.len() < 8 => { if let Ok(id) = scene.stack.tcp_connect(scene.now, (PEER, pport).into(), Some((OURS, lport.max(5000)).into())) { ids.push(id) } }
            11 | 12 if !ids.is_empty() => { let id = ids[rng.below(ids.len() as u64) as usize]; let n = rng.below(40_000) as usize; let _ = scene.stack.tcp_write(scene.now, id, &pattern(n), &mut scene.device); }
            13 if !ids.is_empty() => { let id = ids[rng.below(ids.len() as u64) as usize]; let mut b = vec![0; rng.below(5000) as usize + 1]; let _ = scene.stack.tcp_read(scene.now, id, &mut b); }
            14 if !ids.is_empty() => { let at = rng.below(ids.len() as u64) as usize; let id = ids[at];
                match rng.below(6) { 0 => { ids.swap_remove(at); scene.stack.tcp_close(scene.now, id) } 1 => { ids.swap_remove(at); scene.stack.tcp_abort(scene.now, id) }
                    2 => { let _ = scene.stack.tcp_shutdown(scene.now, id); } 3 => { let _ = scene.stack.tcp_set_nodelay(scene.now, id, true); }
                    4 => { let _ = scene.stack.tcp_set_linger(id, Some(Duration::from_secs(rng.below(3)))); }
                    _ => { let _ = scene.stack.tcp_set_keepalive(scene.now, id, Some(Keepalive { idle: Duration::from_secs(1 + rng.below(100)), interval: Duration::from_secs(1), count: 3 })); } } }
            15 => { // ICMP frag needed quoting
                let mut body = vec![3, 4, 0, 0, 0, 0]; body.extend((rng.below(1600) as u16).to_be_bytes());
                let mut ip = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0]; ip.extend(OURS.octets()); ip.extend(PEER.octets());
                body.extend(ip); body.extend(lport.to_be_bytes()); body.extend(pport.to_be_bytes()); body.extend(theirs.to_be_bytes()); 
                let sum = checksum::checksum(&body); body[2..4].copy_from_slice(&sum.to_be_bytes());
                if scene.peer.room() > 0 { scene.packet(PEER, 1, &body); }
            }
            _ => { let m = match rng.below(4) { 0 => 100_000_000, 1 => 1_000_000, _ => 3000 }; scene.now += Duration::from_micros(rng.below(m)); }
        }
        if rng.below(3) > 0 {
            for s in scene.turn() {
                let key = (s.ports.0, s.ports.1);
                let e = last.entry(key).or_insert((ISS, 0));
                let end = s.seq.wrapping_add(s.payload.len() as u32 + u32::from(s.flags & SYN != 0) + u32::from(s.flags & FIN != 0));
                if s.flags & SYN != 0 || end.wrapping_sub(e.1) as i32 > 0 { e.1 = end; }
                if s.flags & ACK != 0 && rng.below(2) == 0 { e.0 = s.ack; }
                assert!(s.packet_len <= 1500);
            }
            let mut n = 0;
            scene.stack.drain_ready(|_, _| n += 1);
            let _ = (step, n);
        }
    }
    for id in ids { scene.stack.tcp_close(scene.now, id); }
    scene.stack.close_listener(scene.now, listener);
    let mut turns = 0;
    for _ in 0..5000 {
        scene.introduce();
        scene.turn();
        turns += 1;
        match scene.stack.deadline() { None if scene.stack.has_work() => {} None => break, Some(at) => scene.now = at.max(scene.now + Duration::from_millis(1)) }
        if scene.stack.tcp_count() == 0 { break; }
    }
    for _ in 0..5 { scene.introduce(); scene.pass(Duration::from_secs(100)); }
    if scene.stack.tcp_count() != 0 { let text = format!("{:#?}", scene.stack); let at = text.find("value: Some(\n").unwrap_or(0); let _ = at; for l in text.lines().filter(|l| !l.trim_end_matches(",").trim().parse::<u64>().is_ok()).map(|l| l.trim_start()).collect::<Vec<_>>().iter().skip_while(|l| !l.starts_with("deadlines: Dead")).take(60) { eprintln!("{l}"); } eprintln!("deadline {:?} now {:?}", scene.stack.deadline(), scene.now); }
    assert_eq!(scene.stack.tcp_count(), 0, "seed {seed}: left after {turns} turns");
    assert_eq!(scene.device.pool().in_use(), 0, "seed {seed}");
    assert!(!scene.stack.has_work(), "seed {seed}");
}

#[test]
fn fuzz() {
    let from: u64 = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let count: u64 = std::env::var("COUNT").ok().and_then(|s| s.parse().ok()).unwrap_or(200);
    for seed in from..from + count {
        if let Err(e) = std::panic::catch_unwind(|| run(seed)) { eprintln!("SEED {seed} failed"); std::panic::resume_unwind(e); }
    }
}

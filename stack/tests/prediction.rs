//! The short ways change nothing: three stacks hear the same random peer, over IPv4 or IPv6. One takes the short ways, in
//! and out, where it can. One hears every packet with a byte of padding behind it, which makes its frames unusual: all
//! checks are made for it. One has keep-alive on, for some day far away: nothing of it is steady, so it takes the long
//! ways in and out. What they answer, and what their applications read, must be the same to the bit.

use std::task::Poll;
use std::time::Duration;

use hayase_device::checksum::pseudo_header;
use hayase_device::heap::HeapFrame;
use hayase_device::{Burst, Device, Frame, Offloads, TxMeta};
use hayase_stack::{Config, Congestion, Ecn, Instant, Keepalive, Stack, State, TcpId};
use hayase_wire::{EndConfig, Wire, WireConfig, WireDevice};
use proptest::prelude::*;

const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 2];
const ACK: u8 = 0x10;
const PSH: u8 = 0x08;
const SYN: u8 = 0x02;
const FIN: u8 = 0x01;
const ECE: u8 = 0x40;
const CWR: u8 = 0x80;

/// What the peer, the application or time does next.
#[derive(Debug, Clone)]
enum Step {
    /// A segment: where it starts relative to what we expect, its length, how much of what is outstanding it
    /// leaves unacknowledged, its window, how far its timestamp is ahead, its flags, and its packet's ECN field.
    Segment {
        offset: i32,
        len: u16,
        unacked: u32,
        window: u16,
        ahead: i32,
        flags: u8,
        ecn: u8,
    },
    Write(u16),
    Read(u16),
    Wait(u32),
    /// The application chooses who rules the window.
    Choose(Congestion),
}

fn step() -> impl Strategy<Value = Step> {
    let offset = prop_oneof![8 => Just(0), 1 => -3000..3000];
    let len = prop_oneof![3 => Just(0u16), 4 => 1..1400u16, 2 => Just(1)];
    let unacked = prop_oneof![6 => Just(0u32), 2 => 0..3000u32];
    let window = prop_oneof![6 => Just(u16::MAX), 1 => Just(0), 1 => any::<u16>()];
    let ahead = prop_oneof![8 => 0..50i32, 1 => -10..0];
    let flags = prop_oneof![12 => Just(ACK), 8 => Just(ACK | PSH), 1 => Just(ACK | FIN), 1 => Just(0),
        1 => Just(ACK | ECE), 1 => Just(ACK | CWR)];
    let ecn = prop_oneof![8 => Just(2u8), 1 => Just(3), 1 => Just(0)];
    let segment = (offset, len, unacked, window, ahead, flags, ecn).prop_map(
        |(offset, len, unacked, window, ahead, flags, ecn)| Step::Segment {
            offset,
            len,
            unacked,
            window,
            ahead,
            flags,
            ecn,
        },
    );
    prop_oneof![
        8 => segment,
        3 => (1..4000u16).prop_map(Step::Write),
        3 => (1..4000u16).prop_map(Step::Read),
        1 => (1..400_000u32).prop_map(Step::Wait),
        1 => proptest::sample::select(Congestion::ALL).prop_map(Step::Choose),
    ]
}

/// How a stack is kept from the short ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    No,
    /// In: by padding.
    Padded,
    /// In and out: by keep-alive.
    KeptAlive,
}

/// One of the stacks.
struct Twin {
    stack: Stack<HeapFrame>,
    device: WireDevice,
    wire: WireDevice,
    id: TcpId,
    padding: usize,
}

impl Twin {
    fn new(held: Held, is_v6: bool, ecn: Ecn, now: Instant) -> Twin {
        let a = EndConfig { offloads: Offloads::NONE, mac: OURS };
        let b = EndConfig { offloads: Offloads::NONE, mac: PEER };
        let (device, wire) = Wire::pair(WireConfig { a, b, ..WireConfig::default() });
        let mut config = Config::default();
        config.ecn = ecn;
        let mut stack = Stack::new(config, device.caps(), device.mac(), [5; 32], now);
        let (own, peer) = if is_v6 { ("fd00::1/64", "[fd00::2]:80") } else { ("10.0.0.1/24", "10.0.0.2:80") };
        stack.add_address(own.parse().unwrap()).unwrap();
        let id = stack.tcp_connect(now, peer.parse().unwrap(), None).unwrap();
        stack.tcp_set_nodelay(now, id, true).unwrap();
        if held == Held::KeptAlive {
            let day = Duration::from_secs(86_400);
            let keepalive = Keepalive { idle: 100 * day, interval: day, count: 9 };
            stack.tcp_set_keepalive(now, id, Some(keepalive)).unwrap();
        }
        Twin { stack, device, wire, id, padding: usize::from(held == Held::Padded) }
    }

    fn hear(&mut self, packet: &[u8]) {
        let mut frame = self.wire.pool().alloc(packet.len() + 20).expect("the pool has a buffer");
        let len = packet.len() + self.padding;
        let bytes = frame.extend(len).expect("the buffer has room");
        bytes[..packet.len()].copy_from_slice(packet);
        bytes[packet.len()..].fill(0);
        self.wire.transmit(frame, TxMeta::default());
    }

    /// A turn; returns the frames that the twin sent.
    fn turn(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut burst = Burst::new(64);
        while self.device.receive(&mut burst) > 0 {
            self.stack.receive(now, &mut burst, &mut self.device);
        }
        if self.stack.deadline().is_some_and(|at| at <= now) {
            self.stack.expire(now, &mut self.device);
        }
        self.stack.drain_ready(|_, _| {});
        self.stack.transmit(now, &mut self.device);
        let mut sent = Vec::new();
        while self.wire.receive(&mut burst) > 0 {
            sent.extend(burst.drain().map(|(frame, _)| frame.fragments().flatten().copied().collect()));
        }
        sent
    }
}

/// The peer: where the conversation stands, as it sees it.
struct Peer {
    port: u16,
    snd_nxt: u32,
    rcv_nxt: u32,
    ts_val: u32,
    ts_ecr: u32,
    timestamps: bool,
    is_v6: bool,
}

impl Peer {
    /// Takes note of what a twin sent.
    fn note(&mut self, frame: &[u8]) {
        let len = |at: usize| usize::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
        let (tcp, segment_len) =
            if self.is_v6 { (&frame[54..], len(18)) } else { (&frame[34..], len(16) - 20) };
        let word = |at: usize| u32::from_be_bytes(tcp[at..at + 4].try_into().unwrap());
        let header_len = usize::from(tcp[12] >> 4) * 4;
        let text_len = (segment_len - header_len) as u32;
        let end = word(4).wrapping_add(text_len + u32::from(tcp[13] & FIN) + u32::from(tcp[13] & SYN != 0));
        if (end.wrapping_sub(self.rcv_nxt) as i32) > 0 {
            self.rcv_nxt = end;
        }
        self.port = u16::from_be_bytes([tcp[0], tcp[1]]);
        if self.timestamps && header_len >= 32 {
            self.ts_ecr = word(header_len - 8);
        }
    }

    fn segment(&self, seq: u32, ack: u32, flags: u8, window: u16, ts_val: u32, text: &[u8]) -> Vec<u8> {
        let mut options: Vec<u8> = Vec::new();
        if flags & SYN != 0 {
            options.extend([2, 4, 0x05, 0xb4, 1, 3, 3, 4, 1, 1, 4, 2]);
        }
        if self.timestamps {
            options.extend([1, 1, 8, 10]);
            options.extend(ts_val.to_be_bytes());
            options.extend(self.ts_ecr.to_be_bytes());
        }
        let mut tcp = Vec::new();
        tcp.extend([0, 80]);
        tcp.extend(self.port.to_be_bytes());
        tcp.extend(seq.to_be_bytes());
        tcp.extend(ack.to_be_bytes());
        tcp.extend([((20 + options.len()) as u8 / 4) << 4, flags]);
        tcp.extend(window.to_be_bytes());
        tcp.extend([0; 4]);
        tcp.extend(options);
        tcp.extend(text);
        let (own, peer) = addresses(self.is_v6);
        let mut sum = pseudo_header(&peer, &own, 6, tcp.len() as u32);
        sum.add(&tcp);
        tcp[16..18].copy_from_slice(&sum.checksum().to_be_bytes());
        tcp
    }
}

/// Ours and the peer's.
fn addresses(is_v6: bool) -> (Vec<u8>, Vec<u8>) {
    if !is_v6 {
        return (vec![10, 0, 0, 1], vec![10, 0, 0, 2]);
    }
    let address = |last| [&[0xfd][..], &[0; 14], &[last]].concat();
    (address(1), address(2))
}

fn packet(tcp: &[u8], tos: u8, is_v6: bool) -> Vec<u8> {
    if is_v6 {
        return packet_v6(tcp, tos, 6, 64);
    }
    let mut ip = vec![0x45, tos, 0, 0, 0, 9, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1];
    ip[2..4].copy_from_slice(&((20 + tcp.len()) as u16).to_be_bytes());
    let sum = hayase_device::checksum::checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    [&OURS[..], &PEER, &[8, 0], &ip, tcp].concat()
}

fn packet_v6(payload: &[u8], tos: u8, protocol: u8, hop_limit: u8) -> Vec<u8> {
    let (own, peer) = addresses(true);
    let len = (payload.len() as u16).to_be_bytes();
    let head = [0x60 | tos >> 4, tos << 4, 0, 0, len[0], len[1], protocol, hop_limit];
    [&OURS[..], &PEER, &[0x86, 0xdd], &head, &peer, &own, payload].concat()
}

/// The peer says where it is: by ARP, or by neighbour discovery (RFC 4861 §4.4).
fn presence(is_v6: bool) -> Vec<u8> {
    if !is_v6 {
        let head = [&OURS[..], &PEER, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2]].concat();
        return [&head[..], &PEER, &[10, 0, 0, 2], &OURS, &[10, 0, 0, 1]].concat();
    }
    let (own, peer) = addresses(true);
    let mut advert = [&[136, 0, 0, 0, 0x60, 0, 0, 0][..], &peer, &[2, 1], &PEER].concat();
    let mut sum = pseudo_header(&peer, &own, 58, advert.len() as u32);
    sum.add(&advert);
    advert[2..4].copy_from_slice(&sum.checksum().to_be_bytes());
    packet_v6(&advert, 0, 58, 255)
}

/// What a stack sent, as far as it is of interest.
#[derive(Debug, PartialEq, Eq)]
enum Sent {
    Segment,
    /// It asks where the peer is.
    Question,
    Other,
}

fn kind_of(frame: &[u8]) -> Sent {
    match (&frame[12..14], frame.get(20), frame.get(54)) {
        ([8, 0], _, _) | ([0x86, 0xdd], Some(6), _) => Sent::Segment,
        ([8, 6], _, _) | ([0x86, 0xdd], Some(58), Some(135)) => Sent::Question,
        _ => Sent::Other,
    }
}

/// The stacks and their peer, connected.
struct Scene {
    twins: [Twin; 3],
    peer: Peer,
    now: Instant,
}

impl Scene {
    fn new(is_v6: bool, timestamps: bool, has_ecn: bool) -> Scene {
        let (ecn, agreement) = if has_ecn { (Ecn::Request, ECE) } else { (Ecn::Off, 0) };
        let now = Instant::from_millis(1000);
        let peer = Peer { port: 0, snd_nxt: 1000, rcv_nxt: 0, ts_val: 77, ts_ecr: 0, timestamps, is_v6 };
        let twins = [Held::No, Held::Padded, Held::KeptAlive].map(|held| Twin::new(held, is_v6, ecn, now));
        let mut scene = Scene { twins, peer, now };
        scene.turn();
        scene.say(&presence(is_v6));
        let syn = scene.turn().into_iter().find(|frame| kind_of(frame) == Sent::Segment).expect("a SYN");
        let seq_at = if is_v6 { 58 } else { 38 };
        scene.peer.rcv_nxt = u32::from_be_bytes(syn[seq_at..seq_at + 4].try_into().unwrap());
        scene.peer.note(&syn);
        let peer = &scene.peer;
        let answer = peer.segment(999, peer.rcv_nxt, SYN | ACK | agreement, 60_000, peer.ts_val, &[]);
        scene.say(&packet(&answer, 0, is_v6));
        scene.turn();
        assert!(scene.twins.iter().all(|twin| twin.stack.tcp_state(twin.id) == State::Established));
        scene
    }

    fn say(&mut self, packet: &[u8]) {
        self.twins.iter_mut().for_each(|twin| twin.hear(packet));
    }

    fn turn(&mut self) -> Vec<Vec<u8>> {
        let now = self.now;
        let [plain, padded, kept_alive] = self.twins.each_mut().map(|twin| twin.turn(now));
        assert_eq!(plain, padded, "whoever hears it says the same");
        assert_eq!(plain, kept_alive, "whoever says it says the same");
        plain
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Segment { offset, len, unacked, window, ahead, flags, ecn } => {
                let segment = self.segment(offset, len, unacked, window, ahead, flags);
                self.say(&packet(&segment, ecn, self.peer.is_v6));
            }
            Step::Write(len) => self.write(usize::from(len)),
            Step::Read(len) => self.read(usize::from(len)),
            Step::Wait(micros) => self.now += Duration::from_micros(micros.into()),
            Step::Choose(congestion) => {
                self.twins
                    .iter_mut()
                    .for_each(|twin| twin.stack.tcp_set_congestion(twin.id, congestion).unwrap());
            }
        }
        self.now += Duration::from_micros(50);
        for frame in self.turn() {
            match kind_of(&frame) {
                Sent::Segment => self.peer.note(&frame),
                Sent::Question => self.say(&presence(self.peer.is_v6)),
                Sent::Other => {}
            }
        }
    }

    fn segment(
        &mut self,
        offset: i32,
        len: u16,
        unacked: u32,
        window: u16,
        ahead: i32,
        flags: u8,
    ) -> Vec<u8> {
        let peer = &mut self.peer;
        let text: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let seq = peer.snd_nxt.wrapping_add_signed(offset);
        let ts_val = peer.ts_val.wrapping_add_signed(ahead);
        let segment = peer.segment(seq, peer.rcv_nxt.wrapping_sub(unacked), flags, window, ts_val, &text);
        peer.ts_val = peer.ts_val.max(ts_val);
        if offset == 0 && flags & ACK != 0 {
            peer.snd_nxt = seq.wrapping_add(u32::from(len) + u32::from(flags & FIN));
        }
        segment
    }

    fn write(&mut self, len: usize) {
        let now = self.now;
        let bytes = vec![7; len];
        let [a, b, c] = self.twins.each_mut().map(|twin| {
            let written = twin.stack.tcp_write(now, twin.id, &bytes, &mut twin.device);
            format!("{written:?}")
        });
        assert_eq!([&b, &c], [&a; 2]);
    }

    fn read(&mut self, len: usize) {
        let now = self.now;
        let [a, b, c] = self.twins.each_mut().map(|twin| {
            let mut buf = vec![0; len];
            match twin.stack.tcp_read(now, twin.id, &mut buf) {
                Poll::Ready(Ok(len)) => buf.truncate(len),
                other => return format!("{other:?}").into_bytes(),
            }
            buf
        });
        assert_eq!([&b, &c], [&a; 2]);
    }

    fn assert_alike(&self) {
        let [a, b, c] = self.twins.each_ref().map(|twin| {
            let counters: Vec<_> = twin.stack.counters().iter().collect();
            (twin.stack.tcp_state(twin.id), counters)
        });
        assert_eq!([&b, &c], [&a; 2]);
        // Keep-alive has a time of its own.
        let [a, b, _] = self.twins.each_ref().map(|twin| twin.stack.deadline());
        assert_eq!(a, b);
    }
}

/// A segment that continues what was said and acknowledges all, with text and a window.
fn continues(len: u16, window: u16) -> Step {
    Step::Segment { offset: 0, len, unacked: 0, window, ahead: 0, flags: ACK, ecn: 2 }
}

/// A timer that probed a shut window runs when it opens, with nothing outstanding: what goes then is the first of its
/// flight, and paces nothing.
#[test]
fn what_goes_when_a_window_opens_is_the_first_of_its_flight() {
    let mut scene = Scene::new(false, false, false);
    let steps = [
        // A round trip that is long enough for pacing.
        Step::Write(1),
        Step::Wait(150_000),
        continues(0, 0),
        Step::Write(3000),
        continues(1, u16::MAX),
        continues(0, u16::MAX),
        Step::Choose(Congestion::Bbr),
        Step::Write(1),
    ];
    steps.iter().for_each(|step| scene.run(step));
    scene.assert_alike();
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_short_way_leads_to_the_same_place(
        is_v6: bool,
        timestamps: bool,
        has_ecn: bool,
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut scene = Scene::new(is_v6, timestamps, has_ecn);
        for step in &steps {
            scene.run(step);
        }
        scene.assert_alike();
    }
}

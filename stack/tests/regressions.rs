//! Faults that were found once, each with the smallest scene that showed it.

use std::net::Ipv4Addr;
use std::task::Poll;
use std::time::Duration;

use hayase_device::heap::{HeapFrame, PoolConfig};
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
        // The data offset counts words, in the upper half of its byte.
        tcp.extend([(20 + self.options.len()) as u8 * 4, self.flags]);
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

#[test]
fn an_ack_right_behind_a_repeated_syn_opens_the_connection() {
    let mut scene = Scene::new(Offloads::NONE);
    let listener = scene.listen();
    let syn_ack = scene.say(segment(SYN, ISS)).remove(0);
    scene.send(segment(SYN, ISS));
    let said = scene.say(segment(ACK, ISS + 1).acks(syn_ack.seq.wrapping_add(1)));
    assert!(said.iter().all(|segment| segment.flags & RST == 0), "{said:?}");
    let id = scene.accept(listener);
    assert_eq!(scene.stack.tcp_state(id), State::Established);
}

#[test]
fn a_syn_and_a_syn_ack_in_one_burst_open_a_connection() {
    let mut scene = Scene::new(Offloads::NONE);
    let remote = (PEER, PEER_PORT).into();
    let id = scene.stack.tcp_connect(scene.now, remote, Some((OURS, 80).into())).unwrap();
    let syn = scene.turn().remove(0);
    scene.send(segment(SYN, ISS));
    let said = scene.say(segment(SYN, ISS).acks(syn.seq.wrapping_add(1)));
    assert_eq!(scene.stack.tcp_state(id), State::Established);
    assert!(said.iter().any(|s| s.ack == ISS + 1) && said.iter().all(|s| s.flags & RST == 0), "{said:?}");
}

#[test]
fn data_beside_sack_blocks_fits_the_mtu() {
    for offloads in [Offloads::NONE, Offloads::ALL] {
        let mut scene = Scene::new(offloads);
        let options = [&SACK[..], &timestamps(1, 0)].concat();
        let (id, ours) = scene.established(&options);
        scene.stack.tcp_set_nodelay(scene.now, id, true).unwrap();
        let hole = segment(ACK, ISS + 100).acks(ours).options(&timestamps(3, 0)).with(b"later");
        scene.send(hole);
        scene.write(id, &[0; 10_000]);
        let said = scene.turn();
        assert_eq!(said.iter().map(|s| s.payload.len()).sum::<usize>(), 10_000, "{offloads}");
        assert!(said.iter().all(|s| s.packet_len <= 1500), "{offloads}");
        assert!(said.iter().all(|s| s.options.len() == 24), "every one reports the hole");
    }
}

#[test]
fn a_clock_that_jumps_does_not_kill_by_keep_alive() {
    let mut scene = Scene::new(Offloads::NONE);
    let (id, _) = scene.established(&[]);
    let (idle, interval) = (Duration::from_secs(10), Duration::from_secs(1));
    let keepalive = Keepalive { idle, interval, count: 3 };
    scene.stack.tcp_set_keepalive(scene.now, id, Some(keepalive)).unwrap();
    assert_eq!(scene.pass(Duration::from_secs(3600)).len(), 1, "one probe");
    assert_eq!(scene.stack.tcp_state(id), State::Established);
}

#[test]
fn a_closed_connection_sends_no_keep_alive() {
    let mut scene = Scene::new(Offloads::NONE);
    let (id, ours) = scene.established(&[]);
    scene.say(segment(RST, ISS + 1).acks(ours));
    assert_eq!(scene.stack.tcp_state(id), State::Closed);
    scene.stack.tcp_set_keepalive(scene.now, id, Some(Keepalive::default())).unwrap();
    assert_eq!(scene.pass(Duration::from_secs(7201)), []);
}

#[test]
fn an_unacceptable_segment_draws_an_ack_in_syn_received() {
    let mut scene = Scene::new(Offloads::NONE);
    scene.listen();
    let syn_ack = scene.say(segment(SYN, ISS)).remove(0);
    let far = segment(ACK, ISS + 200_000).acks(syn_ack.seq.wrapping_add(1)).with(b"x");
    let said = scene.say(far);
    let expected = (ACK, syn_ack.seq.wrapping_add(1), ISS + 1);
    assert_eq!(said.iter().map(|s| (s.flags, s.seq, s.ack)).collect::<Vec<_>>(), [expected]);
}

#[test]
fn fragments_do_not_nest() {
    use wire::ipv6::{FRAGMENT_LEN, FragmentHeader, Header};
    let outer = FragmentHeader { next_header: wire::Protocol::FRAGMENT, offset: 0, more: true, ident: 1 };
    let inner = FragmentHeader { next_header: wire::Protocol::UDP, offset: 8, more: false, ident: 2 };
    let header = Header {
        src: "fd00::1".parse().unwrap(),
        dst: "fd00::2".parse().unwrap(),
        next_header: wire::Protocol::FRAGMENT,
        hop_limit: 64,
        traffic_class: 0,
        flow_label: 0,
        payload_len: 32,
    };
    let mut packet = header.to_bytes().to_vec();
    packet.resize(40 + 32, 0);
    outer.emit(&mut packet[40..40 + FRAGMENT_LEN]);
    inner.emit(&mut packet[48..48 + FRAGMENT_LEN]);
    assert!(wire::ipv6::walk_extensions(&packet, &header).is_err());
}

#[test]
fn a_datagram_that_waits_for_the_device_is_tried_again_soon() {
    let mut scene = Scene::on(WireConfig { queue_frames_max: 1, ..WireConfig::default() });
    let id = scene.stack.udp_bind("10.0.0.1:9".parse().unwrap()).unwrap();
    let to = Some((PEER, 9).into());
    let (first, second) = (
        scene.stack.udp_send(scene.now, id, b"1", to, &mut scene.device),
        scene.stack.udp_send(scene.now, id, b"2", to, &mut scene.device),
    );
    assert_eq!((first, second), (Poll::Ready(Ok(1)), Poll::Pending));
    scene.stack.transmit(scene.now, &mut scene.device);
    let retry_at = scene.stack.deadline().expect("nobody else will say that the device has room");
    assert!(retry_at > scene.now && retry_at - scene.now <= Duration::from_millis(2), "{retry_at:?}");
    assert!(!scene.stack.has_work(), "and until then nothing spins");
}

#[test]
fn a_connection_out_of_time_wait_starts_above_the_old_one() {
    let mut scene = Scene::new(Offloads::NONE);
    let (id, ours) = scene.established(&[2, 4, 5, 180]);
    let mut next = ours;
    while next.wrapping_sub(ours) < 600_000 {
        scene.write(id, &[0; 10_000]);
        let mut said = scene.turn();
        while let Some(last) = said.last() {
            next = last.seq.wrapping_add(last.payload.len() as u32);
            said = scene.say(segment(ACK, ISS + 1).acks(next));
        }
    }
    scene.stack.tcp_close(scene.now, id);
    let fin = scene.turn().remove(0);
    assert_eq!((fin.flags & FIN, fin.seq), (FIN, next));
    scene.say(segment(FIN, ISS + 1).acks(next.wrapping_add(1)));
    assert_eq!(scene.stack.tcp_count(), 1, "TIME_WAIT");
    let syn_ack = scene.say(segment(SYN, ISS + 100_000)).remove(0);
    assert_eq!(syn_ack.flags, SYN | ACK);
    let step = syn_ack.seq.wrapping_sub(next) as i32;
    assert!(step > 0, "the new sequence numbers start {step} from the old ones");
}

#[test]
fn the_last_acknowledgement_does_not_shrink_the_window() {
    let mut scene = Scene::new(Offloads::NONE);
    let (id, ours) = scene.established(&[]);
    scene.stack.tcp_close(scene.now, id);
    let fin = scene.turn().remove(0);
    let last = scene.say(segment(FIN, ISS + 1).acks(ours.wrapping_add(1))).remove(0);
    let edge = |segment: &Segment| segment.ack.wrapping_add(u32::from(segment.window));
    assert!(edge(&last) >= edge(&fin), "{last:?}");
}

#[test]
fn nobody_speaks_to_us_from_our_own_address() {
    let mut scene = Scene::new(Offloads::NONE);
    let id = scene.stack.udp_bind("10.0.0.1:7".parse().unwrap()).unwrap();
    // From our port 7 to our port 7: an echo server would talk to itself for ever.
    scene.packet(OURS, 17, &[0, 7, 0, 7, 0, 9, 0, 0, b'x']);
    scene.turn();
    assert_eq!(scene.stack.udp_recv(id, &mut [0; 9]), Poll::Pending);
}

#[test]
fn replies_beyond_a_turns_share_are_counted_as_dropped() {
    const SEGMENTS: u32 = 1030;
    let mut scene = Scene::on(WireConfig { queue_frames_max: 2048, ..WireConfig::default() });
    // Nobody listens: each is answered by a reset, of which a turn has 1024.
    (0..SEGMENTS).for_each(|number| scene.send(segment(SYN, number)));
    assert_eq!(scene.turn().len(), 1024);
    assert_eq!(scene.stack.counters().dropped(hayase_stack::Drop::FullRing), 6);
}

#[test]
fn a_pool_that_stays_dry_ends_the_connection_that_emptied_it() {
    let pool = PoolConfig { small_count_max: 16, large_count_max: 1, ..PoolConfig::default() };
    let offloads = Offloads::NONE;
    let defaults = WireConfig::default();
    let ends = (EndConfig { offloads, ..defaults.a }, EndConfig { offloads, ..defaults.b });
    let mut scene = Scene::on(WireConfig { pool, a: ends.0, b: ends.1, ..defaults });
    let (id, ours) = scene.established(&[]);
    // Less than what is in a buffer: sending it takes another one.
    scene.say(Segment { window: 100, ..segment(ACK, ISS + 1).acks(ours) });
    while scene.stack.tcp_write(scene.now, id, &[0; 536], &mut scene.device).is_ready() {}
    for _ in 0..30 {
        scene.pass(Duration::from_secs(120));
    }
    assert_eq!(scene.stack.tcp_state(id), State::Closed);
    assert_eq!(scene.device.pool().in_use(), 0);
}

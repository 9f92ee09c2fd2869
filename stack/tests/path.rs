//! Two stacks at the ends of a path with delay, a bottleneck, a queue and losses: what congestion control and loss
//! recovery make of it over time. Rows D, H3, N1 and N2.

use std::collections::VecDeque;
use std::sync::LazyLock;
use std::task::Poll;
use std::time::Duration;

use hayase_device::checksum::pseudo_header;
use hayase_device::heap::HeapFrame;
use hayase_device::{Burst, Device, Frame, Offloads, TxMeta};
use hayase_stack::{Config, Congestion, Count, Instant, Ready, Stack, TcpId, TcpInfo};
use hayase_wire::{EndConfig, Wire, WireConfig, WireDevice};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What one direction of the path does to packets.
#[derive(Clone, Copy)]
struct Link {
    /// One way.
    delay: Duration,
    bytes_per_second: u64,
    queue_len_max: usize,
    loss_per_mille: u64,
    /// One in so many packets is late by `late_by`. 0: none.
    late_one_in: u64,
    late_by: Duration,
    /// SYNs lose their offers of SACK and timestamps, as some middleboxes have it.
    strips_options: bool,
}

/// 10 Mbit/s, 40 ms there and back, a queue of a bandwidth-delay product.
const PATH: Link = Link {
    delay: ms(20),
    bytes_per_second: 1_250_000,
    queue_len_max: 50_000,
    loss_per_mille: 0,
    late_one_in: 0,
    late_by: ms(0),
    strips_options: false,
};

/// A direction of the path: frames that are under way.
struct Direction {
    link: Link,
    under_way: VecDeque<(Instant, Vec<u8>)>,
    /// When the bottleneck has sent all that it was given.
    free_at: Instant,
    /// What its queue held when packets came, in all and at most, since somebody last asked; and how many came.
    queued: (u64, usize, u64),
    rng: u64,
}

impl Direction {
    fn random(&mut self, below: u64) -> u64 {
        self.rng = self.rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.rng >> 33) % below
    }

    fn take(&mut self, now: Instant, mut bytes: Vec<u8>) {
        if self.link.strips_options {
            strip_options(&mut bytes);
        }
        let waiting_ns = (self.free_at - now).as_nanos() as u64;
        let queue_len = (waiting_ns * self.link.bytes_per_second / 1_000_000_000) as usize;
        self.queued = (self.queued.0 + queue_len as u64, self.queued.1.max(queue_len), self.queued.2 + 1);
        if queue_len + bytes.len() > self.link.queue_len_max || self.random(1000) < self.link.loss_per_mille {
            return;
        }
        let takes = Duration::from_nanos(bytes.len() as u64 * 1_000_000_000 / self.link.bytes_per_second);
        self.free_at = self.free_at.max(now) + takes;
        let late = self.link.late_one_in > 0 && self.random(self.link.late_one_in.max(1)) == 0;
        let at = self.free_at + self.link.delay + if late { self.link.late_by } else { ms(0) };
        let place = self.under_way.partition_point(|(other, _)| *other <= at);
        self.under_way.insert(place, (at, bytes));
    }
}

/// Makes NOPs of a SYN's offers of SACK and timestamps.
fn strip_options(bytes: &mut [u8]) {
    const SYN: u8 = 0x02;
    if bytes.len() < 54 || bytes[12..14] != [8, 0] || bytes[23] != 6 || bytes[47] & SYN == 0 {
        return;
    }
    let (addresses, tcp) = bytes[26..].split_at_mut(8);
    let end = usize::from(tcp[12] >> 4) * 4;
    let mut at = 20;
    while at < end && tcp[at] != 0 {
        let (kind, len) = (tcp[at], if tcp[at] == 1 { 1 } else { usize::from(tcp[at + 1]) });
        if kind == 4 || kind == 8 {
            tcp[at..at + len].fill(1);
        }
        at += len;
    }
    tcp[16..18].fill(0);
    let mut sum = pseudo_header(&addresses[..4], &addresses[4..], 6, tcp.len() as u32);
    sum.add(tcp);
    let checksum = sum.checksum().to_be_bytes();
    tcp[16..18].copy_from_slice(&checksum);
}

/// A host, and the way out of it.
struct Host {
    stack: Stack<HeapFrame>,
    device: WireDevice,
    wire: WireDevice,
    out: Direction,
}

impl Host {
    fn new(number: u8, config: Config, link: Link, seed: u64, now: Instant) -> Host {
        let mut ends = WireConfig { queue_frames_max: 8192, ..WireConfig::default() };
        // Bytes are all that goes over the path.
        ends.a = EndConfig { mac: [2, 0, 0, 0, 0, number], offloads: Offloads::NONE };
        ends.b = EndConfig { mac: [2, 0, 0, 0, 1, number], offloads: Offloads::NONE };
        let (device, wire) = Wire::pair(ends);
        let mut stack = Stack::new(config, device.caps(), device.mac(), [number; 32], now);
        stack.add_address(format!("10.0.0.{number}/24").parse().unwrap()).unwrap();
        let out = Direction {
            link,
            under_way: VecDeque::new(),
            free_at: now,
            queued: (0, 0, 0),
            rng: seed * 977 + u64::from(number),
        };
        Host { stack, device, wire, out }
    }

    /// A turn: what arrived by now goes in, what the stack says goes out.
    fn turn(&mut self, now: Instant, arriving: &mut VecDeque<(Instant, Vec<u8>)>) {
        while arriving.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, bytes)) = arriving.pop_front() else { break };
            let mut frame = self.wire.pool().alloc(bytes.len()).expect("a buffer");
            frame.extend(bytes.len()).expect("room").copy_from_slice(&bytes);
            self.wire.transmit(frame, TxMeta::default());
        }
        let mut burst = Burst::new(64);
        while self.device.receive(&mut burst) > 0 {
            self.stack.receive(now, &mut burst, &mut self.device);
        }
        if self.stack.deadline().is_some_and(|at| at <= now) {
            self.stack.expire(now, &mut self.device);
        }
    }

    fn transmit(&mut self, now: Instant) {
        self.stack.transmit(now, &mut self.device);
        let mut burst = Burst::new(64);
        while self.wire.receive(&mut burst) > 0 {
            for (frame, _) in burst.drain() {
                let bytes = frame.fragments().collect::<Vec<_>>().concat();
                self.out.take(now, bytes);
            }
        }
    }
}

/// A flow from the first host to the second that always has something to send.
#[derive(Clone, Copy)]
struct Flow {
    from: TcpId,
    to: TcpId,
    written: u64,
    read: u64,
}

struct Scene {
    a: Host,
    b: Host,
    now: Instant,
    flows: Vec<Flow>,
}

/// The stream's bytes, which repeat after so many.
const PERIOD: u64 = 1 << 24;

/// The longest piece of the stream that is written or read at once.
const PIECE: usize = 16_384;

/// A period of the stream, and a piece more.
static STREAM: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let byte = |at: u64| (at ^ at >> 8 ^ at >> 16).wrapping_mul(31) as u8;
    (0..PERIOD + PIECE as u64).map(|at| byte(at % PERIOD)).collect()
});

/// The piece of the stream from `at` on.
fn piece(at: u64) -> &'static [u8] {
    let at = (at % PERIOD) as usize;
    &STREAM[at..at + PIECE]
}

impl Scene {
    fn new(link: Link, config: Config, seed: u64) -> Scene {
        let now = Instant::from_millis(1);
        let back = Link { loss_per_mille: 0, late_one_in: 0, ..link };
        Scene {
            a: Host::new(1, config.clone(), link, seed, now),
            b: Host::new(2, config, back, seed, now),
            now,
            flows: vec![],
        }
    }

    fn add_flow(&mut self, congestion: Congestion) {
        let port = 80 + self.flows.len() as u16;
        let to = format!("10.0.0.2:{port}").parse().unwrap();
        let listener = self.b.stack.tcp_listen(to, 16).unwrap();
        let from = self.a.stack.tcp_connect(self.now, to, None).unwrap();
        self.a.stack.tcp_set_congestion(from, congestion).unwrap();
        let accepted = loop {
            self.step();
            if let Poll::Ready(accepted) = self.b.stack.tcp_accept(listener) {
                break accepted.unwrap().0;
            }
        };
        self.flows.push(Flow { from, to: accepted, written: 0, read: 0 });
    }

    /// To the next thing that happens, and through it.
    fn step(&mut self) {
        let ways = [&self.a, &self.b].map(|host| {
            let arrival = host.out.under_way.front().map(|(at, _)| *at);
            [host.stack.deadline(), arrival].into_iter().flatten().min()
        });
        let next = ways.into_iter().flatten().min().unwrap_or(self.now);
        // Turns take time.
        self.now = next.max(self.now + Duration::from_micros(20));
        self.a.turn(self.now, &mut self.b.out.under_way);
        self.b.turn(self.now, &mut self.a.out.under_way);
        self.applications();
        self.a.transmit(self.now);
        self.b.transmit(self.now);
    }

    fn applications(&mut self) {
        let mut buf = [0; PIECE];
        for flow in &mut self.flows {
            while self.a.stack.tcp_ready(flow.from).contains(Ready::WRITABLE) {
                let bytes = piece(flow.written);
                let written = self.a.stack.tcp_write(self.now, flow.from, bytes, &mut self.a.device);
                let Poll::Ready(Ok(len)) = written else { break };
                flow.written += len as u64;
            }
            while let Poll::Ready(Ok(len @ 1..)) = self.b.stack.tcp_read(self.now, flow.to, &mut buf) {
                assert!(buf[..len] == piece(flow.read)[..len], "a wrong byte");
                flow.read += len as u64;
            }
        }
    }

    /// Lets so much time pass; what each flow brought in it, in bytes a second.
    fn run(&mut self, time: Duration) -> Vec<u64> {
        let (end, before) = (self.now + time, self.flows.clone());
        while self.now < end {
            self.step();
        }
        let seconds = time.as_millis() as u64;
        self.flows.iter().zip(before).map(|(flow, was)| (flow.read - was.read) * 1000 / seconds).collect()
    }

    /// How many bytes waited at the bottleneck since this was last asked: when a packet came, on average, and at most.
    fn queue(&mut self) -> (u64, usize) {
        let (sum, most, count) = std::mem::take(&mut self.a.out.queued);
        (sum / count.max(1), most)
    }

    fn count(&self, count: Count) -> u64 {
        self.a.stack.counters().get(count)
    }

    fn info(&self) -> TcpInfo {
        self.a.stack.tcp_info(self.flows[0].from).unwrap()
    }
}

fn one_flow(link: Link, congestion: Congestion, seed: u64) -> Scene {
    let mut scene = Scene::new(link, Config::default(), seed);
    scene.add_flow(congestion);
    scene
}

/// How much of the link's rate is payload, in percent.
fn use_of(rate: u64, link: Link) -> u64 {
    rate * 100 / link.bytes_per_second
}

/// Jain's index of fairness, in percent.
fn jain_percent(rates: &[u64]) -> u64 {
    let (sum, squares) =
        rates.iter().fold((0, 0), |(sum, squares), rate| (sum + rate, squares + rate * rate));
    sum * sum * 100 / (rates.len() as u64 * squares)
}

#[test]
fn n1_losses_of_a_tenth_to_five_percent_are_repaired_without_standing_still() {
    for (loss_per_mille, least) in [(1, 80), (10, 28), (50, 9)] {
        for seed in 1..=3 {
            let link = Link { loss_per_mille, ..PATH };
            let mut scene = one_flow(link, Congestion::Cubic, seed);
            let rate = scene.run(Duration::from_secs(20))[0];
            let (used, timeouts) = (use_of(rate, link), scene.count(Count::Timeouts));
            assert!(used >= least, "{loss_per_mille} per mille, seed {seed}: {used} %, {timeouts} timeouts");
            let timeouts_max = if loss_per_mille < 50 { 0 } else { 3 };
            assert!(timeouts <= timeouts_max, "{loss_per_mille} per mille, seed {seed}: {timeouts} timeouts");
        }
    }
}

#[test]
fn n1_reordering_is_learnt_and_costs_little() {
    for seed in 1..=3 {
        let link = Link { late_one_in: 50, late_by: ms(8), ..PATH };
        let mut scene = one_flow(link, Congestion::Cubic, seed);
        scene.run(Duration::from_secs(5));
        let used = use_of(scene.run(Duration::from_secs(20))[0], link);
        assert!(used >= 80, "seed {seed}: {used} %");
        assert_eq!(scene.count(Count::Timeouts), 0);
    }
}

#[test]
fn n1_a_path_that_stops_for_a_second_is_taken_up_again() {
    stops_for_a_second(PATH);
}

/// Nothing but F-RTO tells there that the timeout was needless.
#[test]
fn n1_so_it_is_without_sack_and_timestamps() {
    let scene = stops_for_a_second(Link { strips_options: true, ..PATH });
    assert!(!scene.info().sack && !scene.info().timestamps);
}

fn stops_for_a_second(link: Link) -> Scene {
    let mut scene = one_flow(link, Congestion::Cubic, 1);
    scene.run(Duration::from_secs(5));
    // Everything that is under way, and all that follows for a while, is late but not lost.
    for at in &mut scene.a.out.under_way {
        at.0 += ms(1000);
    }
    scene.a.out.free_at = scene.a.out.free_at.max(scene.now) + ms(1000);
    scene.run(Duration::from_secs(3));
    let used = use_of(scene.run(Duration::from_secs(10))[0], PATH);
    assert!(used >= 85, "{used} %");
    assert!(scene.count(Count::SpuriousRtos) > 0, "the timeout was needless, and known to be");
    scene
}

#[test]
fn n2_a_clean_path_is_filled_by_every_algorithm() {
    for congestion in Congestion::ALL {
        let mut scene = one_flow(PATH, *congestion, 1);
        scene.run(Duration::from_secs(3));
        let used = use_of(scene.run(Duration::from_secs(20))[0], PATH);
        assert!(used >= 90, "{congestion}: {used} %");
        assert_eq!(scene.count(Count::Timeouts), 0);
        let rate = scene.info().delivery_rate;
        assert!((70..=110).contains(&use_of(rate, PATH)), "{congestion}: delivery rate {rate}");
    }
}

#[test]
fn n2_bbr_fills_a_path_that_loses_one_percent() {
    let hundred = Link { bytes_per_second: 12_500_000, queue_len_max: 500_000, ..PATH };
    for (path, seeds, seconds) in [(PATH, 1..=3, 60), (hundred, 1..=1, 20)] {
        for seed in seeds {
            let link = Link { loss_per_mille: 10, ..path };
            let mut scene = one_flow(link, Congestion::Bbr, seed);
            scene.run(Duration::from_secs(3));
            let used = use_of(scene.run(Duration::from_secs(seconds))[0], link);
            assert!(used >= 90, "seed {seed}: {used} %, {:?}", scene.info());
            assert_eq!(scene.count(Count::Timeouts), 0);
        }
    }
}

/// CUBIC fills whatever queue there is. BBR's stays well below what the path itself holds, whatever the queue could take.
#[test]
fn n2_bbr_keeps_the_queue_short() {
    let deep = Link { queue_len_max: 10 * PATH.queue_len_max, ..PATH };
    for congestion in [Congestion::Bbr, Congestion::Cubic] {
        let mut scene = one_flow(deep, congestion, 1);
        scene.run(Duration::from_secs(10));
        scene.queue();
        scene.run(Duration::from_secs(30));
        let (average, most) = scene.queue();
        if congestion == Congestion::Bbr {
            assert!(average <= 15_000 && most <= 75_000, "{average} bytes, {most} at most");
        } else {
            assert!(average >= 300_000, "{average} bytes");
        }
    }
}

/// Pacing, without a model: a window leaves over a round trip, so slow start needs less of a queue than it sends.
#[test]
fn n2_pacing_needs_a_shorter_queue() {
    let most = [true, false].map(|pacing| {
        let mut config = Config::default();
        config.pacing = pacing;
        // As much as the path holds, so that the queue is all that a burst makes.
        config.receive_buffer_len = PATH.queue_len_max;
        config.receive_buffer_len_max = PATH.queue_len_max;
        let mut scene = Scene::new(PATH, config, 1);
        scene.add_flow(Congestion::Cubic);
        scene.run(Duration::from_secs(5));
        scene.queue().1
    });
    assert!(most[0] * 3 <= most[1] * 2, "{most:?} bytes with and without");
}

#[test]
fn n2_bbr_shares_a_bottleneck_with_its_like_and_leaves_room_for_cubic() {
    let deep = Link { queue_len_max: 4 * PATH.queue_len_max, ..PATH };
    for (link, first, second, jain_least) in [
        (PATH, Congestion::Bbr, Congestion::Bbr, 90),
        (deep, Congestion::Bbr, Congestion::Bbr, 90),
        (deep, Congestion::Cubic, Congestion::Bbr, 90),
        // Where the queue is no longer than the path BBR takes more, as the draft's authors found.
        (PATH, Congestion::Cubic, Congestion::Bbr, 70),
    ] {
        let mut scene = one_flow(link, first, 1);
        scene.run(Duration::from_secs(5));
        scene.add_flow(second);
        scene.run(Duration::from_secs(20));
        let rates = scene.run(Duration::from_secs(60));
        assert!(jain_percent(&rates) >= jain_least, "{first} and {second}: {rates:?}");
        assert!(use_of(rates.iter().sum(), PATH) >= 90, "{rates:?}");
    }
}

#[test]
fn n2_bbr_is_taken_up_and_laid_down_while_data_flows() {
    let link = Link { loss_per_mille: 10, ..PATH };
    let mut scene = one_flow(link, Congestion::Cubic, 1);
    let by_cubic = scene.run(Duration::from_secs(20))[0];
    scene.a.stack.tcp_set_congestion(scene.flows[0].from, Congestion::Bbr).unwrap();
    scene.run(Duration::from_secs(5));
    let by_bbr = scene.run(Duration::from_secs(20))[0];
    assert!(by_bbr * 2 >= by_cubic * 3, "{by_cubic} then {by_bbr}");
    assert!(scene.info().pacing_rate.is_some());
    scene.a.stack.tcp_set_congestion(scene.flows[0].from, Congestion::NewReno).unwrap();
    let by_reno = scene.run(Duration::from_secs(20))[0];
    assert!(by_reno * 2 <= by_bbr, "{by_bbr} then {by_reno}");
}

#[test]
fn n2_bbr_comes_through_a_blackout() {
    let mut scene = one_flow(PATH, Congestion::Bbr, 1);
    scene.run(Duration::from_secs(5));
    scene.a.out.link.loss_per_mille = 1000;
    scene.run(Duration::from_secs(3));
    scene.a.out.link.loss_per_mille = 0;
    scene.run(Duration::from_secs(5));
    let used = use_of(scene.run(Duration::from_secs(10))[0], PATH);
    assert!(used >= 85, "{used} %");
    assert!(scene.count(Count::Timeouts) > 0);
}

/// 1 Gbit/s, 100 ms there and back, a queue of a bandwidth-delay product.
const LONG: Link = Link { delay: ms(50), bytes_per_second: 125_000_000, queue_len_max: 12_500_000, ..PATH };

#[test]
fn n6_buffers_grow_until_a_gigabit_over_100_ms_is_filled() {
    let mut scene = one_flow(LONG, Congestion::Cubic, 1);
    scene.run(Duration::from_secs(3));
    let used = use_of(scene.run(Duration::from_secs(2))[0], LONG);
    assert!(used >= 90, "{used} %");
    assert!(scene.info().snd_wnd > 8 << 20, "the window grew with what the application took");
}

#[test]
fn n6_buffers_stay_small_where_the_path_is() {
    let mut scene = one_flow(PATH, Congestion::Cubic, 1);
    scene.run(Duration::from_secs(20));
    let info = scene.b.stack.tcp_info(scene.flows[0].to).unwrap();
    assert!(info.rcv_wnd <= 512 << 10, "{} bytes", info.rcv_wnd);
}

#[test]
fn h3_two_flows_share_a_bottleneck() {
    for seed in 1..=2 {
        let link = Link { loss_per_mille: seed - 1, ..PATH };
        let mut scene = one_flow(link, Congestion::Cubic, seed);
        scene.run(Duration::from_secs(5));
        scene.add_flow(Congestion::Cubic);
        scene.run(Duration::from_secs(20));
        let rates = scene.run(Duration::from_secs(40));
        assert!(jain_percent(&rates) >= 90, "seed {seed}: {rates:?}");
        assert!(use_of(rates.iter().sum(), PATH) >= 85, "{rates:?}");
    }
}

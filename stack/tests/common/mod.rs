//! Two hosts on a wire that may lose frames, and a clock that the test moves.

use std::net::IpAddr;
use std::task::Poll;
use std::time::Duration;

use hayase_device::heap::HeapFrame;
use hayase_device::{Burst, Device, Offloads};
use hayase_stack::{Config, EchoId, Error, Instant, Stack, State, TcpId, UdpId};
use hayase_wire::{EndConfig, Wire, WireConfig, WireDevice};

pub(crate) struct Host {
    pub(crate) stack: Stack<HeapFrame>,
    pub(crate) device: WireDevice,
    burst: Burst<HeapFrame>,
}

pub(crate) struct Net {
    pub(crate) a: Host,
    pub(crate) b: Host,
    pub(crate) now: Instant,
    pub(crate) loss_per_mille: u64,
    pub(crate) rng: u64,
}

/// Byte `i` of every test stream.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

impl Host {
    fn new(device: WireDevice, number: u8, now: Instant, config: Config) -> Host {
        let seed = [number; 32];
        let mut stack = Stack::new(config, device.caps(), device.mac(), seed, now);
        stack.add_address(format!("10.0.0.{number}/24").parse().unwrap()).unwrap();
        stack.add_address(format!("fd00::{number}/64").parse().unwrap()).unwrap();
        Host { stack, device, burst: Burst::new(64) }
    }

    /// One turn without an application. Returns whether anything happened.
    fn turn(&mut self, now: Instant, mut lost: impl FnMut() -> bool) -> bool {
        let mut received = 0;
        while self.device.receive(&mut self.burst) > 0 {
            let frames: Vec<_> = self.burst.drain().collect();
            received += frames.len();
            for (frame, meta) in frames {
                if !lost() {
                    self.burst.push(frame, meta);
                }
            }
            self.stack.receive(now, &mut self.burst, &mut self.device);
        }
        if self.stack.deadline().is_some_and(|at| at <= now) {
            self.stack.expire(now, &mut self.device);
        }
        let sent = self.stack.transmit(now, &mut self.device);
        self.device.flush();
        received + sent > 0
    }

    pub(crate) fn try_write(&mut self, now: Instant, id: TcpId, bytes: &[u8]) -> Poll<Result<usize, Error>> {
        self.stack.tcp_write(now, id, bytes, &mut self.device)
    }

    pub(crate) fn write(&mut self, now: Instant, id: TcpId, bytes: &[u8]) {
        assert_eq!(self.try_write(now, id, bytes), Poll::Ready(Ok(bytes.len())));
    }

    /// Everything that can be read now.
    pub(crate) fn read(&mut self, now: Instant, id: TcpId) -> Vec<u8> {
        let mut all = Vec::new();
        let mut buf = [0; 20_000];
        while let Poll::Ready(Ok(len @ 1..)) = self.stack.tcp_read(now, id, &mut buf) {
            all.extend_from_slice(&buf[..len]);
        }
        all
    }

    pub(crate) fn udp_send(&mut self, now: Instant, id: UdpId, bytes: &[u8], to: &str) {
        let sent = self.stack.udp_send(now, id, bytes, Some(to.parse().unwrap()), &mut self.device);
        assert_eq!(sent, Poll::Ready(Ok(bytes.len())));
    }

    pub(crate) fn ping(&mut self, now: Instant, id: EchoId, to: &str, payload: &[u8]) {
        let to: IpAddr = to.parse().unwrap();
        self.stack.echo_send(now, id, to, 7, payload, &mut self.device).unwrap();
    }

    pub(crate) fn counter(&self, name: &str) -> u64 {
        self.stack.counters().iter().find(|(n, _)| *n == name).unwrap().1
    }
}

impl Net {
    pub(crate) fn new(a: Offloads, b: Offloads) -> Net {
        Net::with_config(a, b, Config::default())
    }

    pub(crate) fn with_config(a: Offloads, b: Offloads, stack: Config) -> Net {
        let defaults = WireConfig::default();
        let wire = WireConfig {
            a: EndConfig { offloads: a, ..defaults.a },
            b: EndConfig { offloads: b, ..defaults.b },
            ..defaults
        };
        Net::on_wire(wire, stack)
    }

    pub(crate) fn on_wire(wire: WireConfig, stack: Config) -> Net {
        let (a, b) = Wire::pair(wire);
        let now = Instant::from_millis(1);
        Net {
            a: Host::new(a, 1, now, stack.clone()),
            b: Host::new(b, 2, now, stack),
            now,
            loss_per_mille: 0,
            rng: 1,
        }
    }

    /// One turn of each host at the present time.
    pub(crate) fn exchange(&mut self) -> bool {
        let (mut rng, loss) = (self.rng, self.loss_per_mille);
        let mut lost = || {
            rng ^= rng << 13;
            rng ^= rng >> 7;
            rng ^= rng << 17;
            rng % 1000 < loss
        };
        let a = self.a.turn(self.now, &mut lost);
        let b = self.b.turn(self.now, &mut lost);
        self.rng = rng;
        a || b
    }

    /// Until nothing happens any more without time passing.
    pub(crate) fn settle(&mut self) {
        for _ in 0..10_000 {
            if !self.exchange() {
                return;
            }
        }
        panic!("the hosts never fall silent");
    }

    /// A millisecond or so passes.
    pub(crate) fn step(&mut self, time: Duration) {
        self.now += time;
        self.settle();
    }

    /// Lets time pass, from deadline to deadline. Returns how many turns it took.
    pub(crate) fn run_for(&mut self, time: Duration) -> usize {
        let end = self.now + time;
        let mut turns = 0;
        self.settle();
        while self.now < end {
            let next = [self.a.stack.deadline(), self.b.stack.deadline()].into_iter().flatten().min();
            self.now = next.unwrap_or(end).max(self.now + Duration::from_micros(1)).min(end);
            self.settle();
            turns += 1;
        }
        turns
    }

    pub(crate) fn connect_v4(&mut self) -> (TcpId, TcpId) {
        self.connect("10.0.0.2:80")
    }

    pub(crate) fn connect(&mut self, to: &str) -> (TcpId, TcpId) {
        let port = if to.starts_with('[') { "[::]:80" } else { "0.0.0.0:80" };
        let listener = self.b.stack.tcp_listen(port.parse().unwrap(), 128).unwrap();
        let client = self.a.stack.tcp_connect(self.now, to.parse().unwrap(), None).unwrap();
        for _ in 0..2000 {
            self.settle();
            if let Poll::Ready(accepted) = self.b.stack.tcp_accept(listener) {
                assert_eq!(self.a.stack.tcp_poll_connect(client), Poll::Ready(Ok(())));
                self.b.stack.close_listener(self.now, listener);
                return (client, accepted.unwrap().0);
            }
            self.now += Duration::from_millis(50);
        }
        panic!("no connection");
    }

    /// Sends `data` from `a` to `b` and returns what arrived.
    pub(crate) fn transfer(&mut self, from: TcpId, to: TcpId, data: &[u8]) -> Vec<u8> {
        let (mut sent, mut got) = (0, Vec::new());
        for _ in 0..100_000 {
            if let Poll::Ready(result) = self.a.try_write(self.now, from, &data[sent..]) {
                sent += result.unwrap();
            }
            self.settle();
            got.extend(self.b.read(self.now, to));
            if got.len() >= data.len() {
                return got;
            }
            self.now += Duration::from_millis(1);
        }
        panic!("stalled after {} of {} bytes", got.len(), data.len());
    }

    /// The other direction.
    pub(crate) fn transfer_back(&mut self, from: TcpId, to: TcpId, data: &[u8]) -> Vec<u8> {
        std::mem::swap(&mut self.a, &mut self.b);
        let got = self.transfer(from, to, data);
        std::mem::swap(&mut self.a, &mut self.b);
        got
    }

    /// Closes both ends and waits out TIME_WAIT.
    pub(crate) fn close_both(&mut self, client: TcpId, server: TcpId) {
        self.a.stack.tcp_close(self.now, client);
        self.run_for(Duration::from_secs(1));
        assert!(matches!(
            self.b.stack.tcp_state(server),
            State::CloseWait | State::Closed | State::TimeWait | State::LastAck
        ));
        self.b.stack.tcp_close(self.now, server);
        self.run_for(Duration::from_secs(700));
    }

    /// Segments sent by both hosts.
    pub(crate) fn segments(&self) -> u64 {
        self.a.counter("TcpOutSegs") + self.b.counter("TcpOutSegs")
    }

    pub(crate) fn assert_frames_home(&self) {
        assert_eq!((self.a.device.pool().in_use(), self.b.device.pool().in_use()), (0, 0), "frames in use");
    }

    /// Nothing is left of any connection.
    pub(crate) fn assert_clean(&self) {
        assert_eq!((self.a.stack.tcp_count(), self.b.stack.tcp_count()), (0, 0), "connections left");
        self.assert_frames_home();
    }
}

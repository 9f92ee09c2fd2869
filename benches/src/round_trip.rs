//! TCP ping-pong over the wire by the stack's own calls: what the async API is measured against.

use std::task::Poll;

use hayase_device::heap::HeapFrame;
use hayase_device::{Burst, Device, Offloads};
use hayase_stack::{Config, Instant, Socket, Stack, TcpId};
use hayase_wire::{EndConfig, Wire, WireConfig, WireDevice};

pub(crate) struct Host {
    pub(crate) stack: Stack<HeapFrame>,
    pub(crate) device: WireDevice,
    burst: Burst<HeapFrame>,
    ready: Vec<TcpId>,
}

impl Host {
    fn new(device: WireDevice, number: u8, now: Instant) -> Host {
        let mut stack = Stack::new(Config::default(), device.caps(), device.mac(), [number; 32], now);
        let address = format!("10.0.0.{number}/24").parse().expect("an address");
        stack.add_address(address).expect("a fresh stack takes an address");
        Host { stack, device, burst: Burst::new(64), ready: Vec::new() }
    }

    pub(crate) fn receive(&mut self, now: Instant) {
        while self.device.receive(&mut self.burst) > 0 {
            self.stack.receive(now, &mut self.burst, &mut self.device);
        }
    }

    pub(crate) fn transmit(&mut self, now: Instant) {
        self.stack.transmit(now, &mut self.device);
        self.device.flush();
    }

    /// Reads a byte and writes one where there is something to read; returns how often.
    fn echo(&mut self, now: Instant) -> u64 {
        let mut ready = std::mem::take(&mut self.ready);
        self.stack.drain_ready(|socket, _| {
            if let Socket::Tcp(id) = socket {
                ready.push(id);
            }
        });
        let mut buf = [0; 64];
        let mut count = 0;
        for id in ready.drain(..) {
            if let Poll::Ready(Ok(1..)) = self.stack.tcp_read(now, id, &mut buf) {
                self.write(now, id);
                count += 1;
            }
        }
        self.ready = ready;
        count
    }

    fn write(&mut self, now: Instant, id: TcpId) {
        let written = self.stack.tcp_write(now, id, b"x", &mut self.device);
        assert_eq!(written, Poll::Ready(Ok(1)));
    }
}

pub(crate) struct Pair {
    pub(crate) client: Host,
    pub(crate) server: Host,
    pub(crate) now: Instant,
}

impl Pair {
    pub(crate) fn new(offloads: Offloads) -> Pair {
        let defaults = WireConfig::default();
        let (a, b) = Wire::pair(WireConfig {
            a: EndConfig { offloads, ..defaults.a },
            b: EndConfig { offloads, ..defaults.b },
            ..defaults
        });
        let now = Instant::from_millis(1);
        let mut server = Host::new(b, 2, now);
        server.stack.tcp_listen("0.0.0.0:7".parse().expect("an address"), 4096).expect("a free port");
        Pair { client: Host::new(a, 1, now), server, now }
    }

    fn turn(&mut self) {
        self.now += std::time::Duration::from_nanos(500);
        self.client.receive(self.now);
        self.client.transmit(self.now);
        self.server.receive(self.now);
        self.server.transmit(self.now);
    }

    pub(crate) fn connect(&mut self, count: usize) -> (Vec<TcpId>, Vec<TcpId>) {
        let mut pairs = (Vec::new(), Vec::new());
        let listener = self.server.stack.tcp_listen("10.0.0.2:7".parse().expect("an address"), 4096);
        let listener = listener.expect("a free port");
        for _ in 0..count {
            let to = "10.0.0.2:7".parse().expect("an address");
            let id = self.client.stack.tcp_connect(self.now, to, None).expect("a free port");
            self.client.stack.tcp_set_nodelay(self.now, id, true).expect("it is open");
            let accepted = (0..8).find_map(|_| {
                self.turn();
                match self.server.stack.tcp_accept(listener) {
                    Poll::Ready(Ok((id, _))) => Some(id),
                    _ => None,
                }
            });
            let accepted = accepted.expect("the handshake takes two turns");
            self.server.stack.tcp_set_nodelay(self.now, accepted, true).expect("it is open");
            pairs.0.push(id);
            pairs.1.push(accepted);
        }
        self.server.stack.close_listener(self.now, listener);
        (0..8).for_each(|_| self.turn());
        pairs
    }

    fn ping_pong(&mut self, clients: &[TcpId], count: u64) {
        for id in clients {
            self.client.write(self.now, *id);
        }
        self.client.transmit(self.now);
        let mut done = 0;
        while done < count {
            self.now += std::time::Duration::from_nanos(500);
            self.server.receive(self.now);
            self.server.echo(self.now);
            self.server.transmit(self.now);
            self.client.receive(self.now);
            done += self.client.echo(self.now);
            self.client.transmit(self.now);
        }
    }
}

/// Bytes of a write, and of a read, in bulk.
const BULK_LEN: usize = 64 * 1024;

/// `count` times 64 KiB from one end to the other, on one connection.
pub(crate) fn bulk(count: u64, offloads: Offloads) {
    let mut pair = Pair::new(offloads);
    let (clients, servers) = pair.connect(1);
    let (chunk, mut buf) = (vec![0x5a; BULK_LEN], vec![0; BULK_LEN]);
    let total = count as usize * BULK_LEN;
    let (mut written, mut read) = (0, 0);
    while read < total {
        let Host { stack, device, .. } = &mut pair.client;
        let len = BULK_LEN.min(total - written);
        if len > 0
            && let Poll::Ready(taken) = stack.tcp_write(pair.now, clients[0], &chunk[..len], device)
        {
            written += taken.expect("the connection stands");
        }
        pair.client.transmit(pair.now);
        pair.server.receive(pair.now);
        while let Poll::Ready(taken) = pair.server.stack.tcp_read(pair.now, servers[0], &mut buf) {
            read += taken.expect("the connection stands");
        }
        pair.server.stack.drain_ready(|_, _| {});
        pair.server.transmit(pair.now);
        pair.now += std::time::Duration::from_micros(10);
        pair.client.receive(pair.now);
        pair.client.stack.drain_ready(|_, _| {});
    }
}

/// `count` round trips over `active` connections, with `idle` more held open.
pub(crate) fn run(count: u64, active: usize, idle: usize) {
    measure(Pair::new(Offloads::ALL), count, active, idle);
}

/// The same with checksums and everything else in software.
pub(crate) fn run_in_software(count: u64, active: usize) {
    measure(Pair::new(Offloads::NONE), count, active, 0);
}

fn measure(mut pair: Pair, count: u64, active: usize, idle: usize) {
    let held = pair.connect(idle);
    let (clients, servers) = pair.connect(active);
    pair.ping_pong(&clients, count);
    assert_eq!(servers.len(), active);
    assert_eq!(held.0.len(), idle);
}

/// A connection opened, accepted and closed by both ends.
pub(crate) fn connect_close(count: u64) {
    let mut pair = Pair::new(Offloads::ALL);
    for _ in 0..count {
        let (clients, servers) = pair.connect(1);
        pair.client.stack.tcp_close(pair.now, clients[0]);
        pair.turn();
        pair.server.stack.tcp_close(pair.now, servers[0]);
        (0..4).for_each(|_| pair.turn());
    }
}

//! Two stacks with a hostile link between them, which loses, holds, repeats, cuts and flips what it likes. What arrives
//! is what was sent; and when the link comes to its senses, everything arrives.

use std::collections::VecDeque;
use std::task::Poll;
use std::time::Duration;

use hayase_device::heap::HeapFrame;
use hayase_device::{Burst, Device, Frame, Offloads, TxMeta};
use hayase_stack::{Config, Instant, Stack, State, TcpId};
use hayase_wire::{EndConfig, Wire, WireConfig, WireDevice};

use crate::input::Input;

/// Decisions of one run.
const STEPS_MAX: usize = 300;
/// Frames that the link holds in one direction.
const HELD_MAX: usize = 256;
/// Turns until a link without faults has delivered everything.
const TURNS_MAX: usize = 20_000;
/// What one side writes at most.
const STREAM_LEN_MAX: u64 = 200_000;

fn pattern(at: u64) -> u8 {
    (at * 7 + at / 251) as u8
}

/// A stack, its device, and the far end of that device's cable.
struct End {
    stack: Stack<HeapFrame>,
    device: WireDevice,
    far: WireDevice,
    burst: Burst<HeapFrame>,
    /// What it sent and the link has not delivered.
    held: VecDeque<Vec<u8>>,
    id: Option<TcpId>,
    written: u64,
    read: u64,
    failed: bool,
}

impl End {
    fn new(number: u8, offloads: Offloads, now: Instant) -> End {
        let defaults = WireConfig::default();
        let (device, far) = Wire::pair(WireConfig {
            a: EndConfig { offloads, mac: [2, 0, 0, 0, 0, number] },
            b: EndConfig { offloads: Offloads::NONE, ..defaults.b },
            ..defaults
        });
        let mut stack = Stack::new(Config::default(), device.caps(), device.mac(), [number; 32], now);
        for cidr in [format!("10.0.0.{number}/24"), format!("fd00::{number}/64")] {
            stack.add_address(cidr.parse().expect("an address")).expect("there is room for two addresses");
        }
        let burst = Burst::new(64);
        let (held, id) = (VecDeque::new(), None);
        End { stack, device, far, burst, held, id, written: 0, read: 0, failed: false }
    }

    fn turn(&mut self, now: Instant) {
        while self.device.receive(&mut self.burst) > 0 {
            self.stack.receive(now, &mut self.burst, &mut self.device);
        }
        if self.stack.deadline().is_some_and(|at| at <= now) {
            self.stack.expire(now, &mut self.device);
        }
        self.read(now);
        self.stack.transmit(now, &mut self.device);
        self.stack.drain_ready(|_, _| {});
        while self.far.receive(&mut self.burst) > 0 {
            for (frame, _) in self.burst.drain() {
                self.held.push_back(frame.fragments().flatten().copied().collect());
            }
        }
        while self.held.len() > HELD_MAX {
            self.held.pop_front();
        }
    }

    fn deliver(&mut self, bytes: &[u8]) {
        let Some(mut frame) = self.far.alloc(bytes.len()) else { return };
        if let Some(room) = frame.extend(bytes.len()) {
            room.copy_from_slice(bytes);
            self.far.transmit(frame, TxMeta::default());
        }
    }

    fn write(&mut self, now: Instant, len: usize) {
        let Some(id) = self.id else { return };
        let len = (len as u64).min(STREAM_LEN_MAX - self.written);
        let bytes: Vec<u8> = (self.written..self.written + len).map(pattern).collect();
        match self.stack.tcp_write(now, id, &bytes, &mut self.device) {
            Poll::Ready(Ok(count)) => self.written += count as u64,
            Poll::Ready(Err(_)) => self.failed = true,
            Poll::Pending => {}
        }
    }

    /// Every byte once and in order.
    fn read(&mut self, now: Instant) {
        let Some(id) = self.id else { return };
        let mut bytes = [0; 8192];
        loop {
            match self.stack.tcp_read(now, id, &mut bytes) {
                Poll::Ready(Ok(len @ 1..)) => {
                    for byte in &bytes[..len] {
                        assert_eq!(*byte, pattern(self.read), "byte {} of the stream", self.read);
                        self.read += 1;
                    }
                }
                Poll::Ready(Err(_)) => return self.failed = true,
                Poll::Ready(Ok(_)) | Poll::Pending => return,
            }
        }
    }
}

struct Net {
    ends: [End; 2],
    now: Instant,
}

/// A connection over a link of which the fuzzer decides frame by frame, and then one without faults.
pub fn link(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    let now = Instant::from_millis(1);
    let offloads = |on| if on { Offloads::ALL } else { Offloads::NONE };
    let ends = [End::new(1, offloads(choice & 1 != 0), now), End::new(2, offloads(choice & 2 != 0), now)];
    let mut net = Net { ends, now };
    let server = if choice & 4 != 0 { "[fd00::2]:80" } else { "10.0.0.2:80" };
    let server = server.parse().expect("an address and a port");
    let listener = net.ends[1].stack.tcp_listen(server, 4).expect("a free port");
    net.ends[0].id = net.ends[0].stack.tcp_connect(now, server, None).ok();
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        net.step(&mut input);
        if let Poll::Ready(Ok((id, _))) = net.ends[1].stack.tcp_accept(listener) {
            net.ends[1].id = Some(id);
        }
    }
    net.settle(listener);
    net.finish(listener);
}

impl Net {
    fn step(&mut self, input: &mut Input<'_>) {
        let choice = input.byte();
        let side = usize::from(choice >> 7);
        match choice % 16 {
            0..=4 => self.cross(side),
            5 => drop(self.ends[side].held.pop_front()),
            6 => self.ends[side].held.rotate_left(usize::from(!self.ends[side].held.is_empty())),
            7 => {
                let copy = self.ends[side].held.front().cloned();
                self.ends[side].held.extend(copy);
            }
            8 => self.flip(side, input),
            9 => {
                if let Some(frame) = self.ends[side].held.front_mut().filter(|frame| !is_resolution(frame)) {
                    frame.truncate(usize::from(input.u16()).max(14));
                }
            }
            10 | 11 => self.ends[side].write(self.now, usize::from(input.u16())),
            12 => self.now += Duration::from_micros(u64::from(input.u16())),
            13 => self.now += Duration::from_millis(u64::from(input.byte()) * 4),
            14 => (0..32).for_each(|_| self.cross(side)),
            _ => {
                let next = self.ends.iter().filter_map(|end| end.stack.deadline()).min();
                self.now = next.map_or(self.now, |at| at.max(self.now));
            }
        }
        self.ends.iter_mut().for_each(|end| end.turn(self.now));
    }

    /// The oldest frame of one side arrives at the other.
    fn cross(&mut self, from: usize) {
        if let Some(frame) = self.ends[from].held.pop_front() {
            self.ends[1 - from].deliver(&frame);
        }
    }

    /// One bit: every checksum sees that.
    fn flip(&mut self, side: usize, input: &mut Input<'_>) {
        let (at, bit) = (usize::from(input.u16()), input.byte() % 8);
        let Some(mut frame) = self.ends[side].held.pop_front() else { return };
        // Neighbours are believed: a wrong address would keep the two apart for longer than the test waits.
        if !is_resolution(&frame) {
            let at = at % frame.len();
            frame[at] ^= 1 << bit;
        }
        self.ends[1 - side].deliver(&frame);
    }

    /// From here on the link is good: both sides read all that the other has written, or know that they did not.
    fn settle(&mut self, listener: hayase_stack::ListenerId) {
        for _ in 0..TURNS_MAX {
            for side in [0, 1] {
                while !self.ends[side].held.is_empty() {
                    self.cross(side);
                }
            }
            self.ends.iter_mut().for_each(|end| end.turn(self.now));
            if let Poll::Ready(Ok((id, _))) = self.ends[1].stack.tcp_accept(listener) {
                self.ends[1].id = Some(id);
            }
            if self.is_done() {
                return;
            }
            if self.ends.iter().all(|end| end.held.is_empty()) {
                let next = self.ends.iter().filter_map(|end| end.stack.deadline()).min();
                self.now = next.unwrap_or(self.now).max(self.now + Duration::from_micros(10));
            }
        }
        let state = |end: &End| (end.id.map(|id| end.stack.tcp_state(id)), end.written, end.read);
        panic!("stalled: {:?} and {:?}", state(&self.ends[0]), state(&self.ends[1]));
    }

    fn is_done(&self) -> bool {
        let [a, b] = &self.ends;
        let gone = |end: &End| end.id.is_some_and(|id| end.stack.tcp_state(id) == State::Closed);
        if a.failed || b.failed || gone(a) || gone(b) {
            return true;
        }
        a.id.is_some() && b.id.is_some() && a.read == b.written && b.read == a.written
    }

    fn finish(mut self, listener: hayase_stack::ListenerId) {
        for end in &mut self.ends {
            if let Some(id) = end.id.take() {
                end.stack.tcp_abort(self.now, id);
            }
        }
        self.ends[1].stack.close_listener(self.now, listener);
        for _ in 0..64 {
            self.ends.iter_mut().for_each(|end| end.turn(self.now));
            self.ends.iter_mut().for_each(|end| end.held.clear());
            self.now += Duration::from_secs(120);
        }
        for end in &self.ends {
            assert_eq!((end.stack.tcp_count(), end.device.pool().in_use()), (0, 0), "something is left");
        }
    }
}

/// ARP, or a message of ICMPv6.
fn is_resolution(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[8, 6]) || (frame.get(12) == Some(&0x86) && frame.get(20) == Some(&58))
}

//! One stack on a wire, at whose other end the fuzzer sits.

use std::time::Duration;

use hayase_device::heap::HeapFrame;
use hayase_device::{Burst, Device, Frame, Offloads, TxMeta};
use hayase_stack::{Config, Instant, Stack, TcpId};
use hayase_wire::{EndConfig, Wire, WireConfig, WireDevice};

use crate::packet::{ETHERNET_LEN, FRAME_LEN_MAX, ICMPV6, PEER_MAC, address, ethernet, ip, ours, peer};

/// More bytes of frames than any mixture of limits allows: two sockets' buffers, and what waits for fragments.
const MEMORY_LEN_MAX: usize = 32 * 1024 * 1024;
/// Turns that a host may take until nothing is left to do.
const TURNS_MAX: usize = 4000;

/// A stack, its device, and the fuzzer's end.
pub(crate) struct Host {
    pub(crate) stack: Stack<HeapFrame>,
    pub(crate) device: WireDevice,
    pub(crate) now: Instant,
    wire: WireDevice,
    burst: Burst<HeapFrame>,
}

impl Host {
    /// A stack with one address of each family, which knows its peer.
    pub(crate) fn new(config: Config, offloads: Offloads) -> Host {
        let mut host = Host::alone(config, offloads);
        for v6 in [false, true] {
            let prefix = if v6 { 64 } else { 24 };
            let cidr = format!("{}/{prefix}", ours(v6)).parse().expect("an address and a length");
            host.stack.add_address(cidr).expect("there is room for two addresses");
        }
        host.introduce();
        host
    }

    /// A stack that knows nobody, and has no address but the one that it makes itself.
    pub(crate) fn alone(config: Config, offloads: Offloads) -> Host {
        let defaults = WireConfig::default();
        let (device, wire) = Wire::pair(WireConfig {
            a: EndConfig { offloads, ..defaults.a },
            b: EndConfig { offloads: Offloads::NONE, ..defaults.b },
            ..defaults
        });
        let now = Instant::from_millis(1);
        let stack = Stack::new(config, device.caps(), device.mac(), [7; 32], now);
        Host { stack, device, now, wire, burst: Burst::new(64) }
    }

    /// The peer asks for our addresses, and so tells its own.
    fn introduce(&mut self) {
        let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1];
        arp.extend(PEER_MAC);
        arp.extend([10, 0, 0, 2]);
        arp.extend([0; 6]);
        arp.extend([10, 0, 0, 1]);
        self.inject(&ethernet(0x0806, &arp));
        let mut solicit = vec![135, 0, 0, 0, 0, 0, 0, 0, 0xfd];
        solicit.extend([0; 14]);
        solicit.extend([1, 1, 1]);
        solicit.extend(PEER_MAC);
        self.inject(&ip(peer(true), ours(true), ICMPV6, 255, &solicit));
        self.turn();
    }

    /// Puts a frame on the wire. The stack sees it in its next turn.
    pub(crate) fn inject(&mut self, frame: &[u8]) {
        let len = frame.len().clamp(ETHERNET_LEN, FRAME_LEN_MAX);
        let Some(mut on_wire) = self.wire.alloc(len) else { return };
        let Some(bytes) = on_wire.extend(len) else { return };
        bytes.fill(0);
        bytes[..frame.len().min(len)].copy_from_slice(&frame[..frame.len().min(len)]);
        self.wire.transmit(on_wire, TxMeta::default());
    }

    /// One turn of the stack; the frames that it sent.
    pub(crate) fn turn(&mut self) -> Vec<Vec<u8>> {
        // At least once: what the host sends to itself comes without a frame from the device.
        loop {
            let count = self.device.receive(&mut self.burst);
            self.stack.receive(self.now, &mut self.burst, &mut self.device);
            if count == 0 {
                break;
            }
        }
        if self.stack.deadline().is_some_and(|at| at <= self.now) {
            self.stack.expire(self.now, &mut self.device);
        }
        self.stack.transmit(self.now, &mut self.device);
        self.stack.drain_ready(|_, _| {});
        assert!(self.device.pool().in_use_len() <= MEMORY_LEN_MAX, "memory without a limit");
        let mut said = Vec::new();
        while self.wire.receive(&mut self.burst) > 0 {
            for (frame, _) in self.burst.drain() {
                said.push(frame.fragments().flatten().copied().collect());
            }
        }
        said
    }

    /// Turns until the stack has nothing more to do at this moment; the frames that it sent.
    pub(crate) fn settle(&mut self) -> Vec<Vec<u8>> {
        let mut said = self.turn();
        for _ in 0..TURNS_MAX {
            let more = self.turn();
            let is_due = self.stack.deadline().is_some_and(|at| at <= self.now);
            if more.is_empty() && !is_due && !self.stack.has_work() {
                return said;
            }
            said.extend(more);
        }
        panic!("the stack never falls silent, deadline {:?} at {:?}", self.stack.deadline(), self.now);
    }

    /// Lets time pass, from deadline to deadline.
    pub(crate) fn pass(&mut self, time: Duration) -> Vec<Vec<u8>> {
        let end = self.now + time;
        let mut said = self.settle();
        for _ in 0..TURNS_MAX {
            match self.stack.deadline() {
                Some(at) if at < end => self.now = at.max(self.now),
                _ => break,
            }
            said.extend(self.settle());
        }
        self.now = end;
        said.extend(self.settle());
        said
    }

    /// Aborts these, and waits until everything that was there has been forgotten: no connection is left,
    /// and every frame is in its pool.
    pub(crate) fn finish(mut self, connections: &[TcpId]) {
        for &id in connections {
            self.stack.tcp_abort(self.now, id);
        }
        // Longer than any timer: twice the time after which a connection without answers is given up.
        for _ in 0..8 {
            self.pass(Duration::from_secs(900));
        }
        assert_eq!(self.stack.tcp_count(), 0, "connections without an owner stay");
        assert_eq!(self.device.pool().in_use(), 0, "frames that never come home");
    }
}

/// The addresses that NDP and ARP forgeries speak of: ours, the peer's, others of the link.
pub(crate) fn any_address(v6: bool, choice: u8) -> std::net::IpAddr {
    address(v6, choice % 8)
}
